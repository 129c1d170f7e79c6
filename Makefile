# make replicate   environment, then the quick study to the end
# make test        environment, then the tests
# make lint        style of code and workflow
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: replicate test lint clean

replicate: $(BIN)/.installed
	snakemake --cores all

test: $(BIN)/.installed
	pytest --numprocesses auto --dist worksteal

lint: $(BIN)/.installed
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint

$(BIN)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint requirements.lock torch==2.13.0
	$(BIN)/pip install --quiet --constraint requirements.lock --editable .[workflow,dev]
	touch $@

clean:
	rm -rf $(VENV) logs figures results/*/checkpoints results/*/records
