// Package sinks says what an archive asks of the place where it is kept.
//
// It is separate so that everything that proves an archive needs only a
// Reader, and so that what must never happen to an archive, overwriting and
// deleting, cannot be said at all. The sentences of Reader and Sink are the
// contract; each is a clause of the suite in sinks/sinktest.
package sinks

import (
	"context"
	"errors"
	"io"
	"iter"
)

// ErrNotExist is what Get wraps for a key under which nothing is stored.
var ErrNotExist = errors.New("object does not exist")

// ErrExists is what Put wraps for a key under which other bytes are stored.
var ErrExists = errors.New("object exists with other content")

// Object is one entry of a listing.
type Object struct {
	Key  string
	Size int64 // bytes, as stored
}

// Reader reads an archive. All methods may be called concurrently.
//
// A key is slash-separated, without empty, "." or ".." elements, of
// printable ASCII without backslash, at most 512 bytes long; any other is
// refused with an error that names it, and nothing is touched.
type Reader interface {
	// Get opens the object for reading. An object is seen whole or not at
	// all: a Get that succeeds reads to EOF exactly the bytes that one Put
	// was given, or the read fails. A missing object is ErrNotExist. The
	// caller closes what it was given.
	Get(ctx context.Context, key string) (io.ReadCloser, error)

	// List yields the objects whose key begins with prefix and is greater
	// than after (both may be empty), in ascending byte order of the key,
	// each once. An object that was stored before List was called is
	// yielded; one that is stored meanwhile may be. It asks for no more than
	// what is consumed needs, in pages. An error ends the sequence and is
	// yielded last; that a prefix holds nothing is no error.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
}

// Prober is a Reader that can tell at once whether an object is there, where a
// listing takes work in proportion to the archive: a directory has no order.
type Prober interface {
	// Exists says whether something is stored under key.
	Exists(ctx context.Context, key string) (bool, error)
}

// Sink adds the one way to write.
type Sink interface {
	Reader

	// Put stores data under key if nothing is stored there, durably: once it
	// returns nil the object survives the loss of power, and every Get and
	// List sees it. If the very same bytes are there already it returns nil
	// as well; other bytes are ErrExists, and stay as they are. Of several
	// Puts of different bytes racing for one key exactly one returns nil.
	//
	// Any other error leaves the object stored whole or not stored, never in
	// part; Put itself has then already looked, so that the error means "not
	// stored" unless looking failed as well. A cancelled ctx stops a Put
	// that has not begun to become visible. Put keeps no reference to data.
	Put(ctx context.Context, key string, data []byte) error
}
