"""``with bb.borrow(obj) as x``: the memory is Julia's for the block, and not after."""

from __future__ import annotations

import gc
import mmap
import threading
import weakref

import numpy as np
import pytest

import bufferbridge as bb
from bufferbridge import _core

from .conftest import collect_both

tb = pytest.importorskip("_testbuffer")

ENDED = "borrowed .*a block that has"
PACKED = np.dtype([("i", "i4"), ("x", "f8")])
ALIGNED = np.dtype([("i", "i4"), ("x", "f8")], align=True)
NESTED = np.dtype([("p", PACKED), ("v", "f8", (2,)), ("s", "S5")])
OVERLAPPING = np.dtype(
    {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2], "itemsize": 4}
)


@pytest.fixture
def held(held):
    yield held
    bb.Main.kept = bb.Main.derived = None


class Interface:
    """An object whose memory is described by __array_interface__ only."""

    def __init__(self, array):
        self.array = array
        self.__array_interface__ = array.__array_interface__


def numbers(memory):
    return np.ndarray((24,), "f8", memory)


# What can be made of 4096 bytes: every kind of array that a buffer becomes, and some more.
LAYOUTS = {
    "1-D": numbers,
    "bytes": memoryview,
    "mmap": lambda m: m,
    "2-D column-major": lambda m: numbers(m).reshape(4, 6, order="F"),
    "2-D row-major": lambda m: numbers(m).reshape(4, 6),
    "3-D column-major": lambda m: numbers(m).reshape(2, 3, 4, order="F"),
    "3-D row-major": lambda m: numbers(m).reshape(2, 3, 4),
    "3-D, any axes": lambda m: numbers(m).reshape(2, 3, 4).transpose(1, 2, 0)[:, ::-1],
    "strided": lambda m: numbers(m)[::3],
    "negative strides": lambda m: numbers(m).reshape(4, 6)[::-1, ::-2],
    "zero strides": lambda m: np.broadcast_to(numbers(m)[:3], (4, 3)),
    "one item": lambda m: np.ndarray((), "f8", m),
    "one of one": lambda m: np.ndarray((1, 1), "f8", m),
    "no items": lambda m: np.ndarray((0, 3), "f8", m),
    "complex": lambda m: np.ndarray((3, 4), "c16", m),
    "Bool": lambda m: np.ndarray((16,), "?", m),
    "unaligned": lambda m: np.ndarray((5, 2), "f8", m, offset=3),
    "swapped": lambda m: np.ndarray((5,), ">i4", m),
    "long double": lambda m: np.ndarray((5,), "g", m),
    "strings": lambda m: np.ndarray((5,), "S7", m),
    "text": lambda m: np.ndarray((5,), "U3", m),
    "records": lambda m: np.ndarray((5,), ALIGNED, m),
    "records, 2-D row-major": lambda m: np.ndarray((5, 2), ALIGNED, m),
    "packed records, 2-D": lambda m: np.ndarray((5, 2), PACKED, m)[::2],
    "nested records": lambda m: np.ndarray((5,), NESTED, m),
    "overlapping fields": lambda m: np.ndarray((5,), OVERLAPPING, m),
    "sub-arrays": lambda m: np.ndarray((5,), [("m", "f4", (2, 3))], m),
    "cast": lambda m: memoryview(m).cast("i"),
    "interface": lambda m: Interface(numbers(m)),
    "interface, strided": lambda m: Interface(numbers(m)[::-2]),
}

