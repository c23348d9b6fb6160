/* The one state of the bridge, its start, and what Python sees of the C layer besides the types. */
#include "bufferbridge.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bb_state bb;

/* --------------------------------------------------------- module functions */

int bb_acquire_for_wrapping(PyObject *o, const char *instead, bb_value *buffer)
{
    PyObject *started = PyObject_CallNoArgs(bb.start);
    if (started == NULL)
        return -1;
    Py_DECREF(started);
    switch (bb_acquire(o, BB_P_ALL, buffer)) {
    case 0:
        PyErr_Format(PyExc_TypeError,
                     "'%.200s' has no memory to share: it exports no buffer (PEP 3118) and has no "
                     "__array_interface__, __array_struct__ or __dlpack__%s", bb_type_name(Py_TYPE(o)), instead);
        /* fall through */
    case -1:
        return -1;
    }
    return 0;
}

/* New: what has the memory of an object that exports none itself (Arrow's arrays, pandas' Series): a JuliaArray or an
 * exporter; or NotImplemented. */
static PyObject *wrap_otherwise(PyObject *o)
{
    PyObject *started = PyObject_CallNoArgs(bb.start), *module, *r;
    if (started == NULL)
        return NULL;
    Py_DECREF(started);
    if ((module = PyImport_ImportModule("bufferbridge._arrow")) == NULL)
        return NULL;
    r = PyObject_CallMethod(module, "wrap", "(O)", o); /* a tuple is one argument, too */
    Py_DECREF(module);
    return r;
}

static PyObject *py_wrap(PyObject *Py_UNUSED(module), PyObject *o)
{
    bb_value buffer, arg, out;
    PyObject *result = NULL, *other = NULL;
    int masked = bb_is_masked(o);

    if (masked != 0)
        return masked < 0 ? NULL : bb_wrap_masked(o);
    if (!PyObject_CheckBuffer(o)) {
        if ((other = wrap_otherwise(o)) == NULL || bb_is_julia(other))
            return other;
        if (other == Py_NotImplemented)
            Py_CLEAR(other);
        else
            o = other; /* what has the memory */
    }
    if (bb_acquire_for_wrapping(o, ", nor an Arrow array: numpy.asarray(x) makes an array of it, and as an argument of a "
                                   "Julia function it is converted", &buffer) < 0) {
        Py_XDECREF(other);
        return NULL;
    }
    Py_XDECREF(other);
    arg = (bb_value){.tag = BB_INT, .a.i = (int64_t)(intptr_t)&buffer};
    if (bb_call_helper(BB_H_WRAP, &arg, 1, &out) == 0)
        result = bb_to_python(&out);
    bb_value_clear(&buffer);
    return result;
}

static PyObject *py_stats(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    bb_drain();
    return Py_BuildValue("{s:L,s:L,s:L,s:L,s:L}",
                         "julia_objects", (long long)(bb.root_count - bb.nfree),
                         "python_objects", (long long)bb.python_objects,
                         "pinned_buffers", (long long)bb.pinned_buffers,
                         "pinned_bytes", (long long)bb.pinned_bytes,
                         "exports", (long long)bb.exports);
}

