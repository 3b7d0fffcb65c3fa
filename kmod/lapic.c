// SPDX-License-Identifier: GPL-2.0-only
/*
 * The local APIC: its registers are MSRs where it is an x2APIC, and a page of memory where it is an
 * xAPIC, as it is at first (SDM, Extended XAPIC). Only the EOI of a level leaves the module. IRR
 * and TMR are written by anyone, atomically; all the rest belongs to the vCPU's own thread but for
 * the timer's callback, which only runs while nobody changes the timer.
 */
#include "mayfly.h"

#include <linux/nospec.h>
#include <asm/apicdef.h>
#include <asm/div64.h>
#include <asm/msr-index.h>
#include <asm/tsc.h>

/* Linux names the registers by the xAPIC's offset; the MSR is that by 16, from 0x800 on. */
#define R(offset) ((offset) >> 4)

#define REGISTERS  0x40	    /* what is beyond is taken for 0, which is none (CVE-2017-5753) */
#define VERSION	   0x50014u /* version 0x14, six entries of the vector table */
#define BROADCAST  0xffffffffu
#define PERIOD_MIN 200000 /* ns: a guest does not keep a host CPU busy with its timer */
#define TIMER_MODE (APIC_LVT_TIMER_PERIODIC | APIC_LVT_TIMER_TSCDEADLINE)

static int highest(const unsigned long *bits)
{
	int i;

	for (i = BITS_TO_LONGS(256) - 1; i >= 0; i--)
		if (bits[i])
			return i * BITS_PER_LONG + __fls(bits[i]);
	return -1;
}

static u32 ldr(const struct vcpu *v)
{
	return (v->id >> 4) << 16 | 1u << (v->id & 15);
}

