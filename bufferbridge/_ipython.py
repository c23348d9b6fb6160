"""Julia in IPython and Jupyter: what ``%load_ext bufferbridge`` brings.

- ``%julia`` and ``%%julia`` evaluate Julia code (:class:`Magic`). ``$x`` and ``$(...)`` in it are
  Python's: Julia's parser says which ``$`` those are, see ``jlsrc/src/cells.jl``.
- Completion of Julia's names in such code (:func:`complete`).
- ``display(x)`` in Julia shows where IPython does (:func:`show`).

And, whether the extension is loaded or not, :func:`render`: IPython's traceback of a JuliaError.

IPython is never imported here: who calls this has done so. Julia starts with the first cell.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module

from . import _core, _start
from ._errors import JuliaError, JuliaSyntaxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType
    from typing import Any

    from ._core import JuliaModule

_OPTION = re.compile(r"\s*(?:-m|--module)(?:\s+|=)(?P<module>[^\W\d][\w.!]*)(?:\s+|$)")
_MAGIC_LINE = re.compile(r"(?:[\w\s,.\[\]'\"]*=)?\s*%julia\s")


# ------------------------------------------------------------------ the magics


class Magic:
    """The function behind ``%julia`` and ``%%julia``, for one shell."""

    # IPython looks at these: it shall give us the local variables of the caller, and leave $ alone.
    needs_local_scope = True
    _ipython_magic_no_var_expand = True

    __name__ = "julia"
    __doc__ = """Evaluate Julia code; the last value, unless the code ends with a semicolon.

    %julia [-m MODULE] CODE, or %%julia [-m MODULE] and the code in the lines below.

    $name is the Python variable of that name, and $(...) any Python expression: arrays are not
    copied. In strings, quotes (:(...), quote ... end) and @eval, $ is Julia's own.

    -m, --module: the Julia module to evaluate in; Main by default.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    def __call__(self, line: str, cell: str | None = None, local_ns: Any = None) -> Any:
        __tracebackhide__ = True
        module, rest = _module(line)
        if cell is not None and rest.strip():
            raise self.usage(f"%%julia takes no code in its first line: {rest.strip()!r}")
        _take_display()
        file, lines = self.place(sys._getframe(1))
        code = rest if cell is None else f"\n{cell}"  # after the line that says %%julia
        value = self.run("\n" * lines + code.rstrip(), file, module, local_ns)
        return None if _is_quiet(code) else value

    def usage(self, message: str) -> Exception:
        error: Exception = import_module("IPython.core.error").UsageError(message)
        return error

    def place(self, frame: FrameType | None) -> tuple[str, int]:
        """The cell that the magic is in, as IPython calls it, and the lines before it there."""
        while frame is not None and frame.f_globals is not self.shell.user_ns:
            frame = frame.f_back
        if frame is None:
            return "%julia", 0
        name = getattr(self.shell.compile, "format_code_name", lambda file: None)(
            frame.f_code.co_filename
        )
        return (name[1], frame.f_lineno - 1) if name else ("%julia", 0)

    def run(self, code: str, file: str, module: JuliaModule, local_ns: Any) -> Any:
        __tracebackhide__ = True
        session = _start.ensure()
        bridge = session.bridge
        parsed, expressions = _parse(bridge, code, file)
        values: dict[str, Any] = {}
        for name, needed in bridge.namesof(parsed):
            source = expressions.get(name)
            try:
                values[name] = self.value(name if source is None else source, local_ns)
            except NameError:
                # Within a macro's arguments, $ may be the macro's.
                if source is not None or needed:
                    raise
        if not values and module == session.Main:
            bridge.keepcell(parsed, code, file)
        return session.nogil(bridge.runcell)(parsed, module, list(values), *values.values())

    def value(self, source: str, local_ns: Any) -> Any:
        """Of a Python expression, most often a name."""
        __tracebackhide__ = True
        scope = self.shell.user_ns
        if not source.isidentifier():
            return eval(source, scope, local_ns)
        try:
            return eval(source, scope, local_ns)
        except NameError:
            raise NameError(
                f"name '{source}' is not defined: ${source} in the Julia code of a cell is the "
                "Python variable of that name"
            ) from None
        except SyntaxError:  # a keyword
            raise NameError(f"${source}: Python has no variables of that name") from None


