"""bufferbridge.task: Julia calls that an asyncio loop does not wait for."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import re
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

import bufferbridge as bb


@pytest.fixture(autouse=True, scope="module")
def started():
    bb.init()


MANY = pytest.mark.skipif("bb.init() or bb.julia_version < (1, 9)", reason="needs Julia 1.9")


def busy():
    """A Julia function that computes for some seconds, and gives its arguments back."""
    return bb.eval(
        "(s, x; y = 0) -> (t = time(); while time() - t < s; sum(rand(10)); end; (x, y))"
    )


def test_before_julia_1_9_it_says_what_to_do():
    if bb.julia_version >= (1, 9):
        pytest.skip("this Julia can")

    async def main():
        await bb.task(bb.Base.sqrt, 4.0)

    with pytest.raises(RuntimeError, match=r"needs Julia 1\.9 or later.*Call the function itself"):
        asyncio.run(main())


def test_asyncio_is_imported_by_task_only(run_python):
    run_python(
        """
        import sys
        import bufferbridge as bb
        bb.eval("1")
        assert "asyncio" not in sys.modules
        assert "threading" not in sys.modules or sys.flags.dev_mode
        """
    )


@MANY
def test_the_page(run_python):
    page = Path(__file__).resolve().parent.parent / "docs" / "async.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    assert run_python(code).stdout == "tick 0\ntick 1\ntick 2\ntotal 6\n"


@MANY
def test_the_loop_goes_on():
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        ticking = asyncio.create_task(tick())
        assert await bb.task(busy(), 0.4, "x", y=2) == ("x", 2)
        assert ticks > 10
        ticking.cancel()

    asyncio.run(main())


@MANY
def test_arrays_are_shared():
    np = pytest.importorskip("numpy")
    x = np.zeros(1000)

    async def main():
        y = await bb.task(bb.Base.fill_b, x, 7.0)
        assert isinstance(y, bb.JuliaArray)
        return np.asarray(y)

    y = asyncio.run(main())
    assert np.shares_memory(x, y)
    assert (x == 7).all()


@MANY
def test_many_at_once():
    async def main():
        roots = await asyncio.gather(*[bb.task(bb.Base.sqrt, float(i * i)) for i in range(100)])
        assert roots == [float(i) for i in range(100)]
        start = time.monotonic()
        await asyncio.gather(*[bb.task(bb.Base.sleep, 0.2) for i in range(20)])
        assert time.monotonic() - start < 3
        allocate = bb.eval("n -> sum(length(rand(1000)) for i in 1:n)")
        assert await asyncio.gather(*[bb.task(allocate, 200) for i in range(30)]) == [200_000] * 30

    asyncio.run(main())


@MANY
def test_exceptions_are_whole():
    raised = KeyError("mine")

    def fails():
        raise raised

    async def main():
        with pytest.raises(IndexError) as caught:
            await bb.task(bb.eval("v -> v[10]"), [1, 2])
        assert isinstance(caught.value, bb.JuliaError)
        assert "getindex" in caught.value.backtrace
        with pytest.raises(KeyError) as caught:
            await bb.task(bb.eval("f -> f()"), fails)
        assert caught.value is raised
        assert "fails" in [entry.name for entry in caught.traceback]
        with pytest.raises(SystemExit):
            await bb.task(bb.eval("f -> f()"), sys.exit)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await bb.task(bb.eval("f -> f()"), iter(()).__next__)
        with pytest.raises(TypeError):  # an argument that Julia does not take
            await bb.task(bb.Base.sqrt, "x")

    asyncio.run(main())


@MANY
def test_callbacks_run_on_the_thread_in_the_context():
    name = contextvars.ContextVar("name")
    seen = []

    def callback(i):
        seen.append((threading.current_thread() is threading.main_thread(), name.get()))
        return i + 1

    async def main():
        name.set("of the task")
        task = bb.task(bb.eval("f -> f(1) + f(2)"), callback)
        name.set("later")
        return await task

    assert asyncio.run(main()) == 5
    assert seen == [(False, "of the task")] * 2


@MANY
def test_a_callback_reaches_the_loop():
    """Callbacks are not in the loop's thread; its own way in is call_soon_threadsafe."""

    async def main():
        loop, steps = asyncio.get_running_loop(), asyncio.Queue()
        report = lambda i: (loop.call_soon_threadsafe(steps.put_nowait, i), None)[1]  # noqa: E731
        task = bb.task(bb.eval("f -> foreach(i -> (f(i); sleep(0.01)), 1:3)"), report)
        assert [await steps.get() for _ in range(3)] == [1, 2, 3]
        assert await task is None

    asyncio.run(main())


