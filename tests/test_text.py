"""Text crosses without loss, whatever it is; names of all kinds are reachable."""

from __future__ import annotations

import array
import os
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bufferbridge as bb

bb.eval(
    """
    module TextTests
        bytes(s) = collect(codeunits(s))
        text(b) = String(copy(b))
        struct Holder end
        Base.getproperty(::Holder, n::Symbol) = String(n)
        parts(s) = String[string(c) for c in s]
    end
    """
)
text = bb.Main.TextTests

# Code points of all kinds: surrogates too, which hypothesis's text() leaves out unless it is told.
anything = st.text(st.characters(exclude_categories=()), max_size=12)

INVALID = [
    b"\xff",
    b"\x80",
    b"\xc3",  # the beginning of a character
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xc0\x80",  # overlong
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\x80",
    b"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\xf8\x88\x80\x80\x80",
    b"\xed\xa0\x80",  # a surrogate
    b"\xed\xb2\x80",  # U+DC80, which as such is the byte 80
    b"\xed\xb3\xbf",
    b"\xed\xa0\xbd\xed\xb8\x80",  # a pair of them
    b"a\x00b\xff\x00",
    b"\xe2\xe2\x82\xac\x82",
]


def surrogate_bytes(s: str) -> bytes:
    """What a str is in Julia, written down once more and otherwise."""
    return b"".join(
        bytes([ord(c) & 0xFF]) if "\udc80" <= c <= "\udcff" else c.encode("utf-8", "surrogatepass")
        for c in s
    )


def examples(values):
    def add(f):
        for value in values:
            f = example(value)(f)
        return f

    return add


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12))
@examples(INVALID)
def test_bytes_from_julia_are_the_same_when_they_come_back(b):
    s = text.text(b)
    assert bytes(text.bytes(s)) == b
    assert surrogate_bytes(s) == b
    try:
        assert s == b.decode()
    except UnicodeDecodeError:
        # No character is made up: what is no UTF-8 is surrogates.
        assert any("\ud800" <= c <= "\udfff" for c in s)


@settings(max_examples=300, deadline=None)
@given(anything)
@examples(["\ud800", "\udc80", "\udc7f\udd00", "\ud83d\ude00", "a\0b", "\U0010ffff", "é\udce9", ""])
def test_text_from_python(s):
    b = surrogate_bytes(s)
    assert bytes(text.bytes(s)) == b
    back = bb.Base.identity(s)
    # The only exception: escaped bytes that are a character together, as os.fsdecode has them.
    if text.text(b) == s:
        assert back == s
    else:
        assert surrogate_bytes(back) == b
    assert bb.Base.Dict({s: [s]})[s][0] == back
    assert bb.eval("x -> x")((s, {s})) == bb.eval("x -> x")((s, {s}))


def test_every_code_point():
    every = [chr(i) for i in range(0x110000)]
    for start in range(0, 0x110000, 0x1000):
        part = every[start : start + 0x1000]
        back = bb.Base.collect(part)
        # (Alone each; in a row escapes could be a character.)
        assert list(back) == part
    for c in (
        "\0",
        "a",
        "é",
        "\ud7ff",
        "\ud800",
        "\udbff",
        "\udc00",
        "\udd00",
        "\udfff",
        "\U0010ffff",
    ):
        char = bb.Base.Char(ord(c))
        assert char == c
        assert bb.Base.first(c) == c


def test_invalid_characters():
    for b in INVALID:
        parts = text.parts(bb.Main.TextTests.text(b))
        assert b"".join(surrogate_bytes(p) for p in parts) == b
        # Char for Char, also those that are no characters.
        chars = bb.Base.collect(bb.eval("s -> (c for c in s)")(text.text(b)))
        assert [surrogate_bytes(c) for c in chars] == [surrogate_bytes(p) for p in parts]


def test_what_differs_from_os_fsdecode_is_only_surrogates():
    name = os.fsdecode(b"caf\xe9")
    assert bytes(text.bytes(name)) == b"caf\xe9"
    assert bb.Base.identity(name) == name
    assert bb.Base.identity("\udcc3\udca9") == "é"  # two bytes that are a character


