#include "io/harmonicio_expected.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { BUCKETS = 4096 };

typedef struct announced {
    uint8_t digest[MD5_BYTES];
    buffer *name;
    uint64_t since_ns;
    struct announced *next;            /* of its bucket */
    struct announced *older, *younger; /* of all */
} announced;

struct expected {
    pthread_mutex_t lock;
    size_t bytes, bytes_max;
    announced *oldest, *youngest;
    announced *buckets[BUCKETS];
};

tw_status expected_create(size_t bytes_max, expected **out, tw_error *err) {
    expected *e = calloc(1, sizeof *e);
    if (!e) return error_set(err, TW_ERR_MEMORY, "out of memory for a source");
    pthread_mutex_init(&e->lock, NULL);
    e->bytes_max = bytes_max;
    *out = e;
    return TW_OK;
}

static size_t bytes_of(const announced *a) { return sizeof *a + sizeof *a->name + a->name->size + BUFFER_PADDING; }

static announced *announced_new(const uint8_t *digest, const char *name, size_t name_bytes) {
    announced *a = calloc(1, sizeof *a);
    char *copy = calloc(1, name_bytes + BUFFER_PADDING);
    if (!a || !copy || buffer_wrap(copy, name_bytes, free, copy, &a->name, NULL) != TW_OK) {
        free(a);
        free(copy);
        return NULL;
    }
    memcpy(copy, name, name_bytes);
    memcpy(a->digest, digest, MD5_BYTES);
    return a;
}

static announced **bucket_of(expected *e, const uint8_t *digest) {
    return &e->buckets[(digest[0] | (unsigned)digest[1] << 8) % BUCKETS];
}

/* Takes it out of the lists; the caller has its name. */
static void forget(expected *e, announced **link) {
    announced *a = *link;
    *link = a->next;
    *(a->older ? &a->older->younger : &e->oldest) = a->younger;
    *(a->younger ? &a->younger->older : &e->youngest) = a->older;
    e->bytes -= bytes_of(a);
    free(a);
}

static void forget_oldest(expected *e) {
    announced **link = bucket_of(e, e->oldest->digest);
    while (*link != e->oldest) link = &(*link)->next;
    buffer *name = (*link)->name;
    forget(e, link);
    buffer_unref(name);
}

void expected_free(expected *e) {
    if (!e) return;
    while (e->oldest) forget_oldest(e);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

bool expected_add(expected *e, const uint8_t digest[MD5_BYTES], const char *name, size_t name_bytes, uint64_t patience_ns) {
    announced *a = announced_new(digest, name, name_bytes);
    if (!a) return false;
    size_t bytes = bytes_of(a);
    pthread_mutex_lock(&e->lock);
    a->since_ns = clock_ns(); /* in the order of the list */
    while (e->bytes + bytes > e->bytes_max && e->oldest && a->since_ns - e->oldest->since_ns > patience_ns) forget_oldest(e);
    bool fits = e->bytes + bytes <= e->bytes_max;
    if (fits) {
        announced **bucket = bucket_of(e, digest);
        a->next = *bucket;
        *bucket = a;
        a->older = e->youngest;
        *(e->youngest ? &e->youngest->younger : &e->oldest) = a;
        e->youngest = a;
        e->bytes += bytes;
    }
    pthread_mutex_unlock(&e->lock);
    if (!fits) {
        buffer_unref(a->name);
        free(a);
    }
    return fits;
}

buffer *expected_take(expected *e, const uint8_t digest[MD5_BYTES], const void *name, size_t name_bytes) {
    buffer *found = NULL;
    pthread_mutex_lock(&e->lock);
    for (announced **link = bucket_of(e, digest); *link; link = &(*link)->next) {
        const announced *a = *link;
        if (memcmp(a->digest, digest, MD5_BYTES) != 0) continue;
        if (name && (a->name->size != name_bytes || memcmp(a->name->data, name, name_bytes) != 0)) continue;
        found = a->name;
        forget(e, link);
        break;
    }
    pthread_mutex_unlock(&e->lock);
    return found;
}
