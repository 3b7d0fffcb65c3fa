// SPDX-License-Identifier: Apache-2.0
/*
 * Every system call of x86-64 by every kind of thread, made in a child that has the real filter on:
 * allowed or trapped. Then those that are allowed with some arguments only, with these and with
 * others. What the table of seccomp/policy.c has and no row here needs is a failure. Of the
 * start-up phase, which may nearly all, a second filter lets nothing be done.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../seccomp/policy.h"
#include "../../seccomp/sealed.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CALLS	 512
#define X32	 0x40000000
#define TCSETS_	 0x5402 /* of asm/termbits.h, which does not go with sys/ioctl.h */

#define VCPU  (1u << FILTER_VCPU)
#define RUN   (1u << FILTER_RUN)
#define LINKS (1u << FILTER_LINKS)
#define FILES (1u << FILTER_FILES)
#define SERVE (1u << FILTER_SERVE | FILES)
#define LOOP  (RUN | LINKS | SERVE)
#define ALL   (VCPU | LOOP)
#define NONE  0u

/* Where a row's argument is only known at run time. */
#define PID    0x7f00000000000001ull
#define SEALED 0x7f00000000000100ull /* and up to 255 bytes more */
#define OWN    0x7f00000000000200ull /* likewise */

/* Allowed with any arguments; all that is not here is allowed with some or not at all. */
static const struct {
	int call;
	unsigned filters;
} open_calls[] = {
	{ SYS_write, ALL },	     { SYS_clock_gettime, ALL },   { SYS_rt_sigreturn, VCPU },
	{ SYS_rt_sigprocmask, ALL }, { SYS_restart_syscall, ALL }, { SYS_exit_group, ALL },
	{ SYS_exit, VCPU },	     { SYS_io_uring_enter, LOOP }, { SYS_close, LOOP },
	{ SYS_shutdown, LOOP },	     { SYS_fdatasync, LOOP },	   { SYS_pwrite64, LOOP },
	{ SYS_munmap, LOOP },	     { SYS_epoll_ctl, LOOP },	   { SYS_fstat, SERVE },
	{ SYS_ftruncate, SERVE },
};

/* What is trapped in the start-up phase with all bits of all arguments set. */
static const int never_calls[] = {
	SYS_execve,
	SYS_execveat,
	SYS_fork,
	SYS_vfork,
	SYS_clone3,
	SYS_mmap,
	SYS_mprotect,
	SYS_pkey_mprotect,
	SYS_shmat,
	SYS_personality,
	SYS_modify_ldt,
	SYS_ptrace,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_pidfd_open,
	SYS_pidfd_getfd,
	SYS_prlimit64,
	SYS_kill,
	SYS_tkill,
	SYS_tgkill,
	SYS_rt_sigqueueinfo,
	SYS_rt_tgsigqueueinfo,
	SYS_pidfd_send_signal,
	SYS_socket,
	SYS_io_uring_setup,
	SYS_unshare,
	SYS_setns,
	SYS_bpf,
	SYS_perf_event_open,
	SYS_userfaultfd,
	SYS_add_key,
	SYS_request_key,
	SYS_keyctl,
	SYS_fsopen,
	SYS_fspick,
	SYS_open_by_handle_at,
	SYS_mknod,
	SYS_mknodat,
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_kexec_file_load,
	SYS_reboot,
	SYS_iopl,
	SYS_ioperm,
	SYS_swapon,
	SYS_swapoff,
	SYS_acct,
	SYS_settimeofday,
	SYS_clock_settime,
	SYS_clock_adjtime,
	SYS_adjtimex,
};

#define QUIET (MSG_NOSIGNAL | MSG_DONTWAIT)

