/* json_tape.h: simdjson's parser behind C: a document as the tape that simdjson's doc/tape.md describes
 * (Langdale and Lemire, "Parsing Gigabytes of JSON per Second", 2019). */
#ifndef IO_JSON_TAPE_H
#define IO_JSON_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct json_parser json_parser;

json_parser *json_parser_new(void); /* NULL: out of memory */
void json_parser_free(json_parser *p);

/* Bytes that a parser takes for documents of up to `size` bytes. */
size_t json_parser_bytes(size_t size);

/* Parses one whole document; 64 bytes after it must be readable. The tape is valid until the next
 * call. NULL: `*why` says what is wrong (static), `*numbers` that it is a number, `*no_memory`. */
const uint64_t *json_parse(json_parser *p, const uint8_t *text, size_t size, const char **why,
                           bool *numbers, bool *no_memory);
/* What strings on the tape are offsets into. */
const uint8_t *json_strings(const json_parser *p);

/* ---- the tape ---- */

static inline uint8_t tape_kind(uint64_t word) { return (uint8_t)(word >> 56); }
static inline uint64_t tape_payload(uint64_t word) { return word & ((UINT64_C(1) << 56) - 1); }
/* Index of the value after the one at `at`. */
static inline size_t tape_next(const uint64_t *tape, size_t at) {
    switch (tape_kind(tape[at])) {
    case '[':
    case '{': return (uint32_t)tape_payload(tape[at]);
    case 'l':
    case 'u':
    case 'd': return at + 2;
    default: return at + 1;
    }
}

#ifdef __cplusplus
}
#endif
#endif
