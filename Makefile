# What a user or a contributor runs. It needs Go, make and git only; the
# linter and the tests' S3 server are built from the modules in .ci, which
# also has what installs the independent readers of the tests.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
PACKAGES := ./...
SEEDS ?= 3000

# The race detector needs a C compiler, which Go looks for itself.
RACE := $(shell go env CGO_ENABLED)

# The linter's rules: what is wrong or unused, and the few of style that a
# reader notices (package comments, the form of errors, receiver names).
RULES := SA*,-SA9003,S1*,U1000,ST1000,ST1001,ST1005,ST1006,ST1008,ST1012,ST1016,ST1017,ST1019

# No test may look for credentials on the network.
export AWS_EC2_METADATA_DISABLED := true

# The real S3 server of the tests, from the module in .ci.
TOOLS := go tool -modfile=.ci/go.mod

.PHONY: build test lint demo demo-s3 drill image image-test chart-test bench mutations soak clean

build:
	go build -trimpath -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o bin/incident-exporter ./cmd/incident-exporter

test:
	go vet $(PACKAGES)
	$(TOOLS) -n versitygw >/dev/null
	.ci/readers
	.ci/deployment
	go test -C .ci -count=1 ./...
	go test -C .ci/release -count=1 ./...
	$(MAKE) chart-test
	go test -count=1 -timeout=15m $(PACKAGES)
ifeq ($(RACE),1)
	go test -race -short -count=1 -timeout=15m $(PACKAGES)
else
	@echo 'race detector: left out, it needs a C compiler' >&2; test -z "$$CI"
endif

# The second vet compiles all that is not for Linux.
lint:
	@unformatted="$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l)"; \
	if [ -n "$$unformatted" ]; then echo "gofmt -w wanted:"; echo "$$unformatted"; exit 1; fi
	$(TOOLS) staticcheck -checks '$(RULES)' $(PACKAGES)
	GOOS=darwin CGO_ENABLED=0 go vet $(PACKAGES)

demo: build
	bin/incident-exporter demo

# The same into a bucket with Object Lock of a real S3 server.
demo-s3: build
	go run ./sinks/sinktest/s3server/demo bin/incident-exporter

# The container image, by docker or, without it, by buildah.
image:
	@engine="$$(command -v docker || command -v podman || command -v buildah)" || { echo 'docker, podman or buildah is wanted' >&2; exit 1; }; \
	case "$$engine" in */podman|*/buildah) format='--format docker';; esac; \
	"$$engine" build $$format -f deploy/container/Dockerfile --build-arg VERSION=$(VERSION) -t incident-exporter:$(VERSION) .

# Builds the image without a registry, starts it, and holds it to what it says.
image-test:
	.ci/deployment
	go test -count=1 -v -run '^TestImage$$' ./cmd/incident-exporter

# The Helm chart through helm and Kubernetes' own validation, which the first time take minutes to build.
chart-test:
	go test -C .ci/kubernetes -count=1 ./...

# Prints the ratios of the README's table of figures.
bench: build
	BENCH_REPORT=1 go test -count=1 -timeout=60m -v -run '^TestBench' ./cmd/incident-exporter

# Ten faults, and the log line, health, alert and runbook entry that name each.
drill: build
	DRILL=1 go test -count=1 -timeout=10m -run '^TestDrill$$' ./cmd/incident-exporter -v

# Breaks each clause of reading and committing on purpose: a test must notice.
mutations:
	MUTATIONS=1 go test -count=1 -timeout=40m -run '^TestMutations$$' ./exporter

# The world in a seed, SEEDS of them; each failure prints its seed. And a year
# of a daemon's ticks, which the tests live a month of.
soak:
	SOAK_SEEDS=$(SEEDS) go test -count=1 -timeout=0 -v -run '^TestWorld' ./exporter
	SOAK_DAYS=365 go test -count=1 -timeout=0 -v -run '^TestMonth$$' ./cmd/incident-exporter

clean:
	rm -rf bin
