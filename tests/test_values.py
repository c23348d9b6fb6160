"""The two conversion tables of docs/conversion.md: values without memory to share."""

from __future__ import annotations

import collections
import enum
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb

typename = bb.eval("x -> string(typeof(x))")
identity = bb.Base.identity
is_equal = bb.eval("(x, code) -> isequal(x, Core.eval(Main, Meta.parse(code)))")


def is_type(value, code: str) -> bool:
    return bb.eval("(x, T) -> typeof(x) === T")(value, bb.eval(code))


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("true", True),
        ("nothing", None),
        ("missing", None),
        ("Int8(-5)", -5),
        ("0xff", 255),
        ("typemax(UInt64)", 2**64 - 1),
        ("typemin(Int64)", -(2**63)),
        ("typemax(Int128)", 2**127 - 1),
        ("big(2)^200", 2**200),
        ("-big(2)^200", -(2**200)),
        ("Float16(1.5)", 1.5),
        ("0.1f0", float(np.float32(0.1))),
        ("1.5", 1.5),
        ("Inf", math.inf),
        ("1.0f0 + 2.0f0im", 1 + 2j),
        ("1 + 2im", 1 + 2j),
        ("Complex(true, false)", 1 + 0j),
        ('"grüße"', "grüße"),
        ('"a\\0b"', "a\0b"),
        ('SubString("hello", 2, 4)', "ell"),
        ("'x'", "x"),
        ("'∀'", "∀"),
        ('(1, "a", nothing)', (1, "a", None)),
        ("()", ()),
        ("((1, 2), (3.0,))", ((1, 2), (3.0,))),
    ],
)
def test_julia_to_python(code, value):
    got = bb.eval(code)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("big", ["big(1.5)", ":symbol", "Int", "1 => 2", "Ref(1)"])
def test_everything_else_stays_julia(big):
    got = bb.eval(big)
    assert type(got) is bb.JuliaValue
    assert identity(got) == got


def test_classes():
    assert type(bb.Base) is bb.JuliaModule
    assert type(bb.Base.sin) is bb.JuliaFunction
    assert type(bb.eval("[1]")) is bb.JuliaArray
    assert issubclass(bb.JuliaArray, bb.JuliaValue)


@pytest.mark.parametrize(
    ("value", "julia_type"),
    [
        (True, "Bool"),
        (3, "Int64"),
        (2**63 - 1, "Int64"),
        (-(2**63), "Int64"),
        (2**63, "BigInt"),
        (1.5, "Float64"),
        (1 + 2j, "ComplexF64"),
        ("grüße", "String"),
        (None, "Nothing"),
        ((1, "a"), "Tuple{Int64, String}"),
        ((), "Tuple{}"),
        ([1, 2], "Vector{Int64}"),
        ([1.5, 2.5], "Vector{Float64}"),
        ([1, 2.5], "Vector{Real}"),
        ([1, None], "Vector{Union{Nothing, Int64}}"),
        ([], "Vector{Any}"),
        ([[1], [2, 3]], "Vector{Vector{Int64}}"),
        ([1, "a"], "Vector{Any}"),
        ({"a": 1}, "Dict{String, Int64}"),
        ({1: "x", 2: None}, "Dict{Int64, Union{Nothing, String}}"),
        ({}, "Dict{Any, Any}"),
        ({1, 2}, "Set{Int64}"),
        (frozenset(["a"]), "Set{String}"),
        (range(5), "UnitRange{Int64}"),
        (range(0, 10, 3), "StepRange{Int64, Int64}"),
        (np.float32(1.5), "Float32"),
        (np.float64(1.5), "Float64"),
        (np.float16(1.5), "Float16"),
        (np.int8(-1), "Int8"),
        (np.uint16(7), "UInt16"),
        (np.int64(-1), "Int64"),
        (np.uint64(2**63), "UInt64"),
        (np.bool_(True), "Bool"),
        (np.complex64(1j), "ComplexF32"),
        (np.complex128(1j), "ComplexF64"),
        (np.str_("x"), "String"),
    ],
    ids=repr,
)
def test_python_to_julia_type(value, julia_type):
    assert is_type(value, julia_type)


