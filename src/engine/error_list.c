#include "engine/error_list.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the UTF-8 character at `at`, 0 if it is none. */
static size_t character_bytes(const unsigned char *at) {
    if (*at < 0x80) return 1;
    size_t length = *at >= 0xf0 && *at < 0xf5 ? 4 : *at >= 0xe0 ? 3 : *at >= 0xc2 ? 2 : 0;
    if (*at >= 0xf5) return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    return length;
}

static void make_printable(char *message) {
    for (unsigned char *at = (unsigned char *)message; *at;) {
        size_t length = character_bytes(at);
        bool c1_control = length == 2 && at[0] == 0xc2 && at[1] < 0xa0;
        if (!length || *at < 0x20 || *at == 0x7f || c1_control) {
            *at = '?';
            length = 1;
        }
        at += length;
    }
}

tw_status error_list_add(error_list *l, struct place at, const char *format, ...) {
    l->total++;
    if (l->n == ERROR_LIST_MAX) return TW_ERR_JOB;
    char message[sizeof((tw_error *)0)->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    make_printable(message);
    listed_error *item = &l->items[l->n];
    *item = (listed_error){.file = strdup(at.file ? at.file : ""), .message = strdup(message)};
    if (!item->file || !item->message) {
        free(item->file);
        free(item->message);
        l->no_memory = true;
        return TW_ERR_MEMORY;
    }
    item->line = at.line;
    item->column = at.column;
    item->order = (uint32_t)l->n++;
    return TW_ERR_JOB;
}

static int compare_places(const void *left, const void *right) {
    const listed_error *a = left, *b = right;
    int files = strcmp(a->file, b->file);
    if (files) return files;
    if (a->line != b->line) return a->line < b->line ? -1 : 1;
    if (a->column != b->column) return a->column < b->column ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

void error_list_sort(error_list *l) {
    if (l->n > 1) qsort(l->items, l->n, sizeof *l->items, compare_places);
}

tw_status error_list_status(const error_list *l, tw_error *err) {
    if (l->no_memory) return error_set(err, TW_ERR_MEMORY, "out of memory");
    if (!l->total) return TW_OK;
    const listed_error *first = &l->items[0];
    if (l->total == 1) error_set(err, TW_ERR_JOB, "%s", first->message);
    else
        error_set(err, TW_ERR_JOB, "%.900s (and %zu more error%s)", first->message, l->total - 1,
                  l->total == 2 ? "" : "s");
    error_in_job(err, first->file, first->line, first->column);
    return TW_ERR_JOB;
}

void error_list_free(error_list *l) {
    for (size_t i = 0; i < l->n; i++) {
        free(l->items[i].file);
        free(l->items[i].message);
    }
    *l = (error_list){0};
}
