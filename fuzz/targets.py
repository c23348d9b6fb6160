"""What is fuzzed. Each target takes bytes, and raises only if something is wrong.

The bytes decide everything, so that an input is replayed by calling its target with it again.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from exporters import Block, Exporter, row_major, span

import bufferbridge as bb
from bufferbridge import _core, _formats

# What the documentation says that may be raised. A JuliaError must be one of these too.
EXPECTED = (TypeError, ValueError, BufferError, IndexError, KeyError, MemoryError, OverflowError)
EXPECTED += (AttributeError, NotImplementedError)

EDGES = [0, 1, 2, 3, -1, -8, 7, 64, 65, 2**31 - 1, 2**31, 2**62, 2**63 - 1, -(2**63), 2**61, 4096]

# Few, since Julia compiles for each: what the buffers have besides formats is fuzzed with them.
FORMATS = [b"d", b"B", None, b"?", b"<h", b">i", b"Zd", b"5s", b"=q", b"T{i:a:xxxxd:b:}"]
FORMATS += [b"^bd", b"(2)h", b">f", b"g", b"2w", b"3x", b"l", b"0s"]
SIZES = [8, 1, 1, 1, 2, 4, 16, 5, 8, 16, 9, 4, 4, 16, 8, 3, 8, 0]

block = Block()


class Bytes:
    """The input, taken apart from the front; zeros follow its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def below(self, n: int) -> int:
        return self.byte() % n

    def choice(self, items: Any) -> Any:
        return items[self.below(len(items))]

    def integer(self) -> int:
        """Small mostly, and at the edges now and then."""
        b = self.byte()
        return self.choice(EDGES) if b >= 240 else b % 9 if b < 200 else -(b % 9)

    def rest(self) -> bytes:
        rest, self.at = self.data[self.at :], len(self.data)
        return rest

    @property
    def left(self) -> int:
        return max(len(self.data) - self.at, 0)


def expected(action: Callable[[], Any]) -> Any:
    """The result of `action`, or None where it raises what it may."""
    try:
        return action()
    except EXPECTED:
        return None


# ----------------------------------------------------------------------------- buffers


def buffers(data: bytes) -> None:
    """Py_buffers of any content, to Julia and back."""
    r = Bytes(data)
    content = bytes(range(1, 1 + r.byte()))
    block.reset(content, at_end=r.below(2) == 1)
    kind = r.below(len(FORMATS))
    itemsize = SIZES[kind]
    odd = r.byte()  # which of the fields are arbitrary
    ndim = r.below(5)
    shape = [r.integer() if odd & 1 else r.below(5) for _ in range(ndim)]
    strides = None
    if odd & 2:
        strides = [r.integer() * (itemsize if r.below(2) else 1) for _ in range(ndim)]
    length = itemsize
    for n in shape:
        length *= n
    buf = block.address + (r.byte() if odd & 4 else 0)
    if odd & 8:
        itemsize, length, buf = r.integer(), r.integer(), r.choice([buf, 0, 1])
    suboffsets = [r.integer() for _ in range(ndim)] if odd & 16 else None
    announced = r.integer() if odd & 32 else ndim
    no_shape = odd & 64 and r.below(2)
    if announced > ndim and announced <= 64:
        shape += [1] * (announced - ndim)
        if strides is not None:
            strides += [0] * (announced - ndim)
        if suboffsets is not None:
            suboffsets += [-1] * (announced - ndim)
    if not -(2**63) <= length < 2**63:
        length = len(content)
    if strides is not None:
        strides = [max(min(s, 2**63 - 1), -(2**63)) for s in strides]
    o = Exporter(
        buf=buf,
        len=length,
        itemsize=itemsize,
        ndim=max(min(announced, 2**31 - 1), -(2**31)),
        format=FORMATS[kind],
        shape=None if no_shape else shape,
        strides=strides,
        suboffsets=suboffsets,
        readonly=r.below(2),
    )
    use = bb.wrap if r.below(2) else bb.Base.identity
    x = expected(lambda: use(o))
    if isinstance(x, bb.JuliaArray):
        indirect = suboffsets is not None and any(s >= 0 for s in suboffsets[: max(announced, 0)])
        if not indirect:
            true = is_true(x, block)
            if not no_shape:
                shape = shape[:announced]
                taken = row_major(shape, itemsize) if strides is None else strides
                given = span(shape, taken, itemsize)
                if given is not None:
                    offset = buf - block.address
                    inside = offset + given[0] >= 0 and offset + given[1] <= block.size
                    assert true == inside, (given, x.shape, x.strides)
            if true:
                exercise(x, r)
    block.check()


