"""Starting Julia: options, the environment, standard streams, and what importing costs."""

from __future__ import annotations

import threading

import pytest

import bufferbridge as bb
from bufferbridge import _find


def test_importing_starts_nothing(run_python):
    done = run_python(
        """
        import sys
        import bufferbridge as bb
        assert bb.julia_version is None
        for name in ("numpy", "platformdirs", "subprocess", "ctypes", "cffi"):
            assert name not in sys.modules, name
        dir(bb), bb.JuliaArray, bb.JuliaError, bb.__version__
        assert bb.stats()["julia_objects"] == 0
        assert bb.julia_version is None
        """
    )
    assert done.stdout == ""


@pytest.mark.parametrize(
    "use",
    [
        "bb.eval('1')",
        "bb.wrap(b'abc')",
        "bb.Main",
        "bb.Base.sin(0.0)",
        "bb.Core",
        "bb.init()",
        "bb.stats(); bb.include('one.jl')",
    ],
)
def test_the_first_use_starts_julia(run_python, tmp_path, use):
    (tmp_path / "one.jl").write_text("1")
    run_python(f"import bufferbridge as bb\n{use}\nassert bb.julia_version")


def test_version_and_second_init():
    assert bb.eval("VERSION.major") == bb.julia_version[0]
    assert bb.julia_version >= (1, 5, 0)
    bb.init()  # no options: nothing to do
    with pytest.raises(RuntimeError, match="already running"):
        bb.init(threads=7)


def test_options(run_python, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "Project.toml").write_text("")
    done = run_python(
        f"""
        import bufferbridge as bb
        bb.init(project={str(project)!r}, threads=2)
        bb.init(project={str(project)!r}, threads=2)
        print(bb.eval("Base.active_project()"))
        print(bb.eval("Threads.nthreads()"))
        try:
            bb.init(threads=3)
        except RuntimeError as e:
            print(e)
        """
    )
    lines = done.stdout.splitlines()
    assert lines[0] == str(project / "Project.toml")
    assert lines[1] == "2"
    assert "can't be started again" in lines[2]


def test_environment_variables(run_python, tmp_path):
    (tmp_path / "Project.toml").write_text("")
    done = run_python(
        """
        import bufferbridge as bb
        print(bb.eval("Base.active_project()"), bb.eval("Threads.nthreads()"))
        """,
        env={"JULIA_PROJECT": str(tmp_path), "JULIA_NUM_THREADS": "2"},
    )
    assert done.stdout == f"{tmp_path / 'Project.toml'} 2\n"


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ("julia='/no/such/julia'", "FileNotFoundError", "/no/such/julia"),
        ("sysimage='/no/such/image.so'", "FileNotFoundError", "/no/such/image.so"),
        ("threads=0", "ValueError", "threads"),
        ("threads='many'", "ValueError", "threads"),
    ],
)
def test_options_that_are_wrong(run_python, options, kind, words):
    done = run_python(
        f"""
        import bufferbridge as bb
        try:
            bb.init({options})
        except {kind} as e:
            print(e)
        print(bb.eval("1 + 1"))  # a failed start is no start
        """
    )
    assert words in done.stdout
    assert done.stdout.endswith("2\n")


def test_no_julia_at_all_names_the_three_ways(run_python, tmp_path):
    done = run_python(
        """
        import bufferbridge as bb
        try:
            bb.eval("1")
        except RuntimeError as e:
            print(e)
        """,
        env={
            "PATH": str(tmp_path),
            "HOME": str(tmp_path),
            "XDG_DATA_HOME": str(tmp_path),
            "XDG_CACHE_HOME": str(tmp_path),
            "BUFFERBRIDGE_JULIA": "",
        },
    )
    for way in ("python -m bufferbridge install-julia", "juliaup", "BUFFERBRIDGE_JULIA"):
        assert way in done.stdout


def test_the_start_needs_the_main_thread(run_python):
    done = run_python(
        """
        import threading
        import bufferbridge as bb

        def start():
            try:
                bb.eval("1")
            except RuntimeError as e:
                print(e)

        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        print(bb.eval("1 + 1"))
        """
    )
    assert "main thread" in done.stdout
    assert done.stdout.endswith("2\n")


def test_the_main_thread_is_known_without_module_threading(run_python):
    done = run_python(
        """
        import _thread, sys
        known = "threading" in sys.modules  # by what is installed beside us
        import bufferbridge as bb

        def start():
            try:
                bb.eval("1")
            except RuntimeError as e:
                print(e)
            lock.release()

        lock = _thread.allocate_lock()
        lock.acquire()
        _thread.start_new_thread(start, ())
        lock.acquire()
        assert known or "threading" not in sys.modules
        print(bb.eval("1 + 1"))
        """
    )
    assert "main thread" in done.stdout
    assert done.stdout.endswith("2\n")


def test_a_child_of_another_thread_may_start_julia(run_python):
    done = run_python(
        """
        import os, threading
        import bufferbridge as bb

        def fork():
            if os.fork() == 0:
                print(bb.eval("1 + 1"), flush=True)
                os._exit(0)
            assert os.wait()[1] == 0

        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        """,
        args=["-W", "ignore"],
    )
    assert done.stdout == "2\n"


def test_importing_again_finds_what_runs(run_python):
    done = run_python(
        """
        import importlib, sys
        import bufferbridge as first
        x = first.eval("[1, 2]")
        importlib.reload(first)
        assert first.eval("1 + 1") == 2
        for name in [n for n in sys.modules if n.partition(".")[0] == "bufferbridge"]:
            del sys.modules[name]
        import bufferbridge as second
        assert second is not first
        print(second.eval("1 + 1"), second.Base.sum(x), first.eval("2 + 2"))
        assert type(second.eval("[1]")) is type(x) is second.JuliaArray
        try:
            second.eval("error(1)")
        except second.JuliaError as e:
            assert "error" in e.backtrace
        """
    )
    assert done.stdout == "2 3 4\n"


