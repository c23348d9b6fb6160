"""Memory shared with Julia by the standard library alone: no NumPy anywhere.

array.array, bytearray, bytes, mmap and ctypes become Julia arrays of the same memory, and a Julia
array becomes a memoryview. Every line printed is checked by an assert.

    python examples/without_numpy.py
"""

from __future__ import annotations

import ctypes
import math
import mmap
import struct
import sys
import tempfile
from array import array

import bufferbridge as bb


def from_array() -> None:
    """An array.array is a Vector of the same type, and may be changed in place."""
    print("array.array")
    x = array("d", [3.0, 1.0, 2.0])
    address, _ = x.buffer_info()
    print("  in Julia it is a", bb.Base.typeof(x))
    assert bb.eval("x -> x isa Vector{Float64}")(x)
    assert bb.Base.UInt(bb.Base.pointer(x)) == address
    bb.Base.sort_b(x)
    print("  sorted by Julia, in place:", x.tolist())
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert x.buffer_info()[0] == address


def from_bytes() -> None:
    """A bytearray is a Vector{UInt8}. So is bytes, but Julia may only read it."""
    print("bytearray and bytes")
    text = bytearray(b"the same memory")
    bb.Base.reverse_b(text)
    print("  reversed by Julia, in place:", text.decode())
    assert text == b"yromem emas eht"

    constant = bytes(range(100))
    print("  the sum of bytes:", bb.Base.sum(constant))
    assert bb.Base.sum(constant) == sum(constant)
    try:
        bb.Base.reverse_b(constant)
    except bb.JuliaError as error:
        print("  writing to bytes:", str(error).splitlines()[0])
    else:
        raise AssertionError("Julia wrote to a bytes object")
    assert constant == bytes(range(100))


def from_file() -> None:
    """A file in memory, seen as a Vector{Float64}: what Julia writes is in the file."""
    print("mmap")
    with tempfile.TemporaryFile() as file:
        file.truncate(8 * 1000)
        with mmap.mmap(file.fileno(), 0) as memory:
            squares = memoryview(memory).cast("d")
            bb.eval("x -> (x .= (1:length(x)) .^ 2; nothing)")(squares)
            # The map can be closed only when nobody looks at it: neither Julia, which lets go when
            # it collects garbage, nor we.
            bb.Base.GC.gc()
            squares.release()
        file.seek(8 * 999)
        (last,) = struct.unpack("d", file.read(8))
    print("  the last number in the file:", last)
    assert last == 1000.0**2


def from_ctypes() -> None:
    """A two-dimensional C array keeps its indices, except that Julia counts from 1."""
    print("ctypes")
    table = (ctypes.c_int32 * 3 * 2)((1, 2, 3), (4, 5, 6))
    assert bb.Base.size(table) == (2, 3)
    print("  its rows, summed by Julia:", bb.eval("x -> [sum(r) for r in eachrow(x)]")(table))
    bb.eval("x -> (x[2, 1] = 40; nothing)")(table)
    print("  after x[2, 1] = 40 in Julia, x[1][0] is", table[1][0], "in Python")
    assert table[1][0] == 40
    assert bb.Base.sum(table) == 1 + 2 + 3 + 40 + 5 + 6


def to_memoryview() -> None:
    """A Julia array is a buffer: memoryview and struct work on Julia's own memory."""
    print("Julia's Matrix{Float64}")
    x = bb.eval("x = reshape(collect(1.0:6.0), 2, 3)")
    view = memoryview(x)
    print(f"  format {view.format!r}, shape {view.shape}, strides {view.strides}")
    assert (view.format, view.shape, view.strides) == ("d", (2, 3), (8, 16))  # column-major
    assert view[1, 2] == x[1, 2] == bb.eval("x[2, 3]") == 6.0

    view[0, 1] = 30.0
    print("  written through the view, read by Julia:", bb.eval("x[1, 2]"))
    assert bb.eval("x[1, 2]") == 30.0

    print("  slices are views too:", memoryview(x[1, ::-2]).tolist(), memoryview(x[:, 1:]).tolist())
    assert memoryview(x[1, ::-2]).tolist() == [6.0, 2.0]
    assert memoryview(x[:, 1:]).tolist() == [[30.0, 5.0], [4.0, 6.0]]


def to_bytes() -> None:
    """The bytes of Julia's numbers, by memoryview.cast and by struct."""
    print("Julia's Vector{Float64}")
    x = bb.eval("[1.0, pi, 1e100]")
    raw = memoryview(x).cast("B")
    print("  the bytes of pi:", raw[8:16].hex())
    assert raw[8:16] == struct.pack("d", math.pi)
    struct.pack_into("d", raw, 16, -1.0)
    print("  after struct.pack_into:", list(x))
    assert list(x) == [1.0, math.pi, -1.0]


def outlive() -> None:
    """A view keeps Julia's memory alive, all by itself."""
    print("lifetime")
    view = memoryview(bb.eval("collect(1.0:1_000_000.0)"))
    assert bb.stats()["exports"] == 1
    bb.Base.GC.gc()
    print("  the sum of a view whose array nobody else knows:", math.fsum(view))
    assert math.fsum(view) == 1_000_000 * 1_000_001 / 2
    view.release()
    assert bb.stats()["exports"] == 0


def main() -> None:
    from_array()
    from_bytes()
    from_file()
    from_ctypes()
    to_memoryview()
    to_bytes()
    outlive()
    assert "numpy" not in sys.modules
    print("All of this without NumPy.")


if __name__ == "__main__":
    main()
