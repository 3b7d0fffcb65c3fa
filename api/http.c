// SPDX-License-Identifier: Apache-2.0
/*
 * Requests out of bytes, line by line; a line that is understood is dropped from the buffer, so
 * that any number of headers fits. Rules and texts are the wire contract's, which are those of
 * Firecracker's server. Called by server.c for each connection; next: routes.c answers.
 */
#include "http.h"
#include "utf8.h"
#include "../vmm/log.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const methods[HTTP_METHODS] = {
	[HTTP_GET] = "GET",
	[HTTP_PUT] = "PUT",
	[HTTP_PATCH] = "PATCH",
	[HTTP_DELETE] = "DELETE",
};

/* A piece of the buffer. */
struct piece {
	const char *at;
	size_t len;
};

const char *http_method_name(enum http_method method)
{
	return methods[method];
}

void http_init(struct http *h, char *buf, size_t size, uint64_t body_max)
{
	must(size >= HTTP_BUFFER(body_max));
	h->buf = buf;
	h->size = size;
	h->body_max = body_max;
	h->used = h->at = 0;
	h->state = HTTP_IN_LINE;
}

/* Moves what is not done with to the buffer's beginning. */
static void compact(struct http *h)
{
	if (h->at)
		memmove(h->buf, h->buf + h->at, h->used - h->at);
	h->used -= h->at;
	h->at = 0;
}

char *http_room(struct http *h, size_t *room)
{
	compact(h);
	*room = h->size - h->used;
	return h->buf + h->used;
}

void http_received(struct http *h, size_t n)
{
	must(n <= h->size - h->used);
	h->used += n;
}

/* The client's own bytes, cut short and made harmless inside of a JSON string. */
static const char *quote(struct piece piece, char out[65])
{
	size_t n = 0;

	for (; n < piece.len && n < 64; n++) {
		const unsigned char c = (unsigned char)piece.at[n];

		out[n] = c < ' ' || c > '~' || c == '"' || c == '\\' ? '?' : (char)c;
	}
	out[n] = '\0';
	return out;
}

static enum http_event broken(struct http *h, const char *why)
{
	snprintf(h->error, sizeof(h->error), "%s", why);
	h->state = HTTP_IS_BROKEN;
	return HTTP_BROKEN;
}

static enum http_event bad_header(struct http *h, const char *why, struct piece key,
				  struct piece value)
{
	char name[65], text[65];

	snprintf(h->error, sizeof(h->error), "Invalid header. Reason: %s Key:%s%s%s", why,
		 quote(key, name), value.at ? "; Value:" : "", value.at ? quote(value, text) : "");
	h->state = HTTP_IS_BROKEN;
	return HTTP_BROKEN;
}

/* Cuts at the first `separator`: what was before it; the rest stays. False where there is none. */
static bool cut(struct piece *rest, char separator, struct piece *before)
{
	const char *found = memchr(rest->at, separator, rest->len);

	if (!found)
		return false;
	*before = (struct piece){ rest->at, (size_t)(found - rest->at) };
	rest->len -= before->len + 1;
	rest->at = found + 1;
	return true;
}

static struct piece trim(struct piece p)
{
	while (p.len && isspace((unsigned char)*p.at)) {
		p.at++;
		p.len--;
	}
	while (p.len && isspace((unsigned char)p.at[p.len - 1]))
		p.len--;
	return p;
}

static bool is(struct piece p, const char *text)
{
	return p.len == strlen(text) && !memcmp(p.at, text, p.len);
}

static bool is_named(struct piece p, const char *name)
{
	return p.len == strlen(name) && !strncasecmp(p.at, name, p.len);
}

/* "/path" or "http://host/path"; what is neither has no path. */
static void take_path(struct http *h, struct piece uri)
{
	static const char scheme[] = "http://";
	const size_t skipped = sizeof(scheme) - 1;

	if (uri.len >= skipped && !memcmp(uri.at, scheme, skipped)) {
		const char *slash = memchr(uri.at + skipped, '/', uri.len - skipped);

		uri.len = slash ? uri.len - (size_t)(slash - uri.at) : 0;
		uri.at = slash ? slash : uri.at;
	} else if (*uri.at != '/') {
		uri.len = 0;
	}
	memcpy(h->path, uri.at, uri.len);
	h->path[uri.len] = '\0';
}

static enum http_event take_request_line(struct http *h, struct piece line)
{
	struct piece method, uri = { line.at, 0 };
	unsigned m = 0;

	if (!cut(&line, ' ', &method))
		return broken(h, "Invalid request.");
	while (m < HTTP_METHODS && !is(method, methods[m]))
		m++;
	if (m == HTTP_METHODS)
		return broken(h, "Invalid HTTP Method: Unsupported HTTP method.");
	if (!cut(&line, ' ', &uri))
		return broken(h, "Invalid request.");
	if (uri.len == 0)
		return broken(h, "Invalid URI: Empty URI not allowed.");
	if (!utf8_is_valid(uri.at, uri.len) || memchr(uri.at, '\0', uri.len))
		return broken(h, "Invalid URI: Cannot parse URI as UTF-8.");
	if (!is(line, "HTTP/1.1") && !is(line, "HTTP/1.0"))
		return broken(h, "Invalid HTTP Version: Unsupported HTTP version.");
	h->method = (enum http_method)m;
	take_path(h, uri);
	h->body_len = 0;
	h->has_length = h->expects = h->is_last = false;
	h->state = HTTP_IN_HEADERS;
	return HTTP_MORE;
}

