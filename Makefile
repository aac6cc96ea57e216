# `make` lists the targets. Each sets up what it needs in $(VENV); nothing is installed elsewhere.
#
#   PYTHON=python3.12   the interpreter to make the virtual environment with
#   VENV=.venv          where that is
#   RUN_ARGS=           passed on by `make run` to `bellrelay run`
#   PYTEST_ARGS=        passed on by `make test` and `make soak` to pytest
#   BOARDS=             what `make boards` builds; default: every board

VENV ?= .venv
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif

BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help venv run test lint soak proofs bench boards docs docs-figures clean check-machine

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1 - \2/p' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.installed-run  ## simulated photons through real gateware to announced outcomes
	$(BIN)/bellrelay run $(RUN_ARGS)

test: lint  ## style, types, layers and all tests but the long ones
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev  ## style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(VENV)/.installed-dev  ## the long tests, at the volumes of a release
	$(BIN)/python -m pytest -m soak --timeout=0 $(PYTEST_ARGS)

proofs: $(VENV)/.installed-dev  ## all bounded proofs of the gateware
	$(BIN)/python -m bellrelay_gateware.prove

bench: $(VENV)/.installed-dev  ## all benchmarks, each with its ratio
	$(BIN)/python -m bench

boards: $(VENV)/.installed-boards  ## bitstreams of all boards, with their gates, and a page on each
	for board in $${BOARDS:-$$($(BIN)/python -c 'from bellrelay_boards.catalogue import all_boards; print(*all_boards())')}; do \
	    $(BIN)/bellrelay board build "$$board" --report || exit; done

docs: $(VENV)/.installed-docs  ## the pages as a site in build/docs, every warning an error
	$(BIN)/sphinx-build -W -n --keep-going -q docs build/docs
	@echo "open build/docs/index.html"

docs-figures: $(VENV)/.installed-dev  ## the pictures of the page on physics anew
	$(BIN)/python docs/figures.py
	$(BIN)/bellrelay keyrate deploy/link.example.yaml --scan distance --range 0 150 10 --plot docs/figures/rates.png

venv: $(VENV)/.installed-dev  ## the virtual environment with all that development needs

clean:  ## remove what was made here, the virtual environment included
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find host gateware sim boards tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# What only the machine's owner can install, checked before anything is downloaded.
check-machine:
	@test -n "$(PYTHON)" || { echo "bellrelay needs Python 3.11 or newer, and found none." \
	    "On Debian: apt-get install python3 python3-venv. Or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "bellrelay needs Python 3.11 or newer; $(PYTHON) is older, or does not run." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@command -v c++ >/dev/null || { \
	    echo "The simulation of the gateware needs a C++ compiler. On Debian: apt-get install g++" >&2; exit 1; }

$(BIN)/python: | check-machine
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-run: pyproject.toml | check-machine $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sim]'
	@touch $@

$(VENV)/.installed-boards: pyproject.toml | check-machine $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[boards]'
	@touch $@

$(VENV)/.installed-docs: pyproject.toml | check-machine $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | check-machine $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@$(BIN)/python -c 'import find_libpython, sys; sys.exit(not find_libpython.find_libpython())' || { \
	    echo "cocotb needs the interpreter as a shared library, and $(PYTHON) has none." \
	    "On Debian: apt-get install libpython3-dev" >&2; exit 1; }
	@touch $@
