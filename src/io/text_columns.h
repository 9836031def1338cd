/* text_columns.h: fields of text -> a column of one type, a column at a time. */
#ifndef IO_TEXT_COLUMNS_H
#define IO_TEXT_COLUMNS_H

#include "data/batch.h"
#include "io/csv_rows.h"

/* A value that its column can't hold. */
typedef struct misfit {
    uint32_t row; /* of text_rows; at most one for each */
    uint32_t column;
    uint32_t begin, end; /* in the text, without quotes */
    bool out_of_range;
    bool broken; /* text that is no UTF-8 */
} misfit;

/* Start with zeroes; free `items` with free. */
typedef struct misfits {
    misfit *items;
    uint32_t n, capacity;
} misfits;

typedef struct text_column {
    uint32_t field;  /* offset from text_rows.first */
    uint32_t column; /* for misfits */
    const type *type;
    bool last;       /* a CR at its end does not count */
    bool valid_text; /* the whole text is UTF-8 */
} text_column;

bool text_column_can_read(const type *t);
/* An empty unquoted field is null. `owner` keeps the text alive. What does not fit is added to `bad` and
 * its value is undefined. */
tw_status text_column_read(memory *m, const text_rows *rows, const text_column *what, buffer *owner,
                           column *out, misfits *bad, tw_error *err);

#endif
