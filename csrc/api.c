/* What Julia may call. Each function is found by its name (bb_api_function), so that neither side
 * depends on the other's order of fields.
 *
 * Unless it says otherwise a function needs the GIL, returns NULL or -1 with a Python exception set
 * when it fails, and borrows its arguments. "New" results are references that the caller owns.
 *
 * What may run Python code (which may let other threads in, that wait for Julia's collector) does so in
 * Python's state: see threads.c. That includes whatever makes containers or drops references. */
#include "bufferbridge.h"
#include <string.h>

#define IN_PYTHON_VOID(statement) \
    { \
        int state_ = bb_to_python_state(); \
        statement; \
        bb_to_julia_state(state_); \
    }

/* ------------------------------------------------------ making Python objects */

static PyObject *api_str(const char *s, int64_t n)
{
    return bb_text(s, n);
}

static PyObject *api_bigint(const char *hex) { return PyLong_FromString(hex, NULL, 16); }

static PyObject *api_new_export(const bb_export *e) IN_PYTHON(PyObject *, bb_new_export(e))

static PyObject *api_box(bb_value *v) { return bb_to_python(v); }

static PyObject *api_tuple_new(int64_t n) IN_PYTHON(PyObject *, PyTuple_New(n))

static void api_tuple_set(PyObject *t, int64_t i, PyObject *item) { PyTuple_SET_ITEM(t, i, item); }

static PyObject *api_list_new(int64_t n) IN_PYTHON(PyObject *, PyList_New(n))

static void api_list_set(PyObject *t, int64_t i, PyObject *item) { PyList_SET_ITEM(t, i, item); }

/* New named tuple of both tuples, which it takes. */
static PyObject *namedtuple_(PyObject *names, PyObject *values)
{
    PyObject *r = PyObject_CallFunctionObjArgs(bb.make_namedtuple, names, values, NULL);
    Py_DECREF(names);
    Py_DECREF(values);
    return r;
}
static PyObject *api_namedtuple(PyObject *names, PyObject *values)
    IN_PYTHON(PyObject *, namedtuple_(names, values))

/* New: a function of bufferbridge._conversions, where Julia's values become Python's own. */
static PyObject *conversion_(const char *name, int64_t n)
{
    PyObject *module = PyImport_ImportModule("bufferbridge._conversions"), *r = NULL;
    PyObject *key = module == NULL ? NULL : api_str(name, n);
    if (key != NULL)
        r = PyObject_GetAttr(module, key);
    Py_XDECREF(key);
    Py_XDECREF(module);
    return r;
}
static PyObject *api_conversion(const char *name, int64_t n)
    IN_PYTHON(PyObject *, conversion_(name, n))

/* New: f(*args), as it is. Takes the tuple. */
static PyObject *apply_(PyObject *f, PyObject *args)
{
    PyObject *r = NULL;
    if (bb_stack_ends())
        bb_stack_ended();
    else if (Py_EnterRecursiveCall(" in a call from Julia") == 0) {
        r = PyObject_CallObject(f, args);
        Py_LeaveRecursiveCall();
    }
    Py_DECREF(args);
    return r;
}
static PyObject *api_apply(PyObject *f, PyObject *args)
    IN_PYTHON(PyObject *, apply_(f, args))

/* New: NotImplemented. */
static PyObject *api_not_implemented(void) { return Py_NewRef(Py_NotImplemented); }

/* --------------------------------------------------- looking into Python objects */

static int api_unbox(PyObject *o, bb_value *v) IN_PYTHON(int, bb_from_python(o, v))

static int api_acquire(PyObject *o, bb_value *v) IN_PYTHON(int, bb_acquire(o, BB_P_ALL, v))

static void api_clear(bb_value *v) IN_PYTHON_VOID(bb_value_clear(v))

static int64_t api_length(PyObject *o) IN_PYTHON(int64_t, PyObject_Size(o))

/* Item i of a tuple or list into *v; it keeps the item alive. */
static int item_(PyObject *o, int64_t i, bb_value *v) { return bb_from_new(PySequence_GetItem(o, i), v); }
static int api_item(PyObject *o, int64_t i, bb_value *v)
    IN_PYTHON(int, item_(o, i, v))

