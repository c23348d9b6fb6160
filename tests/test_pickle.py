"""Julia objects in pickles: in this process, in others, and what can't be pickled."""

from __future__ import annotations

import copy
import mmap
import pickle
import struct
import sys
import textwrap
from pathlib import Path

import pytest

import bufferbridge as bb

PROTOCOLS = (2, 5)


def again(x, protocol=pickle.HIGHEST_PROTOCOL):
    return pickle.loads(pickle.dumps(x, protocol))


def type_of(x) -> str:
    return str(bb.Base.string(bb.Base.typeof(x)))


# ------------------------------------------------------------------- arrays

ARRAYS = """
collect(1.0:5.0)
[1 2 3; 4 5 6]
transpose([1 2; 3 4])
PermutedDimsArray(reshape(collect(1:24), 2, 3, 4), (3, 2, 1))
fill(2.5)
zeros(2, 0)
[(a = 1, b = 2.0)]
[(1, 2.0f0), (3, 4.0f0)]
codeunits("abc")
""".strip().split("\n")


@pytest.mark.parametrize("code", ARRAYS)
def test_arrays(code):
    x = bb.eval(code)
    facts = (x.shape, x.format, x.itemsize, x.readonly)
    for protocol in PROTOCOLS:
        y = again(x, protocol)
        assert memoryview(x).tobytes() == memoryview(y).tobytes()
        assert (y.shape, y.format, y.itemsize, y.readonly) == facts
        assert x.size <= 1 or y.strides == x.strides
        assert bb.Base.eltype(y) == bb.Base.eltype(x)


def test_times_have_no_format():
    x = bb.eval("import Dates; [Dates.Date(2020, 1, 2), Dates.Date(2021)]")
    for protocol in PROTOCOLS:
        y = again(x, protocol)
        assert type_of(y) == type_of(x)
        assert list(y) == list(x)


def test_views_are_copied_in_columns():
    x = bb.eval("reshape(collect(1.0:12.0), 3, 4)")
    for view in (x[:, ::2], x[::-1], x[1:, 1:], x[1]):
        y = again(view)
        assert type_of(y).startswith("Array") or "Vector" in type_of(y) or "Matrix" in type_of(y)
        assert bb.Base.isequal(y, view)
        assert memoryview(y).f_contiguous


def test_out_of_band_is_not_copied():
    x = bb.eval("rand(1000, 100)")
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(x, 5, buffer_callback=buffers.append)
    assert len(data) < 400
    (buffer,) = buffers
    assert memoryview(buffer).ndim == 1  # not all who transport buffers take matrices
    y = pickle.loads(data, buffers=buffers)
    assert y._address == x._address
    y[3, 5] = 2.0
    assert x[3, 5] == 2.0
    buffer.release()

    memory = bytearray(memoryview(x).tobytes("F"))
    y = pickle.loads(data, buffers=[memory])
    assert not y.readonly
    y[0, 0] = 5.0
    assert memory[:8] == struct.pack("d", 5.0)
    with pytest.raises(BufferError):
        memory.clear()  # Julia has it

    y = pickle.loads(data, buffers=[bytes(memory)])  # as of NumPy's arrays
    assert y.readonly
    with pytest.raises(ValueError, match="read-only"):
        bb.eval("x -> x[1] = 0")(y)

    shared = mmap.mmap(-1, len(memory))
    shared[:] = memory
    y = pickle.loads(data, buffers=[shared])
    y[0, 0] = 7.0
    assert shared[:8] == struct.pack("d", 7.0)
    del y


def test_memory_lives_as_long_as_the_array():
    arrays = [again(bb.eval("n -> fill(n, 1000)")(i)) for i in range(200)]
    bb.Base.GC.gc()
    bb.eval("[rand(1000) for i in 1:1000]; GC.gc()")
    assert [x[999] for x in arrays] == list(range(200))


def test_unaligned_memory_is_copied():
    x = bb.eval("collect(1.0:100.0)")
    data = pickle.dumps(x, 5, buffer_callback=(buffers := []).append)
    whole = bytearray(b"x" + bytes(buffers[0]))
    y = pickle.loads(data, buffers=[memoryview(whole)[1:]])
    assert type_of(y) == type_of(x)
    assert bb.Base.isequal(x, y)


def test_wrong_buffers():
    data = pickle.dumps(bb.eval("[1.0, 2.0]"), 5, buffer_callback=lambda _: None)
    with pytest.raises(ValueError, match="needs 16 bytes, and the pickle has 3"):
        pickle.loads(data, buffers=[b"abc"])
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(data)


