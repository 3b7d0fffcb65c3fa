// SPDX-License-Identifier: Apache-2.0
/*
 * How long a microVM takes to boot and what its monitor holds, for mayfly and its peers in turns
 * (A B A B). Started by ./boot, on this machine or in an emulated host that has nothing but this
 * program; prints JSON lines (report.h), of which report.c makes tables. Reading order: main(),
 * time_boot(), measure_memory().
 */
#include "child.h"
#include "folder.h"
#include "init.h"
#include "kernel.h"
#include "peers.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define MONITORS_MAX 6u
#define HELLO	     "Hello from ring" /* as tests/guest/hello.c has it */
#define BOOT_LIMIT   120u	       /* seconds for a boot in an emulated host */
#define END_LIMIT    10u	       /* and for a power-off; a monitor that cannot is killed */
#define SETTLE_NS    50000000l	       /* after init, before a look at the memory */

struct plan {
	const char *host, *machine;
	unsigned runs, memory_runs;
	struct guest guest;
	const char *first; /* the kernel whose first instruction is seen, or NULL */
	struct monitor monitors[MONITORS_MAX];
	unsigned nr_monitors;
};

static char dir[64]; /* for the files of the monitors */

/*
 * The phases. mayfly's own timeline knows all of them; from outside, the same way for everyone, are
 * seen the first byte that comes out of the serial port, the line that init writes, and the end;
 * and of a kernel that writes a byte first and then rests (tests/guest/first.S), its first
 * instruction.
 */
static const struct {
	const char *id, *label;
} own_phases[] = {
	{ "start", "main()" },
	{ "configured", "configured" },
	{ "first_entry", "first guest instruction" },
	{ "first_serial", "first serial byte" },
	{ "init", "init" },
	{ "end", "end" },
};
#define OWN_PHASES (sizeof(own_phases) / sizeof(own_phases[0]))

struct boot_time {
	struct mark first, init, end, closed; /* from outside */
	struct mark own[OWN_PHASES];
};

static const char *marker(const struct guest *guest)
{
	return guest->is_linux ? MARKER : HELLO;
}

/* One phase of mayfly's timeline: "NAME":{"wall_us":N,"cpu_us":N}; wall time since `start_ns`. */
static struct mark timeline_phase(const char *text, const char *name, uint64_t start_ns)
{
	char pattern[64];
	double wall_us, cpu_us;
	const char *at;

	snprintf(pattern, sizeof(pattern), "\"%s\":{\"wall_us\":", name);
	at = strstr(text, pattern);
	if (!at || sscanf(at + strlen(pattern), "%lf,\"cpu_us\":%lf", &wall_us, &cpu_us) != 2)
		return (struct mark){ 0 };
	return (struct mark){ .wall_ns = (uint64_t)(wall_us * 1e3) - start_ns,
			      .cpu_ns = (uint64_t)(cpu_us * 1e3) };
}

static void read_timeline(uint64_t start_ns, struct boot_time *time)
{
	char path[96], text[2048];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/timeline", dir);
	f = fopen(path, "r");
	if (!f) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	len = fread(text, 1, sizeof(text) - 1, f);
	text[len] = '\0';
	fclose(f);
	unlink(path);
	for (unsigned i = 0; i < OWN_PHASES; i++)
		time->own[i] = timeline_phase(text, own_phases[i].id, start_ns);
}

static void launch(const struct monitor *m, const struct guest *guest, struct child *child)
{
	static struct command command;

	peer_command(&command, m->peer, m->program, guest, dir);
	child_start(child, m->peer->name, command.argv);
}

static void time_boot(const struct plan *plan, const struct monitor *m, struct boot_time *time)
{
	struct child child;
	int status;

	memset(time, 0, sizeof(*time));
	launch(m, &plan->guest, &child);
	child_await(&child, marker(&plan->guest), BOOT_LIMIT, &time->first, &time->init);
	if (plan->guest.is_linux && !m->peer->powers_off) {
		child_kill(&child);
		return;
	}
	status = child_end(&child, END_LIMIT, &time->end, &time->closed);
	/* A peer's own way to end with its guest may have another status than 0; no crash's,
	 * though. */
	if (status > 128 || (m->peer->is_mayfly && status)) {
		fprintf(stderr, "bench: %s ended with %d\n", m->program, status);
		exit(EXIT_FAILURE);
	}
	if (m->peer->is_mayfly)
		read_timeline(child.start_ns, time);
}

