// SPDX-License-Identifier: Apache-2.0
/*
 * One table of options: name, value, help, and the function that takes the value. The help text,
 * the parser and (by a test) the man page come from it.
 */
#include "args.h"
#include "../seccomp/filters.h"
#include "job.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* With a job the console is the job's: of the kernel's messages only a panic's come through. */
#define CMDLINE_JOB "loglevel=1 " JOB_CMDLINE

#define MEM_DEFAULT (128ul << 20)

/* The environment of a job; --env adds to it. TERM is the operator's. */
#define ENV_MAX 64u
static const char *env[ENV_MAX];

static const char *extra_cmdline;

/* A decimal number and what follows it. */
static int number(const char *text, uint64_t *value, const char **rest)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, 10);
	*rest = end;
	return errno ? -EINVAL : 0;
}

int args_number(const char *text, uint64_t most, uint64_t *value)
{
	const char *rest;

	return number(text, value, &rest) || *rest || *value > most ? -EINVAL : 0;
}

int args_take_number(const char *option, const char *value, uint64_t most, uint64_t *to)
{
	return args_number(value, most, to) ? fail(0, "--%s %s: give a number", option, value) : 0;
}

int args_size(const char *text, uint64_t *bytes)
{
	static const struct {
		const char *suffix;
		unsigned shift;
	} units[] = { { "", 0 }, { "K", 10 }, { "M", 20 }, { "G", 30 }, { "T", 40 } };
	const char *rest;

	if (number(text, bytes, &rest))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(rest, units[i].suffix))
			continue;
		if (*bytes > UINT64_MAX >> units[i].shift)
			return -EINVAL;
		*bytes <<= units[i].shift;
		return 0;
	}
	return -EINVAL;
}

int args_duration(const char *text, uint64_t *ms)
{
	static const struct {
		const char *suffix;
		uint64_t ms;
	} units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };
	const uint64_t longest = 365ull * 24 * 3600000;
	const char *rest;

	if (number(text, ms, &rest))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(rest, units[i].suffix))
			continue;
		if (*ms > longest / units[i].ms)
			return -EINVAL;
		*ms *= units[i].ms;
		return 0;
	}
	return -EINVAL;
}

void args_help_row(unsigned width, const char *name, const char *value, const char *help)
{
	char left[48];

	snprintf(left, sizeof(left), "--%s %s", name, value ? value : "");
	printf("  %-*s  %s\n", (int)width, left, help);
}

/* The row of "--name" or "--name=value", `len` bytes of which are its name's. */
static int find(const struct args_row *rows, const char *word, size_t len)
{
	for (int i = 0; rows[i].name; i++)
		if (strlen(rows[i].name) + 2 == len && !strncmp(word, "--", 2) &&
		    !strncmp(word + 2, rows[i].name, len - 2))
			return i;
	return -1;
}

int args_next(struct args_reader *r, const char **value)
{
	const char *word = r->next < r->argc ? r->argv[r->next] : "";
	const int len = (int)strcspn(word, "=");
	const int row = find(r->rows, word, (size_t)len);

	if (word[0] != '-' || !word[1])
		return ARGS_END;
	r->next++;
	r->is_over = !strcmp(word, "--");
	if (r->is_over)
		return ARGS_END;
	if (row < 0)
		return fail(0, "%s: %s is not an option (%s)", r->command, word, r->hint);
	*value = word[len] ? word + len + 1 : NULL;
	if (!r->rows[row].value)
		return *value ? fail(0, "%s: %.*s takes no value", r->command, len, word) : row;
	if (!*value && r->next < r->argc)
		*value = r->argv[r->next++];
	if (!*value || (!**value && strcmp(r->rows[row].value, "TEXT")))
		return fail(0, "%s: %.*s needs a value", r->command, len, word);
	return row;
}

static int take_kernel(struct vm_config *c, const char *value)
{
	c->kernel = value;
	return 0;
}

