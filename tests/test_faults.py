"""Faults injected at each place where one can happen.

Allocations that fail one by one, exporters that raise or lie about their memory, and exceptions in every
position in which one language calls the other. What may crash runs in a process of its own, which calls
functions of this module.
"""

from __future__ import annotations

import collections
import ctypes
import gc
import io
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import bufferbridge as bb

from .faults import Operation, allocation_faults

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run_tests(run_python):
    """Runs code that uses this module in a process of its own."""

    def run(code: str):
        # Appended, since what is installed may be tested.
        first = f"import sys\nsys.path.append({str(ROOT)!r})\nfrom tests import test_faults\n"
        return run_python(first + textwrap.dedent(code), args=["-X", "faulthandler"])

    return run


# ------------------------------------------------------------- allocations that fail

Point = collections.namedtuple("Point", "x y")


class Interface:
    """Has an __array_interface__, and no buffer."""

    def __init__(self, array):
        self.array = array
        self.__array_interface__ = array.__array_interface__


def arguments() -> list[Operation]:
    """Values of every kind on their way to Julia, which says what came."""
    typename = bb.eval("(x...; k...) -> string(typeof(x), typeof(values(k)))")
    values = {
        "int": 5,
        "float": 2.5,
        "bool": True,
        "none": None,
        "str": "grüße",
        "ascii": "text",
        "surrogates": "a\udcff",
        "big int": 2**200,
        "complex": 1 + 2j,
        "tuple": (1, "a", 2.5),
        "named tuple": Point(1, "y"),
        "list": [1, 2.5, "x"],
        "nested": [(1, [2**70]), {"a": [1.5]}],
        "dict": {"a": 1, "b": 2**70},
        "set": {1, 2, 3},
        "range": range(3, 20, 4),
        "bytes": b"bytes",
        "bytearray": bytearray(b"bytes"),
        "memoryview": memoryview(b"bytes")[::2],
        "ctypes array": (ctypes.c_int * 3)(),
        "1-d": np.arange(3.0),
        "2-d row-major": np.ones((2, 3)),
        "2-d column-major": np.ones((2, 3), order="F"),
        "3-d row-major": np.ones((2, 3, 4)),
        "strided": np.arange(10)[::-3],
        "read-only": np.broadcast_to(1.5, (2, 2)),
        "swapped": np.arange(3, dtype=">i4"),
        "records": np.zeros(2, dtype=[("a", "i1"), ("b", "f8")]),
        "aligned records": np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        "objects": np.array([1, "x", None], dtype=object),
        "strings": np.array(["ab", "c"]),
        "interface": Interface(np.arange(3.0)),
        "interface of records": Interface(np.zeros(2, dtype=[("a", "i1"), ("b", "f8")])),
        "interface, strided": Interface(np.arange(10)[::2]),
        "int32 scalar": np.int32(5),
        "float64 scalar": np.float64(5),
        "complex64 scalar": np.complex64(5),
        "record scalar": np.zeros(1, dtype=[("a", "i1"), ("b", "f8")])[0],
        "long double scalar": np.longdouble(1.5),
        "datetime scalar": np.datetime64("2020"),
        "callable": len,
        "object": object(),
        "julia object": bb.eval("Ref(1)"),
        "julia array": bb.eval("[1.0, 2.0]"),
        "julia view": bb.eval("[1.0, 2.0, 3.0]")[1:],
    }
    operations = [
        Operation(name, lambda x=x: typename(x), watch=[x] if name != "none" else [])
        for name, x in values.items()
    ]
    array, text = np.arange(3.0), "a text that is an argument"
    operations += [
        Operation("keywords", lambda: typename(1, k=array, s=text), watch=[array, text]),
        Operation("12 arguments", lambda: typename(*[array] * 12), watch=[array]),
        Operation("40 arguments", lambda: typename(*[text] * 40), watch=[text]),
        Operation("30 keywords", lambda: typename(**{f"k{i}": array for i in range(3)})),
        Operation("bb.eval", lambda: bb.eval("(1, \"a\")")),
        Operation("wrap", lambda: typename(bb.wrap(array)), watch=[array]),
        Operation("wrap of records", lambda: bb.wrap(values["records"]).shape),
        Operation("wrap of bytes", lambda: bytes(bb.wrap(b"bytes"))),
    ]
    return operations


