"""From Python into Julia, as csrc/call.c: arguments, the entry, the result."""

from __future__ import annotations

import sys
from _thread import get_ident
from collections import deque
from contextlib import suppress

from . import _buffers, _values
from . import _references as refs
from ._memory import BUFFER, FORKED, ITEM, RUNNING, STOPPED, bridge, ffi, state

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

freed: deque[int] = deque()  # root slots whose Python objects have died; any thread appends
free_slot: Any = None  # the function of portable.jl that takes them (_boot)
_pool: list[Any] = []  # memory for the values of calls
_POOLED = 9
_SHALLOW = 40  # calls in calls, for which there is room in any case
_PLAIN = frozenset((int, float, bool, complex, str, type(None)))  # to convert them runs no code
_numbers: dict[str, int] = {}  # helpers of Julia's


def ready() -> bool:
    return bridge.status == RUNNING and get_ident() == bridge.main_thread


def not_ready() -> RuntimeError:
    if bridge.status == RUNNING:
        return RuntimeError(
            "on PyPy Julia can be entered only from the thread that started it: hand the work to"
            " the main thread, or use CPython with Julia 1.9 or later"
        )
    if bridge.status == STOPPED:
        return RuntimeError("Julia has stopped: the process is ending")
    if bridge.status == FORKED:
        return RuntimeError(
            "Julia does not survive os.fork(); start it in the child only, or use multiprocessing's"
            " 'spawn' method"
        )
    return RuntimeError("Julia is not running; call bufferbridge.init() first")


def settle() -> None:
    """Let go of what the other side no longer holds. On the main thread."""
    with suppress(IndexError):  # empty, perhaps by a call that came in between
        while freed:
            free_slot(freed.popleft())
    _buffers.drain()


def call(f: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
    """Call the Julia object at `f`."""
    if bridge.status != RUNNING or get_ident() != bridge.main_thread:
        raise not_ready()
    depth = state.depth
    if depth > _SHALLOW and depth > sys.getrecursionlimit() // 16:
        # PyPy's stack has 768 bytes for each of that limit, and a call that calls Python takes 7 KB
        # and more. Where it ends, no function that Julia calls could say so.
        raise RecursionError("maximum recursion depth exceeded in calls between Python and Julia")
    names = 0
    if kwargs:
        names = refs.new(tuple(kwargs))
        args = (*args, *kwargs.values())
    n = len(args)
    values = _pool.pop() if n < _POOLED and _pool else ffi.new("bb_value[]", max(n + 1, _POOLED))
    made = 0
    plain = True
    # One that waits is that of a call which this one comes in between of: not ours.
    waiting = refs.swap_error(None)
    try:
        for o in args:
            _values.from_python(o, values[made])
            made += 1
            plain = plain and (type(o) in _PLAIN or isinstance(o, _values.julia_value))
        if not plain:
            # Converting an argument may have run code that resizes a Vector of which one before it
            # is a view.
            for o in args:
                if isinstance(o, _values.julia_value):
                    o.__current__()
        result = values[n]
        result.owner = 0
        if _buffers.watched and f != _numbers.get("setattr"):
            _buffers.check()  # not where a name in Julia may let go of what has moved
        state.depth = depth + 1
        failed = bridge.entry(f, values, n, names, values + n, depth + 1)
        out = None if failed else _values.to_python(result)
    finally:
        state.depth = depth  # also if an interrupt came just before the entry
        for i in range(made):
            v = values[i]
            if v.owner or v.tag in (BUFFER, ITEM):
                _values.clear(v)
        if names:
            refs.drop(names)
        if n < _POOLED:
            _pool.append(values)
        error = refs.swap_error(waiting)  # also what a function has raised that could not say so
    if freed or _buffers.released[0]:
        settle()
    if error is not None:
        try:
            raise error
        finally:
            error = None  # no cycle of the frame and the exception
    if failed:
        raise SystemError("Julia reported an error but set no exception")
    return out


def helper(name: str) -> int:
    """A Julia function of the bridge's, for `call`. It lives as long as Julia."""
    found = _numbers.get(name)
    if found is None:
        found = _numbers[name] = bridge.lookup(name)
    return found


def ask(name: str, *args: Any) -> Any:
    """Call a Julia function of the bridge's by its name."""
    if not ready():
        raise not_ready()
    return call(helper(name), args)
