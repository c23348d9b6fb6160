"""Memory comes back: what the process holds after loops that pass or make much of it.

Figures are of the resident set (RSS), with a margin; nothing is timed.
"""

from __future__ import annotations

import textwrap

PRELUDE = """
    import gc
    import numpy as np
    import bufferbridge as bb

    def resident():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * 4096 / 2**20  # MB

    bb.init()
    total = bb.Base.sum
"""

# Each loop passes 10 GB in pieces of 80 MB.
LARGE = {
    "columns": "total(np.ones(10_000_000))",
    "matrices": "bb.Base.size(np.ones((1000, 10_000)))",
    "strided": "total(np.ones(20_000_000)[::2])",
    "bytes": "bb.Base.length(bytes(80_000_000))",
    "wrapped": "bb.wrap(np.ones(10_000_000))",
    "callbacks": "give(lambda: np.ones(10_000_000))",
    "kept and replaced": "keep(np.ones(10_000_000))",
    "made by Julia": "np.asarray(bb.Base.ones(10_000_000))",
}


def test_large_arrays(run_python):
    done = run_python(
        textwrap.dedent(PRELUDE)
        + textwrap.dedent(
            f"""
            give = bb.eval("f -> length(f())")
            keep = bb.eval("x -> (global kept = x; nothing)")
            for name, code in {LARGE!r}.items():
                code = compile(code, name, "eval")
                most = 0
                for i in range(130 if name == "columns" else 25):
                    eval(code)
                    most = max(most, resident())
                print(name, round(most), sep=": ")
            """
        )
    )
    for line in done.stdout.splitlines():
        assert int(line.rpartition(": ")[2]) < 1000, line
    assert len(done.stdout.splitlines()) == len(LARGE)


SMALL = {
    "arrays": "total(np.ones(10))",
    "bytes": "total(bytes(10))",
    "results": "memoryview(make(10))",
    "objects": "same(object())",
    "strings": "same('abc')",
    "callbacks": "call(abs)",
    "slices": "x[1:3]",
    "exceptions": "fails()",
    "borrowed": "borrow()",
}


def test_small_things(run_python):
    done = run_python(
        textwrap.dedent(PRELUDE)
        + textwrap.dedent(
            f"""
            make, same = bb.Base.zeros, bb.Base.identity
            call = bb.eval("f -> f(-1)")
            x = bb.Base.ones(10)
            raises = bb.eval("() -> error(1)")
            data = bytearray(10)

            def fails():
                try:
                    raises()
                except bb.JuliaError:
                    pass

            def borrow():
                with bb.borrow(data) as b:
                    b[0]

            for name, code in {SMALL!r}.items():
                n = 3_000 if name in ("exceptions", "borrowed") else 60_000
                scope = dict(globals())
                exec(f"def loop(n):\\n    for i in range(n):\\n        {{code}}", scope)
                scope["loop"](n)
                before = resident()
                scope["loop"](4 * n)
                gc.collect()
                bb.Base.GC.gc()
                print(name, round(resident() - before), sep=": ")
            """
        )
    )
    for line in done.stdout.splitlines():
        assert int(line.rpartition(": ")[2]) < 60, line
    assert len(done.stdout.splitlines()) == len(SMALL)
