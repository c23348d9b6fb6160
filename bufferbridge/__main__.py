"""`python -m bufferbridge`: `doctor`, `install-julia`, `precompile` and `instantiate`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence

from . import __version__, _find, _image, _start


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bufferbridge", description=__doc__)
    parser.add_argument("--version", action="version", version=f"bufferbridge {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="tell which Julia would be used, and whether it works")
    install = commands.add_parser("install-julia", help="install a Julia for this user")
    install.add_argument("--force", action="store_true", help="install even if it is there")
    install.add_argument("--mirror", metavar="URL", help="the Debian mirror to use")
    install.add_argument(
        "--method",
        choices=["auto", "official", "debian"],
        default="auto",
        help="official builds, Debian 11's packages, or the first of these that can be had",
    )
    image = commands.add_parser(
        "precompile", help="make a system image, with which Julia starts faster"
    )
    image.add_argument("packages", metavar="PACKAGE", nargs="*", help="Julia packages to include")
    image.add_argument("--project", metavar="DIR", help="the Julia project that has the packages")
    image.add_argument("--force", action="store_true", help="make it even if it is there")
    image.add_argument("--remove", action="store_true", help="delete all images instead")
    shipped = commands.add_parser(
        "instantiate", help="install the Julia packages that a Python package needs"
    )
    shipped.add_argument(
        "package", metavar="PACKAGE", help="a Python package that ships Julia code"
    )
    options = parser.parse_args(argv)
    commands_by_name = {
        "doctor": lambda options: doctor(),
        "install-julia": install_julia,
        "precompile": precompile,
        "instantiate": instantiate,
    }
    try:
        return commands_by_name[options.command](options)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def install_julia(options: argparse.Namespace) -> int:
    """Install a Julia as asked for by `options`."""
    try:
        from . import _install
    except ModuleNotFoundError as error:
        print(f'{error.name} is missing: pip install "bufferbridge[julia]"', file=sys.stderr)
        return 1
    try:
        _install.install_julia(method=options.method, mirror=options.mirror, force=options.force)
    except _install.InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def precompile(options: argparse.Namespace) -> int:
    """Make, or delete, system images as asked for by `options`."""
    try:
        from . import _precompile
    except ModuleNotFoundError as error:
        print(f'{error.name} is missing: pip install "bufferbridge[julia]"', file=sys.stderr)
        return 1
    try:
        if options.remove:
            print(f"Images deleted: {_precompile.remove()}")
        else:
            _precompile.precompile(options.packages, project=options.project, force=options.force)
    # The others are of _find: no Julia, or not the one that was asked for.
    except (_precompile.PrecompileError, RuntimeError, FileNotFoundError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


def instantiate(options: argparse.Namespace) -> int:
    """Install the Julia packages that the one in a Python package depends on."""
    from . import _shipped

    try:
        return _shipped.instantiate(options.package)
    # The others are of _find: no Julia, or not the one that was asked for.
    except (ImportError, RuntimeError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def doctor() -> int:
    """Print what a start would find, having tried every Julia anew; 0 if there is one to use."""
    _print("bufferbridge", __version__)
    _print("Python", f"{platform.python_version()} ({sys.executable}), {platform.platform()}")
    _print("cache", _find.cache_file())
    _print("installs", _find.install_root())
    print()

    try:
        asked = _find.requested()
    except FileNotFoundError as error:
        print(error)
        return 1
    usable = None
    for candidate in [asked] if asked is not None else _find.candidates():
        try:
            julia = _find.check(candidate, refresh=True)
        except _find.UnusableJuliaError as error:
            print(f"Skipped: {error}\n")
            continue
        if usable is None:
            usable = julia
            _report(julia)
        else:
            print(f"Also there: Julia {julia.version_string} at {julia.executable}")
            print(f"  (from {julia.source}; set {_find.ENVIRONMENT} to use it)\n")
    if usable is not None:
        return 0
    if asked is not None:
        print(f"Correct {_find.ENVIRONMENT}, or unset it to have Julia looked for.")
    else:
        print(_find.not_found([]))
    return 1


def _report(julia: _find.Julia) -> None:
    _print("Julia", f"{julia.version_string}, from {julia.source}")
    _print("  executable", julia.executable)
    _print("  bindir", julia.bindir)
    _print("  libjulia", julia.libjulia)
    _print("  sysimage", julia.image)
    _print("  works", "yes: it started, and an exception was thrown and caught")
    _print("  precompiled", _about_image(julia))
    print()


def _about_image(julia: _find.Julia) -> str:
    image = _image.look(julia, _start.JLSRC, None)
    if image is None:
        return f"no: `{_image.COMMAND}` makes starts faster"
    if image.problem is not None:
        return f"yes, and not used: {image.problem}"
    packages = f", with {', '.join(image.packages)}" if image.packages else ""
    return f"yes: {image.file}{packages}"


def _print(name: str, value: str | os.PathLike[str]) -> None:
    print(f"{name:<14} {value}")


if __name__ == "__main__":
    sys.exit(main())
