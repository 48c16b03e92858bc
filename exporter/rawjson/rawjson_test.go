package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

var names = Names{ID: "incidentId", Updated: "lastUpdateTime", Created: "createdTime"}

const odd = `{"incidentId": 9007199254740993 , "lastUpdateTime":"2026-03-02T08:15:30.12Z","n":[1.0, 1e2,-0,
 1E+3, 12345678901234567890], "s" : "a\u003c<\/  \\\" ` + "\u2028" + ` é", "x":{} ,"y":[ ],"alerts":[{"incidentId":1,"deep":[[[{}]]]}],"z":null}`

const oddCompact = `{"incidentId":9007199254740993,"lastUpdateTime":"2026-03-02T08:15:30.12Z","n":[1.0,1e2,-0,1E+3,12345678901234567890],"s":"a\u003c<\/  \\\" ` + "\u2028" + ` é","x":{},"y":[],"alerts":[{"incidentId":1,"deep":[[[{}]]]}],"z":null}`

func all(a *Answer) (lines []string, ids []string, err error) {
	for {
		line, in, err := a.Next(nil)
		if err == io.EOF {
			return lines, ids, nil
		}
		if err != nil {
			return lines, append(ids, in.ID), err
		}
		lines = append(lines, string(line))
		ids = append(ids, in.ID)
	}
}

func TestAnswerKeepsEveryByteButWhitespace(t *testing.T) {
	text := ` {"@odata.context":"https://x/$metadata#Incidents" , "value" : [ ` + odd + ` , ` + odd + ` ] , "@odata.nextLink":"https://x/?$skip=2" } ` + "\n"
	for name, r := range map[string]io.Reader{
		"whole": strings.NewReader(text), "bytewise": iotest.OneByteReader(strings.NewReader(text)),
		"data with EOF": iotest.DataErrReader(strings.NewReader(text)),
	} {
		a := NewAnswer(r, names, 1<<20, nil)
		lines, ids, err := all(a)
		if err != nil || len(lines) != 2 || lines[0] != oddCompact || lines[1] != oddCompact {
			t.Errorf("%s: %v, %q", name, err, lines)
		}
		if fmt.Sprint(ids) != "[9007199254740993 9007199254740993]" || a.NextLink != "https://x/?$skip=2" {
			t.Errorf("%s: ids %v, nextLink %v", name, ids, a.NextLink)
		}
	}
}

