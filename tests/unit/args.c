// SPDX-License-Identifier: Apache-2.0
/*
 * The command line of `mayfly run`: each value's grammar and edges, what options mean together, the
 * kernel's command line that comes of them, and the line that says what is wrong. Every command
 * line runs in a process of its own, as it does in life: args.c keeps state.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/args.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define KERNEL_WORDS "console=ttyS0 reboot=panic_warm panic=-1 pci=off 8250.nr_uarts=1"
#define JOB_WORDS    KERNEL_WORDS " loglevel=1 rdinit=/.mayfly/init"

/* What the child made of its command line; strings of the config lie in the parent's memory too. */
static struct outcome {
	struct vm_config config;
	struct jail_config jail;
	int result;
	char env[80][64], path[64]; /* which the child makes, or cuts */
	char disks[4][3][64];	    /* path, overlay and name of the first disks */
	char nets[4][2][64];	    /* path and name of the first interfaces */
	char said[1024];
} * got;

static int map_outcome(void **state)
{
	(void)state;
	got = mmap(NULL, sizeof(*got), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return got == MAP_FAILED ? -1 : unsetenv("TERM");
}

static void parse_in_child(int argc, char **argv, int say_fd)
{
	dup2(say_fd, STDERR_FILENO);
	for (int i = 1; i < argc; i++) /* these are cut up where they stand */
		if (!strcmp(argv[i - 1], "--disk") || !strcmp(argv[i - 1], "--root") ||
		    !strcmp(argv[i - 1], "--net"))
			argv[i] = strdup(argv[i]);
	got->result = args_run(argc, argv, &got->config, &got->jail);
	snprintf(got->path, sizeof(got->path), "%s",
		 got->config.serial.path ? got->config.serial.path : "");
	for (unsigned i = 0; i < got->config.nr_disks && i < COUNT(got->disks); i++) {
		const struct disk_config *d = &got->config.disks[i];
		const char *text[] = { d->path, d->overlay, d->id };

		for (unsigned j = 0; j < 3; j++)
			snprintf(got->disks[i][j], sizeof(got->disks[i][j]), "%s",
				 text[j] ? text[j] : "-");
	}
	for (unsigned i = 0; i < got->config.nr_nets && i < COUNT(got->nets); i++) {
		snprintf(got->nets[i][0], sizeof(got->nets[i][0]), "%s", got->config.nets[i].path);
		snprintf(got->nets[i][1], sizeof(got->nets[i][1]), "%s", got->config.nets[i].id);
	}
	for (unsigned i = 0; i < got->config.job.nr_env; i++)
		snprintf(got->env[i], sizeof(got->env[i]), "%s", got->config.job.env[i]);
}

/* Runs args_run() on "run" and these words, NULL at the end; lines said are in got->said. */
static int parse(char **words)
{
	int say[2], status, argc = 0;
	pid_t child;
	ssize_t n;

	memset(got, 0, sizeof(*got));
	while (words[argc])
		argc++;
	assert_int_equal(pipe(say), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		parse_in_child(argc, words, say[1]);
		_exit(0);
	}
	close(say[1]);
	n = read(say[0], got->said, sizeof(got->said) - 1);
	assert_true(n >= 0);
	close(say[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	return got->result;
}

#define RUN(...) parse((char *[]){ (char[]){ "run" }, __VA_ARGS__, NULL })
#define K	 "--kernel", "vmlinux"

/* An array, not a literal: `file=...,max=...` is cut in place, as argv may be. */
#define CUT(text) ((char[]){ text })

static void refused(const char *line)
{
	assert_int_equal(got->result, -EINVAL);
	assert_string_equal(got->said, line);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "1", 1 },
		{ "4096", 4096 },
		{ "1K", 1024 },
		{ "128M", 128ull << 20 },
		{ "4G", 4ull << 30 },
		{ "1T", 1ull << 40 },
		{ "010", 10 },
		{ "16777215T", 16777215ull << 40 },
		{ "18446744073709551615", UINT64_MAX },
		{ "18014398509481983K", 18014398509481983ull << 10 },
	};
	static const char *const bad[] = {
		"",
		"K",
		"-1",
		"+1",
		" 1",
		"1 ",
		"1k",
		"1m",
		"1MB",
		"1MM",
		"0x1",
		"1.5G",
		"1e3",
		"1P",
		"M1",
		"18446744073709551616",
		"16777216T",
		"18014398509481984K",
		"99999999999999999999999",
	};
	uint64_t bytes;

	(void)state;
	for (unsigned i = 0; i < COUNT(good); i++) {
		assert_int_equal(args_size(good[i].text, &bytes), 0);
		assert_int_equal(bytes, good[i].bytes);
	}
	for (unsigned i = 0; i < COUNT(bad); i++)
		if (args_size(bad[i], &bytes) != -EINVAL)
			fail_msg("size taken: '%s'", bad[i]);
}

static void durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
		{ "0", 0 },
		{ "30", 30000 },
		{ "500ms", 500 },
		{ "30s", 30000 },
		{ "5m", 300000 },
		{ "2h", 7200000 },
		{ "8760h", 31536000000ull },
		{ "31536000000ms", 31536000000ull },
	};
	static const char *const bad[] = {
		"",
		"s",
		"-1s",
		" 1s",
		"1s ",
		"1.5s",
		"1S",
		"1d",
		"1min",
		"8761h",
		"31536001",
		"18446744073709551615h",
		"99999999999999999999999",
	};
	uint64_t ms;

	(void)state;
	for (unsigned i = 0; i < COUNT(good); i++) {
		assert_int_equal(args_duration(good[i].text, &ms), 0);
		assert_int_equal(ms, good[i].ms);
	}
	for (unsigned i = 0; i < COUNT(bad); i++)
		if (args_duration(bad[i], &ms) != -EINVAL)
			fail_msg("time taken: '%s'", bad[i]);
}

