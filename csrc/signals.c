/* Signals: Python's as without us, and Ctrl-C in Julia code too.
 *
 * Julia's start sets handlers of its own. All are put back to what they were, except those that Julia can't
 * do without: SIGSEGV and SIGBUS (its collector stops threads with them; stack overflows) and SIGFPE, where
 * faulthandler's handler comes after Julia's (fault_handler), and SIGUSR2 (its profiler) if nobody had it.
 *
 * Julia also has a thread that waits for SIGINT, SIGTERM, SIGQUIT and SIGUSR1, and would take them from Python
 * whenever the main thread has another signal to see to, a SIGCHLD for one. It is put to rest (rest_listener);
 * with it goes Julia's sampling profiler, which lives there.
 *
 * Ctrl-C. Python's own handler for SIGINT notes the signal, and the interpreter calls the handler that was
 * set with signal.signal when it comes to it: KeyboardInterrupt by default. In Julia code it does not come
 * to it. So, as long as the handler is the default one, ours (on_sigint) is put around Python's: it wakes a
 * thread of this file (watch), which stops what the main thread does in Julia, in one of two ways:
 *
 *   - If the Julia task that was called from Python waits (for a timer, another task, a lock, input), it is
 *     sent an InterruptException, as `schedule(task, exception, error = true)` does: jlsrc/src/interrupt.jl.
 *   - If it computes, the main thread gets a signal of its own, SIGURG (which by default is ignored, and so
 *     can't do harm), whose handler looks where it is: in compiled Julia code, in a place where Julia code
 *     may be interrupted, it goes on with throwing InterruptException (on_question says when). In C code it is
 *     left alone and asked again some milliseconds later. Julia's own way, a safepoint that throws, is not
 *     reached by loops that allocate nothing, and belongs to a listener thread that takes SIGINT for itself.
 *
 * The exception unwinds Julia's frames to `entry`; then Python runs its handler, whose KeyboardInterrupt is
 * what the caller gets, with Julia's exception as the cause (raise in api.c). With a handler of the user's
 * the Julia call is not stopped: the handler runs when it returns, as with any C function.
 *
 * Whether the handler is still the default one can't be seen from a signal handler, and signal.signal puts
 * Python's plain handler back. So the watching thread, while there are calls into Julia, has the next one
 * look (bb_attend), every 50 ms; when there are none it sleeps. */
#include "bufferbridge.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define MILLISECOND 1000000L

static pthread_t main_thread;

/* ------------------------------------------------- what Julia's start changes */

enum { SIGNALS = 32 }; /* Julia sets no handlers for real-time signals */

static struct {
    sigset_t mask;
    struct sigaction actions[SIGNALS];
    int descriptors[3];
} before;

static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE};
enum { FAULTS = 3 };
static struct sigaction julias[FAULTS], others[FAULTS]; /* Julia's handlers; who comes after it, or default */
static stack_t signal_stack;                            /* Julia's, for the main thread */

static int is_default(const struct sigaction *a)
{
    return !(a->sa_flags & SA_SIGINFO) && (a->sa_handler == SIG_DFL || a->sa_handler == SIG_IGN);
}

static void call_handler(const struct sigaction *a, int sig, siginfo_t *info, void *context)
{
    if (a->sa_flags & SA_SIGINFO)
        a->sa_sigaction(sig, info, context);
    else if (!is_default(a))
        a->sa_handler(sig);
}

static long thread_before[1024];
static int threads_before;

/* libuv makes pipes non-blocking, which Python shares and does not expect: its output would be lost. So does
 * the libuv of a Julia process to which ours are handed on: up to Julia 1.5 of those that compile packages. */
void bb_save_process(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    while (tasks != NULL && (entry = readdir(tasks)) != NULL && threads_before < 1024)
        thread_before[threads_before++] = atol(entry->d_name);
    if (tasks != NULL)
        closedir(tasks);
    pthread_sigmask(SIG_SETMASK, NULL, &before.mask);
    for (int sig = 1; sig < SIGNALS; sig++)
        sigaction(sig, NULL, &before.actions[sig]);
    for (int fd = 0; fd < 3; fd++)
        before.descriptors[fd] = fcntl(fd, F_GETFL);
}