/* Objects of one interpreter in another's hands end in a crash, and there is but one Julia. */
static PyObject *py_check_interpreter(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) { /* the main one is the first */
        PyErr_SetString(PyExc_ImportError, "bufferbridge works in the main interpreter only: a process "
                                           "has one Julia. Call it there, or use another process");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *py_session(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(bb.session ? bb.session : Py_None);
}

static PyObject *py_set_session(PyObject *Py_UNUSED(module), PyObject *session)
{
    Py_XSETREF(bb.session, Py_NewRef(session));
    Py_RETURN_NONE;
}

/* Runs Julia's exit hooks, on the thread that started it: what they print goes through sys.stdout. Other
 * threads of Julia never wait for the GIL in order to print or to finalize.
 *
 * Then nobody may enter Julia any more, and the GIL isn't let go before that is said: Julia keeps locks of
 * its compiler for ever at its end, and a thread with the GIL that waits for one would keep Python too. Nor is
 * anything released: all finalizers have run, also for memory that Python still looks at. */
static PyObject *py_stop(PyObject *Py_UNUSED(module), PyObject *libjulia)
{
    const char *path = PyBytes_AsString(libjulia);
    if (path == NULL)
        return NULL;
    if (bb.status != BB_RUNNING)
        Py_RETURN_NONE;
    bb_arrow_end();
    if (!bb_on_main_thread())
        Py_RETURN_NONE;
    bb_drain();
    bb.stopping = 1;
    bb.waker = NULL; /* the watching thread (signals.c) must not come to a Julia that ends */
    bb.idle = NULL;
    bb.take_over = NULL;
    void *lib = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    void (*hook)(int) = lib ? (void (*)(int))dlsym(lib, "jl_atexit_hook") : NULL;
    if (hook != NULL) {
        bb_to_julia_state(0);
        /* A thread that computes without end would keep a collection waiting for ever. */
        if (bb.several_threads || bb.elsewhere > 0)
            bb.runtime.jl_gc_enable(0);
        hook(0);
        bb_to_python_state();
    }
    bb.status = BB_STOPPED;
    bb_turn_away();
    Py_RETURN_NONE;
}

/* The Python object for a root slot that the start code filled. */
static PyObject *py_root(PyObject *Py_UNUSED(module), PyObject *args)
{
    int class_;
    long long slot;
    if (!PyArg_ParseTuple(args, "iL", &class_, &slot))
        return NULL;
    return bb_new_julia(class_, bb.roots[slot], slot);
}

/* The next call looks at once whether the default handler of SIGINT is set; otherwise one does every 50 ms. */
static PyObject *py_attend(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    if (bb.attention == 0)
        bb.attention = 1;
    Py_RETURN_NONE;
}

static PyObject *optional_integers(const Py_ssize_t *values, int n)
{
    if (values == NULL)
        Py_RETURN_NONE;
    PyObject *t = PyTuple_New(n);
    for (int i = 0; t != NULL && i < n; i++) {
        PyObject *v = PyLong_FromSsize_t(values[i]);
        if (v == NULL)
            Py_CLEAR(t);
        else
            PyTuple_SET_ITEM(t, i, v);
    }
    return t;
}

/* What an exporter answers to one request, field by field, None for NULL. */
static PyObject *py_request(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *o;
    Py_buffer view;
    int flags;
    if (!PyArg_ParseTuple(args, "Oi", &o, &flags) || PyObject_GetBuffer(o, &view, flags) < 0)
        return NULL;
    PyObject *r = Py_BuildValue(
        "{s:N,s:n,s:n,s:i,s:i,s:z,s:N,s:N,s:N}", "buf", PyLong_FromVoidPtr(view.buf), "len",
        view.len, "itemsize", view.itemsize, "readonly", view.readonly, "ndim", view.ndim, "format",
        view.format, "shape", optional_integers(view.shape, view.ndim), "strides",
        optional_integers(view.strides, view.ndim), "suboffsets",
        optional_integers(view.suboffsets, view.ndim));
    PyBuffer_Release(&view);
    return r;
}

static PyMethodDef functions[] = {
    {"wrap", py_wrap, METH_O,
     "wrap(obj, /)\n--\n\n"
     "JuliaArray around PyArray(obj): obj's memory as a Julia array, whatever its layout.\n\n"
     "obj is any buffer exporter (PEP 3118), or has an __array_interface__, __array_struct__ or\n"
     "__dlpack__ (of memory that the CPU sees), or is an Arrow array, or a Series of pandas or polars\n"
     "whose values lie in memory as they are. Contiguous column-major memory is a PyArray <: DenseArray, all else\n"
     "a strided AbstractArray; nothing is copied. NumPy's masked arrays are a MaskedArray, of the data\n"
     "and the mask. Arrow arrays (__arrow_c_array__), Series of polars, and Series, indices and arrays\n"
     "of pandas are wrapped as their values, read-only: with nulls as a MaskedArray.\n\n"
     "Raises TypeError if obj has no memory to share, or none that Julia has an array for (lists,\n"
     "decimals, several chunks); BufferError for what contradicts itself, and for tensors of other\n"
     "devices. The messages say what to do instead."},
    {"from_dlpack", (PyCFunction)(void (*)(void))bb_py_from_dlpack, METH_FASTCALL | METH_KEYWORDS,
     "from_dlpack(x, /, *, device=None, copy=None)\n--\n\n"
     "JuliaArray over the memory of a DLPack tensor, of the type that a buffer of it would become.\n\n"
     "See https://dmlc.github.io/dlpack/latest/ for the protocol, of which versions before 1.0 are understood too.\n\n"
     "x: an object with __dlpack__ (torch, jax, NumPy, ...), or a capsule that such a method gave.\n"
     "device: None takes memory that the CPU sees, and refuses other; 'cpu', or (1, 0), has x copied\n"
     "    there if it is elsewhere.\n"
     "copy: True for a Julia Array of its own; False to refuse what x itself had to copy; None for\n"
     "    whatever x gives.\n\n"
     "Julia releases the tensor when it has no array of it any more. Raises BufferError for memory\n"
     "of other devices, for elements that Julia has no type for, and for what x does not export,\n"
     "with its reason; TypeError if x has no __dlpack__."},
    {"stats", py_stats, METH_NOARGS,
     "stats()\n--\n\n"
     "What the two languages hold of each other, a dict of int:\n"
     "julia_objects held by Python; python_objects, pinned_buffers and pinned_bytes held by Julia;\n"
     "exports, the live Py_buffers of JuliaArrays. Zero-cost counters; what Julia has finalized is\n"
     "let go first."},
    {"_check_interpreter", py_check_interpreter, METH_NOARGS, NULL},
    {"_arrow_export", bb_py_arrow_export, METH_VARARGS, NULL},
    {"_arrow_schema", bb_py_arrow_schema, METH_VARARGS, NULL},
    {"_arrow_import", bb_py_arrow_import, METH_O, NULL},
    {"_arrow_stream", bb_py_arrow_stream, METH_O, NULL},
    {"_attend", py_attend, METH_NOARGS, NULL},
    {"_borrow", bb_py_borrow, METH_O, NULL},
    {"_end_borrow", bb_py_end_borrow, METH_O, NULL},
    {"_is_lent", bb_py_is_lent, METH_O, NULL},
    {"_hold_memory", bb_py_hold_memory, METH_O, NULL},
    {"_held", bb_py_held, METH_NOARGS, NULL},
    {"_session", py_session, METH_NOARGS, NULL},
    {"_set_session", py_set_session, METH_O, NULL},
    {"_stop", py_stop, METH_O, NULL},
    {"_root", py_root, METH_VARARGS, NULL},
    {"_request", py_request, METH_VARARGS,
     "_request(obj, flags, /)\n--\n\nThe Py_buffer that obj answers with, as a dict."},
    {NULL, NULL, 0, NULL},
};

static int add_type(PyObject *namespace_, PyTypeObject *type)
{
    PyObject *name = PyObject_GetAttrString((PyObject *)type, "__name__");
    int r = name == NULL ? -1 : PyDict_SetItem(namespace_, name, (PyObject *)type);
    Py_XDECREF(name);
    return r;
}

/* Puts the types and functions into a dict (by its id). Returns 0, or -1 with the exception printed:
 * it is called once, through cffi, which can't raise. */
int bb_install(uintptr_t dict_id)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *namespace_ = (PyObject *)dict_id;
    int r = -1;

    if (bb_types[0] != NULL) { /* imported again: the types are the same for ever */
        r = 0;
        for (int i = 0; i < BB_CLASS_COUNT && r == 0; i++)
            r = add_type(namespace_, bb_types[i]);
    } else if (bb_prepare_abi() == 0 && bb_make_value_types(namespace_) == 0 && bb_make_array_type(namespace_) == 0)
        r = 0;
    PyObject *module_name = PyUnicode_FromString("bufferbridge");
    for (PyMethodDef *f = functions; r == 0 && module_name != NULL && f->ml_name != NULL; f++) {
        PyObject *o = PyCFunction_NewEx(f, NULL, module_name);
        r = o == NULL ? -1 : PyDict_SetItemString(namespace_, f->ml_name, o);
        Py_XDECREF(o);
    }
    Py_XDECREF(module_name);
    if (r < 0 || PyErr_Occurred())
        PyErr_Print();
    PyGILState_Release(gil);
    return r;
}