@pytest.mark.parametrize("b", INVALID, ids=repr)
def test_wherever_text_occurs(b):
    s = text.text(b)
    # Other kinds of strings, in containers, as keys.
    assert surrogate_bytes(bb.eval("s -> SubString(s * s, 1, lastindex(s))")(s)) in (b, b * 2)
    assert bb.eval("s -> SubString(s, firstindex(s))")(s) == s
    assert bb.eval("s -> (s, (s,))")(s) == (s, (s,))
    assert bb.eval("s -> Dict(s => 1)")(s)[s] == 1
    assert s in bb.eval("s -> Set([s])")(s)
    assert bb.eval("(f, s) -> f(s)")(lambda x: x, s) == s
    # Messages of exceptions.
    with pytest.raises(bb.JuliaError) as caught:
        bb.Base.error(s)
    assert str(caught.value) == s
    with pytest.raises(ValueError) as raised:
        bb.eval("f -> f()")(lambda: (_ for _ in ()).throw(ValueError(s)))
    assert raised.value.args == (s,)
    # Names.
    if b"\0" not in b:
        symbol = bb.Base.Symbol(s)
        assert bb.Base.String(symbol) == s
        thing = bb.eval("name -> NamedTuple{(name,)}((1,))")
        assert getattr(text.Holder(), s) == s
        setattr(text, s, 5)
        assert getattr(text, s) == 5
        assert tuple(thing(symbol)) == (1,)
        kwargs = bb.eval("(; kw...) -> string(first(keys(kw)))")
        assert kwargs(**{s: 1}) == s
        assert (
            bb.eval("(f, n) -> f(; NamedTuple{(Symbol(n),)}((1,))...)")(
                lambda **kw: next(iter(kw)), s
            )
            == s
        )

        class Thing:
            pass

        thing = Thing()
        bb.eval("(o, n) -> setproperty!(o, Symbol(n), 3)")(thing, s)
        assert vars(thing) == {s: 3}
        assert bb.eval("(o, n) -> getproperty(o, Symbol(n))")(thing, s) == 3


def test_what_is_printed(capsys):
    bb.eval('println("é \\xff \\xed\\xa0\\x80 α")')
    assert capsys.readouterr().out == "é \\xff \\xed\\xa0\\x80 α\n"


def test_display_of_invalid_text():
    assert repr(bb.eval('["\\xff"]')).endswith('"\\xff"')
    assert '"\\xff"' in str(bb.eval('Dict("\\xff" => 1)'))


def test_code_is_text_in_utf_8():
    assert bb.eval('"é\\xff"') == "é\udcff"
    with pytest.raises(SyntaxError):
        bb.eval('"\udcff\udcff')


def test_numpys_strings():
    np = pytest.importorskip("numpy")
    samples = ["é", "\udcff", "\ud800", "a\0b", "\U0010ffff", "\udcc3"]
    x = np.array(samples)
    y = bb.Base.identity(x)
    assert [bb.Base.String(y[i]) for i in range(len(samples))] == samples
    assert bb.Base.map(bb.Base.String, x)[1] == "\udcff"
    for s in samples:
        x[:] = ""
        bb.eval("(x, s) -> fill!(x, s)")(x, s)
        assert list(x) == [s] * len(samples)
    bb.eval('x -> x[1] = "\\xe2\\x82"')(x)
    assert x[0] == "\udce2\udc82"
    bb.eval('x -> x[1] = "\\xc0\\x80"')(x)
    assert x[0] == "\udcc0\udc80"
    narrow = np.array([b"\xff\xfe"])
    assert bb.Base.String(bb.Base.first(narrow)) == "\udcff\udcfe"


def test_arrays_of_code_units():
    units = array.array("B", b"caf\xc3\xa9")
    assert bb.eval("u -> String(copy(u))")(units) == "café"


# ------------------------------------------------------------------ names


def test_names_with_an_exclamation_mark():
    v = bb.eval("[1]")
    assert list(getattr(bb.Base, "push!")(bb.eval("[1]"), 2)) == [1, 2]
    assert list(bb.Base.push_b(bb.eval("[1]"), 2)) == [1, 2]
    assert list(v) == [1]
    assert "push_b" in dir(bb.Base)


def test_unicode_names():
    bb.eval('module UnicodeNames; α = 1; x₁ = 2; ∇f(x) = -x; µ = 4; ﬁ = 5; var"a b" = 7; end')
    names = bb.Main.UnicodeNames
    assert names.α == 1
    assert getattr(names, "x₁") == 2  # no name in Python
    assert getattr(names, "∇f")(3) == -3
    # Julia reads the micro sign as the Greek letter, and so does Python.
    assert names.µ == names.μ == 4
    # Python reads compatibility characters in names as what they stand for. getattr takes them as
    # they are.
    assert getattr(names, "ﬁ") == 5  # noqa: B009
    assert unicodedata.normalize("NFKC", "ﬁ") == "fi"
    with pytest.raises(AttributeError, match="'fi'"):
        names.ﬁ
    assert getattr(names, "a b") == 7
    names.β = 8
    assert bb.eval("UnicodeNames.β") == 8
    assert {"α", "x₁", "∇f", "μ", "ﬁ"} <= set(dir(names))
    assert bb.eval("(; αβ) -> αβ")(αβ=3) == 3