static int fault_number(int sig)
{
    for (int i = 0; i < FAULTS; i++)
        if (faults[i] == sig)
            return i;
    return -1;
}

/* Julia's handler comes first: most faults are its safepoints, stack overflows and writes to read-only
 * memory. What it finds fatal it reports, and sets the default action; then it is faulthandler's turn. */
static void fault_handler(int sig, siginfo_t *info, void *context)
{
    int i = fault_number(sig), sent = info->si_code <= 0; /* by kill or raise, and so not Julia's */
    struct sigaction now, other = others[i];
    sigset_t this_one;
    int error = errno;

    if (!sent)
        call_handler(&julias[i], sig, info, context);
    if (sent ||
        (sigaction(sig, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL)) {
        /* faulthandler puts the handler back that it found, and raises the signal again: not before the
         * default action is set. */
        sigemptyset(&this_one);
        sigaddset(&this_one, sig);
        pthread_sigmask(SIG_BLOCK, &this_one, NULL);
        others[i].sa_flags = 0;
        others[i].sa_handler = SIG_DFL;
        call_handler(&other, sig, info, context);
        signal(sig, SIG_DFL);
        raise(sig); /* when this handler returns */
    }
    errno = error;
}

/* Puts Julia's fault handlers first again, after faulthandler was switched on or off. */
void bb_keep_faults(void)
{
    for (int i = 0; i < FAULTS; i++) {
        struct sigaction now;
        sigaction(faults[i], NULL, &now);
        if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == fault_handler)
            continue;
        if ((now.sa_flags & SA_SIGINFO) && (julias[i].sa_flags & SA_SIGINFO) &&
            now.sa_sigaction == julias[i].sa_sigaction)
            continue;
        others[i] = now;
        now = julias[i];
        if (!is_default(&others[i]))
            now.sa_sigaction = fault_handler;
        sigaction(faults[i], &now, NULL);
    }
    if (pthread_equal(pthread_self(), main_thread)) /* faulthandler's is too small for Julia's handlers */
        sigaltstack(&signal_stack, NULL);
}

void bb_restore_process(void)
{
    main_thread = pthread_self();
    pthread_sigmask(SIG_SETMASK, &before.mask, NULL);
    sigaltstack(NULL, &signal_stack);
    for (int sig = 1; sig < SIGNALS; sig++) {
        int i = fault_number(sig);
        if (i >= 0) {
            sigaction(sig, NULL, &julias[i]);
            sigaction(sig, &before.actions[sig], NULL);
        } else if (sig != SIGKILL && sig != SIGSTOP &&
                   !(sig == SIGUSR2 && is_default(&before.actions[sig])))
            sigaction(sig, &before.actions[sig], NULL);
    }
    bb_keep_faults();
    bb_keep_descriptors();
}

void bb_keep_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++) {
        int now = fcntl(fd, F_GETFL);
        if (before.descriptors[fd] != -1 && now != -1 && (now & ~before.descriptors[fd] & O_NONBLOCK))
            fcntl(fd, F_SETFL, now & ~O_NONBLOCK);
    }
}

/* -------------------------------------------------- where Julia may be stopped */

#if defined(__x86_64__) && defined(__GLIBC__)
#define CAN_THROW 1
#else
#define CAN_THROW 0 /* other machines: only tasks that wait are interrupted, and calls that return */
#endif

/* Places in Julia's structs, found by looking (find_places); 0: not found, nothing is thrown. */
static size_t defer_signal_place, handler_place;

/* Compiled Julia code: what the watching thread read of /proc/self/maps before it asked. */
static struct { uintptr_t start, end; int fresh; } code[512];
static int code_count;
static volatile int only_fresh; /* code that was compiled in this process */

static int read_memory(void *from, void *to, size_t n)
{
    struct iovec local = {to, n}, remote = {from, n};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)n;
}

/* Julia defers signals by counting in its thread's struct, and knows the innermost exception handler by a
 * field of the task. Neither has a function that tells; what jl_sigatomic_begin and jl_enter_handler change
 * tells where they are. On the main thread, before it leaves Julia. */
