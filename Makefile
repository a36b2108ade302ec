# Each target sets up .venv/ on first use; after that the stamp makes it free.
PYTHON ?= python3
SPACE ?= search_spaces/transfer.yaml
OUT ?= runs
ARGS ?=
# Where torch comes from. What PyPI has for Linux x86-64 brings CUDA along.
TORCH_OPTIONS ?=
CPU_TORCH := --index-url https://download.pytorch.org/whl/cpu
TORCH_SIZE := its size depends on the machine and on TORCH_OPTIONS
ifeq ($(shell uname -sm) $(TORCH_OPTIONS),Linux x86_64 )
TORCH_SIZE := 2.7 GB with CUDA, or 0.2 GB with TORCH_OPTIONS='$(CPU_TORCH)'
else ifeq ($(TORCH_OPTIONS),$(CPU_TORCH))
TORCH_SIZE := 0.2 GB without CUDA
endif

BIN := .venv/bin
STAMP := .venv/installed
STAMP_ALL := .venv/installed-all
PIP_INSTALL := $(BIN)/python -m pip install -qq --progress-bar off --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations=10
export RAY_USAGE_STATS_ENABLED := 0
# Where it is set, each of the many processes of a study or a test compiles stage1 anew: a second.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help tune smoke test test-all gpu lint lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

# The run is named by its space; one that has begun goes on where it stopped.
tune: RUN = $(OUT)/$(basename $(notdir $(SPACE)))
tune: $(STAMP) ## run the study (SPACE=..., OUT=..., ARGS='--workers 4'); a second call resumes it
	$(BIN)/python -m stage1.tune $(SPACE) --out $(OUT) $(if $(wildcard $(RUN)/prereg.yaml),--resume) $(ARGS)

smoke: ## the same with a study of about a minute, to see that all works
	@$(MAKE) --no-print-directory tune SPACE=search_spaces/smoke.yaml

# Two processes, a file of tests in one of them: the tests of studies wait a lot. The order is that
# of tests/conftest.py, long files first.
test: lint ## style, types, import order and every test but the slow ones
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-all: lint $(STAMP_ALL) ## the same with the slow tests
	$(PYTEST) -m '' $(ARGS)

gpu: $(STAMP) ## is a GPU used right, and how fast: its tests and benchmarks/gpu.py, nine minutes
	PYTHONPATH=tests $(BIN)/python benchmarks/gpu.py $(ARGS)

lint: $(STAMP) ## style, types and import order
	$(BIN)/python -m ruff check --output-format concise
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-logo

lock: $(STAMP) ## write requirements.lock from what .venv/ holds
	@$(BIN)/python -m pip freeze --all --exclude-editable | sed '/^pip==/d; s/+cpu$$//' \
		| grep -vxFf requirements-all.lock > .venv/pins
	@{ grep '^#' requirements.lock; cat .venv/pins; } > .venv/lock
	@mv .venv/lock requirements.lock

# torch first and by itself: what depends on it then takes the build that is there.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "PYTHON must be 3.11 or newer, got " + sys.version)'
	@echo "setting up .venv, minutes on first use. To fetch: torch ($(TORCH_SIZE)) and about 0.5 GB of other packages"
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv .venv
	@$(PIP_INSTALL) $(TORCH_OPTIONS) "$$(grep '^torch==' requirements.lock)"
	@$(PIP_INSTALL) --requirement requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# botocore and trackio ask for older packages than the tests run with, and work with those.
$(STAMP_ALL): requirements-all.lock $(STAMP)
	@$(PIP_INSTALL) --no-deps --requirement requirements-all.lock
	@touch $@
