/* DLPack, both ways: JuliaArrays as tensors (__dlpack__), and other libraries' tensors as Julia's arrays. The
 * layouts are those of the DLPack specification, versions 1.x and before 1.0.
 *
 * Out. A tensor holds a Py_buffer of the JuliaArray, so that everything that holds for the buffer protocol holds
 * here: the memory lives, a Vector is not moved, the end of a loan waits, bb.stats() counts it. Whoever has the
 * tensor calls its deleter: on any thread, with or without the GIL, perhaps while it holds a lock that some thread
 * with the GIL waits for, after Julia's end or Python's. So the deleter does no more than push the tensor on the
 * list that Julia's finalizers push on (acquire.c): no allocation, no lock, no Python. The list is emptied with the
 * GIL by whoever comes next to Julia, to bb.stats(), to the end of a loan, or here for the next tensor. After Julia's
 * end nobody empties it; the process is about to end, and has its memory until then. A capsule that nobody consumed
 * calls the deleter when it dies.
 *
 * In. The tensor that a capsule has is taken, which its new name says ("used_..."), after it was checked. From then
 * on a capsule of our own has it, in the bb_buffer's `keep`: it goes when the buffer is released, from the same list
 * and with the GIL, or at once if something fails still, and calls the deleter then, which may be Python's. Not
 * before, and not twice. Everything that the tensor says is checked against itself; whether the
 * memory is there is believed, as of any exporter in C. */
#include "bufferbridge.h"
#include <stddef.h>
#include <string.h>

/* ------------------------------------------------- the specification's structs */

enum { CPU = 1, CUDA_HOST = 3, ROCM_HOST = 11 };               /* device types that the CPU sees */
enum { INT = 0, UINT = 1, FLOAT = 2, COMPLEX = 5, BOOL = 6 };  /* codes of elements */
enum { READ_ONLY = 1, IS_COPIED = 2 };                         /* flags */

typedef struct {
    void *data;
    int32_t device_type, device_id;
    int32_t ndim;
    struct { uint8_t code, bits; uint16_t lanes; } dtype;
    int64_t *shape, *strides; /* items; strides may be NULL for row-major ones */
    uint64_t byte_offset;
} tensor;

typedef struct unversioned {
    tensor tensor;
    void *context;
    void (*deleter)(struct unversioned *);
} unversioned;

typedef struct versioned {
    struct { uint32_t major, minor; } version;
    void *context;
    void (*deleter)(struct versioned *);
    uint64_t flags;
    tensor tensor;
} versioned;

static const char UNVERSIONED[] = "dltensor", VERSIONED[] = "dltensor_versioned",
                  USED_UNVERSIONED[] = "used_dltensor", USED_VERSIONED[] = "used_dltensor_versioned";

/* Of the elements that C knows (enum bb_kind). */
static const struct { uint8_t code, bits; } dtypes[BB_K_COUNT] = {
    [BB_K_BOOL] = {BOOL, 8},
    [BB_K_I8] = {INT, 8}, [BB_K_I16] = {INT, 16}, [BB_K_I32] = {INT, 32}, [BB_K_I64] = {INT, 64},
    [BB_K_U8] = {UINT, 8}, [BB_K_U16] = {UINT, 16}, [BB_K_U32] = {UINT, 32}, [BB_K_U64] = {UINT, 64},
    [BB_K_F16] = {FLOAT, 16}, [BB_K_F32] = {FLOAT, 32}, [BB_K_F64] = {FLOAT, 64},
    [BB_K_C32] = {COMPLEX, 64}, [BB_K_C64] = {COMPLEX, 128},
};

/* ------------------------------------------------------------------- out */

typedef struct {
    bb_node node;
    Py_buffer view;
    union { unversioned unversioned; versioned versioned; } managed;
    int64_t dims[]; /* shape and strides, in items */
} exported;

void bb_free_tensor(bb_node *node)
{
    exported *e = (exported *)node;
    PyBuffer_Release(&e->view); /* may run any code */
    PyMem_RawFree(e);
}

/* Any thread, without the GIL, at any time. */
static void delete_unversioned(unversioned *m) { bb_release_later(&((exported *)m->context)->node); }
static void delete_versioned(versioned *m) { bb_release_later(&((exported *)m->context)->node); }

