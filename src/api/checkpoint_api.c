/* checkpoint_api.c: looking at checkpoints from outside a run. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "engine/checkpoint.h"
#include "thalweg/thalweg.h"

#define LISTED_MAX 4096

static tw_status hand_over(struct text *t, char **out, tw_error *err) {
    *out = text_take(t);
    if (*out) return TW_OK;
    text_free(t);
    return error_set(err, TW_ERR_MEMORY, "out of memory");
}

/* 0 is the newest. */
static tw_status load(const char *folder, uint64_t number, checkpoint **out, tw_error *err) {
    uint32_t n;
    if (!number) {
        TRY(checkpoint_list(folder, &number, 1, &n, err));
        if (!n) return error_set(err, TW_ERR_IO, "there is no checkpoint in '%s'", folder);
    }
    return checkpoint_load(folder, number, out, err);
}

tw_status tw_checkpoint_list(const char *folder, char **out, tw_error *err) {
    uint64_t *numbers = malloc(LISTED_MAX * sizeof *numbers);
    uint32_t n = 0;
    struct text t = {0};
    if (!numbers) return error_set(err, TW_ERR_MEMORY, "out of memory");
    tw_status status = checkpoint_list(folder, numbers, LISTED_MAX, &n, err);
    for (uint32_t i = 0; i < n && status == TW_OK; i++) {
        checkpoint *c;
        tw_error damage = {0};
        text_printf(&t, "%10" PRIu64 "  ", numbers[i]);
        if (checkpoint_load(folder, numbers[i], &c, &damage) != TW_OK) {
            text_printf(&t, "%s\n", damage.message);
            continue;
        }
        text_printf(&t, "%12" PRIu64 " bytes  %2u parts  %s\n", checkpoint_bytes(c), checkpoint_parts(c), checkpoint_job(c));
        checkpoint_free(c);
    }
    free(numbers);
    if (status != TW_OK) {
        text_free(&t);
        return status;
    }
    if (!n) text_append_string(&t, "no checkpoints\n");
    return hand_over(&t, out, err);
}

static void print_part(struct text *t, const saved_part *p) {
    uint64_t bytes = 0;
    uint32_t n = part_frames(p), tags = 0;
    for (uint32_t i = 0; i < n; i++) {
        bytes += part_frame_bytes(p, i);
        tags += i == 0 || part_frame_tag(p, i) != part_frame_tag(p, i - 1);
    }
    text_printf(t, "%s  %s\n", part_id(p), part_shape(p));
    const char *key, *value;
    for (uint32_t i = 0; part_value(p, i, &key, &value); i++) text_printf(t, "    %s: %s\n", key, value);
    if (n) text_printf(t, "    rows: %" PRIu64 " bytes in %u frames of %u states\n", bytes, n, tags);
}

tw_status tw_checkpoint_inspect(const char *folder, uint64_t number, char **out, tw_error *err) {
    checkpoint *c;
    struct text t = {0};
    TRY(load(folder, number, &c, err));
    text_printf(&t, "checkpoint %" PRIu64 " of %s, %" PRIu64 " bytes\n", checkpoint_number(c), checkpoint_job(c), checkpoint_bytes(c));
    for (uint32_t i = 0; i < checkpoint_parts(c); i++) print_part(&t, checkpoint_part(c, i));
    checkpoint_free(c);
    return hand_over(&t, out, err);
}

tw_status tw_checkpoint_verify(const char *folder, uint64_t number, tw_error *err) {
    checkpoint *c;
    TRY(load(folder, number, &c, err));
    tw_status status = checkpoint_verify(c, err);
    checkpoint_free(c);
    return status;
}

tw_status tw_checkpoint_delete(const char *folder, uint64_t number, tw_error *err) {
    uint64_t newest;
    uint32_t n = 1;
    if (number) return checkpoint_delete(folder, number, err);
    while (n) {
        TRY(checkpoint_list(folder, &newest, 1, &n, err));
        if (n) TRY(checkpoint_delete(folder, newest, err));
    }
    return TW_OK;
}
