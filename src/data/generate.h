/* generate.h: made-up data for tests and measurements, of seven kinds, byte-exact.
 *
 * The same kind, options and seed give the same bytes on every machine and with any number of
 * threads: the output is cut into chunks, and a chunk is a pure function of options and its index.
 * Only integer arithmetic and + - * / sqrt of IEEE doubles are used, never libm or contraction.
 *
 * Two ways to use a `generate`: as bytes, chunk by chunk (the natural file: lines, records, CSV,
 * edges), and as typed columns; both give exactly the same values.
 *
 *   generate_options options;
 *   TRY(generate_options_default("points", &options, err));
 *   TRY(generate_options_set(&options, "rows", "1000", err));
 *   TRY(generate_create(&options, &g, err));
 *   for (uint64_t c = 0; c < generate_chunks(g); c++) TRY(generate_chunk_bytes(g, c, ...));
 *   generate_free(g);
 *
 * A `generate` never changes after generate_create: any number of threads may use it at once. */
#ifndef DATA_GENERATE_H
#define DATA_GENERATE_H

#include "thalweg/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GENERATE_ROWS_MAX (INT64_C(1) << 50)
#define GENERATE_BYTES_MAX (INT64_C(1) << 60)
#define GENERATE_OPTIONS_MAX 8

/* ---- the kinds and their options: help, the command and the source come from this table ---- */

typedef enum generate_option_type {
    GENERATE_INTEGER, /* a count */
    GENERATE_NUMBER,  /* a float64 */
    GENERATE_SIZE,    /* bytes; as text by parse_size_bytes */
    GENERATE_DURATION /* microseconds; as text by parse_duration_us */
} generate_option_type;

typedef struct generate_option {
    const char *name; /* with `_`; generate_options_set also takes `-` */
    generate_option_type type;
    const char *default_text;
    int64_t least, greatest; /* both allowed */
    int64_t bare_unit;       /* GENERATE_DURATION: what a number without unit counts; 0: refused */
    const char *help;        /* one line */
} generate_option;

typedef struct generate_kind {
    const char *name;
    const char *format;  /* the format that reads its bytes: lines, records, csv, edges */
    const char *columns; /* for help, as "y, x0, x1, ..." */
    const char *help;    /* one line */
    const generate_option *options;
    size_t option_count;
} generate_kind;

/* All kinds, in the order of help. Static storage. */
const generate_kind *generate_kinds(size_t *count);
/* NULL if there is none of that name. */
const generate_kind *generate_kind_find(const char *name);

typedef union generate_value {
    int64_t integer; /* GENERATE_INTEGER, GENERATE_SIZE (bytes), GENERATE_DURATION (microseconds) */
    double number;   /* GENERATE_NUMBER */
} generate_value;

/* A kind and a value for each of its options. A plain value: copy it freely. */
typedef struct generate_options {
    const generate_kind *kind;
    generate_value values[GENERATE_OPTIONS_MAX]; /* in the order of kind->options */
} generate_options;

/* Fills in a kind's defaults. TW_ERR_JOB: no such kind. */
tw_status generate_options_default(const char *kind, generate_options *options, tw_error *err);
/* Sets one option from its text. TW_ERR_JOB: unknown name, malformed or out of range. */
tw_status generate_options_set(generate_options *options, const char *name, const char *text,
                               tw_error *err);
/* The same with a value already read. */
tw_status generate_options_set_value(generate_options *options, const char *name,
                                     generate_value value, tw_error *err);
/* Asks for as many rows (or bytes) as the kind can give, for a source that never ends; what other
 * options need must be set before. TW_ERR_JOB: `graph`, whose size is its scale. */
tw_status generate_options_endless(generate_options *options, tw_error *err);

/* ---- a generator ---- */

typedef struct generate generate;

/* TW_ERR_JOB: options that do not go together. The caller frees. */
tw_status generate_create(const generate_options *options, generate **out, tw_error *err);
void generate_free(generate *g); /* NULL is allowed */

