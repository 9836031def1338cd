/* json_values.h: values on simdjson's tape -> columns, and the tree that finds a column by its path. */
#ifndef IO_JSON_VALUES_H
#define IO_JSON_VALUES_H

#include "data/batch.h"
#include "io/json_tape.h"

/* Where a column stands in a document. */
typedef struct json_node {
    char *key;
    uint32_t key_size;
    uint32_t expected; /* the child that will likely come next */
    int index;         /* of a column; -1: none */
    struct json_node **children; /* in the order of the columns */
    struct json_node **sorted;   /* by size, then bytes of the key */
    uint32_t n_children;
} json_node;

/* From the paths of a schema's columns: `user.name` is `name` within `user`. NULL: out of memory. */
json_node *json_tree_new(const schema *s);
void json_tree_free(json_node *n); /* NULL is allowed */

/* Finds the values of the object at `at`: slots[i] becomes the tape index of column i's value; others
 * stay. Of equal keys the last counts. */
void json_find(json_node *tree, const uint64_t *tape, const uint8_t *strings, size_t at, uint32_t *slots);

typedef enum json_fit { JSON_FITS, JSON_MISFIT, JSON_RANGE } json_fit;

/* Whether the value at `at` can be one of type `t`; null can. */
json_fit json_value_fits(const type *t, const uint64_t *tape, const uint8_t *strings, size_t at);
/* Appends a value that fits. */
tw_status json_append(column_builder *b, const type *t, const uint64_t *tape, const uint8_t *strings,
                      size_t at, tw_error *err);
/* The value in few words for a message; `out` has SHOWN_MAX bytes. */
void json_show(const uint64_t *tape, const uint8_t *strings, size_t at, char *out);

typedef struct json_string {
    const uint8_t *bytes;
    uint32_t size;
} json_string;
static inline json_string tape_string(const uint64_t *tape, const uint8_t *strings, size_t at) {
    const uint8_t *p = strings + tape_payload(tape[at]);
    json_string s = {p + 4, 0};
    memcpy(&s.size, p, 4);
    return s;
}

/* A line parsed whatever numbers it holds: integers of too many digits for the parser become floats.
 * Keeps the parser and what it is charged with. Start with {.memory = m}. */
typedef struct json_reader {
    memory *memory;
    json_parser *parser;
    buffer *charge, *scratch;
} json_reader;
/* Gives the tape, or NULL with TW_OK and why it is no JSON (static). */
tw_status json_read(json_reader *r, const uint8_t *text, size_t size, const uint64_t **tape, const char **why,
                    tw_error *err);
void json_reader_close(json_reader *r);

#endif