static void set_hook(PyObject **place, PyObject *hooks, const char *name)
{
    PyObject *o = PyDict_GetItemString(hooks, name);
    Py_XINCREF(o);
    Py_XSETREF(*place, o); /* in this order: what ends with the old one may come here */
}

/* The package's Python functions that C calls, in a dict by the names of their places in bb. */
void bb_set_hooks(uintptr_t dict_id)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *hooks = (PyObject *)dict_id;
    set_hook(&bb.julia_error, hooks, "JuliaError");
    set_hook(&bb.make_error, hooks, "make_error");
    set_hook(&bb.note_frames, hooks, "note_frames");
    set_hook(&bb.make_namedtuple, hooks, "make_namedtuple");
    set_hook(&bb.describe_buffer, hooks, "describe_buffer");
    set_hook(&bb.describe_interface, hooks, "describe_interface");
    set_hook(&bb.start, hooks, "start");
    set_hook(&bb.conversions, hooks, "conversions");
    set_hook(&bb.find_conversion, hooks, "find_conversion");
    PyGILState_Release(gil);
}

/* -------------------------------------------------------------- the start */

static char *message;      /* where the start code's error goes */
static size_t message_size;

static void report(const char *text) { snprintf(message, message_size, "%s", text); }

static void in_child(void)
{
    if (bb.status == BB_RUNNING)
        bb.status = BB_FORKED;
}

