/* Arrow's C data interface, both ways, as Python objects have it (the Arrow PyCapsule interface):
 * https://arrow.apache.org/docs/format/CDataInterface.html and .../PyCapsuleInterface.html.
 *
 * Out (bb_arrow_attribute, bb_py_arrow_export): an ArrowArray whose buffers are Py_buffers of ours, so that the memory
 * is kept, counted in bb.exports and protected from resizing as that of any other export (getbuffer.c). Whoever has
 * the ArrowArray may release it on any thread, without the GIL, while others hold locks that the holder of the GIL
 * waits for, and when Python has ended. So `release_array` takes no lock, allocates nothing and touches no Python
 * object: it pushes a node on the list of acquire.c, and asks CPython for a "pending call", which the main thread makes
 * soon and which releases the Py_buffers there, with the GIL. (If there is no room for one, or the main thread is busy
 * elsewhere, the next call into Julia or bb.stats() does it.) Before Julia's exit hooks begin, bb_arrow_end sees to it that
 * no thread is in CPython for that, nor comes there again. From then on nothing is released any more: all memory stays
 * until the process ends. The ArrowSchemas are plain memory of C's.
 *
 * In (bb_py_arrow_import, bb_py_arrow_stream): the ArrowArray is moved out of its capsule into one of ours, whose
 * destructor releases it: once, with the GIL. Each of its buffers is an exporter of read-only memory (ArrowMemory) that
 * keeps this capsule, so that to Julia it is a Python buffer as any other (acquire.c). An ArrowArray does not say how
 * long its buffers are: that is computed here of its format and length, for the formats that Julia has arrays of.
 * What can't be true raises BufferError. What buffers contain, offsets into others, is checked where it is
 * read (jlsrc/src/arrow.jl); nobody can check what pointers point to. */
#include "bufferbridge.h"
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------ the interface's own structs */

enum { ARROW_FLAG_NULLABLE = 2 };

struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};

static const char SCHEMA[] = "arrow_schema", ARRAY[] = "arrow_array", STREAM[] = "arrow_array_stream";

/* ------------------------------------------------------------------- out */

typedef struct {
    bb_node node;
    int64_t n;
    const void **pointers; /* the ArrowArray's buffers, n of them; NULL where there is none */
    Py_buffer views[];     /* n; obj is NULL where there is none */
} exported;

static void free_exported(exported *e)
{
    for (int64_t i = 0; i < e->n; i++)
        if (e->views[i].obj != NULL)
            PyBuffer_Release(&e->views[i]);
    PyMem_RawFree(e->pointers);
    PyMem_RawFree(e);
}

void bb_arrow_release_now(bb_node *node) { free_exported((exported *)node); }

static _Atomic int scheduled; /* a pending call is on its way */
static _Atomic int asking;    /* threads that may be in Py_AddPendingCall */
static _Atomic int ended;     /* nobody goes there any more: Python ends */

static int drain(void *Py_UNUSED(ignored))
{
    atomic_store(&scheduled, 0); /* before: what is released from here on needs another one */
    bb_drain();
    return 0;
}

/* Any thread, without the GIL. */
static void release_array(struct ArrowArray *array)
{
    exported *e = array->private_data;
    array->release = NULL;
    bb_release_later(&e->node);
    atomic_fetch_add(&asking, 1); /* before the look at `ended`, as bb_arrow_end has it the other way round */
    if (bb.status == BB_RUNNING && !atomic_load(&ended) && atomic_exchange(&scheduled, 1) == 0 &&
        Py_AddPendingCall(drain, NULL) < 0)
        atomic_store(&scheduled, 0);
    atomic_fetch_sub(&asking, 1);
}

/* With the GIL, which those that are waited for don't need: Py_AddPendingCall takes a lock of its own only. In a
 * fork, where their threads are missing, nobody calls this. */
void bb_arrow_end(void)
{
    atomic_store(&ended, 1);
    while (atomic_load(&asking) > 0)
        usleep(100);
}

/* Any thread, without the GIL. */
static void release_schema(struct ArrowSchema *schema)
{
    PyMem_RawFree((char *)schema->format);
    schema->release = NULL;
}

static void free_schema(PyObject *capsule)
{
    struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, SCHEMA);
    if (schema->release != NULL)
        schema->release(schema);
    PyMem_RawFree(schema);
}

