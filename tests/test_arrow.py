"""Arrow arrays: Julia's memory in pyarrow, polars and nanoarrow, and theirs in Julia."""

from __future__ import annotations

import ctypes
import datetime
import gc
import threading
import time
import weakref

import pytest

import bufferbridge as bb

from .conftest import collect_both

np = pytest.importorskip("numpy", reason="needs NumPy")
pa = pytest.importorskip("pyarrow", reason="needs pyarrow, which this platform has no wheel of")

NUMBERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
NUMBERS += ["float16", "float32", "float64"]


@pytest.fixture(scope="module")
def julia():
    return bb.eval(
        """
        module ArrowTests
        typetext(x) = string(typeof(x))
        elements(x) = collect(Any, x)
        total(x) = sum(skipmissing(x))
        anytype(x::AbstractVector) = string(eltype(x))
        strict(x::Vector{Float64}) = sum(x)
        same(x) = x
        end
        """
    )


def address(array, buffer=1):
    return array.buffers()[buffer].address


# ----------------------------------------------------------------- to Arrow


@pytest.mark.parametrize("dtype", NUMBERS)
def test_memory_is_shared_with_pyarrow(dtype):
    name = dtype.replace("uint", "UInt").replace("int", "Int").replace("float", "Float")
    name = name.replace("UInt", "UI~").replace("Int", "Int").replace("UI~", "UInt")
    x = bb.eval(f"{name}[1, 2, 3, 100]")
    array = pa.array(x)
    assert array.type == getattr(pa, dtype)()
    assert address(array) == x._address
    assert array.to_numpy(zero_copy_only=True).tolist() == [1, 2, 3, 100]
    x[1] = 7
    assert array[1].as_py() == 7
    array.validate(full=True)


def test_the_array_keeps_the_memory():
    x = bb.eval("collect(1.0:100_000.0)")
    array = pa.array(x)
    del x
    collect_both()
    assert array.sum().as_py() == 100_000 * 100_001 / 2


def test_exports_are_counted_and_end():
    x = bb.eval("rand(1000)")
    before = bb.stats()["exports"]
    array = pa.array(x)
    assert bb.stats()["exports"] == before + 1
    del array
    assert bb.stats()["exports"] == before
    schema, capsule = x.__arrow_c_array__()
    assert bb.stats()["exports"] == before + 1
    del capsule, schema  # never consumed
    assert bb.stats()["exports"] == before
    x.__arrow_c_schema__()


def test_a_vector_that_arrow_looks_at_is_not_moved():
    x = bb.eval("collect(1.0:10.0)")
    array = pa.array(x)
    if bb.julia_version < (1, 11):
        with pytest.raises(bb.JuliaError, match="shared data"):
            bb.Base.push_b(x, 1.0)
    else:
        bb.Base.append_b(x, np.zeros(100_000))
    assert array.to_pylist() == list(range(1, 11))


def test_parts_of_arrays():
    x = bb.eval("reshape(collect(1.0:6.0), 2, 3)")
    column = x[:, 1]
    array = pa.array(column)
    assert array.to_pylist() == [3, 4]
    assert address(array) == x._address + 16
    assert pa.array(bb.eval("Int32[]")).to_pylist() == []
    assert pa.array(bb.wrap(b"abc")).to_pylist() == list(b"abc")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("zeros(2, 2)", "not one axis"),
        ("fill(1.0)", "not one axis"),
        ("[true, false]", "bits"),
        ('["a"]', "not these elements"),
        ("[1.0im]", "not these elements"),
        ("1:3", "not these elements"),
        ("view(zeros(6), 1:2:6)", "strided"),
        ("Any[1]", "not these elements"),
    ],
)
def test_other_arrays_have_no_such_attribute(code, why):
    x = bb.eval(code)
    assert not hasattr(x, "__arrow_c_array__")
    assert not hasattr(x, "__arrow_c_schema__")
    with pytest.raises(AttributeError, match=f"{why}.*to_arrow"):
        x.__arrow_c_array__()


