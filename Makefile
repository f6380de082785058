# setup   install everything into .venv (Python 3.11 or 3.12 needed)
# check   linters, types, import directions
# test    the tests, but for those marked slow
# test-all   every test that needs no hosts
# coverage   the same, and which lines it ran (not those that only programs of their own ran), in build/coverage
# test-cluster   a Ray cluster on several hosts, made on this machine (root, iproute2, openssh-server, rsync)
# test-cluster-up   of it, what CI runs: hosts up, one job from the cohort to the report, down
# fuzz   damaged and hostile files of every kind, a hundred thousand
# audit  known weaknesses of the packages that are pinned (asks a database on the network)
# lock   requirements.lock anew: each package of constraints.txt with its hashes (asks the registry)
# sbom   what is installed, as a CycloneDX list, in build/sbom.json
# docs    the documentation as a site, in build/website
# demo    the whole chain on a small phantom cohort; ends with a report to open
# bench   measure and print today's ratios
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTS := tests/cluster tests/security tests/s3 tests/integration tests/power_loss tests/fuzz tests/unit tests/reference
# Files go to two processes as these are done, those first that wait for programs; which go together,
# tests/conftest.py says. With compiled modules kept, as hundreds of processes load them.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup check test test-all coverage test-cluster test-cluster-up fuzz audit lock sbom docs demo bench clean

help:
	@grep -E '^# [a-z]' Makefile | sed 's/^# /make /'

# Torch comes first and alone: installed together, a range could pull another, larger build.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV), some minutes the first time…"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,aws,docs,export]'
	@touch $@

setup: $(VENV)/.installed

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pip check
	$(MAKE) --no-print-directory docs

# Any warning ends it. Neither building nor reading it needs a network.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open build/website/index.html; to search it, too: $(BIN)/python -m http.server --directory build/website"

test: setup
	$(PYTEST) -m 'not slow' --durations=20 $(TESTS)

test-all: setup
	$(PYTEST) --durations=20 $(TESTS)

coverage: setup
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage $(TESTS)

test-cluster: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/nodes

test-cluster-up: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/nodes/test_cluster_up.py

fuzz: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --inputs 100000

# In an environment of its own: what it needs is no part of the project.
audit:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)-audit/bin/pip-audit --no-deps --disable-pip -r constraints.txt

# In environments of their own, as for `audit`.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check uv
	sed -n '/^#/p' requirements.lock > build-lock.tmp
	$(VENV)-lock/bin/uv pip compile --quiet pyproject.toml --extra aws --extra export --extra radiomics -c constraints.txt \
	    --generate-hashes --no-emit-index-url --no-annotate --no-header --universal --python-version 3.11 >> build-lock.tmp
	mv build-lock.tmp requirements.lock

sbom: setup
	$(PYTHON) -m venv $(VENV)-sbom
	$(VENV)-sbom/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom
	mkdir -p build
	$(VENV)-sbom/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-file build/sbom.json
	@echo "build/sbom.json"

demo: setup
	$(BIN)/radiotrain demo

bench: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.preprocessing
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.augmentation
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.evaluation
	$(BIN)/python -m benchmarks.new_patient
	$(BIN)/python -m benchmarks.training
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.ray_overhead
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.sweep_startup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.scaling

clean:
	rm -rf $(VENV) $(VENV)-audit $(VENV)-lock $(VENV)-sbom demo-output .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
