// json_tape.cc: a thin shim. The parser's DOM checks the whole document, which reading on demand does
// not.
#include "io/json_tape.h"

#include <new>
#include <simdjson.h>

struct json_parser {
    simdjson::dom::parser parser;
    size_t capacity = 0;
};

json_parser *json_parser_new(void) { return new (std::nothrow) json_parser(); }
void json_parser_free(json_parser *p) { delete p; }

static size_t json_parser_capacity(size_t size) {
    size_t capacity = 4096;
    while (capacity < size) capacity += capacity / 2;
    return capacity;
}

// A tape word and an index for each byte, strings, and what stays small.
size_t json_parser_bytes(size_t size) { return json_parser_capacity(size) * 14 + 65536; }

// In steps, so that lines that grow slowly do not each allocate.
static simdjson::error_code reserve(json_parser *p, size_t size) {
    if (size <= p->capacity) return simdjson::SUCCESS;
    size_t capacity = json_parser_capacity(size);
    p->capacity = 0;
    simdjson::error_code error = p->parser.allocate(capacity);
    if (!error) error = p->parser.doc.allocate(capacity);
    if (!error) p->capacity = capacity;
    return error;
}

const uint64_t *json_parse(json_parser *p, const uint8_t *text, size_t size, const char **why,
                           bool *numbers, bool *no_memory) {
    simdjson::error_code error = reserve(p, size);
    if (!error) error = p->parser.parse(text, size, false).error();
    *numbers = error == simdjson::NUMBER_ERROR;
    *no_memory = error == simdjson::MEMALLOC;
    if (error) {
        *why = simdjson::error_message(error);
        return nullptr;
    }
    return p->parser.doc.tape.get();
}

const uint8_t *json_strings(const json_parser *p) { return p->parser.doc.string_buf.get(); }