def is_true(x: bb.JuliaArray, memory: Block) -> bool:
    """Whether all items that the array claims lie in the block."""
    try:
        found = span(x.shape, x.strides, x.itemsize)
    except BufferError:  # what has no format is not looked at
        return False
    if found is None:
        return True
    first = x._address - memory.address
    return first + found[0] >= 0 and first + found[1] <= memory.size


FLAGS = [0, 1, 4, 5, 8, 12, 0x18, 0x38, 0x58, 0x98, 0x118, 0x1C, 0x1D, 0x11C, 0x11D, 0x9C, 0xFFFF]


def exercise(x: Any, r: Bytes) -> None:
    """Read and write what the array has, and compare with NumPy."""
    expected(lambda: _core._request(x, r.choice(FLAGS)))
    a = expected(lambda: np.asarray(memoryview(x)))
    if a is not None and x.size <= 4096:
        assert a.shape[: x.ndim] == x.shape
        if a.dtype.kind in "biufc" and a.ndim == x.ndim and x.ndim > 0:
            key = make_key(r, x.ndim)
            compare(x, a, key)
            if not x.readonly:
                value = r.integer()
                ours = outcome(lambda: x.__setitem__(key, value))
                assert ours is not None
    if x.size <= 64 and x.ndim and x.shape[0] <= 64:
        expected(lambda: list(x))


def outcome(action: Callable[[], Any]) -> Any:
    try:
        return ("value", action())
    except EXPECTED as e:
        return ("error", isinstance(e, IndexError))


def compare(x: Any, a: Any, key: Any) -> None:
    ours, theirs = outcome(lambda: x[key]), outcome(lambda: a[key])
    assert ours[0] == theirs[0], (key, ours, theirs)
    if ours[0] == "value":
        if isinstance(ours[1], bb.JuliaArray):
            assert ours[1].shape == theirs[1].shape, (key, ours, theirs)
            assert np.asarray(ours[1]).tobytes() == theirs[1].tobytes(), key
        elif a.dtype.kind != "b":  # bytes that are neither 0 nor 1
            assert np.array_equal(np.asarray(ours[1], a.dtype), theirs[1], equal_nan=True), key
    else:
        assert ours[1] == theirs[1], (key, ours, theirs)


def make_key(r: Bytes, ndim: int) -> Any:
    def part() -> Any:
        kind = r.below(6)
        if kind < 3:
            return r.integer()
        if kind == 3:
            return ...
        ends = [None if r.below(3) == 0 else r.integer() for _ in range(3)]
        return slice(ends[0], ends[1], ends[2] if ends[2] != 0 else None)

    n = r.below(ndim + 2)
    parts = tuple(part() for _ in range(n))
    return parts[0] if len(parts) == 1 and r.below(2) else parts


# ------------------------------------------------------------------------- interfaces

ORDERS, KINDS = "<>=|", "iufcbSUVOMmx"


