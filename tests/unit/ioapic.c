// SPDX-License-Identifier: Apache-2.0
/*
 * The I/O APIC: its register file (Intel 82093AA, section 3), and which messages the kernel is told
 * to send. hv_set_routes() is this test's own and records.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../vmm/ioapic.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { IOREGSEL = 0x00, IOWIN = 0x10 };
enum { ID = 0x00, VER = 0x01, ARB = 0x02, REDTBL = 0x10 };

#define MASKED	  (1ull << 16)
#define LEVEL	  (1ull << 15)
#define ACTIVELOW (1ull << 13)
#define LOGICAL	  (1ull << 11)
#define MODE(m)	  ((uint64_t)(m) << 8)
#define DEST(d)	  ((uint64_t)(d) << 56)

enum { FIXED, LOWEST, SMI, RESERVED3, NMI, INIT, RESERVED6, EXTINT };

static const struct hv hv;
static struct ioapic ioapic;

/* What the kernel was last told, and how often. */
static struct {
	struct kvm_irq_routing_entry routes[IOAPIC_PINS];
	unsigned nr, calls;
	int answer;
} told;

int hv_set_routes(const struct hv *to, const struct kvm_irq_routing_entry *routes, unsigned nr)
{
	assert_ptr_equal(to, &hv);
	assert_in_range(nr, 0, IOAPIC_PINS);
	memcpy(told.routes, routes, nr * sizeof(*routes));
	told.nr = nr;
	told.calls++;
	return told.answer;
}

static int make_ioapic(void **state)
{
	(void)state;
	memset(&told, 0, sizeof(told));
	memset(&ioapic, 0xa5, sizeof(ioapic));
	ioapic_init(&ioapic, &hv, IOAPIC_PINS);
	return 0;
}

static void access32(uint64_t offset, uint32_t *value, bool write)
{
	uint8_t data[4];

	memcpy(data, value, sizeof(data));
	ioapic_access(&ioapic, offset, data, sizeof(data), write);
	memcpy(value, data, sizeof(data));
}

static void set(unsigned reg, uint32_t value)
{
	uint32_t select = reg;

	access32(IOREGSEL, &select, true);
	access32(IOWIN, &value, true);
}

static uint32_t get(unsigned reg)
{
	uint32_t select = reg, value = 0xeeeeeeee;

	access32(IOREGSEL, &select, true);
	access32(IOWIN, &value, false);
	return value;
}

/* As Linux does: the upper half first, so that the entry is whole when it is unmasked. */
static void set_pin(unsigned pin, uint64_t entry)
{
	set(REDTBL + 2 * pin + 1, (uint32_t)(entry >> 32));
	set(REDTBL + 2 * pin, (uint32_t)entry);
}

static void reset_state(void **state)
{
	(void)state;
	assert_int_equal(get(ID), 0);
	assert_int_equal(get(VER), 0x00170011); /* 24 pins, version 1.1 */
	assert_int_equal(get(ARB), 0);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		assert_int_equal(get(REDTBL + 2 * pin), MASKED);
		assert_int_equal(get(REDTBL + 2 * pin + 1), 0);
	}
	assert_int_equal(told.calls, 0);
}

static void registers(void **state)
{
	uint32_t select = 0xffffff07;

	(void)state;
	set(ID, 0xffffffff);
	assert_int_equal(get(ID), 0x0f000000);
	assert_int_equal(get(ARB), 0x0f000000);
	set(VER, 0);
	set(ARB, 0);
	assert_int_equal(get(VER), 0x00170011);
	assert_int_equal(get(ARB), 0x0f000000);
	access32(IOREGSEL, &select, true);
	select = 0;
	access32(IOREGSEL, &select, false);
	assert_int_equal(select, 0x07);
	for (unsigned reg = 3; reg < REDTBL; reg++) {
		set(reg, 0xffffffff);
		assert_int_equal(get(reg), 0);
	}
	for (unsigned reg = REDTBL + 2 * IOAPIC_PINS; reg < 256; reg++) {
		set(reg, 0xffffffff);
		assert_int_equal(get(reg), 0);
	}
	assert_int_equal(told.calls, 0);
}

