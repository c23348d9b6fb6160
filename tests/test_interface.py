"""What objects without a buffer say of their memory: __array_interface__, __array_struct__.

And PEP 688 (Python 3.12): __buffer__ and collections.abc.Buffer.
"""

from __future__ import annotations

import ctypes
import gc
import inspect
import re
import sys
import weakref

import numpy as np
import pytest

import bufferbridge as bb

from .conftest import collect_both

identity = bb.Base.identity
type_of = bb.eval("x -> string(typeof(x))")
set_last = bb.eval("(x, v) -> (x[end] = v; nothing)")


# ------------------------------------------------------ __array_interface__ of memory


class Interface:
    """An object with __array_interface__ and nothing else."""

    def __init__(self, **interface):
        self.interface = {"version": 3, **interface}

    @property
    def __array_interface__(self):
        return self.interface


def test_data_as_a_buffer():
    data = bytearray(np.arange(6.0).tobytes())
    o = Interface(shape=(6,), typestr="<f8", data=data)
    x = identity(o)
    assert "Array{Float64,1}" in type_of(o) or "Vector{Float64}" in type_of(o)
    assert np.asarray(x).tolist() == [0, 1, 2, 3, 4, 5]
    set_last(x, 50)
    assert np.frombuffer(data)[5] == 50
    with pytest.raises(BufferError):
        data.extend(b"more")  # it is exported, and must not move
    del x, o
    collect_both()
    data.extend(b"more")


def test_data_as_bytes_is_read_only():
    x = identity(Interface(shape=(3,), typestr="|u1", data=b"abc"))
    assert x.readonly
    with pytest.raises(ValueError, match="read-only"):
        set_last(x, 1)


@pytest.mark.parametrize("data", ["absent", None])
def test_data_of_the_object_itself(data):
    class Exporter(bytearray):
        """An exporter that is another array by its interface is what the buffer says."""

        __array_interface__ = {"version": 3, "shape": (1,), "typestr": "<u4"}

    assert identity(Exporter(b"abcd")).shape == (4,)
    interface = {"shape": (1,), "typestr": "<u4"}
    if data is None:
        interface["data"] = None
    with pytest.raises(TypeError, match="an object that exports a buffer"):
        identity(Interface(**interface))


def test_offset():
    data = bytearray(range(16))
    x = identity(Interface(shape=(2, 3), typestr="|u1", data=data, offset=4, strides=(5, 2)))
    assert np.asarray(x).tolist() == [[4, 6, 8], [9, 11, 13]]
    x = identity(Interface(shape=(3,), typestr="|u1", data=data, offset=15, strides=(-7,)))
    assert np.asarray(x).tolist() == [15, 8, 1]
    x = identity(Interface(shape=(0,), typestr="|u1", data=data, offset=16))
    assert x.shape == (0,)


@pytest.mark.parametrize(
    "changes, error, match",
    [
        ({"shape": (17,)}, ValueError, "has 16 bytes.*more"),
        ({"offset": 1}, ValueError, "has 16 bytes.*more"),
        ({"shape": (9,), "strides": (2,)}, ValueError, "has 16 bytes.*more"),
        ({"shape": (2,), "strides": (-1,)}, ValueError, "has 16 bytes.*more"),
        ({"shape": (3,), "offset": 3, "strides": (-2,)}, ValueError, "has 16 bytes.*more"),
        ({"offset": 17}, ValueError, "'offset' 17 is outside"),
        ({"offset": -1}, ValueError, "'offset' -1 is outside"),
        ({"offset": "a"}, TypeError, "int"),
        ({"offset": 2**70}, OverflowError, "int"),
        ({"shape": (2**62, 2)}, BufferError, "not valid"),
        ({"shape": (2**61,), "typestr": "<u2", "strides": (2**62,)}, ValueError, "more"),
        ({"data": memoryview(bytes(32))[::2]}, BufferError, "contiguous"),
        ({"data": 5}, TypeError, "'data' must be a tuple.*or an object that exports"),
        ({"data": (0, False, 1)}, TypeError, "'data' must be a tuple"),
        ({"mask": np.zeros(16, bool)}, BufferError, "has a mask.*two arrays"),
        ({"shape": (2,), "typestr": "|O"}, TypeError, "references to objects"),
        (
            {"shape": (1,), "typestr": "|V16", "descr": [("O", "<f8"), ("x", "|O")]},
            TypeError,
            "references to objects",
        ),
        ({"shape": (1,) * 65}, TypeError, "64 dimensions"),
    ],
    ids=lambda x: re.sub(" at 0x.*?>", ">", str(x))[:60],
)
def test_what_is_refused(changes, error, match):
    o = Interface(**{"shape": (16,), "typestr": "|u1", "data": bytes(16), **changes})
    before = bb.stats()["pinned_buffers"]
    for f in (identity, bb.wrap):
        with pytest.raises(error, match=match):
            f(o)
    assert bb.stats()["pinned_buffers"] <= before


