/* limits.c: what this machine can do at best, as JSON: memory read and triad with two threads (McCalpin,
 * STREAM, 1995), disk write and read past the page cache.
 *
 *   limits FILE_FOR_THE_DISK DISK_MIB */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 2, ROUNDS = 7, BLOCK = 8 << 20 };
static const size_t numbers = (size_t)32 << 20; /* doubles a thread and array: 256 MiB */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef struct part {
    double *a, *b, *c;
    double sum;
    int triad;
    pthread_barrier_t *barrier;
} part;

static void *work(void *argument) {
    part *p = argument;
    for (size_t i = 0; i < numbers; i++) p->a[i] = 1, p->b[i] = 2, p->c[i] = 3;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(p->barrier);
        if (p->triad) {
            for (size_t i = 0; i < numbers; i++) p->a[i] = p->b[i] + 3.0 * p->c[i];
        } else {
            double s[16] = {0};
            for (size_t i = 0; i < numbers; i += 16)
                for (int j = 0; j < 16; j++) s[j] += p->a[i + (size_t)j];
            for (int j = 0; j < 16; j++) p->sum += s[j];
        }
        pthread_barrier_wait(p->barrier);
    }
    return NULL;
}

/* GB/s, the best of the rounds. */
static double memory(int triad) {
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    part parts[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        parts[i] = (part){malloc(numbers * 8), malloc(numbers * 8), malloc(numbers * 8), 0, triad, &barrier};
        if (!parts[i].a || !parts[i].b || !parts[i].c) exit(1);
        pthread_create(&threads[i], NULL, work, &parts[i]);
    }
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&barrier);
        double start = now();
        pthread_barrier_wait(&barrier);
        double seconds = now() - start;
        if (seconds < best) best = seconds;
    }
    double kept = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        kept += parts[i].sum;
        free(parts[i].a);
        free(parts[i].b);
        free(parts[i].c);
    }
    if (kept < 0) puts("");
    return THREADS * (double)numbers * 8 * (triad ? 3 : 1) / best / 1e9;
}

/* GB/s of one pass over a file of `mib` MiB, O_DIRECT where the file system has it. */
static double disk(const char *path, long mib, int write_it) {
    int flags = write_it ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY;
    int fd = open(path, flags | O_DIRECT, 0600);
    if (fd < 0) fd = open(path, flags, 0600);
    if (fd < 0) return 0;
    void *block;
    if (posix_memalign(&block, 4096, BLOCK)) exit(1);
    memset(block, 7, BLOCK);
    double start = now();
    for (long done = 0; done < mib; done += BLOCK >> 20) {
        ssize_t n = write_it ? write(fd, block, BLOCK) : read(fd, block, BLOCK);
        if (n != BLOCK) {
            close(fd);
            return 0;
        }
    }
    if (write_it) fsync(fd);
    double seconds = now() - start;
    close(fd);
    free(block);
    return (double)mib * 1048576 / seconds / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    long mib = atol(argv[2]);
    double read_rate = memory(0), triad_rate = memory(1);
    double written = disk(argv[1], mib, 1), was_read = disk(argv[1], mib, 0);
    unlink(argv[1]);
    printf("{\"memory_read\": %.2f, \"memory_triad\": %.2f, \"disk_write\": %.2f, \"disk_read\": %.2f}\n", read_rate,
           triad_rate, written, was_read);
    return 0;
}
