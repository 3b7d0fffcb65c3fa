// SPDX-License-Identifier: Apache-2.0
/*
 * `lingers`: what becomes of a file that leaves a ring's table while an older request, on another
 * file of it, still waits. Says "closed", or "open until the older request has ended", or fails.
 */
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SETTLE_MS 4000 /* some kernels put closing off by a second */

static struct io_uring ring;

static void check(const char *what, int result)
{
	if (result >= 0)
		return;
	fprintf(stderr, "lingers: %s: %d\n", what, result);
	exit(2);
}

/* Whether the other end of this socket pair is gone. */
static bool is_closed(int fd)
{
	struct pollfd end = { .fd = fd };

	io_uring_get_events(&ring);
	return poll(&end, 1, SETTLE_MS) == 1 && end.revents & POLLHUP;
}

int main(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER |
						   IORING_SETUP_DEFER_TASKRUN };
	const int none = -1, event = eventfd(0, 0);
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	uint64_t count;
	bool at_once;
	int pair[2];

	check("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	check("io_uring_setup", io_uring_queue_init_params(8, &ring, &params));
	check("a table", io_uring_register_files_sparse(&ring, 2));
	check("an eventfd in it", io_uring_register_files_update(&ring, 0, &event, 1));
	check("a socket in it", io_uring_register_files_update(&ring, 1, &pair[0], 1));
	close(pair[0]);

	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read(sqe, 0, &count, sizeof(count), 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	check("a read that waits", io_uring_submit(&ring));
	check("out of the table", io_uring_register_files_update(&ring, 1, &none, 1));
	at_once = is_closed(pair[1]);

	check("the read's end", eventfd_write(event, 1));
	check("its completion", io_uring_wait_cqe(&ring, &cqe));
	io_uring_cqe_seen(&ring, cqe);
	if (!is_closed(pair[1])) {
		fprintf(stderr, "lingers: open even then\n");
		return 1;
	}
	puts(at_once ? "closed" : "open until the older request has ended");
	return 0;
}
