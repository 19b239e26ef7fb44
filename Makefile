# Two commands matter to a newcomer: `make demo` and `make test`. `make` alone lists the rest.
# Everything is installed into .venv from pinned versions (constraints.txt); a second call installs nothing.

SHELL   := /bin/sh
PYTHON  ?= $(shell command -v python3.11 || command -v python3)
VENV    := .venv
BIN     := $(VENV)/bin
DEMO    := demo
TOROS   := examples/data/toros_eso085
WORKERS ?= 2
DEVICE  ?= cpu
# make train: pairs of frames of each camera, the first one and those of examples/model/cameras; the seeds of their skies are
# counted from SEED; FROM, a model, is trained further, on skies that it has not seen if SEED is another one.
CAMERAS := sharp_ccd small_telescope wide_lens long_focus
PAIRS   ?= 420 65 65 65 45
SEED    ?= 100
FROM    ?=
PIP     := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# The linters and the documentation builder are found in .venv, and only there.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs wheel train bench clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
	    printf '  make %-10s %s\n' "$$name" "$$text"; done

# ---- the environment -------------------------------------------------------------------------------------------------

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "no python3 on the path; gueststar needs Python 3.11 or later" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is too old; gueststar needs Python 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.user: $(VENV)/.created pyproject.toml constraints.txt
	@echo "installing gueststar into $(VENV); the first time this takes some minutes"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml constraints.txt
	@echo "installing gueststar and its development tools into $(VENV); the first time this takes some minutes"
	$(PIP) -e '.[dev]'
	@touch $(VENV)/.user $@

# ---- what a newcomer runs --------------------------------------------------------------------------------------------

demo: $(VENV)/.user ## simulate a small night, process it and a real pair, say where the reports are
	rm -rf $(DEMO)
	gueststar simulate night $(DEMO)/night --chips 2 --visits 6 --seed 1 --workers $(WORKERS)
	gueststar run $(DEMO)/night --instrument tomoe --out $(DEMO)/night_products --inject 100 --workers $(WORKERS)
	gueststar efficiency $(DEMO)/night_products --truth $(DEMO)/night/truth.parquet
	gueststar run $(TOROS) --instrument $(TOROS)/instrument.toml --out $(DEMO)/toros_products --workers 1
	gueststar pair $(TOROS)/aligned_eso085-030-005.fits.fz $(TOROS)/aligned_eso085-030-004.fits.fz \
	    --instrument $(TOROS)/instrument.toml --out $(DEMO)/toros_pair
	@echo
	@echo "Reports, to open in a browser:"
	@echo "  $(CURDIR)/$(DEMO)/night_products/report.html   a simulated night"
	@echo "  $(CURDIR)/$(DEMO)/night_products/efficiency/efficiency.html   what of it was found"
	@echo "  $(CURDIR)/$(DEMO)/toros_products/report.html   a real pair"
	@echo "  $(CURDIR)/$(DEMO)/toros_pair/pair.png           the same, as one picture"

test: $(VENV)/.dev ## run the tests on two cores
	python -m pytest -n $(WORKERS) --dist worksteal

# ---- what a developer runs -------------------------------------------------------------------------------------------

lint: $(VENV)/.dev ## ruff, mypy and the import layers
	ruff check .
	ruff format --check .
	mypy
	lint-imports

format: $(VENV)/.dev ## rewrite the code as ruff formats it
	ruff check --fix .
	ruff format .

docs: $(VENV)/.dev ## build the documentation; warnings are errors
	rm -rf docs/reference/generated
	sphinx-build --builder html --fail-on-warning --nitpicky --keep-going --quiet docs docs/_build/html
	@echo "documentation: $(CURDIR)/docs/_build/html/index.html"

wheel: $(VENV)/.dev ## build the wheel
	rm -rf dist
	python -m build --wheel --outdir dist .

train: $(VENV)/.user ## train a real/bogus model, into build/model; FROM=shipped goes on from the shipped one
	rm -rf build/model build/model_set build/model_sets
	gueststar dataset simulate --out build/model_sets/tomoe --config examples/model/set.toml --pairs $(firstword $(PAIRS)) \
		--chips all --seed $$(($(SEED) + 1)) --split 4:1:0 --real examples/data/toros_eso085 --workers $(WORKERS)
	@set -e -- $(wordlist 2,99,$(PAIRS)); seed=$$(($(SEED) + 10)); for camera in $(CAMERAS); do seed=$$((seed + 1)); \
		(set -x; gueststar dataset simulate --out build/model_sets/$$camera --config examples/model/cameras/$$camera.toml \
		--pairs $$1 --seed $$seed --split 4:1:0 --workers $(WORKERS)); shift; done
	gueststar dataset join build/model_sets/* --out build/model_set
	gueststar train --data build/model_set --out build/model --config examples/model/train.toml --device $(DEVICE) \
		$(if $(FROM),--finetune $(FROM) --set finetune.part=all --epochs 5)
	@echo "To ship it, add figures with gueststar model measure, and copy model.onnx, card.json, profile.json and weights.npz to"
	@echo "src/gueststar/realbogus/shipped"

bench: $(VENV)/.dev ## time each stage on a full chip and the simulator, beside the peers that are installed
	python benchmarks/chain.py
	python benchmarks/simulator.py

clean: ## remove what the other targets made, but not the environment
	rm -rf $(DEMO) dist build docs/_build docs/reference/generated .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

distclean: clean ## remove the environment too
	rm -rf $(VENV)