def interfaces(data: bytes) -> None:
    """`__array_interface__` dicts."""
    r = Bytes(data)
    block.reset(bytes(r.byte()), at_end=r.below(2) == 1)

    def typestr() -> Any:
        kind = r.choice(KINDS)
        if kind == "O":  # references: not to be had from bytes
            kind = "V"
        if r.below(16) == 0:
            odd = ["", "<f", "<f3", None, 3, "<M8[s]", "|V0", "<U1", "|S99999999999999999999"]
            return r.choice(odd)
        return f"{r.choice(ORDERS)}{kind}{r.choice([1, 2, 4, 8, 16, 32, 3, 0])}"

    def descr(depth: int) -> Any:
        fields: list[Any] = []
        for i in range(r.below(4)):
            name = r.choice([f"n{i}", "", "n0", ("title", f"t{i}"), "a:b", "é"])
            inner = descr(depth + 1) if depth < 3 and r.below(5) == 0 else typestr()
            shape = r.choice([(), (), (), ((2,),), (3,), ((2, 2), 1), ((-1,),), ("x",)])
            fields.append((name, inner, *shape))
        return fields

    ndim = r.below(4)
    interface: dict[str, Any] = {
        "version": 3,
        "shape": tuple(r.integer() for _ in range(ndim)),
        "typestr": typestr(),
        "data": (block.address + (r.byte() if r.below(4) == 0 else 0), r.below(2) == 1),
    }
    if r.below(3) == 0:
        interface["descr"] = descr(0)
    if r.below(3) == 0:
        interface["strides"] = tuple(r.integer() for _ in range(r.choice([ndim, ndim, ndim, 1])))
    if r.below(8) == 0:
        del interface[r.choice(list(interface))]

    class Owner:
        __array_interface__ = interface

    # Any format may come: one that Julia knows already costs no time.
    described = expected(lambda: _formats.of_interface(Owner(), interface))
    x = expected(lambda: bb.wrap(Owner())) if few_types(described) else None
    if isinstance(x, bb.JuliaArray) and is_true(x, block):
        exercise(x, r)
    block.check()


def few_types(described: Any) -> bool:
    if described is None:
        return True
    return "T{" not in described[0] or parse(*described) is not None


# ------------------------------------------------------------------------------ arrays

ARRAYS = r"""
    struct FuzzPoint; x::Int32; y::Float64; end
    [
        () -> collect(1.0:6.0),
        () -> reshape(collect(Int32, 1:12), 3, 4),
        () -> view(reshape(collect(1:24), 2, 3, 4), :, 1:2:3, 4:-1:1),
        () -> transpose(reshape(collect(Float32, 1:6), 2, 3)),
        () -> PermutedDimsArray(reshape(collect(Int16, 1:24), 2, 3, 4), (3, 1, 2)),
        () -> [FuzzPoint(i, i / 2) for i in 1:4],
        () -> [true, false, true],
        () -> ["a", "b"],
        () -> Any[1, "x", nothing],
        () -> 1:2:9,
        () -> trues(5),
        () -> fill(2.5),
        () -> zeros(0, 3),
        () -> zeros(ComplexF64, 2, 2),
        () -> vec(reshape(collect(1:6), 2, 3)),
        () -> reinterpret(UInt8, collect(Int32, 1:3)),
        () -> Union{Missing,Int}[1, missing],
        () -> [(1, 2), (3, 4)],
    ]
"""
VALUES: list[Any] = [0, 1, -1, 2**70, 1.5, float("nan"), "x", b"x", None, True, [1, 2], (1, 2)]
VALUES += [1j, {}, object()]
_makers: Any = None


def arrays(data: bytes) -> None:
    """Sequences of operations on arrays of Julia's."""
    global _makers
    if _makers is None:
        _makers = list(bb.eval(ARRAYS))
    r = Bytes(data)
    held: list[Any] = [r.choice(_makers)()]
    views: list[Any] = []
    try:
        for _ in range(24):
            if not r.left:
                break
            x = r.choice(held)
            operation(r.below(16), x, held, views, r)
    finally:
        for v in views:
            if isinstance(v, memoryview):
                v.release()


