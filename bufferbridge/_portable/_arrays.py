"""JuliaArray, as csrc/juliaarray.c and csrc/getbuffer.c: what is known of the memory.

Why memory that Python looks at stays where it is: whatever looks at it holds the JuliaArray, which
roots the Julia object. A Vector could still be resized. Up to Julia 1.10 its "shared" flag is set
before its address is given away, and push! and resize! throw from then on; from 1.11 on what has
the memory is rooted besides.

Other threads may look at memory while Julia runs, since cffi lets them go on. So of a Vector that
could be resized meanwhile they see nothing.

PyPy's memoryview can be had of a class's ``__buffer__``, but knows no column-major strides: memory
of that kind is seen through ``__array_interface__``.
"""

from __future__ import annotations

import operator
import sys
from _thread import get_ident
from itertools import count

from . import _buffers, _kinds, _types, _values
from ._calls import ask, freed, not_ready, ready
from ._memory import ARRAY, BUFFER, MAX_DIMS, RUNNING, bridge, ffi
from ._types import JuliaValue

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

if sys.implementation.name == "pypy":
    from __pypy__ import add_memory_pressure, newmemoryview  # type: ignore[import-not-found]
else:
    newmemoryview = add_memory_pressure = None

_set = object.__setattr__
_CASTS = frozenset("?bBhHiIlLqQfd")  # what memoryview.cast knows


class Memory:
    """What a JuliaArray knows of its memory (bb_layout)."""

    __slots__ = (
        "address", "contiguity", "derived", "format", "itemsize", "kind", "memory_slot", "owner",
        "owner_data", "owner_length", "readonly", "shape", "size", "strides",
    )  # fmt: skip

    def __init__(self) -> None:
        self.memory_slot = -1

    def read(self, layout: Any, owner_now: tuple[int, int]) -> None:
        n = layout.ndim
        self.owner_data, self.owner_length = owner_now
        self.address = layout.ptr
        self.itemsize = layout.itemsize
        self.kind = layout.kind
        self.readonly = bool(layout.readonly)
        self.derived = layout.derived
        self.format = ffi.string(layout.format).decode() if layout.format else None
        self.owner = layout.owner
        self.memory_slot = layout.memory_slot
        self.shape = tuple(layout.shape[0:n]) if n else ()
        self.strides = tuple(layout.strides[0:n]) if n else ()
        self.measure()

    def measure(self) -> None:
        self.size = 1
        for n in self.shape:
            self.size *= n
        self.contiguity = _buffers.contiguity(self.shape, self.strides, self.itemsize)

    def owner_now(self) -> tuple[int, int]:
        """The data pointer and the length of the Vector that has the memory."""
        return _word(self.owner), _word(self.owner + bridge.length_offset)

    def has_moved(self) -> bool:
        return self.owner_now() != (self.owner_data, self.owner_length)

    def stays(self) -> bool:
        """Whether the Vector's memory, if it has not moved, can't do so any more or is kept."""
        if self.memory_slot >= 0 or not bridge.shared_mask:
            return self.memory_slot >= 0
        flags = ffi.cast("uint16_t *", self.owner + bridge.flags_offset)[0]
        return bool(flags & bridge.shared_mask)

    def __del__(self) -> None:
        if self.memory_slot >= 0:
            freed.append(self.memory_slot)


def _word(p: int) -> int:
    return ffi.cast("int64_t *", p)[0]  # type: ignore[no-any-return]


