#include "io/block_reader.h"

#include <stdlib.h>
#include <unistd.h>

#include "data/scan.h"

struct block_reader {
    block_options o;
    byte_stream *stream; /* NULL: a range */
    block_range range;
    bool asked;          /* range.inside has been called */
    bool inside;         /* what it said */
    bool started;        /* range: the first record has been found */
    bool ended;          /* nothing more will be read */
    bool skipping;       /* to the end of a record that is too long */
    bool skip_inside;    /* quotes, while skipping */
    /* What is read and not given yet: bytes [begin, fill) of the block, begin at a record's start. */
    buffer *block;
    size_t begin, fill;
    size_t searched;     /* no record ends in [begin, searched) */
    bool quoted;         /* whether `searched` lies within quotes */
    uint64_t offset;     /* range: of the block's first byte in the file */
};

size_t record_bytes_max(const memory *m) {
    size_t most = memory_limit(m) / 4, top = ((size_t)1 << 30) - 1;
    return most < top ? most : top;
}

static tw_status reader_new(const block_options *o, block_reader **out, tw_error *err) {
    block_reader *r = calloc(1, sizeof *r);
    *out = r;
    if (!r) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    r->o = *o;
    return TW_OK;
}

tw_status block_reader_open_range(const block_options *o, const block_range *range, block_reader **out,
                                  tw_error *err) {
    tw_status status = reader_new(o, out, err);
    if (status != TW_OK) {
        close(range->fd);
        return status;
    }
    (*out)->range = *range;
    return TW_OK;
}

tw_status block_reader_open_stream(const block_options *o, byte_stream *s, block_reader **out, tw_error *err) {
    TRY(reader_new(o, out, err));
    (*out)->stream = s;
    return TW_OK;
}

void block_reader_close(block_reader *r) {
    if (!r) return;
    buffer_unref(r->block);
    if (r->stream) byte_stream_close(r->stream);
    else close(r->range.fd);
    free(r);
}

byte_stream *block_reader_stream(block_reader *r) { return r->stream; }

void block_reader_move(block_reader *r, memory *m, size_t record_max) {
    r->o.memory = m;
    r->o.record_bytes_max = record_max;
}

uint64_t count_record_ends(const uint8_t *text, size_t size, uint8_t quote, bool *inside) {
    if (!quote) return count_byte(text, size, '\n');
    size_t quotes = count_byte(text, size, quote);
    if (!quotes) return *inside ? 0 : count_byte(text, size, '\n');
    uint64_t n = 0, carried = *inside ? ~(uint64_t)0 : 0;
    uint32_t ends[1024];
    for (size_t at = 0; at < size;) {
        scan_csv_result found = scan_csv(text + at, size - at, '\n', quote, &carried, ends, 1024, NULL);
        n += found.count;
        at += found.scanned;
    }
    *inside = carried != 0;
    return n;
}

/* ---- record ends ---- */

/* The first line feed outside quotes at or after `at`; `end` when there is none. *quoted holds for `at`,
 * and for the place returned afterwards. */
static size_t next_end(const uint8_t *text, size_t at, size_t end, uint8_t quote, bool *quoted) {
    while (at < end) {
        size_t found = at + find_byte(text + at, end - at, '\n');
        if (quote) *quoted ^= count_byte(text + at, found - at, quote) & 1;
        if (found == end || !*quoted) return found;
        at = found + 1;
    }
    return end;
}

/* Where the last record that is whole ends in [begin, end), `begin` being outside quotes; `begin` when
 * none is. `quoted` holds for `end`. */
static size_t last_end(const uint8_t *text, size_t begin, size_t end, uint8_t quote, bool quoted) {
    enum { STEP = 4096 };
    while (end > begin) {
        size_t from = end - begin > STEP ? end - STEP : begin, n = end - from;
        size_t found = find_last_byte(text + from, n, '\n');
        size_t at = found == n ? from : from + found;
        if (quote) quoted ^= count_byte(text + at, end - at, quote) & 1;
        if (found < n && !quoted) return at + 1;
        end = at;
    }
    return begin;
}

static uint8_t quote_of(const block_reader *r) { return r->o.framing == FRAMING_QUOTED ? r->o.quote : 0; }

/* ---- filling ---- */

/* Makes room for `room` bytes from `begin` on. */
static tw_status make_room(block_reader *r, size_t room, tw_error *err) {
    if (r->block && r->begin == 0 && r->block->size >= room) return TW_OK;
    buffer *b;
    TRY(buffer_new(r->o.memory, MEMORY_FLOW, room, &b, err));
    if (r->fill > r->begin) memcpy(b->data, r->block->data + r->begin, r->fill - r->begin);
    buffer_unref(r->block);
    r->block = b;
    r->offset += r->begin;
    r->searched -= r->begin;
    r->fill -= r->begin;
    r->begin = 0;
    return TW_OK;
}

static size_t space_left(const block_reader *r) { return r->block->size - r->fill; }

/* Reads from a stream until the block is full or the stream ends. */
static tw_status fill_from_stream(block_reader *r, tw_error *err) {
    while (!r->ended && space_left(r)) {
        size_t got;
        TRY(byte_stream_read(r->stream, r->block->data + r->fill, space_left(r), &got, err));
        r->fill += got;
        r->ended = got == 0;
    }
    return TW_OK;
}

