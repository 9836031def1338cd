#include "io/input_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/scan.h"
#include "io/block_reader.h"

enum { COMPRESSED_UNIT_BYTES = 4 << 20, GROUP_FILES_MAX = 65536, READ_BYTES = 128 << 10, HEADER_BYTES_MAX = 16 << 20 };

enum parity { PARITY_UNKNOWN, PARITY_CLAIMED, PARITY_EVEN, PARITY_ODD };

struct file_parts {
    uint64_t n;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint8_t *parity;      /* enum parity: of the quotes in each part */
    uint8_t *inside;      /* whether a part begins within quotes; known for the first n_inside */
    uint64_t n_inside;
    pthread_mutex_t count_lock;
    uint64_t *ends_before; /* record ends in front of a part's begin less one; known for the first n_counted */
    uint64_t n_counted;
    bool counted_inside;   /* where counting stands, whether it is within quotes */
    bool layout_known;
    csv_layout *layout;
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

/* ---- files ---- */

tw_status input_files_new(const format *f, path_list *paths, input_files **out, tw_error *err) {
    input_files *all = calloc(1, sizeof *all);
    if (all) all->files = calloc(paths->n, sizeof *all->files);
    if (!all || !all->files) {
        free(all);
        return no_memory(err);
    }
    atomic_init(&all->references, 1);
    all->format = f;
    all->n = paths->n;
    all->paths = *paths;
    *paths = (path_list){0};
    for (size_t i = 0; i < all->n; i++) {
        char *path = all->paths.paths[i];
        bool standard = !strcmp(path, "-");
        all->files[i] = (input_file){.path = path, .name = standard ? "standard input" : path, .all = all};
    }
    *out = all;
    return TW_OK;
}

input_files *input_files_ref(input_files *all) {
    atomic_fetch_add_explicit(&all->references, 1, memory_order_relaxed);
    return all;
}

static void parts_free(file_parts *p) {
    if (!p) return;
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->count_lock);
    free(p->parity);
    free(p->inside);
    free(p->ends_before);
    free(p->layout);
    free(p);
}

void input_files_unref(input_files *all) {
    if (!all || atomic_fetch_sub(&all->references, 1) != 1) return;
    for (size_t i = 0; i < all->n; i++) parts_free(all->files[i].parts);
    path_list_free(&all->paths);
    free(all->files);
    free(all->groups);
    free(all);
}

tw_status input_file_look(input_file *f, tw_error *err) {
    struct stat info;
    int failed = !strcmp(f->path, "-") ? fstat(STDIN_FILENO, &info) : stat(f->path, &info);
    if (failed) return error_io(err, errno, "cannot read '%s'", f->name);
    if (S_ISDIR(info.st_mode)) return error_set(err, TW_ERR_IO, "cannot read '%s': it is a folder", f->name);
    f->is_file = S_ISREG(info.st_mode) && strcmp(f->path, "-") != 0;
    f->bytes = f->is_file ? (uint64_t)info.st_size : 0;
    f->device = info.st_dev;
    f->inode = info.st_ino;
    return TW_OK;
}

tw_status input_file_open(const input_file *f, int *fd, tw_error *err) {
    if (!strcmp(f->path, "-")) {
        *fd = STDIN_FILENO;
        return TW_OK;
    }
    /* A pipe that nobody writes to yet must not hold the run up here. */
    *fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return error_io(err, errno, "cannot read '%s'", f->name);
    struct stat info;
    if (!f->is_file || (fstat(*fd, &info) == 0 && info.st_ino == f->inode && info.st_dev == f->device)) return TW_OK;
    close(*fd);
    error_set(err, TW_ERR_DATA, "the file was replaced while it was read");
    error_in_data(err, f->name, 0);
    return TW_ERR_DATA;
}

/* ---- splits ---- */

static tw_status add_group(input_files *all, split_group g, uint64_t units, size_t *room, uint64_t *next_unit,
                           tw_error *err) {
    if (all->n_groups == *room) {
        size_t more = *room ? *room * 2 : 16;
        split_group *groups = realloc(all->groups, more * sizeof *groups);
        if (!groups) return no_memory(err);
        all->groups = groups;
        *room = more;
    }
    g.first_split = all->n_splits;
    g.first_unit = *next_unit;
    all->n_splits += g.n_splits;
    *next_unit += units;
    all->groups[all->n_groups++] = g;
    return TW_OK;
}

static tw_status is_compressed(const input_file *f, bool *out, tw_error *err) {
    uint8_t first[COMPRESSION_MAGIC];
    int fd;
    TRY(input_file_open(f, &fd, err));
    tw_status status = file_read_at(fd, f->name, 0, first, sizeof first, err);
    close(fd);
    *out = status == TW_OK && compression_of_bytes(first, sizeof first) != COMPRESSION_NONE;
    return status;
}