/* Item i of a sequence as it is: new. */
static PyObject *api_object_item(PyObject *o, int64_t i) IN_PYTHON(PyObject *, PySequence_GetItem(o, i))

static int64_t api_is_tuple(PyObject *o) { return PyTuple_Check(o); }
static int64_t api_is_list(PyObject *o) { return PyList_Check(o); }

/* Of a slice, whose attributes can't fail. */
static int is_none(PyObject *o, const char *name)
{
    PyObject *r = PyObject_GetAttrString(o, name);
    PyErr_Clear();
    Py_XDECREF(r);
    return r == Py_None;
}

/* 1: a slice; 2: the slice that `:` is. */
static int64_t api_is_slice(PyObject *o)
{
    if (!PySlice_Check(o))
        return 0;
    return is_none(o, "start") && is_none(o, "stop") && is_none(o, "step") ? 2 : 1;
}

/* New list: of the (key, value) tuples of a dict, of a set's elements, of a namedtuple's names, or of
 * any other iterable's elements. */
static PyObject *items_(PyObject *o)
{
    if (PyDict_Check(o))
        return PyMapping_Items(o);
    if (PyTuple_Check(o)) {
        PyObject *fields = PyObject_GetAttrString(o, "_fields");
        PyObject *list = fields == NULL ? NULL : PySequence_List(fields);
        Py_XDECREF(fields);
        return list;
    }
    return PySequence_List(o);
}
static PyObject *api_items(PyObject *o)
    IN_PYTHON(PyObject *, items_(o))

static PyObject *getattr_(PyObject *o, const char *name, int64_t n)
{
    PyObject *key = api_str(name, n), *r = NULL;
    if (key != NULL) {
        r = PyObject_GetAttr(o, key);
        Py_DECREF(key);
    }
    return r;
}
static PyObject *api_getattr(PyObject *o, const char *name, int64_t n)
    IN_PYTHON(PyObject *, getattr_(o, name, n))

static int setattr_(PyObject *o, const char *name, int64_t n, PyObject *value)
{
    PyObject *key = api_str(name, n);
    int r = -1;
    if (key != NULL) {
        r = PyObject_SetAttr(o, key, value);
        Py_DECREF(key);
    }
    return r;
}
static int api_setattr(PyObject *o, const char *name, int64_t n, PyObject *value)
    IN_PYTHON(int, setattr_(o, name, n, value))

static PyObject *api_dir(PyObject *o) IN_PYTHON(PyObject *, PyObject_Dir(o))

static PyObject *api_repr(PyObject *o, int64_t plain)
    IN_PYTHON(PyObject *, plain ? PyObject_Str(o) : PyObject_Repr(o))

/* Calls f with n values, whose objects it takes; the last ones belong to the names in the tuple kwnames (or
 * NULL). The result is new. */
enum { STACK_OBJECTS = 8 };

static inline PyObject *call_object_(PyObject *f, bb_value *args, int64_t n, PyObject *kwnames)
{
    PyObject *stack[1 + STACK_OBJECTS], **objects = stack, *r = NULL;
    int64_t made = 0;

    if (n > STACK_OBJECTS && (objects = PyMem_Malloc((size_t)(1 + n) * sizeof *objects)) == NULL) {
        PyErr_NoMemory();
        objects = stack;
    } else
        for (; made < n; made++)
            if ((objects[1 + made] = bb_to_python(&args[made])) == NULL)
                break;
    if (made == n) {
        if (bb_stack_ends())
            bb_stack_ended();
        else if (Py_EnterRecursiveCall(" in a callback from Julia") == 0) {
            /* The callee may use the place before the arguments, as for a bound method's self. */
            size_t positional = (size_t)(n - (kwnames ? PyTuple_GET_SIZE(kwnames) : 0));
            r = PyObject_Vectorcall(f, objects + 1, positional | PY_VECTORCALL_ARGUMENTS_OFFSET, kwnames);
            Py_LeaveRecursiveCall();
        }
    } else
        for (int64_t i = made; i < n; i++) /* those that were not come to */
            if (args[i].tag == BB_OBJECT)
                Py_DECREF(args[i].a.p);
    for (int64_t i = 1; i <= made; i++)
        Py_DECREF(objects[i]);
    if (objects != stack)
        PyMem_Free(objects);
    return r;
}

