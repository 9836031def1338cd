/* harmonicio_expected.h: messages that connectors have announced, by their MD5, and that have not come yet: what tells a
 * whole payload from a part of one, and whose it is where the payload comes alone. Thread-safe. */
#ifndef IO_HARMONICIO_EXPECTED_H
#define IO_HARMONICIO_EXPECTED_H

#include "base/md5.h"
#include "base/memory.h"

typedef struct expected expected;

tw_status expected_create(size_t bytes_max, expected **out, tw_error *err);
void expected_free(expected *e); /* NULL is allowed */

/* False: as many wait as there is room for; those that have waited for longer than `patience_ns` make room. */
bool expected_add(expected *e, const uint8_t digest[MD5_BYTES], const char *name, size_t name_bytes, uint64_t patience_ns);
/* One of this digest and, unless NULL, this name has come: no more expected. Its name, as a reference for the caller; NULL:
 * there is none. */
buffer *expected_take(expected *e, const uint8_t digest[MD5_BYTES], const void *name, size_t name_bytes);

#endif
