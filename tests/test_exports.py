"""Typed exports: Julia functions with declared types as Python's builtins."""

from __future__ import annotations

import array
import inspect
import math
import os
import pydoc
import types
import weakref
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb

from .conftest import collect_both

np = pytest.importorskip("numpy", reason="NumPy's arrays and scalars are what is passed")


@pytest.fixture(scope="module")
def geometry():
    bb.eval(
        '''
        module TypedGeometry
        using BufferBridge
        "The area of a rectangle."
        @pyexport area(width::Float64, height::Float64)::Float64 = width * height

        """
            scale!(v, factor)

        In place.
        """
        @pyexport function scale!(v::Vector{Float64}, factor::Float64 = 2.0)::Nothing
            v .*= factor
            return nothing
        end
        @pyexport add(a::Int, b::Int)::Int = a + b
        @pyexport checked(x::Int)::Int = x < 0 ? throw(DomainError(x, "below")) : x
        @pyexport nothing_at_all()::Nothing = nothing
        @pyexport total(x::AbstractArray{Float64})::Float64 = sum(x)
        @pyexport trace_(A::Matrix{Float64})::Float64 = sum(A[i, i] for i in axes(A, 1))
        @pyexport several(a::Int, b::String = "x", c::Union{Nothing,Int} = nothing)::String =
            string(a, b, c)
        @pyexport apply(f::Function, x::Int)::Any = f(x)
        @pyexport wrong(x::Int)::Int = x + 0.5
        end'''
    )
    return bb.Main.TypedGeometry


def test_a_builtin_function(geometry):
    area = geometry.area
    assert type(area) is types.BuiltinFunctionType
    assert area(2.0, 3.0) == 6.0
    assert area is geometry.area
    assert repr(area) == "<built-in function area>"
    assert area.__name__ == area.__qualname__ == "area"
    assert area.__module__ == "Main.TypedGeometry"
    assert area.__self__.__name__ == "Main.TypedGeometry"
    assert list(map(area, [1.0, 2.0], [3.0, 4.0])) == [3.0, 8.0]
    assert "area" in dir(geometry)
    assert bb.Main.TypedGeometry.area is area
    # What Julia has is the function itself.
    assert bb.eval("TypedGeometry.area")(2.0, 3.0) == 6


def test_signature_and_docstring(geometry):
    assert str(inspect.signature(geometry.area)) == "(width, height, /)"
    assert geometry.area.__doc__ == (
        "area(width::Float64, height::Float64)::Float64\n\nThe area of a rectangle."
    )
    assert str(inspect.signature(geometry.scale_b)) == "(v, factor=2.0, /)"
    assert geometry.scale_b is getattr(geometry, "scale!")
    assert "In place." in geometry.scale_b.__doc__
    assert str(inspect.signature(geometry.several)) == "(a, b='x', c=None, /)"
    assert str(inspect.signature(geometry.nothing_at_all)) == "()"
    assert "The area of a rectangle." in pydoc.render_doc(geometry.area)


def test_defaults(geometry):
    v = np.arange(3.0)
    assert geometry.scale_b(v) is None
    assert v.tolist() == [0, 2, 4]
    geometry.scale_b(v, 0.5)
    assert v.tolist() == [0, 1, 2]
    assert geometry.several(1) == "1xnothing"
    assert geometry.several(1, "y") == "1ynothing"
    assert geometry.several(1, "y", 5) == "1y5"


def test_numbers_of_arguments(geometry):
    assert geometry.nothing_at_all() is None
    for f, args, message in [
        (geometry.area, (1.0,), r"area\(\) takes 2 arguments \(1 given\)"),
        (geometry.area, (1.0, 2.0, 3.0), r"area\(\) takes 2 arguments \(3 given\)"),
        (geometry.checked, (), r"checked\(\) takes 1 argument \(0 given\)"),
        (geometry.several, (), r"several\(\) takes 1 to 3 arguments \(0 given\)"),
        (geometry.nothing_at_all, (1,), r"takes 0 arguments \(1 given\)"),
    ]:
        with pytest.raises(TypeError, match=message):
            f(*args)
    with pytest.raises(TypeError, match="keyword"):
        geometry.area(width=1.0, height=2.0)


class Int(int):
    pass


class Float(float):
    pass


class Str(str):
    pass


class Indexed:
    def __index__(self):
        return 5

    def __float__(self):
        return 5.0


ODD = [None, object(), Indexed(), Decimal("0.5"), print]
OVERFLOW, TYPE = OverflowError, TypeError


