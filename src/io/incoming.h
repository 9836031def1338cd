/* incoming.h: a connection whose messages are cut out of a stream of bytes: that of tcp and unix, and what others
 * build on. */
#ifndef IO_INCOMING_H
#define IO_INCOMING_H

#include "io/live_source.h"

typedef enum receive_mode {
    RECEIVE_CHUNK,  /* many messages, or what belongs to none yet */
    RECEIVE_LENGTH, /* after a long message: the next length alone */
    RECEIVE_DIRECT  /* a long message into its own buffer */
} receive_mode;

typedef struct incoming {
    connection base;
    receive_mode mode;
    buffer *in;          /* what is not given yet, from its front; NULL: nothing */
    size_t filled;
    size_t scanned;      /* bytes of it without the end of a message */
    bool quoted;         /* csv: the byte at `scanned` stands between quotes */
    bool begun;          /* a piece was given */
    bool ended;          /* the peer sends no more */
    size_t length;       /* direct: of the message */
    uint8_t header[LENGTH_BYTES];
    size_t header_bytes;
    size_t chunk_bytes;  /* to ask for: twice what came last */
    int low_water;       /* so many bytes make the socket readable */
    size_t trusted;      /* so large a buffer it may have at once */
} incoming;

extern const connection_class incoming_class;

#endif