def test_pythons_memory():
    np = pytest.importorskip("numpy")
    record = np.dtype([("a", "u1"), ("b", ">f8"), ("c", "S3")])
    for a in (
        np.arange(6.0).reshape(2, 3),
        np.arange(6, dtype=">i4"),
        np.zeros(3, record),
        np.array([b"ab", b"c"]),
        np.array(["ab", "c"]),
        np.arange(10)[::-2],
    ):
        x = bb.wrap(a)
        y = again(x)
        b = np.asarray(y)
        assert b.dtype == a.dtype
        assert (b == a).all()
    a = np.arange(3.0)
    a.flags.writeable = False
    assert again(bb.wrap(a)).readonly
    objects = bb.wrap(np.array(["a", {1: 2}], dtype=object))
    assert list(again(objects)) == ["a", {1: 2}]
    with bb.borrow(bytearray(b"abc")) as lent:
        assert bytes(again(lent)) == b"abc"


def test_getsizeof():
    assert sys.getsizeof(bb.eval("zeros(1000)")) > 8000
    assert sys.getsizeof(bb.eval("1:10")) > 0


# ------------------------------------------------------------------- values

VALUES = """
1:3
BitArray([1, 0, 1])
Any[1, :a, "x", nothing]
[1, missing]
Dict("a" => [1, 2])
:symbol
Vector{Int}
big(10)^30
BigFloat(2) / 3
1.5f0
r"a+"i
sin
Base.GC
ErrorException("x")
""".strip().split("\n")


@pytest.mark.parametrize("code", VALUES)
def test_values(code):
    x = bb.eval(code, raw=True)
    for protocol in PROTOCOLS:
        y = again(x, protocol)
        assert type(y) is type(x)
        assert type_of(y) == type_of(x)
        assert bb.Base.repr(y) == bb.Base.repr(x)


def test_named_tuples():
    x = bb.eval('(a = 1, var"for" = "b")')
    for protocol in PROTOCOLS:
        y = again(x, protocol)
        assert type(y) is type(x)
        assert y == x


def test_python_objects_in_julia_objects():
    """They go through pickle, and stay one if they were one."""
    shared = ["a", {"b": 1}]
    julia = bb.eval("o -> Any[o, (o, 1)]")(bb.pyobject(shared))
    y, other = again((julia, shared))
    assert y[0] == shared
    assert y[0] is other
    assert y[1][0] is other
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(bb.eval("o -> [o]")(lambda: 1))


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("stdout", "stream"),
        ("Task(() -> 1)", "Task"),
        ("Ptr{Int}(8)", "address"),
        ("[Ptr{Int}(8)]", "address"),
        ("Any[Ptr{Int}(8)]", "address"),
        ("Dict(1 => stdout)", "stream"),
        ("Channel(1)", "Channel"),
        ("Timer(100)", "Timer"),
    ],
)
def test_what_can_never_be_pickled(code, match):
    with pytest.raises(TypeError, match=match):
        pickle.dumps(bb.eval(code, raw=True))


def test_copies_are_julias():
    x = bb.eval("[[1], [2]]")
    assert copy.copy(x)[0] == x[0]
    assert copy.deepcopy(x)[0] is not x[0]


# ------------------------------------------------------- functions and modules


def test_names_that_are_the_same():
    for name in ("sin", "+", "push!"):
        f = getattr(bb.Base, name)
        assert again(f) == f
    assert again(bb.Base.GC) == bb.Base.GC
    bb.eval("pickled_here(x) = 2x")
    f = bb.Main.pickled_here
    calls = bb.Base.length(bb.Base.methods(f))
    assert again(f) == f
    assert bb.Base.length(bb.Base.methods(f)) == calls
    g = again(bb.eval("let a = [1.0, 2.0]; x -> sum(a) + x; end"))
    assert g(1) == 4.0


def test_what_has_no_name_or_source():
    bb.eval('Core.eval(Main, Meta.parse("pickled_nowhere(x) = x"))')
    with pytest.raises(pickle.PicklingError, match=r"pickled_nowhere.*bufferbridge\.include"):
        pickle.dumps(bb.Main.pickled_nowhere)
    with pytest.raises(pickle.PicklingError, match="keyword arguments .* give it a name"):
        pickle.dumps(bb.eval("(x; k = 1) -> x + k"))
    assert again(bb.eval("let; (x; k = 1) -> x + k; end"))(1, k=2) == 3
    module = bb.newmodule("Unnamed")
    bb.eval("f(x) = x", module)
    for x in (module, module.f):
        with pytest.raises(pickle.PicklingError, match=r"Unnamed.*has no name"):
            pickle.dumps(x)