static void print_mark(const char *id, struct mark mark)
{
	if (!mark.wall_ns)
		return;
	printf(",\"%s_wall\":%.1f,\"%s_cpu\":%.1f", id, (double)mark.wall_ns / 1e3, id,
	       (double)mark.cpu_ns / 1e3);
}

static void print_boot(const struct plan *plan, const char *who, unsigned run,
		       const struct boot_time *time)
{
	char id[32];

	printf("{\"who\":\"%s\",\"run\":%u", who, run);
	for (unsigned i = 0; i < OWN_PHASES; i++) {
		snprintf(id, sizeof(id), "own_%s", own_phases[i].id);
		print_mark(id, time->own[i]);
	}
	print_mark("byte", time->first);
	if (plan->guest.is_linux)
		print_mark("marker", time->init);
	print_mark("exit", time->end);
	if (time->closed.wall_ns)
		printf(",\"closed_wall\":%.1f", (double)time->closed.wall_ns / 1e3);
	printf("}\n");
	fflush(stdout);
}

static void time_first(const struct plan *plan, const struct monitor *m, unsigned run)
{
	struct guest guest = plan->guest;
	struct mark first, found;
	struct child child;

	guest.kernel = plan->first;
	launch(m, &guest, &child);
	child_await(&child, "", BOOT_LIMIT, &first, &found);
	child_kill(&child);
	printf("{\"who\":\"%s\",\"run\":%u", m->peer->name, run);
	print_mark("first", first);
	printf("}\n");
}

static void measure_boots(const struct plan *plan)
{
	struct boot_time time;

	for (unsigned i = 0; i < plan->nr_monitors; i++) /* files into the page cache */
		time_boot(plan, &plan->monitors[i], &time);
	for (unsigned run = 0; run < plan->runs; run++)
		for (unsigned i = 0; i < plan->nr_monitors; i++) {
			if (plan->first)
				time_first(plan, &plan->monitors[i], run);
			time_boot(plan, &plan->monitors[i], &time);
			print_boot(plan, plan->monitors[i].peer->name, run, &time);
		}
}

/* The guest that stays once it has booted. */
static struct guest guest_that_stays(const struct plan *plan)
{
	static char cmdline[2048];
	struct guest guest = plan->guest;

	snprintf(cmdline, sizeof(cmdline), "%s " HOLD, guest.cmdline);
	guest.cmdline = cmdline;
	return guest;
}

static void boot_and_stay(const struct monitor *m, const struct guest *guest, struct child *child)
{
	const struct timespec settle = { .tv_nsec = SETTLE_NS };
	struct mark first, init;

	launch(m, guest, child);
	child_await(child, marker(guest), BOOT_LIMIT, &first, &init);
	nanosleep(&settle, NULL);
}

static struct memory memory_of(const struct plan *plan, const struct child *child)
{
	return child_memory(child, (long)plan->guest.mem_mib << 10);
}

/*
 * What the machine holds more with a microVM of `second` beside one of `first`. False where that is
 * not to be had.
 */
static bool added_kib(const struct plan *plan, const struct monitor *m, const struct guest *first,
		      const struct guest *second, long *kib)
{
	struct child a, b;
	long alone, beside, other;

	boot_and_stay(m, first, &a);
	alone = memory_of(plan, &a).all_kib;
	boot_and_stay(m, second, &b);
	beside = memory_of(plan, &a).all_kib;
	other = memory_of(plan, &b).all_kib;
	child_kill(&b);
	child_kill(&a);
	*kib = beside + other - alone;
	return alone >= 0 && beside >= 0 && other >= 0;
}

static void measure_memory(const struct plan *plan, const struct monitor *m, unsigned run)
{
	const struct guest guest = guest_that_stays(plan);
	struct memory memory;
	struct child child;

	boot_and_stay(m, &guest, &child);
	memory = memory_of(plan, &child);
	child_kill(&child);
	printf("{\"who\":\"%s\",\"run\":%u", m->peer->name, run);
	if (memory.own_kib >= 0)
		printf(",\"own_pss\":%ld,\"guest_pss\":%ld", memory.own_kib, memory.guest_kib);
	printf("}\n");
	fflush(stdout);
}

