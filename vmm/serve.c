// SPDX-License-Identifier: Apache-2.0
/*
 * The process as Firecracker's clients know it: its options, its log, its exit codes. What happens
 * in it is api/'s (requests) and vm.c's (the microVM); here the two meet. Next: api/server.c.
 */
#include "serve.h"
#include "args.h"
#include "end.h"
#include "log.h"
#include "vm.h"
#include "../api/server.h"
#include "../seccomp/filters.h"
#include "../seccomp/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_DEFAULT "/run/firecracker.socket"
#define CONFIG_MAX     (1u << 20) /* bytes of a config file */
#define BODY_MAX_LIMIT (64ull << 20)
#define FC_VERSION     "1.17.0" /* the interface that is served, under its own name */
#define LISTEN_FD      3	/* sd_listen_fds(3) */

static struct options {
	const char *config_file, *metrics_path, *id;
	char *config;	    /* what the config file holds */
	ssize_t config_len; /* or -errno */
	struct server_config server;
	uint64_t start_us, start_cpu_us, parent_cpu_us;
	enum hv_provider hv;
	bool has_api, has_boot_timer, is_firecracker;
	struct jail_config jail;
	struct logger_body logger; /* ends in a page that is touched only where a path is given */
} options;

static struct vm_config config;
static struct api api;
static struct server server;

/* Options. Each takes its value; 0 or -EINVAL, logged. */

static int take_socket(const char *value)
{
	options.server.path = value;
	return 0;
}

static int take_id(const char *value)
{
	return args_id(value, &options.id);
}

static int take_config(const char *value)
{
	options.config_file = value;
	return 0;
}

static int take_no_api(const char *value)
{
	(void)value;
	options.has_api = false;
	return 0;
}

static int copy(const char *option, char *to, size_t size, const char *value)
{
	if (strlen(value) >= size)
		return fail(0, "%s: give %zu bytes at most", option, size - 1);
	strcpy(to, value);
	return 0;
}

static int take_log_path(const char *value)
{
	return copy("--log-path", options.logger.log_path, sizeof(options.logger.log_path), value);
}

static int take_module(const char *value)
{
	return copy("--module", options.logger.module, sizeof(options.logger.module), value);
}

static int take_level(const char *value)
{
	options.logger.has_level = logger_level(value, &options.logger.level);
	return options.logger.has_level
		       ? 0
		       : fail(0, "--level %s: give Off, Trace, Debug, Info, Warning or Error",
			      value);
}

static int take_show_level(const char *value)
{
	(void)value;
	options.logger.show_level = true;
	return 0;
}

static int take_show_origin(const char *value)
{
	(void)value;
	options.logger.show_log_origin = true;
	return 0;
}

static int take_metrics(const char *value)
{
	options.metrics_path = value;
	return 0;
}

static int take_boot_timer(const char *value)
{
	(void)value;
	options.has_boot_timer = true;
	return 0;
}

static int take_start(const char *value)
{
	return args_take_number("start-time-us", value, UINT64_MAX, &options.start_us);
}

static int take_start_cpu(const char *value)
{
	return args_take_number("start-time-cpu-us", value, UINT64_MAX, &options.start_cpu_us);
}

static int take_parent_cpu(const char *value)
{
	return args_take_number("parent-cpu-time-us", value, UINT64_MAX, &options.parent_cpu_us);
}

static int take_body_max(const char *value)
{
	uint64_t *max = &options.server.body_max;

	if (args_size(value, max) || *max < 1 || *max > BODY_MAX_LIMIT)
		return fail(0, "--http-api-max-payload-size %s: give 1 to 64M", value);
	return 0;
}

static int take_ready_fd(const char *value)
{
	uint64_t fd;

	if (args_number(value, INT32_MAX, &fd) || fcntl((int)fd, F_GETFD) < 0)
		return fail(0, "--ready-fd %s: give an open descriptor", value);
	options.server.ready_fd = (int)fd;
	return 0;
}

static int take_hv(const char *value)
{
	return args_hv(value, &options.hv);
}

/* Firecracker's options for what mayfly does not have, or does not need to be told. */

static int take_nothing(const char *value)
{
	(void)value;
	return 0;
}

static int take_seccomp(const char *value)
{
	return filters_load(value);
}

static int take_no_seccomp(const char *value)
{
	(void)value;
	return filters_off();
}

static int refuse_metadata(const char *value)
{
	return fail(0, "--metadata %s: mayfly has no metadata service (MMDS)", value);
}

