# What a newcomer needs. Only Python 3.11 or newer, make and git must be there.
#
#   make example       set up, then run the example workflow
#   make test          set up, then the whole gate: format, lint, types, import contract, tests
#   make test-pythons  the core's tests on every supported Python of this machine
#   make setup         the environment alone (.venv)
#   make simulate      the engine in a simulation: SEEDS=100000 of them, from SEED=1
#   make bench         how fast it is, beside the floor of the machine (ROUNDS=3 SIZE=usual)
#   make bench-peers   and beside other engines, each in an environment of its own
#   make pin           resolve constraints.txt anew

.PHONY: help example test pyright pytest test-pythons setup simulate bench bench-peers pin
.SUFFIXES:
unexport PYTHONHOME PYTHONPATH
# Where it is set, each of the hundreds of processes that the tests start compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON := $(shell command -v python3 || command -v python3.13 || command -v python3.12 || command -v python3.11 || echo python3)
BIN := .venv/bin
WORKERS := 2
SEED := 1
SEEDS := 1000
ROUNDS := 3
SIZE := usual

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
	$(BIN)/lint-imports
	@$(MAKE) -j 2 pyright pytest

# Beside each other, because pyright keeps one core busy, and the tests at times none.
pyright:
	$(BIN)/python -m pyright

pytest:
	$(BIN)/python -m pytest -n $(WORKERS)

test-pythons:
	@"$(PYTHON)" scripts/pythons.py

simulate: setup
	$(BIN)/python -m tests.faults.mill $(SEED) $(SEEDS)

bench: setup
	$(BIN)/python -m benchmarks --rounds $(ROUNDS) --size $(SIZE)

bench-peers: setup
	$(BIN)/python -m benchmarks --rounds $(ROUNDS) --size $(SIZE) --peers

pin:
	@"$(PYTHON)" scripts/pin.py
