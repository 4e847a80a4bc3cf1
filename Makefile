.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench docs site lock clean

INPUT ?=
DURATION ?= 20

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## build .venv: ROS 2 from wheels, messages, pinned packages (minutes; then under a second)
	@$(or $(PYTHON),python3) tools/setup.py

demo: setup ## run the whole graph for DURATION=20 s; bag, plots and video in out/demo; INPUT=FILE plays a recording
	@.venv/bin/pallas demo --duration $(DURATION) $(if $(INPUT),--input "$(INPUT)")

test: setup ## run the tests; ARGS="-k calibration" selects some
	@.venv/bin/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: setup ## ruff, formatting, mypy (strict), import contracts, docstrings, style
	@status=0; for check in "ruff check" "ruff format --check" mypy "lint-imports --no-logo" \
		"interrogate -q pallas_ros hpstm_ros" "python tools/style.py"; do \
		echo "-- $$check"; .venv/bin/$$check || status=1; done; exit $$status

format: setup ## fix what ruff can fix
	@.venv/bin/ruff check --fix --quiet || true
	@.venv/bin/ruff format

bench: setup ## print speed, latency and safety figures (minutes)
	@.venv/bin/pallas bench

docs: setup ## generate docs/parameters.md and docs/commands.md from the code
	@.venv/bin/python tools/docs.py

site: docs ## the documentation as a searchable site in out/site
	@.venv/bin/mkdocs build --quiet && echo "out/site/index.html"

lock: ## resolve requirements/lock.txt again; ARGS="--upgrade-package numpy" upgrades one
	@$(or $(PYTHON),python3) tools/lock.py $(ARGS)

clean: ## remove .venv, build, out
	rm -rf .venv build install log out
