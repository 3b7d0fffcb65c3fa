// SPDX-License-Identifier: Apache-2.0
/*
 * The event loop on a real ring: each operation comes back once, with the result of its system
 * call. Where io_uring is forbidden or too old, all are skipped and say so.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/loop.h"
#include "ring.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct loop loop;

/* An operation that remembers how it ended, and stops the loop when `*left` have. */
struct probe {
	struct op op;
	int res;
	unsigned calls;
	unsigned *left;
	uint64_t value;
	struct __kernel_timespec ts;
};

static void probe_done(struct op *op, int res)
{
	struct probe *p = container_of(op, struct probe, op);

	p->res = res;
	p->calls++;
	if (--*p->left == 0)
		loop_stop(&loop);
}

static struct probe probe(unsigned *left)
{
	return (struct probe){ .op.done = probe_done, .left = left };
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int make_loop(void **state)
{
	(void)state;
	if (!is_allowed()) /* each test skips itself */
		return 0;
	return loop_init(&loop);
}

static int drop_loop(void **state)
{
	(void)state;
	if (is_allowed())
		io_uring_queue_exit(&loop.ring);
	return 0;
}

static void write_to(struct op *op, int file, const char *bytes, unsigned len)
{
	struct io_uring_sqe *sqe = loop_sqe(&loop);

	io_uring_prep_write(sqe, file, bytes, len, (uint64_t)-1);
	loop_prepared(sqe, op);
}

static void timeouts(void **state)
{
	unsigned left = 2;
	struct probe late = probe(&left), soon = probe(&left);
	const uint64_t before = now_ms();

	(void)state;
	need_io_uring();
	loop_timeout(&loop, &late.op, &late.ts, 60);
	loop_timeout(&loop, &soon.op, &soon.ts, 20);
	assert_int_equal(loop_run(&loop), 0);
	assert_in_range(now_ms() - before, 60, 5000);
	assert_int_equal(soon.res, -ETIME);
	assert_int_equal(late.res, -ETIME);
	assert_int_equal(soon.calls + late.calls, 2);
}

/* It counts from where the caller says, however late the loop comes to it. */
static void deadline(void **state)
{
	unsigned left = 2;
	struct probe past = probe(&left), next = probe(&left);
	const uint64_t now = loop_now_ns(CLOCK_MONOTONIC), in_60_ms = now + 60000000;

	(void)state;
	need_io_uring();
	loop_deadline(&loop, &next.op, &next.ts, in_60_ms);
	loop_deadline(&loop, &past.op, &past.ts, now - 3600000000000);
	assert_int_equal(loop_run(&loop), 0);
	assert_true(loop_now_ns(CLOCK_MONOTONIC) >= in_60_ms);
	assert_int_equal(past.res, -ETIME);
	assert_int_equal(next.res, -ETIME);
}

static void cancelled(void **state)
{
	unsigned left = 2;
	struct probe timer = probe(&left), reading = probe(&left);
	const int fd = eventfd(0, EFD_CLOEXEC);

	(void)state;
	need_io_uring();
	loop_timeout(&loop, &timer.op, &timer.ts, 3600000);
	loop_read(&loop, &reading.op, loop_file(&loop, fd), &reading.value, 8);
	loop_cancel(&loop, &reading.op);
	loop_cancel(&loop, &timer.op);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(timer.res, -ECANCELED);
	assert_int_equal(reading.res, -ECANCELED);
	close(fd);
}

/* What was set up and came to nothing leaves its places in the table to the next try. */
static void cut_files(void **state)
{
	unsigned left = 1;
	struct probe writing = probe(&left);
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int file = -1, kept;
	unsigned nr;

	(void)state;
	need_io_uring();
	kept = loop_file(&loop, null);
	nr = loop.nr_files;
	for (unsigned i = 0; i < 5000; i++) {
		for (unsigned k = 0; k < 3; k++)
			file = loop_file(&loop, null);
		assert_int_equal(file, kept + 3);
		loop_files_cut(&loop, nr);
		assert_int_equal(loop.nr_files, nr);
	}
	write_to(&writing.op, kept, "x", 1);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(writing.res, 1);
	loop.stopped = false;
	left = 1;
	write_to(&writing.op, file, "x", 1);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(writing.res, -EBADF);
	close(null);
}

/* A cancellation that comes too late is nobody's: neither op nor loop notices. */
static void cancelled_late(void **state)
{
	unsigned left = 1;
	struct probe timer = probe(&left), again = probe(&left);

	(void)state;
	need_io_uring();
	loop_timeout(&loop, &timer.op, &timer.ts, 1);
	assert_int_equal(loop_run(&loop), 0);
	loop.stopped = false;
	left = 1;
	loop_cancel(&loop, &timer.op);
	loop_timeout(&loop, &again.op, &again.ts, 1);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(timer.calls, 1);
	assert_int_equal(again.res, -ETIME);
}

/* Ten times what the ring holds, in one turn: none lost, none twice. */
static void many_submissions(void **state)
{
	enum { MANY = 2560 };
	static struct probe probes[MANY];
	unsigned left = MANY;
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int file;

	(void)state;
	need_io_uring();
	file = loop_file(&loop, null);
	assert_true(file >= 0);
	for (unsigned i = 0; i < MANY; i++) {
		probes[i] = probe(&left);
		if (i % 2)
			write_to(&probes[i].op, file, "x", 1);
		else
			loop_read(&loop, &probes[i].op, file, &probes[i].value, 8);
	}
	assert_int_equal(loop_run(&loop), 0);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(probes[i].calls, 1);
		assert_int_equal(probes[i].res, i % 2);
	}
	close(null);
}

