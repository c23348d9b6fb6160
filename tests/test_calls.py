"""Calls that Julia compiled for one function and one signature: they do what the general way does.

csrc/call.c asks for such code after 4,000 calls; `warm` makes that many.
"""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb

from .conftest import collect_both

CALLS = 4_100


def warm(f, *args):
    """Calls until there is compiled code for such arguments; the last result."""
    for _ in range(CALLS):
        result = f(*args)
    return result


def compiled() -> int:
    return bb.eval("length(BufferBridge.CODES)")


def leaves(f) -> list[bool]:
    """Whether the code that there is for a function is a leaf's."""
    look = "f -> [c[1].leaf != 0 for (k, c) in BufferBridge.CODES if k[1] === typeof(f)]"
    return list(bb.eval(look)(f))


def same(a, b):
    return type(a) is type(b) and repr(a) == repr(b)  # 0.0 is not -0.0, NaN is NaN


PLAIN = [0, 1, -1, 2**62, -(2**63), 2**63 - 1, 0.0, -0.5, 1e300, math.inf, math.nan, 1j, 2 - 3.5j]
PLAIN += [True, False, None, "", "text", "héllo ✓", "a\0b"]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_echo(value):
    identity = bb.eval("x -> x")
    before = compiled()
    assert same(identity(value), value)
    assert same(warm(identity, value), value)
    assert compiled() == before + 1
    assert same(identity(value), value)


@pytest.mark.parametrize("n", range(7))
def test_any_number_of_arguments(n):
    f = bb.eval("(xs...) -> string(length(xs), xs)")
    args = [1, 2.5, "c", None, True, 6][:n]
    before = compiled()
    expected = f(*args)
    assert warm(f, *args) == expected
    assert compiled() == before + (n <= 4)


def test_others_go_the_general_way_next_to_it():
    f = bb.eval("(a, b = 1; k = 0) -> (typeof(a), a, b, k)[2:end]")
    assert warm(f, 1, 2) == (1, 2, 0)
    assert f(1, 2, k=3) == (1, 2, 3)
    assert f(1) == (1, 1, 0)
    assert f(2**70, 2) == (2**70, 2, 0)
    assert f(1.5, 2) == (1.5, 2, 0)
    assert f((1,), 2) == ((1,), 2, 0)
    assert f("\udcff", 2)[0] == "\udcff"
    x = bb.eval("[1.0]")
    assert f(x, 2)[0][0] == 1.0
    assert f(1, 2) == (1, 2, 0)
    with pytest.raises(TypeError):
        f(1, 2, 3)


def test_kinds_in_turns_are_not_compiled():
    f = bb.eval("x -> x")
    before = compiled()
    for _ in range(CALLS):
        assert f(1) == 1
        assert f("x") == "x"
    assert compiled() == before


add = "(a, b) -> a + b"


@pytest.fixture(scope="module")
def adders():
    """One for each signature, compiled."""
    numbers = {int: 1, float: 1.0, complex: 1j}
    found = {}
    for a, one in numbers.items():
        for b, other in numbers.items():
            found[a, b] = bb.eval(add)
            warm(found[a, b], one, other)
    return found


INT = st.integers(-(2**63), 2**63 - 1)
NUMBER = st.one_of(INT, st.floats(), st.complex_numbers(allow_nan=False, allow_infinity=False))


@given(NUMBER, NUMBER)
@settings(deadline=None)
def test_numbers_are_added_as_in_the_general_way(adders, a, b):
    assert same(adders[type(a), type(b)](a, b), bb.eval(add)(a, b))


def test_integers_wrap_around_as_julias_do(adders):
    assert adders[int, int](2**63 - 1, 1) == -(2**63)
    assert adders[int, int](2**63, 1) == 2**63 + 1  # a BigInt


def test_leaves_are_what_can_neither_throw_nor_wait():
    for code, args, leaf in [
        (add, (1, 2), True),
        (add, (1.5, 2), True),
        (add, (1j, 2.0), True),
        ("x -> x < 0 ? -x : 2x", (1,), True),
        ("() -> nothing", (), True),
        ("x -> !x", (True,), True),
        ("x -> muladd(x, 2.0, 1.0)", (1.0,), True),
        ("(a, b) -> a ÷ b", (1, 2), False),  # DivideError
        ("x -> sqrt(x)", (1.0,), False),  # DomainError
        ("x -> (while x > 0; x -= 1; end; x)", (3,), False),
        ("x -> string(x)", (3,), False),
        ("x -> [x]", (3,), False),
        ("x -> x", ("text",), False),
        ("x -> error()", (3,), False),
        ("x -> print(devnull, x)", (3,), False),
        ("x -> (global counted_by_leaf = x)", (3,), False),
        ("x -> Base.GC.gc(false)", (3,), False),
        ("x -> (yield(); x)", (3,), False),
    ]:
        f = bb.eval(code)
        try:
            warm(f, *args)
        except bb.JuliaError:
            for _ in range(CALLS):
                with pytest.raises(bb.JuliaError):
                    f(*args)
        assert leaves(f) == [leaf], code


