"""Arrow arrays: to Julia without a copy, and Julia's vectors as Arrow arrays.

Objects are met through the Arrow PyCapsule interface (``__arrow_c_array__``,
``__arrow_c_stream__``), which pyarrow, polars, nanoarrow, pandas and others have, so that none of
these is needed. What touches the structs of Arrow's C data interface is ``csrc/arrow.c``; the types
that memory becomes in Julia are in ``jlsrc/src/arrow.jl``. Arrow's memory is immutable: so it is
read-only in Julia.
"""

from __future__ import annotations

import sys

from . import _core, _start
from ._core import JuliaValue

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

    # format, name, length, number of nulls, offset of bits, buffers, children, whether there is a
    # dictionary: what csrc/arrow.c makes of an array.
    Parts = tuple[str, "str | None", int, int, int, list[Any], tuple["Parts", ...], int]

# One buffer of these formats is all there is to an array without nulls.
_NUMBERS = frozenset("cCsSiIlLefg")
_OTHERS = frozenset(
    [
        "b",
        "n",
        "u",
        "U",
        "z",
        "Z",
        "vu",
        "vz",
        "tdD",
        "tdm",
        "tts",
        "ttm",
        "ttu",
        "ttn",
        "tDs",
        "tDm",
        "tDu",
        "tDn",
    ]
)
_TIMESTAMPS = ("tss:", "tsm:", "tsu:", "tsn:")  # followed by a time zone

# What to do about types that Julia has no array for, by how their format begins.
_REMEDIES = {
    "d:": ("decimals", "cast them to float64 or to integers"),
    "w:": ("binary values of a fixed size", "cast them to binary"),
    "+l": ("lists", "pass the flattened values and the offsets"),
    "+L": ("lists", "pass the flattened values and the offsets"),
    "+vl": ("list views", "pass the flattened values and the offsets"),
    "+vL": ("list views", "pass the flattened values and the offsets"),
    "+w:": ("lists of a fixed size", "pass the flattened values"),
    "+s": ("structs, as tables have", "bufferbridge.table(x) gives the fields as vectors"),
    "+m": ("maps", "pass keys and values one by one"),
    "+u": ("unions", "pass the children one by one"),
    "+r": ("run-end encoded values", "decode them (pyarrow.compute.run_end_decode)"),
    "ti": ("intervals", "cast them to durations"),
}


class Unsupported(Exception):
    """An array that can't be shared with Julia; the message says why and what to do.

    Users see a TypeError with this text, or find it with the error of a call.
    """


def column(parts: Parts) -> Any:
    """What goes to Julia for an Arrow array: an exporter of its memory, or a JuliaArray.

    Raises Unsupported for types that Julia has no array for.
    """
    format_, _, length, nulls, offset, buffers, _, dictionary = parts
    if dictionary:
        raise Unsupported(
            "it is dictionary-encoded (categorical): decode it first (pyarrow: "
            "x.dictionary_decode(); polars: x.cast(pl.String); pandas: x.astype(str))"
        )
    if format_ in _NUMBERS:
        if not buffers:  # of a stream without any array
            return _start.ensure().bridge.noelements.raw(format_)
        if not nulls:
            return buffers[1]
    elif format_ not in _OTHERS and not format_.startswith(_TIMESTAMPS):
        for prefix, (what, remedy) in _REMEDIES.items():
            if format_.startswith(prefix):
                raise Unsupported(f"it has {what} (Arrow's format {format_!r}): {remedy}")
        raise Unsupported(f"Arrow's format {format_!r} has no type in Julia: cast it first")
    bridge = _start.ensure().bridge
    if not buffers and format_ != "n":
        return bridge.noelements.raw(format_)
    return bridge.arrowcolumn.raw(format_, length, offset, *buffers)


def parts_of(obj: Any, stream: bool = False) -> tuple[Parts, list[Parts]]:
    """What an object with the PyCapsule interface has: an array of length 0, and its chunks.

    stream: ask for a stream if it has both.

    Raises TypeError if it has neither method, BufferError for arrays that contradict themselves.
    """
    array = getattr(obj, "__arrow_c_array__", None)
    chunks = getattr(obj, "__arrow_c_stream__", None)
    if array is not None and not (stream and chunks is not None):
        parts = _core._arrow_import(array())
        return parts, [parts]
    if chunks is not None:
        return _core._arrow_stream(chunks())
    raise TypeError(f"'{type(obj).__name__}' has no __arrow_c_array__ or __arrow_c_stream__")


