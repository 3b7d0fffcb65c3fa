// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is no RAM, and ports. The CPU says which byte an access has hit and whether to write,
 * not how many bytes and with which register, so the instruction is read and decoded: MOV in its
 * forms, MOVZX and MOVSX, which is what drivers use; anything else is an internal error. The guest
 * can change instruction, page tables and registers between the exit and this file; the place
 * remains the one that the CPU has checked.
 */
#include "mayfly.h"

#include <asm/trap_pf.h>

#define INSN_MAX 15u

static u64 low(u64 value, unsigned bytes)
{
	return value & ~0ull >> (64 - 8 * bytes);
}

/* ---- page walk (SDM, Paging). What is wanted is said as in a page fault's error code. */

/* The code of a fetch has run: the CPU has checked its rights, and looks again by itself. */
static bool is_allowed(u64 rights, u32 want)
{
	const bool is_user = want & X86_PF_USER;

	if (want & X86_PF_INSTR)
		return true;
	if (is_user && !(rights & _PAGE_USER))
		return false;
	if (want & X86_PF_WRITE && !(rights & _PAGE_RW) &&
	    (is_user || vmcs_read(GUEST_CR0) & X86_CR0_WP))
		return false;
	/* SMAP: the kernel's own access to a user page, unless EFLAGS.AC says that it is meant. */
	if (!is_user && rights & _PAGE_USER && vmcs_read(GUEST_CR4) & X86_CR4_SMAP)
		return vmcs_read(GUEST_RFLAGS) & X86_EFLAGS_AC;
	return true;
}

static int page_fault(struct vcpu *v, u64 linear, u32 error)
{
	if (!(error & X86_PF_INSTR)) {
		v->cr2 = linear;
		raise_error(v, PF_VECTOR, error);
	}
	return EXIT;
}

/* RESUME and the address; EXIT: the guest faults; or -errno. */
static int walk(struct vcpu *v, u64 linear, u32 want, u64 *gpa)
{
	const u64 cr3 = vmcs_read(GUEST_CR3), cr4 = vmcs_read(GUEST_CR4);
	const bool is_long = state_is_long(v), is_pae = !is_long && cr4 & X86_CR4_PAE;
	const unsigned bits = is_long || is_pae ? 9 : 10, size = is_long || is_pae ? 8 : 4;
	u64 table = cr3 & (is_long ? ENTRY_ADDRESS : is_pae ? 0xffffffe0 : 0xfffff000);
	u64 rights = _PAGE_RW | _PAGE_USER, entry, inside;
	unsigned level = is_long ? 4 : is_pae ? 3 : 2;

	if (!is_long)
		linear = (u32)linear;
	if (!(vmcs_read(GUEST_CR0) & X86_CR0_PG)) {
		*gpa = linear;
		return RESUME;
	}
	for (;; level--) {
		const unsigned shift = 12 + bits * (level - 1);
		const u64 index = linear >> shift & ((1u << bits) - 1);
		int err;

		inside = (1ull << shift) - 1;
		entry = 0;
		err = guest_copy(v->vm, table + index * size, &entry, size, false);
		if (err == -EFAULT)
			return err;
		if (err || !(entry & _PAGE_PRESENT))
			return page_fault(v, linear, want);
		if (!is_pae || level < 3) /* PAE's top entries have no rights */
			rights &= entry;
		table = entry & ENTRY_ADDRESS;
		if (level == 1 || (entry & _PAGE_PSE && level < (is_long ? 4 : 3) &&
				   (size == 8 || cr4 & X86_CR4_PSE)))
			break;
	}
	if (!is_allowed(rights, want))
		return page_fault(v, linear, want | X86_PF_PROT);
	/* PSE-36: a 4 MiB page's address bits 39..32 are bits 20..13 of the entry. */
	if (level == 2 && size == 4)
		table = (entry & 0xffc00000ull) | (entry >> 13 & 0xff) << 32;
	*gpa = (table & ~inside) | (linear & inside);
	return RESUME;
}

/* The same contract, for bytes that may lie across two pages; -ENXIO: no RAM. */
static int copy_linear(struct vcpu *v, u64 linear, void *data, unsigned n, u32 want)
{
	while (n) {
		const unsigned part = min_t(unsigned, n, PAGE_SIZE - offset_in_page(linear));
		u64 gpa;
		int r = walk(v, linear, want, &gpa);

		if (r != RESUME)
			return r;
		r = guest_copy(v->vm, gpa, data, part, want & X86_PF_WRITE);
		if (r)
			return r;
		data += part;
		linear += part;
		n -= part;
	}
	return RESUME;
}

