// SPDX-License-Identifier: Apache-2.0
/* See bare.h. Called by blk.c, in its own process, while no monitor runs. */
#include "bare.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct bare {
	struct io_uring ring;
	const struct bare_load *load;
	uint8_t *buffers;
	uint32_t places, seed;
	uint64_t sent, done;
};

static _Noreturn void die(const char *what, int err)
{
	fprintf(stderr, "bench: the bare program: %s: %s\n", what, strerror(err));
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* As blkload.c throws them. */
static uint32_t dice(struct bare *b)
{
	b->seed ^= b->seed << 13;
	b->seed ^= b->seed >> 17;
	b->seed ^= b->seed << 5;
	return (uint32_t)((uint64_t)b->seed * b->places >> 32);
}

static void submit(struct bare *b, uint64_t slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&b->ring);
	const uint32_t len = b->load->len;
	const uint64_t at = (b->load->is_random ? dice(b) : b->sent % b->places) * (uint64_t)len;

	if (b->load->is_write)
		io_uring_prep_write(sqe, 0, b->buffers + slot * len, len, at);
	else
		io_uring_prep_read(sqe, 0, b->buffers + slot * len, len, at);
	sqe->flags |= IOSQE_FIXED_FILE;
	sqe->user_data = slot;
	b->sent++;
}

static void take(struct bare *b, uint64_t nr)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&b->ring, &cqe) == 0) {
		const uint64_t slot = cqe->user_data;

		if (cqe->res != (int)b->load->len)
			die("a request", cqe->res < 0 ? -cqe->res : EIO);
		io_uring_cqe_seen(&b->ring, cqe);
		b->done++;
		if (b->sent < nr)
			submit(b, slot);
	}
}

static void run(struct bare *b, uint64_t nr)
{
	b->sent = b->done = 0;
	while (b->sent < b->load->depth && b->sent < nr)
		submit(b, b->sent);
	while (b->done < nr) {
		const int err = io_uring_submit_and_wait(&b->ring, 1);

		if (err < 0 && err != -EINTR)
			die("io_uring_enter", -err);
		take(b, nr);
	}
}

struct bare_time bare_run(const char *path, const struct bare_load *load)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER |
						   IORING_SETUP_DEFER_TASKRUN };
	struct bare b = { .load = load, .seed = 2463534242u };
	const size_t size = (size_t)load->depth * load->len;
	const int fd = open(path, load->is_write ? O_RDWR : O_RDONLY);
	struct bare_time time;
	struct stat st;
	int err;

	if (fd < 0 || fstat(fd, &st))
		die(path, errno);
	err = io_uring_queue_init_params(2 * load->depth, &b.ring, &params);
	if (!err)
		err = io_uring_register_files(&b.ring, &fd, 1);
	b.buffers = aligned_alloc(4096, size);
	if (err || !b.buffers)
		die("set-up", err ? -err : ENOMEM);
	memset(b.buffers, 1, size);
	b.places = (uint32_t)((uint64_t)st.st_size / load->len);
	run(&b, load->nr / 20);
	time.wall_ns = now_ns(CLOCK_MONOTONIC);
	time.cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	run(&b, load->nr);
	time.wall_ns = now_ns(CLOCK_MONOTONIC) - time.wall_ns;
	time.cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID) - time.cpu_ns;
	io_uring_queue_exit(&b.ring);
	free(b.buffers);
	close(fd);
	return time;
}
