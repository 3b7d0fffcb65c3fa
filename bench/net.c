// SPDX-License-Identifier: Apache-2.0
/*
 * What a network costs: frames, bytes and round trips between two microVMs, over a peer link and
 * over two taps on a bridge, by mayfly and by QEMU in turns; and what a guest costs that is idle.
 * Started by ./net; prints the lines that report.c describes. Reading order: main(), run_load(),
 * measure_idle(); what the guests do, netload.c; whose CPU time counts, threads.h.
 */
#include "child.h"
#include "folder.h"
#include "lan.h"
#include "peers.h"
#include "threads.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GUEST_MIB 64u
#define LIMIT	  120u /* seconds for a load, in an emulated host */
#define SETTLE	  14u  /* seconds: between two looks for a halted guest, as in blk.c */
#define IDLE	  7u   /* seconds */
#define TRIES	  10u  /* of what has to be seen as it begins */
#define ENDS	  2u   /* of a link: who sends or asks, and who counts or answers */

struct plan {
	const char *host, *machine, *guest;
	unsigned runs, window_ms, questions;
	struct monitor monitors[2];
	unsigned nr_monitors;
	bool has_taps, has_vhost;
	bool is_stand_in; /* without a hypervisor: standguest.h, and QEMU translates */
};

/* How two guests are joined. */
enum { PEER, TAPS, LINKS };
static const char *const link_names[LINKS] = { "peer", "taps" };

/* The loads of netload.c. */
static const struct load {
	const char *name, *label, *unit, *words;
	bool is_bytes;
} loads[] = {
	{ "small", "frames of 64 bytes", "1/s", "size=64", false },
	{ "full", "frames of 1514 bytes", "1/s", "size=1514", false },
	{ "most", "bytes, in the largest frames offered", "MB/s", "size=1514 gso", true },
};
#define LOADS (sizeof(loads) / sizeof(loads[0]))

static char dir[64]; /* for the sockets and the monitors' files */

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The guests' clock. */
static double cycles_per_us(void)
{
	static double rate;
	const uint64_t wall = wall_ns(), tsc = __builtin_ia32_rdtsc();

	if (rate == 0) {
		usleep(50000);
		rate = (double)(__builtin_ia32_rdtsc() - tsc) * 1e3 / (double)(wall_ns() - wall);
	}
	return rate;
}

/* The monitor's options for one end of a link; `turn` makes names that nobody had before. */
static void link_options(const struct monitor *m, unsigned link, bool with_vhost, unsigned end,
			 unsigned turn, char text[2][160])
{
	const char *const option = m->peer->is_mayfly ? "--net" : "-netdev";

	snprintf(text[0], sizeof(text[0]), "%s", option);
	if (m->peer->is_mayfly && link == PEER)
		snprintf(text[1], sizeof(text[1]), "peer=%s/lan%u", dir, turn);
	else if (m->peer->is_mayfly)
		snprintf(text[1], sizeof(text[1]), "tap=" LAN_TAP, end);
	else if (link == PEER)
		snprintf(text[1], sizeof(text[1]),
			 "stream,id=net,server=%s,addr.type=unix,addr.path=%s/socket%u",
			 end ? "on" : "off", dir, turn);
	else
		snprintf(text[1], sizeof(text[1]),
			 "tap,id=net,ifname=" LAN_TAP ",script=no,downscript=no,vhost=%s", end,
			 with_vhost ? "on" : "off");
}

static void start(const struct plan *plan, const struct monitor *m, const char *words,
		  char net[2][160], struct child *child)
{
	static struct command command;
	const char *options[] = { net[0], net[1], NULL, NULL, NULL };
	struct guest guest = {
		.kernel = plan->guest,
		.cmdline = words,
		.mem_mib = GUEST_MIB,
		.options = options,
		.is_translated = plan->is_stand_in,
	};

	if (!m->peer->is_mayfly) {
		options[2] = "-device";
		options[3] = "virtio-net-device,netdev=net";
	}
	peer_command(&command, m->peer, m->program, &guest, dir);
	child_start(child, m->peer->name, command.argv);
}

/* Guests of both ends, the first of which is the one that is told to do `first`. */
static void start_both(const struct plan *plan, const struct monitor *m, unsigned link,
		       bool with_vhost, const char *const words[ENDS], struct child ends[ENDS])
{
	static unsigned turn;

	turn++;
	for (unsigned i = ENDS; i-- > 0;) {
		char net[2][160];

		link_options(m, link, with_vhost, i, turn, net);
		start(plan, m, words[i], net, &ends[i]);
		usleep(100000); /* who listens is to be there first */
	}
}

static void await(struct child *child, const char *text)
{
	struct mark first, found;

	child_await(child, text, LIMIT, &first, &found);
}

