/* network.h: a slow network: two namespaces of this process, a pair of interfaces between them, a token bucket at each end. */
#ifndef BENCH_NETWORK_H
#define BENCH_NETWORK_H

#include <stdint.h>

#include "base/error.h"

#define NETWORK_ENGINE "10.213.77.1"
#define NETWORK_SENDER "10.213.77.2"

typedef struct network {
    char engine[48], sender[48]; /* names of the namespaces */
} network;

/* rate as tc has it ("1.4Gbit"). TW_ERR_IO tells what the system said: it needs root, ip and tc. */
tw_status network_make(const char *rate, uint64_t delay_us, network *out, tw_error *err);
void network_remove(const network *n);
/* Moves the calling process, which has one thread, into a namespace. 0 or an errno. */
int network_enter(const char *name);

#endif