static void free_array(PyObject *capsule)
{
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, ARRAY);
    if (array->release != NULL)
        array->release(array);
    PyMem_RawFree(array);
}

/* New capsule. */
static PyObject *export_schema(const char *format)
{
    struct ArrowSchema *schema = PyMem_RawCalloc(1, sizeof *schema);
    size_t size = strlen(format) + 1;
    char *copy = PyMem_RawMalloc(size);
    PyObject *capsule = NULL;

    if (schema == NULL || copy == NULL)
        PyErr_NoMemory();
    else if ((capsule = PyCapsule_New(schema, SCHEMA, free_schema)) != NULL) {
        memcpy(copy, format, size);
        *schema = (struct ArrowSchema){.format = copy, .name = "", .flags = ARROW_FLAG_NULLABLE,
                                       .release = release_schema};
        return capsule;
    }
    PyMem_RawFree(schema);
    PyMem_RawFree(copy);
    return NULL;
}

/* New capsule. Takes e. */
static PyObject *export_array(exported *e, int64_t length, int64_t null_count, int64_t offset)
{
    struct ArrowArray *array = PyMem_RawCalloc(1, sizeof *array);
    PyObject *capsule = NULL;

    if (array == NULL)
        PyErr_NoMemory();
    else if ((capsule = PyCapsule_New(array, ARRAY, free_array)) != NULL) {
        *array = (struct ArrowArray){.length = length, .null_count = null_count, .offset = offset,
                                     .n_buffers = e->n, .buffers = e->pointers, .release = release_array,
                                     .private_data = e};
        return capsule;
    }
    PyMem_RawFree(array);
    free_exported(e);
    return NULL;
}

static exported *new_exported(int64_t n)
{
    exported *e = PyMem_RawCalloc(1, sizeof *e + (size_t)n * sizeof e->views[0]);
    if (e == NULL || (e->pointers = PyMem_RawCalloc((size_t)n + 1, sizeof *e->pointers)) == NULL) {
        PyMem_RawFree(e);
        PyErr_NoMemory();
        return NULL;
    }
    e->node.kind = BB_NODE_ARROW;
    e->n = n;
    return e;
}

/* New tuple of both capsules, which it takes; NULL if one of them is. */
static PyObject *pair(PyObject *schema, PyObject *array)
{
    PyObject *r = schema == NULL || array == NULL ? NULL : PyTuple_Pack(2, schema, array);
    Py_XDECREF(schema);
    Py_XDECREF(array);
    return r;
}

/* _arrow_export(format, length, null_count, offset, buffers): any array. `buffers` is a tuple of exporters of contiguous
 * memory, and of None; whoever calls this knows that they are as long as the format needs. */
PyObject *bb_py_arrow_export(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *format;
    long long length, null_count, offset;
    PyObject *buffers;
    exported *e;

    if (!PyArg_ParseTuple(args, "sLLLO!", &format, &length, &null_count, &offset, &PyTuple_Type, &buffers) ||
        (e = new_exported(PyTuple_Size(buffers))) == NULL)
        return NULL;
    for (int64_t i = 0; i < e->n; i++) {
        PyObject *o = PyTuple_GetItem(buffers, i);
        if (o == Py_None)
            continue;
        if (PyObject_GetBuffer(o, &e->views[i], PyBUF_CONTIG_RO) < 0) {
            e->views[i].obj = NULL;
            free_exported(e);
            return NULL;
        }
        e->pointers[i] = e->views[i].buf;
    }
    PyObject *array = export_array(e, length, null_count, offset);
    return pair(array == NULL ? NULL : export_schema(format), array);
}

/* _arrow_schema(format) */
PyObject *bb_py_arrow_schema(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *format;
    return PyArg_ParseTuple(args, "s", &format) ? export_schema(format) : NULL;
}

/* Arrow's formats of the elements that C knows; bool has other memory there (bits), and complex numbers none. */
static const char *const KIND_FORMATS[BB_K_COUNT] = {
    [BB_K_I8] = "c", [BB_K_U8] = "C", [BB_K_I16] = "s", [BB_K_U16] = "S", [BB_K_I32] = "i", [BB_K_U32] = "I",
    [BB_K_I64] = "l", [BB_K_U64] = "L", [BB_K_F16] = "e", [BB_K_F32] = "f", [BB_K_F64] = "g",
};

