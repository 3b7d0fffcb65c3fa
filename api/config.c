// SPDX-License-Identifier: Apache-2.0
/* The checks that the command line, the config file and the API share: see config.h. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool config_mem_is_ok(uint64_t bytes)
{
	return bytes >= MEM_MIN && bytes <= MEM_MAX && bytes % 4096 == 0;
}

bool config_cpus_is_ok(uint64_t cpus)
{
	return cpus >= 1 && cpus <= MAX_VCPUS;
}

size_t config_cmdline(struct vm_config *config, const char *const *words, unsigned nr)
{
	size_t used = 0;

	config->cmdline[0] = '\0';
	for (unsigned i = 0; i < nr; i++) {
		const size_t len = words[i] ? strlen(words[i]) : 0;

		if (len == 0)
			continue;
		if (used)
			used++;
		if (used + len < sizeof(config->cmdline)) {
			if (used)
				config->cmdline[used - 1] = ' ';
			memcpy(config->cmdline + used, words[i], len + 1);
		}
		used += len;
	}
	return used;
}

void config_root(const struct vm_config *config, char words[CONFIG_ROOT_SIZE])
{
	const struct disk_config *d = &config->disks[0];

	words[0] = '\0';
	if (config->nr_disks && d->is_root)
		snprintf(words, CONFIG_ROOT_SIZE, "root=%s%s %s",
			 d->partuuid ? "PARTUUID=" : "/dev/vda", d->partuuid ? d->partuuid : "",
			 d->is_read_only ? "ro" : "rw");
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool config_mac(const char *text, uint8_t mac[6])
{
	if (strlen(text) != 17)
		return false;
	for (unsigned i = 0; i < 6; i++, text += 3) {
		const int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* As open() would on /proc, but that the position and O_NONBLOCK are the original's. */
static int open_again(int fd, int flags)
{
	const int now = fcntl(fd, F_GETFL), mode = now & O_ACCMODE;

	if (now < 0)
		return -1;
	if (mode != O_RDWR && mode != (flags & O_ACCMODE)) {
		errno = EACCES;
		return -1;
	}
	return fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

/* N of "/proc/self/fd/N", or -1. */
static int own_fd(const char *path)
{
	const size_t start = strlen(CONFIG_OWN_FD), len = strlen(path);

	if (strncmp(path, CONFIG_OWN_FD, start) || len == start || len > start + 9 ||
	    strspn(path + start, "0123456789") != len - start)
		return -1;
	return (int)strtol(path + start, NULL, 10);
}

int config_open(const char *path, int fd, int flags)
{
	const int again = fd ? fd : own_fd(path);

	return again < 0 ? open(path, flags, 0600) : open_again(again, flags);
}

bool config_is_locked(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}