static void defaults(void **state)
{
	(void)state;
	assert_int_equal(RUN(K), 0);
	assert_string_equal(got->config.kernel, "vmlinux");
	assert_null(got->config.initrd);
	assert_int_equal(got->config.mem_size, 128ul << 20);
	assert_int_equal(got->config.cpus, 1);
	assert_int_equal(got->config.hv, HV_AUTO);
	assert_int_equal(got->config.serial.kind, SERIAL_STDIO);
	assert_int_equal(got->config.timeout_ms, 0);
	assert_null(got->config.timeline);
	assert_false(got->config.report);
	assert_int_equal(got->config.job.argc, 0);
	assert_string_equal(got->config.cmdline, KERNEL_WORDS);
	assert_string_equal(got->said, "");
}

static void everything(void **state)
{
	(void)state;
	assert_int_equal(RUN(K, "--initrd", "i", "--mem=4G", "--cpus", "32", "--cmdline", "quiet",
			     "--env", "A=1", "--timeout", "2h", "--serial", CUT("unix=sock"),
			     "--hv", "kvm", "--report", "--timeline", "t", "--", "ls", "-l",
			     "--mem"),
			 0);
	assert_string_equal(got->config.initrd, "i");
	assert_int_equal(got->config.mem_size, 4ull << 30);
	assert_int_equal(got->config.cpus, 32);
	assert_int_equal(got->config.timeout_ms, 7200000);
	assert_int_equal(got->config.serial.kind, SERIAL_UNIX);
	assert_int_equal(got->config.hv, HV_KVM);
	assert_true(got->config.report);
	assert_string_equal(got->config.timeline, "t");
	assert_int_equal(got->config.job.argc, 3);
	assert_string_equal(got->config.job.argv[0], "ls");
	assert_string_equal(got->config.job.argv[2], "--mem");
	assert_int_equal(got->config.job.nr_env, 1);
	assert_string_equal(got->env[0], "A=1");
	assert_string_equal(got->config.cmdline, JOB_WORDS " quiet");
}

static void memory(void **state)
{
	static char *const bad[] = {
		"0", "15M", "16777215", "16777217", "1025G", "2T", "lots", ""
	};

	(void)state;
	assert_int_equal(RUN(K, "--mem", "16M"), 0);
	assert_int_equal(got->config.mem_size, MEM_MIN);
	assert_int_equal(RUN(K, "--mem", "1T"), 0);
	assert_int_equal(got->config.mem_size, MEM_MAX);
	assert_int_equal(RUN(K, "--mem", "16781312"), 0);
	for (unsigned i = 0; i < COUNT(bad); i++)
		assert_int_equal(RUN(K, "--mem", bad[i]), -EINVAL);
	RUN(K, "--mem", "15M");
	refused("mayfly: --mem 15M: give 16M to 1T, in whole pages of 4K (without K, M, G or T it is bytes)\n");
}