/* Of a capsule that may have been consumed: then it has another name. */
static void end_capsule(PyObject *capsule)
{
    if (PyCapsule_IsValid(capsule, VERSIONED))
        delete_versioned(PyCapsule_GetPointer(capsule, VERSIONED));
    else if (PyCapsule_IsValid(capsule, UNVERSIONED))
        delete_unversioned(PyCapsule_GetPointer(capsule, UNVERSIONED));
}

/* Whether DLPack can describe the buffer; if not, -1 with a BufferError. */
static int check_expressible(const Py_buffer *view, int *kind, int with_version)
{
    int swapped;
    int64_t bits = (int64_t)(intptr_t)view->buf;

    *kind = bb_kind_of_format(view->format, &swapped);
    if (*kind == BB_K_NONE || dtypes[*kind].bits == 0 || dtypes[*kind].bits / 8 != view->itemsize) {
        PyErr_Format(PyExc_BufferError,
                     "DLPack has no type for the elements of this Julia array (format '%s'): use memoryview(x) or "
                     "numpy.asarray(x), or one field of records, x['name']", view->format);
        return -1;
    }
    if (swapped && view->itemsize > 1) {
        PyErr_SetString(PyExc_BufferError, "DLPack has no numbers with swapped bytes: ask for a copy (copy=True, or "
                                           "copy(x) in Julia)");
        return -1;
    }
    if (view->readonly && !with_version) {
        PyErr_SetString(PyExc_BufferError, "this Julia array is read-only, and the library asks by DLPack without "
                                           "versions, which can't say so: pass a copy, bufferbridge.Base.copy(x)");
        return -1;
    }
    if (view->len == 0)
        return 0;
    for (int i = 0; i < view->ndim; i++)
        if (view->shape[i] > 1) {
            if (view->strides[i] % view->itemsize != 0) {
                PyErr_Format(PyExc_BufferError,
                             "DLPack counts strides in items, and this Julia array has one of %zd bytes for items of "
                             "%zd: ask for a copy (copy=True, or copy(x) in Julia)", view->strides[i], view->itemsize);
                return -1;
            }
            if (view->strides[i] < 0) { /* torch ends the process */
                PyErr_SetString(PyExc_BufferError,
                                "this Julia array runs backwards (negative strides), which libraries that take DLPack can't "
                                "read: ask for a copy (copy=True, or copy(x) in Julia), or numpy.asarray(x) for a view");
                return -1;
            }
            bits |= view->strides[i];
        }
    if (bits % bb_kind_alignment(*kind) != 0) {
        PyErr_SetString(PyExc_BufferError, "the memory of this Julia array is not aligned, as DLPack wants it: ask for "
                                           "a copy (copy=True, or copy(x) in Julia)");
        return -1;
    }
    return 0;
}

static PyObject *export(PyObject *self, int with_version, uint64_t flags)
{
    Py_buffer view;
    exported *e;
    tensor *t;
    PyObject *capsule;
    int kind;

    if (PyObject_GetBuffer(self, &view, PyBUF_FULL_RO) < 0)
        return NULL;
    if (check_expressible(&view, &kind, with_version) < 0) {
        PyBuffer_Release(&view);
        return NULL;
    }
    if ((e = PyMem_RawMalloc(sizeof *e + 2 * (size_t)view.ndim * sizeof *e->dims)) == NULL) {
        PyBuffer_Release(&view);
        return PyErr_NoMemory();
    }
    e->node.kind = BB_NODE_TENSOR;
    e->view = view;
    if (with_version) {
        e->managed.versioned = (versioned){.version = {1, 0}, .context = e, .deleter = delete_versioned,
                                           .flags = flags | (view.readonly ? READ_ONLY : 0)};
        t = &e->managed.versioned.tensor;
    } else {
        e->managed.unversioned = (unversioned){.context = e, .deleter = delete_unversioned};
        t = &e->managed.unversioned.tensor;
    }
    *t = (tensor){.data = view.len == 0 ? NULL : view.buf, .device_type = CPU, .ndim = view.ndim,
                  .dtype = {dtypes[kind].code, dtypes[kind].bits, 1}, .shape = e->dims, .strides = e->dims + view.ndim};
    for (int i = 0; i < view.ndim; i++) {
        t->shape[i] = view.shape[i];
        t->strides[i] = view.strides[i] / view.itemsize;
    }
    capsule = PyCapsule_New(&e->managed, with_version ? VERSIONED : UNVERSIONED, end_capsule);
    if (capsule == NULL)
        bb_free_tensor(&e->node);
    return capsule;
}

