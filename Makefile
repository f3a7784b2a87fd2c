# Everything runs in a virtual environment of its own; a fresh machine needs git, make and Python 3.10 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEEN := $(VENV)/.installed

.PHONY: compare test lint format bench clean

compare: $(SEEN)  ## train one small model with every family of methods on Python's own English prose, and rank them
	$(BIN)/recurdrop compare

test: $(SEEN)  ## run all tests
	$(BIN)/python -m pytest -n 2

lint: $(SEEN)  ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(SEEN)  ## mend format and style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(SEEN)  ## time a training step of each backend against torch.nn, after checking that it is right
	$(BIN)/python benchmarks/step.py

# torch goes first and by its exact version, so that no other package pulls in a build with gigabytes of CUDA.
$(SEEN): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $(SEEN)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
