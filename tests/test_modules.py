"""eval, include, modules, functions and other Julia objects, as seen from Python."""

from __future__ import annotations

import weakref

import pytest

import bufferbridge as bb


def test_eval_gives_the_last_value_and_takes_a_module():
    assert bb.eval("a1 = 1; a1 + 1") == 2
    assert bb.eval("") is None
    assert bb.eval("# nothing\n") is None
    assert bb.eval("f1(x) = x + 1\nf1(2)") == 3
    module = bb.eval("module M1; v = 5; end; M1")
    assert bb.eval("v", module) == 5
    with pytest.raises(TypeError):
        bb.eval("v", 3)
    with pytest.raises(TypeError):
        bb.eval(3)


def test_from_import():
    from bufferbridge import Main as jl

    jl.m1 = 3
    assert bb.eval("m1 + 1") == 4
    assert jl.m1 == 3


def test_arrays_are_assigned_without_a_copy():
    import numpy as np

    a = np.arange(3.0)
    bb.Main.m2 = a
    bb.eval("m2[1] = 7.0")
    assert a[0] == 7


def test_names_with_exclamation_marks():
    v = bb.eval("[1]")
    bb.Base.push_b(v, 2)
    getattr(bb.Base, "push!")(v, 3)
    assert list(v) == [1, 2, 3]
    assert bb.Base.push_b == getattr(bb.Base, "push!")
    bb.eval("x_b = 1; m3! = 2; m3_b = 3")
    assert bb.Main.x_b == 1
    assert bb.Main.m3_b == 3


def test_operators():
    assert getattr(bb.Base, "+")(1, 2, 3) == 6
    assert getattr(bb.Base, "==")(1, 1) is True


def test_calls_of_every_arity_and_keywords():
    f = bb.eval("f2(a...; k...) = (a, sort([string(n) => v for (n, v) in k], by=first))")
    for n in range(12):
        args, pairs = f(*range(n))
        assert args == tuple(range(n))
        assert len(pairs) == 0
    args, pairs = f(1, 2, x=3, y="z")
    assert args == (1, 2)
    assert [(p.first, p.second) for p in pairs] == [("x", 3), ("y", "z")]


def test_keyword_only_and_defaults():
    f = bb.eval("f3(a, b=2; c=3) = (a, b, c)")
    assert f(1) == (1, 2, 3)
    assert f(1, 5, c=6) == (1, 5, 6)
    with pytest.raises(TypeError, match="no method matching"):
        f()
    with pytest.raises(TypeError):
        f(1, nosuch=2)


def test_dir_and_completion():
    names = dir(bb.Base)
    assert "sum" in names
    assert "push_b" in names
    assert not [n for n in names if n.startswith("#")]
    value = bb.eval("struct S1; alpha; beta; end; S1(1, 2)")
    assert {"alpha", "beta"} <= set(dir(value))


def test_attributes_of_values():
    value = bb.eval("mutable struct S2; x::Int; y!; end; S2(1, 2)")
    value.x = 5
    assert value.x == 5
    assert value.y_b == 2
    with pytest.raises(AttributeError, match="nosuch"):
        value.nosuch
    with pytest.raises(AttributeError, match="nosuch"):
        value.nosuch = 1
    with pytest.raises(TypeError):
        del value.x
    assert not hasattr(value, "__nosuch__")


def test_names_with_nuls_are_no_names():
    for x in (bb.Main, bb.eval("Ref(1)")):
        assert not hasattr(x, "a\0b")
        with pytest.raises(AttributeError, match="NUL"):
            setattr(x, "a\0b", 1)


def test_attributes_of_arrays_are_read_only():
    x = bb.eval("zeros(2)")
    for name in ("shape", "strides", "ndim", "format", "readonly"):
        with pytest.raises(AttributeError):
            setattr(x, name, (1,))
    assert x.shape == (2,)


def test_types_are_called_and_modules_nested():
    assert bb.eval("Complex{Float64}")(1, 2) == 1 + 2j
    assert bb.Base.Iterators.reverse is not None
    assert bb.Core.Int64(3) == 3


def test_repr_and_str():
    assert repr(bb.Base) == "Base"
    assert "generic function" in repr(bb.Base.sin)
    assert str(bb.eval(":abc")) == "abc"
    assert repr(bb.eval(":abc")) == ":abc"
    big = bb.eval("zeros(1000, 1000)")
    assert len(repr(big)) < 3000
    assert repr(big).startswith("1000×1000")


def test_comparison_and_hash_are_julias():
    assert bb.eval(":a") == bb.eval(":a")
    assert bb.eval("1//2") == bb.eval("2//4")
    assert hash(bb.eval("1//2")) == hash(bb.eval("2//4"))
    assert bb.eval("1//2") < bb.eval("2//3")
    assert bb.eval(":a") != "a"
    assert bb.eval("Int") in {bb.eval("Int64"): 1}
    with pytest.raises(TypeError):
        bb.eval("1//2") < "x"


def test_containers_without_memory():
    d = bb.eval('Dict("a" => 1, "b" => 2)')
    assert d["a"] == 1
    assert len(d) == 2
    assert sorted(d) == ["a", "b"]
    assert "a" in d
    assert "z" not in d
    d["c"] = 3
    assert d["c"] == 3
    with pytest.raises(KeyError):
        d["nosuch"]
    assert not bb.eval("Dict()")
    assert list(bb.eval("(i^2 for i in 1:3)")) == [1, 4, 9]
    endless = iter(bb.eval("Iterators.countfrom(1)"))
    assert [next(endless) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(TypeError):
        len(bb.Base.sin)


def test_weak_references():
    value = bb.eval("Ref(1)")
    ref = weakref.ref(value)
    assert ref() is value
    del value
    assert ref() is None


def test_include(tmp_path, monkeypatch):
    (tmp_path / "code.jl").write_text("module Included\nf(x) = 2x\nend\nIncluded.f(21)\n")
    assert bb.include(tmp_path / "code.jl") == 42
    monkeypatch.chdir(tmp_path)
    assert bb.include("code.jl") == 42
    assert bb.Main.Included.f(2) == 4
    with pytest.raises(FileNotFoundError, match="nosuch"):
        bb.include("nosuch.jl")
    (tmp_path / "bad.jl").write_text('x = 1\nerror("inside")\n')
    with pytest.raises(bb.JuliaError, match="inside") as caught:
        bb.include(tmp_path / "bad.jl")
    assert "bad.jl:2" in str(caught.value)


def test_new_methods_are_seen_at_once():
    f = bb.eval("f4(x) = 1")
    assert f(0) == 1
    bb.eval("f4(x) = 2")
    assert f(0) == 2
    assert bb.eval("g4(x) = f4(x) + 1; g4(0)") == 3


def test_packages_and_their_hint():
    assert bb.eval("using LinearAlgebra; LinearAlgebra").norm([3.0, 4.0]) == 5
    with pytest.raises(AttributeError, match="using Statistics"):
        bb.eval("module M5 end").Statistics
