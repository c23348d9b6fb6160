/* Who may be where: Julia's collector and Python's lock.
 *
 * Julia's collector stops the threads that run Julia, each at its next safepoint, and waits for them. A
 * thread that is in Python comes to none: while it is there it has to be in a "gc-safe" state, in which
 * the collector does not wait for it. So every thread is gc-safe whenever it is not in Julia code:
 *
 *   - The main thread is put into that state when Julia has started (bb_boot). From Julia 1.9 on
 *     @cfunction entries change the state and put it back by themselves, and adopt threads that Julia
 *     has never seen. Before, bb_enter does it, and only where there is more than one Julia thread.
 *   - Functions of api.c that may run Python code, or wait for the GIL, do so between bb_to_python_state
 *     and bb_to_julia_state.
 *
 * That a gc-safe thread's C code goes on during a collection is no danger: Julia objects don't move, those
 * that are used are rooted, and what is written meanwhile (NULL into a root) the collector may see or not.
 *
 * The GIL is held during calls into Julia, unless Julia code gives it up (bb.nogil): bb_give_gil_up. */
#include "bufferbridge.h"
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------- Julia's runtime */

#define R(name) {#name, offsetof(bb_runtime, name)}
static const struct { const char *name; size_t offset; } places[] = {
    R(jl_gc_safe_enter), R(jl_gc_safe_leave), R(jl_gc_enable), R(jl_throw), R(jl_interrupt_exception),
    R(jl_enter_handler), R(jl_pop_handler), R(jl_sigatomic_begin), R(jl_sigatomic_end),
    R(jl_get_ptls_states), R(jl_get_current_task), R(jl_exit_threaded_region), R(uv_async_send),
};
#undef R

/* Julia tells where its functions are: not all can be found from outside. */
int bb_set_runtime(const char *name, void *address)
{
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (strcmp(places[i].name, name) == 0) {
            memcpy((char *)&bb.runtime + places[i].offset, &address, sizeof address);
            return 0;
        }
    return -1;
}

/* Whether threads have a gc state that matters. */
static inline int has_states(void) { return bb.any_thread || bb.several_threads; }

int bb_to_python_state(void)
{
    return has_states() ? bb.runtime.jl_gc_safe_enter() : -1;
}

/* May wait for a collection to end. No InterruptException comes here: `interruptible` is not set. */
void bb_to_julia_state(int state)
{
    if (state >= 0)
        bb.runtime.jl_gc_safe_leave((int8_t)state);
}

BB_THREAD_LOCAL int bb_is_main;
BB_THREAD_LOCAL int bb_has_gil;

/* A call into Julia. On the calling thread, with the GIL. */
int bb_enter(bb_entry entry, void *f, bb_value *args, int64_t nargs, PyObject *kwnames, bb_value *result)
{
    const int on_main = bb_on_main_thread(), had_gil = bb_has_gil;
    char *frame = bb.frame;
    int64_t level = -1;
    int r;

    if (bb_stack_ends())
        return bb_stack_ended();
    if (on_main) {
        if (bb.attention)
            bb_attend();
        bb.frame = __builtin_frame_address(0);
        bb.calls++;
        level = ++bb.depth;
    } else {
        bb.others++;
        if (bb.rests)
            bb_wake_watcher();
    }
    bb_has_gil = 1;
    if (bb.states_by_hand)
        bb.runtime.jl_gc_safe_leave(0);
    r = entry(f, args, nargs, kwnames, result, level);
    if (bb.states_by_hand)
        bb.runtime.jl_gc_safe_enter();
    bb_has_gil = had_gil;
    if (on_main) {
        bb.frame = frame;
        bb.requested = bb.threw = 0; /* what was to be interrupted is over */
    } else
        bb.others--;
    return r;
}

/* ------------------------------------------------------------------ the GIL */

static _Atomic int waiting; /* threads of Julia's that wait for the GIL */

/* Julia threads may outlive Python by some milliseconds, and must not come back to it. */
static void wait_for_ever(void)
{
    for (;;)
        pause();
}

/* The GIL for this thread, whether it has it or not: a state for bb_drop_gil, or -1 if Python is ending. */
int64_t bb_take_gil(void)
{
    if (bb.status != BB_RUNNING && bb.status != BB_NOT_STARTED)
        return -1;
    waiting++;
    int gc = bb_to_python_state();
    int64_t gil = (int64_t)PyGILState_Ensure();
    bb_to_julia_state(gc);
    waiting--;
    if (bb.status != BB_RUNNING && bb.status != BB_NOT_STARTED) {
        bb_drop_gil(gil);
        return -1;
    }
    return gil;
}

void bb_drop_gil(int64_t state)
{
    int gc = bb_to_python_state();
    PyGILState_Release((PyGILState_STATE)state);
    bb_to_julia_state(gc);
}

/* Lets other Python threads run while this one is in Julia code. 1: given up; 0: it did not have the GIL. */
int64_t bb_give_gil_up(void)
{
    if (bb.status != BB_RUNNING || !bb_gil_check())
        return 0;
    bb_has_gil = 0;
    PyEval_SaveThread();
    return 1;
}

/* Nothing to do if the thread has the GIL. */
void bb_regain_gil(void)
{
    if (bb.status == BB_RUNNING && bb_gil_check())
        return;
    int gc = bb_to_python_state();
    /* Python would end this thread where it stands, in the middle of Julia's frames. */
    if (bb.status != BB_RUNNING)
        wait_for_ever();
    waiting++;
    PyEval_RestoreThread(PyGILState_GetThisThreadState());
    bb_has_gil = 1;
    waiting--;
    if (bb.status != BB_RUNNING) { /* meanwhile */
        PyEval_SaveThread();
        wait_for_ever();
    }
    bb_to_julia_state(gc);
}

/* Before Python ends: lets those in that wait for the GIL already, so that they see that it is over. */
void bb_turn_away(void)
{
    for (int i = 0; waiting > 0 && i < 200; i++) {
        Py_BEGIN_ALLOW_THREADS
        usleep(1000);
        Py_END_ALLOW_THREADS
    }
}
