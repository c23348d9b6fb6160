/* Any exporter's memory: the consumer's side of the buffer protocol (PEP 3118), and the order in which the
 * protocols of objects that have others are tried (interface.c, dlpack.c).
 *
 * Who keeps the memory alive: the Py_buffer in the bb_buffer (or `keep`), until it is
 * released; see bb_node in bufferbridge.h for how Julia lets go. Where an exporter says something
 * that can't be true, BufferError is raised here, so that Julia need not check again. */
#include "bufferbridge.h"
#include <stdatomic.h>
#include <string.h>

/* ------------------------------------------------------ letting go, later */

static _Atomic(bb_node *) released; /* any thread pushes; who has the GIL takes the whole list */

void bb_release_later(bb_node *node)
{
    bb_node *head = atomic_load_explicit(&released, memory_order_relaxed);
    do
        node->next = head;
    while (!atomic_compare_exchange_weak_explicit(&released, &head, node, memory_order_release,
                                                  memory_order_relaxed));
}

/* Releasing may run any Python code (__del__, __release_buffer__), and must not disturb an exception
 * that is on its way. */
void bb_drop_buffer(bb_buffer *b)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (b->view.obj != NULL)
        PyBuffer_Release(&b->view);
    Py_XDECREF(b->keep);
    Py_XDECREF(b->description);
    PyMem_RawFree(b->many_dims);
    PyMem_RawFree(b);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(NULL);
    PyErr_Restore(type, value, traceback);
}

void bb_release_now(bb_node *node)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (node->kind == BB_NODE_BUFFER) {
        bb_buffer *b = (bb_buffer *)node;
        bb_link_out(&b->link);
        bb.pinned_buffers--;
        bb.pinned_bytes -= b->len;
        bb_uncount_memory(b);
        bb_drop_buffer(b);
    } else if (node->kind == BB_NODE_TENSOR) {
        bb_free_tensor(node);
    } else if (node->kind == BB_NODE_ARROW) {
        bb_arrow_release_now(node);
    } else {
        bb_handle *h = (bb_handle *)node;
        bb_link_out(&h->link);
        bb.python_objects--;
        Py_DECREF(h->object);
        PyMem_RawFree(h);
    }
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(NULL);
    PyErr_Restore(type, value, traceback);
}

void bb_drain(void)
{
    if (atomic_load_explicit(&released, memory_order_relaxed) == NULL)
        return;
    /* When Julia stops, its finalizers run for everything, also for memory that views in Python still
     * look at. The process is ending: keep it. */
    if (bb.status != BB_RUNNING || bb.stopping)
        return;
    bb_node *node = atomic_exchange_explicit(&released, NULL, memory_order_acquire);
    while (node != NULL) {
        bb_node *next = node->next;
        bb_release_now(node);
        node = next;
    }
}

bb_handle *bb_hold(PyObject *o)
{
    bb_handle *h = PyMem_RawMalloc(sizeof *h);
    if (h == NULL)
        return NULL;
    h->node.kind = BB_NODE_HANDLE;
    h->object = Py_NewRef(o);
    bb_link_in(&h->link, &bb_held_objects);
    bb.python_objects++;
    return h;
}

/* ------------------------------------------------------- how much is held */

/* Julia's collector knows nothing of the size of Python's memory, so that collections are made by hand when much
 * of it waits to be let go (frombuffer.jl). What one call after another passes again and again is still the same
 * memory: it is counted once, by its address. */
typedef struct bb_memory {
    struct bb_memory *next;
    char *ptr;
    int64_t len;          /* of the longest buffer that there was */
    int64_t buffers;      /* that are held */
} bb_memory;

/* What a buffer costs besides its memory is some hundred bytes here, and its exporter. It counts for more than that,
 * so that there is a collection after 65,536 small ones (MIN_PIN_LIMIT in frombuffer.jl). */
enum { LARGE = 1 << 14, BUCKETS = 1024, BESIDES = 1 << 12 };
static bb_memory *memories[BUCKETS];
static bb_memory uncounted; /* the `memory` of buffers that don't count */

static bb_memory **bucket(const char *ptr)
{
    return &memories[((uintptr_t)ptr * UINT64_C(0x9E3779B97F4A7C15)) >> 54];
}

