/* format.c: the options that say how to read, checked. */
#include "io/format.h"

#include <stdlib.h>

#include "base/text.h"
#include "io/decompress.h"
#include "io/text_columns.h"

const char *const format_names[FORMAT_KINDS + 1] = {
#define X(kind, name) name,
    FORMAT_TABLE(X)
#undef X
        NULL};

format_kind format_of_path(const char *path) {
    static const struct {
        const char *ending;
        format_kind kind;
    } endings[] = {{".csv", FORMAT_CSV},         {".json", FORMAT_JSON},   {".jsonl", FORMAT_JSON},
                   {".parquet", FORMAT_PARQUET}, {".arrow", FORMAT_ARROW}, {".libsvm", FORMAT_LIBSVM}};
    size_t n = compression_strip(path);
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        size_t k = strlen(endings[i].ending);
        if (n >= k && !memcmp(path + n - k, endings[i].ending, k)) return endings[i].kind;
    }
    return FORMAT_KINDS;
}

framing format_framing(const format *f) {
    switch (f->kind) {
    case FORMAT_CSV: return f->quote ? FRAMING_QUOTED : FRAMING_LINES;
    case FORMAT_RECORDS: return FRAMING_FIXED;
    case FORMAT_BINARY: return FRAMING_WHOLE;
    default: return FRAMING_LINES;
    }
}

void format_free(format *f) {
    for (uint32_t i = 0; i < f->n_columns; i++) free(f->columns[i].name);
    free(f->columns);
    free(f->inferred);
    free(f->header_file);
    schema_unref(f->schema);
    *f = (format){0};
}

/* ---- kind ---- */

static tw_status choose_kind(error_list *errors, const args *a, const char *const *paths, size_t n_paths,
                             format_kind fallback, format *f) {
    int given = args_enum(a, "format");
    f->kind = given >= 0 ? (format_kind)given : FORMAT_KINDS;
    const char *first = NULL;
    for (size_t i = 0; i < n_paths && given < 0; i++) {
        format_kind kind = format_of_path(paths[i]);
        if (kind == FORMAT_KINDS) kind = fallback;
        if (first && kind != f->kind)
            return args_error(a, "path", errors, "the endings of '%s' and '%s' say different formats: set format",
                              first, paths[i]);
        first = paths[i];
        f->kind = kind;
    }
    if (f->kind == FORMAT_KINDS) f->kind = fallback;
    if (f->kind == FORMAT_PARQUET || f->kind == FORMAT_ARROW)
        return args_error(a, given >= 0 ? "format" : "path", errors, "the format %s cannot be read yet",
                          format_names[f->kind]);
    return TW_OK;
}

static tw_status read_byte(error_list *errors, const args *a, const char *name, uint8_t fallback, uint8_t *out) {
    const char *text = args_given(a, name) ? args_string(a, name) : NULL;
    *out = fallback;
    if (!text) return TW_OK;
    if (!strcmp(text, "\\t")) text = "\t";
    bool none = !*text && !strcmp(name, "quote");
    bool one = *text && !text[1] && (uint8_t)*text < 0x80 && *text != '\n' && *text != '\r';
    if (!none && !one) return args_error(a, name, errors, "must be one ASCII character, not a line end");
    *out = (uint8_t)*text;
    return TW_OK;
}

static tw_status check_csv(error_list *errors, const args *a, format *f) {
    f->header = args_bool(a, "header");
    TRY(read_byte(errors, a, "delimiter", ',', &f->delimiter));
    TRY(read_byte(errors, a, "quote", '"', &f->quote));
    if (f->delimiter != f->quote) return TW_OK;
    return args_error(a, args_given(a, "quote") ? "quote" : "delimiter", errors, "delimiter and quote are the same");
}

/* Options of other formats are most likely a mistake. */
static tw_status refuse_strangers(error_list *errors, const args *a, const format *f) {
    static const char *const csv_only[] = {"delimiter", "quote"};
    for (size_t i = 0; i < COUNT_OF(csv_only) && f->kind != FORMAT_CSV; i++)
        if (args_given(a, csv_only[i]))
            return args_error(a, csv_only[i], errors, "is for csv, but the format is %s", format_names[f->kind]);
    if (f->kind != FORMAT_RECORDS && args_given(a, "length"))
        return args_error(a, "length", errors, "is for records, but the format is %s", format_names[f->kind]);
    if (f->kind == FORMAT_RECORDS && !args_given(a, "length"))
        return args_error(a, "format", errors, "records need their length in bytes: set length");
    return TW_OK;
}

