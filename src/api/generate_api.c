/* generate_api.c: made-up data as bytes. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "data/generate.h"
#include "base/error.h"
#include "base/text.h"
#include "thalweg/thalweg.h"

typedef struct outlet {
    tw_write write;
    void *context;
} outlet;

static tw_status put(void *context, const uint8_t *bytes, size_t size, tw_error *err) {
    outlet *o = context;
    if (o->write(o->context, bytes, size) == 0) return TW_OK;
    return error_set(err, TW_ERR_IO, "the generated data could not be written");
}

static tw_status unknown_kind(const char *kind, tw_error *err) {
    size_t n;
    const generate_kind *kinds = generate_kinds(&n);
    struct nearest near = {kind};
    for (size_t i = 0; i < n; i++) nearest_try(&near, kinds[i].name);
    if (near.best) return error_set(err, TW_ERR_JOB, "no data of kind '%.60s'; did you mean '%s'?", kind, near.best);
    generate_options none;
    return generate_options_default(kind, &none, err); /* its message lists the kinds */
}

static tw_status set_option(generate_options *o, const char *assignment, tw_error *err) {
    const char *equals = strchr(assignment, '=');
    char name[64];
    size_t n = equals ? (size_t)(equals - assignment) : 0;
    if (!equals || n >= sizeof name)
        return error_set(err, TW_ERR_JOB, "generate %s has no option '%.60s'", o->kind->name, assignment);
    memcpy(name, assignment, n);
    name[n] = 0;
    for (size_t i = 0; i < n; i++)
        if (name[i] == '-') name[i] = '_';
    struct nearest near = {name};
    for (size_t i = 0; i < o->kind->option_count; i++) {
        if (strcmp(o->kind->options[i].name, name) == 0) return generate_options_set(o, name, equals + 1, err);
        nearest_try(&near, o->kind->options[i].name);
    }
    if (near.best)
        return error_set(err, TW_ERR_JOB, "generate %s has no option '%s'; did you mean '%s'?", o->kind->name, name,
                         near.best);
    return error_set(err, TW_ERR_JOB, "generate %s has no option '%s'", o->kind->name, name);
}

static uint32_t processors(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : (uint32_t)n;
}

tw_status tw_generate(const char *kind, const char *const *options, size_t n_options, uint64_t seed,
                      uint32_t threads, tw_write write, void *context, tw_error *err) {
    if (!generate_kind_find(kind)) return unknown_kind(kind, err);
    generate_options o;
    TRY(generate_options_default(kind, &o, err));
    if (seed > INT64_MAX) return error_set(err, TW_ERR_JOB, "a seed is at most 9223372036854775807");
    TRY(generate_options_set_value(&o, "seed", (generate_value){.integer = (int64_t)seed}, err));
    for (size_t i = 0; i < n_options; i++) TRY(set_option(&o, options[i], err));
    generate *g;
    TRY(generate_create(&o, &g, err));
    outlet to = {write, context};
    tw_status status = generate_write_to(g, put, &to, threads ? threads : processors(), NULL, NULL, err);
    generate_free(g);
    return status;
}
