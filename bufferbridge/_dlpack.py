"""Why an object gives no DLPack tensor, and what to do: ``csrc/dlpack.c`` asks if it raises."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def refusal(producer: Any, reason: Exception) -> BufferError:
    """The exception for a producer that raised `reason`: that, and a remedy."""
    text = f"{type(reason).__name__}: {reason}" if str(reason) else type(reason).__name__
    remedies = [*_remedies(producer), "bufferbridge.pyobject(x) passes the object itself"]
    return BufferError(
        f"'{type(producer).__name__}' exports no DLPack tensor ({text}): {'; '.join(remedies)}"
    )


def _remedies(x: Any) -> Iterator[str]:
    # torch's tensors are known by what they are asked for.
    if _is(x, "requires_grad"):
        yield "x.detach() is a tensor of the same memory without the gradient"
    if _is(x, "is_conj"):
        yield "x.resolve_conj() is a copy that is not conjugated"
    if _is(x, "is_neg"):
        yield "x.resolve_neg() is a copy that is not negated"
    if _is_sparse(x):
        yield "x.to_dense() is a copy without gaps"


def _is(x: Any, name: str) -> bool:
    try:
        answer = getattr(x, name, False)
        return answer is True or (callable(answer) and answer() is True)
    except Exception:
        return False


def _is_sparse(x: Any) -> bool:
    try:
        return "sparse" in str(getattr(x, "layout", ""))
    except Exception:
        return False
