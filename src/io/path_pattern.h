/* path_pattern.h: a pattern of paths, matched folder by folder: `*`, `?` and `[...]` within a name, `**` for any number of
 * folders; a name that begins with a dot needs one in the pattern; `**` follows no symbolic links. What matches next is a
 * set of states: bit i stands for the i-th part of the pattern. */
#ifndef IO_PATH_PATTERN_H
#define IO_PATH_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { PATTERN_PARTS_MAX = 62 };

typedef struct path_pattern {
    char *base;   /* the folder that holds all that matches, with its slash, or "" */
    char **parts; /* names and patterns below it */
    uint32_t n;
} path_pattern;

bool path_is_pattern(const char *text);
/* How much of the text names the folder that holds all that matches. */
size_t path_pattern_base(const char *text);
/* So much of the text is `base` as it stands, signs of patterns or not; with nothing behind it all its files match. TW_ERR_JOB:
 * too many parts. */
tw_status path_pattern_read(const char *text, size_t base, path_pattern *out, tw_error *err);
void path_pattern_free(path_pattern *p);
/* In the folder `base`. */
uint64_t path_pattern_begin(const path_pattern *p);
/* In the folder `name` of one with `states`; 0: nothing matches there. `real`: it is no link. */
uint64_t path_pattern_enter(const path_pattern *p, uint64_t states, const char *name, bool real);
/* Whether the file `name` matches there. */
bool path_pattern_takes(const path_pattern *p, uint64_t states, const char *name);

#endif
