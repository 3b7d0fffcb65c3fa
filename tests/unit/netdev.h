/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network device without a kernel: the tests (nettest.h) and tests/fuzz are driver, link and
 * ring in one thread, so that each step is theirs. The loop's functions are replaced: what is
 * submitted lies in slots[], and complete() gives it back with any result. The driver's side is
 * real (driver.h), in a guest memory of MEM_SIZE.
 */
#ifndef TESTS_UNIT_NETDEV_H
#define TESTS_UNIT_NETDEV_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RING 256u /* entries of each queue: as many as there can be */
#include "driver.h"
#include "../../virtio/net.h"

#define MEM_SIZE (2u << 20)
#define SLOTS	 1024u
#define BUFS_GPA 0x100000u
#define OUT_GPA	 0x80000u
#define QUEUES	 5u /* two pairs, and one for control, at most */
enum { RX, TX, CONTROL = QUEUES - 1 };

/* The ring: what was submitted and has not completed. */
struct slot {
	struct io_uring_sqe sqe;
	struct op *op;
	uint64_t ns; /* of a timeout */
	bool is_taken;
};

static struct slot slots[SLOTS];
static struct turn *turns;
static unsigned nr_files;

static inline struct slot *free_slot(void)
{
	static unsigned next;

	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *s = &slots[next++ % SLOTS];

		if (!s->is_taken) {
			*s = (struct slot){ .is_taken = true };
			return s;
		}
	}
	abort();
}

struct io_uring_sqe *loop_sqe(struct loop *loop)
{
	(void)loop;
	return &free_slot()->sqe;
}

/* How many were promised to go together, last. */
static unsigned together;

void loop_room(struct loop *loop, unsigned nr)
{
	(void)loop;
	together = nr;
}

void loop_prepared(struct io_uring_sqe *sqe, struct op *op)
{
	container_of(sqe, struct slot, sqe)->op = op;
}

void loop_read(struct loop *loop, struct op *op, int file, void *buf, unsigned len)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_read(sqe, file, buf, len, 0);
	loop_prepared(sqe, op);
}

void loop_writev(struct loop *loop, struct op *op, int file, const struct iovec *iov, unsigned nr,
		 uint64_t offset)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_writev(sqe, file, iov, nr, offset);
	loop_prepared(sqe, op);
}

void loop_yield(struct loop *loop, struct op *op)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_nop(sqe);
	loop_prepared(sqe, op);
}

/* Time passes as it is asked for, and when a timer comes. */
static uint64_t clock_ns;

uint64_t loop_turn_ns(struct loop *loop)
{
	(void)loop;
	return loop_now_ns(CLOCK_MONOTONIC);
}

uint64_t loop_now_ns(clockid_t clock)
{
	(void)clock;
	return clock_ns += 1000;
}

void loop_signal(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN)
		abort();
}

void loop_timeout_ns(struct loop *loop, struct op *op, struct __kernel_timespec *ts, uint64_t ns)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	*ts = (struct __kernel_timespec){ .tv_nsec = (long long)ns };
	io_uring_prep_timeout(sqe, ts, 0, 0);
	container_of(sqe, struct slot, sqe)->ns = ns;
	loop_prepared(sqe, op);
}

void loop_timeout(struct loop *loop, struct op *op, struct __kernel_timespec *ts, uint64_t ms)
{
	loop_timeout_ns(loop, op, ts, ms * 1000000);
}

int loop_file(struct loop *loop, int fd)
{
	(void)loop;
	(void)fd;
	return (int)nr_files++;
}

int loop_file_replace(struct loop *loop, int file, int fd)
{
	(void)loop;
	(void)file;
	(void)fd;
	return 0;
}

void loop_at_turn_end(struct loop *loop, struct turn *turn)
{
	(void)loop;
	if (turn->is_queued)
		return;
	turn->is_queued = true;
	turn->next = turns;
	turns = turn;
}

