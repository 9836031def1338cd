#include "io/json_values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "data/number_text.h"
#include "data/time_text.h"
#include "io/decode_internal.h"

/* ---- the tree of paths ---- */

static int compare_key(const json_node *n, const uint8_t *key, size_t size) {
    if (n->key_size != size) return n->key_size < size ? -1 : 1;
    return memcmp(n->key, key, size);
}

static json_node *node_new(const char *key, size_t size) {
    json_node *n = calloc(1, sizeof *n);
    if (!n) return NULL;
    n->key = malloc(size + 1);
    if (!n->key) {
        free(n);
        return NULL;
    }
    memcpy(n->key, key, size);
    n->key[size] = 0;
    n->key_size = (uint32_t)size;
    n->index = -1;
    return n;
}

static json_node *child_of(json_node *n, const char *key, size_t size) {
    for (uint32_t i = 0; i < n->n_children; i++)
        if (compare_key(n->children[i], (const uint8_t *)key, size) == 0) return n->children[i];
    json_node **more = realloc(n->children, (n->n_children + 1) * sizeof *more);
    if (!more) return NULL;
    n->children = more;
    json_node *child = node_new(key, size);
    if (child) n->children[n->n_children++] = child;
    return child;
}

static int compare_nodes(const void *a, const void *b) {
    const json_node *x = *(json_node *const *)a, *y = *(json_node *const *)b;
    return compare_key(x, (const uint8_t *)y->key, y->key_size);
}

static bool sort_children(json_node *n) {
    size_t bytes = n->n_children * sizeof *n->sorted;
    n->sorted = malloc(bytes + 1);
    if (!n->sorted) return false;
    if (bytes) {
        memcpy(n->sorted, n->children, bytes);
        qsort(n->sorted, n->n_children, sizeof *n->sorted, compare_nodes);
    }
    for (uint32_t i = 0; i < n->n_children; i++)
        if (!sort_children(n->children[i])) return false;
    return true;
}

json_node *json_tree_new(const schema *s) {
    json_node *root = node_new("", 0);
    bool good = root != NULL;
    for (uint32_t c = 0; c < s->n && good; c++) {
        json_node *at = root;
        for (const char *p = s->fields[c].name; at; p++) {
            size_t size = strcspn(p, ".");
            at = child_of(at, p, size);
            p += size;
            if (!*p) break;
        }
        good = at != NULL;
        if (good) at->index = (int)c;
    }
    if (good && sort_children(root)) return root;
    json_tree_free(root);
    return NULL;
}

void json_tree_free(json_node *n) {
    if (!n) return;
    for (uint32_t i = 0; i < n->n_children; i++) json_tree_free(n->children[i]);
    free(n->children);
    free(n->sorted);
    free(n->key);
    free(n);
}