/* Delivery status and remote IRR are the chip's; all else reads back, for each pin its own. */
static void entries(void **state)
{
	(void)state;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		set_pin(pin, DEST(pin) | MASKED | 0xffef | pin << 1);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		assert_int_equal(get(REDTBL + 2 * pin),
				 (MASKED | 0xffef | pin << 1) & ~(1u << 12 | 1u << 14));
		assert_int_equal(get(REDTBL + 2 * pin + 1), pin << 24);
	}
	assert_int_equal(told.calls, 0);
}

/* A guest spends some ten exits at boot on each pin, so there are only those that can interrupt. */
static void fewer_pins(void **state)
{
	(void)state;
	ioapic_init(&ioapic, &hv, 5);
	assert_int_equal(get(VER), 0x00040011);
	set_pin(4, DEST(4) | 0x31);
	set_pin(5, DEST(5) | 0x32);
	assert_int_equal(get(REDTBL + 2 * 4), 0x31);
	assert_int_equal(get(REDTBL + 2 * 5), 0);
	assert_int_equal(told.nr, 1);
	assert_int_equal(told.routes[0].gsi, 4);
}

static void odd_accesses(void **state)
{
	uint8_t data[8];

	(void)state;
	set(ID, 0x05000000);
	memset(data, 0xee, sizeof(data));
	ioapic_access(&ioapic, IOWIN, data, 8, false); /* nothing behind the register */
	assert_memory_equal(data, "\0\0\0\x05\0\0\0\0", 8);
	memset(data, 0xee, sizeof(data));
	ioapic_access(&ioapic, IOWIN, data, 1, false);
	assert_memory_equal(data, "\0\xee", 2);
	for (unsigned offset = 1; offset < IOAPIC_SIZE; offset++) {
		if (offset == IOWIN)
			continue;
		memset(data, 0xee, sizeof(data));
		ioapic_access(&ioapic, offset, data, 1, true);
		ioapic_access(&ioapic, offset, data, 1, false);
		assert_int_equal(data[0], 0);
	}
	assert_int_equal(get(ID), 0x05000000);
}

static void masked_pins(void **state)
{
	(void)state;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		set_pin(pin, DEST(1) | MASKED | (0x30 + pin));
	assert_int_equal(told.calls, 0);
}

/* The generation's interrupt comes behind a load alone: else the kernel need not know its message.
 */
static void generation(void **state)
{
	struct ioapic_state saved;

	(void)state;
	set_pin(GENERATION_GSI, DEST(3) | 0x31);
	assert_int_equal(told.calls, 0);
	ioapic_save(&ioapic, &saved);
	assert_int_equal(ioapic_load(&ioapic, &saved), 0);
	assert_int_equal(told.nr, 1);
	assert_int_equal(told.routes[0].gsi, GENERATION_GSI);
	assert_int_equal(told.routes[0].u.msi.data, 0x31);
}

/* One entry and its message (SDM vol. 3, Message Signalled Interrupts). */
static void messages(void **state)
{
	static const struct {
		uint64_t entry;
		uint32_t address, data;
	} row[] = {
		{ DEST(0) | 0x31, 0xfee00000, 0x31 },
		{ DEST(3) | 0x31, 0xfee03000, 0x31 },
		{ DEST(0xff) | 0xfe, 0xfeeff000, 0xfe },
		{ DEST(3) | LOGICAL | 0x31, 0xfee03004, 0x31 },
		{ DEST(3) | MODE(LOWEST) | 0x31, 0xfee03008, 0x131 },
		{ DEST(3) | MODE(LOWEST) | LOGICAL | 0x31, 0xfee0300c, 0x131 },
		{ DEST(0) | MODE(NMI), 0xfee00000, 0x400 },
		{ DEST(2) | LEVEL | ACTIVELOW | 0x55, 0xfee02000, 0x55 }, /* all are edges */
	};

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		for (unsigned i = 0; i < COUNT(row) && pin != GENERATION_GSI; i++) {
			make_ioapic(state);
			set_pin(pin, row[i].entry);
			assert_int_equal(told.calls, 1);
			assert_int_equal(told.nr, 1);
			assert_int_equal(told.routes[0].gsi, pin);
			assert_int_equal(told.routes[0].type, KVM_IRQ_ROUTING_MSI);
			assert_int_equal(told.routes[0].flags, 0);
			assert_int_equal(told.routes[0].u.msi.address_lo, row[i].address);
			assert_int_equal(told.routes[0].u.msi.address_hi, 0);
			assert_int_equal(told.routes[0].u.msi.data, row[i].data);
		}
	}
}