static inline void end_turn(void)
{
	while (turns) {
		struct turn *turn = turns;

		turns = turn->next;
		turn->is_queued = false;
		turn->end(turn);
	}
}

static inline void complete(struct slot *s, int res)
{
	struct op *op = s->op;

	s->is_taken = false;
	clock_ns += s->ns;
	if (op)
		op->done(op, res);
	end_turn();
}

static inline struct slot *slot_of(const struct op *op)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i].is_taken && slots[i].op == op)
			return &slots[i];
	return NULL;
}

/* Only marked: the kernel takes its time, and whoever completes the request looks. */
static struct op *cancelled[SLOTS];
static unsigned nr_cancelled;

void loop_cancel(struct loop *loop, struct op *op)
{
	(void)loop;
	if (nr_cancelled < SLOTS && slot_of(op))
		cancelled[nr_cancelled++] = op;
}

static inline void complete_cancelled(void)
{
	for (unsigned i = 0; i < nr_cancelled; i++) {
		struct slot *s = slot_of(cancelled[i]);

		if (s)
			complete(s, -ECANCELED);
	}
	nr_cancelled = 0;
}

/* The oldest request of this kind, or NULL. */
static inline struct slot *find_slot(uint8_t opcode)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i].is_taken && slots[i].op && slots[i].sqe.opcode == opcode)
			return &slots[i];
	return NULL;
}

/* A msghdr that was submitted, as one piece: copies from or to its segments. */
static inline const struct msghdr *message_of(const struct slot *s)
{
	return (const struct msghdr *)(uintptr_t)s->sqe.addr;
}

static inline size_t room_of(const struct slot *s)
{
	const struct msghdr *m = message_of(s);
	size_t room = 0;

	for (size_t i = 0; i < (size_t)m->msg_iovlen; i++)
		room += m->msg_iov[i].iov_len;
	return room;
}

/* The driver. */

static struct loop loop;
static struct net net;
static uint16_t seen[QUEUES]; /* used elements */

static inline void out(uint64_t reg, uint32_t value)
{
	write_register(&net.dev, reg, value);
}

static inline uint32_t status(void)
{
	uint32_t value;

	virtio_access(&net.dev, 0x70, (uint8_t *)&value, 4, false);
	return value;
}

/* The loop sees what a register write set going. */
static inline void wake(void)
{
	net.dev.wake_count = 1;
	complete(slot_of(&net.dev.wake_op), 8);
}

static inline void kick(unsigned q)
{
	net.dev.ops->kick(&net.dev, q);
	end_turn();
}

/* Where no reset is under way. */
static inline void start_driver(uint64_t features)
{
	for (unsigned q = RX; q < net.dev.nr_queues; q++) {
		memset(mem_at(&mem, QUEUE_GPA(q), QUEUE_SIZE), 0, QUEUE_SIZE);
		seen[q] = 0;
	}
	start_device(&net.dev, features);
	wake();
}

/*
 * A reset, which waits for all in flight. The register write would wait for the loop, which is this
 * thread: so what the transport does then is done by hand.
 */
static inline void begin_reset(void)
{
	pthread_mutex_lock(&net.dev.lock);
	net.dev.phase = VIRTIO_STOPPING;
	pthread_mutex_unlock(&net.dev.lock);
	wake();
}

static inline void reset_driver(void)
{
	begin_reset();
	complete_cancelled();
}

static inline void make_memory(void)
{
	mem.nr_regions = 1;
	mem.regions[0] = (struct mem_region){ .size = MEM_SIZE, .host = malloc(MEM_SIZE) };
	if (!mem.regions[0].host)
		abort();
	memset(mem.regions[0].host, 0, MEM_SIZE);
}

/* After net_open() or what stands for it. */
static inline void make_device(void)
{
	if (net_init(&net, &mem) || net_attach(&net, &loop) ||
	    virtio_open(&net.dev, &loop, eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)))
		abort();
	net_listen(&net);
}

#endif
