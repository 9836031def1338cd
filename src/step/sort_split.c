#include "step/sort_split.h"

#include <stdlib.h>

enum {
    samples_max = 16384,
    sampled_string_max = 256, /* a splitter may be any value, so a long one is cut */
    stride_bits_max = 4,
    search_rows = 8, /* searched side by side */
    outliers = 64,   /* one in so many samples at each end need not begin as the others do */
    common_min = 4,
};

static tw_status out_of_memory(tw_error *err) {
    return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
}

/* ---- samples ---- */

void sort_samples_init(sort_samples *s, const sort_order *order, size_t bytes_max) {
    *s = (sort_samples){.order = order, .bytes_max = bytes_max};
    pthread_mutex_init(&s->lock, NULL);
}

static void free_rows(sort_sample *items, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) free(items[i].row);
}

void sort_samples_free(sort_samples *s) {
    free_rows(s->items, s->n);
    free(s->items);
    pthread_mutex_destroy(&s->lock);
}

/* SplitMix64's finalizer: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t mix(uint64_t z) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static bool passes(uint64_t tag, unsigned from, unsigned to) {
    return !(tag >> from & (((uint64_t)1 << (to - from)) - 1));
}

static size_t key_row_bytes(const row_layout *l, const uint8_t *row) {
    return l->stride + rows_copy_heap_bytes(l, row);
}

/* A copy of a row of the samples' layout. */
static uint8_t *copy_key_row(const row_layout *l, const uint8_t *row) {
    uint8_t *copy = malloc(key_row_bytes(l, row));
    if (!copy) return NULL;
    uint8_t *heap = copy + l->stride;
    rows_copy(l, row, copy, &heap);
    return copy;
}

static void cut_strings(const row_layout *l, uint8_t *row) {
    for (uint32_t k = 0; k < l->n_views; k++) {
        uint8_t *at = row + l->fields[l->view_fields[k]].offset;
        uint32_t size;
        memcpy(&size, at, sizeof size);
        if (size > sampled_string_max) size = sampled_string_max;
        memcpy(at, &size, sizeof size);
    }
}

static size_t sample_bytes(const sort_samples *s, const sort_sample *item) {
    return sizeof *item + (item->row ? key_row_bytes(s->order->samples.layout, item->row) : 0);
}

/* Half of the samples leave. */
static void thin(sort_samples *s) {
    unsigned level = atomic_load_explicit(&s->level, memory_order_relaxed);
    uint32_t kept = 0;
    s->bytes = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->items[i].tag >> level & 1) {
            free(s->items[i].row);
        } else {
            s->bytes += sample_bytes(s, &s->items[i]);
            s->items[kept++] = s->items[i];
        }
    }
    s->n = kept;
    atomic_store_explicit(&s->level, level + 1, memory_order_relaxed);
}

/* Takes over the sample's row. */
static tw_status insert(sort_samples *s, sort_sample item, tw_error *err) {
    if (s->n == s->capacity) {
        uint32_t capacity = s->capacity ? 2 * s->capacity : 64;
        sort_sample *items = aligned_alloc(64, capacity * sizeof *items);
        if (!items) {
            free(item.row);
            return out_of_memory(err);
        }
        if (s->n) memcpy(items, s->items, s->n * sizeof *items);
        free(s->items);
        s->items = items;
        s->capacity = capacity;
    }
    s->items[s->n++] = item;
    s->sorted = false;
    s->bytes += sample_bytes(s, &item);
    return TW_OK;
}

/* The keys of one row of a batch; *out NULL when numbers say all. */
static tw_status encode_keys(const sort_order *o, const column *columns, uint32_t row, uint8_t **out,
                             tw_error *err) {
    *out = NULL;
    if (sort_code_is_fixed(&o->code)) return TW_OK;
    const row_layout *l = o->samples.layout;
    uint8_t *keys = calloc(1, l->stride);
    if (!keys) return out_of_memory(err);
    rows_encode(l, columns, &row, 1, &keys, NULL);
    cut_strings(l, keys);
    *out = copy_key_row(l, keys);
    free(keys);
    return *out ? TW_OK : out_of_memory(err);
}