/* A JuliaArray with a copy of x in memory of Julia's, as Julia lays it out. */
static PyObject *copied(PyObject *x)
{
    bb_value arg = {.tag = BB_JULIA, .a.p = ((bb_julia *)x)->jl}, result;
    if (bb_array_usable((bb_array *)x) < 0 || bb_call_helper(BB_H_COPY, &arg, 1, &result) < 0)
        return NULL;
    PyObject *copy = bb_to_python(&result);
    if (copy != NULL && Py_TYPE(copy) != bb_types[BB_CLASS_ARRAY]) {
        Py_DECREF(copy);
        PyErr_SetString(PyExc_BufferError, "DLPack has no type for the elements of this Julia array: numpy.asarray(x) "
                                           "copies them to objects");
        return NULL;
    }
    return copy;
}

/* Of keywords that stand after `n` positional arguments in `args`: those in `names`, which end with NULL, into
 * values, borrowed. */
static int read_keywords(const char *function, PyObject *const *args, PyObject *kwnames, const char *const *names,
                         PyObject **values)
{
    Py_ssize_t n = kwnames == NULL ? 0 : PyTuple_Size(kwnames);
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *name = PyTuple_GetItem(kwnames, i);
        int k = 0;
        while (names[k] != NULL && PyUnicode_CompareWithASCIIString(name, names[k]) != 0)
            k++;
        if (names[k] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, name);
            return -1;
        }
        values[k] = args[i];
    }
    return 0;
}

/* A tuple of two integers. */
static int two_integers(PyObject *o, const char *what, long *a, long *b)
{
    PyObject *first = NULL, *second = NULL;
    if (PyTuple_Check(o) && PyTuple_Size(o) == 2) {
        first = PyNumber_Index(PyTuple_GetItem(o, 0)); /* enums are not always int's subclasses */
        second = first == NULL ? NULL : PyNumber_Index(PyTuple_GetItem(o, 1));
    }
    if (second != NULL) {
        *a = PyLong_AsLong(first);
        *b = PyLong_AsLong(second);
    } else if (!PyErr_Occurred())
        PyErr_Format(PyExc_TypeError, "%s must be a tuple of two integers, or None", what);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return PyErr_Occurred() ? -1 : 0;
}

/* None, False or True as -1, 0, 1. */
static int parse_copy(PyObject *o, int *copy)
{
    if (o != Py_None && !PyBool_Check(o)) {
        PyErr_SetString(PyExc_TypeError, "copy must be True, False or None");
        return -1;
    }
    *copy = o == Py_None ? -1 : o == Py_True;
    return 0;
}

static PyObject *to_dlpack(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    static const char *const names[] = {"stream", "max_version", "dl_device", "copy", NULL};
    PyObject *values[4] = {Py_None, Py_None, Py_None, Py_None};
    long major = 0, minor, type = CPU, id = 0;
    int copy;

    if (n != 0) {
        PyErr_SetString(PyExc_TypeError, "__dlpack__() takes keyword arguments only");
        return NULL;
    }
    if (read_keywords("__dlpack__", args, kwnames, names, values) < 0 || parse_copy(values[3], &copy) < 0 ||
        (values[1] != Py_None && two_integers(values[1], "max_version", &major, &minor) < 0) ||
        (values[2] != Py_None && two_integers(values[2], "dl_device", &type, &id) < 0))
        return NULL;
    if (type != CPU || id != 0) {
        PyErr_Format(PyExc_BufferError, "Julia's memory is on the CPU, device (1, 0), and device (%ld, %ld) was asked "
                     "for: take the tensor from the CPU, and move it then", type, id);
        return NULL;
    }
    if (values[0] != Py_None) {
        long stream = PyLong_Check(values[0]) ? PyLong_AsLong(values[0]) : 0;
        if (PyErr_Occurred()) {
            PyErr_Clear();
            stream = 0;
        }
        if (stream != -1) {
            PyErr_SetString(PyExc_BufferError, "Julia's memory is on the CPU, which has no streams: stream must be None");
            return NULL;
        }
    }
    bb_drain(); /* tensors that were deleted since: nobody else may come to Julia */
    if (copy != 1)
        return export(self, major >= 1, 0);
    PyObject *theirs = copied(self);
    PyObject *capsule = theirs == NULL ? NULL : export(theirs, major >= 1, IS_COPIED);
    Py_XDECREF(theirs);
    return capsule;
}