def operation(code: int, x: Any, held: list[Any], views: list[Any], r: Bytes) -> None:
    ndim = x.ndim
    if code < 4:
        key = make_key(r, ndim)
        a = expected(lambda: np.asarray(memoryview(x)))
        if a is not None and a.dtype.kind in "iufc" and a.ndim == ndim:
            compare(x, a, key)
        y = of(x)(lambda: x[key])
        if isinstance(y, bb.JuliaArray) and len(held) < 8:
            held.append(y)
    elif code in (4, 5):
        key, value = make_key(r, ndim), r.choice(VALUES if code == 4 else held)
        of(x)(lambda: x.__setitem__(key, value))
    elif code == 6:
        m = expected(lambda: memoryview(x))
        if m is not None:
            check_export(x, m)
            views.append(m)
    elif code == 7:
        expected(lambda: _core._request(x, r.choice(FLAGS)))
    elif code == 8 and views:
        v = views.pop(r.below(len(views)))
        if isinstance(v, memoryview):
            v.release()
    elif code == 9:
        change = r.choice(["empty!", "push!", "resize!", "sizehint!", "pop!", "append!"])
        arguments = {"push!": (r.choice(VALUES),), "append!": (r.choice(held),)}
        arguments |= {"resize!": (r.below(40),), "sizehint!": (r.below(40),)}
        expected_of_julia(lambda: getattr(bb.Base, change)(x, *arguments.get(change, ())))
    elif code == 10:
        expected(lambda: x[r.choice(["x", "y", "z", "", "\0", "é"])])
    elif code == 11:
        expected(lambda: x.__setitem__(r.choice(["x", "y", "z"]), r.choice(VALUES)))
    elif code == 12:
        views.append(of(x)(lambda: np.asarray(x)))
    elif code == 13:
        of(x)(lambda: (repr(x), list(x)[:9], 1 in x, len(x)))
    elif code == 14:
        expected(lambda: (x.shape, x.size, x.nbytes, x.strides, x.readonly, x.__array_interface__))
    elif code == 15 and len(held) > 1:
        del held[r.below(len(held))]


def of(x: Any) -> Callable[[Callable[[], Any]], Any]:
    """What guards an action on `x`.

    Arrays without memory are Julia's affair: a range has no setindex!, an element of Any may be
    undefined, and these exceptions have no kin in Python.
    """
    return expected if expected(lambda: x.format) is not None else expected_of_julia


def expected_of_julia(action: Callable[[], Any]) -> Any:
    """Julia code of its own may throw any exception of Julia's."""
    try:
        return action()
    except (bb.JuliaError, *EXPECTED):
        return None


def check_export(x: Any, m: memoryview) -> None:
    assert m.shape == x.shape and m.itemsize == x.itemsize and m.nbytes == x.nbytes
    assert m.strides == x.strides and m.readonly == x.readonly


# ----------------------------------------------------------------------------- formats

PARSE = r"""
    # The memory type of a format, its own format, and the memory type of that: without arrays,
    # for which Julia would compile anew each time.
    function fuzzparse(format::String, itemsize::Int)
        B = BufferBridge
        S = B.findreading(format, itemsize)
        f = B.writeformat(S)
        f isa String || return ""
        g = B.writeformat(B.findreading(f, itemsize))
        g == f || error("format $(repr(format)) is written $(repr(f)), and that again $(repr(g))")
        return f
    end
    function fuzzsize(format::String, k::Int)
        item, padded = BufferBridge.parseformat(format, BufferBridge.READINGS[k])
        return item.size, padded
    end
"""
_parser: Any = None
_sizer: Any = None


def parse(format_: str, itemsize: int) -> str | None:
    """The format with which the memory comes back; None if there is no such element."""
    global _parser, _sizer
    if _parser is None:
        bb.eval(PARSE)
        _parser, _sizer = bb.Main.fuzzparse, bb.Main.fuzzsize
    try:
        return _parser(format_, itemsize)
    except ValueError as e:
        assert type(e.exception).__name__ and "format" in str(e), e
        return None


def formats(data: bytes) -> None:
    """Formats with itemsizes: the codec, there and back."""
    if len(data) < 2:
        return
    mode, delta, text = data[0], data[1], data[2:]
    parse("d", 8)
    format_ = text.decode("utf-8", "replace").replace("\0", "0")
    try:
        sizes = _sizer(format_, 1 + mode % 8)
    except ValueError:
        sizes = (delta, delta)
    itemsize = sizes[mode >> 3 & 1] + (delta - 100 if delta > 200 else 0)
    back = parse(format_, max(itemsize, 0))
    # Through arrays now and then, since they cost much more.
    if (mode & 0xF0 == 0xF0 or os.environ.get("FUZZ_REPLAY")) and 0 < itemsize <= 256:
        through_arrays(format_, itemsize, back)


