"""Python functions in Julia: every way to hand one over, and all that can go wrong in one."""

from __future__ import annotations

import functools
import gc
import math
import pickle
import sys
import traceback
import weakref

import numpy as np
import pytest

import bufferbridge as bb

from .conftest import collect_both


def double(x):
    return 2 * x


# ------------------------------------------------------- Julia's own functions


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda B: list(B.map(double, [1, 2, 3])), [2, 4, 6]),
        (lambda B: list(B.map(lambda x, y: x + y, [1, 2], [3, 4])), [4, 6]),
        (lambda B: list(B.filter(lambda x: x > 1, [1, 2, 3])), [2, 3]),
        (lambda B: B.sum(double, [1, 2, 3]), 12),
        (lambda B: B.prod(double, [1, 2]), 8),
        (lambda B: B.mapreduce(double, max, [1, 5, 3]), 10),
        (lambda B: B.reduce(lambda a, b: a + b, ["a", "b", "c"]), "abc"),
        (lambda B: B.foldl(lambda a, b: 10 * a + b, [1, 2, 3]), 123),
        (lambda B: list(B.accumulate(lambda a, b: a + b, [1, 2, 3])), [1, 3, 6]),
        (lambda B: B.any(lambda x: x == 2, [1, 2]), True),
        (lambda B: B.count(lambda x: x > 1, [1, 2, 3]), 2),
        (lambda B: B.findfirst(lambda x: x > 1, [1, 2, 3]), 2),
        (lambda B: B.maximum(abs, [1, -5]), 5),
        (lambda B: list(B.broadcast(double, [1, 2])), [2, 4]),
        (lambda B: list(B.sort([3, -1, 2], by=abs)), [-1, 2, 3]),
        (lambda B: list(B.sort([3, 1, 2], lt=lambda a, b: a > b)), [3, 2, 1]),
        (lambda B: list(B.ntuple(double, 3)), [2, 4, 6]),
        (lambda B: B.get(lambda: 7, bb.eval("Dict(1 => 2)"), 5), 7),
        (lambda B: B.ComposedFunction(math.sqrt, double)(8), 4)
        if hasattr(bb.Base, "ComposedFunction")
        else (lambda B: getattr(B, "∘")(math.sqrt, double)(8), 4),
        (lambda B: list(B.collect(B.Generator(double, [1, 2]))), [2, 4]),
        (lambda B: list(B.asyncmap(double, [1, 2, 3])), [2, 4, 6]),
        (lambda B: B.fetch(B.schedule(B.Task(lambda: 5))), 5),
    ],
    ids=range(22),
)
def test_functions_of_base(call, expected):
    assert call(bb.Base) == expected


def test_every_kind_of_callable():
    class Callable:
        def __call__(self, x):
            return x + 1

        def method(self, x):
            return x + 2

        @classmethod
        def klass(cls, x):
            return x + 3

    call = bb.eval("(f, x) -> (f isa Function, f(x))")
    c = Callable()
    for f, expected in [
        (c, 2),
        (c.method, 3),
        (Callable.klass, 4),
        (functools.partial(lambda a, b: a - b, 5), 4),
        (lambda x: x, 1),
        (str, "1"),
        (math.exp, math.e),
        (np.negative, -1),
        (functools.lru_cache(double), 2),
    ]:
        assert call(f, 1) == (True, expected)
    # Julia's functions are themselves.
    assert bb.eval("f -> f === sin")(bb.Base.sin) is True


def test_a_callback_is_itself_when_it_comes_back():
    assert bb.Base.identity(double) is double
    assert bb.eval("f -> [f]")(double)[0] is double
    assert (
        bb.eval("(f, g) -> f == g && isequal(f, g) && hash(f) == hash(g)")(double, double) is True
    )


def test_keywords():
    call = bb.eval("(f; kw...) -> f(1; kw...)")
    assert call(lambda *a, **k: (a, k["x"], k["y"]), x=2, y="z") == ((1,), 2, "z")
    default = bb.eval("f -> (f(1), f(1, k = 5), f(; x = 2))")
    assert default(lambda x, k=0: x + k) == (1, 6, 2)
    with pytest.raises(TypeError, match="unexpected keyword"):
        call(lambda x: x, nothing=1)


