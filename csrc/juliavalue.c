/* JuliaValue and its kinds but JuliaArray: Python objects that hold one Julia object.
 *
 * Lifetime: roots[slot], an element of a Vector{Any} that Julia owns, keeps the object alive. Writing
 * NULL there and putting the slot on the free list lets go of it, and needs neither Julia nor its
 * lock: it happens in tp_dealloc, on any thread that has the GIL, during a collection as well as
 * after Julia's end. (Storing NULL needs no write barrier; the collector skips it.) Julia fills slots,
 * see jlsrc/src/roots.jl. */
#include "bufferbridge.h"
#include <stddef.h>
#include <string.h>
#include <structmember.h>

PyTypeObject *bb_types[BB_CLASS_COUNT];

void bb_init_julia(bb_julia *self, void *jl, int64_t slot)
{
    self->jl = jl;
    self->slot = slot;
    self->vectorcall = bb_vectorcall;
    self->weakrefs = NULL;
    bb.holders[slot] = (PyObject *)self;
}

PyObject *bb_new_julia(int class_, void *jl, int64_t slot)
{
    bb_julia *self = (bb_julia *)PyType_GenericAlloc(bb_types[class_], 0);
    if (self == NULL)
        return NULL;
    bb_init_julia(self, jl, slot);
    if (class_ == BB_CLASS_FUNCTION)
        self->vectorcall = bb_function_vectorcall;
    return (PyObject *)self;
}

void bb_free_slot(int64_t slot)
{
    bb.roots[slot] = NULL;
    bb.free_slots[bb.nfree++] = slot;
}

void bb_dealloc_julia(PyObject *o)
{
    bb_julia *self = (bb_julia *)o;
    PyTypeObject *type = Py_TYPE(o);
    bb_loan *loan = NULL;

    bb.holders[self->slot] = NULL; /* before any code runs that could look for it there */
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(o);
    if (type == bb_types[BB_CLASS_ARRAY]) {
        bb_array *array = (bb_array *)o;
        if (array->memory_slot >= 0)
            bb_free_slot(array->memory_slot);
        if (array->home != array->dims)
            PyMem_Free(array->home);
        loan = array->loan;
    }
    bb_free_slot(self->slot);
    PyObject_Free(o);
    Py_DECREF(type);
    if (loan != NULL)
        bb_loan_drop(loan); /* last: it may run any code */
}

/* ------------------------------------------------------- asking Julia */

int bb_not_ready(void)
{
    switch (bb.status) {
    case BB_RUNNING:
        PyErr_SetString(PyExc_RuntimeError,
                        "Julia before 1.9 can be entered only from the thread that started it; use "
                        "Julia 1.9 or later to call it from several threads");
        break;
    case BB_STOPPED:
        PyErr_SetString(PyExc_RuntimeError, "Julia has stopped: the process is ending");
        break;
    case BB_FORKED:
        PyErr_SetString(PyExc_RuntimeError,
                        "Julia does not survive os.fork(); start it in the child only, or use "
                        "multiprocessing's 'spawn' method");
        break;
    default:
        PyErr_SetString(PyExc_RuntimeError, "Julia is not running; call bufferbridge.init() first");
    }
    return -1;
}

PyObject *bb_call_on(enum bb_helper h, PyObject *a, PyObject *b, PyObject *c)
{
    PyObject *args[3] = {a, b, c};
    if (!bb_ready()) {
        bb_not_ready();
        return NULL;
    }
    return bb_call(bb.helpers[h], args, 1 + (b != NULL) + (c != NULL), NULL, NULL);
}

/* ---------------------------------------------------------------- slots */

/* 1 for names like __x__, -1 with TypeError for what is no name (the slots can be called directly). */
static int is_dunder(PyObject *name)
{
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "attribute name must be string, not '%.200s'",
                     bb_type_name(Py_TYPE(name)));
        return -1;
    }
    Py_ssize_t n = PyUnicode_GET_LENGTH(name);
    return n > 4 && PyUnicode_READ_CHAR(name, 0) == '_' && PyUnicode_READ_CHAR(name, 1) == '_' &&
           PyUnicode_READ_CHAR(name, n - 1) == '_' && PyUnicode_READ_CHAR(name, n - 2) == '_';
}

/* Attributes of the type first (few, and documented), then Julia's. Names like __x__ are Python's
 * own business: asking Julia for them would only slow down every protocol that looks for one. */
