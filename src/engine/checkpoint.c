#include "engine/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/hidden_file.h"
#include "base/text.h"
#include "engine/node.h"

#define CHECKPOINT_VERSION 1
#define MANIFEST_BYTES_MAX ((size_t)64 << 20)

typedef struct saved_value {
    char *key, *value;
} saved_value;

typedef struct saved_frame {
    int64_t tag;
    frame_place place;
} saved_frame;

struct saved_part {
    checkpoint *owner;
    char *id, *shape;
    saved_value *values;
    saved_frame *frames;
    uint32_t n_values, n_frames;
    struct saved_part *next;
};

struct checkpoint {
    char *folder, *job;
    uint64_t number;
    pthread_mutex_t lock; /* of the list of parts */
    saved_part *parts, **last;
    spill *rows;
    uint64_t bytes;
    bool writing; /* and not finished */
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a checkpoint"); }

static char *path_of(const char *folder, uint64_t number, const char *ending) {
    char *path;
    return asprintf(&path, "%s/%010" PRIu64 "%s", folder, number, ending) < 0 ? NULL : path;
}

/* ---- life ---- */

static void part_free(saved_part *p) {
    for (uint32_t i = 0; i < p->n_values; i++) {
        free(p->values[i].key);
        free(p->values[i].value);
    }
    free(p->values);
    free(p->frames);
    free(p->id);
    free(p->shape);
    free(p);
}

static void remove_file(const checkpoint *c, const char *ending) {
    char *path = path_of(c->folder, c->number, ending);
    if (path) unlink(path);
    free(path);
}

void checkpoint_free(checkpoint *c) {
    if (!c) return;
    spill_free(c->rows);
    if (c->writing) {
        remove_file(c, ".rows");
        remove_file(c, ".tmp");
    }
    while (c->parts) {
        saved_part *p = c->parts;
        c->parts = p->next;
        part_free(p);
    }
    pthread_mutex_destroy(&c->lock);
    free(c->folder);
    free(c->job);
    free(c);
}

static tw_status checkpoint_new(const char *folder, uint64_t number, const char *job, checkpoint **out, tw_error *err) {
    checkpoint *c = calloc(1, sizeof *c);
    if (!c) return no_memory(err);
    pthread_mutex_init(&c->lock, NULL);
    c->last = &c->parts;
    c->number = number;
    c->folder = strdup(folder);
    c->job = strdup(job);
    if (!c->folder || !c->job) {
        checkpoint_free(c);
        return no_memory(err);
    }
    *out = c;
    return TW_OK;
}

/* Grows an array of n by one, at powers of two. */
static bool reserve(void *array, uint32_t n, size_t size) {
    void **a = array;
    if (n & (n - 1)) return true;
    void *bigger = realloc(*a, (n ? (size_t)n * 2 : 1) * size);
    if (bigger) *a = bigger;
    return bigger != NULL;
}

/* ---- writing ---- */

static tw_status make_folders(const char *folder, tw_error *err) {
    char *path = strdup(folder);
    if (!path) return no_memory(err);
    int failed = 0;
    for (char *at = path; *at && !failed; at++) {
        if (*at != '/' || at == path) continue;
        *at = 0;
        if (mkdir(path, 0777) != 0 && errno != EEXIST) failed = errno;
        *at = '/';
    }
    if (!failed && mkdir(path, 0777) != 0 && errno != EEXIST) failed = errno;
    free(path);
    return failed ? error_io(err, failed, "checkpoint folder %s", folder) : TW_OK;
}

tw_status checkpoint_lock(const char *folder, int *out, tw_error *err) {
    TRY(make_folders(folder, err));
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) return error_io(err, errno, "checkpoint folder %s", folder);
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;
        close(file);
        if (error != EWOULDBLOCK) return error_io(err, error, "checkpoint folder %s", folder);
        return error_set(err, TW_ERR_IO, "checkpoint folder %s: another run is writing there", folder);
    }
    *out = file;
    return TW_OK;
}

