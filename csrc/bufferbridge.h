/* The C layer of bufferbridge: what its files share.
 *
 * CPython's side of the bridge is here, Julia's side is in jlsrc/. The two meet in three places only:
 *
 *   bb_value   one value on its way between the languages, a plain struct that both know
 *   bb_entry   the way into Julia: call a Julia object with bb_values (through bb_enter)
 *   bb_api     the functions (by name) that Julia may call; see api.c
 *
 * Everything here is protected by the GIL, except what says "any thread".
 */
#ifndef BUFFERBRIDGE_H
#define BUFFERBRIDGE_H

#include "abi.h"

/* Thread-local variables of a library that is loaded at run time: in the block that each thread has from the
 * start, where they are read in one instruction. There is room for a few words; see tls.c. */
#ifdef __linux__
#define BB_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define BB_THREAD_LOCAL _Thread_local
#endif

/* ---------------------------------------------------------------- values */

/* Kinds of value. jlsrc/src/wire.jl has the same list. */
enum bb_tag {
    BB_NONE = 0,
    BB_BOOL = 1,      /* a.i                                                        */
    BB_INT = 2,       /* a.i                                                        */
    BB_UINT = 3,      /* a.i read as uint64; only from Julia                        */
    BB_FLOAT = 4,     /* a.d                                                        */
    BB_COMPLEX = 5,   /* a.d, b.d                                                   */
    BB_STR = 6,       /* a.p: UTF-8 (text.c), b.i: bytes; valid while the call lasts         */
    BB_JULIA = 7,     /* a.p: a Julia object, rooted by its Python wrapper          */
    BB_BUFFER = 8,    /* a.p: a bb_buffer; Julia takes it by setting tag to BB_NONE */
    BB_OBJECT = 9,    /* a.p: a PyObject; borrowed to Julia, a new reference from it */
    BB_CALLABLE = 10, /* a.p: a callable PyObject, borrowed                         */
    BB_BIGINT = 11,   /* a.p: hexadecimal digits, b.i: their number                 */
    BB_TUPLE = 12,    /* a.p: PyObject, borrowed; b.i: length                       */
    BB_NAMEDTUPLE = 13,
    BB_LIST = 14,
    BB_DICT = 15,
    BB_SET = 16,
    BB_RANGE = 17,
    BB_SCALAR = 18,   /* a NumPy scalar: b.i: its kind (enum bb_kind), a.i: its bits */
    BB_ITEM = 19,     /* a.p: a bb_buffer whose one item is meant; Julia does not take it */
};

typedef union { int64_t i; double d; void *p; } bb_word;

typedef struct {
    int64_t tag;
    bb_word a, b;
    PyObject *owner; /* keeps a.p alive during the call; NULL if nothing need be kept */
} bb_value;

int bb_from_python(PyObject *o, bb_value *v);   /* 0, or -1 with an exception set */
int bb_from_new(PyObject *o, bb_value *v);      /* the same, of a new reference, or NULL with an exception */
PyObject *bb_to_python(bb_value *v);            /* new reference; takes what v owns */
void bb_value_clear(bb_value *v);               /* drop what v still owns */

/* numpy.generic and numpy.ndarray, once bb_look_for_numpy (0; -1: exception) has found them: NumPy is imported. */
extern PyTypeObject *bb_numpy_generic, *bb_numpy_ndarray;
int bb_look_for_numpy(void);

/* Text (text.c). The str for n bytes, and the bytes of a str: valid as long as the str is and, if that is not
 * NULL afterwards (it has to be before), *owner, which is new. NULL: exception. */
PyObject *bb_text(const char *s, Py_ssize_t n);
const char *bb_utf8(PyObject *o, Py_ssize_t *n, PyObject **owner);

/* Numbers, None, text and Julia objects: if it has no owner either, there is nothing to drop, and making it
 * has run no Python code. */
static inline int bb_is_plain(const bb_value *v) { return v->tag <= BB_JULIA && v->owner == NULL; }

/* ------------------------------------------------------- scalar elements */

/* Element types that C reads and writes by itself. jlsrc/src/wire.jl has the same list. */
enum bb_kind {
    BB_K_NONE = 0,
    BB_K_BOOL, BB_K_I8, BB_K_U8, BB_K_I16, BB_K_U16, BB_K_I32, BB_K_U32, BB_K_I64, BB_K_U64,
    BB_K_F16, BB_K_F32, BB_K_F64, BB_K_C32, BB_K_C64,
    BB_K_OBJECT, /* of a JuliaArray only: a reference to a Python object, or NULL for None */
    BB_K_COUNT
};

