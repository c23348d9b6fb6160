"""DLPack, both ways: against NumPy, torch, jax and pandas, and against capsules made by ctypes."""

from __future__ import annotations

import ctypes
import gc
import importlib
import re
import sys
import threading
import warnings
import weakref

import numpy as np
import pytest

import bufferbridge as bb

from .conftest import collect_both

identity = bb.Base.identity
type_of = bb.eval("x -> string(typeof(x))")
array_type = bb.eval("x -> string(x isa Array, ' ', eltype(x), ' ', size(x))")
address_of = bb.eval("x -> Int(pointer(x))")


@pytest.fixture(autouse=True)
def _start():
    """What earlier tests have left (in tracebacks of failures, for one) does not count."""
    start.update(bb.stats())


start: dict[str, int] = {}


def exports():
    return bb.stats()["exports"] - start["exports"]


def pinned():
    return collect_both()["pinned_buffers"] - start["pinned_buffers"]


def library(name):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except (ImportError, OSError) as e:  # or what it was built for is not here
        return pytest.skip(f"{name} is not installed: {e}")


# ------------------------------------------------------------- capsules, by ctypes


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


DELETER = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


class Unversioned(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", DELETER)]
    name = b"dltensor"


class Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]
    name = b"dltensor_versioned"


api = ctypes.pythonapi
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_GetName.restype = ctypes.c_char_p
api.PyCapsule_GetName.argtypes = [ctypes.py_object]
api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]


def contents(capsule):
    """The struct in a capsule."""
    class_ = Versioned if api.PyCapsule_GetName(capsule) == Versioned.name else Unversioned
    return class_.from_address(api.PyCapsule_GetPointer(capsule, class_.name))


_alive: dict[int, tuple[Producer, ctypes.Structure]] = {}  # by the address of what was given


@DELETER
def _delete(address):
    producer, _ = _alive.pop(address)
    producer.delete()


class Producer:
    """Gives tensors of an ndarray's memory, as a library of any age or none would."""

    def __init__(self, a, class_=Versioned, flags=0, name=None, major=1, **changes):
        self.array = a
        self.deleted = 0
        n = a.ndim
        self.shape = (ctypes.c_int64 * max(n, 1))(*a.shape)
        self.strides = (ctypes.c_int64 * max(n, 1))(*(s // a.itemsize for s in a.strides))
        kind = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}[a.dtype.kind]
        self.tensor = Tensor(
            a.ctypes.data, 1, 0, n, kind, 8 * a.itemsize, 1, self.shape, self.strides, 0
        )
        for k, v in changes.items():
            setattr(self.tensor, k, v)
        self.class_, self.flags, self.name, self.major = class_, flags, name or class_.name, major
        self.asked = []

    def delete(self):
        self.deleted += 1
        self.by = threading.get_ident()

    def capsule(self):
        managed = self.class_(tensor=self.tensor, deleter=_delete)
        if self.class_ is Versioned:
            managed.major, managed.flags = self.major, self.flags
        address = ctypes.addressof(managed)
        _alive[address] = self, managed
        return api.PyCapsule_New(address, self.name, None)  # without a destructor

    def __dlpack__(self, **kwargs):
        self.asked.append(kwargs)
        return self.capsule()

    def __dlpack_device__(self):
        return (1, 0)


class OldProducer(Producer):
    def __dlpack__(self, stream=None):
        self.asked.append({})
        return self.capsule()


# ----------------------------------------------------------------- out: the tensor itself

ELEMENTS = {
    "Bool": (6, 8),
    "Int8": (0, 8),
    "UInt8": (1, 8),
    "Int16": (0, 16),
    "UInt16": (1, 16),
    "Int32": (0, 32),
    "UInt32": (1, 32),
    "Int64": (0, 64),
    "UInt64": (1, 64),
    "Float16": (2, 16),
    "Float32": (2, 32),
    "Float64": (2, 64),
    "ComplexF32": (5, 64),
    "ComplexF64": (5, 128),
}


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (1, 3), (2, 0)], ids=str)
def test_the_tensor(element, version):
    x = bb.eval(f"zeros({element}, 2, 3, 4)")
    capsule = x.__dlpack__(max_version=version)
    managed = contents(capsule)
    assert type(managed) is (Versioned if version and version[0] >= 1 else Unversioned)
    if type(managed) is Versioned:
        assert (managed.major, managed.minor, managed.flags) == (1, 0, 0)
    t = managed.tensor
    assert (t.data, t.byte_offset) == (x._address, 0)
    assert (t.device_type, t.device_id) == x.__dlpack_device__() == (1, 0)
    assert (t.code, t.bits, t.lanes) == (*ELEMENTS[element], 1)
    assert t.ndim == 3
    assert t.shape[:3] == [2, 3, 4]
    assert t.strides[:3] == [1, 2, 6]


