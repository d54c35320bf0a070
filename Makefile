# Everything a developer or CI runs. `make demo` shows the product, `make test` proves it; both install what they need.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export SPILLWAY_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/spillway
# Containers like to set it to 1; every process would then compile the project and its tests anew, which is a third of what `check` costs.
export PYTHONDONTWRITEBYTECODE :=
STAMP := .venv/.made-from-$(shell cat requirements-dev.txt pyproject.toml | sha256sum | cut -c1-16)

help: ## what there is
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

venv: $(STAMP) ## the virtual environment in .venv with the project and its tools
$(STAMP):
	$(PYTHON) -c 'import sys; sys.exit("Spillway needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else 0'
	rm -rf .venv
	@# Debian keeps what makes virtual environments in a package of its own.
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { apt-get -qq update && apt-get -qq install -y python3-venv; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

check: venv ## style, types, architecture, unit and golden tests: under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n auto --dist worksteal tests/unit tests/golden

# Among thousands of steps of real processes on two busy cores one may come at a bad moment. A test that fails is asked once more and is printed
# as rerun: a bug to be mended, of the test or of the product. `make AGAIN= test` asks once.
AGAIN ?= --reruns 1
test: check ## everything: check, generated files, chart, API server, data plane, engine, end to end
	@# From an empty cache, programs are compiled while images wait for mirrors; one after the other is minutes more.
	$(BIN)/python -m tests.e2e.cluster make everything
	$(MAKE) --no-print-directory check-generated
	$(BIN)/python -m pytest -n 2 --dist worksteal $(AGAIN) tests/chart tests/apiserver tests/compiled
	@# Two thirds of their time they wait. More at once would need more inotify instances than Linux gives a user: 128, an Envoy has 5.
	$(BIN)/python -m pytest -n 3 --dist worksteal $(AGAIN) tests/dataplane
	$(BIN)/python -m pytest -n 2 --dist worksteal $(AGAIN) tests/engine
	$(MAKE) --no-print-directory grid
	$(BIN)/python -m pytest $(AGAIN) tests/e2e

grid: venv ## a small grid of simulations on recorded traffic, where the traces are there (../shared/data/traces)
	rm -f build/small.csv; $(BIN)/python -m benchmarks.autoscaling run --small --out build/small.csv || [ $$? = 3 ]

test-e2e: venv ## the end-to-end tests alone, on PROVIDER (auto, kind, local, existing)
	SPILLWAY_E2E_PROVIDER=$(PROVIDER) $(BIN)/python -m pytest $(AGAIN) tests/e2e

generate: venv ## CRDs, schemas, reference pages, rules, dashboard and the charts' READMEs from models and values
	$(BIN)/python -m spillway.cli.crds .
	$(BIN)/python -m tests.chart.monitoring .
	$(BIN)/python -m tests.e2e.cluster.helm_docs charts

GENERATED := crds charts/*/crds charts/spillway-crds/templates charts/*/README.md charts/spillway/rules charts/spillway/dashboards docs/reference.md docs/*.schema.json operator/spillway/cli/*.json
check-generated: generate
	@changed="$$(git status --porcelain -- $(GENERATED))"; [ -z "$$changed" ] || \
	  { echo "$$changed"; echo "generated files differ from what is committed: run make generate and commit" >&2; exit 1; }

image: venv ## the operator's image from the Dockerfile, with buildah, as an archive in the cache
	$(BIN)/python -m tests.e2e.cluster make images operator

PROVIDER ?= auto
demo: venv ## bring up a cluster, install the chart and show the product at work
	$(BIN)/python -m tests.e2e.demo --provider $(PROVIDER)

demo-down: venv ## remove everything make demo left running
	$(BIN)/python -m tests.e2e.cluster down --provider $(PROVIDER)

clean: ## stop every local cluster and empty the cache and the virtual environment
	if [ -x $(BIN)/python ]; then $(BIN)/python -m tests.e2e.cluster down --all; fi
	rm -rf "$(SPILLWAY_CACHE)" .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help venv check test grid test-e2e generate check-generated image demo demo-down clean
