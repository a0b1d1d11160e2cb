# Every target sets up what it needs, says what it does, and can be run again.
VENV := .venv
PYTHON ?= python3
# The tests start hundreds of interpreters; without cached bytecode, each start would take twice as long.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help root demo test unit programs commands lab stress bench lint setup clean

help: ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(VENV)/.ready ## the virtual environment in .venv

# "compat" puts this folder on Python's path, without an import hook that slows every start.
INSTALL := $(VENV)/bin/pip install --quiet --config-settings editable_mode=compat --editable

$(VENV)/.installed: pyproject.toml
	@echo '== setting up the virtual environment in $(VENV)'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || ./bin/apt-install python3-venv
	@[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) .
	@touch $@

$(VENV)/.ready: $(VENV)/.installed
	@echo '== installing what the tests need'
	@$(INSTALL) '.[dev]'
	@touch $@

root:
	@[ "$$(id -u)" = 0 ] || { echo 'make $(MAKECMDGOALS) needs root, for the lab: run it with sudo'; exit 1; }

# The inventory of the demo: that of this folder, or an example, as in STACK=incidents or STACK=bingo.
DEMO := $(if $(STACK),--inventory=stacks/$(STACK)/hosts.yaml)
demo: root $(VENV)/.installed ## from a bare Debian machine to a deployed and verified stack in the lab; STACK=incidents or bingo: that one (needs root)
	@echo '== 1/3 inv lab.up: Debian hosts on this machine'
	@$(VENV)/bin/inv lab.up $(DEMO)
	@echo '== 2/3 inv deploy: bare hosts become the stack'
	@$(VENV)/bin/inv deploy $(DEMO)
	@echo '== 3/3 inv verify: every promise is checked'
	@$(VENV)/bin/inv verify $(DEMO)
	@echo
	@echo 'The stack runs. Try: . .venv/bin/activate; inv status; inv deploy; inv tunnel; inv lab.shell db1; inv lab.down'

lint: setup ## ruff and mypy --strict
	@echo '== ruff and mypy'
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

# These tests write many small files and start no program, so that a small disk in memory will do.
IN_MEMORY := $(if $(wildcard /dev/shm),TMPDIR=/dev/shm)
unit: setup lint ## the tests that start no other program, in seconds
	@echo '== unit tests'
	@$(VENV)/bin/python -m compileall -q -j 2 plainstack
	@$(IN_MEMORY) $(VENV)/bin/python -m pytest -n 2 --dist worksteal --durations=10 -m 'not programs' tests/unit
	@echo '== the tests of apps/incidents'
	@$(VENV)/bin/python apps/incidents/manage.py test incidents

# Some tests of a module go on where the one before has ended, so that a module stays with one worker.
programs: setup ## the unit tests that start other programs: sh, sshd, nginx, keepalived, promtool; no host
	@./bin/apt-install openssh-server prometheus prometheus-alertmanager prometheus-blackbox-exporter lego pebble \
		keepalived iptables libnginx-mod-http-brotli-filter postgresql
	@$(VENV)/bin/python -m tests.mariadb
	@echo '== unit tests that start other programs'
	@$(VENV)/bin/python -m pytest -n 3 --dist loadfile --durations=10 -m programs tests/unit

commands: setup ## whole commands and pages on this machine, no host
	@./bin/apt-install chromium
	@echo '== tests of whole commands'
	@$(VENV)/bin/python -m pytest -n 2 --durations=10 tests/commands

# Every lab has its own network, so modules can run at the same time.
J ?= 3
lab: root setup ## the tests on real hosts, three modules at a time (J=3); T=tests/lab/test_change.py: this module only (needs root)
	@echo '== lab tests'
ifdef T
	@$(VENV)/bin/python -m pytest --durations=10 $(T)
else
	@PLAINSTACK_SNAPSHOT=new $(VENV)/bin/python -m pytest -n $(J) --dist loadfile --no-loadscope-reorder --durations=10 tests/lab
endif

N ?= 20
stress: root setup ## a test module N times (N=20) on a busy machine: make stress T=tests/lab/test_change.py
	@[ -n "$(T)" ] || { echo 'name the tests to run: make stress T=tests/lab/test_change.py N=20'; exit 1; }
	@$(VENV)/bin/python -m tests.stress --times=$(N) $(T)

test: unit programs commands lab ## every test

bench: root setup ## how long runs take, compared with their lower bounds, in labs (needs root)
	@echo '== measuring the reference work'
	@$(VENV)/bin/python bench/reference.py
	@echo '== measuring a balancer'
	@./bin/apt-install wrk nghttp2-client
	@$(VENV)/bin/python bench/edge.py
	@echo '== measuring the default stack'
	@$(VENV)/bin/inv lab.up
	@$(VENV)/bin/inv deploy
	@$(VENV)/bin/python bench/noop.py
	@$(VENV)/bin/python bench/verify.py
	@$(VENV)/bin/python bench/source.py

clean: ## remove what make created
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