# ------------------------------------------------------------------- arrays


def test_arrays_are_the_very_memory():
    seen = []

    def look(x):
        seen.append(x)
        x[0] = 42.0
        return x.__array_interface__["data"][0] == np.asarray(x).ctypes.data

    f = bb.eval(
        "f -> (x = [1.0, 2.0]; ok = f(x); (ok, x[1] == 42, x, UInt(pointer(x))))",
    )
    ok, changed, x, address = f(look)
    assert ok
    assert changed
    assert isinstance(seen[0], bb.JuliaArray)
    assert np.asarray(seen[0]).ctypes.data == np.asarray(x).ctypes.data == address


def test_results_that_are_arrays_are_shared():
    mine = np.arange(4.0)
    f = bb.eval("(f, address) -> (x = f(); x isa Vector{Float64} && UInt(pointer(x)) == address)")
    assert f(lambda: mine, mine.ctypes.data) is True
    back = bb.eval("f -> f()")(lambda: mine)
    assert np.shares_memory(np.asarray(back), mine)


def test_results_by_type():
    kind = bb.eval("f -> string(typeof(f()))")
    for value, expected in [
        (1, "Int64"),
        (1.5, "Float64"),
        (True, "Bool"),
        ("x", "String"),
        (None, "Nothing"),
        ((1, "a"), "Tuple{Int64,String}"),
        (2**70, "BigInt"),
        (np.float32(1), "Float32"),
        (object(), "PyObject"),
    ]:
        assert kind(lambda v=value: v).replace(" ", "").endswith(expected)


# ------------------------------------------------------------ typed results


def test_typed_results():
    f = bb.callback(lambda x: x / 2, returns=bb.Base.Float64)
    assert f(3) == 1.5
    assert list(bb.Base.map(f, [1, 2])) == [0.5, 1.0]
    # Julia's compiler knows it.
    inferred = bb.eval("f -> only(Base.return_types(f, Tuple{Int})) === Float64")
    assert inferred(f) is True
    assert inferred(lambda x: x) is False
    assert bb.eval("f -> eltype(map(f, Int[])) === Float64")(f) is True
    assert bb.callback(lambda: 2, returns=float)() == 2.0
    for kind, value in [(int, 3), (float, 1.5), (bool, True), (complex, 1j), (str, "x")]:
        result = bb.callback(lambda v=value: v, returns=kind)()
        assert result == value
        assert type(result) is kind
    assert bb.callback(lambda: None, returns=None)() is None
    assert bb.eval("f -> f() == [1.0, 2.0]")(
        bb.callback(lambda: [1, 2], returns=bb.eval("Vector{Float64}"))
    )
    kept = {"a": 1}
    o = bb.callback(lambda: kept, returns=bb.eval("BufferBridge.PyObject"))
    assert bb.eval("f -> f() isa BufferBridge.PyObject")(o) is True
    assert o() is kept
    assert bb.callback(lambda x, k=0: x + k, returns=int)(1, k=2) == 3
    # It is a Julia function, and one again when it comes back.
    assert bb.eval("f -> [f]")(f)[0](3) == 1.5


def test_results_of_the_wrong_type_name_the_function():
    def area(x):
        return "large"

    with pytest.raises(TypeError, match=r"function <function .*area.* returned .*large.*Float64"):
        bb.callback(area, returns=float)(1)
    with pytest.raises(TypeError, match="returned 1.5, where Int64 is wanted"):
        bb.callback(lambda: 1.5, returns=int)()
    with pytest.raises(TypeError, match="returned nothing"):
        bb.callback(lambda: None, returns=float)()
    with pytest.raises(TypeError, match="returned true"):
        bb.callback(lambda: True, returns=int)()
    with pytest.raises(TypeError, match="InexactError"):
        bb.callback(lambda: 300, returns=bb.Base.UInt8)()
    with pytest.raises(TypeError, match="returned \\['a'\\]"):
        bb.callback(lambda: ["a"], returns=bb.eval("Vector{Int}"))()
    # Julia code that wants another type says so by itself.
    with pytest.raises(TypeError):
        bb.eval("f -> f()::Float64")(area.__get__(1))
    with pytest.raises(TypeError):
        bb.Base.filter(lambda x: "yes", [1, 2])
    for f, returns in [(5, float), (area, list), (area, "Float64"), (bb.Base.sin, float)]:
        with pytest.raises(TypeError):
            bb.callback(f, returns=returns)


