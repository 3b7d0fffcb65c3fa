// SPDX-License-Identifier: Apache-2.0
/*
 * What a clone costs beside a boot of the same guest, in turns: from the start of the process that
 * serves to the guest's next line, the request for it, and the memory of several that run at once.
 * Prints the lines that bench/report.c describes; called by bench/clone as
 * `clone MAYFLY HOST MACHINE RUNS AT-ONCE KERNEL [INITRD]`, the kernel being
 * tests/guest/generation.c where there is no initrd. Reading order: main(), take_snapshot(),
 * one_start().
 */
#include "child.h"
#include "client.h"
#include "folder.h"
#include "init.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS	  1000000000ull
#define GUEST_MIB 128
#define LIMIT	  120u /* seconds for a boot in an emulated host */
#define MOST	  64u  /* at once */
#define SETTLE_NS 50000000l

/* What a guest says when it has booted, and then, when it goes on in a clone. */
struct guest {
	const char *kernel, *initrd, *words, *booted, *later;
};

static const char *mayfly;
static struct guest guest;
static char dir[64], state[80], memory[80];

enum how { CLONE, BOOT };
static const char *const names[] = { "clone", "boot" };

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

static void serve(struct microvm *m, unsigned number)
{
	const char *const argv[] = {
		mayfly, "serve", "--api-sock", m->path, "--level", "Off", NULL
	};

	snprintf(m->path, sizeof(m->path), "%s/socket.%u", dir, number);
	child_start(&m->child, "mayfly", argv);
	m->fd = client_connect(m->path);
}

static void end(struct microvm *m)
{
	child_kill(&m->child);
	close(m->fd);
	unlink(m->path);
}

static void boot(const struct microvm *m)
{
	char body[1024], initrd[256] = "";

	if (guest.initrd)
		snprintf(initrd, sizeof(initrd), ",\"initrd_path\":\"%s\"", guest.initrd);
	snprintf(body, sizeof(body), "{\"kernel_image_path\":\"%s\",\"boot_args\":\"%s\"%s}",
		 guest.kernel, guest.words, initrd);
	client_tell(m->fd, "PUT /boot-source", body);
	client_tell(m->fd, "PUT /actions", "{\"action_type\":\"InstanceStart\"}");
}

static void load(const struct microvm *m)
{
	char body[512];

	snprintf(body, sizeof(body),
		 "{\"snapshot_path\":\"%s\",\"resume_vm\":true,"
		 "\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"%s\"}}",
		 state, memory);
	client_tell(m->fd, "PUT /snapshot/load", body);
}

/* Of a guest that has said that it has booted, and rests. */
static void take_snapshot(void)
{
	const char *const argv[] = { mayfly, "snapshot", NULL, state, memory, NULL };
	const char *with_socket[sizeof(argv) / sizeof(argv[0])];
	const struct timespec settle = { .tv_nsec = SETTLE_NS };
	struct mark first, found;
	struct child client;
	struct microvm m;

	serve(&m, 0);
	boot(&m);
	child_await(&m.child, guest.booted, LIMIT, &first, &found);
	nanosleep(&settle, NULL);
	memcpy(with_socket, argv, sizeof(argv));
	with_socket[2] = m.path;
	child_start(&client, "mayfly snapshot", with_socket);
	if (child_end(&client, LIMIT, &first, &found) != 0) {
		fprintf(stderr, "bench: clone: no snapshot could be taken\n");
		exit(EXIT_FAILURE);
	}
	end(&m);
}

/* From nothing to its line; returns with it running. `asked_ns`: how long the request took. */
static struct mark start(struct microvm *m, unsigned number, enum how how, uint64_t *asked_ns)
{
	struct mark first, found;
	uint64_t begin;

	serve(m, number);
	begin = now_ns();
	if (how == CLONE)
		load(m);
	else
		boot(m);
	*asked_ns = now_ns() - begin;
	child_await(&m->child, how == CLONE ? guest.later : guest.booted, LIMIT, &first, &found);
	return found;
}

