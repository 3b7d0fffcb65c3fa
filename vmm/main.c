// SPDX-License-Identifier: Apache-2.0
/*
 * mayfly: one process, one microVM. The commands and what each calls; next: vm.c.
 */
#include "../api/client.h"
#include "../virtio/commit.h"
#include "args.h"
#include "check.h"
#include "clone.h"
#include "end.h"
#include "log.h"
#include "serve.h"
#include "term.h"
#include "timeline.h"
#include "vm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void help_run(void)
{
	puts("mayfly run --kernel FILE [OPTIONS] [-- COMMAND ARGS...]\n"
	     "  Boots a Linux kernel directly. With a command, runs it in the guest, powers off and\n"
	     "  exits with its status.\n");
	args_help();
	args_jail_help(24, false);
}

static void help_serve(void)
{
	puts("mayfly serve [OPTIONS]\n"
	     "  Takes a microVM's configuration over a Unix socket, with Firecracker's REST API and\n"
	     "  options; so does a link to mayfly by the name of firecracker.\n");
	serve_help();
	args_jail_help(27, true);
}

static void help_clone(void)
{
	puts("mayfly clone [OPTIONS] STATE MEMORY\n"
	     "  Goes on from a snapshot. Of run's options it takes those that do not say what boots;\n"
	     "  --disk PATH,id=NAME and --net tap=NAME,id=NAME are for devices that the guest has.");
}

static void help_snapshot(void)
{
	puts("mayfly snapshot SOCKET STATE MEMORY\n"
	     "  Takes a snapshot of the microVM that serves at SOCKET, into two files.");
}

static void help_check(void)
{
	puts("mayfly check [--json | --quiet]\n"
	     "  Says what this host offers; exits with 0 where a stock kernel can boot.");
}

static void help_disk(void)
{
	puts("mayfly disk commit LAYER BASE\n"
	     "  Writes what is in a copy-on-write layer into its base, and empties the layer.\n"
	     "mayfly disk reset LAYER\n"
	     "  Throws away what is in a layer.");
}

static void help_codes(void)
{
	puts("Exit codes of run and clone: the command's own, 128+n for signal n, 126 where it cannot\n"
	     "be run, 127 where it is not found; 0 for a power-off without a command. Else:\n"
	     "  119 powered off before the command ended    123 halted with interrupts off\n"
	     "  120 the guest rebooted                      124 --timeout is over\n"
	     "  121 the guest's kernel panicked             125 an error of mayfly or the host\n"
	     "  122 triple fault                            128+n mayfly got signal n\n"
	     "148 where a thread made a system call that its filter forbids.\n"
	     "Of serve also 152, a bad config file; 153, bad arguments; 156, SIGHUP.\n\n"
	     "On a terminal, Ctrl-A x ends the guest (143); Ctrl-A Ctrl-A is one Ctrl-A.");
}

static const struct {
	const char *command;
	void (*print)(void);
	bool is_microvm;
} sections[] = {
	{ "run", help_run, true },	{ "serve", help_serve, true },
	{ "clone", help_clone, true },	{ "snapshot", help_snapshot, false },
	{ "check", help_check, false }, { "disk", help_disk, false },
};

static bool has_section(const char *command)
{
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		if (!strcmp(command, sections[i].command))
			return true;
	return false;
}

/* Of one command, or of all. */
static void print_help(const char *command)
{
	bool has_codes = false;

	puts("mayfly " MAYFLY_VERSION ": a minimal microVM monitor\n");
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		if (!command || !strcmp(command, sections[i].command)) {
			sections[i].print();
			has_codes |= sections[i].is_microvm;
			if (has_codes)
				putchar('\n');
		}
	if (!command)
		puts("mayfly COMMAND --help, mayfly --help, mayfly --version\n");
	if (has_codes)
		help_codes();
}

/*
 * A descriptor that we open must never become 0, 1 or 2, which the guest's console would then be.
 */
