/* descriptor_internal.h: what binding and help share. */
#ifndef ENGINE_DESCRIPTOR_INTERNAL_H
#define ENGINE_DESCRIPTOR_INTERNAL_H

#include "engine/descriptor.h"

typedef struct option_kind {
    const char *what, *name;
    option_shape shape;
    option_type item;
} option_kind;

extern const option_kind option_kinds[OPTION_TYPES];

/* What a scalar means as some type. */
typedef struct scalar {
    int64_t integer;
    double number;
    const type *type;
} scalar;

/* Reads a scalar as an `as` under the bounds of `o`. TW_ERR_JOB: err->message says what is wrong
 * ("must be at least 1"), without the text, which may be a secret. */
tw_status scalar_read(const option *o, option_type as, const char *string, scalar *out,
                      tw_error *err);
/* "a whole number from 1 to 9", "one of a, b", "a list of columns, or one of them": into `out`. `as`
 * is the option's type, or that of its items. */
tw_status option_describe(const option *o, option_type as, struct text *out);

#endif
