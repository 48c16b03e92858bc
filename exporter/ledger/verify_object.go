package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"

	"incident-exporter/sinks"
)

// object checks a manifest's data object: first that it is the one that was
// committed, then, if it is, that its lines are what the manifest says.
func (c *chain) object(m *Manifest) error {
	want := m.Object
	bad := func(k Kind, expected, got, text string, args ...any) {
		c.finding(Finding{Kind: k, Seq: m.Seq, Key: want.Key, Want: expected, Got: got}, text, args...)
	}
	size, err := c.locate(want.Key)
	if err != nil {
		return err
	}
	if size < 0 {
		// Not where it belongs in the listing; if the chain's keys are out of
		// order it may still be there.
		bad(Missing, want.SHA256, "", "data object %s is missing", want.Key)
		return nil
	}
	c.sum.Objects++
	f, err := c.r.Get(c.ctx, want.Key)
	if err != nil {
		bad(Unreadable, "", "", "data object cannot be read: %v", err)
		return c.ctx.Err()
	}
	defer f.Close()
	stored := newCounter(f)
	l := lineCheck{m: m, stream: c.s}
	var text error
	if m.Void == "" {
		text = lines(stored, compressionOf(want.Key), l.line)
	}
	_, err = io.Copy(io.Discard, stored)
	if err = errors.Join(stored.err, err); err != nil {
		bad(Unreadable, "", "", "data object cannot be read: %v", err)
		return c.ctx.Err()
	}
	sum := stored.sum()
	switch {
	case stored.bytes < want.Bytes:
		bad(Cut, fmt.Sprint(want.Bytes), fmt.Sprint(stored.bytes), "data object has %d of its %d bytes%s", stored.bytes, want.Bytes, l.where(text))
		return nil
	case sum != want.SHA256 || stored.bytes != want.Bytes:
		bad(Altered, want.SHA256, sum, "data object is not what was committed%s", l.where(text))
		return nil
	case m.Void != "":
		return nil
	case text != nil:
		bad(Altered, want.SHA256, sum, "data object is no batch: %v", text)
		return nil
	}
	if l.kind != "" {
		bad(l.kind, l.want, l.got, "%s", l.text)
	} else if l.n != len(m.Versions) || l.n != want.Lines {
		bad(Altered, fmt.Sprint(len(m.Versions)), fmt.Sprint(l.n), "data object has %d lines, manifest %d lists %d", l.n, m.Seq, len(m.Versions))
	}
	c.sum.Versions += int64(l.n)
	return nil
}

// lineCheck holds lines against a manifest and keeps the first difference.
type lineCheck struct {
	m               *Manifest
	stream          Stream
	n               int
	kind            Kind
	want, got, text string
}

func (l *lineCheck) line(line []byte) error {
	i := l.n
	l.n++
	if l.kind != "" {
		return nil
	}
	differ := func(k Kind, want, got, text string) {
		l.kind, l.want, l.got = k, want, got
		l.text = fmt.Sprintf("line %d: %s", i+1, text)
		if i < len(l.m.Versions) {
			l.text = fmt.Sprintf("line %d (incident %s, updated %s): %s", i+1, l.m.Versions[i].ID, l.m.Versions[i].Updated, text)
		}
	}
	if i >= len(l.m.Versions) {
		differ(Altered, "", "", "the manifest does not list it")
		return nil
	}
	v := l.m.Versions[i]
	sum := sha256.Sum256(line)
	if got := hex.EncodeToString(sum[:]); got != v.SHA256 {
		differ(Altered, v.SHA256, got, "is not what the manifest lists")
		return nil
	}
	row, err := rowOf(line, l.stream.Names(), sum)
	switch {
	case err != nil:
		differ(Altered, "", "", err.Error())
	case row.ID != v.ID || row.Updated != v.Updated:
		differ(Altered, v.ID+" "+v.Updated, row.ID+" "+row.Updated, "says that it is another version than the manifest says")
	}
	return nil
}

// where says what is the first thing that differs in a damaged object.
func (l *lineCheck) where(text error) string {
	switch {
	case l.kind != "":
		return "; " + l.text
	case text != nil && l.n < len(l.m.Versions):
		v := l.m.Versions[l.n]
		return fmt.Sprintf("; unreadable from line %d on (incident %s, updated %s): %v", l.n+1, v.ID, v.Updated, text)
	case text != nil:
		return fmt.Sprintf("; %v", text)
	}
	return ""
}

// listing is a listing that can be looked at before it is taken from.
type listing struct {
	pull func() (sinks.Object, error, bool)
	stop func()
	o    sinks.Object
	err  error
	ok   bool
	full bool
}

func newListing(ctx context.Context, r sinks.Reader, prefix, after string) *listing {
	l := &listing{}
	l.pull, l.stop = iter.Pull2(r.List(ctx, prefix, after))
	return l
}

func (l *listing) peek() (sinks.Object, bool, error) {
	if !l.full {
		l.o, l.err, l.ok = l.pull()
		l.full = true
	}
	return l.o, l.ok, l.err
}

func (l *listing) next() { l.full = l.err != nil || !l.ok }
