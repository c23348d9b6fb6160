"""What Julia may call, by name, as csrc/api.c and csrc/operations.c.

Each function needs the task that Python's code runs on (jlsrc/portable.jl sees to that), borrows
its arguments, and gives references that the caller owns. One that raises gives its error value (0
or -1), and the exception waits to be fetched: an interrupt too, wherever it comes.
"""

from __future__ import annotations

import operator
import os
import sys
from contextlib import suppress

from . import _buffers, _types, _values
from . import _references as refs
from ._calls import call, freed, settle
from ._memory import ARRAY, COMPLEX, OBJECT, bridge, ffi, state, value_at
from ._text import decode

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any, Callable

# C's types: o is a reference to an object, p an address.
_TYPES = {"o": "uintptr_t", "p": "uintptr_t", "i": "int64_t", "d": "int", "v": "void"}

functions: dict[str, Any] = {}  # the cffi callbacks; they live as long as the process


def _api(signature: str) -> Callable[[Any], Any]:
    """The result's type and the arguments'. An error gives 0 for pointers, -1 for numbers."""

    def define(f: Any) -> Any:
        result, args = signature[0], signature[2:]
        type_ = f"{_TYPES[result]}({', '.join(_TYPES[a] for a in args)})"
        error = {} if result == "v" else {"error": -1 if result in "id" else 0}
        functions[f.__name__.strip("_")] = ffi.callback(type_, f, onerror=refs.escaped, **error)
        return f

    return define


def _bytes(p: int, n: int) -> bytes:
    return ffi.buffer(ffi.cast("char *", p), n)[:]  # type: ignore[no-any-return]


def _text(p: int, n: int) -> str:
    return decode(_bytes(p, n))


get, new = refs.get, refs.new

# ------------------------------------------------------- making Python objects


@_api("o:pi")
def str_(p: int, n: int) -> int:
    return new(_text(p, n))


@_api("o:p")
def bigint(hexadecimal: int) -> int:
    return new(int(ffi.string(ffi.cast("char *", hexadecimal)), 16))


@_api("o:p")
def box(v: int) -> int:
    return new(_values.to_python(value_at(v)))


@_api("o:p")
def new_export(description: int) -> int:
    e = ffi.cast("bb_export *", description)
    jl = e.object  # Julia keeps it for ever; it checks its arguments

    def export(*args: Any) -> Any:
        return call(jl, args)

    export.__name__ = export.__qualname__ = ffi.string(e.name).decode()
    export.__module__ = ffi.string(e.module).decode()
    export.__doc__ = ffi.string(e.doc).decode() if e.doc else None
    return new(export)


# Julia fills tuples in order: until the last item is there, it is a list.
@_api("o:i")
def tuple_new(n: int) -> int:
    return new([None] * n if n else ())


@_api("v:oio")
def tuple_set(t: int, i: int, item: int) -> None:
    items = get(t)
    items[i] = refs.take(item)
    if i + 1 == len(items):
        refs.replace(t, tuple(items))


@_api("o:i")
def list_new(n: int) -> int:
    return new([None] * n)


@_api("v:oio")
def list_set(t: int, i: int, item: int) -> None:
    get(t)[i] = refs.take(item)


@_api("o:oo")
def namedtuple(names: int, values: int) -> int:
    return new(bridge.hooks["make_namedtuple"](refs.take(names), refs.take(values)))


@_api("o:pi")
def conversion(name: int, n: int) -> int:
    from .. import _conversions

    return new(getattr(_conversions, _text(name, n)))


@_api("o:oo")
def apply(f: int, args: int) -> int:
    return new(get(f)(*refs.take(args)))


@_api("o:")
def not_implemented() -> int:
    return new(NotImplemented)


# --------------------------------------------------- looking into Python objects


@_api("d:op")
def unbox(o: int, v: int) -> int:
    _values.from_new(get(o), value_at(v))
    return 0


@_api("d:op")
def acquire(o: int, v: int) -> int:
    return int(_buffers.acquire(get(o), value_at(v)))


@_api("v:p")
def clear(v: int) -> None:
    _values.clear(value_at(v))


@_api("i:o")
def length(o: int) -> int:
    return len(get(o))


@_api("d:oip")
def item(o: int, i: int, v: int) -> int:
    _values.from_new(get(o)[i], value_at(v))
    return 0


@_api("o:oi")
def object_item(o: int, i: int) -> int:
    return new(get(o)[i])


@_api("i:o")
def is_tuple(o: int) -> int:
    return isinstance(get(o), tuple)


@_api("i:o")
def is_list(o: int) -> int:
    return isinstance(get(o), list)


@_api("i:o")
def is_slice(o: int) -> int:
    x = get(o)
    if not isinstance(x, slice):
        return 0
    return 2 if x.start is x.stop is x.step is None else 1


