package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"incident-exporter/sinks"
	"incident-exporter/sinks/local"
)

// archive checks the place of the archive, then the schedule, then what is in the archive.
func (c *checker) archive(ctx context.Context, own []tenant) {
	var (
		sink archive
		wait string
	)
	if c.cfg.Exporter.Sink.bucket != "" {
		sink, wait = c.bucket(ctx)
	} else {
		sink, wait = c.directory(ctx)
	}
	c.schedule(c.now())
	if sink != nil {
		defer func() { _ = sink.Close() }() // nothing is written that Put has not made to last
	}
	c.each(own, func(_ int, t tenant) verdict {
		if sink == nil {
			return verdict{State: skipped, Detail: wait}
		}
		return c.chain(ctx, sink, t)
	}, "chain")
}

// unwritten is an archive that can be read and not be written.
type unwritten struct{ reader }

func (unwritten) Put(context.Context, string, []byte) error {
	return errors.New("the archive is open for reading only")
}

// directory checks one: that it can be written, that a name lasts and is never taken over, and what
// room is left. What is opened may be for reading only; where that is impossible, wait says what for
// the rest has to wait.
func (c *checker) directory(ctx context.Context) (sink archive, wait string) {
	v := verdict{Name: "archive"}
	dir := c.cfg.Exporter.Sink.dir
	opened, err := local.Open(dir)
	if err == nil {
		sink, err = opened, probeSink(ctx, opened)
	}
	if err != nil {
		v.State = failed
		if v.Detail, v.Remedy = c.p.explain(ctx, nil, err); v.Remedy == "" {
			v.Remedy = "see what lies at .incident-exporter/ in the archive's directory, which is this program's alone, and what its filesystem can do"
		}
		c.say(v)
		if sink != nil {
			return sink, ""
		}
		r, err := local.OpenReader(dir)
		if err != nil {
			return nil, "waits for the archive's directory"
		}
		return unwritten{r}, ""
	}
	v.Detail = fmt.Sprintf("%s: writable, an object is kept, read back, listed and not overwritten; no retention", c.cfg.Exporter.Sink)
	if free, kind, ok := diskSpace(dir); ok {
		v.Detail += fmt.Sprintf("; %s free", byteSize(free).rounded())
		if kind != "" {
			v.Detail += " on " + kind
		}
		if free < fewBytes {
			v.State, v.Remedy = warning, "make room: a full disk ends exports, in good order, until there is some"
		}
	}
	c.say(v)
	return sink, ""
}

// fewBytes is too little room for some weeks of a small tenant.
const fewBytes = 100 << 20

// rounded is a size for people.
func (s byteSize) rounded() string {
	for _, unit := range sizeUnits() {
		if unit.name[1] == 'i' && int64(s) >= unit.bytes {
			return fmt.Sprintf("%.1f %s", float64(s)/float64(unit.bytes), unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", int64(s))
}

// probeKey is an object that is written once and for ever. It is no part of the archive.
const probeKey = ".incident-exporter/check"

// probeSink does with one small object what an export rests on.
func probeSink(ctx context.Context, sink sinks.Sink) error {
	text := []byte("incident-exporter check\n")
	if err := sink.Put(ctx, probeKey, text); err != nil {
		return err
	}
	if err := sink.Put(ctx, probeKey, []byte("this must not overwrite\n")); !errors.Is(err, sinks.ErrExists) {
		return fmt.Errorf("put %q again with other bytes: it should be refused as existing, and is not: %w", probeKey, err)
	}
	from, err := sink.Get(ctx, probeKey)
	if err != nil {
		return err
	}
	read, err := io.ReadAll(from)
	_ = from.Close() // it has been read
	if err != nil {
		return fmt.Errorf("read %q back: %w", probeKey, err)
	}
	if !bytes.Equal(read, text) {
		return fmt.Errorf("read %q back: it is not what was stored", probeKey)
	}
	for _, after := range []string{"", path.Dir(probeKey) + "/", probeKey} {
		listed := false
		for o, err := range sink.List(ctx, probeKey, after) {
			if err != nil {
				return err
			}
			listed = listed || o.Key == probeKey
		}
		if listed != (after != probeKey) {
			return fmt.Errorf("list %q after %q: listed is %v", probeKey, after, listed)
		}
	}
	return nil
}
