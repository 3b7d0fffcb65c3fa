// SPDX-License-Identifier: Apache-2.0
/*
 * Part of `calls`, whose main() calls these: a vCPU's state. What user space gets, sets and moves
 * to another vCPU; breakpoints as the guest meets them; and the thread's own segments and
 * breakpoints, which a guest must leave as they are.
 */
#include "calls.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <asm/ldt.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NMI 2 /* vectors */
#define UD  6

struct msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

/*
 * All of a vCPU's state to another one; KVM lists MSRs that not every CPU has. MSRs are read before
 * the APIC and set after it, for a deadline that passes in between.
 */
static void copy_state(struct machine *to, const struct machine *from)
{
	static const struct {
		unsigned long get, set;
	} calls[] = { { KVM_GET_SREGS, KVM_SET_SREGS }, { KVM_GET_REGS, KVM_SET_REGS },
		      { KVM_GET_XSAVE, KVM_SET_XSAVE }, { KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS },
		      { KVM_GET_LAPIC, KVM_SET_LAPIC }, { KVM_GET_MP_STATE, KVM_SET_MP_STATE } };
	static uint64_t state[512];
	static struct msr msrs[1024];
	struct {
		struct kvm_msr_list head;
		uint32_t index[1024];
	} list = { .head.nmsrs = 0 };
	struct kvm_xcrs xcrs;
	struct kvm_vcpu_events events;

	IS(call(from->sys, KVM_GET_MSR_INDEX_LIST, &list), -E2BIG);
	IS(call(from->sys, KVM_GET_MSR_INDEX_LIST, &list), 0);
	for (uint32_t i = 0; i < list.head.nmsrs; i++) {
		msrs[i].entry.index = list.head.indices[i];
		msrs[i].head.nmsrs = 1;
		if (call(from->cpu, KVM_GET_MSRS, &msrs[i]) != 1)
			msrs[i].head.nmsrs = 0;
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		memset(state, 0, sizeof(state));
		IS(call(from->cpu, calls[i].get, state), 0);
		IS(call(to->cpu, calls[i].set, state), 0);
	}
	IS(call(from->cpu, KVM_GET_XCRS, &xcrs), 0);
	if (xcrs.nr_xcrs)
		IS(call(to->cpu, KVM_SET_XCRS, &xcrs), 0);
	IS(call(from->cpu, KVM_GET_VCPU_EVENTS, &events), 0);
	events.flags &= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	IS(call(to->cpu, KVM_SET_VCPU_EVENTS, &events), 0);
	for (uint32_t i = 0; i < list.head.nmsrs; i++)
		call(to->cpu, KVM_SET_MSRS, &msrs[i]);
}

void restored_errors(void)
{
	struct kvm_lapic_state page;

	test("the errors that an APIC shows are shown again when its page is set");
	IS(call(m.cpu, KVM_GET_LAPIC, &page), 0);
	page.regs[0x280] = 0x20;
	IS(call(m.cpu, KVM_SET_LAPIC, &page), 0);
	page.regs[0x280] = 0;
	IS(call(m.cpu, KVM_GET_LAPIC, &page), 0);
	IS(page.regs[0x280], 0x20);
}