class JuliaArray(JuliaValue):
    """A Julia array; memoryview(x) and numpy.asarray(x) share its memory.

    Indices are zero-based, x[i, j] is x[i+1, j+1] in Julia; slices and '...' give views, and so
    does the name of a field where the elements are records, x['name'].
    Arrays whose memory can't be shared (of String, Any, BitArray, ranges, ...) raise
    BufferError from memoryview(x); numpy.asarray(x) copies those.
    """

    __slots__ = ("__memory__",)

    __memory__: Memory
    __index__ = None  # who asks an array whether it is an index (NumPy) wants no for an answer

    def __current__(self) -> int:
        if self.__memory__.derived:
            self._memory_now()
        return self.__jl__

    def _memory_now(self) -> Memory:
        """The descriptor, once it is true. Raises BufferError for a view that no longer fits."""
        m: Memory = self.__memory__
        if m.format is None:
            return self._refresh() if ready() else m
        if not m.owner:
            return m
        if get_ident() != bridge.main_thread and not m.stays() and bridge.status == RUNNING:
            raise RuntimeError(
                "on PyPy other threads can't look at a Vector that Julia could resize meanwhile:"
                " make a memoryview or numpy.asarray(x) of it on the main thread"
            )
        if not m.has_moved():
            return m
        if m.derived or m.memory_slot >= 0:
            return self._refresh()
        while m.has_moved():  # nothing of it is exported, or it could not have been resized
            m.owner_data, m.owner_length = m.owner_now()
            m.address, m.shape = m.owner_data, (m.owner_length,)
            m.measure()
        return m

    def _refresh(self) -> Memory:
        # A new descriptor: what looks at the old memory holds the old one, and so its root.
        from ._calls import call, helper

        layout = ffi.new("bb_layout *")
        old = self.__memory__
        if not ready():
            raise not_ready()
        while True:
            memory = Memory()
            before = old.owner_now() if old.owner else (0, 0)
            call(helper("arrayrefresh"), (_Pointer(self.__jl__), int(ffi.cast("intptr_t", layout))))
            memory.read(layout, before)
            if not memory.owner or not memory.has_moved():
                _set(self, "__memory__", memory)
                return memory
            # What was let go of meanwhile ran code that resized it again.

    def _shared(self) -> Memory:
        """The descriptor of memory that can be shared. Raises BufferError if it can't."""
        m = self._memory_now()
        if m.format is None:
            why = ask("whynotshared", self) if ready() else "the memory can't be shared"
            raise BufferError(why)
        return m

    def _exported(self) -> Memory:
        """The same, before its address is given away: a Vector keeps its size from now on."""
        m = self._shared()
        if m.owner and not m.stays() and ready():
            ask("pinmemory", self)
            m = self._shared()  # what it had room for besides may have been given back
        return m

    def __buffer__(self, flags: int = 0) -> Any:
        m = self._exported()
        if m.readonly and flags & 1:
            raise BufferError("this Julia array is read-only")
        if newmemoryview and not m.shape:
            # tolist() of any memoryview without axes ends PyPy's process.
            raise BufferError(
                "there is no memoryview of an array without axes on PyPy: use x[()], or a"
                " memoryview of bufferbridge.Base.vec(x), which shares the memory"
            )
        plain = m.format in _CASTS
        if not m.contiguity & 1 or not (plain or newmemoryview):
            raise BufferError(
                "there is no memoryview of column-major or strided memory, nor of records but on"
                " PyPy: use numpy.asarray(x) or x.__array_interface__, or a memoryview of"
                " bufferbridge.Base.vec(x) or .transpose(x), which share the memory"
            )
        # The memoryview keeps this cdata, whose destructor keeps the memory's roots until then.
        memory = ffi.gc(ffi.cast("char *", m.address), _HeldMemory(self, m).let_go)
        view: Any = memoryview(ffi.buffer(memory, m.size * m.itemsize))
        if m.readonly:
            view = view.toreadonly()
        one = len(m.shape) == 1
        if not m.size and not one:  # there are no axes of no items
            return view.cast(m.format if plain else "B")
        # Where a shape was given for one axis, PyPy 7.3 raises MemoryError from tobytes() and all
        # else that copies; not so for one that is known from the format, nor for a slice.
        if plain:
            return view.cast(m.format) if one else view.cast(m.format, m.shape)
        view = newmemoryview(view, m.itemsize, m.format, m.shape)
        return view[:] if one else view

    # ------------------------------------------------------------ attributes

    @property
    def shape(self) -> tuple[int, ...]:
        """Items along each axis, a tuple of int."""
        return self._memory_now().shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._memory_now().shape)

    @property
    def size(self) -> int:
        """Number of items."""
        return self._memory_now().size

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one item to the next along each axis."""
        return self._shared().strides

    @property
    def itemsize(self) -> int:
        """Bytes of one item."""
        return self._shared().itemsize  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        """Bytes of all items: size * itemsize."""
        m = self._shared()
        return m.size * m.itemsize  # type: ignore[no-any-return]

    @property
    def format(self) -> str:
        """The item's format, in the language of struct and PEP 3118."""
        return self._shared().format  # type: ignore[return-value]

    @property
    def readonly(self) -> bool:
        """Whether the memory may not be written."""
        return self._shared().readonly

    @property
    def _address(self) -> int:
        return self._exported().address  # type: ignore[no-any-return]

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name) and not _types.is_dunder(name):
            _set(self, name, value)  # raises: these are read-only
        else:
            JuliaValue.__setattr__(self, name, value)

    def __fill__(self, layout: Any, owner_now: tuple[int, int]) -> None:
        """What Julia knows of the memory of this new array."""
        memory = Memory()
        memory.read(layout, owner_now)
        _set(self, "__memory__", memory)
        if add_memory_pressure is not None and memory.size * memory.itemsize > 4096:
            # PyPy's collector doesn't know the size of what this small object keeps.
            add_memory_pressure(memory.size * memory.itemsize)

    # -------------------------------------------------------------- indexing

    def __len__(self) -> int:
        shape = self._memory_now().shape
        if not shape:
            raise TypeError("len() of a 0-dimensional array")
        return shape[0]  # type: ignore[no-any-return]

    def __iter__(self) -> Any:
        if not self._memory_now().shape:
            raise TypeError("iteration over a 0-dimensional array")
        return _each(self)

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, JuliaValue):
            return NotImplemented
        return self.__jl__ == other.__jl__

    def __ne__(self, other: object) -> Any:
        if not isinstance(other, JuliaValue):
            return NotImplemented
        return self.__jl__ != other.__jl__

    def __hash__(self) -> int:
        return hash(self.__jl__ >> 4)

    def __getitem__(self, key: Any) -> Any:
        m = self._memory_now()
        if isinstance(key, str):
            return ask("getitem", self, key)
        place = _item_address(m, key)
        if place:
            item = _kinds.load(m.kind, place)
            if item is not _kinds.NOT_HERE:
                return item
        axes, item = _parse_key(m, key)
        return ask("arrayget", self, int(ffi.cast("intptr_t", axes)), item)

    def __setitem__(self, key: Any, value: Any) -> None:
        m = self._memory_now()
        if isinstance(key, str):
            ask("setitem", self, key, value)
            return
        if m.format is not None and not m.readonly:
            place = _item_address(m, key)
            if place and _kinds.store(m.kind, place, value):
                return
        axes, item = _parse_key(m, key)
        ask("arrayset", self, int(ffi.cast("intptr_t", axes)), item, value)

    def __delitem__(self, key: Any) -> None:
        raise TypeError("items of an array can't be deleted")


