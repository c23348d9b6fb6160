"""What comes from outside and is not what it says: an exception, never a crash."""

from __future__ import annotations

import pytest

import bufferbridge as bb

# ------------------------------------------------------------------- pickles


def _changed_array(code: str = "[1.0, 2.0]", **changes):
    """The array of a pickle that was changed: shape, order, buffer, or format and itemsize."""
    function, (home, definitions, item, shape, order, buffer) = bb.eval(code).__reduce_ex__(4)
    item = (changes.pop("format", item[0]), changes.pop("itemsize", item[1]), item[2])
    arguments = {"shape": shape, "order": order, "buffer": buffer, **changes}
    return function(home, definitions, item, *arguments.values())


@pytest.mark.parametrize("format", ["O", ">O", "T{O:a:}", "(1)O", "P", "&d", "z", "T{P:a:}"])
def test_pickles_have_no_addresses(format):
    with pytest.raises(ValueError, match="addresses in a pickle mean nothing"):
        _changed_array(format=format, itemsize=8)


@pytest.mark.parametrize("format", ["<d", ">d"])
@pytest.mark.parametrize("shape", [(2**61,), (2**62, 4), (-1,), (-1, -2), (-1, 0), (2**32,) * 3])
def test_shapes_of_pickles_that_overflow(format, shape):
    for buffer in (b"", bytes(16)):
        with pytest.raises(ValueError, match="dimensions|bytes"):
            _changed_array(format=format, shape=shape, buffer=buffer)


def test_pickles_that_are_no_arrays():
    with pytest.raises(ValueError, match="65 axes"):
        _changed_array(shape=(1,) * 65, buffer=bytes(8))
    with pytest.raises(ValueError, match="C or F"):
        _changed_array(order="Q")
    with pytest.raises(ValueError, match="itemsize"):
        _changed_array(itemsize=-8)
    with pytest.raises(TypeError):
        _changed_array(shape=("a",))
    with pytest.raises(TypeError):
        _changed_array(buffer=5)


def test_damaged_bytes_of_values():
    import pickle

    function, (home, header, data, *rest) = bb.eval(
        'Dict(1 => [1, 2, 3], :s => Set([1.5]), "t" => ["x"])', raw=True
    ).__reduce_ex__(4)
    assert function(home, header, data, *rest)[1][0] == 1
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 4
        with pytest.raises(pickle.UnpicklingError, match="the pickle is damaged"):
            function(home, header, bytes(changed), *rest)
        with pytest.raises(pickle.UnpicklingError, match="the pickle is damaged"):
            function(home, header, data[:at], *rest)


# -------------------------------------------------------------------- tensors


def test_producers_that_refuse_everything():
    class Refuses:
        def __dlpack__(self, **keywords):
            raise ValueError("this is why")

        @property
        def layout(self):
            raise RuntimeError("not this")

    for f in (bb.from_dlpack, bb.Base.identity, bb.wrap):
        with pytest.raises(BufferError, match="this is why") as caught:
            f(Refuses())
        assert str(caught.value.__cause__) == "this is why"


# ---------------------------------------------------------------------- times


def test_days_that_dates_has_not():
    np = pytest.importorskip("numpy")
    bb.eval("import Dates")
    ends = [np.iinfo("i8").max, np.iinfo("i8").min + 1, 10**17, -(10**17)]
    days = np.array(ends, "i8").view("M8[D]")
    for f in ("Dates.Date", "Dates.year", "Dates.month", "Dates.day"):
        for k in range(len(days)):
            with pytest.raises(bb.JuliaError, match="InexactError"):
                bb.eval(f"(x, k) -> {f}(x[k])")(days, k + 1)
    assert (
        bb.eval("x -> string(Dates.Date(x[1]))")(np.array(["-200000-03-01"], "M8[D]"))
        == "-200000-03-01"
    )
    last = bb.eval("Dates.value(typemax(Dates.Date) - Dates.Date(1970))")
    assert bb.eval("x -> Dates.Date(x[1]) == typemax(Dates.Date)")(
        np.array([last], "i8").view("M8[D]")
    )


# ---------------------------------------------------------------------- Arrow


def test_memory_of_arrow_is_made_by_arrays_only():
    from bufferbridge import _arrow

    parts = _arrow.parts_of(bb.eval("[1.0, 2.0]"))[0]
    memory = next(b for b in parts[5] if b is not None)
    try:
        made = type(memory)()
    except TypeError:
        return
    assert bytes(memoryview(made)) == b""
    del made


def test_a_stream_in_two_threads():
    import ctypes
    import threading
    import time

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

    class Stream(ctypes.Structure):
        _fields_ = [
            ("get_schema", callback),
            ("get_next", callback),
            ("get_last_error", ctypes.c_void_p),
            ("release", release),
            ("private_data", ctypes.c_void_p),
        ]

    entered, released = [], []

    def get_schema(stream, schema):
        entered.append(stream)
        time.sleep(0.3)
        return 5

    stream = Stream(callback(get_schema), callback(get_schema), None, release(released.append))
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsule = new(ctypes.addressof(stream), b"arrow_array_stream", None)
    errors = []

    def use():
        from bufferbridge import _core

        try:
            _core._arrow_stream(capsule)
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == len(released) == 1
    assert sorted(type(e).__name__ for e in errors) == ["BufferError", "BufferError", "OSError"]


# --------------------------------------------------------------------- pandas


def test_memory_that_series_share_is_read_only():
    pd = pytest.importorskip("pandas")
    if int(pd.__version__.split(".")[0]) < 3:
        pytest.skip("copy-on-write is pandas 3's")
    write = bb.eval("x -> (x[1] = x[2])")
    plain = pd.date_range("2020", periods=3)
    numbers = pd.Series([1, 2, 3])
    for values in (plain, plain.tz_localize("UTC"), numbers, numbers.astype("Int64")):
        series = pd.Series(values)
        other = series[:]
        with pytest.raises(ValueError, match="read-only"):
            write(series)
        assert list(other) == list(pd.Series(values))


# ----------------------------------------------------------------- world ages


def test_results_of_types_that_the_call_defined():
    x = bb.eval(
        "struct Fresh_d <: AbstractVector{Int} end; Base.size(::Fresh_d) = (2,); "
        "Base.getindex(::Fresh_d, i::Int) = 10i; Fresh_d()"
    )
    assert list(x) == [10, 20]
    x = bb.eval(
        "struct Fresher_d <: AbstractVector{Int} end; Base.size(::Fresher_d) = (1,); "
        "Base.getindex(::Fresher_d, i::Int) = i; (Fresher_d(), [Fresher_d()])"
    )
    assert x[0].shape == (1,)
    assert bb.eval("using SparseArrays; sparse([1, 2], [1, 2], [1.0, 2.0])").shape == (2, 2)
