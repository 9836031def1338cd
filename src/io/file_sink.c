/* file_sink.c: rows to a file, or to a folder of parts, in row order whatever the lanes do.
 *
 * Lanes format and compress; the sequencer gives each chunk its place in row order; then the lanes write at
 * their offsets, several at a time. A folder gets one part a task, small ones put together. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/chunk_writer.h"
#include "engine/checkpoint.h"
#include "io/connectors.h"
#include "io/growing_folder.h"
#include "io/csv_options.h"
#include "io/output_folder.h"

/* Tasks that give less share a part; the bound doubles every PARTS_DOUBLE parts, to keep them few. */
#define PART_BYTES_MIN ((uint64_t)1 << 20)
#define PARTS_DOUBLE 1024
#define GROWING_PART_BYTES_MAX ((uint64_t)256 << 20)

typedef struct file_options {
    char *path;
    encode_options encode;
    compression compression;
    output_mode mode;
    bool folder, sync;
} file_options;

/* What is being written: the one file, or one of the parts of a folder. */
typedef struct part {
    int fd; /* of a part of a folder; closed with the last reference */
    uint64_t size; /* places given so far */
    atomic_uint references;
} part;

typedef struct file_sink {
    sink sink;
    file_options options;
    encoder *encoder;
    chunk_target target;
    output_file *file;     /* one of the three */
    output_folder *folder;
    growing_folder *growing; /* of an endless flow */
    uint32_t epoch, prepared; /* parts of epochs before are complete, those below `prepared` */
    char ending[32];       /* of parts */
    buffer *start;         /* what every file begins with; NULL: nothing */
    size_t start_bytes;
    part *part;            /* being filled; NULL: none yet */
    uint32_t part_input;   /* whose rows came last */
    uint64_t part_split;
} file_sink;

typedef struct file_writer {
    sink_writer writer;
    chunk_writer *chunks;
} file_writer;

static file_sink *of(sink *s) { return (file_sink *)s; }

/* ---- parts ---- */

static void part_release(part *p) {
    if (!p || atomic_fetch_sub(&p->references, 1) != 1) return;
    if (p->fd >= 0) close(p->fd);
    free(p);
}

static tw_status write_bytes(file_sink *f, const part *p, const void *bytes, size_t n, uint64_t offset, tw_error *err) {
    atomic_fetch_add(&f->target.run->bytes_out, n);
    if (!f->file) return write_whole(p->fd, f->options.path, bytes, n, offset, err);
    if (output_file_is_stream(f->file)) return output_file_stream(f->file, bytes, n, f->target.run->cancelled, err);
    return output_file_write(f->file, bytes, n, offset, err);
}

/* Begins a file: what stands before its first row. */
static tw_status part_new(file_sink *f, tw_error *err) {
    part *p = calloc(1, sizeof *p);
    if (!p) return error_set(err, TW_ERR_MEMORY, "out of memory for an output");
    p->fd = -1;
    atomic_init(&p->references, 1);
    tw_status status = TW_OK;
    bool start = f->start != NULL;
    if (f->folder) {
        status = output_folder_add(f->folder, f->ending, &p->fd, err);
    } else if (f->growing) {
        status = growing_folder_add(f->growing, f->ending, &p->fd, err);
    } else if (!output_file_is_stream(f->file)) {
        p->size = output_file_kept_bytes(f->file);
        start &= p->size == 0;
        bool torn = encoder_writes_lines(f->encoder) && f->options.compression == COMPRESSION_NONE &&
                    !output_file_ends_line(f->file);
        if (torn) status = write_bytes(f, p, "\n", 1, p->size++, err);
    }
    if (status == TW_OK && start) {
        status = write_bytes(f, p, f->start->data, f->start_bytes, p->size, err);
        p->size += f->start_bytes;
    }
    if (status != TW_OK) {
        part_release(p);
        return status;
    }
    part_release(f->part);
    f->part = p;
    return TW_OK;
}

