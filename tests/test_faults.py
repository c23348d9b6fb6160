"""Faults injected at each place where one can happen.

Allocations that fail one by one, exporters that raise or lie about their memory, and exceptions in
every position in which one language calls the other. What may crash runs in a process of its own,
which calls functions of this module.
"""

from __future__ import annotations

import collections
import ctypes
import gc
import io
import queue
import struct
import sys
import textwrap
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bufferbridge as bb

from .conftest import collect_both
from .faults import STRESS, Lie, Operation, allocation_faults, build_liar, compiler

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
        Operation("bb.eval", lambda: bb.eval('(1, "a")')),
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
        finally:
            error.__dict__.pop("__notes__", None)  # which hold Julia's frames

    class Thing:
        attribute = 1.5

        def __repr__(self):
            return "a thing"

    thing = Thing()
    thing.attribute = bb.eval("[2.5]")  # as many Julia objects as afterwards
    use = bb.eval(
        "o -> (o.attribute = (1, [2.5]);"
        "string(o.attribute, repr(o), string(o), :attribute in propertynames(o)))"
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
            Operation(f"result {name}", lambda f=f: typed(f), watch=[f()])
            for name, f in {name: giving(x) for name, x in give.items()}.items()
        ),
        Operation("arguments", lambda: call(lambda *a: len(a), 1, 2.5, "a", [1], array, thing)),
        Operation("julia arguments", lambda: call(lambda *a: len(a), bb.Base, s := bb.Main, s)),
        Operation("keywords", lambda: call(lambda *a, **k: k["b"], 1, a=2**70, b="text")),
        Operation("map", lambda: bb.Base.map(lambda x: x + 0.5, [1, 2, 3]).shape),
        Operation("sort", lambda: list(sorting(lambda x: -x, 5))),
        Operation("nested", lambda: call(lambda: call(lambda: call(lambda: (1, "a"))))),
        Operation("object", lambda: use(thing), watch=[thing]),
        Operation("raising", lambda: same(lambda: call(raising, 1)), watch=[error], also=cpython),
        Operation(
            "raising in a map", lambda: same(lambda: bb.Base.map(raising, [1])), also=cpython
        ),
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


def lent_arguments() -> list[Operation]:
    """Callbacks with plain arguments, and with more than fit on the stack."""
    call = bb.eval("(f, xs...) -> f(xs...)")
    array, other = np.arange(4.0), object()
    cases = {
        "plain": (1, 2.5, "s", 2**40),
        "twelve": range(2**40, 2**40 + 12),
        "objects": (other, array, 1, "x"),
        "twelve with objects": [other, array, 2**40] * 4,
        "text that is no UTF-8": ("\udcff",),
        "large": (2**70,),
    }

    def last(*args):
        return args[-1]

    watch = [array, other]
    return [Operation(n, lambda xs=xs: call(last, *xs), watch=watch) for n, xs in cases.items()]


def exports() -> list[Operation]:
    bb.eval(
        """
        module Faulty
        using BufferBridge
        @pyexport total(x::AbstractVector{Float64}, y::Int)::Float64 = sum(x) + y
        @pyexport text(x::String, y::Float64)::String = string(x, y)
        @pyexport large(x::BigInt)::BigInt = x
        @pyexport add(x::Int, y::Int)::Int = x + y
        end"""
    )
    array = np.arange(4.0)
    cases = {"total": (array, 1), "text": ("é", 1.0), "large": (2**80,), "add": (2**40, 5)}
    functions = {name: getattr(bb.Main.Faulty, name) for name in cases}
    for name, args in cases.items():  # compiled
        functions[name](*args)
    return [
        Operation(n, lambda f=f, xs=cases[n]: f(*xs), watch=[array]) for n, f in functions.items()
    ]


GROUPS = {
    f.__name__: f
    for f in (arguments, results, slots, callbacks, lent_arguments, exports, python_conversions)
}


def run_group(name: str) -> None:
    """In a process of its own: one of GROUPS."""
    import traceback  # what would be imported while memory fails

    from bufferbridge import _formats

    assert traceback and _formats
    bb.Base.identity(object())  # and where conversions are looked for
    sys.stdout.write("")
    wrong = allocation_faults(GROUPS[name]())
    gc.collect()
    print("\n".join(wrong))
    raise SystemExit(bool(wrong))


@pytest.mark.parametrize("group", GROUPS)
def test_allocations_that_fail(run_tests, group):
    pytest.importorskip("_testcapi")
    run_tests(f"test_faults.run_group({group!r})")


