"""JuliaArray as an exporter: the buffer protocol's requests, element types and layouts.

What is expected comes from CPython's manual ("Buffer request types"), CPython's own exporter for
tests (_testbuffer.ndarray), memoryview and NumPy.
"""

from __future__ import annotations

import gc
import itertools
from functools import reduce
from operator import or_

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb
from bufferbridge._core import _request

tb = pytest.importorskip("_testbuffer")

NUMPY_2 = int(np.__version__.split(".")[0]) >= 2

set_last = bb.eval("(x, v) -> (x[end] = v; nothing)")
get_last = bb.eval("x -> x[end]")
elements = bb.eval("x -> [x[i] for i in CartesianIndices(x)]")
fill_with = bb.eval("(x, v) -> fill!(x, v)")

BITS = [
    tb.PyBUF_WRITABLE,
    tb.PyBUF_FORMAT,
    tb.PyBUF_ND,
    tb.PyBUF_STRIDES,
    tb.PyBUF_C_CONTIGUOUS,
    tb.PyBUF_F_CONTIGUOUS,
    tb.PyBUF_ANY_CONTIGUOUS,
    tb.PyBUF_INDIRECT,
]
COMPOUND = [
    tb.PyBUF_SIMPLE,
    tb.PyBUF_CONTIG,
    tb.PyBUF_CONTIG_RO,
    tb.PyBUF_STRIDED,
    tb.PyBUF_STRIDED_RO,
    tb.PyBUF_RECORDS,
    tb.PyBUF_RECORDS_RO,
    tb.PyBUF_FULL,
    tb.PyBUF_FULL_RO,
]
REQUESTS = sorted(
    {reduce(or_, some, 0) for n in range(len(BITS) + 1) for some in itertools.combinations(BITS, n)}
)


def julia(code):
    return lambda: bb.eval(code)


def lent(array):
    """A JuliaArray around read-only memory of Python."""
    array = array.view()
    array.flags.writeable = False
    return bb.wrap(array)


MATRIX = "reshape(collect(1.0:6.0), 2, 3)"
CUBE = "reshape(collect(1.0:24.0), 2, 3, 4)"
LAYOUTS = {
    "vector": julia("collect(1.0:5.0)"),
    "one item": julia("[1.0]"),
    "matrix": julia(MATRIX),
    "row": julia("reshape(collect(1.0:3.0), 1, 3)"),
    "column": julia("reshape(collect(1.0:3.0), 3, 1)"),
    "cube": julia(CUBE),
    "5-d": julia("reshape(collect(1.0:24.0), 1, 2, 3, 1, 4)"),
    "0-d": julia("fill(1.5)"),
    "0-d view": julia("view([1.0, 2.0], 2)"),
    "ones": julia("ones(1, 1, 1)"),
    "empty vector": julia("Float64[]"),
    "empty (0, 3)": julia("zeros(0, 3)"),
    "empty (3, 0)": julia("zeros(3, 0)"),
    "empty (2, 0, 3)": julia("zeros(2, 0, 3)"),
    "empty view": julia(f"view({MATRIX}, 2:1, 1:2:3)"),
    "transpose": julia(f"transpose({MATRIX})"),
    "transposed vector": julia("transpose([1.0, 2.0])"),
    "row-major": julia(f"PermutedDimsArray({CUBE}, (3, 2, 1))"),
    "permuted": julia(f"PermutedDimsArray({CUBE}, (2, 3, 1))"),
    "columns": julia(f"view({MATRIX}, :, 2:3)"),
    "rows": julia(f"view({CUBE}, 1:1, 1:2, :)"),
    "every other": julia("view(collect(1.0:9.0), 1:2:9)"),
    "reversed": julia("view(collect(1.0:5.0), 5:-1:1)"),
    "both reversed": julia(f"view({MATRIX}, 2:-1:1, 3:-1:1)"),
    "reversed single": julia(f"view({MATRIX}, 2:-1:2, 3:-1:1)"),
    "read-only vector": lambda: lent(np.arange(5.0)),
    "read-only matrix": lambda: lent(np.asfortranarray(np.arange(6.0).reshape(2, 3))),
    "read-only row-major": lambda: lent(np.arange(6.0).reshape(2, 3)),
    "read-only strided": lambda: lent(np.arange(24.0).reshape(4, 6)[::-2, ::3]),
    "read-only 0-d": lambda: lent(np.array(1.5)),
    "read-only repeated": lambda: bb.wrap(np.broadcast_to(np.arange(3.0), (2, 3))),
    "code units": julia('codeunits("hello")'),
    "view of code units": julia('view(codeunits("hello"), 5:-2:1)'),
}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS.keys())
def x(request):
    return request.param()