static json_node *find_child(json_node *n, const uint8_t *key, size_t size) {
    if (n->expected < n->n_children && compare_key(n->children[n->expected], key, size) == 0)
        return n->children[n->expected++];
    uint32_t low = 0, high = n->n_children;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = compare_key(n->sorted[middle], key, size);
        if (order == 0) return n->sorted[middle];
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

/* A key that holds dots itself is the same path. */
static json_node *find_path(json_node *n, const uint8_t *key, size_t size) {
    json_node *child = find_child(n, key, size);
    while (!child && n) {
        const uint8_t *dot = memchr(key, '.', size);
        if (!dot) return find_child(n, key, size);
        n = find_child(n, key, (size_t)(dot - key));
        size -= (size_t)(dot + 1 - key);
        key = dot + 1;
    }
    return child;
}

void json_find(json_node *tree, const uint64_t *tape, const uint8_t *strings, size_t at, uint32_t *slots) {
    size_t end = (uint32_t)tape_payload(tape[at]) - 1;
    tree->expected = 0;
    for (size_t i = at + 1; i < end;) {
        json_string key = tape_string(tape, strings, i++);
        json_node *child = find_path(tree, key.bytes, key.size);
        if (child && child->index >= 0) slots[child->index] = (uint32_t)i;
        if (child && child->n_children && tape_kind(tape[i]) == '{') json_find(child, tape, strings, i, slots);
        i = tape_next(tape, i);
    }
}

/* ---- values ---- */

static double tape_double(const uint64_t *tape, size_t at) {
    double value;
    switch (tape_kind(tape[at])) {
    case 'l': return (double)(int64_t)tape[at + 1];
    case 'u': return (double)tape[at + 1];
    default: memcpy(&value, &tape[at + 1], 8); return value;
    }
}

static bool is_number(uint8_t kind) { return kind == 'l' || kind == 'u' || kind == 'd'; }

/* A float without a fraction is an integer too: writers differ in that. */
static json_fit fits_integer(const uint64_t *tape, size_t at, int64_t low, int64_t high, int64_t *out) {
    uint8_t kind = tape_kind(tape[at]);
    if (!is_number(kind)) return JSON_MISFIT;
    if (kind == 'u') return JSON_RANGE;
    int64_t value = (int64_t)tape[at + 1];
    if (kind == 'd') {
        double d = tape_double(tape, at);
        if (d != floor(d)) return JSON_MISFIT;
        if (fabs(d) > 9007199254740992.0) return JSON_RANGE;
        value = (int64_t)d;
    }
    *out = value;
    return value < low || value > high ? JSON_RANGE : JSON_FITS;
}

static json_fit fits_float32(const uint64_t *tape, size_t at) {
    if (!is_number(tape_kind(tape[at]))) return JSON_MISFIT;
    return isinf((float)tape_double(tape, at)) ? JSON_RANGE : JSON_FITS;
}

static json_fit fits_time(const type *t, json_string s, int64_t *out) {
    int32_t days = 0;
    parse_status status = t->kind == TYPE_DATE ? parse_date((const char *)s.bytes, s.size, &days)
                                               : parse_timestamp((const char *)s.bytes, s.size, out);
    if (t->kind == TYPE_DATE) *out = days;
    return status == PARSE_OK ? JSON_FITS : status == PARSE_RANGE ? JSON_RANGE : JSON_MISFIT;
}

static json_fit fits_items(const type *item, const uint64_t *tape, const uint8_t *strings, size_t at) {
    size_t end = (uint32_t)tape_payload(tape[at]) - 1;
    for (size_t i = at + 1; i < end; i = tape_next(tape, i)) {
        json_fit fit = json_value_fits(item, tape, strings, i);
        if (fit != JSON_FITS) return fit;
    }
    return JSON_FITS;
}

/* What JSON has no number for is written as null: a NaN. */
static json_fit fits_float32_or_null(const uint64_t *tape, size_t at) {
    return tape_kind(tape[at]) == 'n' ? JSON_FITS : fits_float32(tape, at);
}

static json_fit fits_vector(uint32_t width, const uint64_t *tape, size_t at) {
    size_t end = (uint32_t)tape_payload(tape[at]) - 1, n = 0;
    for (size_t i = at + 1; i < end; i = tape_next(tape, i), n++) {
        json_fit fit = fits_float32_or_null(tape, i);
        if (fit != JSON_FITS) return fit;
    }
    return n == width ? JSON_FITS : JSON_MISFIT;
}

/* Where the two arrays of a sparse value stand; 0: missing. Other fields are ignored, as elsewhere. */
typedef struct sparse_arrays {
    size_t indices, values;
} sparse_arrays;

static sparse_arrays find_arrays(const uint64_t *tape, const uint8_t *strings, size_t at) {
    sparse_arrays found = {0};
    size_t end = (uint32_t)tape_payload(tape[at]) - 1;
    for (size_t i = at + 1; i < end; i = tape_next(tape, i)) {
        json_string key = tape_string(tape, strings, i++);
        if (tape_kind(tape[i]) != '[') continue;
        if (key.size == 7 && memcmp(key.bytes, "indices", 7) == 0) found.indices = i;
        if (key.size == 6 && memcmp(key.bytes, "values", 6) == 0) found.values = i;
    }
    return found;
}

/* Indices from 0 that rise, and as many values. */
static json_fit fits_sparse(const uint64_t *tape, const uint8_t *strings, size_t at) {
    sparse_arrays a = find_arrays(tape, strings, at);
    if (!a.indices || !a.values) return JSON_MISFIT;
    size_t end = (uint32_t)tape_payload(tape[a.indices]) - 1, values_end = (uint32_t)tape_payload(tape[a.values]) - 1;
    size_t k = a.values + 1;
    int64_t index = -1;
    for (size_t i = a.indices + 1; i < end; i = tape_next(tape, i), k = tape_next(tape, k)) {
        int64_t before = index;
        json_fit fit = fits_integer(tape, i, 0, INT32_MAX, &index);
        if (fit == JSON_FITS && (k == values_end || index <= before)) fit = JSON_MISFIT;
        if (fit == JSON_FITS) fit = fits_float32_or_null(tape, k);
        if (fit != JSON_FITS) return fit;
    }
    return k == values_end ? JSON_FITS : JSON_MISFIT;
}

static json_fit fits_binary(json_string s) {
    size_t bytes;
    return base64_decode(s.bytes, s.size, NULL, &bytes) ? JSON_FITS : JSON_MISFIT;
}

json_fit json_value_fits(const type *t, const uint64_t *tape, const uint8_t *strings, size_t at) {
    uint8_t kind = tape_kind(tape[at]);
    int64_t value;
    if (kind == 'n') return JSON_FITS;
    switch (t->kind) {
    case TYPE_BOOL: return kind == 't' || kind == 'f' ? JSON_FITS : JSON_MISFIT;
    case TYPE_INT32: return fits_integer(tape, at, INT32_MIN, INT32_MAX, &value);
    case TYPE_INT64: return fits_integer(tape, at, INT64_MIN, INT64_MAX, &value);
    case TYPE_FLOAT32: return fits_float32(tape, at);
    case TYPE_FLOAT64: return is_number(kind) ? JSON_FITS : JSON_MISFIT;
    case TYPE_DATE:
    case TYPE_TIMESTAMP: return kind == '"' ? fits_time(t, tape_string(tape, strings, at), &value) : JSON_MISFIT;
    case TYPE_STRING: return kind == '"' ? JSON_FITS : JSON_MISFIT;
    case TYPE_BINARY: return kind == '"' ? fits_binary(tape_string(tape, strings, at)) : JSON_MISFIT;
    case TYPE_LIST: return kind == '[' ? fits_items(t->item, tape, strings, at) : JSON_MISFIT;
    case TYPE_VECTOR: return kind == '[' ? fits_vector(t->width, tape, at) : JSON_MISFIT;
    case TYPE_SPARSE: return kind == '{' ? fits_sparse(tape, strings, at) : JSON_MISFIT;
    default: return JSON_MISFIT;
    }
}

static tw_status append_list(column_builder *b, const type *t, const uint64_t *tape, const uint8_t *strings,
                             size_t at, tw_error *err) {
    size_t end = (uint32_t)tape_payload(tape[at]) - 1;
    column_builder *items = column_builder_child(b, 0);
    for (size_t i = at + 1; i < end; i = tape_next(tape, i))
        TRY(json_append(items, t->item, tape, strings, i, err));
    return column_builder_end_list(b, err);
}

static float float_or_nan(const uint64_t *tape, size_t at) {
    return tape_kind(tape[at]) == 'n' ? NAN : (float)tape_double(tape, at);
}

static tw_status append_vector(column_builder *b, const type *t, const uint64_t *tape, size_t at, tw_error *err) {
    float *values = malloc(t->width * sizeof *values);
    if (!values) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    size_t i = at + 1;
    for (uint32_t k = 0; k < t->width; k++, i = tape_next(tape, i)) values[k] = float_or_nan(tape, i);
    tw_status status = column_builder_vector(b, values, err);
    free(values);
    return status;
}

static tw_status append_sparse(column_builder *b, const uint64_t *tape, const uint8_t *strings, size_t at,
                               tw_error *err) {
    sparse_arrays a = find_arrays(tape, strings, at);
    size_t end = (uint32_t)tape_payload(tape[a.indices]) - 1, k = a.values + 1;
    for (size_t i = a.indices + 1; i < end; i = tape_next(tape, i), k = tape_next(tape, k)) {
        int64_t index = 0;
        fits_integer(tape, i, 0, INT32_MAX, &index);
        TRY(column_builder_int(column_builder_child(b, 0), index, err));
        TRY(column_builder_float(column_builder_child(b, 1), (double)float_or_nan(tape, k), err));
    }
    return column_builder_end_list(b, err);
}

static tw_status append_binary(column_builder *b, json_string s, tw_error *err) {
    uint8_t few[256], *bytes = s.size / 4 * 3 <= sizeof few ? few : malloc(s.size / 4 * 3);
    if (!bytes) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    size_t n;
    base64_decode(s.bytes, s.size, bytes, &n);
    tw_status status = column_builder_bytes(b, bytes, (uint32_t)n, err);
    if (bytes != few) free(bytes);
    return status;
}

tw_status json_append(column_builder *b, const type *t, const uint64_t *tape, const uint8_t *strings,
                      size_t at, tw_error *err) {
    int64_t value = 0;
    uint8_t kind = tape_kind(tape[at]);
    if (kind == 'n') return column_builder_null(b, err);
    switch (t->kind) {
    case TYPE_BOOL: return column_builder_int(b, kind == 't', err);
    case TYPE_INT32:
    case TYPE_INT64:
        fits_integer(tape, at, INT64_MIN, INT64_MAX, &value);
        return column_builder_int(b, value, err);
    case TYPE_FLOAT32:
    case TYPE_FLOAT64: return column_builder_float(b, tape_double(tape, at), err);
    case TYPE_DATE:
    case TYPE_TIMESTAMP:
        fits_time(t, tape_string(tape, strings, at), &value);
        return column_builder_int(b, value, err);
    case TYPE_LIST: return append_list(b, t, tape, strings, at, err);
    case TYPE_VECTOR: return append_vector(b, t, tape, at, err);
    case TYPE_SPARSE: return append_sparse(b, tape, strings, at, err);
    case TYPE_BINARY: return append_binary(b, tape_string(tape, strings, at), err);
    default: {
        json_string s = tape_string(tape, strings, at);
        return column_builder_bytes(b, s.bytes, s.size, err);
    }
    }
}

void json_show(const uint64_t *tape, const uint8_t *strings, size_t at, char *out) {
    char number[FORMAT_NUMBER_MAX];
    size_t n = 0;
    switch (tape_kind(tape[at])) {
    case '"': {
        json_string s = tape_string(tape, strings, at);
        shown_text(s.bytes, s.size, out);
        return;
    }
    case 'l': n = format_int64((int64_t)tape[at + 1], number); break;
    case 'u':
    case 'd': n = format_float64(tape_double(tape, at), number); break;
    case 't': n = (size_t)snprintf(number, sizeof number, "true"); break;
    case 'f': n = (size_t)snprintf(number, sizeof number, "false"); break;
    case 'n': n = (size_t)snprintf(number, sizeof number, "null"); break;
    case '[': n = (size_t)snprintf(number, sizeof number, "[...]"); break;
    default: n = (size_t)snprintf(number, sizeof number, "{...}"); break;
    }
    shown_text((const uint8_t *)number, n, out);
}

/* ---- lines ---- */

enum { UNCHARGED_MAX = 32768 }; /* what a parser of usual lines takes lives beside the budget */

static tw_status charge(json_reader *r, size_t size, tw_error *err) {
    size_t bytes = json_parser_bytes(size);
    if (size <= UNCHARGED_MAX || (r->charge && r->charge->size >= bytes)) return TW_OK;
    buffer_unref(r->charge);
    r->charge = NULL;
    return buffer_new(r->memory, MEMORY_FLOW, bytes, &r->charge, err);
}

/* Integers that no 64 bits hold get ".0". */
static bool is_too_long(const uint8_t *digits, size_t n, bool negative) {
    if (n > 19) return true;
    return negative && n == 19 && memcmp(digits, "9223372036854775808", 19) > 0;
}

static bool is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

static size_t widen_integers(const uint8_t *text, size_t size, uint8_t *to) {
    size_t made = 0;
    bool quoted = false;
    for (size_t i = 0; i < size;) {
        uint8_t c = text[i];
        bool number = !quoted && is_digit(c) && (i == 0 || !strchr("+-.eE0123456789", text[i - 1]) || text[i - 1] == '-');
        if (!number) {
            to[made++] = c;
            i++;
            if (c == '"') quoted = !quoted;
            if (quoted && c == '\\' && i < size) to[made++] = text[i++];
            continue;
        }
        size_t n = 0;
        while (i + n < size && is_digit(text[i + n])) n++;
        memcpy(to + made, text + i, n);
        made += n;
        bool negative = i && text[i - 1] == '-';
        i += n;
        bool whole = i == size || !strchr(".eE", text[i]) || !text[i];
        if (whole && is_too_long(text + i - n, n, negative)) {
            memcpy(to + made, ".0", 2);
            made += 2;
        }
    }
    return made;
}

tw_status json_read(json_reader *r, const uint8_t *text, size_t size, const uint64_t **tape, const char **why,
                    tw_error *err) {
    bool numbers, no_memory;
    if (!r->parser) r->parser = json_parser_new();
    if (!r->parser) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    TRY(charge(r, size, err));
    *tape = json_parse(r->parser, text, size, why, &numbers, &no_memory);
    if (!*tape && numbers) {
        size_t room = size + size / 8 + BUFFER_PADDING;
        if (!r->scratch || r->scratch->size < room) {
            buffer_unref(r->scratch);
            r->scratch = NULL;
            TRY(buffer_new(r->memory, MEMORY_FLOW, room, &r->scratch, err));
        }
        size_t made = widen_integers(text, size, r->scratch->data);
        TRY(charge(r, made, err));
        *tape = json_parse(r->parser, r->scratch->data, made, why, &numbers, &no_memory);
        if (!*tape && numbers) *why = "a number is malformed or out of range";
    }
    if (no_memory) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    return TW_OK;
}

void json_reader_close(json_reader *r) {
    json_parser_free(r->parser);
    buffer_unref(r->charge);
    buffer_unref(r->scratch);
}
