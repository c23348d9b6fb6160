"""Python packages that ship Julia code, and the example of one, from a wheel."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bufferbridge as bb
from bufferbridge import __main__ as cli
from bufferbridge import _find

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "kmeans1d"

BRIDGE = "1b0a2c5e-6f0b-4f7e-9d6e-3a5c3c8e4b11"
UUIDS = {name: f"b9e5a0ac-76e5-4b12-9b4e-0c2f0e5a3f{i:02}" for i, name in enumerate(
    ("ShipGeometry", "ShipHelper", "ShipOther", "ShipNowhere", "ShipBroken", "ShipRegistered")
)}  # fmt: skip


def project(name: str, *deps: str) -> str:
    lines = [f'name = "{name}"', f'uuid = "{UUIDS[name]}"', 'version = "0.1.0"', "", "[deps]"]
    return "\n".join([*lines, *(f'{dep} = "{UUIDS.get(dep, BRIDGE)}"' for dep in deps), ""])


def manifest(**paths: object) -> str:
    """A Manifest.toml of packages in folders, which both old and new versions of Julia read."""
    return "\n".join(
        f'[[{name}]]\npath = "{path}"\nuuid = "{UUIDS[name]}"\nversion = "0.1.0"\n'
        for name, path in paths.items()
    )


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def helper(says: str) -> dict[str, str]:
    return {
        "Project.toml": project("ShipHelper"),
        "src/ShipHelper.jl": f'module ShipHelper\nsays() = "{says}"\nend\n',
    }


INIT = "import bufferbridge as bb\n\nbb.package(__name__)\n"

GEOMETRY = """
"Geometry, in Julia."
module ShipGeometry
using BufferBridge
import ShipHelper

