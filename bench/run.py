"""Runs the benchmarks and prints one line for each pair: ours, the baseline, and the ratio.

Usage: python bench/run.py [--json FILE]. The minimum of many rounds is what is compared: on a busy
machine it is the steadiest figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def measure(path: Path) -> dict[str, Any]:
    """pytest-benchmark's report of one run."""
    command = [sys.executable, "-m", "pytest", str(HERE), "-q", "--no-header", "--benchmark-only"]
    command += ["--benchmark-disable-gc", "--benchmark-max-time=0.5", f"--benchmark-json={path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also keep pytest-benchmark's report here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(options.json or Path(folder) / "bench.json")

    rows: dict[str, dict[str, Any]] = {}
    for b in report["benchmarks"]:
        info = b["extra_info"]
        row = rows.setdefault(b["group"], {"baseline statement": info["baseline"]})
        row[info["side"]] = b["stats"]["min"] / info["number"] * 1e9

    print(f"{'ours':20} {'with, in Julia':25} {'baseline':31} {'ours':>9} {'baseline':>9}  ratio")
    for group, row in rows.items():
        ours, baseline = row["ours"], row["baseline"]
        print(
            f"{group:46} {row['baseline statement']:31} {ours:6.0f} ns {baseline:6.0f} ns "
            f"{ours / baseline:6.2f}"
        )


if __name__ == "__main__":
    main()
