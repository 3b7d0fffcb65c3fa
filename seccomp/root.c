// SPDX-License-Identifier: Apache-2.0
/*
 * Which files there are in the jail. With --chroot-base-dir: those of that folder, from the start.
 * Else none: an empty root that cannot be written, with the few folders in it that are needed by
 * path, each at the place where it was. All of it goes with the mount namespace, thus with us.
 */
#include "steps.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Of <sys/mount.h>, which cannot be included beside <linux/mount.h>. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
	  const void *data);
int umount2(const char *target, int flags);
#define MNT_DETACH	2
#define UMOUNT_NOFOLLOW 8

#define HARMLESS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* The root itself: room for the folders' places and nothing else. */
#define ROOT_OPTIONS "mode=755,size=64k,nr_inodes=1k"

/*
 * The mount that is the current folder takes the root's place. The kernel's first root, an
 * initramfs, cannot be pivoted away, and a container's filter may forbid it where it allows mounts:
 * it is covered, and what lies below has no name any more.
 */
static int pivot_root(void)
{
	if (syscall(SYS_pivot_root, ".", ".") == 0)
		return umount2(".", MNT_DETACH) || chdir("/") ? -errno : 0;
	if (!jail_is_refused(-errno))
		return -errno;
	return mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/") ? -errno : 0;
}

/* What we mount shows nowhere else; what the host unmounts is not held by us. */
static int follow_host(void)
{
	return mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) ? -errno : 0;
}

/* Each folder on the way, `mode` for those that are missing. The path is as it was afterwards. */
static int make_folders(char *path, mode_t mode)
{
	int err = 0;

	for (char *at = path; *at && !err;) {
		char next;

		at += strspn(at, "/");
		at += strcspn(at, "/");
		next = *at;
		*at = '\0';
		if (mkdir(path, mode) && errno != EEXIST)
			err = -errno;
		*at = next;
	}
	return err;
}

/* --chroot-base-dir */

/*
 * The folder is the jail's user's, and he may be another than root, who we are still: he can
 * exchange what lies in it at any moment. So each thing is looked up once, through no link, and
 * what is done to it after that is done by its descriptor.
 */
static int open_folder(int at, const char *name)
{
	int fd;

	if (mkdirat(at, name, 0755) && errno != EEXIST)
		return -errno;
	fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* What leads to FOLDER is its caller's. */
static int open_root(const struct jail_config *c)
{
	const char *const below[] = { c->name, c->id, "root" };
	char base[PATH_MAX];
	int fd, err;

	snprintf(base, sizeof(base), "%s", c->chroot_base);
	err = make_folders(base, 0755);
	if (err)
		return err;
	fd = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]) && fd >= 0; i++) {
		const int above = fd;

		fd = open_folder(above, below[i]);
		close(above);
	}
	return fd;
}

