# Every target makes .venv and installs what it needs from the lock (constraints.txt); needs Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := -c constraints.txt
BUILT_FROM := pyproject.toml constraints.txt
ARGS ?=

.PHONY: help sweep test test-browser test-cluster test-slow bench studies notebooks lint format lock clean

help:
	@echo "make sweep         search the packaged workload, print the front, write the run folder and its report"
	@echo "make test          the test suite; beside it test-browser, test-cluster, test-slow, bench"
	@echo "make studies       run every study again; make notebooks runs and writes the notebooks (needs Chromium)"
	@echo "make lint          ruff, mypy, import rules; make format rewrites; make lock renews constraints.txt"
	@echo "ARGS='...' is handed on: make sweep ARGS='workload.rate=4', make test ARGS='tests/sim -x'"

sweep: .venv/.run
	$(BIN)/mist-dse sweep $(ARGS)

test: .venv/.dev
	$(BIN)/python -m pytest $(ARGS)

test-browser: .venv/.browser
	$(BIN)/python -m pytest -m browser tests $(ARGS)

test-cluster: .venv/.cluster
	$(BIN)/python -m pytest -m cluster tests $(ARGS)

test-slow: .venv/.dev
	$(BIN)/python -m pytest -m slow tests $(ARGS)
	$(BIN)/python -m pytest --hypothesis-profile search tests/oracles tests/laws tests/sim tests/analytic $(ARGS)

bench: .venv/.dev
	$(BIN)/python -m pytest -m bench tests $(ARGS)

studies: .venv/.dev
	@set -e; for study in studies/*/run.py; do [ -e "$$study" ] || continue; echo "== $$study"; $(BIN)/python "$$study"; done

notebooks: .venv/.dev
	$(BIN)/python -m tests.notebooks.pairs $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Package names and versions only: no index, no file addresses, every platform and Python at once.
lock: .venv/.python
	$(PIP) install --quiet uv
	$(BIN)/python -m uv pip compile --universal --python-version 3.11 --all-extras --upgrade --no-annotate --no-emit-index-url \
	  --no-emit-find-links --custom-compile-command "make lock" pyproject.toml --output-file constraints.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 15) else "mist-dse needs Python 3.11 to 3.14, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.run: .venv/.python $(BUILT_FROM)
	$(PIP) install --quiet $(LOCKED) -e .
	@touch $@

.venv/.browser: .venv/.dev
	$(PIP) install --quiet $(LOCKED) -e '.[dev,perfetto]'
	@touch $@

.venv/.cluster: .venv/.dev
	$(PIP) install --quiet $(LOCKED) -e '.[dev,dask,viz]'
	@touch $@

.venv/.dev: .venv/.run
	$(PIP) install --quiet $(LOCKED) -e '.[dev]'
	@touch $@
