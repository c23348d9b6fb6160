/* JuliaArray: a Julia AbstractArray in Python, with a descriptor of its memory.
 *
 * Shape, strides, items of simple types and the buffer protocol come from the descriptor alone.
 * Slices, assignment of arrays, and all that concerns arrays whose memory can't be shared, are done
 * in Julia (jlsrc/src/items.jl, assign.jl).
 *
 * A Julia Vector can be resized, and may move then. Each use of such a descriptor first compares the
 * Vector's data pointer and length with what they were (bb_array_current), and follows the Vector; a
 * view that no longer fits into it raises BufferError. What protects a buffer that is exported already
 * is in getbuffer.c. Memory that was borrowed for a block of Python's is looked at only while the block
 * lasts, which bb_array_current checks as well (borrow.c). */
#include "bufferbridge.h"
#include <stddef.h>
#include <string.h>
#include <structmember.h>

/* --------------------------------------------------------- construction */

static void set_contiguity(bb_array *a)
{
    a->size = 1;
    for (int64_t i = 0; i < a->ndim; i++)
        a->size *= a->shape[i];
    a->contiguity = bb_contiguity(a->ndim, a->shape, a->strides, a->itemsize);
}

static void look_at_owner(bb_array *a)
{
    a->owner_data = *(char **)a->owner;
    a->owner_length = *(int64_t *)(a->owner + bb.length_offset);
}

/* Makes a JuliaArray of what Julia wrote into bb.layout. The slots are its own only if that works. */
PyObject *bb_new_array(void *jl, int64_t slot)
{
    const bb_layout *layout = &bb.layout;
    const size_t n = (size_t)layout->ndim;
    int64_t *home = NULL;
    bb_array *a;

    if (n > BB_INLINE_DIMS && (home = PyMem_Malloc(2 * n * sizeof *home)) == NULL)
        return PyErr_NoMemory();
    if ((a = PyObject_New(bb_array, bb_types[BB_CLASS_ARRAY])) == NULL) {
        PyMem_Free(home);
        return NULL;
    }
    bb_init_julia(&a->base, jl, slot);
    a->memory_slot = layout->memory_slot;
    a->retired = NULL;
    a->exports = 0;
    a->home = home ? home : a->dims;
    a->shape = a->home;
    a->strides = a->home + n;
    memcpy(a->shape, layout->shape, n * sizeof(int64_t));
    memcpy(a->strides, layout->strides, n * sizeof(int64_t));
    a->ptr = layout->ptr;
    a->itemsize = layout->itemsize;
    a->ndim = layout->ndim;
    a->kind = layout->kind;
    a->readonly = layout->readonly;
    a->derived = layout->derived;
    a->objects = layout->objects;
    a->format = layout->format;
    a->owner = layout->owner;
    if (a->owner != NULL)
        look_at_owner(a);
    a->loan = layout->loan;
    if (a->loan != NULL)
        a->loan->references++;
    set_contiguity(a);
    return (PyObject *)a;
}

/* ------------------------------------------------------ resized Vectors */

static int follow_owner(bb_array *a)
{
    if (a->owner != NULL && !a->derived && a->memory_slot < 0) {
        /* Nothing of it is exported, or it could not have been resized. */
        look_at_owner(a);
        a->ptr = a->owner_data;
        a->shape[0] = a->owner_length;
        set_contiguity(a);
        return 0;
    }
    /* A view, which may no longer fit; or what owns the memory is another object now, and has to be
     * rooted. The old one stays rooted as long as buffers of it are exported. */
    bb_layout now;
    bb_value result;
    for (;;) {
        bb_value args[2] = {{.tag = BB_JULIA, .a.p = a->base.jl},
                            {.tag = BB_INT, .a.i = (int64_t)(intptr_t)&now}};
        char *data = a->owner ? *(char **)a->owner : NULL;
        int64_t length = a->owner ? *(int64_t *)(a->owner + bb.length_offset) : 0;
        if (bb_call_helper(BB_H_ARRAY_REFRESH, args, 2, &result) < 0)
            return -1;
        if (a->owner == NULL || (*(char **)a->owner == data &&
                                 *(int64_t *)(a->owner + bb.length_offset) == length))
            break;
        /* What was released meanwhile ran code that resized it again. */
        if (now.memory_slot >= 0)
            bb_free_slot(now.memory_slot);
    }
    if (bb_retire_memory(a) < 0) {
        if (now.memory_slot >= 0)
            bb_free_slot(now.memory_slot);
        return -1;
    }
    a->memory_slot = now.memory_slot;
    a->ptr = now.ptr;
    memcpy(a->shape, now.shape, (size_t)a->ndim * sizeof(int64_t));
    memcpy(a->strides, now.strides, (size_t)a->ndim * sizeof(int64_t));
    if (a->owner != NULL)
        look_at_owner(a);
    set_contiguity(a);
    return 0;
}

