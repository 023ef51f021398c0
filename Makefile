# Everything a developer does here.  `make` alone lists it.
#
# PYTHON names the Python (3.11 or newer) that the environment is made with.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
PAGES := $(RUN) libs/cli/pages.py $(VENV)
PINS := $(VENV)/pins
PIP_TOOLS := 7.6.2
RECEIVER_PORT ?= 9000
RUNBOOKS ?= docs/runbooks
WORKERS ?= 2
SECONDS ?= 60
SEED ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: alerts settings helm help release up start stop status demo receiver dashboard docs test test-browser test-upgrade fuzz model chaos lint types format bench bench-flat bench-large bench-peers soak proto images-proof constraints peers-pins clean distclean

help: ## List what can be done
	@awk 'BEGIN { FS = ":.*## " } \
	  /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- run it ---------------------------------------------------------------------------

up: $(READY) ## Start everything here, until Ctrl-C; REPLICAS (1) of each service
	@$(PAGES) --if-possible
	@exec $(RUN) -m libs.cli up $(addprefix --replicas ,$(REPLICAS))

start: $(READY) ## Start everything in the background
	@$(PAGES) --if-possible
	@$(RUN) -m libs.cli start $(addprefix --replicas ,$(REPLICAS))

stop: $(READY) ## Stop what runs in the background
	@$(RUN) -m libs.cli stop

status: $(READY) ## Say what runs, and where
	@$(RUN) -m libs.cli status || true

demo: $(READY) ## Show deliveries, retries and a dead letter, on the running stack
	@$(RUN) -m libs.cli demo

receiver: $(READY) ## Receive webhooks on RECEIVER_PORT (9000), and check them, also with KEY
	@$(RUN) -m libs.cli receiver --port $(RECEIVER_PORT) $(addprefix --key ,$(KEY))

dashboard: $(READY) ## Build the pages of the dashboard, if they are not built yet
	@$(PAGES)

docs: $(READY) ## Make the site of the docs, in docs/_build
	@$(RUN) -m sphinx --quiet --fail-on-warning --keep-going docs docs/_build
	@echo "The site is in docs/_build/index.html."

# --- change it ------------------------------------------------------------------------

test: $(READY) ## Run all tests, WORKERS (2) at a time, each against a Postgres and a NATS of its own
	@$(RUN) -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

fuzz: $(READY) ## Send whatever comes to every door, for SECONDS (60), from SEED (1)
	@$(RUN) -m pytest --seconds $(SECONDS) --seed $(SEED) \
	  tests/service/test_grpc_fuzz.py tests/service/test_poison.py

test-browser: $(READY) ## Look at the dashboard in a browser; PICTURES=DIR keeps one of each page
	@$(RUN) -m pytest $(addprefix --pictures=,$(PICTURES)) tests/browser

model: $(READY) ## Let two processes do what they may, and die, for SECONDS (60), from SEED (1)
	@$(RUN) -m pytest --seconds $(SECONDS) --seed $(SEED) tests/model/test_hands.py

test-upgrade: $(READY) ## Upgrade under load, FROM a commit (absent: from the release before)
	@$(RUN) -m pytest $(addprefix --from=,$(FROM)) tests/system/test_upgrade.py

chaos: $(READY) ## Break what can break under load, for CHAOS_SECONDS (300), from SEED (1)
	@$(RUN) -m tests.chaos --seconds $(CHAOS_SECONDS) --seed $(SEED) $(CHAOS)

lint: $(READY) ## Check style, layers, spelling, and what is known of weak code and packages
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/codespell
	@$(RUN) -m bandit --quiet --configfile pyproject.toml --recursive libs services
	@$(RUN) .ci/audit.py
	@$(PAGES) --check --if-possible

types: $(READY) ## Check types
	@$(RUN) -m mypy

format: $(READY) ## Format the code
	@$(RUN) -m ruff format .
	@$(RUN) -m ruff check --fix-only .