void bb_count_memory(bb_buffer *b)
{
    bb_memory *m, **first;

    b->memory = NULL;
    bb.held_bytes += BESIDES;
    if (b->len >= LARGE) {
        first = bucket(b->ptr);
        for (m = *first; m != NULL && m->ptr != b->ptr; m = m->next)
            ;
        if (m == NULL && (m = PyMem_RawMalloc(sizeof *m)) != NULL) {
            *m = (bb_memory){*first, b->ptr, 0, 0};
            *first = m;
        }
        if (m != NULL) {
            m->buffers++;
            if (b->len > m->len) {
                bb.held_bytes += b->len - m->len;
                m->len = b->len;
            }
            b->memory = m;
            return;
        }
    }
    bb.held_bytes += b->len;
}

void bb_uncount_memory(bb_buffer *b)
{
    bb_memory *m = b->memory, **place;

    if (m == &uncounted)
        return;
    b->memory = &uncounted;
    bb.held_bytes -= BESIDES;
    if (m == NULL)
        bb.held_bytes -= b->len;
    if (m == NULL || --m->buffers > 0)
        return;
    bb.held_bytes -= m->len;
    for (place = bucket(m->ptr); *place != m; place = &(*place)->next)
        ;
    *place = m->next;
    PyMem_RawFree(m);
}

/* ------------------------------------------------------------- buffers */

/* BB_C_CONTIGUOUS and BB_F_CONTIGUOUS, as far as they hold; strides of axes with one item don't count. */
int bb_contiguity(int64_t ndim, const int64_t *shape, const int64_t *strides, int64_t itemsize)
{
    int flags = BB_C_CONTIGUOUS | BB_F_CONTIGUOUS;
    int64_t expect = itemsize;

    for (int64_t i = 0; i < ndim; i++)
        if (shape[i] == 0)
            return flags;
    for (int64_t i = 0; i < ndim; i++) {
        if (shape[i] != 1 && strides[i] != expect)
            flags &= ~BB_F_CONTIGUOUS;
        expect *= shape[i];
    }
    expect = itemsize;
    for (int64_t i = ndim; i-- > 0;) {
        if (shape[i] != 1 && strides[i] != expect)
            flags &= ~BB_C_CONTIGUOUS;
        expect *= shape[i];
    }
    return flags;
}

/* Fills in what Julia wants to know ready-made. */
static void describe(bb_buffer *b)
{
    int swapped;
    int64_t alignment, bits = (int64_t)(intptr_t)b->ptr;

    b->kind = bb_kind_of_format(b->format, &swapped);
    if (b->kind != BB_K_NONE && bb_kind_size((int)b->kind) != b->itemsize)
        b->kind = BB_K_NONE; /* the itemsize is the truth; Julia's codec sorts it out */
    b->flags = b->suboffsets ? 0 : bb_contiguity(b->ndim, b->shape, b->strides, b->itemsize);
    if (swapped && b->itemsize > 1)
        b->flags |= BB_SWAPPED;
    alignment = b->kind ? bb_kind_alignment((int)b->kind) : 1;
    for (int64_t i = 0; i < b->ndim; i++)
        if (b->shape[i] > 1)
            bits |= b->strides[i];
    if (bits % alignment == 0)
        b->flags |= BB_ALIGNED;
    else if (b->len == 0) { /* where there are no items any address will do: an empty array.array has an odd one */
        b->ptr = NULL;
        b->flags |= BB_ALIGNED;
    }
}

/* Checks shape and itemsize against each other; computes the bytes of all items, which
 * bb_finish_buffer narrows down to the memory they lie in. */
int bb_check_shape(bb_buffer *b, PyObject *o)
{
    int64_t len = b->itemsize, items = 1;
    int empty = 0;

    if (b->itemsize < 0)
        goto bad;
    for (int64_t i = 0; i < b->ndim; i++) {
        if (b->shape[i] < 0)
            goto bad;
        if (b->shape[i] == 0)
            empty = 1;
        else if (__builtin_mul_overflow(len, b->shape[i], &len) ||
                 __builtin_mul_overflow(items, b->shape[i], &items)) /* items may have no bytes */
            goto bad;
    }
    b->len = empty ? 0 : len;
    if (b->ptr == NULL && b->len != 0)
        goto bad;
    return 0;
bad:
    PyErr_Format(PyExc_BufferError,
                 "the buffer of '%.200s' is not valid: its shape, itemsize and memory contradict "
                 "each other (itemsize %lld, ndim %lld)",
                 bb_type_name(Py_TYPE(o)), (long long)b->itemsize, (long long)b->ndim);
    return -1;
}

