"""Julia's dictionaries and sets as Python's: methods of MutableMapping and MutableSet.

They are attached to JuliaDict and JuliaSet at import. What Julia has an operation for is Julia's;
the rest is that of the abstract base classes, on top of indexing, ``in``, ``len`` and iteration.
"""

from __future__ import annotations

from _collections_abc import ItemsView, MutableMapping, MutableSet, ValuesView

from . import _start
from ._core import JuliaDict, JuliaSet

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class _Items(ItemsView):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        return iter(_start.ensure().bridge.dictitems(self._mapping))  # type: ignore[attr-defined]


class _Values(ValuesView):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        return iter(_start.ensure().Base.values(self._mapping))  # type: ignore[attr-defined]


def _items(self: JuliaDict) -> _Items:
    """A set-like view of the pairs, as tuples."""
    return _Items(self)


def _values(self: JuliaDict) -> _Values:
    """A view of the values."""
    return _Values(self)


_missing = object()


def _take(self: JuliaDict, key: Any, default: Any = _missing, /) -> Any:
    """Remove a key and return its value, or the default. Raises KeyError if there is neither."""
    if default is not _missing and key not in self:
        return default
    value = self[key]
    del self[key]
    return value


def _clear(self: JuliaDict | JuliaSet) -> None:
    """Remove everything."""
    _start.ensure().Base.empty_b(self)


def _copy(self: JuliaDict | JuliaSet) -> Any:
    """A shallow copy, Julia's."""
    return _start.ensure().Base.copy(self)


def _ior(self: JuliaDict, other: Any) -> Any:
    self.update(other)
    return self


def _add(self: JuliaSet, value: Any) -> None:
    """Add an element."""
    _start.ensure().bridge.addto_b(self, value)


def _discard(self: JuliaSet, value: Any) -> None:
    """Remove an element if it is there."""
    _start.ensure().bridge.discard(self, value)


def _pop(self: JuliaSet) -> Any:
    """Remove some element and return it. Raises KeyError if there is none."""
    if not self:
        raise KeyError("pop from an empty set")
    return _start.ensure().Base.pop_b(self)


def _union(self: JuliaSet, *others: Any) -> Any:
    """A new set of the elements of all."""
    return _start.ensure().Base.union(self, *others)


def _intersection(self: JuliaSet, *others: Any) -> Any:
    """A new set of the elements that all have."""
    return _start.ensure().Base.intersect(self, *others)


def _difference(self: JuliaSet, *others: Any) -> Any:
    """A new set of the elements that no other has."""
    return _start.ensure().Base.setdiff(self, *others)


def _symmetric_difference(self: JuliaSet, other: Any) -> Any:
    """A new set of the elements that are in one of both only."""
    return _start.ensure().Base.symdiff(self, other)


def _update(self: JuliaSet, *others: Any) -> None:
    """Add the elements of all."""
    _start.ensure().Base.union_b(self, *others)


def _issubset(self: JuliaSet, other: Any) -> bool:
    """Whether all elements are in the other one."""
    return bool(_start.ensure().Base.issubset(self, other))


def _issuperset(self: JuliaSet, other: Any) -> bool:
    """Whether all elements of the other one are in this."""
    return bool(_start.ensure().Base.issubset(other, self))


def _attach(type_: Any, base: type, inherited: tuple[str, ...], own: dict[str, Any]) -> None:
    for name in inherited:
        setattr(type_, name, getattr(base, name))
    for name, method in own.items():
        method.__name__ = name
        method.__qualname__ = f"{type_.__name__}.{name}"
        setattr(type_, name, method)
    base.register(type_)  # type: ignore[attr-defined]


_attach(
    JuliaDict,
    MutableMapping,
    ("get", "keys", "popitem", "setdefault", "update"),
    {
        "items": _items,
        "values": _values,
        "pop": _take,
        "clear": _clear,
        "copy": _copy,
        "__ior__": _ior,
    },
)
_attach(
    JuliaSet,
    MutableSet,
    ("remove", "isdisjoint", "__ior__", "__iand__", "__isub__", "__ixor__"),
    {
        "add": _add,
        "discard": _discard,
        "pop": _pop,
        "update": _update,
        "union": _union,
        "intersection": _intersection,
        "difference": _difference,
        "symmetric_difference": _symmetric_difference,
        "issubset": _issubset,
        "issuperset": _issuperset,
    },
)
for _name, _method in {"clear": _clear, "copy": _copy}.items():
    setattr(JuliaSet, _name, _method)
