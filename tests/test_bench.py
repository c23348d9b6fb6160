"""The benchmarks run, and give every row: what they measure is not looked at, since it varies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="the benchmarks compare with NumPy")

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture(scope="module")
def rows() -> dict[str, tuple]:
    """The rows as bench/rows.py has them, by their keys."""
    sys.path.insert(0, str(BENCH))
    try:
        import rows
    finally:
        sys.path.remove(str(BENCH))
    found = [*rows.ROWS, *rows.PROCESS_ROWS]
    assert len({row.key for row in found}) == len(found)
    return {row.key: row for row in found}


def test_run(rows, tmp_path):
    """A run without peers, one round a row: what it saves and prints."""
    file = tmp_path / "figures" / "bench.json"
    done = subprocess.run(
        [sys.executable, str(BENCH / "run.py"), "--quick", "--peers", "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    report = json.loads(file.read_text())
    about = report["surroundings"]
    assert {"when", "machine", "system", "cpu", "cores", "memory", "commit", "start"} <= set(about)
    assert set(report["bridges"]) == {"bufferbridge"}
    ours = report["bridges"]["bufferbridge"]
    assert {"bufferbridge", "Python", "NumPy", "Julia"} <= set(ours["versions"])
    assert set(ours["rows"]) == set(rows)
    for key, found in ours["rows"].items():
        assert found.get("not possible") is None, f"{key}: {found['not possible']}"
        assert found["rounds"] >= 1
        assert found["ours"] > 0
        assert found["baseline"] > 0

    heading, *table = done.stdout.splitlines()
    assert heading.split() == ["what", "ours", "baseline", "costs", "ratio", "goal", "verdict"]
    for row, line in zip(rows.values(), table):
        assert line.startswith(row.what)
        assert line.split()[-1] in ("ok", "over", "skipped")
    assert about["commit"] in done.stdout


def test_page(rows, tmp_path):
    """The documentation's tables and plot, of figures that are made up here, with a peer."""
    pytest.importorskip("matplotlib", reason="the plot is matplotlib's")
    measured = {key: {"ours": 2e-9 * row.goal, "baseline": 1e-9} for key, row in rows.items()}
    measured["call"]["ours"] = 1.5e-9
    versions = {"Julia": "1.99.0"}
    report = {
        "surroundings": {
            "when": "2000-01-01T00:00:00",
            "system": "a system",
            "cpu": "a CPU",
            "cores": 2,
            "memory": 2**30,
            "load": [0, 0, 0],
            "commit": "abc",
            "start": "as installed",
        },
        "bridges": {
            "bufferbridge": {"versions": versions, "rows": measured},
            "juliacall": {
                "versions": versions,
                "rows": {**measured, "typed": {"not possible": "a reason"}},
            },
        },
    }
    code = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(BENCH)!r})
import page
page.PAGE = Path("page.md")
begin, end = page.BEGIN.format("1.99"), page.END.format("1.99")
page.PAGE.write_text("before\\n" + begin + "old" + end + "after\\n")
page.update(json.load(sys.stdin))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(report),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| f(1, 2), f = (a, b) -> a + b | 1.5 ns | `add(1, 2)` | 1 ns | 1.50 | 4 | ok |" in text
    assert "| f(1, 2), typed export | 3.00 | (a) |" in text
    assert "(a) a reason" in text
    for row in rows.values():
        assert text.count(f"| {row.what} |") == 2
    assert "</svg>" in (tmp_path / "performance-1.99.svg").read_text()
