# make help lists what there is. Everything runs in .venv, which `make setup` fills from the lock.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Torch on a busy machine is far quicker with one thread per process than with several.
export OMP_NUM_THREADS ?= 1
# Every process would compile all that it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup install-torch install-rest sweep search ui docs docs-serve test test-all check format bench accuracy lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## make .venv with the locked versions and kdsweep in it

# Python compiles what is imported; compiling all that is installed takes longer than installing it.
# The pip that comes with Python 3.11 takes far longer to choose among the files of an index.
# pip unpacks one file after the other: one process has PyTorch and its CUDA libraries, half of all.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile
TORCH := ^(torch|triton|nvidia|cuda)
.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "kdsweep needs Python 3.11 or newer"'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --constraint requirements.lock --upgrade pip
	$(MAKE) --no-print-directory --jobs=2 install-torch install-rest
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

install-torch:
	$(INSTALL) --no-deps --requirement <(grep -E '$(TORCH)' requirements.lock)

install-rest:
	$(INSTALL) --no-deps --requirement <(grep -vE '$(TORCH)' requirements.lock)

sweep: setup ## the nine-run T x alpha grid on digits
	$(BIN)/python train.py -m loss=kl T=1,4,16 alpha=0.1,0.5,0.9

search: setup ## a small Bayesian search over T and alpha on digits
	$(BIN)/python train.py search=bayes hydra.sweeper.n_trials=16

ui: setup ## browse the runs in MLflow, on http://127.0.0.1:5000
	$(BIN)/mlflow ui --host 127.0.0.1

# The theme announces its end of life at every build without this variable.
docs docs-serve: export NO_MKDOCS_2_WARNING := 1

docs: setup ## the pages of docs/ as a site, site/index.html
	$(BIN)/mkdocs build --strict

docs-serve: setup ## the same on http://127.0.0.1:8000, built anew as they change
	$(BIN)/mkdocs serve

test: setup ## the fast tests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(PYTEST_ARGS)

test-all: setup ## every test, with the slow ones, a real server and a real browser
	$(BIN)/python -m pytest -q -m "not gpu"

check: setup ## format, lint, types, import floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## docs/performance.md and the README's sentence, measured (DATA=FOLDER IMAGES=FOLDER: on yours)
	$(BIN)/python benchmarks/performance.py $(if $(DATA),--data "$(DATA)") $(if $(IMAGES),--images "$(IMAGES)") \
	  $(BENCH_ARGS) || test $$? = 3
	$(BIN)/python benchmarks/performance.py --write

accuracy: setup ## the accuracy of bf16 and channels_last in docs/performance.md (DATA=FOLDER)
	$(BIN)/python benchmarks/precision_accuracy.py --data "$(DATA)" --write || test $$? = 3

lock: ## resolve requirements.lock anew (needs uv)
	uv pip compile --universal --python-version 3.11 --group dev pyproject.toml \
	  --no-emit-index-url --no-emit-find-links --prerelease if-necessary-or-explicit \
	  --constraint constraints.txt --custom-compile-command 'make lock' --output-file requirements.lock

clean: ## remove .venv, site and caches; sweeps, teachers and MLflow's files stay
	rm -rf .venv site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
