"""Formats of exporters that can be asked for more than their buffer says.

What NumPy and ctypes export for records does not always tell where the fields are: padding is left
out, and some layouts have no format at all (overlapping fields). Their types know. So for these
exporters the C layer asks here, and hands Julia (``jlsrc/src/parseformat.jl``) a format with every
offset written out: ``T{|0|^i:a:|8|^d:b:|16|}``, where ``|n|`` is the byte, in its record, of the
item that follows, and the last one the record's size.

Everything here raises TypeError for elements that can't be shared, saying which and why.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_LITTLE = sys.byteorder == "little"

# Codes of numbers with their own size in every mode, by NumPy's kind and size in bytes.
_NUMBERS = {
    **{("i", 1 << k): code for k, code in enumerate("bhiq")},
    **{("u", 1 << k): code for k, code in enumerate("BHIQ")},
    ("f", 2): "e",
    ("f", 4): "f",
    ("f", 8): "d",
    ("c", 8): "Zf",
    ("c", 16): "Zd",
    ("b", 1): "?",
}
_POINTER_SIZE = struct.calcsize("P")
_TYPESTR = re.compile(r"([<>=|])([a-zA-Z])(\d+|(?<=O))(\[.*\])?")
_UNIT = re.compile(r"\[\d*([YMWDhms]|[munpfa]s)\]")
_MAX_CACHED = 1024


def of_exporter(exporter: Any, format_: str, itemsize: int, ndim: int) -> str | None:
    """The format with offsets of a NumPy array or ctypes object.

    None if its buffer tells all, or is a memoryview's that was cast to other items.
    """
    own = memoryview(exporter)
    if (own.format, own.itemsize, own.ndim) != (format_, itemsize, ndim):
        return None
    np = sys.modules.get("numpy")
    for class_ in (np.ndarray, np.generic) if np is not None else ():
        if isinstance(exporter, class_):
            # Not what a subclass may say.
            return _of_array(exporter, class_.dtype.__get__(exporter))
    return _of_ctypes_items(type(exporter))


def of_interface(owner: Any, interface: dict[str, Any]) -> tuple[str, int]:
    """The format and itemsize (bytes) of an object with ``__array_interface__``."""
    format_, size = _of_interface(owner, interface)
    if not isinstance(interface.get("data", ()), tuple) and "O" in re.sub(":[^:]*:", "", format_):
        raise TypeError(
            "__array_interface__: 'data' is a buffer, whose bytes can't be references to objects "
            f"(the typestr is {interface['typestr']!r})"
        )
    return format_, size


def _of_interface(owner: Any, interface: dict[str, Any]) -> tuple[str, int]:
    order, kind, size, unit = _typestr(interface["typestr"])
    if kind == "V":
        dtype = getattr(owner, "dtype", None)
        if getattr(dtype, "names", None) is not None:
            return _of_dtype(dtype), size
    descr = interface.get("descr")
    if kind == "V" and descr and [d[0] for d in descr] != [""]:
        format_, descr_size = _of_descr(descr)
        if descr_size != size:
            raise TypeError(
                f"__array_interface__: the fields in 'descr' have {descr_size} bytes, and "
                f"'typestr' says {size}"
            )
        return format_, size
    where = f"in the __array_interface__ of '{type(owner).__name__}'"
    return _of_typestr(order, kind, size, where, unit), size


def _typestr(text: Any) -> tuple[str, str, int, str]:
    """Byte order, kind, size (bytes) and unit of NumPy's typestr, such as '<f8' or '<M8[s]'."""
    match = _TYPESTR.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise TypeError(f"__array_interface__: {text!r} is no typestr")
    order, kind, digits, unit = match.groups()
    # NumPy writes the size of text in characters, and none for objects.
    size = int(digits) * (4 if kind == "U" else 1) if digits else _POINTER_SIZE
    return order.replace("=", "<" if _LITTLE else ">"), kind, size, unit or ""


def _record(fields: list[tuple[str, str, int]], size: int) -> str:
    """A record of (name, format, offset in bytes) with a size in bytes."""
    for name, _, _ in fields:
        if ":" in name or "\0" in name:
            raise TypeError(
                f"the field {name!r} can't be shared with Julia: formats don't allow ':' "
                "and null characters in names; rename it"
            )
    items = "".join(f"|{offset}|{format_}:{name}:" for name, format_, offset in fields)
    return f"T{{{items}|{size}|}}"


def _subarray(shape: Iterable[int], item: str) -> str:
    return f"({','.join(map(str, shape))}){item}"


# ---------------------------------------------------------------------------- NumPy


def _of_array(array: Any, dtype: Any) -> str:
    format_ = _of_dtype(dtype)
    base: Any = getattr(getattr(array, "base", None), "dtype", None)
    hidden = set(getattr(base, "names", None) or ()) - set(dtype.names or ())
    if hidden and base.itemsize == dtype.itemsize:
        # A selection of fields, x[["a", "c"]]: the gaps are fields of somebody else's.
        return "T{||" + format_[2:]
    return format_


