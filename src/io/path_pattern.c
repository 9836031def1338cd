#include "io/path_pattern.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* How much of the text stands before the first part that is a pattern, or else before the last. */
static size_t base_length(const char *text) {
    size_t magic = strcspn(text, "*?[\\"), n = 0;
    for (size_t i = 0; i < magic && text[i]; i++)
        if (text[i] == '/') n = i + 1;
    return n;
}

static tw_status read_pattern(const char *text, path_pattern *p, tw_error *err) {
    struct stat info;
    size_t length = strlen(text);
    bool folder = stat(text, &info) == 0 && S_ISDIR(info.st_mode);
    size_t n = folder ? length : base_length(text);
    p->parts = calloc(PATTERN_PARTS_MAX, sizeof *p->parts);
    p->base = malloc(n + 2);
    if (!p->parts || !p->base) return no_memory(err);
    memcpy(p->base, text, n);
    if (folder && text[n - 1] != '/') p->base[n++] = '/';
    p->base[n] = 0;
    const char *base = n ? p->base : ".";
    if (stat(base, &info) != 0) {
        error_io(err, errno, "cannot follow '%s'", text);
        return TW_ERR_JOB;
    }
    if (!S_ISDIR(info.st_mode)) return error_set(err, TW_ERR_JOB, "cannot follow '%s': '%s' is no folder", text, base);
    if (!folder && !text[strcspn(text, "*?[\\")])
        return error_set(err, TW_ERR_JOB, "cannot follow '%s': it is no folder and no pattern", text);
    return add_parts(p, text + (folder ? length : n), err);
}

tw_status path_pattern_read(const char *text, path_pattern *out, tw_error *err) {
    *out = (path_pattern){0};
    if (!*text) return error_set(err, TW_ERR_JOB, "a path is empty");
    tw_status status = read_pattern(text, out, err);
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

static bool ends_in(const char *name, const char *ending) {
    size_t n = strlen(name), e = strlen(ending);
    return n >= e && strcmp(name + n - e, ending) == 0;
}

bool path_pattern_takes(const path_pattern *p, uint64_t states, const char *name) {
    if (name[0] == '.' || ends_in(name, ".tmp") || ends_in(name, ".part")) return false;
    return states >> (p->n - 1) & 1 && fnmatch(p->parts[p->n - 1], name, FNM_PERIOD) == 0;
}
