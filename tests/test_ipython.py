"""%load_ext bufferbridge: in a shell of IPython's in this process, and in a real Jupyter kernel."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import time
import warnings
import weakref
from pathlib import Path

import pytest

import bufferbridge as bb

np = pytest.importorskip("numpy")
pytest.importorskip("IPython", reason="IPython is not installed")

ROOT = Path(__file__).resolve().parent.parent

# ------------------------------------------------------------------ a shell


def plain(text):
    """Without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


class Shell:
    """IPython's shell without a terminal: what cells give, raise and show."""

    def __init__(self):
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.xmode = "Context"
        self.ip = InteractiveShell.instance(config=config)
        self.names = self.ip.user_ns
        self.capsys = None

    def run(self, code):
        """The value of the cell; raises what it raises. `shown` has what it printed."""
        result = self.ip.run_cell(code, store_history=True)
        out, err = self.capsys.readouterr()
        self.shown, self.errors = plain(out), plain(err)
        result.raise_error()
        return result.result

    def julia(self, code, **names):
        self.names.update(names)
        return self.run(f"%%julia\n{code}")

    def fails(self, code, kind, **names):
        self.names.update(names)
        with pytest.raises(kind) as caught:
            self.run(code)
        return caught.value

    def complete(self, code):
        from IPython.core.completer import provisionalcompleter

        with provisionalcompleter():
            found = list(self.ip.Completer.completions(code, len(code)))
        return {c.text: code[: c.start] + c.text + code[c.end :] for c in found}


@pytest.fixture(scope="module")
def the_shell():
    modules, hook = dict(sys.modules), sys.displayhook
    shell = Shell()
    shell.ip.run_line_magic("load_ext", "bufferbridge")
    yield shell
    shell.ip.run_line_magic("unload_ext", "bufferbridge")
    type(shell.ip).clear_instance()
    sys.modules["__main__"] = modules["__main__"]
    sys.displayhook = hook


@pytest.fixture
def shell(the_shell, capsys):
    the_shell.capsys = capsys
    return the_shell


def test_values(shell):
    assert shell.run("%julia 1 + 1") == 2
    assert shell.run("y = %julia sqrt(4)\ny + 1") == 3.0
    assert shell.julia("a = 3\n2a") == 6
    assert bb.Main.a == 3
    assert shell.julia("a = 3\n2a;") is None
    assert shell.julia("a = 3\n2a; # quiet") is None
    assert shell.julia('a = "# no comment;"') == "# no comment;"
    assert shell.run("%julia") is None
    assert shell.julia("# nothing but a comment") is None
    assert isinstance(shell.julia("[1, 2]"), bb.JuliaArray)
    assert shell.shown.endswith("2-element " + repr(bb.eval("[1, 2]"))[10:] + "\n")


def test_the_module(shell):
    bb.eval("module CellModule; inside = 5; module Deep; deeper = 6; end; end")
    assert shell.run("%julia -m CellModule inside + 1") == 6
    assert shell.run("%%julia --module CellModule.Deep\nnew = deeper + 1") == 7
    assert bb.Main.CellModule.Deep.new == 7
    assert shell.run("%julia -m=CellModule inside") == 5
    assert shell.run("%julia -5 + 2") == -3
    shell.fails("%julia -m Nowhere x", NameError)
    shell.fails("%julia -m sqrt 1", TypeError)
    error = shell.fails("%%julia x = 1\n2", Exception)
    assert type(error).__name__ == "UsageError"


def test_arrays_are_not_copied(shell):
    x = np.zeros(1000)
    y = shell.julia("$x .= 1:1000; $x[1] = -1; $x", x=x)
    assert x[0] == -1
    assert x[1] == 2
    assert np.shares_memory(np.asarray(y), x)
    b = bytearray(b"abc")
    shell.julia("reverse!($b)", b=b)
    assert b == b"cba"


