/* descriptor.c: checking the options of a job against their descriptors. */
#include "engine/descriptor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <assert.h>

#include "base/arena.h"
#include "engine/descriptor_internal.h"

enum { parts_max = 4 };

/* One option, given or not. */
typedef struct arg {
    const option *o;
    const node *value; /* NULL: not given */
    const char *text;  /* of a scalar */
    scalar scalar;
    arg_item *items;
    uint32_t n_items;
    args *section;
} arg;

struct args {
    arena arena;
    const descriptor *d; /* the first */
    struct place at;
    size_t n;
    arg *list;
};

typedef struct binder {
    args *a;
    error_list *errors;
    bool wrong;
} binder;

const option *descriptor_option(const descriptor *d, const char *name) {
    for (size_t i = 0; i < d->n_options; i++)
        if (strcmp(d->options[i].name, name) == 0) return &d->options[i];
    return NULL;
}

static arg *find_arg(const args *a, const char *name) {
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->list[i].o->name, name) == 0) return &a->list[i];
    return NULL;
}

/* A value that says nothing: null, unless it is the expression `null`. */
static bool is_nothing(option_type as, const node *n) {
    return n->kind == NODE_NULL && !n->faulty && !(as == OPTION_EXPRESSION && strcmp(n->text, "null") == 0);
}

/* ---- errors ---- */

static tw_status complain(binder *b, tw_status status) {
    b->wrong = true;
    return status == TW_ERR_MEMORY ? status : TW_OK;
}

/* Which value an error is about: a whole option (item NULL, no index), or one of its items. */
typedef struct subject {
    const option *o;
    option_type as;
    const char *key;
    long index; /* -1: none */
} subject;

/* "option 'x' of y must be a size such as 64MiB, not '12XB': unknown unit". `reason` may be "". */
static tw_status complain_of_value(binder *b, const subject *of, const node *n, const char *reason) {
    struct text expected = {0};
    char name[96], shown[64];
    if (of->key) snprintf(name, sizeof name, "%.30s.%.60s", of->o->name, of->key);
    else if (of->index >= 0) snprintf(name, sizeof name, "%.60s[%ld]", of->o->name, of->index);
    else snprintf(name, sizeof name, "%.90s", of->o->name);
    tw_status status = option_describe(of->o, of->as, &expected);
    if (status == TW_OK)
        status = error_list_add(b->errors, n->at, "option '%s' of %s must be %s, not %s%s%s", name,
                                b->a->d->name, text_string(&expected), node_describe(n, shown),
                                *reason ? ": " : "", reason);
    text_free(&expected);
    return complain(b, status);
}

static tw_status complain_of_key(binder *b, const descriptor *const *parts, size_t n_parts,
                                 const node_entry *entry) {
    struct nearest near = {entry->key};
    struct text known = {0};
    size_t listed = 0;
    for (size_t i = 0; i < n_parts; i++)
        for (size_t j = 0; j < parts[i]->n_options; j++) {
            const char *name = parts[i]->options[j].name;
            nearest_try(&near, name);
            if (known.length < 600) text_printf(&known, "%s%s", listed++ ? ", " : "", name);
        }
    const char *of = parts[0]->name;
    tw_status status = known.failed ? TW_ERR_MEMORY : TW_OK;
    if (status != TW_OK) {
    } else if (near.best) {
        status = error_list_add(b->errors, entry->at, "unknown option '%.60s' of %s; did you mean '%s'?",
                                entry->key, of, near.best);
    } else if (listed) {
        status = error_list_add(b->errors, entry->at, "unknown option '%.60s' of %s; it has %s",
                                entry->key, of, text_string(&known));
    } else {
        status = error_list_add(b->errors, entry->at, "unknown option '%.60s'; %s has no options",
                                entry->key, of);
    }
    text_free(&known);
    return complain(b, status);
}

/* ---- values ---- */

static tw_status bind_scalar(binder *b, const subject *of, const node *n, scalar *out) {
    if (n->faulty) return complain(b, TW_OK);
    if (n->kind > NODE_SCALAR || is_nothing(of->as, n)) return complain_of_value(b, of, n, "");
    tw_error reason = {0};
    tw_status status = scalar_read(of->o, of->as, n->text, out, &reason);
    return status == TW_ERR_JOB ? complain_of_value(b, of, n, reason.message) : status;
}

