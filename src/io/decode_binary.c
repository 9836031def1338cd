/* decode_binary.c: `binary`: a whole file or message is one row: its bytes and its name. */
#include "data/utf8.h"
#include "io/decode_internal.h"

typedef struct binary_decoder {
    decoder base;
    bool done;
} binary_decoder;

static void binary_begin(decoder *base) { ((binary_decoder *)base)->done = false; }

static tw_status one_value(memory *m, const type *t, const uint8_t *bytes, size_t size, buffer *owner,
                           column *out, tw_error *err) {
    TRY(column_new(m, t, 1, out, err));
    *(view *)out->values = view_make(bytes, (uint32_t)size);
    if (size > VIEW_SMALL_MAX) out->heap = buffer_ref(owner);
    return TW_OK;
}

static tw_status fill(decoder *d, batch *b, tw_error *err) {
    memory *m = d->run->memory;
    const schema *s = d->format->schema;
    if (decoder_needs(d, 0))
        TRY(one_value(m, s->fields[0].type, d->span.bytes, d->span.size, d->span.owner, &b->columns[0], err));
    if (s->n > 1 && decoder_needs(d, 1)) {
        size_t size = strlen(d->place.file);
        buffer *name;
        TRY(buffer_new(m, MEMORY_FLOW, size, &name, err));
        memcpy(name->data, d->place.file, size);
        tw_status status = one_value(m, s->fields[1].type, name->data, size, name, &b->columns[1], err);
        buffer_unref(name);
        if (status != TW_OK) return status;
    }
    uint32_t begin = 0, end = (uint32_t)d->span.size;
    row_places places = {.n_records = 1, .raw_begin = &begin, .raw_end = &end};
    return decoder_place(d, &places, b, err);
}

static tw_status binary_next(decoder *d, batch **out, tw_error *err) {
    binary_decoder *self = (binary_decoder *)d;
    if (self->done) return TW_END;
    if (d->format->schema->n > 1 && !utf8_valid(d->place.file, strlen(d->place.file))) {
        TRY(decoder_bad(d, 0, NULL, 0, "the path is no valid UTF-8", err));
        self->done = true;
        d->records = 1;
        return TW_END;
    }
    batch *b;
    TRY(batch_new(d->format->schema, 1, &b, err));
    tw_status status = fill(d, b, err);
    if (status != TW_OK) {
        batch_unref(b);
        return status;
    }
    self->done = true;
    d->records = d->rows = 1;
    *out = b;
    return TW_OK;
}

static const decoder_class binary_class = {binary_begin, binary_next, NULL};

tw_status binary_decoder_new(decoder **out, tw_error *err) {
    return decoder_allocate(sizeof(binary_decoder), &binary_class, out, err);
}