def _of_dtype(dtype: Any, where: str = "of this array") -> str:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        while base.subdtype is not None:  # a sub-array of sub-arrays: NumPy doesn't join them
            base, inner = base.subdtype
            shape += inner
        return _subarray(shape, _of_dtype(base, where))
    if dtype.names is not None:
        fields = [
            (
                name,
                _of_dtype(dtype.fields[name][0], f"of the field '{name}'"),
                dtype.fields[name][1],
            )
            for name in dtype.names
        ]
        return _record(fields, dtype.itemsize)
    order, kind, size, unit = _typestr(dtype.str)
    return _of_typestr(order, kind, size, where, unit)


def _of_typestr(order: str, kind: str, size: int, where: str, unit: str = "") -> str:
    """The format of one item with the parts of a typestr; size in bytes."""
    mark = ">" if order == ">" and _LITTLE else "<" if order == "<" and not _LITTLE else "^"
    code = _NUMBERS.get((kind, size))
    if code is not None:
        return mark + code
    if kind == "S":
        return f"{size}s"
    if kind == "U" and size % 4 == 0:
        return f"{mark}{size // 4}w"
    if kind == "V":
        return f"{size}x"
    if kind == "O":
        return "^O"
    if (kind, size) in (("f", 16), ("c", 32)):
        return mark + ("g" if kind == "f" else "Zg")
    if kind in "Mm" and size == 8 and (not unit or _UNIT.fullmatch(unit)):
        return mark + kind + (unit or "[generic]")
    raise TypeError(
        f"elements {where} of type '{kind}{size}{unit}' can't be shared with Julia; "
        "convert them first"
    )


def _of_descr(descr: Any) -> tuple[str, int]:
    """The format and size (bytes) of the fields in a 'descr'.

    See "The array interface protocol" in NumPy's manual.
    """
    fields = []
    offset = 0
    for number, (title, type_, *shape) in enumerate(descr):
        name = title[1] if isinstance(title, tuple) else title
        if len(shape) > 1:
            raise TypeError(f"__array_interface__: {descr[number]!r} in 'descr' has too many parts")
        if not name and not (isinstance(type_, str) and type_[1:2] == "V"):  # no padding
            name = f"f{number}"
        if isinstance(type_, str):
            order, kind, size, unit = _typestr(type_)
            format_ = _of_typestr(order, kind, size, f"of the field '{name}'", unit)
        else:
            format_, size = _of_descr(type_)
        if shape:
            dims = shape[0] if isinstance(shape[0], tuple) else (shape[0],)
            format_ = _subarray(dims, format_)
            for n in dims:
                size *= n
        if name:
            fields.append((name, format_, offset))
        offset += size
    return _record(fields, offset), offset


# --------------------------------------------------------------------------- ctypes


def _of_ctypes_items(type_: Any) -> str | None:
    import ctypes

    while issubclass(type_, ctypes.Array):
        type_ = type_._type_
    if issubclass(type_, (ctypes.Structure, ctypes.Union)):
        return _of_ctypes(type_)
    return None


@lru_cache(maxsize=_MAX_CACHED)
def _of_ctypes(type_: Any) -> str:
    import ctypes

    if issubclass(type_, ctypes.Array):
        shape = []
        while issubclass(type_, ctypes.Array):
            shape.append(type_._length_)
            type_ = type_._type_
        return _subarray(shape, _of_ctypes(type_))
    if issubclass(type_, ctypes.Union):
        raise TypeError(
            f"the ctypes union '{type_.__name__}' can't be shared with Julia, which has no such "
            "type; share its bytes (memoryview(x).cast('B')) or a structure of the same size"
        )
    if issubclass(type_, ctypes.Structure):
        return _of_structure(type_)
    if issubclass(type_, ctypes._Pointer):
        return "P"
    if issubclass(type_, ctypes._CFuncPtr):  # type: ignore[attr-defined]
        raise TypeError("ctypes function pointers can't be shared with Julia; use c_void_p")
    return _of_simple(type_)


def _of_structure(type_: Any) -> str:
    import ctypes

    fields = []
    # The fields of base classes come first.
    for class_ in reversed(type_.__mro__):
        for name, field_type, *bits in vars(class_).get("_fields_", ()):
            if bits:
                raise TypeError(
                    f"the field '{name}' of the ctypes structure '{type_.__name__}' is a bit "
                    "field, which can't be shared with Julia; share the integer that holds it"
                )
            descriptor = getattr(class_, name)
            if descriptor.size != ctypes.sizeof(field_type):
                raise TypeError(
                    f"the ctypes structure '{type_.__name__}' can't be shared with Julia: its "
                    f"field '{name}' is not what its _fields_ say any more"
                )
            fields.append((name, _of_ctypes(field_type), descriptor.offset))
    return _record(fields, ctypes.sizeof(type_))


def _of_simple(type_: Any) -> str:
    import ctypes

    code = type_._type_
    size = ctypes.sizeof(type_)
    swapped = type_ is getattr(type_, "__ctype_be__" if _LITTLE else "__ctype_le__", None)
    kind = "i" if code in "bhilq" else "u" if code in "BHILQ" else "f" if code in "fd" else ""
    if kind:
        mark = (">" if _LITTLE else "<") if swapped and size > 1 else "^"
        return mark + _NUMBERS[kind, size]
    if code == "g":
        return "^g" if size == 16 else "^d"
    if code == "u":
        return "^w" if size == 4 else "^u"
    if code in "c?POzZ":
        return f"^{'P' if code in 'zZ' else code}"
    raise TypeError(f"elements of type {type_.__name__!r} (ctypes) can't be shared with Julia")
