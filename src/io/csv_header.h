/* csv_header.h: the first record of a CSV file as names. */
#ifndef IO_CSV_HEADER_H
#define IO_CSV_HEADER_H

#include "io/format.h"

typedef struct csv_names {
    uint32_t n;
    char **names;
} csv_names;

/* The names in the record that `text` begins with. One without a name is c0, c1, ... by its place; of
 * equal ones the later get _2, _3, ... Bad quotes and broken UTF-8 are TW_ERR_DATA. */
tw_status csv_names_read(const format *f, const uint8_t *text, size_t size, csv_names *out, tw_error *err);
void csv_names_free(csv_names *n);

#endif
