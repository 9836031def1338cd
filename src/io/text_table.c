#include "io/text_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "io/encode_internal.h"

#define GAP 2              /* blanks between columns */
#define CELL_WIDTH_MIN 6   /* columns are not made narrower to fit */
#define CELL_BYTES_MAX 400 /* of a text, as nobody reads more in a cell */

typedef struct cell {
    char *text;
    uint32_t width; /* terminal columns */
    bool null;
} cell;

struct text_table {
    schema *schema;
    uint32_t rows, rows_max;
    uint64_t counted;
    cell *cells; /* rows_max + 1 rows of schema->n; the first holds the names */
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a table"); }

/* ---- cells ---- */

/* Bytes and columns of the character at p; what is no character or would move the cursor is one byte of
 * no width. */
static size_t next_character(const char *p, size_t n, int *width) {
    utf8proc_int32_t c;
    utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)n, &c);
    *width = -1;
    if (used <= 0) return 1;
    utf8proc_category_t kind = utf8proc_category(c);
    if (kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_ZL ||
        kind == UTF8PROC_CATEGORY_ZP || kind == UTF8PROC_CATEGORY_CS)
        return (size_t)used;
    *width = utf8proc_charwidth(c);
    return (size_t)used;
}

/* Shows what cannot be shown as an escape. */
static void append_shown(struct text *t, const char *p, size_t n) {
    if (n > CELL_BYTES_MAX) n = CELL_BYTES_MAX;
    for (size_t i = 0; i < n;) {
        int width;
        size_t used = next_character(p + i, n - i, &width);
        if (width >= 0) text_append(t, p + i, used);
        else if (p[i] == '\n') text_append_string(t, "\\n");
        else if (p[i] == '\t') text_append_string(t, "\\t");
        else if (p[i] == '\r') text_append_string(t, "\\r");
        else
            for (size_t k = 0; k < used; k++) text_printf(t, "\\x%02x", (uint8_t)p[i + k]);
        i += used;
    }
}

static uint32_t width_of(const char *text) {
    uint32_t total = 0;
    size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        int width;
        i += next_character(text + i, n - i, &width);
        total += width > 0 ? (uint32_t)width : 0;
    }
    return total;
}

static tw_status cell_set(cell *c, struct text *t, tw_error *err) {
    c->text = text_take(t);
    if (!c->text) return no_memory(err);
    c->width = width_of(c->text);
    return TW_OK;
}

static tw_status cell_of_value(cell *to, const column *c, uint32_t row, tw_error *err) {
    struct text t = {0};
    to->null = !column_is_valid(c, row);
    if (to->null) {
        text_append_string(&t, "null");
    } else if (type_is_view(c->type)) {
        const view *v = (const view *)c->values + row;
        append_shown(&t, (const char *)view_data(v), v->size);
    } else {
        put_value put = encode_plain_put(c->type);
        char *bytes = malloc(encode_json_bound(c, row) + ENCODE_SLACK);
        if (!bytes) return no_memory(err);
        uint8_t *end = (put ? put : encode_json_put(c->type))(NULL, c, row, (uint8_t *)bytes);
        append_shown(&t, bytes, (size_t)(end - (uint8_t *)bytes));
        free(bytes);
    }
    return cell_set(to, &t, err);
}

/* ---- rows ---- */

tw_status text_table_new(schema *s, uint32_t rows_max, text_table **out, tw_error *err) {
    text_table *t = calloc(1, sizeof *t);
    if (!t) return no_memory(err);
    t->schema = schema_ref(s);
    t->rows_max = rows_max;
    t->cells = calloc(((size_t)rows_max + 1) * s->n, sizeof *t->cells);
    tw_status status = t->cells ? TW_OK : no_memory(err);
    for (uint32_t i = 0; i < s->n && status == TW_OK; i++) {
        struct text name = {0};
        append_shown(&name, s->fields[i].name, strlen(s->fields[i].name));
        status = cell_set(&t->cells[i], &name, err);
    }
    if (status != TW_OK) {
        text_table_free(t);
        return status;
    }
    *out = t;
    return TW_OK;
}

void text_table_free(text_table *t) {
    if (!t) return;
    for (size_t i = 0; t->cells && i < ((size_t)t->rows_max + 1) * t->schema->n; i++) free(t->cells[i].text);
    free(t->cells);
    schema_unref(t->schema);
    free(t);
}

