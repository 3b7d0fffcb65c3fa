/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small I/O APIC (Intel 82093AA, as many pins as there are interrupts): registers only. What the
 * guest programs becomes a table of MSI routes in the kernel, so an interrupt never passes through
 * here: the device writes its eventfd, the kernel sends the message. All sources are edges; a pin
 * programmed for levels gets the same message, since nothing holds a line.
 */
#ifndef VMM_IOAPIC_H
#define VMM_IOAPIC_H

#include "bus.h"
#include "hv.h"
#include "layout.h"

#include <pthread.h>

struct ioapic {
	pthread_mutex_t lock; /* the registers, and the order of route updates */
	const struct hv *hv;
	bool is_refused; /* the kernel refused routes: said once, the guest may try for ever */
	uint32_t select; /* IOREGSEL */
	uint32_t id;
	unsigned nr_pins;
	uint64_t pins[IOAPIC_PINS]; /* redirection entries */
};

/* `nr_pins` pins (1 to IOAPIC_PINS), all masked. Each costs a guest some ten exits at boot. */
void ioapic_init(struct ioapic *ioapic, const struct hv *hv, unsigned nr_pins);

/* Its registers, as a snapshot has them; what is loaded may be anything. 0 or -errno, logged. */
struct ioapic_state {
	uint32_t select, id;
	uint64_t pins[IOAPIC_PINS];
};
void ioapic_save(const struct ioapic *ioapic, struct ioapic_state *state);
int ioapic_load(struct ioapic *ioapic, const struct ioapic_state *state);

/* For the bus: the register window at IOAPIC_GPA. */
void ioapic_access(void *ioapic, uint64_t offset, uint8_t *data, unsigned len, bool write);

#endif