/* The same, with the result as a value. 0: there is nothing to clear; 1: it has to be cleared; -1: exception;
 * -2: the thread has not the GIL, and nothing was done. */
static int call_(PyObject *f, bb_value *args, int64_t n, PyObject *kwnames, bb_value *result)
{
    PyObject *r = call_object_(f, args, n, kwnames);
    int status;

    if (r == NULL)
        return -1;
    status = bb_from_python(r, result);
    if (status == 0) {
        if (PyLong_CheckExact(r) || PyFloat_CheckExact(r) || r == Py_None || PyBool_Check(r) ||
            PyComplex_CheckExact(r)) {
            if (result->owner != NULL)
                status = 1;
        } else {
            status = 1;
            if (result->owner == NULL) {
                result->owner = r;
                return status;
            }
        }
    } else
        bb_value_clear(result);
    Py_DECREF(r);
    return status;
}
static int api_call(PyObject *f, bb_value *args, int64_t n, PyObject *kwnames, bb_value *result)
{
    if (!bb_has_gil && ((bb.status != BB_RUNNING && bb.status != BB_NOT_STARTED) || !bb_gil_check()))
        return -2;
    int state = bb_to_python_state();
    int status = call_(f, args, n, kwnames, result);
    bb_to_julia_state(state);
    return status;
}

static PyObject *api_call_object(PyObject *f, bb_value *args, int64_t n, PyObject *kwnames)
    IN_PYTHON(PyObject *, call_object_(f, args, n, kwnames))

/* Callbacks may come on any thread, with or without the GIL; threads of Julia's go on running while
 * Python ends, and must not enter it any more (-1). */
static int64_t api_gil_ensure(void) { return bb_take_gil(); }
/* 1: Python must not be called, since the stack is nearly used up. */
static int64_t api_stack_ends(void) { return bb_stack_ends(); }
static void api_gil_release(int64_t state) { bb_drop_gil(state); }
static int64_t api_gil_give_up(void) { return bb_give_gil_up(); }
static void api_gil_regain(void) { bb_regain_gil(); }

/* Around conversions that nest: a list that contains itself becomes a RecursionError. */
static int api_enter_recursion(void)
{
    return bb_stack_ends() ? bb_stack_ended() : Py_EnterRecursiveCall(" while converting to Julia");
}
static void api_leave_recursion(void) { Py_LeaveRecursiveCall(); }

/* Any thread. (PyGILState_Check is always true once Python has ended.) */
static int64_t api_gil_held(void) { return bb.status == BB_RUNNING && bb_gil_check(); }

/* --------------------------------------------------------------- lifetimes */

/* NULL: no memory, and no exception is set. */
static bb_handle *api_hold(PyObject *o) { return bb_hold(o); }
static void api_decref(PyObject *o) IN_PYTHON_VOID(Py_DECREF(o))
static PyObject *api_incref(PyObject *o) { return Py_NewRef(o); }
static void api_release_later(bb_node *node) { bb_release_later(node); } /* any thread */

static void api_drain(void) IN_PYTHON_VOID(bb_drain())

/* The memory of a loan stays until as many are released as held, whatever ends meanwhile. Between them
 * something has to keep the loan: that it is open when it is held is enough, since `exports` counts. */
static void api_loan_hold(bb_loan *loan)
{
    loan->references++;
    bb_loan_export(loan);
}
static void loan_release_(bb_loan *loan)
{
    bb_loan_unexport(loan);
    bb_loan_drop(loan);
}
static void api_loan_release(bb_loan *loan)
    IN_PYTHON_VOID(loan_release_(loan))

