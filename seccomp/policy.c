// SPDX-License-Identifier: Apache-2.0
/*
 * Which thread may make which system call while a guest runs, and why; and what none may from the
 * start. generate.c makes programs of it at build time; tests/unit/filters.c tries every system
 * call against them, and tests/stories/rows.sh leaves out row by row and sees mayfly end of it. A
 * row more is a way out more: none without a story that needs it.
 */
#include "policy.h"

#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/prctl.h>

#include <asm/sockios.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define VCPU  (1u << FILTER_VCPU)
#define RUN   (1u << FILTER_RUN)
#define LINKS (1u << FILTER_LINKS)
#define FILES (1u << FILTER_FILES)
#define SERVE (1u << FILTER_SERVE | FILES)
#define LOOP  (RUN | LINKS | SERVE)
#define ALL   (VCPU | LOOP)

/* A row a line: */
/* clang-format off */
/* An int: the kernel does not look at the other half of the register. */
#define INT UINT32_MAX
#define IS(i, v) { .index = (i), .mask = INT, .value = (v) }
/* In the flags no other bits than those. */
#define WITHIN(i, bits) { .index = (i), .mask = INT & ~(uint64_t)(bits), .value = 0 }
#define SEALED(i, part, place) \
	{ .index = (i), .mask = (part), .value = (uint64_t)FILTER_PLACE_HIGH << 32 | (place) }
#define ADDRESS(i) SEALED(i, FILTER_SEALED_MASK, FILTER_PLACE_ADDRESS)
#define OWN_PATH(i) SEALED(i, FILTER_OWN_MASK, FILTER_PLACE_PATH)
#define ANY { { 0 } }
#define FUTEX_CALL (INT & ~(uint64_t)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME))

/* What musl's open(2) adds is O_LARGEFILE, of another value than glibc's. */
#define OPEN_FLAGS (O_WRONLY | O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_DIRECT | 0100000)

