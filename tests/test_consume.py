"""Python's buffers in Julia: which array each becomes, that it shares memory, and what it can do.

What is expected comes from NumPy on the same data, and from CPython's exporters.
"""

from __future__ import annotations

import array
import ctypes
import functools
import gc
import math
import mmap
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb

tb = pytest.importorskip("_testbuffer")

type_of = bb.eval(r"""
    import LinearAlgebra
    # The type's name without the module's, and without the storage that users don't see.
    function consumed_type(x)
        T = typeof(x)
        # Julia 1.5 prints Complex{Float64}, later ones ComplexF64.
        element = replace(string(eltype(T)), r"Complex{Float(..)}" => s"ComplexF\1")
        T <: Array && return "Array{$element,$(ndims(T))}"
        T <: Union{PermutedDimsArray,LinearAlgebra.Transpose} &&
            return "$(nameof(T)) of $(consumed_type(parent(x)))"
        return "$(nameof(T)){$element,$(ndims(T))}"
    end""")
address = bb.eval("x -> Int(pointer(x))")
root_address = bb.eval("x -> (while parent(x) !== x; x = parent(x); end; Int(pointer(x)))")
elements = bb.eval("x -> [x[i] for i in CartesianIndices(x)]")
set_all = bb.eval("(x, v) -> (for i in eachindex(x); x[i] = v; end; nothing)")
set_last = bb.eval("(x, v) -> (x[end] = v; nothing)")
is_dense = bb.eval("x -> x isa DenseArray")
identity = bb.Base.identity
NUMBERS = ["?", *"bBhHiIlLqQ", *"efd", "F", "D"]
JULIA = {
    "?": "Bool",
    **{c: f"Int{8 * np.dtype(c).itemsize}" for c in "bhilq"},
    **{c: f"UInt{8 * np.dtype(c).itemsize}" for c in "BHILQ"},
    "e": "Float16",
    "f": "Float32",
    "d": "Float64",
    "F": "ComplexF32",
    "D": "ComplexF64",
}


def start_of(a):
    return a.__array_interface__["data"][0]


def read_only(a):
    a = a.view()
    a.flags.writeable = False
    return a


def unaligned(a):
    memory = np.zeros(a.nbytes + 1, "u1")
    moved = memory[1:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


def indirect(values, shape, format_="d"):
    return tb.ndarray(values, shape=shape, format=format_, flags=tb.ND_PIL | tb.ND_WRITABLE)


def pinned():
    """Buffers that Julia holds, once both sides have collected."""
    for _ in range(2):
        gc.collect()
        bb.Base.GC.gc()
    return bb.stats()["pinned_buffers"]


# ----------------------------------------------------------------- the contract's table

C3 = np.arange(24.0).reshape(2, 3, 4)
MATRIX = np.arange(6.0).reshape(2, 3)
LAYOUTS = {
    "vector": (np.arange(5.0), "Array{Float64,1}"),
    "Fortran matrix": (np.asfortranarray(MATRIX), "Array{Float64,2}"),
    "Fortran cube": (np.asfortranarray(C3), "Array{Float64,3}"),
    "C matrix": (MATRIX, "Transpose of Array{Float64,2}"),
    "C cube": (C3, "PermutedDimsArray of Array{Float64,3}"),
    "row": (np.arange(3.0).reshape(1, 3), "Array{Float64,2}"),
    "column": (np.arange(3.0).reshape(3, 1), "Array{Float64,2}"),
    "0-d": (np.array(1.5), "Array{Float64,0}"),
    "empty": (np.zeros(0), "Array{Float64,1}"),
    "empty (2, 0, 3)": (np.zeros((2, 0, 3)), "Array{Float64,3}"),
    "read-only vector": (read_only(np.arange(5.0)), "PyArray{Float64,1}"),
    "read-only Fortran": (read_only(np.asfortranarray(MATRIX)), "PyArray{Float64,2}"),
    "read-only 0-d": (read_only(np.array(1.5)), "PyArray{Float64,0}"),
    "read-only C": (read_only(MATRIX.copy()), "PyStridedArray{Float64,2}"),
    "every other": (np.arange(9.0)[::2], "PyStridedArray{Float64,1}"),
    "negative": (np.arange(5.0)[::-1], "PyStridedArray{Float64,1}"),
    "all negative": (C3.copy()[::-1, ::-1, ::-2], "PyStridedArray{Float64,3}"),
    "mixed": (C3.copy().transpose(1, 2, 0)[:, ::-1], "PyStridedArray{Float64,3}"),
    "offset": (C3.copy()[1:, 1:, 1:], "PyStridedArray{Float64,3}"),
    "repeated": (np.broadcast_to(np.arange(3.0), (2, 3)), "PyStridedArray{Float64,2}"),
    "overlapping": (
        np.lib.stride_tricks.as_strided(np.arange(6.0), (3, 4), (8, 8)),
        "PyStridedArray{Float64,2}",
    ),
    "odd strides": (
        np.zeros(4, np.dtype({"names": ["x"], "formats": ["f8"], "itemsize": 11}))["x"],
        "PyStridedArray{Float64,1}",
    ),
    "unaligned vector": (unaligned(np.arange(5.0)), "PyStridedArray{Float64,1}"),
    "unaligned Fortran": (unaligned(MATRIX).T, "PyStridedArray{Float64,2}"),
    "swapped": (np.arange(5).astype(">f8"), "PyStridedArray{Float64,1}"),
    "swapped Fortran": (
        np.asfortranarray(MATRIX.astype(">c8")),
        "PyStridedArray{ComplexF32,2}",
    ),
    "swapped and unaligned": (unaligned(C3.astype(">i4"))[::-1], "PyStridedArray{Int32,3}"),
    "read-only swapped": (read_only(np.arange(5).astype(">u2")), "PyStridedArray{UInt16,1}"),
    "one byte, 'swapped'": (np.arange(5).astype(">i1"), "Array{Int8,1}"),
}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS.keys())
def layout(request):
    return request.param


