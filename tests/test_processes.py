"""Ends, forks, other interpreters: a process may do anything, in any order."""

from __future__ import annotations

import sys
import textwrap

import pytest

import bufferbridge as bb

PRELUDE = """
    import atexit, faulthandler, os, sys, threading, time
    import bufferbridge as bb
    faulthandler.dump_traceback_later(100, exit=True)  # a hang is a failure

    def daemon(f, *args):
        threading.Thread(target=f, args=args, daemon=True).start()
"""

# Ends while other threads are busy.
BUSY = {
    "a task that allocates": "bb.eval('Threads.@spawn while true; rand(100); end; nothing')",
    "a task that computes": "bb.eval('Threads.@spawn while true; end; nothing')",
    "a task that waits": "bb.eval('@async sleep(1000); Threads.@spawn sleep(1000); nothing')",
    "a timer": "bb.eval('Timer(t -> rand(10), 0.001; interval = 0.001); nothing')",
    "a task that prints": "bb.eval('Threads.@spawn while true; print(devnull, 1); end; nothing')",
    "a daemon in Python": "daemon(time.sleep, 1000)",
    "a daemon with views": "daemon(views)",
}
# From Julia 1.9 on, other threads call Julia.
CALLING = {
    "a daemon that calls": "daemon(calls, bb.Base.sin)",
    "a daemon that waits": "daemon(bb.nogil(bb.Base.sleep), 1000)",
    "a daemon that computes": "daemon(bb.nogil(bb.eval('x -> while true; end')), 1)",
    "a daemon that allocates": "daemon(bb.nogil(bb.eval('x -> while true; rand(x); end')), 100)",
    "a daemon that is called": "daemon(bb.nogil(bb.eval('f -> while true; f(); end')), bool)",
    "a thread that ends later": "threading.Timer(0.3, bb.nogil(bb.Base.sleep), args=(1,)).start()",
}
ENDS = {
    "the end": "",
    "sys.exit": "sys.exit(0)",
    "hooks": "atexit.register(print, 'bye'); bb.eval('atexit(() -> (GC.gc(); rand(10^6)))')",
    "cycles": "a = [bb.eval('Ref(1)')]; a.append(a); sys.modules['kept'] = memoryview(x)",
}


@pytest.mark.parametrize("busy", [*BUSY, *CALLING])
def test_the_end_while_others_are_busy(run_python, busy):
    bb.init()
    if busy in CALLING and bb.julia_version < (1, 9):
        pytest.skip("before Julia 1.9 only the main thread calls it")
    for end in ["the end", ["sys.exit", "hooks", "cycles"][len(busy) % 3]]:
        start = """
        bb.init(threads=2)
        x = bb.eval("collect(1.0:1000.0)")

        def views():
            while True:
                memoryview(x)[5]

        def calls(f):
            try:
                while True:
                    f(1.0)
            except RuntimeError as e:
                assert "stopped" in str(e)

        """
        code = textwrap.dedent(PRELUDE) + textwrap.dedent(start) + {**BUSY, **CALLING}[busy]
        done = run_python(code + "\ntime.sleep(0.1)\n" + ENDS[end])
        assert done.stderr == "", end
        assert done.stdout == ("bye\n" if end == "hooks" else ""), end


def test_memory_that_python_lent_is_held_to_the_end(run_python):
    """What Julia's exit finalizes is not released: views still look at it."""
    done = run_python(
        """
        import atexit
        import bufferbridge as bb

        def late():
            try:
                data.extend(bytes(10**7))
            except BufferError:
                print("held")
            print(bytes(view[:3]))

        atexit.register(late)  # runs after bufferbridge's own
        data = bytearray(b"abc" * 1000)
        view = memoryview(bb.Base.identity(data))
        """
    )
    assert done.stdout == "held\nb'abc'\n"