int bb_array_current(bb_array *a)
{
    if (a->loan != NULL && a->loan->closed)
        return bb_loan_ended();
    if (a->format == NULL) /* without memory to look at there is only Julia to ask */
        return bb_ready() ? follow_owner(a) : 0;
    if (a->owner == NULL ||
        (*(char **)a->owner == a->owner_data &&
         *(int64_t *)(a->owner + bb.length_offset) == a->owner_length))
        return 0;
    return follow_owner(a);
}

int bb_array_usable(bb_array *a)
{
    return a->derived || a->loan != NULL ? bb_array_current(a) : 0;
}

/* ------------------------------------------------------------- indexing */

typedef struct { int64_t start, step, count; } axis; /* count -1: one index, no axis remains */

/* A value that is assigned. Where there are references to Python objects in the array's memory, it goes
 * to Julia as the object it is. */
static int assigned_value(bb_array *a, PyObject *value, bb_value *v)
{
    if (!a->objects)
        return bb_from_python(value, v);
    v->tag = BB_OBJECT;
    v->a.p = value;
    v->owner = NULL;
    return 0;
}

/* ARRAY_GET or ARRAY_SET, of one item or of a view. */
static PyObject *array_helper(enum bb_helper h, bb_array *a, const axis *axes, int item,
                              PyObject *value)
{
    bb_value args[4], result;
    PyObject *out = NULL;
    int64_t n = 3;

    memset(args, 0, sizeof args);
    args[0].tag = BB_JULIA;
    args[0].a.p = a->base.jl;
    args[1].tag = BB_INT;
    args[1].a.i = (int64_t)(intptr_t)axes;
    args[2].tag = BB_BOOL;
    args[2].a.i = item;
    if (value != NULL) {
        n = 4;
        if (assigned_value(a, value, &args[3]) < 0)
            return NULL;
    }
    if (bb_call_helper(h, args, n, &result) == 0)
        out = bb_to_python(&result);
    if (value != NULL)
        bb_value_clear(&args[3]);
    return out;
}

static int one_index(PyObject *key, int64_t n, int64_t dim, int64_t *out)
{
    int64_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (i == -1 && PyErr_Occurred())
        return -1;
    *out = i < 0 ? i + n : i;
    if (*out < 0 || *out >= n) {
        PyErr_Format(PyExc_IndexError, "index %lld is out of bounds for axis %lld with size %lld",
                     (long long)i, (long long)dim, (long long)n);
        return -1;
    }
    return 0;
}

/* NumPy's basic indexing: integers, slices and one '...' for the axes that are left. 1: the key means
 * one item; 0: a view (with '...' always, as in NumPy); -1: exception. */