/* The same from within completions, where the ring's other half fills up. */
static struct probe chain[4];
static unsigned chain_left;
static int chain_file;

static void chain_done(struct op *op, int res)
{
	struct probe *p = container_of(op, struct probe, op);

	assert_int_equal(res, 1);
	p->calls++;
	if (--chain_left == 0)
		loop_stop(&loop);
	else if (chain_left >= COUNT(chain))
		write_to(op, chain_file, "x", 1);
}

static void submit_in_completions(void **state)
{
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	unsigned calls = 0;

	(void)state;
	need_io_uring();
	chain_file = loop_file(&loop, null);
	chain_left = 5000;
	for (unsigned i = 0; i < COUNT(chain); i++) {
		chain[i] = (struct probe){ .op.done = chain_done };
		write_to(&chain[i].op, chain_file, "x", 1);
	}
	assert_int_equal(loop_run(&loop), 0);
	for (unsigned i = 0; i < COUNT(chain); i++)
		calls += chain[i].calls;
	assert_int_equal(calls, 5000);
	close(null);
}

/*
 * More than the ring has room for, each of which is over as soon as it is submitted: a turn ends
 * all the same, and a timer gets its own.
 */
static struct op busy[2 * 256];
static unsigned busy_left;

static void busy_again(struct op *op, int res)
{
	assert_int_equal(res, 0);
	if (--busy_left > 0)
		loop_yield(&loop, op);
	else
		loop_stop(&loop);
}

static void busy_timer(struct op *op, int res)
{
	(void)op;
	(void)res; /* -ETIME */
	loop_stop(&loop);
}

static void busy_turns(void **state)
{
	struct op timer = { .done = busy_timer };
	struct __kernel_timespec ts;

	(void)state;
	need_io_uring();
	busy_left = 20000000; /* some seconds of them */
	for (unsigned i = 0; i < COUNT(busy); i++) {
		busy[i].done = busy_again;
		loop_yield(&loop, &busy[i]);
	}
	loop_timeout(&loop, &timer, &ts, 10);
	assert_int_equal(loop_run(&loop), 0);
	assert_true(busy_left > 0);
}

/* Linked operations go out together, however much was there before them. */
static void linked(void **state)
{
	enum { FULL = 256 };
	static struct probe before[FULL];
	struct __kernel_timespec limit;
	const int fd = eventfd(0, EFD_CLOEXEC);
	struct io_uring_sqe *sqe;
	int file;

	(void)state;
	need_io_uring();
	file = loop_file(&loop, fd);
	for (unsigned nr = FULL - 3; nr <= FULL; nr++) {
		unsigned left = nr + 1;
		struct probe polling = probe(&left);

		for (unsigned i = 0; i < nr; i++) {
			before[i] = probe(&left);
			loop_yield(&loop, &before[i].op);
		}
		loop_room(&loop, 2);
		sqe = loop_sqe(&loop);
		io_uring_prep_poll_add(sqe, file, POLLIN);
		sqe->flags |= IOSQE_IO_LINK;
		loop_prepared(sqe, &polling.op);
		sqe = loop_sqe(&loop);
		limit = (struct __kernel_timespec){ .tv_nsec = 1000000 };
		io_uring_prep_link_timeout(sqe, &limit, 0);
		loop_prepared(sqe, NULL);
		loop.stopped = false;
		alarm(20); /* without its limit it never ends */
		assert_int_equal(loop_run(&loop), 0);
		alarm(0);
		assert_int_equal(polling.res, -ECANCELED);
	}
	close(fd);
}

