/* collect.h: runs a source over a real plan and gives its rows as text, in row order: for tests of
 * sources. One line a row, values between `|`, null as `~`. */
#ifndef TESTS_UNIT_IO_COLLECT_H
#define TESTS_UNIT_IO_COLLECT_H

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/text.h"
#include "data/number_text.h"
#include "data/time_text.h"
#include "engine/job.h"
#include "engine/run.h"
#include "io/connectors.h"

typedef struct collected_row {
    uint64_t position;
    char *text;
} collected_row;

static struct {
    pthread_mutex_t lock;
    collected_row *rows;
    size_t n, room;
    struct text header;
    size_t largest_batch;
    bool quiet; /* only counts */
} collected = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void print_value(struct text *t, const column *c, uint32_t row);

static void print_list(struct text *t, const column *c, uint32_t row) {
    const uint32_t *offsets = c->values;
    text_append_char(t, '[');
    for (uint32_t i = offsets[row]; i < offsets[row + 1]; i++) {
        if (i > offsets[row]) text_append_char(t, ',');
        print_value(t, &c->children[0], i);
        if (c->type->kind == TYPE_SPARSE) {
            text_append_char(t, ':');
            print_value(t, &c->children[1], i);
        }
    }
    text_append_char(t, ']');
}

static void print_value(struct text *t, const column *c, uint32_t row) {
    char room[64];
    if (!c->values) {
        text_append_char(t, '-'); /* pruned */
        return;
    }
    if (!column_is_valid(c, row)) {
        text_append_char(t, '~');
        return;
    }
    switch (c->type->kind) {
    case TYPE_BOOL: text_append_string(t, ((const uint8_t *)c->values)[row] ? "true" : "false"); break;
    case TYPE_INT32: text_printf(t, "%d", ((const int32_t *)c->values)[row]); break;
    case TYPE_INT64: text_printf(t, "%lld", (long long)((const int64_t *)c->values)[row]); break;
    case TYPE_FLOAT32: text_append(t, room, format_float32(((const float *)c->values)[row], room)); break;
    case TYPE_FLOAT64: text_append(t, room, format_float64(((const double *)c->values)[row], room)); break;
    case TYPE_DATE: text_append(t, room, format_date(((const int32_t *)c->values)[row], room)); break;
    case TYPE_TIMESTAMP: text_append(t, room, format_timestamp(((const int64_t *)c->values)[row], room)); break;
    case TYPE_STRING:
    case TYPE_BINARY: {
        const view *v = (const view *)c->values + row;
        text_append(t, view_data(v), v->size);
        break;
    }
    case TYPE_VECTOR: text_printf(t, "vector"); break;
    default: print_list(t, c, row); break;
    }
}

static void (*collect_on_push)(void);

static tw_status collect_start(sink *s, run_context *r, uint32_t n, tw_error *err) { return TW_OK; }
static tw_status collect_open(sink *s, sink_writer **out, tw_error *err) {
    *out = calloc(1, sizeof **out);
    (*out)->sink = s;
    return TW_OK;
}
static tw_status collect_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    pthread_mutex_lock(&collected.lock);
    if (collect_on_push && !collected.n) collect_on_push();
    if (b->rows > collected.largest_batch) collected.largest_batch = b->rows;
    for (uint32_t r = 0; r < b->rows; r++) {
        struct text t = {0};
        for (uint32_t c = 0; c < b->schema->n && !collected.quiet; c++) {
            if (c) text_append_char(&t, '|');
            print_value(&t, &b->columns[c], r);
        }
        if (collected.n == collected.room) {
            collected.room = collected.room ? collected.room * 2 : 1024;
            collected.rows = realloc(collected.rows, collected.room * sizeof *collected.rows);
        }
        collected.rows[collected.n++] = (collected_row){b->position + r, text_take(&t)};
    }
    pthread_mutex_unlock(&collected.lock);
    return TW_OK;
}
static tw_status collect_close(sink_writer *w, tw_error *err) {
    free(w);
    return TW_OK;
}
static void collect_drop(sink_writer *w) { free(w); }
static tw_status collect_finish(sink *s, tw_error *err) { return TW_OK; }
static void collect_free(sink *s) { free(s); }
static const sink_class collect_class = {.start = collect_start, .open = collect_open, .push = collect_push,
                                         .close = collect_close, .drop = collect_drop,
                                         .finish = collect_finish, .free = collect_free};

static bool collect_shuffled;

static tw_status collect_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    *out = calloc(1, sizeof **out);
    **out = (sink){.class = &collect_class, .name = "collect", .wants_shuffled = collect_shuffled};
    collected.header.length = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        char name[64];
        text_printf(&collected.header, "%s%s %s", i ? "," : "", s->fields[i].name,
                    type_name(s->fields[i].type, name, sizeof name));
    }
    return TW_OK;
}

