/* md5.h: MD5 (Rivest, RFC 1321, 1992), where a protocol of others has it. No protection against those who mean harm. */
#ifndef BASE_MD5_H
#define BASE_MD5_H

#include <stddef.h>
#include <stdint.h>

enum { MD5_BYTES = 16 };

void md5(const void *data, size_t n, uint8_t out[MD5_BYTES]);

#endif