/* A second microVM of one kernel, mapped and copied; mayfly only. */
static void measure_sharing(const struct plan *plan, unsigned run, const char *copied_kernel,
			    const struct kernel_size *size)
{
	const struct monitor *m = &plan->monitors[0];
	const struct guest mapped = guest_that_stays(plan);
	struct guest copied = mapped;
	long mapped_kib, copied_kib;

	copied.kernel = copied_kernel;
	if (!added_kib(plan, m, &mapped, &mapped, &mapped_kib) ||
	    !added_kib(plan, m, &mapped, &copied, &copied_kib))
		return;
	printf("{\"who\":\"%s\",\"run\":%u,\"added_mapped\":%ld,\"added_copied\":%ld,\"saved\":%ld,"
	       "\"readonly\":%ld,\"patched\":%ld}\n",
	       m->peer->name, run, mapped_kib, copied_kib, copied_kib - mapped_kib,
	       size->readonly_kib, size->patched_kib);
	fflush(stdout);
}

static void measure_all_memory(const struct plan *plan)
{
	struct kernel_size size;
	const bool is_shared = plan->guest.is_linux && kernel_size(plan->guest.kernel, &size) == 0;
	char copied[96];

	snprintf(copied, sizeof(copied), "%s/vmlinux", dir);
	if (is_shared && plan->memory_runs && kernel_misalign(plan->guest.kernel, copied))
		exit(EXIT_FAILURE);
	for (unsigned run = 0; run < plan->memory_runs; run++) {
		for (unsigned i = 0; i < plan->nr_monitors; i++)
			measure_memory(plan, &plan->monitors[i], run);
		if (is_shared)
			measure_sharing(plan, run, copied, &size);
	}
}

static void print_figure(const char *id, const char *label, const char *unit, bool plot)
{
	printf("{\"figure\":\"%s\",\"label\":\"%s\",\"unit\":\"%s\",\"plot\":%s}\n", id, label,
	       unit, plot ? "true" : "false");
}

static void print_mark_figures(const char *id, const char *label, bool plot)
{
	char name[64], words[128];

	snprintf(name, sizeof(name), "%s_wall", id);
	snprintf(words, sizeof(words), "%s, wall", label);
	print_figure(name, words, "us", plot);
	snprintf(name, sizeof(name), "%s_cpu", id);
	snprintf(words, sizeof(words), "%s, CPU", label);
	print_figure(name, words, "us", plot);
}

/* What the lines that follow mean, in the order of the table. */
static void print_head(const struct plan *plan)
{
	const char *slash = strrchr(plan->guest.kernel, '/');
	struct utsname uts;
	char id[32], label[64];

	uname(&uts);
	printf("{\"bench\":\"boot\",\"title\":\"Boot of %s on %s (%s), Linux %s, %ld CPUs; "
	       "%u MiB, %u boots of each in turn\"}\n",
	       slash ? slash + 1 : plan->guest.kernel, plan->host, plan->machine, uts.release,
	       sysconf(_SC_NPROCESSORS_ONLN), plan->guest.mem_mib, plan->runs);
	if (plan->first)
		print_mark_figures("first", "a kernel's first instruction seen", true);
	print_mark_figures("byte", "first serial byte seen", !plan->guest.is_linux);
	if (plan->guest.is_linux)
		print_mark_figures("marker", "init's line seen", true);
	print_mark_figures("exit", "process ended", false);
	print_figure("closed_wall", "its output closed, wall", "us", false);
	for (unsigned i = 0; i < OWN_PHASES; i++) {
		snprintf(id, sizeof(id), "own_%s", own_phases[i].id);
		snprintf(label, sizeof(label), "timeline: %s", own_phases[i].label);
		print_mark_figures(id, label, false);
	}
	print_figure("own_pss", "monitor's own memory, PSS", "KiB", false);
	print_figure("guest_pss", "guest RAM in use, PSS", "KiB", false);
	print_figure("added_mapped", "added by a second microVM", "KiB", false);
	print_figure("added_copied", "added by one with its kernel copied", "KiB", false);
	print_figure("saved", "saved by mapping", "KiB", false);
	print_figure("readonly", "the kernel's text and read-only data", "KiB", false);
	print_figure("patched", "of it patched by the kernel itself", "KiB", false);
}

static bool has_monitor(const struct plan *plan, const char *name)
{
	for (unsigned i = 0; i < plan->nr_monitors; i++)
		if (!strcmp(plan->monitors[i].peer->name, name))
			return true;
	return false;
}

