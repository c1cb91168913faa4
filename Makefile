# Everything runs in .venv, which is made on first use and brought up to date when pyproject.toml changes.
# Choose another interpreter with `make PYTHONS=/path/to/python`, another place with `make VENV=folder`, and how many
# processes run the tests with `make test JOBS=4` (a core and 2 GB each). TORCH is what pip is given for torch and
# torchvision: `make test TORCH="torch~=2.11.0 torchvision~=0.26.0"`.

PYTHONS ?= python3.13 python3.12 python3.11 python3
VENV ?= .venv
JOBS ?= 2
TORCH ?= torch torchvision
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help quickstart starter test tests test-slow test-oldest lint style types docs notebooks package bench torture clean

help:
	@echo "make quickstart   find people in a photo, fine-tune on blood cells, evaluate, draw; needs no data"
	@echo "make starter      train the detector that comes with the package; PERSONS=folder BACKBONE=file: its data"
	@echo "make test         ruff, import layers, then pyright beside the tests"
	@echo "make test-slow    the tests that take longer"
	@echo "make test-oldest  the tests with the oldest versions that pyproject.toml admits, in build/oldest"
	@echo "make lint         the checks of 'make test' without the tests"
	@echo "make docs         the documentation site in build/site; fails on a broken link"
	@echo "make notebooks    run the notebooks of docs/notebooks and keep what they show"
	@echo "make package      sdist and wheel in dist/; installs the wheel in a fresh environment, runs 'cascade-rcnn doctor';"
	@echo "                  the runtime's own wheel is tried without torch: it has to find what the detector finds"
	@echo "make bench        measure speed and memory, write docs/results/performance.md; ONLY=inference: that part;"
	@echo "                  BENCH='--data FOLDER --checkpoints FILE': flags of benchmarks/report.py (--quick: a trial)"
	@echo "make torture      kills, failing disks, mutated files; docs/results/torture.md; fails if anything is lost or wrong;"
	@echo "                  TORTURE='--quick' or '--only coco train': flags of benchmarks/torture"
	@echo "make clean        remove $(VENV) and caches"

quickstart: $(READY)
	$(BIN)/cascade-rcnn quickstart --output runs/quickstart

PERSONS ?= ../shared/data/coco_person
BACKBONE ?= ../shared/weights/resnet18.safetensors
starter: $(READY)
	$(BIN)/python -m tools.starter $(PERSONS) $(BACKBONE)

test: style
	@$(MAKE) --no-print-directory --jobs 2 types tests

tests: $(READY)
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup

test-slow: $(READY)
	@$(BIN)/python -m pip install --quiet --group slow
	@$(BIN)/python -m pytest -m slow --timeout 3600

test-oldest: $(READY)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/python -m uv venv --quiet --clear --python $(BIN)/python build/oldest
	@$(BIN)/python -m uv pip install --quiet --python build/oldest/bin/python --resolution lowest-direct \
		--editable ".[all]" --group dev
	@build/oldest/bin/python -m pytest --numprocesses $(JOBS) --dist loadgroup

lint: style types

style: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports

types: $(READY)
	@$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(READY)
	@$(BIN)/python -m pip install --quiet --group docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

notebooks: $(READY)
	@$(BIN)/python -m tools.notebooks

package: $(READY)
	@rm -rf dist build/installed
	@$(BIN)/python -m build
	@$(BIN)/python -m venv build/installed
	@build/installed/bin/python -m pip install --quiet $(TORCH)
	@build/installed/bin/python -m pip install --quiet dist/*.whl
	@build/installed/bin/cascade-rcnn doctor
	@$(BIN)/python -m build --wheel --outdir dist packaging/runtime
	@$(BIN)/python -m pytest -m slow tests/runtime/test_wheel.py

bench: $(READY)
	$(BIN)/python -m benchmarks.report $(if $(ONLY),--only $(ONLY)) $(BENCH)

torture: $(READY)
	$(BIN)/python -m benchmarks.torture $(TORTURE)

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# An interpreter counts when it really starts (a version manager's shim may not) and can make environments.
USABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))

# torch and torchvision go first and together, so that they always match.
$(READY): pyproject.toml
	@set -e; \
	if ! $(BIN)/python -c "$(USABLE)" 2>/dev/null || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		for python in $(PYTHONS) none; do \
			if [ $$python = none ]; then \
				echo "No usable Python among: $(PYTHONS). Install Python 3.11 or newer with its venv module" \
					"(Debian, Ubuntu: apt install python3-venv), or name one: make PYTHONS=/path/to/python" >&2; \
				exit 1; \
			fi; \
			if $$python -c "$(USABLE)" 2>/dev/null; then break; fi; \
		done; \
		echo "Making $(VENV) with $$($$python --version)"; \
		$$python -m venv --clear $(VENV); \
	fi
	@echo "Installing into $(VENV): a few minutes and about 6 GB, most of it PyTorch"
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet $(TORCH)
	@$(BIN)/python -m pip install --quiet --editable ".[all]" --group dev
	@touch $@
