"""The bridges between Python and other languages that can run the rows: ours and its peers.

A bridge makes the names of a row's statements. Where its language is reached dynamically it
evaluates the row's own Julia code; where functions have to be compiled beforehand, as for JNumPy
and nanobind, a file in peers/ has them, named as the rows are. What a bridge can't do raises
NotPossible with the reason, which the table then shows. Making one raises ImportError if what it
needs is not installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from rows import Row, data

PEERS = Path(__file__).resolve().parent / "peers"
CACHE = Path(__file__).resolve().parents[1] / ".cache" / "bench"

VERSION = "string(VERSION)"
EXECUTABLE = "joinpath(Sys.BINDIR, Base.julia_exename())"

LOOPS = [f"{verb}-{kind}" for verb in ("loop", "sum") for kind in ("contiguous", "aligned")]
LOOPS += [f"{key}-itself" for key in LOOPS] + [
    f"{verb}-{kind}" for verb in ("loop", "sum") for kind in ("strided", "packed")
]
ARRAYS = ["asarray", "memoryview", "getitem", "setitem", "asarray-huge", "memoryview-huge"]


class NotPossibleError(Exception):
    """The bridge can't do what the row is about; the message says why."""


class Bridge:
    """What all have in common, and those that evaluate Julia code at run time."""

    name: str
    #: Code for a fresh process: the first result, and the import alone.
    start = ""
    imports = ""
    #: Rows that the bridge can't do, with the reason.
    impossible: dict[str, str] = {}

    def __init__(self) -> None:
        self.data = data()

    def evaluate(self, code: str) -> Any:
        raise NotImplementedError

    def wrap(self, obj: Any) -> Any:
        raise NotPossibleError("has no such wrapper")

    def itself(self, obj: Any) -> Any:
        raise NotPossibleError("does not say what an object became")

    def names(self, row: Row) -> dict[str, Any]:
        """All that the row's statements refer to."""
        if row.key in self.impossible:
            raise NotPossibleError(self.impossible[row.key])
        if not self.evaluate(row.needs):
            raise NotPossibleError("has no typed exports")
        names = {**self.data, "wrap": self.wrap, "itself": self.itself}
        names.update((name, self.evaluate(code)) for name, code in row.julia.items())
        names.update((name, eval(code, names)) for name, code in row.python.items())
        return names

    def versions(self) -> dict[str, str]:
        """Of the bridge and of Julia; `executable` is Julia's program."""
        return {
            self.name: version(self.name),
            "Julia": self.evaluate(VERSION),
            "executable": self.evaluate(EXECUTABLE),
        }


class BufferBridge(Bridge):
    name = "bufferbridge"
    start = "import bufferbridge as bb; bb.eval('1+1')"
    imports = "import bufferbridge"

    def __init__(self) -> None:
        import bufferbridge as bb

        super().__init__()
        self.data["bb"] = bb
        self.evaluate = bb.eval
        self.wrap = bb.wrap
        self.itself = bb.Base.identity


class JuliaCall(Bridge):
    """PYTHON_JULIACALL_EXE and its kin choose the Julia, as for any use of juliacall."""

    name = "juliacall"
    start = "import juliacall; juliacall.Main.seval('1+1')"
    imports = "import juliacall"
    impossible = dict.fromkeys(["typed"], "has no typed exports")

    def __init__(self) -> None:
        import juliacall

        super().__init__()
        self.evaluate = juliacall.Main.seval
        # pyjl keeps the Julia object from becoming a Python one on its way back.
        self.wrap = self.evaluate("x -> PythonCall.pyjl(PythonCall.PyArray(x))")
        self.itself = self.evaluate("x -> PythonCall.pyjl(x)")


class PyJulia(Bridge):
    """The Julia is the one on PATH, whose PyCall has to be built for this Python."""

    name = "julia"
    start = "from julia import Main; Main.eval('1+1')"
    imports = "import julia"
    impossible = {
        "typed": "has no typed exports",
        **dict.fromkeys([*ARRAYS, "asarray-records"], "Julia's arrays become ndarrays or lists"),
        **dict.fromkeys([*LOOPS, "product-1000", "pass-huge"], "copies arrays that are passed"),
    }

    def __init__(self) -> None:
        import julia  # noqa: F401  that it is there
        from julia import Main

        super().__init__()
        self.evaluate = Main.eval