static PyObject *dlpack_device(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("(ii)", CPU, 0);
}

PyMethodDef bb_dlpack_methods[] = {
    {"__dlpack__", (PyCFunction)(void (*)(void))to_dlpack, METH_FASTCALL | METH_KEYWORDS,
     "__dlpack__($self, /, *, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"
     "A DLPack capsule of this array's memory: 'dltensor_versioned' (1.0) if max_version is (1, 0) or\n"
     "later, else 'dltensor'. Shape and strides are in items. copy=True: of a copy that Julia makes.\n\n"
     "Raises BufferError for what DLPack can't describe (records, strings, swapped bytes, strides of\n"
     "no whole items, read-only memory without versions), for memory that can't be shared, and for\n"
     "other devices than (1, 0), the CPU."},
    {"__dlpack_device__", dlpack_device, METH_NOARGS,
     "__dlpack_device__($self, /)\n--\n\nThe device as DLPack numbers it: (1, 0), the CPU."},
    {NULL, NULL, 0, NULL},
};

/* -------------------------------------------------------------------- in */

static const char OWNED_VERSIONED[] = "bufferbridge: a DLPack tensor with version",
                  OWNED_UNVERSIONED[] = "bufferbridge: a DLPack tensor";

static void end_owned(PyObject *capsule)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* the deleter may be Python's */
    if (PyCapsule_IsValid(capsule, OWNED_VERSIONED)) {
        versioned *m = PyCapsule_GetPointer(capsule, OWNED_VERSIONED);
        if (m->deleter != NULL)
            m->deleter(m);
    } else {
        unversioned *m = PyCapsule_GetPointer(capsule, OWNED_UNVERSIONED);
        if (m->deleter != NULL)
            m->deleter(m);
    }
    PyErr_Restore(type, value, traceback);
}

static const char *device_name(int32_t type)
{
    static const char *const names[] = {
        [2] = "CUDA", [4] = "OpenCL", [7] = "Vulkan", [8] = "Metal", [9] = "VPI", [10] = "ROCm", [12] = "an extension",
        [13] = "CUDA's managed memory", [14] = "oneAPI", [15] = "WebGPU", [16] = "Hexagon", [17] = "MAIA"};
    return type > 0 && (size_t)type < sizeof names / sizeof *names && names[type] != NULL ? names[type] : "an unknown one";
}

static int not_valid(PyObject *o, const char *why)
{
    PyErr_Format(PyExc_BufferError, "the DLPack tensor of '%.200s' is not valid: %s", bb_type_name(Py_TYPE(o)), why);
    return -1;
}

/* The kind of the tensor's elements, or BB_K_NONE with a BufferError. */
static int kind_of(PyObject *o, const tensor *t)
{
    static const char *const codes[] = {"int", "uint", "float", "an opaque handle", "bfloat", "complex", "bool", "float8",
                                        "float8", "float8", "float8", "float8", "float8", "float8", "float8", "float6",
                                        "float6", "float4"};
    if (t->dtype.lanes == 1)
        for (int kind = BB_K_NONE + 1; kind < BB_K_COUNT; kind++)
            if (dtypes[kind].bits != 0 && dtypes[kind].bits == t->dtype.bits && dtypes[kind].code == t->dtype.code)
                return kind;
    PyErr_Format(PyExc_BufferError,
                 "elements of '%.200s' can't be shared with Julia, which has no such type (%s of %d bits, %d in one "
                 "element): convert them first (x.float() in torch, x.astype('float32')), or pass the object itself, "
                 "bufferbridge.pyobject(x)", bb_type_name(Py_TYPE(o)),
                 t->dtype.code < sizeof codes / sizeof *codes ? codes[t->dtype.code] : "unknown", t->dtype.bits,
                 t->dtype.lanes);
    return BB_K_NONE;
}

/* Strides in bytes. */
static int set_strides(bb_buffer *b, PyObject *o, const tensor *t)
{
    /* Without items they mean nothing. */
    if (t->strides == NULL || b->len == 0) {
        bb_row_major_strides(b);
        return 0;
    }
    for (int i = 0; i < t->ndim; i++)
        if (__builtin_mul_overflow(t->strides[i], b->itemsize, (int64_t *)&b->strides[i]))
            return not_valid(o, "a stride has more than 64 bits");
    return 0;
}

