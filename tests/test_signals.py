"""Signals, sent by another process: Python's as without us, and Ctrl-C in Julia code."""

from __future__ import annotations

import signal
import textwrap

import pytest

import bufferbridge as bb

THREADS = pytest.mark.parametrize("threads", [1, 2])

# What the children share: `hit(signal, after)` has another process send a signal, later.
PRELUDE = """
    import os, signal, subprocess, sys, time
    import bufferbridge as bb

    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it

    def hit(number=signal.SIGINT, after=0.3, times=1):
        kill = f"sleep {after}; kill -{int(number)} {os.getpid()};" * times
        return subprocess.Popen(["sh", "-c", kill])

    def works():
        return bb.eval("1 + 1") == 2 and bb.eval("sum(length(rand(1000)) for i in 1:1000)") == 10**6
"""


@pytest.fixture
def run_child(run_python):
    def run(code, threads=1, **options):
        start = f"bb.init(threads={threads})\n" if threads else ""
        return run_python(textwrap.dedent(PRELUDE) + start + textwrap.dedent(code), **options)

    return run


# Code that never ends by itself: it waits, computes, allocates, calls Python, runs on other tasks.
ENDLESS = {
    "a timer": "() -> sleep(1000)",
    "a condition": "() -> wait(Condition())",
    "a channel": "() -> take!(Channel(0))",
    "a tight loop": "() -> (i = 0; while true; i += 1; i % 7 == 8 && break; end; i)",
    "allocation": "() -> while true; rand(1000); end",
    "strings and dicts": "() -> (d = Dict{Int,Any}(); i = 0;"
    " while true; i += 1; d[i % 10000] = string(i); end)",
    "try blocks": "() -> (i = 0; while true; try; i += 1; i < 0 && error(); catch; end; end)",
    "printing": "() -> while true; println(devnull, 1, 2.0, [3]); end",
    "a sum": "() -> sum(sin, 1:10^12)",
    "a task": "() -> wait(@async sleep(1000))",
    "a busy task": "() -> wait(@async while true; end)",
    "a spawned task": "() -> wait(Threads.@spawn sleep(1000))",
    "finally": "() -> try; while true; rand(10); end; finally; global cleaned = true; end",
    "keywords": "() -> ((; a = 1) -> while true; rand(a); end)(a = 2)",
    "callbacks": "() -> while true; callback(); end",
    "callbacks in C": "() -> while true; pyabs(-1); end",
    "compiled": "(f = x -> (i = 0; while x; i += 1; i % 7 == 8 && break; end; i);"
    " warm(f, false); () -> again(f, true))",
    "no GIL": "BufferBridge.nogil(() -> while true; rand(10); end)",
    "no GIL, waiting": "BufferBridge.nogil(() -> sleep(1000))",
}


@THREADS
def test_ctrl_c_in_julia_code(run_child, threads):
    done = run_child(
        f"""
        bb.Main.callback = lambda: None
        bb.Main.pyabs = abs
        bb.Main.warm = lambda f, x: [f(x) for i in range(5000)]
        bb.Main.again = lambda f, x: f(x)
        for name, code in {ENDLESS!r}.items():
            f = bb.eval(code)
            held = bb.stats()
            try:
                killer = hit()
                f()
            except KeyboardInterrupt:
                print(name)
            killer.wait()
            assert works()
            assert bb.stats()["pinned_buffers"] == 0
        assert bb.Main.cleaned
        """,
        threads,
    )
    assert done.stdout.splitlines() == list(ENDLESS)
    assert done.stderr == ""


