/* file_source.c: the source `file`: files, patterns of them, or standard input, in any format. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/plan.h"
#include "io/block_reader.h"
#include "io/connectors.h"
#include "io/file_follow.h"
#include "io/infer.h"
#include "io/input_files.h"

typedef struct file_source {
    source base;
    format format;
    input_files *files;
    file_follow *follow; /* NULL: the files are those that are there when the job is checked */
    bool *needed; /* NULL: all */
    run_context *run;
    char *description, *shape;
    /* A pipe that was looked at for its types: what was read is given again. */
    block_reader *pipe;
    size_t pipe_file;
    block *kept;
    size_t n_kept;
} file_source;

typedef struct file_reader {
    reader base;
    file_source *source;
    input_files *files;
    size_t file, end; /* of these, the files of the split */
    uint64_t part;
    bool in_parts;
    bool started;     /* a span of the file at hand has been seen */
    block_reader *blocks; /* of the file at hand; NULL: not open yet */
    bool replays;     /* kept blocks come first */
    size_t kept;      /* of them, given again */
    decoder *decoder;
    bool fed;
    unsigned failures; /* of one call, one after the other */
    uint64_t records, rows; /* records of the file at hand, rows of the split, that are done */
} file_reader;

enum { IO_TRIES = 3 }; /* then a followed file is given up */

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

/* ---- opening ---- */

static block_options options_for(const format *f, memory *m, const char *path) {
    return (block_options){.memory = m, .framing = format_framing(f), .quote = f->quote,
                           .record_bytes = f->record_bytes, .record_bytes_max = record_bytes_max(m), .path = path};
}

static tw_status open_stream(const format *f, const input_file *file, memory *m, run_context *run,
                             block_reader **out, tw_error *err) {
    byte_stream_options o = {.memory = m, .path = file->name, .is_file = file->is_file, .bytes = file->bytes};
    if (run) {
        o.cancelled = run->cancelled;
        o.counter = &run->bytes_in;
    }
    TRY(input_file_open(file, &o.fd, err));
    byte_stream *s;
    tw_status status = byte_stream_open(&o, &s, err);
    if (status != TW_OK) {
        if (o.fd > STDIN_FILENO) close(o.fd);
        return status;
    }
    block_options blocks = options_for(f, m, file->name);
    status = block_reader_open_stream(&blocks, s, out, err);
    if (status != TW_OK) byte_stream_close(s);
    return status;
}

static tw_status is_inside(void *context, const uint8_t *bytes, size_t size, bool *out, tw_error *err) {
    file_reader *r = context;
    return input_file_inside(&r->files->files[r->file], r->part, bytes, size, out, err);
}

static tw_status open_part(file_reader *r, input_file *f, tw_error *err) {
    file_source *s = r->source;
    const csv_layout *layout = NULL;
    if (r->part) TRY(input_file_layout(f, &layout, err));
    block_range range = {.begin = r->part * PART_BYTES, .file_bytes = f->bytes, .counter = &s->run->bytes_in};
    range.end = range.begin + PART_BYTES < f->bytes ? range.begin + PART_BYTES : f->bytes;
    TRY(input_file_open(f, &range.fd, err));
    block_options o = options_for(&s->format, s->run->memory, f->name);
    if (o.framing == FRAMING_QUOTED) {
        range.inside = is_inside;
        range.context = r;
    }
    TRY(block_reader_open_range(&o, &range, &r->blocks, err));
    decoder_set_layout(r->decoder, layout);
    return TW_OK;
}

static tw_status open_file(file_reader *r, tw_error *err) {
    file_source *s = r->source;
    input_file *f = &r->files->files[r->file];
    r->started = false;
    r->records = 0;
    if (r->in_parts) return open_part(r, f, err);
    decoder_set_layout(r->decoder, NULL);
    r->replays = s->pipe && s->pipe_file == r->file;
    if (r->replays) {
        r->blocks = s->pipe;
        s->pipe = NULL;
        block_reader_move(r->blocks, s->run->memory, record_bytes_max(s->run->memory));
        byte_stream_move(block_reader_stream(r->blocks), s->run->memory, s->run->cancelled, &s->run->bytes_in);
        return TW_OK;
    }
    return open_stream(&s->format, f, s->run->memory, s->run, &r->blocks, err);
}

/* ---- reading ---- */

