# The first commands anyone needs: make demo, make test. Needs python3 (3.11 or newer) and Debian's apt; root is not needed.
# Everything is installed into .venv and .tools of this checkout, once; rm -r of both (make clean) leaves nothing behind.

PYTHON3 ?= python3
SCENARIO ?=
PROVISION := PYTHONPATH=lab/multinic_lab $(PYTHON3) -B -m provision
PROJECTS := $(wildcard pyproject.toml */pyproject.toml plugins/*/pyproject.toml)
RUN := .venv/bin/python
BENCHES := $(sort $(wildcard bench/*.py))

.DEFAULT_GOAL := help
.PHONY: demo test test-sriov soak check bench help clean venv tools emulator constraints
.DELETE_ON_ERROR:

demo: .venv/.ready .tools/.ready ## Show the whole system on this machine: nodes, NICs, pods, traffic (SCENARIO=file for other sizes)
	.venv/bin/multinic lab demo $(if $(SCENARIO),--scenario $(SCENARIO))

test: .venv/.ready .tools/.ready ## Run every test: kernel tests this kernel cannot run in the lab kernel or the emulated PC, all others here
	$(RUN) -m multinic_lab.alltests

test-sriov: .venv/.ready .tools/.emulator ## Run the tests that need SR-IOV NICs, in an emulated PC
	$(RUN) -m multinic_lab.emulator.sriov_tests

soak: .venv/.ready ## Run the long form of the model and linearizability tests: 10,000 random histories of a node
	MULTINIC_MODEL=soak $(RUN) -m pytest -q tests/daemon/test_daemon_model.py tests/daemon/test_daemon_linearizable.py

check: .venv/.ready ## Check style, types, layers and pinned versions
	@status=0; \
	$(PROVISION) check || status=1; \
	$(RUN) -m ruff check . || status=1; \
	$(RUN) -m ruff format --check . || status=1; \
	$(RUN) -m mypy || status=1; \
	.venv/bin/lint-imports --no-cache || status=1; \
	exit $$status

bench: .venv/.ready .tools/.ready ## Measure: run every program of bench/ and print its table
	set -e; for program in $(BENCHES); do $(RUN) $$program; done

venv: .venv/.ready ## Install the virtual environment only

tools: .tools/.ready ## Unpack the Debian tools only

emulator: .tools/.emulator ## Unpack the emulated PC only

constraints: ## Resolve all dependencies anew and rewrite constraints.txt
	rm -rf .venv
	$(PROVISION) constraints
	touch .venv/.ready

clean: ## Remove what was installed and built here
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf 'make %-12s %s\n' "$$name" "$$text"; done

.venv/.ready: constraints.txt $(PROJECTS) lab/multinic_lab/provision/venv.py
	$(PROVISION) venv
	touch $@

.tools/.ready: lab/multinic_lab/provision/debian.py lab/multinic_lab/provision/apart.py
	$(PROVISION) tools
	touch $@

.tools/.emulator: lab/multinic_lab/provision/emulator.py lab/multinic_lab/provision/apart.py | .tools/.ready
	$(PROVISION) emulator
	touch $@
