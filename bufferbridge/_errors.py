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


class _Thrown:
    """What an error has of Julia: the exception, and its backtrace or the text of that.

    Its pickle has the exception as a pickle of its own, if it has one, which is opened when it is
    asked for: so errors that come from other processes need no Julia to arrive, on any thread.
    """

    __slots__ = ("_exception", "_pickled", "backtrace")

    def __init__(self, exception: Any, backtrace: Any, pickled: bytes | None = None) -> None:
        self._exception = exception
        self._pickled = pickled
        self.backtrace = backtrace

    def exception(self) -> Any:
        if self._exception is None and self._pickled is not None:
            import pickle

            self._exception = pickle.loads(self._pickled)
        return self._exception

    def text(self) -> str:
        if isinstance(self.backtrace, str):
            return self.backtrace
        text: str = _core._session().bridge.backtracetext(self.backtrace)
        return text.strip("\n")

    def settle(self) -> None:
        """Take from Julia now what the pickle will have, which may be made on another thread."""
        if self._pickled is None:
            import pickle

            try:
                self._pickled = pickle.dumps(self._exception, 4)
            except (
                Exception
            ):  # whatever it is that it holds: the message and the class say the rest
                self._pickled = pickle.dumps(None, 4)
        try:
            self.backtrace = self.text()
        except RuntimeError:  # a thread that can't ask Julia
            self.backtrace = ""

    def __reduce__(self) -> tuple[Any, ...]:
        self.settle()
        return _Thrown, (None, self.backtrace, self._pickled)


class JuliaError(Exception):
    """An exception thrown by Julia code. Its message is what Julia's ``showerror`` prints.

    exception: the Julia exception object (a JuliaValue).
    backtrace: Julia's backtrace as text, computed when it is asked for.
    """

    _julia: _Thrown | None = None

    @property
    def exception(self) -> Any:
        return None if self._julia is None else self._julia.exception()

    @exception.setter
    def exception(self, exception: Any) -> None:
        self._julia = _Thrown(exception, "" if self._julia is None else self._julia.backtrace)

    @property
    def backtrace(self) -> str:
        """Julia's backtrace as text, innermost frame first; empty if there is none."""
        return "" if self._julia is None else self._julia.text()

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


class JuliaFrames(str):
    """A note (PEP 678) on an exception that has passed through Julia: the frames that it left.

    They are looked up, which may take milliseconds, when the note is shown.
    """

    _backtrace: Any
    _text: str | None = None

    def __str__(self) -> str:
        if self._text is None:
            try:
                frames = _core._session().bridge.backtracetext(self._backtrace).strip("\n")
            except Exception:  # another thread than Julia allows, or Julia's end: show the rest
                return str.__str__(self)
            self._text = frames.replace("Stacktrace:", "Julia frames that it has passed:", 1)
        return self._text or str.__str__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


def note_frames(error: BaseException, backtrace: Any) -> None:
    """Notes on an exception that goes through Julia where it was there; called by the C layer."""
    note = JuliaFrames("(It has passed through Julia code.)")
    note._backtrace = backtrace
    if not hasattr(error, "__notes__"):
        error.__notes__ = []  # type: ignore[attr-defined]
    error.__notes__.append(note)  # type: ignore[attr-defined]


def make_error(kind: int, message: str, exception: Any, backtrace: Any) -> BaseException:
    """The exception for a Julia error of this kind; called by the C layer, which raises it."""
    if kind == _STOP_ITERATION:
        return StopIteration()
    error = _KINDS[kind](message)
    error._julia = _Thrown(exception, backtrace)
    return error
