"""Starting Julia in this process: once, lazily, on the main thread.

:func:`ensure` is what everything that needs Julia calls; :func:`init` is the public, explicit way.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import atexit
import os
from _thread import RLock

from . import _core, _errors, _faults
from ._core import ffi, lib

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

    from ._core import JuliaFunction, JuliaModule
    from ._find import Julia

# The package's Julia code: inside the package when installed, beside it in a checkout.
_HERE = os.path.dirname(os.path.realpath(__file__))
JLSRC = os.path.join(_HERE, "jlsrc")
if not os.path.isdir(JLSRC):
    JLSRC = os.path.join(os.path.dirname(_HERE), "jlsrc")

_UUID = "1b0a2c5e-6f0b-4f7e-9d6e-3a5c3c8e4b11"  # of BufferBridge, jlsrc/Project.toml


class Session:
    """What there is once Julia runs."""

    found: tuple[str, ...]  # see _look
    options: dict[str, Any]
    version: tuple[int, int, int]
    Main: JuliaModule
    Base: JuliaModule
    Core: JuliaModule
    bridge: JuliaModule
    evaluate: JuliaFunction
    include: JuliaFunction
    nogil: JuliaFunction

    @property
    def julia(self) -> Julia:
        from . import _find

        return _find.Julia.of_text(self.found[:-1])


_session: Session | None = _core._session()  # not None if the package was imported before
_lock = RLock()
conversions: dict[type, Any] = {}  # what _conversions.find has found; the C layer looks here first
_keep: list[Any] = []  # C memory that Julia's options point into


def _options(
    julia: str | os.PathLike[str] | None,
    project: str | os.PathLike[str] | None,
    sysimage: str | os.PathLike[str] | None,
    threads: int | str | None,
) -> dict[str, Any]:
    given = {"julia": julia, "project": project, "sysimage": sysimage, "threads": threads}
    options = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in given.items()}
    if threads is not None and threads != "auto" and not (isinstance(threads, int) and threads > 0):
        raise ValueError(f"threads must be a positive integer or 'auto', not {threads!r}")
    return {k: v for k, v in options.items() if v is not None}


def init(
    julia: str | os.PathLike[str] | None = None,
    *,
    project: str | os.PathLike[str] | None = None,
    sysimage: str | os.PathLike[str] | None = None,
    threads: int | str | None = None,
) -> None:
    """Start Julia in this process. Optional: the first use of Julia does it with the defaults.

    julia: the executable, its folder, or a name on PATH; by default the first one that works of
        ``BUFFERBRIDGE_JULIA``, ``julia`` on PATH, what ``python -m bufferbridge install-julia``
        installed, and what juliapkg or juliaup installed.
    project: the Julia project (environment) to activate; default ``JULIA_PROJECT``, as in Julia.
    sysimage: a system image to use in place of Julia's own.
    threads: number of Julia threads, or "auto"; default ``JULIA_NUM_THREADS``, as in Julia.

    Call it from the main thread. Calling it again with the same options, or with none, does
    nothing; with other options it raises RuntimeError, since a process can start Julia only once.

    Raises FileNotFoundError for a julia or sysimage that is not there, ValueError for threads that
    are no number, RuntimeError if there is no Julia, if it does not work, and on other threads.
    """
    global _session
    options = _options(julia, project, sysimage, threads)
    with _lock:
        if _session is not None:
            if options and options != _session.options:
                running = f"the options {_session.options}" if _session.options else "no options"
                raise RuntimeError(
                    f"Julia is already running with {running}; it can't be started again with "
                    f"{options}. Call bufferbridge.init() before anything that uses Julia."
                )
            return
        _session = _start(options)


def ensure() -> Session:
    """The running session; starts Julia with the defaults if it does not run yet."""
    if _session is None:
        init()
    assert _session is not None
    return _session


def session() -> Session | None:
    """The running session, or None before the start."""
    return _session


def _start(options: dict[str, Any], arguments: tuple[str, ...] = ()) -> Session:
    if not _on_main_thread():
        raise RuntimeError(
            "Julia must be started on the main thread: call bufferbridge.init() there first"
        )
    found = _look(options)
    executable, _, libjulia, bindir, *_, image = found

    argv = ["julia", "--startup-file=no", *arguments]
    if "project" in options:
        argv.append(f"--project={options['project']}")
    if "threads" in options:
        argv.append(f"--threads={options['threads']}")
    facts = ffi.new("uint64_t[16]")  # what jlsrc/src/boot.jl stores
    error = ffi.new("char[]", 8192)
    strings = [ffi.new("char[]", os.fsencode(a)) for a in argv]
    pointers = ffi.new("char *[]", [*strings, ffi.NULL])
    _keep.extend((strings, pointers, error))

    session = Session()
    session.found = found
    session.options = options
    failed = lib.bb_boot(
        os.fsencode(libjulia),
        os.fsencode(bindir),
        os.fsencode(image),
        len(argv),
        pointers,
        os.fsencode(JLSRC),
        _UUID.encode(),
        facts,
        error,
        len(error),
    )
    if failed:
        text = ffi.string(error).decode(errors="replace")
        raise RuntimeError(f"Julia {executable} could not be started: {text}")

    session.Main, session.Base, session.Core, session.bridge = (
        _core._root(_core.CLASS_MODULE, facts[i]) for i in range(4)
    )
    session.version = (facts[4], facts[5], facts[6])
    session.evaluate = session.bridge.evaluate
    session.include = session.bridge.includefile
    session.nogil = session.bridge.nogil
    _faults.share()
    atexit.register(_stop, os.fsencode(libjulia))
    _core._set_session(session)
    return session


def _on_main_thread() -> bool:
    # Module threading takes long to import, and takes the thread that imports it for the main one.
    try:
        # Only the main thread may set handlers, and nobody one of this signal.
        _signal.signal(_signal.SIGKILL, _signal.SIG_DFL)
    except ValueError:
        return False
    except OSError:
        pass
    return True


def _look(options: dict[str, Any]) -> tuple[str, ...]:
    """What to start: the parts of a `_find.Julia`, as text, and the system image."""
    from . import _recall

    question = _recall.question(JLSRC, options)
    found = None if question is None else _recall.answer(question)
    if found is not None:
        return found
    from . import _find, _image

    julia = _find.find(options.get("julia"))
    image = options.get("sysimage") or _image.find(julia, JLSRC, options.get("project"))
    # Julia takes a relative path for one from its own folder, and no image for a reason to exit.
    image = os.path.abspath(image or julia.image)
    if not os.path.exists(image):
        raise FileNotFoundError(f"there is no Julia system image at {image!r}")
    if question is not None:
        _recall.note(question, julia, image, JLSRC, options)
    return (*map(str, julia), image)


def _set_hooks() -> None:
    """Hand the C layer the Python functions it calls; it keeps them."""
    hooks = {
        "JuliaError": _errors.JuliaError,
        "make_error": _errors.make_error,
        "note_frames": _errors.note_frames,
        "make_namedtuple": _make_namedtuple,
        "describe_buffer": _describe_buffer,
        "describe_interface": _describe_interface,
        "start": ensure,
        "conversions": conversions,
        "find_conversion": _find_conversion,
    }
    _core._set_hooks(hooks)


def _find_conversion(class_: type) -> Any:
    from ._conversions import find  # only where there are objects of unusual classes

    return find(class_)


def _describe_buffer(exporter: Any, format_: str, itemsize: int, ndim: int) -> str | None:
    from ._formats import of_exporter  # only where there are records

    return of_exporter(exporter, format_, itemsize, ndim)


def _describe_interface(owner: Any, interface: dict[str, Any]) -> tuple[str, int]:
    from ._formats import of_interface

    return of_interface(owner, interface)


def _make_namedtuple(names: tuple[str, ...], values: tuple[Any, ...]) -> tuple[Any, ...]:
    from ._namedtuples import namedtuple_type

    return namedtuple_type(names)._make(values)  # type: ignore[no-any-return]


def _stop(libjulia: bytes) -> None:
    """Run Julia's exit hooks while Python is still whole; then no call enters Julia any more.

    Memory stays as it is: views of Julia's arrays remain valid to the very end.
    """
    _core._stop(libjulia)


_set_hooks()
