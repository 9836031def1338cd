#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

uint8_t *base64_encode(const uint8_t *bytes, size_t n, uint8_t *to) {
    for (size_t i = 0; i < n; i += 3, to += 4) {
        size_t left = n - i;
        uint32_t word = (uint32_t)bytes[i] << 16;
        if (left > 1) word |= (uint32_t)bytes[i + 1] << 8;
        if (left > 2) word |= bytes[i + 2];
        to[0] = (uint8_t)digits[word >> 18];
        to[1] = (uint8_t)digits[word >> 12 & 63];
        to[2] = left > 1 ? (uint8_t)digits[word >> 6 & 63] : '=';
        to[3] = left > 2 ? (uint8_t)digits[word & 63] : '=';
    }
    return to;
}

/* 64 and more: no digit. */
static uint32_t digit_value(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

bool base64_decode(const uint8_t *text, size_t n, uint8_t *to, size_t *out_bytes) {
    *out_bytes = 0;
    if (n % 4) return false;
    size_t padding = n == 0 ? 0 : text[n - 1] != '=' ? 0 : text[n - 2] != '=' ? 1 : 2;
    for (size_t i = 0; i < n; i += 4) {
        size_t kept = i + 4 == n ? 3 - padding : 3; /* of its three bytes */
        uint32_t word = 0;
        for (size_t k = 0; k < 4; k++) {
            uint32_t value = k <= kept ? digit_value(text[i + k]) : 0;
            if (value > 63) return false;
            word = word << 6 | value;
        }
        if (word & ((1u << 8 * (3 - kept)) - 1)) return false; /* bits of bytes that are not there */
        for (size_t k = 0; to && k < kept; k++) *to++ = (uint8_t)(word >> (16 - 8 * k));
        *out_bytes += kept;
    }
    return true;
}
