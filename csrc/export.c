/* Typed exports: Julia functions with declared argument types, as Python's builtins.
 *
 * Each is a builtin function whose C function is call_export below. What that needs to know is the state of a
 * module object, the builtin's __self__, as it is of every builtin function: a module named like the Julia
 * module it comes from. It is filled in by jlsrc/src/export.jl, and what it points to is Julia's and stays for
 * ever. Arguments of the simplest kinds are checked and converted here; all else, and everything that does not
 * fit, is Julia's business.
 *
 * The code of a function is compiled at its first call, and again after a definition has changed that it
 * relies on. */
#include "bufferbridge.h"

typedef struct {
    bb_export export;
    PyMethodDef method;   /* points to the texts of `export` */
} state;

static PyObject *wrong_number(const bb_export *e, Py_ssize_t n)
{
    if (e->required == e->count)
        PyErr_Format(PyExc_TypeError, "%s() takes %lld argument%s (%zd given)", e->name, (long long)e->count,
                     e->count == 1 ? "" : "s", n);
    else
        PyErr_Format(PyExc_TypeError, "%s() takes %lld to %lld arguments (%zd given)", e->name,
                     (long long)e->required, (long long)e->count, n);
    return NULL;
}

/* Python code may run meanwhile (output, what is let go), and change definitions again. */
static __attribute__((noinline)) int compile(const bb_export *e, const bb_code *code, Py_ssize_t n)
{
    bb_value args[2] = {{.tag = BB_JULIA, .a.p = e->object}, {.tag = BB_INT, .a.i = n}}, result;
    do
        if (bb_call_helper(BB_H_RECOMPILE, args, 2, &result) < 0)
            return -1;
    while (*code->valid != SIZE_MAX);
    return 0;
}

/* Of code that is valid. */
static inline __attribute__((always_inline)) PyObject *call_code(const bb_export *e, const bb_code *code,
                                                                 bb_value *values, Py_ssize_t n)
{
    bb_value result;

    if (code->leaf) {
        bb_call_leaf(code->entry, e->object, values, &result);
        return result.tag == BB_INT ? PyLong_FromLongLong(result.a.i) : bb_to_python(&result);
    }
    result.owner = NULL;
    return bb_enter(code->entry, e->object, values, n, NULL, &result) < 0 ? NULL : bb_to_python(&result);
}

/* Whether Julia's code may read the value as what was declared. */
static int fits(int kind, const bb_value *v)
{
    switch (kind) {
    case BB_EXPORT_INT: return v->tag == BB_INT;
    case BB_EXPORT_FLOAT: return v->tag == BB_FLOAT;
    case BB_EXPORT_BOOL: return v->tag == BB_BOOL;
    case BB_EXPORT_COMPLEX: return v->tag == BB_COMPLEX;
    }
    return 1; /* Julia looks itself */
}

/* Arguments of all kinds. */
static __attribute__((noinline)) PyObject *call_converted(const bb_export *e, const bb_code *code, PyObject *const *args,
                                                          Py_ssize_t n)
{
    bb_value values[BB_EXPORT_ARGS];
    PyObject *out = NULL;
    Py_ssize_t converted = 0;
    int fit = 1, failed = 0;

    for (; converted < n && !failed; converted++) {
        failed = bb_from_python(args[converted], &values[converted]) < 0;
        fit &= fits(e->kinds[converted], &values[converted]);
    }
    if (!failed)
        failed = bb_arguments_usable(args, n) < 0;
    if (!failed && fit) {
        if (*code->valid == SIZE_MAX)
            out = call_code(e, code, values, n);
        else { /* that code changed a definition */
            bb_value result;
            result.owner = NULL;
            if (bb_enter(bb.entry, e->object, values, n, NULL, &result) == 0)
                out = bb_to_python(&result);
        }
    }
    bb_clear_values(values, converted);
    if (!failed && !fit) /* Julia says what is wrong, or finds that it can be taken */
        return bb_call(e->object, args, n, NULL, NULL);
    bb_drain();
    return out;
}

static PyObject *call_export(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    const bb_export *e = PyModule_GetState(module);
    const bb_code *code;
    bb_value values[BB_EXPORT_ARGS];

    if (!bb_ready()) {
        bb_not_ready();
        return NULL;
    }
    if (n < e->required || n > e->count)
        return wrong_number(e, n);
    /* Before the arguments, since Python code may run: see bb_call. */
    code = &e->codes[n - e->required];
    if (*code->valid != SIZE_MAX && compile(e, code, n) < 0)
        return NULL;
    /* Plain numbers, of which the code reads nothing but the words. */
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *o = args[i];
        bb_value *v = &values[i];
        if (e->kinds[i] == BB_EXPORT_INT) {
            if (!PyLong_CheckExact(o) || !bb_small_int(o, &v->a.i))
                return call_converted(e, code, args, n);
        } else if (e->kinds[i] == BB_EXPORT_FLOAT) {
            if (!PyFloat_CheckExact(o))
                return call_converted(e, code, args, n);
            v->a.d = PyFloat_AS_DOUBLE(o);
        } else
            return call_converted(e, code, args, n);
    }
    return call_code(e, code, values, n);
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "bufferbridge.export",
    .m_size = sizeof(state),
};

/* A new builtin function. */
PyObject *bb_new_export(const bb_export *description)
{
    PyObject *module = PyModule_Create(&definition), *name = NULL, *function = NULL;
    state *s;

    if (module == NULL)
        return NULL;
    s = PyModule_GetState(module);
    s->export = *description;
    s->method = (PyMethodDef){description->name, (PyCFunction)(void (*)(void))call_export, METH_FASTCALL,
                              description->doc};
    name = PyUnicode_FromString(description->module);
    if (name != NULL && PyModule_SetDocString(module, "Where a typed export of Julia's comes from.") == 0 &&
        PyObject_SetAttrString(module, "__name__", name) == 0)
        function = PyCFunction_NewEx(&s->method, module, name);
    Py_XDECREF(name);
    Py_DECREF(module);
    return function;
}
