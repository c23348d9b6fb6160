/* What abi.h declares: the parts of CPython's API that its stable ABI has not, by what it has. */
#define _GNU_SOURCE 1
#include "bufferbridge.h"
#include <dlfcn.h>
#include <stdio.h>

#ifdef Py_LIMITED_API

/* PyGILState_Check: every CPython has it and exports it (it is documented since 3.4), but no version of the stable
 * ABI declares it, and there is nothing else in that tells the same without waiting. So it is looked up. */
static int (*gil_check)(void);

int bb_gil_check(void) { return gil_check(); }

int bb_prepare_abi(void)
{
    void *p = dlsym(RTLD_DEFAULT, "PyGILState_Check");
    if (p == NULL) {
        PyErr_SetString(PyExc_ImportError, "this Python has no PyGILState_Check; install bufferbridge from source, with "
                                           "BUFFERBRIDGE_ABI3=0 in the environment");
        return -1;
    }
    memcpy(&gil_check, &p, sizeof p);
    return 0;
}

/* Types that are written in C have their module in tp_name, classes of Python's have not. So has ours, and it is
 * kept for ever: messages use but a few names at a time. */
const char *bb_type_name(PyTypeObject *type)
{
    static char names[8][128];
    static unsigned next;
    char *text = names[next++ % 8];
    PyObject *error, *value, *traceback, *name, *module = NULL;
    const char *s = NULL, *m = NULL;

    PyErr_Fetch(&error, &value, &traceback);
    name = PyType_GetName(type);
    if (name != NULL)
        s = PyUnicode_AsUTF8AndSize(name, NULL);
    if (!(PyType_GetFlags(type) & Py_TPFLAGS_HEAPTYPE) || bb_is_own_type(type))
        module = PyObject_GetAttrString((PyObject *)type, "__module__");
    if (module != NULL && PyUnicode_Check(module))
        m = PyUnicode_AsUTF8AndSize(module, NULL);
    if (m != NULL && strcmp(m, "builtins") != 0)
        snprintf(text, sizeof *names, "%s.%s", m, s ? s : "?");
    else
        snprintf(text, sizeof *names, "%s", s ? s : "?");
    Py_XDECREF(name);
    Py_XDECREF(module);
    PyErr_Restore(error, value, traceback);
    return text;
}

PyObject *bb_str_of(const Py_UCS4 *text, Py_ssize_t length)
{
    int order = PY_LITTLE_ENDIAN ? -1 : 1; /* given, so that a first U+FEFF is a character */
    return PyUnicode_DecodeUTF32((const char *)text, length * (Py_ssize_t)sizeof *text, "surrogatepass", &order);
}

PyObject *bb_memoryview_base(PyObject *o)
{
    PyObject *base = PyObject_GetAttrString(o, "obj");
    if (base == NULL)
        PyErr_Clear();
    Py_XDECREF(base); /* the memoryview keeps it */
    return base == Py_None ? NULL : base;
}

#else

int bb_gil_check(void) { return PyGILState_Check(); }
int bb_prepare_abi(void) { return 0; }
const char *bb_type_name(PyTypeObject *type) { return type->tp_name; }

#endif