/* Whether the chunk begins another part: at the end of a task that gave enough. */
static bool begins_part(const file_sink *f, const chunk *c) {
    if (!f->part) return true;
    if (f->growing) return f->part->size >= GROWING_PART_BYTES_MAX;
    if (!f->folder || (c->input == f->part_input && c->split == f->part_split)) return false;
    uint32_t doublings = output_folder_parts(f->folder) / PARTS_DOUBLE;
    return f->part->size >= PART_BYTES_MIN << (doublings < 30 ? doublings : 30);
}

/* ---- the sequencer's callbacks ---- */

static tw_status place(void *context, void *item, tw_error *err) {
    file_sink *f = context;
    chunk *c = item;
    if (begins_part(f, c)) {
        tw_status status = part_new(f, err);
        if (status != TW_OK) return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status;
    }
    f->part_input = c->input;
    f->part_split = c->split;
    c->part = f->part;
    c->offset = f->part->size;
    atomic_fetch_add(&f->part->references, 1);
    f->part->size += c->size;
    /* What cannot be written at an offset is written now, in order. */
    if (!f->file || !output_file_is_stream(f->file)) return TW_OK;
    tw_status status = write_bytes(f, f->part, c->bytes->data, c->size, 0, err);
    if (status == TW_OK) return TW_OK;
    part_release(c->part); /* another lane may come by and try to place it once more */
    c->part = NULL;
    return status;
}

static void drop(void *context, void *item) {
    chunk *c = item;
    part_release(c->part);
    chunk_free(c);
}

static tw_status work(void *context, void *item, tw_error *err) {
    file_sink *f = context;
    chunk *c = item;
    bool written = f->file && output_file_is_stream(f->file);
    tw_status status = written ? TW_OK : write_bytes(f, c->part, c->bytes->data, c->size, c->offset, err);
    if (status == TW_OK) atomic_fetch_add(&f->target.run->rows_out, c->rows);
    drop(f, c);
    return status;
}

/* ---- the sink ---- */

static tw_status file_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    file_sink *f = of(self);
    const file_options *o = &f->options;
    f->target = (chunk_target){.run = run, .encoder = f->encoder, .compression = o->compression};
    if (o->folder && self->endless) TRY(growing_folder_open(o->path, o->mode, &f->growing, err));
    else if (o->folder) TRY(output_folder_open(o->path, o->mode, &f->folder, err));
    else TRY(output_file_open(o->path, o->mode, &f->file, err));
    TRY(chunk_file_start(&f->target, &f->start, &f->start_bytes, false, err));
    sequencer_callbacks callbacks = {.place = place, .work = work, .drop = drop, .context = f};
    return sequencer_create(run, n_inputs, self->order, chunk_pending_bytes_max(run), callbacks, &f->target.order, err);
}

static tw_status file_open(sink *self, sink_writer **out, tw_error *err) {
    file_writer *w = calloc(1, sizeof *w);
    if (!w) return error_set(err, TW_ERR_MEMORY, "out of memory for a writer");
    w->writer.sink = self;
    tw_status status = chunk_writer_new(&of(self)->target, &w->chunks, err);
    if (status != TW_OK) {
        free(w);
        return status;
    }
    *out = &w->writer;
    return TW_OK;
}

static tw_status file_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    return chunk_writer_push(((file_writer *)w)->chunks, order, b, err);
}
static tw_status file_end_split(sink_writer *w, const batch_order *order, tw_error *err) {
    return chunk_writer_end_split(((file_writer *)w)->chunks, order, err);
}
static bool file_ready(sink *self, const batch_order *order) { return sequencer_ready(of(self)->target.order, order); }
static tw_status file_end_input(sink *self, uint32_t input, uint64_t n_splits, tw_error *err) {
    return sequencer_end_input(of(self)->target.order, input, n_splits, err);
}

static void file_drop(sink_writer *w) {
    chunk_writer_free(((file_writer *)w)->chunks);
    free(w);
}
static tw_status file_close(sink_writer *w, tw_error *err) {
    file_drop(w);
    return TW_OK;
}

