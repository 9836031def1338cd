/* infer_internal.h: what the kinds of inference share. */
#ifndef IO_INFER_INTERNAL_H
#define IO_INFER_INTERNAL_H

#include "io/infer.h"

/* Types that a text can be read as. */
enum value_types { IS_BOOL = 1, IS_INT = 2, IS_FLOAT = 4, IS_DATE = 8, IS_TIMESTAMP = 16, IS_ANY = 31 };

unsigned value_types(const uint8_t *text, size_t size);
/* The narrowest of a set; text if there is none, or no value was seen. */
const type *type_of_values(unsigned types, bool any);

typedef struct inference_class {
    tw_status (*add)(inference *n, const span *s, const char *file, bool file_start, tw_error *err);
    tw_status (*finish)(inference *n, tw_error *err);
    void (*free)(inference *n);
} inference_class;

struct inference {
    const inference_class *class;
    format *format;
    memory *memory;
    uint64_t rows, bytes;
    bool enough;
};

tw_status inference_allocate(size_t bytes, const inference_class *class, format *f, memory *m, inference **out,
                             tw_error *err);
tw_status csv_inference_new(format *f, memory *m, inference **out, tw_error *err);
tw_status json_inference_new(format *f, memory *m, inference **out, tw_error *err);
/* Gives the format its schema; `inferred` may be NULL (all). */
tw_status inference_set_schema(inference *n, const char *const *names, const type *const *types,
                               const bool *inferred, uint32_t count, tw_error *err);

#endif