def test_memory_that_is_not_aligned():
    x = bb.wrap(np.frombuffer(b"0" * 17, dtype="u1")[1:].view("f8"))
    with pytest.raises(AttributeError, match="not aligned"):
        x.__arrow_c_array__()


def test_requested_schema():
    x = bb.eval("[1.0, 2.0]")
    asked = pa.float32().__arrow_c_schema__()
    schema, array = x.__arrow_c_array__(requested_schema=asked)
    assert pa.Array._import_from_c_capsule(schema, array).type == pa.float64()
    with pytest.raises(TypeError, match="requested_schema"):
        x.__arrow_c_array__("float")


def test_memory_of_a_block():
    with bb.borrow(np.arange(3.0)) as x:
        assert pa.array(x).to_pylist() == [0, 1, 2]
    assert not hasattr(x, "__arrow_c_array__")


class ArrowArray(ctypes.Structure):
    pass


RELEASE = ctypes.CFUNCTYPE(None, ctypes.POINTER(ArrowArray))
ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(ArrowArray))),
    ("dictionary", ctypes.POINTER(ArrowArray)),
    ("release", RELEASE),
    ("private_data", ctypes.c_void_p),
]


class ArrowSchema(ctypes.Structure):
    pass


RELEASE_SCHEMA = ctypes.CFUNCTYPE(None, ctypes.POINTER(ArrowSchema))
ArrowSchema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_char_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(ArrowSchema))),
    ("dictionary", ctypes.POINTER(ArrowSchema)),
    ("release", RELEASE_SCHEMA),
    ("private_data", ctypes.c_void_p),
]

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.restype = ctypes.py_object
_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def test_release_on_another_thread_without_the_gil():
    """The memory goes soon after, though nobody calls Julia or asks for stats."""
    x = bb.eval("rand(100)")
    gone = weakref.ref(x)
    _, capsule = x.__arrow_c_array__()
    array = ArrowArray.from_address(_pointer(capsule, b"arrow_array"))
    # CFUNCTYPE's functions are called without the GIL.
    thread = threading.Thread(target=lambda: array.release(ctypes.byref(array)))
    del x
    gc.collect()
    assert gone() is not None
    thread.start()
    thread.join()
    assert not array.release
    deadline = time.monotonic() + 10
    while gone() is not None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert gone() is None


def test_many_releases_at_once():
    before = bb.stats()["exports"]
    arrays = [pa.array(bb.eval("rand(10)")) for _ in range(200)]

    def drop(part):
        while part:
            part.pop()

    threads = [threading.Thread(target=drop, args=(arrays[i::4],)) for i in range(4)]
    del arrays[:]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    del threads, t
    gc.collect()
    assert bb.stats()["exports"] == before


def test_arrays_that_outlive_julia_and_python(run_python):
    done = run_python(
        """
        import atexit, builtins
        import pyarrow as pa, bufferbridge as bb

        @atexit.register
        def last():  # atexit goes backwards: Julia has stopped
            global array
            print(array.to_pylist(), held[1], flush=True)
            del array

        array = pa.array(bb.eval("[1.5, 2.5]"))
        held = bb.wrap(pa.array([1, 2]))
        builtins.late = pa.array(bb.eval("collect(1.0:10.0)"))  # dies with the interpreter
        """
    )
    assert done.stdout.strip() == "[1.5, 2.5] 2"


# --------------------------------------------------------------- from Arrow


@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_are_read_in_place(julia, dtype):
    array = pa.array(np.array([1, 2, 3], dtype))
    x = bb.wrap(array)
    assert x._address == address(array)
    assert np.asarray(x).dtype == dtype
    assert x.readonly
    assert julia.total(array) == 6
    assert "PyArray" in julia.typetext(array)
    part = array[1:]
    assert bb.wrap(part)._address == address(array) + np.dtype(dtype).itemsize
    assert julia.total(part) == 5