/* An eventfd: what other threads use to wake the loop. It blocks, and still holds nobody up. */
static void eventfds(void **state)
{
	unsigned left = 1;
	struct probe reading = probe(&left), timer = probe(&left);
	const uint64_t three = 3;
	const int fd = eventfd(0, EFD_CLOEXEC);
	int file;

	(void)state;
	need_io_uring();
	file = loop_file(&loop, fd);
	loop_read(&loop, &reading.op, file, &reading.value, 8);
	loop_timeout(&loop, &timer.op, &timer.ts, 30);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(timer.calls, 1);
	assert_int_equal(reading.calls, 0);
	assert_int_equal(write(fd, &three, sizeof(three)), sizeof(three));
	loop.stopped = false;
	left = 1;
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(reading.res, 8);
	assert_int_equal(reading.value, 3);
	close(fd);
}

static void pipes(void **state)
{
	unsigned left = 2;
	struct probe reading = probe(&left), writing = probe(&left);
	char got[8] = "";
	int fds[2], from, to;

	(void)state;
	need_io_uring();
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	from = loop_file(&loop, fds[0]);
	to = loop_file(&loop, fds[1]);
	loop_read(&loop, &reading.op, from, got, sizeof(got));
	write_to(&writing.op, to, "hello", 5);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(writing.res, 5);
	assert_int_equal(reading.res, 5);
	assert_string_equal(got, "hello");

	/* The other end is gone: the end of the file, and an error. The table holds it open too. */
	assert_int_equal(loop_file_replace(&loop, to, -1), 0);
	close(fds[1]);
	loop.stopped = false;
	left = 1;
	loop_read(&loop, &reading.op, from, got, sizeof(got));
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(reading.res, 0);
	close(fds[0]);
}

static void files(void **state)
{
	unsigned left = 1;
	struct probe p = probe(&left);
	int fds[2], file;
	char got[4] = "";

	(void)state;
	need_io_uring();
	assert_int_equal(loop_file(&loop, 1 << 20), -EBADF);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	file = loop_file(&loop, fds[1]);
	assert_int_equal(file, (int)loop.nr_files - 1); /* the failure took no place */
	assert_int_equal(write(fds[1], "abc", 3), 3);
	assert_int_equal(loop_file_replace(&loop, file, fds[0]), 0);
	loop_read(&loop, &p.op, file, got, 3);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(p.res, 3);
	assert_string_equal(got, "abc");
	assert_int_equal(loop_file_replace(&loop, file, -1), 0);
	loop.stopped = false;
	left = 1;
	loop_read(&loop, &p.op, file, got, 3);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(p.res, -EBADF);
	close(fds[0]);
	close(fds[1]);
}

/* loop_stop() in a completion: what else has completed waits for the next run. */
static void stops(void **state)
{
	unsigned first = 1, second = 1;
	struct probe a = probe(&first), b = probe(&second);
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int file;

	(void)state;
	need_io_uring();
	file = loop_file(&loop, null);
	write_to(&a.op, file, "x", 1);
	write_to(&b.op, file, "x", 1);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 0);
	loop.stopped = false;
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(b.calls, 1);
	close(null);
}

static void ignore(struct op *op, int res)
{
	(void)op;
	(void)res;
}

/* However full the ring is, there is room for a chain to go to the kernel in one. */
static void room_for_a_chain(void **state)
{
	enum { CHAIN = 16 };
	static struct op op = { .done = ignore };

	(void)state;
	need_io_uring();
	for (unsigned before = 230; before <= 256; before++) {
		while (io_uring_sq_ready(&loop.ring) < before)
			loop_yield(&loop, &op);
		loop_room(&loop, CHAIN);
		for (unsigned i = 0; i < CHAIN; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&loop.ring);

			assert_non_null(sqe);
			io_uring_prep_nop(sqe);
			loop_prepared(sqe, &op);
		}
		loop_turn(&loop);
	}
}

