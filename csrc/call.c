/* Calls from Python into Julia: the hot path.
 *
 * A call converts its arguments into bb_values on the C stack, enters Julia (threads.c), and makes a Python
 * object of the result. Any Julia object is called through the one general entry, which looks the method up
 * at run time. Where a function has been called with plain arguments of the same kinds for some time, Julia
 * is asked once for code that knows them (jlsrc/src/compiled.jl). It gives the same results, looks nothing up
 * and boxes nothing. Once a definition has changed that it relies on, Julia marks it as not valid any more,
 * and the call goes the general way again.
 *
 * Lifetimes: values borrow from the arguments, which the caller keeps alive; what they own is given back
 * here whatever happens. With the GIL held, on any thread that may enter Julia (bb_ready). */
#include "bufferbridge.h"

enum {
    STACK_VALUES = 8,
    MAX_COMPILED = 4,         /* arguments of calls that are compiled */
    CALLS_TO_COMPILE = 4000,  /* some tenths of a millisecond of calls, against tens of them to compile */
};

/* ------------------------------------------------------------ compiled calls */

/* The kinds of plain arguments, as one number that is never 0; 0 if they are others. */
static int64_t signature(const bb_value *values, Py_ssize_t n)
{
    int64_t s = 1;
    if (n > MAX_COMPILED)
        return 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (values[i].tag > BB_STR)
            return 0;
        s = s << 3 | values[i].tag;
    }
    return s;
}

/* Asks a helper to compile something. 0, also if it can't: the general way works, or says what does not. -1 with
 * an exception that is no error: an interrupt. */
static int ask(enum bb_helper h, bb_value *args, int64_t n, bb_value *result)
{
    result->a.p = NULL;
    if (bb_call_helper(h, args, n, result) == 0)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyErr_Clear();
    result->a.p = NULL;
    return 0;
}

static int compile(bb_function *f, int64_t s)
{
    bb_value args[2] = {{.tag = BB_JULIA, .a.p = f->base.jl}, {.tag = BB_INT, .a.i = s}}, result;
    int r = ask(BB_H_COMPILE, args, 2, &result);
    /* Python code may have run (output, what is let go), and called this very function with other arguments. */
    if (f->signature == s)
        f->code = (bb_code *)(intptr_t)result.a.i;
    return r;
}

/* The general entry that Julia started with comes from an image, perhaps, and is slower than it need be. */
static int general_is_compiled;

static int compile_general(void)
{
    bb_value result;
    general_is_compiled = 1;
    return ask(BB_H_COMPILE_GENERAL, NULL, 0, &result);
}

/* Sets *code to the code for this call, or to NULL. 0, or -1 with an exception. The call that asks for code does
 * not use it: nobody knows whether it is still valid when Python code has run. */
static inline int look_for_code(bb_function *f, int64_t s, const bb_code **code)
{
    *code = NULL;
    if (f->signature != s) {
        f->signature = s;
        f->calls = 0;
        f->code = NULL;
    }
    if (f->code != NULL) {
        if (*f->code->valid == SIZE_MAX) {
            *code = f->code;
            return 0;
        }
        f->code = NULL;
        f->calls = 0;
    }
    return ++f->calls == CALLS_TO_COMPILE ? compile(f, s) : 0;
}

/* ------------------------------------------------------------------- calls */

/* After the last conversion: converting an argument may run Python code that resizes a Vector of which an argument
 * before it is a view. */
int bb_arguments_usable(PyObject *const *args, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i + 1 < n; i++)
        if (Py_TYPE(args[i]) == bb_types[BB_CLASS_ARRAY] && bb_array_usable((bb_array *)args[i]) < 0)
            return -1;
    return 0;
}

void bb_clear_values(bb_value *values, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++)
        if (!bb_is_plain(&values[i]))
            bb_value_clear(&values[i]);
}

/* Calls f, with the GIL held and Julia ready. function: the object that f belongs to, if it is a
 * JuliaFunction. */
PyObject *bb_call(void *f, PyObject *const *args, Py_ssize_t n, PyObject *kwnames, bb_function *function)
{
    bb_value stack[STACK_VALUES], *values = stack, result;
    Py_ssize_t converted = 0;
    PyObject *out = NULL;
    int failed = 0, plain = 1, general = 0;

    if (n > STACK_VALUES && (values = PyMem_Malloc((size_t)n * sizeof *values)) == NULL)
        return PyErr_NoMemory();
    for (; converted < n; converted++) {
        if (bb_from_python(args[converted], &values[converted]) < 0) {
            bb_value_clear(&values[converted]);
            failed = 1;
            break;
        }
        plain &= bb_is_plain(&values[converted]);
    }
    if (!plain && !failed)
        failed = bb_arguments_usable(args, n) < 0;
    if (!failed) {
        const bb_code *code = NULL;
        int64_t s;
        result.owner = NULL;
        if (function != NULL && kwnames == NULL && (s = signature(values, n)) != 0) {
            failed = look_for_code(function, s, &code);
            if (code != NULL && code->leaf && plain) {
                bb_call_leaf(code->entry, f, values, &result);
                return bb_to_python(&result);
            }
        }
        general = code == NULL || code->leaf;
        if (!failed && bb_enter(general ? bb.entry : code->entry, f, values, n, kwnames, &result) == 0)
            out = bb_to_python(&result);
    }
    if (!plain)
        bb_clear_values(values, converted);
    if (values != stack)
        PyMem_Free(values);
    /* After the call, since Python code may run. */
    if (general && !general_is_compiled && bb.calls > CALLS_TO_COMPILE && out != NULL && compile_general() < 0)
        Py_CLEAR(out);
    bb_drain();
    return out;
}

static inline PyObject *vectorcall(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames,
                                   bb_function *function)
{
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    if (!bb_ready()) {
        bb_not_ready();
        return NULL;
    }
    if (kwnames != NULL) {
        Py_ssize_t k = PyTuple_GET_SIZE(kwnames);
        if (k == 0)
            kwnames = NULL;
        n += k;
    }
    return bb_call(((bb_julia *)self)->jl, args, n, kwnames, function);
}

PyObject *bb_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    return vectorcall(self, args, nargsf, kwnames, NULL);
}

PyObject *bb_function_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    return vectorcall(self, args, nargsf, kwnames, (bb_function *)self);
}

int bb_call_helper(enum bb_helper h, bb_value *args, int64_t n, bb_value *result)
{
    int r;
    if (!bb_ready())
        return bb_not_ready();
    result->owner = NULL;
    r = bb_enter(bb.entry, bb.helpers[h], args, n, NULL, result);
    bb_drain();
    return r;
}
