/* Preloaded before the command: makes the Nth call of a kind fail, as a full disk or a machine
 * without memory would.
 *
 *   FAIL_KIND=malloc|write|open|read  FAIL_AT=N (from 1)  FAIL_ON=1 (that call and all after it)
 *   FAIL_COUNT=PATH: the number of calls made is written there when the process ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_long calls;
static atomic_int armed; /* set at main: what the loader and constructors call does not count */
static long fail_at;
static int fail_on;
static char kind;

__attribute__((constructor)) static void begin(void) {
    const char *k = getenv("FAIL_KIND"), *at = getenv("FAIL_AT"), *on = getenv("FAIL_ON");
    kind = k ? k[0] : 0;
    fail_at = at ? atol(at) : 0;
    fail_on = on && on[0] == '1';
}

typedef int (*main_function)(int, char **, char **);
static main_function real_main;

static int armed_main(int argc, char **argv, char **environment) {
    atomic_store(&armed, 1);
    return real_main(argc, argv, environment);
}

int __libc_start_main(main_function program, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*loader_fini)(void), void *stack_end) {
    int (*next)(main_function, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = program;
    return next(armed_main, argc, argv, init, fini, loader_fini, stack_end);
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAIL_COUNT");
    long n = atomic_load(&calls);
    atomic_store(&armed, 0);
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld\n", n);
    fclose(file);
}

static int fails(char which) {
    if (!atomic_load_explicit(&armed, memory_order_relaxed) || which != kind) return 0;
    long n = atomic_fetch_add(&calls, 1) + 1;
    return fail_at && (n == fail_at || (fail_on && n > fail_at));
}

static void *no_memory(void) {
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t n) { return fails('m') ? no_memory() : __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return fails('m') ? no_memory() : __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return fails('m') ? no_memory() : __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { return fails('m') ? no_memory() : __libc_memalign(a, n); }
int posix_memalign(void **out, size_t a, size_t n) {
    void *p = fails('m') ? NULL : __libc_memalign(a, n);
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}

/* `next`: the function of this name that libc has. */
#define NEXT(name) static __typeof__(name) *next; if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int is_output(int fd) {
    struct stat info;
    return fd > 2 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

ssize_t write(int fd, const void *p, size_t n) {
    NEXT(write);
    if (is_output(fd) && fails('w')) { errno = ENOSPC; return -1; }
    return next(fd, p, n);
}
ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
    NEXT(pwrite);
    if (is_output(fd) && fails('w')) { errno = ENOSPC; return -1; }
    return next(fd, p, n, at);
}
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at) { return pwrite(fd, p, n, at); }
ssize_t writev(int fd, const struct iovec *v, int n) {
    NEXT(writev);
    if (is_output(fd) && fails('w')) { errno = ENOSPC; return -1; }
    return next(fd, v, n);
}
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at) {
    NEXT(pwritev);
    if (is_output(fd) && fails('w')) { errno = ENOSPC; return -1; }
    return next(fd, v, n, at);
}
int fsync(int fd) {
    NEXT(fsync);
    if (is_output(fd) && fails('w')) { errno = EIO; return -1; }
    return next(fd);
}
int rename(const char *from, const char *to) {
    NEXT(rename);
    if (fails('w')) { errno = EIO; return -1; }
    return next(from, to);
}
ssize_t read(int fd, void *p, size_t n) {
    NEXT(read);
    if (is_output(fd) && fails('r')) { errno = EIO; return -1; }
    return next(fd, p, n);
}
ssize_t pread(int fd, void *p, size_t n, off_t at) {
    NEXT(pread);
    if (is_output(fd) && fails('r')) { errno = EIO; return -1; }
    return next(fd, p, n, at);
}
ssize_t pread64(int fd, void *p, size_t n, off_t at) { return pread(fd, p, n, at); }
int open(const char *path, int flags, ...) {
    NEXT(open);
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, mode_t) : 0;
    va_end(list);
    if (strncmp(path, "/proc", 5) && strncmp(path, "/sys", 4) && fails('o')) { errno = EMFILE; return -1; }
    return next(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, mode_t) : 0;
    va_end(list);
    return open(path, flags, mode);
}