/* Processor priority (SDM, Task and Processor Priorities). */
static u32 ppr(const struct vcpu *v)
{
	const int isr = highest(v->lapic.isr);

	return max(v->lapic.reg[REG_TPR], isr > 0 ? isr & 0xf0u : 0);
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

/* A level has to be looked at again by user space's I/O APIC. */
static void eoi(struct vcpu *v)
{
	const int vector = highest(v->lapic.isr);

	if (vector < 0)
		return;
	__clear_bit(vector, v->lapic.isr);
	if (test_bit(vector, v->lapic.tmr))
		v->lapic.ended = vector;
}

int lapic_end(struct vcpu *v)
{
	const u8 vector = v->lapic.ended;

	if (!vector)
		return RESUME;
	v->lapic.ended = 0;
	v->run->exit_reason = KVM_EXIT_IOAPIC_EOI;
	v->run->eoi.vector = vector;
	return EXIT;
}

static bool is_x2apic(const struct vcpu *v)
{
	return v->lapic.base & X2APIC_ENABLE;
}

static bool is_enabled(const struct vcpu *v)
{
	return READ_ONCE(v->lapic.reg[R(APIC_SPIV)]) & APIC_SPIV_APIC_ENABLED;
}

/* One interrupt to one vCPU, from anywhere: vector and mode as in an ICR. Whether it is taken. */
static bool deliver(struct vcpu *v, u32 icr)
{
	const u8 vector = icr & APIC_VECTOR_MASK;

	switch (icr & APIC_MODE_MASK) {
	case APIC_DM_FIXED:
	case APIC_DM_LOWEST:
		if (vector < 16 || !is_enabled(v))
			return false;
		assign_bit(vector, v->lapic.tmr, icr & APIC_INT_LEVELTRIG);
		set_bit(vector, v->lapic.irr);
		break;
	case APIC_DM_NMI:
		set_bit(EVENT_NMI, &v->events);
		break;
	case APIC_DM_INIT:
		clear_bit(EVENT_SIPI, &v->events);
		set_bit(EVENT_INIT, &v->events);
		break;
	case APIC_DM_STARTUP:
		WRITE_ONCE(v->sipi_vector, vector);
		set_bit(EVENT_SIPI, &v->events);
		break;
	default:
		return false; /* SMI, ExtINT: there is nothing that would take them */
	}
	vcpu_kick(v);
	return true;
}

static bool is_meant(const struct vcpu *v, u32 dest, bool is_logical)
{
	const u32 name = READ_ONCE(v->lapic.reg[R(APIC_LDR)]) >> 24; /* an xAPIC's */

	if (dest == BROADCAST)
		return true;
	if (!is_logical)
		return v->id == dest;
	if (is_x2apic(v))
		return v->id >> 4 == dest >> 16 && ldr(v) & dest & 0xffff;
	if (v->lapic.reg[R(APIC_DFR)] >> 28 == APIC_DFR_FLAT >> 28)
		return name & dest;
	return name >> 4 == dest >> 4 && name & dest & 0xf;
}

/* To all that are meant; at lowest priority to one of them, by turns. */
static void deliver_to(struct vm *vm, const struct vcpu *but, u32 dest, bool is_logical, u32 icr)
{
	const bool is_lowest = (icr & APIC_MODE_MASK) == APIC_DM_LOWEST;
	const u32 first = is_lowest ? READ_ONCE(vm->lowest_next) : 0;
	u32 i;

	for (i = first; i < first + VCPUS_MAX; i++) {
		/* vcpu_create() */
		struct vcpu *v = smp_load_acquire(&vm->vcpus[i % VCPUS_MAX]);

		if (v && v != but && is_meant(v, dest, is_logical) && deliver(v, icr) &&
		    is_lowest) {
			WRITE_ONCE(vm->lowest_next, (i + 1) % VCPUS_MAX);
			return;
		}
	}
}

/* SDM, Message Signalled Interrupts: the data's low half is that of an ICR. Interrupts off. */
void lapic_deliver_msi(struct vm *vm, u32 address, u32 data)
{
	const u32 id = address >> 12 & 0xff, mode = data & APIC_MODE_MASK;

	if (mode != APIC_DM_INIT && mode != APIC_DM_STARTUP)
		deliver_to(vm, NULL, id == 0xff ? BROADCAST : id, address & 4, data);
}

/* What ICR says, to whom ICR2 does. */
static void send(struct vcpu *v, u32 icr)
{
	const u32 icr2 = v->lapic.reg[R(APIC_ICR2)];
	const u32 dest = is_x2apic(v) ? icr2 : icr2 >> 24 == 0xff ? BROADCAST : icr2 >> 24;
	const u32 mode = icr & APIC_MODE_MASK, shorthand = icr & APIC_DEST_ALLBUT;
	const bool is_end = (icr & (APIC_INT_LEVELTRIG | APIC_INT_ASSERT)) == APIC_INT_LEVELTRIG;

	if (mode == APIC_DM_INIT && is_end)
		return;		    /* the end of an INIT: of no effect since the Pentium 4 */
	icr &= ~APIC_INT_LEVELTRIG; /* an IPI is an edge */
	if (mode <= APIC_DM_LOWEST && (icr & APIC_VECTOR_MASK) < 16)
		v->lapic.errors |= APIC_ESR_SENDILL;
	else if (shorthand == APIC_DEST_SELF)
		deliver(v, icr);
	else if (shorthand)
		deliver_to(v->vm, shorthand == APIC_DEST_ALLBUT ? v : NULL, BROADCAST, false, icr);
	else
		deliver_to(v->vm, NULL, dest, icr & APIC_DEST_LOGICAL, icr);
}

static u64 guest_tsc(const struct vcpu *v)
{
	return host_tsc() + v->tsc_offset;
}

/* Nanoseconds until the guest's TSC has this value; never too few of them. */
static u64 ns_until(const struct vcpu *v, u64 deadline)
{
	const u64 now = guest_tsc(v);

	if (deadline <= now)
		return 0;
	/* At most a day, after which the timer looks again: no overflow. */
	return mul_u64_u64_div_u64(min(deadline - now, tsc_khz * 86400000ull), 1000000, tsc_khz) +
	       1;
}

static void fire(struct vcpu *v)
{
	const u32 lvt = READ_ONCE(v->lapic.reg[R(APIC_LVTT)]);

	if (!(lvt & APIC_LVT_MASKED))
		deliver(v, APIC_DM_FIXED | (lvt & APIC_VECTOR_MASK));
}

static bool is_deadline(const struct lapic *l)
{
	return (l->reg[R(APIC_LVTT)] & TIMER_MODE) == APIC_LVT_TIMER_TSCDEADLINE;
}

/* The bus clock has 1 GHz, so that a count is a nanosecond, divided as DIVIDE says. */
static unsigned divisor_shift(const struct lapic *l)
{
	return (((l->reg[R(APIC_TDCR)] & 3) | (l->reg[R(APIC_TDCR)] >> 1 & 4)) + 1) & 7;
}

/* In an interrupt. Whoever changes more than vector, mask or period has cancelled it before. */
static enum hrtimer_restart on_timer(struct hrtimer *timer)
{
	struct vcpu *v = container_of(timer, struct vcpu, lapic.timer);
	struct lapic *l = &v->lapic;
	u64 left, period;

	if (is_deadline(l)) {
		/* The clock's pace is corrected, the TSC's is not: never before its time. */
		left = ns_until(v, l->deadline);
		if (left) {
			hrtimer_forward_now(timer, ns_to_ktime(left));
			return HRTIMER_RESTART;
		}
	}
	fire(v);
	WRITE_ONCE(l->deadline, 0); /* after it: a snapshot has the one or the other */
	if (!(READ_ONCE(l->reg[R(APIC_LVTT)]) & APIC_LVT_TIMER_PERIODIC))
		return HRTIMER_NORESTART;
	period = (u64)READ_ONCE(l->reg[R(APIC_TMICT)]) << divisor_shift(l);
	hrtimer_forward_now(timer, ns_to_ktime(max_t(u64, period, PERIOD_MIN)));
	return HRTIMER_RESTART;
}

static void stop_timer(struct lapic *l)
{
	hrtimer_cancel(&l->timer);
	l->deadline = 0;
}

void lapic_set_deadline(struct vcpu *v, u64 deadline)
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
	hrtimer_start(&l->timer, ns_to_ktime(ns), HRTIMER_MODE_REL);
}

