package ledger

import (
	"bytes"
	stdgzip "compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"incident-exporter/sinks"
	"incident-exporter/sinks/local"
	"incident-exporter/sinks/sinktest"
)

// oddLines are what decoding and encoding again would change, in order.
func oddLines() [][]byte {
	rng := rand.New(rand.NewPCG(1, 1))
	var big strings.Builder
	size := 10 << 20
	if testing.Short() {
		size = 1 << 20
	}
	for big.Len() < size {
		fmt.Fprintf(&big, `{"evidence":%d,"text":"\u003c\\\" `+"\u2028"+`"},`, rng.Uint64())
	}
	var all [][]byte
	for i, rest := range []string{
		`"n":9007199254740993,"m":[12345678901234567890,1.0,1e2,-0,1E+3,0.10]`,
		`"s":"a\u003c<>&\/\b\f\n\r\t\"\\ ` + "\u2028\u2029é\U0001f600" + `\ud83d\ude00\u2028"`,
		`"alerts":[],"comments":null,"tags":{}`,
		`"@odata.type":"#x","unknownFutureField":{"b":1,"a":{"b":null}},"z":"","":0`,
		`"lone":"\ud800","control":"\u0000\u001f` + "\x7f" + `","invalid":"` + "\xff\xfe" + `"`,
		`"alerts":[` + big.String() + `null]`,
		`"last":true`,
	} {
		all = append(all, fmt.Appendf(nil, `{"incidentId":%d,"lastUpdateTime":"2026-03-02T08:15:29.9966667Z",%s}`, i+1, rest))
	}
	return all
}

func TestLinesComeBackByteForByte(t *testing.T) {
	t.Parallel()
	want := oddLines()
	dir, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, sink := range map[string]sinks.Sink{"memory": sinktest.NewMem(), "local": dir} {
		day := instant("2026-03-02T08:00:00Z")
		for i, c := range []Compression{"gzip", "zstd", "none"} {
			s := stream
			s.Tenant = fmt.Sprintf("00000000-0000-4000-8000-00000000000%d", i)
			l := begin(t, sink, s, day, c)
			commit(t, l, day.Add(time.Hour), want, nil)
			commit(t, l, day.Add(2*time.Hour), nil, nil)
			var got [][]byte
			for m, err := range Manifests(t.Context(), sink, s, 1, 4) {
				if err != nil {
					t.Fatal(err)
				}
				if err := Lines(t.Context(), sink, m, func(i int, v Version, line []byte) error {
					if v.SHA256 != hexSum(line) || v.ID != fmt.Sprint(len(got)+1) {
						t.Errorf("%s, %s: line %d is not %+v", name, c, i+1, v)
					}
					got = append(got, bytes.Clone(line))
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("%s, %s: %d lines came back changed", name, c, len(got))
			}
			if c != "gzip" {
				continue
			}
			for m, err := range Manifests(t.Context(), sink, s, 2, 0) {
				if err != nil {
					t.Fatal(err)
				}
				z, err := stdgzip.NewReader(bytes.NewReader(get(t, sink, m.Object.Key)))
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(z)
				all := []byte{}
				if m.Seq == 2 {
					all = append(bytes.Join(want, []byte("\n")), '\n')
				}
				if err != nil || !bytes.Equal(text, all) {
					t.Errorf("%s: the standard library reads something else from object %d: %v", name, m.Seq, err)
				}
			}
		}
		if sum := sound(t, sink); sum.Versions != 3*int64(len(want)) || sum.Streams != 3 {
			t.Errorf("%s: %+v", name, sum)
		}
	}
}

func TestManifestRoundTrip(t *testing.T) {
	at := Time{instant("2026-03-02T08:15:29.9966667Z")}
	m := &Manifest{
		Format: Format, Stream: stream, Seq: 42, Prev: strings.Repeat("ab", 32), Start: at,
		Object:    &Object{Key: "incidents/<&>", Bytes: 1 << 53, SHA256: "00", Lines: 2},
		Versions:  []Version{{ID: "\u2028<\"\\\u0000", Updated: "2026-03-02T08:15:29.99666670Z", SHA256: "11"}},
		Latest:    at,
		Filled:    42,
		Read:      []Claim{{From: at, To: at, Asked: at, Order: true}, {From: at, To: at, Asked: at}},
		Withdrawn: []Withdrawn{{at, at, "<unreadable>"}},
		Covered:   Coverage{{From: at, To: at, After: Duration(168 * time.Hour), Order: true}, {From: at, To: at, After: Duration(90 * time.Minute)}, {From: at, To: at, Asked: at}},
		Unfetched: []Unfetched{{From: at, To: at, ID: "7", Error: `,"sum":"` + strings.Repeat("0", 64) + "\"}\n", Since: 42}},
		Disorder:  at, Partial: []string{"Office365", "\u2029"}, Calls: 3, Requests: []string{"r"},
		How: map[string]string{"7": "by-id", "SEQ": "", "": "x"}, Adopted: true, Void: "v", Next: "n", By: writer, Committed: at,
	}
	data, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(data, []byte{'\n'}) != 1 || !bytes.HasSuffix(data, []byte("}\n")) {
		t.Errorf("not one line: %q", data)
	}
	got, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, m) {
		t.Errorf("%+v is read as %+v", m, got)
	}
	again, err := got.encode()
	if err != nil || !bytes.Equal(again, data) || got.Hash != m.Hash || got.Size != int64(len(data)) {
		t.Errorf("%v\n%s\n%s", err, data, again)
	}
	// The sum is that of all bytes before the comma that precedes it.
	body := data[:bytes.LastIndex(data, []byte(`,"sum":"`))]
	if want := string(body) + `,"sum":"` + hexSum(body) + "\"}\n"; want != string(data) {
		t.Errorf("%s", data)
	}
}