static void cpus(void **state)
{
	static char *const bad[] = { "0", "33", "-1", "1.5", "one", "", "4294967297" };

	(void)state;
	for (unsigned i = 0; i < COUNT(bad); i++)
		assert_int_equal(RUN(K, "--cpus", bad[i]), -EINVAL);
	RUN(K, "--cpus", "33");
	refused("mayfly: --cpus 33: give 1 to 32\n");
}

static void serial(void **state)
{
	static char *const bad[] = {
		"", "file", "file=", "unix=", "unix", "tty", "stdio ", "null"
	};

	(void)state;
	assert_int_equal(RUN(K, "--serial", CUT("file=a,b,max=10M")), 0);
	assert_int_equal(got->config.serial.kind, SERIAL_FILE);
	assert_string_equal(got->path, "a,b");
	assert_int_equal(got->config.serial.max_size, 10ul << 20);
	assert_int_equal(RUN(K, "--serial", "pty"), 0);
	assert_int_equal(got->config.serial.kind, SERIAL_PTY);
	for (unsigned i = 0; i < COUNT(bad); i++)
		assert_int_equal(RUN(K, "--serial", bad[i]), -EINVAL);
	RUN(K, "--serial", CUT("file=a,max=0"));
	refused("mayfly: --serial file=a,max=0: give a size such as 10M\n");
}

/* Of an option given twice the last counts, and nothing of the first. */
static void serial_twice(void **state)
{
	(void)state;
	assert_int_equal(RUN(K, "--serial", CUT("file=a,max=1K"), "--serial", CUT("file=b")), 0);
	assert_string_equal(got->path, "b");
	assert_int_equal(got->config.serial.max_size, 0);
	assert_int_equal(RUN(K, "--serial", CUT("file=a,max=1K"), "--serial", CUT("unix=s")), 0);
	assert_int_equal(got->config.serial.max_size, 0);
	assert_int_equal(RUN(K, "--serial", CUT("file=a"), "--serial", "stdio"), 0);
	assert_int_equal(got->config.serial.kind, SERIAL_STDIO);
	assert_null(got->config.serial.path);
}

static void timeouts(void **state)
{
	(void)state;
	assert_int_equal(RUN(K, "--timeout", "1ms"), 0);
	assert_int_equal(got->config.timeout_ms, 1);
	RUN(K, "--timeout", "0");
	refused("mayfly: --timeout 0: give a time such as 500ms, 30s, 5m or 2h\n");
	assert_int_equal(RUN(K, "--timeout", "soon"), -EINVAL);
}

static void environment(void **state)
{
	(void)state;
	assert_int_equal(RUN(K, "--env", "A=", "--env", "B=x=y", "--", "env"), 0);
	assert_int_equal(got->config.job.nr_env, 2);
	assert_string_equal(got->env[0], "A=");
	assert_string_equal(got->env[1], "B=x=y");
	RUN(K, "--env", "A");
	refused("mayfly: --env A: give NAME=VALUE\n");
	RUN(K, "--env", "=x");
	refused("mayfly: --env =x: give NAME=VALUE\n");
}

static void many_variables(void **state)
{
	char *words[4 + 2 * 64 + 1] = { "run", K };
	char variables[64][8];
	unsigned n = 3;

	(void)state;
	for (unsigned i = 0; i < 63; i++) {
		snprintf(variables[i], sizeof(variables[i]), "A%u=1", i);
		words[n++] = "--env";
		words[n++] = variables[i];
	}
	setenv("TERM", "vt100", 1);
	assert_int_equal(parse(words), 0);
	assert_int_equal(got->config.job.nr_env, 64);
	assert_string_equal(got->env[63], "TERM=vt100");
	words[n++] = "--env";
	words[n] = "A62=2"; /* the same one: the last one counts */
	assert_int_equal(parse(words), 0);
	assert_string_equal(got->env[62], "A62=2");
	words[n] = "A=1";
	parse(words);
	refused("mayfly: --env: at most 63 variables\n");
	unsetenv("TERM");
}