bb_buffer *bb_new_buffer(int64_t ndim)
{
    bb_buffer *b = PyMem_RawMalloc(sizeof *b + 3 * (size_t)ndim * sizeof(int64_t));
    if (b == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    memset(b, 0, sizeof *b);
    b->node.kind = BB_NODE_BUFFER;
    b->shape = b->dims;
    b->strides = b->dims + ndim;
    return b;
}

void bb_row_major_strides(bb_buffer *b)
{
    int64_t *strides = (int64_t *)b->strides;
    uint64_t step = (uint64_t)b->itemsize; /* it may overflow where there are no items */
    for (int64_t i = b->ndim; i-- > 0;) {
        strides[i] = (int64_t)step;
        step *= (uint64_t)b->shape[i];
    }
}

/* Where the items lie, in bytes from the first one: *low to the lowest, *high to the end of the highest. For
 * memory that has items. -1: those are not all addresses. */
int bb_reach(const bb_buffer *b, int64_t *low, int64_t *high)
{
    int64_t n, p = (int64_t)(intptr_t)b->ptr;
    *low = 0;
    *high = b->itemsize;
    for (int64_t i = 0; i < b->ndim; i++) {
        if (__builtin_mul_overflow(b->shape[i] - 1, b->strides[i], &n) ||
            __builtin_add_overflow(n < 0 ? *low : *high, n, n < 0 ? low : high))
            return -1;
    }
    return __builtin_add_overflow(p, *low, &n) || n < 0 || __builtin_add_overflow(p, *high, &n) ? -1 : 0;
}

int bb_finish_buffer(bb_buffer *b, PyObject *o, bb_value *v)
{
    int64_t low, high;
    if (b->len != 0 && b->suboffsets == NULL) {
        if (bb_reach(b, &low, &high) < 0) {
            PyErr_Format(PyExc_BufferError,
                         "the buffer of '%.200s' is not valid: its memory leads out of the address "
                         "space", bb_type_name(Py_TYPE(o)));
            return -1;
        }
        b->len = high - low;
    }
    describe(b);
    b->object = o;
    bb_link_in(&b->link, &bb_held_buffers);
    bb.pinned_buffers++;
    bb.pinned_bytes += b->len;
    bb_count_memory(b);
    v->tag = BB_BUFFER;
    v->a.p = b;
    return 1;
}

/* The format in a str that a hook of the package gave (bufferbridge/_formats.py), which is taken. None:
 * the exporter's own is good. */
int bb_set_description(bb_buffer *b, PyObject *description)
{
    const char *format;

    if (description == NULL)
        return -1;
    if (description == Py_None) {
        Py_DECREF(description);
        return 0;
    }
    if ((format = PyUnicode_AsUTF8(description)) == NULL) {
        Py_DECREF(description);
        return -1;
    }
    b->format = format;
    b->description = description;
    return 0;
}

/* Whether it is an object of ctypes': a structure, an array, ... No exception is set. */
static int is_of_ctypes(PyObject *o)
{
    static PyObject *name, *base; /* what all these classes have as a base; NULL until somebody imports ctypes */

    if (PyBytes_CheckExact(o) || PyByteArray_CheckExact(o) || Py_TYPE(o) == bb_numpy_ndarray)
        return 0;
    if (base == NULL && (name != NULL || (name = PyUnicode_InternFromString("_ctypes")) != NULL)) {
        PyObject *module = PyImport_GetModule(name);
        PyObject *structure = module == NULL ? NULL : PyObject_GetAttrString(module, "Structure");
        base = structure == NULL ? NULL : PyObject_GetAttrString(structure, "__base__");
        Py_XDECREF(structure);
        Py_XDECREF(module);
    }
    PyErr_Clear();
    return base != NULL && PyType_Check(base) && PyObject_TypeCheck(o, (PyTypeObject *)base);
}

static int is_of_numpy(PyObject *o)
{
    if (bb_look_for_numpy() < 0)
        PyErr_Clear();
    return bb_numpy_generic != NULL && bb_numpy_ndarray != NULL &&
           (PyObject_TypeCheck(o, bb_numpy_ndarray) || PyObject_TypeCheck(o, bb_numpy_generic));
}

/* What the package said of NumPy's dtypes. A dtype is known by its address, which it keeps as long as
 * we hold it, and by its format: its names can be changed in place. */
static struct { PyObject *dtype, *format, *description; } described[64];

static PyObject *describe_dtype(PyObject *array, const bb_buffer *b)
{
    PyObject *dtype = PyObject_GetAttrString(array, "dtype"), *description;
    if (dtype == NULL)
        return NULL;
    size_t i = ((uintptr_t)dtype >> 4) % (sizeof described / sizeof *described);
    if (described[i].dtype == dtype && strcmp(PyBytes_AS_STRING(described[i].format), b->format) == 0) {
        Py_DECREF(dtype);
        return Py_NewRef(described[i].description);
    }
    PyObject *format = PyBytes_FromString(b->format);
    description = format == NULL ? NULL :
        PyObject_CallFunction(bb.describe_buffer, "OsLL", array, b->format, (long long)b->itemsize,
                              (long long)b->ndim);
    if (description == NULL) {
        Py_XDECREF(format);
        Py_DECREF(dtype);
        return NULL;
    }
    PyObject *old[3] = {described[i].dtype, described[i].format, described[i].description};
    described[i].dtype = dtype;
    described[i].format = format;
    described[i].description = Py_NewRef(description);
    for (int k = 0; k < 3; k++)
        Py_XDECREF(old[k]); /* last: it may run any code */
    return description;
}

/* What NumPy and ctypes export for records does not always tell where the fields are. Their types do. */
static int ask_exporter(bb_buffer *b, PyObject *o)
{
    PyObject *base = o;
    int swapped, kind = bb_kind_of_format(b->format, &swapped);

    /* ctypes exports packed structures and unions as 'B'. */
    if (kind != BB_K_NONE && kind != BB_K_U8)
        return 0;
    /* Subclasses may have a dtype of their own, and are asked in Python. */
    if (kind == BB_K_NONE && strchr(b->format, 'T') != NULL &&
        is_of_numpy(o) && Py_TYPE(o) == bb_numpy_ndarray)
        return bb_set_description(b, describe_dtype(o, b));
    if (PyMemoryView_Check(o))
        base = bb_memoryview_base(o);
    if (base == NULL)
        return 0;
    int is_ctypes = is_of_ctypes(base);
    if (!is_ctypes &&
        !(kind == BB_K_NONE && strchr(b->format, 'T') != NULL &&
          is_of_numpy(base)))
        return 0;
    if (bb_set_description(b, PyObject_CallFunction(bb.describe_buffer, "OsLL", base, b->format,
                                                 (long long)b->itemsize, (long long)b->ndim)) < 0)
        return -1;
    /* ctypes keeps the references of its py_objects elsewhere: ours must not replace them. */
    if (is_ctypes && (strstr(b->format, "^O") != NULL || strcmp(b->format, "<O") == 0 ||
                      strcmp(b->format, ">O") == 0))
        b->readonly = 1;
    return 0;
}

/* Copies shape, strides and suboffsets, which an exporter might change or have in the Py_buffer itself, and
 * fills in what it may omit. Without a shape there are plain items, whatever else is said. */
static int set_dims(bb_buffer *b, PyObject *o)
{
    _Static_assert(sizeof(Py_ssize_t) == sizeof(int64_t), "bufferbridge needs a 64-bit platform");
    const Py_buffer *view = &b->view;
    const size_t n = (size_t)view->ndim, bytes = n * sizeof(int64_t);
    int64_t *place = b->dims;

    if (n > BB_INLINE_DIMS && (place = b->many_dims = PyMem_RawMalloc(3 * bytes)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    b->shape = place;
    b->strides = place + n;
    if (n == 0)
        return bb_check_shape(b, o);
    if (view->shape == NULL) {
        place[0] = view->itemsize > 0 ? view->len / view->itemsize : 0;
    } else {
        memcpy(place, view->shape, bytes);
        if (view->strides != NULL)
            memcpy(place + n, view->strides, bytes);
        for (size_t i = 0; view->suboffsets != NULL && i < n; i++)
            if (view->suboffsets[i] >= 0) {
                memcpy(place + 2 * n, view->suboffsets, bytes);
                b->suboffsets = place + 2 * n;
                break;
            }
    }
    if (bb_check_shape(b, o) < 0)
        return -1;
    if (view->shape == NULL || view->strides == NULL)
        bb_row_major_strides(b);
    return 0;
}

static int acquire_buffer(PyObject *o, bb_value *v)
{
    /* As memoryview does: ask for no more than reading, and believe the read-only field. */
    const int flags = PyBUF_FULL_RO;
    bb_buffer *b = bb_new_buffer(BB_INLINE_DIMS);
    Py_buffer *view;

    if (b == NULL)
        return -1;
    view = &b->view;
    if (PyObject_GetBuffer(o, view, flags) < 0) {
        PyMem_RawFree(b);
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_BufferError, "'%.200s' refused its buffer and did not say why",
                         bb_type_name(Py_TYPE(o)));
        return -1;
    }
    if (PyErr_Occurred())
        goto fail; /* it has raised, and not said so */
    if (view->obj == NULL) /* nothing to release; then the exporter is what has the memory */
        b->keep = Py_NewRef(o);
    b->ptr = view->buf;
    b->ndim = view->ndim;
    b->readonly = view->readonly != 0;
    b->format = view->format ? view->format : "B";
    b->itemsize = view->itemsize;
    if (view->ndim < 0 || view->ndim > PyBUF_MAX_NDIM ||
        (view->ndim > 1 && view->shape == NULL)) {
        PyErr_Format(PyExc_BufferError, "the buffer of '%.200s' is not valid: ndim is %d, %s",
                     bb_type_name(Py_TYPE(o)), view->ndim, view->shape ? "" : "with no shape");
        goto fail;
    }
    if (set_dims(b, o) < 0)
        goto fail;
    if (view->len < b->len) {
        PyErr_Format(PyExc_BufferError,
                     "the buffer of '%.200s' is not valid: its shape and itemsize mean %lld bytes, and it "
                     "has only %lld", bb_type_name(Py_TYPE(o)), (long long)b->len, (long long)view->len);
        goto fail;
    }
    if (ask_exporter(b, o) == 0 && bb_finish_buffer(b, o, v) > 0)
        return 1;
fail:
    bb_drop_buffer(b);
    return -1;
}

/* ------------------------------------------------- the order of protocols */

/* Besides buffers, in the order in which they are asked for. Each is given the object and its attribute: 1: v
 * has the buffer; 0: the attribute is not what the protocol has there; -1: exception. A description that is
 * refused is refused for what the memory is, and those after it would say no more of it. */
static const struct {
    int bit;
    const char *name;
    int (*acquire)(PyObject *o, PyObject *attribute, bb_value *v);
    int is_final;
} protocols[] = {
    {BB_P_INTERFACE, "__array_interface__", bb_acquire_interface, 1},
    {BB_P_STRUCT, "__array_struct__", bb_acquire_struct, 1},
    {BB_P_DLPACK, "__dlpack__", bb_acquire_dlpack, 0},
};
enum { PROTOCOLS = sizeof protocols / sizeof *protocols };

/* An interrupt and a lack of memory are no answer that another one could be better than. */
static int may_try_another(void)
{
    return PyErr_ExceptionMatches(PyExc_Exception) && !PyErr_ExceptionMatches(PyExc_MemoryError);
}

/* As those above, for the attribute that the object has, if it has. */
static int acquire_by(int i, PyObject *o, bb_value *v)
{
    static PyObject *names[PROTOCOLS];
    PyObject *attribute;
    int r;

    if (names[i] == NULL && (names[i] = PyUnicode_InternFromString(protocols[i].name)) == NULL)
        return -1;
    attribute = PyObject_GetAttr(o, names[i]);
    if (attribute == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1; /* it is there, and raises */
        PyErr_Clear();
        return 0;
    }
    r = protocols[i].acquire(o, attribute, v);
    Py_DECREF(attribute);
    return r;
}

int bb_acquire(PyObject *o, int wanted, bb_value *v)
{
    PyObject *type = NULL, *value = NULL, *traceback = NULL; /* of the latest refusal */
    int r, refused = 0;

    v->owner = NULL;
    v->tag = BB_NONE;
    if (bb_refuse_masked(o) < 0)
        return -1;
    if (PyObject_CheckBuffer(o)) {
        r = acquire_buffer(o, v);
        /* NumPy, for one, has dtypes that it doesn't export but describes by its interface. */
        if (r >= 0 || !may_try_another())
            return r;
        refused = 1;
        PyErr_Fetch(&type, &value, &traceback);
    }
    /* A class has these for its instances. */
    for (int i = PyType_Check(o) ? PROTOCOLS : 0; i < PROTOCOLS; i++) {
        if (!(wanted & protocols[i].bit) || (r = acquire_by(i, o, v)) == 0)
            continue;
        Py_CLEAR(type);
        Py_CLEAR(value);
        Py_CLEAR(traceback);
        if (r > 0 || protocols[i].is_final || !may_try_another())
            return r;
        refused = 1;
        PyErr_Fetch(&type, &value, &traceback);
    }
    PyErr_Restore(type, value, traceback);
    return refused ? -1 : 0;
}