/* Julia's root table has new memory, with room for count objects. */
static int api_grow_roots(void **roots, int64_t count)
{
    int64_t *slots = PyMem_RawRealloc(bb.free_slots, (size_t)count * sizeof *slots);
    if (slots != NULL)
        bb.free_slots = slots;
    PyObject **holders = PyMem_RawRealloc(bb.holders, (size_t)count * sizeof *holders);
    if (holders != NULL)
        bb.holders = holders;
    if (slots == NULL || holders == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (int64_t i = count; i-- > bb.root_count;) {
        slots[bb.nfree++] = i;
        holders[i] = NULL;
    }
    bb.roots = roots;
    bb.root_count = count;
    return 0;
}

/* New Python object for roots[slot]; the slot is its own from now on, also if this fails. */
static PyObject *api_new_julia(int64_t class_, int64_t slot)
{
    void *jl = bb.roots[slot];
    PyObject *o = class_ == BB_CLASS_ARRAY ? bb_new_array(jl, slot)
                                           : bb_new_julia((int)class_, jl, slot);
    if (o == NULL) {
        if (class_ == BB_CLASS_ARRAY && bb.layout.memory_slot >= 0)
            bb_free_slot(bb.layout.memory_slot);
        bb_free_slot(slot);
    }
    return o;
}

/* ------------------------------------------------------------------ errors */

/* New reference to the exception that is set, which it clears; with its traceback in it. */
static PyObject *fetch_(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL && value != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}
static PyObject *api_fetch(void)
    IN_PYTHON(PyObject *, fetch_())

static void set_exception(PyObject *exception)
{
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), Py_NewRef(exception),
                  PyException_GetTraceback(exception));
}

/* Raises the Python class for this kind of Julia error. Takes exception and backtrace (JuliaValue, or NULL
 * where there was no memory for one). After a Ctrl-C Python's handlers have their say before: what they raise is raised, and Julia's error its cause. */
static void raise_(int64_t kind, const char *message, int64_t n, PyObject *exception, PyObject *backtrace)
{
    PyObject *text = api_str(message, n), *error = NULL, *raised = NULL;
    if (text != NULL && bb.requested && bb_on_main_thread() && bb_check_signals() < 0)
        raised = fetch_();
    if (text != NULL) {
        error = PyObject_CallFunction(bb.make_error, "LOOO", (long long)kind, text,
                                      exception ? exception : Py_None,
                                      backtrace ? backtrace : Py_None);
        Py_DECREF(text);
    }
    Py_XDECREF(exception);
    Py_XDECREF(backtrace);
    if (raised != NULL) {
        PyErr_Clear();
        if (error != NULL)
            PyException_SetCause(raised, error); /* takes it */
        set_exception(raised);
        Py_DECREF(raised);
    } else if (error != NULL) {
        set_exception(error);
        Py_DECREF(error);
    }
}
static void api_raise(int64_t kind, const char *message, int64_t n, PyObject *exception,
                      PyObject *backtrace)
    IN_PYTHON_VOID(raise_(kind, message, n, exception, backtrace))

/* Whether an exception that goes through Julia notes what it passes: the frames next to where it was raised. */
enum { MOST_NOTES = 8 };
static int wants_frames_(PyObject *exception)
{
    if (!PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_Exception) ||
        PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_MemoryError))
        return 0;
    PyObject *notes = PyObject_GetAttrString(exception, "__notes__");
    int wants = notes == NULL || (PyList_CheckExact(notes) && PyList_GET_SIZE(notes) < MOST_NOTES);
    PyErr_Clear();
    Py_XDECREF(notes);
    return wants;
}
static int api_wants_frames(PyObject *exception) IN_PYTHON(int, wants_frames_(exception))

/* Raises this very exception object again; its traceback goes on growing. It notes the Julia frames that it passed:
 * backtrace is a JuliaValue, which this takes, or NULL. */
static void restore_(PyObject *exception, PyObject *backtrace)
{
    if (backtrace != NULL) {
        PyObject *r = PyObject_CallFunctionObjArgs(bb.note_frames, exception, backtrace, NULL);
        if (r == NULL)
            PyErr_Clear(); /* no memory, or an exception that takes no notes */
        Py_XDECREF(r);
    }
    Py_XDECREF(backtrace);
    if (!PyExceptionInstance_Check(exception)) { /* Julia code may put anything into a PyException */
        PyErr_Format(PyExc_TypeError, "a PyException holds an object that is no exception: '%.200s'",
                     bb_type_name(Py_TYPE(exception)));
        return;
    }
    set_exception(exception);
}
static void api_restore(PyObject *exception, PyObject *backtrace)
    IN_PYTHON_VOID(restore_(exception, backtrace))

