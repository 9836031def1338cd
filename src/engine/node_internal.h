/* node_internal.h: what the files that make nodes share. */
#ifndef ENGINE_NODE_INTERNAL_H
#define ENGINE_NODE_INTERNAL_H

#include "base/text.h"
#include "base/arena.h"
#include "engine/node.h"

struct document {
    arena arena;
    const node *root;
    size_t made;     /* nodes and copied entries, at most NODE_COUNT_MAX */
    size_t expanded; /* bytes of scalars with variables, at most NODE_BYTES_MAX */
};

/* A place in one line of text, or the start of a text. */
typedef struct node_source {
    const char *text;
    size_t length;
    struct place at; /* of its first byte; `file` must live as long as the document */
} node_source;

/* Parses into the document's arena, leaving its root alone. As document_parse. */
tw_status node_parse(document *d, node_source source, const struct variables *vars, error_list *errors,
                     const node **out);

/* Counts n more nodes; TW_ERR_JOB with an error at `at` when that is too many. */
tw_status document_count(document *d, size_t n, struct place at, error_list *errors);

/* New nodes; NULL when out of memory. Lists and maps take over the array, which is in the arena. */
node *document_node(document *d, node_kind kind, struct place at);
/* Sums up what is in a list or a map. TW_ERR_JOB with an error when it passes a bound. */
tw_status node_seal(node *n, error_list *errors);

/* Appends `raw` with its variables expanded, their values only as long as `out` stays within
 * bytes_max. TW_ERR_JOB: errors have been added. */
tw_status variables_expand(const struct variables *vars, const char *raw, struct place at, size_t bytes_max,
                           error_list *errors, struct text *out);

#endif
