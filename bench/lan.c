// SPDX-License-Identifier: Apache-2.0
/*
 * The bridge and its taps, by the ioctls that ip(8) would make: an emulated host need not have it.
 * Called once, before the first monitor.
 */
#include "lan.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* After net/if.h, with which linux/if.h would quarrel. */
#include <linux/if_tun.h>

/* linux/sockios.h, which quarrels with sys/ioctl.h as well. */
#define SIOCBRADDBR 0x89a0
#define SIOCBRADDIF 0x89a2

#define BRIDGE "bridge0"

static bool complain(const char *what)
{
	fprintf(stderr, "bench: no taps: ");
	perror(what);
	return false;
}

static bool set_up(int s, const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_UP };

	strcpy(ifr.ifr_name, name);
	return ioctl(s, SIOCSIFFLAGS, &ifr) == 0;
}

static bool add_tap(int s, unsigned which)
{
	struct ifreq tap = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR }, bridge = { 0 };
	const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return complain("/dev/net/tun");
	snprintf(tap.ifr_name, sizeof(tap.ifr_name), LAN_TAP, which);
	ok = ioctl(fd, TUNSETIFF, &tap) == 0 && ioctl(fd, TUNSETPERSIST, 1) == 0;
	close(fd);
	strcpy(bridge.ifr_name, BRIDGE);
	bridge.ifr_ifindex = (int)if_nametoindex(tap.ifr_name);
	ok = ok && ioctl(s, SIOCBRADDIF, &bridge) == 0 && set_up(s, tap.ifr_name);
	return ok || complain(tap.ifr_name);
}

/* What the kernel says by itself as a new IPv6 host would wake a guest that is to be idle. */
static void keep_quiet(void)
{
	const int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);

	if (fd < 0) /* there is no IPv6 */
		return;
	if (write(fd, "1", 1) != 1)
		complain("switching IPv6 off");
	close(fd);
}

bool lan_open(void)
{
	bool ok;
	int s;

	if (unshare(CLONE_NEWNET))
		return complain("a network namespace");
	keep_quiet();
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return complain("a socket");
	ok = ioctl(s, SIOCBRADDBR, BRIDGE) == 0 && set_up(s, BRIDGE);
	if (!ok)
		complain("a bridge");
	ok = ok && add_tap(s, 0) && add_tap(s, 1);
	close(s);
	return ok;
}