int bb_kind_of_format(const char *format, int *swapped);
const char *bb_kind_format(int kind);
Py_ssize_t bb_kind_size(int kind);
Py_ssize_t bb_kind_alignment(int kind);
PyObject *bb_kind_load(int kind, const char *p);          /* NULL without exception: not here */
int bb_kind_store(int kind, char *p, PyObject *value);    /* 1: stored, 0: not here */

/* ------------------------------------------- what Julia holds of Python */

/* Julia frees what it holds from finalizers, which run on any thread and without the GIL. They push
 * the node on a list; bb_drain, with the GIL, takes the list and lets go. The node is allocated when
 * the thing is taken, so that a finalizer never allocates. */
enum { BB_NODE_HANDLE = 0, BB_NODE_BUFFER = 1, BB_NODE_TENSOR = 2, BB_NODE_ARROW = 3 };

typedef struct bb_node {
    struct bb_node *next;
    int64_t kind;
} bb_node;

/* The rings of all that Julia holds, for who wants to see it; see held.c. */
typedef struct bb_link {
    struct bb_link *prev, *next;
} bb_link;

typedef struct {
    bb_node node;
    PyObject *object; /* a strong reference */
    bb_link link;
} bb_handle;

enum { BB_C_CONTIGUOUS = 1, BB_F_CONTIGUOUS = 2, BB_ALIGNED = 4, BB_SWAPPED = 8 };

/* An exporter's memory, as long as Julia holds it. Julia reads the fields up to `view`. */
typedef struct {
    bb_node node;
    char *ptr;
    int64_t len;          /* bytes from the lowest item to the end of the highest one */
    int64_t itemsize, ndim, readonly, kind, flags;
    const int64_t *shape, *strides, *suboffsets; /* items, bytes, bytes; suboffsets may be NULL */
    const char *format;                          /* never NULL */
    PyObject *object;     /* the exporter, borrowed from view.obj or keep */
    bb_link link;
    struct bb_memory *memory; /* counted there, with others of the same memory; NULL if by itself */
    Py_buffer view;       /* view.obj is NULL if the memory came by an address */
    PyObject *keep;       /* then this keeps the object and its memory alive: it, or a tuple of it and more */
    PyObject *description; /* the str that `format` is in, if it is not the exporter's own */
    int64_t *many_dims;   /* shape, strides and suboffsets if there is no room for them in */
    int64_t dims[];
} bb_buffer;

extern bb_link bb_held_objects, bb_held_buffers;

static inline void bb_link_in(bb_link *link, bb_link *ring)
{
    link->prev = ring->prev;
    link->next = ring;
    link->prev->next = ring->prev = link;
}

static inline void bb_link_out(bb_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
}

PyObject *bb_py_held(PyObject *module, PyObject *ignored);

int bb_contiguity(int64_t ndim, const int64_t *shape, const int64_t *strides, int64_t itemsize);

/* What an object may have besides a buffer. */
enum { BB_P_INTERFACE = 1, BB_P_STRUCT = 2, BB_P_DLPACK = 4, BB_P_ALL = BB_P_INTERFACE | BB_P_STRUCT | BB_P_DLPACK };

/* By a buffer or one of the protocols in `wanted`. 1: v is a BB_BUFFER; 0: no memory; -1: exception */
int bb_acquire(PyObject *o, int wanted, bb_value *v);
/* Starts Julia; -1 too where there is no memory, with an error that ends with what to do `instead`. */
int bb_acquire_for_wrapping(PyObject *o, const char *instead, bb_value *v);
bb_handle *bb_hold(PyObject *o);           /* NULL: no memory; no exception is set */
int bb_is_masked(PyObject *o);             /* masked.c */
PyObject *bb_wrap_masked(PyObject *o);
int bb_refuse_masked(PyObject *o);
void bb_release_later(bb_node *node);      /* any thread, never blocks */
void bb_release_now(bb_node *node);
void bb_drain(void);
void bb_count_memory(bb_buffer *b);        /* Julia's collector decides how long it is held */
void bb_uncount_memory(bb_buffer *b);      /* not any more */