static const struct attempt {
	int call;
	unsigned filters;
	uint64_t args[6];
} attempts[] = {
	{ SYS_futex, ALL, { 0, FUTEX_WAIT } },
	{ SYS_futex, ALL, { 0, FUTEX_WAIT | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME } },
	{ SYS_futex, ALL, { 0, FUTEX_WAKE | FUTEX_PRIVATE_FLAG } },
	{ SYS_futex, VCPU, { 0, FUTEX_REQUEUE } },
	{ SYS_futex, NONE, { 0, FUTEX_LOCK_PI } },
	{ SYS_futex, NONE, { 0, FUTEX_CMP_REQUEUE_PI } },
	{ SYS_futex, NONE, { 0, FUTEX_WAKE_OP } },
	{ SYS_poll, ALL, { 0, 1, 0 } },
	{ SYS_poll, NONE, { 0, 1, (uint32_t)-1 } },
	{ SYS_poll, NONE, { 0, 2, 0 } },
	{ SYS_prctl, ALL, { PR_GET_NAME } },
	{ SYS_prctl, NONE, { PR_SET_NAME } },
	{ SYS_prctl, NONE, { PR_SET_DUMPABLE, 1 } },
	{ SYS_prctl, NONE, { PR_SET_MM } },
	{ SYS_prctl, NONE, { PR_SET_SECCOMP } },
	{ SYS_ioctl, VCPU, { -1, KVM_RUN } },
	{ SYS_ioctl, VCPU, { -1, KVM_SET_GSI_ROUTING } },
	{ SYS_ioctl, ALL, { -1, KVM_GET_REGS } },
	{ SYS_ioctl, ALL, { -1, (uint64_t)(int)KVM_GET_REGS } }, /* as musl's ioctl() has it */
	{ SYS_ioctl, VCPU | SERVE, { -1, KVM_GET_SREGS } },
	{ SYS_ioctl, SERVE, { -1, KVM_GET_XCRS } },
	{ SYS_ioctl, SERVE, { -1, KVM_GET_XSAVE } },
	{ SYS_ioctl, SERVE, { -1, KVM_GET_DEBUGREGS } },
	{ SYS_ioctl, SERVE, { -1, KVM_GET_LAPIC } },
	{ SYS_ioctl, SERVE, { -1, KVM_GET_MSRS } },
	{ SYS_ioctl, SERVE, { -1, KVM_GET_CLOCK } },
	{ SYS_ioctl, SERVE, { -1, KVM_KVMCLOCK_CTRL } },
	{ SYS_ioctl, LOOP, { -1, KVM_GET_MP_STATE } },
	{ SYS_ioctl, LOOP, { -1, KVM_GET_VCPU_EVENTS } },
	{ SYS_ioctl, ALL, { -1, TCSETS_ } },
	{ SYS_ioctl, LOOP, { -1, TIOCGPGRP } },
	{ SYS_ioctl, LOOP, { -1, TUNSETOFFLOAD } },
	{ SYS_ioctl, LOOP, { -1, TUNSETQUEUE } },
	{ SYS_ioctl, SERVE, { -1, BLKGETSIZE64 } },
	{ SYS_ioctl, NONE, { -1, TIOCSTI } },
	{ SYS_ioctl, NONE, { -1, TUNSETIFF } },
	{ SYS_ioctl, NONE, { -1, KVM_SET_REGS } },
	{ SYS_ioctl, NONE, { -1, KVM_SET_SREGS } },
	{ SYS_ioctl, NONE, { -1, KVM_SET_MSRS } },
	{ SYS_ioctl, NONE, { -1, KVM_CREATE_VM } },
	{ SYS_ioctl, NONE, { -1, KVM_CREATE_VCPU } },
	{ SYS_ioctl, NONE, { -1, KVM_CREATE_DEVICE } },
	{ SYS_ioctl, NONE, { -1, KVM_SET_USER_MEMORY_REGION } },
	{ SYS_ioctl, NONE, { -1, KVM_IRQFD } },
	{ SYS_io_uring_register, LOOP, { -1, IORING_REGISTER_FILES_UPDATE } },
	{ SYS_io_uring_register, NONE, { -1, IORING_REGISTER_FILES } },
	{ SYS_io_uring_register, NONE, { -1, IORING_REGISTER_BUFFERS } },
	{ SYS_io_uring_register, NONE, { -1, IORING_REGISTER_PERSONALITY } },
	{ SYS_io_uring_register, NONE, { -1, IORING_REGISTER_RESTRICTIONS } },
	{ SYS_tgkill, LOOP, { PID, PID, 0 } },
	{ SYS_tgkill, NONE, { 1, 1, 0 } },
	{ SYS_tgkill, NONE, { -1, PID, 0 } },
	{ SYS_fcntl, LOOP, { -1, F_OFD_SETLK } },
	{ SYS_fcntl, LINKS | SERVE, { -1, F_SETFL } },
	{ SYS_fcntl, SERVE, { -1, F_GETFL } },
	{ SYS_fcntl, SERVE, { -1, F_SETFD } },
	{ SYS_fcntl, SERVE, { -1, F_DUPFD_CLOEXEC } },
	{ SYS_fcntl, SERVE, { -1, F_GETLK } },
	{ SYS_fcntl, NONE, { -1, F_SETOWN } },
	{ SYS_fcntl, NONE, { -1, F_SETPIPE_SZ } },
	{ SYS_fcntl, NONE, { -1, F_NOTIFY } },
	{ SYS_unlink, LOOP, { OWN + 2 } },
	{ SYS_unlink, LOOP, { OWN + 130 } },
	{ SYS_unlink, NONE, { OWN } },
	{ SYS_unlink, NONE, { OWN + 3 } },
	{ SYS_unlink, NONE, { SEALED + 2 } },
	{ SYS_unlink, NONE, { 2 } },
	{ SYS_lstat, LOOP, { OWN + 2 } },
	{ SYS_lstat, NONE, { SEALED + 2 } },
	{ SYS_lstat, NONE, { 2 } },
	{ SYS_splice, LOOP, { -1, 0, 1, 0, 1, SPLICE_F_NONBLOCK } },
	{ SYS_splice, NONE, { -1, 0, 2, 0, 1, SPLICE_F_NONBLOCK } },
	{ SYS_splice, NONE, { -1, 0, 1, 0, 1, 0 } },
	{ SYS_epoll_pwait, LOOP, { -1, 0, 1, 0 } },
	{ SYS_epoll_pwait, NONE, { -1, 0, 1, (uint32_t)-1 } },
	{ SYS_sendto, LOOP, { STDOUT_FILENO, 0, 0, QUIET } },
	{ SYS_sendto, SERVE, { -1, 0, 0, QUIET } },
	{ SYS_sendto, NONE, { STDOUT_FILENO, 0, 0, 0 } },
	{ SYS_sendto, NONE, { STDOUT_FILENO, 0, 0, QUIET, SEALED, 110 } },
	{ SYS_socket, LINKS, { AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC } },
	{ SYS_socket, LINKS, { AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK } },
	{ SYS_socket, NONE, { AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC } },
	{ SYS_socket, NONE, { AF_INET, SOCK_DGRAM | SOCK_CLOEXEC } },
	{ SYS_socket, NONE, { AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK } },
	{ SYS_socket, NONE, { AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC } },
	{ SYS_connect, LINKS, { -1, SEALED, 110 } },
	{ SYS_connect, LINKS, { -1, SEALED + 128, 110 } },
	{ SYS_connect, NONE, { -1, SEALED + 2, 110 } },
	{ SYS_connect, NONE, { -1, SEALED, 9 } }, /* the path's beginning, which is another's */
	{ SYS_connect, NONE, { -1, OWN, 110 } },
	{ SYS_connect, NONE, { -1, 0, 110 } },
	{ SYS_setsockopt, LINKS, { -1, SOL_SOCKET, SO_SNDBUF } },
	{ SYS_setsockopt, NONE, { -1, SOL_SOCKET, SO_ATTACH_FILTER } },
	{ SYS_setsockopt, NONE, { -1, 0, SO_SNDBUF } },
	{ SYS_recvmsg, SERVE, { -1, 0, MSG_CMSG_CLOEXEC | MSG_DONTWAIT } },
	{ SYS_recvmsg, NONE, { -1, 0, 0 } },
	{ SYS_open, FILES, { 0, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK } },
	{ SYS_open, FILES, { 0, O_RDWR | O_CLOEXEC | O_DIRECT | 0100000 } },
	{ SYS_open, FILES, { 0, O_WRONLY | O_CREAT | O_CLOEXEC, 0600 } },
	{ SYS_open, NONE, { 0, O_WRONLY | O_CREAT | O_CLOEXEC, 0644 } },
	{ SYS_open, NONE, { 0, O_WRONLY | O_CREAT | O_CLOEXEC, 04600 } },
	{ SYS_open, NONE, { 0, O_RDWR | O_TRUNC | O_CLOEXEC } },
	{ SYS_open, NONE, { 0, O_RDWR | O_APPEND | O_CLOEXEC } },
	{ SYS_open, NONE, { 0, O_PATH | O_CLOEXEC } },
	{ SYS_open, NONE, { 0, O_RDONLY | O_DIRECTORY } },
	{ SYS_open, NONE, { 0, O_RDWR | O_TMPFILE } },
	{ SYS_openat, NONE, { -1, 0, O_RDONLY } },
	{ SYS_openat2, NONE, { -1, 0, 0, 24 } },
	{ SYS_mmap, NONE, { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1 } },
	{ SYS_mmap, NONE, { 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1 } },
	{ SYS_mprotect, NONE, { SEALED & ~4095ull, 4096, PROT_READ | PROT_WRITE } },
	{ SYS_mprotect, NONE, { SEALED & ~4095ull, 4096, PROT_READ | PROT_EXEC } },
	{ SYS_brk, NONE, { 0 } },
	{ SYS_kill, NONE, { 1, 0 } },
	{ SYS_tkill, NONE, { 1, 0 } },
	{ SYS_clone, NONE, { SIGCHLD } },
};

