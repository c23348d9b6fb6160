/* NumPy's masked arrays. They are ndarrays by their class, so that their buffer would be taken for all of them, and the
 * mask lost. What they become in Julia is a conversion of their class, bufferbridge/_masked.py. */
#include "bufferbridge.h"

/* numpy.ma.MaskedArray, once somebody has imported it; kept for ever. */
static PyTypeObject *masked_array;

/* 1, 0, or -1 with an exception. All classes made in Python are heap types: the usual exporters cost one test. */
int bb_is_masked(PyObject *o)
{
    static PyObject *name;

    if (!(PyType_GetFlags(Py_TYPE(o)) & Py_TPFLAGS_HEAPTYPE))
        return 0;
    if (masked_array == NULL) {
        if (name == NULL && (name = PyUnicode_InternFromString("numpy.ma")) == NULL)
            return -1;
        PyObject *module = PyImport_GetModule(name), *found;
        if (module == NULL)
            return PyErr_Occurred() ? -1 : 0;
        found = PyObject_GetAttrString(module, "MaskedArray");
        Py_DECREF(module);
        if (found == NULL || !PyType_Check(found)) { /* it is being imported */
            Py_XDECREF(found);
            PyErr_Clear();
            return 0;
        }
        if (masked_array == NULL)
            masked_array = (PyTypeObject *)Py_NewRef(found);
        Py_DECREF(found);
    }
    return PyType_IsSubtype(Py_TYPE(o), masked_array);
}

/* The JuliaArray of a masked array; new, or NULL. */
PyObject *bb_wrap_masked(PyObject *o)
{
    PyObject *module = PyImport_ImportModule("bufferbridge._masked"), *result;
    if (module == NULL)
        return NULL;
    result = PyObject_CallMethod(module, "from_numpy", "O", o);
    Py_DECREF(module);
    return result;
}

/* Refuses what would lose the mask: -1 with the exception. 0: it is no masked array. */
int bb_refuse_masked(PyObject *o)
{
    int r = bb_is_masked(o);
    if (r > 0)
        PyErr_SetString(PyExc_TypeError, "a masked array is two arrays, the data and the mask, and has no memory that is "
                                         "both: wrap(x), or x as an argument, shares them; x.data is one without the mask");
    return r == 0 ? 0 : -1;
}