def test_the_type_of_each_layout(layout):
    a, expected = layout
    assert type_of(a) == expected


def test_elements_are_numpys(layout):
    a, _ = layout
    assert np.array_equal(np.asarray(elements(a)), a)
    assert bb.Base.size(a) == a.shape


def test_back_in_python_it_is_the_same_memory(layout):
    a, _ = layout
    back = np.asarray(identity(a))
    assert back.shape == a.shape
    assert back.dtype == a.dtype.newbyteorder(a.dtype.byteorder)
    assert back.flags.writeable == a.flags.writeable
    if a.size:
        assert start_of(back) == start_of(a)
        assert [s for s, n in zip(back.strides, a.shape) if n > 1] == (
            [s for s, n in zip(a.strides, a.shape) if n > 1]
        )
    assert np.array_equal(back, a)


def test_julia_points_into_the_same_memory(layout):
    a, expected = layout
    if a.size and not expected.startswith(("Transpose", "Permuted")):
        assert address(a) == start_of(a)
    elif a.size:
        assert root_address(a) == start_of(a)


def test_writes_are_seen_on_the_other_side(layout):
    a, _ = layout
    if not a.flags.writeable or a.size == 0:
        pytest.skip("nothing to write to")
    a = a.copy(order="K") if a.strides == np.empty_like(a).strides else a
    x = identity(a)
    set_all(x, 7)
    assert (a == 7).all()
    set_last(x, 8)
    assert a[(-1,) * a.ndim] == 8
    a[...] = 9
    assert (np.asarray(elements(x)) == 9).all()


def test_read_only_memory_stays_as_it_is(layout):
    a, _ = layout
    if a.flags.writeable:
        pytest.skip("may be written")
    before = a.tolist()
    for function, args in (
        (set_all, (5,)),
        (set_last, (5,)),
        (bb.Base.fill_b, (5,)),
        (bb.Base.copyto_b, (np.ones(a.size),)),
        (bb.eval("(x, v) -> (x .= v)"), (5,)),
    ):
        with pytest.raises(ValueError, match="read-only"):
            function(a, *args)
    assert a.tolist() == before


@pytest.mark.parametrize("order", ["F", "C"])
@pytest.mark.parametrize("char", NUMBERS)
def test_element_types(char, order):
    a = np.array([[0, 1, 1], [1, 0, 1]], char, order=order)
    wanted = f"Array{{{JULIA[char]},2}}"
    assert type_of(a) == (wanted if order == "F" else "Transpose of " + wanted)
    assert np.array_equal(np.asarray(elements(a)), a)


@pytest.mark.parametrize("char", NUMBERS)
def test_element_types_of_strided_memory(char):
    a = np.array([0, 1, 1, 0, 1], char)
    for part in (a[::-2], unaligned(a) if a.itemsize > 1 else a[::2]):
        assert type_of(part) == f"PyStridedArray{{{JULIA[char]},1}}"
        assert np.array_equal(np.asarray(elements(part)), part)
    assert type_of(read_only(a)) == f"PyArray{{{JULIA[char]},1}}"


@pytest.mark.parametrize("char", [c for c in NUMBERS if c not in "?bB"])
def test_swapped_element_types(char):
    native = np.array([1, 2, 100], char)
    a = native.astype(native.dtype.newbyteorder())
    assert type_of(a) == f"PyStridedArray{{{JULIA[char]},1}}"
    assert np.array_equal(np.asarray(elements(a)), native)
    set_last(a, 5)
    assert a.tolist() == [1, 2, 5]


@pytest.mark.parametrize("ndim", [5, 32, 64])
def test_many_dimensions(ndim):
    shape = (2, *(1,) * (ndim - 2), 3)
    try:
        a = np.arange(6.0).reshape(shape)
    except ValueError:
        pytest.skip(f"NumPy {np.__version__} has fewer dimensions")
    assert type_of(a) == f"PermutedDimsArray of Array{{Float64,{ndim}}}"
    assert type_of(a.T) == f"Array{{Float64,{ndim}}}"
    assert type_of(a[::-1]) == f"PyStridedArray{{Float64,{ndim}}}"
    for b in (a, a.T, a[::-1]):
        back = np.asarray(identity(b))
        assert back.shape == b.shape
        assert np.shares_memory(back, b)
        assert np.array_equal(back, b)
    assert bb.Base.getindex(a, 2, *(1,) * (ndim - 2), 3) == 5.0


def test_a_method_for_arrays_takes_what_can_be_one():
    f = bb.eval("only_vectors(x::Vector{Float64}) = sum(x)")
    assert f(np.arange(4.0)) == 6.0
    assert f(array.array("d", [1, 2])) == 3.0
    for wrong in (np.arange(8.0)[::2], read_only(np.arange(4.0)), np.arange(4.0).astype(">f8")):
        with pytest.raises(TypeError, match=r"Argument 1 .*Pass .*(copy|np\.as|astype)"):
            f(wrong)
    with pytest.raises(TypeError, match="Argument 1 .*asfortranarray"):
        bb.eval("only_matrices(x::Matrix{Float64}) = sum(x)")(MATRIX)


