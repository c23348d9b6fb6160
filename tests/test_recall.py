"""What the last start found: used again as long as it is true, and never otherwise.

Most tests look for a Julia that is a shell script and start none, in a home of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import platformdirs
import pytest

from bufferbridge import _find, _image, _recall, _start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="used on Linux alone")

REAL = _find.find()  # before a test changes the environment
ROOT = Path(_start.__file__).parent.parent

HEAVY = {
    *("dataclasses", "json", "pathlib", "platformdirs", "re", "subprocess", "tempfile"),
    *("threading", "typing", "bufferbridge._find", "bufferbridge._image"),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, with a julia on PATH that answers the check, and a package that may be changed."""
    for name in os.environ:
        if name.startswith(("JULIA", "PYTHON_JULIAPKG", "CONDA_PREFIX", _find.ENVIRONMENT)):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / p) for p in ("a", "b")))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    shutil.copytree(_start.JLSRC, tmp_path / "jlsrc")
    monkeypatch.setattr(_start, "JLSRC", str(tmp_path / "jlsrc"))
    make_julia(tmp_path / "b" / "julia")
    return tmp_path


def make_julia(path: Path, version: str = "1.10.5") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    libjulia, image = path.parent / "libjulia.so.1", path.parent / "sys.so"
    libjulia.touch()
    image.touch()
    facts = {"version": version, "bindir": path.parent, "libjulia": libjulia, "image": image}
    lines = ["#!/bin/sh", *(f"echo 'bufferbridge-check {k}={v}'" for k, v in facts.items())]
    path.write_text("\n".join([*lines, "echo 'bufferbridge-check caught=thrown'"]))
    path.chmod(0o755)
    return path


def make_image(julia: _find.Julia | None = None, package: str = "", project: str = "") -> Path:
    """The library of an image that fits, for all projects or for one."""
    julia, package = julia or _find.find(), package or _start.JLSRC
    environment = _image.environment_of(project) if project else None
    folder = _image.folder_of(julia, package, environment)
    _find.make_folder(folder)
    library = folder / "sys.so"
    library.symlink_to(julia.image)
    record = {
        "format": _image.FORMAT,
        "identity": _image.identity(julia, package, environment),
        "packages": [],
        "dependencies": _image.dependencies(julia, package),
        "sources": {str(p): _image.signature(p) for p in Path(project).glob("*.jl") if project},
        "image": _image.signature(library),
    }
    (folder / "image.json").write_text(json.dumps(record))
    (folder / "image.json").chmod(0o600)
    return library


def look(**options: str) -> tuple[bool, tuple[str, ...]]:
    """Whether a start with these options looks itself, and what it finds."""
    looks = []

    def find(julia=None):
        looks.append(julia)
        return original(julia)

    original = _find.find
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_find, "find", find)
        found = _start._look(options)
    return bool(looks), found


def settle(**options: str) -> tuple[str, ...]:
    """What is found, and remembered from now on."""
    _, first = look(**options)
    assert look(**options) == (False, first)
    return first


def record() -> Path:
    (path,) = (_find.cache_file().parent / "starts").iterdir()
    return path


# --- Used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_image", [False, True])
def test_what_the_usual_start_imports(home, run_python, monkeypatch, with_image):
    monkeypatch.undo()  # a real Julia, in the real environment except for the cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv(_find.ENVIRONMENT, str(REAL.executable))
    image = make_image() if with_image else None
    # Without `site`, since what is installed there may import anything at the start of Python.
    folders = [str(ROOT), *{sysconfig.get_path(name) for name in ("purelib", "platlib")}]
    code = f"""
        import sys
        sys.path += {folders!r}
        before = set(sys.modules)
        import bufferbridge as bb
        assert bb.eval("1 + 1") == 2
        print(bb._start.session().found[-1])
        print(*sorted((set(sys.modules) - before) & {HEAVY!r}))
        print(bb._start.session().julia.executable)
    """
    first, second = (run_python(code, args=["-S"]).stdout.splitlines() for _ in range(2))
    assert "bufferbridge._find" in first[1]
    assert first[0] == str(image if with_image else REAL.image)
    assert second == [first[0], "", str(REAL.executable)]


def test_it_is_what_was_found(home):
    julia, library = _find.find(), make_image()
    found = settle()
    assert _find.Julia.of_text(found[:-1]) == julia
    assert found[-1] == str(library)