def test_any_value(shell):
    class Thing:
        attribute = 5

    thing = Thing()
    assert shell.julia("$thing", thing=thing) is thing
    assert shell.julia("$thing.attribute + 1", thing=thing) == 6
    assert shell.julia("$f(2)", f=lambda v: v + 1) == 3
    assert shell.julia("map($f, [1, 2])[2]", f=lambda v: v + 1) == 3
    assert shell.julia('$d["k"] + $t[2] + length($s)', d={"k": 1}, t=(1, 2), s="abc") == 6
    assert shell.julia("$n === nothing", n=None) is True
    assert shell.julia("typeof($i), typeof($z)", i=np.float32(1), z=1j)[0] == bb.Base.Float32
    assert shell.julia("$m.pi", m=__import__("math")) == pytest.approx(3.14159, abs=1e-4)
    assert shell.julia("Vector{$T}", T=bb.Base.Int) == bb.eval("Vector{Int}")
    assert shell.julia("$αβ + $café", αβ=1, café=2) == 3
    assert shell.julia("$len([1, 2])") == 2  # builtins too


def test_expressions(shell):
    x = np.arange(4.0)
    assert shell.julia("$(x.shape[0]) + $(x[-1])", x=x) == 7
    assert shell.julia("$(sum(v for v in x if v > 1))", x=x) == 5
    assert shell.julia("$(')'.join(['a', 'b']))") == "a)b"
    assert shell.julia("$({'a': (1, 2)})[\"a\"][2]") == 2
    assert shell.julia("$(x[\n  1\n]) + $(x[2]\n)", x=x) == 3
    assert shell.julia("$(lambda: 5)()") == 5
    assert shell.julia("$(x)[2]", x=x) == 1
    assert np.shares_memory(np.asarray(shell.julia("$(x[1:])", x=x)), x)
    assert shell.julia("$( 'é' )") == "é"
    assert isinstance(shell.fails("%julia $(1/0)", ZeroDivisionError), ZeroDivisionError)
    # Names of the cell's own, whatever letters it uses.
    assert shell.julia("ꀀ = 1; ꀀ + $(1 + 1)") == 3


def test_julias_own_dollars(shell):
    shell.names.update(x="python")
    assert shell.julia('x = "julia"; "$x $(uppercase(x)) \\$x"') == "julia JULIA $x"
    assert shell.julia("x = 2; e = :(a + $x); e.args[3]") == 2
    assert shell.julia("(quote; $(x + 1); end).args[end]") == 3
    assert shell.julia(":(a + $$x).args[3]") == "python"
    assert shell.julia(":(a + $($(1 + 1))).args[3]") == 2
    shell.julia("for op in (:cell_f, :cell_g)\n  @eval $op(a) = (a, $(string(op)), $$x)\nend")
    assert shell.julia("cell_g(1)") == (1, "cell_g", "python")
    assert shell.julia("# a comment with $x and $(1 + and more\n5") == 5
    assert shell.julia("`echo $x`.exec[2]") == "2"
    quoted = shell.julia("macro cellquoted(e) string(e) end; @cellquoted $nowhere")
    assert quoted in ("$nowhere", "$(Expr(:$, :nowhere))")
    assert shell.julia("@cellquoted(1 + $x)").startswith("1 + ")
    assert shell.julia('r"a$" isa Regex') is True


def test_functions_tasks_and_macros(shell):
    x = np.arange(1.0, 4.0)
    assert list(shell.julia("map(v -> v * $x[2], $x)", x=x)) == [2, 4, 6]
    assert list(shell.julia("map($x) do v; v + $x[1]; end")) == [2, 3, 4]
    assert list(shell.julia("[v * $x[end] for v in $x]")) == [3, 6, 9]
    assert shell.julia("sum(v * $x[end] for v in $x)") == 18
    later = shell.julia("v -> v + $x[1]")
    kept = shell.julia("cell_named(v) = v + $x[1]")
    anonymous = shell.julia("function (v) v + $x[1] end")
    task = shell.julia("@async (sleep(0.01); sum($x))")
    generator = shell.julia("(v + $x[1] for v in 1:2)")
    x[0] = 10
    shell.names.update(x=None)
    assert later(1) == kept(1) == anonymous(1) == 11
    assert bb.Base.fetch(task) == 15
    assert bb.Base.sum(generator) == 23
    assert shell.julia("@time $x[2]", x=x) == 2
    assert "seconds" in shell.shown
    assert shell.julia("let y = $x[1]; local z = y; z + 1 end") == 11
    assert shell.julia("s = 0\nfor v in $x\n  s += v\nend\ns") == 15  # as in Julia's prompt
    assert shell.julia("begin; global w = $x[1]; end; w") == 10
    assert shell.julia("f(a; k = $x[1]) = a + k; f(1)") == 11
    assert shell.julia("try; error($x[1]); catch e; e.msg; end") == "10.0"
    assert shell.julia("@. $x + 1")[0] == 11