def manual(x, flags):
    """The fields of the Py_buffer as the manual has them; None if the request can't be met."""
    view = memoryview(x)  # CPython's own judgement of contiguity

    def asked(flag):
        return flags & flag == flag

    refused = (
        (asked(tb.PyBUF_WRITABLE) and x.readonly)
        or (asked(tb.PyBUF_C_CONTIGUOUS) and not view.c_contiguous)
        or (asked(tb.PyBUF_F_CONTIGUOUS) and not view.f_contiguous)
        or (asked(tb.PyBUF_ANY_CONTIGUOUS) and not view.contiguous)
        or (not asked(tb.PyBUF_STRIDES) and not view.c_contiguous)
        # PyBUF_SIMPLE implies unsigned bytes, so that a format contradicts it.
        or (asked(tb.PyBUF_FORMAT) and not asked(tb.PyBUF_ND))
    )
    if refused:
        return None
    shaped = x.ndim > 0 and asked(tb.PyBUF_ND)
    return {
        "len": x.size * x.itemsize,
        "itemsize": x.itemsize,
        "readonly": int(x.readonly),
        # Without a shape the memory is a line of bytes, as memoryview and _testbuffer have it.
        "ndim": x.ndim if asked(tb.PyBUF_ND) else 1,
        "format": x.format if asked(tb.PyBUF_FORMAT) else None,
        "shape": x.shape if shaped else None,
        "strides": x.strides if shaped and asked(tb.PyBUF_STRIDES) else None,
        "suboffsets": None,
    }


def twin(x):
    """CPython's reference exporter with the layout of x."""
    reach = [(n - 1) * s for n, s in zip(x.shape, x.strides)] if x.size else []
    low, high = (sum(f(0, r) for r in reach) for f in (min, max))
    room = (high - low) // x.itemsize + 1
    return tb.ndarray(
        [0] * max(room, 1),
        shape=list(x.shape),
        # _testbuffer checks that the strides of an empty array stay inside it, too.
        strides=list(x.strides) if x.size else [0] * x.ndim,
        offset=-low,
        format=x.format,
        flags=0 if x.readonly else tb.ND_WRITABLE,
    )


def answer(obj, flags):
    try:
        fields = _request(obj, flags)
    except BufferError:
        return None
    fields.pop("buf")
    return fields


def test_the_compound_requests_are_among_the_requests():
    assert set(COMPOUND) <= set(REQUESTS)


def test_every_request_is_answered_as_the_manual_says(x):
    for flags in REQUESTS:
        assert answer(x, flags) == manual(x, flags), hex(flags)


def test_every_request_is_answered_as_by_the_reference_exporter(x):
    reference = twin(x)
    for flags in REQUESTS:
        mine, other = answer(x, flags), answer(reference, flags)
        if x.size == 0 and mine and other and mine["strides"]:
            mine["strides"] = other["strides"]  # those of an empty array mean nothing
        assert mine == other, hex(flags)


def test_every_answer_has_the_same_address(x):
    addresses = {_request(x, f)["buf"] for f in REQUESTS if manual(x, f)}
    assert addresses == {np.asarray(x).__array_interface__["data"][0]} or x.size == 0


