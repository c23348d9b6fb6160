"""Julia objects in Python: operators, numbers, dictionaries, sets, files, help, display."""

from __future__ import annotations

import base64
import copy
import inspect
import io
import itertools
import math
import operator
import pydoc
import sys
from collections.abc import Mapping, MutableMapping, MutableSet, Set
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb

kept = bb.eval("identity").raw


def big(x):
    return bb.Base.BigFloat(x)


# ----------------------------------------------------------------------- raw

RAW = ["1", "1.5", "true", '"text"', "'c'", "nothing", "missing", "(1, 2)", "(a = 1,)", "big(2)^80",
       "1//2", "0x01", "1im"]  # fmt: skip


@pytest.mark.parametrize("code", RAW)
def test_raw_results_are_julia_objects(code):
    x = bb.eval(code, raw=True)
    assert type(x) is bb.JuliaValue
    same = bb.eval("(x, code) -> x === eval(Meta.parse(code)) || x == eval(Meta.parse(code))")
    assert same(x, code) in (True, None)
    assert bb.eval("typeof")(x) == bb.eval(f"typeof({code})")
    assert type(kept(x)) is bb.JuliaValue
    assert type(bb.Base.identity(x)) is type(bb.eval(code))


def test_raw_keeps_the_classes():
    assert type(bb.eval("[1]", raw=True)) is bb.JuliaArray
    assert type(bb.eval("sin", raw=True)) is bb.JuliaFunction
    assert type(bb.eval("Base", raw=True)) is bb.JuliaModule
    assert type(bb.eval("Dict()", raw=True)) is bb.JuliaDict


def test_raw_calls():
    f = bb.eval("raw1(a, b...; k = 1) = (a, b..., k)")
    assert str(f.raw(1)) == "(1, 1)"
    assert str(f.raw(1, 2.5, k="x")) == '(1, 2.5, "x")'
    assert str(f.raw(*range(20))).startswith("(0, 1, 2")
    assert bb.eval("x -> typeof(x) == Float32")(bb.Base.Float32.raw(1.5))
    with pytest.raises(TypeError, match="no method matching"):
        bb.Base.sin.raw("a")
    with pytest.raises(TypeError):
        f.raw(1, nosuch=2)


def test_a_field_called_raw_is_not_hidden():
    x = bb.eval("struct WithRaw; raw; end; WithRaw(3)")
    assert x.raw == 3
    assert bb.eval("WithRaw").raw(4).raw == 4
    assert bb.eval("module HasRaw; raw = 5; end").raw == 5


# ----------------------------------------------------------------- operators

PAIRS = [(7, 2), (-7, 2), (7, -2), (Fraction(7, 2), 3), (0.5, 0.25), (-0.75, 0.5)]
ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod"]


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_arithmetic_is_pythons(name, x, y):
    f = getattr(operator, name)
    wanted = float(f(x, y))
    for a, b in [(big(x), big(y)), (big(x), y), (x, big(y))]:
        got = f(a, b)
        assert type(got) is bb.JuliaValue
        assert float(got) == pytest.approx(wanted, rel=1e-15)
    for a, b in [(kept(x), kept(y)), (kept(x), y), (x, kept(y))]:
        assert f(a, b) == f(x, y)


def test_other_operators():
    x = big(-2.5)
    assert (-x, +x, abs(x)) == (2.5, -2.5, 2.5)
    assert divmod(x, 2) == (-2, 1.5)
    assert x**2 == 6.25 and 2 ** big(3) == 8
    i = kept(12)
    assert (i & 10, i | 3, i ^ 5, ~i, i << 2, i >> 1, 1 << i) == (8, 15, 9, -13, 48, 6, 4096)
    assert i < 13 and i <= 12 and i > 11 and i >= 12 and i == 12 and i != 13 and i == 12.0
    assert not (i > 12 or i >= 13 or i < 12 or i <= 11 or i == 11 or i != 12)
    assert 13 > i and 11 < i and 12 == i  # noqa: SIM300
    i += 1
    assert i == 13
    text = bb.eval('"ab"', raw=True)
    assert text * "c" == "abc" and text**2 == "abab"
    assert bb.eval("import Dates; Dates.Month(2)") * 3 == bb.eval("Dates.Month(6)")
    with pytest.raises(TypeError, match="powermod"):
        pow(kept(3), 2, 5)
    with pytest.raises(TypeError, match="no method matching"):
        bb.eval(":a") + 1
    with pytest.raises(TypeError, match="no method matching"):
        bb.Base.sin + bb.Base.cos
    with pytest.raises(ZeroDivisionError):
        kept(1) // 0


