// SPDX-License-Identifier: Apache-2.0
/* The I/O APIC's registers, answered on vCPU threads; see ioapic.h for what is left out and why. */
#include "ioapic.h"
#include "log.h"

#include <string.h>

/* 82093AA, section 3: the two memory-mapped registers and what they select. */
#define IOREGSEL  0x00u
#define IOWIN	  0x10u
#define IOAPICID  0x00u
#define IOAPICVER 0x01u
#define IOAPICARB 0x02u
#define IOREDTBL  0x10u

#define VERSION	      0x11u
#define MAX_PIN_SHIFT 16
#define ID_MASK	      0x0f000000u

/* Redirection entry. */
#define RTE_VECTOR     0xffull
#define RTE_MODE_SHIFT 8
#define RTE_LOGICAL    (1ull << 11)
#define RTE_STATUS     (1ull << 12) /* read only, as is remote IRR */
#define RTE_REMOTE_IRR (1ull << 14)
#define RTE_MASKED     (1ull << 16)
#define RTE_DEST_SHIFT 56

/* Delivery modes that a device may use; SMI, INIT and ExtINT are for other machines. */
#define MODE_FIXED  0u
#define MODE_LOWEST 1u
#define MODE_NMI    4u

void ioapic_init(struct ioapic *ioapic, const struct hv *hv, unsigned nr_pins)
{
	must(nr_pins >= 1 && nr_pins <= IOAPIC_PINS);
	memset(ioapic, 0, sizeof(*ioapic));
	pthread_mutex_init(&ioapic->lock, NULL);
	ioapic->hv = hv;
	ioapic->nr_pins = nr_pins;
	for (unsigned i = 0; i < ioapic->nr_pins; i++)
		ioapic->pins[i] = RTE_MASKED;
}

static bool is_live(uint64_t rte)
{
	const unsigned mode = rte >> RTE_MODE_SHIFT & 7;

	return !(rte & RTE_MASKED) &&
	       (mode == MODE_FIXED || mode == MODE_LOWEST || mode == MODE_NMI);
}

/* The message an entry stands for (SDM vol. 3, Message Signalled Interrupts). */
static struct kvm_irq_routing_entry route(unsigned gsi, uint64_t rte)
{
	const unsigned mode = rte >> RTE_MODE_SHIFT & 7;
	const uint32_t dest = (uint32_t)(rte >> RTE_DEST_SHIFT);

	return (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi.address_lo = (uint32_t)LAPIC_GPA | dest << 12 |
				    (mode == MODE_LOWEST ? 1u << 3 : 0) |
				    (rte & RTE_LOGICAL ? 1u << 2 : 0),
		.u.msi.data = (uint32_t)(rte & RTE_VECTOR) | mode << 8,
	};
}

static int update_routes(struct ioapic *ioapic)
{
	struct kvm_irq_routing_entry routes[IOAPIC_PINS];
	unsigned nr = 0;
	int err;

	for (unsigned i = 0; i < ioapic->nr_pins; i++)
		if (is_live(ioapic->pins[i]))
			routes[nr++] = route(i, ioapic->pins[i]);
	err = hv_set_routes(ioapic->hv, routes, nr);
	if (err && !ioapic->is_refused)
		fail(err, "KVM_SET_GSI_ROUTING; the guest's interrupts stay as they were");
	ioapic->is_refused = err;
	return err;
}

static void write_pin(struct ioapic *ioapic, unsigned pin, bool high, uint32_t value)
{
	const uint64_t old = ioapic->pins[pin];
	uint64_t new;

	if (high)
		new = (uint32_t)old | (uint64_t)value << 32;
	else
		new = (old & ~0xffffffffull) | (value & ~(RTE_STATUS | RTE_REMOTE_IRR));
	ioapic->pins[pin] = new;
	/*
	 * Masked before and after: the kernel need not know. Linux masks every pin at boot. Nor if
	 * nothing can come: a generation's interrupt is sent once, behind ioapic_load().
	 */
	if (new != old && (is_live(old) || is_live(new)) && pin != GENERATION_GSI)
		update_routes(ioapic);
}

static void write_register(struct ioapic *ioapic, uint32_t value)
{
	const uint32_t r = ioapic->select;

	if (r == IOAPICID)
		ioapic->id = value & ID_MASK;
	else if (r >= IOREDTBL && r < IOREDTBL + 2 * ioapic->nr_pins)
		write_pin(ioapic, (r - IOREDTBL) / 2, r & 1, value);
}

static uint32_t read_register(const struct ioapic *ioapic)
{
	const uint32_t r = ioapic->select;

	if (r == IOAPICID || r == IOAPICARB)
		return ioapic->id;
	if (r == IOAPICVER)
		return VERSION | (ioapic->nr_pins - 1) << MAX_PIN_SHIFT;
	if (r >= IOREDTBL && r < IOREDTBL + 2 * ioapic->nr_pins)
		return (uint32_t)(ioapic->pins[(r - IOREDTBL) / 2] >> (r & 1 ? 32 : 0));
	return 0;
}

void ioapic_save(const struct ioapic *ioapic, struct ioapic_state *to)
{
	*to = (struct ioapic_state){ .select = ioapic->select, .id = ioapic->id };
	memcpy(to->pins, ioapic->pins, sizeof(to->pins));
}

int ioapic_load(struct ioapic *ioapic, const struct ioapic_state *from)
{
	ioapic->select = from->select & 0xff;
	ioapic->id = from->id & ID_MASK;
	for (unsigned i = 0; i < ioapic->nr_pins; i++)
		ioapic->pins[i] = from->pins[i] & ~(RTE_STATUS | RTE_REMOTE_IRR);
	return update_routes(ioapic);
}

void ioapic_access(void *device, uint64_t offset, uint8_t *data, unsigned len, bool write)
{
	struct ioapic *ioapic = device;
	uint32_t value = 0;

	pthread_mutex_lock(&ioapic->lock);
	memcpy(&value, data, len < sizeof(value) ? len : sizeof(value));
	if (write && offset == IOREGSEL)
		ioapic->select = value & 0xff;
	else if (write && offset == IOWIN)
		write_register(ioapic, value);
	if (!write) {
		value = offset == IOREGSEL ? ioapic->select
			: offset == IOWIN  ? read_register(ioapic)
					   : 0;
		memset(data, 0, len);
		memcpy(data, &value, len < sizeof(value) ? len : sizeof(value));
	}
	pthread_mutex_unlock(&ioapic->lock);
}
