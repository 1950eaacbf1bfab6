# Builds the layers, without Docker and for either processor from any host.
#
# SAM runs the target `build-<logical id>` in a copy of the layer's ContentUri and tells it nothing but ARTIFACTS_DIR.
# The template therefore chooses arm64/Makefile or x86_64/Makefile by its parameter Architecture (ContextPath), and each
# of these says for which processor wheels are taken before it includes this file.

HERE := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
# Started from within the project: pyenv finds a Python by the .python-version above the working directory, and SAM's
# copy of the source lies outside.
PYTHON := cd "$(HERE)" && python3.13

# Wheels only, so nothing is compiled on the host, and each checked by its hash. The runtime is Amazon Linux 2023,
# glibc 2.34: no newer platform is named, so no wheel that needs a newer one is found.
INSTALL = $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile \
	--require-hashes --no-deps --only-binary=:all: --implementation cp --python-version 3.13 \
	--platform manylinux_2_34_$(MACHINE) --platform manylinux_2_28_$(MACHINE) \
	--platform manylinux_2_17_$(MACHINE) --platform manylinux2014_$(MACHINE) \
	--requirement "$(CURDIR)/requirements.txt" --target "$(ARTIFACTS_DIR)/python"

.PHONY: build-ContractLayer build-ColumnarLayer

build-ContractLayer:
	$(INSTALL)
	cp -R telemetry_contract "$(ARTIFACTS_DIR)/python/"
	find "$(ARTIFACTS_DIR)" -name __pycache__ -type d -prune -exec rm -r {} +

build-ColumnarLayer:
	$(INSTALL)
	$(PYTHON) "$(CURDIR)/trim.py" "$(ARTIFACTS_DIR)/python/pyarrow"
