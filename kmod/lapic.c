// SPDX-License-Identifier: GPL-2.0-only
/*
 * The local APIC, as an x2APIC: its registers are MSRs (SDM, Extended XAPIC), so there is nothing
 * to decode. All interrupts are edges: an EOI never leaves the module. The IRR is written by
 * anyone, atomically; all the rest belongs to the vCPU's own thread but for the timer's callback,
 * which only runs while nobody changes the timer. A vCPU in xAPIC mode keeps its interrupts but has
 * no registers: user space switches to x2APIC before the guest runs.
 */
#include "mayfly.h"

#include <asm/apicdef.h>
#include <asm/div64.h>
#include <asm/msr-index.h>
#include <asm/tsc.h>

/* Registers by number: the MSR less 0x800, the xAPIC's offset by 16. */
#define REG_ID	     0x02
#define REG_VERSION  0x03
#define REG_PPR	     0x0a
#define REG_EOI	     0x0b
#define REG_LDR	     0x0d
#define REG_SVR	     0x0f
#define REG_ISR	     0x10
#define REG_TMR	     0x18
#define REG_IRR	     0x20
#define REG_ESR	     0x28
#define REG_CMCI     0x2f
#define REG_ICR	     0x30
#define REG_TIMER    0x32
#define REG_ERROR    0x37
#define REG_INITIAL  0x38
#define REG_CURRENT  0x39
#define REG_DIVIDE   0x3e
#define REG_SELF_IPI 0x3f

#define REGISTERS 0x40

#define VERSION		0x50014u /* version 0x14, six entries of the vector table */
#define SVR_ENABLED	(1u << 8)
#define LVT_PENDING	(1u << 12)
#define LVT_MASKED	(1u << 16)
#define LVT_PERIODIC	(1u << 17)
#define LVT_DEADLINE	(1u << 18)
#define ICR_LOGICAL	(1u << 11)
#define ICR_ASSERT	(1u << 14)
#define ICR_LEVEL	(1u << 15)
#define ESR_SEND_VECTOR (1u << 5)
#define BROADCAST	0xffffffffu
#define PERIOD_MIN	200000 /* ns: a guest does not keep a host CPU busy with its timer */

enum delivery { FIXED, LOWEST, SMI, RESERVED, NMI, INIT, STARTUP, EXTINT };

static int highest(const unsigned long *bits)
{
	const unsigned long n = find_last_bit(bits, 256);

	return n < 256 ? (int)n : -1;
}

static u32 ldr(const struct vcpu *v)
{
	return (v->id >> 4) << 16 | 1u << (v->id & 15);
}

/* Processor priority (SDM, Task and Processor Priorities). */
static u32 ppr(const struct vcpu *v)
{
	const int isr = highest(v->lapic.isr);
	const u32 in_service = isr > 0 ? isr & 0xf0 : 0;

	return (v->lapic.reg[REG_TPR] & 0xf0) >= in_service ? v->lapic.reg[REG_TPR] : in_service;
}

int lapic_pending(struct vcpu *v)
{
	const int vector = highest(v->lapic.irr);

	return vector >= 0 && (vector & 0xf0) > (int)(ppr(v) & 0xf0) ? vector : -1;
}

void lapic_accept(struct vcpu *v, int vector)
{
	clear_bit(vector, v->lapic.irr);
	__set_bit(vector, v->lapic.isr);
}

/* Its delivery was cut short by something that goes first. */
void lapic_unaccept(struct vcpu *v, int vector)
{
	__clear_bit(vector, v->lapic.isr);
	set_bit(vector, v->lapic.irr);
}

static void eoi(struct vcpu *v)
{
	const int vector = highest(v->lapic.isr);

	if (vector >= 0)
		__clear_bit(vector, v->lapic.isr);
}

/* One interrupt to one vCPU, from anywhere. */
static void deliver(struct vcpu *v, enum delivery mode, u8 vector)
{
	switch (mode) {
	case FIXED:
	case LOWEST:
		if (vector < 16 || !(READ_ONCE(v->lapic.reg[REG_SVR]) & SVR_ENABLED))
			return;
		set_bit(vector, v->lapic.irr);
		break;
	case NMI:
		set_bit(EVENT_NMI, &v->events);
		break;
	case INIT:
		clear_bit(EVENT_SIPI, &v->events);
		set_bit(EVENT_INIT, &v->events);
		break;
	case STARTUP:
		WRITE_ONCE(v->sipi_vector, vector);
		set_bit(EVENT_SIPI, &v->events);
		break;
	default:
		return; /* SMI, ExtINT: there is nothing that would take them */
	}
	vcpu_kick(v);
}

