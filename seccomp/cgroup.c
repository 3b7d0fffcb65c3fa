// SPDX-License-Identifier: Apache-2.0
/*
 * A cgroup (v2) of our own with the limits that were asked for. A process cannot remove the cgroup
 * it is in, and who is killed removes nothing: so a second process waits outside until we are gone.
 */
#include "steps.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const char *cgroup_mount(void)
{
	static const char *const places[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	struct statfs fs;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (statfs(places[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
			return places[i];
	return NULL;
}

static bool has_word(const char *text, const char *word)
{
	const size_t len = strlen(word);

	for (; *text; text += strcspn(text, " \n"), text += strspn(text, " \n"))
		if (strcspn(text, " \n") == len && !memcmp(text, word, len))
			return true;
	return false;
}

/* Where it is on already, who may not switch it on need not. */
static bool is_enabled(const char *folder, const char *controller)
{
	char path[2 * PATH_MAX], text[512];
	int fd;
	ssize_t len;

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", folder);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[len > 0 ? len : 0] = '\0';
	return has_word(text, controller);
}

static int put(const char *folder, const char *file, const char *text)
{
	char path[2 * PATH_MAX];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	if (err == -ENOENT && *text == '+')
		return fail(0, "--cgroup: %s has no controller %s ('mayfly check' lists its)",
			    folder, text + 1);
	return err ? fail(err, "--cgroup: writing '%s' to %s", text, path) : 0;
}

/* "memory.max" wants +memory in the folder above; "cgroup.max.depth" and the like want nothing. */
static int enable(const char *folder, const char *file)
{
	char word[64];

	if (!strncmp(file, "cgroup.", 7))
		return 0;
	snprintf(word, sizeof(word), "+%.*s", (int)strcspn(file, "."), file);
	if (is_enabled(folder, word + 1))
		return 0;
	return put(folder, "cgroup.subtree_control", word);
}

/* How much of `path` is the next folder on its way down, after `len` bytes; 0: none. */
static size_t next_folder(const char *path, size_t len)
{
	if (!path[len])
		return 0;
	len += strspn(path + len, "/");
	return len + strcspn(path + len, "/");
}

static int set(const char *mount, const char *parent, const char *own, const char *assignment)
{
	const size_t len = strcspn(assignment, "=");
	char file[64], folder[PATH_MAX];
	int err = 0;

	snprintf(file, sizeof(file), "%.*s", (int)len, assignment);
	for (size_t n = strlen(mount); n && !err; n = next_folder(parent, n)) {
		snprintf(folder, sizeof(folder), "%.*s", (int)n, parent);
		err = enable(folder, file);
	}
	return err ? err : put(own, file, assignment + len + 1);
}

/*
 * Whose end is told by end-of-file; the cgroup can be removed some moments after that. No signal
 * ends it sooner, such as those of a service's end, which all of its processes get.
 */
static _Noreturn void keep(int gone, const char *own, const char *parent)
{
	struct timespec pause = { .tv_nsec = 1000000 };
	sigset_t all;
	char byte;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	setsid();
	prctl(PR_SET_NAME, "mayfly cgroup");
	if (chdir("/") || dup2(gone, STDIN_FILENO) < 0)
		_exit(1);
	syscall(SYS_close_range, 1, ~0u, 0);
	while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
		;
	while (rmdir(own) && errno == EBUSY) {
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 500000000)
			pause.tv_nsec *= 2;
	}
	if (parent)
		rmdir(parent); /* unless another is in it */
	_exit(0);
}

static int start_keeper(struct jail *jail, const char *own, const char *parent)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return fail(-errno, "pipe");
	pid = fork();
	if (pid == 0) {
		close(fds[1]);
		keep(fds[0], own, jail->config->parent_cgroup ? NULL : parent);
	}
	close(fds[0]);
	jail->cgroup_fd = fds[1];
	return pid < 0 ? fail(-errno, "jail: starting the cgroup's keeper") : 0;
}

static int make_parent(const char *mount, const char *parent)
{
	char folder[PATH_MAX];

	for (size_t n = next_folder(parent, strlen(mount)); n; n = next_folder(parent, n)) {
		snprintf(folder, sizeof(folder), "%.*s", (int)n, parent);
		if (mkdir(folder, 0755) && errno != EEXIST)
			return fail(-errno, "--cgroup: %s", folder);
	}
	return 0;
}

/* Again where another's keeper has just removed the parent. */
static int make(const char *mount, const char *parent, const char *own)
{
	for (int i = 0; i < 100; i++) {
		const int err = make_parent(mount, parent);

		if (err)
			return err;
		if (mkdir(own, 0755) == 0)
			return 0;
		if (errno != ENOENT)
			break;
	}
	return fail(-errno, errno == EEXIST ? "--cgroup: %s (give another --id)" : "--cgroup: %s",
		    own);
}

/* Firecracker's jailer: without --cgroup, --parent-cgroup is where the process goes itself. */
static int enter(struct jail *jail)
{
	const struct jail_config *c = jail->config;
	const char *mount = cgroup_mount();
	char parent[PATH_MAX], own[PATH_MAX];
	int err;

	if (!mount)
		return fail(0, "--cgroup: no cgroup v2 is mounted at /sys/fs/cgroup");
	if (snprintf(parent, sizeof(parent), "%s/%s", mount,
		     c->parent_cgroup ? c->parent_cgroup : c->name) >= (int)sizeof(parent) ||
	    snprintf(own, sizeof(own), "%s/%s", parent, c->id) >= (int)sizeof(own))
		return fail(-ENAMETOOLONG, "--parent-cgroup");
	if (c->nr_cgroup == 0)
		return put(parent, "cgroup.procs", "0");
	err = make(mount, parent, own);
	if (!err)
		err = start_keeper(jail, own, parent);
	for (unsigned i = 0; i < c->nr_cgroup && !err; i++)
		err = set(mount, parent, own, c->cgroup[i]);
	return err ? err : put(own, "cgroup.procs", "0");
}

int cgroup_enter(struct jail *jail)
{
	return jail->config->nr_cgroup || jail->config->parent_cgroup ? enter(jail) : 0;
}
