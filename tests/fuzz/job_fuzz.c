/* Everything between a job text and bound options. Input: the text, then any number of --set arguments,
 * each behind a byte 0xff (which no UTF-8 text holds). Every step, source and sink is bound to a
 * descriptor with all types of options, and all kinds of quantities are read from every scalar. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/quantity.h"
#include "engine/job.h"

enum { sets_max = 8, walk_max = 2000 };

static const char *const names[] = {"inner", "left", NULL};
static const option section_options[] = {
    {"size", OPTION_DURATION, OPTION_REQUIRED, "length", .min = 1},
    {"dead_letter", OPTION_PATH, 0, "a file"},
};
static const descriptor section = {"all.section", "a section", section_options, COUNT_OF(section_options)};
static const option all_options[] = {
    {"flag", OPTION_BOOL, 0, "h", .default_text = "true"},
    {"count", OPTION_INT, 0, "h", .default_text = "5", .min = 1, .max = 10},
    {"ratio", OPTION_FLOAT, 0, "h", .default_text = "0.5", .float_max = 1},
    {"room", OPTION_SIZE, 0, "h", .default_text = "64MiB", .min = 1024},
    {"pause", OPTION_DURATION, 0, "h", .min = 1000, .max = 3000000},
    {"speed", OPTION_RATE, 0, "h"},
    {"word", OPTION_STRING, 0, "h"},
    {"how", OPTION_ENUM, 0, "h", .default_text = "inner", .values = names, .section = &section},
    {"path", OPTION_PATHS, OPTION_OR_ONE, "h"},
    {"test", OPTION_EXPRESSION, 0, "h"},
    {"from", OPTION_COLUMN, 0, "h", .default_text = "line"},
    {"kind", OPTION_TYPE, 0, "h"},
    {"with", OPTION_FLOWS, OPTION_OR_ONE, "h"},
    {"by", OPTION_COLUMNS, OPTION_OR_ONE, "h", .default_text = "a, b"},
    {"on", OPTION_COLUMNS, OPTION_OR_MAP, "h"},
    {"labels", OPTION_STRING_MAP, 0, "h"},
    {"workers", OPTION_INT_MAP, 0, "h", .min = 1, .max = 8},
    {"weights", OPTION_FLOAT_MAP, 0, "h"},
    {"columns", OPTION_TYPE_MAP, 0, "h"},
    {"aggregate", OPTION_EXPRESSION_MAP, OPTION_OR_LIST, "h"},
    {"sliding", OPTION_SECTION, 0, "h", .section = &section},
    {"raw", OPTION_ANY, 0, "h"},
};
static const descriptor all = {"all", "every type", all_options, COUNT_OF(all_options), .shorthand = "by"};
static const option free_options[] = {{"columns", OPTION_EXPRESSION_MAP, OPTION_REQUIRED | OPTION_OR_LIST, "h"}};
static const descriptor freely = {"free", "a free map", free_options, 1, .shorthand = "columns", .free_map = true};

static const char *get_variable(void *context, const char *name) {
    switch (*name) {
    case 'A': return "a value";
    case 'B': return "{x: [1, 2], y: *z}";
    case 'E': return "";
    default: return NULL;
    }
}

static void check(int right) {
    if (!right) abort();
}

static void check_place(struct place at) { check(at.file && at.line > 0 && at.column > 0); }

/* Reads each scalar as everything; asserts what node.h promises. */
static void walk(const node *n, unsigned depth, unsigned *left) {
    check(depth <= NODE_DEPTH_MAX);
    if (!*left || !--*left) return;
    check_place(n->at);
    check(n->total <= NODE_COUNT_MAX && n->bytes <= NODE_BYTES_MAX && n->height <= NODE_DEPTH_MAX);
    int64_t integer = 0;
    double number = 1;
    if (n->kind <= NODE_SCALAR) {
        check(n->text && n->shown);
        if (parse_size_bytes(n->text, &integer, NULL) == TW_OK) check(integer >= 0);
        if (parse_duration_us(n->text, &integer, NULL) == TW_OK) check(integer >= 0);
        if (parse_rate(n->text, &number, NULL) == TW_OK) check(number > 0);
        check_place(node_place_within(n, strlen(n->text)));
        return;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        const node *child = n->kind == NODE_LIST ? n->items[i] : n->entries[i].value;
        check(child->height < n->height && child->total < n->total);
        if (n->kind == NODE_MAP) check_place(n->entries[i].at);
        if (n->kind == NODE_MAP && i < 100) check(node_entry_of(n, n->entries[i].key) == &n->entries[i]);
        walk(child, depth + 1, left);
    }
}

