"""The entries of ``stats(detail=True)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core

if TYPE_CHECKING:
    from tracemalloc import Traceback
    from typing import Literal


class HeldByPython(NamedTuple):
    """A Julia object that Python holds.

    object: its Python object, a JuliaValue or kin.
    type: the Julia type as text; None if Julia can't be asked now.
    bytes: of an array its memory in bytes, None if that can't be shared or is no array.
    exports: live buffers of an array.
    where: the traceback of where the Python object was made, if tracemalloc knows.
    """

    object: _core.JuliaValue
    type: str | None
    bytes: int | None
    exports: int
    where: Traceback | None


class HeldByJulia(NamedTuple):
    """A Python object that Julia holds, or memory of one.

    object: the Python object; of memory, the one that lends it.
    kind: "object" or "buffer".
    bytes: of a buffer its size, otherwise None.
    where: the traceback of where the Python object was made, if tracemalloc knows.
    """

    object: Any
    kind: Literal["object", "buffer"]
    bytes: int | None
    where: Traceback | None
