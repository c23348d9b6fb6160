"""The element types that are read and written here, as in csrc/kinds.c: numbers in native order."""

from __future__ import annotations

import struct
import sys

from ._memory import ffi

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

# enum bb_kind, from 1: size, alignment
SIZES = (0, 1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 8, 16)
ALIGNMENTS = (1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 4, 8)
U8, F32, F64, C32, C64, OBJECT = 3, 11, 12, 13, 14, 15

_SIGNED = {1: 2, 2: 4, 4: 6, 8: 8}
_OTHERS = {"?": 1, "c": 3, "e": 10, "f": 11, "d": 12, "Zf": 13, "Zd": 14}
_LITTLE = sys.byteorder == "little"


def kind_of_format(f: str) -> tuple[int, bool]:
    """The kind of a format of one item, or 0, and whether its bytes are swapped."""
    mode = f[:1]
    swapped = False
    native = True
    if mode in ("<", ">", "!", "=", "@", "^") and mode:
        native = mode in "@^"
        swapped = (mode == "<" and not _LITTLE) or (mode in ">!" and _LITTLE)
        f = f[1:]
    kind = _OTHERS.get(f)
    if kind is not None:
        return kind, swapped
    if len(f) != 1 or f not in "bBhHiIlLqQnN":
        return 0, swapped
    if f in "nN" and not native:
        return 0, swapped
    size = struct.calcsize(("@" if native else "=") + f)
    return _SIGNED[size] + f.isupper(), swapped


# By kind: cffi's type of one item, for which load and store have only to look at memory.
_TYPES: tuple[Any, ...] = (
    None,
    None,
    *(
        ffi.typeof(f"{t} *")
        for t in (
            "int8_t", "uint8_t", "int16_t", "uint16_t", "int32_t", "uint32_t", "int64_t",
            "uint64_t",
        )
    ),
    None,
    ffi.typeof("float *"),
    ffi.typeof("double *"),
    ffi.typeof("float *"),
    ffi.typeof("double *"),
    None,
)  # fmt: skip
_RANGES = {2 + 2 * k + u: (0 if u else -(1 << (8 << k) - 1), (1 << (8 << k) - (not u)) - 1)
           for k in range(4) for u in (0, 1)}  # fmt: skip

NOT_HERE: Any = object()


def load(kind: int, p: int) -> Any:
    """The item at an address, or NOT_HERE."""
    type_ = _TYPES[kind]
    if type_ is None:
        return ffi.cast("uint8_t *", p)[0] != 0 if kind == 1 else NOT_HERE
    place = ffi.cast(type_, p)
    return place[0] if kind <= F64 else complex(place[0], place[1])


def store(kind: int, p: int, value: Any) -> bool:
    """Stores what is exactly the element's kind and fits; all else is left to Julia's convert."""
    class_ = type(value)
    if class_ is float:
        if kind not in (F32, F64):
            return False
    elif class_ is int:
        bounds = _RANGES.get(kind)
        if not (bounds[0] <= value <= bounds[1] if bounds else kind in (F32, F64)):
            return False
        if bounds is None and not -(1 << 63) <= value < 1 << 63:
            return False
    elif class_ is bool and kind == 1:
        ffi.cast("uint8_t *", p)[0] = value
        return True
    else:
        return False
    ffi.cast(_TYPES[kind], p)[0] = value
    return True
