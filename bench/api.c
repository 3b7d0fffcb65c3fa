// SPDX-License-Identifier: Apache-2.0
/*
 * What the API costs: from the start of `mayfly serve` to its first answer, an answer over a
 * connection that stays, the slowest request, the start of a guest, and the memory beside
 * `mayfly run` with the same guest. Prints the lines that bench/report.c describes; called by
 * bench/api as `api MAYFLY HOST MACHINE RUNS`.
 */
#include "child.h"
#include "client.h"
#include "folder.h"
#include "init.h"
#include "values.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS	  1000000000ull
#define REQUESTS  2000u
#define ROUNDS	  50u
#define DISKS	  19u
#define GUEST_MIB 128

static const char *mayfly, *guest = "build/guest/hello.elf";
static char dir[64], path[80]; /* for mayfly's files; its socket */

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		die("clock_gettime");
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

static uint64_t cpu_ns(pid_t pid)
{
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock))
		die("clock_getcpuclockid");
	return now_ns(clock);
}

/* The process's CPU time when its guest's first instruction was about to run. */
static uint64_t entry_cpu_us(int fd)
{
	static const char name[] = "mayfly_phase_cpu_microseconds{phase=\"first_entry\"} ";
	const char *found =
		strstr(client_ask(fd, "GET /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 "), name);

	if (!found)
		die("first_entry");
	return strtoull(found + strlen(name), NULL, 10);
}

static double us(uint64_t ns)
{
	return (double)ns / 1000;
}

static void measure_answers(int fd)
{
	static double took[REQUESTS];

	for (unsigned i = 0; i < REQUESTS; i++) {
		const uint64_t start = now_ns(CLOCK_MONOTONIC);

		client_ask(fd, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ");
		took[i] = us(now_ns(CLOCK_MONOTONIC) - start);
	}
	values_sort(took, REQUESTS);
	printf(",\"get_p50\":%.2f,\"get_p99\":%.2f", values_median(took, REQUESTS),
	       values_percentile(took, REQUESTS, 99));
}

static double median_of(int fd, const char *request, const char *status)
{
	static double took[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		const uint64_t start = now_ns(CLOCK_MONOTONIC);

		client_ask(fd, request, status);
		took[i] = us(now_ns(CLOCK_MONOTONIC) - start);
	}
	values_sort(took, ROUNDS);
	return values_median(took, ROUNDS);
}

/* A guest with as many disks as there can be, all of the one image. */
static int start_with_disks(struct child *c, const char *image, const char *metrics)
{
	const char *const serve[] = { mayfly, "serve",		"--api-sock", path, "--level",
				      "Off",  "--metrics-path", metrics,      NULL };
	char where[32], body[512];
	int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, 1 << 20))
		die(image);
	close(fd);
	child_start(c, "mayfly", serve);
	fd = client_connect(path);
	for (unsigned i = 0; i < DISKS; i++) {
		snprintf(where, sizeof(where), "PUT /drives/d%u", i);
		snprintf(body, sizeof(body),
			 "{\"drive_id\":\"d%u\",\"is_root_device\":false,\"is_read_only\":true,"
			 "\"path_on_host\":\"%s\"}",
			 i, image);
		client_tell(fd, where, body);
	}
	snprintf(body, sizeof(body), "{\"kernel_image_path\":\"%s\",\"boot_args\":\"" HOLD "\"}",
		 guest);
	client_tell(fd, "PUT /boot-source", body);
	client_tell(fd, "PUT /actions", "{\"action_type\":\"InstanceStart\"}");
	return fd;
}

/*
 * What holds up a guest's I/O longest: the longest answer, the longest body, another image, a line
 * of metrics.
 */
static void measure_longest(void)
{
	static char longest_body[51200 + 1], with_body[60000], patch[1024], flush[256];
	static const struct {
		const char *request, *status;
	} asked[] = {
		{ "GET /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 " },
		{ with_body, "HTTP/1.1 400 " },
		{ patch, "HTTP/1.1 204 " },
		{ flush, "HTTP/1.1 204 " },
	};
	char image[96], metrics[96], body[256];
	double longest = 0;
	struct child c;
	int fd;

	snprintf(image, sizeof(image), "%s.image", path);
	snprintf(metrics, sizeof(metrics), "%s.metrics", path);
	fd = start_with_disks(&c, image, metrics);
	snprintf(longest_body, sizeof(longest_body), "%51200s", "{}");
	client_form(with_body, sizeof(with_body), "PUT /actions", longest_body);
	snprintf(body, sizeof(body), "{\"drive_id\":\"d0\",\"path_on_host\":\"%s\"}", image);
	client_form(patch, sizeof(patch), "PATCH /drives/d0", body);
	client_form(flush, sizeof(flush), "PUT /actions", "{\"action_type\":\"FlushMetrics\"}");
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		const double took = median_of(fd, asked[i].request, asked[i].status);

		longest = took > longest ? took : longest;
	}
	printf(",\"longest\":%.1f", longest);
	child_kill(&c);
	close(fd);
	unlink(path);
	unlink(image);
	unlink(metrics);
}

