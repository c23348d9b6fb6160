"""The benchmarks as data: what is compared, and what it may cost.

A row has two statements, ours and a baseline, both Python's. They see the names of `data()`, the
Julia objects of `julia`, whose values are Julia code, and those of `python`, whose values are
Python expressions that can also use `bb` and two functions: `wrap(obj)`, its memory as a Julia
array, asked for explicitly, and `itself(obj)`, the Julia array that it becomes when it is passed to
Julia. A row costs what its statement does, divided by `each`. The code is plain Julia, so that a
row serves every bridge between Python and Julia; `check` is an expression that must be true there.

A process row compares whole processes.

Nothing is measured here: bridges.py makes the names, measure.py and run.py measure.
"""

from __future__ import annotations

import array
import operator
from typing import Any, NamedTuple


class Row(NamedTuple):
    """Two statements in one process; `goal` is the most that ours may cost, in baselines."""

    key: str
    what: str
    goal: float
    ours: str
    baseline: str
    julia: dict[str, str] = {}
    python: dict[str, str] = {}
    check: str = "True"
    each: int = 1
    #: Julia code that tells whether this version of bufferbridge has what the row is about.
    needs: str = "true"


class ProcessRow(NamedTuple):
    """Commands, each a fresh process, with {words} that run.py fills in for each bridge.

    The cost is the time from start to exit, with `inner` the seconds that the command prints; that
    of the baseline is the sum of its commands'.
    """

    key: str
    what: str
    goal: float
    ours: list[str]
    baselines: list[list[str]]
    #: The baseline in the table's words.
    baseline: str
    inner: bool = False


#: The module of typed exports: all that depends on how they are written.
EXPORTS = """
isdefined(Main, :BenchExports) || @eval module BenchExports
using BufferBridge
BufferBridge.@pyexport function add(a::Int, b::Int)::Int
    a + b
end
end
"""
EXPORTED = "bb.Main.BenchExports.add"
HAS_EXPORTS = """
isdefined(Main, :BufferBridge) && isdefined(Main.BufferBridge, Symbol("@pyexport"))
"""

N = 20_000  # elements of the loops' arrays: they fit into a core's cache
HUGE = 100_000_000

LOOP = """
function (x)
    total = 0.0
    for i in eachindex(x)
        total += x[i]
    end
    return total
end
"""
LOOP_RECORDS = LOOP.replace("x[i]", "x[i].x")
SUM_RECORDS = "x -> sum(r -> r.x, x)"
NATIVE = f"collect(0.0:{N - 1}.0)"
NATIVE_STRIDED = f"view(repeat({NATIVE}, inner = 2), 1:2:{2 * N})"
NATIVE_RECORDS = f"[(id = Int32(i), x = Float64(i), y = 0.0) for i in 0:{N - 1}]"

IMPORT = "from time import perf_counter as t; start = t(); {}; print(t() - start)"


def data() -> dict[str, Any]:
    """The Python side of what the statements use. Needs NumPy."""
    import numpy as np

    random = np.random.default_rng(1)
    record = [("id", "i4"), ("x", "f8"), ("y", "f8")]
    aligned = np.zeros(N, np.dtype(record, align=True))  # as C lays it out, and Julia
    packed = np.zeros(N, np.dtype(record))  # without padding
    aligned["x"] = packed["x"] = np.arange(N)
    return {
        "np": np,
        "add": operator.add,
        "z": 1 + 2j,
        "a": random.random((10, 10)),
        "b": random.random((10, 10)),
        "m": random.random((1000, 1000)),
        "v10": random.random(10),
        "v10000": random.random(10_000),
        "doubles": array.array("d", range(100)),
        "contiguous": np.arange(float(N)),
        "strided": np.repeat(np.arange(float(N)), 2)[::2],
        "aligned": aligned,
        "packed": packed,
        "nine": aligned[:9].copy(),
        "small": np.zeros(10),
        "huge": np.zeros(HUGE),  # the system gives pages only when they are used
        "echo": lambda value: value,
    }


