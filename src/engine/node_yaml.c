/* node_yaml.c: YAML text -> nodes, from the events of libyaml, without recursion. */
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "engine/node_internal.h"

enum { anchors_max = 4096, tag_directives_max = 16 };

/* What stands in a list or a map that is still open. */
typedef struct pending {
    node_entry entry; /* in a list only the value counts; key NULL: an error, to be left out */
    bool merge;       /* the key is << */
} pending;

typedef struct frame {
    node *container;
    char *anchor;
    size_t first; /* of its pendings */
    bool has_key; /* of a map: the last pending waits for its value */
} frame;

typedef struct anchor {
    char *name;
    const node *value; /* NULL while what it names is still open */
} anchor;

/* How far places have been counted. libyaml counts characters, we count bytes and lines. */
typedef struct cursor {
    size_t character, byte;
    struct place at;
} cursor;

typedef struct parser {
    yaml_parser_t yaml;
    document *d;
    node_source source;
    const struct variables *vars;
    error_list *errors;
    cursor cursor;
    frame frames[NODE_DEPTH_MAX];
    size_t depth;
    pending *pendings;
    size_t n_pendings, pending_capacity;
    anchor *anchors; /* ordered by name */
    size_t n_anchors, anchor_capacity;
    const node *root;
    struct text scratch;
} parser;

static void cursor_rewind(parser *p) { p->cursor = (cursor){.at = p->source.at}; }

/* Goes on to a character or to a byte, whichever comes first. */
static struct place cursor_move(parser *p, size_t character, size_t byte) {
    cursor *c = &p->cursor;
    if (character < c->character || byte < c->byte) cursor_rewind(p);
    const unsigned char *s = (const unsigned char *)p->source.text;
    while (c->character < character && c->byte < byte && c->byte < p->source.length) {
        bool ends_line = s[c->byte] == '\n' ||
                         (s[c->byte] == '\r' &&
                          (c->byte + 1 == p->source.length || s[c->byte + 1] != '\n'));
        do {
            c->byte++;
            c->at.column++;
        } while (c->byte < p->source.length && (s[c->byte] & 0xc0) == 0x80);
        c->character++;
        if (ends_line) {
            c->at.line++;
            c->at.column = 1;
        }
    }
    return c->at;
}

static struct place place_of(parser *p, yaml_mark_t mark) { return cursor_move(p, mark.index, SIZE_MAX); }

/* Makes room for one more item of an array. */
static tw_status reserve(void **array, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity) return TW_OK;
    size_t more = *capacity ? *capacity * 2 : 32;
    void *grown = realloc(*array, more * size);
    if (!grown) return TW_ERR_MEMORY;
    *array = grown;
    *capacity = more;
    return TW_OK;
}

/* ---- syntax errors ---- */

static const char *hint_for(const parser *p, const char *problem, struct place at) {
    const yaml_parser_t *y = &p->yaml;
    if (y->context && strstr(y->context, "alias")) return " (a value that starts with * needs quotes)";
    if (y->context && strstr(y->context, "anchor")) return " (a value that starts with & needs quotes)";
    if (p->cursor.byte >= p->source.length || !at.line) return "";
    char c = p->source.text[p->cursor.byte];
    if (c == '{' && p->cursor.byte > 0 && p->source.text[p->cursor.byte - 1] == '$')
        return " (within { } or [ ] a value with ${...} needs quotes)";
    if (c == '\t') return " (blanks indent YAML, tabs do not)";
    if (c == '@' || c == '`' || c == '%') return " (put a value that starts with it in quotes)";
    if (strcmp(problem, "mapping values are not allowed in this context") == 0)
        return " (put a text with ': ' in quotes, or indent the line to match its neighbours)";
    return "";
}

static tw_status syntax_error(parser *p) {
    const yaml_parser_t *y = &p->yaml;
    /* libyaml forgets to say so for some of its smaller allocations */
    if (y->error == YAML_MEMORY_ERROR || y->error == YAML_NO_ERROR) return TW_ERR_MEMORY;
    const char *problem = y->problem ? y->problem : "the text can't be read";
    if (y->error == YAML_READER_ERROR)
        return error_list_add(p->errors, cursor_move(p, SIZE_MAX, y->problem_offset), "YAML: %s",
                              problem);
    if (!y->context) {
        struct place at = place_of(p, y->problem_mark);
        return error_list_add(p->errors, at, "YAML: %s%s", problem, hint_for(p, problem, at));
    }
    uint32_t line = place_of(p, y->context_mark).line;
    struct place at = place_of(p, y->problem_mark);
    const char *hint = hint_for(p, problem, at);
    if (line == at.line || !line)
        return error_list_add(p->errors, at, "YAML: %s %s%s", problem, y->context, hint);
    return error_list_add(p->errors, at, "YAML: %s %s that starts on line %u%s", problem, y->context,
                          line, hint);
}

