"""Missing values: NumPy's masked arrays in Julia, Julia's missing values in NumPy."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb

np = pytest.importorskip("numpy", reason="masked arrays are NumPy's")

_functions = {}


def run(code, *args):
    """Julia code for a function, called; compiled once."""
    if code not in _functions:
        _functions[code] = bb.eval(code)
    return _functions[code](*args)


def shares(m, x):
    """Whether a masked array has the very memory of another one's data and mask."""
    return m.data.ctypes.data == x.data.ctypes.data and m.mask.ctypes.data == x.mask.ctypes.data


class TestToJulia:
    @given(
        dtype=st.sampled_from(["f8", ">i2", "M8[ns]"]),
        shape=st.sampled_from([(), (4,), (2, 3)]),
        order=st.sampled_from("CF"),
        step=st.sampled_from([1, -2]),
        bits=st.integers(0, 63),
    )
    @settings(max_examples=8, deadline=None)
    def test_any_layout(self, dtype, shape, order, step, bits):
        m = np.ma.array(np.zeros(shape, dtype, order=order), mask=np.zeros(shape, "?", order=order))
        m.data[...] = 1
        m.mask.flat[...] = [bits >> i & 1 for i in range(m.size)]
        if shape:
            m = m[::step]
        x = bb.wrap(m)
        assert x.shape == m.shape
        assert run("x -> count(ismissing, x)", m) == m.mask.sum()
        assert np.array_equal(np.asarray(run("x -> map(ismissing, x)", m)), m.mask)
        back = bb.to_masked(x)
        assert shares(back, m)
        assert back.dtype == m.dtype
        assert back.data.strides == m.data.strides or m.size < 2 or 1 in m.shape
        run("x -> (x[end] = missing; nothing)", m)
        assert m.mask.flat[-1]
        run("x -> (x[end] = x.data[end]; nothing)", m)
        assert not m.mask.flat[-1]

    def test_sum_skips(self):
        m = np.ma.array([1.0, 2.0, 4.0], mask=[0, 1, 0])
        assert run("x -> sum(skipmissing(x))", m) == 5.0 == m.sum()
        assert run("x -> sum(x)", m) is None

    def test_types(self):
        m = np.ma.array([1.0, 2.0], mask=[0, 1])
        run("x::BufferBridge.MaskedArray{Float64,1} -> x", m)
        run("x::AbstractVector{Union{Float64,Missing}} -> x", m)
        for code in ("similar", "copy", "x -> x .+ 1.0", "x -> x[1:2]"):
            run(f"x -> ({code})(x)::Vector", m)
        assert list(run("x -> x .* 2", m)) == [2.0, None]
        with pytest.raises(TypeError, match="no method"):
            run("(x::Vector{Float64}) -> x", m)

    def test_constant(self):
        assert run("x -> x === missing", np.ma.masked)
        v = bb.eval("Union{Float64,Missing}[1, 2]")
        v[0] = np.ma.masked
        assert list(v) == [None, 2.0]

    def test_values_stay_under_the_mask(self):
        m = np.ma.array([1, 2], mask=[0, 0])
        run("x -> (x[1] = missing; nothing)", m)
        assert m.data.tolist() == [1, 2]

    def test_nomask(self):
        m = np.ma.array([1.0, 2.0])
        assert m.mask is np.ma.nomask
        x = bb.wrap(m)
        run("x -> (x .= 7; nothing)", x)
        assert m.tolist() == [7.0, 7.0]
        with pytest.raises(ValueError, match="mask = False"):
            run("x -> (x[1] = missing)", x)
        assert bb.to_masked(x).mask is np.ma.nomask
        m.mask = False
        run("x -> (x[1] = missing)", m)
        assert m.tolist() == [None, 7.0]

    def test_hard_mask(self):
        m = np.ma.array([1.0, 2.0], mask=[1, 0], hard_mask=True)
        expected = m.copy()
        expected[:] = 5
        x = bb.wrap(m)
        run("x -> (x .= 5; nothing)", x)
        assert m.tolist() == expected.tolist() == [None, 5.0]
        assert m.data.tolist() == expected.data.tolist() == [1.0, 5.0]
        assert bb.to_masked(x).hardmask
        run("x -> (x[2] = missing; x.mask[1] = false; nothing)", x)
        assert m.tolist() == [1.0, None]

    def test_read_only(self):
        data, mask = np.ones(3), np.array([True, False, False])
        data.flags.writeable = False
        m = np.ma.array(data, mask=mask, copy=False)
        with pytest.raises(ValueError, match="read-only"):
            run("x -> (x[1] = 2)", m)
        assert m.mask[0]  # nothing has been done by halves
        mask.flags.writeable = False
        m = np.ma.array(np.ones(3), mask=mask, copy=False)
        with pytest.raises(ValueError, match="read-only"):
            run("x -> (x[1] = 2)", m)
        assert m.data[0] == 1

    def test_conversion_fails_first(self):
        m = np.ma.array([1, 2], mask=[1, 0])
        with pytest.raises(ValueError, match="InexactError"):
            run("x -> (x[1] = 1.5)", m)
        assert m.mask[0]

    def test_fill_value(self):
        m = np.ma.array([1, 2], mask=[1, 0], fill_value=-7)
        assert bb.to_masked(bb.wrap(m)).fill_value == -7
        assert bb.to_masked(bb.wrap(m)).filled().tolist() == [-7, 2]
        plain = np.ma.array([1, 2], mask=[1, 0])
        bb.wrap(plain)
        assert plain._fill_value is None

    def test_records(self):
        m = np.ma.array([(1, 2.0)], mask=[(True, False)], dtype="i4,f8")
        for f in (bb.wrap, bb.Base.identity):
            with pytest.raises(TypeError, match=r"x\['f0'\]"):
                f(m)
        assert run("x -> x[1]", m["f0"]) is None
        with pytest.raises(TypeError, match="for each field"):
            run("identity", m[0])

    def test_objects_and_text(self):
        m = np.ma.array(["a", "bc"], mask=[0, 1])
        assert list(run("x -> x", m)) == ["a", None]
        m = np.ma.array([{}, "x"], mask=[0, 1], dtype=object)
        assert bb.wrap(m)[0] is m.data[0]
        assert bb.wrap(m)[1] is None

    def test_subclass(self):
        class Mine(np.ma.MaskedArray):
            pass

        m = np.ma.array([1.0, 2.0], mask=[0, 1]).view(Mine)
        assert run("x -> sum(skipmissing(x))", m) == 1.0

    def test_result_of_a_callback(self):
        assert run("f -> ismissing(f()[2])", lambda: np.ma.array([1, 2], mask=[0, 1]))

    def test_never_without_its_mask(self):
        m = np.ma.array([1.0, 2.0], mask=[0, 1])
        with pytest.raises(TypeError, match="data and the mask"), bb.borrow(m):
            pass
        with pytest.raises(TypeError, match="data and the mask"):
            run("BufferBridge.PyArray", bb.pyobject(m))

    def test_assignment(self):
        v = bb.eval("Union{Float64,Missing}[1, 2, 3]")
        v[...] = np.ma.array([4.0, 5.0, 6.0], mask=[0, 1, 0])
        assert list(v) == [4.0, None, 6.0]
        with pytest.raises(TypeError):
            bb.eval("zeros(3)")[...] = np.ma.array([4.0, 5.0, 6.0], mask=[0, 1, 0])

    def test_plain_arrays_as_before(self):
        assert run("x -> x isa Vector{Float64}", np.ones(3))

    def test_lifetime(self):
        before = bb.stats()["pinned_buffers"]
        x = bb.wrap(np.ma.array(np.arange(10**5), mask=np.zeros(10**5)))
        assert bb.stats()["pinned_buffers"] == before + 2
        gc.collect()
        m = bb.to_masked(x)
        del x
        gc.collect()
        bb.Base.GC.gc()
        assert m.sum() == sum(range(10**5))


