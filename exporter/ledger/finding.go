package ledger

// Kind is what is wrong with an archive, or worth knowing about it.
type Kind string

// Faults.
const (
	Altered     Kind = "altered"      // bytes are not what was committed
	Missing     Kind = "missing"      // an object that the chain names is not there
	Cut         Kind = "cut"          // an object is shorter than what was committed
	Gap         Kind = "gap"          // coverage does not follow from what was read
	BrokenChain Kind = "broken-chain" // a manifest does not follow from the one before
	Duplicate   Kind = "duplicate"    // a version is there twice
	Foreign     Kind = "foreign"      // something lies there that the chain does not know
	Unreadable  Kind = "unreadable"   // an object could not be read
	Unknown     Kind = "format"       // a manifest of an unknown format, or against its rules
	WrongHead   Kind = "head"         // the head that was kept is not in any chain
	Pruned      Kind = "pruned"       // the chain does not begin with its first manifest
)

// Notes.
const (
	Pending Kind = "pending"   // a data object without its manifest at the head's next key
	Unread  Kind = "unfetched" // a stretch that is still to be fetched
	Void    Kind = "void"      // an object that is not a batch, committed as such
	Partial Kind = "partial"   // providers refuse to serve what they have
)

// Finding is one thing that Verify has to say.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Note   bool   `json:"note,omitempty"`
	Source string `json:"source"`
	Tenant string `json:"tenant"`
	Seq    uint64 `json:"seq"`
	Key    string `json:"key"`
	Want   string `json:"want"`
	Got    string `json:"got"`
	Text   string `json:"text"`
}

// Summary counts what Verify read and found.
type Summary struct {
	Streams   int         `json:"streams"`
	Manifests int         `json:"manifests"`
	Objects   int         `json:"objects"`
	Versions  int64       `json:"versions"`
	Faults    int         `json:"faults"`
	Notes     int         `json:"notes"`
	Heads     []ChainHead `json:"heads"`
}

// ChainHead is the newest end of one chain, as SEQ:HASH.
type ChainHead struct {
	Source string `json:"source"`
	Tenant string `json:"tenant"`
	Head   string `json:"head"`
}
