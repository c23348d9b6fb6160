"""Python objects on Julia's side: numbers, each a counted reference; and the exception on its way.

An object has one number as long as it has references, so that equal numbers mean the same object.

A finalizer or a signal handler of Python's may come between any two steps here, and use the same
object: so references are counted by a list, which grows and shrinks in one step each, and whoever
has taken a step looks whether what it relied on is still so.
"""

from __future__ import annotations

from itertools import count

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any


class _Entry:
    __slots__ = ("id", "number", "object", "references")

    def __init__(self, obj: Any, id_: int) -> None:
        self.object = obj
        self.id = id_
        self.number = next(_numbers)
        self.references = [None]  # as many items as there are


_by_id: dict[int, _Entry] = {}
_by_number: dict[int, _Entry] = {}
_numbers = count(16, 16)  # as addresses have it: 0 is no object.


def new(obj: Any) -> int:
    """A new reference; whoever has it drops it."""
    id_ = id(obj)
    entry = _by_id.get(id_)
    if entry is not None:
        entry.references.append(None)
        if _by_id.get(id_) is entry:
            return entry.number
        # Its last reference was dropped just before.
    entry = _Entry(obj, id_)
    _by_number[entry.number] = entry
    _by_id[id_] = entry
    return entry.number


def get(number: int) -> Any:
    return _by_number[number].object


def drop(number: int) -> None:
    if number == 0:
        return
    entry = _by_number[number]
    entry.references.pop()
    if entry.references:
        return
    if _by_id.get(entry.id) is entry:
        del _by_id[entry.id]  # from here on `new` does not find it; perhaps it did just before
    if not entry.references:
        _by_number.pop(number, None)


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


def swap_error(other: BaseException | None) -> BaseException | None:
    """The one that waits, in whose place `other` waits from now on."""
    global _pending
    error, _pending = _pending, other
    return error


def escaped(_class: Any, error: BaseException, _traceback: Any) -> None:
    """What a function that Julia called has raised (cffi's `onerror`)."""
    set_error(error)