/* The operator's terminal, unless the user names another. */
static void terminal(void **state)
{
	(void)state;
	setenv("TERM", "vt100", 1);
	assert_int_equal(RUN(K, "--env", "TERMINAL=x", "--", "sh"), 0);
	assert_int_equal(got->config.job.nr_env, 2);
	assert_string_equal(got->env[1], "TERM=vt100");
	assert_int_equal(RUN(K, "--env", "TERM=dumb", "--", "sh"), 0);
	assert_int_equal(got->config.job.nr_env, 1);
	assert_string_equal(got->env[0], "TERM=dumb");
	unsetenv("TERM");
}

static void command_lines(void **state)
{
	static const size_t room = CMDLINE_SIZE - 1 - sizeof(KERNEL_WORDS); /* and a blank */
	char words[CMDLINE_SIZE + 1], line[256];

	(void)state;
	assert_int_equal(RUN(K, "--cmdline", "a", "--cmdline", "b c"), 0);
	assert_string_equal(got->config.cmdline, KERNEL_WORDS " b c");
	assert_int_equal(RUN(K, "--", "true"), 0);
	assert_string_equal(got->config.cmdline, JOB_WORDS);
	memset(words, 'x', sizeof(words));
	words[room] = '\0';
	assert_int_equal(RUN(K, "--cmdline", words), 0);
	assert_int_equal(strlen(got->config.cmdline), CMDLINE_SIZE - 1);
	words[room] = 'x';
	words[room + 1] = '\0';
	RUN(K, "--cmdline", words);
	snprintf(line, sizeof(line), "mayfly: command line: %u bytes; at most %u go in\n",
		 CMDLINE_SIZE, CMDLINE_SIZE - 1);
	refused(line);
}

static void huge_command_line(void **state)
{
	char *words = malloc(128 * 1024);

	(void)state;
	assert_non_null(words);
	memset(words, 'x', 128 * 1024 - 1);
	words[128 * 1024 - 1] = '\0';
	assert_int_equal(RUN(K, "--cmdline", words), -EINVAL);
	assert_non_null(strstr(got->said, "at most 2047 go in\n"));
	free(words);
}

static void jobs(void **state)
{
	(void)state;
	assert_int_equal(RUN(K), 0);
	assert_int_equal(got->config.job.argc, 0);
	assert_string_equal(got->config.cmdline, KERNEL_WORDS);
	assert_int_equal(RUN(K, "--", "--", "x"), 0);
	assert_int_equal(got->config.job.argc, 2);
	assert_string_equal(got->config.job.argv[0], "--");
	assert_int_equal(RUN(K, "--", ""), 0);
	assert_int_equal(got->config.job.argc, 1);
	assert_int_equal(RUN(K, "--serial", "none", "--", "true"), 0);
	assert_string_equal(got->said,
			    "mayfly: --serial none: the command's output goes nowhere\n");
}

static void mistakes(void **state)
{
	static char *const empty[] = { "--kernel", "--initrd", "--mem", "--disk", "--id" };
	char line[80];

	(void)state;
	RUN("--mem", "128M");
	refused("mayfly: run: --kernel FILE is required ('mayfly run --help' lists the options)\n");
	RUN(K, "ls");
	refused("mayfly: run: 'ls' is not an option; a command for the guest comes after --\n");
	RUN(K, "--timeline", "--", "ls"); /* an option's value */
	refused("mayfly: run: 'ls' is not an option; a command for the guest comes after --\n");
	RUN("ls", K);
	refused("mayfly: run: 'ls' is not an option; a command for the guest comes after --\n");
	RUN(K, "--");
	refused("mayfly: run: no command after --\n");
	RUN(K, "--memory", "1G");
	refused("mayfly: run: --memory is not an option ('mayfly run --help' lists them)\n");
	RUN(K, "-m", "1G");
	refused("mayfly: run: -m is not an option ('mayfly run --help' lists them)\n");
	RUN(K, "-mem", "1G");
	refused("mayfly: run: -mem is not an option ('mayfly run --help' lists them)\n");
	RUN(K, "--report=yes");
	refused("mayfly: run: --report takes no value\n");
	RUN(K, "--repor");
	refused("mayfly: run: --repor is not an option ('mayfly run --help' lists them)\n");
	RUN(K, "--init=x");
	refused("mayfly: run: --init=x is not an option ('mayfly run --help' lists them)\n");
	RUN(K, "");
	refused("mayfly: run: '' is not an option; a command for the guest comes after --\n");
	for (size_t i = 0; i < COUNT(empty); i++) {
		RUN(K, empty[i], "");
		snprintf(line, sizeof(line), "mayfly: run: %s needs a value\n", empty[i]);
		refused(line);
	}
	RUN(K, "--timeline=", "--help");
	refused("mayfly: run: --timeline needs a value\n");
	assert_int_equal(RUN(K, "--cmdline", "", "--cmdline="), 0);
	RUN("--kernel");
	refused("mayfly: run: --kernel needs a value\n");
	RUN(K, "--hv", "xen");
	refused("mayfly: --hv xen: give auto, mayfly or kvm\n");
}