static void read_args(const args *a, const descriptor *d) {
    for (size_t i = 0; i < d->n_options; i++) {
        const char *name = d->options[i].name;
        size_t n;
        const arg_item *items = args_items(a, name, &n);
        for (size_t k = 0; k < n; k++) check(items[k].name && items[k].text);
        check(args_given(a, name) == (args_node(a, name) != NULL));
        if (args_section(a, name)) read_args(args_section(a, name), d->options[i].section);
    }
}

static void bind(const descriptor *d, const job_part *part, error_list *errors) {
    args *a;
    size_t known = errors->total;
    tw_status status = args_bind(d, part->arguments, part->at, errors, &a);
    check((a != NULL) == (status == TW_OK));
    check(status == TW_OK ? errors->total == known : status == TW_ERR_JOB && errors->total > 0);
    if (a) read_args(a, d);
    args_free(a);
}

static void bind_job(const job *j, error_list *errors) {
    check(j->name && j->n_flows > 0);
    for (uint32_t i = 0; i < j->n_flows; i++) {
        const job_flow *f = &j->flows[i];
        if (f->source.name) bind(&all, &f->source, errors);
        if (f->sink.name) bind(&freely, &f->sink, errors);
        for (uint32_t k = 0; k < f->n_steps; k++) bind(k % 4 == 3 ? &freely : &all, &f->steps[k], errors);
    }
}

static void check_errors(const error_list *errors) {
    for (size_t i = 0; i < errors->n; i++) {
        check(errors->items[i].line > 0 && errors->items[i].column > 0 && *errors->items[i].file);
        check(!strpbrk(errors->items[i].message, "\n\r\x1b"));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct variables variables = {get_variable, NULL};
    char *copy = malloc(size + 1);
    if (!copy) return 0;
    memcpy(copy, data, size);
    copy[size] = 0;
    const char *sets[sets_max];
    size_t n_sets = 0, length = size;
    for (char *at = memchr(copy, 0xff, size); at; at = memchr(at, 0xff, size - (size_t)(at - copy))) {
        if (!n_sets) length = (size_t)(at - copy);
        *at++ = 0;
        if (n_sets == sets_max) break;
        sets[n_sets++] = at;
    }
    error_list errors = {0};
    document *d = NULL;
    unsigned left = walk_max;
    if (document_parse(copy, length, "job", &variables, &errors, &d) == TW_OK) {
        walk(document_root(d), 1, &left);
        for (size_t i = 0; i < n_sets; i++) {
            const node *before = document_root(d);
            tw_status status = document_set(d, sets[i], &variables, &errors);
            check(status == TW_OK || (status == TW_ERR_JOB && document_root(d) == before));
            left = walk_max;
            walk(document_root(d), 1, &left);
        }
    } else {
        check(d == NULL && errors.total > 0);
    }
    document_free(d);
    check_errors(&errors);
    error_list_free(&errors);

    job *j = NULL;
    job_source source = {copy, length, "job", sets, n_sets, &variables, 0};
    tw_status status = job_parse(&source, &errors, &j);
    check(status == TW_OK ? errors.total == 0 && j != NULL : status == TW_ERR_JOB && errors.total > 0);
    if (j) bind_job(j, &errors);
    check_errors(&errors);
    job_free(j);
    error_list_free(&errors);
    free(copy);
    return 0;
}
