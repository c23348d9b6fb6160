"""Python's ``sys.stdin`` for Julia, whatever it is at the moment: ``bufferbridge.use_stdin``."""

from __future__ import annotations

import builtins
import sys
from types import BuiltinFunctionType

from . import _start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def use(on: bool) -> None:
    bridge = _start.ensure().bridge
    if on:
        bridge.takestdin_b(next_line)
    else:
        bridge.givestdin_b()


def next_line() -> str:
    """The next line, with its end; empty at the end of the file. Called by Julia when it reads."""
    stdin: Any = sys.stdin
    if stdin is None:
        raise RuntimeError("Julia reads from sys.stdin, and there is none (it is None)")
    if stdin is sys.__stdin__:
        # In a notebook nobody types there: its kernel has an input() of its own.
        if not isinstance(builtins.input, BuiltinFunctionType):
            try:
                return f"{builtins.input()}\n"
            except EOFError:
                return ""
        if sys.stdout is not None:
            sys.stdout.flush()  # what was asked
    line = stdin.readline()
    if not isinstance(line, str):
        raise TypeError(
            f"Julia reads from sys.stdin, whose readline() gave {type(line).__name__} and not str"
        )
    return line