/* The first read of a part counts its quotes, for which others may be waiting. */
static tw_status next_block(file_reader *r, block *out, tw_error *err) {
    file_source *s = r->source;
    if (r->replays && r->kept < s->n_kept) {
        *out = s->kept[r->kept];
        s->kept[r->kept++].span.owner = NULL;
        return TW_OK;
    }
    bool quotes = r->in_parts && !r->started && format_framing(&s->format) == FRAMING_QUOTED;
    if (!quotes) return block_reader_next(r->blocks, out, err);
    input_file *f = &r->files->files[r->file];
    input_file_claim(f, r->part);
    tw_status status = block_reader_next(r->blocks, out, err);
    if (status != TW_OK) input_file_give_up(f, r->part);
    return status;
}

static span_place place_of(const file_reader *r) {
    const input_file *f = &r->files->files[r->file];
    span_place p = {.file = f->name,
                    .first_record = r->records + 1,
                    .position = r->base.position + r->rows,
                    .file_start = !r->started && r->part == 0};
    if (r->in_parts && r->part) {
        p.records_before = input_file_records_before;
        p.retain = input_file_retain;
        p.release = input_file_release;
        p.context = f;
        p.split = r->part;
    }
    return p;
}

static tw_status report_too_long(file_reader *r, const block *b, tw_error *err) {
    span_place p = place_of(r);
    origin at = {.first_record = p.first_record, .records_before = p.records_before, .context = p.context,
                 .split = p.split};
    char reason[160];
    size_t most = record_bytes_max(r->source->run->memory);
    snprintf(reason, sizeof reason, "a record is longer than %zu bytes, %s", most,
             most == ((size_t)1 << 30) - 1 ? "the most there may be" : "a quarter of run.memory");
    return bad_record(r->source->run, p.file, origin_record(&at, 0), b->span.bytes, b->span.size, reason, err);
}

static tw_status feed_block(file_reader *r, tw_error *err) {
    block b;
    TRY(next_block(r, &b, err));
    tw_status status = TW_OK;
    if (b.too_long) {
        status = report_too_long(r, &b, err);
        r->records++;
    } else {
        span_place p = place_of(r);
        decoder_feed(r->decoder, &b.span, &p);
        r->fed = true;
    }
    r->started = true;
    buffer_unref(b.span.owner);
    return status;
}

static void end_file(file_reader *r) {
    block_reader_close(r->blocks);
    r->blocks = NULL;
    r->file++;
}