@pytest.mark.parametrize("where", ["install-julia", "juliapkg", "juliaup", "argument", "command"])
def test_wherever_julia_is(home, monkeypatch, where):
    folders = {
        "install-julia": "data/bufferbridge/julia/1.11.0",
        "juliapkg": "venv/julia_env/pyjuliapkg/install",
        "juliaup": ".julia/juliaup/julia-1.10.2+0.x",
    }
    (home / "b" / "julia").rename(home / "b" / "julia-1.10")
    executable = make_julia(home / folders.get(where, "there") / "bin" / "julia")
    if where == "argument":
        settle(julia=str(home / "there"))
    elif where == "command":
        monkeypatch.setenv(_find.ENVIRONMENT, "julia-1.10")
        executable = home / "b" / "julia-1.10"
        settle()
    else:
        assert settle()[5] == where
        executable.unlink()
        with pytest.raises(RuntimeError):
            look()
        return
    executable.unlink()
    with pytest.raises(FileNotFoundError):
        look(**({"julia": str(home / "there")} if where == "argument" else {}))


def test_other_threads_and_other_variables_are_the_same_question(monkeypatch):
    settle()
    monkeypatch.setenv("OTHER", "1")
    assert look(threads="2")[0] is False


def test_an_image_that_is_asked_for_is_not_remembered(home):
    for _ in range(2):
        assert look(sysimage=str(home / "b" / "sys.so"))[0]
    assert not (_find.cache_file().parent / "starts").exists()


def test_it_is_only_for_this_user():
    settle()
    assert record().stat().st_mode & 0o077 == record().parent.stat().st_mode & 0o077 == 0


def test_old_records_are_deleted(monkeypatch, home):
    for number in range(_recall.KEPT + 3):
        monkeypatch.setenv("JULIA_PROJECT", f"/{number}")
        look()
    assert len(list((_find.cache_file().parent / "starts").iterdir())) == _recall.KEPT
    assert look()[0] is False


@pytest.mark.parametrize("cache", [None, "", "relative", "/absolute", "/with/slash/", " /space"])
@pytest.mark.parametrize("user", [None, "", "relative", "/home/user", "/home/user/"])
def test_the_folder_is_that_of_platformdirs(monkeypatch, cache, user):
    for name, value in (("XDG_CACHE_HOME", cache), ("HOME", user)):
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    ours = _recall.cache_folder()
    if ours is None:  # nothing is remembered
        assert not ((user or "").startswith("/") and (cache or "/").startswith("/"))
    else:
        assert Path(ours) == Path(platformdirs.user_cache_dir("bufferbridge"))


# --- Not believed -------------------------------------------------------------------------------


def touch(path: Path) -> None:
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    "path", ["b/julia", "b/libjulia.so.1", "b/sys.so", "jlsrc/src/start.jl", "cache/.../julia.json"]
)
def test_a_changed_file(home, path):
    settle()
    touch(home / path.replace("...", "bufferbridge"))
    assert look()[0]
    settle()


