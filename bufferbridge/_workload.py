"""What is compiled into a system image: ordinary uses of bufferbridge, run while Julia traces.

`python -m bufferbridge._workload FILE [OPTION...]` starts Julia with the OPTIONs, does a little of
everything, and leaves in FILE what Julia compiled for that. Each piece stands for what users do
first; it has no other effect.
"""

from __future__ import annotations

import array
import contextlib
import datetime
import fractions
import inspect
import io
import sys
import types
from typing import Any

import bufferbridge as bb

from . import _start


def values() -> None:
    """Plain values, both ways."""
    identity = bb.Base.identity
    bb.eval("1+1")
    for x in (
        *(True, 1, 1.5, 1j, "text", None, 1 << 70, (1, "a"), [1, 2], [1.5], ["a"], [1, "a"], []),
        *({"a": 1}, {1, 2}, range(3), b"bytes", bytearray(b"bytes"), print, object()),
    ):
        identity(x)
        repr(identity([x]))
    for code in (
        *("nothing", "true", "1.5", "2im", "'a'", '"a"', ":a", "Int", "big(2)^70", "1//2"),
        *("(1, 2.5)", "(a = 1, b = 2.5)", "x -> x", "Dict(1 => 2)", "missing", "1:3", "Set([1])"),
    ):
        x = bb.eval(code)
        repr(x), str(x), dir(x)
    for name, args in (
        *(("+", (1, 2)), ("+", (1.5, 2.5)), ("*", (2, 1.5)), ("sqrt", (2,)), ("string", (1, "a"))),
        *(("println", ("",)), ("length", ("abc",)), ("getindex", ([1, 2], 1))),
    ):
        getattr(bb.Base, name)(*args)
    bb.Base.sort([3, 1, 2], rev=True)
    bb.Base.round(1.25, digits=1)


def definitions() -> None:
    """Code as a user writes it first, its names and its objects."""
    module = bb.eval("module Workload\nstruct Point x::Float64; y::Float64 end\nend")
    bb.eval("f(x; k = 1) = x + k\nf(2)", module)
    module.f(1, k=2)
    module.variable = 1
    point = module.Point(1, 2)
    point.x, point == module.Point(1, 2), hash(point), bool(point == 1)
    repr(point), hasattr(point, "z"), dir(module)
    dictionary = bb.eval('Dict("a" => 1)')
    dictionary["a"], len(dictionary), list(dictionary), "a" in dictionary
    dictionary["b"] = 2


def arrays() -> None:
    """Julia's arrays in Python: memory, items, slices, display."""
    for code in (
        *(
            "collect(1:6)",
            "collect(1.0:6.0)",
            "rand(Float32, 6)",
            "zeros(2, 3)",
            "zeros(Int, 2, 3)",
        ),
        *("zeros(2, 3)'", "view(zeros(4, 4), 1:2, :)", "zeros(ComplexF64, 3)", "[true, false]"),
        *("[(a = 1, b = 2.5)]", 'Any[1, "a"]', '["a", "b"]', "1:3", "zeros(2, 2, 2)", "UInt8[1]"),
    ):
        x = bb.eval(code)
        with contextlib.suppress(BufferError, NotImplementedError):
            memoryview(x).tolist()
        repr(x), str(x), len(x), x.shape, list(x), x[0], x[-1], x[1:], x[...], x[:0]
        with contextlib.suppress(bb.JuliaError, TypeError):
            x[0] = x[0]
            x[:] = x


def buffers() -> None:
    """Memory of Python's in Julia."""
    sum_, identity = bb.Base.sum, bb.Base.identity
    exporters: list[Any] = [array.array(code, [1, 2, 3, 4]) for code in "Bild"]
    exporters += [memoryview(x)[::2] for x in exporters[2:]]
    exporters += [memoryview(bytes(48)).cast("d", (2, 3))]
    with contextlib.suppress(ImportError):
        import numpy as np

        matrix = np.ones((4, 4))
        exporters += [matrix, np.asfortranarray(matrix), matrix[::2, ::2]]
        exporters += [np.ones(4, dtype) for dtype in ("f4", "?", "c16", ">f8", "S4", "i4,f8")]
        for scalar in (np.float64(1), np.int64(1), np.float32(1), np.bool_(True)):
            identity(scalar)
        np.asarray(bb.eval("zeros(2, 3)")), np.asarray(bb.eval("[(a = 1, b = 2.5)]"))
    for x in exporters:
        shared = identity(x)
        wrapped = bb.wrap(x)
        repr(shared), repr(wrapped), shared[0], list(wrapped), wrapped[0:1], len(wrapped)
        with contextlib.suppress(bb.JuliaError, TypeError):
            sum_(x), bb.Base.copy(x), bb.Base.maximum(x)
    with bb.borrow(bytearray(8)) as x:
        sum_(x), repr(x)
    fill = bb.eval("(v, x) -> (v .= v .* 2 .+ x; v)")
    fill(array.array("d", [1, 2]), 1.5)


