"""Julia's standard streams are Python's: what is printed, and, on request, what is read."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb

# ------------------------------------------------------------------ stdout, stderr


def test_capsys_takes_both_languages_in_order(capsys):
    print("one")
    bb.eval('println("two"); print(stderr, "err"); print("thr")')
    print("ee")
    bb.eval('println(stderr, "or")')
    assert capsys.readouterr() == ("one\ntwo\nthree\n", "error\n")


def test_capfd_takes_what_c_code_prints(capfd):
    print("one", flush=True)
    bb.eval('println("two"); flush(stdout)')
    bb.eval('ccall(:puts, Cint, (Cstring,), "three"); Libc.flush_cstdio()')
    assert sorted(capfd.readouterr().out.split()) == ["one", "three", "two"]


def test_redirect_stdout():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        bb.eval('print("é"); print(stderr, "α")')
    assert (out.getvalue(), err.getvalue()) == ("é", "α")


def test_logging_goes_to_stderr(capsys):
    bb.eval('@info "told" x = 1; @warn "warned"')
    out, err = capsys.readouterr()
    assert out == ""
    assert "Info: told" in err
    assert "x = 1" in err
    assert "Warning: warned" in err


def test_tasks_print(capsys):
    bb.eval('@sync for i in 1:3; @async println("task ", i); end')
    print("after")
    assert capsys.readouterr().out == "task 1\ntask 2\ntask 3\nafter\n"


def test_what_a_task_prints_later_comes_with_the_next_call(capsys):
    bb.eval('streams_task = @async (sleep(0.01); println("late"))')
    print("first")
    bb.eval("wait(streams_task)")
    assert capsys.readouterr().out == "first\nlate\n"


def test_large_output_and_characters_cut_in_two(capsys):
    bb.eval('for b in codeunits("aé€😀\\n"); write(stdout, b); end; print("x"^200_000)')
    assert capsys.readouterr().out == "aé€😀\n" + "x" * 200_000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=8), max_size=6))
def test_any_bytes(parts):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        for part in parts:
            bb.Base.write(bb.Base.stdout, part)
        bb.eval("println()")
    expected = b"".join(parts) + b"\n"
    assert out.getvalue() == expected.decode(errors="backslashreplace")


def test_streams_that_are_not_there(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert bb.eval('println("nowhere"); 5') == 5
    monkeypatch.delattr(sys, "stdout")
    assert bb.eval('println("nowhere"); flush(stdout); 6') == 6


def test_streams_that_fail(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "no space left")

    full = Full()
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(OSError, match="no space left"):
        bb.eval('println("x")')
    assert bb.eval("try; println(1); catch e; string(typeof(e)); end").endswith("PyException")

    class Only:
        def write(self, text):
            text_of.append(text)

    text_of: list[str] = []
    monkeypatch.setattr(sys, "stdout", Only())
    bb.eval('println("x")')
    with pytest.raises(AttributeError, match="flush"):
        bb.eval("flush(stdout)")
    assert "".join(text_of) == "x\n"

    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    with pytest.raises(ValueError, match="closed file"):
        bb.eval('println("y")')

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    bb.eval('println("z")')
    assert sys.stdout.getvalue() == "z\n"


def test_a_stream_that_calls_julia(monkeypatch):
    class Nested:
        def __init__(self):
            self.written = []

        def write(self, text):
            self.written.append(bb.Base.uppercase(text))
            if "a" in text:
                bb.eval('println("nested")')

    stream = Nested()
    monkeypatch.setattr(sys, "stdout", stream)
    bb.eval('println("a"); println("b")')
    assert "".join(stream.written) == "A\nNESTED\nB\n"


def test_redirection_in_julia(capsys, tmp_path):
    path = str(tmp_path / "out.txt")
    bb.eval(f'open("{path}", "w") do io; redirect_stdout(() -> println("in file"), io); end')
    bb.eval('println("out again")')
    assert (tmp_path / "out.txt").read_text() == "in file\n"
    assert capsys.readouterr().out == "out again\n"


def test_compiling_a_package_leaves_pipes_as_they_are(run_python, tmp_path):
    # Julia 1.5 hands stdout on to the process that compiles, whose libuv makes it non-blocking for
    # all who have it.
    package = tmp_path / "Quiet.jl" / "src"
    package.mkdir(parents=True)
    package.joinpath("Quiet.jl").write_text("module Quiet\nend\n")
    project = package.parent / "Project.toml"
    project.write_text('name = "Quiet"\nuuid = "a3f4cbb8-2c6c-4a5e-9a5a-3a2f1a4c7f10"\n')
    done = run_python(
        """
        import fcntl, os, sys
        import bufferbridge as bb
        bb.eval("push!(LOAD_PATH, ARGS_)".replace("ARGS_", repr(sys.argv[1]).replace("'", '"')))
        bb.eval("using Quiet")
        print([fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in (0, 1, 2)])
        """,
        arguments=[str(package.parent)],
    )
    assert done.stdout == "[0, 0, 0]\n"


def test_processes_that_julia_starts(run_python):
    done = run_python(
        """
        import bufferbridge as bb
        bb.eval('run(`echo from a process`)')
        print(bb.eval('read(`echo captured`, String)'), end="")
        """
    )
    assert sorted(done.stdout.splitlines()) == ["captured", "from a process"]


# ------------------------------------------------------------------------- stdin


@pytest.fixture
def typed(monkeypatch):
    """Sets what sys.stdin gives; Julia reads from it as long as the test runs."""
    bb.use_stdin()

    def type_(text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    yield type_
    bb.use_stdin(False)


def test_lines(typed):
    typed("first\nsecond\r\n\nlast")
    assert bb.Base.readline() == "first"
    assert sys.stdin.readline() == "second\r\n"  # they share it
    assert bb.eval("readline(keep = true)") == "\n"
    assert bb.eval("(eof(stdin), readline(), eof(stdin), readline())") == (False, "last", True, "")
    typed("more\n")
    assert list(bb.eval("readlines()")) == ["more"]


def test_all_ways_of_reading(typed):
    typed("aé😀 1 2\nrest of it\n\0end")
    read = bb.eval(
        """
        function streams_read()
            a = read(stdin, UInt8)
            b = peek(stdin, UInt8)
            c = read(stdin, Char), read(stdin, Char), read(stdin, Char)
            n = bytesavailable(stdin)
            d = parse.(Int, split(readline()))
            e = readuntil(stdin, ' ')
            f = readuntil(stdin, "it")
            g = String(read(stdin, 2))
            h = String(readavailable(stdin))
            i = try; read(stdin, UInt8); catch err; err isa EOFError; end
            return a, b, c, n, d, e, f, g, h, i, readavailable(stdin) == UInt8[]
        end
        """
    )
    a, b, c, n, d, e, f, g, h, i, j = read()
    assert (a, b, c, n, list(d)) == (ord("a"), 0xC3, ("é", "😀", " "), 4, [1, 2])
    assert (e, f, g, h, i, j) == ("rest", "of ", "\n\0", "end", True, True)


def test_binary_reads_go_over_lines(typed):
    typed("ab\ncd\nef")
    assert bytes(bb.eval("(b = zeros(UInt8, 5); read!(stdin, b); b)")) == b"ab\ncd"
    assert bytes(bb.eval("(b = UInt8[]; readbytes!(stdin, b, 10); b)")) == b"\nef"
    with pytest.raises(EOFError):
        bb.eval("read(stdin, Int64)")


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=30).filter(lambda s: "\r" not in s))
def test_any_text(text):
    old = sys.stdin
    sys.stdin = io.StringIO(text)
    bb.use_stdin()
    try:
        assert bb.eval("read(stdin, String)") == bb.Base.identity(text)
        sys.stdin = io.StringIO(text)
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        assert list(bb.eval("collect(eachline(stdin))")) == [bb.Base.identity(s) for s in lines]
    finally:
        sys.stdin = old
        bb.use_stdin(False)


def test_what_it_raises_comes_out(typed, monkeypatch):
    class Broken:
        def readline(self):
            raise OSError("broken pipe")

    monkeypatch.setattr(sys, "stdin", Broken())
    with pytest.raises(OSError, match="broken pipe"):
        bb.Base.readline()
    monkeypatch.setattr(sys, "stdin", io.BytesIO(b"bytes"))
    with pytest.raises(TypeError, match="gave bytes and not str"):
        bb.Base.readline()
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(RuntimeError, match="there is none"):
        bb.Base.readline()
    typed("fine\n")
    assert bb.Base.readline() == "fine"


def test_it_is_asked_for_and_given_back(run_python, tmp_path):
    script = """
        import sys
        import bufferbridge as bb
        bb.use_stdin()
        bb.use_stdin()
        print(bb.Base.readline(), sys.stdin.readline(), end="")
        bb.use_stdin(False)
        print(bb.eval("stdin isa Base.LibuvStream || stdin isa IOStream"))
        bb.use_stdin(False)
        bb.eval("redirect_stdin(() -> nothing, devnull)") if bb.julia_version > (1, 7) else None
        bb.use_stdin()
        bb.eval('open(io -> redirect_stdin(() -> println(readline()), io), "FILE")')
        print(bb.Base.readline())
        bb.eval("run(`true`)")
        print(bb.Base.readline())
    """
    file = tmp_path / "other.txt"
    file.write_text("of the file\n")
    import subprocess
    import textwrap

    code = textwrap.dedent(script).replace("FILE", str(file))
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="one\ntwo\nthree\nfour\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "one two\nTrue\nof the file\nthree\nfour\n"


def test_tasks_read(typed):
    typed("a\nb\nc\n")
    lines = bb.eval("(xs = String[]; @sync for i in 1:3; @async push!(xs, readline()); end; xs)")
    assert list(lines) == ["a", "b", "c"]


def test_threads_without_the_gil_read(run_python):
    bb.init()
    if bb.julia_version < (1, 9):
        pytest.skip("before Julia 1.9 only the main thread calls it")
    done = run_python(
        """
        import io, sys, threading
        import bufferbridge as bb
        bb.init(threads=2)
        bb.use_stdin()
        sys.stdin = io.StringIO("line\\n" * 400)
        count = bb.nogil(bb.eval(
            "n -> (k = Threads.Atomic{Int}(0); Threads.@threads for i in 1:n;"
            " readline() == \\"line\\" && Threads.atomic_add!(k, 1); end; k[])"))
        counts = []
        threads = [threading.Thread(target=lambda: counts.append(count(100))) for i in range(2)]
        for t in threads: t.start()
        counts.append(count(100))
        for t in threads: t.join()
        print(counts, repr(bb.nogil(bb.Base.readline)()))
        """
    )
    assert done.stdout == "[100, 100, 100] 'line'\n"


def test_a_terminal_shows_the_question_before_it_reads():
    """In a pseudo-terminal: what Julia printed without an end of line is there first."""
    code = (
        "import bufferbridge as bb; bb.use_stdin();"
        'bb.eval(\'print("name? "); println("hello ", readline())\')'
    )
    # Not pty.fork(): jax, which other tests import, warns of every fork.
    fd, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # the end of a terminal on Linux
        while chunk := os.read(fd, 1000):
            seen += chunk
            if seen.endswith(b"name? "):
                os.write(fd, b"Ada\n")
    os.close(fd)
    status = child.wait()
    assert status == 0, seen
    assert seen.replace(b"\r\n", b"\n") == b"name? Ada\nhello Ada\n"
