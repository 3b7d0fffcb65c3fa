// SPDX-License-Identifier: Apache-2.0
/*
 * What a clone costs beside a boot of the same guest, in turns: from the start of the process that
 * serves to the guest's next line, the request for it, and the memory of one and of several that
 * run at once; and what a peer's clone does. Prints the lines that bench/report.c describes; called
 * by bench/clone as `clone HOST MACHINE RUNS AT-ONCE KERNEL INITRD --monitor mayfly=PROGRAM
 * [--monitor NAME=PROGRAM]...`, the kernel being beat.c where INITRD is empty. Reading order:
 * main(), take_snapshot(), one_start().
 */
#include "child.h"
#include "client.h"
#include "folder.h"
#include "init.h"
#include "peers.h"
#include "qemu.h"

#include "../vmm/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS	     1000000000ull
#define GUEST_MIB    128
#define LIMIT	     120u /* seconds for a boot in an emulated host */
#define MOST	     64u  /* at once */
#define SETTLE_NS    50000000l
#define MONITORS_MAX 3u
#define MEMORY_EVERY 4u /* runs */

static struct guest guest = { .mem_mib = GUEST_MIB };
static char dir[64];

/* How a guest comes to be. */
enum kind { BOOT, CLONE, QEMU_CLONE };

static struct way {
	char name[32];
	const struct monitor *monitor;
	enum kind kind;
} ways[MONITORS_MAX + 1];
static unsigned nr_ways;

