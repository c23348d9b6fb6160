"""Julia objects as pickles: what ``__reduce_ex__`` of JuliaValue gives.

- An array with memory that can be shared is that memory (with protocol 5 a PickleBuffer, which
  callers may transport out of band, without a copy), its format, shape and order, and where the
  format does not say all, a reference to the type of its items. Nothing depends on Julia's version,
  and contiguous arrays of numbers can be pickled on threads that can't enter Julia.
- Modules and named functions are references. Functions, types and modules of Julia's Main come with
  their sources, which are evaluated once in the process that unpickles (``jlsrc/src/sources.jl``).
- Everything else is bytes of Julia's Serialization, behind the version that wrote them.

To unpickle starts Julia where it does not run, with the options of the process that pickled, as far
as they name what exists; so it has to be on the main thread (or ``bufferbridge.init`` was called
there before). As with any pickle, whoever wrote it decides what code runs.

The names and parameters of the functions ``array``, ``module``, ``function`` and ``value`` are in
the pickles that exist: they stay. (JuliaErrors pickle as exceptions do: ``_Thrown`` in _errors.py.)
"""

from __future__ import annotations

import os
import pickle
import sys
from importlib import import_module

from . import _errors, _start
from ._core import JuliaArray, JuliaFunction, JuliaIO, JuliaModule, JuliaValue

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any, Callable

    Reduced = tuple[Callable[..., Any], tuple[Any, ...]]
    Home = tuple[str, dict[str, str]]

# Formats of one number: the size of "l" is not that of all machines, and "q" is.
_NUMBERS = {**{c: c for c in "?bBhHiIqQefd"}, "Zf": "Zf", "Zd": "Zd"}
_NUMBERS["l"], _NUMBERS["L"] = ("q", "Q") if memoryview(b"").cast("l").itemsize == 8 else ("i", "I")
_ORDER = "<" if sys.byteorder == "little" else ">"


# ------------------------------------------------------------------- pickling


def reduce(x: JuliaValue, protocol: int) -> Reduced:
    """What pickle is given for a Julia object.

    Raises TypeError for what can't be pickled by its nature, and PicklingError where something
    needed is not known.
    """
    if isinstance(x, JuliaArray):
        return _reduce_array(x, protocol)
    if isinstance(x, JuliaModule):
        return _reduce_module(x)
    if isinstance(x, JuliaFunction):
        named = _ask("functionreference", x)
        if named is not None:
            return function, (_home(), _ask("definitionsof", x), *named)
    if isinstance(x, JuliaIO) and not _start.ensure().bridge.isinmemory(x):
        raise TypeError("cannot pickle a stream of Julia's: pickle what was read from it")
    return _reduce_value(x, protocol)


def _reduce_array(x: JuliaArray, protocol: int) -> Reduced:
    try:
        item_format, itemsize, readonly = x.format, x.itemsize, x.readonly
    except BufferError:
        return _reduce_value(x, protocol)
    home, definitions = _home(), ()
    plain = _NUMBERS.get(item_format.lstrip("<>"))
    try:
        reference = _ask("elementreference", x)
    except RuntimeError as e:
        if plain is None or isinstance(e, _errors.JuliaError):
            raise
        reference = None  # on a thread that can't ask Julia: the format tells
    if reference is False:
        return _reduce_value(x, protocol)
    if reference is not None:
        definitions = _ask("definitionsof", x)
    elif plain is not None and itemsize > 1:
        order = item_format[0] if item_format[0] in "<>" else _ORDER
        item_format = order + plain
    memory: Any = _contiguous(x)
    order = "F" if memory is None or memory.f_contiguous or sum(n > 1 for n in x.shape) < 2 else "C"
    if memory is None:
        memory = _ask("packed", x)
        if readonly:
            memory = memoryview(memory).toreadonly()
    # As bytes in one row: who transports buffers may not take matrices in Fortran's order.
    raw = pickle.PickleBuffer(memory).raw()
    buffer: Any
    if protocol >= 5:
        buffer = pickle.PickleBuffer(raw)
    else:
        buffer = bytes(raw) if raw.readonly else bytearray(raw)
    item = (item_format, itemsize, reference)
    return array, (home, definitions, item, x.shape, order, buffer)


def _contiguous(x: JuliaArray) -> memoryview | None:
    """The memory if it has no gaps. None if it has, and where PyPy has no memoryview of it."""
    try:
        view = memoryview(x)
    except BufferError:
        return None
    return view if view.c_contiguous or view.f_contiguous else None


def _reduce_module(m: JuliaModule) -> Reduced:
    reference = _ask("modulereference", m)
    if reference[0] == "package":
        shipped = sys.modules.get("bufferbridge._shipped")
        name = None if shipped is None else shipped.python_names.get(reference[2])
        if name is not None:
            reference = ("shipped", name, *reference[3:])
    return module, (_home(), _ask("definitionsof", m), reference)


def _reduce_value(x: JuliaValue, protocol: int) -> Reduced:
    from . import __version__

    data, objects, definitions, code, checksum, layouts = _ask("pickledvalue", x)
    word = sys.maxsize.bit_length() + 1
    header = {
        "bufferbridge": __version__,
        "word": word,
        "code": code,
        "checksum": checksum,
        "layouts": layouts,
    }
    buffer = pickle.PickleBuffer(data) if protocol >= 5 else bytes(memoryview(data))
    return value, (_home(), header, buffer, objects, definitions)