/* Reads a file on to position `to`, as far as there is space. */
static tw_status fill_from_file(block_reader *r, uint64_t to, tw_error *err) {
    uint64_t at = r->offset + r->fill;
    if (to > r->range.file_bytes) to = r->range.file_bytes;
    size_t n = to > at ? (size_t)(to - at) : 0;
    if (n > space_left(r)) n = space_left(r);
    TRY(file_read_at(r->range.fd, r->o.path, at, r->block->data + r->fill, n, err));
    r->fill += n;
    /* What lies in another part is counted there. */
    uint64_t low = at > r->range.begin ? at : r->range.begin, high = at + n < r->range.end ? at + n : r->range.end;
    if (r->range.counter && high > low) atomic_fetch_add_explicit(r->range.counter, high - low, memory_order_relaxed);
    return TW_OK;
}

/* Gives [begin, end) of the block. */
static tw_status give(block_reader *r, size_t end, block *out) {
    out->span = (span){buffer_ref(r->block), r->block->data + r->begin, end - r->begin};
    out->too_long = false;
    r->begin = r->searched = end;
    r->quoted = false;
    return TW_OK;
}

static tw_status finish(block_reader *r) {
    buffer_unref(r->block);
    r->block = NULL;
    r->begin = r->fill = r->searched = 0;
    r->ended = true;
    return TW_END;
}

/* The record at hand is longer than allowed: gives what there is of it. */
static tw_status give_too_long(block_reader *r, block *out) {
    size_t end = r->begin + r->o.record_bytes_max < r->fill ? r->begin + r->o.record_bytes_max : r->fill;
    give(r, end, out);
    out->too_long = true;
    return TW_OK;
}

static size_t next_room(const block_reader *r, size_t have) {
    size_t room = have < BLOCK_BYTES / 2 ? BLOCK_BYTES : have * 2;
    if (room > r->o.record_bytes_max + 1) room = r->o.record_bytes_max + 1;
    return room > BLOCK_BYTES ? room : BLOCK_BYTES;
}

/* ---- streams ---- */

/* A small file does not take a large block; one byte more, so that its end shows. */
static tw_status make_stream_room(block_reader *r, size_t least, tw_error *err) {
    size_t have = r->fill - r->begin, room = next_room(r, have);
    uint64_t expected;
    TRY(byte_stream_expect(r->stream, &expected, err));
    if (room < least) room = least;
    if (expected < room - have) room = have + (size_t)expected + 1;
    return make_room(r, room, err);
}

/* Ends of records in what is new; quote parity goes on from `searched`. */
static size_t find_stream_end(block_reader *r) {
    const uint8_t *text = r->block->data;
    uint8_t quote = quote_of(r);
    size_t from = r->searched;
    if (quote) r->quoted ^= count_byte(text + from, r->fill - from, quote) & 1;
    size_t end = last_end(text, quote ? r->begin : from, r->fill, quote, r->quoted);
    r->searched = r->fill;
    return end > from || (quote && end > r->begin) ? end : r->begin;
}

/* After a record that was too long: on to its end. */
static tw_status skip_in_stream(block_reader *r, tw_error *err) {
    while (r->skipping) {
        if (r->begin == r->fill) {
            buffer_unref(r->block); /* others may hold it */
            r->block = NULL;
            r->begin = r->fill = r->searched = 0;
            TRY(make_room(r, BLOCK_BYTES, err));
            TRY(fill_from_stream(r, err));
            if (!r->fill) {
                r->skipping = false;
                break;
            }
        }
        size_t end = next_end(r->block->data, r->begin, r->fill, quote_of(r), &r->skip_inside);
        r->skipping = end == r->fill;
        r->begin = r->skipping ? r->fill : end + 1;
    }
    r->searched = r->begin;
    r->quoted = false;
    return TW_OK;
}

static tw_status stream_too_long(block_reader *r, block *out) {
    r->skipping = r->o.framing != FRAMING_WHOLE;
    r->skip_inside = false;
    size_t begin = r->begin;
    give_too_long(r, out);
    if (!r->skipping) {
        r->ended = true;
        r->begin = r->fill;
    } else if (quote_of(r)) {
        r->skip_inside = count_byte(r->block->data + begin, r->begin - begin, quote_of(r)) & 1;
    }
    return TW_OK;
}

static tw_status next_of_lines(block_reader *r, block *out, tw_error *err) {
    if (r->skipping) TRY(skip_in_stream(r, err));
    while (true) {
        if (!r->ended) {
            TRY(make_stream_room(r, 0, err));
            TRY(fill_from_stream(r, err));
        }
        if (r->ended) return r->fill > r->begin ? give(r, r->fill, out) : finish(r);
        size_t end = find_stream_end(r);
        if (end > r->begin) return give(r, end, out);
        if (r->fill - r->begin > r->o.record_bytes_max) return stream_too_long(r, out);
    }
}