typedef enum generate_column_type {
    GENERATE_COLUMN_INT64,
    GENERATE_COLUMN_FLOAT64,
    GENERATE_COLUMN_TIMESTAMP, /* int64, microseconds since 1970 UTC */
    GENERATE_COLUMN_STRING,
    GENERATE_COLUMN_BINARY
} generate_column_type;

typedef struct generate_column {
    char name[16];
    generate_column_type type;
} generate_column;

size_t generate_columns(const generate *g);
generate_column generate_column_at(const generate *g, size_t index); /* index < generate_columns */

/* Rows in all; for `text`, whose size is in bytes, UINT64_MAX. */
uint64_t generate_rows_total(const generate *g);
/* Bytes in all, with the header; UINT64_MAX where only making them tells (CSV, edges). */
uint64_t generate_bytes_total(const generate *g);

/* ---- as bytes: header, then the chunks in order ---- */

/* The CSV header line with its LF, to be freed by the caller with free(); *size 0 and *header NULL
 * where the kind has none. */
tw_status generate_header(const generate *g, char **header, size_t *size, tw_error *err);

uint64_t generate_chunks(const generate *g);
/* What `out` of generate_chunk_bytes must hold: about 256 KiB, more only for one long row. */
size_t generate_chunk_bytes_max(const generate *g);
/* Writes chunk `chunk` (whole rows) to `out`. TW_ERR_INTERNAL: no such chunk, `capacity` too small. */
tw_status generate_chunk_bytes(const generate *g, uint64_t chunk, uint8_t *out, size_t capacity,
                               size_t *size, tw_error *err);
/* The rows [first, first + count) that chunk holds; for `text` count is 0 (unknown until made). */
void generate_chunk_range(const generate *g, uint64_t chunk, uint64_t *first, size_t *count);

/* Takes bytes; called by one thread at a time, in order. */
typedef tw_status (*generate_put)(void *context, const uint8_t *bytes, size_t size, tw_error *err);
/* As generate_write, to `put`. */
tw_status generate_write_to(const generate *g, generate_put put, void *context, unsigned threads,
                            const atomic_bool *cancel, uint64_t *bytes, tw_error *err);
/* Header and all chunks to a file descriptor, made by `threads` threads (0 counts as 1), written in
 * order. `*bytes` (may be NULL) is what was written. `cancel` (may be NULL) is looked at between
 * chunks: TW_ERR_CANCELLED. */
tw_status generate_write(const generate *g, int fd, unsigned threads, const atomic_bool *cancel,
                         uint64_t *bytes, tw_error *err);

/* ---- as columns ---- */

/* points, linear, graph, events: the values of rows [first, first + count), any range.
 * columns[c] is int64_t[count] or double[count] by the column's type, or NULL if it is not wanted.
 * TW_ERR_INTERNAL: a kind of bytes, rows past the end. */
tw_status generate_values(const generate *g, uint64_t first, size_t count, void *const *columns,
                          tw_error *err);

/* text, records, messages: where the values of one column lie in a chunk's bytes. */
typedef struct generate_slice {
    uint32_t offset, length;
} generate_slice;

/* Appends up to `slices_max` slices of `column`, from *position in the chunk on (0 at the start),
 * and moves *position behind them; *count of them were found, 0 at the chunk's end. */
tw_status generate_slices(const generate *g, size_t column, const uint8_t *chunk, size_t size,
                          size_t *position, generate_slice *slices, size_t slices_max,
                          size_t *count, tw_error *err);

/* ---- what is behind the numbers, for checks ---- */

/* linear: y = coefficient(0) + sum of coefficient(i + 1) * x_i + noise. 0.0 for other kinds. */
double generate_coefficient(const generate *g, size_t term);
/* points: a cluster's center in a column, about which values lie with deviation 1. */
double generate_center(const generate *g, uint64_t cluster, size_t column);
/* points: the cluster a row was drawn from. */
uint64_t generate_cluster(const generate *g, uint64_t row);
/* text: the word of a frequency rank (from 1, below 2^32), 3 to 12 lower-case letters, the same for
 * every seed; distinct ranks give distinct words. Returns its length, does not end it with a 0. */
#define GENERATE_WORD_MAX 12
size_t generate_word(uint32_t rank, char word[GENERATE_WORD_MAX]);

#endif