static PyObject *getattro(PyObject *self, PyObject *name)
{
    int dunder = is_dunder(name);
    if (dunder < 0)
        return NULL;
    PyObject *found;
    if (!dunder && Py_TYPE(self) == bb_types[BB_CLASS_VALUE] &&
        PyUnicode_CompareWithASCIIString(name, "raw") == 0) {
        /* The one method of every object, which must not hide a field. */
        found = bb_call_on(BB_H_GETATTR, self, name, NULL);
        if (found != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
            return found;
        PyErr_Clear();
        return PyObject_GenericGetAttr(self, name);
    }
    found = PyObject_GenericGetAttr(self, name);
    if (found != NULL || dunder || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return found;
    PyErr_Clear();
    return bb_call_on(BB_H_GETATTR, self, name, NULL);
}

/* For modules Julia's names come first: a module may well define `shape`. */
static PyObject *module_getattro(PyObject *self, PyObject *name)
{
    int dunder = is_dunder(name);
    if (dunder != 0)
        return dunder < 0 ? NULL : PyObject_GenericGetAttr(self, name);
    return bb_call_on(BB_H_GETATTR, self, name, NULL);
}

static int setattro(PyObject *self, PyObject *name, PyObject *value)
{
    int dunder = is_dunder(name);
    if (dunder < 0)
        return -1;
    if (value == NULL) {
        PyErr_Format(PyExc_TypeError, "names and fields of Julia objects can't be deleted ('%U')",
                     name);
        return -1;
    }
    /* An array's own attributes (shape, ...) are Python's; that they are read-only it says itself. */
    if (dunder || (Py_TYPE(self) == bb_types[BB_CLASS_ARRAY] &&
                   PyObject_HasAttr((PyObject *)Py_TYPE(self), name)))
        return PyObject_GenericSetAttr(self, name, value);
    PyObject *r = bb_call_on(BB_H_SETATTR, self, name, value);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static PyObject *dir(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *names = bb_call_on(BB_H_DIR, self, NULL, NULL);
    if (names == NULL)
        return NULL;
    PyObject *own = PyObject_CallMethod((PyObject *)&PyBaseObject_Type, "__dir__", "O", self);
    if (own != NULL) {
        PyObject *all = PySequence_List(names);
        if (all != NULL) {
            PyObject *r = PyObject_CallMethod(all, "extend", "O", own);
            Py_XDECREF(r);
            if (r == NULL)
                Py_CLEAR(all);
        }
        Py_SETREF(names, all);
        Py_DECREF(own);
    } else
        Py_CLEAR(names);
    return names;
}

/* repr must work for every object that lives: without Julia, and for a view that no longer fits, it is
 * Python's usual one. */
static PyObject *plain_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<%s at %p>", bb_type_name(Py_TYPE(self)), (void *)self);
}

static PyObject *display(enum bb_helper h, PyObject *self)
{
    if (!bb_ready())
        return plain_repr(self);
    if (Py_TYPE(self) == bb_types[BB_CLASS_ARRAY] && bb_array_usable((bb_array *)self) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_BufferError))
            return NULL;
        PyErr_Clear();
        return plain_repr(self);
    }
    return bb_call_on(h, self, NULL, NULL);
}

static PyObject *repr(PyObject *self) { return display(BB_H_REPR, self); }

static PyObject *str(PyObject *self) { return display(BB_H_STR, self); }

static Py_hash_t hash(PyObject *self)
{
    PyObject *h = bb_call_on(BB_H_HASH, self, NULL, NULL);
    if (h == NULL)
        return -1;
    Py_hash_t r = PyLong_AsSsize_t(h); /* as it is: hash() of a large int is another number */
    Py_DECREF(h);
    return r == -1 && !PyErr_Occurred() ? -2 : r;
}

static PyObject *richcompare(PyObject *a, PyObject *b, int op)
{
    static PyObject *ops[6];
    static const char *const names[6] = {"<", "<=", "==", "!=", ">", ">="};

    if ((op == Py_EQ || op == Py_NE) && bb_is_julia(b) && ((bb_julia *)a)->jl == ((bb_julia *)b)->jl)
        return PyBool_FromLong(op == Py_EQ);
    if (!bb_is_julia(b) && !bb_ready())
        Py_RETURN_NOTIMPLEMENTED; /* whether they are equal may be asked at any time */
    if (ops[op] == NULL && (ops[op] = PyUnicode_InternFromString(names[op])) == NULL)
        return NULL;
    return bb_call_on(BB_H_COMPARE, a, ops[op], b);
}

static Py_ssize_t length(PyObject *self)
{
    PyObject *n = bb_call_on(BB_H_LENGTH, self, NULL, NULL);
    if (n == NULL)
        return -1;
    Py_ssize_t r = PyLong_AsSsize_t(n);
    Py_DECREF(n);
    if (r < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "the length of this Julia object is negative");
    return r < 0 ? -1 : r;
}

static PyObject *subscript(PyObject *self, PyObject *key)
{
    return bb_call_on(BB_H_GETITEM, self, key, NULL);
}

