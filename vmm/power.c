// SPDX-License-Identifier: Apache-2.0
/* Power, reset and the control page, answered on vCPU threads. They hold no state but the end. */
#include "power.h"
#include "layout.h"
#include "log.h"
#include "loop.h"
#include "timeline.h"

#include <string.h>

/*
 * The guest resets. With `reboot=panic_warm` on its command line (mayfly's default), Linux leaves a
 * "warm boot" word in the BIOS data area when the reset follows a panic, and 0 otherwise
 * (native_machine_emergency_restart): the one trace that tells the two apart.
 */
static void reset(struct power *p)
{
	const uint16_t *word = mem_at(p->mem, WARM_BOOT_GPA, sizeof(*word));
	const bool is_panic = word && *(const volatile uint16_t *)word == WARM_BOOT_VALUE;

	end_now(p->end, is_panic ? END_PANIC : END_REBOOT);
}

static void say_boot_time(const struct power *p)
{
	const uint64_t wall = (loop_now_ns(CLOCK_MONOTONIC) - p->wall_ns) / 1000;
	const uint64_t cpu = (loop_now_ns(CLOCK_PROCESS_CPUTIME_ID) - p->cpu_ns) / 1000;

	note("Guest-boot-time = %6llu us %llu ms, %6llu CPU us %llu CPU ms",
	     (unsigned long long)wall, (unsigned long long)wall / 1000, (unsigned long long)cpu,
	     (unsigned long long)cpu / 1000);
}

void power_control_access(void *device, uint64_t offset, uint8_t *data, unsigned len, bool write)
{
	struct power *p = device;
	uint32_t value = 0;

	if (!write) {
		memset(data, 0, len);
		return;
	}
	memcpy(&value, data, len < sizeof(value) ? len : sizeof(value));
	if (offset == CONTROL_BOOT_TIMER && value == BOOT_TIMER_VALUE) {
		timeline_mark(PHASE_INIT);
		if (atomic_exchange(&p->says_boot_time, false))
			say_boot_time(p);
	} else if (offset == CONTROL_STATUS) {
		p->end->job_status = value & 0xff;
	}
}

void power_acpi_access(void *device, uint64_t offset, uint8_t *data, unsigned len, bool write)
{
	const uint8_t s5 = SLEEP_TYPE_S5 << SLEEP_TYPE_SHIFT | SLEEP_ENABLE;
	struct power *p = device;

	if (!write)
		memset(data, 0, len); /* SLEEP_STATUS: no wake event; the others read as nothing */
	else if (offset == SLEEP_CONTROL_PORT - SLEEP_CONTROL_PORT && data[0] == s5)
		end_now(p->end, END_POWEROFF);
	else if (offset == RESET_PORT - SLEEP_CONTROL_PORT && data[0] == RESET_VALUE)
		reset(p);
}

void power_i8042_access(void *device, uint64_t offset, uint8_t *data, unsigned len, bool write)
{
	if (!write) /* status: no byte to read, ready to take one, so that nobody waits */
		memset(data, 0, len);
	else if (offset == I8042_COMMAND - I8042_PORT && data[0] == I8042_RESET) {
		struct power *p = device;

		__atomic_add_fetch(&p->i8042_resets, 1, __ATOMIC_RELAXED);
		reset(p);
	}
}
