/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests on a real ring: whether there can be one, and the skip where not. After cmocka. */
#ifndef TESTS_UNIT_RING_H
#define TESTS_UNIT_RING_H

#include <liburing.h>
#include <stdbool.h>

static inline bool is_allowed(void)
{
	struct io_uring ring;
	const int err = io_uring_queue_init(
		4, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

	if (err == 0)
		io_uring_queue_exit(&ring);
	return err == 0;
}

static inline void need_io_uring(void)
{
	if (!is_allowed()) {
		print_message("io_uring is forbidden here, or older than Linux 6.1\n");
		skip();
	}
}

#endif