# Uses in Julia of an array `x` after the block, all of which have to look at the memory.
USES = """
    x[1] | x[end] | x[ones(Int, ndims(x))...] | first(x) | last(x) | x[:] | x[[1]] | copy(x)
    collect(x) | x[1] = x[1] | setindex!(x, first(x), 1) | fill!(x, x[1])
    copyto!(similar(x), x) | copyto!(x, copy(x)) | x .= x | x .== x | map(identity, x)
    x == copy(x) | isequal(x, deepcopy(x)) | deepcopy(x) | reverse(vec(x)) | hash(x)
    string(view(x, :)) | repr(x') | [y for y in x] | collect(enumerate(x)) | vcat(x, x)
    hcat(x) | x[end:-1:1] | x[trues(size(x))] | @inbounds(x[1]) | iterate(x)
    any(isequal(3), x) | view(x, 1:1)[1] | reshape(x, :)[1] | vec(x)[1]
    PermutedDimsArray(x, reverse(ntuple(identity, ndims(x))))[1]
    view(reshape(x, :), 1:1) .= Ref(0) | sort(vec(x), by = string) | unique(x)
    foreach(identity, x) | Base.unaliascopy(x) | copyto!(similar(x, 1), 1, x, 1, 1) | Array(x)
    convert(Array, x) | [x; x] | permutedims(x, reverse(ntuple(identity, ndims(x))))
"""
NUMERIC = """
    sum(x) | maximum(x) | x .+ 1 | x .= 0 | x .= x .+ x | x .*= 2 | sum(abs, x) | prod(x)
    extrema(real.(x)) | sum(view(x, :)) | sum(reshape(x, :)) | reduce(+, x) | foldl(+, x)
    cumsum(vec(x)) | transpose(vec(x)) * vec(x) | x + x | 2x | x .^ 2 | mapreduce(abs2, +, x)
    sum(x, dims = 1) | accumulate(+, vec(x)) | all(y -> y == y, x)
"""

SOME_USES = (
    "x[1] | @inbounds(x[1]) | x[1] = x[1] | copy(x) | x .= x | view(x, 1:1)[1] | deepcopy(x)"
)
FULLY_USED = ("2-D row-major",)  # the others, as each use is compiled anew


def outcome(use):
    """The exception that a use of Julia's `kept` throws, or "" if it works."""
    return bb.eval(f'try; let x = kept; {use}; end; ""; catch e; string(nameof(typeof(e))); end')


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_memory_comes_back_at_the_end(held, name):
    """After the block the file is unmapped: whoever looked at the memory would crash."""
    memory = mmap.mmap(-1, 4096)
    memory[:] = b"\x01" * 4096
    source = LAYOUTS[name](memory)
    same = bb.wrap(source)
    expected = (repr(same).replace("PyArray", "PyBorrowedArray"), str(bb.Base.eltype(same)))
    shape = same.shape
    del same
    collect_both()
    with bb.borrow(source) as x:
        assert x.shape == shape
        shown = repr(x).replace(", borrowed", "")
        assert (shown, str(bb.Base.eltype(x))) == expected
        stats = bb.stats()
        assert stats["pinned_buffers"] == held["pinned_buffers"] + 1
        if 0 not in shape:
            assert stats["pinned_bytes"] > held["pinned_bytes"]
        bb.Main.kept = x
        bb.eval("derived = Any[view(kept, :), reshape(kept, :), [kept], Ref(kept), () -> kept[1]]")
        part = x[...]
        copied = bb.Base.copy(x)
        before = bb.Base.collect(x)
        uses = (USES + "|" + NUMERIC if name in FULLY_USED else SOME_USES).replace("\n", "|")
        uses = [u.strip() for u in uses.split("|") if u.strip() and outcome(u) == ""]
        assert len(uses) >= 4 or 0 in shape
    stats = bb.stats()
    assert stats["pinned_buffers"] == held["pinned_buffers"]
    assert stats["pinned_bytes"] == held["pinned_bytes"]
    del source
    gc.collect()
    memory.close()  # BufferError if anybody still had it

    assert bb.Base.isequal(copied, before)
    for y in (x, part):
        assert repr(y).startswith("<bufferbridge.JuliaArray at ")
        for use in (
            lambda y: y[(0,) * y.ndim],
            lambda y: y[...],
            len,
            lambda y: y.shape,
            lambda y: y.strides,
            lambda y: y.nbytes,
            lambda y: y._address,
            memoryview,
            np.asarray,
            np.array,
            lambda y: list(y) if shape else y[()],
            bool,
            bytes,
            bb.Base.sum,
            bb.Base.size,
            lambda y: bb.wrap(y),
            lambda y: y.__setitem__(..., 0),
            lambda y: 0 in y,
            lambda y: bb.Base.identity([1, (y,)]),
        ):
            with pytest.raises(BufferError, match=ENDED):
                use(y)
    if 0 in shape:
        return
    for use in uses:
        assert outcome(use) == "BufferReleased", use
    for i in (1, 2):
        with pytest.raises(BufferError, match=ENDED):
            bb.eval(f"sum(identity, derived[{i}])" if i == 1 else "derived[2][1]")
    with pytest.raises(BufferError, match=ENDED):
        bb.eval("derived[5]()")
    with pytest.raises(BufferError, match=ENDED):
        bb.Main.kept
    assert "released" in bb.eval("repr(kept)")
    assert "released" in bb.eval('repr("text/plain", kept)')
    assert bb.eval("size(kept)") == shape
    del x, y, part, copied, before


