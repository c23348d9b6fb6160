"""Julia's modules, packages and files as Python modules.

>>> from bufferbridge.jl import LinearAlgebra  # a package
>>> from bufferbridge.jl.LinearAlgebra import norm, det
>>> from bufferbridge.jl import model  # model.jl, in a folder of sys.path; doctest: +SKIP

Julia's packages come before files of the same name. Importing this package starts nothing; the
first name does. A name that is neither raises ModuleNotFoundError, which says what to do.
"""

from __future__ import annotations

from .. import _modules

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

__path__: list[str] = []  # a package whose modules are found by the finder alone

_modules.install()


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        return _modules.attribute(name)
    raise AttributeError(f"module 'bufferbridge.jl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_modules.known())
