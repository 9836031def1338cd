/* http_source.h: the connections of the source `http`, for its fuzz target. */
#ifndef IO_HTTP_SOURCE_H
#define IO_HTTP_SOURCE_H

#include "io/live_source.h"

extern const connection_class http_connection_class;

#endif
