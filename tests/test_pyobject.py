"""Python objects in Julia code: what can be done with them there, and what comes out."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import io
import operator
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb

from .conftest import collect_both


@pytest.fixture(scope="module")
def jl():
    """Evaluates Julia code where BufferBridge's names are; the same code is evaluated once."""
    module = bb.eval("module TestPyObject\nusing BufferBridge\nend")
    known: dict[str, object] = {}

    def evaluate(code):
        if code not in known:
            known[code] = bb.eval(code, module)
        return known[code]

    return evaluate


def raw(x):
    return bb.pyobject(x)


# ------------------------------------------------------------------- handles


def test_pyobject_is_the_object_itself(jl):
    for x in ({"a": 1}, [1], 5, "text", None, object(), print, np.arange(3), bb.eval("[1.0]")):
        handle = raw(x)
        assert isinstance(handle, bb.JuliaValue)
        assert jl("o -> o isa PyObject")(handle) is True
        assert bb.Base.identity(handle) is x  # on its way back it is the object
        assert jl("o -> pyis(o, o) && !pyis(o, nothing)")(handle) is (x is not None)
        assert jl("pyisnone")(handle) is (x is None)


def test_handles_are_let_go():
    before = collect_both()
    things = [object() for _ in range(100)]
    counts = [sys.getrefcount(x) for x in things]
    handles = [raw(x) for x in things]
    assert all(sys.getrefcount(x) > n for x, n in zip(things, counts))
    del handles
    collect_both()
    assert [sys.getrefcount(x) for x in things] == counts
    assert collect_both()["python_objects"] <= before["python_objects"]


def test_objects_of_julia_values(jl):
    assert jl('PyObject(5) isa PyObject && repr(PyObject("x"))') == "PyObject('x')"
    x = jl("x = [1.0, 2.0]; PyObject(x)")
    assert isinstance(x, bb.JuliaArray)
    assert jl("PyObject(PyObject(5)) isa PyObject && convert(PyObject, sum) isa PyObject") is True


# ---------------------------------------------------------------- attributes


class Thing:
    """Has everything."""

    kind = "thing"

    def __init__(self):
        self.items = [1, 2]

    def method(self, x, *, k=0):
        return x + k

    @property
    def broken(self):
        raise ValueError("broken")

    @property
    def absent(self):
        raise AttributeError("absent")


def test_attributes(jl):
    thing = Thing()
    assert jl("o -> o.kind")(thing) == "thing"
    assert jl("o -> o.method(2, k = 3)")(thing) == 5
    assert jl('o -> (o.new = "x"; o)')(thing) is thing
    assert thing.new == "x"
    assert jl("o -> pygetattr(o, :items) isa PyObject")(thing) is True
    assert jl("o -> o.items isa Vector{Int}")(thing) is True
    assert jl('o -> pygetattr(o, "items")')(thing) is thing.items
    assert jl("o -> :method in propertynames(o)")(thing) is True
    has = jl("(o, name) -> hasproperty(o, Symbol(name))")
    assert has(thing, "kind") is True
    assert has(thing, "nothing") is False
    assert has(thing, "absent") is False
    with pytest.raises(ValueError, match="broken"):
        has(thing, "broken")
    with pytest.raises(AttributeError, match="nothing"):
        jl("o -> o.nothing")(thing)
    with pytest.raises(AttributeError):
        jl("o -> (o.kind = 1)")(raw(5))


def test_a_class_has_attributes_too(jl):
    # A callable is a Function in Julia.
    assert jl("c -> c isa Function && c.kind")(Thing) == "thing"
    assert jl("c -> c().method(1)")(Thing) == 1
    assert jl('() -> pyimport("pathlib").PurePosixPath("/a/b").parent.name')() == "a"
    assert jl("c -> (c.extra = 5; pygetattr(c, :extra))")(Thing) == 5
    del Thing.extra
    assert jl("c -> (:kind in propertynames(c), hasproperty(c, :zzz), c == c, hash(c) == hash(c))")(
        Thing
    ) == (True, False, True, True)
    assert jl("c -> string(c)")(Thing) == str(Thing)
    assert jl("c -> [x.name for x in c]")(enum.Enum("Color", "red green"))[1] == "green"


def test_printing(jl):
    d = decimal.Decimal("1.50")
    assert jl("repr")(d) == "PyObject(Decimal('1.50'))"
    assert jl("string")(d) == "1.50"
    assert jl('o -> "$o"')(d) == "1.50"
    assert jl('o -> sprint(show, MIME("text/plain"), [o])')(d).endswith("PyObject(Decimal('1.50'))")
    assert jl("repr")(print) == "PyFunction(<built-in function print>)"