/* Arrow's format of a JuliaArray whose memory can be shared as an Arrow array, or NULL, with the AttributeError that
 * says why not: who looks for the attribute then looks for other ways to the elements. */
static const char *format_of(bb_array *a)
{
    const char *why = NULL, *format = NULL;

    if (bb_array_current(a) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_BufferError))
            return NULL;
        PyErr_Clear();
        why = "its memory is not there any more";
    } else if (a->ndim != 1)
        why = "it has not one axis; take a column or reshape it";
    else if (a->format != NULL && a->kind == BB_K_BOOL)
        why = "Arrow packs booleans into bits";
    else if (a->format == NULL || (format = KIND_FORMATS[a->kind]) == NULL)
        why = "Arrow has not these elements";
    else if (a->contiguity == 0)
        why = "Arrow's arrays are contiguous, and this is strided";
    else if ((uintptr_t)a->ptr % (uintptr_t)bb_kind_alignment((int)a->kind) != 0)
        why = "its memory is not aligned";
    if (why == NULL)
        return format;
    PyErr_Format(PyExc_AttributeError, "this Julia array can't be shared as an Arrow array: %s; "
                 "bufferbridge.to_arrow(x) converts", why);
    return NULL;
}

static PyObject *arrow_c_schema(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    const char *format = format_of((bb_array *)self);
    return format == NULL ? NULL : export_schema(format);
}

static PyObject *arrow_c_array(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"requested_schema", NULL};
    PyObject *requested = Py_None;
    const char *format;
    exported *e;

    /* Of another type than the array's own there would have to be a copy: the interface leaves that to the consumer. */
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", names, &requested))
        return NULL;
    if (requested != Py_None && !PyCapsule_IsValid(requested, SCHEMA)) {
        PyErr_SetString(PyExc_TypeError, "requested_schema must be an arrow_schema capsule or None");
        return NULL;
    }
    if (format_of((bb_array *)self) == NULL || (e = new_exported(2)) == NULL)
        return NULL;
    if (PyObject_GetBuffer(self, &e->views[1], PyBUF_CONTIG_RO) < 0) {
        e->views[1].obj = NULL;
        free_exported(e);
        return NULL;
    }
    e->pointers[1] = e->views[1].buf;
    PyObject *array = export_array(e, e->views[1].len / e->views[1].itemsize, 0, 0);
    /* Once more, since that may have moved the memory. */
    format = array == NULL ? NULL : format_of((bb_array *)self);
    return pair(format == NULL ? NULL : export_schema(format), array);
}

static PyMethodDef schema_method = {
    "__arrow_c_schema__", arrow_c_schema, METH_NOARGS,
    "__arrow_c_schema__()\n--\n\nArrow's type of the elements, a capsule."};
static PyMethodDef array_method = {
    "__arrow_c_array__", (PyCFunction)(void (*)(void))arrow_c_array, METH_VARARGS | METH_KEYWORDS,
    "__arrow_c_array__(requested_schema=None)\n--\n\n"
    "This array's memory as an Arrow array: a pair of capsules, for an array type and an array.\n\n"
    "Nothing is copied, and requested_schema is not looked at. There is no such attribute where Arrow's\n"
    "layout is another one."};

/* The getter of both: a bound method, or AttributeError. */
PyObject *bb_arrow_attribute(PyObject *self, void *schema)
{
    if (format_of((bb_array *)self) == NULL)
        return NULL;
    return PyCFunction_NewEx(schema != NULL ? &schema_method : &array_method, self, NULL);
}

/* ------------------------------------------------------------ in: memory */

/* One buffer of somebody's Arrow array, which `owner` (a capsule, below) keeps. */
typedef struct {
    PyObject_HEAD
    PyObject *owner;
    char *ptr;
    const char *format; /* static */
    Py_ssize_t items, itemsize;
} memory;

static PyTypeObject *memory_type;

