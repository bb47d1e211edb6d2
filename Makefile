# make demo: train, recover trees, look.   make test: everything that CI checks.   Both install what they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint types bench gpu install
.DELETE_ON_ERROR:

demo: install
	$(BIN)/sst demo

# One thread for each of the two workers; tests/test_threads.py asks for more where it needs them.
test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: install
	$(BIN)/python -m benchmarks

# On a machine with a GPU, in an environment whose torch can use it.
gpu:
	PYTHONPATH=src $(PYTHON) -m benchmarks.gpu

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable '.[recipes,sweep]'
	touch $@