def test_arrows_memory_is_read_only(julia):
    array = pa.array([1.0, 2.0])
    with pytest.raises(bb.JuliaError, match="read-only"):
        bb.Base.fill_b(array, 0.0)
    with pytest.raises(bb.JuliaError, match="read-only memory of Python"):
        julia.strict(array)
    with pytest.raises(BufferError):
        bb._core._request(bb.wrap(array), bb._native.lib.PyBUF_WRITABLE)
    x = bb.wrap(pa.array([1, None, 3]))
    with pytest.raises(bb.JuliaError, match="read-only"):
        x[0] = 5
    with pytest.raises(bb.JuliaError, match="read-only"):
        x[0] = None


@pytest.mark.parametrize("offset", [0, 1, 7, 8, 9, 15])
def test_nulls(julia, offset):
    values = [None if i % 3 == 0 else i for i in range(40)]
    array = pa.array(values, pa.int32())[offset:-2]
    x = bb.wrap(array)
    assert list(x) == values[offset:-2]
    assert julia.anytype(array) == "Union{Missing, Int32}"
    assert julia.total(array) == sum(v for v in values[offset:-2] if v is not None)
    assert bb.eval("x -> x.data").raw(x)._address == address(array) + 4 * offset


def test_nulls_are_counted():
    """Of a part, which does not say how many it has: with none of them it is a plain array."""
    is_masked = bb.eval("x -> x isa BufferBridge.MaskedArray")
    for length in (63, 64, 65, 300):
        for null in (0, 62, 63, 64, length - 1):
            array = pa.array([None if i == null + 9 else i for i in range(length + 18)])
            for offset in (8, 9, 10):
                part = array[offset : offset + length]
                assert is_masked(part) is (None in part.to_pylist())


@pytest.mark.parametrize("offset", [0, 1, 7, 8, 9])
def test_booleans(julia, offset):
    values = [i % 3 == 0 for i in range(30)]
    x = bb.wrap(pa.array(values)[offset:])
    assert list(x) == values[offset:]
    assert julia.anytype(x) == "Bool"
    assert bb.Base.count(x) == sum(values[offset:])
    missing = [None if i % 5 == 0 else v for i, v in enumerate(values)]
    assert list(bb.wrap(pa.array(missing)[offset:])) == missing[offset:]


@pytest.mark.parametrize("type_", ["string", "large_string", "string_view"])
def test_strings(julia, type_):
    values = ["", "a", "bäb", "日本", "long " * 10, "\0", "x" * 12, "y" * 13]
    array = pa.array(values, getattr(pa, type_)())
    assert julia.elements(array) is not None
    assert list(bb.wrap(array)) == values
    assert list(bb.wrap(array[3:6])) == values[3:6]
    assert julia.anytype(array) == "String"
    assert bb.Base.join(array, "|") == "|".join(values)
    missing = [None if i == 2 else v for i, v in enumerate(values)]
    assert list(bb.wrap(pa.array(missing, getattr(pa, type_)())[1:])) == missing[1:]


@pytest.mark.parametrize("type_", ["binary", "large_binary", "binary_view"])
def test_binary(type_):
    values = [b"", b"a\xff", b"0123456789abcdef"]
    x = bb.wrap(pa.array(values, getattr(pa, type_)()))
    assert [bytes(v) for v in x] == values


def test_dates_and_times():
    days = [datetime.date(1969, 12, 31), None, datetime.date(2024, 2, 29)]
    for type_ in (pa.date32(), pa.date64()):
        assert list(bb.wrap(pa.array(days, type_))) == days
    times = [datetime.time(1, 2, 3), datetime.time(23, 59, 59)]
    for type_ in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")):
        assert list(bb.wrap(pa.array(times, type_))) == times


@pytest.mark.parametrize("values", [[1.5], ["a"], [True], [None], [b"x"], [datetime.date.min]])
def test_nothing_in_it(values):
    array = pa.array(values)
    for empty in (array[:0], array[1:], pa.chunked_array([], array.type), pa.array([], array.type)):
        assert list(bb.wrap(empty)) == []
    assert list(bb.wrap(pa.array([None, None], array.type))) == [None, None]


