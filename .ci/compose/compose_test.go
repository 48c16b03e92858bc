package compose

import (
	"os"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const dir = "../../deploy/compose"

func load(t *testing.T, env ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{dir + "/compose.yaml"}, cli.WithWorkingDirectory(dir), cli.WithEnv(env), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(t.Context())
}

// TestCompose reads it strictly: by the schema, with every reference resolved.
func TestCompose(t *testing.T) {
	env := []string{"AZURE_TENANT_ID=5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa", "AZURE_CLIENT_ID=0a1c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa", "S3_ACCESS_KEY=made-up", "S3_SECRET_KEY=made-up-too"}
	project, err := load(t, env...)
	if err != nil {
		t.Fatal(err)
	}
	exporter := project.Services["exporter"]
	s3 := project.Services["s3"]
	if !exporter.ReadOnly || len(exporter.CapDrop) != 1 || exporter.User != "" || *exporter.Environment["AWS_SECRET_ACCESS_KEY"] != *s3.Environment["ROOT_SECRET_KEY"] {
		t.Errorf("%+v", exporter)
	}
	for name, config := range project.Configs {
		if _, err := os.Stat(config.File); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, service := range project.Services {
		if _, tag, _ := strings.Cut(service.Image, ":"); service.Build == nil && (tag == "" || tag == "latest") {
			t.Errorf("%s: the image %s has no version", name, service.Image)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to others", name, port.Published)
			}
		}
	}
	for i := range env {
		missing := append(append([]string{}, env[:i]...), env[i+1:]...)
		name, _, _ := strings.Cut(env[i], "=")
		if _, err := load(t, missing...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
