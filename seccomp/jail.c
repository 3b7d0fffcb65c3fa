// SPDX-License-Identifier: Apache-2.0
/*
 * The order of confinement: steps[], the one list of it. What each step takes away, no later one
 * needs. Called by vmm/; next: root.c, landlock.c, cgroup.c, and then the filters, which are
 * installed after the last step.
 */
#include "jail.h"
#include "steps.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of a user namespace of our own, whose count is ours: vCPUs, and the ring's workers. */
#define NPROC 512

/* Of <linux/prctl.h>, which cannot be included beside musl's <sys/prctl.h>. */
#define SCHED_CORE		      62
#define SCHED_CORE_CREATE	      1
#define SCHED_CORE_SCOPE_THREAD_GROUP 1

static struct jail jail;

/* Keys and tokens of the caller's are no business of a guest's monitor; where layers go is. */
static int forget_environment(struct jail *j)
{
	(void)j;
	for (char **at = environ; *at; at++)
		if (strncmp(*at, "TMPDIR=", 7) != 0)
			memset(*at, 0, strlen(*at));
	return 0;
}

/* Descriptors. */

static bool is_among(const int *fds, unsigned nr, int fd)
{
	for (unsigned i = 0; i < nr; i++)
		if (fds[i] == fd)
			return true;
	return false;
}

/* The lowest of these from `first` on, where it is below `least`; else that. */
static unsigned lowest(const int *fds, unsigned nr, unsigned first, unsigned least)
{
	for (unsigned i = 0; i < nr; i++)
		if (fds[i] >= 0 && (unsigned)fds[i] >= first && (unsigned)fds[i] < least)
			least = (unsigned)fds[i];
	return least;
}

/* What the caller left open goes, but for what its options name. */
static int close_inherited(struct jail *j)
{
	const struct jail_config *c = j->config;
	unsigned first = STDERR_FILENO + 1, next = 0;

	for (; next != UINT_MAX; first = next + 1) {
		next = lowest(c->keep, c->nr_keep, first, UINT_MAX);
		next = lowest(c->named, c->nr_named, first, next);
		if (next > first)
			syscall(SYS_close_range, first, next == UINT_MAX ? next : next - 1, 0);
	}
	return 0;
}

/* By now they have been opened anew, under their names. */
static int close_named(struct jail *j)
{
	const struct jail_config *c = j->config;

	for (unsigned i = 0; i < c->nr_named; i++)
		if (!is_among(c->keep, c->nr_keep, c->named[i]))
			close(c->named[i]);
	return 0;
}

static int open_terminal(struct jail *j)
{
	(void)j;
	log_open_terminal();
	return 0;
}

/* Users, and namespaces. */

/* Asked once: what changes it on the way is ours, and undone before the next question. */
static uint64_t read_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	syscall(SYS_capget, &head, data);
	return (uint64_t)data[1].effective << 32 | data[0].effective;
}

static bool has_capability(const struct jail *j, unsigned capability)
{
	return j->capabilities >> capability & 1;
}

/* Limits, capabilities, security modules, filters, and kernels that are built without. */
bool jail_is_refused(int err)
{
	return err == -EPERM || err == -EACCES || err == -ENOSPC || err == -EINVAL ||
	       err == -ENOSYS;
}

