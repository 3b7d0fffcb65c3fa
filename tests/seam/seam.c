// SPDX-License-Identifier: Apache-2.0
/*
 * A compromised thread: linked around filter_enter() in a build for tests only, it does, as soon as
 * the thread is confined, what MAYFLY_SEAM="THREAD ATTEMPT" says (THREAD: vcpu or loop; start, when
 * it begins; or last, the second vCPU, which is late), and says how that went. It also tells of
 * memory that is allocated after the loop's thread is confined.
 */
#include "../../seccomp/filters.h"
#include "../../vmm/loop.h"

#include <asm/sockios.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int __real_filter_enter(enum filter which, const char *thread);
int __wrap_filter_enter(enum filter which, const char *thread);
int __real_loop_init(struct loop *loop);
int __wrap_loop_init(struct loop *loop);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t nr, size_t size);
void *__wrap_calloc(size_t nr, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);

static char path[] = "/etc/passwd", *const arguments[] = { path, NULL };
static const int one = 1;
static unsigned capabilities[2 + 2 * 3] = { _LINUX_CAPABILITY_VERSION_3, 0, 1, 1, 1 };
static struct loop *loop;
static atomic_bool is_confined;

static const struct {
	const char *name;
	long call;
	long args[6];
} calls[] = {
	{ "open", SYS_open, { (long)path, O_RDWR | O_TRUNC } },
	{ "openat", SYS_openat, { AT_FDCWD, (long)path, O_RDONLY } },
	{ "openat2", SYS_openat2, { AT_FDCWD, (long)path, 0, 24 } },
	{ "execve", SYS_execve, { (long)path, (long)arguments, 0 } },
	{ "execveat", SYS_execveat, { AT_FDCWD, (long)path, (long)arguments, 0, 0 } },
	{ "fork", SYS_fork, { 0 } },
	{ "vfork", SYS_vfork, { 0 } },
	{ "clone", SYS_clone, { SIGCHLD } },
	{ "clone3", SYS_clone3, { 0, 88 } },
	{ "ptrace", SYS_ptrace, { 16, 1 } }, /* PTRACE_ATTACH */
	{ "socket", SYS_socket, { AF_INET, SOCK_STREAM } },
	{ "socketpair", SYS_socketpair, { AF_UNIX, SOCK_STREAM, 0, (long)path } },
	{ "kill", SYS_kill, { 1, 0 } },
	{ "tkill", SYS_tkill, { 1, 0 } },
	{ "tgkill", SYS_tgkill, { 1, 1, 0 } },
	{ "pidfd_open", SYS_pidfd_open, { 1, 0 } },
	{ "pidfd_send_signal", SYS_pidfd_send_signal, { -1, 0, 0, 0 } },
	{ "mount", SYS_mount, { 0, (long)path, 0, 4096 } },
	{ "capset", SYS_capset, { (long)capabilities, (long)(capabilities + 2) } },
	{ "prctl-securebits", SYS_prctl, { PR_SET_SECUREBITS, 0 } },
	{ "prctl-ambient", SYS_prctl, { PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 0, 0, 0 } },
	{ "setns", SYS_setns, { 0, 0 } },
	{ "unshare", SYS_unshare, { CLONE_NEWUSER | CLONE_NEWNS } },
	{ "chroot", SYS_chroot, { (long)path } },
	{ "bpf", SYS_bpf, { 0, 0, 0 } },
	{ "perf_event_open", SYS_perf_event_open, { 0, 0, -1, -1, 0 } },
	{ "userfaultfd", SYS_userfaultfd, { 0 } },
	{ "process_vm_writev", SYS_process_vm_writev, { 1, 0, 0, 0, 0, 0 } },
	{ "keyctl", SYS_keyctl, { 0 } },
	{ "memfd_create", SYS_memfd_create, { (long)path, 0 } },
	{ "rt_sigaction", SYS_rt_sigaction, { SIGSYS, 0, 0, 8 } },
	{ "seccomp", SYS_seccomp, { 0, 0, 0 } },
	{ "prctl", SYS_prctl, { PR_SET_DUMPABLE, 1 } },
	{ "prlimit64", SYS_prlimit64, { 1, RLIMIT_CPU, 0, 0 } },
	{ "fcntl", SYS_fcntl, { STDERR_FILENO, F_SETOWN, 1 } },
	{ "ioctl", SYS_ioctl, { STDERR_FILENO, FIOSETOWN, (long)&one } },
	{ "mmap",
	  SYS_mmap,
	  { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0 } },
	{ "mprotect", SYS_mprotect, { 0, 4096, PROT_READ | PROT_EXEC } },
	{ "shmat", SYS_shmat, { -1, 0, SHM_EXEC } },
	{ "pkey_mprotect", SYS_pkey_mprotect, { 0, 4096, PROT_READ | PROT_EXEC, -1 } },
	{ "io_uring_setup", SYS_io_uring_setup, { 4, (long)path } },
	{ "io_uring_register", SYS_io_uring_register, { 0, IORING_REGISTER_BUFFERS, 0, 0 } },
};