@pytest.mark.parametrize(
    "code, shape, strides",
    [
        ("fill(1.0)", (), ()),
        ("zeros(0)", (0,), None),
        ("zeros(2, 0, 3)", (2, 0, 3), None),
        ("transpose(zeros(2, 3))", (3, 2), (2, 1)),
        ("view(zeros(6), 1:2:6)", (3,), (2,)),
        ("view(zeros(4, 4), 2:3, [1])", None, None),
        ("view(zeros(4, 4), 2:3, 4)", (2,), (1,)),
        ("PermutedDimsArray(zeros(2, 3, 4), (3, 1, 2))", (4, 2, 3), (6, 1, 2)),
    ],
)
def test_layouts(code, shape, strides):
    x = bb.eval(code)
    if shape is None:
        with pytest.raises(BufferError):
            x.__dlpack__()
        return
    t = contents(capsule := x.__dlpack__(max_version=(1, 0))).tensor
    assert tuple(t.shape[: t.ndim]) == shape
    assert strides is None or tuple(t.strides[: t.ndim]) == strides
    assert t.data == (x._address if x.size else None)
    assert np.from_dlpack(x).shape == shape
    del capsule


def test_read_only_memory_says_so():
    x = bb.wrap(b"abc")
    assert contents(x.__dlpack__(max_version=(1, 0))).flags == 1
    with pytest.raises(BufferError, match=r"read-only.*bufferbridge\.Base\.copy"):
        x.__dlpack__()
    assert contents(bb.Base.copy(x).__dlpack__()).tensor.ndim == 1
    a = np.from_dlpack(x)
    assert a.tobytes() == b"abc"
    assert not a.flags.writeable


@pytest.mark.parametrize(
    "code, match",
    [
        ("[(a=1, b=2.0)]", r"no type for the elements.*x\['name'\]"),
        ("[(1.0, 2.0)]", "no type"),
        ('["a"]', "String"),
        ("Any[1]", "Any"),
        ("1:3", "range"),
        ("trues(3)", "BitArray|BitVector|bits"),
        ("[1, missing]", "Union"),
    ],
)
def test_what_dlpack_does_not_know(code, match):
    with pytest.raises(BufferError, match=match):
        bb.eval(code).__dlpack__(max_version=(1, 0))
    assert exports() == 0


def test_layouts_that_dlpack_does_not_know():
    swapped = bb.wrap(np.arange(3).astype(">i4"))
    with pytest.raises(BufferError, match="swapped.*copy=True"):
        swapped.__dlpack__()
    assert np.from_dlpack(swapped, copy=True).tolist() == [0, 1, 2]
    records = np.zeros(3, dtype=[("a", "u1"), ("b", "<f4"), ("c", "<f8")])
    records["b"] = [1, 2, 3]
    packed = bb.wrap(records)["b"]
    with pytest.raises(BufferError, match="strides in items.*13 bytes for items of 4.*copy=True"):
        packed.__dlpack__()
    assert np.from_dlpack(packed, copy=True).tolist() == [1, 2, 3]
    backwards = bb.eval("view([1.0, 2, 3], 3:-1:1)")
    with pytest.raises(BufferError, match="negative strides.*copy=True"):
        backwards.__dlpack__()
    assert np.from_dlpack(backwards, copy=True).tolist() == [3, 2, 1]
    unaligned = bb.wrap(np.zeros(17, "u1")[1:].view("f8"))
    with pytest.raises(BufferError, match="not aligned.*copy=True"):
        unaligned.__dlpack__()
    assert np.from_dlpack(unaligned, copy=True).tolist() == [0, 0]


