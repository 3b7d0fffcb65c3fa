// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is no RAM, and ports. The CPU says which page an access has hit, not what was to be
 * read or written, so the instruction is read and decoded: MOV in its forms, MOVZX and MOVSX, which
 * is what drivers use; anything else is an internal error. The guest can change instruction, page
 * tables and registers between the exit and this file: then it gets another access of its own,
 * checked like any other.
 */
#include "mayfly.h"

#include <asm/mtrr.h>

#define INSN_MAX 15u

/* ---- page walk (SDM, Paging) */

enum { WALK_WRITE = 1, WALK_USER = 2, WALK_CHECKED = 4 /* rights, by the CPU */ };

/* Page-fault error code. */
#define PF_PRESENT 1u
#define PF_WRITE   2u
#define PF_USER	   4u

#define PTE_PRESENT  1ull
#define PTE_WRITABLE 2ull
#define PTE_USER     4ull
#define PTE_LARGE    0x80ull

struct paging {
	unsigned levels, bits, entry; /* of the walk, index bits a level, bytes an entry */
	u64 root;
};

/* Levels 0: paging is off. */
static struct paging paging(struct vcpu *v)
{
	const u64 cr3 = vmcs_read(GUEST_CR3), cr4 = vmcs_read(GUEST_CR4);

	if (!(vmcs_read(GUEST_CR0) & X86_CR0_PG))
		return (struct paging){};
	if (state_is_long(v))
		return (struct paging){ 4, 9, 8, cr3 & 0x000ffffffffff000ull };
	if (cr4 & X86_CR4_PAE)
		return (struct paging){ 3, 9, 8, cr3 & 0xffffffe0ull };
	return (struct paging){ 2, 10, 4, cr3 & 0xfffff000ull };
}

static bool is_allowed(u64 rights, u32 want)
{
	const bool is_user = want & WALK_USER;

	if (want & WALK_CHECKED)
		return true;
	if (is_user && !(rights & PTE_USER))
		return false;
	if (want & WALK_WRITE && !(rights & PTE_WRITABLE))
		return !is_user && !(vmcs_read(GUEST_CR0) & X86_CR0_WP);
	/* SMAP: the kernel's own access to a user page, unless EFLAGS.AC says that it is meant. */
	if (!is_user && rights & PTE_USER && vmcs_read(GUEST_CR4) & X86_CR4_SMAP)
		return vmcs_read(GUEST_RFLAGS) & X86_EFLAGS_AC;
	return true;
}

/* RESUME and the address; EXIT and what the page fault's error code would be; or -errno. */
static int walk(struct vcpu *v, u64 linear, u32 want, u64 *gpa, u32 *error)
{
	const struct paging p = paging(v);
	u64 table = p.root, rights = PTE_WRITABLE | PTE_USER, entry = 0, inside = 0;
	unsigned level;
	int err;

	*error = (want & WALK_WRITE ? PF_WRITE : 0) | (want & WALK_USER ? PF_USER : 0);
	for (level = p.levels; level; level--) {
		const unsigned shift = 12 + p.bits * (level - 1);
		const u64 index = linear >> shift & ((1u << p.bits) - 1);

		inside = (1ull << shift) - 1;
		entry = 0;
		err = guest_read(v->vm, table + index * p.entry, &entry, p.entry);
		if (err == -EFAULT)
			return err;
		if (err || !(entry & PTE_PRESENT))
			return EXIT;
		if (p.levels != 3 || level != 3) /* PAE's top entries have no rights */
			rights &= entry;
		table = entry & 0x000ffffffffff000ull;
		if (level == 2 && p.entry == 4 && !(vmcs_read(GUEST_CR4) & X86_CR4_PSE))
			continue;
		if (entry & PTE_LARGE && level > 1 && level < 4)
			break;
	}
	if (!p.levels) {
		*gpa = linear;
		return RESUME;
	}
	if (!is_allowed(rights, want)) {
		*error |= PF_PRESENT;
		return EXIT;
	}
	/* PSE-36: a 4 MiB page's address bits 39..32 are bits 20..13 of the entry. */
	if (level == 2 && p.entry == 4)
		table = (entry & 0xffc00000ull) | (entry >> 13 & 0xff) << 32;
	*gpa = (table & ~inside) | (linear & inside);
	return RESUME;
}

