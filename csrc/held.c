/* What the two languages hold of each other, one by one: bb.stats(detail=True).
 *
 * Python's side is a table of the Python object of each root slot (bb.holders), set when that is made and
 * cleared first thing in its dealloc: slots that something else uses (the memory of an exported Vector, a
 * loan) have none. Julia's side are two rings, of all bb_handles and of all bb_buffers. They change with the
 * GIL only, and do not own references. What Julia has finalized stays in its ring until it is released with the
 * GIL, and its object alive as long.
 *
 * Looking at them must not run any Python code, which may change them: all of it is copied first, each
 * object with a reference, into memory that Python's collector knows nothing of. */
#include "bufferbridge.h"
#include <stddef.h>

bb_link bb_held_objects = {&bb_held_objects, &bb_held_objects};
bb_link bb_held_buffers = {&bb_held_buffers, &bb_held_buffers};

typedef struct {
    PyObject *object; /* a new reference */
    int64_t is_buffer, bytes, exports, slot; /* bytes: -1 if there are none to tell */
} entry;

static int64_t count_holders(void)
{
    int64_t n = 0;
    for (int64_t slot = 0; slot < bb.root_count; slot++)
        n += bb.holders[slot] != NULL;
    return n;
}

static void copy_holders(entry *e)
{
    for (int64_t slot = 0; slot < bb.root_count; slot++) {
        PyObject *o = bb.holders[slot];
        if (o == NULL)
            continue;
        *e = (entry){.object = Py_NewRef(o), .bytes = -1, .slot = slot};
        if (Py_TYPE(o) == bb_types[BB_CLASS_ARRAY]) {
            bb_array *a = (bb_array *)o;
            e->exports = a->exports;
            if (a->format != NULL && !(a->loan != NULL && a->loan->closed))
                e->bytes = a->size * a->itemsize;
        }
        e++;
    }
}

static void copy_held(entry *e)
{
    for (bb_link *link = bb_held_objects.next; link != &bb_held_objects; link = link->next) {
        bb_handle *h = (bb_handle *)((char *)link - offsetof(bb_handle, link));
        *e++ = (entry){.object = Py_NewRef(h->object), .bytes = -1};
    }
    for (bb_link *link = bb_held_buffers.next; link != &bb_held_buffers; link = link->next) {
        bb_buffer *b = (bb_buffer *)((char *)link - offsetof(bb_buffer, link));
        /* Whom the buffer is of: `object` need not be kept by it, and `keep` may have more in it. */
        PyObject *o = b->keep == NULL ? b->view.obj
                      : PyTuple_CheckExact(b->keep) ? PyTuple_GET_ITEM(b->keep, 0) : b->keep;
        *e++ = (entry){.object = Py_NewRef(o), .is_buffer = 1, .bytes = b->len};
    }
}

static PyObject *integer_or_none(int64_t n)
{
    return n < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(n);
}

/* New list of tuples; takes the references in the entries. */
static PyObject *list_of(entry *entries, int64_t n, int of_julia)
{
    PyObject *list = PyList_New(n);
    for (int64_t i = 0; i < n; i++) {
        entry *e = &entries[i];
        PyObject *item = list == NULL ? NULL
            : of_julia ? Py_BuildValue("(OLNL)", e->object, (long long)e->slot,
                                       integer_or_none(e->bytes), (long long)e->exports)
                       : Py_BuildValue("(OsN)", e->object, e->is_buffer ? "buffer" : "object",
                                       integer_or_none(e->bytes));
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, item);
    }
    for (int64_t i = 0; i < n; i++)
        Py_DECREF(entries[i].object); /* in the list now; if there is none, this may run any code */
    return list;
}

PyObject *bb_py_held(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    bb_drain();
    int64_t of_julia = count_holders(), of_python = bb.python_objects + bb.pinned_buffers;
    entry *entries = PyMem_RawMalloc((size_t)(of_julia + of_python + 1) * sizeof *entries);
    if (entries == NULL)
        return PyErr_NoMemory();
    copy_holders(entries);
    copy_held(entries + of_julia);
    PyObject *by_python = list_of(entries, of_julia, 1);
    PyObject *by_julia = list_of(entries + of_julia, of_python, 0);
    PyMem_RawFree(entries);
    if (by_python == NULL || by_julia == NULL) {
        Py_XDECREF(by_python);
        Py_XDECREF(by_julia);
        return NULL;
    }
    return Py_BuildValue("(NN)", by_python, by_julia);
}
