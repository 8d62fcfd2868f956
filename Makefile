# Everything a newcomer needs: `make demo` and `make test`. Needs Python 3.11 or newer with pip, and make; nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUNS ?= permgrad-runs
# Every process that a test starts would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
# The quick check that the interpreter is new enough says so in words instead of failing inside pip.
CHECK_PYTHON := import sys; sys.exit(None if sys.version_info >= (3, 11) else "permgrad needs Python 3.11 or newer, got " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11.")

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-python test-lowest test-foreign lint format verify benchmarks mutants pictures notebooks figures docs docs-browser release clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "permgrad needs Python 3.11 or newer, but there is no python3 on the PATH. Install it, or set PYTHON=/path/to/python3.11." >&2; exit 3; }
	@"$(PYTHON)" -c '$(CHECK_PYTHON)'
	"$(PYTHON)" -m venv $(VENV)

# The stamps make a second call quick: pip runs again only when what is to be installed has changed.
$(VENV)/installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing permgrad (a few minutes the first time) ..."
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing permgrad with its test tools (a few minutes the first time) ..."
	$(PIP) install -c constraints.txt -e '.[peers,tune,scale,agents,onnx,dev]' lightgbm xgboost
	@touch $@

# On so small a table threads take longer to meet than to compute; a number that you set is taken.
demo: export OMP_NUM_THREADS ?= 1
demo: $(VENV)/installed-demo ## Train and explain on a data set that ships with scikit-learn; says where the report is
	$(BIN)/permgrad demo --out $(RUNS)/demo
	@echo "Open the report in any browser: $(abspath $(RUNS))/demo/report.html"

# So many processes share the tests, a file at a time: what a file's tests have in common is made once. Files are taken as
# they stand. Sorted by their number of tests, the longest would begin last, and one process would wait for the other.
SHARED = -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
TEST_PROCESSES ?= 2
test: $(VENV)/installed-test ## Run every quick test on a few of its cases (minutes)
	$(BIN)/python -m pytest $(SHARED) --cases 2 -m "not slow"

# CASES=2 runs at most two cases of a test, spread over all of them.
test-all: $(VENV)/installed-test ## Run all tests on all their cases, or on CASES=2 of each, as CI does
	$(BIN)/python -m pytest $(SHARED) $(if $(CASES),--cases $(CASES))

# Another Python in an environment of its own: the demonstration, then a case of every quick test of what reads, trains and
# explains, and the examples of the documentation strings. What this machine lacks is skipped in words.
OTHER = .venv-$(notdir $(PYTHON))
test-python: ## The demonstration and some quick tests with another Python: PYTHON=python3.13
	@if ! command -v "$(PYTHON)" >/dev/null; then echo "Skipped: there is no $(PYTHON) on this machine."; exit 0; fi; set -e; \
	echo "Installing permgrad for $(PYTHON) (a few minutes) ..."; "$(PYTHON)" -m venv $(OTHER); \
	$(OTHER)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt -e '.[boost,agents]' pytest pytest-timeout hypothesis; \
	OMP_NUM_THREADS=1 $(OTHER)/bin/permgrad demo --out $(RUNS)/demo-$(notdir $(PYTHON)); \
	$(OTHER)/bin/python -m pytest --cases 1 -m "not slow" tests/base tests/cli tests/data tests/models/save \
		tests/attribution/test_all_methods.py src/permgrad

# The oldest supported versions in an environment of their own, without the extras: tests that need one are skipped and say so.
LOWEST ?= .venv-lowest
$(LOWEST)/installed: pyproject.toml constraints-lowest.txt
	@test -n "$(PYTHON)" || { echo "permgrad needs Python 3.11 or newer, but there is no python3 on the PATH. Install it, or set PYTHON=/path/to/python3.11." >&2; exit 3; }
	@"$(PYTHON)" -c '$(CHECK_PYTHON)'
	"$(PYTHON)" -m venv $(LOWEST)
	@echo "Installing permgrad with the oldest versions that it supports (a few minutes the first time) ..."
	$(LOWEST)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints-lowest.txt -e . \
		'pytest>=8' 'pytest-timeout>=2.3' 'hypothesis>=6.100'
	@touch $@

