"""How much memory the hot paths allocate: exact where times are not, and a good part of the cost.

Counted are bytes for one run of a statement, on both sides: Python's by tracemalloc, the most at
one time (C code's PyMem_* included), Julia's by its collector's total, the mean of many runs. A
bound is what there is now, for Julia 1.5 and 1.10, the versions where it was measured; lower it
when it becomes less. `python tests/test_allocations.py` prints all figures.
"""

from __future__ import annotations

import array
import operator
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import bufferbridge as bb

np = pytest.importorskip("numpy", reason="NumPy's arrays are what is passed")

RUNS = 300

#: After so many calls those that are compiled for their arguments are (csrc/call.c).
WARM = 4_200

#: statement: (in Python, or a statement of Python's that allocates as much; in Julia 1.5; in 1.10)
BOUNDS: dict[str, tuple[int | str, int, int]] = {
    # calls
    "add(1, 2)": ("operator_add(1, 2)", 0, 0),
    "add(1000, 2000)": ("operator_add(1000, 2000)", 0, 0),
    "typed(1000, 2000)": ("operator_add(1000, 2000)", 0, 0),
    "add(1.5, 2.5)": ("operator_add(1.5, 2.5)", 0, 0),
    "same(z)": ("operator_add(z, z)", 0, 0),
    "same(text)": ("''.join(words)", 32, 32),
    "ignore(text)": (0, 32, 32),
    "ignore(thing)": (240, 16, 16),
    "same(thing)": (240, 32, 32),
    "ignore(echo)": (40, 32, 32),
    # buffers in; and back
    "ignore(vector)": (408, 112, 80),
    "ignore(matrix)": (424, 144, 112),
    "ignore(strided)": (408, 352, 280),
    "ignore(packed)": ("np.asarray(memoryview(packed))", 368, 304),
    "ignore(data)": (336, 352, 280),
    "total(vector)": (408, 128, 96),
    "same(vector)": (608, 144, 96),
    "same(matrix)": (608, 176, 144),
    # JuliaArrays
    "ignore(x)": (0, 0, 0),
    "same(x)": (272, 16, 16),
    "memoryview(x)": ("memoryview(matrix)", 0, 0),
    "np.asarray(y)": ("np.asarray(doubles)", 0, 0),
    "np.asarray(records)": ("np.asarray(memoryview(packed))", 0, 0),
    "x[3, 4]": ("matrix[3, 4]", 0, 0),
    "x[3, 4] = 1.5": ("matrix[3, 4] = 1.5", 0, 0),
}

TYPED = """
module Allocations
using BufferBridge
@pyexport typed(a::Int, b::Int)::Int = a + b
end"""

#: Julia's bytes for one call of a Python function.
CALLBACK = {(1, 5): 16, (1, 10): 16}

#: These run with small and with large arrays, and allocate the same.
ANY_SIZE = [
    "ignore(array)",
    "ignore(array[::2])",
    "same(array)",
    "ignore(julia)",
    "same(julia)",
    "memoryview(julia)",
    "np.asarray(julia)",
]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the statements refer to."""
    return make_names()


def make_names() -> dict[str, Any]:
    record = [("id", "i4"), ("x", "f8")]
    return {
        "np": np,
        "operator_add": operator.add,
        "add": bb.eval("(a, b) -> a + b"),
        "typed": bb.eval(TYPED).typed,
        "same": bb.Base.identity,
        "ignore": bb.eval("x -> nothing"),
        "total": bb.Base.sum,
        "z": 1 + 2j,
        "text": "hello world",
        "words": ["hello", " world"],
        "thing": object(),
        "echo": lambda n: n,
        "data": b"abc",
        "doubles": array.array("d", range(100)),
        "vector": np.zeros(10),
        "matrix": np.zeros((10, 10)),
        "strided": np.zeros(20)[::2],
        "packed": np.zeros(10, record),
        "x": bb.eval("zeros(10, 10)"),
        "y": bb.eval("zeros(100)"),
        "records": bb.eval("fill((id = Int32(1), x = 1.0), 10)"),
    }


def in_python(statement: str, names: dict[str, Any]) -> int:
    """The most bytes that are allocated at one time while the statement runs."""

    def most(statement: str) -> int:
        scope = {**names, "traced": tracemalloc.get_traced_memory, "reset": tracemalloc.reset_peak}
        code = "before = traced()[0]", "reset()", statement, "return traced()[1] - before"
        exec("\n  ".join(["def run():", *code]), scope)
        run: Callable[[], int] = scope["run"]
        return min(run() for _ in range(20))

    for _ in range(WARM // 20):
        most(statement)  # fills caches that are not this run's
    tracemalloc.start()
    try:
        return most(statement) - most("pass")
    finally:
        tracemalloc.stop()


def in_julia(statement: str, names: dict[str, Any]) -> float:
    """The bytes that Julia allocates in one run, without a collection in between."""
    total = bb.Base.gc_bytes

    def of_loop(statement: str) -> int:
        scope = dict(names)
        exec(f"def loop(runs):\n for _ in range(runs):\n  {statement}", scope)
        scope["loop"](WARM)
        before: int = total()
        scope["loop"](RUNS)
        after: int = total()
        return after - before

    bb.Base.GC.enable(False)
    try:
        return (of_loop(statement) - of_loop("pass")) / RUNS
    finally:
        bb.Base.GC.enable(True)
        bb.Base.GC.gc()


def version() -> tuple[int, int]:
    bb.init()
    assert bb.julia_version is not None
    return bb.julia_version[:2]


def julia_bound(statement: str) -> int:
    column = {(1, 5): 1, (1, 10): 2}.get(version())
    if column is None:
        pytest.skip("there are no figures for this version of Julia")
    return int(BOUNDS[statement][column])


@pytest.mark.parametrize("statement", BOUNDS)
def test_python(statement, names):
    bound = BOUNDS[statement][0]
    assert in_python(statement, names) <= (
        bound if isinstance(bound, int) else in_python(bound, names)
    )


@pytest.mark.parametrize("statement", BOUNDS)
def test_julia(statement, names):
    assert in_julia(statement, names) <= julia_bound(statement)


def per_callback(names: dict[str, Any]) -> float:
    """Julia's bytes for each call of a Python function from Julia."""
    scope = {**names, "calls": bb.eval("(f, n) -> (for i in 1001:n; f(i); end)")}
    few, many = (in_julia(f"calls(echo, {n})", scope) for n in (1100, 1200))
    return (many - few) / 100


