/* csv_header.c: the first record of a CSV file. */
#include "io/csv_header.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "data/scan.h"
#include "data/utf8.h"
#include "io/decode_internal.h"

enum { CSV_NAMES_MAX = 65536 };

size_t byte_order_mark(const uint8_t *text, size_t size) {
    return size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

size_t csv_header_size(const format *f, const uint8_t *text, size_t size) {
    size_t at = 0;
    bool quoted = false;
    while (at < size) {
        size_t end = at + find_byte(text + at, size - at, '\n');
        if (f->quote) quoted ^= count_byte(text + at, end - at, f->quote) & 1;
        if (end == size) break;
        if (!quoted) return end + 1;
        at = end + 1;
    }
    return size;
}

static tw_status add_name(csv_names *out, const uint8_t *p, size_t n, uint8_t quote, tw_error *err) {
    if (out->n == CSV_NAMES_MAX) return error_set(err, TW_ERR_DATA, "the header names more than %d columns", CSV_NAMES_MAX);
    if ((out->n & (out->n - 1)) == 0) { /* a power of two is full */
        char **more = realloc(out->names, (out->n ? (size_t)out->n * 2 : 1) * sizeof *more);
        if (!more) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
        out->names = more;
    }
    if (!utf8_valid((const char *)p, n)) return error_set(err, TW_ERR_DATA, "the header is no valid UTF-8");
    if (memchr(p, 0, n)) return error_set(err, TW_ERR_DATA, "the header holds a zero byte");
    bool quoted = quote && n && p[0] == quote;
    if (quoted && (n < 2 || p[n - 1] != quote))
        return error_set(err, TW_ERR_DATA, "the header has text after a closing quote");
    p += quoted;
    n -= quoted ? 2 : 0;
    char *name = malloc(n + 16);
    if (!name) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    size_t made = 0;
    for (size_t i = 0; i < n; i++) {
        name[made++] = (char)p[i];
        i += quoted && p[i] == quote;
    }
    name[made] = 0;
    if (!made) snprintf(name, 16, "c%u", out->n);
    out->names[out->n++] = name;
    return TW_OK;
}

static int compare_names(const void *a, const void *b) {
    char *const *x = *(char **const *)a, *const *y = *(char **const *)b;
    int order = strcmp(*x, *y);
    return order ? order : (x > y) - (x < y);
}

/* Later ones of equal names get a number. Rounds, for a name made so may be there already. */
static tw_status make_distinct(csv_names *names, tw_error *err) {
    char ***sorted = malloc((size_t)names->n * sizeof *sorted + 1);
    bool again = sorted != NULL, failed = !sorted;
    for (unsigned round = 0; again && !failed && round < 100; round++) {
        again = false;
        for (uint32_t i = 0; i < names->n; i++) sorted[i] = &names->names[i];
        qsort(sorted, names->n, sizeof *sorted, compare_names);
        for (uint32_t i = 0, same; i < names->n; i += same) {
            for (same = 1; i + same < names->n && !strcmp(*sorted[i], *sorted[i + same]); same++) {}
            size_t length = strlen(*sorted[i]);
            for (uint32_t k = 1; k < same && !failed; k++) {
                char *name = malloc(length + 16);
                failed = !name;
                if (failed) break;
                snprintf(name, length + 16, "%s_%u", *sorted[i], k + 1);
                free(*sorted[i + k]);
                *sorted[i + k] = name;
                again = true;
            }
        }
    }
    free(sorted);
    return failed ? error_set(err, TW_ERR_MEMORY, "the system's memory is used up") : TW_OK;
}

static tw_status split_names(const format *f, const uint8_t *text, size_t size, csv_names *out, tw_error *err) {
    size_t begin = 0;
    bool quoted = false;
    for (size_t at = 0; at <= size; at++) {
        if (at < size && f->quote && text[at] == f->quote) quoted = !quoted;
        if (at < size && (quoted || text[at] != f->delimiter)) continue;
        TRY(add_name(out, text + begin, at - begin, f->quote, err));
        begin = at + 1;
    }
    return quoted ? error_set(err, TW_ERR_DATA, "the header has a quote that is never closed")
                  : make_distinct(out, err);
}

tw_status csv_names_read(const format *f, const uint8_t *text, size_t size, csv_names *out, tw_error *err) {
    *out = (csv_names){0};
    size = csv_header_size(f, text, size);
    if (size && text[size - 1] == '\n') size--;
    if (size && text[size - 1] == '\r') size--;
    tw_status status = split_names(f, text, size, out, err);
    if (status != TW_OK) csv_names_free(out);
    return status;
}

void csv_names_free(csv_names *n) {
    for (uint32_t i = 0; i < n->n; i++) free(n->names[i]);
    free(n->names);
    *n = (csv_names){0};
}

static tw_status map_names(const format *f, const csv_names *names, csv_layout *out, tw_error *err) {
    out->same = true;
    for (uint32_t c = 0; c < f->schema->n; c++) out->field[c] = UINT32_MAX;
    for (uint32_t i = 0; i < names->n; i++) {
        bool in_place = i < f->schema->n && !strcmp(names->names[i], f->schema->fields[i].name);
        int c = in_place ? (int)i : schema_find(f->schema, names->names[i]);
        if (c < 0) {
            char shown[SHOWN_MAX];
            shown_text((const uint8_t *)names->names[i], strlen(names->names[i]), shown);
            return error_set(err, TW_ERR_DATA, "the header has a column '%s' that %s%.200s has not", shown,
                             f->header_file ? "" : "the job", f->header_file ? f->header_file : "");
        }
        out->field[c] = i;
        out->same &= in_place;
    }
    for (uint32_t c = 0; c < f->schema->n; c++)
        if (out->field[c] == UINT32_MAX)
            return error_set(err, TW_ERR_DATA, "the header has no column '%.80s'%s%.200s%s",
                             f->schema->fields[c].name, f->header_file ? " (" : "",
                             f->header_file ? f->header_file : "", f->header_file ? " has it)" : "");
    return TW_OK;
}

tw_status csv_layout_from_header(const format *f, const uint8_t *text, size_t size, csv_layout **out,
                                 tw_error *err) {
    csv_names names;
    TRY(csv_names_read(f, text, size, &names, err));
    csv_layout *layout = malloc(sizeof *layout + f->schema->n * sizeof *layout->field);
    tw_status status = layout ? map_names(f, &names, layout, err)
                              : error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    csv_names_free(&names);
    if (status == TW_OK) *out = layout;
    else free(layout);
    return status;
}