static int refuse_pci(const char *value)
{
	(void)value;
	return fail(0, "--enable-pci: mayfly has no PCI bus");
}

static int refuse_describe(const char *value)
{
	(void)value;
	return fail(0, "mayfly describes no snapshots; those that it loads have version %u",
		    SNAPSHOT_VERSION);
}

static const struct {
	const char *name, *value, *help;
	int (*take)(const char *value);
} rows[] = {
	{ "api-sock", "PATH", "the API's socket (default " SOCKET_DEFAULT ")", take_socket },
	{ "id", "ID", "the instance's name (default anonymous-instance)", take_id },
	{ "config-file", "FILE", "configure from FILE and start at once", take_config },
	{ "no-api", NULL, "no socket; needs --config-file", take_no_api },
	{ "log-path", "FILE", "the log (default standard error)", take_log_path },
	{ "level", "LEVEL", "Off, Error, Warning, Info (default), Debug, Trace", take_level },
	{ "module", "NAME", "log only lines from sources under NAME", take_module },
	{ "show-level", NULL, "lines of the log tell their level", take_show_level },
	{ "show-log-origin", NULL, "lines of the log tell their place in the sources",
	  take_show_origin },
	{ "metrics-path", "FILE", "write metrics to FILE", take_metrics },
	{ "boot-timer", NULL, "log how long the guest took to run its init", take_boot_timer },
	{ "start-time-us", "N", "when the process was started, for the metrics", take_start },
	{ "start-time-cpu-us", "N", "the CPU time it had then", take_start_cpu },
	{ "parent-cpu-time-us", "N", "the CPU time of its parent, added", take_parent_cpu },
	{ "http-api-max-payload-size", "N", "bytes of a request's body (default 51200)",
	  take_body_max },
	{ "ready-fd", "N",
	  "write a newline to descriptor N once the API listens; not with --no-api",
	  take_ready_fd },
	{ "hv", "WHICH", "hypervisor: auto (default), mayfly, kvm", take_hv },
	{ "no-seccomp", NULL, "no filters of system calls, for debugging", take_no_seccomp },
	{ "seccomp-filter", "FILE", "these filters instead of those built in", take_seccomp },
	{ "mmds-size-limit", "N", "taken, without effect", take_nothing },
	{ "metadata", "FILE", "refused: there is no MMDS", refuse_metadata },
	{ "enable-pci", NULL, "refused: there is no PCI", refuse_pci },
	{ "describe-snapshot", "FILE", "refused: snapshots are not described", refuse_describe },
	{ "snapshot-version", NULL, "print the version of snapshots and exit", NULL },
	{ "version", NULL, "print the version and exit", NULL },
	{ "help", NULL, "print this and exit", NULL },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

void serve_help(void)
{
	for (size_t i = 0; i < ROWS; i++)
		args_help_row(29, rows[i].name, rows[i].value, rows[i].help);
}

static void say_version(bool is_firecracker)
{
	puts(is_firecracker ? "Firecracker v" FC_VERSION : "mayfly " MAYFLY_VERSION);
}

/* What is printed instead. */
static int print(const char *name, bool is_firecracker)
{
	if (!strcmp(name, "version")) {
		say_version(is_firecracker);
		return 1;
	}
	if (!strcmp(name, "snapshot-version")) {
		printf("v%u\n", SNAPSHOT_VERSION);
		return 1;
	}
	serve_help();
	args_jail_help(27, true);
	return 1;
}

/* 0, 1 where something was printed instead, or -EINVAL, logged. */
static int parse(int argc, char **argv, bool is_firecracker)
{
	const bool is_jailed = options.jail.id; /* as the jailer's own options say, and no others */
	struct args_row all[ROWS + ARGS_JAIL + 1] = { 0 };
	struct args_reader reader = {
		.command = "serve",
		.hint = "'mayfly --help' lists them; those of a microVM go with 'mayfly run'",
		.rows = all,
		.argc = argc,
		.argv = argv,
		.next = 1
	};
	const char *value;
	int row, err;

	for (size_t i = 0; i < ROWS; i++)
		all[i] = (struct args_row){ rows[i].name, rows[i].value };
	args_jail_rows(all + ROWS);
	args_jail_named(&options.jail, argc, argv);
	while ((row = args_next(&reader, &value)) != ARGS_END) {
		if (row < 0)
			return row;
		if (is_jailed && (row >= (int)ROWS || rows[row].take == take_id))
			return fail(0, "serve: --%s is the jailer's: give it before the --",
				    all[row].name);
		if (row < (int)ROWS && !rows[row].take)
			return print(rows[row].name, is_firecracker);
		err = row < (int)ROWS ? rows[row].take(value)
				      : args_jail_take(&options.jail, (unsigned)row - ROWS, value);
		if (err)
			return -EINVAL;
	}
	if (reader.next < argc && !reader.is_over)
		return fail(0, "'%s' is not an option ('mayfly --help' lists them)",
			    argv[reader.next]);
	if (reader.next < argc && !is_firecracker) /* whose own overlooks what comes there */
		return fail(0, "serve: '%s': a command for the guest goes with 'mayfly run'",
			    argv[reader.next]);
	if (!options.has_api && !options.config_file)
		return fail(0, "--no-api needs --config-file");
	if (!options.has_api && options.server.ready_fd >= 0)
		return fail(0, "--ready-fd: with --no-api there is nothing that gets ready");
	options.jail.id = options.id;
	return args_jail_finish(&options.jail);
}

/* What the caller left open for us. */
static void keep(int fd)
{
	if (fd >= 0)
		options.jail.keep[options.jail.nr_keep++] = fd;
}

/* A socket that systemd has opened for us. */
static int inherited_socket(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	struct stat st;

	if (!pid || !fds || strcmp(fds, "1") || strtol(pid, NULL, 10) != getpid())
		return -1;
	if (fstat(LISTEN_FD, &st) || !S_ISSOCK(st.st_mode))
		return -1;
	fcntl(LISTEN_FD, F_SETFD, FD_CLOEXEC);
	return LISTEN_FD;
}

/* It is served instead of one at a path: no connection's, as of a unit with Accept=yes. */
static int check_inherited(void)
{
	int listens = 0;
	socklen_t len = sizeof(listens);

	if (options.server.ready_fd == LISTEN_FD)
		return fail(0, "--ready-fd %d: is the socket to serve (LISTEN_FDS)", LISTEN_FD);
	getsockopt(LISTEN_FD, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
	if (!listens)
		return fail(0,
			    "LISTEN_FDS: descriptor %d does not listen (a socket unit needs "
			    "ListenStream= and Accept=no)",
			    LISTEN_FD);
	options.server.path = "fd:3";
	return 0;
}

/* What the API does to the microVM. */

static int on_start(void *arg, const struct vm_config *with)
{
	return vm_start(arg, with);
}

static void on_pause(void *arg)
{
	vm_pause(arg);
}

static void on_resume(void *arg)
{
	vm_resume(arg);
}

static int on_save(void *arg, int state_fd, uint64_t at, int mem_fd)
{
	return vm_save(arg, state_fd, at, mem_fd);
}

static void on_count(void *arg, struct counters *counters)
{
	vm_count(arg, counters);
}

static int on_disk_update(void *arg, const struct disk_update *update)
{
	return vm_update_disk(arg, update);
}

static int on_net_update(void *arg, const struct net_update *update)
{
	return vm_update_net(arg, update);
}

static void on_count_devices(void *arg, struct devices_counters *counters)
{
	vm_count_devices(arg, counters);
}

static const struct api_ops ops = {
	.start = on_start,
	.tap_open = vm_tap_open,
	.tap_check = vm_tap_check,
	.pause = on_pause,
	.resume = on_resume,
	.save = on_save,
	.disk_update = on_disk_update,
	.net_update = on_net_update,
	.count = on_count,
	.count_devices = on_count_devices,
};

static void on_changed(struct api *changed)
{
	char line[API_EVENT_MAX];

	if (changed->exit_reason)
		api_exit_event(changed, line);
	else
		api_state_event(changed, line);
	server_event(&server, line);
}

/* Of a clock that is not ours, or was set: no time rather than all there is. */
static uint64_t since(uint64_t then, uint64_t now)
{
	return now > then ? now - then : 0;
}

static void note_startup(void)
{
	const uint64_t cpu = loop_now_ns(CLOCK_PROCESS_CPUTIME_ID) / 1000;

	if (options.start_us)
		api.counters.startup_us =
			since(options.start_us, loop_now_ns(CLOCK_MONOTONIC) / 1000);
	if (options.start_cpu_us || options.parent_cpu_us)
		api.counters.startup_cpu_us =
			since(options.start_cpu_us, cpu) + options.parent_cpu_us;
}

/*
 * A FIFO may keep us waiting for its writer: before signals are taken, so that they end that. The
 * length, or -errno: -EFBIG from CONFIG_MAX on.
 */
static ssize_t read_whole(const char *path, char *to)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t used = 0, n = fd < 0 ? -errno : 1;

	while (n > 0) {
		n = read(fd, to + used, CONFIG_MAX - (size_t)used);
		used += n > 0 ? n : 0;
		if (n < 0)
			n = -errno;
		else if (used == CONFIG_MAX)
			n = -EFBIG;
	}
	if (fd >= 0)
		close(fd);
	return n < 0 ? n : used;
}

static int take_config_file(const char *path)
{
	const ssize_t len = options.config_len;
	int err = (int)len;

	if (len == -EFBIG)
		fail(0, "%s: larger than %u KiB", path, CONFIG_MAX >> 10);
	else if (len < 0)
		fail(err, "%s", path);
	if (len < 0)
		fail(0, "Configuration for VMM from one single json failed");
	else
		err = api_config_file(&api, options.config, (size_t)len);
	free(options.config);
	return err;
}

/* An exit code where serving fails before the microVM could decide on one. */
static int prepare(struct vm *vm)
{
	int err = api_open_log(&api, &options.logger);

	log_line(LOG_INFO, "Running %s v%s", api.names.app, api.names.version);
	if (!err && options.metrics_path)
		err = api_open_metrics(&api, options.metrics_path);
	if (err)
		return EXIT_BAD_ARGUMENTS;
	if (options.has_boot_timer)
		vm_say_boot_time(vm);
	note_startup();
	server_tick(&server, vm_loop(vm), &api);
	/* A socket that was given to us is not ours to remove, and its folder not needed. */
	if (options.has_api && options.server.listen_fd < 0 &&
	    jail_keep_folder(options.server.path, false))
		return EXIT_MONITOR;
	if (options.has_api && server_open(&server, vm_loop(vm), &api, &options.server))
		return EXIT_MONITOR;
	return options.config_file && take_config_file(options.config_file) ? EXIT_BAD_CONFIG : 0;
}

/* Under Firecracker's name a reboot, which is how its guests are shut down, is a success. */
static int exit_code(const struct vm *vm)
{
	if (options.is_firecracker && vm_is_rebooted(vm))
		return 0;
	return vm_is_hung_up(vm) ? EXIT_HANGUP : vm_exit_code(vm);
}

static void on_ended(void *vm)
{
	api_ended(&api, vm_exit_words(vm), exit_code(vm));
}

/* A second signal stops the loop at once, maybe before it has told of the first. */
static int wait_for_end(struct vm *vm)
{
	if (!vm_wait(vm))
		return EXIT_MONITOR;
	if (!api.exit_reason)
		on_ended(vm);
	return exit_code(vm);
}

static int run(struct vm *vm)
{
	int code = prepare(vm);

	if (code == 0 && jail_detach())
		code = EXIT_MONITOR;
	if (code == 0) {
		code = wait_for_end(vm);
		api_flush_metrics(&api);
	}
	server_close(&server);
	api_let_go(&api);
	if (code)
		log_line(LOG_ERROR, "%s exiting with error. exit_code=%d", api.names.app, code);
	else
		log_line(LOG_INFO, "%s exiting successfully. exit_code=0", api.names.app);
	return code;
}

static int serve_as(int argc, char **argv, bool is_firecracker, const struct jail_config *jail)
{
	const struct log_form form = { .fd = STDERR_FILENO,
				       .level = LOG_INFO,
				       .is_stamped = true,
				       .id = "anonymous-instance" };
	struct api_names names = { .app = is_firecracker ? "Firecracker" : "mayfly",
				   .server = is_firecracker ? "Firecracker API" : "mayfly API",
				   .version = is_firecracker ? FC_VERSION : MAYFLY_VERSION };
	struct log_form log = form;
	struct vm *vm;
	int err;

	options = (struct options){
		.id = jail->id ? jail->id : form.id,
		.jail = *jail,
		.has_api = true,
		.is_firecracker = is_firecracker,
		.server = { .path = SOCKET_DEFAULT, .body_max = HTTP_BODY_MAX, .ready_fd = -1 }
	};
	err = parse(argc, argv, is_firecracker);
	if (err)
		return err > 0 ? 0 : EXIT_BAD_ARGUMENTS;
	names.id = log.id = options.id;
	options.server.listen_fd = inherited_socket();
	if (options.server.listen_fd >= 0 && check_inherited())
		return EXIT_BAD_ARGUMENTS;
	keep(options.server.listen_fd);
	keep(options.server.ready_fd);
	if (jail_open(&options.jail))
		return EXIT_MONITOR;
	if (options.config_file) {
		options.config = malloc(CONFIG_MAX);
		options.config_len =
			options.config ? read_whole(options.config_file, options.config) : -ENOMEM;
	}
	config = (struct vm_config){ .hv = options.hv,
				     .has_api = options.has_api,
				     .is_fileless = !jail_has_files() };
	vm = vm_open(&config);
	if (!vm)
		return EXIT_MONITOR;
	api_init(&api, &names, &ops, vm, &config, &log);
	api.changed = on_changed;
	vm_on_end(vm, on_ended);
	return run(vm);
}

int serve(int argc, char **argv, bool is_firecracker)
{
	const struct jail_config jail = { .name = is_firecracker ? "firecracker" : "mayfly" };

	return serve_as(argc, argv, is_firecracker, &jail);
}

/* What Firecracker's jailer takes beside the options of the jail. */

static int take_exec_file(const char *value, struct jail_config *jail)
{
	const char *slash = strrchr(value, '/');
	struct stat given, own;

	if (stat(value, &given) || stat("/proc/self/exe", &own))
		return fail(-errno, "--exec-file %s", value);
	if (given.st_dev != own.st_dev || given.st_ino != own.st_ino)
		return fail(
			0, "--exec-file %s: give mayfly itself, which is jailer and microVM in one",
			value);
	jail->name = slash ? slash + 1 : value;
	return 0;
}

static int take_cgroup_version(const char *value, struct jail_config *jail)
{
	(void)jail;
	return strcmp(value, "2") ? fail(0, "--cgroup-version %s: mayfly knows version 2", value)
				  : 0;
}

static const struct {
	const char *name, *value, *help;
	int (*take)(const char *value, struct jail_config *jail);
} jailer_rows[] = {
	{ "exec-file", "FILE", "mayfly itself, as a link by the name of firecracker",
	  take_exec_file },
	{ "cgroup-version", "N", "2, the only one", take_cgroup_version },
	{ "version", NULL, "print the version and exit", NULL },
	{ "help", NULL, "print this and exit", NULL },
};
#define JAILER_ROWS (sizeof(jailer_rows) / sizeof(jailer_rows[0]))

static int print_of_jailer(const char *name)
{
	if (!strcmp(name, "version")) {
		puts("Jailer v" FC_VERSION);
		return 1;
	}
	puts("jailer --id ID --exec-file FILE --uid N --gid N [OPTIONS] [-- OPTIONS OF firecracker]\n"
	     "FOLDER is /srv/jailer by default; in paths, read FILE's name for \"mayfly\".");
	args_jail_help(27, false);
	for (size_t i = 0; i < JAILER_ROWS; i++)
		args_help_row(27, jailer_rows[i].name, jailer_rows[i].value, jailer_rows[i].help);
	return 1;
}

/* As parse(); *first is where the program's name would stand before what is not the jailer's. */
static int parse_jailer(int argc, char **argv, struct jail_config *jail, int *first)
{
	struct args_row all[ARGS_JAIL + JAILER_ROWS + 1] = { 0 };
	struct args_reader reader = { .command = "jailer",
				      .hint = "'jailer --help' lists them",
				      .rows = all,
				      .argc = argc,
				      .argv = argv,
				      .next = 1 };
	const char *value;
	int row, err;

	args_jail_rows(all);
	for (size_t i = 0; i < JAILER_ROWS; i++)
		all[ARGS_JAIL + i] = (struct args_row){ jailer_rows[i].name, jailer_rows[i].value };
	while ((row = args_next(&reader, &value)) != ARGS_END) {
		const int own = row - (int)ARGS_JAIL;

		if (row < 0)
			return row;
		if (own >= 0 && !jailer_rows[own].take)
			return print_of_jailer(jailer_rows[own].name);
		err = own < 0 ? args_jail_take(jail, (unsigned)row, value)
			      : jailer_rows[own].take(value, jail);
		if (err)
			return err;
	}
	*first = reader.next - 1; /* "--", or the last of ours */
	if (!jail->id || !jail->has_uid || !jail->has_gid || !jail->name)
		return fail(0, "jailer: --id, --exec-file, --uid and --gid are required");
	return 0;
}

int serve_jailer(int argc, char **argv)
{
	struct jail_config jail = { .chroot_base = "/srv/jailer", .has_pid_file = true };
	int first, err = parse_jailer(argc, argv, &jail, &first);

	if (err)
		return err > 0 ? 0 : EXIT_BAD_ARGUMENTS;
	prctl(PR_SET_NAME, jail.name); /* in the log */
	return serve_as(argc - first, argv + first, true, &jail);
}