bench: $(READY) ## Measure creates, webhooks, workers and events: rates, latency, CPU
	@$(RUN) -m bench

bench-flat: $(READY) ## Measure whether a long history, and a view that is held, make it slower
	@$(RUN) -m bench.flat

bench-large: $(READY) ## Measure how much memory a backlog of large payloads takes
	@$(RUN) -m bench.large

soak: $(READY) ## Carry half of what the house can for SECONDS (600): does a service grow?
	@$(RUN) -m bench.soak $(addprefix --seconds ,$(SECONDS))

bench-peers: $(READY) ## Measure Bellhop beside other queues
	@$(RUN) -m bench.peers

proto: $(READY) ## Make libs/common/pb from proto/
	@$(RUN) -m grpc_tools.protoc -I libs/common/pb=proto/spooled/v1 \
	  --python_out=. --pyi_out=. --grpc_python_out=. proto/spooled/v1/spooled.proto

# --- ship it --------------------------------------------------------------------------

images-proof: $(READY) ## Build and run the images without Docker (root, buildah, debootstrap)
	@PYTHONPATH=. $(RUN) deploy/image/prove.py

release: $(READY) ## Put VERSION everywhere, and today into the changelog: CONTRIBUTING.md
	@$(RUN) .ci/release.py bump "$(VERSION)"
	@$(RUN) deploy/helm/make.py

# --- the environment ------------------------------------------------------------------

# Packages are installed by name, version and hash; the tree itself runs as it is.
# Of several makes at once one installs, and touches $(READY); the others wait for it.
$(READY): constraints.txt libs/cli/bootstrap.py
	@$(PYTHON) libs/cli/bootstrap.py $(VENV) constraints.txt

MAKE_PINS = $(PYTHON) -m venv $(PINS) && \
  $(PINS)/bin/python -m pip install --quiet pip-tools==$(PIP_TOOLS)
COMPILE = $(PINS)/bin/pip-compile --quiet --upgrade --strip-extras --allow-unsafe \
  --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file=-

constraints: ## Pin the newest packages that pyproject.toml allows
	@rm -rf $(PINS)
	@$(MAKE_PINS)
	@{ echo '# Every package of every extra, by name, version and hash.  Made by'; \
	   echo '# `make constraints`; where packages come from is up to who installs them.'; \
	   $(COMPILE) --all-extras pyproject.toml; } > $(PINS)/constraints.txt
	@mv $(PINS)/constraints.txt constraints.txt
	@rm -rf $(PINS)

peers-pins: ## Pin the newest packages of other queues, and of what they run on
	@rm -rf $(PINS)
	@$(MAKE_PINS)
	@for peer in bench/peers/pins/*.in; do \
	  $(COMPILE) $$peer > $(PINS)/peer.txt && mv $(PINS)/peer.txt $${peer%.in}.txt || exit; \
	done
	@rm -rf $(PINS)

RULE = deploy/k8s/overlays/production/alerts.yaml
alerts: ## Make the alerts of Kubernetes; RUNBOOKS is the address of your docs/runbooks
	@{ sed '/^spec:$$/q' $(RULE); \
	   sed -e '/^ *#/d' -e 's|docs/runbooks|$(RUNBOOKS)|' -e '/./s/^/  /' \
	     deploy/prometheus/alerts.yml; } > $(RULE).new
	@mv $(RULE).new $(RULE)

helm: $(READY) ## Make the Helm chart from deploy/k8s
	@$(RUN) deploy/helm/make.py

settings: $(READY) ## Make the reference of docs/configuration.md from the settings
	@PYTHONPATH=. $(RUN) .ci/settings.py

clean: $(READY) ## Stop, and forget all data
	@$(RUN) -m libs.cli clean

distclean: clean ## Forget the environment and all caches, too
	@rm -rf $(VENV) $(VENV).lock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/.peers
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