/* ---- anchors ---- */

/* The index of an anchor, or where it belongs. */
static size_t anchor_index(const parser *p, const char *name, bool *found) {
    size_t low = 0, high = p->n_anchors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(p->anchors[middle].name, name) < 0) low = middle + 1;
        else high = middle;
    }
    *found = low < p->n_anchors && strcmp(p->anchors[low].name, name) == 0;
    return low;
}

/* Sets what an anchor stands for; a name may be used again, and means the newer then. */
static tw_status anchor_set(parser *p, char *name, const node *value, struct place at) {
    if (!name) return TW_OK;
    bool found;
    size_t index = anchor_index(p, name, &found);
    if (!found) {
        if (p->n_anchors == anchors_max)
            return error_list_add(p->errors, at, "there are more than %d anchors", anchors_max);
        TRY(reserve((void **)&p->anchors, p->n_anchors, &p->anchor_capacity, sizeof *p->anchors));
        memmove(p->anchors + index + 1, p->anchors + index,
                (p->n_anchors++ - index) * sizeof *p->anchors);
    }
    p->anchors[index] = (anchor){name, value};
    return TW_OK;
}

static tw_status copy_anchor(parser *p, const yaml_char_t *name, char **out) {
    *out = name ? arena_copy(&p->d->arena, name, strlen((const char *)name)) : NULL;
    return name && !*out ? TW_ERR_MEMORY : TW_OK;
}

/* ---- building ---- */

static bool wants_key(const parser *p) {
    const frame *f = p->depth ? &p->frames[p->depth - 1] : NULL;
    return f && f->container->kind == NODE_MAP && !f->has_key;
}

static tw_status add_pending(parser *p, pending item) {
    TRY(reserve((void **)&p->pendings, p->n_pendings, &p->pending_capacity, sizeof item));
    p->pendings[p->n_pendings++] = item;
    return TW_OK;
}

static tw_status add_key(parser *p, const char *key, struct place at, bool merge) {
    p->frames[p->depth - 1].has_key = true;
    return add_pending(p, (pending){{.key = key, .at = at}, merge});
}

/* Puts a finished node where it belongs. */
static tw_status attach(parser *p, const node *n, struct place at) {
    if (!p->depth) {
        p->root = n;
        return TW_OK;
    }
    frame *f = &p->frames[p->depth - 1];
    if (f->container->kind == NODE_LIST) return add_pending(p, (pending){{.value = n}, false});
    if (f->has_key) {
        p->pendings[p->n_pendings - 1].entry.value = n;
        f->has_key = false;
        return TW_OK;
    }
    if (n->kind <= NODE_SCALAR) return add_key(p, n->shown, at, false);
    error_list_add(p->errors, at, "a key must be a name, not %s", node_describe(n, (char[64]){0}));
    return add_key(p, NULL, at, false);
}

/* Sets *is_text for !!str; standard tags are ignored, as the reader says what a scalar means. */
static tw_status check_tag(parser *p, const yaml_char_t *tag, struct place at, bool *is_text) {
    static const char standard[] = "tag:yaml.org,2002:";
    const char *name = (const char *)tag;
    if (!name) return TW_OK;
    *is_text = strcmp(name, "!") == 0 || strcmp(name, "tag:yaml.org,2002:str") == 0;
    if (*is_text || (strncmp(name, standard, sizeof standard - 1) == 0 && !strstr(name, "binary")))
        return TW_OK;
    error_list_add(p->errors, at, "the tag '%.60s' means nothing here", name);
    return TW_OK;
}

static bool is_null_text(const char *s) {
    return !*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0 || strcmp(s, "Null") == 0 ||
           strcmp(s, "NULL") == 0;
}

/* 0 or 1 when the text stands in the source just as it is, but for one quote around it; else -1. */
static int8_t find_lead(const parser *p, const yaml_event_t *event, const char *value) {
    yaml_scalar_style_t style = event->data.scalar.style;
    bool in_quotes = style == YAML_SINGLE_QUOTED_SCALAR_STYLE || style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    if (!in_quotes && style != YAML_PLAIN_SCALAR_STYLE) return -1;
    size_t from = p->cursor.byte + in_quotes, length = strlen(value); /* the cursor is at its start */
    bool same = from <= p->source.length && length <= p->source.length - from &&
                memcmp(p->source.text + from, value, length) == 0 && !memchr(value, '\n', length);
    return same ? (int8_t)in_quotes : -1;
}

