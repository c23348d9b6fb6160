"""Records, strings, long doubles and Python's objects in place, both ways.

What is expected comes from NumPy on the same memory, and from Julia's own layout of its structs.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import re
import sys
import weakref

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bufferbridge as bb

from .conftest import collect_both

# Each new record type is compiled by Julia, so there are few examples, always the same ones.
FEW = settings(max_examples=25, deadline=None, derandomize=True)

identity = bb.Base.identity
column = bb.eval("BufferBridge.column")
recordarray = bb.eval("BufferBridge.recordarray")

# Numbers are compared by their bits, strings by their bytes, long doubles as exact fractions;
# Python's objects come back as they are. The walk is not specialized on records: Julia would have
# to compile it for each of them.
julia_leaves = bb.eval(r"""
    using BufferBridge
    using BufferBridge: FixedString, LongDouble, PyObject, PyRecord, RawBytes
    fraction(v) = isnan(v) ? "nan" : isinf(v) ? (v > 0 ? "inf" : "-inf") :
        (r = Rational{BigInt}(v); "$(numerator(r))/$(denominator(r))")
    bits(v) = (r = Ref(v); p = Ptr{UInt8}(pointer_from_objref(r));
               GC.@preserve r bytes2hex(UInt8[unsafe_load(p, i) for i in 1:sizeof(v)]))
    function leaves!(out, @nospecialize(v))
        if v isa LongDouble
            push!(out, fraction(v))
        elseif v isa Complex{LongDouble}
            push!(out, fraction(real(v)) * " " * fraction(imag(v)))
        elseif v isa FixedString
            push!(out, bytes2hex(codeunits(String(v))))
        elseif v isa RawBytes
            push!(out, bytes2hex(collect(UInt8, v.bytes)))
        elseif v isa PyObject
            push!(out, v)
        elseif v isa Union{ComplexF32,ComplexF64} || isprimitivetype(typeof(v))
            push!(out, bits(v))
        else
            v isa PyRecord && (v = NamedTuple(v))
            for i in 1:nfields(v)
                leaves!(out, getfield(v, i))
            end
        end
        return out
    end
    function julia_leaves(@nospecialize(x))
        out = Any[]
        for I in CartesianIndices(x)
            leaves!(out, x[I])
        end
        return out
    end""")
# Element by element, which needs less compilation than broadcasting.
julia_copy = bb.eval("(y, x) -> (for i in eachindex(y, x); y[i] = x[i]; end; nothing)")


def hexes(a):
    """The bits of numbers, in this machine's order."""
    a = np.ascontiguousarray(a)
    if not a.dtype.isnative:
        a = a.byteswap().view(a.dtype.newbyteorder("="))
    return [a[i : i + 1].tobytes().hex() for i in range(a.size)]


def fraction(v):
    if np.isnan(v):
        return "nan"
    if np.isinf(v):
        return "inf" if v > 0 else "-inf"
    return "{}/{}".format(*v.as_integer_ratio())


def leaves_of_one(item, dtype):
    """The leaves of one element, given as an array of one."""
    if dtype.subdtype is not None:
        base, _ = dtype.subdtype
        flat = item.reshape(-1)
        return [leaf for i in range(flat.size) for leaf in leaves_of_one(flat[i : i + 1], base)]
    if dtype.names is not None:
        return [
            leaf
            for name in dtype.names
            for leaf in leaves_of_one(item[name], dtype.fields[name][0])
        ]
    kind = dtype.kind
    if kind == "O":
        return [item[0]]
    if kind == "S":
        return [item.item().hex()]
    if kind == "U":
        return [item.item().encode().hex()]
    if kind == "V":
        return [item.tobytes().hex()]
    if dtype.char == "g":
        return [fraction(item[0])]
    if dtype.char == "G":
        return [fraction(item[0].real) + " " + fraction(item[0].imag)]
    return hexes(item)


def numpy_leaves(a):
    # In Julia's order of the elements.
    flat = a.reshape(-1, order="F")
    return [leaf for i in range(flat.size) for leaf in leaves_of_one(flat[i : i + 1], a.dtype)]


def same_leaves(x, y):
    return len(x) == len(y) and all(a is b if type(b) is Thing else a == b for a, b in zip(x, y))


def layout_of(dtype):
    """All that is to be the same, without titles, which no format can say."""
    if dtype.subdtype is not None:
        return (layout_of(dtype.subdtype[0]), dtype.subdtype[1])
    if dtype.names is not None:
        fields = [(n, layout_of(dtype.fields[n][0]), dtype.fields[n][1]) for n in dtype.names]
        return (fields, dtype.itemsize)
    return dtype.str


# ------------------------------------------------------------------- generated dtypes


class Thing:
    """An object like no other."""


THINGS = [Thing() for _ in range(5)]


def fill(a, rng):
    """Sets all elements to something valid, and the padding between them to anything."""
    dtype = a.dtype
    if dtype.names is not None:
        for name in dtype.names:
            fill(a[name], rng)
        return
    n = a.size
    if dtype.kind == "O":
        values = np.empty(n, object)
        values[:] = [THINGS[i] for i in rng.integers(len(THINGS), size=n)]
    elif dtype.kind == "b":
        values = rng.integers(2, size=n).astype("?")
    elif dtype.kind == "U":
        width = dtype.itemsize // 4
        alphabet = list("aZ 0äß→\U0001f600\U0010ffff\0")
        values = np.array(["".join(rng.choice(alphabet, width)) for _ in range(n)], dtype)
    elif dtype.char in "gG":
        # More digits than a double has.
        parts = rng.standard_normal(n).astype("g") / np.longdouble(3)
        parts[rng.random(n) < 0.3] = rng.choice([0, np.inf, -np.inf, 2.0**-1074, 1e308])
        values = parts.astype(dtype)
        if dtype.char == "G":
            values.imag = rng.standard_normal(n)
    else:
        values = np.frombuffer(
            rng.bytes(n * dtype.itemsize), f"V{dtype.itemsize}" if dtype.itemsize else "V1"
        )
        values = values.view(dtype) if dtype.itemsize else np.zeros(n, dtype)
    a[...] = values.reshape(a.shape)


NUMBERS = ["?", "b", "B", "h", "H", "i", "I", "l", "L", "e", "f", "d", "F", "D", "g", "G"]
# Any bytes are a valid element of these.
ANY_BITS = ["b", "H", "i", "L", "e", "f", "D", "S3", "V2"]
NAMES = ["x", "y", "zähler", "end", "a b", "1", "size", "data", "parent", "f1", "x!", "'", "π", "_"]


@st.composite
def leaf_dtypes(draw, kinds):
    kind = draw(st.sampled_from(kinds))
    if kind in ("S", "U", "V"):
        kind += str(draw(st.sampled_from([1, 2, 3, 5, 8])))
    dtype = np.dtype(kind)
    if draw(st.booleans()) and dtype.char not in "gG":
        dtype = dtype.newbyteorder()
    return dtype


ALL = [*NUMBERS, "S", "U", "V", "O"]


@st.composite
def record_dtypes(draw, depth=3, kinds=ALL, least=1, max_dims=2):
    n = draw(st.integers(least, 4 if depth == 3 else 2))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=n, max_size=n, unique=True))
    formats = []
    for _ in names:
        inner = depth > 1 and draw(st.integers(0, 2)) == 0
        item = draw(record_dtypes(depth - 1, kinds, 0, max_dims) if inner else leaf_dtypes(kinds))
        if draw(st.integers(0, 3)) == 0:
            shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=max_dims)))
            item = np.dtype((item, shape))
        formats.append(item)
    how = draw(st.sampled_from(["packed", "aligned", "offsets", "offsets"]))
    if how != "offsets":
        return np.dtype({"names": names, "formats": formats}, align=how == "aligned")
    offsets = []
    end = 0
    for item in formats:
        offsets.append(end + draw(st.integers(0, 3)))
        end = offsets[-1] + item.itemsize
    return np.dtype(
        {
            "names": names,
            "formats": formats,
            "offsets": offsets,
            "itemsize": end + draw(st.integers(0, 3)),
        }
    )


