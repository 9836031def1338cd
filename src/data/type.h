/* type.h: the types of columns, and schemas. Types and schemas are immutable once made. */
#ifndef DATA_TYPE_H
#define DATA_TYPE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* One table gives the enum, the names in job files, and the bytes a value takes in a column. */
#define TYPE_TABLE(X)                                                                              \
    X(TYPE_BOOL, "bool", 1)           /* one byte a value, 0 or 1 */                               \
    X(TYPE_INT32, "int32", 4)                                                                      \
    X(TYPE_INT64, "int64", 8)                                                                      \
    X(TYPE_FLOAT32, "float32", 4)                                                                  \
    X(TYPE_FLOAT64, "float64", 8)                                                                  \
    X(TYPE_DATE, "date", 4)           /* int32, days since 1970-01-01 */                           \
    X(TYPE_TIMESTAMP, "timestamp", 8) /* int64, microseconds since 1970-01-01T00:00Z */            \
    X(TYPE_STRING, "string", 16)      /* a `view` of UTF-8 */                                      \
    X(TYPE_BINARY, "binary", 16)      /* a `view` of bytes */                                      \
    X(TYPE_VECTOR, "vector", 0)       /* `width` float32 side by side */                           \
    X(TYPE_SPARSE, "sparse", 0)       /* uint32 offsets into two children: int32 index, float32 */ \
    X(TYPE_LIST, "list", 0)           /* uint32 offsets into one child */

typedef enum type_kind {
#define X(kind, name, bytes) kind,
    TYPE_TABLE(X)
#undef X
        TYPE_KINDS
} type_kind;

typedef struct type {
    type_kind kind;
    uint32_t width;          /* of TYPE_VECTOR: 1..1,048,576 */
    const struct type *item; /* of TYPE_LIST */
} type;

/* The shared instance of a kind without parameters; NULL for TYPE_VECTOR and TYPE_LIST. */
const type *type_of(type_kind kind);
/* Interned for the life of the process: never freed, equal types are the same pointer. Thread-safe.
 * NULL when out of memory or out of range. Lists of lists are allowed up to 8 deep. */
const type *type_vector(uint32_t width);
const type *type_list(const type *item);
/* "int64", "vector<float32, 4>", "list<string>", "sparse<float32>", blanks allowed between the parts;
 * NULL if it is no type. */
const type *type_parse(const char *text);
/* Writes the name, cut at capacity, always ended by 0; returns `out`. */
char *type_name(const type *t, char *out, size_t capacity);
/* Bytes of one value in `values`: 4 * width for vectors, 4 (an offset) for lists and sparse. */
size_t type_bytes(const type *t);
bool type_is_view(const type *t);    /* string, binary */
bool type_is_nested(const type *t);  /* list, sparse */
bool type_is_integer(const type *t); /* int32, int64 */
bool type_is_number(const type *t);  /* integers and floats */
/* The type that values of both widen to, or NULL: two integers meet in int64, other numbers in float64. */
const type *type_meeting(const type *a, const type *b);

typedef struct field {
    char *name;
    const type *type;
} field;

typedef struct schema {
    atomic_uint references;
    uint32_t n;
    field fields[];
} schema;

/* Copies the names, in any order and even twice: who allows what is for the caller. One reference. */
tw_status schema_new(const char *const *names, const type *const *types, uint32_t n, schema **out,
                     tw_error *err);
/* Made from another: one column replaced, or one added at the end. One reference. */
tw_status schema_replace(const schema *s, uint32_t index, const char *name, const type *t, schema **out,
                         tw_error *err);
tw_status schema_add(const schema *s, const char *name, const type *t, schema **out, tw_error *err);
schema *schema_ref(schema *s); /* NULL gives NULL */
void schema_unref(schema *s);  /* NULL is allowed */
/* The index of the first column of that name, or -1. */
int schema_find(const schema *s, const char *name);
bool schema_equal(const schema *a, const schema *b);

#endif