static const sink_descriptor collect_sink = {.descriptor = {.name = "collect", .summary = "for tests"},
                                             .build = collect_build};

static void forget_rows(void) {
    for (size_t i = 0; i < collected.n; i++) free(collected.rows[i].text);
    collected.n = 0;
    collected.largest_batch = 0;
}

static int by_position(const void *a, const void *b) {
    const collected_row *x = a, *y = b;
    return (x->position > y->position) - (x->position < y->position);
}

typedef struct collect_options {
    uint32_t parallelism, batch_rows;
    size_t memory_bytes;
    bad_policy policy;
    const char *dead_letter;
} collect_options;

static const collect_options collect_default = {.parallelism = 2, .memory_bytes = (size_t)256 << 20};

static run_figures collect_figures;

/* The rows of `source: {file: {OPTIONS}}`; TW_OK, or what went wrong in *err. */
static inline tw_status collect(const char *options, const collect_options *o, tw_error *err) {
    static const step_descriptor *const steps[] = {NULL};
    static const source_descriptor *const sources[] = {&source_file, NULL};
    static const sink_descriptor *const sinks[] = {&collect_sink, NULL};
    const registry known = {steps, sources, sinks};
    struct text job_text = {0};
    text_printf(&job_text, "{source: {file: {%s}}, sink: collect}", options);
    job_source from = {.text = job_text.bytes, .length = job_text.length, .file = "job"};
    static error_list errors;
    errors = (error_list){0};
    job *j = NULL;
    plan *p = NULL;
    forget_rows();
    memset(err, 0, sizeof *err);
    tw_status status = job_parse(&from, &errors, &j);
    if (status == TW_OK) status = plan_build(j, &known, &errors, &p, err);
    if (errors.n) status = error_list_status(&errors, err);
    if (status == TW_OK) {
        run *r;
        run_options settings = {.parallelism = o->parallelism, .memory_bytes = o->memory_bytes,
                                .batch_rows = o->batch_rows, .bad_policy = o->policy,
                                .dead_letter = o->dead_letter};
        status = run_start(p, &settings, &r, err);
        if (status == TW_OK) {
            run_wait(r, -1);
            status = run_result(r, err);
            run_get_figures(r, &collect_figures);
            run_free(r);
        }
    }
    if (p) plan_free(p);
    job_free(j);
    error_list_free(&errors);
    text_free(&job_text);
    if (collected.n) qsort(collected.rows, collected.n, sizeof *collected.rows, by_position);
    return status;
}

/* All rows as one text; static until the next call. */
static const char *rows_text(void) {
    static struct text t;
    text_free(&t);
    for (size_t i = 0; i < collected.n; i++) text_printf(&t, "%s\n", collected.rows[i].text ? collected.rows[i].text : "");
    return text_string(&t);
}

/* ---- files ---- */

static char test_folder[64];

static int make_folder(void **state) {
    strcpy(test_folder, "/tmp/thalweg-test-XXXXXX");
    if (!mkdtemp(test_folder)) return -1;
    return chdir(test_folder);
}

static int remove_folder(void **state) {
    char command[256];
    snprintf(command, sizeof command, "chmod -R u+rwx %s; rm -rf %s", test_folder, test_folder);
    if (chdir("/")) return -1;
    forget_rows();
    free(collected.rows);
    text_free(&collected.header);
    rows_text();
    return system(command);
}

static void write_bytes(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}
static inline void write_file(const char *path, const char *content) { write_bytes(path, content, strlen(content)); }

/* Reads with the default settings and expects these rows. */
#define expect_rows(options, expected)                                                                 \
    do {                                                                                               \
        tw_error err_;                                                                                 \
        tw_status status_ = collect(options, &collect_default, &err_);                                 \
        if (status_ != TW_OK) fail_msg("%s: %s: %s (%s, record %llu)", options, tw_status_name(status_), \
                                       err_.message, err_.file, (unsigned long long)err_.record);      \
        assert_string_equal(rows_text(), expected);                                                    \
    } while (0)

/* Expects a failure whose message holds `part`. */
#define expect_failure(options, code, part, at_record)                                                 \
    do {                                                                                               \
        tw_error err_;                                                                                 \
        tw_status status_ = collect(options, &collect_default, &err_);                                 \
        assert_int_equal(status_, code);                                                               \
        if (!strstr(err_.message, part)) fail_msg("'%s' is not in '%s'", part, err_.message);          \
        assert_int_equal(err_.record, at_record);                                                      \
    } while (0)

#endif
