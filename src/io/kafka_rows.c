#include "io/kafka_rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "io/decode_internal.h"

/* A message of so many bytes stays where librdkafka has it; copying a smaller one is cheaper than keeping it. */
#define KEEP_BYTES_MIN (4u << 10)
/* Bytes past a value may be read (BUFFER_PADDING); within its page they can be. */
#define PAGE_BYTES 4096u
/* Batches end before a gap that makes their records' numbers spread further. */
#define SPREAD_MAX (4 * BATCH_ROWS_MAX)
#define SPAN_BYTES_MAX ((size_t)1 << 28)

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

static void take(kafka_rows *r, size_t n) {
    for (size_t i = r->at; i < r->at + n; i++)
        if (r->messages[i]) rd_kafka_message_destroy(r->messages[i]);
    r->at += n;
}

void kafka_rows_drop(kafka_rows *r) {
    take(r, r->n - r->at);
    if (r->decoder) decoder_drop(r->decoder);
    r->fed = false;
    r->n = r->at = 0;
}

/* ---- binary: a message is a row ---- */

/* Large messages whose bytes batches point into. */
typedef struct kept {
    kafka_client *client;
    size_t n;
    rd_kafka_message_t *messages[];
} kept;

static void release_kept(void *context) {
    kept *k = context;
    for (size_t i = 0; i < k->n; i++) rd_kafka_message_destroy(k->messages[i]);
    kafka_client_unref(k->client);
    free(k);
}

static bool stays(const rd_kafka_message_t *m) {
#if defined(__SANITIZE_ADDRESS__)
    return false; /* a read past the end, harmless within the page, is none of librdkafka's */
#endif
    return m->len >= KEEP_BYTES_MIN && ((uintptr_t)m->payload + m->len) % PAGE_BYTES < PAGE_BYTES - BUFFER_PADDING &&
           ((uintptr_t)m->payload + m->len) % PAGE_BYTES != 0;
}

/* How many of the messages make a batch. */
static size_t batch_messages(const kafka_rows *r) {
    size_t most = r->n - r->at, bytes = 0, n = 0;
    if (most > r->plan->run->batch_rows) most = r->plan->run->batch_rows;
    int64_t first = r->messages[r->at]->offset;
    while (n < most) {
        const rd_kafka_message_t *m = r->messages[r->at + n];
        if (n && (m->offset - first >= SPREAD_MAX || bytes + m->len > SPAN_BYTES_MAX)) break;
        bytes += m->len + m->key_len;
        n++;
    }
    return n;
}

/* One column's values, copied but for those that stay. */
static tw_status fill(const kafka_rows *r, size_t n, bool keys, buffer *holder, batch *b, tw_error *err) {
    memory *m = r->plan->run->memory;
    rd_kafka_message_t *const *messages = r->messages + r->at;
    column *c = &b->columns[keys];
    size_t bytes = 0;
    bool nulls = false;
    for (size_t i = 0; i < n; i++) {
        nulls |= keys ? !messages[i]->key : !messages[i]->payload;
        size_t size = keys ? messages[i]->key_len : messages[i]->len;
        if (size > VIEW_SMALL_MAX && (keys || !stays(messages[i]))) bytes += size;
    }
    TRY(column_new(m, r->plan->format.schema->fields[keys].type, (uint32_t)n, c, err));
    if (nulls) TRY(column_need_valid(m, c, err));
    buffer *parts[2] = {NULL, keys ? NULL : holder};
    if (bytes) TRY(buffer_new(m, MEMORY_FLOW, bytes, &parts[0], err));
    uint8_t *to = bytes ? parts[0]->data : NULL;
    view *values = c->values;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = keys ? messages[i]->key : messages[i]->payload;
        size_t size = keys ? messages[i]->key_len : messages[i]->len;
        if (!from) column_set_null(c, (uint32_t)i);
        if (from && size > VIEW_SMALL_MAX && (keys || !stays(messages[i]))) {
            memcpy(to, from, size);
            from = to;
            to += size;
        }
        values[i] = view_make(from, from ? (uint32_t)size : 0);
    }
    tw_status status = buffer_join(parts, 2, &c->heap, err);
    buffer_unref(parts[0]);
    return status;
}

