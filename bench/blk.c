// SPDX-License-Identifier: Apache-2.0
/*
 * What a disk costs: requests a second of the monitor's CPU time, by mayfly, by QEMU and by a bare
 * io_uring program in turns, on one file in the page cache; and what a guest that is idle costs.
 * Started by ./blk; prints the lines that report.c describes. Reading order: main(), run_loads(),
 * measure_idle(); what the loads are, blkload.c; whose CPU time counts, threads.h.
 */
#include "bare.h"
#include "child.h"
#include "folder.h"
#include "peers.h"
#include "threads.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define MIB	  (1u << 20)
#define GUEST_MIB 64u
#define LIMIT	  180u /* seconds for a load, in an emulated host */
/* Seconds. mayfly looks for a halted guest ever more rarely: after 12.7 s, then 22.7 s (halt.h). */
#define SETTLE	  14u
#define IDLE	  8u  /* seconds */
#define TRIES	  10u /* of loads that have to be seen as they begin */
#define WHO_MAX	  2u

/* The loads of blkload.c, by its names for them. */
static const struct {
	const char *name, *label, *unit;
	struct bare_load load; /* `nr` of a whole measurement */
} loads[] = {
	{ "random", "4 KiB random reads, 32 at once", "1/s", { false, true, 32, 4096, 500000 } },
	{ "read", "1 MiB reads in order, 4 at once", "MiB/s", { false, false, 4, MIB, 16000 } },
	{ "write", "1 MiB writes in order, 4 at once", "MiB/s", { true, false, 4, MIB, 8000 } },
};
#define LOADS (sizeof(loads) / sizeof(loads[0]))

struct plan {
	bool is_alone;	  /* nothing else on the machine comes between */
	bool is_stand_in; /* without a hypervisor: standguest.h */
	const char *host, *machine, *guest;
	unsigned runs, file_mib, percent; /* percent: of the requests, for slow hosts */
	struct monitor monitors[WHO_MAX];
	unsigned nr_monitors;
};

static char dir[256], image[280],
	net[280]; /* for the monitors' files; the image; the link's folder */

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

/* Written, so that all of it is in the page cache, and synced, so that nobody writes it later. */
static void make_image(unsigned mib)
{
	static uint64_t block[MIB / 8];
	const int fd = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		die(image);
	for (unsigned i = 0; i < mib; i++) {
		for (unsigned n = 0; n < MIB / 8; n++)
			block[n] = (uint64_t)i << 32 | n;
		if (write(fd, block, MIB) != MIB)
			die(image);
	}
	if (fsync(fd))
		die(image);
	close(fd);
}

static void make_dir(const struct plan *plan)
{
	folder_make(dir, sizeof(dir), "/var/tmp");
	snprintf(image, sizeof(image), "%s/disk", dir);
	snprintf(net, sizeof(net), "%s/net", dir);
	if (mkdir(net, 0700))
		die(net);
	make_image(plan->file_mib);
}

static uint64_t requests(const struct plan *plan, unsigned load)
{
	return loads[load].load.nr * plan->percent / 100;
}

static void start(const struct plan *plan, const struct monitor *m, const char *words,
		  const char *link, struct child *child)
{
	static struct command command;
	const struct guest guest = { .kernel = plan->guest,
				     .cmdline = words,
				     .disk = image,
				     .net = link,
				     .mem_mib = GUEST_MIB };

	peer_command(&command, m->peer, m->program, &guest, dir);
	child_start(child, m->peer->name, command.argv);
}

static void await(struct child *child, const char *text)
{
	struct mark first, found;

	child_await(child, text, LIMIT, &first, &found);
}

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void print_time(const struct plan *plan, unsigned load, struct bare_time time)
{
	const double done = (double)requests(plan, load) * 1e9;

	printf(",\"%s_cpu\":%.1f,\"%s_wall\":%.1f", loads[load].name, done / (double)time.cpu_ns,
	       loads[load].name, done / (double)time.wall_ns);
}

/*
 * False where a load had ended already when its begin was read: this process had to wait for a
 * processor, and what lay between is not to be measured any more.
 */
