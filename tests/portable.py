"""What bufferbridge does without its C module, checked in one process: PyPy's, or CPython's with
BUFFERBRIDGE_PORTABLE. tests/test_portable.py runs this file, which needs no pytest, and reads what
it prints: a line for each check, and the traceback of those that fail.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import io
import math
import mmap
import pickle
import struct
import sys
import threading
import traceback
import weakref
from collections import namedtuple

import bufferbridge as bb

PYPY = sys.implementation.name == "pypy"


@contextlib.contextmanager
def raises(kind, text=""):
    try:
        yield
    except kind as e:
        assert text in str(e), f"{text!r} is not in {e}"
    else:
        raise AssertionError(f"did not raise {kind.__name__}")


class Exporter:
    """Memory of doubles that only __array_interface__ shows."""

    def __init__(self, shape, strides, n, readonly=False):
        self.memory = (ctypes.c_double * n)(*range(n))
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": "<f8",
            "strides": strides,
            "data": (ctypes.addressof(self.memory), readonly),
        }


def view_of(x):
    # Before CPython 3.12 a class written in Python exports no buffer.
    return memoryview(x) if PYPY or sys.version_info >= (3, 12) else x.__buffer__(0)


def collect():
    for _ in range(3):
        gc.collect()
        bb.Base.GC.gc()
    return bb.stats()


def check_values_there_and_back():
    same = bb.eval("x -> x")
    values = [
        0,
        -1,
        2**63 - 1,
        -(2**63),
        2**63,
        -(2**200),
        1.5,
        math.inf,
        True,
        False,
        None,
        2 - 3j,
    ]
    values += ["", "grün 𝄞", "a\0b", "\udc80", "\ud800", (), (1, "a", (None,))]
    for x in values:
        y = same(x)
        assert y == x and type(y) is type(x), x
    assert math.isnan(same(math.nan))
    assert bb.eval("(UInt64(2)^63, Int8(-3), Float32(0.5), 'ä', missing)") == (
        2**63,
        -3,
        0.5,
        "ä",
        None,
    )
    point = namedtuple("point", "x y")(1, 2.5)
    assert same(point)._fields == ("x", "y") and same(point).y == 2.5


def check_types_in_julia():
    name = bb.eval("x -> string(typeof(x))")
    vector = bb.eval("string(Vector{Int64})")
    assert name([1, 2]) == vector and name({"a": 1}) == "Dict{String,Int64}".replace(
        ",", ", " if bb.julia_version >= (1, 6) else ","
    )
    assert name({1}) == "Set{Int64}" and name(range(3)) == "UnitRange{Int64}"
    assert name(range(0, 9, 2)).startswith("StepRange") and name(2**70) == "BigInt"
    assert name(object()) == "BufferBridge.PyObject" and name(len) == "BufferBridge.PyFunction"
    assert list(bb.eval("[1, 2, 3]")) == [1, 2, 3] and list(bb.eval("2:2:6")) == [2, 4, 6]


def check_containers_of_julia():
    d = bb.eval('Dict("a" => 1)')
    d["b"] = 2
    assert dict(d) == {"a": 1, "b": 2} and "a" in d and len(d) == 2
    del d["a"]
    assert list(d.items()) == [("b", 2)]
    s = bb.eval("Set([1, 2])")
    s.add(3)
    assert sorted(s) == [1, 2, 3] and 3 in s
    if PYPY or sys.version_info >= (3, 12):  # it needs a memoryview
        stream = bb.eval('IOBuffer("grün\\n")')
        assert io.TextIOWrapper(stream, encoding="utf-8").read() == "grün\n"
    nested = []
    nested.append(nested)
    with raises(RecursionError):
        bb.Base.identity(nested)


def check_calls():
    f = bb.eval("f(x, y=2; k=3, m...) = (x, y, k, length(m))")
    assert f(1) == (1, 2, 3, 0) and f(1, 5, k=7, other=1) == (1, 5, 7, 1)
    assert f(*range(2)) == (0, 1, 3, 0)
    with raises(TypeError):
        f()
    plus = getattr(bb.Base, "+")
    assert plus(*range(12)) == 66
    x = bb.eval("[1]")
    bb.Base.push_b(x, 2)
    assert x.shape == (2,) and x[1] == 2


def check_modules_and_attributes():
    bb.Main.portable_x = [1.5]
    assert bb.Main.portable_x[0] == 1.5 and "portable_x" in dir(bb.Main)
    with raises(AttributeError, "no name"):
        bb.Main.nothing_of_this_name
    bb.eval("mutable struct PortablePoint; x; y; end")
    p = bb.Main.PortablePoint(1, "a")
    p.x = 5
    assert (p.x, p.y) == (5, "a") and "PortablePoint" in repr(p)
    with raises(AttributeError):
        p.z
    r = bb.eval("raw = 1 // 3", raw=True)
    assert (
        r + r == bb.eval("2 // 3", raw=True) and float(r) == 1 / 3 and hash(r) == hash(bb.Main.raw)
    )
    assert bb.Main.raw == r and r != 3 and r < 1
    for x in (p, bb.eval("[1.0]"), bb.Base.sin):  # what they are is nobody's to change
        for name in ("__class__", "__jl__", "__slot__", "__memory__", "__other__"):
            with raises((AttributeError, TypeError)):
                setattr(x, name, bb.JuliaFunction if name == "__class__" else 8)


def check_errors():
    for code, kind in {
        "[1][2]": IndexError,
        "Dict()[1]": KeyError,
        "sqrt(-1)": ValueError,
        "sin()": TypeError,
        "nothing_such": NameError,
        "div(1, 0)": ZeroDivisionError,
        "1 + (": SyntaxError,
        'open("/no/such/file")': OSError,
        "f() = f(); f()": RecursionError,
        'error("grün")': bb.JuliaError,
    }.items():
        with raises(kind):
            bb.eval(code)
    try:
        bb.eval('portable_fails() = throw(ArgumentError("why")); portable_fails()')
    except bb.JuliaError as e:
        assert "why" in str(e) and e.exception.msg == "why" and "portable_fails" in e.backtrace


def check_callbacks():
    twice = bb.eval("(f, x) -> f(f(x))")
    assert twice(lambda x: x + "a", "b") == "baa" and twice(str.upper, "b") == "B"
    error = ValueError("mine")

    def fail(_x):
        raise error

    try:
        twice(fail, 1)
    except ValueError as e:
        assert e is error
    assert bb.eval("f -> try f() catch e; string(e) end")(lambda: 1 / 0).count("division") == 1
    assert bb.eval("f -> f(1, k=2)")(lambda x, k: (x, k)) == (1, 2)
    # A Julia exception that passes through Python is the same one.
    with raises(KeyError):
        bb.eval("f -> f()")(lambda: bb.eval('Dict()["key"]'))

    def deep(n):
        return 0 if n == 0 else 1 + bb.eval("(f, n) -> f(n)")(deep, n - 1)

    assert deep(15) == 15
    with raises(RecursionError):
        deep(100_000)
    assert deep(15) == 15


def check_python_in_julia():
    class Thing:
        value = 5

        def method(self, x):
            return x * self.value

    thing = Thing()
    assert bb.eval("x -> x")(thing) is thing
    bb.eval("using BufferBridge")
    assert bb.eval("o -> (o.value = 6; o.method(2) + o.value)")(thing) == 18
    assert bb.eval('pyimport("os.path").basename("a/b")') == "b"
    assert bb.eval('pyeval("[x * 2 for x in range(3)]") == [0, 2, 4]')
    shared = [1]
    bb.eval("o -> push!(PyList(o), 2)")(bb.pyobject(shared))
    assert shared == [1, 2]
    assert bb.eval("o -> [x for x in o]")(bb.pyobject({"a": 1}))[0] == "a"
    assert bb.eval("(a, b) -> (a == b, a === b || pyis(a, b), hash(a) == hash(b))")(
        bb.pyobject(thing), bb.pyobject(thing)
    ) == (True, True, True)
    assert bb.callback(lambda x: x + 1, int)(1) == 2


def check_output_is_pythons():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        bb.eval('print("grün, "); println(1); @async print("task"); yield()')
    assert out.getvalue() == "grün, 1\ntask"


def check_julia_memory_in_python():
    x = bb.eval("portable_v = collect(1.0:5.0)")
    view = view_of(x)
    assert (view.format, view.shape, view.tolist()) == ("d", (5,), [1, 2, 3, 4, 5])
    view[0] = 7.5
    bb.eval("portable_v[2] = 8.5")
    assert x[0] == 7.5 and view[1] == 8.5 and bb.stats()["exports"] >= 1
    found = x.__array_interface__
    assert found["data"] == (bb.eval("Int(pointer(portable_v))"), False)
    assert (found["shape"], found["strides"], found["typestr"]) == ((5,), (8,), "<f8")
    m = bb.eval("reshape(collect(1:6), 2, 3)")
    assert m.__array_interface__["strides"] == (8, 16) and m.strides == (8, 16)
    with raises(BufferError, "__array_interface__"):
        view_of(m)
    rows = view_of(bb.Base.transpose(m))
    assert rows.tolist() == [[1, 2], [3, 4], [5, 6]]
    with raises(BufferError):
        view_of(bb.eval('["a"]'))
    readonly = view_of(bb.eval('codeunits("abc")'))
    assert bytes(readonly) == b"abc" and readonly.readonly


def check_memoryviews_that_are_copied():
    for code, format_, numbers in (
        ("[1.0, 2]", "d", (1, 2)),
        ("Int32[3, 4, 5]", "i", (3, 4, 5)),
        ('codeunits("ab")', "B", (97, 98)),
        ("[true]", "?", (True,)),
        ("[1 3; 2 4]'", "l", (1, 2, 3, 4)),
        ("Float64[]", "d", ()),
    ):
        view = view_of(bb.eval(code))
        expected = struct.pack(f"={len(numbers)}{format_.replace('l', 'q')}", *numbers)
        assert view.format == format_ and view.nbytes == len(expected), code
        assert view.tobytes() == bytes(view) == bytes(bytearray(view)) == expected, code
        assert view.cast("B").tobytes() == b"".join([view]) == expected, code
        assert bytes(memoryview(view)) == expected and view == memoryview(view), code
        assert view.toreadonly().readonly, code
        if view.ndim == 1:
            assert (
                view.tolist() == list(numbers)
                and view[1:].tobytes() == view.tobytes()[view.itemsize :]
            )
    x = bb.eval("[1.0, 2]")
    view_of(x).cast("B")[7] = 0xBF
    assert x[0] == -1
    if PYPY:  # CPython has no memoryview of these without the C layer
        view = memoryview(bb.eval("[(a=1, b=2.5), (a=3, b=4.5)]"))
        assert (view.format, view.shape, view.itemsize) == ("T{l:a:d:b:}", (2,), 16)
        assert view.tobytes() == bytes(view.cast("B")) == struct.pack("=qdqd", 1, 2.5, 3, 4.5)
        view = memoryview(bb.eval("[1.0+2im 3]"))
        assert view.shape == (1, 2) and bytes(view) == struct.pack("=4d", 1, 2, 3, 0)
        view = memoryview(bb.eval("Float16[1, 2]"))
        assert view.tolist() == [1, 2] and bytes(view) == struct.pack("=2e", 1, 2)
        with raises(BufferError, "x[()]"):  # tolist() of it would end PyPy's process
            memoryview(bb.eval("fill(1.0)"))
        assert memoryview(bb.Base.vec(bb.eval("fill(1.0)"))).tolist() == [1]


def check_pickles():
    if not PYPY:
        return  # CPython's PickleBuffer doesn't take what a class written in Python exports
    bb.eval("struct PortablePair; a::Int32; b::Float64; end")
    same = bb.eval("(x, y) -> typeof(x) == typeof(y) && isequal(x, y)")
    for code in (
        "[1.0, 2]",
        "[1 2; 3 4]",
        "Float32[1 2]",
        "transpose([1 2; 3 4])",
        "Float64[]",
        "fill(2.5)",
        "Float16[1, 2]",
        "[1+2im 3]",
        "[(a=i, b=j) for i in 1:2, j in 1.0:2]",
        "[PortablePair(1, 2) PortablePair(3, 4)]",
        '["a", "grün"]',
        'Dict("a" => [1.0], "b" => nothing)',
    ):
        x = bb.eval(code, raw=True)
        for protocol in range(2, 6):
            y = pickle.loads(pickle.dumps(x, protocol))
            assert y is not x and same(x, y) is True, (code, protocol, y)
    m = bb.eval("[1.0 2; 3 4]")
    kept = pickle.loads(pickle.dumps(m))
    m[0, 0] = 9
    assert kept[0, 0] == 1 and kept[0, 1] == 2
    gaps = pickle.loads(pickle.dumps(m[:, 1:]))
    assert gaps.shape == (2, 1) and list(gaps[:, 0]) == [2, 4]
    buffers = []
    x = bb.eval("[1.0, 2]")
    data = pickle.dumps(x, 5, buffer_callback=buffers.append)
    y = pickle.loads(data, buffers=buffers)
    y[0] = 5
    assert x[0] == 5 and len(buffers) == 1  # out of band: the same memory
    readonly = pickle.loads(pickle.dumps(bb.eval('codeunits("ab")')))
    assert readonly.readonly and list(readonly) == [97, 98]
    if bb.eval('VERSION < v"1.9"'):  # it takes a second where it is no part of Julia's image
        s = bb.eval("import SparseArrays; SparseArrays.sparse([1.0 0; 0 2])")
        assert all(same(s, pickle.loads(pickle.dumps(s, p))) is True for p in range(2, 6))
    try:
        bb.eval("sqrt(-1)")
    except ValueError as e:
        assert str(pickle.loads(pickle.dumps(e))) == str(e)


def check_items():
    x = bb.eval("reshape(collect(1:24), 2, 3, 4)")
    assert x[1, 2, 3] == 24 and x[-1, -1, -1] == 24 and x[0].shape == (3, 4)
    assert (
        x[..., 1].shape == (2, 3)
        and list(x[1, ::-1, 0]) == [6, 4, 2]
        and x[:, 1:].shape == (2, 2, 4)
    )
    x[0, 0, 0] = 100
    x[1, :, 0] = [7, 8, 9]
    assert x[0, 0, 0] == 100 and list(x[1, :, 0]) == [7, 8, 9]
    for bad in ((2, 0, 0), (0, 0, 0, 0), "a", 1.5):
        with raises((IndexError, TypeError)):
            x[bad]
    with raises(ValueError):
        x[0, 0, 0] = 1.5
    assert len(x) == 2 and 8 in x and (x + x)[0, 0, 0] == 200
    y = bb.eval("[true, false]")
    y[1] = True
    assert y[1] is True and bb.eval("[1.5f0+2im]")[0] == 1.5 + 2j
    z = bb.eval("UInt8[1]")
    for bad in (256, -1, 1.5, None):
        with raises((ValueError, TypeError)):
            z[0] = bad
    records = bb.eval("[(a=1, b=2.5), (a=3, b=4.5)]")
    assert records[1].b == 4.5 and records["b"][0] == 2.5


def check_python_memory_in_julia():
    name = bb.eval("x -> string(nameof(typeof(x)))")
    where = bb.eval("x -> Int(pointer(x))")
    double = bb.eval("x -> (x .*= 2; sum(x))")
    a = array.array("d", [1, 2, 3])
    assert double(a) == 12 and list(a) == [2, 4, 6] and where(a) == a.buffer_info()[0]
    b = bytearray(b"\1\2")
    assert double(b) == 6 and b == b"\2\4"
    c = (ctypes.c_int * 3)(1, 2, 3)
    assert double(c) == 12 and list(c) == [2, 4, 6] and where(c) == ctypes.addressof(c)
    assert name(b"abc") == "PyArray" and bb.eval("sum")(b"abc") == 294
    with raises(ValueError, "read-only"):
        bb.eval("x -> (x[1] = 1)")(b"abc")
    view = memoryview(array.array("i", range(6)))
    assert list(bb.eval("collect")(view[1:3])) == [1, 2]
    with raises(BufferError, "gaps"):
        bb.eval("collect")(view[::2])
    assert name(Exporter((2, 3), (8, 16), 6)) == "Array"
    assert name(Exporter((2, 3), None, 6)) == "Transpose"
    assert name(Exporter((2,), (16,), 4)) == "PyStridedArray"
    assert list(bb.eval("x -> collect(x)[2, :]")(Exporter((2, 3), None, 6))) == [3, 4, 5]
    w = bb.wrap(a)
    w[0] = 9
    assert a[0] == 9 and w._address == a.buffer_info()[0]
    with mmap.mmap(-1, 4096) as m:
        bb.eval("x -> (x[1] = 65; nothing)")(m)
        assert m[:1] == b"A"
        collect()
    if PYPY:  # which moves it
        with raises(BufferError, "a copy"):
            bb.Base.sum(io.BytesIO(b"abc").getbuffer())
    with raises(TypeError, "no memory"):
        bb.wrap(object())
    bad = Exporter((2,), None, 2)
    bad.__array_interface__["data"] = None
    with raises(TypeError, "address"):
        bb.wrap(bad)

    class Point(ctypes.Structure):
        _fields_ = [("a", ctypes.c_int8), ("b", ctypes.c_double)]

    points = (Point * 2)(Point(1, 2.5), Point(3, 4.5))
    assert bb.eval("x -> x[2].b")(points) == 4.5


def check_lifetimes():
    keep = bb.eval("x -> (global portable_kept = x; nothing)")
    a = array.array("d", [1.0] * 1000)
    gone = weakref.ref(a)
    before = collect()
    keep(a)
    del a
    now = collect()
    assert gone() is not None and now["pinned_buffers"] == before["pinned_buffers"] + 1
    assert bb.eval("sum(portable_kept)") == 1000
    keep(None)
    assert collect()["pinned_buffers"] == before["pinned_buffers"]
    assert gone() is None
    # And the other way.
    view = view_of(bb.eval("x = fill(3.0, 10000); x"))
    bb.eval("x = nothing")
    collect()
    junk = bb.eval("[fill(1.0, 10000) for _ in 1:50]")
    assert view[9999] == 3.0 and len(junk) == 50
    exports = bb.stats()["exports"]
    del view
    assert collect()["exports"] < exports


def check_nothing_is_left_behind():
    def use():
        for i in range(10):
            x = bb.eval("[1.0]")
            bb.eval("(f, a, b) -> f(a)")(lambda y: {"a": [y]}, b"abc", "text")
            bb.eval("(o, s) -> (o, [o], s)")(object(), "x" * i)
            with contextlib.suppress(ValueError):
                bb.eval("f -> f()")(lambda: int("x"))
            with contextlib.suppress(bb.JuliaError):
                bb.eval("sqrt(-1)")
            x + x

    from bufferbridge._portable import _references

    use()
    before, references = collect(), len(_references._by_number)
    use()
    assert collect() == before and len(_references._by_number) == references


def check_code_that_runs_in_between():
    """Finalizers and signal handlers run between any two steps, and may call Julia.

    Here a function does so before each line of the bridge's.
    """
    import bufferbridge._portable as portable

    folder = portable.__file__.rpartition("/")[0]
    make = bb.eval("i -> fill(i, 2 + i % 5)")
    same = bb.eval("x -> x")
    fails = bb.eval("i -> throw(KeyError(i))")
    keep = bb.eval("x -> (global portable_between = x; nothing)")
    mine = object()
    kept = []
    lines = 0

    def between(frame, event, _arg):
        nonlocal lines
        if not frame.f_code.co_filename.startswith(folder):
            return None
        if event == "line":
            lines += 1
            x = make(lines)
            assert x[0] == lines and same(mine) is mine
            kept.append(x)
            if lines % 3 == 0:
                del kept[::2]  # what they rooted is free
            if lines % 5 == 0:
                keep(mine)
                keep(None)
            if lines % 7 == 0:
                with raises(KeyError):
                    fails(lines)
        return between

    def use():
        arrays = []
        for i in range(3):
            arrays.append(make(i))
            assert same(mine) is mine and same({"a": [mine]})["a"][0] is mine
            try:
                fails(i)
            except KeyError as e:
                assert e.exception.key == i
            assert bb.eval("(f, x) -> f(x)")(lambda v: (v, mine), i) == (i, mine)
            assert same("text") == "text"
        for i, x in enumerate(arrays):
            assert list(x) == [i] * (2 + i % 5)

    use()
    before = sys.gettrace()
    sys.settrace(between)
    try:
        use()
    finally:
        sys.settrace(before)
    assert lines > 1000
    use()


def check_a_vector_keeps_its_size():
    x = bb.eval("[1.0, 2.0]")
    view = view_of(x)
    if bb.julia_version < (1, 11):
        with raises(bb.JuliaError, "shared"):
            bb.Base.push_b(x, 3.0)
    else:
        bb.Base.push_b(x, 3.0)
    assert view.tolist() == [1, 2]
    y = bb.eval("portable_y = [1, 2, 3]")
    part = y[1:]
    bb.eval("resize!(portable_y, 1)")
    assert y.shape == (1,)
    with raises(BufferError, "resized"):
        part.shape
    with raises(BufferError, "resized"):
        bb.Base.sum(part)
    assert "JuliaArray" in repr(part)

    class Resizes(int):
        pass

    z = bb.eval("collect(1.0:10000)")
    part = z[5000:]

    @bb.conversion(Resizes)
    def resize(_x):
        bb.Base.resize_b(z, 10)
        return NotImplemented

    with raises(BufferError, "resized"):  # it fits when the first argument is looked at
        bb.eval("(a, i) -> sum(a)")(part, Resizes(3))
    bb.remove_conversion(Resizes)


def check_python_memory_that_moves():
    keep = bb.eval("x -> (global portable_moving = x; nothing)")
    b = bytearray(1 << 15)
    keep(b)
    if not PYPY:
        with raises(BufferError):  # CPython's own refuse
            b.extend(bytes(1 << 20))
        keep(None)
        return
    b.extend(bytes(1 << 20))
    with raises(BufferError, "resized"):
        bb.eval("portable_moving[1]")
    bb.Main.portable_moving = None
    assert bb.eval("1 + 1") == 2
    for i in range(200):  # what is not held any more is none of its business
        bb.Base.sum(bytearray(i))
    b = bytearray(100)
    bb.Base.sum(b)
    b.extend(bytes(1 << 20))
    assert bb.Base.sum(b) == 0


def check_memory_of_objects_is_refused():
    class Objects:
        __array_interface__ = {"version": 3, "shape": (1,), "typestr": "|O", "data": (16, False)}

    with raises(TypeError, "list"):
        bb.Base.sum(Objects())
    if not PYPY:  # whose ctypes has no such arrays
        with raises((TypeError, BufferError, ValueError)):
            bb.Base.sum((ctypes.py_object * 1)(5))


def check_other_threads():
    found = []

    def use():
        for f in (lambda: bb.eval("1"), lambda: bb.Base.sin(1.0), lambda: bb.Main.x):
            try:
                f()
            except RuntimeError as e:
                found.append(str(e))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(found) == 3 and all("thread that started it" in text for text in found)
    x = [bb.eval("[1.0]") for _ in range(10)]
    thread = threading.Thread(target=x.clear)  # they may die on any thread
    thread.start()
    thread.join()
    count = []
    stop = threading.Event()

    def run():
        while not stop.is_set():
            count.append(1)
            stop.wait(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    bb.eval("t = time(); while time() - t < 0.2 end")  # Python's other threads go on meanwhile
    n = len(count)
    stop.set()
    thread.join()
    assert n >= 5


def check_vectors_on_other_threads():
    """Julia may resize them meanwhile: so only what keeps its size can be looked at there."""
    x, pinned, matrix = bb.eval("[1.0]"), bb.eval("[2.0]"), bb.eval("[3.0 4.0]")
    views = [view_of(pinned)]
    found = []

    def look():
        found.extend((pinned[0], pinned.shape, matrix[0, 1], len(views[0])))
        for f in (lambda: x[0], lambda: x.shape, lambda: view_of(x), lambda: x._address):
            try:
                f()
            except RuntimeError as e:
                found.append("main thread" in str(e))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    refused = [True] * 4 if bb.julia_version < (1, 11) else []
    assert found == [2, (1,), 4, 1, *refused], found
    bb.Base.push_b(x, 2.0)
    assert x[1] == 2


def check_other_tasks():
    assert bb.eval("fetch(@async 1 + 1)") == 2
    with raises(bb.JuliaError, "only from the Julia task"):
        bb.eval("f -> fetch(@async f())")(lambda: 1)


def check_what_is_not_there():
    for f in (lambda: bb.stats(detail=True), lambda: bb.borrow(b"a").__enter__()):
        with raises(NotImplementedError, "PyPy"):
            f()
    x = bb.eval("[1.0]")
    # Whoever looks for these has to find others.
    for name in ("__dlpack__", "__dlpack_device__", "__arrow_c_array__", "__arrow_c_schema__"):
        assert not hasattr(x, name)
    assert hasattr(x, "__array_interface__")

    class Tensor:
        def __dlpack__(self, **_): ...

        def __dlpack_device__(self):
            return (1, 0)

    class Column:
        def __arrow_c_array__(self, requested_schema=None):
            return None, None

    class Table:
        def __arrow_c_stream__(self, requested_schema=None): ...

    with raises(NotImplementedError, "numpy.from_dlpack(x)"):
        bb.from_dlpack(Tensor())
    with raises(TypeError, "numpy.from_dlpack(x)"):
        bb.wrap(Tensor())
    with raises(TypeError, "x.to_numpy()"):
        bb.wrap(Column())
    with raises(NotImplementedError, "x.to_numpy()"):
        bb.Base.identity(Column())
    with raises(NotImplementedError, "x.to_numpy()"):
        bb.table(Table())
    with raises(TypeError, "comes from Julia"):
        bb.JuliaArray()
    with raises(TypeError, "can't be deleted"):
        del bb.Main.x


def check_numpy():
    try:
        import numpy as np
    except ImportError:
        return
    where = bb.eval("x -> Int(pointer(x))")
    for order in "CF":
        a = np.arange(6.0).reshape(2, 3, order=order)
        assert bb.eval("x -> x[2, 3]")(a) == a[1, 2]
    assert where(a) == a.ctypes.data and bb.eval("x -> x isa Matrix{Float64}")(a)
    assert list(bb.eval("collect")(np.arange(6)[::-2])) == [5, 3, 1]
    x = bb.eval("reshape(collect(1:6), 2, 3)")
    view = np.asarray(x)
    assert view.ctypes.data == where(x) and view.strides == (8, 16) and view.dtype == np.int64
    view[1, 2] = 50
    assert x[1, 2] == 50 and np.array(x).ctypes.data != where(x)
    assert np.asarray(bb.eval("[1.0, 2.0]")).tolist() == [1, 2]
    assert np.asarray(bb.eval('["a", "b"]')).tolist() == ["a", "b"]
    assert np.asarray(bb.eval("trues(2, 2)")).tolist() == [[True, True], [True, True]]
    y = bb.eval("[1.0, 2.0]")
    y += np.ones(2)
    assert y[1] == 3 and type(bb.eval("x -> x")(np.float32(1.5))) is float
    assert bb.eval("x -> x isa Float32")(np.float32(1.5))


def check_records_in_numpy():
    try:
        import numpy as np
    except ImportError:
        return
    if not PYPY:
        return  # CPython's memoryview, which dtypes are made of, has none without the C layer
    bb.eval("struct PortablePadded; a::Int32; b::Float64; end")
    x = bb.eval("[PortablePadded(i, j) for i in 1:2, j in 1:3]")
    view = np.asarray(x)
    assert view.dtype.names == ("a", "b") and view.dtype.itemsize == 16 and view.shape == (2, 3)
    view["b"][1, 2] = 50
    assert x[1, 2].b == 50 and view["a"].tolist() == [[1, 1, 1], [2, 2, 2]]
    assert np.asarray(bb.eval("[(1, 2), (3, 4)]")).tolist() == [[1, 2], [3, 4]]
    assert np.asarray(bb.eval("fill((a=1, b=2.5))"))["b"] == 2.5
    exports = collect()["exports"]
    del view
    assert collect()["exports"] < exports


def check_times_in_numpy():
    try:
        import numpy as np
    except ImportError:
        return
    if not PYPY and sys.version_info < (3, 12):
        return
    a = np.array(["2020-01-01", "2021-06-01"], "M8[D]")
    assert "DateTime64" in bb.eval("x -> string(typeof(x))")(a)
    x = bb.wrap(a)
    view = np.asarray(x)
    assert view.dtype == a.dtype and view.ctypes.data == a.ctypes.data
    m = np.asarray(bb.eval("x -> [x x]")(a))
    assert m.shape == (2, 2) and (m[:, 1] == a).all()
    for protocol in range(2, 6):
        y = np.asarray(pickle.loads(pickle.dumps(x, protocol)))
        assert y.dtype == a.dtype and (y == a).all()


def check_masked_arrays():
    try:
        import numpy as np
    except ImportError:
        return
    m = np.ma.array([1.0, 2, 3], mask=[False, True, False])
    assert bb.eval("x -> (x[1] = 5; sum(skipmissing(x)))")(m) == 8 and m[0] == 5
    x = bb.wrap(m)
    assert bb.eval("x -> count(ismissing, x)")(x) == 1
    back = bb.to_masked(x)
    assert back.tolist() == [5, None, 3] and back.ctypes.data == m.ctypes.data
    with raises(TypeError, "mask"):
        bb.eval("using BufferBridge; o -> PyArray(o)")(bb.pyobject(m))
    if PYPY or sys.version_info >= (3, 12):
        for protocol in range(2, 6):
            y = pickle.loads(pickle.dumps(x, protocol))
            assert bb.to_masked(y).tolist() == [5, None, 3]


def check_scipy():
    try:
        import numpy as np
        import scipy.sparse
    except ImportError:
        return
    A = scipy.sparse.csc_matrix(np.array([[1.0, 0], [0, 2]]))
    S = bb.sparse(A)
    assert bb.eval("sum")(S) == 3 and bb.to_scipy(S).toarray().tolist() == [[1, 0], [0, 2]]
    if PYPY or sys.version_info >= (3, 12):
        for protocol in range(2, 6):
            y = bb.to_scipy(pickle.loads(pickle.dumps(S, protocol)))
            assert y.toarray().tolist() == [[1, 0], [0, 2]]


def main():
    checks = [(n[6:], f) for n, f in list(globals().items()) if n.startswith("check_")]
    checks = [c for c in checks if len(sys.argv) == 1 or c[0] in sys.argv[1:]]
    bb.init()
    for name, check in checks:
        try:
            check()
        except BaseException:
            print("FAILED", name, repr(traceback.format_exc()), flush=True)
        else:
            print("passed", name, flush=True)


if __name__ == "__main__":
    main()
