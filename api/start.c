// SPDX-License-Identifier: Apache-2.0
/* From what was given to a struct vm_config and a running microVM; actions, pause and resume. */
#include "handlers.h"
#include "../vmm/log.h"
#include "../vmm/loop.h"

#include <errno.h>

/* The hardware, and where its serial port goes. */
static void fill_machine(struct call *c)
{
	const struct api *api = c->api;
	struct vm_config *config = api->config;

	config->mem_size = api->machine.mem_size_mib << 20;
	config->cpus = (unsigned)api->machine.vcpu_count;
	config->huge_pages = api->machine.huge_pages == HUGE_TRANSPARENT;
	config->serial = (struct serial_config){ .kind = SERIAL_STDIO, .is_tty_only = true };
	if (api->has_serial && *api->serial.serial_out_path)
		config->serial = (struct serial_config){ .kind = SERIAL_FILE,
							 .path = api->serial.serial_out_path,
							 .fd = api->serial.out_fd };
	if (api->has_serial)
		config->serial.limit = devices_bucket(&api->serial.rate_limiter);
	devices_fill(config, api);
}

static int fill_config(struct call *c)
{
	const struct api *api = c->api;
	struct vm_config *config = api->config;
	char root[CONFIG_ROOT_SIZE];
	size_t len;

	config->restore = (struct restore_config){ 0 };
	config->kernel = api->boot->kernel_image_path;
	config->kernel_fd = api->boot->kernel_fd;
	config->initrd = *api->boot->initrd_path ? api->boot->initrd_path : NULL;
	config->initrd_fd = api->boot->initrd_fd;
	fill_machine(c);
	config_root(config, root);
	len = setup_cmdline(config, api->boot, root);
	if (len >= CMDLINE_SIZE)
		return call_refuse(
			c,
			"Start microvm error: The kernel command line is invalid: %zu bytes; "
			"at most %u go in.",
			len, CMDLINE_SIZE - 1);
	return 0;
}

void api_ended(struct api *api, const char *reason, int code)
{
	api->exit_reason = reason;
	api->exit_code = code;
	if (api->changed)
		api->changed(api);
}

static void change_state(struct api *api, enum api_state state)
{
	if (api->state == state)
		return;
	api->state = state;
	if (api->changed)
		api->changed(api);
}

int start_microvm(struct call *c)
{
	struct api *api = c->api;

	if (!api->boot)
		return call_refuse(c, "Start microvm error: Cannot start microvm without kernel "
				      "configuration.");
	if (fill_config(c))
		return -EINVAL;
	log_line(LOG_DEBUG, "event_start: build microvm for boot");
	log_line(LOG_DEBUG, "event_start: boot microvm");
	if (api->ops->start(api->vm, api->config))
		return call_refuse(c, "Start microvm error: %s", log_last_failure());
	log_line(LOG_DEBUG, "event_end: build microvm for boot");
	log_line(LOG_DEBUG, "event_end: boot microvm");
	api_let_go(api); /* the microVM has opened them all */
	change_state(api, API_RUNNING);
	api_flush_metrics(api);
	return 0;
}

int restore_microvm(struct call *c, const struct restore_config *from)
{
	struct api *api = c->api;

	fill_machine(c);
	api->config->restore = *from;
	if (api->ops->start(api->vm, api->config))
		return call_refuse(c, "Load snapshot error: %s", log_last_failure());
	api_let_go(api);
	change_state(api, from->is_paused ? API_PAUSED : API_RUNNING);
	api_flush_metrics(api);
	return 0;
}

int put_action(struct call *c)
{
	struct action_body action = { 0 };
	int err = call_read(c, &action_put, &action);

	if (err)
		return err;
	err = call_check_state(c, action.action_type == ACTION_START ? BEFORE_START : AFTER_START);
	if (err)
		return err;
	if (action.action_type == ACTION_START)
		return start_microvm(c);
	if (action.action_type == ACTION_CTRL_ALT_DEL)
		return call_refuse(c,
				   "Internal VMM error: mayfly has no keyboard: end the guest from "
				   "within, or the process by a signal.");
	return api_flush_metrics(c->api)
		       ? call_refuse(c, "Internal VMM error: the metrics could not be written.")
		       : 0;
}

int patch_vm(struct call *c)
{
	struct api *api = c->api;
	struct vm_body body = { 0 };
	int err = call_read(c, &vm_patch, &body);
	const uint64_t begin = loop_now_ns(CLOCK_MONOTONIC);

	if (err)
		return err;
	if (body.state == VM_PAUSED && api->state == API_RUNNING) {
		api->ops->pause(api->vm);
		if (call_check_end(c)) /* it ended meanwhile */
			return -EINVAL;
		api->counters.pause_us = (loop_now_ns(CLOCK_MONOTONIC) - begin) / 1000;
		change_state(api, API_PAUSED);
	} else if (body.state == VM_RESUMED && api->state == API_PAUSED) {
		api->ops->resume(api->vm);
		api->counters.resume_us = (loop_now_ns(CLOCK_MONOTONIC) - begin) / 1000;
		change_state(api, API_RUNNING);
	}
	return 0;
}