static tw_status read_on(file_reader *r, batch **out, tw_error *err) {
    run_context *run = r->source->run;
    while (true) {
        if (r->fed) {
            tw_status status = decoder_next(r->decoder, out, err);
            if (status == TW_OK) atomic_fetch_add_explicit(&run->rows_in, (*out)->rows, memory_order_relaxed);
            if (status != TW_END) return status;
            r->records += decoder_records(r->decoder);
            r->rows += decoder_rows(r->decoder);
            decoder_drop(r->decoder);
            r->fed = false;
        }
        if (r->file == r->end) return TW_END;
        if (run_cancelled(run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        if (atomic_load_explicit(&r->files->files[r->file].given_up, memory_order_relaxed)) {
            end_file(r);
            continue;
        }
        if (!r->blocks) TRY(open_file(r, err));
        tw_status status = feed_block(r, err);
        if (status == TW_END) end_file(r);
        else if (status != TW_OK) return status;
    }
}

/* The file cannot be read on: all that is left of it is one bad record. */
static tw_status give_up(file_reader *r, tw_error *err) {
    input_file *f = &r->files->files[r->file];
    tw_error why = *err;
    *err = (tw_error){0};
    if (!atomic_exchange(&f->given_up, true)) TRY(bad_record(r->source->run, f->name, why.record, NULL, 0, why.message, err));
    decoder_drop(r->decoder);
    r->fed = false;
    r->failures = 0;
    end_file(r);
    return TW_OK;
}

/* Of files that come for ever, one that is torn or gone is no reason to end. */
static tw_status file_next(reader *base, batch **out, tw_error *err) {
    file_reader *r = (file_reader *)base;
    while (true) {
        tw_status status = read_on(r, out, err);
        bool fails = status == TW_ERR_DATA || (status == TW_ERR_IO && ++r->failures == IO_TRIES);
        if (status == TW_OK) r->failures = 0;
        if (!r->source->follow || !fails) return status;
        TRY(give_up(r, err));
    }
}

static void file_reader_free(reader *base) {
    file_reader *r = (file_reader *)base;
    block_reader_close(r->blocks);
    decoder_free(r->decoder);
    input_files_unref(r->files);
    free(r);
}

static const reader_class file_reader_class = {file_next, file_reader_free};

/* ---- the source ---- */

static tw_status file_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    file_source *s = (file_source *)self;
    s->run = run;
    if (s->follow) {
        *n_splits = UINT64_MAX;
        return file_follow_start(s->follow, run, err);
    }
    s->files->cancelled = run->cancelled;
    TRY(input_files_plan(s->files, err));
    self->bytes_total = s->files->bytes;
    *n_splits = s->files->n_splits;
    return TW_OK;
}

static tw_status file_open(source *self, uint64_t split, reader **out, tw_error *err) {
    file_source *s = (file_source *)self;
    followed_split at = {s->files, split, 0};
    if (s->follow) TRY(file_follow_next(s->follow, &at, err));
    else if (split >= s->files->n_splits) return TW_END;
    const split_group *g = input_files_group(at.files, at.split);
    file_reader *r = calloc(1, sizeof *r);
    if (!r) return no_memory(err);
    r->base.class = &file_reader_class;
    r->source = s;
    r->files = input_files_ref(at.files);
    r->file = g->first_file;
    r->end = g->first_file + g->n_files;
    r->part = at.split - g->first_split;
    r->in_parts = at.files->files[r->file].parts != NULL;
    r->base.position = (at.first_unit + g->first_unit + (r->in_parts ? r->part : 0)) << 32;
    tw_status status = decoder_new(&s->format, s->run, s->needed, &r->decoder, err);
    if (status == TW_OK && s->follow) status = file_follow_took(s->follow, err);
    if (status == TW_OK) *out = &r->base;
    else file_reader_free(&r->base);
    return status;
}

static void file_prune(source *self, const bool *needed) {
    file_source *s = (file_source *)self;
    uint32_t n = s->format.schema->n;
    if (!s->needed) s->needed = malloc(n + 1);
    if (s->needed) memcpy(s->needed, needed, n);
}

static void file_stop(source *self) { file_follow_stop(((file_source *)self)->follow); }

static tw_status file_save(source *self, uint64_t epoch, saved_part *to, tw_error *err) {
    return file_follow_save(((file_source *)self)->follow, to, err);
}

static tw_status file_load(source *self, const saved_part *from, tw_error *err) {
    return file_follow_load(((file_source *)self)->follow, from, err);
}

static void file_shape(const source *self, char *out, size_t capacity) {
    snprintf(out, capacity, "%s", ((const file_source *)self)->shape);
}

static void file_describe(const source *self, char *out, size_t capacity) {
    const file_source *s = (const file_source *)self;
    snprintf(out, capacity, "%s", s->description);
}

static void file_free(source *self) {
    file_source *s = (file_source *)self;
    block_reader_close(s->pipe);
    for (size_t i = 0; i < s->n_kept; i++) buffer_unref(s->kept[i].span.owner);
    free(s->kept);
    input_files_unref(s->files);
    file_follow_free(s->follow);
    format_free(&s->format);
    free(s->needed);
    free(s->description);
    free(s->shape);
    free(s);
}

static const source_class file_class = {
    .start = file_start,
    .open = file_open,
    .prune = file_prune,
    .stop = file_stop,
    .shape = file_shape,
    .save = file_save,
    .load = file_load,
    .describe = file_describe,
    .free = file_free,
};

/* ---- types from the first rows ---- */

static tw_status keep_block(file_source *s, const block *b, tw_error *err) {
    if ((s->n_kept & (s->n_kept - 1)) == 0) {
        block *more = realloc(s->kept, (s->n_kept ? s->n_kept * 2 : 1) * sizeof *more);
        if (!more) return no_memory(err);
        s->kept = more;
    }
    s->kept[s->n_kept] = *b;
    buffer_ref(b->span.owner);
    s->n_kept++;
    return TW_OK;
}

static tw_status sample_file(file_source *s, input_file *f, memory *m, inference *n, bool *enough, tw_error *err) {
    block_reader *blocks;
    TRY(input_file_look(f, err));
    TRY(open_stream(&s->format, f, m, NULL, &blocks, err));
    tw_status status = TW_OK;
    bool first = true;
    while (!*enough) {
        block b;
        status = block_reader_next(blocks, &b, err);
        if (status != TW_OK) break;
        if (!b.too_long) status = inference_add(n, &b.span, f->name, first, enough, err);
        if (status == TW_OK && !f->is_file) status = keep_block(s, &b, err);
        buffer_unref(b.span.owner);
        first = false;
        if (status != TW_OK) break;
    }
    if (status == TW_END) status = TW_OK;
    if (status != TW_OK || f->is_file) {
        block_reader_close(blocks);
        return status;
    }
    s->pipe = blocks;
    s->pipe_file = (size_t)(f - s->files->files);
    *enough = true; /* only one is kept */
    return TW_OK;
}

static tw_status infer_schema(file_source *s, memory *m, tw_error *err) {
    inference *n;
    TRY(inference_new(&s->format, m, &n, err));
    tw_status status = TW_OK;
    bool enough = false;
    for (size_t i = 0; i < s->files->n && status == TW_OK && !enough; i++) {
        status = sample_file(s, &s->files->files[i], m, n, &enough, err);
        if (s->follow && (status == TW_ERR_IO || status == TW_ERR_DATA)) status = TW_OK; /* still written, or gone */
    }
    if (status == TW_OK) {
        status = inference_finish(n, err);
        if (status == TW_ERR_DATA) error_in_data(err, s->files->files[0].name, 0);
    }
    inference_free(n);
    return status;
}

/* ---- building ---- */

static tw_status find_files(error_list *errors, const args *a, const char *const *patterns, size_t n, path_list *out,
                            tw_error *err) {
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(patterns[i], "-")) continue;
        if (n > 1) return args_error(a, "path", errors, "standard input ('-') stands alone");
        out->paths = calloc(1, sizeof *out->paths);
        if (out->paths) out->paths[out->n++] = strdup("-");
        return out->paths && out->paths[0] ? TW_OK : no_memory(err);
    }
    tw_error why = {0};
    tw_status status = glob_paths(patterns, n, out, &wrong, &why);
    if (status == TW_ERR_JOB) return args_error(a, "path", errors, "%s", why.message);
    if (status != TW_OK && err) *err = why;
    return status;
}