# ------------------------------------------------------------ hypothesis: any layout


@st.composite
def arrays(draw):
    dtype = np.dtype(draw(st.sampled_from(["u1", "i2", "f8"]))).newbyteorder(
        draw(st.sampled_from("<>"))
    )
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    n = math.prod(shape)
    memory = np.zeros(n * dtype.itemsize + 8, "u1")
    offset = draw(st.sampled_from([0, 0, 1]))
    a = memory[offset : offset + n * dtype.itemsize].view(dtype)
    a[:] = np.arange(n)
    a = a.reshape(shape, order=draw(st.sampled_from("CF")))
    key = tuple(
        slice(None, None, draw(st.sampled_from([1, 1, 2, -1, -2])))
        if draw(st.booleans())
        else slice(draw(st.integers(0, n)), draw(st.integers(0, n)))
        for n in shape
    )
    a = a[key].transpose(draw(st.permutations(range(len(shape)))))
    if draw(st.sampled_from([True, False, False])):
        a = np.broadcast_to(a, (2, *a.shape))
    elif draw(st.booleans()):
        a.flags.writeable = False
    return a


@settings(max_examples=100, deadline=None)
@given(arrays(), st.data())
def test_any_layout(a, data):
    x = identity(a)
    wrapped = bb.wrap(a)
    for other in (x, wrapped):
        back = np.asarray(other)
        assert back.dtype == a.dtype
        assert back.shape == other.shape == a.shape
        assert np.array_equal(back, a)
        assert back.flags.writeable == a.flags.writeable
        assert a.size == 0 or start_of(back) == start_of(a)
    name = type_of(a)
    native = a.dtype.isnative or a.itemsize == 1
    plain = native and (a.flags.aligned or a.itemsize == 1 or a.size == 0)
    if plain and a.flags.f_contiguous and a.size:
        assert name.startswith("Array" if a.flags.writeable else "PyArray")
    elif plain and a.flags.c_contiguous and a.flags.writeable and a.size:
        assert name.startswith(("Transpose", "Permuted"))
    elif a.size:
        assert name.startswith("PyStrided")
    if a.size:
        place = tuple(data.draw(st.integers(0, n - 1)) for n in a.shape)
        julian = [i + 1 for i in place]
        assert bb.Base.getindex(a, *julian) == a[place]
        if a.flags.writeable:
            bb.Base.setindex_b(a, 77, *julian)
            assert a[place] == 77
            wrapped[place] = 78
            assert a[place] == x[place] == 78
        else:
            with pytest.raises(ValueError, match="read-only"):
                bb.Base.setindex_b(a, 77, *julian)


# ---------------------------------------------------------------------- exporters


def test_bytes():
    data = b"hello"
    assert type_of(data) == "PyArray{UInt8,1}"
    assert np.asarray(elements(data)).tobytes() == data
    with pytest.raises(ValueError, match="read-only"):
        set_last(data, 0)
    assert data == b"hello"
    assert type_of(b"") == "PyArray{UInt8,1}"
    assert bb.Base.length(b"") == 0


def test_bytearray():
    data = bytearray(b"hello")
    assert type_of(data) == "Array{UInt8,1}"
    x = identity(data)
    set_last(x, ord("!"))
    assert data == b"hell!"
    data[0] = ord("H")
    assert bb.Base.first(x) == ord("H")
    with pytest.raises(BufferError):
        data.append(0)
    del x
    pinned()
    data.append(0)
    assert type_of(bytearray()) == "Array{UInt8,1}"


@pytest.mark.parametrize("code", "bBhHiIlLqQfd")
def test_array_array(code):
    a = array.array(code, [1, 2, 3])
    assert type_of(a) == f"Array{{{JULIA[code]},1}}"
    x = identity(a)
    set_last(x, 9)
    assert a.tolist() == [1, 2, 9]
    assert address(x) == a.buffer_info()[0]
    a[0] = 7
    assert x[0] == 7


@pytest.mark.parametrize("access", ["read", "write", "copy"])
def test_mmap(tmp_path, access):
    path = tmp_path / "memory"
    path.write_bytes(bytes(range(64)))
    with path.open("r+b") as file:
        m = mmap.mmap(file.fileno(), 0, access=getattr(mmap, "ACCESS_" + access.upper()))
    before = pinned()
    x = identity(m)
    assert type_of(m) == ("PyArray{UInt8,1}" if access == "read" else "Array{UInt8,1}")
    assert np.array_equal(np.asarray(x), np.arange(64))
    if access == "read":
        with pytest.raises(ValueError, match="read-only"):
            set_last(x, 0)
    else:
        set_last(x, 255)
        assert m[-1] == 255
        m[0] = 254
        assert x[0] == 254
    with pytest.raises(BufferError):
        m.close()
    del x
    assert pinned() == before
    m.flush()
    m.close()
    assert path.read_bytes()[-1] == (255 if access == "write" else 63)