/* Runs for so many counts; then, where it is periodic, for the initial count again and again. */
static void start_count(struct lapic *l, u32 left)
{
	hrtimer_start(&l->timer, ns_to_ktime((u64)left << divisor_shift(l)), HRTIMER_MODE_REL);
}

/* What was left of a count that runs, or ran when it was cancelled. */
static u32 left_count(const struct lapic *l)
{
	const s64 ns = ktime_to_ns(hrtimer_get_remaining(&l->timer));

	return ns > 0 ? ns >> divisor_shift(l) : 0;
}

/* A count that runs goes on from where it is, at the new pace. */
static void write_divisor(struct lapic *l, u32 value)
{
	const bool runs = !is_deadline(l) && hrtimer_cancel(&l->timer);
	const u32 left = left_count(l);

	WRITE_ONCE(l->reg[R(APIC_TDCR)], value);
	if (runs)
		start_count(l, left);
}

static void write_lvt(struct vcpu *v, unsigned reg, u32 value)
{
	const u32 changed = v->lapic.reg[reg] ^ value;

	if (!is_enabled(v))
		value |= APIC_LVT_MASKED;
	/* Leaving or entering the deadline mode disarms the timer (SDM, TSC-Deadline Mode). */
	if (reg == R(APIC_LVTT) && changed & APIC_LVT_TIMER_TSCDEADLINE) {
		stop_timer(&v->lapic);
		v->lapic.reg[R(APIC_TMICT)] = 0;
	}
	WRITE_ONCE(v->lapic.reg[reg], value);
}

static void write_svr(struct lapic *l, u32 value)
{
	unsigned reg;

	WRITE_ONCE(l->reg[R(APIC_SPIV)], value);
	for (reg = R(APIC_LVTCMCI); reg <= R(APIC_LVTERR) && !(value & APIC_SPIV_APIC_ENABLED);
	     reg++)
		if (reg != R(APIC_ICR) && reg != R(APIC_ICR2))
			WRITE_ONCE(l->reg[reg], l->reg[reg] | APIC_LVT_MASKED);
}

