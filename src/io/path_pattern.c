#include "io/path_pattern.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

static bool is_deep(const char *part) { return strcmp(part, "**") == 0; }

static tw_status add_part(path_pattern *p, const char *text, size_t n, tw_error *err) {
    if (p->n == PATTERN_PARTS_MAX) return error_set(err, TW_ERR_JOB, "a pattern has more than %d parts", PATTERN_PARTS_MAX);
    p->parts[p->n] = strndup(text, n);
    return p->parts[p->n++] ? TW_OK : no_memory(err);
}

static tw_status add_parts(path_pattern *p, const char *rest, tw_error *err) {
    for (size_t n; *rest; rest += n) {
        rest += strspn(rest, "/");
        n = strcspn(rest, "/");
        if (n) TRY(add_part(p, rest, n, err));
    }
    if (p->n && !is_deep(p->parts[p->n - 1])) return TW_OK;
    return add_part(p, "*", 1, err); /* all files of a folder, or of all below */
}

#define SIGNS "*?[\\"

bool path_is_pattern(const char *text) { return text[strcspn(text, SIGNS)] != 0; }

size_t path_pattern_base(const char *text) {
    size_t magic = strcspn(text, SIGNS), n = 0;
    for (size_t i = 0; i < magic && text[i]; i++)
        if (text[i] == '/') n = i + 1;
    return n;
}

tw_status path_pattern_read(const char *text, size_t base, path_pattern *out, tw_error *err) {
    *out = (path_pattern){.parts = calloc(PATTERN_PARTS_MAX, sizeof *out->parts), .base = malloc(base + 2)};
    tw_status status = out->parts && out->base ? TW_OK : no_memory(err);
    if (status == TW_OK) {
        memcpy(out->base, text, base);
        out->base[base] = 0;
        if (base && text[base - 1] != '/') memcpy(out->base + base, "/", 2);
        status = add_parts(out, text + base, err);
    }
    if (status != TW_OK) path_pattern_free(out);
    return status;
}

void path_pattern_free(path_pattern *p) {
    for (uint32_t i = 0; i < p->n; i++) free(p->parts[i]);
    free(p->parts);
    free(p->base);
    *p = (path_pattern){0};
}

/* `**` stands for no folder too. */
static uint64_t close_over(const path_pattern *p, uint64_t states) {
    for (uint32_t i = 0; i + 1 < p->n; i++)
        if (states >> i & 1 && is_deep(p->parts[i])) states |= (uint64_t)1 << (i + 1);
    return states;
}

uint64_t path_pattern_begin(const path_pattern *p) { return close_over(p, 1); }

uint64_t path_pattern_enter(const path_pattern *p, uint64_t states, const char *name, bool real) {
    uint64_t next = 0;
    for (uint32_t i = 0; i + 1 < p->n; i++) {
        if (!(states >> i & 1)) continue;
        if (!is_deep(p->parts[i])) next |= (uint64_t)(fnmatch(p->parts[i], name, FNM_PERIOD) == 0) << (i + 1);
        else if (real && name[0] != '.') next |= (uint64_t)1 << i;
    }
    return close_over(p, next);
}

bool path_pattern_takes(const path_pattern *p, uint64_t states, const char *name) {
    return states >> (p->n - 1) & 1 && fnmatch(p->parts[p->n - 1], name, FNM_PERIOD) == 0;
}
