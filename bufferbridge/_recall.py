"""The usual start: what the last one with the same question found, if nothing has changed since.

To look for Julia and an image takes `_find`, `_image` and the libraries that they import, which is
a tenth of a start. So what they found is kept in a record in the user's cache, one for each
question: the options, and what else they read of this process and its environment. This module
imports nothing that a Python has not loaded anyway, except zlib.

A record holds facts about every file and folder that the answer depends on, those that were looked
for in vain among them. It is believed only if all of them are still true, and if nobody but the
user and root can write to it or to what `_find` and `_image` ask this of. Otherwise, and
after any error, the answer is None, and the start looks itself. So a start never uses what
it would not have found by looking. Nor is anything kept of a start that had something to say, about
a Julia that does not work or an image that does not fit: that is said by whoever looks.
"""

from __future__ import annotations

import os
import stat
import sys
import zlib

TYPE_CHECKING = False  # typing's own would take longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

    from . import _find

#: Raised whenever what is recorded, or how, changes.
FORMAT = 1

#: Records that are kept; each new PATH or project makes another.
KEPT = 30

_FOLDER = "starts"
_PARTS = 7  # of an answer: the fields of a `_find.Julia`, and the image

# What looks: after a change of one, as by a new version, a record is not believed.
_LOOKING = ("_find.py", "_image.py", "_recall.py")

# What starts so. Not all of XDG_: some change with each login.
_ENVIRONMENT = (
    "BUFFERBRIDGE_JULIA",
    "CONDA_PREFIX",
    "HOME",
    "JULIA",
    "PATH",
    "PYTHON_JULIAPKG_",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
)

# What /proc/cpuinfo says of a processor that stays the same: x86, then ARM.
# fmt: off
_CPU = {
    "vendor_id", "cpu family", "model", "model name", "flags",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features",
}
# fmt: on


def question(package: str, options: dict[str, Any]) -> str | None:
    """All that the answer depends on apart from files; None if it is not to be remembered.

    `package` is the folder of BufferBridge, `options` are those of `init`.
    """
    if "sysimage" in options or cache_folder() is None:
        return None
    # Where the project is not relative the current folder does not matter: see `_note`.
    project = options.get("project", os.environ.get("JULIA_PROJECT", ""))
    try:
        here = "" if not project or project.startswith("/") else os.getcwd()
    except (OSError, TypeError):  # the folder is gone, or that is no path
        return None
    parts = [f"{FORMAT}", package, cpu(), f"{os.geteuid()}", sys.prefix, sys.base_prefix, here]
    parts += [f"{name} {options[name]}" for name in ("julia", "project") if name in options]
    parts += [f"{k}={v}" for k, v in sorted(sys._xoptions.items()) if k.startswith("juliapkg-")]
    names = sorted(name for name in os.environ if name.startswith(_ENVIRONMENT))
    return "\n".join(map(repr, [*parts, *(f"{name}={os.environ[name]}" for name in names)]))


def answer(question: str) -> tuple[str, ...] | None:
    """What `note` was given for this question: a Julia, and the image to start it with."""
    try:
        path = _file(question)
        with open(path, "rb", buffering=0) as file:
            # What it names is loaded into the process.
            folder = os.path.dirname(path)
            if not (is_ours(os.path.dirname(folder)) and is_ours(folder)):
                return None
            if not is_ours(file.fileno()):
                return None
            asked, text, guarded, facts, end = os.fsdecode(file.read()).split("\0\0")
        if asked != question or end != "end" or not all(map(is_ours, guarded.split("\0"))):
            return None
        if any(fact != _fact(fact.partition(" ")[2]) for fact in facts.split("\0")):
            return None
        found = tuple(text.split("\0"))
        return found if len(found) == _PARTS else None
    except Exception:
        return None


def note(
    question: str, julia: _find.Julia, sysimage: str, package: str, options: dict[str, Any]
) -> None:
    """Remember what a search has found, if another would find the same without a word.

    Not being able to is no error: the next start looks too.
    """
    import contextlib

    with contextlib.suppress(Exception):
        _note(question, julia, sysimage, package, options)


def _note(
    question: str, julia: _find.Julia, sysimage: str, package: str, options: dict[str, Any]
) -> None:
    import tempfile
    from pathlib import Path

    from . import _find, _image

    asked, project = options.get("julia"), options.get("project")

    def looked_at() -> list[Path]:
        paths = [Path(__file__).with_name(name) for name in _LOOKING]
        paths += [julia.executable, julia.libjulia, julia.bindir, julia.image]
        return [*paths, *_find.looked_at(asked), *_image.looked_at(julia, package, project)]

    path = Path(_file(question))
    folder, known = path.parent, _find.cache_file()
    _find.make_folder(folder)
    paths = looked_at()
    ours = [_find.install_root(), _image.root(), *(p for p in paths if known.parent in p.parents)]
    # Without what is known of its Julia, a search would check that by running it.
    guarded = [known.parent, folder, known, *filter(Path.exists, ours)]
    absolute = all(path.is_absolute() for path in paths)
    if folder.parent != known.parent or not absolute or not all(map(is_ours, guarded)):
        return
    facts = [_fact(str(path)) for path in paths]
    # Another look: what changed during the first is seen by it, and what changes from now on
    # differs from the facts. It fails where the best Julia is one that does not work.
    again = _find.check(_find.requested(asked) or next(_find.candidates()))
    image = _image.look(again, package, project)
    loaded = again.image if image is None else image.file
    fits = image is None or image.problem is None
    if not fits or again != julia or str(loaded) != sysimage or looked_at() != paths:
        return

    sections = [[question], [*map(str, julia), sysimage], map(str, guarded), facts, ["end"]]
    content = "\0\0".join("\0".join(section) for section in sections)
    # Replaced as a whole, whoever reads or writes it at the same time.
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
        file.write(os.fsencode(content))
    os.replace(file.name, path)
    records = sorted(folder.iterdir(), key=lambda record: record.stat().st_mtime)
    for record in records[:-KEPT]:
        record.unlink()


def _file(question: str) -> str:
    return f"{cache_folder()}/{_FOLDER}/{zlib.crc32(os.fsencode(question)):08x}"


def _fact(path: str) -> str:
    """What changes with a file or folder, by permissions too; or that there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return f"- {path}"
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns} {path}"


def cache_folder() -> str | None:
    """What platformdirs calls the cache folder; None where it takes more than this to tell.

    Importing platformdirs would take as long as all else that Python does in a start.
    """
    home = os.environ.get("HOME", "")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    if sys.platform != "linux" or not (home.startswith("/") and cache.startswith("/")):
        return None
    return os.path.join(cache, "bufferbridge")


def is_ours(path: str | os.PathLike[str] | int) -> bool:
    """Whether nobody but this user and root can write to a file or folder (or open file)."""
    if os.name != "posix":
        return True
    try:
        found = os.stat(path)
    except OSError:
        return False
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid in (0, os.geteuid()) and not shared


def cpu() -> str:
    """The processor, as far as native code depends on it."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            # All of it takes long on a machine with many processors, and says the same of each.
            first = file.read(1 << 13).split(b"\n\n")[0].decode(errors="replace")
    except OSError:
        return os.uname().machine
    lines = [line for line in first.splitlines() if line.partition("\t")[0].strip() in _CPU]
    return f"{os.uname().machine}-{zlib.crc32(chr(10).join(lines).encode()):08x}"
