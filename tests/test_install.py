"""Installing a Julia: what is chosen, what is left behind, and (asked for) the real thing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bufferbridge import __main__ as cli
from bufferbridge import _find

_install = pytest.importorskip("bufferbridge._install", reason="needs bufferbridge[julia]")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the fake Julias are shell scripts")

REAL = "BUFFERBRIDGE_TEST_INSTALL"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the installs, which is not there yet, in a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "bufferbridge" / "julia"


def make(work: Path, version: str, *, works: bool = True) -> _install._Made:
    """A fake official build, whose facts are relative to where it is when it runs."""
    prefix = work / "julia"
    executable = prefix / "bin" / "julia"
    executable.parent.mkdir(parents=True)
    (prefix / "libjulia.so").touch()
    executable.write_text(
        f"""#!/bin/sh
        here=$(cd "$(dirname "$0")/.." && pwd)
        echo "bufferbridge-check version={version}"
        echo "bufferbridge-check bindir=$here/bin"
        echo "bufferbridge-check libjulia=$here/libjulia.so"
        echo "bufferbridge-check image=$here/libjulia.so"
        echo "bufferbridge-check caught={"thrown" if works else "nothing"}"
        """
    )
    executable.chmod(0o755)
    return _install._Made(prefix, "", executable)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Official builds are fakes of these versions in turn; Debian's packages cannot be had."""
    versions: list[str] = []
    monkeypatch.setattr(_install, "_official", lambda work: make(work, versions.pop(0)))
    monkeypatch.setattr(_install, "_debian", unreachable("Debian"))
    return versions


def unreachable(what: str):
    def fail(*_args: object) -> None:
        raise _install.InstallError(f"{what} cannot be reached")

    return fail


def test_install_and_keep(
    root: Path, builds: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    builds += ["1.10.8", "1.10.8"]
    julia = _install.install_julia()
    assert julia.executable == root / "1.10.8" / "bin" / "julia"
    assert julia.libjulia == root / "1.10.8" / "libjulia.so"
    assert _find.installed() == [julia.executable]
    assert _install.install_julia() == julia
    assert builds == ["1.10.8"]
    assert "already installed" in capsys.readouterr().out


def test_force_replaces(root: Path, builds: list[str]) -> None:
    builds += ["1.10.8", "1.10.8"]
    _install.install_julia()
    (root / "1.10.8" / "left over").touch()
    _install.install_julia(force=True)
    assert [path.name for path in root.iterdir()] == ["1.10.8"]
    assert not (root / "1.10.8" / "left over").exists()


def test_broken_install_is_replaced(root: Path, builds: list[str]) -> None:
    builds += ["1.10.8", "1.10.8"]
    julia = _install.install_julia()
    julia.executable.write_text("#!/bin/sh\nexit 1\n")
    _install.install_julia()
    assert _find.check(_find.Candidate("test", julia.executable)).version == (1, 10, 8)


def test_falls_back_to_debian(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_install, "_official", unreachable("julialang.org"))
    monkeypatch.setattr(_install, "_debian", lambda work, mirror: make(work, "1.5.3"))
    assert _install.install_julia().version == (1, 5, 3)
    assert "No official build: julialang.org cannot be reached" in capsys.readouterr().out


def test_half_an_official_build_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installer = pytest.importorskip("juliapkg.install_julia")

    def fail(build: object, prefix: str) -> None:
        Path(prefix, "bin").mkdir(parents=True)
        raise EOFError("the download ended early")

    monkeypatch.setattr(installer, "best_julia_version", lambda spec: ("1.12.1", "build"))
    monkeypatch.setattr(installer, "install_julia", fail)
    monkeypatch.setattr(_install, "_require_debian", lambda: "patchelf")
    monkeypatch.setattr(_install, "_download", lambda work, mirror: [])
    monkeypatch.setattr(_install, "_unpack", lambda packages, prefix: list(prefix.iterdir()))
    monkeypatch.setattr(_install, "_merge_libraries", lambda prefix: None)
    monkeypatch.setattr(_install, "_set_search_paths", lambda prefix, patchelf: None)
    with pytest.raises(_install.InstallError, match="cannot be started"):
        _install.install_julia()


def test_a_mirror_means_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_install, "_official", unreachable("never asked"))
    monkeypatch.setattr(_install, "_debian", make)
    assert _install.install_julia(mirror="1.5.3").version == (1, 5, 3)
    with pytest.raises(_install.InstallError, match="does not go with official builds"):
        _install.install_julia(method="official", mirror="1.5.3")


def fail_to_work(work: Path) -> _install._Made:
    return make(work, "1.10.8", works=False)


