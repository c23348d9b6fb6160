/* One Python object into a bb_value and back: the conversion tables of docs/conversion.md, as far as
 * CPython is concerned. What the value becomes in Julia is decided in jlsrc/src/fromvalue.jl.
 *
 * Lifetimes: a bb_value borrows from the object it was made of, which the caller keeps alive, unless
 * `owner` is set (a temporary made here). A BB_BUFFER is owned by the value until Julia takes it. Both
 * are given back by bb_value_clear. */
#include "bufferbridge.h"
#include <string.h>

void bb_value_clear(bb_value *v)
{
    if ((v->tag == BB_BUFFER || v->tag == BB_ITEM) && v->a.p != NULL) {
        v->tag = BB_NONE;
        bb_release_now((bb_node *)v->a.p);
    }
    Py_CLEAR(v->owner);
}

static int set_object(bb_value *v, int64_t tag, PyObject *o, int64_t n)
{
    v->tag = tag;
    v->a.p = o;
    v->b.i = n;
    return 0;
}

static int from_str(PyObject *o, bb_value *v)
{
    Py_ssize_t n;
    const char *s = bb_utf8(o, &n, &v->owner);
    if (s == NULL)
        return -1;
    v->tag = BB_STR;
    v->a.p = (void *)s;
    v->b.i = n;
    return 0;
}

static int from_int(PyObject *o, bb_value *v)
{
    int overflow;
    long long i = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (i == -1 && !overflow && PyErr_Occurred())
        return -1;
    if (!overflow) {
        v->tag = BB_INT;
        v->a.i = i;
        return 0;
    }
    PyObject *digits = PyNumber_ToBase(o, 16); /* "-0x1f", for Julia's parse */
    if (digits == NULL)
        return -1;
    v->owner = digits;
    if (from_str(digits, v) < 0)
        return -1;
    v->tag = BB_BIGINT;
    return 0;
}

static int from_complex(PyObject *o, bb_value *v)
{
    v->tag = BB_COMPLEX;
    v->a.d = bb_real(o);
    v->b.d = bb_imag(o);
    return 0;
}

static int from_tuple(PyObject *o, bb_value *v)
{
    int64_t tag = BB_TUPLE;
    if (!PyTuple_CheckExact(o)) {
        PyObject *fields = PyObject_GetAttrString((PyObject *)Py_TYPE(o), "_fields");
        if (fields == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError))
                return -1;
            PyErr_Clear();
        } else if (PyTuple_Check(fields) && PyTuple_GET_SIZE(fields) == PyTuple_GET_SIZE(o))
            tag = BB_NAMEDTUPLE;
        Py_XDECREF(fields);
    }
    return set_object(v, tag, o, PyTuple_GET_SIZE(o));
}

/* Clears the exception if it is one that an object may answer a question with. 0: it is not: an interrupt,
 * or no memory. */
static int dismiss(void)
{
    if (!PyErr_Occurred())
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError))
        return 0;
    PyErr_Clear();
    return 1;
}

/* NULL until NumPy has been imported by somebody; we never import it. */
PyTypeObject *bb_numpy_generic, *bb_numpy_ndarray;
#define generic bb_numpy_generic
#define ndarray bb_numpy_ndarray

int bb_look_for_numpy(void)
{
    static PyObject *name;

    if (generic != NULL)
        return 0;
    if (name == NULL && (name = PyUnicode_InternFromString("numpy")) == NULL)
        return -1;
    PyObject *module = PyImport_GetModule(name);
    PyObject *found = module == NULL ? NULL : PyObject_GetAttrString(module, "ndarray");
    if (found != NULL && PyType_Check(found) && ndarray == NULL)
        ndarray = (PyTypeObject *)Py_NewRef(found); /* kept for ever, as is the other */
    Py_XDECREF(found);
    if (found != NULL && (found = PyObject_GetAttrString(module, "generic")) != NULL) {
        if (PyType_Check(found))
            generic = (PyTypeObject *)Py_NewRef(found);
        Py_DECREF(found);
    }
    Py_XDECREF(module);
    return found == NULL && !dismiss() ? -1 : 0;
}

/* A record with times in it, of which NumPy exports no buffer: by an array of it. As below. */
static int from_numpy_item(PyObject *o, bb_value *v)
{
    PyObject *array = PyObject_CallMethod(o, "__array__", NULL);
    int r = array == NULL || Py_TYPE(array) != ndarray ? -1 : bb_acquire(array, BB_P_INTERFACE, v);

    Py_XDECREF(array); /* the buffer keeps it */
    if (r > 0)
        v->tag = BB_ITEM;
    return r < 0 && dismiss() ? 0 : r;
}

