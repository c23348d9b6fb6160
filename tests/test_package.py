"""The package as others get it: without NumPy, as a wheel elsewhere, and its Julia half."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import bufferbridge as bb
from bufferbridge import _find

ROOT = Path(__file__).resolve().parent.parent

WITHOUT_NUMPY = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "numpy":
            raise ImportError("NumPy is blocked")

sys.meta_path.insert(0, Block())

import array
import bufferbridge as bb

x = bb.eval("reshape(collect(1.0:6.0), 2, 3)")
m = memoryview(x)
assert m.tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]] and m.f_contiguous
m[0, 0] = 10.0
assert x[0, 0] == 10.0 and bb.Base.sum(x) == 30.0
a = array.array("d", [1, 2, 3])
assert bb.eval("(x::Vector{Float64}) -> (x[1] = 42.0; sum(x))")(a) == 47.0 and a[0] == 42.0
x[:, 1:] = bb.wrap(b"\\x01\\x02")
assert m.tolist() == [[10.0, 1.0, 2.0], [2.0, 1.0, 2.0]]
assert x.__array_interface__["shape"] == (2, 3)
try:
    x.__array__()
except ImportError:
    pass
assert "numpy" not in sys.modules
print("works without numpy, from", bb.__file__)
"""


def test_without_numpy(run_python):
    assert "works without numpy" in run_python(WITHOUT_NUMPY).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the source distribution as build does it."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_carries_what_it_needs(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "bufferbridge/py.typed" in names
    assert "bufferbridge/_core.pyi" in names
    assert {"bufferbridge/jl/__init__.py", "bufferbridge/jl/__init__.pyi"} <= names
    scripts = {"Project.toml", "image.jl", "instantiate.jl"}
    assert {f"bufferbridge/jlsrc/{name}" for name in scripts} <= names
    sources = {f"bufferbridge/jlsrc/src/{p.name}" for p in (ROOT / "jlsrc" / "src").iterdir()}
    assert sources <= names
    assert any(n.startswith("bufferbridge/_native.") and n.endswith(".so") for n in names)
    assert not any(n.startswith(("tests/", "bench/", "csrc/")) for n in names)


def test_the_wheel_works_in_another_environment(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    for code in ("", "import sys; assert 'numpy' not in sys.modules\n"):
        done = subprocess.run(
            [python, "-c", code + WITHOUT_NUMPY],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert str(tmp_path / "env") in done.stdout
    done = subprocess.run(
        [python, "-m", "bufferbridge", "doctor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ".".join(map(str, bb.julia_version or _find.find().version)) in done.stdout


def test_the_julia_package():
    done = subprocess.run(
        [_find.find().executable, f"--project={ROOT / 'jlsrc'}", "--startup-file=no",
         ROOT / "jlsrc" / "test" / "runtests.jl"],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "without Python" in done.stdout


def test_versions_agree():
    project = (ROOT / "jlsrc" / "Project.toml").read_text()
    assert f'version = "{bb.__version__}"' in project
