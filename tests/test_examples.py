"""The examples run, say what they promise, and leave with 0."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(name: str, folder: Path, *arguments: str) -> str:
    """What an example prints, run from `folder`, with this checkout's bufferbridge importable."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name} left with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_terrain(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the terrain example draws with matplotlib")
    picture = tmp_path / "pictures" / "terrain.png"
    output = run("terrain.py", tmp_path, "--output", str(picture))
    assert "Every array has one address on both sides" in output
    table = output.split("\n\n")[1].splitlines()[2:]
    assert len(table) == 11
    assert all(row.endswith("yes") for row in table)
    *_, after = output.splitlines()
    assert "'pinned_buffers': 0" in after
    assert "'exports': 0" in after
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.stat().st_size > 50_000


def test_tanks(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="the tanks example has a pandas frame")
    pytest.importorskip("polars", reason="the tanks example has a polars frame")
    output = run("tanks.py", tmp_path, "--rows", "5000")
    assert "5000 rows, 200 tanks" in output
    assert "Julia over the polars frame" in output
    assert output.endswith("at the end: 0 exports\n")


def test_stars(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the stars example draws with matplotlib")
    picture = tmp_path / "pictures" / "stars.png"
    output = run("stars.py", tmp_path, "--output", str(picture))
    assert "6834 x 36 bytes   PyStridedArray of PyRecord" in output
    assert "16 x 32 bytes   Array of PoleStar" in output
    table = output.split("\n\n")[1].splitlines()[2:]
    assert len(table) == 16
    assert [row.split()[:2] for row in table if row.endswith("0.5\u00b0")] == [["2103", "Polaris"]]
    assert "6834 stars moved to the year 13800, in place" in output
    assert "NumPy computes the same from the file" in output
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.stat().st_size > 50_000


def test_without_numpy(tmp_path: Path) -> None:
    output = run("without_numpy.py", tmp_path)
    assert "sorted by Julia, in place: [1.0, 2.0, 3.0]" in output
    assert "the last number in the file: 1000000.0" in output
    assert "format 'd', shape (2, 3), strides (8, 16)" in output
    assert output.endswith("All of this without NumPy.\n")


def test_own_module(tmp_path: Path) -> None:
    pytest.importorskip("numpy", reason="the example keeps its bodies in NumPy's memory")
    output = run("own_module.py", tmp_path)
    assert "Sun and Jupiter: 2 bodies at t = 0.0" in output
    assert "caught by `except ValueError`" in output
    assert "np.asfortranarray" in output
    assert "its fields: bodies (1, 2), time 0.774" in output


def test_nelder_mead(tmp_path: Path) -> None:
    output = run("nelder_mead.py", tmp_path)
    assert "Julia: x = [1.0, 1.0, 1.0, 1.0]" in output
    assert "none was copied" in output
    assert "ended by a callback after 50 iterations" in output
    if importlib.util.find_spec("scipy") is not None:
        assert output.endswith("the same point\n")


def test_scipy_drives(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="the example is about scipy's solvers")
    output = run("scipy_drives.py", tmp_path)
    assert output.count("no copies") == 4
    assert "the same path" in output
    assert "an error in the function: BoundsError" in output


def test_dask_blocks(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the example runs on dask[distributed,array]")
    output = run("dask_blocks.py", tmp_path, "--gigabytes", "0.05", "--workers", "1")
    assert "0.0 GB in 6 blocks" in output
    assert output.endswith("\nas expected\n")