DEFINITIONS = """
f_p(x) = 2x
"Has a docstring."
function f_p(x::String; times = 2)
    return x ^ times
end
global touched_p = get(ENV, "TOUCHED_P", ""); limit_p = 3
const weights_p = [1.0, 2.0]
using LinearAlgebra: dot
using Printf
macro twice_p(x)
    :(2 * $(esc(x)))
end
abstract type Shape_p end
struct Square_p{T} <: Shape_p
    side::T
end
Base.show(io::IO, s::Square_p) = print(io, "a square of ", s.side)
(s::Square_p)(x) = x * s.side
@enum Fruit_p apple_p pear_p = 5
area_p(s::Square_p) = @twice_p(s.side) + limit_p + dot(weights_p, [f_p(y) for y in weights_p])
text_p(x) = @sprintf("%03d", x)
module Inner_p
    struct Q; a::Int32; end
    g(q::Q) = q.a + 1
end
"""
# Each is pickled here, and evaluated as `x` elsewhere.
ELSEWHERE = [
    ("f_p", "x(3), x('a', times=3)", "(6, 'aaa')"),
    ("area_p", "x(bb.eval('Square_p(1.0)'))", "15.0"),
    ("Square_p(2)", "str(x), x(5)", "('a square of 2', 10)"),
    ("[Square_p(2.0), Square_p(3.0)]", "x[1].side, x.format", "(3.0, 'T{d:side:}')"),
    ("[pear_p]", "x[0].name, str(bb.Base.eltype(x))", "('pear_p', 'Fruit_p')"),
    ("text_p", "x(7)", "007"),
    ("Inner_p.g", "x(bb.Main.Inner_p.Q(1))", "2"),
    ("[Inner_p.Q(1)]", "x[0].a, x.itemsize", "(1, 4)"),
    ("Inner_p", "x.g(x.Q(4))", "5"),
    ("let k = 3; y -> k * f_p(y) + limit_p; end", "x(1)", "9"),
    ("Dict(:a => area_p)", "x['a'](bb.Main.Square_p(2.0))", "17.0"),
    ("f_p ∘ f_p", "x(1)", "4"),
    ("[1 2; 3 4]", "x[1, 0]", "3"),
]


def test_definitions_reach_another_process(run_python, tmp_path):
    bb.eval(DEFINITIONS)
    (tmp_path / "pickled_file.jl").write_text("h_file(x) = x + 100\n")
    bb.include(tmp_path / "pickled_file.jl")
    cases = [(bb.eval(code, raw=True), use) for code, use, _ in ELSEWHERE]
    cases.append((bb.Main.h_file, "x(1)"))
    pickles = [(pickle.dumps(x), use) for x, use in cases]
    bb.eval("f_p(x) = 3x")  # redefined
    pickles.append((pickle.dumps(bb.Main.f_p), "x(3)"))
    bb.eval("f_p(x) = 2x")
    pickles.append((pickle.dumps(bb.Main.f_p), "x(3), pickle.loads(pickle.dumps(x))(4)"))
    (tmp_path / "pickles").write_bytes(pickle.dumps(pickles))
    done = run_python(
        """
        import pickle
        import bufferbridge as bb

        for data, use in pickle.load(open("pickles", "rb")):
            x = pickle.loads(data)
            print(eval(use))
        print(bb.eval("isdefined(Main, :touched_p)"), bb.eval("length(methods(f_p))"))
        """
    )
    expected = [result for _, _, result in ELSEWHERE]
    assert done.stdout.split("\n")[:-1] == [*expected, "101", "9", "(6, 8)", "False 2"]
    assert "WARNING" not in done.stderr


def test_constants():
    """Their contents may change where they are used, as those of a cache; they may not differ."""
    bb.eval("const cache_p = Dict{Int,Int}(); cached_p(x) = get!(() -> x^2, cache_p, x)")
    data = pickle.dumps(bb.Main.cached_p)
    assert bb.Main.cached_p(3) == 9
    assert pickle.loads(data)(4) == 16
    assert dict(bb.Main.cache_p) == {3: 9, 4: 16}
    assert again(bb.Main.cached_p)(3) == 9

    bb.eval("const number_p = 3; const list_p = [1, 2]; both_p() = (number_p, list_p)")
    function, (home, definitions, *rest) = bb.Main.both_p.__reduce_ex__(4)
    for i, definition in enumerate(definitions):
        if definition[0] == "value":
            kind, name, const, _, mark = definition
            others = list(definitions)
            others[i] = (kind, name, const, 4 if mark == 0 else bb.eval("[3]"), mark and mark + 1)
            with pytest.raises(pickle.UnpicklingError, match=f"constant {name} here, and another"):
                function(home, tuple(others), *rest)


