/* Text: lines of 10 to 14 words with frequencies by Zipf's law, exponent 1.
 *
 * No table, whatever the vocabulary. Ranks 2^k to 2^(k+1) - 1 are an octave; under the step function
 * 1 / 2^k each octave has weight 1. So an octave is drawn evenly, a rank in it evenly, and the rank
 * r is kept with probability 2^k / r: exactly 1 / r, by rejection (von Neumann 1951) in integers.
 *
 * A word is its rank, scrambled and spelled in two-letter syllables, 7 bits each; its length grows
 * with the octave, by 0 to 2 letters more. Two ranks of equal length differ in a syllable. */
#include "data/generate_internal.h"

#define LINE_WORDS_LEAST 10
#define LINE_WORDS_CHOICES 5
#define WORD_LETTERS_LEAST 3
/* A chunk's last bytes are laid with care, to end in a whole word and a newline. */
#define TAIL_BYTES 64
#define TAIL_TRIES 256

const char text_syllables[128][2] __attribute__((aligned(64))) = {
    "ba", "be", "bi", "bo", "bu", "ca", "ce", "ci", "co", "cu", "da", "de", "di", "do", "du", "fa",
    "fe", "fi", "fo", "fu", "ga", "ge", "gi", "go", "gu", "ha", "he", "hi", "ho", "hu", "ja", "je",
    "ji", "jo", "ju", "ka", "ke", "ki", "ko", "ku", "la", "le", "li", "lo", "lu", "ma", "me", "mi",
    "mo", "mu", "na", "ne", "ni", "no", "nu", "pa", "pe", "pi", "po", "pu", "qa", "qe", "qi", "qo",
    "qu", "ra", "re", "ri", "ro", "ru", "sa", "se", "si", "so", "su", "ta", "te", "ti", "to", "tu",
    "va", "ve", "vi", "vo", "vu", "wa", "we", "wi", "wo", "wu", "xa", "xe", "xi", "xo", "xu", "za",
    "ze", "zi", "zo", "zu", "ad", "al", "am", "an", "ar", "as", "at", "ed", "el", "em", "en", "er",
    "es", "et", "ic", "il", "in", "ir", "is", "it", "ol", "on", "or", "os", "un", "ur", "us", "ya",
};

#define SPELLED(syllables, half) ((UINT64_C(1) << 7 * (syllables)) - 1) | UINT64_C(half) << 56
const uint64_t text_spelled[16] __attribute__((aligned(64))) = {
    [3] = SPELLED(1, 4),   [4] = SPELLED(2, 7),   [5] = SPELLED(2, 7),   [6] = SPELLED(3, 11),
    [7] = SPELLED(3, 11),  [8] = SPELLED(4, 14),  [9] = SPELLED(4, 14),  [10] = SPELLED(5, 18),
    [11] = SPELLED(5, 18), [12] = SPELLED(5, 18),
};

static inline uint64_t syllable(uint64_t bits) {
    uint16_t two;
    memcpy(&two, text_syllables[bits & 127], 2);
    return two;
}

/* Writes TEXT_WORD_BYTES bytes; returns the word's length. */
static inline size_t put_word(uint8_t *out, uint32_t rank) {
    unsigned octave = 31 - (unsigned)__builtin_clz(rank);
    uint64_t hash = rank * RANDOM_STEP;
    size_t length = WORD_LETTERS_LEAST + octave / 4 + (hash >> 63) + (hash >> 62 & 1);
    uint64_t mask = text_spelled[length] & TEXT_SPELLED_MASK;
    /* A permutation of mask + 1 values; what the hash has beyond them decorates the last letter. */
    uint64_t bits = hash & mask;
    bits ^= bits >> (text_spelled[length] >> 56);
    bits = ((bits * TEXT_SCRAMBLE) & mask) | (hash & ~mask);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t first = syllable(bits) | syllable(bits >> 7) << 16 | syllable(bits >> 14) << 32 |
                     syllable(bits >> 21) << 48;
    uint64_t rest = syllable(bits >> 28) | syllable(bits >> 35) << 16;
    memcpy(out, &first, 8);
    memcpy(out + 8, &rest, 8);
#else
    memset(out, 0, TEXT_WORD_BYTES);
    for (unsigned i = 0; i < 6; i++) memcpy(out + 2 * i, text_syllables[bits >> 7 * i & 127], 2);
#endif
    return length;
}

size_t generate_word(uint32_t rank, char word[GENERATE_WORD_MAX]) {
    uint8_t letters[TEXT_WORD_BYTES];
    size_t length = put_word(letters, rank);
    memcpy(word, letters, length);
    return length;
}

