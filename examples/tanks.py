"""A group-by that no operation on whole columns does, in Julia over a polars and a pandas frame.

A log of rain tanks: what flowed in or out, and sometimes nobody knows how much. The frames' columns
are read where they are, text and missing values too; the result is a frame again, of memory of
Julia's.

    python examples/tanks.py [--rows 300000]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

import bufferbridge as bb

CAPACITY = 50.0


def make_log(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    flow = pd.array(np.round(rng.normal(0.1, 5.0, rows), 2), "Float64")
    flow[rng.random(rows) < 0.01] = None
    names = np.array([f"tank {i:03}" for i in range(200)])
    return pd.DataFrame({"tank": names[rng.integers(0, 200, rows)], "flow": flow})


def with_pandas(log: pd.DataFrame) -> pd.DataFrame:
    """What one writes without Julia: a loop in Python for each group."""
    results = []
    for name, flows in log.groupby("tank", sort=False)["flow"]:
        level = overflow = 0.0
        for flow in flows.dropna().tolist():
            level += flow
            overflow += max(level - CAPACITY, 0.0)
            level = min(max(level, 0.0), CAPACITY)
        results.append((name, level, overflow, int(flows.isna().sum())))
    return pd.DataFrame(results, columns=["tank", "level", "overflow", "unknown"])


def timed(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=300_000)
    log = make_log(parser.parse_args().rows)
    frame = pl.from_pandas(log)

    bb.include(Path(__file__).with_suffix(".jl"))
    tanks = bb.Main.tanks

    def in_julia(df):
        return tanks.raw(bb.table(df), capacity=CAPACITY)

    expected, loop = timed(with_pandas, log)
    print(f"{len(log)} rows, {len(expected)} tanks\n")
    print(f"  Python loops over pandas' groups   {loop:8.3f} s")
    for name, df, back in (("pandas", log, bb.to_pandas), ("polars", frame, bb.to_polars)):
        _, first = timed(in_julia, df)  # compiles
        result, again = timed(in_julia, df)
        result = back(result)
        print(
            f"  Julia over the {name} frame        {again:8.3f} s   ({first:.1f} s the first time)"
        )
        assert result["tank"].to_list() == expected["tank"].to_list()
        assert result["unknown"].to_list() == expected["unknown"].to_list()
        assert np.allclose(result["level"].to_numpy(), expected["level"].to_numpy())
        assert np.allclose(result["overflow"].to_numpy(), expected["overflow"].to_numpy())
    print(f"\n{result.sort('overflow', descending=True).head(3)}")
    del result
    print("\nheld by the other side at the end:", bb.stats()["exports"], "exports")


if __name__ == "__main__":
    main()