/* For those that make a bb_buffer of what an object says of its memory: acquire.c, interface.c, dlpack.c. What sets
 * an exception returns -1 or NULL. */
bb_buffer *bb_new_buffer(int64_t ndim);    /* all zero, but with room for shape and strides */
int bb_check_shape(bb_buffer *b, PyObject *o); /* by ptr, itemsize and shape; sets len to the bytes of all items */
void bb_row_major_strides(bb_buffer *b);
int bb_set_description(bb_buffer *b, PyObject *description); /* a format; takes it */
int bb_reach(const bb_buffer *b, int64_t *low, int64_t *high);
int bb_finish_buffer(bb_buffer *b, PyObject *o, bb_value *v); /* 1: the value has it, and it counts */
void bb_drop_buffer(bb_buffer *b);         /* which does not count yet, or no more */
int bb_acquire_interface(PyObject *o, PyObject *interface, bb_value *v);
int bb_acquire_struct(PyObject *o, PyObject *capsule, bb_value *v);
int bb_acquire_dlpack(PyObject *o, PyObject *method, bb_value *v);

/* JuliaArrays as DLPack tensors, and tensors as Julia's arrays (dlpack.c). */
extern PyMethodDef bb_dlpack_methods[];
void bb_free_tensor(bb_node *node);
PyObject *bb_py_from_dlpack(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *kwnames);

/* A buffer that Julia has for a block of Python's only: borrow.c says who keeps it. */
enum { BB_LOAN_WORDS = 3 };

typedef struct bb_loan {
    /* Julia writes these two; see borrowed.jl. */
    int64_t slot;           /* roots what the words are in while the loan is open, or -1 */
    int64_t *words[BB_LOAN_WORDS]; /* become 0 when it ends: they say that Julia may use the memory */
    int64_t closed;
    int64_t references;     /* JuliaArrays of this memory */
    int64_t exports;        /* live Py_buffers of those */
    bb_buffer *buffer;      /* NULL once it was given back */
} bb_loan;

bb_loan *bb_lend(bb_buffer *buffer);       /* takes it; NULL with MemoryError, and does not */
void bb_loan_drop(bb_loan *loan);          /* one reference; may run any Python code */
void bb_loan_export(bb_loan *loan);
void bb_loan_unexport(bb_loan *loan);      /* may run any Python code */
int bb_loan_ended(void);                   /* -1, with the exception that says so */
PyObject *bb_py_borrow(PyObject *module, PyObject *o);
PyObject *bb_py_end_borrow(PyObject *module, PyObject *o);
PyObject *bb_py_is_lent(PyObject *module, PyObject *o);
PyObject *bb_py_hold_memory(PyObject *module, PyObject *o);

/* -------------------------------------------- what Python holds of Julia */

typedef struct {
    PyObject_HEAD
    void *jl;           /* the Julia object; roots[slot] keeps it alive */
    int64_t slot;
    vectorcallfunc vectorcall;
    PyObject *weakrefs;
} bb_julia;

enum { BB_INLINE_DIMS = 4 };

/* JuliaArray: a descriptor of the memory, filled in when the object is made, so that the buffer
 * protocol never enters Julia. */
typedef struct {
    bb_julia base;
    char *ptr;
    int64_t itemsize, size, ndim, kind, readonly, contiguity;
    int64_t derived;      /* whether it is a view of another array */
    int64_t objects;      /* whether there are references to Python objects in its memory */
    const char *format;   /* NULL: this array's memory can't be shared */
    int64_t *shape, *strides;
    int64_t *home;        /* where these are, unless an exported buffer still uses old ones */
    /* The Vector whose memory this is, if Julia code could resize it: its address, the slot that
     * keeps it alive, and what it looked like when the descriptor was made. */
    char *owner;
    char *owner_data;
    int64_t owner_length;
    int64_t memory_slot;  /* roots what keeps the memory if the Vector is resized, or -1 */
    struct bb_retired *retired;
    bb_loan *loan;        /* a reference, if the memory was borrowed for a block; otherwise NULL */
    int64_t exports;      /* live Py_buffers */
    int64_t dims[2 * BB_INLINE_DIMS];
} bb_array;

