// SPDX-License-Identifier: Apache-2.0
/*
 * Part of `calls`, whose main() calls modes(): paging and 64-bit modes, faults and interrupts as
 * the guest meets them, each on a machine of its own. Most are told by an IDT without gates, with
 * which a fault is a shutdown.
 */
#include "calls.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void again(void)
{
	machine_fini(&m);
	machine_init(&m);
}

/* 64-bit code, the first 2 MiB one to one, and no gate for any exception. */
static void long_mode(void)
{
	struct kvm_sregs s;

	memcpy(m.low + 0x2000, &(uint64_t){ 0x3007 }, 8);
	memcpy(m.low + 0x3000, &(uint64_t){ 0x4007 }, 8);
	memcpy(m.low + 0x4000, &(uint64_t){ 0x87 }, 8);
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	s.cr0 = 0x80000021;
	s.cr3 = 0x2000;
	s.cr4 = 0x20;
	s.efer = 0x500;
	s.cs.l = 1;
	s.cs.type = 11;
	s.idt.limit = 0;
	IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
}

/* Registers have upper halves there, which 32-bit instructions do not use. */
static void compatibility_mode(void)
{
	struct kvm_sregs s;
	struct kvm_regs regs;

	test("32-bit code in long mode sets CR4 and DR7 from the lower halves");
	long_mode();
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	s.cs.l = 0;
	s.cs.db = 1;
	IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
	/* mov cr4,ebx; mov dr7,ecx; out 10,al */
	CODE(&m, "\x0f\x22\xe3\x0f\x23\xf9\xe6\x10", 0);
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	regs.rbx = 0xffffffff00000060;
	regs.rcx = 0xffffffff00000400;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	machine_out(&m, 0x10);
}

