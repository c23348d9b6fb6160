"""What all tests share. Julia runs once in the test process; what may crash has its own."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

import bufferbridge as bb


def pytest_collection_finish(session) -> None:
    """Have Python's collector leave alone what is imported by now.

    The libraries that are tested against have millions of objects, and the tests collect often.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def run_python(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs code in a fresh Python; fails the test if that exits with another code than 0."""

    def run(
        code: str,
        *,
        code_expected: int = 0,
        env: dict[str, str] | None = None,
        args=(),
        arguments=(),
    ):
        done = subprocess.run(
            [sys.executable, *args, "-c", textwrap.dedent(code), *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            check=False,
        )
        assert done.returncode == code_expected, (
            f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    return run


def collect_both() -> dict[str, int]:
    """Collects on both sides, and says what is held afterwards."""
    # What one side lets go may be what kept something of the other's; and what a finalizer keeps in
    # Julia (keep.jl) goes with the collection after the one that runs it.
    for _ in range(2):
        gc.collect()
        bb.Base.GC.gc()  # some 100 ms where much was compiled
    return bb.stats()


_settled: dict[str, int] | None = None


@pytest.fixture
def held():
    """What both sides hold before the test, and a check that it is the same afterwards."""
    global _settled
    # A collection takes long: nothing has to be done again where nothing has come since.
    before = collect_both() if bb.stats() != _settled else _settled
    yield before
    _settled = collect_both()
    assert _settled == before
