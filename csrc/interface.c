/* NumPy's array interface, in Python (__array_interface__, a dict) and in C (__array_struct__, a capsule), for
 * objects that export no buffer.
 *
 * Who keeps the memory alive: NumPy's manual says that an address is good as long as the object lives, and what
 * the dict or the capsule refers to. Both are in the bb_buffer's `keep`. Where the memory is named as a buffer
 * ('data' of the dict), the Py_buffer of that is held besides, so that its exporter can't move it.
 *
 * An address is believed, as by NumPy: docs/threat-model.md. What can be checked is: sizes against each other,
 * and against the length where there is a buffer. */
#include "bufferbridge.h"

/* The end of both ways: v gets b, if that was filled in (0; -1: an exception is set), and b keeps the object and what
 * it told. Else b is dropped, with whatever it has already. */
static int finish(int filled, bb_buffer *b, PyObject *o, PyObject *told, bb_value *v)
{
    if (filled == 0 && (b->keep = PyTuple_Pack(2, o, told)) != NULL && bb_finish_buffer(b, o, v) > 0)
        return 1;
    bb_drop_buffer(b);
    return -1;
}

/* The format and itemsize that the package finds for a dict like that of __array_interface__. */
static int set_format(bb_buffer *b, PyObject *o, PyObject *interface)
{
    PyObject *format, *description = PyObject_CallFunctionObjArgs(bb.describe_interface, o, interface, NULL);
    if (description == NULL || !PyArg_ParseTuple(description, "OL", &format, &b->itemsize)) {
        Py_XDECREF(description);
        return -1;
    }
    Py_INCREF(format);
    Py_DECREF(description);
    return bb_set_description(b, format);
}

/* ------------------------------------------------ __array_interface__ */

static int int64_items(PyObject *tuple, Py_ssize_t n, int64_t *out, const char *what)
{
    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != n) {
        PyErr_Format(PyExc_TypeError, "__array_interface__: '%s' must be a tuple of %zd integers",
                     what, n);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        out[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, i));
        if (out[i] == -1 && PyErr_Occurred())
            return -1;
    }
    return 0;
}

/* Borrowed, and NULL if there is none or it is None. (PyDict_GetItemString hides exceptions: without memory
 * strides would be missed, and others taken for them.) */
static int interface_item(PyObject *interface, const char *name, PyObject **item)
{
    PyObject *key = PyUnicode_FromString(name);
    if (key == NULL)
        return -1;
    *item = PyDict_GetItemWithError(interface, key);
    Py_DECREF(key);
    if (*item == Py_None)
        *item = NULL;
    return *item == NULL && PyErr_Occurred() ? -1 : 0;
}

/* 'data' as a buffer: the memory of that object, from `offset` (an int or NULL) on. */
static int take_buffer(bb_buffer *b, PyObject *data, PyObject *offset)
{
    long long start = offset == NULL ? 0 : PyLong_AsLongLong(offset);
    if (start == -1 && PyErr_Occurred())
        return -1;
    if (!PyObject_CheckBuffer(data)) {
        PyErr_SetString(PyExc_TypeError, "__array_interface__: 'data' must be a tuple of the address "
                                         "and the read-only flag, or an object that exports a buffer");
        return -1;
    }
    if (PyObject_GetBuffer(data, &b->view, PyBUF_SIMPLE) < 0)
        return -1;
    if (start < 0 || start > b->view.len) {
        PyErr_Format(PyExc_ValueError, "__array_interface__: the 'offset' %lld is outside of the %zd bytes of 'data'",
                     start, b->view.len);
        return -1;
    }
    b->ptr = (char *)b->view.buf + start;
    b->readonly = b->view.readonly != 0;
    return 0;
}

