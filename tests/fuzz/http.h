// SPDX-License-Identifier: Apache-2.0
/* What the HTTP parser makes of bytes, as text: shared by its fuzzer and its unit tests. */
#ifndef TESTS_FUZZ_HTTP_H
#define TESTS_FUZZ_HTTP_H

#include <stddef.h>
#include <stdint.h>

/*
 * A line per event for bytes that come in pieces of `first` and then `rest`: "PUT /path [body]",
 * "continue", "broken: why". malloc'd.
 */
char *http_transcript(const char *data, size_t size, uint64_t body_max, size_t first, size_t rest);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
