/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's snapshots and clones of the guests that peers.h has it boot: the one monitor whose way to
 * them is not Firecracker's API. Whatever goes wrong ends the program with one line.
 */
#ifndef BENCH_QEMU_H
#define BENCH_QEMU_H

#include "child.h"
#include "peers.h"

/* Boots `guest`, awaits MARKER at most `seconds`, and leaves it in files in `dir`. */
void qemu_snapshot(const struct monitor *m, const struct guest *guest, const char *dir,
		   unsigned seconds);

/*
 * Starts one that goes on from there. Its QMP socket is made at the path `socket`; returns the
 * connection to it.
 */
int qemu_clone(struct child *c, const struct monitor *m, const struct guest *guest, const char *dir,
	       const char *socket);

#endif
