// SPDX-License-Identifier: Apache-2.0
/*
 * One table of requests: method, path, handler, when it is allowed. What mayfly does not have is in
 * it too, with the sentence that says so. Called by server.c; next: setup.c.
 */
#include "handlers.h"
#include "utf8.h"
#include "../vmm/log.h"
#include "../vmm/loop.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ID_SIZE (API_ID_MAX + 1) /* so that one that is too long shows */

#define NO_BALLOON "mayfly has no balloon device."
#define NO_MMDS	   "mayfly has no metadata service (MMDS)."
#define NO_VSOCK   "mayfly has no vsock device."
#define NO_ENTROPY "mayfly has no entropy device; guests have RDRAND."
#define NO_PMEM	   "mayfly has no pmem device."
#define NO_HOTPLUG "mayfly has no memory hotplug."
#define NO_CPU	   "mayfly has no CPU templates; a guest gets what the hypervisor offers."

static const struct route {
	enum http_method method;
	const char *path; /* {x}: any one word, the call's id */
	int (*handle)(struct call *call);
	enum when when;
	enum request_kind kind;
	const char *absent; /* instead of a handler */
} routes[] = {
	{ HTTP_GET, "/", get_instance, ANY_TIME, REQ_INSTANCE_INFO, NULL },
	{ HTTP_GET, "/version", get_version, ANY_TIME, REQ_VERSION, NULL },
	{ HTTP_GET, "/vm/config", get_config, ANY_TIME, REQ_OTHER, NULL },
	{ HTTP_GET, "/machine-config", get_machine, ANY_TIME, REQ_MACHINE_GET, NULL },
	{ HTTP_GET, "/metrics", get_metrics, ANY_TIME, REQ_OTHER, NULL },
	{ HTTP_GET, "/events", get_events, ANY_TIME, REQ_OTHER, NULL },
	{ HTTP_PUT, "/machine-config", put_machine, BEFORE_START, REQ_MACHINE, NULL },
	{ HTTP_PATCH, "/machine-config", patch_machine, BEFORE_START, REQ_MACHINE_PATCH, NULL },
	{ HTTP_PUT, "/boot-source", put_boot, BEFORE_START, REQ_BOOT_SOURCE, NULL },
	{ HTTP_PUT, "/drives/{drive_id}", put_drive, BEFORE_PCI, REQ_DRIVE, NULL },
	{ HTTP_PATCH, "/drives/{drive_id}", patch_drive, AFTER_START, REQ_DRIVE_PATCH, NULL },
	{ HTTP_PUT, "/network-interfaces/{iface_id}", put_net, BEFORE_PCI, REQ_NETWORK, NULL },
	{ HTTP_PATCH, "/network-interfaces/{iface_id}", patch_net, AFTER_START, REQ_NETWORK_PATCH,
	  NULL },
	{ HTTP_PUT, "/serial", put_serial, BEFORE_START, REQ_SERIAL, NULL },
	{ HTTP_PUT, "/logger", put_logger, BEFORE_START, REQ_LOGGER, NULL },
	{ HTTP_PUT, "/metrics", put_metrics, BEFORE_START, REQ_METRICS, NULL },
	{ HTTP_PUT, "/actions", put_action, ANY_TIME, REQ_ACTIONS, NULL },
	{ HTTP_PATCH, "/vm", patch_vm, AFTER_START, REQ_OTHER, NULL },
	{ HTTP_PUT, "/snapshot/create", put_snapshot_create, AFTER_START, REQ_OTHER, NULL },
	{ HTTP_PUT, "/snapshot/load", put_snapshot_load, BEFORE_START, REQ_OTHER, NULL },

	{ HTTP_DELETE, "/drives/{drive_id}", NULL, AFTER_START, REQ_OTHER, "PCI is not enabled" },
	{ HTTP_DELETE, "/network-interfaces/{iface_id}", NULL, AFTER_START, REQ_OTHER,
	  "PCI is not enabled" },
	{ HTTP_GET, "/balloon", NULL, ANY_TIME, REQ_OTHER, NO_BALLOON },
	{ HTTP_PUT, "/balloon", NULL, ANY_TIME, REQ_OTHER, NO_BALLOON },
	{ HTTP_PATCH, "/balloon", NULL, ANY_TIME, REQ_OTHER, NO_BALLOON },
	{ HTTP_GET, "/mmds", NULL, ANY_TIME, REQ_MMDS_GET, NO_MMDS },
	{ HTTP_PUT, "/mmds", NULL, ANY_TIME, REQ_MMDS, NO_MMDS },
	{ HTTP_PATCH, "/mmds", NULL, ANY_TIME, REQ_MMDS_PATCH, NO_MMDS },
	{ HTTP_PUT, "/vsock", NULL, ANY_TIME, REQ_VSOCK, NO_VSOCK },
	{ HTTP_PUT, "/entropy", NULL, ANY_TIME, REQ_OTHER, NO_ENTROPY },
	{ HTTP_PUT, "/pmem/{id}", NULL, ANY_TIME, REQ_PMEM, NO_PMEM },
	{ HTTP_PATCH, "/pmem/{id}", NULL, ANY_TIME, REQ_PMEM_PATCH, NO_PMEM },
	{ HTTP_GET, "/hotplug/memory", NULL, ANY_TIME, REQ_HOTPLUG_GET, NO_HOTPLUG },
	{ HTTP_PUT, "/hotplug/memory", NULL, ANY_TIME, REQ_HOTPLUG, NO_HOTPLUG },
	{ HTTP_PATCH, "/hotplug/memory", NULL, ANY_TIME, REQ_HOTPLUG_PATCH, NO_HOTPLUG },
	{ HTTP_PUT, "/cpu-config", NULL, ANY_TIME, REQ_CPU_CONFIG, NO_CPU },
	{ HTTP_PUT, "/snapshot/", NULL, ANY_TIME, REQ_OTHER, "Missing snapshot operation type." },
};
#define ROUTES (sizeof(routes) / sizeof(routes[0]))