@pytest.mark.parametrize("fields", [ALIGNED, PACKED])
def test_records(held, fields):
    a = np.zeros(5, fields)
    a["x"] = range(5)
    bb.eval("struct Borrowed1; i::Int32; x::Float64; end")
    with bb.borrow(a) as x:
        assert list(x["x"]) == [0, 1, 2, 3, 4]
        column = x["x"]
        x["i"] = 7
        bb.Main.kept = x
        assert bb.eval("sum(kept.x), sum(r -> r.x, kept), kept[2].i") == (10, 10, 7)
        bb.eval("kept.x[1] = 100; kept.i .+= 1; global derived = kept.x")
        if fields is ALIGNED:
            r = bb.eval("BufferBridge.recordarray(Borrowed1, kept)")
            assert bb.eval("r -> sum(y -> y.x, r)")(r) == 110
            bb.Main.keptrecords = r
        similar = bb.eval("similar(kept)")
        assert np.asarray(bb.eval("copy(kept)")).tolist() == a.tolist()
        assert np.asarray(x).dtype == a.dtype
    assert a["x"][0] == 100
    assert (a["i"] == 8).all()
    a.resize(50_000, refcheck=False)
    bb.eval("using BufferBridge: column")
    for use in (
        "kept.x[1]", "sum(derived)", "kept[1]", "kept.i .= 1", "derived[1] = 1", "column(kept, :i)"
    ):  # fmt: skip
        with pytest.raises(BufferError, match=ENDED):
            bb.eval(use)
    for use, array in ((lambda y: y[0], column), (lambda y: y["x"], x), (memoryview, column)):
        with pytest.raises(BufferError, match=ENDED):
            use(array)
    with pytest.raises(BufferError, match=ENDED):
        x["x"] = 1
    if fields is ALIGNED:
        with pytest.raises(BufferError, match=ENDED):
            r[0]
        del r
        # What goes through the fields of structs, as dump does, must find no memory there.
        counted = "sum(Int[found(getfield(x, i)) for i in 1:nfields(x)])"
        bb.eval(f"found(x) = x isa Vector ? length(x) : {counted}")
        assert bb.eval("found(keptrecords), found(kept), found(derived)") == (0, 0, 0)
    assert similar.shape == (5,)
    del x, column, similar


def test_read_only(held):
    data = bytes(range(10))
    with bb.borrow(data) as x:
        assert x.readonly
        bb.Main.kept = x
        assert bb.eval("sum(kept)") == 45
        assert "read-only" in repr(x)
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 1
        with pytest.raises(ValueError, match="read-only"):
            bb.eval("fill!(kept, 0)")
    with pytest.raises(BufferError, match=ENDED):
        bb.eval("kept[1] = 0x01")
    del x