static tw_status make_parts(input_file *f, tw_error *err) {
    parts_free(f->parts); /* of a plan that failed */
    f->parts = NULL;
    file_parts *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    p->n = (f->bytes + PART_BYTES - 1) / PART_BYTES;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    pthread_mutex_init(&p->count_lock, NULL);
    f->parts = p;
    p->parity = calloc(p->n, 1);
    p->inside = calloc(p->n, 1);
    p->ends_before = calloc(p->n, sizeof *p->ends_before);
    if (!p->parity || !p->inside || !p->ends_before) return no_memory(err);
    p->n_inside = p->n_counted = 1;
    return TW_OK;
}

tw_status input_files_plan(input_files *all, tw_error *err) {
    size_t room = 0;
    uint64_t unit = 0;
    split_group small = {.n_splits = 1};
    uint64_t small_bytes = 0;
    all->planned = *all->format;
    all->format = &all->planned;
    all->n_groups = 0;
    all->n_splits = all->bytes = 0;
    for (size_t i = 0; i < all->n; i++) {
        input_file *f = &all->files[i];
        bool compressed = false;
        TRY(input_file_look(f, err));
        all->bytes += f->bytes;
        bool large = f->bytes > PART_BYTES;
        bool alone = large || !f->is_file;
        if (small.n_files && (alone || small_bytes + f->bytes > PART_BYTES || small.n_files == GROUP_FILES_MAX)) {
            TRY(add_group(all, small, 1, &room, &unit, err));
            small.n_files = 0;
        }
        if (!alone) {
            if (!small.n_files) {
                small.first_file = i;
                small_bytes = 0;
            }
            small.n_files++;
            small_bytes += f->bytes;
            continue;
        }
        if (large) TRY(is_compressed(f, &compressed, err));
        split_group g = {.n_splits = 1, .first_file = i, .n_files = 1};
        uint64_t units = f->bytes / COMPRESSED_UNIT_BYTES + 1;
        if (large && !compressed && format_framing(all->format) != FRAMING_WHOLE) {
            TRY(make_parts(f, err));
            g.n_splits = units = f->parts->n;
        }
        TRY(add_group(all, g, units, &room, &unit, err));
    }
    if (small.n_files) TRY(add_group(all, small, 1, &room, &unit, err));
    all->n_units = unit;
    return TW_OK;
}

const split_group *input_files_group(const input_files *all, uint64_t split) {
    size_t low = 0, high = all->n_groups;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (all->groups[middle].first_split <= split) low = middle;
        else high = middle;
    }
    return &all->groups[low];
}

/* ---- parts: quotes ---- */

static bool is_cancelled(const input_files *all) {
    return all->cancelled && atomic_load_explicit(all->cancelled, memory_order_relaxed);
}

/* Calls see(bytes) over [begin, end) of a file. */
static tw_status scan_file(const input_file *f, uint64_t begin, uint64_t end,
                           void (*see)(void *context, const uint8_t *bytes, size_t n), void *context, tw_error *err) {
    uint8_t *room = malloc(READ_BYTES);
    if (!room) return no_memory(err);
    int fd = -1;
    tw_status status = input_file_open(f, &fd, err);
    while (status == TW_OK && begin < end) {
        size_t n = end - begin < READ_BYTES ? (size_t)(end - begin) : READ_BYTES;
        status = is_cancelled(f->all) ? error_set(err, TW_ERR_CANCELLED, "interrupted")
                                      : file_read_at(fd, f->name, begin, room, n, err);
        if (status == TW_OK) see(context, room, n);
        begin += n;
    }
    if (fd >= 0) close(fd);
    free(room);
    return status;
}

typedef struct quote_count {
    uint8_t quote;
    size_t n;
} quote_count;

static void count_quotes(void *context, const uint8_t *bytes, size_t n) {
    quote_count *c = context;
    c->n += count_byte(bytes, n, c->quote);
}

static uint64_t part_end(const input_file *f, uint64_t part) {
    uint64_t end = (part + 1) * PART_BYTES;
    return end < f->bytes ? end : f->bytes;
}

static void set_parity(file_parts *p, uint64_t part, uint8_t parity) {
    if (p->parity[part] < PARITY_EVEN) p->parity[part] = parity;
    pthread_cond_broadcast(&p->changed);
}

void input_file_claim(input_file *f, uint64_t part) {
    file_parts *p = f->parts;
    pthread_mutex_lock(&p->lock);
    if (p->parity[part] == PARITY_UNKNOWN) p->parity[part] = PARITY_CLAIMED;
    pthread_mutex_unlock(&p->lock);
}

void input_file_give_up(input_file *f, uint64_t part) {
    pthread_mutex_lock(&f->parts->lock);
    set_parity(f->parts, part, PARITY_UNKNOWN);
    pthread_mutex_unlock(&f->parts->lock);
}

static void wait_a_little(file_parts *p) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&p->changed, &p->lock, &until);
}