def test_generated_functions():
    bb.eval(
        """
        makes_p(n) = n + 1
        @generated generated_p(::Val{n}) where {n} = (m = makes_p(n); :($m + quoted_p()))
        quoted_p() = 10
        """
    )
    data = pickle.dumps(bb.Main.generated_p)
    assert b"makes_p(n) = n + 1" in data
    assert b"quoted_p() = 10" in data


def test_files_that_changed(tmp_path):
    file = tmp_path / "changing.jl"
    file.write_text("changing_p(x) = 1")
    bb.include(file)
    data = pickle.dumps(bb.Main.changing_p)
    file.write_text("changing_p(x) = 2")
    bb.include(file)
    with pytest.raises(pickle.UnpicklingError, match=r"changing\.jl.*include it there again"):
        pickle.loads(data)
    assert again(bb.Main.changing_p)(0) == 2


def test_modules_of_files(run_python, tmp_path, monkeypatch):
    (tmp_path / "pickled_module.jl").write_text("struct R; a::Int; end\nf(r) = r.a\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    from bufferbridge.jl import pickled_module

    things = (pickled_module.f, pickled_module.R(3), pickled_module.__julia__)
    (tmp_path / "pickles").write_bytes(pickle.dumps(things))
    assert again(pickled_module.f) == pickled_module.f
    done = run_python(
        """
        import pickle, sys
        sys.path[:] = [p for p in sys.path if p]
        f, r, module = pickle.load(open("pickles", "rb"))
        print(f(r), module.f == f, sys.modules["bufferbridge.jl.pickled_module"].f == f)
        """
    )
    assert done.stdout == "3 True True\n"


# ------------------------------------------------------------------- errors


def test_errors():
    for code in ('error("a")', "[1][3]", "Dict()[1]", "sqrt(-1.0)", "nosuch_p"):
        with pytest.raises(bb.JuliaError) as info:
            bb.eval(code)
        for protocol in PROTOCOLS:
            error = again(info.value, protocol)
            assert type(error) is type(info.value)
            assert str(error) == str(info.value)
            assert error.backtrace == info.value.backtrace
            assert type_of(error.exception) == type_of(info.value.exception)
    with pytest.raises(bb.JuliaError) as info:
        bb.eval("throw(stdout)")
    error = again(info.value)
    assert str(error) == str(info.value)
    assert error.exception is None


# ------------------------------------------------------------- versions, bad input


def _changed(x, **changes):
    """The pickle of a value, as if it came from elsewhere."""
    function, (home, header, *rest) = x.__reduce_ex__(4)
    version = changes.pop("version", home[0])
    return function, ((version, home[1]), {**header, **changes}, *rest)


def test_other_versions():
    x = bb.eval("Dict(1 => 2)", raw=True)
    ours = ".".join(map(str, bb.julia_version))
    function, arguments = _changed(x)
    assert function(*arguments)[1] == 2
    for version, word in (("1.99.0", 64), (ours, 32)):
        function, arguments = _changed(x, version=version, word=word)
        with pytest.raises(pickle.UnpicklingError, match=f"Julia {version} .*this is Julia {ours}"):
            function(*arguments)
    f = bb.eval("x -> x")
    function, arguments = _changed(f, version="1.4.9")
    with pytest.raises(pickle.UnpicklingError, match="closures and anonymous functions"):
        function(*arguments)
    bb.eval("module Adders_p; adder(n) = x -> x + n; end")
    f = bb.eval("Adders_p.adder(2)")  # of a module's functions, known by its number
    assert again(f)(1) == 3
    function, arguments = _changed(f, version="1.4.9")
    with pytest.raises(pickle.UnpicklingError, match="closures and anonymous functions"):
        function(*arguments)
    # Arrays and named functions do not depend on it.
    function, (home, *rest) = bb.eval("[1.0, 2.0]").__reduce_ex__(4)
    assert function(("1.99.0", home[1]), *rest)[1] == 2.0


def test_pickles_of_other_versions():
    """Those in the folder were made by the Julia that they are named after."""
    for path in sorted((Path(__file__).parent / "pickles").glob("*.pickle")):
        version = tuple(map(int, path.stem.split(".")))
        things = pickle.loads(path.read_bytes())
        assert bb.Base.isequal(pickle.loads(things["matrix"]), bb.eval("[1.0 2.0; 3.0 4.0]"))
        assert pickle.loads(things["structs"])[1].b == 4
        assert pickle.loads(things["function"])(2) == 7
        for name in ("dict", "mutable", "range", "closure"):
            readable = version[:2] == bb.julia_version[:2]
            readable |= version < bb.julia_version and name in ("dict", "mutable")
            if readable:
                pickle.loads(things[name])
                continue
            with pytest.raises(pickle.UnpicklingError, match=f"made by Julia {path.stem}"):
                pickle.loads(things[name])


def test_structs_that_differ():
    """Serialization would store into the fields whatever comes."""
    bb.eval("mutable struct Fields_p{T}; a::Int; b::Union{T,Nothing}; end")
    function, (home, header, *rest) = bb.eval("Fields_p{Bool}(1, true)").__reduce_ex__(4)
    assert header["layouts"] == (("Main", "Fields_p", "a::Int64, b::Nothing|T"),)
    assert function(home, header, *rest).a == 1
    header["layouts"] = (("Main", "Fields_p", "a::Any, b::Any"),)
    with pytest.raises(pickle.UnpicklingError, match=r"Fields_p has the fields .* had \(a::Any"):
        function(home, header, *rest)


def test_types_that_differ():
    bb.eval("struct Differs_p; a::Int; b::Float64; end")
    function, (home, definitions, item, *rest) = bb.eval("[Differs_p(1, 2)]").__reduce_ex__(4)
    with pytest.raises(bb.JuliaError, match="Differs_p were pickled with the layout"):
        function(home, definitions, ("T{d:a:d:b:}", 16, item[2]), *rest)
    kind, module, _, parameters = item[2]
    with pytest.raises(bb.JuliaError, match="has no name Gone_p here"):
        function(home, (), (item[0], 16, (kind, module, "Gone_p", parameters)), *rest)


def test_broken_data():
    function, (home, header, _, *rest) = bb.eval("Dict(1 => 2)", raw=True).__reduce_ex__(4)
    with pytest.raises(pickle.UnpicklingError, match="can't be read"):
        function(home, header, b"", *rest)


def test_julias_own_serialization():
    bb.eval("using Serialization")
    dump = bb.eval("x -> (io = IOBuffer(); serialize(io, x); take!(io))")
    load = bb.eval("bytes -> deserialize(IOBuffer(copy(bytes)))")
    assert list(load(dump(bb.wrap(b"abc")))) == [97, 98, 99]
    with bb.borrow(bytearray(b"abc")) as lent:
        assert list(load(dump(lent))) == [97, 98, 99]
    with pytest.raises(ValueError, match="PyObject can't be serialized"):
        dump(bb.pyobject([]))


def test_unpickling_starts_julia_with_the_same_options(run_python, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "Project.toml").write_text("")
    run_python(
        """
        import pickle
        import bufferbridge as bb
        bb.init(project="project", threads=2)
        with open("pickled", "wb") as file:
            pickle.dump(bb.eval("[1]"), file)
        """
    )
    load = """
        import os, pickle
        os.chdir("/")
        x = pickle.load(open(os.path.join(os.environ["FOLDER"], "pickled"), "rb"))
        import bufferbridge as bb
        print(bb.eval("Base.active_project()"))
        """
    done = run_python(load, env={"FOLDER": str(tmp_path)})
    assert done.stdout.strip() == str(project / "Project.toml")
    project.joinpath("Project.toml").unlink()
    project.rmdir()
    assert run_python(load, env={"FOLDER": str(tmp_path)}).stdout  # the default one


def test_cells_in_notebooks():
    shell = pytest.importorskip("IPython.testing.globalipapp").start_ipython()
    shell.run_line_magic("load_ext", "bufferbridge")
    shell.run_cell("%%julia\n\nfrom_cell_p(x) = 4x\n")
    shell.run_cell("y = 3")
    shell.run_cell("%%julia\nwith_value_p(x) = $y * x")
    data = pickle.dumps(bb.Main.from_cell_p)
    assert b"from_cell_p(x) = 4x" in data
    with pytest.raises(pickle.PicklingError, match="with_value_p"):
        pickle.dumps(bb.Main.with_value_p)


def test_only_the_statement_is_sent():
    """The text is that of the statement, not of all that was evaluated."""
    bb.eval(
        textwrap.dedent("""
        secret_p = "not sent"
        # comment
        sent_p(x) = x; global other_p = "not sent either"
    """)
    )
    data = pickle.dumps(bb.Main.sent_p)
    assert b"sent_p(x) = x" in data
    assert b"not sent" not in data
