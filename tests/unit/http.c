// SPDX-License-Identifier: Apache-2.0
/*
 * The HTTP parser by the wire contract's transport rules. Every case is told with the bytes whole,
 * cut at each place, and byte by byte: it must come to the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../api/http.h"
#include "../fuzz/http.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LIMIT	 40

static void check(const char *bytes, size_t size, const char *wanted)
{
	char *whole = http_transcript(bytes, size, LIMIT, size, size), *cut;

	assert_string_equal(whole, wanted);
	free(whole);
	for (size_t i = 1; i < size; i++) {
		cut = http_transcript(bytes, size, LIMIT, i, size);
		if (strcmp(cut, wanted))
			fail_msg("cut after %zu bytes: %s", i, cut);
		free(cut);
	}
	cut = http_transcript(bytes, size, LIMIT, 1, 1);
	assert_string_equal(cut, wanted);
	free(cut);
}

static void comes_to(const char *bytes, const char *wanted)
{
	check(bytes, strlen(bytes), wanted);
}

static void requests(void **state)
{
	(void)state;
	comes_to("GET / HTTP/1.1\r\n\r\n", "GET / []\n");
	comes_to("GET / HTTP/1.0\r\nHost: x\r\n\r\n", "GET / []\n");
	comes_to("PUT /a/b HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "PUT /a/b [{}]\n");
	comes_to("PATCH /vm HTTP/1.1\r\ncontent-length:3\r\n\r\nabc", "PATCH /vm [abc]\n");
	comes_to("DELETE /d HTTP/1.1\r\n\r\n", "DELETE /d []\n");
	comes_to("PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "PUT / []\n");
	comes_to("", "");
	comes_to("GET / HTTP/1.1\r\n", "");
	comes_to("PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabc", "");
}

static void paths(void **state)
{
	(void)state;
	comes_to("GET http://localhost/version HTTP/1.1\r\n\r\n", "GET /version []\n");
	comes_to("GET http://localhost HTTP/1.1\r\n\r\n", "GET  []\n");
	comes_to("GET http:///x HTTP/1.1\r\n\r\n", "GET /x []\n");
	comes_to("GET version HTTP/1.1\r\n\r\n", "GET  []\n");
	comes_to("GET //x/ HTTP/1.1\r\n\r\n", "GET //x/ []\n");
	comes_to("GET /\xc3\xa9 HTTP/1.1\r\n\r\n", "GET /\xc3\xa9 []\n");
}

static void pipelines(void **state)
{
	(void)state;
	comes_to("GET /a HTTP/1.1\r\n\r\nPUT /b HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
		 "GET /c HTTP/1.1\r\n\r\n",
		 "GET /a []\nPUT /b [{}]\nGET /c []\n");
	comes_to("PUT /b HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}garbage\r\n",
		 "PUT /b [{}]\nbroken: Invalid request.\n");
}

static void request_lines(void **state)
{
	static const struct {
		const char *line, *why;
	} bad[] = {
		{ "POST / HTTP/1.1", "Invalid HTTP Method: Unsupported HTTP method." },
		{ "get / HTTP/1.1", "Invalid HTTP Method: Unsupported HTTP method." },
		{ " GET / HTTP/1.1", "Invalid HTTP Method: Unsupported HTTP method." },
		{ "GET", "Invalid request." },
		{ "", "Invalid request." },
		{ "GET /", "Invalid request." },
		{ "GET  HTTP/1.1", "Invalid URI: Empty URI not allowed." },
		{ "GET / HTTP/2.0", "Invalid HTTP Version: Unsupported HTTP version." },
		{ "GET / http/1.1", "Invalid HTTP Version: Unsupported HTTP version." },
		{ "GET /  HTTP/1.1", "Invalid HTTP Version: Unsupported HTTP version." },
		{ "GET / HTTP/1.1 ", "Invalid HTTP Version: Unsupported HTTP version." },
		{ "GET /\xff HTTP/1.1", "Invalid URI: Cannot parse URI as UTF-8." },
	};
	char bytes[128], wanted[128];

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		snprintf(bytes, sizeof(bytes), "%s\r\n\r\n", bad[i].line);
		snprintf(wanted, sizeof(wanted), "broken: %s\n", bad[i].why);
		comes_to(bytes, wanted);
	}
	check("GET /\0x HTTP/1.1\r\n\r\n", 20, "broken: Invalid URI: Cannot parse URI as UTF-8.\n");
}

static void lengths(void **state)
{
	static const char *const bad[] = { "",	  " ",		"x",
					   "-1",  "+1",		"1 2",
					   "0x2", "4294967296", "99999999999999999999999",
					   "2, 2" };
	char bytes[128], wanted[256];

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		snprintf(bytes, sizeof(bytes), "PUT / HTTP/1.1\r\nContent-Length:%s\r\n\r\n",
			 bad[i]);
		snprintf(
			wanted, sizeof(wanted),
			"broken: Invalid header. Reason: Invalid value. Key:Content-Length; Value:%s\n",
			bad[i]);
		comes_to(bytes, wanted);
	}
	comes_to("PUT / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
		 "PUT / [{}]\n");
	comes_to("PUT / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		 "broken: Invalid header. Reason: Invalid value. Key:Content-Length; Value: 3\n");
}

static void limits(void **state)
{
	char bytes[256], wanted[256], body[LIMIT + 1];

	(void)state;
	memset(body, 'b', LIMIT);
	body[LIMIT] = '\0';
	snprintf(bytes, sizeof(bytes), "PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s", LIMIT,
		 body);
	snprintf(wanted, sizeof(wanted), "PUT / [%s]\n", body);
	comes_to(bytes, wanted);
	comes_to("PUT / HTTP/1.1\r\nContent-Length: 41\r\n\r\n",
		 "broken: Request payload with size 41 is larger than the limit of 40 allowed by "
		 "server.\n");
	comes_to(
		"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4294967295\r\n\r\n",
		"broken: Request payload with size 4294967295 is larger than the limit of 40 allowed "
		"by server.\n");
}

static void expectations(void **state)
{
	(void)state;
	comes_to("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
		 "continue\nPUT / [{}]\n");
	comes_to("PUT / HTTP/1.1\r\nContent-Length: 2\r\nexpect:100-continue\r\n\r\n",
		 "continue\n");
	comes_to("GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", "GET / []\n");
	comes_to("PUT / HTTP/1.1\r\nExpect: 103-checkpoint\r\nContent-Length: 2\r\n\r\n{}",
		 "PUT / [{}]\n");
	comes_to("PUT / HTTP/1.1\r\nX: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
		 "PUT / [{}]\n");
	comes_to("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
		 "PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\ny",
		 "continue\nPUT / [x]\nPUT / [y]\n");
}

static void headers(void **state)
{
	(void)state;
	comes_to("GET / HTTP/1.1\r\nX-Any: thing\r\nAccept: image/png\r\nContent-Type: x/y\r\n"
		 "Transfer-Encoding: gzip\r\nEmpty:\r\n\r\n",
		 "GET / []\n");
	/* As long as Content-Length, and its beginning. */
	comes_to("GET / HTTP/1.1\r\nAccept-Charset: utf-8\r\nContent: 7\r\n: 7\r\n\r\n",
		 "GET / []\n");
	comes_to(
		"GET / HTTP/1.1\r\nno colon \"here\"\r\n\r\n",
		"broken: Invalid header. Reason: Header is in invalid format. Key:no colon ?here?\n");
	comes_to("GET / HTTP/1.1\r\na\tb\nc\x1f\x7f\\~ \r\n\r\n",
		 "broken: Invalid header. Reason: Header is in invalid format. Key:a?b?c???~ \n");
	comes_to("GET / HTTP/1.1\r\nX: \xff\r\n\r\n",
		 "broken: Invalid header. Reason: Header contains invalid characters. Key:X: ?\n");
}

