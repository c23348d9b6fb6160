"""The system image that `python -m bufferbridge precompile` makes: finding it again.

An image holds Julia's own image, the package BufferBridge and packages that the user named, all
compiled. It is native code, and Julia ends the process if it is given one that does not fit. So all
that an image depends on is recorded beside it. One whose record is not true any more, or which
others than the user may write to, is never loaded: the start goes on without it, and says so once.

This module is imported where a start looks for an image; `bufferbridge._precompile` makes them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple, Optional

from . import _find
from ._recall import cpu as cpu  # noqa: PLC0414  (for others too)

#: Raised whenever what is recorded, or how an image is made, changes.
FORMAT = 1

COMMAND = "python -m bufferbridge precompile"


class Image(NamedTuple):
    """An image that is there; `problem` says why it can't be used, if it can't."""

    folder: Path
    packages: list[str]
    problem: Optional[str]  # noqa: UP045  (evaluated by Python 3.9)
    project: str = ""  # the one that the packages are of, if it was named

    @property
    def file(self) -> Path:
        return self.folder / "sys.so"


def root() -> Path:
    """The folder of all images, one folder each. It may be deleted at any time."""
    return _find.cache_file().parent / "images"


def find(julia: _find.Julia, package: str, project: str | None) -> Path | None:
    """The image to start `julia` with, if there is one that fits; a hint if there is another.

    `package` is the folder of BufferBridge, `project` what `init` was given.
    """
    image = look(julia, package, project)
    if image is None:
        return None
    if image.problem is None:
        return image.file
    _tell(image)
    return None


def look(julia: _find.Julia, package: str, project: str | None) -> Image | None:
    """The image for a start: with the packages of its environment, or else one without any.

    Of one that fits and one that does not, the one that fits.
    """
    images = []
    for environment in (environment_of(project), None):
        image = examine(folder_of(julia, package, environment), julia, package, environment)
        if image is not None and image.problem is None:
            return image
        images.append(image)
    return images[0] or images[1]


def looked_at(julia: _find.Julia, package: str, project: str | None) -> list[Path]:
    """All files and folders that `look` may look at, those that are not there too."""
    paths = [Path(package, "src"), *Path(package, "src").iterdir()]
    for environment in (environment_of(project), None):
        folder = folder_of(julia, package, environment)
        record = folder / "image.json"
        paths += [folder, record, folder / "sys.so"]
        if record.exists():
            paths += map(Path, json.loads(record.read_text(encoding="utf-8"))["sources"])
    return paths


# --- What an image depends on -------------------------------------------------------------------


def environment_of(project: str | None) -> list[str]:
    """What decides which packages Julia finds."""
    if project is None:
        project = os.environ.get("JULIA_PROJECT", "")
    if project == "@.":
        project += os.getcwd()  # looked for from there
    elif project and not project.startswith("@"):
        project = os.path.abspath(project)
    return [project, *(os.environ.get(f"JULIA_{name}_PATH", "") for name in ("LOAD", "DEPOT"))]


def identity(julia: _find.Julia, package: str, environment: list[str] | None) -> dict[str, Any]:
    """What distinguishes images that exist beside each other.

    Whoever has another processor, in a home shared by several machines, has another image.
    """
    return {
        "libjulia": str(julia.libjulia),
        "package": package,
        "environment": environment,
        "cpu": cpu(),
    }


def folder_of(julia: _find.Julia, package: str, environment: list[str] | None) -> Path:
    text = json.dumps(identity(julia, package, environment))
    return root() / f"{julia.version_string}-{zlib.crc32(text.encode()):08x}"


def dependencies(julia: _find.Julia, package: str) -> dict[str, Any]:
    """What makes an image stale when it changes: Julia itself and BufferBridge."""
    return {
        "version": julia.version_string,
        "julia": {str(p): signature(p) for p in (julia.libjulia, julia.image)},
        "bufferbridge": checksum(package),
    }


def signature(path: str | os.PathLike[str]) -> list[int] | None:
    """What changes with a file: its size and time. None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def checksum(package: str) -> int:
    """Of the sources. Times would not do: those of wheels are often all the same."""
    checksum = 0
    folder = os.path.join(package, "src")
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            checksum = zlib.crc32(file.read(), zlib.crc32(name.encode(), checksum))
    return checksum


# --- Whether it can be used ---------------------------------------------------------------------


def examine(
    folder: Path, julia: _find.Julia, package: str, environment: list[str] | None
) -> Image | None:
    """The image in `folder`, which is for `environment`; None if there is none."""
    if not folder.is_absolute() or not folder.is_dir():
        return None
    files = [folder / "image.json", folder / "sys.so"]
    concerned = [folder.parent.parent, folder.parent, folder, *filter(os.path.exists, files)]
    if not all(map(_find.is_ours, concerned)):
        return Image(folder, [], f"others may write to {folder} (chmod go-w, or remove it)")
    packages: list[str] = []
    try:
        record = json.loads(files[0].read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            return Image(folder, [], "it was made by another version of bufferbridge")
        packages = list(map(str, record["packages"]))
        changed = _changed(record, julia, package)
        damaged = record["image"] != signature(files[1])
        damaged |= record["identity"] != identity(julia, package, environment)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        damaged = True
    if damaged:
        return Image(folder, packages, "it is incomplete or damaged")
    problem = None if changed is None else f"{changed} has changed since it was made"
    project = environment[0] if environment is not None else ""
    return Image(folder, packages, problem, project.partition("@.")[0])


def _changed(record: dict[str, Any], julia: _find.Julia, package: str) -> str | None:
    before, now = record["dependencies"], dependencies(julia, package)
    if before["bufferbridge"] != now["bufferbridge"]:
        return "bufferbridge"
    if before != now:
        return "Julia"
    for path, was in record["sources"].items():
        if signature(path) != was:
            return str(path)
    return None


def _tell(image: Image) -> None:
    """Say on standard error, once for each problem, that an image is not used.

    A warning would be an exception to whoever makes errors of warnings, and this is no error.
    """
    told = image.folder / "told"
    text = f"{image.problem}\n"
    # No note is left where others may write; and who can't leave one is told again.
    if _find.is_ours(image.folder):
        try:
            if told.read_text(encoding="utf-8") == text:
                return
        except (OSError, ValueError):
            pass
        with contextlib.suppress(OSError):
            told.write_text(text, encoding="utf-8")
    if sys.stderr is not None:
        import shlex

        project = ["--project", image.project] if image.project else []
        command = f"{COMMAND} {shlex.join([*project, *image.packages])}".rstrip()
        print(
            f"bufferbridge: the precompiled image is not used: {image.problem}. `{command}` makes "
            "a new one.",
            file=sys.stderr,
        )