static tw_status describe(file_source *s, const char *const *patterns, size_t n, tw_error *err) {
    char text[256];
    const char *kind = format_names[s->format.kind], *more = n > 1 ? ", ..." : "";
    if (s->follow) snprintf(text, sizeof text, "%.160s%s as %s, and what comes", patterns[0], more, kind);
    else if (s->files->n == 1) snprintf(text, sizeof text, "%.200s as %s", s->files->files[0].path, kind);
    else snprintf(text, sizeof text, "%.160s%s (%zu files) as %s", patterns[0], more, s->files->n, kind);
    s->description = strdup(text);
    return s->description ? TW_OK : no_memory(err);
}

/* ---- following ---- */

static tw_status find_followed(file_source *s, error_list *errors, const args *a, const char *const *patterns, size_t n,
                               path_list *out, tw_error *err) {
    size_t wrong;
    tw_error why = {0};
    for (size_t i = 0; i < n; i++)
        if (!strcmp(patterns[i], "-")) return args_error(a, "path", errors, "standard input ('-') cannot be followed");
    tw_status status = file_follow_new(&s->format, patterns, n, args_int(a, "settle"), &s->follow, &wrong, &why);
    if (status == TW_OK) status = file_follow_list(s->follow, out, &why);
    if (status == TW_ERR_JOB || status == TW_ERR_IO) return args_error(a, "path", errors, "%s", why.message);
    if (status != TW_OK && err) *err = why;
    return status;
}

/* Types come from what is there, or else from `columns` alone. */
static tw_status schema_of_followed(file_source *s, error_list *errors, const args *a, memory *m, tw_error *err) {
    if (s->files) {
        TRY(infer_schema(s, m, err));
        free(s->format.header_file); /* another file may come to its name */
        s->format.header_file = NULL;
        return TW_OK;
    }
    if (s->format.n_columns) return format_schema_of_columns(&s->format, err);
    return args_error(a, "path", errors, "no file is there yet that types could be taken from: set columns");
}

/* What byte a part begins at depends on these. */
static tw_status shape_of_followed(file_source *s, const char *const *patterns, size_t n, tw_error *err) {
    struct text t = {0};
    for (size_t i = 0; i < n; i++) text_printf(&t, "%s%s", i ? ", " : "", patterns[i]);
    text_printf(&t, " as %s", format_names[s->format.kind]);
    s->shape = text_take(&t);
    return s->shape ? TW_OK : no_memory(err);
}