static tw_status file_finish(sink *self, tw_error *err) {
    file_sink *f = of(self);
    if (f->growing) {
        part_release(f->part);
        f->part = NULL;
        return growing_folder_prepare(f->growing, f->options.sync, &f->prepared, err);
    }
    if (!f->part) { /* no rows still make the file */
        buffer_unref(f->start);
        f->start = NULL;
        TRY(chunk_file_start(&f->target, &f->start, &f->start_bytes, true, err));
        TRY(part_new(f, err));
    }
    part_release(f->part);
    f->part = NULL;
    return f->file ? output_file_finish(f->file, f->options.sync, f->target.run->cancelled, err) : TW_OK;
}

static tw_status file_commit(sink *self, tw_error *err) {
    file_sink *f = of(self);
    if (f->growing) return growing_folder_publish(f->growing, err);
    if (f->folder) return output_folder_publish(f->folder, f->options.sync, err);
    return output_file_publish(f->file, f->options.sync, err);
}

/* ---- endless flows: parts end with their epoch ---- */

static tw_status file_advance(sink *self, mark to, tw_error *err) {
    file_sink *f = of(self);
    if (!f->growing || to.epoch == f->epoch) return TW_OK;
    f->epoch = to.epoch;
    part_release(f->part);
    f->part = NULL;
    return growing_folder_prepare(f->growing, true, &f->prepared, err);
}

static tw_status file_save(sink *self, saved_part *to, tw_error *err) {
    return part_put_int(to, "parts", of(self)->prepared, err);
}

static tw_status file_load(sink *self, const saved_part *from, tw_error *err) {
    file_sink *f = of(self);
    if (!f->growing) return TW_OK;
    TRY(growing_folder_resume(f->growing, (uint32_t)part_get_int(from, "parts", 0), err));
    return growing_folder_publish(f->growing, err); /* those that were not, though they are durable */
}

static tw_status file_publish(sink *self, const epoch_end *e, tw_error *err) {
    file_sink *f = of(self);
    return f->growing ? growing_folder_publish(f->growing, err) : TW_OK;
}

static void file_shape(const sink *self, char *out, size_t capacity) {
    snprintf(out, capacity, "%s", ((const file_sink *)self)->options.path);
}

static void file_needs(sink *self, bool *needed) { encoder_needs(of(self)->encoder, needed); }

static void file_describe(const sink *self, char *out, size_t capacity) {
    const file_options *o = &((const file_sink *)self)->options;
    snprintf(out, capacity, "%s%s%s to %s, in row order", format_names[o->encode.kind],
             o->compression == COMPRESSION_NONE ? "" : ", ",
             o->compression == COMPRESSION_NONE ? "" : compression_name(o->compression), o->path);
}

static void file_free(sink *self) {
    file_sink *f = of(self);
    sequencer_free(f->target.order);
    part_release(f->part);
    output_file_free(f->file);
    output_folder_free(f->folder);
    growing_folder_free(f->growing);
    buffer_unref(f->start);
    encoder_free(f->encoder);
    free(f->options.path);
    free(f);
}

static const sink_class file_class = {
    .start = file_start,
    .open = file_open,
    .push = file_push,
    .end_split = file_end_split,
    .ready = file_ready,
    .close = file_close,
    .drop = file_drop,
    .end_input = file_end_input,
    .advance = file_advance,
    .save = file_save,
    .load = file_load,
    .publish = file_publish,
    .shape = file_shape,
    .finish = file_finish,
    .commit = file_commit,
    .needs = file_needs,
    .describe = file_describe,
    .free = file_free,
};

/* ---- options ---- */

static const char *const mode_names[] = {"replace", "append", "fail", NULL};

