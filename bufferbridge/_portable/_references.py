"""Python objects on Julia's side: numbers, each a counted reference; and the exception on its way.

An object has one number as long as it has references, so that equal numbers mean the same object.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any


class _Entry:
    __slots__ = ("count", "id", "number", "object")

    def __init__(self, obj: Any, id_: int, number: int) -> None:
        self.object = obj
        self.id = id_
        self.number = number
        self.count = 1


_by_id: dict[int, _Entry] = {}
_by_number: dict[int, _Entry] = {}
_last = 0


def new(obj: Any) -> int:
    """A new reference; whoever has it drops it."""
    global _last
    id_ = id(obj)
    entry = _by_id.get(id_)
    if entry is not None:
        entry.count += 1
        return entry.number
    _last += 16  # as addresses have it: 0 is no object
    _by_id[id_] = _by_number[_last] = _Entry(obj, id_, _last)
    return _last


def get(number: int) -> Any:
    return _by_number[number].object


def drop(number: int) -> None:
    if number == 0:
        return
    entry = _by_number[number]
    entry.count -= 1
    if entry.count == 0:
        del _by_number[number], _by_id[entry.id]


def replace(number: int, obj: Any) -> None:
    """Let the number mean another object, of which there were no references."""
    entry = _by_number[number]
    del _by_id[entry.id]
    entry.object, entry.id = obj, id(obj)
    _by_id[entry.id] = entry


def take(number: int) -> Any:
    """The object of a reference, which is dropped."""
    obj = _by_number[number].object
    drop(number)
    return obj


# ---------------------------------------------------------------- exceptions

_pending: BaseException | None = None


def set_error(error: BaseException) -> None:
    """Python's exception, to be fetched by Julia or raised when the call into Julia is over."""
    global _pending
    _pending = error


def take_error() -> BaseException | None:
    global _pending
    error, _pending = _pending, None
    return error


def escaped(_class: Any, error: BaseException, _traceback: Any) -> None:
    """What a function that Julia called has raised (cffi's `onerror`)."""
    set_error(error)