def test_a_mask_that_is_none():
    assert identity(Interface(shape=(2,), typestr="|u1", data=b"ab", mask=None)).shape == (2,)


def test_records_in_a_buffer():
    a = np.array([(1, 2.5), (3, 4.5)], dtype=[("Open", "<i4"), ("b", "<f8")])
    o = Interface(shape=(2,), typestr="|V12", data=a.tobytes(), descr=a.dtype.descr)
    x = identity(o)
    assert np.asarray(x["b"]).tolist() == [2.5, 4.5]
    assert np.asarray(x["Open"]).tolist() == [1, 3]


def test_the_object_is_what_is_held():
    o = Interface(shape=(3,), typestr="|u1", data=b"abc")
    x = identity(o)
    (held,) = [h for h in bb.stats(detail=True)["held_by_julia"] if h.object is o]
    assert (held.kind, held.bytes) == ("buffer", 3)
    dead = weakref.ref(o)
    del o, held
    gc.collect()
    assert dead() is not None
    del x
    collect_both()
    assert dead() is None


# ------------------------------------------------------------------------ libraries


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "I", "F", "I;16", "1"])
def test_images(mode):
    image_module = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    image = image_module.new(mode, (3, 2))
    if mode == "RGB":
        image.putpixel((2, 1), (1, 2, 3))
    x = identity(image)
    theirs = np.asarray(image)
    assert np.array_equal(np.asarray(x), theirs)
    assert np.asarray(x).dtype == theirs.dtype
    assert x.readonly  # PIL makes bytes of its image
    assert np.array_equal(np.asarray(bb.wrap(image)), theirs)


def test_pandas():
    """Its arrays that have an interface go by that (the others: test_tables.py)."""
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    s = pd.Series([1.0, 2.0])
    assert identity(s.to_numpy())._address == s.to_numpy().ctypes.data

    class Lengths(pd.api.extensions.ExtensionArray):
        """An extension array that offers its memory."""

        def __init__(self, values):
            self._values = values

        @property
        def __array_interface__(self):
            return self._values.__array_interface__

        def __len__(self):
            return len(self._values)

    a = np.arange(3.0)
    x = identity(Lengths(a))
    assert x._address == a.ctypes.data
    set_last(x, 20)
    assert a[2] == 20


# ------------------------------------------------------------------ __array_struct__


class Struct:
    """An object with NumPy's own __array_struct__, and nothing else."""

    def __init__(self, a):
        self._a = a

    @property
    def __array_struct__(self):
        return self._a.__array_struct__


