//go:build !linux

package main

// playRole is what the test binary does in the place of the program where a test needs more of
// the system than the program itself asks of it. It returns the exit code.
func playRole(string, []string) int { return exitUsage }
