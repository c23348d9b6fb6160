"""Short runs of stress.py; as a program, long ones of all combinations: `make stress`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

STRESS = Path(__file__).with_name("stress.py")
THREADS = [(1, 1), (1, 4), (2, 1), (2, 4)]  # Julia's, Python's
# Freed memory is overwritten; Python checks what is freed.
ENVIRONMENTS = {
    "": {},
    "MALLOC_PERTURB_": {"MALLOC_PERTURB_": "165"},
    "PYTHONMALLOC": {"PYTHONMALLOC": "debug"},
}


def stress(seconds: float, julia: int, python: int, env: dict[str, str]):
    """A run with its output, which tells the seed."""
    options = {"--seconds": seconds, "--threads": python, "--julia-threads": julia}
    return subprocess.run(
        [sys.executable, STRESS, *(str(word) for option in options.items() for word in option)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=10 * seconds + 300,
        env={**os.environ, **env},
        check=False,
    )


@pytest.mark.parametrize(("julia", "python"), [(1, 1), (2, 4)])
def test_what_is_held_is_alive_and_what_is_dropped_is_finalized(julia, python):
    done = stress(3, julia, python, ENVIRONMENTS["MALLOC_PERTURB_"])
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}"


def main(seconds: float) -> int:
    """All combinations, of which each gets its part of the time."""
    each = seconds / len(THREADS) / len(ENVIRONMENTS)
    failed = 0
    print(
        f"{'Julia threads':>13} {'Python threads':>14} {'with':>16} {'seconds':>8} {'seed':>7}"
        " operations"
    )
    for name, env in ENVIRONMENTS.items():
        for julia, python in THREADS:
            start = time.monotonic()
            done = stress(each, julia, python, env)
            seed = re.search(r"^seed (\d+)", done.stdout)
            operations = re.search(r"^operations (\d+)", done.stdout, re.M)
            print(
                f"{julia:13} {python:14} {name:>16} {time.monotonic() - start:8.0f}"
                f" {seed[1] if seed else '':>7} {operations[1] if operations else '':>10}",
                flush=True,
            )
            if done.returncode:
                failed += 1
                print(f"exit code {done.returncode}\n{done.stdout}", flush=True)
    print("all is well" if not failed else f"{failed} runs failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(float(sys.argv[1])))
