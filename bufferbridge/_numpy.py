"""What NumPy asks of a JuliaArray besides the buffer protocol: two methods, attached at import.

NumPy itself is imported only when ``__array__`` is called, which NumPy does.
"""

from __future__ import annotations

import sys

from . import _core, _start
from ._core import JuliaArray

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

# NumPy's kind for each format of a number.
_KINDS = {
    "?": "b",
    **dict.fromkeys("bhilq", "i"),
    **dict.fromkeys("BHILQ", "u"),
    **dict.fromkeys("efd", "f"),
    **dict.fromkeys(("Zf", "Zd"), "c"),
}
_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"


def _array_interface(self: JuliaArray) -> dict[str, Any]:
    """NumPy's array interface, version 3: the same memory as the buffer protocol's.

    Borrowed memory has none: who takes an address does not say when it's done with it.
    """
    if _core._is_lent(self):
        raise AttributeError("borrowed memory has no array interface: use memoryview(x)")
    try:
        format_ = self.format
    except BufferError as e:
        raise AttributeError(str(e)) from None
    order = format_[0] if format_[0] in "<>" else _NATIVE_ORDER
    kind = _KINDS.get(format_.lstrip("<>"))
    if kind is None:
        return _interface_of_numpy(self)
    return {
        "version": 3,
        "shape": self.shape,
        "typestr": f"{'|' if self.itemsize == 1 else order}{kind}{self.itemsize}",
        "data": (self._address, self.readonly),
        "strides": self.strides,
    }


def _interface_of_numpy(x: JuliaArray) -> dict[str, Any]:
    """The interface of records and strings, whose description NumPy makes of the format."""
    if _core._exporter is not memoryview:  # on PyPy, where NumPy asks for __array__ next
        raise AttributeError(f"no array interface for the format {x.format!r}: numpy.asarray(x)")
    try:
        import numpy as np

        interface: dict[str, Any] = np.asarray(memoryview(x)).__array_interface__
    except (ImportError, ValueError, NotImplementedError) as e:
        raise AttributeError(f"there is no array interface for the format {x.format!r}: {e}") from e
    return interface


def _array(self: JuliaArray, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
    """NumPy's array of the elements: a view if the memory can be shared, otherwise a copy.

    Raises ValueError if ``copy=False`` and a copy is needed.
    """
    import numpy as np

    try:
        array = np.asarray(_core._exporter(self))
    except BufferError as e:
        view = _view(self)
        if view is not None:
            array = view
        elif copy is False:
            raise ValueError(f"{e} (and copy=False was asked for)") from None
        else:
            array, copy = _copied(self), None
    if dtype is not None and array.dtype != np.dtype(dtype):
        if copy is False:
            raise ValueError(f"{array.dtype} to {np.dtype(dtype)} needs a copy")
        return array.astype(dtype)
    return array.copy() if copy else array


class _Memory:
    """Memory of a Julia array as plain bytes, for NumPy; keeps the array, and so the memory."""

    def __init__(self, held: Any, interface: dict[str, Any]) -> None:
        self._held = held
        self.__array_interface__ = interface


def _view(x: JuliaArray) -> NDArray[Any] | None:
    """A view of what no format describes: times, and records with overlapping fields or the like.

    None if the memory can't be shared at all.
    """
    import numpy as np

    held = _core._hold_memory(x)  # counts as an export from before there is an address
    found = _start.ensure().bridge.numpyview(x)
    if found is None:
        return None
    dtype = _dtype(found[0])
    if len(found) == 2:  # times: their memory as numbers or bytes
        return np.asarray(_core._exporter(found[1])).view(dtype)
    _, address, readonly, shape, strides = found
    interface = {"version": 3, "typestr": f"|V{dtype.itemsize}", "data": (address, readonly)}
    interface |= {"shape": shape, "strides": strides}
    return np.asarray(_Memory(held, interface)).view(dtype)


def _dtype(description: Any) -> np.dtype[Any]:
    """The dtype that ``dtype`` in jlsrc/src/dtypes.jl describes."""
    import numpy as np

    if isinstance(description, str):
        return np.dtype(description)
    if len(description) == 2:
        item, shape = description
        return np.dtype((_dtype(item), shape))
    names, items, offsets, itemsize = description
    formats = [_dtype(item) for item in items]
    fields: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    dtype: np.dtype[Any] = np.dtype(fields)
    return dtype


def _copied(x: JuliaArray) -> NDArray[Any]:
    """A copy of an array whose memory can't be shared: numbers as numbers, Dates' times as NumPy's,
    strings as NumPy's strings, everything else as an array of objects."""
    import numpy as np

    bridge = _start.ensure().bridge
    copied = bridge.sharedcopy(x)
    if copied is not None:
        return np.asarray(copied)
    elements = bridge.elements(x)
    if elements and all(isinstance(e, str) for e in elements):
        array = np.array(elements)
    else:
        array = np.empty(len(elements), dtype=object)
        for i, e in enumerate(elements):
            array[i] = e
    return array.reshape(x.shape, order="F")


JuliaArray.__array_interface__ = property(_array_interface)  # type: ignore[assignment,method-assign]
JuliaArray.__array__ = _array  # type: ignore[method-assign]
