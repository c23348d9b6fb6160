"""Start and end of Julia, as csrc/state.c: through cffi's ABI mode.

Signals: Julia installs handlers, and blocks signals on the thread that starts it. Both is undone
here, but for the faults that Julia lives on (safepoints, stack overflows). So Ctrl-C is Python's,
as if Julia were not there, and waits while Julia code runs: until it ends, prints or calls Python.
"""

from __future__ import annotations

import gc
import os
import signal
from _thread import get_ident
from contextlib import suppress

from . import _api, _arrays, _buffers, _calls, _references
from ._calls import freed, ready, settle
from ._memory import FORKED, NOT_STARTED, RUNNING, STOPPED, bridge, ffi, state

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

ffi.cdef(
    """
    void jl_parse_opts(int *argc, char ***argv);
    void jl_init_with_image(const char *bindir, const char *image);
    void jl_init_with_image__threading(const char *bindir, const char *image);
    void *jl_get_global(void *module, void *symbol);
    void *jl_symbol(const char *name);
    void *jl_cstr_to_string(const char *text);
    void *jl_box_voidpointer(void *p);
    void *jl_call1(void *f, void *a);
    void *jl_call2(void *f, void *a, void *b);
    void *jl_eval_string(const char *code);
    void *jl_exception_occurred(void);
    const char *jl_typeof_str(void *o);
    const char *jl_string_ptr(void *text);
    int jl_gc_enable(int on);
    void jl_gc_collect(int full);
    void jl_atexit_hook(int status);
    extern void *jl_base_module;
    """
)

# Functions of jlsrc/portable.jl, by the names that Julia asks for. Those with a function of the
# same name in _api call that.
_NATIVE = (
    "call", "new_julia", "grow_roots", "gil_held", "gil_ensure", "gil_release", "gil_give_up",
    "gil_regain", "stack_ends", "release_later",
)  # fmt: skip

_FAULTS = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGUSR2", "SIGKILL", "SIGSTOP")

_library: Any = None
_libraries: list[Any] = []  # those that stay loaded besides
_runs: Any = None  # two words of Julia's: see PYTHON_RUNS and ROOT_COUNT
_root_count: Any = [0]
_new_julia: Any = None  # the function of portable.jl