def test_anonymous_mmap():
    m = mmap.mmap(-1, 4096)
    bb.Base.fill_b(memoryview(m).cast("d"), 1.5)
    assert np.frombuffer(m).tolist() == [1.5] * 512


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ctypes.c_bool, "Bool"),
        (ctypes.c_int8, "Int8"),
        (ctypes.c_uint8, "UInt8"),
        (ctypes.c_char, "UInt8"),
        (ctypes.c_int16, "Int16"),
        (ctypes.c_uint16, "UInt16"),
        (ctypes.c_int32, "Int32"),
        (ctypes.c_uint32, "UInt32"),
        (ctypes.c_int64, "Int64"),
        (ctypes.c_uint64, "UInt64"),
        (ctypes.c_long, f"Int{8 * ctypes.sizeof(ctypes.c_long)}"),
        (ctypes.c_size_t, f"UInt{8 * ctypes.sizeof(ctypes.c_size_t)}"),
        (ctypes.c_float, "Float32"),
        (ctypes.c_double, "Float64"),
    ],
)
def test_ctypes(kind, name):
    scalar, line, table = kind(), (kind * 3)(), (kind * 3 * 2)()
    assert type_of(scalar) == f"Array{{{name},0}}"
    assert type_of(line) == f"Array{{{name},1}}"
    assert type_of(table) == f"Transpose of Array{{{name},2}}"
    assert bb.Base.size(table) == (2, 3)
    set_last(scalar, 1)
    set_last(line, 1)
    set_last(table, 1)
    one = b"\1" if kind is ctypes.c_char else 1
    assert scalar.value == line[2] == table[1][2] == one
    assert table[0][2] in (0, b"\0")
    assert address(line) == ctypes.addressof(line)


@pytest.mark.parametrize("base", [ctypes.BigEndianStructure, ctypes.LittleEndianStructure])
def test_swapped_ctypes(base):
    number = (
        ctypes.c_int32.__ctype_be__
        if base is ctypes.BigEndianStructure
        else (ctypes.c_int32.__ctype_le__)
    )
    line = (number * 3)(1, 2, 3)
    assert np.asarray(elements(line)).tolist() == [1, 2, 3]
    set_last(line, 70000)
    assert list(line) == [1, 2, 70000]


def test_memoryview():
    data = bytearray(range(24))
    view = memoryview(data)
    assert type_of(view) == "Array{UInt8,1}"
    assert type_of(view.toreadonly()) == "PyArray{UInt8,1}"
    assert type_of(view[::2]) == "PyStridedArray{UInt8,1}"
    assert np.asarray(elements(view[20:3:-3])).tolist() == list(view[20:3:-3])
    assert type_of(view.cast("h")) == "Array{Int16,1}"
    assert type_of(view.cast("c")) == "Array{UInt8,1}"
    assert type_of(view[1:9].cast("d")) == "PyStridedArray{Float64,1}"  # unaligned
    assert type_of(view.cast("B", (4, 6))) == "Transpose of Array{UInt8,2}"
    assert type_of(view.cast("i", (1, 2, 3))) == "PermutedDimsArray of Array{Int32,3}"
    assert bb.Base.getindex(view.cast("B", (4, 6)), 3, 5) == 16
    assert type_of(view[:8].cast("d", ())) == "Array{Float64,0}"


@pytest.mark.parametrize("format_", "?bBhHiIlLqQnNfd")
def test_formats_of_the_reference_exporter(format_):
    kinds = {"n": JULIA["q"], "N": JULIA["Q"]}
    for order in ("", "@", "<", ">", "=", "!"):
        if format_ in "nN" and order not in ("", "@"):
            continue  # they have no standard size
        nd = tb.ndarray([0, 1, 1], shape=[3], format=order + format_, flags=tb.ND_WRITABLE)
        assert np.asarray(elements(nd)).tolist() == nd.tolist()
        set_last(nd, 0)
        assert nd.tolist() == [0, 1, 0]
        if order in ("", "@"):
            assert type_of(nd) == f"Array{{{kinds.get(format_) or JULIA[format_]},1}}"


STRIDES = [((2, 3), (24, 8), 0), ((2, 3), (-24, 8), 24), ((2, 3), (8, -16), 32), ((5,), (-8,), 32)]


@pytest.mark.parametrize(("shape", "strides", "offset"), STRIDES)
def test_layouts_of_the_reference_exporter(shape, strides, offset):
    nd = tb.ndarray(
        [float(i) for i in range(6)],
        shape=list(shape),
        strides=list(strides),
        offset=offset,
        format="d",
        flags=tb.ND_WRITABLE,
    )
    assert np.asarray(elements(nd)).tolist() == nd.tolist()
    set_all(nd, 5)
    assert np.array(nd.tolist()).ravel().tolist() == [5.0] * math.prod(shape)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 3, 2), (1, 1), (3, 1, 2)])
@pytest.mark.parametrize("format_", ["d", ">h"])
def test_suboffsets(shape, format_):
    n = math.prod(shape)
    nd = indirect(list(range(n)), list(shape), format_)
    assert nd.suboffsets[0] >= 0
    name = "Float64" if format_ == "d" else "Int16"
    assert type_of(nd) == f"PyIndirectArray{{{name},{len(shape)}}}"
    assert np.asarray(elements(nd)).tolist() == nd.tolist()
    x = identity(nd)
    assert np.asarray(x).tolist() == nd.tolist()  # a copy, as memory behind pointers has no strides
    set_last(x, 99)
    assert nd.tolist() == np.asarray(elements(x)).tolist()
    assert x[(-1,) * len(shape)] == 99
    with pytest.raises(BufferError, match="suboffsets"):
        memoryview(x)


def test_sliced_suboffsets():
    nd = indirect(list(range(12)), [3, 4])
    for part in (nd[1:], nd[::2], nd[:, ::-1], nd[::-1, 1:3], nd[1]):
        assert np.asarray(elements(part)).tolist() == part.tolist()
    read = tb.ndarray(list(range(6)), shape=[2, 3], format="d", flags=tb.ND_PIL)
    with pytest.raises(ValueError, match="read-only"):
        set_last(read, 0)