def be_interrupted(work: Path) -> _install._Made:
    make(work, "1.10.8")
    raise KeyboardInterrupt


def run_out_of_space(work: Path) -> _install._Made:
    make(work, "1.10.8")
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("mishap", "code", "message"),
    [
        (fail_to_work, 1, "does not work: it did not answer"),
        (be_interrupted, 130, "Interrupted"),
        (run_out_of_space, 1, "No space left on device"),
    ],
)
def test_mishap_leaves_all_as_it_was(
    root: Path,
    builds: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mishap: object,
    code: int,
    message: str,
) -> None:
    builds += ["1.10.8"]
    julia = _install.install_julia()
    monkeypatch.setattr(_install, "_official", mishap)
    assert cli.main(["install-julia", "--force", "--method=official"]) == code
    assert message in capsys.readouterr().err
    assert [path.name for path in root.iterdir()] == ["1.10.8"]
    assert _find.check(_find.Candidate("test", julia.executable), refresh=True)


def test_abandoned_installs_are_removed(root: Path, builds: list[str]) -> None:
    for name, age in (("old", 2 * 86400), ("new", 60)):
        folder = root / f".installing-{name}"
        folder.mkdir(parents=True)
        then = folder.stat().st_mtime - age
        os.utime(folder, (then, then))
    builds += ["1.10.8"]
    _install.install_julia()
    assert {path.name for path in root.iterdir()} == {".installing-new", "1.10.8"}


def test_too_little_space(monkeypatch: pytest.MonkeyPatch, builds: list[str]) -> None:
    monkeypatch.setattr(_install, "_SPACE", 1 << 60)
    with pytest.raises(_install.InstallError, match="MB are needed"):
        _install.install_julia()


def test_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    assert cli.main(["install-julia"]) == 1
    assert "Julia could not be installed" in capsys.readouterr().err


def test_failed_replacement_is_undone(
    root: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    builds += ["1.10.8", "1.10.8"]
    julia = _install.install_julia()
    rename = Path.rename

    def fail_for_the_new(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".") and self.name == "julia":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(_install.InstallError, match="Permission denied"):
        _install.install_julia(force=True)
    assert julia.executable.is_file()
    assert [path.name for path in root.iterdir()] == ["1.10.8"]


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "bufferbridge._install")
    monkeypatch.delattr(sys.modules["bufferbridge"], "_install")
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert cli.main(["install-julia"]) == 1
    assert 'pip install "bufferbridge[julia]"' in capsys.readouterr().err


# --- Official builds ----------------------------------------------------------------------------


def test_official_build_by_juliapkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = pytest.importorskip("juliapkg.install_julia")
    compat = pytest.importorskip("juliapkg.compat")
    asked = []

    def versions(spec: object) -> tuple[str, str]:
        asked.extend(v for v in range(8, 15) if compat.Version(1, v, 1) in spec)
        return "1.12.1", "build"

    monkeypatch.setattr(installer, "best_julia_version", versions)
    monkeypatch.setattr(
        installer,
        "install_julia",
        lambda build, prefix: make(tmp_path, "1.12.1").prefix.rename(prefix),
    )
    made = _install._official(tmp_path)
    assert asked == [10, 11, 12]
    assert _find.examine(made.executable).version == "1.12.1"


def test_official_builds_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = pytest.importorskip("juliapkg.install_julia")
    # Nothing listens at the discard port.
    monkeypatch.setattr(installer, "_all_julia_versions", None)
    monkeypatch.setattr(installer, "_julia_versions_url", "http://127.0.0.1:9/versions.json")
    with pytest.raises(_install.InstallError, match="cannot be had: "):
        _install._official(tmp_path)


# --- Debian's packages --------------------------------------------------------------------------


def test_mirrors_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        ("http://one.example/debian/", "Debian", "Debian"),
        ("http://one.example/debian/", "Debian", "Debian"),
        ("http://one.example/debian-security/", "Debian", "Debian-Security"),
        ("https://two.example/debian", "", ""),
        ("mirror+file:/etc/apt/mirrors/debian.list", "", ""),
        ("https://node.example/node_20.x", "Node", "Node"),
        ("https://other.example/repo", "", ""),
        ("https://third.example/debian", "Third party", "Third party"),
    ]
    tool = tmp_path / "apt-get"
    listing = "\n".join("\t".join(row) for row in rows)
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}\nEND\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert _install.configured_mirrors() == [
        "http://one.example/debian",
        "https://two.example/debian",
        "mirror+file:/etc/apt/mirrors/debian.list",
    ]
    tool.write_text("#!/bin/sh\nexit 100\n")
    assert _install.configured_mirrors() == []