static int ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    PyObject *r = value == NULL ? bb_call_on(BB_H_DELETE, self, key, NULL)
                                : bb_call_on(BB_H_SETITEM, self, key, value);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static int truth(PyObject *self)
{
    bb_value arg[1] = {{.tag = BB_JULIA, .a.p = ((bb_julia *)self)->jl}}, result;
    if (Py_TYPE(self) == bb_types[BB_CLASS_ARRAY] && bb_array_usable((bb_array *)self) < 0)
        return -1;
    return bb_call_helper(BB_H_TRUTH, arg, 1, &result) < 0 ? -1 : result.a.i != 0;
}

static int contains(PyObject *self, PyObject *item)
{
    PyObject *r = bb_call_on(BB_H_CONTAINS, self, item, NULL);
    if (r == NULL)
        return -1;
    int found = PyObject_IsTrue(r);
    Py_DECREF(r);
    return found;
}

static PyObject *no_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyErr_Format(PyExc_TypeError, "a %s comes from Julia: use bufferbridge.eval, a call, or "
                 "bufferbridge.wrap", bb_type_name(type));
    return NULL;
}

/* Julia's iteration protocol, one step a call: the callable that Julia gives raises StopIteration at the end.
 * (Python's iter(callable, sentinel) would compare each element with the sentinel, which runs its __eq__.) It holds
 * nothing but a Julia object, so that Python's collector need not know it. */
typedef struct {
    PyObject_HEAD
    PyObject *step; /* NULL when the end was reached */
} bb_iterator;

static PyTypeObject *iterator_type;

static void iterator_dealloc(PyObject *o)
{
    PyTypeObject *type = Py_TYPE(o);
    Py_CLEAR(((bb_iterator *)o)->step);
    PyObject_Free(o);
    Py_DECREF(type);
}

static PyObject *iterator_next(PyObject *o)
{
    PyObject *step = ((bb_iterator *)o)->step, *r;
    if (step == NULL)
        return NULL;
    Py_INCREF(step); /* another thread may come to the end meanwhile */
    r = PyObject_CallNoArgs(step);
    if (r == NULL && PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyErr_Clear();
        Py_CLEAR(((bb_iterator *)o)->step);
    }
    Py_DECREF(step);
    return r;
}

static PyType_Slot iterator_slots[] = {
    {Py_tp_new, no_new}, {Py_tp_dealloc, iterator_dealloc}, {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},
    {0, NULL},
};

static PyType_Spec iterator_spec = {"bufferbridge.JuliaIterator", sizeof(bb_iterator), 0, Py_TPFLAGS_DEFAULT,
                                    iterator_slots};

static PyObject *iter(PyObject *self)
{
    PyObject *step = bb_call_on(BB_H_ITERATE, self, NULL, NULL);
    if (step == NULL)
        return NULL;
    bb_iterator *it = (bb_iterator *)PyType_GenericAlloc(iterator_type, 0);
    if (it == NULL)
        Py_DECREF(step);
    else
        it->step = step;
    return (PyObject *)it;
}

/* A call whose result is not converted. */
static PyObject *raw(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    Py_ssize_t all = n + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    PyObject **with_self, *r;
    if (!bb_ready()) {
        bb_not_ready();
        return NULL;
    }
    if ((with_self = PyMem_Malloc((size_t)(1 + all) * sizeof *with_self)) == NULL)
        return PyErr_NoMemory();
    with_self[0] = self;
    memcpy(with_self + 1, args, (size_t)all * sizeof *args);
    r = bb_call(bb.helpers[BB_H_CALL_RAW], with_self, 1 + all, all > n ? kwnames : NULL, NULL);
    PyMem_Free(with_self);
    return r;
}

/* ---------------------------------------------------------------- types */

