/* infer_csv.c: names from the header (or c0, c1, ...), types from the first rows. Entries of `columns`
 * say the types of the columns they name, the rest is inferred; without a header they name the columns
 * in order. */
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "io/csv_header.h"
#include "io/csv_rows.h"
#include "io/infer_internal.h"

typedef struct csv_inference {
    inference base;
    csv_names names;
    const type **types; /* as `columns` says; NULL: to be inferred */
    unsigned *seen;     /* types that all values so far can have */
    bool *any;          /* whether there was a value */
    csv_rows rows;
    bool opened;
    bool usable;        /* the file at hand has the same columns in the same order */
} csv_inference;

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

static int find_name(const csv_names *names, const char *name) {
    for (uint32_t i = 0; i < names->n; i++)
        if (!strcmp(names->names[i], name)) return (int)i;
    return -1;
}

static tw_status apply_columns(csv_inference *n, const char *file, tw_error *err) {
    const format *f = n->base.format;
    for (uint32_t i = 0; i < f->n_columns; i++) {
        int at = find_name(&n->names, f->columns[i].name);
        if (at < 0) {
            const char *near = nearest_name(f->columns[i].name, (const char *const *)n->names.names, n->names.n);
            error_set(err, TW_ERR_DATA, "the header has no column '%.80s'%s%.80s%s", f->columns[i].name,
                      near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
            error_in_data(err, file, 0);
            return TW_ERR_DATA;
        }
        n->types[at] = f->columns[i].type;
    }
    return TW_OK;
}

static tw_status open_rows(csv_inference *n, tw_error *err) {
    const format *f = n->base.format;
    n->rows = (csv_rows){.memory = n->base.memory, .n_fields = n->names.n, .rows_max = 4096,
                         .bytes_max = 1 << 20, .delimiter = f->delimiter, .quote = f->quote};
    n->opened = true;
    return csv_rows_open(&n->rows, err);
}

/* The names, from the first record there is. */
static tw_status learn_names(csv_inference *n, const uint8_t *text, size_t size, const char *file, tw_error *err) {
    format *f = n->base.format;
    tw_status status = csv_names_read(f, text, size, &n->names, err);
    if (status != TW_OK) {
        error_in_data(err, file, 0);
        return status;
    }
    for (uint32_t i = 0; !f->header && i < n->names.n; i++) {
        char name[16];
        snprintf(name, sizeof name, "c%u", i);
        free(n->names.names[i]);
        n->names.names[i] = strdup(name);
        if (!n->names.names[i]) return no_memory(err);
    }
    n->types = calloc(n->names.n, sizeof *n->types);
    n->seen = malloc(n->names.n * sizeof *n->seen);
    n->any = calloc(n->names.n, sizeof *n->any);
    if (!n->types || !n->seen || !n->any) return no_memory(err);
    for (uint32_t i = 0; i < n->names.n; i++) n->seen[i] = IS_ANY;
    if (f->header && !(f->header_file = strdup(file))) return no_memory(err);
    TRY(apply_columns(n, file, err));
    return open_rows(n, err);
}

static bool same_names(const csv_inference *n, const csv_names *other) {
    if (other->n != n->names.n) return false;
    for (uint32_t i = 0; i < other->n; i++)
        if (strcmp(other->names[i], n->names.names[i])) return false;
    return true;
}

static void look_at(csv_inference *n, uint32_t index) {
    const text_rows *rows = &n->rows.rows;
    bool last = index + 1 == n->names.n;
    for (uint32_t r = 0; r < rows->n && n->seen[index]; r++) {
        const uint32_t *ends = rows->ends + rows->first[r] + index;
        uint32_t begin = ends[-1] + 1, end = ends[0];
        if (last && end > begin && rows->text[end - 1] == '\r') end--;
        if (begin == end) continue;
        bool quoted = rows->quote && rows->text[begin] == rows->quote;
        n->any[index] = true;
        n->seen[index] &= value_types(rows->text + begin + quoted, end - begin - 2 * (size_t)quoted);
    }
}

static tw_status look_at_rows(csv_inference *n, const uint8_t *text, size_t size, tw_error *err) {
    csv_rows_feed(&n->rows, text, size);
    while (n->base.rows < INFER_ROWS) {
        tw_status status = csv_rows_next(&n->rows, err);
        if (status == TW_END) return TW_OK;
        if (status != TW_OK) return status;
        uint64_t left = INFER_ROWS - n->base.rows;
        if (n->rows.rows.n > left) n->rows.rows.n = (uint32_t)left;
        for (uint32_t i = 0; i < n->names.n; i++)
            if (!n->types[i]) look_at(n, i);
        n->base.rows += n->rows.rows.n;
        csv_rows_take(&n->rows);
    }
    return TW_OK;
}

static bool wants_rows(const csv_inference *n) {
    for (uint32_t i = 0; i < n->names.n; i++)
        if (!n->types[i]) return true;
    return false;
}

static tw_status csv_add(inference *base, const span *s, const char *file, bool file_start, tw_error *err) {
    csv_inference *n = (csv_inference *)base;
    const uint8_t *text = s->bytes;
    size_t size = s->size;
    if (file_start) {
        size_t mark = byte_order_mark(text, size);
        text += mark;
        size -= mark;
        n->usable = true;
        if (!size) return TW_OK;
        if (!n->opened) {
            TRY(learn_names(n, text, size, file, err));
        } else if (base->format->header) {
            csv_names other;
            TRY(csv_names_read(base->format, text, size, &other, err));
            n->usable = same_names(n, &other);
            csv_names_free(&other);
        }
        if (base->format->header) {
            size_t header = csv_header_size(base->format, text, size);
            text += header;
            size -= header;
        }
    }
    base->enough = n->opened && !wants_rows(n);
    return n->usable && !base->enough && size ? look_at_rows(n, text, size, err) : TW_OK;
}

static tw_status schema_from_columns(inference *base, tw_error *err) {
    const format *f = base->format;
    const char **names = malloc(f->n_columns * sizeof *names);
    const type **types = malloc(f->n_columns * sizeof *types);
    bool *inferred = calloc(f->n_columns, 1);
    tw_status status = names && types && inferred ? TW_OK : no_memory(err);
    for (uint32_t i = 0; i < f->n_columns && status == TW_OK; i++) {
        names[i] = f->columns[i].name;
        types[i] = f->columns[i].type;
    }
    if (status == TW_OK) status = inference_set_schema(base, names, types, inferred, f->n_columns, err);
    free(names);
    free(types);
    free(inferred);
    return status;
}

static tw_status csv_finish(inference *base, tw_error *err) {
    csv_inference *n = (csv_inference *)base;
    if (!n->opened && base->format->n_columns) return schema_from_columns(base, err);
    if (!n->opened) return error_set(err, TW_ERR_DATA, "there is no header: the input is empty; set columns");
    bool *inferred = malloc(n->names.n);
    if (!inferred) return no_memory(err);
    for (uint32_t i = 0; i < n->names.n; i++) {
        inferred[i] = !n->types[i];
        if (inferred[i]) n->types[i] = type_of_values(n->seen[i], n->any[i]);
    }
    tw_status status = inference_set_schema(base, (const char *const *)n->names.names, n->types, inferred,
                                            n->names.n, err);
    free(inferred);
    return status;
}

static void csv_free(inference *base) {
    csv_inference *n = (csv_inference *)base;
    csv_names_free(&n->names);
    csv_rows_close(&n->rows);
    free(n->types);
    free(n->seen);
    free(n->any);
}

static const inference_class csv_class = {csv_add, csv_finish, csv_free};

tw_status csv_inference_new(format *f, memory *m, inference **out, tw_error *err) {
    return inference_allocate(sizeof(csv_inference), &csv_class, f, m, out, err);
}