# ---------------------------------------------------------------- lifetimes


def test_a_callback_outlives_its_frame():
    store = bb.eval("stored_callbacks = Any[]; f -> (push!(stored_callbacks, f); nothing)")

    def make():
        secret = np.arange(5.0)

        def f(x):
            return float(secret.sum()) + x

        store(f)
        return weakref.ref(f)

    ref = make()
    gc.collect()
    bb.Base.GC.gc()
    assert ref() is not None  # Julia has it
    assert bb.eval("stored_callbacks[1](1)") == 11.0
    bb.eval("empty!(stored_callbacks)")
    collect_both()
    collect_both()
    assert ref() is None


def test_callbacks_are_let_go_after_the_call():
    def f(x):
        return x

    count = sys.getrefcount(f)
    for _ in range(20):
        bb.Base.map(f, [1, 2])
        bb.callback(f, returns=int)(1)
    collect_both()
    assert sys.getrefcount(f) == count


def test_a_callback_that_calls_its_caller():
    fib = bb.eval("callback_fib(f, n) = n < 2 ? n : f(n - 1) + f(n - 2)")
    f = functools.lru_cache(None)(lambda n: fib(f, n))
    assert f(60) == 1548008755920
    plain = lambda n: fib(plain, n)  # noqa: E731
    assert plain(12) == 144


def test_a_callback_that_changes_what_its_caller_uses():
    bb.eval("changed_callback(x) = 1")
    run = bb.eval(
        "f -> (a = changed_callback(0); f(); (a, Base.invokelatest(changed_callback, 0)))"
    )
    assert run(lambda: bb.eval("changed_callback(x) = 2") and None) == (1, 2)
    assert run(lambda: None) == (2, 2)


def test_a_callback_that_resizes_what_is_iterated():
    x = bb.eval("[1, 2, 3]")
    bb.Base.foreach(lambda v: bb.Base.push_b(x, v) if len(x) < 6 else None, bb.Base.copy(x))
    assert list(x) == [1, 2, 3, 1, 2, 3]


def test_callbacks_on_julias_threads(run_python):
    run_python(
        """
        import bufferbridge as bb
        bb.init(threads=3)
        run = bb.eval(
            "f -> (x = zeros(Int, 60); Threads.@threads for i in 1:60; x[i] = f(i); end; x)"
        )
        if bb.julia_version >= (1, 9):
            assert list(bb.nogil(run)(lambda i: i * i)) == [i * i for i in range(1, 61)]
            spawn = bb.eval("f -> fetch.([Threads.@spawn f(i) for i in 1:20])")
            assert list(bb.nogil(spawn)(lambda i: -i)) == [-i for i in range(1, 21)]
            try:
                bb.nogil(spawn)(lambda i: 1 // (i - 5))
            except ZeroDivisionError:
                pass
            else:
                assert False
        tasks = bb.eval("f -> sum(fetch.([@async (sleep(0.001); f(i)) for i in 1:20]))")
        assert tasks(lambda i: i) == 210
        """
    )


# --------------------------------------------------------------- exceptions


class Mine(Exception):
    pass


