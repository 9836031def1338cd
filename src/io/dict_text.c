#include "io/dict_text.h"

#include <string.h>

static void skip_blanks(dict_text *d) {
    while (d->at < d->end && (*d->at == ' ' || *d->at == '\t' || *d->at == '\r' || *d->at == '\n')) d->at++;
}

static bool take_byte(dict_text *d, char byte) {
    skip_blanks(d);
    if (d->at == d->end || *d->at != byte) return false;
    d->at++;
    return true;
}

static bool read_text(dict_text *d, const char **text, size_t *n) {
    skip_blanks(d);
    if (d->at == d->end || (*d->at != '\'' && *d->at != '"')) return false;
    char quote = *d->at++;
    *text = d->at;
    while (d->at < d->end && *d->at != quote) d->at += *d->at == '\\' && d->end - d->at > 1 ? 2 : 1;
    if (d->at >= d->end) return false;
    *n = (size_t)(d->at++ - *text);
    return true;
}

/* Whatever stands before the next ',' or '}' of this level. */
static bool read_other(dict_text *d, const char **value, size_t *bytes) {
    unsigned depth = 0;
    const char *text, *last = d->at;
    size_t n;
    for (*value = d->at; d->at < d->end; last = d->at) {
        char byte = *d->at;
        if (!depth && (byte == ',' || byte == '}')) break;
        if (byte == '\'' || byte == '"') {
            if (!read_text(d, &text, &n)) return false;
        } else {
            if (byte == '[' || byte == '{' || byte == '(') depth++;
            if ((byte == ']' || byte == '}' || byte == ')') && !depth--) return false;
            d->at++;
        }
        skip_blanks(d);
    }
    /* `last` is behind the blanks after the value: they go too. */
    while (last > *value && strchr(" \t\r\n", last[-1])) last--;
    *bytes = (size_t)(last - *value);
    return d->at < d->end && *bytes;
}

dict_status dict_text_next(dict_text *d, dict_entry *out) {
    bool first = !d->begun;
    d->begun = true;
    if (first && !take_byte(d, '{')) return DICT_WRONG;
    if (take_byte(d, '}')) {
        skip_blanks(d);
        return d->at == d->end ? DICT_END : DICT_WRONG;
    }
    if (!first && !take_byte(d, ',')) return DICT_WRONG;
    if (!read_text(d, &out->key, &out->key_bytes) || !take_byte(d, ':')) return DICT_WRONG;
    skip_blanks(d);
    out->text = d->at < d->end && (*d->at == '\'' || *d->at == '"');
    bool ok = out->text ? read_text(d, &out->value, &out->value_bytes) : read_other(d, &out->value, &out->value_bytes);
    return ok ? DICT_ENTRY : DICT_WRONG;
}

bool dict_key_is(const dict_entry *e, const char *key) { return e->key_bytes == strlen(key) && memcmp(e->key, key, e->key_bytes) == 0; }