/* A mount that has no place yet, onto a folder. */
static int put_mount(int fd, int folder)
{
	return syscall(SYS_move_mount, fd, "", folder, "",
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
		       ? -errno
		       : 0;
}

/* It becomes a mount, which pivot_root() wants, and our current folder. */
static int enter_folder(int folder)
{
	const int fd = (int)syscall(SYS_open_tree, folder, "",
				    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	int err;

	if (fd < 0)
		return -errno;
	err = put_mount(fd, folder);
	if (!err && fchdir(fd))
		err = -errno;
	close(fd);
	return err;
}

static const char *const devices[] = { "/dev/kvm", "/dev/mayfly", "/dev/net/tun" };

/* The host's one, onto a file: where nobody makes nodes, as in a user namespace. */
static int bind_device(int dev, const char *device, const char *inside)
{
	const int file = openat(dev, inside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int fd, err = 0;

	if (file < 0)
		return -errno;
	close(file);
	fd = (int)syscall(SYS_open_tree, AT_FDCWD, device, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_move_mount, fd, "", dev, inside, MOVE_MOUNT_F_EMPTY_PATH))
		err = -errno;
	close(fd);
	return err;
}

/* A node of our own, which the jail's user may use. */
static int add_device(const struct jail *jail, int dev, const char *device)
{
	const char *inside = device + strlen("/dev/");
	struct stat st;

	if (stat(device, &st))
		return 0;
	if (mknodat(dev, inside, S_IFCHR | 0600, st.st_rdev))
		return bind_device(dev, device, inside);
	return fchownat(dev, inside, jail->uid, jail->gid, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

/* Made without a name, so that it is reached by its descriptor and by no path of the host's. */
static int make_dev(void)
{
	const int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	int fd = -1, err;

	if (fs < 0)
		return -errno;
	if (!syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "755", 0) &&
	    !syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", "64k", 0) &&
	    !syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
				  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	err = fd < 0 ? -errno : fd;
	close(fs);
	return err;
}

static int put_dev(int dev)
{
	const int folder = open_folder(AT_FDCWD, "dev");
	int err;

	if (folder < 0)
		return folder;
	err = put_mount(dev, folder);
	close(folder);
	return err;
}

static int add_devices(const struct jail *jail)
{
	const int dev = make_dev();
	int err;

	if (dev < 0)
		return dev;
	err = put_dev(dev);
	if (!err && (mkdirat(dev, "net", 0755) || fchmodat(dev, "net", 0755, 0))) /* any umask */
		err = -errno;
	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]) && !err; i++)
		err = add_device(jail, dev, devices[i]);
	close(dev);
	return err;
}

/*
 * Firecracker's jailer writes one, named for the program. The number is the host's, which the
 * host's /proc knows: in a PID namespace it is not ours. The folder is the jail's user's, who may
 * have left a FIFO or another file's link there: it is always a new file.
 */
static int write_pid_file(const struct jail *jail)
{
	char name[64], pid[16];
	const ssize_t len = readlink("/proc/self", pid, sizeof(pid));
	int fd, err = 0;

	if (len < 0)
		return -errno;
	snprintf(name, sizeof(name), "%s.pid", jail->config->name);
	unlink(name);
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, pid, (size_t)len) < 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/*
 * Of the default --api-sock. What stands there may be the jail's user's own link, also a hard one,
 * to what is not his: then it stays as it is.
 */
static int add_run(const struct jail *jail)
{
	const int folder = open_folder(AT_FDCWD, "run");
	int err = 0;

	if (folder < 0)
		return folder == -ENOTDIR ? 0 : folder;
	if (geteuid() == 0 && fchownat(folder, "", jail->uid, jail->gid, AT_EMPTY_PATH))
		err = -errno;
	close(folder);
	return err;
}

static int fill_root(const struct jail *jail, int folder)
{
	int err = 0;

	if (geteuid() == 0 && fchownat(folder, "", jail->uid, jail->gid, AT_EMPTY_PATH))
		return -errno;
	err = enter_folder(folder);
	if (!err)
		err = add_devices(jail);
	if (!err)
		err = add_run(jail);
	if (!err && jail->config->has_pid_file)
		err = write_pid_file(jail);
	return err;
}

int root_open(struct jail *jail)
{
	const struct jail_config *c = jail->config;
	char path[PATH_MAX];
	int folder, err;

	if (!c->chroot_base)
		return 0;
	if (snprintf(path, sizeof(path), "%s/%s/%s/root", c->chroot_base, c->name, c->id) >=
	    (int)sizeof(path))
		return fail(-ENAMETOOLONG, "--chroot-base-dir");
	err = unshare(CLONE_NEWNS) ? -errno : follow_host();
	folder = err ? err : open_root(c);
	err = folder < 0 ? folder : fill_root(jail, folder);
	if (!err)
		err = pivot_root();
	if (folder >= 0)
		close(folder);
	return err ? fail(err, "--chroot-base-dir: %s", path) : 0;
}

/* The empty root. */

/* A copy of the mount at `path`, not yet anywhere. */
static int clone_folder(const char *path)
{
	struct mount_attr harmless = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
						   MOUNT_ATTR_NOEXEC };
	long fd = syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	int err;

	/* Mounts of a more privileged namespace in it come along or nothing does. */
	if (fd < 0 && errno == EINVAL)
		fd = syscall(SYS_open_tree, AT_FDCWD, path,
			     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &harmless,
		    sizeof(harmless)) == 0)
		return (int)fd;
	err = -errno;
	close((int)fd);
	return err;
}