static u32 rights(bool write)
{
	return (write ? X86_PF_WRITE : 0) | (state_cpl() == 3 ? X86_PF_USER : 0);
}

/* As KVM: a program in the guest, with access to a device, does not end the whole of it. */
int exit_undecoded(struct vcpu *v)
{
	if (state_cpl() == 3)
		return raise_ud(v);
	return exit_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
}

/* What RESUME, EXIT and the errors of the above mean for the instruction. */
static int cannot(struct vcpu *v, int r)
{
	if (r == -ENXIO || r == -EOPNOTSUPP)
		return exit_undecoded(v);
	return r == EXIT ? RESUME : r;
}

/* ---- decoding (SDM volume 2, Instruction Format) */

struct insn {
	u8 bytes[INSN_MAX];
	u8 n, at;		  /* read; decoded */
	u8 rex, operand, address; /* sizes, in bytes */
	bool is_bad;
};

static u8 next(struct insn *i)
{
	if (i->at >= i->n) {
		i->is_bad = true;
		return 0;
	}
	return i->bytes[i->at++];
}

static u64 next_value(struct insn *i, unsigned n)
{
	u64 value = 0;
	unsigned k;

	for (k = 0; k < n; k++)
		value |= (u64)next(i) << 8 * k;
	return value;
}

/* Reads the instruction: as many bytes as there are before a page that is not there. */
static int fetch(struct vcpu *v, struct insn *i, u64 linear)
{
	i->n = INSN_MAX;
	if (copy_linear(v, linear, i->bytes, i->n, X86_PF_INSTR) == RESUME)
		return RESUME;
	i->n = min_t(unsigned, INSN_MAX, PAGE_SIZE - offset_in_page(linear));
	return copy_linear(v, linear, i->bytes, i->n, X86_PF_INSTR);
}

/* The opcode, after prefixes. Those of segments are of no matter, since the place is known. */
static u8 take_prefixes(struct insn *i, bool is_64)
{
	static const u8 prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67 };
	const u8 operand = i->operand == 4 ? 2 : 4, address = i->address == 4 ? 2 : 4;
	u8 byte = next(i);

	for (; memchr(prefixes, byte, sizeof(prefixes)); byte = next(i)) {
		if (byte == 0x66)
			i->operand = operand;
		if (byte == 0x67)
			i->address = address;
	}
	if (!is_64 || (byte & 0xf0) != 0x40)
		return byte;
	i->rex = byte;
	if (i->rex & 8)
		i->operand = 8;
	return next(i);
}

/* Past ModRM, SIB and displacement. The register's number. */
static u8 take_modrm(struct insn *i)
{
	const u8 modrm = next(i), mod = modrm >> 6;
	u8 base = modrm & 7;

	if (i->address == 2) {
		next_value(i, mod == 1 ? 1 : mod == 2 || base == 6 ? 2 : 0);
	} else {
		if (base == 4)
			base = next(i) & 7; /* SIB */
		next_value(i, mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0);
	}
	i->is_bad |= mod == 3; /* no memory */
	return (modrm >> 3 & 7) | (i->rex & 4) << 1;
}

/* MOV both ways with a register, an immediate, or moffs; MOVZX and MOVSX. */
static void take_opcode(struct vcpu *v, struct insn *i, u8 opcode, struct access *a)
{
	const bool is_two = opcode == 0x0f;

	if (is_two)
		opcode = next(i);
	a->size = opcode & 1 ? i->operand : 1;
	a->reg_size = a->size;
	if (is_two && (opcode & 0xf6) == 0xb6) { /* B6, B7, BE, BF */
		a->size = opcode & 1 ? 2 : 1;
		a->reg_size = i->operand;
		a->is_signed = opcode & 8;
		a->reg = take_modrm(i);
	} else if (!is_two && (opcode & 0xfc) == 0x88) { /* 88 .. 8B */
		a->write = !(opcode & 2);
		a->reg = take_modrm(i);
	} else if (!is_two && (opcode & 0xfc) == 0xa0) { /* A0 .. A3 */
		a->write = opcode & 2;
		next_value(i, i->address);
		a->reg = RAX;
	} else if (!is_two && (opcode & 0xfe) == 0xc6) { /* C6, C7: the immediate is signed */
		const unsigned n = min_t(u8, a->size, 4), unused = 64 - 8 * n;

		a->write = true;
		i->is_bad |= take_modrm(i) & 7;
		a->value = low((s64)(next_value(i, n) << unused) >> unused, a->size);
		return;
	} else {
		i->is_bad = true;
	}
	/* Without REX, byte registers 4 to 7 are AH, CH, DH and BH. */
	a->is_high = a->reg_size == 1 && !i->rex && a->reg >= 4;
	a->reg -= a->is_high ? 4 : 0;
	a->value = low(reg_read(v, a->reg) >> (a->is_high ? 8 : 0), a->size);
}

