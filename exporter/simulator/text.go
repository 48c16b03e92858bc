package simulator

import (
	"math/rand/v2"
	"strconv"
)

// text is a body being written, with the random source that it varies by.
type text struct {
	b   []byte
	rng rand.PCG
}

func (t *text) raw(s string) { t.b = append(t.b, s...) }

// below is a random number below n, which is small.
func (t *text) below(n int) int { return int(t.rng.Uint64() >> 33 % uint64(n)) }

func (t *text) pick(list []string) string { return list[t.below(len(list))] }

func (t *text) number(n int64) { t.b = strconv.AppendInt(t.b, n, 10) }

const hexDigits = "0123456789abcdef"

// hex is n random hexadecimal digits.
func (t *text) hex(n int) {
	var u uint64
	for i := range n {
		if i%16 == 0 {
			u = t.rng.Uint64()
		}
		t.b = append(t.b, hexDigits[u&15])
		u >>= 4
	}
}

func (t *text) guid() {
	for i, n := range [...]int{8, 4, 4, 4, 12} {
		if i > 0 {
			t.b = append(t.b, '-')
		}
		t.hex(n)
	}
}

// time is a quoted time.
func (t *text) time(at ticks) {
	t.b = append(t.b, '"')
	t.b = appendTime(t.b, at)
	t.b = append(t.b, '"')
}

// appendTime writes what at.String does, several times as fast: a body has
// dozens of times in it.
func appendTime(b []byte, at ticks) []byte {
	seconds, fraction := int64(at/second), int64(at%second)
	days, rest := seconds/86400, seconds%86400
	year, month, day := date(days)
	b = append(b, byte('0'+year/1000), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10), '-')
	b = append(two(b, month), '-')
	b = append(two(b, day), 'T')
	b = append(two(b, rest/3600), ':')
	b = append(two(b, rest/60%60), ':')
	b = two(b, rest%60)
	if fraction > 0 {
		b = append(b, '.')
		for unit := int64(second / 10); fraction > 0; unit /= 10 {
			b = append(b, byte('0'+fraction/unit))
			fraction %= unit
		}
	}
	return append(b, 'Z')
}

func two(b []byte, n int64) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// date is the civil date so many days after 1970-01-01 (in years that begin
// in March the leap day is the last).
func date(days int64) (year, month, day int64) {
	days += 719468 // from 0000-03-01
	era := days / 146097
	d := days % 146097
	y := (d - d/1460 + d/36524 - d/146096) / 365
	d -= 365*y + y/4 - y/100
	m := (5*d + 2) / 153
	day = d - (153*m+2)/5 + 1
	year = y + era*400
	if m < 10 {
		return year, m + 3, day
	}
	return year + 1, m - 9, day
}