def test_a_change_that_keeps_size_and_time(home):
    make_image()
    settle()
    path = home / "jlsrc" / "src" / "start.jl"
    text, times = path.read_bytes(), path.stat()
    path.write_bytes(text.replace(b"e", b"f"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    looked, found = look()
    assert looked and found[-1] == str(home / "b" / "sys.so")


def test_a_new_source(home):
    settle()
    (home / "jlsrc" / "src" / "new.jl").touch()
    assert look()[0]


def test_a_julia_earlier_on_path(home):
    settle()
    earlier = make_julia(home / "a" / "julia", "1.11.0")
    assert look()[1][0] == settle()[0] == str(earlier)
    earlier.chmod(0o644)  # no command any more
    looked, found = look()
    assert looked and found[0] == str(home / "b" / "julia")


def test_another_path(home, monkeypatch):
    settle()
    other = make_julia(home / "c" / "julia")
    monkeypatch.setenv("PATH", f"{home / 'c'}:{os.environ['PATH']}")
    assert look()[1][0] == str(other)


def test_another_julia_is_asked_for(home, monkeypatch):
    settle()
    other = make_julia(home / "c" / "bin" / "julia")
    assert look(julia=str(home / "c"))[1][0] == str(other)
    monkeypatch.setenv(_find.ENVIRONMENT, str(other))
    assert look()[1][0] == str(other)
    other.unlink()
    with pytest.raises(FileNotFoundError):
        look()


def test_a_newer_install(home):
    (home / "b" / "julia").unlink()
    root = home / "data" / "bufferbridge" / "julia"
    older = make_julia(root / "1.10.5" / "bin" / "julia")
    (root / "1.11.0" / "bin").mkdir(parents=True)  # empty as yet
    root.chmod(0o700)
    assert settle()[0] == str(older)
    newer = make_julia(root / "1.11.0" / "bin" / "julia")
    assert settle()[0] == str(newer)
    root.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="passed over"), pytest.raises(RuntimeError):
        look()


@pytest.mark.parametrize("relative", ["PATH", "julia", "home"])
def test_what_depends_on_the_current_folder_is_not_remembered(home, monkeypatch, relative):
    monkeypatch.chdir(home / "b")
    options = {"julia": "./julia"} if relative == "julia" else {}
    if relative != "julia":
        monkeypatch.setenv({"PATH": "PATH", "home": "HOME"}[relative], ".")
    for _ in range(2):
        assert look(**options)[0]


def test_a_current_folder_that_is_gone(home, monkeypatch):
    gone = home / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert _recall.question(_start.JLSRC, {"project": "relative"}) is None
    assert _recall.question(_start.JLSRC, {"project": b"/bytes"}) is None
    settle()
    monkeypatch.chdir(home)


def test_a_relative_project(home, monkeypatch):
    (home / "a").mkdir()
    for folder in ("a", "b"):
        monkeypatch.chdir(home / folder)
        monkeypatch.setenv("JULIA_PROJECT", "@.")
        assert look()[0]
        settle()
        assert look(project=".")[0]
        settle(project=".")


def test_a_julia_that_does_not_work_is_told_of_each_time(home):
    make_julia(home / "data" / "bufferbridge" / "julia" / "1.10.5" / "bin" / "julia")
    (home / "data" / "bufferbridge" / "julia").chmod(0o700)
    make_julia(home / "a" / "julia").write_text("#!/bin/sh\nexit 3\n")
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="looking further"):
            assert look()[0]


# --- Images -------------------------------------------------------------------------------------


def test_an_image_that_is_made_is_found_and_one_that_is_removed_is_not(home):
    settle()
    library = make_image()
    assert look() == (True, look()[1])
    assert settle()[-1] == str(library)
    shutil.rmtree(library.parent)
    assert settle()[-1] == str(home / "b" / "sys.so")


@pytest.mark.parametrize("name", ["image.json", "sys.so"])
@pytest.mark.parametrize("how", ["replaced", "removed", "touched"])
def test_an_image_that_has_changed(home, capsys, name, how):
    path = make_image().parent / name
    settle()
    if how == "replaced":
        path.rename(home / "old")
        shutil.copy(home / "old", path)
        path.chmod(0o600)
    elif how == "removed":
        path.unlink()
    else:
        touch(path)
    assert look()[0]
    hint = "is not used" in capsys.readouterr().err
    assert hint == (how == "removed" or name == "sys.so")
    # Where a hint was due, nothing is remembered.
    assert look()[0] == hint


def test_a_project_with_an_image_of_its_own(home, monkeypatch):
    project = home / "project"
    project.mkdir()
    (project / "a.jl").touch()
    common = make_image()
    assert settle(project=str(project))[-1] == settle()[-1] == str(common)
    monkeypatch.setenv("JULIA_PROJECT", str(project))
    assert settle()[-1] == str(common)
    special = make_image(project=str(project))
    assert settle()[-1] == settle(project=str(project))[-1] == str(special)
    touch(project / "a.jl")
    assert settle()[-1] == str(common)
    monkeypatch.setenv("JULIA_LOAD_PATH", "@stdlib")
    assert look()[0]


def test_another_processor(monkeypatch):
    settle()
    monkeypatch.setattr(_recall, "cpu", lambda: "another")
    assert look()[0]


def test_versions_beside_each_other(home, monkeypatch):
    library = make_image()
    settle()
    shutil.copytree(home / "jlsrc", home / "other")
    monkeypatch.setattr(_start, "JLSRC", str(home / "other"))
    assert look()[0]
    assert settle()[-1] == str(home / "b" / "sys.so")
    monkeypatch.setattr(_start, "JLSRC", str(home / "jlsrc"))
    assert look() == (False, look()[1])
    assert look()[1][-1] == str(library)
    monkeypatch.setattr(_recall, "FORMAT", _recall.FORMAT + 1)
    assert look()[0]