void snapshot(void)
{
	struct machine n;

	test("a vCPU with the state of another one goes on where that one was");
	machine_init(&n);
	memcpy(m.low + 0x1800, handler, sizeof(handler));
	vector(m.low, 0x40, 0x1800);
	/* fninit; fldpi; APIC on; IPI to itself, waiting; KERNEL_GS_BASE 34; SYSENTER_CS 56;
	 * DR0 78; out 10,al; then each of them to a port, and interrupts on */
	CODE(&m,
	     "\xdb\xe3\xd9\xeb"
	     "\x66\xb9\x0f\x08\x00\x00\x66\xb8\xff\x01\x00\x00\x66\x31\xd2\x0f\x30"
	     "\x66\xb9\x3f\x08\x00\x00\x66\xb8\x40\x00\x00\x00\x0f\x30"
	     "\x66\xb9\x02\x01\x00\xc0\x66\xb8\x34\x00\x00\x00\x0f\x30"
	     "\x66\xb9\x74\x01\x00\x00\x66\xb8\x56\x00\x00\x00\x0f\x30"
	     "\x66\xb8\x78\x00\x00\x00\x0f\x23\xc0\xe6\x10"
	     "\x66\xb9\x02\x01\x00\xc0\x0f\x32\xe6\x11"
	     "\x66\xb9\x74\x01\x00\x00\x0f\x32\xe6\x12"
	     "\x0f\x21\xc0\xe6\x13"
	     "\xdf\x1e\x00\x00\xa0\x00\x00\xe6\x14"
	     "\xfb\xf4",
	     DATA_GPA);
	machine_out(&m, 0x10);
	m.run->immediate_exit = 1; /* the write is done, and no more */
	IS(machine_run(&m), -EINTR);
	m.run->immediate_exit = 0;
	memcpy(n.low, m.low, LOW_SIZE);
	copy_state(&n, &m);
	IS(machine_out(&n, 0x11), 0x34);
	IS(machine_out(&n, 0x12), 0x56);
	IS(machine_out(&n, 0x13), 0x78);
	IS(machine_out(&n, 0x14), 3);
	IS(machine_out(&n, 0x20), 7);
	machine_fini(&n);
}

/* MSR `index` of a vCPU, got or set. */
static uint64_t msr_value(int cpu, unsigned long request, uint32_t index, uint64_t value)
{
	struct msr msr = { .head.nmsrs = 1, .entry = { .index = index, .data = value } };

	IS(call(cpu, request, &msr), 1);
	return msr.entry.data;
}

#define TSC	    0x10
#define WALL_CLOCK  0x4b564d00
#define SYSTEM_TIME 0x4b564d01
#define STOPPED	    2 /* PVCLOCK_GUEST_STOPPED, of the flags at 29 */

static void tscs_agree(int a, int b)
{
	const uint64_t before = msr_value(a, KVM_GET_MSRS, TSC, 0);
	const uint64_t between = msr_value(b, KVM_GET_MSRS, TSC, 0);
	const uint64_t after = msr_value(a, KVM_GET_MSRS, TSC, 0);

	HOLDS(before <= between && between <= after);
}