@pytest.mark.parametrize(
    "value",
    [
        range(5),
        range(3, 3),
        range(5, 0),
        range(0, 10, 3),
        range(10, 0, -3),
        range(2**70, 2**70 + 3),
        range(-(2**63)),
        range(0, 2**63 - 1, -1),
        range(-(2**63), -(2**63)),
    ],
    ids=repr,
)
def test_ranges_have_the_same_elements(value):
    assert list(bb.Base.collect(value)) == list(value)


def test_namedtuples_both_ways():
    Point = collections.namedtuple("Point", "x y")
    assert typename(Point(1, 2.0)).replace(" ", "").startswith("NamedTuple{(:x,:y)") or typename(
        Point(1, 2.0)
    ).startswith("@NamedTuple")
    got = bb.eval('(a = 1, b = (c = "x",))')
    assert got.a == 1
    assert got.b.c == "x"
    assert isinstance(got, tuple)
    assert type(bb.eval("(a = 1, b = 2)")) is type(bb.eval("(a = 3, b = 4)"))


def test_namedtuple_names_that_python_does_not_allow():
    got = bb.eval("NamedTuple{(:class, :ok)}((1, 2))")
    assert tuple(got) == (1, 2)
    assert got.ok == 2


def test_int_subclasses_and_enums_are_ints():
    class Colour(enum.IntEnum):
        RED = 7

    assert is_type(Colour.RED, "Int64")
    assert identity(Colour.RED) == 7


def test_the_very_same_python_object_comes_back():
    class Thing:
        pass

    thing = Thing()
    assert identity(thing) is thing

    def function():
        return None

    assert identity(function) is function
    assert identity(Thing) is Thing
    assert bb.eval("x -> [x, x]")(thing)[1] is thing


def test_julia_code_reads_and_writes_attributes_of_python_objects():
    class Thing:
        x = 1

    thing = Thing()
    assert bb.eval("o -> (o.y = o.x + 1; o.y)")(thing) == 2
    assert thing.y == 2
    with pytest.raises(AttributeError, match="nosuch"):
        bb.eval("o -> o.nosuch")(thing)
    assert "Thing object" in bb.eval("string")(thing)


def test_callables_are_julia_functions():
    assert bb.eval("f -> f isa Function")(len) is True
    assert list(bb.Base.map(lambda v: v * 2, [1, 2])) == [2, 4]
    assert bb.eval("f -> f(1, 2; sep = 3)")(lambda a, b, sep: (a, b, sep)) == (1, 2, 3)
    assert bb.eval("T -> T(7)")(str) == "7"


def test_lists_that_contain_themselves_are_refused():
    endless: list = []
    endless.append(endless)
    with pytest.raises(RecursionError):
        identity(endless)
    nested: list = []
    for _ in range(50):
        nested = [nested]
    assert type(identity(nested)) is bb.JuliaArray


def test_deep_nesting_that_fits():
    value = 1
    for _ in range(30):
        value = (value,)
    assert identity(value) == value


def test_strings_that_are_no_unicode_survive():
    invalid = bb.eval(r'"a\xff\xfeb"')
    assert invalid == b"a\xff\xfeb".decode("utf-8", "surrogateescape")
    assert bb.eval(r's -> codeunits(s) == b"a\xff\xfeb"')(invalid) is True
    assert identity("\ud800") == "\ud800"


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)


@given(st.recursive(scalars, lambda x: st.lists(x, max_size=4).map(tuple), max_leaves=10))
@settings(max_examples=200, deadline=None)
def test_round_trip(value):
    got = identity(value)
    assert got == value
    assert repr(got) == repr(value)  # True is not 1, 0.0 is not -0.0


@given(st.integers())
@settings(max_examples=200, deadline=None)
def test_integers_of_any_size(n):
    assert bb.Base.string(n) == str(n)
    assert bb.eval("x -> big(x) + 1")(n) == n + 1


def test_wrong_constructions_are_type_errors():
    for cls in (bb.JuliaValue, bb.JuliaArray, bb.JuliaFunction, bb.JuliaModule):
        with pytest.raises(TypeError, match="comes from Julia"):
            cls()