def test_suboffsets(held):
    nd = tb.ndarray(list(range(12)), shape=[3, 4], format="l", flags=tb.ND_PIL | tb.ND_WRITABLE)
    with bb.borrow(nd) as x:
        bb.Main.kept = x
        assert bb.eval("kept isa BufferBridge.PyIndirectArray")
        assert bb.eval("sum(kept), kept[2, 3]") == (66, 6)
        bb.eval("kept[2, 3] = 60; kept .= kept .+ 1")
        assert memoryview(nd)[1, 2] == 61
        assert bb.eval("sum(deepcopy(kept)), sum(Base.unaliascopy(view(kept, :, 1)))") == (132, 15)
    for use in (
        "kept[1]",
        "sum(kept)",
        "copy(kept)",
        "kept .= 1",
        "deepcopy(kept)",
        "view(kept, :)[1]",
    ):
        with pytest.raises(BufferError, match=ENDED):
            bb.eval(use)
    assert "released" in bb.eval("repr(kept)")
    with pytest.raises(BufferError, match=ENDED):
        x.shape
    del x


def test_objects(held):
    items = [object() for _ in range(4)]
    a = np.array(items, dtype=object)
    with bb.borrow(a) as x:
        assert x[1] is items[1]
        x[0] = items[3]
        bb.Main.kept = x
        assert bb.eval("kept[1] == kept[4]")
        bb.eval("kept[2] = kept[3]")
        assert a[1] is items[2]
    with pytest.raises(BufferError, match=ENDED):
        x[0]
    with pytest.raises(BufferError, match=ENDED):
        x[0] = 1
    for use in ("kept[1]", "kept[1] = 3", "copy(kept)", "kept .= 3"):
        with pytest.raises(BufferError, match=ENDED):
            bb.eval(use)
    del x


def test_an_object_that_ends_the_block_when_it_is_replaced(held):
    """Writing lets go of old objects, whose __del__ may do anything."""
    fields = np.dtype([("n", "i2"), ("a", "O"), ("b", "O")])
    seen = []

    class Ender:
        def __del__(self):
            try:
                b.__exit__(None, None, None)
            except BufferError as e:
                seen.append(str(e))
            seen.append(bb.stats()["pinned_buffers"])

    bb.eval(
        "global no_object = convert(BufferBridge.PyObject, nothing); "
        "whole() = kept[1] = (n = Int16(1), a = no_object, b = no_object); "
        "one() = kept.a[1] = no_object"
    )
    for use in ("whole()", "one()"):
        memory = np.zeros(1, fields)
        b = bb.borrow(memory)
        bb.Main.kept = b.__enter__()
        memory["a"][0] = Ender()
        bb.eval(use + "; nothing")
        assert len(seen) == 2
        assert "1 buffer" in seen[0]
        assert seen[1] == held["pinned_buffers"] + 1
        seen.clear()
        assert bb.stats()["pinned_buffers"] == held["pinned_buffers"]
        with pytest.raises(BufferError, match=ENDED):
            bb.eval("kept[1]")
        assert not memory["b"][0]
    bb.Main.no_object = None


def test_views_that_outlive_the_block(held):
    data = bytearray(b"abcdef")
    b = bb.borrow(data)
    x = b.__enter__()
    bb.Main.kept = x
    m, n = memoryview(x), np.asarray(x[1:])
    with pytest.raises(BufferError, match="2 buffers"):
        b.__exit__(None, None, None)
    # Julia's access has ended, theirs has not.
    with pytest.raises(BufferError, match=ENDED):
        bb.eval("kept[1]")
    with pytest.raises(BufferError, match=ENDED):
        x[0]
    assert bytes(m) == b"abcdef"
    n[0] = ord("B")
    assert data[1] == ord("B")
    assert bb.stats()["pinned_buffers"] == held["pinned_buffers"] + 1
    assert bb.stats()["pinned_bytes"] == held["pinned_bytes"] + 6
    with pytest.raises(BufferError):
        data.append(1)
    m.release()
    with pytest.raises(BufferError):
        data.append(1)
    del n
    data.append(1)
    assert bb.stats()["pinned_buffers"] == held["pinned_buffers"]
    with pytest.raises(RuntimeError, match="not entered"):
        b.__exit__(None, None, None)
    with b as y:
        assert len(y) == 7
    del x, y


