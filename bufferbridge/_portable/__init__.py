"""The C layer (csrc/) once more, in Python and cffi's ABI mode: for PyPy.

Nothing is compiled. ``bufferbridge._core`` takes its names from here where the C module can't be,
and all else, the Julia package too, is the same: values travel in the same structs (`_memory`),
Julia calls the same functions by name (`_api`), and Python enters Julia through the same entry
(`_calls`). What differs is told in docs/pypy.md.

What holds for all files here:

- Only the main thread enters Julia, and only on the task that Python's code runs on does Julia come
  back. So nothing here is used by two threads, but for what says so.
- A Python object goes to Julia as a number, a reference (`_references`), never as an address.
- Julia's finalizers call no Python: they put a node on a list in memory that Julia and we share
  (jlsrc/portable.jl), which is emptied when a call is over.
- Our ``__del__`` methods, which any thread may run at any time, only append to a queue, which is
  emptied at the same moment.
- Those of users, and their signal handlers, may run on the main thread between any two steps of
  what is here, and call Julia. So nothing of one call is kept where another one could find it
  (`_calls`, `_references`), and Julia does by itself what must not be seen half done: the table of
  roots, and the list of what is released. A KeyboardInterrupt that comes in between may lose a
  reference, which keeps something alive for longer, and nothing else.
"""

from __future__ import annotations

from . import _arrays, _boot, _types, _unsupported
from ._memory import bridge, ffi

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any


def install(namespace: dict[str, Any]) -> tuple[Any, Any]:
    """Put the types and functions into a namespace, as the C layer does; its `ffi` and `lib`."""
    for class_ in _types.classes.values():
        namespace[class_.__name__] = class_
    namespace.update(
        wrap=_arrays.wrap,
        from_dlpack=_unsupported.from_dlpack,
        stats=_boot.stats,
        _arrow_export=_unsupported.arrow,
        _arrow_import=_unsupported.arrow,
        _arrow_schema=_unsupported.arrow,
        _arrow_stream=_unsupported.arrow,
        _attend=_nothing,
        _borrow=_unsupported.borrow,
        _end_borrow=_nothing,
        _exporter=_arrays.exporter,
        _held=_unsupported.held,
        _hold_memory=_arrays.hold_memory,
        _is_lent=_nothing,
        _request=_unsupported.request,
        _root=_boot.root,
        _session=_session,
        _set_hooks=_boot.set_hooks,
        _set_session=_set_session,
        _stop=_boot.stop,
    )
    return ffi, _boot.lib


def _nothing(*_ignored: Any) -> None:
    """Signals need no attention, and no memory is ever lent."""


def _session() -> Any:
    return bridge.session


def _set_session(session: Any) -> None:
    bridge.session = session
