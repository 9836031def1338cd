/* sort_split.h: a sample of the rows to sort, and the splitters that it gives, which cut the sorted
 * order into ranges. All rows differ, for the last thing compared is their position: so one key that is
 * half of the data, and even all of it, is cut into ranges like any other. */
#ifndef STEP_SORT_SPLIT_H
#define STEP_SORT_SPLIT_H

#include <pthread.h>

#include "step/sort_key.h"

/* What all parts of one sort share; the code changes once, when the stage is cut. */
typedef struct sort_order {
    const sort_key *keys;
    uint32_t n_keys;
    sort_code code;
    sort_place rows;    /* of the collected rows; the header is the position */
    sort_place samples; /* of rows with the keys alone */
} sort_order;

typedef struct sort_sample {
    sort_number number;
    uint64_t position;
    uint64_t tag;  /* random: which half leaves when there are too many */
    uint8_t *row;  /* its keys, with malloc, strings cut; NULL: all numbers are whole */
} sort_sample;

typedef struct sort_samples {
    const sort_order *order;
    pthread_mutex_t lock;
    sort_sample *items;
    uint32_t n, capacity;
    size_t bytes, bytes_max;
    bool sorted, exact; /* exact: strings are not cut */
    atomic_uint level; /* one row in 2^level is taken */
} sort_samples;

void sort_samples_init(sort_samples *s, const sort_order *order, size_t bytes_max);
void sort_samples_free(sort_samples *s);
/* Offers the rows of a batch; any number of threads. columns: those of the keys, in their order. */
tw_status sort_samples_add(sort_samples *s, uint64_t position, const column *columns,
                           const sort_number *numbers, uint32_t n, tw_error *err);
/* The same for rows that are encoded, all of which are taken. */
tw_status sort_samples_add_row(sort_samples *s, const uint8_t *row, tw_error *err);
/* Chooses a code for what has been sampled: long strings that begin alike go by what follows. Gives the
 * samples their new numbers. Nobody else may be using the order. */
void sort_samples_choose_code(sort_samples *s, sort_order *o);

/* Splitters: range i holds the rows from splitter i - 1 on and before splitter i. Immutable. */
typedef struct sort_splitters sort_splitters;

/* At most n_ranges, and fewer when there are few samples, for the rows from `from` on and before `to`
 * (NULL: no bound). */
tw_status sort_samples_split(sort_samples *s, const sort_sample *from, const sort_sample *to,
                             uint32_t n_ranges, sort_splitters **out, tw_error *err);
void sort_splitters_free(sort_splitters *s);
uint32_t sort_splitters_ranges(const sort_splitters *s);
const sort_sample *sort_splitter(const sort_splitters *s, uint32_t i);
/* to[i]: the range of row i, by its number alone. Rows for which that is not enough are listed in
 * `unclear` (room for n), and sort_splitters_place decides from to[i]. Returns how many. */
uint32_t sort_splitters_route(const sort_splitters *s, const sort_number *numbers, uint32_t n,
                              uint32_t *to, uint32_t *unclear);
/* row: its keys, laid out as `place` says; NULL when the number is whole. */
uint32_t sort_splitters_place(const sort_splitters *s, uint32_t to, uint64_t position,
                              const sort_place *place, const uint8_t *row);

#endif
