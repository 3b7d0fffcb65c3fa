// SPDX-License-Identifier: Apache-2.0
/*
 * What a link costs the monitors, without a hypervisor, so that it can be told on any machine:
 * two processes, each with the real loop, device and link of virtio/, and a thread that stands for
 * the guest. One sends without end and waits for interrupts when its queue is full, the other takes
 * what comes. Counted is the processor time of both but for those threads, the kernel's I/O workers
 * included. Usage: build/bench/link [SIZE [WINDOW-MS [TAP TAP]]]; a SIZE beyond 1514 is one
 * segmented frame; instead of the peer link, the receiver's and the sender's taps, which a bridge
 * joins.
 */
#define RING 256u
#include "../tests/unit/driver.h"
#include "../virtio/net.h"
#include "../vmm/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#define MEM_SIZE (8u << 20)
#define BUF	 4096u
#define BUFS_GPA 0x100000u
#define OUT_GPA	 0x400000u

/* Of one process, seen by the one that measures. */
struct station {
	_Atomic uint64_t frames, driver_ns, cpu_ns;
	_Atomic uint64_t lost;
};

enum { RX, TX };

static struct station *stations;
static struct loop loop;
static struct net net;
static struct net_config config = { .id = "net0", .kind = NET_PEER };
static int irq_fd, wake_fd;
static unsigned size = 64, window_ms = 1000;
static struct station *own;

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void notify(unsigned q)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (!(device_area(q)[0] & 1))
		loop_signal(wake_fd);
}

/* Headers that a host's kernel passes on; the checksum in the last is for others to make. */
static void write_tcp(uint8_t *at, unsigned len)
{
	static const uint8_t headers[] = { 8, 0, 0x45, 0,  0, 0, 0, 0,	0x40, 0, 64,
					   6, 0, 0,    10, 0, 0, 1, 10, 0,    0, 2 };

	memcpy(at, headers, sizeof(headers));
	at[2 + 2] = (uint8_t)(len >> 8);
	at[2 + 3] = (uint8_t)len;
	at[2 + 20 + 12] = 0x50;
	frame_checksum(&(struct iovec){ at + 2, 20 }, 1, 0, 20, 10);
}

static void prepare(void)
{
	struct frame_header *h = mem_at(&mem, OUT_GPA, sizeof(*h) + size);
	uint8_t *frame = (uint8_t *)(h + 1);

	frame[0] = frame[6] = 2;
	frame[5] = 1;
	frame[11] = own == &stations[0] ? 1 : 2;
	frame[12] = 0x88; /* IEEE 802: local experiments */
	frame[13] = 0xb5;
	if (size > 1514) {
		*h = (struct frame_header){ 1, 1, 54, 1448, 34, 16, 0 };
		write_tcp(frame + 12, size - 14);
	}
	for (uint16_t i = 0; i < RING; i++) {
		descs(RX)[i].addr = BUFS_GPA + i * BUF;
		descs(RX)[i].len = BUF;
		descs(RX)[i].flags = D_WRITE;
		descs(TX)[i].addr = OUT_GPA;
		descs(TX)[i].len = (uint32_t)sizeof(*h) + size;
	}
}

static void wait_interrupt(void)
{
	uint64_t count;

	if (read(irq_fd, &count, sizeof(count)) != sizeof(count))
		die("read");
	own->driver_ns = now(CLOCK_THREAD_CPUTIME_ID);
	own->cpu_ns = now(CLOCK_PROCESS_CPUTIME_ID);
}

/* Gives back what was used, until nothing is; how many. */
static unsigned turn_over(unsigned q, uint16_t *seen)
{
	const volatile uint16_t *area = device_area(q);
	unsigned nr = 0;

	for (; *seen != area[1]; ++*seen, nr++) {
		atomic_thread_fence(memory_order_acquire);
		offer(q, (uint16_t)((const volatile uint32_t *)(area + 2))[*seen % RING * 2]);
	}
	if (nr > 0)
		notify(q);
	return nr;
}

static void *drive(void *queue)
{
	const unsigned q = *(unsigned *)queue;
	uint16_t seen = 0;

	prepare();
	start_device(&net.dev, 1u << 15 | 1u << 11 | 1u << 7 | 3); /* merged, segments */
	for (uint16_t i = 0; i < RING; i++)
		offer(q, i);
	notify(q);
	for (;;) {
		wait_interrupt();
		while (turn_over(q, &seen) > 0)
			;
		own->frames =
			q == RX ? net.counters.rx_packets_count : net.counters.tx_packets_count;
		own->lost = net.counters.tx_fails + net.counters.rx_fails;
	}
	return NULL;
}

static _Noreturn void be(unsigned q)
{
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	own = &stations[q];
	irq_fd = eventfd(0, 0);
	wake_fd = eventfd(0, 0);
	mem.nr_regions = 1;
	mem.regions[0] = (struct mem_region){ .size = MEM_SIZE, .host = calloc(1, MEM_SIZE) };
	if (net_open(&net, &config, 1) || net_init(&net, &mem) || loop_init(&loop) ||
	    net_attach(&net, &loop) || virtio_open(&net.dev, &loop, irq_fd, wake_fd))
		exit(1);
	net_listen(&net);
	if (pthread_create(&thread, NULL, drive, &q))
		die("pthread_create");
	exit(loop_run(&loop) != 0);
}

static uint64_t cpu_of(unsigned q)
{
	return stations[q].cpu_ns - stations[q].driver_ns;
}

int main(int argc, char **argv)
{
	char folder[] = "/tmp/mayfly-link.XXXXXX", path[64];
	uint64_t frames, cpu[2], begin, wall;
	pid_t pids[2];

	if (argc > 1)
		size = (unsigned)atoi(argv[1]);
	if (argc > 2)
		window_ms = (unsigned)atoi(argv[2]);
	stations = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!mkdtemp(folder) || stations == MAP_FAILED)
		die("setting up");
	snprintf(path, sizeof(path), "%s/lan", folder);
	config.path = path;
	for (unsigned q = RX; q <= TX; q++) {
		if (argc > 4) {
			config.kind = NET_TAP;
			config.path = argv[3 + q];
		}
		pids[q] = fork();
		if (pids[q] == 0)
			be(q);
		usleep(200000); /* the receiver is there first */
	}
	usleep(300000);
	frames = stations[RX].frames;
	cpu[RX] = cpu_of(RX);
	cpu[TX] = cpu_of(TX);
	begin = now(CLOCK_MONOTONIC);
	usleep(window_ms * 1000);
	frames = stations[RX].frames - frames;
	cpu[RX] = cpu_of(RX) - cpu[RX];
	cpu[TX] = cpu_of(TX) - cpu[TX];
	wall = now(CLOCK_MONOTONIC) - begin;
	printf("%u bytes: %.0f frames by CPU second, %.0f by wall second; ns a frame: %.0f sending, "
	       "%.0f receiving; %lu lost\n",
	       size, (double)frames * 1e9 / (double)(cpu[0] + cpu[1]),
	       (double)frames * 1e9 / (double)wall, (double)cpu[TX] / (double)frames,
	       (double)cpu[RX] / (double)frames, stations[RX].lost + stations[TX].lost);
	kill(pids[RX], SIGKILL);
	kill(pids[TX], SIGKILL);
	snprintf(path, sizeof(path), "rm -rf %s", folder);
	return system(path);
}
