"""bufferbridge.jl: Julia's modules, packages and files as Python modules; newmodule and using."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import pickle
import pydoc
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bufferbridge as bb


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Leaves sys.modules and sys.path as they were."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("bufferbridge.jl."):
            del sys.modules[name]
            vars(sys.modules["bufferbridge.jl"]).pop(name.rpartition(".")[2], None)
    sys.path[:] = path


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder on sys.path, and the first."""
    sys.path.insert(0, str(tmp_path))
    return tmp_path


def test_nothing_starts_before_the_first_name(run_python):
    run_python(
        """
        import sys
        import bufferbridge
        assert "bufferbridge.jl" not in sys.modules
        finders = list(sys.meta_path)
        import bufferbridge.jl as jl
        import importlib.util
        assert len(sys.meta_path) == len(finders) + 1
        dir(jl), hasattr(jl, "__wrapped__"), hasattr(jl, "_repr_html_")
        assert importlib.util.find_spec("json") is not None
        assert bufferbridge.julia_version is None
        from bufferbridge.jl import LinearAlgebra
        assert bufferbridge.julia_version is not None
        assert LinearAlgebra.norm([3.0, 4.0]) == 5
        """
    )


def test_packages_in_all_forms_of_import():
    import bufferbridge.jl.LinearAlgebra as la
    from bufferbridge.jl.LinearAlgebra import det, norm

    from bufferbridge import jl
    from bufferbridge.jl import LinearAlgebra

    assert LinearAlgebra is la is sys.modules["bufferbridge.jl.LinearAlgebra"]
    assert jl.LinearAlgebra is la
    assert norm([3.0, 4.0]) == 5
    assert det == la.det
    assert la.__julia__ == bb.eval("import LinearAlgebra; LinearAlgebra")
    assert "LinearAlgebra" in dir(jl)


def test_submodules():
    import bufferbridge.jl.Base.Threads
    from bufferbridge.jl.Base import Iterators

    from bufferbridge.jl import Base, Core, Main

    assert bufferbridge.jl.Base.Threads.nthreads() >= 1
    assert list(Iterators.take([1, 2, 3], 2)) == [1, 2]
    assert Base.Iterators is Iterators
    assert isinstance(Core, types.ModuleType)
    assert Main.__julia__ == bb.Main
    with pytest.raises(ImportError, match="cannot import name 'nosuch'"):
        from bufferbridge.jl.Base import nosuch  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'bufferbridge\.jl\.Base\.sum'"):
        importlib.import_module("bufferbridge.jl.Base.sum")


def test_what_python_expects_of_a_module():
    from bufferbridge.jl import Base, LinearAlgebra

    assert isinstance(LinearAlgebra, types.ModuleType)
    assert inspect.ismodule(LinearAlgebra)
    assert LinearAlgebra.__name__ == LinearAlgebra.__spec__.name == "bufferbridge.jl.LinearAlgebra"
    assert LinearAlgebra.__package__ == "bufferbridge.jl.LinearAlgebra"
    assert LinearAlgebra.__file__.endswith("LinearAlgebra.jl")
    assert LinearAlgebra.__file__ in repr(LinearAlgebra)
    assert inspect.getfile(LinearAlgebra) == LinearAlgebra.__file__
    assert "module LinearAlgebra" in inspect.getsource(LinearAlgebra)
    assert LinearAlgebra.__doc__.startswith("Linear algebra")
    assert "Linear algebra" in pydoc.render_doc(LinearAlgebra)
    assert "(Julia)" in repr(Base)
    assert not hasattr(Base, "__file__")
    assert not hasattr(Base, "__wrapped__")
    assert {"norm", "lu_b", "__doc__"} <= set(dir(LinearAlgebra))
    assert importlib.util.find_spec("bufferbridge.jl.LinearAlgebra") is LinearAlgebra.__spec__
    with pytest.raises(AttributeError, match="nosuch"):
        LinearAlgebra.nosuch
    with pytest.raises(TypeError):  # as of any module
        pickle.dumps(LinearAlgebra)
    with pytest.raises(TypeError):
        copy.deepcopy(LinearAlgebra)


def test_star():
    names: dict[str, object] = {}
    exec("from bufferbridge.jl.LinearAlgebra import *", names)
    assert names["norm"]([3.0, 4.0]) == 5
    assert "lu_b" in names
    assert "LinearAlgebra" not in names
    assert "stride1" not in names  # not exported by Julia
    exec("from bufferbridge.jl.Base import *", names)
    assert names["push_b"] == bb.Base.push_b
    assert all(name.isidentifier() for name in names)


