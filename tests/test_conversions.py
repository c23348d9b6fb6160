"""Dates, fractions, decimals and enums both ways, and conversions that users add."""

from __future__ import annotations

import datetime as dt
import enum
import gc
import weakref
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bufferbridge as bb

bb.eval("import Dates")
identity = bb.eval("identity")
shown = bb.eval("x -> string(typeof(x), ' ', x)")


def julia(code):
    return bb.eval(code, raw=True)


def same(x):
    """What comes back, and what it is in Julia."""
    got = identity(x)
    assert got == x and type(got) is type(x)
    return shown(x)


@settings(deadline=None, max_examples=100)
@given(st.dates())
@example(dt.date.min)
@example(dt.date.max)
def test_dates(d):
    assert same(d) == f"Dates.Date {d.isoformat()}"


@settings(deadline=None, max_examples=100)
@given(st.datetimes())
@example(dt.datetime.max)
def test_datetimes(d):
    assert same(d.replace(microsecond=d.microsecond // 1000 * 1000)).startswith("Dates.DateTime ")
    if d.microsecond % 1000:
        assert identity(d) is d  # Julia's have milliseconds
        assert "PyObject" in shown(d)


@settings(deadline=None, max_examples=50)
@given(st.times())
def test_times(t):
    assert same(t).startswith("Dates.Time ")


@settings(deadline=None, max_examples=100)
@given(st.timedeltas())
@example(dt.timedelta.max)
@example(dt.timedelta(microseconds=-1))
def test_timedeltas(t):
    microseconds = t // dt.timedelta(microseconds=1)
    if -(2**63) <= microseconds < 2**63:
        assert same(t).startswith(f"Dates.Microsecond {microseconds} ")
    else:
        assert identity(t) is t


def test_what_the_others_type_cannot_hold_stays():
    zone = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    assert identity(zone) is zone
    time = dt.time(1, tzinfo=dt.timezone.utc)
    assert identity(time) is time
    for code in (
        "Dates.Date(10000)",
        "Dates.Date(0)",
        "Dates.DateTime(-5)",
        "Dates.Time(0, 0, 0, 0, 0, 1)",
        "Dates.Nanosecond(1)",
        "Dates.Day(2_000_000_000)",
        "Dates.Month(1)",
        "Dates.Year(1) + Dates.Day(1)",
        "1//0",
    ):
        x = bb.eval(code)
        assert type(x) is bb.JuliaValue
        assert bb.Base.isequal(identity(x), x)


def test_periods():
    day = dt.timedelta(days=1)
    for code, wanted in {
        "Dates.Week(2)": 14 * day,
        "Dates.Day(-3)": -3 * day,
        "Dates.Hour(5)": dt.timedelta(hours=5),
        "Dates.Minute(7)": dt.timedelta(minutes=7),
        "Dates.Second(9)": dt.timedelta(seconds=9),
        "Dates.Millisecond(11)": dt.timedelta(milliseconds=11),
        "Dates.Microsecond(-13)": dt.timedelta(microseconds=-13),
        "Dates.Nanosecond(5_000)": dt.timedelta(microseconds=5),
        "Dates.Day(1) + Dates.Hour(2)": dt.timedelta(days=1, hours=2),
        "Dates.DateTime(2020, 1, 2) - Dates.DateTime(2020)": day,
    }.items():
        got = bb.eval(code)
        assert got == wanted and type(got) is dt.timedelta
    add = bb.eval("(a, b) -> a + b")
    assert add(dt.datetime(2020, 1, 1), day) == dt.datetime(2020, 1, 2)
    assert add(dt.date(2020, 1, 31), bb.eval("Dates.Month(1)")) == dt.date(2020, 2, 29)


def test_a_datetime_that_stays_is_explained():
    f = bb.eval("timed1(x::Dates.DateTime) = Dates.year(x)")
    assert f(dt.datetime(2020, 1, 1)) == 2020
    with pytest.raises(TypeError, match=r"microsecond.*replace\(microsecond"):
        f(dt.datetime(2020, 1, 1, microsecond=1))
    with pytest.raises(TypeError, match="BigFloat"):
        f(Decimal(1))
    with pytest.raises(TypeError, match="time zone"):
        f(dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc))


@settings(deadline=None, max_examples=100)
@given(st.fractions())
@example(Fraction(-(2**70), 3))
@example(Fraction(1, 2**70))
def test_fractions(f):
    assert same(f).startswith("Rational{")
    assert bb.eval("(x, y) -> big(x) * y")(f, 2) == f * 2


def test_decimals_on_request():
    d = Decimal("0.1")
    assert identity(d) is d
    big = bb.convert(bb.Base.BigFloat, d)
    assert bb.Base.isequal(big, bb.eval('big"0.1"'))
    assert bb.convert(bb.Base.BigFloat, bb.convert(Decimal, big)) == big
    assert bb.convert(Decimal, 3) == 3 and bb.convert(Decimal, bb.eval("big(2)^70")) == 2**70
    exact = bb.convert(bb.eval("Rational{BigInt}"), Decimal("-12.345E-30"))
    assert bb.convert(Fraction, exact) == Fraction(Decimal("-12.345E-30"))
    assert bb.convert(Fraction, bb.eval("big(0.1)")) == Fraction(0.1)
    assert bb.convert(Decimal, bb.eval("big(Inf)")) == Decimal("Infinity")
    assert bb.convert(Decimal, bb.eval("BigFloat(NaN)")).is_nan()
    assert bb.convert(bb.Base.Int, Decimal(5)) == 5
    with pytest.raises(ValueError):
        bb.convert(bb.Base.Int, Decimal("5.5"))
    with pytest.raises(ValueError):
        bb.convert(bb.eval("Rational{BigInt}"), Decimal("NaN"))
    with pytest.raises(ValueError):
        bb.convert(bb.Base.String, Decimal("1"))


@settings(deadline=None, max_examples=100)
@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_are_exact_as_rationals(d):
    if abs(d.as_tuple().exponent) < 400:
        got = bb.convert(bb.eval("Rational{BigInt}"), d)
        assert bb.convert(Fraction, got) == Fraction(d)


def test_convert():
    r = bb.eval("1:3")
    assert bb.convert(list, r) == [1, 2, 3] and bb.convert(tuple, r) == (1, 2, 3)
    assert bb.convert(dict, bb.eval("Dict(1 => 2)")) == {1: 2}
    assert bb.convert(set, bb.eval("Set([1])")) == {1}
    assert bb.convert(int, julia("0x05")) == 5 and bb.convert(str, julia(":ab")) == "ab"
    x = bb.convert(bb.eval("Vector{Float32}"), [1, 2])
    assert type(x) is bb.JuliaArray and x.format == "f"
    one = bb.convert(bb.Core.Int8, 1)
    assert type(one) is bb.JuliaValue and one.raw is not None and one == 1
    assert bb.convert(dt.date, julia("Dates.Date(2020)")) == dt.date(2020, 1, 1)
    with pytest.raises(ValueError, match="InexactError"):
        bb.convert(bb.Base.Int, 1.5)
    with pytest.raises(TypeError):
        bb.convert(bb.Base.Int, "a")
    with pytest.raises(TypeError, match="class or a Julia type"):
        bb.convert(3, 4)
    with pytest.raises(TypeError, match="class or a Julia type"):
        bb.convert(bb.Base.sin, 4)
    with pytest.raises(TypeError):
        bb.convert(Fraction, bb.eval(":a"))


# -------------------------------------------------------------------- enums


def test_enums():
    apple = bb.eval("@enum Fruit2 apple2=1 pear2=5 quince2=-3\napple2")
    assert isinstance(apple, enum.IntEnum) and apple == 1 and apple.name == "apple2"
    cls = type(apple)
    assert [(m.name, m.value) for m in cls] == [("apple2", 1), ("pear2", 5), ("quince2", -3)]
    assert bb.eval("pear2") is cls.pear2 and identity(cls.quince2) is cls.quince2
    assert bb.eval("x -> x === pear2")(cls.pear2) is True
    assert bb.eval("x -> x isa Vector{Fruit2}")([cls.pear2, cls.apple2]) is True
    assert list(bb.eval("[apple2, quince2]")) == [cls.apple2, cls.quince2]
    assert bb.eval("Dict(apple2 => 1)")[cls.apple2] == 1
    assert cls.__doc__ == "Julia's enum Main.Fruit2." and cls.__module__ == "Main"
    assert type(bb.eval("apple2", raw=True)) is bb.JuliaValue
    # Python's own are not Julia's.
    other = enum.IntEnum("other", "a b")
    assert identity(other.b) == 2 and type(identity(other.b)) is int
    plain = enum.Enum("plain", "a b")
    assert identity(plain.a) is plain.a


def test_enums_with_odd_names():
    for names, wanted in [("mro", False), ("α", True), ("_x_", False)]:
        code = f"module Odd{abs(hash(names))}; @enum E {names}=2; v = {names}; end"
        v = bb.eval(code).v
        assert isinstance(v, enum.IntEnum) is wanted
        assert bb.Base.Int(v) == 2
    huge = bb.eval("@enum Huge3::UInt64 big3=0xffffffffffffffff\nbig3")
    assert huge == 2**64 - 1 and identity(huge) is huge
    unknown = (
        bb.eval("reinterpret(Fruit3, Int32(9))") if bb.eval("@enum Fruit3 a3=1") is None else 0
    )
    assert type(unknown) is bb.JuliaValue


# --------------------------------------------------- conversions of users


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None


@pytest.fixture
def points():
    """Points are converted both ways."""
    bb.eval("isdefined(Main, :Point4) || @eval struct Point4; x; y; end")

    @bb.conversion(Point)
    def to_julia(p):
        return bb.Main.Point4.raw(p.x, p.y)

    @bb.conversion(bb.Main.Point4)
    def to_python(p):
        assert type(p) is bb.JuliaValue
        return Point(p.x, p.y)

    yield
    bb.remove_conversion(Point)
    bb.remove_conversion(bb.Main.Point4)


def test_conversions_hold_for_all_ways(points):
    p = Point(1, 2.5)
    assert identity(p) == p and identity(p) is not p
    assert shown(p) == "Point4 Point4(1, 2.5)"
    assert bb.eval("x -> x isa Vector{Point4}")([p, p]) is True
    assert bb.eval("x -> (x, [x], Dict(1 => x))")(p)[0] == p
    assert bb.eval("x -> Any[x]")(p)[0] == p
    assert bb.eval("f -> f(Point4(3, 4))")(lambda q: (type(q), q)) == (Point, Point(3, 4))
    assert bb.eval("f -> f() isa Point4")(lambda: p) is True
    bb.Main.point4 = p
    assert bb.eval("point4.x") == 1 and bb.Main.point4 == p
    assert type(bb.eval("Point4(1, 2)", raw=True)) is bb.JuliaValue
    d = bb.eval("Dict{Any,Any}()")
    d["p"] = p
    assert d["p"] == p

    class Special(Point):
        pass

    assert shown(Special(1, 2)) == "Point4 Point4(1, 2)"


def test_conversions_end():
    class Thing:
        pass

    thing = Thing()
    bb.conversion(Thing)(lambda t: 5)
    assert identity(thing) == 5
    bb.conversion(Thing)(lambda t: 6)
    assert identity(thing) == 6
    bb.remove_conversion(Thing)
    assert identity(thing) is thing
    with pytest.raises(KeyError):
        bb.remove_conversion(Thing)
    bb.eval("struct Thing5 end")
    thing5 = bb.Main.Thing5
    with pytest.raises(KeyError):
        bb.remove_conversion(thing5)
    bb.conversion(thing5)(lambda t: "five")
    assert thing5() == "five"
    bb.remove_conversion(thing5)
    assert type(thing5()) is bb.JuliaValue


def test_conversions_may_decline():
    bb.eval("struct Maybe6; x; end")
    bb.conversion(bb.Main.Maybe6)(lambda m: "yes" if m.x else NotImplemented)
    assert bb.Main.Maybe6(1) == "yes" and type(bb.Main.Maybe6(0)) is bb.JuliaValue
    bb.remove_conversion(bb.Main.Maybe6)


def test_conversions_of_odd_classes():
    class Text(str):
        pass

    class Memory(np.ndarray):
        pass

    class Called:
        def __call__(self):
            return 1

    for cls, make in [(Text, lambda: Text("a")), (Memory, lambda: np.zeros(2).view(Memory)),
                      (Called, Called)]:  # fmt: skip
        bb.conversion(cls)(lambda x: (1, 2))
        assert identity(make()) == (1, 2)
        bb.remove_conversion(cls)
    assert identity(Text("a")) == "a"


def test_classes_without_a_hash():
    class Equal(type):  # noqa: PLW1641
        def __eq__(cls, other):
            return cls is other

    class Odd(metaclass=Equal):
        pass

    class OddDate(dt.date, metaclass=Equal):
        pass

    class Hashed(Equal):
        __hash__ = type.__hash__

    class Even(Odd, metaclass=Hashed):
        pass

    for x in (Odd(), OddDate(2020, 1, 2), Even()):
        assert identity(x) is x


def test_finer_subclasses_stay():
    # As pandas has them.
    class Timestamp(dt.datetime):
        nanosecond = 0

    class Timedelta(dt.timedelta):
        nanoseconds = 0

    time, delta = Timestamp(2020, 1, 2), Timedelta(1)
    assert shown(time).startswith("Dates.DateTime") and shown(delta).startswith("Dates.Micro")
    Timestamp.nanosecond = Timedelta.nanoseconds = 1
    assert identity(time) is time and identity(delta) is delta
    bb.eval("finer_kind(x::Dates.DateTime) = 1; finer_kind(x::Dates.Microsecond) = 2")
    with pytest.raises(TypeError, match=r"nanoseconds.*floor\('ms'\)"):
        bb.Main.finer_kind(time)
    with pytest.raises(TypeError, match=r"nanoseconds.*floor\('us'\)"):
        bb.Main.finer_kind(delta)


def test_a_conversion_that_resizes_a_vector_and_declines():
    class Number(int):
        pass

    v = bb.eval("collect(1.0:100000)")
    view = v[50000:]

    @bb.conversion(Number)
    def resize(x):
        bb.Base.resize_b(v, 10)
        return NotImplemented

    try:
        with pytest.raises(BufferError, match="was resized"):
            bb.eval("(a, i) -> sum(a)")(view, Number(3))
    finally:
        bb.remove_conversion(Number)


def test_conversions_without_end(run_python):
    run_python(
        """
        import sys
        import bufferbridge as bb

        class A: pass

        bb.conversion(A)(lambda x: A())
        nested = []
        for _ in range(100_000):
            nested = [nested]
        sys.setrecursionlimit(1_000_000)
        for x in (A(), nested):
            try:
                bb.Base.identity(x)
            except RecursionError as e:
                assert "C stack" in str(e), e
            else:
                raise AssertionError
        assert bb.Base.identity(3) == 3
        """
    )


def test_bad_conversions():
    for fixed in (int, str, list, dict, tuple, object, np.ndarray):
        with pytest.raises(ValueError, match="can't be changed"):
            bb.conversion(fixed)(lambda x: x)
    for fixed in (
        bb.Core.Int,
        bb.Core.String,
        bb.Core.Any,
        bb.eval("Vector{Int}"),
        bb.eval("Tuple"),
    ):
        with pytest.raises(ValueError, match="can't be changed"):
            bb.conversion(fixed)(lambda x: x)
    with pytest.raises(TypeError):
        bb.conversion(3)(lambda x: x)
    with pytest.raises(TypeError):
        bb.conversion(bb.Base.sin)(lambda x: x)
    with pytest.raises(TypeError):
        bb.conversion(Point)(3)

    class Bad:
        pass

    bb.conversion(Bad)(lambda x: x)
    with pytest.raises(TypeError, match="gave the same"):
        identity(Bad())
    bb.conversion(Bad)(lambda x: Bad())
    with pytest.raises(RecursionError):
        identity(Bad())

    def fails(x):
        raise KeyError("mine")

    bb.conversion(Bad)(fails)
    with pytest.raises(KeyError, match="mine"):
        identity(Bad())
    with pytest.raises(KeyError, match="mine"):
        identity([1, Bad()])
    bb.remove_conversion(Bad)
    bb.eval("struct Bad7 end")
    bb.conversion(bb.Main.Bad7)(fails)
    with pytest.raises(KeyError, match="mine"):
        bb.Main.Bad7()
    bb.conversion(bb.Main.Bad7)(lambda x: x)
    assert type(bb.Main.Bad7()) is bb.JuliaValue
    bb.remove_conversion(bb.Main.Bad7)


def test_conversions_from_julia_code():
    bb.eval(
        "struct Vec8 <: AbstractVector{Int}; end\n"
        "Base.size(::Vec8) = (2,); Base.getindex(::Vec8, i::Int) = i"
    )
    bb.eval("struct Own8; x; end; BufferBridge.pyvalue(p::Own8) = (p.x, 8)")
    assert bb.eval("Own8(1)") == (1, 8) and bb.eval("(Own8(1),)") == ((1, 8),)
    assert type(bb.eval("Vec8()")) is bb.JuliaArray
    bb.eval("BufferBridge.pyvalue(v::Vec8) = Tuple(v)")
    assert bb.eval("Vec8()") == (1, 2)
    assert type(bb.eval("Vec8()", raw=True)) is bb.JuliaArray
    f = bb.eval("(x::Int) -> x > 0 ? Own8(x) : x")
    for _ in range(5000):  # calls of one signature are compiled after some time
        f(1)
    assert f(2) == (2, 8)


def test_conversions_of_classes_from_julia_code():
    class Wrapped:
        def __init__(self, x):
            self.x = x

    class Sub(Wrapped):
        pass

    bb.eval("using BufferBridge\nc -> pyconversion!(o -> (:wrapped, o.x), c)")(Wrapped)
    assert shown(Wrapped(3)) == shown(Sub(3)) and shown(Wrapped(3)).endswith("(:wrapped, 3)")
    bb.eval('c -> pyconversion!(o -> error("no"), c)')(Wrapped)
    with pytest.raises(bb.JuliaError, match="no"):
        identity([Wrapped(3)])
    bb.remove_conversion(Wrapped)
    with pytest.raises(ValueError, match="can't be changed"):
        bb.eval("c -> pyconversion!(o -> 1, c)")(list)
    with pytest.raises(TypeError):
        bb.eval("c -> pyconversion!(o -> 1, c)")(3)
    with pytest.raises(TypeError, match="class or a Julia type"):
        bb.eval("c -> pyconversion!(o -> 1, c)")(print)


def test_convert_as_objects_are_converted():
    assert str(bb.convert(bb.Base.Symbol, "a")) == "a"
    assert bb.eval("x -> x === 'a'")(bb.convert(bb.Base.Char, "a")) is True
    assert bb.convert(bb.eval("Vector{Float64}"), (1, 2)).format == "d"
    assert bb.eval("x -> x isa Dict{Symbol,Float64}")(
        bb.convert(bb.eval("Dict{Symbol,Float64}"), {"a": 1})
    )
    with pytest.raises(TypeError, match="can't be converted"):
        bb.convert(bb.eval("Vector{Float64}"), "ab")


@pytest.mark.parametrize(
    ("wanted", "value", "shown"),
    [
        ("Vector{Float64}", [1, 2], "AbstractVector"),
        ("Vector{Any}", [1, 2], "AbstractVector"),
        ("Dict{String,Any}", {"a": 1}, "AbstractDict"),
        ("Set{Float64}", {1}, "Set"),
        ("Symbol", "a", "a String, and the method wants a Symbol"),
        ("Char", "a", "wants a Char"),
        ("Float32", 1.5, "a Float64, and the method wants a Float32"),
        ("UInt8", 3, "an Int64, and the method wants an? UInt8"),
    ],
)
def test_arguments_of_another_type_are_explained(wanted, value, shown):
    f = bb.eval(f"module Hints{abs(hash(wanted))}; hinted(a, x::{wanted}; k = 1) = x; end").hinted
    for call in (lambda: f(1, value), lambda: f(1, value, k=2)):
        with pytest.raises(TypeError, match=shown) as caught:
            call()
        message = str(caught.value)
        assert "Argument 2 is " in message and "bufferbridge.convert" in message
        assert "Argument 1" not in message
    f(1, bb.convert(bb.eval(wanted), value))
    with pytest.raises(TypeError) as caught:
        f(1, object())
    assert "Argument" not in str(caught.value)


def test_hints_are_not_given_for_julias_own():
    with pytest.raises(TypeError) as caught:
        bb.eval("+")(1, "a")
    assert "bufferbridge" not in str(caught.value)


def test_classes_are_let_go_of():
    cls = type("Ephemeral", (), {})
    identity(cls())
    ref = weakref.ref(cls)
    for i in range(1100):
        identity(type(f"Other{i}", (), {})())
    del cls
    gc.collect()
    bb.Base.GC.gc()
    bb.stats()
    gc.collect()
    assert ref() is None
