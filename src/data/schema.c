#include <stdlib.h>

#include "data/type.h"

static tw_status derive_schema(const schema *s, uint32_t index, uint32_t n, const char *name, const type *t,
                               schema **out, tw_error *err) {
    const char **names = malloc((n + 1) * sizeof *names);
    const type **types = malloc((n + 1) * sizeof *types);
    tw_status status = TW_ERR_MEMORY;
    if (names && types) {
        for (uint32_t i = 0; i < s->n; i++) {
            names[i] = s->fields[i].name;
            types[i] = s->fields[i].type;
        }
        names[index] = name;
        types[index] = t;
        status = schema_new(names, types, n, out, err);
    } else {
        error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    }
    free(names);
    free(types);
    return status;
}

tw_status schema_replace(const schema *s, uint32_t index, const char *name, const type *t, schema **out,
                         tw_error *err) {
    return derive_schema(s, index, s->n, name, t, out, err);
}

tw_status schema_add(const schema *s, const char *name, const type *t, schema **out, tw_error *err) {
    return derive_schema(s, s->n, s->n + 1, name, t, out, err);
}
