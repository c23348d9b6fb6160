"""Compares kmeans1d_julia with the package kmeans1d of PyPI, whose core is C++: results and times.

Run it as `python compare.py [largest number of items]`.
"""

from __future__ import annotations

import sys
from time import perf_counter

import kmeans1d
import numpy as np
from kmeans1d_julia import cluster


def seconds(function, *args) -> float:
    start = perf_counter()
    function(*args)
    return perf_counter() - start


def shortest(x, k) -> tuple[float, float]:
    """Of some runs of each, by turns."""
    runs = 5 if len(x) * k > 1e6 else 20
    times = [(seconds(cluster, x, k), seconds(kmeans1d.cluster, x, k)) for _ in range(runs)]
    ours, theirs = zip(*times)
    return min(ours), min(theirs)


def cost(x, clusters, centroids) -> float:
    """The sum of squared distances."""
    return float(np.sum((x - np.asarray(centroids)[np.asarray(clusters)]) ** 2))


def main(largest: int) -> None:
    rng = np.random.default_rng(1)
    print(f"{'n':>8} {'k':>4}  {'kmeans1d':>11} {'in Julia':>11} {'times':>6}  result")
    cluster([1.0, 2.0], 1)  # compiles
    for n in (100, 1_000, 10_000, 100_000, 1_000_000):
        for k in (2, 10, 50):
            if n > largest:
                continue
            x = np.concatenate([rng.normal(m, 1, n // 4) for m in (0, 5, 20, 21)])
            ours, theirs = cluster(x, k), kmeans1d.cluster(x, k)
            a, b = cost(x, *ours), cost(x, *theirs)
            same = np.array_equal(ours.clusters, theirs.clusters)
            result = "the same" if same else "as good" if np.isclose(a, b, rtol=1e-9) else "OTHER"
            t, u = shortest(x, k)
            print(f"{n:>8} {k:>4}  {u * 1e3:>8.2f} ms {t * 1e3:>8.2f} ms {u / t:>6.1f}  {result}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