def test_names_that_are_nothing():
    from bufferbridge import jl

    with pytest.raises(ModuleNotFoundError, match=r'Pkg\.add\("NoSuchThing"\)') as caught:
        from bufferbridge.jl import NoSuchThing  # noqa: F401
    assert caught.value.name == "NoSuchThing"
    with pytest.raises(ModuleNotFoundError, match="is it LinearAlgebra"):
        import bufferbridge.jl.LinearAlgbra  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"NoSuchThing\.jl on sys\.path"):
        importlib.import_module("bufferbridge.jl.NoSuchThing.Sub")
    assert not hasattr(jl, "NoSuchThing")
    with pytest.raises(AttributeError, match=r"Pkg\.add"):
        jl.NoSuchThing
    assert not [name for name in sys.modules if "NoSuchThing" in name]


def test_a_package_that_is_in_the_environment_and_not_installed(run_python, tmp_path):
    (tmp_path / "Project.toml").write_text(
        '[deps]\nNotThere = "b9e5a0ac-76e5-4b12-9b4e-0c2f0e5a3fff"\n'
    )
    code = """
    import bufferbridge as bb
    for use in ("from bufferbridge.jl import NotThere", "bb.using('NotThere')"):
        try:
            exec(use)
        except ModuleNotFoundError as error:
            assert error.name == "NotThere" and "Pkg.instantiate()" in str(error), error
        else:
            raise AssertionError
    """
    run_python(code, env={"JULIA_PROJECT": str(tmp_path)})


def test_files(folder):
    (folder / "im_model.jl").write_text(
        '"""Growth."""\nrate() = 2\nstate = 1\nstep!() = global state += rate()\n'
        'include("im_part.jl")\nhere() = (@__MODULE__, @__FILE__)\n'
        "own(x) = eval(:(rate() + $x))\nmodule Inner; x = 1; end\nconst π2 = 2π\n"
    )
    (folder / "im_part.jl").write_text("part() = rate() + 1\n")
    from bufferbridge import jl
    from bufferbridge.jl import im_model

    assert im_model.rate() == 2
    assert im_model.part() == 3
    assert im_model.own(1) == 3
    module, file = im_model.here()
    assert module == im_model.__julia__
    assert file == im_model.__file__ == str(folder / "im_model.jl")
    assert im_model.step_b() == 3
    assert im_model.state == 3
    assert im_model.Inner.x == 1
    assert isinstance(im_model.Inner, types.ModuleType)
    assert im_model.π2 > 6
    assert repr(im_model.__julia__) == "Main.im_model"
    assert "rate() = 2" in inspect.getsource(im_model)
    assert "im_model" in dir(jl)
    for name in ("im_model", "rate", "part", "state"):
        assert not bb.Base.isdefined(bb.Main, bb.Base.Symbol(name))


def test_assignment_goes_to_julia(folder):
    (folder / "im_assign.jl").write_text("rate = 2\ngrow(x) = rate * x\nwhich_ = nothing\n")
    from bufferbridge.jl import Base, im_assign

    im_assign.rate = 3
    assert im_assign.grow(2) == 6
    im_assign.other = [1, 2]
    assert bb.eval("other", im_assign).shape == (2,)
    im_assign.which_ = Base
    assert bb.eval("which_ === Base", im_assign)
    with pytest.raises(bb.JuliaError):
        im_assign.grow = 3  # a function is constant in Julia
    with pytest.raises(AttributeError):
        del im_assign.rate


def test_modules_as_arguments_of_eval_include_and_using(folder):
    (folder / "im_target.jl").write_text("x = 1\n")
    (folder / "more.jl").write_text("x + y\n")
    from bufferbridge.jl import im_target

    assert bb.eval("y = 4; x", im_target) == 1
    assert bb.include(folder / "more.jl", im_target) == 5
    bb.using("LinearAlgebra: norm", module=im_target)
    assert bb.eval("norm([3.0, 4.0])", im_target) == 5


def test_a_file_that_is_a_module(folder):
    (folder / "ImModule.jl").write_text(
        '"Its docstring."\nmodule ImModule\nusing BufferBridge\nexport f\nf(x) = x + 1\ng(x) = x\n'
        "@pyexport twice(x::Int)::Int = 2x\nend\n"
    )
    from bufferbridge.jl import ImModule

    assert ImModule.f(1) == 2
    assert ImModule.__doc__ == "Its docstring."
    assert sorted(ImModule.__all__) == ["f", "twice"]
    assert repr(ImModule.twice) == "<built-in function twice>"
    names: dict[str, object] = {}
    exec("from bufferbridge.jl.ImModule import *", names)
    assert "g" not in names
    assert names["twice"](4) == 8
    (folder / "ImModule.jl").write_text("module ImModule\nf(x) = x + 2\nend\n")
    importlib.reload(ImModule)
    assert ImModule.f(1) == 3


def test_init_is_called(folder):
    (folder / "im_init.jl").write_text("const r = Ref(0)\n__init__() = (r[] = 7; nothing)\n")
    from bufferbridge.jl import im_init

    assert im_init.r[()] == 7