static void find_places(void)
{
    enum { CHUNK = 256, CHUNKS = 48, TASK_CHUNKS = 16 };
    static char was[CHUNK], is[CHUNK], back[CHUNK];
    static void *handler[128]; /* a jl_handler_t is smaller */
    char *thread = bb.runtime.jl_get_ptls_states(), *task;
    size_t found = 0;
    int count = 0;

    if (!CAN_THROW)
        return;
    for (size_t at = 0; at < CHUNK * CHUNKS && read_memory(thread + at, was, CHUNK); at += CHUNK) {
        bb.runtime.jl_sigatomic_begin();
        bb.runtime.jl_sigatomic_begin();
        int ok = read_memory(thread + at, is, CHUNK);
        bb.runtime.jl_sigatomic_end();
        bb.runtime.jl_sigatomic_end();
        if (!ok || !read_memory(thread + at, back, CHUNK))
            break;
        for (size_t i = 0; i < CHUNK; i += sizeof(int)) {
            int a, b, c;
            memcpy(&a, was + i, sizeof a);
            memcpy(&b, is + i, sizeof b);
            memcpy(&c, back + i, sizeof c);
            if (b == a + 2 && c == a) {
                found = at + i;
                count++;
            }
        }
    }
    if (count != 1)
        return;
    task = bb.runtime.jl_get_current_task();
    count = 0;
    bb.runtime.jl_enter_handler(handler);
    for (size_t at = 0; at < CHUNK * TASK_CHUNKS && read_memory(task + at, is, CHUNK); at += CHUNK)
        for (size_t i = 0; i < CHUNK; i += sizeof(void *)) {
            void *p;
            memcpy(&p, is + i, sizeof p);
            if (p == (void *)handler && count++ == 0)
                handler_place = at + i;
        }
    bb.runtime.jl_pop_handler(1);
    defer_signal_place = count == 1 ? found : 0;
}

/* Executable memory that is Julia's: not of any file, or of its memory manager's shared memory (fresh), or of
 * a system or package image. */
static void read_maps(void)
{
    FILE *f = fopen("/proc/self/maps", "re");
    char line[4352], mode[8];
    int n = 0;

    code_count = 0;
    while (f != NULL && n < (int)(sizeof code / sizeof *code) && fgets(line, sizeof line, f) != NULL) {
        unsigned long start, end;
        int path = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %n", &start, &end, mode, &path) < 3 || mode[2] != 'x')
            continue;
        const char *name = line + path;
        int fresh = *name == 0 || *name == '\n' || strncmp(name, "/memfd:julia", 12) == 0 ||
                    strstr(name, "/julia-codegen") != NULL || strncmp(name, "/dev/shm/julia", 14) == 0;
        int image = strstr(name, "/compiled/v") != NULL ||
                    (bb.image != NULL && strncmp(name, bb.image, strlen(bb.image)) == 0);
        if (fresh || image) {
            code[n].start = start;
            code[n].end = end;
            code[n++].fresh = fresh;
        }
    }
    if (f != NULL)
        fclose(f);
    code_count = n;
}

static int in_julia_code(uintptr_t pc)
{
    for (int i = 0; i < code_count; i++)
        if (code[i].start <= pc && pc < code[i].end)
            return code[i].fresh || !only_fresh;
    return 0;
}

#if CAN_THROW
/* Whether the innermost exception handler is one that Julia code called by us has set, and is complete:
 * jl_enter_handler and setjmp are two calls. */
static int handler_is_ready(void)
{
    char *task = bb.runtime.jl_get_current_task(), *frame = bb.frame, *handler;
    uintptr_t *saved, sp;

    memcpy(&handler, task + handler_place, sizeof handler);
    if (handler == NULL)
        return 0;
    /* Older than the call, on the same stack: `entry` is about to leave. */
    if (handler > frame && handler - frame < 16 << 20)
        return 0;
    /* It begins with the jmp_buf. glibc hides the stack pointer in it. */
    saved = (uintptr_t *)handler;
    sp = saved[6];
    __asm__("rorq $17, %0\n\txorq %%fs:0x30, %0" : "+r"(sp));
    return sp <= (uintptr_t)handler && (uintptr_t)handler - sp < 1 << 20;
}

static void throw_interrupt(void)
{
    bb.runtime.jl_throw(*bb.runtime.jl_interrupt_exception);
}
#endif

/* -------------------------------------------------------------------- Ctrl-C */