/* Functions of Julia's C API that only the start needs. A module's variable is `global(module, name)`. */
typedef struct {
    void *(*get_global)(void *module, void *symbol);
    void *(*symbol)(const char *name);
    void *(*string)(const char *text);
    void *(*pointer)(void *p);
    void *(*call1)(void *f, void *a);
    void *(*call2)(void *f, void *a, void *b);
    void *(*eval_string)(const char *code);
    void *(*exception)(void);
    const char *(*name_of_type)(void *o);
    const char *(*text)(void *string);
    int (*gc_enable)(int on);
    void **base;
} start_api;

static int find_start_api(start_api *api, void *lib)
{
    const struct { const char *name; void *place; } table[] = {
        {"jl_get_global", &api->get_global}, {"jl_symbol", &api->symbol},
        {"jl_cstr_to_string", &api->string}, {"jl_box_voidpointer", &api->pointer},
        {"jl_call1", &api->call1}, {"jl_call2", &api->call2}, {"jl_eval_string", &api->eval_string},
        {"jl_exception_occurred", &api->exception}, {"jl_typeof_str", &api->name_of_type},
        {"jl_string_ptr", &api->text}, {"jl_gc_enable", &api->gc_enable}, {"jl_base_module", &api->base}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        void *p = dlsym(lib, table[i].name);
        if (p == NULL)
            return -1;
        memcpy(table[i].place, &p, sizeof p);
    }
    return 0;
}

static void *global(const start_api *api, void *module, const char *name)
{
    return api->get_global(module, api->symbol(name));
}

/* Loads the Julia package in the folder `package`, and calls its function `boot`. No Julia code is parsed or
 * compiled for that: jl_eval_string alone takes 0.1 s from Julia 1.10 on, where its way to the parser is in
 * no image. */