/* What is done with a register: by x2APIC MSRs, else #GP, and by writes to an xAPIC's page. */
enum { RDMSR = 1, WRMSR = 2, VIA_PAGE = 4, HELD = RDMSR | WRMSR | VIA_PAGE };

static const struct {
	u32 can;
	u32 valid; /* bits that a write may set */
} registers[REGISTERS] = {
	[R(APIC_ID)] = { RDMSR },
	[R(APIC_LVR)] = { RDMSR },
	[R(APIC_TASKPRI)] = { HELD, 0xff },
	[R(APIC_PROCPRI)] = { RDMSR },
	[R(APIC_EOI)] = { WRMSR | VIA_PAGE, 0 },
	[R(APIC_LDR)] = { RDMSR | VIA_PAGE, 0xff000000 },
	[R(APIC_DFR)] = { VIA_PAGE, 0xffffffff },
	[R(APIC_SPIV)] = { HELD, 0x1ff },
	[R(APIC_ISR)... R(APIC_IRR) + 7] = { RDMSR },
	[R(APIC_ESR)] = { HELD, 0 },
	[R(APIC_LVTCMCI)] = { HELD, 0x117ff },
	[R(APIC_ICR)] = { HELD, 0xcdfff },
	[R(APIC_ICR2)] = { VIA_PAGE, 0xff000000 },
	[R(APIC_LVTT)] = { HELD, 0x710ff },
	[R(APIC_LVTTHMR)... R(APIC_LVTPC)] = { HELD, 0x117ff },
	[R(APIC_LVT0)... R(APIC_LVT1)] = { HELD, 0x1b7ff },
	[R(APIC_LVTERR)] = { HELD, 0x110ff },
	[R(APIC_TMICT)] = { HELD, 0xffffffff },
	[R(APIC_TMCCT)] = { RDMSR },
	[R(APIC_TDCR)] = { HELD, 0xb },
	[R(APIC_SELF_IPI)] = { WRMSR, 0xff },
};

static u64 read_register(const struct vcpu *v, unsigned reg)
{
	const struct lapic *l = &v->lapic;

	switch (reg) {
	case R(APIC_ID):
		return v->id;
	case R(APIC_LVR):
		return VERSION;
	case R(APIC_PROCPRI):
		return ppr(v);
	case R(APIC_LDR):
		return is_x2apic(v) ? ldr(v) : l->reg[reg];
	case R(APIC_ISR)... R(APIC_IRR) + 7:
		return READ_ONCE(l->bits[reg - R(APIC_ISR)]);
	case R(APIC_ICR):
		return (u64)l->reg[R(APIC_ICR2)] << 32 | l->reg[reg];
	case R(APIC_TMCCT): /* not 0 before its interrupt is there */
		return !is_deadline(l) && hrtimer_active(&l->timer) ? left_count(l) ?: 1 : 0;
	default:
		return l->reg[reg];
	}
}

static void write_register(struct vcpu *v, unsigned reg, u64 value)
{
	struct lapic *l = &v->lapic;

	switch (reg) {
	case R(APIC_EOI):
		eoi(v);
		break;
	case R(APIC_SPIV):
		write_svr(l, value);
		break;
	case R(APIC_ESR): /* shows what was found since the last write (SDM, Error Handling) */
		l->reg[reg] = l->errors;
		l->errors = 0;
		break;
	case R(APIC_ICR):
		value &= ~(u64)APIC_ICR_BUSY; /* it is sent at once */
		if (is_x2apic(v))
			l->reg[R(APIC_ICR2)] = value >> 32;
		l->reg[reg] = value;
		send(v, value);
		break;
	case R(APIC_LVTCMCI):
	case R(APIC_LVTT)... R(APIC_LVTERR):
		write_lvt(v, reg, value & ~(u64)APIC_SEND_PENDING);
		break;
	case R(APIC_TMICT):
		if (is_deadline(l))
			break;
		stop_timer(l);
		WRITE_ONCE(l->reg[reg], value);
		if (value)
			start_count(l, value);
		break;
	case R(APIC_TDCR):
		write_divisor(l, value);
		break;
	case R(APIC_SELF_IPI):
		deliver(v, APIC_DM_FIXED | value);
		break;
	case R(APIC_DFR):
		value |= 0x0fffffff;
		fallthrough;
	default:
		WRITE_ONCE(l->reg[reg], value);
		break;
	}
}