def test_values_are_let_go(shell):
    class Thing(np.ndarray):
        pass

    def dies(code, times=1):
        thing = np.zeros(4).view(Thing)
        ref = weakref.ref(thing)
        shell.names["thing"] = thing
        for _ in range(times):
            shell.julia(code)
        del thing, shell.names["thing"]
        for _ in range(6):
            gc.collect()
            bb.Base.GC.gc()
            bb.stats()
            if ref() is None:
                return True
            time.sleep(0.01)
        return False

    assert dies("sum($thing);")
    assert dies("t = 0.0\nfor i in 1:4\n  t += $thing[i]\nend;")
    assert dies("map(v -> v + $thing[1], 1:3);")
    assert dies("sum($(thing[1:]));")
    assert dies("let z = $thing; for i in 1:2; z[i] = sum(z[j] for j in 1:2); end; end;")
    assert not dies("cell_keeps(v) = v + $thing[1];")  # a function that can be called goes on


def test_what_uses_a_value_after_its_time(shell):
    """In code that nobody can know to run later: a clear error or the value, never another."""
    shell.julia("macro celllater(e) esc(:(() -> $e)) end")
    array, number = shell.julia("(@celllater $x[1]), (@celllater $n + 1)", x=np.ones(3), n=5)
    assert number() == 6
    with pytest.raises(bb.JuliaError, match="undefined reference"):
        array()
    pair = shell.julia("@celllater $p", p=(1, np.ones(3)))
    with pytest.raises(bb.JuliaError, match="undefined reference"):
        pair()


def test_loops_over_interpolated_arrays_are_compiled(shell):
    x = np.ones(1_000_000)
    code = "function cell_sum(n)\n  s = 0.0\n  for i in 1:n\n    s += $x[i]\n  end\n  s\nend\n"
    cell_sum = shell.julia(code + "cell_sum(1)\ncell_sum", x=x)
    start = time.perf_counter()
    assert cell_sum(1_000_000) == 1_000_000
    assert (
        time.perf_counter() - start < 0.1
    )  # a global that is no constant takes as long again ten times


def test_local_variables(shell):
    assert shell.run("def f(k):\n    r = %julia 2 * $k + $(k + 1)\n    return r\nf(21)") == 64


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("$x = 1", r"\$x is a value of Python's"),
        ("$x += 1", r"\$x \.= \.\.\."),
        ("($x, y) = (1, 2)", r"\$x is a value"),
        ("for $x in 1:2; end", r"\$x is a value"),
        ("global $x", r"\$x is a value"),
        ("const $x = 1", r"\$x is a value"),
        ("$:x", "name of a Python variable"),
        ("$1", "name of a Python variable"),
        ("$(a b)", ""),
    ],
)
def test_wrong_dollars(shell, code, message):
    error = shell.fails(f"%%julia\n{code}", SyntaxError, x=1)
    assert re.search(message, str(error))


def test_names_that_python_has_not(shell):
    error = shell.fails("%%julia\n1 + $nowhere", NameError)
    assert "name 'nowhere' is not defined" in str(error)
    shell.fails("%julia $(nowhere + 1)", NameError)
    shell.fails("%julia $if", Exception)