ARRAYS = {
    "vector": np.arange(6.0),
    "row-major": np.arange(6.0).reshape(2, 3),
    "column-major": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(24.0).reshape(4, 6)[::2, ::-1],
    "0-d": np.array(5.0),
    "empty": np.zeros((0, 3)),
    "read-only": np.broadcast_to(np.arange(3.0), (2, 3)),
    "swapped": np.arange(3).astype(">i4"),
    "bool": np.array([True, False]),
    "float16": np.arange(3).astype("f2"),
    "complex": np.arange(3).astype("c8"),
    "uint": np.arange(3).astype("u2"),
    "bytes": np.array([b"ab", b"c"]),
    "text": np.array(["ab", "c"]),
    "swapped text": np.array(["ab", "c"]).astype(">U2"),
    "longdouble": np.arange(3).astype("g"),
    "unaligned": np.zeros(17, "u1")[1:].view("f8"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_numpys_own_struct(name):
    a = ARRAYS[name]
    o = Struct(a)
    assert type_of(o) == type_of(a)
    x = identity(o)
    assert x.readonly == (not a.flags.writeable)
    if a.size:
        assert x._address == a.ctypes.data
    assert np.array_equal(np.asarray(x), a)
    assert type_of(bb.wrap(o)) == type_of(bb.wrap(a))


def test_a_struct_keeps_the_object():
    a = np.arange(100_000.0)
    dead = weakref.ref(a)
    x = identity(Struct(a))
    del a
    collect_both()
    assert dead() is not None
    assert bb.Base.sum(x) == sum(range(100_000))
    del x
    collect_both()
    assert dead() is None


def test_numpys_records():
    """NumPy clears the flags of a struct with records, so that nobody finds the fields."""
    a = np.zeros(3, [("a", "i1"), ("b", "f8")])
    x = identity(Struct(a))
    assert np.asarray(Struct(a)).dtype == "V9"
    assert np.asarray(x).tobytes() == a.tobytes()
    assert x.readonly


class ArrayStruct(ctypes.Structure):
    _fields_ = [
        ("two", ctypes.c_int),
        ("nd", ctypes.c_int),
        ("typekind", ctypes.c_char),
        ("itemsize", ctypes.c_int),
        ("flags", ctypes.c_int),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("data", ctypes.c_void_p),
        ("descr", ctypes.py_object),
    ]


new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Made:
    """An object whose __array_struct__ is made here, of three Float64."""

    def __init__(self, name=None, **changes):
        self.data = (ctypes.c_double * 3)(1, 2, 3)
        self.shape = (ctypes.c_ssize_t * 64)(3)
        self.strides = (ctypes.c_ssize_t * 64)(8)
        s = ArrayStruct(2, 1, b"f", 8, 0x701, self.shape, self.strides)
        s.data = ctypes.addressof(self.data)
        for k, v in changes.items():
            setattr(s, k, v)
        self.struct = s
        self.name = name

    @property
    def __array_struct__(self):
        return new_capsule(ctypes.addressof(self.struct), self.name, None)


def test_a_struct_made_by_hand():
    o = Made()
    x = identity(o)
    assert np.asarray(x).tolist() == [1, 2, 3]
    set_last(x, 30)
    assert o.data[2] == 30
    assert identity(Made(flags=0x301)).readonly
    assert np.asarray(identity(Made(strides=None))).tolist() == [1, 2, 3]
    swapped = identity(Made(flags=0x401))
    assert np.asarray(swapped)[0] == np.frombuffer(np.float64(1), ">f8")[0]
    # A descr is believed only if the flags say that there is one.
    fields = [("a", "<f4"), ("b", "<f4")]
    x = identity(Made(typekind=b"V", descr=fields, flags=0xF01))
    assert np.asarray(x).dtype == np.dtype(fields)
    assert "RawBytes" in type_of(Made(typekind=b"V", descr=fields))


@pytest.mark.parametrize(
    "changes, error, match",
    [
        ({"name": b"something"}, TypeError, "has a name"),
        ({"two": 3}, TypeError, "begins with 3 instead of 2"),
        ({"nd": -1}, TypeError, "not valid"),
        ({"nd": 65}, TypeError, "not valid"),
        ({"shape": None}, TypeError, "not valid"),
        ({"data": None}, BufferError, "not valid"),
        ({"typekind": b"q"}, TypeError, "q8"),
        ({"typekind": b"M"}, TypeError, "unit"),
        ({"typekind": b"f", "itemsize": 3}, TypeError, "f3"),
        ({"itemsize": -8}, TypeError, "typestr"),
        ({"typekind": b"V", "descr": [("a", "<f4")], "flags": 0xF01}, TypeError, "4 bytes"),
        ({"typekind": b"V", "descr": 5, "flags": 0xF01}, TypeError, "int"),
    ],
    ids=lambda x: re.sub(" at 0x.*?>", ">", str(x))[:60],
)
def test_a_bad_struct(changes, error, match):
    before = bb.stats()["pinned_buffers"]
    for f in (identity, bb.wrap):
        with pytest.raises(error, match=match):
            f(Made(**changes))
    assert bb.stats()["pinned_buffers"] <= before


def test_sizes_of_a_struct_that_overflow():
    o = Made()
    for shape in (-1, 2**62):
        o.shape[0] = shape
        with pytest.raises(BufferError, match="not valid"):
            identity(o)
    o.shape[0] = 3
    o.strides[0] = 2**62
    with pytest.raises(BufferError, match="address space"):
        identity(o)


# --------------------------------------------------------------- which one is asked


def test_the_order():
    asked = []

    class All:
        def __getattribute__(self, name):
            if name.startswith("__array_") or name == "__dlpack__":
                asked.append(name)
                raise AttributeError(name)
            return object.__getattribute__(self, name)

        __array_struct__ = __array_interface__ = __dlpack__ = None

    assert "PyObject" in type_of(All())
    order = ["__array_interface__", "__array_struct__", "__dlpack__"]
    assert asked == order
    asked.clear()
    with pytest.raises(TypeError, match="no memory to share"):
        bb.wrap(All())
    assert asked == order

    class Buffer(All, bytearray):
        pass

    asked.clear()
    assert identity(Buffer(b"abc")).shape == (3,)
    assert asked == []


def test_attributes_that_are_something_else():
    class Odd:
        __array_interface__ = 5
        __array_struct__ = "text"
        __dlpack__ = None

    assert "PyObject" in type_of(Odd())
    with pytest.raises(TypeError, match="no memory to share"):
        bb.wrap(Odd())


def test_an_attribute_that_raises():
    class Raises:
        @property
        def __array_struct__(self):
            raise LookupError("not now")

    for f in (identity, bb.wrap):
        with pytest.raises(LookupError, match="not now"):
            f(Raises())


def test_classes_are_not_asked():
    for class_ in (Struct, Interface, Made):
        assert "PyFunction" in type_of(class_)
        with pytest.raises(TypeError, match="no memory to share"):
            bb.wrap(class_)


# --------------------------------------------------------------------------- PEP 688

since_312 = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="__buffer__ came with Python 3.12"
)


@since_312
def test_julia_arrays_are_buffers():
    from collections.abc import Buffer

    x = bb.eval("[1, 2, 3]")
    assert isinstance(x, Buffer)
    assert issubclass(bb.JuliaArray, Buffer)
    assert not isinstance(bb.eval("Dict()"), Buffer)
    view = x.__buffer__(inspect.BufferFlags.FULL_RO)
    assert (view.format, view.tolist()) == ("l", [1, 2, 3])
    exports = bb.stats()["exports"]
    view.release()
    assert bb.stats()["exports"] == exports - 1
    with pytest.raises(BufferError, match="read-only"):
        bb.wrap(b"abc").__buffer__(inspect.BufferFlags.WRITABLE)
    with pytest.raises(BufferError, match="range"):
        bb.eval("1:3").__buffer__(inspect.BufferFlags.SIMPLE)


@since_312
def test_classes_with_buffers():
    class Exporter:
        def __init__(self):
            self.memory = bytearray(np.arange(3.0).tobytes())
            self.released = 0

        def __buffer__(self, flags):
            return memoryview(self.memory).cast("d")

        def __release_buffer__(self, view):
            self.released += 1
            view.release()

    o = Exporter()
    x = identity(o)
    assert np.asarray(x).tolist() == [0, 1, 2]
    set_last(x, 20)
    assert np.frombuffer(o.memory)[2] == 20
    with pytest.raises(BufferError):
        o.memory.extend(b"more")
    assert o.released == 0
    del x
    collect_both()
    assert o.released == 1
    o.memory.extend(b"more")
    with bb.borrow(Exporter()) as x:
        assert x.shape == (3,)


@since_312
@pytest.mark.parametrize("answer", [None, b"abc", LookupError("not now")], ids=repr)
def test_classes_with_bad_buffers(answer):
    class Exporter:
        def __buffer__(self, flags):
            if isinstance(answer, Exception):
                raise answer
            return answer

    with pytest.raises((TypeError, LookupError)):
        identity(Exporter())


@since_312
def test_a_memoryview_that_is_released_meanwhile():
    kept = []

    class Exporter:
        def __buffer__(self, flags):
            kept.append(memoryview(bytearray(8)))
            return kept[-1]

    x = identity(Exporter())
    with pytest.raises(BufferError):
        kept[0].release()
    assert x.shape == (8,)
