// SPDX-License-Identifier: Apache-2.0
/*
 * The one event loop. Reading order: loop_run(), then whoever is called back. It blocks
 * nowhere but in the one io_uring_enter of loop_run(), or where the port's output is a file that
 * others write to as well (console.c).
 */
#include "loop.h"
#include "../seccomp/ring.h"
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Submissions of one turn; more only cost another io_uring_enter. */
#define ENTRIES	    256u
/*
 * Completions that may wait at once: of four times what goes out with one enter. What is beyond,
 * the kernel keeps (IORING_FEAT_NODROP), more slowly. The pages for them are there from the start.
 */
#define COMPLETIONS 1024u
/*
 * 19 devices, their wake-ups and files, of which a tap has one for each queue, and the monitor's
 * own. Where the process may not open as many (RLIMIT_NOFILE), half of it or less will mostly do.
 */
#define FILES	    2048u
#define FILES_LEAST 64u
#define INLINE_MAX  (2u << 20) /* bytes */

static int make_file_table(struct loop *loop)
{
	int err;

	loop->nr_files = 0;
	loop->max_files = FILES;
	while ((err = io_uring_register_files_sparse(&loop->ring, loop->max_files)) == -EMFILE &&
	       loop->max_files > FILES_LEAST)
		loop->max_files /= 2;
	return err;
}

static void on_ready(struct op *op, int res);

static int make_ready(struct loop *loop)
{
	loop->ready_op.done = NULL;
	loop->ready_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->ready_fd < 0)
		return fail(-errno, "epoll_create1");
	loop->ready_file = loop_file(loop, loop->ready_fd);
	return loop->ready_file < 0 ? fail(loop->ready_file, "registering an epoll descriptor") : 0;
}

int loop_init(struct loop *loop)
{
	/*
	 * COOP_TASKRUN and friends come with DEFER_TASKRUN: completions are made in our own enter.
	 */
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED,
		.cq_entries = COMPLETIONS,
	};
	int err = io_uring_queue_init_params(ENTRIES, &loop->ring, &params);

	loop->stopped = false;
	loop->turns = loop->again = NULL;
	loop->turn_ns = 0;
	if (err == -EPERM || err == -EACCES)
		return fail(err, "io_uring is forbidden here; allow it with "
				 "'sysctl kernel.io_uring_disabled=0' (in a container, also in its "
				 "seccomp profile)");
	if (err == -EINVAL || err == -ENOSYS)
		return fail(
			err,
			"this host has no io_uring, or too old a one; mayfly needs Linux 6.1 or newer");
	if (err)
		return fail(err, "io_uring_setup");
	err = make_file_table(loop);
	if (err)
		return fail(err, "registering the io_uring file table");
	/*
	 * Calls by index into the ring's own table save a descriptor lookup; older kernels refuse.
	 */
	io_uring_register_ring_fd(&loop->ring);
	err = ring_restrict(&loop->ring);
	if (!err)
		err = io_uring_enable_rings(&loop->ring);
	return err ? fail(err, "restricting the io_uring") : make_ready(loop);
}

int loop_file(struct loop *loop, int fd)
{
	const unsigned index = loop->nr_files;
	int n;

	if (index == loop->max_files)
		return -EMFILE;
	n = io_uring_register_files_update(&loop->ring, index, &fd, 1);
	if (n != 1)
		return n < 0 ? n : -EBADF;
	loop->nr_files++;
	return (int)index;
}

void loop_files_cut(struct loop *loop, unsigned nr)
{
	while (loop->nr_files > nr)
		must(loop_file_replace(loop, (int)--loop->nr_files, -1) == 0);
}

int loop_file_replace(struct loop *loop, int file, int fd)
{
	const int n = io_uring_register_files_update(&loop->ring, (unsigned)file, &fd, 1);

	return n == 1 ? 0 : n < 0 ? n : -EBADF;
}