static int write_proc(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

#define RESTRICTED "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"

/*
 * AppArmor may give a user namespace in which nothing can be done, not even files made, and from
 * which there is no way back: then a child tries.
 */
static bool is_usable(void)
{
	const int fd = open(RESTRICTED, O_RDONLY | O_CLOEXEC);
	char restricted = '0';
	int status = 1;
	pid_t child;

	if (fd < 0)
		return true;
	if (read(fd, &restricted, 1) < 1)
		restricted = '0';
	close(fd);
	if (restricted == '0')
		return true;
	signal(SIGCHLD, SIG_DFL); /* where the caller ignores it, no status can be waited for */
	child = fork();
	if (child == 0)
		_exit(unshare(CLONE_NEWUSER) || write_proc("/proc/self/setgroups", "deny"));
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* A user namespace in which we are whom we were, and nobody else exists. */
static int enter_user_ns(struct jail *j)
{
	const uid_t uid = geteuid();
	const gid_t gid = getegid();
	char map[64];
	int err;

	if (!is_usable()) {
		j->lacking = RESTRICTED;
		return 0;
	}

	/* Root may be mapped into it only by who has CAP_SETFCAP, and is nobody there otherwise. */
	if (uid == 0 && !has_capability(j, CAP_SETFCAP)) {
		j->lacking = strerror(EPERM);
		return 0;
	}
	if (unshare(CLONE_NEWUSER)) {
		j->lacking = strerror(errno);
		return 0;
	}
	j->has_user_ns = true;
	j->capabilities = ~0ull; /* over what is in there */
	err = write_proc("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	if (!err)
		err = write_proc("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	if (!err)
		err = write_proc("/proc/self/gid_map", map);
	return err ? fail(err, "jail: a user namespace: /proc/self/{setgroups,uid_map,gid_map}")
		   : 0;
}

/* Who may make namespaces, and roots in them, needs none to be allowed to. */
static int enter_user(struct jail *j)
{
	const struct jail_config *c = j->config;

	if (has_capability(j, CAP_SYS_ADMIN) && has_capability(j, CAP_SYS_CHROOT))
		return 0;
	if ((!c->has_uid || c->uid == geteuid()) && (!c->has_gid || c->gid == getegid()))
		return enter_user_ns(j);
	if (!has_capability(j, CAP_SETUID) || !has_capability(j, CAP_SETGID))
		return fail(-EPERM, "--uid, --gid: only root may become somebody else");
	j->lacking = strerror(EPERM); /* as in a container: in a namespace nobody else exists */
	return 0;
}

static int join_netns(struct jail *j)
{
	const char *path = j->config->netns;
	int fd, err = 0;

	if (!path)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		err = -errno;
	if (fd >= 0)
		close(fd);
	if (err)
		return fail(0, "--netns %s: %s ('ip netns add NAME' makes /run/netns/NAME)", path,
			    strerror(-err));
	return 0;
}

static int check_given(const char **lacking, int err)
{
	if (!jail_is_refused(err))
		return err ? fail(err, "jail: namespaces") : 0;
	*lacking = strerror(-err);
	return 0;
}

/* With --chroot-base-dir the mounts are root_open()'s. */
static int unshare_most(struct jail *j)
{
	const int mounts = j->config->chroot_base ? 0 : CLONE_NEWNS;

	if (j->lacking)
		return 0;
	return check_given(&j->lacking, unshare(mounts | CLONE_NEWIPC | CLONE_NEWUTS) ? -errno : 0);
}

static int leave_network(struct jail *j)
{
	return j->lacking || j->config->netns ? 0 : check_given(&j->lacking_net, netns_enter(j));
}

/* The end of who stands in for us is ours. A change of user undoes this, so it is said again. */
static void tie_life(const struct jail *j)
{
	struct pollfd gone = { .fd = j->alive_fd, .events = POLLIN };

	if (j->alive_fd < 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (poll(&gone, 1, 0) != 0)
		_exit(EXIT_FAILURE);
}

/* What cannot be left out silently, since it was asked for. */
static int check_asked(struct jail *j)
{
	const struct jail_config *c = j->config;
	const char *option = c->chroot_base ? "--chroot-base-dir" : "--new-pid-ns";

	if (!c->chroot_base && !c->has_new_pid_ns)
		return 0;
	if (j->lacking)
		return fail(0, "%s: this host gives no namespaces: %s", option, j->lacking);
	if (j->lacking_net)
		return fail(0, "%s: this host gives no network namespace: %s", option,
			    j->lacking_net);
	return 0;
}

/*
 * A user namespace may forbid setgroups(2): then its maker stays in his groups, as in the one that
 * we make; but whom --uid and --gid ask for has no other than that.
 */
static int leave_groups(const struct jail *j)
{
	gid_t group = j->gid;

	if (syscall(SYS_setgroups, 0, NULL) == 0)
		return 0;
	if (errno != EPERM || j->uid != getuid() || j->gid != getgid())
		return -errno;
	if (j->config->has_uid && (getgroups(1, &group) < 0 || group != j->gid))
		return -EPERM;
	return 0;
}

/* Whose files are opened from here on; what is still to be done as root is done before the end. */
static int lend_user(struct jail *j)
{
	int err;

	if (j->has_user_ns || (!j->config->has_uid && !j->config->has_gid))
		return 0;
	err = leave_groups(j);
	if (!err && (setegid(j->gid) || seteuid(j->uid)))
		err = -errno;
	if (err)
		return fail(err, "--uid %u, --gid %u", j->uid, j->gid);
	tie_life(j);
	return 0;
}

static int return_user(struct jail *j)
{
	if (getuid() != geteuid() && seteuid(getuid()))
		return fail(-errno, "--uid %u", j->uid);
	return 0;
}

static int change_user(struct jail *j)
{
	int err;

	if (j->has_user_ns || !has_capability(j, CAP_SETUID) || !has_capability(j, CAP_SETGID))
		return 0;
	err = leave_groups(j);
	/* The C library would stop all threads for each of them, of which there is one. */
	if (!err && syscall(SYS_setresgid, j->gid, j->gid, j->gid))
		err = -errno;
	if (err)
		return fail(err, "--gid %u", j->gid);
	if (syscall(SYS_setresuid, j->uid, j->uid, j->uid))
		return fail(-errno, "--uid %u", j->uid);
	tie_life(j);
	return 0;
}

/* Root's last one, in which nobody exists: what came back to him there would be over nothing. */
static int leave_user_ns(struct jail *j)
{
	if (j->has_user_ns || j->lacking)
		return 0;
	return check_given(&j->lacking_user, unshare(CLONE_NEWUSER) ? -errno : 0);
}

/* The process itself. */

static void forward(pid_t child, const sigset_t *taken, const siginfo_t *info)
{
	int status;

	if (info->si_signo != SIGCHLD) {
		if (info->si_code <= 0) /* a terminal's has gone to the child, too */
			kill(child, info->si_signo);
		return;
	}
	if (waitpid(child, &status, WNOHANG) != child)
		return;
	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	signal(WTERMSIG(status), SIG_DFL);
	sigprocmask(SIG_UNBLOCK, taken, NULL);
	kill(getpid(), WTERMSIG(status));
	_exit(128 + WTERMSIG(status));
}

/* In the caller's place: the operator's signals go to the child, and its end is ours. */
static _Noreturn void stand_in(pid_t child, const sigset_t *taken, int alive)
{
	siginfo_t info;

	must(dup2(alive, STDIN_FILENO) == STDIN_FILENO);
	close(STDOUT_FILENO);
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0);
	for (;;)
		if (sigwaitinfo(taken, &info) >= 0)
			forward(child, taken, &info);
}

/* In the caller's place until jail_detach(), or the end of a child that does not come so far. */
static _Noreturn void await_detached(pid_t child, int fd)
{
	int status;
	char byte;

	if (read(fd, &byte, 1) == 1)
		_exit(0);
	if (waitpid(child, &status, 0) != child)
		_exit(EXIT_FAILURE);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* In a session of its own, of the caller's only with its standard error: jail_detach(). */
static int leave_terminal(void)
{
	const int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return fail(-errno, "/dev/null");
	setsid();
	log_echo_failures(true);
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	close(fd);
	return 0;
}

static const int operators[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
#define OPERATORS (sizeof(operators) / sizeof(operators[0]))

/* A signal that the caller had us ignore stays ignored. */
static bool is_ignored(int signo)
{
	struct sigaction old;

	return sigaction(signo, NULL, &old) || old.sa_handler == SIG_IGN;
}

static void take_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t i = 0; i < OPERATORS; i++)
		if (!is_ignored(operators[i]))
			sigaddset(set, operators[i]);
}

/* As without a handler, but for the first process of a PID namespace, which kill(2) leaves be. */
static void on_early(int signo)
{
	kill(getpid(), signo);
	_exit(128 + signo);
}

/*
 * What has no handler is lost to the first process of a PID namespace, for good: what comes before
 * signals_init() ends the start, also one that waits for a FIFO's writer.
 */
static void catch_early(void)
{
	const struct sigaction action = { .sa_handler = on_early,
					  .sa_flags = SA_RESETHAND | SA_NODEFER };

	for (size_t i = 0; i < OPERATORS; i++)
		if (!is_ignored(operators[i]))
			sigaction(operators[i], &action, NULL);
}

/* `fds`: of the daemon, which says there that it is one. */
static int start_daemon(struct jail *j, const int fds[2])
{
	const pid_t pid = fork();

	if (pid < 0)
		return fail(-errno, "fork");
	if (pid > 0) {
		close(fds[1]);
		await_detached(pid, fds[0]);
	}
	close(fds[0]);
	j->caller_fd = fds[1];
	return leave_terminal();
}

/* `fds`: of the stand-in, which never writes. */
static int start_child(struct jail *j, const int fds[2])
{
	sigset_t set, child, old;
	pid_t pid;

	take_signals(&set);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &old);
	pid = fork();
	if (pid < 0)
		return fail(-errno, "fork");
	if (pid > 0) {
		/* Not before: a terminal's, which is not passed on, would be lost. */
		sigprocmask(SIG_BLOCK, &set, NULL);
		stand_in(pid, &set, fds[1]);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(fds[1]);
	j->alive_fd = fds[0];
	tie_life(j);
	return 0;
}

/* A PID namespace is entered by a child only. */
static int start_process(struct jail *j)
{
	const struct jail_config *c = j->config;
	int fds[2];

	if (!c->has_new_pid_ns && !c->is_daemon)
		return 0;
	if (c->has_new_pid_ns && unshare(CLONE_NEWPID))
		return fail(-errno, "--new-pid-ns");
	if (pipe2(fds, O_CLOEXEC))
		return fail(-errno, "pipe");
	signal(SIGCHLD, SIG_DFL); /* where the caller ignores it, no status can be waited for */
	if (c->has_new_pid_ns)
		catch_early();
	return c->is_daemon ? start_daemon(j, fds) : start_child(j, fds);
}

static int limit(int resource, uint64_t most)
{
	struct rlimit now, to = { most, most };

	if (getrlimit(resource, &now))
		return -errno;
	if (to.rlim_max > now.rlim_max) /* what is lower already stays so */
		to.rlim_cur = to.rlim_max = now.rlim_max;
	return setrlimit(resource, &to) ? -errno : 0;
}

/* Of too few, whatever asks for one next would say less. */
static int limit_files(uint64_t most)
{
	const int err = limit(RLIMIT_NOFILE, most);
	const int fd = err ? -1 : dup(STDERR_FILENO);

	if (err)
		return fail(err, "--resource-limit");
	if (fd < 0)
		return fail(0, "--resource-limit no-file=%llu: this microVM has as many open",
			    (unsigned long long)most);
	close(fd);
	return 0;
}

static int set_limits(struct jail *j)
{
	const struct jail_config *c = j->config;
	int err = limit_files(c->no_file ? c->no_file : JAIL_NO_FILE);

	if (err)
		return err;
	err = limit(RLIMIT_CORE, 0);
	if (!err && c->fsize)
		err = limit(RLIMIT_FSIZE, c->fsize);
	if (!err && j->has_user_ns)
		err = limit(RLIMIT_NPROC, NPROC);
	return err ? fail(err, "--resource-limit") : 0;
}

/* No hyperthread of another microVM's beside ours, where the kernel can do that. */
static int set_core_cookie(struct jail *j)
{
	(void)j;
	prctl(SCHED_CORE, SCHED_CORE_CREATE, 0, SCHED_CORE_SCOPE_THREAD_GROUP, 0);
	return 0;
}

/*
 * No user that is become, and no program of root's that is started, brings any back. The bounding
 * set stays as it is, for 41 calls that would change nothing: it bounds what a file's capabilities
 * give to who executes it, which is nothing with no_new_privs, and what CAP_SETPCAP may make
 * inheritable, which is gone; and a user namespace has a full one of its own in any case.
 */
static int lock_capabilities(struct jail *j)
{
	if (has_capability(j, CAP_SETPCAP) &&
	    prctl(PR_SET_SECUREBITS, SECURE_ALL_BITS | SECURE_ALL_LOCKS))
		return fail(-errno, "jail: locking capabilities");
	return 0;
}

static int drop_capabilities(struct jail *j)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = { 0 };

	(void)j;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, none))
		return fail(-errno, "jail: dropping capabilities");
	return 0;
}

static int forbid_privileges(struct jail *j)
{
	(void)j;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? fail(-errno, "jail: no_new_privs") : 0;
}

static int hide_memory(struct jail *j)
{
	(void)j;
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ? fail(-errno, "jail: dumpable") : 0;
}

static int say_lacking(struct jail *j)
{
	if (j->lacking)
		note("jail: this host gives no namespaces (%s): %s", j->lacking,
		     j->has_landlock ? "Landlock stands in for an empty root"
				     : "and no Landlock, so files can still be reached by path");
	if (j->lacking_net)
		note("jail: this host gives no network namespace (%s): it stays in its caller's",
		     j->lacking_net);
	if (j->lacking_user)
		note("jail: this host gives no user namespace (%s): it stays in its caller's",
		     j->lacking_user);
	return 0;
}

/*
 * At the start: what makes the surroundings in which the configuration is read and its files are
 * opened. At the end: all is open, and there is one thread, so that what is given up is given up
 * for all that come.
 */
static const struct {
	enum { AT_START, AT_END } when;
	int (*take)(struct jail *jail);
} steps[] = {
	{ AT_START, forget_environment },
	{ AT_START, close_inherited }, /* before anything of ours is open */
	{ AT_START, open_terminal },   /* for the log: by /proc, with the caller's rights */
	{ AT_START, join_netns },      /* taps are looked for in it; needs the caller's privilege */
	{ AT_START, cgroup_enter },    /* likewise; what is forked from here on is in it */
	{ AT_START, enter_user },      /* needs a single thread; gives the privilege for the rest */
	{ AT_START, unshare_most },    /* mounts, System V IPC, host name */
	{ AT_START, check_asked },     /* else what follows would fail with less to say */
	{ AT_START, start_process },   /* --new-pid-ns, --daemonize */
	{ AT_START, root_open },       /* paths mean files in there */
	{ AT_START, lend_user },       /* and are opened with the rights of --uid */
	{ AT_START, hide_memory },     /* behind uid_map; /proc/self/mem makes new code */

	{ AT_END, close_named },       /* before a lock of ours lies on one of them (netns.c) */
	{ AT_END, return_user },       /* for the next two */
	{ AT_END, leave_network },     /* the taps are open */
	{ AT_END, check_asked },       /* once more, for the network's */
	{ AT_END, root_enter },	       /* no files, no /proc, no devices */
	{ AT_END, check_asked },       /* once more, for the mounts */
	{ AT_END, set_limits },	       /* while they may be set */
	{ AT_END, set_core_cookie },   /* the threads to come inherit it */
	{ AT_END, lock_capabilities }, /* takes CAP_SETPCAP */
	{ AT_END, change_user },       /* keeps the capabilities, by the step before */
	{ AT_END, leave_user_ns },     /* those that are left are over nothing */
	{ AT_END, lock_capabilities }, /* once more: a user namespace unlocks them */
	{ AT_END, drop_capabilities },
	{ AT_END, forbid_privileges }, /* none come back; Landlock demands it */
	{ AT_END, landlock_enter },    /* what the first wall has left */
	{ AT_END, hide_memory },       /* once more: a change of user may have undone it */
	{ AT_END, say_lacking },       /* once it is known what stands in */
};

static int take(int when)
{
	int err = 0;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && !err; i++)
		if ((int)steps[i].when == when)
			err = steps[i].take(&jail);
	return err;
}

