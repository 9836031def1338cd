/* text_table.h: the first rows of a result as a table for a terminal: columns that line up, numbers to the
 * right, long texts cut. One thread at a time. */
#ifndef IO_TEXT_TABLE_H
#define IO_TEXT_TABLE_H

#include "base/text.h"
#include "data/batch.h"

typedef struct text_table text_table;

/* Keeps at most rows_max rows. References the schema. */
tw_status text_table_new(schema *s, uint32_t rows_max, text_table **out, tw_error *err);
void text_table_free(text_table *t); /* NULL is allowed */
/* Takes the rows it still has room for, and counts all. */
tw_status text_table_add(text_table *t, const batch *b, tw_error *err);
/* Appends the table, at most `width` terminal columns wide, and a line that counts the rows. */
tw_status text_table_print(const text_table *t, uint32_t width, bool styled, struct text *out, tw_error *err);

#endif