static void help(void **state)
{
	(void)state;
	assert_int_equal(RUN("--help"), 1);
	assert_int_equal(RUN(K, "--mem", "1G", "--help"), 1);
	assert_int_equal(RUN("--mem", "none", "--help"), -EINVAL);
}

static void disks(void **state)
{
	const struct disk_config *d = got->config.disks;

	(void)state;
	assert_int_equal(RUN(K, "--disk", "a.img", "--disk",
			     "b,direct,overlay=c.layer,cache=unsafe,id=data_2", "--disk",
			     "d,overlay=tmp", "--disk", "e,ro,cache=writeback"),
			 0);
	assert_int_equal(got->config.nr_disks, 4);
	assert_string_equal(got->disks[0][0], "a.img");
	assert_string_equal(got->disks[0][1], "-");
	assert_string_equal(got->disks[0][2], "disk0");
	assert_false(d[0].is_direct || d[0].is_read_only || d[0].is_overlay_tmp || d[0].is_root);
	assert_int_equal(d[0].cache, DISK_CACHE_WRITEBACK);
	assert_int_equal(d[0].limit.bytes.size + d[0].limit.ops.size, 0);
	assert_string_equal(got->disks[1][0], "b");
	assert_string_equal(got->disks[1][1], "c.layer");
	assert_string_equal(got->disks[1][2], "data_2");
	assert_true(d[1].is_direct && !d[1].is_overlay_tmp);
	assert_int_equal(d[1].cache, DISK_CACHE_UNSAFE);
	assert_true(d[2].is_overlay_tmp);
	assert_string_equal(got->disks[2][1], "-");
	assert_string_equal(got->disks[3][2], "disk3");
	assert_true(d[3].is_read_only);
	assert_string_equal(got->config.cmdline, KERNEL_WORDS);
}

static void nets(void **state)
{
	static const uint8_t mac[6] = { 0x02, 0xab, 0, 0xFF, 9, 0x10 };
	const struct net_config *n = got->config.nets;

	(void)state;
	assert_int_equal(RUN(K, "--net", "tap=tap0", "--net",
			     "peer=/a/b,mac=02:ab:00:FF:09:10,mtu=9000,spoof=refuse,id=lan",
			     "--net", "passt=s,offload=off,rx-bytes=1M+2M/500ms,tx-ops=7", "--net",
			     "fd=12,spoof=count,offload=on,rx-ops=3/1m,tx-bytes=5"),
			 0);
	assert_int_equal(got->config.nr_nets, 4);
	assert_int_equal(n[0].kind, NET_TAP);
	assert_string_equal(got->nets[0][0], "tap0");
	assert_string_equal(got->nets[0][1], "net0");
	assert_false(n[0].has_mac || n[0].is_plain || n[0].is_spoof_refused || n[0].mtu);
	assert_int_equal(
		n[0].rx.bytes.size + n[0].tx.bytes.size + n[0].rx.ops.size + n[0].tx.ops.size, 0);
	assert_int_equal(n[1].kind, NET_PEER);
	assert_string_equal(got->nets[1][0], "/a/b");
	assert_string_equal(got->nets[1][1], "lan");
	assert_true(n[1].has_mac && n[1].is_spoof_refused);
	assert_memory_equal(n[1].mac, mac, 6);
	assert_int_equal(n[1].mtu, 9000);
	assert_int_equal(n[2].kind, NET_STREAM);
	assert_string_equal(got->nets[2][0], "s");
	assert_true(n[2].is_plain);
	assert_int_equal(n[2].rx.bytes.size, 1 << 20);
	assert_int_equal(n[2].rx.bytes.one_time_burst, 2 << 20);
	assert_int_equal(n[2].rx.bytes.refill_ms, 500);
	assert_int_equal(n[2].tx.ops.size, 7);
	assert_int_equal(n[2].tx.ops.refill_ms, 1000);
	assert_int_equal(n[3].kind, NET_TAP_FD);
	assert_int_equal(n[3].fd, 12);
	assert_string_equal(got->nets[3][1], "net3");
	assert_int_equal(n[3].rx.ops.refill_ms, 60000);
	assert_int_equal(n[3].tx.bytes.size, 5);
	assert_string_equal(got->config.cmdline, KERNEL_WORDS);
}