/* New str: the exception as Python prints it, with its traceback. */
static PyObject *format_exception_(PyObject *exception)
{
    if (!PyExceptionInstance_Check(exception))
        return PyObject_Repr(exception);
    PyObject *module = PyImport_ImportModule("traceback"), *lines = NULL, *text = NULL;
    PyObject *traceback = PyException_GetTraceback(exception), *empty = PyUnicode_FromString("");
    if (module != NULL && empty != NULL)
        lines = PyObject_CallMethod(module, "format_exception", "OOO", Py_TYPE(exception), exception,
                                    traceback ? traceback : Py_None);
    if (lines != NULL)
        text = PyUnicode_Join(empty, lines);
    Py_XDECREF(module);
    Py_XDECREF(lines);
    Py_XDECREF(traceback);
    Py_XDECREF(empty);
    return text;
}
static PyObject *api_format_exception(PyObject *exception)
    IN_PYTHON(PyObject *, format_exception_(exception))

/* Writes text to sys.stdout (1) or sys.stderr (2); -1 with an exception. A stream that is None or
 * missing swallows it, as print does. */
static int write_(int64_t fd, const char *s, int64_t n, int64_t flush)
{
    PyObject *stream = PySys_GetObject(fd == 2 ? "stderr" : "stdout"), *text, *r;
    if (stream == NULL || stream == Py_None)
        return 0;
    Py_INCREF(stream);
    text = PyUnicode_DecodeUTF8(s, n, "backslashreplace");
    r = text == NULL ? NULL : PyObject_CallMethod(stream, "write", "O", text);
    Py_XDECREF(text);
    if (r != NULL && flush) {
        Py_DECREF(r);
        r = PyObject_CallMethod(stream, "flush", NULL);
    }
    Py_DECREF(stream);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}
static int api_write(int64_t fd, const char *s, int64_t n, int64_t flush)
    IN_PYTHON(int, write_(fd, s, n, flush))

/* ----------------------------------------------------------------- filling in */

static void api_set_entry(bb_entry entry) { bb.entry = entry; }

/* f is a Julia function that lives as long as Julia. */
static int api_set_helper(int64_t which, void *f)
{
    if (which < 0 || which >= BB_H_COUNT)
        return -1;
    bb.helpers[which] = f;
    return 0;
}

/* A function or variable of Julia's own. */
static int api_set_runtime(const char *name, void *address) { return bb_set_runtime(name, address); }

static void api_set_waker(void *async) { bb.waker = async; }
static void api_set_idle(void (*f)(void)) { bb.idle = f; }
static void api_set_take_over(void (*f)(void)) { bb.take_over = f; }

static void api_set_facts(int64_t any_thread, int64_t threads, int64_t length_offset, int64_t flags_offset,
                          int64_t shared_mask, int64_t capacity_offset)
{
    bb.any_thread = any_thread != 0;
    bb.several_threads = threads > 1;
    bb.states_by_hand = bb.several_threads && !bb.any_thread;
    bb.length_offset = length_offset;
    bb.flags_offset = flags_offset;
    bb.shared_mask = shared_mask;
    bb.capacity_offset = capacity_offset;
}

static int api_check_signals(void) IN_PYTHON(int, bb_check_signals())

static void api_keep_descriptors(void) { bb_keep_descriptors(); }

static bb_state *api_state(void) { return &bb; }

#define F(name) {#name, (void *)api_##name}
static const struct { const char *name; void *function; } functions[] = {
    F(str), F(bigint), F(box), F(new_export), F(tuple_new), F(tuple_set), F(list_new), F(list_set), F(namedtuple),
    F(conversion), F(apply), F(not_implemented), F(unbox), F(acquire), F(clear), F(length), F(item), F(items), F(object_item), F(is_tuple), F(is_list), F(is_slice), F(getattr), F(setattr), F(dir),
    F(repr), F(call), F(call_object), F(gil_ensure), F(stack_ends), F(gil_release), F(gil_held), F(gil_give_up), F(gil_regain), F(enter_recursion),
    F(leave_recursion), F(hold), F(decref), F(incref),
    F(loan_hold), F(loan_release), F(release_later), F(drain), F(grow_roots), F(new_julia), F(raise), F(fetch), F(wants_frames), F(restore),
    F(format_exception), F(write), F(set_entry), F(set_helper), F(set_facts),
    F(set_runtime), F(set_waker), F(set_idle), F(set_take_over), F(check_signals), F(state), F(keep_descriptors),
};

void *bb_api_function(const char *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0)
            return functions[i].function;
    return bb_operation(name);
}
