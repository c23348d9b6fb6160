"""Runs the benchmarks: one table of what is compared, ours, the baseline, their ratio and the goal.

    python bench/run.py                 the table, and all figures as JSON in .benchmarks/bench.json
    python bench/run.py --docs          the tables and plots of docs/performance.md too

Each bridge is measured in a process of its own (two Julias don't fit into one), one after the
other: bufferbridge, then its peers, where they are installed. The exit code is 0 whatever the
ratios: a timing is no reason to fail.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bridges import BRIDGES, PEER_NAMES
from measure import take_turns
from rows import PROCESS_ROWS, ROWS, ProcessRow

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
JSON = ROOT / ".benchmarks" / "bench.json"

#: One thread each, also for BLAS, in all that is compared.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JULIA_NUM_THREADS": "1",
}


# --- measuring ---


def measure(bridge: str, python: str, options: argparse.Namespace) -> dict[str, Any]:
    """All rows with one bridge: {"versions": ..., "rows": ...}, or {"missing": why}."""
    command = [python, str(HERE / "measure.py"), bridge, "--seconds", str(options.seconds)]
    command += ["--quick"] * options.quick
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"missing": f"exit code {done.returncode}"}
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "missing" not in report:
        words = {
            "python": python,
            "own_python": sys.executable,
            "julia": report["versions"].pop("executable", ""),
            "start": BRIDGES[bridge].start,
            "imports": BRIDGES[bridge].imports,
        }
        for row in PROCESS_ROWS:
            if row.key in BRIDGES[bridge].impossible:
                report["rows"][row.key] = {"not possible": BRIDGES[bridge].impossible[row.key]}
            else:
                report["rows"][row.key] = measure_processes(row, words, options)
    return report


def measure_processes(
    row: ProcessRow, words: dict[str, str], options: argparse.Namespace
) -> dict[str, Any]:
    def run_of(command: list[str]) -> Callable[[], float]:
        command = [word.format_map(words) for word in command]

        def run() -> float:
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return float(done.stdout) if row.inner else time.perf_counter() - start

        return run

    runs = [run_of(command) for command in [row.ours, *row.baselines]]
    seconds = 6 * options.seconds * (not options.quick)
    try:
        take_turns(runs, 0)  # reads the files into memory, and compiles what is compiled once
        best, rounds = take_turns(runs, seconds, 1 if options.quick else 5)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or "").strip().rpartition("\n")[2]
        return {"not possible": f"exit code {error.returncode}: {reason}"[:150]}
    return {"ours": best[0], "baseline": sum(best[1:]), "rounds": rounds}


def precompile(python: str) -> str:
    """Make what makes our start fast, if this version can; how the start was measured."""
    command = [python, "-m", "bufferbridge", "precompile"]
    known = subprocess.run([*command, "--help"], capture_output=True, check=False)
    if known.returncode:
        return "as installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        return "as installed; `python -m bufferbridge precompile` failed"
    return "after `python -m bufferbridge precompile`"


def surroundings() -> dict[str, Any]:
    """What the figures depend on."""

    def cpu() -> str:
        try:
            lines = Path("/proc/cpuinfo").read_text().splitlines()
        except OSError:
            lines = []
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return next(names, platform.processor() or "an unknown CPU")

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, "
        + " ".join(platform.libc_ver()),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg(),
        "commit": git("rev-parse", "--short", "HEAD") + (" with changes" if changed else ""),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    os.environ.update(ENVIRONMENT)
    report: dict[str, Any] = {"surroundings": surroundings(), "bridges": {}}
    made = "as installed" if options.quick else precompile(sys.executable)
    report["surroundings"]["start"] = made
    for bridge in BRIDGES:
        if bridge != "bufferbridge" and bridge not in options.peers:
            continue
        ours = bridge == "bufferbridge"
        for python in [sys.executable] if ours else [sys.executable, *options.peer_python]:
            print(f"{bridge}, with {python}", file=sys.stderr, flush=True)
            found = measure(bridge, python, options)
            if "missing" not in found:
                break
        if "missing" not in found:
            report["bridges"][bridge] = found
        elif ours:
            raise SystemExit(f"bufferbridge can't be measured: {found['missing']}")
        else:
            print(f"{bridge} is skipped: {found['missing']}", flush=True)
    return report


# --- showing ---


def in_words(seconds: float) -> str:
    """A time with three digits."""
    for unit, size in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def ratio_of(found: dict[str, Any] | None) -> float | None:
    """Ours in baselines, if it was measured."""
    return found["ours"] / found["baseline"] if found and "ours" in found else None


def ratio_in_words(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 99.5 else f"{ratio:,.0f}"


def table(report: dict[str, Any]) -> tuple[list[list[str]], list[str]]:
    """Rows of cells, the headings first, peers last; and the notes that letters in cells stand for.

    Ratios of peers are to baselines of their own processes.
    """
    bridges = report["bridges"]
    peers = [name for name in PEER_NAMES if name in bridges]
    cells = [["what", "ours", "baseline", "costs", "ratio", "goal", "verdict", *peers]]
    letters: dict[str, str] = {}

    def ratio_or_letter(found: dict[str, Any]) -> str:
        ratio = ratio_of(found)
        if ratio is not None:
            return ratio_in_words(ratio)
        return f"({letters.setdefault(found['not possible'], chr(ord('a') + len(letters)))})"

    for row in [*ROWS, *PROCESS_ROWS]:
        found = bridges["bufferbridge"]["rows"][row.key]
        ratio = ratio_of(found)
        verdict = "skipped" if ratio is None else "ok" if ratio <= row.goal else "over"
        times = [in_words(found[side]) if ratio else "" for side in ("ours", "baseline")]
        line = [row.what, times[0], row.baseline, times[1]]
        line += [ratio_or_letter(found), f"{row.goal:g}", verdict]
        cells.append(line + [ratio_or_letter(bridges[peer]["rows"][row.key]) for peer in peers])
    return cells, [f"({letter}) {reason}" for reason, letter in letters.items()]


def conditions(report: dict[str, Any]) -> list[str]:
    """The machine, and each bridge's versions."""
    about = report["surroundings"]
    memory = f"{about['memory'] / 2**30:.0f} GB"
    lines = [
        f"{about['cores']} cores of {about['cpu']}, {memory}, {about['system']}, "
        f"load {about['load'][0]:.1f} before, {about['when'][:10]}, commit {about['commit']}",
        f"The start was measured {about['start']}.",
    ]
    for bridge, found in report["bridges"].items():
        versions = ", ".join(f"{name} {v}" for name, v in found["versions"].items())
        lines.append(f"{bridge}: {versions}")
    return lines


def as_text(report: dict[str, Any]) -> str:
    cells, notes = table(report)
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for line in cells:
        padded = [
            cell.ljust(width) if column in (0, 2, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join([*lines, "", *notes, "", *conditions(report)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=JSON, help="where the figures are kept")
    parser.add_argument("--show", action="store_true", help="measure nothing; show that file")
    parser.add_argument("--quick", action="store_true", help="one run of each: does it work?")
    parser.add_argument("--seconds", type=float, default=0.8, help="for each row")
    parser.add_argument(
        "--peers", nargs="*", choices=PEER_NAMES, default=PEER_NAMES, help="which (default: all)"
    )
    parser.add_argument(
        "--peer-python",
        action="append",
        default=[],
        metavar="PYTHON",
        help="another environment's Python in which to look for peers",
    )
    parser.add_argument("--docs", action="store_true", help="update docs/performance.md")
    options = parser.parse_args()
    if options.show:
        report = json.loads(options.json.read_text())
    else:
        report = run(options)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(as_text(report))
    if options.docs:
        import page

        page.update(report)


if __name__ == "__main__":
    main()
