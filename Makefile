# Everything runs in a virtual environment of its own; a fresh machine needs git, make and Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEEN := $(VENV)/.installed
BENCHED := $(VENV)/.bench-installed
DOCUMENTED := $(VENV)/.docs-installed
DOWNSTREAM ?= .venv-downstream
CORE := $(wildcard src/recurdrop/ops/native/*.cpp src/recurdrop/ops/native/*.h)

.PHONY: compare test lint format pages docs wheel bench downstream clean matrix

compare: $(SEEN)  ## train one small model with each method in turn on Python's own English prose, and rank them
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

pages: $(SEEN)  ## make the pages of methods and public names from the code
	$(BIN)/python docs/generate.py

docs: pages $(DOCUMENTED)  ## and all pages into a site with search, build/site/index.html; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(DOCUMENTED): $(SEEN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "recurdrop[docs]"
	touch $(DOCUMENTED)

wheel: $(SEEN)  ## build the sdist and the wheel into dist/, and prove both in fresh environments
	$(BIN)/python .ci/prove_packages.py

bench: $(BENCHED)  ## check, then time training steps against torch.nn and peers; ARGS="--only packed" for a part
	$(BIN)/python -m benchmarks --json runs/benchmarks.json $(ARGS)

$(BENCHED): $(SEEN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "recurdrop[bench]"
	touch $(BENCHED)

matrix:  ## run the layers' tests with the oldest and the newest Python, torch and pandas that are allowed
	$(PYTHON) .ci/matrix.py

downstream: $(DOWNSTREAM)/.installed  ## regularize models of Darts, pytorch-forecasting, sb3-contrib and stanza
	$(DOWNSTREAM)/bin/python -m pytest tests/downstream

$(DOWNSTREAM)/.installed: tests/downstream/requirements.txt constraints.txt hatch_build.py $(CORE)
	$(PYTHON) -m venv $(DOWNSTREAM)
	$(DOWNSTREAM)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy
	$(DOWNSTREAM)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement tests/downstream/requirements.txt --editable .
	touch $(DOWNSTREAM)/.installed

# torch goes first and by its exact version, so that no other package pulls in a build with gigabytes of CUDA.
$(SEEN): pyproject.toml constraints.txt hatch_build.py $(CORE)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $(SEEN)

clean:
	rm -rf $(VENV) $(DOWNSTREAM) .venv-matrix build dist .pytest_cache .mypy_cache .ruff_cache
