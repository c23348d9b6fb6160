"""Items of a JuliaArray: indexing, assignment, iteration, identity, and Vectors that are resized.

What is expected comes from NumPy on the same data.
"""

from __future__ import annotations

import gc
import itertools
import math
import operator
import sys
import weakref

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bufferbridge as bb

BEFORE_1_11 = bb.eval('VERSION < v"1.11-"')

push = bb.Base.push_b
resize = bb.Base.resize_b

ARRAYS = {
    "vector": "collect(0:6)",
    "matrix": "reshape(collect(0:11), 3, 4)",
    "cube": "reshape(collect(0:23), 2, 3, 4)",
    "reversed view": "view(reshape(collect(0:29), 5, 6), 5:-2:1, 6:-1:1)",
    "0-d": "fill(7)",
    "empty": "zeros(Int, 0, 3)",
    "shared": "transpose(reshape(collect(0:11), 3, 4))",
    "range": "0:6",
    "bits": "reshape([isodd(i) for i in 0:11] .== true, 3, 4)",
    "strings": '["a" "bc"; "d" "é"]',
}
X = {name: bb.eval(code) for name, code in ARRAYS.items()}
NUMBERS = [name for name in ARRAYS if name != "strings"]


def outcome(array, key):
    try:
        return np.asarray(array[key])
    except IndexError:
        return IndexError


def is_item(array, key):
    """Whether NumPy gives an item for this key, and not a view (of no dimensions)."""
    keys = key if isinstance(key, tuple) else (key,)
    return len(keys) == array.ndim and all(isinstance(k, int) for k in keys)


def assert_same(x, key):
    array = np.asarray(x)
    expected = outcome(array, key)
    got = outcome(x, key)
    if expected is IndexError or got is IndexError:
        assert got is expected, key
        return
    assert got.shape == expected.shape
    assert got.tolist() == expected.tolist()
    if not is_item(array, key):
        assert isinstance(x[key], bb.JuliaArray)


# ------------------------------------------------------------------------ indexing

ends = st.none() | st.integers(-9, 9) | st.sampled_from([-(2**70), -sys.maxsize, 2**63, 2**70])
steps = st.none() | st.integers(-4, 4).filter(bool)
slices = st.builds(slice, ends, ends, steps)
one = st.integers(-5, 5)


@st.composite
def keys(draw, ndim, outside=True):
    """A key of integers, slices and at most one '...'."""
    n = draw(st.integers(0, ndim + outside))
    parts = [draw(one | slices) for _ in range(n)]
    if len(parts) <= ndim and draw(st.booleans()) and not all(isinstance(k, int) for k in parts):
        parts.insert(draw(st.integers(0, n)), ...)
    return parts[0] if len(parts) == 1 else tuple(parts)


@settings(max_examples=90, deadline=None)
@given(st.data())
def test_keys_mean_what_they_mean_in_numpy(data):
    x = X[data.draw(st.sampled_from(["vector", "matrix", "reversed view", "0-d", "empty"]))]
    assert_same(x, data.draw(keys(x.ndim)))


@pytest.mark.parametrize("name", NUMBERS)
def test_every_item(name):
    x = X[name]
    array = np.asarray(x)
    for key in np.ndindex(array.shape):
        assert x[key] == array[key]
        negative = tuple(i - n for i, n in zip(key, array.shape))
        assert x[negative] == array[key]


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "key",
    [(), ..., 0, -1, 1, (0,), slice(None), slice(None, None, -1), slice(2, 0), (..., 0)],
    ids=repr,
)
def test_partial_keys(name, key):
    x = X[name]
    if x.ndim == 0 and key is ...:
        pytest.skip("see test_an_ellipsis_always_gives_a_view")
    if x.ndim == 1 and key == (..., 0):
        pytest.skip("see test_an_ellipsis_always_gives_a_view")
    assert_same(x, key)


@pytest.mark.parametrize(
    ("name", "key"),
    [("0-d", ...), ("vector", (0, ...)), ("vector", (..., -1)), ("matrix", (1, ..., 2))],
)
def test_an_ellipsis_always_gives_a_view(name, key):
    x = X[name]
    expected = np.asarray(x)[key]
    assert isinstance(expected, np.ndarray)
    view = x[key]
    assert isinstance(view, bb.JuliaArray)
    assert view.shape == expected.shape == ()
    assert view[()] == expected[()]