/* 700 ms from now, or later where the machine is busy: whether that was within a second. */
static bool is_restored_in_time(int cpu, uint64_t value)
{
	struct timespec begin, end;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	usleep(700000);
	msr_value(cpu, KVM_SET_MSRS, TSC, value);
	clock_gettime(CLOCK_MONOTONIC, &end);
	return (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000 < 950;
}

void restored_tscs(void)
{
	const int second = call_number(m.vm, KVM_CREATE_VCPU, 1);
	const int third = call_number(m.vm, KVM_CREATE_VCPU, 2);
	const uint64_t value = 1000000000000;
	int late;

	test("TSCs that are restored one after another agree");
	msr_value(m.cpu, KVM_SET_MSRS, TSC, value);
	usleep(20000);
	msr_value(second, KVM_SET_MSRS, TSC, value);
	HOLDS(msr_value(m.cpu, KVM_GET_MSRS, TSC, 0) >= value);
	tscs_agree(m.cpu, second);

	test("TSCs agree of which each is restored within a second of the one before");
	for (unsigned tries = 0; tries < 10; tries++) {
		msr_value(m.cpu, KVM_SET_MSRS, TSC, value);
		if (is_restored_in_time(second, value) && is_restored_in_time(third, value))
			break;
	}
	tscs_agree(m.cpu, second);
	tscs_agree(m.cpu, third);

	test("the TSC of a vCPU that comes later and is set to 0 agrees with the others");
	usleep(2000000);
	late = call_number(m.vm, KVM_CREATE_VCPU, 3);
	usleep(2000000);
	msr_value(late, KVM_SET_MSRS, TSC, 0);
	tscs_agree(m.cpu, late);
	close(late);
	close(third);
	close(second);
}

/* What a guest makes of the page of KVM's clock at DATA_GPA. */
static uint64_t clock_ns(void)
{
	uint64_t stamp, ns;
	uint32_t multiplier;
	int8_t shift;
	__extension__ unsigned __int128 ticks;

	memcpy(&stamp, m.data + 8, sizeof(stamp));
	memcpy(&ns, m.data + 16, sizeof(ns));
	memcpy(&multiplier, m.data + 24, sizeof(multiplier));
	memcpy(&shift, m.data + 28, sizeof(shift));
	ticks = msr_value(m.cpu, KVM_GET_MSRS, TSC, 0) - stamp;
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	return ns + (uint64_t)(ticks * multiplier >> 32);
}

/* KVM's own stays behind until it writes the page again. */
void clock_goes_on(void)
{
	uint64_t before, after;

	if (is_kvm())
		return;
	test("a guest that sets its TSC has the clock that it had");
	/* TSC := 1<<44; out 10,al */
	CODE(&m, "\x66\xb9\x10\x00\x00\x00\x66\x31\xc0\x66\xba\x00\x10\x00\x00\x0f\x30\xe6\x10",
	     DATA_GPA);
	msr_value(m.cpu, KVM_SET_MSRS, SYSTEM_TIME, DATA_GPA | 1);
	before = clock_ns();
	machine_out(&m, 0x10);
	HOLDS(msr_value(m.cpu, KVM_GET_MSRS, TSC, 0) >> 44 == 1);
	after = clock_ns();
	HOLDS(after >= before && after - before < 10000000000);
	msr_value(m.cpu, KVM_SET_MSRS, SYSTEM_TIME, 0);
}

/* KVM writes it on the way into the guest. */
void clock_stopped(void)
{
	test("who has a clock of KVM's is told there that it was stopped");
	IS(call(m.cpu, KVM_KVMCLOCK_CTRL, NULL), -EINVAL);
	msr_value(m.cpu, KVM_SET_MSRS, SYSTEM_TIME, DATA_GPA | 1);
	CODE(&m, "\xe6\x10\xe6\x11", DATA_GPA); /* out 10,al; out 11,al */
	machine_out(&m, 0x10);
	IS(m.data[29] & STOPPED, 0);
	IS(call(m.cpu, KVM_KVMCLOCK_CTRL, NULL), 0);
	machine_out(&m, 0x11);
	IS(m.data[29] & STOPPED, STOPPED);
	msr_value(m.cpu, KVM_SET_MSRS, SYSTEM_TIME, 0);
}

/* A restore sets all MSRs, also those that name no place. */
void clock_without_a_place(void)
{
	static const uint8_t before[16] = { 0x5a, 0xa5 };

	test("a clock that is set to 0 writes nothing there");
	memcpy(m.low, before, sizeof(before));
	msr_value(m.cpu, KVM_SET_MSRS, WALL_CLOCK, 0);
	msr_value(m.cpu, KVM_SET_MSRS, SYSTEM_TIME, 0);
	HOLDS(!memcmp(m.low, before, sizeof(before)));
	memset(m.low, 0, sizeof(before));
}

static bool is_not_affected(const char *bug)
{
	char path[96], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/vulnerabilities/%s", bug);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	return !strcmp(text, "Not affected\n");
}

void bugs(void)
{
	static const struct {
		const char *name;
		unsigned absent; /* the bit that says so */
	} known[] = { { "meltdown", 0 },
		      { "spec_store_bypass", 4 },
		      { "mds", 5 },
		      { "gather_data_sampling", 26 },
		      { "reg_file_data_sampling", 27 },
		      { "indirect_target_selection", 62 } };
	struct msr msr = { .head.nmsrs = 1, .entry.index = 0x10a };

	test("a guest need not guard itself against what the host's CPU has not");
	IS(call(m.cpu, KVM_GET_MSRS, &msr), 1);
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (is_not_affected(known[i].name))
			saw(msr.entry.data >> known[i].absent & 1,
			    "%s: IA32_ARCH_CAPABILITIES is %llx", known[i].name,
			    (unsigned long long)msr.entry.data);
}

void events(void)
{
	struct kvm_vcpu_events e;
	struct kvm_regs regs;
	struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_HALTED };
	/* Again and again: the first may come before the guest runs. */
	const struct itimerval soon = { .it_value.tv_usec = 2000, .it_interval.tv_usec = 20000 };
	const struct itimerval never = {};

	memcpy(m.low + 0x1800, handler, sizeof(handler));
	vector(m.low, NMI, 0x1800);
	vector(m.low, UD, 0x1800);
	vector(m.low, 0x40, 0x1800);

	test("an exception, an NMI and an interrupt that user space sets come to the guest");
	IS(call(m.cpu, KVM_GET_VCPU_EVENTS, &e), 0);
	e.flags &= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	/* mov al,1; out 21,al; sti; nop; out 22,al; out 23,al */
	CODE(&m, "\xb0\x01\xe6\x21\xfb\x90\xe6\x22\xe6\x23", DATA_GPA);
	e.exception.injected = 1;
	e.exception.nr = UD;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);
	IS(machine_out(&m, 0x20), 7);
	IS(machine_out(&m, 0x21), 1);
	e.exception.injected = 0;
	e.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
	e.nmi.pending = 1;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);
	IS(machine_out(&m, 0x20), 7);
	IS(machine_out(&m, 0x22), 0); /* the handler leaves AL so */
	e.nmi.pending = 0;
	e.interrupt.injected = 1;
	e.interrupt.nr = 0x40;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);
	IS(machine_out(&m, 0x20), 7);
	IS(machine_out(&m, 0x23), 0);

	test("what halts in its NMI handler does not wake for the next NMI");
	CODE(&m, "\xf4\x40\xeb\xfc", DATA_GPA); /* again: hlt; inc ax; jmp again */
	e.interrupt.injected = 0;
	e.nmi.pending = e.nmi.masked = 1;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);
	setitimer(ITIMER_REAL, &soon, NULL);
	IS(machine_run(&m), -EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	HOLDS(regs.rax <= 1); /* newer KVMs look once */
	e.nmi.pending = e.nmi.masked = 0;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);

	test("the halted state is set, and taken back");
	CODE(&m, "\xe6\x10", DATA_GPA);
	IS(call(m.cpu, KVM_SET_MP_STATE, &state), 0);
	setitimer(ITIMER_REAL, &soon, NULL);
	IS(machine_run(&m), -EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
	state.mp_state = KVM_MP_STATE_RUNNABLE;
	IS(call(m.cpu, KVM_SET_MP_STATE, &state), 0);
	machine_out(&m, 0x10);
}