static tw_status bind_item(binder *b, arg *to, const subject *of, struct place name_at, const node *n) {
    scalar read = {0};
    const char *string = n->kind <= NODE_SCALAR ? n->text : "";
    TRY(bind_scalar(b, of, n, &read));
    to->items[to->n_items++] = (arg_item){
        .name = of->key ? of->key : string, .text = string, .value = n, .at = n->at,
        .name_at = name_at, .integer = read.integer, .number = read.number, .type = read.type};
    return TW_OK;
}

static tw_status bind_items(binder *b, arg *to, const node *n) {
    const option *o = to->o;
    const option_kind *kind = &option_kinds[o->type];
    bool is_list = kind->shape == OPTION_IS_LIST;
    bool fits = n->kind == NODE_LIST ? is_list || (o->flags & OPTION_OR_LIST)
              : n->kind == NODE_MAP  ? !is_list || (o->flags & OPTION_OR_MAP)
                                     : o->flags & OPTION_OR_ONE;
    if (n->faulty) return complain(b, TW_OK);
    if (!fits) return complain_of_value(b, &(subject){o, o->type, NULL, -1}, n, "");
    uint32_t count = n->kind > NODE_SCALAR ? n->n : 1;
    to->items = arena_array(&b->a->arena, count, sizeof *to->items);
    if (!to->items) return TW_ERR_MEMORY;
    subject of = {o, kind->item, NULL, -1};
    if (n->kind <= NODE_SCALAR) return bind_item(b, to, &of, n->at, n);
    for (uint32_t i = 0; i < count; i++) {
        const node *item = n->kind == NODE_MAP ? n->entries[i].value : n->items[i];
        if (n->kind == NODE_MAP) of.key = n->entries[i].key;
        else of.index = (long)i;
        TRY(bind_item(b, to, &of, n->kind == NODE_MAP ? n->entries[i].at : item->at, item));
    }
    return TW_OK;
}

static tw_status bind_section(binder *b, arg *to, const node *n) {
    if (n->faulty) return complain(b, TW_OK);
    if (n->kind != NODE_MAP && !(to->o->section->shorthand && to->o->type == OPTION_SECTION))
        return complain_of_value(b, &(subject){to->o, to->o->type, NULL, -1}, n, "");
    tw_status status = args_bind(to->o->section, n, n->at, b->errors, &to->section);
    return status == TW_ERR_JOB ? complain(b, status) : status;
}

static tw_status bind_value(binder *b, arg *to, const node *n) {
    if (is_nothing(to->o->type, n)) return TW_OK;
    to->value = n;
    if (to->o->type == OPTION_ENUM && to->o->section && n->kind == NODE_MAP) {
        to->scalar.integer = -1;
        return bind_section(b, to, n);
    }
    switch (option_kinds[to->o->type].shape) {
    case OPTION_IS_SCALAR:
        to->text = n->kind <= NODE_SCALAR ? n->text : NULL;
        return bind_scalar(b, &(subject){to->o, to->o->type, NULL, -1}, n, &to->scalar);
    case OPTION_IS_LIST:
    case OPTION_IS_MAP: return bind_items(b, to, n);
    case OPTION_IS_NODE: break;
    }
    if (n->faulty) return complain(b, TW_OK);
    if (to->o->type == OPTION_SECTION) return bind_section(b, to, n);
    to->text = n->kind <= NODE_SCALAR ? n->text : NULL;
    return TW_OK;
}

/* ---- defaults ---- */

static tw_status default_items(args *a, arg *to) {
    const char *at = to->o->default_text;
    to->items = arena_array(&a->arena, strlen(at) / 2 + 1, sizeof *to->items);
    if (!to->items) return TW_ERR_MEMORY;
    while (*at) {
        size_t length = strcspn(at, ",");
        char *item = arena_copy(&a->arena, at, length);
        if (!item) return TW_ERR_MEMORY;
        to->items[to->n_items++] = (arg_item){.name = item, .text = item, .at = a->at, .name_at = a->at};
        at += length;
        at += strspn(at, ", ");
    }
    return TW_OK;
}