static int take_initrd(struct vm_config *c, const char *value)
{
	c->initrd = value;
	return 0;
}

static int take_mem(struct vm_config *c, const char *value)
{
	if (args_size(value, &c->mem_size) || !config_mem_is_ok(c->mem_size))
		return fail(0,
			    "--mem %s: give 16M to 1T, in whole pages of 4K (without K, M, G or T "
			    "it is bytes)",
			    value);
	return 0;
}

static int take_cpus(struct vm_config *c, const char *value)
{
	uint64_t n;

	if (args_number(value, MAX_VCPUS, &n) || !config_cpus_is_ok(n))
		return fail(0, "--cpus %s: give 1 to %u", value, MAX_VCPUS);
	c->cpus = (unsigned)n;
	return 0;
}

static int take_cmdline(struct vm_config *c, const char *value)
{
	(void)c;
	extra_cmdline = value;
	return 0;
}

static int take_env(struct vm_config *c, const char *value)
{
	const char *equals = strchr(value, '=');

	if (!equals || equals == value)
		return fail(0, "--env %s: give NAME=VALUE", value);
	for (unsigned i = 0; i < c->job.nr_env; i++)
		if (strncmp(env[i], value, (size_t)(equals - value) + 1) == 0) {
			env[i] = value;
			return 0;
		}
	if (c->job.nr_env == ENV_MAX - 1) /* the last one is TERM's */
		return fail(0, "--env: at most %u variables", ENV_MAX - 1);
	env[c->job.nr_env++] = value;
	return 0;
}

static int take_timeout(struct vm_config *c, const char *value)
{
	if (args_duration(value, &c->timeout_ms) || c->timeout_ms == 0)
		return fail(0, "--timeout %s: give a time such as 500ms, 30s, 5m or 2h", value);
	return 0;
}

static int take_serial_file(struct vm_config *c, char *value)
{
	char *max = strstr(value, ",max=");

	c->serial = (struct serial_config){ .kind = SERIAL_FILE, .path = value };
	if (!max)
		return 0;
	*max = '\0';
	if (args_size(max + 5, &c->serial.max_size) || c->serial.max_size == 0)
		return fail(0, "--serial file=%s,max=%s: give a size such as 10M", value, max + 5);
	return 0;
}

static int take_serial(struct vm_config *c, const char *value)
{
	if (!strcmp(value, "stdio"))
		c->serial = (struct serial_config){ .kind = SERIAL_STDIO };
	else if (!strcmp(value, "pty"))
		c->serial = (struct serial_config){ .kind = SERIAL_PTY };
	else if (!strcmp(value, "none"))
		c->serial = (struct serial_config){ .kind = SERIAL_NONE };
	else if (!strncmp(value, "file=", 5) && value[5])
		return take_serial_file(c, (char *)value + 5); /* argv is ours to cut */
	else if (!strncmp(value, "unix=", 5) && value[5])
		c->serial = (struct serial_config){ .kind = SERIAL_UNIX, .path = value + 5 };
	else
		return fail(0,
			    "--serial %s: give stdio, file=PATH[,max=SIZE], unix=PATH, pty or none",
			    value);
	return 0;
}

static int add_disk(const char *option, struct vm_config *c, const char *value)
{
	if (c->nr_disks + c->nr_nets == DEVICES_MAX)
		return fail(0, "--%s: at most %u disks and interfaces", option, DEVICES_MAX);
	return args_disk(option, (char *)value, &c->disks[c->nr_disks++]); /* ours to cut */
}

static int take_disk(struct vm_config *c, const char *value)
{
	return add_disk("disk", c, value);
}

/* Goes first, whatever came before, so that the guest has it as its first disk. */
static int take_root(struct vm_config *c, const char *value)
{
	struct disk_config root;
	int err;

	if (c->nr_disks > 0 && c->disks[0].is_root)
		return fail(0, "--root: only one disk can be the root");
	err = add_disk("root", c, value);
	if (err)
		return err;
	root = c->disks[c->nr_disks - 1];
	root.is_root = true;
	memmove(c->disks + 1, c->disks, (c->nr_disks - 1) * sizeof(root));
	c->disks[0] = root;
	return 0;
}

