"""What the hot paths cost, each beside a baseline of Python or NumPy timed in the same run.

``make bench`` runs them and prints the ratios (bench/run.py). A row is two statements, ours and
the baseline; each is timed as timeit does, in a compiled loop of NUMBER rounds, so that
pytest-benchmark's own cost per call does not count.
"""

from __future__ import annotations

import array
import operator
import timeit
from typing import Any

import numpy as np
import pytest

import bufferbridge as bb

NUMBER = 500

RECORD = [("id", "i4"), ("x", "f8"), ("y", "f8")]
#: Records as C lays them out, which are NamedTuples in Julia; and without padding.
ALIGNED = np.zeros(100_000, np.dtype(RECORD, align=True))
PACKED = np.zeros(100_000, np.dtype(RECORD))
RECORDS = "fill((id = Int32(1), x = 1.0, y = 2.0), {})"
NATIVE = RECORDS.format("100_000")

#: What the statements can use besides `ours`, the Julia object of the row, and `native`, a Vector
#: of NamedTuples that Julia made.
NAMES = {
    "aligned": ALIGNED,
    "packed": PACKED,
    "add": operator.add,
    "np": np,
    "a": np.random.default_rng(1).random((10, 10)),
    "v10": np.random.default_rng(2).random(10),
    "v10000": np.random.default_rng(3).random(10_000),
    "doubles": array.array("d", range(100)),
}

#: (Julia code for `ours`, the statement, the baseline)
ROWS = [
    ("(a, b) -> a + b", "ours(1, 2)", "add(1, 2)"),
    ("identity", "ours('hello world')", "add(1, 2)"),
    ("x -> nothing", "ours(a)", "memoryview(a)"),
    ("identity", "ours(a)", "memoryview(a)"),
    ("rand(10, 10)", "memoryview(ours)", "memoryview(doubles)"),
    ("rand(10, 10)", "np.asarray(ours)", "np.asarray(doubles)"),
    ("rand(10, 10)", "ours[3, 4]", "a[3, 4]"),
    ("rand(10, 10)", "ours[3, 4] = 1.0", "a[3, 4] = 1.0"),
    ("sum", "ours(v10)", "v10.sum()"),
    ("sum", "ours(v10000)", "v10000.sum()"),
    ("*", "ours(a, a)", "a @ a"),
    ("r -> sum(p -> p.x, r)", "ours(aligned)", "ours(native)"),
    ("r -> sum(p -> p.x, r)", "ours(packed)", "ours(native)"),
    (RECORDS.format(9), "np.asarray(ours)", "np.asarray(memoryview(aligned))"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[1]} as {row[0]}")
@pytest.mark.parametrize("side", ["ours", "baseline"])
def test_row(benchmark: Any, row: tuple[str, str, str], side: str) -> None:
    code, statement, baseline = row
    names = {**NAMES, "ours": bb.eval(code)}
    if "native" in baseline:
        names["native"] = bb.eval(NATIVE)
    timer = timeit.Timer(statement if side == "ours" else baseline, globals=names)
    timer.timeit(2)  # compiles
    benchmark.group = f"{statement:20} {code:25.25}"
    benchmark.extra_info.update(side=side, number=NUMBER, baseline=baseline)
    benchmark(timer.timeit, NUMBER)