/* Hands over what is there, which makes room. */
void loop_room(struct loop *loop, unsigned nr)
{
	while (io_uring_sq_space_left(&loop->ring) < nr) {
		const int err = io_uring_submit(&loop->ring);

		must(err >= 0 || err == -EINTR || err == -EAGAIN || err == -EBUSY);
	}
}

struct io_uring_sqe *loop_sqe(struct loop *loop)
{
	loop_room(loop, 1);
	return io_uring_get_sqe(&loop->ring);
}

void loop_prepared(struct io_uring_sqe *sqe, struct op *op)
{
	sqe->flags |= IOSQE_FIXED_FILE; /* also where there is none: seccomp/ring.c requires it */
	io_uring_sqe_set_data(sqe, op);
}

void loop_read(struct loop *loop, struct op *op, int file, void *buf, unsigned len)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_read(sqe, file, buf, len, (uint64_t)-1);
	loop_prepared(sqe, op);
}

/*
 * What the page cache has is copied within io_uring_enter(2), while all else waits: more than
 * INLINE_MAX by one of the kernel's workers, whose start is little beside it.
 */
static void prepared_io(struct io_uring_sqe *sqe, struct op *op, const struct iovec *iov,
			unsigned nr)
{
	uint64_t len = 0;

	for (unsigned i = 0; i < nr; i++)
		len += iov[i].iov_len;
	if (len > INLINE_MAX)
		sqe->flags |= IOSQE_ASYNC;
	loop_prepared(sqe, op);
}

void loop_readv(struct loop *loop, struct op *op, int file, const struct iovec *iov, unsigned nr,
		uint64_t offset)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	if (nr == 1 && iov->iov_len <= UINT32_MAX) /* the kernel need not fetch the segments */
		io_uring_prep_read(sqe, file, iov->iov_base, (unsigned)iov->iov_len, offset);
	else
		io_uring_prep_readv(sqe, file, iov, nr, offset);
	prepared_io(sqe, op, iov, nr);
}

void loop_writev(struct loop *loop, struct op *op, int file, const struct iovec *iov, unsigned nr,
		 uint64_t offset)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	if (nr == 1 && iov->iov_len <= UINT32_MAX) /* the kernel need not fetch the segments */
		io_uring_prep_write(sqe, file, iov->iov_base, (unsigned)iov->iov_len, offset);
	else
		io_uring_prep_writev(sqe, file, iov, nr, offset);
	prepared_io(sqe, op, iov, nr);
}

void loop_sync(struct loop *loop, struct op *op, int file)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_fsync(sqe, file, IORING_FSYNC_DATASYNC);
	loop_prepared(sqe, op);
}

void loop_fallocate(struct loop *loop, struct op *op, int file, int mode, uint64_t offset,
		    uint64_t len)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_fallocate(sqe, file, mode, (off_t)offset, (off_t)len);
	loop_prepared(sqe, op);
}

static void poll_ready(struct loop *loop)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	loop->ready_op.done = on_ready;
	io_uring_prep_poll_add(sqe, loop->ready_file, POLLIN);
	loop_prepared(sqe, &loop->ready_op);
}

/* One at a time: a callback may close what would be next. */
static void on_ready(struct op *op, int res)
{
	struct loop *loop = container_of(op, struct loop, ready_op);
	struct epoll_event event;

	(void)res; /* what there is, epoll_wait() says */
	poll_ready(loop);
	if (epoll_wait(loop->ready_fd, &event, 1, 0) == 1) {
		struct op *ready = event.data.ptr;

		ready->done(ready, (int)event.events);
	}
}

int loop_wait_ready(struct loop *loop, struct op *op, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events | EPOLLONESHOT, .data.ptr = op };

	if (!loop->ready_op.done)
		poll_ready(loop);
	if (epoll_ctl(loop->ready_fd, EPOLL_CTL_MOD, fd, &event) == 0 ||
	    (errno == ENOENT && epoll_ctl(loop->ready_fd, EPOLL_CTL_ADD, fd, &event) == 0))
		return 0;
	return -errno;
}

void loop_yield(struct loop *loop, struct op *op)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_nop(sqe);
	loop_prepared(sqe, op);
}

