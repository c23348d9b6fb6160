"""bufferbridge without its C module: on PyPy, and the same code on CPython.

portable.py has the checks, which need nothing but bufferbridge, and is run once by each Python.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent
PYPY = os.environ.get("BUFFERBRIDGE_PYPY") or str(ROOT / ".venv-pypy" / "bin" / "python")
CHECKS = [
    line[len("def check_") : line.index("(")]
    for line in (HERE / "portable.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("def check_")
]

_printed: dict[str, str] = {}


@pytest.fixture(params=["cpython", "pypy"])
def python(request):
    """The command and the environment of a Python without the C module."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if request.param == "pypy":
        if not os.path.exists(PYPY):
            pytest.skip("there is no environment with PyPy: make test-pypy makes one")
        if "BUFFERBRIDGE_PYPY" in os.environ or (ROOT / ".venv-pypy" / "ready").exists():
            environment.pop("PYTHONPATH")  # it is installed there
        return [PYPY], environment
    return [sys.executable], {**environment, "BUFFERBRIDGE_PORTABLE": "1"}


def run(python, code: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    command, environment = python
    done = subprocess.run(
        [*command, "-c", textwrap.dedent(code)],
        env=environment,
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == expected, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.parametrize("name", CHECKS)
def test_portable(python, name):
    command, environment = python
    if command[0] not in _printed:
        done = subprocess.run(
            [*command, str(HERE / "portable.py")],
            env=environment,
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        _printed[command[0]] = f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}"
    printed = _printed[command[0]]
    failed = [line for line in printed.splitlines() if line.startswith(f"FAILED {name} ")]
    assert not failed, failed[0].replace("\\n", "\n")
    assert f"passed {name}\n" in printed, printed
    assert "exit code 0" in printed, printed


def test_a_process_from_start_to_end(python):
    """Ctrl-C, a child, views that outlive Julia: one after the other in one process."""
    done = run(
        python,
        """
        import os, signal, sys, threading, time
        import bufferbridge as bb

        assert bb.julia_version is None
        assert bb.stats()["julia_objects"] == 0
        bb.eval("1")
        assert bb.julia_version >= (1, 5)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

        # Ctrl-C is Python's: at once in Python, and after the call in Julia.
        def interrupt_soon():
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

        bb.eval("busy(n) = (t = time(); while time() - t < n end)")
        for wait in (time.sleep, bb.Main.busy):
            started = time.time()
            interrupt_soon()
            try:
                wait(1)
                time.sleep(1)
            except KeyboardInterrupt:
                print("interrupted", (time.time() - started >= 1) == (wait is not time.sleep))
        try:
            bb.eval("f -> (f(); 1)")(lambda: os.kill(os.getpid(), signal.SIGINT))
        except KeyboardInterrupt:
            print("interrupted in a callback")
        assert bb.eval("2") == 2

        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                bb.eval("1")
            except RuntimeError as e:
                os._exit(0 if "fork" in str(e) else 3)
            os._exit(4)
        assert os.waitpid(child, 0)[1] == 0

        x = bb.eval("[1.0, 2.0]")
        view = x.__buffer__(0)

        bb.eval('atexit(() -> println("Julia ends")); print("no line end")')
        import atexit
        atexit._run_exitfuncs()
        try:
            bb.eval("1")
        except RuntimeError as e:
            print(e)
        print("the array", x[1], repr(x)[:24])
        print("view", view.tolist())
        """,
    )
    assert "interrupted True\ninterrupted True\ninterrupted in a callback" in done.stdout
    assert "no line endJulia ends\n" in done.stdout
    assert "Julia has stopped" in done.stdout
    assert "the array 2.0 <bufferbridge.JuliaArray" in done.stdout
    assert "view [1.0, 2.0]" in done.stdout


def fields(header: str, struct: str, last: str) -> list[str]:
    """The names of a struct's fields in C's declarations, up to `last`."""
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    body = re.search(r"typedef struct (?:\w+ )?\{([^}]*)\} " + struct + ";", header)
    assert body, struct
    names: list[str] = []
    for declaration in body[1].split(";"):
        names += re.findall(r"(\w+)(?:\[\w*\])?\s*(?:,|$)", declaration.strip())
    return names[: names.index(last) + 1]


def test_structs_are_those_of_the_c_layer():
    from bufferbridge._portable import _memory

    header = (ROOT / "csrc" / "bufferbridge.h").read_text(encoding="utf-8")
    tags = re.search(r"enum bb_tag \{(.*?)\};", header, re.S)
    assert tags
    for name, number in re.findall(r"BB_(\w+) = (\d+)", tags[1]):
        assert getattr(_memory, name, int(number)) == int(number), name
    for struct, last in (("bb_state", "layout"), ("bb_layout", "strides"), ("bb_buffer", "object")):
        ours = [name for name, _ in _memory.ffi.typeof(struct).fields]
        theirs = fields(header, struct, last)
        if theirs[0] == "node":
            theirs[:1] = ["next", "is_buffer"]
        assert ours == theirs, struct


def test_all_that_julia_may_call_is_there():
    from bufferbridge._portable import _api, _boot

    names = re.findall(
        r":(\w+)",
        re.search(r"const API_NAMES = \((.*?)\n\n", (ROOT / "jlsrc/src/wire.jl").read_text(), re.S)[
            1
        ],
    )
    missing = set(names) - set(_api.functions) - set(_boot._NATIVE)
    assert len(names) > 50 and not missing


def test_cpython_takes_its_c_module():
    from bufferbridge import _core

    if sys.implementation.name == "cpython" and not os.environ.get("BUFFERBRIDGE_PORTABLE"):
        code = "import sys, bufferbridge; assert 'bufferbridge._portable' not in sys.modules"
        run(([sys.executable], {**os.environ, "PYTHONPATH": str(ROOT)}), code)
        assert _core._exporter is memoryview