static int take_net(struct vm_config *c, const char *value)
{
	if (c->nr_disks + c->nr_nets == DEVICES_MAX)
		return fail(0, "--net: at most %u disks and interfaces", DEVICES_MAX);
	return args_net((char *)value, &c->nets[c->nr_nets++]); /* ours to cut */
}

int args_hv(const char *text, enum hv_provider *hv)
{
	if (!strcmp(text, "auto"))
		*hv = HV_AUTO;
	else if (!strcmp(text, "mayfly"))
		*hv = HV_MAYFLY;
	else if (!strcmp(text, "kvm"))
		*hv = HV_KVM;
	else
		return fail(0, "--hv %s: give auto, mayfly or kvm", text);
	return 0;
}

static int take_hv(struct vm_config *c, const char *value)
{
	return args_hv(value, &c->hv);
}

static int take_no_seccomp(struct vm_config *c, const char *value)
{
	(void)c;
	(void)value;
	return filters_off();
}

static int take_seccomp(struct vm_config *c, const char *value)
{
	(void)c;
	return filters_load(value);
}

static int take_timeline(struct vm_config *c, const char *value)
{
	c->timeline = value;
	return 0;
}

static int take_report(struct vm_config *c, const char *value)
{
	(void)value;
	c->report = true;
	return 0;
}

static const struct {
	const char *name, *value, *help;
	int (*take)(struct vm_config *config, const char *value);
	bool is_boots; /* a clone has it of its snapshot */
} options[] = {
	{ "kernel", "FILE", "the guest's kernel: an ELF vmlinux or a bzImage; required",
	  take_kernel, true },
	{ "initrd", "FILE", "an initial RAM disk", take_initrd, true },
	{ "mem", "SIZE", "guest memory, 16M to 1T (default 128M)", take_mem, true },
	{ "cpus", "N", "virtual CPUs, 1 to 32 (default 1)", take_cpus, true },
	{ "cmdline", "TEXT", "more words for the kernel's command line", take_cmdline, true },
	{ "env", "NAME=VALUE", "a variable for the command; may be repeated", take_env, true },
	{ "timeout", "TIME", "end the guest TIME after the start (500ms, 30 or 30s, 5m, 2h)",
	  take_timeout, false },
	{ "serial", "WHERE", "stdio (default), file=PATH[,max=SIZE], unix=PATH, pty, none",
	  take_serial, false },
	{ "disk", "PATH[,WORD...]",
	  "a disk: a raw image or block device; may be repeated. Words: ro, direct,\n"
	  "overlay=FILE|tmp, cache=writeback|unsafe, id=NAME, bytes=SIZE[+BURST][/TIME],\n"
	  "ops=N[+BURST][/TIME]",
	  take_disk, false },
	{ "root", "PATH[,WORD...]", "the same, as the first disk and the guest's root", take_root,
	  true },
	{ "net", "LINK[,WORD...]",
	  "a network interface; may be repeated. LINK: tap=NAME, fd=N (an open tap),\n"
	  "peer=FOLDER (shared by microVMs), passt=SOCKET. Words: mac=, mtu=, id=NAME,\n"
	  "spoof=refuse, offload=off, rx-bytes=SIZE[+BURST][/TIME], rx-ops=, tx-bytes=, tx-ops=",
	  take_net, false },
	{ "hv", "WHICH", "hypervisor: auto (default), mayfly, kvm", take_hv, false },
	{ "report", NULL, "say at the end how it ended and how long it took", take_report, false },
	{ "no-seccomp", NULL, "no filters of system calls, for debugging", take_no_seccomp, false },
	{ "seccomp-filter", "FILE", "these filters instead of those built in", take_seccomp,
	  false },
	{ "timeline", "FILE", "write the boot's time stamps to FILE as JSON", take_timeline,
	  false },
	{ "help", NULL, "print this and exit", NULL, false },
};
#define OPTIONS (sizeof(options) / sizeof(options[0]))