/* SMI, INIT, ExtINT and what is reserved stand for nothing that a device here may send. */
static void other_modes(void **state)
{
	static const unsigned modes[] = { SMI, RESERVED3, INIT, RESERVED6, EXTINT };

	(void)state;
	for (unsigned i = 0; i < COUNT(modes); i++)
		set_pin(i, MODE(modes[i]) | 0x40);
	assert_int_equal(told.calls, 0);
	set_pin(9, 0x40);
	assert_int_equal(told.nr, 1);
}

/* Every call tells the kernel all there is, and there is none where nothing changed. */
static void updates(void **state)
{
	(void)state;
	set_pin(4, DEST(1) | 0x24);
	set_pin(23, DEST(2) | 0x43);
	assert_int_equal(told.calls, 2);
	assert_int_equal(told.nr, 2);
	assert_int_equal(told.routes[0].gsi, 4);
	assert_int_equal(told.routes[1].gsi, 23);
	set_pin(4, DEST(1) | 0x24);
	assert_int_equal(told.calls, 2);
	set_pin(4, DEST(5) | 0x24); /* moved to another CPU: one half differs */
	assert_int_equal(told.calls, 3);
	assert_int_equal(told.routes[0].u.msi.address_lo, 0xfee05000);
	set_pin(4, DEST(5) | MASKED | 0x24);
	assert_int_equal(told.calls, 4);
	assert_int_equal(told.nr, 1);
	assert_int_equal(told.routes[0].gsi, 23);
	set_pin(23, DEST(2) | MODE(SMI) | 0x43);
	assert_int_equal(told.calls, 5);
	assert_int_equal(told.nr, 0);
	set_pin(23, DEST(2) | MODE(INIT) | 0x43);
	assert_int_equal(told.calls, 5);
}

static void all_pins(void **state)
{
	(void)state;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		set_pin(pin, DEST(pin) | (0x30 + pin));
	assert_int_equal(told.nr, IOAPIC_PINS);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		assert_int_equal(told.routes[pin].gsi, pin);
		assert_int_equal(told.routes[pin].u.msi.address_lo, 0xfee00000 | pin << 12);
		assert_int_equal(told.routes[pin].u.msi.data, 0x30 + pin);
	}
}

/* A kernel that refuses is told the whole again at the next change. */
static void refused(void **state)
{
	(void)state;
	told.answer = -ENOMEM;
	set_pin(4, 0x24);
	assert_int_equal(get(REDTBL + 8), 0x24);
	told.answer = 0;
	set_pin(5, 0x25);
	assert_int_equal(told.nr, 2);
}

static void moved(void **state)
{
	struct ioapic_state saved;

	(void)state;
	set(ID, 0x05000000);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		set_pin(pin, DEST(pin) | (0x30 + pin) | (pin % 3 ? 0 : MASKED) | LEVEL);
	access32(IOREGSEL, &(uint32_t){ REDTBL + 7 }, true);
	ioapic_save(&ioapic, &saved);
	make_ioapic(NULL);
	assert_int_equal(ioapic_load(&ioapic, &saved), 0);
	assert_int_equal(told.calls, 1);
	assert_int_equal(told.nr, IOAPIC_PINS * 2 / 3);
	assert_int_equal(told.routes[0].gsi, 1);
	assert_int_equal(told.routes[0].u.msi.data, 0x31);
	assert_int_equal(told.routes[0].u.msi.address_lo, 0xfee01000);
	assert_int_equal(ioapic.select, REDTBL + 7);
	assert_int_equal(get(ID), 0x05000000);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		assert_int_equal(get(REDTBL + 2 * pin),
				 (0x30 + pin) | (pin % 3 ? 0 : MASKED) | LEVEL);
		assert_int_equal(get(REDTBL + 2 * pin + 1), pin << 24);
	}
}

