# make demo   train, measure and show a story on real handwritten digits (no download of data)
# make test   lint, types and the fast test suite
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint tables clean

demo: $(INSTALLED)
	$(BIN)/pyro-models train dvae-st --data digits --steps 1500 --learning-rate 3e-3 --schedule drop \
		--options.channels '[16, 32]' --options.variance 0.03 --threads 1

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