static void rate_limits(void **state)
{
	static const struct {
		const char *word;
		struct token_bucket bytes, ops;
	} row[] = {
		{ "a,bytes=10M", { 10 << 20, 0, 1000 }, { 0, 0, 0 } },
		{ "a,bytes=10M/100ms", { 10 << 20, 0, 100 }, { 0, 0, 0 } },
		{ "a,bytes=1M+64M/1s", { 1 << 20, 64 << 20, 1000 }, { 0, 0, 0 } },
		{ "a,ops=500", { 0, 0, 0 }, { 500, 0, 1000 } },
		{ "a,ops=5+7/2m,bytes=4K", { 4096, 0, 1000 }, { 5, 7, 120000 } },
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(row); i++) {
		assert_int_equal(RUN(K, "--disk", (char *)row[i].word), 0);
		assert_memory_equal(&got->config.disks[0].limit.bytes, &row[i].bytes,
				    sizeof(row[i].bytes));
		assert_memory_equal(&got->config.disks[0].limit.ops, &row[i].ops,
				    sizeof(row[i].ops));
	}
}

/* Wherever --root stands, its disk is the first, and the kernel is told. */
static void root_disk(void **state)
{
	(void)state;
	assert_int_equal(RUN(K, "--disk", "a", "--root", "r", "--disk", "b", "--cmdline", "x"), 0);
	assert_string_equal(got->disks[0][0], "r");
	assert_string_equal(got->disks[0][2], "disk0");
	assert_string_equal(got->disks[1][0], "a");
	assert_string_equal(got->disks[2][0], "b");
	assert_true(got->config.disks[0].is_root && !got->config.disks[1].is_root);
	assert_string_equal(got->config.cmdline, KERNEL_WORDS " root=/dev/vda rw x");
	assert_int_equal(RUN(K, "--root", "r,ro"), 0);
	assert_string_equal(got->config.cmdline, KERNEL_WORDS " root=/dev/vda ro");
	/* What is init's comes after all that is the kernel's. */
	assert_int_equal(RUN(K, "--cmdline", "x -- y", "--root", "r,ro", "--", "true"), 0);
	assert_string_equal(got->config.cmdline, KERNEL_WORDS
			    " root=/dev/vda ro loglevel=1 rdinit=/.mayfly/init x -- y");
}

/* The file is one program of one instruction, for vCPUs. */
static void filters(void **state)
{
	static const char program[28] = "vcpu\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\6\0\0\0\0\0\3";
	char path[] = "/tmp/mayfly-filters-XXXXXX";
	const int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, program, sizeof(program)), sizeof(program));
	close(fd);
	assert_int_equal(RUN(K, "--seccomp-filter", path), 0);
	assert_int_equal(RUN(K, "--no-seccomp"), 0);
	RUN(K, "--no-seccomp", "--seccomp-filter", path);
	refused("mayfly: --no-seccomp and --seccomp-filter: give one of the two\n");
	RUN(K, "--seccomp-filter", path, "--no-seccomp");
	refused("mayfly: --no-seccomp and --seccomp-filter: give one of the two\n");
	RUN(K, "--seccomp-filter", "/dev/null");
	refused("mayfly: --seccomp-filter /dev/null: is not a file of mayfly's filters\n");
	unlink(path);
}