def test_operators_ask_the_other_object():
    class Other:
        def __radd__(self, x):
            return ("radd", x)

        def __gt__(self, x):
            return "gt"

        def __eq__(self, x):
            return "eq"

        __hash__ = None

    x = big(1)
    assert x + Other() == ("radd", x)
    assert (x < Other()) == "gt"
    assert (x == Other()) == "eq"
    with pytest.raises(TypeError, match="unsupported operand"):
        x + object()
    with pytest.raises(TypeError, match="not supported between"):
        x < object()
    assert x != object()


def test_numbers():
    x = big(-2.5)
    assert (int(x), float(x), complex(x)) == (-2, -2.5, -2.5 + 0j)
    assert (round(x), math.floor(x), math.ceil(x), math.trunc(x)) == (-2, -3, -2, -2)
    assert round(big("1.2345"), 2) == big("1.23")
    assert type(round(x)) is int and type(float(x)) is float
    assert operator.index(kept(5)) == 5 and [1, 2, 3][kept(1)] == 2
    assert int(kept(2**100)) == 2**100
    for convert in (int, float, complex, operator.index):
        with pytest.raises(TypeError, match="Symbol"):
            convert(bb.eval(":a"))
    with pytest.raises(TypeError, match="BigFloat"):
        operator.index(x)
    with pytest.raises(ValueError):
        int(big(math.inf))
    assert f"{x}" == str(x) and f"{big(1) / 3:.5f}" == "0.33333" and f"{kept(7):>4}" == "   7"
    assert f"{bb.eval(':ab'):>4}" == "  ab"
    assert bool(big(0)) is False and bool(big(1)) is True
    assert np.array([x, x], dtype=float).tolist() == [-2.5, -2.5]


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.floats(allow_nan=False), st.integers(), st.fractions()))
def test_equal_numbers_have_equal_hashes(x):
    for value in (kept(x), big(x) if isinstance(x, float) else kept(x)):
        assert value == x
        assert hash(value) == hash(x)
        assert {x: 1}[value] == 1


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("Complex(1)", 1),
        ("Complex(2.5, -3.25)", 2.5 - 3.25j),
        ("Complex(-1, -1)", -1 - 1j),
        ('"h\u00e9"', "h\u00e9"),
        ("true", True),
        ("Int8(-1)", -1),
        ("BigFloat(2)^-3", 0.125),
        ("1 // (big(2)^61 - 1)", Fraction(1, 2**61 - 1)),
        ("-1 // (big(2)^61 - 1)", Fraction(-1, 2**61 - 1)),
        ("Inf32", math.inf),
        ("-1 // 0", -math.inf),
    ],
)
def test_what_is_equal_is_found_in_dictionaries(code, value):
    x = bb.eval(code, raw=True)
    assert x == value and hash(x) == hash(value) and {value: 1}[x] == 1


def test_a_python_object_has_its_own_hash():
    o = ("a", 3)
    assert hash(bb.pyobject(o)) == hash(o)
    with pytest.raises(TypeError, match="unhashable"):
        hash(bb.pyobject([]))