def _ask(name: str, x: Any) -> Any:
    try:
        return getattr(_start.ensure().bridge, name)(x)
    except _errors.JuliaTypeError as e:
        raise TypeError(str(e)) from None
    except _errors.JuliaInterrupt:
        raise
    except _errors.JuliaError as e:
        raise pickle.PicklingError(str(e)) from e
    except RuntimeError as e:  # pools pickle on threads of their own
        remedy = (
            "pass bufferbridge.remote(f), which is pickled before"
            if isinstance(x, JuliaFunction)
            else "pass numpy.asarray(x)"
            if isinstance(x, JuliaArray)
            else "pass values of Python's"
        )
        raise RuntimeError(f"{e}; or {remedy}") from None


def _home() -> Home:
    """The version of Julia, and the options with which another process should start it."""
    session = _start.ensure()
    options = {k: os.path.expanduser(v) for k, v in session.options.items() if k != "threads"}
    for key, path in options.items():
        is_path = key == "sysimage" or (key == "project" and path[0] != "@") or os.sep in path
        if is_path:
            options[key] = os.path.abspath(path)
    return ".".join(map(str, session.version)), options


# ----------------------------------------------------------------- unpickling


def _arrive(home: Home) -> _start.Session:
    """The running session, or one with the options of the process that pickled."""
    session = _start.session()
    if session is not None:
        return session
    options = {k: v for k, v in home[1].items() if not os.path.isabs(v) or os.path.exists(v)}
    if os.environ.get("BUFFERBRIDGE_JULIA"):
        options.pop("julia", None)
    _start.init(**options)
    return _start.ensure()


def _define(session: _start.Session, definitions: tuple[Any, ...]) -> None:
    for definition in definitions:
        try:
            session.bridge.define(*definition)
        except _errors.JuliaInterrupt:
            raise
        except _errors.JuliaError as e:
            what = ", ".join(definition[2]) if definition[0] == "source" else definition[1]
            raise pickle.UnpicklingError(
                f"the definition of {what} that came with a pickle from Julia {session.version} "
                f"could not be evaluated in Julia's Main: {e}"
            ) from e


def array(
    home: Home,
    definitions: tuple[Any, ...],
    item: tuple[str, int, Any],
    shape: tuple[int, ...],
    order: str,
    buffer: Any,
) -> Any:
    """A JuliaArray whose memory is the buffer's; read-only if that is."""
    from . import pyobject

    session = _arrive(home)
    _define(session, definitions)
    memory = pyobject(pickle.PickleBuffer(buffer).raw())
    return session.bridge.unpickledarray.raw(memory, *item, shape, order)


def module(home: Home, definitions: tuple[Any, ...], reference: tuple[str, ...]) -> Any:
    """A JuliaModule, loaded if it was not yet."""
    session = _arrive(home)
    _define(session, definitions)
    kind, name, *rest = reference
    if kind == "shipped":
        found: Any = import_module(name).__julia__
    elif kind == "file":
        from . import _modules

        path, crc, *rest = rest
        found = _modules.load_file(name, path, int(crc))
    elif kind == "package":
        uuid, *rest = rest
        found = session.bridge.rootmodule(kind, name, uuid)
    else:
        found = session.bridge.rootmodule(kind, name)
    for name in rest:
        found = session.bridge.submodule(found, name)
    return found


def function(home: Home, definitions: tuple[Any, ...], module_: Any, name: str) -> Any:
    """A function by its name."""
    session = _arrive(home)
    _define(session, definitions)
    return session.bridge.named.raw(module_, name)


def value(
    home: Home,
    header: dict[str, Any],
    buffer: Any,
    objects: tuple[Any, ...],
    definitions: tuple[Any, ...],
) -> Any:
    """What Julia's Serialization has written."""
    from . import __version__, pyobject

    session = _arrive(home)
    theirs, ours = home[0], ".".join(map(str, session.version))
    versions = (
        f"the pickle was made by Julia {theirs} ({header['word']} bits, bufferbridge "
        f"{header['bufferbridge']}), and this is Julia {ours} (bufferbridge {__version__})"
    )
    newer = _minor(theirs) > _minor(ours)
    if (
        header["word"] != sys.maxsize.bit_length() + 1
        or newer
        or (header["code"] and theirs != ours)
    ):
        what = "closures and anonymous functions" if header["code"] else "Julia objects"
        raise pickle.UnpicklingError(
            f"{versions}: {what} can't be read there. Use the same Julia in both processes, or "
            "pickle arrays of numbers, or Python's values"
        )
    _define(session, definitions)
    held = tuple(o if isinstance(o, JuliaModule) else pyobject(o) for o in objects)
    memory = pickle.PickleBuffer(buffer).raw()
    try:
        layouts = header.get("layouts", ())
        return session.bridge.unpickledvalue(memory, held, header["checksum"], layouts)
    except _errors.JuliaInterrupt:
        raise
    except _errors.JuliaError as e:
        raise pickle.UnpicklingError(f"a Julia object can't be read ({versions}): {e}") from e


def _minor(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:2]]