@THREADS
def test_ctrl_c_again_and_again(run_child, threads):
    """At random moments of calls that allocate, compile, convert and call back."""
    done = run_child(
        """
        import random, gc
        f = bb.eval('''
            function churn(f, xs)
                s = 0.0
                while true
                    s += sum(xs) + length(string(s)) + sum(f(zeros(100)))
                    d = Dict(i => rand(10) for i in 1:100)
                    s += sum(sum, values(d))
                    sort(rand(1000))
                end
            end
        ''')
        ones = bytes(100_000)
        count = 0
        for i in range(25):
            try:
                killer = hit(after=random.uniform(0.01, 0.2))
                f(lambda x: x, ones)
            except KeyboardInterrupt:
                count += 1
            killer.wait()
        del f
        assert works()
        for i in range(3):
            gc.collect()
            bb.Base.GC.gc()
        print(count, bb.stats()["pinned_buffers"], bb.stats()["exports"])
        """,
        threads,
    )
    assert done.stdout == "25 0 0\n"
    assert done.stderr == ""


def test_the_cause_of_a_keyboard_interrupt_is_julias_exception(run_child):
    done = run_child(
        """
        try:
            killer = hit()
            bb.eval("while true; end")
        except KeyboardInterrupt as e:
            print(type(e) is KeyboardInterrupt, type(e.__cause__), e.__cause__.exception)
        """
    )
    assert done.stdout.startswith("True ")
    assert "InterruptException" in done.stdout


@THREADS
def test_ctrl_c_in_python_code(run_child, threads):
    done = run_child(
        """
        def compute():
            while True:
                pass

        for wait in (lambda: time.sleep(1000), compute, lambda: os.read(os.pipe()[0], 1)):
            try:
                killer = hit()
                wait()
            except KeyboardInterrupt:
                print("interrupted")
            killer.wait()
            assert works()
        """,
        threads,
    )
    assert done.stdout == "interrupted\n" * 3


@THREADS
def test_ctrl_c_in_a_callback_is_the_callbacks(run_child, threads):
    done = run_child(
        """
        def callback():
            global killer
            try:
                killer = hit()
                time.sleep(1000)
            except KeyboardInterrupt:
                return 5

        print(bb.eval("f -> (x = f(); y = sum(sum(rand(100)) for i in 1:10^5); x)")(callback))
        killer.wait()
        assert works()
        """,
        threads,
    )
    assert done.stdout == "5\n"


@THREADS
def test_handlers_of_the_users_are_called_and_stop_nothing(run_child, threads):
    done = run_child(
        """
        seen = []
        signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
        busy = bb.eval("s -> (t = time(); while time() - t < s; rand(10); end; 7)")
        wait = bb.eval("s -> (sleep(s); 8)")
        for f in (busy, wait):
            killer = hit(times=2, after=0.2)
            print(f(1.0), end=" ")
            killer.wait()
        # After the second signal the handler runs once or twice, as Python has it.
        assert set(seen) == {signal.SIGINT} and len(seen) in (2, 3, 4), seen

        class Stop(Exception):
            pass

        def stop(number, frame):
            raise Stop

        signal.signal(signal.SIGINT, stop)
        started = time.monotonic()
        try:
            killer = hit()
            busy(1.0)
        except Stop:
            print(time.monotonic() - started > 0.99, end=" ")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        killer = hit()
        print(busy(1.0))
        """,
        threads,
    )
    assert done.stdout == "7 8 True 7\n"


@THREADS
def test_the_default_handler_set_again(run_child, threads):
    """As Jupyter does around each cell."""
    done = run_child(
        """
        for i in range(3):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            bb.eval("1")
            time.sleep(0.2)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                killer = hit()
                bb.eval("while true; end")
            except KeyboardInterrupt:
                print("interrupted")
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        """,
        threads,
    )
    assert done.stdout == "interrupted\n" * 3