static tw_status expand(parser *p, node *n) {
    n->shown = n->text;
    if (!strstr(n->text, "${")) return TW_OK;
    text_truncate(&p->scratch, 0);
    tw_status status = variables_expand(p->vars, n->text, n->at, NODE_BYTES_MAX - p->d->expanded,
                                        p->errors, &p->scratch);
    if (status == TW_ERR_MEMORY) return status;
    if (status != TW_OK) {
        n->faulty = true;
        return TW_OK;
    }
    size_t length = p->scratch.length, left = NODE_BYTES_MAX - p->d->expanded;
    if (length > left)
        return error_list_add(p->errors, n->at,
                              "with its variables the job has more than %d MiB of text",
                              NODE_BYTES_MAX >> 20);
    p->d->expanded += length;
    n->lead = -1;
    n->bytes = (uint32_t)length;
    n->text = arena_copy(&p->d->arena, text_string(&p->scratch), length);
    return n->text ? TW_OK : TW_ERR_MEMORY;
}

static tw_status on_scalar(parser *p, const yaml_event_t *event, struct place at) {
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, is_text = false;
    TRY(check_tag(p, event->data.scalar.tag, at, &is_text));
    plain = plain && !is_text;
    bool with_zero = memchr(value, 0, length) != NULL;
    if (with_zero) error_list_add(p->errors, at, "a text can't hold the character 0");
    const char *copy = arena_copy(&p->d->arena, value, strlen(value));
    if (!copy) return TW_ERR_MEMORY;
    bool as_key = wants_key(p);
    node *n = NULL;
    if (!as_key || event->data.scalar.anchor) {
        TRY(document_count(p->d, 1, at, p->errors));
        n = document_node(p->d, plain && is_null_text(value) ? NODE_NULL : NODE_SCALAR, at);
        if (!n) return TW_ERR_MEMORY;
        n->quoted = !plain;
        n->faulty = with_zero;
        n->lead = find_lead(p, event, value);
        n->text = copy;
        n->bytes = (uint32_t)strlen(value);
        TRY(expand(p, n));
        char *name;
        TRY(copy_anchor(p, event->data.scalar.anchor, &name));
        TRY(anchor_set(p, name, n, at));
    }
    if (!as_key) return attach(p, n, at);
    TRY(document_count(p->d, 1, at, p->errors));
    return add_key(p, copy, at, plain && strcmp(value, "<<") == 0);
}

static tw_status on_alias(parser *p, const yaml_event_t *event, struct place at) {
    const char *name = (const char *)event->data.alias.anchor;
    bool found;
    size_t index = anchor_index(p, name, &found);
    const node *value = found ? p->anchors[index].value : NULL;
    TRY(document_count(p->d, 1, at, p->errors));
    if (!value) {
        error_list_add(p->errors, at, found ? "the alias *%.60s stands within what it names"
                                            : "there is no anchor &%.60s before this alias",
                       name);
        node *stand_in = document_node(p->d, NODE_NULL, at);
        if (!stand_in) return TW_ERR_MEMORY;
        stand_in->faulty = true;
        value = stand_in;
    }
    return attach(p, value, at);
}

static tw_status on_start(parser *p, node_kind kind, const yaml_char_t *anchor_name,
                          const yaml_char_t *tag, struct place at) {
    if (p->depth == NODE_DEPTH_MAX)
        return error_list_add(p->errors, at, "nested more than %d deep", NODE_DEPTH_MAX);
    TRY(document_count(p->d, 1, at, p->errors));
    bool is_text = false;
    TRY(check_tag(p, tag, at, &is_text));
    frame f = {.container = document_node(p->d, kind, at), .first = p->n_pendings};
    if (!f.container) return TW_ERR_MEMORY;
    TRY(copy_anchor(p, anchor_name, &f.anchor));
    TRY(anchor_set(p, f.anchor, NULL, at));
    p->frames[p->depth++] = f;
    return TW_OK;
}

static tw_status finish_list(parser *p, const frame *f) {
    size_t n = p->n_pendings - f->first;
    const node **items = arena_array(&p->d->arena, n, sizeof *items);
    if (!items) return TW_ERR_MEMORY;
    for (size_t i = 0; i < n; i++) items[i] = p->pendings[f->first + i].entry.value;
    f->container->items = items;
    f->container->n = (uint32_t)n;
    return TW_OK;
}

/* ---- maps: merge keys and keys that are there twice ---- */

typedef struct candidate {
    node_entry entry;
    uint32_t rank; /* 0: the map's own; else which merged map, the first wins */
    bool dropped;
} candidate;