@_api("o:o")
def items(o: int) -> int:
    x = get(o)
    if isinstance(x, dict):
        return new(list(x.items()))
    if isinstance(x, tuple):
        return new(list(x._fields))  # type: ignore[attr-defined]
    return new(list(x))


@_api("o:opi")
def getattr_(o: int, name: int, n: int) -> int:
    return new(getattr(get(o), _text(name, n)))


@_api("d:opio")
def setattr_(o: int, name: int, n: int, value: int) -> int:
    setattr(get(o), _text(name, n), get(value))
    return 0


@_api("d:opi")
def hasattr_(o: int, name: int, n: int) -> int:
    return hasattr(get(o), _text(name, n))


@_api("o:o")
def dir_(o: int) -> int:
    return new(dir(get(o)))


@_api("o:oi")
def repr_(o: int, plain: int) -> int:
    return new((str if plain else repr)(get(o)))


def _call(f: int, args: int, n: int, names: int) -> Any:
    values = ffi.cast("bb_value *", args)
    made = 0
    objects = []
    try:
        while made < n:
            made += 1
            objects.append(_values.to_python(values[made - 1]))
    finally:
        for i in range(made, n):  # those that were not come to
            if values[i].tag == OBJECT:
                refs.drop(values[i].a.u)
    kwargs = {}
    if names:
        keywords = get(names)
        at = n - len(keywords)
        kwargs = dict(zip(keywords, objects[at:]))
        del objects[at:]
    result = get(f)(*objects, **kwargs)
    if freed or _buffers.released[0]:
        settle()
    if _buffers.watched:
        _buffers.check()
    return result


@_api("d:opiop")
def call_(f: int, args: int, n: int, names: int, result: int) -> int:
    v = value_at(result)
    v.tag = v.owner = 0
    r = _call(f, args, n, names)
    _values.from_python(r, v)
    if v.tag <= COMPLEX and v.owner == 0:
        return 0
    if v.owner == 0:
        v.owner = new(r)
    return 1


@_api("o:opio")
def call_object(f: int, args: int, n: int, names: int) -> int:
    return new(_call(f, args, n, names))


_depth = 0


