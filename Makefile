# `make` alone lists the commands. Each sets up what it needs; a second run skips what is done.

.DEFAULT_GOAL := help
PY := .venv/bin/python
PORT ?= 8080
# Tests of one file share what they set up, so they stay together.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile
VARIANT := $(if $(filter 1,$(GPU)),--gpu,$(if $(filter 0,$(GPU)),--cpu))

# .venv first for every command, and nothing of another Python's in it.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONPATH PYTHONHOME

# Jupyter, matplotlib and ferlib keep caches in the home folder: lend them one where there is none.
ifneq ($(shell test -n "$$HOME" && test -w "$$HOME" && echo yes),yes)
export HOME := $(CURDIR)/build/home
$(shell mkdir -p build/home)
endif

.PHONY: help setup tutorial book test quick lab web serve stop bench speedrun pythons light lambda colab lint format clean

help:
	@echo "make tutorial   run every chapter and solution on drawn faces, then serve, ask and stop"
	@echo "make book       build the book of chapters, guides and reference: build/book/index.html"
	@echo "make test       run the tests"
	@echo "make quick      run the quick ones: under a minute"
	@echo "make lab        open the notebooks in JupyterLab"
	@echo "make web        build the browser page and give it out on this machine (PORT=8080)"
	@echo "make serve      pack the shipped weights and serve them (PORT=8080)"
	@echo "make stop       stop the server"
	@echo "make bench      run the benchmarks and write results/"
	@echo "make speedrun   train against the clock, on the real data in FERLIB_DATA"
	@echo "make pythons    try ferlib on every Python and NumPy found on this machine"
	@echo "make light      try ferlib without MXNet, from a wheel, on every Python from 3.10 on"
	@echo "make lambda     put the package for AWS Lambda together: build/lambda"
	@echo "make colab      run the chapters from a wheel, with Colab's Python and versions"
	@echo "make lint       check style, types and imports;  make format  mends the style"
	@echo "make setup      make .venv and install the pinned packages (the others do it when needed)"
	@echo "make clean      remove .venv and what was built; runs/ and data/ stay"
	@echo ""
	@echo "GPU=1 after setup or tutorial takes MXNet's CUDA build, GPU=0 goes back to the CPU's."

setup:
	@PYTHON="$(PYTHON)" sh scripts/setup.sh $(VARIANT)

tutorial: setup
	@$(PY) scripts/tutorial.py $(CHAPTER)

book: setup
	@echo "book: from notebooks, guides and docstrings"
	@$(PY) -m sphinx -q -W --keep-going -b html -c book . build/book
	@echo "book: open build/book/index.html"

test: setup
	@echo "tests: running"
	@$(PY) -m pytest -q -rs $(SIDE_BY_SIDE)

quick: setup
	@$(PY) -m pytest -q -m "not slow" $(SIDE_BY_SIDE)

lab: setup
	@$(PY) -m jupyter lab notebooks

web: setup
	@$(PY) -m ferlib.cli web --port $(PORT)

serve: setup
	@$(PY) -m ferlib.cli pack
	@$(PY) -m ferlib.cli serve --port $(PORT)

stop:
	@test ! -x $(PY) || $(PY) -m ferlib.cli stop

bench: setup
	@set -e; for name in parse augment workers crop detector engines runtimes step latency precision video robust serving endurance fuzz function; do echo "benchmarks/$$name.py"; $(PY) benchmarks/$$name.py; done; $(PY) experiments/pages.py

speedrun: setup
	@$(PY) experiments/speedrun.py

pythons: setup
	@$(PY) scripts/try_pythons.py

light: setup
	@$(PY) scripts/try_light.py

lambda: setup
	@$(PY) deploy/lambda/pack.py

colab: setup
	@$(PY) scripts/try_colab.py $(CHAPTER)

lint: setup
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m codespell_lib
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-cache | tail -n 4

format: setup
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean:
	rm -rf .venv build dist logs model_store/*.mar