/* A decimal number of at most 32 bits. Two that differ would let two readers see two requests. */
static enum http_event take_length(struct http *h, struct piece key, struct piece value)
{
	const struct piece text = trim(value);
	uint64_t length = 0;

	for (size_t i = 0; i < text.len && length <= UINT32_MAX; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return bad_header(h, "Invalid value.", key, value);
		length = length * 10 + (uint64_t)(text.at[i] - '0');
	}
	if (text.len == 0 || length > UINT32_MAX || (h->has_length && length != h->body_len))
		return bad_header(h, "Invalid value.", key, value);
	h->body_len = length;
	h->has_length = true;
	return HTTP_MORE;
}

/* One of the header's words, between commas; RFC 9112, 9.6. */
static bool is_close(struct piece words)
{
	struct piece word;
	bool is_found = false;

	while (cut(&words, ',', &word))
		is_found |= is_named(trim(word), "close");
	return is_found || is_named(trim(words), "close");
}

/* Headers that are not known, and values that are not supported, are ignored. */
static enum http_event take_header(struct http *h, struct piece line)
{
	const struct piece none = { NULL, 0 };
	struct piece key;

	if (!utf8_is_valid(line.at, line.len))
		return bad_header(h, "Header contains invalid characters.", line, none);
	if (!cut(&line, ':', &key))
		return bad_header(h, "Header is in invalid format.", line, none);
	if (is_named(trim(key), "content-length"))
		return take_length(h, key, line);
	if (is_named(trim(key), "expect") && is(trim(line), "100-continue"))
		h->expects = true;
	if (is_named(trim(key), "connection"))
		h->is_last |= is_close(line);
	return HTTP_MORE;
}

static enum http_event end_headers(struct http *h)
{
	if (h->body_len > h->body_max) {
		snprintf(h->error, sizeof(h->error),
			 "Request payload with size %llu is larger than the limit of %llu allowed "
			 "by server.",
			 (unsigned long long)h->body_len, (unsigned long long)h->body_max);
		h->state = HTTP_IS_BROKEN;
		return HTTP_BROKEN;
	}
	h->state = HTTP_IN_BODY;
	return h->expects && h->body_len ? HTTP_CONTINUE : HTTP_MORE;
}

/* One line, if it is there whole: HTTP_MORE and *done where it is done with. */
static enum http_event take_line(struct http *h, bool *done)
{
	const char *start = h->buf + h->at;
	const size_t there = h->used - h->at;
	const char *end = memmem(start, there, "\r\n", 2);
	const struct piece line = { start, end ? (size_t)(end - start) : there };

	*done = end;
	if (end ? line.len + 2 > HTTP_LINE_MAX : there >= HTTP_LINE_MAX)
		return h->state == HTTP_IN_LINE
			       ? broken(h, "Invalid request.")
			       : bad_header(h, "Header exceeds size limit.",
					    (struct piece){ start, 32 }, (struct piece){ 0 });
	if (!end)
		return HTTP_MORE;
	h->at += line.len + 2;
	if (h->state == HTTP_IN_LINE)
		return take_request_line(h, line);
	return line.len ? take_header(h, line) : end_headers(h);
}

enum http_event http_next(struct http *h, struct http_request *r)
{
	enum http_event event = HTTP_MORE;
	bool done = true;

	while (done && event == HTTP_MORE && h->state != HTTP_IN_BODY && h->state != HTTP_IS_BROKEN)
		event = take_line(h, &done);
	if (event != HTTP_MORE)
		return event;
	if (h->state == HTTP_IS_BROKEN)
		return HTTP_BROKEN;
	if (h->state != HTTP_IN_BODY || h->used - h->at < h->body_len)
		return HTTP_MORE;
	*r = (struct http_request){ h->method, h->path, h->buf + h->at, (size_t)h->body_len };
	return HTTP_REQUEST;
}

void http_done(struct http *h)
{
	must(h->state == HTTP_IN_BODY && h->used - h->at >= h->body_len);
	h->at += h->body_len;
	h->state = HTTP_IN_LINE;
}

bool http_is_empty(const struct http *h)
{
	return h->at == h->used;
}

/* No reason phrase, but the blank before it, as the wire contract has it. */
size_t http_head(char *buf, size_t size, const struct http_answer *a)
{
	const char *type = a->type ? a->type : "application/json";
	int n = snprintf(buf, size, "HTTP/1.1 %u \r\nServer: %s\r\nConnection: %s\r\n%s", a->status,
			 a->server, a->is_last || a->is_stream ? "close" : "keep-alive",
			 a->is_deprecated ? "Deprecation: true\r\n" : "");

	must(n > 0 && (size_t)n < size);
	if (a->is_stream)
		n += snprintf(buf + n, size - (size_t)n, "Content-Type: %s\r\n", type);
	else if (a->body_len)
		n += snprintf(buf + n, size - (size_t)n,
			      "Content-Type: %s\r\nContent-Length: %zu\r\n", type, a->body_len);
	n += snprintf(buf + n, size - (size_t)n, "\r\n");
	must((size_t)n < size);
	return (size_t)n;
}
