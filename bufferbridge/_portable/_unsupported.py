"""What is not there without the C layer, and what to do instead."""

from __future__ import annotations

from typing import Any


def _refuse(what: str) -> NotImplementedError:
    return NotImplementedError(
        f"bufferbridge has no {what} on PyPy, where it does without its C module: use CPython"
    )


def borrow(obj: Any) -> Any:
    raise _refuse("bb.borrow (pass the object itself, or bb.wrap(obj))")


def from_dlpack(x: Any, /, *, device: Any = None, copy: Any = None) -> Any:
    """bb.from_dlpack: not here."""
    raise _refuse("bb.from_dlpack (pass numpy.from_dlpack(x))")


def arrow(*_args: Any) -> Any:
    raise _refuse("Arrow arrays (pass x.to_numpy())")


def held() -> Any:
    raise _refuse("bb.stats(detail=True)")


def request(obj: Any, flags: int) -> Any:
    raise _refuse("buffer requests by flags")