static void one_start(enum how how, unsigned run)
{
	struct microvm m;
	uint64_t asked_ns;
	struct mark said;

	said = start(&m, 0, how, &asked_ns);
	end(&m);
	printf("{\"who\":\"%s\",\"run\":%u,\"said_wall\":%.1f,\"said_cpu\":%.1f,\"asked\":%.1f}\n",
	       names[how], run, (double)said.wall_ns / 1e3, (double)said.cpu_ns / 1e3,
	       (double)asked_ns / 1e3);
	fflush(stdout);
}

/* What each of several holds, guest memory and all: pages that they share count in parts. */
static void measure_memory(enum how how, unsigned run, unsigned at_once)
{
	static struct microvm all[MOST];
	const struct timespec settle = { .tv_nsec = SETTLE_NS };
	uint64_t asked_ns;
	long kib = 0;

	for (unsigned i = 0; i < at_once; i++)
		start(&all[i], i, how, &asked_ns);
	nanosleep(&settle, NULL);
	for (unsigned i = 0; i < at_once && kib >= 0; i++) {
		const long own = child_memory(&all[i].child, GUEST_MIB * 1024l).all_kib;

		kib = own < 0 ? -1 : kib + own;
	}
	for (unsigned i = 0; i < at_once; i++)
		end(&all[i]);
	if (kib < 0) /* not to be had */
		return;
	printf("{\"who\":\"%s\",\"run\":%u,\"each\":%ld}\n", names[how], run, kib / at_once);
	fflush(stdout);
}

static void describe(const char *host, const char *machine, unsigned runs, unsigned at_once)
{
	printf("{\"bench\":\"clone\",\"title\":\"Clones beside boots of %s on %s (%s); %d MiB, "
	       "%u of each in turn\"}\n",
	       guest.initrd ? "Linux" : "a test guest", host, machine, GUEST_MIB, runs);
	printf("{\"figure\":\"said_wall\",\"label\":\"process start to the guest's next line, wall\","
	       "\"unit\":\"us\",\"plot\":false}\n");
	printf("{\"figure\":\"said_cpu\",\"label\":\"the same, CPU\",\"unit\":\"us\","
	       "\"plot\":false}\n");
	printf("{\"figure\":\"asked\",\"label\":\"the requests that start it, wall\","
	       "\"unit\":\"us\",\"plot\":false}\n");
	printf("{\"figure\":\"each\",\"label\":\"each of %u at once, PSS\",\"unit\":\"KiB\","
	       "\"plot\":false}\n",
	       at_once);
	if (!guest.initrd)
		return;
	printf("{\"target\":\"said_wall\",\"who\":\"clone\",\"over\":\"boot\",\"at_most\":0.2}\n");
	printf("{\"target\":\"each\",\"who\":\"clone\",\"over\":\"boot\",\"at_most\":0.5}\n");
}

int main(int argc, char **argv)
{
	static const struct guest test = {
		.words = "wait", .booted = "generation: ", .later = "told 1 times"
	};
	static const struct guest linux_guest = { .words = "loglevel=1 " GO_ON,
						  .booted = MARKER,
						  .later = LATER };
	const unsigned runs = argc > 6 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
	const unsigned at_once = argc > 6 ? (unsigned)strtoul(argv[5], NULL, 10) : 0;

	if (argc < 7 || argc > 8 || runs == 0 || at_once == 0 || at_once > MOST) {
		fprintf(stderr, "usage: clone MAYFLY HOST MACHINE RUNS AT-ONCE KERNEL [INITRD]\n");
		return EXIT_FAILURE;
	}
	mayfly = argv[1];
	guest = argc == 8 ? linux_guest : test;
	guest.kernel = argv[6];
	guest.initrd = argv[7];
	folder_make(dir, sizeof(dir), "/tmp");
	snprintf(state, sizeof(state), "%s/state", dir);
	snprintf(memory, sizeof(memory), "%s/memory", dir);
	describe(argv[2], argv[3], runs, at_once);
	take_snapshot(); /* and all files are in the page cache */
	for (unsigned run = 0; run < runs; run++)
		for (enum how how = CLONE; how <= BOOT; how++) {
			one_start(how, run);
			if (run % 4 == 0)
				measure_memory(how, run, at_once);
		}
	return 0;
}