def test_chunks(julia):
    one = pa.chunked_array([[1, 2, 3]])
    assert bb.wrap(one)._address == address(one.chunk(0))
    assert julia.total(one) == 6
    assert julia.total(pa.chunked_array([[], [1, 2]], pa.int64())) == 3
    two = pa.chunked_array([[1], [2]])
    with pytest.raises(TypeError, match=r"2 chunks.*combine_chunks\(\).*rechunk\(\)"):
        bb.wrap(two)
    assert julia.same(two) is two
    with pytest.raises(TypeError, match=r"stays a Python object.*2 chunks.*combine_chunks\(\)"):
        julia.anytype(two)
    assert julia.total(two.combine_chunks()) == 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: pa.array([[1]]), "lists.*flattened"),
        (lambda: pa.array([[1]], pa.list_(pa.int8(), 1)), "lists of a fixed size"),
        (lambda: pa.array([{"a": 1}]), "structs.*fields"),
        (lambda: pa.array([1.5]).cast(pa.decimal128(5, 1)), "decimals.*cast"),
        (lambda: pa.array(["a"]).dictionary_encode(), r"dictionary_decode\(\)"),
        (lambda: pa.array([b"ab"], pa.binary(2)), "fixed size.*cast"),
        (lambda: pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())), "maps"),
        (lambda: pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]), "unions"),
        (lambda: pa.RunEndEncodedArray.from_arrays([1], [1]), "run-end"),
        (lambda: pa.record_batch({"a": [1]}), r"structs.*bufferbridge\.table\(x\)"),
    ],
)
def test_types_that_julia_has_no_array_for(julia, make, says):
    array = make()
    with pytest.raises(TypeError, match=says):
        bb.wrap(array)
    assert julia.same(array) is array
    with pytest.raises(TypeError, match=says):
        julia.anytype(array)


def test_what_is_held_goes():
    collect_both()
    before = collect_both()
    arrays = [pa.array([1, None, 3]), pa.array(["a", None]), pa.array([True]), pa.array([1.5])]
    held = [bb.wrap(a) for a in arrays]
    allocated = pa.total_allocated_bytes()
    assert bb.stats()["pinned_buffers"] == before["pinned_buffers"] + 2 + 3 + 1 + 1
    del arrays
    assert pa.total_allocated_bytes() == allocated
    assert [list(x) for x in held] == [[1, None, 3], ["a", None], [True], [1.5]]
    del held
    after = collect_both()
    assert {k: after[k] for k in before} == before
    assert pa.total_allocated_bytes() < allocated


def test_julia_keeps_arrows_memory():
    bb.Main.arrow_kept = bb.wrap(pa.array(np.arange(100_000.0)))
    gc.collect()
    assert bb.eval("sum(arrow_kept)") == sum(range(100_000))
    bb.eval("arrow_kept = nothing")


def test_a_loop_does_not_fill_memory(julia):
    for _ in range(50):
        julia.total(pa.array(np.zeros(1_000_000)))
    assert bb.stats()["pinned_bytes"] < 600 << 20


def test_there_and_back():
    for values in ([1, None, 3], ["a", None, "b" * 20], [True, None, False], [1.5, 2.5], [b"a"]):
        for part in (slice(None), slice(1, None)):
            for array in (pa.array(values)[part], pa.chunked_array([values[part]])):
                back = bb.to_arrow(bb.wrap(array))
                back.validate(full=True)
                assert back.to_pylist() == values[part]
    text = pa.array(["a", None, "bc"], pa.large_string())
    assert bb.to_arrow(bb.wrap(text)).buffers()[2].address == text.buffers()[2].address
    numbers = pa.array([1, None, 3])
    assert address(bb.to_arrow(bb.wrap(numbers))) == address(numbers)


# ----------------------------------------------------------------- to_arrow