static long listener;            /* the thread of Julia's that waits for signals, or 0 */
static struct sigaction pythons; /* Python's handler, which ours goes around */
static sem_t wake;

static void on_sigint(int sig, siginfo_t *info, void *context)
{
    int error = errno;
    call_handler(&pythons, sig, info, context);
    bb.noticed = 1;
    if (bb.interruptible) {
        bb.requested = 1;
        sem_post(&wake);
    }
    errno = error;
}

/* On the main thread, wherever it is; and once on Julia's listener. */
static void on_question(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)info;
    if (listener != 0 && syscall(SYS_gettid) == listener) {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, NULL);
        for (;;)
            pause();
    }
#if CAN_THROW
    ucontext_t *where = context;
    greg_t *registers = where->uc_mcontext.gregs;
    int deferred;
    int error = errno;

    if (bb.requested && bb.interruptible && !bb.threw && in_julia_code((uintptr_t)registers[REG_RIP])) {
        memcpy(&deferred, (char *)bb.runtime.jl_get_ptls_states() + defer_signal_place, sizeof deferred);
        if (deferred == 0 && handler_is_ready()) {
            /* As if the next instruction called throw_interrupt, below the red zone. The return address
             * is none: backtraces end there. */
            uintptr_t sp = ((uintptr_t)registers[REG_RSP] - 256) & ~(uintptr_t)15;
            sp -= sizeof(void *);
            *(void **)sp = NULL;
            bb.threw = 1;
            registers[REG_RSP] = (greg_t)sp;
            registers[REG_RIP] = (greg_t)(uintptr_t)throw_interrupt;
        }
    }
    errno = error;
#else
    (void)context;
#endif
}

static void sleep_for(long nanoseconds)
{
    struct timespec t = {0, nanoseconds};
    nanosleep(&t, NULL);
}

/* Until the call that was interrupted is over. Julia code may be most of its time in C functions: ask often. */
static void interrupt_main_thread(void)
{
    enum { PER_SECOND = 4000 };
    int since_throw = 0;

    for (int i = 0; bb.requested && bb.status == BB_RUNNING; i++) {
        if (bb.waker != NULL && !bb.threw && i % 40 == 0) {
            bb.runtime.uv_async_send(bb.waker);
            /* Its callback is Julia code that libuv's loop calls: an exception must not leave that. */
            sleep_for(2 * MILLISECOND);
        } else if (bb.threw) {
            /* Caught on the way, or `finally` blocks take their time: again, but not at once. */
            if (++since_throw > PER_SECOND / 2) {
                since_throw = 0;
                bb.threw = 0;
            }
        } else if (CAN_THROW && defer_signal_place != 0 && bb.interruptible) {
            /* Rather in the user's code than in the middle of Julia's own. */
            only_fresh = i < PER_SECOND / 4;
            if (i % 256 == 0)
                read_maps();
            pthread_kill(main_thread, SIGURG);
        }
        sleep_for(1000 * MILLISECOND / PER_SECOND);
    }
}

static void *watch(void *unused)
{
    int64_t calls = -1;
    (void)unused;
    for (;;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50 * MILLISECOND;
        if (until.tv_nsec >= 1000 * MILLISECOND) {
            until.tv_nsec -= 1000 * MILLISECOND;
            until.tv_sec++;
        }
        sem_timedwait(&wake, &until);
        if (bb.status != BB_RUNNING)
            return NULL;
        if (bb.requested)
            interrupt_main_thread();
        if (bb.calls == calls && !bb.interruptible) { /* nobody calls Julia: the next call wakes us */
            if (bb.idle != NULL && !bb.idles) {
                bb.idle();
                bb.idles = 1;
            }
            bb.attention = 2;
            bb.rests = 1;
            __sync_synchronize(); /* who comes now sees that it rests, or is seen */
            if (bb.others == 0)
                while (sem_wait(&wake) != 0)
                    ;
            bb.rests = 0;
        }
        if (bb.others > 0 && bb.take_over != NULL)
            bb.take_over();
        calls = bb.calls;
        if (bb.attention == 0)
            bb.attention = 1;
    }
}

void bb_wake_watcher(void) { sem_post(&wake); }

/* Before a call into Julia, now and then: is the default handler set, and ours around it? On the main thread,
 * with the GIL. */
