/* node.c: reading trees, and overriding parts of them. A changed path is copied, the rest is shared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/node_internal.h"

const node_entry *node_entry_of(const node *n, const char *key) {
    if (!n || n->kind != NODE_MAP) return NULL;
    for (uint32_t i = 0; i < n->n; i++)
        if (strcmp(n->entries[i].key, key) == 0) return &n->entries[i];
    return NULL;
}

const node *node_get(const node *n, const char *key) {
    const node_entry *entry = node_entry_of(n, key);
    return entry ? entry->value : NULL;
}

const char *node_describe(const node *n, char buffer[64]) {
    if (!n || n->kind == NODE_NULL) return "nothing";
    if (n->kind == NODE_LIST) return "a list";
    if (n->kind == NODE_MAP) return "a map";
    const char *dots = strlen(n->shown) > 50 ? "..." : "";
    snprintf(buffer, 64, "'%.50s%s'", n->shown, dots);
    return buffer;
}

struct place node_place_within(const node *n, uint64_t byte) {
    struct place at = n->at;
    if (n->kind == NODE_SCALAR && n->lead >= 0 && byte > 0 && byte <= strlen(n->text) + 1)
        at.column += (uint32_t)n->lead + (uint32_t)byte - 1;
    return at;
}

node *document_node(document *d, node_kind kind, struct place at) {
    node *n = arena_new(&d->arena, sizeof *n);
    if (!n) return NULL;
    n->kind = kind;
    n->at = at;
    n->total = n->height = 1;
    if (kind <= NODE_SCALAR) n->text = n->shown = "";
    return n;
}

tw_status document_count(document *d, size_t n, struct place at, error_list *errors) {
    if (n > NODE_COUNT_MAX - d->made)
        return error_list_add(errors, at, "the job has more than %d values", NODE_COUNT_MAX);
    d->made += n;
    return TW_OK;
}

tw_status node_seal(node *n, error_list *errors) {
    uint64_t total = 1, bytes = 0;
    unsigned height = 0;
    for (uint32_t i = 0; i < n->n; i++) {
        const node *child = n->kind == NODE_LIST ? n->items[i] : n->entries[i].value;
        total += child->total;
        bytes += child->bytes;
        if (child->height > height) height = child->height;
    }
    if (height >= NODE_DEPTH_MAX)
        return error_list_add(errors, n->at, "nested more than %d deep", NODE_DEPTH_MAX);
    if (total > NODE_COUNT_MAX)
        return error_list_add(errors, n->at, "with its aliases it has more than %d values",
                              NODE_COUNT_MAX);
    if (bytes > NODE_BYTES_MAX)
        return error_list_add(errors, n->at, "with its aliases and variables it has more than %d MiB",
                              NODE_BYTES_MAX >> 20);
    n->height = (uint8_t)(height + 1);
    n->total = (uint32_t)total;
    n->bytes = (uint32_t)bytes;
    return TW_OK;
}

static tw_status document_new(document **out) {
    *out = calloc(1, sizeof **out);
    return *out ? TW_OK : TW_ERR_MEMORY;
}

tw_status document_parse(const char *source, size_t length, const char *file, const struct variables *vars,
                         error_list *errors, document **out) {
    *out = NULL;
    document *d;
    TRY(document_new(&d));
    struct place start = {arena_copy(&d->arena, file, strlen(file)), 1, 1};
    tw_status status = start.file ? TW_OK : TW_ERR_MEMORY;
    if (status == TW_OK && length > NODE_TEXT_MAX)
        status = error_list_add(errors, start, "the job is larger than %d MiB", NODE_TEXT_MAX >> 20);
    if (status == TW_OK)
        status = node_parse(d, (node_source){source, length, start}, vars, errors, &d->root);
    if (status != TW_OK) {
        document_free(d);
        return status;
    }
    *out = d;
    return TW_OK;
}

void document_free(document *d) {
    if (!d) return;
    arena_free(&d->arena);
    free(d);
}

const node *document_root(const document *d) { return d->root; }

/* ---- PATH=VALUE ---- */

