"""Python and Julia on the same memory, in one process, through the buffer protocol (PEP 3118).

>>> import bufferbridge as bb
>>> x = bb.eval("reshape(collect(1.0:6.0), 2, 3)")
>>> memoryview(x).shape
(2, 3)

Importing starts nothing: Julia starts with its first use, or with :func:`init`.
"""

from __future__ import annotations

import os

__version__ = "0.1.0"  # here, for pyproject.toml too; that of jlsrc/Project.toml is the same

from . import _containers as _containers  # these four give the types their methods
from . import _files as _files
from . import _numpy as _numpy
from . import _objects as _objects
from . import _start
from ._borrow import borrow
from ._core import (
    JuliaArray,
    JuliaDict,
    JuliaFunction,
    JuliaIO,
    JuliaModule,
    JuliaSet,
    JuliaValue,
    from_dlpack,
    wrap,
)
from ._errors import JuliaError
from ._start import init
from ._stats import stats

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from asyncio import Future
    from types import ModuleType
    from typing import Any

    from ._conversions import conversion, convert, remove_conversion
    from ._masked import to_masked
    from ._remote import remote
    from ._sparse import sparse, to_scipy
    from ._tables import table, to_arrow, to_pandas, to_polars

    Main: JuliaModule
    Base: JuliaModule
    Core: JuliaModule
    julia_version: tuple[int, int, int] | None

__all__ = [
    "Base",
    "Core",
    "JuliaArray",
    "JuliaDict",
    "JuliaError",
    "JuliaFunction",
    "JuliaIO",
    "JuliaModule",
    "JuliaSet",
    "JuliaValue",
    "Main",
    "borrow",
    "callback",
    "conversion",
    "convert",
    "eval",
    "from_dlpack",
    "include",
    "init",
    "julia_version",
    "newmodule",
    "nogil",
    "package",
    "pyobject",
    "remote",
    "remove_conversion",
    "sparse",
    "stats",
    "table",
    "task",
    "to_arrow",
    "to_masked",
    "to_pandas",
    "to_polars",
    "to_scipy",
    "use_stdin",
    "using",
    "wrap",
]


def eval(code: str, module: JuliaModule | ModuleType | None = None, raw: bool = False) -> Any:
    """Evaluate Julia code, all of it, in a module; the last value, converted.

    code: Julia's source, as text.
    module: a Julia module, or a Python module of ``bufferbridge.jl``; Main by default.
    raw: the value as Julia has it: a JuliaValue also where Python has a type for it.

    Raises SyntaxError (with the line and column) for code that does not parse, and JuliaError or
    its natural kin for what the code throws; TypeError if code is no str.
    """
    if not isinstance(code, str):
        raise TypeError(f"eval takes Julia code, a str, not '{type(code).__name__}'")
    session = _start.ensure()
    evaluate = session.evaluate.raw if raw else session.evaluate
    if module is None:
        return evaluate(code, session.Main)
    return evaluate(code, getattr(module, "__julia__", module))


