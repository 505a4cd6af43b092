# Every target sets up what it needs in .venv, from the lock files, on a machine with Python 3.11 or 3.12.
SHELL := /bin/bash -o pipefail
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --progress-bar off

UVFLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: quickstart paper test slow lint format lock clean

quickstart: $(VENV)/.run
	$(BIN)/python -m experiments.quickstart

# Every experiment of the paper in its small size, and one report; `make paper SIZE=paper` runs the paper's own.
SIZE ?= small
paper: $(VENV)/.dev
	$(BIN)/python -m experiments.paper --size=$(SIZE)

# Longer tests carry the mark `slow`: `make slow` runs those alone. Workers share the tests file by file;
# `make test WORKERS=0` runs them in one process, as plain pytest does.
WORKERS ?= 2
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow -n $(WORKERS) --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: found no Python 3.11 or 3.12; install one or say make PYTHON=path."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --editable .
	touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(PIP) --require-hashes -r requirements-dev.lock
	touch $@

# Needs uv (pip install uv); writes the newest versions that pyproject.toml allows, for every platform and Python.
lock:
	uv pip compile pyproject.toml --extra build --extra dev $(UVFLAGS) --output-file requirements-dev.lock
	uv pip compile pyproject.toml --constraint requirements-dev.lock $(UVFLAGS) --output-file requirements.lock

clean:
	rm -rf $(VENV) results build dist *.egg-info
