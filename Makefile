# `make demo` and `make test` do all set-up on a machine with python3 (3.11 or newer), venv, pip and git.
#
# PyTorch: on a machine without a GPU, let pip find the CPU build, which is 10 times smaller: name PyTorch's CPU wheel
# index (see "Get started" on pytorch.org) in PIP_EXTRA_INDEX_URL, or a folder of wheels in PIP_FIND_LINKS.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check
TORCH  := $(shell grep '^torch==' constraints.txt)
export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: help demo test browser test-long check format bench bench-search bench-controller bench-honesty bench-serve lock clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: $(VENV)/.demo ## set up, run the quickstart study, and say what to type next
	$(BIN)/hpo run quickstart
	$(BIN)/hpo list
	@echo
	@echo "What to type next:"
	@echo "  $(BIN)/hpo predict sentiment@champion \"a dull, lifeless film\" \"one of the year's best\""
	@echo "  $(BIN)/hpo show quickstart          all trials"
	@echo "  $(BIN)/hpo serve sentiment@champion  a page to try it: http://127.0.0.1:8000"
	@echo "  $(BIN)/hpo ui                       the MLflow pages"
	@echo "  $(BIN)/hpo pull sentiment@champion out/model"
	@echo "  $(BIN)/hpo init-spec                a study of your own data"

test: $(VENV)/.dev browser ## all tests but the long ones
	$(BIN)/pytest

# The page is tested in Debian's Chromium. Without one those tests are skipped and say so.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
		echo "Chromium is missing: apt-get install chromium"; \
		[ "$$(id -u)" = 0 ] && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium; \
	} || echo "The tests of the page will be skipped."

test-long: $(VENV)/.dev ## the tests that take minutes, and all tests of faults; ends with the table of faults
	$(BIN)/pytest -m "long or fault"

check: $(VENV)/.dev ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## measure against the Hugging Face Trainer (25 minutes on a quiet machine)
	$(BIN)/python -m benchmarks

bench-search: $(VENV)/.search ## compare search cost with Optuna, Ray Tune and Syne Tune
	$(BIN)/python -m benchmarks.replay
	$(BIN)/python -m benchmarks.endtoend

bench-controller: $(VENV)/.dev ## measure what the controller costs with 10,000 stored trials and 64 workers
	$(BIN)/python -m benchmarks.controller

bench-honesty: $(VENV)/.dev ## is the reported score true? Repeated studies over stored answers of real trainings
	$(BIN)/python -m benchmarks.answers
	$(BIN)/python -m benchmarks.honesty

bench-serve: $(VENV)/.serve ## measure hpo serve against transformers.pipeline under load, overload, and ten minutes of it
	$(BIN)/python -m benchmarks.serve --soak 10

# The wheel of torch first and alone: asked for as a range, pip would take the newest build with all of CUDA.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(PIP) install --quiet -c constraints.txt -e '.[quickstart]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(PIP) install --quiet -c constraints.txt -e '.[quickstart,dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.search: $(VENV)/.dev
	$(PIP) install --quiet -c constraints.txt -e '.[quickstart,dev,bench-search]'
	@touch $@

$(VENV)/.serve: $(VENV)/.dev
	$(PIP) install --quiet -c constraints.txt -e '.[quickstart,dev,bench-serve]'
	@touch $@

lock: ## write the exact versions of this environment into constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^torch==([0-9.]+).*/torch==\1/' > constraints.txt

clean: ## remove the environment and everything built; the content of mlruns/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
