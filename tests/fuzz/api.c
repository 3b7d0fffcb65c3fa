// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer over the API behind HTTP: lines "METHOD path body" are requests to one instance, the
 * last of which is asked what it was told. Whatever came, answers are whole JSON or none, a request
 * that is refused changes nothing, and what GET /vm/config says can be given back as a config file.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../api/api.h"
#include "../../api/utf8.h"
#include "../../vmm/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define promise(x) ((x) ? (void)0 : broken(#x, __LINE__))

static _Noreturn void broken(const char *what, int line)
{
	fprintf(stderr, "tests/fuzz/api.c:%d: broken: %s\n", line, what);
	abort();
}

/* Time passes as it is asked for. */
uint64_t loop_now_ns(clockid_t clock)
{
	static uint64_t ns;

	(void)clock;
	return ns += 1000;
}

static int fake_start(void *vm, const struct vm_config *config)
{
	(void)vm;
	promise(config_mem_is_ok(config->mem_size) && config_cpus_is_ok(config->cpus));
	promise(config->kernel && strlen(config->cmdline) < CMDLINE_SIZE);
	promise(config->nr_disks + config->nr_nets <= DEVICES_MAX);
	for (unsigned i = 1; i < config->nr_disks; i++)
		promise(!config->disks[i].is_root);
	return 0;
}

static int fake_tap_open(const char *name)
{
	return strchr(name, 'x') ? -ENODEV : open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int fake_tap_check(int fd)
{
	(void)fd;
	return 0;
}

static void fake_switch(void *vm)
{
	(void)vm;
}

static void fake_count(void *vm, struct counters *counters)
{
	(void)vm;
	counters->exits[EXIT_IO_OUT]++;
}

static const struct api_ops ops = { .start = fake_start,
				    .tap_open = fake_tap_open,
				    .tap_check = fake_tap_check,
				    .pause = fake_switch,
				    .resume = fake_switch,
				    .count = fake_count };
static const struct api_names names = { "mayfly", "mayfly API", "0", "fuzz" };
static char body[API_BODY_MAX], before[API_BODY_MAX];
static struct vm_config config;
static struct api api;

static unsigned ask(enum http_method method, const char *path, const char *text, size_t len)
{
	const struct http_request request = { method, path, text, len };
	struct api_reply reply = { .body = body, .size = sizeof(body) - 1 };

	api_request(&api, &request, &reply);
	promise(reply.head.status == 200 || reply.head.status == 204 || reply.head.status == 400);
	promise(reply.head.status == 204 || reply.head.body_len || reply.head.is_stream);
	promise(utf8_is_valid(body, reply.head.body_len));
	body[reply.head.body_len] = '\0';
	return reply.head.status;
}

static void whole_json(void)
{
	char why[JSON_WHY];
	struct json_text json;

	promise(json_parse(body, strlen(body), &json, why) == 0);
	json_reset();
}

/*
 * No file of the fuzzer's choice is opened for writing, which for the serial port would empty it:
 * of PUTs that would, only the body, and no name in it that is hidden by an escape.
 */
static int is_harmless(const char *path, const char *text, size_t len)
{
	const int is_named = memmem(text, len, "path", 4) || memchr(text, '\\', len);

	return !strstr(path, "metrics") && !strstr(path, "logger") &&
	       !(is_named && (strstr(path, "drives") || strstr(path, "serial")));
}

static void one_request(const char *line, size_t len)
{
	const enum http_method method = (enum http_method)((unsigned char)line[0] % HTTP_METHODS);
	const char *blank = memchr(line, ' ', len);
	char path[256];
	unsigned status;

	if (!blank || (size_t)(blank - line) >= sizeof(path))
		return;
	snprintf(path, sizeof(path), "%.*s", (int)(blank - line - 1), line + 1);
	len -= (size_t)(blank + 1 - line);
	if (!utf8_is_valid(path, strlen(path))) /* http.c lets none of these pass */
		return;
	if (!is_harmless(path, blank + 1, len))
		return;
	ask(HTTP_GET, "/vm/config", NULL, 0);
	strcpy(before, body);
	status = ask(method, path, blank + 1, len);
	if (status == 400)
		whole_json();
	promise(ask(HTTP_GET, "/vm/config", NULL, 0) == 200);
	whole_json();
	promise(status != 400 || !strcmp(before, body));
}

/* What was configured, given to a new instance as its file, is what that one then says. */
static void comes_back(void)
{
	const struct log_form quiet = { .fd = STDERR_FILENO };
	const bool is_file = api.boot != NULL;
	const unsigned drives = api.nr_drives;

	ask(HTTP_GET, "/vm/config", NULL, 0);
	strcpy(before, body);
	api_let_go(&api);
	api_init(&api, &names, &ops, NULL, &config, &quiet);
	if (!is_file || drives)
		return;
	promise(api_config_file(&api, before, strlen(before)) == 0);
	ask(HTTP_GET, "/vm/config", NULL, 0);
	promise(!strcmp(before, body));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct log_form quiet = { .fd = STDERR_FILENO };
	const char *at = (const char *)data;

	log_to(&quiet);
	config = (struct vm_config){ .cpus = 1 };
	api_init(&api, &names, &ops, NULL, &config, &quiet);
	while (size) {
		const char *end = memchr(at, '\n', size);
		const size_t len = end ? (size_t)(end - at) : size;

		if (len > 1)
			one_request(at, len);
		at += end ? len + 1 : len;
		size -= end ? len + 1 : len;
	}
	comes_back();
	api_let_go(&api);
	return 0;
}
