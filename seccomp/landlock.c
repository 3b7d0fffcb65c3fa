// SPDX-License-Identifier: Apache-2.0
/*
 * Landlock as the second wall: should the first one, the namespaces, be missing or have a hole, no
 * path can be opened, no TCP port reached and no process outside signalled, as far as the kernel
 * knows how to forbid it. See linux/landlock.h and Documentation/userspace-api/landlock.rst; the
 * values stand here because the headers of the build machine may be older than the kernel.
 */
#include "steps.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CREATE_VERSION	  1u
#define RULE_PATH_BENEATH 1

#define FS_WRITE_FILE  (1ull << 1)
#define FS_READ_FILE   (1ull << 2)
#define FS_READ_DIR    (1ull << 3)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_REG    (1ull << 8)
#define FS_TRUNCATE    (1ull << 14)
#define FS_IOCTL_DEV   (1ull << 15)

struct ruleset {
	uint64_t fs, net, scoped;
};

struct beneath {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

/* What each version of the interface added: all of it is handled, which is to say forbidden. */
static const struct {
	int abi;
	size_t size; /* of the structure then */
	uint64_t fs, net, scoped;
} versions[] = {
	{ 1, offsetof(struct ruleset, net), 0x1fff, 0, 0 },
	{ 2, offsetof(struct ruleset, net), 1ull << 13, 0, 0 }, /* REFER */
	{ 3, offsetof(struct ruleset, net), FS_TRUNCATE, 0, 0 },
	{ 4, offsetof(struct ruleset, scoped), 0, 3, 0 }, /* BIND_TCP, CONNECT_TCP */
	{ 5, offsetof(struct ruleset, scoped), FS_IOCTL_DEV, 0, 0 },
	{ 6, sizeof(struct ruleset), 0, 0, 3 }, /* abstract Unix sockets, signals */
};

static int allow(int ruleset, const char *path, uint64_t rights)
{
	struct beneath rule = { .allowed = rights,
				.fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) };
	int err = 0;

	if (rule.fd < 0)
		return fail(-errno, "jail: %s", path);
	if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0))
		err = fail(-errno, "jail: Landlock: %s", path);
	close(rule.fd);
	return err;
}

/* Of those that the kernel knows; a device that a drive gets is asked for its size. */
static int allow_all(const struct jail *jail, int ruleset, const struct ruleset *all)
{
	const uint64_t files = FS_WRITE_FILE | FS_READ_FILE | FS_READ_DIR | FS_REMOVE_FILE |
			       FS_MAKE_REG | FS_TRUNCATE | FS_IOCTL_DEV;
	int err = 0;

	if (jail->config->chroot_base)
		return allow(ruleset, "/", files & all->fs);
	for (unsigned i = 0; i < jail->nr_kept && !err; i++)
		err = allow(ruleset, jail->kept[i], FS_REMOVE_FILE);
	return err;
}

int landlock_enter(struct jail *jail)
{
	const long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
	struct ruleset all = { 0 };
	size_t size = 0;
	int fd, err;

	if (abi < 1) /* not built in, or not among the modules of lsm= */
		return 0;
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		if (versions[i].abi > abi)
			break;
		size = versions[i].size;
		all.fs |= versions[i].fs;
		all.net |= versions[i].net;
		all.scoped |= versions[i].scoped;
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
	if (fd < 0)
		return fail(-errno, "jail: Landlock");
	err = allow_all(jail, fd, &all);
	if (!err && syscall(SYS_landlock_restrict_self, fd, 0))
		err = fail(-errno, "jail: Landlock");
	close(fd);
	jail->has_landlock = !err;
	return err;
}
