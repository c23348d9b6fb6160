"""The format language of PEP 3118: what each format means, exporters' quirks, and hostile formats.

What is expected comes from struct, ctypes and NumPy on the same memory.
"""

from __future__ import annotations

import array
import ctypes
import itertools
import math
import random
import struct
import sys

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import bufferbridge as bb

from .pybuffer import exporting_type

tb = pytest.importorskip("_testbuffer")

identity = bb.Base.identity
LITTLE = sys.byteorder == "little"
SWAPPED = ">" if LITTLE else "<"

# The codec is called directly where there are many formats: an array of each would be compiled.
memory_type = bb.eval("BufferBridge.memorytype")

# What a memory type consists of, as "path offset type bytes" for each number and character. Types
# are not specialized on, which would take longer than all the rest.
memory_leaves = bb.eval(r"""
    using BufferBridge: BufferBridge, describe, memorysize, valuetype, FormatError
    # Julia 1.5 prints Complex{Float64}, later ones ComplexF64.
    typename(T) = T <: Complex ? "Complex{" * typename(real(T)) * "}" :
        T <: Ptr ? "Ptr" : string(nameof(T))
    function leaves!(out, @nospecialize(S), offset, path)
        d = describe(S, "it")
        if d isa BufferBridge.Items
            for i in 1:d.n
                leaves!(out, d.S, offset + (i - 1) * memorysize(d.S), "$path[$(i - 1)]")
            end
        elseif d isa BufferBridge.Fields
            for (name, F, o) in zip(d.names, d.Ss, d.offsets)
                leaves!(out, F, offset + o, "$path.$name")
            end
        else
            swapped = S <: BufferBridge.Swapped ? " swapped" : ""
            push!(out, "$path $offset $(typename(valuetype(S))) $(memorysize(S))$swapped")
        end
        return out
    end
    memory_leaves(@nospecialize(S)) = join(leaves!(String[], S, 0, ""), "\n")
    """)
value_type = bb.eval('S -> replace(string(BufferBridge.valuetype(S)), r"\\bBufferBridge\\." => "")')


def layout(format_, itemsize):
    """(path, offset, type, bytes[, "swapped"]) of all that a format consists of."""
    lines = memory_leaves(memory_type(format_, itemsize)).splitlines()
    return [tuple(line.split(" ")) for line in lines]


# --------------------------------------------------------- exporters with any format


def _fill(self, v):
    v.buf, v.len = ctypes.addressof(self.memory), len(self.memory)
    v.itemsize, v.readonly, v.ndim, v.format = self.itemsize, 0, 1, self.format
    v.shape, v.strides, v.suboffsets = self.shape, None, None