def test_an_exception_of_the_block_is_seen():
    data = bytearray(b"abc")
    with pytest.raises(KeyError), bb.borrow(data):
        raise KeyError("mine")
    data.append(1)
    with pytest.raises(BufferError, match="1 buffer ") as raised, bb.borrow(data) as x:
        m = memoryview(x)
        raise KeyError("mine")
    assert isinstance(raised.value.__context__, KeyError)
    assert m[0] == ord("a")
    m.release()
    data.append(1)
    with pytest.raises(IndexError), bb.borrow(data) as x:
        bb.eval("x -> x[100]")(x)
    data.append(1)


def test_views_that_julia_was_passed(held):
    """f(memoryview(x)) makes Julia hold a buffer of x, until it is collected."""
    data = bytearray(b"abc")
    with pytest.raises(BufferError, match="such that Julia was passed"), bb.borrow(data) as x:
        bb.Main.kept = memoryview(x)
    assert bb.eval("kept[1]") == ord("a")
    bb.Main.kept = None
    collect_both()
    data.append(1)
    with bb.borrow(data) as x:
        bb.Main.kept = memoryview(x)
        bb.Main.kept = None
        bb.Base.GC.gc()
    data.append(1)
    del x


def test_nested_borrows(held):
    data = bytearray(b"abcdef")
    outer, inner = bb.borrow(data), bb.borrow(data)
    with outer as x:
        assert "lent to Julia" in repr(outer)
        with inner as y, bb.borrow(x) as z, bb.borrow(z[1:3]) as part:
            part[0] = 1
            assert (x[1], y[1], z[1]) == (1, 1, 1)
        with pytest.raises(BufferError, match=ENDED):
            y[0]
        for ended in (z, part):
            with pytest.raises(BufferError, match=ENDED):
                ended[0]
        assert x[1] == 1
        with pytest.raises(RuntimeError, match="entered already"), outer:
            pass
        assert x[0] == ord("a")
        with inner as y:
            assert y[1] == 1
    assert repr(outer) == "<bufferbridge.borrow of bytearray, not lent>"
    data.append(1)
    del x, y, z, part, ended


def test_without_an_end(held):
    """Nothing leaks: the last JuliaArray ends it."""
    data = bytearray(b"abc")
    x = bb.borrow(data).__enter__()
    y = x[1:]
    bb.Main.kept = y
    del x
    assert y[0] == ord("b")
    assert bb.eval("kept[1]") == ord("b")
    b = bb.borrow(data)
    b.__enter__()
    del y, b
    data.append(1)
    with pytest.raises(BufferError, match=ENDED):
        bb.eval("kept[1]")


def test_the_borrow_keeps_the_object_only_while_it_lives(held):
    class Bytes(bytearray):
        pass

    data = Bytes(b"abc")
    alive = weakref.ref(data)
    with bb.borrow(data) as x:
        del data
        collect_both()
        assert x[0] == ord("a")
        bb.Main.kept = x
    assert alive() is None


def test_a_cycle_through_the_exporter(held):
    """The exporter's own end may come in the middle of the loan's."""

    class Bytes(bytearray):
        pass

    data = Bytes(b"abc")
    data.x = bb.borrow(data).__enter__()  # Python's collector can't see through a JuliaArray
    alive = weakref.ref(data)
    del data.x
    data.extend(b"d")
    del data
    assert alive() is None