def results() -> list[Operation]:
    """Values of every kind on their way to Python."""
    codes = {
        "int": "5000",
        "UInt64": "typemax(UInt64)",
        "Int128": "Int128(2)^100",
        "BigInt": "-big(2)^200",
        "float": "2.5",
        "Float32": "2.5f0",
        "complex": "1.5 + 2im",
        "complex of ints": "1 + 2im",
        "bool": "true",
        "nothing": "nothing",
        "str": '"grüße"',
        "bytes in a str": '"a\\xff"',
        "substring": 'SubString("abcdef", 2, 4)',
        "char": "'∀'",
        "tuple": '(1, "a", big(2)^100, (2.5, ))',
        "named tuple": '(x = 1, y = (z = "a",))',
        "named tuple with strange names": "(; :_x => 1, :class => 2)",
    }
    operations = [
        Operation(name, bb.eval(f"let x = {code}; () -> x; end")) for name, code in codes.items()
    ]
    for operation in operations:
        if operation.name.startswith("named"):
            operation.run()  # CPython's compiler, which makes the type, crashes without memory
    held = {
        "vector": "[1.0, 2.0]",
        "5-d array": "zeros(1, 2, 3, 4, 5)",
        "strings": '["a", "b"]',
        "any": "Any[1, 2.5]",
        "range": "1:3",
        "view": "view(collect(1.0:9.0), 2:2:8)",
        "large": "zeros(10^6)",
    }
    for name, code in held.items():
        f = bb.eval(f"() -> {code}")
        operations.append(Operation(name, lambda f=f: f().shape))
    kinds = {"function": "sin", "module": "Base", "type": "Int", "symbol": ":a", "ref": "Ref(1)"}
    for name, code in kinds.items():
        f = bb.eval(f"() -> {code}")
        operations.append(Operation(name, lambda f=f: type(f())))
    # More than there are slots.
    many = bb.eval("n -> Tuple([i] for i in 1:n)")
    operations.append(Operation("many arrays", lambda: len(many(40))))
    errors = {
        "BoundsError": "[1, 2][3]",
        "KeyError": 'Dict("a" => 1)["b"]',
        "ArgumentError": 'throw(ArgumentError("x"))',
        "MethodError": "sin()",
        "UndefVarError": "nosuchname",
        "InterruptException": "throw(InterruptException())",
        "error": 'error("grüße")',
        "a string": 'throw("text")',
        "while printing": 'print(" "); error("x")',
    }
    for name, code in errors.items():
        f = bb.eval(f"() -> ({code})")

        def failing(f=f):
            try:
                f()
            except bb.JuliaError as e:
                if isinstance(e, MemoryError):
                    raise
                return type(e), str(e)

        operations.append(Operation(name, failing))
    return operations


