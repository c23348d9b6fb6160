"""Measures the rows with one bridge, in this process: python measure.py BRIDGE [--quick].

Ours and the baseline take turns in short rounds, so that what else the machine does hits both, and
the least of many rounds counts: noise only ever adds. A round is a loop that timeit compiles; it is
long enough to have its share of what calls leave behind for Julia's collector. All that a row uses
is made anew several times, since it also matters where memory happens to lie. Prints JSON as the
last line.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import timeit
from collections.abc import Callable
from time import perf_counter
from typing import Any

from bridges import BRIDGES, Bridge, NotPossibleError
from rows import ROWS, Row

ROUND = 0.005  # seconds, at least
PLACES = 4


def take_turns(
    runs: list[Callable[[], float]], seconds: float, at_least: int = 1
) -> tuple[list[float], int]:
    """The least result of each, and how many rounds there were."""
    best = [float("inf")] * len(runs)
    rounds = 0
    end = perf_counter() + seconds
    while rounds < at_least or perf_counter() < end:
        best = [min(least, run()) for least, run in zip(best, runs)]
        rounds += 1
    return best, rounds


def run_of(statement: str, names: dict[str, Any], quick: bool) -> Callable[[], float]:
    """A function that runs the statement a number of times; seconds for one time."""
    timer = timeit.Timer(statement, globals=names)
    timer.timeit(2)  # compiles, and fills caches
    number = 1
    while not quick and timer.timeit(number) < ROUND:
        number *= 2
    return lambda: timer.timeit(number) / number


def measure(bridge: Bridge, row: Row, seconds: float, quick: bool) -> dict[str, Any]:
    """What the row costs; or, as "not possible", why it can't be had."""
    places = 1 if quick else PLACES
    kept = []  # so that the next place is another one
    found = []
    try:
        for _ in range(places):
            names = bridge.names(row)
            kept.append(names)
            if not eval(row.check, names):
                raise NotPossibleError("gives another result")
            runs = [run_of(statement, names, quick) for statement in (row.ours, row.baseline)]
            found.append(take_turns(runs, 0 if quick else seconds / places, 1 if quick else 2))
    except NotPossibleError as error:
        return {"not possible": str(error)}
    except Exception as error:  # what a bridge may raise where it can't do something
        text = str(error).strip().partition("\n")[0]
        return {"not possible": f"{type(error).__name__}: {text}"[:150]}
    ours, baseline = (min(best[side] for best, _ in found) / row.each for side in (0, 1))
    return {"ours": ours, "baseline": baseline, "rounds": sum(rounds for _, rounds in found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bridge", choices=BRIDGES)
    parser.add_argument("--seconds", type=float, default=0.8, help="for each row")
    parser.add_argument("--quick", action="store_true", help="one run of each statement")
    options = parser.parse_args()
    try:
        bridge = BRIDGES[options.bridge]()
    except ImportError as error:
        print(json.dumps({"missing": str(error).strip().partition("\n")[0]}))
        return
    rows = {}
    for row in ROWS:
        rows[row.key] = measure(bridge, row, options.seconds, options.quick)
        print(f"  {row.what}", file=sys.stderr, flush=True)
    versions = {"Python": platform.python_version(), "NumPy": bridge.data["np"].__version__}
    versions.update(bridge.versions())
    print(json.dumps({"versions": versions, "rows": rows}))


if __name__ == "__main__":
    main()
