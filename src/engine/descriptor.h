/* descriptor.h: one static table describes a step, a connector, a format or a section such as `run`.
 * Checking a job, `thalweg help` and the reference pages all come from it.
 *
 *     static const option limit_options[] = {
 *         {"rows", OPTION_INT, OPTION_REQUIRED, "how many rows to keep", .max = INT64_MAX},
 *     };
 *     static const descriptor limit = {
 *         "limit", "keeps the first rows", limit_options, COUNT_OF(limit_options), .shorthand = "rows"};
 *
 * A house that builds something from it embeds the descriptor as the first member of a struct with the
 * functions it needs. Descriptors are constant and shared by all threads; bound arguments may be read
 * from any thread. */
#ifndef ENGINE_DESCRIPTOR_H
#define ENGINE_DESCRIPTOR_H

#include "base/text.h"
#include "data/type.h"
#include "engine/node.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

typedef enum option_shape { OPTION_IS_SCALAR, OPTION_IS_LIST, OPTION_IS_MAP, OPTION_IS_NODE } option_shape;

/* kind, what it is in messages, its name in tables, shape, kind of the items of a list or map */
#define OPTION_TABLE(X)                                                                                \
    X(OPTION_BOOL, "true or false", "bool", SCALAR, BOOL)                                              \
    X(OPTION_INT, "a whole number", "integer", SCALAR, INT)                                            \
    X(OPTION_FLOAT, "a number", "number", SCALAR, FLOAT)                                               \
    X(OPTION_SIZE, "a size such as 64MiB", "size", SCALAR, SIZE)             /* bytes */               \
    X(OPTION_DURATION, "a time such as 10ms", "time", SCALAR, DURATION)      /* microseconds */        \
    X(OPTION_RATE, "a rate such as 1000/s", "rate", SCALAR, RATE)            /* per second */          \
    X(OPTION_STRING, "a text", "text", SCALAR, STRING)                                                 \
    X(OPTION_ENUM, "a name", "name", SCALAR, ENUM)                                                     \
    X(OPTION_PATH, "a path", "path", SCALAR, PATH)                                                     \
    X(OPTION_EXPRESSION, "an expression", "expression", SCALAR, EXPRESSION)                            \
    X(OPTION_COLUMN, "a column", "column", SCALAR, COLUMN)                                             \
    X(OPTION_FLOW, "a flow", "flow", SCALAR, FLOW)                                                     \
    X(OPTION_TYPE, "a type such as int64", "type", SCALAR, TYPE)                                       \
    X(OPTION_STRINGS, "a list of texts", "list of texts", LIST, STRING)                                \
    X(OPTION_PATHS, "a list of paths", "list of paths", LIST, PATH)                                    \
    X(OPTION_COLUMNS, "a list of columns", "list of columns", LIST, COLUMN)                            \
    X(OPTION_FLOWS, "a list of flows", "list of flows", LIST, FLOW)                                    \
    X(OPTION_STRING_MAP, "a map of names and texts", "map of texts", MAP, STRING)                      \
    X(OPTION_INT_MAP, "a map of names and whole numbers", "map of integers", MAP, INT)                 \
    X(OPTION_FLOAT_MAP, "a map of names and numbers", "map of numbers", MAP, FLOAT)                    \
    X(OPTION_TYPE_MAP, "a map of columns and types", "map of types", MAP, TYPE)                        \
    X(OPTION_EXPRESSION_MAP, "a map of names and expressions", "map of expressions", MAP, EXPRESSION)  \
    X(OPTION_SECTION, "a map", "map", NODE, SECTION)                         /* see option.section */  \
    X(OPTION_ANY, "anything", "any", NODE, ANY)                              /* the raw node */

typedef enum option_type {
#define X(kind, what, name, shape, item) kind,
    OPTION_TABLE(X)
#undef X
        OPTION_TYPES
} option_type;

enum option_flags {
    OPTION_REQUIRED = 1,
    OPTION_OR_ONE = 2,  /* a list or map: one scalar will do, in a map its own name */
    OPTION_OR_MAP = 4,  /* a list: or a map, each of its values an item */
    OPTION_OR_LIST = 8, /* a map: or a list, each item its own name */
};