class _Process:
    """What Julia's start changes in the process, to be put back."""

    def __init__(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        kept = {getattr(signal, name) for name in _FAULTS}
        self._handlers = {s: signal.getsignal(s) for s in signal.valid_signals() if s not in kept}
        _api.blocking[:] = filter(_blocking, range(3))

    def restore(self) -> None:
        for number, handler in self._handlers.items():
            if handler is not None:  # otherwise it is not Python's
                with suppress(OSError, ValueError):  # some can't be set
                    signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        _api.keep_descriptors()


def _blocking(fd: int) -> bool:
    try:
        return os.get_blocking(fd)
    except OSError:
        return False


def _global(module: Any, name: str) -> Any:
    return _library.jl_get_global(module, _library.jl_symbol(name.encode()))


def _lookup(name: str) -> int:
    return int(ffi.cast("uintptr_t", _global(ffi.cast("void *", bridge.module), name)))


def _check() -> None:
    error = _library.jl_exception_occurred()
    if not error:
        return
    base = _library.jl_base_module
    text = _library.jl_call2(_global(base, "sprint"), _global(base, "showerror"), error)
    raise RuntimeError(
        ffi.string(_library.jl_string_ptr(text)).decode(errors="replace")
        if text
        else "an exception that can't be shown"
    )


def _load_package(package: bytes, uuid: bytes) -> Any:
    base = _library.jl_base_module
    collects = _library.jl_gc_enable(0)  # nothing here is rooted; jl_call roots what it is given
    text = _library.jl_cstr_to_string
    _library.jl_call2(_global(base, "push!"), _global(base, "LOAD_PATH"), text(package))
    number = _library.jl_call1(_global(base, "UUID"), text(uuid))
    name = _library.jl_call2(_global(base, "PkgId"), number, text(b"BufferBridge"))
    _library.jl_gc_enable(collects)
    module = _library.jl_call1(_global(base, "require"), name)
    if not module:
        error = _library.jl_exception_occurred()
        if error and ffi.string(_library.jl_typeof_str(error)) in (b"SystemError", b"IOError"):
            # No place for compiled code, in a read-only home for one: do without.
            module = _library.jl_eval_string(
                b'Base.include(Main, joinpath(last(LOAD_PATH), "src", "BufferBridge.jl"))\n'
                b"Main.BufferBridge"
            )
    _check()
    return module


def _connect(module: Any, package: bytes, facts: Any) -> None:
    global _new_julia, _root_count, _runs
    base = _library.jl_base_module
    path = _library.jl_cstr_to_string(os.path.join(package, b"portable.jl"))
    _library.jl_call2(_global(base, "include"), module, path)
    _check()
    words = ffi.new("uintptr_t[]", len(_NATIVE) + 5)
    for i in range(2):
        words[i] = int(ffi.cast("uintptr_t", _api.functions[_NATIVE[i]]))
    _library.jl_call1(_global(module, "portable"), _library.jl_box_voidpointer(words))
    _check()
    for name, place in zip(_NATIVE, words):
        _api.functions[name] = ffi.cast("void *", place), _api.functions.get(name)  # keeps ours
    _new_julia = ffi.cast("uintptr_t(*)(int64_t, int64_t)", words[1])
    take, free, released, runs, count = words[len(_NATIVE) : len(words)]
    _buffers.take_released = ffi.cast("uintptr_t(*)(void)", take)
    _calls.free_slot = ffi.cast("void(*)(int64_t)", free)
    _buffers.released = ffi.cast("uintptr_t *", released)
    _buffers.collect = _collect
    _runs = ffi.cast("int64_t *", runs)
    _root_count = ffi.cast("int64_t *", count)
    facts[0] = int(ffi.cast("uintptr_t", _api.functions["find"]))
    _library.jl_call1(_global(module, "boot"), _library.jl_box_voidpointer(facts))
    _check()


class _Lib:
    """The functions that bufferbridge/_start.py and _faults.py call in the C layer."""

    @staticmethod
    def bb_boot(*args: Any) -> int:
        """0, or -1 with the reason in `error`: `_boot`'s arguments, and `error` and its size."""
        *what, error, error_size = args
        try:
            _boot(*what)
        except (RuntimeError, OSError, AttributeError) as e:
            ffi.buffer(error)[:] = str(e).encode()[: error_size - 1].ljust(error_size, b"\0")
            return -1
        return 0

    @staticmethod
    def bb_keep_faults() -> None:
        """faulthandler's own order of handlers stays."""


lib = _Lib()


def _boot(
    libjulia: bytes,
    bindir: bytes,
    image: bytes,
    argc: int,
    argv: Any,
    package: bytes,
    uuid: bytes,
    facts: Any,
) -> None:
    global _library
    folder = os.path.dirname(os.fsdecode(libjulia))
    if not os.path.exists(f"{folder}/julia/libgcc_s.so.1"):  # see keep_ours_first in csrc/state.c
        for name in ("libgcc_s.so.1", "libreadline.so.8"):
            with suppress(OSError):
                _libraries.append(ffi.dlopen(name, ffi.RTLD_NOW | ffi.RTLD_GLOBAL))
    _library = ffi.dlopen(os.fsdecode(libjulia), ffi.RTLD_NOW | ffi.RTLD_GLOBAL)
    try:
        init = _library.jl_init_with_image
    except AttributeError:
        init = _library.jl_init_with_image__threading  # its name on Julia 1.5
    before = _Process()
    _library.jl_parse_opts(ffi.new("int *", argc), ffi.new("char ***", argv))
    init(bindir, image)
    before.restore()
    bridge.main_thread = get_ident()
    module = _load_package(package, uuid)
    _api.keep_descriptors()  # a process may have compiled it
    bridge.module = int(ffi.cast("uintptr_t", module))
    bridge.lookup = _lookup
    _connect(module, package, facts)
    os.register_at_fork(after_in_child=_in_child)
    bridge.status = RUNNING


def _in_child() -> None:
    if bridge.status == RUNNING:
        bridge.status = FORKED


def _collect(both: bool) -> None:
    """Have Julia find what nobody uses any more; or both, and all of it."""
    if both:
        gc.collect()
        gc.collect()  # PyPy: the first finds it, and has __del__ called of what the second finds
        settle()
    _library.jl_gc_collect(1 if both else 2)
    settle()


def stop(_libjulia: bytes) -> None:
    """Run Julia's exit hooks; what they print goes through sys.stdout. Then nobody enters Julia."""
    if not ready():
        return
    settle()
    bridge.stopping = True
    _library.jl_atexit_hook(0)
    _runs[0] = 0
    bridge.status = STOPPED


def set_hooks(hooks: dict[str, Any]) -> None:
    bridge.hooks = hooks


def root(class_: int, slot: int) -> Any:
    """The Python object for a root slot that the start code filled."""
    return _references.take(_new_julia(class_, slot))


def stats() -> dict[str, int]:
    if ready():
        settle()
    return {
        "julia_objects": _root_count[0] - state.nfree - len(freed),
        **_buffers.counts(),
        "exports": len(_arrays.exports),
    }


assert bridge.status == NOT_STARTED