/* Makes the parity of a part known; with the lock, let go between. */
static tw_status need_parity(input_file *f, uint64_t part, tw_error *err) {
    file_parts *p = f->parts;
    while (p->parity[part] < PARITY_EVEN) {
        if (is_cancelled(f->all)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        if (p->parity[part] == PARITY_CLAIMED) {
            wait_a_little(p);
            continue;
        }
        p->parity[part] = PARITY_CLAIMED;
        pthread_mutex_unlock(&p->lock);
        quote_count c = {.quote = f->all->format->quote};
        tw_status status = scan_file(f, part * PART_BYTES, part_end(f, part), count_quotes, &c, err);
        pthread_mutex_lock(&p->lock);
        set_parity(p, part, status != TW_OK ? PARITY_UNKNOWN : c.n & 1 ? PARITY_ODD : PARITY_EVEN);
        if (status != TW_OK) return status;
    }
    return TW_OK;
}

tw_status input_file_inside(input_file *f, uint64_t part, const uint8_t *bytes, size_t size, bool *out,
                            tw_error *err) {
    file_parts *p = f->parts;
    size_t quotes = count_byte(bytes, size, f->all->format->quote);
    pthread_mutex_lock(&p->lock);
    set_parity(p, part, quotes & 1 ? PARITY_ODD : PARITY_EVEN);
    tw_status status = TW_OK;
    while (status == TW_OK && p->n_inside <= part) {
        uint64_t at = p->n_inside;
        status = need_parity(f, at - 1, err);
        if (status != TW_OK || p->n_inside != at) continue; /* another thread was here meanwhile */
        p->inside[at] = p->inside[at - 1] ^ (p->parity[at - 1] == PARITY_ODD);
        p->n_inside++;
    }
    *out = status == TW_OK && p->inside[part];
    pthread_mutex_unlock(&p->lock);
    return status;
}

/* ---- parts: numbers of records ---- */

typedef struct end_count {
    uint8_t quote;
    bool inside;
    uint64_t n;
} end_count;

static void count_ends(void *context, const uint8_t *bytes, size_t n) {
    end_count *c = context;
    c->n += count_record_ends(bytes, n, c->quote, &c->inside);
}

uint64_t input_file_records_before(const origin *o) {
    const input_file *f = o->context;
    const format *how = f->all->format;
    file_parts *p = f->parts;
    uint64_t part = o->split;
    if (part == 0) return 0;
    if (how->kind == FORMAT_RECORDS) return (part * PART_BYTES + how->record_bytes - 1) / how->record_bytes;
    pthread_mutex_lock(&p->count_lock);
    while (p->n_counted <= part) {
        uint64_t at = p->n_counted;
        end_count c = {.quote = format_framing(how) == FRAMING_QUOTED ? how->quote : 0, .inside = p->counted_inside};
        /* A record starts in a part when the line feed before it lies one byte earlier. */
        uint64_t begin = at == 1 ? 0 : (at - 1) * PART_BYTES - 1, end = at * PART_BYTES - 1;
        if (scan_file(f, begin, end, count_ends, &c, NULL) != TW_OK) break;
        p->ends_before[at] = p->ends_before[at - 1] + c.n;
        p->counted_inside = c.inside;
        p->n_counted++;
    }
    bool known = p->n_counted > part;
    uint64_t ends = p->ends_before[known ? part : p->n_counted - 1];
    pthread_mutex_unlock(&p->count_lock);
    bool header = how->kind == FORMAT_CSV && how->header;
    return ends + 1 - header;
}

void input_file_retain(const void *file) { input_files_ref(((const input_file *)file)->all); }
void input_file_release(const void *file) { input_files_unref(((const input_file *)file)->all); }

/* ---- parts: layouts ---- */

static tw_status read_layout(input_file *f, tw_error *err) {
    const format *how = f->all->format;
    size_t size = 0, room = 0;
    uint8_t *text = NULL;
    tw_status status = TW_OK;
    while (status == TW_OK) { /* more and more of the file, until it holds the header */
        room = room ? room * 4 : 16384;
        size = room < f->bytes ? room : (size_t)f->bytes;
        uint8_t *more = realloc(text, size);
        int fd = -1;
        if (!more) {
            status = no_memory(err);
            break;
        }
        text = more;
        status = input_file_open(f, &fd, err);
        if (status == TW_OK) status = file_read_at(fd, f->name, 0, text, size, err);
        if (fd >= 0) close(fd);
        if (status != TW_OK) break;
        size_t mark = byte_order_mark(text, size);
        bool whole = csv_header_size(how, text + mark, size - mark) < size - mark;
        if (!whole && size < f->bytes && room < HEADER_BYTES_MAX) continue;
        csv_layout *layout = NULL;
        status = csv_layout_from_header(how, text + mark, size - mark, &layout, err);
        if (status != TW_OK) error_in_data(err, f->name, 0);
        f->parts->layout = layout;
        break;
    }
    free(text);
    return status;
}

tw_status input_file_layout(input_file *f, const csv_layout **out, tw_error *err) {
    const format *how = f->all->format;
    *out = NULL;
    if (how->kind != FORMAT_CSV || !how->header) return TW_OK;
    if (how->header_file && !strcmp(how->header_file, f->name)) return TW_OK;
    file_parts *p = f->parts;
    pthread_mutex_lock(&p->count_lock);
    tw_status status = p->layout_known ? TW_OK : read_layout(f, err);
    p->layout_known = status == TW_OK;
    *out = p->layout;
    pthread_mutex_unlock(&p->count_lock);
    return status;
}