@_api("d:")
def enter_recursion() -> int:
    # Lists that contain themselves: Julia's frames are counted here, which PyPy doesn't see.
    global _depth
    if _depth >= min(sys.getrecursionlimit() // 4, 1000):
        raise RecursionError("maximum recursion depth exceeded while converting to Julia")
    _depth += 1
    return 0


@_api("v:")
def leave_recursion() -> None:
    global _depth
    _depth -= 1


# -------------------------------------------------------------------- operations

_BINARY: tuple[Any, ...] = (
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow, operator.lshift, operator.rshift, operator.and_, operator.or_, operator.xor,
    operator.matmul,
)  # fmt: skip
_UNARY: tuple[Any, ...] = (operator.neg, operator.pos, operator.invert, operator.abs)
_COMPARE = (operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge)


@_api("o:ioo")
def binary(op: int, a: int, b: int) -> int:
    return new(_BINARY[op](get(a), get(b)))


@_api("o:io")
def unary(op: int, a: int) -> int:
    return new(_UNARY[op](get(a)))


@_api("o:ooi")
def compare(a: int, b: int, op: int) -> int:
    return new(_COMPARE[op](get(a), get(b)))


@_api("d:o")
def truth(o: int) -> int:
    return bool(get(o))


@_api("d:op")
def hash_(o: int, place: int) -> int:
    ffi.cast("int64_t *", place)[0] = hash(get(o))
    return 0


@_api("o:oo")
def getitem(o: int, key: int) -> int:
    return new(get(o)[get(key)])


@_api("d:ooo")
def setitem(o: int, key: int, value: int) -> int:
    get(o)[get(key)] = get(value)
    return 0


@_api("d:oo")
def delitem(o: int, key: int) -> int:
    del get(o)[get(key)]
    return 0


@_api("d:oo")
def contains(o: int, x: int) -> int:
    return get(x) in get(o)


@_api("o:oo")
def lookup(o: int, key: int) -> int:
    try:
        return new(get(o)[get(key)])
    except KeyError:
        return 0


@_api("o:o")
def iter_(o: int) -> int:
    return new(iter(get(o)))


@_api("o:o")
def next_(iterator: int) -> int:
    for x in get(iterator):
        return new(x)
    return 0


@_api("d:oo")
def isinstance_(o: int, class_: int) -> int:
    return isinstance(get(o), get(class_))


@_api("d:o")
def callable_(o: int) -> int:
    return callable(get(o))


@_api("o:pi")
def import_module(name: int, n: int) -> int:
    from importlib import import_module

    return new(import_module(_text(name, n)))


@_api("o:pi")
def bytes_(p: int, n: int) -> int:
    return new(_bytes(p, n))


@_api("o:oi")
def container(o: int, kind: int) -> int:
    return new((list, tuple, dict, set)[kind](get(o)))


@_api("o:o")
def julia_exception(error: int) -> int:
    e = get(error)
    if not isinstance(e, bridge.hooks["JuliaError"]):
        return 0
    exception = getattr(e, "exception", None)
    return new(exception) if isinstance(exception, _types.JuliaValue) else 0


# -------------------------------------------------------------------- lifetimes


@_api("p:o")
def hold(o: int) -> int:
    return _buffers.hold(o)


@_api("v:o")
def decref(o: int) -> None:
    refs.drop(o)


@_api("o:o")
def incref(o: int) -> int:
    return new(get(o))


@_api("v:")
def drain() -> None:
    settle()


# Of `newobject` in portable.jl, which Julia calls by this name.
@_api("o:iippii")
def new_julia(class_: int, slot: int, jl: int, layout: int, data: int, length: int) -> int:
    x = _types.new_julia(class_, slot, jl)
    if class_ == ARRAY:
        x.__fill__(ffi.cast("bb_layout *", layout), (data, length))
    return new(x)


# ----------------------------------------------------------------------- errors


@_api("v:ipioo")
def raise_(kind: int, message: int, n: int, exception: int, backtrace: int) -> None:
    text = _text(message, n)
    objects = [refs.take(x) if x else None for x in (exception, backtrace)]
    refs.set_error(bridge.hooks["make_error"](kind, text, *objects))


@_api("o:")
def fetch() -> int:
    error = refs.swap_error(None)
    return 0 if error is None else new(error)


@_api("d:o")
def wants_frames(exception: int) -> int:
    e = get(exception)
    if not isinstance(e, Exception) or isinstance(e, MemoryError):
        return 0
    notes = getattr(e, "__notes__", ())
    return isinstance(notes, (list, tuple)) and len(notes) < 8


@_api("v:oo")
def restore(exception: int, backtrace: int) -> None:
    e = get(exception)
    if backtrace:
        frames = refs.take(backtrace)
        with suppress(Exception):  # one that takes no notes
            bridge.hooks["note_frames"](e, frames)
    if not isinstance(e, BaseException):
        e = TypeError(f"a PyException holds an object that is no exception: '{type(e).__name__}'")
    refs.set_error(e)


@_api("o:o")
def format_exception(exception: int) -> int:
    e = get(exception)
    if not isinstance(e, BaseException):
        return new(repr(e))
    import traceback

    return new("".join(traceback.format_exception(type(e), e, e.__traceback__)))


@_api("d:ipii")
def write(fd: int, p: int, n: int, flush: int) -> int:
    stream = sys.stderr if fd == 2 else sys.stdout
    if stream is not None:
        stream.write(_bytes(p, n).decode("utf-8", "backslashreplace"))
        if flush:
            stream.flush()
    return 0


# ------------------------------------------------------------------- filling in


@_api("v:p")
def set_entry(entry: int) -> None:
    bridge.entry = ffi.cast("bb_entry", entry)


@_api("v:iiiiii")
def set_facts(
    _any_thread: int, _threads: int, length: int, flags: int, shared: int, _capacity: int
) -> None:
    bridge.length_offset, bridge.flags_offset, bridge.shared_mask = length, flags, shared


@_api("p:")
def state_() -> int:
    return int(ffi.cast("uintptr_t", state))


# Signals and threads are not looked after here, loans not made: these have nothing to do.
@_api("d:ip")
def set_helper(which: int, f: int) -> int:
    return 0


@_api("d:pp")
def set_runtime(name: int, f: int) -> int:
    return 0


@_api("d:")
def check_signals() -> int:
    return 0


# Of stdin, stdout and stderr those that are to stay blocking: libuv makes pipes non-blocking.
blocking: list[int] = []


@_api("v:")
def keep_descriptors() -> None:
    for fd in blocking:
        with suppress(OSError):
            os.set_blocking(fd, True)


@_api("v:p")
def _ignore(_p: int) -> None:
    pass


for _name in ("set_waker", "set_idle", "set_take_over", "loan_hold", "loan_release"):
    functions[_name] = functions["ignore"]


@_api("p:p")
def find(name: int) -> int:
    """The address of a function for Julia, by its name."""
    text = ffi.string(ffi.cast("char *", name)).decode()
    f = functions.get(text)
    if f is None:
        f = functions[text] = _missing(text)
    if isinstance(f, tuple):
        f = f[0]
    return int(ffi.cast("uintptr_t", f))


def _missing(name: str) -> Any:
    # Whatever its result is, 0 does no harm, and the exception comes out when the call is over.
    def missing() -> int:
        raise NotImplementedError(f"this needs bufferbridge's C module ({name}): use CPython")

    return ffi.callback("int64_t(void)", missing, error=0, onerror=refs.escaped)
