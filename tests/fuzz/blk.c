// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer over a whole block device: registers, rings, requests, with and without a layer. A head
 * says how it begins and what happens step by step; the rest is guest memory. The loop is a
 * stand-in that ends operations when a step says so, in any order, short or failed. Whatever the
 * guest does, requests end, a reset ends them all, and nothing but guest memory is touched; nor is
 * that by a device at rest, which goes on, or another one in its place, with what was in flight.
 * `make fuzz` runs it; tests/unit/blk.c feeds it random strings.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../virtio/blk.h"

#define promise(x) ((x) ? (void)0 : broken(#x, __LINE__))

#define MEM_SIZE  16384u
#define DISK_SIZE (64u * 1024 + 512)
#define STEPS	  64u
#define NR_QUEUES 2u

struct head {
	uint8_t features, shift, has_layer, unused;
	uint16_t desc, driver, device;
	uint16_t more[3]; /* of the second queue */
	struct {
		uint8_t what, a, b, c;
	} steps[STEPS];
};

static struct blk disks[2], *b;
static struct mem mem;
static struct loop loop;
static int fds[32];
static unsigned nr_fds;

enum kind { READ, READV, WRITEV, SYNC, FALLOCATE, YIELD, TIMEOUT };
static struct pending {
	struct op *op;
	enum kind kind;
	int fd, mode;
	struct iovec iov[QUEUE_MAX];
	unsigned nr;
	uint64_t offset, len;
} * pending;
static unsigned nr_pending, room;

static _Noreturn void broken(const char *what, int line)
{
	fprintf(stderr, "tests/fuzz/blk.c:%d: broken: %s\n", line, what);
	abort();
}

static struct pending *add(struct op *op, enum kind kind, int file)
{
	if (nr_pending == room) {
		room = room ? 2 * room : 64;
		pending = realloc(pending, room * sizeof(*pending));
		promise(pending);
	}
	pending[nr_pending] =
		(struct pending){ .op = op, .kind = kind, .fd = file < 0 ? -1 : fds[file] };
	return &pending[nr_pending++];
}

int loop_file(struct loop *l, int fd)
{
	(void)l;
	promise(nr_fds < sizeof(fds) / sizeof(fds[0]));
	fds[nr_fds] = fd;
	return (int)nr_fds++;
}

int loop_file_replace(struct loop *l, int file, int fd)
{
	(void)l;
	fds[file] = fd;
	return 0;
}

/* Of eventfds: their operations end when a step says that they were written. */
void loop_read(struct loop *l, struct op *op, int file, void *buf, unsigned len)
{
	(void)l;
	(void)buf;
	promise(len == 8);
	add(op, READ, file);
}

static void add_transfer(struct op *op, enum kind kind, int file, const struct iovec *iov,
			 unsigned nr, uint64_t offset)
{
	struct pending *p = add(op, kind, file);

	promise(nr > 0 && nr <= QUEUE_MAX);
	memcpy(p->iov, iov, nr * sizeof(*iov));
	p->nr = nr;
	p->offset = offset;
}

void loop_readv(struct loop *l, struct op *op, int file, const struct iovec *iov, unsigned nr,
		uint64_t offset)
{
	(void)l;
	add_transfer(op, READV, file, iov, nr, offset);
}

void loop_writev(struct loop *l, struct op *op, int file, const struct iovec *iov, unsigned nr,
		 uint64_t offset)
{
	(void)l;
	add_transfer(op, WRITEV, file, iov, nr, offset);
}

void loop_sync(struct loop *l, struct op *op, int file)
{
	(void)l;
	add(op, SYNC, file);
}

void loop_fallocate(struct loop *l, struct op *op, int file, int mode, uint64_t offset,
		    uint64_t len)
{
	struct pending *p = add(op, FALLOCATE, file);

	(void)l;
	p->mode = mode;
	p->offset = offset;
	p->len = len;
}