def test_syntax_errors_have_a_place(shell):
    error = shell.fails("%%julia\nx = 1\ny = x +* 2\n", SyntaxError)
    assert isinstance(error, bb.JuliaError)
    count = shell.ip.execution_count - 1
    assert (error.filename, error.lineno, error.text) == (f"In[{count}]", 3, "y = x +* 2")
    shown = shell.shown + shell.errors
    assert f"In[{count}]:3" in shown
    assert re.search(r"\n +y = x \+\* 2\n +\^", shown)
    error = shell.fails("%%julia\nfoo(1,\n\n", SyntaxError)
    assert error.lineno == 2
    assert error.text == "foo(1,"
    # What the user wrote, and not what Julia got to see.
    error = shell.fails("%%julia\n$(1 +  1) +* 2", SyntaxError)
    assert error.text == "$(1 +  1) +* 2"
    assert not re.search("[\ua000-\ua48c]", shell.shown + shell.errors)


def test_tracebacks_show_julias_frames(shell):
    error = shell.fails("%%julia\ncell_root(v) = sqrt(v)\n\ncell_root(-1)", ValueError)
    count = shell.ip.execution_count - 1
    shown = shell.shown + shell.errors
    message, frames = shown.split("Stacktrace:")
    assert "JuliaValueError" in message
    assert "DomainError" in message
    assert "cell_root" in frames
    assert f"In[{count}]:2" in frames
    assert "top-level scope" in frames
    assert f"In[{count}]:4" in frames
    assert "run_cell_magic" not in shown
    assert "_ipython.py" not in shown
    assert isinstance(error, bb.JuliaError)
    shell.fails('1\n2\n%julia error("on a line")', bb.JuliaError)
    assert f"In[{count + 1}]:3" in shell.shown + shell.errors


def test_tracebacks_outside_of_cells_do_too(shell):
    shell.fails("import bufferbridge as bb\nbb.Base.sqrt(-1)", ValueError)
    shown = shell.shown + shell.errors
    assert "----> 2 bb.Base.sqrt(-1)" in shown
    assert "throw_complex_domainerror" in shown


def test_python_exceptions_are_whole(shell):
    shell.run("def cell_callback(v):\n    raise KeyError(v)")
    shell.fails("%%julia\nforeach($cell_callback, [5])", KeyError)
    shown = shell.shown + shell.errors
    assert "raise KeyError(v)" in shown
    assert "\nKeyError: 5" in shown
    # Julia's error in a callback that Julia has called: the Python frames between are shown.
    shell.run(
        "def cell_between():\n    bb.Base.sqrt(-1)",
    )
    shell.fails("%%julia\n$cell_between()", ValueError)
    shown = shell.shown + shell.errors
    assert "cell_between" in shown
    assert "throw_complex_domainerror" in shown


def test_output_is_in_order(shell):
    shell.run(
        "print('a')\n"
        "bb.eval('print(\"b\")')\n"
        "print('c')\n"
        "get_ipython().run_cell_magic('julia', '', 'println(\"d\")')"
    )
    assert shell.shown == "a\nbc\nd\n"
    shell.run(
        "from IPython.utils.capture import capture_output\n"
        "with capture_output() as c:\n"
        '    %julia println("captured"); println(stderr, "error")\n'
    )
    assert shell.shown == ""
    assert (shell.names["c"].stdout, shell.names["c"].stderr) == ("captured\n", "error\n")


def test_completion(shell):
    bb.init()
    assert shell.complete("%%julia\nsqr")["sqrt"] == "%%julia\nsqrt"
    assert shell.complete("%julia sqr")["sqrt"] == "%julia sqrt"
    assert shell.complete("y = %julia Base.prin")["println"] == "y = %julia Base.println"
    assert shell.complete("%%julia\nx = 1\ny = \\alpha")["α"] == "%%julia\nx = 1\ny = α"
    assert "\\alpha" in shell.complete("%%julia\n\\alp")
    assert shell.complete("%%julia\nα = 1; é = Base.sqr")["sqrt"].endswith("α = 1; é = Base.sqrt")
    shell.names["cell_python_name"] = 1
    assert "cell_python_name" in shell.complete("%%julia\nf($cell_py")
    bb.eval("module CellCompletion; cell_hidden = 1; end")
    assert "cell_hidden" in shell.complete("%%julia -m CellCompletion\ncell_h")
    assert "cell_hidden" not in shell.complete("%%julia\ncell_h")
    # Nothing of Python's among it, nothing of Julia's in Python code.
    assert all("import" not in text for text in shell.complete("%%julia\nsqr"))
    assert "sqrt" not in shell.complete("sqr")
    assert shell.complete("%%julia -m Nowhere\nsqr").get("sqrt") is None


