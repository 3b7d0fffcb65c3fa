/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: one io_uring, owned by one thread, which does all of the process's I/O. A device
 * embeds a struct op for each request it has in flight, hands it over with the operation, and gets
 * it back in done(), once, on the loop's thread. Nothing here is safe from another thread: those
 * write to an eventfd that the loop reads.
 */
#ifndef VMM_LOOP_H
#define VMM_LOOP_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct op {
	void (*done)(struct op *op, int res); /* res as from the system call: >= 0 or -errno */
};

/* Something to be done once when all that has completed together has been handled. */
struct turn {
	void (*end)(struct turn *turn);
	struct turn *next;
	bool is_queued, is_again;
};

struct loop {
	struct io_uring ring;
	bool stopped;
	unsigned nr_files, max_files;
	struct turn *turns; /* to be called at the end of this turn */
	struct turn *again; /* and of the next */
	uint64_t turn_ns;   /* when this turn began, once somebody has asked; else 0 */
	/* Of what is waited for without being registered: an epoll(7) descriptor, which is. */
	int ready_fd, ready_file;
	struct op ready_op;
};

/* The structure that a member is embedded in: from an op back to its device. */
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/*
 * Sets up the ring (Linux 6.1 or newer: SINGLE_ISSUER, DEFER_TASKRUN) for the calling thread, with
 * the restrictions of seccomp/ring.c. 0 or -errno with the reason and the cure logged.
 */
int loop_init(struct loop *loop);

/*
 * Registers a descriptor, which stays the caller's and open; returns its index for the calls below,
 * or -errno. Operations go by registered files: the ring takes no others.
 */
int loop_file(struct loop *loop, int fd);

/*
 * Forgets all files registered since nr_files was `nr`; no operation on them may be in flight. For
 * what was set up and came to nothing: so what may fail comes before what submits.
 */
void loop_files_cut(struct loop *loop, unsigned nr);

/* Puts another descriptor in the place of `file`; -1 leaves it empty. 0 or -errno. */
int loop_file_replace(struct loop *loop, int file, int fd);

/*
 * A free submission entry that will complete into op; never NULL. The caller prepares it at once
 * with io_uring_prep_*(), with the index of a registered file for its descriptor, and
 * loop_prepared(). It goes out with the loop's next turn.
 */
struct io_uring_sqe *loop_sqe(struct loop *loop);
void loop_prepared(struct io_uring_sqe *sqe, struct op *op);

/* The next `nr` operations, at most 64, go to the kernel together: a chain of links is not cut. */
void loop_room(struct loop *loop, unsigned nr);

/* Reads at the file's position; `file` is an index from loop_file(). */
void loop_read(struct loop *loop, struct op *op, int file, void *buf, unsigned len);

/*
 * Reads or writes at a position, `nr` segments, which must live until the loop's next turn; may
 * transfer less than asked for.
 */
void loop_readv(struct loop *loop, struct op *op, int file, const struct iovec *iov, unsigned nr,
		uint64_t offset);
void loop_writev(struct loop *loop, struct op *op, int file, const struct iovec *iov, unsigned nr,
		 uint64_t offset);

/* fdatasync(2), fallocate(2). */
void loop_sync(struct loop *loop, struct op *op, int file);
void loop_fallocate(struct loop *loop, struct op *op, int file, int mode, uint64_t offset,
		    uint64_t len);

/*
 * Completes, once, with the events (EPOLLIN, ...) that `fd`, which is not registered, is ready for;
 * never where it is closed before. For descriptors that others wait to see closed: Linux 6.1 keeps
 * a file that has left the ring's table until every request made before has ended, even a guest's,
 * and takes the ring itself down some time after the process. 0 or -errno.
 */
int loop_wait_ready(struct loop *loop, struct op *op, int fd, uint32_t events);

/* Completes in the loop's next turn, after what has completed already. */
void loop_yield(struct loop *loop, struct op *op);

/* turn->end() at the end of this turn, once however often it is asked for, also by itself. */
void loop_at_turn_end(struct loop *loop, struct turn *turn);

/*
 * From within turn->end(): the same at the end of the next turn, which then waits for nothing. For
 * who looks for work at another place than the ring, and goes on only while there is some.
 */
void loop_turn_again(struct loop *loop, struct turn *turn);

/*
 * Completes with -ETIME once `ms` milliseconds have passed since the turn in which it goes out; *ts
 * must live until then.
 */
void loop_timeout(struct loop *loop, struct op *op, struct __kernel_timespec *ts, uint64_t ms);

void loop_timeout_ns(struct loop *loop, struct op *op, struct __kernel_timespec *ts, uint64_t ns);

/* The same once CLOCK_MONOTONIC is at `ns`; at once where that is past. */
void loop_deadline(struct loop *loop, struct op *op, struct __kernel_timespec *ts, uint64_t ns);

/* Asks for op's end: it completes with -ECANCELED, or with its result where that came first. */
void loop_cancel(struct loop *loop, struct op *op);

/* Runs completions, one io_uring_enter a turn, until loop_stop(). 0 or -errno, logged. */
int loop_run(struct loop *loop);

/*
 * What can be done without waiting: for a callback that has to wait for something else, and must
 * not hold up all others meanwhile. Any other callback may run inside of it.
 */
void loop_turn(struct loop *loop);
void loop_stop(struct loop *loop);

/* CLOCK_MONOTONIC, looked at once for all that completes together, and once for what is done at the
 * end of that turn: requests are many. */
uint64_t loop_turn_ns(struct loop *loop);

/* Any thread's: the time, and how another thread wakes the loop or the guest by an eventfd. */
uint64_t loop_now_ns(clockid_t clock);
void loop_signal(int fd);

#endif