def test_numbers_with_too_many_digits(run_python):
    # The library of Julia's big numbers ends the process where there is no memory for one.
    run_python(
        """
        import math
        from fractions import Fraction
        import bufferbridge as bb

        x, y = (bb.eval(f"BigFloat(2)^({e})") for e in ("2^40", "-2^40"))
        assert hash(x) == pow(2, 2**40, 2**61 - 1)
        assert hash(y) == pow(2, -(2**40), 2**61 - 1)
        for f in (int, round, math.floor, math.ceil, math.trunc):
            assert f(y) in (0, 1)
            try:
                f(x)
            except OverflowError as e:
                assert "digits" in str(e)
            else:
                raise AssertionError
        for z in (x, y, -x):
            try:
                bb.convert(Fraction, z)
            except OverflowError:
                pass
            else:
                raise AssertionError
        assert bb.convert(Fraction, bb.eval("BigFloat(0)", raw=True)) == 0
        """
    )


def test_truth():
    for code in ("0", "0.0", "big(0)", "false", '""', "()", "nothing", "Dict()", "Set()", "Int[]"):
        assert not bb.eval(code, raw=True), code
    for code in (
        "1",
        "NaN",
        "true",
        '"a"',
        "(0,)",
        ":a",
        "Dict(1 => 1)",
        "Set([0])",
        "Ref(0)",
        "sin",
    ):
        assert bb.eval(code, raw=True), code


def test_operators_of_arrays_go_element_by_element():
    x, y = bb.eval("[1.0, 2.0, 4.0]"), bb.eval("[1, 2, 3]")
    a, b = np.asarray(x).copy(), np.asarray(y).copy()
    names = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"]
    operands = [((x, y), (a, b)), ((x, 2), (a, 2)), ((2.5, y), (2.5, b)), ((y, y), (b, b))]
    for f in (getattr(operator, name) for name in names):
        for left, right in operands:
            got = f(*left)
            assert type(got) is bb.JuliaArray
            np.testing.assert_array_equal(np.asarray(got), f(*right))
    np.testing.assert_array_equal(np.asarray(-x), -a)
    np.testing.assert_array_equal(np.asarray(abs(-x)), a)
    np.testing.assert_array_equal(np.asarray(~y), ~b)
    assert x @ y == a @ b
    m = bb.eval("[1.0 2.0; 3.0 4.0]")
    np.testing.assert_array_equal(np.asarray(m @ m), np.asarray(m) @ np.asarray(m))
    for both in (x + a, a + x, x * np.float64(2), np.float64(2) * x):
        assert type(both) is np.ndarray
    with pytest.raises(ValueError, match="equal shapes"):
        x + bb.eval("[1, 2]")
    with pytest.raises(ValueError, match="equal shapes"):
        m * bb.eval("[1, 2]")
    for convert in (int, float, operator.index):
        with pytest.raises(TypeError):
            convert(bb.eval("[1]"))


def test_operators_in_place():
    x = bb.eval("[1.0, 2.0, 4.0]")
    same, view = x, np.asarray(x)
    x += 1
    x *= bb.eval("[1, 2, 3]")
    x -= np.array([1.0, 1.0, 1.0])
    assert x is same
    assert view.tolist() == [1, 5, 14]
    part = x[1:]
    part += x[:-1]
    assert view.tolist() == [1, 6, 19]
    i = bb.eval("[1, 3]")
    with pytest.raises(ValueError, match="InexactError"):
        i /= 2
    assert list(i) == [1, 3]
    frozen = bb.wrap(b"ab")
    with pytest.raises(ValueError, match="read-only"):
        frozen += 1
    with pytest.raises(TypeError, match="wants an array or a number"):
        x += "a"
    with pytest.raises(ValueError, match="equal shapes"):
        x += bb.eval("[1]")


def test_sets_and_dictionaries_have_pythons_operators():
    s = bb.eval("Set([1, 2, 3])")
    for op in (operator.or_, operator.and_, operator.sub, operator.xor):
        assert op(s, {2, 9}) == op({1, 2, 3}, {2, 9})
        assert op({2, 9}, s) == op({2, 9}, {1, 2, 3})
        assert type(op(s, s)) is bb.JuliaSet
    assert s <= {1, 2, 3, 4} and not s < {1, 2, 3} and s >= {1} and {1} < s
    d = bb.eval("Dict(1 => 2)")
    assert d | {3: 4} == {1: 2, 3: 4} and {1: 5, 0: 0} | d == {0: 0, 1: 2}


