# make run    set up, run the whole pipeline on the built-in photos (ARGS="--source FOLDER ..." for others)
# make test   set up, pass the tests: a process a core, each of one thread
# make lint   ruff and mypy
# make faults the long tests of faults: each stage killed 20 times, servers away for a minute
# make fuzz   10,000 mutated streams (ARGS="--mutations N --seed N")
# make results  measure what README and docs quote, and write their tables (ARGS="--list", "--only NAME,NAME --budget-minutes N", "--render")
# make serve  Prefect, a worker and MLflow on loopback, deployments registered, until Ctrl-C
# make clean  remove .venv and caches; the workspace is yours: remove it by hand

VENV := .venv
STAMP := $(VENV)/.installed
PYTHON := $(VENV)/bin/python
# What .venv is made of: the first of these that is a Python 3.11 to 3.13. `make test PYTHON3=python3.12` names one.
PYTHON3 ?= python3.11 python3
ARGS ?=
# Prefect and MLflow report nothing home, and Prefect keeps even what it makes at import inside the workspace.
export CLC_WORKSPACE ?= $(CURDIR)/workspace
export PREFECT_HOME ?= $(CLC_WORKSPACE)/prefect
export DO_NOT_TRACK := true

.PHONY: run test faults lint fuzz results serve clean

run: $(STAMP)
	@mkdir -p "$(PREFECT_HOME)"
	@$(PYTHON) -m flows.retrain $(ARGS)

test: $(STAMP)
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n logical --dist loadfile $(ARGS)

faults: $(STAMP)
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest tests/faults -m faults -o faulthandler_timeout=900 $(ARGS)

lint: $(STAMP)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

fuzz: $(STAMP)
	@$(PYTHON) -m tests.hostile.fuzz --mutations 10000 $(ARGS)

results: $(STAMP)
	@$(PYTHON) -m bench.results $(ARGS)

serve: $(STAMP)
	@mkdir -p "$(PREFECT_HOME)"
	@$(PYTHON) -m flows.serve $(ARGS)

# The stamp is written last, so an installation that was cut short is done again. Until 0.16.0 the distribution was called
# clc; it would stay beside the new one.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	for python in $(PYTHON3) none; do \
		if [ "$$python" = none ]; then \
			echo "error: no Python 3.11 to 3.13 among $(PYTHON3); install python3.11 and its venv package (Debian: apt install python3.11-venv)" >&2; exit 1; \
		fi; \
		if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then break; fi; \
	done; \
	if ! [ -x $(PYTHON) ]; then \
		"$$python" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: $$python cannot make a virtual environment (Debian: apt install $$python-venv)" >&2; exit 1; }; \
	fi; \
	echo "installing into $(VENV); this happens once and takes some minutes"; \
	$(PYTHON) -m pip uninstall -qq --yes clc; \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[all,dev]' -c constraints.txt; \
	touch $(STAMP)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