class Interface:
    """An object with __array_interface__ and no buffer."""

    def __init__(self, a, **changes):
        self.array = a
        self.interface = {**a.__array_interface__, **changes}

    @property
    def __array_interface__(self):
        return {k: v for k, v in self.interface.items() if v != "absent"}


def test_array_interface(layout):
    a, expected = layout
    o = Interface(a)
    assert type_of(o) == expected
    assert np.array_equal(np.asarray(elements(o)), a)
    if a.size:
        assert root_address(o) == root_address(a)
    if a.flags.writeable and a.size:
        old = a[(-1,) * a.ndim].item()
        set_last(o, 3)
        assert a[(-1,) * a.ndim] == 3
        a[(-1,) * a.ndim] = old


def test_array_interface_keeps_the_object():
    before = pinned()
    x = identity(Interface(np.arange(100000.0)))
    pinned()
    assert np.array_equal(np.asarray(x), np.arange(100000.0))
    del x
    assert pinned() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": "absent"},
        {"typestr": "absent"},
        {"data": "absent"},
        {"shape": 3},
        {"shape": ("a",)},
        {"shape": (2**70,)},
        {"typestr": 5},
        {"typestr": ""},
        {"typestr": "<f3"},
        {"typestr": "<M8[s"},
        {"typestr": "<M4[s]"},
        {"typestr": "<M8[weeks]"},
        {"data": 5},
        {"data": (1,)},
        {"data": ("a", False)},
        {"strides": (8, 8)},
        {"strides": ("a",)},
    ],
    ids=repr,
)
def test_a_bad_array_interface(changes):
    before = bb.stats()["pinned_buffers"]
    with pytest.raises((TypeError, OverflowError)):
        identity(Interface(np.arange(3.0), **changes))
    assert bb.stats()["pinned_buffers"] <= before


@pytest.mark.parametrize("shape", [(-1,), (2**40, 2**40)])
def test_an_impossible_array_interface(shape):
    with pytest.raises(BufferError, match="not valid"):
        identity(Interface(np.arange(3.0), shape=shape))


# -------------------------------------------------------------- refusals and lifetimes


def test_a_released_memoryview():
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError, match="released"):
        identity(view)
    with pytest.raises(ValueError, match="released"):
        bb.wrap(view)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__ came with Python 3.12")
def test_an_exporter_in_python():
    class Exporter:
        def __init__(self, memory):
            self.memory = memory
            self.released = 0

        def __buffer__(self, flags):
            if isinstance(self.memory, Exception):
                raise self.memory
            return memoryview(self.memory)

        def __release_buffer__(self, view):
            self.released += 1

    o = Exporter(bytearray(b"abc"))
    set_last(o, 100)
    assert o.memory == b"abd"
    pinned()
    assert o.released == 1
    mine = LookupError("mine")
    for use in (identity, bb.wrap):
        with pytest.raises(LookupError) as raised:
            use(Exporter(mine))
        assert raised.value is mine


def test_an_exporter_that_refuses():
    nd = tb.ndarray([1, 2], shape=[2], format="i", flags=tb.ND_GETBUF_FAIL)
    for use in (identity, bb.wrap):
        with pytest.raises(BufferError):
            use(nd)


UNSUPPORTED = {
    "a colon in a name": np.dtype([("a:b", "i4")]),
}