/* The same folder may have been put there already, for another of its users. */
static int put_folder(int fd, char *path)
{
	char *inside = path + strspn(path, "/");
	struct stat own = { 0 }, there = { 0 };
	int err = make_folders(inside, 0755);

	if (!err && (fstat(fd, &own) || stat(inside, &there)))
		err = -errno;
	if (err || (own.st_dev == there.st_dev && own.st_ino == there.st_ino))
		return err;
	return syscall(SYS_move_mount, fd, "", AT_FDCWD, inside, MOVE_MOUNT_F_EMPTY_PATH) ? -errno
											  : 0;
}

/* Anywhere: what lies below comes back when it has become the root. */
static int mount_empty(unsigned long flags)
{
	static const char *const places[] = { "/tmp", "/proc", "/dev", "/sys" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (mount("jail", places[i], "tmpfs", flags, ROOT_OPTIONS) == 0)
			return chdir(places[i]) ? -errno : 0;
	return -errno;
}

/* A folder before those that are in it, which would else be covered by it. */
static void sort_kept(struct jail *jail)
{
	for (unsigned i = 1; i < jail->nr_kept; i++)
		for (unsigned at = i; at > 0; at--) {
			char *path = jail->kept[at], *before = jail->kept[at - 1];
			const size_t size = strlen(before) + 1;

			if (strlen(path) >= size - 1)
				break;
			for (size_t n = 0; n < size; n++) {
				const char c = path[n];

				path[n] = before[n];
				before[n] = c;
			}
		}
}

/* With the folders in it, and where one has a relative path also that in which it begins. */
static int build(struct jail *jail, const int *folders)
{
	char current[PATH_MAX] = "/";
	int err;

	if (jail->has_relative && !getcwd(current, sizeof(current)))
		return -errno;
	err = mount_empty(HARMLESS);
	if (!err)
		err = make_folders(current + 1, 0755);
	for (unsigned i = 0; i < jail->nr_kept && !err; i++)
		err = put_folder(folders[i], jail->kept[i]);
	if (!err)
		err = pivot_root();
	if (!err && chdir(current))
		err = -errno;
	if (!err && mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | HARMLESS, NULL))
		err = -errno;
	return err;
}

static int build_empty(void)
{
	const int err = mount_empty(HARMLESS | MS_RDONLY);

	return err ? err : pivot_root();
}

static int enter_empty(struct jail *jail)
{
	const mode_t mask = umask(022); /* folders that the jail's user has to get through */
	int folders[JAIL_KEEP_MAX] = { 0 };
	unsigned nr = 0;
	int err = 0;

	sort_kept(jail);

	while (nr < jail->nr_kept && !err) {
		folders[nr] = clone_folder(jail->kept[nr]);
		err = folders[nr] < 0 ? folders[nr] : 0;
		if (err)
			fail(err, "jail: keeping %s", jail->kept[nr]);
		else
			nr++;
	}
	if (!err)
		err = nr ? build(jail, folders) : build_empty();
	while (nr > 0)
		close(folders[--nr]);
	umask(mask);
	return err ? fail(err, "jail: making its root") : 0;
}

/* Where namespaces are given, and no mounts in them, Landlock stands in as where none are. */
static int leave_files(struct jail *jail)
{
	const int err = follow_host();

	if (jail_is_refused(err)) {
		jail->lacking = strerror(-err);
		return 0;
	}
	return err ? fail(err, "jail: its mounts") : enter_empty(jail);
}

/* All that a root of its own loses is its devices, which are open. */
static int strip_devices(void)
{
	if (umount2("/dev", MNT_DETACH | UMOUNT_NOFOLLOW))
		return fail(-errno, "jail: /dev");
	rmdir("/dev"); /* unless somebody uses it */
	return 0;
}

int root_enter(struct jail *jail)
{
	if (jail->config->chroot_base)
		return strip_devices();
	return jail->lacking ? 0 : leave_files(jail);
}