@pytest.mark.parametrize(
    "code",
    [
        "f -> f()",
        "f -> map(x -> f(), [1])",
        "f -> try; f(); catch; rethrow(); end",
        "f -> try; f(); catch e; throw(e); end",
        "f -> try; f(); finally; sin(1); end",
        "f -> fetch(@async f())",
        "f -> (function nested(n) n == 0 ? f() : nested(n - 1) end)(20)",
        "f -> lock(f, ReentrantLock())",
        "f -> f(; k = 1)",
    ],
)
@pytest.mark.parametrize("depth", [1, 2, 7])
def test_the_same_exception_comes_out(code, depth):
    mine = Mine("mine")
    through = bb.eval(code)

    def bottom(**k):
        raise mine

    f = bottom
    for _ in range(depth):
        f = lambda inner=f, **k: through(inner)  # noqa: E731
    with pytest.raises(Mine) as caught:
        f()
    assert caught.value is mine
    assert traceback.extract_tb(mine.__traceback__)[-1].name == "bottom"


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("wrap", ["f -> f()", "f -> map(x -> f(), [1])", "f -> fetch(@async f())"])
def test_a_julia_exception_is_the_same_error_all_the_way(wrap, depth):
    through = bb.eval(wrap)
    first = []

    def bottom():
        try:
            bb.eval("callback_bottom() = [1, 2][3]")()
        except bb.JuliaError as error:
            first.append(error)
            raise

    f = bottom
    for _ in range(depth):
        f = lambda inner=f: through(inner)  # noqa: E731
    with pytest.raises(IndexError) as caught:
        f()
    assert caught.value is first[0]
    assert "callback_bottom" in caught.value.backtrace
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "bottom"


def test_a_julia_exception_that_comes_back_is_julias_own():
    catch = bb.eval(
        """
        function caught_callback(f)
            try
                f()
            catch e
                key = string(e isa KeyError ? e.key : "")
                return (e isa BoundsError, key, length(sprint(showerror, e)) > 0)
            end
        end"""
    )
    inner = bb.eval("() -> [1, 2][3]")
    assert catch(lambda: inner()) == (True, "", True)
    assert catch(lambda: bb.eval("Dict()[:k]")) == (False, "k", True)

    # One that Python made of it is Python's.
    def other():
        try:
            inner()
        except IndexError as error:
            raise Mine("other") from error

    assert catch(other) == (False, "", True)
    with pytest.raises(Mine) as caught:
        bb.eval("f -> f()")(other)
    assert isinstance(caught.value.__cause__, bb.JuliaError)
    # An equal exception that Julia throws later is a new one.
    with pytest.raises(ZeroDivisionError) as later:
        bb.eval("f -> try; f(); catch; end, throw(DivideError())")(lambda: bb.eval("div(1, 0)"))
    assert [frame.name for frame in traceback.extract_tb(later.value.__traceback__)][
        -1
    ] != "<lambda>"


def test_python_can_handle_it_and_go_on():
    fails = bb.eval('x -> x > 1 ? error("too large") : x')

    def careful(x):
        try:
            return fails(x)
        except bb.JuliaError:
            return -1

    assert list(bb.Base.map(careful, [1, 2, 3])) == [1, -1, -1]
    assert bb.eval("f -> [try; f(i); catch e; 0; end for i in 1:3]")(fails)[2] == 0


def test_both_backtraces_are_readable():
    bb.eval("inner_frame(f) = f()\nouter_frame(f) = (inner_frame(f); 1)")

    def python_bottom():
        raise Mine("here")

    def python_middle():
        bb.Main.outer_frame(python_bottom)

    with pytest.raises(Mine) as caught:
        bb.Main.outer_frame(python_middle)
    error = caught.value
    notes = [str(n) for n in error.__notes__]
    assert len(notes) == 2
    for note in notes:
        assert "inner_frame" in note
        assert "outer_frame" in note
        assert "pyobject.jl" not in note
    if sys.version_info >= (3, 11):
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        for name in ("python_bottom", "python_middle", "inner_frame", "outer_frame"):
            assert name in text
    assert "inner_frame" in pickle.loads(pickle.dumps(error)).__notes__[0]
    shown = bb.eval(
        "f -> try; outer_frame(f); catch e; sprint(showerror, e, catch_backtrace()); end"
    )
    text = shown(python_bottom)
    assert "python_bottom" in text
    assert "outer_frame" in text