# --------------------------------------------------------------------- items


def test_items(jl):
    d = {"a": 1, (1, 2): "pair"}
    o = raw(d)
    assert jl('o -> o["a"]')(o) == 1
    assert jl("o -> o[1, 2]")(o) == "pair"
    jl('o -> (o["b"] = [1, 2])')(o)
    assert list(d["b"]) == [1, 2]
    assert jl('o -> (haskey(o, "a"), "a" in o, "z" in o, get(o, "z", 7), get(o, "a", 7))')(o) == (
        True,
        True,
        False,
        7,
        1,
    )
    assert jl('o -> delete!(o, "b")')(o) is d
    assert "b" not in d
    for code in ('o -> o["z"]', 'o -> delete!(o, "z")'):
        with pytest.raises(KeyError):
            jl(code)(o)
    with pytest.raises(TypeError):
        jl("o -> get(o, 1, 2)")(raw(5))
    items = [[1], [2]]
    assert jl("o -> pygetitem(o, 1)")(raw(items)) is items[1]
    # Indices are Python's.
    assert jl("o -> (o[begin], o[0], o[1], o[-1], o[end], length(o))")(raw([5, 6, 7])) == (
        *(5, 5, 6, 7, 7, 3),
    )
    assert jl("o -> (isempty(o), firstindex(o))")(raw([])) == (True, 0)

    class Frame:
        def __getitem__(self, key):
            return repr(key)

    assert jl('o -> o[:, "x"]')(Frame()) == "(slice(None, None, None), 'x')"


def test_iteration(jl):
    collect = jl("o -> [x for x in o]")
    assert list(collect(raw([1, 2, 3]))) == [1, 2, 3]
    assert list(collect(raw({"a": 1, "b": 2}))) == ["a", "b"]
    assert list(collect(x * x for x in range(4))) == [0, 1, 4, 9]
    assert list(collect(raw(()))) == []
    assert list(jl("o -> collect(Iterators.take(o, 2))")(__import__("itertools").count())) == [0, 1]
    total = jl("function (o) total = 0; for x in o; total += x; end; total end")
    assert total(iter(range(101))) == 5050
    assert jl("o -> sum(o)")(raw({1, 2, 3})) == 6
    assert jl("o -> map(x -> 2x, o)")(raw((1, 2)))[1] == 4
    assert jl("(o, p) -> collect(zip(o, p))")(iter("ab"), raw([1, 2]))[1] == ("b", 2)

    def failing():
        yield 1
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        collect(failing())
    with pytest.raises(TypeError, match="not iterable"):
        collect(raw(5))


def test_a_generator_that_is_left_early(jl):
    closed = []

    def generator():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    assert jl("function (o) for x in o; x == 3 && return x; end; end")(generator()) == 3
    collect_both()
    assert closed == [True]


def test_calls_back_while_iterating(jl):
    identity = bb.Base.identity
    assert jl("o -> sum(o)")(identity(x) for x in range(10)) == 45


# --------------------------------------------------------------- comparison

PAIRS = [(7, 3), (-7, 3), (7, -2), (2, 5), (6, 6)]
OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "÷": operator.floordiv,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    "⊻": operator.xor,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_pythons(jl, name):
    f = jl(f"(a, b) -> a {name} b")
    for a, b in PAIRS:
        expected = OPERATORS[name](a, b)
        for x, y in ((raw(a), raw(b)), (raw(a), b), (a, raw(b))):
            result = f(x, y)
            assert result == expected
            assert type(result) is type(expected)


def test_more_operators(jl):
    assert jl("o -> (o^10, 2^o, o << 3, o >> 1, 1 << o)")(raw(3)) == (59049, 8, 24, 1, 8)
    assert jl("o -> (-o, +o, ~o, abs(o))")(raw(-3)) == (3, -3, 2, 3)
    assert jl("o -> (mod(o, 4), fld(o, 4), div(o, 4), rem(o, 4))")(raw(-7)) == (1, -2, -2, 1)
    assert jl('o -> (o * 2, o + "b", "b" + o, o % 5)')(raw("a%s"))[:3] == ("a%sa%s", "a%sb", "ba%s")
    a = raw(np.array([[1, 2], [3, 4]]))
    assert np.asarray(jl("o -> pymatmul(o, o)")(a)).tolist() == [[7, 10], [15, 22]]
    assert list(jl("o -> o .+ [1, 2]")(raw(10))) == [11, 12]
    with pytest.raises(TypeError, match="unsupported operand"):
        jl("o -> o + 1")(object())
    with pytest.raises(ZeroDivisionError):
        jl("o -> o / 0")(raw(1))
    with pytest.raises(TypeError):
        jl("o -> o < 1")(object())


