"""Errors that cross the border, both ways, and what their messages say."""

from __future__ import annotations

import traceback

import numpy as np
import pytest

import bufferbridge as bb


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("[1, 2][3]", IndexError),
        ('"aé"[3]', IndexError),
        ('Dict("a" => 1)["b"]', KeyError),
        ('throw(ArgumentError("x"))', ValueError),
        ("sqrt(-1.0)", ValueError),
        ("[1, 2] + [1, 2, 3]", ValueError),
        ("Int(1.5)", ValueError),
        ("sin()", TypeError),
        ("1::String", TypeError),
        ("nosuchname", NameError),
        ("div(1, 0)", ZeroDivisionError),
        ("throw(OutOfMemoryError())", MemoryError),
        ("throw(InterruptException())", KeyboardInterrupt),
        ("throw(EOFError())", EOFError),
        ('open("/no/such/file")', OSError),
        ("f_deep(x) = f_deep(x + 1) + 1; f_deep(1)", RecursionError),
        ("@assert 1 == 2", AssertionError),
        ('error("plain")', bb.JuliaError),
        ('throw("a string")', bb.JuliaError),
    ],
)
def test_kinds(code, kind):
    with pytest.raises(bb.JuliaError) as caught:
        bb.eval(code)
    assert isinstance(caught.value, kind)
    assert bb.eval("1 + 1") == 2


def test_message_exception_and_backtrace():
    bb.eval('inner_e() = throw(DomainError(-1, "must not be negative"))\nouter_e() = inner_e()')
    with pytest.raises(ValueError) as caught:
        bb.Main.outer_e()
    error = caught.value
    assert str(error) == "DomainError with -1:\nmust not be negative"
    assert error.exception.val == -1
    assert bb.eval("e -> e isa DomainError")(error.exception) is True
    assert "inner_e" in error.backtrace
    assert "outer_e" in error.backtrace
    assert "entry" not in error.backtrace  # the bridge itself is not shown


def test_own_exception_types():
    bb.eval(
        "struct Mine <: Exception; n::Int; end\n"
        'Base.showerror(io::IO, e::Mine) = print(io, "mine: ", e.n)'
    )
    with pytest.raises(bb.JuliaError, match="mine: 7") as caught:
        bb.eval("throw(Mine(7))")
    assert caught.value.exception.n == 7
    bb.eval('struct Broken <: Exception end\nBase.showerror(io::IO, e::Broken) = error("no")')
    with pytest.raises(bb.JuliaError, match="Broken"):
        bb.eval("throw(Broken())")


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("1 +", "line 1, column 4"),
        ("x = 1\ny = (2", "line 2, column 7"),
        ("x = 1\n\n  )", "line 3, column 3"),
        ('"abc', "line 1, column 5"),
    ],
)
def test_parse_errors_say_where(code, place):
    with pytest.raises(SyntaxError) as caught:
        bb.eval(code)
    assert isinstance(caught.value, bb.JuliaError)
    assert place in str(caught.value)


def test_nothing_is_evaluated_when_code_does_not_parse():
    bb.eval("untouched = 1")
    with pytest.raises(SyntaxError):
        bb.eval("untouched = 2\n1 +")
    assert bb.Main.untouched == 1


def test_python_exceptions_pass_through_julia_as_the_same_object():
    error = KeyError("mine")

    def raising(x):
        raise error

    with pytest.raises(KeyError) as caught:
        bb.Base.map(raising, [1])
    assert caught.value is error
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert "raising" in names


def test_python_exceptions_can_be_caught_in_julia():
    def raising():
        raise ValueError("from python")

    catching = bb.eval(
        """
        f -> try
            f()
        catch e
            (e isa BufferBridge.PyException, sprint(showerror, e), e.exception)
        end
        """
    )
    is_python, text, error = catching(raising)
    assert is_python
    assert "ValueError: from python" in text
    assert "raising" in text
    assert isinstance(error, ValueError)


def test_exceptions_nest_both_ways():
    depth = bb.eval('(f, n) -> n == 0 ? error("bottom") : f(n - 1)')

    def down(n):
        return depth(down, n)

    with pytest.raises(bb.JuliaError, match="bottom"):
        down(10)
    assert bb.eval("1") == 1


def test_system_exit_in_a_callback():
    def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        bb.eval("f -> f()")(leave)


def test_unknown_names():
    with pytest.raises(AttributeError, match="Main has no name 'nosuch'"):
        bb.Main.nosuch
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        bb.nosuch
    assert not hasattr(bb.Main, "nosuch")
    assert getattr(bb.Main, "nosuch", 5) == 5


def test_a_method_error_for_memory_that_is_no_array_says_what_to_do():
    f = bb.eval("f_strict(x::Vector{Float64}) = 1")
    readonly = np.arange(3.0)
    readonly.flags.writeable = False
    with pytest.raises(TypeError) as caught:
        f(readonly)
    assert "argument 1" in str(caught.value).lower()
    assert "read-only" in str(caught.value)
    assert "copy" in str(caught.value)
    with pytest.raises(TypeError, match="np.ascontiguousarray"):
        f(np.arange(6.0)[::2])
    g = bb.eval("g_strict(y, x::Matrix{Float64}) = 1")
    with pytest.raises(TypeError, match="Argument 2.*np.asfortranarray"):
        g(1, np.zeros((2, 3)))
    h = bb.eval("h_strict(y, x::Matrix{Float64}; k=1) = 1")
    with pytest.raises(TypeError, match="Argument 2"):
        h(1, np.zeros((2, 3)), k=2)
    with pytest.raises(TypeError) as caught:
        f("text")
    assert "argument 1" not in str(caught.value).lower()


def test_errors_while_converting_arguments_release_what_was_taken():
    class Raises:
        __array_interface__ = property(lambda self: 1 / 0)

    before = bb.stats()["pinned_buffers"]
    data = bytearray(8)
    with pytest.raises((ZeroDivisionError, TypeError)):
        bb.Base.tuple(data, np.zeros(2, dtype=[("a:b", "i8")]))
    data.extend(b"more")  # nobody holds the buffer any more
    assert bb.stats()["pinned_buffers"] == before


def test_assigning_a_constant():
    with pytest.raises(bb.JuliaError):
        bb.Base.pi = 3
    bb.eval("const c_test = 1")
    with pytest.raises(bb.JuliaError):
        bb.Main.c_test = "x"


def test_syntax_that_is_wrong_after_parsing():
    for code in ("x -> (a = 1; b, c)", "return 1 + break", "f(x, x) = 1", "local = 1"):
        with pytest.raises(SyntaxError) as caught:
            bb.eval(code)
        assert isinstance(caught.value, bb.JuliaError)