static const char *const states[] = {
	[API_NOT_STARTED] = "Not started", [API_RUNNING] = "Running", [API_PAUSED] = "Paused"
};

const char *api_state_name(enum api_state state)
{
	return states[state];
}

void api_init(struct api *api, const struct api_names *names, const struct api_ops *ops, void *vm,
	      struct vm_config *config, const struct log_form *log)
{
	json_init();
	log_keep_failures();
	memset(api, 0, offsetof(struct api, metrics.devices_last));
	api->names = *names;
	api->ops = ops;
	api->vm = vm;
	api->config = config;
	api->log = *log;
	metrics_init(&api->metrics);
	api->machine = machine_default;
}

/* One word of a path: up to the next slash. *rest stands behind it, or is NULL after the last. */
static size_t word(const char **rest, const char **at)
{
	const char *slash = strchr(*rest, '/');

	*at = *rest;
	*rest = slash ? slash + 1 : NULL;
	return slash ? (size_t)(slash - *at) : strlen(*at);
}

/*
 * Whether a path is this route's: word by word; what follows the route's last word is ignored, and
 * a missing {id} is an empty one. `id` takes its word; of a longer one than is right, one byte
 * more.
 */
static bool is_match(const struct route *r, const char *path, char id[ID_SIZE])
{
	const char *pattern = r->path + 1, *wanted, *got = "";

	while (pattern) {
		const size_t n = word(&pattern, &wanted);
		const size_t len = path ? word(&path, &got) : 0;

		if (*wanted == '{')
			snprintf(id, ID_SIZE, "%.*s", (int)(len < ID_SIZE ? len : ID_SIZE),
				 len ? got : "");
		else if (n != len || memcmp(wanted, got, n) != 0)
			return false;
	}
	return true;
}

static const struct route *find_route(enum http_method method, const char *path, char id[ID_SIZE])
{
	while (*path == '/')
		path++;
	for (size_t i = 0; i < ROUTES; i++)
		if (routes[i].method == method && is_match(&routes[i], path, id))
			return &routes[i];
	return NULL;
}

/* Firecracker's rules for who may have a body, in its words. */
static int check_body(struct call *c, const struct http_request *r)
{
	switch (r->method) {
	case HTTP_GET:
		return r->body_len ? call_refuse(c, "GET request cannot have a body.") : 0;
	case HTTP_PUT:
		return r->body_len ? 0 : call_refuse(c, "Empty PUT request.");
	case HTTP_PATCH:
		return r->body_len ? 0 : call_refuse(c, "Empty PATCH request.");
	default:
		return r->body_len ? call_refuse(c, "Empty Delete request.") : 0;
	}
}

static int check_id_length(struct call *c)
{
	if (!*c->id)
		return call_refuse(c, "The ID cannot be empty.");
	if (strlen(c->id) >= API_ID_MAX)
		return call_refuse(c, "API Resource IDs have %u characters at most.",
				   API_ID_MAX - 1);
	return 0;
}

static int check_id(struct call *c)
{
	for (const char *at = c->id; *at; at++)
		if (!isalnum((unsigned char)*at) && *at != '_')
			return call_refuse(
				c, "API Resource IDs can only contain alphanumeric characters "
				   "and underscores.");
	return check_id_length(c);
}

/* Of a file Firecracker takes any; here, what metrics.c can write between quotes as it is. */
static int check_file_id(struct call *c)
{
	for (const char *at = c->id; *at; at++)
		if (*at <= ' ' || *at > '~' || *at == '"' || *at == '\\')
			return call_refuse(c, "IDs can only contain printable ASCII without "
					      "blanks, quotes and backslashes.");
	return check_id_length(c);
}

