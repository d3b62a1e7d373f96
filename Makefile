# What operators and developers type. PYTHON=python3.12 chooses the interpreter, ARGS goes on to pytest.
python := .venv/bin/python

.PHONY: help setup demo run test bench chaos chaos-quick chaos-soak check dev
.NOTPARALLEL:

help: ## print these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## .venv with the requirements, and the model files
	@scripts/setup requirements.txt
	@$(python) -m models.fetch

demo: ## play one vehicle through the whole service: VIDEO=path, KEEP=1
	@scripts/setup requirements.txt
	@exec $(python) -m serve_app demo

run: ## the service, until Ctrl-C or SIGTERM
	@scripts/setup requirements.txt
	@exec $(python) -m serve_app run

test: dev ## all tests, with the servers that they need
	@scripts/test-servers
	@$(python) -m models.fetch
	@exec $(python) -m pytest $(ARGS)

bench: dev ## how fast it is beside its limit, and what it costs: some 70 minutes, nothing else running; ARGS=--quick: 30
	@scripts/test-servers
	@$(python) -m models.fetch
	@exec $(python) -m benchmarks $(ARGS)

chaos: dev ## faults, really made: processes killed, servers gone, disk full; CHAOS_REPORT=path keeps the table
	@scripts/test-servers
	@exec env CHAOS=1 $(python) -m pytest tests/chaos -m "not soak" $(ARGS)

chaos-quick: dev ## a handful of them
	@scripts/test-servers
	@exec env CHAOS=1 $(python) -m pytest tests/chaos -m quick $(ARGS)

chaos-soak: dev ## 2,000 trips and 200,000 frames in one run: does anything grow? SOAK_CYCLES, SOAK_FRAMES
	@scripts/test-servers
	@exec env CHAOS=1 $(python) -m pytest tests/chaos -m soak -s $(ARGS)

check: dev ## linters, types, import rules, dependency audit
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy
	.venv/bin/lint-imports
	$(python) scripts/audit.py

dev:
	@scripts/setup requirements-dev.txt