typedef struct descriptor descriptor;

typedef struct descriptor_option {
    const char *name;
    option_type type;
    unsigned flags;
    const char *help;           /* one line, no capital, no full stop */
    const char *default_text;   /* read as the option's type if it isn't given (a list: "a, b") */
    const char *default_note;   /* what help says instead of default_text */
    const char *const *values;  /* OPTION_ENUM: NULL at the end */
    const descriptor *section;  /* OPTION_SECTION: of the map; OPTION_ENUM: a map will do instead */
    int64_t min, max;           /* INT, SIZE, DURATION, items of INT_MAP; both 0: any; a max of 0: none */
    double float_min, float_max; /* FLOAT, FLOAT_MAP; both 0: any */
} option;

struct descriptor {
    const char *name;
    const char *summary; /* one line, no capital, no full stop */
    const option *options;
    size_t n_options;
    const char *shorthand; /* the option that a scalar or list in place of the map gives; may be NULL */
    bool free_map;         /* a map too is the value of that option: select, rename */
    const char *details;   /* paragraphs, a blank line between; may be NULL */
    const char *example;   /* YAML; may be NULL */
};

/* ---- Binding ---- */

typedef struct args args;

/* Checks `n` against the descriptor and binds what is given. `n` may be NULL or null: nothing given;
 * `at` is the place of the name, for what is missing. The document must outlive the args.
 * TW_ERR_JOB: all that is wrong has been added to `errors` (or had been before), *out is NULL.
 * TW_ERR_MEMORY; TW_ERR_INTERNAL for a default that does not fit its option. */
tw_status args_bind(const descriptor *d, const node *n, struct place at, error_list *errors, args **out);
/* The same for options that come from several descriptors, as a connector and a format share one map;
 * the first gives the name and the shorthand, and wins where they have the same option. At most 4. */
tw_status args_bind_all(const descriptor *const *parts, size_t n_parts, const node *n, struct place at,
                        error_list *errors, args **out);
void args_free(args *a); /* NULL is allowed */

/* Values by the name of the option, which must be in the descriptor and of the type that the function
 * is for. An option that is neither given nor has a default is 0, false or NULL. */
bool args_given(const args *a, const char *name); /* null does not count as given */
bool args_bool(const args *a, const char *name);
int64_t args_int(const args *a, const char *name);      /* INT, SIZE, DURATION */
double args_float(const args *a, const char *name);     /* FLOAT, RATE */
int args_enum(const args *a, const char *name);         /* index in values; -1: none, or a section */
const type *args_type(const args *a, const char *name);
const char *args_string(const args *a, const char *name); /* any scalar type: its struct text */
const args *args_section(const args *a, const char *name); /* NULL: none */
const node *args_node(const args *a, const char *name);    /* NULL: not given */
/* Of the value; where the whole thing stands if the option isn't given. */
struct place args_place(const args *a, const char *name);

/* One of a list or a map, in the order of the text. */
typedef struct arg_item {
    const char *name; /* the key; of a list the struct text */
    const char *text;
    const node *value; /* NULL in a default */
    struct place at, name_at;
    int64_t integer;  /* INT_MAP */
    double number;    /* FLOAT_MAP */
    const type *type; /* TYPE_MAP */
} arg_item;
/* The items of a list or map; *n = 0 and NULL if there are none. */
const arg_item *args_items(const args *a, const char *name, size_t *n);

/* Adds an error at the place of an option's value: "option 'x' of name: ...". TW_ERR_JOB. */
tw_status args_error(const args *a, const char *name, error_list *errors, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- Tables ---- */

const option *descriptor_option(const descriptor *d, const char *name); /* NULL: none */
/* Checks that a table makes sense; for tests of whoever has tables. TW_ERR_INTERNAL. */
tw_status descriptor_check(const descriptor *d, tw_error *err);
/* For `thalweg help NAME`: plain text, at most 80 columns wide. */
tw_status descriptor_help(const descriptor *d, struct text *out);
/* For docs/reference: a section with a table. */
tw_status descriptor_markdown(const descriptor *d, struct text *out);

#endif
