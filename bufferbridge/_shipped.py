"""Python packages that ship Julia code: ``bufferbridge.package(__name__)``.

The folder of the Python package is that of a Julia package too: ``Project.toml`` with a name and a
uuid, and ``src/Name.jl``. What is wrong with these is said at the import; Julia starts, and loads
the package, when a name is asked for that Python does not know (PEP 562). Then the typed exports
are put into the Python module, so that they cost nothing more than its other functions.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import sys
import zlib
from types import ModuleType

from . import _start
from ._core import JuliaModule

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

_ENTRY = re.compile(r"""^\s*(name|uuid)\s*=\s*(["'])([^"']*)\2""", re.M)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

python_names: dict[str, str] = {}  # of packages, by the uuids of the Julia packages in them


class JuliaPackage:
    """The Julia package in a folder: its name, its uuid, and the name of its environment.

    Raises ImportError if there is none, or not a whole one.
    """

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)
        project = os.path.join(self.folder, "Project.toml")
        try:
            with open(project, encoding="utf-8") as file:
                text = file.read()
        except OSError as error:
            what = "there is none" if isinstance(error, FileNotFoundError) else str(error)
            raise ImportError(
                f"a package that ships Julia code needs the file {project}: {what}. (Is it "
                "installed as files, with its data: Project.toml, src/*.jl?)",
                path=project,
            ) from None
        top = re.split(r"^\s*\[", text, maxsplit=1, flags=re.M)[0]  # before the first section
        entries = {key: value for key, _, value in _ENTRY.findall(top)}
        self.name, self.uuid = entries.get("name", ""), entries.get("uuid", "")
        if not self.name.isidentifier():
            raise ImportError(f'{project} has no line name = "..." at its top', path=project)
        if not _UUID.fullmatch(self.uuid):
            raise ImportError(
                f'{project} has no line uuid = "..." at its top; python -c "import uuid; '
                'print(uuid.uuid4())" makes one',
                path=project,
            )
        source = os.path.join(self.folder, "src", f"{self.name}.jl")
        if not os.path.isfile(source):
            raise ImportError(
                f"there is no file {source}, which is the Julia package named in {project}",
                path=source,
            )
        self.environment = f"{self.name}-{zlib.crc32(os.fsencode(self.folder)):08x}"

    def load(self, python_name: str) -> JuliaModule:
        """The Julia module; loads it, and starts Julia. Raises ImportError where that fails."""
        load = _start.ensure().bridge.loadshipped
        try:
            loaded = load(self.folder, self.name, self.uuid, self.environment)
        except KeyboardInterrupt:  # Julia's is an Exception too
            raise
        except Exception as error:
            raise ImportError(
                f"the Julia package {self.name} in {self.folder} could not be loaded: {error}",
                name=python_name,
                path=self.folder,
            ) from error
        if isinstance(loaded, JuliaModule):
            return loaded
        raise ImportError(
            f"{python_name} needs Julia packages that are not installed: {', '.join(loaded)}. Run "
            f"python -m bufferbridge instantiate {python_name}",
            name=python_name,
            path=self.folder,
        )


def package(name: str) -> None:
    """See `bufferbridge.package`."""
    if not isinstance(name, str):
        raise TypeError(f"package takes the name of a Python package, __name__, not {name!r}")
    module = sys.modules.get(name)
    if module is None or module.__spec__ is None or not getattr(module, "__file__", None):
        raise ImportError(
            f"{name!r} is no package that is being imported: call bufferbridge.package(__name__) "
            "in its __init__.py",
            name=name,
        )
    _Exports(module, JuliaPackage(os.path.dirname(str(module.__file__))))


class _Exports:
    """The names of one Python module that come from Julia."""

    def __init__(self, module: ModuleType, julia: JuliaPackage) -> None:
        self.module = module
        self.julia = julia
        self.names: list[str] | None = None  # once it is loaded
        before = module.__dict__.get("__getattr__")  # one that the package has itself
        self.otherwise = None if hasattr(before, "__self__") else before
        module.__dict__.update(__getattr__=self.getattr, __dir__=self.dir)

    def load(self) -> list[str]:
        if self.names is None:
            name = self.module.__name__
            julia = self.julia.load(name)
            exports = list(_start.ensure().bridge.typedexports(julia))
            for export in exports:
                function = getattr(julia, export)
                function.__module__ = name  # where pickle looks for it
                self.module.__dict__.setdefault(export, function)
            self.module.__dict__["__julia__"] = julia
            python_names[self.julia.uuid.lower()] = name
            self.names = exports
        return self.names

    def getattr(self, name: str) -> Any:
        if name == "__all__":
            from ._modules import public_names

            return public_names(self.load())
        # What Python looks for in any module is no reason to start Julia, nor are submodules.
        if name == "__julia__" or not (name.startswith("_") or self._is_submodule(name)):
            self.load()
            if name in self.module.__dict__:
                return self.module.__dict__[name]
            if name.endswith("!") and f"{name[:-1]}_b" in (self.names or ()):  # as pickle has it
                return self.module.__dict__[f"{name[:-1]}_b"]
        if self.otherwise is not None:
            return self.otherwise(name)
        exports = f"; its typed exports are {', '.join(self.names)}" if self.names else ""
        raise AttributeError(f"module {self.module.__name__!r} has no attribute {name!r}{exports}")

    def _is_submodule(self, name: str) -> bool:
        path = getattr(self.module, "__path__", None)
        fullname = f"{self.module.__name__}.{name}"
        return bool(path) and importlib.machinery.PathFinder.find_spec(fullname, path) is not None

    def dir(self) -> list[str]:
        try:
            exports = self.load()
        except (ImportError, RuntimeError):  # what it can't have now is no name of it
            exports = []
        return sorted({*self.module.__dict__, *exports})


# ------------------------------------------------------------------- the command line


def folder_of(name: str) -> str:
    """The folder of a Python package, by its name or as a path; it is not imported for that."""
    if os.path.isfile(os.path.join(name, "Project.toml")):
        return name
    is_name = all(part.isidentifier() for part in name.split("."))
    found = importlib.util.find_spec(name) if is_name else None
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"there is no Python package {name!r}, nor a folder with a Project.toml")
    return next(iter(found.submodule_search_locations))


def instantiate(name: str) -> int:
    """Install what the Julia package in a Python package depends on; the exit code.

    Done by Julia's package manager, in a process of its own. The package's folder is not written
    to: the environment is in Julia's depot, where `JuliaPackage.load` looks for it.
    """
    import subprocess

    from . import _find

    package = JuliaPackage(folder_of(name))
    script = os.path.join(_start.JLSRC, "instantiate.jl")
    julia = _find.find()
    command = [str(julia.executable), "--startup-file=no", script]
    command += [package.folder, package.environment]
    # JULIA_PKG_SERVER and the like are the user's; these would hide Julia's own packages.
    hiding = ("JULIA_BINDIR", "JULIA_LOAD_PATH", "JULIA_PROJECT")
    environment = {k: v for k, v in os.environ.items() if k not in hiding}
    return subprocess.run(command, env=environment, check=False).returncode
