// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer over the HTTP parser: the first byte says how the rest is cut. Cut or whole, it must
 * come to the same requests and the same end; http_transcript() writes both down. `make fuzz` runs
 * it; tests/unit/http.c checks what each rule comes to.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../api/http.h"
#include "http.h"

#define promise(x) ((x) ? (void)0 : broken(#x, __LINE__))

static _Noreturn void broken(const char *what, int line)
{
	fprintf(stderr, "tests/fuzz/http.c:%d: broken: %s\n", line, what);
	abort();
}

/* Puts down one event; true where there may be another one. */
static int write_event(struct http *h, FILE *out)
{
	struct http_request r = { 0 };

	switch (http_next(h, &r)) {
	case HTTP_MORE:
		return 0;
	case HTTP_CONTINUE:
		fprintf(out, "continue\n");
		return 1;
	case HTTP_BROKEN:
		promise(strlen(h->error) > 0);
		promise(!strpbrk(h->error, "\"\\\n"));
		fprintf(out, "broken: %s\n", h->error);
		return 0;
	case HTTP_REQUEST:
		promise(r.method < HTTP_METHODS);
		promise(strlen(r.path) < HTTP_LINE_MAX && (!*r.path || *r.path == '/'));
		promise(r.body_len <= h->body_max);
		promise(r.body >= h->buf && r.body + r.body_len <= h->buf + h->used);
		fprintf(out, "%s %s [%.*s]\n", http_method_name(r.method), r.path, (int)r.body_len,
			r.body);
		http_done(h);
		return 1;
	}
	return 0;
}

char *http_transcript(const char *data, size_t size, uint64_t body_max, size_t first, size_t rest)
{
	const size_t buffer = HTTP_BUFFER(body_max);
	char *text = NULL, *buf = malloc(buffer);
	size_t length, piece = first;
	struct http h;
	FILE *out = open_memstream(&text, &length);

	promise(buf && out);
	http_init(&h, buf, buffer, body_max);
	while (size && h.state != HTTP_IS_BROKEN) {
		size_t room, n = piece < size ? piece : size;
		char *at = http_room(&h, &room);

		promise(room > 0 && at >= h.buf && at + room <= h.buf + h.size);
		n = n < room ? n : room;
		memcpy(at, data, n);
		http_received(&h, n);
		while (write_event(&h, out))
			;
		data += n;
		size -= n;
		piece = rest;
	}
	fclose(out);
	free(buf);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint64_t limit = 300;
	char *whole, *pieces;

	if (size < 2)
		return 0;
	whole = http_transcript((const char *)data + 1, size - 1, limit, size, size);
	pieces = http_transcript((const char *)data + 1, size - 1, limit, data[0] % 16 + 1u,
				 data[0] / 16 + 1u);
	promise(!strcmp(whole, pieces));
	free(whole);
	free(pieces);
	return 0;
}