def test_views_share_memory():
    x = bb.eval("zeros(3, 4)")
    view = x[1:, ::-2]
    view[0, 0] = 5.0
    assert x[1, 3] == 5.0
    assert np.shares_memory(np.asarray(view), np.asarray(x))
    view[...] = 2.0
    assert np.asarray(x).sum() == 8.0
    row = x[0]
    row[:] = 1.0
    assert np.asarray(x)[0].tolist() == [1.0] * 4


def test_views_of_views():
    x = X["cube"]
    array = np.asarray(x)
    assert np.array_equal(x[:, ::-1][1:, 1:, ::2][0], array[:, ::-1][1:, 1:, ::2][0])
    assert x[1][2][3] == array[1, 2, 3]
    assert np.array_equal(x[0:2][::-1][::-1], array)


def test_views_keep_their_memory_alive():
    view = bb.eval("collect(1:100000)")[10::10]
    for _ in range(3):
        gc.collect()
        bb.Base.GC.gc()
        bb.eval("[zeros(Int, 100000) for _ in 1:20]")
    assert view[0] == 11
    assert view[-1] == 99991


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("vector", 7),
        ("vector", -8),
        ("vector", 2**70),
        ("vector", -(2**70)),
        ("vector", (0, 0)),
        ("vector", (slice(None), slice(None))),
        ("matrix", (3, 0)),
        ("matrix", (0, -5)),
        ("matrix", (0, 0, 0)),
        ("matrix", (..., 0, 0, 0)),
        ("matrix", (..., 0, ...)),
        ("matrix", (slice(None), 4)),
        ("empty", 0),
        ("empty", (slice(None), 3)),
        ("0-d", 0),
        ("0-d", slice(None)),
        ("range", 7),
        ("strings", (2, 0)),
    ],
)
def test_out_of_range(name, key):
    with pytest.raises(IndexError):
        X[name][key]
    with pytest.raises(IndexError):
        X[name][key] = X[name][()] if X[name].ndim == 0 else 0


@pytest.mark.parametrize("key", ["a", 1.0, None, [0], {}, (0, "a"), b"x", 1j, ("a", 0)], ids=repr)
def test_bad_keys(key):
    with pytest.raises((IndexError, TypeError)):
        X["matrix"][key]
    with pytest.raises((IndexError, TypeError)):
        X["matrix"][key] = 0


@pytest.mark.parametrize(
    "key", [slice(None, None, 0), slice(1.5, None), slice("a", None)], ids=repr
)
def test_bad_slices(key):
    for x in (X["vector"], list(range(7))):
        with pytest.raises((ValueError, TypeError)) as error:
            x[key]
    with pytest.raises(error.type):  # the one that a list raises
        X["vector"][key]


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.mark.parametrize("step", [2**62, 2**63 - 1, 2**80, -(2**62), -(2**63), -(2**80)])
def test_enormous_steps(step):
    for key in itertools.product((None, 0, 3, -1), (None, 0, 3, -1), (step,)):
        assert_same(X["vector"], slice(*key))


def test_objects_with_index():
    x = X["matrix"]
    array = np.asarray(x)
    assert x[Index(1), np.int8(-1)] == array[1, -1]
    assert np.array_equal(x[Index(0) : Index(2)], array[:2])
    assert x[np.array(1), np.uint64(2)] == array[1, 2]
    with pytest.raises(IndexError):
        x[Index(3), 0]
    with pytest.raises(RuntimeError, match="mine"):
        x[Index(RuntimeError("mine")), 0]


def test_zero_dimensions():
    x = bb.eval("fill(1.5)")
    assert x[()] == 1.5
    x[()] = 2.5
    assert x[()] == 2.5
    x[...] = np.array(3.5)
    assert x[()] == 3.5
    assert (x.shape, x.strides, x.ndim, x.size) == ((), (), 0, 1)
    for function in (len, iter, list):
        with pytest.raises(TypeError, match="0-d"):
            function(x)


# ---------------------------------------------------------------------- assignment


