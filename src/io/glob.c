#include "io/glob.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "io/path_pattern.h"

enum { PATHS_MAX = 10000000 };

typedef struct search {
    path_list *found;
    size_t room;
    struct text path;    /* of the folder at hand with its slash, or "" */
    const char *pattern; /* the whole of it, for messages */
    path_pattern parts;
    tw_error *err;
} search;

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

static tw_status add_path(search *s, const char *path) {
    path_list *l = s->found;
    if (l->n == PATHS_MAX)
        return error_set(s->err, TW_ERR_JOB, "'%s' names more than %d files", s->pattern, PATHS_MAX);
    if (l->n == s->room) {
        size_t room = s->room ? s->room * 2 : 64;
        char **more = realloc(l->paths, room * sizeof *more);
        if (!more) return no_memory(s->err);
        l->paths = more;
        s->room = room;
    }
    l->paths[l->n] = strdup(path);
    if (!l->paths[l->n]) return no_memory(s->err);
    l->n++;
    return TW_OK;
}

static tw_status take_file(search *s, const char *name) {
    size_t length = s->path.length;
    struct stat info;
    text_append_string(&s->path, name);
    if (s->path.failed) return no_memory(s->err);
    tw_status status = TW_OK;
    if (stat(text_string(&s->path), &info) == 0 && !S_ISDIR(info.st_mode)) status = add_path(s, text_string(&s->path));
    text_truncate(&s->path, length);
    return status;
}

typedef struct names {
    char **items;
    bool *folder; /* itself, not through a link */
    bool *other;  /* it may lead to one: a link, or not known */
    size_t n;
} names;

static void names_free(names *l) {
    for (size_t i = 0; i < l->n; i++) free(l->items[i]);
    free(l->items);
    free(l->folder);
    free(l->other);
}

static bool add_name(names *l, const struct dirent *e) {
    if ((l->n & (l->n - 1)) == 0) {
        size_t room = l->n ? l->n * 2 : 1;
        char **items = realloc(l->items, room * sizeof *items);
        if (items) l->items = items;
        bool *folder = realloc(l->folder, room);
        if (folder) l->folder = folder;
        bool *other = realloc(l->other, room);
        if (other) l->other = other;
        if (!items || !folder || !other) return false;
    }
    l->items[l->n] = strdup(e->d_name);
    if (!l->items[l->n]) return false;
    l->folder[l->n] = e->d_type == DT_DIR;
    l->other[l->n++] = e->d_type == DT_LNK || e->d_type == DT_UNKNOWN;
    return true;
}

/* The names in the folder at hand; none if there is no such folder. */
static tw_status list_names(search *s, names *out) {
    const char *path = s->path.length ? text_string(&s->path) : ".";
    DIR *folder = opendir(path);
    if (!folder && (errno == ENOENT || errno == ENOTDIR)) return TW_OK;
    if (!folder) {
        error_io(s->err, errno, "cannot look for '%s' in '%s'", s->pattern, path);
        return TW_ERR_IO;
    }
    tw_status status = TW_OK;
    struct dirent *e;
    for (errno = 0; status == TW_OK && (e = readdir(folder)); errno = 0) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (!add_name(out, e)) status = no_memory(s->err);
    }
    if (status == TW_OK && errno) status = error_io(s->err, errno, "cannot look for '%s' in '%s'", s->pattern, path);
    closedir(folder);
    return status;
}

/* Not through links, which might lead round in circles. */
static bool is_real_folder(search *s, const names *l, size_t i) {
    if (l->folder[i] || !l->other[i]) return l->folder[i];
    size_t length = s->path.length;
    struct stat info;
    text_append_string(&s->path, l->items[i]);
    bool is = !s->path.failed && lstat(text_string(&s->path), &info) == 0 && S_ISDIR(info.st_mode);
    text_truncate(&s->path, length);
    return is;
}

/* Files and folders below the one at hand. */
static tw_status find(search *s, uint64_t states) {
    names l = {0};
    tw_status status = list_names(s, &l);
    for (size_t i = 0; i < l.n && status == TW_OK; i++) {
        if (!l.folder[i] && path_pattern_takes(&s->parts, states, l.items[i])) status = take_file(s, l.items[i]);
        if ((!l.folder[i] && !l.other[i]) || status != TW_OK) continue;
        uint64_t next = path_pattern_enter(&s->parts, states, l.items[i], is_real_folder(s, &l, i));
        if (!next) continue;
        size_t length = s->path.length;
        text_append_string(&s->path, l.items[i]);
        text_append_char(&s->path, '/');
        if (s->path.failed) status = no_memory(s->err);
        else if (s->path.length < PATH_MAX) status = find(s, next);
        text_truncate(&s->path, length);
    }
    names_free(&l);
    return status;
}

static tw_status find_pattern(search *s) {
    const char *pattern = s->pattern;
    struct stat info;
    if (!*pattern) return error_set(s->err, TW_ERR_JOB, "a path is empty");
    bool there = stat(pattern, &info) == 0;
    if (there && S_ISDIR(info.st_mode))
        return error_set(s->err, TW_ERR_JOB, "'%s' is a folder: '%s%s*' are the files in it, '%s%s**' those below too",
                         pattern, pattern, pattern[strlen(pattern) - 1] == '/' ? "" : "/", pattern,
                         pattern[strlen(pattern) - 1] == '/' ? "" : "/");
    if (there) return add_path(s, pattern);
    int e = errno;
    if (!path_is_pattern(pattern)) {
        error_io(s->err, e, "cannot read '%s'", pattern);
        return TW_ERR_JOB;
    }
    size_t before = s->found->n;
    TRY(path_pattern_read(pattern, path_pattern_base(pattern), &s->parts, s->err));
    text_truncate(&s->path, 0);
    text_append_string(&s->path, s->parts.base);
    tw_status status = s->path.failed ? no_memory(s->err) : find(s, path_pattern_begin(&s->parts));
    path_pattern_free(&s->parts);
    if (status == TW_ERR_IO) return TW_ERR_JOB;
    if (status == TW_OK && s->found->n == before)
        return error_set(s->err, TW_ERR_JOB, "no file matches '%s'", pattern);
    return status;
}

static int compare_paths(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void sort_paths(path_list *l) {
    if (l->n < 2) return;
    qsort(l->paths, l->n, sizeof *l->paths, compare_paths);
    size_t kept = 1;
    for (size_t i = 1; i < l->n; i++) {
        if (strcmp(l->paths[i], l->paths[kept - 1])) l->paths[kept++] = l->paths[i];
        else free(l->paths[i]);
    }
    l->n = kept;
}

tw_status glob_paths(const char *const *patterns, size_t n, path_list *out, size_t *wrong, tw_error *err) {
    *out = (path_list){0};
    search s = {.found = out, .err = err};
    tw_status status = TW_OK;
    for (size_t i = 0; i < n && status == TW_OK; i++) {
        s.pattern = patterns[i];
        status = find_pattern(&s);
        *wrong = i;
    }
    text_free(&s.path);
    if (status == TW_OK) sort_paths(out);
    else path_list_free(out);
    return status;
}

void path_list_free(path_list *l) {
    for (size_t i = 0; i < l->n; i++) free(l->paths[i]);
    free(l->paths);
    *l = (path_list){0};
}
