# make quickstart   set up, run the embedded suite, print the leaderboard and the paths of the report
# make test         set up, run the tests
# make check        all that CI runs, without the gate
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A wheel-like copy, since type checker and import linter do not follow the mapping of an editable install.
COPY := build/copy

.PHONY: quickstart test lint types layers check schemas clean

quickstart: $(VENV)/.installed
	$(BIN)/benchwright run quickstart

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(COPY): FORCE $(VENV)/.dev
	rm -rf build
	$(BIN)/pip install --quiet --no-deps --target $(COPY) .
FORCE:

types: $(COPY)
	MYPYPATH=$(COPY) $(BIN)/mypy

layers: $(COPY)
	PYTHONPATH=$(COPY) $(BIN)/lint-imports

check: lint types layers test

schemas: $(VENV)/.installed
	$(BIN)/benchwright schema --out specs/schema

clean:
	rm -rf $(VENV) build runs *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Benchwright needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing Benchwright and its dependencies into $(VENV) (torch is large: this takes a few minutes)"
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@