@pytest.mark.parametrize(
    ("code", "type_", "values"),
    [
        ("[true, false]", "bool", [True, False]),
        ("BitVector([true, false, true])", "bool", [True, False, True]),
        ('["a", "äö"]', "large_string", ["a", "äö"]),
        ('["a", missing]', "large_string", ["a", None]),
        ("[:a, :b]", "large_string", ["a", "b"]),
        ("['x', missing]", "large_string", ["x", None]),
        ("[1, missing, 3]", "int64", [1, None, 3]),
        ("Union{Int,Missing}[1, 2]", "int64", [1, 2]),
        ("Union{Int8,Missing}[missing]", "int8", [None]),
        ("[true, missing]", "bool", [True, None]),
        ("[missing, missing]", "null", [None, None]),
        ("1:3", "int64", [1, 2, 3]),
        ("view([1, 2, 3], 1:2:3)", "int64", [1, 3]),
        ("Any[1, 2]", "int64", [1, 2]),
        ("[UInt8[1, 2], UInt8[]]", "large_binary", [b"\1\2", b""]),
        ("String[]", "large_string", []),
        ("import Dates; [Dates.Date(1969), Dates.Date(2024, 2, 29)]", "date32[day]", None),
        ("import Dates; [Dates.DateTime(1969), missing]", "timestamp[ms]", None),
        ("import Dates; [Dates.Time(1, 2, 3)]", "time64[ns]", None),
        ("import Dates; [Dates.Second(1)]", "duration[s]", None),
        ("import Dates; [Dates.Minute(1)]", "duration[s]", None),
    ],
)
def test_to_arrow(code, type_, values):
    x = bb.eval(code)
    array = bb.to_arrow(x)
    array.validate(full=True)
    assert str(array.type) == type_
    got = array.to_pylist()
    assert got == (list(x) if values is None else values)


def test_to_arrow_shares_what_it_can():
    x = bb.eval("Union{Float64,Missing}[1.5, missing, 3.5]")
    array = bb.to_arrow(x)
    x[0] = 9.0
    assert array.to_pylist() == [9.0, None, 3.5]
    bits = bb.eval("trues(100)")
    array = bb.to_arrow(bits)
    bits[3] = False
    assert array.to_pylist().index(False) == 3
    seconds = bb.eval("import Dates; Dates.Nanosecond.(1:10)")
    assert address(bb.to_arrow(seconds)) == bb.Base.reinterpret(bb.Base.Int64, seconds)._address


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("[1im]", "no type for elements of type Complex"),
        ('Any[1, "a"]', "no type for elements of type Any"),
        ("[(1, 2)]", "no type for elements"),
        ('["\\xff"]', "Unicode text only"),
        ("BigInt[1]", "no type for elements of type BigInt"),
    ],
)
def test_elements_that_arrow_has_not(code, says):
    with pytest.raises(ValueError, match=says):
        bb.to_arrow(bb.eval(code))


def test_what_is_no_vector():
    with pytest.raises(TypeError, match="2 axes"):
        bb.to_arrow(bb.eval("zeros(2, 2)"))
    with pytest.raises(TypeError, match="vector or a table"):
        bb.to_arrow(bb.Base.sum)
    with pytest.raises(TypeError, match="vector or a table"):
        bb.to_arrow([1, 2])


# ----------------------------------------------------------- other libraries


def test_polars_series(julia):
    pl = pytest.importorskip("polars", reason="needs polars, which this platform has no wheel of")
    x = bb.eval("collect(1.0:5.0)")
    series = pl.Series("x", x)
    assert series.to_numpy(allow_copy=False).__array_interface__["data"][0] == x._address
    assert series.sum() == 15
    series = pl.Series([1, 2, 3])
    taken = bb.wrap(series)
    assert taken._address == series.to_numpy(allow_copy=False).__array_interface__["data"][0]
    assert julia.total(series) == 6
    assert list(bb.wrap(pl.Series(["a", None, "a long text, really"]))) == [
        "a",
        None,
        "a long text, really",
    ]
    assert list(bb.wrap(pl.Series([True, None]))) == [True, None]
    with pytest.raises(TypeError, match=r"rechunk\(\)"):
        bb.wrap(pl.concat([series, series], rechunk=False))
    with pytest.raises(TypeError, match=r"cast\(pl.String\)"):
        bb.wrap(pl.Series(["a"], dtype=pl.Categorical))


def test_nanoarrow(julia):
    na = pytest.importorskip("nanoarrow", reason="needs nanoarrow")
    x = bb.eval("Int32[1, 2, 3]")
    array = na.c_array(x)
    assert array.length == 3
    assert array.buffers[1] == x._address
    del array
    assert julia.total(na.c_array([1, 2, 3], na.int64())) == 6
    assert list(bb.wrap(na.c_array([1, None], na.int32()))) == [1, None]