static int memory_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    memory *m = (memory *)self;

    view->obj = NULL;
    if (flags & PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "Arrow's memory is read-only");
        return -1;
    }
    *view = (Py_buffer){
        .buf = m->ptr, .len = m->items * m->itemsize, .itemsize = m->itemsize, .readonly = 1, .ndim = 1,
        .format = flags & PyBUF_FORMAT ? (char *)m->format : NULL,
        .shape = flags & PyBUF_ND ? &m->items : NULL,
        .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? &m->itemsize : NULL,
        .obj = Py_NewRef(self)};
    return 0;
}

static void memory_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject *owner = ((memory *)self)->owner;
    PyObject_Free(self);
    Py_DECREF(type);
    Py_XDECREF(owner); /* last: it may run any code. NULL if Python made the object, by its class */
}

static PyType_Slot memory_slots[] = {
    {Py_tp_doc, "One buffer of an Arrow array."},
    {Py_tp_dealloc, memory_dealloc},
    {Py_bf_getbuffer, memory_getbuffer},
    {0, NULL},
};

static PyType_Spec memory_spec = {"bufferbridge.ArrowMemory", sizeof(memory), 0, Py_TPFLAGS_DEFAULT, memory_slots};

static PyObject *new_memory(PyObject *owner, const void *ptr, const char *format, int64_t items, int64_t itemsize)
{
    if (memory_type == NULL && (memory_type = (PyTypeObject *)PyType_FromSpec(&memory_spec)) == NULL)
        return NULL;
    memory *m = PyObject_New(memory, memory_type);
    if (m == NULL)
        return NULL;
    m->owner = Py_NewRef(owner);
    m->ptr = (char *)ptr;
    m->format = format;
    m->items = items;
    m->itemsize = itemsize;
    return (PyObject *)m;
}

/* An ArrowArray of ours, moved from its producer's. */
static const char OWNED[] = "bufferbridge: an Arrow array";

static void release_owned(PyObject *capsule)
{
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, OWNED);
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    if (array->release != NULL)
        array->release(array);
    PyMem_RawFree(array);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(NULL);
    PyErr_Restore(type, value, traceback);
}

/* New capsule that has what was in *source, which is marked as released. */
static PyObject *move_array(struct ArrowArray *source)
{
    struct ArrowArray *array = PyMem_RawMalloc(sizeof *array);
    PyObject *capsule;

    if (array == NULL)
        return PyErr_NoMemory();
    *array = *source;
    source->release = NULL; /* before anything else can run that would take it, too */
    if ((capsule = PyCapsule_New(array, OWNED, release_owned)) == NULL) {
        *source = *array;
        PyMem_RawFree(array);
    }
    return capsule;
}

/* ------------------------------------------------------------ in: arrays */

/* How the memory of a format lies. */
enum layout { NO_ARRAY, NULLS, BITS, FIXED, STRINGS, VIEWS, STRUCT };

typedef struct {
    enum layout layout;
    const char *items;  /* the struct module's format: of FIXED's items, of STRINGS' offsets */
    int64_t itemsize;
} description;

static description describe(const char *f)
{
    static const struct { const char *format; description d; } table[] = {
        {"n", {NULLS, NULL, 0}}, {"b", {BITS, NULL, 0}},
        {"c", {FIXED, "b", 1}}, {"C", {FIXED, "B", 1}}, {"s", {FIXED, "h", 2}}, {"S", {FIXED, "H", 2}},
        {"i", {FIXED, "i", 4}}, {"I", {FIXED, "I", 4}}, {"l", {FIXED, "q", 8}}, {"L", {FIXED, "Q", 8}},
        {"e", {FIXED, "e", 2}}, {"f", {FIXED, "f", 4}}, {"g", {FIXED, "d", 8}},
        {"u", {STRINGS, "i", 4}}, {"z", {STRINGS, "i", 4}}, {"U", {STRINGS, "q", 8}}, {"Z", {STRINGS, "q", 8}},
        {"vu", {VIEWS, NULL, 16}}, {"vz", {VIEWS, NULL, 16}},
        {"tdD", {FIXED, "i", 4}}, {"tdm", {FIXED, "q", 8}},
        {"tts", {FIXED, "i", 4}}, {"ttm", {FIXED, "i", 4}}, {"ttu", {FIXED, "q", 8}}, {"ttn", {FIXED, "q", 8}},
        {"tDs", {FIXED, "q", 8}}, {"tDm", {FIXED, "q", 8}}, {"tDu", {FIXED, "q", 8}}, {"tDn", {FIXED, "q", 8}},
        {"+s", {STRUCT, NULL, 0}},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].format, f) == 0)
            return table[i].d;
    if (strncmp(f, "ts", 2) == 0 && f[2] != 0 && strchr("smun", f[2]) != NULL && f[3] == ':')
        return (description){FIXED, "q", 8}; /* followed by a time zone */
    return (description){NO_ARRAY, NULL, 0};
}

