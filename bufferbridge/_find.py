"""Which Julia to use.

`find` returns a Julia that was seen to start, to be new enough and to survive an exception, or
raises an error that says what to do. What it learns about an executable is kept in a cache file,
so that only the first start with a given Julia pays for a subprocess.

This module is imported when Julia is started, and by the command line; `import bufferbridge`
does without it. Every start waits for it, so what only a search or a check needs is imported there.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple, Union

import platformdirs

from ._recall import is_ours as is_ours  # noqa: PLC0414  (for others too)

#: The oldest Julia that bufferbridge works with.
MINIMUM = (1, 5)

#: Seconds that an executable has to answer the check.
CHECK_TIMEOUT = 60.0

#: Seconds for which a Julia that failed the check is passed over without another look. What broke
#: it may lie outside the executable (a library of the system, say) and be mended unseen.
BAD_LIFETIME = 24 * 3600.0

ENVIRONMENT = "BUFFERBRIDGE_JULIA"

# Raised whenever the check or the layout of the cache changes, which discards older caches.
_CACHE_FORMAT = 1

_EXE = "julia.exe" if os.name == "nt" else "julia"

# Where the executable is in the folder of an installation.
_INSIDE = (f"bin/{_EXE}", f"usr/bin/{_EXE}", _EXE)

_INSTALL_COMMAND = "python -m bufferbridge install-julia"

_REMEDIES = f"""\
  - run `{_INSTALL_COMMAND}`;
  - install Julia yourself, with juliaup or from https://julialang.org/downloads, so that `julia` \
is on PATH;
  - set {ENVIRONMENT}, or pass bb.init(julia=...), to a Julia executable or the folder Julia was \
installed in."""

# The facts are printed before anything is thrown: so a crash tells by what is missing whether
# it came at the start or with the exception. The exception is thrown in a compiled function,
# since a broken libunwind survives one from top-level code.
_CHECK = r"""
using Libdl
say(key, value) = println("bufferbridge-check ", key, "=", value)
say("version", VERSION)
say("bindir", realpath(Sys.BINDIR))
say("libjulia", realpath(first(filter(p -> startswith(basename(p), "libjulia."), dllist()))))
say("image", realpath(unsafe_string(Base.JLOptions().image_file)))
flush(stdout)
thrower(x) = x > 0 ? throw(ErrorException("thrown")) : x
function catcher(x)
    try
        thrower(x)
        "nothing thrown"
    catch err
        isempty(catch_backtrace()) ? "no backtrace" : err.msg
    end