static int parse_key(bb_array *a, PyObject *key, axis *axes)
{
    const int several = PyTuple_Check(key);
    const int64_t n = several ? PyTuple_GET_SIZE(key) : 1;
    int64_t dim = 0, ellipses = 0;
    int item;

    for (int64_t i = 0; i < n; i++)
        ellipses += (several ? PyTuple_GET_ITEM(key, i) : key) == Py_Ellipsis;
    if (ellipses > 1) {
        PyErr_SetString(PyExc_IndexError, "an index can have only one '...'");
        return -1;
    }
    if (n - ellipses > a->ndim) {
        PyErr_Format(PyExc_IndexError, "too many indices: the array has %lld dimensions, %lld were "
                     "indexed", (long long)a->ndim, (long long)(n - ellipses));
        return -1;
    }
    item = ellipses == 0 && n == a->ndim;
    for (int64_t i = 0; i < n; i++) {
        PyObject *k = several ? PyTuple_GET_ITEM(key, i) : key;
        if (k == Py_Ellipsis) {
            for (int64_t rest = a->ndim - (n - 1); rest-- > 0; dim++)
                axes[dim] = (axis){0, 1, a->shape[dim]};
        } else if (PySlice_Check(k)) {
            Py_ssize_t start, stop, step;
            if (PySlice_Unpack(k, &start, &stop, &step) < 0)
                return -1;
            int64_t count = PySlice_AdjustIndices(a->shape[dim], &start, &stop, step);
            axes[dim++] = (axis){start, count > 1 ? step : 1, count};
            item = 0;
        } else if (PyIndex_Check(k) && Py_TYPE(k) != bb_types[BB_CLASS_ARRAY]) {
            axes[dim].step = 1;
            axes[dim].count = -1;
            if (one_index(k, a->shape[dim], dim, &axes[dim].start) < 0)
                return -1;
            dim++;
        } else {
            PyErr_Format(PyExc_IndexError,
                         "a JuliaArray is indexed by integers, slices, '...' and the names of fields, "
                         "not by '%.100s'; "
                         "np.asarray(x) has the other ways", bb_type_name(Py_TYPE(k)));
            return -1;
        }
    }
    for (; dim < a->ndim; dim++)
        axes[dim] = (axis){0, 1, a->shape[dim]};
    return item;
}

/* The address of one item if key is nothing but integers; NULL without exception if it is not. */
static char *item_address(bb_array *a, PyObject *key)
{
    const int several = PyTuple_CheckExact(key);
    const int64_t n = several ? PyTuple_GET_SIZE(key) : 1;
    char *p = a->ptr;

    if (n != a->ndim || a->kind == BB_K_NONE)
        return NULL;
    for (int64_t i = 0; i < n; i++) {
        PyObject *index = several ? PyTuple_GET_ITEM(key, i) : key;
        int64_t k;
        if (!PyLong_CheckExact(index))
            return NULL;
        if (one_index(index, a->shape[i], i, &k) < 0)
            return NULL;
        p += k * a->strides[i];
    }
    return p;
}

/* x["name"], a field of records: Julia's getitem and setitem. */
static PyObject *field(enum bb_helper h, bb_array *a, PyObject *name, PyObject *value)
{
    bb_value args[3], result;
    PyObject *out = NULL;
    int n = value == NULL ? 2 : 3, ready = 1;

    memset(args, 0, sizeof args);
    args[0].tag = BB_JULIA;
    args[0].a.p = a->base.jl;
    if (bb_from_python(name, &args[1]) < 0)
        return NULL;
    if (value != NULL && assigned_value(a, value, &args[2]) < 0)
        ready = 0;
    if (ready && bb_call_helper(h, args, n, &result) == 0)
        out = bb_to_python(&result);
    for (int i = 1; i < n; i++)
        bb_value_clear(&args[i]);
    return out;
}

static PyObject *subscript(PyObject *self, PyObject *key)
{
    bb_array *a = (bb_array *)self;
    axis axes[PyBUF_MAX_NDIM + 1];

    if (bb_array_current(a) < 0)
        return NULL;
    if (PyUnicode_Check(key))
        return field(BB_H_GETITEM, a, key, NULL);
    char *p = item_address(a, key);
    if (p != NULL) {
        PyObject *item = bb_kind_load((int)a->kind, p);
        if (item != NULL || PyErr_Occurred())
            return item;
    } else if (PyErr_Occurred())
        return NULL;
    int item = parse_key(a, key, axes);
    return item < 0 ? NULL : array_helper(BB_H_ARRAY_GET, a, axes, item, NULL);
}

