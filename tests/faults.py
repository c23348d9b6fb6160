"""What tests/test_faults.py injects: allocations that fail, and exporters that lie.

All of it runs in processes of its own (``python -c "from tests import ..."``), where a crash harms
nothing else.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import bufferbridge as bb

from .conftest import collect_both
from .pybuffer import PyBuffer

# Set for the long form of what takes a choice of cases otherwise.
STRESS = bool(os.environ.get("BUFFERBRIDGE_STRESS"))

# ------------------------------------------------------------- allocations that fail

MAX_ALLOCATIONS = 5000  # more than any operation makes


class Operation:
    """One thing to do while allocations fail.

    run: does it, and gives what can be compared: it is the same whenever it succeeds.
    watch: objects whose reference counts must be what they were before.
    also: exceptions besides MemoryError that are right, since Python turns the one into the other.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], Any],
        *,
        watch: Iterable[Any] = (),
        also: tuple[type[BaseException], ...] = (),
    ) -> None:
        self.name = name
        self.run = run
        self.watch = list(watch)
        self.also = also

    def refcounts(self) -> list[int]:
        return [sys.getrefcount(x) for x in self.watch]

    def attempt(self, first: int, last: int) -> tuple[str, Any]:
        """Runs with the allocations from first to last (excluded; 0 means never) failing.

        "hit" says that one may have failed, "done" that none did, "raised" comes with what it was.
        """
        import _testcapi

        run, result, error, hit = self.run, None, None, False
        try:
            _testcapi.set_nomemory(first, last)
            try:
                result = run()
            except BaseException as e:
                error = e
            try:
                bytearray(100)  # fails as well, if allocations still do
            except MemoryError:
                hit = True
            finally:
                _testcapi.remove_mem_hooks()
        except MemoryError as e:  # of the handlers above
            error = e
        if error is None:
            return ("hit" if hit else "done"), result
        error.__traceback__ = None
        error.__dict__.pop("__notes__", None)  # which hold Julia's frames
        if isinstance(error, (MemoryError, *self.also)):
            return "hit", error
        return "raised", error

    def faults(self, check: Callable[[str], None] = lambda where: None) -> list[str]:
        """All that goes wrong when the n-th allocation fails, and all after it or that one only.

        check is called after each attempt.
        """
        wrong: list[str] = []
        results: list[tuple[str, Any]] = []

        def attempt(n: int, last: int, which: str) -> str:
            where = f"{self.name}: allocation {n} {which} failing"
            outcome, result = self.attempt(n, last)
            if outcome == "raised":
                wrong.append(f"{where}: {type(result).__name__}: {result}")
            elif not isinstance(result, BaseException):
                results.append((where, result))
            result = None
            check(where)
            return outcome

        # Without a first run: what is looked up once and kept has to be looked up while they fail.
        for n in range(MAX_ALLOCATIONS):
            if attempt(n, 0, "and all after it") == "done":
                break
        else:
            wrong.append(f"{self.name}: still fails with {MAX_ALLOCATIONS} allocations")
        for count in range(n):
            attempt(count, count + 1, "alone")
        if STRESS:
            for count in range(n):
                attempt(count, count + 2, "and the next one")
        expected = self.run()
        for where, result in results:
            if (type(result), result) != (type(expected), expected):
                wrong.append(f"{where}: {result!r} instead of {expected!r}")
        return wrong


def allocation_faults(operations: list[Operation]) -> list[str]:
    """Tries them all, and what they leave behind; what is wrong, in words."""
    wrong: list[str] = []
    before = collect_both()
    for operation in operations:
        counts = operation.refcounts()
        stats = bb.stats()
        wrong += operation.faults()
        assert bb.eval("1 + 1") == 2
        if operation.refcounts() != counts or bb.stats() != stats:
            stats = collect_both()  # not all is freed at once
            after = operation.refcounts()
            if after != counts:
                wrong.append(f"{operation.name}: reference counts were {counts}, are {after}")
            if stats != before:
                wrong.append(f"{operation.name}: held before {before}, after {stats}")
                wrong += which_leak(operation)
                before = collect_both()
    return wrong


