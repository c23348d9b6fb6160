/* Fast access to the state that Julia keeps for each thread: where its runtime, and the code it compiles, look
 * for the top of the stack of roots, some eight times in a call.
 *
 * In a library that was loaded at run time a thread-local variable is found through a function of the dynamic
 * linker's, 5 ns each. So Julia lets the program it is embedded in define that variable (JULIA_DEFINE_FAST_TLS,
 * Julia's manual, "Embedding Julia"), and looks these functions up by their names as it is loaded. Here they are
 * in a library, too, but the variable is in the thread's static block, where there is room for a few words of
 * such libraries, and is read in one instruction. So f(1, 2) takes 12 ns less.
 *
 * The names are Julia's. They have to be seen by all, which bb_offer_tls does with this module alone. Without
 * them (a Julia that does not ask, a platform that has no such thing) all works as well, and slower. */
#define _GNU_SOURCE 1
#include "bufferbridge.h"
#include <dlfcn.h>
#include <stdlib.h>

#ifdef __linux__
#define OFFERED __attribute__((visibility("default")))
#define IN_STATIC_BLOCK __attribute__((tls_model("initial-exec")))

/* Julia 1.7 and later: the variable is a pointer. The first who sets the flag may use it. */
static _Thread_local void *pgcstack IN_STATIC_BLOCK;
OFFERED char jl_pgcstack_static_semaphore;
OFFERED void *jl_get_pgcstack_static(void) { return pgcstack; }
OFFERED void *jl_pgcstack_addr_static(void) { return &pgcstack; }

/* Julia 1.5 and 1.6: the variable is the state itself. It is larger than the room (15,720 bytes in 1.5.3), so
 * what is in the static block is its address. Never freed: few threads have one, and Julia's do not end. */
enum { STATE_SIZE = 1 << 16 };
static _Thread_local void *state IN_STATIC_BLOCK;
OFFERED void *jl_get_ptls_states_static(void)
{
    if (state == NULL && (state = calloc(1, STATE_SIZE)) == NULL)
        abort();
    return state;
}

void bb_offer_tls(void)
{
    Dl_info self;
    if (dladdr((void *)jl_get_pgcstack_static, &self) != 0 && self.dli_fname != NULL)
        dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
}
#else
void bb_offer_tls(void) {}
#endif