/* A line of HTTP_LINE_MAX bytes with its end is taken, one more byte is not; wherever it is cut. */
static void long_lines(void **state)
{
	char bytes[3 * HTTP_LINE_MAX], path[2 * HTTP_LINE_MAX], wanted[2 * HTTP_LINE_MAX];
	const int room = HTTP_LINE_MAX - 2 - (int)sizeof("GET  HTTP/1.1") + 1;

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	path[0] = '/';
	snprintf(bytes, sizeof(bytes), "GET %.*s HTTP/1.1\r\n\r\n", room, path);
	snprintf(wanted, sizeof(wanted), "GET %.*s []\n", room, path);
	comes_to(bytes, wanted);
	snprintf(bytes, sizeof(bytes), "GET %.*s HTTP/1.1\r\n\r\n", room + 1, path);
	comes_to(bytes, "broken: Invalid request.\n");
	snprintf(bytes, sizeof(bytes), "GET / HTTP/1.1\r\nA:%.*s\r\n\r\n", HTTP_LINE_MAX - 4, path);
	comes_to(bytes, "GET / []\n");
	snprintf(bytes, sizeof(bytes), "GET / HTTP/1.1\r\nA:%.*s\r\n\r\n", HTTP_LINE_MAX - 3, path);
	snprintf(wanted, sizeof(wanted),
		 "broken: Invalid header. Reason: Header exceeds size limit. Key:A:%.*s\n", 30,
		 path);
	comes_to(bytes, wanted);
}