class Compiled(Bridge):
    """Functions that were compiled beforehand, by the rows' keys with underscores."""

    module: ModuleType

    def names(self, row: Row) -> dict[str, Any]:
        if row.key in self.impossible:
            raise NotPossibleError(self.impossible[row.key])
        return {**self.data, "f": getattr(self.module, row.key.replace("-", "_"))}


class JNumPy(Compiled):
    """Its package is julia-numpy; TYPY_JL_EXE and TYPY_JL_OPTS choose the Julia and its project."""

    name = "julia-numpy"
    start = "import jnumpy; jnumpy.init_jl(); jnumpy.exec_julia('1+1')"
    imports = "import jnumpy"
    impossible = {
        "call": "typed exports only: see the next row",
        **dict.fromkeys(ARRAYS, "Julia's arrays become ndarrays"),
        **dict.fromkeys([*LOOPS, "product-1000"], "can't hold a Julia array"),
        "asarray-records": "has no records",
    }

    def __init__(self) -> None:
        import jnumpy

        if not hasattr(jnumpy, "init_jl"):
            raise ImportError("the jnumpy that is installed is another package of that name")
        super().__init__()
        jnumpy.init_jl()
        jnumpy.include_src("jnumpy_rows.jl", str(PEERS / "jnumpy_rows.jl"))
        jnumpy.exec_julia("TyPython.CPython.init(); BenchRows.init()")
        import _bench_rows

        self.module = _bench_rows

    def versions(self) -> dict[str, str]:
        return {
            self.name: version(self.name),
            "Julia": self.module.evaluate(VERSION),
            "executable": self.module.evaluate(EXECUTABLE),
        }


class NanoBind(Compiled):
    """The reference for speed: C++ in place of Julia, compiled here when it is first used."""

    name = "nanobind"
    impossible = {
        "call": "typed functions only: see the next row",
        **dict.fromkeys([*ARRAYS, *LOOPS, "asarray-records"], "is not about Julia's arrays"),
        **dict.fromkeys(["product-10", "product-1000"], "has no linear algebra of its own"),
        "start": "starts nothing",
        "import": "is compiled in",
    }

    def __init__(self) -> None:
        import nanobind

        super().__init__()
        self.module = self._compile(nanobind)

    def versions(self) -> dict[str, str]:
        return {self.name: version(self.name)}

    @staticmethod
    def _compile(nanobind: Any) -> ModuleType:
        compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
        if compiler is None:
            raise ImportError("there is no C++ compiler")
        folder = CACHE / f"nanobind-{version('nanobind')}-{sys.implementation.cache_tag}"
        library = folder / f"nanobind_rows{sysconfig.get_config_var('EXT_SUFFIX')}"
        source = PEERS / "nanobind_rows.cpp"
        if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
            folder.mkdir(parents=True, exist_ok=True)
            root = Path(nanobind.source_dir()).parent
            includes = [
                nanobind.include_dir(),
                root / "ext" / "robin_map" / "include",
                sysconfig.get_path("include"),
            ]
            command = [compiler, "-std=c++17", "-O3", "-DNDEBUG", "-fPIC", "-shared"]
            command += ["-fvisibility=hidden", "-fno-strict-aliasing"]
            command += [f"-I{path}" for path in includes]
            command += [str(source), str(root / "src" / "nb_combined.cpp"), "-o", str(library)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ImportError(f"its module does not compile: {done.stderr[-500:]}")
        sys.path.insert(0, str(folder))
        import nanobind_rows

        return nanobind_rows


BRIDGES: dict[str, type[Bridge]] = {
    "bufferbridge": BufferBridge,
    "juliacall": JuliaCall,
    "pyjulia": PyJulia,
    "jnumpy": JNumPy,
    "nanobind": NanoBind,
}
PEER_NAMES = [name for name in BRIDGES if name != "bufferbridge"]