@st.composite
def assignments(draw):
    """Shape, key and value, which broadcasts in most cases."""
    shape = draw(st.sampled_from([(5,), (3, 4)]))
    key = draw(keys(len(shape), outside=False))
    target = np.zeros(shape)[key] if outcome(np.zeros(shape), key) is not IndexError else None
    if target is None or np.ndim(target) == 0 or draw(st.sampled_from([True, False, False, False])):
        return shape, key, draw(st.sampled_from([7, 2.5, True, np.float32(1.5), np.array(4)]))
    sizes = list(np.shape(target))[draw(st.integers(0, np.ndim(target))) :]
    sizes = [draw(st.sampled_from([n, n, 1])) for n in sizes]
    change = draw(st.sampled_from(["none", "none", "leading ones", "wrong", "another axis"]))
    if change == "leading ones":
        sizes = [1] * (np.ndim(target) - len(sizes) + 1) + sizes
    elif change == "wrong" and sizes:
        sizes[-1] += 2
    elif change == "another axis":
        sizes = [2, *sizes]
    order = draw(st.sampled_from(["C", "F"]))
    value = np.arange(1.0, 1 + math.prod(sizes)).reshape(sizes, order=order)
    return shape, key, value


@settings(max_examples=60, deadline=None)
@given(assignments())
@example(((3, 4), (slice(None), slice(1, 3)), np.arange(2.0)))
@example(((3, 4), (slice(None), slice(1, 3)), np.arange(3.0)[:, None]))
def test_assignment_broadcasts_as_in_numpy(assignment):
    shape, key, value = assignment
    x, array = bb.Base.zeros(*shape), np.zeros(shape)
    try:
        array[key] = value
    except (IndexError, ValueError) as e:
        with pytest.raises(type(e)):
            x[key] = value
    else:
        x[key] = value
    assert np.array_equal(np.asarray(x), array)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2, 3],
        [1.5, 2.5, 3.5],
        range(3),
        np.arange(3, dtype="i2"),
        np.arange(3, dtype=">f4"),
        np.arange(6.0)[::-2],
        np.float16([1, 2, 3]),
        memoryview(b"abc"),
        bytearray(b"abc"),
        bb.eval("[1, 2, 3]"),
        bb.eval("7:9"),
        bb.eval("transpose([1, 2, 3])"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_kinds_of_values(value):
    x = bb.eval("zeros(2, 3)")
    x[:] = value
    row = [float(v) for v in np.asarray(value).ravel()]
    assert np.asarray(x).tolist() == [row, row]
    x[1, ::2] = 0
    assert np.asarray(x).tolist() == [row, [0.0, row[1], 0.0]]


@pytest.mark.parametrize(
    ("shape", "target", "value"),
    [
        ((3,), slice(None), (2,)),
        ((3,), slice(0, 1), (3,)),
        ((3,), slice(0, 0), (3,)),
        ((2, 3), slice(None), (2,)),
        ((2, 3), slice(None), (3, 2)),
        ((2, 3), slice(None), (6,)),
        ((2, 3), slice(None), (2, 2, 3)),
        ((2, 3), (slice(None), 0), (3,)),
        ((2, 3), (slice(None), 0), (2, 1)),
        ((0,), slice(None), (2, 0)),
        ((0, 3), slice(None), (2, 0, 3)),
    ],
    ids=repr,
)
def test_wrong_shapes(shape, target, value):
    x = bb.Base.zeros(*shape)
    with pytest.raises(ValueError):
        np.zeros(shape)[target] = np.ones(value)
    with pytest.raises(ValueError):
        x[target] = np.ones(value)
    assert not np.asarray(x).any()


OVERLAPS = [
    ("collect(1.0:9.0)", slice(1, None), slice(None, -1)),
    ("collect(1.0:9.0)", slice(None, -1), slice(1, None)),
    ("collect(1.0:9.0)", slice(None), slice(None, None, -1)),
    ("collect(1.0:9.0)", slice(0, 5), slice(0, 9, 2)),
    ("collect(1.0:9.0)", slice(3, 8), slice(8, 3, -1)),
    ("reshape(collect(1.0:16.0), 4, 4)", (slice(1, None), slice(1, None)), (slice(3), slice(3))),
    (
        "reshape(collect(1.0:16.0), 4, 4)",
        slice(None),
        (slice(None, None, -1), slice(None, None, -1)),
    ),
    ("reshape(collect(1.0:16.0), 4, 4)", slice(None), 2),
    ("reshape(collect(1.0:16.0), 4, 4)", slice(None), (slice(None), slice(1, 2))),
    ("transpose(reshape(collect(1.0:16.0), 4, 4))", slice(1, None), slice(None, -1)),
]


@pytest.mark.parametrize(("code", "target", "source"), OVERLAPS)
@pytest.mark.parametrize("through", ["JuliaArray", "NumPy", "another array"])
def test_overlapping_memory(code, target, source, through):
    x = bb.eval(code)
    expected = np.array(x)
    expected[target] = np.array(expected[source])
    if through == "JuliaArray":
        x[target] = x[source]
    elif through == "NumPy":
        x[target] = np.asarray(x)[source]
    else:
        bb.wrap(np.asarray(x))[target] = x[source]
    assert np.array_equal(np.asarray(x), expected)


def test_a_transpose_of_itself():
    x = bb.eval("reshape(collect(1.0:9.0), 3, 3)")
    expected = np.array(x).T
    x[:] = np.asarray(x).T
    assert np.array_equal(np.asarray(x), expected)


def lent(array):
    array.flags.writeable = False
    return array


READ_ONLY = {
    "bytes": lambda: bb.wrap(b"abcd"),
    "vector": lambda: bb.wrap(lent(np.arange(4.0))),
    "strided": lambda: bb.wrap(lent(np.arange(4.0))[::-1]),
    "swapped": lambda: bb.wrap(lent(np.arange(4.0).astype(">f8"))),
    "view": lambda: bb.wrap(lent(np.arange(6.0)))[1:-1],
    "code units": lambda: bb.eval('codeunits("abcd")'),
    "view of code units": lambda: bb.eval('codeunits("abcdef")')[1:5],
}


@pytest.mark.parametrize("make", READ_ONLY.values(), ids=READ_ONLY.keys())
@pytest.mark.parametrize("key", [0, slice(None), slice(0, 2), ...], ids=repr)
def test_read_only_arrays(make, key):
    x = make()
    before = bytes(np.asarray(x))
    assert x.readonly
    with pytest.raises(ValueError, match="read-only"):
        x[key] = 1
    assert bytes(np.asarray(x)) == before


@pytest.mark.parametrize(
    "value",
    ["a", None, {}, object(), [1, "a"], ["a", "b", "c"], len],
    ids=lambda v: str(v).partition(" at ")[0],
)
@pytest.mark.parametrize("key", [0, slice(None)], ids=repr)
def test_wrong_types(key, value):
    x = bb.eval("[1.0, 2.0, 3.0]")
    with pytest.raises((TypeError, ValueError)):
        x[key] = value
    assert x[2] == 3.0


def test_items_are_not_deleted():
    with pytest.raises(TypeError):
        del bb.eval("[1, 2]")[0]


def test_arrays_of_objects():
    x = bb.eval('Any[1, "a", nothing, [1, 2]]')
    assert x[0] == 1
    assert x[-1][1] == 2
    x[0] = "b"
    x[1:3] = [2.5, None]
    marker = object()
    x[-1] = marker
    assert list(x) == ["b", 2.5, None, marker]
    assert x[3] is marker


def test_arrays_of_strings_and_bits():
    x = bb.eval('["a", "b"]')
    x[1] = "ü"
    assert list(x) == ["a", "ü"]
    with pytest.raises(TypeError):
        x[0] = 5
    bits = bb.eval("falses(2, 3)")
    bits[:, 1] = True
    bits[0, 0] = True
    assert np.asarray(bits).tolist() == [[True, True, False], [False, True, False]]


def test_ranges_are_not_assigned():
    with pytest.raises(bb.JuliaError):
        bb.eval("1:3")[0] = 5


# --------------------------------------------------------------------- element types

LIMITS = {
    f"{kind}{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if kind == "Int"
    else (0, 2**bits - 1)
    for kind in ("Int", "UInt")
    for bits in (8, 16, 32, 64)
}


@pytest.mark.parametrize("kind", LIMITS)
def test_integers(kind):
    low, high = LIMITS[kind]
    x = bb.eval(f"zeros({kind}, 3)")

    @settings(max_examples=50, deadline=None)
    @given(st.integers(low, high))
    @example(low)
    @example(high)
    def holds(value):
        x[1] = value
        assert x[1] == np.asarray(x)[1] == value
        assert type(x[1]) is int

    holds()
    x[1] = 5
    for value in (low - 1, high + 1, 2**64, -(2**63) - 1, 10**30, 1.5, math.nan, math.inf, 1j):
        with pytest.raises((ValueError, OverflowError)):
            x[1] = value
    x[2] = 2.0
    assert list(x) == [0, 5, 2]


FLOATS = {"Float16": (16, np.float16), "Float32": (32, np.float32), "Float64": (64, np.float64)}


@pytest.mark.parametrize("kind", FLOATS)
def test_floats(kind):
    width, numpy_kind = FLOATS[kind]
    x = bb.eval(f"zeros({kind}, 3)")

    @settings(max_examples=50, deadline=None)
    @given(st.floats(width=width))
    @example(-0.0)
    @example(math.nan)
    @example(math.inf)
    def holds(value):
        x[1] = value
        assert type(x[1]) is float
        assert np.array_equal(x[1], value, equal_nan=True)
        assert math.copysign(1, x[1]) == math.copysign(1, value) or math.isnan(value)
        assert np.array_equal(np.asarray(x)[1], numpy_kind(value), equal_nan=True)

    holds()

    @settings(max_examples=50, deadline=None)
    @given(st.integers(-(2**70), 2**70))
    @example(2**63 - 1)
    @example(2**24 + 1)
    def rounds(value):
        x[1] = value
        with np.errstate(over="ignore"):
            assert x[1] == (float(numpy_kind(value)) if width < 64 else float(value))

    rounds()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e300, -1e-300, 65519.0, 65520.0, 2.0**-25])