def test_callbacks(held):
    data = np.arange(5.0)
    got = []

    def callback(y):
        got.append(y)
        return y[0] + np.asarray(y).sum()

    with bb.borrow(data) as x:
        assert bb.eval("(f, x) -> f(view(x, 2:4))")(callback, x) == 1 + 6
        assert bb.eval("(f, x) -> f(x)")(callback, x) == 10
        bb.Main.kept = x
    for y in got:
        with pytest.raises(BufferError, match=ENDED):
            y[0]
    with pytest.raises(BufferError, match=ENDED):
        bb.eval("f -> f(kept)")(callback)
    assert len(got) == 2
    del x, y
    got.clear()


def test_a_callback_that_ends_the_block(held):
    data = bytearray(b"abcdef")
    for code in (
        "(f, x) -> (f(); x[1])",
        "(f, x) -> sum(y -> (f(); y), x)",
        "(f, x) -> map!(y -> (f(); y), x, x)",
        "(f, x) -> (x .= (y -> (f(); y)).(x))",
        "(f, x) -> for i in eachindex(x); i == 3 && f(); x[i] = 0; end",
        "(f, x) -> sort!(x, by = y -> (f(); y))",
    ):
        data[:] = b"abcdef"
        b = bb.borrow(data)
        x = b.__enter__()
        ended = []

        def end(b=b, ended=ended):
            if not ended:
                ended.append(1)
                b.__exit__(None, None, None)
                data.extend(bytes(100_000))
                del data[6:]

        with pytest.raises(BufferError, match=ENDED):
            bb.eval(code)(end, x)
        assert ended
        assert len(data) == 6

    class Index:
        def __index__(self):
            b.__exit__(None, None, None)
            return 0

    for use in (
        lambda x: x[Index()],
        lambda x: x.__setitem__(Index(), 1),
        lambda x: x[Index() :],
    ):
        b = bb.borrow(data)
        x = b.__enter__()
        with pytest.raises(BufferError, match=ENDED):
            use(x)
    del x


def test_blas(held):
    a = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    bb.eval("using LinearAlgebra")
    with bb.borrow(a) as x:
        assert bb.eval("x -> x isa StridedArray")(x)
        assert np.array_equal(np.asarray(bb.eval("x -> x * x'")(x)), a @ a.T)
        assert bb.eval("x -> BLAS.dot(6, x, 1, x, 1)")(x) == 55
        assert np.array_equal(np.asarray(bb.eval("x -> mul!(zeros(2), x, ones(3))")(x)), a.sum(1))
        bb.Main.kept = x
        assert bb.eval("strides(kept), stride(kept, 2)") == ((1, 2), 2)
        assert bb.eval("IndexStyle(kept) == IndexLinear()")
        bb.eval("global derived = view(kept, :, 2:3)")
    for use in (
        "kept * kept'",
        "BLAS.dot(6, kept, 1, kept, 1)",
        "mul!(zeros(2), kept, ones(3))",
        "mul!(kept, ones(2, 2), ones(2, 3))",
        "mul!(zeros(2), derived, ones(2))",
        "derived * derived",
        "norm(kept)",
        "pointer(kept)",
        "pointer(derived)",
        "Base.unsafe_convert(Ptr{Float64}, kept)",
        "unsafe_load(pointer(reshape(kept, :)))",
        "reinterpret(Int64, kept)[1]",
        "pointer(reinterpret(Int64, kept))",
        "qr(kept)",
        "svd(derived)",
        "ccall(:memcpy, Ptr{Cvoid}, (Ptr{Float64}, Ptr{Float64}, Int), zeros(6), kept, 48)",
    ):
        with pytest.raises(BufferError, match=ENDED):
            bb.eval(use)
    del x


def test_what_looks_into_structs(run_python):
    """Serialization and dump go past all methods: they find no memory."""
    done = run_python(
        """
        import mmap
        import bufferbridge as bb
        m = mmap.mmap(-1, 4096)
        with bb.borrow(m) as x:
            bb.Main.x = x
        with bb.borrow(memoryview(m)[::-2]) as x:
            bb.Main.y = x
        m.close()
        print(bb.eval('''
            using Serialization
            for v in (x, y)
                try serialize(IOBuffer(), v) catch e end
                sprint(dump, v)
                Base.summarysize(v), objectid(v), v === v
            end
            "alive"
        '''))
        """
    )
    assert done.stdout == "alive\n"