/* NumPy's numbers and records: each is a buffer of one item. 1: done; 0: not an element that Julia has;
 * -1: exception. */
static int from_numpy_scalar(PyObject *o, bb_value *v)
{
    Py_buffer view;
    int swapped, kind;

    if (!PyObject_CheckBuffer(o))
        return 0;
    if (PyObject_GetBuffer(o, &view, PyBUF_FULL_RO) < 0)
        return dismiss() ? from_numpy_item(o, v) : -1;
    kind = view.ndim == 0 && view.format ? bb_kind_of_format(view.format, &swapped) : BB_K_NONE;
    if (kind == BB_K_NONE && view.ndim == 0 && view.format != NULL &&
        (*view.format == 'T' || strcmp(view.format, "g") == 0 || strcmp(view.format, "Zg") == 0)) {
        PyBuffer_Release(&view);
        if (bb_acquire(o, BB_P_INTERFACE, v) < 0)
            return -1;
        v->tag = BB_ITEM;
        return 1;
    }
    if (kind == BB_K_NONE || view.len != bb_kind_size(kind)) {
        PyBuffer_Release(&view);
        return 0;
    }
    if (kind == BB_K_C64) {
        double c[2];
        memcpy(c, view.buf, sizeof c);
        v->tag = BB_COMPLEX;
        v->a.d = c[0];
        v->b.d = c[1];
    } else {
        v->tag = BB_SCALAR;
        v->a.i = 0;
        v->b.i = kind;
        memcpy(&v->a, view.buf, (size_t)view.len);
    }
    PyBuffer_Release(&view);
    return 1;
}

static int from_exporter(PyObject *o, int protocols, bb_value *v)
{
    int r = bb_acquire(o, protocols, v);
    return r == 0 ? set_object(v, BB_OBJECT, o, 0) : r < 0 ? -1 : 0;
}

/* The value of a new reference, which is dropped or kept by the value. */
int bb_from_new(PyObject *o, bb_value *v)
{
    int r = o == NULL ? -1 : bb_from_python(o, v);
    if (r == 0 && v->owner == NULL)
        v->owner = o;
    else
        Py_XDECREF(o);
    return r;
}

/* What the conversion of the object's class makes of it, by which the object is replaced (see
 * bufferbridge/_conversions.py; classes of the language itself have none). bb.conversions remembers what was
 * found for a class: a callable, or the protocols that the class has, an int, or None. 1: done; 0: there is none, or not
 * for this object; -1: exception. Sets *asked if Python code has run, and *protocols if they are known. */
static int from_converted(PyObject *o, bb_value *v, int *asked, int *protocols)
{
    PyObject *class_ = (PyObject *)Py_TYPE(o), *f, *replacement;
    int r;
    if (bb.conversions == NULL)
        return 0;
    *asked = bb_has_own_hash(class_);
    f = PyDict_GetItemWithError(bb.conversions, class_);
    if (f == NULL) {
        if (PyErr_Occurred())
            return dismiss() ? 0 : -1; /* the class has no hash: its metaclass has only an __eq__ */
        *asked = 1;
        if ((f = PyObject_CallFunctionObjArgs(bb.find_conversion, class_, NULL)) == NULL)
            return -1;
    } else
        Py_INCREF(f);
    if (f == Py_None || PyLong_CheckExact(f)) {
        /* An instance may have an interface that its class has not. */
        *protocols = f == Py_None ? BB_P_INTERFACE : (int)PyLong_AsLong(f);
        Py_DECREF(f);
        return 0;
    }
    *asked = 1;
    /* What a conversion gives may have one itself, without end. */
    if (bb_stack_ends() ? bb_stack_ended() : Py_EnterRecursiveCall(" while converting to Julia")) {
        Py_DECREF(f);
        return -1;
    }
    replacement = PyObject_CallFunctionObjArgs(f, o, NULL);
    Py_DECREF(f);
    if (replacement == Py_NotImplemented) {
        Py_DECREF(replacement);
        r = 0;
    } else if (replacement == o) {
        Py_DECREF(replacement);
        PyErr_Format(PyExc_TypeError, "a conversion for Julia gave the same '%.200s' back: return another object, "
                     "or NotImplemented", bb_type_name(Py_TYPE(o)));
        r = -1;
    } else
        r = bb_from_new(replacement, v) < 0 ? -1 : 1;
    Py_LeaveRecursiveCall();
    return r;
}