def slots() -> list[Operation]:
    """What Python does with Julia objects besides calling them."""
    bb.eval(
        """
        mutable struct Slotted; a::Any; b::Vector{Float64}; end
        Base.length(s::Slotted) = 3
        Base.getindex(s::Slotted, i...) = i
        Base.setindex!(s::Slotted, x, i...) = (s.a = x)
        Base.iterate(s::Slotted, i = 1) = i > 3 ? nothing : (string("item", i), i + 1)
        Base.in(x, s::Slotted) = x == "item1"
        Base.:(==)(s::Slotted, t::Slotted) = true
        Base.isless(s::Slotted, t::Slotted) = false
        Base.hash(s::Slotted, h::UInt) = 0xfffffffffffffffe
        Base.show(io::IO, s::Slotted) = print(io, "Slotted")
        """
    )
    s, t = bb.eval("Slotted(1, [1.0])"), bb.eval("Slotted(2, [])")
    x = bb.eval("[10 * i + j + 0.0 for i in 1:3, j in 1:4]")
    strings = bb.eval('["a", "b"]')
    records = bb.eval("[(a = 1, b = 2.5), (a = 3, b = 4.5)]")
    vector = bb.eval("collect(1.0:1000.0)")
    trimmed = bb.eval("() -> resize!(zeros(10^5), 10)")
    held = bb.eval("x -> (global held_by_test = x; nothing)")
    payload = np.arange(3.0)

    def stored(f):
        f()
        return s.a

    def setting(value):
        s.a = value

    def assign(key, value, a=x):
        a[key] = value
        return memoryview(a).tobytes()

    def release(f):
        r = f()
        held(None)
        return r

    def why():
        try:
            memoryview(strings)
        except BufferError as e:
            return str(e)

    def attribute_error():
        try:
            s.nosuch
        except AttributeError as e:
            return str(e)

    operations = {
        "getattr": lambda: s.a,
        "getattr of an array": lambda: s.b.shape,
        "getattr of a module": lambda: bb.Main.Slotted is not None,
        "getattr with !": lambda: type(bb.Base.push_b),
        "no attribute": attribute_error,
        "hasattr": lambda: hasattr(bb.Main, "nosuch"),
        "setattr": lambda: stored(lambda: setting("a text")),
        "setattr of an array": lambda: stored(lambda: setting(5)),
        "setattr in a module": lambda: setattr(bb.Main, "held_by_test", 1),
        "dir": lambda: len(dir(s)),
        "dir of a module": lambda: len(dir(bb.Main)) > 3,
        "repr": lambda: repr(s),
        "str": lambda: str(s),
        "repr of an array": lambda: repr(x),
        "hash": lambda: hash(s),
        "==": lambda: s == t,
        "<": lambda: s < t,
        "in": lambda: "item1" in s,
        "len": lambda: len(s),
        "bool": lambda: bool(s),
        "getitem": lambda: s[1, "key"],
        "setitem": lambda: stored(lambda: s.__setitem__((1, "key"), (1, 2))),
        "iteration": lambda: list(s),
        "item": lambda: x[1, 2],
        "item with a numpy index": lambda: x[np.int64(1), 2],
        "slice": lambda: x[1:, ::2].shape,
        "slice of a slice": lambda: memoryview(x[1:, ::2][..., 1]).tolist(),
        "item of strings": lambda: strings[1],
        "iteration of strings": lambda: list(strings),
        "field": lambda: memoryview(records["b"]).tolist(),
        "assignment of an item": lambda: assign((0, 0), 5.5),
        "assignment of an int": lambda: assign((0, 0), 2**80),
        "assignment of a row": lambda: assign(0, [1.0, 2.0, 3.0, 4.0]),
        "assignment of an array": lambda: assign(slice(1, None), np.ones((2, 4))),
        "assignment of a field": lambda: assign("b", [1.5, 2.5], records),
        "shape": lambda: (x.shape, x.strides, x.format, x.nbytes),
        "memoryview": lambda: memoryview(x).tolist(),
        "memoryview of a vector": lambda: memoryview(trimmed()).tolist(),
        "memoryview of what has no memory": why,
        "np.asarray": lambda: np.asarray(vector).size,
        "copied strings": lambda: bb.JuliaArray.__array__(strings).tolist(),
        "__array_interface__": lambda: x.__array_interface__["shape"],
        "stats": lambda: len(bb.stats()),
        "holding an array": lambda: release(lambda: held(payload)),
    }
    return [Operation(name, run, watch=[s, t, x, payload]) for name, run in operations.items()]