const struct policy_row policy[] = {
	/* All threads. */
	{ ALL, SYS_write, "wakes the loop or a guest by an eventfd; the log", ANY },
	{ ALL, SYS_futex, "waits: parked vCPUs, room in the serial port's queue", { { 1, FUTEX_CALL, FUTEX_WAIT } } },
	{ ALL, SYS_futex, "the same, woken", { { 1, FUTEX_CALL, FUTEX_WAKE } } },
	{ ALL, SYS_clock_gettime, "CPU time, which the vDSO does not know", ANY },
	{ ALL, SYS_rt_sigprocmask, "the end of a thread, the terminal's restoration, the log, which holds SIGPIPE back", ANY },
	{ ALL, SYS_restart_syscall, "the kernel's own, when a timed wait goes on after SIGCONT", ANY },
	{ ALL, SYS_exit_group, "the end of the process, also out of a fatal signal's handler", ANY },
	{ ALL, SYS_poll, "whether the log's reader takes a line, a pty's has read all: without waiting", { IS(1, 1), IS(2, 0) } },
	{ ALL, SYS_prctl, "the thread's name, for the log", { IS(0, PR_GET_NAME) } },

	/* vCPUs. */
	{ VCPU, SYS_ioctl, "runs the guest", { IS(1, KVM_RUN) } },
	{ VCPU, SYS_ioctl, "the guest reprograms its I/O APIC", { IS(1, KVM_SET_GSI_ROUTING) } },
	{ VCPU, SYS_ioctl, "registers, to be shown when the guest cannot go on", { IS(1, KVM_GET_REGS) } },
	{ VCPU, SYS_ioctl, "the same, those of the system", { IS(1, KVM_GET_SREGS) } },
	{ VCPU, SYS_futex, "parked ones go on together, by a condition's broadcast", { { 1, FUTEX_CALL, FUTEX_REQUEUE } } },
	{ VCPU, SYS_rt_sigreturn, "the way back from the signal that takes it out of the guest", ANY },
	{ VCPU, SYS_exit, "the end of a vCPU's thread", ANY },

	/* The loop. */
	{ LOOP, SYS_io_uring_enter, "all input and output; ring.c says which", ANY },
	{ LOOP, SYS_io_uring_register, "a descriptor that comes or goes at run time", { IS(1, IORING_REGISTER_FILES_UPDATE) } },
	{ LOOP, SYS_tgkill, "takes a vCPU out of the guest", { IS(0, FILTER_PLACE_PID) } },
	{ LOOP, SYS_ioctl, "whether a vCPU has halted for good: its state", { IS(1, KVM_GET_MP_STATE) } },
	{ LOOP, SYS_ioctl, "the same: its interrupt flag", { IS(1, KVM_GET_REGS) } },
	{ LOOP, SYS_ioctl, "the same: an NMI on its way", { IS(1, KVM_GET_VCPU_EVENTS) } },
	{ ALL, SYS_ioctl, "the operator's terminal as it was, also after a fatal signal", { IS(1, TCSETS) } },
	{ LOOP, SYS_ioctl, "whether that is ours again, after a stop", { IS(1, TIOCGPGRP) } },
	{ LOOP, SYS_ioctl, "the offloads that a driver takes from its tap", { IS(1, TUNSETOFFLOAD) } },
	{ LOOP, SYS_ioctl, "the queues that a driver uses of its tap", { IS(1, TUNSETQUEUE) } },
	{ LOOP, SYS_close, "clients, peers and images that are gone; the end", ANY },
	{ LOOP, SYS_shutdown, "a connection's end, seen at once by the other side", ANY },
	{ LOOP, SYS_fcntl, "gives up an image's lock", { IS(1, F_OFD_SETLK) } },
	{ LOOP, SYS_fdatasync, "a layer's data, before its bitmap names it", ANY },
	{ LOOP, SYS_pwrite64, "a layer's bitmap at the end", ANY },
	{ LOOP, SYS_munmap, "gives back stacks and bitmaps at the end", ANY },
	{ LOOP, SYS_unlink, "removes our sockets' files, in a part of sealed memory that has no others", { OWN_PATH(0) } },
	{ LOOP, SYS_lstat, "before that: whether they are still ours", { OWN_PATH(0) } },
	{ LOOP, SYS_splice, "standard output into a pipe, without waiting", { IS(2, STDOUT_FILENO), IS(5, SPLICE_F_NONBLOCK) } },
	{ LOOP, SYS_epoll_ctl, "waits for what the ring has not registered", ANY },
	{ LOOP, SYS_epoll_pwait, "the same: which it is, without waiting", { IS(3, 0) } },
	{ RUN | LINKS, SYS_sendto, "standard output into a socket, without waiting or an address", { IS(0, STDOUT_FILENO), IS(3, MSG_NOSIGNAL | MSG_DONTWAIT), { 4, UINT64_MAX, 0 } } },

	/* The loop with peers or passt, which come back under their names. */
	{ LINKS, SYS_socket, "a peer that came", { IS(0, AF_UNIX), IS(1, SOCK_DGRAM | SOCK_CLOEXEC) } },
	{ LINKS, SYS_socket, "passt that came back", { IS(0, AF_UNIX), IS(1, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK) } },
	{ LINKS, SYS_connect, "the same, to addresses in sealed memory, whole ones", { ADDRESS(1), IS(2, sizeof(struct sockaddr_un)) } },
	{ LINKS, SYS_setsockopt, "a peer's send buffer", { IS(1, SOL_SOCKET), IS(2, SO_SNDBUF) } },
	{ LINKS, SYS_fcntl, "passt's socket waits inside of the ring", { IS(1, F_SETFL) } },

	/* The loop with an API. */
	{ SERVE, SYS_recvmsg, "requests, without waiting", { IS(2, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) } },
	{ SERVE, SYS_sendto, "answers, without waiting, to who is connected", { IS(3, MSG_NOSIGNAL | MSG_DONTWAIT), { 4, UINT64_MAX, 0 } } },
	{ SERVE, SYS_fcntl, "another image for a disk: a descriptor that came with the request", { IS(1, F_DUPFD_CLOEXEC) } },
	{ SERVE, SYS_fcntl, "the same: close-on-exec once more, by musl", { IS(1, F_SETFD) } },
	{ SERVE, SYS_fcntl, "the same: may wait from now on", { IS(1, F_GETFL) } },
	{ SERVE, SYS_fcntl, "the same", { IS(1, F_SETFL) } },
	{ SERVE, SYS_fcntl, "the same: whether its client's lock comes along", { IS(1, F_GETLK) } },
	{ SERVE, SYS_fstat, "the same: its kind and size", ANY },
	{ SERVE, SYS_ioctl, "the same: the size of a block device", { IS(1, BLKGETSIZE64) } },
	{ FILES, SYS_open, "the same, by its path, or a snapshot's files: all lies in the jail", { WITHIN(1, OPEN_FLAGS), WITHIN(2, 0600) } },
	{ SERVE, SYS_ioctl, "a pause: of which a guest's watchdogs are told", { IS(1, KVM_KVMCLOCK_CTRL) } },
	{ SERVE, SYS_ftruncate, "a snapshot: what its files held before", ANY },
	{ SERVE, SYS_ioctl, "the same: a paused vCPU's registers", { IS(1, KVM_GET_SREGS) } },
	{ SERVE, SYS_ioctl, "the same", { IS(1, KVM_GET_XCRS) } },
	{ SERVE, SYS_ioctl, "the same", { IS(1, KVM_GET_XSAVE) } },
	{ SERVE, SYS_ioctl, "the same", { IS(1, KVM_GET_DEBUGREGS) } },
	{ SERVE, SYS_ioctl, "the same: its local APIC", { IS(1, KVM_GET_LAPIC) } },
	{ SERVE, SYS_ioctl, "the same: its MSRs", { IS(1, KVM_GET_MSRS) } },
	{ SERVE, SYS_ioctl, "the same: KVM's clock", { IS(1, KVM_GET_CLOCK) } },
};

