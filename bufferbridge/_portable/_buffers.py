"""Any exporter's memory for Julia, as csrc/acquire.c.

Who keeps it: the memoryview in `_held`, until Julia's finalizer has put the buffer on the list of
what is released, and `drain` has found it there.

CPython's exporters refuse to be resized while their memory is looked at. PyPy's don't: bytearray,
array.array and mmap move their memory under a memoryview. So theirs is compared with what it was
whenever Julia is entered, and BufferError raised if it has moved, before Julia could look at it.
"""

from __future__ import annotations

import array
import mmap
import re
import sys

from . import _kinds
from . import _references as refs
from ._memory import BUFFER, MAX_DIMS, RUNNING, address, bridge, ffi, state

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

_C, _F, _ALIGNED, _SWAPPED = 1, 2, 4, 8

# The list of nodes that Julia's finalizers have put there; Julia gives its address (_boot).
released: Any = ffi.new("uintptr_t *")
take_released: Any = None
collect: Any = None  # have Julia (True: and Python) collect garbage, and drain (_boot)

PYPY = sys.implementation.name == "pypy"


class Held:
    """A buffer that Julia has. (Its memory is `cdata`'s: Julia knows the address of that.)"""

    __slots__ = ("base", "cdata", "format", "keep", "len", "ptr", "shape", "strides")

    base: Any  # the exporter, if its memory may move
    cdata: Any
    format: Any
    keep: Any  # what keeps the memory
    len: int
    ptr: int
    shape: Any
    strides: Any


class Watched:
    """An exporter whose memory may move: where it is, its bytes, and the places of its buffers."""

    __slots__ = ("buffers", "object", "place", "size")

    buffers: set[int]
    object: Any
    place: int
    size: int

    def __init__(self, exporter: Any) -> None:
        memory = ffi.from_buffer(exporter)
        self.buffers = set()
        self.object = exporter
        self.place, self.size = address(memory), len(memory)


_held: dict[int, Held] = {}  # by address
_handles: dict[int, Any] = {}
watched: dict[int, Watched] = {}  # by the id of the exporter
_most_watched = 64
_counted: dict[int, list[int]] = {}  # by address of the memory: buffers, bytes


def counts() -> dict[str, int]:
    held = list(_held.values())
    return {
        "python_objects": len(_handles),
        "pinned_buffers": len(held),
        "pinned_bytes": sum(h.len for h in held),
    }


# ------------------------------------------------------------------ objects


def hold(number: int) -> int:
    """A handle (bb_handle) of a Python object, for Julia."""
    node = ffi.new("bb_handle *")
    node.object = refs.new(refs.get(number))
    place = address(node)
    _handles[place] = node
    return place


def release(place: int) -> None:
    """Let go of a handle or a buffer."""
    node = _handles.pop(place, None)
    if node is not None:
        refs.drop(node.object)
        return
    held = _held.pop(place)
    if held.base is not None:
        _unwatch(held.base, place)
    refs.drop(held.cdata.object)
    _uncount(held)


def drain() -> None:
    """Let go of what Julia has finalized."""
    # When Julia stops, its finalizers run for everything, also for memory that is looked at.
    if not released[0] or bridge.status != RUNNING or bridge.stopping:
        return
    while released[0]:
        place = take_released()
        if place:  # else a call that came in between has taken it
            release(place)


# ------------------------------------------------------------------ counting

_LARGE, _BESIDES = 1 << 14, 1 << 12  # see csrc/acquire.c


def _count(held: Held) -> None:
    state.held_bytes += _BESIDES
    if held.len < _LARGE:
        state.held_bytes += held.len
        return
    counted = _counted.setdefault(held.ptr, [0, 0])
    counted[0] += 1
    if held.len > counted[1]:
        state.held_bytes += held.len - counted[1]
        counted[1] = held.len


def _uncount(held: Held) -> None:
    state.held_bytes -= _BESIDES
    if held.len < _LARGE:
        state.held_bytes -= held.len
        return
    counted = _counted[held.ptr]
    counted[0] -= 1
    if counted[0] == 0:
        state.held_bytes -= counted[1]
        del _counted[held.ptr]


# -------------------------------------------------------------- acquisition


def contiguity(shape: Any, strides: Any, itemsize: int) -> int:
    flags = _C | _F
    if 0 in shape:
        return flags
    axes = list(zip(shape, strides))
    for flag, order in ((_F, axes), (_C, reversed(axes))):
        expected = itemsize
        for n, stride in order:
            if n != 1 and stride != expected:
                flags &= ~flag
            expected *= n
    return flags