/* RESUME and the access; EXIT: run it again, it faults by itself; or -errno. */
static int decode(struct vcpu *v, struct access *a)
{
	const bool is_64 = state_is_64(v), is_32 = vmcs_read(GUEST_CS_AR_BYTES) & VMX_AR_DB_MASK;
	struct insn i = { .operand = is_64 || is_32 ? 4 : 2, .address = is_64 ? 8 : is_32 ? 4 : 2 };
	u64 linear = vmcs_read(GUEST_RIP);
	int r;

	if (!is_64)
		linear = (u32)(linear + vmcs_read(GUEST_CS_BASE));
	r = fetch(v, &i, linear);
	if (r != RESUME)
		return r;
	take_opcode(v, &i, take_prefixes(&i, is_64), a);
	a->length = i.at;
	return i.is_bad ? -EOPNOTSUPP : RESUME;
}

/* ---- memory that is no RAM */

static void put_register(struct vcpu *v, const struct access *a, u64 value)
{
	const unsigned unused = 64 - 8 * a->size, shift = a->is_high ? 8 : 0;
	const u64 mask = low(~0ull, a->reg_size) << shift;

	if (a->is_signed)
		value = (s64)(value << unused) >> unused;
	value = value << shift & mask;
	if (a->reg_size < 4) /* 32 bits clear the upper half */
		value |= reg_read(v, a->reg) & ~mask;
	reg_write(v, a->reg, value);
}

static int mmio_answered(struct vcpu *v);

/* The access page by page: kicks are signalled, RAM that follows is copied, the rest is user
 * space's. */
static int mmio_next(struct vcpu *v)
{
	struct access *a = &v->access;

	for (; a->at < a->size; a->at += a->part) {
		const u64 gpa = a->gpa[a->at ? 1 : 0];
		void *const data = (u8 *)&a->value + a->at;
		int err = -ENXIO;

		a->part = (a->at ? a->size : a->split) - a->at;
		if (a->at)
			err = guest_copy(v->vm, gpa, data, a->part, a->write);
		if (err == -EFAULT)
			return err;
		if (!err || lapic_mmio(v, gpa, a->write, data, a->part))
			continue;
		if (a->write &&
		    irq_kick(v->vm, false, gpa, a->part, low(a->value >> 8 * a->at, a->part)))
			continue;
		v->run->exit_reason = KVM_EXIT_MMIO;
		v->run->mmio.phys_addr = gpa;
		v->run->mmio.len = a->part;
		v->run->mmio.is_write = a->write;
		memset(v->run->mmio.data, 0, sizeof(v->run->mmio.data));
		memcpy(v->run->mmio.data, data, a->part);
		v->complete = mmio_answered;
		return EXIT;
	}
	if (!a->write)
		put_register(v, a, low(a->value, a->size));
	skip_bytes(v, a->length);
	return lapic_end(v);
}

static int mmio_answered(struct vcpu *v)
{
	struct access *a = &v->access;

	if (!a->write)
		memcpy((u8 *)&a->value + a->at, v->run->mmio.data, a->part);
	a->at += a->part;
	return mmio_next(v);
}