# -------------------------------------------------------------- exporters that raise or lie


@pytest.fixture
def run_liars(run_tests, tmp_path):
    """As run_tests, where the module `liar` can be imported."""
    if not compiler():
        pytest.skip("there is no C compiler")
    build_liar(tmp_path)
    return run_tests


def exporter_type():
    """An exporter that does what its attributes say; see SOURCE in faults.py."""
    import liar

    class Exporter(liar.Exporter):
        def __init__(self, lie=None, answer=None, release=None):
            self.lie = lie
            self.does = answer, release
            self.gets = self.releases = 0

        def answer(self, address, flags):
            answer = self.does[0]
            if isinstance(answer, BaseException) and not self.lie:
                raise answer
            if self.lie is not None:
                self.lie.write(address, self)
                self.gets += 1
            return answer

        def release(self, address):
            self.releases += 1
            if self.does[1] is not None:
                self.does[1](self)

    return Exporter


class Custom(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("in __str__")

    __repr__ = __str__


EXCEPTIONS = (
    ValueError("ordinary"),
    KeyboardInterrupt("interrupt"),
    SystemExit(3),
    GeneratorExit("exit"),
    MemoryError("memory"),
    RecursionError("recursion"),
    Custom("custom"),
    Unprintable("not shown"),
)


def raised_by(f, *args, **kwargs) -> BaseException | None:
    """What comes out, without the notes that hold Julia's frames; None if nothing does."""
    try:
        f(*args, **kwargs)
    except BaseException as e:
        e.__dict__.pop("__notes__", None)
        return e
    return None


def uses_of_buffers():
    """All ways in which the memory of an object is asked for."""
    call = bb.eval("(f, x...) -> f(x...)")
    target = bb.eval("zeros(3)")
    holder = bb.eval("Ref{Any}(1)")
    objects = bb.eval("o -> BufferBridge.PyArray(o.exporter)")

    class Holder:
        def __init__(self, exporter):
            self.exporter = exporter

    return {
        "argument": lambda x: bb.Base.identity(x),
        "second argument": lambda x: bb.Base.tuple(np.zeros(3), x),
        "keyword": lambda x: bb.eval("(; k = 1) -> 1")(k=x),
        "item": lambda x: bb.Base.identity([1, x]),
        "value of a dict": lambda x: bb.Base.identity({"a": x}),
        "wrap": lambda x: bb.wrap(x),
        "assigned": lambda x: target.__setitem__(slice(None), x),
        "setattr": lambda x: setattr(holder, "x", x),
        "result": lambda x: call(lambda: x),
        "attribute": lambda x: objects(Holder(x)),
        "compared": lambda x: bb.eval("(a, b) -> a === b")(x, 1),
        "contained": lambda x: x in bb.eval("[1]"),
    }


def run_raising_exporters() -> None:
    exporter = exporter_type()
    uses = uses_of_buffers()
    lie = Lie(bytes(24), itemsize=8, shape=(3,), format=b"d")
    before = collect_both()
    for name, use in uses.items():
        for error in EXCEPTIONS:
            x = exporter(answer=error)
            assert raised_by(use, x) is error, (name, error)
            error.__traceback__ = None
            x = exporter(lie, answer=error)  # raises, and says that it has not
            assert raised_by(use, x) is error, (name, type(error))
            assert (x.gets, x.releases) == (1, 1)
            error.__traceback__ = None
        x = exporter(answer=False)
        refused = raised_by(use, x)
        assert isinstance(refused, BufferError), (name, refused)
        assert "Exporter" in str(refused)
        refused.__traceback__ = None
        collect_both()
        assert sys.getrefcount(x) == 2, name
    del x, refused
    after = collect_both()
    assert after == before, (before, after)
    assert bb.eval("1 + 1") == 2


def run_releasing_exporters() -> None:  # noqa: PLR0915
    exporter = exporter_type()
    unraisable: list = []
    sys.unraisablehook = lambda args: unraisable.append(args.exc_value)
    lie = Lie(bytes(24), itemsize=8, shape=(3,), format=b"d")
    saved: list = []
    f = bb.eval("x -> sum(x)")
    before = collect_both()

    def raising(error):
        def release(x):
            raise error

        return release

    for error in EXCEPTIONS:
        x = exporter(lie, release=raising(error))
        assert f(x) == 0
        collect_both()
        assert (x.gets, x.releases) == (1, 1)
        assert unraisable == [error]
        unraisable.clear()
        error.__traceback__ = None

    def calls_julia(x):
        saved.append(f(np.ones(3)))
        saved.append(raised_by(bb.eval, 'error("x")') is not None)

    x = exporter(lie, release=calls_julia)
    f(x)
    collect_both()
    assert saved == [3, True]
    # Errors of its own while another one is on its way.
    saved.clear()
    x = exporter(lie, release=calls_julia)
    assert isinstance(raised_by(bb.Base.sqrt, x), TypeError)
    collect_both()
    assert x.releases == 1
    # Only Julia has the exporter; it comes back to life.
    saved.clear()
    f(exporter(lie, release=saved.append))
    collect_both()
    assert len(saved) == 1
    assert saved[0].releases == 1
    f(saved[0])
    collect_both()
    assert saved[0].releases == 2
    saved.clear()
    # Uses its own memory while it lets go of it.
    x = exporter(lie, release=lambda self: self.releases < 3 and f(self))
    f(x)
    collect_both()
    collect_both()
    assert x.gets == x.releases == 3
    # Without an owner in the Py_buffer there is nothing to release, but somebody has the memory.
    x = exporter(lie)
    x.lie = type("Ownerless", (Lie,), {"write": lambda self, a, o: Lie.write(self, a, None)})(
        bytes(24), itemsize=8, shape=(3,), format=b"d"
    )
    count = sys.getrefcount(x)
    kept = bb.Base.identity(x)
    assert sys.getrefcount(x) == count + 1
    del kept
    collect_both()
    assert sys.getrefcount(x) == count
    assert x.releases == 0
    del x
    assert not unraisable
    after = collect_both()
    assert after == before, (before, after)


def test_exporters_that_raise(run_liars):
    run_liars("test_faults.run_raising_exporters()")


def test_exporters_whose_release_is_strange(run_liars):
    run_liars("test_faults.run_releasing_exporters()")


HUGE = (2**31, 2**62, 2**63 - 1, -(2**63), -(2**31))
NUMBERS = st.sampled_from((0, 1, 2, 3, 4, 8, 16, -1, -8))
SIZES = st.one_of(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(HUGE))
FORMATS = (
    b"B",
    b"d",
    b"<i",
    b">h",
    b"T{b:a:d:b:}",
    b"^T{b:a:d:b:}",
    b"(2)h",
    b"3s",
    b"O",
    b"g",
    b"Zd",
)
BAD_FORMATS = (
    b"",
    b"\xff",
    b"T{",
    b"99999999999999999999d",
    b"0s",
    b"4611686018427387904x",
    b"(0)d",
)


@st.composite
def lies(draw):
    """Answers of exporters, of which any part may be wrong."""
    size = 64
    ndim = draw(st.sampled_from((0, 1, 1, 2, 3, 5, -1, 65)))
    n = min(max(ndim, 0), 64)
    dims = st.none() | st.lists(SIZES, min_size=n, max_size=n).map(tuple)
    form = draw(st.none() | st.sampled_from(FORMATS) | st.sampled_from(BAD_FORMATS))
    small = st.sampled_from((1, 2, 4, 8))
    likely = st.lists(small, min_size=n, max_size=n).map(tuple)
    memory = bytes(size) if form and b"O" in form else bytes(range(size))
    return Lie(
        memory,
        offset=draw(st.sampled_from((0, 0, 0, 1, 32, 64))),
        len=draw(st.sampled_from((size, size, 8)) | SIZES),
        itemsize=draw(st.sampled_from((1, 2, 3, 4, 8, 9, 16)) | SIZES),
        readonly=draw(st.sampled_from((0, 0, 1, -1))),
        ndim=ndim,
        format=form,
        shape=draw(likely | dims),
        strides=draw(st.none() | likely | dims),
        suboffsets=draw(st.none() | st.just((-1,) * n)),
        **({"buf": None} if draw(st.integers(0, 15)) == 0 else {}),
    )


def truthful() -> list[Lie]:
    """Answers that are not wrong: with these the test shows that arrays do come out."""
    row = {"itemsize": 8, "format": b"d"}
    return [
        Lie(bytes(range(64)), **row, shape=(8,)),
        Lie(bytes(range(64)), **row, shape=None),
        Lie(bytes(range(64)), **row, shape=(2, 4), ndim=2),
        Lie(bytes(range(64)), **row, shape=(2, 4), strides=(8, 16), ndim=2),
        Lie(bytes(range(64)), **row, shape=(4,), strides=(-16,), offset=48),
        Lie(bytes(range(64)), itemsize=1, format=None, shape=None),
        Lie(bytes(range(64)), **row, ndim=0, shape=None),
        Lie(bytes(range(64)), **row, shape=(2, 1, 2, 1, 2), ndim=5),
    ]


def run_liars_of_all_kinds() -> None:
    exporter = exporter_type()
    bb.eval(
        """
        spans(x::Array) = (Int(pointer(x)), sizeof(x))
        spans(x::BufferBridge.PyArray) = spans(BufferBridge.data(x))
        spans(x::BufferBridge.PyStridedArray) = spans(BufferBridge.flat(x))
        spans(x::AbstractArray) = spans(parent(x))
        # Reads all elements, and writes them where that is allowed.
        function touch(x)
            for i in eachindex(x)
                v = x[i]
                BufferBridge.isreadonly(BufferBridge.memoryof(x)) || (x[i] = v)
            end
            return length(x)
        end
        """
    )
    spans, touch = bb.Main.spans, bb.Main.touch
    seen, arrays = [], []

    def claimed(lie):
        """Where the exporter says its memory is; None if not all of it is really there."""
        f = lie.fields
        low, high = f["buf"] or 0, f["buf"] or 0
        if f["shape"] is None or f["strides"] is None:
            high += max(f["len"], 0)
        elif 0 not in f["shape"]:
            steps = [(n - 1) * s for n, s in zip(f["shape"], f["strides"])]
            low += sum(s for s in steps if s < 0)
            high += sum(s for s in steps if s > 0) + f["itemsize"]
        return low, high

    def check(lie):
        x = exporter(lie)
        seen.append((lie, x))
        for use in (bb.Base.identity, bb.wrap):
            try:
                array = use(x)
                low, size = spans(array)
            except (BufferError, TypeError, ValueError) as e:
                assert str(e), lie.fields
                continue
            first, last = claimed(lie)
            if size > 0:
                assert first <= low, lie.fields
                assert low + size <= last, lie.fields
            arrays.append(use)
            inside = lie.start <= first <= last <= lie.start + lie.size
            if inside and lie.fields["buf"] is not None and array.size < 10000:
                assert touch(array) == array.size
                assert lie.intact(), lie.fields

    for lie in truthful():
        count = len(arrays)
        check(lie)
        assert len(arrays) == count + 2, lie.fields
    runs = settings(
        max_examples=5000 if STRESS else 200,
        deadline=None,
        database=None,
        derandomize=not STRESS,
        suppress_health_check=list(HealthCheck),
    )
    runs(given(lies())(check))()
    print(len(seen), "lies,", len(arrays), "arrays")
    collect_both()
    for lie, x in seen:
        assert x.gets == x.releases, lie.fields
    assert bb.stats()["pinned_buffers"] == 0


def test_exporters_that_lie(run_liars):
    run_liars("test_faults.run_liars_of_all_kinds()")


def run_pointers() -> None:
    """Suboffsets: rows that are reached through pointers, and what may be wrong with those."""
    exporter = exporter_type()
    block = ctypes.create_string_buffer(bytes(range(32)))
    rows = [ctypes.addressof(block) + 8 * i for i in range(4)]
    table = struct.pack("4P", *rows)
    total = bb.Base.sum
    cases = [
        ({"strides": (8, 1), "suboffsets": (0, -1)}, sum(range(32))),
        (
            {"strides": (8, 1), "suboffsets": (2, -1), "shape": (4, 6), "len": 24},
            sum(sum(range(8 * i + 2, 8 * i + 8)) for i in range(4)),
        ),
        ({"strides": (8, 1), "suboffsets": (0, -1), "shape": (0, 8)}, 0),
        ({"strides": (8, 1), "suboffsets": (-1, -1), "shape": (4, 8)}, sum(table)),
        ({"strides": None, "suboffsets": (-1, -3), "shape": (4, 8)}, sum(table)),
        # Without a shape there are so many bytes, whatever else is said.
        ({"strides": (8,), "suboffsets": (0,), "shape": None, "ndim": 1}, sum(table)),
        ({"strides": (1000,), "suboffsets": None, "shape": None, "ndim": 1}, sum(table)),
    ]
    for fields, expected in cases:
        lie = Lie(table, **{"ndim": 2, "shape": (4, 8), **fields})
        for use in (bb.Base.identity, bb.wrap):
            x = exporter(lie)
            assert total(use(x)) == expected, fields
            collect_both()
            assert (x.gets, x.releases) == (1, 1)


def test_exporters_with_pointers(run_liars):
    run_liars("test_faults.run_pointers()")


# --------------------------------------------------------- exceptions in every position


def julia_positions():
    """Julia code of every kind that calls a Python function: what raises there has to come out."""
    bb.eval(
        """
        struct Calling; f; end
        for name in (:length, :iterate, :hash, :isless, :setindex!, :getindex)
            @eval Base.$name(x::Calling, args...) = getfield(x, :f)()
        end
        Base.hash(x::Calling, h::UInt) = getfield(x, :f)()
        Base.:(==)(x::Calling, y::Calling) = getfield(x, :f)()
        Base.:(<)(x::Calling, y::Calling) = getfield(x, :f)()
        Base.in(y, x::Calling) = getfield(x, :f)()
        Base.show(io::IO, x::Calling) = getfield(x, :f)()
        Base.getproperty(x::Calling, name::Symbol) = getfield(x, :f)()
        Base.setproperty!(x::Calling, name::Symbol, v) = getfield(x, :f)()
        Base.propertynames(x::Calling, private::Bool = false) = getfield(x, :f)()
        Base.convert(::Type{Float64}, x::Calling) = getfield(x, :f)()
        struct CallingArray <: AbstractVector{Any}; f; end
        Base.size(x::CallingArray) = (2,)
        Base.getindex(x::CallingArray, i::Int) = x.f()
        Base.setindex!(x::CallingArray, v, i::Int) = x.f()
        struct CallingDict <: AbstractDict{Any,Any}; f; end
        Base.length(x::CallingDict) = x.f()
        Base.iterate(x::CallingDict, args...) = x.f()
        struct CallingSize <: AbstractVector{Any}; f; end
        Base.size(x::CallingSize) = x.f()
        """
    )
    calling, array = bb.Main.Calling, bb.Main.CallingArray
    codes = {
        "positional": "f -> f(1)",
        "keyword": "f -> f(; k = 1)",
        "broadcast": "f -> f.([1, 2])",
        "map": "f -> map(f, [1, 2])",
        "sort": "f -> sort([2, 1]; by = f)",
        "generator": "f -> collect(f(i) for i in 1:3)",
        "finally": "f -> try 1 finally f() end",
        "finally after an error": 'f -> try error("x") finally f() end',
        "rethrown": "f -> try f() catch; rethrow() end",
        "thrown again": "f -> try f() catch e; throw(e) end",
        "with a lock": "f -> (l = ReentrantLock(); lock(f, l))",
        "task": "f -> fetch(@async f())",
        "task in a task": "f -> fetch(@async fetch(@async f()))",
        "wait": "f -> wait(@async f())",
        "sync": "f -> @sync @async f()",
        "asyncmap": "f -> asyncmap(i -> f(), 1:3)",
        "channel": "f -> collect(Channel(c -> (put!(c, 1); f())))",
        "print": "f -> print(Calling(f))",
        "sprint": "f -> sprint(show, Calling(f))",
        "redirected": "f -> sprint(io -> f())",
        "atexit-like finalizer": "f -> (f(); finalizer(identity, Ref(1)))",
    }
    positions = {name: bb.eval(code) for name, code in codes.items()}
    floats = bb.eval("zeros(2)")
    call = positions["positional"]
    positions |= {
        "repr": lambda f: repr(calling(f)),
        "str": lambda f: str(calling(f)),
        "hash": lambda f: hash(calling(f)),
        "==": lambda f: calling(f) == calling(f),
        "<": lambda f: calling(f) < calling(f),
        "len": lambda f: len(calling(f)),
        "in": lambda f: 1 in calling(f),
        "iteration": lambda f: list(calling(f)),
        "getitem": lambda f: calling(f)[1],
        "setitem": lambda f: calling(f).__setitem__(1, 2),
        "getattr": lambda f: calling(f).name,
        "getattr with !": lambda f: calling(f).name_b,
        "hasattr": lambda f: hasattr(calling(f), "name"),
        "setattr": lambda f: setattr(calling(f), "name", 1),
        "dir": lambda f: dir(calling(f)),
        "converted element": lambda f: floats.__setitem__(0, calling(f)),
        "element": lambda f: array(f)[1],
        "elements": lambda f: list(array(f)),
        "repr of an array": lambda f: repr(array(f)),
        "np.asarray": lambda f: np.asarray(array(f)),
        "assigned element": lambda f: array(f).__setitem__(0, 1),
        "assigned elements": lambda f: array(f).__setitem__(slice(None), 1),
        "truth": lambda f: bool(bb.Main.CallingDict(f)),
        "size": lambda f: bb.Main.CallingSize(f).shape,
        "nested": lambda f: call(lambda _: call(lambda _: call(f))),
        "twice": lambda f: call(lambda _: (raised_by(call, f), call(f))),
    }
    return positions


def python_positions():
    """Objects whose methods raise, where the bridge calls them. Each takes what raises."""
    identity = bb.Base.identity
    floats = bb.eval("zeros(2)")
    use = {
        name: bb.eval(code)
        for name, code in {
            "getattr": "o -> o.x",
            "setattr": "o -> (o.x = 1)",
            "dir": "o -> propertynames(o)",
            "repr": "o -> repr(o)",
            "str": "o -> string(o)",
            "show": "o -> sprint(show, Any[o])",
            "call": "o -> o()",
            "PyArray": "o -> BufferBridge.PyArray(o)",
        }.items()
    }

    def having(base=object, name="", *args, interface=None):
        def make(f):
            body = {name: lambda self, *a: f()}
            if name.startswith("property "):
                body = {name.split()[1]: property(lambda self: f())}
            if interface is not None:
                body["__array_interface__"] = interface
            return type("Raising", (base,), body)(*args)

        return make

    memory = np.arange(4.0)

    class Key(str):
        """A key that is found by its hash, and can't be compared."""

        def __init__(self, text):
            self.f = None

        def __hash__(self):
            return hash(str(self))

        def __eq__(self, other):
            return self.f() if self.f else str.__eq__(self, other)

    def with_key(f):
        items = {Key(k): v for k, v in memory.__array_interface__.items()}
        for key in items:
            key.f = f
        return type("Interface", (), {"__array_interface__": items})()

    def with_metaclass(f):
        meta = type("Meta", (type,), {"_fields": property(lambda cls: f())})
        return meta("Fields", (tuple,), {})((1, 2))

    def with_stream(f, name, code):
        stream = type("Stream", (), {"write": lambda s, t: len(t), "flush": lambda s: None})()
        setattr(stream, name, lambda *args: f())
        old, sys.stdout = sys.stdout, stream
        try:
            bb.eval(code)
        finally:
            sys.stdout = old
            bb.eval("flush(stdout)")

    record = np.zeros(2, dtype=[("a", "i1"), ("b", "f8")]).__array_interface__
    index = having(name="__index__")
    return {
        "__index__": lambda f: floats[index(f)],
        "__index__ in a tuple": lambda f: floats[index(f),],
        "__index__ in a slice": lambda f: floats[index(f) :],
        "__index__ of an assignment": lambda f: floats.__setitem__(index(f), 1),
        "__len__ of a list": lambda f: identity(having(list, "__len__", [1])(f)),
        "__len__ of an item": lambda f: identity((1, having(list, "__len__", [1])(f))),
        "__getitem__ of a list": lambda f: identity(having(list, "__getitem__", [1])(f)),
        "__iter__ of a set": lambda f: identity(having(set, "__iter__", [1])(f)),
        "items of a dict": lambda f: identity(having(dict, "items")(f)),
        "_fields": lambda f: identity(with_metaclass(f)),
        "_fields of a named tuple": lambda f: bb.Base.tuple(1, a=with_metaclass(f)),
        "__getattr__": lambda f: use["getattr"](having(name="property x")(f)),
        "__getattribute__": lambda f: identity(having(name="__getattribute__")(f)),
        "__setattr__": lambda f: use["setattr"](having(name="__setattr__")(f)),
        "__dir__": lambda f: use["dir"](having(name="__dir__")(f)),
        "__repr__": lambda f: use["repr"](having(name="__repr__")(f)),
        "__str__": lambda f: use["str"](having(name="__str__")(f)),
        "__repr__ in a Vector": lambda f: use["show"](having(name="__repr__")(f)),
        "__call__": lambda f: use["call"](having(name="__call__")(f)),
        "__array_interface__": lambda f: identity(having(name="property __array_interface__")(f)),
        "... of an item": lambda f: identity([1, having(name="property __array_interface__")(f)]),
        "... wrapped": lambda f: bb.wrap(having(name="property __array_interface__")(f)),
        "... in Julia": lambda f: use["PyArray"](
            (having(name="property __array_interface__")(f),)[0]
        ),
        "keys of the interface": lambda f: identity(with_key(f)),
        "shape of the interface": lambda f: identity(
            having(
                name="property dtype",
                interface={**record, "shape": (1,)},
            )(f)
        ),
        "flag of the interface": lambda f: identity(
            having(
                interface={
                    **memory.__array_interface__,
                    "data": (memory.ctypes.data, having(name="__bool__")(f)),
                }
            )(f)
        ),
        "write": lambda f: with_stream(f, "write", 'println("x")'),
        "write at the end": lambda f: with_stream(f, "write", 'print("x"); 1'),
        "flush": lambda f: with_stream(f, "flush", "flush(stdout)"),
    }


def frames(error: BaseException) -> list[str]:
    names, traceback = [], error.__traceback__
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    return names


def run_positions(kind: str) -> None:
    positions = GROUPS_OF_POSITIONS[kind]()
    cyclic = ValueError("cyclic")
    cyclic.me = cyclic
    cyclic.__cause__ = KeyError("cause")
    cyclic.__cause__.__context__ = cyclic

    class Broken(Exception):
        def __init__(self):
            raise LookupError("in __init__")

    errors = (*EXCEPTIONS, cyclic)
    wrong: list[str] = []

    def raises_first(*args, **kwargs):
        raise ValueError

    for use in positions.values():  # Julia keeps the last one of some
        raised_by(use, raises_first)
    before = collect_both()
    for name, use in positions.items():
        # All of them where it costs little.
        for error in errors if STRESS or len(positions) < 40 else errors[:4]:

            def python_raises(*args, error=error, **kwargs):
                raise error

            got = raised_by(use, python_raises)
            if got is not error:
                wrong.append(f"{name}: {type(error).__name__} came out as {type(got)} {got!r}")
            elif "python_raises" not in frames(error):
                wrong.append(f"{name}: {type(error).__name__} lost its traceback")
            del got
            error.__traceback__ = error.__context__ = None

        def broken(*args, **kwargs):
            raise Broken

        got = raised_by(use, broken)
        if not isinstance(got, LookupError):
            wrong.append(f"{name}: LookupError came out as {type(got)} {got!r}")
        del got, broken, python_raises
    after = collect_both()
    if after != before:
        wrong.append(f"held before {before}, after {after}")
    if bb.eval("1 + 1") != 2:
        wrong.append("the bridge does not go on")
    print("\n".join(wrong))
    raise SystemExit(bool(wrong))


GROUPS_OF_POSITIONS = {"julia": julia_positions, "python": python_positions}


@pytest.mark.parametrize("kind", GROUPS_OF_POSITIONS)
def test_python_exceptions_in_every_position(run_tests, kind):
    run_tests(f"test_faults.run_positions({kind!r})")


def run_julia_exceptions() -> None:
    """As julia_positions, where Julia code throws; and what goes wrong in telling of it."""
    bb.eval(
        """
        struct Mine <: Exception; n::Int; end
        struct BadShow <: Exception; end
        Base.showerror(io::IO, e::BadShow) = throw(Mine(1))
        Base.show(io::IO, e::BadShow) = throw(Mine(1))
        struct Kind{K} <: Exception; end
        BufferBridge.errorkind(::Kind{K}) where {K} = K === :throws ? throw(Mine(1)) : K
        """
    )
    throwing = bb.eval("(args...; keywords...) -> throw(Mine(7))")
    wrong: list[str] = []
    positions = julia_positions()
    for use in positions.values():
        raised_by(use, throwing)
    before = collect_both()
    for name, use in positions.items():
        for _ in range(3):
            got = raised_by(use, throwing)
            if not isinstance(got, bb.JuliaError):
                wrong.append(f"{name}: {got!r}")
            elif not str(got.exception).startswith("Mine("):
                # Of a task that failed Julia tells with exceptions that contain the one.
                if not any(
                    kind in str(got) for kind in ("TaskFailed", "Composite", "Captured", "Mine")
                ):
                    wrong.append(f"{name}: {got!r}")
            elif got.exception.n != 7:
                wrong.append(f"{name}: {got.exception}")
            if got is not None:
                got.__traceback__ = None
    names = (
        "BadShow()",
        "Kind{:throws}()",
        "Kind{99}()",
        "Kind{-1}()",
        "Kind{:text}()",
        "Kind{true}()",
    )
    for code in names:
        got = raised_by(bb.eval, f"throw({code})")
        kind = code.split("(")[0].split("{")[0]
        if not isinstance(got, bb.JuliaError) or kind not in str(got):
            wrong.append(f"{code}: {got!r}")
    got = raised_by(bb.eval, "throw(Kind{4}())")
    if not isinstance(got, TypeError):
        wrong.append(f"a kind of the user's: {got!r}")
    for code in ("Array{UInt8}(undef, 2^60)", "zeros(2^50)", "throw(OutOfMemoryError())"):
        got = raised_by(bb.eval, code)
        if not isinstance(got, MemoryError):
            wrong.append(f"{code}: {got!r}")
    got = None
    after = collect_both()
    if after != before:
        wrong.append(f"held before {before}, after {after}")
    print("\n".join(wrong))
    raise SystemExit(bool(wrong))


def test_julia_exceptions_in_every_position(run_tests):
    run_tests("test_faults.run_julia_exceptions()")


def test_what_is_printed_before_an_error(capsys):
    with pytest.raises(bb.JuliaError, match="after it"):
        bb.eval('print("no line"); print(stderr, "nor here"); error("after it")')
    assert capsys.readouterr() == ("no line", "nor here")


def test_exceptions_while_something_is_let_go(monkeypatch):
    unraisable: list = []
    # Without the traceback, which refers to what dies.
    monkeypatch.setattr(
        sys, "unraisablehook", lambda args: unraisable.append(args.exc_value.with_traceback(None))
    )
    hold = bb.eval("o -> (Any[o]; nothing)")
    fail = bb.eval('() -> (GC.gc(); GC.gc(); error("mine"))')

    class Dying:
        def __init__(self, error):
            self.error = error

        def __del__(self):
            bb.eval("1")
            raise self.error

    def dead(reference):
        raise weak

    weak = SystemExit("weak")
    references = []
    before = collect_both()
    for error in EXCEPTIONS:
        unraisable.clear()
        dying = Dying(error)
        references.append(weakref.ref(dying, dead))
        hold(dying)
        del dying
        # It dies while another exception is on its way.
        with pytest.raises(bb.JuliaError, match="mine"):
            fail()
        collect_both()
        assert unraisable.count(error) == unraisable.count(weak) == 1
        assert len(unraisable) == 2
        error.__traceback__ = weak.__traceback__ = None
    unraisable.clear()
    assert collect_both() == before


# ------------------------------------------------------------------------------- threads


def run_threads() -> None:
    """What is shared is dropped on other threads, while Julia collects on this one."""
    seconds = 20 if STRESS else 3
    make = bb.eval("i -> (zeros(i % 50), Ref(i), view(rand(100), 1:10), [1, 2])")
    keep = bb.eval("x -> (global kept_by_test = x; nothing)")
    collect = bb.eval("full -> (x = [rand(100) for _ in 1:1000]; GC.gc(full); length(x))")
    before = collect_both()
    waiting: queue.Queue = queue.Queue(100)
    ends = time.monotonic() + seconds
    failures: list = []

    class Dying:
        def __del__(self):
            waiting.qsize()

    def drop():
        while True:
            try:
                got = waiting.get()
                if got is None:
                    return
                views = [memoryview(got[0]), np.asarray(got[2]), weakref.ref(got[1])]
                text = got[3].tolist() if isinstance(got[3], np.ndarray) else len(got[3])
                assert text
                assert len(views[0]) == len(got[0])
                copies = [bytes(views[0]), views[1].sum()]
                if bb.julia_version >= (1, 9):
                    copies.append(bb.Base.length(got[0]))
                    keep([np.ones(3), Dying()])
                del got, views, copies
                bb.stats()
            except BaseException as e:
                failures.append(e)

    threads = [threading.Thread(target=drop) for _ in range(4)]
    for thread in threads:
        thread.start()
    i = 0
    while time.monotonic() < ends:
        i += 1
        arrays = [np.ones(1000), bytearray(100), Dying()]
        keep(arrays)
        waiting.put((*make(i)[:3], make(i)[3]))
        del arrays
        if i % 20 == 0:
            collect(i % 100 == 0)
    for _ in threads:
        waiting.put(None)
    for thread in threads:
        thread.join()
    keep([])
    assert not failures, failures
    after = collect_both()
    assert after == before, (before, after)
    print(i, "rounds")


@pytest.mark.parametrize("threads", [1, 3])
def test_releases_on_other_threads(run_tests, threads):
    run_tests(f"import bufferbridge as bb\nbb.init(threads={threads})\ntest_faults.run_threads()")
