#include "io/csv_options.h"

static tw_status read_byte(error_list *errors, const args *a, const char *name, uint8_t *out) {
    const char *text = args_given(a, name) ? args_string(a, name) : NULL;
    if (!text) return TW_OK;
    if (strcmp(text, "\\t") == 0) text = "\t";
    bool none = !*text && strcmp(name, "quote") == 0;
    bool one = *text && !text[1] && (uint8_t)*text < 0x80 && *text != '\n' && *text != '\r';
    if (!none && !one) return args_error(a, name, errors, "must be one ASCII character, not a line end");
    *out = (uint8_t)*text;
    return TW_OK;
}

tw_status csv_options_read(error_list *errors, const args *a, encode_options *o) {
    static const char *const csv_only[] = {"header", "delimiter", "quote"};
    for (size_t i = 0; i < COUNT_OF(csv_only) && o->kind != FORMAT_CSV; i++)
        if (args_given(a, csv_only[i]))
            return args_error(a, csv_only[i], errors, "is for csv, but the format is %s", format_names[o->kind]);
    o->header = args_bool(a, "header");
    TRY(read_byte(errors, a, "delimiter", &o->delimiter));
    TRY(read_byte(errors, a, "quote", &o->quote));
    if (o->delimiter != o->quote) return TW_OK;
    return args_error(a, args_given(a, "quote") ? "quote" : "delimiter", errors, "delimiter and quote are the same");
}