static int no_route(struct call *c, const struct http_request *r)
{
	const char *path = r->path, *first;
	size_t n;

	while (*path == '/')
		path++;
	n = word(&path, &first);
	return call_refuse(c, "Invalid request method and/or path: %s %.*s.",
			   http_method_name(r->method), n < 256 ? (int)n : json_cut(first, 256),
			   first);
}

/* In Firecracker's order: the request as such, its body, the state, what it asks for. */
static int serve(struct call *c, const struct route *route, const struct http_request *r)
{
	char why[JSON_WHY];

	if (check_body(c, r))
		return -EINVAL;
	if (!route)
		return no_route(c, r);
	if (strchr(route->path, '{') && check_id(c))
		return -EINVAL;
	if (r->method != HTTP_GET && call_check_end(c))
		return -EINVAL;
	if (route->absent)
		return call_check_state(c, route->when) ? -EINVAL
							: call_refuse(c, "%s", route->absent);
	if (r->body_len && json_parse(r->body, r->body_len, &c->json, why))
		return call_bad_body(c, why);
	c->body = c->json.root;
	c->when = route->when;
	return route->handle(c);
}

/* UTF-8 between quotes as Rust's {:?} would show it; control characters are the log's to show. */
static void log_quote(const char *text, size_t len, char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < len; i++) {
		if (used + 12 >= size && ((unsigned char)text[i] & 0xc0) != 0x80)
			break; /* between two characters */
		if (text[i] == '"' || text[i] == '\\')
			out[used++] = '\\';
		if (text[i])
			out[used++] = text[i];
		else
			used += (size_t)sprintf(out + used, "\\u{0}");
	}
	out[used] = '\0';
}

static void log_request(const struct http_request *r)
{
	static const char *const names[HTTP_METHODS] = { "Get", "Put", "Patch", "Delete" };
	char path[300], body[700];

	if (!log_is_on(LOG_INFO))
		return;
	log_quote(r->path, strlen(r->path), path, sizeof(path));
	if (utf8_is_valid(r->body, r->body_len))
		log_quote(r->body, r->body_len, body, sizeof(body));
	else
		strcpy(body, "inconsistent UTF-8 format");
	if (r->body_len)
		log_line(LOG_INFO,
			 "The API server received a %s request on \"%s\" with body \"%s\".",
			 names[r->method], path, body);
	else
		log_line(LOG_INFO, "The API server received a %s request on \"%s\".",
			 names[r->method], path);
}

static size_t write_fault(const char *fault, char *buf, size_t size)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "fault_message", fault);
	return json_print(object, buf, size);
}

static void write_reply(struct call *c, int err)
{
	struct api_reply *reply = c->reply;
	struct http_answer *head = &reply->head;

	head->is_deprecated = c->is_deprecated;
	if (!err && c->answer)
		head->body_len = json_print(c->answer, reply->body, reply->size);
	if (!err && c->answer && !head->body_len)
		err = call_refuse(c, "The answer is larger than mayfly can send.");
	if (err) {
		json_reset(); /* of the request nothing is needed any more */
		head->status = 400;
		head->body_len = write_fault(c->fault, reply->body, reply->size);
		log_line(LOG_ERROR, "Received Error. Status code: 400 Bad Request. Message: %s",
			 c->fault);
		return;
	}
	head->status = head->body_len || head->is_stream ? 200 : 204;
	log_line(LOG_INFO, "The request was executed successfully. Status code: %s.",
		 head->status == 200 ? "200 OK" : "204 No Content");
}

void api_request(struct api *api, const struct http_request *request, struct api_reply *reply)
{
	const uint64_t begin = loop_now_ns(CLOCK_MONOTONIC);
	char id[ID_SIZE] = "";
	const struct route *route = find_route(request->method, request->path, id);
	const enum request_kind kind = route ? route->kind : REQ_OTHER;
	struct call c = { .api = api, .id = id, .reply = reply };
	int err;

	log_request(request);
	reply->head = (struct http_answer){ .server = api->names.server };
	reply->is_events = false;
	api->counters.requests[kind].count++;
	err = serve(&c, route, request);
	if (err)
		api->counters.requests[kind].fails++;
	api->counters.deprecated += c.is_deprecated;
	write_reply(&c, err);
	json_reset();
	log_line(LOG_DEBUG, "Total previous API call duration: %llu us.",
		 (unsigned long long)(loop_now_ns(CLOCK_MONOTONIC) - begin) / 1000);
}

/* The config file: its sections, in the order in which they take effect. */

