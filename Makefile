# The commands of iot-telemetry-lake. `make` alone prints them.
# Nothing has to be installed or activated first but Python 3.13, make and git.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV     := .venv
BIN      := $(VENV)/bin
SAM_VENV := .venv-sam
SAM      := $(SAM_VENV)/bin/sam

# The local cloud runs the function on this machine, so an artifact for it is built in a folder of
# its own: `.aws-sam`, which `sam deploy` ships, stays `sam build`'s.
HOST_ARCHITECTURE := $(shell uname -m | sed -e 's/aarch64/arm64/' -e 's/amd64/x86_64/')
BUILT        := build/sam-host/.built
# What `sam deploy` would ship by default, built beside it to prove that both architectures build.
BUILT_ARM64  := build/sam-arm64/.built
BUILD_INPUTS := template.yaml $(shell find functions layers packaging ops -type f -not -path '*/__pycache__/*')

export SAM_CLI_TELEMETRY := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE := 1
# SAM wants a region even to validate; the words below are no credentials of any account.
OFFLINE := AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing

##@ Try it
.PHONY: demo fleet up down status
demo: local-environment $(BUILT) ## Run it all once on this machine: make demo [REPLAY=FILE] [SEED=7]
	@$(BIN)/python -m local demo $(if $(REPLAY),--replay "$(REPLAY)") $(if $(SEED),--seed $(SEED))

TRIAL = $(if $(DEVICES),--devices $(DEVICES)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))
fleet: local-environment $(BUILT) ## 1,000 devices on a bad day, and whether the lake's figures are the truth (15 minutes)
	@$(BIN)/python -m local fleet $(TRIAL)

up: local-environment $(BUILT) ## Start the local cloud and leave it running: make up [CONTAINERS=1]
	@$(BIN)/python -m local up $(if $(CONTAINERS),--for-containers)

down: local-environment ## End the local cloud
	@$(BIN)/python -m local down

status: local-environment ## Say what the local cloud is doing
	@$(BIN)/python -m local status

##@ Deploy it
.PHONY: build deploy
build: $(BUILT) $(BUILT_ARM64) ## Build the application for this machine and for AWS's arm64

deploy: $(SAM_VENV)/.installed ## Build for AWS and deploy: make deploy [CONFIG=prod]
	PATH="$(CURDIR)/$(SAM_VENV)/bin:$$PATH" sam build $(if $(CONFIG),--config-env $(CONFIG))
	PATH="$(CURDIR)/$(SAM_VENV)/bin:$$PATH" sam deploy $(if $(CONFIG),--config-env $(CONFIG))

##@ Work on it
# The quickest first, so that what is wrong shows early; of the others, what takes longest in one piece first, so that the
# processes end together. One test at a time leaves much of a second core idle; each process takes some 4 GB.
SUITES := $(addprefix tests/,unit template corpora e2e spark integration conformance)
PROCESSES := 2
.PHONY: setup test check unit spark soak conformance integration e2e bench bench-curation format golden screenshots docs lock clean help
setup: environment local-environment ## Install the environments (the other commands do it by themselves)

test: check $(BUILT) $(BUILT_ARM64) ## Every check and every test, before a commit: make test [PROCESSES=1]
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) $(SUITES)

check: environment $(SAM_VENV)/.installed ## Format, lint, types, import rules, template, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(OFFLINE) $(SAM) validate
	$(OFFLINE) $(SAM) validate --lint
	mkdir -p build
	$(OFFLINE) $(BIN)/python -m tests.template.expand build/expanded.json
	$(BIN)/cfn-lint -t build/expanded.json
	$(BIN)/python -m docs.generate_contract --check
	$(BIN)/python -m docs.generate_cost --check

unit: environment $(BUILT) $(BUILT_ARM64) ## The quick tests: contract, consumer, template, tools (seconds)
	$(BIN)/python -m pytest tests/unit tests/template tests/corpora

spark: environment ## The curation job on a local Spark
	$(BIN)/python -m pytest tests/spark

soak: environment ## Kill the curation job at every step, with five seeds each instead of one
	$(BIN)/python -m pytest tests/spark/test_exactly_once.py tests/spark/test_replay.py --soak

conformance: environment $(BUILT) ## The local cloud against what AWS documents
	$(BIN)/python -m pytest tests/conformance

integration: environment $(BUILT) ## The built function and a real deployment
	$(BIN)/python -m pytest tests/integration

e2e: environment $(BUILT) ## From MQTT devices to curated rows
	$(BIN)/python -m pytest tests/e2e

bench: environment ## The consumer beside what one would write otherwise, in one run
	$(BIN)/python -m benchmarks.consumer

bench-curation: environment ## The curation job by length of history, and beside a plain script (10 minutes)
	$(BIN)/python -m benchmarks.curation_rate
	$(BIN)/python -m benchmarks.curation_history

format: environment ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: environment ## Write the golden files anew; read the difference before you commit it
	$(BIN)/python -m pytest tests/spark --update-golden
	$(BIN)/python -m events.generate_kinesis

screenshots: environment $(BUILT) ## Take the dashboards' pictures in docs/ anew, or make screenshots FLEET=1 (needs Chromium)
	$(BIN)/python -m docs.screenshots $(if $(FLEET),--fleet $(TRIAL))

docs: environment ## Write the generated pages anew
	$(BIN)/python -m docs.generate_contract
	$(BIN)/python -m docs.generate_cost

lock: environment ## Pin the newest allowed dependencies, with hashes
	sh requirements/lock.sh

clean: ## Remove what was built; environments and downloads stay
	rm -rf .aws-sam build .pytest_cache .mypy_cache .ruff_cache .hypothesis spark-warehouse

help: ## Print these lines
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- environments ----------------------------------------------------------------------------
.PHONY: environment local-environment
environment: $(VENV)/.installed-dev
local-environment: $(VENV)/.installed-local $(SAM_VENV)/.installed

$(VENV)/.installed-local: requirements/local.txt
	@sh requirements/environment.sh $(VENV) requirements/local.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-local requirements/dev.txt
	@sh requirements/environment.sh $(VENV) requirements/dev.txt
	@touch $@

$(SAM_VENV)/.installed: requirements/sam.txt
	@sh requirements/environment.sh $(SAM_VENV) requirements/sam.txt
	@touch $@

# ---- artifacts -------------------------------------------------------------------------------
# $(call sam_build,<architecture>,<folder>)
sam_build = PATH="$(CURDIR)/$(SAM_VENV)/bin:$$PATH" $(OFFLINE) sam build --parallel --build-dir $(2) \
  --parameter-overrides Architecture=$(1) >$(2).log 2>&1 || { cat $(2).log; exit 1; }

# On a Mac this artifact's wheels are the Mac's: it is never deployed to AWS.
$(BUILT): $(BUILD_INPUTS) | $(SAM_VENV)/.installed
	@echo "Building the application for this machine ($(HOST_ARCHITECTURE))"
	@mkdir -p build
	@export WHEELS_OF=host; $(call sam_build,$(HOST_ARCHITECTURE),build/sam-host)
	@$(SAM_VENV)/bin/python packaging/archive.py build/sam-host
	@touch $@

$(BUILT_ARM64): $(BUILD_INPUTS) | $(SAM_VENV)/.installed
	@echo "Building the application for AWS (arm64)"
	@mkdir -p build
	@$(call sam_build,arm64,build/sam-arm64)
	@touch $@