/*
 * The short phase in which files are parsed and opened and everything is made: it may nearly all
 * that a process may, so that a list of what it may would keep nobody from anything. This is what it
 * never does, and what a parser that is taken over would go for first.
 */
#define START (1u << FILTER_START)
#define NOT(i, v) { .index = (i) | POLICY_NOT, .mask = UINT64_MAX, .value = (v) }
#define EXECUTABLE(i) { .index = (i), .mask = PROT_EXEC, .value = PROT_EXEC }

const struct policy_row policy_never[] = {
	{ START, SYS_execve, "no program is started", ANY },
	{ START, SYS_execveat, "the same", ANY },
	{ START, SYS_fork, "nor a process: those of --new-pid-ns and --cgroup are there already", ANY },
	{ START, SYS_vfork, "the same", ANY },
	{ START, SYS_clone, "threads only", { { .index = 0, .mask = CLONE_THREAD, .value = 0 } } },
	{ START, SYS_clone3, "its flags lie in memory, where no filter sees them", ANY },
	{ START, SYS_mmap, "no new code", { EXECUTABLE(2) } },
	{ START, SYS_mprotect, "the same", { EXECUTABLE(2) } },
	{ START, SYS_pkey_mprotect, "the same", ANY },
	{ START, SYS_shmat, "the same: with SHM_EXEC", ANY },
	{ START, SYS_personality, "reading would be executing (READ_IMPLIES_EXEC)", ANY },
	{ START, SYS_prctl, "nor by /proc/self/mem, which the jail has closed to an unprivileged user", { IS(0, PR_SET_DUMPABLE), NOT(1, 0) } },
	{ START, SYS_modify_ldt, "a way into 16-bit code", ANY },
	{ START, SYS_ptrace, "other processes: their memory and registers", ANY },
	{ START, SYS_process_vm_readv, "the same", ANY },
	{ START, SYS_process_vm_writev, "the same", ANY },
	{ START, SYS_pidfd_open, "the same: their descriptors", ANY },
	{ START, SYS_pidfd_getfd, "the same", ANY },
	{ START, SYS_prlimit64, "the same: their limits, of which one kills; ours are our own", { NOT(0, 0) } },
	{ START, SYS_kill, "nobody is signalled", ANY },
	{ START, SYS_tkill, "the same", ANY },
	{ START, SYS_tgkill, "but threads of our own", { NOT(0, FILTER_PLACE_PID) } },
	{ START, SYS_rt_sigqueueinfo, "the same", ANY },
	{ START, SYS_rt_tgsigqueueinfo, "the same", ANY },
	{ START, SYS_pidfd_send_signal, "the same: a folder of /proc is as good as a pidfd", ANY },
	{ START, SYS_fcntl, "the same: a descriptor's owner, whom the kernel signals", { IS(1, F_SETOWN) } },
	{ START, SYS_fcntl, "the same", { IS(1, F_SETOWN_EX) } },
	{ START, SYS_fcntl, "the same: with which signal", { IS(1, F_SETSIG) } },
	{ START, SYS_fcntl, "the same: a terminal's, which the kernel makes its foreground", { IS(1, F_SETFL), { .index = 2, .mask = O_ASYNC, .value = O_ASYNC } } },
	{ START, SYS_ioctl, "the same", { IS(1, FIOASYNC) } },
	{ START, SYS_ioctl, "the same: a socket's owner", { IS(1, FIOSETOWN) } },
	{ START, SYS_ioctl, "the same", { IS(1, SIOCSPGRP) } },
	{ START, SYS_socket, "no network: sockets between processes of this host only", { NOT(0, AF_UNIX) } },
	{ START, SYS_io_uring_setup, "nor by another ring than ours, which is there: it would be without restrictions", ANY },
	{ START, SYS_unshare, "no mounts, which anybody may make who is in a user namespace of his own", { { .index = 0, .mask = CLONE_NEWNS, .value = CLONE_NEWNS } } },
	{ START, SYS_setns, "nor others' namespaces but the network's: not the host's mounts", { NOT(1, CLONE_NEWNET) } },
	{ START, SYS_ioctl, "types nothing into the operator's terminal", { IS(1, TIOCSTI) } },
	{ START, SYS_ioctl, "the same, a virtual console's", { IS(1, TIOCLINUX) } },
	{ START, SYS_bpf, "the kernel's own machinery, often its weakest parts", ANY },
	{ START, SYS_perf_event_open, "the same", ANY },
	{ START, SYS_userfaultfd, "the same", ANY },
	{ START, SYS_add_key, "the same", ANY },
	{ START, SYS_request_key, "the same", ANY },
	{ START, SYS_keyctl, "the same", ANY },
	{ START, SYS_fsopen, "the same: any file system at all", ANY },
	{ START, SYS_fspick, "the same", ANY },
	{ START, SYS_open_by_handle_at, "files without a path, out of any root", ANY },
	{ START, SYS_mknod, "devices: those of --chroot-base-dir are there already", ANY },
	{ START, SYS_mknodat, "the same", ANY },
	{ START, SYS_init_module, "what root may do to the host", ANY },
	{ START, SYS_finit_module, "the same", ANY },
	{ START, SYS_delete_module, "the same", ANY },
	{ START, SYS_kexec_load, "the same", ANY },
	{ START, SYS_kexec_file_load, "the same", ANY },
	{ START, SYS_reboot, "the same", ANY },
	{ START, SYS_iopl, "the same", ANY },
	{ START, SYS_ioperm, "the same", ANY },
	{ START, SYS_swapon, "the same", ANY },
	{ START, SYS_swapoff, "the same", ANY },
	{ START, SYS_acct, "the same", ANY },
	{ START, SYS_settimeofday, "the same", ANY },
	{ START, SYS_clock_settime, "the same", ANY },
	{ START, SYS_clock_adjtime, "the same", ANY },
	{ START, SYS_adjtimex, "the same", ANY },
};
/* clang-format on */
const size_t policy_rows = sizeof(policy) / sizeof(policy[0]);
const size_t policy_never_rows = sizeof(policy_never) / sizeof(policy_never[0]);