def test_reload(folder):
    file = folder / "im_again.jl"
    file.write_text("f(x) = x + 1\nstruct S; a; end\nmodule Inner; x = 1; end\nold() = 1\n")
    from bufferbridge.jl.im_again import Inner, f

    from bufferbridge.jl import im_again

    before = im_again.__julia__
    file.write_text("f(x) = x + 2\nstruct S; a; b; end\nmodule Inner; x = 2; end\n")
    assert importlib.reload(im_again) is im_again
    assert (f(1), im_again.f(1)) == (2, 3)
    assert im_again.S(1, 2).b == 2
    assert im_again.__julia__ != before
    assert not hasattr(im_again, "old")
    assert im_again.Inner.x == 2
    assert Inner is im_again.Inner
    file.write_text("f(x) = x +")
    with pytest.raises(SyntaxError):
        importlib.reload(im_again)
    assert im_again.f(1) == 3  # as it was
    assert sys.modules["bufferbridge.jl.im_again"] is im_again


def test_what_cannot_be_reloaded():
    from bufferbridge.jl import Base, LinearAlgebra

    with pytest.raises(ImportError, match="Revise"):
        importlib.reload(LinearAlgebra)
    assert LinearAlgebra.norm([3.0, 4.0]) == 5
    assert importlib.reload(Base) is Base


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("x = 1\ny = (", SyntaxError, r"im_bad\.jl, line 2"),
        ('x = 1\nerror("inside")', bb.JuliaError, r"inside[\s\S]*im_bad\.jl:2"),
        ("sqrt(-1.0)", ValueError, "im_bad.jl:1"),
        ("getproperty(1, :nosuch)", Exception, "im_bad.jl:1"),
        ("using NoSuchThing", ValueError, "NoSuchThing"),
        ('include("nosuch.jl")', bb.JuliaError, r"nosuch\.jl[\s\S]*im_bad\.jl:1"),
    ],
)
def test_files_that_fail(folder, code, kind, message):
    (folder / "im_bad.jl").write_text(code)
    for _ in range(2):
        with pytest.raises(kind, match=message):
            from bufferbridge.jl import im_bad
        assert "bufferbridge.jl.im_bad" not in sys.modules
    (folder / "im_bad.jl").write_text("x = 1")
    from bufferbridge.jl import im_bad

    assert im_bad.x == 1


def test_a_file_is_evaluated_once_also_when_it_fails_with_an_attribute_error(folder):
    counter = bb.eval("Ref(0)")
    bb.Main.im_counter = counter
    (folder / "im_attribute.jl").write_text("Main.im_counter[] += 1\nMain.nosuch_callback()\n")

    def nosuch():
        raise AttributeError("from inside")

    bb.Main.nosuch_callback = nosuch
    with pytest.raises(ImportError, match="from inside"):
        from bufferbridge.jl import im_attribute  # noqa: F401
    assert counter[()] == 1


def test_precedence(folder, tmp_path):
    (folder / "LinearAlgebra.jl").write_text("x = 1")
    (folder / "Main.jl").write_text("im_main_x = 1")
    (folder / "im_first.jl").write_text("x = 1")
    (folder / "later").mkdir()
    (folder / "later" / "im_first.jl").write_text("x = 2")
    (folder / "im_folder.jl").mkdir()
    sys.path.append(str(folder / "later"))
    sys.path.insert(0, str(folder / "nosuch"))
    from bufferbridge.jl import LinearAlgebra, Main, im_first

    assert LinearAlgebra.norm([3.0, 4.0]) == 5  # a package comes first
    assert not hasattr(Main, "im_main_x")
    assert im_first.x == 1
    with pytest.raises(ModuleNotFoundError):
        from bufferbridge.jl import im_folder  # noqa: F401


def test_in_the_current_folder(folder, monkeypatch):
    (folder / "im_here.jl").write_text("x = 5")
    sys.path[0] = ""
    monkeypatch.chdir(folder)
    from bufferbridge.jl import im_here

    assert im_here.x == 5
    assert im_here.__file__ == str(folder / "im_here.jl")


def test_imports_on_several_threads(folder):
    (folder / "im_slow.jl").write_text("Main.im_runs[] += 1\nsleep(0.05)\nx = 1\n")
    bb.Main.im_runs = runs = bb.eval("Ref(0)")
    if bb.julia_version < (1, 9, 0):
        pytest.skip("Julia before 1.9 is called on one thread only")
    found = []

    def work():
        found.append(importlib.import_module("bufferbridge.jl.im_slow").x)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [1] * 4
    assert runs[()] == 1


# -------------------------------------------------------------- newmodule and using