func TestAnswerThatIsCutIsNeverComplete(t *testing.T) {
	text := `{"@odata.context":"c","value":[` + odd + `,` + odd + `],"n":1}`
	for cut := range len(text) {
		if _, _, err := all(NewAnswer(strings.NewReader(text[:cut]), names, 1<<20, nil)); err != io.ErrUnexpectedEOF {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

func TestAnswerRefuses(t *testing.T) {
	good := `{"incidentId":7,"lastUpdateTime":"2026-03-02T08:15:30Z"}`
	for text, want := range map[string]string{
		`<html>busy</html>`:                  "not a JSON object",
		`[]`:                                 "not a JSON object",
		`{}`:                                 `no "value" array`,
		`{"value":null}`:                     "not one array",
		`{"value":[],"value":[]}`:            "not one array",
		`{"value":[` + good + `]} x`:         "text after",
		`{"value":[` + good + good + `]}`:    "neither comma",
		`{"value":[` + good + `,]}`:          "no value",
		`{"value":[7]}`:                      "not an incident",
		`{"value":["x"]}`:                    "not an incident",
		`{"value":[{"incidentId":7}]}`:       "incident 7 has no usable lastUpdateTime",
		`{"value":[{"incidentId":null}]}`:    "no usable incidentId",
		`{"value":[{"lastUpdateTime":"x"}]}`: "no usable incidentId",
		`{"value":[{"incidentId":7,"lastUpdateTime":"yesterday"}]}`: "not a timestamp",
		`{"value":[{"incidentId":7,"incidentId":8}]}`:               "twice",
		`{"value":[{"a":01}]}`:                                      "neither comma",
		`{"value":[{"a":"` + "\n" + `"}]}`:                          "control character",
		`{"value":[{"a":"\x"}]}`:                                    "unknown escape",
		`{"value":[{"a":"\u00g0"}]}`:                                "hexadecimal",
		`{"value":[{"a":1.}]}`:                                      "decimal point",
		`{"value":[{"a":tru }]}`:                                    "literal",
		`{"value":[` + strings.Repeat("[", 600):                     "too deeply",
	} {
		_, _, err := all(NewAnswer(strings.NewReader(text), names, 1<<20, nil))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
}

func TestAnswerTooLargeNamesTheIncident(t *testing.T) {
	text := `{"value":[{"incidentId":41,"lastUpdateTime":"2026-03-02T08:15:30Z","pad":"` + strings.Repeat("x", 300_000) + `"}]}`
	_, ids, err := all(NewAnswer(strings.NewReader(text), names, 200_000, nil))
	if !errors.Is(err, ErrTooLarge) || len(ids) != 1 || ids[0] != "41" {
		t.Errorf("%v, ids %q", err, ids)
	}
}

func TestEntityDropsTopLevelAnnotations(t *testing.T) {
	body := `"incidentId":"7","lastUpdateTime":"2026-03-02T08:15:30Z","alerts":[{"@odata.type":"t"}]`
	for _, text := range []string{
		`{"@odata.context":"c",` + body + `}`, `{` + body + `, "@odata.etag" : {"a":[1]} }`, ` { "@odata.a":1 , "@odata.b" :2, ` + body + ` } `,
		`{"incidentId":"7","@odata.x":1,"lastUpdateTime":"2026-03-02T08:15:30Z","@odata.y":[],"alerts":[{"@odata.type":"t"}]}`, `{` + body + `}`,
	} {
		line, in, err := Entity([]byte("before"), []byte(text), names)
		if err != nil || string(line) != "before{"+body+"}" || in.ID != "7" {
			t.Errorf("%s: %q, %v, %v", text, line, in, err)
		}
	}
}

func TestLineWantsCompactObjects(t *testing.T) {
	if in, err := Line([]byte(oddCompact), names); err != nil || in.ID != "9007199254740993" {
		t.Error(in, err)
	}
	for _, bad := range []string{odd, oddCompact + "x", "[1]", "", `{"incidentId":1}`} {
		if _, err := Line([]byte(bad), names); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestSame(t *testing.T) {
	a := `{"a":[1,{"x":1,"y":[]},"s"],"b":null}`
	for b, want := range map[string]bool{
		`{"b":null,"a":["s",{"y":[],"x":1},1]}`: true, a: true,
		`{"b":null,"a":["s",{"y":[],"x":2},1]}`: false, `{"a":[1,{"x":1,"y":[]},"t"],"b":null}`: false,
		`{"a":[1,{"x":"\u0031","y":[]}],"b":nul`: false,
	} {
		if Same([]byte(a), []byte(b)) != want {
			t.Errorf("%s: want %v", b, want)
		}
	}
}

func TestTimes(t *testing.T) {
	for in, want := range map[string]string{
		"2026-03-02T08:15:30.9966667Z": "2026-03-02T08:15:30.9966667Z", "2026-03-02T08:15:30.1200000Z": "2026-03-02T08:15:30.12Z",
		"2026-03-02T08:15:30": "2026-03-02T08:15:30Z", "2026-03-02T10:15:30.123456789+02:00": "2026-03-02T08:15:30.1234567Z",
	} {
		if got, err := ParseTime(in); err != nil || FormatTime(got) != want {
			t.Errorf("%s: %v %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "now", "2026-03-02", "2026-03-02T08:15:30,5Z", "2026-13-02T08:15:30Z"} {
		if got, err := ParseTime(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

// The scanner accepts what encoding/json accepts, and changes what Compact changes.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(odd))
	f.Add([]byte(`{"incidentId":7,"lastUpdateTime":"2026-03-02T08:15:30Z","a":[true,false,null,-1.5e-7,"\ud83d"]}`))
	f.Add([]byte(`{"a":"` + strings.Repeat("long string with \\n", 9) + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s scan
		s.keep = true
		i := spaces(text, 0)
		n, err := s.value(text[i:])
		whole := err == nil && spaces(text, i+n) == len(text)
		if whole != json.Valid(text) && !strings.Contains(fmt.Sprint(err), "deep") {
			t.Fatalf("valid %v, encoding/json says %v: %v", whole, json.Valid(text), err)
		}
		if whole {
			var want bytes.Buffer
			if err := json.Compact(&want, text); err == nil && !bytes.Equal(want.Bytes(), s.dst) {
				t.Fatalf("%q, want %q", s.dst, want.Bytes())
			}
			if !Same(s.dst, append([]byte(nil), s.dst...)) {
				t.Fatal("not the same as itself")
			}
		}
		_, _, _ = all(NewAnswer(iotest.HalfReader(bytes.NewReader(text)), names, 1<<20, nil))
		_, _, _ = Entity(nil, text, names)
	})
}

func FuzzTime(f *testing.F) {
	f.Add("2026-03-02T08:15:30.9966667Z")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTime(s)
		if err != nil || got.Year() < 0 || got.Year() > 9999 {
			return
		}
		again, err := ParseTime(FormatTime(got))
		if err != nil || !again.Equal(got) {
			t.Fatalf("%s: %v, then %v %v", s, got, again, err)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	el := `{"incidentId":41877,"lastUpdateTime":"2026-03-02T08:15:30.12Z","createdTime":"2026-03-02T07:41:09.4533333Z","alerts":[` +
		strings.Repeat(`{"alertId":"da638770512690001122_-19774401","title":"Memory read of a protected process","mitreTechniques":["T1003","T1003.001"],"osBuild":26100,"assignedTo":null},`, 48) + `{}]}`
	text := []byte(`{"value":[` + strings.Repeat(el+",", 99) + el + `]}`)
	b.SetBytes(int64(len(text)))
	var dst, buf []byte
	for b.Loop() {
		a := NewAnswer(bytes.NewReader(text), names, 1<<30, buf)
		for {
			line, _, err := a.Next(dst[:0])
			if err == io.EOF {
				break
			}
			dst = line
		}
		buf = a.Buffer()
	}
}

func TestTimesThatCouldNotBeWrittenAreRefused(t *testing.T) {
	for s, want := range map[string]string{
		"2026-03-02T08:15:29.99666679Z":    "2026-03-02T08:15:29.9966667Z",
		"2026-03-02T08:15:29":              "2026-03-02T08:15:29Z",
		"2026-03-02T08:15:29+01:30":        "2026-03-02T06:45:29Z",
		"9999-12-31T23:59:59.9999999Z":     "9999-12-31T23:59:59.9999999Z",
		"9999-12-31T23:59:59-00:01":        "",
		"0001-01-01T00:00:00Z":             "0001-01-01T00:00:00Z",
		"0001-01-01T00:00:00+00:01":        "",
		"2026-03-02T08:15:29,5Z":           "",
		"yesterday":                        "",
		"2026-03-02T08:15:29.Z":            "",
		"2026-03-02 08:15:29Z":             "",
		strings.Repeat("2026-03-02T", 100): "",
	} {
		at, err := ParseTime(s)
		if (err == nil) != (want != "") || err == nil && FormatTime(at) != want {
			t.Errorf("%q: %v, %v, want %q", s, at, err, want)
		}
	}
}

func TestIdsAndTimesFitIntoAManifest(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"incidentId":"` + strings.Repeat("x", 128) + `","lastUpdateTime":"2026-03-02T08:15:30Z"}`:       true,
		`{"incidentId":"` + strings.Repeat("x", 129) + `","lastUpdateTime":"2026-03-02T08:15:30Z"}`:       false,
		`{"incidentId":` + strings.Repeat("1", 129) + `,"lastUpdateTime":"2026-03-02T08:15:30Z"}`:         false,
		`{"incidentId":"` + "\xff" + `","lastUpdateTime":"2026-03-02T08:15:30Z"}`:                         false,
		`{"incidentId":"","lastUpdateTime":"2026-03-02T08:15:30Z"}`:                                       false,
		`{"incidentId":7,"lastUpdateTime":"2026-03-02T08:15:30.` + strings.Repeat("0", 100) + `Z"}`:       false,
		`{"incidentId":7,"lastUpdateTime":"2026-03-02T08:15:30Z","createdTime":7,"x":"` + "\xff" + `"}`:   true,
		`{"incidentId":"\u00e9","lastUpdateTime":"2026-03-02T08:15:3\u0030Z","createdTime":"2026-03-02"}`: true,
	} {
		if _, err := Line([]byte(text), names); (err == nil) != ok || err != nil && !errors.Is(err, ErrNoIncident) {
			t.Errorf("%.60s: %v", text, err)
		}
	}
}
