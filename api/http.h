/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.0 and 1.1 as far as the API needs it: bytes into requests and answers into bytes. Pure: no
 * descriptor, no allocation, no state but struct http, one per connection over a buffer that its
 * owner gives. How the bytes were cut on their way makes no difference. What is no request breaks
 * the connection: where the next one would begin is no longer known, so it is to be closed.
 */
#ifndef API_HTTP_H
#define API_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_LINE_MAX 1024u  /* bytes of a request or header line, its CR LF included */
#define HTTP_BODY_MAX 51200u /* unless the operator says otherwise */

/* The buffer for bodies of up to `body_max` bytes. */
#define HTTP_BUFFER(body_max) ((size_t)(body_max) + 2 * HTTP_LINE_MAX)

enum http_method { HTTP_GET, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_METHODS };

enum http_event {
	HTTP_MORE,     /* receive more bytes */
	HTTP_CONTINUE, /* send http_continue, then go on: the client waits for it */
	HTTP_REQUEST,  /* *request is there, until http_done() */
	HTTP_BROKEN,   /* http->error says why; send it and close */
};

struct http_request {
	enum http_method method;
	const char *path; /* the URI's absolute path, NUL-terminated; "" where it has none */
	const char *body; /* not NUL-terminated */
	size_t body_len;
};

struct http {
	char *buf;
	size_t size, used, at; /* bytes: of the buffer, received, done with */
	uint64_t body_max;
	enum { HTTP_IN_LINE, HTTP_IN_HEADERS, HTTP_IN_BODY, HTTP_IS_BROKEN } state;
	enum http_method method;
	char path[HTTP_LINE_MAX];
	uint64_t body_len;
	bool has_length, expects;
	bool is_last;	 /* the request is, as it says itself: of its connection */
	char error[256]; /* a sentence; safe inside of a JSON string */
};

/* `size` is HTTP_BUFFER(body_max) or more. */
void http_init(struct http *http, char *buf, size_t size, uint64_t body_max);

/* Where received bytes go and how many fit, at least one after HTTP_MORE; then how many came. */
char *http_room(struct http *http, size_t *room);
void http_received(struct http *http, size_t n);

/* What the bytes received so far come to. */
enum http_event http_next(struct http *http, struct http_request *request);

/* The request was answered: forgets it. */
void http_done(struct http *http);

/* Whether nothing has come beyond what http_next() has dealt with. */
bool http_is_empty(const struct http *http);

const char *http_method_name(enum http_method method);

struct http_answer {
	unsigned status;    /* 200, 204, 400, ... */
	const char *server; /* "mayfly API" */
	const char *type;   /* of the body; NULL: application/json */
	size_t body_len;    /* 0: no body */
	bool is_last;	    /* the connection is closed after it */
	bool is_stream;	    /* a body without an end but the connection's */
	bool is_deprecated;
};

/* Writes the head of an answer, up to its empty line; returns its bytes, which `size` must hold. */
#define HTTP_HEAD_MAX 256u
size_t http_head(char *buf, size_t size, const struct http_answer *answer);

#endif
