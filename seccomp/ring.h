/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the event loop's ring may be asked for, for good: a filter of system calls does not see what
 * goes through a ring. Called once by vmm/loop.c, before the ring is enabled.
 */
#ifndef SECCOMP_RING_H
#define SECCOMP_RING_H

#include <liburing.h>

/* `ring` was made with IORING_SETUP_R_DISABLED and is not enabled yet. 0 or -errno. */
int ring_restrict(struct io_uring *ring);

#endif
