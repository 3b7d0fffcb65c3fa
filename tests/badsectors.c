// SPDX-License-Identifier: Apache-2.0
/*
 * A host's disk that has bad sectors: linked into build/tests/mayfly-badsectors in front of the
 * loop's transfers (ld --wrap). What touches the bytes $MAYFLY_BAD_SECTORS=FROM-TO of a file comes
 * back with EIO, or the error of FROM-TO=NUMBER, later and through the ring, as from a real disk;
 * all else is the loop's.
 */
#include "../vmm/log.h"
#include "../vmm/loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct fault {
	struct op op;
	struct op *victim; /* NULL: free */
};
static struct fault faults[1024];
static unsigned long bad_from, bad_to; /* bytes; none where both are 0 */
static int error = EIO;

void __real_loop_readv(struct loop *loop, struct op *op, int file, const struct iovec *iov,
		       unsigned nr, uint64_t offset);
void __real_loop_writev(struct loop *loop, struct op *op, int file, const struct iovec *iov,
			unsigned nr, uint64_t offset);
void __wrap_loop_readv(struct loop *loop, struct op *op, int file, const struct iovec *iov,
		       unsigned nr, uint64_t offset);
void __wrap_loop_writev(struct loop *loop, struct op *op, int file, const struct iovec *iov,
			unsigned nr, uint64_t offset);

static void on_fault(struct op *op, int res)
{
	struct fault *fault = container_of(op, struct fault, op);
	struct op *victim = fault->victim;

	(void)res;
	fault->victim = NULL;
	victim->done(victim, -error);
}

/* Before main(): the jail forgets the environment. */
__attribute__((constructor)) static void read_sectors(void)
{
	const char *text = getenv("MAYFLY_BAD_SECTORS");

	if (!text || sscanf(text, "%lu-%lu=%d", &bad_from, &bad_to, &error) < 2)
		bad_from = bad_to = 0;
}

static bool is_bad(const struct iovec *iov, unsigned nr, uint64_t offset)
{
	uint64_t end = offset;

	for (unsigned i = 0; i < nr; i++)
		end += iov[i].iov_len;
	return offset < bad_to && end > bad_from;
}

static void fail_soon(struct loop *loop, struct op *victim)
{
	struct fault *fault = faults;

	while (fault->victim)
		must(++fault < faults + sizeof(faults) / sizeof(faults[0]));
	*fault = (struct fault){ .op.done = on_fault, .victim = victim };
	loop_yield(loop, &fault->op);
}

void __wrap_loop_readv(struct loop *loop, struct op *op, int file, const struct iovec *iov,
		       unsigned nr, uint64_t offset)
{
	if (is_bad(iov, nr, offset))
		fail_soon(loop, op);
	else
		__real_loop_readv(loop, op, file, iov, nr, offset);
}

void __wrap_loop_writev(struct loop *loop, struct op *op, int file, const struct iovec *iov,
			unsigned nr, uint64_t offset)
{
	if (is_bad(iov, nr, offset))
		fail_soon(loop, op);
	else
		__real_loop_writev(loop, op, file, iov, nr, offset);
}