typedef struct path_part {
    const char *key; /* NULL: an index */
    size_t index;
    size_t start, end; /* in the assignment */
} path_part;

typedef struct override {
    document *d;
    error_list *errors;
    const char *assignment;
    struct place at; /* of the assignment's first byte */
    path_part parts[NODE_DEPTH_MAX];
    size_t n;
    size_t value; /* where VALUE starts */
} override;

static struct place override_place(const override *o, size_t offset) {
    struct place at = o->at;
    at.column += (uint32_t)offset;
    return at;
}

static tw_status read_index(override *o, size_t *at, path_part *part) {
    const char *s = o->assignment;
    size_t i = *at + 1;
    for (; s[i] >= '0' && s[i] <= '9'; i++) {
        if (part->index <= NODE_COUNT_MAX) part->index = part->index * 10 + (size_t)(s[i] - '0');
    }
    if (i == *at + 1 || s[i] != ']')
        return error_list_add(o->errors, override_place(o, *at),
                              "a list is indexed from 0 as in 'steps[1]'");
    *at = i + 1;
    return TW_OK;
}

static tw_status read_key(override *o, size_t *at, path_part *part) {
    const char *s = o->assignment;
    bool quoted = s[*at] == '"';
    size_t start = *at + quoted;
    size_t length = strcspn(s + start, quoted ? "\"" : ".[]=\"");
    if ((quoted && s[start + length] != '"') || (!quoted && !length))
        return error_list_add(o->errors, override_place(o, *at),
                              quoted ? "the name's closing quote is missing" : "a name is missing here");
    part->key = arena_copy(&o->d->arena, s + start, length);
    *at = start + length + quoted;
    return part->key ? TW_OK : TW_ERR_MEMORY;
}

/* Splits PATH into parts; what is not "name", ".name" or "[N]" up to the '=' is an error. */
static tw_status read_path(override *o) {
    const char *s = o->assignment;
    size_t at = 0;
    while (o->n == 0 || s[at] != '=') {
        if (o->n == NODE_DEPTH_MAX)
            return error_list_add(o->errors, override_place(o, at), "the path is too long");
        path_part *part = &o->parts[o->n];
        part->start = at;
        if (s[at] == '[' && o->n > 0) {
            TRY(read_index(o, &at, part));
        } else {
            if (o->n > 0 && s[at] != '.')
                return error_list_add(o->errors, override_place(o, at),
                                      s[at] ? "'.', '[' or '=' is missing here"
                                            : "it is written as PATH=VALUE, and has no '='");
            if (o->n > 0) at++;
            TRY(read_key(o, &at, part));
        }
        part->end = at;
        o->n++;
    }
    o->value = at + 1;
    return TW_OK;
}

/* The path before part i, for messages. */
static const char *path_before(const override *o, size_t i, char buffer[128]) {
    if (i == 0) return "the job";
    snprintf(buffer, 128, "%.*s", (int)(o->parts[i - 1].end < 100 ? o->parts[i - 1].end : 100),
             o->assignment);
    return buffer;
}

static tw_status copy_list(override *o, const node *old, const path_part *part, const node *value,
                           const node **out) {
    TRY(document_count(o->d, (size_t)old->n + 1, override_place(o, part->start), o->errors));
    node *copy = document_node(o->d, NODE_LIST, old->at);
    const node **items = arena_array(&o->d->arena, old->n, sizeof *items);
    if (!copy || !items) return TW_ERR_MEMORY;
    memcpy(items, old->items, old->n * sizeof *items);
    items[part->index] = value;
    copy->items = items;
    copy->n = old->n;
    *out = copy;
    return node_seal(copy, o->errors);
}