def test_indices_are_julias():
    t = bb.eval("(10, 20, 30)", raw=True)
    assert t[1] == 10 and t[3] == 30
    with pytest.raises(IndexError):
        t[0]
    assert t[bb.eval("2:3")] == (20, 30) and t[:] == (10, 20, 30)
    with pytest.raises(TypeError, match="pass a Julia range"):
        t[1:2]
    with pytest.raises(TypeError, match="deleteat_b"):
        del t[1]
    with pytest.raises(TypeError, match="no method matching"):
        t[1] = 2


def test_types_take_their_parameters():
    vector = bb.Base.Vector[bb.Core.Int]
    assert len(vector()) == 0 and vector == bb.eval("Vector{Int}")
    assert bb.Core.Array[bb.Core.Float64, 2] == bb.eval("Matrix{Float64}")
    assert bb.eval("NTuple")[3, bb.Core.Int] == bb.eval("NTuple{3,Int}")
    assert list(bb.Core.Float64[1, 2]) == [1.0, 2.0]  # Julia's Float64[1, 2]
    with pytest.raises(bb.JuliaError, match="too many parameters"):
        bb.Base.Vector[bb.Core.Int, bb.Core.Int, bb.Core.Int]


# --------------------------------------------------------------- iteration


def test_julias_iterators():
    assert list(bb.eval("(i^2 for i in 1:4)")) == [1, 4, 9, 16]
    assert list(bb.eval("zip(1:2, 'a':'b')")) == [(1, "a"), (2, "b")]
    channel = bb.eval("Channel(c -> foreach(i -> put!(c, i), 1:3))")
    assert list(channel) == [1, 2, 3] and list(channel) == []
    endless = iter(bb.eval("Iterators.countfrom(5)"))
    assert list(itertools.islice(endless, 3)) == [5, 6, 7] and next(endless) == 8
    failing = iter(bb.eval('(i < 3 ? i : error("no more") for i in 1:5)'))
    assert next(failing) == 1 and next(failing) == 2
    with pytest.raises(bb.JuliaError, match="no more"):
        next(failing)
    with pytest.raises(TypeError):
        iter(bb.eval(":a"))


# -------------------------------------------------- dictionaries and sets


def test_elements_are_not_compared_by_iteration():
    class Vague:  # as pandas' tables are
        def __eq__(self, other):
            raise ValueError("ambiguous")

        __hash__ = object.__hash__

    x = Vague()
    assert [y is x for y in bb.Base.Iterators.repeated(x, 3)] == [True] * 3
    it = iter(bb.Base.Set([x]))
    assert iter(it) is it and next(it) is x
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(it)
    with pytest.raises(TypeError, match="comes from Julia"):
        type(it)()


def test_a_dictionary_is_a_mapping():
    d = bb.eval('Dict("a" => 1, "b" => 2)')
    assert type(d) is bb.JuliaDict and issubclass(bb.JuliaDict, bb.JuliaValue)
    assert isinstance(d, MutableMapping) and isinstance(d, Mapping)
    assert dict(d) == {"a": 1, "b": 2} == {**d}
    assert sorted(d) == sorted(d.keys()) == ["a", "b"] and sorted(d.values()) == [1, 2]
    assert sorted(d.items()) == [("a", 1), ("b", 2)] and ("a", 1) in d.items() and 2 in d.values()
    assert d.keys() & {"a", "z"} == {"a"}
    assert d.get("z") is None and d.get("z", 3) == 3 and d.setdefault("c", 9) == 9
    assert d.pop("c") == 9 and d.pop("c", None) is None
    with pytest.raises(KeyError):
        d["z"]
    with pytest.raises(KeyError):
        del d["z"]
    with pytest.raises(KeyError):
        d.pop("z")
    d.update({"x": 5}, y=6)
    d |= {"w": 7}
    del d["x"]
    assert d == {"a": 1, "b": 2, "y": 6, "w": 7}
    copied = d.copy()
    d.clear()
    assert len(d) == 0 and not d and len(copied) == 4
    with pytest.raises(KeyError):
        d.popitem()
    assert bb.Base.ENV["HOME"] and type(bb.Base.ENV) is bb.JuliaDict
    assert bb.eval("d -> (d isa Dict{String,Int}, length(d))")(copied) == (True, 4)


