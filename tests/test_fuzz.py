"""What fuzzing has found worth keeping, run once in an ordinary build: see fuzz/README.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parent.parent / "fuzz"
sys.path.insert(0, str(FUZZ))
targets = pytest.importorskip("targets", reason="needs the folder fuzz")
sys.path.remove(str(FUZZ))


@pytest.mark.parametrize("target", targets.TARGETS)
def test_corpus(target: str) -> None:
    run = targets.TARGETS[target]
    run(bytes(8))  # what the first run makes is no leak
    before = targets.held()
    for file in sorted((FUZZ / "corpus" / target).iterdir()):
        try:
            run(file.read_bytes())
        except BaseException as e:
            raise AssertionError(f"python fuzz/run.py replay {target} {file}") from e
    assert targets.held() == before