class Exporter(exporting_type("tests.Exporting", _fill)):
    """Items of any format and itemsize; `exports` counts the buffers that are held."""

    def __init__(self, format_, itemsize, data=None):
        if isinstance(format_, str):
            format_ = format_.encode("utf-8", "surrogateescape")
        data = bytes(2 * itemsize) if data is None else bytes(data)
        self.format = format_
        self.itemsize = itemsize
        self.memory = (ctypes.c_char * len(data)).from_buffer_copy(data)
        self.shape = (ctypes.c_ssize_t * 1)(len(data) // itemsize if itemsize else 2)
        self.exports = 0


def flat(value):
    """The numbers and strings in a record, however nested."""
    if isinstance(value, (tuple, list)):
        return [leaf for v in value for leaf in flat(v)]
    if isinstance(value, bb.JuliaValue) and "RawBytes" in repr(value):
        return []  # padding without a name
    return [value]


def refused(format_, itemsize, match=None):
    """The exception of an exporter that can't be shared; nothing is held or changed afterwards."""
    data = bytes(range(1, 1 + min(max(itemsize, 1), 64)))
    o = Exporter(format_, itemsize, (data * (itemsize // len(data) + 1))[:itemsize])
    before = bytes(o.memory)
    for use in (identity, bb.wrap):
        with pytest.raises(ValueError, match=match) as raised:
            use(o)
        assert o.exports == 0
    assert bytes(o.memory) == before
    return str(raised.value)


# ------------------------------------------------------------------ single elements

NUMBERS = {
    "?": (True, "Bool"),
    "b": (-5, "Int8"),
    "B": (250, "UInt8"),
    "h": (-300, "Int16"),
    "H": (60000, "UInt16"),
    "i": (-70000, "Int32"),
    "I": (4 * 10**9, "UInt32"),
    "l": (-70000, None),
    "L": (70000, None),
    "q": (-(2**60), "Int64"),
    "Q": (2**63 + 5, "UInt64"),
    "n": (-(2**60), "Int64"),
    "N": (2**63 + 5, "UInt64"),
    "e": (1.5, "Float16"),
    "f": (-2.25, "Float32"),
    "d": (math.pi, "Float64"),
}


@pytest.mark.parametrize("mark", ["", "@", "=", "<", ">", "!"])
@pytest.mark.parametrize("code", NUMBERS)
def test_numbers_are_those_of_struct(code, mark):
    value, julia = NUMBERS[code]
    native = mark in ("", "@")
    if code in "nN" and not native:
        # struct has them in native mode only; here they are the machine's word everywhere.
        assert layout(mark + code, 8)[0][2] == julia
        return
    size = struct.calcsize(mark + code)
    x = bb.wrap(Exporter(mark + code, size, struct.pack(mark + code, value) * 2))
    assert x[0] == x[1] == value
    assert x.shape == (2,)
    letter = "U" if code.isupper() else ""
    ((_, offset, type_, bytes_, *swapped),) = layout(mark + code, size)
    assert (offset, type_, bytes_) == ("0", julia or f"{letter}Int{8 * size}", str(size))
    assert bool(swapped) == (size > 1 and mark in (SWAPPED, "!" if LITTLE else SWAPPED))
    x[1] = 0
    assert x[1] == 0
    assert x[0] == value


@pytest.mark.parametrize("code", [c for c in NUMBERS if c not in "nN"])
def test_caret_is_native_without_alignment(code):
    native, size = NUMBERS[code][0], struct.calcsize(code)
    x = bb.wrap(Exporter("^b" + code, 1 + size, struct.pack("b", 1) + struct.pack(code, native)))
    assert flat(x[0]) == [1, native]


SINGLES = [
    ("c", 1, b"a", ord("a"), "UInt8"),
    ("3s", 3, b"ab\0", "ab", "FixedString{'s',3,UInt8}"),
    ("s", 1, b"a", "a", "FixedString{'s',1,UInt8}"),
    ("5s", 5, "né".encode() + b"\0\0", "né", "FixedString{'s',5,UInt8}"),
    (">3s", 3, b"abc", "abc", "FixedString{'s',3,UInt8}"),
    ("4p", 4, b"\2abc", "ab", "FixedString{'p',4,UInt8}"),
    ("p", 1, b"\5", "", "FixedString{'p',1,UInt8}"),
    ("4p", 4, b"\xffabc", "abc", "FixedString{'p',4,UInt8}"),
    ("<2w", 8, "né".encode("utf-32-le"), "né", "FixedString{'w',2,UInt32}"),
    (">2w", 8, "né".encode("utf-32-be"), "né", "FixedString{'w',2,UInt32}"),
    ("<3u", 6, "n😀".encode("utf-16-le"), "n😀", "FixedString{'u',3,UInt16}"),
    (">3u", 6, "n😀".encode("utf-16-be"), "n😀", "FixedString{'u',3,UInt16}"),
    ("<Zf", 8, struct.pack("<ff", 1.5, -2), 1.5 - 2j, "Complex{Float32}"),
    (">Zf", 8, struct.pack(">ff", 1.5, -2), 1.5 - 2j, "Complex{Float32}"),
    ("<Zd", 16, struct.pack("<dd", 0.1, -2), 0.1 - 2j, "Complex{Float64}"),
    (">Zd", 16, struct.pack(">dd", 0.1, -2), 0.1 - 2j, "Complex{Float64}"),
    ("<Ze", 4, struct.pack("<ee", 1.5, -2), 1.5 - 2j, "Complex{Float16}"),
    ("(2,3)<h", 12, struct.pack("<6h", *range(6)), ((0, 1, 2), (3, 4, 5)), None),
    ("<(2,3)h", 12, struct.pack("<6h", *range(6)), ((0, 1, 2), (3, 4, 5)), None),
    (">(2,3)h", 12, struct.pack(">6h", *range(6)), ((0, 1, 2), (3, 4, 5)), None),
    ("(2)>3h", 12, struct.pack(">6h", *range(6)), ((0, 1, 2), (3, 4, 5)), None),
    ("( 2 , 3 )h", 12, struct.pack("6h", *range(6)), ((0, 1, 2), (3, 4, 5)), None),
    ("(3,)d", 24, struct.pack("3d", 1, 2, 3), (1, 2, 3), None),
    ("3d", 24, struct.pack("3d", 1, 2, 3), (1, 2, 3), None),
    ("1d", 8, struct.pack("d", 1), 1, "Float64"),
    ("(1)d", 8, struct.pack("d", 1), (1,), None),
    (" d ", 8, struct.pack("d", 1), 1, "Float64"),
    ("(2)3s", 6, b"abcde\0", ("abc", "de"), None),
]


@pytest.mark.parametrize(
    ("format_", "size", "data", "value", "type_"), SINGLES, ids=[s[0] for s in SINGLES]
)
def test_single_elements(format_, size, data, value, type_):
    x = bb.wrap(Exporter(format_, size, data))
    assert x[0] == value
    if type_ is not None:
        got = value_type(memory_type(format_, size)).replace(", ", ",")
        for bits in ("16", "32", "64"):
            got = got.replace(f"ComplexF{bits}", f"Complex{{Float{bits}}}")
        assert got == type_


@pytest.mark.parametrize("mark", ["", "@", "=", "<", ">", "!", "^"])
@pytest.mark.parametrize("code", ["g", "Zg"])
def test_long_doubles(code, mark):
    number = np.longdouble(1) / 3
    a = np.array([number if code == "g" else number * (1 + 2j)])
    a = a.astype(a.dtype.newbyteorder(mark if mark in "<>=" and mark else "="))
    swapped = mark in (SWAPPED, "!" if LITTLE else SWAPPED)
    data = a.astype(a.dtype.newbyteorder(SWAPPED)).tobytes() if swapped else a.tobytes()
    x = bb.wrap(Exporter(mark + code, a.itemsize, data))
    parts = bb.eval("x -> (r = Rational{BigInt}; (string(r(real(x[1]))), string(r(imag(x[1])))))")(
        x
    )
    for part, expected in zip(parts, (a[0].real, a[0].imag)):
        n, d = (int(t) for t in part.split("//"))
        assert (n, d) == expected.as_integer_ratio()


def test_pointers():
    target = ctypes.c_double(2.5)
    data = struct.pack("P", ctypes.addressof(target))
    for format_ in ("&d", "&<d", "&(2,3)d", "&T{d:a:}"):
        x = bb.wrap(Exporter(format_, 8, data))
        assert bb.eval("x -> x[1] isa Ptr && UInt(x[1])")(x) == ctypes.addressof(target)
    x = bb.wrap(Exporter("&d", 8, data))
    assert bb.eval("x -> unsafe_load(x[1])")(x) == 2.5
    assert np.asarray(x).tolist() == [ctypes.addressof(target)]  # as an unsigned integer
    for format_ in ("P", "&", "&&d", "&P", "z", "Z"):
        if format_ != "&":
            x = bb.wrap(Exporter(format_, 8, data))
            assert bb.eval("x -> x[1] isa Ptr")(x)
    refused("&", 8, r"character 2")
    refused(SWAPPED + "P", 8, "another machine")
    refused(SWAPPED + "&d", 8, "another machine")


def test_objects():
    thing = object()
    memory = (ctypes.py_object * 2)(thing, None)
    for format_ in ("O", "^O", "@O"):
        count = sys.getrefcount(thing)
        o = Exporter(format_, 8, bytes(memory))
        x = bb.wrap(o)
        assert x[0] is thing
        assert x[1] is None
        del x, o
        bb.Base.GC.gc()
        bb.stats()
        assert sys.getrefcount(thing) == count
    nulls = bb.wrap(Exporter("O", 8, bytes(16)))
    assert nulls[0] is None  # as NumPy has it


def test_no_format_is_bytes():
    x = bb.wrap(Exporter(None, 1, b"ab"))
    assert np.asarray(x).dtype == "u1"
    assert bytes(x) == b"ab"
    message = refused(None, 4)
    assert "1 byte" in message
    assert "itemsize is 4" in message


def test_padding():
    """Whole elements of padding are bytes without a meaning; NumPy's void, in other words."""
    x = bb.wrap(Exporter("4x", 4, b"abcdefgh"))
    assert np.asarray(x).tobytes() == b"abcdefgh"
    assert np.asarray(x).dtype.itemsize == 4
    assert layout("xxhx3xd", 16)[0][:3] == (".f0", "2", "Int16")
    assert layout("xxhx3xd", 16)[1][:3] == (".f1", "8", "Float64")
    assert [leaf[:2] for leaf in layout("T{2x:a:h:b:}", 4)] == [(".a", "0"), (".b", "2")]
    # Padding may be long: no type says how long.
    assert layout("i:a:100000x", 100004) == [(".a", "0", "Int32", "4")]


# ---------------------------------------------------------------------- records

RECORDS = {
    # Unnamed items are named as NumPy does it.
    ("iQd", 24): [".f0 0", ".f1 8", ".f2 16"],
    ("<iQd", 20): [".f0 0", ".f1 4", ".f2 12"],
    ("i:f1:q", 16): [".f1 0", ".f0 8"],
    ("T{b:x:T{h:y:}:z:}", 4): [".x 0", ".z.y 2"],
    ("T{b:x:(2)T{h:y:b:w:}:z:}", 10): [".x 0", ".z[0].y 2", ".z[0].w 4", ".z[1].y 6", ".z[1].w 8"],
    ("2T{b:x:}", 2): ["[0].x 0", "[1].x 1"],
    # Names may have anything but ':'.
    ("T{i:é }ü{:i:1:}", 8): None,
    # NumPy's own spellings
    ("T{i:a:=d:b:}", 12): [".a 0", ".b 4"],
    ("T{xxxxi:a:xxxxxxxxd:b:}", 24): [".a 4", ".b 16"],
    ("T{b:a:^i:b:}", 5): [".a 0", ".b 1"],
    ("T{>h:a:i:b:}", 6): [".a 0", ".b 2"],
    ("T{(2)>h:a:@i:b:}", 8): [".a[0] 0", ".a[1] 2", ".b 4"],
    # The end of a record, with or without the padding of its alignment
    ("T{d:a:b:b:}", 16): [".a 0", ".b 8"],
    ("T{d:a:b:b:}", 9): [".a 0", ".b 8"],
    ("T{d:a:b:b:7x}", 16): [".a 0", ".b 8"],
    ("db", 16): [".f0 0", ".f1 8"],
    ("db", 9): [".f0 0", ".f1 8"],
    # C's alignment though the marks forbid it, and none though they ask for it
    ("T{<b:a:<d:b:<h:c:}", 24): [".a 0", ".b 8", ".c 16"],
    ("T{<b:a:<d:b:<h:c:}", 11): [".a 0", ".b 1", ".c 9"],
    ("T{b:a:d:b:}", 9): [".a 0", ".b 1"],
    ("T{<b:a:T{<b:c:<d:d:}:b:<h:e:}", 32): [".a 0", ".b.c 8", ".b.d 16", ".e 24"],
    # ctypes' u has four bytes
    ("T{<u:a:<i:b:}", 8): [".a 0", ".b 4"],
    ("T{<u:a:<i:b:}", 6): [".a 0", ".b 2"],
}


@pytest.mark.parametrize(("given_", "places"), RECORDS.items(), ids=str)
def test_records(given_, places):
    format_, itemsize = given_
    if places is not None:
        assert [" ".join(leaf[:2]) for leaf in layout(format_, itemsize)] == places
    # The same through an exporter, byte by byte.
    o = Exporter(format_, itemsize, bytes(2 * itemsize))
    x = bb.wrap(o)
    assert x.shape == (2,)
    assert x.itemsize == itemsize
    assert memoryview(x).itemsize == itemsize
    assert len(flat(x[1])) == len(layout(format_, itemsize))


def test_names_with_spaces_and_brackets():
    x = bb.wrap(Exporter("T{i:é }ü{:i:1:}", 8, struct.pack("4i", 1, 2, 3, 4)))
    assert np.asarray(x).dtype.names == ("é }ü{", "1")
    assert np.asarray(x["é }ü{"]).tolist() == [1, 3]
    assert np.asarray(x["1"]).tolist() == [2, 4]


# NumPy's parser of formats knows all but a few codes (and fewer marks than may stand there).
numpy_parser = getattr(np, "_core", None) or np.core
numpy_parser = numpy_parser._internal._dtype_from_pep3118
NUMPY_CODES = "?bBhHiIlLqQefdg"


@st.composite
def numpy_formats(draw, depth=0):
    parts = []
    for i in range(draw(st.integers(1, 4))):
        part = draw(st.sampled_from(["", "", "", "", "@", "=", "<", ">", "^"]))
        if not part and draw(st.integers(0, 5)) == 0:
            part = f"({','.join(draw(st.lists(st.sampled_from('123'), min_size=1, max_size=3)))})"
            part += draw(st.sampled_from(["", "", "@", "=", "<", ">"]))
        kind = draw(st.sampled_from(["number"] * 6 + ["record", "padding", "string", "complex"]))
        if kind == "padding" and parts:
            parts.append(draw(st.sampled_from(["x", "3x"])))
            continue
        if kind == "record" and depth < 3:
            part += "T{" + draw(numpy_formats(depth=depth + 1)) + "}"
        elif kind == "string":
            part += draw(st.sampled_from("123")) + draw(st.sampled_from("sw"))
        elif kind == "complex":
            part += "Z" + draw(st.sampled_from("fdg"))
        else:
            part += draw(st.sampled_from(["", "", "3"])) + draw(st.sampled_from(NUMPY_CODES))
        if depth or draw(st.booleans()):
            part += f":{draw(st.sampled_from('ab'))}{depth}{i}:"
        parts.append(part)
    return "".join(parts)


def dtype_leaves(dtype, offset=0, path=""):
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        for n, index in enumerate(np.ndindex(shape)):
            place = "".join(f"[{i}]" for i in index)
            yield from dtype_leaves(base, offset + n * base.itemsize, path + place)
    elif dtype.names is not None:
        for name in dtype.names:
            yield from dtype_leaves(
                dtype.fields[name][0], offset + dtype.fields[name][1], f"{path}.{name}"
            )
    else:
        kind, size = dtype.kind, dtype.itemsize
        float_ = lambda n: {2: "Float16", 4: "Float32", 8: "Float64", 16: "LongDouble"}[n]  # noqa: E731
        name = {
            "b": lambda: "Bool",
            "i": lambda: f"Int{8 * size}",
            "u": lambda: f"UInt{8 * size}",
            "f": lambda: float_(size),
            "c": lambda: f"Complex{{{float_(size // 2)}}}",
            "S": lambda: "FixedString",
            "U": lambda: "FixedString",
        }[kind]()
        swapped = () if dtype.isnative else ("swapped",)
        yield (path, str(offset), name, str(size), *swapped)


@settings(max_examples=250, deadline=None, derandomize=True)
@example("T{i:a:=d:b:}")
@example("T{xxxxi:a:xxxxxxxxd:b:}")
@example("(2,3)>h")
@example("T{b:a:T{d:c:b:d:}:b:b:e:}")
@given(numpy_formats())
def test_formats_mean_what_they_mean_to_numpy(format_):
    try:
        dtype = numpy_parser(format_)
    except (ValueError, KeyError):  # marks that may not stand there, and no '=g'
        assume(False)
    assert layout(format_, dtype.itemsize) == list(dtype_leaves(dtype))


# ---------------------------------------------------------------- the struct module

STRUCT_CODES = "cbB?hHiIlLqQfdePspxnN"


@st.composite
def struct_formats(draw):
    mark = draw(st.sampled_from(["", "@", "=", "<", ">", "!"]))
    parts = []
    for _ in range(draw(st.integers(1, 5))):
        code = draw(st.sampled_from(STRUCT_CODES))
        if mark not in ("", "@") and code in "nNP":
            code = "q"
        count = draw(st.sampled_from(["", "", "", "1", "2", "3"]))
        parts.append(count + code + draw(st.sampled_from(["", "", "", " "])))
    return mark + "".join(parts)


def random_items(format_, rng):
    """Values for struct.pack that tell all items apart; strings without zeros at the end."""
    mark = format_[0] if format_[0] in "@=<>!" else ""
    for count, code in split(format_.lstrip("@=<>!")):
        if code in "sp":
            room = count - (code == "p")
            yield bytes(rng.choice(b"abcdefgh") for _ in range(max(room, 0)))
            continue
        for _ in range(count):
            if code == "c":
                yield bytes([rng.randrange(256)])
            elif code == "?":
                yield rng.random() < 0.5
            elif code in "efd":
                yield float(rng.randrange(-100, 100)) / 4
            elif code != "x":
                bits = 8 * struct.calcsize(mark + code)
                signed = code.islower()
                yield (
                    rng.randrange(-(2 ** (bits - 1)), 2 ** (bits - 1))
                    if signed
                    else (rng.randrange(2**bits))
                )


def split(format_):
    """(count, code) of the items of a struct format."""
    digits = ""
    for c in format_:
        if c.isdigit():
            digits += c
        elif not c.isspace():
            yield int(digits or 1), c
            digits = ""


def as_struct_has_it(value):
    """One of Python's values as it comes from Julia: text for strings, integers for characters."""
    if isinstance(value, bytes):
        return value.decode()
    return value


def comparable(expected, got, codes):
    for value, other, code in itertools.zip_longest(expected, got, codes):
        if code == "c":
            yield ord(value), other
        elif code == "P":
            yield value, bb.eval("p -> UInt(p)")(other)
        else:
            yield as_struct_has_it(value), other


# Each format is a record type of its own, for which Julia compiles.
FEW = settings(max_examples=12, deadline=None, derandomize=True)


@FEW
@example("iQd", 0)
@example("<hxB", 0)
@example("3s", 0)
@example("2h", 0)
@example(">hxd2sB", 0)
@example("b0i", 0)
@example("c?e5pP", 0)
@given(struct_formats(), st.integers(0, 2**16))
def test_values_are_those_of_struct(format_, seed):
    rng = random.Random(seed)
    items = [tuple(random_items(format_, rng)) for _ in range(3)]
    assume(items[0])
    single = len(items[0]) == 1
    nd = tb.ndarray(
        [i[0] if single else i for i in items],
        shape=[3],
        format=format_,
        flags=tb.ND_WRITABLE,
    )
    assert nd.itemsize == struct.calcsize(format_)
    x = bb.wrap(nd)
    codes = [
        code
        for count, code in split(format_.lstrip("@=<>!"))
        for _ in range(1 if code in "sp" else 0 if code == "x" else count)
    ]
    for i in range(3):
        expected = struct.unpack_from(format_, nd.tobytes(), i * nd.itemsize)
        for value, other in comparable(expected, flat(x[i]), codes):
            assert value == other
    # Written back in another place, all items are the same bytes.
    bb.eval("(x, i, j) -> (x[i] = x[j]; nothing)")(x, 1, 3)
    assert struct.unpack_from(format_, nd.tobytes()) == struct.unpack_from(
        format_, nd.tobytes(), 2 * nd.itemsize
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@example("b0i")
@example("2h0q")
@example("3p3h")
@given(struct_formats())
def test_offsets_are_those_of_struct(format_):
    """Where an item lies is where struct.pack puts bytes that are not zero."""
    mark = format_[0] if format_[0] in "@=<>!" else ""
    wanted = []
    done = mark
    for count, code in split(format_.lstrip("@=<>!")):
        assume(count > 0 or code not in "spx")  # see test_strings_without_room
        size = struct.calcsize(mark + code)
        if code == "x":
            done += f"{count}x"
            continue
        # The item's end is the size of the format up to there.
        for _ in range(1 if code in "sp" else count):
            done += f"{count}{code}" if code in "sp" else code
            end = struct.calcsize(done)
            size_ = count if code in "sp" else size
            wanted.append((str(end - size_), str(size_)))
        if code not in "sp" and count == 0:
            done += f"0{code}"
    assume(wanted)
    got = [(leaf[1], leaf[3]) for leaf in layout(format_, struct.calcsize(format_))]
    assert got == wanted


# ------------------------------------------------------------------------ ctypes

SIMPLE = {
    ctypes.c_bool: "Bool",
    ctypes.c_char: "UInt8",
    ctypes.c_int8: "Int8",
    ctypes.c_uint8: "UInt8",
    ctypes.c_int16: "Int16",
    ctypes.c_uint16: "UInt16",
    ctypes.c_int32: "Int32",
    ctypes.c_uint32: "UInt32",
    ctypes.c_int64: "Int64",
    ctypes.c_uint64: "UInt64",
    ctypes.c_long: f"Int{8 * ctypes.sizeof(ctypes.c_long)}",
    ctypes.c_ulong: f"UInt{8 * ctypes.sizeof(ctypes.c_ulong)}",
    ctypes.c_float: "Float32",
    ctypes.c_double: "Float64",
}
NATIVE_ONLY = {
    ctypes.c_wchar: "FixedString",
    ctypes.c_longdouble: "LongDouble" if ctypes.sizeof(ctypes.c_longdouble) == 16 else "Float64",
    ctypes.c_void_p: "Ptr",
    ctypes.c_char_p: "Ptr",
    ctypes.c_wchar_p: "Ptr",
    ctypes.py_object: "PyObject",
    ctypes.POINTER(ctypes.c_int): "Ptr",
    ctypes.POINTER(ctypes.c_double * 3): "Ptr",
}
SWAPPING = ctypes.BigEndianStructure if LITTLE else ctypes.LittleEndianStructure


@st.composite
def structures(draw, swapped=None, depth=0, native_only=True):
    if swapped is None:
        swapped = draw(st.sampled_from([False, False, True]))
    pack = draw(st.sampled_from([None, None, 1, 2, 4]))
    base = SWAPPING if swapped else ctypes.Structure
    # Python 3.13 knows swapped c_bools.
    kinds = [t for t in SIMPLE if not swapped or hasattr(t, "__ctype_be__")]
    kinds += list(NATIVE_ONLY) if native_only and not swapped else []
    names = iter(["a", "b c", "é", "f0", "_x", "class", "d", "e", "g", "h"])
    inherits = draw(st.integers(0, 3)) == 0

    def fields():
        result = []
        for _ in range(draw(st.integers(1, 4))):
            if depth < 2 and draw(st.integers(0, 4)) == 0:
                type_ = draw(structures(swapped, depth + 1, native_only))
            else:
                type_ = draw(st.sampled_from(kinds))
            for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
                type_ = type_ * draw(st.integers(1, 3))
            result.append((next(names), type_))
        return result

    def subclass(of):
        body = {"_fields_": fields()}
        if pack is not None:
            body["_pack_"] = pack
            body["_layout_"] = "ms"  # Python 3.14 wants to know
        return type(of)("Generated", (of,), body)

    type_ = subclass(base)
    return subclass(type_) if inherits else type_


def fields_of(type_):
    for class_ in reversed(type_.__mro__):
        for name, field_type, *_ in vars(class_).get("_fields_", ()):
            yield name, field_type, getattr(class_, name).offset


def is_swapped(type_):
    return type_ is getattr(type_, "__ctype_be__" if LITTLE else "__ctype_le__", None)


def ctypes_leaves(type_, offset=0, path=""):
    if issubclass(type_, ctypes.Array):
        for i in range(type_._length_):
            o = offset + i * ctypes.sizeof(type_._type_)
            yield from ctypes_leaves(type_._type_, o, f"{path}[{i}]")
    elif issubclass(type_, ctypes.Structure):
        for name, field_type, o in fields_of(type_):
            yield from ctypes_leaves(field_type, offset + o, f"{path}.{name}")
    else:
        size = ctypes.sizeof(type_)
        swapped = is_swapped(type_) and size > 1
        native = getattr(type_, "__ctype_le__" if LITTLE else "__ctype_be__", type_)
        julia = SIMPLE.get(native) or NATIVE_ONLY[native]
        yield (path, str(offset), julia, str(size), *(("swapped",) if swapped else ()))


def layout_of(o):
    """As `layout`, of an exporter."""
    lines = bb.eval("x -> memory_leaves(BufferBridge.memorytype(x))")(o).splitlines()
    # Names may have spaces.
    split_ = [line.split(" swapped") for line in lines]
    return [(*line.rsplit(" ", 3), *(["swapped"] if rest else [])) for line, *rest in split_]


@FEW
@given(structures(), st.sampled_from([(), (3,), (2, 3)]))
def test_layouts_are_those_of_ctypes(type_, shape):
    array_type = type_
    for n in reversed(shape):
        array_type = array_type * n
    o = array_type()
    wanted = list(ctypes_leaves(type_))
    for exporter in (o, memoryview(o)):
        x = bb.wrap(exporter)
        assert x.shape == shape
        assert x.itemsize == ctypes.sizeof(type_)
        assert layout_of(x) == wanted


def fill(o, rng):
    """Random values in a ctypes structure or array, and what they are in Julia."""
    if isinstance(o, ctypes.Structure):
        types = {name: type_ for name, type_, _ in fields_of(type(o))}
        get, set_ = o.__getattribute__, o.__setattr__
    else:
        types = dict.fromkeys(range(len(o)), o._type_)
        get, set_ = o.__getitem__, o.__setitem__
    values = []
    for key, type_ in types.items():
        if issubclass(type_, ctypes.Array) and getattr(type_._type_, "_type_", None) == "c":
            # Reading it gives a copy, and all of it is text.
            text = bytes(rng.randrange(256) for _ in range(type_._length_))
            set_(key, type_.from_buffer_copy(text))
            values.append(list(text))
        elif issubclass(type_, (ctypes.Structure, ctypes.Array)):
            values.append(fill(get(key), rng))
        else:
            value, wanted = random_number(type_, rng)
            set_(key, value)
            values.append(wanted)
    return values


def random_number(type_, rng):
    code = type_._type_
    if code == "?":
        value = rng.random() < 0.5
    elif code == "c":
        byte = rng.randrange(256)
        return bytes([byte]), byte
    elif code in "fd":
        value = rng.randrange(-100, 100) / 4
    else:
        bits = 8 * ctypes.sizeof(type_)
        value = rng.randrange(2**bits) - (2 ** (bits - 1) if code.islower() else 0)
    return value, value


@FEW
@given(structures(native_only=False), st.integers(0, 2**16))
def test_values_are_those_of_ctypes(type_, seed):
    memory = (type_ * 2)()
    wanted = [fill(item, random.Random(seed + i)) for i, item in enumerate(memory)]
    x = bb.wrap(memory)
    assert [flat(x[i]) for i in range(2)] == [flat(w) for w in wanted]
    # Writing changes fields, and not what lies between them.
    before = bytes(memory)
    bb.eval("x -> (x[1] = x[2]; x[2] = x[1]; nothing)")(x)
    again = (type_ * 2).from_buffer_copy(before)
    ctypes.memmove(again, ctypes.byref(again, ctypes.sizeof(type_)), ctypes.sizeof(type_))
    view = bb.wrap(again)
    assert flat(x[0]) == flat(view[0]) == flat(wanted[1])
    assert bytes(memory)[ctypes.sizeof(type_) :] == before[ctypes.sizeof(type_) :]


class Padded(ctypes.Structure):
    _fields_ = [("a", ctypes.c_byte), ("b", ctypes.c_double), ("c", ctypes.c_short)]


class Tight(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("a", ctypes.c_byte), ("b", ctypes.c_double), ("c", ctypes.c_short)]


class Derived(Padded):
    _fields_ = [("d", ctypes.c_int)]


class Mixed(ctypes.Structure):
    _fields_ = [("padded", Padded * 2), ("tight", Tight), ("wide", ctypes.c_wchar * 3)]


class Union(ctypes.Union):
    _fields_ = [("i", ctypes.c_int), ("f", ctypes.c_float)]


class Bits(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint, 3), ("high", ctypes.c_uint, 5)]


class HoldsUnion(ctypes.Structure):
    _fields_ = [("tag", ctypes.c_int), ("value", Union)]


class HoldsBits(ctypes.Structure):
    _fields_ = [("tag", ctypes.c_int), ("bits", Bits * 2)]


class HoldsFunction(ctypes.Structure):
    _fields_ = [("callback", ctypes.CFUNCTYPE(ctypes.c_int))]


@pytest.mark.parametrize("type_", [Padded, Tight, Derived, Mixed])
def test_what_ctypes_exports(type_):
    """Up to 3.11 ctypes leaves out padding, and says that packed structures are bytes. All versions
    leave out the fields of base classes."""
    for o in (
        type_(),
        (type_ * 3)(),
        memoryview((type_ * 3)())[1:],
        memoryview((type_ * 3)())[::-2],
    ):
        assert layout_of(bb.wrap(o)) == list(ctypes_leaves(type_))
    o = (type_ * 2)()
    first = o[1].padded[1] if type_ is Mixed else o[1]
    first.a, first.b, first.c = 1, 2.5, 3
    assert flat(bb.wrap(o)[1])[3 * (type_ is Mixed) :][:3] == [1, 2.5, 3]


def test_what_ctypes_exports_by_its_format_alone():
    """An exporter that passes ctypes' format on, and is not asked for offsets."""
    for type_ in (Padded, Tight):
        view = memoryview(type_())
        o = Exporter(view.format, view.itemsize, bytes(view))
        if view.format == "B":
            refused("B", view.itemsize, "itemsize is")
        else:
            assert layout_of(bb.wrap(o)) == list(ctypes_leaves(type_))


def test_a_cast_view_of_a_structure_is_what_it_was_cast_to():
    for type_ in (Padded, Tight, Union, Bits):
        view = memoryview((type_ * 3)()).cast("B")
        assert np.asarray(bb.wrap(view)).shape == (3 * ctypes.sizeof(type_),)
        assert np.asarray(bb.wrap(view)).dtype == "u1"


def test_a_cast_view_of_one_byte():
    class Small(ctypes.Union):
        _fields_ = [("a", ctypes.c_uint8), ("b", ctypes.c_int8)]

    # What the error for a union says to do.
    assert list(bb.wrap(memoryview(Small()).cast("B"))) == [0]


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        (Union, "union 'Union'.*has no such type"),
        (Union * 2, "union 'Union'"),
        (HoldsUnion, "union 'Union'"),
        (Bits, "field 'low'.*'Bits'.*bit field"),
        (Bits * 3, "field 'low'.*bit field"),
        (HoldsBits, "field 'low'.*'Bits'.*bit field"),
        (HoldsFunction, "function pointers"),
        (HoldsFunction * 2, "function pointers"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_structures_that_julia_has_not(type_, words):
    before = bb.stats()["pinned_buffers"]
    o = type_()
    for exporter in (o, memoryview(o)):
        for use in (identity, bb.wrap):
            with pytest.raises(TypeError, match=words) as raised:
                use(exporter)
            assert "share" in str(raised.value)
            del raised
    assert bb.stats()["pinned_buffers"] <= before


def test_function_pointers_by_their_format():
    function = ctypes.CFUNCTYPE(ctypes.c_int)
    with pytest.raises(ValueError, match=r"function pointers \(X\{\}\).*character 1\)"):
        bb.wrap((function * 2)())


def test_fields_that_hide_those_of_a_base_class():
    class Hiding(Padded):
        _fields_ = [("a", ctypes.c_int)]

    with pytest.raises(ValueError, match="two fields have the name 'a'"):
        bb.wrap(Hiding())


def test_an_empty_structure():
    class Empty(ctypes.Structure):
        pass

    for o in (Empty(), (Empty * 3)()):
        x = bb.wrap(o)
        assert x.itemsize == 0
        assert bb.Base.length(x) == (3 if isinstance(o, ctypes.Array) else 1)


def test_anonymous_fields():
    class Outer(ctypes.Structure):
        _anonymous_ = ("inner",)
        _fields_ = [("x", ctypes.c_byte), ("inner", Padded)]

    o = Outer(x=1)
    o.b = 2.5
    assert flat(bb.wrap(o)[()]) == [1, 0, 2.5, 0]


def test_pointers_of_ctypes():
    number = ctypes.c_int(7)
    pointers = (ctypes.POINTER(ctypes.c_int) * 2)(ctypes.pointer(number), None)
    x = bb.wrap(pointers)
    assert bb.eval("x -> unsafe_load(x[1])")(x) == 7
    assert bb.eval("x -> x[2] == C_NULL")(x) is True
    for o in (ctypes.c_void_p(5), ctypes.c_char_p(b"text"), ctypes.c_wchar_p("text")):
        assert bb.eval("x -> x[] isa Ptr && x[] != C_NULL")(bb.wrap(o)) is True
    assert bb.eval("x -> unsafe_string(x[])")(bb.wrap(ctypes.c_char_p(b"text"))) == "text"


def test_wide_characters_of_ctypes():
    text = ctypes.create_unicode_buffer("né😀")
    assert list(bb.wrap(text)) == [*"né😀", ""]


# ------------------------------------------------------------------- what is refused

WRONG = {
    "": 1,
    "<": 2,
    "y": 1,
    "é": 1,
    "iéd": 2,
    "名:a:": 1,
    "i:名:y": 5,
    "Zq": 1,
    "Z3f": 1,
    "3": 2,
    "3 d": None,
    "3>d": 2,
    "(2,3": 1,
    "(2,x)d": 4,
    "()d": 2,
    "(2)": 4,
    "(-1)d": 2,
    "(2)(3)d": 4,
    "T": 1,
    "T{": 1,
    "T{i": 1,
    "iT{d": 2,
    "T{i}}": 5,
    "}": 1,
    "i:name": 2,
    "T{i:name}": 4,
    "::": 1,
    "T{i:a:i:a:}": 7,
    "i:a:T{i:a:}:a:": 5,
    "t": 1,
    "3t": 2,
    "X{}": 1,
    "X{i}": 1,
    "T{i:a:X{}:b:}": 7,
    "T{i:a:t:b:}": 7,
    "99999999999d": 1,
    "2147483648x": 1,
    "2147483647x:a:": 1,
    "(99999,99999)d": 1,
    "(65536,65536)d": 1,
    "(4294967296,4294967296)d": 2,
    "2147483647d": 1,
    "2147483647s": 1,
    "2147483647w": 1,
    "2147483647x2147483647xd": 12,
    "T{2147483647x}T{2147483647x}": 15,
    "9223372036854775808x": 1,
    "18446744073709551617d": 1,
    "(2147483647)T{}": 1,
    SWAPPED + "P": 2,
    SWAPPED + "&d": 2,
}


@pytest.mark.parametrize(("format_", "position"), WRONG.items(), ids=repr)
def test_errors_say_where(format_, position):
    message = refused(format_, 8, "^format ")
    if position is not None:
        assert message.endswith(f"(at character {position})")
    assert f'format "{format_}"' in message


@pytest.mark.parametrize(
    ("format_", "words"),
    [
        ("iéd", "'é' is no code"),
        ("iyd", "'y' is no code"),
        ("T{i:a:i:a:}", "two fields have the name 'a'"),
        ("3t", "bit fields"),
        ("X{}", "function pointers"),
        ("T{i:a:X{}:b:}", "function pointers"),
        ("T{i", r"not closed with '}'"),
        ("i:name", "not closed with ':'"),
    ],
)
def test_errors_say_what(format_, words):
    refused(format_, 8, words)


@pytest.mark.parametrize(
    ("format_", "itemsize", "numbers"),
    [
        ("d", 4, ["8", "4"]),
        ("d", 16, ["8", "16"]),
        ("T{b:a:d:b:}", 20, ["16", "20"]),
        ("<iQd", 22, ["20", "22"]),
        ("3s", 4, ["3", "4"]),
        ("Zd", 8, ["16", "8"]),
        ("(2,3)h", 13, ["12", "13"]),
        ("O", 4, ["8", "4"]),
        ("B", 0, ["1", "0"]),
    ],
)
def test_sizes_that_do_not_fit_are_both_named(format_, itemsize, numbers):
    message = refused(format_, itemsize)
    assert f"{numbers[0]} byte" in message
    assert f"itemsize is {numbers[1]}" in message


def test_bytes_that_are_no_text():
    for format_ in (b"\xff", b"i\xffd", b"i:\xff:", b"\xc3", b"T{\x80:a:}", b"\xf0\x9f"):
        o = Exporter(format_, 4, bytes(4))
        if format_ == b"i:\xff:":
            assert flat(bb.wrap(o)[0]) == [0]
            continue
        for use in (identity, bb.wrap):
            with pytest.raises(ValueError, match="no code of an element"):
                use(o)
            assert o.exports == 0


def test_a_negative_itemsize():
    o = Exporter("T{i:a:}", 4, bytes(4))
    o.itemsize = -4
    with pytest.raises(BufferError, match="not valid"):
        bb.wrap(o)
    assert o.exports == 0


def test_items_without_bytes():
    for format_ in ("T{}", "(0)T{i:a:}", "0d", "0x", "T{0x}"):
        x = bb.wrap(Exporter(format_, 0, b""))
        assert x.shape == (2,)
        assert x.itemsize == 0
        assert flat(x[1]) == []


# ---------------------------------------------------------------------- fuzzing

# For parseformat and memorytype: they give a type of the size asked for, or a FormatError. The
# sizes are those that the readings give, so that many get through.
probe = bb.eval(r"""
    function probe(format, itemsize)
        B = BufferBridge
        sizes = Set{Int}(itemsize)
        try
            item, padded = B.parseformat(format, B.READINGS[1])
            push!(sizes, item.size, padded)
        catch e
            e isa B.FormatError || return "parseformat: " * sprint(showerror, e)
        end
        for n in sizes
            S = try
                B.memorytype(format, n)
            catch e
                e isa B.FormatError || return "memorytype of $n: " * sprint(showerror, e)
                occursin("(at character ", sprint(showerror, e)) || return "no position"
                1 <= e.position <= length(format) + 1 || return "position $(e.position)"
                continue
            end
            B.memorysize(S) == n || return "memorysize $(B.memorysize(S)) for $n"
        end
        return ""
    end""")
ALPHABET = "?bBhHiIlLqQnNefdgspuwcOPxzZtTX{}(),:@=<>!^&|0123456789 \t\n"
COUNTS = ["", "", "", "1", "2", "3", "0", "100", "4096", "99999", "2147483647", "9" * 30, "007"]


@st.composite
def items(draw, depth=0):
    part = draw(st.sampled_from(["", "", "", *"@=<>!^"]))
    if draw(st.integers(0, 6)) == 0:
        part += f"({','.join(draw(st.lists(st.sampled_from('0123'), min_size=1, max_size=3)))})"
        part += draw(st.sampled_from(["", *"@=<>!^ "]))
    part += draw(st.sampled_from(COUNTS))
    kind = draw(st.integers(0, 20))
    if kind < 4 and depth < 4:
        part += "T{" + "".join(draw(st.lists(items(depth + 1), max_size=3))) + "}"
    elif kind == 4:
        part += "&" + draw(items(depth + 1))
    elif kind == 5:
        part += "Z" + draw(st.sampled_from("efdgq"))
    else:
        part += draw(st.sampled_from("?bBhHiIlLqQnNefdgspuwcOPxzZtX"))
    if draw(st.integers(0, 2)) == 0:
        part += (
            f":{draw(st.sampled_from(['a', 'b', 'x y', 'é', '', 'f0', 'T{', '|', chr(0xDCFF)]))}:"
        )
    return part


@st.composite
def mutated(draw):
    format_ = list("".join(draw(st.lists(items(), min_size=1, max_size=4)))[:64])
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(format_)))
        c = draw(st.sampled_from(ALPHABET + "\x01\x7fé名\udc80\udcff😀"))
        format_[place : place + draw(st.integers(0, 1))] = draw(st.sampled_from(["", c]))
    return "".join(format_)


raw = st.binary(max_size=64).map(lambda b: b.decode("utf-8", "surrogateescape"))
letters = st.text(ALPHABET, max_size=64)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(mutated() | mutated() | raw | letters, st.integers(0, 40))
def test_any_string_is_a_type_or_an_error(format_, itemsize):
    assert probe(format_, itemsize) == ""


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.binary(max_size=64) | raw.map(lambda s: s.encode("utf-8", "surrogateescape")))
def test_exporters_of_any_bytes(format_):
    """Most are no formats; what is one must not hold more than its buffer."""
    assume(b"O" not in format_)  # pointers to nothing
    o = Exporter(format_, 8, bytes(16))
    try:
        x = bb.wrap(o)
    except ValueError as e:
        assert "(at character " in str(e)
        assert o.exports == 0
    else:
        assert x.shape == (2,)
        assert o.exports == 1
    assert bytes(o.memory) == bytes(16)


LONG = r"""
    import sys
    import bufferbridge as bb
    memory_type = bb.eval("BufferBridge.memorytype")
    parse = bb.eval('''f -> try
        Int(BufferBridge.parseformat(f, BufferBridge.READINGS[1])[1].size)
    catch e
        e isa BufferBridge.FormatError ? 8 : rethrow()
    end''')
    named = lambda n, code="i": "".join(f"{code}:name{i}:" for i in range(n))
    formats = [
        "i" * 100_000, "(" * 100_000, "T{" * 50_000, "T{" * 50_000 + "}" * 50_000, "&" * 100_000,
        "&" * 100_000 + "i", "@" * 100_000 + "i", "<>" * 50_000 + "i", " " * 100_000 + "i",
        ":" * 100_000, "i:" + "a" * 100_000 + ":", "i:" + "a" * 100_000, "9" * 100_000 + "i",
        "0" * 100_000 + "i", "(" + "1," * 50_000 + "1)i", "x" * 100_000, "é" * 50_000,
        "X{" * 50_000, "Z" * 100_000, "T{i:a:}" * 10_000, "(2)" * 30_000 + "i",
        "|1|" * 30_000 + "i",
        "(" + ",".join("1" * 64) + ")i", "(" + ",".join("2" * 64) + ")i",
        "T{" * 60 + "i" + "}" * 60, "T{" * 60 + "i" + ":a:}" * 60, "T{" * 65 + "i" + "}" * 65,
        "2T{" * 60 + "i" + "}" * 60, "0T{" * 60 + "i" + "}" * 60, "&" * 60 + "i",
        "(2,3)T{" * 60 + "i" + "}" * 60, "i" * 3000, named(3000), named(20_000),
        named(3000, "b") + "b:name0:", "bhiqfd" * 500, "4096i", "4096s", "4097T{}", "(64,64)d",
    ]
    for format_ in formats:
        size = parse(format_)
        try:
            outcome = "a type" if memory_type(format_, size) is not None else ""
        except ValueError as e:
            assert "(at character " in str(e)
            outcome = "an error"
        print(format_[:20], len(format_), outcome)
    # One that is a record with many fields, for real: all its names are there.
    x = bb.wrap(memoryview(b"abcd"))
    assert bb.Base.sum(x) == sum(b"abcd")
"""


def test_long_formats(run_python):
    run_python(LONG)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(items(), min_size=1, max_size=4).map("".join))
def test_the_way_back_of_any_format(format_):
    """What a format means, written again, means the same; pointers and c go out as integers."""
    outcome = bb.eval(r"""f -> begin
        B = BufferBridge
        S = try
            item, padded = B.parseformat(f, B.READINGS[1])
            B.memorytype(f, item.size)
        catch e
            e isa B.FormatError || rethrow()
            return "no format"
        end
        again = B.formatof(S)
        again isa String || return "not shared: " * again.reason
        T = B.memorytype(again, B.memorysize(S))
        B.formatof(T) == again || return "differs: $S, $again, $T"
        occursin(r"[Pz&Z]", f) || T === S || return "differs: $S, $again, $T"
        return "same"
    end""")
    assume("0s" not in format_ and "0p" not in format_)
    assume("0w" not in format_ and "0u" not in format_)  # see test_strings_without_room
    assert not outcome(format_).startswith("differs")


@pytest.mark.parametrize("code", "spwu")
def test_strings_without_room(code):
    x = bb.wrap(Exporter(f"T{{0{code}:a:i:b:}}", 4, struct.pack("2i", 1, 2)))
    assert flat(x[1]) == ["", 2]
    if code in "sw":
        a = np.zeros(2, [("a", "S0" if code == "s" else "U0"), ("b", "i4")])
        assert np.asarray(bb.wrap(a)).dtype["b"] == "i4"


# ------------------------------------------------------------ both ways, from Julia's side

bb.eval(
    """
    module FormatTypes
    using BufferBridge: FixedString, LongDouble, ObjectReference, Packed, RawBytes, Repeated
    using BufferBridge: Swapped
    struct Inner; a::Int8; b::Int16; end
    struct Outer{T}; x::T; inner::Inner; triple::NTuple{3,T}; z::ComplexF32; end
    @enum Color::UInt8 red green
    struct Colored; c::Color; n::Int32; end
    end
    """
)
MEMORY_TYPES = """
    Bool Int8 UInt8 Int16 UInt16 Int32 UInt32 Int64 UInt64 Float16 Float32 Float64 ComplexF32
    ComplexF64 LongDouble Complex{LongDouble} ObjectReference RawBytes{5}
    FixedString{'s',3,UInt8} FixedString{'s',1,UInt8} FixedString{'p',4,UInt8}
    FixedString{'w',2,UInt32} FixedString{'u',3,UInt16} Swapped{Int16} Swapped{UInt64}
    Swapped{Float16} Swapped{ComplexF64} Swapped{FixedString{'w',2,UInt32}}
    Swapped{FixedString{'u',2,UInt16}} NTuple{3,Float64} NTuple{1,Int8}
    NTuple{2,NTuple{3,Int16}} NTuple{2,FixedString{'s',3,UInt8}} NTuple{2,LongDouble}
    NamedTuple{(:a,),Tuple{NTuple{2,RawBytes{3}}}} Repeated{2,Swapped{Int16}}
    Repeated{0,Float64} Repeated{2,Repeated{3,ObjectReference}}
    Repeated{2,Packed{(:a,),Tuple{Int32},(1,),7}} NamedTuple{(:a,),Tuple{Int32}}
    NamedTuple{(:a,:b),Tuple{Int8,Float64}} NamedTuple{(),Tuple{}}
    NamedTuple{(:b,:a),Tuple{Int32,Int32}} NamedTuple{(:f1,:f0),Tuple{Int16,Int64}}
    NamedTuple{(:x,),Tuple{NamedTuple{(:a,:b),Tuple{Int8,Float64}}}}
    NamedTuple{(:x,:y),Tuple{NTuple{2,NamedTuple{(:a,:b),Tuple{Int8,Int32}}},Int8}}
    NamedTuple{(:l,:b),Tuple{LongDouble,Int8}}
    NamedTuple{(:s,:w),Tuple{FixedString{'s',3,UInt8},Float32}}
    NamedTuple{(:r,:i),Tuple{RawBytes{3},Int32}} NamedTuple{(Symbol("é{}"),),Tuple{Bool}}
    Packed{(:a,:b),Tuple{Int32,Float64},(0,4),12} Packed{(:a,:b),Tuple{Int32,Float64},(4,16),24}
    Packed{(:a,:b),Tuple{Int8,Int16},(0,1),3} Packed{(:a,:b),Tuple{Int8,Int16},(0,1),9}
    Packed{(:a,:b),Tuple{Swapped{Int16},Int32},(0,2),6}
    Packed{(:a,:b),Tuple{Int32,Swapped{Int32}},(0,4),8}
    Packed{(:a,),Tuple{ObjectReference},(0,),8}
    Packed{(:a,:b),Tuple{ObjectReference,Int8},(0,8),16}
    Packed{(:a,:b),Tuple{Int8,ObjectReference},(0,1),9} Packed{(),Tuple{},(),8}
    Packed{(:a,:b),Tuple{Repeated{2,Swapped{Int16}},Int8},(0,4),5}
    Packed{(:a,:b),Tuple{Packed{(:c,),Tuple{Float64},(1,),9},Int8},(1,10),11}
    Packed{(:a,:b),Tuple{Swapped{FixedString{'w',2,UInt32}},Int64},(0,8),16}
    Packed{(:a,:b),Tuple{FixedString{'u',1,UInt16},Float32},(1,3),7}
    Packed{(:a,:b),Tuple{LongDouble,Complex{LongDouble}},(1,17),49}
    Packed{(:a,:b),Tuple{Int64,UInt64},(0,8),17}
    Packed{(:a,:e),Tuple{Int64,Repeated{0,Int8}},(0,8),8}
    """
BACK = MEMORY_TYPES.split()
WITHOUT_ROOM = [
    "FixedString{'s',0,UInt8}",
    "FixedString{'w',0,UInt32}",
    "FixedString{'u',0,UInt16}",
]
in_types = bb.eval("code -> Core.eval(FormatTypes, Meta.parse(code))")
back_and_forth = bb.eval(
    """S -> begin
        format = BufferBridge.formatof(S)
        format isa String || error(format.reason)
        (format, BufferBridge.memorytype(format, BufferBridge.memorysize(S)) === S)
    end"""
)


@pytest.mark.parametrize(
    "code",
    [
        *BACK,
        *WITHOUT_ROOM,
        "NTuple{2,RawBytes{3}}",
    ],
)
def test_memory_types_come_back(code):
    format_, same = back_and_forth(in_types(code))
    assert same, format_


@pytest.mark.parametrize(
    ("code", "format_", "back"),
    [
        ("Ptr{Float64}", "L" if ctypes.sizeof(ctypes.c_ulong) == 8 else "Q", "UInt64"),
        ("Ptr{Cvoid}", "L" if ctypes.sizeof(ctypes.c_ulong) == 8 else "Q", "UInt64"),
        ("Color", "B", "UInt8"),
        ("Colored", "T{B:c:3xi:n:}", "NamedTuple{(:c,:n),Tuple{UInt8,Int32}}"),
        ("Inner", "T{b:a:xh:b:}", "NamedTuple{(:a,:b),Tuple{Int8,Int16}}"),
        ("Tuple{Int8,Float64}", "T{b:f0:7xd:f1:}", "NamedTuple{(:f0,:f1),Tuple{Int8,Float64}}"),
        ("Complex{Float16}", "T{e:re:e:im:}", "NamedTuple{(:re,:im),Tuple{Float16,Float16}}"),
        ("Complex{Int32}", "T{i:re:i:im:}", "NamedTuple{(:re,:im),Tuple{Int32,Int32}}"),
        ("Int128", "16x", "RawBytes{16}"),
        ("Char", "4x", "RawBytes{4}"),
    ],
)
def test_types_that_come_back_as_others(code, format_, back):
    same = bb.eval(
        """(S, T, wanted) -> begin
            format = BufferBridge.formatof(S)
            format == wanted && BufferBridge.memorytype(format, sizeof(S)) === T ? "" :
                "$format: $(BufferBridge.memorytype(format, sizeof(S)))"
        end"""
    )
    assert same(in_types(code), in_types(back), format_) == ""


def test_what_no_format_says():
    reason = bb.eval("S -> (f = BufferBridge.formatof(S); f isa String ? f : f.reason)")
    for code, words in (
        ("Packed{(:a,:b),Tuple{Int32,Int32},(0,2),6}", "overlap"),
        ("Packed{(:a,:b),Tuple{Int32,Int32},(4,0),8}", "out of order"),
        ("Swapped{LongDouble}", "long doubles with swapped bytes"),
        ('NamedTuple{(Symbol("a:b"),),Tuple{Int32}}', "has a ':'"),
        ("String", "strings"),
        ("Any", "references"),
    ):
        assert words in reason(in_types(code)), code


# What NumPy's own parser makes of the formats that go out.
@pytest.mark.parametrize("code", [c for c in BACK if not any(w in c for w in ("'p'", "'u'"))])
def test_numpy_reads_what_goes_out(code):
    format_, _ = back_and_forth(in_types(code))
    S = in_types(code)
    dtype = numpy_parser(format_)
    assert dtype.itemsize == bb.eval("BufferBridge.memorysize")(S)
    if "Object" in code or "RawBytes" in code or "{}" in code:
        return
    # Padding has names in NumPy at times; here it has none.
    lines = memory_leaves(S).splitlines()
    got = [
        (*line.replace(" swapped", "").rsplit(" ", 3), *[w for w in ["swapped"] if w in line])
        for line in lines
    ]
    assert got == list(dtype_leaves(dtype))


# ------------------------------------------------------------ __array_interface__


class Interface:
    """An object with __array_interface__ and nothing else."""

    def __init__(self, memory, typestr, descr=None, **changes):
        self.memory = memory
        self.__array_interface__ = {
            "version": 3,
            "typestr": typestr,
            "shape": (1,),
            "data": ((ctypes.c_char * len(memory)).from_buffer(memory), False),
            **({} if descr is None else {"descr": descr}),
            **changes,
        }
        address = ctypes.addressof(self.__array_interface__["data"][0])
        self.keep = self.__array_interface__["data"][0]
        self.__array_interface__["data"] = (address, False)


@pytest.mark.parametrize(
    "typestr",
    [
        *["|b1", "|i1", "|u1", "<i2", ">i2", "=i2", "<u2", "<i4", ">i4", "<u8", ">u8"],
        *["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "=f8", "<c8", ">c8", "<c16", ">c16"],
        *["|S3", "|S1", "<U2", ">U2", "<f16", "<c32"],
    ],
)
def test_type_strings(typestr):
    dtype = np.dtype(typestr)
    a = np.array(["ab"] if dtype.kind in "SU" else [1], dtype)
    memory = bytearray(a.tobytes())
    x = bb.wrap(Interface(memory, typestr))
    assert x.itemsize == dtype.itemsize
    expected = a[0].decode() if dtype.kind == "S" else a[0]
    if dtype.char in "gG":
        assert bb.eval("x -> x[1] == 1")(x) is True
    else:
        assert x[0] == expected
    back = np.asarray(x)
    assert back.dtype == dtype
    assert back.tobytes() == bytes(memory)
    memory[:] = bytes(len(memory))
    assert not np.asarray(x)[0]


def test_type_strings_of_bytes_and_objects():
    x = bb.wrap(Interface(bytearray(b"abcd"), "|V4"))
    assert np.asarray(x).tobytes() == b"abcd"
    x = bb.wrap(Interface(bytearray(b"abcd"), "|V4", [("", "|V4")]))
    assert np.asarray(x).tobytes() == b"abcd"
    thing = object()
    x = bb.wrap(Interface(bytearray((ctypes.py_object * 1)(thing)), "|O8"))
    assert x[0] is thing


@pytest.mark.parametrize(
    "typestr",
    [
        *["<f3", "<i16", "<c4", "<b2", "|t1", "<M8[s", "<m4", "<M8[x]", "|S", "<U", "-f8", "!f8"],
        *["@f8", "f8", "<f", "<8", "|O4"],
        *(
            "",
            "<f8 ",
            " <f8",
            "<f-8",
            "<f8\n",
            "<f8[s",
            "é",
            "<é8",
            "<f" + "9" * 40,
            "|V" + "9" * 18,
        ),
        *(5, None, b"<f8", ["<f8"], ("<f8",)),
    ],
    ids=repr,
)
def test_wrong_type_strings(typestr):
    memory = bytearray(16)
    o = Interface(memory, typestr)
    before = bb.stats()["pinned_buffers"]
    for use in (identity, bb.wrap):
        with pytest.raises((TypeError, ValueError, OverflowError)) as raised:
            use(o)
        assert str(raised.value)
        del raised
    assert bb.stats()["pinned_buffers"] <= before
    assert memory == bytes(16)


DESCRIPTIONS = {
    "simple": ([("a", "<i4"), ("b", "<f8")], 12, [".a 0", ".b 4"]),
    "swapped": ([("a", ">i4"), ("b", "<f8")], 12, [".a 0", ".b 4"]),
    "padding": ([("a", "|i1"), ("", "|V3"), ("b", "<i4"), ("", "|V4")], 12, [".a 0", ".b 4"]),
    "padding first": ([("", "|V4"), ("a", "<i4")], 8, [".a 4"]),
    "nested": (
        [("a", [("x", "<i2"), ("", "|V2"), ("y", ">f4")]), ("b", "|S3")],
        11,
        [".a.x 0", ".a.y 4", ".b 8"],
    ),
    "shape": ([("a", "<i2", (2, 1)), ("b", "|u1")], 5, [".a[0][0] 0", ".a[1][0] 2", ".b 4"]),
    "shape as an integer": ([("a", "<i2", 2), ("b", "|u1")], 5, [".a[0] 0", ".a[1] 2", ".b 4"]),
    "shape of a record": (
        [("a", [("x", "<i2"), ("y", "|i1")], (2,))],
        6,
        [".a[0].x 0", ".a[0].y 2", ".a[1].x 3", ".a[1].y 5"],
    ),
    "no items": ([("a", "<i2", (0,)), ("b", "|u1")], 1, [".b 0"]),
    "titles": ([(("A title", "a"), "<i4"), (("B", "b"), "<i4")], 8, [".a 0", ".b 4"]),
    "many kinds": (
        [("a", "|b1"), ("b", "<c8"), ("c", "<U2"), ("d", "|V3")],
        20,
        [".a 0", ".b 1", ".c 9", ".d 17"],
    ),
    "odd names": ([("é }", "<i4"), ("|8|", "<i4")], 8, [".é_} 0", ".|8| 4"]),
}


@pytest.mark.parametrize(
    ("descr", "size", "places"), DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys()
)
def test_descriptions(descr, size, places):
    memory = bytearray(random.Random(0).randrange(1, 255) for _ in range(3 * size))
    memory[0:1] = b"\1"  # a Bool in one of them
    o = Interface(memory, f"|V{size}", descr, shape=(3,))
    x = bb.wrap(o)
    assert x.itemsize == size
    assert x.shape == (3,)
    lines = bb.eval("x -> memory_leaves(BufferBridge.memorytype(x))")(x).replace("é }", "é_}")
    assert [" ".join(line.split(" ")[:2]) for line in lines.splitlines()] == places
    # The offsets are NumPy's, for which padding has names.
    dtype = np.dtype([(n or f"pad{i}", *rest) for i, (n, *rest) in enumerate(descr)])
    ours = np.asarray(x).dtype
    for name in ours.names:
        assert ours.fields[name][1] == dtype.fields[name][1]
        assert ours.fields[name][0].itemsize == dtype.fields[name][0].itemsize
    memory[:] = bytes(3 * size)
    assert not any(np.asarray(x).tobytes())


WRONG_DESCRIPTIONS = {
    "of another size": [("a", "<i4")],
    "no list": 5,
    "a string": "<i4",
    "no tuples": ["<i4", "<i4"],
    "empty tuples": [()],
    "without types": [("a",), ("b",)],
    "names that are no strings": [(5, "<i4"), ("b", "<i4")],
    "names in bytes": [(b"a", "<i4"), (b"b", "<i4")],
    "titles of three": [(("a",), "<i4"), ("b", "<i4")],
    "types that are none": [("a", "<f3"), ("b", "<i5")],
    "types that are no strings": [("a", 4), ("b", "<i4")],
    "shapes that are none": [("a", "<i4", "2")],
    "negative shapes": [("a", "<i4", (-1,)), ("b", "<i4", (3,))],
    "broken shapes": [("a", "<i4", (2.0,))],
    "a list as shape": [("a", "<i4", [2])],
    "shapes that overflow": [("a", "<i4", (2**62, 4))],
    "shapes that are large": [("a", "<i4", (2**40,)), ("b", "<i4", (0, 2**70))],
    "names twice": [("a", "<i4"), ("a", "<i4")],
    "a colon": [("a:b", "<i4"), ("b", "<i4")],
    "a null character": [("a\0b", "<i4"), ("b", "<i4")],
    "a surrogate": [("\udcff", "<i4"), ("b", "<i4")],
    "datetimes of other units": [("a", "<M8[x]")],
    "bit fields": [("a", "|t4"), ("b", "<i4")],
    "nested too deep": None,
    "in itself": None,
}
_deep: list = [("a", "<i8")]
for _ in range(100):
    _deep = [("a", _deep)]
_circle: list = []
_circle.append(("a", _circle))
WRONG_DESCRIPTIONS["nested too deep"] = _deep
WRONG_DESCRIPTIONS["in itself"] = _circle


@pytest.mark.parametrize("descr", WRONG_DESCRIPTIONS.values(), ids=WRONG_DESCRIPTIONS.keys())
def test_wrong_descriptions(descr):
    memory = bytearray(b"abcdefgh")
    o = Interface(memory, "|V8", descr)
    before = bb.stats()["pinned_buffers"]
    for use in (identity, bb.wrap):
        with pytest.raises((TypeError, ValueError, IndexError, OverflowError, RecursionError)) as e:
            use(o)
        assert str(e.value)
        del e
    assert bb.stats()["pinned_buffers"] <= before
    assert memory == b"abcdefgh"
    with pytest.raises(BufferError):
        memory.append(0)  # our own export
    del o.__array_interface__, o.keep
    memory.append(0)


def test_descriptions_with_too_many_parts():
    with pytest.raises(TypeError):
        bb.wrap(Interface(bytearray(8), "|V8", [("a", "<i4", (1,), 1), ("b", "<i4")]))


def test_descriptions_of_what_is_no_record_do_not_count():
    for descr in ([("", "<f8")], [("a", "<i4"), ("b", "<i4")], "nonsense"):
        x = bb.wrap(Interface(bytearray(struct.pack("d", 1.5)), "<f8", descr))
        assert x[0] == 1.5


def test_interfaces_of_numpy_records():
    class Only:
        def __init__(self, a):
            self.a = a
            self.__array_interface__ = a.__array_interface__

    for dtype in (
        np.dtype([("a", "i1"), ("b", "f8")], align=True),
        np.dtype([("a", "i1"), ("b", "f8")]),
        np.dtype([("a", ">i4", (2, 2)), ("b", [("c", "S3"), ("d", "U2")])]),
    ):
        a = np.zeros(3, dtype)
        x = bb.wrap(Only(a))
        y = bb.wrap(a)
        same = bb.eval("(x, y) -> BufferBridge.memorytype(x) === BufferBridge.memorytype(y)")
        assert same(x, y) is True
        assert layout_of(x) == list(dtype_leaves(dtype))


# ------------------------------------------------------------------ exporters of all kinds


@pytest.mark.parametrize("format_", ["T{i:a:d:b:}", "T{<b:a:<d:b:}", "3s", "(2,3)h", "4x", "g"])
def test_buffers_are_released(format_):
    size = parsed_size(format_)
    o = Exporter(format_, size)
    x = bb.wrap(o)
    y = identity(o)
    assert o.exports == 2
    del x, y
    for _ in range(2):
        bb.Base.GC.gc()
    bb.stats()
    assert o.exports == 0


parsed_size = bb.eval("f -> BufferBridge.parseformat(f, BufferBridge.READINGS[1])[1].size")


@pytest.mark.filterwarnings("ignore:The 'u' type code:DeprecationWarning")
def test_arrays_of_the_array_module():
    for code in "uwbBhHiIlLqQfd":
        try:
            a = array.array(code, "né" if code in "uw" else [1, 2])
        except (ValueError, TypeError):  # w came with Python 3.13
            continue
        view = memoryview(a)
        x = bb.wrap(a)
        assert x.itemsize == view.itemsize
        assert list(x) == (["n", "é"] if code in "uw" else [1, 2])
