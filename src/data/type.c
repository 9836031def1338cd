#include "data/type.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH_MAX = 1 << 20, LIST_DEPTH_MAX = 8 };

#define X(kind_, name, bytes) [kind_] = {.kind = kind_},
static const type simple_types[TYPE_KINDS] = {TYPE_TABLE(X)};
#undef X
#define X(kind, name, bytes) [kind] = name,
static const char *const kind_names[TYPE_KINDS] = {TYPE_TABLE(X)};
#undef X
#define X(kind, name, bytes) [kind] = bytes,
static const size_t kind_bytes[TYPE_KINDS] = {TYPE_TABLE(X)};
#undef X

const type *type_of(type_kind kind) {
    if ((unsigned)kind >= TYPE_KINDS || kind == TYPE_VECTOR || kind == TYPE_LIST) return NULL;
    return &simple_types[kind];
}

/* ---- types with a parameter: one instance each, for the life of the process ---- */

typedef struct interned {
    type type;
    struct interned *next;
} interned;

static const type *intern(type wanted) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static interned *all; /* few: as many as the jobs of this process have named */

    pthread_mutex_lock(&lock);
    interned *i = all;
    while (i && (i->type.kind != wanted.kind || i->type.width != wanted.width || i->type.item != wanted.item))
        i = i->next;
    if (!i && (i = malloc(sizeof *i))) {
        *i = (interned){.type = wanted, .next = all};
        all = i;
    }
    pthread_mutex_unlock(&lock);
    return i ? &i->type : NULL;
}

const type *type_vector(uint32_t width) {
    if (width < 1 || width > WIDTH_MAX) return NULL;
    return intern((type){.kind = TYPE_VECTOR, .width = width});
}

const type *type_list(const type *item) {
    if (!item) return NULL;
    unsigned depth = 1;
    for (const type *t = item; t->kind == TYPE_LIST; t = t->item) depth++;
    if (depth > LIST_DEPTH_MAX) return NULL;
    return intern((type){.kind = TYPE_LIST, .item = item});
}

/* ---- names ---- */

static void skip_blanks(const char **at) { *at += strspn(*at, " \t"); }

static bool take_char(const char **at, char c) {
    skip_blanks(at);
    if (**at != c) return false;
    ++*at;
    return true;
}

static bool take_word(const char **at, const char *word) {
    skip_blanks(at);
    size_t n = strspn(*at, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (n != strlen(word) || memcmp(*at, word, n) != 0) return false;
    *at += n;
    return true;
}

static bool take_width(const char **at, uint32_t *width) {
    skip_blanks(at);
    size_t n = strspn(*at, "0123456789");
    if (n == 0 || n > 7 || **at == '0') return false;
    *width = (uint32_t)strtoul(*at, NULL, 10);
    *at += n;
    return true;
}

static const type *parse(const char **at, unsigned depth) {
    const type *item;
    uint32_t width;
    if (depth > LIST_DEPTH_MAX) return NULL;
    if (take_word(at, "vector")) {
        bool well = take_char(at, '<') && take_word(at, "float32") && take_char(at, ',') &&
                    take_width(at, &width) && take_char(at, '>');
        return well ? type_vector(width) : NULL;
    }
    if (take_word(at, "sparse")) {
        bool well = take_char(at, '<') && take_word(at, "float32") && take_char(at, '>');
        return well ? type_of(TYPE_SPARSE) : NULL;
    }
    if (take_word(at, "list")) {
        bool well = take_char(at, '<') && (item = parse(at, depth + 1)) && take_char(at, '>');
        return well ? type_list(item) : NULL;
    }
    for (type_kind k = 0; k < TYPE_VECTOR; k++)
        if (take_word(at, kind_names[k])) return type_of(k);
    return NULL;
}

const type *type_parse(const char *text) {
    const type *t = parse(&text, 0);
    skip_blanks(&text);
    return *text ? NULL : t;
}

char *type_name(const type *t, char *out, size_t capacity) {
    if (!capacity) return out;
    char *at = out;
    size_t left = capacity;
    unsigned lists = 0;
    for (; t->kind == TYPE_LIST; t = t->item, lists++) {
        int n = snprintf(at, left, "list<");
        if ((size_t)n >= left) return out;
        at += n;
        left -= (size_t)n;
    }
    int n = t->kind == TYPE_VECTOR   ? snprintf(at, left, "vector<float32, %u>", t->width)
            : t->kind == TYPE_SPARSE ? snprintf(at, left, "sparse<float32>")
                                     : snprintf(at, left, "%s", kind_names[t->kind]);
    if ((size_t)n >= left) return out;
    at += n;
    left -= (size_t)n;
    for (; lists && left > 1; lists--, left--) *at++ = '>';
    *at = 0;
    return out;
}

size_t type_bytes(const type *t) {
    if (t->kind == TYPE_VECTOR) return 4 * (size_t)t->width;
    return type_is_nested(t) ? sizeof(uint32_t) : kind_bytes[t->kind];
}

bool type_is_view(const type *t) { return t->kind == TYPE_STRING || t->kind == TYPE_BINARY; }
bool type_is_nested(const type *t) { return t->kind == TYPE_LIST || t->kind == TYPE_SPARSE; }
bool type_is_integer(const type *t) { return t->kind == TYPE_INT32 || t->kind == TYPE_INT64; }
bool type_is_number(const type *t) {
    return type_is_integer(t) || t->kind == TYPE_FLOAT32 || t->kind == TYPE_FLOAT64;
}

const type *type_meeting(const type *a, const type *b) {
    if (a == b) return a;
    if (!type_is_number(a) || !type_is_number(b)) return NULL;
    return type_of(type_is_integer(a) && type_is_integer(b) ? TYPE_INT64 : TYPE_FLOAT64);
}

/* ---- schemas: one block, the names behind the fields ---- */

tw_status schema_new(const char *const *names, const type *const *types, uint32_t n, schema **out,
                     tw_error *err) {
    size_t bytes = sizeof(schema) + n * sizeof(field);
    for (uint32_t i = 0; i < n; i++) bytes += strlen(names[i]) + 1;
    schema *s = malloc(bytes);
    *out = s;
    if (!s) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    atomic_init(&s->references, 1);
    s->n = n;
    char *at = (char *)(s->fields + n);
    for (uint32_t i = 0; i < n; i++) {
        size_t size = strlen(names[i]) + 1;
        s->fields[i] = (field){.name = memcpy(at, names[i], size), .type = types[i]};
        at += size;
    }
    return TW_OK;
}

schema *schema_ref(schema *s) {
    if (s) atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    return s;
}

void schema_unref(schema *s) {
    if (s && atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) == 1) free(s);
}

int schema_find(const schema *s, const char *name) {
    for (uint32_t i = 0; i < s->n; i++)
        if (strcmp(s->fields[i].name, name) == 0) return (int)i;
    return -1;
}

bool schema_equal(const schema *a, const schema *b) {
    if (a == b) return true;
    if (a->n != b->n) return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->fields[i].type != b->fields[i].type || strcmp(a->fields[i].name, b->fields[i].name) != 0)
            return false;
    return true;
}
