/* infer_json.c: a column for each path to a scalar or a list, in the order of their first appearance.
 * What is both an object and something else counts as an object; lists of objects are left out. */
#include <stdlib.h>

#include "base/text.h"
#include "data/scan.h"
#include "io/infer_internal.h"
#include "io/json_values.h"

enum { JSON_COLUMNS_MAX = 8192, JSON_DEPTH_MAX = 64, LIST_DEPTH_MAX = 8 };

enum seen { SEEN_BOOL = 1, SEEN_INT = 2, SEEN_FLOAT = 4, SEEN_TEXT = 8, SEEN_LIST = 16, SEEN_OBJECT = 32 };

typedef struct guess {
    char *key;
    uint32_t key_size;
    unsigned seen;
    unsigned times;      /* of texts: what they can be read as */
    struct guess *items; /* of lists */
    struct guess **fields;
    uint32_t n_fields;
    uint32_t expected;   /* the field that will likely come next */
    uint32_t *slots;     /* hash table of fields, index + 1; n_slots is a power of two, or 0 */
    uint32_t n_slots;
} guess;

typedef struct json_inference {
    inference base;
    json_reader reader;
    guess root;
    uint32_t n_guesses;
} json_inference;

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

static void guess_free(guess *g) {
    if (!g) return;
    guess_free(g->items);
    for (uint32_t i = 0; i < g->n_fields; i++) guess_free(g->fields[i]);
    free(g->fields);
    free(g->slots);
    free(g->key);
    free(g);
}

static tw_status guess_new(json_inference *n, json_string key, guess **out, tw_error *err) {
    if (n->n_guesses == JSON_COLUMNS_MAX)
        return error_set(err, TW_ERR_DATA, "the first rows have more than %d different fields: set columns", JSON_COLUMNS_MAX);
    guess *g = calloc(1, sizeof *g);
    if (g) g->key = malloc(key.size + 1);
    if (!g || !g->key) {
        free(g);
        return no_memory(err);
    }
    if (key.size) memcpy(g->key, key.bytes, key.size);
    g->key[key.size] = 0;
    g->key_size = key.size;
    g->times = IS_DATE | IS_TIMESTAMP;
    n->n_guesses++;
    *out = g;
    return TW_OK;
}

static bool has_key(const guess *g, json_string key) {
    return g->key_size == key.size && !memcmp(g->key, key.bytes, key.size);
}

/* FNV-1a: Fowler, Noll and Vo. */
static uint32_t hash_key(const uint8_t *key, size_t size) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ key[i]) * 16777619u;
    return hash;
}

/* The slot that holds the key, or is free for it. */
static uint32_t *slot_of(const guess *g, json_string key) {
    uint32_t at = hash_key(key.bytes, key.size) & (g->n_slots - 1);
    while (g->slots[at] && !has_key(g->fields[g->slots[at] - 1], key)) at = (at + 1) & (g->n_slots - 1);
    return &g->slots[at];
}

static tw_status grow_slots(guess *g, tw_error *err) {
    uint32_t n = g->n_slots ? g->n_slots * 2 : 16;
    uint32_t *slots = calloc(n, sizeof *slots);
    guess **fields = realloc(g->fields, n / 2 * sizeof *fields);
    if (fields) g->fields = fields;
    if (!slots || !fields) {
        free(slots);
        return no_memory(err);
    }
    free(g->slots);
    g->slots = slots;
    g->n_slots = n;
    for (uint32_t i = 0; i < g->n_fields; i++) {
        json_string key = {(const uint8_t *)g->fields[i]->key, g->fields[i]->key_size};
        *slot_of(g, key) = i + 1;
    }
    return TW_OK;
}

static tw_status field_of(json_inference *n, guess *g, json_string key, guess **out, tw_error *err) {
    if (g->expected < g->n_fields && has_key(g->fields[g->expected], key)) {
        *out = g->fields[g->expected++];
        return TW_OK;
    }
    if (g->n_fields * 2 >= g->n_slots) TRY(grow_slots(g, err));
    uint32_t *slot = slot_of(g, key);
    if (!*slot) {
        TRY(guess_new(n, key, &g->fields[g->n_fields], err));
        *slot = ++g->n_fields;
    }
    g->expected = *slot;
    *out = g->fields[*slot - 1];
    return TW_OK;
}