@pytest.mark.parametrize("kind", FLOATS)
def test_rounding(kind, value):
    x = bb.eval(f"zeros({kind}, 1)")
    x[0] = value
    with np.errstate(over="ignore", under="ignore"):
        assert x[0] == float(FLOATS[kind][1](value))


@pytest.mark.parametrize(("kind", "width"), [("ComplexF32", 64), ("ComplexF64", 128)])
def test_complex(kind, width):
    x = bb.eval(f"zeros({kind}, 2)")

    @settings(max_examples=50, deadline=None)
    @given(st.complex_numbers(width=width, allow_nan=False))
    def holds(value):
        x[1] = value
        assert type(x[1]) is complex
        assert x[1] == np.asarray(x)[1] == value

    holds()
    for value in (3, 1.5, True, np.complex64(1 + 2j), np.float32(2)):
        x[0] = value
        assert x[0] == value


def test_bools():
    x = bb.eval("zeros(Bool, 4)")
    x[0], x[1], x[2] = True, 1, np.True_
    assert list(x) == [True, True, True, False]
    assert all(type(v) is bool for v in x)
    for value in (2, -1, 0.5):
        with pytest.raises(ValueError):
            x[3] = value
    assert x[3] is False


@pytest.mark.parametrize("dtype", ["i1", ">i2", ">u8", ">f2", ">f4", ">c16"])
@pytest.mark.parametrize("offset", [0, 1])
def test_items_of_swapped_and_unaligned_memory(dtype, offset):
    dtype = np.dtype(dtype)
    memory = np.zeros(3 * dtype.itemsize + offset, "u1")
    array = memory[offset:].view(dtype)
    x = bb.wrap(array)
    array[:] = [1, 2, 3]
    assert [x[i] for i in range(3)] == [1, 2, 3]
    x[0], x[1:] = 7, [8, 9]
    assert array.tolist() == [7, 8, 9]


