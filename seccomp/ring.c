// SPDX-License-Identifier: Apache-2.0
/*
 * The ring's restrictions (io_uring_register(2), IORING_REGISTER_RESTRICTIONS): these operations,
 * on registered files only, and no registration but that of files in the table. So nothing is
 * opened, connected or made through the ring. It holds from the first operation on, also while a
 * client configures the microVM. Next: policy.c, the other half.
 */
#include "ring.h"

/* Every operation that the monitor submits, and what for; tests/unit/loop.c has what is refused. */
static const struct io_uring_restriction allowed[] = {
#define OP(op)                                                                \
	{                                                                     \
		.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_##op \
	}
	OP(NOP),	  /* loop_yield() */
	OP(READ),	  /* eventfds, signals, the serial port's input */
	OP(WRITE),	  /* the serial port's output */
	OP(READV),	  /* disks, frames from a tap */
	OP(WRITEV),	  /* disks, frames to a tap */
	OP(FSYNC),	  /* a guest's flush */
	OP(FALLOCATE),	  /* a guest's discard */
	OP(RECVMSG),	  /* frames from peers and passt */
	OP(SENDMSG),	  /* frames to them */
	OP(POLL_ADD),	  /* what is not registered (loop_wait_ready), readers that stopped */
	OP(ACCEPT),	  /* clients of the API and of the serial port's socket */
	OP(TIMEOUT),	  /* timers */
	OP(LINK_TIMEOUT), /* a reader's time to take something */
	OP(ASYNC_CANCEL), /* a receive whose device is reset, a timer */
#undef OP
	/* Descriptors that come and go: a peer's, a client's of the serial port, a new disk's. */
	{ .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_FILES_UPDATE },
	/* Operations without a file, such as timers, take the flag and do not look at it. */
	{ .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE },
	{ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
	  .sqe_flags = IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC },
};

int ring_restrict(struct io_uring *ring)
{
	return io_uring_register_restrictions(ring, (struct io_uring_restriction *)allowed,
					      sizeof(allowed) / sizeof(allowed[0]));
}