def test_notes_do_not_pile_up():
    through = bb.eval("f -> f()")
    error = Mine()

    def raising():
        raise error

    f = raising
    for _ in range(30):
        f = lambda inner=f: through(inner)  # noqa: E731
    with pytest.raises(Mine):
        f()
    assert len(error.__notes__) == 8

    class Slotted(Exception):
        __slots__ = ()

        def __setattr__(self, name, value):
            raise AttributeError(name)

    def raising():
        raise Slotted

    with pytest.raises(Slotted):
        through(raising)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration])
def test_exceptions_that_mean_something(kind):
    def f(*args):
        raise kind("mine")

    for code in ("f -> f()", "f -> map(f, [1])", "f -> try; f(); finally; 1; end"):
        with pytest.raises(kind) as caught:
            bb.eval(code)(f)
        assert caught.value.args == ("mine",)


def test_a_callback_as_the_source_of_an_iterator():
    values = iter([1, 2])
    with pytest.raises(StopIteration):
        bb.eval("f -> [f() for _ in 1:3]")(lambda: next(values))
    # Within a generator Python makes a RuntimeError of it, as always.
    generator = (bb.eval("f -> f()")(lambda: next(iter(()))) for _ in range(1))
    with pytest.raises(RuntimeError):
        next(generator)


def test_what_is_held_after_exceptions():
    def fail(x):
        raise Mine(x)

    through = bb.eval("f -> f([1.0])")
    nested = bb.eval("f -> try; f(); catch e; end")
    inner = bb.eval('() -> error("x")')

    def run():
        for _ in range(20):
            with pytest.raises(Mine):
                through(fail)
            nested(lambda: inner())
            with pytest.raises(bb.JuliaError):
                bb.eval("f -> f()")(lambda: inner())

    run()
    before = collect_both()
    run()
    after = collect_both()
    for key in ("julia_objects", "python_objects", "pinned_buffers"):
        assert after[key] <= before[key] + 2


# --------------------------------------------------------- pointers for C


@pytest.fixture(scope="module")
def cfunctions():
    return bb.eval(
        """
        module TestCFunctions
        using BufferBridge
        sorted(f, x) = begin
            x = copy(x)
            c = pycfunction(f, Cint, (Ref{Cdouble}, Ref{Cdouble}))
            GC.@preserve c ccall(:qsort, Cvoid, (Ptr{Cdouble}, Csize_t, Csize_t, Ptr{Cvoid}),
                                 x, length(x), 8, c)
            x
        end
        # A callback with a pointer to the user's data, as C libraries have it.
        struct Data; factor::Cdouble; end
        pointerof(c) = Base.unsafe_convert(Ptr{Cvoid}, c)
        apply(c, x, data) = ccall(pointerof(c), Cdouble, (Cdouble, Ref{Data}), x, data)
        function scaled(f, x, factor)
            c = pycfunction(f, Cdouble, (Cdouble, Ref{Data}))
            GC.@preserve c apply(c, x, Data(factor))
        end
        function called(f)
            c = pycfunction(f, Cvoid, ())
            GC.@preserve c ccall(pointerof(c), Cvoid, ())
        end
        end
        """
    )


def test_c_functions(cfunctions):
    x = [3.0, -1.0, 2.5]
    assert list(cfunctions.sorted(lambda a, b: (a > b) - (a < b), x)) == sorted(x)
    assert list(cfunctions.sorted(lambda a, b: (a < b) - (a > b), x)) == sorted(x, reverse=True)
    assert cfunctions.scaled(lambda x, d: x * d.factor, 3.0, 2.0) == 6.0
    assert cfunctions.scaled(lambda x, d: 7, 3.0, 2.0) == 7.0
    seen = []
    assert cfunctions.called(lambda: seen.append(1)) is None
    assert seen == [1]


