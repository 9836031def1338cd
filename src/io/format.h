/* format.h: what a format is once its options are read, and the contract of a decoder: bytes that hold
 * whole records -> batches. The file source, message sources and the step `parse` all read through it. */
#ifndef IO_FORMAT_H
#define IO_FORMAT_H

#include "engine/bad_records.h"
#include "engine/descriptor.h"

/* kind, name, path ending (without compression); of two lines with one kind the first names it */
#define FORMAT_TABLE(X)                                                                                \
    X(FORMAT_LINES, "lines")                                                                           \
    X(FORMAT_CSV, "csv")                                                                               \
    X(FORMAT_JSON, "json")                                                                             \
    X(FORMAT_RECORDS, "records")                                                                       \
    X(FORMAT_BINARY, "binary")                                                                         \
    X(FORMAT_LIBSVM, "libsvm")                                                                         \
    X(FORMAT_EDGES, "edges")                                                                           \
    X(FORMAT_PARQUET, "parquet")                                                                       \
    X(FORMAT_ARROW, "arrow")

typedef enum format_kind {
#define X(kind, name) kind,
    FORMAT_TABLE(X)
#undef X
        FORMAT_KINDS
} format_kind;

extern const char *const format_names[FORMAT_KINDS + 1]; /* NULL at the end, for OPTION_ENUM */

/* The options that say how to read, for the option table of a connector. */
#define FORMAT_OPTIONS                                                                                 \
    {"format", OPTION_ENUM, .values = format_names, .default_note = "by the path's ending, else lines", \
     .help = "how the bytes make records"},                                                            \
    {"columns", OPTION_ANY,                                                                            \
     .help = "names and types; for records names and [offset, length]"},                               \
    {"header", OPTION_BOOL, .default_text = "true", .help = "csv: the first record names the columns"}, \
    {"delimiter", OPTION_STRING, .default_note = "','", .help = "csv: one byte between fields"},       \
    {"quote", OPTION_STRING, .default_note = "'\"'", .help = "csv: one byte, or '' for none"},         \
    {"length", OPTION_SIZE, .min = 1, .max = 1 << 30, .help = "records: bytes in each"}

/* One entry of `columns`. */
typedef struct format_column {
    char *name;
    const type *type;        /* FORMAT_RECORDS: TYPE_BINARY */
    uint32_t offset, length; /* FORMAT_RECORDS */
} format_column;

/* Immutable once its schema is known; shared by all threads. */
typedef struct format {
    format_kind kind;
    bool header;
    uint8_t delimiter;
    uint8_t quote;           /* 0: none */
    uint32_t record_bytes;   /* FORMAT_RECORDS */
    uint32_t n_columns;
    format_column *columns;  /* as the job gave them; NULL: not given */
    schema *schema;          /* what a decoder gives; NULL until known */
    char *header_file;       /* CSV: whose header the schema comes from; NULL: none's */
    bool *inferred;          /* schema->n: whether the type came from a sample */
    uint64_t sampled_rows;   /* how many rows it had */
} format;

/* Reads FORMAT_OPTIONS. Without the option `format` the paths' endings say it (they must agree), and
 * `fallback` if none does. Whatever needs no look at data is checked; the schema may be NULL still.
 * TW_ERR_JOB: what is wrong is in `errors`. */
tw_status format_from_args(error_list *errors, const args *a, const char *const *paths, size_t n_paths,
                           format_kind fallback, format *out, tw_error *err);
/* Whether a column of that type can be read from this format. */
bool format_can_read(format_kind kind, const type *t);
/* Makes the schema of the columns that the job gives, where it is not known: for rows that are yet to come. */
tw_status format_schema_of_columns(format *f, tw_error *err);
void format_free(format *f); /* what it holds, not itself */
/* The kind that a path's ending says, compression endings aside; FORMAT_KINDS: none. */
format_kind format_of_path(const char *path);

/* How records are told apart. */
typedef enum framing {
    FRAMING_LINES,  /* end at LF */
    FRAMING_QUOTED, /* end at LF outside quotes */
    FRAMING_FIXED,  /* record_bytes each */
    FRAMING_WHOLE   /* the whole file or message is one */
} framing;
framing format_framing(const format *f);

/* ---- CSV headers ---- */

/* Where the columns of the schema stand in one file; made from its header. */
typedef struct csv_layout {
    bool same;       /* field i is column i */
    uint32_t field[]; /* schema->n */
} csv_layout;

/* `text` begins with the header record (after a byte order mark, if any). A header with other columns
 * than the schema is TW_ERR_DATA. `size` must hold the whole record or all of the file. */
tw_status csv_layout_from_header(const format *f, const uint8_t *text, size_t size, csv_layout **out,
                                 tw_error *err);
/* The bytes of a file's first record with its line end; `size` if there is none. */
size_t csv_header_size(const format *f, const uint8_t *text, size_t size);
/* Bytes of a UTF-8 byte order mark: 3 or 0. */
size_t byte_order_mark(const uint8_t *text, size_t size);

/* ---- decoders ---- */

/* Bytes that hold whole records; the last one may lack its end. */
typedef struct span {
    buffer *owner;        /* keeps the bytes alive; batches take references of their own */
    const uint8_t *bytes; /* BUFFER_PADDING more can be read */
    size_t size;          /* below 2^30 */
} span;

/* Where a span stands, for messages, origins and row order. */
typedef struct span_place {
    const char *file;
    uint64_t first_record; /* of the span's first record, from 1; a CSV header is no record */
    uint64_t (*records_before)(const origin *o); /* see origin; NULL: first_record is exact */
    void (*retain)(const void *context), (*release)(const void *context); /* optional: for the origins of batches */
    const void *context;
    uint64_t split;
    uint64_t position;     /* of its first row */
    bool file_start;       /* a byte order mark and a header may stand here */
} span_place;

typedef struct decoder decoder;

/* `format`, `needed` (schema->n, NULL: all) and `run` must outlive it. One thread at a time. */
tw_status decoder_new(const format *f, run_context *run, const bool *needed, decoder **out, tw_error *err);
void decoder_free(decoder *d); /* NULL is allowed */
/* CSV: for the files that follow; NULL: as the schema. Must outlive its use. At a file_start with a
 * header the decoder makes one of its own. */
void decoder_set_layout(decoder *d, const csv_layout *layout);
/* Gives it the next bytes; those before must be used up. References the owner. */
void decoder_feed(decoder *d, const span *s, const span_place *place);
/* The next batch, at most run->batch_rows rows and about run->batch_bytes; TW_END when the span is used
 * up. Bad records go to bad_record. After TW_ERR_IO and TW_ERR_MEMORY it can be called again. */
tw_status decoder_next(decoder *d, batch **out, tw_error *err);
/* Lets go of the span. How many records and rows it had, so far. */
void decoder_drop(decoder *d);
uint64_t decoder_records(const decoder *d);
uint64_t decoder_rows(const decoder *d);

#endif