/* In long mode, without gates, INS there ends the guest; KVM asks the device first. */
static void ins_faults_at(uint64_t address)
{
	struct kvm_regs regs;
	int err;

	CODE(&m, "\x6c\xe6\x10", 0); /* insb; out 10,al */
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	regs.rdi = address;
	regs.rdx = 0x11;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	do
		err = machine_run(&m);
	while (!err && m.run->exit_reason == KVM_EXIT_IO && m.run->io.port == 0x11);
	IS(err, 0);
	IS(m.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

static void smap(void)
{
	struct kvm_sregs s;

	test("SMAP keeps a kernel's INS from a user's page, also from a read-only one without CR0.WP");
	long_mode();
	memcpy(m.low + 0x4008, &(uint64_t){ 0x85 }, 8); /* from 2 MiB on: for users, to read */
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	s.cr4 |= 1 << 21;
	if (call(m.cpu, KVM_SET_SREGS, &s))
		return; /* the CPU has none */
	ins_faults_at(0x205000);
}

static void no_address(void)
{
	test("INS to what is no address is #GP");
	long_mode();
	ins_faults_at(0x1000000000005000);
}

/* With an IDT that has no gates, a fault is a shutdown. */
static void undecoded(void)
{
	struct kvm_sregs s;
	struct kvm_regs regs;

	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		test(cpl ? "what cannot be decoded is #UD for a program in the guest"
			 : "what cannot be decoded is an error of the whole guest for its kernel");
		if (cpl)
			again();
		long_mode();
		memcpy(m.low + 0x4008, &(uint64_t){ HOLE_GPA | 0x87 }, 8); /* from 2 MiB on */
		CODE(&m, "\xd9\x07\xe6\x10", 0); /* fld [rdi]; out 10,al */
		IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
		s.cs.dpl = s.ss.dpl = (uint8_t)cpl;
		s.cs.selector = s.ss.selector = (uint16_t)(8 | cpl);
		IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
		IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
		regs.rdi = 0x200000;
		IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
		HOLDS(machine_exits(&m, cpl ? KVM_EXIT_SHUTDOWN : KVM_EXIT_INTERNAL_ERROR));
	}
}

static void icr_busy(void)
{
	test("an x2APIC sends an IPI whose command says that it is being sent, and does not say so then");
	memcpy(m.low + 0x1800, handler, sizeof(handler));
	vector(m.low, 0x40, 0x1800);
	/* APIC on; to itself, with bit 12; read back, shifted by 12, to a port; interrupts on */
	CODE(&m,
	     "\x66\xb9\x0f\x08\x00\x00\x66\xb8\xff\x01\x00\x00\x66\x31\xd2\x0f\x30"
	     "\x66\xb9\x30\x08\x00\x00\x66\xb8\x40\x10\x04\x00\x0f\x30"
	     "\x0f\x32\x66\xc1\xe8\x0c\xe6\x10"
	     "\xfb\xf4",
	     DATA_GPA);
	IS(machine_out(&m, 0x10), 0x40);
	IS(machine_out(&m, 0x20), 7);
}

static void no_way_out(void)
{
	test("64-bit code cannot switch paging off: #GP, which without a gate for it is a shutdown");
	long_mode();
	/* mov rax,cr0; and eax,7fffffff; or eax,40000000; mov cr0,rax; out 10,al */
	CODE(&m, "\x0f\x20\xc0\x25\xff\xff\xff\x7f\x0d\x00\x00\x00\x40\x0f\x22\xc0\xe6\x10", 0);
	HOLDS(machine_exits(&m, KVM_EXIT_SHUTDOWN));
}

/* To a machine without long mode, whose CR0 becomes this one, with a TSS of this type. */
static void into_long_mode(uint32_t cr0, uint8_t tss)
{
	char code[] = "\xb8....\x0f\x22\xc0\xe6\x10"; /* mov eax,CR0; mov cr0,eax; out 10,al */
	struct kvm_sregs s;

	again();
	long_mode();
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	s.cr0 = 0x21;
	s.efer = 0x100;
	s.cs.l = 0;
	s.cs.db = 1;
	s.tr.type = tss;
	IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
	memcpy(code + 1, &cr0, 4);
	CODE(&m, code, 0);
}

static void small_tss(void)
{
	static const uint32_t cr0[] = { 0x80000021, 0xc0000021 }; /* the CPU's, the module's */

	test("a guest goes to long mode with a 32-bit TSS, whoever looks at it");
	for (int i = 0; i < 2; i++) {
		into_long_mode(cr0[i], 11);
		machine_out(&m, 0x10);
	}
	if (is_kvm()) /* which makes a 64-bit one of it */
		return;
	test("long mode with a 16-bit TSS is #GP, whoever looks at it");
	for (int i = 0; i < 2; i++) {
		into_long_mode(cr0[i], 3);
		HOLDS(machine_exits(&m, KVM_EXIT_SHUTDOWN));
	}
}

static void triple_fault(void)
{
	struct kvm_sregs sregs;

	test("a triple fault is KVM_EXIT_SHUTDOWN");
	CODE(&m, "\x0f\x0b", DATA_GPA);
	IS(call(m.cpu, KVM_GET_SREGS, &sregs), 0);
	sregs.idt.limit = 0;
	IS(call(m.cpu, KVM_SET_SREGS, &sregs), 0);
	HOLDS(machine_exits(&m, KVM_EXIT_SHUTDOWN));
}

/* A PAE guest without paging yet, whose first top entry has a reserved bit. */
static void bad_top_entry(void)
{
	struct kvm_sregs s;

	memcpy(m.low + 0x2000, &(uint64_t){ 0x3003 }, 8);
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	s.cr0 = 0x21;
	s.cr3 = 0x2000;
	s.cr4 = 0x20;
	s.cs.db = s.cs.g = 1;
	s.cs.limit = 0xffffffff;
	s.cs.type = 11;
	s.idt.limit = 0;
	IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
}

static void reserved_bits(void)
{
	test("a top entry of PAE paging with a reserved bit is #GP, whoever looks at it");
	bad_top_entry();
	/* mov eax,80000021; mov cr0,eax; out 10,al: the CPU does */
	CODE(&m, "\xb8\x21\x00\x00\x80\x0f\x22\xc0\xe6\x10", 0);
	HOLDS(machine_exits(&m, KVM_EXIT_SHUTDOWN));
	again();
	bad_top_entry();
	/* mov eax,c0000021: with the caches off the module does */
	CODE(&m, "\xb8\x21\x00\x00\xc0\x0f\x22\xc0\xe6\x10", 0);
	HOLDS(machine_exits(&m, KVM_EXIT_SHUTDOWN));
}

static void accessed(void)
{
	struct kvm_sregs s;

	test("segments that are set without the accessed bit have it");
	CODE(&m, "\xe6\x10", 0); /* out 10,al */
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	s.cs.type = 10;
	s.ss.type = s.ds.type = s.es.type = s.fs.type = s.gs.type = 2;
	IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	IS(s.cs.type, 11);
	IS(s.ss.type, 3);
	IS(s.gs.type, 3);
	IS(s.ldt.type, 2); /* an LDT knows no such bit */
	machine_out(&m, 0x10);
}

static unsigned shadow(void)
{
	struct kvm_vcpu_events e;

	IS(call(m.cpu, KVM_GET_VCPU_EVENTS, &e), 0);
	return e.interrupt.shadow;
}

static void shadows(void)
{
	struct kvm_vcpu_events e;

	test("the shadows of STI and MOV SS are KVM's bits, which are not the CPU's");
	CODE(&m, "\xfb\xe6\x10", DATA_GPA); /* sti; out 10,al */
	machine_out(&m, 0x10);
	IS(shadow(), KVM_X86_SHADOW_INT_STI);
	again();
	CODE(&m, "\x8e\xd0\xe6\x10\x90\xe6\x11",
	     DATA_GPA); /* mov ss,ax; out 10,al; nop; out 11,al */
	machine_out(&m, 0x10);
	IS(shadow(), KVM_X86_SHADOW_INT_MOV_SS);
	machine_out(&m, 0x11);
	IS(shadow(), 0);

	test("and MOV SS's may be set where interrupts are off");
	CODE(&m, "\x90\xe6\x10", DATA_GPA);
	IS(call(m.cpu, KVM_GET_VCPU_EVENTS, &e), 0);
	e.flags = KVM_VCPUEVENT_VALID_SHADOW;
	e.interrupt.shadow = KVM_X86_SHADOW_INT_MOV_SS;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);
	HOLDS(machine_exits(&m, KVM_EXIT_IO));
}

