"""What pandas keeps values in, for Series, columns, indices and arrays, without importing pandas.

pandas keeps values in NumPy arrays, in pairs of an array and a mask, or in Arrow arrays. All of
them can be shared. Since copy-on-write (pandas 3) it lends its NumPy arrays for reading only: the
same memory may be that of several Series.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any


def values(series: Any) -> Any:
    """What goes to Julia for a Series, Index or extension array: an ndarray, or a JuliaArray.

    Raises Unsupported for dtypes whose values have no memory that Julia could share.
    """
    import numpy as np

    from . import _arrow, _masked

    if type(series).__name__ in ("RangeIndex", "MultiIndex"):
        raise _arrow.Unsupported("it has no memory of its values: pass x.to_numpy()")
    dtype, array = series.dtype, getattr(series, "array", series)
    kind = type(array).__name__
    if isinstance(dtype, np.dtype) or kind in ("NumpyExtensionArray", "PandasArray"):
        return series.to_numpy(copy=False)
    data, mask = getattr(array, "_data", None), getattr(array, "_mask", None)
    if isinstance(data, np.ndarray) and isinstance(mask, np.ndarray):  # Int64, Float64, boolean
        if _copies_on_write():
            data, mask = _read_only(data), _read_only(mask)
        return _masked.of_parts(data, mask)
    if kind == "DatetimeArray":  # with a time zone: UTC is what is in memory
        times = array.asi8.view(f"M8[{dtype.unit}]")
        return _read_only(times) if _copies_on_write() else times
    if kind in ("ArrowStringArray", "ArrowExtensionArray", "ArrowStringArrayNumpySemantics"):
        return _arrow.from_object(array.__arrow_array__())
    if kind in ("StringArray", "StringArrayNumpySemantics"):  # Python's own str objects
        return series.to_numpy()
    # What a Series has by accessors, arrays and indices have themselves.
    is_series = _arrow.is_instance(series, "pandas", "Series")
    cat, dt, sparse = ("cat.", "dt.", "sparse.") if is_series else ("", "", "")
    if kind == "Categorical":
        remedy = f"pass x.{cat}codes (and x.{cat}categories), or x.astype(str)"
    elif kind in ("PeriodArray", "PeriodIndex"):
        remedy = f"pass x.{dt}to_timestamp()"
    elif kind == "SparseArray":
        remedy = f"pass x.{sparse}to_dense()"
    else:
        remedy = "pass x.to_numpy()"
    raise _arrow.Unsupported(f"its dtype is {dtype}, which has no memory to share: {remedy}")


def _copies_on_write() -> bool:
    import pandas as pd

    return _major_version() >= 3 or bool(pd.get_option("mode.copy_on_write"))


def _major_version() -> int:
    import pandas as pd

    return int(pd.__version__.split(".")[0])


def _read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view


def column(series: Any, copy: bool) -> Any:
    """What goes to Julia for a column of a table: as `values`, and text as Strings.

    copy: also where nothing can be shared.
    """
    import numpy as np

    from . import _arrow, _start

    try:
        found = values(series)
    except _arrow.Unsupported:
        if not copy:
            raise
        found = np.asarray(series)
    if isinstance(found, np.ndarray) and found.dtype == object and _is_text(found):
        texts = [x if isinstance(x, str) else None for x in found]
        return _start.ensure().bridge.textcolumn.raw(texts)
    return found


def _is_text(objects: Any) -> bool:
    from pandas.api.types import infer_dtype

    return bool(infer_dtype(objects, skipna=True) == "string")


def from_julia(vector: Any) -> Any:
    """A Julia vector as an array that a Series takes without another copy."""
    import numpy as np
    import pandas as pd

    from . import _start

    kind, *parts = _start.ensure().bridge.pandasparts(vector)
    if kind == "masked":
        data, mask = (np.asarray(p) for p in parts)
        class_ = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}
        return class_.get(data.dtype.kind, pd.arrays.IntegerArray)(data, mask)
    if kind == "text":
        text = "str" if _major_version() >= 3 else None
        return pd.Series(parts[0], dtype=text, copy=False)
    if kind == "times":
        return np.asarray(parts[1]).view(parts[0])
    if kind == "numpy":
        array = np.asarray(vector)
        if array.ndim == 1 and array.dtype.names is None:
            return array
    objects = np.empty(len(vector), dtype=object)  # records and tuples, as they come one by one
    objects[:] = [bytes(x) if kind == "bytes" and x is not None else x for x in vector]
    return objects
