package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

const chart = "../../deploy/helm/incident-exporter"

// modes are the values of each way to run it, with all that can be asked for in that mode.
// No name has a comma, at which helm splits a list of files.
func modes() map[string]string {
	return map[string]string{
		"cronjob with as little as there must be": `
sink: s3://fabrikam-archive/xdr
`,
		"cronjob with local files and a certificate": `
mode: cronjob
schedule: "17 * * * *"
timeZone: Europe/Berlin
persistence: {enabled: true, storageClassName: fast}
secret: {name: incident-exporter}
env:
  AZURE_TENANT_ID: 5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa
  AZURE_CLIENT_ID: 0a1c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa
  AZURE_CLIENT_CERTIFICATE_PATH: /etc/incident-exporter/secret/app.pem
  EXPORTER_MAX_LAG: 2h
  EXPORTER_BATCH_BYTES: 16777216
  EXPORTER_S3_PATH_STYLE: true
priorityClassName: high
podAnnotations: {fabrikam.example/owner: soc}
podLabels: {team: soc}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: soc, operator: Exists}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}}}
image: {repository: registry.fabrikam.example/incident-exporter, tag: 1.2.3, pullSecrets: [pull]}
`,
		"deployment with workload identity and IRSA": `
mode: deployment
sink: s3://fabrikam-archive/xdr
workloadIdentity: {clientId: 0a1c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa}
irsa: {roleArn: "arn:aws:iam::123456789012:role/incident-exporter"}
tenants: [5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa]
networkPolicy:
  enabled: true
  extraEgress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{protocol: TCP, port: 9000}]}]
  ingressFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
podMonitor: {enabled: true, labels: {release: prometheus}}
`,
		"deployment with a claim of one's own": `
mode: deployment
persistence: {enabled: true, existingClaim: archive}
serviceAccount: {create: false, name: exporter}
`,
		"indexed": `
mode: indexed
sink: s3://fabrikam-archive/xdr
shards: 40
parallelism: 10
runTimeoutSeconds: 1800
graceSeconds: 30
secret: {name: incident-exporter}
env: {AZURE_CLIENT_SECRET_FILE: /etc/incident-exporter/secret/client-secret}
tenants:
  - contoso=5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa
  - fabrikam=5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730ab graph
networkPolicy: {enabled: true}
`,
	}
}

// tool is helm as it is built here. It keeps what it writes out of the home directory.
func tool(t *testing.T) string {
	t.Helper()
	path, err := exec.CommandContext(t.Context(), "go", "tool", "-n", "helm").Output()
	if err != nil {
		t.Fatalf("build helm: %v", err)
	}
	return strings.TrimSpace(string(path))
}

// helm runs helm on the chart with some values.
func helm(t *testing.T, tool, values string, args ...string) (stdout []byte, stderr string, err error) {
	t.Helper()
	home := t.TempDir()
	file := filepath.Join(home, "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), tool, append(args, chart, "--values", file)...)
	command.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	var errs bytes.Buffer
	command.Stderr = &errs
	stdout, err = command.Output()
	return stdout, errs.String(), err
}

// render makes the objects of a release.
func render(t *testing.T, tool, values string) []byte {
	t.Helper()
	out, said, err := helm(t, tool, values, "template", "xdr", "--namespace", "soc")
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return out
}

// TestChart: each mode is linted, and what it renders is what a cluster takes, also one that holds pods
// to the Pod Security Standard "restricted".
func TestChart(t *testing.T) {
	tool := tool(t)
	all := modes()
	all["the example of the README"] = example(t)
	for name, values := range all {
		t.Run(name, func(t *testing.T) {
			if out, said, err := helm(t, tool, values, "lint", "--strict"); err != nil {
				t.Errorf("lint: %v: %s%s", err, out, said)
			}
			objects, err := Decode(render(t, tool, values))
			if err != nil {
				t.Fatal(err)
			}
			pods := 0
			for _, object := range objects {
				if err := Validate(object); err != nil {
					t.Errorf("%T: %v", object, err)
				}
				pod := PodOf(object)
				if pod == nil {
					continue
				}
				pods++
				if err := Restricted(pod); err != nil {
					t.Errorf("%T: %v", object, err)
				}
				times(t, object)
				spec := pod.Spec
				if *spec.AutomountServiceAccountToken || *spec.EnableServiceLinks || !*spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem {
					t.Errorf("%+v", spec)
				}
				mounted(t, spec)
			}
			if pods != 1 {
				t.Errorf("%d objects with pods", pods)
			}
		})
	}
}

// example is what deploy/README.md has a newcomer write into values.yaml.
func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, values, found := strings.Cut(string(text), "    cat > values.yaml <<'END'\n")
	values, _, ended := strings.Cut(values, "    END\n")
	if !found || !ended || strings.Count(values, "      - ") != 3 {
		t.Fatalf("the README has no values for three tenants: %s", values)
	}
	return strings.ReplaceAll("\n"+values, "\n    ", "\n")
}

