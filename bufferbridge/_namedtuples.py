"""Python's types for Julia's NamedTuples."""

from __future__ import annotations

from collections import namedtuple
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1024)
def namedtuple_type(names: tuple[str, ...]) -> Any:
    """The type for these names: the same for the same names, as long as it is in use."""
    # Names that Python doesn't allow (keywords, operators, _x) become _0, _1, ...
    make: Any = namedtuple  # mypy takes an assignment of its result for a definition
    type_ = make("NamedTuple", names, rename=True)
    # pickle would look for the class in this module.
    type_.__reduce__ = lambda self: (unpickled, (names, tuple(self)))
    return type_


def unpickled(names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    """A namedtuple that was pickled; the name of this function is in pickles that exist."""
    return namedtuple_type(names)(*values)
