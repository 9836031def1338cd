/* faults.h: the system under a program, gone wrong by a seed: these take the place of libc's calls in the test program
 * that includes it. A child process that `faults` is set for
 *
 *   dies at the k-th call that changes files or sends, in the middle of a write if need be; with `power` all that was
 *   written and not synced is lost in part, as when a machine loses its power;
 *   or is refused that call (and those after it): a full disk;
 *   reads and writes less than it wanted, is interrupted, is told to come again;
 *   loses connections;
 *   sees a clock that stands still and leaps. */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { DIED = 77, DIRTY_MAX = 256 };

/* A file that has bytes from `from` on that are not synced. */
typedef struct dirty_file {
    dev_t device;
    ino_t inode;
    int copy; /* a descriptor of our own */
    off_t from;
} dirty_file;

static struct {
    bool on;
    uint64_t seed;
    long die_at;       /* from 1; 0: never */
    long refuse_at;    /* likewise: ENOSPC, from then on if `refuse_on` */
    bool refuse_on, power;
    bool shortens;     /* files */
    unsigned nets;     /* of 256 receiving and sending calls, so many go wrong */
    unsigned resets;   /* of 65536, so many break the connection */
    unsigned clocks;   /* of 256 looks at the clock, so many see it jump */
    atomic_long *calls; /* those that count; seen by the parent */
    atomic_uint_fast64_t draws;
    atomic_int dead;
    pthread_mutex_t lock; /* of what is dirty */
    dirty_file dirty[DIRTY_MAX];
    unsigned n_dirty;
    atomic_llong real_leap_ns;
} faults = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* SplitMix64, as in fakes_base.h. */
static inline uint64_t fault_mix(uint64_t z) {
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}
static inline uint64_t fault_draw(void) {
    return fault_mix(faults.seed * 0x632be59bd9b4e019ull + atomic_fetch_add_explicit(&faults.draws, 1, memory_order_relaxed));
}

/* ---- what is not on the disk yet ---- */

static inline dirty_file *dirty_find(const struct stat *s) {
    for (unsigned i = 0; i < faults.n_dirty; i++)
        if (faults.dirty[i].device == s->st_dev && faults.dirty[i].inode == s->st_ino) return &faults.dirty[i];
    return NULL;
}