def _module(line: str) -> tuple[JuliaModule, str]:
    session = _start.ensure()
    option = _OPTION.match(line)
    if option is None:
        return session.Main, line
    module = session.evaluate(option["module"], session.Main)
    if not isinstance(module, _core.JuliaModule):
        raise TypeError(f"{option['module']} is no Julia module")
    return module, line[option.end() :]


def _is_quiet(code: str) -> bool:
    # A comment at the end, if it has no quotes: it might be a string.
    return re.sub(r"#[^\n\"'`]*\Z", "", code.rstrip()).rstrip().endswith(";")


# ------------------------------------------------------------------ $(...)


def _parse(bridge: Any, code: str, file: str) -> tuple[Any, dict[str, str]]:
    """The parsed cell, and the Python expressions in it by the names they were given.

    Julia can't parse Python, so that each ``$(...)`` that is a Python expression is replaced by
    ``$(name)`` of the same length. Where Julia then finds no Python name, it was Julia's (in a
    string, a quote or a comment) and is put back.
    """
    __tracebackhide__ = True
    found = list(_expressions(code))
    expressions: dict[str, str] = {}
    while True:
        text, expressions = _replace(code, found)
        try:
            parsed = bridge.parsecell(text, file)
        except JuliaSyntaxError as error:
            if found:
                try:
                    bridge.parsecell(code, file)
                except JuliaSyntaxError:
                    pass
                else:
                    found = []
                    continue
            raise _with_place(error, code, file, expressions) from None
        try:
            names = {name for name, _ in bridge.namesof(parsed)}
        except JuliaSyntaxError as error:
            raise _explained(error, expressions) from None
        ours = [e for e, name in zip(found, expressions) if name in names]
        if len(ours) == len(found):
            return parsed, expressions
        found = ours


def _replace(code: str, found: list[tuple[int, int]]) -> tuple[str, dict[str, str]]:
    letters = (c for c in map(chr, range(0xA000, 0xA48D)) if c not in code)
    expressions: dict[str, str] = {}
    parts, at = [], 0
    for (start, end), letter in zip(found, letters):
        inner = code[start + 2 : end - 1]
        expressions[letter] = f"({inner})"
        blank = re.sub(r"[^\n]", " ", inner)  # the lines are where they were
        parts += [code[at : start + 2], blank.replace(" ", letter, 1), ")"]
        at = end
    return "".join([*parts, code[at:]]), expressions


def _expressions(code: str) -> Iterator[tuple[int, int]]:
    """Where ``$(...)`` is that holds a Python expression and is more than a name."""
    start = code.find("$(")
    while start >= 0:
        end = code.find(")", start) + 1
        for _ in range(100):
            if end == 0 or _is_expression(code[start + 1 : end]):
                break
            end = code.find(")", end) + 1
        else:
            end = 0
        if end and not code[start + 2 : end - 1].strip().isidentifier():
            yield start, end
        start = code.find("$(", end or start + 2)