/* A turn's end: once for all that completed in it, again where it asks, and then without a wait. */
static struct turns {
	struct turn turn;
	unsigned calls, again;
} turns;

static void turn_ended(struct turn *turn)
{
	turns.calls++;
	loop_at_turn_end(&loop, turn); /* from within it means nothing */
	if (turns.again > 0) {
		turns.again--;
		loop_turn_again(&loop, turn);
	} else {
		loop_stop(&loop);
	}
}

static void yielded(struct op *op, int res)
{
	struct probe *p = container_of(op, struct probe, op);

	p->res = res;
	p->calls++;
	loop_at_turn_end(&loop, &turns.turn);
	loop_at_turn_end(&loop, &turns.turn);
}

static void turn_ends(void **state)
{
	struct probe p[3] = { 0 }, timer = { .op.done = yielded };

	(void)state;
	need_io_uring();
	turns = (struct turns){ .turn.end = turn_ended, .again = 5 };
	for (unsigned i = 0; i < COUNT(p); i++) {
		p[i].op.done = yielded;
		loop_yield(&loop, &p[i].op);
	}
	/*
	 * Nothing completes after the first turn: were the next to wait, it would be for an hour.
	 */
	loop_timeout(&loop, &timer.op, &timer.ts, 3600000);
	assert_int_equal(loop_run(&loop), 0);
	for (unsigned i = 0; i < COUNT(p); i++)
		assert_true(p[i].calls == 1 && p[i].res == 0);
	assert_int_equal(turns.calls, 6);
	assert_int_equal(timer.calls, 0);
	assert_false(turns.turn.is_queued);
}

/* What the clock says meanwhile is another time each time. */
static uint64_t look(void)
{
	const uint64_t seen = loop_turn_ns(&loop);

	while (loop_now_ns(CLOCK_MONOTONIC) <= seen)
		;
	return seen;
}

static void yielded_and_looked(struct op *op, int res)
{
	struct probe *p = container_of(op, struct probe, op);

	(void)res;
	p->value = look();
	loop_at_turn_end(&loop, &turns.turn);
}

static void one_time_a_turn(void **state)
{
	struct probe p[3] = { 0 };
	uint64_t end;

	(void)state;
	need_io_uring();
	turns = (struct turns){ .turn.end = turn_ended };
	for (unsigned i = 0; i < COUNT(p); i++) {
		p[i].op.done = yielded_and_looked;
		loop_yield(&loop, &p[i].op);
	}
	assert_int_equal(loop_run(&loop), 0);
	assert_true(p[0].value > 0);
	assert_true(p[1].value == p[0].value && p[2].value == p[0].value);
	end = look();
	assert_true(end > p[0].value); /* of what was done at its end */
	assert_true(look() == end);
	loop.stopped = false;
	loop_yield(&loop, &p[0].op);
	assert_int_equal(loop_run(&loop), 0);
	assert_true(p[0].value > end);
}

static void data_operations(void **state)
{
	unsigned left = 3;
	struct probe write_v = probe(&left), sync = probe(&left), hole = probe(&left),
		     read_v = probe(&left);
	char abc[] = "abc", defg[] = "defg", got[10] = "";
	const struct iovec out[] = { { abc, 3 }, { defg, 4 } };
	const struct iovec in[] = { { got, 2 }, { got + 2, 7 } }, six = { got + 2, 6 };
	const int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int file;

	(void)state;
	need_io_uring();
	assert_true(fd >= 0);
	file = loop_file(&loop, fd);
	loop_writev(&loop, &write_v.op, file, out, 2, 100);
	loop_sync(&loop, &sync.op, file);
	loop_fallocate(&loop, &hole.op, file, FALLOC_FL_KEEP_SIZE, 4096, 4096);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(write_v.res, 7);
	assert_int_equal(sync.res, 0);
	assert_int_equal(hole.res, 0);
	loop.stopped = false;
	left = 1;
	loop_readv(&loop, &read_v.op, file, in, 2, 99);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(read_v.res, 8);
	assert_memory_equal(got, "\0abcdefg", 8);
	/* One segment goes another way into the ring. */
	loop.stopped = false;
	left = 2;
	loop_writev(&loop, &write_v.op, file, out, 1, 200);
	loop_readv(&loop, &read_v.op, file, &six, 1, 101);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(write_v.res, 3);
	assert_int_equal(read_v.res, 6);
	assert_memory_equal(got + 2, "bcdefg", 6);
	assert_int_equal(pread(fd, got, 4, 199), 4);
	assert_memory_equal(got, "\0abc", 4);
	close(fd);
}