def test_copies_on_request():
    x = bb.eval("[1.0, 2.0]")
    capsule = x.__dlpack__(max_version=(1, 0), copy=True)
    assert contents(capsule).flags == 2
    assert contents(capsule).tensor.data != x._address
    assert contents(x.__dlpack__(max_version=(1, 0), copy=False)).flags == 0
    assert contents(bb.wrap(b"abc").__dlpack__(max_version=(1, 0), copy=True)).flags == 2
    assert np.from_dlpack(bb.eval("1:3"), copy=True).tolist() == [1, 2, 3]
    assert np.from_dlpack(bb.eval("[true true]"), copy=True).tolist() == [[True, True]]
    with pytest.raises(BufferError, match="no type.*numpy.asarray"):
        bb.eval('["a"]').__dlpack__(copy=True)
    with pytest.raises(BufferError, match="range"):
        bb.eval("1:3").__dlpack__(copy=False)


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"stream": 1}, BufferError, "stream must be None"),
        ({"stream": 0}, BufferError, "stream must be None"),
        ({"stream": "a"}, BufferError, "stream must be None"),
        ({"stream": 2**70}, BufferError, "stream must be None"),
        ({"dl_device": (2, 0)}, BufferError, "move it"),
        ({"dl_device": (1, 1)}, BufferError, "move it"),
        ({"dl_device": "cpu"}, TypeError, "dl_device must be a tuple"),
        ({"max_version": 1}, TypeError, "max_version must be a tuple"),
        ({"max_version": (1,)}, TypeError, "max_version must be a tuple"),
        ({"max_version": (1, "a")}, TypeError, "integer"),
        ({"max_version": (2**70, 0)}, OverflowError, "int"),
        ({"copy": 1}, TypeError, "True, False or None"),
        ({"other": 1}, TypeError, "unexpected keyword argument 'other'"),
    ],
    ids=repr,
)
def test_bad_arguments(arguments, error, match):
    x = bb.eval("[1.0]")
    with pytest.raises(error, match=match):
        x.__dlpack__(**arguments)
    with pytest.raises(TypeError, match="keyword arguments only"):
        x.__dlpack__(1)


def test_arguments_that_mean_nothing_else():
    x = bb.eval("[1.0]")
    for stream in (None, -1):
        assert contents(x.__dlpack__(stream=stream, dl_device=(1, 0))).tensor.data == x._address


# ------------------------------------------------------------------ out: lifetimes


def test_a_capsule_that_nobody_consumes():
    x = bb.eval("[1.0]")
    before = bb.stats()
    capsules = [x.__dlpack__(), x.__dlpack__(max_version=(1, 0))]
    assert bb.stats()["exports"] == before["exports"] + 2
    del capsules
    assert bb.stats() == before


def test_a_tensor_keeps_its_memory():
    a = np.from_dlpack(bb.eval("fill(7.0, 100_000)"))
    collect_both()
    bb.eval("[fill(8.0, 100_000) for _ in 1:20]; nothing")
    assert (a == 7).all()
    assert exports() == 1
    del a
    assert exports() == 0


def test_a_tensor_forbids_to_move_a_vector():
    x = bb.eval("collect(1.0:1000.0)")
    a = np.from_dlpack(x)
    if bb.julia_version < (1, 11):
        with pytest.raises(bb.JuliaError, match="shared data"):
            bb.Base.resize_b(x, 100_000)
    else:
        bb.Base.resize_b(x, 100_000)
    assert a[999] == 1000


def test_a_vector_that_was_resized_before():
    x = bb.eval("collect(1.0:3.0)")
    bb.Base.append_b(x, bb.eval("zeros(100_000)"))
    a = np.from_dlpack(x)
    assert a.shape == (100_003,)
    assert a.ctypes.data == address_of(x)


def test_borrowed_memory():
    data = bytearray(b"abc")
    with bb.borrow(data) as x:
        assert np.from_dlpack(x).tolist() == [97, 98, 99]
    data.extend(b"d")
    with pytest.raises(BufferError, match="block ends while 1 buffer"), bb.borrow(data) as x:
        a = np.from_dlpack(x)
    with pytest.raises(BufferError):
        data.extend(b"e")
    with pytest.raises(BufferError, match="has ended"):
        x.__dlpack__()
    del a
    bb.stats()
    data.extend(b"e")