/* RFLAGS, and RIP so many bytes from here. */
static void set_flags(uint64_t flags, unsigned bytes)
{
	struct kvm_regs regs;

	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	regs.rip += bytes;
	regs.rflags = flags;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
}

static void set_shadow(uint8_t shadow)
{
	struct kvm_vcpu_events e = { .flags = KVM_VCPUEVENT_VALID_SHADOW,
				     .interrupt.shadow = shadow };

	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);
}

/* At a port write in MOV SS's shadow, with a single step due, which port 31 would tell. */
static void step_in_shadow(void)
{
	again();
	memcpy(m.low + 0x1a00, "\xe6\x31\xcf", 3); /* out 31,al; iret */
	vector(m.low, 1, 0x1a00);
	/* pushf; pop ax; or ah,1; push ax; popf; mov ss,bx; out 10,al; nop; out 11,al */
	CODE(&m, "\x9c\x58\x80\xcc\x01\x50\x9d\x8e\xd3\xe6\x10\x90\xe6\x11", DATA_GPA);
	machine_out(&m, 0x10);
}

/* KVM leaves it to user space that shadows and flags fit together. */
static void changed_in_shadow(void)
{
	if (is_kvm())
		return;
	test("the shadow that an exit came in is given up where RIP has been set to another place");
	CODE(&m, "\xfb\xe6\x10\x90\xe6\x11", DATA_GPA); /* sti; out 10,al; nop; out 11,al */
	machine_out(&m, 0x10);
	set_flags(2, 2);
	IS(shadow(), 0);
	machine_out(&m, 0x11);

	test("and so is a single step that was due");
	step_in_shadow();
	set_flags(2, 2);
	machine_out(&m, 0x11);

	test("STI's shadow is none where interrupts are off");
	again();
	CODE(&m, "\x90\xe6\x10", DATA_GPA); /* nop; out 10,al */
	set_shadow(KVM_X86_SHADOW_INT_STI);
	machine_out(&m, 0x10);

	test("a single step that is due in a shadow is not when TF is cleared");
	step_in_shadow();
	set_flags(2, 0);
	machine_out(&m, 0x11);
}

/* INIT and SIPI have come to a vCPU that does not run: its state shows them. */
static void started_by_sipi(void)
{
	struct kvm_mp_state state;
	struct kvm_lapic_state lapic;
	struct kvm_sregs sregs;
	const int second = call_number(m.vm, KVM_CREATE_VCPU, 1);

	test("INIT and SIPI are in a vCPU's state before it runs, and nothing of its APIC's before");
	IS(call(second, KVM_GET_LAPIC, &lapic), 0);
	lapic.regs[0x190] = 1; /* in TMR, vector 20h */
	IS(call(second, KVM_SET_LAPIC, &lapic), 0);
	/* APIC on; INIT to 1; out 10,al; SIPI with vector 12h; out 11,al */
	CODE(&m,
	     "\x66\xb9\x0f\x08\x00\x00\x66\xb8\xff\x01\x00\x00\x66\x31\xd2\x0f\x30"
	     "\x66\xb9\x30\x08\x00\x00\x66\xba\x01\x00\x00\x00\x66\xb8\x00\x45\x00\x00\x0f\x30"
	     "\xe6\x10\x66\xb8\x12\x46\x00\x00\x0f\x30\xe6\x11",
	     DATA_GPA);
	machine_out(&m, 0x10);
	IS(call(second, KVM_GET_MP_STATE, &state), 0);
	IS(state.mp_state, KVM_MP_STATE_INIT_RECEIVED);
	IS(call(second, KVM_GET_LAPIC, &lapic), 0);
	IS(lapic.regs[0x190], 0);
	machine_out(&m, 0x11);
	IS(call(second, KVM_GET_MP_STATE, &state), 0);
	IS(state.mp_state, KVM_MP_STATE_RUNNABLE);
	IS(call(second, KVM_GET_SREGS, &sregs), 0);
	IS(sregs.cs.base, 0x12000);
	close(second);
}

static void no_cpuid(void)
{
	struct kvm_cpuid2 none = { .nent = 0 };

	test("of a leaf that it was not given a guest sees zeros, also of XSAVE's");
	/* mov eax,0dh; xor ecx,ecx; cpuid; mov al,bl; out 10,al */
	CODE(&m, "\x66\xb8\x0d\x00\x00\x00\x66\x31\xc9\x0f\xa2\x88\xd8\xe6\x10", DATA_GPA);
	IS(call(m.cpu, KVM_SET_CPUID2, &none), 0);
	IS(machine_out(&m, 0x10), 0);
}

void modes(void)
{
	static void (*const tests[])(void) = {
		no_way_out,	 compatibility_mode, smap,	no_address,
		undecoded,	 icr_busy,	     small_tss, triple_fault,
		reserved_bits,	 accessed,	     shadows,	changed_in_shadow,
		started_by_sipi, no_cpuid,
	};

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		again();
		tests[i]();
	}
}
