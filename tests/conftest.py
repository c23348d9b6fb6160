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
    for _ in range(2):
        gc.collect()
        bb.Base.GC.gc()
    return bb.stats()