def test_copies_that_stay(held):
    a = np.arange(6.0).reshape(2, 3)
    with bb.borrow(a) as x:
        bb.Main.kept = x
        bb.eval(
            "derived = Any[copy(kept), deepcopy(kept), kept .+ 0, collect(kept), kept[:, :], "
            "similar(kept) .= kept, Base.unaliascopy(kept), deepcopy(view(kept, 1:2, :))]"
        )
        bb.eval("kept .= 0; @assert all(iszero, kept)")
    bb.eval("GC.gc()")
    for i in range(1, 9):
        y = bb.eval(f"derived[{i}]")
        assert np.asarray(y).tolist() == [[0, 1, 2], [3, 4, 5]], i
        assert bb.eval(f"sum(derived[{i}])") == 15
    with bb.borrow(np.asfortranarray(a)) as x:
        assert str(bb.Base.typeof(bb.Base.copy(x))) == str(bb.eval("Matrix{Float64}"))
        y = bb.eval("deepcopy")(x)
    assert np.asarray(y).sum() == 0
    bb.eval("x -> (x .= reverse(x, dims = 1))")(y)
    del x, y


def test_broadcasting_over_the_same_memory(held):
    data = np.arange(6.0)
    with bb.borrow(data) as x:
        bb.eval("x -> (view(x, 2:6) .= view(x, 1:5) .+ 10; nothing)")(x)
    assert data.tolist() == [0, 10, 11, 12, 13, 14]
    with bb.borrow(data[::2]) as x:
        bb.eval("x -> (view(x, 2:3) .= view(x, 1:2); nothing)")(x)
        bb.eval("x -> (x .= reshape(view(x, 3:-1:1), 3); nothing)")(x)
    assert data[::2].tolist() == [11, 0, 0]
    del x


def test_no_address_is_given_out(held):
    with bb.borrow(np.zeros(3)) as x:
        assert not hasattr(x, "__array_interface__")
        assert np.asarray(x).tolist() == [0, 0, 0]
    a = np.zeros(3, OVERLAPPING)
    a["a"] = 5
    with bb.borrow(a) as x:
        view = np.asarray(x)  # no format describes it
        assert view.dtype == OVERLAPPING
        assert view["a"].tolist() == [5, 5, 5]
        del view
    with pytest.raises(BufferError, match="1 buffer "), bb.borrow(a) as x:
        view = np.asarray(x)
    assert view["a"].tolist() == [5, 5, 5]
    assert bb.stats()["pinned_buffers"] == held["pinned_buffers"] + 1
    with pytest.raises(BufferError, match=ENDED):
        np.asarray(x)
    del view
    assert bb.stats()["pinned_buffers"] == held["pinned_buffers"]
    del x


def test_methods_that_want_an_array_say_what_to_pass(held):
    f = bb.eval("(x::Vector{Float64}) -> sum(x)")
    with bb.borrow(np.ones(3)) as x, pytest.raises(TypeError, match="from Python for a block"):
        f(x)
    with bb.borrow(np.ones(6)[::2]) as x, pytest.raises(TypeError, match="column-major"):
        f(x)
    del x


def test_what_has_no_memory():
    for nothing in (1, None, "abc", [1]):
        with pytest.raises(TypeError, match="no memory to share"), bb.borrow(nothing):
            pass
    with pytest.raises(TypeError), bb.borrow(np.zeros(3, [("a:b", "i8")])):
        pass
    with pytest.raises(TypeError):
        bb.borrow()
    with pytest.raises(TypeError, match="no array that was borrowed"):
        _core._end_borrow(bb.eval("[1]"))
    with pytest.raises(TypeError, match="no array that was borrowed"):
        _core._end_borrow(1)
    with pytest.raises(TypeError):
        _core._hold_memory(1)
    with pytest.raises(RuntimeError, match="not entered"):
        bb.borrow(b"").__exit__(None, None, None)


