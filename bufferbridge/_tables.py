"""Tables: those of pandas, polars, pyarrow and others to Julia, and Julia's back.

A table of Julia's is a NamedTuple of vectors, as Tables.jl has it. Columns go to Julia as arguments
do, and come back as results do; ``docs/tables.md`` tells what they share. None of the libraries is
imported unless its table is what is asked for.
"""

from __future__ import annotations

import sys

from . import _arrow, _start
from ._core import JuliaArray, JuliaValue

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    import pandas
    import polars
    import pyarrow


# ----------------------------------------------------------------- to Julia


def table(data: Any, *, index: bool = False, copy: bool = False) -> JuliaValue:
    """A table as Julia has it: a NamedTuple of vectors, which share the memory of the columns.

    data: a pandas, polars or pyarrow table; a record batch; any other object with an Arrow stream
        of a table (Arrow's PyCapsule interface); a NumPy structured array; a mapping of names to
        columns; or a table of Julia's.
    index: the index of a pandas DataFrame as columns before the others (by ``reset_index``). It is
        left out otherwise.
    copy: every column as a Vector of Julia's own, also where the column has no memory that could be
        shared (chunks are joined, categories of pandas decoded).

    The result is a JuliaValue, which stays a NamedTuple when it is passed to Julia functions;
    ``t.name`` is a column. Text is read when it is asked for; a pandas column of Python's own str
    objects is the one that is copied. docs/tables.md has what dtypes become.

    Raises TypeError for what is no table, and for columns that can't be shared (with the column's
    name and what to do); ValueError for two columns of one name and for lengths that differ.
    """
    bridge = _start.ensure().bridge
    builder = bridge.newtable()
    names = set()
    for given, value in _columns(data, index, copy):
        name = _name(given)
        if name in names:
            raise ValueError(f"two columns have the name {name!r}: Julia's tables have one of each")
        names.add(name)
        bridge.addcolumn(builder, name, value, copy)
    result: JuliaValue = bridge.finishtable.raw(builder)
    return result


def _name(name: Any) -> str:
    if isinstance(name, str):
        return name
    if isinstance(name, tuple):
        raise ValueError(f"the column {name!r} has a name of several levels: flatten them first")
    return str(name)


def _columns(data: Any, index: bool, copy: bool) -> Iterable[tuple[Any, Any]]:
    if isinstance(data, JuliaValue):
        found = _start.ensure().bridge.tablecolumns(data)
        if found is not None:
            return zip(*found)
    elif _arrow.is_instance(data, "pandas", "DataFrame"):
        return _of_pandas(data.reset_index() if index else data, copy)
    elif _arrow.is_instance(data, "numpy", "ndarray"):
        if data.dtype.names is not None:
            return ((name, data[name]) for name in data.dtype.names)
    elif isinstance(data, tuple) and hasattr(data, "_fields"):
        return zip(data._fields, data)
    elif isinstance(data, dict) or _is_mapping(data):
        return ((name, _given(name, data[name], copy)) for name in data)
    elif not isinstance(data, type) and (
        hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")
    ):
        return _of_arrow(data, copy)
    what = repr(data) if isinstance(data, type) else f"a '{type(data).__name__}'"
    raise TypeError(
        f"{what} is no table: pass a pandas, polars or pyarrow table, a NumPy array of records, or "
        "a dict of columns"
    )


def _is_mapping(data: Any) -> bool:
    abc = sys.modules.get("collections.abc")
    return abc is not None and isinstance(data, abc.Mapping)


def _given(name: Any, column: Any, copy: bool) -> Any:
    """A column that is given by itself: those of pandas, polars and pyarrow as in their tables."""
    if isinstance(column, (list, JuliaValue)) or not _arrow.has_values(type(column)):
        return column
    try:
        if _arrow.is_of_pandas(column):
            from . import _pandas

            return _pandas.column(column, copy)
        empty, chunks = _arrow.parts_of(column)
        parts = chunks if copy else [_arrow.one_chunk(empty, chunks)]
        return _joined(parts or [empty])
    except _arrow.Unsupported as e:
        raise TypeError(f"column {name!r} can't be shared with Julia: {e}") from None


def _of_arrow(data: Any, copy: bool) -> Iterator[tuple[Any, Any]]:
    # polars joins the chunks of a frame for a stream, which is a copy that nobody has asked for.
    if not copy and _arrow.is_instance(data, "polars", "DataFrame"):
        n = max(data.n_chunks("all"), default=1)
        if n > 1:
            raise TypeError(str(_arrow.in_chunks(n, table=True)))
    empty, chunks = _arrow.parts_of(data, stream=True)
    if empty[0] != "+s":
        raise TypeError(f"a '{type(data).__name__}' is one column and no table: pass it in a dict")
    if any(c[3] for c in chunks):
        raise TypeError("the rows of this table have nulls themselves: flatten it first")
    if not copy:
        try:
            chunks = [_arrow.one_chunk(empty, chunks, table=True)]
        except _arrow.Unsupported as e:
            raise TypeError(str(e)) from None
    for i, child in enumerate(empty[6]):
        name = child[1] or ""
        try:
            yield name, _joined([c[6][i] for c in chunks] or [child])
        except _arrow.Unsupported as e:
            raise TypeError(f"column {name!r} can't be shared with Julia: {e}") from None