NUMBERS = ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGQUIT", "SIGHUP", "SIGCHLD", "SIGWINCH"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_other_handlers_of_the_users(run_child, when):
    """Set before Julia's start or after it, they are called in Python and after a Julia call."""
    install = f"""
        seen = []
        for name in {NUMBERS}:
            signal.signal(getattr(signal, name), lambda number, frame: seen.append(number))
        """
    done = run_child(
        (install if when == "before" else "")
        + """
        bb.init(threads=2)
        """
        + (install if when == "after" else "")
        + f"""
        bb.eval("Threads.@threads for i in 1:4; rand(10^6); end; GC.gc()")
        for name in {NUMBERS}:
            for wait in (lambda: time.sleep(0.3), lambda: bb.eval("sleep(0.3)")):
                number = getattr(signal, name)
                seen.clear()
                killer = hit(number, after=0.1)
                wait()
                killer.wait()
                for i in range(100):  # (SIGCHLD comes with the end of the killer, too)
                    if number in seen:
                        break
                    time.sleep(0.01)
                else:
                    print("not seen:", name)
        assert works()
        print("done")
        """,
        threads=0,
    )
    assert done.stdout == "done\n"
    assert done.stderr == ""


@THREADS
@pytest.mark.parametrize("code", ["time.sleep(20)", "bb.eval('while true; rand(10); end')"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_default_actions_end_the_process(run_child, threads, code, number):
    if threads == 2 and number != "SIGTERM":
        pytest.skip("once is enough")
    done = run_child(
        f"""
        hit(signal.{number})
        {code}
        """,
        threads,
        code_expected=-getattr(signal, number),
    )
    assert done.stderr == ""


FAULTS = """
    import faulthandler
    {before}
    bb.init(threads=2)
    {after}
    # Julia's collector stops the other thread by a SIGSEGV of its own, again and again.
    bb.eval("global t = Threads.@spawn (for i in 1:2000; rand(10_000); end); nothing")
    bb.eval("for i in 1:2000; rand(10_000); end; wait(t)")
    try:
        bb.eval("deep(x) = 1 + deep(x); deep(1)")
    except RecursionError:
        print("RecursionError", flush=True)
    {last}
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("crash", "name"),
    [
        ("import ctypes; ctypes.string_at(8)", "Segmentation fault"),
        ("bb.eval('unsafe_load(Ptr{Int}(8))')", "Segmentation fault"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "Segmentation fault"),
        ("os.abort()", "Aborted"),
    ],
)
def test_faulthandler(run_child, when, crash, name):
    enable = "faulthandler.enable()"
    code = FAULTS.format(
        before=enable if when == "before" else "",
        after=enable if when == "after" else "",
        last=crash,
    )
    expected = -signal.SIGABRT if name == "Aborted" else -signal.SIGSEGV
    done = run_child(code, threads=0, code_expected=expected)
    assert done.stdout == "RecursionError\n"
    assert f"Fatal Python error: {name}" in done.stderr
    assert "most recent call first" in done.stderr


def test_faulthandler_switched_on_and_off(run_child):
    switching = """
    for i in range(3):
        faulthandler.enable()
        bb.eval("Threads.@threads for i in 1:100; rand(10^5); end; GC.gc()")
        faulthandler.disable()
        bb.eval("Threads.@threads for i in 1:100; rand(10^5); end; GC.gc()")
    faulthandler.dump_traceback(sys.stdout)
    """
    code = FAULTS.format(before="faulthandler.enable()", after="faulthandler.disable()", last="")
    done = run_child(textwrap.dedent(code) + textwrap.dedent(switching), threads=0)
    assert "most recent call first" in done.stdout
    assert done.stderr == ""


def test_a_timer_of_the_users(run_child):
    done = run_child(
        """
        seen = []
        signal.signal(signal.SIGALRM, lambda number, frame: seen.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        for i in range(200):
            assert bb.eval("sum(sum(rand(100)) for i in 1:100)") > 0
        time.sleep(0.1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(len(seen) > 5)
        """,
        2,
    )
    assert done.stdout == "True\n"


def test_julia_code_may_catch_the_interrupt():
    caught = bb.eval(
        """
        function catching()
            try
                throw(InterruptException())
            catch e
                return e isa InterruptException
            end
        end
        """
    )
    assert caught()
    with pytest.raises(KeyboardInterrupt):
        bb.eval("throw(InterruptException())")
