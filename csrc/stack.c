/* Recursion across the border ends with an exception, whatever Python's recursion limit is.
 *
 * Julia turns an overflow of the C stack into a StackOverflowError, by a jump from wherever it was: out of Python's
 * functions, which never get to put things in order, or out of Julia's compiler. So it must not come to that
 * where these are at work: calls from one language into the other are refused while there is still room for what they
 * may need. Code that is all Julia's may use the rest.
 *
 * A Julia task has a stack of its own, which is not looked at: tasks that call Python which calls Julia again and again
 * come to Python's limit first, unless that was raised. */
#define _GNU_SOURCE 1
#include "bufferbridge.h"
#include <pthread.h>

enum { MOST_MARGIN = 1 << 20 }; /* bytes: Julia's compiler is what needs most */

/* The first call measures. */
BB_THREAD_LOCAL char *bb_stack_low, *bb_stack_margin = (char *)UINTPTR_MAX;

/* Whether `here` is in the margin. */
int bb_measure_stack(char *here)
{
    if (bb_stack_margin == (char *)UINTPTR_MAX) {
        bb_stack_margin = NULL;
#ifdef __linux__
        pthread_attr_t attributes;
        void *low;
        size_t size;
        if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
            if (pthread_attr_getstack(&attributes, &low, &size) == 0 && size > 0) {
                bb_stack_low = low;
                bb_stack_margin = bb_stack_low + (size / 4 < MOST_MARGIN ? size / 4 : MOST_MARGIN);
            }
            pthread_attr_destroy(&attributes);
        }
#endif
    }
    return here < bb_stack_margin && here > bb_stack_low;
}

int bb_stack_ended(void)
{
    PyErr_SetString(PyExc_RecursionError, "the C stack is used up by calls between Python and Julia");
    return -1;
}