/* A bb_buffer of what the tensor says, which has nothing of it yet; or NULL. */
static bb_buffer *describe(PyObject *o, const tensor *t, uint64_t flags)
{
    bb_buffer *b;
    uintptr_t address;
    int kind;

    if (t->device_type != CPU && t->device_type != CUDA_HOST && t->device_type != ROCM_HOST) {
        PyErr_Format(PyExc_BufferError,
                     "the memory of '%.200s' is on another device, (%d, %d), which is %s: copy it to the CPU first "
                     "(x.cpu() in torch, bufferbridge.from_dlpack(x, device='cpu')), or pass the object itself, "
                     "bufferbridge.pyobject(x)", bb_type_name(Py_TYPE(o)), t->device_type, t->device_id,
                     device_name(t->device_type));
        return NULL;
    }
    if (t->ndim < 0 || t->ndim > PyBUF_MAX_NDIM || (t->ndim > 0 && t->shape == NULL)) {
        not_valid(o, "it has no shape, or not 0 to 64 axes");
        return NULL;
    }
    if ((kind = kind_of(o, t)) == BB_K_NONE)
        return NULL;
    if (__builtin_add_overflow((uintptr_t)t->data, t->byte_offset, &address)) {
        not_valid(o, "its byte_offset leads out of the address space");
        return NULL;
    }
    if ((b = bb_new_buffer(t->ndim)) == NULL)
        return NULL;
    b->ndim = t->ndim;
    b->format = bb_kind_format(kind);
    b->itemsize = bb_kind_size(kind);
    b->readonly = (flags & READ_ONLY) != 0;
    b->ptr = t->data == NULL ? NULL : (char *)address;
    for (int i = 0; i < t->ndim; i++)
        ((int64_t *)b->shape)[i] = t->shape[i];
    if (bb_check_shape(b, o) == 0 && set_strides(b, o, t) == 0)
        return b;
    bb_drop_buffer(b);
    return NULL;
}

static int has_arrow(PyObject *o)
{
    return PyObject_HasAttrString((PyObject *)Py_TYPE(o), "__arrow_c_array__");
}

/* Whether an object that gave a tensor without version, which can't say so, is read-only: the immutable arrays of
 * jax and TensorFlow give such tensors, and export buffers that say so. Arrow's are immutable by definition. */
static int is_immutable(PyObject *o)
{
    Py_buffer view;
    int readonly;
    if (has_arrow(o))
        return 1;
    if (!PyObject_CheckBuffer(o))
        return 0;
    if (PyObject_GetBuffer(o, &view, PyBUF_FULL_RO) < 0) {
        PyErr_Clear(); /* elements without a format, perhaps. Then rather too careful */
        return 1;
    }
    readonly = view.readonly;
    PyBuffer_Release(&view);
    return readonly;
}

/* The tensor in a capsule that `o` gave; afterwards the capsule has it no more, if that worked. copy: 0 to refuse one
 * that was copied, -1 not to. */
