"""Benchmarks run on a started Julia, with everything they call compiled."""

from __future__ import annotations

import pytest

import bufferbridge as bb


@pytest.fixture(scope="session", autouse=True)
def julia() -> None:
    bb.init()