/* What an object is by its type, where no conversion says otherwise. */
static int from_unconverted(PyObject *o, int protocols, bb_value *v)
{
    int r;

    if (PyUnicode_Check(o))
        return from_str(o, v);
    if (bb_look_for_numpy() < 0)
        return -1;
    if (generic != NULL && PyType_IsSubtype(Py_TYPE(o), generic) && !PyBytes_Check(o)) {
        /* Not as memory: what a datetime64 exports are its bare bytes. */
        r = from_numpy_scalar(o, v);
        return r == 0 ? set_object(v, BB_OBJECT, o, 0) : r < 0 ? -1 : 0;
    }
    if (PyLong_Check(o))
        return from_int(o, v);
    if (PyFloat_Check(o)) {
        v->tag = BB_FLOAT;
        v->a.d = PyFloat_AS_DOUBLE(o);
        return 0;
    }
    if (PyComplex_Check(o))
        return from_complex(o, v);
    if (PyTuple_Check(o))
        return from_tuple(o, v);
    if (PyList_Check(o))
        return set_object(v, BB_LIST, o, PyList_GET_SIZE(o));
    if (PyDict_Check(o))
        return set_object(v, BB_DICT, o, PyDict_Size(o));
    if (PyAnySet_Check(o))
        return set_object(v, BB_SET, o, PySet_Size(o));
    if (PyRange_Check(o))
        return set_object(v, BB_RANGE, o, 0);
    /* Before buffers: ctypes' function pointers are both, and are meant to be called. */
    if (PyCallable_Check(o))
        return set_object(v, BB_CALLABLE, o, 0);
    return from_exporter(o, protocols, v);
}

static int from_other(PyObject *o, bb_value *v)
{
    int asked = 0, protocols = BB_P_ALL, r;

    if (PyList_CheckExact(o))
        return set_object(v, BB_LIST, o, PyList_GET_SIZE(o));
    if (PyDict_CheckExact(o))
        return set_object(v, BB_DICT, o, PyDict_Size(o));
    if ((r = from_converted(o, v, &asked, &protocols)) != 0)
        return r < 0 ? -1 : 0;
    r = from_unconverted(o, protocols, v);
    if (r == 0 && asked && v->owner == NULL)
        v->owner = Py_NewRef(o); /* so that nobody takes it for plain (bb_is_plain): Python code has run */
    return r;
}

int bb_from_python(PyObject *o, bb_value *v)
{
    v->owner = NULL;
    v->tag = BB_NONE; /* nothing to clear if what follows fails */
    if (PyLong_CheckExact(o)) {
        if (!bb_small_int(o, &v->a.i))
            return from_int(o, v);
        v->tag = BB_INT;
        return 0;
    }
    if (PyFloat_CheckExact(o)) {
        v->tag = BB_FLOAT;
        v->a.d = PyFloat_AS_DOUBLE(o);
        return 0;
    }
    if (Py_TYPE(o) == ndarray) /* also without NumPy: no type is NULL */
        return from_exporter(o, BB_P_INTERFACE, v);
    if (bb_is_julia(o)) {
        /* Julia does not check a view's indices again: one that no longer fits must not get there. */
        if (Py_TYPE(o) == bb_types[BB_CLASS_ARRAY] && bb_array_usable((bb_array *)o) < 0)
            return -1;
        v->tag = BB_JULIA;
        v->a.p = ((bb_julia *)o)->jl;
        return 0;
    }
    if (PyUnicode_CheckExact(o))
        return from_str(o, v);
    if (o == Py_None)
        return 0;
    if (PyBool_Check(o)) {
        v->tag = BB_BOOL;
        v->a.i = o == Py_True;
        return 0;
    }
    if (PyComplex_CheckExact(o)) {
        v->tag = BB_COMPLEX;
        v->a.d = bb_real(o);
        v->b.d = bb_imag(o);
        return 0;
    }
    if (PyTuple_CheckExact(o))
        return set_object(v, BB_TUPLE, o, PyTuple_GET_SIZE(o));
    return from_other(o, v);
}

PyObject *bb_to_python(bb_value *v)
{
    switch (v->tag) {
    case BB_NONE: return Py_NewRef(Py_None);
    case BB_BOOL: return PyBool_FromLong(v->a.i != 0);
    case BB_INT: return PyLong_FromLongLong(v->a.i);
    case BB_UINT: return PyLong_FromUnsignedLongLong((uint64_t)v->a.i);
    case BB_FLOAT: return PyFloat_FromDouble(v->a.d);
    case BB_COMPLEX: return PyComplex_FromDoubles(v->a.d, v->b.d);
    case BB_STR: return bb_text(v->a.p, (Py_ssize_t)v->b.i);
    case BB_OBJECT: return (PyObject *)v->a.p;
    }
    PyErr_Format(PyExc_SystemError, "bufferbridge: a value of unknown kind %lld came from Julia",
                 (long long)v->tag);
    return NULL;
}