/* What would be copied for a millisecond and more, the kernel's workers copy. */
static void large_operations(void **state)
{
	enum { INLINE = 2 << 20 };
	unsigned left = 2;
	struct probe small = probe(&left), large = probe(&left);
	const int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *bytes = calloc(2, INLINE);
	const struct iovec most = { bytes, INLINE };
	const struct iovec more[] = { { bytes, INLINE }, { bytes + INLINE, 1 } };
	const struct io_uring_sqe *sqes;
	int file;

	(void)state;
	need_io_uring();
	assert_true(fd >= 0);
	file = loop_file(&loop, fd);
	sqes = loop.ring.sq.sqes;
	loop_writev(&loop, &small.op, file, &most, 1, 0);
	assert_false(sqes[(loop.ring.sq.sqe_tail - 1) & loop.ring.sq.ring_mask].flags &
		     IOSQE_ASYNC);
	loop_writev(&loop, &large.op, file, more, 2, 0);
	assert_true(sqes[(loop.ring.sq.sqe_tail - 1) & loop.ring.sq.ring_mask].flags & IOSQE_ASYNC);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(small.res, INLINE);
	assert_int_equal(large.res, INLINE + 1);
	free(bytes);
	close(fd);
}

/* Every operation that mayfly has, in the order of their numbers. */
static bool is_ours(unsigned op)
{
	static const uint8_t ours[] = {
		IORING_OP_NOP,	   IORING_OP_READV,	   IORING_OP_WRITEV,
		IORING_OP_FSYNC,   IORING_OP_POLL_ADD,	   IORING_OP_SENDMSG,
		IORING_OP_RECVMSG, IORING_OP_TIMEOUT,	   IORING_OP_ACCEPT,
		IORING_OP_READ,	   IORING_OP_ASYNC_CANCEL, IORING_OP_LINK_TIMEOUT,
		IORING_OP_WRITE,   IORING_OP_FALLOCATE,
	};

	return memchr(ours, (int)op, sizeof(ours)) != NULL;
}

/* What the ring says to one operation, with these flags. */
static int submit(unsigned opcode, int fd, unsigned flags)
{
	static char byte;
	unsigned left = 1;
	struct probe p = probe(&left);
	struct io_uring_sqe *sqe = loop_sqe(&loop);

	io_uring_prep_rw((int)opcode, sqe, fd, &byte, 1, 0);
	loop_prepared(sqe, &p.op);
	sqe->flags = (uint8_t)flags;
	loop.stopped = false;
	assert_int_equal(loop_run(&loop), 0);
	return p.res;
}

/* OPENAT2, CONNECT, SOCKET and all others, also those that this kernel does not know. */
static void forbidden_operations(void **state)
{
	(void)state;
	need_io_uring();
	for (unsigned op = 0; op < 256; op++) {
		const int res = is_ours(op) ? -EACCES : submit(op, 0, IOSQE_FIXED_FILE);

		if (res != -EACCES && res != -EINVAL)
			fail_msg("operation %u is allowed: %d", op, res);
	}
	assert_int_equal(submit(IORING_OP_OPENAT2, 0, IOSQE_FIXED_FILE), -EACCES);
	assert_int_equal(submit(IORING_OP_CONNECT, 0, IOSQE_FIXED_FILE), -EACCES);
	assert_int_equal(submit(IORING_OP_TIMEOUT_REMOVE, 0, IOSQE_FIXED_FILE), -EACCES);
}

/* Nor ours without the flag, or with others than links and workers. */
static void forbidden_flags(void **state)
{
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC), file = loop_file(&loop, null);

	(void)state;
	need_io_uring();
	assert_int_equal(submit(IORING_OP_WRITE, file, IOSQE_FIXED_FILE), 1);
	assert_int_equal(submit(IORING_OP_WRITE, null, 0), -EACCES);
	assert_int_equal(submit(IORING_OP_NOP, 0, 0), -EACCES);
	assert_int_equal(submit(IORING_OP_WRITE, file, IOSQE_FIXED_FILE | IOSQE_ASYNC), 1);
	assert_int_equal(submit(IORING_OP_WRITE, file, IOSQE_FIXED_FILE | IOSQE_IO_DRAIN), -EACCES);
	close(null);
}