def test_deleters_on_other_threads_without_the_gil():
    class WithoutGil:
        def __init__(self, capsule):
            managed = contents(capsule)
            address = ctypes.addressof(managed)
            deleter = ctypes.cast(managed.deleter, ctypes.c_void_p).value
            api.PyCapsule_SetName(capsule, b"used_" + type(managed).name)
            self.delete = lambda: ctypes.CFUNCTYPE(None, ctypes.c_void_p)(deleter)(address)

    x = bb.eval("[1.0]")
    tensors = [WithoutGil(x.__dlpack__(max_version=v)) for v in [None, (1, 0)] for _ in range(500)]
    assert exports() == 1000
    halves = tensors[:500], tensors[500:]
    threads = [threading.Thread(target=lambda h=h: [t.delete() for t in h]) for h in halves]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        bb.stats()
    assert exports() == 0


def test_deleters_after_the_end(run_python):
    """Julia has stopped when the last ones are called, and Python is about to."""
    run_python(
        """
        import bufferbridge as bb, numpy as np, atexit, sys
        kept = []
        atexit.register(lambda: kept.clear())         # after Julia: registered before it
        x = bb.eval("collect(1.0:1000.0)")
        atexit.register(lambda: (kept.pop(), bb.stats()))  # before
        kept += [np.from_dlpack(x) for _ in range(10)] + [x.__dlpack__()]
        sys.late = np.from_dlpack(x)                   # while Python takes itself apart
        sys.capsule = x.__dlpack__(max_version=(1, 0))
        assert sys.late.sum() == 500500.0
        """
    )


def test_other_threads_may_ask():
    x = bb.eval("[1.0, 2.0]")
    seen = []
    t = threading.Thread(target=lambda: seen.append(np.from_dlpack(x)))
    t.start()
    t.join()
    assert seen[0].tolist() == [1, 2]


# --------------------------------------------------------------------------- in


@pytest.mark.parametrize("class_", [Versioned, Unversioned])
@pytest.mark.parametrize("element", ELEMENTS)
def test_elements(class_, element):
    dtype = np.asarray(bb.eval(f"zeros({element}, 1)")).dtype
    a = np.arange(3).astype(dtype)
    assert array_type(Producer(a, class_)) == f"true {bb.eval(element)} (3,)"
    x = bb.from_dlpack(Producer(a, class_))
    assert np.asarray(x).dtype == a.dtype
    assert np.asarray(x).tolist() == a.tolist()
    assert x._address == a.ctypes.data