/* The figures to reach: issue 2, "Speed and memory to reach". Medians. */
static void print_targets(const struct plan *plan)
{
	const bool vs_qemu = has_monitor(plan, "qemu");
	struct kernel_size size;

	if (!strcmp(plan->host, "native") && !plan->guest.is_linux) {
		printf("{\"target\":\"own_first_entry_cpu\",\"who\":\"mayfly\",\"at_most\":2000}\n");
		if (vs_qemu && plan->first)
			printf("{\"target\":\"first_cpu\",\"who\":\"mayfly\",\"over\":\"qemu\","
			       "\"at_most\":0.1}\n");
	}
	if (plan->memory_runs)
		printf("{\"target\":\"own_pss\",\"who\":\"mayfly\",\"at_most\":1024}\n");
	if (!plan->guest.is_linux)
		return;
	if (vs_qemu)
		printf("{\"target\":\"marker_wall\",\"who\":\"mayfly\",\"over\":\"qemu\","
		       "\"at_most\":0.6}\n");
	/*
	 * What the kernel patches for the CPU it finds is each guest's own, and so are two
	 * hundredths: what it sets once while it starts (ro_after_init, among its read-only data),
	 * and the few pages of text without a patch, which are read with the rest of it.
	 */
	if (plan->memory_runs && kernel_size(plan->guest.kernel, &size) == 0)
		printf("{\"target\":\"saved\",\"who\":\"mayfly\",\"at_least\":%ld}\n",
		       (size.readonly_kib - size.patched_kib) * 98 / 100);
}

static _Noreturn void usage(void)
{
	fprintf(stderr,
		"usage: boot --monitor mayfly=PROGRAM [--monitor NAME=PROGRAM]... --kernel FILE\n"
		"            [--linux] [--initrd FILE] [--cmdline WORDS] [--mem MIB] [--runs N]\n"
		"            [--first KERNEL] [--memory-runs N] [--host NAME] [--machine WORDS]\n"
		"Prints JSON lines. bench/boot starts it with all it needs and makes tables of them.\n");
	exit(EXIT_FAILURE);
}

enum { MONITOR = 1, KERNEL, FIRST, LINUX, INITRD, CMDLINE, MEM, RUNS, MEMORY_RUNS, HOST, MACHINE };

static const struct option options[] = {
	{ "monitor", required_argument, NULL, MONITOR },
	{ "kernel", required_argument, NULL, KERNEL },
	{ "first", required_argument, NULL, FIRST },
	{ "linux", no_argument, NULL, LINUX },
	{ "initrd", required_argument, NULL, INITRD },
	{ "cmdline", required_argument, NULL, CMDLINE },
	{ "mem", required_argument, NULL, MEM },
	{ "runs", required_argument, NULL, RUNS },
	{ "memory-runs", required_argument, NULL, MEMORY_RUNS },
	{ "host", required_argument, NULL, HOST },
	{ "machine", required_argument, NULL, MACHINE },
	{ 0 },
};

static unsigned number(const char *value)
{
	char *end;
	const unsigned long n = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || n > 1000000)
		usage();
	return (unsigned)n;
}

static void take(struct plan *plan, int option, char *value)
{
	switch (option) {
	case MONITOR:
		peer_take(plan->monitors, &plan->nr_monitors, MONITORS_MAX, value);
		break;
	case KERNEL:
		plan->guest.kernel = value;
		break;
	case FIRST:
		plan->first = value;
		break;
	case LINUX:
		plan->guest.is_linux = true;
		break;
	case INITRD:
		plan->guest.initrd = value;
		break;
	case CMDLINE:
		plan->guest.cmdline = value;
		break;
	case MEM:
		plan->guest.mem_mib = number(value);
		break;
	case RUNS:
		plan->runs = number(value);
		break;
	case MEMORY_RUNS:
		plan->memory_runs = number(value);
		break;
	case HOST:
		plan->host = value;
		break;
	case MACHINE:
		plan->machine = value;
		break;
	default:
		usage();
	}
}

int main(int argc, char **argv)
{
	struct plan plan = {
		.host = "native",
		.machine = "this machine",
		.runs = 20,
		.memory_runs = 3,
		.guest = { .cmdline = "loglevel=1", .mem_mib = 128 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take(&plan, option, optarg);
	if (optind < argc || !plan.guest.kernel || !plan.nr_monitors ||
	    !plan.monitors[0].peer->is_mayfly)
		usage();
	folder_make(dir, sizeof(dir), "/tmp");
	print_head(&plan);
	print_targets(&plan);
	measure_boots(&plan);
	measure_all_memory(&plan);
	return 0;
}
