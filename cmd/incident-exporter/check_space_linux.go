package main

import "syscall"

// diskSpace is how many bytes this user may still write to the filesystem of dir, and of which kind
// that is, "" for one that is not well known.
func diskSpace(dir string) (free int64, kind string, ok bool) {
	var stat syscall.Statfs_t
	if syscall.Statfs(dir, &stat) != nil {
		return 0, "", false
	}
	// The numbers are those of statfs(2).
	kind = map[int64]string{
		0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x2fc12fc1: "zfs", 0x01021994: "tmpfs", 0x794c7630: "overlayfs",
		0x6969: "nfs", 0xff534d42: "cifs", 0x65735546: "fuse",
	}[int64(stat.Type)]
	return int64(stat.Bavail) * int64(stat.Bsize), kind, true
}
