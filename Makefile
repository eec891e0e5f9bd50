# make demo   train, measure and show a story on real handwritten digits (no download of data)
# make test   lint, types and the fast test suite
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint tables clean

demo: $(INSTALLED)
	$(BIN)/pyro-models train mixture-vae --data digits --steps 3000 --options.hidden '[256, 128]'

test: lint
	$(BIN)/python -m pytest -n 2 -q

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tables: $(INSTALLED)
	$(BIN)/python tools/tables.py

# Installed again only when what is to be installed has changed.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt tools/environment.py
	$(PYTHON) tools/environment.py $(VENV)
	@touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info