def callbacks() -> list[Operation]:
    """Julia calling Python, and printing through it."""
    array = np.arange(3.0)
    call = bb.eval("(f, x...; k...) -> f(x...; k...)")
    typed = bb.eval("f -> string(typeof(f()))")
    sorting = bb.eval("(f, n) -> sort(collect(1:n); by = f)")
    passing = bb.eval(
        """
        f -> try
            f()
        catch e
            e isa BufferBridge.PyException || rethrow()
            sprint(showerror, e)
        end
        """
    )
    error = KeyError("mine")

    # Without a file, which the traceback module would read again and again.
    code = compile("def raising(*args): raise error.with_traceback(None)", "<no file>", "exec")
    exec(code, namespace := {"error": error})
    raising = namespace["raising"]

    # A raise statement itself ends in it, where there is no memory for a traceback.
    cpython = (SystemError,)

    def same(f):
        try:
            f()
        except KeyError as e:
            return e is error

    class Thing:
        attribute = 1.5

        def __repr__(self):
            return "a thing"

    thing = Thing()
    thing.attribute = bb.eval("[2.5]")  # as many Julia objects as afterwards
    use = bb.eval(
        "o -> (o.attribute = (1, [2.5]); string(o.attribute, repr(o), string(o), :attribute in propertynames(o)))"
    )

    def printing(code):
        f = bb.eval(f"() -> ({code}; nothing)")

        stream = io.StringIO()

        def run():
            old = sys.stdout, sys.stderr
            sys.stdout = sys.stderr = stream
            try:
                f()
                f()
            finally:
                sys.stdout, sys.stderr = old
                stream.truncate(0)

        return run

    def giving(x):
        return lambda: x  # made before: CPython loses references if it can't make a closure

    give = {
        "int": 5,
        "text": "a text",
        "list": [1, 2.5],
        "array": array,
        "named tuple": Point(1, 2),
        "object": thing,
    }
    return [
        *(
            Operation(f"result {name}", lambda f=giving(x): typed(f), watch=[x])
            for name, x in give.items()
        ),
        Operation("arguments", lambda: call(lambda *a: len(a), 1, 2.5, "a", [1], array, thing)),
        Operation("julia arguments", lambda: call(lambda *a: len(a), bb.Base, s := bb.Main, s)),
        Operation("keywords", lambda: call(lambda *a, **k: k["b"], 1, a=2**70, b="text")),
        Operation("map", lambda: bb.Base.map(lambda x: x + 0.5, [1, 2, 3]).shape),
        Operation("sort", lambda: list(sorting(lambda x: -x, 5))),
        Operation("nested", lambda: call(lambda: call(lambda: call(lambda: (1, "a"))))),
        Operation("object", lambda: use(thing), watch=[thing]),
        Operation("raising", lambda: same(lambda: call(raising, 1)), watch=[error], also=cpython),
        Operation("raising in a map", lambda: same(lambda: bb.Base.map(raising, [1])), also=cpython),
        # Julia catches what there is, MemoryError too.
        Operation("caught in Julia", lambda: "Error" in passing(raising)),
        Operation("printing", printing('print("no line")')),
        Operation("printing lines", printing('println("a line"); println(stderr, 5)')),
    ]


def python_conversions() -> list[Operation]:
    """Iterators and containers whose own code allocates."""

    class Sequence(tuple):
        __slots__ = ()

    class Dictionary(dict):
        def items(self):
            return [(k, v) for k, v in super().items()]

    class Structure(ctypes.Structure):
        _fields_ = [("a", ctypes.c_int), ("b", ctypes.c_double)]

    typename = bb.eval("x -> string(typeof(x))")
    values = {
        "tuple of a class": Sequence((1, 2)),
        "dict of a class": Dictionary(a=1),
        "ctypes structure": Structure(1, 2.5),
        "ctypes structures": (Structure * 3)(),
        "ndarray of a class": np.arange(3.0).view(type("Mine", (np.ndarray,), {})),
        "record array": np.rec.array([(1, 2.5)], dtype=[("a", "i1"), ("b", "f8")]),
    }
    return [Operation(n, lambda x=x: typename(x), watch=[x]) for n, x in values.items()]


GROUPS = {f.__name__: f for f in (arguments, results, slots, callbacks, python_conversions)}


def run_group(name: str) -> None:
    """In a process of its own: one of GROUPS."""
    import traceback  # what would be imported while memory fails

    from bufferbridge import _formats

    assert traceback and _formats
    sys.stdout.write("")
    wrong = allocation_faults(GROUPS[name]())
    gc.collect()
    print("\n".join(wrong))
    raise SystemExit(bool(wrong))


@pytest.mark.parametrize("group", GROUPS)
def test_allocations_that_fail(run_tests, group):
    pytest.importorskip("_testcapi")
    run_tests(f"test_faults.run_group({group!r})")
