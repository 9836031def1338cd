/* live_reader.h: readers of live sources: pieces of a connection -> batches. */
#ifndef IO_LIVE_READER_H
#define IO_LIVE_READER_H

#include "io/live_source.h"

typedef struct live_reader {
    reader base;
    live_source *source;
    connection *connection; /* NULL: handed back */
    piece piece;
    bool working;           /* on a piece */
    uint32_t done;          /* frames: rows given */
    uint32_t at;            /* frames: where the next begins */
    uint64_t record;        /* records of the connection before the piece */
    uint64_t rows;          /* given in this split */
    size_t taken_bytes;     /* in this split */
    uint64_t given_ns;      /* when the piece was cut */
    uint32_t *ends;
    decoder *decoder;
    char name[SOCKET_NAME_MAX];
    struct live_reader *next; /* idle ones */
} live_reader;

/* Takes an idle reader of the source, or makes one, for this connection, which becomes held. */
tw_status live_reader_open(live_source *s, connection *c, uint64_t split, live_reader **out, tw_error *err);
void live_reader_destroy(live_reader *r);

/* ---- what readers ask of the source ---- */

/* It is read no more for now: what comes next is told by the poller (or is there already, when the source
 * ends). */
void live_source_watch(live_source *s, connection *c);
/* There may be more: whoever has time reads it. */
void live_source_hand_back(live_source *s, connection *c);
/* There is no memory for it now. */
void live_source_later(live_source *s, connection *c);
void live_source_close(live_source *s, connection *c);
void live_source_take_reader(live_source *s, live_reader *r);

#endif