static int compare_candidates(const void *left, const void *right) {
    const candidate *a = *(candidate *const *)left, *b = *(candidate *const *)right;
    int keys = strcmp(a->entry.key, b->entry.key);
    if (keys) return keys;
    if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
    return (a > b) - (a < b);
}

/* How many entries a pending gives. */
static size_t merged_entries(const pending *item) {
    if (!item->merge) return item->entry.key ? 1 : 0;
    const node *from = item->entry.value;
    if (from->kind == NODE_MAP) return from->n;
    size_t n = 0;
    for (uint32_t i = 0; from->kind == NODE_LIST && i < from->n; i++)
        if (from->items[i]->kind == NODE_MAP) n += from->items[i]->n;
    return n;
}

static tw_status check_merge(parser *p, const pending *item) {
    const node *from = item->entry.value;
    bool right = from->kind == NODE_MAP || from->kind == NODE_LIST || from->faulty;
    for (uint32_t i = 0; from->kind == NODE_LIST && i < from->n; i++)
        if (from->items[i]->kind != NODE_MAP && !from->items[i]->faulty) right = false;
    if (!right) error_list_add(p->errors, from->at, "<< takes a map or a list of maps");
    return document_count(p->d, merged_entries(item), item->entry.at, p->errors);
}

static size_t take_map(candidate *to, const node *from, uint32_t rank) {
    if (from->kind != NODE_MAP) return 0;
    for (uint32_t i = 0; i < from->n; i++) to[i] = (candidate){from->entries[i], rank, false};
    return from->n;
}

static size_t take_pending(candidate *to, const pending *item, uint32_t *rank) {
    const node *from = item->entry.value;
    if (!item->merge) {
        if (!item->entry.key) return 0;
        *to = (candidate){item->entry, 0, false};
        return 1;
    }
    if (from->kind == NODE_MAP) return take_map(to, from, ++*rank);
    size_t n = 0;
    for (uint32_t i = 0; from->kind == NODE_LIST && i < from->n; i++)
        n += take_map(to + n, from->items[i], ++*rank);
    return n;
}

/* Marks what an entry of the same key outranks; of a map's own entries that is an error. */
static void drop_repeated(parser *p, candidate **ordered, size_t n) {
    const candidate *winner = n ? ordered[0] : NULL;
    for (size_t i = 1; i < n; i++) {
        candidate *c = ordered[i];
        if (strcmp(c->entry.key, winner->entry.key) != 0) {
            winner = c;
            continue;
        }
        c->dropped = true;
        if (c->rank == 0)
            error_list_add(p->errors, c->entry.at, "the key '%.60s' is here twice (first on line %u)",
                           c->entry.key, winner->entry.at.line);
    }
}

static tw_status fill_map(parser *p, const frame *f, candidate *candidates, candidate **ordered) {
    size_t n = 0, kept = 0, twice_merged = 0;
    uint32_t rank = 0;
    for (size_t i = f->first; i < p->n_pendings; i++) {
        const pending *item = &p->pendings[i];
        if (item->merge && twice_merged++)
            error_list_add(p->errors, item->entry.at,
                           "the key '<<' is here twice (it takes a list: <<: [*a, *b])");
        n += take_pending(candidates + n, item, &rank);
    }
    for (size_t i = 0; i < n; i++) ordered[i] = &candidates[i];
    qsort(ordered, n, sizeof *ordered, compare_candidates);
    drop_repeated(p, ordered, n);
    node_entry *entries = arena_array(&p->d->arena, n, sizeof *entries);
    if (!entries) return TW_ERR_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (!candidates[i].dropped) entries[kept++] = candidates[i].entry;
    f->container->entries = entries;
    f->container->n = (uint32_t)kept;
    return TW_OK;
}

static tw_status finish_map(parser *p, const frame *f) {
    size_t n = 0;
    for (size_t i = f->first; i < p->n_pendings; i++) {
        if (p->pendings[i].merge) TRY(check_merge(p, &p->pendings[i]));
        n += merged_entries(&p->pendings[i]);
    }
    candidate *candidates = calloc(n + 1, sizeof *candidates);
    candidate **ordered = calloc(n + 1, sizeof *ordered);
    tw_status status =
        candidates && ordered ? fill_map(p, f, candidates, ordered) : TW_ERR_MEMORY;
    free(candidates);
    free(ordered);
    return status;
}

static tw_status on_end(parser *p) {
    frame f = p->frames[p->depth - 1];
    TRY(f.container->kind == NODE_LIST ? finish_list(p, &f) : finish_map(p, &f));
    p->n_pendings = f.first;
    p->depth--;
    TRY(node_seal(f.container, p->errors));
    TRY(anchor_set(p, f.anchor, f.container, f.container->at));
    return attach(p, f.container, f.container->at);
}