class _Pointer(JuliaValue):
    """A Julia object that is passed as it is, though it may be a view that no longer fits."""

    __slots__ = ()

    def __new__(cls, jl: int) -> Any:
        x = object.__new__(cls)
        _set(x, "__jl__", jl)
        return x

    def __del__(self) -> None:
        pass


def _each(x: JuliaArray) -> Any:
    i = 0
    while i < len(x):
        yield x[i]
        i += 1


def _item_address(m: Memory, key: Any) -> int:
    """The address of one item of a kind, if the key is nothing but integers; otherwise 0."""
    keys = key if type(key) is tuple else (key,)
    if len(keys) != len(m.shape) or not 0 < m.kind <= _kinds.C64:
        return 0
    place: int = m.address
    for dim, k in enumerate(keys):
        if type(k) is not int:
            return 0
        place += _one_index(k, m.shape[dim], dim) * m.strides[dim]
    return place


def _one_index(k: Any, n: int, dim: int) -> int:
    i = operator.index(k)
    at = i + n if i < 0 else i
    if not 0 <= at < n:
        raise IndexError(f"index {i} is out of bounds for axis {dim} with size {n}")
    return at


def _parse_key(m: Memory, key: Any) -> tuple[Any, bool]:
    """NumPy's basic indexing: start, step and count for each axis; whether one item is meant."""
    keys = key if isinstance(key, tuple) else (key,)
    ndim = len(m.shape)
    ellipses = sum(k is Ellipsis for k in keys)
    if ellipses > 1:
        raise IndexError("an index can have only one '...'")
    indexed = len(keys) - ellipses
    if indexed > ndim:
        raise IndexError(
            f"too many indices: the array has {ndim} dimensions, {indexed} were indexed"
        )
    item = ellipses == 0 and indexed == ndim
    axes: list[int] = []
    for k in keys:
        dim = len(axes) // 3
        if k is Ellipsis:
            for n in m.shape[dim : dim + ndim - indexed]:
                axes += (0, 1, n)
        elif isinstance(k, slice):
            start, stop, step = k.indices(m.shape[dim])
            count = len(range(start, stop, step))
            axes += (start, step if count > 1 else 1, count)
            item = False
        elif hasattr(type(k), "__index__"):
            axes += (_one_index(k, m.shape[dim], dim), 1, -1)
        else:
            raise IndexError(
                "a JuliaArray is indexed by integers, slices, '...' and the names of fields, not by"
                f" '{type(k).__name__}'; np.asarray(x) has the other ways"
            )
    for n in m.shape[len(axes) // 3 :]:
        axes += (0, 1, n)
    return ffi.new("int64_t[]", axes or [0]), item


# ------------------------------------------------------------------- exports


exports: dict[int, None] = {}  # what looks at memory; counted so, since any thread may let go
_next_export = count()


class _HeldMemory:
    """A JuliaArray's memory, held for something that looks at it: an export."""

    def __init__(self, array: JuliaArray, memory: Memory) -> None:
        self._held: Any = (array, memory)
        self._number = next(_next_export)
        exports[self._number] = None

    def let_go(self, _cdata: Any = None) -> None:
        self._held = None
        exports.pop(self._number, None)

    def __del__(self) -> None:
        self.let_go()


def hold_memory(array: JuliaArray) -> Any:
    return _HeldMemory(array, array.__memory__)


class Exporter:
    """What NumPy is given to see a JuliaArray's memory where there may be no memoryview of it."""

    def __init__(self, array: JuliaArray, interface: dict[str, Any]) -> None:
        self._held = hold_memory(array)
        self.__array_interface__ = interface


def exporter(array: JuliaArray) -> Any:
    """An object that numpy.asarray makes an array of, of the same memory. Raises BufferError."""
    m = array._exported()
    interface = getattr(array, "__array_interface__", None)
    if interface is not None:
        return Exporter(array, interface)
    if not newmemoryview:
        raise BufferError(f"there is no array interface for the format {m.format!r}")
    import numpy as np

    # Padding would become fields in an interface. So NumPy makes a dtype of the format alone.
    item = np.asarray(newmemoryview(memoryview(bytes(m.itemsize)), m.itemsize, m.format))
    interface = {"version": 3, "typestr": f"|V{m.itemsize}", "data": (m.address, m.readonly)}
    interface |= {"shape": m.shape, "strides": m.strides}
    return np.asarray(Exporter(array, interface)).view((item.dtype, item.shape[1:]))


# Protocols that only the C layer knows, and what does without.
_INSTEAD = {
    "__array_struct__": "; PyPy can't read its __array_struct__: numpy.asarray(x)",
    "__dlpack__": "; there is no DLPack for Julia on PyPy: numpy.from_dlpack(x)",
    "__arrow_c_array__": "; there are no Arrow arrays for Julia on PyPy: x.to_numpy()",
}


def wrap(obj: Any, /) -> JuliaArray:
    """JuliaArray around PyArray(obj): obj's memory as a Julia array, whatever its layout.

    obj is any buffer exporter, or has an __array_interface__. Contiguous column-major memory
    is a PyArray <: DenseArray, all else a strided AbstractArray; nothing is copied. NumPy's masked
    arrays are a MaskedArray, of the data and the mask. Raises TypeError if obj has no memory to
    share.
    """
    bridge.hooks["start"]()
    if not ready():
        raise not_ready()
    if _buffers.is_masked(obj):
        from .. import _masked

        return _masked.from_numpy(obj)  # type: ignore[no-any-return]
    v = ffi.new("bb_value *")
    if not _buffers.acquire(obj, v):
        advice = [text for name, text in _INSTEAD.items() if hasattr(obj, name)]
        raise TypeError(
            f"'{type(obj).__name__}' has no memory to share: it exports no buffer (PEP 3118) and"
            " has no __array_interface__" + "".join(advice[:1])
        )
    assert v.tag == BUFFER
    try:
        return ask("wrap", int(ffi.cast("intptr_t", v)))  # type: ignore[no-any-return]
    finally:
        _values.clear(v)


assert MAX_DIMS == 64
JuliaArray.__module__ = "bufferbridge"
_types.array_class = _types.classes[ARRAY] = JuliaArray
