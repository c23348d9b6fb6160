/* bb.borrow: memory that Julia has for a block of Python's only.
 *
 * A bb_loan stands for one buffer that was lent so. Unlike the buffers of acquire.c, which Julia's
 * collector releases when nothing in Julia can reach them any more, this one belongs to Python: it is
 * released when the block ends, whoever in Julia still has an array of it. So every such array, in C
 * as in Julia, looks at the loan before it touches memory:
 *
 *   JuliaArrays     `closed`, in bb_array_current: what all of their operations begin with
 *   Julia's arrays  `open` of their Loan (jlsrc/src/borrowed.jl), a Julia object that a root slot
 *                   keeps while the loan is open. C sets it to 0, so that a loan ends without
 *                   entering Julia: on any thread, after Julia's end, in a fork.
 *
 * Who keeps a loan: the JuliaArrays of its memory, each one reference; the context manager
 * (bufferbridge/_borrow.py) has one of those. When the last of them dies, the loan ends too. Julia
 * keeps none: once `open` is 0 no array of Julia's asks for the loan again.
 *
 * Py_buffers that JuliaArrays have given out may outlive the loan. While there are any, the memory is
 * not given back; the last one that is released gives it back. All of this with the GIL. */
#include "bufferbridge.h"

bb_loan *bb_lend(bb_buffer *buffer)
{
    bb_loan *loan = PyMem_Calloc(1, sizeof *loan);
    if (loan == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    loan->slot = -1;
    loan->references = 1;
    loan->buffer = buffer;
    /* Counted apart from what Julia's collector should let go of; see frombuffer.jl. */
    bb_uncount_memory(buffer); /* the block decides how long */
    return loan;
}

/* Last in what its callers do: it may run any Python code. */
static void give_back(bb_loan *loan)
{
    bb_buffer *buffer = loan->buffer;
    if (buffer == NULL || !loan->closed || loan->exports > 0)
        return;
    loan->buffer = NULL;
    bb_release_now(&buffer->node);
}

static void end(bb_loan *loan)
{
    if (!loan->closed) {
        loan->closed = 1;
        for (int i = 0; i < BB_LOAN_WORDS; i++)
            if (loan->words[i] != NULL)
                *loan->words[i] = 0;
        if (loan->slot >= 0)
            bb_free_slot(loan->slot); /* from here on the words may be anything */
    }
    give_back(loan);
}

void bb_loan_drop(bb_loan *loan)
{
    if (loan->references > 1) {
        loan->references--;
        return;
    }
    end(loan); /* nobody can take a reference any more: there is no array of it that is open */
    PyMem_Free(loan);
}

void bb_loan_export(bb_loan *loan) { loan->exports++; }

void bb_loan_unexport(bb_loan *loan)
{
    loan->exports--;
    give_back(loan);
}

int bb_loan_ended(void)
{
    PyErr_SetString(PyExc_BufferError,
                    "this array was borrowed for a block that has ended: copy it inside the block "
                    "(numpy.array(x), or copy(x) in Julia), or use bufferbridge.wrap to let Julia "
                    "keep the memory");
    return -1;
}

/* ------------------------------------------------- for bufferbridge/_borrow.py */

PyObject *bb_py_borrow(PyObject *Py_UNUSED(module), PyObject *o)
{
    bb_value buffer, args[2], out;
    PyObject *result = NULL;

    if (bb_acquire_for_wrapping(o, ": borrow an array of it, x.to_numpy() or numpy.asarray(x); bufferbridge.wrap(x) also "
                                   "takes Arrow arrays and Series", &buffer) < 0)
        return NULL;
    bb_loan *loan = bb_lend((bb_buffer *)buffer.a.p);
    if (loan == NULL) {
        bb_value_clear(&buffer);
        return NULL;
    }
    args[0] = (bb_value){.tag = BB_INT, .a.i = (int64_t)(intptr_t)&buffer};
    args[1] = (bb_value){.tag = BB_INT, .a.i = (int64_t)(intptr_t)loan};
    if (bb_call_helper(BB_H_BORROW, args, 2, &out) == 0)
        result = bb_to_python(&out);
    bb_loan_drop(loan); /* the JuliaArray has its own reference; if there is none, this ends it */
    return result;
}

static bb_loan *loan_of(PyObject *o)
{
    if (Py_TYPE(o) == bb_types[BB_CLASS_ARRAY])
        return ((bb_array *)o)->loan;
    return NULL;
}

PyObject *bb_py_end_borrow(PyObject *Py_UNUSED(module), PyObject *o)
{
    bb_loan *loan = loan_of(o);
    if (loan == NULL) {
        PyErr_SetString(PyExc_TypeError, "this is no array that was borrowed");
        return NULL;
    }
    bb_drain(); /* Julia may have had a view that it has collected */
    int64_t exports = loan->exports;
    end(loan); /* `o` keeps it */
    if (exports == 0)
        Py_RETURN_NONE;
    PyErr_Format(PyExc_BufferError,
                 "the block ends while %lld buffer%s of the borrowed array (memoryviews, ndarrays, or "
                 "such that Julia was passed) %s alive: Julia's access has ended, and the memory is "
                 "given back when %s released; delete them, or copy, inside the block",
                 (long long)exports, exports == 1 ? "" : "s", exports == 1 ? "is" : "are",
                 exports == 1 ? "it is" : "they are");
    return NULL;
}

PyObject *bb_py_is_lent(PyObject *Py_UNUSED(module), PyObject *o)
{
    return PyBool_FromLong(loan_of(o) != NULL);
}

/* What an array counts as exported with while its address is in use otherwise than by a Py_buffer. */
static const char HELD[] = "bufferbridge: memory in use";

static void let_go(PyObject *capsule)
{
    PyObject *array = PyCapsule_GetPointer(capsule, HELD);
    bb_releasebuffer(array, NULL);
    Py_DECREF(array);
}

PyObject *bb_py_hold_memory(PyObject *Py_UNUSED(module), PyObject *o)
{
    if (Py_TYPE(o) != bb_types[BB_CLASS_ARRAY]) {
        PyErr_SetString(PyExc_TypeError, "a JuliaArray is needed");
        return NULL;
    }
    if (bb_array_current((bb_array *)o) < 0)
        return NULL;
    PyObject *capsule = PyCapsule_New(o, HELD, let_go);
    if (capsule != NULL) {
        Py_INCREF(o);
        bb_count_export((bb_array *)o);
    }
    return capsule;
}
