/* utf8.h: UTF-8 text: validity, code points, case. Text is (pointer, bytes); nothing needs a NUL,
 * nothing outside is read, nothing is kept between calls, any thread may call. */
#ifndef DATA_UTF8_H
#define DATA_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether the bytes are UTF-8 (Unicode, section 3.9: no overlong forms, no surrogates, nothing past
 * U+10FFFF). Vectors after John Keiser and Daniel Lemire, "Validating UTF-8 In Less Than One
 * Instruction Per Byte", 2020, as simdjson has them. */
bool utf8_valid(const char *p, size_t n);

/* The following four take valid UTF-8. Anything else gives some answer, within bounds. */

/* Code points. */
size_t utf8_length(const char *p, size_t n);

/* The byte offset at which code point `index` (from 0) begins; n when there are no more than
 * `index` code points. */
size_t utf8_offset(const char *p, size_t n, size_t index);

/* No text grows more than this by a change of case. */
#define UTF8_CASE_GROWTH 3

/* Unicode's default upper and lower case, in full: one letter may become several ("ß" is "SS"), a
 * sigma at the end of a word is "ς". No language's own rules. Returns the bytes of the whole
 * result; when that is more than `capacity`, `to` holds no more than the front of it, and a second
 * call with that room succeeds. `to` must not overlap the text. Bytes that are not UTF-8 are copied
 * as they are. */
size_t utf8_upper(const char *p, size_t n, char *to, size_t capacity);
size_t utf8_lower(const char *p, size_t n, char *to, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