def test_completion_of_attributes(shell):
    shell.names["bb"] = bb
    shell.names["thing"] = bb.eval("(cell_one = 1, cell_two = 2) |> Ref")
    assert any(text.endswith("sqrt") for text in shell.complete("bb.Base.sqr"))
    assert "x" in "".join(shell.complete("thing."))


def test_display(shell):
    shell.julia("display([1, 2])")
    assert "2-element" in shell.shown
    assert shell.shown.endswith("\n 1\n 2\n")
    shell.julia('display("text/plain", [1, 2]); println("after")')
    assert shell.shown.endswith("after\n")
    shell.julia('display("text"); display(nothing); display($p)', p="of Python")
    assert shell.shown.split("\n")[:2] == ['"text"', "nothing"]
    shell.fails('%julia display("image/png", 1)', TypeError)


def test_loading_again_and_unloading(shell):
    count = len(shell.ip.Completer.custom_matchers)
    displays = bb.eval("length(Base.Multimedia.displays)")
    shell.run("%load_ext bufferbridge")
    shell.run("%reload_ext bufferbridge")
    assert len(shell.ip.Completer.custom_matchers) == count
    shell.julia("1")
    assert bb.eval("length(Base.Multimedia.displays)") == displays
    shell.run("%unload_ext bufferbridge")
    assert len(shell.ip.Completer.custom_matchers) == count - 1
    assert bb.eval("length(Base.Multimedia.displays)") == displays - 1
    error = shell.fails("%julia 1", Exception)
    assert "not found" in str(error)
    shell.run("%load_ext bufferbridge")
    assert shell.julia("1 + 1") == 2


def test_julia_starts_with_the_first_cell(run_python):
    done = run_python(
        """
        from IPython.core.interactiveshell import InteractiveShell
        import bufferbridge as bb
        ip = InteractiveShell.instance()
        ip.run_line_magic("load_ext", "bufferbridge")
        assert bb.julia_version is None
        assert ip.Completer.complete("%julia sqr")[1] is not None
        assert bb.julia_version is None
        print(ip.run_line_magic("julia", "1 + 1"), bb.julia_version is None)
        """,
        env={"IPYTHONDIR": "."},
    )
    assert done.stdout == "2 False\n"


def test_without_a_julia_it_says_what_to_do(run_python):
    done = run_python(
        """
        from IPython.core.interactiveshell import InteractiveShell
        ip = InteractiveShell.instance()
        ip.run_cell("%load_ext bufferbridge")
        ip.run_cell("%julia 1")
        """,
        env={"IPYTHONDIR": ".", "BUFFERBRIDGE_JULIA": "/nowhere/julia"},
    )
    assert "BUFFERBRIDGE_JULIA" in done.stdout
    assert "/nowhere/julia" in done.stdout


def test_the_page(shell):
    """The cells of docs/ipython.md show what the page says."""
    import doctest

    shell.run("%unload_ext bufferbridge")
    shell.ip.execution_count = 1
    page = ROOT / "docs" / "ipython.md"
    tried = 0
    for block in re.findall(r"```ipython\n(.*?)```", page.read_text(), re.S):
        for cell in re.split(r"^In \[\d+\]: ", block, flags=re.M)[1:]:
            lines = cell.rstrip().split("\n")
            more = [line for line in lines[1:] if line.startswith("   ...: ")]
            expected = "\n".join(lines[1 + len(more) :])
            with contextlib.suppress(Exception):
                shell.run("\n".join([lines[0], *(line[8:] for line in more)]))
            shown = shell.shown
            if "Traceback (most recent" in shown and "  File <string>" in shown:
                shown = shown[shown.index("  File <string>") :]
            expected, shown = expected.strip() + "\n", shown.strip() + "\n"
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert doctest.OutputChecker().check_output(expected, shown, flags), (cell, shown)
            tried += 1
    assert tried == 9