/* The second half: nothing is registered but files in the table. */
static void forbidden_registrations(void **state)
{
	(void)state;
	need_io_uring();
	for (unsigned op = 0; op < 64; op++) {
		const long res =
			op == IORING_REGISTER_FILES_UPDATE
				? -1
				: syscall(SYS_io_uring_register, loop.ring.ring_fd, op, NULL, 0);

		/* EINVAL: this kernel does not know it. */
		if (res != -1 ||
		    (op != IORING_REGISTER_FILES_UPDATE && errno != EACCES && errno != EINVAL))
			fail_msg("registration %u: %ld, %s", op, res, strerror(errno));
	}
	assert_int_equal(io_uring_register_restrictions(&loop.ring, NULL, 0), -EACCES);
	assert_int_equal(io_uring_enable_rings(&loop.ring), -EACCES);
	assert_int_equal(io_uring_register_personality(&loop.ring), -EACCES);
}

static void readiness(void **state)
{
	unsigned left = 2;
	struct probe in = probe(&left), out = probe(&left), never = probe(&left);
	int fds[2], others[2];

	(void)state;
	need_io_uring();
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(pipe2(others, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(loop_wait_ready(&loop, &in.op, fds[0], EPOLLIN), 0);
	assert_int_equal(loop_wait_ready(&loop, &never.op, others[0], EPOLLIN), 0);
	assert_int_equal(loop_wait_ready(&loop, &out.op, fds[1], EPOLLOUT), 0);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	close(others[0]); /* and so it never comes */
	close(others[1]);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(in.res, EPOLLIN);
	assert_int_equal(out.res, EPOLLOUT);
	/* Once: what is there still is told again only if it is asked for again. */
	loop.stopped = false;
	left = 1;
	out = probe(&left);
	assert_int_equal(loop_wait_ready(&loop, &out.op, fds[1], EPOLLOUT), 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(in.calls, 1);
	assert_int_equal(never.calls, 0);
	/* The end is told too. */
	loop.stopped = false;
	left = 1;
	in = probe(&left);
	assert_int_equal(read(fds[0], &in.value, 8), 3);
	assert_int_equal(loop_wait_ready(&loop, &in.op, fds[0], EPOLLIN), 0);
	close(fds[1]);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(in.res, EPOLLHUP);
	close(fds[0]);
}

#define TEST(text, function)                                                  \
	{                                                                     \
		.name = text, .test_func = function, .setup_func = make_loop, \
		.teardown_func = drop_loop                                    \
	}

static const struct CMUnitTest tests[] = {
	TEST("timeouts come in their order", timeouts),
	TEST("a deadline is kept, and one that is past comes at once", deadline),
	TEST("a cancelled operation comes back once", cancelled),
	TEST("cancelling what has ended is harmless", cancelled_late),
	TEST("files that are cut make room for others", cut_files),
	TEST("more submissions than the ring has entries", many_submissions),
	TEST("a chain of operations has room at once", room_for_a_chain),
	TEST("completions submit again and again", submit_in_completions),
	TEST("a timer beside more operations than the ring has room for", busy_turns),
	TEST("linked operations go out together", linked),
	TEST("an eventfd is read when it is written", eventfds),
	TEST("a pipe carries bytes and its end", pipes),
	TEST("the file table: taken, replaced, emptied", files),
	TEST("stopping keeps what has completed", stops),
	TEST("a turn's end comes once, and again where it asks", turn_ends),
	TEST("what completes together has one time, the end of its turn another", one_time_a_turn),
	TEST("what mayfly does not do, the ring refuses: operations", forbidden_operations),
	TEST("the ring refuses: files that are not registered, other flags", forbidden_flags),
	TEST("the ring refuses: registrations but of files", forbidden_registrations),
	TEST("what is not registered is waited for", readiness),
	TEST("reads, writes, syncs and allocations at a position", data_operations),
	TEST("large reads and writes do not hold up the loop", large_operations),
};

int main(void)
{
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