tw_status sort_samples_add(sort_samples *s, uint64_t position, const column *columns,
                           const sort_number *numbers, uint32_t n, tw_error *err) {
    unsigned level = atomic_load_explicit(&s->level, memory_order_relaxed);
    unsigned stride_bits = level < stride_bits_max ? level : stride_bits_max;
    uint32_t stride = 1u << stride_bits;
    tw_status status = TW_OK;
    for (uint64_t i = mix(position) & (stride - 1); i < n && status == TW_OK; i += stride) {
        sort_sample item = {numbers[i], position + i, mix(~(position + i)), NULL};
        if (!passes(item.tag, stride_bits, level)) continue;
        TRY(encode_keys(s->order, columns, (uint32_t)i, &item.row, err));
        pthread_mutex_lock(&s->lock);
        unsigned now = atomic_load_explicit(&s->level, memory_order_relaxed);
        if (passes(item.tag, level, now)) {
            status = insert(s, item, err);
            if (s->n > samples_max || s->bytes > s->bytes_max) thin(s);
        } else {
            free(item.row);
        }
        pthread_mutex_unlock(&s->lock);
    }
    return status;
}

tw_status sort_samples_add_row(sort_samples *s, const uint8_t *row, tw_error *err) {
    const sort_order *o = s->order;
    sort_values values[SORT_KEYS_MAX];
    sort_sample item = {.position = row_header(row)};
    sort_values_of_rows(&o->rows, o->n_keys, row, values);
    sort_code_encode(&o->code, values, 1, &item.number);
    if (!sort_code_is_fixed(&o->code)) {
        const row_layout *l = o->samples.layout;
        uint8_t *keys = malloc(l->stride);
        if (!keys) return out_of_memory(err);
        memcpy(keys, l->blank, l->stride);
        for (uint32_t k = 0; k < o->n_keys; k++) {
            const row_field *from = &o->rows.layout->fields[o->rows.fields[k]], *to = &l->fields[k];
            memcpy(keys + to->offset, row + from->offset, to->bytes);
            if (row_is_valid(o->rows.layout, row, o->rows.fields[k])) continue;
            keys[to->valid_bit >> 3] &= (uint8_t)~(1u << (to->valid_bit & 7));
        }
        if (!s->exact) cut_strings(l, keys);
        item.row = copy_key_row(l, keys);
        free(keys);
        if (!item.row) return out_of_memory(err);
    }
    pthread_mutex_lock(&s->lock);
    tw_status status = insert(s, item, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static int compare_keys(const sort_order *o, const sort_sample *a, const sort_sample *b) {
    if (a->number != b->number) return a->number < b->number ? -1 : 1;
    if (!a->row || !b->row) return 0; /* both are NULL */
    return sort_compare(o->keys, o->n_keys, 0, &o->samples, a->row, &o->samples, b->row);
}

static int compare_samples(const sort_order *o, const sort_sample *a, const sort_sample *b) {
    int order = compare_keys(o, a, b);
    return order ? order : (a->position > b->position) - (a->position < b->position);
}

static int by_order(const void *a, const void *b, void *order) {
    return compare_samples(order, a, b);
}

static void sort_once(sort_samples *s) {
    if (s->n && !s->sorted) qsort_r(s->items, s->n, sizeof *s->items, by_order, (void *)s->order);
    s->sorted = true;
}

/* How many of the sorted samples have a first key: nulls are at the end. */
static uint32_t count_first_valid(const sort_samples *s) {
    uint32_t n = s->n;
    while (n && !row_is_valid(s->order->samples.layout, s->items[n - 1].row, 0)) n--;
    return n;
}

/* How many bytes the first strings of two samples begin with alike. */
static uint32_t common_bytes(const sort_order *o, const sort_sample *a, const sort_sample *b, view *out) {
    view x;
    uint32_t at = o->samples.layout->fields[0].offset, n = 0;
    memcpy(out, a->row + at, sizeof *out);
    memcpy(&x, b->row + at, sizeof x);
    uint32_t most = x.size < out->size ? x.size : out->size;
    const uint8_t *left = view_data(out), *right = view_data(&x);
    while (n < most && n < SORT_COMMON_MAX && left[n] == right[n]) n++;
    return n;
}

void sort_samples_choose_code(sort_samples *s, sort_order *o) {
    if (!s->n || !type_is_view(o->keys[0].type)) return;
    sort_once(s);
    uint32_t n = count_first_valid(s), tail = n / outliers;
    if (!n) return;
    view v;
    uint32_t common = common_bytes(o, &s->items[tail], &s->items[n - 1 - tail], &v);
    if (common < common_min) return;
    sort_code_make_common(o->keys, o->n_keys, view_data(&v), common, &o->code);
    sort_values values[SORT_KEYS_MAX];
    for (uint32_t i = 0; i < s->n; i++) {
        sort_values_of_rows(&o->samples, o->n_keys, s->items[i].row, values);
        sort_code_encode(&o->code, values, 1, &s->items[i].number);
    }
}

/* The first of the sorted samples that is not before `bound`. */
static uint32_t find(const sort_samples *s, const sort_sample *bound) {
    uint32_t begin = 0, end = s->n;
    while (begin < end) {
        uint32_t middle = (begin + end) / 2;
        if (compare_samples(s->order, &s->items[middle], bound) < 0) begin = middle + 1;
        else end = middle;
    }
    return begin;
}

/* ---- splitters ---- */

/* The search goes by 64 bits of the numbers: those behind what the first and the last splitter have in
 * common. `words` has a power of two less one of them, filled up with ones. */
struct sort_splitters {
    const sort_order *order;
    sort_number base, span; /* numbers from base to base + span have those common bits; span 0: all */
    unsigned shift;         /* right by this, left if it is negative */
    bool shift_left;
    uint32_t n, half;
    uint64_t *words;
    sort_sample *items;
    sort_number *numbers;  /* of the items, and */
    uint64_t *positions;
    uint32_t *same_end;    /* the first behind an item that has another number */
};

void sort_splitters_free(sort_splitters *s) {
    if (!s) return;
    free_rows(s->items, s->n);
    free(s->items);
    free(s->words);
    free(s->numbers);
    free(s->positions);
    free(s->same_end);
    free(s);
}

uint32_t sort_splitters_ranges(const sort_splitters *s) { return s->n + 1; }
const sort_sample *sort_splitter(const sort_splitters *s, uint32_t i) { return &s->items[i]; }

static unsigned leading_zeros(sort_number x) {
    uint64_t high = (uint64_t)(x >> 64), low = (uint64_t)x;
    return high ? (unsigned)__builtin_clzll(high) : low ? 64 + (unsigned)__builtin_clzll(low) : 128;
}

static inline uint64_t word_of(const sort_splitters *s, sort_number number) {
    sort_number distance = number - s->base;
    if (number < s->base) return 0;
    if (s->span && distance > s->span) return UINT64_MAX;
    return (uint64_t)(s->shift_left ? distance << s->shift : distance >> s->shift);
}

static void choose_words(sort_splitters *s) {
    uint32_t size = 1;
    while (size - 1 < s->n) size *= 2;
    s->half = size / 2;
    if (s->n) {
        sort_number first = s->items[0].number, last = s->items[s->n - 1].number;
        unsigned common = leading_zeros(first ^ last);
        if (common > 64) common = 64;
        s->span = common ? ((sort_number)1 << (128 - common)) - 1 : 0;
        s->base = common ? first & ~s->span : 0;
        s->shift = 64 - common;
    }
    for (uint32_t i = 0; i < size; i++) s->words[i] = i < s->n ? word_of(s, s->items[i].number) : UINT64_MAX;
    for (uint32_t i = s->n; i-- > 0;) {
        s->numbers[i] = s->items[i].number;
        s->positions[i] = s->items[i].position;
        s->same_end[i] = i + 1 < s->n && s->numbers[i + 1] == s->numbers[i] ? s->same_end[i + 1] : i + 1;
    }
}

static tw_status splitters_new(const sort_order *o, const sort_sample *samples, uint32_t n_samples,
                               uint32_t n_ranges, sort_splitters **out, tw_error *err) {
    if (n_ranges > n_samples) n_ranges = n_samples;
    uint32_t n = n_ranges ? n_ranges - 1 : 0;
    sort_splitters *s = calloc(1, sizeof *s);
    if (!s) return out_of_memory(err);
    s->order = o;
    s->words = malloc(2 * ((size_t)n + 1) * sizeof *s->words);
    s->items = aligned_alloc(64, (n * sizeof *s->items + 64) & ~(size_t)63);
    s->numbers = aligned_alloc(64, (n * sizeof *s->numbers + 64) & ~(size_t)63);
    s->positions = malloc((n + 1) * sizeof *s->positions);
    s->same_end = malloc((n + 1) * sizeof *s->same_end);
    bool made = s->words && s->items && s->numbers && s->positions && s->same_end;
    for (uint32_t i = 0; i < n && made; i++) {
        sort_sample item = samples[(uint64_t)(i + 1) * n_samples / n_ranges];
        if (item.row) item.row = copy_key_row(o->samples.layout, item.row), made = item.row;
        if (made) s->items[s->n++] = item;
    }
    if (!made) {
        sort_splitters_free(s);
        return out_of_memory(err);
    }
    choose_words(s);
    *out = s;
    return TW_OK;
}

tw_status sort_samples_split(sort_samples *s, const sort_sample *from, const sort_sample *to,
                             uint32_t n_ranges, sort_splitters **out, tw_error *err) {
    pthread_mutex_lock(&s->lock);
    sort_once(s);
    uint32_t begin = from ? find(s, from) : 0, end = to ? find(s, to) : s->n;
    tw_status status = splitters_new(s->order, s->items + begin, end - begin, n_ranges, out, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* The first splitter from `begin` on whose number is not below this one. */
static uint32_t first_not_below(const sort_splitters *s, uint32_t begin, sort_number number) {
    uint32_t end = s->n;
    while (begin < end) {
        uint32_t middle = (begin + end) / 2;
        if (s->numbers[middle] < number) begin = middle + 1;
        else end = middle;
    }
    return begin;
}

/* How many words are below this one. */
static inline uint32_t search(const uint64_t *words, uint32_t half, uint64_t word) {
    uint32_t at = 0;
    for (uint32_t step = half; step; step /= 2) at += words[at + step - 1] < word ? step : 0;
    return at;
}

static void search_some(const sort_splitters *s, const uint64_t *word, uint32_t *to) {
    uint32_t at[search_rows] = {0};
    for (uint32_t step = s->half; step; step /= 2)
        for (uint32_t k = 0; k < search_rows; k++) at[k] += s->words[at[k] + step - 1] < word[k] ? step : 0;
    memcpy(to, at, sizeof at);
}

uint32_t sort_splitters_route(const sort_splitters *s, const sort_number *numbers, uint32_t n,
                              uint32_t *to, uint32_t *unclear) {
    uint32_t n_unclear = 0;
    for (uint32_t first = 0; first < n; first += search_rows) {
        uint64_t word[search_rows];
        uint32_t some = n - first < search_rows ? n - first : search_rows;
        for (uint32_t k = 0; k < some; k++) word[k] = word_of(s, numbers[first + k]);
        if (some == search_rows) search_some(s, word, to + first);
        else
            for (uint32_t k = 0; k < some; k++) to[first + k] = search(s->words, s->half, word[k]);
        for (uint32_t k = 0; k < some; k++) {
            uint32_t i = first + k, at = to[i];
            if (at == s->n || s->words[at] != word[k]) continue;
            if (s->numbers[at] < numbers[i]) to[i] = at = first_not_below(s, at + 1, numbers[i]);
            if (at < s->n && s->numbers[at] == numbers[i]) unclear[n_unclear++] = i;
        }
    }
    return n_unclear;
}

/* Of the splitters with the row's number, how many are not above it. */
uint32_t sort_splitters_place(const sort_splitters *s, uint32_t to, uint64_t position,
                              const sort_place *place, const uint8_t *row) {
    const sort_order *o = s->order;
    uint32_t begin = to, end = s->same_end[to];
    while (begin < end) {
        uint32_t middle = begin + (end - begin) / 2;
        int order = 0;
        if (row) order = sort_compare(o->keys, o->n_keys, 0, &o->samples, s->items[middle].row, place, row);
        if (!order) order = (s->positions[middle] > position) - (s->positions[middle] < position);
        if (order <= 0) begin = middle + 1;
        else end = middle;
    }
    return begin;
}
