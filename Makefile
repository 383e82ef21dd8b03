# Needs python3 (3.11 to 3.13, with venv) and make; everything else is put into .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test lint types parity campaign sim mutants bench lab clean

# An environment that forbids bytecode would make every process compile everything again.
unexport PYTHONDONTWRITEBYTECODE
export UV_PYTHON_DOWNLOADS := never

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2
# One more than that: a third of the tests' time is spent waiting for sockets.
TESTERS ?= 3
SCENARIOS ?= 3999
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# Each candidate is run, not looked up: a name on PATH may be a shim that starts nothing.
.venv/.ok: requirements.lock pyproject.toml
	@found=; bare=; \
	for p in $(PYTHON) python3.12 python3.13 python3.11 python3; do \
	  "$$p" -c '$(IN_RANGE)' >/dev/null 2>&1 || continue; \
	  if "$$p" -c 'import ensurepip, venv' >/dev/null 2>&1; then found=$$p; break; fi; \
	  bare=$${bare:-$$p}; \
	done; \
	if [ -z "$$found" ]; then \
	  if [ -n "$$bare" ]; then echo "make: $$bare has no venv module; install it (Debian: apt-get install python3-venv)" >&2; \
	  else echo "make: no Python from 3.11 to 3.13 starts here; install one, or name it: make PYTHON=/path/to/python3" >&2; fi; \
	  exit 1; \
	fi; \
	echo "making .venv with $$found ($$("$$found" -c 'import platform; print(platform.python_version())'))"; \
	rm -rf .venv && "$$found" -m venv .venv
	@if command -v uv >/dev/null 2>&1; then uv=uv; \
	elif $(BIN)/python -m pip install -q --disable-pip-version-check uv; then uv="$(BIN)/python -m uv"; \
	else uv=false; fi; \
	set -- pip install -q --python $(BIN)/python --compile-bytecode --no-deps -r requirements.lock -e .; \
	if $$uv "$$@" || { [ "$$uv" != false ] && echo "once more from what uv keeps on this machine" && $$uv "$$@" --offline; }; then :; \
	else \
	  echo "uv cannot be had or failed here, going on with pip"; \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements.lock -e .; \
	fi
	@touch $@

demo: .venv/.ok  ## data, sweep, report, promotion, a live session on the sandbox, end to end
	$(BIN)/flea demo

test: lint types  ## lint, types, tests and notebooks; no network
	@set -e; home=$$(mktemp -d); trap 'rm -rf "$$home"' EXIT; \
	export FLEA_OFFLINE=1 FLEA_HOME="$$home" JUPYTER_PLATFORM_DIRS=1; \
	echo "$(PYTEST) -n $(TESTERS) --dist loadfile tests"; \
	$(PYTEST) -n $(TESTERS) --dist loadfile tests; \
	if [ -n "$$(find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')" ]; then \
	  echo "$(PYTEST) --nbval-lax -n $(WORKERS) --dist loadfile notebooks"; \
	  $(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=240 -n $(WORKERS) --dist loadfile notebooks; \
	fi

lint: .venv/.ok  ## ruff over code and notebooks
	$(BIN)/ruff check .

types: .venv/.ok  ## mypy
	$(BIN)/mypy

parity: .venv/.ok  ## the long campaign: sweep against replay, decision by decision
	FLEA_OFFLINE=1 $(PYTEST) tests/parity -m slow

campaign: .venv/.ok  ## the other long campaigns: kills, whole days in a book, planted faults, memory
	FLEA_OFFLINE=1 $(PYTEST) tests --ignore=tests/parity -m slow --timeout 3600
	FLEA_OFFLINE=1 $(BIN)/python -m tests.live.kill_campaign

kills: .venv/.ok  ## 500 real SIGKILLs of the real bot at a sandbox with faults
	FLEA_OFFLINE=1 $(BIN)/python -m tests.live.kill_campaign

sim: .venv/.ok  ## thousands of seeded scenarios of faults, kills and halts over the real runner
	$(BIN)/flea sim --seeds 0..$(SCENARIOS) --workers $(WORKERS)

mutants: .venv/.ok  ## planted bugs, each of which the simulation must catch
	$(BIN)/python -m tests.sim.hunting

bench: .venv/.ok  ## benchmarks, each printing a ratio measured in one run
	@set -e; for b in bench/*.py; do [ -e "$$b" ] || continue; echo "== $$b"; $(BIN)/python "$$b" --quick; done

lab: .venv/.ok  ## JupyterLab on notebooks/
	$(BIN)/python -m ipykernel install --sys-prefix --name flea-lab --display-name "flea_lab"
	$(BIN)/jupyter lab --config=notebooks/jupyter_lab_config.py --notebook-dir=notebooks

clean:  ## remove .venv and caches; the workspace in .flea stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build flea_lab.egg-info
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