static tw_status learn(json_inference *n, guess *g, const uint64_t *tape, const uint8_t *strings, size_t at,
                       unsigned depth, tw_error *err);

static tw_status learn_object(json_inference *n, guess *g, const uint64_t *tape, const uint8_t *strings, size_t at,
                              unsigned depth, tw_error *err) {
    size_t end = (uint32_t)tape_payload(tape[at]) - 1;
    g->seen |= SEEN_OBJECT;
    g->expected = 0;
    for (size_t i = at + 1; i < end && depth < JSON_DEPTH_MAX; i = tape_next(tape, i)) {
        json_string key = tape_string(tape, strings, i++);
        guess *next = NULL;
        if (memchr(key.bytes, 0, key.size)) continue; /* cannot be a name */
        TRY(field_of(n, g, key, &next, err));
        TRY(learn(n, next, tape, strings, i, depth + 1, err));
    }
    return TW_OK;
}

static tw_status learn_list(json_inference *n, guess *g, const uint64_t *tape, const uint8_t *strings, size_t at,
                            unsigned depth, tw_error *err) {
    size_t end = (uint32_t)tape_payload(tape[at]) - 1;
    g->seen |= SEEN_LIST;
    if (!g->items) TRY(guess_new(n, (json_string){(const uint8_t *)"", 0}, &g->items, err));
    for (size_t i = at + 1; i < end && depth < JSON_DEPTH_MAX; i = tape_next(tape, i)) {
        if (tape_kind(tape[i]) == '{') g->items->seen |= SEEN_OBJECT;
        else TRY(learn(n, g->items, tape, strings, i, depth + 1, err));
    }
    return TW_OK;
}

static tw_status learn(json_inference *n, guess *g, const uint64_t *tape, const uint8_t *strings, size_t at,
                       unsigned depth, tw_error *err) {
    switch (tape_kind(tape[at])) {
    case '{': return learn_object(n, g, tape, strings, at, depth, err);
    case '[': return learn_list(n, g, tape, strings, at, depth, err);
    case 't':
    case 'f': g->seen |= SEEN_BOOL; return TW_OK;
    case 'l': g->seen |= SEEN_INT; return TW_OK;
    case 'u':
    case 'd': g->seen |= SEEN_FLOAT; return TW_OK;
    case '"':
        g->seen |= SEEN_TEXT;
        if (g->times) {
            json_string s = tape_string(tape, strings, at);
            g->times &= value_types(s.bytes, s.size);
        }
        return TW_OK;
    default: return TW_OK;
    }
}

/* NULL: no column can hold it. */
static const type *type_of_guess(const guess *g, unsigned list_depth) {
    if (g->seen & SEEN_OBJECT) return NULL;
    if (g->seen == SEEN_LIST) {
        const type *item = list_depth < LIST_DEPTH_MAX ? type_of_guess(g->items, list_depth + 1) : NULL;
        return item ? type_list(item) : NULL;
    }
    if (g->seen == SEEN_BOOL) return type_of(TYPE_BOOL);
    if (g->seen == SEEN_INT) return type_of(TYPE_INT64);
    if (g->seen && !(g->seen & ~(unsigned)(SEEN_INT | SEEN_FLOAT))) return type_of(TYPE_FLOAT64);
    return type_of_values(g->times, g->seen == SEEN_TEXT);
}

typedef struct columns_found {
    char **names;
    const type **types;
    uint32_t n;
} columns_found;

