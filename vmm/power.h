/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest says about itself: the control page (init runs, the job's status), and the registers
 * by which it powers off and resets (ACPI 6.5, 4.8.3.6 and 4.8.3.7; the i8042's reset pulse).
 */
#ifndef VMM_POWER_H
#define VMM_POWER_H

#include "bus.h"
#include "end.h"
#include "mem.h"

#include <stdatomic.h>

struct power {
	struct end *end;
	const struct mem *mem;
	/* Logs, once, when init runs, as Firecracker does with --boot-timer. */
	atomic_bool says_boot_time;
	uint64_t wall_ns, cpu_ns; /* counted from here */
	uint64_t i8042_resets;
};

/* For the buses; the device is a struct power. */
void power_control_access(void *power, uint64_t offset, uint8_t *data, unsigned len, bool write);
void power_acpi_access(void *power, uint64_t offset, uint8_t *data, unsigned len, bool write);
void power_i8042_access(void *power, uint64_t offset, uint8_t *data, unsigned len, bool write);

#endif
