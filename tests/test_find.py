"""Which Julia is used: the order, the check, the cache and the errors, with fake Julias."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from bufferbridge import __main__ as cli
from bufferbridge import _find

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the fake Julias are shell scripts")

FakeJulia = Callable[..., Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any Julia."""
    for name in os.environ:
        if name.startswith(("JULIA", "PYTHON_JULIAPKG", "CONDA_PREFIX", _find.ENVIRONMENT)):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("PATH", str(home / "path"))
    monkeypatch.setattr(sys, "prefix", str(home / "venv"))
    return home


@pytest.fixture
def fake(home: Path) -> FakeJulia:
    """Make an executable that answers the check as a Julia of some version would."""

    def make(folder: str, version: str = "1.10.5", *, then: str = "", name: str = "julia") -> Path:
        executable = home / folder / name
        executable.parent.mkdir(parents=True, exist_ok=True)
        libjulia, image = executable.parent / "libjulia.so.1", executable.parent / "sys.so"
        libjulia.touch()
        image.touch()
        facts = {
            "version": version,
            "bindir": executable.parent,
            "libjulia": libjulia,
            "image": image,
        }
        lines = ["#!/bin/sh", f"echo run >> {shlex.quote(str(executable))}.log"]
        lines += [f"echo 'bufferbridge-check {key}={value}'" for key, value in facts.items()]
        lines += [then, "echo 'bufferbridge-check caught=thrown'"]
        executable.write_text("\n".join(lines))
        executable.chmod(0o755)
        return executable

    return make


def runs(executable: Path) -> int:
    log = Path(f"{executable}.log")
    return len(log.read_text().splitlines()) if log.exists() else 0


# --- Order --------------------------------------------------------------------------------------

EVERYWHERE = {
    "PATH": "path",
    "install-julia": "data/bufferbridge/julia/1.11.0/bin",
    "juliapkg": "venv/julia_env/pyjuliapkg/install/bin",
    "juliaup": ".juliaup/bin",
}


def test_order_of_search(fake: FakeJulia) -> None:
    executables = {source: fake(folder) for source, folder in EVERYWHERE.items()}
    for source, executable in executables.items():
        found = _find.find()
        assert (found.source, found.executable) == (source, executable)
        executable.unlink()
    with pytest.raises(_find.JuliaNotFoundError):
        _find.find()