def test_what_fails_inside_leaves_nothing(held):
    class Hostile:
        @property
        def __array_interface__(self):
            raise KeyError("hostile")

    with pytest.raises(KeyError), bb.borrow(Hostile()):
        pass
    data = bytearray(8)
    colons = np.frombuffer(data, dtype=[("a:b", "i8")])
    with pytest.raises(TypeError), bb.borrow(colons):
        pass
    del colons
    data.append(1)


def test_many(held):
    total = bb.Base.sum
    for _ in range(20_000):
        with bb.borrow(bytearray(10)) as x:
            assert total(x) == 0
    for _ in range(30):
        with bb.borrow(np.ones(4_000_000)) as x:  # 32 MB each
            assert total(x) == 4_000_000
        assert bb.stats()["pinned_bytes"] == held["pinned_bytes"]
    del x


def test_numpy_scalars(held):
    with bb.borrow(np.float64(3)) as x:
        assert x.shape == ()
        assert x[()] == 3
    del x


def test_other_threads(held):
    """Ending needs no Julia; beginning does."""
    data = bytearray(b"abc")
    b = bb.borrow(data)
    x = b.__enter__()
    errors = []

    def end():
        b.__exit__(None, None, None)
        data.append(1)
        try:
            with bb.borrow(data) as y:
                errors.append(y[0])
        except Exception as e:
            errors.append(e)
        data.append(1)

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    with pytest.raises(BufferError, match=ENDED):
        x[0]
    assert errors[0] == ord("a") or isinstance(errors[0], RuntimeError)
    if bb.julia_version < (1, 9):
        assert "only from the thread that started it" in str(errors[0])
    del x


def test_it_starts_julia(run_python):
    done = run_python(
        """
        import bufferbridge as bb
        data = bytearray(b"abc")
        b = bb.borrow(data)
        assert bb.julia_version is None
        with b as x:
            print(bb.Base.sum(x))
        data.append(1)
        """
    )
    assert done.stdout == "294\n"


def test_the_end_after_julia_has_stopped_and_in_a_fork(run_python):
    done = run_python(
        """
        import atexit, os
        import bufferbridge as bb

        def late():
            print(x[0], y[0], flush=True)
            b.__exit__(None, None, None)
            data.append(1)
            try:
                x[0]
            except BufferError:
                print("ended")
            try:
                with bb.borrow(data):
                    pass
            except RuntimeError as e:
                print(e)
            data.append(1)

        atexit.register(late)  # runs after bufferbridge's own, which is registered later
        data, other = bytearray(b"abc"), bytearray(b"def")
        b, c = bb.borrow(data), bb.borrow(other)
        x, y = b.__enter__(), c.__enter__()
        bb.Main.x = x
        pid = os.fork()
        if pid == 0:
            b.__exit__(None, None, None)
            data.append(1)
            try:
                x[0]
            except BufferError:
                print("ended in the child", flush=True)
            print(y[0], flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print(bb.eval("x[1]"), x[0], flush=True)
        """
    )
    assert done.stderr == ""
    assert done.stdout == (
        "ended in the child\n100\n97 97\n97 100\nended\nJulia has stopped: the process is ending\n"
    )


def test_an_end_at_exit(run_python):
    done = run_python(
        """
        import sys
        import bufferbridge as bb
        data = bytearray(b"abc")
        with bb.borrow(data) as x:
            bb.Main.x = x
            m = memoryview(x)
            bb.eval("finalizer(r -> (try x[1]; catch; end), Ref(1)); atexit(() -> println(x[1]))")
            y = bb.borrow(bytearray(5)).__enter__()
            del m
            sys.exit(0)
        """
    )
    assert done.stderr.count("BufferReleased") <= 1
    assert "Fatal" not in done.stderr