/* Julia writes here, with the GIL held, what bb_new_array then reads. */
typedef struct {
    char *ptr;
    int64_t itemsize, ndim, kind, readonly, derived;
    const char *format;
    char *owner;
    int64_t memory_slot;
    int64_t objects;
    bb_loan *loan;        /* borrowed from the Julia array */
    int64_t shape[PyBUF_MAX_NDIM], strides[PyBUF_MAX_NDIM];
} bb_layout;

/* Those after BB_CLASS_ARRAY are JuliaValues by another name: Python gives them more methods. */
enum bb_class { BB_CLASS_VALUE = 0, BB_CLASS_FUNCTION = 1, BB_CLASS_MODULE = 2, BB_CLASS_ARRAY = 3,
                BB_CLASS_DICT = 4, BB_CLASS_SET = 5, BB_CLASS_IO = 6, BB_CLASS_COUNT };

extern PyTypeObject *bb_types[BB_CLASS_COUNT];
/* A JuliaFunction, with the code that was compiled for the kinds of arguments it is called with; see call.c. */
typedef struct {
    bb_julia base;
    int64_t signature;    /* of the latest calls */
    int64_t calls;        /* of that signature in a row */
    struct bb_code *code; /* for that signature, or NULL. Kept for ever, by Julia */
} bb_function;

int bb_make_value_types(PyObject *namespace_);
int bb_make_array_type(PyObject *namespace_);
PyObject *bb_new_julia(int class_, void *jl, int64_t slot);
PyObject *bb_new_array(void *jl, int64_t slot);
void bb_init_julia(bb_julia *self, void *jl, int64_t slot);
void bb_dealloc_julia(PyObject *self);
PyObject *bb_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames);
PyObject *bb_function_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames);
int bb_array_current(bb_array *self); /* 0: the descriptor is true, and the memory there; -1: exception */
int bb_array_usable(bb_array *self);  /* 0: Julia code may use the array; -1: exception */
int bb_array_not_shared(bb_array *self); /* -1, with the BufferError that says why */
int bb_retire_memory(bb_array *self);
void bb_free_slot(int64_t slot);
int bb_getbuffer(PyObject *self, Py_buffer *view, int flags);
void bb_releasebuffer(PyObject *self, Py_buffer *view);
void bb_count_export(bb_array *self);

/* One of bb_types. Subclasses are none of them: they have no instances. */
static inline int bb_is_own_type(PyTypeObject *type)
{
#ifdef Py_LIMITED_API
    int is = 0;
    for (int i = 0; i < BB_CLASS_COUNT; i++)
        is |= type == bb_types[i];
    return is;
#else
    return type->tp_dealloc == bb_dealloc_julia;
#endif
}

static inline int bb_is_julia(PyObject *o) { return bb_is_own_type(Py_TYPE(o)); }

/* Arrow's C data interface; see arrow.c. */
PyObject *bb_arrow_attribute(PyObject *self, void *schema);
void bb_arrow_release_now(bb_node *node);
void bb_arrow_end(void);             /* before Python ends */
PyObject *bb_py_arrow_export(PyObject *module, PyObject *args);
PyObject *bb_py_arrow_schema(PyObject *module, PyObject *args);
PyObject *bb_py_arrow_import(PyObject *module, PyObject *pair);
PyObject *bb_py_arrow_stream(PyObject *module, PyObject *capsule);

/* Of the operators, with {0, NULL} at the end; see numbers.c. */
extern const PyType_Slot bb_number_slots[];
/* ---------------------------------------------------------------- Julia */

/* Calls f(args...) in Julia. 0: *result is set; -1: a Python exception is set. kwnames is a tuple of
 * str or NULL; the last values belong to its names, as in the vectorcall protocol. level: on the main thread
 * how many calls it is in, with this one; -1 on others. */
typedef int (*bb_entry)(void *f, bb_value *args, int64_t nargs, PyObject *kwnames, bb_value *result,
                        int64_t level);

/* An entry that Julia compiled for one function and one signature; jlsrc/src/compiled.jl fills it in. */
typedef struct bb_code {
    bb_entry entry;
    const volatile size_t *valid; /* SIZE_MAX as long as no definition has changed that the code relies on */
    int64_t leaf;                 /* it ends soon, throws nothing, and neither allocates nor calls Python */
} bb_code;