def test_a_home_that_can_not_be_written(run_python):
    code = "import bufferbridge as bb\nprint(bb.eval('1 + 1'), bb.Main.BufferBridge)"
    done = run_python(code, env={"JULIA_DEPOT_PATH": "/proc/nosuch"})
    assert done.stdout in ("2 BufferBridge\n", "2 Main.BufferBridge\n")


def test_a_second_start_runs_no_subprocess(run_python):
    bb.eval("1")
    run_python(
        """
        import subprocess
        def refuse(*args, **kwargs):
            raise AssertionError("a subprocess was started")
        subprocess.Popen.__init__ = refuse
        import bufferbridge as bb
        assert bb.eval("1 + 1") == 2
        """
    )


def test_output_is_in_order_and_goes_where_pythons_goes(capsys):
    print("1 python")
    bb.eval('println("2 julia"); print("3 jul"); print("ia\\n")')
    print("4 python")
    bb.eval('print("5 julia, ")')
    print("python")
    bb.eval('f -> (println("6 julia"); f("7 python"); println("8 julia"))')(print)
    bb.eval('println(stderr, "error"); @warn "careful"; write(stdout, "∀ü")')
    out, err = capsys.readouterr()
    assert out == (
        "1 python\n2 julia\n3 julia\n4 python\n5 julia, python\n6 julia\n7 python\n8 julia\n∀ü"
    )
    assert err.startswith("error\n")
    assert "careful" in err


def test_output_in_a_process_of_its_own(run_python):
    done = run_python(
        """
        import bufferbridge as bb
        for i in range(3):
            print("python", i)
            bb.eval(f'println("julia {i}")')
        bb.eval('foreach(i -> write(stdout, codeunits("ü∀")[i]), 1:5)')
        print()
        bb.eval('print("x"^100_000)')
        """
    )
    expected = "".join(f"python {i}\njulia {i}\n" for i in range(3)) + "ü∀\n" + "x" * 100_000
    assert done.stdout == expected


def test_redirection_in_julia(run_python):
    done = run_python(
        """
        import bufferbridge as bb
        text = bb.eval('''
            path, io = mktemp()
            redirect_stdout(io) do
                println("into the file")
                ccall(:puts, Cint, (Cstring,), "from C"); Base.Libc.flush_cstdio()
            end
            close(io)
            read(path, String)
        ''')
        assert "into the file" in text, text
        assert "from C" in text, text
        bb.eval('println("back again")')
        print("python too")
        """
    )
    assert done.stdout == "back again\npython too\n"


def test_processes_that_julia_starts():
    assert bb.eval("read(`echo text`, String)") == "text\n"
    bb.eval("run(pipeline(`true`, stdout = stdout, stderr = stderr)); nothing")


def test_a_broken_stdout_is_a_python_exception(run_python):
    run_python(
        """
        import sys
        import bufferbridge as bb
        bb.eval("1")

        class Broken:
            def write(self, text):
                raise ValueError("broken pipe")
            def flush(self):
                pass

        old, sys.stdout = sys.stdout, Broken()
        try:
            bb.eval('println("x")')
        except ValueError as e:
            assert "broken pipe" in str(e)
        else:
            raise SystemExit("no exception")
        sys.stdout = None
        bb.eval('println("x")')
        sys.stdout = old
        """
    )


def test_printing_from_many_tasks_and_threads(run_python):
    done = run_python(
        """
        import bufferbridge as bb
        bb.init(threads=2)
        bb.eval('''
            Threads.@threads for i in 1:8
                println("line ", i)
            end
            @sync for i in 9:12
                @async println("line ", i)
            end
        ''')
        """
    )
    assert sorted(done.stdout.split("\n")) == sorted([f"line {i}" for i in range(1, 13)] + [""])


def test_calls_from_another_thread():
    result = []

    def call():
        try:
            result.append(bb.eval("1 + 1"))
        except RuntimeError as e:
            result.append(e)

    x = bb.eval("[1.0, 2.0]")
    views = []
    threads = [threading.Thread(target=call), threading.Thread(target=lambda: views.append(x[1]))]
    for thread in threads:
        thread.start()
        thread.join()
    assert views == [2.0]
    if bb.julia_version < (1, 9):
        assert "Julia 1.9" in str(result[0])
    else:
        assert result == [2]


def test_ctrl_c_in_python_after_the_start(run_python):
    done = run_python(
        """
        import os, signal, time
        import bufferbridge as bb
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
        bb.eval("1")
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            print("interrupted", bb.eval("1 + 1"))
        """
    )
    assert done.stdout == "interrupted 2\n"


def test_the_julia_found_is_the_julia_that_runs():
    found = _find.find()
    assert found.version == bb.julia_version
    assert bb.eval("Sys.BINDIR") == str(found.bindir)


@pytest.mark.parametrize("portable", ["", "1"])
def test_readline_after_the_start(run_python, portable):
    """Debian's Julia brings libedit, which has functions of readline's names: pdb crashed."""
    pytest.importorskip("readline", reason="this Python has no readline")
    done = run_python(
        """
        import bufferbridge as bb
        bb.init()
        import readline
        readline.add_history("first")
        readline.replace_history_item(0, "second")
        print(readline.get_history_item(1))
        """,
        env={"BUFFERBRIDGE_PORTABLE": portable},
    )
    assert done.stdout == "second\n"
