/* failing_malloc.h: a malloc of which one call fails, seen by all libraries of the program, and a count of what lives. The
 * sanitizers bring their own, so under them NO_FAILING_MALLOC is defined, and the program has nothing to do. Included
 * first, by one file of a program. */
#ifndef UNIT_FAILING_MALLOC_H
#define UNIT_FAILING_MALLOC_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define NO_FAILING_MALLOC
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define NO_FAILING_MALLOC
#endif

#ifndef NO_FAILING_MALLOC

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *old, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);
extern void __libc_free(void *old);

static atomic_long calls_left = -1; /* until the one that fails; below 0: none does */
static atomic_bool call_failed;
static atomic_long live_blocks;

static bool call_fails(void) {
    if (atomic_load(&calls_left) < 0 || atomic_fetch_sub(&calls_left, 1) != 0) return false;
    atomic_store(&call_failed, true);
    errno = ENOMEM;
    return true;
}

#define EVERYWHERE __attribute__((visibility("default"))) /* seen by libc too */

EVERYWHERE void *malloc(size_t bytes) {
    if (call_fails()) return NULL;
    live_blocks++;
    return __libc_malloc(bytes);
}
EVERYWHERE void *calloc(size_t n, size_t bytes) {
    if (call_fails()) return NULL;
    live_blocks++;
    return __libc_calloc(n, bytes);
}
EVERYWHERE void *realloc(void *old, size_t bytes) {
    if (call_fails()) return NULL;
    live_blocks += !old;
    return __libc_realloc(old, bytes);
}
EVERYWHERE void *aligned_alloc(size_t alignment, size_t bytes) {
    if (call_fails()) return NULL;
    live_blocks++;
    return __libc_memalign(alignment, bytes);
}
EVERYWHERE int posix_memalign(void **out, size_t alignment, size_t bytes) {
    *out = aligned_alloc(alignment, bytes);
    return *out ? 0 : ENOMEM;
}
EVERYWHERE void free(void *old) {
    live_blocks -= old != NULL;
    __libc_free(old);
}

#endif
#endif