def which_leak(operation: Operation) -> list[str]:
    """The attempts that leave something behind."""
    wrong = []
    before = collect_both()

    def check(where: str) -> None:
        nonlocal before
        after = collect_both()
        if after != before:
            gained = {k: v - before[k] for k, v in after.items() if v != before[k]}
            wrong.append(f"{where}: leaves {gained}")
            before = after

    operation.faults(check)
    return wrong


# ------------------------------------------------------------------ exporters that lie

SOURCE = r"""
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* self.answer(address of the Py_buffer, flags): None for success. What it raises is raised; -1 is
 * returned without an exception if it gives False, and 0 with one if it gives an exception. */
static int getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    PyObject *r = PyObject_CallMethod(self, "answer", "Ni", PyLong_FromVoidPtr(view), flags);
    if (r == NULL) {
        view->obj = NULL;
        return -1;
    }
    int refused = r == Py_False, odd = PyExceptionInstance_Check(r);
    if (refused)
        view->obj = NULL;
    if (odd)
        PyErr_SetObject((PyObject *)Py_TYPE(r), r);
    Py_DECREF(r);
    return refused ? -1 : 0;
}

/* What self.release(address) raises stays set. */
static void releasebuffer(PyObject *self, Py_buffer *view)
{
    Py_XDECREF(PyObject_CallMethod(self, "release", "N", PyLong_FromVoidPtr(view)));
}

static PyType_Slot slots[] = {
    {Py_bf_getbuffer, getbuffer}, {Py_bf_releasebuffer, releasebuffer}, {0, NULL}};
static PyType_Spec spec = {
    "liar.Exporter", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

PyMODINIT_FUNC PyInit_liar(void)
{
    static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "liar", NULL, -1, NULL};
    PyObject *module = PyModule_Create(&definition), *type = PyType_FromSpec(&spec);
    if (module == NULL || type == NULL || PyModule_AddObject(module, "Exporter", type) < 0)
        return NULL;
    return module;
}
"""


def compiler() -> list[str]:
    """The C compiler's command, or [] if there is none."""
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    return command if shutil.which(command[0]) else []


def build_liar(folder: Path) -> None:
    """Compiles the module ``liar`` into the folder: a type whose buffers are what Python says."""
    source = folder / "liar.c"
    source.write_text(SOURCE)
    include = sysconfig.get_path("include")
    shared = ["-dynamiclib", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    shared = shared or ["-shared", "-fPIC"]
    subprocess.run(
        [*compiler(), *shared, f"-I{include}", "-o", str(folder / "liar.so"), str(source)],
        check=True,
    )


NULL = None  # of shape, strides and suboffsets


class Lie:
    """What an exporter answers; shape, strides and suboffsets are tuples or None.

    The memory is a block of bytes with room on both sides, so that a little too far is no crash,
    and what is written there is seen.
    """

    GUARD = 4096
    MARK = 0xEE

    def __init__(self, memory: bytes, offset: int = 0, **fields: Any) -> None:
        self.size = len(memory)
        guard = bytes([self.MARK]) * self.GUARD
        self.block = ctypes.create_string_buffer(guard + memory + guard)
        self.start = ctypes.addressof(self.block) + self.GUARD
        self.fields = {
            "buf": self.start + offset,
            "len": self.size,
            "itemsize": 1,
            "readonly": 0,
            "ndim": 1,
            "format": b"B",
            "shape": (self.size,),
            "strides": None,
            "suboffsets": None,
            **fields,
        }
        self.arrays = {
            name: None if value is None else (ctypes.c_ssize_t * max(len(value), 1))(*value)
            for name in ("shape", "strides", "suboffsets")
            for value in [self.fields[name]]
        }

    def write(self, address: int, owner: Any) -> None:
        """Into a Py_buffer."""
        view = PyBuffer.from_address(address)
        for name in ("buf", "len", "itemsize", "readonly", "ndim", "format"):
            setattr(view, name, self.fields[name])
        for name, array in self.arrays.items():
            pointer = ctypes.POINTER(ctypes.c_ssize_t)
            setattr(view, name, pointer() if array is None else ctypes.cast(array, pointer))
        view.internal = None
        view.obj = None if owner is None else id(owner)
        if owner is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))

    def intact(self) -> bool:
        """Whether nothing was written outside of the memory."""
        raw, guard = self.block.raw, bytes([self.MARK]) * self.GUARD
        return raw[: self.GUARD] == guard and raw[self.GUARD + self.size :][: self.GUARD] == guard
