"""One Python object into a ``bb_value`` and back, as in csrc/values.c: docs/conversion.md.

What has to live while Julia looks at a value is a reference in `owner`, which `clear` drops; a
Julia object is borrowed from its JuliaValue (`from_new` keeps that too). A buffer is the value's
own until Julia takes it by setting the tag to NONE.
"""

from __future__ import annotations

import sys

from . import _buffers, _kinds
from . import _references as refs
from ._memory import (
    BIGINT,
    BOOL,
    BUFFER,
    CALLABLE,
    COMPLEX,
    DICT,
    FLOAT,
    INT,
    ITEM,
    JULIA,
    LIST,
    NAMEDTUPLE,
    NONE,
    OBJECT,
    RANGE,
    SCALAR,
    SET,
    STR,
    TUPLE,
    UINT,
    address,
    bridge,
    ffi,
)  # fmt: skip
from ._text import decode, encode

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

julia_value: Any = ()  # the class JuliaValue; _types sets it


def from_python(o: Any, v: Any) -> None:
    """Raises what makes the conversion fail; there is nothing to clear then."""
    v.owner = 0
    v.tag = NONE
    class_ = type(o)
    if class_ is int:
        _from_int(o, v)
    elif class_ is float:
        v.tag = FLOAT
        v.a.d = o
    elif isinstance(o, julia_value):
        v.a.u = o.__current__()
        v.tag = JULIA
    elif class_ is str:
        _from_text(STR, encode(o), v)
    elif o is None:
        pass
    elif class_ is bool:
        v.tag = BOOL
        v.a.i = o
    elif class_ is complex:
        _from_complex(o, v)
    elif class_ is tuple:
        _borrow(TUPLE, o, v)
    elif class_ is list:
        _borrow(LIST, o, v)
    elif class_ is dict:
        _borrow(DICT, o, v)
    elif not _from_converted(o, class_, v):
        _from_unconverted(o, v)


def _borrow(tag: int, o: Any, v: Any) -> None:
    v.a.u = v.owner = refs.new(o)
    v.tag = tag


def _from_int(o: int, v: Any) -> None:
    if -0x8000000000000000 <= o <= 0x7FFFFFFFFFFFFFFF:
        v.tag = INT
        v.a.i = o
    else:
        _from_text(BIGINT, hex(o).encode(), v)


def _from_text(tag: int, data: bytes, v: Any) -> None:
    memory = ffi.new("char[]", data)
    v.owner = refs.new(memory)
    v.a.u = address(memory)
    v.b.i = len(data)
    v.tag = tag


def _from_complex(o: complex, v: Any) -> None:
    v.tag = COMPLEX
    v.a.d = o.real
    v.b.d = o.imag


def _from_converted(o: Any, class_: type, v: Any) -> bool:
    # See from_converted in csrc/values.c.
    hooks = bridge.hooks
    try:
        f = hooks["conversions"][class_]
    except TypeError:  # the class has no hash
        return False
    except KeyError:
        f = hooks["find_conversion"](class_)
    if f is None or isinstance(f, int):  # protocols of the class, which _buffers looks for itself
        return False
    replacement = f(o)
    if replacement is NotImplemented:
        return False
    if replacement is o:
        raise TypeError(
            f"a conversion for Julia gave the same '{class_.__name__}' back: return another object,"
            " or NotImplemented"
        )
    from_new(replacement, v)
    return True


def from_new(o: Any, v: Any) -> None:
    """The same for an object that nobody else may have."""
    from_python(o, v)
    if v.owner == 0:
        v.owner = refs.new(o)


def _from_unconverted(o: Any, v: Any) -> None:
    if isinstance(o, str):
        return _from_text(STR, encode(o), v)
    numpy = sys.modules.get("numpy")
    generic = getattr(numpy, "generic", None)
    if generic is not None and isinstance(o, generic) and not isinstance(o, bytes):
        return None if _from_numpy_scalar(o, v) else _borrow(OBJECT, o, v)
    if isinstance(o, int):
        return _from_int(int(o), v)
    if isinstance(o, float):
        v.a.d = o
        v.tag = FLOAT
        return None
    if isinstance(o, complex):
        return _from_complex(o, v)
    if isinstance(o, tuple):
        fields = getattr(type(o), "_fields", None)
        named = isinstance(fields, tuple) and len(fields) == len(o)
        return _borrow(NAMEDTUPLE if named else TUPLE, o, v)
    for class_, tag in ((list, LIST), (dict, DICT), (set, SET), (frozenset, SET), (range, RANGE)):
        if isinstance(o, class_):
            return _borrow(tag, o, v)
    if callable(o):
        return _borrow(CALLABLE, o, v)
    return None if _buffers.acquire(o, v) else _borrow(OBJECT, o, v)


def _from_numpy_scalar(o: Any, v: Any) -> bool:
    try:
        view = memoryview(o)
        kind, _ = _kinds.kind_of_format(view.format)
    except (BufferError, TypeError, ValueError, NotImplementedError):
        return False
    if view.ndim:
        return False
    if kind == 0:
        if view.format[:1] != "T" and view.format not in ("g", "Zg"):
            return False
        _buffers.acquire(o, v)
        v.tag = ITEM
        return True
    data = view.tobytes()
    if len(data) != _kinds.SIZES[kind]:
        return False
    if kind == _kinds.C64:
        _from_complex(complex(o), v)
        return True
    v.a.i = 0
    ffi.memmove(ffi.addressof(v.a, "bytes"), data, len(data))
    v.b.i = kind
    v.tag = SCALAR
    return True


def clear(v: Any) -> None:
    """Drop what the value still owns."""
    if v.tag in (BUFFER, ITEM):
        v.tag = NONE
        _buffers.release(v.a.u)
    if v.owner:
        owner, v.owner = v.owner, 0
        refs.drop(owner)


def to_python(v: Any) -> Any:
    """The object of a value that Julia made; takes what it owns."""
    tag = v.tag
    if tag == OBJECT:
        return refs.take(v.a.u)
    if tag == INT:
        return v.a.i
    if tag == FLOAT:
        return v.a.d
    if tag == NONE:
        return None
    if tag == BOOL:
        return v.a.i != 0
    if tag == COMPLEX:
        return complex(v.a.d, v.b.d)
    if tag == UINT:
        return v.a.u
    if tag == STR:
        return decode(ffi.buffer(ffi.cast("char *", v.a.u), v.b.i)[:])
    raise SystemError(f"bufferbridge: a value of unknown kind {tag} came from Julia")