tw_status text_table_add(text_table *t, const batch *b, tw_error *err) {
    uint32_t n = t->schema->n;
    t->counted += b->rows;
    for (uint32_t row = 0; row < b->rows && t->rows < t->rows_max; row++, t->rows++)
        for (uint32_t i = 0; i < n; i++)
            TRY(cell_of_value(&t->cells[((size_t)t->rows + 1) * n + i], &b->columns[i], row, err));
    return TW_OK;
}

/* ---- printing ---- */

static bool goes_right(const type *t) { return type_is_number(t); }

/* How wide each column gets; returns how many columns fit. */
static uint32_t fit(const text_table *t, uint32_t width, uint32_t *widths) {
    uint32_t n = t->schema->n;
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        widths[i] = 0;
        for (uint32_t row = 0; row <= t->rows; row++)
            if (t->cells[(size_t)row * n + i].width > widths[i]) widths[i] = t->cells[(size_t)row * n + i].width;
        total += widths[i] + GAP;
    }
    while (total > width + GAP) {
        uint32_t widest = 0;
        for (uint32_t i = 1; i < n; i++)
            if (widths[i] > widths[widest]) widest = i;
        if (widths[widest] <= CELL_WIDTH_MIN) break;
        widths[widest]--;
        total--;
    }
    uint32_t shown = 0;
    for (size_t used = 0; shown < n; shown++) {
        used += widths[shown] + (shown ? GAP : 0);
        if (used > width && shown) break;
    }
    return shown;
}

/* The cell's text, cut to `width` with a mark. */
static void print_text(struct text *out, const cell *c, uint32_t width) {
    if (c->width <= width) {
        text_append_string(out, c->text);
        return;
    }
    size_t n = strlen(c->text);
    uint32_t used = 0;
    for (size_t i = 0; i < n;) {
        int wide;
        size_t bytes = next_character(c->text + i, n - i, &wide);
        if (used + (wide > 0 ? (uint32_t)wide : 0) > width - 1) break;
        used += wide > 0 ? (uint32_t)wide : 0;
        text_append(out, c->text + i, bytes);
        i += bytes;
    }
    text_append_string(out, "…");
    text_append_repeated(out, ' ', width - 1 - used);
}

static void print_cell(struct text *out, const cell *c, uint32_t width, bool right, bool last, const char *style) {
    uint32_t blanks = c->width < width ? width - c->width : 0;
    if (right) text_append_repeated(out, ' ', blanks);
    text_append_string(out, style);
    print_text(out, c, width);
    if (*style) text_append_string(out, "\033[0m");
    if (!right && !last) text_append_repeated(out, ' ', blanks);
    if (!last) text_append_repeated(out, ' ', GAP);
}

static void print_count(struct text *out, uint64_t n) {
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) text_append_char(out, ',');
        text_append_char(out, digits[i]);
    }
}

tw_status text_table_print(const text_table *t, uint32_t width, bool styled, struct text *out, tw_error *err) {
    uint32_t n = t->schema->n;
    uint32_t *widths = malloc((n + 1) * sizeof *widths);
    if (!widths) return no_memory(err);
    uint32_t shown = fit(t, width, widths);
    for (uint32_t row = 0; row <= t->rows; row++) {
        for (uint32_t i = 0; i < shown; i++) {
            const cell *c = &t->cells[(size_t)row * n + i];
            const char *style = !styled ? "" : row == 0 ? "\033[1m" : c->null ? "\033[2m" : "";
            print_cell(out, c, widths[i], goes_right(t->schema->fields[i].type), i + 1 == shown, style);
        }
        text_append_char(out, '\n');
    }
    free(widths);
    if (styled) text_append_string(out, "\033[2m");
    text_append_char(out, '(');
    if (t->rows < t->counted) text_printf(out, "%u of ", t->rows);
    print_count(out, t->counted);
    text_append_string(out, t->counted == 1 ? " row" : " rows");
    if (shown < n) text_printf(out, ", %u of %u columns", shown, n);
    if (t->rows < t->counted || shown < n) text_append_string(out, "; a pipe gets all");
    text_append_char(out, ')');
    if (styled) text_append_string(out, "\033[0m");
    text_append_char(out, '\n');
    return out->failed ? no_memory(err) : TW_OK;
}
