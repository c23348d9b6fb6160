"""Exporters that say what a test wants: a Py_buffer, and types that fill one in, by ctypes.

CPython's _testbuffer knows the formats of the struct module only. fuzz/ uses this, too.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable


class PyBuffer(ctypes.Structure):
    """Py_buffer, CPython's manual, "Buffer structure"."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("suboffsets", ctypes.POINTER(ctypes.c_ssize_t)),
        ("internal", ctypes.c_void_p),
    ]


class _Slot(ctypes.Structure):
    _fields_ = [("slot", ctypes.c_int), ("function", ctypes.c_void_p)]


class _Spec(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("basicsize", ctypes.c_int),
        ("itemsize", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("slots", ctypes.POINTER(_Slot)),
    ]


_GETBUFFER, _RELEASEBUFFER = 1, 2  # Py_bf_getbuffer, Py_bf_releasebuffer
_FLAGS = 1 << 18 | 1 << 10  # Py_TPFLAGS_DEFAULT (have version tag), Py_TPFLAGS_BASETYPE
_keep: list[Any] = []  # what the types point to


def exporting_type(name: str, fill: Callable[[Any, PyBuffer], None]) -> Any:
    """A type to derive from, whose instances export what fill(self, view) writes into the view.

    fill need not set obj and internal. ``exports`` of an instance, which it has to set to 0, counts
    the buffers that are held.
    """

    @ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(PyBuffer), ctypes.c_int)
    def getbuffer(self, view, flags):
        fill(self, view.contents)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
        view.contents.obj, view.contents.internal = id(self), None
        self.exports += 1
        return 0

    @ctypes.PYFUNCTYPE(None, ctypes.py_object, ctypes.POINTER(PyBuffer))
    def releasebuffer(self, view):
        self.exports -= 1

    slots = (_Slot * 3)(
        _Slot(_GETBUFFER, ctypes.cast(getbuffer, ctypes.c_void_p)),
        _Slot(_RELEASEBUFFER, ctypes.cast(releasebuffer, ctypes.c_void_p)),
    )
    spec = _Spec(name.encode(), object.__basicsize__, 0, _FLAGS, slots)
    _keep.extend((getbuffer, releasebuffer, slots, spec))
    make = ctypes.pythonapi.PyType_FromSpec
    make.restype = ctypes.py_object
    return make(ctypes.byref(spec))