static void fill_standard_descriptors(void)
{
	struct pollfd fds[] = { { .fd = 0 }, { .fd = 1 }, { .fd = 2 } };
	int fd;

	if (poll(fds, 3, 0) == 0) /* none is hung up or closed */
		return;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int run(int argc, char **argv)
{
	static struct vm_config config;
	static struct jail_config jail;
	int err = args_run(argc, argv, &config, &jail);

	if (err > 0)
		print_help("run");
	if (err)
		return err > 0 ? 0 : EXIT_MONITOR;
	err = jail_open(&jail);
	return err ? EXIT_MONITOR : vm_run(&config);
}

static int make_clone(int argc, char **argv)
{
	const int code = clone_run(argc, argv);

	if (code < 0)
		print_help("clone");
	return code < 0 ? 0 : code;
}

static int check(int argc, char **argv)
{
	const char *option = argc > 1 ? argv[1] : "";

	if (argc > 2 || (*option && strcmp(option, "--quiet") && strcmp(option, "--json"))) {
		fail(0, "check: takes --quiet or --json");
		return EXIT_MONITOR;
	}
	return check_host(!strcmp(option, "--quiet"), !strcmp(option, "--json"));
}

static int disk(int argc, char **argv)
{
	int err = -EINVAL;

	if (argc == 4 && !strcmp(argv[1], "commit"))
		err = commit_layer(argv[2], argv[3]);
	else if (argc == 3 && !strcmp(argv[1], "reset"))
		err = commit_reset(argv[2]);
	else
		fail(0, "disk: give 'commit LAYER BASE' or 'reset LAYER'");
	return err ? EXIT_MONITOR : 0;
}

static int snapshot(int argc, char **argv)
{
	if (argc != 4) {
		fail(0, "snapshot: give 'SOCKET STATE MEMORY'");
		return EXIT_MONITOR;
	}
	return client_snapshot(argv[1], argv[2], argv[3]) ? EXIT_MONITOR : 0;
}

static bool is_called(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	return !strcmp(slash ? slash + 1 : path, name);
}

static int act(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "--help", *topic = NULL;

	if (argc > 0 && is_called(argv[0], "firecracker"))
		return serve(argc, argv, true);
	if (argc > 0 && is_called(argv[0], "jailer"))
		return serve_jailer(argc, argv);
	if (!strcmp(command, "run"))
		return run(argc - 1, argv + 1);
	if (!strcmp(command, "clone"))
		return make_clone(argc - 1, argv + 1);
	if (!strcmp(command, "serve"))
		return serve(argc - 1, argv + 1, false);
	if (argc > 2 && !strcmp(argv[2], "--help") && has_section(command)) {
		topic = command;
		command = "--help";
	}
	if (!strcmp(command, "check"))
		return check(argc - 1, argv + 1);
	if (!strcmp(command, "disk"))
		return disk(argc - 1, argv + 1);
	if (!strcmp(command, "snapshot"))
		return snapshot(argc - 1, argv + 1);
	if (!strcmp(command, "--version")) {
		puts("mayfly " MAYFLY_VERSION);
		return 0;
	}
	if (!strcmp(command, "--help") || !strcmp(command, "-h") || !strcmp(command, "help")) {
		print_help(topic);
		return argc > 1 ? 0 : EXIT_MONITOR;
	}
	if (!strncmp(command, "--", 2) && command[2])
		return serve(argc, argv, false);
	fail(0, "'%s' is not a command ('mayfly --help' lists them)", command);
	return EXIT_MONITOR;
}

int main(int argc, char **argv)
{
	int code;

	timeline_mark(PHASE_START);
	fill_standard_descriptors();
	term_look();
	code = act(argc, argv);
	if (code == 0 && (fflush(stdout) || ferror(stdout))) { /* it was to be printed */
		fail(0, "standard output could not be written");
		code = EXIT_MONITOR;
	}
	return code;
}