/* Whether all items lie in the buffer that take_buffer took. */
static int check_length(const bb_buffer *b)
{
    int64_t low, high, start = b->ptr - (char *)b->view.buf;
    if (b->len == 0 || (bb_reach(b, &low, &high) == 0 && start + low >= 0 && high <= b->view.len - start))
        return 0;
    PyErr_Format(PyExc_ValueError, "__array_interface__: 'data' has %zd bytes, and shape and strides mean more",
                 b->view.len);
    return -1;
}

static int take_address(bb_buffer *b, PyObject *data)
{
    int readonly;
    if (PyTuple_GET_SIZE(data) != 2) {
        PyErr_SetString(PyExc_TypeError, "__array_interface__: 'data' must be a tuple of the address "
                                         "and the read-only flag");
        return -1;
    }
    if ((readonly = PyObject_IsTrue(PyTuple_GET_ITEM(data, 1))) < 0)
        return -1;
    b->readonly = readonly;
    b->ptr = PyLong_AsVoidPtr(PyTuple_GET_ITEM(data, 0));
    return b->ptr == NULL && PyErr_Occurred() ? -1 : 0;
}

static int fill_by_interface(bb_buffer *b, PyObject *o, PyObject *interface, PyObject *shape)
{
    PyObject *data, *strides, *offset;

    if (interface_item(interface, "data", &data) < 0 ||
        interface_item(interface, "strides", &strides) < 0 ||
        interface_item(interface, "offset", &offset) < 0)
        return -1;
    /* Without data it is the object itself that should export them. */
    if ((data != NULL && PyTuple_Check(data) ? take_address(b, data) : take_buffer(b, data ? data : o, offset)) < 0 ||
        set_format(b, o, interface) < 0 ||
        int64_items(shape, b->ndim, (int64_t *)b->shape, "shape") < 0 || bb_check_shape(b, o) < 0)
        return -1;
    if (strides == NULL)
        bb_row_major_strides(b);
    else if (int64_items(strides, b->ndim, (int64_t *)b->strides, "strides") < 0)
        return -1;
    return b->view.obj == NULL ? 0 : check_length(b);
}

/* `interface` is a dict that nobody else has, so that its values live. */
static int acquire_interface(PyObject *o, PyObject *interface, bb_value *v)
{
    PyObject *shape, *typestr, *mask;
    bb_buffer *b;

    if (interface_item(interface, "shape", &shape) < 0 ||
        interface_item(interface, "typestr", &typestr) < 0 ||
        interface_item(interface, "mask", &mask) < 0)
        return -1;
    if (shape == NULL || typestr == NULL || !PyTuple_Check(shape) || !PyUnicode_Check(typestr)) {
        PyErr_SetString(PyExc_TypeError, "__array_interface__: there must be a 'shape', a tuple, and a 'typestr', a str");
        return -1;
    }
    if (mask != NULL) {
        PyErr_Format(PyExc_BufferError, "the __array_interface__ of '%.200s' has a mask, which one Julia array can't "
                     "have: pass the data and the mask as two arrays, or a numpy.ma.MaskedArray of them",
                     bb_type_name(Py_TYPE(o)));
        return -1;
    }
    if (PyTuple_GET_SIZE(shape) > PyBUF_MAX_NDIM) {
        PyErr_SetString(PyExc_TypeError, "__array_interface__: more than 64 dimensions");
        return -1;
    }
    if ((b = bb_new_buffer(PyTuple_GET_SIZE(shape))) == NULL)
        return -1;
    b->ndim = PyTuple_GET_SIZE(shape);
    return finish(fill_by_interface(b, o, interface, shape), b, o, interface, v);
}

int bb_acquire_interface(PyObject *o, PyObject *interface, bb_value *v)
{
    if (!PyDict_Check(interface))
        return 0;
    PyObject *copy = PyDict_Copy(interface);
    int r = copy == NULL ? -1 : acquire_interface(o, copy, v);
    Py_XDECREF(copy);
    return r;
}

/* --------------------------------------------------- __array_struct__ */