"The area of a rectangle."
@pyexport area(width::Float64, height::Float64)::Float64 = width * height
@pyexport helper()::String = ShipHelper.says()
@pyexport double!(v::Vector{Float64})::Nothing = (v .*= 2; nothing)
@pyexport hidden()::Int = 1
later() = Base.require(@__MODULE__, :ShipHelper).says()
end
"""

OTHER = """
module ShipOther
using BufferBridge
using ShipHelper
@pyexport helper()::String = ShipHelper.says()
end
"""


def geometry(folder: Path) -> Path:
    """A folder of Python packages, one of which has Julia code and versions of its own."""
    return write(
        folder,
        {
            "ship_geometry/__init__.py": f'"""Its docstring."""\n{INIT}\nhidden = lambda: 2\n',
            "ship_geometry/plain.py": "x = 1\n",
            "ship_geometry/Project.toml": project("ShipGeometry", "BufferBridge", "ShipHelper"),
            "ship_geometry/Manifest.toml": manifest(ShipHelper="deps/ShipHelper"),
            "ship_geometry/src/ShipGeometry.jl": GEOMETRY,
            **{f"ship_geometry/deps/ShipHelper/{k}": v for k, v in helper("shipped").items()},
        },
    )


def user_project(folder: Path) -> dict[str, str]:
    """The environment of a user who has another version of the helper."""
    write(folder / "Helper", helper("the user's"))
    files = {
        "Project.toml": f'[deps]\nShipHelper = "{UUIDS["ShipHelper"]}"\n',
        "Manifest.toml": manifest(ShipHelper=folder / "Helper"),
    }
    return {"JULIA_PROJECT": str(write(folder / "project", files))}


def contents(folder: Path) -> list[str]:
    paths = sorted(p for p in folder.rglob("*") if "__pycache__" not in p.parts)
    return [f"{p} {p.stat().st_mtime_ns}" for p in paths]


def test_a_package_with_versions_of_its_own(run_python, tmp_path):
    site = geometry(tmp_path / "site")
    env = user_project(tmp_path)
    before = contents(site)
    run_python(
        """
        import importlib, inspect, pickle
        import bufferbridge as bb
        import ship_geometry
        from ship_geometry import plain

        assert not hasattr(ship_geometry, "__wrapped__") and not hasattr(ship_geometry, "_private")
        assert ship_geometry.hidden() == 2
        assert bb.julia_version is None, "the import started Julia"

        from ship_geometry import area
        assert bb.julia_version is not None
        assert area(2.0, 3.0) == 6.0
        assert repr(area) == "<built-in function area>"
        assert area.__module__ == "ship_geometry"
        assert pickle.loads(pickle.dumps(area)) is area
        assert pickle.loads(pickle.dumps(ship_geometry.double_b)) is ship_geometry.double_b
        assert ship_geometry.__dict__["area"] is area
        assert str(inspect.signature(area)) == "(width, height, /)"
        assert {"area", "helper", "double_b", "hidden", "plain"} <= set(dir(ship_geometry))
        assert ship_geometry.__all__ == ["area", "double_b", "helper", "hidden"]
        assert ship_geometry.__doc__ == "Its docstring."
        assert ship_geometry.hidden() == 2, "Python's own names come first"
        names = {}
        exec("from ship_geometry import *", names)
        assert names["area"] is area

        # Its own version of the helper, also for what it loads later; the user's is not touched.
        assert ship_geometry.helper() == "shipped"
        assert ship_geometry.__julia__.later() == "shipped"
        assert list(bb.eval("LOAD_PATH"))[0] == "@"

        try:
            from ship_geometry import nosuch
        except ImportError as error:
            assert "nosuch" in str(error)
        try:
            ship_geometry.nosuch
        except AttributeError as error:
            assert "its typed exports are area, double_b" in str(error)
        assert importlib.reload(ship_geometry).area(1.0, 2.0) == 2.0
        from bufferbridge.jl import ShipGeometry
        assert ShipGeometry.area is area and ShipGeometry.__doc__ == "Geometry, in Julia."
        """,
        env={"PYTHONPATH": str(site), **env},
    )
    assert contents(site) == before  # it may be read-only


def test_without_versions_of_its_own_the_users_count(run_python, tmp_path):
    site = write(
        tmp_path / "site",
        {
            # With names of its own that are made when they are asked for.
            "ship_other/__init__.py": f"def __getattr__(name):\n    return name.upper()\n{INIT}",
            "ship_other/Project.toml": project("ShipOther", "BufferBridge", "ShipHelper"),
            "ship_other/src/ShipOther.jl": OTHER,
            # A second one, in the same process.
            "kmeans1d_julia": "",
        },
    )
    (site / "kmeans1d_julia").unlink()
    shutil.copytree(EXAMPLE / "kmeans1d_julia", site / "kmeans1d_julia")
    code = """
    from kmeans1d_julia import cluster
    from ship_other import abc, helper
    assert helper() == "the user's"
    assert abc == "ABC"
    assert list(cluster([1.0, 5.0, 1.5], 2).clusters) == [0, 1, 0]
    """
    run_python(code, env={"PYTHONPATH": str(site), **user_project(tmp_path)})


def git(*arguments: str, folder: Path) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def registry(depot: Path, folder: Path) -> None:
    """A registry in a depot, with one package, which is in a git repository in `folder`."""
    package = write(
        folder / "ShipRegistered",
        {
            "Project.toml": project("ShipRegistered"),
            "src/ShipRegistered.jl": 'module ShipRegistered\nsays() = "registered"\nend\n',
        },
    )
    git("init", "--quiet", folder=package)
    git("add", ".", folder=package)
    git("commit", "--quiet", "-m", "a version", folder=package)
    uuid = UUIDS["ShipRegistered"]
    write(
        depot / "registries" / "Local",
        {
            "Registry.toml": 'name = "Local"\nuuid = "b9e5a0ac-76e5-4b12-9b4e-0c2f0e5a3fee"\n'
            f'repo = "{folder}"\n'
            f'[packages]\n{uuid} = {{ name = "ShipRegistered", path = "S/ShipRegistered" }}\n',
            "S/ShipRegistered/Package.toml": f'name = "ShipRegistered"\nuuid = "{uuid}"\n'
            f'repo = "{package}"\n',
            "S/ShipRegistered/Versions.toml": '["0.1.0"]\n'
            f'git-tree-sha1 = "{git("rev-parse", "HEAD^{tree}", folder=package)}"\n',
        },
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_instantiate(run_python, tmp_path):
    depot = tmp_path / "depot"
    registry(depot, tmp_path)
    site = write(
        tmp_path / "site",
        {
            "ship_other/__init__.py": INIT,
            "ship_other/Project.toml": project("ShipOther", "BufferBridge", "ShipRegistered"),
            "ship_other/src/ShipOther.jl": OTHER.replace("ShipHelper", "ShipRegistered"),
        },
    )
    before = contents(site)
    env = {
        "PYTHONPATH": str(site),
        "JULIA_DEPOT_PATH": os.pathsep.join([str(depot), os.environ.get("JULIA_DEPOT_PATH", "")]),
        "JULIA_PKG_SERVER": "",
    }
    use = "import ship_other; print(ship_other.helper())"
    error = run_python(use, code_expected=1, env=env).stderr
    assert "ImportError: ship_other needs Julia packages that are not installed: Ship" in error
    assert "Run python -m bufferbridge instantiate ship_other\n" in error
    instantiate = "import sys; from bufferbridge.__main__ import main; "
    instantiate += "sys.exit(main(['instantiate', 'ship_other']))"
    done = run_python(instantiate, env=env)
    assert "Manifest.toml" in done.stdout
    assert run_python(use, env=env).stdout == "registered\n"
    assert contents(site) == before

    # With its Manifest.toml as a part of the package, where nothing is installed.
    (made,) = depot.glob("environments/bufferbridge/*/ShipOther-*/Manifest.toml")
    made.rename(site / "ship_other" / "Manifest.toml")
    for name in ("packages", "environments", "clones"):
        shutil.rmtree(depot / name, ignore_errors=True)
    run_python(instantiate, env=env)
    assert run_python(use, env=env).stdout == "registered\n"


def test_instantiate_has_nothing_to_do(capfd, tmp_path):
    assert cli.main(["instantiate", str(EXAMPLE / "kmeans1d_julia")]) == 0
    assert "nothing that has to be installed" in capfd.readouterr().out
    geometry(tmp_path)
    assert cli.main(["instantiate", str(tmp_path / "ship_geometry")]) == 0
    assert "nothing that has to be installed" in capfd.readouterr().out
    for name in ("no_such_package", "json", "a b"):
        assert cli.main(["instantiate", name]) == 1
        assert capfd.readouterr().err.startswith("error: ")


# ------------------------------------------------------------ what is wrong with a folder


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("ship_broken", None)


COMPLETE = {
    "__init__.py": INIT,
    "Project.toml": project("ShipBroken", "BufferBridge"),
    "src/ShipBroken.jl": "module ShipBroken\nend\n",
}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"Project.toml": None}, r"needs the file .*ship_broken/Project\.toml: there is none"),
        ({"Project.toml": '[deps]\nname = "ShipBroken"\n'}, "has no line name"),
        ({"Project.toml": 'name = "a b"\n'}, "has no line name"),
        ({"Project.toml": 'name = "ShipBroken"\n[deps]\nuuid = "1"\n'}, "has no line uuid"),
        ({"Project.toml": 'name = "ShipBroken"\nuuid = "12"\n'}, "has no line uuid"),
        ({"src/ShipBroken.jl": None}, r"there is no file .*/ship_broken/src/ShipBroken\.jl"),
    ],
)
def test_a_folder_that_is_no_package(site, files, message):
    everything = {k: v for k, v in {**COMPLETE, **files}.items() if v is not None}
    write(site / "ship_broken", everything)
    with pytest.raises(ImportError, match=message):
        importlib.import_module("ship_broken")
    assert "ship_broken" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_package", "__main__", "sys"])
def test_package_is_for_packages(name, monkeypatch):
    with pytest.raises(ImportError, match=r"bufferbridge\.package\(__name__\)|Project\.toml"):
        bb.package(name)
    with pytest.raises(TypeError, match="__name__"):
        bb.package(3)  # type: ignore[arg-type]


def test_julia_code_that_fails(run_python, tmp_path):
    """One process for all: each is a package of its own."""
    uuid = UUIDS["ShipBroken"][:-2]
    for i, (name, code) in enumerate(
        (
            ("ShipThrows", 'module ShipThrows\nerror("while loading")\nend\n'),
            ("ShipOtherName", "module Something\nend\n"),
            ("ShipSyntax", "module ShipSyntax\nx = (\nend\n"),
            ("ShipEmpty", "module ShipEmpty\nend\n"),
        )
    ):
        files = {
            "__init__.py": INIT,
            "Project.toml": f'name = "{name}"\nuuid = "{uuid}{i + 50}"\n',
            f"src/{name}.jl": code,
        }
        write(tmp_path / name.lower(), files)
    run_python(
        """
        import bufferbridge as bb
        for name in ("shipthrows", "shipothername", "shipsyntax"):
            module = __import__(name)
            try:
                module.f
            except ImportError as error:
                assert error.name == name and "could not be loaded" in str(error), error
                assert isinstance(error.__cause__, bb.JuliaError)
            else:
                raise AssertionError(name)
        assert "bb" in dir(module) and "f" not in dir(module)
        import shipempty
        assert not hasattr(shipempty, "f") and shipempty.__all__ == []
        assert not bb.eval('any(path -> occursin("shipthrows", path), LOAD_PATH)')
        """,
        env={"PYTHONPATH": str(tmp_path)},
    )


# ------------------------------------------------------------------------ the example


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The example package, built as a wheel and installed into a folder outside of the checkout."""
    folder = tmp_path_factory.mktemp("example")
    source = folder / "source"
    leftovers = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(EXAMPLE, source, ignore=leftovers)
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, source]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", folder / "site", wheel], check=True)
    shutil.copytree(EXAMPLE / "tests", folder / "tests")
    shutil.copy(EXAMPLE / "compare.py", folder)
    shutil.rmtree(source)
    return folder


