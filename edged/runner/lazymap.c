/* lazymap: makes llama.cpp's memory map truly lazy. Preloaded (LD_PRELOAD) into runners, never imported.
 *
 * llama.cpp maps a model with MAP_POPULATE and then asks for POSIX_MADV_WILLNEED: one blocking read of the
 * whole file before the load returns, which no parameter of its API turns off. Here both are dropped for
 * file mappings, so that pages come when they are touched, or when edged's own reader brings them in.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

#undef mmap
#undef mmap64
#undef posix_madvise

static int without_populate(int flags, int fd) {
    return fd >= 0 && !(flags & MAP_ANONYMOUS) ? flags & ~MAP_POPULATE : flags;
}

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset) {
    static void *(*next)(void *, size_t, int, int, int, off_t);
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "mmap");
    }
    return next(addr, length, prot, without_populate(flags, fd), fd, offset);
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t offset) {
    static void *(*next)(void *, size_t, int, int, int, off64_t);
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "mmap64");
    }
    return next(addr, length, prot, without_populate(flags, fd), fd, offset);
}

int posix_madvise(void *addr, size_t length, int advice) {
    static int (*next)(void *, size_t, int);
    if (advice == POSIX_MADV_WILLNEED) {
        return 0;
    }
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "posix_madvise");
    }
    return next(addr, length, advice);
}

static volatile uint64_t unwatched;
static volatile uint64_t *nodes = &unwatched;

/* Count nodes there from now on: they show the daemon that a long computation gets on. */
void edged_count_nodes_at(uint64_t *counter) {
    nodes = counter;
}

/* llama_abort_callback in C: called for every node of a graph, it must not take Python's lock, and being a
 * plain function it cannot be garbage-collected while llama.cpp still holds it. `flag` is an int. */
bool edged_abort_requested(void *flag) {
    ++*nodes;
    return *(volatile int *)flag != 0;
}
