# The order of the stages, and nothing else: every stage is a program of its own (`python -m STAGE --help`).
# Two commands do everything on a fresh machine: `make bench` and `make test`.

PYTHON      ?= python3
PYTHON310   ?= python3.10
gpu         := $(shell nvidia-smi -L 2>/dev/null | head -1)
IMAGE_SIZES ?= 224 256 384 512
BATCH_SIZES ?= 1 2 4 8
profile     := $(if $(gpu),gpu,quick)
CONFIG      ?= harness/configs/$(profile).yaml
TRAINING    ?= training/configs/$(profile).yaml

VENV   := .venv
PY     := $(VENV)/bin/python
SETUP  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev
empty  :=
space  := $(empty) $(empty)
comma  := ,
sizes  := $(shell printf '%s\n' $(IMAGE_SIZES) | sort -n -u)
list    = [$(subst $(space),$(comma),$(strip $(1)))]
custom := $(if $(filter command line environment,$(origin IMAGE_SIZES) $(origin BATCH_SIZES)),yes)
RUN    ?= $(basename $(notdir $(CONFIG)))$(if $(custom),-$(subst $(space),.,$(sizes))-b$(subst $(space),.,$(strip $(BATCH_SIZES))))
# a format is exported when the config names it; TensorRT's need a GPU and `make setup-tensorrt` or -pypi
named    = $(if $(shell grep -l $(1) $(CONFIG) 2>/dev/null),$(comma)$(2))
special := $(call named,fp16,fp16) $(call named,int8,int8) $(call named,tensorrt_engine,engine) $(call named,torch_trt,torch_trt)
formats := [reference,onnx$(subst $(space),,$(special))]
engines := $(if $(findstring engine,$(formats))$(findstring torch_trt,$(formats)),--engine_profiles '[1-256-1024$(comma)1$(comma)2-8-32]')
REPORT := results/$(RUN)/report/report.en.md

.DEFAULT_GOAL := help
.PHONY: help setup setup-tensorrt setup-tensorrt-pypi train export bench report tensorboard test test-all lint clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'Settings: IMAGE_SIZES="224 384" BATCH_SIZES="1 8" CONFIG=harness/configs/quick.yaml RUN=name PYTHON=python3.12'

setup: $(SETUP)  ## Make .venv and install requirements.txt (once; about 6 GB)

setup-tensorrt: $(SETUP)  ## Add today's Torch-TensorRT to .venv (needs NVIDIA's package index)
	@echo "Installing requirements-tensorrt.txt into $(VENV) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-tensorrt.txt >$(VENV)/install-tensorrt.log 2>&1 || { echo "make: requirements-tensorrt.txt cannot be installed: NVIDIA's package index is not reachable, or pip's reason in $(VENV)/install-tensorrt.log; make setup-tensorrt-pypi needs PyPI alone"; exit 2; }

setup-tensorrt-pypi:  ## Make .venv-tensorrt with an older TensorRT, from PyPI alone (CPython 3.10; about 6 GB)
	@command -v $(PYTHON310) >/dev/null && $(PYTHON310) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 10))' || { echo "make: $(PYTHON310) is no CPython 3.10 with venv; name one: make PYTHON310=/path/to/python3.10 $@"; exit 2; }
	@$(PYTHON310) -m venv .venv-tensorrt
	@echo "Installing requirements-tensorrt-pypi.txt into .venv-tensorrt: about 6 GB, some minutes ..."
	@.venv-tensorrt/bin/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: -r requirements-tensorrt-pypi.txt >.venv-tensorrt/install.log 2>&1 || { grep -E '^ERROR' .venv-tensorrt/install.log | head -3; echo "make: installing failed; the whole log is .venv-tensorrt/install.log"; exit 2; }

train: $(sizes:%=weights/best_resnet18_%.json)  ## Train ResNet-18 at each of IMAGE_SIZES, each from the one before

export: weights/.exported-$(RUN)  ## Export ONNX files and reference answers, with parity checks

bench: $(REPORT)  ## Everything that is missing or stale: set-up, training, export, measurement, report
	@echo "Up to date: $(REPORT) (in Russian: $(REPORT:.en.md=.ru.md)); curves: make tensorboard"

report: $(SETUP)  ## Write the report of run RUN again from its rows
	$(PY) -m analysis report --run_id $(RUN)

tensorboard: $(SETUP)  ## Serve benchmark results and training curves in TensorBoard; prints where to look first
	@cat lightning_logs/bench/*/start.txt 2>/dev/null; true
	$(VENV)/bin/tensorboard --logdir lightning_logs

test: $(DEV)  ## Run the test suite
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 3 --dist loadfile -m "not (slow or alone)"

test-all: test  ## The suite and the slow tests: INT8, every backend for real, and against an independent loop
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile -m slow
	$(PY) -m pytest -m alone

lint: $(DEV)  ## Check style, types and import rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:  ## Delete .venv and caches; weights, logs and results are kept
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up -----------------------------------------------------------------------------------------------------------

$(SETUP): requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not here; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V), and 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)"; exit 2; }
	@test -x $(PY) || $(PYTHON) -c 'import shutil, sys; sys.exit(shutil.disk_usage(".").free < 9e9)' || { echo "make: less than 9 GB free here; the packages need about 7 GB"; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing requirements.txt into $(VENV): about 6 GB, one to several minutes ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt >$(VENV)/install.log 2>&1 || { grep -E '^ERROR' $(VENV)/install.log | head -3; echo "make: installing failed; the whole log is $(VENV)/install.log"; exit 2; }
	@touch $@

$(DEV): requirements-dev.txt $(SETUP)
	@echo "Installing requirements-dev.txt ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt >$(VENV)/install.log 2>&1 || { grep -E '^ERROR' $(VENV)/install.log | head -3; echo "make: installing failed; the whole log is $(VENV)/install.log"; exit 2; }
	@touch $@

# --- stages: each runs when what it reads is newer than what it wrote -------------------------------------------------

# $(1) = image size, $(2) = the size before it, whose weights it starts from (order only: newer ones do not retrain it)
define train_rule
weights/best_resnet18_$(1).json: $(TRAINING) | $(SETUP) $(if $(2),weights/best_resnet18_$(2).json)
	$(PY) -m training fit --config $(TRAINING) --data.image_size $(1) $(if $(2),--model.init_from weights/best_resnet18_$(2).pth)
	@touch $$@
endef
previous :=
$(foreach size,$(sizes),$(eval $(call train_rule,$(size),$(previous)))$(eval previous := $(size)))

weights/.exported-$(RUN): $(sizes:%=weights/best_resnet18_%.json) | $(SETUP)
	$(PY) -m export --image_size '$(call list,$(sizes))' --to '$(formats)' --reference_images 64 $(engines)
	@touch $@

results/$(RUN)/.measured: weights/.exported-$(RUN) $(CONFIG) | $(SETUP)
	$(PY) -m harness --config $(CONFIG) --run_id $(RUN) --continue_or_replace true $(if $(custom),--image_sizes '$(call list,$(sizes))' --batch_sizes '$(call list,$(BATCH_SIZES))')
	@touch $@

$(REPORT): results/$(RUN)/.measured
	$(PY) -m analysis report --run_id $(RUN)
	@touch $@
