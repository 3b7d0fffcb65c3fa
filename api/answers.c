// SPDX-License-Identifier: Apache-2.0
/* What GETs give: what was configured, as it came, and what was counted. */
#include "handlers.h"

#include <stdio.h>

int get_instance(struct call *c)
{
	const struct api *api = c->api;

	c->answer = cJSON_CreateObject();
	cJSON_AddStringToObject(c->answer, "id", api->names.id);
	cJSON_AddStringToObject(c->answer, "state", api_state_name(api->state));
	cJSON_AddStringToObject(c->answer, "vmm_version", api->names.version);
	cJSON_AddStringToObject(c->answer, "app_name", api->names.app);
	if (api->exit_reason) {
		cJSON_AddStringToObject(c->answer, "exit_reason", api->exit_reason);
		cJSON_AddNumberToObject(c->answer, "exit_code", api->exit_code);
	}
	return 0;
}

int get_version(struct call *c)
{
	c->answer = cJSON_CreateObject();
	cJSON_AddStringToObject(c->answer, "firecracker_version", c->api->names.version);
	return 0;
}

int get_machine(struct call *c)
{
	c->answer = json_write(&machine_put, &c->api->machine);
	return c->answer ? 0 : call_refuse(c, "The answer is larger than mayfly can send.");
}

static bool add(cJSON *object, const char *name, cJSON *value)
{
	return cJSON_AddItemToObjectCS(object, name, value ? value : cJSON_CreateNull());
}

/* In the guest's order: the root first. */
static cJSON *list_drives(const struct api *api)
{
	cJSON *list = cJSON_CreateArray();

	for (int pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < api->nr_drives; i++)
			if (api->drives[i].is_root_device == (pass == 0))
				cJSON_AddItemToArray(list, json_write(&drive_put, &api->drives[i]));
	return list;
}

static cJSON *list_nets(const struct api *api)
{
	cJSON *list = cJSON_CreateArray();

	for (unsigned i = 0; i < api->nr_nets; i++)
		cJSON_AddItemToArray(list, json_write(&net_put, &api->nets[i]));
	return list;
}

int get_config(struct call *c)
{
	const struct api *api = c->api;
	cJSON *all = cJSON_CreateObject();
	bool ok = add(all, "balloon", NULL) && add(all, "drives", list_drives(api));

	ok &= add(all, "boot-source", api->boot ? json_write(&boot_put, api->boot) : NULL);
	ok &= add(all, "cpu-config", NULL) && add(all, "logger", NULL);
	ok &= add(all, "machine-config", json_write(&machine_put, &api->machine));
	ok &= add(all, "metrics", NULL) && add(all, "memory-hotplug", NULL);
	ok &= add(all, "mmds-config", NULL);
	ok &= add(all, "network-interfaces", list_nets(api));
	ok &= add(all, "pmem", cJSON_CreateArray()) && add(all, "vsock", NULL);
	ok &= add(all, "entropy", NULL);
	if (api->has_serial)
		ok &= add(all, "serial", json_write(&serial_put, &api->serial));
	c->answer = all;
	return ok ? 0 : call_refuse(c, "The answer is larger than mayfly can send.");
}

int get_metrics(struct call *c)
{
	struct metrics_devices devices;

	api_count(c->api, &devices);
	c->reply->head.type = "text/plain; version=0.0.4";
	c->reply->head.body_len =
		metrics_text(&c->api->counters, &devices, c->reply->body, c->reply->size);
	return c->reply->head.body_len
		       ? 0
		       : call_refuse(c, "The answer is larger than mayfly can send.");
}

int get_events(struct call *c)
{
	c->reply->head.type = "application/x-ndjson";
	c->reply->head.is_stream = c->reply->is_events = true;
	return 0;
}

void api_state_event(const struct api *api, char line[API_EVENT_MAX])
{
	snprintf(line, API_EVENT_MAX, "{\"event\":\"state\",\"state\":\"%s\"}",
		 api_state_name(api->state));
}

void api_exit_event(const struct api *api, char line[API_EVENT_MAX])
{
	snprintf(line, API_EVENT_MAX, "{\"event\":\"exit\",\"reason\":\"%s\",\"exit_code\":%d}",
		 api->exit_reason, api->exit_code);
}
