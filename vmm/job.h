/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job for the guest: mayfly's own init (rootfs/init.c, linked in) and the command it is to run,
 * as a cpio archive that boot.c lays after the user's initrd.
 */
#ifndef VMM_JOB_H
#define VMM_JOB_H

#include "../api/config.h"

#include <sys/types.h>

/* How the guest kernel finds it. */
#define JOB_CMDLINE "rdinit=/.mayfly/init"

/*
 * Packs the archive; *archive is malloc'd, the caller's. `is_tty`: the job gets a terminal of rows
 * by cols (0: unknown), else a byte-exact pipe. Returns the bytes, a multiple of 4, or -ENOMEM.
 */
ssize_t job_pack(const struct job_config *job, bool is_tty, unsigned rows, unsigned cols,
		 uint8_t **archive);

#endif
