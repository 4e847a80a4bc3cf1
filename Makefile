.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench docs lock clean

INPUT ?=
DURATION ?= 20

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## build .venv: ROS 2 from wheels, the messages, everything pinned (about 2 minutes; then under a second)
	@$(or $(PYTHON),python3) tools/setup.py

demo: setup ## the whole graph for DURATION=20 s, to a bag, figures and a film in out/demo; INPUT=FILE plays a recording
	@.venv/bin/pallas demo --duration $(DURATION) $(if $(INPUT),--input "$(INPUT)")

test: setup ## the tests; ARGS="-k calibration" picks some
	@.venv/bin/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: setup ## ruff, formatting, mypy (strict), and the arrows between the folders
	@status=0; for check in "ruff check" "ruff format --check" mypy "lint-imports --no-logo"; do \
		echo "-- $$check"; .venv/bin/$$check || status=1; done; exit $$status

format: setup ## what ruff can put in order by itself
	@.venv/bin/ruff check --fix --quiet || true
	@.venv/bin/ruff format

bench: setup ## the figures of README's table: speed, latency, safety (minutes)
	@.venv/bin/pallas bench

docs: setup ## docs/parameters.md and docs/commands.md, which are made from the code
	@.venv/bin/python tools/docs.py

lock: ## resolve requirements/lock.txt anew; ARGS="--upgrade-package numpy" moves one
	@$(or $(PYTHON),python3) tools/lock.py $(ARGS)

clean: ## remove what was built (.venv, build, out)
	rm -rf .venv build install log out