@pytest.mark.parametrize("use", [identity, bb.wrap], ids=["argument", "wrap"])
@pytest.mark.parametrize("dtype", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_elements_that_julia_has_not(dtype, use):
    before = bb.stats()["pinned_buffers"]
    memory = bytearray(4 * dtype.itemsize)
    with pytest.raises(TypeError, match="can't be shared") as error:
        use(np.frombuffer(memory, dtype))
    del error
    assert bb.stats()["pinned_buffers"] <= before  # at once, without a collection
    if use is bb.wrap:
        pinned()  # it holds the ndarray until Julia collects
    memory.append(0)  # nobody holds the memory any more


@pytest.mark.parametrize(
    "o", [5, 1.5, "text", None, [1, 2], {}, object(), np], ids=lambda o: repr(o)[:9]
)
def test_wrap_takes_memory_only(o):
    with pytest.raises(TypeError, match="memory"):
        bb.wrap(o)


def test_what_a_failed_call_was_given_is_released():
    before = pinned()
    memory = bytearray(8)
    with pytest.raises(TypeError):
        bb.Base.sin(memory)
    with pytest.raises(bb.JuliaError):
        bb.Base.getindex(memory, 99)
    with pytest.raises(TypeError):
        bb.Base.sum(memory, np.zeros(2, [("a:b", "i8")]))
    gc.collect()
    assert pinned() == before
    memory.append(0)


def test_buffers_live_as_long_as_julia_sees_them():
    before = pinned()
    a = np.arange(100000.0)
    bb.Main.kept = a
    bb.eval("kept_view = view(reshape(kept, 100, 1000), :, 2)")
    bb.eval("kept = nothing")
    del a
    pinned()
    assert bb.eval("sum(kept_view)") == sum(range(100, 200))
    assert pinned() == before + 1
    bb.eval("kept_view = nothing")
    assert pinned() == before


def test_pinned_bytes():
    before = bb.stats()["pinned_bytes"]
    x = identity(np.zeros(1000))
    assert bb.stats()["pinned_bytes"] == before + 8000
    y = bb.wrap(np.broadcast_to(1.0, (10,)))
    assert bb.stats()["pinned_buffers"] >= 2
    del x, y


# ---------------------------------------------------------------------------- wrap


@pytest.mark.parametrize(
    ("a", "kind"),
    [
        (np.arange(3.0), "PyArray{Float64,1}"),
        (np.asfortranarray(MATRIX), "PyArray{Float64,2}"),
        (MATRIX, "PyStridedArray{Float64,2}"),
        (np.arange(4.0)[::2], "PyStridedArray{Float64,1}"),
        (np.array(1.5), "PyArray{Float64,0}"),
        (np.zeros((0, 3)), "PyArray{Float64,2}"),
        (b"abc", "PyArray{UInt8,1}"),
        (bytearray(b"abc"), "PyArray{UInt8,1}"),
        (array.array("i", [1]), "PyArray{Int32,1}"),
        (indirect([1, 2], [2]), "PyIndirectArray{Float64,1}"),
        (Interface(np.arange(3.0)), "PyArray{Float64,1}"),
        (bb.eval("[1, 2]"), "PyArray{Int64,1}"),
        (bb.eval("view([1, 2, 3], 1:2:3)"), "PyStridedArray{Int64,1}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrap(a, kind):
    x = bb.wrap(a)
    assert isinstance(x, bb.JuliaArray)
    assert type_of(x) == kind
    assert is_dense(x) == kind.startswith("PyArray{")
    assert type_of(bb.eval("o -> o isa BufferBridge.PyObject ? BufferBridge.PyArray(o) : o")(a))


def test_wrap_keeps_the_memory():
    before = pinned()
    x = bb.wrap(bytearray(b"abc" * 10000))
    assert pinned() == before + 1
    assert bytes(x) == b"abc" * 10000
    del x
    assert pinned() == before


def test_a_wrapped_vector_is_no_vector_of_julia():
    with pytest.raises(TypeError, match="wrapped as a PyArray"):
        bb.eval("only_vectors(x::Vector{Float64}) = sum(x)")(bb.wrap(np.arange(3.0)))


def test_is_read_only_in_julia():
    is_read_only = bb.eval("BufferBridge.isreadonly")
    assert is_read_only(b"abc") is True
    assert is_read_only(read_only(MATRIX)) is True
    assert is_read_only(np.arange(4.0)[::2]) is False
    assert is_read_only(bb.wrap(np.arange(4.0))) is False


# -------------------------------------------- PyArray and kin as AbstractArrays of Julia

REVERSED = MATRIX.copy()[::-1, ::-1]
KIN = {
    "PyArray": lambda: bb.wrap(np.asfortranarray(np.arange(6.0).reshape(2, 3))),
    "PyStridedArray": lambda: bb.wrap(np.arange(24.0).reshape(4, 6)[::-2, ::2]),
    "PyStridedArray of bytes": lambda: bb.wrap(unaligned(np.arange(6.0).reshape(2, 3))),
    "PyStridedArray, swapped": lambda: bb.wrap(np.arange(6).astype(">f8").reshape(2, 3)),
    "PyIndirectArray": lambda: bb.wrap(indirect([float(i) for i in range(6)], [2, 3])),
}


@pytest.fixture(params=KIN.values(), ids=KIN.keys())
def kin(request):
    """One of ours, and a NumPy array of its elements."""
    x = request.param()
    return x, np.array([[x[i, j] for j in range(3)] for i in range(2)])


@functools.cache
def julia(code):
    return bb.eval(f"x -> {code}")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("size(x)", lambda a: a.shape),
        ("size(x, 2)", lambda a: 3),
        ("length(x)", lambda a: 6),
        ("ndims(x)", lambda a: 2),
        ("string(eltype(x))", lambda a: "Float64"),
        ("axes(x) == (1:2, 1:3)", lambda a: True),
        (
            "(first(x), last(x), x[2, 3], x[5], x[end, 1])",
            lambda a: (a[0, 0], a[1, 2], a[1, 2], a[0, 2], a[1, 0]),
        ),
        ("x[CartesianIndex(2, 1)]", lambda a: a[1, 0]),
        ("sum(x)", lambda a: a.sum()),
        ("sum(x; dims = 1)", lambda a: a.sum(0, keepdims=True)),
        ("maximum(x)", lambda a: a.max()),
        ("extrema(x)", lambda a: (a.min(), a.max())),
        ("map(v -> 2v + 1, x)", lambda a: 2 * a + 1),
        ("x .+ 1", lambda a: a + 1),
        ("x .+ [10, 20]", lambda a: a + np.array([[10], [20]])),
        ("sqrt.(x) .* x", lambda a: np.sqrt(a) * a),
        ("x + x", lambda a: a + a),
        ("x .== x", lambda a: np.ones((2, 3), bool)),
        ("x == collect(x) && collect(x) == x", lambda a: True),
        ("collect(x)", lambda a: a),
        ("copy(x)", lambda a: a),
        ("copyto!(similar(x), x)", lambda a: a),
        ("copyto!(zeros(6), x)", lambda a: a.ravel("F")),
        ("typeof(similar(x)) == Matrix{Float64}", lambda a: True),
        ("typeof(similar(x, Int, 3)) == Vector{Int}", lambda a: True),
        ("x[:, 2]", lambda a: a[:, 1]),
        ("x[2, 3:-1:1]", lambda a: a[1, ::-1]),
        ("x[[2, 1], [true, false, true]]", lambda a: a[::-1, ::2]),
        ("x[x .> 2]", lambda a: a.ravel("F")[a.ravel("F") > 2]),
        ("x[:]", lambda a: a.ravel("F")),
        ("vec(x)", lambda a: a.ravel("F")),
        ("view(x, :, 2:3)", lambda a: a[:, 1:]),
        ("view(x, 5:-2:1)", lambda a: a.ravel("F")[4::-2]),
        ("reshape(x, 3, 2)", lambda a: a.reshape(3, 2, order="F")),
        ("permutedims(x)", lambda a: a.T),
        ("PermutedDimsArray(x, (2, 1))", lambda a: a.T),
        ("transpose(x)", lambda a: a.T),
        ("x'", lambda a: a.T),
        ("x' * x", lambda a: a.T @ a),
        ("x * x'", lambda a: a @ a.T),
        ("x * [1.0, 2.0, 3.0]", lambda a: a @ [1, 2, 3]),
        ("[1.0 2.0] * x", lambda a: np.array([[1, 2]]) @ a),
        ("LinearAlgebra.dot(x, x)", lambda a: (a * a).sum()),
        ("LinearAlgebra.norm(x)", lambda a: np.linalg.norm(a)),
        ("sort(vec(x))", lambda a: np.sort(a.ravel())),
        ("sort(x; dims = 2)", lambda a: np.sort(a, 1)),
        ("reverse(x; dims = 1)", lambda a: a[::-1]),
        ("vcat(x, x)", lambda a: np.vstack([a, a])),
        ("[x x]", lambda a: np.hstack([a, a])),
        ("cumsum(x; dims = 2)", lambda a: a.cumsum(1)),
        ("reinterpret(Int64, x)", lambda a: a.view("i8")),
        ("[v for v in x]", lambda a: a),
        ("[x[i] for i in eachindex(x)][1:6]", lambda a: a.ravel("F")),
        ("[x[i] for i in CartesianIndices(x)]", lambda a: a),
        ("[x[i] for i in LinearIndices(x)]", lambda a: a),
        ("[i * v for (i, v) in pairs(IndexLinear(), x)]", lambda a: a * [[1, 3, 5], [2, 4, 6]]),
        ("foldl(-, x)", lambda a: a[0, 0] - a.ravel()[1:].sum()),
        ("mapslices(sum, x; dims = 2)", lambda a: a.sum(1, keepdims=True)),
        ("in(3.5, x)", lambda a: False),
        ("findfirst(isequal(x[1, 2]), x) == CartesianIndex(1, 2)", lambda a: True),
        ("let y = deepcopy(x); x[1] += 1; y[1] + 1 == x[1]; end", lambda a: True),
        (
            "(io = IOBuffer(); write(io, x); reinterpret(Float64, take!(io)))",
            lambda a: a.ravel("F"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_julia_computes_with_it(kin, code, expected):
    x, a = kin
    got = julia(code)(x)
    if isinstance(got, bb.JuliaArray):
        assert np.allclose(np.asarray(got), expected(a))
    else:
        assert got == (pytest.approx(expected(a)) if isinstance(got, float) else expected(a))


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("x .= 5", lambda a: np.full_like(a, 5)),
        ("x .= [1, 2]", lambda a: a * 0 + [[1], [2]]),
        ("x .+= 1", lambda a: a + 1),
        ("x .= sqrt.(x) .+ x'[1]", lambda a: np.sqrt(a) + a[0, 0]),
        ("x .= reverse(x; dims = 2)", lambda a: a[:, ::-1]),
        ("x[:, 2:3] = x[:, 1:2]", lambda a: a[:, [0, 0, 1]]),
        ("view(x, :, 2:3) .= view(x, :, 1:2)", lambda a: a[:, [0, 0, 1]]),
        ("x[2, :] = [7, 8, 9]", lambda a: np.vstack([a[0], [7, 8, 9]])),
        ("fill!(view(x, 1, :), 0)", lambda a: a * [[0], [1]]),
        ("copyto!(x, 1:6)", lambda a: np.arange(1.0, 7).reshape(2, 3, order="F")),
        ("copyto!(x, [1.0 2 3; 4 5 6])", lambda a: np.arange(1.0, 7).reshape(2, 3)),
        ("map!(v -> v^2, x, x)", lambda a: a**2),
        ("reshape(x, 6)[end] = 100", lambda a: np.vstack([a[0], [*a[1, :2], 100]])),
        ("reinterpret(Int64, x)[1] = 0", lambda a: np.vstack([[0, *a[0, 1:]], a[1]])),
        ("x'[3, 2] = 100", lambda a: np.vstack([a[0], [*a[1, :2], 100]])),
        ("LinearAlgebra.mul!(x, [0.0 1; 1 0], copy(x))", lambda a: a[::-1]),
        ("x .+= view(x, 1:1, :)", lambda a: a + a[:1]),
        ("copyto!(x, 2, [7.0, 8.0], 1, 1)", lambda a: np.vstack([a[0], [7, *a[1, 1:]]])),
        ("permutedims!(x, ones(3, 2), (2, 1))", lambda a: np.ones((2, 3))),
        ("LinearAlgebra.rmul!(x, 3)", lambda a: 3 * a),
        ("x[1, 1] = 1 // 2", lambda a: np.vstack([[0.5, *a[0, 1:]], a[1]])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_julia_changes_it_in_place(kin, code, change):
    x, a = kin
    julia(f"({code}; nothing)")(x)
    assert np.allclose([[x[i, j] for j in range(3)] for i in range(2)], change(a))


@pytest.mark.parametrize("index", ["0", "7", "3, 1", "1, 4", "0, 1", "1, 0", "1:4, 1", "2, 2, 2"])
def test_bounds(kin, index):
    x, a = kin
    with pytest.raises(IndexError):
        julia(f"x[{index}]")(x)
    with pytest.raises(IndexError):
        julia(f"(x[{index}] = {'zeros(4)' if ':' in index else 0})")(x)
    assert np.array_equal(np.asarray(elements(x)), a)


def test_assignment_of_wrong_kinds(kin):
    x, a = kin
    for value, error in (("1im", ValueError), ('"a"', TypeError), ("nothing", TypeError)):
        with pytest.raises(error):
            julia(f"(x[1] = {value})")(x)
    with pytest.raises(ValueError):
        julia("(x[:, 1] = [1, 2, 3])")(x)
    assert np.array_equal(np.asarray(elements(x)), a)


def test_display(kin):
    x, a = kin
    shown = julia('sprint(show, MIME("text/plain"), x)')(x)
    first, *rows = shown.splitlines()
    assert first.startswith("2×3 Py")
    assert "Float64" in first
    assert [[float(v) for v in row.split()] for row in rows] == a.tolist()
    assert julia("string(x)")(x) == julia("string(collect(x))")(x)
    assert repr(x).startswith("2×3 Py")


def test_display_of_what_is_read_only():
    shown = repr(bb.wrap(b"ab"))
    assert "read-only" in shown
    assert "PyArray{UInt8,1}" in shown


@pytest.mark.parametrize(
    "a",
    [
        np.asfortranarray(C3),
        C3,
        C3[::-1, :, ::2],
        np.broadcast_to(np.arange(3.0), (2, 3)),
        read_only(np.arange(5.0)),
        np.arange(10, dtype="i2")[::-3],
    ],
    ids=["PyArray", "C", "strided", "repeated", "read-only", "reversed"],
)
def test_strides_and_pointers(a):
    x = bb.wrap(a)
    strides = tuple(s // a.itemsize for s in a.strides)
    assert bb.Base.strides(x) == strides
    assert tuple(bb.Base.stride(x, d + 1) for d in range(a.ndim)) == strides
    assert address(x) == start_of(a)
    load = bb.eval("(x, k) -> GC.@preserve x unsafe_load(pointer(x, k + 1))")
    assert load(x, 0) == a[(0,) * a.ndim]
    if a.flags.f_contiguous:
        assert load(x, a.size - 1) == a[(-1,) * a.ndim]


def test_strides_that_are_no_multiples():
    a = np.zeros(4, np.dtype({"names": ["x"], "formats": ["f8"], "itemsize": 11}))["x"]
    with pytest.raises(ValueError, match="multiples"):
        bb.Base.strides(bb.wrap(a))
    assert bb.Base.sum(bb.wrap(a)) == 0.0


def test_dense_arrays_keep_their_contract():
    x = bb.wrap(np.asfortranarray(MATRIX))
    assert is_dense(x)
    assert julia("x isa StridedArray && IndexStyle(x) === IndexLinear()")(x)
    assert julia("Base.elsize(typeof(x)) == 8")(x)
    for make in list(KIN.values())[1:]:
        assert not is_dense(make())


@pytest.mark.parametrize("kinds", ["FF", "CC", "FC", "SF", "RR", ">F"])
def test_matrix_products(kinds):
    rng = np.random.default_rng(0)

    def make(kind, shape):
        a = rng.random(shape)
        if kind == "F":
            return np.asfortranarray(a)
        if kind == "S":
            return np.repeat(a, 2, 1)[:, ::2]
        if kind == "R":
            return read_only(np.asfortranarray(a))
        return a.astype(">f8") if kind == ">" else a

    a, b = make(kinds[0], (20, 30)), make(kinds[1], (30, 10))
    multiply = getattr(bb.Base, "*")
    assert np.allclose(np.asarray(multiply(a, b)), a @ b)
    assert np.allclose(np.asarray(multiply(a, b[:, 0])), a @ b[:, 0])
    out = np.empty((20, 10))
    bb.eval("LinearAlgebra.mul!")(out, a, b)
    assert np.allclose(out, a @ b)


@pytest.mark.parametrize("a", [np.arange(5.0), np.arange(9.0)[::-2], np.arange(5).astype(">i4")])
def test_sorting_in_place(a):
    a = np.array(a[::-1])[:] if a.flags.c_contiguous else a
    expected = np.sort(a)[::-1]
    bb.eval("x -> sort!(x; rev = true)")(a)
    assert a.tolist() == expected.tolist()


def test_empty_arrays():
    for a in (
        np.zeros((0, 3)),
        np.zeros((3, 0)).T,
        np.zeros((2, 0))[::-1],
        np.zeros(0, ">f8"),
        b"",
    ):
        for x in (identity(a), bb.wrap(a)):
            assert bb.Base.sum(x) == 0
            assert bb.Base.isempty(x) is True
            assert np.asarray(bb.Base.copy(x)).shape == np.asarray(a).shape or a == b""
            with pytest.raises(IndexError):
                julia("x[1]")(x)


def test_empty_arrays_at_odd_addresses():
    """That of an empty array.array is one; it is a Vector as others are."""
    bytes_ = np.zeros(64, "u1")
    for empty in (array.array("d"), bytes_[1:1].view("f8"), bytes_[3:3].view("f8").reshape(0, 3)):
        assert julia("x isa Array{Float64}")(empty) is True
        assert np.asarray(identity(empty)).shape == np.asarray(empty).shape
        assert bb.Base.sum(bb.wrap(empty)) == 0


def test_numbers_of_unaligned_memory_are_whole():
    for dtype in ("i2", "f4", "f8", "c16"):
        a = unaligned(np.arange(1, 8).astype(dtype))
        assert bb.Base.sum(a) == 28
        julia("(x .*= 2; nothing)")(a)
        assert a.sum() == 56