class Vector:
    """Operators that are Python's own, on either side."""

    def __init__(self, *x):
        self.x = x

    def __add__(self, other):
        return Vector(*(a + other for a in self.x))

    __radd__ = __add__

    def __matmul__(self, other):
        return sum(a * b for a, b in zip(self.x, other.x))

    def __neg__(self):
        return Vector(*(-a for a in self.x))


def test_operators_of_classes(jl):
    v = Vector(1, 2)
    assert jl("v -> v + 1")(v).x == (2, 3)
    assert jl("v -> 1 + v")(v).x == (2, 3)
    assert jl("v -> -v")(v).x == (-1, -2)
    assert jl("v -> pymatmul(v, v)")(v) == 5


def test_equality_may_be_an_array(jl):
    result = jl("(a, b) -> a == b")(raw(np.array([1, 2, 3])), raw(np.array([1, 0, 3])))
    assert list(result) == [True, False, True]
    # isequal is always a Bool, as Dict wants it.
    assert jl("(a, b) -> isequal(a, b)")(raw(np.zeros(2)), raw(np.zeros(2))) is False


def test_hash_and_dict(jl):
    one, other = decimal.Decimal("1.5"), decimal.Decimal("1.50")
    assert jl("(a, b) -> (isequal(a, b), hash(a) == hash(b))")(one, other) == (True, True)
    assert jl("(a, b) -> (d = Dict(a => 1); d[b] = 2; (length(d), d[a]))")(one, other) == (1, 2)
    assert jl("(a, b) -> length(Set([a, b, PyObject(1), PyObject(1)]))")(one, other) == 2
    # What is equal in Python is not equal to a Julia number in this sense: their hashes differ.
    assert jl("o -> (o == 5, 5 == o, isequal(o, 5), isequal(5, o), o === 5)")(raw(5)) == (
        *(True, True, False, False, False),
    )
    with pytest.raises(TypeError, match="unhashable"):
        jl("hash")(raw([]))


def test_order(jl):
    dates = [datetime.date(2020, 1, d) for d in (3, 1, 2)]
    assert list(jl("xs -> sort(xs)")(dates)) == sorted(dates)
    assert list(jl("xs -> sort(xs, rev = true)")(dates)) == sorted(dates, reverse=True)
    assert jl("o -> (isless(o, 6), isless(4, o), max(o, PyObject(9)) == 9)")(raw(5)) == (True,) * 3


def test_truth(jl):
    for x in (0, 1, "", "a", [], [0], None, {}, 0.0):
        assert jl("pytruth")(raw(x)) is bool(x)
    with pytest.raises(ValueError, match="ambiguous"):
        jl("pytruth")(raw(np.zeros(2)))
    assert jl('pytruth("")') is False


def test_isinstance(jl):
    assert jl("pyisinstance")(raw(5), int) is True
    assert jl('o -> pyisinstance(o, (pybuiltin("str"), pybuiltin("list")))')(raw(5)) is False
    with pytest.raises(TypeError):
        jl("pyisinstance")(raw(5), 5)


# --------------------------------------------------------------- conversion

Pair = collections.namedtuple("Pair", "a b")

STRICT = [
    ("Int", 5, "5"),
    ("Int8", 5, "Int8(5)"),
    ("BigInt", 2**70, 'parse(BigInt, "1180591620717411303424")'),
    ("UInt64", 2**63, "UInt64(2)^63"),
    ("Bool", True, "true"),
    ("Float64", 1.5, "1.5"),
    ("Float64", 2, "2.0"),
    ("Float32", 1.5, "1.5f0"),
    ("ComplexF64", 1j, "1.0im"),
    ("Real", 2.5, "2.5"),
    ("String", "text", '"text"'),
    ("Symbol", "text", ":text"),
    ("Char", "ü", "'ü'"),
    ("Vector{Int}", [1, 2], "[1, 2]"),
    ("Vector{Float64}", [1, 2.5], "[1.0, 2.5]"),
    ("Vector{Float64}", (1, 2.5), "[1.0, 2.5]"),
    ("Vector{Vector{Int}}", [[1], [2, 3]], "[[1], [2, 3]]"),
    ("Vector{String}", [], "String[]"),
    ("Vector{Union{Nothing,Int}}", [1, None], "Union{Nothing,Int}[1, nothing]"),
    ("Vector{Any}", [1, "a"], 'Any[1, "a"]'),
    ("Tuple{Int,String}", (1, "a"), '(1, "a")'),
    ("Tuple{Vararg{Int}}", (1, 2, 3), "(1, 2, 3)"),
    ("NTuple{2,Float64}", [1, 2], "(1.0, 2.0)"),
    ("NamedTuple{(:a,:b),Tuple{Int,String}}", (1, "x"), '(a = 1, b = "x")'),
    ("NamedTuple{(:a,:b),Tuple{Int,String}}", Pair(1, "x"), '(a = 1, b = "x")'),
    ("NamedTuple{(:b,),Tuple{Float64}}", {"b": 1}, "(b = 1.0,)"),
    ("Dict{String,Int}", {"a": 1}, 'Dict("a" => 1)'),
    ("Dict{String,Vector{Int}}", {"a": [1]}, 'Dict("a" => [1])'),
    ("Set{Int}", {1, 2}, "Set([1, 2])"),
    ("Set{Int}", frozenset((1,)), "Set([1])"),
    ("AbstractDict", {"a": 1}, 'Dict("a" => 1)'),
    ("UnitRange{Int}", range(1, 4), "1:3"),
]


