/* What Julia code can do with a Python object, besides calls and attributes: Python's operators, items, iteration,
 * and a few conversions. Julia finds these functions by name, as those of api.c, and the same is true of all:
 * they need the GIL, borrow their arguments, and return NULL or -1 with a Python exception set when they fail.
 * Results that are objects are new references. */
#include "bufferbridge.h"
#include <string.h>

/* In the order of the names in jlsrc/src/pyoperators.jl. */
static PyObject *power(PyObject *a, PyObject *b) { return PyNumber_Power(a, b, Py_None); }
static const binaryfunc binary_operators[] = {
    PyNumber_Add, PyNumber_Subtract, PyNumber_Multiply, PyNumber_TrueDivide, PyNumber_FloorDivide, PyNumber_Remainder,
    power, PyNumber_Lshift, PyNumber_Rshift, PyNumber_And, PyNumber_Or, PyNumber_Xor, PyNumber_MatrixMultiply,
};
static const unaryfunc unary_operators[] = {PyNumber_Negative, PyNumber_Positive, PyNumber_Invert, PyNumber_Absolute};

static PyObject *binary_(int64_t operator, PyObject *a, PyObject *b)
{
    PyObject *r = NULL;
    /* Python's operators of objects that are written in C call nothing that counts. */
    if (Py_EnterRecursiveCall(" in an operator") == 0) {
        r = binary_operators[operator](a, b);
        Py_LeaveRecursiveCall();
    }
    return r;
}
static PyObject *api_binary(int64_t operator, PyObject *a, PyObject *b) IN_PYTHON(PyObject *, binary_(operator, a, b))

static PyObject *unary_(int64_t operator, PyObject *a)
{
    PyObject *r = NULL;
    if (Py_EnterRecursiveCall(" in an operator") == 0) {
        r = unary_operators[operator](a);
        Py_LeaveRecursiveCall();
    }
    return r;
}
static PyObject *api_unary(int64_t operator, PyObject *a) IN_PYTHON(PyObject *, unary_(operator, a))

/* operator: Py_LT, Py_LE, Py_EQ, Py_NE, Py_GT, Py_GE. (It counts by itself.) */
static PyObject *api_compare(PyObject *a, PyObject *b, int64_t operator)
    IN_PYTHON(PyObject *, PyObject_RichCompare(a, b, (int)operator))

static int api_truth(PyObject *o) IN_PYTHON(int, PyObject_IsTrue(o))

/* 0 and *hash; -1 is Python's way to say that there is none. */
static int hash_(PyObject *o, int64_t *hash)
{
    *hash = PyObject_Hash(o);
    return *hash == -1 ? -1 : 0;
}
static int api_hash(PyObject *o, int64_t *hash) IN_PYTHON(int, hash_(o, hash))

static PyObject *api_getitem(PyObject *o, PyObject *key) IN_PYTHON(PyObject *, PyObject_GetItem(o, key))
static int api_setitem(PyObject *o, PyObject *key, PyObject *value) IN_PYTHON(int, PyObject_SetItem(o, key, value))
static int api_delitem(PyObject *o, PyObject *key) IN_PYTHON(int, PyObject_DelItem(o, key))
static int api_contains(PyObject *o, PyObject *item) IN_PYTHON(int, PySequence_Contains(o, item))

/* The item of that key; NULL without an exception if there is none. */
static PyObject *lookup_(PyObject *o, PyObject *key)
{
    PyObject *r = PyObject_GetItem(o, key);
    if (r == NULL && PyErr_ExceptionMatches(PyExc_KeyError))
        PyErr_Clear();
    return r;
}
static PyObject *api_lookup(PyObject *o, PyObject *key) IN_PYTHON(PyObject *, lookup_(o, key))

static PyObject *api_iter(PyObject *o) IN_PYTHON(PyObject *, PyObject_GetIter(o))
/* NULL without an exception at the end. */
static PyObject *api_next(PyObject *iterator) IN_PYTHON(PyObject *, PyIter_Next(iterator))

/* 1 or 0. */
static int hasattr_(PyObject *o, const char *name, int64_t n)
{
    PyObject *key = bb_text(name, n);
    PyObject *r = key == NULL ? NULL : PyObject_GetAttr(o, key);
    Py_XDECREF(key);
    Py_XDECREF(r);
    if (r != NULL)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    return 0;
}
static int api_hasattr(PyObject *o, const char *name, int64_t n) IN_PYTHON(int, hasattr_(o, name, n))

static int api_isinstance(PyObject *o, PyObject *class_) IN_PYTHON(int, PyObject_IsInstance(o, class_))
static int api_callable(PyObject *o) { return PyCallable_Check(o); }

/* A module by its full name: of "a.b" that is b. */
static PyObject *api_import_module(const char *name, int64_t n)
{
    int state = bb_to_python_state();
    PyObject *key = bb_text(name, n);
    PyObject *module = key == NULL ? NULL : PyImport_Import(key);
    Py_XDECREF(key);
    bb_to_julia_state(state);
    return module;
}

static PyObject *api_bytes(const char *p, int64_t n) IN_PYTHON(PyObject *, PyBytes_FromStringAndSize(p, n))

/* What an iterable has, as a new container: 0 a list, 1 a tuple, 2 a dict, 3 a set. */
static PyObject *container_(PyObject *o, int64_t kind)
{
    PyObject *const classes[] = {(PyObject *)&PyList_Type, (PyObject *)&PyTuple_Type, (PyObject *)&PyDict_Type,
                                 (PyObject *)&PySet_Type};
    return PyObject_CallFunctionObjArgs(classes[kind], o, NULL);
}
static PyObject *api_container(PyObject *o, int64_t kind) IN_PYTHON(PyObject *, container_(o, kind))

/* The Julia exception that a JuliaError was made for, as its JuliaValue; NULL if it is none, without an
 * exception. */
static PyObject *julia_exception_(PyObject *error)
{
    PyObject *r = NULL;
    if (bb.julia_error != NULL && PyObject_TypeCheck(error, (PyTypeObject *)bb.julia_error)) {
        r = PyObject_GetAttrString(error, "exception");
        if (r == NULL)
            PyErr_Clear(); /* somebody's subclass */
        else if (!bb_is_julia(r))
            Py_CLEAR(r);
    }
    return r;
}
static PyObject *api_julia_exception(PyObject *error) IN_PYTHON(PyObject *, julia_exception_(error))

#define F(name) {#name, (void *)api_##name}
static const struct { const char *name; void *function; } functions[] = {
    F(binary), F(unary), F(compare), F(truth), F(hash), F(getitem), F(setitem), F(delitem), F(contains), F(lookup),
    F(iter), F(next), F(hasattr), F(isinstance), F(callable), F(import_module), F(bytes), F(container), F(julia_exception),
};

void *bb_operation(const char *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0)
            return functions[i].function;
    return NULL;
}
