# make replicate   environment, then the quick study to the end
# make test        environment, then the tests
# make check       environment, then the tests that are done in minutes
# make lint        style of code and workflow
# make bench       speed and memory beside a conventional loop, twenty minutes on an idle machine
# make gpu-check   on a machine with an NVIDIA GPU: parity with the CPU, and speed, in three minutes
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: replicate test check lint bench gpu-check clean

replicate: $(BIN)/.installed
	snakemake --cores all

test: $(BIN)/.installed
	pytest --numprocesses auto --dist worksteal

check: $(BIN)/.installed
	pytest --numprocesses auto --dist worksteal -m "not slow and not workflow"

lint: $(BIN)/.installed
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint

$(BIN)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint requirements.lock torch==2.13.0
	$(BIN)/pip install --quiet --constraint requirements.lock --editable .[workflow,cluster,dev]
	touch $@

bench: $(BIN)/.installed
	python -m benchmarks --output benchmarks/results/$(shell date +%Y-%m-%d).json

gpu-check: $(BIN)/.installed
	python -m benchmarks.gpu --output benchmarks/results/gpu-$(shell date +%Y-%m-%d).json

clean:
	rm -rf $(VENV) logs figures results/*/checkpoints results/*/records