static tw_status add_columns(const guess *g, struct text *path, columns_found *out, tw_error *err) {
    for (uint32_t i = 0; i < g->n_fields; i++) {
        const guess *child = g->fields[i];
        size_t length = path->length;
        if (length) text_append_char(path, '.');
        text_append(path, child->key, child->key_size);
        if (path->failed) return no_memory(err);
        const type *t = type_of_guess(child, 0);
        if (t) {
            out->names[out->n] = strdup(text_string(path));
            out->types[out->n] = t;
            if (!out->names[out->n]) return no_memory(err);
            out->n++;
        } else {
            TRY(add_columns(child, path, out, err));
        }
        text_truncate(path, length);
    }
    return TW_OK;
}

static int compare_names(const void *a, const void *b) {
    char *const *x = *(char **const *)a, *const *y = *(char **const *)b;
    int order = strcmp(*x, *y);
    return order ? order : (x > y) - (x < y);
}

/* A key that holds a dot may be the path of another: the first one keeps the name. */
static tw_status drop_repeats(columns_found *c, tw_error *err) {
    char ***sorted = malloc(c->n * sizeof *sorted + 1);
    if (!sorted) return no_memory(err);
    for (uint32_t i = 0; i < c->n; i++) sorted[i] = &c->names[i];
    qsort(sorted, c->n, sizeof *sorted, compare_names);
    for (uint32_t i = 1, first = 0; i < c->n; i++) {
        if (strcmp(*sorted[i], *sorted[first])) {
            first = i;
            continue;
        }
        free(*sorted[i]);
        *sorted[i] = NULL;
        /* Keep the array sorted for the comparisons that follow. */
        sorted[i] = sorted[first];
    }
    free(sorted);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!c->names[i]) continue;
        c->names[kept] = c->names[i];
        c->types[kept++] = c->types[i];
    }
    c->n = kept;
    return TW_OK;
}

static bool is_blank(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r') return false;
    return true;
}

static tw_status json_add(inference *base, const span *s, const char *file, bool file_start, tw_error *err) {
    json_inference *n = (json_inference *)base;
    size_t at = file_start ? byte_order_mark(s->bytes, s->size) : 0;
    while (at < s->size && base->rows < INFER_ROWS) {
        size_t end = at + find_byte(s->bytes + at, s->size - at, '\n');
        const uint64_t *tape = NULL;
        const char *why;
        if (!is_blank(s->bytes + at, end - at)) TRY(json_read(&n->reader, s->bytes + at, end - at, &tape, &why, err));
        if (tape && tape_kind(tape[1]) == '{') {
            TRY(learn_object(n, &n->root, tape, json_strings(n->reader.parser), 1, 0, err));
            base->rows++;
        }
        at = end + 1;
    }
    return TW_OK;
}

static tw_status json_finish(inference *base, tw_error *err) {
    json_inference *n = (json_inference *)base;
    columns_found found = {.names = calloc(n->n_guesses + 1, sizeof *found.names),
                           .types = calloc(n->n_guesses + 1, sizeof *found.types)};
    struct text path = {0};
    tw_status status = found.names && found.types ? add_columns(&n->root, &path, &found, err) : no_memory(err);
    if (status == TW_OK) status = drop_repeats(&found, err);
    if (status == TW_OK && !found.n)
        status = error_set(err, TW_ERR_DATA, "the first rows give no columns: set columns");
    if (status == TW_OK)
        status = inference_set_schema(base, (const char *const *)found.names, found.types, NULL, found.n, err);
    for (uint32_t i = 0; i < found.n; i++) free(found.names[i]);
    free(found.names);
    free(found.types);
    text_free(&path);
    return status;
}

static void json_free(inference *base) {
    json_inference *n = (json_inference *)base;
    json_reader_close(&n->reader);
    guess_free(n->root.items);
    for (uint32_t i = 0; i < n->root.n_fields; i++) guess_free(n->root.fields[i]);
    free(n->root.fields);
    free(n->root.slots);
}

static const inference_class json_class = {json_add, json_finish, json_free};

tw_status json_inference_new(format *f, memory *m, inference **out, tw_error *err) {
    TRY(inference_allocate(sizeof(json_inference), &json_class, f, m, out, err));
    ((json_inference *)*out)->reader.memory = m;
    return TW_OK;
}