/* More headers than the buffer holds: they are not kept. */
static void many_headers(void **state)
{
	char *bytes = NULL, *got;
	size_t size;
	FILE *out = open_memstream(&bytes, &size);

	(void)state;
	fprintf(out, "PUT /x HTTP/1.1\r\n");
	for (int i = 0; i < 2000; i++)
		fprintf(out, "X-%d: y\r\n", i);
	fprintf(out, "Content-Length: 2\r\n\r\n{}");
	fclose(out);
	for (size_t piece = 1; piece < 5000; piece = piece * 3 + 1) {
		got = http_transcript(bytes, size, LIMIT, piece, piece);
		assert_string_equal(got, "PUT /x [{}]\n");
		free(got);
	}
	free(bytes);
}

static void random_bytes(void **state)
{
	uint8_t data[300];

	(void)state;
	srand(1);
	for (int round = 0; round < 3000; round++) {
		static const char *const words[] = { "GET ",
						     "PUT ",
						     "/a",
						     " HTTP/1.1",
						     "\r\n",
						     "\r\n\r\n",
						     "Content-Length: 3",
						     "abc",
						     "Expect: 100-continue",
						     ":",
						     "\r" };
		size_t n = 1;

		data[0] = (uint8_t)rand();
		while (n + 24 < sizeof(data) && rand() % 24) {
			const char *word = words[(size_t)rand() % COUNT(words)];

			memcpy(data + n, word, strlen(word));
			n += strlen(word);
		}
		LLVMFuzzerTestOneInput(data, n);
	}
}

static void heads(void **state)
{
	static const struct {
		struct http_answer answer;
		const char *wanted;
	} rows[] = {
		{ { .status = 204, .server = "mayfly API" },
		  "HTTP/1.1 204 \r\nServer: mayfly API\r\nConnection: keep-alive\r\n\r\n" },
		{ { .status = 200, .server = "Firecracker API", .body_len = 17 },
		  "HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
		  "Content-Type: application/json\r\nContent-Length: 17\r\n\r\n" },
		{ { .status = 204, .server = "s", .is_deprecated = true },
		  "HTTP/1.1 204 \r\nServer: s\r\nConnection: keep-alive\r\nDeprecation: true\r\n\r\n" },
		{ { .status = 400, .server = "s", .body_len = 1, .is_last = true },
		  "HTTP/1.1 400 \r\nServer: s\r\nConnection: close\r\n"
		  "Content-Type: application/json\r\nContent-Length: 1\r\n\r\n" },
		{ { .status = 200, .server = "s", .type = "text/x", .is_stream = true },
		  "HTTP/1.1 200 \r\nServer: s\r\nConnection: close\r\nContent-Type: text/x\r\n\r\n" },
	};
	char buf[HTTP_HEAD_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(http_head(buf, sizeof(buf), &rows[i].answer),
				 strlen(rows[i].wanted));
		assert_string_equal(buf, rows[i].wanted);
	}
}

static const struct CMUnitTest tests[] = {
	{ .name = "requests with and without a body", .test_func = requests },
	{ .name = "a URI is a path or has a host before it", .test_func = paths },
	{ .name = "several requests come in one go", .test_func = pipelines },
	{ .name = "what is no request line breaks the connection", .test_func = request_lines },
	{ .name = "what is no Content-Length breaks it too", .test_func = lengths },
	{ .name = "a body over the limit is refused before it comes", .test_func = limits },
	{ .name = "who expects 100-continue gets it before the body", .test_func = expectations },
	{ .name = "headers that are not known are ignored", .test_func = headers },
	{ .name = "a line has 1024 bytes at most", .test_func = long_lines },
	{ .name = "any number of headers fits", .test_func = many_headers },
	{ .name = "random pieces of requests, cut at random", .test_func = random_bytes },
	{ .name = "heads of answers, byte for byte", .test_func = heads },
};

int main(void)
{
	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