#: What throws and calls nothing: by operands of other types, or undefined ones.
THROWS = """
x -> x ? 1 : 2
x -> x === undefined_name
x -> x > 0 ? x : undefined_name
x -> Core.ifelse(x, 1, 2)
x -> Int(reinterpret(Int32, x))
x -> reinterpret(Bool, x)
x -> Core.Intrinsics.add_int(x, 1.0)
x -> Core.Intrinsics.shl_int(x, "a")
x -> Core.Intrinsics.sext_int(Int64, x)
x -> Core.Intrinsics.trunc_int(Int64, x)
x -> Core.Intrinsics.add_float(x, 1.0)
x -> Core.Intrinsics.pointerref(x, 1, 1)
x -> getfield((x, 2), 3)
@eval x -> real($(Expr(:new, Complex{Int}, :x, 1.0)))
(f(::Vararg{T}) where {T} = T === Int; x -> f())
"""


@pytest.mark.parametrize("code", THROWS.split("\n")[1:-1])
def test_what_throws_is_no_leaf(code):
    """Nothing catches an exception in one, and Julia ends the process."""
    f = bb.eval(code)
    with pytest.raises(bb.JuliaError):
        f(-1)
    isleaf = "f -> BufferBridge.isleaf(BufferBridge.Compiled{typeof(f),Tuple{Int},Any,true}())"
    assert bb.eval(isleaf)(f) is False
    assert bb.eval(isleaf)(bb.eval("x -> x + 1")) is True


def test_calls_while_code_is_made(run_python):
    """Code for one signature must not be taken for that of one that was called meanwhile."""
    run_python(
        """
        import bufferbridge as bb
        calls = []
        class Dropped:
            def __del__(self):
                if asking:
                    calls.append(f(1.5))
        drop = bb.eval("(D, n) -> for i in 1:n; D(); end")
        for _ in range(40):
            asking = False
            f = bb.eval("x -> x")
            for _ in range(3999):
                f(1)
            drop(Dropped, 2000)
            asking = True
            f(1)  # Julia's compiler collects, not each time
            asking = False
            assert f(1.5) == 1.5
            if calls:
                break
        assert calls
        """
    )


def test_closures_share_code_and_keep_their_own_values():
    make = bb.eval("n -> x -> x + n")
    one, ten = make(1), make(10)
    before = compiled()
    assert warm(one, 5) == 6
    assert warm(ten, 5) == 15
    assert compiled() == before + 1
    assert (one(1), ten(1)) == (2, 11)
    counter = bb.eval("(() -> (n = 0; () -> (n += 1)))()")
    warm(counter)
    assert counter() == CALLS + 1


def test_exceptions():
    f = bb.eval(
        """
        module Thrown
        inner(x) = x < 0 ? throw(DomainError(x, "below")) : x
        outer(x) = inner(x)
        end
        Thrown.outer"""
    )
    warm(f, 1)
    for _ in range(3):
        with pytest.raises(ValueError, match="below") as info:
            f(-1)
        frames = [line for line in info.value.backtrace.splitlines() if " [" in line]
        assert ["inner" in line for line in frames[:1]] == [True]
        assert "outer" in info.value.backtrace
        for ours in ("calluser", "Compiled", "start.jl", "compiled.jl"):
            assert ours not in info.value.backtrace
        assert f(2) == 2


def test_definitions_that_change(run_python):
    """Code whose proof that it can't throw is not true any more must not be used."""
    run_python(
        """
        import bufferbridge as bb
        bb.eval("helper(x) = 2x; outer(x) = helper(x) + 1; other(x) = x")
        outer, other = bb.Main.outer, bb.Main.other
        def warm(f, *args):
            for _ in range(4100):
                f(*args)
            return f(*args)
        assert warm(outer, 1) == 3
        for change, result in [
            ("helper(x) = 3x", 4), ("helper(x::Int) = 10x", 11), ("outer(x::Int64) = 0", 0)
        ]:
            bb.eval(change)
            assert outer(1) == result, change
            assert warm(outer, 1) == result, change
        bb.eval("outer(x::Int64) = helper(x) + 1; helper(x::Int) = error('a' * 'b')")
        for _ in range(9000):
            try:
                outer(1)
            except bb.JuliaError as error:
                assert str(error) == "ab"
            else:
                assert False
        bb.eval("helper(x::Int) = x")
        assert warm(outer, 1) == 2
        # Deleted, so that a more general one is called.
        assert warm(other, 1) == 1
        bb.eval("other(x::Int) = -x")
        assert warm(other, 1) == -1
        bb.eval("Base.delete_method(which(other, (Int,)))")
        assert other(1) == 1
        assert warm(other, 1) == 1
        """
    )


def test_definitions_that_do_not_matter():
    f = bb.eval("x -> x + 1")
    warm(f, 1)
    before = compiled()
    for i in range(20):
        bb.eval(f"unrelated{i}(x) = {i}")
        assert f(i) == i + 1
    warm(f, 1)
    assert compiled() == before