def _row_major(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides = []
    step = itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def acquire(o: Any, v: Any) -> bool:
    """Make a BUFFER of the object. False if it has no memory to share.

    Raises BufferError, or what the exporter raises.
    """
    if is_masked(o):  # its buffer is that of the data, and the mask would be lost
        raise TypeError(
            "a masked array is two arrays, the data and the mask, and has no memory that is both:"
            " wrap(x), or x as an argument, shares them; x.data is one without the mask"
        )
    try:
        view = memoryview(o)
    except TypeError:
        return _acquire_interface(o, v)
    except (BufferError, ValueError, NotImplementedError):
        if _acquire_interface(o, v):
            return True
        raise
    shape = tuple(view.shape or ())
    if len(shape) != view.ndim:
        raise BufferError(f"the buffer of '{type(o).__name__}' is not valid: it has no shape")
    strides = tuple(view.strides or ()) or _row_major(shape, view.itemsize)
    base = view.obj
    exporter = o if not isinstance(o, memoryview) else base
    format_ = _describe(exporter, view) or view.format or "B"
    if _holds_objects(format_):
        raise TypeError(
            f"'{type(o).__name__}' has references to Python objects in its memory, which Julia"
            " can't read on PyPy: pass a list"
        )
    ptr = _address_of(o, view, shape, strides)
    if ptr is None:
        if _acquire_interface(o, v):
            return True
        raise BufferError(
            f"{sys.implementation.name} does not tell where the memory of '{type(o).__name__}' is,"
            " as of all that has gaps: pass an object with an __array_interface__, or a copy"
        )
    if ptr == 0 and view.nbytes:
        raise BufferError(f"the memory of '{type(o).__name__}' is not there any more")
    moves = PYPY and isinstance(base, (bytearray, array.array, mmap.mmap)) and view.nbytes
    watch = (watched.get(id(base)) or Watched(base)) if moves else None
    held = _finish(o, v, ptr, shape, strides, view.itemsize, format_, bool(view.readonly), view)
    if watch is not None:
        held.base = base
        watch.buffers.add(v.a.u)
        watched[id(base)] = watch
    return True


def is_masked(o: Any) -> bool:
    """Whether it is one of NumPy's masked arrays (csrc/masked.c)."""
    module = sys.modules.get("numpy.ma")
    return module is not None and isinstance(o, getattr(module, "MaskedArray", ()))


def _holds_objects(format_: str) -> bool:
    return "O" in format_ and "O" in re.sub(":[^:]*:", "", format_)


def _describe(exporter: Any, view: memoryview) -> str | None:
    # What NumPy and ctypes export for records does not always tell where the fields are.
    kind, _ = _kinds.kind_of_format(view.format)
    if kind not in (0, _kinds.U8):
        return None
    classes = type(exporter).__mro__
    ctypes = any(c.__module__ == "_ctypes" for c in classes)
    numpy = kind == 0 and "T" in view.format and any(c.__module__ == "numpy" for c in classes)
    if not (numpy or (ctypes and not PYPY)):
        return None
    describe: Any = bridge.hooks["describe_buffer"]
    described: str | None = describe(exporter, view.format, view.itemsize, view.ndim)
    return described


def _address_of(
    o: Any, view: memoryview, shape: tuple[int, ...], strides: tuple[int, ...]
) -> int | None:
    """Where the first item is; None where that can't be known."""
    if view.nbytes == 0:
        return 0
    interface = None if type(o) is memoryview else getattr(o, "__array_interface__", None)
    if isinstance(interface, dict) and isinstance(interface.get("data"), tuple):
        return int(interface["data"][0])
    # cffi makes a copy on PyPy, and refuses on CPython, where there are gaps.
    if not contiguity(shape, strides, view.itemsize) & _C:
        return None
    try:
        return address(ffi.from_buffer(view))
    except TypeError:  # PyPy: the memory may move, as that of io.BytesIO
        return None


def _unwatch(exporter: Any, place: int) -> None:
    w = watched.get(id(exporter))
    if w is not None:
        w.buffers.discard(place)
        if not w.buffers:
            watched.pop(id(exporter), None)


def check() -> None:
    """Raise BufferError if memory that Julia has was moved by a resize."""
    global _most_watched
    if len(watched) > _most_watched:  # most are garbage, and each is looked at with each call
        collect(False)
        _most_watched = max(64, 2 * len(watched))
    if any(map(_moved, list(watched.values()))):
        collect(True)  # perhaps nobody uses it any more
        if any(map(_moved, list(watched.values()))):
            raise BufferError(
                "a bytearray, array.array or mmap was resized or closed while Julia holds its"
                " memory, which is gone on PyPy: have Julia let go of it (bufferbridge.Main.name ="
                " None); or pass a copy in the first place"
            )


def _moved(w: Watched) -> bool:
    try:
        now = ffi.from_buffer(w.object)
    except (BufferError, ValueError, TypeError):
        return True
    return address(now) != w.place or bool(len(now) < w.size)


def _integers(values: tuple[int, ...]) -> Any:
    return ffi.new("int64_t[]", list(values) or [0])


def _finish(
    o: Any,
    v: Any,
    ptr: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    itemsize: int,
    format_: str,
    readonly: bool,
    keep: Any,
) -> Held:
    name = type(o).__name__
    if len(shape) > MAX_DIMS:
        raise BufferError(f"the buffer of '{name}' has more than {MAX_DIMS} dimensions")
    if itemsize < 0 or any(n < 0 for n in shape):
        raise BufferError(f"the buffer of '{name}' is not valid: sizes are negative")
    empty = 0 in shape or itemsize == 0
    low = sum((n - 1) * s for n, s in zip(shape, strides) if s < 0)
    high = itemsize + sum((n - 1) * s for n, s in zip(shape, strides) if s > 0)
    if not empty and (ptr == 0 or ptr + low < 0 or ptr + high >= 1 << 63):
        raise BufferError(f"the buffer of '{name}' is not valid: it leads out of the address space")
    kind, swapped = _kinds.kind_of_format(format_)
    if _kinds.SIZES[kind] != itemsize:
        kind = 0
    bits = ptr
    for n, s in zip(shape, strides):
        if n > 1:
            bits |= s
    held = Held()
    held.keep = keep
    held.base = None
    held.format = ffi.new("char[]", format_.encode())
    held.shape, held.strides = _integers(shape), _integers(strides)
    held.len = 0 if empty else high - low
    held.ptr = ptr
    b = held.cdata = ffi.new("bb_buffer *")
    b.is_buffer = 1
    b.ptr = ptr
    b.len = held.len
    b.itemsize = itemsize
    b.ndim = len(shape)
    b.readonly = readonly
    b.kind = kind
    b.flags = contiguity(shape, strides, itemsize)
    b.flags |= _SWAPPED if swapped and itemsize > 1 else 0
    if bits % _kinds.ALIGNMENTS[kind] == 0:
        b.flags |= _ALIGNED
    elif empty:  # no items, which any address will do for
        b.flags |= _ALIGNED
        b.ptr = 0
    b.shape, b.strides, b.format = held.shape, held.strides, held.format
    b.object = refs.new(o)
    _held[address(b)] = held
    _count(held)
    v.owner = 0
    v.tag = BUFFER
    v.a.u = address(b)
    return held


# ------------------------------------------------------ __array_interface__


def _acquire_interface(o: Any, v: Any) -> bool:
    if isinstance(o, type):
        return False
    interface = getattr(o, "__array_interface__", None)
    if not isinstance(interface, dict):
        return False
    interface = dict(interface)
    shape, typestr = interface.get("shape"), interface.get("typestr")
    data, strides = interface.get("data"), interface.get("strides")
    if not isinstance(shape, tuple) or not isinstance(typestr, str):
        raise TypeError("__array_interface__: 'shape' or 'typestr' is missing")
    if not isinstance(data, tuple) or len(data) != 2:
        raise TypeError(
            "__array_interface__: 'data' must be a tuple of the address and the read-only flag"
        )
    format_, itemsize = bridge.hooks["describe_interface"](o, interface)
    if _holds_objects(format_):
        raise TypeError("references to Python objects can't be read by Julia on PyPy: pass a list")
    if strides is None:
        strides = _row_major(shape, itemsize)
    if not isinstance(strides, tuple) or len(strides) != len(shape):
        raise TypeError(f"__array_interface__: 'strides' must be a tuple of {len(shape)} integers")
    keep = (o, interface)
    _finish(o, v, int(data[0]), shape, strides, itemsize, format_, bool(data[1]), keep)
    return True