def through_arrays(format_: str, itemsize: int, back: str | None) -> None:
    block.reset(bytes(itemsize * 2), at_end=True)
    o = Exporter(block.address, 2 * itemsize, itemsize, 1, format_.encode(), [2], None, None, 0)
    x = expected(lambda: bb.wrap(o))
    assert (x is None) == (back is None), (format_, itemsize, back)
    if x is None:
        return
    assert x.itemsize == itemsize and x.shape == (2,)
    if back:
        assert x.format == back, (x.format, back)
        m = memoryview(x)
        assert (m.itemsize, m.nbytes) == (itemsize, 2 * itemsize)
        m.release()
    if "O" not in format_:
        item = expected(lambda: x[1])
        if item is not None:
            expected(lambda: x.__setitem__(0, item))
    block.check()


# ------------------------------------------------------------------------ descriptions

LEAVES: list[Any] = [ctypes.c_int8, ctypes.c_double, ctypes.c_int, ctypes.c_char, ctypes.c_wchar]
LEAVES += [ctypes.c_longdouble, ctypes.c_void_p, ctypes.c_uint16, ctypes.c_bool, ctypes.c_int64]
DTYPES = ["i1", "<i4", ">i4", "f8", ">f8", "S3", "U2", ">U2", "V3", "g", "?", "c16", "f2", "S0"]
DTYPES += ["M8[s]"]


def descriptions(data: bytes) -> None:
    """bufferbridge/_formats.py: NumPy's dtypes and ctypes' structures, as formats with offsets."""
    r = Bytes(data)
    if r.below(2):
        dtype = expected(lambda: make_dtype(r, 0))
        if dtype is None or dtype.hasobject:
            return
        format_ = expected(lambda: _formats._of_dtype(dtype))
        itemsize = dtype.itemsize
    else:
        type_ = expected(lambda: make_ctype(r, 0))
        if type_ is None:
            return
        format_ = expected(lambda: _formats._of_ctypes(type_))
        itemsize = ctypes.sizeof(type_)
    if format_ is not None:
        parse(format_, itemsize)


def make_dtype(r: Bytes, depth: int) -> Any:
    if depth > 2 or r.below(3) == 0:
        return np.dtype(r.choice(DTYPES))
    if r.below(4) == 0:
        return np.dtype((make_dtype(r, depth + 1), r.choice([(2,), (2, 3), (1,), (0,)])))
    n = r.below(4)
    names = [r.choice(["a", "b", "c", "é", "x:y", "f0", "f1"]) + "_" * i for i in range(n)]
    items = [make_dtype(r, depth + 1) for _ in range(n)]
    if r.below(2):
        return np.dtype(list(zip(names, items)), align=bool(r.below(2)))
    offsets = [r.byte() % 40 for _ in range(n)]
    itemsize = r.byte() % 200
    fields: Any = {"names": names, "formats": items, "offsets": offsets, "itemsize": itemsize}
    return np.dtype(fields)


def make_ctype(r: Bytes, depth: int) -> Any:
    if depth > 2 or r.below(3) == 0:
        leaf = r.choice(LEAVES)
        return leaf.__ctype_be__ if r.below(4) == 0 and hasattr(leaf, "__ctype_be__") else leaf
    if r.below(4) == 0:
        return make_ctype(r, depth + 1) * r.below(4)
    fields: list[Any] = [(f"f{i}", make_ctype(r, depth + 1)) for i in range(r.below(4))]
    if fields and r.below(12) == 0:
        fields.append(("bits", ctypes.c_int, 3))
    base = ctypes.Union if r.below(8) == 0 else ctypes.Structure
    members: dict[str, Any] = {"_fields_": fields}
    if r.below(2):
        members = {"_pack_": r.choice([1, 2, 4]), **members}
    return type("Fuzzed", (base,), members)


TARGETS: dict[str, Callable[[bytes], None]] = {
    f.__name__: f for f in (buffers, interfaces, arrays, formats, descriptions)
}


def held() -> dict[str, int]:
    """What the languages hold of each other, after a collection on both sides."""
    import gc

    for _ in range(2):
        gc.collect()
        bb.Base.GC.gc()
    return bb.stats()
