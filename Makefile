# make demo          the digits study: a student, its controls, a table (about three minutes)
# make test          the tests
# make bench         the benchmarks of speed, and their table (about ten minutes on two cores)
# make test-oldest   the tests of training and models under the lowest versions that pyproject.toml allows
# make test-newest   the same under the newest
# Each of the three environments (about 6 GB) is built once and used again, .venv-newest with what was released since;
# uv installs it where it is there, pip where not.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo test bench test-oldest test-newest lint FORCE

demo: $(STAMP)
	$(BIN)/accelerate launch recipes/train.py --config recipes/digits.yaml --overwrite_output_dir

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

bench: $(STAMP)
	$(BIN)/python recipes/benchmarks/speed.py

test-oldest test-newest: test-%: .venv-%/installed
	.venv-$*/bin/python -m pytest tests/training tests/models

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# $(call install,ENVIRONMENT,OPTIONS): the package and what its tests need, under OPTIONS of both installers.
define install
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(1) && \
		uv pip install --python $(1)/bin/python $(2) --editable '.[dev]'; \
	else \
		$(PYTHON) -m venv $(1) && \
		$(1)/bin/python -m pip install $(2) --editable '.[dev]'; \
	fi
	@touch $@
endef

$(STAMP): pyproject.toml constraints.txt
	$(call install,.venv,--constraint constraints.txt)

# Every lower bound as it stands: a resolver told to prefer low versions may still step over one. Afresh, so that
# nothing stays that only earlier bounds needed.
.venv-oldest/installed: pyproject.toml
	@rm -rf $(@D) && mkdir $(@D)
	@sed '1,/^dependencies/d' pyproject.toml | grep -oE '[a-z-]+>=[0-9.]+' | sed 's/>=/==/' >$(@D)/lowest.txt
	$(call install,$(@D),--constraint $(@D)/lowest.txt)

# Each time: the newest changes without a word in this repository.
.venv-newest/installed: pyproject.toml FORCE
	$(call install,$(@D),--upgrade)