/* What has no name gets one that nobody was given, its place's if that is free. */
static void names(void **state)
{
	(void)state;
	assert_int_equal(RUN(K, "--disk", "a,id=disk1", "--disk", "b", "--disk", "c,id=disk2"), 0);
	assert_string_equal(got->disks[0][2], "disk1");
	assert_string_equal(got->disks[1][2], "disk3");
	assert_string_equal(got->disks[2][2], "disk2");
	assert_int_equal(RUN(K, "--net", "peer=p", "--net", "peer=p,id=net0"), 0);
	assert_string_equal(got->nets[0][1], "net1");
	assert_string_equal(got->nets[1][1], "net0");
	RUN(K, "--disk", "a,id=x", "--disk", "b", "--disk", "c,id=x");
	refused("mayfly: --disk: two are called x\n");
}

/* Strings are the child's own, or lie in the parent's memory too. */
static void jail(void **state)
{
	(void)state;
	assert_int_equal(RUN(K, "--uid", "1000", "--gid", "100", "--chroot-base-dir", "/srv",
			     "--netns", "/run/netns/a", "--new-pid-ns", "--cgroup",
			     "memory.max=256M", "--cgroup", "cpu.weight.nice=1", "--parent-cgroup",
			     "a/b", "--resource-limit", "fsize=1M", "--resource-limit",
			     "no-file=100", "--daemonize", "--id", "x-1"),
			 0);
	assert_true(got->jail.has_uid && got->jail.has_gid && got->jail.has_new_pid_ns &&
		    got->jail.is_daemon && !got->jail.is_off);
	assert_int_equal(got->jail.uid, 1000);
	assert_int_equal(got->jail.gid, 100);
	assert_string_equal(got->jail.chroot_base, "/srv");
	assert_string_equal(got->jail.netns, "/run/netns/a");
	assert_int_equal(got->jail.nr_cgroup, 2);
	assert_string_equal(got->jail.cgroup[1], "cpu.weight.nice=1");
	assert_string_equal(got->jail.parent_cgroup, "a/b");
	assert_int_equal(got->jail.fsize, 1 << 20);
	assert_int_equal(got->jail.no_file, 100);
	assert_string_equal(got->jail.id, "x-1");
	assert_string_equal(got->jail.name, "mayfly");
	assert_int_equal(RUN(K, "--no-jail"), 0);
	assert_true(got->jail.is_off);
}

static void jail_keeps_taps(void **state)
{
	(void)state;
	assert_int_equal(RUN(K, "--net", "fd=7", "--net", "tap=a", "--net", "fd=9"), 0);
	assert_int_equal(got->jail.nr_keep, 2);
	assert_int_equal(got->jail.keep[0], 7);
	assert_int_equal(got->jail.keep[1], 9);
}

/*
 * Those that are named are opened anew, and then closed; never the standard ones, nor one that is
 * not open yet and will be mayfly's own.
 */
static void jail_names_descriptors(void **state)
{
	(void)state;
	dup2(STDERR_FILENO, 9);
	dup2(STDERR_FILENO, 12);
	assert_int_equal(RUN("--kernel", "/dev/fd/9", "--initrd", "/proc/self/fd/12", "--", "sh",
			     "-c", "cat </dev/fd/0 >/dev/fd/1 2>/dev/fd/2", "/dev/fd/x",
			     "/dev/fd/-5", "/dev/fd/11", "/dev/fd/9"),
			 0);
	close(9);
	close(12);
	assert_int_equal(got->jail.nr_named, 2);
	assert_int_equal(got->jail.named[0], 9);
	assert_int_equal(got->jail.named[1], 12);
}

