# make demo   the digits study: a student, its controls, a table (about three minutes)
# make test   the tests
# Both build .venv once and use it again; uv installs it where it is there, pip where not.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo test lint

demo: $(STAMP)
	$(BIN)/accelerate launch recipes/train.py --config recipes/digits.yaml --overwrite_output_dir

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
		uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else \
		$(PYTHON) -m venv .venv && \
		$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $(STAMP)