def _is_expression(source: str) -> bool:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(source, "$(...)", "eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
            return False
    return True


def _explained(error: JuliaSyntaxError, expressions: dict[str, str]) -> JuliaSyntaxError:
    """The error, with what the user wrote in its message."""
    message = str(error)
    for letter, source in expressions.items():
        inner = source[1:-1]
        message = message.replace(letter.ljust(len(inner)), inner).replace(letter, inner)
    error.args = (message,)
    error.msg = message
    return error


def _with_place(
    error: JuliaSyntaxError, code: str, file: str, expressions: dict[str, str]
) -> JuliaSyntaxError:
    """The error with what Python shows of one: the line, and a caret."""
    error = _explained(error, expressions)
    place = re.match(r"line (\d+), column (\d+): ", str(error))
    if place is not None:
        text = code.split("\n")
        error.filename, error.lineno, error.offset = file, int(place[1]), int(place[2])
        error.text = text[min(error.lineno, len(text)) - 1]
        error.msg = str(error)[place.end() :]
    return error


# ---------------------------------------------------------------- completion


def complete(shell: Any, text: str, line: int, column: int) -> tuple[list[str], str] | None:
    """What the code before a place in a cell could go on with, and what of it that replaces.

    None: the place is not in Julia code, or Julia does not run yet.
    """
    rows = text.split("\n")
    if rows[0].startswith("%%julia") and line > 0:
        head = rows[0][len("%%julia") :]
        before = "\n".join([*rows[1:line], rows[line][:column]])
    else:
        magic = _MAGIC_LINE.match(rows[line][:column])
        if magic is None:
            return None
        head = before = rows[line][magic.end() : column]
        option = _OPTION.match(head)
        before = before[option.end() :] if option else before
    name = re.search(r"\$(\w*)\Z", before)
    if name is not None:
        begin = name[1]
        names = [n for n in shell.user_ns if n.startswith(begin) and (begin or n[0] != "_")]
        return sorted(names), begin
    session = _start.session()
    if session is None:
        return None
    try:
        module, _ = _module(head)
        texts, start = session.bridge.completionsof(before, len(before), module)
    except (JuliaError, TypeError):  # no such module; or Julia's own completion failed
        return None
    return list(texts), before[start:]


def _matcher(shell: Any) -> Any:
    """For IPython's completer: from IPython 8.6 on. None before."""
    completer = import_module("IPython.core.completer")
    if not hasattr(completer, "context_matcher"):
        return None

    def julia_matcher(context: Any) -> dict[str, Any]:
        found = complete(shell, context.full_text, context.cursor_line, context.cursor_position)
        if found is None:
            return {"completions": []}
        texts, fragment = found
        return {
            "completions": [completer.SimpleCompletion(text, type="julia") for text in texts],
            "matched_fragment": fragment,
            "suppress": True,
        }

    # Before IPython's own, which then need not look at Julia code.
    return completer.context_matcher(priority=1000, identifier="bufferbridge")(julia_matcher)


# ------------------------------------------------------------------- display

_display: Any = None


def _take_display() -> None:
    global _display
    session = _start.session()
    if _display is None and _loaded and session is not None:
        _display = session.bridge.takedisplay_b(show)


def show(mime: str | None, data: Any) -> None:
    """Called by Julia's ``display``: any object, or what it is in a MIME type."""
    display = import_module("IPython.display")
    if mime is None:
        display.display(data)
        return
    if not isinstance(data, str):
        import base64

        data = base64.b64encode(bytes(data)).decode()
    display.display({mime: data}, raw=True)


# ---------------------------------------------------------------- tracebacks


def render(error: JuliaError) -> list[str]:
    """The traceback of an error as IPython shows it, and Julia's under it.

    Of the frames on the way to a ``%julia`` nothing is shown; those of Python functions that Julia
    has called are.
    """
    shell = sys.modules["IPython"].get_ipython()
    traceback, skipped = error.__traceback__, 0
    inner: TracebackType | None = traceback
    while inner is not None:
        code = inner.tb_frame.f_code
        inner = inner.tb_next
        if code.co_filename == __file__:
            traceback, skipped = inner, 1
    if traceback is None:
        lines = list(shell.InteractiveTB.get_exception_only(type(error), error))
    else:
        offset = 0 if skipped else shell.InteractiveTB.tb_offset
        lines = list(
            shell.InteractiveTB.structured_traceback(
                type(error), error, traceback, tb_offset=offset
            )
        )
    backtrace = error.backtrace
    return [*lines, backtrace] if backtrace else lines


# ------------------------------------------------------------------- loading

_loaded: dict[int, tuple[Any, Any]] = {}  # by the id of a shell: the magic and the matcher


def load(shell: Any) -> None:
    if id(shell) in _loaded:
        return
    magic, matcher = Magic(shell), _matcher(shell)
    shell.register_magic_function(magic, "line_cell", "julia")
    if matcher is not None:
        shell.Completer.custom_matchers.append(matcher)
    # ipykernel sets the handler of SIGINT anew for each cell.
    shell.events.register("pre_execute", _core._attend)
    shell.events.register("post_execute", _after_cell)
    _loaded[id(shell)] = magic, matcher
    _take_display()


def _after_cell() -> None:
    """Shows what Julia's threads have printed meanwhile."""
    session = _start.session()
    if session is not None:
        _take_display()
        session.bridge.flushstreams()


def unload(shell: Any) -> None:
    global _display
    if id(shell) not in _loaded:
        return
    _, matcher = _loaded.pop(id(shell))
    for magics in shell.magics_manager.magics.values():
        magics.pop("julia", None)
    if matcher is not None:
        shell.Completer.custom_matchers.remove(matcher)
    shell.events.unregister("pre_execute", _core._attend)
    shell.events.unregister("post_execute", _after_cell)
    if _display is not None and not _loaded:
        _start.ensure().bridge.givedisplay_b(_display)
        _display = None
