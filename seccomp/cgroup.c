// SPDX-License-Identifier: Apache-2.0
/*
 * A cgroup (v2) of our own with the limits that were asked for. A process cannot remove the cgroup
 * it is in, and who is killed removes nothing: so a second process makes it, and waits outside
 * until we are gone.
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct cgroup {
	const char *mount;
	char parent[PATH_MAX], own[PATH_MAX];
	bool is_parent_named; /* then it stays */
};

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
	if ((err == -ENOENT || err == -EINVAL) && *text == '+')
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

static int set(const struct cgroup *g, const char *assignment)
{
	const size_t len = strcspn(assignment, "=");
	char file[64], folder[PATH_MAX];
	int err = 0;

	snprintf(file, sizeof(file), "%.*s", (int)len, assignment);
	for (size_t n = strlen(g->mount); n && !err; n = next_folder(g->parent, n)) {
		snprintf(folder, sizeof(folder), "%.*s", (int)n, g->parent);
		err = enable(folder, file);
	}
	return err ? err : put(g->own, file, assignment + len + 1);
}

/* 0, or -errno and how much of the path it is about. */
static int make_folders(const char *own, size_t *len, const char *mount)
{
	char folder[PATH_MAX];

	for (*len = next_folder(own, strlen(mount)); *len; *len = next_folder(own, *len)) {
		const bool is_last = !own[*len];

		snprintf(folder, sizeof(folder), "%.*s", (int)*len, own);
		if (mkdir(folder, 0755) && (is_last || errno != EEXIST))
			return -errno;
	}
	return 0;
}

struct made {
	int err;
	size_t len; /* of the path: what could not be made */
};

/* Again where another's keeper has just removed the parent. */
static struct made make(const struct cgroup *g)
{
	struct made made = { 0 };

	for (int i = 0; i < 100; i++) {
		made.err = make_folders(g->own, &made.len, g->mount);
		if (made.err != -ENOENT)
			break;
	}
	return made;
}

/* Its parent too, unless another is in that, or the caller has named it. */
static void remove_own(const struct cgroup *g, bool is_made)
{
	struct timespec pause = { .tv_nsec = 1000000 };

	while (is_made && rmdir(g->own) && errno == EBUSY) {
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 500000000)
			pause.tv_nsec *= 2;
	}
	if (!g->is_parent_named)
		rmdir(g->parent);
}

/*
 * Makes the cgroup, answers, and waits for our end, which is told by end-of-file; the cgroup can be
 * removed some moments after that. No signal ends it sooner, such as those of a service's end,
 * which all of its processes get.
 */
static _Noreturn void keep(int fd, const struct cgroup *g)
{
	struct made made;
	sigset_t all;
	char byte;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	setsid();
	prctl(PR_SET_NAME, "mayfly cgroup");
	if (chdir("/") || dup2(fd, STDIN_FILENO) < 0)
		_exit(1);
	syscall(SYS_close_range, 1, ~0u, 0);
	made = make(g);
	if (write(STDIN_FILENO, &made, sizeof(made)) == sizeof(made))
		while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
			;
	remove_own(g, made.err == 0);
	_exit(0);
}

/* Before there is a cgroup, so that none is left whenever we are killed. */
static int start_keeper(struct jail *jail, const struct cgroup *g)
{
	struct made made;
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return fail(-errno, "jail: a socket to the cgroup's keeper");
	pid = fork();
	if (pid == 0) {
		close(fds[1]);
		keep(fds[0], g);
	}
	close(fds[0]);
	jail->cgroup_fd = fds[1];
	if (pid < 0)
		return fail(-errno, "jail: starting the cgroup's keeper");
	if (read(fds[1], &made, sizeof(made)) != sizeof(made))
		return fail(0, "jail: the cgroup's keeper has ended");
	if (made.err)
		return fail(made.err,
			    made.err == -EEXIST ? "--cgroup: %.*s (give another --id)"
						: "--cgroup: %.*s",
			    (int)made.len, g->own);
	return 0;
}

/* Firecracker's jailer: without --cgroup, --parent-cgroup is where the process goes itself. */
static int enter(struct jail *jail)
{
	const struct jail_config *c = jail->config;
	struct cgroup g = { .mount = cgroup_mount(), .is_parent_named = c->parent_cgroup };
	int err;

	if (!g.mount)
		return fail(0, "--cgroup: no cgroup v2 is mounted at /sys/fs/cgroup");
	if (snprintf(g.parent, sizeof(g.parent), "%s/%s", g.mount,
		     c->parent_cgroup ? c->parent_cgroup : c->name) >= (int)sizeof(g.parent) ||
	    snprintf(g.own, sizeof(g.own), "%s/%s", g.parent, c->id) >= (int)sizeof(g.own))
		return fail(-ENAMETOOLONG, "--parent-cgroup");
	if (c->nr_cgroup == 0 && access(g.parent, F_OK))
		return fail(0, "--parent-cgroup: make %s before, or give --cgroup", g.parent);
	if (c->nr_cgroup == 0)
		return put(g.parent, "cgroup.procs", "0");
	err = start_keeper(jail, &g);
	for (unsigned i = 0; i < c->nr_cgroup && !err; i++)
		err = set(&g, c->cgroup[i]);
	return err ? err : put(g.own, "cgroup.procs", "0");
}

int cgroup_enter(struct jail *jail)
{
	return jail->config->nr_cgroup || jail->config->parent_cgroup ? enter(jail) : 0;
}