def include(path: str | os.PathLike[str], module: JuliaModule | ModuleType | None = None) -> Any:
    """Evaluate a Julia file in a module; its last expression's value, converted.

    path: the file; a relative path is relative to the current folder.
    module: as for ``eval``.

    Raises FileNotFoundError if there is no such file, and what ``eval`` raises.
    """
    path = os.path.abspath(os.fspath(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no Julia file {path!r}")
    session = _start.ensure()
    if module is None:
        return session.include(path)
    return session.include(path, getattr(module, "__julia__", module))


def newmodule(name: str) -> JuliaModule:
    """A new Julia module, with all that Julia's `module` gives one, and bound to no name in Julia.

    Code goes into it by ``bb.eval(code, module)``, ``bb.include(path, module)`` and ``bb.using``;
    its names are attributes. ``bb.Main.Name = module`` gives it a name. Raises ValueError for a
    name that Julia can't have.
    """
    return _start.ensure().bridge.newmodule(name)  # type: ignore[no-any-return]


def using(*clauses: str, module: JuliaModule | ModuleType | None = None) -> None:
    """Julia's ``using`` in a module (Main by default): ``bb.using("LinearAlgebra: norm, det")``.

    A clause is what Julia's syntax has after ``using``. Raises ModuleNotFoundError for packages
    that are not installed, SyntaxError or ValueError for text that is anything else: no other code
    is evaluated, nor any of the clauses then.
    """
    from ._modules import using

    using(clauses, module)


def package(name: str) -> None:
    """Have a Python package give the typed exports of the Julia package in its folder.

    To be called in the package's ``__init__.py``, as ``bb.package(__name__)``; ``Project.toml`` and
    ``src/`` are beside it. Julia starts, and the Julia package is loaded, when the first export is
    asked for. Raises ImportError if the folder has no Julia package.
    """
    from ._shipped import package

    package(name)


def nogil(f: JuliaValue) -> JuliaFunction:
    """A Julia function that gives the GIL up while it runs: other Python threads go on meanwhile.

    Arguments and the result are converted with the GIL held, as in any call. Callbacks into Python
    take the GIL back for their time, on Julia's own threads too. Keep your hands off the memory
    that you passed while the call runs. Raises TypeError if f is no Julia object.
    """
    if not isinstance(f, JuliaValue):
        raise TypeError(f"nogil takes a Julia function, not '{type(f).__name__}'")
    return _start.ensure().nogil(f)  # type: ignore[no-any-return]


def task(f: JuliaValue, /, *args: Any, **kwargs: Any) -> Future[Any]:
    """Call a Julia function on another thread, without the GIL; awaitable in the running loop.

    ``await bb.task(f, x)`` gives what ``f(x)`` would, or raises what it would; other tasks of the
    loop go on meanwhile. Callbacks into Python run on that thread. Julia code can't be stopped:
    when the future is cancelled (by ``asyncio.wait_for``, say), the call goes on to its end, and
    its result is dropped.

    Raises RuntimeError before Julia 1.9 and where no loop runs, TypeError if f is no Julia
    function.
    """
    from . import _task

    return _task.start(f, args, kwargs)


def use_stdin(on: bool = True) -> None:
    """Let Julia's ``stdin`` be Python's ``sys.stdin`` (or, with on=False, its own again).

    Whatever reads from it in Julia (``readline()``, ``read(stdin, String)``, ``eof(stdin)``) gets
    the lines that ``sys.stdin.readline()`` gives at that moment; in a notebook, ``input()``'s.
    What that raises, the Julia code throws, and it comes out as the same exception.
    """
    from . import _stdin

    _stdin.use(on)


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext bufferbridge``: ``%julia`` and ``%%julia``, completion, display."""
    from . import _ipython

    _ipython.load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """``%unload_ext bufferbridge``."""
    from . import _ipython

    _ipython.unload(ipython)


class _Box:
    """What it has is not converted on the way to Julia."""

    __slots__ = ("object",)
    object: Any


def pyobject(obj: Any) -> JuliaValue:
    """A handle that arrives in Julia as a ``PyObject``: the object itself, which nothing converts.

    Julia code that is given one can use the object as Python does, or wrap it:
    ``PyDict{String,Int}(o)`` shares a dict that would be copied otherwise. Back in Python it is
    `obj` again.
    """
    box = _Box()
    box.object = obj
    return _start.ensure().bridge.pyobjectof(box)  # type: ignore[no-any-return]


def callback(f: Any, returns: Any) -> JuliaFunction:
    """A Julia function that calls `f` and gives results of one type, known to Julia's compiler.

    f: a Python callable.
    returns: a Julia type (``bb.Base.Float64``), or Python's bool, int, float, complex, str or None.

    Results are converted strictly; one of another kind raises TypeError, which names `f`. Raises
    TypeError if f can't be called or `returns` is no type.
    """
    return _start.ensure().bridge.callback(f, returns)  # type: ignore[no-any-return]


def __getattr__(name: str) -> Any:
    if name == "to_masked":
        from . import _masked

        return _masked.to_masked
    if name in ("sparse", "to_scipy"):
        from . import _sparse

        return getattr(_sparse, name)
    if name in ("convert", "conversion", "remove_conversion"):
        from . import _conversions  # most programs do without

        return getattr(_conversions, name)
    if name == "remote":
        from ._remote import remote

        return remote
    if name.startswith("Julia"):
        from . import _errors  # the kinds of JuliaError, by the names that they have in pickles

        if hasattr(_errors, name):
            return getattr(_errors, name)
    if name in ("table", "to_arrow", "to_pandas", "to_polars"):
        from . import _tables

        return getattr(_tables, name)
    # PEP 562: the modules are there once Julia runs, and asking for one starts it.
    if name in ("Main", "Base", "Core"):
        return getattr(_start.ensure(), name)
    if name == "julia_version":
        session = _start.session()
        return None if session is None else session.version
    raise AttributeError(f"module 'bufferbridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