tw_status checkpoint_begin(const char *folder, uint64_t number, const char *job, checkpoint **out, tw_error *err) {
    TRY(make_folders(folder, err));
    checkpoint *c;
    TRY(checkpoint_new(folder, number, job, &c, err));
    c->writing = true;
    remove_file(c, ".json"); /* of one whose epoch did not come to its end; never one without its rows */
    remove_file(c, ".rows");
    char *path = path_of(folder, number, ".rows");
    tw_status status = path ? spill_create_named(path, false, &c->rows, err) : no_memory(err);
    free(path);
    if (status != TW_OK) checkpoint_free(c);
    else *out = c;
    return status;
}

tw_status checkpoint_add(checkpoint *c, const char *id, const char *shape, saved_part **out, tw_error *err) {
    saved_part *p = calloc(1, sizeof *p);
    if (p) {
        p->owner = c;
        p->id = strdup(id);
        p->shape = strdup(shape);
    }
    if (!p || !p->id || !p->shape) {
        if (p) part_free(p);
        return no_memory(err);
    }
    pthread_mutex_lock(&c->lock);
    *c->last = p;
    c->last = &p->next;
    pthread_mutex_unlock(&c->lock);
    *out = p;
    return TW_OK;
}

tw_status part_put(saved_part *p, const char *key, const char *value, tw_error *err) {
    if (!reserve(&p->values, p->n_values, sizeof *p->values)) return no_memory(err);
    saved_value v = {strdup(key), strdup(value)};
    if (!v.key || !v.value) {
        free(v.key);
        free(v.value);
        return no_memory(err);
    }
    p->values[p->n_values++] = v;
    return TW_OK;
}

tw_status part_put_int(saved_part *p, const char *key, int64_t value, tw_error *err) {
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return part_put(p, key, text, err);
}

tw_status part_put_rows(saved_part *p, int64_t tag, const row_layout *l, const row_block *const *blocks, uint32_t n,
                        tw_error *err) {
    if (!reserve(&p->frames, p->n_frames, sizeof *p->frames)) return no_memory(err);
    saved_frame f = {.tag = tag};
    TRY(spill_write_blocks(p->owner->rows, l, blocks, n, &f.place, err));
    p->frames[p->n_frames++] = f;
    return TW_OK;
}

/* Any bytes: those beyond ASCII stand there as the characters of these numbers. */
static void print_string(struct text *t, const char *s) {
    text_append_char(t, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') text_printf(t, "\\%c", c);
        else if (c == '$' && s[1] == '{') text_append_string(t, "$$"); /* else it were a variable */
        else if (c < 0x20 || c >= 0x7f) text_printf(t, "\\u%04x", c);
        else text_append_char(t, (char)c);
    }
    text_append_char(t, '"');
}

static void print_part(struct text *t, const saved_part *p) {
    text_append_string(t, "  {\"id\": ");
    print_string(t, p->id);
    text_append_string(t, ", \"shape\": ");
    print_string(t, p->shape);
    text_append_string(t, ", \"values\": {");
    for (uint32_t i = 0; i < p->n_values; i++) {
        if (i) text_append_string(t, ", ");
        print_string(t, p->values[i].key);
        text_append_string(t, ": ");
        print_string(t, p->values[i].value);
    }
    text_append_string(t, "}, \"frames\": [");
    for (uint32_t i = 0; i < p->n_frames; i++)
        text_printf(t, "%s[%" PRId64 ", %" PRIu64 ", %" PRIu64 "]", i ? ", " : "", p->frames[i].tag, p->frames[i].place.offset,
                    p->frames[i].place.bytes);
    text_append_string(t, "]}");
}

enum { CHECKSUM_LINE = 19 }; /* "# 0123456789abcdef\n" */

static void print_checksum(const char *bytes, size_t size, char out[CHECKSUM_LINE + 1]) {
    snprintf(out, CHECKSUM_LINE + 1, "# %016" PRIx64 "\n", XXH3_64bits(bytes, size));
}

