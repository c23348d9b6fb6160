/* JuliaArray as an exporter: bf_getbuffer and bf_releasebuffer.
 *
 * Every request flag is answered here, in the order of CPython's manual ("Buffer request types"):
 * read-only, contiguity, format, shape, strides. Nothing enters Julia except for a Vector that was
 * resized on Julia 1.11 or later (juliaarray.c).
 *
 * Why the memory stays where it is while a Py_buffer is out: the Py_buffer holds a reference to the
 * JuliaArray, which roots the Julia object. A Vector could still be resized. Up to Julia 1.10 its
 * "shared" flag is set, the one that Julia itself sets when reshape makes an alias: from then on
 * push! and resize! throw. Where a resized Vector gets other memory and leaves the old as it was (from
 * 1.11 on, and an alias made by reshape before), the JuliaArray roots what owns that memory besides
 * the Vector, and the view keeps it. */
#include "bufferbridge.h"
#include <string.h>

/* What exported buffers still look at after the Vector was resized: the owner of the old memory. The
 * array's new shape and strides live here, since those of an exported buffer must not change either. */
typedef struct bb_retired {
    struct bb_retired *next;
    int64_t slot;
    int64_t dims[];
} bb_retired;

static void move_dims(bb_array *a, int64_t *place)
{
    memcpy(place, a->shape, (size_t)a->ndim * sizeof(int64_t));
    memcpy(place + a->ndim, a->strides, (size_t)a->ndim * sizeof(int64_t));
    a->shape = place;
    a->strides = place + a->ndim;
}

int bb_retire_memory(bb_array *a)
{
    if (a->memory_slot < 0)
        return 0;
    if (a->exports == 0) {
        bb_free_slot(a->memory_slot);
    } else {
        bb_retired *r = PyMem_Malloc(sizeof *r + 2 * (size_t)a->ndim * sizeof(int64_t));
        if (r == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        r->slot = a->memory_slot;
        r->next = a->retired;
        a->retired = r;
        move_dims(a, r->dims);
    }
    a->memory_slot = -1;
    return 0;
}

/* Up to Julia 1.10, before the first export of a Vector's memory: forbids to resize it. */
static int forbid_resizing(bb_array *a)
{
    uint16_t *flags = (uint16_t *)(a->owner + bb.flags_offset);
    int64_t length = *(int64_t *)(a->owner + bb.length_offset);
    int64_t capacity = *(int64_t *)(a->owner + bb.capacity_offset);

    if (*flags & bb.shared_mask)
        return 0;
    if (capacity - length > capacity / 8 && bb_ready()) { /* else sizehint! won't touch it */
        bb_value args[1] = {{.tag = BB_JULIA, .a.p = a->base.jl}}, result;
        if (bb_call_helper(BB_H_ARRAY_TRIM, args, 1, &result) < 0)
            return -1;
        if (bb_array_current(a) < 0)
            return -1;
    }
    *flags |= (uint16_t)bb.shared_mask;
    return 0;
}

static int refuse(Py_buffer *view, const char *why)
{
    view->obj = NULL;
    PyErr_SetString(PyExc_BufferError, why);
    return -1;
}

void bb_count_export(bb_array *a)
{
    a->exports++;
    bb.exports++;
    if (a->loan != NULL)
        bb_loan_export(a->loan);
}

int bb_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    bb_array *a = (bb_array *)self;
#define REQUESTED(flag) ((flags & (flag)) == (flag))

    view->obj = NULL;
    if (a->format == NULL && (a->loan == NULL || !a->loan->closed))
        return bb_array_not_shared(a);
    if (bb_array_current(a) < 0)
        return -1;
    if (REQUESTED(PyBUF_WRITABLE) && a->readonly)
        return refuse(view, "this Julia array is read-only");
    if (REQUESTED(PyBUF_C_CONTIGUOUS) && !(a->contiguity & BB_C_CONTIGUOUS))
        return refuse(view, "this Julia array is not C-contiguous (Julia's arrays are column-major)");
    if (REQUESTED(PyBUF_F_CONTIGUOUS) && !(a->contiguity & BB_F_CONTIGUOUS))
        return refuse(view, "this Julia array is not Fortran-contiguous");
    if (REQUESTED(PyBUF_ANY_CONTIGUOUS) && a->contiguity == 0)
        return refuse(view, "this Julia array is not contiguous");
    if (!REQUESTED(PyBUF_STRIDES) && !(a->contiguity & BB_C_CONTIGUOUS))
        return refuse(view, "this Julia array is not C-contiguous, so its strides are needed");
    if (!REQUESTED(PyBUF_ND) && REQUESTED(PyBUF_FORMAT))
        /* As memoryview does: without a shape the buffer is plain bytes. */
        return refuse(view, "a format can be had only together with the shape (PyBUF_ND)");

    /* Granted. This may move the memory, so that nothing of the descriptor is read before. */
    if (a->owner != NULL && bb.shared_mask != 0 && forbid_resizing(a) < 0)
        return -1;
    view->buf = a->ptr;
    view->len = a->size * a->itemsize;
    view->itemsize = a->itemsize;
    view->readonly = a->readonly != 0;
    view->ndim = (int)a->ndim;
    view->format = REQUESTED(PyBUF_FORMAT) ? (char *)a->format : NULL;
    view->shape = a->ndim > 0 ? (Py_ssize_t *)a->shape : NULL;
    view->strides = a->ndim > 0 ? (Py_ssize_t *)a->strides : NULL;
    view->suboffsets = NULL;
    view->internal = NULL;
    if (!REQUESTED(PyBUF_STRIDES))
        view->strides = NULL;
    if (!REQUESTED(PyBUF_ND)) {
        view->ndim = 1;
        view->shape = NULL;
    }
    bb_count_export(a);
    view->obj = Py_NewRef(self);
    return 0;
}

void bb_releasebuffer(PyObject *self, Py_buffer *Py_UNUSED(view))
{
    bb_array *a = (bb_array *)self;
    bb.exports--;
    if (--a->exports == 0) {
        if (a->retired != NULL)
            move_dims(a, a->home);
        while (a->retired != NULL) {
            bb_retired *r = a->retired;
            a->retired = r->next;
            bb_free_slot(r->slot);
            PyMem_Free(r);
        }
    }
    if (a->loan != NULL)
        bb_loan_unexport(a->loan); /* last: it may run any code, and the caller keeps `self` */
}