/* The same contract, for bytes that may lie across two pages. */
static int copy_linear(struct vcpu *v, u64 linear, void *data, unsigned n, u32 want, u32 *error)
{
	while (n) {
		const unsigned part = min_t(unsigned, n, PAGE_SIZE - offset_in_page(linear));
		u64 gpa;
		int r = walk(v, linear, want, &gpa, error);

		if (r != RESUME)
			return r;
		r = want & WALK_WRITE ? guest_write(v->vm, gpa, data, part)
				      : guest_read(v->vm, gpa, data, part);
		if (r)
			return r;
		data += part;
		linear += part;
		n -= part;
	}
	return RESUME;
}

/* ---- decoding (SDM volume 2, Instruction Format) */

struct insn {
	u8 bytes[INSN_MAX];
	u8 n, at;	   /* read; decoded */
	bool is_64, is_16; /* code segment */
	u8 rex, operand, address_size;
	enum seg seg;
	bool has_seg, is_bad;
	u8 mod, reg, rm;
	u64 address; /* effective, without the segment */
	bool is_relative;
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

static s64 next_signed(struct insn *i, unsigned n)
{
	const unsigned unused = 64 - 8 * n;

	return n ? (s64)(next_value(i, n) << unused) >> unused : 0;
}

/* Whether it was a prefix. LOCK and REP have no meaning for MOV. */
static bool take_prefix(struct insn *i, u8 byte)
{
	static const struct {
		u8 byte, seg;
	} segments[] = { { 0x26, SEG_ES }, { 0x2e, SEG_CS }, { 0x36, SEG_SS },
			 { 0x3e, SEG_DS }, { 0x64, SEG_FS }, { 0x65, SEG_GS } };
	unsigned k;

	for (k = 0; k < ARRAY_SIZE(segments); k++) {
		if (segments[k].byte == byte) {
			i->seg = segments[k].seg;
			i->has_seg = true;
			return true;
		}
	}
	if (byte == 0x66)
		i->operand = i->is_16 ? 4 : 2;
	else if (byte == 0x67)
		i->address_size = i->is_64 ? 4 : i->is_16 ? 4 : 2;
	else
		return false;
	return true;
}

static void take_prefixes(struct insn *i)
{
	while (i->at < i->n && take_prefix(i, i->bytes[i->at]))
		i->at++;
	if (i->is_64 && i->at < i->n && (i->bytes[i->at] & 0xf0) == 0x40) {
		i->rex = next(i);
		if (i->rex & 8)
			i->operand = 8;
	}
}

static void default_seg(struct insn *i, enum seg seg)
{
	if (!i->has_seg)
		i->seg = seg;
}

/* 16-bit addressing: sums of two registers by number of the form. */
static void take_address_16(struct vcpu *v, struct insn *i)
{
	static const u8 base[] = { RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX };
	static const u8 index[] = { RSI, RDI, RSI, RDI };
	const bool is_plain = i->mod == 0 && i->rm == 6;
	u64 a = 0;

	if (!is_plain) {
		a = reg_read(v, base[i->rm]);
		if (i->rm < 4)
			a += reg_read(v, index[i->rm]);
		if (base[i->rm] == RBP)
			default_seg(i, SEG_SS);
	}
	a += next_signed(i, i->mod == 1 ? 1 : i->mod == 2 || is_plain ? 2 : 0);
	i->address = (u16)a;
}

static u64 take_sib(struct vcpu *v, struct insn *i)
{
	const u8 sib = next(i);
	const u8 base = (sib & 7) | (i->rex & 1) << 3, index = (sib >> 3 & 7) | (i->rex & 2) << 2;
	u64 a = index == 4 ? 0 : reg_read(v, index) << (sib >> 6);

	if ((base & 7) == 5 && i->mod == 0)
		return a + next_signed(i, 4);
	if (base == RSP || base == RBP)
		default_seg(i, SEG_SS);
	return a + reg_read(v, base);
}

static void take_modrm(struct vcpu *v, struct insn *i)
{
	const u8 modrm = next(i);
	u64 a;

	i->mod = modrm >> 6;
	i->reg = (modrm >> 3 & 7) | (i->rex & 4) << 1;
	i->rm = modrm & 7;
	if (i->mod == 3) {
		i->is_bad = true; /* no memory */
		return;
	}
	if (i->address_size == 2) {
		take_address_16(v, i);
		return;
	}
	if (i->rm == 4) {
		a = take_sib(v, i);
	} else if (i->rm == 5 && i->mod == 0) {
		a = next_signed(i, 4);
		i->is_relative = i->is_64;
	} else {
		a = reg_read(v, i->rm | (i->rex & 1) << 3);
		if (i->rm == RBP && !(i->rex & 1))
			default_seg(i, SEG_SS);
	}
	a += next_signed(i, i->mod == 1 ? 1 : i->mod == 2 ? 4 : 0);
	i->address = a;
}

static u64 linear_of(struct insn *i, u64 rip)
{
	u64 a = i->address + (i->is_relative ? rip + i->at : 0);

	if (i->address_size == 4)
		a = (u32)a;
	if (i->is_64)
		return a + (i->seg == SEG_FS || i->seg == SEG_GS ? state_seg_base(i->seg) : 0);
	return (u32)(a + state_seg_base(i->seg));
}

/* Reads the instruction: as many bytes as there are before a page that is not there. */
static int fetch(struct vcpu *v, struct insn *i, u64 rip)
{
	const u64 base = i->is_64 ? 0 : state_seg_base(SEG_CS), linear = base + rip;
	const unsigned first = min_t(unsigned, INSN_MAX, PAGE_SIZE - offset_in_page(linear));
	u32 error;
	int r = copy_linear(v, linear, i->bytes, first, WALK_CHECKED, &error);

	if (r != RESUME)
		return r;
	i->n = first;
	if (first < INSN_MAX && copy_linear(v, linear + first, i->bytes + first, INSN_MAX - first,
					    WALK_CHECKED, &error) == RESUME)
		i->n = INSN_MAX;
	return RESUME;
}

/*
 * The opcodes: MOV both ways with a register, an immediate, or moffs; MOVZX and MOVSX. Fills in the
 * access but for its place.
 */
static void decode_opcode(struct vcpu *v, struct insn *i, struct access *a)
{
	u8 opcode = next(i);
	const bool is_long_op = opcode == 0x0f;
	u64 value;

	if (is_long_op)
		opcode = next(i);
	a->size = opcode & 1 ? i->operand : 1;
	a->reg_size = a->size;
	if (is_long_op && (opcode & 0xf6) == 0xb6) { /* B6, B7, BE, BF */
		a->size = opcode & 1 ? 2 : 1;
		a->reg_size = i->operand;
		a->is_signed = opcode & 8;
		take_modrm(v, i);
	} else if (!is_long_op && (opcode & 0xfc) == 0x88) { /* 88 .. 8B */
		a->write = !(opcode & 2);
		take_modrm(v, i);
	} else if (!is_long_op && (opcode & 0xfc) == 0xa0) { /* A0 .. A3 */
		a->write = opcode & 2;
		i->address = next_value(i, i->address_size);
		i->reg = RAX;
	} else if (!is_long_op && (opcode & 0xfe) == 0xc6) { /* C6, C7 */
		a->write = true;
		take_modrm(v, i);
		i->is_bad |= i->reg & 7;
		value = next_signed(i, min_t(u8, a->size, 4));
		memcpy(a->data, &value, sizeof(value));
		return;
	} else {
		i->is_bad = true;
		return;
	}
	a->reg = i->reg;
	/* Without REX, byte registers 4 to 7 are AH, CH, DH and BH. */
	a->high_byte = a->reg_size == 1 && !i->rex && a->reg >= 4;
	if (a->high_byte)
		a->reg -= 4;
	value = reg_read(v, a->reg) >> (a->high_byte ? 8 : 0);
	if (a->write)
		memcpy(a->data, &value, sizeof(value));
}

/* RESUME: *linear and the access are filled in. EXIT: run it again, it faults by itself. */
static int decode(struct vcpu *v, struct access *a, u64 *linear)
{
	const u32 rights = vmcs_read(GUEST_CS_AR_BYTES);
	const u64 rip = vmcs_read(GUEST_RIP);
	const bool is_64 = state_is_long(v) && rights >> 13 & 1, is_32 = rights >> 14 & 1;
	struct insn i = { .is_64 = is_64,
			  .is_16 = !is_64 && !is_32,
			  .operand = is_64 || is_32 ? 4 : 2,
			  .address_size = is_64	  ? 8
					  : is_32 ? 4
						  : 2,
			  .seg = SEG_DS };
	int r = fetch(v, &i, rip);

	if (r != RESUME)
		return r;
	take_prefixes(&i);
	decode_opcode(v, &i, a);
	if (i.is_bad)
		return -EOPNOTSUPP;
	a->length = i.at;
	*linear = linear_of(&i, rip);
	return RESUME;
}

/* ---- memory that is no RAM */

static void write_register(struct vcpu *v, const struct access *a)
{
	const unsigned unused = 64 - 8 * a->size;
	u64 value = 0, old = reg_read(v, a->reg), mask;

	memcpy(&value, a->data, a->size);
	if (a->is_signed)
		value = (s64)(value << unused) >> unused;
	if (a->reg_size == 4) {
		value = (u32)value; /* clears the upper half */
	} else if (a->reg_size < 4) {
		mask = a->reg_size == 1 ? 0xff : 0xffff;
		mask <<= a->high_byte ? 8 : 0;
		value = (old & ~mask) | (value << (a->high_byte ? 8 : 0) & mask);
	}
	reg_write(v, a->reg, value);
}

static int mmio_answered(struct vcpu *v);

/* The access page by page: RAM is copied, kicks are signalled, the rest is user space's. */
static int mmio_next(struct vcpu *v)
{
	struct access *a = &v->access;

	while (a->at < a->size) {
		const bool is_second = a->at >= a->split;
		const u64 gpa = is_second ? a->gpa[1] : a->gpa[0];
		u64 value = 0;

		a->part = (is_second ? a->size : a->split) - a->at;
		memcpy(&value, a->data + a->at, a->part);
		if (guest_is_ram(v->vm, gpa)) {
			int err = a->write ? guest_write(v->vm, gpa, a->data + a->at, a->part)
					   : guest_read(v->vm, gpa, a->data + a->at, a->part);

			if (err == -EFAULT)
				return err;
		} else if (!a->write || !irq_kick(v->vm, false, gpa, a->part, value)) {
			v->run->exit_reason = KVM_EXIT_MMIO;
			v->run->mmio.phys_addr = gpa;
			v->run->mmio.len = a->part;
			v->run->mmio.is_write = a->write;
			memcpy(v->run->mmio.data, &value, sizeof(value));
			v->complete = mmio_answered;
			return EXIT;
		}
		a->at += a->part;
	}
	if (!a->write)
		write_register(v, a);
	return skip_bytes(v, a->length);
}

static int mmio_answered(struct vcpu *v)
{
	struct access *a = &v->access;

	if (!a->write)
		memcpy(a->data + a->at, v->run->mmio.data, a->part);
	a->at += a->part;
	return mmio_next(v);
}

/* An EPT violation where no slot is. */
int exit_mmio(struct vcpu *v)
{
	struct access *a = &v->access;
	u64 linear;
	u32 error;
	int r;

	memset(a, 0, sizeof(*a));
	r = decode(v, a, &linear);
	if (r == EXIT)
		return RESUME;
	if (r == -EOPNOTSUPP || r == -ENXIO)
		return exit_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	if (r < 0)
		return r;
	a->split = min_t(unsigned, a->size, PAGE_SIZE - offset_in_page(linear));
	/* Tables that changed since the exit make the CPU look again. */
	r = walk(v, linear, WALK_CHECKED, &a->gpa[0], &error);
	if (r == RESUME && a->split < a->size)
		r = walk(v, linear + a->split, WALK_CHECKED, &a->gpa[1], &error);
	if (r != RESUME)
		return r == EXIT ? RESUME : r;
	return mmio_next(v);
}

/* ---- ports */

#define IO_DATA_OFFSET PAGE_SIZE

static void *io_data(struct vcpu *v)
{
	return (void *)v->run + IO_DATA_OFFSET;
}

static int io_exit(struct vcpu *v, u16 port, bool write, unsigned size, u32 count)
{
	struct kvm_run *run = v->run;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
	run->io.size = size;
	run->io.port = port;
	run->io.count = count;
	run->io.data_offset = IO_DATA_OFFSET;
	return EXIT;
}

static int io_answered(struct vcpu *v)
{
	struct access *a = &v->access;

	if (!a->write) {
		memcpy(a->data, io_data(v), a->size);
		write_register(v, a);
	}
	return skip_bytes(v, a->length);
}

/* IN and OUT. */
static int io_plain(struct vcpu *v, struct access *a, u16 port)
{
	u64 value = v->regs[RAX] & (a->size == 4 ? 0xffffffff : (1u << 8 * a->size) - 1);

	a->reg = RAX;
	a->reg_size = a->size;
	if (a->write && irq_kick(v->vm, true, port, a->size, value))
		return skip_bytes(v, a->length);
	memcpy(io_data(v), &value, a->size);
	v->complete = io_answered;
	return io_exit(v, port, a->write, a->size, 1);
}

static u64 address_mask(const struct access *a)
{
	return a->address_size == 8 ? ~0ull : a->address_size == 4 ? 0xffffffff : 0xffff;
}

/* A register that moves on by `by`: 32 bits clear the upper half, 16 bits leave it (SDM). */
static void move(struct vcpu *v, unsigned reg, u64 by)
{
	const u64 mask = address_mask(&v->access), old = v->regs[reg];
	const u64 kept = v->access.address_size == 2 ? old & ~mask : 0;

	v->regs[reg] = kept | ((old + by) & mask);
}

static u64 element(const struct access *a, u32 n)
{
	const u64 step = (u64)n * a->size;

	return a->linear + (a->is_down ? -step : step);
}

/* `done` elements went through: the registers move; when none is left, so does RIP. */
static int string_advance(struct vcpu *v, u32 done)
{
	const struct access *a = &v->access;
	const u64 step = (u64)done * a->size;

	move(v, a->write ? RSI : RDI, a->is_down ? -step : step);
	if (!a->is_rep)
		return skip_bytes(v, a->length);
	move(v, RCX, -(u64)done);
	return v->regs[RCX] & address_mask(a) ? RESUME : skip_bytes(v, a->length);
}

static int string_fault(struct vcpu *v, u64 linear, u32 error)
{
	v->cr2 = linear;
	raise_error(v, PF_VECTOR, error);
	return RESUME;
}

static u32 string_rights(const struct access *a)
{
	return (a->write ? 0 : WALK_WRITE) | (state_cpl() == 3 ? WALK_USER : 0);
}

static int string_answered(struct vcpu *v)
{
	const struct access *a = &v->access;
	u32 n, error;

	for (n = 0; !a->write && n < a->count; n++) {
		u8 value[4];
		int r;

		memcpy(value, io_data(v) + n * a->size, a->size);
		r = copy_linear(v, element(a, n), value, a->size, string_rights(a), &error);
		if (r == -EFAULT)
			return r;
	}
	return string_advance(v, a->count);
}

/*
 * INS and OUTS: as many elements at once as the page of port data holds. Those that would fault are
 * left for the next turn, where the first one faults: the device has not seen it then.
 */
static int io_string(struct vcpu *v, struct access *a, u16 port)
{
	const u64 left = a->is_rep ? v->regs[RCX] & address_mask(a) : 1;
	const u32 most = min_t(u64, left, PAGE_SIZE / a->size);
	u32 n, error = 0;
	int r = RESUME;

	if (!left)
		return skip_bytes(v, a->length);
	for (n = 0; n < most; n++) {
		u64 gpa, at = element(a, n);

		if (a->write)
			r = copy_linear(v, at, io_data(v) + n * a->size, a->size, string_rights(a),
					&error);
		else
			r = walk(v, at, string_rights(a), &gpa, &error);
		if (r == RESUME && !a->write)
			r = walk(v, at + a->size - 1, string_rights(a), &gpa, &error);
		if (r != RESUME)
			break;
	}
	if (!n && r == EXIT)
		return string_fault(v, element(a, 0), error);
	if (!n)
		return r == -ENXIO ? exit_internal_error(v, KVM_INTERNAL_ERROR_EMULATION) : r;
	a->count = n;
	v->complete = string_answered;
	return io_exit(v, port, a->write, a->size, n);
}

/* SDM, Exit Qualification for I/O Instructions, and the instruction information of INS and OUTS. */
int exit_io(struct vcpu *v)
{
	const u64 q = v->qualification;
	const u16 port = q >> 16;
	struct access *a = &v->access;

	memset(a, 0, sizeof(*a));
	a->size = (q & 7) + 1;
	a->write = !(q & 1u << 3);
	a->length = vmcs_read(VM_EXIT_INSTRUCTION_LEN);
	if (!(q & 1u << 4))
		return io_plain(v, a, port);
	a->is_rep = q & 1u << 5;
	a->is_down = vmcs_read(GUEST_RFLAGS) & X86_EFLAGS_DF;
	a->address_size = 2 << min_t(u32, vmcs_read(VMX_INSTRUCTION_INFO) >> 7 & 7, 2);
	a->linear = vmcs_read(GUEST_LINEAR_ADDRESS);
	return io_string(v, a, port);
}
