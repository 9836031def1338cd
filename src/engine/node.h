/* node.h: the tree of a parsed job text (YAML, and so JSON): what stands in it and where.
 *
 * Nodes are immutable and belong to their document, which must outlive whoever points at them; they
 * may be read from any thread. A scalar is its text: what it means is the reader's matter, so `on`,
 * `y` and `no` are words. Only a plain `null`, `~` or nothing at all is NODE_NULL.
 *
 * Bounds: 16 MiB of text, NODE_DEPTH_MAX levels, NODE_COUNT_MAX nodes, NODE_BYTES_MAX bytes of
 * scalars, the last three with each alias counted as what it stands for. */
#ifndef ENGINE_NODE_H
#define ENGINE_NODE_H

#include "engine/error_list.h"

enum {
    NODE_TEXT_MAX = 16 << 20,
    NODE_DEPTH_MAX = 100,
    NODE_COUNT_MAX = 500000,
    NODE_BYTES_MAX = 64 << 20,
};

typedef enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP } node_kind;

typedef struct node node;

/* `key: value`. The place is the key's. */
typedef struct node_entry {
    const char *key;
    const node *value;
    struct place at;
} node_entry;

struct node {
    node_kind kind;
    bool quoted; /* a scalar in quotes, or a block of struct text */
    bool faulty; /* an error about it is listed already: say no more */
    uint8_t height;
    int8_t lead; /* a scalar's bytes before its text (0, or 1 for a quote); -1: not as it is written */
    uint32_t n;  /* items or entries */
    struct place at;
    union {
        const char *text;          /* scalar, null ("null", "~" or ""); UTF-8 without 0 inside */
        const node *const *items;  /* list */
        const node_entry *entries; /* map: in the order of the text, no key twice */
    };
    const char *shown; /* a scalar as it is written, its variables (secrets, perhaps) not expanded */
    uint32_t total;    /* nodes in it, itself included */
    uint32_t bytes;    /* of the scalars in it */
};

/* The value of a key; NULL if it isn't there or `n` is no map (or NULL). */
const node *node_get(const node *n, const char *key);
const node_entry *node_entry_of(const node *n, const char *key);
/* "nothing", "a list", "a map", or the scalar in quotes as it is written, cut: for messages. */
const char *node_describe(const node *n, char buffer[64]);

/* The place of a byte (from 1) of a scalar's text, such as an error in an expression; the scalar's own
 * place where escapes, folding or variables make that unknown. */
struct place node_place_within(const node *n, uint64_t byte);

/* Where ${VAR} looks: the value, or NULL if unset. */
struct variables {
    const char *(*get)(void *context, const char *name);
    void *context;
};

typedef struct document document;

/* Parses `length` bytes of one YAML document. `file` is its name in errors (copied).
 *
 * Variables expand inside scalar values, never in keys, and the result stays one scalar: ${VAR};
 * ${VAR:-default} if VAR is unset or empty; ${VAR:?message} an error then. Defaults may hold variables.
 * "$${" is the text "${". `vars` NULL is the environment of the process.
 * Merge keys (<<: *a, <<: [*a, *b]) add what the map has not itself, at their place in the order.
 *
 * TW_OK gives a tree, though errors may have been added: then the tree serves to find more of them.
 * TW_ERR_JOB: no tree (a syntax error, or a bound passed), the error is in `errors`. TW_ERR_MEMORY. */
tw_status document_parse(const char *text, size_t length, const char *file, const struct variables *vars,
                         error_list *errors, document **out);
void document_free(document *d); /* NULL is allowed */
const node *document_root(const document *d);

/* Applies PATH=VALUE: `run.memory=1GiB`, `steps[1].sort.limit=10`, `a."odd.key"[0]=[x, y]`. VALUE is
 * YAML (with variables). Lists are indexed from 0; missing map entries are made; a step written as a
 * bare name becomes `name: {...}` when the path goes on into it. The place of what it sets is that in
 * the argument, its file "--set PATH". Earlier nodes stay valid; document_root changes.
 * TW_ERR_JOB: the error is in `errors`, the tree is as it was. TW_ERR_MEMORY. */
tw_status document_set(document *d, const char *assignment, const struct variables *vars,
                       error_list *errors);

#endif
