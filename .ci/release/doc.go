// Package release holds .goreleaser.yaml to goreleaser's own types, read strictly. To build a release takes
// minutes and is left to who makes one.
package release