static int bad(const char *what)
{
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_BufferError, "this Arrow array is not valid: %s", what);
    return -1;
}

/* What an ArrowArray must be, whatever its format is. */
static int check(const struct ArrowSchema *schema, const struct ArrowArray *a)
{
    int64_t end;

    if (schema->release == NULL || schema->format == NULL)
        return bad(schema->release == NULL ? "its schema was released already" : "its schema has no format");
    if (schema->n_children < 0 || (schema->n_children > 0 && schema->children == NULL))
        return bad("its schema's children are missing");
    if (a == NULL)
        return 0;
    if (a->release == NULL)
        return bad("it was released already");
    if (a->length < 0 || a->offset < 0 || a->null_count < -1 || a->null_count > a->length)
        return bad("its length, offset and number of nulls contradict each other");
    /* So that no size below overflows. */
    if (__builtin_add_overflow(a->length, a->offset, &end) || end > INT64_MAX / 32)
        return bad("its length leads out of the address space");
    if (a->n_buffers < 0 || (a->n_buffers > 0 && a->buffers == NULL))
        return bad("its buffers are missing");
    if (a->n_children != schema->n_children || (a->n_children > 0 && a->children == NULL))
        return bad("its children are not those of its schema");
    return 0;
}

static int64_t count_nulls(const uint8_t *bits, int64_t offset, int64_t length)
{
    int64_t valid = 0, i = offset, end = offset + length;
    uint64_t word;
    while (i < end)
        if ((i & 7) == 0 && end - i >= 64) {
            memcpy(&word, bits + (i >> 3), sizeof word);
            valid += __builtin_popcountll(word);
            i += 64;
        } else {
            valid += bits[i >> 3] >> (i & 7) & 1;
            i++;
        }
    return length - valid;
}

/* The buffers of an array, a new list; of one without (a == NULL) an empty one. *null_count is computed if it is
 * unknown. Where the array has an offset, memory begins at its first item; of bits at the byte with it. */
static PyObject *buffers_of(const description *d, const struct ArrowArray *a, PyObject *owner, int64_t *null_count)
{
    PyObject *list = PyList_New(0);
    int64_t n, first = 0, items = 0;

    *null_count = 0;
    if (list == NULL || a == NULL || d->layout == NO_ARRAY || d->layout == NULLS)
        return list;
#define ADD(ptr, format, items, itemsize) \
    do { \
        PyObject *m_ = new_memory(owner, ptr, format, items, itemsize); \
        int r_ = m_ == NULL ? -1 : PyList_Append(list, m_); \
        Py_XDECREF(m_); \
        if (r_ < 0) \
            goto fail; \
    } while (0)
#define FAIL(what) do { bad(what); goto fail; } while (0)

    n = d->layout == STRUCT ? 1 : d->layout == STRINGS || d->layout == VIEWS ? 3 : 2;
    if (d->layout == VIEWS ? a->n_buffers < n : a->n_buffers != n)
        FAIL("it has another number of buffers than its format");
    /* The validity bitmap, or None. */
    const uint8_t *validity = a->buffers[0];
    first = a->offset & 7;
    items = (first + a->length + 7) / 8;
    if (a->length > 0 && validity != NULL) {
        *null_count = a->null_count < 0 ? count_nulls(validity + a->offset / 8, first, a->length) : a->null_count;
    } else if (a->null_count > 0)
        FAIL("it has nulls and no validity bitmap");
    if (*null_count > 0)
        ADD(validity + a->offset / 8, "B", items, 1);
    else if (PyList_Append(list, Py_None) < 0)
        goto fail;
    if (d->layout == STRUCT)
        return list;

    const char *data = a->buffers[1];
    if (a->length == 0) { /* there need be no memory */
        ADD(NULL, d->items ? d->items : "B", 0, d->layout == FIXED || d->layout == STRINGS ? d->itemsize : 1);
        if (d->layout == STRINGS)
            ADD(NULL, "B", 0, 1);
        return list;
    }
    if (data == NULL)
        FAIL("its data buffer is missing");
    switch (d->layout) {
    case BITS:
        ADD(data + a->offset / 8, "B", items, 1);
        break;
    case FIXED:
        ADD(data + a->offset * d->itemsize, d->items, a->length, d->itemsize);
        break;
    case STRINGS: {
        const char *end = data + (a->offset + a->length) * d->itemsize;
        int64_t size;
        int32_t size32;
        if (d->itemsize == 4) {
            memcpy(&size32, end, sizeof size32);
            size = size32;
        } else
            memcpy(&size, end, sizeof size);
        if (size < 0 || (size > 0 && a->buffers[2] == NULL))
            FAIL("its offsets or its bytes are wrong");
        ADD(data + a->offset * d->itemsize, d->items, a->length + 1, d->itemsize);
        ADD(a->buffers[2], "B", size, 1);
        break;
    }
    case VIEWS: {
        ADD(data + a->offset * d->itemsize, "B", a->length * d->itemsize, 1);
        int64_t size;
        const char *sizes = a->buffers[a->n_buffers - 1];
        if (a->n_buffers > n && sizes == NULL)
            FAIL("the sizes of its buffers are missing");
        for (int64_t i = 2; i < a->n_buffers - 1; i++) {
            memcpy(&size, sizes + (i - 2) * 8, sizeof size);
            if (size < 0 || (size > 0 && a->buffers[i] == NULL))
                FAIL("the sizes of its buffers are wrong");
            ADD(a->buffers[i], "B", size, 1);
        }
        break;
    }
    default:
        break;
    }
    return list;
fail:
    Py_DECREF(list);
    return NULL;
#undef ADD
#undef FAIL
}

