# superpose: `make help` lists the targets.
#   PYTHON=python3.12        another interpreter (3.11 or later)
#   VENV=DIR                 another place for the environment
#   EXTRAS=dev,ray,slurm     what is installed beside the package itself (dev: tools and tests)
#   TORCH_INDEX=URL          take PyTorch from this index, e.g. https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
TORCH_INDEX ?=
RUNS ?= outputs

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest

.PHONY: help setup figures bench bench-gpu contact-sheet test test-slow test-gpu check format lint type layers wheel clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## create .venv with the pinned dependencies (TORCH_INDEX=URL picks a PyTorch build)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "superpose needs Python 3.11 or later, but $(PYTHON) is not: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	@echo "Installing the pinned dependencies into $(VENV) (PyTorch is large: some minutes) ..."
	@$(PYTHON) -m venv $(VENV)
ifneq ($(TORCH_INDEX),)
	@$(PIP) install --quiet --no-deps --index-url $(TORCH_INDEX) "$$(grep '^torch==' constraints.txt)"
endif
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

figures: $(INSTALLED) ## run the sweeps of two of the paper's figures and draw them
	@set -e; for experiment in phase_2_in_1 intro; do \
	  run=$$($(BIN)/superpose sweep experiment=$$experiment); \
	  $(BIN)/superpose plot "$$run" >/dev/null; runs="$$runs $$run"; \
	done; \
	echo; echo "Tables (Parquet) and figures:"; \
	for run in $$runs; do echo "  $$run"; ls "$$run"/figures/*.png | sed 's/^/    /'; done

bench: $(INSTALLED) ## time the engines on this machine, into docs/bench/ (two minutes)
	$(BIN)/superpose bench --scale --out docs/bench

bench-gpu: $(INSTALLED) ## time engines and whole sweeps on an NVIDIA GPU, into docs/bench/ (about an hour)
	$(BIN)/python -m superpose_cli.benchmark.gpu_sweeps --out docs/bench
	$(BIN)/python -m superpose_cli.benchmark.gpu_code

contact-sheet: $(INSTALLED) ## draw all figures of stored runs, small, into docs/figures.md (RUNS=DIR)
	$(BIN)/python docs/figures.py $(RUNS)

test: $(INSTALLED) ## run the tests
	$(PYTEST) --quiet --numprocesses auto --maxprocesses 8

test-slow: $(INSTALLED) ## run the tests that take minutes
	$(PYTEST) --quiet --numprocesses auto --maxprocesses 4 --dist loadfile -m "slow and not gpu"

test-gpu: $(INSTALLED) ## run the tests that need an NVIDIA GPU
	@$(BIN)/python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "make: nothing was tested: PyTorch sees no CUDA GPU on this machine")'
	$(PYTEST) -m gpu -rs

check: lint type layers test ## everything that must hold before a commit

format: $(INSTALLED) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(INSTALLED) ## check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(INSTALLED) ## check the types
	$(BIN)/basedpyright --pythonpath $(BIN)/python

layers: $(INSTALLED) ## check that no folder imports one above it
	$(PYTEST) --quiet tests/test_layers.py

wheel: $(INSTALLED) ## build the wheel into dist/
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean: ## remove the environment, builds and caches; outputs/ stays
	rm -rf $(VENV) dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
