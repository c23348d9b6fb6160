"""Julia calls that an asyncio loop does not wait for: ``bufferbridge.task``.

Each call runs on a thread of a small pool of our own, without the GIL (``bufferbridge.nogil``), and
its result goes to a future of the loop that asked for it. The threads are daemons, unlike those of
asyncio's own executor, which Python joins at exit: Julia code that never ends must not keep the
process. A thread takes calls until the process ends, since Julia adopts each new one anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from queue import SimpleQueue

from . import _start
from ._core import JuliaFunction, JuliaValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MOST_THREADS = 32


class Pool:
    """Threads that run what is put into a queue: as many as there is work for, up to the limit."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.lock = threading.Lock()
        self.idle = 0  # threads that wait, less the work that waits for them
        self.threads = 0

    def put(self, work: Callable[[], None]) -> None:
        with self.lock:
            if self.idle <= 0 and self.threads < MOST_THREADS:
                name = f"bufferbridge.task {self.threads}"
                threading.Thread(target=self.run, name=name, daemon=True).start()
                self.threads += 1
                self.idle += 1
            self.idle -= 1
        self.queue.put(work)

    def run(self) -> None:
        while True:
            work = self.queue.get()
            work()
            del work  # a thread that waits keeps nothing
            with self.lock:
                self.idle += 1


_pool = Pool()


class Call:
    """One call and the future that its result is for."""

    def __init__(self, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.context = contextvars.copy_context()
        self.call, self.args, self.kwargs = call, args, kwargs

    def __call__(self) -> None:
        if self.future.cancelled():
            return
        result: Any = None
        error: BaseException | None = None
        try:
            result = self.context.run(self.call, *self.args, **self.kwargs)
        except StopIteration as e:  # what no future can raise
            error = RuntimeError("Julia's call raised StopIteration")
            error.__cause__ = e
        except BaseException as e:  # of any kind: it belongs to who waits
            # Without this frame, through which it would keep itself and the arguments.
            error = e.with_traceback(e.__traceback__ and e.__traceback__.tb_next)
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self.loop.call_soon_threadsafe(self.finish, result, error)

    def finish(self, result: Any, error: BaseException | None) -> None:
        if self.future.cancelled():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


def start(f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
    if not isinstance(f, JuliaValue):
        remedy = "; of a typed export, take the function itself: bufferbridge.eval('Module.name')"
        raise TypeError(
            f"task takes a Julia function, not '{type(f).__name__}'{remedy if callable(f) else ''}"
        )
    session = _start.ensure()
    if session.version < (1, 9):
        raise RuntimeError(
            "bufferbridge.task needs Julia 1.9 or later: before, only the main thread, where the "
            "loop runs, can call Julia. Call the function itself (the loop waits meanwhile), or "
            "use a later Julia"
        )
    if not isinstance(f, JuliaFunction) and session.Core.isa(f, session.Core.Task):
        raise TypeError(
            "task takes a Julia function and not a Task. If the Task runs on another of Julia's "
            "threads (Threads.@spawn, with several of them), await "
            "bufferbridge.task(bufferbridge.Base.fetch, task); otherwise pass the function that it "
            "was made of, since Tasks of the main thread don't run while that is in Python"
        )
    call = Call(session.nogil(f), args, kwargs)
    _pool.put(call)
    return call.future
