"""Julia's streams (IO) as binary files: the methods of io.BufferedIOBase, attached to JuliaIO.

Text goes through io.TextIOWrapper(x), as for any binary file. What a stream can't do raises
io.UnsupportedOperation, and what is done to a closed one ValueError, as Python's files do.
"""

from __future__ import annotations

import io

from . import _start
from ._core import JuliaIO

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def _bridge() -> Any:
    return _start.ensure().bridge


def _bytes(array: Any) -> bytes:
    return bytes(memoryview(array))


class _File:
    """What JuliaIO has besides a JuliaValue's attributes."""

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; all up to the end for None or a negative number."""
        return _bytes(_bridge().readbytes(self, -1 if size is None else size))

    def read1(self, size: int = -1, /) -> bytes:
        """What there is, at most `size` bytes; waits only if there is nothing."""
        return _bytes(_bridge().readsome(self, size))

    def readinto(self, buffer: Any, /) -> int:
        """Fill a writable buffer; the number of bytes read."""
        view = memoryview(buffer).cast("B")
        data = _bytes(_bridge().readbytes(self, len(view)))
        view[: len(data)] = data
        return len(data)

    def readinto1(self, buffer: Any, /) -> int:
        """Fill a writable buffer with what there is; the number of bytes read."""
        view = memoryview(buffer).cast("B")
        data = _bytes(_bridge().readsome(self, len(view)))
        view[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1, /) -> bytes:
        """A line with its end, of at most `size` bytes; empty at the end of the stream."""
        return _bytes(_bridge().readlinebytes(self, -1 if size is None else size))

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """The lines, up to the one with which they have `hint` bytes."""
        lines: list[bytes] = []
        total = 0
        while hint is None or hint <= 0 or total < hint:
            line = self.readline()
            if not line:
                break
            lines.append(line)
            total += len(line)
        return lines

    def write(self, data: Any, /) -> int:
        """Write a buffer's bytes; their number."""
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str': use io.TextIOWrapper(x)")
        view = memoryview(data)
        if not view.c_contiguous:
            raise BufferError(
                "only memory in C's order, without gaps, can be written: use bytes(x)"
            )
        written: int = _bridge().writebytes(self, view.cast("B") if view.nbytes else b"")
        return written

    def writelines(self, lines: Iterable[Any], /) -> None:
        """Write all of these."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what is buffered."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        _bridge().flushfile(self)

    def close(self) -> None:
        """Close the stream; again does nothing."""
        if not self.closed:
            _start.ensure().Base.close(self)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return not _start.ensure().Base.isopen(self)

    def readable(self) -> bool:
        """Whether it can be read from."""
        return bool(_start.ensure().Base.isreadable(self))

    def writable(self) -> bool:
        """Whether it can be written to."""
        return bool(_start.ensure().Base.iswritable(self))

    def seekable(self) -> bool:
        """Whether it has positions to go to."""
        return bool(_bridge().isseekable(self))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a position, in bytes from the start (0), from here (1), from the end (2)."""
        position: int = _bridge().seekfile(self, offset, whence)
        return position

    def tell(self) -> int:
        """The position, in bytes from the start."""
        position: int = _bridge().tellfile(self)
        return position

    def truncate(self, size: int | None = None, /) -> int:
        """Make it `size` bytes long, or as long as the position is."""
        length: int = _bridge().truncatefile(self, size)
        return length

    def fileno(self) -> int:
        """The number of the file descriptor. Raises io.UnsupportedOperation if there is none."""
        number: int = _bridge().filedescriptor(self)
        return number

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return bool(_bridge().isterminal(self))

    def detach(self) -> Any:
        """There is nothing below: raises io.UnsupportedOperation."""
        raise io.UnsupportedOperation("detach")

    @property
    def name(self) -> str:
        """The file's name, or Julia's display of the stream."""
        text: str = _bridge().nameoffile(self)
        return text

    @property
    def mode(self) -> str:
        """ "rb", "wb" or "rb+"."""
        return "rb" if not self.writable() else "rb+" if self.readable() else "wb"

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line


for _name, _member in list(vars(_File).items()):
    if not _name.startswith("__") or _name in ("__enter__", "__exit__", "__iter__", "__next__"):
        setattr(JuliaIO, _name, _member)
io.BufferedIOBase.register(JuliaIO)
