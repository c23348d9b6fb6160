"""What is below ``bufferbridge.jl``: Julia's modules as Python modules.

The standard way, with a finder on ``sys.meta_path`` that answers for these names only and a loader;
so import locks, ``importlib.reload`` and ``sys.modules`` are Python's. A name directly below is one
of Main, Base and Core, else a Julia package, else a Julia file in a folder of ``sys.path``. Names
below those are what the Julia module has under them, if that is a module.

The Python module (:class:`ImportedModule`) keeps no values: each attribute is asked for in Julia.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from . import _start
from ._core import JuliaModule

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

ROOT = "bufferbridge.jl"


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


class ImportedModule(ModuleType):
    """A Julia module as a Python module. ``__julia__`` is the JuliaModule, which has the names."""

    __julia__: JuliaModule

    def __getattr__(self, name: str) -> Any:
        # Python's own names that are not there; `__julia__` while the module is being loaded.
        if _is_dunder(name) and name != "__all__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if name == "__all__":
            return public_names(_start.ensure().bridge.exportednames(self.__julia__))
        value = getattr(self.__julia__, name)
        return self._module(name, value) if isinstance(value, JuliaModule) else value

    def _module(self, name: str, value: JuliaModule) -> ImportedModule:
        """The Python module for a module in this one, which may be another one after a reload."""
        fullname = f"{self.__name__}.{name}"
        module = sys.modules.get(fullname)
        if not isinstance(module, ImportedModule):
            module = importlib.import_module(fullname)
        assert isinstance(module, ImportedModule)
        if module.__julia__ != value:
            module.__julia__ = value
        return module

    def __setattr__(self, name: str, value: Any) -> None:
        if _is_dunder(name):
            super().__setattr__(name, value)
        elif not isinstance(value, ImportedModule):
            setattr(self.__julia__, name, value)
        elif value.__name__ != f"{self.__name__}.{name}":  # that is what an import sets
            setattr(self.__julia__, name, value.__julia__)

    def __dir__(self) -> list[str]:
        names = (name for name in dir(self.__julia__) if not _is_dunder(name))
        return sorted({*names, *self.__dict__, "__all__", "__doc__"})

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        if "__julia__" not in self.__dict__:
            return None
        doc: str | None = _start.ensure().bridge.moduledoc(self.__julia__)
        return doc


def public_names(names: Any) -> list[str]:
    """Those of Julia's names that Python can have."""
    from keyword import iskeyword

    return [n for n in names if n.isidentifier() and not iskeyword(n) and not _is_dunder(n)]


def julia_module(module: Any) -> Any:
    """The JuliaModule of a module given by a user: that itself, or an imported one."""
    return module.__julia__ if isinstance(module, ImportedModule) else module


class _Loader:
    """Loads one Julia module; what `load` gives is another one with each call for a file only."""

    def __init__(self, kind: str, name: str, path: str | None = None) -> None:
        self.kind = kind  # "module", "package" or "file"
        self.name = name
        self.path = path

    def __repr__(self) -> str:
        return f"<loader of the Julia {self.kind} {self.name}>"

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return ImportedModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        bridge = _start.ensure().bridge
        before = module.__dict__.get("__julia__")
        if self.kind == "file":
            julia = bridge.filemodule(self.name, self.path)
        elif self.kind == "module":
            julia = self._value(module.__name__)
        elif before is not None:
            raise ImportError(
                f"Julia loads a package once: {self.name} can't be reloaded. Start a new process, "
                'or use the Julia package Revise (bb.eval("using Revise") before the import), '
                "which changes a package's functions while they are in use",
                name=module.__name__,
                path=self.path,
            )
        else:
            julia = bridge.loadpackage(self.name)
            path = bridge.modulefile(julia)
            if path is not None and os.path.isfile(path):
                module.__file__ = self.path = path
                if module.__spec__ is not None:
                    module.__spec__.origin = path
        module.__dict__["__julia__"] = julia

    def _value(self, fullname: str) -> Any:
        parent = fullname.rpartition(".")[0]
        if parent == ROOT:
            return getattr(_start.ensure(), self.name)
        return getattr(sys.modules[parent].__julia__, self.name)


class _Finder:
    """Finds what is below ``bufferbridge.jl``, and nothing else."""

    finds = ROOT

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{ROOT}."):
            return None
        parent, _, name = fullname.rpartition(".")
        loader = _find(name) if parent == ROOT else _find_in(parent, name)
        if loader is None:
            return None
        spec = ModuleSpec(fullname, loader, origin=loader.path or "Julia", is_package=True)  # type: ignore[arg-type]
        spec.has_location = loader.path is not None
        return spec


def _find_in(parent: str, name: str) -> _Loader | None:
    module = sys.modules[parent]
    if not isinstance(module, ImportedModule):
        return None
    is_module = isinstance(getattr(module.__julia__, name, None), JuliaModule)
    return _Loader("module", name) if is_module else None