// times checks that whoever is more patient ends later: the program, the Job, the kubelet.
func times(t *testing.T, object any) {
	t.Helper()
	var pod corev1.PodSpec
	var deadline *int64
	switch o := object.(type) {
	case *appsv1.Deployment:
		pod = o.Spec.Template.Spec
		probe := pod.Containers[0]
		if probe.LivenessProbe.HTTPGet.Path != "/healthz" || probe.ReadinessProbe.HTTPGet.Path != "/readyz" {
			t.Errorf("%+v", probe)
		}
	case *batchv1.CronJob:
		job := o.Spec.JobTemplate.Spec
		pod, deadline = job.Template.Spec, job.ActiveDeadlineSeconds
		if shards := env(pod)["EXPORTER_SHARDS"]; job.CompletionMode != nil && shards != fmt.Sprint(*job.Completions) || job.CompletionMode == nil && shards != "" {
			t.Errorf("%q shards, %+v", shards, job)
		}
		if o.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent || env(pod)["EXPORTER_SCHEDULE"] != o.Spec.Schedule || env(pod)["EXPORTER_TIMEZONE"] != *o.Spec.TimeZone {
			t.Errorf("%+v", o.Spec)
		}
	}
	timeout, err := time.ParseDuration(env(pod)["EXPORTER_RUN_TIMEOUT"])
	if err != nil {
		t.Fatal(err)
	}
	grace, err := time.ParseDuration(env(pod)["EXPORTER_GRACE"])
	if err != nil {
		t.Fatal(err)
	}
	if *pod.TerminationGracePeriodSeconds <= int64(grace.Seconds()) {
		t.Errorf("the pod has %d s to stop in, the program takes %s", *pod.TerminationGracePeriodSeconds, grace)
	}
	if deadline != nil && *deadline <= int64((timeout+grace).Seconds()) {
		t.Errorf("the Job ends after %d s, the program after %s and %s", *deadline, timeout, grace)
	}
}

// mounted checks that every file that a variable names lies on a volume.
func mounted(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	for name, value := range env(pod) {
		path := strings.TrimPrefix(value, "file:")
		if !strings.HasPrefix(path, "/") {
			continue
		}
		if !slices.ContainsFunc(pod.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
			return path == m.MountPath || strings.HasPrefix(path, m.MountPath+"/")
		}) {
			t.Errorf("%s names %s, which is on no volume", name, path)
		}
	}
}

func env(pod corev1.PodSpec) map[string]string {
	all := map[string]string{}
	for _, e := range pod.Containers[0].Env {
		all[e.Name] = e.Value
	}
	return all
}

// TestChartRefuses what would not do what it seems to, with a word that leads to it.
func TestChartRefuses(t *testing.T) {
	tool := tool(t)
	sink := "sink: s3://fabrikam-archive/xdr\n"
	for values, word := range map[string]string{
		"{}":                                               "set sink",
		sink + "mode: statefulset":                         "mode",
		sink + "modus: cronjob":                            "modus",
		sink + "env: [a]":                                  "env",
		sink + "shards: 1":                                 "shards",
		sink + "schedule: TZ=UTC * * *":                    "schedule",
		sink + "persistence: {enabled: true}":              "one place",
		sink + "env: {AZURE_CLIENT_SECRET: x}":             "AZURE_CLIENT_SECRET",
		sink + "env: {EXPORTER_SINK: x}":                   "EXPORTER_SINK",
		sink + "tenants: [contoso.example]":                "tenants",
		sink + "podMonitor: {enabled: true}":               "mode deployment",
		sink + "mode: indexed\nenv: {EXPORTER_SHARD: 1/2}": "EXPORTER_SHARD",
		sink + "irsa: {roleArn: a-role}":                   "roleArn",
		sink + "image: {repo: x}":                          "repo",
		sink + "tenants: [5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa]\nenv: {EXPORTER_TENANTS: x}":        "tenants",
		sink + "serviceAccount: {create: false}\nirsa: {roleArn: arn:aws:iam::123456789012:role/x}": "serviceAccount",
	} {
		if out, said, err := helm(t, tool, values, "template", "xdr"); err == nil || !strings.Contains(said, word) {
			t.Errorf("%s: %v, %s%s", values, err, out, said)
		}
	}
}