/* What the child tells. */
static struct {
	bool trapped[CALLS], refused[COUNT(attempts)];
	bool is_done;
} * seen;

static void *trapped[5]; /* of __builtin_setjmp(): the sanitizers know of no other without calls */
static uint64_t own_pid, own_base;

static __attribute__((no_sanitize_address)) void on_trap(int signo)
{
	(void)signo;
	__builtin_longjmp(trapped, 1); /* not every thread may return from a handler */
}

/* Nothing of the C library is in between. */
static __attribute__((noinline)) void make_call(long call, const uint64_t a[6])
{
	register uint64_t r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4],
			      r9 __asm__("r9") = a[5];

	__asm__ volatile("syscall"
			 : "+a"(call)
			 : "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
}

static bool is_let_through(long call, const uint64_t a[6])
{
	if (__builtin_setjmp(trapped))
		return false;
	make_call(call, a);
	return true;
}

/*
 * Those that do not come back have a test of their own. Two are the kernel's own way back from its
 * probes (uretprobe, uprobe: SIGILL from anywhere else), which newer ones let through any filter.
 */
static bool ends(int call)
{
	return call == 335 || call == 336 || call == SYS_exit || call == SYS_exit_group ||
	       call == SYS_rt_sigreturn;
}

static uint64_t known(uint64_t arg)
{
	if (arg == PID)
		return own_pid;
	if (arg >= OWN && arg < OWN + 256)
		return own_base + (arg - OWN);
	return arg >= SEALED && arg < SEALED + 256 ? sealed_base() + (arg - SEALED) : arg;
}