# ----------------------------------------------------------------- a kernel


class Kernel:
    """A real one, talked to as Jupyter does."""

    def __init__(self, client, manager):
        self.client, self.manager = client, manager

    def messages(self, request):
        """What the kernel publishes for a request, until it is idle again, and its reply."""
        published = []
        while True:
            message = self.client.get_iopub_msg(timeout=40)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind in ("stream", "display_data", "execute_result", "error"):
                published.append((kind, content))
        while True:
            reply = self.client.get_shell_msg(timeout=40)
            if reply["parent_header"].get("msg_id") == request:
                return published, reply["content"]

    def run(self, code):
        """(kind, text) of all that a cell shows; what follows in one stream is one piece."""
        shown = []
        for kind, content in self.messages(self.client.execute(code, allow_stdin=False))[0]:
            if kind == "stream":
                if shown and shown[-1][0] == content["name"]:
                    shown[-1] = (content["name"], shown[-1][1] + content["text"])
                else:
                    shown.append((content["name"], content["text"]))
            elif kind == "error":
                shown.append((kind, plain("\n".join(content["traceback"]))))
            else:
                shown.append((kind, content["data"]))
        return shown

    def value(self, code):
        (kind, data), *more = self.run(code)
        assert (kind, more) == ("execute_result", []), (kind, data, more)
        return data["text/plain"]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    jupyter = pytest.importorskip("jupyter_client", reason="jupyter_client is not installed")
    folder = tmp_path_factory.mktemp("ipython")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
        root = os.path.dirname(os.path.dirname(bb.__file__))
        patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        manager = jupyter.KernelManager(kernel_name="python3")
        manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=40)
    kernel = Kernel(client, manager)
    assert kernel.run("%load_ext bufferbridge\nimport bufferbridge as bb, numpy as np") == []
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_kernel_values_and_streams(kernel):
    assert kernel.value("%julia 1 + 1") == "2"
    shown = kernel.run(
        "print('one')\n"
        "bb.eval('println(\"two\")')\n"
        "print('three')\n"
        'bb.eval(\'println(stderr, "four"); @info "five"\')\n'
        "print('six')\n"
    )
    assert "".join(t for k, t in shown if k == "stdout") == "one\ntwo\nthree\nsix\n"
    errors = "".join(t for k, t in shown if k == "stderr")
    assert errors.startswith("four\n")
    assert "five" in errors
    assert kernel.run("%%julia\nfor i in 1:3\n  print(i)\nend") == [("stdout", "123")]


def test_kernel_order_of_streams_and_display(kernel):
    shown = kernel.run(
        '%%julia\nprintln("before")\ndisplay([1])\nprintln("between")\n'
        'display("text/html", HTML("<b>bold</b>"))\nprintln(stderr, "after")\n5'
    )
    kinds = [kind for kind, _ in shown]
    assert kinds == ["stdout", "display_data", "stdout", "display_data", "stderr", "execute_result"]
    assert shown[1][1]["text/plain"].startswith("1-element")
    assert shown[3][1] == {"text/html": "<b>bold</b>"}
    assert shown[5][1]["text/plain"] == "5"


def test_kernel_pictures(kernel):
    shown = kernel.run(
        "%%julia\nstruct CellPicture end\n"
        'Base.show(io::IO, ::MIME"image/png", ::CellPicture) = write(io, UInt8[0x89, 0x50])\n'
        'display("image/png", CellPicture())'
    )
    assert shown == [("display_data", {"image/png": "iVA="})]


def test_kernel_interpolation(kernel):
    shown = kernel.run("x = np.arange(6.0)\n%julia $x .*= $(x[1] + 1)\nprint(x[-1])")
    assert shown[-1] == ("stdout", "10.0\n")