def _find(name: str) -> _Loader:
    state = _start.ensure().bridge.packagestate(name)
    if state in ("module", "package"):
        return _Loader(state, name)
    path = next((path for found, path in _files() if found == name), None)
    if path is not None:
        return _Loader("file", name, path)
    if state == "missing":
        what = (
            f"the Julia package {name} is in the environment, but it is not installed: evaluate "
            "bb.eval('import Pkg; Pkg.instantiate()')"
        )
    else:
        what = not_installed(name)
    # Not the full name: an import of several names would take that for a name that is no module,
    # and say no more than that it can't be imported.
    raise ModuleNotFoundError(what, name=name)


def not_installed(name: str) -> str:
    """What to say of a name that is nothing."""
    import difflib

    close = difflib.get_close_matches(name, sorted(known()), n=3)
    hint = f" (is it {' or '.join(close)}?)" if close else ""
    return (
        f"there is no Julia package named {name}, nor a file {name}.jl on sys.path{hint}. "
        f"To install the package: bb.eval('import Pkg; Pkg.add(\"{name}\")')"
    )


def _files() -> Iterator[tuple[str, str]]:
    """The Julia files that can be imported: name and path, the first of a name is meant."""
    for folder in sys.path:
        try:
            entries = sorted(os.listdir(folder or os.curdir))
        except (OSError, TypeError):  # a zip file, or what is no path at all
            continue
        for entry in entries:
            name, extension = os.path.splitext(entry)
            path = os.path.abspath(os.path.join(folder, entry))
            if extension == ".jl" and name.isidentifier() and os.path.isfile(path):
                yield name, path


def load_file(name: str, path: str, crc: int) -> JuliaModule:
    """The module that a file is, imported if that was not done; for pickles.

    Raises ImportError if the file is not there, or is another one than it was where it was pickled.
    """
    fullname = f"{ROOT}.{name}"
    importlib.import_module(ROOT)
    bridge = _start.ensure().bridge
    module = sys.modules.get(fullname)
    spec = getattr(module, "__spec__", None)
    if module is None or spec is None or spec.origin != path:
        if not os.path.isfile(path):
            raise ImportError(f"the Julia file {path}, of a pickled object, is not here", path=path)
        spec = ModuleSpec(fullname, _Loader("file", name, path), origin=path, is_package=True)  # type: ignore[arg-type]
        spec.has_location = True
        module = importlib.util.module_from_spec(spec)
        sys.modules[fullname] = module
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    elif bridge.filechecksum(module.__julia__) != crc:
        module = importlib.reload(module)
    found: JuliaModule = module.__julia__
    if bridge.filechecksum(found) != crc:
        raise ImportError(
            f"the Julia file {path} is another one than the process that pickled an object has "
            f"imported: reload {fullname} there",
            path=path,
        )
    return found


def known() -> set[str]:
    """Names below ``bufferbridge.jl`` that are known without starting Julia, more once it runs."""
    names = {"Main", "Base", "Core", *(name for name, _ in _files())}
    session = _start.session()
    if session is None:
        return names
    try:
        return names.union(session.bridge.packagenames())
    except RuntimeError:  # on another thread than Julia's
        return names


def attribute(name: str) -> ModuleType:
    """What ``bufferbridge.jl.name`` is, imported."""
    try:
        return importlib.import_module(f"{ROOT}.{name}")
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise AttributeError(f"module {ROOT!r} has no attribute {name!r}: {error}") from None
    except AttributeError as error:
        # Who asks whether there is such an attribute, as an import does, would take it for a no.
        raise ImportError(f"importing {ROOT}.{name} failed: {error}", name=name) from error


def install() -> None:
    """Put the finder on sys.meta_path, once; one of an earlier import of the package goes."""
    sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "finds", None) != ROOT]
    sys.meta_path.append(_Finder())


def using(clauses: tuple[str, ...], module: Any) -> None:
    """See `bufferbridge.using`."""
    session = _start.ensure()
    target = session.Main if module is None else julia_module(module)
    if not isinstance(target, JuliaModule):
        raise TypeError(f"module must be a Julia module, not {type(target).__name__!r}")
    for clause in clauses:
        if not isinstance(clause, str):
            raise TypeError(f"a clause of `using` is a str, not {type(clause).__name__!r}")
    missing = session.bridge.usein(target, *clauses)
    if missing is None:
        return
    if session.bridge.packagestate(missing) == "missing":
        remedy = "bb.eval('import Pkg; Pkg.instantiate()')"
    else:
        remedy = f"bb.eval('import Pkg; Pkg.add(\"{missing}\")')"
    raise ModuleNotFoundError(
        f"the Julia package {missing} is not installed: evaluate {remedy}. (A module that is in "
        f"another one, and no package, is written with dots: '.{missing}'.)",
        name=missing,
    )