static int take(PyObject *o, PyObject *capsule, int copy, bb_value *v)
{
    const char *name;
    const tensor *t;
    uint64_t flags = 0;
    void *managed;
    bb_buffer *b;
    PyObject *owned = NULL;
    int has_version;

    if (!PyCapsule_CheckExact(capsule)) {
        PyErr_Format(PyExc_TypeError, "__dlpack__ of '%.200s' gave '%.200s', which is no capsule", bb_type_name(Py_TYPE(o)),
                     bb_type_name(Py_TYPE(capsule)));
        return -1;
    }
    name = PyCapsule_GetName(capsule);
    has_version = name != NULL && strcmp(name, VERSIONED) == 0;
    if (!has_version && (name == NULL || strcmp(name, UNVERSIONED) != 0)) {
        if (name != NULL && (strcmp(name, USED_VERSIONED) == 0 || strcmp(name, USED_UNVERSIONED) == 0))
            PyErr_SetString(PyExc_BufferError, "this DLPack capsule has been used already, and each can be used once: "
                                               "call __dlpack__() again, or pass the object that has it");
        else
            PyErr_Format(PyExc_BufferError, "a capsule with the name '%.100s' is no DLPack tensor", name ? name : "");
        return -1;
    }
    if (!has_version && is_immutable(o)) /* first, as it may run code */
        flags = READ_ONLY;
    if ((managed = PyCapsule_GetPointer(capsule, has_version ? VERSIONED : UNVERSIONED)) == NULL)
        return -1; /* that code has used it */
    if (has_version) {
        versioned *m = managed;
        if (m->version.major != 1) { /* all that it has besides may be something else */
            PyErr_Format(PyExc_BufferError, "'%.200s' gave a DLPack tensor of version %u.%u, and 1.x is understood",
                         bb_type_name(Py_TYPE(o)), (unsigned)m->version.major, (unsigned)m->version.minor);
            return -1;
        }
        flags = m->flags;
        t = &m->tensor;
    } else
        t = &((unversioned *)managed)->tensor;
    if (copy == 0 && flags & IS_COPIED) {
        PyErr_Format(PyExc_BufferError, "'%.200s' has made a copy, and its memory was to be shared: use "
                     "bufferbridge.from_dlpack(x, copy=True), or pass the object itself, bufferbridge.pyobject(x)",
                     bb_type_name(Py_TYPE(o)));
        return -1;
    }
    if ((b = describe(o, t, flags)) == NULL)
        return -1;
    if (PyCapsule_SetName(capsule, has_version ? USED_VERSIONED : USED_UNVERSIONED) < 0)
        goto fail;
    owned = PyCapsule_New(managed, has_version ? OWNED_VERSIONED : OWNED_UNVERSIONED, end_owned);
    if (owned == NULL) {
        PyCapsule_SetName(capsule, has_version ? VERSIONED : UNVERSIONED);
        goto fail;
    }
    b->keep = PyTuple_Pack(2, o, owned); /* if it fails, the tensor is deleted with `owned` */
    Py_DECREF(owned);
    if (b->keep != NULL && bb_finish_buffer(b, o, v) > 0)
        return 1;
fail:
    bb_drop_buffer(b);
    return -1;
}

/* ------------------------------------------------------------ asking for it */

/* The producer's own reason in a BufferError, with what to do (bufferbridge/_dlpack.py). Interrupts and the like
 * stay what they are. */
static void explain_refusal(PyObject *o)
{
    PyObject *type, *error, *traceback, *module, *new = NULL;

    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError))
        return;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(error, traceback);
    if ((module = PyImport_ImportModule("bufferbridge._dlpack")) != NULL)
        new = PyObject_CallMethod(module, "refusal", "OO", o, error);
    Py_XDECREF(module);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    if (new != NULL) {
        PyException_SetCause(new, error); /* takes it */
        PyErr_SetObject((PyObject *)Py_TYPE(new), new);
        Py_DECREF(new);
    } else
        Py_XDECREF(error);
}

/* The capsule that the method gives for these arguments, None for what is not to be said. Methods of older versions
 * take no such arguments: they are called without, unless something would come of it that was not asked for. */
static PyObject *call_producer(PyObject *method, PyObject *dl_device, int copy)
{
    static PyObject *no_arguments, *newest;
    PyObject *keywords, *capsule;

    if (newest == NULL && (newest = Py_BuildValue("{s:(ii)}", "max_version", 1, 0)) == NULL)
        return NULL;
    if (no_arguments == NULL && (no_arguments = PyTuple_New(0)) == NULL)
        return NULL;
    keywords = PyDict_Copy(newest); /* which gets into the producer's hands */
    if (keywords != NULL &&
        ((dl_device != Py_None && PyDict_SetItemString(keywords, "dl_device", dl_device) < 0) ||
         (copy == 0 && PyDict_SetItemString(keywords, "copy", Py_False) < 0)))
        Py_CLEAR(keywords);
    if (keywords == NULL)
        return NULL;
    capsule = PyObject_Call(method, no_arguments, keywords);
    Py_DECREF(keywords);
    if (capsule == NULL && PyErr_Occurred() == PyExc_TypeError) { /* a subclass is not about arguments */
        PyErr_Clear();
        capsule = PyObject_Call(method, no_arguments, NULL);
    }
    return capsule;
}

/* torch's tensors may be the negative of what is in memory (is_neg(): x.conj().imag). Of these torch gives what is in
 * memory, as if it were they. 1, 0, or -1 with an exception. */
static int is_negated(PyObject *o)
{
    PyObject *answer;
    int r;

    if (!PyObject_HasAttrString((PyObject *)Py_TYPE(o), "is_neg"))
        return 0;
    if ((answer = PyObject_CallMethod(o, "is_neg", NULL)) == NULL)
        return -1;
    r = answer == Py_True;
    Py_DECREF(answer);
    return r;
}

