/* kafka.h: what checkpoints and transactions need of the source and the sink `kafka`.
 *
 * An epoch is the engine's: all splits that `open` gave before kafka_source_cut(s, e), and the rows made of
 * them, are of epoch e or earlier. The offsets of an epoch are committed when its effects are out:
 *
 *   at_least_once   cut(e); wait until epoch e has left the sinks; write the checkpoint, in which
 *                   kafka_source_save(e) stands; kafka_source_commit(e, note)
 *   exactly_once    cut(e); wait until epoch e has been pushed; kafka_sink_prepare; write the checkpoint;
 *                   kafka_sink_commit with the sources' offsets, which are part of the transaction
 *   resuming        kafka_source_note tells which checkpoint the committed offsets belong to;
 *                   kafka_source_load before the run starts
 *
 * A note is a short text (the checkpoint's id) that is committed with the offsets. */
#ifndef IO_KAFKA_H
#define IO_KAFKA_H

#include "base/text.h"
#include "engine/pipeline.h"

bool kafka_is_source(const source *s);
bool kafka_is_sink(const sink *k);

/* ---- the source ---- */

/* Not at the same time as `open`. Epochs grow. TW_ERR_MEMORY. */
tw_status kafka_source_cut(source *s, uint64_t epoch, tw_error *err);
/* Commits the offsets of an epoch that was cut, and forgets it and earlier ones. Waits for the broker, some
 * seconds at most; TW_ERR_IO then. Partitions that another member of the group owns by now are left to it. */
tw_status kafka_source_commit(source *s, uint64_t epoch, const char *note, tw_error *err);
/* Appends the offsets of an epoch that was cut: lines of "topic partition offset". */
tw_status kafka_source_save(source *s, uint64_t epoch, struct text *out, tw_error *err);
/* Before start: where to go on, whatever the group has committed. TW_ERR_DATA: not from kafka_source_save. */
tw_status kafka_source_load(source *s, const char *bytes, size_t size, tw_error *err);
/* Before start: the note of the newest committed offsets (as text, the greatest); "" if there is none. */
tw_status kafka_source_note(source *s, struct text *out, tw_error *err);

/* ---- the sink ---- */

/* Before start: everything is written in transactions under this id, which outlives the run: whoever starts
 * with the same id ends what was left open. Without it (and without `prepare` and `commit`) rows are out as
 * they are pushed. */
tw_status kafka_sink_transactional(sink *k, const char *id, tw_error *err);
/* All rows pushed so far are in the broker's hands, not yet visible in a transaction. No push may come
 * meanwhile; until kafka_sink_commit or _abort `ready` lets nobody in. Waits. */
tw_status kafka_sink_prepare(sink *k, tw_error *err);
/* Makes them visible, together with the offsets of `epoch` of these sources (forgotten then as by
 * kafka_source_commit). Waits; tries again what may pass. Without transactions it only opens the door. */
tw_status kafka_sink_commit(sink *k, source *const *sources, uint32_t n, uint64_t epoch, const char *note,
                            tw_error *err);
/* Takes back what was written since the last commit. */
tw_status kafka_sink_abort(sink *k, tw_error *err);

#endif