static PyMethodDef methods[] = {
    {"raw", (PyCFunction)(void (*)(void))raw, METH_FASTCALL | METH_KEYWORDS,
     "raw(*args, **kwargs)\n\n"
     "Call it, and get the result as Julia has it: a JuliaValue (JuliaArray, JuliaDict, ...) also\n"
     "where Python has a type for it."},
    {"__dir__", dir, METH_NOARGS, "Names of the Julia object and of this Python type."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(bb_julia, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(bb_julia, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define COMMON_SLOTS \
    {Py_tp_new, no_new}, {Py_tp_dealloc, bb_dealloc_julia}, {Py_tp_members, members}, \
    {Py_tp_call, PyVectorcall_Call}

static PyType_Slot value_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, "A Julia object. Attributes are Julia's properties; calling it calls it in Julia; "
                "comparison and hash are Julia's.\n\n"
                "Names with ! end in _b. Raises AttributeError for a property that is not there, TypeError\n"
                "where Julia has no method for the arguments, else what the Julia code throws, as a JuliaError\n"
                "of the natural kind; RuntimeError after Julia has stopped, and on other threads before\n"
                "Julia 1.9."},
    {Py_tp_methods, methods},
    {Py_tp_getattro, getattro},
    {Py_tp_setattro, setattro},
    {Py_tp_repr, repr},
    {Py_tp_str, str},
    {Py_tp_hash, hash},
    {Py_tp_richcompare, richcompare},
    {Py_nb_bool, truth},
    {Py_mp_length, length},
    {Py_mp_subscript, subscript},
    {Py_mp_ass_subscript, ass_subscript},
    {Py_sq_contains, contains},
    {Py_tp_iter, iter},
    {0, NULL},
};

static PyType_Slot function_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, "A Julia function: call it with positional and keyword arguments.\n\n"
                "Arrays and all that exports a buffer are shared with Julia, for as long as Julia uses them; lists,\n"
                "dicts and sets are copied. The GIL is held: see bufferbridge.nogil. Keyword arguments come after\n"
                "the positional ones, as in Python. Raises TypeError where no method fits."},
    {0, NULL},
};

static PyType_Slot module_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, "A Julia module: its names are attributes, names that end in ! with _b (push_b).\n\n"
                "Assignment sets a global variable of the module. Raises AttributeError for a name that is not\n"
                "there; names can't be deleted (TypeError)."},
    {Py_tp_getattro, module_getattro},
    {0, NULL},
};

static PyType_Slot dict_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, "A Julia dictionary (AbstractDict), as a mutable mapping of Python's.\n\n"
                "Keys and values are converted with each access, nothing is copied beforehand; dict(x) copies.\n"
                "Raises KeyError for a key that is not there. It has all methods of\n"
                "collections.abc.MutableMapping."},
    {0, NULL},
};

static PyType_Slot set_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, "A Julia set (AbstractSet), as a mutable set of Python's.\n\n"
                "Elements are converted with each access; set(x) copies. It has all methods of\n"
                "collections.abc.MutableSet, and those of set by name."},
    {0, NULL},
};

static PyType_Slot io_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, "A Julia stream (IO), as a binary file of Python's. io.TextIOWrapper(x) reads and writes text.\n\n"
                "Sizes and positions are in bytes. Raises io.UnsupportedOperation for what the stream can't do,\n"
                "ValueError after it was closed. It has all methods of io.BufferedIOBase."},
    {0, NULL},
};

#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL)

/* By enum bb_class; JuliaArray is made in juliaarray.c. */
static PyType_Spec specs[BB_CLASS_COUNT] = {
    {"bufferbridge.JuliaValue", sizeof(bb_julia), 0, FLAGS | Py_TPFLAGS_BASETYPE, value_slots},
    {"bufferbridge.JuliaFunction", sizeof(bb_function), 0, FLAGS, function_slots},
    {"bufferbridge.JuliaModule", sizeof(bb_julia), 0, FLAGS, module_slots},
    {NULL, 0, 0, 0, NULL},
    {"bufferbridge.JuliaDict", sizeof(bb_julia), 0, FLAGS, dict_slots},
    {"bufferbridge.JuliaSet", sizeof(bb_julia), 0, FLAGS, set_slots},
    {"bufferbridge.JuliaIO", sizeof(bb_julia), 0, FLAGS, io_slots},
};

static PyType_Slot *append_slots(PyType_Slot *to, const PyType_Slot *slots)
{
    while (slots->slot != 0)
        *to++ = *slots++;
    *to = *slots;
    return to;
}

int bb_make_value_types(PyObject *namespace_)
{
    static PyType_Slot all[128]; /* twice as many as there are slots in CPython's types */
    PyObject *bases = NULL;
    if ((iterator_type = (PyTypeObject *)PyType_FromSpec(&iterator_spec)) == NULL)
        return -1;
    append_slots(append_slots(all, value_slots), bb_number_slots);
    specs[BB_CLASS_VALUE].slots = all;
    for (int i = 0; i < BB_CLASS_COUNT; i++) {
        if (specs[i].name == NULL)
            continue;
        bb_types[i] = (PyTypeObject *)PyType_FromSpecWithBases(&specs[i], bases);
        if (bb_types[i] == NULL)
            goto fail;
        if (PyDict_SetItemString(namespace_, strchr(specs[i].name, '.') + 1,
                                 (PyObject *)bb_types[i]) < 0)
            goto fail;
        if (i == 0 && (bases = PyTuple_Pack(1, bb_types[0])) == NULL)
            goto fail;
    }
    Py_DECREF(bases);
    return 0;
fail:
    Py_XDECREF(bases);
    return -1;
}