/* copy: what the producer is told (0, or -1 for nothing); accepted: as take's. */
static int import(PyObject *o, PyObject *method, PyObject *dl_device, int copy, int accepted, bb_value *v)
{
    PyObject *capsule = NULL;
    int r = is_negated(o);

    if (r > 0)
        PyErr_SetString(PyExc_BufferError, "its elements are yet to be negated");
    else if (r == 0)
        capsule = call_producer(method, dl_device, copy);
    if (capsule == NULL) {
        explain_refusal(o);
        return -1;
    }
    r = take(o, capsule, accepted, v);
    Py_DECREF(capsule); /* with what was not taken */
    return r;
}

/* What makes a copy has to be asked for, by from_dlpack. And Arrow's arrays are no tensors: those of text or with
 * nulls refuse to be one, and are something else then. */
int bb_acquire_dlpack(PyObject *o, PyObject *method, bb_value *v)
{
    int r = method == Py_None ? 0 : import(o, method, Py_None, -1, 0, v);
    if (r < 0 && PyErr_ExceptionMatches(PyExc_BufferError)) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        if (!has_arrow(o)) {
            PyErr_Restore(type, value, traceback);
            return r;
        }
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return 0;
    }
    return r;
}

/* The device that the producer is asked for: new; None if it need not be. */
static PyObject *parse_device(PyObject *device)
{
    long type = 0, id = 0;
    if (device == Py_None)
        return Py_NewRef(device);
    if (PyUnicode_Check(device)) {
        if (PyUnicode_CompareWithASCIIString(device, "cpu") == 0)
            return Py_BuildValue("(ii)", CPU, 0);
    } else if (!PyTuple_Check(device)) {
        PyErr_Format(PyExc_TypeError, "device must be 'cpu', (1, 0) or None, not %R", device);
        return NULL;
    } else if (two_integers(device, "device", &type, &id) < 0)
        return NULL;
    else if (type == CPU && id == 0)
        return Py_BuildValue("(ii)", CPU, 0);
    PyErr_Format(PyExc_BufferError, "Julia's arrays are in memory that the CPU sees: device must be 'cpu', (1, 0) or "
                 "None, not %R", device);
    return NULL;
}

/* The tensor of x, or of a capsule, into v. */
static int acquire_tensor(PyObject *x, PyObject *dl_device, int copy, bb_value *v)
{
    PyObject *method;
    int r;

    if (PyCapsule_CheckExact(x))
        return take(x, x, copy == 0 ? 0 : -1, v);
    if (bb_refuse_masked(x) < 0)
        return -1; /* what it exports has no mask */
    method = PyType_Check(x) ? NULL : PyObject_GetAttrString(x, "__dlpack__");
    if (method == NULL) {
        if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_AttributeError))
            PyErr_Format(PyExc_TypeError, "'%.200s' has no __dlpack__: bufferbridge.wrap(x) takes objects with a "
                         "buffer", bb_type_name(Py_TYPE(x)));
        return -1;
    }
    r = import(x, method, dl_device, copy == 0 ? 0 : -1, copy == 0 ? 0 : -1, v);
    Py_DECREF(method);
    return r;
}

PyObject *bb_py_from_dlpack(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    static const char *const names[] = {"device", "copy", NULL};
    PyObject *values[2] = {Py_None, Py_None}, *started, *dl_device, *array = NULL;
    bb_value v, result;
    int copy;

    if (n != 1) {
        PyErr_Format(PyExc_TypeError, "from_dlpack() takes one positional argument (%zd given)", n);
        return NULL;
    }
    if (read_keywords("from_dlpack", args + 1, kwnames, names, values) < 0 || parse_copy(values[1], &copy) < 0 ||
        (dl_device = parse_device(values[0])) == NULL)
        return NULL;
    if (bb.status != BB_RUNNING) {
        started = PyObject_CallNoArgs(bb.start);
        Py_XDECREF(started);
        if (started == NULL) {
            Py_DECREF(dl_device);
            return NULL;
        }
    }
    v = (bb_value){.tag = BB_NONE};
    if (acquire_tensor(args[0], dl_device, copy, &v) > 0 &&
        bb_call_helper(copy == 1 ? BB_H_COPY : BB_H_IDENTITY, &v, 1, &result) == 0)
        array = bb_to_python(&result);
    bb_value_clear(&v);
    Py_DECREF(dl_device);
    return array;
}
