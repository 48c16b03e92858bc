package release

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

const top = "../../"

func TestConfiguration(t *testing.T) {
	text, err := os.ReadFile(top + ".goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	project, err := config.LoadReader(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.LoadReader(strings.NewReader(strings.Replace(string(text), "checksum:", "checksums:", 1))); err == nil {
		t.Error("a misspelt key is not found")
	}
	if len(project.Builds) != 1 || len(project.Archives) != 1 || len(project.SBOMs) != 1 || project.Checksum.NameTemplate == "" {
		t.Fatalf("%+v", project)
	}
	build := project.Builds[0]
	if !slices.Equal(build.Goos, []string{"linux", "darwin", "windows"}) || !slices.Equal(build.Goarch, []string{"amd64", "arm64"}) || !slices.Contains(build.Env, "CGO_ENABLED=0") {
		t.Errorf("%+v", build)
	}
	for _, file := range project.Archives[0].Files {
		if strings.HasPrefix(file.Source, "bin/") { // made by the hooks
			continue
		}
		if found, err := filepath.Glob(top + file.Source); err != nil || len(found) == 0 {
			t.Errorf("%s: %v, %v", file.Source, found, err)
		}
	}
}