static PyObject *import(const struct ArrowSchema *schema, struct ArrowArray *array, int children);

/* New tuple of the children, which are moved out of the array (if there is one). */
static PyObject *children_of(const struct ArrowSchema *schema, struct ArrowArray *a)
{
    PyObject *children = PyTuple_New(schema->n_children);
    for (int64_t i = 0; children != NULL && i < schema->n_children; i++) {
        PyObject *child = NULL;
        if (schema->children[i] == NULL || (a != NULL && a->children[i] == NULL))
            bad("a child is missing");
        else if (a != NULL && (a->children[i]->length < a->length + a->offset || a->children[i]->offset < 0 ||
                               a->children[i]->offset > INT64_MAX - a->offset))
            bad("a child is shorter than the array");
        else {
            if (a != NULL && a->children[i]->release != NULL) { /* the parent's slice */
                a->children[i]->offset += a->offset;
                if (a->children[i]->length != a->length) {
                    a->children[i]->length = a->length;
                    a->children[i]->null_count = a->children[i]->null_count == 0 ? 0 : -1;
                }
            }
            child = import(schema->children[i], a == NULL ? NULL : a->children[i], 0);
        }
        if (child == NULL)
            Py_CLEAR(children);
        else
            PyTuple_SetItem(children, i, child);
    }
    return children;
}

/* New: the array as (format, name, length, null_count, offset, buffers, children, has a dictionary). `array` is moved
 * from if all is well; NULL for one of length 0. The offset, below 8, is that of bits in their first byte.
 * children: whether those of a struct are wanted. */
static PyObject *import(const struct ArrowSchema *schema, struct ArrowArray *array, int children)
{
    PyObject *owner = NULL, *buffers = NULL, *inner = NULL, *name = NULL, *r = NULL;
    const char *format = schema->format;
    struct ArrowArray *a = NULL;
    int64_t null_count = 0;

    if (check(schema, array) < 0)
        return NULL;
    description d = describe(format);
    if (array != NULL) {
        if ((owner = move_array(array)) == NULL)
            return NULL;
        a = PyCapsule_GetPointer(owner, OWNED);
    }
    name = schema->name == NULL ? Py_NewRef(Py_None) : bb_text(schema->name, (Py_ssize_t)strlen(schema->name));
    inner = children && d.layout == STRUCT ? children_of(schema, a) : PyTuple_New(0);
    if (name != NULL && inner != NULL && (buffers = buffers_of(&d, a, owner, &null_count)) != NULL)
        r = Py_BuildValue("(sOLLLOOi)", format, name, (long long)(a ? a->length : 0), (long long)null_count,
                          (long long)(a && a->length > 0 ? a->offset & 7 : 0), buffers, inner,
                          schema->dictionary != NULL);
    Py_XDECREF(name);
    Py_XDECREF(inner);
    Py_XDECREF(buffers);
    Py_XDECREF(owner);
    return r;
}

