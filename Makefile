# Everything a developer or CI runs. `make demo` shows the product, `make test` proves it; both install what they need.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export SPILLWAY_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/spillway
STAMP := .venv/.made-from-$(shell cat requirements-dev.txt pyproject.toml | sha256sum | cut -c1-16)

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

venv: $(STAMP) ## the virtual environment in .venv with the project and its tools
$(STAMP):
	$(PYTHON) -c 'import sys; sys.exit("Spillway needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else 0'
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

check: venv ## style, types, architecture, unit and golden tests: under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit tests/golden

.PHONY: help venv check test generate image demo demo-down clean
