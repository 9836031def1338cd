/* receiver.h: the simplest engine there can be: cuts frames where they were received, sends the heads of marked messages
 * back, burns a message's cost. It gives the network bound: what the connection and the cutting cost, and nothing else. */
#ifndef BENCH_RECEIVER_H
#define BENCH_RECEIVER_H

#include <stdint.h>

#include "base/error.h"

/* feed: HOST:PORT or a path to listen at, length-framed, for one connection at a time; results: HOST:PORT or a path to connect to. Ends when
 * the results' reader is gone. */
tw_status receiver_run(const char *feed, const char *results, uint64_t cost_ns, tw_error *err);

#endif
