/* backoff.h: how long to wait before something is tried again. */
#ifndef IO_BACKOFF_H
#define IO_BACKOFF_H

#include <stdint.h>

/* From 10 ms on, doubled with each attempt (from 0) up to 2 s, of which half is by chance, so that those who
 * lost the same peer do not come back together. `random` is any state but 0. xorshift64*: Vigna, "An
 * experimental exploration of Marsaglia's xorshift generators", 2016. */
static inline uint64_t backoff_ns(unsigned attempt, uint64_t *random) {
    uint64_t most = attempt < 8 ? (uint64_t)10000000 << attempt : 2000000000u;
    *random ^= *random >> 12;
    *random ^= *random << 25;
    *random ^= *random >> 27;
    return most / 2 + (*random * 0x2545f4914f6cdd1dull >> 32) % (most / 2);
}

#endif
