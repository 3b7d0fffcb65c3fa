// SPDX-License-Identifier: Apache-2.0
/* What a guest says about itself, and how it ends: by every register, in every width. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../vmm/layout.h"
#include "../../vmm/log.h"
#include "../../vmm/loop.h"
#include "../../vmm/power.h"

/* What is said is for the test. */
static unsigned nr_notes;
static char said[256];

void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(said, sizeof(said), fmt, ap);
	va_end(ap);
	nr_notes++;
}

int fail(int err, const char *fmt, ...)
{
	(void)fmt;
	return err ? err : -1;
}

_Noreturn void must_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}

#include <cmocka.h>

static uint8_t low[4096];
static const struct mem mem = { .nr_regions = 1,
				.regions = { { .size = sizeof(low), .host = low } } };
static struct end end;
static struct power power;

uint64_t loop_now_ns(clockid_t clock)
{
	return clock == CLOCK_MONOTONIC ? 5000000 : 2000000;
}

static int make(void **state)
{
	(void)state;
	memset(low, 0, sizeof(low));
	nr_notes = 0;
	power = (struct power){ .end = &end, .mem = &mem };
	return end_init(&end, false);
}

static int drop(void **state)
{
	(void)state;
	return close(end.fd);
}

static void write_control(uint64_t offset, uint64_t value, unsigned len)
{
	power_control_access(&power, offset, (uint8_t *)&value, len, true);
}

static uint64_t read_any(void (*access)(void *, uint64_t, uint8_t *, unsigned, bool),
			 uint64_t offset, unsigned len)
{
	uint64_t value = 0;

	memset(&value, 0xa5, len);
	access(&power, offset, (uint8_t *)&value, len, false);
	return value;
}

static void job_status(void **state)
{
	(void)state;
	write_control(CONTROL_STATUS, 0x142, 4);
	assert_int_equal(end.job_status, 0x42);
	write_control(CONTROL_STATUS, 7, 1);
	assert_int_equal(end.job_status, 7);
	write_control(CONTROL_STATUS + 1, 9, 1);
	write_control(0, 1, 4);
	assert_int_equal(end.job_status, 7);
	assert_int_equal(end.reason, END_NONE);
}

/* A guest can say it for ever; the log is the host's. */
static void boot_time(void **state)
{
	(void)state;
	write_control(CONTROL_BOOT_TIMER, BOOT_TIMER_VALUE, 1);
	assert_int_equal(nr_notes, 0); /* nobody asked */
	power.says_boot_time = true;
	write_control(CONTROL_BOOT_TIMER, 1, 1);
	assert_int_equal(nr_notes, 0);
	for (unsigned i = 0; i < 1000; i++)
		write_control(CONTROL_BOOT_TIMER, BOOT_TIMER_VALUE, 1);
	assert_int_equal(nr_notes, 1);
	assert_string_equal(said, "Guest-boot-time =   5000 us 5 ms,   2000 CPU us 2 CPU ms");
}

static void sleep_register(void **state)
{
	uint8_t value = SLEEP_TYPE_S5 << SLEEP_TYPE_SHIFT;

	(void)state;
	power_acpi_access(&power, 0, &value, 1, true);
	assert_int_equal(end.reason, END_NONE); /* not enabled */
	value |= SLEEP_ENABLE;
	power_acpi_access(&power, SLEEP_STATUS_PORT - SLEEP_CONTROL_PORT, &value, 1, true);
	assert_int_equal(end.reason, END_NONE);
	power_acpi_access(&power, 0, &value, 1, true);
	assert_int_equal(end.reason, END_POWEROFF);
	value = RESET_VALUE; /* the first reason counts */
	power_acpi_access(&power, RESET_PORT - SLEEP_CONTROL_PORT, &value, 1, true);
	assert_int_equal(end.reason, END_POWEROFF);
}

/* Linux leaves a word where a reset follows a panic. */
static void reset_register(void **state)
{
	static const uint16_t warm = WARM_BOOT_VALUE;
	uint8_t value = RESET_VALUE + 1;

	power_acpi_access(&power, RESET_PORT - SLEEP_CONTROL_PORT, &value, 1, true);
	assert_int_equal(end.reason, END_NONE);
	value = RESET_VALUE;
	if (*state)
		memcpy(low + WARM_BOOT_GPA, &warm, sizeof(warm));
	power_acpi_access(&power, RESET_PORT - SLEEP_CONTROL_PORT, &value, 1, true);
	assert_int_equal(end.reason, *state ? END_PANIC : END_REBOOT);
}

static void i8042(void **state)
{
	uint8_t value = I8042_RESET;

	(void)state;
	power_i8042_access(&power, 0, &value, 1, true); /* its data port */
	assert_int_equal(end.reason, END_NONE);
	power_i8042_access(&power, I8042_COMMAND - I8042_PORT, &value, 1, true);
	assert_int_equal(end.reason, END_REBOOT);
	assert_int_equal(power.i8042_resets, 1);
}

/* All that is asked for is given: what was there before is not the guest's to see. */
static void reads(void **state)
{
	(void)state;
	for (unsigned len = 1; len <= 8; len *= 2) {
		assert_int_equal(read_any(power_control_access, 0, len), 0);
		assert_int_equal(read_any(power_control_access, CONTROL_STATUS, len), 0);
		assert_int_equal(read_any(power_acpi_access, 0, len), 0);
		assert_int_equal(read_any(power_i8042_access, 0, len), 0);
	}
	assert_int_equal(end.reason, END_NONE);
}

int main(void)
{
	static char panic = 1;
	const struct CMUnitTest tests[] = {
		{ "the job's status, in any width", job_status, make, drop, NULL },
		{ "the boot timer is said once, and where it was asked for", boot_time, make, drop,
		  NULL },
		{ "S5, enabled, in the sleep control register is the end", sleep_register, make,
		  drop, NULL },
		{ "a reset", reset_register, make, drop, NULL },
		{ "a reset after a panic", reset_register, make, drop, &panic },
		{ "the i8042's reset pulse", i8042, make, drop, NULL },
		{ "reads give zeros", reads, make, drop, NULL },
	};

	return cmocka_run_group_tests_name("power", tests, NULL, NULL);
}