/* With fewer pins than the state has room for: those beyond are not there. */
static void moved_pins_beyond(void **state)
{
	struct ioapic_state saved;

	(void)state;
	memset(&saved, 0, sizeof(saved));
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		saved.pins[pin] = 0x30 + pin;
	memset(&ioapic, 0, sizeof(ioapic));
	ioapic_init(&ioapic, &hv, 6);
	assert_int_equal(ioapic_load(&ioapic, &saved), 0);
	assert_int_equal(told.nr, 6);
	assert_int_equal(get(REDTBL + 12), 0);
}

static void hostile_state(void **state)
{
	struct ioapic_state bad;
	uint32_t x = 2463534242u;

	(void)state;
	for (unsigned run = 0; run < 2000; run++) {
		for (unsigned i = 0; i < sizeof(bad); i++) {
			x ^= x << 13;
			x ^= x >> 17;
			x ^= x << 5;
			((uint8_t *)&bad)[i] = run == 0 ? 0xff : (uint8_t)(x >> 8);
		}
		make_ioapic(NULL);
		assert_int_equal(ioapic_load(&ioapic, &bad), 0);
		assert_in_range(ioapic.select, 0, 0xff);
		assert_int_equal(get(ID) & ~0x0f000000u, 0);
		for (unsigned i = 0; i < told.nr; i++) {
			assert_in_range(told.routes[i].gsi, 0, IOAPIC_PINS - 1);
			assert_int_equal(told.routes[i].type, KVM_IRQ_ROUTING_MSI);
			assert_int_equal(told.routes[i].u.msi.address_lo >> 20, 0xfee);
			assert_int_equal(told.routes[i].u.msi.address_hi, 0);
			assert_int_equal(told.routes[i].u.msi.data & ~0x7ffu, 0);
		}
		for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) /* what is read only is not set */
			assert_int_equal(get(REDTBL + 2 * pin) & (1u << 12 | 1u << 14), 0);
		set_pin(4, 0x24);
		assert_int_equal(get(REDTBL + 8), 0x24);
	}
}

static void moved_and_refused(void **state)
{
	struct ioapic_state saved;

	(void)state;
	set_pin(4, 0x24);
	ioapic_save(&ioapic, &saved);
	make_ioapic(NULL);
	told.answer = -ENOMEM;
	assert_int_equal(ioapic_load(&ioapic, &saved), -ENOMEM);
}

#define TEST(text, function)                                                   \
	{                                                                      \
		.name = text, .test_func = function, .setup_func = make_ioapic \
	}

static const struct CMUnitTest tests[] = {
	TEST("all pins are masked after a reset", reset_state),
	TEST("registers that are read only, or not there, stay so", registers),
	TEST("each pin keeps its entry", entries),
	TEST("there are as many pins as asked for", fewer_pins),
	TEST("odd widths and offsets are harmless", odd_accesses),
	TEST("masked pins tell the kernel nothing", masked_pins),
	TEST("the generation's pin tells it only where a snapshot is loaded", generation),
	TEST("an entry becomes the message that it stands for", messages),
	TEST("other delivery modes send nothing", other_modes),
	TEST("the kernel is told what changed, and no more often", updates),
	TEST("all pins at once", all_pins),
	TEST("another one's registers become what one's were, and the kernel is told", moved),
	TEST("a state's pins beyond those that there are do nothing", moved_pins_beyond),
	TEST("a state may be anything", hostile_state),
	TEST("a state whose table the kernel refuses is refused", moved_and_refused),
	TEST("a refused table is offered again with the next", refused),
};

int main(void)
{
	return cmocka_run_group_tests_name("ioapic", tests, NULL, NULL);
}