static void jail_mistakes(void **state)
{
	static char *const wrong[][2] = {
		{ "--uid", "root" },
		{ "--uid", "4294967295" },
		{ "--uid", "1K" },
		{ "--gid", "-1" },
		{ "--id", "a/b" },
		{ "--id", "" },
		{ "--chroot-base-dir", "srv" },
		{ "--cgroup", "memory.max" },
		{ "--cgroup", "memory.max=" },
		{ "--cgroup", "../memory.max=1" },
		{ "--cgroup", "memory=1.5" },
		{ "--parent-cgroup", "/a" },
		{ "--parent-cgroup", "a/../../b" },
		{ "--parent-cgroup", "" },
		{ "--resource-limit", "fsize=" },
		{ "--resource-limit", "no-file=0" },
		{ "--resource-limit", "core=1" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(wrong); i++) {
		RUN(K, wrong[i][0], wrong[i][1]);
		assert_int_equal(got->result, -EINVAL);
		assert_non_null(strstr(got->said, wrong[i][0]));
	}
	RUN(K, "--uid", "1");
	refused("mayfly: give --uid and --gid, or neither\n");
	RUN(K, "--no-jail", "--new-pid-ns");
	refused("mayfly: --no-jail goes with none of the jail's other options\n");
	RUN(K, "--no-jail", "--resource-limit", "fsize=1M");
	refused("mayfly: --no-jail goes with none of the jail's other options\n");
	RUN(K, "--resource-limit", "no-file=100", "--no-jail");
	refused("mayfly: --no-jail goes with none of the jail's other options\n");
}

/* A descriptor in a path's place is itself once more: no file is opened, no right is gained. */
static void descriptors(void **state)
{
	char path[64], byte = 0;
	int fds[2], again;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	again = config_open(path, 0, O_RDONLY | O_CLOEXEC);
	assert_true(again > fds[1]);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(read(again, &byte, 1), 1);
	assert_int_equal(fcntl(again, F_GETFD), FD_CLOEXEC);
	close(again);
	again = config_open("nowhere", fds[0], O_RDONLY | O_CLOEXEC);
	assert_true(again > fds[1]);
	assert_int_equal(config_open(path, 0, O_RDWR), -1);
	assert_int_equal(errno, EACCES);
	close(fds[0]);
	assert_int_equal(config_open(path, 0, O_RDONLY), -1);
	assert_int_equal(errno, EBADF);
	close(fds[1]);
	close(again);
	/* What is no number is a path like any other, to files that there are not. */
	assert_int_equal(config_open("/proc/self/fd/", 0, O_RDWR), -1);
	assert_int_equal(config_open("/proc/self/fd/0/etc/x", 0, O_RDONLY), -1);
	assert_int_equal(config_open("/proc/self/fd/4294967296", 0, O_RDONLY), -1);
	assert_int_equal(config_open("/proc/self/fd/-0", 0, O_RDONLY), -1);
}

static const struct CMUnitTest tests[] = {
	{ .name = "sizes with and without a suffix", .test_func = sizes },
	{ .name = "times with and without a suffix", .test_func = durations },
	{ .name = "a kernel alone is enough", .test_func = defaults },
	{ .name = "all options at once", .test_func = everything },
	{ .name = "--mem from 16M to 1T", .test_func = memory },
	{ .name = "--cpus from 1 to 32", .test_func = cpus },
	{ .name = "--serial goes to each place", .test_func = serial },
	{ .name = "of two --serial the last counts", .test_func = serial_twice },
	{ .name = "--timeout needs some time", .test_func = timeouts },
	{ .name = "--env adds variables", .test_func = environment },
	{ .name = "--env takes 63 variables", .test_func = many_variables },
	{ .name = "TERM is the operator's, or --env's", .test_func = terminal },
	{ .name = "--disk takes words", .test_func = disks },
	{ .name = "--net takes a link and words", .test_func = nets },
	{ .name = "rate limits: size, burst, time", .test_func = rate_limits },
	{ .name = "the jail's options", .test_func = jail },
	{ .name = "taps that came as descriptors stay open", .test_func = jail_keeps_taps },
	{ .name = "descriptors that are named", .test_func = jail_names_descriptors },
	{ .name = "mistakes in the jail's options", .test_func = jail_mistakes },
	{ .name = "--root goes first", .test_func = root_disk },
	{ .name = "the kernel's command line is composed", .test_func = command_lines },
	{ .name = "names that were not given", .test_func = names },
	{ .name = "no filters, or others: not both", .test_func = filters },
	{ .name = "a huge --cmdline is refused", .test_func = huge_command_line },
	{ .name = "a job comes after --", .test_func = jobs },
	{ .name = "mistakes are named as they were made", .test_func = mistakes },
	{ .name = "--help wins over what comes after it", .test_func = help },
	{ .name = "a descriptor in a path's place is itself once more", .test_func = descriptors },
};

int main(void)
{
	return cmocka_run_group_tests_name("args", tests, map_outcome, NULL);
}