static bool is_meant(const struct vcpu *v, u32 dest, bool is_logical)
{
	if (dest == BROADCAST)
		return true;
	if (!is_logical)
		return v->id == dest;
	return v->id >> 4 == dest >> 16 && ldr(v) & dest & 0xffff;
}

/* By turns, so that no vCPU gets them all. */
static void deliver_lowest(struct vm *vm, u32 dest, bool is_logical, u8 vector)
{
	const unsigned turn = atomic_inc_return(&vm->lowest_turn);
	unsigned i;

	for (i = 0; i < VCPUS_MAX; i++) {
		/* vcpu_create() */
		struct vcpu *v = smp_load_acquire(&vm->vcpus[(turn + i) % VCPUS_MAX]);

		if (v && is_meant(v, dest, is_logical) &&
		    READ_ONCE(v->lapic.reg[REG_SVR]) & SVR_ENABLED) {
			deliver(v, FIXED, vector);
			return;
		}
	}
}

static void deliver_all(struct vm *vm, const struct vcpu *but, u32 dest, bool is_logical,
			enum delivery mode, u8 vector)
{
	unsigned i;

	for (i = 0; i < VCPUS_MAX; i++) {
		struct vcpu *v = smp_load_acquire(&vm->vcpus[i]); /* vcpu_create() */

		if (v && v != but && is_meant(v, dest, is_logical))
			deliver(v, mode, vector);
	}
}

/* SDM, Message Signalled Interrupts. Interrupts off. */
void lapic_deliver_msi(struct vm *vm, u32 address, u32 data)
{
	const u32 id = address >> 12 & 0xff, dest = id == 0xff ? BROADCAST : id;
	const bool is_logical = address >> 2 & 1;
	const enum delivery mode = data >> 8 & 7;

	if (mode == LOWEST)
		deliver_lowest(vm, dest, is_logical, data & 0xff);
	else if (mode != INIT && mode != STARTUP)
		deliver_all(vm, NULL, dest, is_logical, mode, data & 0xff);
}

