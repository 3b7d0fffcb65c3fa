/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_UTF8_H
#define API_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether the bytes are UTF-8: no overlong form, no surrogate, nothing beyond U+10FFFF (RFC 3629).
 */
bool utf8_is_valid(const char *text, size_t len);

#endif