# ----------------------------------------------------------- as a Python collection


@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "0-d"])
def test_length_and_iteration(name):
    x = X[name]
    array = np.asarray(x)
    assert len(x) == len(array)
    assert [np.asarray(row).tolist() for row in x] == array.tolist()
    assert [np.asarray(row).tolist() for row in reversed(x)] == array[::-1].tolist()
    first = list(itertools.islice(x, 1))
    assert len(first) == min(1, len(array))
    if x.ndim > 1 and first:
        assert first[0].shape == array[0].shape


def test_iterators_are_independent():
    x = X["vector"]
    one_, other = iter(x), iter(x)
    assert [next(one_), next(one_), next(other)] == [0, 1, 0]
    assert sum(x) == 21
    assert max(x) == 6


def test_membership():
    x = X["matrix"]
    assert 5 in x
    assert 5.0 in x
    assert 12 not in x
    assert "5" not in x
    assert None not in x
    assert math.nan not in bb.eval("[NaN]")  # noqa: PLW0177
    assert "bc" in X["strings"]
    assert None in bb.eval("Any[1, nothing]")
    assert 1 not in X["empty"]


def test_equality_and_hash_are_identity():
    x = bb.eval("same = [1, 2]")
    again, other = bb.eval("same"), bb.eval("[1, 2]")
    assert x == again
    assert hash(x) == hash(again)
    assert x != other
    assert not (x == other)  # noqa: SIM201
    assert x != [1, 2]
    assert x != x[:]
    assert {x: 1}[again] == 1
    assert other not in {x: 1}
    with pytest.raises(TypeError):
        x < other