def test_a_producer_of_ones_own(julia):
    class Producer:
        def __init__(self, array):
            self.array = array

        def __arrow_c_array__(self, requested_schema=None):
            return self.array.__arrow_c_array__(requested_schema)

    assert julia.total(Producer(pa.array([1, 2]))) == 3
    with pytest.raises(ZeroDivisionError):
        julia.total(type("Bad", (), {"__arrow_c_array__": lambda self: 1 / 0})())
    for wrong in (None, (1, 2), (1,), pa.array([1]).__arrow_c_array__()[::-1]):
        bad = type("Bad", (), {"__arrow_c_array__": lambda self, wrong=wrong: wrong})()
        with pytest.raises(TypeError):
            bb.wrap(bad)


# ----------------------------------------------------- arrays that can't be true


class Made:
    """Two int64 or strings as an Arrow array by hand, of which something may be changed."""

    kept: list[object] = []  # what C has pointers to: for ever

    def __init__(self, strings=False, *, schema=None, array=None):
        self.released = []
        data = np.array([0, 1, 2], "i4") if strings else np.array([1, 2])
        buffers = (ctypes.c_void_p * 3)(None, data.ctypes.data, data.ctypes.data)
        self.schema = ArrowSchema(format=b"u" if strings else b"l", name=b"", flags=2)
        self.array = ArrowArray(length=2, n_buffers=3 if strings else 2)
        self.array.buffers = ctypes.cast(buffers, ctypes.POINTER(ctypes.c_void_p))
        self.schema.release = self._release(RELEASE_SCHEMA, "schema")
        self.array.release = self._release(RELEASE, "array")
        for struct, change in ((self.schema, schema), (self.array, array)):
            if change is not None:
                change(struct)
        self.kept.append((self.schema, self.array, data, buffers))
        self.capsules = (
            _capsule(ctypes.addressof(self.schema), b"arrow_schema", None),
            _capsule(ctypes.addressof(self.array), b"arrow_array", None),
        )

    def _release(self, type_, name):
        def release(struct):
            struct.contents.release = type_()
            self.released.append(name)

        callback = type_(release)
        self.kept.append(callback)
        return callback

    def __arrow_c_array__(self, requested_schema=None):
        return self.capsules


def _set(**values):
    def change(struct):
        for name, value in values.items():
            setattr(struct, name, value)

    return change


def _null_buffer(i):
    def change(struct):
        struct.buffers[i] = None

    return change


_NO_BUFFERS = ctypes.POINTER(ctypes.c_void_p)()


@pytest.mark.parametrize(
    ("strings", "schema", "array", "says"),
    [
        (False, None, _set(length=-1), "length"),
        (False, None, _set(offset=-1), "offset"),
        (False, None, _set(null_count=3), "number of nulls"),
        (False, None, _set(null_count=-2), "number of nulls"),
        (False, None, _set(null_count=1), "no validity bitmap"),
        (False, None, _set(length=2**62), "address space"),
        (False, None, _set(length=2**62, offset=2**62), "address space"),
        (False, None, _set(n_buffers=1), "number of buffers"),
        (False, None, _set(n_buffers=3), "number of buffers"),
        (False, None, _set(n_buffers=-1), "buffers are missing"),
        (False, None, _set(buffers=_NO_BUFFERS), "buffers are missing"),
        (False, None, _set(n_children=1), "children"),
        (False, None, _set(n_children=-1), "children"),
        (False, None, _null_buffer(1), "data buffer is missing"),
        (True, None, _null_buffer(1), "data buffer is missing"),
        (True, None, _null_buffer(2), "offsets or its bytes"),
        (True, None, _set(n_buffers=2), "number of buffers"),
        (False, _set(format=None), None, "no format"),
        (False, _set(n_children=1), None, "children"),
        (False, _set(n_children=-1), None, "children"),
        (False, _set(format=b"+s", n_children=1), _set(n_children=1, n_buffers=1), "children"),
        (False, _set(format=b"vu"), None, "number of buffers"),
        (False, _set(release=RELEASE_SCHEMA()), None, "released already"),
        (False, None, _set(release=RELEASE()), "released already"),
    ],
)
def test_malformed(strings, schema, array, says):
    made = Made(strings, schema=schema, array=array)
    with pytest.raises(BufferError, match=says):
        bb.wrap(made)
    assert made.released in ([], ["array"])


