// SPDX-License-Identifier: Apache-2.0
/*
 * The options of the jail, with the meaning that Firecracker's jailer gives them: one table for
 * `mayfly run`, `mayfly serve` and the name of `jailer`. What they do: seccomp/jail.c.
 */
#include "args.h"
#include "log.h"

#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int take_off(struct jail_config *c, const char *value)
{
	(void)value;
	c->is_off = true;
	return 0;
}

int args_id(const char *value, const char **id)
{
	const size_t len = strlen(value);

	*id = value;
	if (len < 1 || len > 64 ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != len)
		return fail(0, "--id %s: give 1 to 64 letters, digits and hyphens", value);
	return 0;
}

static int take_id(struct jail_config *c, const char *value)
{
	return args_id(value, &c->id);
}

static int take_uid(struct jail_config *c, const char *value)
{
	uint64_t n;
	int err = args_take_number("uid", value, UINT32_MAX - 1, &n);

	c->has_uid = true;
	c->uid = err ? 0 : (uid_t)n;
	return err;
}

static int take_gid(struct jail_config *c, const char *value)
{
	uint64_t n;
	int err = args_take_number("gid", value, UINT32_MAX - 1, &n);

	c->has_gid = true;
	c->gid = err ? 0 : (gid_t)n;
	return err;
}

static int take_base(struct jail_config *c, const char *value)
{
	c->chroot_base = value;
	return *value == '/' ? 0 : fail(0, "--chroot-base-dir %s: give an absolute path", value);
}

static int take_netns(struct jail_config *c, const char *value)
{
	c->netns = value;
	return 0;
}

static int take_pid_ns(struct jail_config *c, const char *value)
{
	(void)value;
	c->has_new_pid_ns = true;
	return 0;
}

static int take_daemonize(struct jail_config *c, const char *value)
{
	(void)value;
	c->is_daemon = true;
	return 0;
}

static bool is_plain(const char *path)
{
	return *path && *path != '/' && *path != '.' && !strstr(path, "..");
}

static int take_cgroup(struct jail_config *c, const char *value)
{
	const char *equals = strchr(value, '=');
	const char *slash = strchr(value, '/');

	if (!equals || equals - value > 60 || !strchr(value, '.') || strchr(value, '.') > equals ||
	    (slash && slash < equals) || !equals[1])
		return fail(0, "--cgroup %s: give FILE=VALUE, such as memory.max=256M", value);
	if (c->nr_cgroup == JAIL_CGROUP_MAX)
		return fail(0, "--cgroup: at most %u of them", JAIL_CGROUP_MAX);
	c->cgroup[c->nr_cgroup++] = value;
	return 0;
}

static int take_parent(struct jail_config *c, const char *value)
{
	c->parent_cgroup = value;
	return is_plain(value) ? 0
			       : fail(0,
				      "--parent-cgroup %s: give a path below the cgroup file "
				      "system, without .. and a leading /",
				      value);
}

static int take_limit(struct jail_config *c, const char *value)
{
	const bool is_fsize = !strncmp(value, "fsize=", 6);
	uint64_t n = 0;

	if ((!is_fsize && strncmp(value, "no-file=", 8)) || args_size(strchr(value, '=') + 1, &n) ||
	    n == 0)
		return fail(0, "--resource-limit %s: give fsize=BYTES or no-file=N", value);
	if (is_fsize)
		c->fsize = n;
	else
		c->no_file = n;
	return 0;
}

static const struct {
	const char *name, *value, *help;
	int (*take)(struct jail_config *config, const char *value);
} rows[] = {
	{ "id", "ID", "the microVM's name in the paths below", take_id },
	{ "uid", "N", "become user N (with --gid); files are opened with its rights", take_uid },
	{ "gid", "N", "become group N", take_gid },
	{ "chroot-base-dir", "FOLDER", "the root is FOLDER/mayfly/ID/root, also for the options",
	  take_base },
	{ "netns", "FILE", "join this network namespace instead of an empty one", take_netns },
	{ "new-pid-ns", NULL, "a PID namespace of its own", take_pid_ns },
	{ "cgroup", "FILE=VALUE", "a limit of its cgroup (v2), such as memory.max=256M",
	  take_cgroup },
	{ "parent-cgroup", "PATH", "where that cgroup is made (default mayfly)", take_parent },
	{ "resource-limit", "WHAT=N", "fsize=BYTES of a file, no-file=N descriptors (2048)",
	  take_limit },
	{ "daemonize", NULL, "go into the background once the guest runs, without output",
	  take_daemonize },
	{ "no-jail", NULL, "for debugging: give nothing up", take_off },
};

_Static_assert(sizeof(rows) / sizeof(rows[0]) == ARGS_JAIL, "as many as are promised");

/*
 * `run` has them all; the microVM's name is in the table of `serve` too, which comes first there.
 */
void args_jail_help(unsigned width, bool has_id)
{
	for (size_t i = has_id ? 1 : 0; i < ARGS_JAIL; i++)
		args_help_row(width, rows[i].name, rows[i].value, rows[i].help);
}

void args_jail_rows(struct args_row *to)
{
	for (size_t i = 0; i < ARGS_JAIL; i++)
		to[i] = (struct args_row){ rows[i].name, rows[i].value };
}

static bool is_named(const struct jail_config *config, int fd)
{
	for (unsigned i = 0; i < config->nr_named; i++)
		if (config->named[i] == fd)
			return true;
	return false;
}

/*
 * The standard ones are not given up, and a command for the guest may speak of any. One that the
 * caller has not open will be one of our own.
 */
void args_jail_named(struct jail_config *config, int argc, char **argv)
{
	const char *name;

	for (int i = 1; i < argc; i++)
		for (name = strstr(argv[i], "/fd/"); name; name = strstr(name + 1, "/fd/")) {
			const long fd = strtol(name + 4, NULL, 10);

			if (fd > STDERR_FILENO && fd < INT_MAX && fcntl((int)fd, F_GETFD) >= 0 &&
			    !is_named(config, (int)fd) && config->nr_named < JAIL_KEEP_MAX)
				config->named[config->nr_named++] = (int)fd;
		}
}

int args_jail_take(struct jail_config *config, unsigned index, const char *value)
{
	return rows[index].take(config, value);
}

int args_jail_finish(struct jail_config *config)
{
	static char number[16];

	if (config->is_off &&
	    (config->has_uid || config->has_gid || config->chroot_base || config->netns ||
	     config->nr_cgroup || config->parent_cgroup || config->has_new_pid_ns ||
	     config->is_daemon || config->no_file || config->fsize))
		return fail(0, "--no-jail goes with none of the jail's other options");
	if (config->has_uid != config->has_gid)
		return fail(0, "give --uid and --gid, or neither");
	if (!config->id) {
		snprintf(number, sizeof(number), "%d", (int)getpid());
		config->id = number;
	}
	return 0;
}