/* Vector 1: DR6 to port 31, breakpoints off, DR6 clear; iret. */
static const char on_debug[] = "\x0f\x21\xf0\xe6\x31\x66\x31\xc0\x0f\x23\xf8\x0f\x23\xf0\xcf";

/* mov eax,ADDRESS; mov dr0,eax; mov eax,DR7; mov dr7,eax; mov [10],al; out 30,al */
static void watch(uint32_t address, uint32_t dr7)
{
	char code[] = "\x66\xb8....\x0f\x23\xc0\x66\xb8....\x0f\x23\xf8\xa2\x10\x00\xe6\x30";

	memcpy(code + 2, &address, 4);
	memcpy(code + 11, &dr7, 4);
	CODE(&m, code, DATA_GPA);
}

void debug(void)
{
	memcpy(m.low + 0x1900, on_debug, sizeof(on_debug));
	m.low[4] = 0x00;
	m.low[5] = 0x19;

	test("a breakpoint on an instruction is #DB before it");
	watch(CODE_GPA + 18, 2);
	m.data[0x10] = 0;
	IS(machine_out(&m, 0x31) & 0xf, 1);
	IS(m.data[0x10], 0);
	IS(machine_out(&m, 0x30), 0);

	test("a breakpoint on a write is #DB after it");
	watch(DATA_GPA + 0x10, 2 | 1 << 16);
	m.data[0x10] = 0;
	IS(machine_out(&m, 0x31) & 0xf, 1);
	IS(m.data[0x10], 2);
	IS(machine_out(&m, 0x30), 0);

	/* In that shadow a single step is due, and the CPU wants to be told so when it enters. */
	test("INT1 after MOV SS, in single steps, is #DB too, and the guest goes on");
	/* mov bp,sp; and byte [bp+5],fe, TF of the flags on the stack; out 31,al; iret */
	memcpy(m.low + 0x1a00, "\x89\xe5\x80\x66\x05\xfe\xe6\x31\xcf", 9);
	vector(m.low, 1, 0x1a00);
	/* pushf; pop ax; or ah,1; push ax; popf; mov ss,bx; int1; mov al,66; out 30,al */
	CODE(&m, "\x9c\x58\x80\xcc\x01\x50\x9d\x8e\xd3\xf1\xb0\x66\xe6\x30", DATA_GPA);
	HOLDS(machine_out(&m, 0x31) >= 0);
	for (int i = 0; i < 3 && machine_exits(&m, KVM_EXIT_IO) && m.run->io.port == 0x31; i++)
		;
	HOLDS(m.run->io.port == 0x30 && *io_data() == 0x66);
	vector(m.low, 1, 0x1900);

	test("INT1 is #DB after it");
	CODE(&m, "\xf1\xb0\x66\xe6\x30", DATA_GPA);
	IS(machine_out(&m, 0x31) & 0xf, 0);
	IS(machine_out(&m, 0x30), 0x66);
}