@st.composite
def overlapping_dtypes(draw):
    """Fields at any offsets: over each other, and in any order."""
    n = draw(st.integers(2, 4))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=n, max_size=n, unique=True))
    item = st.one_of(leaf_dtypes(ANY_BITS), record_dtypes(2, ANY_BITS, max_dims=1))
    formats = [draw(item) for _ in names]
    offsets = [draw(st.integers(0, 8)) for _ in names]
    size = max(o + f.itemsize for o, f in zip(offsets, formats)) + draw(st.integers(0, 2))
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


ARRANGEMENTS = {
    "vector": lambda dtype: np.zeros(3, dtype),
    "every other": lambda dtype: np.zeros(5, dtype)[::2],
    "reversed": lambda dtype: np.zeros(2, dtype)[::-1],
    "C matrix": lambda dtype: np.zeros((2, 2), dtype),
    "Fortran matrix": lambda dtype: np.zeros((2, 2), dtype, "F"),
}


def check_both_ways(dtype, arrangement, seed):
    rng = np.random.default_rng(seed)
    a, b = ARRANGEMENTS[arrangement](dtype), ARRANGEMENTS[arrangement](dtype)
    fill(a, rng)
    fill(b, rng)
    expected = numpy_leaves(a)
    assert same_leaves(list(julia_leaves(a)), expected)
    julia_copy(b, a)
    assert same_leaves(numpy_leaves(b), expected)
    for x in (identity(a), bb.wrap(a)):
        c = np.asarray(x)
        assert layout_of(c.dtype) == layout_of(dtype)
        assert c.shape == a.shape
        assert c.strides == a.strides or min(a.shape) < 2
        assert c.ctypes.data == a.ctypes.data


@FEW
@given(record_dtypes(), st.sampled_from(list(ARRANGEMENTS)), st.integers(0, 1000))
def test_any_record(dtype, arrangement, seed):
    check_both_ways(dtype, arrangement, seed)


@FEW
@given(overlapping_dtypes(), st.sampled_from(list(ARRANGEMENTS)), st.integers(0, 1000))
def test_any_offsets(dtype, arrangement, seed):
    check_both_ways(dtype, arrangement, seed)


# ------------------------------------------------------------------- generated structs

bb.eval(r"""
    @enum Colour::UInt8 red green blue
    @enum Level low = -3 high = 70000
    primitive type Bits24 24 end
    primitive type Bits32 32 end
    struct Pair2{A,B}
        first::A
        second::B
    end
    struct Empty end
    # As StaticArrays has it.
    struct Static{S,T,N,L} <: AbstractArray{T,N}
        data::NTuple{L,T}
    end
    Base.size(::Static{S}) where {S} = Tuple(S.parameters)
    Base.size(::Type{<:Static{S}}) where {S} = Tuple(S.parameters)
    Base.getindex(x::Static, i::Int) = x.data[i]
    Base.IndexStyle(::Type{<:Static}) = IndexLinear()
    """)
fields_of = bb.eval("T -> (Tuple(Int(fieldoffset(T, i)) for i in 1:fieldcount(T)), sizeof(T))")
vector_of = bb.eval("""function (T, bytes)
        x = Vector{T}(undef, length(bytes) ÷ sizeof(T))
        GC.@preserve x bytes unsafe_copyto!(Ptr{UInt8}(pointer(x)), pointer(bytes), length(bytes))
        x
    end""")
address = bb.eval("x -> Int(pointer(x))")
defined = itertools.count()

LEAVES = {
    **{f"Int{8 * n}": f"<i{n}" for n in (2, 4, 8)},
    **{f"UInt{8 * n}": f"<u{n}" for n in (2, 4, 8)},
    **{f"Float{8 * n}": f"<f{n}" for n in (2, 4, 8)},
    "Int8": "|i1",
    "UInt8": "|u1",
    "Bool": "|b1",
    "ComplexF32": "<c8",
    "ComplexF64": "<c16",
    "Ptr{Cvoid}": "<u8",
    "Ptr{Float64}": "<u8",
    "Colour": "|u1",
    "Level": "<i4",
    "Int128": "|V16",
    "UInt128": "|V16",
    "Bits32": "|V4",
    "Char": "|V4",
}


class JuliaType:
    """A Julia type as its code, with the dtype that NumPy is to see."""

    def __init__(self, code, dtype):
        self.code = code
        self.dtype = dtype

    def __repr__(self):
        return self.code


def with_fields(code, names, types):
    """The table says which dtype a field has; where it lies, Julia knows."""
    offsets, size = fields_of(bb.eval(code))
    formats = [t.dtype for t in types]
    dtype = {"names": names, "formats": formats, "offsets": list(offsets), "itemsize": size}
    return JuliaType(code, np.dtype(dtype))


def repeated(item, n):
    base, shape = item.dtype.subdtype or (item.dtype, ())
    return np.dtype((base, (n, *shape)))


def tuple_type(types):
    code = f"Tuple{{{','.join(t.code for t in types)}}}"
    if len({t.code for t in types}) == 1:
        return JuliaType(code, repeated(types[0], len(types)))
    return with_fields(code, [f"f{i}" for i in range(len(types))], types)


def namedtuple_type(names, types):
    symbols = ",".join(f'Symbol("{n}")' for n in names)
    return with_fields(
        f"NamedTuple{{({symbols},),Tuple{{{','.join(t.code for t in types)}}}}}", names, types
    )


def struct_type(names, types):
    code = f"Generated{next(defined)}"
    fields = "; ".join(f'var"{n}"::{t.code}' for n, t in zip(names, types))
    bb.eval(f"struct {code}; {fields}; end")
    return with_fields(code, names, types)


def static_type(shape, item):
    n = math.prod(shape)
    code = f"Static{{Tuple{{{','.join(map(str, shape))}}},{item.code},{len(shape)},{n}}}"
    # Columns of Julia's are rows here.
    return JuliaType(code, np.dtype((item.dtype, shape[::-1])))


@st.composite
def julia_types(draw, depth=3, top=True):
    leaf = st.sampled_from(list(LEAVES)).map(lambda code: JuliaType(code, np.dtype(LEAVES[code])))
    if depth == 0:
        return draw(leaf)
    inner = st.one_of(leaf, leaf, julia_types(depth - 1, False))
    kinds = ["struct", "parametric", "NamedTuple"]
    if not top:
        kinds += ["Tuple", "NTuple", "Static", "Empty", "Rational", "Complex"]
    kind = draw(st.sampled_from(kinds))
    if kind == "Empty":
        return JuliaType("Empty", np.dtype([]))
    if kind in ("Rational", "Complex"):
        part = JuliaType("Int32", np.dtype("<i4"))
        names = ["num", "den"] if kind == "Rational" else ["re", "im"]
        return with_fields(f"{kind}{{Int32}}", names, [part, part])
    if kind == "NTuple":
        item, n = draw(inner), draw(st.integers(1, 3))
        return JuliaType(f"NTuple{{{n},{item.code}}}", repeated(item, n))
    if kind == "Static":
        return static_type(
            tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))), draw(leaf)
        )
    if kind == "parametric":
        types = [draw(inner), draw(inner)]
        return with_fields(f"Pair2{{{types[0].code},{types[1].code}}}", ["first", "second"], types)
    types = draw(st.lists(inner, min_size=1, max_size=4 if top else 3))
    if kind == "Tuple":
        return tuple_type(types)
    n = len(types)
    names = draw(st.lists(st.sampled_from(NAMES), min_size=n, max_size=n, unique=True))
    return (struct_type if kind == "struct" else namedtuple_type)(names, types)