def test_weak_references():
    x = bb.eval("[1, 2]")
    gone = []
    reference = weakref.ref(x, gone.append)
    assert reference() is x
    del x
    assert reference() is None
    assert gone == [reference]


def test_repr_is_julias_display_shortened():
    assert repr(bb.eval("[1, 2]")).splitlines()[1:] == [" 1", " 2"]
    assert "2×3" in repr(bb.eval("zeros(2, 3)"))
    big = repr(bb.eval("zeros(1000, 1000)"))
    assert "1000×1000" in big
    assert "⋮" in big
    assert len(big.splitlines()) <= 24
    assert max(map(len, big.splitlines())) <= 80


def test_attributes_are_read_only():
    x = bb.eval("[1, 2]")
    for name in ("shape", "strides", "ndim", "itemsize", "size", "format", "readonly", "other"):
        with pytest.raises(AttributeError):
            setattr(x, name, 1)
    with pytest.raises(TypeError):
        bb.JuliaArray(3)


# ------------------------------------------------------------------ resized Vectors


def test_a_julia_array_follows_its_vector():
    x = bb.eval("[1.0, 2.0]")
    for n in (3, 10, 1000, 100000):
        resize(x, n)
        x[-1] = n
        assert (x.shape, len(x), x.size, x.nbytes) == ((n,), n, n, 8 * n)
        assert x[n - 1] == n
    assert bb.Base.last(x) == 100000
    resize(x, 1)
    assert x.shape == (1,)
    assert list(x) == [1.0]
    with pytest.raises(IndexError):
        x[1]
    bb.Base.empty_b(x)
    assert len(x) == 0
    assert memoryview(x).shape == (0,)


@pytest.mark.parametrize(
    ("code", "item"),
    [
        ('Any["a"]', 5),
        ('["a"]', "b"),
        ("Union{Int,Missing}[1]", 5),
        ("trues(1)", False),
        ("[big(1)]", 2**70),
    ],
)
def test_what_cannot_be_shared_follows_too(code, item):
    x = bb.eval(code)
    before = x[0]
    push(x, item)
    assert x.shape == (2,)
    assert len(x) == x.size == 2
    assert x[1] == x[-1] == item
    assert list(x) == np.asarray(x).tolist() == [before, item]
    bb.Base.empty_b(x)
    assert list(x) == []


def test_iteration_while_growing():
    x = bb.eval("[1, 2, 3]")
    seen = []
    for item in x:
        seen.append(item)
        if len(seen) < 5:
            push(x, 10 * item)
    assert seen == [1, 2, 3, 10, 20, 30, 100]


def test_removal_at_the_front():
    x = bb.eval("collect(1:5)")
    bb.Base.popfirst_b(x)
    assert list(x) == [2, 3, 4, 5]
    bb.Base.pushfirst_b(x, 9)
    assert list(x) == [9, 2, 3, 4, 5]
    assert np.asarray(x).tolist() == [9, 2, 3, 4, 5]