def _joined(parts: list[Any]) -> Any:
    columns = [_arrow.column(p) for p in parts]
    return columns[0] if len(columns) == 1 else _start.ensure().bridge.joined.raw(*columns)


def _of_pandas(data: Any, copy: bool) -> Iterator[tuple[Any, Any]]:
    from . import _pandas

    for name, series in data.items():
        try:
            yield name, _pandas.column(series, copy)
        except _arrow.Unsupported as e:
            raise TypeError(
                f"column {name!r} can't be shared with Julia: {e}; or copy them all, "
                "bufferbridge.table(df, copy=True)"
            ) from None


# --------------------------------------------------------------- from Julia


def to_arrow(x: Any) -> pyarrow.Array | pyarrow.Table:
    """A vector of Julia's as a pyarrow.Array, a table as a pyarrow.Table.

    x: a JuliaArray of one axis; or a table: a NamedTuple of vectors (a JuliaValue, or the named
        tuple that it becomes as a result), a dict of columns, a vector of NamedTuples, or what
        Tables.jl takes for one, where Julia has that loaded.

    Contiguous numbers, the values beside ``missing``, bits (BitVector), times and periods, and what
    came from Arrow share memory. Vector{Bool}, text, Date, DateTime and validity are copied, since
    Arrow has other layouts.

    Raises TypeError for what is neither, ValueError for elements that Arrow has no type for,
    ModuleNotFoundError if pyarrow is not installed.
    """
    import pyarrow as pa

    def convert(value: Any) -> Any:
        return pa.array(_arrow.ArrowColumn(value) if isinstance(value, JuliaValue) else value)

    found = _table(x, "to_arrow")
    if found is None:
        return convert(x)
    names, columns = found
    arrays = [_convert(convert, n, c) for n, c in zip(names, columns)]
    return pa.Table.from_arrays(arrays, names=names)


def to_polars(x: Any) -> polars.Series | polars.DataFrame:
    """A vector of Julia's as a polars.Series, a table as a polars.DataFrame.

    See :func:`to_arrow` for what x may be and what is shared: this is the same memory. pyarrow is
    not needed. Raises what to_arrow raises.
    """
    import polars as pl

    def convert(value: Any, name: str = "") -> Any:
        values = _arrow.ArrowColumn(value) if isinstance(value, JuliaValue) else value
        return pl.Series(values).alias(name)

    found = _table(x, "to_polars")
    if found is None:
        return convert(x)
    return pl.DataFrame([_convert(lambda c, n=n: convert(c, n), n, c) for n, c in zip(*found)])


def to_pandas(x: Any) -> pandas.Series[Any] | pandas.DataFrame:
    """A vector of Julia's as a pandas.Series, a table as a pandas.DataFrame.

    See :func:`to_arrow` for what x may be. Numbers and Bool share memory, and with them those of
    ``Union{T,Missing}``, which get pandas' masked dtypes (Int64, Float64, boolean). Dates and times
    are copied to datetime64, text to pandas' str; elements of all other types are objects.

    Raises TypeError for what is neither a vector nor a table, ModuleNotFoundError if pandas is not
    installed.
    """
    import pandas as pd

    from . import _pandas

    def convert(value: Any) -> Any:
        return _pandas.from_julia(value) if isinstance(value, JuliaValue) else value

    found = _table(x, "to_pandas")
    if found is None:
        return pd.Series(convert(x), copy=False)
    # The arrays stay apart, as a dict's do with copy=False: pandas would copy them into blocks.
    columns = {n: _convert(convert, n, c) for n, c in zip(*found)}
    frame: pandas.DataFrame = pd.DataFrame(columns, copy=False)
    return frame


def _table(x: Any, function: str) -> tuple[list[str], list[Any]] | None:
    """Names and columns of a table; None for a vector of Julia's."""
    if isinstance(x, JuliaValue):
        found: tuple[list[str], list[Any]] | None = _start.ensure().bridge.tablecolumns(x)
        if found is not None:
            return found
        if isinstance(x, JuliaArray):
            if x.ndim == 1:
                return None
            raise TypeError(
                f"{function} takes a vector or a table, and this array has {x.ndim} axes: pass its "
                "columns, in a dict"
            )
    elif isinstance(x, tuple) and hasattr(x, "_fields"):
        return list(x._fields), list(x)
    elif isinstance(x, dict) or _is_mapping(x):
        return [_name(n) for n in x], [x[n] for n in x]
    raise TypeError(
        f"{function} takes a Julia vector or a table (a NamedTuple or a dict of vectors), not "
        f"'{type(x).__name__}'"
    )


def _convert(f: Any, name: str, column: Any) -> Any:
    try:
        return f(column)
    except (ValueError, TypeError) as e:
        e.args = (f"column {name!r}: {e}",)
        raise