int jail_open(const struct jail_config *config)
{
	jail.config = config;
	jail.uid = config->has_uid ? config->uid : geteuid();
	jail.gid = config->has_gid ? config->gid : getegid();
	jail.alive_fd = jail.cgroup_fd = jail.caller_fd = -1;
	jail.capabilities = read_capabilities();
	if (!config->is_off)
		return take(AT_START);
	note("jail: none (--no-jail)");
	return open_terminal(&jail);
}

static void cut_last(char *path)
{
	char *slash = strrchr(path, '/');

	slash[slash == path ? 1 : 0] = '\0';
}

/* Under whatever name: "/.", or a path that comes back to it by "..". */
static bool is_root(const char *path)
{
	struct stat st, root;

	return stat(path, &st) == 0 && stat("/", &root) == 0 && st.st_dev == root.st_dev &&
	       st.st_ino == root.st_ino;
}

static bool is_kept(const char *path)
{
	for (unsigned i = 0; i < jail.nr_kept; i++)
		if (!strcmp(jail.kept[i], path))
			return true;
	return false;
}

int jail_keep_folder(const char *path, bool is_folder)
{
	char *folder;
	size_t used = 0;

	if (!jail.config || jail.config->is_off || jail.config->chroot_base)
		return 0;
	if (jail.nr_kept == JAIL_KEEP_MAX)
		return fail(0, "jail: %u folders at most", JAIL_KEEP_MAX);
	folder = jail.kept[jail.nr_kept];
	if (*path != '/') {
		if (!getcwd(folder, PATH_MAX))
			return fail(-errno, "jail: the current folder");
		used = strlen(folder);
		jail.has_relative = true;
	}
	if (snprintf(folder + used, PATH_MAX - used, "%s%s", used ? "/" : "", path) >=
	    (int)(PATH_MAX - used))
		return fail(-ENAMETOOLONG, "%s", path);
	if (!is_folder)
		cut_last(folder);
	if (is_root(folder) || is_kept(folder)) /* all there is, or once more */
		return 0;
	jail.nr_kept++;
	return 0;
}

int jail_enter(void)
{
	if (!jail.config || jail.config->is_off)
		return 0;
	jail.is_entered = true;
	return take(AT_END);
}

int jail_detach(void)
{
	int err = 0;

	if (jail.caller_fd < 0)
		return 0;
	if (write(jail.caller_fd, "", 1) < 0)
		err = fail(-errno, "--daemonize: the caller is gone");
	close(jail.caller_fd);
	jail.caller_fd = -1;
	log_close_terminal();
	log_echo_failures(false);
	dup2(STDIN_FILENO, STDERR_FILENO);
	return err;
}

bool jail_is_entered(void)
{
	return jail.is_entered;
}

bool jail_has_files(void)
{
	return !jail.config || jail.config->is_off || jail.config->chroot_base;
}