def refused(*values):
    return [(value, TYPE) for value in values]


#: type: what it takes and how Julia shows that, and what it does not take, with the exception
TYPES = {
    "Int": (
        [(n, str(n)) for n in (5, -(2**63), 2**63 - 1, 2**40, Int(7), np.int64(8))],
        [
            (2**63, OVERFLOW),
            (-(2**63) - 1, OVERFLOW),
            (np.float64(1), TYPE),
            (np.int32(1), TYPE),
            *refused(True, 1.0, "1", 1j, np.bool_(True)),
        ],
    ),
    "Int8": (
        [(127, "127"), (-128, "-128"), (np.int8(3), "3")],
        [(128, OVERFLOW), (-129, OVERFLOW), (2**70, OVERFLOW), (False, TYPE), (1.0, TYPE)],
    ),
    "UInt8": ([(255, "0xff"), (0, "0x00")], [(-1, OVERFLOW), (256, OVERFLOW), (b"a", TYPE)]),
    "UInt64": ([(2**64 - 1, "0x" + "f" * 16)], [(2**64, OVERFLOW), (-1, OVERFLOW), (1.5, TYPE)]),
    "BigInt": ([(5, "5"), (2**100, str(2**100))], [(1.0, TYPE), (True, TYPE)]),
    "Integer": ([(5, "5"), (2**100, str(2**100)), (True, "true")], [(1.0, TYPE)]),
    "Real": ([(5, "5"), (1.5, "1.5"), (True, "true")], [(1j, TYPE), ("1", TYPE)]),
    "Bool": (
        [(True, "true"), (False, "false"), (np.bool_(True), "true")],
        [(1, TYPE), (0.0, TYPE)],
    ),
    "Float64": (
        list(
            zip(
                [1.5, math.inf, math.nan, Float(2.5), np.float64(0.5)],
                ["1.5", "Inf", "NaN", "2.5", "0.5"],
            )
        ),
        refused(1, True, "1.0", 1j, np.float32(1), 2**70),
    ),
    "Float32": (
        [(1.5, "1.5f0"), (math.inf, "Inf32"), (math.nan, "NaN32"), (np.float32(0.1), "0.1f0")],
        [(0.1, OVERFLOW), (1e300, OVERFLOW), (1, TYPE)],
    ),
    "Float16": ([(0.5, "Float16(0.5)")], [(0.1, OVERFLOW), (70000.0, OVERFLOW)]),
    "ComplexF64": (
        [(1 + 2j, "1.0 + 2.0im"), (np.complex128(1j), "0.0 + 1.0im")],
        [(1.0, TYPE), (1, TYPE), ("1j", TYPE)],
    ),
    "ComplexF32": ([(0.5 + 2j, "0.5f0 + 2.0f0im")], [(0.1j, OVERFLOW), (1.0, TYPE)]),
    "String": (
        [("text", '"text"'), ("", '""'), ("é", '"é"'), (Str("s"), '"s"')],
        [(b"text", TYPE), (1, TYPE)],
    ),
    "Char": ([("é", "'é'")], [("", TYPE), ("ab", TYPE), (97, TYPE)]),
    "Symbol": ([("x", ":x")], [(1, TYPE)]),
    "Nothing": ([(None, "nothing")], [(0, TYPE), (False, TYPE)]),
    "Union{Int,Nothing}": ([(None, "nothing"), (3, "3")], [(1.5, TYPE), ("", TYPE)]),
    "Tuple{Int,Float64}": ([((1, 2.5), "(1, 2.5)")], refused((1, 2), [1, 2.5], 1)),
    "Vector{Int}": (
        [([1, 2], "[1, 2]"), (np.arange(2), "[0, 1]")],
        [([1.0], TYPE), ((1, 2), TYPE)],
    ),
    "Vector{Float64}": (
        [(array.array("d", [1.5]), "[1.5]"), (np.ones(1), "[1.0]"), ([1.0], "[1.0]")],
        [
            (np.ones(4)[::2], TYPE),
            (np.ones(1, "f4"), TYPE),
            (np.ones((1, 1)), TYPE),
            (b"12345678", TYPE),
            (np.ones(1, ">f8"), TYPE),
            (np.frombuffer(bytes(8)), TYPE),
        ],
    ),
    "Matrix{Float64}": (
        [(np.ones((1, 2), order="F"), "[1.0 1.0]")],
        [(np.ones((2, 2)), TYPE), (np.ones(1), TYPE)],
    ),
    "AbstractVector{Float64}": (
        [
            (np.ones(2)[::2], "[1.0]"),
            (np.frombuffer(bytes(8)), "[0.0]"),
            (np.ones(1, ">f8"), "[1.0]"),
        ],
        [(np.ones(1, "f4"), TYPE), (np.ones((1, 1)), TYPE)],
    ),
    "Dict{String,Int}": ([({"a": 1}, 'Dict("a" => 1)')], [({1: 1}, TYPE), ({}, TYPE)]),
    "PyObject": ([(None, None)][:0], [(1, TYPE)]),
    "Any": ([(1, "1"), (None, "nothing"), ([1.0], "[1.0]")], []),
}


