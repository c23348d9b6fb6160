"""The precompiled system image: made, found, and left alone when it does not fit.

To compile an image takes minutes. So most tests have a julia that compiles nothing, and a C
compiler whose library is a copy of Julia's own image: all else is as it is. What is really compiled
is tried with BUFFERBRIDGE_TEST_PRECOMPILE=1 (`make test-image`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bufferbridge import __main__ as cli
from bufferbridge import _find, _image, _precompile, _start, _workload

JULIA = _find.find()

WHICH = "import bufferbridge as bb; print(bb.eval('unsafe_string(Base.JLOptions().image_file)'))"

COMMAND = """
import sys
from bufferbridge import _precompile, __main__ as cli
_precompile._WORKLOAD = _precompile._TRIAL = ["-c", ""]
sys.exit(cli.main(["precompile", *sys.argv[1:]]))
"""


def write_script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of our own, a depot of our own in front, and the two that compile nothing."""
    folder = tmp_path_factory.mktemp("precompile")
    julia = write_script(
        folder / "julia",
        f"""
        for option; do
            case $option in --output-o=*) object=${{option#--output-o=}} ;; esac
        done
        [ -n "$object" ] || exec {shlex.quote(str(JULIA.executable))} "$@"
        if [ -n "$FAKE_FAILS" ]; then echo "ERROR: $FAKE_FAILS" >&2; exit 1; fi
        if [ -n "$FAKE_SLEEPS" ]; then echo $$ > "$FAKE_SLEEPS"; exec sleep 300; fi
        touch "$object"
        for argument; do
            case $argument in */sources) echo "$FAKE_SOURCE" > "$argument" ;; esac
        done
        [ -n "$FAKE_SOURCE" ] || : > "${{object%/*}}/sources"
        """,
    )
    compiler = write_script(
        folder / "cc",
        f"""
        if [ -n "$LINK_FAILS" ]; then echo "ld: $LINK_FAILS" >&2; exit 1; fi
        while [ "$1" != -o ]; do shift; done
        exec cp {shlex.quote(str(JULIA.image))} "$2"
        """,
    )
    depot = os.environ.get("JULIA_DEPOT_PATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("BUFFERBRIDGE_JULIA", str(julia))
        patch.setenv("CC", str(compiler))
        patch.setenv("JULIA_DEPOT_PATH", f"{folder / 'depot'}:{depot}")
        patch.delenv("JULIA_PROJECT", raising=False)
        patch.setattr(_precompile, "_WORKLOAD", ["-c", ""])
        patch.setattr(_precompile, "_TRIAL", ["-c", ""])
        yield folder


@pytest.fixture(scope="module")
def made(surroundings: Path) -> _image.Image:
    """An image, made once."""
    return _precompile.precompile([])


@pytest.fixture
def image(made: _image.Image) -> Iterator[_image.Image]:
    """The same, to be changed: it is put back."""
    record = made.folder / "image.json"
    text, times = record.read_text(), os.stat(made.file)
    yield made
    for path in (made.folder.parent.parent, made.folder.parent, made.folder, made.file):
        path.chmod(0o700)
    if made.file.stat().st_size != times.st_size:
        os.truncate(made.file, times.st_size)  # its end was zeros of ours
    os.utime(made.file, ns=(times.st_atime_ns, times.st_mtime_ns))
    record.write_text(text)
    record.chmod(0o600)
    (made.folder / "told").unlink(missing_ok=True)


def look(project: str | None = None) -> _image.Image | None:
    return _image.look(_find.find(), _start.JLSRC, project)


def problem() -> str:
    found = look()
    assert found is not None
    assert found.problem is not None
    return found.problem


def edit(image: _image.Image, change) -> None:
    path = image.folder / "image.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def run(
    *arguments: str, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, **environment},
    )


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, without what takes long and is tried by itself."""
    return run("-c", COMMAND, *arguments, **environment)


# --- Used ---------------------------------------------------------------------------------------


def test_it_is_found_and_used(made):
    done = run("-W", "error", "-c", WHICH)
    assert (done.stdout.strip(), done.stderr) == (str(made.file), "")


def test_it_is_only_for_this_user(made):
    for path in (made.folder.parent, made.folder, made.file, made.folder / "image.json"):
        assert path.stat().st_mode & 0o077 == 0


def test_without_packages_it_is_for_every_project(made, tmp_path):
    found = look(str(tmp_path))
    assert found == made and found.problem is None


def test_another_image_that_is_asked_for_is_used(made):
    code = f"import bufferbridge as bb; bb.init(sysimage={str(JULIA.image)!r}); "
    done = run("-c", code + WHICH)
    assert (done.stdout.strip(), done.stderr) == (str(JULIA.image), "")


def test_a_relative_path_is_from_the_current_folder(run_python, tmp_path):
    (tmp_path / "link.so").symlink_to(JULIA.image)
    run_python("import bufferbridge as bb; bb.init(sysimage='link.so'); assert bb.eval('1+1') == 2")


def test_it_is_not_made_again_unless_asked(made, capsys):
    before = _image.signature(made.file)
    assert _precompile.precompile([]) == made
    assert "There is an image already" in capsys.readouterr().out
    assert _image.signature(made.file) == before


def test_another_processor_has_another_image(made, monkeypatch):
    monkeypatch.setattr(_image, "cpu", lambda: "another")
    assert look() is None


def test_the_processor_is_told():
    assert _image.cpu() == _image.cpu()
    assert _image.cpu().startswith(os.uname().machine)


def test_the_doctor_tells(image):
    assert f"precompiled  yes: {image.file}" in run("-m", "bufferbridge", "doctor").stdout
    image.file.chmod(0o777)
    assert "yes, and not used: others may write" in run("-m", "bufferbridge", "doctor").stdout


# --- Stale --------------------------------------------------------------------------------------


def test_a_stale_one_is_not_loaded_and_this_is_said_once(image):
    os.truncate(image.file, image.file.stat().st_size + 1)
    done = run("-W", "error", "-c", WHICH)
    assert done.stdout.strip() == str(JULIA.image)
    assert (
        "the precompiled image is not used: it is incomplete or damaged. `python -m" in done.stderr
    )
    again = run("-c", WHICH)
    assert (again.stdout.strip(), again.stderr) == (str(JULIA.image), "")


def test_standard_error_may_be_closed(image):
    os.truncate(image.file, image.file.stat().st_size + 1)
    done = run("-c", "import sys; sys.stderr = None; " + WHICH)
    assert done.stdout.strip() == str(JULIA.image)


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"format": 1, "packages": 3}'])
def test_a_damaged_record(image, text):
    (image.folder / "image.json").write_text(text)
    assert problem() == "it is incomplete or damaged"


@pytest.mark.parametrize("name", ["image.json", "sys.so"])
def test_a_missing_file(image, name):
    path = image.folder / name
    path.rename(path.parent / "elsewhere")
    try:
        assert problem() == "it is incomplete or damaged"
    finally:
        (path.parent / "elsewhere").rename(path)


def test_another_time_of_the_library(image):
    os.utime(image.file)
    assert problem() == "it is incomplete or damaged"


def test_bufferbridge_has_changed(image, monkeypatch, tmp_path):
    changed = _image.checksum(_start.JLSRC) + 1
    monkeypatch.setattr(_image, "checksum", lambda package: changed)
    assert problem() == "bufferbridge has changed since it was made"


def test_the_checksum_is_of_names_and_contents(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    sums = []
    for name, text in (("a.jl", "1"), ("a.jl", "2"), ("b.jl", ""), ("b.jl", "1")):
        (source / name).write_text(text)
        os.utime(source / name, (0, 0))
        sums.append(_image.checksum(str(tmp_path)))
    assert len(set(sums)) == len(sums)


@pytest.mark.parametrize("which", ["libjulia", "image"])
def test_julia_has_changed(image, which):
    path = str(getattr(JULIA, which))

    def change(record):
        assert record["dependencies"]["julia"][path] == _image.signature(path)
        record["dependencies"]["julia"][path] = [1, 2]

    edit(image, change)
    assert problem() == "Julia has changed since it was made"


def test_another_version_of_julia_at_the_same_place(image):
    edit(image, lambda record: record["dependencies"].update(version="1.4.0"))
    assert problem() == "Julia has changed since it was made"


def test_an_image_of_another_format(image):
    edit(image, lambda record: record.update(format=0))
    assert problem() == "it was made by another version of bufferbridge"


def test_a_source_of_a_package_has_changed(image, tmp_path):
    source = tmp_path / "source.jl"
    source.write_text("1")
    was = {str(source): _image.signature(source)}
    edit(image, lambda record: record.update(sources=was))
    assert look().problem is None
    source.write_text("12")
    assert problem() == f"{source} has changed since it was made"
    source.unlink()
    assert problem() == f"{source} has changed since it was made"


@pytest.mark.parametrize("which", ["file", "record", "folder", "images", "parent"])
def test_where_others_may_write_it_is_not_used(image, which):
    path = {
        "file": image.file,
        "record": image.folder / "image.json",
        "folder": image.folder,
        "images": image.folder.parent,
        "parent": image.folder.parent.parent,
    }[which]
    path.chmod(0o777)
    assert problem().startswith("others may write to")
    if which == "folder":
        for _ in range(2):  # each time
            done = run("-c", WHICH)
            assert "others may write" in done.stderr
            assert done.stdout.strip() == str(JULIA.image)
        assert not (image.folder / "told").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_others_own_is_not_used(image, which):
    path = getattr(image, which)
    os.chown(path, 12345, -1)
    try:
        assert problem().startswith("others may write to")
    finally:
        os.chown(path, 0, -1)


# --- Environments -------------------------------------------------------------------------------


def test_with_packages_it_is_for_one_environment(made, tmp_path, monkeypatch, capsys):
    project = tmp_path / "project"
    project.mkdir()
    source = project / "source.jl"
    source.write_text("1")
    monkeypatch.setenv("FAKE_SOURCE", str(source))
    done = command("Dates", "Dates", "--project", str(project))
    assert done.returncode == 0, done.stderr
    with_package = look(str(project))
    assert with_package.packages == ["Dates"]
    assert look(str(project)) == with_package
    assert look() == made == look(str(tmp_path))
    # A project that is named by the environment, or is a relative path, is the same.
    monkeypatch.chdir(tmp_path)
    assert look("project") == with_package
    monkeypatch.setenv("JULIA_PROJECT", str(project))
    assert look() == with_package
    monkeypatch.setenv("JULIA_LOAD_PATH", "@stdlib")
    assert look() == made
    monkeypatch.delenv("JULIA_LOAD_PATH")
    # One that is stale gives way to the one without packages.
    source.write_text("12")
    assert look() == made
    record = made.folder / "image.json"
    record.rename(record.parent / "elsewhere")
    try:
        _image.find(_find.find(), _start.JLSRC, None)
    finally:
        (record.parent / "elsewhere").rename(record)
    hint = capsys.readouterr().err
    assert f"{source} has changed since it was made. `" in hint
    assert f"precompile --project {project} Dates` makes a new one." in hint


def test_a_project_that_is_looked_for_from_the_current_folder(tmp_path, monkeypatch):
    before = _image.environment_of("@.")
    monkeypatch.chdir(tmp_path)
    assert _image.environment_of("@.") != before
    assert _image.environment_of("@named")[0] == "@named"


# --- What goes wrong in the making --------------------------------------------------------------


def leftovers(image: _image.Image) -> list[str]:
    return [path.name for path in image.folder.parent.glob(".making-*")]


def test_no_compiler(made, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC")
    with pytest.raises(_precompile.PrecompileError, match="apt-get install gcc"):
        _precompile.precompile([], force=True)
    assert look() == made


def test_julia_fails(made):
    done = command("Nowhere", FAKE_FAILS="ArgumentError: Package Nowhere not found")
    assert done.returncode == 1
    assert "error: Julia could not compile the image (exit status 1)" in done.stderr
    assert "Package Nowhere not found" in done.stderr
    assert look() == made and leftovers(made) == []


def test_linking_fails(made):
    done = command("--force", LINK_FAILS="cannot find crti.o")
    assert done.returncode == 1
    assert "could not link the image (exit status 1):\n  ld: cannot find crti.o" in done.stderr
    assert look() == made and leftovers(made) == []


def test_an_image_that_does_not_work_is_not_put_in_place(made, monkeypatch):
    monkeypatch.setattr(_precompile, "_TRIAL", ["-c", "import os; os.abort()"])
    with pytest.raises(_precompile.PrecompileError, match=r"does not work \(signal 6\)"):
        _precompile.precompile([], force=True)
    assert look() == made and leftovers(made) == []


def test_no_room(made, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(_precompile.PrecompileError, match="1 MB of free space"):
        _precompile.precompile([], force=True)
    assert look() == made


def test_a_folder_that_others_may_write_to(image):
    image.folder.parent.chmod(0o777)
    with pytest.raises(_precompile.PrecompileError, match="others may write"):
        _precompile.precompile([])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_making_changes_nothing(made, tmp_path, number):
    started = tmp_path / "started"
    arguments = [sys.executable, "-c", COMMAND, "--force"]
    # A shell may have had SIGINT ignored, which is inherited.
    program = "import signal, sys, os; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "FAKE_SLEEPS": str(started)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not (started.exists() and started.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) in (130, -signal.SIGINT, -signal.SIGKILL)
    compiling = int(started.read_text())
    if number == signal.SIGINT:
        assert leftovers(made) == []
        with pytest.raises(ProcessLookupError):
            os.kill(compiling, 0)
    else:
        os.kill(compiling, signal.SIGKILL)
        assert len(leftovers(made)) == 1
        _precompile._tidy(made.folder.parent)
        assert leftovers(made) == []
    assert look() == made


def test_an_interrupt_while_a_process_is_started(made, monkeypatch, tmp_path):
    """Popen has the process, but has not yet given it to anybody."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    monkeypatch.setenv("FAKE_SLEEPS", str(tmp_path / "started"))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _precompile.precompile([], force=True)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert started and started[-1].poll() == -signal.SIGKILL
    assert look() == made and leftovers(made) == []


