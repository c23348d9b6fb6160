"""Julia on the blocks of a Dask array that is larger than the workers' memory.

Each row of the array is the path of a damped oscillator, made block by block. A Julia function
counts how often each path crosses zero; the blocks are NumPy's arrays, which Julia sees in place,
in as many processes as there are workers. Needs dask[distributed,array].

    python examples/dask_blocks.py [--gigabytes 2] [--workers 2]
"""

from __future__ import annotations

import argparse
import time

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import bufferbridge as bb

TIMES, BLOCK, LIMIT = 1000, 1000, 700_000_000

JULIA = """
crossings(path) = count(k -> path[k] * path[k+1] < 0, 1:length(path)-1)
crossings_of_rows(x::AbstractMatrix{Float64}) = [crossings(view(x, i, :)) for i in axes(x, 1)]
"""


def paths(block_info=None):
    """The rows of one block: cos(w t) exp(-t / 50), with a w for each row."""
    first, last = block_info[None]["array-location"][0]
    t = np.linspace(0.0, 100.0, TIMES)
    return np.cos(np.outer(frequencies(first, last), t)) * np.exp(-t / 50)


def frequencies(first: int, last: int) -> np.ndarray:
    return 0.5 + np.arange(first, last) % 1000 / 500


def main() -> None:
    parser = argparse.ArgumentParser(description="Julia on the blocks of a Dask array.")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the array")
    parser.add_argument("--workers", type=int, default=2, help="number of processes")
    arguments = parser.parse_args()
    blocks = max(1, round(arguments.gigabytes * 1e9 / (8 * TIMES * BLOCK)))

    bb.eval(JULIA)
    # Blocks are small, and what the workers hold besides is Julia: no reason to pause.
    dask.config.set({"distributed.worker.memory.pause": False})
    options = {"threads_per_worker": 1, "memory_limit": LIMIT, "dashboard_address": None}
    with LocalCluster(arguments.workers, processes=True, **options) as cluster, Client(cluster):
        x = da.map_blocks(paths, dtype="f8", chunks=((BLOCK,) * blocks, (TIMES,)))
        print(f"{x.nbytes / 1e9:.1f} GB in {blocks} blocks")
        print(f"{arguments.workers} workers of {LIMIT / 1e6:.0f} MB each")
        count = bb.remote(bb.Main.crossings_of_rows)
        start = time.perf_counter()
        counts = x.map_blocks(count, dtype="i8", drop_axis=1).compute()
        print(f"{time.perf_counter() - start:.1f} s, with the start of Julia in the workers")

    expected = frequencies(0, len(counts)) * 100 / np.pi  # zeros of the cosine
    print(f"crossings of the slowest path: {counts.min()}, of the fastest: {counts.max()}")
    print("as expected" if np.abs(counts - expected).max() < 1 else "not as expected")


if __name__ == "__main__":
    main()