class TestOfParts:
    def test_pandas_like(self):
        from bufferbridge._masked import of_parts

        data, mask = np.array([1, 2, 3]), np.array([False, True, False])
        x = of_parts(data, mask)
        assert list(x) == [1, None, 3]
        x[0] = None
        assert mask.tolist() == [True, True, False]
        x[1] = 9
        assert (data[1], mask[1]) == (9, False)

    def test_packed_mask(self):
        x = bb.eval("BufferBridge.MaskedArray([1, 2, 3], BitVector([false, true, false]))")
        m = bb.to_masked(x)
        assert m.tolist() == [1, None, 3]

    @pytest.mark.parametrize("mask", ["[true]", "[true true]", "Bool[1,0,0]"])
    def test_shapes(self, mask):
        with pytest.raises(ValueError, match="axes"):
            bb.eval(f"BufferBridge.MaskedArray([1, 2], {mask})")

    def test_missing_data(self):
        with pytest.raises(ValueError, match="missing themselves"):
            bb.eval("BufferBridge.MaskedArray([1, missing], [false, false])")


class TestToMasked:
    @given(
        type_=st.sampled_from(["Float64", "Int8", "Bool", "ComplexF64", "NTuple{2,Int32}"]),
        shape=st.sampled_from(["4", "2, 3", "1, 0"]),
        bits=st.integers(0, 63),
    )
    @settings(max_examples=6, deadline=None)
    def test_unions(self, type_, shape, bits):
        x = bb.eval(f"Array{{Union{{{type_},Missing}}}}(undef, {shape})")
        code = "x -> (fill!(x, reinterpret(nonmissingtype(eltype(x)), zeros(UInt8, 16))[1]); x)"
        run(code, x)
        run("(x, b) -> (for i in eachindex(x); isodd(b >> i) && (x[i] = missing) end)", x, bits)
        m = bb.to_masked(x)
        assert m.data.ctypes.data == run("x -> Int(UInt(pointer(x)))", x) or not m.size
        missing = np.asarray(run("x -> map(ismissing, x)", x))
        mask = np.ma.getmaskarray(m)  # for each of the numbers in a tuple
        assert (mask == (missing[..., None] if type_.startswith("N") else missing)).all()

    def test_shared_both_ways(self):
        v = bb.eval("Union{Float64,Missing}[1, missing, 3]")
        m = bb.to_masked(v)
        m[0] = 10
        v[2] = 30
        assert list(v) == [10, None, 30]
        assert m.tolist() == [10, None, 30]
        m[0] = np.ma.masked  # the mask is a copy
        assert list(v) == [10, None, 30]

    def test_records(self):
        x = bb.eval("[(a = 1, b = 2.5), missing]")
        m = bb.to_masked(x)
        assert m.mask.tolist() == [(False, False), (True, True)]
        m[0] = (3, 4.5)
        assert tuple(x[0]) == (3, 4.5)

    def test_grown_vectors(self):
        v = bb.eval(
            "v = Union{Int,Missing}[]; for i in 1:1000; push!(v, i % 3 == 0 ? missing : i) end; v"
        )
        m = bb.to_masked(v)
        assert m.tolist() == [None if i % 3 == 0 else i for i in range(1, 1001)]
        try:
            run("v -> (append!(v, 1:10^4); nothing)", v)
        except bb.JuliaError as e:
            assert "shared" in str(e)
            assert bb.julia_version < (1, 11)
        assert m.sum() == sum(i for i in range(1001) if i % 3)

    def test_lifetime(self):
        m = bb.to_masked(bb.eval("Union{Int,Missing}[i for i in 1:10^5]"))
        for _ in range(3):
            bb.eval("GC.gc(); zeros(Int, 10^5); nothing")
        assert m.sum() == 5000050000

    def test_views(self):
        x = bb.eval("Union{Int,Missing}[10i + j for i in 1:3, j in 1:4]")
        x[1, 1] = None
        whole = bb.to_masked(x)
        for part, expected in ((x[1:], whole[1:]), (x[::2, 1], whole[::2, 1])):
            m = bb.to_masked(part)
            assert m.tolist() == expected.tolist()
            assert m.data.ctypes.data == expected.data.ctypes.data
        p = run("x -> PermutedDimsArray(x, (2, 1))", x)
        assert bb.to_masked(p).tolist() == whole.T.tolist()
        assert bb.to_masked(run("x -> reshape(x, 12)", x)).tolist() == whole.ravel("F").tolist()

    def test_transposes(self):
        m = np.ma.array(np.arange(6.0).reshape(2, 3), mask=np.eye(2, 3))
        t = bb.to_masked(run("adjoint", m))
        assert t.tolist() == m.T.tolist()
        assert shares(t, m)
        union = bb.eval("transpose(Union{Int,Missing}[1 missing])")
        assert bb.to_masked(union).tolist() == [[1], [None]]
        with pytest.raises(ValueError, match="Adjoint"):
            bb.to_masked(bb.eval("[1.0im missing]'"))

    def test_bytes_without_a_meaning(self):
        """NumPy makes a mask of no fields for a dtype of no fields, and nothing would be masked."""
        m = bb.to_masked(bb.eval("[Int128(5), missing]"))
        assert m.mask.tolist() == [False, True]
        assert m.data[0].item() == (5).to_bytes(16, "little")
        void = np.ma.array(np.zeros(2, "V3"), mask=[1, 0])
        assert shares(bb.to_masked(bb.wrap(void)), void)

    def test_views_of_masked_arrays(self):
        m = np.ma.array(np.arange(12.0).reshape(3, 4), mask=np.arange(12).reshape(3, 4) % 5 == 0)
        part = bb.to_masked(bb.wrap(m)[1:, ::2])
        assert part.tolist() == m[1:, ::2].tolist()
        assert shares(part, m[1:, ::2])

    def test_without_missing(self):
        m = bb.to_masked(bb.eval("[1.0, 2.0]"))
        assert m.mask is np.ma.nomask
        assert m.tolist() == [1.0, 2.0]

    @pytest.mark.parametrize(
        "code",
        [
            '["a", missing]',
            "Union{Int,Float64,Missing}[1]",
            "[missing]",
            "Union{Int,Missing,Nothing}[1]",
            "Any[1]",
        ],
    )
    def test_not_shared(self, code):
        with pytest.raises(ValueError, match="can't be shared"):
            bb.to_masked(bb.eval(code))

    @pytest.mark.parametrize("x", [1, [1], np.ones(2), bb.JuliaArray])
    def test_wrong_types(self, x):
        with pytest.raises(TypeError, match="JuliaArray"):
            bb.to_masked(x)

    def test_asarray_copies(self):
        v = bb.eval("[1.0, missing]")
        a = np.asarray(v)
        assert a.dtype == object
        assert a.tolist() == [1.0, None]
        for x in (v, bb.wrap(np.ma.array([1.0, 2.0], mask=[0, 1]))):
            with pytest.raises(BufferError, match="to_masked"):
                memoryview(x)
            with pytest.raises(ValueError, match="to_masked"):
                np.asarray(x, copy=False) if np.__version__ >= "2" else x.__array__(copy=False)

    def test_dates(self):
        m = bb.to_masked(bb.eval("[BufferBridge.DateTime64{:s}(5), missing]"))
        assert m.dtype == "M8[s]"
        assert m[0] == np.datetime64(5, "s")
        assert m[1] is np.ma.masked
        assert bb.to_masked(bb.eval("[BufferBridge.Dates.Second(5), missing]")).dtype == "m8[s]"
        with pytest.raises(ValueError, match="Dates"):
            bb.to_masked(bb.eval("[BufferBridge.Dates.Date(2020), missing]"))


@pytest.mark.parametrize("mask", [np.zeros((1, 2), bool), np.zeros(2, "u1"), 5], ids=str)
def test_masks_that_are_none(mask):
    m = np.ma.array([1.0, 2.0], mask=[0, 1])
    m._mask = mask
    with pytest.raises(ValueError, match="mask"):
        bb.wrap(m)