def test_a_refusal_says_why():
    with pytest.raises(BufferError, match="read-only"):
        _request(bb.eval('codeunits("abc")'), tb.PyBUF_WRITABLE)
    matrix = bb.eval(MATRIX)
    with pytest.raises(BufferError, match="C-contiguous"):
        _request(matrix, tb.PyBUF_C_CONTIGUOUS)
    with pytest.raises(BufferError, match="Fortran-contiguous"):
        _request(bb.eval(f"transpose({MATRIX})"), tb.PyBUF_F_CONTIGUOUS)
    with pytest.raises(BufferError, match="strides"):
        _request(matrix, tb.PyBUF_ND)


def test_the_reference_consumer_reads_every_request(x):
    for flags in REQUESTS:
        if manual(x, flags) is None:
            with pytest.raises(BufferError):
                tb.ndarray(x, getbuf=flags)
            continue
        nd = tb.ndarray(x, getbuf=flags)
        assert nd.nbytes == x.nbytes
        if flags & tb.PyBUF_FORMAT:
            assert nd.tolist() == memoryview(x).tolist()


@pytest.mark.parametrize("order", ["C", "F", "A"])
def test_contiguous_copies_by_cpython(x, order):
    expected = np.asarray(x).tobytes(order)
    assert memoryview(x).tobytes(order) == expected
    assert tb.py_buffer_to_contiguous(x, order, tb.PyBUF_FULL_RO) == expected
    contiguous = tb.get_contiguous(x, tb.PyBUF_READ, order)
    assert contiguous.tolist() == memoryview(x).tolist()


def test_attributes_are_those_of_memoryview_and_numpy(x):
    view, array = memoryview(x), np.asarray(x)
    assert (x.shape, x.ndim, x.itemsize, x.nbytes) == (
        (view.shape, view.ndim, view.itemsize, view.nbytes)
    )
    assert x.format == view.format
    assert x.readonly == view.readonly == (not array.flags.writeable)
    assert x.size == array.size
    assert x.strides == view.strides
    if x.size:
        assert x.strides == array.strides


def test_numpy_and_memoryview_see_the_elements_of_julia(x):
    expected = np.asarray(elements(x))
    assert np.array_equal(np.asarray(x), expected)
    assert memoryview(x).tolist() == expected.tolist()


def test_exports_are_counted():
    x = bb.eval(MATRIX)
    before = bb.stats()["exports"]
    view, array = memoryview(x), np.asarray(x)
    assert bb.stats()["exports"] > before
    view.release()
    del array
    gc.collect()
    assert bb.stats()["exports"] == before


def test_an_export_keeps_the_julia_array_alive():
    array = np.asarray(bb.eval("collect(1.0:100000.0)"))
    view = memoryview(bb.eval("view(collect(1:100000), 2:2:100000)"))
    for _ in range(3):
        gc.collect()
        bb.Base.GC.gc()
        bb.eval("[zeros(100000) for _ in 1:20]")
    assert np.array_equal(array, np.arange(1.0, 100001.0))
    assert view[0] == 2
    assert view[-1] == 100000


# ---------------------------------------------------------------- element types

ELEMENTS = {
    "Bool": ("[true, false]", "?", np.bool_),
    "Int8": ("Int8[-128, 127]", "b", np.int8),
    "UInt8": ("UInt8[0, 255]", "B", np.uint8),
    "Int16": ("Int16[typemin(Int16), typemax(Int16)]", "h", np.int16),
    "UInt16": ("UInt16[0, typemax(UInt16)]", "H", np.uint16),
    "Int32": ("Int32[typemin(Int32), typemax(Int32)]", "i", np.int32),
    "UInt32": ("UInt32[0, typemax(UInt32)]", "I", np.uint32),
    "Int64": ("Int64[typemin(Int64), typemax(Int64)]", "l", np.int64),
    "UInt64": ("UInt64[0, typemax(UInt64)]", "L", np.uint64),
    "Float16": ("Float16[1.5, -65504]", "e", np.float16),
    "Float32": ("Float32[0.1, -Inf]", "f", np.float32),
    "Float64": ("[0.1, 5e-324]", "d", np.float64),
    "ComplexF32": ("ComplexF32[1 + 2im, 0.1im]", "Zf", np.complex64),
    "ComplexF64": ("[1.0 + 2.0im, 0.1im]", "Zd", np.complex128),
}