def test_callbacks(names):
    if version() not in CALLBACK:
        pytest.skip("there are no figures for this version of Julia")
    assert per_callback(names) <= CALLBACK[version()]


@pytest.mark.parametrize("statement", ANY_SIZE)
def test_any_size(statement, names):
    sizes = [{**names, "array": np.zeros(n), "julia": bb.Base.zeros(n)} for n in (1_000, 1_000_000)]
    small, large = ((in_python(statement, each), in_julia(statement, each)) for each in sizes)
    assert large == small


@pytest.mark.parametrize(
    "statement", ["add(1000, 2000)", "same(text)", "memoryview(x)", "np.asarray(x)", "x[3, 4]"]
)
def test_nothing_is_left(statement, names):
    """Python has all its memory back after many runs, Julia's collector not involved."""
    traced = tracemalloc.get_traced_memory
    scope = {**names, "traced": traced}
    exec(
        f"def loop(n):\n for _ in range(n):\n  {statement}\n before = traced()[0]\n"
        f" for _ in range(n):\n  {statement}\n return traced()[0] - before",
        scope,
    )
    tracemalloc.start()
    try:
        few, many = scope["loop"](10), scope["loop"](1000)
    finally:
        tracemalloc.stop()
    assert many <= few


LOOPS = {
    "x -> (s = 0.0; for i in eachindex(x); s += x[i]; end; s)": [
        np.arange(100.0),
        np.arange(200.0)[::2],
        np.arange(100.0)[::-1],
        np.arange(100.0).astype(">f8"),
        np.arange(100.0).reshape(10, 10),
    ],
    "x -> (s = 0.0; for i in eachindex(x); s += x[i].x; end; s)": [
        np.zeros(100, np.dtype([("id", "i4"), ("x", "f8")], align=True)),
        np.zeros(100, [("id", "i4"), ("x", "f8")]),
        np.zeros(100, [("id", ">i4"), ("x", ">f8")]),
    ],
}


@pytest.mark.parametrize(
    ("loop", "values"),
    [(loop, values) for loop, arrays in LOOPS.items() for values in arrays],
    ids=lambda p: f"{p.dtype} {p.strides}" if isinstance(p, np.ndarray) else "",
)
@pytest.mark.parametrize("make", [bb.wrap, lambda values: values], ids=["wrapped", "itself"])
def test_loops_in_julia_allocate_nothing(loop, values, make):
    # The function that measures is compiled for the array's type: what it calls is not dispatched.
    allocated = bb.eval(f"let loop = {loop}; x -> (loop(x); @allocated loop(x)); end")
    assert allocated(make(values)) == 0


def main() -> None:
    names = make_names()
    print(f"{'bytes, Julia ' + bb.eval('string(VERSION)'):30} {'Python':>8} {'Julia':>8}")
    for statement in BOUNDS:
        print(f"{statement:30} {in_python(statement, names):8} {in_julia(statement, names):8.2f}")
    print(f"{'a callback':39} {per_callback(names):8.2f}")


if __name__ == "__main__":
    main()