@FEW
@given(julia_types(), st.integers(0, 1000))
def test_any_struct(generated, seed):
    dtype = generated.dtype
    assume(dtype.itemsize > 0)
    rng = np.random.default_rng(seed)
    expected = np.zeros(3, dtype)
    fill(expected, rng)
    T = bb.eval(generated.code)
    x = vector_of(T, expected.tobytes())
    a = np.asarray(x)
    assert layout_of(a.dtype) == layout_of(dtype)
    assert a.ctypes.data == address(x)
    assert a.tobytes() == expected.tobytes()
    assert list(julia_leaves(x)) == numpy_leaves(expected)
    fill(a, rng)
    assert list(julia_leaves(x)) == numpy_leaves(a)
    # Python's memory as the user's struct.
    y = recordarray(T, expected)
    assert list(julia_leaves(y)) == numpy_leaves(expected)
    b = np.asarray(y)
    assert layout_of(b.dtype) == layout_of(dtype)
    assert b.ctypes.data == expected.ctypes.data


# ------------------------------------------------------------- particular layouts


SPECIAL = {
    "sub-array of no items": [("a", "i4"), ("b", "f8", (0,)), ("c", "i2", (2, 0))],
    "no fields": [("a", "i4"), ("b", [])],
    "void of no bytes": [("a", "i4"), ("b", "V0")],
    "bytes of length zero": [("a", "i4"), ("b", "S0")],
    "text of length zero": [("a", "i4"), ("b", "U0")],
    "titles": [(("The title", "a"), "i4"), (("Another", "b"), ">f8")],
    "sub-array of five axes": [("a", ">i2", (1, 2, 1, 3, 2))],
    "names that are no identifiers": [("a b", "i4"), ("1", "f8"), ("end", "i2"), ("ä'\"$", "S2")],
    "names of Julia's fields": [("data", "i4"), ("parent", "i4"), ("size", "i4"), ("offset", "i4")],
    "default names": [("", "i4"), ("", "f8"), ("f5", "i2")],
    "aligned, nested, padded": np.dtype(
        [("a", "i1"), ("b", np.dtype([("x", "f8"), ("y", "i1")], align=True), (2,)), ("c", "i1")],
        align=True,
    ),
    "swapped long doubles": [("a", ">g"), ("b", ">G")],
    "out of order": {"names": ["a", "b"], "formats": ["f8", "i4"], "offsets": [4, 0]},
    "overlapping": {"names": ["all", "low"], "formats": ["<u4", "<u2"], "offsets": [0, 0]},
    "overlapping sub-array of two axes": {
        "names": ["all", "parts"],
        "formats": ["<u8", ("<u2", (2, 2))],
        "offsets": [0, 0],
    },
}


@pytest.mark.parametrize("dtype", [np.dtype(v) for v in SPECIAL.values()], ids=SPECIAL.keys())
def test_special_layouts(dtype):
    check_both_ways(dtype, "vector", 1)


def test_sub_arrays_of_sub_arrays_are_joined():
    # NumPy keeps them apart in the dtype, and joins them when the field is used.
    a = np.zeros(2, [("a", np.dtype((np.dtype(("i2", (2,))), (3,))))])
    a["a"] = np.arange(12).reshape(2, 3, 2)
    x = identity(a)
    assert x[1][0] == ((6, 7), (8, 9), (10, 11))
    assert np.asarray(x).dtype == np.dtype([("a", "i2", (3, 2))])
    assert np.shares_memory(np.asarray(x), a)


def test_objects_in_records_out_of_order_are_copied():
    a = np.zeros(2, {"names": ["a", "b"], "formats": ["O", "i4"], "offsets": [8, 0]})
    a["a"][1] = [1]
    x = identity(a)
    assert x["a"][1] is a["a"][1]
    copied = np.asarray(x)
    assert copied.dtype == object
    assert copied[1].a is a["a"][1]


def test_names_with_colons_are_refused():
    a = np.zeros(2, [("a:b", "i4"), ("c", "i4")])
    with pytest.raises(TypeError, match="'a:b'.*rename"):
        identity(a)
    # In the other direction the name is Julia's.
    x = bb.eval('[NamedTuple{(Symbol("a:b"),)}((1,))]')
    with pytest.raises(BufferError, match="a:b"):
        memoryview(x)


def test_padding_is_left_alone():
    dtype = {"names": ["a", "b"], "formats": ["i1", "<i2"], "offsets": [1, 4], "itemsize": 8}
    a = np.zeros(3, dtype)
    memory = a.view("u1")
    memory[...] = 0xEE
    x = identity(a)
    x[0] = (0, 0)
    x[1:] = (0, 0)
    x["b"] = 0
    assert memory.reshape(3, 8).tolist() == [[0xEE, 0, 0xEE, 0xEE, 0, 0, 0xEE, 0xEE]] * 3


def test_padding_of_nested_records_is_left_alone():
    # Here the nested record is laid out as Julia would, and another field lies in its padding.
    inner = np.dtype([("a", "i1"), ("b", "i8")], align=True)
    dtype = {"names": ["r", "x"], "formats": [inner, "u1"], "offsets": [0, 4], "itemsize": 16}
    for value in (0xEE, 0x11):
        a = np.zeros(3, dtype)
        a["x"] = value
        identity(a)["r"][1] = (1, 2)
        assert a["x"].tolist() == [value] * 3


def test_overlapping_fields_are_the_same_memory():
    dtype = {"names": ["all", "parts"], "formats": ["<u4", ("<u2", 2)], "offsets": [0, 0]}
    a = np.zeros(2, dtype)
    x = identity(a)
    x["parts"][1] = (0x1111, 0x2222)
    assert a["all"].tolist() == [0, 0x22221111]
    assert x[1] == (0x22221111, (0x1111, 0x2222))
    with pytest.raises(BufferError, match="overlap.*asarray"):
        memoryview(x)
    np.asarray(x)["all"][0] = 0x10002
    assert a["parts"].tolist() == [[2, 1], [0x1111, 0x2222]]


# ----------------------------------------------------------------- columns in Julia

POINT = [("x", ">f4"), ("pos", [("a", "i1"), ("b", "<f8")]), ("tag", "S3")]
NATURAL = np.dtype([("x", "f8"), ("n", "i8")])


def points(n=3):
    a = np.zeros(n, POINT)
    a["x"] = range(n)
    a["pos"]["b"] = np.arange(n) / 2
    a["tag"] = b"ab"
    return a


def test_a_column_is_a_writable_view():
    a = points()
    assert bb.eval("a -> a.x == [0, 1, 2] && a.x isa AbstractVector{Float32}")(a)
    bb.eval('a -> (a.x[2] = 7; a.pos.b[3] = 9; a.pos.a .= [1, 2, 3]; a.tag[1] = "xyz"; nothing)')(a)
    assert a.tolist() == [
        (0, (1, 0), b"xyz"),
        (7, (2, 0.5), b"ab"),
        (2, (3, 9), b"ab"),
    ]
    bb.eval("a -> (a.x = 4; a.pos.b = [1, 2, 3]; nothing)")(a)
    assert a["x"].tolist() == [4, 4, 4]
    assert a["pos"]["b"].tolist() == [1, 2, 3]
    assert bb.eval("a -> propertynames(a) == (:x, :pos, :tag)")(a)


