/* Which CPython this is compiled for, and what differs. Included by bufferbridge.h; nothing else looks at versions.
 *
 *   Py_LIMITED_API   one module for CPython 3.12 and every later one, by its stable ABI. (Buffers are in it from
 *                    3.11 on, and vectorcall from 3.12.)
 *   without          one for the very version that it is compiled for: 3.9 to 3.11, free-threaded builds, and where
 *                    the build asks for it (BUFFERBRIDGE_ABI3=0, see setup.py). It reads CPython's structs.
 *
 * What is CPython's and missing in the stable ABI has its own name here, made of what is there. The rest, whose name
 * begins with bb_, is what both kinds do in different ways. The functions are in abi.c. */
#ifndef BUFFERBRIDGE_ABI_H
#define BUFFERBRIDGE_ABI_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h> /* Python.h has these only without Py_LIMITED_API */
#include <string.h>
#if PY_VERSION_HEX < 0x030B0000
#include <longintrepr.h>
#endif

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *Py_NewRef(PyObject *o)
{
    Py_INCREF(o);
    return o;
}
#endif

/* The name of a type for messages, as tp_name has it ("numpy.ndarray", and "Point" for a class of Python's). In the
 * stable ABI it is in memory that is used again after some more names. With the GIL. */
const char *bb_type_name(PyTypeObject *type);

/* Whether the calling thread holds the GIL. */
int bb_gil_check(void);

/* Once, before all else: 0, or -1 with the exception that says what this Python lacks. */
int bb_prepare_abi(void);

#ifdef Py_LIMITED_API

#define PyTuple_GET_SIZE PyTuple_Size
#define PyTuple_GET_ITEM PyTuple_GetItem
#define PyTuple_SET_ITEM PyTuple_SetItem
#define PyList_GET_SIZE PyList_Size
#define PyList_GET_ITEM PyList_GetItem
#define PyList_SET_ITEM PyList_SetItem
#define PyFloat_AS_DOUBLE PyFloat_AsDouble
#define PyBytes_GET_SIZE PyBytes_Size
#define PyBytes_AS_STRING PyBytes_AsString
#define PyUnicode_GET_LENGTH PyUnicode_GetLength
#define PyUnicode_READ_CHAR PyUnicode_ReadChar
#define PyUnicode_AsUTF8(o) PyUnicode_AsUTF8AndSize(o, NULL)

/* In the stable ABI from 3.13 on. Nobody else frees memory of these, nor allocates what we free. */
static inline void *PyMem_RawMalloc(size_t n) { return malloc(n + (n == 0)); }
static inline void *PyMem_RawCalloc(size_t n, size_t size) { return calloc(n + (n == 0), size + (size == 0)); }
static inline void *PyMem_RawRealloc(void *p, size_t n) { return realloc(p, n + (n == 0)); }
static inline void PyMem_RawFree(void *p) { free(p); }

#define Py_XSETREF(place, value) \
    do { \
        PyObject **place_ = (PyObject **)&(place), *old_ = *place_; \
        *place_ = (PyObject *)(value); \
        Py_XDECREF(old_); \
    } while (0)
#define Py_SETREF Py_XSETREF

/* The value of an exact int that fits. 0: it has more digits. */
static inline int bb_small_int(PyObject *o, int64_t *value)
{
    int overflow;
    *value = PyLong_AsLongLongAndOverflow(o, &overflow);
    return !overflow;
}

/* Of a complex, or an instance of a subclass. */
static inline double bb_real(PyObject *o) { return PyComplex_RealAsDouble(o); }
static inline double bb_imag(PyObject *o) { return PyComplex_ImagAsDouble(o); }

/* A str of code points, surrogates included. */
PyObject *bb_str_of(const Py_UCS4 *text, Py_ssize_t length);

/* The object whose memory a memoryview shows: borrowed from it, or NULL. No exception is set. */
PyObject *bb_memoryview_base(PyObject *o);

/* Whether the hash of a class is Python code's: its metaclass defines one. */
static inline int bb_has_own_hash(PyObject *class_)
{
    return Py_TYPE(class_) != &PyType_Type &&
           PyType_GetSlot(Py_TYPE(class_), Py_tp_hash) != PyType_GetSlot(&PyType_Type, Py_tp_hash);
}

#else

#if PY_VERSION_HEX >= 0x030C0000
static inline int bb_small_int(PyObject *o, int64_t *value)
{
    if (!PyUnstable_Long_IsCompact((PyLongObject *)o))
        return 0;
    *value = PyUnstable_Long_CompactValue((PyLongObject *)o);
    return 1;
}
#else
static inline int bb_small_int(PyObject *o, int64_t *value)
{
    Py_ssize_t size = Py_SIZE(o);
    if (size < -1 || size > 1)
        return 0;
    *value = size == 0 ? 0 : size * (int64_t)((PyLongObject *)o)->ob_digit[0];
    return 1;
}
#endif

static inline double bb_real(PyObject *o) { return ((PyComplexObject *)o)->cval.real; }
static inline double bb_imag(PyObject *o) { return ((PyComplexObject *)o)->cval.imag; }

static inline PyObject *bb_str_of(const Py_UCS4 *text, Py_ssize_t length)
{
    return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, text, length);
}

static inline PyObject *bb_memoryview_base(PyObject *o) { return PyMemoryView_GET_BASE(o); }

static inline int bb_has_own_hash(PyObject *class_) { return Py_TYPE(class_)->tp_hash != PyType_Type.tp_hash; }

#endif
#endif