LAYOUTS = {
    "vector": np.arange(6.0),
    "row-major": np.arange(6.0).reshape(2, 3),
    "column-major": np.arange(6.0).reshape(2, 3).T,
    "3-d": np.arange(24.0).reshape(2, 3, 4),
    "strided": np.arange(24.0).reshape(4, 6)[::2, 1::2],
    "negative": np.arange(6.0)[::-1],
    "broadcast": np.broadcast_to(np.arange(3.0), (2, 3)),
    "empty": np.zeros((0, 3)),
    "0-d": np.array(5.0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_becomes_what_a_buffer_becomes(layout):
    a = LAYOUTS[layout]
    flags = 0 if a.flags.writeable else 1
    producer = Producer(a, flags=flags)
    assert type_of(producer) == type_of(a)
    assert type_of(bb.wrap(producer)) == type_of(bb.wrap(a))
    assert type_of(bb.eval("BufferBridge.PyArray")(bb.pyobject(producer))) == type_of(bb.wrap(a))
    for x in (identity(producer), bb.from_dlpack(producer), bb.wrap(producer)):
        assert np.array_equal(np.asarray(x), a)
        assert x.readonly == (not a.flags.writeable)
    if a.size and a.flags.writeable:
        bb.eval("x -> x[end] = -1")(producer)
        assert a[(-1,) * a.ndim] == -1


def test_no_strides_are_row_major():
    a = np.arange(6.0).reshape(2, 3)
    assert np.asarray(identity(Producer(a, strides=None))).tolist() == a.tolist()


def test_byte_offset():
    a = np.arange(6.0)
    x = identity(Producer(a[:4], byte_offset=16))
    assert np.asarray(x).tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("device_type", [1, 3, 11])
def test_devices_of_host_memory(device_type):
    assert identity(Producer(np.arange(3.0), device_type=device_type)).shape == (3,)


def test_the_newest_protocol_is_asked_first():
    p = Producer(np.arange(3.0))
    identity(p)
    bb.from_dlpack(p, device="cpu")
    bb.from_dlpack(p, device=(1, 0), copy=False)
    newest = {"max_version": (1, 0)}
    device = {"dl_device": (1, 0)}
    assert p.asked == [newest, newest | device, newest | device | {"copy": False}]


def test_old_producers_are_asked_as_they_can_be():
    a = np.arange(3.0)
    p = OldProducer(a, Unversioned)
    x = identity(p)
    assert not x.readonly
    assert x._address == a.ctypes.data
    assert bb.from_dlpack(p, copy=False)._address == a.ctypes.data
    assert p.asked == [{}, {}]


def test_copies_have_to_be_asked_for():
    a = np.arange(3.0)
    p = Producer(a, flags=2)
    for f in (identity, bb.wrap, lambda x: bb.from_dlpack(x, copy=False)):
        with pytest.raises(BufferError, match="has made a copy"):
            f(p)
    assert bb.from_dlpack(p)._address == a.ctypes.data
    for q in (p, Producer(a), OldProducer(a, Unversioned), Producer(a, flags=1)):
        x = bb.from_dlpack(q, copy=True)
        assert type_of(x) in ("Array{Float64,1}", "Vector{Float64}")
        assert x._address != a.ctypes.data
        assert not x.readonly


@pytest.mark.parametrize("class_", [Versioned, Unversioned])
def test_the_deleter_is_called_once(class_):
    start.update(collect_both())
    p = Producer(np.arange(3.0), class_)
    x = bb.from_dlpack(p)
    view = memoryview(x)
    assert pinned() == 1
    assert p.deleted == 0
    del x
    collect_both()
    assert p.deleted == 0
    del view
    assert pinned() == 0
    assert p.deleted == 1
    assert p.by == threading.get_ident()


def test_a_deleter_that_raises():
    class Raising(Producer):
        def delete(self):
            self.deleted += 1
            raise ValueError("in a deleter")

    p = Raising(np.arange(3.0))
    seen = []
    old, sys.unraisablehook = sys.unraisablehook, lambda args: seen.append(args.exc_type)
    try:
        bb.from_dlpack(p)
        collect_both()
    finally:
        sys.unraisablehook = old
    assert seen == [ValueError]
    assert p.deleted == 1


def test_no_deleter():
    p = Producer(np.arange(3.0))
    capsule = p.capsule()
    contents(capsule).deleter = DELETER()
    assert bb.from_dlpack(capsule).shape == (3,)
    collect_both()


def test_a_producer_is_shown_as_held():
    p = Producer(np.arange(3.0))
    x = bb.from_dlpack(p)
    (held,) = [h for h in bb.stats(detail=True)["held_by_julia"] if h.object is p]
    assert (held.kind, held.bytes) == ("buffer", 24)
    del held, x
    collect_both()


@pytest.mark.parametrize("class_", [Versioned, Unversioned])
def test_capsules(class_):
    p = Producer(np.arange(3.0), class_)
    capsule = p.capsule()
    assert bb.from_dlpack(capsule).shape == (3,)
    assert api.PyCapsule_GetName(capsule) == b"used_" + class_.name
    with pytest.raises(BufferError, match="used already"):
        bb.from_dlpack(capsule)
    collect_both()
    assert p.deleted == 1


BAD = [
    ({"name": b"something"}, BufferError, "'something' is no DLPack tensor"),
    ({"name": b"used_dltensor"}, BufferError, "used already"),
    ({"name": b"used_dltensor_versioned"}, BufferError, "used already"),
    ({"major": 2}, BufferError, "version 2.0, and 1.x"),
    ({"major": 0}, BufferError, "version 0.0, and 1.x"),
    ({"ndim": -1}, BufferError, "not valid.*axes"),
    ({"ndim": 65}, BufferError, "not valid.*axes"),
    ({"shape": None}, BufferError, "not valid.*no shape"),
    ({"data": None}, BufferError, "not valid.*contradict"),
    ({"shape": (ctypes.c_int64 * 1)(-1)}, BufferError, "not valid"),
    ({"shape": (ctypes.c_int64 * 1)(2**62)}, BufferError, "not valid"),
    ({"strides": (ctypes.c_int64 * 1)(2**62)}, BufferError, "not valid.*stride"),
    ({"strides": (ctypes.c_int64 * 1)(2**59)}, BufferError, "not valid.*address space"),
    ({"byte_offset": 2**64 - 1}, BufferError, "not valid.*byte_offset"),
    ({"device_type": 2}, BufferError, r"\(2, 0\), which is CUDA.*x\.cpu\(\).*pyobject"),
    ({"device_type": 8, "device_id": 3}, BufferError, r"\(8, 3\), which is Metal"),
    ({"device_type": 13}, BufferError, "CUDA's managed"),
    ({"device_type": 0}, BufferError, "unknown"),
    ({"device_type": 99}, BufferError, "unknown"),
    ({"device_type": -5}, BufferError, "unknown"),
    ({"code": 4, "bits": 16}, BufferError, r"bfloat of 16 bits.*x\.float\(\)"),
    ({"code": 10, "bits": 8}, BufferError, "float8 of 8 bits"),
    ({"code": 17, "bits": 4}, BufferError, "float4 of 4 bits"),
    ({"code": 3, "bits": 64}, BufferError, "opaque handle"),
    ({"code": 200}, BufferError, "unknown of 64 bits"),
    ({"code": 0, "bits": 4}, BufferError, "int of 4 bits"),
    ({"bits": 128}, BufferError, "float of 128 bits"),
    ({"lanes": 4}, BufferError, "4 in one element"),
    ({"lanes": 0}, BufferError, "0 in one element"),
]


@pytest.mark.parametrize(
    "changes, error, match", BAD, ids=lambda x: re.sub(" at 0x.*?>", ">", str(x))[:60]
)
def test_bad_tensors(changes, error, match):
    before = bb.stats()["pinned_buffers"]
    p = Producer(np.arange(3.0), **changes)
    for f in (identity, bb.wrap, bb.from_dlpack):
        with pytest.raises(error, match=match):
            f(p)
    assert p.deleted in (
        0,
        3,
    )  # it is still the capsule's (these have no destructor), or deleted once
    assert bb.stats()["pinned_buffers"] == before


def test_more_axes_than_fit():
    a = np.zeros((1,) * 40 + (3,))
    if a.ndim != 41:
        pytest.skip("NumPy before 2 has no more than 32 axes")
    assert identity(Producer(a)).shape == a.shape


class Gives:
    def __init__(self, result):
        self.result = result

    def __dlpack__(self, **kwargs):
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def test_answers_that_are_no_tensors():
    for wrong in (None, 5, "dltensor"):
        with pytest.raises(TypeError, match="is no capsule"):
            bb.from_dlpack(Gives(wrong))
    reason = ValueError("not today")
    with pytest.raises(BufferError, match=r"ValueError: not today\).*pyobject") as e:
        identity(Gives(reason))
    assert e.value.__cause__ is reason
    for through in (KeyboardInterrupt(), MemoryError(), SystemExit()):
        with pytest.raises(type(through)) as e:
            identity(Gives(through))
        assert e.value is through
    with pytest.raises(BufferError, match="TypeError: always"):
        identity(Gives(TypeError("always")))


def test_what_is_no_producer():
    for wrong in (5, None, [1.0], object(), type("C", (), {"__dlpack__": None})):
        with pytest.raises(TypeError, match="has no __dlpack__"):
            bb.from_dlpack(wrong)
    with pytest.raises(TypeError, match="takes one positional argument"):
        bb.from_dlpack()
    with pytest.raises(TypeError, match="unexpected keyword argument 'dtype'"):
        bb.from_dlpack(np.zeros(1), dtype=float)
    with pytest.raises(BufferError, match="device must be 'cpu'"):
        bb.from_dlpack(np.zeros(1), device="cuda")
    with pytest.raises(BufferError, match="device must be 'cpu'"):
        bb.from_dlpack(np.zeros(1), device=(2, 0))
    with pytest.raises(TypeError, match="device must be 'cpu'"):
        bb.from_dlpack(np.zeros(1), device=1)


def test_masked_arrays_are_no_tensors():
    with pytest.raises(TypeError, match="mask"):
        bb.from_dlpack(np.ma.array([1.0, 2.0], mask=[True, False]))


def test_classes_are_no_tensors():
    assert "PyFunction" in type_of(Producer)
    with pytest.raises(TypeError, match="no memory to share"):
        bb.wrap(Producer)

    class Without:
        __dlpack__ = None

    assert "PyObject" in type_of(Without())


def test_what_only_the_instance_has():
    """Objects that have every attribute one asks for are not taken for tensors, unless told to."""

    class Mock:
        def __getattr__(self, name):
            if name == "__dlpack__":
                return Producer(np.arange(3.0)).__dlpack__
            raise AttributeError(name)

    assert "PyObject" in type_of(Mock())
    assert bb.from_dlpack(Mock()).shape == (3,)


def test_a_conversion_goes_before():
    class Special(Producer):
        pass

    bb.conversion(Special)(lambda p: p.array.tolist())
    try:
        assert identity(Special(np.arange(2.0)))[1] == 1.0
        bb.conversion(Special)(lambda p: NotImplemented)
        assert array_type(Special(np.arange(2.0))).startswith("true Float64")
    finally:
        bb.remove_conversion(Special)


def test_arrays_of_julia_come_back():
    x = bb.eval("reshape(collect(1.0:6.0), 2, 3)")
    y = bb.from_dlpack(x)
    assert y._address == x._address
    y[1, 2] = 60
    assert x[1, 2] == 60
    del y
    collect_both()
    assert exports() == 0


# ------------------------------------------------------------------------ NumPy


def test_numpy():
    a = np.arange(6.0).reshape(2, 3)
    x = bb.from_dlpack(a)
    assert x._address == a.ctypes.data
    x[1, 2] = 50
    assert a[1, 2] == 50
    a.flags.writeable = False
    x = bb.from_dlpack(a)
    assert x.readonly
    with pytest.raises(ValueError, match="read-only"):
        x[0, 0] = 1
    with pytest.raises(BufferError, match="BufferError|TypeError"):
        bb.from_dlpack(np.zeros(2, "M8[s]"))
    y = np.from_dlpack(bb.from_dlpack(np.arange(3)))
    assert y.tolist() == [0, 1, 2]


def test_ten_thousand_round_trips():
    a = np.arange(1000.0)
    x = bb.eval("collect(1.0:1000.0)")
    before = collect_both()
    for _ in range(5000):
        np.from_dlpack(x)
        bb.from_dlpack(a)
        bb.from_dlpack(x)
    assert collect_both() == before


def test_collections_count_the_bytes_of_tensors():
    held = weakref.WeakSet()
    most = 0
    for _ in range(120):
        a = np.empty(2_000_000)  # 16 MB
        p = Producer(a)
        held.add(p)
        identity(p)
        del a, p
        gc.collect(0)
        most = max(most, bb.stats()["pinned_bytes"])
    assert most < 800 << 20
    collect_both()
    assert not held


# ------------------------------------------------------------------------ torch


@pytest.fixture(scope="module")
def torch():
    return library("torch")


def test_julia_to_torch(torch):
    x = bb.eval("reshape(collect(1.0:6.0), 2, 3)")
    t = torch.from_dlpack(x)
    assert t.data_ptr() == x._address
    assert (t.dtype, tuple(t.shape), t.stride()) == (torch.float64, (2, 3), (1, 2))
    t[1, 2] = 60
    assert x[1, 2] == 60
    x[0, 0] = 10
    assert t[0, 0] == 10
    assert exports() == 1
    u = t[1:]
    del t
    assert exports() == 1
    del u
    assert exports() == 0


@pytest.mark.parametrize("element", ELEMENTS)
def test_elements_of_torch(torch, element):
    x = bb.eval(f"ones({element}, 2)")
    t = torch.from_dlpack(x)
    assert t.data_ptr() == x._address
    assert array_type(t) == f"true {bb.eval(element)} (2,)"
    assert identity(t)._address == x._address


def test_torch_to_julia(torch):
    t = torch.arange(6.0).reshape(2, 3)
    for x in (identity(t), bb.from_dlpack(t), bb.wrap(t)):
        assert x._address == t.data_ptr()
        assert np.asarray(x).tolist() == t.tolist()
    x[1, 2] = 50
    assert t[1, 2] == 50
    assert "Transpose" in type_of(t)
    assert array_type(t[0]) == "true Float32 (3,)"
    assert "PyStridedArray" in type_of(t[:, ::2])
    assert array_type(torch.tensor(5)) == "true Int64 ()"
    assert bb.Base.sum(t) == float(t.sum())
    with bb.borrow(t) as x:
        assert x._address == t.data_ptr()


def test_tensors_that_torch_does_not_export(torch):
    with pytest.raises(BufferError, match=r"require gradient.*x\.detach\(\) is"):
        identity(torch.zeros(3, requires_grad=True))
    z = torch.zeros(3, dtype=torch.complex64)
    with pytest.raises(BufferError, match=r"conjugate.*x\.resolve_conj\(\)"):
        identity(z.conj())
    assert identity(z.conj().resolve_conj()).shape == (3,)
    negated = torch.tensor([1 + 2j]).conj().imag  # which torch itself would export as 2.0
    for f in (identity, bb.wrap, bb.from_dlpack):
        with pytest.raises(BufferError, match=r"negated.*x\.resolve_neg\(\)"):
            f(negated)
    assert list(identity(negated.resolve_neg())) == [-2.0]
    with pytest.raises(BufferError, match=r"bfloat.*x\.float\(\)"):
        identity(torch.zeros(3, dtype=torch.bfloat16))
    with pytest.raises(BufferError, match=r"layout.*x\.to_dense\(\)"):
        identity(torch.eye(3).to_sparse())
    with pytest.raises(BufferError, match=r"meta.*pyobject"):
        identity(torch.zeros(3, device="meta"))
    assert "PyObject" in type_of(bb.pyobject(torch.zeros(3, device="meta")))


def test_torch_lives_as_long_as_julia_uses_it(torch):
    start.update(collect_both())
    t = torch.arange(100_000.0, dtype=torch.float64)
    x = bb.from_dlpack(t)
    del t
    collect_both()
    torch.full((100_000,), -1.0, dtype=torch.float64)
    assert bb.Base.sum(x) == sum(range(100_000))
    del x
    assert pinned() == 0


def test_torch_frees_on_its_own_threads(torch):
    """Autograd's thread lets go of a tensor that only it has."""
    x = bb.eval("ones(Float32, 10)")
    w = torch.ones(10, requires_grad=True)
    (w * torch.from_dlpack(x)).sum().backward()
    assert w.grad.tolist() == [1.0] * 10
    assert exports() == 0


# -------------------------------------------------------------------------- jax


@pytest.fixture(scope="module")
def jax():
    return library("jax")


def test_julia_to_jax(jax):
    # jax copies what is not aligned to 64 bytes. Julia's large arrays are, small ones need not be.
    x = bb.eval("collect(Float32, 1:100_000)")
    a = jax.dlpack.from_dlpack(x)
    assert a.unsafe_buffer_pointer() == x._address
    assert float(a[-1]) == 100_000
    del a
    gc.collect()
    assert exports() == 0


def test_jax_to_julia(jax):
    a = jax.numpy.arange(6.0, dtype="float32").reshape(2, 3)
    for x in (identity(a), bb.wrap(a), bb.from_dlpack(a)):
        assert x._address == a.unsafe_buffer_pointer()
        assert np.asarray(x).tolist() == a.tolist()
        assert x.readonly  # jax's capsules can't say so, but its buffers do
    with pytest.raises(BufferError, match="bfloat"):
        identity(jax.numpy.zeros(3, dtype="bfloat16"))


# ----------------------------------------------------------------------- pandas


def test_pandas_exchange_buffers():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 3 wants Arrow's instead
        column = pd.DataFrame({"a": [1.0, 2.0]}).__dataframe__().get_column_by_name("a")
    buffer, _ = column.get_buffers()["data"]
    x = bb.from_dlpack(buffer)  # its __dlpack__ takes no arguments
    assert x._address == buffer.ptr
    assert np.asarray(x).tolist() == [1, 2]


def test_arrow_arrays_that_are_no_tensors():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    a = pa.array([1, 2, 3])
    x = bb.from_dlpack(a)
    assert x._address == a.buffers()[1].address
    assert x.readonly  # as Arrow's arrays are
    with pytest.raises(BufferError, match="no nulls"):
        bb.from_dlpack(pa.array([1, None]))
    type_of(pa.array(["text"]))  # not refused