bool lapic_read(struct vcpu *v, u32 msr, u64 *value)
{
	const unsigned reg = array_index_nospec(msr - APIC_BASE_MSR, REGISTERS);

	if (!is_x2apic(v) || !(registers[reg].can & RDMSR))
		return false;
	*value = read_register(v, reg);
	return true;
}

bool lapic_write(struct vcpu *v, u32 msr, u64 value)
{
	const unsigned reg = array_index_nospec(msr - APIC_BASE_MSR, REGISTERS);

	if (!is_x2apic(v) || !(registers[reg].can & WRMSR) || (u32)value & ~registers[reg].valid ||
	    (value >> 32 && reg != R(APIC_ICR)))
		return false;
	write_register(v, reg, value);
	return true;
}

/* An xAPIC's page. KVM shows an x2APIC so, too, but for its ID. */
static u32 page_read(const struct vcpu *v, unsigned reg)
{
	return reg == R(APIC_ID) ? v->id << 24 : read_register(v, reg);
}

/* An access to the page, if it is the APIC's just now: what is not 32 bits has no effect. */
bool lapic_mmio(struct vcpu *v, u64 gpa, bool write, void *data, unsigned n)
{
	const unsigned reg = array_index_nospec(offset_in_page(gpa) >> 4, REGISTERS);
	const unsigned byte = gpa & 15;
	u32 value = 0;

	if ((gpa & PAGE_MASK) != LAPIC_GPA || is_x2apic(v) ||
	    !(v->lapic.base & MSR_IA32_APICBASE_ENABLE))
		return false;
	if (write && n == 4 && byte == 0 && registers[reg].can & VIA_PAGE) {
		memcpy(&value, data, 4);
		write_register(v, reg, value & registers[reg].valid);
	} else if (!write) {
		memset(data, 0, n);
		if (byte < 4)
			value = page_read(v, reg) >> 8 * byte;
		memcpy(data, &value, min(n, 4u));
	}
	return true;
}

/* Downwards, TMCCT before IRR: a count that ends meanwhile still runs, or is in IRR. */
int lapic_get(struct vcpu *v, void *arg)
{
	u32 *page = arg, reg = REGISTERS;

	while (reg--)
		page[4 * reg] = page_read(v, reg);
	return 0;
}

int lapic_set(struct vcpu *v, void *arg)
{
	const u32 *page = arg;
	struct lapic *l = &v->lapic;
	u32 i, left;

	stop_timer(l);
	for (i = 0; i < REGISTERS; i++)
		if (registers[i].can & VIA_PAGE)
			WRITE_ONCE(l->reg[i], page[4 * i] & registers[i].valid);
	l->reg[R(APIC_ICR2)] = page[4 * R(APIC_ICR2)]; /* all of it is an x2APIC's destination */
	l->reg[R(APIC_ESR)] = page[4 * R(APIC_ESR)];   /* a guest's write sets none of its bits */
	write_svr(l, l->reg[R(APIC_SPIV)]);
	for (i = 0; i < ARRAY_SIZE(l->bits); i++)
		WRITE_ONCE(l->bits[i], page[4 * (R(APIC_ISR) + i)]);
	left = page[4 * R(APIC_TMCCT)];
	if (!left && l->reg[R(APIC_LVTT)] & APIC_LVT_TIMER_PERIODIC)
		left = l->reg[R(APIC_TMICT)];
	if (left && !is_deadline(l))
		start_count(l, left);
	return 0;
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
	if (!by_host && (from == mode ? to == MSR_IA32_APICBASE_ENABLE : !from && to == mode))
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

	stop_timer(l);
	memset(l->reg, 0, sizeof(l->reg));
	l->errors = 0;
	l->reg[R(APIC_DFR)] = APIC_DFR_FLAT;
	write_svr(l, 0xff);
	memset(l->bits, 0, sizeof(l->bits));
}

void lapic_init(struct vcpu *v)
{
	hrtimer_init(&v->lapic.timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	v->lapic.timer.function = on_timer;
}
