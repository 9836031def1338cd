/* bad_records.h: what a run does with records that cannot be read or computed: run.on_bad_record. */
#ifndef ENGINE_BAD_RECORDS_H
#define ENGINE_BAD_RECORDS_H

#include "engine/pipeline.h"

typedef enum bad_policy { BAD_FAIL, BAD_SKIP, BAD_DEAD_LETTER } bad_policy;

/* dead_letter_path: with BAD_DEAD_LETTER, a file as of engine/dead_letters.h, visible once the run is done. */
tw_status bad_records_create(bad_policy policy, const char *dead_letter_path, bad_records **out,
                             tw_error *err);
void bad_records_free(bad_records *b); /* removes what was not committed */
uint64_t bad_records_count(const bad_records *b);
/* Sources are to keep records as they came, whatever becomes of bad ones. */
void bad_records_want_raw(bad_records *b);
bool bad_records_keep_raw(const bad_records *b);
/* Publishes the dead-letter file. */
tw_status bad_records_commit(bad_records *b, tw_error *err);

/* One bad record: TW_OK when the run goes on without it (counted, written), TW_ERR_DATA with its place
 * in err when it must not. `raw` is the record as it came, without its end; NULL if not at hand. `file`
 * may be NULL for rows that were made inside the run. Thread-safe. */
tw_status bad_record(run_context *run, const char *file, uint64_t record, const uint8_t *raw,
                     size_t raw_bytes, const char *reason, tw_error *err);
/* The same for row `row` of a batch, with the place and raw bytes that its origin gives. `step` names
 * the step in the message. */
tw_status bad_row(run_context *run, const batch *b, uint32_t row, const char *step, const char *reason,
                  tw_error *err);

#endif