void args_help(void)
{
	for (size_t i = 0; i < OPTIONS; i++) {
		const char *line = options[i].help;
		char left[40];

		snprintf(left, sizeof(left), "--%s %s", options[i].name,
			 options[i].value ? options[i].value : "");
		printf("  %-20s", left);
		for (size_t n; *line; line += n + (line[n] == '\n')) {
			n = strcspn(line, "\n");
			printf("%*s%.*s\n", line == options[i].help ? 2 : 24, "", (int)n, line);
		}
	}
}

static bool has_env(const struct vm_config *c, const char *name)
{
	for (unsigned i = 0; i < c->job.nr_env; i++)
		if (!strncmp(env[i], name, strlen(name)) && env[i][strlen(name)] == '=')
			return true;
	return false;
}

/* Of the first `nr`, NULL being one that has none yet. */
static bool is_named(const char **const *ids, unsigned nr, const char *name)
{
	for (unsigned i = 0; i < nr; i++)
		if (*ids[i] && !strcmp(*ids[i], name))
			return true;
	return false;
}

/* Without a name of their own they are disk0, disk1, ... in the guest's order, as far as free. */
static int name_devices(const char *option, const char **const *ids, unsigned nr, char (*own)[16])
{
	for (unsigned i = 0; i < nr; i++)
		if (*ids[i] && is_named(ids, i, *ids[i]))
			return fail(0, "--%s: two are called %s", option, *ids[i]);
	for (unsigned i = 0; i < nr; i++) {
		unsigned number = i;

		if (*ids[i])
			continue;
		do
			snprintf(own[i], sizeof(own[i]), "%s%u", option, number++);
		while (is_named(ids, nr, own[i]));
		*ids[i] = own[i];
	}
	return 0;
}

static int name_all(struct vm_config *c)
{
	static char disk_names[DEVICES_MAX][16], net_names[DEVICES_MAX][16];
	const char **disks[DEVICES_MAX], **nets[DEVICES_MAX];

	for (unsigned i = 0; i < c->nr_disks; i++)
		disks[i] = &c->disks[i].id;
	for (unsigned i = 0; i < c->nr_nets; i++)
		nets[i] = &c->nets[i].id;
	if (name_devices("disk", disks, c->nr_disks, disk_names))
		return -EINVAL;
	return name_devices("net", nets, c->nr_nets, net_names);
}

static int finish(struct vm_config *c)
{
	static char term[64];
	char root[CONFIG_ROOT_SIZE];
	const char *const words[] = { CMDLINE_DEFAULT, root, c->job.argc ? CMDLINE_JOB : NULL,
				      extra_cmdline };
	size_t n;

	if (!c->kernel)
		return fail(
			0,
			"run: --kernel FILE is required ('mayfly run --help' lists the options)");
	for (unsigned i = 0; i < c->nr_nets; i++)
		if (c->nets[i].is_spoof_refused && !c->nets[i].has_mac)
			return fail(0, "--net: spoof=refuse needs mac= to compare with");
	if (c->job.argc && c->serial.kind == SERIAL_NONE)
		note("--serial none: the command's output goes nowhere");
	if (getenv("TERM") && !has_env(c, "TERM")) {
		snprintf(term, sizeof(term), "TERM=%s", getenv("TERM"));
		env[c->job.nr_env++] = term;
	}
	if (name_all(c))
		return -EINVAL;
	config_root(c, root);
	n = config_cmdline(c, words, sizeof(words) / sizeof(words[0]));
	if (n >= sizeof(c->cmdline))
		return fail(0, "command line: %zu bytes; at most %zu go in", n,
			    sizeof(c->cmdline) - 1);
	return 0;
}