static volatile int watched;

/* Runs to the write of `watched`, which is one of the debugger's breakpoints and no single step. */
static void breaks(pid_t child)
{
	int status;

	ptrace(PTRACE_CONT, child, 0, 0);
	waitpid(child, &status, 0);
	HOLDS(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	IS(ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg[6]), 0) & 0x400f, 1);
}

/* A child whose guest has breakpoints of its own, and DR6.BS. */
void host_breakpoint(void)
{
	struct kvm_debugregs d = { .db = { 1 }, .dr6 = 0xffff4ff0, .dr7 = 0x402 };
	cpu_set_t cpu = {};
	int status;
	pid_t child;

	test("a debugger's breakpoint in a vCPU's thread is its own, set before the guest or after");
	child = fork();
	if (child == 0) {
		CPU_SET(0, &cpu);
		sched_setaffinity(0, sizeof(cpu), &cpu);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		machine_init(&m);
		CODE(&m, "\xe6\x10\xe6\x10", DATA_GPA);
		call(m.cpu, KVM_SET_DEBUGREGS, &d);
		machine_run(&m);
		raise(SIGSTOP);
		watched = 1;
		machine_run(&m);
		watched = 2;
		_exit(0);
	}
	waitpid(child, &status, 0);
	HOLDS(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	IS(ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[0]), &watched), 0);
	/* a write of four bytes */
	IS(ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[7]), 0xd0001), 0);
	breaks(child);
	breaks(child);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