@pytest.fixture(params=ELEMENTS.values(), ids=ELEMENTS.keys())
def element(request):
    return request.param


def test_format_and_itemsize(element):
    code, format_, kind = element
    view = memoryview(bb.eval(code))
    if np.dtype("l").itemsize == 8:  # LP64
        assert view.format == format_
    assert view.itemsize == np.dtype(kind).itemsize


def test_dtype_is_numpys_own(element):
    code, _, kind = element
    dtype = np.asarray(bb.eval(code)).dtype
    assert dtype == np.dtype(kind)
    assert dtype.num == np.dtype(kind).num
    assert dtype.isbuiltin == 1
    assert dtype.isnative


def test_the_format_is_the_one_numpy_exports(element):
    code, _, kind = element
    assert memoryview(bb.eval(code)).format == memoryview(np.zeros(2, kind)).format


def test_element_values(element):
    code, format_, _ = element
    x = bb.eval(code)
    expected = [bb.eval(f"({code})[{i}]") for i in (1, 2)]
    assert np.asarray(x).tolist() == expected
    if len(format_) == 1 and format_ != "e":  # the others memoryview can't unpack everywhere
        assert memoryview(x).tolist() == expected


def test_elements_of_views(element):
    code, _, kind = element
    array = np.asarray(bb.eval(f"view(vcat({code}, {code}), 3:-2:1)"))
    assert array.dtype == np.dtype(kind)
    assert array.tolist() == [bb.eval(f"({code})[1]")] * 2


# ---------------------------------------------------------------------- wrappers

TUPLES = "[(1.0, 2.0), (3.0, 4.0), (5.0, 6.0)]"
FOURS = "reshape(collect(Int32, 1:24), 4, 6)"
WRAPPERS = [
    f"view({MATRIX}, :, :)",
    f"view({MATRIX}, 2, :)",
    f"view({MATRIX}, :, 3)",
    f"view({MATRIX}, 2, 3)",
    f"view({MATRIX}, 2:5)",
    f"view({MATRIX}, 6:-2:1)",
    f"view({MATRIX}, :)",
    f"view({CUBE}, 2, 3:-1:1, 1:3:4)",
    f"view({CUBE}, :, 1:1, 2:3)",
    f"view(view({CUBE}, :, 2:3, :), 2, :, 4:-3:1)",
    "view(collect(1.0:5.0), Base.OneTo(3))",
    "view(collect(1.0:5.0), UInt8(2):UInt8(4))",
    "view(collect(1.0:5.0), 2:4, 1)",
    f"reshape(view({CUBE}, :, :, 2:3), 3, 4)",
    f"reshape(view({CUBE}, :, :, 2:3), 12)",
    f"reshape(view({CUBE}, 1, :, :), 3, 2, 2)",
    "reshape(view(collect(1.0:12.0), 12:-1:1), 3, 4)",
    "reshape(view(collect(1.0:12.0), 1:2:12), 1, 3, 1, 2)",
    "reshape(view(collect(1.0:12.0), 3:3))",
    f"vec(transpose(view({MATRIX}, :, 1)))",
    f"PermutedDimsArray({CUBE}, (2, 3, 1))",
    f"PermutedDimsArray(view({CUBE}, :, 2:3, :), (3, 1, 2))",
    f"PermutedDimsArray(PermutedDimsArray({CUBE}, (2, 3, 1)), (2, 1, 3))",
    f"view(PermutedDimsArray({CUBE}, (2, 3, 1)), 3:-1:2, :, 1)",
    f"transpose({MATRIX})",
    f"adjoint({MATRIX})",
    f"transpose(view({MATRIX}, :, 1:2:3))",
    "transpose([1.0, 2.0, 3.0])",
    "adjoint([1, 2, 3])",
    "transpose(transpose([1.0 + 2.0im, 3.0]))",
    "transpose([1.0 + 2.0im 3.0])",
    f"view(transpose({MATRIX}), 3:-1:1, 2:2)",
    f"reinterpret(Int64, {MATRIX})",
    f"reinterpret(Int16, {FOURS})",
    f"reinterpret(Float64, {FOURS})",
    f"reinterpret(ComplexF32, {FOURS})",
    f"reinterpret(Int16, view({FOURS}, :, 2:2:6))",
    f"reinterpret(Int64, view({FOURS}, 1:4, 2))",
    f"reinterpret(Float32, view({FOURS}, 1:3:4, 6:-2:2))",
    f"reinterpret(Float32, transpose({FOURS}))",
    f"reinterpret(Int8, view({FOURS}, 2:2, :))",
    f"reinterpret(Float64, {TUPLES})",
    f"reinterpret(Float64, view({TUPLES}, 2:3))",
    f"reinterpret(Float64, reshape({TUPLES}, 1, 3))",
    f"reinterpret(Int32, reinterpret(Int16, {FOURS}))",
    f"transpose(reinterpret(Int16, {FOURS}))",
    f"view(reinterpret(Int16, {FOURS}), 1:2:8, :)",
    f"reshape(reinterpret(Int16, {FOURS}), 4, 12)",
    f"PermutedDimsArray(reshape(view({FOURS}, :, 1:4), 2, 2, 4), (3, 1, 2))",
    "view(fill(2.5))",
    "reshape([2.5])",
]
WRAPPERS_1_6 = [
    f"reinterpret(reshape, Float64, {TUPLES})",
    f"reinterpret(reshape, Float64, view({TUPLES}, 3:-2:1))",
    f"reinterpret(reshape, ComplexF64, {MATRIX})",
    f"reinterpret(reshape, Int64, {MATRIX})",
    "reinterpret(reshape, Float64, [1.0 + 2.0im 3.0 + 4.0im])",
    "reinterpret(reshape, ComplexF64, view(reshape(collect(1.0:12.0), 2, 6), :, 1:2:6))",
]


