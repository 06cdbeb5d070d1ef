# Tessera's commands: `make demo`, `make test`. Everything is installed into .venv and nowhere else.
PYTHON ?= python3
GPU ?=
READERS ?=
CORES ?= all
DATA ?=

LOCK := requirements/$(if $(GPU),gpu,cpu).txt
BIN := .venv/bin
READY := .venv/ready-$(if $(GPU),gpu,cpu)
READERS_READY := .venv/ready-readers
DEV_READY := .venv/ready-dev
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --universal --fork-strategy fewest \
           --python-version 3.11 --no-header --no-annotate

.PHONY: help setup demo check-gpu test test-quick lint format lock docs settings

help:
	@echo "make demo   simulate movies, run the whole pipeline on them, write results/report.html"
	@echo "make check-gpu GPU=1  show whether TensorFlow sees the GPUs, and how fast they are"
	@echo "make test   run the tests (make test-quick leaves out the slow ones)"
	@echo "make lint   check style, rules, types, imports and docs;  make format fixes the style"
	@echo "make docs   show the documentation in a browser while you edit it"
	@echo "make settings  renew what is made from the settings and steps: schemas, config.yaml, tables of the docs"
	@echo "make lock   renew the locked requirements and envs/ from requirements/*.in"
	@echo "make bench-…  measure a claim: see bench/README.md"
	@echo "Options: PYTHON=python3.12 (3.11 to 3.13; remove .venv to change it), GPU=1 (the CUDA build), CORES=4,"
	@echo "READERS=1 (with the readers of further image formats: docs/formats.md)"

setup: $(READY) $(if $(READERS),$(READERS_READY))

$(READY): $(LOCK) requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Tessera needs Python 3.11 to 3.13; choose one with PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r $(LOCK)
	@touch $@

# Readers of image formats that few people need.
$(READERS_READY): $(READY) requirements/readers.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/readers.txt
	@touch $@

# What tests, linting and the docs site need in addition.
$(DEV_READY): $(READY) requirements/dev.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

lock: $(READY)
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) requirements/cpu.in -o requirements/cpu.txt
	$(COMPILE) requirements/readers.in -c requirements/cpu.txt -o requirements/readers.txt
	$(COMPILE) requirements/dev.in -c requirements/cpu.txt -o requirements/dev.txt
	$(COMPILE) requirements/gpu.in -c requirements/cpu.txt -o requirements/gpu.txt
	$(BIN)/python requirements/environments.py

demo: $(READY)
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo/config.yaml
	@echo "Open results/report.html in a browser."

# Two minutes: whether TensorFlow sees the GPUs, and how fast they are beside the CPU.
check-gpu: $(READY)
	PYTHONPATH=workflow/scripts $(BIN)/python -m tessera.training.device_check

test: $(DEV_READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --durations 20

test-quick: $(DEV_READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not slow"

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint --configfile config/demo/config.yaml
	$(BIN)/typos
	PYTHONPATH=workflow/scripts $(BIN)/lint-imports
	$(BIN)/mypy
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: $(DEV_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# The schemas, config/config.yaml and the tables of docs/ are made from the classes of tessera.settings, the
# table of rules in docs/architecture.md from tessera/planning/steps.py.
settings: $(READY)
	PYTHONPATH=workflow/scripts $(BIN)/python -m tessera.settings.generate
	PYTHONPATH=workflow/scripts $(BIN)/python -m tessera.planning.rule_table

format: $(DEV_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

bench-%: $(DEV_READY)
	$(BIN)/python bench/$*.py $(if $(DATA),--data $(DATA))