/* An EPT violation where no slot is. */
int exit_mmio(struct vcpu *v)
{
	const u64 linear = vmcs_read(GUEST_LINEAR_ADDRESS);
	struct access *a = &v->access;
	int r;

	memset(a, 0, sizeof(*a));
	a->gpa[0] = vmcs_read(GUEST_PHYSICAL_ADDRESS);
	r = decode(v, a);
	/* It was another instruction when the CPU looked. */
	if (r == RESUME && a->write != !!(v->qualification & EPT_VIOLATION_ACC_WRITE))
		r = EXIT;
	a->split = min_t(unsigned, a->size, PAGE_SIZE - offset_in_page(linear));
	if (r == RESUME && a->split < a->size)
		r = walk(v, linear + a->split, rights(a->write), &a->gpa[1]);
	return r == RESUME ? mmio_next(v) : cannot(v, r);
}

/* ---- ports */

#define IO_DATA_OFFSET PAGE_SIZE

static void *io_data(struct vcpu *v)
{
	return (void *)v->run + IO_DATA_OFFSET;
}

/* A register that moves on by `by`: 32 bits clear the upper half, 16 bits leave it (SDM). */
static void move(struct vcpu *v, unsigned reg, u64 by)
{
	const unsigned size = v->access.address_size;
	const u64 old = v->regs[reg], kept = size == 2 ? old & ~0xffffull : 0;

	v->regs[reg] = kept | low(old + by, size);
}

/* One element went through: the registers move; when none is left, so does RIP. */
static int string_advance(struct vcpu *v)
{
	const struct access *a = &v->access;

	move(v, a->write ? RSI : RDI, a->is_down ? -(u64)a->size : a->size);
	if (a->is_rep) {
		move(v, RCX, -1);
		if (low(v->regs[RCX], a->address_size))
			return RESUME;
	}
	return skip_bytes(v, a->length);
}

static int io_answered(struct vcpu *v)
{
	struct access *a = &v->access;
	int r = RESUME;

	a->value = 0;
	memcpy(&a->value, io_data(v), a->size);
	if (!a->write && a->is_string)
		r = copy_linear(v, a->linear, &a->value, a->size, rights(!a->write));
	else if (!a->write)
		put_register(v, a, a->value);
	if (r != RESUME)
		return cannot(v, r);
	return a->is_string ? string_advance(v) : skip_bytes(v, a->length);
}

/* An element of INS or OUTS, which faults before the device sees it. */
static int string_begin(struct vcpu *v, struct access *a)
{
	u64 gpa;
	int r;

	if (a->write)
		return copy_linear(v, a->linear, &a->value, a->size, rights(!a->write));
	r = walk(v, a->linear, rights(!a->write), &gpa);
	return r == RESUME ? walk(v, a->linear + a->size - 1, rights(!a->write), &gpa) : r;
}

/* SDM, Exit Qualification for I/O Instructions, and the instruction information of INS and OUTS. */
int exit_io(struct vcpu *v)
{
	const u64 q = v->qualification;
	const u16 port = q >> 16;
	struct kvm_run *run = v->run;
	struct access *a = &v->access;
	int r;

	*a = (struct access){ .size = (q & 7) + 1,
			      .reg = RAX,
			      .reg_size = (q & 7) + 1,
			      .write = !(q & 1u << 3),
			      .is_string = q & 1u << 4,
			      .is_rep = q & 1u << 5,
			      .length = vmcs_read(VM_EXIT_INSTRUCTION_LEN) };
	a->value = low(v->regs[RAX], a->size);
	if (a->is_string) {
		const u32 info = vmcs_read(VMX_INSTRUCTION_INFO);
		const bool is_stack = a->write && (info >> 15 & 7) == SEG_SS;

		a->value = 0;
		a->is_down = vmcs_read(GUEST_RFLAGS) & X86_EFLAGS_DF;
		a->address_size = 2 << min_t(u32, info >> 7 & 7, 2);
		a->linear = vmcs_read(GUEST_LINEAR_ADDRESS);
		if (a->is_rep && !low(v->regs[RCX], a->address_size))
			return skip_bytes(v, a->length);
		if (state_is_64(v) && !__is_canonical_address(a->linear, 48))
			return raise_error(v, is_stack ? SS_VECTOR : GP_VECTOR, 0);
		r = string_begin(v, a);
		if (r != RESUME)
			return cannot(v, r);
	}
	memcpy(io_data(v), &a->value, sizeof(a->value));
	if (a->write && irq_kick(v->vm, true, port, a->size, a->value))
		return io_answered(v);
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = a->write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
	run->io.size = a->size;
	run->io.port = port;
	run->io.count = 1;
	run->io.data_offset = IO_DATA_OFFSET;
	v->complete = io_answered;
	return EXIT;
}
