# Two commands on a fresh machine with Python 3.11 or newer: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO_RUN ?= runs/demo

.PHONY: demo test lint bench docs clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[app,test]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py $(DEMO_RUN)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/deeplstm bench $(BENCH)

docs: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/pdoc --docformat google --output-directory build/docs deeplstm
	@echo "API pages: build/docs/index.html; the guides are the Markdown files in docs/"

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