/* What a path's ending says is also said by that of a folder: "out.csv.gz/". */
static tw_status read_options(error_list *errors, const args *a, file_options *o, tw_error *err) {
    const char *path = args_string(a, "path");
    size_t n = strlen(path);
    if (n == 0) return args_error(a, "path", errors, "must not be empty");
    if (strcmp(path, "-") == 0) return args_error(a, "path", errors, "for standard output there is the sink stdout");
    o->folder = path[n - 1] == '/';
    o->path = strdup(path);
    char *bare = strdup(path);
    if (!o->path || !bare) {
        free(bare);
        return error_set(err, TW_ERR_MEMORY, "out of memory for a sink");
    }
    while (n > 1 && bare[n - 1] == '/') bare[--n] = 0;
    int given = args_enum(a, "format");
    format_kind by_path = format_of_path(bare);
    o->encode = encode_options_default(given >= 0 ? (format_kind)given
                                       : by_path < FORMAT_KINDS ? by_path : FORMAT_LINES);
    o->compression = compression_of_path(bare);
    o->mode = (output_mode)args_enum(a, "mode");
    o->sync = args_bool(a, "sync");
    free(bare);
    return csv_options_read(errors, a, &o->encode);
}

static tw_status file_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    file_sink *f = calloc(1, sizeof *f);
    if (!f) return error_set(err, TW_ERR_MEMORY, "out of memory for a sink");
    f->sink = (sink){.class = &file_class, .name = "file"};
    tw_status status = read_options(plan_errors(b), a, &f->options, err);
    tw_error wrong;
    if (status == TW_OK) {
        status = encoder_new(&f->options.encode, s, &f->encoder, &wrong);
        if (status == TW_ERR_JOB)
            status = args_error(a, args_given(a, "format") ? "format" : "path", plan_errors(b), "%s", wrong.message);
        else if (status != TW_OK && err) *err = wrong;
    }
    if (status != TW_OK) {
        file_free(&f->sink);
        return status;
    }
    static const char *const endings[] = {"", ".gz", ".zst", ".lz4"};
    snprintf(f->ending, sizeof f->ending, "%s%s", encoder_ending(f->encoder), endings[f->options.compression]);
    f->sink.publishes = f->options.folder;
    if (!f->options.folder) f->sink.endless_wrong = "a file sink of an endless flow takes a path that ends in '/'";
    *out = &f->sink;
    return TW_OK;
}

static const option file_options_table[] = {
    {"path", OPTION_PATH, OPTION_REQUIRED, "the file; one that ends in '/' is a folder and gets one part a task"},
    {"format", OPTION_ENUM, .values = format_names, .default_note = "by the path's ending, else lines",
     .help = "how rows are written"},
    {"mode", OPTION_ENUM, .values = mode_names, .default_text = "replace",
     .help = "what happens to a file that is there: it is replaced or appended to, or the run fails"},
    {"header", OPTION_BOOL, .default_text = "true", .help = "csv: the first record names the columns"},
    {"delimiter", OPTION_STRING, .default_note = "','", .help = "csv: one byte between fields"},
    {"quote", OPTION_STRING, .default_note = "'\"'", .help = "csv: one byte, or '' for none"},
    {"sync", OPTION_BOOL, .default_text = "false",
     .help = "waits until the output is on the disk before it appears, so that it outlives a crash of the machine"},
};

const sink_descriptor sink_file = {
    .descriptor = {.name = "file",
                   .summary = "writes a file, or a folder of parts, in row order",
                   .options = file_options_table,
                   .n_options = COUNT_OF(file_options_table),
                   .shorthand = "path",
                   .details = "The output appears when the run is done, whole, or not at all; an endless flow fills a "
                              "folder, whose parts appear whole, at each checkpoint or every ten seconds. An ending .gz, .zst or "
                              ".lz4 compresses it. Missing folders are made. lines writes the column 'line' or the "
                              "only one there is, records the columns one after the other, binary the column "
                              "'content', edges 'from', 'to' and 'weight', libsvm 'label' and the features.",
                   .example = "sink: { file: { path: out/counts.csv } }"},
    .build = file_build,
};