@MANY
def test_timeout_drops_the_result_and_not_the_call():
    bb.eval("task_calls = Threads.Atomic{Int}(0)")
    count = bb.eval("s -> (sleep(s); Threads.atomic_add!(task_calls, 1); error())")

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(bb.task(count, 0.3), 0.05)
        assert bb.eval("task_calls[]") == 0
        await asyncio.sleep(0.6)
        assert bb.eval("task_calls[]") == 1  # it went on

        # Cancelled before it began, it never begins.
        sleeping = [bb.task(bb.Base.sleep, 0.2) for _ in range(32)]
        waiting = bb.task(count, 0.0)
        waiting.cancel()
        await asyncio.gather(*sleeping)
        await bb.task(bb.Base.sleep, 0.01)
        assert bb.eval("task_calls[]") == 1

    reported = []

    async def watched():
        asyncio.get_running_loop().set_exception_handler(lambda loop, what: reported.append(what))
        await main()

    asyncio.run(watched())
    gc.collect()
    assert reported == []


@MANY
def test_the_loop_is_closed_before():
    async def main():
        bb.task(bb.Base.sleep, 0.2)

    asyncio.run(main())
    time.sleep(0.4)
    assert asyncio.run(waits(bb.Base.sqrt, 9.0)) == 3.0


async def waits(f, *args):
    return await bb.task(f, *args)


@MANY
def test_nothing_is_kept():
    class Thing:
        pass

    things = []

    async def main():
        for fails in (False, True):
            thing = Thing()
            things.append(weakref.ref(thing))
            with contextlib.suppress(bb.JuliaError):
                await bb.task(bb.eval("(x, fails) -> fails ? error() : nothing"), thing, fails)
            del thing

    asyncio.run(main())
    for _ in range(20):
        bb.Base.GC.gc()
        bb.stats()
        gc.collect()
        if all(thing() is None for thing in things):
            break
        time.sleep(0.05)
    assert [thing() for thing in things] == [None, None]


@MANY
def test_what_it_prints_is_there_when_it_is_over(capsys):
    async def main():
        print("before")
        await bb.task(bb.eval('() -> (println("in the task"); print("and"); println(" more"))'))
        print("after")

    asyncio.run(main())
    assert capsys.readouterr().out == "before\nin the task\nand more\nafter\n"


@MANY
def test_wrong_use():
    with pytest.raises(RuntimeError, match="no running event loop"):
        bb.task(bb.Base.sqrt, 1.0)

    async def main():
        for wrong in (3, None, "sqrt"):
            with pytest.raises(TypeError, match="takes a Julia function, not"):
                bb.task(wrong)
        with pytest.raises(TypeError, match="typed export"):
            bb.task(len, [])
        with pytest.raises(TypeError, match="not a Task"):
            bb.task(bb.eval("@async 1"))
        with pytest.raises(TypeError):
            bb.task()

    asyncio.run(main())


@MANY
def test_tasks_of_julias_threads(run_python):
    done = run_python(
        """
        import asyncio
        import bufferbridge as bb
        bb.init(threads=2)
        async def main():
            task = bb.eval("Threads.@spawn (sleep(0.1); 5)")
            print(await bb.task(bb.Base.fetch, task))
            fails = bb.eval('Threads.@spawn error("in the task")')
            try:
                await bb.task(bb.Base.fetch, fails)
            except bb.JuliaError as e:
                print("in the task" in str(e))
        asyncio.run(main())
        """
    )
    assert done.stdout == "5\nTrue\n"


@MANY
@pytest.mark.parametrize(
    "code",
    ["() -> (t = time(); while time() - t < 60; sum(rand(10)); end)", "() -> sleep(60)"],
    ids=["computes", "sleeps"],
)
def test_the_process_ends_while_one_runs(run_python, code):
    start = time.monotonic()
    done = run_python(
        f"""
        import asyncio
        import bufferbridge as bb
        f = bb.eval("{code}")
        async def main():
            task = bb.task(f)
            await asyncio.sleep(0.2)
        asyncio.run(main())
        print("over")
        """
    )
    assert done.stdout == "over\n"
    assert done.stderr == ""
    assert time.monotonic() - start < 45


@MANY
def test_ctrl_c_ends_the_waiting(run_python):
    done = run_python(
        """
        import asyncio, os, signal, threading
        import bufferbridge as bb
        bb.init()
        async def main():
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            await bb.task(bb.Base.sleep, 60)
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted", bb.Base.sqrt(4.0))
        else:
            print("the signal was lost")
        """
    )
    assert (done.stdout, done.stderr) == ("interrupted 2.0\n", "")


@MANY
def test_another_loop_on_another_thread():
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(asyncio.run(waits(bb.Base.sqrt, 16.0))), daemon=True
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [4.0] * 3
