package rawjson

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

var expanded = Names{ID: "id", Updated: "updated", Expanded: "alerts"}

const when = `"updated":"2026-03-02T08:15:30Z"`

// A collection that is announced larger than it is served is lacking.
func TestLacks(t *testing.T) {
	for text, want := range map[string]struct {
		lacks  string
		absent bool
	}{
		`"alerts":[]`:                        {},
		`"alerts":[{"a":[1,2,3]},{}]`:        {},
		`"alerts":[ ]`:                       {},
		`"alerts":null`:                      {"are not there", true},
		`"alerts":{}`:                        {"are not there", true},
		`"other":[]`:                         {"are not there", true},
		`"alerts":[],"alerts@odata.count":0`: {},
		`"alerts":[{"a":"],[,"},[]],"alerts@odata.count":2`:                      {},
		`"alerts":["x","y"],"alerts@odata.count":3`:                              {"2 of its 3 alerts", false},
		`"alerts@odata.count":1,"alerts":[]`:                                     {"0 of its 1 alerts", false},
		`"alerts":[1, 2 ],"alerts@odata.nextLink":"https://x/"`:                  {"2 of its alerts were served, with a link", false},
		`"alerts":[],"alerts@odata.nextLink":null`:                               {},
		`"alerts":[{"alerts@odata.nextLink":"https://x/"}]`:                      {},
		`"alerts":[1],"alerts@odata.count":"many","alerts@odata.context":"here"`: {},
	} {
		in, err := Line([]byte(strings.ReplaceAll(`{"id":7,`+when+`,`+text+`}`, " ", "")), expanded)
		if err != nil || want.lacks == "" && in.Lacks != "" || !strings.Contains(in.Lacks, want.lacks) || in.Absent != want.absent {
			t.Errorf("%s: %+v, %v", text, in, err)
		}
	}
}

// A byte order mark is skipped, wherever a reader's buffer ends in it; twice is once too often.
func TestByteOrderMark(t *testing.T) {
	const mark = "\ufeff"
	text := mark + `{"value":[{"id":7,` + when + `}]}`
	for name, r := range map[string]io.Reader{
		"whole": strings.NewReader(text), "bytewise": iotest.OneByteReader(strings.NewReader(text)), "halves": iotest.HalfReader(strings.NewReader(text)),
	} {
		if _, ids, err := all(NewAnswer(r, expanded, 1<<20, nil)); err != nil || fmt.Sprint(ids) != "[7]" {
			t.Errorf("%s: %v, %v", name, ids, err)
		}
	}
	if line, in, err := Entity(nil, []byte(mark+`{"id":7,`+when+`}`), expanded); err != nil || in.ID != "7" || strings.HasPrefix(string(line), mark) {
		t.Errorf("by id: %q, %v", line, err)
	}
	for _, bad := range []string{mark + text, mark, mark[:2] + `{"value":[]}`, `{` + mark + `"value":[]}`} {
		if _, _, err := all(NewAnswer(strings.NewReader(bad), expanded, 1<<20, nil)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// An element that is cut has the id that it was served with, or none: never the
// beginning of it, nor that of another.
func TestIDOfWhatIsCut(t *testing.T) {
	for _, id := range []string{"7", "78", `"a"`, `"ab\u0063"`} {
		text := `{"value":[{"id":1,` + when + `},{` + when + `,"id":` + id + `,"x":[1,2,{"id":9}]}]}`
		whole, _, _ := Entity(nil, []byte(`{`+when+`,"id":`+id+`}`), expanded)
		in, err := Line(whole, expanded)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range len(text) {
			a := NewAnswer(strings.NewReader(text[:cut]), expanded, 1<<20, nil)
			for n := 0; ; n++ {
				_, got, err := a.Next(nil)
				if err == nil {
					continue
				}
				if !errors.Is(err, io.ErrUnexpectedEOF) || got.ID != "" && !(n == 0 && got.ID == "1") && !(n == 1 && got.ID == in.ID) {
					t.Errorf("%q: %v, blamed %q", text[:cut], err, got.ID)
				}
				break
			}
		}
	}
}
