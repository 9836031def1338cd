#include "engine/bad_records.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/dead_letters.h"

struct bad_records {
    bad_policy policy;
    bool keep_raw;
    atomic_uint_fast64_t count;
    dead_letters *letters;
};

tw_status bad_records_create(bad_policy policy, const char *dead_letter_path, bad_records **out, tw_error *err) {
    bad_records *b = calloc(1, sizeof *b);
    if (!b) return error_set(err, TW_ERR_MEMORY, "out of memory");
    b->policy = policy;
    b->keep_raw = policy == BAD_DEAD_LETTER;
    tw_status status = policy == BAD_DEAD_LETTER ? dead_letters_open(dead_letter_path, &b->letters, err) : TW_OK;
    if (status != TW_OK) {
        bad_records_free(b);
        return status;
    }
    *out = b;
    return TW_OK;
}

void bad_records_free(bad_records *b) {
    if (!b) return;
    dead_letters_free(b->letters);
    free(b);
}

uint64_t bad_records_count(const bad_records *b) { return b ? atomic_load(&b->count) : 0; }
void bad_records_want_raw(bad_records *b) { b->keep_raw = true; }
bool bad_records_keep_raw(const bad_records *b) { return b->keep_raw; }

tw_status bad_records_commit(bad_records *b, tw_error *err) {
    dead_letters *d = b->letters;
    if (!d) return TW_OK;
    b->letters = NULL;
    tw_status status = dead_letters_commit(d, err);
    dead_letters_free(d);
    return status;
}

tw_status bad_record(run_context *run, const char *file, uint64_t record, const uint8_t *raw,
                     size_t raw_bytes, const char *reason, tw_error *err) {
    bad_records *b = run->bad;
    if (b->policy == BAD_FAIL) {
        error_set(err, TW_ERR_DATA, "%s", reason);
        error_in_data(err, file, record);
        return TW_ERR_DATA;
    }
    atomic_fetch_add(&b->count, 1);
    if (b->policy == BAD_SKIP) return TW_OK;
    return dead_letters_put(b->letters, file, record, raw, raw_bytes, reason, err);
}

tw_status bad_row(run_context *run, const batch *b, uint32_t row, const char *step, const char *reason,
                  tw_error *err) {
    tw_error place = {0};
    char message[600];
    size_t bytes;
    snprintf(message, sizeof message, "%s: %s", step, reason);
    const uint8_t *raw = row_as_it_came(b, row, &place, &bytes);
    return bad_record(run, place.file[0] ? place.file : NULL, place.record, raw, bytes, message, err);
}
