/* quantity.h: sizes, times and rates as people write them in job files and on command lines.
 * (Plain numbers: data/number_text.h.)
 *
 * Each reads the whole string and gives TW_ERR_JOB when it does not fit. The message says only what is
 * wrong ("unknown unit ..."), without the string, which may be a secret; the caller names it. */
#ifndef BASE_QUANTITY_H
#define BASE_QUANTITY_H

#include "base/error.h"

/* "64MiB", "1.5 GB", "100": KB MB GB TB are powers of 1000, KiB MiB GiB TiB of 1024, B or nothing is
 * bytes. A fraction of a byte is dropped. */
tw_status parse_size_bytes(const char *string, int64_t *out, tw_error *err);
/* "10ms", "1.5h": us, ms, s, m, h, d; always with a unit. A fraction of a microsecond is dropped. */
tw_status parse_duration_us(const char *string, int64_t *out, tw_error *err);
/* "1000/s", "0.5/m": how many per second; more than 0. */
tw_status parse_rate(const char *string, double *out, tw_error *err);

#endif
