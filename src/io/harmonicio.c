#include "io/harmonicio.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/utf8.h"
#include "io/dict_text.h"

#define BODY_MAX ((size_t)1 << 20) /* of a request: the status of a worker with its containers */

/* ---- HTTP ---- */

static int refuse(http_parser *p, int code) {
    ((master_exchange *)p->data)->refusal = code;
    return -1; /* ends the parsing */
}

static int on_url(http_parser *p, const char *at, size_t n) {
    master_exchange *e = p->data;
    if (n > sizeof e->target - e->target_bytes) return refuse(p, 414);
    memcpy(e->target + e->target_bytes, at, n);
    e->target_bytes += n;
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t n) {
    master_exchange *e = p->data;
    e->body_bytes += n;
    return e->body_bytes > BODY_MAX ? refuse(p, 413) : 0;
}

static int on_headers(http_parser *p) { return p->upgrade ? refuse(p, 400) : 0; }

static int on_complete(http_parser *p) {
    ((master_exchange *)p->data)->whole = true;
    http_parser_pause(p, 1); /* one request a connection */
    return 0;
}

bool master_exchange_feed(master_exchange *e, const void *bytes, size_t n) {
    static const http_parser_settings settings = {
        .on_url = on_url, .on_headers_complete = on_headers, .on_body = on_body, .on_message_complete = on_complete};
    if (!e->begun) http_parser_init(&e->parser, HTTP_REQUEST);
    e->begun = true;
    e->parser.data = e;
    if (e->whole || e->refusal) return true;
    http_parser_execute(&e->parser, &settings, bytes, n);
    enum http_errno wrong = HTTP_PARSER_ERRNO(&e->parser);
    if (wrong != HPE_OK && wrong != HPE_PAUSED && !e->refusal) e->refusal = wrong == HPE_HEADER_OVERFLOW ? 431 : 400;
    return e->whole || e->refusal;
}

/* ---- parameters ---- */

typedef struct parameter {
    char text[HARMONICIO_NAME_MAX + 1];
    size_t bytes;
    bool given, fits;
} parameter;

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void decode(const char *at, const char *end, parameter *out) {
    while (at < end) {
        char c = *at++;
        if (c == '+') {
            c = ' ';
        } else if (c == '%' && end - at >= 2 && hex_digit(at[0]) >= 0 && hex_digit(at[1]) >= 0) {
            c = (char)(hex_digit(at[0]) << 4 | hex_digit(at[1]));
            at += 2;
        }
        if (out->bytes == HARMONICIO_NAME_MAX) {
            out->fits = false;
            return;
        }
        out->text[out->bytes++] = c;
    }
}

/* The parameter without blanks around it; an empty one is not given. */
static void find(const master_exchange *e, const char *name, parameter *out) {
    *out = (parameter){.fits = true};
    const char *end = e->target + e->target_bytes, *at = memchr(e->target, '?', e->target_bytes);
    size_t n = strlen(name);
    while (at && at < end) {
        const char *key = ++at, *next = memchr(key, '&', (size_t)(end - key));
        at = next ? next : end;
        if ((size_t)(at - key) <= n + 1 || memcmp(key, name, n) != 0 || key[n] != '=') continue;
        decode(key + n + 1, at, out);
        out->given = true;
        break;
    }
    static const char blanks[] = " \t\r\n\v\f";
    while (out->bytes && strchr(blanks, out->text[out->bytes - 1]) && out->text[out->bytes - 1]) out->bytes--;
    size_t front = 0;
    while (front < out->bytes && out->text[front] && strchr(blanks, out->text[front])) front++;
    memmove(out->text, out->text + front, out->bytes -= front);
    out->text[out->bytes] = 0;
}

static bool is_given(const master_exchange *e, const char *name, parameter *out) {
    find(e, name, out);
    return out->given;
}

static bool is_number(const parameter *p) {
    size_t i = 0;
    while (i < p->bytes && p->text[i] >= '0' && p->text[i] <= '9') i++;
    return p->bytes && i == p->bytes;
}