/* Julia functions that slots of our types call, by name in bb_set_helper. */
enum bb_helper {
    BB_H_GETATTR, BB_H_SETATTR, BB_H_DIR, BB_H_REPR, BB_H_STR, BB_H_HASH, BB_H_COMPARE,
    BB_H_LENGTH, BB_H_GETITEM, BB_H_SETITEM, BB_H_CONTAINS, BB_H_ITERATE, BB_H_TRUTH,
    BB_H_ARRAY_GET, BB_H_ARRAY_SET, BB_H_ARRAY_REFRESH, BB_H_ARRAY_TRIM,
    BB_H_ARRAY_WHY, BB_H_WRAP, BB_H_BORROW, BB_H_COMPILE, BB_H_COMPILE_GENERAL, BB_H_RECOMPILE,
    BB_H_OPERATE, BB_H_NUMBER, BB_H_CALL_RAW, BB_H_DELETE,
    BB_H_IDENTITY, BB_H_COPY,
    BB_H_COUNT
};

/* A typed export (export.c). Julia writes this, and keeps for ever what it points to. */
enum { BB_EXPORT_ARGS = 32 };
enum bb_export_kind { BB_EXPORT_ANY = 0, BB_EXPORT_INT = 1, BB_EXPORT_FLOAT = 2, BB_EXPORT_BOOL = 3,
                      BB_EXPORT_COMPLEX = 4 };

typedef struct {
    void *object;           /* Julia's description, which can be called and checks its arguments */
    const char *name, *module, *doc;
    int64_t required, count; /* how many arguments it takes */
    const uint8_t *kinds;   /* of each argument */
    bb_code *codes;         /* for each number of arguments, from `required` on */
} bb_export;

enum bb_status { BB_NOT_STARTED = 0, BB_RUNNING = 1, BB_STOPPED = 2, BB_FORKED = 3 };

/* Functions and variables of Julia's own; see threads.c. */
typedef struct {
    int8_t (*jl_gc_safe_enter)(void);
    void (*jl_gc_safe_leave)(int8_t);
    int (*jl_gc_enable)(int);
    void (*jl_throw)(void *);
    void **jl_interrupt_exception;
    void (*jl_enter_handler)(void *);
    void (*jl_pop_handler)(int);
    void (*jl_sigatomic_begin)(void);
    void (*jl_sigatomic_end)(void);
    void *(*jl_get_ptls_states)(void);
    void *(*jl_get_current_task)(void);
    void (*jl_exit_threaded_region)(void);
    int (*uv_async_send)(void *);
} bb_runtime;

typedef struct {
    /* Julia reads and writes the fields up to `layout`; see wire.jl. */
    int64_t nfree;        /* free root slots, of which free_slots is the list */
    int64_t *free_slots;
    int64_t held_bytes;   /* memory of Python's that waits for Julia's collector; see acquire.c */
    /* Signals (signals.c). All concern the main thread. */
    int64_t depth;                   /* calls into Julia that it is in */
    volatile int64_t calls;          /* and has been in */
    volatile int64_t interruptible;  /* whether it runs code that Ctrl-C may stop */
    volatile int64_t noticed;        /* a SIGINT came that Python has not been asked about */
    volatile int64_t requested;      /* one came while it was interruptible */
    volatile int64_t threw;          /* an InterruptException is on its way */
    int64_t elsewhere;               /* calls that other threads are in */
    bb_layout layout;

    void **roots;         /* the data of Julia's root table, a Vector{Any} */
    PyObject **holders;   /* of each slot the Python object that has it, borrowed, or NULL */
    int64_t root_count;   /* its length */
    int status;
    int stopping;         /* Julia's exit hooks have begun */
    int any_thread;       /* Julia 1.9 and later let every thread in */
    int several_threads;  /* Julia was started with more than one */
    int states_by_hand;   /* and calls don't change the gc state by themselves */
    volatile int attention; /* the next call has to look after the signals (bb_attend) */
    bb_runtime runtime;
    void *waker;          /* a uv_async_t: wakes the task that interrupts those that wait. A global of
                           * jlsrc/src/interrupt.jl keeps it; NULL from Julia's exit hooks on, which close it */
    void (*idle)(void);   /* tells Julia's threads that the main thread is in Python, or NULL */
    volatile int idles;   /* they were told */
    void (*take_over)(void); /* has a thread that waits look after Julia's event loop, if nobody does; or NULL */
    volatile int others;  /* threads besides the main one that are in a call */
    volatile int rests;   /* the watching thread (signals.c) has nothing to do */
    char *frame;          /* the C stack at the latest call of the main thread */
    char *image;          /* Julia's system image, as /proc/self/maps names it; kept for ever */
    bb_entry entry;
    void *helpers[BB_H_COUNT];
    int64_t python_objects, pinned_buffers, pinned_bytes, exports;
    /* Places in a Vector's header: how to tell that it was resized, and (up to Julia 1.10, where
     * shared_mask is not 0) how to forbid it. See compat.jl. */
    int64_t length_offset, flags_offset, shared_mask, capacity_offset;
    /* Python functions of the package that C calls. */
    PyObject *julia_error; /* the class */
    PyObject *make_error, *note_frames, *make_namedtuple, *describe_buffer, *describe_interface, *start;
    PyObject *conversions, *find_conversion; /* see from_converted in values.c */
    PyObject *session; /* the package's own record of what runs: survives if it is imported anew */
} bb_state;