static void try_all(void)
{
	static const uint64_t wild[6] = { -1, -1, -1, -1, -1, -1 };
	uint64_t args[6];

	for (int call = 0; call < CALLS; call++)
		seen->trapped[call] = !ends(call) && !is_let_through(call, wild);
	for (size_t i = 0; i < COUNT(attempts); i++) {
		for (int j = 0; j < 6; j++)
			args[j] = known(attempts[i].args[j]);
		seen->refused[i] = !is_let_through(attempts[i].call, args);
	}
	seen->is_done = true;
}

static void leave(void)
{
	static const uint64_t code[6] = { 7 };

	is_let_through(SYS_exit_group, code);
}

static void leave_thread(void)
{
	static const uint64_t code[6] = { 8 };

	is_let_through(SYS_exit, code);
}

static void call_as_x32(void)
{
	static const uint64_t none[6];

	is_let_through(X32 | SYS_write, none);
}

/* write(2) of 32-bit programs. */
static void call_as_i386(void)
{
	long call = 4;

	__asm__ volatile("int $0x80"
			 : "+a"(call)
			 : "b"(-1), "c"(0), "d"(0)
			 : "memory", "r8", "r9", "r10", "r11");
}

/* A wait that SIGSTOP and SIGCONT interrupt goes on by restart_syscall(2). */
static void wait_a_while(void)
{
	static const struct timespec half = { .tv_nsec = 500000000 };
	static uint32_t word;
	const uint64_t args[6] = { (uintptr_t)&word, FUTEX_WAIT, 0, (uintptr_t)&half };

	seen->is_done = true;
	is_let_through(SYS_futex, args);
	leave();
}

