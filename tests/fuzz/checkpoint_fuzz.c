/* A manifest of a checkpoint, with a checksum that holds (else nothing behind it were reached). What is accepted is
 * looked at whole. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "engine/checkpoint.h"

static char folder[] = "/tmp/thalweg-fuzz-XXXXXX";

static void clean(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/0000000001.json", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/0000000001.rows", folder);
    unlink(path);
    rmdir(folder);
}

static void write_file(const char *name, const uint8_t *data, size_t size, const char *end) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    if (!f) abort();
    fwrite(data, 1, size, f);
    fputs(end, f);
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    if (!ready) {
        if (!mkdtemp(folder)) abort();
        atexit(clean);
        ready = true;
    }
    char end[32];
    snprintf(end, sizeof end, "# %016" PRIx64 "\n", XXH3_64bits(data, size));
    write_file("0000000001.json", data, size, end);
    write_file("0000000001.rows", data, size, "");
    checkpoint *c;
    if (checkpoint_load(folder, 1, &c, NULL) != TW_OK) return 0;
    uint64_t sum = strlen(checkpoint_job(c)) + checkpoint_bytes(c);
    for (uint32_t i = 0; i < checkpoint_parts(c); i++) {
        const saved_part *p = checkpoint_part(c, i);
        const char *key, *value;
        sum += strlen(part_id(p)) + strlen(part_shape(p));
        for (uint32_t k = 0; part_value(p, k, &key, &value); k++) sum += strlen(key) + strlen(value);
        for (uint32_t k = 0; k < part_frames(p); k++) sum += (uint64_t)part_frame_tag(p, k) + part_frame_bytes(p, k);
    }
    sum += checkpoint_verify(c, NULL);
    volatile uint64_t kept = sum;
    (void)kept;
    checkpoint_free(c);
    return 0;
}
