"""Sparse matrices: SciPy's in Julia and Julia's in SciPy, which share their values."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb

np = pytest.importorskip("numpy", reason="SciPy needs it")
sp = pytest.importorskip("scipy.sparse", reason="the sparse matrices are SciPy's")

_functions = {}


@pytest.fixture(scope="module")
def jl():
    module = bb.newmodule("SparseTests")
    bb.using("SparseArrays", "LinearAlgebra", module=module)
    return module


def run(jl, code, *args):
    """Julia code for a function, called; compiled once."""
    if code not in _functions:
        _functions[code] = bb.eval(code, jl)
    return _functions[code](*args)


def csc(indptr, indices, data, shape, dtype="f8"):
    """A matrix that nothing has checked."""
    A = sp.csc_matrix(shape, dtype=dtype)
    A.indptr, A.indices = np.array(indptr, "i4"), np.array(indices, "i4")
    A.data = np.array(data, dtype)
    return A


@st.composite
def matrices(draw):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    places = st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1))
    entries = draw(st.dictionaries(places, st.integers(1, 9), max_size=12))
    dtype = draw(st.sampled_from(["f8", "i4", "?", "c16"]))
    dense = np.zeros(shape, dtype)
    for place, value in entries.items():
        dense[place] = value
    A = draw(st.sampled_from([sp.csc_matrix, sp.csr_matrix]))(dense)
    if draw(st.booleans()):
        A.indices, A.indptr = A.indices.astype("i8"), A.indptr.astype("i8")
    return A


@given(matrices())
@settings(max_examples=12, deadline=None)
def test_round_trip(jl, A):
    dense, indptr, indices = A.toarray(), A.indptr.copy(), A.indices.copy()
    S = bb.sparse(A)
    assert S.shape == A.shape
    assert np.array_equal(np.asarray(S), dense)
    name = "SparseMatrixCSC" if A.format == "csc" else "Transpose"
    assert run(jl, "S -> string(nameof(typeof(S)))", S) == name
    p = "S -> S isa SparseMatrixCSC ? S : parent(S)"
    assert run(jl, f"S -> sizeof(eltype(rowvals(({p})(S))))", S) == A.indices.itemsize
    if A.nnz:
        address = run(jl, f"S -> Int(UInt(pointer(nonzeros(({p})(S)))))", S)
        assert address == A.data.ctypes.data
    B = bb.to_scipy(S)
    assert B.format == A.format
    assert B.dtype == A.dtype
    assert np.array_equal(B.toarray(), dense)
    assert not A.nnz or B.data.ctypes.data == A.data.ctypes.data
    assert (A.indptr == indptr).all()
    assert (A.indices == indices).all()


def test_values_are_shared(jl):
    A = sp.csc_matrix(np.array([[1.0, 0, 2], [0, 3, 0]]))
    S = bb.sparse(A)
    A.data *= 10
    assert run(jl, "sum", S) == 60
    run(jl, "S -> (nonzeros(S) .= 1; nothing)", S)
    assert A.sum() == 3
    B = bb.to_scipy(S)
    B.data[0] = 7
    assert A[0, 0] == 7
    assert np.shares_memory(sp.csc_matrix(B).data, A.data)


def test_algebra(jl):
    rng = np.random.default_rng(1)
    A = sp.random(30, 20, density=0.2, random_state=rng, format="csr")
    x = rng.random(20)
    assert np.allclose(np.asarray(run(jl, "*", bb.sparse(A), x)), A @ x)
    assert np.allclose(np.asarray(run(jl, "*", bb.sparse(A.tocsc()), x)), A @ x)
    S = bb.sparse(A.tocsc())
    assert np.allclose(bb.to_scipy(run(jl, "S -> S * S'", S)).toarray(), (A @ A.T).toarray())


def test_arrays_and_matrices(jl):
    if not hasattr(sp, "csc_array"):
        pytest.skip("SciPy's sparse arrays came with 1.8")
    A = sp.csc_array(np.eye(3))
    assert run(jl, "tr", bb.sparse(A)) == 3
    assert isinstance(bb.to_scipy(bb.sparse(A)), sp.csc_array)


def test_room_to_spare(jl):
    A = csc([0, 1, 2], [0, 1, 0, 0], [5.0, 6.0, 99.0, 99.0], (2, 2))
    assert run(jl, "S -> (nnz(S), sum(S))", bb.sparse(A)) == (2, 11)


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (0, 3)])
def test_empty(jl, shape):
    for class_ in (sp.csc_matrix, sp.csr_matrix):
        S = bb.sparse(class_(shape))
        assert S.shape == shape
        assert bb.to_scipy(S).shape == shape


@pytest.mark.parametrize("format_", ["coo", "lil", "dok", "dia", "bsr"])
def test_other_formats(format_):
    with pytest.raises(TypeError, match=r"A\.tocsc\(\)"):
        bb.sparse(sp.eye(3, format=format_))


@pytest.mark.parametrize("x", [np.eye(3), [[1]], None])
def test_not_sparse(x):
    with pytest.raises(TypeError, match="SciPy sparse"):
        bb.sparse(x)
    with pytest.raises(TypeError, match="Julia sparse"):
        bb.to_scipy(x)


def test_unsorted():
    A = csc([0, 2], [1, 0], [1, 2], (2, 1))
    with pytest.raises(ValueError, match=r"A\.sort_indices\(\)"):
        bb.sparse(A)
    assert A.indices.tolist() == [1, 0]
    A.sort_indices()
    assert np.asarray(bb.sparse(A)).tolist() == [[2], [1]]


def test_duplicates():
    A = csc([0, 2], [1, 1], [1, 2], (2, 1))
    with pytest.raises(ValueError, match=r"A\.sum_duplicates\(\)"):
        bb.sparse(A)
    A.sum_duplicates()
    assert np.asarray(bb.sparse(A)).tolist() == [[0], [3]]


@pytest.mark.parametrize(
    ("indptr", "indices", "what"),
    [
        ([0, 1], [0], "2 items and not 3"),
        ([1, 1, 1], [], "begin with 0"),
        ([0, 2, 1], [0, 1], "indptr decreases|out of order|values"),
        ([0, 2, 2], [0], "indices"),
        ([0, 1, 2], [0, 5], "out of range"),
        ([0, 1, 2], [0, -1], "out of range"),
        ([0, -3, 2], [0, 1], "out of range"),
        ([0, 2**30, 2], [0, 1], "decreases"),
    ],
)
def test_inconsistent(indptr, indices, what):
    A = csc(indptr, indices, np.ones(2), (3, 2))
    with pytest.raises(ValueError, match=what):
        bb.sparse(A)


def test_values_that_can_not_be_shared():
    A = sp.csc_matrix(np.eye(2))
    A.data.flags.writeable = False
    with pytest.raises(ValueError, match=r"read-only.*A\.copy\(\)"):
        bb.sparse(A)
    A.data = np.ones(4)[::2]
    with pytest.raises(ValueError, match=r"not contiguous.*A\.copy\(\)"):
        bb.sparse(A)
    A.data = np.ones(2, ">f8")
    with pytest.raises(ValueError, match="byte order"):
        bb.sparse(A)
    A.data = np.array([1, None], object)
    with pytest.raises(ValueError, match="numbers"):
        bb.sparse(A)


class TestFromJulia:
    def test_view(self, jl):
        S = bb.eval("sparse([1, 2, 3], [1, 2, 3], [1.0, 2.0, 3.0])", jl)
        A = bb.to_scipy(S)
        assert A.has_sorted_indices
        A.data[1] = 20
        assert np.asarray(S)[1, 1] == 20
        assert A.indptr.tolist() == [0, 1, 2, 3]

    def test_no_new_entries_meanwhile(self, jl):
        S = bb.eval("sparse([1, 2], [1, 2], [1.0, 2.0], 3, 3)", jl)
        A = bb.to_scipy(S)
        try:
            run(jl, "S -> (S[3, 1] = 5; nothing)", S)
        except bb.JuliaError as e:
            assert "shared" in str(e)
            assert bb.julia_version < (1, 11)
            assert np.asarray(S).tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 0]]
        assert A.toarray().tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 0]]

    def test_no_new_entries_of_scipys(self, jl):
        A = sp.csc_matrix(np.eye(2))
        S = bb.sparse(A)
        try:
            run(jl, "S -> (S[2, 1] = 5; nothing)", S)
        except bb.JuliaError as e:
            assert "shared" in str(e)
            assert bb.julia_version < (1, 11)
            assert np.asarray(S).tolist() == [[1, 0], [0, 1]]
        own = run(jl, "S -> (T = copy(S); T[2, 1] = 5; T)", S)
        assert run(jl, "S -> S[2, 1]", own) == 5
        assert A.toarray().tolist() == [[1, 0], [0, 1]]

    def test_entries_that_are_moved(self, jl):
        """SciPy's matrix is wrong then (docs/sparse.md), but there is a way to a right one."""
        A = sp.csc_matrix(np.array([[1.0, 0, 2], [0, 3, 0]]))
        S = bb.sparse(A)
        try:
            run(jl, "S -> (nonzeros(S)[1] = 0; dropzeros!(S); nothing)", S)
        except bb.JuliaError as e:
            assert "shared" in str(e)
            assert bb.julia_version < (1, 11)
        B = bb.to_scipy(S)
        assert B.nnz == 2
        assert B.toarray().tolist() == [[0, 0, 2], [0, 3, 0]]
        assert np.asarray(bb.sparse(B)).tolist() == B.toarray().tolist()

    def test_transposes(self, jl):
        for code in ("transpose(S)", "S'"):
            A = bb.to_scipy(bb.eval(f"S = sparse([1 2 0; 0 0 3]); {code}", jl))
            assert A.format == "csr"
            assert A.toarray().tolist() == [[1, 0], [2, 0], [0, 3]]
        with pytest.raises(ValueError, match="conjugates"):
            bb.to_scipy(bb.eval("sparse([1im 2])'", jl))

    def test_vector(self, jl):
        try:
            sp.coo_array((np.ones(1), (np.zeros(1, int),)), shape=(3,))
        except (AttributeError, ValueError, TypeError):
            pytest.skip("SciPy's sparse arrays of one axis came with 1.13")
        x = bb.eval("sparsevec([2, 4], [1.5, 2.5], 5)", jl)
        A = bb.to_scipy(x)
        assert A.toarray().tolist() == [0, 1.5, 0, 2.5, 0]
        A.data[0] = 7
        assert list(x) == [0, 7, 0, 2.5, 0]
        y = bb.sparse(A)
        run(jl, "x -> (nonzeros(x)[2] = 8; nothing)", y)
        assert A.data.tolist() == [7, 8]
        A = sp.coo_array((np.array([1.0, 2.0]), (np.array([3, 1]),)), shape=(4,))
        with pytest.raises(ValueError, match=r"A\.sum_duplicates\(\)"):
            bb.sparse(A)
        A.sum_duplicates()
        assert list(bb.sparse(A)) == [0, 2, 0, 1]

    @pytest.mark.parametrize(
        "code", ["rand(2, 2)", "view(sparse([1 2]), :, 1:1)", "Diagonal([1.0])", "[1.0]"]
    )
    def test_other_arrays(self, jl, code):
        with pytest.raises(TypeError, match="SparseMatrixCSC"):
            bb.to_scipy(bb.eval(code, jl))

    def test_other_values(self, jl):
        with pytest.raises(ValueError, match="BigInt"):
            bb.to_scipy(bb.eval("sparse(big.([1 2]))", jl))
        for values in ("[1//2]", "[1 + 2im]", "[Int128(1)]", "Float16[1]"):
            for matrix in (f"sparse([1], [1], {values})", f"sparsevec([1], {values})"):
                with pytest.raises(ValueError, match=r"no sparse arrays of .*float\.\(S\)"):
                    bb.to_scipy(bb.eval(matrix, jl))

    def test_lifetime(self, jl):
        A = bb.to_scipy(bb.eval("sparse(1:10^5, 1:10^5, 1.0:10^5)", jl))
        for _ in range(3):
            bb.eval("GC.gc(); zeros(10^5); nothing")
        assert A.data.sum() == 5000050000


def test_lifetime_in_julia(jl):
    S = bb.sparse(sp.diags([np.arange(1.0, 10**5 + 1)], [0], format="csc"))
    gc.collect()
    np.zeros(10**5)
    assert run(jl, "sum", S) == 5000050000


def test_first_use(run_python):
    """SparseArrays is loaded by the first use, and its methods are there for that very call."""
    run_python("""
        import scipy.sparse as sp, bufferbridge as bb
        S = bb.sparse(sp.eye(3, format="csr"))
        assert S.shape == (3, 3) and S[0, 0] == 1.0
        assert bb.to_scipy(S).sum() == 3
    """)
