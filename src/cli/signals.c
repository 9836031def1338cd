#include <stdbool.h>
#include <unistd.h>

#include "cli/cli.h"

static volatile sig_atomic_t noted_most, came;

static void on_signal(int number) {
    if (came == noted_most) _exit(EXIT_INTERRUPTED);
    came++;
}

void signals_begin(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
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