def test_one_at_a_time(made):
    with open(made.folder.parent / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-um", "bufferbridge", "precompile"],
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("Waiting for another process")
            fcntl.flock(file, fcntl.LOCK_UN)
            assert process.stdout.readline().startswith("There is an image already")


def test_images_that_nobody_will_use_are_deleted(made):
    def copied(name: str, change) -> Path:
        folder = made.folder.parent / name
        folder.mkdir()
        record = json.loads((made.folder / "image.json").read_text())
        change(record)
        (folder / "image.json").write_text(json.dumps(record))
        return folder

    gone = {str(made.folder / "gone"): [1, 2]}
    copies = [
        copied("julia-is-gone", lambda record: record["dependencies"].update(julia=gone)),
        copied("changed", lambda record: record["dependencies"].update(bufferbridge=0)),
        copied("package-is-gone", lambda record: record["identity"].update(package="/nowhere")),
        copied("old-format", lambda record: record.update(format=0)),
    ]
    kept = copied("another-cpu", lambda record: record["identity"].update(cpu="another"))
    _precompile._tidy(made.folder.parent)
    assert [copy for copy in copies if copy.exists()] == []
    assert made.file.exists() and kept.exists()
    shutil.rmtree(kept)


def test_remove(surroundings, made, tmp_path, monkeypatch):
    shutil.copytree(surroundings / "cache", tmp_path / "cache", ignore=lambda *_: ["sys.so"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    there = sum(path.is_dir() for path in made.folder.parent.iterdir())
    assert command("--remove").stdout == f"Images deleted: {there}\n"
    assert look() is None
    assert command("--remove").stdout == "Images deleted: 0\n"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    assert _precompile.remove() == 0


def test_the_progress_bar_is_optional(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.delitem(sys.modules, "bufferbridge._precompile")
    with contextlib.suppress(AttributeError):
        monkeypatch.delattr("bufferbridge._precompile")
    assert cli.main(["precompile"]) == 1
    assert 'pip install "bufferbridge[julia]"' in capsys.readouterr().err


# Before 1.9 these compile for a minute and a half.
SLOW = pytest.mark.skipif(
    JULIA.version < (1, 9, 0) and "BUFFERBRIDGE_TEST_PRECOMPILE" not in os.environ,
    reason="compiles for long; set BUFFERBRIDGE_TEST_PRECOMPILE=1 to run",
)


@pytest.mark.parametrize("piece", ["definitions", "callbacks", "errors", "output"])
def test_the_workload(piece):
    getattr(_workload, piece)()


@SLOW
@pytest.mark.parametrize("piece", ["values", "arrays", "buffers"])
def test_the_rest_of_the_workload(piece):
    getattr(_workload, piece)()


# --- Really -------------------------------------------------------------------------------------

NAMED = """
module Named
f(x) = x + 1
precompile(f, (Int,))
end
"""

NAMED_ID = 'Base.PkgId(Base.UUID("3fe8a7d4-53b7-4d7f-9a6e-2f8f0f0c9a11"), "Named")'


@pytest.mark.skipif(
    "BUFFERBRIDGE_TEST_PRECOMPILE" not in os.environ,
    reason="compiles for minutes; set BUFFERBRIDGE_TEST_PRECOMPILE=1 to run",
)
def test_a_real_image_with_a_package(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BUFFERBRIDGE_JULIA", str(JULIA.executable))
    monkeypatch.delenv("CC", raising=False)
    source = tmp_path / "project" / "src" / "Named.jl"
    source.parent.mkdir(parents=True)
    source.write_text(NAMED)
    uuid = NAMED_ID.split('"')[1]
    (tmp_path / "project" / "Project.toml").write_text(f'name = "Named"\nuuid = "{uuid}"\n')
    project = str(tmp_path / "project")
    done = run("-m", "bufferbridge", "precompile", "Named", "--project", project, timeout=900)
    assert done.returncode == 0, done.stderr

    code = f"""
import bufferbridge as bb
bb.init(project={project!r})
print(bb.eval('unsafe_string(Base.JLOptions().image_file)'))
print(bb.eval('haskey(Base.loaded_modules, {NAMED_ID})'))
print(bb.eval('import Named; Named.f(1)'))
print(bb.eval('Base.active_project()'))
print(bb.eval('first(DEPOT_PATH) != "" && isdir(Sys.BINDIR) && isempty(ARGS)'))
try:
    bb.eval('f(x) = error(x)\\nf("text")')
except bb.JuliaError as e:
    print('entry' not in e.backtrace and 'f' in e.backtrace)
"""
    image = look(project)
    assert image is not None and image.problem is None
    done = run("-c", code)
    expected = [str(image.file), "True", "2", f"{project}/Project.toml", "True", "True"]
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")
    assert look() is None  # another environment
    source.write_text(NAMED + "\n")
    done = run("-c", code)
    assert done.stdout.splitlines()[:3] == [str(JULIA.image), "False", "2"]
    assert "src/Named.jl has changed since" in done.stderr
