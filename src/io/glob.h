/* glob.h: paths and patterns (path_pattern.h) -> files. A path that exists is taken as it is, whatever signs it holds. */
#ifndef IO_GLOB_H
#define IO_GLOB_H

#include <stddef.h>

#include "base/error.h"

typedef struct path_list {
    char **paths; /* byte by byte in order, none twice */
    size_t n;
} path_list;

/* All files that the patterns name. A pattern that names none, a folder in place of a file and a folder
 * that cannot be read are TW_ERR_JOB; *wrong is the pattern's index. */
tw_status glob_paths(const char *const *patterns, size_t n, path_list *out, size_t *wrong, tw_error *err);
void path_list_free(path_list *l);

#endif