def one_chunk(empty: Any, chunks: list[Any], table: bool = False) -> Any:
    """The only chunk with something in it. Raises Unsupported if there are several."""
    filled = [c for c in chunks if c[2] > 0]
    if len(filled) > 1:
        raise in_chunks(len(filled), table)
    return filled[0] if filled else chunks[0] if chunks else empty


def in_chunks(n: int, table: bool) -> Unsupported:
    """What is raised for an array, or a table, in n chunks."""
    return Unsupported(
        f"{'this table' if table else 'it'} is in {n} chunks, and Julia wants one: join them first "
        "(pyarrow: x.combine_chunks(); polars: x.rechunk()"
        + (
            "), or copy, by bufferbridge.table(x, copy=True)"
            if table
            else "; pandas: pyarrow.array(x).combine_chunks())"
        )
    )


def from_object(obj: Any) -> Any:
    """What goes to Julia for an object with an Arrow array or a stream of one.

    Raises Unsupported where its memory can't be shared as it is.
    """
    return column(one_chunk(*parts_of(obj)))


def wrap(obj: Any) -> Any:
    """What bb.wrap gives of an object that exports no buffer; NotImplemented if it's none of these.

    Raises TypeError that says what to do.
    """
    if _defines(type(obj), *_INTERFACES):
        return NotImplemented
    try:
        series = _values(obj)
        if series is not NotImplemented:
            return series
        if not _defines(type(obj), "__arrow_c_array__", "__arrow_c_stream__"):
            return NotImplemented
        return from_object(obj)
    except Unsupported as e:
        raise TypeError(f"this '{type(obj).__name__}' can't be shared with Julia: {e}") from None


# ----------------------------------------------------------------- arguments

# Classes whose instances have a stream of their one array. Others may be tables, or readers that a
# look at them would use up.
_SERIES = (("polars", "Series"), ("pyarrow", "ChunkedArray"))
_OF_PANDAS = (
    ("pandas", "Series"),
    ("pandas", "Index"),
    ("pandas.api.extensions", "ExtensionArray"),
)


# Memory of any number of dimensions: what of it is Arrow's is the poorer view (PIL's images).
_INTERFACES = ("__array_interface__", "__array_struct__")


def has_values(class_: type) -> bool:
    """Whether instances of a class may go to Julia as their values."""
    mro = type.__dict__["__mro__"].__get__(class_)
    return not _defines(class_, *_INTERFACES) and (
        _defines(class_, "__arrow_c_array__")
        or any(
            getattr(sys.modules.get(module), name, None) in mro
            for module, name in (*_SERIES, *_OF_PANDAS)
        )
    )


def _defines(class_: type, *names: str) -> bool:
    """Whether a class has one of these, and not None, by which a subclass takes it back."""
    # Instances, and what classes of classes say, may answer anything.
    namespaces = list(
        map(type.__dict__["__dict__"].__get__, type.__dict__["__mro__"].__get__(class_))
    )
    return any(next((n[name] for n in namespaces if name in n), None) is not None for name in names)


def argument(obj: Any) -> Any:
    """What takes an object's place as an argument: a PyObject of it where it has no such memory."""
    try:
        values = _values(obj)
        return from_object(obj) if values is NotImplemented else values
    except Unsupported:
        from . import pyobject

        return pyobject(obj)


def hint(obj: Any) -> str | None:
    """Why an object stayed a Python object though others of its class become arrays."""
    if not has_values(type(obj)):
        return None
    try:
        if _values(obj) is NotImplemented:
            from_object(obj)
    except Unsupported as e:
        return str(e)
    return None


def is_of_pandas(obj: Any) -> bool:
    return any(is_instance(obj, *class_) for class_ in _OF_PANDAS)


def _values(obj: Any) -> Any:
    if is_of_pandas(obj):
        from . import _pandas

        return _pandas.values(obj)
    return NotImplemented


def is_instance(obj: Any, module: str, name: str) -> bool:
    """isinstance, without importing the class's module: without it there is no such object."""
    class_ = getattr(sys.modules.get(module), name, None)
    return isinstance(class_, type) and isinstance(obj, class_)


# ------------------------------------------------------------------------ out


class ArrowColumn:
    """A Julia vector as an Arrow array, for all that take one (``pa.array``, ``pl.Series``).

    Shares the vector's memory where Arrow has the same layout; bits, text and dates are copied.
    Raises ValueError for elements that Arrow has no type for.
    """

    def __init__(self, vector: JuliaValue) -> None:
        self._parts = _start.ensure().bridge.arrowparts(vector)

    def __arrow_c_schema__(self) -> Any:
        return _core._arrow_schema(self._parts[0])

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        return _core._arrow_export(*self._parts)
