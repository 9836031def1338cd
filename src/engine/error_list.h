/* error_list.h: all that is wrong with a job, each error with its place, to be told at once.
 * Used by one thread at a time. */
#ifndef ENGINE_ERROR_LIST_H
#define ENGINE_ERROR_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Where something stands. Line and column (in bytes) count from 1; line 0: nowhere. */
struct place {
    const char *file; /* not owned; NULL: nowhere */
    uint32_t line, column;
};

typedef struct listed_error {
    char *file; /* "" if none */
    char *message;
    uint32_t line, column;
    uint32_t order; /* of adding */
} listed_error;

enum { ERROR_LIST_MAX = 100 };

/* Start with `error_list errors = {0};`. It copies what it is given. */
typedef struct error_list {
    listed_error items[ERROR_LIST_MAX];
    size_t n;       /* items kept */
    size_t total;   /* errors added, those past ERROR_LIST_MAX too */
    bool no_memory; /* an error could not be kept */
} error_list;

/* Adds one sentence without the place. Returns TW_ERR_JOB, or TW_ERR_MEMORY when it can't be kept.
 * Control characters and broken UTF-8 in it become '?', so that an error stays on its line. */
tw_status error_list_add(error_list *l, struct place at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Orders by file and place; errors of one place stay in the order they came. */
void error_list_sort(error_list *l);
/* TW_OK if there are none; else the first one, with "(and N more errors)", as a tw_error. */
tw_status error_list_status(const error_list *l, tw_error *err);
/* Frees the items and makes the list empty; the list itself is the caller's. */
void error_list_free(error_list *l);

#endif
