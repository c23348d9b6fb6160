/* What AddressSanitizer needs in order to live with Julia; see asan.sh. It is loaded before libasan.
 *
 * Both functions end in a tail call (-O2): glibc tells by the return address which library asks. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

static const char *const allocators[] = {"malloc", "free", "calloc", "realloc", "posix_memalign", "strdup"};

/* Julia looks for these in its own libraries, and finds libc's: what one allocates the other would free. */
void *dlsym(void *handle, const char *name)
{
    static void *(*real)(void *, const char *);
    if (!real)
        real = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    for (unsigned i = 0; handle != RTLD_NEXT && i < sizeof allocators / sizeof *allocators; i++)
        if (strcmp(name, allocators[i]) == 0)
            handle = RTLD_DEFAULT;
    return real(handle, name);
}

/* Julia opens libraries with RTLD_DEEPBIND, which libasan refuses. */
void *dlopen(const char *name, int flags)
{
    static void *(*real)(const char *, int);
    if (!real)
        real = (void *(*)(const char *, int))dlvsym(RTLD_NEXT, "dlopen", "GLIBC_2.2.5");
    return real(name, flags & ~RTLD_DEEPBIND);
}
