"""Making a system image: what `python -m bufferbridge precompile` does.

`precompile` has Julia write an image with the package BufferBridge, what ordinary uses of it need
(`bufferbridge._workload`) and the packages that the user names; the C compiler makes a library of
it. It appears in its place, where `bufferbridge._image` looks, complete and tried, or not at all.
One of before is used until then, and one process at a time makes images.
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
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NoReturn

from tqdm import tqdm

from . import _find, _image, _start

_TEMPORARY = ".making-"

_PACKAGE = _start.JLSRC

# Arguments of Python: what is traced, with a file and options of Julia's; and how an image is tried
# before it takes its place.
_WORKLOAD = ["-m", "bufferbridge._workload"]
_TRIAL = [
    "-c",
    "import sys; import bufferbridge as bb; bb.init(sysimage=sys.argv[1]); bb.eval('1+1')",
]


class PrecompileError(RuntimeError):
    """No image could be made; the message says why and what to do."""


def precompile(
    packages: list[str], *, project: str | None = None, force: bool = False
) -> _image.Image:
    """Make the image for the Julia that a start would use, and say on standard output how it goes.

    `packages` are names of Julia packages in the environment of `project` (by default that of a
    start without one). Nothing is done if there is an image with them already, unless `force`.
    Raises PrecompileError, and RuntimeError or FileNotFoundError if there is no Julia.
    """
    julia = _find.find()
    packages = sorted(set(packages))
    root = _image.root()
    if not root.is_absolute():
        raise PrecompileError("there is no folder for caches: set HOME or XDG_CACHE_HOME.")
    try:
        _find.make_folder(root)
        for folder in (root.parent, root):
            if not _find.is_ours(folder):
                raise PrecompileError(
                    f"others may write to {folder}, and what is in it is run by you: chmod go-w it."
                )
        with _lock(root):
            return _Maker(julia, packages, project).make(force)
    except OSError as error:
        raise PrecompileError(f"the image could not be made: {error}.") from error


def remove() -> int:
    """Delete all images of this user, whatever they are for; how many there were."""
    root = _image.root()
    if not root.is_absolute() or not root.is_dir():
        return 0
    with _lock(root):
        folders = [folder for folder in root.iterdir() if folder.is_dir()]
        for folder in folders:
            shutil.rmtree(folder)
    return len(folders)


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Only one process at a time. The system unlocks when the process ends, however it does."""
    with open(root / "lock", "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another process that is making an image.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Maker:
    def __init__(self, julia: _find.Julia, packages: list[str], project: str | None) -> None:
        self.julia = julia
        self.packages = packages
        self.project = project
        # Without packages an image is good for every project.
        self.environment = _image.environment_of(project) if packages else None
        self.folder = _image.folder_of(julia, _PACKAGE, self.environment)

    def make(self, force: bool) -> _image.Image:
        """With the lock."""
        there = _image.examine(self.folder, self.julia, _PACKAGE, self.environment)
        if there and there.problem is None and there.packages == self.packages and not force:
            print(f"There is an image already: {there.file}")
            print("(--force makes it again, --remove deletes it.)")
            self._tell_times(there)
            return there
        compiler = _compiler()
        root = self.folder.parent
        _tidy(root)
        # An object, the library, and Julia's own image is what both are like.
        needed = 3 * self.julia.image.stat().st_size
        free = shutil.disk_usage(root).free
        if free < needed:
            raise PrecompileError(
                f"{root} has {free >> 20} MB of free space, and {needed >> 20} MB are needed. Make "
                "room, or set XDG_CACHE_HOME to a folder elsewhere."
            )
        print(f"Making an image for Julia {self.julia.version_string}, which takes some minutes.")
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=root) as temporary:
            made = self._build(Path(temporary), compiler)
            self._put_in_place(made)
        image = _image.examine(self.folder, self.julia, _PACKAGE, self.environment)
        if image is None or image.problem is not None:
            problem = "it is not there" if image is None else image.problem
            raise PrecompileError(f"the image that was made can't be used: {problem}.")
        size, seconds = image.file.stat().st_size >> 20, time.monotonic() - started
        print(f"Made {image.file} ({size} MB) in {seconds:.0f} s.")
        self._tell_times(image)
        return image

    def _tell_times(self, image: _image.Image) -> None:
        """What it is good for. Of two runs the shorter one: the first may read from the disk."""

        def seconds(file: Path) -> float:
            started = time.perf_counter()
            trial = [sys.executable, *_TRIAL, str(file)]
            _run(trial, self._python_environment(), "Julia does not start", lambda: None)
            return time.perf_counter() - started

        files = (image.file, self.julia.image)
        after, before = (min(seconds(file) for _ in range(2)) for file in files)
        print(
            f"A process has its first result after {after:.2f} s, without the image {before:.2f} s."
        )

    def _build(self, work: Path, compiler: list[str]) -> Path:
        """A folder with an image that works, and its record."""
        made = work / "made"
        made.mkdir(mode=0o700)
        statements, sources, image_object = work / "statements", work / "sources", work / "sys.o.a"
        base = f"--sysimage={self.julia.image}"
        # What is in package images (Julia 1.9 and later) would not be compiled and not be traced.
        options = ["--pkgimages=no"] if self.julia.version >= (1, 9, 0) else []
        # Before anything is read: what changes from now on makes the image stale.
        record = {
            "format": _image.FORMAT,
            "identity": _image.identity(self.julia, _PACKAGE, self.environment),
            "packages": self.packages,
            "dependencies": _image.dependencies(self.julia, _PACKAGE),
        }
        library = made / "sys.so"
        workload = [sys.executable, *_WORKLOAD, str(statements), base, *options]
        julia = [str(self.julia.executable), "--startup-file=no", base, *options]
        if self.environment is not None and self.environment[0]:
            julia.append(f"--project={self.project or os.environ['JULIA_PROJECT']}")
        julia += ["--cpu-target=native", f"--output-o={image_object}"]
        julia += [os.path.join(_PACKAGE, "image.jl"), str(statements), str(sources), *self.packages]
        link = [*compiler, "-shared", "-o", str(library)]
        link += ["-Wl,--whole-archive", str(image_object), "-Wl,--no-whole-archive"]
        trial = [sys.executable, *_TRIAL, str(library)]
        for_python, for_julia = self._python_environment(), self._julia_environment()
        with _bar(4) as bar:
            for step, command, environment, failure in (
                ("trying ordinary uses", workload, for_python, "the uses failed"),
                ("compiling", julia, for_julia, "Julia could not compile the image"),
                ("linking", link, dict(os.environ), f"{compiler[0]} could not link the image"),
                ("trying the image", trial, for_python, "the image that was made does not work"),
            ):
                bar.set_description(f"  {step}")
                _run(command, environment, failure, bar.refresh)
                bar.update()
        lines = sources.read_text(encoding="utf-8").splitlines()
        record["sources"] = {path: _image.signature(path) for path in lines}
        record["image"] = _image.signature(library)
        (made / "image.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        for file in made.iterdir():
            file.chmod(0o600 if file.suffix == ".json" else 0o700)
        return made

    def _put_in_place(self, made: Path) -> None:
        """A process that starts meanwhile finds the one image, the other, or none."""
        if self.folder.exists():
            self.folder.rename(made.parent / "replaced")
        made.rename(self.folder)

    def _python_environment(self) -> dict[str, str]:
        return {
            **self._julia_environment(),
            _find.ENVIRONMENT: str(self.julia.executable),
            "PYTHONWARNINGS": "ignore",
        }

    def _julia_environment(self) -> dict[str, str]:
        kept = ("JULIA_LOAD_PATH", "JULIA_PROJECT") if self.packages else ()
        return {
            **_find.clean_environment(),
            **{name: os.environ[name] for name in kept if name in os.environ},
        }


def _compiler() -> list[str]:
    for command in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
        words = shlex.split(command)
        if shutil.which(words[0]) is not None:
            return words
    raise PrecompileError(
        "a C compiler is needed to link the image, and none was found: install one (Debian: "
        "apt-get install gcc libc6-dev), or set CC to yours."
    )


def _tidy(root: Path) -> None:
    """Delete what will never be used again, and what killed processes left."""
    for folder in root.iterdir():
        if folder.name.startswith(_TEMPORARY) or (folder.is_dir() and _is_outdated(folder)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_outdated(folder: Path) -> bool:
    """Whether an image is for a Julia or a bufferbridge that is not there any more."""
    try:
        record = json.loads((folder / "image.json").read_text(encoding="utf-8"))
        if record["format"] != _image.FORMAT:
            return True
        before, package = record["dependencies"], record["identity"]["package"]
        if record["identity"]["cpu"] != _image.cpu():
            return False  # another machine's, which may have what this one has not
        return (
            any(_image.signature(path) != was for path, was in before["julia"].items())
            or _image.checksum(package) != before["bufferbridge"]
        )
    except (OSError, ValueError, TypeError, KeyError):
        return True


def _run(
    command: list[str], environment: dict[str, str], failure: str, tick: Callable[[], object]
) -> None:
    """Run `command`, with a tick each second; whatever ends the wait ends its children too."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = None
        try:
            with _interrupts_held_back():
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            while True:
                try:
                    code = process.wait(1)
                    break
                except subprocess.TimeoutExpired:
                    tick()
        except BaseException:
            if process is not None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            raise
        if code != 0:
            output.seek(0)
            said = output.read().strip().splitlines() or ["nothing was printed"]
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            if code == -signal.SIGKILL:
                how += ", perhaps for want of memory: 4 GB are needed"
            raise PrecompileError("\n  ".join([f"{failure} ({how}):", *said[:12]]))


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt after the block: in the midst of Popen it would leave a
    process that nobody knows of."""
    came: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        signal.raise_signal(signal.SIGINT)


def _bar(steps: int) -> tqdm[NoReturn]:
    # The steps don't tell how far they are, so what moves is the clock.
    # disable=None: no bar where standard error is not a terminal.
    layout = "{desc:<22}|{bar}| {n_fmt}/{total_fmt} {elapsed}"
    return tqdm(total=steps, bar_format=layout, leave=False, disable=None)
