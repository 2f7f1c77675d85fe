# On a machine with only Python 3.11+ and make: `make demo` shows the product, `make test` tests it, `make test-all` with the slow tests too.
# Everything lands in .venv here. Useful variables:
#   PYTHON=python3.12        the interpreter that makes .venv
#   PIP_INSTALL_ARGS=...     more options for pip (another index, for example)
#   PYTEST_ARGS=...          more options for pytest:  make test PYTEST_ARGS="tests/search -x"

PYTHON ?= python3
PIP_INSTALL_ARGS ?=
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# A stamp file is written when its step has ended well: an interrupted step runs again, a finished one does not.
CREATED := $(VENV)/.trimtab-created
DEV := $(VENV)/.trimtab-dev
DEMO := $(VENV)/.trimtab-demo

# Whoever has nothing left to do takes tests from the other.
IN_PARALLEL := -n 2 --dist worksteal

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup demo test test-all check lint types floors docs figures wheels clean distclean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV)  ## make .venv and install Trimtab with its development tools

demo: $(DEMO)  ## plan, verify and export for solar cell photographs, on this machine
	$(BIN)/python examples/solar_cells/demo.py

test: $(DEV)  ## run the fast tests
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not slow" $(PYTEST_ARGS)

test-all: $(DEV)  ## run all tests, as CI does
	$(BIN)/python -m pytest $(IN_PARALLEL) $(PYTEST_ARGS)

check: lint types floors  ## lint, types and floors

lint: $(DEV)  ## ruff
	$(BIN)/ruff check .

types: $(DEV)  ## mypy
	$(BIN)/mypy

floors: $(DEV)  ## who may import whom
	$(BIN)/lint-imports

# The page of commands is what their --help says; mkdocs-material's advertisement of its successor is left out.
docs: $(DEV)  ## build the documentation as a site, in site/; broken links are errors
	@mkdir -p docs/reference
	$(BIN)/python -m typer trimtab.planner.cli.app utils docs --name trimtab --output docs/reference/commands.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

figures: $(DEV) $(DEMO)  ## run the benchmarks of docs/results.md and write docs/figures.json, with the machine beside (hours; the data pack: TRIMTAB_DATA)
	$(BIN)/python -m benchmarks.figures

wheels: $(DEV)  ## build both wheels into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .
	$(BIN)/python -m build --wheel --no-isolation --outdir dist packaging/runtime

clean:  ## remove caches, build and demo output (a store of measurements stays)
	rm -rf build dist site docs/reference demo-output .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv
	rm -rf $(VENV)

$(CREATED):
	@command -v $(PYTHON) >/dev/null && $(PYTHON) --version >/dev/null 2>&1 || { \
	  echo "make: there is no working '$(PYTHON)' here, and Trimtab needs Python 3.11 or newer." \
	       "Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Trimtab needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Name another: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot make virtual environments." \
	       "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "== making $(VENV) with $$($(PYTHON) --version)"
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Installing one set of extras leaves the other's packages alone, so both may live in one .venv.
$(DEV): $(CREATED) $(REQUIREMENTS)
	@echo "== installing Trimtab and its development tools into $(VENV) (about 2 GB, some minutes the first time)"
	$(BIN)/python -m pip install $(PIP_INSTALL_ARGS) --progress-bar off -c constraints.txt -e '.[dev]'
	@touch $@

$(DEMO): $(CREATED) $(REQUIREMENTS)
	@echo "== installing Trimtab and the demo's models and photographs into $(VENV) (about 2 GB, some minutes the first time)"
	$(BIN)/python -m pip install $(PIP_INSTALL_ARGS) --progress-bar off -c constraints.txt -e '.[demo]'
	@touch $@
