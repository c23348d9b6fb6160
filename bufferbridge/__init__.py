"""Python and Julia on the same memory, in one process, through the buffer protocol (PEP 3118).

>>> import bufferbridge as bb
>>> x = bb.eval("reshape(collect(1.0:6.0), 2, 3)")
>>> memoryview(x).shape
(2, 3)

Importing starts nothing: Julia starts with its first use, or with :func:`init`.
"""

from __future__ import annotations

import os

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
    wrap,
)
from ._errors import JuliaError
from ._start import init
from ._stats import stats

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

    from ._conversions import conversion, convert, remove_conversion

    Main: JuliaModule
    Base: JuliaModule
    Core: JuliaModule
    julia_version: tuple[int, int, int] | None
    __version__: str

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
    "conversion",
    "convert",
    "eval",
    "include",
    "init",
    "julia_version",
    "nogil",
    "remove_conversion",
    "stats",
    "wrap",
]


def eval(code: str, module: JuliaModule | None = None, raw: bool = False) -> Any:
    """Evaluate Julia code, all of it, in a module (Main by default); the last value, converted.

    raw: the value as Julia has it: a JuliaValue also where Python has a type for it.

    Raises SyntaxError (with the line and column) for code that does not parse, and JuliaError or
    its natural kin for what the code throws.
    """
    session = _start.ensure()
    evaluate = session.evaluate.raw if raw else session.evaluate
    return evaluate(code, session.Main if module is None else module)


def include(path: str | os.PathLike[str]) -> Any:
    """Evaluate a Julia file in Main; the value of its last expression, converted.

    A relative path is relative to the current folder. Raises FileNotFoundError if there is no file.
    """
    path = os.path.abspath(os.fspath(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no Julia file {path!r}")
    return _start.ensure().include(path)


def nogil(f: JuliaValue) -> JuliaFunction:
    """A Julia function that gives the GIL up while it runs: other Python threads go on meanwhile.

    Arguments and the result are converted with the GIL held, as in any call. Callbacks into Python
    take the GIL back for their time, on Julia's own threads too. Keep your hands off the memory
    that you passed while the call runs. Raises TypeError if f is no Julia object.
    """
    if not isinstance(f, JuliaValue):
        raise TypeError(f"nogil takes a Julia function, not '{type(f).__name__}'")
    return _start.ensure().nogil(f)  # type: ignore[no-any-return]


def __getattr__(name: str) -> Any:
    if name in ("convert", "conversion", "remove_conversion"):
        from . import _conversions  # most programs do without

        return getattr(_conversions, name)
    # PEP 562: the modules are there once Julia runs, and asking for one starts it.
    if name in ("Main", "Base", "Core"):
        return getattr(_start.ensure(), name)
    if name == "julia_version":
        session = _start.session()
        return None if session is None else session.version
    if name == "__version__":
        from importlib.metadata import version

        return version("bufferbridge")
    raise AttributeError(f"module 'bufferbridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