def test_kernel_errors(kernel):
    ((kind, text),) = kernel.run("%%julia\nkernel_f(v) = v[10]\nkernel_f([1, 2])")
    assert kind == "error"
    assert "JuliaIndexError: BoundsError" in text
    assert re.search(r"Stacktrace:\n \[1\].*", text)
    assert "kernel_f" in text
    assert re.search(r"In\[\d+\]:2", text)
    ((kind, text),) = kernel.run("%%julia\nx = (1,\ny = )")
    assert kind == "error"
    assert re.search(r"In\[\d+\]:\d", text)
    assert "^" in text


def test_kernel_completion(kernel):
    def complete(code):
        _, reply = kernel.messages(kernel.client.complete(code))
        return {
            code[: reply["cursor_start"]] + m + code[reply["cursor_end"] :]
            for m in reply["matches"]
        }

    kernel.run("%julia 1")  # Julia runs
    assert "%%julia\nx = sqrt" in complete("%%julia\nx = sqr")
    assert "%%julia\n😀 = 1\nα" in complete("%%julia\n😀 = 1\n\\alpha")
    assert "bb.Base.sqrt" in complete("bb.Base.sqr")
    assert "%%julia\n$np" in complete("%%julia\n$n")


def test_kernel_output_of_tasks(kernel):
    shown = kernel.run('%%julia\nkernel_task = @async (sleep(0.05); println("from the task")); 1;')
    assert shown == []
    assert kernel.run("%julia wait(kernel_task)") == [("stdout", "from the task\n")]


def test_kernel_interrupt(kernel):
    for code in ("while true; sum(rand(10)); end", "sleep(100)"):
        request = kernel.client.execute(f'%%julia\nprintln("begun"); flush(stdout)\n{code}')
        while True:
            message = kernel.client.get_iopub_msg(timeout=30)
            if message["msg_type"] == "stream":
                break
        time.sleep(0.3)
        start = time.monotonic()
        kernel.manager.interrupt_kernel()
        _, reply = kernel.messages(request)
        assert time.monotonic() - start < 20
        assert reply["status"] == "error"
        assert reply["ename"] in ("KeyboardInterrupt", "JuliaInterrupt")
    assert kernel.value("%julia 2 + 2") == "4"


def test_kernel_input(kernel):
    request = kernel.client.execute(
        'bb.use_stdin()\n%julia print("name? "); println("hello ", readline())', allow_stdin=True
    )
    message = kernel.client.get_stdin_msg(timeout=30)
    assert message["msg_type"] == "input_request"
    kernel.client.input("Ada")
    published, _ = kernel.messages(request)
    assert "".join(c["text"] for k, c in published) == "name? hello Ada\n"
    # A front end that can't ask.
    ((kind, text),) = kernel.run("%julia readline()")[-1:]
    assert kind == "error"
    assert "StdinNotImplementedError" in text
    kernel.run("bb.use_stdin(False)")


def test_kernel_await(kernel):
    bb.init()
    if bb.julia_version < (1, 9):
        ((_, text),) = kernel.run("await bb.task(bb.Base.sqrt, 4.0)")
        assert "needs Julia 1.9" in text
    else:
        assert kernel.value("await bb.task(bb.Base.sqrt, 4.0)") == "2.0"


def test_notebook(tmp_path, monkeypatch):
    """examples/notebook.ipynb runs, and shows what it was saved with."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    saved = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Jupyter's own
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()

    def shown(nb):
        return [
            [(o.get("text") or o["data"]) for o in cell.outputs]
            for cell in nb.cells
            if cell.cell_type == "code"
        ]

    new, old = shown(notebook), shown(saved)
    assert [len(outputs) for outputs in new] == [len(outputs) for outputs in old]
    *same, error = new
    assert same == old[:-1]
    assert error[0].startswith("JuliaIndexError - BoundsError: attempt to access 10×200")
    (picture,) = [o for outputs in new for o in outputs if "image/svg+xml" in o]
    assert picture["image/svg+xml"].count("<rect") == 625
