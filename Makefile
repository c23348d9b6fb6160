# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Both set up what they need (a virtual environment in .venv, Julia in the user's data folder) and
# are quick when it is there already (the first `make demo` also makes a system image, for some minutes).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
SOURCES := $(wildcard csrc/*.c csrc/*.h csrc/*.py) pyproject.toml setup.py

.PHONY: demo test test-image stress stress-asan lint docs bench bench-docs fuzz julia wheel clean

# The system image takes minutes to make, once.
demo: julia
	$(BIN)/python -m bufferbridge precompile
	$(BIN)/python examples/terrain.py
	$(BIN)/python examples/stars.py

# In as many processes as there are cores. Julia compiles the package once before, not in all of them at once.
test: julia
	@$(BIN)/python -c "import bufferbridge; bufferbridge.init()"
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# A system image that is really compiled, and the tests of what could be otherwise with it. For minutes.
test-image: julia
	BUFFERBRIDGE_TEST_PRECOMPILE=1 $(BIN)/python -m pytest tests/test_precompile.py
	XDG_CACHE_HOME=$(CURDIR)/$(VENV)/cache $(BIN)/python -m bufferbridge precompile
	XDG_CACHE_HOME=$(CURDIR)/$(VENV)/cache $(BIN)/python -m pytest --numprocesses auto --dist worksteal

# Random operations on all that holds memory, in all combinations of threads, for some minutes.
STRESS_SECONDS ?= 180
stress: julia
	$(BIN)/python tests/test_stress.py $(STRESS_SECONDS)

# The same with AddressSanitizer (gcc, glibc, x86-64), which sees every use of memory that is gone.
stress-asan: julia
	sh tests/asan.sh $(BIN)/python $(STRESS_SECONDS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site, in build/site. Julia runs for its part of the reference; a warning is an error.
docs: julia
	@rm -rf build/site
	$(BIN)/python -m sphinx -E -a -W --keep-going -n -q -b html docs build/site
	$(BIN)/python docs/check_site.py build/site

# BENCH takes options: peers of another environment are found with BENCH="--peer-python /path/to/python".
BENCH ?=
bench: julia
	$(BIN)/python bench/run.py $(BENCH)

# The same, and the table and the plot of docs/performance.md.
bench-docs: julia
	$(BIN)/python bench/run.py --docs $(BENCH)

# Coverage-guided fuzzing, see fuzz/README.md. Needs clang.
FUZZ_SECONDS ?= 120
fuzz: julia
	$(BIN)/python -m pip install -qq --editable '.[fuzz]'
	$(BIN)/python fuzz/run.py $(FUZZ_SECONDS)

# An sdist and a wheel in dist/.
wheel: $(READY)
	$(BIN)/python -m build

# The package itself is installed in place, its C module compiled anew when a source changes.
$(READY): $(SOURCES)
	@$(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) needs the venv module (Debian: apt install python3-venv python3-dev)"; exit 1; }
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --editable '.[julia,demo,test,bench,docs,lint]'
	touch $@

# A Julia that works: the one that is found, else one of our own. And Python's bytecode, as an installed package has
# it, also where Python is told to write none (PYTHONDONTWRITEBYTECODE): without it an import takes three times as long.
julia: $(READY)
	@$(BIN)/python -m compileall -q bufferbridge
	@$(BIN)/python -m bufferbridge doctor > $(VENV)/doctor 2>&1 || $(BIN)/python -m bufferbridge install-julia

clean:
	rm -rf $(VENV) build dist *.egg-info bufferbridge/_native*.so bufferbridge/_native.c