@pytest.fixture(scope="module")
def shown():
    """For each type an export that shows its argument."""
    code = "".join(f"@pyexport f{i}(x::{T})::String = repr(x)\n" for i, T in enumerate(TYPES))
    bb.eval(f"module TypedShown\nusing BufferBridge\n{code}\nend")
    return {T: getattr(bb.Main.TypedShown, f"f{i}") for i, T in enumerate(TYPES)}


@pytest.mark.parametrize("name", TYPES)
def test_what_is_taken(shown, name):
    for value, text in TYPES[name][0]:
        got = shown[name](value)
        assert got.replace("Dict{String,Int64}", "Dict") == text, value


@pytest.mark.parametrize("name", TYPES)
def test_what_is_not_taken(shown, name):
    odd = [] if name == "Any" else [(x, TYPE) for x in ODD if not (x is None and "Nothing" in name)]
    if name == "PyObject":
        odd = [(None, TYPE), (print, TYPE)]
    for value, error in TYPES[name][1] + odd:
        with pytest.raises(error, match=r"f\d+\(\) argument 1 \('x'\) must be ") as info:
            shown[name](value)
        assert isinstance(info.value, bb.JuliaError)
        assert "\n" not in str(info.value)


def test_objects_of_python_are_taken_as_such(shown):
    assert "object" in shown["PyObject"](object())
    assert "object" in shown["Any"](object())


def test_what_to_do_instead(shown):
    for value, remedy in [
        (np.ones(4)[::2], 'numpy.array(x, order="F")'),
        (np.ones(1, "f4"), "numpy.asarray(x, dtype=...)"),
        (np.ones((1, 1)), "it has 2 dimensions"),
    ]:
        with pytest.raises(TypeError) as info:
            shown["Vector{Float64}"](value)
        assert remedy in str(info.value)
    with pytest.raises(TypeError, match="must be int \\(Julia's Int64\\), not float$"):
        shown["Int"](1.5)


INT = st.integers(-(2**63), 2**63 - 1)


@given(INT, INT)
@settings(deadline=None)
def test_integers(geometry, a, b):
    assert geometry.add(a, b) == (a + b + 2**63) % 2**64 - 2**63


@given(st.floats(), st.floats())
@settings(deadline=None)
def test_floats(geometry, a, b):
    expected = a * b
    got = geometry.area(a, b)
    assert got == expected or (math.isnan(got) and math.isnan(expected))


def test_memory_is_shared_and_given_back(geometry):
    a = np.ones(1000)
    assert geometry.total(a) == 1000
    assert geometry.trace_(np.ones((1, 1))) == 1
    geometry.scale_b(a, 1.0)
    held = collect_both()
    for _ in range(10):
        geometry.scale_b(a, 2.0)
    assert (a == 1024).all()
    assert geometry.total(np.ones((3, 4))) == 12
    assert geometry.trace_(np.asfortranarray(np.eye(3))) == 3
    x = bb.eval("ones(3)")
    geometry.scale_b(x)
    assert list(x) == [2, 2, 2]
    del x
    alive = weakref.ref(a)
    assert collect_both() == held
    del a
    assert alive() is None


def test_nothing_is_held_after_errors(geometry):
    held = collect_both()
    a = np.ones(10)
    for args in [(a, 1), (a, "x"), (a[::2], 1.0), (a, 1.0, 2.0), ("x", 1.0), (a, a)]:
        for _ in range(5):
            with pytest.raises(TypeError):
                geometry.scale_b(*args)
    assert collect_both() == held