void loop_yield(struct loop *l, struct op *op)
{
	(void)l;
	add(op, YIELD, -1);
}

/* Time passes as it is asked for, and while a timer waits. */
static uint64_t clock_ns;

uint64_t loop_now_ns(clockid_t clock)
{
	(void)clock;
	return clock_ns += 1000;
}

uint64_t loop_turn_ns(struct loop *l)
{
	(void)l;
	return loop_now_ns(CLOCK_MONOTONIC);
}

void loop_signal(int fd)
{
	const uint64_t one = 1;

	promise(write(fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN);
}

void loop_timeout_ns(struct loop *l, struct op *op, struct __kernel_timespec *ts, uint64_t ns)
{
	(void)l;
	(void)ts;
	clock_ns += ns;
	add(op, TIMEOUT, -1);
}

void loop_cancel(struct loop *l, struct op *op)
{
	(void)l;
	(void)op; /* too late, as it mostly is */
}

void loop_at_turn_end(struct loop *l, struct turn *turn)
{
	if (turn->is_queued)
		return;
	turn->is_queued = true;
	turn->next = l->turns;
	l->turns = turn;
}

void loop_turn_again(struct loop *l, struct turn *turn)
{
	turn->is_again = true;
	turn->next = l->again;
	l->again = turn;
}

static void end_turn(void)
{
	struct turn *turn;

	while ((turn = loop.turns)) {
		loop.turns = turn->next;
		turn->is_again = false;
		turn->end(turn);
		turn->is_queued = turn->is_again;
	}
	loop.turns = loop.again;
	loop.again = NULL;
}

static ssize_t transfer(struct pending *p, uint8_t how)
{
	if (how % 4 == 1) { /* one byte less of the last segment, or without it */
		p->iov[p->nr - 1].iov_len--;
		if (p->iov[p->nr - 1].iov_len == 0)
			p->nr--;
	}
	if (p->nr == 0)
		return 0;
	return p->kind == READV ? preadv(p->fd, p->iov, (int)p->nr, (off_t)p->offset)
				: pwritev(p->fd, p->iov, (int)p->nr, (off_t)p->offset);
}

static int result(struct pending *p, uint8_t how)
{
	ssize_t n = 0;

	if (p->kind == READ)
		return 8;
	if (p->kind == TIMEOUT)
		return -ETIME;
	if (p->kind != YIELD && how % 16 == 2)
		return -EIO;
	if (p->kind == READV || p->kind == WRITEV)
		n = transfer(p, how);
	if (p->kind == FALLOCATE && how % 4 == 3)
		return -EOPNOTSUPP;
	if (p->kind == FALLOCATE)
		n = fallocate(p->fd, p->mode, (off_t)p->offset, (off_t)p->len);
	return n < 0 ? -errno : (int)n;
}

static void complete(unsigned at, uint8_t how)
{
	struct pending p = pending[at];

	pending[at] = pending[--nr_pending];
	p.op->done(p.op, result(&p, how));
}

/* How operations end that no step ends. */
static uint8_t end_how;

/* The read of wake_fd never ends by itself: all else does. */
static bool complete_one(void)
{
	for (unsigned i = nr_pending; i-- > 0;) {
		if (pending[i].kind == READ)
			continue;
		complete(i, end_how);
		return true;
	}
	return false;
}

static void ended(int fd)
{
	for (unsigned i = 0; i < nr_pending; i++)
		if (pending[i].kind == READ && pending[i].fd == fd) {
			complete(i, 0);
			return;
		}
}

/* Until nothing is under way any more. */
static void settle(void)
{
	ended(b->dev.wake_fd);
	for (unsigned i = 0; i < 100000; i++) {
		end_turn();
		if (!complete_one() && !loop.turns)
			return;
	}
	broken("requests come to an end", __LINE__);
}

/* The register write of a reset waits for the loop's thread: here is its turn. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
			   const struct timespec *until)
{
	(void)cond;
	(void)until;
	pthread_mutex_unlock(mutex);
	settle();
	pthread_mutex_lock(mutex);
	return ETIMEDOUT;
}

static void out(uint64_t reg, uint32_t value)
{
	virtio_access(&b->dev, reg, (uint8_t *)&value, 4, true);
}

static void start(const struct head *h)
{
	const uint16_t *places[NR_QUEUES] = { &h->desc, h->more };

	out(0x070, 0);
	out(0x070, 3);
	out(0x024, 0);
	out(0x020, (uint32_t)h->features << 24 & 3u << 28);
	out(0x024, 1);
	out(0x020, 1);
	out(0x070, 11);
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		out(0x030, i);
		out(0x038, 1u << h->shift % 9);
		out(0x080, places[i][0]);
		out(0x090, places[i][1]);
		out(0x0a0, places[i][2]);
		out(0x044, 1);
	}
	out(0x070, 15);
	ended(b->dev.wake_fd);
}

/* The image grows or shrinks under the guest; with a layer its size stays. */
static void resize(off_t size)
{
	const struct disk_update same = { .path = "" };
	uint64_t sectors;

	if (!b->disk.has_layer)
		promise(ftruncate(b->disk.base.fd, size) == 0);
	promise((blk_update(b, &same) == 0) == !b->disk.has_layer);
	memcpy(&sectors, b->dev.config, sizeof(sectors));
	promise(sectors == b->disk.size / DISK_SECTOR);
	promise(b->disk.size == (b->disk.has_layer ? DISK_SIZE : (uint64_t)size));
}

static int irq_fd = -1, wake_fd;
static unsigned disk_fds;

static void make_device(void)
{
	nr_fds = disk_fds;
	nr_pending = 0;
	loop.turns = loop.again = NULL;
	b->turn = (struct turn){ 0 };
	promise(blk_init(b, NR_QUEUES, &mem) == 0);
	b->dev.is_warned = true;
	promise(virtio_open(&b->dev, &loop, irq_fd, wake_fd) == 0);
	virtio_listen(&b->dev);
}

static void drop_device(void)
{
	munmap(b->requests, NR_QUEUES * QUEUE_MAX * sizeof(*b->requests));
}

/* To rest, with requests that end this way, and on: the same device, or one in its place. */
static void rest(bool is_other, uint8_t how)
{
	static uint8_t before[MEM_SIZE];
	static struct virtio_state saved, again;

	virtio_rest(&b->dev);
	end_how = how;
	settle();
	end_how = 0;
	promise(virtio_is_at_rest(&b->dev) && b->nr_in_flight == 0 && !b->held);
	memcpy(before, mem.regions[0].host, MEM_SIZE);
	settle();
	promise(!memcmp(before, mem.regions[0].host, MEM_SIZE));
	if (is_other) {
		virtio_save(&b->dev, &saved);
		drop_device();
		make_device();
		promise(virtio_load(&b->dev, &saved) == 0);
		virtio_save(&b->dev, &again);
		promise(!memcmp(&saved, &again, offsetof(struct virtio_state, queues)));
	}
	virtio_go_on(&b->dev);
}

static void step(const struct head *h, unsigned i)
{
	static const uint16_t registers[] = { 0x014, 0x020, 0x024, 0x030, 0x038, 0x044,
					      0x050, 0x064, 0x070, 0x080, 0x084, 0x090,
					      0x094, 0x0a0, 0x0a4, 0x100 };
	const uint8_t a = h->steps[i].a, n = h->steps[i].b, c = h->steps[i].c;
	uint8_t data[8] = { n, c, a };

	switch (h->steps[i].what % 12) {
	case 0:
		start(h);
		break;
	case 1:
	case 2:
		ended(b->dev.wake_fd);
		break;
	case 3:
	case 4:
		if (nr_pending > 0 && pending[a % nr_pending].kind != READ)
			complete(a % nr_pending, n);
		break;
	case 5:
		end_turn();
		break;
	case 6: /* the driver goes on */
		data[0] = mem.regions[0].host[(h->driver + 2u) % MEM_SIZE];
		mem.regions[0].host[(h->driver + 2u) % MEM_SIZE] = (uint8_t)(data[0] + a % 8);
		break;
	case 7:
		out(registers[a % 16], (uint32_t)c << 8 | n);
		ended(b->dev.wake_fd);
		break;
	case 8:
		virtio_access(&b->dev, (uint64_t)n << 8 | c, data, 1u << a % 4, a & 64);
		ended(b->dev.wake_fd);
		break;
	case 9:
		resize((a % 64) * 1024u + 512);
		break;
	case 10:
	case 11:
		rest(h->steps[i].what % 2, n);
		break;
	}
}

/* What the metrics say is under way is what the guest waits for. */
static void check_depth(void)
{
	struct device_counters counters;
	unsigned nr = 0;

	blk_count(b, &counters);
	for (unsigned i = 0; i < NR_QUEUES * QUEUE_MAX; i++) /* looks at no page in vain */
		nr += b->dev.queues[i / QUEUE_MAX].in_flight[i % QUEUE_MAX / 64] >> i % 64 & 1 &&
		      b->requests[i].is_in_flight;
	promise(counters.queue_depth == nr);
}

/* All that was asked for: a request that nobody remembers would stay in flight. */
static void check_answers(void)
{
	for (unsigned i = 0; i < NR_QUEUES * QUEUE_MAX / 64 && !b->dev.is_broken; i++)
		promise(!b->dev.queues[i / (QUEUE_MAX / 64)].in_flight[i % (QUEUE_MAX / 64)] ||
			!b->dev.queues[i / (QUEUE_MAX / 64)].desc);
}

static void open_disks(void)
{
	static struct disk_config configs[2];
	static char path[64];
	const int fd = memfd_create("disk", 0);

	promise(fd >= 0 && ftruncate(fd, DISK_SIZE) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	configs[0] = (struct disk_config){ .id = "a", .path = path, .is_overlay_tmp = true };
	promise(blk_open(&disks[0], &configs[0]) == 0);
	promise(blk_attach(&disks[0], &loop) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd_create("other", 0));
	promise(truncate(path, DISK_SIZE) == 0);
	configs[1] = (struct disk_config){ .id = "b", .path = path };
	configs[1].limit.ops = (struct token_bucket){ 4, 2, 1 }; /* so that some wait */
	promise(blk_open(&disks[1], &configs[1]) == 0);
	promise(blk_attach(&disks[1], &loop) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct head h;

	if (size < sizeof(h))
		return 0;
	if (irq_fd < 0) {
		open_disks();
		disk_fds = nr_fds;
		irq_fd = eventfd(0, EFD_NONBLOCK);
		wake_fd = eventfd(0, EFD_NONBLOCK);
	}
	memcpy(&h, data, sizeof(h));
	data += sizeof(h);
	size -= sizeof(h);
	mem.nr_regions = 1;
	mem.regions[0] = (struct mem_region){ .size = MEM_SIZE, .host = calloc(1, MEM_SIZE) };
	promise(mem.regions[0].host);
	memcpy(mem.regions[0].host, data, size < MEM_SIZE ? size : MEM_SIZE);

	b = &disks[h.has_layer % 2];
	make_device();
	resize(DISK_SIZE);
	start(&h);
	for (unsigned i = 0; i < STEPS; i++) {
		step(&h, i);
		check_depth();
	}
	settle();
	check_answers();
	out(0x070, 0);
	settle();
	promise(b->dev.status == 0 && b->nr_in_flight == 0 && !b->held && !b->disk.copying);
	drop_device();
	free(mem.regions[0].host);
	return 0;
}
