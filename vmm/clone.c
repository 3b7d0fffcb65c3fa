// SPDX-License-Identifier: Apache-2.0
/*
 * `mayfly clone`: what the API does on PUT /snapshot/load, for one microVM that nobody serves, with
 * a terminal, a time limit and exit codes as `mayfly run` has them. Called by main.c.
 */
#include "clone.h"
#include "args.h"
#include "end.h"
#include "log.h"
#include "vm.h"
#include "../api/api.h"
#include "../seccomp/jail.h"

#include <string.h>
#include <unistd.h>

/* What the options say, and what comes to be of them and of the snapshot. */
static struct vm_config options, config;
static struct api api;

static void replace_limit(struct rate_limit *to, const struct rate_limit *from)
{
	if (from->bytes.size)
		to->bytes = from->bytes;
	if (from->ops.size)
		to->ops = from->ops;
}

/* The file is in its place already. What the guest was told of its cache stays true. */
static void replace_disk(struct disk_config *to, const struct disk_config *from)
{
	to->overlay = from->overlay;
	to->is_overlay_tmp = from->is_overlay_tmp;
	if (from->overlay || from->is_overlay_tmp)
		to->is_read_only = false;
	else
		to->is_read_only |= from->is_read_only;
	to->is_direct = from->is_direct;
	replace_limit(&to->limit, &from->limit);
}

static int replace_net(struct net_config *to, const struct net_config *from)
{
	to->is_spoof_refused = from->is_spoof_refused;
	replace_limit(&to->rx, &from->rx);
	replace_limit(&to->tx, &from->tx);
	if (to->is_spoof_refused && !to->has_mac)
		return fail(0, "clone: --net: the snapshot's %s has no MAC to compare with",
			    to->id);
	return 0;
}

/* All that the options name is there: api_clone() has looked for it. */
static int on_start(void *vm, const struct vm_config *with)
{
	int err = 0;

	config.serial = options.serial;
	for (unsigned i = 0; i < config.nr_disks; i++)
		for (unsigned j = 0; j < options.nr_disks; j++)
			if (!strcmp(config.disks[i].id, options.disks[j].id))
				replace_disk(&config.disks[i], &options.disks[j]);
	for (unsigned i = 0; i < config.nr_nets; i++)
		for (unsigned j = 0; j < options.nr_nets && !err; j++)
			if (!strcmp(config.nets[i].id, options.nets[j].id))
				err = replace_net(&config.nets[i], &options.nets[j]);
	return err ? err : vm_start(vm, with);
}

static const struct api_ops ops = {
	.start = on_start,
	.tap_open = vm_tap_open,
	.tap_check = vm_tap_check,
};

int clone_run(int argc, char **argv)
{
	static const struct api_names names = { .app = "mayfly" };
	static const struct log_form log = { .fd = STDERR_FILENO, .level = LOG_INFO };
	static struct jail_config jail;
	int err = args_clone(argc, argv, &options, &jail);
	struct vm *vm;

	if (err)
		return err > 0 ? -1 : EXIT_MONITOR;
	config = options;
	if (jail_open(&jail))
		return EXIT_MONITOR;
	vm = vm_open(&config);
	if (!vm)
		return EXIT_MONITOR;
	api_init(&api, &names, &ops, vm, &config, &log);
	err = api_clone(&api, argv[argc - 2], argv[argc - 1], &options);
	if (err && !jail_is_entered())
		return EXIT_MONITOR;
	return vm_wait(vm) ? vm_exit_code(vm) : EXIT_MONITOR; /* of a start that failed, too */
}