static const struct {
	const char *name;
	int op, fd;
	unsigned flags;
} operations[] = {
	{ "ring-openat", IORING_OP_OPENAT, AT_FDCWD, IOSQE_FIXED_FILE },
	{ "ring-openat2", IORING_OP_OPENAT2, AT_FDCWD, IOSQE_FIXED_FILE },
	{ "ring-connect", IORING_OP_CONNECT, 0, IOSQE_FIXED_FILE },
	{ "ring-socket", IORING_OP_SOCKET, AF_INET, IOSQE_FIXED_FILE },
	{ "ring-unlink", IORING_OP_UNLINKAT, AT_FDCWD, IOSQE_FIXED_FILE },
	{ "ring-splice", IORING_OP_SPLICE, 0, IOSQE_FIXED_FILE },
	{ "ring-command", IORING_OP_URING_CMD, 0, IOSQE_FIXED_FILE },
	{ "ring-unregistered", IORING_OP_WRITE, STDERR_FILENO, 0 },
	{ "ring-unregistered-poll", IORING_OP_POLL_ADD, STDERR_FILENO, 0 },
};

static void say(const char *name, long res)
{
	char line[128];
	const int n = snprintf(line, sizeof(line), "seam: %s: %s\n", name,
			       res < 0 ? strerror((int)-res) : "SUCCEEDED");

	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(99);
}

static int result;

static void on_result(struct op *op, int res)
{
	(void)op;
	result = res;
}

/* The answer to an operation that is refused comes with its submission. */
static int submit(int opcode, int fd, unsigned flags)
{
	static struct op op = { on_result };
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_rw(opcode, sqe, fd, path, 1, 0);
	loop_prepared(sqe, &op);
	sqe->flags = (uint8_t)flags;
	result = 0;
	loop_turn(loop);
	return result;
}

/* Below a folder that the caller has left open, whichever number it has here. */
static long open_kept(void)
{
	for (int fd = STDERR_FILENO + 1; fd < 64; fd++)
		if (openat(fd, path + 1, O_RDONLY) >= 0)
			return 0;
	return -errno;
}

/* Processes until the host says no; they do nothing, and end. */
static long fill_pids(void)
{
	static pid_t pids[1000];
	unsigned nr = 0;
	long err = 0;

	while (nr < 1000 && !err) {
		const pid_t pid = fork();

		if (pid == 0)
			for (;;)
				pause();
		if (pid < 0)
			err = -errno;
		else
			pids[nr++] = pid;
	}
	while (nr > 0) {
		kill(pids[--nr], SIGKILL);
		waitpid(pids[nr], NULL, 0);
	}
	return err;
}

/* 1 GiB, which the host has. */
static long fill_memory(void)
{
	for (unsigned i = 0; i < 1024; i++) {
		void *at = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0);

		if (at == MAP_FAILED)
			return -errno;
		memset(at, 1, 1 << 20);
	}
	return 0;
}

static void attempt(const char *name)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const long *a = calls[i].args;

		if (strcmp(name, calls[i].name))
			continue;
		say(name,
		    syscall(calls[i].call, a[0], a[1], a[2], a[3], a[4], a[5]) < 0 ? -errno : 0);
	}
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		if (!strcmp(name, operations[i].name))
			say(name, submit(operations[i].op, operations[i].fd, operations[i].flags));
	if (!strcmp(name, "openat-kept"))
		say(name, open_kept());
	if (!strcmp(name, "open-mem"))
		say(name, open("/proc/self/mem", O_RDWR) < 0 ? -errno : 0);
	if (!strcmp(name, "open-fd"))
		say(name, open("/proc/self/fd/0", O_RDONLY) < 0 ? -errno : 0);
	if (!strcmp(name, "fill-pids"))
		say(name, fill_pids());
	if (!strcmp(name, "fill-memory"))
		say(name, fill_memory());
	if (!strcmp(name, "sleep"))
		say(name, usleep(500000));
	if (!strcmp(name, "malloc")) {
		void *volatile memory = malloc(100); /* or the compiler leaves both out */

		free(memory);
	}
}

/* Before main(): the jail forgets the environment. */
static char what[64];

static __attribute__((constructor)) void remember(void)
{
	snprintf(what, sizeof(what), "%s", getenv("MAYFLY_SEAM") ? getenv("MAYFLY_SEAM") : "");
}

static bool is_meant(const char *who)
{
	return !strncmp(what, who, strlen(who));
}

int __wrap_filter_enter(enum filter which, const char *thread)
{
	const bool is_last = is_meant("last ") && !strcmp(thread, "vcpu 1");
	const char *who = is_last		  ? "last "
			  : which == FILTER_START ? "start "
			  : which == FILTER_VCPU  ? "vcpu "
						  : "loop ";
	int err;

	if (is_last)
		sleep(3);
	err = __real_filter_enter(which, thread);

	if (which != FILTER_VCPU && which != FILTER_START)
		is_confined = true;
	if (!err && is_meant(who))
		attempt(what + strlen(who));
	return err;
}

int __wrap_loop_init(struct loop *l)
{
	loop = l;
	return __real_loop_init(l);
}

static void tell_of_memory(void)
{
	static const char line[] = "seam: memory was allocated\n";

	if (is_confined && write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
		_exit(99);
}

void *__wrap_malloc(size_t size)
{
	tell_of_memory();
	return __real_malloc(size);
}

void *__wrap_calloc(size_t nr, size_t size)
{
	tell_of_memory();
	return __real_calloc(nr, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	tell_of_memory();
	return __real_realloc(old, size);
}
