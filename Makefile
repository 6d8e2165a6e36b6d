# What a newcomer needs. Only Python 3.11 or newer, make and git must be there.
#
#   make example       set up, then run the example workflow
#   make test          set up, then the whole gate: format, lint, types, import contract, tests
#   make test-pythons  the core's tests on every supported Python of this machine
#   make setup         the environment alone (.venv)
#   make simulate      the engine in a simulation: SEEDS=100000 of them, from SEED=1
#   make pin           resolve constraints.txt anew

.PHONY: help example test test-pythons setup simulate pin
.SUFFIXES:
unexport PYTHONHOME PYTHONPATH

PYTHON := $(shell command -v python3 || command -v python3.13 || command -v python3.12 || command -v python3.11 || echo python3)
BIN := .venv/bin
WORKERS := 2
SEED := 1
SEEDS := 1000

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
ifeq ($(HOME),)
export HOME := $(CURDIR)/.venv/home
endif

help:
	@sed -n 's/^#   //p' Makefile

setup:
	@"$(PYTHON)" scripts/setup.py

example: setup
	$(BIN)/wf run examples/onboarding.py @examples/onboarding.json --skip-waits

test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n $(WORKERS)

test-pythons:
	@"$(PYTHON)" scripts/pythons.py

simulate: setup
	$(BIN)/python -m tests.faults.mill $(SEED) $(SEEDS)

pin:
	@"$(PYTHON)" scripts/pin.py
