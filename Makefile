# Peregrine. `make help` lists what a person would type.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
export PYTHONDONTWRITEBYTECODE ?=
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@test -x $(PY) || { echo "[1/3] creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "[2/3] installing Python packages"
	@$(PY) -m pip install -q --disable-pip-version-check -U pip "setuptools>=77" wheel "pybind11>=3.0" "cython>=3.1"
	@$(PY) -m pip install -q --disable-pip-version-check $$($(PY) tools/requirements.py $(EXTRAS))
	@touch $@

ext: ## compile what changed, in place
	@PYTHONPATH=tools $(PY) setup.py -q build_ext --inplace

build: $(STAMP) ## create the venv and build the engine: leaves .venv/bin/peregrine
	@echo "[3/3] compiling the engine"
	@$(MAKE) --no-print-directory ext
	@test -x $(VENV)/bin/peregrine || $(PY) -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .

tsan: ## run the C++ stress programs under ThreadSanitizer
	@$(PY) tools/native.py --flavour tsan

asan: ## the same under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(PY) tools/native.py --flavour asan

.PHONY: help ext build tsan asan