end
say("caught", catcher(length(ARGS) + 1))
"""

PathLike = Union[str, "os.PathLike[str]"]


class JuliaNotFoundError(RuntimeError):
    """No usable Julia was found; the message names the ways to get one."""


class UnusableJuliaError(RuntimeError):
    """A Julia is there and cannot be used; `problem` says why in one line."""

    def __init__(self, executable: Path, source: str, problem: str) -> None:
        super().__init__(f"the Julia at {executable} (from {source}) cannot be used: {problem}")
        self.problem = problem


class Julia(NamedTuple):
    """A Julia that passed the check. All paths are absolute and, except `executable`, real."""

    executable: Path
    version_string: str
    libjulia: Path
    bindir: Path
    image: Path
    source: str

    @classmethod
    def of_text(cls, parts: Iterable[str]) -> Julia:
        """From what `map(str, julia)` gives."""
        executable, version, libjulia, bindir, image, source = parts
        return cls(Path(executable), version, Path(libjulia), Path(bindir), Path(image), source)

    @property
    def version(self) -> tuple[int, int, int]:
        return parse_version(self.version_string)

    @property
    def libdir(self) -> Path:
        return self.libjulia.parent


class Candidate(NamedTuple):
    """An executable that might be a Julia, and where it was found."""

    source: str
    executable: Path


def find(julia: PathLike | None = None) -> Julia:
    """The Julia to use: `julia` if given, else $BUFFERBRIDGE_JULIA, else the first that works.

    One that was asked for is used or is an error: FileNotFoundError where there is none,
    UnusableJuliaError (a RuntimeError) where it does not work. The others are tried in the order of
    `candidates`; one that does not work is skipped with a RuntimeWarning. JuliaNotFoundError
    when none is left.
    """
    asked = requested(julia)
    if asked is not None:
        return check(asked, trust_bad=False)
    skipped = []
    for candidate in candidates():
        try:
            return check(candidate)
        except UnusableJuliaError as error:
            import warnings

            warnings.warn(f"{error}; looking further", RuntimeWarning, stacklevel=2)
            skipped.append(str(error))
    raise not_found(skipped)


def not_found(skipped: list[str]) -> JuliaNotFoundError:
    """The error for a search that found nothing but `skipped` (one message for each)."""
    lines = [
        "no usable Julia was found. To get one, do one of these:",
        _REMEDIES,
        *(f"Skipped: {message}" for message in skipped),
    ]
    return JuliaNotFoundError("\n".join(lines))


# --- Where a Julia may be -----------------------------------------------------------------------


def requested(julia: PathLike | None = None) -> Candidate | None:
    """The Julia that was asked for by argument or environment, if any was."""
    if julia is not None:
        return _resolve(os.fspath(julia), "the argument")
    value = os.environ.get(ENVIRONMENT)
    return _resolve(value, ENVIRONMENT) if value else None


def _resolve(value: str, source: str) -> Candidate:
    path = Path(value).expanduser()
    if path.name == value:
        # A bare name is a command, as in a shell: what lies in the current folder is not run.
        import shutil

        on_path = shutil.which(value)
        if on_path is not None:
            return Candidate(source, _absolute(on_path))
    else:
        inside = [path / sub for sub in _INSIDE]
        for executable in inside if path.is_dir() else [path]:
            if executable.is_file():
                return Candidate(source, _absolute(executable))
    raise FileNotFoundError(
        f"{source} asks for Julia at {value!r}, which is neither an executable, nor a folder with "
        f"bin/{_EXE} in it, nor a command on PATH (./{_EXE} is one in the current folder). "
        f"Correct it, or leave it out to have Julia looked for; `{_INSTALL_COMMAND}` installs one."
    )


def candidates() -> Iterator[Candidate]:
    """The executables that nobody asked for by name, each once, best first."""
    seen = set()
    for candidate in _everywhere():
        real = os.path.realpath(candidate.executable)
        if candidate.executable.is_file() and real not in seen:
            seen.add(real)
            yield candidate


def _everywhere() -> Iterator[Candidate]:
    import shutil

    on_path = shutil.which("julia")
    if on_path is not None:
        yield Candidate("PATH", _absolute(on_path))
    for executable in installed():
        yield Candidate("install-julia", executable)
    for executable in _juliapkg():
        yield Candidate("juliapkg", _absolute(executable))
    for executable in _juliaup():
        yield Candidate("juliaup", _absolute(executable))


def install_root() -> Path:
    """The folder under which `install-julia` keeps its Julias, one folder each."""
    return _user_folder(platformdirs.user_data_dir) / "julia"


def _user_folder(which: Callable[[str], str]) -> Path:
    """A folder of platformdirs'. A relative path means that there is none, for want of a home."""
    try:
        return Path(which("bufferbridge"))
    except RuntimeError:  # from platformdirs 4.5 or so on
        return Path("~") / "bufferbridge"


def installed() -> list[Path]:
    """The executables of the Julias in `install_root`, newest version first."""
    root = install_root()
    if root.is_absolute() and root.is_dir() and not is_ours(root):
        import warnings

        warnings.warn(
            f"the Julias in {root} are passed over: others may write there (chmod go-w)",
            RuntimeWarning,
            stacklevel=2,
        )
        return []
    # Hidden folders are installs under way.
    folders = [folder for folder in _listdir(root) if not folder.name.startswith(".")]
    folders.sort(key=lambda folder: _version_in(folder.name), reverse=True)
    layouts = [folder / sub / "bin" / _EXE for folder in folders for sub in ("", "usr")]
    return [executable for executable in layouts if executable.is_file()]


def _juliapkg() -> Iterator[Path]:
    """Where juliapkg puts the Julia that it installs for this Python environment."""

    executable = _juliapkg_option("exe")
    if executable:
        import shutil

        yield Path(shutil.which(executable) or executable)
    prefix = sys.prefix if sys.prefix != sys.base_prefix else os.environ.get("CONDA_PREFIX")
    chosen = _juliapkg_option("project")
    if chosen:
        project = Path(chosen)
    elif prefix:
        project = Path(prefix) / "julia_env"
    else:
        depot = os.environ.get("JULIA_DEPOT_PATH", "").split(os.pathsep)[0]
        project = Path(depot or _home() / ".julia") / "environments" / "pyjuliapkg"
    if project.is_absolute() or chosen:
        yield project / "pyjuliapkg" / "install" / "bin" / _EXE


def _juliapkg_option(name: str) -> str | None:
    value = sys._xoptions.get(f"juliapkg-{name}")
    if isinstance(value, str):
        return value
    return os.environ.get(f"PYTHON_JULIAPKG_{name.upper()}")


def _juliaup() -> Iterator[Path]:
    """juliaup's launcher, which starts the user's default Julia, then its Julias newest first."""
    if _home().is_absolute():
        yield _home() / ".juliaup" / "bin" / _EXE
    folders = [
        folder
        for folder in _listdir(_juliaup_depot())
        if re.match(r"julia-\d+\.\d+\.\d+", folder.name)
    ]
    folders.sort(key=_juliaup_rank, reverse=True)
    for folder in folders:
        yield folder / "bin" / _EXE
        if sys.platform == "darwin":
            yield from folder.glob(f"*.app/Contents/Resources/julia/bin/{_EXE}")


