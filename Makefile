# Everything a developer does here.  `make` alone lists it.
#
# PYTHON names the Python (3.11 or newer) that the environment is made with.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
PINS := $(VENV)/pins
PIP_TOOLS := 7.6.2
RECEIVER_PORT ?= 9000
WORKERS ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up start stop status demo receiver test lint types format bench proto constraints clean distclean

help: ## List what can be done
	@awk 'BEGIN { FS = ":.*## " } \
	  /^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- run it ---------------------------------------------------------------------------

up: $(READY) ## Start everything here, until Ctrl-C
	@exec $(RUN) -m libs.cli up

start: $(READY) ## Start everything in the background
	@$(RUN) -m libs.cli start

stop: $(READY) ## Stop what runs in the background
	@$(RUN) -m libs.cli stop

status: $(READY) ## Say what runs, and where
	@$(RUN) -m libs.cli status || true

demo: $(READY) ## Show deliveries, retries and a dead letter, on the running stack
	@$(RUN) -m libs.cli demo

receiver: $(READY) ## Receive webhooks on RECEIVER_PORT (9000), and check them, also with KEY
	@$(RUN) -m libs.cli receiver --port $(RECEIVER_PORT) $(addprefix --key ,$(KEY))

# --- change it ------------------------------------------------------------------------

test: $(READY) ## Run all tests, WORKERS (2) at a time, each against a Postgres and a NATS of its own
	@$(RUN) -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

lint: $(READY) ## Check style, layers and spelling
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/codespell

types: $(READY) ## Check types
	@$(RUN) -m mypy

format: $(READY) ## Format the code
	@$(RUN) -m ruff format .
	@$(RUN) -m ruff check --fix-only .

bench: $(READY) ## Measure creates, webhooks and workers: jobs per second, latency, CPU
	@$(RUN) -m bench

proto: $(READY) ## Make libs/common/pb from proto/
	@$(RUN) -m grpc_tools.protoc -I libs/common/pb=proto/spooled/v1 \
	  --python_out=. --pyi_out=. --grpc_python_out=. proto/spooled/v1/spooled.proto

# --- the environment ------------------------------------------------------------------

# Packages are installed by name, version and hash; the tree itself runs as it is.
# Of several makes at once one installs, and touches $(READY); the others wait for it.
$(READY): constraints.txt libs/cli/bootstrap.py
	@$(PYTHON) libs/cli/bootstrap.py $(VENV) constraints.txt

constraints: ## Pin the newest packages that pyproject.toml allows
	@rm -rf $(PINS)
	@$(PYTHON) -m venv $(PINS)
	@$(PINS)/bin/python -m pip install --quiet pip-tools==$(PIP_TOOLS)
	@{ echo '# Every package of every extra, by name, version and hash.  Made by'; \
	   echo '# `make constraints`; where packages come from is up to who installs them.'; \
	   $(PINS)/bin/pip-compile --quiet --upgrade --all-extras --strip-extras --allow-unsafe \
	     --generate-hashes --no-annotate --no-header \
	     --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	     --output-file=- pyproject.toml; } > $(PINS)/constraints.txt
	@mv $(PINS)/constraints.txt constraints.txt
	@rm -rf $(PINS)

clean: $(READY) ## Stop, and forget all data
	@$(RUN) -m libs.cli clean

distclean: clean ## Forget the environment and all caches, too
	@rm -rf $(VENV) $(VENV).lock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
