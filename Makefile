# make reproduce   build the environment, run the notebooks, print what came out; again: continue, skip what is done
# make test        build the environment, run the tests
# make lab         open JupyterLab on notebooks/
# make notebooks   write the .ipynb of every notebooks/*.py again
# make lint        check the style
# make networks    train the networks of results/checkpoints on to FACES faces (they stand at 204,800): hours
# make seeds       train VRN, Multitask and Guided with three seeds and SEED_FACES faces each, for Table 1: hours
# make paper-size  train VRN at the size of the paper with PAPER_FACES faces, grown from the small one: hours
# make clean       remove the environment and everything that can be made again
#
# Variables, given as `make NAME=value ...`:
#   PYTHON          the interpreter to build the environment with (3.10 or newer)
#   VENV            the folder of the environment
#   ARGS            more words for `python -m vrnlib run` or for pytest, e.g. `make test ARGS='-m "not slow"'`
#   TORCH_PIP_ARGS  more words for pip when it installs torch. The plain wheel from the registry brings its GPU
#                   libraries, some gigabytes; `--index-url ADDRESS` of a CPU wheel index saves them (PyTorch's
#                   "Get started" page names it). The environment variables of pip, such as PIP_EXTRA_INDEX_URL or
#                   PIP_FIND_LINKS, work as ever.

VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python3.10 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
TORCH_PIP_ARGS ?=
ARGS ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
# of what pip says, one line a package; its errors go to standard error, unfiltered
BRIEF := sed -un -e 's/^Collecting /  /p' -e 's/^Installing collected.*/  ... putting them in place/p'
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help reproduce test lab notebooks lint networks seeds paper-size clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# make/make/p' Makefile

reproduce: $(STAMP)
	$(BIN)/python -m vrnlib run --all $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -q $(ARGS)

lab: $(STAMP)
	$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name "Python 3" >/dev/null
	$(BIN)/python -m jupyterlab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(ARGS)

notebooks: $(STAMP)
	$(BIN)/python -m vrnlib.notebook

lint: $(STAMP)
	$(BIN)/ruff check .

# One after the other, from their states in results/runs; FACES is the end of each run, and one that has seen so
# many stays as it is. VRN-Guided learns round the landmark network, which is its detector.
FACES ?= 204800
networks: $(STAMP)
	for kind in vrn landmarks multitask guided; do \
		detector=; test $$kind != guided || detector="--detector results/checkpoints/landmarks-laptop.safetensors"; \
		$(BIN)/python -m vrnlib.train --profile laptop --kind $$kind --out results/runs/$$kind-laptop --max-faces $(FACES) \
			--learning-rate 4e-4 --lr-drop 0.06 0.5 0.7 0.8 0.88 0.94 0.98 --lr-drop-factor 0.5 \
			--threads 1 --workers 1 --validate-minutes 5 $$detector $(ARGS) \
		&& { test ! -f results/runs/$$kind-laptop/$$kind-laptop.safetensors \
			|| cp results/runs/$$kind-laptop/$$kind-laptop.safetensors results/checkpoints/; } || exit 1; \
	done
	$(BIN)/python -m vrnlib.baselines.tddfa_train --out results/runs/3ddfa-laptop --threads 1 --max-faces $(FACES) \
		--export results/checkpoints/3ddfa-laptop.safetensors

# Each seed has its own faces, which its three networks share. The detector of VRN-Guided is the trained landmark
# network for every seed: its seeds vary the network of the volume.
SEED_FACES ?= 8192
seeds: $(STAMP)
	mkdir -p build/seeds
	for seed in 0 1 2; do for kind in vrn multitask guided; do \
		detector=; test $$kind != guided || detector="--detector results/checkpoints/landmarks-laptop.safetensors"; \
		$(BIN)/python -m vrnlib.train --profile laptop --kind $$kind --seed $$seed --out build/seeds/$$kind-laptop-seed$$seed \
			--max-faces $(SEED_FACES) --learning-rate 4e-4 --lr-drop 0.5 0.7 0.85 0.95 --lr-drop-factor 0.5 \
			--threads 1 --workers 1 --keep build/keep $$detector $(ARGS) \
		&& cp build/seeds/$$kind-laptop-seed$$seed/$$kind-laptop.safetensors \
			results/checkpoints/$$kind-laptop-seed$$seed.safetensors \
		&& mkdir -p results/runs/seeds/$$kind-laptop-seed$$seed \
		&& cp build/seeds/$$kind-laptop-seed$$seed/{log.jsonl,metrics.json,params.json,provenance.json} results/runs/seeds/$$kind-laptop-seed$$seed/ || exit 1; \
	done; done

# Grown from the trained VRN; the same command goes on.
PAPER_FACES ?= 10240
paper-size: $(STAMP)
	$(BIN)/python -m vrnlib.train --profile paper --kind vrn --wiring low --weights results/checkpoints/vrn-laptop.safetensors \
		--out build/runs/vrn-paper --max-faces $(PAPER_FACES) --learning-rate 4e-4 --lr-drop 0.5 0.7 0.8 0.88 0.94 0.98 \
		--lr-drop-factor 0.5 --threads 2 --workers 1 --validate-minutes 10 $(ARGS) \
	&& cp build/runs/vrn-paper/vrn-paper.safetensors results/checkpoints/ \
	&& mkdir -p results/runs/vrn-paper \
	&& cp build/runs/vrn-paper/{log.jsonl,metrics.json,params.json,provenance.json} results/runs/vrn-paper/

clean:
	rm -rf $(VENV) build cache *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f results/executed/*.run.json

# torch comes first and alone, so that face_alignment, which asks for torch too, takes the one that is there.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 or newer found: install one, or name it, make PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: $(PYTHON) is not Python 3.10 or newer: name one that is, make PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no venv module: install it (Debian, Ubuntu: apt install python3-venv), or name another Python, make PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/python || { echo "Building the environment in $(VENV) with $(PYTHON): some minutes, 3 GB"; "$(PYTHON)" -m venv $(VENV); }
	@echo "torch first:"
	@$(BIN)/python -m pip install --progress-bar off $(TORCH_PIP_ARGS) -c constraints.txt torch | $(BRIEF)
	@echo "everything else:"
	@$(BIN)/python -m pip install --progress-bar off -c constraints.txt -e '.[dev]' | $(BRIEF)
	@touch $@