struct microvm {
	struct child child;
	char path[80]; /* of its socket */
	int fd;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

static void settle(void)
{
	const struct timespec pause = { .tv_nsec = SETTLE_NS };

	nanosleep(&pause, NULL);
}

/* mayfly, or Firecracker, whose API it is. */
static void serve(struct microvm *m, const struct monitor *monitor)
{
	const char *argv[8] = { monitor->program };
	unsigned argc = 1;

	if (monitor->peer->is_mayfly)
		argv[argc++] = "serve";
	argv[argc++] = "--api-sock";
	argv[argc++] = m->path;
	argv[argc++] = "--level";
	argv[argc++] = "Off";
	child_start(&m->child, monitor->peer->name, argv);
	m->fd = client_connect(m->path);
}

static void end(struct microvm *m)
{
	child_kill(&m->child);
	close(m->fd);
	unlink(m->path);
}

/*
 * With all words that `mayfly run` and the peers give the guest: boot_args are in the place of
 * mayfly's own.
 */
static void boot(const struct microvm *m)
{
	char body[1024], initrd[256] = "";

	if (guest.initrd)
		snprintf(initrd, sizeof(initrd), ",\"initrd_path\":\"%s\"", guest.initrd);
	snprintf(body, sizeof(body),
		 "{\"kernel_image_path\":\"%s\",\"boot_args\":\"" CMDLINE_DEFAULT " %s\"%s}",
		 guest.kernel, guest.cmdline, initrd);
	client_tell(m->fd, "PUT /boot-source", body);
	client_tell(m->fd, "PUT /actions", "{\"action_type\":\"InstanceStart\"}");
}

/* The files of a snapshot by one monitor. */
static const char *file_of(const struct monitor *monitor, const char *which)
{
	static char paths[2][128];
	static unsigned next;
	char *path = paths[next++ % 2];

	snprintf(path, sizeof(paths[0]), "%s/%s.%s", dir, monitor->peer->name, which);
	return path;
}

static void load(const struct microvm *m, const struct monitor *monitor)
{
	char body[512];

	snprintf(body, sizeof(body),
		 "{\"snapshot_path\":\"%s\",\"resume_vm\":true,"
		 "\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"%s\"}}",
		 file_of(monitor, "state"), file_of(monitor, "memory"));
	client_tell(m->fd, "PUT /snapshot/load", body);
}

/* A process of its own, since mayfly's opens no file while its guest runs. */
static void create_by_mayfly(const struct microvm *m, const struct monitor *monitor)
{
	const char *const argv[] = {
		monitor->program,	    "snapshot", m->path, file_of(monitor, "state"),
		file_of(monitor, "memory"), NULL
	};
	struct mark end, closed;
	struct child client;

	child_start(&client, "mayfly snapshot", argv);
	if (child_end(&client, LIMIT, &end, &closed) != 0) {
		fprintf(stderr, "bench: clone: no snapshot could be taken\n");
		exit(EXIT_FAILURE);
	}
}

static void create(const struct microvm *m, const struct monitor *monitor)
{
	char body[512];

	snprintf(body, sizeof(body), "{\"snapshot_path\":\"%s\",\"mem_file_path\":\"%s\"}",
		 file_of(monitor, "state"), file_of(monitor, "memory"));
	client_tell(m->fd, "PATCH /vm", "{\"state\":\"Paused\"}");
	client_tell(m->fd, "PUT /snapshot/create", body);
}

/* Of a guest that has said that it has booted, and rests. */
static void take_snapshot(const struct way *way)
{
	struct mark first, found;
	struct microvm m;

	if (way->kind == QEMU_CLONE)
		qemu_snapshot(way->monitor, &guest, dir, LIMIT);
	if (way->kind != CLONE)
		return;
	snprintf(m.path, sizeof(m.path), "%s/socket", dir);
	serve(&m, way->monitor);
	boot(&m);
	child_await(&m.child, MARKER, LIMIT, &first, &found);
	settle();
	if (way->monitor->peer->is_mayfly)
		create_by_mayfly(&m, way->monitor);
	else
		create(&m, way->monitor);
	end(&m);
}

/*
 * From nothing to its line; returns with it running. `asked_ns`: how long the requests took, 0 for
 * QEMU, which answers before it has read anything.
 */
static struct mark start(struct microvm *m, unsigned number, const struct way *way,
			 uint64_t *asked_ns)
{
	struct mark first, found;
	uint64_t begin;

	*asked_ns = 0;
	snprintf(m->path, sizeof(m->path), "%s/socket.%u", dir, number);
	if (way->kind == QEMU_CLONE) {
		m->fd = qemu_clone(&m->child, way->monitor, &guest, dir, m->path);
	} else {
		serve(m, way->monitor);
		begin = now_ns();
		if (way->kind == CLONE)
			load(m, way->monitor);
		else
			boot(m);
		*asked_ns = now_ns() - begin;
	}
	child_await(&m->child, way->kind == BOOT ? MARKER : LATER, LIMIT, &first, &found);
	return found;
}

static void one_start(const struct way *way, unsigned run)
{
	struct microvm m;
	uint64_t asked_ns;
	struct mark said;

	said = start(&m, 0, way, &asked_ns);
	end(&m);
	printf("{\"who\":\"%s\",\"run\":%u,\"said_wall\":%.1f,\"said_cpu\":%.1f", way->name, run,
	       (double)said.wall_ns / 1e3, (double)said.cpu_ns / 1e3);
	if (asked_ns)
		printf(",\"asked\":%.1f", (double)asked_ns / 1e3);
	printf("}\n");
	fflush(stdout);
}

/* Of several, guest memory and all: pages that they share count in parts. -1: not to be had. */
static long all_kib(const struct microvm *all, unsigned nr)
{
	long kib = 0;

	for (unsigned i = 0; i < nr; i++) {
		const long one = child_memory(&all[i].child, GUEST_MIB * 1024l).all_kib;

		if (one < 0)
			return -1;
		kib += one;
	}
	return kib;
}

/* Of one alone, and then of several at once. */
static void measure_memory(const struct way *way, unsigned run, unsigned at_once)
{
	static struct microvm all[MOST];
	struct memory alone;
	uint64_t asked_ns;
	long kib;

	start(&all[0], 0, way, &asked_ns);
	settle();
	alone = child_memory(&all[0].child, GUEST_MIB * 1024l);
	for (unsigned i = 1; i < at_once; i++)
		start(&all[i], i, way, &asked_ns);
	settle();
	kib = all_kib(all, at_once);
	for (unsigned i = 0; i < at_once; i++)
		end(&all[i]);
	if (kib < 0 || alone.all_kib < 0)
		return;
	printf("{\"who\":\"%s\",\"run\":%u,\"each\":%ld", way->name, run, kib / at_once);
	if (alone.own_kib >= 0)
		printf(",\"own\":%ld", alone.own_kib);
	if (at_once > 1)
		printf(",\"added\":%ld", (kib - alone.all_kib) / (at_once - 1));
	printf("}\n");
	fflush(stdout);
}

static void describe(const char *host, const char *machine, unsigned runs, unsigned at_once)
{
	printf("{\"bench\":\"clone\",\"title\":\"Clones beside boots of %s on %s (%s); %d MiB, "
	       "%u of each in turn\"}\n",
	       guest.is_linux ? "Linux" : "a test guest", host, machine, GUEST_MIB, runs);
	printf("{\"figure\":\"said_wall\",\"label\":\"process start to the guest's next line, wall\","
	       "\"unit\":\"us\",\"plot\":false}\n");
	printf("{\"figure\":\"said_cpu\",\"label\":\"the same, CPU\",\"unit\":\"us\","
	       "\"plot\":false}\n");
	printf("{\"figure\":\"asked\",\"label\":\"the requests that start it, wall\","
	       "\"unit\":\"us\",\"plot\":false}\n");
	printf("{\"figure\":\"own\",\"label\":\"monitor's own memory, PSS\",\"unit\":\"KiB\","
	       "\"plot\":false}\n");
	printf("{\"figure\":\"each\",\"label\":\"each of %u at once, PSS\",\"unit\":\"KiB\","
	       "\"plot\":false}\n",
	       at_once);
	printf("{\"figure\":\"added\",\"label\":\"of them, added by each after the first, PSS\","
	       "\"unit\":\"KiB\",\"plot\":false}\n");
	if (!guest.is_linux)
		return;
	printf("{\"target\":\"said_wall\",\"who\":\"clone\",\"over\":\"boot\",\"at_most\":0.2}\n");
	printf("{\"target\":\"each\",\"who\":\"clone\",\"over\":\"boot\",\"at_most\":0.5}\n");
}

static void add_way(const char *name, const struct monitor *monitor, enum kind kind)
{
	struct way *way = &ways[nr_ways++];

	snprintf(way->name, sizeof(way->name), "%s", name);
	way->monitor = monitor;
	way->kind = kind;
}

/* Of mayfly both, of its peers the clones: their boots are bench/boot's. */
static void add_ways(const struct monitor *monitors, unsigned nr)
{
	add_way("clone", &monitors[0], CLONE);
	add_way("boot", &monitors[0], BOOT);
	for (unsigned i = 1; i < nr; i++) {
		const char *name = monitors[i].peer->name;
		const bool is_qemu = strcmp(name, "qemu") == 0;

		if (!is_qemu && strcmp(name, "firecracker") != 0) {
			fprintf(stderr, "bench: clone: no clones by %s are known here\n", name);
			exit(EXIT_FAILURE);
		}
		add_way(name, &monitors[i], is_qemu ? QEMU_CLONE : CLONE);
	}
}

static _Noreturn void usage(void)
{
	fprintf(stderr,
		"usage: clone HOST MACHINE RUNS AT-ONCE KERNEL INITRD --monitor mayfly=PROGRAM "
		"[--monitor NAME=PROGRAM]...\n");
	exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
	struct monitor monitors[MONITORS_MAX];
	unsigned nr = 0, runs, at_once;

	if (argc < 9 || argc % 2 == 0)
		usage();
	runs = (unsigned)strtoul(argv[3], NULL, 10);
	at_once = (unsigned)strtoul(argv[4], NULL, 10);
	guest.kernel = argv[5];
	guest.is_linux = argv[6][0] != '\0';
	guest.initrd = guest.is_linux ? argv[6] : NULL;
	guest.cmdline = guest.is_linux ? "loglevel=1 " GO_ON : "";
	for (int i = 7; i < argc; i += 2)
		peer_take(monitors, &nr, MONITORS_MAX, argv[i + 1]);
	if (runs == 0 || at_once == 0 || at_once > MOST || !monitors[0].peer->is_mayfly)
		usage();
	add_ways(monitors, nr);
	folder_make(dir, sizeof(dir), "/tmp");
	describe(argv[1], argv[2], runs, at_once);
	for (unsigned i = 0; i < nr_ways; i++)
		take_snapshot(&ways[i]); /* and all files are in the page cache */
	for (unsigned run = 0; run < runs; run++) {
		for (unsigned i = 0; i < nr_ways; i++)
			one_start(&ways[i], run);
		for (unsigned i = 0; i < nr_ways && run % MEMORY_EVERY == 0; i++)
			measure_memory(&ways[i], run, at_once);
	}
	return 0;
}