def test_nothing_is_held(adders):
    f = bb.eval("(x, s) -> string(x, s)")
    held = collect_both()
    warm(f, 1.5, "x" * 1000)
    for _ in range(1000):
        with pytest.raises(TypeError):
            f(1.5)
    assert collect_both() == held


def test_printing():
    out = []

    class Out:
        def write(self, text):
            out.append(text)

        def flush(self):
            pass

    import contextlib

    f = bb.eval("x -> x > 0 && println(x)")
    warm(f, 0)
    with contextlib.redirect_stdout(Out()):
        f(5)
        out.append("after")
    assert "".join(out) == "5\nafter"


def test_calls_that_call_back_and_call_again():
    f = bb.eval("x -> x == 0 ? 0 : 1 + again(x - 1)")
    bb.Main.again = lambda x: f(x)
    assert warm(f, 0) == 0
    assert f(20) == 20

    class Stop(Exception):
        pass

    def stop(x):
        if x == 5:
            raise Stop(x)
        return f(x)

    bb.Main.again = stop
    error = pytest.raises(Stop, f, 10).value
    assert error.args == (5,)
    assert f(3) == 3
    bb.Main.again = None  # no cycle across the border is left


def test_threads():
    if bb.julia_version < (1, 9):
        leaf = bb.eval(add)
        warm(leaf, 1, 2)
        errors = []

        def call():
            try:
                leaf(1, 2)
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert "1.9" in errors[0]
        return
    fs = [bb.eval(code) for code in (add, "(a, b) -> a ÷ b", "(a, b) -> string(a + b)")]
    wrong = []

    def work():
        for i in range(3 * CALLS):
            found = [f(i, 2) for f in fs]
            if found != [i + 2, i // 2, str(i + 2)]:
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_at_the_end(run_python):
    done = run_python(
        """
        import atexit
        import bufferbridge as bb
        bb.init()
        f = bb.eval("x -> x + 1")
        @atexit.register
        def before():
            print(f(1))
        for _ in range(5000):
            f(1)
        import bufferbridge._core as core, os
        core._stop(os.fsencode(bb._start.session().julia.libjulia))
        try:
            f(1)
        except RuntimeError as error:
            print(error)
        atexit.unregister(before)
        """
    )
    assert done.stdout == "Julia has stopped: the process is ending\n"


# ------------------------------------------------------------- Python's functions in Julia


CALL = "f -> x -> f(x)"


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_callbacks_take_and_give_plain_values(value):
    seen = []

    def f(x):
        seen.append(x)
        return x

    call = bb.eval("(f, x) -> f(x)")
    assert same(call(f, value), value)
    assert same(seen[0], value)


@pytest.mark.parametrize("n", range(12))
def test_callbacks_with_many_arguments(n):
    call = bb.eval("(f, n) -> f(ntuple(identity, n)...)")
    assert call(lambda *args: len(args), n) == n
    assert call(lambda *args: args, n) == tuple(range(1, n + 1))
    assert list(call(lambda *args: list(args), n)) == list(range(1, n + 1))
    mixed = bb.eval('(f, x) -> f(1, x, "s", k = x, l = 2.5)')
    x = bb.eval("[1.0]")
    got = mixed(lambda *args, **kwargs: repr((len(args), sorted(kwargs), args[1] is not None)), x)
    assert got == "(3, ['k', 'l'], True)"


def test_callbacks_that_fail():
    call = bb.eval("(f, x) -> f(x)")

    def fail(x):
        raise KeyError(x)

    held = collect_both()
    for value in [1, "s", [1], bb.eval("[1.0]"), None]:
        with pytest.raises(KeyError):
            call(fail, value)
    del value
    assert collect_both() == held

    caught = bb.eval("f -> try; f(1); catch e; e isa BufferBridge.PyException; end")
    assert caught(fail) is True
    with pytest.raises(TypeError):
        call(lambda: 1, 1)


def test_callbacks_and_arguments_that_can_not_be_made():
    """The objects that were made before are let go."""
    import sys

    kept = object()
    call = bb.eval("(f, a) -> f(a, zeros(ntuple(_ -> 1, 65)...))")
    count = sys.getrefcount(kept)
    for _ in range(50):
        with pytest.raises(ValueError, match="64"):
            call(print, kept)
    collect_both()
    assert sys.getrefcount(kept) == count


def test_recursion_through_callbacks_ends():
    bb.eval("bounce(f, n) = f(n + 1)")
    bounce = bb.Main.bounce

    def f(n):
        return bounce(f, n)

    with pytest.raises(RecursionError):
        f(0)
    assert bounce(lambda n: n, 1) == 2


def test_callbacks_from_tasks():
    run = bb.eval("f -> sum(fetch.([@async f(i) for i in 1:100]))")
    assert run(lambda i: 2 * i) == 10100


def test_callbacks_print_in_order(capsys):
    bb.eval('f -> (print("a"); f(1); println("c"); f(2))')(lambda i: print("b", i))
    assert capsys.readouterr().out == "ab 1\nc\nb 2\n"
