/* stdout_sink.c: rows to standard output: as CSV in row order while the run goes on, or, when that is a
 * terminal, the first ones as a table when it is done. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/chunk_writer.h"
#include "io/connectors.h"
#include "io/output_file.h"
#include "io/text_table.h"

#define TABLE_ROWS_MAX 10000
#define TERMINAL_WIDTH 80

typedef struct stdout_sink {
    sink sink;
    schema *schema;
    encoder *encoder; /* NULL: a table */
    chunk_target target;
    int fd;
    bool own_fd, begun;
    uint32_t table_rows;
    text_table *table;
} stdout_sink;

/* A lane of the table has no chunks. */
typedef struct stdout_writer {
    sink_writer writer;
    chunk_writer *chunks;
} stdout_writer;

static stdout_sink *of(sink *s) { return (stdout_sink *)s; }

static tw_status write_out(stdout_sink *k, const void *bytes, size_t n, tw_error *err) {
    atomic_fetch_add(&k->target.run->bytes_out, n);
    return write_stream(k->fd, "standard output", bytes, n, k->target.run->cancelled, err);
}

static tw_status write_header(stdout_sink *k, tw_error *err) {
    buffer *bytes;
    size_t n;
    k->begun = true;
    TRY(chunk_file_start(&k->target, &bytes, &n, true, err));
    tw_status status = bytes ? write_out(k, bytes->data, n, err) : TW_OK;
    buffer_unref(bytes);
    return status;
}

/* ---- the sequencer's callbacks ---- */

static tw_status place_chunk(void *context, void *item, tw_error *err) {
    stdout_sink *k = context;
    chunk *c = item;
    tw_status status = k->begun ? TW_OK : write_header(k, err);
    if (status == TW_OK) status = write_out(k, c->bytes->data, c->size, err);
    if (status == TW_OK) atomic_fetch_add(&k->target.run->rows_out, c->rows);
    return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status;
}
static tw_status work_chunk(void *context, void *item, tw_error *err) {
    chunk_free(item);
    return TW_OK;
}
static void drop_chunk(void *context, void *item) { chunk_free(item); }

static tw_status place_rows(void *context, void *item, tw_error *err) {
    stdout_sink *k = context;
    atomic_fetch_add(&k->target.run->rows_out, ((batch *)item)->rows);
    tw_status status = text_table_add(k->table, item, err);
    return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status;
}
static tw_status work_rows(void *context, void *item, tw_error *err) {
    batch_unref(item);
    return TW_OK;
}
static void drop_rows(void *context, void *item) { batch_unref(item); }

/* ---- the sink ---- */

/* A pipe is opened anew, so that it can be written without blocking and its other users don't notice. */
static void choose_fd(stdout_sink *k) {
    struct stat info;
    k->fd = STDOUT_FILENO;
    if (fstat(STDOUT_FILENO, &info) != 0 || !S_ISFIFO(info.st_mode)) return;
    int fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    k->fd = fd;
    k->own_fd = true;
}

static tw_status stdout_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    stdout_sink *k = of(self);
    k->target = (chunk_target){.run = run, .encoder = k->encoder};
    choose_fd(k);
    if (fcntl(k->fd, F_GETFL) < 0) return error_io(err, errno, "cannot write standard output");
    if (!k->encoder) TRY(text_table_new(k->schema, k->table_rows, &k->table, err));
    sequencer_callbacks chunks = {.place = place_chunk, .work = work_chunk, .drop = drop_chunk, .context = k};
    sequencer_callbacks rows = {.place = place_rows, .work = work_rows, .drop = drop_rows, .context = k};
    return sequencer_create(run, n_inputs, self->order, chunk_pending_bytes_max(run), k->encoder ? chunks : rows,
                            &k->target.order, err);
}

static tw_status stdout_open(sink *self, sink_writer **out, tw_error *err) {
    stdout_writer *w = calloc(1, sizeof *w);
    if (!w) return error_set(err, TW_ERR_MEMORY, "out of memory for a writer");
    w->writer.sink = self;
    tw_status status = of(self)->encoder ? chunk_writer_new(&of(self)->target, &w->chunks, err) : TW_OK;
    if (status != TW_OK) {
        free(w);
        return status;
    }
    *out = &w->writer;
    return TW_OK;
}

