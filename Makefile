# Two commands do everything: `make serve` and `make test`. By hand it is `pip install .` and `askonce serve`.

PYTHON ?= python3
BIN := .venv/bin

# Installers and tools keep what they keep inside the checkout: HOME may be missing or read-only.
export PIP_CACHE_DIR ?= $(CURDIR)/.cache/pip
export UV_CACHE_DIR ?= $(CURDIR)/.cache/uv
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test lint bench clean

help:
	@echo 'make serve   run the proxy at http://127.0.0.1:8080/v1; ARGS="--upstream URL" adds options'
	@echo 'make test    lint and the whole test suite; ARGS="-k words" adds options of pytest'
	@echo 'make lint    ruff, mypy --strict, import-linter'
	@echo 'make bench   measure; writes loadtests/results/'
	@echo 'make clean   remove the environment and all that was made'

# Answers of a trial are kept in the checkout. `askonce serve`, run by hand, keeps them in the user's own files.
serve: .venv/.serve
	@XDG_DATA_HOME="$${XDG_DATA_HOME:-$(CURDIR)/.cache/data}" exec $(BIN)/askonce serve $(ARGS)

test: lint .cache/redis-stack/.made
	@$(BIN)/python -m pytest $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python loadtests/bench.py $(ARGS)

clean:
	rm -rf .venv .cache build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find proxy tests loadtests -name __pycache__ -not -path '*/.envs/*' -prune -exec rm -rf {} +

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'AskOnce needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo 'No virtual environment could be made. On Debian: apt-get install python3-venv' >&2; exit 1; }
	@touch $@

# uv installs in seconds; where it cannot be had, or cannot reach the index pip is configured for, pip does it.
# Bytecode is compiled now, so that the first start is as quick as the next.
define install
	@$(BIN)/python -m pip install --quiet uv || true
	@{ test -x $(BIN)/uv && $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -e '$(1)'; } || \
	  $(BIN)/python -m pip install --quiet -e '$(1)'
endef

.venv/.serve: pyproject.toml | .venv/.made
	$(call install,.)
	@touch $@

.venv/.dev: pyproject.toml | .venv/.made
	$(call install,.[dev])
	@touch $@ .venv/.serve

# A Redis with its query engine, for the tests. Where none can be made, the tests that need one say so and are skipped.
.cache/redis-stack/.made: tests/redis_stack.py | .venv/.dev
	@$(BIN)/python -m tests.redis_stack && touch $@ || true