def test_keys_that_came_out_go_in():
    d = bb.eval("Dict(:a => 1, :b => 2)")
    assert d["a"] == 1 and "b" in d and "c" not in d and d.pop("a") == 1
    d["new"] = 3
    assert {str(k): v for k, v in d.items()} == {"b": 2, "new": 3}
    chars = bb.eval("Dict('a' => 1)")
    assert [(k, chars[k]) for k in chars] == [("a", 1)]
    assert "abc" not in chars
    missing = bb.eval("Dict(missing => 1)")
    assert list(missing) == [None] and missing[None] == 1
    letters = bb.eval("Set(['a', 'b'])")
    assert "a" in letters and sorted(letters) == ["a", "b"]
    letters.discard("a")
    assert list(letters) == ["b"]
    symbols = bb.eval("Set([:a])")
    symbols.add("b")
    assert symbols == bb.eval("Set([:a, :b])")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "del", "pop", "get", "in", "setdefault", "update"]),
            st.integers(0, 5),
            st.integers(),
        ),
        max_size=30,
    )
)
def test_a_dictionary_behaves_as_a_dict(steps):
    ours, model = bb.eval("Dict{Any,Any}()"), {}

    def step(d, what, k, v):
        try:
            if what == "set":
                d[k] = v
            elif what == "del":
                del d[k]
            elif what == "pop":
                return d.pop(k)
            elif what == "get":
                return d[k]
            elif what == "in":
                return k in d
            elif what == "setdefault":
                return d.setdefault(k, v)
            else:
                d.update({k: v, k + 1: v})
        except KeyError:
            return "KeyError"
        return None

    for what, k, v in steps:
        assert step(ours, what, k, v) == step(model, what, k, v)
    assert ours == model and dict(ours.items()) == model and len(ours) == len(model)


def test_a_set_is_a_set():
    s = bb.eval("Set([1, 2])")
    assert type(s) is bb.JuliaSet and isinstance(s, MutableSet) and isinstance(s, Set)
    s.add(3)
    s.add(3)
    s.discard(9)
    s.remove(1)
    assert set(s) == {2, 3} == s and len(s) == 2 and 2 in s and "a" not in s
    with pytest.raises(KeyError):
        s.remove(1)
    assert s.union([7], {8}) == {2, 3, 7, 8} and s.intersection({2}) == {2}
    assert s.difference({2}) == {3} and s.symmetric_difference({2, 5}) == {3, 5}
    assert s.issubset([1, 2, 3]) and s.issuperset([2]) and s.isdisjoint({9})
    s.update([4], [5])
    s |= {6}
    s -= {4, 5}
    s &= {2, 3}
    s ^= {3, 10}
    assert s == {2, 10}
    assert {s.pop(), s.pop()} == {2, 10}
    with pytest.raises(KeyError):
        s.pop()
    frozen = bb.eval("keys(Dict(1 => 2))")
    assert type(frozen) is bb.JuliaSet and frozen == {1}


# ------------------------------------------------------------------- files


