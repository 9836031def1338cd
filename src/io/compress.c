#include "io/compress.h"

#include <isa-l/igzip_lib.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define GZIP_LEVEL 2
#define ZSTD_LEVEL 3

struct compressor {
    compression kind;
    ZSTD_CCtx *zstd;
    struct isal_zstream *gzip;
    uint8_t *gzip_tables;
};

compression compression_of_path(const char *path) {
    size_t n = strlen(path), bare = compression_strip(path);
    if (bare == n) return COMPRESSION_NONE;
    return strcmp(path + bare, ".gz") == 0 ? COMPRESSION_GZIP
           : strcmp(path + bare, ".zst") == 0 ? COMPRESSION_ZSTD : COMPRESSION_LZ4;
}

static bool make_state(compressor *c) {
    switch (c->kind) {
    case COMPRESSION_ZSTD:
        c->zstd = ZSTD_createCCtx();
        if (!c->zstd) return false;
        ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
        ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_checksumFlag, 1);
        return true;
    case COMPRESSION_GZIP:
        c->gzip = malloc(sizeof *c->gzip);
        c->gzip_tables = malloc(ISAL_DEF_LVL2_DEFAULT);
        return c->gzip && c->gzip_tables;
    default: return true;
    }
}

tw_status compressor_new(compression kind, compressor **out, tw_error *err) {
    compressor *c = calloc(1, sizeof *c);
    if (c) c->kind = kind;
    if (!c || !make_state(c)) {
        compressor_free(c);
        return error_set(err, TW_ERR_MEMORY, "out of memory for %s", compression_name(kind));
    }
    *out = c;
    return TW_OK;
}

void compressor_free(compressor *c) {
    if (!c) return;
    ZSTD_freeCCtx(c->zstd);
    free(c->gzip);
    free(c->gzip_tables);
    free(c);
}

size_t compressor_bound(const compressor *c, size_t size) {
    switch (c->kind) {
    case COMPRESSION_ZSTD: return ZSTD_compressBound(size);
    case COMPRESSION_LZ4: return LZ4F_compressFrameBound(size, NULL) + 64;
    default: return size + size / 8 + 1024; /* stored blocks, header and checksum */
    }
}

static tw_status run_gzip(compressor *c, const uint8_t *in, size_t size, uint8_t *out, size_t room, size_t *made,
                          tw_error *err) {
    struct isal_zstream *z = c->gzip;
    isal_deflate_stateless_init(z);
    z->gzip_flag = IGZIP_GZIP;
    z->level = GZIP_LEVEL;
    z->level_buf = c->gzip_tables;
    z->level_buf_size = ISAL_DEF_LVL2_DEFAULT;
    z->end_of_stream = 1;
    z->next_in = (uint8_t *)in;
    z->avail_in = (uint32_t)size;
    z->next_out = out;
    z->avail_out = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
    if (isal_deflate_stateless(z) != COMP_OK) return error_set(err, TW_ERR_INTERNAL, "gzip had too little room");
    *made = z->total_out;
    return TW_OK;
}

static tw_status run_lz4(const uint8_t *in, size_t size, uint8_t *out, size_t room, size_t *made, tw_error *err) {
    LZ4F_preferences_t how = {.frameInfo = {.blockSizeID = LZ4F_max256KB,
                                            .contentChecksumFlag = LZ4F_contentChecksumEnabled,
                                            .contentSize = size}};
    *made = LZ4F_compressFrame(out, room, in, size, &how);
    if (!LZ4F_isError(*made)) return TW_OK;
    bool out_of_memory = strstr(LZ4F_getErrorName(*made), "allocation") != NULL;
    return error_set(err, out_of_memory ? TW_ERR_MEMORY : TW_ERR_INTERNAL, "lz4: %s", LZ4F_getErrorName(*made));
}

static tw_status run_zstd(compressor *c, const uint8_t *in, size_t size, uint8_t *out, size_t room, size_t *made,
                          tw_error *err) {
    *made = ZSTD_compress2(c->zstd, out, room, in, size);
    if (!ZSTD_isError(*made)) return TW_OK;
    bool out_of_memory = strstr(ZSTD_getErrorName(*made), "llocation") != NULL;
    return error_set(err, out_of_memory ? TW_ERR_MEMORY : TW_ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(*made));
}

tw_status compressor_run(compressor *c, const uint8_t *in, size_t size, uint8_t *out, size_t room, size_t *made,
                         tw_error *err) {
    if (size > UINT32_MAX / 2) return error_set(err, TW_ERR_DATA, "a row of more than 2 GiB cannot be compressed");
    switch (c->kind) {
    case COMPRESSION_ZSTD: return run_zstd(c, in, size, out, room, made, err);
    case COMPRESSION_LZ4: return run_lz4(in, size, out, room, made, err);
    default: return run_gzip(c, in, size, out, room, made, err);
    }
}