static inline void dirty_add(int fd, off_t from) {
    struct stat s;
    if (!faults.power || fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return;
    pthread_mutex_lock(&faults.lock);
    dirty_file *d = dirty_find(&s);
    if (d) {
        if (from < d->from) d->from = from;
    } else if (faults.n_dirty < DIRTY_MAX) {
        faults.dirty[faults.n_dirty++] = (dirty_file){s.st_dev, s.st_ino, fcntl(fd, F_DUPFD_CLOEXEC, 0), from};
    }
    pthread_mutex_unlock(&faults.lock);
}

static inline void dirty_drop(int fd) {
    struct stat s;
    if (!faults.power || fstat(fd, &s) != 0) return;
    pthread_mutex_lock(&faults.lock);
    dirty_file *d = dirty_find(&s);
    if (d) {
        close(d->copy);
        *d = faults.dirty[--faults.n_dirty];
    }
    pthread_mutex_unlock(&faults.lock);
}

/* Without anything that a sanitizer does at the end. */
static inline void leave_at_once(int status) {
    for (;;) syscall(SYS_exit_group, status);
}

static inline void fault_die(void) {
    atomic_store(&faults.dead, 1);
    pthread_mutex_lock(&faults.lock);
    for (unsigned i = 0; i < faults.n_dirty; i++) {
        off_t end = lseek(faults.dirty[i].copy, 0, SEEK_END), from = faults.dirty[i].from;
        if (end > from) (void)!ftruncate(faults.dirty[i].copy, from + (off_t)(fault_draw() % (uint64_t)(end - from + 1)));
    }
    leave_at_once(DIED);
}

/* ---- calls that change something ---- */

typedef enum fault { NONE, REFUSED, HALF } fault;

/* One more of them; HALF: die after half of it. */
static inline fault fault_point(bool divisible) {
    if (!faults.on) return NONE;
    while (atomic_load(&faults.dead)) pause(); /* somebody dies */
    long n = atomic_fetch_add(faults.calls, 1) + 1;
    if (n == faults.die_at) {
        if (divisible && fault_draw() % 2) return HALF;
        fault_die();
    }
    if (faults.refuse_at && (n == faults.refuse_at || (faults.refuse_on && n > faults.refuse_at))) {
        errno = ENOSPC;
        return REFUSED;
    }
    return NONE;
}

static inline bool is_file(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 && S_ISREG(s.st_mode);
}

/* How much of it is done; 0: none, it is interrupted. */
static inline size_t shortened(size_t n) {
    if (!faults.on || !faults.shortens || !n) return n;
    uint64_t r = fault_draw();
    if (r % 8 == 0) return 0;
    return r % 8 < 3 ? 1 + (r >> 8) % n : n;
}

static inline ssize_t interrupted(void) {
    errno = EINTR;
    return -1;
}

static inline ssize_t write_at(int fd, const void *p, size_t n, off_t at) {
    return at < 0 ? syscall(SYS_write, fd, p, n) : syscall(SYS_pwrite64, fd, p, n, at);
}

static inline ssize_t faulty_write(int fd, const void *p, size_t n, off_t at) {
    if (!faults.on || !is_file(fd)) return write_at(fd, p, n, at);
    size_t some = shortened(n);
    if (!some && n) return interrupted();
    off_t from = at < 0 ? lseek(fd, 0, SEEK_CUR) : at;
    fault f = fault_point(true);
    if (f == REFUSED) return -1;
    dirty_add(fd, from);
    ssize_t done = write_at(fd, p, f == HALF ? n / 2 : some, at);
    if (f == HALF) fault_die();
    return done;
}

ssize_t write(int fd, const void *p, size_t n) { return faulty_write(fd, p, n, -1); }
ssize_t pwrite(int fd, const void *p, size_t n, off_t at) { return faulty_write(fd, p, n, at); }

static inline int faulty_sync(int fd, long call) {
    if (fault_point(false) == REFUSED) return -1;
    if (faults.on) dirty_drop(fd);
    return (int)syscall(call, fd);
}
int fsync(int fd) { return faulty_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return faulty_sync(fd, SYS_fdatasync); }

int rename(const char *from, const char *to) {
    return fault_point(false) == REFUSED ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
int renameat(int a, const char *from, int b, const char *to) {
    return fault_point(false) == REFUSED ? -1 : (int)syscall(SYS_renameat2, a, from, b, to, 0);
}
int unlink(const char *path) { return fault_point(false) == REFUSED ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) {
    return fault_point(false) == REFUSED ? -1 : (int)syscall(SYS_unlinkat, at, path, flags);
}
int mkdir(const char *path, mode_t mode) {
    return fault_point(false) == REFUSED ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

static inline int faulty_open(int at, const char *path, int flags, mode_t mode) {
    if ((flags & O_CREAT) && fault_point(false) == REFUSED) return -1;
    return (int)syscall(SYS_openat, at, path, flags, mode);
}
#define MODE_OF(flags)                                                                                                     \
    mode_t mode = 0;                                                                                                       \
    if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) {                                                       \
        va_list list;                                                                                                      \
        va_start(list, flags);                                                                                             \
        mode = (mode_t)va_arg(list, int);                                                                                  \
        va_end(list);                                                                                                      \
    }
int open(const char *path, int flags, ...) {
    MODE_OF(flags)
    return faulty_open(AT_FDCWD, path, flags, mode);
}
int openat(int at, const char *path, int flags, ...) {
    MODE_OF(flags)
    return faulty_open(at, path, flags, mode);
}

/* ---- calls that get something ---- */

/* What becomes of a call on a socket: -1 with errno, or how much of n bytes. */
static inline ssize_t on_socket(int fd, size_t n, bool sends) {
    if (!faults.on || !n) return (ssize_t)n;
    uint64_t r = fault_draw();
    if (r % 65536 < faults.resets) {
        shutdown(fd, SHUT_RDWR);
        errno = ECONNRESET;
        return -1;
    }
    if ((r >> 16) % 256 >= faults.nets) return (ssize_t)n;
    size_t some = r >> 63 && n > 100 ? 100 : n;
    switch ((r >> 32) % 4) {
    case 0: return interrupted();
    case 1:
        if (!sends) return 1; /* what is there can be read */
        errno = EAGAIN;
        return -1;
    case 2: return 1;
    default: return (ssize_t)(1 + (r >> 40) % some);
    }
}

static inline bool is_socket(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 && S_ISSOCK(s.st_mode);
}

static inline ssize_t amount_to_read(int fd, size_t n) {
    if (!faults.on) return (ssize_t)n;
    if (is_socket(fd)) return on_socket(fd, n, false);
    if (!is_file(fd)) return (ssize_t)n;
    size_t some = shortened(n);
    return some || !n ? (ssize_t)some : interrupted();
}

ssize_t read(int fd, void *p, size_t n) {
    ssize_t some = amount_to_read(fd, n);
    return some < 0 ? some : syscall(SYS_read, fd, p, (size_t)some);
}
ssize_t pread(int fd, void *p, size_t n, off_t at) {
    ssize_t some = amount_to_read(fd, n);
    return some < 0 ? some : syscall(SYS_pread64, fd, p, (size_t)some, at);
}
ssize_t recv(int fd, void *p, size_t n, int flags) {
    ssize_t some = flags & MSG_PEEK ? (ssize_t)n : on_socket(fd, n, false);
    return some < 0 ? some : syscall(SYS_recvfrom, fd, p, (size_t)some, flags, NULL, NULL);
}
ssize_t send(int fd, const void *p, size_t n, int flags) {
    ssize_t some = on_socket(fd, n, true);
    return some < 0 ? some : syscall(SYS_sendto, fd, p, (size_t)some, flags, NULL, 0);
}

/* The first `some` bytes of v, in `cut`; how many of its parts that are. */
static inline int cut_parts(const struct iovec *v, int n, size_t some, struct iovec *cut) {
    int parts = 0;
    for (; parts < n && some; some -= cut[parts++].iov_len)
        cut[parts] = (struct iovec){v[parts].iov_base, v[parts].iov_len < some ? v[parts].iov_len : some};
    return parts;
}

static inline size_t parts_bytes(const struct iovec *v, size_t n) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += v[i].iov_len;
    return bytes;
}

enum { PARTS_MAX = 1024 };

ssize_t readv(int fd, const struct iovec *v, int n) {
    struct iovec cut[PARTS_MAX];
    ssize_t some = amount_to_read(fd, parts_bytes(v, (size_t)n));
    return some < 0 ? some : syscall(SYS_readv, fd, cut, cut_parts(v, n, (size_t)some, cut));
}
ssize_t sendmsg(int fd, const struct msghdr *m, int flags) {
    struct iovec cut[PARTS_MAX];
    ssize_t some = on_socket(fd, parts_bytes(m->msg_iov, m->msg_iovlen), true);
    if (some < 0) return some;
    struct msghdr less = *m;
    less.msg_iov = cut;
    less.msg_iovlen = (size_t)cut_parts(m->msg_iov, (int)m->msg_iovlen, (size_t)some, cut);
    return syscall(SYS_sendmsg, fd, &less, flags);
}

int accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags) {
    uint64_t r = faults.on ? fault_draw() : UINT64_MAX;
    if (r % 256 < faults.nets) {
        /* Who cannot be accepted at the end of a run is lost. */
        errno = faults.resets && (r >> 8) % 8 == 0 ? EMFILE : (r >> 8) % 2 ? EINTR : ECONNABORTED;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, address, bytes, flags);
}
int epoll_pwait2(int fd, struct epoll_event *events, int n, const struct timespec *timeout, const sigset_t *mask) {
    if (faults.on && fault_draw() % 256 < faults.nets) return (int)interrupted();
    return (int)syscall(SYS_epoll_pwait2, fd, events, n, timeout, mask, sizeof(uint64_t));
}

/* ---- clocks ---- */

/* The wall clock leaps by hours, both ways. The steady one never goes back, but may be seen to stand still for a while. */
int clock_gettime(clockid_t id, struct timespec *out) {
    static atomic_llong shown;
    int failed = (int)syscall(SYS_clock_gettime, id, out);
    if (failed || !faults.on || !faults.clocks) return failed;
    long long ns = out->tv_sec * 1000000000ll + out->tv_nsec;
    bool jumps = fault_draw() % 256 < faults.clocks;
    if (id == CLOCK_REALTIME) {
        if (jumps) atomic_store(&faults.real_leap_ns, (long long)(fault_draw() % 7200000000000ull) - 3600000000000ll);
        ns += atomic_load(&faults.real_leap_ns);
    } else if (id == CLOCK_MONOTONIC) {
        long long before = atomic_load(&shown);
        if (jumps && before && ns - before < 3000000) ns = before; /* for 3 ms at most */
        while (ns > before && !atomic_compare_exchange_weak(&shown, &before, ns)) {}
        if (ns < before) ns = before;
    }
    *out = (struct timespec){ns / 1000000000, ns % 1000000000};
    return 0;
}

#endif