/* ---- columns ---- */

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

static tw_status add_column(format *f, const char *name, format_column made, tw_error *err) {
    format_column *more = realloc(f->columns, (f->n_columns + 1) * sizeof *more);
    if (more) f->columns = more;
    made.name = more ? strdup(name) : NULL;
    if (!made.name) return no_memory(err);
    f->columns[f->n_columns++] = made;
    return TW_OK;
}

bool format_can_read(format_kind kind, const type *t) {
    switch (kind) {
    case FORMAT_LINES: return type_is_view(t);
    case FORMAT_CSV: return text_column_can_read(t);
    default: return true;
    }
}

/* `name: type`. */
static tw_status unknown_type(error_list *errors, const char *name, const node *n) {
#define X(kind, name, bytes) name,
    static const char *const known[] = {TYPE_TABLE(X)};
#undef X
    char shown[64];
    struct nearest near = {n->kind == NODE_SCALAR ? n->text : ""};
    for (size_t i = 0; i < COUNT_OF(known); i++) nearest_try(&near, known[i]);
    return error_list_add(errors, n->at, "column '%s': %s is no type%s%s%s", name, node_describe(n, shown),
                          near.best ? "; did you mean '" : "", near.best ? near.best : "", near.best ? "'?" : "");
}

static tw_status typed_column(error_list *errors, format *f, const node_entry *e, tw_error *err) {
    char name[64];
    const node *n = e->value;
    const type *t = n->kind == NODE_SCALAR ? type_parse(n->text) : NULL;
    if (!t)
        return unknown_type(errors, e->key, n);
    if (!format_can_read(f->kind, t))
        return error_list_add(errors, n->at, "column '%s': %s cannot be read as %s", e->key,
                             format_names[f->kind], type_name(t, name, sizeof name));
    return add_column(f, e->key, (format_column){.type = t}, err);
}

/* `name: [offset, length]`. */
static bool read_extent(const node *n, uint32_t record_bytes, format_column *out) {
    int64_t values[2];
    if (n->kind != NODE_LIST || n->n != 2) return false;
    for (int i = 0; i < 2; i++) {
        if (n->items[i]->kind != NODE_SCALAR) return false;
        char *end;
        values[i] = strtoll(n->items[i]->text, &end, 10);
        if (end == n->items[i]->text || *end || values[i] < 0 || values[i] > record_bytes) return false;
    }
    out->offset = (uint32_t)values[0];
    out->length = (uint32_t)values[1];
    return values[0] + values[1] <= record_bytes;
}

static tw_status placed_column(error_list *errors, format *f, const node_entry *e, tw_error *err) {
    format_column made = {.type = type_of(TYPE_BINARY)};
    if (!read_extent(e->value, f->record_bytes, &made))
        return error_list_add(errors, e->value->at,
                             "column '%s' must be [offset, length] within the %u bytes of a record", e->key,
                             f->record_bytes);
    return add_column(f, e->key, made, err);
}

static tw_status check_edges(error_list *errors, const args *a, const format *f) {
    static const char *const names[] = {"from", "to", "weight"};
    for (uint32_t i = 0; i < f->n_columns; i++) {
        const type *t = f->columns[i].type;
        bool named = i < 3 && !strcmp(f->columns[i].name, names[i]);
        bool typed = named && (i == 2 ? t->kind == TYPE_FLOAT32 || t->kind == TYPE_FLOAT64
                                      : type_is_integer(t) || type_is_view(t));
        if (!typed)
            return args_error(a, "columns", errors, "edges have from and to (integers or strings) and perhaps weight "
                              "(a float), in this order");
    }
    return f->n_columns == 1 ? args_error(a, "columns", errors, "edges need from and to") : TW_OK;
}

