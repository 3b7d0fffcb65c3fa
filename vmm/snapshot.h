/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A microVM in two files: the memory of its guest, byte by byte, and the state of everything else.
 * One that goes on from there maps the memory privately, so that many share what they do not write
 * to. The disks are not in it, nor is what the serial port has sent.
 *
 * Whoever wrote the files may mean ill. Of the state, what mayfly uses itself is checked; vCPUs are
 * for the kernel to refuse, and what a guest could have done to its own memory, the memory's writer
 * can.
 */
#ifndef VMM_SNAPSHOT_H
#define VMM_SNAPSHOT_H

#include "../api/config.h"
#include "../virtio/blk.h"
#include "../virtio/net.h"
#include "ioapic.h"
#include "mem.h"
#include "serial.h"
#include "vcpu.h"

/* What it is taken of, and what goes on from it: all of it made, and nothing of it running. */
struct machine {
	const struct vm_config *config;
	const struct hv *hv;
	const struct mem *mem;
	struct vcpus *vcpus;
	struct ioapic *ioapic;
	struct serial *serial;
	struct blk *disks;
	struct net *nets;
	uint64_t file_max; /* RLIMIT_FSIZE, beyond which a write would end the process */
};

/* Writes the state to `state_fd` at `at`, and the memory. 0 or -errno, logged. */
int snapshot_write(const struct machine *machine, int state_fd, uint64_t at, int mem_fd);

/*
 * Reads the state, before anything is made, for a microVM of this configuration. 0 or -errno,
 * logged. There is one; it stays until the next.
 */
int snapshot_read(const struct vm_config *config, int state_fd, uint64_t at);

/* Lays the memory's file over guest memory; before any vCPU is made. 0 or -errno, logged. */
int snapshot_map(const struct mem *mem, int mem_fd);

/*
 * Brings what was made to the state that was read. Devices are at rest then, and the guest goes on
 * with virtio_go_on() for each. 0 or -errno, logged.
 */
int snapshot_load(const struct machine *machine);

#endif