static tw_status stdout_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    stdout_writer *s = (stdout_writer *)w;
    if (s->chunks) return chunk_writer_push(s->chunks, order, b, err);
    return sequencer_push(of(w->sink)->target.order, order, batch_ref(b), batch_bytes(b), err);
}
static tw_status stdout_end_split(sink_writer *w, const batch_order *order, tw_error *err) {
    stdout_writer *s = (stdout_writer *)w;
    if (s->chunks) return chunk_writer_end_split(s->chunks, order, err);
    return sequencer_end_split(of(w->sink)->target.order, order, err);
}
static bool stdout_ready(sink *self, const batch_order *order) {
    return sequencer_ready(of(self)->target.order, order);
}
static tw_status stdout_end_input(sink *self, uint32_t input, uint64_t n_splits, tw_error *err) {
    return sequencer_end_input(of(self)->target.order, input, n_splits, err);
}

static void stdout_drop(sink_writer *w) {
    chunk_writer_free(((stdout_writer *)w)->chunks);
    free(w);
}
static tw_status stdout_close(sink_writer *w, tw_error *err) {
    stdout_drop(w);
    return TW_OK;
}

static tw_status stdout_finish(sink *self, tw_error *err) {
    stdout_sink *k = of(self);
    return k->encoder && !k->begun ? write_header(k, err) : TW_OK;
}

static uint32_t terminal_width(void) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col) return size.ws_col;
    const char *columns = getenv("COLUMNS");
    long n = columns ? strtol(columns, NULL, 10) : 0;
    return n > 0 && n < 10000 ? (uint32_t)n : TERMINAL_WIDTH;
}

static bool terminal_has_styles(void) {
    const char *term = getenv("TERM"), *none = getenv("NO_COLOR");
    return term && strcmp(term, "dumb") != 0 && !(none && *none);
}

static tw_status stdout_commit(sink *self, tw_error *err) {
    stdout_sink *k = of(self);
    if (!k->table) return TW_OK;
    struct text t = {0};
    tw_status status = text_table_print(k->table, terminal_width(), terminal_has_styles(), &t, err);
    if (status == TW_OK) status = write_stream(k->fd, "standard output", t.bytes, t.length, NULL, err);
    text_free(&t);
    return status;
}

static void stdout_describe(const sink *self, char *out, size_t capacity) {
    const stdout_sink *k = (const stdout_sink *)self;
    if (k->encoder) snprintf(out, capacity, "csv, in row order");
    else snprintf(out, capacity, "a table of the first %u rows", k->table_rows);
}

static void stdout_free(sink *self) {
    stdout_sink *k = of(self);
    sequencer_free(k->target.order);
    text_table_free(k->table);
    encoder_free(k->encoder);
    schema_unref(k->schema);
    if (k->own_fd) close(k->fd);
    free(k);
}

static const sink_class stdout_class = {
    .start = stdout_start,
    .open = stdout_open,
    .push = stdout_push,
    .end_split = stdout_end_split,
    .ready = stdout_ready,
    .close = stdout_close,
    .drop = stdout_drop,
    .end_input = stdout_end_input,
    .finish = stdout_finish,
    .commit = stdout_commit,
    .describe = stdout_describe,
    .free = stdout_free,
};

static tw_status stdout_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    stdout_sink *k = calloc(1, sizeof *k);
    if (!k) return error_set(err, TW_ERR_MEMORY, "out of memory for a sink");
    k->sink = (sink){.class = &stdout_class, .name = "stdout"};
    k->schema = schema_ref(s);
    k->table_rows = (uint32_t)args_int(a, "rows");
    tw_status status = TW_OK;
    if (!isatty(STDOUT_FILENO)) {
        encode_options csv = encode_options_default(FORMAT_CSV);
        tw_error wrong;
        status = encoder_new(&csv, s, &k->encoder, &wrong);
        if (status == TW_ERR_JOB) status = error_list_add(plan_errors(b), args_place(a, "rows"), "%s", wrong.message);
        else if (status != TW_OK && err) *err = wrong;
    }
    if (status != TW_OK) {
        stdout_free(&k->sink);
        return status;
    }
    *out = &k->sink;
    return TW_OK;
}

static const option stdout_options[] = {
    {"rows", OPTION_INT, .default_text = "40", .min = 1, .max = TABLE_ROWS_MAX,
     .help = "on a terminal: how many rows the table shows"},
};

const sink_descriptor sink_stdout = {
    .descriptor = {.name = "stdout", .summary = "a table on a terminal, CSV in a pipe",
                   .options = stdout_options, .n_options = COUNT_OF(stdout_options),
                   .details = "A terminal shows the first rows once the run is done. A pipe or a file gets all of "
                              "them as CSV, in row order, while it goes on.",
                   .example = "sink: { stdout: {} }"},
    .build = stdout_build,
};