static bool time_loads(struct child *child, struct bare_time times[LOADS])
{
	for (unsigned i = 0; i < LOADS; i++) {
		struct bare_time *time = &times[i];
		char begin[64], end[64];

		snprintf(begin, sizeof(begin), "%s: begin", loads[i].name);
		snprintf(end, sizeof(end), "%s: end", loads[i].name);
		await(child, begin);
		if (child_said(child, end))
			return false;
		time->wall_ns = wall_ns();
		time->cpu_ns = threads_monitor_ns(child->pid);
		await(child, end);
		time->wall_ns = wall_ns() - time->wall_ns;
		time->cpu_ns = threads_monitor_ns(child->pid) - time->cpu_ns;
	}
	return true;
}

static void run_loads(const struct plan *plan, const struct monitor *m, unsigned run)
{
	struct bare_time times[LOADS];
	struct child child;
	char words[128];
	bool done = false;

	snprintf(words, sizeof(words), "random=%llu read=%llu write=%llu",
		 (unsigned long long)requests(plan, 0), (unsigned long long)requests(plan, 1),
		 (unsigned long long)requests(plan, 2));
	for (unsigned i = 0; i < TRIES && !done; i++) {
		start(plan, m, words, NULL, &child);
		done = time_loads(&child, times);
		child_kill(&child);
	}
	if (!done) {
		fprintf(stderr,
			"bench: this machine is too busy: %u times a load's begin came only "
			"with its end\n",
			TRIES);
		exit(EXIT_FAILURE);
	}
	printf("{\"who\":\"%s\",\"run\":%u", m->peer->name, run);
	for (unsigned i = 0; i < LOADS; i++)
		print_time(plan, i, times[i]);
	printf("}\n");
	fflush(stdout);
}

static void run_bare(const struct plan *plan, unsigned run)
{
	printf("{\"who\":\"bare\",\"run\":%u", run);
	for (unsigned i = 0; i < LOADS; i++) {
		struct bare_load load = loads[i].load;

		load.nr = requests(plan, i);
		print_time(plan, i, bare_run(image, &load));
	}
	printf("}\n");
	fflush(stdout);
}

/* With a disk and a network, halted, its timer off. */
static void measure_idle(const struct plan *plan)
{
	for (unsigned i = 0; i < plan->nr_monitors; i++) {
		const struct monitor *m = &plan->monitors[i];
		struct child child;
		uint64_t switches, cpu;

		start(plan, m, "", net, &child);
		await(&child, "idle");
		sleep(SETTLE);
		switches = threads_switches(child.pid);
		cpu = threads_monitor_ns(child.pid);
		sleep(IDLE);
		switches = threads_switches(child.pid) - switches;
		cpu = threads_monitor_ns(child.pid) - cpu;
		child_kill(&child);
		printf("{\"who\":\"%s\",\"run\":0,\"idle_switches\":%llu,\"idle_cpu\":%.1f}\n",
		       m->peer->name, (unsigned long long)switches, (double)cpu / 1e3);
		fflush(stdout);
	}
}

static const char *file_system(void)
{
	static const struct {
		unsigned magic;
		const char *name;
	} known[] = { { 0xef53, "ext4" },      { 0x01021994, "tmpfs" },	  { 0x58465342, "xfs" },
		      { 0x9123683e, "btrfs" }, { 0x794c7630, "overlay" }, { 0x858458f6, "ramfs" } };
	struct statfs fs;

	if (statfs(dir, &fs))
		die(dir);
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if ((unsigned)fs.f_type == known[i].magic)
			return known[i].name;
	return "another file system";
}

static void print_figure(const char *id, const char *label, const char *unit)
{
	printf("{\"figure\":\"%s\",\"label\":\"%s\",\"unit\":\"%s\",\"plot\":false}\n", id, label,
	       unit);
}

static void print_target(const char *figure, const char *over, const char *bound, double at)
{
	printf("{\"target\":\"%s\",\"who\":\"mayfly\",", figure);
	if (over)
		printf("\"over\":\"%s\",", over);
	printf("\"%s\":%g}\n", bound, at);
}

