# Builds the functions' and the layers' artifacts, without Docker and for either processor from any host.
#
# SAM runs the target `build-<logical id>` in a copy of the resource's folder and tells it nothing but ARTIFACTS_DIR.
# The template therefore chooses arm64/Makefile or x86_64/Makefile by its parameter Architecture (ContextPath), and each
# of these says for which machine wheels are taken before it includes this file.

HERE := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
# Started from within the project: pyenv finds a Python by the .python-version above the working directory, and SAM's
# copy of the source lies outside.
PYTHON := cd "$(HERE)" && PIP_ROOT_USER_ACTION=ignore python3.13

# Wheels only, so nothing is compiled on the host, and each checked by its hash (SAM's own builder checks none of those
# that it fetches for the other processor). The runtime is Amazon Linux 2023, glibc 2.34: no newer platform is named.
PLATFORM = --implementation cp --python-version 3.13 \
	--platform manylinux_2_34_$(MACHINE) --platform manylinux_2_28_$(MACHINE) \
	--platform manylinux_2_17_$(MACHINE) --platform manylinux2014_$(MACHINE)
# The local cloud runs the function on the machine itself, and a Mac loads no Linux library: WHEELS_OF=host, which only
# `make build` sets, takes the Mac's own wheels.
ifeq ($(WHEELS_OF)-$(shell uname -s),host-Darwin)
PLATFORM =
endif
INSTALL = $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile \
	--require-hashes --no-deps --only-binary=:all: $(PLATFORM) \
	--requirement "$(CURDIR)/requirements.txt" --target

# Takes out what is not needed and compiles the rest: $(call finish,<folder>,<where Lambda mounts it>).
finish = $(PYTHON) trim.py "$(1)" && $(PYTHON) precompile.py "$(1)" "$(2)"

# What the audit is made of; the rest of ops is the operator's.
AUDIT := __init__.py erasures.py errors.py failed_zone.py kinesis_event.py \
	audit/__init__.py audit/audit.py audit/catalogue.py audit/checks.py audit/evidence.py audit/findings.py

.PHONY: build-IngestTelemetryFunction build-AuditLakeFunction build-ExportRegistryFunction build-AdmitDeviceFunction \
	build-PauseIngestionFunction build-ContractLayer build-ColumnarLayer

build-IngestTelemetryFunction:
	@$(INSTALL) "$(ARTIFACTS_DIR)"
	@cp -R . "$(ARTIFACTS_DIR)/ingest_telemetry"
	@rm "$(ARTIFACTS_DIR)/ingest_telemetry/requirements.txt"
	@$(call finish,$(ARTIFACTS_DIR),/var/task)

build-ExportRegistryFunction:
	@$(INSTALL) "$(ARTIFACTS_DIR)"
	@cp -R . "$(ARTIFACTS_DIR)/export_registry"
	@rm "$(ARTIFACTS_DIR)/export_registry/requirements.txt"
	@$(call finish,$(ARTIFACTS_DIR),/var/task)

build-AdmitDeviceFunction:
	@$(INSTALL) "$(ARTIFACTS_DIR)"
	@cp -R . "$(ARTIFACTS_DIR)/admit_device"
	@rm "$(ARTIFACTS_DIR)/admit_device/requirements.txt"
	@$(call finish,$(ARTIFACTS_DIR),/var/task)

build-AuditLakeFunction:
	@$(INSTALL) "$(ARTIFACTS_DIR)"
	@cp -R . "$(ARTIFACTS_DIR)/audit_lake"
	@rm "$(ARTIFACTS_DIR)/audit_lake/requirements.txt"
	@mkdir -p "$(ARTIFACTS_DIR)/ops/audit"
	@for module in $(AUDIT); do cp "$(HERE)../ops/$$module" "$(ARTIFACTS_DIR)/ops/$$module" || exit 1; done
	@$(call finish,$(ARTIFACTS_DIR),/var/task)

build-PauseIngestionFunction:
	@$(INSTALL) "$(ARTIFACTS_DIR)"
	@cp -R . "$(ARTIFACTS_DIR)/pause_ingestion"
	@rm "$(ARTIFACTS_DIR)/pause_ingestion/requirements.txt"
	@$(call finish,$(ARTIFACTS_DIR),/var/task)

build-ContractLayer:
	@$(INSTALL) "$(ARTIFACTS_DIR)/python"
	@cp -R telemetry_contract "$(ARTIFACTS_DIR)/python/"
	@$(call finish,$(ARTIFACTS_DIR)/python,/opt/python)

build-ColumnarLayer:
	@$(INSTALL) "$(ARTIFACTS_DIR)/python"
	@$(call finish,$(ARTIFACTS_DIR)/python,/opt/python)