void loop_at_turn_end(struct loop *loop, struct turn *turn)
{
	if (turn->is_queued)
		return;
	turn->is_queued = true;
	turn->next = loop->turns;
	loop->turns = turn;
}

void loop_turn_again(struct loop *loop, struct turn *turn)
{
	must(turn->is_queued && !turn->is_again);
	turn->is_again = true;
	turn->next = loop->again;
	loop->again = turn;
}

static void end_turn(struct loop *loop)
{
	struct turn *turn;

	loop->turn_ns = 0;
	while ((turn = loop->turns)) {
		loop->turns = turn->next;
		turn->is_again = false;
		turn->end(turn);
		turn->is_queued = turn->is_again;
	}
	loop->turns = loop->again;
	loop->again = NULL;
}

/* Hands over what was prepared, and waits for a completion unless someone has more to do. */
static int enter(struct loop *loop)
{
	return loop->turns ? io_uring_submit_and_get_events(&loop->ring)
			   : io_uring_submit_and_wait(&loop->ring, 1);
}

static void set_timer(struct loop *loop, struct op *op, struct __kernel_timespec *ts, uint64_t ns,
		      unsigned flags)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	ts->tv_sec = (long long)(ns / 1000000000);
	ts->tv_nsec = (long long)(ns % 1000000000);
	io_uring_prep_timeout(sqe, ts, 0, flags);
	loop_prepared(sqe, op);
}

void loop_timeout_ns(struct loop *loop, struct op *op, struct __kernel_timespec *ts, uint64_t ns)
{
	set_timer(loop, op, ts, ns, 0);
}

void loop_deadline(struct loop *loop, struct op *op, struct __kernel_timespec *ts, uint64_t ns)
{
	set_timer(loop, op, ts, ns, IORING_TIMEOUT_ABS);
}

void loop_timeout(struct loop *loop, struct op *op, struct __kernel_timespec *ts, uint64_t ms)
{
	loop_timeout_ns(loop, op, ts, ms * 1000000);
}

void loop_cancel(struct loop *loop, struct op *op)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_cancel(sqe, op, 0);
	loop_prepared(sqe, NULL); /* the outcome shows in op's own completion */
}

/*
 * Released one by one: a callback may submit, and that may wait for room here. What such a
 * submission completes at once is the next turn's: else this one might never end, and with it
 * nothing else that only a turn's end gives room to (timers, signals, interrupts).
 */
static void complete(struct loop *loop)
{
	unsigned nr = io_uring_cq_ready(&loop->ring);
	struct io_uring_cqe *cqe;

	loop->turn_ns = 0;
	while (nr-- > 0 && !loop->stopped && io_uring_peek_cqe(&loop->ring, &cqe) == 0) {
		struct op *op = io_uring_cqe_get_data(cqe);
		const int res = cqe->res;

		io_uring_cqe_seen(&loop->ring, cqe);
		if (op)
			op->done(op, res);
	}
}

static bool is_passing(int err)
{
	return err == -EINTR || err == -EAGAIN || err == -EBUSY;
}

int loop_run(struct loop *loop)
{
	while (!loop->stopped) {
		const int err = enter(loop);

		if (err < 0 && !is_passing(err))
			return fail(err, "io_uring_enter");
		complete(loop);
		end_turn(loop);
	}
	return 0;
}

void loop_turn(struct loop *loop)
{
	const int err = io_uring_submit_and_get_events(&loop->ring);

	must(err >= 0 || is_passing(err));
	complete(loop);
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
}

uint64_t loop_turn_ns(struct loop *loop)
{
	if (!loop->turn_ns)
		loop->turn_ns = loop_now_ns(CLOCK_MONOTONIC);
	return loop->turn_ns;
}

uint64_t loop_now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void loop_signal(int fd)
{
	const uint64_t one = 1;

	/* An eventfd refuses only when its count is at the top: then it is signalled anyway. */
	if (write(fd, &one, sizeof(one)) != sizeof(one))
		must(errno == EAGAIN || errno == EINTR);
}
