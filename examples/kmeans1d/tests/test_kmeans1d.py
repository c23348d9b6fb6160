"""The example package as it is installed: results, bad input, and its manners in Python."""

from __future__ import annotations

import inspect
import itertools
import pickle

import kmeans1d_julia
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kmeans1d_julia import cluster


def cost(x, clusters, centroids) -> float:
    return float(np.sum((np.asarray(x) - np.asarray(centroids)[np.asarray(clusters)]) ** 2))


def least_cost(x, k) -> float:
    """The least of all partitions of the sorted items into k intervals."""
    items = np.sort(np.asarray(x, float))
    return min(
        sum(float(np.var(part) * len(part)) for part in np.split(items, cuts))
        for cuts in map(list, itertools.combinations(range(1, len(items)), k - 1))
    )


numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


@st.composite
def problems(draw, items, least=1, most=9):
    x = draw(st.lists(items, min_size=least, max_size=most))
    return x, draw(st.integers(1, min(len(x), 12)))


@settings(max_examples=150, deadline=None)
@given(problems(numbers | st.integers(-3, 3).map(float)))
def test_no_partition_is_better(problem):
    x, k = problem
    clusters, centroids = cluster(x, k)
    scale = max(map(abs, x)) ** 2 * len(x)
    assert cost(x, clusters, centroids) == pytest.approx(
        least_cost(x, k), abs=1e-12 * scale + 1e-300
    )
    check_form(np.array(x), k, np.asarray(clusters), np.asarray(centroids))


def check_form(x, k, clusters, centroids):
    assert len(centroids) == min(k, len(np.unique(x)))
    assert len(clusters) == len(x)
    assert np.all(np.diff(centroids) > 0) or np.ptp(x) < 1e-9 * np.max(np.abs(x))
    assert set(clusters) == set(range(len(centroids)))  # none is empty
    for number, centroid in enumerate(centroids):
        assert centroid == pytest.approx(np.mean(x[clusters == number]), rel=1e-9, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(problems(numbers, least=20, most=300))
def test_as_kmeans1d(problem):
    kmeans1d = pytest.importorskip("kmeans1d", reason="the package of PyPI is not installed")
    x, k = problem
    ours, theirs = cluster(x, k), kmeans1d.cluster(x, k)
    scale = max(map(abs, x)) ** 2 * len(x)
    assert cost(x, *ours) <= cost(x, *theirs) * (1 + 1e-9) + 1e-12 * scale


def test_the_very_clusters_of_kmeans1d():
    kmeans1d = pytest.importorskip("kmeans1d", reason="the package of PyPI is not installed")
    x = np.random.default_rng(0).normal(size=5000)
    for k in (1, 2, 7, 40):
        ours, theirs = cluster(x, k), kmeans1d.cluster(x, k)
        assert np.array_equal(ours.clusters, theirs.clusters)
        assert np.allclose(ours.centroids, theirs.centroids)


def test_any_vector_of_numbers():
    expected = [1, 0, 1, 2]
    values = [5, 1, 5, 9]
    read_only = np.array(values, float)
    read_only.flags.writeable = False
    every_other = np.repeat(np.array(values, float), 2)[::2]
    swapped = np.array(values, ">f8")
    for x in (
        values, [float(v) for v in values], np.array(values), np.array(values, "f4"),
        read_only, every_other, swapped, every_other[::-1][::-1], bytes(values),
    ):  # fmt: skip
        clusters, centroids = cluster(x, 3)
        assert list(clusters) == expected
        assert list(centroids) == [1, 5, 9]
    assert values == [5, 1, 5, 9]


def test_ties_and_fewer_values_than_clusters():
    clusters, centroids = cluster([2.0, 1.0, 2.0, 2.0], 3)
    assert list(clusters) == [1, 0, 1, 1]
    assert list(centroids) == [1, 2]
    assert list(cluster([7.0] * 5, 5).centroids) == [7]
    assert list(cluster([0.0, -0.0], 1).clusters) == [0, 0]


def test_large_and_small_numbers():
    clusters, centroids = cluster([1e308, -1e308, 1e308, -1.1e308], 2)
    assert list(clusters) == [1, 0, 1, 0]
    assert np.all(np.isfinite(centroids))
    assert list(cluster([1e-300, 2e-300, 9e-300], 2).clusters) == [0, 0, 1]
    assert list(cluster([1e9, 1e9 + 1, 1e9 + 10, 1e9 + 11], 2).clusters) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("x", "k", "message"),
    [
        (np.zeros(0), 1, "empty"),
        ([1.0, 2.0], 0, "k must be from 1 to the number of items"),
        ([1.0, 2.0], -1, "k must be"),
        ([1.0, 2.0], 3, r"\(2\), not 3"),
        ([1.0, float("nan")], 1, "not finite"),
        ([1.0, float("inf")], 1, "not finite"),
    ],
)
def test_bad_values(x, k, message):
    with pytest.raises(ValueError, match=message):
        cluster(x, k)


@pytest.mark.parametrize(
    ("x", "k"),
    [
        (np.zeros((2, 2)), 1),
        (np.zeros(2, complex), 1),
        (["a"], 1),
        (1.0, 1),
        ([1.0], 1.0),
        ([1.0], True),
    ],
)
def test_bad_types(x, k):
    with pytest.raises(TypeError, match=r"cluster\(\) argument"):
        cluster(x, k)
    with pytest.raises(TypeError, match="arguments"):
        cluster(x)


def test_as_a_python_package():
    assert "cluster" in dir(kmeans1d_julia)
    assert kmeans1d_julia.__all__ == ["cluster"]
    assert str(inspect.signature(cluster)) == "(x, k, /)"
    assert "least sum of squared distances" in cluster.__doc__
    assert pickle.loads(pickle.dumps(cluster)) is cluster
    assert cluster.__module__ == "kmeans1d_julia"