def callbacks() -> None:
    """Python's functions and objects in Julia."""
    bb.Base.map(lambda x: 2 * x, [1, 2, 3])
    bb.Base.map(lambda x: x, array.array("d", [1, 2]))
    bb.Base.foreach(lambda x: None, [1, 2])
    bb.eval("f -> f(1, 2; c = 3)")(lambda a, b, c: a + b + c)
    bb.callback(lambda x: x, float)(1.5)
    with contextlib.suppress(ValueError):
        bb.eval("f -> f([1.0])")(lambda x: int("x"))
    bb.nogil(bb.Base.sum)([1, 2])
    module = bb.eval("module Objects\nusing BufferBridge\nend")
    for code in (
        'pyimport("math").sqrt(2)',
        'PyDict{String,Int}(Dict("a" => 1))["a"]',
        "push!(PyList([1, 2]), 3)[1]",
        "o = PyObject([1, 2]); (o[0], length(o), string(o), o == o)",
        'sum(x for x in pybuiltin("range")(3))',
        'pycall(pybuiltin("len"), Int, [1])',
        "convert(Vector{Int}, PyObject((1, 2)))",
        "PyObject(2) + 1",
    ):
        bb.eval(code, module)
    bb.eval("o -> (o.name, string(o), hasproperty(o, :other))")(types.SimpleNamespace(name=1))
    bb.stats(detail=True)


def objects() -> None:
    """Julia objects in Python, and values beyond the plain ones."""
    x = bb.Base.BigFloat(1.5)
    x + 1, 2 * x, -x, x < 2, x == 1.5, hash(x), float(x), int(x), bool(x), x.__doc__
    d = bb.eval("Dict{String,Any}()")
    d["a"] = 1
    d["a"], d.get("b"), list(d.items()), "a" in d, repr(d), d == {"a": 1}
    s = bb.eval("Set([1])")
    s | {2}, 1 in s, list(s)
    bb.eval('IOBuffer("text")').read()
    y = bb.eval("[1.0, 2.0]")
    y + 1, y * y, y @ y
    bb.eval("1", raw=True), y._repr_mimebundle_(), inspect.signature(bb.eval("x -> x"))
    bb.Base.identity((datetime.date(2000, 1, 1), datetime.datetime(2000, 1, 1)))
    bb.Base.identity((datetime.timedelta(1), fractions.Fraction(1, 2)))


def compiled() -> None:
    """Calls that are compiled: frequent ones, and typed exports."""
    for code, *args in (("(a, b) -> a + b", 1, 2), ("x -> string(x)", 1.5)):
        f = bb.eval(code)
        for _ in range(5000):
            f(*args)
    module = bb.eval(
        "module Exports\nusing BufferBridge\n"
        '"The sum."\n@pyexport add(a::Int, b::Int = 1)::Int = a + b\n'
        "@pyexport total(x::Vector{Float64})::Float64 = sum(x)\nend"
    )
    module.add(1), module.add(1, 2), module.total(array.array("d", [1]))
    with contextlib.suppress(bb.JuliaError):
        module.total([1])


def errors() -> None:
    """What goes wrong, and how it is told."""
    for code in (
        *(
            'error("text")',
            "[1][2]",
            "Dict()[1]",
            "sqrt(-1)",
            "unknown",
            "1 +",
            "sin()",
            'sin("a")',
        ),
        *('throw(ArgumentError("text"))', "div(1, 0)", "Int(1.5)", "Base.unknown", "@assert false"),
    ):
        try:
            bb.eval(code)
        except Exception as error:
            str(error), getattr(error, "backtrace", "")
    try:
        bb.Base.map(lambda x: 1 // x, [0])
    except ZeroDivisionError as error:
        str(error)
    with contextlib.suppress(bb.JuliaError):
        bb.eval("(x::Vector{Float64}) -> x")(bb.wrap(b"abc"))


def output() -> None:
    """What Julia prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        bb.eval('println("text ", 1, 1.5); print(stderr, "text"); display([1.0, 2.0]); @show 1')
        bb.eval('@warn "text"; @info "text"')


def main(file: str, options: list[str]) -> None:
    """Trace all of it into `file`."""
    image = [o.partition("=")[2] for o in options if o.startswith("--sysimage=")]
    others = tuple(o for o in options if not o.startswith("--sysimage="))
    _start._session = _start._start({"sysimage": image[0]}, (*others, f"--trace-compile={file}"))
    for piece in (
        values,
        definitions,
        arrays,
        buffers,
        callbacks,
        objects,
        compiled,
        errors,
        output,
    ):
        piece()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