def test_exceptions(geometry):
    assert geometry.checked(1) == 1
    with pytest.raises(ValueError, match="below") as info:
        geometry.checked(-1)
    assert "checked" in info.value.backtrace
    assert "compiled.jl" not in info.value.backtrace
    with pytest.raises(ValueError, match="InexactError"):
        geometry.wrong(1)

    class Own(Exception):
        pass

    def fail(x):
        raise Own(x)

    with pytest.raises(Own):
        geometry.apply(fail, 1)
    assert geometry.apply(lambda x: geometry.add(x, 1), 1) == 2
    assert geometry.apply(lambda x: [x], 1)[0] == 1


def test_arguments_that_run_python_code(geometry):
    """A Vector is resized while the arguments after its view are converted."""
    bb.eval(
        "module TypedResized; using BufferBridge; "
        "@pyexport first_(v::AbstractVector{Float64}, o::Any)::Float64 = v[end]; end"
    )
    v = bb.eval("collect(1.0:1000.0)")
    tail = v[500:]

    class Resizes:
        @property
        def __array_interface__(self):
            bb.Base.resize_b(v, 1)
            raise AttributeError

    with pytest.raises(BufferError):
        bb.Main.TypedResized.first_(tail, Resizes())


def test_definitions_that_change(run_python):
    run_python(
        """
        import bufferbridge as bb
        bb.eval("module M; using BufferBridge; g(x) = 2x; @pyexport f(x::Int)::Int = g(x); end")
        f = bb.Main.M.f
        assert f(3) == 6
        bb.eval("M.g(x) = x < 0 ? error('n' * 'o') : 3x")
        assert f(3) == 9
        try:
            f(-1)
        except bb.JuliaError as error:
            assert str(error) == "no"
        else:
            assert False
        bb.eval("@eval M @pyexport f(x::Int)::Float64 = x / 2")
        new = bb.Main.M.f
        assert new is not f and new(3) == 1.5
        assert new.__doc__.endswith("::Float64")
        try:
            f(3)  # declared as Int
        except ValueError as error:
            assert "InexactError" in str(error)
        assert f(4) == 2
        bb.eval("module M; f(x) = 1; end")
        assert f(4) == 2
        assert bb.Main.M.f("x") == 1
        """
    )


def test_code_that_can_only_throw(run_python):
    run_python(
        """
        import bufferbridge as bb
        bb.eval('module Odd; using BufferBridge; @pyexport odd(x::Int)::Int = x ? 1 : 2; end')
        try:
            bb.Main.Odd.odd(1)
        except TypeError as error:
            assert "boolean" in str(error)
        else:
            assert False
        """
    )


def test_functions_that_exist_already():
    bb.eval(
        """
        module TypedExisting
        using BufferBridge, LinearAlgebra
        pyexport(@__MODULE__, :dot, dot, (Vector{Float64}, Vector{Float64}), Float64)
        own(a, b = 2; c = 3) = a + b + c
        pyexport(@__MODULE__, :own, own, (Int, Int), Int; defaults = [2])
        pyexport(@__MODULE__, :plus, +, (Int, Int), Int; arguments = [:a, :b])
        for T in (Int, Float64)
            pyexport(@__MODULE__, Symbol(:twice_, T), x -> 2x, (T,), T)
        end
        end"""
    )
    module = bb.Main.TypedExisting
    assert module.dot(np.ones(3), np.arange(3.0)) == 3
    assert module.own(1) == 6
    assert module.own(1, 1) == 5
    assert str(inspect.signature(module.own)) == "(a, b=2, /)"
    assert str(inspect.signature(module.plus)) == "(a, b, /)"
    assert (module.twice_Int64(2), module.twice_Float64(2.5)) == (4, 5.0)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("@pyexport f(x)::Int = x", "`x` needs a name and a type"),
        ("@pyexport f(::Int)::Int = 1", "needs a name and a type"),
        ("@pyexport f(x::Int) = x", "type of the result is missing"),
        ("@pyexport f(x::Int...)::Int = 1", "give each argument"),
        ("@pyexport f(x::Int; k = 1)::Int = x", "keyword arguments"),
        ("@pyexport f(x::T)::T where {T} = x", "type parameters"),
        ("@pyexport Base.f(x::Int)::Int = x", "simple name"),
        ("@pyexport 1 + 1", "no definition of a function"),
        ("@pyexport x -> x", "no definition of a function"),
        ("pyexport(@__MODULE__, :f, sin, (String,), Int)", "no method"),
        ("pyexport(@__MODULE__, :f, sin, (1,), Int)", "needs types"),
        ("pyexport(@__MODULE__, :f, tuple, ntuple(_ -> Int, 33), Any)", "at most 32"),
    ],
)
def test_what_can_not_be_exported(code, message):
    with pytest.raises(ValueError, match=message):
        bb.eval(f"module TypedWrong\nusing BufferBridge\n{code}\nend")


