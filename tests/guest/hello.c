// SPDX-License-Identifier: Apache-2.0
/*
 * The smallest guest: one line on COM1 from ring 3, then power-off with the status of `exit=N` on
 * the command line. With `boot` it first writes the boot timer, as Linux guests do from init; with
 * `hold` (bench/init.h: as Linux guests of bench/) it stays until the monitor is killed.
 */
#include "guest.h"

int guest_main(void)
{
	uint16_t cs;

	__asm__("mov %%cs, %0" : "=r"(cs));
	if (arg("boot"))
		mmio_write8(CONTROL_GPA + CONTROL_BOOT_TIMER, BOOT_TIMER_VALUE);
	print("Hello from ring %u\n", cs & 3u);
	if (arg("hold"))
		spin();
	return (int)arg_number("exit", 0);
}