@pytest.mark.parametrize("answer", [None, 5, (), (1, 2), (1, 2, 3), "ab"])
def test_answers_that_are_none(answer):
    names = ("__arrow_c_array__", "__arrow_c_stream__")
    for name, says in zip(names, ("a pair of capsules", "a capsule")):
        producer = type("Producer", (), {name: lambda self: answer})()
        with pytest.raises(TypeError, match=f"{name} must give {says}"):
            bb.wrap(producer)


def test_a_tuple_is_not_what_is_in_it():
    with pytest.raises(TypeError, match="'tuple' has no memory to share.*Arrow.*asarray"):
        bb.wrap((pa.array([1]),))


def test_a_class_that_takes_its_array_back():
    class Producer:
        def __arrow_c_array__(self, requested_schema=None):
            return pa.array([1]).__arrow_c_array__()

    class Other(Producer):
        __arrow_c_array__ = None

    assert bb.wrap(Producer())[0] == 1
    other = Other()
    assert bb.Base.identity(other) is other
    with pytest.raises(TypeError, match="no memory to share"):
        bb.wrap(other)


def test_what_can_not_be_lent():
    with pytest.raises(TypeError, match=r"no memory to share.*bufferbridge\.wrap\(x\)"):
        bb.borrow(pa.array(["a"])).__enter__()


def test_unknown_formats():
    for format_ in (b"", b"x", b"+", b"ts", b"tsx:", b"tss", b"tDx", b"d:", b"\xff"):
        made = Made(schema=_set(format=format_))
        with pytest.raises((TypeError, UnicodeDecodeError)):
            bb.wrap(made)
        assert made.released in ([], ["array"])


def test_release_comes_once():
    made = Made()
    x = bb.wrap(made)
    assert list(x) == [1, 2]
    assert made.released == []
    assert not made.array.release  # moved
    with pytest.raises(BufferError, match="released already"):
        bb.wrap(made)
    del x
    collect_both()
    assert made.released == ["array"]


def test_offsets_that_lead_elsewhere():
    offsets = np.array([0, 100_000, -5, 1, 1], "i4")
    array = pa.Array.from_buffers(pa.string(), 4, [None, pa.py_buffer(offsets), pa.py_buffer(b"a")])
    x = bb.wrap(array)
    for i in range(3):
        with pytest.raises(ValueError, match="offsets lead out of its memory"):
            x[i]
    assert x[3] == ""
    views = np.array([[13, 0, 7, 0], [13, 0, 0, 100], [-1, 0, 0, 0], [13, 0, -1, 0]], "i4")
    array = pa.Array.from_buffers(
        pa.string_view(), 4, [None, pa.py_buffer(views.tobytes()), pa.py_buffer(b"a" * 20)]
    )
    x = bb.wrap(array)
    for i in range(4):
        with pytest.raises(ValueError, match="offsets lead out of its memory"):
            x[i]


def test_streams_that_fail():
    def batches():
        yield pa.record_batch({"a": [1]})
        raise ValueError("no more of it")

    schema = pa.schema([("a", pa.int64())])
    with pytest.raises((OSError, ValueError), match="no more of it"):
        bb.table(pa.RecordBatchReader.from_batches(schema, batches()))
    used = pa.table({"a": [1]}).__arrow_c_stream__()
    stream = type("Stream", (), {"__arrow_c_stream__": lambda self: used})()
    assert list(bb.table(stream).a) == [1]
    with pytest.raises(BufferError, match="used up"):
        bb.table(stream)


def test_readers_are_not_used_up_as_arguments(julia):
    reader = pa.table({"a": [1, 2]}).to_reader()
    assert julia.same(reader) is reader
    assert list(bb.table(reader).a) == [1, 2]