static int ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    bb_array *a = (bb_array *)self;
    axis axes[PyBUF_MAX_NDIM + 1];

    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "items of an array can't be deleted");
        return -1;
    }
    if (bb_array_current(a) < 0)
        return -1;
    if (a->format != NULL && !a->readonly) {
        char *p = item_address(a, key);
        if (p != NULL && bb_kind_store((int)a->kind, p, value))
            return 0;
        if (PyErr_Occurred())
            return -1;
    }
    PyObject *r;
    if (PyUnicode_Check(key)) {
        r = field(BB_H_SETITEM, a, key, value);
    } else {
        int item = parse_key(a, key, axes);
        if (item < 0)
            return -1;
        r = array_helper(BB_H_ARRAY_SET, a, axes, item, value);
    }
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static Py_ssize_t length(PyObject *self)
{
    bb_array *a = (bb_array *)self;
    if (bb_array_current(a) < 0)
        return -1;
    if (a->ndim == 0) {
        PyErr_SetString(PyExc_TypeError, "len() of a 0-dimensional array");
        return -1;
    }
    return a->shape[0];
}

static PyObject *item(PyObject *self, Py_ssize_t i)
{
    PyObject *key = PyLong_FromSsize_t(i);
    if (key == NULL)
        return NULL;
    PyObject *r = subscript(self, key);
    Py_DECREF(key);
    return r;
}

static PyObject *iter(PyObject *self)
{
    if (((bb_array *)self)->ndim == 0) {
        PyErr_SetString(PyExc_TypeError, "iteration over a 0-dimensional array");
        return NULL;
    }
    return PySeqIter_New(self);
}

/* Identity is the Julia object's: two Python objects for one Julia array are equal. */
static PyObject *richcompare(PyObject *x, PyObject *y, int op)
{
    if ((op != Py_EQ && op != Py_NE) || !bb_is_julia(y))
        Py_RETURN_NOTIMPLEMENTED;
    return PyBool_FromLong((((bb_julia *)x)->jl == ((bb_julia *)y)->jl) == (op == Py_EQ));
}

static Py_hash_t hash(PyObject *self)
{
    uintptr_t p = (uintptr_t)((bb_julia *)self)->jl; /* its lowest bits are always 0 */
    Py_hash_t h = (Py_hash_t)(p >> 4 | p << (8 * sizeof p - 4));
    return h == -1 ? -2 : h;
}

/* ----------------------------------------------------------- attributes */

/* Sets the exception that says why the memory of this array can't be shared. */
int bb_array_not_shared(bb_array *a)
{
    bb_value args[1] = {{.tag = BB_JULIA, .a.p = a->base.jl}}, result;
    if (!bb_ready()) {
        PyErr_SetString(PyExc_BufferError, "the memory of this Julia array can't be shared");
        return -1;
    }
    if (bb_call_helper(BB_H_ARRAY_WHY, args, 1, &result) < 0)
        return -1;
    PyObject *why = bb_to_python(&result);
    if (why != NULL)
        PyErr_SetObject(PyExc_BufferError, why);
    Py_XDECREF(why);
    return -1;
}

static PyObject *integers(const int64_t *values, int64_t n)
{
    PyObject *t = PyTuple_New(n);
    for (int64_t i = 0; t != NULL && i < n; i++) {
        PyObject *v = PyLong_FromLongLong(values[i]);
        if (v == NULL) {
            Py_CLEAR(t);
            break;
        }
        PyTuple_SET_ITEM(t, i, v);
    }
    return t;
}

enum attribute { SHAPE, STRIDES, NDIM, ITEMSIZE, NBYTES, SIZE, FORMAT, READONLY_, ADDRESS };

static PyObject *attribute(PyObject *self, void *which)
{
    bb_array *a = (bb_array *)self;

    if (bb_array_current(a) < 0)
        return NULL;
    switch ((enum attribute)(intptr_t)which) {
    case SHAPE: return integers(a->shape, a->ndim);
    case NDIM: return PyLong_FromLongLong(a->ndim);
    case SIZE: return PyLong_FromLongLong(a->size);
    default: break;
    }
    if (a->format == NULL) {
        bb_array_not_shared(a);
        return NULL;
    }
    switch ((enum attribute)(intptr_t)which) {
    case STRIDES: return integers(a->strides, a->ndim);
    case ITEMSIZE: return PyLong_FromLongLong(a->itemsize);
    case NBYTES: return PyLong_FromLongLong(a->size * a->itemsize);
    case FORMAT: return PyUnicode_FromString(a->format);
    case READONLY_: return PyBool_FromLong(a->readonly);
    case ADDRESS: return PyLong_FromVoidPtr(a->ptr);
    default: Py_UNREACHABLE();
    }
}