void bb_attend(void)
{
    static PyObject *getsignal, *default_handler;
    struct sigaction now;

    if (bb.attention == 2)
        sem_post(&wake);
    bb.attention = 0;
    if (bb.idles) {
        bb.idles = 0;
        bb_to_julia_state(0);
        bb.runtime.jl_exit_threaded_region();
        bb_to_python_state();
    }
    if (sigaction(SIGINT, NULL, &now) < 0 || is_default(&now) ||
        ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_sigint))
        return;
    PyObject *type, *value, *traceback, *handler = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    if (getsignal == NULL) {
        PyObject *module = PyImport_ImportModule("_signal");
        if (module != NULL) {
            default_handler = PyObject_GetAttrString(module, "default_int_handler");
            getsignal = PyObject_GetAttrString(module, "getsignal");
            Py_DECREF(module);
        }
    }
    if (getsignal != NULL && default_handler != NULL)
        handler = PyObject_CallFunction(getsignal, "i", SIGINT);
    if (handler != NULL && handler == default_handler) {
        pythons = now;
        now.sa_sigaction = on_sigint;
        now.sa_flags |= SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGINT, &now, NULL);
    }
    Py_XDECREF(handler);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}

/* In Julia code on the main thread, with the GIL, where `noticed` is set: Python runs its handlers. */
int bb_check_signals(void)
{
    bb.noticed = 0;
    return PyErr_CheckSignals();
}

/* Whether a thread is in sigwait for SIGTERM: all of Julia's block that signal, and sigwait unblocks it. */
static int awaits_signals(long thread)
{
    char path[64], line[128];
    unsigned long long blocked = ~0ULL;
    snprintf(path, sizeof path, "/proc/self/task/%ld/status", thread);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "SigBlk: %llx", &blocked) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return (blocked >> (SIGTERM - 1) & 1) == 0;
}

static int was_there(long thread)
{
    for (int i = 0; i < threads_before; i++)
        if (thread_before[i] == thread)
            return 1;
    return 0;
}

static void rest_listener(void)
{
    for (int tries = 0; tries < 50 && listener == 0; tries++) {
        DIR *tasks = opendir("/proc/self/task");
        struct dirent *entry;
        long found = 0;
        int count = 0;
        while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
            long thread = atol(entry->d_name);
            if (thread != 0 && !was_there(thread) && awaits_signals(thread)) {
                found = thread;
                count++;
            }
        }
        if (tasks != NULL)
            closedir(tasks);
        if (count > 1)
            return; /* something else started threads meanwhile: leave them all alone */
        if (count == 1)
            listener = found;
        else
            sleep_for(MILLISECOND);
    }
    if (listener != 0)
        syscall(SYS_tgkill, getpid(), listener, SIGURG);
}

/* The timer of Julia's profiler, which nobody serves any more. All else as by default. */
static void on_usr1(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code == SI_TIMER)
        return;
    signal(sig, SIG_DFL);
    raise(sig);
}

/* On the main thread, when Julia has started. Without the GIL. */
void bb_watch_signals(void)
{
    struct sigaction question, old;
    sigset_t all, mask;
    pthread_attr_t attributes;
    pthread_t thread;

    find_places();
    sem_init(&wake, 0, 0);
    memset(&question, 0, sizeof question);
    question.sa_sigaction = on_question;
    question.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    if (sigaction(SIGURG, NULL, &old) == 0 && is_default(&old)) {
        sigaction(SIGURG, &question, NULL);
        rest_listener();
    } else
        defer_signal_place = 0; /* somebody else's: then only what waits is interrupted */
    if (sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == SIG_DFL && listener != 0) {
        question.sa_sigaction = on_usr1;
        sigaction(SIGUSR1, &question, NULL);
    }
    /* libuv takes it for a process that Julia runs, to compile a package for one. */
    sigaction(SIGCHLD, &before.actions[SIGCHLD], NULL);
    bb.attention = 1;
    /* The thread takes no signals, and so never runs a handler of anybody's; but its faults are Julia's
     * safepoints, as on any thread. */
    sigfillset(&all);
    for (int i = 0; i < FAULTS; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    if (pthread_create(&thread, &attributes, watch, NULL) != 0)
        bb.attention = 0;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}