/* Taps that came as descriptors stay open in the jail. */
static void keep_nets(const struct vm_config *c, struct jail_config *jail)
{
	for (unsigned i = 0; i < c->nr_nets; i++)
		if (c->nets[i].kind == NET_TAP_FD)
			jail->keep[jail->nr_keep++] = c->nets[i].fd;
}

static int take(struct vm_config *c, struct jail_config *jail, bool boots, unsigned index,
		const char *value)
{
	if (index >= OPTIONS)
		return args_jail_take(jail, index - OPTIONS, value);
	if (options[index].is_boots && !boots)
		return fail(0, "clone: --%s is the snapshot's, as it was", options[index].name);
	return options[index].take(c, value);
}

/*
 * Options of a microVM, which boots or is a clone, and of its jail, up to what is none, where
 * the reader stands then. 0, 1 for help, or -EINVAL, logged.
 */
static int parse(int argc, char **argv, bool boots, struct vm_config *c, struct jail_config *jail,
		 struct args_reader *reader)
{
	static struct args_row rows[OPTIONS + ARGS_JAIL + 1]; /* the last without a name */
	const char *value;
	int row;

	for (size_t i = 0; i < OPTIONS; i++)
		rows[i] = (struct args_row){ options[i].name, options[i].value };
	args_jail_rows(rows + OPTIONS);
	*reader = (struct args_reader){ .command = boots ? "run" : "clone",
					.hint = "'mayfly run --help' lists them",
					.rows = rows,
					.argc = argc,
					.argv = argv,
					.next = 1 };
	jail->name = "mayfly";
	args_jail_named(jail, argc, argv);
	while ((row = args_next(reader, &value)) != ARGS_END) {
		if (row < 0)
			return row;
		if (row < (int)OPTIONS && !options[row].take)
			return 1;
		if (take(c, jail, boots, (unsigned)row, value))
			return -EINVAL;
	}
	return args_jail_finish(jail) ? -EINVAL : 0;
}

int args_run(int argc, char **argv, struct vm_config *c, struct jail_config *jail)
{
	struct args_reader reader;
	int err;

	c->mem_size = MEM_DEFAULT;
	c->cpus = 1;
	c->job.env = env;
	err = parse(argc, argv, true, c, jail, &reader);
	if (err)
		return err;
	if (reader.next < argc && !reader.is_over)
		return fail(0, "run: '%s' is not an option; a command for the guest comes after --",
			    argv[reader.next]);
	if (reader.next == argc && reader.is_over) /* an empty variable, say: not for a shell */
		return fail(0, "run: no command after --");
	c->job.argv = argv + reader.next;
	c->job.argc = (unsigned)(argc - reader.next);
	keep_nets(c, jail);
	return finish(c);
}

/* What of a snapshot's devices can be another's: a disk's file, and a tap. */
static int check_devices(struct vm_config *c)
{
	for (unsigned i = 0; i < c->nr_disks; i++) {
		const struct disk_config *d = &c->disks[i];

		if (!d->id)
			return fail(0,
				    "clone: --disk %s: say which of the snapshot's it is: id=NAME",
				    d->path);
		if (d->cache == DISK_CACHE_UNSAFE)
			return fail(0, "clone: --disk %s: its cache is the snapshot's", d->path);
	}
	for (unsigned i = 0; i < c->nr_nets; i++) {
		const struct net_config *n = &c->nets[i];

		if (!n->id || n->kind != NET_TAP || n->has_mac || n->mtu || n->is_plain)
			return fail(0, "clone: --net: give tap=NAME,id=NAME, and limits");
	}
	return name_all(c); /* no two of one name */
}

int args_clone(int argc, char **argv, struct vm_config *c, struct jail_config *jail)
{
	struct args_reader reader;
	int err = parse(argc, argv, false, c, jail, &reader);

	if (!err && argc - reader.next != 2)
		return fail(0, "clone: give '[OPTIONS] STATE MEMORY'");
	return err ? err : check_devices(c);
}