def test_the_example_can_go_into_an_image(tmp_path):
    """All that makes one but the compiling, which tests/test_precompile.py has."""
    package = EXAMPLE / "kmeans1d_julia"
    statements, sources = tmp_path / "statements", tmp_path / "sources"
    statements.touch()
    julia = [_find.find().executable, "--startup-file=no", f"--project={package}"]
    image = ROOT / "jlsrc" / "image.jl"
    subprocess.run([*julia, image, statements, sources, "Kmeans1D"], check=True)
    assert str(package / "src" / "Kmeans1D.jl") in sources.read_text().splitlines()


def run_installed(installed: Path, *arguments: str) -> str:
    paths = [str(installed / "site"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_own_tests(installed):
    assert (installed / "site" / "kmeans1d_julia" / "src" / "Kmeans1D.jl").is_file()
    where = run_installed(installed, "-c", "import kmeans1d_julia as k; print(k.__file__)")
    assert where.startswith(str(installed / "site"))
    output = run_installed(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert " passed" in output
    assert "failed" not in output


def test_the_example_compared_with_kmeans1d(installed):
    pytest.importorskip("kmeans1d", reason="the package of PyPI is not installed")
    rows = run_installed(installed, "compare.py", "1000").splitlines()[1:]
    assert len(rows) == 6
    assert all(row.endswith(("the same", "as good")) for row in rows)
    # Measured: 2 to 10 times as fast, more for many clusters.
    assert max(float(row.split()[6]) for row in rows) > 1
