// SPDX-License-Identifier: Apache-2.0
/*
 * Init of the Linux guests that bench/boot measures, the only file of their initrd and the same in
 * every monitor: says MARKER on the serial port, which is the mark all of them are compared by,
 * then writes mayfly's boot timer and powers off. With HOLD on the kernel's command line it stays
 * instead, for a look at the monitor's memory; with GO_ON, too, and says LATER every 5 ms, so that
 * a clone of it is heard. Else it never waits for anything but its own output.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "../vmm/layout.h"
#include "init.h"

/* In a monitor without a control page the write hits no device, and does nothing. */
static void boot_timer(void)
{
	volatile unsigned char *page;
	int fd;

	mknod("/mem", S_IFCHR | 0600, makedev(1, 1));
	fd = open("/mem", O_RDWR | O_SYNC);
	page = mmap(NULL, DEVICE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, CONTROL_GPA);
	if (page != MAP_FAILED)
		page[CONTROL_BOOT_TIMER] = BOOT_TIMER_VALUE;
}

int main(int argc, char **argv)
{
	/* The kernel's own console is standard output: its built-in initramfs has /dev/console. */
	write(STDOUT_FILENO, MARKER "\n", sizeof(MARKER));
	boot_timer();
	/* What the kernel does not know on its command line it hands to init. */
	for (int i = 1; i < argc; i++) {
		while (!strcmp(argv[i], HOLD))
			pause();
		while (!strcmp(argv[i], GO_ON)) {
			write(STDOUT_FILENO, LATER "\n", sizeof(LATER));
			usleep(5000);
		}
	}
	tcdrain(STDOUT_FILENO);
	reboot(RB_POWER_OFF);
	reboot(RB_AUTOBOOT);
	return 1;
}
