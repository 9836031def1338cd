#include "io/kafka_offsets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPIC_MAX 249

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

tw_status kafka_marks_add(kafka_marks *m, uint64_t epoch, rd_kafka_topic_partition_list_t *offsets, tw_error *err) {
    if (m->n == m->capacity) {
        size_t capacity = m->capacity ? 2 * m->capacity : 4;
        kafka_mark *more = realloc(m->marks, capacity * sizeof *more);
        if (!more) {
            rd_kafka_topic_partition_list_destroy(offsets);
            return no_memory(err);
        }
        m->marks = more;
        m->capacity = capacity;
    }
    m->marks[m->n++] = (kafka_mark){epoch, offsets};
    return TW_OK;
}

const rd_kafka_topic_partition_list_t *kafka_marks_find(const kafka_marks *m, uint64_t epoch) {
    for (size_t i = 0; i < m->n; i++)
        if (m->marks[i].epoch == epoch) return m->marks[i].offsets;
    return NULL;
}

tw_status kafka_marks_copy(const kafka_marks *m, uint64_t epoch, const char *note, rd_kafka_topic_partition_list_t **out,
                           tw_error *err) {
    const rd_kafka_topic_partition_list_t *found = kafka_marks_find(m, epoch);
    if (!found) return error_set(err, TW_ERR_INTERNAL, "kafka: epoch %llu has no offsets", (unsigned long long)epoch);
    *out = rd_kafka_topic_partition_list_copy(found);
    size_t size = note ? strlen(note) : 0;
    for (int i = 0; i < (*out)->cnt && size; i++) {
        rd_kafka_topic_partition_t *p = &(*out)->elems[i];
        p->metadata = strdup(note); /* librdkafka frees it with free */
        p->metadata_size = p->metadata ? size : 0;
    }
    return TW_OK;
}

void kafka_marks_forget(kafka_marks *m, uint64_t epoch) {
    size_t gone = 0;
    while (gone < m->n && m->marks[gone].epoch <= epoch) rd_kafka_topic_partition_list_destroy(m->marks[gone++].offsets);
    m->n -= gone;
    if (gone) memmove(m->marks, m->marks + gone, m->n * sizeof *m->marks);
}

void kafka_marks_free(kafka_marks *m) {
    kafka_marks_forget(m, UINT64_MAX);
    free(m->marks);
    *m = (kafka_marks){0};
}

/* ---- as text ---- */

tw_status kafka_offsets_print(const rd_kafka_topic_partition_list_t *l, struct text *out, tw_error *err) {
    for (int i = 0; i < l->cnt; i++)
        text_printf(out, "%s %d %lld\n", l->elems[i].topic, l->elems[i].partition, (long long)l->elems[i].offset);
    return out->failed ? no_memory(err) : TW_OK;
}

/* "topic partition offset" of `size` bytes. */
static bool parse_line(const char *line, size_t size, char *topic, int *partition, long long *offset) {
    char text[TOPIC_MAX + 64], end;
    if (size >= sizeof text) return false;
    memcpy(text, line, size);
    text[size] = 0;
    return strlen(text) == size && sscanf(text, "%249s %9d %18lld%c", topic, partition, offset, &end) == 3 && *partition >= 0 &&
           *offset >= 0;
}

tw_status kafka_offsets_parse(const char *bytes, size_t size, rd_kafka_topic_partition_list_t **out, tw_error *err) {
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(4);
    for (size_t at = 0; at < size;) {
        const char *end = memchr(bytes + at, '\n', size - at);
        char topic[TOPIC_MAX + 1];
        int partition;
        long long offset;
        if (!end || !parse_line(bytes + at, (size_t)(end - bytes) - at, topic, &partition, &offset)) {
            rd_kafka_topic_partition_list_destroy(l);
            return error_set(err, TW_ERR_DATA, "kafka: these are no saved offsets");
        }
        rd_kafka_topic_partition_list_add(l, topic, partition)->offset = offset;
        at = (size_t)(end - bytes) + 1;
    }
    *out = l;
    return TW_OK;
}