def test_columns_of_arrays_of_julia():
    a = np.zeros(3, NATURAL)
    assert bb.eval("a -> a isa Array{<:NamedTuple}")(a)
    column(a, bb.eval(":n"))[1] = 5
    assert a["n"].tolist() == [0, 5, 0]
    x = bb.eval("[Pair2(i, i / 2) for i in 1:3]")
    second = column(x, bb.eval(":second"))
    np.asarray(second)[1] = 7
    assert bb.eval("x -> x[2] === Pair2(2, 7.0)")(x)
    assert second.strides == (16,)
    # Views, too.
    assert list(bb.eval("x -> BufferBridge.column(view(x, 3:-1:1), :first)")(x)) == [3, 2, 1]
    matrix = bb.eval("x -> BufferBridge.column(reshape(vcat(x, x), 2, 3), :first)")(x)
    assert np.asarray(matrix).tolist() == [[1, 3, 2], [2, 1, 3]]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("a -> a.nope", '"nope".*x, pos and tag'),
        ("a -> BufferBridge.column(a, :nope)", '"nope".*x, pos and tag'),
        ("a -> a.pos.nope", '"nope".*a and b'),
        ("a -> (a.nope = 1)", '"nope"'),
        ("a -> BufferBridge.column(a.x, :y)", "Float32.*no fields"),
        ("a -> BufferBridge.column(1:3, :y)", "no columns"),
        ('a -> BufferBridge.column(["a"], :y)', "no fields"),
    ],
)
def test_columns_that_are_not_there(code, message):
    with pytest.raises(ValueError, match=message):
        bb.eval(code)(points())


@pytest.mark.parametrize(
    "code",
    [
        'a.x[1] = "1"',
        "a.pos.a[1] = 300",
        "a.pos.a .= [300, 0, 0]",
        'a.tag[1] = "four"',
        "a[1] = (1, 2)",
        "a[1] = (x = 1, y = 2)",
        "a[1] = 5",
        "a.x[4] = 1",
        "a[1].x = 1",
    ],
)
def test_bad_values_in_julia_leave_the_memory_alone(code):
    a = points()
    before = a.tobytes()
    with pytest.raises(bb.JuliaError):
        bb.eval(f"a -> ({code}; nothing)")(a)
    assert a.tobytes() == before


def test_records_of_read_only_memory():
    a = points()
    a.flags.writeable = False
    before = a.tobytes()
    x = identity(a)
    assert x.readonly
    assert x["x"].readonly
    assert x["pos"]["a"].readonly
    assert not np.asarray(x).flags.writeable
    for code in ("a.x[1] = 1", "a.x .= 1", "a.x = 1", "a[1] = a[2]", "a.pos.a[1] = 1"):
        with pytest.raises(ValueError, match="read-only"):
            bb.eval(f"a -> ({code}; nothing)")(a)
    for change in (
        lambda: x.__setitem__(0, (1, (1, 1), b"")),
        lambda: x.__setitem__("x", 1),
        lambda: x["x"].__setitem__(0, 1),
        lambda: x.__setitem__(slice(None), x[0]),
    ):
        with pytest.raises(ValueError, match="read-only"):
            change()
    assert a.tobytes() == before


def test_records_as_values():
    record = "PyRecord{(:x, :pos, :tag)}"
    check = bb.eval(f"""a -> begin
        r = a[2]
        @assert r isa {record}
        @assert r.x === 1.0f0 && r[:x] === 1.0f0 && r[1] === 1.0f0
        @assert keys(r) == (:x, :pos, :tag) && length(r) == 3 && haskey(r, :x) && !haskey(r, :y)
        @assert r == NamedTuple(r) && hash(r) == hash(NamedTuple(r)) && r != a[1] && a[1] < r
        @assert collect(r)[1] == 1 && r.tag == "ab"
        @assert occursin("x = 1.0", repr(r)) && occursin("tag = \\"ab\\"", repr(r))
        @assert convert(NamedTuple, r).pos.b == 0.5
        a[1] = merge(r, (x = 8,))
        try
            r.x = 3
            error("a record was changed")
        catch e
            @assert e isa ArgumentError && occursin("a.x[i] = value", e.msg)
        end
    end""")
    a = points()
    check(a)
    assert a[0].item() == (8, (0, 0.5), b"ab")


def test_what_is_made_of_records_keeps_their_layout():
    a = points(4)
    for code, expected in {
        "copy(a)": a,
        "a[[2, 1]]": a[[1, 0]],
        "reverse(a)": a[::-1],
        "filter(r -> r.x > 1, a)": a[2:],
    }.items():
        x = bb.eval(f"a -> {code}")(a)
        c = np.asarray(x)
        assert layout_of(c.dtype) == layout_of(a.dtype)
        assert c.tolist() == expected.tolist()
        assert not np.shares_memory(c, a)


# ---------------------------------------------------------------- columns in Python


def test_fields_by_name():
    a = points()
    x = identity(a)
    for names in (("x",), ("pos",), ("pos", "a"), ("pos", "b"), ("tag",)):
        y, b = x, a
        for name in names:
            y, b = y[name], b[name]
        c = np.asarray(y)
        assert layout_of(c.dtype) == layout_of(b.dtype)
        assert (c.ctypes.data, c.strides, c.tolist()) == (b.ctypes.data, b.strides, b.tolist())
    assert x[1] == (1.0, (0, 0.5), "ab")
    assert x[1].pos.b == 0.5
    assert x[-1].tag == "ab"
    assert list(x[1:]["x"]) == [1, 2]
    assert list(x["x"][::-1]) == [2, 1, 0]


def test_assignment_to_fields_and_records():
    a = points()
    expected = a.copy()
    x = identity(a)

    def both(assign):
        assign(x)
        assign(expected)
        assert a.tolist() == expected.tolist()

    both(lambda z: z.__setitem__("x", [3, 2, 1]))
    both(lambda z: z.__setitem__("x", 5))
    both(lambda z: z.__setitem__("x", np.arange(3, dtype="i2")))
    both(lambda z: z["pos"].__setitem__("a", [7, 8, 9]))
    both(lambda z: z.__setitem__(0, (1, (2, 3.0), b"q")))
    both(lambda z: z.__setitem__(slice(1, None), (4, (5, 6.5), b"rst")))
    both(lambda z: z.__setitem__(2, points()[1]))
    both(lambda z: z.__setitem__(slice(None), points()))
    both(lambda z: z["pos"].__setitem__(1, (7, 8)))
    both(lambda z: z.__setitem__("tag", "xy"))
    both(lambda z: z.__setitem__("tag", [b"a", b"b", b"c"]))
    both(lambda z: z.__setitem__("tag", np.array(["d", "e", "f"])))
    both(lambda z: z["tag"].__setitem__(0, b"ghi"))


def test_assignment_to_sub_arrays():
    a = np.zeros(2, [("m", ">i2", (2, 3)), ("v", "f8", 2)])
    x = identity(a)
    x[0] = (np.arange(6).reshape(2, 3), [1, 2])
    x["v"][1] = np.array([3, 4])
    x["m"][1] = ((9, 8, 7), [6, 5, 4])
    assert a["m"].tolist() == [[[0, 1, 2], [3, 4, 5]], [[9, 8, 7], [6, 5, 4]]]
    assert a["v"].tolist() == [[1, 2], [3, 4]]
    assert x[0].m == ((0, 1, 2), (3, 4, 5))
    for value in ([1], [1, 2, 3], np.zeros((2, 2))):
        with pytest.raises(bb.JuliaError):
            x["v"][0] = value
    assert a["v"].tolist() == [[1, 2], [3, 4]]


BAD_VALUES = {
    "too few": (0, (1, (2, 3))),
    "too many": (0, (1, (2, 3), b"a", 4)),
    "no record": (0, 5),
    "None": (0, None),
    "text for a number": (0, ("1", (2, 3), b"a")),
    "nested text for a number": (0, (1, (2, "3"), b"a")),
    "no nested record": (0, (1, 2, b"a")),
    "string too long": (0, (1, (2, 3), b"four")),
    "integer too large": (0, (1, (200, 3), b"a")),
    "no integer": (0, (1, (2.5, 3), b"a")),
    "text in a field": ("x", "1"),
    "wrong length": ("x", [1, 2]),
    "other fields": (0, np.zeros(1, [("x", "f4"), ("y", "i4"), ("z", "i4")])[0]),
    "no such field": ("nope", 1),
    "no such record": (3, (1, (2, 3), b"a")),
    "one of them wrong": ("x", [1, "2", 3]),
    "one of them too long": ("tag", ["a", "four", "c"]),
    "one of the nested wrong": ("pos", [(1, 2), (3, "4"), (5, 6)]),
    "one record wrong": (slice(None), [(1, (2, 3), b"a"), (1, (2, "3"), b"a"), (1, (2, 3), b"a")]),
}