static tw_status bind_default(args *a, arg *to, tw_error *err) {
    const option *o = to->o;
    if (o->type == OPTION_ENUM) to->scalar.integer = -1;
    if (!o->default_text) return TW_OK;
    if (option_kinds[o->type].shape == OPTION_IS_LIST) return default_items(a, to);
    to->text = o->default_text;
    if (option_kinds[o->type].shape != OPTION_IS_SCALAR) return TW_OK;
    tw_status status = scalar_read(o, o->type, o->default_text, &to->scalar, err);
    return status == TW_ERR_JOB ? TW_ERR_INTERNAL : status;
}

/* ---- the whole ---- */

static tw_status args_new(const descriptor *const *parts, size_t n_parts, struct place at, args **out) {
    args *a = *out = calloc(1, sizeof *a);
    if (!a) return TW_ERR_MEMORY;
    size_t n = 0;
    for (size_t i = 0; i < n_parts; i++) n += parts[i]->n_options;
    a->d = parts[0];
    a->at = at;
    a->list = arena_array(&a->arena, n, sizeof *a->list);
    if (!a->list) return TW_ERR_MEMORY;
    for (size_t i = 0; i < n_parts; i++)
        for (size_t j = 0; j < parts[i]->n_options; j++)
            if (!find_arg(a, parts[i]->options[j].name)) a->list[a->n++].o = &parts[i]->options[j];
    return TW_OK;
}

static tw_status bind_map(binder *b, const descriptor *const *parts, size_t n_parts, const node *n) {
    for (uint32_t i = 0; i < n->n; i++) {
        arg *to = find_arg(b->a, n->entries[i].key);
        if (to) TRY(bind_value(b, to, n->entries[i].value));
        else TRY(complain_of_key(b, parts, n_parts, &n->entries[i]));
    }
    return TW_OK;
}

static tw_status bind_whole(binder *b, const descriptor *const *parts, size_t n_parts, const node *n) {
    const descriptor *d = parts[0];
    arg *shorthand = d->shorthand ? find_arg(b->a, d->shorthand) : NULL;
    if (!n) return TW_OK;
    if (n->faulty) return complain(b, TW_OK);
    if (shorthand && (n->kind != NODE_MAP || d->free_map)) return bind_value(b, shorthand, n);
    if (n->kind == NODE_NULL) return TW_OK;
    if (n->kind == NODE_MAP) return bind_map(b, parts, n_parts, n);
    char shown[64];
    if (!b->a->n)
        return complain(b, error_list_add(b->errors, n->at, "%s has no options, but there is %s", d->name,
                                          node_describe(n, shown)));
    return complain(b, error_list_add(b->errors, n->at,
                                      "the options of %s are a map, such as '%s: ...', not %s", d->name,
                                      b->a->list[0].o->name, node_describe(n, shown)));
}

static tw_status finish(binder *b) {
    for (size_t i = 0; i < b->a->n; i++) {
        arg *to = &b->a->list[i];
        if (to->value) continue;
        tw_error reason = {0};
        TRY(bind_default(b->a, to, &reason));
        if (!(to->o->flags & OPTION_REQUIRED)) continue;
        struct text expected = {0};
        tw_status status = option_describe(to->o, to->o->type, &expected);
        if (status == TW_OK)
            status = error_list_add(b->errors, b->a->at, "%s needs the option '%s' (%s)", b->a->d->name,
                                    to->o->name, text_string(&expected));
        text_free(&expected);
        TRY(complain(b, status));
    }
    return TW_OK;
}

tw_status args_bind_all(const descriptor *const *parts, size_t n_parts, const node *n, struct place at,
                        error_list *errors, args **out) {
    *out = NULL;
    assert(n_parts >= 1 && n_parts <= parts_max);
    binder b = {.errors = errors};
    tw_status status = args_new(parts, n_parts, at, &b.a);
    if (status == TW_OK) status = bind_whole(&b, parts, n_parts, n);
    if (status == TW_OK && !(n && n->faulty)) status = finish(&b);
    if (status == TW_OK && b.wrong) status = TW_ERR_JOB;
    if (status == TW_OK) *out = b.a;
    else args_free(b.a);
    return status;
}

tw_status args_bind(const descriptor *d, const node *n, struct place at, error_list *errors, args **out) {
    return args_bind_all(&d, 1, n, at, errors, out);
}

void args_free(args *a) {
    if (!a) return;
    for (size_t i = 0; i < a->n; i++) args_free(a->list[i].section);
    arena_free(&a->arena);
    free(a);
}

/* ---- reading ---- */

static const arg *get(const args *a, const char *name) {
    const arg *found = find_arg(a, name);
    assert(found);
    return found;
}

