"""Python's types for Julia's NamedTuples."""

from __future__ import annotations

from collections import namedtuple
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1024)
def namedtuple_type(names: tuple[str, ...]) -> Any:
    """The type for these names: the same for the same names, as long as it is in use."""
    # Names that Python doesn't allow (keywords, operators, _x) become _0, _1, ...
    return namedtuple("NamedTuple", names, rename=True)