def test_argument_before_environment_before_path(
    fake: FakeJulia, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("path")
    variable, argument = fake("variable/bin"), fake("argument/bin")
    monkeypatch.setenv("BUFFERBRIDGE_JULIA", str(variable))
    assert _find.find().executable == variable
    assert _find.find().source == "BUFFERBRIDGE_JULIA"
    assert _find.find(argument).executable == argument


@pytest.mark.parametrize("layout", ["bin", "usr/bin", "."])
def test_argument_may_be_a_folder(fake: FakeJulia, home: Path, layout: str) -> None:
    executable = fake(f"there/{layout}")
    assert _find.find(home / "there").executable == executable


def test_argument_may_be_a_command_or_start_with_the_home(fake: FakeJulia) -> None:
    executable = fake("path", name="julia-1.9")
    assert _find.find("julia-1.9").executable == executable
    assert _find.find("~/path/julia-1.9").executable == executable


def test_facts(fake: FakeJulia) -> None:
    executable = fake("path", "1.12.0-rc1")
    julia = _find.find()
    assert julia.version == (1, 12, 0)
    assert julia.version_string == "1.12.0-rc1"
    assert julia.bindir == julia.libdir == executable.parent
    assert julia.libjulia.name == "libjulia.so.1"
    assert julia.image.name == "sys.so"


def test_newest_install_first_and_unfinished_never(fake: FakeJulia, home: Path) -> None:
    root = "data/bufferbridge/julia"
    newest = fake(f"{root}/1.10.8/bin", "1.10.8")
    older = fake(f"{root}/1.5.3-debian/usr/bin", "1.5.3")
    fake(f"{root}/.installing-x/1.12.0/bin", "1.12.0")
    fake(f"{root}/.installing-y/bin", "1.12.0")
    assert _find.installed() == [newest, older]


def test_newest_juliaup_release_before_prereleases(fake: FakeJulia) -> None:
    folders = ["julia-1.9.4+0.x", "julia-1.13.0-beta1+0.x", "julia-1.10.2+0.x", "julia-nightly"]
    made = [fake(f".julia/juliaup/{folder}/bin") for folder in folders]
    found = [candidate.executable for candidate in _find.candidates()]
    assert found == [made[2], made[0], made[1]]


def test_juliapkg_options(fake: FakeJulia, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = fake("project/pyjuliapkg/install/bin")
    monkeypatch.setenv("PYTHON_JULIAPKG_PROJECT", str(home / "project"))
    assert _find.find().executable == project
    chosen = fake("chosen")
    monkeypatch.setenv("PYTHON_JULIAPKG_EXE", str(chosen))
    assert _find.find().executable == chosen


def test_juliapkg_outside_of_environments(fake: FakeJulia, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    executable = fake(".julia/environments/pyjuliapkg/pyjuliapkg/install/bin")
    assert _find.find().executable == executable


def test_one_julia_is_one_candidate(fake: FakeJulia, home: Path) -> None:
    launcher = fake(".juliaup/bin")
    (home / "path").mkdir()
    (home / "path" / "julia").symlink_to(launcher)
    assert [candidate.source for candidate in _find.candidates()] == ["PATH"]


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(_find.JuliaNotFoundError):
        _find.find()


# --- What does not work -------------------------------------------------------------------------


def test_nothing_found_names_the_ways_out() -> None:
    with pytest.raises(_find.JuliaNotFoundError) as caught:
        _find.find()
    for way in ("python -m bufferbridge install-julia", "juliaup", "BUFFERBRIDGE_JULIA"):
        assert way in str(caught.value)
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize("value", ["/nonesuch/julia", "nonesuch", "."])
def test_asking_for_what_is_not_there(
    fake: FakeJulia, home: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    fake("path")
    home.joinpath("empty").mkdir()
    monkeypatch.chdir(home / "empty")
    with pytest.raises(FileNotFoundError, match="argument asks for Julia at"):
        _find.find(value)
    monkeypatch.setenv("BUFFERBRIDGE_JULIA", value)
    with pytest.raises(FileNotFoundError, match="BUFFERBRIDGE_JULIA asks for Julia at"):
        _find.find()


BROKEN = {
    "kill -SEGV $$": "crashed with signal SIGSEGV when an exception was thrown and caught",
    "exit 139": "crashed with signal SIGSEGV when an exception was thrown and caught",
    "echo ERROR: out of order >&2; echo more >&2; exit 1": "exit status 1: ERROR: out of order",
    "exit 0": "did not answer as Julia does",
    "exec /bin/sleep 60": "did not answer within 0.5 seconds",
    # The child keeps the pipes open when the shell itself has been killed.
    "/bin/sleep 60": "did not answer within 0.5 seconds",
}


@pytest.mark.parametrize("then", BROKEN)
def test_broken_julia(fake: FakeJulia, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    monkeypatch.setattr(_find, "CHECK_TIMEOUT", 0.5 if "sleep" in then else 60)
    broken = fake("path", then=then)
    with pytest.raises(RuntimeError, match=BROKEN[then]):
        _find.find(broken)
    good = fake(EVERYWHERE["juliaup"])
    with pytest.warns(RuntimeWarning, match=BROKEN[then]):
        assert _find.find().executable == good
    good.unlink()
    with pytest.warns(RuntimeWarning), pytest.raises(_find.JuliaNotFoundError, match=BROKEN[then]):
        _find.find()


def test_crash_at_the_start(fake: FakeJulia) -> None:
    broken = fake("path")
    broken.write_text("#!/bin/sh\nkill -ABRT $$\n")
    with pytest.raises(RuntimeError, match="crashed with signal SIGABRT as it started"):
        _find.find(broken)


@pytest.mark.parametrize("then", ["", "exit 1", "kill -SEGV $$"])
def test_too_old(fake: FakeJulia, then: str) -> None:
    with pytest.raises(RuntimeError, match=r"it is Julia 1\.4\.2, and 1\.5 is the oldest"):
        _find.find(fake("path", "1.4.2", then=then))


def test_not_executable(fake: FakeJulia) -> None:
    executable = fake("there")
    executable.write_text("not a program")
    executable.chmod(0o644)
    with pytest.raises(_find.UnusableJuliaError, match="cannot be started: "):
        _find.find(executable)


def test_environment_of_the_check(fake: FakeJulia, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"JULIA_DEPOT_PATH": "/depot", "JULIAUP_CHANNEL": "lts"}
    cleared = {"JULIA_BINDIR": "/x", "JULIA_LOAD_PATH": "", "JULIA_NUM_THREADS": "many"}
    for name, value in {**kept, **cleared}.items():
        monkeypatch.setenv(name, value)
    tests = [f'[ "${name}" = {value} ]' for name, value in kept.items()]
    tests += [f'[ -z "${{{name}+set}}" ]' for name in cleared]
    assert _find.find(fake("path", then=f"{' && '.join(tests)} || exit 1"))


# --- Cache --------------------------------------------------------------------------------------


def test_second_start_runs_nothing(fake: FakeJulia, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("path")
    first = _find.find()

    def forbidden(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a subprocess was started")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    assert _find.find() == first


def test_cache_is_private(fake: FakeJulia) -> None:
    fake("path")
    _find.find()
    assert stat.S_IMODE(_find.cache_file().parent.stat().st_mode) == 0o700
    assert [path.name for path in _find.cache_file().parent.iterdir()] == ["julia.json"]


def test_replaced_executable_is_checked_again(fake: FakeJulia) -> None:
    executable = fake("path", "1.10.5")
    _find.find()
    fake("path", "1.11.1", then=":")
    assert _find.find().version == (1, 11, 1)
    assert runs(executable) == 2


def test_link_to_another_julia_is_checked_again(fake: FakeJulia, home: Path) -> None:
    link = home / "julia"
    for version in ("1.10.5", "1.11.11"):
        link.unlink(missing_ok=True)
        link.symlink_to(fake(version, version))
        julia = _find.find(link)
        assert (julia.version_string, julia.executable) == (version, link)


@pytest.mark.parametrize("name", ["libjulia.so.1", "sys.so"])
def test_missing_library_is_checked_again(fake: FakeJulia, name: str) -> None:
    executable = fake("path")
    _find.find()
    (executable.parent / name).unlink()
    _find.find()
    assert runs(executable) == 2


def test_changed_default_of_juliaup_is_checked_again(fake: FakeJulia, home: Path) -> None:
    launcher = fake(".juliaup/bin")
    _find.find()
    config = home / ".julia" / "juliaup" / "juliaup.json"
    config.parent.mkdir(parents=True)
    config.write_text("{}")
    _find.find()
    assert runs(launcher) == 2


def test_bad_julia_is_cached_for_a_while_unless_asked_for(
    fake: FakeJulia, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = fake("path", then="exit 1")
    fake(EVERYWHERE["juliaup"])
    for _ in range(2):
        with pytest.warns(RuntimeWarning):
            _find.find()
    assert runs(broken) == 1
    with pytest.raises(RuntimeError):
        _find.find(broken)
    assert runs(broken) == 2
    monkeypatch.setattr(_find, "BAD_LIFETIME", 0.0)
    with pytest.warns(RuntimeWarning):
        _find.find()
    assert runs(broken) == 3


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"format": 1}', '{"format": 1, "entries": 3}', '{"format": 0}', "\0"],
)
def test_damaged_cache_is_ignored_and_replaced(fake: FakeJulia, content: str) -> None:
    executable = fake("path")
    _find.cache_file().parent.mkdir(parents=True)
    _find.cache_file().write_text(content)
    _find.find()
    _find.find()
    assert runs(executable) == 1


@pytest.mark.parametrize("entry", [None, [], {}, {"outcome": {}}, {"outcome": {"x": 1}}])
def test_damaged_entry_is_ignored(fake: FakeJulia, entry: object) -> None:
    executable = fake("path")
    _find.find()
    content = {"format": 1, "entries": {str(executable): entry}}
    _find.cache_file().write_text(json.dumps(content))
    _find.find()
    assert runs(executable) == 2


def test_cache_that_cannot_be_written(fake: FakeJulia, home: Path) -> None:
    fake("path")
    (home / "cache").write_text("a file where a folder should be")
    assert _find.find().version == (1, 10, 5)


# --- Doctor -------------------------------------------------------------------------------------


def test_doctor_checks_anew_and_reports_all(
    fake: FakeJulia, capsys: pytest.CaptureFixture[str]
) -> None:
    fake("path", "1.4.0")
    good = fake(EVERYWHERE["install-julia"], "1.11.0")
    fake(EVERYWHERE["juliaup"], "1.12.1")
    with pytest.warns(RuntimeWarning):
        _find.find()
    assert cli.main(["doctor"]) == 0
    assert runs(good) == 2
    output = capsys.readouterr().out
    assert "Skipped: " in output and "1.5 is the oldest" in output
    assert "1.11.0, from install-julia" in output
    assert "Also there: Julia 1.12.1" in output
    assert str(_find.cache_file()) in output


def test_doctor_without_a_julia(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 1
    assert "python -m bufferbridge install-julia" in capsys.readouterr().out


@pytest.mark.parametrize("exists", [False, True])
def test_doctor_with_a_bad_variable(
    fake: FakeJulia,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    exists: bool,
) -> None:
    fake("path")
    if exists:
        fake("asked", then="exit 3")
    monkeypatch.setenv("BUFFERBRIDGE_JULIA", str(home / "asked" / "julia"))
    assert cli.main(["doctor"]) == 1
    assert "BUFFERBRIDGE_JULIA" in capsys.readouterr().out


# --- Whose files are run ------------------------------------------------------------------------


def test_a_bare_name_is_no_file_of_the_current_folder(
    fake: FakeJulia, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = fake("here")
    monkeypatch.chdir(home / "here")
    with pytest.raises(FileNotFoundError):
        _find.find("julia")
    executable = fake("path")
    assert _find.find("julia").executable == executable
    assert _find.find("./julia").executable == planted


def test_without_a_home_nothing_of_the_current_folder_is_run(
    fake: FakeJulia, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a user with neither a home nor an entry in passwd has: "~" stays as it is.
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    fakes = [
        fake(f"here/~/{folder}")
        for folder in (
            ".juliaup/bin",
            ".julia/juliaup/julia-1.10.2+0.x/bin",
            ".julia/environments/pyjuliapkg/pyjuliapkg/install/bin",
            ".local/share/bufferbridge/julia/1.11.0/bin",
        )
    ]
    executable = fake("path", then="exit 1")
    cached = {"version": "1.10.5", "libjulia": str(fakes[0]), "image": str(fakes[0])}
    entry = {"signature": _find._signature(executable), "checked": 0, "outcome": cached}
    cache = home / "here" / "~" / ".cache" / "bufferbridge" / "julia.json"
    cache.parent.mkdir(parents=True)
    cache.write_text(json.dumps({"format": 1, "entries": {str(executable): entry}}))
    monkeypatch.chdir(home / "here")
    with pytest.warns(RuntimeWarning), pytest.raises(_find.JuliaNotFoundError):
        _find.find()
    assert [runs(planted) for planted in fakes] == [0, 0, 0, 0]


@pytest.mark.parametrize("mode", [0o777, 0o770])
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_cache_that_others_can_write_is_not_believed(
    fake: FakeJulia, mode: int, what: str
) -> None:
    executable = fake("path")
    _find.find()
    cache = _find.cache_file()
    (cache if what == "file" else cache.parent).chmod(mode)
    _find.find()
    assert runs(executable) == 2


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_a_cache_of_somebody_else_is_not_believed(fake: FakeJulia) -> None:
    executable = fake("path")
    _find.find()
    os.chown(_find.cache_file(), 1, -1)
    _find.find()
    assert runs(executable) == 2


def test_installs_that_others_can_write_are_passed_over(fake: FakeJulia, home: Path) -> None:
    executable = fake(EVERYWHERE["install-julia"])
    _find.install_root().chmod(0o777)
    with (
        pytest.warns(RuntimeWarning, match="others may write there"),
        pytest.raises(_find.JuliaNotFoundError),
    ):
        _find.find()
    assert runs(executable) == 0


def test_folders_are_private_whatever_the_umask(fake: FakeJulia, home: Path) -> None:
    fake("path")
    before = os.umask(0)
    try:
        _find.find()
        _find.make_folder(_find.install_root())
    finally:
        os.umask(before)
    for folder in (_find.cache_file().parent, _find.install_root()):
        for part in (folder, *folder.parents):
            if part == home:
                break
            assert stat.S_IMODE(part.stat().st_mode) == 0o700, part
    assert stat.S_IMODE(_find.cache_file().stat().st_mode) == 0o600