void steps(void)
{
	const struct itimerval later = { .it_value.tv_sec = 2 }, never = { .it_value.tv_sec = 0 };
	const struct sigaction action = { .sa_handler = on_alarm };
	struct kvm_sregs sregs, wrong;
	struct kvm_regs regs;

	/* mov bp,sp; and byte [bp+5],fe, TF of the flags on the stack; out 31,al; iret */
	memcpy(m.low + 0x1a00, "\x89\xe5\x80\x66\x05\xfe\xe6\x31\xcf", 9);
	vector(m.low, 1, 0x1a00);

	test("a single step that is due comes before an interrupt that the same instruction has raised");
	memcpy(m.low + 0x1800, handler, sizeof(handler));
	vector(m.low, 0x40, 0x1800);
	/*
	 * Software-enable the APIC; its self IPI register (83f) and vector 40 for WRMSR; pushf; pop
	 * bx; or bh,3, TF and IF; push bx; popf; wrmsr; nop; out 30,al
	 */
	CODE(&m,
	     "\x66\xb9\x0f\x08\x00\x00\x66\xb8\xff\x01\x00\x00\x66\x31\xd2\x0f\x30"
	     "\x66\xb9\x3f\x08\x00\x00\x66\xb8\x40\x00\x00\x00"
	     "\x9c\x5b\x80\xcf\x03\x53\x9d\x0f\x30\x90\xe6\x30",
	     DATA_GPA);
	HOLDS(machine_out(&m, 0x31) >= 0);
	IS(machine_out(&m, 0x20), 7);
	HOLDS(machine_out(&m, 0x30) >= 0);

	test("an interrupt that an entry which failed was to deliver is delivered by the next");
	/* Software-enable the APIC; its self IPI register: 40; out 32,al; nop; out 30,al */
	CODE(&m,
	     "\x66\xb9\x0f\x08\x00\x00\x66\xb8\xff\x01\x00\x00\x66\x31\xd2\x0f\x30"
	     "\x66\xb9\x3f\x08\x00\x00\x66\xb8\x40\x00\x00\x00\x0f\x30"
	     "\xe6\x32\x90\xe6\x30",
	     DATA_GPA);
	HOLDS(machine_out(&m, 0x32) >= 0);
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	regs.rflags |= 0x200;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	IS(call(m.cpu, KVM_GET_SREGS, &sregs), 0);
	wrong = sregs;
	wrong.cs.type = 0; /* data to read: no code */
	IS(call(m.cpu, KVM_SET_SREGS, &wrong), 0);
	IS(machine_run(&m), 0);
	IS(m.run->exit_reason, KVM_EXIT_FAIL_ENTRY);
	IS(call(m.cpu, KVM_SET_SREGS, &sregs), 0);
	IS(machine_out(&m, 0x20), 7);
	HOLDS(machine_out(&m, 0x30) >= 0);

	test("a single step ends HLT");
	/* pushf; pop ax; or ah,1; push ax; popf; hlt; out 30,al */
	CODE(&m, "\x9c\x58\x80\xcc\x01\x50\x9d\xf4\xe6\x30", DATA_GPA);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &later, NULL);
	HOLDS(machine_out(&m, 0x31) >= 0);
	HOLDS(machine_out(&m, 0x30) >= 0);
	setitimer(ITIMER_REAL, &never, NULL);
}

static bool is_segment(uint16_t selector)
{
	bool is;

	__asm__("lar %w1, %k1" : "=@ccz"(is), "+r"(selector));
	return is;
}

/* An exit leaves all these empty. */
void segments(void)
{
	struct user_desc data = { .limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1 };
	uint16_t ds, es, gs;

	test("a thread has its segments and its LDT again when the guest has run");
	IS(syscall(SYS_modify_ldt, 1, &data, sizeof(data)), 0);
	HOLDS(is_segment(7));
	CODE(&m, "\xe6\x10", DATA_GPA);
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %1, %%gs" : : "r"(0x2b), "r"(7));
	machine_out(&m, 0x10);
	__asm__ volatile("mov %%ds, %0; mov %%es, %1; mov %%gs, %2" : "=r"(ds), "=r"(es), "=r"(gs));
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%gs" : : "r"(0));
	IS(ds, 0x2b);
	IS(es, 0x2b);
	IS(gs, 7);
	HOLDS(is_segment(7));
}

void states(void)
{
	struct msr msr = { .head.nmsrs = 1, .entry.index = 0x840 };
	struct kvm_regs regs, again;

	test("an x2APIC has no MSRs beyond its last register's");
	IS(call(m.cpu, KVM_GET_MSRS, &msr), 0);
	IS(call(m.cpu, KVM_SET_MSRS, &msr), 0);

	test("immediate_exit comes back before the guest runs");
	CODE(&m, "\xe6\x10", DATA_GPA);
	m.run->immediate_exit = 1;
	IS(machine_run(&m), -EINTR);
	m.run->immediate_exit = 0;
	IS(machine_out(&m, 0x10), 0);

	test("registers are read back as they were set");
	memset(&regs, 0, sizeof(regs));
	for (size_t i = 0; i < sizeof(regs) / 8; i++)
		((uint64_t *)&regs)[i] = 0x1111111111111111u * (i + 1);
	regs.rflags = 0x246;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	IS(call(m.cpu, KVM_GET_REGS, &again), 0);
	HOLDS(!memcmp(&regs, &again, sizeof(regs)));
}
