package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"

	"incident-exporter/sinks"
)

// A directory is listed in sorted pages, each of which takes one reading of
// it: small at first, since many callers want the first object only, and
// never so large that memory grows with the archive.
const (
	firstPage = 64
	lastPage  = 64 << 10
)

// lostAndFound is at the top of an ext4 volume, and only root may read it.
const lostAndFound = "lost+found"

// List yields objects in the order of their keys. See sinks.Reader. That
// files vanish while it runs is no error; they may be left out.
func (r *Reader) List(ctx context.Context, prefix, after string) iter.Seq2[sinks.Object, error] {
	return func(yield func(sinks.Object, error) bool) {
		l := lister{Reader: r, ctx: ctx, prefix: prefix, after: after, yield: yield}
		dir, err := l.start()
		if err == nil && dir != "" {
			_, err = l.walk(dir)
		}
		if err != nil {
			yield(sinks.Object{}, fmt.Errorf("list %q in %q: %w", prefix, r.dir, err))
		}
	}
}

type lister struct {
	*Reader
	ctx           context.Context
	prefix, after string
	yield         func(sinks.Object, error) bool
}

// entry is one name of a directory. Its place in the listing is that of its
// name, for a directory of its name and a slash: "a-b" comes before "a/b".
type entry struct {
	place string
	size  int64 // of a file
}

// start is the deepest directory that holds all that has the prefix, "" if
// there is none. Going there at once, it must not follow a link that walk
// would not.
func (l *lister) start() (dir string, err error) {
	if err := l.ctx.Err(); err != nil {
		return "", err
	}
	i := strings.LastIndexByte(l.prefix, '/')
	if i < 0 {
		return ".", nil
	}
	dir = l.prefix[:i]
	if !fs.ValidPath(dir) || dir == "." { // no key begins with it
		return "", nil
	}
	for end, c := range dir + "/" {
		if c != '/' {
			continue
		}
		info, err := l.root.Lstat(dir[:end])
		if absent(err) || err == nil && !info.IsDir() {
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
	return dir, nil
}

// walk yields what is in dir and below. It is false when the caller wants no more.
func (l *lister) walk(dir string) (more bool, err error) {
	if err := l.ctx.Err(); err != nil {
		return false, err
	}
	if strings.HasPrefix(dir+"/", tempDir+"/") {
		return true, nil
	}
	sub, err := l.root.OpenRoot(dir)
	if absent(err) || dir == lostAndFound && errors.Is(err, fs.ErrPermission) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer sub.Close()
	last := ""
	for size := firstPage; ; size = min(size*8, lastPage) {
		page, err := l.page(sub, dir, last, size)
		if err != nil {
			return false, err
		}
		for _, e := range page {
			if name, below := strings.CutSuffix(e.place, "/"); below {
				more, err = l.walk(path.Join(dir, name))
			} else if err = l.ctx.Err(); err == nil {
				more = l.yield(sinks.Object{Key: path.Join(dir, name), Size: e.size}, nil)
			}
			if !more || err != nil {
				return false, err
			}
		}
		if len(page) < size {
			return true, nil
		}
		last = page[len(page)-1].place
	}
}

// page returns the first size entries of dir, in order, whose place is behind
// last and that can hold what is asked for.
func (l *lister) page(sub *os.Root, dir, last string, size int) ([]entry, error) {
	d, err := sub.Open(".")
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var kept []entry
	limit := "" // once size entries are kept: the place of the last of them
	for {
		// Names alone: ReadDir below an os.Root asks for the type of each.
		names, end := d.Readdirnames(1024)
		if err := l.ctx.Err(); err != nil {
			return nil, err
		}
		for _, name := range names {
			// What it is need not be known if it is wanted neither way.
			wanted := func(place string) bool {
				return place > last && (limit == "" || place < limit) && l.wanted(dir, place)
			}
			if !wanted(name) && !wanted(name+"/") {
				continue
			}
			e, ok, err := l.entry(sub, dir, name)
			if err != nil {
				return nil, err
			}
			if ok && wanted(e.place) {
				kept = append(kept, e)
			}
		}
		// Cutting back at twice the size keeps the work linear and the memory bounded.
		if len(kept) >= 2*size {
			kept = cut(kept, size)
			if len(kept) == size {
				limit = kept[size-1].place
			}
		}
		if errors.Is(end, io.EOF) || absent(end) {
			return cut(kept, size), nil
		}
		if end != nil {
			return nil, end
		}
	}
}

// entry says what a name in dir is; not ok is what is neither an object nor
// a directory, or no longer there.
func (l *lister) entry(sub *os.Root, dir, name string) (e entry, ok bool, err error) {
	info, err := sub.Lstat(name)
	if absent(err) {
		return entry{}, false, nil
	}
	if err != nil {
		return entry{}, false, err
	}
	if info.IsDir() {
		return entry{place: name + "/"}, true, nil
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		// From the root: the link may lead to another directory of the archive.
		if info, err = l.root.Stat(path.Join(dir, name)); err != nil {
			return entry{}, false, nil // dangling, or leading out
		}
	}
	return entry{name, info.Size()}, info.Mode().IsRegular(), nil
}

// cut keeps the first size entries. A filesystem that is being written to may
// show a name twice.
func cut(entries []entry, size int) []entry {
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.place, b.place) })
	entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.place == b.place })
	return entries[:min(size, len(entries))]
}

// wanted says whether the file is asked for, or the directory may hold such a file.
func (l *lister) wanted(dir, place string) bool {
	key := place
	if dir != "." {
		key = dir + "/" + place
	}
	if !strings.HasSuffix(place, "/") {
		return strings.HasPrefix(key, l.prefix) && key > l.after
	}
	return (strings.HasPrefix(key, l.prefix) || strings.HasPrefix(l.prefix, key)) &&
		(key > l.after || strings.HasPrefix(l.after, key))
}
