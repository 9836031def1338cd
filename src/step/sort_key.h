/* sort_key.h: the order of rows: normalised keys that compare as numbers, and full comparison.
 *
 * A code turns the keys of a row, as far as they fit, into a number of 128 bits, so that a smaller one
 * stands before a greater one in the sorted order. It is a row of pieces, the first in the highest bits:
 * one bit that says null (so nulls come last), then the value with its sign flipped; of a string its
 * first bytes and 4 bits that say how many there were, or that there are more. A descending piece has
 * all but the null bit inverted. Only equal numbers that are not whole leave something to compare.
 *
 * -0.0 is equal to 0.0. NaN stands after all numbers and before null, also when descending.
 * Blasgen, Casey and Eswaran, "An encoding method for multifield sorting and indexing", 1977. */
#ifndef STEP_SORT_KEY_H
#define STEP_SORT_KEY_H

#include "data/rows.h"

typedef unsigned __int128 sort_number;

enum { SORT_KEYS_MAX = 256 };

typedef struct sort_key {
    const type *type;
    uint32_t column; /* of the input */
    bool descending;
} sort_key;

/* Not vectors, lists and sparse. */
bool sort_key_allowed(const type *t);

/* Where the keys lie in rows of some layout. */
typedef struct sort_place {
    const row_layout *layout;
    const uint32_t *fields; /* of each key */
} sort_place;

typedef struct sort_piece {
    uint32_t key;
    uint32_t bits;
    uint32_t shift;   /* of its lowest bit */
    uint32_t bytes;   /* of a string */
    /* Only of the first piece, a string: bytes that an earlier code has taken; or bytes that most of the
     * strings begin with, which are left out: 2 bits say whether this one stands before those that do,
     * does, or stands behind them. */
    uint32_t offset, common;
    bool has_null_bit;
} sort_piece;

enum { SORT_PIECES_MAX = 64, SORT_COMMON_MAX = 128 };

typedef struct sort_code {
    const sort_key *keys;
    uint32_t n_keys;
    uint32_t next_key; /* the first that has no piece; n_keys: none */
    uint32_t n;
    sort_piece pieces[SORT_PIECES_MAX];
    uint8_t common[SORT_COMMON_MAX];
} sort_code;

/* A code for the keys from `first_key` on, of which (a string) `offset` bytes are known to be equal;
 * offset 0: nothing of it is known. The keys must outlive the code. */
void sort_code_make(const sort_key *keys, uint32_t n_keys, uint32_t first_key, uint32_t offset,
                    sort_code *out);
/* A code for all keys, the first of which is a string that mostly begins with these bytes, at most
 * SORT_COMMON_MAX. */
void sort_code_make_common(const sort_key *keys, uint32_t n_keys, const uint8_t *common, uint32_t size,
                           sort_code *out);
/* Whether every number is whole. */
bool sort_code_is_fixed(const sort_code *c);
/* Whether rows with this number have equal keys. */
bool sort_code_is_whole(const sort_code *c, sort_number number);
/* Where a code must go on for rows that all have this number, which is not whole. */
void sort_code_rest(const sort_code *c, sort_number number, uint32_t *key, uint32_t *offset);

/* Values of one key for the rows i < n: at values + i * step. */
typedef struct sort_values {
    const uint8_t *values;
    size_t step;
    const uint64_t *bitmap;     /* of a column; NULL: none is null, or see valid_byte */
    const uint8_t *valid_byte;  /* of encoded rows: bit valid_shift of valid_byte[i * step] */
    uint32_t valid_shift;
} sort_values;

/* values[k] for each key k. From the columns of a batch, or from rows side by side. */
void sort_values_of_columns(const sort_key *keys, uint32_t n_keys, const column *columns,
                            sort_values *values);
void sort_values_of_rows(const sort_place *place, uint32_t n_keys, const uint8_t *rows,
                         sort_values *values);
void sort_code_encode(const sort_code *c, const sort_values *values, uint32_t n, sort_number *out);

/* The order of the keys of two rows: below 0, 0, above 0. Keys before first_key are known to be equal. */
int sort_compare(const sort_key *keys, uint32_t n_keys, uint32_t first_key, const sort_place *place_a,
                 const uint8_t *a, const sort_place *place_b, const uint8_t *b);

#endif