static pid_t begin(enum filter which, void (*act)(void))
{
	const struct sigaction trap = { .sa_handler = on_trap, .sa_flags = SA_NODEFER };
	const pid_t child = fork();

	assert_true(child >= 0);
	if (child)
		return child;
	own_pid = (uint64_t)getpid();
	signal(SIGSEGV, SIG_DFL); /* cmocka's handlers would go on with the tests */
	signal(SIGILL, SIG_DFL);
	sigaction(SIGSYS, &trap, NULL);
	if (filter_enter(which, "test"))
		_exit(77);
	act();
	leave();
	_exit(78);
}

static int end(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static bool is_open(int call, enum filter which)
{
	for (size_t i = 0; i < COUNT(open_calls); i++)
		if (open_calls[i].call == call)
			return open_calls[i].filters >> which & 1;
	return false;
}

static int share(void **state)
{
	(void)state;
	if (!seen) {
		seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);
		assert_true(seen != MAP_FAILED);
		assert_non_null(sealed_address("/nowhere/at all"));
		own_base = (uintptr_t)sealed_own("/nowhere/of/ours");
		assert_true(own_base > sealed_base());
		assert_int_equal(sealed_close(), 0);
	}
	memset(seen, 0, sizeof(*seen));
	return 0;
}

static void check_filter(enum filter which)
{
	unsigned wrong = 0;
	const int status = end(begin(which, try_all));

	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7 && seen->is_done);
	for (int call = 0; call < CALLS; call++) {
		if (ends(call) || seen->trapped[call] == !is_open(call, which))
			continue;
		print_error("%s: %s is %s\n", filter_programs[which].name, filter_call_name(call),
			    seen->trapped[call] ? "trapped" : "allowed");
		wrong++;
	}
	for (size_t i = 0; i < COUNT(attempts); i++) {
		if (seen->refused[i] == !(attempts[i].filters >> which & 1))
			continue;
		print_error("%s: %s(%#llx, %#llx, %#llx) is %s\n", filter_programs[which].name,
			    filter_call_name(attempts[i].call),
			    (unsigned long long)attempts[i].args[0],
			    (unsigned long long)attempts[i].args[1],
			    (unsigned long long)attempts[i].args[2],
			    seen->refused[i] ? "trapped" : "allowed");
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void vcpus(void **state)
{
	(void)state;
	check_filter(FILTER_VCPU);
}

static void runs(void **state)
{
	(void)state;
	check_filter(FILTER_RUN);
}

static void links(void **state)
{
	(void)state;
	check_filter(FILTER_LINKS);
}

static void serves(void **state)
{
	(void)state;
	check_filter(FILTER_SERVE);
}

static void serves_files(void **state)
{
	(void)state;
	check_filter(FILTER_FILES);
}

static void leaving(void **state)
{
	(void)state;
	for (enum filter i = 0; i < FILTER_START; i++) {
		assert_int_equal(WEXITSTATUS(end(begin(i, leave))), 7);
		assert_int_equal(WEXITSTATUS(end(begin(i, leave_thread))),
				 i == FILTER_VCPU ? 8 : 7);
	}
}

static void come_back(void)
{
	static const uint64_t none[6];

	is_let_through(SYS_rt_sigreturn, none);
}

/* With no frame of a signal there it dies of it, where it may; else the call is trapped. */
static void returning(void **state)
{
	(void)state;
	for (enum filter i = 0; i < FILTER_START; i++) {
		const int status = end(begin(i, come_back));

		assert_true(i == FILTER_VCPU ? WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV
					     : WIFEXITED(status) && WEXITSTATUS(status) == 7);
	}
}

/* Where a kernel has none of it, that is a fault of another kind. */
static void other_abis(void **state)
{
	(void)state;
	for (enum filter i = 0; i < FILTERS; i++) {
		const int x32 = end(begin(i, call_as_x32)), i386 = end(begin(i, call_as_i386));

		assert_true(WIFSIGNALED(x32) && WTERMSIG(x32) == SIGSYS);
		assert_true(WIFSIGNALED(i386) &&
			    (WTERMSIG(i386) == SIGSYS || WTERMSIG(i386) == SIGSEGV));
	}
}

static void waits_on(void **state)
{
	(void)state;
	for (enum filter i = 0; i < FILTERS; i++) {
		const pid_t child = begin(i, wait_a_while);
		int status;

		while (!__atomic_load_n(&seen->is_done, __ATOMIC_RELAXED))
			usleep(1000);
		usleep(20000);
		kill(child, SIGSTOP);
		assert_int_equal(waitpid(child, &status, WUNTRACED), child);
		kill(child, SIGCONT);
		status = end(child);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
		seen->is_done = false;
	}
}

static uint64_t placed(uint64_t arg)
{
	if (arg == PID)
		return FILTER_PLACE_PID;
	if (arg >= OWN && arg < OWN + 256)
		return ((uint64_t)FILTER_PLACE_HIGH << 32 | (FILTER_PLACE_PATH & ~127u)) +
		       (arg - OWN);
	if (arg >= SEALED && arg < SEALED + 256)
		return ((uint64_t)FILTER_PLACE_HIGH << 32 | FILTER_PLACE_ADDRESS) + (arg - SEALED);
	return arg;
}

static bool fits(const struct policy_row *row, const struct attempt *a)
{
	if (row->call != a->call || (row->filters & ~a->filters))
		return false;
	for (int i = 0; i < 3 && row->args[i].mask; i++)
		if ((placed(a->args[row->args[i].index]) & row->args[i].mask) != row->args[i].value)
			return false;
	return true;
}

static bool is_needed(const struct policy_row *row)
{
	for (size_t i = 0; i < COUNT(attempts); i++)
		if (fits(row, &attempts[i]))
			return true;
	for (size_t i = 0; i < COUNT(open_calls); i++)
		if (row->call == open_calls[i].call && row->filters == open_calls[i].filters &&
		    !row->args[0].mask)
			return true;
	return false;
}

static void rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < policy_rows; i++) {
		assert_true(strlen(policy[i].why) > 5);
		if (!is_needed(&policy[i]))
			fail_msg("no test needs: %s", policy[i].why);
	}
}