@pytest.fixture(params=WRAPPERS + WRAPPERS_1_6)
def wrapped(request):
    if request.param in WRAPPERS_1_6 and bb.eval('VERSION < v"1.6"'):
        pytest.skip("reinterpret(reshape, ...) came with Julia 1.6")
    return bb.eval(request.param)


def test_wrappers_share_their_parents_memory(wrapped):
    array = np.asarray(wrapped)
    assert np.array_equal(array, np.asarray(elements(wrapped)))
    set_last(wrapped, 42)
    assert array[(-1,) * array.ndim] == 42
    array[(-1,) * array.ndim] = 43
    assert get_last(wrapped) == 43
    fill_with(wrapped, 7)
    assert (array == 7).all()


# ------------------------------------------------------------ chains of wrappers

SIZES = [(n,) for n in range(1, 5)] + [(2, 2), (4, 3), (2, 3, 2), (3, 4, 1)]
INTEGERS = {2: "Int16", 4: "Int32", 8: "Int64"}


class Chain:
    """An array in Julia code beside the NumPy array that should share memory in the same way.

    shares is False as soon as NumPy had to copy: then only the elements can be compared.
    """

    def __init__(self, size, shape):
        n = int(np.prod(shape))
        self.code = f"reshape(collect({INTEGERS[size]}, 1:{n}), {shape})"
        self.array = np.arange(1, n + 1, dtype=f"i{size}").reshape(shape, order="F")
        self.shares = True

    def become(self, code, array, shares):
        self.code = code
        self.array = array
        self.shares = self.shares and shares

    def index(self, draw):
        keys, parts = [], []
        for n in self.array.shape:
            kind = draw(st.sampled_from(["all", "one", "range", "range"])) if n else "all"
            if kind == "all":
                keys.append(slice(None))
                parts.append(":")
            elif kind == "one":
                i = draw(st.integers(0, n - 1))
                keys.append(i)
                parts.append(str(i + 1))
            else:
                start, stop = draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1))
                step = draw(st.sampled_from([1, 2, -1, -3]))
                last = stop + (1 if step > 0 else -1)
                keys.append(slice(start, None if last < 0 else last, step))
                parts.append(f"{start + 1}:{step}:{stop + 1}")
        self.become(f"view({', '.join([self.code, *parts])})", self.array[(..., *keys)], True)

    def linear(self, draw):
        line = self.array.reshape(-1, order="F")
        n = line.size
        start = draw(st.integers(0, n))
        self.become(
            f"view({self.code}, {start + 1}:{n})",
            line[start:],
            np.shares_memory(line, self.array),
        )

    def permute(self, draw):
        order = draw(st.permutations(range(self.array.ndim)))
        julian = "".join(f"{d + 1}," for d in order)
        self.become(
            f"PermutedDimsArray({self.code}, ({julian}))", self.array.transpose(order), True
        )

    def transpose(self, draw):
        how = draw(st.sampled_from(["transpose", "adjoint"]))
        array = self.array[np.newaxis] if self.array.ndim == 1 else self.array.T
        self.become(f"{how}({self.code})", array, True)

    def reshape(self, draw):
        n = self.array.size
        shapes = [(n,), (1, n), (n, 1)]
        shapes += [(a, n // a) for a in (2, 3) if n % a == 0]
        shapes += [(2, n // 4, 2)] if n % 4 == 0 else []
        shape = draw(st.sampled_from(shapes))
        array = self.array.reshape(shape, order="F")
        self.become(f"reshape({self.code}, {shape})", array, np.shares_memory(array, self.array))

    def reinterpret(self, draw):
        size = draw(st.sampled_from(list(INTEGERS)))
        old = self.array.dtype.itemsize
        if self.array.shape[0] * old % size:
            return
        try:
            array, shares = self.array.T.view(f"i{size}").T, True
        except ValueError:
            shape = (self.array.shape[0] * old // size, *self.array.shape[1:])
            array = np.frombuffer(self.array.tobytes("F"), f"i{size}").reshape(shape, order="F")
            shares = False
        self.become(f"reinterpret({INTEGERS[size]}, {self.code})", array, shares)

    def steps(self):
        ndim = self.array.ndim
        if ndim == 0:
            return [self.reshape]
        some = [self.index, self.index, self.permute, self.reshape, self.linear]
        # Julia unwraps the transpose of a transposed vector, which is a vector again.
        unwraps = self.array.shape[:1] == (1,) and (
            "transpose" in self.code or "adjoint" in self.code
        )
        if ndim <= 2 and not unwraps:
            some.append(self.transpose)
        if self.array.size:
            some.append(self.reinterpret)
        return some


@st.composite
def chains(draw):
    chain = Chain(draw(st.sampled_from(list(INTEGERS))), draw(st.sampled_from(SIZES)))
    for _ in range(draw(st.integers(1, 4))):
        draw(st.sampled_from(chain.steps()))(draw)
    return chain


@settings(max_examples=70, deadline=None)
@given(chains(), st.data())
def test_chains_of_wrappers_share_as_in_numpy(chain, data):
    x, expected = bb.eval(chain.code), chain.array
    array = np.asarray(x)
    assert array.dtype == expected.dtype
    assert array.shape == x.shape == expected.shape, chain.code
    assert np.array_equal(array, expected), chain.code
    if array.size == 0:
        return
    place = tuple(data.draw(st.integers(0, n - 1)) for n in array.shape)
    assert x[place] == expected[place]
    try:
        memoryview(x)
    except BufferError:
        assert not chain.shares, chain.code
        return
    array[place] = 99
    assert x[place] == 99
    assert bb.Base.getindex(x, *(i + 1 for i in place)) == 99
    x[place] = 98
    assert array[place] == 98
    if chain.shares:
        steps = [s for s, n in zip(x.strides, x.shape) if n > 1]
        assert steps == [s for s, n in zip(expected.strides, x.shape) if n > 1]
        expected[place] = 98
        assert np.array_equal(array, expected), chain.code


# ----------------------------------------------------------------- not shareable

UNSHARED = {
    '["a" "bc"; "d" ""]': ("strings", [["a", "bc"], ["d", ""]]),
    'Any[1, "x", nothing]': ("references", [1, "x", None]),
    "[big(1), big(2)^70]": ("references", [1, 2**70]),
    "[1, missing, 3]": ("missing", [1, None, 3]),
    "Union{Missing,Float64}[1.5]": ("missing", [1.5]),
    "[true, false, true] .== true": ("packs eight", [True, False, True]),
    "trues(2, 3)": ("packs eight", [[True] * 3] * 2),
    "1:3": ("range", [1, 2, 3]),
    "1.0:0.5:2.0": ("range", [1.0, 1.5, 2.0]),
    "LinRange(0, 1, 3)": ("range", [0.0, 0.5, 1.0]),
    "reshape(1:6, 2, 3)": ("range", [[1, 3, 5], [2, 4, 6]]),
    "[1.0 + 2.0im 3.0im]'": ("conjugate", [[1 - 2j], [-3j]]),
    "view([1.0, 2.0, 3.0], [3, 1])": ("one by one", [3.0, 1.0]),
    "view([1.0, 2.0, 3.0], [true, false, true])": ("one by one", [1.0, 3.0]),
    f"reshape(transpose({MATRIX}), 6)": ("gaps", [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]),
    f"reinterpret(Int64, view({FOURS}, 1:2:4, 1:1))": ("gaps", [[1 | 3 << 32]]),
}
UNSHARED_OF_LINEAR_ALGEBRA = {
    "Diagonal([1.0, 2.0])": [[1.0, 0.0], [0.0, 2.0]],
    "Symmetric([1.0 2.0; 9.0 3.0])": [[1.0, 2.0], [2.0, 3.0]],
    "UpperTriangular([1.0 2.0; 9.0 3.0])": [[1.0, 2.0], [0.0, 3.0]],
}
for _code, _values in UNSHARED_OF_LINEAR_ALGEBRA.items():
    UNSHARED[f"import LinearAlgebra; LinearAlgebra.{_code}"] = ("no strided memory", _values)


@pytest.fixture(params=UNSHARED.items(), ids=UNSHARED.keys())
def unshared(request):
    code, (reason, values) = request.param
    return bb.eval(code), reason, values


def test_what_cannot_be_shared_says_why(unshared):
    x, reason, _ = unshared
    for request in (memoryview, bytes, lambda x: x.strides, lambda x: x.format):
        with pytest.raises(BufferError, match=reason):
            request(x)
    for flags in REQUESTS:
        assert answer(x, flags) is None
    assert not hasattr(x, "__array_interface__")


def test_what_cannot_be_shared_is_copied_by_numpy(unshared):
    x, _, values = unshared
    array = np.asarray(x)
    assert array.tolist() == values
    assert (x.shape, x.ndim, x.size) == (array.shape, array.ndim, array.size)
    assert np.array(x).tolist() == values


def test_a_copy_of_what_cannot_be_shared_is_a_copy():
    x = bb.eval("trues(3)")
    array = np.asarray(x)
    array[0] = False
    assert x[0] is True


@pytest.mark.skipif(not NUMPY_2, reason="copy=False means 'never' from NumPy 2 on")
def test_copy_false_refuses_what_cannot_be_shared(unshared):
    x, reason, _ = unshared
    with pytest.raises(ValueError, match=reason):
        np.asarray(x, copy=False)


# -------------------------------------------------------------------------- NumPy


def test_asarray_shares_and_array_copies(x):
    shared = np.asarray(x)
    assert np.shares_memory(shared, np.asarray(x)) or x.size == 0
    assert not np.shares_memory(shared, np.array(x))
    assert np.array_equal(shared, np.array(x))
    assert np.array(x).flags.writeable


@pytest.mark.skipif(not NUMPY_2, reason="copy=None and np.asarray(copy=) came with NumPy 2")
def test_copy_argument(x):
    shared = np.asarray(x)
    for copy, sharing in ((None, True), (False, True), (True, False)):
        for array in (np.asarray(x, copy=copy), np.array(x, copy=copy), x.__array__(copy=copy)):
            assert np.shares_memory(array, shared) == (sharing and x.size > 0)
            assert np.array_equal(array, shared)


@pytest.mark.parametrize("dtype", ["f4", "i8", "c16", ">f8", "O"])
def test_conversion_of_dtypes(x, dtype):
    expected = np.asarray(memoryview(x)).astype(dtype)
    for array in (np.asarray(x, dtype), np.array(x, dtype=dtype), x.__array__(np.dtype(dtype))):
        assert array.dtype == np.dtype(dtype)
        assert np.array_equal(array, expected)
    assert np.shares_memory(x.__array__(np.asarray(x).dtype), np.asarray(x)) or x.size == 0


@pytest.mark.skipif(not NUMPY_2, reason="np.asarray(copy=) came with NumPy 2")
def test_a_conversion_without_copy_is_refused():
    x = bb.eval(MATRIX)
    with pytest.raises(ValueError):
        np.asarray(x, dtype="f4", copy=False)
    with pytest.raises(ValueError):
        x.__array__("f4", copy=False)


class OnlyInterface:
    def __init__(self, interface):
        self.__array_interface__ = interface


def test_array_interface_describes_the_same_memory(x):
    interface, array = x.__array_interface__, np.asarray(x)
    theirs = array.__array_interface__
    assert interface["version"] == 3
    assert interface["shape"] == theirs["shape"]
    assert interface["typestr"] == theirs["typestr"]
    assert interface["strides"] == x.strides
    if x.size:
        assert interface["data"] == theirs["data"]
    again = np.asarray(OnlyInterface(interface))
    assert np.array_equal(again, array)
    assert again.flags.writeable == array.flags.writeable
    assert np.shares_memory(again, array) or x.size == 0


def test_array_interface_typestr(element):
    code, _, kind = element
    assert bb.eval(code).__array_interface__["typestr"] == np.dtype(kind).str


@pytest.mark.parametrize("dtype", [">i2", ">u4", ">i8", ">f4", ">f8", ">c16"])
def test_swapped_bytes_stay_swapped(dtype):
    array = np.array([1, 2, 3]).astype(dtype)
    x = bb.wrap(array)
    back = np.asarray(x)
    assert back.dtype == np.dtype(dtype)
    assert np.shares_memory(back, array)
    assert back.tolist() == array.tolist() == [x[i] for i in range(3)]
    assert x.__array_interface__["typestr"] == dtype


def test_numpy_computes_on_julia_arrays(x):
    array = np.asarray(x)
    assert np.array_equal(np.add(x, 1), array + 1)
    assert np.sum(x) == array.sum()


def test_julia_arrays_as_output():
    x = bb.eval("zeros(2, 3)")
    np.add(np.ones((2, 3)), 1.0, out=np.asarray(x))
    assert bb.Base.sum(x) == 12.0
    memoryview(x)[1, 2] = 5.0
    assert bb.Base.getindex(x, 2, 3) == 5.0


def test_other_consumers_of_buffers():
    x = bb.eval("UInt8[104, 105]")
    assert bytes(x) == b"hi"
    assert b"-".join([x, x]) == b"hi-hi"
    assert bytearray(x) == bytearray(b"hi")
    target = bb.eval("zeros(UInt8, 4)")
    memoryview(target)[1:3] = x
    assert bytes(target) == b"\0hi\0"


def test_a_file_reads_into_julia_memory(tmp_path):
    path = tmp_path / "numbers"
    np.arange(6.0).tofile(path)
    x = bb.eval("zeros(3, 2)")
    with path.open("rb") as file:
        assert file.readinto(np.asarray(x).T) == 48
    assert np.asarray(x).tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