static long own_kib(const struct child *c)
{
	return child_memory(c, GUEST_MIB * 1024l).own_kib;
}

static void one_run(unsigned run)
{
	const char *const serve[] = { mayfly, "serve", "--api-sock", path, "--level", "Off", NULL };
	const char *const plain[] = { mayfly, "run", "--kernel", guest, "--cmdline", HOLD, NULL };
	struct child c;
	struct mark first, found;
	char body[512];
	uint64_t start, cpu;
	long with_api, without;
	int fd;

	child_start(&c, "mayfly", serve);
	fd = client_connect(path);
	client_ask(fd, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ");
	printf("{\"who\":\"mayfly\",\"run\":%u,\"ready_wall\":%.1f,\"ready_cpu\":%.1f", run,
	       us(now_ns(CLOCK_MONOTONIC) - c.start_ns), us(cpu_ns(c.pid)));
	measure_answers(fd);
	snprintf(body, sizeof(body), "{\"kernel_image_path\":\"%s\",\"boot_args\":\"" HOLD "\"}",
		 guest);
	client_tell(fd, "PUT /boot-source", body);
	start = now_ns(CLOCK_MONOTONIC);
	cpu = cpu_ns(c.pid);
	client_tell(fd, "PUT /actions", "{\"action_type\":\"InstanceStart\"}");
	printf(",\"start_wall\":%.1f", us(now_ns(CLOCK_MONOTONIC) - start));
	child_await(&c, "Hello from ring", 20, &first, &found);
	printf(",\"start_cpu\":%.1f", (double)entry_cpu_us(fd) - us(cpu));
	with_api = own_kib(&c);
	child_kill(&c);
	close(fd);
	unlink(path);
	child_start(&c, "mayfly", plain);
	child_await(&c, "Hello from ring", 20, &first, &found);
	without = own_kib(&c);
	child_kill(&c);
	if (with_api >= 0 && without >= 0)
		printf(",\"memory\":%ld,\"memory_added\":%ld", with_api, with_api - without);
	measure_longest();
	printf("}\n");
	fflush(stdout);
}

/* Bounds are for a machine of its own: an emulated host is slow, and its files lie in memory. */
static void describe(const char *host, const char *machine, unsigned runs)
{
	const bool is_native = !strcmp(host, "native");
	static const struct {
		const char *id, *label, *unit;
		long at_most; /* 0: no bound */
	} figures[] = {
		{ "ready_cpu", "process start to an answered GET /, CPU", "us", 1000 },
		{ "ready_wall", "the same, wall", "us", 3000 },
		{ "get_p50", "GET / on a connection that stays, median of a run", "us", 60 },
		{ "get_p99", "the same, 99th percentile of a run", "us", 0 },
		{ "longest", "the slowest kind of request, 19 disks, median of a run", "us", 1000 },
		{ "start_cpu", "InstanceStart to the first guest instruction, CPU", "us", 2000 },
		{ "start_wall", "InstanceStart answered, wall", "us", 0 },
		{ "memory", "monitor's own memory, PSS", "KiB", 0 },
		{ "memory_added", "of it, more than mayfly run has", "KiB", 100 },
	};

	printf("{\"bench\":\"api\",\"title\":\"The API of mayfly serve on %s (%s); %u runs of %u requests, "
	       "guest of %d MiB\"}\n",
	       host, machine, runs, REQUESTS, GUEST_MIB);
	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		printf("{\"figure\":\"%s\",\"label\":\"%s\",\"unit\":\"%s\",\"plot\":false}\n",
		       figures[i].id, figures[i].label, figures[i].unit);
	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		if (figures[i].at_most && is_native)
			printf("{\"target\":\"%s\",\"who\":\"mayfly\",\"at_most\":%ld}\n",
			       figures[i].id, figures[i].at_most);
}

int main(int argc, char **argv)
{
	const unsigned runs = argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;

	if (runs == 0) {
		fprintf(stderr, "bench: api: give a mayfly, a host, its machine and runs\n");
		return EXIT_FAILURE;
	}
	mayfly = argv[1];
	folder_make(dir, sizeof(dir), "/tmp");
	snprintf(path, sizeof(path), "%s/socket", dir);
	describe(argv[2], argv[3], runs);
	for (unsigned i = 0; i < runs; i++)
		one_run(i);
	return 0;
}