@pytest.mark.parametrize(("target", "value", "expected"), STRICT, ids=lambda x: str(x)[:40])
def test_strict_conversion(jl, target, value, expected):
    same = jl(
        f"o -> (x = convert({target}, o); y = {expected}; (isequal(x, y), typeof(x) === typeof(y)))"
    )
    assert same(raw(value)) == (True, True)


REFUSED = [
    ("Int", 5.0),
    ("Int", "5"),
    ("Int", True),
    ("Bool", 1),
    ("Float64", "1.5"),
    ("Float64", True),
    ("Float64", None),
    ("String", 5),
    ("String", b"bytes"),
    ("Symbol", 1),
    ("Char", "ab"),
    ("Vector{Int}", {1, 2}),
    ("Vector{Int}", "abc"),
    ("Vector{Int}", ["a"]),
    ("Vector{Int}", [1.5]),
    ("Tuple{Int}", (1, 2)),
    ("Tuple{Int,Int}", {1: 2}),
    ("NamedTuple{(:a,),Tuple{Int}}", {"a": 1, "b": 2}),
    ("NamedTuple{(:a,),Tuple{Int}}", [1]),
    ("Dict{String,Int}", [("a", 1)]),
    ("Dict{String,Int}", {1: 1}),
    ("Set{Int}", [1]),
]


@pytest.mark.parametrize(("target", "value"), REFUSED, ids=lambda x: str(x)[:40])
def test_strict_conversion_refuses(jl, target, value):
    with pytest.raises(TypeError, match="can't be converted to"):
        jl(f"o -> convert({target}, o)")(raw(value))


def test_conversions_that_lose_something(jl):
    with pytest.raises(ValueError, match="InexactError"):
        jl("o -> convert(Int8, o)")(raw(500))
    with pytest.raises(TypeError, match="pyconvert\\(Union{Nothing,Int64}, o\\) gives nothing"):
        jl("o -> convert(Int, o)")(raw(None))
    with pytest.raises(KeyError):
        jl("o -> convert(NamedTuple{(:a,),Tuple{Int}}, o)")(raw({"b": 1}))


def test_buffers_are_shared_when_converted(jl):
    x = np.arange(6.0)
    same = jl("(o, address) -> (x = convert(Vector{Float64}, o); UInt(pointer(x)) == address)")
    assert same(raw(x), x.ctypes.data) is True
    # Other elements, or another layout: a copy.
    ints = jl("o -> convert(Vector{Int}, o)")(raw(x))
    assert list(ints) == list(range(6))
    matrix = jl("o -> convert(Matrix{Float64}, o)")(raw(x.reshape(2, 3)))
    assert np.array_equal(matrix, x.reshape(2, 3))
    with pytest.raises(ValueError, match="InexactError"):
        jl("o -> convert(Vector{Int}, o)")(raw(x + 0.5))


