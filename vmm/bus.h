/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bus: which device answers at which address. One for ports, one for guest-physical memory.
 * Built before the vCPUs run and constant from then on, so that lookups need no lock.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdbool.h>
#include <stdint.h>

#define BUS_WINDOWS 32u

struct window {
	uint64_t base, size; /* bytes; an access is inside as a whole or not at all */
	/*
	 * A read fills data[0..len), a write takes it. len is 1, 2, 4 or 8; offset + len <= size.
	 * Runs on the vCPU's thread: the device locks what it shares.
	 */
	void (*access)(void *device, uint64_t offset, uint8_t *data, unsigned len, bool write);
	void *device;
};

struct bus {
	struct window windows[BUS_WINDOWS]; /* sorted by base, disjoint */
	unsigned nr_windows;
};

/* Puts a window in its place. The map is mayfly's own: an overlap is a bug and ends the process. */
void bus_add(struct bus *bus, struct window window);

/* One access. Where nothing answers, a read gives all ones and a write is dropped, as on a PC. */
void bus_access(const struct bus *bus, uint64_t addr, uint8_t *data, unsigned len, bool write);

#endif