static tw_status one_name(error_list *errors, const args *a, format *f, const node *n, tw_error *err) {
    while (n->kind == NODE_LIST && n->n == 1) n = n->items[0];
    if (f->kind != FORMAT_LINES || n->kind != NODE_SCALAR)
        return error_list_add(errors, n->at, "columns must be a map of %s",
                             f->kind == FORMAT_RECORDS ? "names and [offset, length]" : "names and types");
    return add_column(f, n->text, (format_column){.type = type_of(TYPE_STRING)}, err);
}

static tw_status read_columns(error_list *errors, const args *a, format *f, tw_error *err) {
    const node *n = args_node(a, "columns");
    if (!n || n->kind == NODE_NULL) return TW_OK;
    if (f->kind == FORMAT_BINARY || f->kind == FORMAT_LIBSVM)
        return args_error(a, "columns", errors, "%s has fixed columns", format_names[f->kind]);
    if (n->kind != NODE_MAP) return one_name(errors, a, f, n, err);
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < n->n; i++) {
        const node_entry *e = &n->entries[i];
        tw_status one = f->kind == FORMAT_RECORDS ? placed_column(errors, f, e, err) : typed_column(errors, f, e, err);
        if (one != TW_OK && one != TW_ERR_JOB) return one;
        if (one != TW_OK) status = one;
    }
    TRY(status);
    if (!f->n_columns) return args_error(a, "columns", errors, "no column is named");
    if (f->kind == FORMAT_LINES && f->n_columns != 1)
        return args_error(a, "columns", errors, "lines have one column");
    return f->kind == FORMAT_EDGES ? check_edges(errors, a, f) : TW_OK;
}

/* ---- schemas that need no look at data ---- */

tw_status format_schema_of_columns(format *f, tw_error *err) {
    const char **names = malloc(f->n_columns * sizeof *names + 1);
    const type **types = malloc(f->n_columns * sizeof *types + 1);
    tw_status status = names && types ? TW_OK : no_memory(err);
    for (uint32_t i = 0; i < f->n_columns && status == TW_OK; i++) {
        names[i] = f->columns[i].name;
        types[i] = f->columns[i].type;
    }
    if (status == TW_OK) status = schema_new(names, types, f->n_columns, &f->schema, err);
    free(names);
    free(types);
    return status;
}

static tw_status fixed_schema(format *f, tw_error *err) {
    format_column text = {.type = type_of(TYPE_STRING)}, whole = {.type = type_of(TYPE_BINARY), .length = f->record_bytes};
    switch (f->kind) {
    case FORMAT_LINES:
        if (!f->n_columns) TRY(add_column(f, "line", text, err));
        break;
    case FORMAT_RECORDS:
        if (!f->n_columns) TRY(add_column(f, "record", whole, err));
        break;
    case FORMAT_BINARY:
        TRY(add_column(f, "content", whole, err));
        TRY(add_column(f, "path", text, err));
        break;
    case FORMAT_LIBSVM:
        TRY(add_column(f, "label", (format_column){.type = type_of(TYPE_FLOAT64)}, err));
        TRY(add_column(f, "features", (format_column){.type = type_of(TYPE_SPARSE)}, err));
        break;
    default: /* csv without a header, json, edges: if columns say all */
        if (!f->n_columns || (f->kind == FORMAT_CSV && f->header)) return TW_OK;
        break;
    }
    return format_schema_of_columns(f, err);
}

tw_status format_from_args(error_list *errors, const args *a, const char *const *paths, size_t n_paths,
                           format_kind fallback, format *out, tw_error *err) {
    *out = (format){0};
    tw_status status = choose_kind(errors, a, paths, n_paths, fallback, out);
    if (status == TW_OK && out->kind == FORMAT_CSV) status = check_csv(errors, a, out);
    if (status == TW_OK) status = refuse_strangers(errors, a, out);
    if (status == TW_OK && out->kind == FORMAT_RECORDS) out->record_bytes = (uint32_t)args_int(a, "length");
    if (status == TW_OK) status = read_columns(errors, a, out, err);
    if (status == TW_OK) status = fixed_schema(out, err);
    if (status != TW_OK) format_free(out);
    return status;
}