static tw_status next_of_fixed(block_reader *r, block *out, tw_error *err) {
    size_t size = r->o.record_bytes;
    if (!r->ended) {
        TRY(make_stream_room(r, size, err));
        TRY(fill_from_stream(r, err));
    }
    size_t have = r->fill - r->begin;
    if (!have) return finish(r);
    return give(r, r->ended ? r->fill : r->begin + have / size * size, out);
}

/* One span, even of nothing. */
static tw_status next_whole(block_reader *r, block *out, tw_error *err) {
    if (r->started) return finish(r);
    while (!r->ended) {
        TRY(make_stream_room(r, 0, err));
        TRY(fill_from_stream(r, err));
        if (r->fill > r->o.record_bytes_max) {
            r->started = true;
            return stream_too_long(r, out);
        }
    }
    r->started = true;
    return give(r, r->fill, out);
}

/* ---- ranges ---- */

/* Reads the part and finds where its first record starts; false when none does. */
static tw_status start_range(block_reader *r, bool *any, tw_error *err) {
    const block_range *range = &r->range;
    uint64_t from = range->begin ? range->begin - 1 : 0; /* the line feed before counts */
    size_t ahead = range->begin ? 1 : 0;
    size_t size = (size_t)(range->end - range->begin);
    if (!r->block) {
        r->offset = from;
        TRY(make_room(r, ahead + size + BLOCK_TAIL_BYTES, err));
    }
    TRY(fill_from_file(r, range->end + 4096, err));
    if (quote_of(r) && range->inside && !r->asked) {
        TRY(range->inside(range->context, r->block->data + ahead, size, &r->inside, err));
        r->asked = true;
    }
    const uint8_t *text = r->block->data;
    bool quoted = r->inside; /* holds for byte `ahead`, not for the one before it, which may be a quote */
    if (!ahead || (text[0] == '\n' && !quoted)) {
        *any = size > 0;
        r->begin = ahead;
    } else {
        size_t last = ahead + size - 1, found = next_end(text, ahead, last, quote_of(r), &quoted);
        *any = found < last;
        r->begin = *any ? found + 1 : r->fill;
    }
    r->searched = r->begin;
    r->started = true;
    return TW_OK;
}

/* The end of the record that is at hand at the end of the part, once `searched` stands there. */
static tw_status find_range_end(block_reader *r, block *out, tw_error *err) {
    uint8_t quote = quote_of(r);
    while (true) {
        size_t end = next_end(r->block->data, r->searched, r->fill, quote, &r->quoted);
        r->searched = end;
        bool at_end = r->offset + r->fill == r->range.file_bytes;
        if (end < r->fill || at_end) {
            r->ended = true;
            return give(r, end < r->fill ? end + 1 : end, out);
        }
        if (space_left(r) == 0) {
            /* Records before it need not wait; it alone moves to a larger block. */
            size_t whole = last_end(r->block->data, r->begin, r->fill, quote, r->quoted);
            if (whole > r->begin) {
                bool quoted = r->quoted;
                size_t searched = r->searched;
                give(r, whole, out);
                r->quoted = quoted;
                r->searched = searched;
                return TW_OK;
            }
            if (r->fill - r->begin > r->o.record_bytes_max) {
                r->ended = true;
                return give_too_long(r, out);
            }
            TRY(make_room(r, next_room(r, r->fill - r->begin), err));
        }
        TRY(fill_from_file(r, r->range.file_bytes, err));
    }
}

static tw_status next_of_range(block_reader *r, block *out, tw_error *err) {
    if (r->ended) return finish(r);
    if (!r->started) {
        bool any;
        TRY(start_range(r, &any, err));
        if (!any) return finish(r);
        /* Up to here records are ours; the one at hand then is the last. */
        size_t last = (size_t)(r->range.end - 1 - r->offset);
        if (last < r->begin) last = r->begin;
        uint8_t quote = quote_of(r);
        r->quoted = quote && (count_byte(r->block->data + r->begin, last - r->begin, quote) & 1);
        r->searched = last;
    }
    return find_range_end(r, out, err);
}

static tw_status next_of_fixed_range(block_reader *r, block *out, tw_error *err) {
    uint64_t size = r->o.record_bytes;
    uint64_t begin = (r->range.begin + size - 1) / size * size, end = (r->range.end + size - 1) / size * size;
    if (end > r->range.file_bytes) end = r->range.file_bytes;
    if (r->ended || begin >= end) return finish(r);
    if (!r->block) {
        r->range.begin = begin; /* bytes count where they are read */
        r->range.end = end;
        r->offset = begin;
        TRY(make_room(r, (size_t)(end - begin), err));
    }
    TRY(fill_from_file(r, end, err));
    r->ended = true;
    return give(r, r->fill, out);
}

tw_status block_reader_next(block_reader *r, block *out, tw_error *err) {
    if (!r->stream) return r->o.framing == FRAMING_FIXED ? next_of_fixed_range(r, out, err) : next_of_range(r, out, err);
    switch (r->o.framing) {
    case FRAMING_FIXED: return next_of_fixed(r, out, err);
    case FRAMING_WHOLE: return next_whole(r, out, err);
    default: return next_of_lines(r, out, err);
    }
}
