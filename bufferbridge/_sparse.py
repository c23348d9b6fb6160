"""Sparse matrices: SciPy's and Julia's, with the values shared; ``jlsrc/src/sparse.jl``."""

from __future__ import annotations

import sys

from . import _start
from ._core import JuliaArray

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any


def sparse(A: Any) -> JuliaArray:
    """Julia's SparseMatrixCSC of a SciPy csc matrix or array; of csr, its ``transpose``.

    The values are shared: ``A.data`` and Julia's ``nonzeros`` are the same memory. The indices are
    copies, since they count from 1 in Julia; int32 stays Int32, int64 Int64. Julia can't add
    entries to it (before 1.11; ``copy(S)`` can), and what adds some in SciPy ends the sharing. A
    coo array of one axis becomes a SparseVector. A is never changed. What moves entries
    (``dropzeros!`` in Julia, ``A.eliminate_zeros()``) breaks the other side's matrix: see
    docs/sparse.md.

    Raises TypeError for other formats (``A.tocsc()`` makes this one) and other objects, ValueError
    where the indices are unsorted, have duplicates or contradict each other, and where the values
    can't be shared: read-only, not contiguous, objects.
    """
    module = sys.modules.get("scipy.sparse")
    if module is None or not module.issparse(A):
        raise TypeError(f"sparse takes a SciPy sparse matrix or array, not '{type(A).__name__}'")
    bridge = _start.ensure().bridge
    bridge.loadsparse()
    if A.ndim == 1 and A.format == "coo":
        return bridge.sparsevectorfrom.raw(A.shape[0], A.coords[0], A.data)  # type: ignore[no-any-return]
    if A.ndim != 2 or A.format not in ("csc", "csr"):
        remedies = {1: "A.tocoo() makes one that has", 2: "A.tocsc() makes one that has"}
        raise TypeError(
            f"a '{A.format}' array of the shape {A.shape} has no equal in Julia; "
            + remedies.get(A.ndim, "A.reshape(...) it to two axes")
        )
    rows, columns = A.shape
    values = A.data[: A.indptr[-1]] if len(A.indptr) else A.data  # there may be room to spare
    if A.format == "csc":
        return bridge.sparsefrom.raw(rows, columns, A.indptr, A.indices, values)  # type: ignore[no-any-return]
    return bridge.transposedsparse.raw(columns, rows, A.indptr, A.indices, values)  # type: ignore[no-any-return]


def to_scipy(S: JuliaArray) -> Any:
    """SciPy's csc_array of a Julia SparseMatrixCSC; of its transpose (or real adjoint) a csr_array.

    The values are shared, the indices copies that count from 0. While the array lives no entries
    can be added in Julia, as with any Vector that is exported (Julia 1.11 and later: it gets new
    memory, and the array keeps the old). ``scipy.sparse.csc_matrix(A)`` of the result shares, too.
    A SparseVector becomes a coo_array of one axis.

    Raises TypeError for what is no such array, ValueError for values that can't be shared,
    ImportError without SciPy (for a SparseVector, before 1.13).
    """
    if not isinstance(S, JuliaArray):
        raise TypeError(f"to_scipy takes a Julia sparse matrix, not '{type(S).__name__}'")
    import numpy as np
    import scipy.sparse

    format_, shape, indptr, indices, values = _start.ensure().bridge.sparseparts(S)
    data = np.asarray(values)
    if format_ == "coo":
        try:
            A = scipy.sparse.coo_array((data, (np.asarray(indices),)), shape=shape)
        except (AttributeError, ValueError, TypeError):
            raise ImportError(
                "SciPy has sparse arrays of one axis from 1.13 on; make a matrix of one column in "
                "Julia, reshape(x, :, 1)"
            ) from None
        A.has_canonical_format = True
    else:
        class_ = getattr(scipy.sparse, f"{format_}_array", None)  # from SciPy 1.8 on
        class_ = class_ or getattr(scipy.sparse, f"{format_}_matrix")
        indptr = np.asarray(indptr)
        n = indptr[-1]  # there may be room to spare, and is where Julia could not give it back
        A = class_((data[:n], np.asarray(indices)[:n], indptr), shape=shape, copy=False)
        A.check_format(full_check=True)
        A.has_canonical_format = True
    if len(A.data) and not np.shares_memory(A.data, data):
        raise ValueError(f"SciPy has no sparse arrays of {data.dtype} without copying them")
    return A
