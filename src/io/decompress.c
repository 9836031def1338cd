#include "io/decompress.h"

#include <isa-l/igzip_lib.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct decompressor {
    compression kind;
    memory *memory;
    buffer *charge; /* what the library's own windows take */
    bool open;      /* within a member or frame */
    bool padding;   /* gzip: only zeros may follow */
    struct inflate_state *gzip;
    ZSTD_DCtx *zstd;
    LZ4F_dctx *lz4;
};

compression compression_of_bytes(const uint8_t *bytes, size_t size) {
    if (size >= 3 && bytes[0] == 0x1f && bytes[1] == 0x8b && bytes[2] == 8) return COMPRESSION_GZIP;
    if (size < 4) return COMPRESSION_NONE;
    uint32_t magic = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    if (magic == 0xfd2fb528u) return COMPRESSION_ZSTD;
    if (magic == 0x184d2204u) return COMPRESSION_LZ4;
    return COMPRESSION_NONE;
}

const char *compression_name(compression c) {
    static const char *const names[] = {"no", "gzip", "zstd", "lz4"};
    return names[c];
}

size_t compression_strip(const char *path) {
    static const char *const endings[] = {".gz", ".zst", ".lz4"};
    size_t n = strlen(path);
    for (size_t i = 0; i < 3; i++) {
        size_t k = strlen(endings[i]);
        if (n > k && !strcmp(path + n - k, endings[i])) return n - k;
    }
    return n;
}

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

/* zstd windows may be as large as a quarter of the budget, whatever the frame asks for. */
static tw_status open_zstd(decompressor *d, tw_error *err) {
    d->zstd = ZSTD_createDCtx();
    if (!d->zstd) return no_memory(err);
    int log = 20;
    while (log < 31 && ((size_t)2 << log) <= memory_limit(d->memory) / 4) log++;
    ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, log);
    return TW_OK;
}

static tw_status open_library(decompressor *d, tw_error *err) {
    switch (d->kind) {
    case COMPRESSION_GZIP:
        d->gzip = malloc(sizeof *d->gzip);
        if (!d->gzip) return no_memory(err);
        isal_inflate_init(d->gzip);
        d->gzip->crc_flag = ISAL_GZIP;
        return TW_OK;
    case COMPRESSION_ZSTD: return open_zstd(d, err);
    case COMPRESSION_LZ4:
        return LZ4F_isError(LZ4F_createDecompressionContext(&d->lz4, LZ4F_VERSION)) ? no_memory(err) : TW_OK;
    default: return error_set(err, TW_ERR_INTERNAL, "nothing to decompress");
    }
}

tw_status decompressor_new(compression c, memory *m, decompressor **out, tw_error *err) {
    decompressor *d = calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return no_memory(err);
    d->kind = c;
    d->memory = m;
    tw_status status = open_library(d, err);
    if (status == TW_OK) *out = d;
    else decompressor_free(d);
    return status;
}

void decompressor_free(decompressor *d) {
    if (!d) return;
    free(d->gzip);
    ZSTD_freeDCtx(d->zstd);
    LZ4F_freeDecompressionContext(d->lz4);
    buffer_unref(d->charge);
    free(d);
}

bool decompressor_may_end(const decompressor *d) { return !d->open; }

static tw_status charge(decompressor *d, size_t bytes, tw_error *err) {
    if (d->charge && d->charge->size >= bytes) return TW_OK;
    buffer_unref(d->charge);
    d->charge = NULL;
    return buffer_new(d->memory, MEMORY_FLOW, bytes, &d->charge, err);
}

typedef struct flow {
    const uint8_t *in;
    size_t in_size;
    uint8_t *out;
    size_t out_size;
    size_t in_used, out_made;
} flow;

/* What follows a gzip member: another, or zeros that tapes are filled up with. */
static tw_status begin_member(decompressor *d, flow *f, tw_error *err) {
    if (d->padding) {
        while (f->in_used < f->in_size && f->in[f->in_used] == 0) f->in_used++;
        if (f->in_used == f->in_size) return TW_OK;
        return error_set(err, TW_ERR_DATA, "the gzip data is corrupt: something else follows its end");
    }
    if (f->in[f->in_used] == 0) {
        d->padding = true;
        return TW_OK;
    }
    isal_inflate_reset(d->gzip);
    d->gzip->crc_flag = ISAL_GZIP;
    d->open = true;
    return TW_OK;
}