def test_lenient_conversion(jl):
    class Number:
        def __int__(self):
            return 7

        def __float__(self):
            return 7.5

        def __str__(self):
            return "seven"

        def __bool__(self):
            return False

    n = Number()
    for target, value, expected in [
        ("Int", "12", 12),
        ("Int", 2.9, 2),
        ("Int", n, 7),
        ("Float64", "1.5", 1.5),
        ("Float64", n, 7.5),
        ("ComplexF64", "1j", 1j),
        ("String", 12, "12"),
        ("String", n, "seven"),
        ("Bool", n, False),
        ("Bool", [0], True),
        ("Vector{Int}", iter("123"), [1, 2, 3]),
        ("Vector", {1}, [1]),
        ("Tuple{Int,String}", ["5", 6], (5, "6")),
        ("Union{Nothing,Int}", None, None),
        ("Union{Nothing,Int}", 5, 5),
        ("Union{Int,String}", "x", "x"),
        ("Any", 5, 5),
        ("Nothing", None, None),
    ]:
        result = jl(f"o -> pyconvert({target}, o)")(raw(value))
        assert (list(result) if isinstance(expected, list) else result) == expected
    assert jl('o -> pyconvert(Dict{String,Int}, o) == Dict("a" => 1)')(raw([("a", "1")])) is True
    assert jl("o -> pyconvert(Set{Int}, o) == Set([1, 2])")(raw(["1", 2])) is True
    assert jl("pyconvert(Int, 5), pyconvert(String, 5)") == (5, "5")
    with pytest.raises(ValueError, match="invalid literal"):
        jl("o -> pyconvert(Int, o)")(raw("x"))
    with pytest.raises(TypeError):
        jl("o -> pyconvert(Int, o)")(object())
    with pytest.raises(TypeError):
        jl("o -> pyconvert(Union{Int,String}, o)")(raw(1.5))


@given(
    st.recursive(
        st.one_of(
            st.integers(-(2**70), 2**70),
            st.floats(allow_nan=False),
            st.text(),
            st.booleans(),
            st.none(),
        ),
        lambda x: st.one_of(st.lists(x, max_size=3), st.dictionaries(st.text(), x, max_size=3)),
        max_leaves=8,
    )
)
@settings(deadline=None, max_examples=60)
def test_what_a_wrapper_shows_is_what_is_there(jl, value):
    o = raw([value])
    assert jl("o -> PyList{PyObject}(o)[1]")(o) is value
    assert jl("o -> first(PyList{PyObject}(o))")(o) is value
    assert jl("o -> only(x for x in PyList{PyObject}(o))")(o) is value
    assert jl("o -> (l = PyList{PyObject}(o); push!(l, l[1]); pop!(l))")(o) is value


# --------------------------------------------------------------- containers


def test_lists_are_shared(jl):
    items = [1, 2, 3]
    o = raw(items)
    assert jl("PyList")(o) is items
    use = lambda code: jl(f"function (o) l = PyList{{Int}}(o); {code} end")(o)  # noqa: E731
    assert use("l isa AbstractVector{Int} && l[1] + l[end] + length(l) + sum(l)") == 13
    use("push!(l, 4, 5)")
    assert items == [1, 2, 3, 4, 5]
    assert use("pop!(l)") == 5
    use("append!(l, [6, 7]); append!(l, l)")
    assert items == [1, 2, 3, 4, 6, 7] * 2
    use("deleteat!(l, 7:12)")
    use("insert!(l, 1, 9); insert!(l, length(l) + 1, 8)")
    assert items == [9, 1, 2, 3, 4, 6, 7, 8]
    assert use("popfirst!(l)") == 9
    assert use("splice!(l, 2)") == 2
    use("deleteat!(l, 1)")
    use("pushfirst!(l, 5, 6)")
    assert items == [5, 6, 3, 4, 6, 7, 8]
    use("sort!(l, rev = true)")
    assert items == [8, 7, 6, 6, 5, 4, 3]
    use("reverse!(l); l[1] = 0; l .= l .+ 1")
    assert items == [1, 5, 6, 7, 7, 8, 9]
    assert use("findfirst(isequal(6), l)") == 3
    assert use(
        "copy(l) isa Vector{Int} && filter(iseven, l) == [6, 8] && map(x -> 2x, l) isa Vector{Int}"
    )
    for code, error in [
        ("l[0]", IndexError),
        ("l[8]", IndexError),
        ("l[8] = 1", IndexError),
        ("insert!(l, 9, 1)", IndexError),
        ("push!(l, 1.5)", ValueError),
        ("pop!(empty!(l)); 1", ValueError),
    ]:
        with pytest.raises(error):
            use(code)
    assert items == []
    items.append("text")
    with pytest.raises(TypeError, match="'str' can't be converted to Int64"):
        use("l[1]")
    assert jl("PyList{Float64}([1, 2])") == [1, 2]
    assert jl("push!(PyList(), 1)") == [1]
    with pytest.raises(TypeError, match="'set' is not a sequence"):
        jl("PyList")(raw({1}))