@pytest.mark.parametrize(("key", "value"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_bad_values_leave_the_memory_alone(key, value):
    a = points()
    before = a.tobytes()
    with pytest.raises((bb.JuliaError, IndexError)):
        identity(a)[key] = value
    assert a.tobytes() == before


def test_fields_that_are_not_there():
    x = identity(points())
    with pytest.raises(ValueError, match='"nope".*x, pos and tag'):
        x["nope"]
    with pytest.raises(ValueError, match='"nope".*a and b'):
        x["pos"]["nope"]
    with pytest.raises(TypeError, match="no fields"):
        x["x"]["y"]
    with pytest.raises((ValueError, TypeError), match="no columns|no fields"):
        bb.eval("1:3")["y"]


# ----------------------------------------------------------------------- lifetimes


def test_a_column_keeps_the_memory():
    before = collect_both()["pinned_buffers"]
    a = points(1000)
    gone = weakref.ref(a)
    in_julia = bb.eval("a -> Ref{Any}(a.pos.b)")(a)
    in_python = identity(a)["x"]
    through_numpy = np.asarray(identity(a)["tag"])
    del a
    for kept in ("in_julia", "in_python", "through_numpy"):
        assert collect_both()["pinned_buffers"] > before
        assert gone() is not None
        if kept == "in_julia":
            assert bb.eval("r -> r[][3]")(in_julia) == 1.0
            del in_julia
        elif kept == "in_python":
            assert in_python[999] == 999
            del in_python
        else:
            assert through_numpy[999] == b"ab"
            del through_numpy
    assert collect_both()["pinned_buffers"] == before
    assert gone() is None


def test_a_column_keeps_memory_of_julia():
    before = collect_both()["julia_objects"]
    y = np.asarray(bb.eval("[Pair2(i, i / 2) for i in 1:1000]")["second"])
    collect_both()
    assert y.tolist() == [i / 2 for i in range(1, 1001)]
    del y
    assert collect_both()["julia_objects"] == before


def test_the_users_structs_keep_the_memory():
    before = collect_both()["pinned_buffers"]
    a = np.zeros(3, NATURAL)
    y = recordarray(bb.eval("Pair3"), a)
    del a
    collect_both()
    assert bb.eval("y -> (y[2] = Pair3(1.5, 2); y[2].n)")(y) == 2
    del y
    assert collect_both()["pinned_buffers"] == before


def test_a_recordarray_keeps_pythons_memory():
    before = collect_both()["pinned_buffers"]
    bb.eval("struct KeptRecord; a::Int32; x::Float64; end")
    a = np.ones(100_000, np.dtype([("a", "i4"), ("x", "f8")], align=True))
    y = recordarray(bb.eval("KeptRecord"), a)
    assert collect_both()["pinned_buffers"] == before + 1
    with pytest.raises(ValueError, match="resize"):
        a.resize(1)
    del y
    assert collect_both()["pinned_buffers"] == before


def test_a_column_of_a_vector_that_is_resized(run_python):
    run_python("""
        import numpy as np
        import bufferbridge as bb
        x = bb.eval("[(a = i, b = i / 2) for i in 1:1000]")
        b = x["b"]
        assert b[999] == 500
        bb.eval("x -> resize!(x, 10)")(x)
        bb.Base.GC.gc()
        for use in (lambda: b[999], lambda: np.asarray(b), lambda: b.__setitem__(999, 1.0),
                    lambda: bb.Base.sum(b), lambda: b.__setitem__(slice(None), 1.0)):
            try:
                use()
            except (BufferError, IndexError, bb.JuliaError):
                pass
            else:
                raise AssertionError("memory that is gone was used")
        assert x["b"][9] == 5
        held = np.asarray(x["b"])
        try:
            bb.eval("x -> for i in 1:10_000 push!(x, (a = 0, b = 0.0)) end")(x)
        except bb.JuliaError:
            pass
        bb.Base.GC.gc()
        assert held.tolist() == [i / 2 for i in range(1, 11)]
    """)


# ----------------------------------------------------------------- structs of the user's

bb.eval("""
    struct Pair3
        x::Float64
        n::Int64
    end
    struct Inner
        level::Level
        colour::Colour
    end
    struct Particle
        id::Int32
        mass::Float64
        pos::NTuple{3,Float32}
        inner::Inner
        name::FixedString{'s',5,UInt8}
    end
    """)
PARTICLE = np.dtype(
    [
        ("id", "i4"),
        ("mass", "f8"),
        ("pos", "f4", 3),
        ("inner", np.dtype([("level", "i4"), ("colour", "u1")], align=True)),
        ("name", "S5"),
    ],
    align=True,
)


def test_memory_as_the_users_struct():
    a = np.zeros(3, PARTICLE)
    y = recordarray(bb.eval("Particle"), a)
    assert bb.eval("y -> y isa Array{Particle,1}")(y)
    bb.eval('y -> (y[2] = Particle(1, 2.5, (1, 2, 3), Inner(high, blue), "name"); nothing)')(y)
    assert a[1].item()[:2] == (1, 2.5)
    assert a[1]["pos"].tolist() == [1, 2, 3]
    assert a[1]["inner"].item() == (70000, 2)
    assert a[1]["name"] == b"name"
    a["inner"]["colour"][1] = 1
    assert bb.eval("y -> y[2].inner.colour == green")(y)
    c = np.asarray(y)
    assert layout_of(c.dtype) == layout_of(PARTICLE)
    assert c.ctypes.data == a.ctypes.data


def test_structs_in_other_arrays():
    T = bb.eval("Pair3")
    kind = bb.eval("y -> string(nameof(typeof(y)), ' ', eltype(y))".replace("' '", '" "'))
    for arrange, name in {
        lambda a: a: "Array Pair3",
        lambda a: a[::2]: "PyStridedArray Pair3",
        lambda a: a.reshape(2, 2): "PermutedDimsArray Pair3",
        lambda a: np.frombuffer(a.tobytes(), NATURAL): "PyArray Pair3",
    }.items():
        a = arrange(np.array([(i, i) for i in range(4)], NATURAL))
        y = recordarray(T, a)
        assert kind(y) == name
        assert bb.eval("y -> sum(s.n for s in y)")(y) == a["n"].sum()
        assert np.asarray(y).tolist() == a.tolist()
        assert y.readonly == (not a.flags.writeable)
    assert recordarray(T, np.zeros(0, NATURAL)).shape == (0,)


STRUCT_MISMATCHES = {
    "offsets": ([("x", "f8"), ("n", "i8")], [0, 16], r">\s+8\s+n::Int64\s+16\s+n::Int64"),
    "names": ([("x", "f8"), ("m", "i8")], [0, 8], r">\s+8\s+n::Int64\s+8\s+m::Int64"),
    "types": ([("x", "f8"), ("n", "u8")], [0, 8], r">\s+8\s+n::Int64\s+8\s+n::UInt64"),
    "kinds": ([("x", "i8"), ("n", "i8")], [0, 8], r">\s+0\s+x::Float64\s+0\s+x::Int64"),
    "swapped": ([("x", ">f8"), ("n", "i8")], [0, 8], "x::Float64 with swapped bytes"),
    "order": ([("n", "i8"), ("x", "f8")], [8, 0], r">\s+0\s+x::Float64\s+8\s+n::Int64"),
    "fewer": ([("x", "f8")], [0], "16  bytes in all"),
    "more": ([("x", "f8"), ("n", "i8"), ("o", "i8")], [0, 8, 16], "24  bytes in all"),
    "nested": (
        [("x", "f8"), ("n", [("i", "i8")])],
        [0, 8],
        r">\s+8\s+n::Int64\s+8\s+n::\S*NamedTuple",
    ),
    "sub-array": ([("x", "f8"), ("n", "i4", 2)], [0, 8], r">\s+8\s+n::Int64\s+8\s+n::Tuple"),
}


@pytest.mark.parametrize(
    ("fields", "offsets", "message"), STRUCT_MISMATCHES.values(), ids=STRUCT_MISMATCHES.keys()
)
def test_a_struct_that_does_not_match(fields, offsets, message):
    plain = np.dtype(fields)
    formats = [plain.fields[name][0] for name in plain.names]
    a = np.zeros(2, {"names": list(plain.names), "formats": formats, "offsets": offsets})
    with pytest.raises(ValueError, match="Pair3 is not laid out as these records are") as e:
        recordarray(bb.eval("Pair3"), a)
    assert re.search(message, str(e.value)), str(e.value)


def test_structs_that_are_none():
    a = np.zeros(2, NATURAL)
    for T in ("Int64", "String", "Vector{Int}", "Any"):
        with pytest.raises(ValueError, match="not laid out"):
            recordarray(bb.eval(T), a)
    with pytest.raises(ValueError, match="no records"):
        recordarray(bb.eval("Pair3"), np.zeros(4))
    with pytest.raises((ValueError, TypeError)):
        recordarray(bb.eval("Pair3"), bb.eval("1:3"))


NOT_BITS = {
    'struct NB1; n::Int; s::String; end; [NB1(1, "")]': "'s' of NB1",
    "struct NB2; x::Float64; v::Vector{Int}; end; NB2[]": "'v' of NB2",
    "struct NB3; u::Union{Int,Nothing}; end; [NB3(1)]": "'u' of NB3",
    "struct NB4; r::Real; end; [NB4(1)]": "'r' of NB4",
    "struct NB5; s::Symbol; end; struct NB6; inner::NB5; end; NB6[]": "'s' of NB5.*'inner' of NB6",
    '[(a = 1, b = "x")]': "'b'",
}


@pytest.mark.parametrize(("code", "message"), NOT_BITS.items(), ids=NOT_BITS.values())
def test_structs_with_references_name_the_field(code, message):
    x = bb.eval(code)
    with pytest.raises(BufferError, match=message):
        memoryview(x)
    assert np.asarray(x).dtype == object


def test_tuples_and_static_arrays():
    a = np.asarray(bb.eval("[(1, 2, 3), (4, 5, 6)]"))
    assert a.tolist() == [[1, 2, 3], [4, 5, 6]]
    b = np.asarray(bb.eval("[(Int8(1), 2.5)]"))
    assert layout_of(b.dtype) == ([("f0", "|i1", 0), ("f1", "<f8", 8)], 16)
    # A matrix of Julia's is column-major: its transpose lies there in C's order.
    x = bb.eval("[Static{Tuple{2,3},Int32,2,6}((1, 2, 3, 4, 5, 6))]")
    assert np.asarray(x).tolist() == [[[1, 2], [3, 4], [5, 6]]]
    np.asarray(x)[0, 2, 1] = 7
    assert bb.eval("x -> x[1][2, 3]")(x) == 7


def test_a_nested_field_is_a_view():
    x = bb.eval("[(pos = (x = i / 2, y = Int8(i)), n = i) for i in 1:3]")
    view = np.asarray(x)["pos"]["x"]
    view[1] = 8
    assert bb.eval("x -> x[2].pos.x")(x) == 8
    assert view.tolist() == [0.5, 8, 1.5]


def test_primitive_types_whose_size_is_no_power_of_two_in_structs():
    x = bb.eval("[Pair2(reinterpret(Bits32, 0x04030201), 0x05)]")
    assert layout_of(np.asarray(x).dtype) == ([("first", "|V4", 0), ("second", "|u1", 4)], 8)


@pytest.mark.parametrize("T", ["Bits24", "NTuple{2,Bits24}", "Pair2{NTuple{2,Bits24},UInt8}"])
def test_primitive_types_of_three_bytes(T):
    x = bb.eval(f"Vector{{{T}}}(undef, 4)")
    assert x.strides == (bb.eval(f"Base.elsize(Vector{{{T}}})"),)
    np.asarray(x)
    if T != "Bits24":
        first = memoryview(x).format
        assert "(2)3x" not in first


def test_an_array_of_odd_primitive_types_does_not_reach_beyond_the_memory():
    try:
        y = recordarray(bb.eval("Bits24"), np.zeros(4, "V3"))
    except ValueError:
        return
    assert bb.eval("sizeof")(y) <= 12


# ------------------------------------------------------------------------- strings


@pytest.mark.parametrize("dtype", ["S10", "U5", ">U5"])
def test_strings(dtype):
    a = np.array(["abc", "", "é" if "U" in dtype else "zz", "12345"], dtype)
    expected = [s.decode() if isinstance(s, bytes) else s for s in a.tolist()]
    x = identity(a)
    assert list(x) == expected
    assert bb.eval("""x -> x[1] isa AbstractString && x[1] == "abc" && "abc" == x[1] &&
        hash(x[1]) == hash("abc") && isequal(x[1], "abc") && x[1] < "abd" && isempty(x[2]) &&
        string(x[1]) == "abc" && repr(x[1]) == "\\"abc\\"" && length(x[4]) == 5 &&
        uppercase(x[1]) == "ABC" && occursin("b", x[1]) && x[1] * x[2] == "abc" &&
        parse(Int, x[4]) == 12345 && Dict("abc" => 1)[x[1]] == 1 && x[4][2] == '2' &&
        reverse(x[1]) == "cba" && [c for c in x[1]] == ['a', 'b', 'c']""")(x)
    assert bb.eval("x -> sort(x) isa AbstractVector && issorted(sort(x))")(x)
    bb.eval("x -> (x[1] = \"new\"; x[2] = x[4]; x[3] = 'c'; nothing)")(x)
    assert a.astype("U").tolist() == ["new", "12345", "c", "12345"]
    x[0] = "py"
    x[1:3] = ["p", "q"]
    assert a.astype("U").tolist() == ["py", "p", "q", "12345"]
    before = a.tobytes()
    for write in (
        lambda: x.__setitem__(0, "x" * 11),
        lambda: x.__setitem__(slice(None), "x" * 11),
        lambda: bb.eval('x -> (x[1] = "xxxxxxxxxxx"; nothing)')(x),
    ):
        with pytest.raises(ValueError, match="xxxx.*fit.*11.*room for (10|5)"):
            write()
    for value in (1, None, 2.5):
        with pytest.raises(TypeError):
            x[0] = value
    assert a.tobytes() == before
    c = np.asarray(x)
    assert c.dtype.str == a.dtype.str
    assert c.ctypes.data == a.ctypes.data


def test_bytes_and_code_points():
    a = np.array([b"\xff\xfeab", "äö".encode(), b"a\0b"], "S6")
    x = identity(a)
    assert bb.eval("x -> codeunits(String(x[1])) == [0xff, 0xfe, 0x61, 0x62]")(x)
    assert bb.eval('x -> x[2] == "äö" && length(x[2]) == 2 && ncodeunits(x[3]) == 3')(x)
    assert bb.eval("x -> !isvalid(String(x[1])) && length(x[1]) == length(String(x[1]))")(x)
    x[0] = b"\xfe\0\xff"
    assert a[0] == b"\xfe\0\xff"
    # Six characters, twelve bytes.
    with pytest.raises(ValueError, match="12 code units"):
        x[0] = "äöüäöü"
    u = np.array(["\U0010ffff→a", "日本"], "U3")
    y = identity(u)
    assert list(y) == u.tolist()
    y[1] = "\U0001f600ß"
    assert u[1] == "\U0001f600ß"
    with pytest.raises((ValueError, TypeError)):
        y[1] = b"bytes"


@settings(FEW, max_examples=60)
@given(st.lists(st.binary(max_size=6), min_size=1, max_size=5))
def test_any_bytes_are_strings_as_julias(items):
    a = np.array(items, "S6")
    # String is the reference: the same characters at the same indices.
    assert bb.eval("""x -> all(x) do s
        t = String(copy(codeunits(String(s))))
        collect(s) == collect(t) && collect(eachindex(s)) == collect(eachindex(t)) && s == t &&
            length(s) == length(t) && hash(s) == hash(t) && isvalid(s) == isvalid(t) &&
            cmp(s, "b") == cmp(t, "b") && (isempty(t) || s[end] == t[end])
    end""")(a)


# -------------------------------------------------------------------- Python's objects


def references(*objects):
    """What holds each of the objects, when Julia has let go of what it can."""
    collect_both()
    return tuple(sys.getrefcount(o) for o in objects)


def test_elements_are_the_very_objects():
    things = [Thing(), "text", None, [1], 2**70, {}]
    a = np.array([*things, None], object)[:-1]
    x = identity(a)
    assert all(p is q for p, q in zip(x, things))
    assert bb.eval("x -> [x[i] for i in 1:2]")(x)[0] is things[0]
    assert bb.eval("x -> eltype(x) == BufferBridge.PyObject")(x)
    c = np.asarray(x)
    assert c.dtype == object
    assert c.ctypes.data == a.ctypes.data
    new = {"a": [1]}
    x[0] = new
    assert a[0] is new
    x[1] = [1, 2]
    assert type(a[1]) is list


OBJECTS = bb.eval("""(read = x -> (for i in eachindex(x); x[i]; end; nothing),
    write = (x, v) -> (x[2] = v; nothing),
    swap = x -> ((x[1], x[2]) = (x[2], x[1]); nothing),
    broadcast = x -> (x .= reverse(x); nothing),
    fill = (x, v) -> (fill!(x, v); nothing),
    copy = x -> (copy(x); nothing))""")


def test_references_are_counted():
    o, p = Thing(), Thing()
    a = np.array([o, None, o], object)
    counts = references(o, p)
    OBJECTS.read(a)
    OBJECTS.copy(a)
    assert references(o, p) == counts
    OBJECTS.write(a, p)
    assert a[1] is p
    assert references(o, p) == (counts[0], counts[1] + 1)
    OBJECTS.swap(a)
    assert a.tolist() == [p, o, o]
    assert references(o, p) == (counts[0], counts[1] + 1)
    OBJECTS.broadcast(a)
    assert a.tolist() == [o, o, p]
    assert references(o, p) == (counts[0], counts[1] + 1)
    OBJECTS.fill(a, p)
    assert a.tolist() == [p, p, p]
    assert references(o, p) == (counts[0] - 2, counts[1] + 3)
    x = identity(a)
    x[0] = o
    x[1:] = o
    assert references(o, p) == (counts[0] + 1, counts[1])
    del x
    view = np.asarray(identity(a))
    view[0] = p
    assert references(o, p) == (counts[0], counts[1] + 1)


def test_references_in_records_are_counted():
    o, p = Thing(), Thing()
    a = np.zeros(2, [("n", "i1"), ("o", "O"), ("pair", "O", 2)])
    a["o"] = a["pair"] = None
    counts = references(o, p)
    x = identity(a)
    x[0] = (1, o, (o, p))
    assert a[0]["o"] is o
    assert a["pair"].tolist() == [[o, p], [None, None]]
    assert references(o, p) == (counts[0] + 2, counts[1] + 1)
    assert x[0].o is o
    assert x["pair"][0][1] is p
    # A failed write leaves memory and references as they are.
    before = a.tobytes()
    for value in ((300, p, (p, p)), ("1", p, (p, p)), (1, p, (p,)), (1, p), (1, p, 5)):
        with pytest.raises(bb.JuliaError):
            x[0] = value
        with pytest.raises(bb.JuliaError):
            x[1:] = value
    del value
    assert a.tobytes() == before
    assert references(o, p) == (counts[0] + 2, counts[1] + 1)
    x["o"] = p
    x["pair"][0] = (p, p)
    assert references(o, p) == (counts[0], counts[1] + 4)
    bb.eval("x -> (x[1] = x[2]; nothing)")(x)
    assert references(o, p) == (counts[0], counts[1] + 2)
    bb.eval("x -> (x.o[2] = nothing; nothing)")(x)
    assert a[1]["o"] is None
    assert references(p) == (counts[1] + 1,)


def test_read_only_objects():
    o = Thing()
    a = np.array([o, o], object)
    a.flags.writeable = False
    count = references(o)
    x = identity(a)
    assert x[0] is o
    for key in (0, slice(None)):
        with pytest.raises(ValueError, match="read-only"):
            x[key] = 1
    with pytest.raises(ValueError, match="read-only"):
        OBJECTS.write(x, 1)
    assert a.tolist() == [o, o]
    assert references(o) == count


@pytest.mark.parametrize("value", [[1], {}, {1}, range(3)], ids=repr)
def test_an_object_in_a_record_is_the_very_object(value):
    a = np.zeros(2, [("n", "i4"), ("o", "O")])
    identity(a)[0] = (1, value)
    assert a[0]["o"] is value


def test_null_is_none(run_python):
    run_python("""
        import ctypes
        import numpy as np
        import bufferbridge as bb
        # NumPy reads NULL as None, and older versions fill np.empty with it. Three references to
        # None are lost here, which do no harm.
        a = np.empty(3, object)
        ctypes.memset(a.ctypes.data, 0, a.nbytes)
        x = bb.Base.identity(a)
        assert list(x) == [None, None, None]
        x[0] = o = object()
        bb.eval('x -> (x[2] = "s"; nothing)')(x)
        assert a.tolist() == [o, "s", None]
    """)


def test_objects_under_stress(run_python):
    run_python("""
        import gc
        import sys
        import numpy as np
        import bufferbridge as bb
        churn = bb.eval('''x -> for k in 1:300
            i, j = rand(1:length(x)), rand(1:length(x))
            x[i] = x[j]
            k % 50 == 0 && GC.gc()
        end''')

        class Loud:
            # Runs Julia code when it dies, which is in the middle of a write.
            def __del__(self):
                bb.Base.sum([1, 2])

        for _ in range(5):
            a = np.array([Loud() for _ in range(20)] + [None], object)
            churn(a)
            r = np.zeros(20, [("o", "O"), ("n", "i2")])
            r["o"] = a[:20]
            churn(r)
            bb.Base.identity(r)[0] = (Loud(), 1)
            bb.Base.identity(r)["o"] = None
            del a, r
            gc.collect()
            bb.Base.GC.gc()
        assert bb.stats()["pinned_buffers"] <= 2
    """)


# -------------------------------------------------------------- scalars and long doubles


def test_scalars():
    record = np.zeros(1, POINT)
    record[0] = (1.5, (2, 3.5), b"ab")
    scalar = record[0]
    assert identity(scalar) == (1.5, (2, 3.5), "ab")
    assert bb.eval("r -> r isa PyRecord && r.pos.b === 3.5 && r.x === 1.5f0")(scalar)
    # A value, not a view.
    kept = bb.eval("r -> Ref{Any}(r)")(scalar)
    scalar["x"] = 9
    assert bb.eval("r -> r[].x")(kept) == 1.5
    natural = np.zeros(1, NATURAL)[0]
    assert bb.eval("r -> r === (x = 0.0, n = 0)")(natural)
    o = Thing()
    holder = np.zeros(1, [("o", "O")])
    holder["o"] = o
    assert identity(holder[0]).o is o


@settings(FEW, max_examples=60)
@given(st.floats(), st.floats(), st.sampled_from(["+", "*", "/"]))
def test_long_doubles(x, y, op):
    a, b = np.longdouble(x), np.longdouble(y)
    with np.errstate(all="ignore"):
        v = a + b if op == "+" else a * b if op == "*" else a / b
    (leaf,) = julia_leaves(bb.eval("x -> [x]")(v))
    assert leaf == fraction(v)
    # As a number: to Float64 and back, without a detour.
    with np.errstate(all="ignore"):
        expected = float(v)
    got = bb.eval("Float64")(v)
    assert got == expected or (math.isnan(got) and math.isnan(expected))
    target = np.zeros(2, "g")
    bb.eval("(x, v) -> (x[1] = BigFloat(v); x[2] = Float64(v); nothing)")(target, v)
    assert fraction(target[0]) == fraction(v)
    assert fraction(target[1]) == fraction(np.longdouble(expected))


def test_arrays_of_long_doubles():
    a = np.array([1, 2, 3], "g") / 3
    x = identity(a)
    assert bb.eval("x -> x isa Array{LongDouble,1}")(x)
    assert bb.eval("x -> BigFloat(x[1])")(x) != bb.eval("big(1) / 3")
    x[1] = 0.5
    bb.eval("x -> (x[3] = x[1]; nothing)")(x)
    assert a.tolist() == [np.longdouble(1) / 3, 0.5, np.longdouble(1) / 3]
    with pytest.raises(TypeError):
        x[0] = "a"
    assert np.asarray(x).dtype == np.dtype("g")


# -------------------------------------------------------------------------- exporters


class Vector(ctypes.Structure):
    _fields_ = [("x", ctypes.c_byte), ("y", ctypes.c_double)]


class Body(ctypes.Structure):
    _fields_ = [("pos", Vector * 2), ("n", ctypes.c_int16), ("name", ctypes.c_char * 4)]


class Packed(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("a", ctypes.c_byte), ("b", ctypes.c_int32)]
    if sys.version_info >= (3, 13):
        _layout_ = "ms"


def test_structures_of_ctypes():
    bodies = (Body * 2)()
    bodies[1].pos[1].y = 2.5
    x = identity(bodies)
    assert x[1].pos[1].y == 2.5
    x["n"] = [7, 8]
    assert (bodies[0].n, bodies[1].n) == (7, 8)
    assert layout_of(np.asarray(x).dtype)[1] == ctypes.sizeof(Body)
    packed = (Packed * 3)(*[(i, i * i) for i in range(3)])
    y = identity(packed)
    assert [tuple(r) for r in y] == [(0, 0), (1, 1), (2, 4)]
    y["b"][2] = -5
    assert packed[2].b == -5


def test_memoryview_of_records():
    a = points()
    x = identity(memoryview(a))
    assert list(x["x"]) == [0, 1, 2]
    assert layout_of(np.asarray(memoryview(x)).dtype) == layout_of(a.dtype)
    with memoryview(x) as m:
        assert (m.itemsize, m.shape, m.strides) == (a.itemsize, a.shape, a.strides)
        assert m.tobytes() == a.tobytes()


# ------------------------------------------------------- found by a review, and mended


def test_a_selection_of_fields_leaves_the_others_alone():
    # To NumPy the gaps are padding; they are somebody else's fields.
    a = np.zeros(3, np.dtype([("a", "i4"), ("b", "i4"), ("c", "f8")]))
    a["b"] = [11, 12, 13]
    v = a[["a", "c"]]
    bb.wrap(v)[0] = (7, 7.0)
    bb.eval("x -> fill!(x, (a = Int32(1), c = 2.0))")(v)
    assert a.tolist() == [(1, 11, 2.0), (1, 12, 2.0), (1, 13, 2.0)]
    bb.eval("sort!")(v)
    assert a["b"].tolist() == [11, 12, 13]


def test_padding_of_a_wrapped_array_is_left_alone():
    a = np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True))
    memory = a.view("u1").reshape(2, 16)
    memory[...] = 0xEE
    for x in (bb.wrap(a), bb.wrap(a[::-1])):
        x[0] = (0, 0.0)
    assert memory[:, 1:8].tolist() == [[0xEE] * 7] * 2


