/* base64.h: bytes as text that JSON can hold (RFC 4648, section 4: the usual alphabet, padded). */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters that n bytes become: a multiple of four. */
static inline size_t base64_size(size_t n) { return (n + 2) / 3 * 4; }

/* Writes base64_size(n) characters, no NUL; returns where they end. */
uint8_t *base64_encode(const uint8_t *bytes, size_t n, uint8_t *to);

/* Reads text of n characters back into at most n / 4 * 3 bytes. false: no other text than what
 * base64_encode writes is taken. `to` may be NULL, to look only. */
bool base64_decode(const uint8_t *text, size_t n, uint8_t *to, size_t *out_bytes);

#endif