def test_fork_while_threads_run(run_python):
    done = run_python(
        textwrap.dedent(
            """
            import os, sys
            import bufferbridge as bb

            bb.init(threads=2)
            x = bb.eval("collect(1.0:1000.0)")
            f = bb.Base.sin
            view = memoryview(x)
            bb.eval("global t = Threads.@spawn for i in 1:20_000; rand(100); end; nothing")
            for i in range(5):
                child = os.fork()
                if child == 0:
                    assert view[999] == x[999] == 1000.0 and memoryview(x)[::2][1] == 3.0
                    for use in (
                        lambda: f(1.0),
                        lambda: bb.eval("1"),
                        lambda: bb.Main.x,
                        lambda: x[1:],
                        lambda: bb.wrap(b"abc"),
                        lambda: bb.nogil(f),
                        lambda: bb.borrow(bytearray(3)).__enter__(),
                    ):
                        try:
                            use()
                        except RuntimeError as e:
                            assert "fork" in str(e), e
                        else:
                            raise AssertionError
                    assert repr(f).startswith("<bufferbridge.JuliaFunction")
                    bb.stats()
                    del view, x, f
                    if i % 2:
                        os._exit(0)
                    sys.exit(0)
                pid, status = os.waitpid(child, 0)
                print(status, end=" ")
            bb.eval("wait(t)")
            print(f(0.0))
            """
        ),
        args=("-W", "ignore::DeprecationWarning"),  # Python 3.12 warns of forks among threads
    )
    assert done.stderr == ""
    assert done.stdout == "0 0 0 0 0 0.0\n"


def test_fork_before_the_start(run_python):
    done = run_python(
        """
        import os
        import bufferbridge as bb
        child = os.fork()
        os.write(1, b"%d\\n" % bb.eval("1 + 1"))
        if child:
            print(os.waitpid(child, 0)[1])
        """,
        args=("-W", "ignore::DeprecationWarning"),
    )
    assert sorted(done.stdout.split()) == ["0", "2", "2"]


def test_multiprocessing_with_spawn(run_python, tmp_path):
    (tmp_path / "work.py").write_text(
        textwrap.dedent(
            """
            import multiprocessing
            import bufferbridge as bb

            def total(n):
                return bb.eval("n -> sum(1:n)")(n)

            if __name__ == "__main__":
                bb.eval("1")
                with multiprocessing.get_context("spawn").Pool(2) as pool:
                    print(pool.map(total, [10, 100]))
            """
        )
    )
    script = "import subprocess, sys; subprocess.run([sys.executable, 'work.py'], check=True)"
    assert run_python(script).stdout == "[55, 5050]\n"


def test_another_interpreter_is_refused(run_python):
    pytest.importorskip("_testcapi")
    done = run_python(
        """
        import _testcapi

        code = '''
        try:
            import bufferbridge
        except ImportError as e:
            print(e)
        else:
            print("imported")
        '''.replace("\\n" + " " * 8, "\\n")
        assert _testcapi.run_in_subinterp(code) == 0
        import bufferbridge as bb

        assert bb.eval("1 + 1") == 2
        assert _testcapi.run_in_subinterp(code) == 0
        assert bb.eval("1 + 1") == 2
        """
    )
    assert done.stdout.count("main interpreter") == 2
    assert "imported" not in done.stdout


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("bb.eval('f -> f()')(lambda: sys.exit(3))", 3),
        ("bb.nogil(bb.eval('f -> f()'))(lambda: sys.exit(4))", 4),
        ("bb.eval('f -> f()')(lambda: os._exit(5))", 5),
        ("bb.eval('f -> (GC.gc(); f())')(lambda: bb.eval('f -> f()')(lambda: sys.exit(6)))", 6),
        ("m = memoryview(x); del x; 1 / 0", 1),
        ("threading.Thread(target=lambda: memoryview(x)[0] / 0).start(); sys.exit(7)", 7),
        ("bb.eval('exit(8)')", 8),
    ],
)
def test_exit_codes(run_python, code, expected):
    start = "x = bb.eval('collect(1:1000)')\n"
    run_python(textwrap.dedent(PRELUDE) + start + code, code_expected=expected)


@pytest.mark.skipif(sys.platform != "linux", reason="it is about Debian's libunwind")
def test_cxx_exceptions_of_libraries_that_are_loaded_later(run_python):
    # They abort the process if one half of them is libgcc's and the other half a libunwind's.
    done = run_python(
        """
        import ctypes, os
        import bufferbridge as bb
        bb.init()
        class Info(ctypes.Structure):
            _fields_ = [(n, ctypes.c_void_p) for n in "fbsa"]
        visible, info = ctypes.CDLL(None), Info()
        for name in ["_Unwind_RaiseException", "_Unwind_Resume"]:
            visible.dladdr(ctypes.cast(visible[name], ctypes.c_void_p), ctypes.byref(info))
            print(os.path.basename(ctypes.string_at(info.f)).decode())
        """
    )
    assert done.stdout.split() == ["libgcc_s.so.1"] * 2
