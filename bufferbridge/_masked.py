"""Missing values: NumPy's masked arrays, and Julia's arrays whose elements may be ``missing``.

A masked array is two arrays, the data and the mask, and both are shared with Julia, where they are
one `MaskedArray` (``jlsrc/src/masked.jl``). :func:`from_numpy` is the conversion for arguments
(``_conversions.py``) and for ``bb.wrap`` (``csrc/masked.c``), :func:`to_masked` the way back.
"""

from __future__ import annotations

from . import _start
from ._core import JuliaArray

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

    import numpy as np


def from_numpy(m: np.ma.MaskedArray[Any, Any]) -> Any:
    """The MaskedArray in Julia of NumPy's masked array; ``missing`` for the constant ``masked``."""
    import numpy as np

    from . import pyobject

    bridge = _start.ensure().bridge
    if m is np.ma.masked:
        return bridge.missingvalue.raw()
    if m.dtype.names is not None:
        raise TypeError(
            "a masked array of records has a mask for each field, which Julia has no type for; "
            f"pass a field, x[{m.dtype.names[0]!r}], or x.data and x.mask"
        )
    mask = np.ma.getmask(m)
    fill = getattr(m, "_fill_value", None)  # m.fill_value would set one
    return bridge.maskedfrom.raw(
        np.ndarray.view(m, np.ndarray),
        None if mask is np.ma.nomask else np.asarray(mask),
        bool(m.hardmask),
        None if fill is None else pyobject(fill),
    )


def of_parts(data: Any, mask: Any) -> JuliaArray:
    """The JuliaArray of a MaskedArray: elements of `data`, and missing where `mask` is true.

    data, mask: arrays of the same shape, anything that is an array in Julia; mask of bool.
    """
    return _start.ensure().bridge.MaskedArray.raw(data, mask)  # type: ignore[no-any-return]


def to_masked(x: JuliaArray) -> np.ma.MaskedArray[Any, Any]:
    """NumPy's masked array of a Julia array whose elements may be ``missing``.

    The data share Julia's memory. The mask does too where the array came from Python (a masked
    array, or a column with a mask), and the fill value and hardness are that array's then. Of
    Julia's own ``Array{Union{T,Missing}}``, and of records and tuples, the mask is a copy: Julia
    keeps what is missing in bytes that are no mask of NumPy's, so neither side sees what the other
    marks as missing later. (``x[...] = m`` writes a masked array back.) A Vector can't be resized
    meanwhile, as when it is exported. Arrays whose elements can't be missing give a masked array
    without a mask.

    Raises TypeError if x is no JuliaArray, ValueError if its values can't be shared (text, or
    numbers of several types).
    """
    import numpy as np

    if not isinstance(x, JuliaArray):
        raise TypeError(f"to_masked takes a JuliaArray, not '{type(x).__name__}'")
    data, mask, hard, fill = _start.ensure().bridge.maskedparts(x)
    data = data.__array__(copy=False)
    if data.dtype.names == ():  # bytes without a meaning: a mask of no fields would mask nothing
        data = data.view((np.void, data.dtype.itemsize))
    mask = np.ma.nomask if mask is None else mask.__array__(copy=False)
    if mask is not np.ma.nomask and mask.ndim < data.ndim:  # the axes of sub-arrays
        own = mask.reshape(mask.shape + (1,) * (data.ndim - mask.ndim))
        mask = np.broadcast_to(own, data.shape).copy()
    array: np.ma.MaskedArray[Any, Any] = np.ma.MaskedArray(
        data,
        mask=mask,
        copy=False,
        hard_mask=hard,
        fill_value=fill,
    )
    return array