@pytest.mark.parametrize("dims", ["2^62", "2^32, 2^32", "-1", "-1, -1"])
def test_arrays_of_records_that_are_too_large(dims):
    x = np.zeros(3, [("a", "u1"), ("b", ">i4"), ("c", "V7")])
    with pytest.raises(ValueError, match="dimensions"):
        bb.eval(f"x -> similar(x, {dims})")(x)


def test_julias_own_arrays_of_packed_records():
    a = np.array([(1, 2.5)], [("a", "u1"), ("b", ">f8")])
    own = bb.Base.collect(a)
    assert np.asarray(own).dtype == np.dtype([("a", "u1"), ("b", "f8")], align=True)
    assert own["b"][0] == 2.5
    own[0] = (3, 4.5)
    assert np.asarray(own).tolist() == [(3, 4.5)]


def test_a_subclass_that_lies_about_its_dtype():
    class Lie(np.ndarray):
        dtype = np.dtype([("a", "O")])

    x = bb.wrap(np.full(2, 1234, [("a", "i8")]).view(Lie))
    assert x[0] == (1234,)


def test_names_that_are_changed_in_place():
    a = np.zeros(3, [("in", [("x", "i4"), ("y", "i4")]), ("p", ">i2")])
    names = bb.eval("a -> join(propertynames(getproperty(a[1], :in)), ' ')")
    assert names(a) == "x y"
    a.dtype["in"].names = ("p", "q")
    assert names(a) == "p q"