/* Which offset each row has, for messages and dead letters. Records count from 1, offsets from 0. */
static tw_status set_origin(const kafka_rows *r, size_t n, batch *b, tw_error *err) {
    memory *m = r->plan->run->memory;
    rd_kafka_message_t *const *messages = r->messages + r->at;
    uint64_t spread = (uint64_t)(messages[n - 1]->offset - messages[0]->offset) + 1;
    TRY(origin_new(r->name, (uint64_t)messages[0]->offset + 1, &b->origin, err));
    uint32_t *rows = NULL;
    if (spread != n) {
        TRY(buffer_new(m, MEMORY_FLOW, n * sizeof *rows, &b->origin_rows, err));
        rows = (uint32_t *)(void *)b->origin_rows->data;
        for (size_t i = 0; i < n; i++) rows[i] = (uint32_t)(messages[i]->offset - messages[0]->offset);
    }
    if (!bad_records_keep_raw(r->plan->run->bad)) return TW_OK;
    const column *c = &b->columns[0];
    TRY(buffer_new(m, MEMORY_FLOW, spread * sizeof(view), &b->origin->raw_buffer, err));
    memset(b->origin->raw_buffer->data, 0, spread * sizeof(view));
    view *raw = (view *)(void *)b->origin->raw_buffer->data;
    for (size_t i = 0; i < n; i++) raw[rows ? rows[i] : i] = ((const view *)c->values)[i];
    b->origin->raw_heap = buffer_ref(c->heap);
    return TW_OK;
}

static tw_status hold(const kafka_rows *r, size_t n, buffer **out, tw_error *err) {
    size_t large = 0;
    for (size_t i = r->at; i < r->at + n; i++) large += stays(r->messages[i]);
    *out = NULL;
    if (!large) return TW_OK;
    kept *k = malloc(sizeof *k + large * sizeof *k->messages);
    if (!k) return no_memory(err);
    k->n = 0; /* they are handed over when nothing can fail any more */
    k->client = kafka_client_ref(r->plan->client);
    tw_status status = buffer_wrap(k->messages, 0, release_kept, k, out, err);
    if (status != TW_OK) release_kept(k);
    return status;
}

static void hand_over(kafka_rows *r, size_t n, buffer *holder) {
    if (!holder) return;
    kept *k = holder->context;
    for (size_t i = r->at; i < r->at + n; i++)
        if (stays(r->messages[i])) {
            k->messages[k->n++] = r->messages[i];
            r->messages[i] = NULL;
        }
}

static tw_status next_whole(kafka_rows *r, batch **out, tw_error *err) {
    if (r->at == r->n) return TW_END;
    const bool *needed = r->plan->needed;
    size_t n = batch_messages(r), bytes = 0;
    for (size_t i = r->at; i < r->at + n; i++) bytes += r->messages[i]->len + r->messages[i]->key_len;
    batch *b;
    TRY(batch_new(r->plan->format.schema, (uint32_t)n, &b, err));
    /* Dead letters show what came, whether or not it is read. */
    bool content = !needed || needed[0] || bad_records_keep_raw(r->plan->run->bad);
    buffer *holder = NULL;
    tw_status status = content ? hold(r, n, &holder, err) : TW_OK;
    for (unsigned i = 0; i < 2 && status == TW_OK; i++) {
        b->columns[i].type = r->plan->format.schema->fields[i].type;
        b->columns[i].rows = (uint32_t)n;
        if (i ? !needed || needed[1] : content) status = fill(r, n, i == 1, holder, b, err);
    }
    if (status == TW_OK) status = set_origin(r, n, b, err);
    if (status != TW_OK) {
        batch_unref(b);
        buffer_unref(holder);
        return status;
    }
    hand_over(r, n, holder);
    buffer_unref(holder);
    take(r, n);
    b->position = r->position;
    r->position += n;
    atomic_fetch_add_explicit(&r->plan->run->rows_in, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->plan->run->bytes_in, bytes, memory_order_relaxed);
    *out = b;
    return TW_OK;
}

/* ---- formats: messages side by side, as a decoder wants them ---- */

