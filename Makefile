# `make run` does the main job, `make test` runs all tests; both need only Python 3.11+ and make.
# Without make, as on Windows: `pip install --editable .` in an environment, then `python tools/run.py`.

# A Python that is named (`make PYTHON=python3.13 test`) has an environment of its own, .venv-3.13.
ifeq ($(origin PYTHON),undefined)
PYTHON := python3
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
OUT ?= out
VIDEO ?=
# PyTorch is several GB: make test-torch installs it.
EXTRAS := dask,demo,live,onnx,remote,tables,testing
LEARNING := $(wildcard $(foreach name,augment careless_learning classifiers dataset evaluation export labels lenet5 refusals training,tests/test_$(name).py) benchmarks/test_train.py)

define NEEDS_PYTHON
@$(PYTHON) -c '' || { echo "the Python that is named, '$(PYTHON)', does not run"; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "spatterlib needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..."; exit 1; }
endef

.PHONY: run test test-torch test-matrix constraints lint bench torture docs coverage clean

$(VENV)/installed: pyproject.toml
	$(NEEDS_PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/tested: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]' --group test --group lint
	@touch $@

run: $(VENV)/installed
	@$(BIN)/python tools/run.py --out "$(OUT)" $(if $(VIDEO),"$(VIDEO)")

# The examples that need nothing besides spatterlib; the others are tested with what they need.
EXAMPLES := background mog2 npz mraw
$(VENV)/examples: $(VENV)/tested $(foreach name,$(EXAMPLES) serve,plugins/spatterlib-$(name)/pyproject.toml)
	@$(BIN)/python -m pip install --quiet --no-deps $(foreach name,$(EXAMPLES),--editable plugins/spatterlib-$(name))
	@$(BIN)/python -m pip install --quiet --editable 'plugins/spatterlib-serve[test]'
	@touch $@

test: $(VENV)/examples
	$(BIN)/python -m pytest -n 2 --dist worksteal
	$(BIN)/python -m pytest -n 2 $(foreach name,$(EXAMPLES) serve,plugins/spatterlib-$(name))

# PyTorch is several GB; nothing else needs it.
$(VENV)/torch: $(VENV)/tested
	@$(BIN)/python -m pip install --quiet --editable '.[torch]'
	@$(BIN)/python -m pip install --quiet --no-deps --editable plugins/spatterlib-torchvision
	@touch $@

test-torch: $(VENV)/torch
	$(BIN)/python -m pytest $(LEARNING) plugins/spatterlib-torchvision -p no:xdist
	$(BIN)/python -m pytest $(filter-out $(LEARNING),$(wildcard tests/test_*.py)) -m 'torch and not torture' -p no:xdist

# Every Python that is here, with the newest and with the lowest libraries; MATRIX=--ends for the two ends alone.
MATRIX ?=
.venv-matrix/uv:
	$(NEEDS_PYTHON)
	@$(PYTHON) -m venv .venv-matrix
	@.venv-matrix/bin/python -m pip install --quiet "uv>=0.8"
	@touch $@

# Versions of what the container installs: names and versions only, for every Python; written anew, tested, committed.
CONSTRAINED := pyproject.toml plugins/spatterlib-serve/pyproject.toml
constraints: .venv-matrix/uv
	@.venv-matrix/bin/python deploy/dependencies.py demo,onnx,parquet,live $(CONSTRAINED) | \
	  .venv-matrix/bin/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
	  --no-emit-index-url --no-emit-find-links --upgrade --output-file deploy/constraints.txt -

test-matrix: .venv-matrix/uv
	@.venv-matrix/bin/python tools/matrix.py $(MATRIX)

lint: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github/workflows

bench: $(VENV)/tested
	@mkdir -p $(OUT)
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-json=$(OUT)/benchmarks.json -p no:xdist
	$(BIN)/python benchmarks/table.py $(OUT)/benchmarks.json

torture: $(VENV)/tested
	$(BIN)/python -m pytest -m torture -n 2 -o addopts="-ra --import-mode=importlib --strict-markers"

$(VENV)/documented: $(VENV)/tested
	@$(BIN)/python -m pip install --quiet --group docs
	@touch $@

# Dead links, missing anchors and names that are not there are errors.
docs: $(VENV)/documented
	$(BIN)/python tools/write_docs.py
	$(BIN)/zensical build --clean --strict

# Compiled kernels are invisible to coverage: tests/test_plain_python.py and these run them as plain Python.
KERNEL_TESTS := $(foreach name,augment crops difference grouping,tests/test_$(name).py)
coverage: $(VENV)/examples
	@rm -f .coverage .coverage.*
	-$(BIN)/python -m coverage run -m pytest -n 2 --dist worksteal tests
	-NUMBA_DISABLE_JIT=1 $(BIN)/python -m coverage run -m pytest -p no:xdist -m 'not torture and not slow' $(KERNEL_TESTS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --fail-under=95

clean:
	rm -rf .venv .venv-* .matrix $(OUT) site .cache .coverage .coverage.* build dist *.egg-info