/* `old` may be NULL, or something without entries, and counts as an empty map then. */
static tw_status copy_map(override *o, const node *old, const path_part *part, const node *value,
                          const node **out) {
    uint32_t n = old && old->kind == NODE_MAP ? old->n : 0;
    TRY(document_count(o->d, (size_t)n + 2, override_place(o, part->start), o->errors));
    node *copy = document_node(o->d, NODE_MAP, old ? old->at : override_place(o, part->start));
    node_entry *entries = arena_array(&o->d->arena, (size_t)n + 1, sizeof *entries);
    if (!copy || !entries) return TW_ERR_MEMORY;
    uint32_t at = 0;
    if (n) memcpy(entries, old->entries, n * sizeof *entries);
    while (at < n && strcmp(entries[at].key, part->key) != 0) at++;
    if (at == n)
        entries[n++] = (node_entry){.key = part->key, .at = override_place(o, part->start)};
    entries[at].value = value;
    copy->entries = entries;
    copy->n = n;
    *out = copy;
    return node_seal(copy, o->errors);
}

/* A list's item that is just a name, `- sort`, is the step `sort: {}` to a path that says `.sort`. */
static bool is_bare_step(const override *o, size_t i, const node *old) {
    return i > 0 && !o->parts[i - 1].key && old->kind == NODE_SCALAR &&
           strcmp(old->text, o->parts[i].key) == 0;
}

static tw_status check_part(const override *o, size_t i, const node *old) {
    const path_part *part = &o->parts[i];
    struct place at = override_place(o, part->start);
    char path[128], what[64];
    const char *before = path_before(o, i, path);
    if (part->key) {
        if (!old || old->kind == NODE_NULL || old->kind == NODE_MAP || is_bare_step(o, i, old))
            return TW_OK;
        return error_list_add(o->errors, at, "%s is %s and has no entry '%.60s'", before,
                              node_describe(old, what), part->key);
    }
    if (!old || old->kind != NODE_LIST)
        return error_list_add(o->errors, at, "%s is %s, not a list", before,
                              node_describe(old, what));
    if (part->index < old->n) return TW_OK;
    if (!old->n) return error_list_add(o->errors, at, "%s is an empty list", before);
    return error_list_add(o->errors, at, "%s has the entries 0 to %u, no %zu", before, old->n - 1,
                          part->index);
}

/* Goes down the path to the value, then up again, copying each node on the way. */
static tw_status replace(override *o, const node *root, const node *value, const node **out) {
    const node *old[NODE_DEPTH_MAX];
    const node *at = root;
    for (size_t i = 0; i < o->n; i++) {
        TRY(check_part(o, i, at));
        old[i] = at;
        at = o->parts[i].key ? node_get(at, o->parts[i].key) : at->items[o->parts[i].index];
    }
    for (size_t i = o->n; i-- > 0;) {
        const path_part *part = &o->parts[i];
        TRY((part->key ? copy_map : copy_list)(o, old[i], part, value, &value));
    }
    *out = value;
    return TW_OK;
}

/* "--set PATH", for the places of what it sets. */
static const char *set_name(document *d, const char *assignment) {
    static const char option[] = "--set ";
    size_t length = strcspn(assignment, "=");
    if (length > 200) length = 200;
    char *name = arena_new(&d->arena, sizeof option + length);
    if (!name) return NULL;
    memcpy(name, option, sizeof option - 1);
    memcpy(name + sizeof option - 1, assignment, length);
    return name;
}

tw_status document_set(document *d, const char *assignment, const struct variables *vars,
                       error_list *errors) {
    override o = {.d = d, .errors = errors, .assignment = assignment};
    o.at = (struct place){set_name(d, assignment), 1, 1};
    if (!o.at.file) return TW_ERR_MEMORY;
    size_t length = strnlen(assignment, NODE_TEXT_MAX + 1);
    if (length > NODE_TEXT_MAX) return error_list_add(errors, o.at, "the value is too large");
    TRY(read_path(&o));
    const node *value, *root;
    size_t known = errors->total;
    node_source source = {assignment + o.value, length - o.value, override_place(&o, o.value)};
    TRY(node_parse(d, source, vars, errors, &value));
    if (errors->total > known) return TW_ERR_JOB;
    TRY(replace(&o, d->root, value, &root));
    d->root = root;
    return TW_OK;
}
