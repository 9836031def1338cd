/* path_pattern.h: a pattern of paths that is matched folder by folder, as folders and files appear; the same patterns as
 * in glob.h. What matches next is a set of states: bit i stands for the i-th part of the pattern. */
#ifndef IO_PATH_PATTERN_H
#define IO_PATH_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { PATTERN_PARTS_MAX = 62 };

typedef struct path_pattern {
    char *base;   /* the folder that holds all that matches, with its slash, or "" */
    char **parts; /* names and patterns below it */
    uint32_t n;
} path_pattern;

/* A folder that is there stands for the files in it. TW_ERR_JOB: the pattern is none, or `base` is no folder. */
tw_status path_pattern_read(const char *text, path_pattern *out, tw_error *err);
void path_pattern_free(path_pattern *p);
/* In the folder `base`. */
uint64_t path_pattern_begin(const path_pattern *p);
/* In the folder `name` of one with `states`; 0: nothing matches there. `real`: it is no link. */
uint64_t path_pattern_enter(const path_pattern *p, uint64_t states, const char *name, bool real);
/* Whether the file `name` matches there. */
bool path_pattern_takes(const path_pattern *p, uint64_t states, const char *name);

#endif