def _juliaup_depot() -> Path:
    return Path(os.environ.get("JULIAUP_DEPOT_PATH") or _home() / ".julia") / "juliaup"


def _juliaup_rank(folder: Path) -> tuple[bool, tuple[int, int, int]]:
    # As in julia-1.12.1+0.x64.linux.gnu and julia-1.13.0-beta1+0.x64.linux.gnu; releases first.
    release = "-" not in folder.name.split("+")[0][len("julia-") :]
    return release, _version_in(folder.name)


def looked_at(julia: PathLike | None = None) -> list[Path]:
    """All files and folders that `find(julia)` may look at, those that are not there too."""
    value = os.environ.get(ENVIRONMENT) if julia is None else os.fspath(julia)
    names = [name for name in (value, "julia", _juliapkg_option("exe")) if name]
    there = [Path(name).expanduser() for name in names]
    folders = [path for name, path in zip(names, there) if path.name != name]
    root, depot = install_root(), _juliaup_depot()
    return [
        cache_file(),
        *(
            Path(folder, n)
            for folder in os.environ.get("PATH", "").split(os.pathsep)
            for n in names
        ),
        *(folder / sub for folder in folders for sub in ("", *_INSIDE)),
        root,
        *(folder / sub / "bin" / _EXE for folder in _listdir(root) for sub in ("", "usr")),
        *_juliapkg(),
        depot,
        depot / "juliaup.json",
        *_juliaup(),
    ]


def _home() -> Path:
    # Unlike Path.home(), this does not raise where there is no home. It is relative then.
    return Path(os.path.expanduser("~"))


def _listdir(folder: Path) -> list[Path]:
    if not folder.is_absolute():  # without a home: not what lies in the current folder
        return []
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def make_folder(folder: Path) -> None:
    """Make a folder and its parents where they are missing, for this user only.

    Whatever the umask: what lies in them is run, or names what is loaded into the process.
    """
    for part in reversed([folder, *folder.parents]):
        part.mkdir(mode=0o700, exist_ok=True)


def _absolute(path: PathLike) -> Path:
    # Symbolic links are kept: a launcher may go by the name that it is called with.
    return Path(os.path.abspath(path))


# --- Whether it works ---------------------------------------------------------------------------


def check(candidate: Candidate, *, refresh: bool = False, trust_bad: bool = True) -> Julia:
    """`candidate` as a Julia that works, from the cache where that is still true.

    Raises UnusableJuliaError when it does not work. `refresh` ignores what the cache says;
    `trust_bad=False` ignores only that it did not work.
    """
    key = str(candidate.executable)
    signature = _signature(candidate.executable)
    cache = _Cache()
    outcome = None if refresh else cache.get(key, signature)
    if outcome is not None and outcome.problem is not None and not trust_bad:
        outcome = None
    if outcome is None:
        outcome = examine(candidate.executable)
        cache.put(key, signature, outcome)
    if outcome.problem is not None:
        raise UnusableJuliaError(candidate.executable, candidate.source, outcome.problem)
    return Julia(
        executable=candidate.executable,
        version_string=outcome.version,
        libjulia=Path(outcome.libjulia),
        bindir=Path(outcome.bindir),
        image=Path(outcome.image),
        source=candidate.source,
    )


class Outcome(NamedTuple):
    """What a check found: either a problem, in one line, or facts."""

    problem: str | None = None
    version: str = ""
    libjulia: str = ""
    bindir: str = ""
    image: str = ""


def examine(executable: Path) -> Outcome:
    """Run the check on `executable`, whatever the cache says, and leave the cache alone."""
    import subprocess

    command = [str(executable), "--startup-file=no", "-e", _CHECK]
    try:
        code, output, errors = _run(command, clean_environment(), CHECK_TIMEOUT)
    except subprocess.TimeoutExpired:
        return Outcome(f"it did not answer within {CHECK_TIMEOUT:g} seconds")
    except OSError as error:
        return Outcome(f"it cannot be started: {error.strerror or error}")
    found = dict(re.findall(r"^bufferbridge-check (\w+)=(.*?)\r?$", output, re.MULTILINE))
    caught = found.pop("caught", None)

    # Its age first: an old Julia may well stumble over the rest of the check.
    version = found.get("version", "")
    if version and parse_version(version) < (*MINIMUM, 0):
        minimum = ".".join(map(str, MINIMUM))
        return Outcome(
            f"it is Julia {version}, and {minimum} is the oldest that works. Update it, or "
            f"install another with `{_INSTALL_COMMAND}`"
        )
    if 128 < code < 160 and os.name == "posix":
        code = 128 - code  # A launcher or shell between tells of a signal in this way.
    if code < 0:
        when = "when an exception was thrown and caught" if "image" in found else "as it started"
        return Outcome(
            f"it crashed with signal {_signal_name(-code)} {when}. Julia is damaged or does not "
            "fit the libraries of this system (Debian's own julia package is known for that); "
            f"use another, for instance with `{_INSTALL_COMMAND}`"
        )
    if code > 0:
        message = (errors.strip().splitlines() or ["no message"])[0]
        return Outcome(f"it failed with exit status {code}: {message}")
    if caught != "thrown" or not {"version", "libjulia", "bindir", "image"} <= found.keys():
        return Outcome("it did not answer as Julia does")
    return Outcome(None, **found)