/* Whether the message is one record, so that its offset tells the record's number. */
static bool is_single(const kafka_rows *r, const rd_kafka_message_t *m) {
    const format *f = &r->plan->format;
    if (f->kind == FORMAT_RECORDS) return m->len == f->record_bytes;
    if (!m->payload || !m->len) return false;
    return !memchr(m->payload, '\n', m->len - 1);
}

static size_t span_bytes(const kafka_rows *r, const rd_kafka_message_t *m) {
    bool ended = r->plan->format.kind == FORMAT_RECORDS || (m->len && ((const char *)m->payload)[m->len - 1] == '\n');
    return m->len + !ended;
}

/* Messages with offsets side by side, each of one record; or one message of several. */
static size_t span_messages(const kafka_rows *r, size_t *bytes) {
    size_t n = 0;
    *bytes = 0;
    while (r->at + n < r->n) {
        const rd_kafka_message_t *m = r->messages[r->at + n];
        bool single = is_single(r, m), follows = n == 0 || m->offset == r->messages[r->at + n - 1]->offset + 1;
        size_t more = span_bytes(r, m);
        if (n && (!single || !follows || *bytes + more > SPAN_BYTES_MAX)) break;
        *bytes += more;
        n++;
        if (!single) break;
    }
    return n;
}

static tw_status refuse(kafka_rows *r, const rd_kafka_message_t *m, const char *reason, tw_error *err) {
    return bad_record(r->plan->run, r->name, (uint64_t)m->offset + 1, m->payload, m->len, reason, err);
}

static tw_status feed(kafka_rows *r, tw_error *err) {
    const format *f = &r->plan->format;
    size_t bytes, n = span_messages(r, &bytes);
    const rd_kafka_message_t *first = r->messages[r->at];
    uint64_t payload = 0;
    /* A message without a value (a tombstone) holds no record. */
    if (n == 1 && !first->payload) {
        take(r, 1);
        return TW_OK;
    }
    if (f->kind == FORMAT_RECORDS && first->len % f->record_bytes) {
        TRY(refuse(r, first, "the message is no whole number of records", err));
        take(r, 1);
        return TW_OK;
    }
    if (bytes > (size_t)1 << 30) {
        TRY(refuse(r, first, "the message is longer than 1 GiB", err));
        take(r, 1);
        return TW_OK;
    }
    buffer *text;
    TRY(buffer_new(r->plan->run->memory, MEMORY_FLOW, bytes, &text, err));
    uint8_t *to = text->data;
    for (size_t i = r->at; i < r->at + n; i++) {
        const rd_kafka_message_t *m = r->messages[i];
        memcpy(to, m->payload, m->len);
        if (span_bytes(r, m) > m->len) to[m->len] = '\n';
        to += span_bytes(r, m);
        payload += m->len + m->key_len;
    }
    span s = {.owner = text, .bytes = text->data, .size = bytes};
    span_place place = {.file = r->place, .position = r->position};
    if (is_single(r, first)) {
        place.first_record = (uint64_t)first->offset + 1;
        snprintf(r->place, sizeof r->place, "%s", r->name);
    } else {
        place.first_record = 1;
        snprintf(r->place, sizeof r->place, "%s at offset %lld", r->name, (long long)first->offset);
    }
    decoder_feed(r->decoder, &s, &place);
    buffer_unref(text);
    r->fed = true;
    atomic_fetch_add_explicit(&r->plan->run->bytes_in, payload, memory_order_relaxed);
    take(r, n);
    return TW_OK;
}

static tw_status next_decoded(kafka_rows *r, batch **out, tw_error *err) {
    for (;;) {
        if (r->fed) {
            tw_status status = decoder_next(r->decoder, out, err);
            if (status == TW_OK)
                atomic_fetch_add_explicit(&r->plan->run->rows_in, (*out)->rows, memory_order_relaxed);
            if (status != TW_END) return status;
            r->position += decoder_rows(r->decoder);
            decoder_drop(r->decoder);
            r->fed = false;
        }
        if (r->at == r->n) return TW_END;
        TRY(feed(r, err));
    }
}

tw_status kafka_rows_next(kafka_rows *r, batch **out, tw_error *err) {
    return r->decoder ? next_decoded(r, out, err) : next_whole(r, out, err);
}