def test_sub_arrays_of_anything_from_numpy():
    a = np.zeros(2, [("s", "S2", (2,)), ("r", [("p", ">i2")], (2,)), ("o", "O", (2,))])
    b = a.copy()
    b["s"] = b"ab"
    b["r"]["p"] = 5
    b["o"] = [[1, 2], ["x", None]]
    x = bb.wrap(a)
    for name in a.dtype.names:
        x[name] = b[name].copy()
    assert (a == b).all()


def test_objects_of_records_that_have_no_format_are_the_very_objects():
    dtype = {"names": ["o", "a"], "formats": ["O", "i4"], "offsets": [8, 0], "itemsize": 16}
    a = np.zeros(2, dtype)
    value = [1]
    bb.wrap(a)[0] = (value, 2)
    assert a[0]["o"] is value


def test_ctypes_objects_are_read_only():
    # ctypes keeps the references elsewhere: replacing the pointer would be none of its business.
    import ctypes

    o = object()
    c = (ctypes.py_object * 2)(o, None)
    x = bb.wrap(c)
    assert x[0] is o
    with pytest.raises(ValueError, match="read-only"):
        x[0] = None

    class Holder(ctypes.Structure):
        _fields_ = [("a", ctypes.c_int), ("o", ctypes.py_object)]

    x = bb.wrap(Holder(1, o))
    assert x[()].o is o
    with pytest.raises(ValueError, match="read-only"):
        x["o"] = None


def test_scalars_leave_no_buffers_behind():
    record = np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])[0]
    before = collect_both()["pinned_buffers"]
    for _ in range(100):
        assert bb.Base.identity(record) == (1, 2.0)
        bb.Base.identity(np.longdouble(1))
    assert collect_both()["pinned_buffers"] <= before


def test_recordarrays_keep_the_memory_of_julias_arrays():
    """Also where nothing else does: Julia drops finalizers that have no effect."""
    code = "BufferBridge.recordarray(KeptPoint, [(x = float(i), n = i) for i in 1:10^5])"
    a = np.asarray(bb.eval(f"struct KeptPoint; x::Float64; n::Int; end; (() -> {code})()"))
    for _ in range(3):
        bb.eval("GC.gc(); zeros(Int, 2 * 10^5); nothing")
    assert a["n"].sum() == a["x"].sum() == 5000050000