test-lowest: $(LOWEST)/installed ## Run all tests with the oldest supported version of every dependency
	$(LOWEST)/bin/python -m pytest -rs

# Networks of other libraries, in an environment of their own: their pins disagree.
FOREIGN ?= .venv-foreign
$(FOREIGN)/installed: tests/foreign/install.sh constraints.txt
	@echo "Installing libraries whose networks are explained (a few minutes the first time) ..."
	PYTHON="$(PYTHON)" sh tests/foreign/install.sh $(FOREIGN)
	@touch $@

test-foreign: $(FOREIGN)/installed ## Explain networks of other libraries; RECORD=1 writes the table of them
	$(FOREIGN)/bin/python -m pytest -rs tests/foreign
	$(if $(RECORD),$(FOREIGN)/bin/python tests/foreign/table.py && $(FOREIGN)/bin/python tests/foreign/fresh.py)

lint: $(VENV)/installed-test ## Style, formatting, types, spelling, the order of folders and their size
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint --deny-warnings src/permgrad/pages/templates/scripts
	$(BIN)/mypy
	$(BIN)/codespell docs examples src *.md
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/python -m tools.budgets

format: $(VENV)/installed-test ## Let ruff put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The long statistical checks; their one-seed forms are part of `make test`.
VERIFY := $(patsubst %.py,%,$(notdir $(sort $(wildcard verification/verify_*.py))))
verify: $(VENV)/installed-test ## The long statistical checks (hours)
	@set -e; for script in $(VERIFY); do echo "== $$script"; $(BIN)/python -m verification.$$script; done

BENCHMARKS := $(subst /,.,$(patsubst %.py,%,$(filter-out benchmarks/%/_%,$(sort $(wildcard benchmarks/*/[a-z]*.py)))))
benchmarks: $(VENV)/installed-test ## Speed and quality measurements (prints what was measured and on what)
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python -m $$script; done

mutants: $(VENV)/installed-test ## Are small wrong changes noticed by the tests? (hours; goes on where it was stopped)
	$(BIN)/python -m tools.mutants.mutation_testing --jobs 2

pictures: $(VENV)/installed-test ## Make the pictures of the documentation again
	$(BIN)/python docs/make_pictures.py
	$(BIN)/python docs/make_abstract.py

notebooks: $(VENV)/installed-test ## Make the notebooks, and the small pictures, of the gallery's scripts again
	$(BIN)/python docs/make_notebooks.py --thumbnails

figures: $(VENV)/installed-test ## Write the measured figures of README and docs from the records
	$(BIN)/python docs/figures.py

$(VENV)/installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what builds the site (a few minutes the first time) ..."
	$(PIP) install -c constraints.txt -e '.[docs]'
	@touch $@

# Warnings are errors. GALLERY=0 shows the examples of the gallery without running them.
export GALLERY ?= 1
docs: export MPLBACKEND := Agg
docs: $(VENV)/installed-docs ## Build the site: docs/_build/html/index.html
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html
	$(BIN)/python docs/check_site.py
	@echo "Open in any browser: $(abspath docs/_build/html/index.html)"

docs-browser: $(VENV)/installed-docs ## Try search and accessibility of the built site in Chromium
	$(BIN)/python docs/check_site.py --browser

# Everything but publishing. It ends with an error while the address of the repository is undecided.
release: $(VENV)/installed-test docs ## Rehearse a release: the site, both archives, the wheel in bare environments of each Python
	$(BIN)/python -m tools.release

clean: ## Remove the environment and caches; runs are kept
	rm -rf $(VENV) .venv-python* $(LOWEST) $(FOREIGN) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
