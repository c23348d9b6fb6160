"""``remote``: a Julia function as a Python callable for other processes."""

from __future__ import annotations

import pickle
import sys

from . import _start
from ._core import JuliaArray, JuliaValue
from ._errors import JuliaError
from ._stats import stats

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any, Callable

_MANY_BYTES = 64 << 20


class remote:
    """A Julia function for pools of processes, joblib and Dask: pass it where they take a function.

    ``pool.map(bb.remote(f), blocks)``, ``dask.array.map_blocks(bb.remote(f), x)``.

    It is called as f is; of the result JuliaArrays come back as NumPy arrays, also in tuples and
    arrays, so that who receives them, often on a thread of its own, needs no Julia. Errors are
    JuliaErrors. Before Julia 1.9 a pool can't receive other Julia objects: TypeError. NumPy arrays
    that are not aligned are copied before the call: Dask leaves them where they were in a message.
    What it is made of is f's pickle (protocol 5, PEP 574), which is opened where the function is
    called, and not by schedulers and queues on the way; definitions in Julia's Main come along as
    they are at the time it is sent.

    In a worker of Dask it starts Julia on the process's main thread, where the worker's event loop
    is, and before Julia 1.9 each call runs there.

    f: a Julia function or another Julia object that can be called.

    Raises TypeError if f is none, and what pickling it raises. Calls raise what f does, and
    pickle.UnpicklingError where f can't be had.
    """

    def __init__(self, f: JuliaValue) -> None:
        if not isinstance(f, JuliaValue):
            raise TypeError(f"remote takes a Julia function, not '{type(f).__name__}'")
        self._f: JuliaValue | None = f
        self._sent = False
        self._pickled = pickle.dumps(f, 5)

    def __reduce__(self) -> tuple[Callable[[bytes], remote], tuple[bytes]]:
        if self._f is not None:
            try:
                self._pickled = pickle.dumps(self._f, 5)
            except RuntimeError as e:
                if isinstance(e, JuliaError):
                    raise
                # A thread that can't ask Julia: as it was.
        return from_pickle, (self._pickled,)

    def __dask_tokenize__(self) -> bytes:
        return self._pickled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _where_julia_is(lambda: self._call(args, kwargs))

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._f is None:
            self._f = pickle.loads(self._pickled)
        args = tuple(map(_aligned, args))
        kwargs = {name: _aligned(x) for name, x in kwargs.items()}
        result = _for_python(self._f(*args, **kwargs))
        if self._sent and _start.ensure().version < (1, 9) and _loop_of_worker() is None:
            _check_no_julia(result, self._f)
        _collect()
        return result

    def __repr__(self) -> str:
        return f"<bufferbridge.remote of {'a pickle' if self._f is None else str(self._f)}>"


def from_pickle(pickled: bytes) -> remote:
    """In another process."""
    f = remote.__new__(remote)
    f._f, f._sent, f._pickled = None, True, pickled
    return f


def _collect() -> None:
    """Has Julia give back what blocks it was lent: workers have less memory than it would use."""
    if stats()["pinned_bytes"] > _MANY_BYTES:
        _start.ensure().bridge.collectpinned()


def _aligned(x: Any) -> Any:
    np = sys.modules.get("numpy")
    if np is None or not isinstance(x, np.ndarray) or x.flags.aligned:
        return x
    return x.copy(order="K")


def _for_python(x: Any) -> Any:
    if isinstance(x, JuliaArray):
        try:
            import numpy as np
        except ImportError:
            return x
        a = np.asarray(x)
        if a.dtype == object:  # it is new: vectors of vectors, say
            for i in np.ndindex(a.shape):
                if i and isinstance(a[i], JuliaArray):
                    a[i] = _for_python(a[i])
        return a
    if isinstance(x, tuple):
        items = map(_for_python, x)
        return tuple(items) if type(x) is tuple else type(x)(*items)
    return x


def _check_no_julia(x: Any, f: JuliaValue) -> None:
    """Without it the pool breaks, or waits for ever, where its own thread unpickles the result."""
    if isinstance(x, JuliaValue):
        raise TypeError(
            f"the result of {f} is a Julia object ({_start.ensure().Base.typeof(x)}), which the "
            "thread of a pool that receives it can't have before Julia 1.9: return numbers, text, "
            "arrays, or tuples of these"
        )
    if isinstance(x, tuple):
        items: Any = x
    else:  # an ndarray of objects, or of what is none
        items = x.flat if getattr(getattr(x, "dtype", None), "hasobject", False) else ()
    for item in items:
        _check_no_julia(item, f)


def _where_julia_is(call: Callable[[], Any]) -> Any:
    """Runs `call` here, or on the main thread of a Dask worker where only that can enter Julia."""
    session = _start.session()
    if _start._on_main_thread() or (session is not None and session.version >= (1, 9)):
        return call()
    loop = _loop_of_worker()
    if loop is None:
        return call()  # which raises the error that says why not
    import asyncio

    async def there() -> tuple[bool, Any]:
        return _outcome(call)

    # Its event loop does not go on meanwhile, as with any call that holds the GIL.
    succeeded, result = asyncio.run_coroutine_threadsafe(there(), loop).result()
    if succeeded:
        return result
    raise result


def _outcome(call: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, call()
    except BaseException as e:  # it is the task's, and not the event loop's
        if isinstance(e, JuliaError) and e._julia is not None:
            e._julia.settle()
        return False, e


def _loop_of_worker() -> Any:
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_worker().loop.asyncio_loop
    except (ValueError, AttributeError):  # this is no thread of a worker's
        return None