def test_a_stream_is_a_binary_file(tmp_path):
    path = tmp_path / "file"
    with bb.Base.open(str(path), "w") as f:
        assert type(f) is bb.JuliaIO and isinstance(f, io.IOBase)
        assert f.writable() and not f.readable() and f.mode == "wb" and f.name == str(path)
        assert f.write(b"one\n") == 4 and f.write(np.arange(3, dtype="i4")) == 12
        assert f.write(memoryview(b"")) == 0 and f.write(bytearray(b"\n")) == 1
        f.writelines([b"three\n", b"end"])
        f.flush()
        assert path.stat().st_size == 26 == f.tell()
        assert isinstance(f.fileno(), int) and not f.isatty()
        with pytest.raises(io.UnsupportedOperation, match="not readable"):
            f.read()
        with pytest.raises(TypeError, match="bytes-like"):
            f.write("text")
        with pytest.raises(BufferError):
            f.write(np.arange(9, dtype="u1")[::2])
    assert f.closed
    f.close()
    for use in (f.read, f.tell, f.flush, lambda: f.write(b"x"), f.readline):
        with pytest.raises(ValueError):
            use()
    data = path.read_bytes()
    f = bb.Base.open(str(path))
    assert f.read(4) == b"one\n" and f.read() == data[4:] and f.read() == b"" == f.readline()
    assert f.seek(0) == 0 and f.readlines() == data.splitlines(keepends=True)
    assert f.seek(-3, 2) == len(data) - 3 and f.read() == b"end" and f.seek(2) == 2
    assert f.seek(2, 1) == 4 == f.tell() and f.readline(3) == data[4:7]
    buffer = bytearray(5)
    f.seek(0)
    assert f.readinto(buffer) == 5 and bytes(buffer) == data[:5] and f.read1(2) == data[5:7]
    f.seek(0)
    assert list(f) == data.splitlines(keepends=True)
    with pytest.raises(ValueError):
        f.seek(-1)
    with pytest.raises(ValueError):
        f.seek(0, 7)
    with pytest.raises(io.UnsupportedOperation):
        f.write(b"")
    f.close()


def test_a_stream_takes_any_memory_in_order():
    stream = bb.Base.IOBuffer()
    for x in (np.ones(2, ">i4"), np.ones(1, "f2"), np.zeros(2, "i4,f8"), np.array(["a"])):
        assert stream.write(x) == x.nbytes
    for x in (np.ones((2, 3), order="F"), np.ones(4)[::2]):
        with pytest.raises(BufferError, match=r"bytes\(x\)"):
            stream.write(x)


def test_a_stream_of_text():
    x = bb.eval('IOBuffer("grün\\nzwei\\n")')
    assert io.TextIOWrapper(x, encoding="utf-8").read() == "grün\nzwei\n"
    assert x.closed is True  # as TextIOWrapper closes any file it has
    y = bb.eval("IOBuffer()")
    text = io.TextIOWrapper(y, encoding="utf-8", newline="\n")
    text.write("äöü\n")
    text.flush()
    assert bytes(memoryview(bb.Base.take_b(y))).decode() == "äöü\n"
    with pytest.raises(io.UnsupportedOperation):
        y.fileno()
    y.write(b"123456")
    assert y.truncate(3) == 3 and y.seek(0) == 0 and y.read() == b"123"
    np.savetxt(z := bb.eval("IOBuffer()"), [[1, 2]], fmt="%d")
    assert bytes(memoryview(bb.Base.take_b(z))) == b"1 2\n"


# -------------------------------------------------------- introspection


def test_help_shows_julias_documentation():
    bb.eval('"""\n    helped1(x)\n\nTwice `x`.\n"""\nhelped1(x) = 2x\nstruct Undocumented1; x; end')
    text = pydoc.plain(pydoc.render_doc(bb.Main.helped1))
    assert "helped1 (generic function with 1 method)" in text and "Twice x." in text
    assert "sum" in bb.Base.sum.__doc__ and inspect.getdoc(bb.Base.sum).startswith("sum")
    assert "No documentation found" in bb.Main.Undocumented1.__doc__
    assert "Iterators" in bb.Base.Iterators.__doc__ or "No doc" in bb.Base.Iterators.__doc__
    # The classes keep their own.
    assert bb.JuliaFunction.__doc__.startswith("A Julia function") and bb.JuliaValue.__doc__
    assert bb.JuliaArray.__doc__ == bb.eval("[1]").__doc__
    assert "JuliaFunction" in pydoc.plain(pydoc.render_doc(bb.JuliaFunction))


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("sig1(a, b) = 1", "(a, b, /)"),
        ("sig2(a::Int, b::String = \"x\") = 1", "(a: 'Int64', b: 'String' = Ellipsis, /)"),
        ("sig3(a, rest...) = 1", "(a, /, *rest)"),
        ("sig4(; k, m = 2, others...) = 1", "(*, k=Ellipsis, m=Ellipsis, **others)"),
        ("x -> x", "(x, /)"),
        ("sig5(::Int, x) = 1", "(arg1: 'Int64', x, /)"),
        ("sig6(a) = 1\nsig6(a, b) = 2", "(*args, **kwargs)"),
        ("sig7(in, lambda) = 1", "(arg1, arg2, /)"),
        ("sum", "(*args, **kwargs)"),
    ],
)  # fmt: skip
def test_signatures(code, wanted):
    f = bb.eval(code + "\n" + code.partition("(")[0] if code.startswith("sig") else code)
    assert str(inspect.signature(f)) == wanted