#define ATTRIBUTE(name, which, doc) {name, attribute, NULL, doc, (void *)(intptr_t)which}

static PyGetSetDef getset[] = {
    ATTRIBUTE("shape", SHAPE, "Items along each axis, a tuple of int."),
    ATTRIBUTE("strides", STRIDES, "Bytes from one item to the next along each axis, a tuple of int."),
    ATTRIBUTE("ndim", NDIM, "Number of axes."),
    ATTRIBUTE("itemsize", ITEMSIZE, "Bytes of one item."),
    ATTRIBUTE("nbytes", NBYTES, "Bytes of all items: size * itemsize."),
    ATTRIBUTE("size", SIZE, "Number of items."),
    ATTRIBUTE("format", FORMAT, "The item's format, in the language of struct and PEP 3118."),
    ATTRIBUTE("readonly", READONLY_, "Whether the memory may not be written."),
    ATTRIBUTE("_address", ADDRESS, "Address of the first item."),
    {"__arrow_c_array__", bb_arrow_attribute, NULL, "The memory as an Arrow array; see arrow.c.", NULL},
    {"__arrow_c_schema__", bb_arrow_attribute, NULL, "Arrow's type of the elements.", "schema"},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ----------------------------------------------------------------- type */

/* Instead of JuliaValue's: an array is no integer, whatever is in it. As NumPy's arrays say it, and as those expect
 * it who ask (NumPy: they clear a TypeError and go on). */
static PyObject *no_index(PyObject *Py_UNUSED(self))
{
    PyErr_SetString(PyExc_TypeError, "a JuliaArray can't be used as an index");
    return NULL;
}

static PyType_Slot slots[] = {
    {Py_tp_doc,
     "A Julia array; memoryview(x) and numpy.asarray(x) share its memory.\n\n"
     "Indices are zero-based, ``x[i, j]`` is ``x[i+1, j+1]`` in Julia; slices and ``...`` give views, and\n"
     "so does the name of a field where the elements are records, ``x['name']``. ``len(x)`` and iteration\n"
     "go along the first axis. Raises IndexError for an index out of bounds, ValueError for an assignment\n"
     "that does not fit, or of read-only memory.\n\n"
     "It has the buffer protocol (PEP 3118), NumPy's ``__array__`` and ``__array_interface__``,\n"
     "``__dlpack__`` (DLPack), and, where it is one Arrow array of numbers, ``__arrow_c_array__`` (Arrow's\n"
     "PyCapsule interface). Arrays whose memory can't be shared (of String, Any, BitArray, ranges and the\n"
     "like) raise BufferError from ``memoryview(x)`` and from the attributes that are about bytes;\n"
     "``numpy.asarray(x)`` copies those."},
    {Py_tp_getset, getset},
    {Py_tp_methods, bb_dlpack_methods},
    {Py_tp_dealloc, bb_dealloc_julia},
    {Py_tp_call, PyVectorcall_Call},
    {Py_mp_subscript, subscript},
    {Py_mp_ass_subscript, ass_subscript},
    {Py_mp_length, length},
    {Py_sq_length, length},
    {Py_sq_item, item},
    {Py_tp_iter, iter},
    {Py_tp_richcompare, richcompare},
    {Py_tp_hash, hash},
    {Py_nb_index, no_index},
    {Py_bf_getbuffer, bb_getbuffer},
    {Py_bf_releasebuffer, bb_releasebuffer},
    {0, NULL},
};

static PyType_Spec spec = {
    "bufferbridge.JuliaArray", sizeof(bb_array), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL, slots,
};

int bb_make_array_type(PyObject *namespace_)
{
    PyObject *bases = PyTuple_Pack(1, bb_types[BB_CLASS_VALUE]);
    if (bases == NULL)
        return -1;
    bb_types[BB_CLASS_ARRAY] = (PyTypeObject *)PyType_FromSpecWithBases(&spec, bases);
    Py_DECREF(bases);
    if (bb_types[BB_CLASS_ARRAY] == NULL)
        return -1;
    return PyDict_SetItemString(namespace_, "JuliaArray", (PyObject *)bb_types[BB_CLASS_ARRAY]);
}