/*
 * What fits a row of what is never done, or where it has a condition, what does not; the bits of
 * the argument that the condition does not look at are those of `others`.
 */
static void args_of(const struct policy_row *row, bool fitting, uint64_t others, uint64_t args[6])
{
	memset(args, 0xff, 6 * sizeof(*args));
	for (int i = 0; i < 3 && row->args[i].mask; i++) {
		const struct policy_arg *a = &row->args[i];
		const uint64_t value = a->value == FILTER_PLACE_PID ? own_pid : a->value;
		const bool equal = fitting == !(a->index & POLICY_NOT);

		args[a->index & ~POLICY_NOT] =
			(equal ? value : value ^ (a->mask & -a->mask)) | (others & ~a->mask);
	}
}

/* Nothing is done any more but to exit. A trap, of the other filter, counts for more than an error.
 */
static bool forbid_all(void)
{
	struct sock_filter insns[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	const struct sock_fprog program = { COUNT(insns), insns };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

static bool is_never_call(int call)
{
	for (size_t i = 0; i < COUNT(never_calls); i++)
		if (never_calls[i] == call)
			return true;
	return false;
}

static void try_all_forbidden(void)
{
	if (forbid_all())
		try_all();
}

static void starts(void **state)
{
	const int status = end(begin(FILTER_START, try_all_forbidden));
	unsigned wrong = 0;

	(void)state;
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7 && seen->is_done);
	for (int call = 0; call < CALLS; call++) {
		if (seen->trapped[call] == is_never_call(call))
			continue;
		print_error("start: %s is %s\n", filter_call_name(call),
			    seen->trapped[call] ? "trapped" : "allowed");
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void try_never(void)
{
	uint64_t args[6];

	if (!forbid_all())
		return;
	for (size_t i = 0; i < policy_never_rows; i++) {
		const struct policy_row *row = &policy_never[i];

		seen->refused[i] = true;
		for (unsigned j = 0; j < 2; j++) {
			args_of(row, true, j ? UINT64_MAX : 0, args);
			seen->refused[i] &= !is_let_through(row->call, args);
			args_of(row, false, j ? UINT64_MAX : 0, args);
			seen->trapped[i] |= row->args[0].mask && !is_let_through(row->call, args);
		}
	}
	seen->is_done = true;
}

static void never(void **state)
{
	const int status = end(begin(FILTER_START, try_never));

	(void)state;
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7 && seen->is_done);
	assert_in_range(policy_never_rows, 40, COUNT(attempts));
	for (size_t i = 0; i < policy_never_rows; i++) {
		const struct policy_row *row = &policy_never[i];

		assert_true(strlen(row->why) > 5 && row->filters == 1u << FILTER_START);
		if (!seen->refused[i] || seen->trapped[i])
			fail_msg("%s is %s", filter_call_name(row->call),
				 seen->refused[i] ? "trapped with any arguments" : "allowed");
		for (size_t j = 0; j < policy_rows; j++) /* which would be of no use */
			assert_false(row->call == policy[j].call && !row->args[0].mask);
	}
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(filter_call_name(SYS_read), "read");
	assert_string_equal(filter_call_name(SYS_openat2), "openat2");
	assert_string_equal(filter_call_name(400), "?"); /* a gap */
	assert_string_equal(filter_call_name(-1), "?");
	assert_string_equal(filter_call_name(1 << 30), "?");
}

/* A file of one program, of which `there` instructions are there; whether it is taken. */
static int load_file(const char *path, const char *name, uint32_t nr, size_t there)
{
	static const struct sock_filter insns[FILTER_INSNS_MAX + 1];
	char head[20] = "";
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	memcpy(head, name, strlen(name));
	memcpy(head + 16, &nr, sizeof(nr));
	assert_int_equal(fwrite(head, sizeof(head), 1, f), 1);
	assert_int_equal(fwrite(insns, sizeof(insns[0]), there, f), there);
	fclose(f);
	return filters_load(path);
}

/* Whatever the file says, it is not believed beyond its own bytes. */
static void files(void **state)
{
	char path[] = "/tmp/mayfly-filters-XXXXXX";
	const int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(load_file(path, "nobody", 1, 1), -EINVAL);
	assert_int_equal(load_file(path, "0123456789abcdef", 1, 1), -EINVAL);
	assert_int_equal(load_file(path, "vcpu", 0, 0), -EINVAL);
	assert_int_equal(load_file(path, "vcpu", FILTER_INSNS_MAX + 1, FILTER_INSNS_MAX + 1),
			 -EINVAL);
	assert_int_equal(load_file(path, "vcpu", FILTER_INSNS_MAX, FILTER_INSNS_MAX - 1), -EINVAL);
	assert_int_equal(load_file(path, "vcpu", 1, 2), -EINVAL); /* half a head behind it */
	assert_int_equal(ftruncate(fd, 5), 0);
	assert_int_equal(filters_load(path), -EINVAL);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(filters_load(path), -EINVAL);
	assert_int_equal(load_file(path, "vcpu", FILTER_INSNS_MAX, FILTER_INSNS_MAX), 0);
	close(fd);
	unlink(path);
	assert_int_equal(filters_load(path), -ENOENT);
}

#define TEST(name, function)                      \
	{                                         \
		name, function, share, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("every system call x vcpu: allowed or trapped", vcpus),
		TEST("every system call x the loop of run", runs),
		TEST("every system call x the loop with links", links),
		TEST("every system call x the loop with an API", serves),
		TEST("every system call x the loop with an API and files", serves_files),
		TEST("every system call x the start-up phase", starts),
		TEST("every thread can end, a vCPU's alone", leaving),
		TEST("only a vCPU's thread returns from a signal", returning),
		TEST("calls of other ABIs end the process on the spot", other_abis),
		TEST("a timed wait goes on after SIGSTOP and SIGCONT", waits_on),
		TEST("every row of the policy has a reason and a test", rows),
		TEST("what the start-up phase never does is trapped, and nothing beside it", never),
		TEST("system calls by name", names),
		TEST("files of filters, and such as are none", files),
	};

	return cmocka_run_group_tests_name("filters", tests, NULL, NULL);
}
