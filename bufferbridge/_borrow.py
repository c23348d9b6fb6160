"""Memory that Julia has for a block: ``with bb.borrow(obj) as x``. csrc/borrow.c does the work."""

from __future__ import annotations

from . import _core

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ._core import JuliaArray


class borrow:
    """Lend an object's memory to Julia for a block, and give it back at the end of the block.

    >>> data = bytearray(b"abc")
    >>> with bb.borrow(data) as x:
    ...     total = bb.Base.sum(x)
    >>> data.extend(b"more")

    x is a JuliaArray around the memory, whatever its layout, as from ``wrap``. At the end of the
    block the object has its memory for itself again, also if Julia code still has the array, or
    views of it: any use of those then throws BufferReleased in Julia and raises BufferError in
    Python. ``copy(x)`` in Julia is an ordinary Array that stays.

    Raises TypeError if obj has no memory to share. The end of the block raises BufferError if
    memoryviews or ndarrays of x are still alive: Julia can't use the memory any more then, and it
    is given back as soon as the last of them goes. A borrow can be entered again after its end, for
    a new array. If nothing ends it, it ends when no JuliaArray of the memory is left in Python.

    Tasks that use x on other threads of Julia must have ended before the block does.
    """

    __slots__ = ("__weakref__", "_arrays", "_obj")

    def __init__(self, obj: Any) -> None:
        self._obj = obj
        self._arrays: list[JuliaArray] = []  # the one array while the block lasts

    def __enter__(self) -> JuliaArray:
        array = None if self._arrays else _core._borrow(self._obj)
        if array is None or self._arrays:  # or another thread has entered meanwhile
            raise RuntimeError(
                "this borrow is entered already; a second bufferbridge.borrow(obj) of the same "
                "object can be used at the same time"
            )
        self._arrays.append(array)
        return array

    def __exit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            array = self._arrays.pop()
        except IndexError:
            raise RuntimeError("this borrow was not entered, or has ended already") from None
        _core._end_borrow(array)

    def __repr__(self) -> str:
        state = "lent to Julia" if self._arrays else "not lent"
        return f"<bufferbridge.borrow of {type(self._obj).__name__}, {state}>"