@pytest.mark.parametrize("export", [memoryview, np.asarray], ids=["memoryview", "asarray"])
def test_an_exported_vector_keeps_its_memory(export):
    x = bb.eval("collect(1.0:1000.0)")
    view = export(x)
    if BEFORE_1_11:
        with pytest.raises(bb.JuliaError, match="resize"):
            resize(x, 10**6)
        assert x.shape == (1000,)
    else:
        resize(x, 10**6)
        assert x.shape == (10**6,)
        x[0] = 5.0
    bb.Base.GC.gc()
    bb.eval("[zeros(1000) for _ in 1:100]")
    assert view.shape == (1000,)
    assert list(view) == list(map(float, range(1, 1001)))


def test_a_view_follows_a_vector_that_grew():
    x = bb.eval("collect(1.0:1000.0)")
    part = x[1:3]
    resize(x, 10**6)
    x[1] = 5.0
    assert list(part) == np.asarray(part).tolist() == [5.0, 3.0]
    assert part.shape == (2,)
    part[1] = 7.0
    assert x[2] == 7.0


def test_a_view_that_no_longer_fits_is_refused():
    x = bb.eval("collect(1.0:1000.0)")
    part = x[1:3]
    resize(x, 2)
    for use in (
        memoryview,
        len,
        list,
        lambda part: part[0],
        lambda part: part[:1],
        lambda part: part.shape,
        lambda part: part.__setitem__(0, 1.0),
        lambda part: part.__setitem__(slice(None), 1.0),
    ):
        with pytest.raises(BufferError, match="resized"):
            use(part)
    assert list(x) == [1.0, 2.0]


def test_no_view_reaches_beyond_the_end_of_its_vector():
    views = list(
        bb.eval("""
        resized = collect(1.0:1000.0)
        [view(resized, 1:2), transpose(resized), reinterpret(Int64, resized),
         reshape(view(resized, 1:4), 2, 2), view(resized, 3)]""")
    )
    bb.eval("resize!(resized, 1)")
    for view in views:
        try:
            assert memoryview(view).nbytes <= 8
        except BufferError as e:
            assert "resized" in str(e)


@pytest.mark.parametrize(
    ("code", "uses"),
    [
        (
            "zeros(10^7)",
            ["part[0]", "0.0 in part", "bb.Base.sum(part)", "y.__setitem__(slice(None), part)"],
        ),
        ("Any[string(i) for i in 1:10^6]", ["part[0]", "list(part)", "'' in part"]),
    ],
    ids=["zeros", "Any"],
)
def test_a_view_of_freed_memory_never_crashes(run_python, code, uses):
    script = """
        import bufferbridge as bb

        x, y = bb.eval("{code}"), bb.eval("zeros(10)")
        part = x[len(x) - 10:]
        bb.Base.resize_b(x, 1)
        bb.Base.sizehint_b(x, 1)
        bb.Base.GC.gc()
        assert repr(part) == str(part) == object.__repr__(part).replace(" object", "")
        for use in {uses}:
            try:
                eval(use)
            except (BufferError, IndexError):
                continue
            raise AssertionError(use)
        """
    run_python(script.format(code=code, uses=uses))


def test_exported_views_protect_their_vector():
    x = bb.eval("collect(1.0:1000.0)")
    view = np.asarray(x[500:])
    if BEFORE_1_11:
        with pytest.raises(bb.JuliaError, match="resize"):
            resize(x, 1)
    else:
        resize(x, 1)
    bb.Base.GC.gc()
    bb.eval("[zeros(1000) for _ in 1:100]")
    assert view.tolist() == list(map(float, range(501, 1001)))


def test_python_memory_is_never_resized():
    x = np.arange(3.0)
    before = x.ctypes.data
    with pytest.raises(bb.JuliaError):
        push(x, 1.0)
    assert x.ctypes.data == before
    assert x.tolist() == [0.0, 1.0, 2.0]


def test_an_array_is_no_index():
    """Whatever is in it, as NumPy's arrays; and NumPy, which asks, indexes with its items."""
    x = bb.eval("[1, 2]")
    with pytest.raises(TypeError, match="can't be used as an index"):
        operator.index(x)
    with pytest.raises(IndexError, match=r"bufferbridge\.JuliaArray"):
        x[x]
    assert np.arange(5.0)[x].tolist() == [1.0, 2.0]
