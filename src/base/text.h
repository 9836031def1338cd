/* text.h: a growable byte string, and the nearest known name to a misspelt one. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Start with `struct text t = {0};`, end with text_free. After a failed allocation every further call does
 * nothing and returns TW_ERR_MEMORY, so a writer may check only once, at the end. */
struct text {
    char *bytes; /* NULL while empty; else followed by a 0 that `length` does not count */
    size_t length, capacity;
    bool failed;
};

tw_status text_append(struct text *t, const void *bytes, size_t length);
tw_status text_append_string(struct text *t, const char *string);
tw_status text_append_char(struct text *t, char c);
tw_status text_append_repeated(struct text *t, char c, size_t times);
tw_status text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
tw_status text_vprintf(struct text *t, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
/* The bytes as a C string, "" when empty; valid until the next change. */
const char *text_string(const struct text *t);
/* Cuts to `length` bytes, if it is longer. */
void text_truncate(struct text *t, size_t length);
/* Hands the bytes over (for free); NULL if an allocation has failed. The text is empty afterwards. */
char *text_take(struct text *t);
void text_free(struct text *t);

/* How many insertions, deletions, replacements and swaps of neighbours turn `a` into `b`, ASCII case
 * aside (optimal string alignment: Damerau, "A technique for computer detection and correction of
 * spelling errors", 1964). More than `limit` is given as limit + 1, as is a name over 64 bytes. */
unsigned edit_distance(const char *a, const char *b, unsigned limit);

/* Finds the candidate a misspelt name most likely means. Start with `struct nearest n = {name};`. */
struct nearest {
    const char *name;
    const char *best; /* the answer: NULL when none is near enough; one of the candidates */
    unsigned distance;
};
void nearest_try(struct nearest *n, const char *candidate);
/* The same over an array. */
const char *nearest_name(const char *name, const char *const *candidates, size_t n);

#endif
