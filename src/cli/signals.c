#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

/* Whoever sends a signal to a process and to its group (timeout) means one. */
#define SAME_SIGNAL_NS 50000000

static volatile sig_atomic_t noted_most, came;
static struct timespec last; /* only the handler uses it, which does not interrupt itself */

static void on_signal(int number) {
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t since = (int64_t)(now.tv_sec - last.tv_sec) * 1000000000 + (now.tv_nsec - last.tv_nsec);
    if (came && since < SAME_SIGNAL_NS) return;
    last = now;
    if (came == noted_most) _exit(EXIT_INTERRUPTED);
    came++;
}

void signals_begin(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    struct sigaction before;
    /* One that is ignored (nohup, a background job of a shell) stays so. */
    const int ends[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++)
        if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(ends[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void signals_note(unsigned most) { noted_most = (sig_atomic_t)most; }
unsigned signals_came(void) { return (unsigned)came; }