def test_many_arguments():
    names = [f"a{i}" for i in range(32)]
    bb.eval(
        "module TypedMany; using BufferBridge; @pyexport f("
        + ", ".join(f"{n}::Int" for n in names)
        + ")::Int = "
        + " + ".join(names)
        + "; end"
    )
    f = bb.Main.TypedMany.f
    assert f(*range(32)) == sum(range(32))
    with pytest.raises(TypeError, match="argument 32"):
        f(*range(31), 1.5)


def test_names_that_python_has_not():
    bb.eval(
        "module TypedNames; using BufferBridge; "
        "@pyexport lambda_(lambda::Int, α::Int, x!::Int)::Int = lambda; end"
    )
    f = bb.Main.TypedNames.lambda_
    assert f(1, 2, 3) == 1
    signature = str(inspect.signature(f))
    assert signature == "(lambda_, arg2, arg3, /)"
    with pytest.raises(TypeError, match="'α'"):
        f(1, "", 3)


def test_results():
    bb.eval(
        """
        module TypedResults
        using BufferBridge
        struct Point; x::Float64; end
        @pyexport i8(x::Int)::Int8 = x
        @pyexport u64()::UInt64 = typemax(UInt64)
        @pyexport f32()::Float32 = 0.1
        @pyexport c32()::ComplexF32 = im
        @pyexport large()::BigInt = big(2)^70
        @pyexport tup()::Tuple{Int,String} = (1, "x")
        @pyexport arr()::Vector{Float64} = [1, 2]
        @pyexport pt()::Point = Point(1)
        @pyexport either(x::Bool)::Union{Int,Nothing} = x ? 1 : nothing
        @pyexport any(x::Int)::Any = x > 0 ? x : "no"
        end"""
    )
    m = bb.Main.TypedResults
    assert m.i8(5) == 5
    with pytest.raises(ValueError, match="InexactError"):
        m.i8(300)
    assert m.u64() == 2**64 - 1
    assert m.f32() == float(np.float32(0.1))
    assert m.c32() == 1j
    assert m.large() == 2**70
    assert m.tup() == (1, "x")
    assert np.asarray(m.arr()).tolist() == [1, 2]
    assert m.pt().x == 1
    assert (m.either(True), m.either(False)) == (1, None)
    assert (m.any(1), m.any(-1)) == (1, "no")


def test_a_package_with_exports(tmp_path, run_python):
    """Exports are kept when the package is precompiled, and its code is."""
    package = tmp_path / "TypedPackage"
    (package / "src").mkdir(parents=True)
    uuid = "0a1b2c3d-1111-4222-8333-444455556666"
    (package / "Project.toml").write_text(
        f'name = "TypedPackage"\nuuid = "{uuid}"\nversion = "0.1.0"\n'
        '[deps]\nBufferBridge = "1b0a2c5e-6f0b-4f7e-9d6e-3a5c3c8e4b11"\n'
    )
    (package / "src" / "TypedPackage.jl").write_text(
        'module TypedPackage\nusing BufferBridge\n"Doubled."\n'
        "@pyexport twice(x::Float64)::Float64 = 2x\nend\n"
    )
    depot = os.pathsep.join([str(tmp_path / "depot"), *bb.eval("Base.DEPOT_PATH")])
    for _ in range(2):  # compiles, loads
        done = run_python(
            f"""
            import bufferbridge as bb
            bb.eval('push!(LOAD_PATH, raw"{tmp_path}")')
            bb.eval("using TypedPackage")
            f = bb.Main.TypedPackage.twice
            print(f(1.5), f.__module__, f.__doc__.splitlines()[-1])
            """,
            env={"JULIA_DEPOT_PATH": depot},
        )
        assert done.stdout == "3.0 TypedPackage Doubled.\n"


def test_nogil_says_that_it_takes_julia_objects(geometry):
    with pytest.raises(TypeError, match="nogil takes a Julia function"):
        bb.nogil(geometry.area)


def test_exports_in_julia(geometry):
    text = bb.eval("repr(BufferBridge.findexport(TypedGeometry, :area))")
    assert text == "Export(Main.TypedGeometry.area(width::Float64, height::Float64)::Float64)"