/* The number before `what` in the line that ends with "end". */
static double number_before(const struct child *child, const char *what)
{
	char line[sizeof(child->tail) + 1];
	char *at;

	memcpy(line, child->tail, child->tail_len);
	line[child->tail_len] = '\0';
	at = strstr(line, what);
	if (!at)
		die(what);
	while (at > line && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return strtod(at, NULL);
}

static uint64_t cpu_ns(const struct child ends[ENDS])
{
	return threads_monitor_ns(ends[0].pid) + threads_monitor_ns(ends[1].pid);
}

/* Before Linux 6.4 vhost's workers were no threads of QEMU's. */
static bool is_cpu_seen(const struct child ends[ENDS], bool with_vhost)
{
	return !with_vhost || (threads_has_vhost(ends[0].pid) && threads_has_vhost(ends[1].pid));
}

static void kill_both(struct child ends[ENDS])
{
	for (unsigned i = 0; i < ENDS; i++)
		child_kill(&ends[i]);
}

/*
 * Until the end `who` has said `begin` and not yet `end`. Where this process had to wait for a
 * processor until both were there, what lay between is not to be measured any more, and it is done
 * once more.
 */
static void start_until(const struct plan *plan, const struct monitor *m, unsigned link,
			bool with_vhost, const char *const words[ENDS], struct child ends[ENDS],
			unsigned who, const char *begin, const char *end)
{
	for (unsigned i = 0; i < TRIES; i++) {
		start_both(plan, m, link, with_vhost, words, ends);
		await(&ends[who], begin);
		if (!child_said(&ends[who], end))
			return;
		kill_both(ends);
	}
	fprintf(stderr, "bench: this machine is too busy: %u times '%s' came only with '%s'\n",
		TRIES, begin, end);
	exit(EXIT_FAILURE);
}

static void run_load(const struct plan *plan, const struct monitor *m, unsigned link,
		     bool with_vhost, const struct load *load)
{
	char send[128], count[128];
	const char *const words[ENDS] = { send, count };
	struct child ends[ENDS];
	uint64_t wall, cpu;
	double done;

	snprintf(send, sizeof(send), "do=send %s", load->words);
	snprintf(count, sizeof(count), "do=count %s window=%u", load->words,
		 (unsigned)(plan->window_ms * cycles_per_us() / 1e3));
	start_until(plan, m, link, with_vhost, words, ends, 1, "count: begin", " bytes end");
	cpu = cpu_ns(ends);
	wall = wall_ns();
	await(&ends[1], " bytes end");
	cpu = cpu_ns(ends) - cpu;
	wall = wall_ns() - wall;
	done = load->is_bytes ? number_before(&ends[1], " bytes end") / 1e6
			      : number_before(&ends[1], " frames ");
	if (is_cpu_seen(ends, with_vhost))
		printf(",\"%s_%s_cpu\":%.1f", link_names[link], load->name,
		       done * 1e9 / (double)cpu);
	printf(",\"%s_%s_wall\":%.1f", link_names[link], load->name, done * 1e9 / (double)wall);
	kill_both(ends);
}

static void run_questions(const struct plan *plan, const struct monitor *m, unsigned link,
			  bool with_vhost)
{
	char ask[64];
	const char *const words[ENDS] = { ask, "do=answer" };
	struct child ends[ENDS];
	uint64_t cpu;

	snprintf(ask, sizeof(ask), "do=ask n=%u", plan->questions);
	start_until(plan, m, link, with_vhost, words, ends, 0, "ask: begin", " p99 end");
	cpu = cpu_ns(ends);
	await(&ends[0], " p99 end");
	cpu = cpu_ns(ends) - cpu;
	printf(",\"%s_rtt_p50\":%.1f,\"%s_rtt_p99\":%.1f", link_names[link],
	       number_before(&ends[0], " p50 ") / cycles_per_us(), link_names[link],
	       number_before(&ends[0], " p99 end") / cycles_per_us());
	if (is_cpu_seen(ends, with_vhost))
		printf(",\"%s_rtt_cpu\":%.0f", link_names[link],
		       (double)plan->questions * 1e9 / (double)cpu);
	kill_both(ends);
}

static void one_run(const struct plan *plan, const struct monitor *m, bool with_vhost, unsigned run)
{
	printf("{\"who\":\"%s%s\",\"run\":%u", m->peer->name, with_vhost ? "+vhost" : "", run);
	for (unsigned link = with_vhost ? TAPS : PEER; link < (plan->has_taps ? LINKS : TAPS);
	     link++) {
		for (unsigned i = 0; i < LOADS; i++)
			run_load(plan, m, link, with_vhost, &loads[i]);
		run_questions(plan, m, link, with_vhost);
	}
	printf("}\n");
	fflush(stdout);
}

/* Over a peer link, and over a tap at the same time: they do nothing. */
static void measure_idle(const struct plan *plan, const struct monitor *m)
{
	const unsigned nr = plan->has_taps ? LINKS : TAPS;
	struct child child[LINKS];
	uint64_t switches[LINKS];

	printf("{\"who\":\"%s\",\"run\":0", m->peer->name);
	for (unsigned link = 0; link < nr; link++) {
		char net[2][160];

		link_options(m, link, false, 1, 0, net);
		start(plan, m, "idle", net, &child[link]);
		await(&child[link], "idle");
	}
	sleep(SETTLE);
	for (unsigned link = 0; link < nr; link++)
		switches[link] = threads_switches(child[link].pid);
	sleep(IDLE);
	for (unsigned link = 0; link < nr; link++)
		printf(",\"%s_idle\":%.1f", link_names[link],
		       (double)(threads_switches(child[link].pid) - switches[link]) / IDLE);
	printf("}\n");
	fflush(stdout);
	for (unsigned link = 0; link < nr; link++)
		child_kill(&child[link]);
}

static void print_figure(unsigned link, const char *id, const char *label, const char *unit)
{
	printf("{\"figure\":\"%s_%s\",\"label\":\"%s: %s\",\"unit\":\"%s\",\"plot\":false}\n",
	       link_names[link], id, link_names[link], label, unit);
}

static void print_head(const struct plan *plan)
{
	printf("{\"bench\":\"net\",\"title\":\"Two microVMs over a peer link%s; %u runs on %s (%s), CPU "
	       "seconds of both monitors without their vCPUs\"}\n",
	       plan->has_taps ? " and over taps on a bridge" : "", plan->runs, plan->host,
	       plan->machine);
	for (unsigned link = 0; link < (plan->has_taps ? LINKS : TAPS); link++) {
		for (unsigned i = 0; i < LOADS; i++) {
			char id[32], label[128], unit[32];

			snprintf(id, sizeof(id), "%s_cpu", loads[i].name);
			snprintf(label, sizeof(label), "%s, by CPU second", loads[i].label);
			snprintf(unit, sizeof(unit), "%s", loads[i].unit);
			print_figure(link, id, label, unit);
			snprintf(id, sizeof(id), "%s_wall", loads[i].name);
			print_figure(link, id, "the same, by wall second", unit);
		}
		print_figure(link, "rtt_p50", "round trip, median", "us");
		print_figure(link, "rtt_p99", "round trip, 99th percentile", "us");
		print_figure(link, "rtt_cpu", "round trips by CPU second", "1/s");
		if (!plan->is_stand_in)
			print_figure(link, "idle", "idle guest, context switches", "1/s");
	}
}

static void print_targets(const struct plan *plan)
{
	for (unsigned link = 0; link < (plan->has_taps ? LINKS : TAPS); link++) {
		for (unsigned i = 0; i < LOADS && plan->nr_monitors > 1; i++)
			printf("{\"target\":\"%s_%s_cpu\",\"who\":\"mayfly\",\"over\":\"qemu\","
			       "\"at_least\":1.5}\n",
			       link_names[link], loads[i].name);
		if (!plan->is_stand_in)
			printf("{\"target\":\"%s_idle\",\"who\":\"mayfly\",\"at_most\":0}\n",
			       link_names[link]);
	}
}

static void take_options(struct plan *plan, int argc, char **argv)
{
	static const struct option options[] = {
		{ "host", required_argument, NULL, 'h' },
		{ "machine", required_argument, NULL, 'm' },
		{ "guest", required_argument, NULL, 'g' },
		{ "runs", required_argument, NULL, 'r' },
		{ "window-ms", required_argument, NULL, 'w' },
		{ "monitor", required_argument, NULL, 'p' },
		{ "stand-in", no_argument, NULL, 's' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			plan->host = optarg;
			break;
		case 'm':
			plan->machine = optarg;
			break;
		case 'g':
			plan->guest = optarg;
			break;
		case 'r':
			plan->runs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'w':
			plan->window_ms = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			peer_take(plan->monitors, &plan->nr_monitors, 2, optarg);
			break;
		case 's':
			plan->is_stand_in = true;
			break;
		default:
			exit(EXIT_FAILURE);
		}
	}
}

int main(int argc, char **argv)
{
	struct plan plan = { .host = "native",
			     .machine = "",
			     .guest = "build/bench/netload.elf",
			     .runs = 5,
			     .window_ms = 1000,
			     .questions = 2000 };

	take_options(&plan, argc, argv);
	folder_make(dir, sizeof(dir), "/tmp");
	plan.has_taps = lan_open();
	plan.has_vhost =
		plan.has_taps && !plan.is_stand_in && access("/dev/vhost-net", R_OK | W_OK) == 0;
	print_head(&plan);
	for (unsigned run = 0; run < plan.runs; run++)
		for (unsigned i = 0; i < plan.nr_monitors; i++) {
			one_run(&plan, &plan.monitors[i], false, run);
			if (!plan.monitors[i].peer->is_mayfly && plan.has_vhost)
				one_run(&plan, &plan.monitors[i], true, run);
		}
	for (unsigned i = 0; i < plan.nr_monitors && !plan.is_stand_in; i++)
		measure_idle(&plan, &plan.monitors[i]);
	print_targets(&plan);
	return 0;
}
