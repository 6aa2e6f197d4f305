# Everything works in .venv, on a machine with nothing but python3, make and git. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NEWEST := .venv-newest
# ansible-lint and molecule look for their own tools on PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHON
# Ansible refuses to start in a locale that the machine does not have, as after ssh from a machine that does.
export LC_ALL := C.UTF-8
PIP_INSTALL = $(@D)/bin/python -m pip --disable-pip-version-check --quiet install
# Scenarios left out of `make molecule`: those of `make acceptance`, on guests of the vm lab or on a cluster, and that of Cilium, which needs
# a bundle with it.
VM_SCENARIOS := cluster_path cni_cilium container_runtime existing_cluster k8s_ptp kernel kubernetes netperf_pods vm_lab

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo lint format test newest molecule acceptance destroy clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target what; do \
		printf '  make %-10s %s\n' "$$target" "$$what"; done

setup: $(VENV)/.runtime ## what labctl needs to run, in .venv

setup-dev: $(VENV)/.dev ## the linters and test tools on top

demo: setup ## create the local lab, take a quick look at three variants, print the table
	$(BIN)/labctl matrix --quick

lint: setup-dev ## ruff, mypy, yamllint, ansible-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint

format: setup-dev ## let ruff write what `make lint` asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint ## lint, every test and scenario but those of the vm lab; those of the local lab need root or sudo
	$(BIN)/pytest -n auto -m 'not (lab or acceptance)'
	$(BIN)/pytest -m 'lab and not acceptance' --deselect tests/integration/test_installed.py  # `make newest` runs it
	@$(MAKE) --no-print-directory molecule
	@$(MAKE) --no-print-directory newest

# $(VENV) has the oldest ansible-core that labctl takes. What differs between its releases are modules, event data, the loading of plugins and
# how Ansible ends: the unit tests, the lab tests marked `newest`, a scenario with a plugin and one with modules show that in few minutes.
newest: export PATH := $(CURDIR)/$(NEWEST)/bin:$(PATH)
newest: $(NEWEST)/.dev ## a part of the tests with the newest ansible-core, on the newest Python of this machine
	$(NEWEST)/bin/pytest -n auto -m 'not (lab or acceptance)'
	$(NEWEST)/bin/pytest -m 'lab and newest'
	$(NEWEST)/bin/molecule test --no-command-borders -s measure -s datapath_proof </dev/null

# Ansible refuses a standard input in non-blocking mode, as some terminals and CI systems have it.
molecule: setup-dev ## the roles' scenarios on a local lab; one of them: make molecule SCENARIO=netperf
	$(BIN)/molecule test --no-command-borders $(if $(SCENARIO),-s $(SCENARIO),--all $(VM_SCENARIOS:%=--exclude %)) </dev/null

acceptance: setup-dev ## the tests on virtual machines and on a real cluster, with root or sudo
	$(BIN)/pytest -m acceptance

destroy: setup ## remove the local lab and all that belongs to it
	$(BIN)/labctl lab destroy

clean: ## remove what make and the tools left in this checkout; runs/ stays
	rm -rf $(VENV) $(NEWEST) .ansible .cache .mypy_cache .pytest_cache .ruff_cache build dist
	find labctl molecule roles tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: as old as the last install that went through. Two of them, so that a demo does not wait for the linters.
$(VENV)/.runtime: pyproject.toml tools/make-venv
	@tools/make-venv $(VENV)
	@echo 'Installing what labctl needs to run ...'
	@$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml tools/constraints-oldest.txt $(VENV)/.runtime
	@echo 'Installing the linters and test tools ...'
	@$(PIP_INSTALL) --constraint tools/constraints-oldest.txt --editable '.[dev]'
	@touch $@

$(NEWEST)/.dev: pyproject.toml tools/make-venv tools/newest-python
	@PYTHON="$$(tools/newest-python)" tools/make-venv $(NEWEST)
	@echo 'Installing labctl and its test tools beside the newest ansible-core ...'
	@$(PIP_INSTALL) --upgrade --editable '.[dev]'
	@touch $@
