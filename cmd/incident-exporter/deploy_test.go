package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestDeploymentNamesNoOtherVariables: every variable that a file of deploy/ names exists. That each
// can be set through the chart is tested where helm is.
func TestDeploymentNamesNoOtherVariables(t *testing.T) {
	known := []string{jobIndex}
	for _, row := range load(t).rows {
		known = append(known, row.name)
	}
	// What is said of a whole family: EXPORTER_S3_*, EXPORTER_...
	name := regexp.MustCompile(`\b(?:AZURE|EXPORTER|JOB)_[A-Z0-9_]*[A-Z0-9]\b(?:[_*…]|\.\.\.)*`)
	files, named := 0, map[string]bool{}
	err := filepath.WalkDir("../../deploy", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, found := range name.FindAllString(string(content), -1) {
			named[found] = true
			if !slices.Contains(known, found) && !regexp.MustCompile(`[_*…]$|\.\.\.$`).MatchString(found) {
				t.Errorf("%s names %s, which does not exist", path, found)
			}
		}
		return nil
	})
	if err != nil || files < 15 || len(named) < 15 {
		t.Errorf("%d files with %d variables, %v", files, len(named), err)
	}
}
