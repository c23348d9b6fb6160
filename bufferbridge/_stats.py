"""``stats``: what the two languages hold of each other, as numbers and one by one."""

from __future__ import annotations

import sys

from . import _core, _start

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from tracemalloc import Traceback
    from typing import Any, Literal, overload
else:

    def overload(signature):
        return signature


@overload
def stats(*, detail: Literal[False] = False) -> dict[str, int]: ...
@overload
def stats(*, detail: bool) -> dict[str, Any]: ...  # noqa: F811
def stats(*, detail: bool = False) -> dict[str, Any]:  # noqa: F811  (ruff looks for typing's)
    """What the two languages hold of each other: a dict of int.

    julia_objects held by Python; python_objects, pinned_buffers and pinned_bytes held by Julia;
    exports, the live Py_buffers of JuliaArrays. These are counters and cost nothing; what Julia has
    finalized is let go first.

    detail: also the lists held_by_python (of HeldByPython: object, type, bytes, exports, where) and
        held_by_julia (of HeldByJulia: object, kind, bytes, where). They refer to the objects, which
        live as long as the lists. ``where`` is the traceback of the object's allocation if the
        standard library's tracemalloc is tracing, otherwise None.

    julia_objects counts a few more than are in held_by_python: what keeps the memory of Vectors and
    of borrowed arrays.
    """
    found: dict[str, Any] = dict(_core.stats())
    if detail:
        from ._held import HeldByJulia, HeldByPython

        by_python, by_julia = _core._held()
        types = _types([slot for _, slot, _, _ in by_python])
        found["held_by_python"] = [
            HeldByPython(o, type_, bytes_, exports, _where(o))
            for (o, _, bytes_, exports), type_ in zip(by_python, types)
        ]
        found["held_by_julia"] = [
            HeldByJulia(o, kind, bytes_, _where(o)) for o, kind, bytes_ in by_julia
        ]
    return found


def _types(slots: list[int]) -> list[str | None]:
    # By slots, and not by objects: a view that no longer fits has a type too. The objects are in a
    # list meanwhile, so that the slots stay theirs.
    session = _start.session()
    unknown: list[str | None] = [None] * len(slots)
    if session is None or not slots:
        return unknown
    try:
        types: list[str | None] = session.bridge.typesofroots(slots).split("\0")
    except RuntimeError:  # Julia has stopped, or this is another thread
        return unknown
    return types


def _where(obj: Any) -> Traceback | None:
    tracemalloc = sys.modules.get("tracemalloc")  # only who has imported it can have started it
    if tracemalloc is None or not tracemalloc.is_tracing():
        return None
    where: Traceback | None = tracemalloc.get_object_traceback(obj)
    return where