static void send(struct vcpu *v, u32 low, u32 dest)
{
	const enum delivery mode = low >> 8 & 7;
	const u8 vector = low & 0xff;
	const unsigned shorthand = low >> 18 & 3;
	const bool is_logical = low & ICR_LOGICAL;

	if (mode == INIT && (low & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
		return; /* the end of an INIT: of no effect since the Pentium 4 */
	if ((mode == FIXED || mode == LOWEST) && vector < 16)
		v->lapic.reg[REG_ESR] |= ESR_SEND_VECTOR;
	else if (shorthand == 1)
		deliver(v, mode, vector);
	else if (shorthand)
		deliver_all(v->vm, shorthand == 3 ? v : NULL, BROADCAST, false, mode, vector);
	else if (mode == LOWEST)
		deliver_lowest(v->vm, dest, is_logical, vector);
	else
		deliver_all(v->vm, NULL, dest, is_logical, mode, vector);
}

static u64 guest_tsc(const struct vcpu *v)
{
	return rdtsc_ordered() + v->tsc_offset;
}

/* Nanoseconds until the guest's TSC has this value; never too few of them. */
static u64 ns_until(const struct vcpu *v, u64 deadline)
{
	const u64 now = guest_tsc(v), ticks = deadline - now;

	if ((s64)ticks <= 0)
		return 0;
	/* At most a day, after which the timer looks again: no overflow. */
	return mul_u64_u64_div_u64(min(ticks, tsc_khz * 86400000ull), 1000000, tsc_khz) + 1;
}

static void fire(struct vcpu *v)
{
	const u32 lvt = READ_ONCE(v->lapic.reg[REG_TIMER]);

	if (!(lvt & LVT_MASKED))
		deliver(v, FIXED, lvt & 0xff);
}

static bool is_deadline(const struct lapic *l)
{
	return (l->reg[REG_TIMER] & (LVT_DEADLINE | LVT_PERIODIC)) == LVT_DEADLINE;
}

/* In an interrupt. Whoever changes the timer has cancelled it before. */
static enum hrtimer_restart on_timer(struct hrtimer *timer)
{
	struct vcpu *v = container_of(timer, struct vcpu, lapic.timer);
	struct lapic *l = &v->lapic;
	u64 left;

	if (is_deadline(l)) {
		/* The clock's pace is corrected, the TSC's is not: never before its time. */
		left = ns_until(v, l->deadline);
		if (left) {
			hrtimer_forward_now(timer, ns_to_ktime(left));
			return HRTIMER_RESTART;
		}
		WRITE_ONCE(l->deadline, 0);
	}
	fire(v);
	if (!l->period)
		return HRTIMER_NORESTART;
	l->ends = ktime_add(l->ends, l->period);
	hrtimer_forward_now(timer, l->period);
	return HRTIMER_RESTART;
}

static void stop_timer(struct lapic *l)
{
	hrtimer_cancel(&l->timer);
	l->deadline = 0;
	l->period = l->ends = 0;
}

static void set_deadline(struct vcpu *v, u64 deadline)
{
	struct lapic *l = &v->lapic;
	u64 ns;

	if (!is_deadline(l))
		return; /* SDM: ignored in the other modes */
	stop_timer(l);
	if (!deadline)
		return;
	ns = ns_until(v, deadline);
	if (!ns) {
		fire(v);
		return;
	}
	l->deadline = deadline;
	hrtimer_start(&l->timer, ktime_add_ns(ktime_get(), ns), HRTIMER_MODE_ABS);
}

/* The bus clock has 1 GHz, so that a count is a nanosecond, divided as DIVIDE says. */
static unsigned divisor_shift(const struct lapic *l)
{
	return (((l->reg[REG_DIVIDE] & 3) | (l->reg[REG_DIVIDE] >> 1 & 4)) + 1) & 7;
}

static void start_count(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	const u64 ns = (u64)l->reg[REG_INITIAL] << divisor_shift(l);

	if (is_deadline(l))
		return;
	stop_timer(l);
	if (!ns)
		return;
	if (l->reg[REG_TIMER] & LVT_PERIODIC)
		l->period = ns_to_ktime(max_t(u64, ns, PERIOD_MIN));
	l->ends = ktime_add_ns(ktime_get(), ns);
	hrtimer_start(&l->timer, l->ends, HRTIMER_MODE_ABS);
}

static u32 current_count(const struct lapic *l)
{
	const s64 left = ktime_to_ns(ktime_sub(READ_ONCE(l->ends), ktime_get()));

	return l->reg[REG_INITIAL] && l->ends && left > 0 ? (u32)(left >> divisor_shift(l)) : 0;
}

static void write_lvt(struct vcpu *v, unsigned reg, u32 value)
{
	const u32 old = v->lapic.reg[reg], modes = LVT_DEADLINE | LVT_PERIODIC;

	if (!(v->lapic.reg[REG_SVR] & SVR_ENABLED))
		value |= LVT_MASKED;
	/* Leaving or entering the deadline mode disarms the timer (SDM, TSC-Deadline Mode). */
	if (reg == REG_TIMER && (old ^ value) & LVT_DEADLINE)
		stop_timer(&v->lapic);
	WRITE_ONCE(v->lapic.reg[reg], value);
	if (reg == REG_TIMER && (old ^ value) & modes)
		start_count(v);
}

static void write_svr(struct lapic *l, u32 value)
{
	unsigned reg;

	WRITE_ONCE(l->reg[REG_SVR], value);
	for (reg = REG_CMCI; reg <= REG_ERROR && !(value & SVR_ENABLED); reg++)
		if (reg != REG_ICR && reg != REG_ICR + 1)
			WRITE_ONCE(l->reg[reg], l->reg[reg] | LVT_MASKED);
}

static u32 read_bits(const unsigned long *bits, unsigned word)
{
	return READ_ONCE(bits[word / 2]) >> (word % 2 ? 32 : 0);
}

/* What a register holds, and what can be written to it; in neither: no such register (#GP). */
static const struct {
	bool is_readable, is_writable;
	u32 valid; /* bits that a write may set */
} registers[REGISTERS] = {
	[REG_ID] = { true },
	[REG_VERSION] = { true },
	[REG_TPR] = { true, true, 0xff },
	[REG_PPR] = { true },
	[REG_EOI] = { false, true, 0 },
	[REG_LDR] = { true },
	[REG_SVR] = { true, true, 0x1ff },
	[REG_ISR... REG_IRR + 7] = { true },
	[REG_ESR] = { true, true, 0 },
	[REG_CMCI] = { true, true, 0x117ff },
	[REG_ICR] = { true, true, 0xccfff },
	[REG_TIMER] = { true, true, 0x710ff },
	[REG_TIMER + 1 ... REG_TIMER + 2] = { true, true, 0x117ff }, /* thermal, counters */
	[REG_TIMER + 3 ... REG_ERROR - 1] = { true, true, 0x1b7ff }, /* LINT0, LINT1 */
	[REG_ERROR] = { true, true, 0x110ff },
	[REG_INITIAL] = { true, true, 0xffffffff },
	[REG_CURRENT] = { true },
	[REG_DIVIDE] = { true, true, 0xb },
	[REG_SELF_IPI] = { false, true, 0xff },
};

static u64 read_register(const struct vcpu *v, unsigned reg)
{
	const struct lapic *l = &v->lapic;

	switch (reg) {
	case REG_ID:
		return v->id;
	case REG_VERSION:
		return VERSION;
	case REG_PPR:
		return ppr(v);
	case REG_LDR:
		return ldr(v);
	case REG_ISR ... REG_ISR + 7:
		return read_bits(l->isr, reg - REG_ISR);
	case REG_IRR ... REG_IRR + 7:
		return read_bits(l->irr, reg - REG_IRR);
	case REG_ICR:
		return (u64)l->icr_high << 32 | l->reg[REG_ICR];
	case REG_CURRENT:
		return is_deadline(l) ? 0 : current_count(l);
	default:
		return l->reg[reg];
	}
}

static void write_register(struct vcpu *v, unsigned reg, u64 value)
{
	struct lapic *l = &v->lapic;

	switch (reg) {
	case REG_EOI:
		eoi(v);
		break;
	case REG_SVR:
		write_svr(l, value);
		break;
	case REG_ICR:
		l->icr_high = value >> 32;
		l->reg[REG_ICR] = value;
		send(v, value, value >> 32);
		break;
	case REG_CMCI:
	case REG_TIMER ... REG_ERROR:
		write_lvt(v, reg, value & ~LVT_PENDING);
		break;
	case REG_INITIAL:
	case REG_DIVIDE:
		if (reg == REG_INITIAL && is_deadline(l))
			break;
		l->reg[reg] = value;
		start_count(v);
		break;
	case REG_SELF_IPI:
		deliver(v, FIXED, value);
		break;
	default:
		l->reg[reg] = value;
		break;
	}
}

static bool is_x2apic(const struct lapic *l)
{
	return l->base & X2APIC_ENABLE;
}

bool lapic_read(struct vcpu *v, u32 msr, u64 *value)
{
	const unsigned reg = msr - APIC_BASE_MSR;

	if (msr == MSR_IA32_TSC_DEADLINE) {
		*value = READ_ONCE(v->lapic.deadline);
		return true;
	}
	if (!is_x2apic(&v->lapic) || reg >= REGISTERS || !registers[reg].is_readable)
		return false;
	*value = read_register(v, reg);
	return true;
}

bool lapic_write(struct vcpu *v, u32 msr, u64 value)
{
	const unsigned reg = msr - APIC_BASE_MSR;

	if (msr == MSR_IA32_TSC_DEADLINE) {
		set_deadline(v, value);
		return true;
	}
	if (!is_x2apic(&v->lapic) || reg >= REGISTERS || !registers[reg].is_writable)
		return false;
	if ((u32)value & ~registers[reg].valid || (value >> 32 && reg != REG_ICR))
		return false;
	write_register(v, reg, value);
	return true;
}

/*
 * The guest may go from off to xAPIC, from there to x2APIC, and from either to off (SDM, x2APIC
 * State Transitions); user space from anywhere to anywhere. The page does not move.
 */
bool lapic_set_base(struct vcpu *v, u64 value, bool by_host)
{
	const u64 mode = MSR_IA32_APICBASE_ENABLE | X2APIC_ENABLE, old = v->lapic.base;
	const u64 from = old & mode, to = value & mode;

	if ((value ^ old) & ~mode || to == X2APIC_ENABLE)
		return false;
	if (!by_host && from == mode && to == MSR_IA32_APICBASE_ENABLE)
		return false;
	if (!by_host && !from && to == mode)
		return false;
	v->lapic.base = value;
	if (!to && from)
		lapic_reset(v);
	return true;
}

/* At power-on and INIT; the mode and the ID stay. */
void lapic_reset(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	unsigned i;

	stop_timer(l);
	memset(l->reg, 0, sizeof(l->reg));
	write_svr(l, 0xff);
	for (i = 0; i < BITS_TO_LONGS(256); i++)
		WRITE_ONCE(l->irr[i], 0);
	bitmap_zero(l->isr, 256);
}

void lapic_init(struct vcpu *v)
{
	hrtimer_init(&v->lapic.timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	v->lapic.timer.function = on_timer;
}

void lapic_fini(struct vcpu *v)
{
	hrtimer_cancel(&v->lapic.timer);
}
