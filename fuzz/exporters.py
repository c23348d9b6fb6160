"""Exporters that answer whatever they are told to, over a block of memory with guards around it."""

from __future__ import annotations

import ctypes
import mmap

from tests.pybuffer import exporting_type

PAGE = mmap.PAGESIZE
CANARY = b"\xa5"
INT64 = range(-(2**63), 2**63)


class Block:
    """Bytes between two pages that nobody may touch: what reaches beyond crashes at once.

    One of its ends is the end of the page; the rest of the page is looked at by `check`.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._mapping = mmap.mmap(-1, 3 * PAGE)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))
        for page in (0, 2):
            if libc.mprotect(ctypes.c_void_p(self._start + page * PAGE), PAGE, 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self.address = self.size = 0

    def reset(self, content: bytes, at_end: bool) -> None:
        self.size = len(content)
        self.address = self._start + PAGE + (PAGE - self.size if at_end else 0)
        ctypes.memset(self._start + PAGE, CANARY[0], PAGE)
        ctypes.memmove(self.address, content, self.size)

    def check(self) -> None:
        page = ctypes.string_at(self._start + PAGE, PAGE)
        before = self.address - self._start - PAGE
        rest = page[:before] + page[before + self.size :]
        assert rest == CANARY * len(rest), "bytes outside of the block were written"


def _fill(self, view):
    for name, value in self.answer.items():
        setattr(view, name, value)


def integers(values):
    return None if values is None else (ctypes.c_ssize_t * max(len(values), 1))(*values)


class Exporter(exporting_type("fuzz.Exporting", _fill)):
    """Answers every request with these fields; `exports` counts the buffers that are held."""

    def __init__(self, buf, len, itemsize, ndim, format, shape, strides, suboffsets, readonly):
        self.shape, self.strides = shape, strides
        self.exports = 0
        self.answer = {
            "buf": buf,
            "len": len,
            "itemsize": itemsize,
            "readonly": readonly,
            "ndim": ndim,
            "format": format,
            "shape": integers(shape),
            "strides": integers(strides),
            "suboffsets": integers(suboffsets),
        }


def span(shape, strides, itemsize) -> tuple[int, int] | None:
    """The bytes that the items take, from the first one's address on; None if there are none."""
    if itemsize <= 0 or 0 in shape:
        return None
    reaches = [(n - 1) * s for n, s in zip(shape, strides)]
    return sum(min(r, 0) for r in reaches), sum(max(r, 0) for r in reaches) + itemsize


def row_major(shape, itemsize):
    strides = []
    for n in reversed(shape):
        strides.insert(0, itemsize)
        itemsize *= n
    return strides
