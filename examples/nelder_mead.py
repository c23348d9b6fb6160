"""An optimizer written in Julia minimizes a Python function, and scipy's does the same.

The optimizer (nelder_mead.jl) calls the Python function with its own vectors: they arrive as
JuliaArrays, which NumPy uses where they are.

    python examples/nelder_mead.py
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import bufferbridge as bb

START = np.array([-1.2, 1.0, -0.5, 0.8])


def rosenbrock(x: Any) -> float:
    """Rosenbrock's banana, smallest (0) where all is 1; x is anything that NumPy can look at."""
    x = np.asarray(x)
    return float(np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2))


class Enough(Exception):
    """Thrown by a callback to end the search."""


def main() -> None:
    optimizer = bb.include(Path(__file__).with_name("nelder_mead.jl"))
    # Typed, so that Julia's compiler knows what the function gives.
    objective = bb.callback(rosenbrock, returns=float)
    options = {"xtol": 1e-8, "ftol": 1e-8, "limit": 2000}

    begin = time.perf_counter()
    found = optimizer.minimize(objective, START, **options)
    seconds = time.perf_counter() - begin
    assert found.converged
    assert np.allclose(found.x, 1.0, atol=1e-6)
    print(f"Julia: x = {np.round(found.x, 6).tolist()} after {found.calls} calls of the function")
    print(f"       {seconds:.3f} s, most of it compiling")

    # The memory is Julia's, and the function sees it where it is.
    same = []

    def look(x: bb.JuliaArray) -> float:
        same.append(np.asarray(x).ctypes.data == bb.Base.UInt(bb.Base.pointer(x)))
        return rosenbrock(x)

    optimizer.minimize(look, START, limit=20)
    assert all(same)
    print(f"       {len(same)} vectors were looked at, none was copied")

    # A callback may end the search: its exception comes out of the optimizer as it went in.
    seen = []

    def watch(iteration: int, x: bb.JuliaArray, value: float) -> None:
        seen.append(value)
        if iteration == 50:
            raise Enough(value)

    try:
        optimizer.minimize(objective, START, watch=watch, **options)
    except Enough as enough:
        assert enough.args[0] == seen[-1]
        print(f"       ended by a callback after {len(seen)} iterations, at {seen[-1]:.4f}")

    try:
        from scipy.optimize import minimize
    except ImportError:
        print("scipy is not installed: nothing to compare with")
        return
    theirs = minimize(
        rosenbrock,
        START,
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-8, "maxiter": 2000, "maxfev": 10000},
    )
    assert np.allclose(found.x, theirs.x, atol=1e-6)
    print(f"scipy: x = {np.round(theirs.x, 6).tolist()} after {theirs.nfev} calls: the same point")


if __name__ == "__main__":
    main()
