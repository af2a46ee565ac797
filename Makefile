# `make demo` and `make test` set up everything they need in .venv: with uv where it is installed, else with pip.
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)

.PHONY: demo test test-ray test-peers lint bench docs clean

demo: .venv/ready
	@$(BIN)/cc-tui demo

test: .venv/dev
	@# One more than cores: half of the time a test waits for a process or a clock.
	@$(BIN)/python -m pytest -n $$($(BIN)/python -c "import os; print(os.cpu_count() + 1)")

# The tests of the fan-out need Ray (240 MB installed); without it `make test` skips them.
test-ray: .venv/ray
	@$(BIN)/python -m pytest tests/test_fanout.py

# Other programs that read our exports and whose statistics ours are checked against (800 MB installed).
PEER_PYTHON ?= python3.12
test-peers: .venv/peers/ready
	@$(BIN)/python -m pytest tests/test_peers.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

bench: .venv/dev
	@for b in benchmarks/*.py; do $(BIN)/python $$b || exit 1; done

docs: .venv/dev
	@$(BIN)/python docs/make.py

clean:
	rm -rf .venv .pytest_cache .ruff_cache

.venv/bin/python:
ifdef UV
	@uv venv -q --python '>=3.11' .venv
else
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cc-tui needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv .venv
endif

.venv/ready: pyproject.toml | .venv/bin/python
	@echo "Setting up .venv (once, a minute or two) …"
ifdef UV
	@uv pip install -q --python $(BIN)/python -e .
else
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
endif
	@touch $@

.venv/dev: .venv/ready
ifdef UV
	@uv pip install -q --python $(BIN)/python --group dev
else
	@$(BIN)/python -m pip install -q --disable-pip-version-check 'pip>=25.1'
	@$(BIN)/python -m pip install -q --disable-pip-version-check --group dev
endif
	@touch $@

.venv/ray: .venv/dev
ifdef UV
	@uv pip install -q --python $(BIN)/python -e '.[ray]'
else
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[ray]'
endif
	@touch $@

.venv/peers/ready: pyproject.toml | .venv/dev
ifdef UV
	@uv venv -q --python '>=3.12' .venv/peers
	@uv pip install -q --python .venv/peers/bin/python --group peers
else
	@$(PEER_PYTHON) -m venv .venv/peers
	@.venv/peers/bin/python -m pip install -q --disable-pip-version-check 'pip>=25.1'
	@.venv/peers/bin/python -m pip install -q --disable-pip-version-check --group peers
endif
	@touch $@