def test_dicts_are_shared(jl):
    d = {"a": 1, "b": 2}
    o = raw(d)
    assert jl("PyDict")(o) is d
    use = lambda code: jl(f"function (o) d = PyDict{{String,Int}}(o); {code} end")(o)  # noqa: E731
    assert use(
        '(d["a"], length(d), haskey(d, "b"), haskey(d, 5), "b" in keys(d), "z" in keys(d))'
    ) == (*(1, 2, True, False, True, False),)
    use('d["c"] = 3')
    assert d == {"a": 1, "b": 2, "c": 3}
    assert use(
        '(get(d, "z", 0), get(() -> 1, d, "z"), get!(d, "z", 26), get!(() -> 0, d, "z"))'
    ) == (*(0, 1, 26, 26),)
    assert d["z"] == 26
    assert use('(pop!(d, "z"), pop!(d, "z", -1))') == (26, -1)
    use('delete!(d, "c"); delete!(d, "c")')
    assert use(
        "sum(values(d)), join(sort(collect(keys(d)))), "
        "[k => v for (k, v) in d] isa Vector{Pair{String,Int}}"
    ) == (*(3, "ab", True),)
    use('merge!(d, Dict("q" => 9))')
    assert d.pop("q") == 9
    assert use(
        'd == Dict("a" => 1, "b" => 2) && copy(d) isa Dict{String,Int} && '
        'filter(p -> p[2] > 1, d) == Dict("b" => 2)'
    )
    with pytest.raises(KeyError, match="zz"):
        use('d["zz"]')
    with pytest.raises(KeyError):
        use('pop!(d, "zz")')
    with pytest.raises(RuntimeError, match="changed size"):
        use('for (k, v) in d; d[k * "x"] = v; end')
    use("empty!(d)")
    assert d == {}
    d["x"] = "text"
    with pytest.raises(TypeError, match="'str' can't be converted to Int64"):
        use('d["x"]')
    assert jl('PyDict{String,Int}("a" => 1 for _ in 1:0), PyDict(Dict(1 => 2))') == ({}, {1: 2})
    with pytest.raises(TypeError, match="'list' is not a mapping"):
        jl("PyDict")(raw([]))
    counter = collections.Counter("aab")
    assert jl('o -> (d = PyDict{String,Int}(o); d["c"] = 5; d["a"])')(raw(counter)) == 2
    assert counter["c"] == 5


def test_sets_are_shared(jl):
    s = {1, 2, 3}
    o = raw(s)
    assert jl("PySet")(o) is s
    use = lambda code: jl(f"function (o) s = PySet{{Int}}(o); {code} end")(o)  # noqa: E731
    assert use("(length(s), 2 in s, 7 in s, sum(s), s == Set([1, 2, 3]), issubset(s, 1:5))") == (
        *(3, True, False, 6, True, True),
    )
    use("push!(s, 4); union!(s, [5]); setdiff!(s, [1]); delete!(s, 2); delete!(s, 99)")
    assert s == {3, 4, 5}
    assert use("(pop!(s, 3), pop!(s, 3, 0))") == (3, 0)
    assert use("pop!(s)") in (4, 5)
    assert use("union(s, [9]) isa Set{Int} && copy(s) isa Set{Int}") is True
    with pytest.raises(KeyError):
        use("pop!(s, 99)")
    with pytest.raises(ValueError, match="non-empty"):
        use("pop!(empty!(s))")
    assert jl("PySet([1, 1, 2])") == {1, 2}
    assert jl("repr(PySet([1]))") == "PySet({1})"
    with pytest.raises(TypeError, match="not a set"):
        jl("PySet")(raw([]))


# --------------------------------------------------------------------- files


def test_binary_files(jl, tmp_path):
    path = tmp_path / "data"
    with open(path, "w+b") as f:
        o = raw(f)
        assert jl('o -> write(PyIO(o), "héllo\\n", 0x41, Int32(1))')(o) == 12
        f.seek(0)
        assert f.read() == "héllo\nA".encode() + bytes([1, 0, 0, 0])
        jl("o -> seekstart(PyIO(o))")(o)
        read = jl(
            "function (o) io = PyIO(o); a = readline(io); (a, peek(io, UInt8), read(io, UInt8), "
            "read(io, Int32), eof(io)) end"
        )
        assert read(o) == ("héllo", 65, 65, 1, True)
        with pytest.raises(EOFError):
            jl("o -> read(PyIO(o), UInt8)")(o)
        with pytest.raises(EOFError):
            jl("o -> read!(seek(PyIO(o), 1), zeros(100))")(o)
        assert jl(
            "o -> (io = seek(PyIO(o), 3); (position(io), length(read(io, 4)), position(io)))"
        )(o) == (3, 4, 7)
        # What Julia has not asked for is still Python's.
        f.seek(0)
        assert bytes(jl("o -> read(PyIO(o), 3)")(o)) == "hé".encode()
        assert f.read(3) == b"llo"
        assert jl("o -> (io = PyIO(o); seekend(io); (isopen(io), isreadable(io), iswritable(io)))")(
            o
        ) == (True, True, True)
        assert jl("o -> (close(PyIO(o)); isopen(PyIO(o)))")(o) is False
        assert f.closed
    data = bytes(range(256)) * 1000
    buffer = io.BytesIO(data)
    assert bytes(jl("o -> read(PyIO(o))")(buffer)) == data
    # A raw file may write less than it is given.

    class Slow(io.RawIOBase):
        written = b""

        def writable(self):
            return True

        def write(self, data):
            self.written += bytes(data)[:3]
            return min(3, len(data))

    slow = Slow()
    assert jl('o -> write(PyIO(o), "0123456789")')(slow) == 10
    assert slow.written == b"0123456789"