bool args_given(const args *a, const char *name) { return get(a, name)->value != NULL; }

bool args_bool(const args *a, const char *name) {
    const arg *found = get(a, name);
    assert(found->o->type == OPTION_BOOL);
    return found->scalar.integer != 0;
}

int64_t args_int(const args *a, const char *name) {
    const arg *found = get(a, name);
    assert(found->o->type == OPTION_INT || found->o->type == OPTION_SIZE ||
           found->o->type == OPTION_DURATION);
    return found->scalar.integer;
}

double args_float(const args *a, const char *name) {
    const arg *found = get(a, name);
    assert(found->o->type == OPTION_FLOAT || found->o->type == OPTION_RATE);
    return found->scalar.number;
}

int args_enum(const args *a, const char *name) {
    const arg *found = get(a, name);
    assert(found->o->type == OPTION_ENUM);
    return (int)found->scalar.integer;
}

const type *args_type(const args *a, const char *name) {
    const arg *found = get(a, name);
    assert(found->o->type == OPTION_TYPE);
    return found->scalar.type;
}

const char *args_string(const args *a, const char *name) { return get(a, name)->text; }
const args *args_section(const args *a, const char *name) { return get(a, name)->section; }
const node *args_node(const args *a, const char *name) { return get(a, name)->value; }

struct place args_place(const args *a, const char *name) {
    const node *value = get(a, name)->value;
    return value ? value->at : a->at;
}

const arg_item *args_items(const args *a, const char *name, size_t *n) {
    const arg *found = get(a, name);
    *n = found->n_items;
    return found->n_items ? found->items : NULL;
}

tw_status args_error(const args *a, const char *name, error_list *errors, const char *format, ...) {
    char message[900];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return error_list_add(errors, args_place(a, name), "option '%s' of %s: %s", name, a->d->name, message);
}

/* ---- checking tables ---- */

static tw_status check_option(const descriptor *d, const option *o, tw_error *err) {
    bool is_enum = o->type == OPTION_ENUM;
    if (!o->name || !o->help || (int)o->type < 0 || o->type >= OPTION_TYPES)
        return error_set(err, TW_ERR_INTERNAL, "%s has an option without name, help or type", d->name);
    if (is_enum != (o->values != NULL))
        return error_set(err, TW_ERR_INTERNAL, "%s.%s: values belong to OPTION_ENUM", d->name, o->name);
    if ((o->type == OPTION_SECTION && !o->section) || (o->section && !is_enum && o->type != OPTION_SECTION))
        return error_set(err, TW_ERR_INTERNAL, "%s.%s: section missing or misplaced", d->name, o->name);
    if (o->section && !o->section->n_options)
        return error_set(err, TW_ERR_INTERNAL, "%s.%s: empty section", d->name, o->name);
    if (o->default_text && (o->flags & OPTION_REQUIRED))
        return error_set(err, TW_ERR_INTERNAL, "%s.%s: required, yet with a default", d->name, o->name);
    if (descriptor_option(d, o->name) != o)
        return error_set(err, TW_ERR_INTERNAL, "%s.%s is there twice", d->name, o->name);
    if (o->section) TRY(descriptor_check(o->section, err));
    return TW_OK;
}

tw_status descriptor_check(const descriptor *d, tw_error *err) {
    if (!d->name || !d->summary) return error_set(err, TW_ERR_INTERNAL, "no name or summary");
    for (size_t i = 0; i < d->n_options; i++) TRY(check_option(d, &d->options[i], err));
    if (d->free_map && !d->shorthand)
        return error_set(err, TW_ERR_INTERNAL, "%s: free_map without shorthand", d->name);
    if (d->shorthand && !descriptor_option(d, d->shorthand))
        return error_set(err, TW_ERR_INTERNAL, "%s: no option '%s'", d->name, d->shorthand);
    args *a;
    tw_error reason = {0};
    TRY(args_new(&d, 1, (struct place){0}, &a));
    tw_status status = TW_OK;
    for (size_t i = 0; i < a->n && status == TW_OK; i++) {
        status = bind_default(a, &a->list[i], &reason);
        if (status == TW_ERR_INTERNAL)
            error_set(err, status, "%s.%s: default '%s': %s", d->name, a->list[i].o->name,
                      a->list[i].o->default_text, reason.message);
    }
    args_free(a);
    return status;
}
