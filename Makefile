# Every verb works on a fresh machine with Python 3.11 or newer, its venv module, and make. Nothing is installed outside .venv.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.gemel
NAME ?=

.PHONY: help setup demo test quick lint types docs bench lock clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)/dev ## make .venv with everything that development needs, from the lock files

demo: $(STAMP)/run ## the loop of a twin on one person, start to end, in one page
	$(BIN)/gemel demo

test: $(STAMP)/dev ## every test that this machine can run, with seconds and compiled programs per room
	$(BIN)/python tools/run_tests.py

quick: $(STAMP)/dev ## the tests that take less than five seconds each
	$(BIN)/pytest -m "not slow"

lint: $(STAMP)/dev ## style, layout, the floors, and words that must not appear
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_words.py

types: $(STAMP)/dev ## static types
	$(BIN)/pyright

docs: $(STAMP)/dev ## the documentation, every warning an error: docs/_build/html/index.html
	$(BIN)/sphinx-build -n -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(STAMP)/dev ## one benchmark beside its peer: make bench NAME=metabolic-forecast
	@test -n "$(NAME)" || { echo "name one: make bench NAME=..."; ls benchmarks | sed -n 's/^\([a-z][a-z_]*\)\.py$$/  \1/p' | tr _ -; exit 2; }
	$(BIN)/gemel bench $(NAME)

# Newest versions inside the bounds of pyproject.toml, for every platform and Python from 3.11, with the hash of every file; the same versions everywhere.
COMPILE = $(BIN)/uv pip compile --generate-hashes --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url --quiet --upgrade
lock: $(STAMP)/tools ## make the lock files again
	@set -e; write() { \
		file=$$1; shift; $(COMPILE) "$$@" > $(VENV)/lock; \
		{ echo '# Made by make lock, not edited by hand: every file that may be installed, by its hash.'; cat $(VENV)/lock; } > $$file; rm $(VENV)/lock; echo $$file; \
	}; \
	write requirements-dev.lock pyproject.toml --all-extras --group dev --group build --group installer; \
	write requirements.lock pyproject.toml -c requirements-dev.lock; \
	write requirements-server.lock pyproject.toml --extra postgres --extra redis --extra dicom --extra devices --extra telemetry --extra parquet -c requirements-dev.lock; \
	write tools/build.lock --group pyproject.toml:build -c requirements-dev.lock; \
	write tools/installer.lock --group pyproject.toml:installer -c requirements-dev.lock; \
	write tools/audit.lock --group pyproject.toml:audit

clean: ## remove everything that can be made again
	rm -rf $(VENV) docs/_build docs/_generated build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis gemel-demo
	find src tests benchmarks docs tools -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment: made once per lock file; uv where it can be had (five times faster), pip otherwise ---

$(STAMP)/venv:
	@test -n "$(PYTHON)" || { echo "Gemel needs Python 3.11 or newer: install it, or name it with make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@mkdir -p $(STAMP) && touch $@

$(STAMP)/tools: tools/installer.lock tools/build.lock | $(STAMP)/venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r tools/installer.lock \
		|| echo "uv cannot be had here: pip will do, more slowly"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/build.lock
	@touch $@

# $(call install,LOCK FILE,uv's verb): what the locks name, then the package itself, editable, without looking for dependencies.
define install
	@echo "installing $(1)"
	@if [ -x $(BIN)/uv ]; then \
		$(BIN)/uv pip $(2) --python $(BIN)/python --quiet --require-hashes --compile-bytecode $(if $(filter install,$(2)),-r )$(1) \
		&& $(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1) \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	fi
	@$(BIN)/python -m compileall -q src
endef

$(STAMP)/run: requirements.lock pyproject.toml $(STAMP)/tools
	$(call install,requirements.lock,install)
	@touch $@

$(STAMP)/dev: requirements-dev.lock pyproject.toml $(STAMP)/tools
	$(call install,requirements-dev.lock,sync)
	@touch $(STAMP)/run $@