static int load_package(const start_api *api, const char *package, const char *uuid, uint64_t *facts)
{
    void *base = *api->base, *bridge, *e;

    int collects = api->gc_enable(0); /* nothing here is rooted; jl_call roots what it is given */
    api->call2(global(api, base, "push!"), global(api, base, "LOAD_PATH"), api->string(package));
    void *id = api->call2(global(api, base, "PkgId"), api->call1(global(api, base, "UUID"), api->string(uuid)),
                          api->string("BufferBridge"));
    api->gc_enable(collects);
    bridge = api->call1(global(api, base, "require"), id);
    if (bridge == NULL && (e = api->exception()) != NULL &&
        (strcmp(api->name_of_type(e), "SystemError") == 0 || strcmp(api->name_of_type(e), "IOError") == 0))
        /* No place for compiled code, in a read-only home for one: do without. */
        bridge = api->eval_string("Base.include(Main, joinpath(last(LOAD_PATH), \"src\", \"BufferBridge.jl\"))\n"
                                  "Main.BufferBridge");
    if (bridge != NULL)
        api->call1(global(api, bridge, "boot"), api->pointer(facts));
    if ((e = api->exception()) == NULL)
        return 0;
    void *text = api->call2(global(api, base, "sprint"), global(api, base, "showerror"), e);
    report(text == NULL ? "an exception that can't be shown" : api->text(text));
    return -1;
}

/* A Julia that takes libgcc from the system (Debian's) brings libunwind.so.8 into the global scope before it, with
 * functions of the same names: C++ libraries that are loaded later (torch) would have some of theirs from each, and
 * end the process at an exception. So does its libedit.so.2, of LLVM's, to Python's module readline: without the
 * library first `import readline`, and so pdb, crashed. Others bring a libgcc of their own, load that first, and
 * have no libedit. */
static void keep_ours_first(const char *libjulia)
{
    char own[4096];
    const char *name = strrchr(libjulia, '/');
    int folder = name == NULL ? 0 : (int)(name + 1 - libjulia);
    if (snprintf(own, sizeof own, "%.*sjulia/libgcc_s.so.1", folder, libjulia) < (int)sizeof own && access(own, F_OK) != 0) {
        dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_GLOBAL);
        dlopen("libreadline.so.8", RTLD_LAZY | RTLD_GLOBAL); /* where there is none, no module uses it */
    }
}

/* Loads libjulia, initializes it and loads the Julia package with this UUID in the folder `package`, whose
 * function `boot` stores the `facts` (jlsrc/src/boot.jl). Called without the GIL. Returns 0, or -1 with the
 * reason in `error`. */
int bb_boot(const char *libjulia, const char *bindir, const char *image, int argc, char **argv,
            const char *package, const char *uuid, uint64_t *facts, char *error, size_t error_size)
{
    start_api api;
    void *lib;

    bb_offer_tls();
    keep_ours_first(libjulia);
    lib = dlopen(libjulia, RTLD_NOW | RTLD_GLOBAL);
    message = error;
    message_size = error_size;
    error[0] = 0;
    if (lib == NULL) {
        report(dlerror());
        return -1;
    }
    void (*parse_opts)(int *, char ***) = (void (*)(int *, char ***))dlsym(lib, "jl_parse_opts");
    void (*init)(const char *, const char *) =
        (void (*)(const char *, const char *))dlsym(lib, "jl_init_with_image");
    if (init == NULL) /* its name on Julia 1.5 */
        init = (void (*)(const char *, const char *))dlsym(lib, "jl_init_with_image__threading");
    if (parse_opts == NULL || init == NULL || find_start_api(&api, lib) < 0) {
        report("this libjulia has not the functions that are needed to start it");
        return -1;
    }
    bb.image = realpath(image, NULL);
    bb_save_process();
    parse_opts(&argc, &argv);
    init(bindir, image);
    bb_restore_process();

    bb_is_main = 1;
    facts[0] = (uintptr_t)bb_api_function;
    int loaded = load_package(&api, package, uuid, facts);
    bb_keep_descriptors(); /* a process may have compiled it */
    if (loaded < 0)
        return -1;
    if (bb.entry == NULL) {
        report("the BufferBridge package did not load");
        return -1;
    }
    pthread_atfork(NULL, NULL, in_child);
    bb.status = BB_RUNNING;
    bb_watch_signals();
    bb_to_python_state(); /* for good: see threads.c */
    return 0;
}
