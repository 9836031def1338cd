/* dict_text.h: the first level of a JSON object or of a Python dict as `repr` writes it. Bounded by the bytes given. */
#ifndef IO_DICT_TEXT_H
#define IO_DICT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct dict_text {
    const char *at, *end;
    bool begun;
} dict_text;

typedef struct dict_entry {
    const char *key, *value; /* texts without their quotes, escapes as they stand */
    size_t key_bytes, value_bytes;
    bool text;
} dict_entry;

typedef enum dict_status { DICT_ENTRY, DICT_END, DICT_WRONG } dict_status;

static inline dict_text dict_text_of(const char *bytes, size_t n) { return (dict_text){bytes, bytes + n, false}; }
/* The next entry. DICT_WRONG: it is no dict, or goes on after its end. */
dict_status dict_text_next(dict_text *d, dict_entry *out);
bool dict_key_is(const dict_entry *e, const char *key);

#endif