static void print_head(const struct plan *plan)
{
	char id[64], label[128];
	struct utsname uts;

	uname(&uts);
	printf("{\"bench\":\"blk\",\"title\":\"Disks on %s (%s), Linux %s, %ld CPUs; a raw image of "
	       "%u MiB in the page cache, on %s; %u runs of each in turn. CPU: for each second of "
	       "CPU time of the monitor, its vCPU threads left out and the kernel's I/O workers "
	       "counted; bare: a program that is nothing but io_uring; %s\"}\n",
	       plan->host, plan->machine, uts.release, sysconf(_SC_NPROCESSORS_ONLN),
	       plan->file_mib, file_system(), plan->runs,
	       plan->is_alone ? "all at real-time priority" : "with whatever else runs there");
	for (unsigned i = 0; i < LOADS; i++) {
		snprintf(id, sizeof(id), "%s_cpu", loads[i].name);
		snprintf(label, sizeof(label), "%s, CPU", loads[i].label);
		print_figure(id, label, loads[i].unit);
		snprintf(id, sizeof(id), "%s_wall", loads[i].name);
		snprintf(label, sizeof(label), "%s, wall", loads[i].label);
		print_figure(id, label, loads[i].unit);
	}
	if (plan->is_stand_in)
		return;
	print_figure("idle_switches",
		     "idle guest with disk and net, 14 s on: context switches in 8 s", "");
	print_figure("idle_cpu", "the same: CPU time of the monitor in 8 s", "us");
}

/* The figures to reach: issue 3, "Speed to reach". Medians. */
static void print_targets(const struct plan *plan)
{
	if (plan->nr_monitors > 1)
		print_target("random_cpu", "qemu", "at_least", 2);
	print_target("random_cpu", "bare", "at_least", 0.7);
	print_target("read_cpu", "bare", "at_least", 0.9);
	print_target("write_cpu", "bare", "at_least", 0.9);
	if (!plan->is_stand_in)
		print_target("idle_switches", NULL, "at_most", 0);
}

/*
 * What else runs would keep guest and monitor from running side by side, which the bare program has
 * no need of. Inherited by all that is started, for the loads; for some seconds in all.
 */
static bool leave_others_behind(void)
{
	const struct sched_param param = { .sched_priority = 1 };

	return syscall(SYS_sched_setscheduler, 0, SCHED_RR, &param) == 0;
}

static unsigned number(const char *text)
{
	char *end;
	const unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || value == 0 || value > 100000) {
		fprintf(stderr, "bench: %s: not a number from 1 to 100000\n", text);
		exit(EXIT_FAILURE);
	}
	return (unsigned)value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "host", required_argument, NULL, 'h' },
		{ "machine", required_argument, NULL, 'm' },
		{ "runs", required_argument, NULL, 'r' },
		{ "percent", required_argument, NULL, 'p' },
		{ "file-mib", required_argument, NULL, 'f' },
		{ "monitor", required_argument, NULL, 'o' },
		{ "guest", required_argument, NULL, 'g' },
		{ "stand-in", no_argument, NULL, 's' },
		{ 0 },
	};
	struct plan plan = { .host = "native",
			     .machine = "",
			     .runs = 10,
			     .percent = 100,
			     .file_mib = 256,
			     .guest = "build/bench/blkload.elf" };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			plan.host = optarg;
			break;
		case 'm':
			plan.machine = optarg;
			break;
		case 'r':
			plan.runs = number(optarg);
			break;
		case 'p':
			plan.percent = number(optarg);
			break;
		case 'f':
			plan.file_mib = number(optarg);
			break;
		case 'o':
			peer_take(plan.monitors, &plan.nr_monitors, 2, optarg);
			break;
		case 'g':
			plan.guest = optarg;
			break;
		case 's':
			plan.is_stand_in = true;
			break;
		default:
			return EXIT_FAILURE;
		}
	}
	make_dir(&plan);
	plan.is_alone = leave_others_behind();
	print_head(&plan);
	print_targets(&plan);
	for (unsigned run = 0; run < plan.runs; run++) {
		for (unsigned i = 0; i < plan.nr_monitors; i++)
			run_loads(&plan, &plan.monitors[i], run);
		run_bare(&plan, run);
	}
	if (!plan.is_stand_in)
		measure_idle(&plan);
	return 0;
}