static const struct section {
	const char *name;
	int (*handle)(struct call *call);
	const char *id_field; /* of a list's elements */
	const char *absent;
	bool is_list;
	bool is_machine; /* goes with a snapshot */
} sections[] = {
	{ "logger", put_logger, NULL, NULL, false, false },
	{ "metrics", put_metrics, NULL, NULL, false, false },
	{ "machine-config", put_machine, NULL, NULL, false, true },
	{ "boot-source", put_boot, NULL, NULL, false, false },
	{ "drives", put_drive, "drive_id", NULL, true, true },
	{ "network-interfaces", put_net, "iface_id", NULL, true, true },
	{ "serial", put_serial, NULL, NULL, false, false },
	{ "balloon", NULL, NULL, NO_BALLOON, false, false },
	{ "cpu-config", NULL, NULL, NO_CPU, false, false },
	{ "vsock", NULL, NULL, NO_VSOCK, false, false },
	{ "entropy", NULL, NULL, NO_ENTROPY, false, false },
	{ "pmem", NULL, NULL, NO_PMEM, true, false },
	{ "memory-hotplug", NULL, NULL, NO_HOTPLUG, false, false },
	{ "mmds-config", NULL, NULL, NO_MMDS, false, false },
};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

static bool is_twice(const cJSON *root, const char *name)
{
	unsigned n = 0;
	const cJSON *one;

	cJSON_ArrayForEach(one, root) n += !strcmp(one->string, name);
	return n > 1;
}

/* Any but a list may be null. */
static const cJSON *section_of(const cJSON *root, const char *name)
{
	const cJSON *found = cJSON_GetObjectItemCaseSensitive(root, name);

	return found && !cJSON_IsNull(found) ? found : NULL;
}

static int take_list(struct call *c, const struct section *s, const cJSON *list)
{
	const cJSON *one;

	if (!cJSON_IsArray(list))
		return call_refuse(c, "invalid type, expected a sequence for `%s`", s->name);
	if (s->absent)
		return cJSON_GetArraySize(list) ? call_refuse(c, "%s", s->absent) : 0;
	cJSON_ArrayForEach(one, list)
	{
		const char *id =
			cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, s->id_field));

		c->body = one;
		c->id = id ? id : "";
		if ((id && check_file_id(c)) || s->handle(c))
			return -EINVAL;
	}
	return 0;
}

static int check_sections(struct call *c)
{
	const cJSON *root = c->json.root;

	if (!cJSON_IsObject(root))
		return call_refuse(c, "invalid type, expected an object");
	for (size_t i = 0; i < SECTIONS; i++)
		if (is_twice(root, sections[i].name))
			return call_refuse(c, "duplicate field `%s`", sections[i].name);
	if (!cJSON_GetObjectItemCaseSensitive(root, "drives"))
		return call_refuse(c, "missing field `drives`");
	return 0;
}

/* They are overlooked, as by Firecracker. */
static void tell_unknown(const cJSON *root)
{
	const cJSON *one;

	cJSON_ArrayForEach(one, root)
	{
		size_t i = 0;

		while (i < SECTIONS && strcmp(one->string, sections[i].name) != 0)
			i++;
		if (i == SECTIONS)
			log_line(LOG_WARN, "The config file's `%s` is not known.", one->string);
	}
}

/* Those of them that are, or are not, what the guest's hardware consists of. */
static int take_sections(struct call *c, bool is_machine_only)
{
	const cJSON *root = c->json.root;
	int err = 0;

	for (size_t i = 0; i < SECTIONS && !err; i++) {
		const struct section *s = &sections[i];

		if (is_machine_only && !s->is_machine)
			continue;
		c->body = s->is_list ? cJSON_GetObjectItemCaseSensitive(root, s->name)
				     : section_of(root, s->name);
		if (!c->body)
			continue;
		if (s->is_list)
			err = take_list(c, s, c->body);
		else
			err = s->absent ? call_refuse(c, "%s", s->absent) : s->handle(c);
	}
	return err;
}

int take_machine(struct call *c)
{
	return check_sections(c) || take_sections(c, true) ? -EINVAL : 0;
}

int api_config_file(struct api *api, const char *text, size_t len)
{
	struct call c = { .api = api, .id = "" };
	char why[JSON_WHY];
	int err = json_parse(text, len, &c.json, why);

	if (err)
		call_refuse(&c, "%s", why);
	if (!err)
		err = check_sections(&c);
	if (!err && !section_of(c.json.root, "boot-source"))
		err = call_refuse(&c, "missing field `boot-source`");
	if (!err)
		err = take_sections(&c, false);
	if (!err)
		tell_unknown(c.json.root);
	if (!err)
		err = start_microvm(&c);
	json_reset();
	if (err)
		fail(0, "Configuration for VMM from one single json failed: %s", c.fault);
	else
		log_line(LOG_INFO, "Successfully started microvm that was configured from one "
				   "single json");
	return err;
}