def _loops() -> list[Row]:
    """A loop as one writes it, and `sum`; over what `wrap` gives, and over what arrays become."""
    same = "f(x) == f(native)"
    kinds = [
        # key, what, goal, the ndarray, its native kin, code of the loop, of the sum
        ("contiguous", "contiguous PyArray", 1.05, NATIVE, LOOP, "sum"),
        ("aligned", "PyArray of records", 1.2, NATIVE_RECORDS, LOOP_RECORDS, SUM_RECORDS),
        ("packed", "packed records", 2, NATIVE_RECORDS, LOOP_RECORDS, SUM_RECORDS),
    ]
    rows = []
    for array_, what, goal, native, loop, total in kinds:
        for verb, code in (("loop", loop), ("sum", total)):
            row = Row(
                key=f"{verb}-{array_}",
                what=f"Julia {verb} over a {what}" if goal < 2 else f"Julia {verb} over {what}",
                goal=goal,
                ours="f(x)",
                baseline="f(native)",
                julia={"f": code, "native": native},
                python={"x": f"wrap({array_}.copy())"},
                check=same,
            )
            rows.append(row)
            if array_ != "packed":  # those are the same type either way
                name = "an ndarray" if array_ == "contiguous" else "an ndarray of records"
                rows.append(
                    row._replace(
                        key=f"{row.key}-itself",
                        what=f"Julia {verb} over what {name} becomes",
                        python={"x": f"itself({array_}.copy())"},
                    )
                )
    strided = Row(
        key="loop-strided",
        what="Julia loop over a strided ndarray",
        goal=1.3,
        ours="f(x)",
        baseline="f(native)",
        julia={"f": LOOP, "native": NATIVE},
        python={"x": "itself(strided.base.copy()[::2])"},
        check=same,
    )
    # `sum` of contiguous memory loads several items at once, which no strided memory allows. So
    # the baseline is Julia's own strided array.
    total = strided._replace(
        key="sum-strided",
        what="Julia sum over a strided ndarray, against a native view",
        julia={"f": "sum", "native": NATIVE_STRIDED},
    )
    return [*rows[:4], strided, total, *rows[4:]]


