"""Julia's exceptions as Python's.

Each Julia exception that reaches Python becomes a :class:`JuliaError`. Where Python has a natural
kind for it, the class raised is also that kind, so that ``except IndexError`` catches a
BoundsError. The numbers are those of ``jlsrc/src/errors.jl``.
"""

from __future__ import annotations

import io

from . import _core

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any


class JuliaError(Exception):
    """An exception thrown by Julia code. Its message is what Julia's ``showerror`` prints.

    exception: the Julia exception object (a JuliaValue).
    backtrace: Julia's backtrace as text, computed when it is asked for.
    """

    exception: Any = None
    _backtrace: Any = None

    @property
    def backtrace(self) -> str:
        if self._backtrace is None:
            return ""
        text: str = _core._session().bridge.backtracetext(self._backtrace)
        return text.strip("\n")

    def _render_traceback_(self) -> list[str]:
        # IPython asks for it: the traceback with Julia's frames.
        from ._ipython import render

        return render(self)

    def __str__(self) -> str:
        # KeyError and SyntaxError would show the message in their own ways.
        return str(self.args[0]) if self.args else ""


class JuliaIndexError(JuliaError, IndexError):
    """BoundsError, StringIndexError."""


class JuliaKeyError(JuliaError, KeyError):
    """KeyError."""


class JuliaValueError(JuliaError, ValueError):
    """ArgumentError, DomainError, DimensionMismatch, InexactError."""


class JuliaTypeError(JuliaError, TypeError):
    """MethodError, TypeError, UndefKeywordError."""


class JuliaAttributeError(JuliaError, AttributeError):
    """A name or property that is not there."""


class JuliaNameError(JuliaError, NameError):
    """UndefVarError."""


class JuliaZeroDivisionError(JuliaError, ZeroDivisionError):
    """DivideError."""


class JuliaMemoryError(JuliaError, MemoryError):
    """OutOfMemoryError."""


class JuliaInterrupt(JuliaError, KeyboardInterrupt):
    """InterruptException."""


class JuliaEOFError(JuliaError, EOFError):
    """EOFError."""


class JuliaOSError(JuliaError, OSError):
    """SystemError, IOError."""


class JuliaRecursionError(JuliaError, RecursionError):
    """StackOverflowError."""


class JuliaSyntaxError(JuliaError, SyntaxError):
    """Code that does not parse."""


class JuliaOverflowError(JuliaError, OverflowError):
    """OverflowError."""


class JuliaAssertionError(JuliaError, AssertionError):
    """AssertionError."""


class JuliaBufferError(JuliaError, BufferError):
    """Memory that can't be shared."""


class JuliaUnsupportedOperation(JuliaError, io.UnsupportedOperation):
    """What a stream can't do."""


_KINDS: tuple[type[JuliaError], ...] = (
    JuliaError,
    JuliaIndexError,
    JuliaKeyError,
    JuliaValueError,
    JuliaTypeError,
    JuliaAttributeError,
    JuliaNameError,
    JuliaZeroDivisionError,
    JuliaMemoryError,
    JuliaInterrupt,
    JuliaEOFError,
    JuliaOSError,
    JuliaRecursionError,
    JuliaSyntaxError,
    JuliaOverflowError,
    JuliaAssertionError,
    JuliaBufferError,
    JuliaUnsupportedOperation,
)
_STOP_ITERATION = len(_KINDS)

for _kind in _KINDS:
    _kind.__module__ = "bufferbridge"


def make_error(kind: int, message: str, exception: Any, backtrace: Any) -> BaseException:
    """The exception for a Julia error of this kind; called by the C layer, which raises it."""
    if kind == _STOP_ITERATION:
        return StopIteration()
    error = _KINDS[kind](message)
    error.exception = exception
    error._backtrace = backtrace
    return error