/* _arrow_import(pair): of what __arrow_c_array__ gave, two capsules in a tuple; the second one is used up. */
PyObject *bb_py_arrow_import(PyObject *Py_UNUSED(module), PyObject *pair)
{
    PyObject *schema = NULL, *array = NULL;

    if (PyTuple_Check(pair) && PyTuple_Size(pair) == 2) {
        schema = PyTuple_GetItem(pair, 0);
        array = PyTuple_GetItem(pair, 1);
    }
    if (schema == NULL || !PyCapsule_IsValid(schema, SCHEMA) || !PyCapsule_IsValid(array, ARRAY)) {
        PyErr_SetString(PyExc_TypeError, "__arrow_c_array__ must give a pair of capsules, arrow_schema and arrow_array");
        return NULL;
    }
    return import(PyCapsule_GetPointer(schema, SCHEMA), PyCapsule_GetPointer(array, ARRAY), 1);
}

/* ------------------------------------------------------------ in: streams */

/* Without the GIL, since a stream may compute, in threads that want it. -1: exception. */
static int stream_call(struct ArrowArrayStream *s, struct ArrowSchema *schema, struct ArrowArray *array)
{
    int error;
    Py_BEGIN_ALLOW_THREADS
    error = schema != NULL ? s->get_schema(s, schema) : s->get_next(s, array);
    Py_END_ALLOW_THREADS
    if (error == 0)
        return 0;
    const char *message = s->get_last_error == NULL ? NULL : s->get_last_error(s);
    if (!PyErr_Occurred()) /* a stream that is made in Python may have left its own */
        PyErr_Format(PyExc_OSError, "the Arrow stream failed: %.1000s", message != NULL ? message : strerror(error));
    return -1;
}

/* _arrow_stream(capsule): (an array of length 0, the list of its arrays), as _arrow_import gives them. The stream is
 * moved out of the capsule first: other threads may come here with the same one while this waits without the GIL. */
PyObject *bb_py_arrow_stream(PyObject *Py_UNUSED(module), PyObject *capsule)
{
    struct ArrowArrayStream *theirs, s;
    struct ArrowSchema schema = {0};
    PyObject *list = NULL, *empty = NULL, *item, *r = NULL, *type, *value, *traceback;

    if (!PyCapsule_IsValid(capsule, STREAM)) {
        PyErr_SetString(PyExc_TypeError, "__arrow_c_stream__ must give a capsule, arrow_array_stream");
        return NULL;
    }
    theirs = PyCapsule_GetPointer(capsule, STREAM);
    if (theirs->release == NULL) {
        PyErr_SetString(PyExc_BufferError, "this Arrow stream was used up already");
        return NULL;
    }
    s = *theirs;
    theirs->release = NULL;
    if (stream_call(&s, &schema, NULL) < 0 || (empty = import(&schema, NULL, 1)) == NULL ||
        (list = PyList_New(0)) == NULL)
        goto done;
    for (;;) {
        struct ArrowArray array = {0};
        if (stream_call(&s, NULL, &array) < 0)
            goto done;
        if (array.release == NULL)
            break;
        item = PyErr_CheckSignals() < 0 ? NULL : import(&schema, &array, 1); /* there may be many, without end */
        int failed = item == NULL || PyList_Append(list, item) < 0;
        Py_XDECREF(item);
        if (failed) {
            if (array.release != NULL)
                array.release(&array);
            goto done;
        }
    }
    r = PyTuple_Pack(2, empty, list);
done:
    PyErr_Fetch(&type, &value, &traceback); /* the producer may be Python's */
    if (schema.release != NULL)
        schema.release(&schema);
    Py_XDECREF(empty);
    Py_XDECREF(list);
    s.release(&s);
    PyErr_Restore(type, value, traceback);
    return r;
}