ROWS: list[Row] = [
    Row(
        "call",
        "f(1, 2), f = (a, b) -> a + b",
        4,
        "f(1, 2)",
        "add(1, 2)",
        {"f": "(a, b) -> a + b"},
        check="f(1, 2) == 3",
    ),
    Row(
        "typed",
        "f(1, 2), typed export",
        1.5,
        "f(1, 2)",
        "add(1, 2)",
        {"exports": EXPORTS},
        {"f": EXPORTED},
        check="f(1, 2) == 3",
        needs=HAS_EXPORTS,
    ),
    Row(
        "complex",
        "complex echo",
        5,
        "f(z)",
        "add(1, 2)",
        {"f": "identity"},
        check="f(z) == z",
    ),
    Row(
        "str",
        '"hello world" echo',
        8,
        "f('hello world')",
        "add(1, 2)",
        {"f": "identity"},
        check="f('hello world') == 'hello world'",
    ),
    Row(
        "ndarray",
        "10x10 ndarray through identity and back",
        6,
        "f(a)",
        "memoryview(a)",
        {"f": "identity"},
        check="(np.asarray(f(a)) == a).all()",
    ),
    Row(
        "asarray",
        "np.asarray(x), x a JuliaArray",
        1.3,
        "np.asarray(x)",
        "np.asarray(doubles)",
        {"x": "rand(10, 10)"},
        check="np.asarray(x).shape == (10, 10) and np.asarray(x).dtype == float",
    ),
    Row(
        "asarray-records",
        "np.asarray(r), r records",
        1.2,
        "np.asarray(r)",
        "np.asarray(memoryview(nine))",
        {"r": NATIVE_RECORDS + "[1:9]"},
        check="np.asarray(r).dtype == nine.dtype and (np.asarray(r)['x'] == range(9)).all()",
    ),
    Row(
        "memoryview",
        "memoryview(x), x a JuliaArray",
        1.3,
        "memoryview(x)",
        "memoryview(doubles)",
        {"x": "rand(10, 10)"},
        check="memoryview(x).shape == (10, 10)",
    ),
    Row(
        "sum-10000",
        "sum of 10,000 float64",
        0.5,
        "f(v10000)",
        "v10000.sum()",
        {"f": "sum"},
        check="np.isclose(f(v10000), v10000.sum())",
    ),
    Row(
        "sum-10",
        "sum of 10 float64",
        0.6,
        "f(v10)",
        "v10.sum()",
        {"f": "sum"},
        check="np.isclose(f(v10), v10.sum())",
    ),
    Row(
        "product-10",
        "10x10 A*B of two row-major ndarrays",
        2.5,
        "f(a, b)",
        "a @ b",
        {"f": "*"},
        check="np.allclose(f(a, b), a @ b)",
    ),
    # Both are products of Julia's BLAS in as many threads (one, see bridges.py), and both give a
    # new Julia array.
    Row(
        "product-1000",
        "1000x1000 A*B, row-major from NumPy",
        1.1,
        "f(m, m)",
        "f(native, native)",
        {"f": "*", "native": "rand(1000, 1000)"},
        check="np.allclose(f(m, m), m @ m)",
    ),
    Row(
        "getitem",
        "x[3, 4] of a JuliaArray",
        1.2,
        "x[3, 4]",
        "a[3, 4]",
        {"x": "reshape(collect(0.0:99.0), 10, 10)"},
        check="x[3, 4] == 43",
    ),
    Row(
        "setitem",
        "x[3, 4] = 1.0 on a JuliaArray",
        1.2,
        "x[3, 4] = 1.0",
        "a[3, 4] = 1.0",
        {"x": "rand(10, 10)"},
        check="x.__setitem__((3, 4), 2.0) is None and x[3, 4] == 2",
    ),
    *_loops(),
    Row(
        "pass-huge",
        "passing 10^8 elements, against 10",
        1.1,
        "f(huge)",
        "f(small)",
        {"f": "x -> nothing"},
        check="f(huge) is None",
    ),
    Row(
        "asarray-huge",
        "np.asarray of 10^8 elements, against 10",
        1.1,
        "np.asarray(x)",
        "np.asarray(native)",
        {"x": f"Vector{{Float64}}(undef, {HUGE})", "native": "rand(10)"},
        check="len(np.asarray(x)) == huge.size",
    ),
    Row(
        "memoryview-huge",
        "memoryview of 10^8 elements, against 10",
        1.1,
        "memoryview(x)",
        "memoryview(native)",
        {"x": f"Vector{{Float64}}(undef, {HUGE})", "native": "rand(10)"},
        check="len(memoryview(x)) == huge.size",
    ),
    Row(
        "callback",
        "Julia calls a Python function 1,000 times, each",
        2,
        "f(echo)",
        "list(map(echo, range(1000)))",
        {"f": "g -> (for i in 1:1000; g(i); end)"},
        each=1000,
    ),
]

PROCESS_ROWS: list[ProcessRow] = [
    ProcessRow(
        "start",
        'a fresh process with bb.eval("1+1")',
        1.25,
        ["{python}", "-c", "{start}"],
        [["{own_python}", "-c", "pass"], ["{julia}", "--startup-file=no", "-e", "1+1"]],
        "python -c pass + julia -e 1+1",
    ),
    ProcessRow(
        "import",
        "import bufferbridge",
        2,
        ["{python}", "-c", IMPORT.format("{imports}")],
        [["{own_python}", "-c", IMPORT.format("import cffi")]],
        "import cffi",
        inner=True,
    ),
]