def test_mirrors_are_tried_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Apt:
        def __init__(self, folder: Path, mirror: str) -> None:
            self.mirror = mirror

        def download(self, names: list[str]) -> list[Path]:
            raise _install.InstallError("gone")

    monkeypatch.setattr(_install, "_Apt", Apt)
    monkeypatch.setattr(
        _install, "configured_mirrors", lambda: ["http://user:secret@one.example/debian"]
    )
    with pytest.raises(_install.InstallError) as caught:
        _install._download(tmp_path, None)
    text = str(caught.value) + capsys.readouterr().out
    assert text.index("http://one.example/debian") < text.index(_install.DEBIAN_ARCHIVE)
    assert "secret" not in text
    with pytest.raises(_install.InstallError) as caught:
        _install._download(tmp_path, "http://chosen.example/debian")
    assert "chosen" in str(caught.value) and _install.DEBIAN_ARCHIVE not in str(caught.value)


def test_only_the_archive_may_have_expired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_install, "_KEYRINGS", [tmp_path])
    with pytest.raises(_install.InstallError, match="debian-archive-keyring"):
        _install._Apt._source("http://one.example/debian")
    key = tmp_path / "key.gpg"
    key.touch()
    monkeypatch.setattr(_install, "_KEYRINGS", [tmp_path, key])
    usual = _install._Apt._source("http://one.example/debian")
    assert f"signed-by={key}" in usual
    assert "check-valid-until" not in usual
    assert "check-valid-until=no" in _install._Apt._source(_install.DEBIAN_ARCHIVE)


def test_not_on_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(_install.InstallError, match="apt-get, dpkg-deb, tar not found"):
        _install._require_debian()


PROGRAM = """
using Pkg, SparseArrays, LinearAlgebra, Test, LibGit2
A = [4.0 1.0; 1.0 3.0]
@test A * inv(A) ≈ I
@test sparse(A) \\ [1.0, 2.0] ≈ A \\ [1.0, 2.0]
@test LibGit2.version() >= v"1"
@test_throws ErrorException error("thrown")
"""


@pytest.mark.skipif(
    not os.environ.get(REAL), reason=f"downloads 68 MB from a Debian mirror; set {REAL}=1 to run"
)
def test_real_debian_install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    julia = _install.install_julia(method="debian")
    assert julia.version == (1, 5, 3)
    prefix = root / "1.5.3-debian"
    assert [path.name for path in root.iterdir()] == [prefix.name]
    # Nothing points out of the prefix, so that it serves wherever it is.
    links = [path for path in prefix.rglob("*") if path.is_symlink()]
    assert not [path for path in links if os.path.isabs(os.readlink(path))]
    # The system's libraries do not get in, even where a user's setting puts them first.
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib/x86_64-linux-gnu")
    command = [str(julia.executable), "--startup-file=no", "-e", PROGRAM]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    assert _install.install_julia(method="debian") == julia


def test_no_install_where_others_can_write(root: Path, builds: list[str]) -> None:
    root.mkdir(parents=True)
    root.chmod(0o777)
    builds += ["1.10.8"]
    with (
        pytest.warns(RuntimeWarning, match="others may write"),
        pytest.raises(_install.InstallError, match="others may write"),
    ):
        _install.install_julia()
    assert builds == ["1.10.8"]


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
@pytest.mark.parametrize("signature", [None, "-----BEGIN PGP SIGNED MESSAGE-----\n\nSuite: x\n"])
def test_a_mirror_without_debians_signature(
    tmp_path: Path, signature: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "debian-archive-keyring.gpg"
    key.touch()
    monkeypatch.setattr(_install, "_KEYRINGS", [*_install._KEYRINGS, key])
    suite = tmp_path / "mirror" / "dists" / "bullseye"
    packages = suite / "main" / "binary-amd64" / "Packages"
    packages.parent.mkdir(parents=True)
    packages.write_text("Package: julia\nVersion: 1\nArchitecture: amd64\nFilename: julia.deb\n")
    digest = hashlib.sha256(packages.read_bytes()).hexdigest()
    size = packages.stat().st_size
    release = (
        "Origin: Debian\nCodename: bullseye\nArchitectures: amd64\nComponents: main\n"
        f"SHA256:\n {digest} {size} main/binary-amd64/Packages\n"
    )
    (suite / ("Release" if signature is None else "InRelease")).write_text(
        release if signature is None else signature + release
    )
    apt = _install._Apt(tmp_path / "apt", f"file:{tmp_path / 'mirror'}")
    with pytest.raises(_install.InstallError, match="not signed|clearsigned|signature"):
        apt.download(["julia"])