static bool is_digest(const parameter *p, uint8_t out[MD5_BYTES]) {
    if (p->bytes != 2 * MD5_BYTES) return false;
    for (int i = 0; i < MD5_BYTES; i++) {
        int high = hex_digit(p->text[2 * i]), low = hex_digit(p->text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool is_name(const parameter *p) {
    return p->fits && p->bytes && !memchr(p->text, 0, p->bytes) && utf8_valid(p->text, p->bytes);
}

/* ---- requests ---- */

static void refused(master_request *r, int code, const char *words) {
    r->action = MASTER_REFUSES;
    r->code = code;
    r->words = words;
}

static void take_name(master_request *r, const parameter *p) {
    memcpy(r->name, p->text, p->bytes + 1);
    r->name_bytes = p->bytes;
}

static void read_send(const master_exchange *e, master_request *r) {
    parameter name, other;
    if (!is_given(e, "c_name", &name)) return refused(r, 401, "Container name is required.");
    if (!is_given(e, "c_os", &other)) return refused(r, 401, "Container os is required.");
    if (!is_given(e, "source", &other)) return refused(r, 401, "Data digest is required.");
    if (!is_given(e, "digest", &other)) return refused(r, 500, "A server error occurred.  Please contact the administrator.");
    r->digested = is_digest(&other, r->digest);
    if (is_given(e, "priority", &other) && !is_number(&other)) return refused(r, 401, "Container priority is not digit.");
    if (!is_name(&name)) return refused(r, 406, "Container name is not UTF-8 of at most 999 bytes.");
    take_name(r, &name);
    r->action = MASTER_SENDS;
}

static void read_poll(const master_exchange *e, master_request *r) {
    parameter name, address, port, status;
    bool all = is_given(e, "batch_addr", &address);
    all &= is_given(e, "batch_port", &port);
    all &= is_given(e, "batch_status", &status);
    all &= is_given(e, "c_name", &name);
    if (!all) return refused(r, 406, "Invalid parameters!");
    if (!is_number(&port) || !is_number(&status)) return refused(r, 406, "Invalid data type!");
    if (!is_name(&name)) return refused(r, 406, "Container name is not UTF-8 of at most 999 bytes.");
    take_name(r, &name);
    r->available = strspn(status.text, "0") == status.bytes;
    r->action = MASTER_POLLED;
}

static void read_query(const master_exchange *e, master_request *r) {
    parameter command;
    if (!is_given(e, "command", &command)) return refused(r, 406, "No command specified.");
    if (strcmp(command.text, "queueLength") == 0) r->action = MASTER_LENGTHS;
    else if (strcmp(command.text, "verbose") == 0) r->action = MASTER_TELLS;
    else if (strcmp(command.text, "current_id") == 0) refused(r, 200, "None");
    else refused(r, 200, "");
}

void master_request_read(const master_exchange *e, master_request *r) {
    memset(r, 0, sizeof *r);
    if (e->refusal) return refused(r, e->refusal, "");
    const char *query = memchr(e->target, '?', e->target_bytes);
    size_t n = query ? (size_t)(query - e->target) : e->target_bytes;
    unsigned method = e->parser.method;
    parameter token;
#define AT(path) (n == sizeof path - 1 && memcmp(e->target, path, n) == 0)
    bool status = AT("/status"), stream = AT("/streamRequest"), messages = AT("/messagesQuery");
#undef AT
    if (!status && !stream && !messages) return refused(r, 404, "");
    bool other = status ? method == HTTP_PUT : stream ? method == HTTP_POST : false;
    if (method != HTTP_GET && !other) return refused(r, 405, "");
    if (!is_given(e, "token", &token)) return refused(r, 401, "Token is required.");
    if (status && strcmp(token.text, "None") != 0) return refused(r, 401, "Invalid token ID.");
    if (status) r->action = other ? MASTER_HEARS : MASTER_STATUS;
    else if (messages) read_query(e, r);
    else if (other) read_poll(e, r);
    else read_send(e, r);
}

/* ---- answers ---- */

size_t master_answer_head(int code, const char *type, size_t bytes, char out[HARMONICIO_HEAD_MAX]) {
    time_t now = time(NULL);
    struct tm at;
    char date[64];
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &at));
    int n = snprintf(out, HARMONICIO_HEAD_MAX,
                     "HTTP/1.0 %d %s\r\nDate: %s\r\nServer: thalweg\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n", code,
                     http_status_str((enum http_status)code), date, type, bytes);
    return (size_t)n;
}

size_t master_answer(int code, const char *body, char *out, size_t capacity) {
    char head[HARMONICIO_HEAD_MAX];
    size_t bytes = strlen(body);
    const char *type = !bytes ? "application/json; charset=UTF-8" : code == 500 ? "text/plain" : "String";
    size_t n = master_answer_head(code, type, bytes, head);
    if (n + bytes > capacity) return 0;
    memcpy(out, head, n);
    memcpy(out + n, body, bytes);
    return n + bytes;
}

size_t master_answer_place(const char *host, unsigned port, harmonicio_role role, char *out, size_t capacity) {
    char body[HARMONICIO_HEAD_MAX];
    snprintf(body, sizeof body, "{'node_addr': '%s', 'node_port': %u, 'node_role': %d, 'm_cmd': []}", host, port, (int)role);
    return master_answer(200, body, out, capacity);
}

size_t master_answer_status(const char *host, char *out, size_t capacity) {
    char body[HARMONICIO_HEAD_MAX];
    double loads[3] = {0};
    (void)!getloadavg(loads, 3);
    snprintf(body, sizeof body,
             "{'node_name': 'thalweg', 'node_role': 1, 'node_addr': '%s', 'load1': '%.2f', 'load5': '%.2f', 'load15': '%.2f'}", host,
             loads[0], loads[1], loads[2]);
    return master_answer(200, body, out, capacity);
}

/* ---- Python dicts ---- */

static bool read_number(const dict_entry *d, unsigned long most, unsigned long *out) {
    *out = 0;
    for (size_t i = 0; i < d->value_bytes; i++) {
        if (d->text || d->value[i] < '0' || d->value[i] > '9') return false;
        *out = *out * 10 + (unsigned long)(d->value[i] - '0');
        if (*out > most) return false;
    }
    return true;
}

bool harmonicio_place_read(const char *text, size_t size, harmonicio_place *out) {
    dict_text d = dict_text_of(text, size);
    dict_entry e;
    dict_status status;
    unsigned long port = 0, role = 0;
    memset(out, 0, sizeof *out);
    while ((status = dict_text_next(&d, &e)) == DICT_ENTRY) {
        if (dict_key_is(&e, "node_addr")) {
            if (!e.text || e.value_bytes > HARMONICIO_HOST_MAX || memchr(e.value, 0, e.value_bytes)) return false;
            memcpy(out->host, e.value, e.value_bytes);
            out->host[e.value_bytes] = 0;
        }
        if (dict_key_is(&e, "node_port") && !read_number(&e, 65535, &port)) return false;
        if (dict_key_is(&e, "node_role") && !read_number(&e, 99, &role)) return false;
    }
    out->port = (unsigned)port;
    out->role = (harmonicio_role)role;
    return status == DICT_END && out->host[0] && port && (role == ROLE_WORKER || role == ROLE_QUEUE);
}

unsigned long harmonicio_length_read(const char *text, size_t size, const char *name) {
    dict_text d = dict_text_of(text, size);
    dict_entry e;
    unsigned long length;
    while (dict_text_next(&d, &e) == DICT_ENTRY)
        if (dict_key_is(&e, name)) return read_number(&e, ULONG_MAX / 20, &length) ? length : 0;
    return 0;
}

/* ---- the queue ---- */

const char *harmonicio_header_read(const uint8_t *p, size_t n, size_t *name_bytes) {
    size_t bytes = 0;
    for (int i = 0; i < HARMONICIO_HEADER_BYTES; i++) {
        if ((size_t)i >= n || p[i] < '0' || p[i] > '9') return "it does not begin with the length of a name, three digits";
        bytes = bytes * 10 + (size_t)(p[i] - '0');
    }
    if (bytes > n - HARMONICIO_HEADER_BYTES) return "it ends within the name";
    if (!bytes || memchr(p + HARMONICIO_HEADER_BYTES, 0, bytes) || !utf8_valid((const char *)p + HARMONICIO_HEADER_BYTES, bytes))
        return "its name is no text";
    *name_bytes = bytes;
    return NULL;
}

/* ---- targets ---- */

const char *harmonicio_name_check(const char *name) {
    size_t n = strlen(name);
    if (!n) return "must not be empty";
    if (n > HARMONICIO_NAME_MAX) return "is longer than 999 bytes";
    return strchr(" \t\r\n\v\f", name[0]) || strchr(" \t\r\n\v\f", name[n - 1]) ? "begins or ends with a blank" : NULL;
}

/* As a part of a query; three bytes for one at most. */
static void encode_name(const char *name, char *out) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@", hex[] = "0123456789ABCDEF";
    for (; *name; name++) {
        if (strchr(plain, *name)) {
            *out++ = *name;
        } else {
            *out++ = '%';
            *out++ = hex[(uint8_t)*name >> 4];
            *out++ = hex[(uint8_t)*name & 15];
        }
    }
    *out = 0;
}

bool harmonicio_target_send(const char *name, const uint8_t digest[MD5_BYTES], char out[HARMONICIO_TARGET_MAX]) {
    char encoded[3 * HARMONICIO_NAME_MAX + 1], hex[2 * MD5_BYTES + 1];
    if (harmonicio_name_check(name)) return false;
    encode_name(name, encoded);
    for (int i = 0; i < MD5_BYTES; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    snprintf(out, HARMONICIO_TARGET_MAX, "/streamRequest?token=None&c_name=%s&c_os=ubuntu&priority=0&source=thalweg&digest=%s", encoded, hex);
    return true;
}

bool harmonicio_target_poll(const char *name, const char *host, unsigned port, bool available, char out[HARMONICIO_TARGET_MAX]) {
    char encoded[3 * HARMONICIO_NAME_MAX + 1];
    if (harmonicio_name_check(name)) return false;
    encode_name(name, encoded);
    snprintf(out, HARMONICIO_TARGET_MAX, "/streamRequest?token=None&batch_addr=%s&batch_port=%u&batch_status=%d&c_name=%s", host, port,
             available ? 0 : 1, encoded);
    return true;
}