def test_newmodule():
    module = bb.newmodule("ImFresh")
    assert isinstance(module, bb.JuliaModule)
    assert module != bb.newmodule("ImFresh")
    assert repr(module) == "Main.ImFresh"
    assert not bb.Base.isdefined(bb.Main, bb.Base.Symbol("ImFresh"))
    bb.eval("f(x) = x + y; y = 1", module)
    assert module.f(1) == 2
    assert bb.eval("eval(:(y = 5)); y", module) == 5
    assert bb.eval("parentmodule(@__MODULE__) === Main && sum([1, 2]) == 3", module)
    bb.Main.ImBound = module
    assert bb.eval("ImBound.f(2)") == 7
    for bad in ("", "a b", "1x", "x; y"):
        with pytest.raises(ValueError, match="a module needs a name"):
            bb.newmodule(bad)
    with pytest.raises(TypeError):
        bb.newmodule(3)


def test_include_into_a_module(tmp_path):
    (tmp_path / "a.jl").write_text('include("b.jl")\nthree = two + 1\n')
    (tmp_path / "b.jl").write_text("two = 2\n")
    module = bb.newmodule("ImIncluded")
    assert bb.include(tmp_path / "a.jl", module) == 3
    assert module.two == 2
    assert not bb.Base.isdefined(bb.Main, bb.Base.Symbol("two"))
    assert bb.eval(f'include("{tmp_path}/b.jl")', module) == 2
    with pytest.raises(TypeError):
        bb.include(tmp_path / "a.jl", 3)


def test_using():
    module = bb.newmodule("ImUsing")
    assert bb.using("LinearAlgebra: norm, det", module=module) is None
    assert bb.eval("norm([3.0, 4.0])", module) == 5
    assert not bb.eval("isdefined(@__MODULE__, :lu)", module)
    bb.using("Random, Statistics", "LinearAlgebra", module=module)
    bb.using("Base.Threads: @threads, nthreads", module=module)
    assert bb.eval("mean([1, 2]) + tr([1 2; 3 4]) + nthreads()", module) >= 7
    bb.eval("module ImInner; export im_x; im_x = 1; end", module)
    bb.using(".ImInner", module=module)
    assert module.im_x == 1
    bb.using()
    assert not bb.eval("isdefined(Main, :checksquare)")  # which is not exported
    bb.using("LinearAlgebra: checksquare")
    assert bb.eval("isdefined(Main, :checksquare)")


def test_using_what_is_not_there():
    module = bb.newmodule("ImUsing2")
    with pytest.raises(ModuleNotFoundError, match=r'Pkg\.add\("NoSuchThing"\)') as caught:
        bb.using("LinearAlgebra", "NoSuchThing: f", module=module)
    assert caught.value.name == "NoSuchThing"
    assert not bb.eval("isdefined(@__MODULE__, :norm)", module)  # nor the one before
    with pytest.raises(NameError):
        bb.using(".NoSuchThing", module=module)
    with pytest.raises(TypeError, match="must be a Julia module"):
        bb.using("LinearAlgebra", module=3)
    with pytest.raises(TypeError, match="is a str"):
        bb.using(3)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "LinearAlgebra;", "LinearAlgebra; im_evil()", "LinearAlgebra\nim_evil()",
        "LinearAlgebra, $(im_evil())", "LinearAlgebra: $(im_evil())", "$im_evil",
        "LinearAlgebra) (", "(im_evil())", "im_evil()", "LinearAlgebra: norm = im_evil()",
        "LinearAlgebra begin im_evil() end", '"LinearAlgebra"', "@im_evil", "using LinearAlgebra",
        "LinearAlgebra; using Random", "#= =#", "A.$(im_evil())",
    ],
)  # fmt: skip
def test_using_evaluates_nothing_else(text):
    bb.eval("im_evil() = (global im_done = true; :LinearAlgebra)\nim_done = false")
    with pytest.raises((ValueError, SyntaxError, ModuleNotFoundError)):
        bb.using(text)
    assert bb.Main.im_done is False


# Letters of no name that anything in the process has.
@given(st.text(alphabet="ŻŹż.,:; \n$(){}[]@#\"'=+", max_size=12))
def test_using_of_any_text(text):
    module = bb.newmodule("ImAny")
    with pytest.raises((ValueError, SyntaxError, ModuleNotFoundError, NameError, bb.JuliaError)):
        bb.using(text, module=module)


def test_type_checkers(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(
        "import bufferbridge as bb\n"
        "import bufferbridge.jl.LinearAlgebra as la\n"
        "from bufferbridge.jl import model\n"
        "from bufferbridge.jl.Base.Iterators import take\n\n"
        "model.x = la.norm(take)\n"
        "bb.using('LinearAlgebra', module=bb.newmodule('M'))\n"
        "bb.package(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", "user.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(Path(bb.__file__).parent.parent), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if line.startswith("user.py")]
    assert len(errors) == 1, done.stdout + done.stderr
    assert "user.py:8" in errors[0]