static void spell_plain(const uint32_t *ranks, size_t count, uint8_t (*letters)[TEXT_WORD_BYTES],
                        uint8_t *lengths) {
    for (size_t i = 0; i < count; i++) lengths[i] = (uint8_t)put_word(letters[i], ranks[i]);
}

/* Nothing branches on a rejection: a rejected rank is overwritten by the next. */
static size_t draw_plain(uint64_t position, uint32_t octaves, uint32_t vocabulary,
                         uint32_t *ranks) {
    size_t n = 0;
    for (size_t i = 0; i < TEXT_BATCH; i++) {
        uint64_t random = random_at(position, i);
        uint64_t scaled = (random >> 32) * octaves;
        uint64_t least = UINT64_C(1) << (scaled >> 32), coin = (uint32_t)scaled;
        uint64_t rank = least + (random & (least - 1));
        ranks[n] = (uint32_t)rank;
        n += (coin * rank < least << 32) & (rank <= vocabulary);
    }
    return n;
}

const text_kernel text_kernel_plain = {draw_plain, spell_plain};

/* A stream of words, made many at a time. */
typedef struct word_stream {
    const text_kernel *kernel;
    uint64_t position;
    uint32_t octaves, vocabulary;
    size_t at, count;
    text_batch batch;
} word_stream;

static void word_stream_start(word_stream *stream, const text_kernel *kernel, uint64_t key,
                              uint32_t vocabulary) {
    stream->kernel = kernel;
    stream->position = key;
    stream->vocabulary = vocabulary;
    stream->octaves = 32 - (uint32_t)__builtin_clz(vocabulary);
    stream->at = stream->count = 0;
    memset(stream->batch.ranks, 0, sizeof stream->batch.ranks);
}

static void word_stream_refill(word_stream *stream) {
    text_batch *batch = &stream->batch;
    do {
        stream->count = stream->kernel->draw(stream->position, stream->octaves, stream->vocabulary,
                                             batch->ranks);
        stream->position += TEXT_BATCH * RANDOM_STEP;
    } while (stream->count == 0);
    stream->kernel->spell(batch->ranks, stream->count, batch->letters, batch->lengths);
    stream->at = 0;
}

/* Fills [out, end) with whole words, then the newline in the last byte. `left` words are due in the
 * line that was begun. Where no word fits the rest, blanks. */
static void put_tail(word_stream *stream, uint8_t *out, uint8_t *end, size_t left) {
    end[-1] = '\n';
    size_t room = (size_t)(end - 1 - out);
    while (room > 0) {
        size_t length = 0, at = 0;
        for (unsigned i = 0; i < TAIL_TRIES && length == 0; i++) {
            if (stream->at == stream->count) word_stream_refill(stream);
            at = stream->at++;
            size_t tried = stream->batch.lengths[at];
            if (tried == room || tried + 1 + WORD_LETTERS_LEAST <= room) length = tried;
        }
        if (length == 0) {
            memset(out, ' ', room);
            return;
        }
        memcpy(out, stream->batch.letters[at], length);
        out += length;
        room -= length;
        if (room == 0) return;
        left--;
        *out++ = left == 0 ? '\n' : ' ';
        if (left == 0) left = LINE_WORDS_LEAST;
        room--;
    }
}

size_t text_chunk(const generate *g, const text_kernel *kernel, uint64_t chunk, uint8_t *out,
                  size_t size) {
    uint64_t key = random_stream(g->key, chunk), lines_key = random_stream(key, 0);
    word_stream stream;
    word_stream_start(&stream, kernel, key, (uint32_t)g->options.values[TEXT_VOCABULARY].integer);
    uint8_t *at = out, *end = out + size;
    uint64_t line = 0;
    size_t left = 0;
    while ((size_t)(end - at) >= TAIL_BYTES) {
        if (left == 0)
            left = LINE_WORDS_LEAST + random_below(random_at(lines_key, line++), LINE_WORDS_CHOICES);
        if (stream.at == stream.count) word_stream_refill(&stream);
        /* What the words at hand, the line and the room allow without a further look. */
        size_t words = stream.count - stream.at, room = (size_t)(end - at) / (GENERATE_WORD_MAX + 1);
        if (words > left) words = left;
        if (words > room - 1) words = room - 1;
        for (size_t i = stream.at; i < stream.at + words; i++) {
            memcpy(at, stream.batch.letters[i], TEXT_WORD_BYTES);
            at += stream.batch.lengths[i];
            *at++ = ' ';
        }
        stream.at += words;
        left -= words;
        if (left == 0) at[-1] = '\n';
    }
    if (left == 0) left = LINE_WORDS_LEAST;
    if (at < end) put_tail(&stream, at, end, left);
    return size;
}