/* PyArrayInterface, of NumPy's manual ("The array interface protocol"). */
typedef struct {
    int two;              /* the number 2: "a sanity check" */
    int nd;
    char typekind;        /* as in a typestr */
    int itemsize;         /* bytes */
    int flags;
    Py_ssize_t *shape;    /* items */
    Py_ssize_t *strides;  /* bytes */
    void *data;
    PyObject *descr;      /* as of __array_interface__, if the flags say so */
} array_struct;

enum { NOT_SWAPPED = 0x200, WRITEABLE = 0x400, HAS_DESCR = 0x800 };

/* What set_format reads, as a new dict: "typestr" and "descr". */
static PyObject *interface_of_struct(const array_struct *s)
{
    const int little = PY_LITTLE_ENDIAN;
    char order = s->itemsize == 1 ? '|' : (!(s->flags & NOT_SWAPPED)) == little ? '>' : '<';
    /* Text is counted in characters there, and in bytes here. */
    PyObject *typestr = PyUnicode_FromFormat("%c%c%d", order, (unsigned char)s->typekind,
                                             s->typekind == 'U' ? s->itemsize / 4 : s->itemsize);
    PyObject *interface = typestr == NULL ? NULL : PyDict_New();
    if (interface != NULL &&
        (PyDict_SetItemString(interface, "typestr", typestr) < 0 ||
         (s->flags & HAS_DESCR && s->descr != NULL && PyDict_SetItemString(interface, "descr", s->descr) < 0)))
        Py_CLEAR(interface);
    Py_XDECREF(typestr);
    return interface;
}

static int fill_by_struct(bb_buffer *b, PyObject *o, const array_struct *s)
{
    PyObject *interface = interface_of_struct(s);
    int described = interface == NULL ? -1 : set_format(b, o, interface);

    Py_XDECREF(interface);
    if (described < 0)
        return -1;
    for (int i = 0; i < b->ndim; i++) /* not s->nd: Python code may have changed that since */
        ((int64_t *)b->shape)[i] = s->shape[i];
    if (bb_check_shape(b, o) < 0)
        return -1;
    if (s->strides == NULL)
        bb_row_major_strides(b);
    else
        for (int i = 0; i < b->ndim; i++)
            ((int64_t *)b->strides)[i] = s->strides[i];
    return 0;
}

int bb_acquire_struct(PyObject *o, PyObject *capsule, bb_value *v)
{
    const array_struct *s;
    bb_buffer *b;

    if (!PyCapsule_CheckExact(capsule))
        return 0;
    if (!PyCapsule_IsValid(capsule, NULL)) {
        PyErr_Format(PyExc_TypeError, "the capsule of '%.200s'.__array_struct__ has a name, and so is something else",
                     bb_type_name(Py_TYPE(o)));
        return -1;
    }
    s = PyCapsule_GetPointer(capsule, NULL);
    if (s->two != 2 || s->nd < 0 || s->nd > PyBUF_MAX_NDIM || (s->nd > 0 && s->shape == NULL)) {
        PyErr_Format(PyExc_TypeError, "the __array_struct__ of '%.200s' is not valid: it begins with %d instead of 2, "
                     "has no shape, or not 0 to 64 axes (%d)", bb_type_name(Py_TYPE(o)), s->two, s->nd);
        return -1;
    }
    if ((s->typekind == 'M' || s->typekind == 'm') && !(s->flags & HAS_DESCR)) {
        PyErr_Format(PyExc_TypeError, "the __array_struct__ of '%.200s' has times and not their unit, which an "
                     "__array_interface__ would tell", bb_type_name(Py_TYPE(o)));
        return -1;
    }
    if ((b = bb_new_buffer(s->nd)) == NULL)
        return -1;
    b->ndim = s->nd;
    b->ptr = s->data;
    b->readonly = !(s->flags & WRITEABLE);
    return finish(fill_by_struct(b, o, s), b, o, capsule, v);
}
