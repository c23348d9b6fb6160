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


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> tuple[dict, str]:
    """What a run without peers saves and prints, one round a row."""
    file = tmp_path_factory.mktemp("bench") / "figures" / "bench.json"
    done = subprocess.run(
        [sys.executable, str(BENCH / "run.py"), "--quick", "--peers", "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text()), done.stdout


def test_figures(rows, quick):
    report, _ = quick
    about = report["surroundings"]
    assert {"when", "machine", "system", "cpu", "cores", "memory", "commit", "start"} <= set(about)
    assert set(report["bridges"]) == {"bufferbridge"}
    ours = report["bridges"]["bufferbridge"]
    assert {"bufferbridge", "Python", "NumPy", "Julia"} <= set(ours["versions"])
    assert set(ours["rows"]) == set(rows)
    for key, found in ours["rows"].items():
        if key == "typed" and "not possible" in found:
            continue
        assert found.get("not possible") is None, f"{key}: {found['not possible']}"
        assert found["rounds"] >= 1
        assert found["ours"] > 0
        assert found["baseline"] > 0


def test_table(rows, quick):
    report, output = quick
    lines = output.splitlines()
    assert lines[0].split() == ["what", "ours", "baseline", "costs", "ratio", "goal", "verdict"]
    table = lines[1 : len(rows) + 1]
    for row, line in zip(rows.values(), table):
        assert line.startswith(row.what)
        assert line.split()[-1] in ("ok", "over", "skipped")
    assert report["surroundings"]["commit"] in output


def test_page(rows, quick, tmp_path):
    """The page of the documentation is made of the same figures."""
    pytest.importorskip("matplotlib", reason="the plot is matplotlib's")
    report, _ = quick
    julia = report["bridges"]["bufferbridge"]["versions"]["Julia"].rpartition(".")[0]
    code = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(BENCH)!r})
import page
page.PAGE = Path("page.md")
begin, end = page.BEGIN.format({julia!r}), page.END.format({julia!r})
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
    for row in rows.values():
        assert f"| {row.what} |" in text
    assert "</svg>" in (tmp_path / f"performance-{julia}.svg").read_text()
