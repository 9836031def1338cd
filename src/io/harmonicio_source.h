/* harmonicio_source.h: the connections of the source `harmonicio`, for its fuzz target. */
#ifndef IO_HARMONICIO_SOURCE_H
#define IO_HARMONICIO_SOURCE_H

#include "io/harmonicio_expected.h"
#include "io/harmonicio_pool.h"

/* What a listener is for. */
typedef enum port_kind { PORT_REST, PORT_QUEUE, PORT_DATA } port_kind;

typedef struct harmonicio {
    port_kind kinds[LISTENERS_MAX];
    expected *expected;      /* in the master's place; NULL: payloads are taken as they are */
    atomic_uint direct;      /* connections to the data port */
    pool *pool;              /* under a master */
    endpoint master;
    char *name, *host;
    uint32_t workers;
} harmonicio;

extern const connection_class harmonicio_class;

#endif