@pytest.mark.parametrize("name", _recall._LOOKING)
def test_another_version_in_the_same_place(home, monkeypatch, name):
    for file in _recall._LOOKING:
        shutil.copy(Path(_recall.__file__).with_name(file), home)
    monkeypatch.setattr(_recall, "__file__", str(home / "_recall.py"))
    settle()
    touch(home / name)
    assert look()[0]


# --- Whose files are believed -------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o777, 0o770])
@pytest.mark.parametrize("what", ["record", "starts", "cache", "julia.json", "images", "folder"])
def test_where_others_may_write_it_is_not_believed(home, capsys, what, mode):
    library = make_image()
    settle()
    cache = _find.cache_file().parent
    {
        "record": record(),
        "starts": cache / "starts",
        "cache": cache,
        "julia.json": cache / "julia.json",
        "images": cache / "images",
        "folder": library.parent,
    }[what].chmod(mode)
    looked, found = look()
    assert looked
    refused = what in ("cache", "images", "folder")
    assert (found[-1] != str(library)) == refused == ("others may" in capsys.readouterr().err)
    # A record is replaced by one of ours, and julia.json is; the others stay for the user to mend.
    assert look()[0] == (refused or what == "starts")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("what", ["record", "starts", "folder", "library"])
def test_what_others_own_is_not_believed(home, what):
    library = make_image()
    settle()
    starts = _find.cache_file().parent / "starts"
    paths = {"record": record(), "starts": starts, "folder": library.parent, "library": library}
    os.chown(paths[what], 12345, -1)
    looked, found = look()
    assert looked
    assert (found[-1] == str(library)) == (what in ("record", "starts"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"garbage",
        lambda content: os.urandom(len(content)),
        lambda content: b"\0" * len(content),
        lambda content: b"\xff" + content,
        *(lambda content, n=n: content[: len(content) * n // 10] for n in range(1, 10)),
        *(lambda content, n=n: content[:-n] for n in (1, 3, 4, 5, 6)),
        lambda content: content + b"\0",
        lambda content: content.replace(b"\x001.10.5\0", b"\0"),
        lambda content: content.replace(b"1:", b"2:"),
        lambda content: content.partition(b"\0\0")[0] + b"\0\0a\0\0b\0\0c\0\0end",
    ],
)
def test_a_damaged_record(damage):
    found = settle()
    record().write_bytes(damage(record().read_bytes()))
    assert look() == (True, found)
    assert look() == (False, found)


def test_a_record_of_another_question_with_the_same_name(monkeypatch):
    monkeypatch.setattr(_recall, "_file", lambda question: f"{_recall.cache_folder()}/starts/same")
    settle()
    assert look(project="/elsewhere")[0]
    assert look()[0]


def test_a_folder_in_its_place():
    settle()
    path = record()
    path.unlink()
    path.mkdir()
    for _ in range(2):
        assert look()[0]


def test_what_cannot_be_written(home):
    _find.find()
    (_find.cache_file().parent / "starts").write_text("a file where a folder should be")
    for _ in range(2):
        assert look()[0]


def test_what_changes_while_it_is_noted(home, monkeypatch):
    """Between the search and the facts: another look finds it, and nothing is remembered."""
    note = _recall._note

    def late(*args):
        make_julia(home / "a" / "julia", "1.11.0")
        note(*args)

    monkeypatch.setattr(_recall, "_note", late)
    assert look()[1][0] == str(home / "b" / "julia")
    assert look()[0]


def test_many_at_once(home):
    """Whoever reads finds a whole record or none, and nothing else is left there."""
    code = f"""
import sys
sys.prefix = {sys.prefix!r}
from bufferbridge import _find, _recall, _start
_start.JLSRC = {_start.JLSRC!r}
found, julia = _start._look({{}}), _find.find()
question = _recall.question(_start.JLSRC, {{}})
for _ in range(30):
    _recall.note(question, julia, found[-1], _start.JLSRC, {{}})
    assert _recall.answer(question) in (found, None)
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    settle()
    assert record().stat().st_size


def test_without_a_cache_julia_is_still_run_once_each_time(home, monkeypatch):
    settle()
    _find.cache_file().unlink()
    assert look()[0]