@pytest.mark.parametrize("read", ["readline(io)", "String(read(io))", "String(read(io, 6))"])
def test_what_was_read_is_not_lost_by_an_exception(jl, read):
    class Late(io.RawIOBase):
        calls = 0
        data = io.BytesIO(b"abcdef\nghi\n")

        def _wait(self):
            self.calls += 1
            if self.calls == 3:
                raise BlockingIOError("later")

        def readable(self):
            return True

        def read(self, n=-1):
            self._wait()
            return self.data.read(min(n, 2))

        def readline(self, n=-1):
            self._wait()
            return self.data.readline(n)

    file = Late()
    stream = jl("o -> (io = PyIO(o); eof(io); BufferBridge.Unconverted(io))")(file)
    if read.startswith("readline"):
        file.calls = 2
    if read == "String(read(io))":
        file.calls = 2
        file.data.read = lambda n, read=file.data.read: read()
    with pytest.raises(BlockingIOError):
        jl(f"io -> {read}")(stream)
    assert jl(f"io -> {read}")(stream).startswith("abcdef")


def test_text_files(jl, tmp_path):
    path = tmp_path / "text"
    path.write_text("añb\nzwei\n\nlast", encoding="latin-1")
    with open(path, encoding="latin-1") as f:
        o = raw(f)
        assert jl("o -> (io = PyIO(o); (read(io, Char), read(io, Char), readline(io)))")(o) == (
            *("a", "ñ", "b"),
        )
        assert list(jl("o -> collect(eachline(PyIO(o)))")(o)) == ["zwei", "", "last"]
    with open(path, "w", encoding="utf-16") as f:
        jl("o -> (io = PyIO(o); print(io, \"ü\", 1, '€'); flush(io))")(raw(f))
        assert jl('o -> (io = PyIO(o); for b in codeunits("€"); write(io, b); end)')(raw(f)) is None
    assert path.read_text(encoding="utf-16") == "ü1€€"
    lines = jl('o -> readlines(PyIO(o), keep = true) == ["a\\n", "b"]')
    assert lines(io.StringIO("a\nb")) is True
    with pytest.raises(TypeError, match="not a file"):
        jl("PyIO")(raw(5))
    with pytest.raises(io.UnsupportedOperation), open(path, encoding="utf-16") as f:
        jl('o -> print(PyIO(o), "x")')(f)
    f = io.StringIO()
    assert jl("PyIO")(f) is f


def test_julias_functions_write_to_python(jl):
    f = io.StringIO()
    jl(
        'using Test\no -> (io = PyIO(o); show(io, [1, 2]); println(io); join(io, ["a", "b"], ", "))'
    )(f)
    assert f.getvalue() == "[1, 2]\na, b"


# ------------------------------------------------------- modules and code


def test_imports(jl):
    import os.path

    assert jl('pyimport("os.path")') is os.path
    assert jl('pyimport("math" => "pi"), pyimport("math" => ("e", "tau"))') == (
        __import__("math").pi,
        (__import__("math").e, __import__("math").tau),
    )
    _, s, _ = jl('A -> pyimport("numpy").linalg.svd(A)')(np.diag([1.0, 2.0]))
    assert list(s) == [2, 1]
    assert jl('o -> pybuiltin("len")(o)')([1, 2]) == 2
    with pytest.raises(ModuleNotFoundError, match="no_such_package.*pip install no_such_package"):
        jl('() -> pyimport("no_such_package.part")')()
    # What a package that is there lacks is another thing.
    with pytest.raises(ModuleNotFoundError) as caught:
        jl('() -> pyimport("json.nothing")')()
    assert "pip" not in str(caught.value)
    with pytest.raises(AttributeError):
        jl('() -> pybuiltin("no_such_builtin")')()
    with pytest.raises(AttributeError):
        jl('() -> pyimport("math" => "no_such_name")')()


