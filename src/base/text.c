#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tw_status text_reserve(struct text *t, size_t more) {
    if (t->failed) return TW_ERR_MEMORY;
    if (t->capacity - t->length > more) return TW_OK;
    size_t capacity = t->capacity ? t->capacity : 64;
    while (capacity - t->length <= more) {
        if (capacity > SIZE_MAX / 4) {
            t->failed = true;
            return TW_ERR_MEMORY;
        }
        capacity *= 2;
    }
    char *bytes = realloc(t->bytes, capacity);
    if (!bytes) {
        t->failed = true;
        return TW_ERR_MEMORY;
    }
    t->bytes = bytes;
    t->capacity = capacity;
    return TW_OK;
}

tw_status text_append(struct text *t, const void *bytes, size_t length) {
    TRY(text_reserve(t, length));
    if (length) memcpy(t->bytes + t->length, bytes, length);
    t->length += length;
    t->bytes[t->length] = 0;
    return TW_OK;
}

tw_status text_append_string(struct text *t, const char *string) {
    return text_append(t, string, strlen(string));
}

tw_status text_append_char(struct text *t, char c) { return text_append(t, &c, 1); }

tw_status text_append_repeated(struct text *t, char c, size_t times) {
    TRY(text_reserve(t, times));
    memset(t->bytes + t->length, c, times);
    t->length += times;
    t->bytes[t->length] = 0;
    return TW_OK;
}

tw_status text_vprintf(struct text *t, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    tw_status status = length < 0 ? TW_ERR_INTERNAL : text_reserve(t, (size_t)length);
    if (status == TW_OK) {
        vsnprintf(t->bytes + t->length, (size_t)length + 1, format, again);
        t->length += (size_t)length;
    }
    va_end(again);
    return status;
}

tw_status text_printf(struct text *t, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    tw_status status = text_vprintf(t, format, arguments);
    va_end(arguments);
    return status;
}

const char *text_string(const struct text *t) { return t->bytes ? t->bytes : ""; }

void text_truncate(struct text *t, size_t length) {
    if (length >= t->length) return;
    t->length = length;
    t->bytes[length] = 0;
}

char *text_take(struct text *t) {
    if (text_reserve(t, 0) != TW_OK) {
        text_free(t);
        return NULL;
    }
    t->bytes[t->length] = 0;
    char *bytes = t->bytes;
    *t = (struct text){0};
    return bytes;
}

void text_free(struct text *t) {
    free(t->bytes);
    *t = (struct text){0};
}

enum { distance_bytes_max = 64 };

static char fold_case(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c; }

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

unsigned edit_distance(const char *a, const char *b, unsigned limit) {
    size_t n = strnlen(a, distance_bytes_max + 1), m = strnlen(b, distance_bytes_max + 1);
    if (n > distance_bytes_max || m > distance_bytes_max) return limit + 1;
    if ((n > m ? n - m : m - n) > limit) return limit + 1;
    unsigned rows[3][distance_bytes_max + 1];
    unsigned *before = rows[0], *previous = rows[1], *current = rows[2];
    for (size_t j = 0; j <= m; j++) previous[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        current[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            char x = fold_case(a[i - 1]), y = fold_case(b[j - 1]);
            unsigned cost = least(previous[j], current[j - 1]) + 1;
            cost = least(cost, previous[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == fold_case(b[j - 2]) && y == fold_case(a[i - 2]))
                cost = least(cost, before[j - 2] + 1);
            current[j] = cost;
        }
        unsigned *recycled = before;
        before = previous;
        previous = current;
        current = recycled;
    }
    return previous[m] > limit ? limit + 1 : previous[m];
}

void nearest_try(struct nearest *n, const char *candidate) {
    size_t length = strnlen(n->name, distance_bytes_max + 1);
    unsigned limit = length < 3 ? 1 : length < 6 ? 2 : 3;
    unsigned distance = edit_distance(n->name, candidate, limit);
    /* A name with nothing in common is no suggestion; a beginning of the candidate is a good one. */
    if (distance >= length) distance = limit + 1;
    if (distance > 1 && length >= 3 && strncmp(n->name, candidate, length) == 0) distance = 1;
    if (distance > limit || (n->best && distance >= n->distance)) return;
    n->best = candidate;
    n->distance = distance;
}

const char *nearest_name(const char *name, const char *const *candidates, size_t n) {
    struct nearest found = {name};
    for (size_t i = 0; i < n; i++) nearest_try(&found, candidates[i]);
    return found.best;
}
