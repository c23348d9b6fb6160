"""Coverage-guided fuzzing of the bridge, with libFuzzer (through atheris): see README.md.

    python fuzz/run.py [seconds] [target ...]     fuzz, the targets in turn
    python fuzz/run.py replay target file ...     run these inputs once
    python fuzz/run.py minimize                   reduce the corpus to what adds coverage

libFuzzer guides by three kinds of counters: clang's in the C layer, which is compiled for it into
fuzz/build; our own in Julia's code (coverage.jl); atheris' in bufferbridge/_formats.py.

Julia needs SIGSEGV for itself, so libFuzzer handles no signals but the alarm's. A crash therefore
ends the process without a report: the input that ran is in fuzz/build/<target>.current, and is kept
as a finding.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = HERE / "build"
CORPUS = HERE / "corpus"
FINDINGS = HERE / "findings"
JULIA_FILES = [
    "parseformat.jl",
    "printformat.jl",
    "items.jl",
    "assign.jl",
    "layout.jl",
    "frombuffer.jl",
]
# A process is given up after so many inputs: Julia forgets none of the types that were made.
RUNS, MAX_SIZE, CURRENT_SIZE = 60_000, 256, 4096


def build() -> None:
    """The package with an instrumented C layer, in fuzz/build."""
    clang = shutil.which("clang") or shutil.which("clang-14")
    if clang is None:
        sys.exit("fuzzing needs clang (Debian: apt install clang)")
    # From a copy, so that nothing that was compiled otherwise is taken.
    source = BUILD / "source"
    shutil.rmtree(BUILD / "bufferbridge", ignore_errors=True)
    for name in ("bufferbridge", "csrc", "jlsrc"):
        shutil.copytree(ROOT / name, source / name, dirs_exist_ok=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for made in [*(source / "bufferbridge").glob("_native.*[oc]"), source / "build"]:
        shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)
    flags = "-g -O1 -fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp"
    command = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--upgrade"]
    environment = {**os.environ, "CC": clang, "CFLAGS": flags}
    target = ["--target", str(BUILD), str(source)]
    subprocess.run([*command, *target], env=environment, check=True)


def engine(target: str, arguments: list[str]) -> None:
    """Fuzz one target in this process, which ends with it."""
    import importlib.util

    # The engine's symbols must be there before what is instrumented is loaded.
    found = importlib.util.find_spec("atheris")
    assert found is not None and found.origin is not None
    (core,) = Path(found.origin).parent.glob("core_with_libfuzzer*.so")
    libfuzzer = ctypes.CDLL(str(core), ctypes.RTLD_GLOBAL)
    import atheris

    sys.path[:0] = [str(BUILD), str(HERE), str(HERE.parent)]
    with atheris.instrument_imports(include=["bufferbridge._formats"]):
        import bufferbridge._formats
    import targets

    import bufferbridge as bb

    assert str(BUILD) in str(bb.__file__)
    julia_counters(bb, libfuzzer)
    run = targets.TARGETS[target]
    run(bytes(8))  # what the first run makes is no leak
    before = targets.held()
    count = 0

    BUILD.mkdir(exist_ok=True)
    with open(BUILD / f"{target}.current", "w+b") as file:
        file.truncate(CURRENT_SIZE)
        current = mmap.mmap(file.fileno(), CURRENT_SIZE)

    def once(data: bytes) -> None:
        nonlocal count
        current[:4] = len(data).to_bytes(4, "little")
        current[4 : 4 + len(data)] = data
        run(data)
        count += 1
        if count % 500 == 0:
            after = targets.held()
            assert after == before, f"something is held: {before} became {after}"

    flags = [
        f"-handle_{s}=0"
        for s in ["segv", "bus", "abrt", "ill", "fpe", "int", "term", "xfsz", "usr1", "usr2"]
    ]
    flags += [
        "-rss_limit_mb=0",
        "-len_control=0",
        "-timeout=60",
        f"-max_len={MAX_SIZE}",
        "-print_final_stats=1",
    ]
    # What libFuzzer runs through the shell, to minimize in processes of its own.
    program = f"{sys.executable} {__file__} engine {target}"
    atheris.Setup([program, *flags, *arguments], once, internal_libfuzzer=True)
    atheris.Fuzz()


def julia_counters(bb, libfuzzer) -> None:
    bb.include(HERE / "coverage.jl")
    coverage, jlsrc = bb.Main.Coverage, str(BUILD / "bufferbridge" / "jlsrc" / "src")
    number = coverage.start(bb.Main.BufferBridge, jlsrc, JULIA_FILES)
    begin = coverage.address()
    end = begin + number
    libfuzzer.__sanitizer_cov_8bit_counters_init(ctypes.c_void_p(begin), ctypes.c_void_p(end))
    # One (address, flags) for each counter: libFuzzer only wants to see as many.
    table = (ctypes.c_size_t * (2 * number))(*(x for i in range(number) for x in (begin + i, 0)))
    julia_counters.table = table  # type: ignore[attr-defined]
    start = ctypes.addressof(table)
    libfuzzer.__sanitizer_cov_pcs_init(
        ctypes.c_void_p(start), ctypes.c_void_p(start + ctypes.sizeof(table))
    )
    print(f"{number} counters in Julia's code", flush=True)


def fuzz(seconds: int, names: list[str]) -> int:
    """Each target for its share of the time; the number of findings."""
    findings = 0
    for name in names:
        end = time.monotonic() + seconds / len(names)
        while end - time.monotonic() > 1:
            findings += not session(name, end)
    return findings


def session(name: str, end: float) -> bool:
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    FINDINGS.mkdir(exist_ok=True)
    more = BUILD / "corpus" / name
    more.mkdir(parents=True, exist_ok=True)
    left = max(int(end - time.monotonic()), 1)
    arguments = [f"-max_total_time={left}", f"-runs={RUNS}", f"-artifact_prefix={FINDINGS}/{name}-"]
    status = child(name, [*arguments, str(more), str(CORPUS / name)])
    if status == 0:
        return True
    keep_current(name)
    print(f"{name}: ended with status {status}, see {FINDINGS}", flush=True)
    return False


def child(name: str, arguments: list[str]) -> int:
    return subprocess.run(
        [sys.executable, __file__, "engine", name, *arguments], check=False
    ).returncode


def keep_current(name: str) -> None:
    data = (BUILD / f"{name}.current").read_bytes()
    data = data[4 : 4 + int.from_bytes(data[:4], "little")]
    (FINDINGS / f"{name}-{hashlib.sha1(data).hexdigest()}").write_bytes(data)


def minimize() -> None:
    """fuzz/corpus: the smallest inputs that together reach all that all inputs reach."""
    for folder in sorted(CORPUS.iterdir()):
        fresh = BUILD / "minimal" / folder.name
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        more = BUILD / "corpus" / folder.name
        more.mkdir(parents=True, exist_ok=True)
        if (
            child(
                folder.name,
                [
                    "-set_cover_merge=1",
                    "-use_counters=0",
                    "-use_cmp=0",
                    str(fresh),
                    str(folder),
                    str(more),
                ],
            )
            == 0
        ):
            shutil.rmtree(folder)
            shutil.copytree(fresh, folder)
            print(f"{folder.name}: {len(list(folder.iterdir()))} inputs", flush=True)


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["engine"]:
        engine(arguments[1], arguments[2:])
        return 0
    build()
    if arguments[:1] == ["replay"]:
        return child(arguments[1], arguments[2:])
    if arguments[:1] == ["minimize"]:
        minimize()
        return 0
    seconds = int(arguments[0]) if arguments else 120
    names = arguments[1:] or ["buffers", "interfaces", "arrays", "formats", "descriptions"]
    return 1 if fuzz(seconds, names) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