def _run(command: list[str], env: dict[str, str], timeout: float) -> tuple[int, str, str]:
    """Exit code, output and errors of `command`; whatever ends the wait ends its children too.

    subprocess.run would kill the command alone, and then wait for the children of a launcher.
    """
    import signal
    import subprocess

    with subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, output, errors


def clean_environment() -> dict[str, str]:
    """This environment without what would make Julia start otherwise than by default.

    JULIA_BINDIR would make it lie about where it is, JULIA_PROJECT and JULIA_LOAD_PATH may
    hide its standard library. The depot stays, since launchers may need it (JULIAUP_* stay too).
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("JULIA_") or name == "JULIA_DEPOT_PATH"
    }


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def parse_version(text: str) -> tuple[int, int, int]:
    """The three numbers that a version starts with: (1, 12, 0) for "1.12.0-rc1"."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    if found is None:
        return 0, 0, 0
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


def _version_in(name: str) -> tuple[int, int, int]:
    return parse_version(re.sub(r"^\D+", "", name))


# --- What is known already ----------------------------------------------------------------------


def cache_file() -> Path:
    """The file that remembers the checks. It may be deleted at any time."""
    return _user_folder(platformdirs.user_cache_dir) / "julia.json"


def _signature(executable: Path) -> list[object] | None:
    """What changes when another Julia would run; None if that cannot be told.

    For a link or a launcher the resolved file counts. Which Julia juliaup's launcher starts is
    in its configuration and its environment (a choice for one folder only is not followed).
    """
    try:
        found = executable.stat()
    except OSError:
        return None
    try:
        juliaup = (_juliaup_depot() / "juliaup.json").stat().st_mtime_ns
    except OSError:
        juliaup = 0
    return [found.st_size, found.st_mtime_ns, juliaup, os.environ.get("JULIAUP_CHANNEL", "")]


class _Cache:
    """The cache file. Not being able to read or write it only means more checks."""

    def __init__(self) -> None:
        self._path = cache_file()
        self._entries: dict[str, Any] = {}
        self._usable = self._path.is_absolute()
        if not self._usable:
            return
        try:
            with open(self._path, encoding="utf-8") as file:
                # What it names is loaded into the process.
                if not (is_ours(self._path.parent) and is_ours(file.fileno())):
                    return
                content = json.load(file)
            if content["format"] == _CACHE_FORMAT:
                self._entries = dict(content["entries"])
        except (OSError, ValueError, TypeError, KeyError):
            pass

    def get(self, key: str, signature: list[object] | None) -> Outcome | None:
        """The outcome for an executable that has not changed since, if it still can be true."""
        try:
            entry = self._entries[key]
            outcome = Outcome(**entry["outcome"])
            age = time.time() - float(entry["checked"])
            if signature is None or entry["signature"] != signature:
                return None
            if outcome.problem is None:
                usable = os.path.isfile(outcome.libjulia) and os.path.isfile(outcome.image)
            else:
                usable = 0 <= age < BAD_LIFETIME
        except (KeyError, TypeError, ValueError):
            return None
        return outcome if usable else None

    def put(self, key: str, signature: list[object] | None, outcome: Outcome) -> None:
        if signature is None or not self._usable:
            return
        import tempfile

        entry = {"signature": signature, "checked": time.time(), "outcome": outcome._asdict()}
        self._entries[key] = entry
        content = json.dumps({"format": _CACHE_FORMAT, "entries": self._entries}, indent=1)
        temporary = None
        try:
            make_folder(self._path.parent)
            if not is_ours(self._path.parent):
                return
            handle, temporary = tempfile.mkstemp(prefix=".julia-", dir=self._path.parent)
            with open(handle, "w", encoding="utf-8") as file:
                file.write(content)
            os.replace(temporary, self._path)
        except OSError:
            if temporary is not None and os.path.exists(temporary):
                os.unlink(temporary)