def test_c_functions_that_fail(cfunctions):
    error = Mine("in C")

    def fail(a, b):
        raise error

    for _ in range(3):
        with pytest.raises(Mine) as caught:
            cfunctions.sorted(fail, [3.0, 1.0, 2.0])
        assert caught.value is error
    with pytest.raises(TypeError, match='returned "text", where Int32 is wanted'):
        cfunctions.sorted(lambda a, b: "text", [3.0, 1.0])
    with pytest.raises(TypeError, match="takes a Python callable"):
        cfunctions.sorted(bb.Base.sin, [3.0, 1.0])
    with pytest.raises(TypeError, match="tuple of types"):
        bb.eval("f -> BufferBridge.pycfunction(f, Cint, (1,))")(double)


def test_c_functions_keep_what_they_call(cfunctions):
    def f(a, b):
        return int(a - b)

    count = sys.getrefcount(f)
    keep = bb.eval("f -> BufferBridge.pycfunction(f, Cint, (Ref{Cdouble}, Ref{Cdouble}))")(f)
    collect_both()
    assert sys.getrefcount(f) > count
    del keep
    collect_both()
    collect_both()
    assert sys.getrefcount(f) == count


# ------------------------------------------------------------- recursion

RECURSION = """
import sys
import threading
import bufferbridge as bb
from bufferbridge import Main

bb.eval('''
using BufferBridge
bounce(f, n) = f(n + 1)
bouncekeyword(f, n) = f(; n = n + 1)
bounceadd(o, n) = o + n
bounceattr(o) = o.attr
bouncestring(o) = string(o)
bouncetry(f, n) = try; f(n + 1); catch; rethrow(); end
bouncewith(f, o) = pywith(x -> f(1), o)
juliafirst(f, n) = n == 0 ? f(0) : juliafirst(f, n - 1) + 1
endless(n) = endless(n + 1) + 1
''')

class A:
    def __add__(self, n):
        return Main.bounceadd(bb.pyobject(self), n + 1)
    @property
    def attr(self):
        return Main.bounceattr(bb.pyobject(self))
    def __str__(self):
        return Main.bouncestring(self)
    def __enter__(self):
        return 1
    def __exit__(self, *error):
        return False

a = A()
def plain(n=0): return Main.bounce(plain, n)
def keyword(n=0): return Main.bouncekeyword(keyword, n)
def attempt(n=0): return Main.bouncetry(attempt, n)
def manager(n=0): return Main.bouncewith(manager, a)
def deep(n=0): return Main.juliafirst(deep, 1000)
def add(): return Main.bounceadd(bb.pyobject(a), 1)
def attribute(): return Main.bounceattr(bb.pyobject(a))
def text(): return Main.bouncestring(a)
def julia(): return Main.endless(0)

def run():
    for case in CASES:
        try:
            case()
        except RecursionError:
            pass
        else:
            raise AssertionError(case)
        assert bb.eval("1 + 1") == 2
        done.append(case)
done = []
"""


def test_recursion_ends_with_an_exception(run_python):
    run_python(
        RECURSION
        + "sys.setrecursionlimit(400)\n"
        + "CASES = [plain, keyword, attempt, manager, add, attribute, text, julia]\nrun()\n"
    )


def test_recursion_ends_before_the_stack_does(run_python):
    """Beyond Python's limit, on a small stack: leaving one takes the square of its depth."""
    run_python(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_STACK, (2 << 20, resource.RLIM_INFINITY))\n"
        "import os, sys\n"
        "if 'again' not in os.environ:\n"
        "    os.environ['again'] = '1'\n"
        "    os.execv(sys.executable, [sys.executable, '-c', os.environ['CODE']])\n",
        env={
            "CODE": RECURSION
            + "sys.setrecursionlimit(10**6)\nCASES = [plain, add, text, deep, julia]\nrun()\n"
            "assert len(done) == 5\n"
        },
    )


def test_recursion_ends_on_other_threads(run_python):
    if bb.julia_version < (1, 9):
        pytest.skip("before Julia 1.9 only the main thread enters Julia")
    run_python(
        RECURSION
        + """
CASES = [plain, add, text, julia]
threading.stack_size(2 << 20)
sys.setrecursionlimit(10**6)
thread = threading.Thread(target=run)
thread.start()
thread.join()
assert len(done) == 4, done
"""
    )