static tw_status run_gzip(decompressor *d, flow *f, tw_error *err) {
    if (!d->open) {
        TRY(begin_member(d, f, err));
        if (!d->open) return TW_OK;
    }
    struct inflate_state *s = d->gzip;
    uint32_t in = f->in_size - f->in_used > UINT32_MAX ? UINT32_MAX : (uint32_t)(f->in_size - f->in_used);
    uint32_t out = f->out_size - f->out_made > UINT32_MAX ? UINT32_MAX : (uint32_t)(f->out_size - f->out_made);
    s->next_in = (uint8_t *)(uintptr_t)(f->in + f->in_used);
    s->avail_in = in;
    s->next_out = f->out + f->out_made;
    s->avail_out = out;
    int result = isal_inflate(s);
    /* On corrupt data isa-l counts a few bytes more than there are. */
    if (s->avail_in > in || s->avail_out > out) {
        f->in_used = f->in_size;
        return error_set(err, TW_ERR_DATA, "the gzip data is corrupt");
    }
    f->in_used += in - s->avail_in;
    f->out_made += out - s->avail_out;
    if (result < 0)
        return error_set(err, TW_ERR_DATA, "the gzip data is corrupt%s",
                         result == ISAL_INCORRECT_CHECKSUM ? ": its checksum does not match" : "");
    if (result == ISAL_NEED_DICT) return error_set(err, TW_ERR_DATA, "the gzip data needs a dictionary");
    if (s->block_state == ISAL_BLOCK_FINISH) d->open = false;
    return TW_OK;
}

static tw_status run_zstd(decompressor *d, flow *f, tw_error *err) {
    /* What the last call made it grow by; now, because nothing is lost yet if that is refused. */
    TRY(charge(d, ZSTD_sizeof_DCtx(d->zstd), err));
    ZSTD_inBuffer in = {f->in, f->in_size, f->in_used};
    ZSTD_outBuffer out = {f->out, f->out_size, f->out_made};
    size_t result = ZSTD_decompressStream(d->zstd, &out, &in);
    f->in_used = in.pos;
    f->out_made = out.pos;
    if (ZSTD_isError(result)) {
        const char *why = ZSTD_getErrorName(result);
        if (strstr(why, "too much memory"))
            return error_set(err, TW_ERR_MEMORY, "the zstd data was made with a window larger than a quarter of run.memory");
        return error_set(err, TW_ERR_DATA, "the zstd data is corrupt: %s", why);
    }
    d->open = result != 0;
    return TW_OK;
}

static tw_status run_lz4(decompressor *d, flow *f, tw_error *err) {
    enum { BLOCKS_MAX = 9 << 20 }; /* two blocks of 4 MiB and a window: the most a frame may ask for */
    TRY(charge(d, BLOCKS_MAX < memory_limit(d->memory) / 8 ? BLOCKS_MAX : 1 << 20, err));
    size_t in = f->in_size - f->in_used, out = f->out_size - f->out_made;
    size_t result = LZ4F_decompress(d->lz4, f->out + f->out_made, &out, f->in + f->in_used, &in, NULL);
    f->in_used += in;
    f->out_made += out;
    if (LZ4F_isError(result)) return error_set(err, TW_ERR_DATA, "the lz4 data is corrupt: %s", LZ4F_getErrorName(result));
    d->open = result != 0;
    return TW_OK;
}

tw_status decompressor_run(decompressor *d, const uint8_t *in, size_t in_size, size_t *in_used, uint8_t *out,
                           size_t out_size, size_t *out_made, tw_error *err) {
    flow f = {in, in_size, out, out_size, 0, 0};
    tw_status status = TW_OK;
    while (status == TW_OK) {
        if (!d->open && f.in_used == in_size) break; /* or a library would wait for another frame */
        size_t used = f.in_used, made = f.out_made;
        bool was_open = d->open, was_padding = d->padding;
        if (d->kind == COMPRESSION_GZIP) status = run_gzip(d, &f, err);
        else if (d->kind == COMPRESSION_ZSTD) status = run_zstd(d, &f, err);
        else status = run_lz4(d, &f, err);
        bool progress = f.in_used != used || f.out_made != made || d->open != was_open || d->padding != was_padding;
        if (!progress || f.out_made == f.out_size) break;
    }
    *in_used = f.in_used;
    *out_made = f.out_made;
    return status;
}