/* ---- the document ---- */

static tw_status on_event(parser *p, const yaml_event_t *event, bool *done) {
    struct place at = place_of(p, event->start_mark);
    switch (event->type) {
    case YAML_SCALAR_EVENT: return on_scalar(p, event, at);
    case YAML_ALIAS_EVENT: return on_alias(p, event, at);
    case YAML_SEQUENCE_START_EVENT:
        return on_start(p, NODE_LIST, event->data.sequence_start.anchor,
                        event->data.sequence_start.tag, at);
    case YAML_MAPPING_START_EVENT:
        return on_start(p, NODE_MAP, event->data.mapping_start.anchor,
                        event->data.mapping_start.tag, at);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return on_end(p);
    case YAML_DOCUMENT_START_EVENT:
        if (p->root) return error_list_add(p->errors, at, "a job is one YAML document, not several");
        return TW_OK;
    case YAML_STREAM_END_EVENT: *done = true; return TW_OK;
    default: return TW_OK;
    }
}

static tw_status parse_events(parser *p) {
    for (bool done = false; !done;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&p->yaml, &event)) return syntax_error(p);
        tw_status status = on_event(p, &event, &done);
        yaml_event_delete(&event);
        TRY(status);
    }
    if (p->root) return TW_OK;
    p->root = document_node(p->d, NODE_NULL, p->source.at);
    return p->root ? TW_OK : TW_ERR_MEMORY;
}

/* libyaml compares each %TAG line with all before it. */
static tw_status check_directives(const parser *p) {
    const char *at = p->source.text, *end = at + p->source.length;
    for (size_t n = 0; at < end; at++) {
        if (*at == '%' && ++n > tag_directives_max)
            return error_list_add(p->errors, p->source.at, "more than %d lines start with %%",
                                  tag_directives_max);
        at = memchr(at, '\n', (size_t)(end - at));
        if (!at) break;
    }
    return TW_OK;
}

static void skip_byte_order_mark(node_source *source) {
    if (source->length < 3 || memcmp(source->text, "\xef\xbb\xbf", 3) != 0) return;
    source->text += 3;
    source->length -= 3;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The code unit of "\\uXXXX" at `at`, or -1. */
static long code_unit(const char *at, const char *end) {
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return -1;
    long unit = 0;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0) return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

/* JSON writes characters past U+FFFF as two escapes (RFC 8259, section 7), which YAML does not know.
 * In a text that starts like JSON they become YAML's "\\UXXXXXXXX"; `out` stays empty without any. */
static tw_status join_surrogates(node_source source, struct text *out) {
    const char *at = source.text, *end = at + source.length, *copied = at;
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) at++;
    if (at == end || *at != '{') return TW_OK;
    while (at < end && (at = memchr(at, '\\', (size_t)(end - at)))) {
        long high = code_unit(at, end), low = high < 0 ? -1 : code_unit(at + 6, end);
        if (high < 0xd800 || high > 0xdbff || low < 0xdc00 || low > 0xdfff) {
            at += end - at < 2 ? 1 : 2; /* the escaped character too */
            continue;
        }
        long character = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        TRY(text_append(out, copied, (size_t)(at - copied)));
        TRY(text_printf(out, "\\U%08lX", (unsigned long)character));
        copied = at += 12;
    }
    return out->length ? text_append(out, copied, (size_t)(end - copied)) : TW_OK;
}

tw_status node_parse(document *d, node_source source, const struct variables *vars, error_list *errors,
                     const node **out) {
    parser *p = calloc(1, sizeof *p);
    if (!p) return TW_ERR_MEMORY;
    if (!source.text) source.text = "";
    skip_byte_order_mark(&source);
    p->d = d;
    p->vars = vars;
    p->errors = errors;
    struct text joined = {0};
    tw_status status = join_surrogates(source, &joined);
    if (joined.length) source.text = joined.bytes, source.length = joined.length;
    p->source = source;
    cursor_rewind(p);
    if (status == TW_OK) status = check_directives(p);
    if (status == TW_OK && !yaml_parser_initialize(&p->yaml)) status = TW_ERR_MEMORY;
    else if (status == TW_OK) {
        yaml_parser_set_encoding(&p->yaml, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&p->yaml, (const unsigned char *)source.text, source.length);
        status = parse_events(p);
        yaml_parser_delete(&p->yaml);
    }
    *out = p->root;
    free(p->pendings);
    free(p->anchors);
    text_free(&p->scratch);
    text_free(&joined);
    free(p);
    return status;
}
