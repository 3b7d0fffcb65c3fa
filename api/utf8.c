// SPDX-License-Identifier: Apache-2.0
/* RFC 3629, section 4, as a table: what may follow which first byte. Used by http.c and json.c. */
#include "utf8.h"

#include <stdint.h>

static const struct {
	uint8_t first, last; /* of the lead byte */
	uint8_t more;	     /* bytes that follow */
	uint8_t low, high;   /* of the second byte; the others are 80 to bf */
} forms[] = {
	{ 0x00, 0x7f, 0, 0, 0 },       { 0xc2, 0xdf, 1, 0x80, 0xbf }, { 0xe0, 0xe0, 2, 0xa0, 0xbf },
	{ 0xe1, 0xec, 2, 0x80, 0xbf }, { 0xed, 0xed, 2, 0x80, 0x9f }, { 0xee, 0xef, 2, 0x80, 0xbf },
	{ 0xf0, 0xf0, 3, 0x90, 0xbf }, { 0xf1, 0xf3, 3, 0x80, 0xbf }, { 0xf4, 0xf4, 3, 0x80, 0x8f },
};

/* Bytes of the character at `at`, or 0 where there is none. */
static size_t character(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (at[0] < forms[i].first || at[0] > forms[i].last)
			continue;
		if (len <= forms[i].more)
			return 0;
		if (forms[i].more && (at[1] < forms[i].low || at[1] > forms[i].high))
			return 0;
		for (size_t k = 2; k <= forms[i].more; k++)
			if ((at[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].more + 1u;
	}
	return 0;
}

bool utf8_is_valid(const char *text, size_t len)
{
	const uint8_t *at = (const uint8_t *)text;

	while (len) {
		const size_t n = character(at, len);

		if (n == 0)
			return false;
		at += n;
		len -= n;
	}
	return true;
}
