# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Both set up what they need (a virtual environment in .venv, Julia in the user's data folder) and
# are quick when it is there already (the first `make demo` also makes a system image, for some minutes).

PYTHON ?= python3
VENV := .venv
EXTRAS := julia,demo,test,bench,docs,lint
BIN := $(VENV)/bin
READY := $(VENV)/ready
SOURCES := $(wildcard csrc/*.c csrc/*.h csrc/*.py) pyproject.toml setup.py

.PHONY: demo test test-all test-pypy test-image stress stress-asan lint docs bench bench-docs fuzz julia wheel wheels clean

# The system image takes minutes to make, once.
demo: julia
	$(BIN)/python -m bufferbridge precompile
	$(BIN)/python examples/terrain.py
	$(BIN)/python examples/stars.py

# In as many processes as there are cores. Julia compiles the package once before, not in all of them at once.
# TESTS are arguments for pytest: make test TESTS=tests/test_items.py
TESTS ?=
test: julia
	@$(BIN)/python -c "import bufferbridge; bufferbridge.init()"
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(TESTS)

# The same on every Python that is here, CPython 3.9 to 3.14: one line each. PYTHONS="3.9 3.14" takes only these.
test-all:
	@MAKE="$(MAKE)" sh tests/pythons.sh $(TESTS)

# What there is of it on PyPy (docs/pypy.md), with the wheel that PyPy builds, in an environment of its own.
PYPY ?= pypy3
test-pypy: julia .venv-pypy/ready
	BUFFERBRIDGE_PYPY=$(CURDIR)/.venv-pypy/bin/python $(BIN)/python -m pytest tests/test_portable.py

.venv-pypy/ready: $(wildcard bufferbridge/*.py bufferbridge/_portable/*.py jlsrc/*.jl jlsrc/src/*.jl) pyproject.toml setup.py
	@$(PYPY) -m venv .venv-pypy || { echo "make: there is no $(PYPY) with venv (Debian: apt install pypy3 pypy3-venv)"; exit 1; }
	.venv-pypy/bin/python -m pip install -qq --upgrade pip
	.venv-pypy/bin/python -m pip install -qq --force-reinstall --no-deps .
	.venv-pypy/bin/python -m pip install -qq platformdirs
	-.venv-pypy/bin/python -m pip install -qq --only-binary :all: numpy
	touch $@

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
	$(BIN)/python -m sphinx -E -a -W --keep-going -n -q -b html -d build/doctrees docs build/site
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

# An sdist and a wheel in dist/, built from the sdist: see docs/install.md for which Pythons and systems it is.
wheel: $(READY)
	$(BIN)/python -m build

# What a release has in dist/: the sdist, and manylinux wheels (of the Pythons that are here). That of 3.12 serves all later ones.
WHEELS ?= 3.9 3.10 3.11 3.12
wheels: $(READY)
	rm -rf dist build/wheels
	$(BIN)/python -m pip install -qq --editable '.[package]'
	$(BIN)/python -m build --sdist
	set -e; for version in $(WHEELS); do \
	    python=$$(sh tests/pythons.sh --find $$version) || { echo "$$version skipped: there is no python$$version"; continue; }; \
	    $$python -m venv --clear build/venv; \
	    build/venv/bin/python -m pip wheel -q --no-deps --wheel-dir build/wheels dist/*.tar.gz; \
	done
	PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --wheel-dir dist build/wheels/*.whl
	$(BIN)/twine check --strict dist/*

# Other libraries' tensors, for tests/test_dlpack.py, which skips those that are not there: what can't be installed here is
# done without. Without dependencies, since torch's bring gigabytes of CUDA; those in Python are named instead. jax takes 12 s.
TORCH ?= torch==2.13.0 typing_extensions sympy mpmath networkx jinja2 markupsafe fsspec filelock
JAX ?= jax jaxlib ml_dtypes opt_einsum

# The package itself is installed in place, its C module compiled anew when a source changes.
$(READY): $(SOURCES)
	@$(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) needs the venv module (Debian: apt install python3-venv python3-dev)"; exit 1; }
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --editable '.[$(EXTRAS)]'
	-$(BIN)/python -m pip install -qq --no-deps $(TORCH)
	-$(BIN)/python -m pip install -qq --no-deps $(JAX)
	touch $@

# A Julia that works: the one that is found, else one of our own. And Python's bytecode, as an installed package has
# it, also where Python is told to write none (PYTHONDONTWRITEBYTECODE): without it an import takes three times as long.
julia: $(READY)
	@$(BIN)/python -m compileall -q bufferbridge
	@$(BIN)/python -m bufferbridge doctor > $(VENV)/doctor 2>&1 || $(BIN)/python -m bufferbridge install-julia

clean:
	rm -rf $(VENV) $(VENV)-3.* $(VENV)-pypy build dist *.egg-info bufferbridge/_native*.so bufferbridge/_native.c