extern bb_state bb;

int bb_not_ready(void);              /* sets the exception that says why Julia can't be entered */
/* A helper applied to one to three Python objects (NULL for none); new, or NULL. */
PyObject *bb_call_on(enum bb_helper h, PyObject *a, PyObject *b, PyObject *c);
int bb_call_helper(enum bb_helper h, bb_value *args, int64_t n, bb_value *result);
void *bb_api_function(const char *name);
void *bb_operation(const char *name); /* of those in operations.c */

extern BB_THREAD_LOCAL int bb_is_main; /* this is the thread that started Julia */
extern BB_THREAD_LOCAL int bb_has_gil; /* it is in Julia, called from Python, and has the GIL */
static inline int bb_on_main_thread(void) { return bb_is_main; }

/* Whether this thread's C stack is nearly used up, so that a call across the border is refused; see stack.c. */
extern BB_THREAD_LOCAL char *bb_stack_low, *bb_stack_margin;
int bb_measure_stack(char *here);
static inline int bb_stack_ends(void)
{
    char *here = __builtin_frame_address(0);
    return __builtin_expect(here < bb_stack_margin && here > bb_stack_low, 0) && bb_measure_stack(here);
}
int bb_stack_ended(void); /* -1, with the RecursionError that says so */

void bb_offer_tls(void);             /* before Julia is loaded */
PyObject *bb_call(void *f, PyObject *const *args, Py_ssize_t n, PyObject *kwnames, bb_function *function);
int bb_arguments_usable(PyObject *const *args, Py_ssize_t n); /* 0; -1: exception */
void bb_clear_values(bb_value *values, Py_ssize_t n);
PyObject *bb_new_export(const bb_export *description);

/* threads.c */
int bb_set_runtime(const char *name, void *address);
int bb_to_python_state(void);        /* before Python code runs on a thread that is in Julia */
void bb_to_julia_state(int state);   /* and after */
/* The body of a function that Julia calls, and whose expression may run Python code. */
#define IN_PYTHON(type, expression) \
    { \
        int state_ = bb_to_python_state(); \
        type result_ = (expression); \
        bb_to_julia_state(state_); \
        return result_; \
    }
int bb_enter(bb_entry entry, void *f, bb_value *args, int64_t nargs, PyObject *kwnames, bb_value *result);
int64_t bb_take_gil(void);
void bb_drop_gil(int64_t state);
int64_t bb_give_gil_up(void);
void bb_regain_gil(void);
void bb_turn_away(void);

/* signals.c */
void bb_save_process(void);
void bb_restore_process(void);
void bb_keep_descriptors(void);      /* what libuv has made of stdin, stdout and stderr since is undone */
void bb_watch_signals(void);
void bb_attend(void);
void bb_wake_watcher(void);
int bb_check_signals(void);          /* 0, or -1 with what Python's handler raised */

static inline int bb_ready(void)
{
    return bb.status == BB_RUNNING &&
           (bb.any_thread || bb_on_main_thread());
}

/* As bb_enter, for code that is a leaf: it can't be interrupted, and need not, and nobody can see it run. */
static inline void bb_call_leaf(bb_entry entry, void *f, bb_value *args, bb_value *result)
{
    if (bb.states_by_hand)
        bb.runtime.jl_gc_safe_leave(0);
    entry(f, args, 0, NULL, result, 0);
    if (bb.states_by_hand)
        bb.runtime.jl_gc_safe_enter();
}

#endif