// TestDamageIsFound breaks what the chart renders: each time somebody must see it.
func TestDamageIsFound(t *testing.T) {
	out := string(render(t, tool(t), modes()["indexed"]))
	check := func(text string) error {
		objects, err := Decode([]byte(text))
		for _, object := range objects {
			if err == nil {
				err = Validate(object)
			}
			if pod := PodOf(object); err == nil && pod != nil {
				err = Restricted(pod)
			}
		}
		return err
	}
	if err := check(out); err != nil {
		t.Fatal(err)
	}
	for _, damage := range [][2]string{
		{`timeZone: "UTC"`, `timeZone: "Mars/Base"`},
		{`schedule: "*/5 * * * *"`, `schedule: "TZ=UTC */5 * * * *"`},
		{"concurrencyPolicy: Forbid", "concurrencyPolicy: Never"},
		{"concurrencyPolicy: Forbid", "concurrencyPolice: Forbid"},
		{"concurrencyPolicy: Forbid", "concurrencyPolicy: Forbid\n  concurrencyPolicy: Forbid"},
		{"completionMode: Indexed", "completionMode: NonIndexed"},
		{"runAsNonRoot: true", "runAsNonRoot: false"},
		{"drop: [ALL]", "drop: []"},
		{"type: RuntimeDefault", "type: Unconfined"},
		{"readOnly: true", "readonly: true"},
		{"policyTypes: [Ingress, Egress]", "policyTypes: [Outgress]"},
		{"kind: CronJob", "kind: CronJobs"},
		{"name: secret\n", "name: other\n"},
	} {
		broken := strings.Replace(out, damage[0], damage[1], 1)
		if broken == out {
			t.Errorf("%q is not there", damage[0])
		}
		if err := check(broken); err == nil {
			t.Errorf("%q for %q is not found", damage[1], damage[0])
		}
	}
}

// TestEveryVariableCanBeSet: by the map of variables, or by a value of the chart's own; secrets as files.
func TestEveryVariableCanBeSet(t *testing.T) {
	tool := tool(t)
	command := exec.CommandContext(t.Context(), "go", "run", "./cmd/incident-exporter", "config", "--json")
	command.Dir = "../.."
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "EXPORTER_") && !strings.HasPrefix(e, "AZURE_") {
			command.Env = append(command.Env, e)
		}
	}
	out, err := command.Output()
	if err != nil {
		t.Fatalf("ask for the variables: %v", err)
	}
	var settings bytes.Buffer
	settings.WriteString("sink: s3://fabrikam-archive/xdr\nenv:\n")
	known := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		var row struct{ Name string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		known[row.Name] = true
	}
	schema, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]bool{}
	for _, name := range regexp.MustCompile(`"((?:AZURE|EXPORTER|AWS)_[A-Z_]+)"`).FindAllStringSubmatch(string(schema), -1) {
		refused[name[1]] = true
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !refused[name] {
			fmt.Fprintf(&settings, "  %s: x\n", name)
		}
	}
	set := map[string]string{}
	for _, values := range append(slices.Collect(maps.Values(modes())), settings.String()) {
		objects, err := Decode(render(t, tool, values))
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			if pod := PodOf(object); pod != nil {
				maps.Copy(set, env(pod.Spec))
			}
		}
	}
	if len(known) < 40 {
		t.Errorf("only %d variables: %s", len(known), out)
	}
	for name := range known {
		_, itself := set[name]
		_, file := set[name+"_FILE"]
		// One that the program does not take yet has no file either.
		if !itself && !file && !(refused[name] && !known[name+"_FILE"]) {
			t.Errorf("%s cannot be set through the chart", name)
		}
	}
	for name := range refused {
		if !known[name] && !strings.HasPrefix(name, "AWS_") {
			t.Errorf("the chart refuses %s, which does not exist", name)
		}
	}
	for name := range set {
		if !known[name] && !strings.HasPrefix(name, "AWS_") {
			t.Errorf("the chart sets %s, which does not exist", name)
		}
	}
}