def test_display_in_notebooks():
    bb.eval(
        """
        struct Shown1 end
        for (m, s) in [("text/html", "<b>h</b>"), ("image/svg+xml", "<svg/>")]
            @eval Base.show(io::IO, ::MIME{Symbol($m)}, ::Shown1) = print(io, $s)
        end
        Base.show(io::IO, ::MIME"image/png", ::Shown1) = write(io, 0x89, "PNG")
        Base.show(io::IO, ::MIME"text/plain", ::Shown1) = print(io, "plain")
        """
    )
    x = bb.eval("Shown1()")
    bundle = x._repr_mimebundle_()
    assert bundle == {
        "image/png": base64.b64encode(b"\x89PNG").decode(),
        "image/svg+xml": "<svg/>",
        "text/html": "<b>h</b>",
        "text/plain": "plain",
    }
    assert x._repr_mimebundle_(include=["text/html"]) == {"text/html": "<b>h</b>"}
    assert "image/png" not in x._repr_mimebundle_(exclude={"image/png"})
    assert set(bb.eval("[1, 2]")._repr_mimebundle_()) == {"text/plain"}
    assert "**b**" in bb.eval('using Markdown; md"**b**"')._repr_mimebundle_()["text/markdown"]


def test_copies():
    d = bb.eval("Dict(1 => [1])")
    shallow, deep = copy.copy(d), copy.deepcopy(d)
    d[1][0] = 5
    assert shallow[1][0] == 5 and deep[1][0] == 1 and type(deep) is bb.JuliaDict
    for same in (bb.Base, bb.Base.sin, bb.eval(":a"), bb.eval("Int"), big(1)):
        assert copy.copy(same) == same == copy.deepcopy(same)
    x = bb.eval("[1.0, 2.0]")
    y = copy.deepcopy(x)
    y[0] = 9
    assert x[0] == 1 and type(y) is bb.JuliaArray


def test_documentation_can_always_be_asked_for(run_python):
    run_python(
        """
        import atexit
        import bufferbridge as bb

        f, x = bb.Base.sin, bb.eval("1//3", raw=True)
        assert "sin" in f.__doc__
        atexit._run_exitfuncs()
        assert f.__doc__ == bb.JuliaFunction.__doc__ and x.__doc__ == bb.JuliaValue.__doc__
        """
    )


def test_comparing_after_the_end(run_python):
    run_python(
        """
        import atexit
        def late():
            assert (x == 3) is False and (x != None) is True and x == x
            assert bb.Base.__doc__
            try:
                x + 1
            except RuntimeError as e:
                assert "stopped" in str(e)
        atexit.register(late)
        import bufferbridge as bb
        x = bb.eval("big(3)")
        assert x == 3
        """
    )


def test_nothing_is_left_behind():
    from .conftest import collect_both

    def use():
        x = big(1)
        for _ in range(50):
            x = x + 1
            x == 3
            list(bb.eval("Dict(1 => 2)").items())
            bb.eval("1", raw=True)
            inspect.signature(bb.eval("x -> x"))
            bb.eval('IOBuffer("a")').read()

    use()
    before = collect_both()
    use()
    assert collect_both() == before
    assert sys.getrefcount(NotImplemented) > 0