def test_python_code(jl):
    assert jl('pyeval("x + y", (x = 2, y = 3))') == 5
    assert jl('pyeval("1 + 1")') == 2
    assert (
        jl('pyeval(PyObject, "[1]") isa PyObject && pyeval(Vector{Float64}, "[1]") == [1.0]')
        is True
    )
    assert jl(
        'd = pyexec("def f(x):\\n    return 2 * x\\ny = 4"); (d["f"](3), d["y"], pyeval("f(y)", d))'
    ) == (*(6, 4, 8),)
    assert jl('pyexec("z = x", Dict("x" => 5))["z"]') == 5
    names = {"a": 1}
    jl('o -> pyexec("b = a + 1", PyDict(o))')(raw(names))
    assert names["b"] == 2
    with pytest.raises(SyntaxError):
        jl('() -> pyeval("1 +")')()
    with pytest.raises(NameError, match="unknown"):
        jl('() -> pyeval("unknown")')()
    with pytest.raises(TypeError, match="returned 'a', where Int64 is wanted"):
        jl("() -> pyeval(Int, \"'a'\")")()


def test_typed_calls(jl):
    call = jl("(f, T, args...) -> pycall(f, T, args...)")
    assert call(len, bb.Base.Int, [1, 2]) == 2
    x = [1]
    assert jl("f -> pycall(f, PyObject) isa PyObject")(lambda: x) is True
    assert jl("f -> pycall(f, PyObject)")(lambda: x) is x
    assert (
        jl("(f, x) -> pycall(f, Vector{Float64}, x; k = 2) == [2.0]")(lambda x, k: [x * k], 1)
        is True
    )
    with pytest.raises(
        TypeError, match="Python function <built-in function len> returned 2, where String"
    ):
        call(len, bb.Base.String, [1, 2])
    with pytest.raises(TypeError, match="InexactError"):
        call(lambda: 500, bb.Base.Int8)


# --------------------------------------------------------- context managers


class Manager:
    def __init__(self, swallow=False):
        self.swallow = swallow
        self.log = []

    def __enter__(self):
        self.log.append("enter")
        return 5

    def __exit__(self, kind, error, traceback):
        self.log.append((kind, error))
        return self.swallow


def test_context_managers(jl, tmp_path):
    m = Manager()
    assert jl("m -> pywith(x -> x + 1, m)")(m) == 6
    assert m.log == ["enter", (None, None)]
    path = tmp_path / "file"
    jl('p -> pywith(pybuiltin("open")(p, "w")) do f\n f.write("text")\nend')(str(path))
    assert path.read_text() == "text"
    fail = jl("m -> pywith(x -> [1, 2][x], m)")
    with pytest.raises(IndexError) as caught:
        fail(m)
    assert isinstance(caught.value, bb.JuliaError)
    kind, error = m.log[-1]
    assert isinstance(error, bb.JuliaError)
    assert isinstance(error, IndexError)
    assert kind is type(error)
    assert "BoundsError" in str(error)
    assert "getindex" in error.backtrace
    mine = KeyError("mine")

    def throw(x):
        raise mine

    with pytest.raises(KeyError) as caught:
        jl("(m, f) -> pywith(f, m)")(m, throw)
    assert caught.value is mine
    assert m.log[-1] == (KeyError, mine)


def test_context_managers_may_end_an_exception(jl):
    m = Manager(swallow=True)
    assert jl('m -> (pywith(x -> error("over"), m), 1)')(m) == (None, 1)
    assert str(m.log[-1][1]) == "over"

    class Raises(Manager):
        def __exit__(self, kind, error, traceback):
            raise ValueError("on the way out")

    with pytest.raises(ValueError, match="on the way out"):
        jl('m -> pywith(x -> error("over"), m)')(Raises())

    class NoEntry(Manager):
        def __enter__(self):
            raise ValueError("no entry")

    with pytest.raises(ValueError, match="no entry"):
        jl("m -> pywith(identity, m)")(NoEntry())
    with pytest.raises(AttributeError):
        jl("m -> pywith(identity, m)")(object())


def test_no_method_is_ambiguous():
    assert (
        bb.eval(
            """
            import BufferBridge
            using Test
            ours(m) = m.module === BufferBridge && startswith(basename(String(m.file)), "py") &&
                      basename(String(m.file)) != "pyarray.jl"
            pairs = Test.detect_ambiguities(Base, Core, BufferBridge)
            join([string(a, "  ", b) for (a, b) in pairs if ours(a) || ours(b)], "\\n")
            """,
            bb.eval("module TestAmbiguities end"),
        )
        == ""
    )