/* JSON, and a comment of YAML's for the checksum: the reader is that of jobs. */
static void print_manifest(struct text *t, const checkpoint *c) {
    text_printf(t, "{\"version\": %d, \"job\": ", CHECKPOINT_VERSION);
    print_string(t, c->job);
    text_printf(t, ", \"rows_bytes\": %" PRIu64 ", \"parts\": [\n", spill_end(c->rows));
    for (const saved_part *p = c->parts; p; p = p->next) {
        print_part(t, p);
        text_append_string(t, p->next ? ",\n" : "\n");
    }
    text_append_string(t, "]}\n");
    char line[CHECKSUM_LINE + 1];
    print_checksum(text_string(t), t->length, line);
    text_append_string(t, line);
}

static tw_status write_whole(const char *path, const char *data, size_t size, tw_error *err) {
    int file = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (file < 0) return error_io(err, errno, "checkpoint file %s", path);
    while (size) {
        ssize_t n = write(file, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        data += n;
        size -= (size_t)n;
    }
    bool failed = size || fsync(file) != 0;
    int error = errno;
    close(file);
    return failed ? error_io(err, error, "checkpoint file %s", path) : TW_OK;
}

static tw_status sync_folder(const char *folder, tw_error *err) {
    int e = folder_sync(folder);
    return e ? error_io(err, e, "checkpoint folder %s", folder) : TW_OK;
}

tw_status checkpoint_finish(checkpoint *c, tw_error *err) {
    struct text t = {0};
    char *temporary = path_of(c->folder, c->number, ".tmp"), *path = path_of(c->folder, c->number, ".json");
    tw_status status = spill_sync(c->rows, err);
    if (status == TW_OK) {
        print_manifest(&t, c);
        if (t.failed || !temporary || !path) status = no_memory(err);
    }
    if (status == TW_OK) status = write_whole(temporary, text_string(&t), t.length, err);
    if (status == TW_OK && rename(temporary, path) != 0) status = error_io(err, errno, "checkpoint file %s", path);
    if (status == TW_OK) {
        c->writing = false; /* it is there, and whole, even if the folder cannot be synced */
        c->bytes = spill_end(c->rows) + t.length;
        status = sync_folder(c->folder, err);
    }
    text_free(&t);
    free(temporary);
    free(path);
    return status;
}

/* ---- reading ---- */

static int newer_first(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

tw_status checkpoint_list(const char *folder, uint64_t *numbers, uint32_t most, uint32_t *n, tw_error *err) {
    *n = 0;
    DIR *d = opendir(folder);
    if (!d) return errno == ENOENT ? TW_OK : error_io(err, errno, "checkpoint folder %s", folder);
    for (struct dirent *e; (e = readdir(d));) {
        uint64_t number;
        int end = 0;
        if (sscanf(e->d_name, "%10" SCNu64 ".json%n", &number, &end) != 1 || end != 15 || e->d_name[15]) continue;
        if (*n < most) {
            numbers[(*n)++] = number;
            continue;
        }
        qsort(numbers, *n, sizeof *numbers, newer_first); /* the oldest goes */
        if (most && number > numbers[most - 1]) numbers[most - 1] = number;
    }
    closedir(d);
    qsort(numbers, *n, sizeof *numbers, newer_first);
    return TW_OK;
}

static tw_status torn(const char *path, tw_error *err) {
    return error_set(err, TW_ERR_DATA, "checkpoint file %s is damaged", path);
}

static tw_status read_whole(const char *path, struct text *out, tw_error *err) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return error_io(err, errno, "checkpoint file %s", path);
    char bytes[16384];
    ssize_t n;
    while ((n = read(file, bytes, sizeof bytes)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        text_append(out, bytes, (size_t)n);
        if (out->failed || out->length > MANIFEST_BYTES_MAX) break;
    }
    int error = errno;
    close(file);
    if (out->failed) return no_memory(err);
    return n < 0 ? error_io(err, error, "checkpoint file %s", path) : n > 0 ? torn(path, err) : TW_OK;
}

static bool checksum_holds(const struct text *t) {
    char line[CHECKSUM_LINE + 1];
    if (t->length <= CHECKSUM_LINE) return false;
    print_checksum(t->bytes, t->length - CHECKSUM_LINE, line);
    return memcmp(t->bytes + t->length - CHECKSUM_LINE, line, CHECKSUM_LINE) == 0;
}

/* What print_string made of bytes, in place. */
static void to_bytes(char *text) {
    char *to = text;
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        bool two = (*s & 0xfc) == 0xc0 && s[1]; /* below 0x100 */
        *to++ = (char)(two ? (*s & 3) << 6 | (s[1] & 0x3f) : *s);
        s += two;
    }
    *to = 0;
}

static bool number_of(const node *n, int64_t *out) {
    char *end;
    if (!n || n->kind != NODE_SCALAR || !n->text[0]) return false;
    errno = 0;
    *out = strtoll(n->text, &end, 10);
    return !*end && errno == 0;
}

static const char *text_of(const node *n) { return n && n->kind == NODE_SCALAR ? n->text : n && n->kind == NODE_NULL ? "" : NULL; }

static tw_status read_frames(saved_part *p, const node *frames, const char *path, tw_error *err) {
    for (uint32_t i = 0; frames && frames->kind == NODE_LIST && i < frames->n; i++) {
        const node *f = frames->items[i];
        int64_t tag, offset, bytes;
        if (f->kind != NODE_LIST || f->n != 3 || !number_of(f->items[0], &tag) || !number_of(f->items[1], &offset) ||
            !number_of(f->items[2], &bytes) || offset < 0 || bytes < 0)
            return torn(path, err);
        if (!reserve(&p->frames, p->n_frames, sizeof *p->frames)) return no_memory(err);
        p->frames[p->n_frames++] = (saved_frame){tag, {(uint64_t)offset, (uint64_t)bytes}};
    }
    return TW_OK;
}

static tw_status read_part(checkpoint *c, const node *n, const char *path, tw_error *err) {
    const char *id = text_of(node_get(n, "id")), *shape = text_of(node_get(n, "shape"));
    const node *values = node_get(n, "values");
    if (!id || !shape || !values) return torn(path, err);
    saved_part *p;
    TRY(checkpoint_add(c, id, shape, &p, err));
    to_bytes(p->id);
    to_bytes(p->shape);
    for (uint32_t i = 0; values->kind == NODE_MAP && i < values->n; i++) {
        const char *value = text_of(values->entries[i].value);
        if (!value) return torn(path, err);
        TRY(part_put(p, values->entries[i].key, value, err));
        to_bytes(p->values[p->n_values - 1].key);
        to_bytes(p->values[p->n_values - 1].value);
    }
    return read_frames(p, node_get(n, "frames"), path, err);
}

static tw_status read_manifest(checkpoint *c, const node *root, const char *path, tw_error *err) {
    int64_t version, bytes;
    const node *parts = node_get(root, "parts");
    if (!number_of(node_get(root, "version"), &version)) return torn(path, err);
    if (version != CHECKPOINT_VERSION)
        return error_set(err, TW_ERR_DATA, "checkpoint file %s is of version %lld, this is %d", path, (long long)version, CHECKPOINT_VERSION);
    const char *job = text_of(node_get(root, "job"));
    if (!job || !number_of(node_get(root, "rows_bytes"), &bytes) || !parts) return torn(path, err);
    free(c->job);
    c->job = strdup(job);
    c->bytes = (uint64_t)bytes;
    if (!c->job) return no_memory(err);
    to_bytes(c->job);
    for (uint32_t i = 0; parts->kind == NODE_LIST && i < parts->n; i++) TRY(read_part(c, parts->items[i], path, err));
    return TW_OK;
}

static tw_status parse_manifest(checkpoint *c, const struct text *t, const char *path, tw_error *err) {
    static const struct variables none = {0};
    error_list errors = {0};
    document *d = NULL;
    if (!checksum_holds(t)) return torn(path, err);
    tw_status status = document_parse(t->bytes, t->length, path, &none, &errors, &d);
    if (status == TW_OK && errors.total) status = TW_ERR_JOB;
    if (status == TW_OK) status = read_manifest(c, document_root(d), path, err);
    else if (status == TW_ERR_JOB) status = torn(path, err);
    document_free(d);
    error_list_free(&errors);
    return status;
}

tw_status checkpoint_load(const char *folder, uint64_t number, checkpoint **out, tw_error *err) {
    checkpoint *c;
    struct text t = {0};
    TRY(checkpoint_new(folder, number, "", &c, err));
    char *path = path_of(folder, number, ".json"), *rows = path_of(folder, number, ".rows");
    tw_status status = path && rows ? read_whole(path, &t, err) : no_memory(err);
    if (status == TW_OK) status = parse_manifest(c, &t, path, err);
    if (status == TW_OK) status = spill_create_named(rows, true, &c->rows, err);
    text_free(&t);
    free(path);
    free(rows);
    if (status != TW_OK) checkpoint_free(c);
    else *out = c;
    return status;
}

uint64_t checkpoint_number(const checkpoint *c) { return c->number; }
const char *checkpoint_job(const checkpoint *c) { return c->job; }
uint64_t checkpoint_bytes(const checkpoint *c) { return c->bytes; }

uint32_t checkpoint_parts(const checkpoint *c) {
    uint32_t n = 0;
    for (const saved_part *p = c->parts; p; p = p->next) n++;
    return n;
}

const saved_part *checkpoint_part(const checkpoint *c, uint32_t i) {
    const saved_part *p = c->parts;
    while (p && i--) p = p->next;
    return p;
}

const saved_part *checkpoint_find(const checkpoint *c, const char *id) {
    const saved_part *p = c->parts;
    while (p && strcmp(p->id, id) != 0) p = p->next;
    return p;
}

const char *part_id(const saved_part *p) { return p->id; }
const char *part_shape(const saved_part *p) { return p->shape; }

bool part_value(const saved_part *p, uint32_t i, const char **key, const char **value) {
    if (i >= p->n_values) return false;
    *key = p->values[i].key;
    *value = p->values[i].value;
    return true;
}

const char *part_get(const saved_part *p, const char *key) {
    for (uint32_t i = 0; i < p->n_values; i++)
        if (strcmp(p->values[i].key, key) == 0) return p->values[i].value;
    return NULL;
}

int64_t part_get_int(const saved_part *p, const char *key, int64_t otherwise) {
    const char *value = part_get(p, key);
    return value ? strtoll(value, NULL, 10) : otherwise;
}

uint32_t part_frames(const saved_part *p) { return p->n_frames; }
int64_t part_frame_tag(const saved_part *p, uint32_t i) { return p->frames[i].tag; }
uint64_t part_frame_bytes(const saved_part *p, uint32_t i) { return p->frames[i].place.bytes; }

tw_status part_read_rows(const saved_part *p, uint32_t i, memory *m, const row_layout *l, row_block **out, tw_error *err) {
    return spill_read_block(p->owner->rows, m, MEMORY_STATE, l, p->frames[i].place, out, err);
}

tw_status checkpoint_verify(const checkpoint *c, tw_error *err) {
    for (const saved_part *p = c->parts; p; p = p->next)
        for (uint32_t i = 0; i < p->n_frames; i++) TRY(spill_check_frame(c->rows, p->frames[i].place, err));
    return TW_OK;
}

tw_status checkpoint_delete(const char *folder, uint64_t number, tw_error *err) {
    char *path = path_of(folder, number, ".json"), *rows = path_of(folder, number, ".rows");
    tw_status status = path && rows ? TW_OK : no_memory(err);
    if (status == TW_OK && unlink(path) != 0) status = error_io(err, errno, "checkpoint file %s", path);
    if (status == TW_OK && unlink(rows) != 0 && errno != ENOENT) status = error_io(err, errno, "checkpoint file %s", rows);
    free(path);
    free(rows);
    return status;
}