static tw_status build(file_source *s, plan_builder *b, const args *a, const char *const *patterns, size_t n,
                       tw_error *err) {
    error_list *errors = plan_errors(b);
    path_list paths = {0};
    bool follows = args_bool(a, "follow");
    if (!follows && args_given(a, "settle")) return args_error(a, "settle", errors, "is for 'follow: true'");
    tw_status found = follows ? find_followed(s, errors, a, patterns, n, &paths, err)
                              : find_files(errors, a, patterns, n, &paths, err);
    if (found != TW_OK && found != TW_ERR_JOB) return found;
    tw_status status = format_from_args(errors, a, paths.n ? (const char *const *)paths.paths : patterns,
                                        paths.n ? paths.n : n, FORMAT_LINES, &s->format, err);
    if (status == TW_OK) status = found;
    if (status == TW_OK && paths.n) status = input_files_new(&s->format, &paths, &s->files, err);
    path_list_free(&paths);
    TRY(status);
    if (!s->format.schema)
        TRY(follows ? schema_of_followed(s, errors, a, plan_memory(b), err) : infer_schema(s, plan_memory(b), err));
    s->base.endless = s->base.replays = follows;
    if (follows) TRY(shape_of_followed(s, patterns, n, err));
    return describe(s, patterns, n, err);
}

static tw_status file_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "path", &n);
    if (!n) return args_error(a, "path", plan_errors(b), "names no file");
    file_source *s = calloc(1, sizeof *s);
    const char **patterns = malloc(n * sizeof *patterns);
    tw_status status = s && patterns ? TW_OK : no_memory(err);
    for (size_t i = 0; i < n && patterns; i++) patterns[i] = items[i].text;
    if (status == TW_OK) {
        s->base = (source){.class = &file_class, .name = "file", .reader_bytes = 3 * (size_t)BLOCK_BYTES};
        status = build(s, b, a, patterns, n, err);
    }
    free(patterns);
    if (status == TW_OK) {
        *out = &s->base;
        *out_schema = schema_ref(s->format.schema);
    } else if (s) {
        file_free(&s->base);
    }
    return status;
}

static const option file_options[] = {
    {"path", OPTION_PATHS, OPTION_REQUIRED | OPTION_OR_ONE,
     "a file, a pattern (*, ?, [...], ** for any folders), a list of them, or - for standard input"},
    FORMAT_OPTIONS,
    {"follow", OPTION_BOOL, .default_text = "false", .help = "goes on with files that come later; path: folders or patterns"},
    {"settle", OPTION_DURATION, .default_text = "1s", .max = INT64_C(86400000000),
     .help = "follow: how long a file that was written in place must stay as it is"},
};

const source_descriptor source_file = {
    .descriptor = {.name = "file",
                   .summary = "reads files",
                   .options = file_options,
                   .n_options = COUNT_OF(file_options),
                   .shorthand = "path",
                   .details = "Rows come in the order of the paths, byte by byte, then of their place in the file. "
                              "Input that is compressed by gzip, zstd or lz4 is told by its first bytes.\n\n"
                              "csv: types come from the first 64 Ki rows, but for columns that `columns` names. "
                              "Without a header `columns` names the columns in order, else they are c0, c1, ... "
                              "Empty lines are passed over where a row has several columns.\n\n"
                              "json: without `columns` there is one for each path to a value or a list of values in "
                              "the first rows; lists of objects are left out.\n\n"
                              "libsvm: indices stay as they are in the file. edges: lines that begin with # are "
                              "comments.\n\n"
                              "follow: the files that are there come first, in order, then those that come, each once. "
                              "A file is read when it was renamed or linked into its place, or was written, closed and "
                              "then left alone for `settle`. Names that begin with a dot or end in .tmp or .part are never "
                              "read. What is written to a file later is not read; what takes its place by a rename is "
                              "another file. A file that vanishes or cannot be read, and the rest of one that is torn, "
                              "are one bad record. With run.checkpoint, the next run goes on where this one was: delete "
                              "files only when their rows are out. SIGTERM: what has come is read.",
                   .example = "source: { file: { path: \"data/**/*.csv.gz\", columns: { price: float64 } } }"},
    .build = file_build,
};
