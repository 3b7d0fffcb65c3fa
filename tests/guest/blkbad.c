// SPDX-License-Identifier: Apache-2.0
/*
 * What a driver must not do to a virtio device. Device 0 is ill-treated, each case by itself; after
 * each, device 1 has to serve a read, and device 0 to be as good as new after a reset. A broken
 * ring has to end in DEVICE_NEEDS_RESET (virtio 1.2, 2.1.2), anything else in an answer or in
 * nothing at all. mem=N is the guest's memory in bytes. Status 0 if all was so.
 */
#include "virtio.h"

#define SECTOR 512u
#define T_IN   0u
#define T_OUT  1u
enum { OK, IOERR, UNSUPP, NO_ANSWER = 0xff };

struct request {
	uint32_t type, reserved;
	uint64_t sector;
	uint8_t status;
};

static struct vdevice bad, good;
static struct request *r;
static uint8_t *data;
static uint64_t memory;

static void start(struct vdevice *d, unsigned window)
{
	d->gpa = DEVICE_GPA + (window + 1) * DEVICE_SIZE;
	v_start(d, window, F_VERSION_1 | F_INDIRECT | F_EVENT_IDX, 1, VQ_MAX);
}

/* A plain read at head 0, to be bent before it is offered. */
static struct vdesc *plain(struct vdevice *d)
{
	struct vdesc *desc = d->queue[0].desc;

	*r = (struct request){ T_IN, 0, 0, NO_ANSWER };
	desc[0] = (struct vdesc){ gpa_of(r), 16, D_NEXT, 1 };
	desc[1] = (struct vdesc){ gpa_of(data), SECTOR, D_NEXT | D_WRITE, 2 };
	desc[2] = (struct vdesc){ gpa_of(&r->status), 1, D_WRITE, 0 };
	return desc;
}

static void send(struct vdevice *d, uint16_t head)
{
	v_offer(&d->queue[0], head);
	v_notify(d, 0);
}

static bool serves(struct vdevice *d)
{
	uint32_t id, len;

	plain(d);
	send(d, 0);
	return want("a read is answered", v_wait(&d->queue[0], &id, &len), true) &&
	       want("its status", r->status, OK);
}

/* The ring is broken, and the device says so. */
static bool breaks(void)
{
	return want("needs a reset", v_wait_status(&bad, S_NEEDS_RESET, S_NEEDS_RESET), true);
}

/* The request comes back, with what the status byte has then. */
static bool answers(uint8_t status)
{
	uint32_t id, len;

	return want("an answer", v_wait(&bad.queue[0], &id, &len), true) &&
	       want("its status", r->status, status);
}

static bool loop_of_one(void)
{
	struct vdesc *d = plain(&bad);

	d[0].next = 0;
	send(&bad, 0);
	return breaks();
}

static bool loop_of_many(void)
{
	struct vdesc *d = plain(&bad);

	for (unsigned i = 1; i < VQ_MAX; i++)
		d[i] = (struct vdesc){ gpa_of(data), 1, D_NEXT | D_WRITE,
				       (uint16_t)((i + 1) % VQ_MAX ? i + 1 : 1) };
	send(&bad, 0);
	return breaks();
}

/* 65535 descriptors in a row, as many as a table can name. */
static bool chain_of_65535(void)
{
	static struct vdesc *table;
	struct vdesc *d = plain(&bad);

	if (!table)
		table = pages(65535 * sizeof(*table));
	for (unsigned i = 0; i < 65535; i++)
		table[i] = (struct vdesc){ gpa_of(data), 1, D_NEXT | D_WRITE, (uint16_t)(i + 1) };
	d[0] = (struct vdesc){ gpa_of(table), 65535 * 16, D_INDIRECT, 0 };
	send(&bad, 0);
	return breaks();
}

static bool broken_by(uint64_t addr, uint32_t len)
{
	struct vdesc *d = plain(&bad);
	bool ok;

	d[1].addr = addr;
	d[1].len = len;
	send(&bad, 0);
	ok = breaks();
	start(&bad, 0);
	return ok;
}

static bool addresses(void)
{
	return broken_by(gpa_of(data), 0xffffffff) & broken_by(0, 0xffffffff) &
	       broken_by(memory - 1, SECTOR) & broken_by(memory, SECTOR) &
	       broken_by(memory - SECTOR + 1, SECTOR) & broken_by(DEVICE_GPA, SECTOR) &
	       broken_by(DEVICE_GPA + DEVICE_SIZE, SECTOR) & broken_by(IOAPIC_GPA, SECTOR) &
	       broken_by(HIGH_RAM_GPA, SECTOR) & broken_by(~0ull, SECTOR) &
	       broken_by(~0ull - SECTOR + 1, SECTOR) & broken_by(1ull << 63, SECTOR);
}

static bool addresses_of_headers(void)
{
	struct vdesc *d = plain(&bad);

	d[0].addr = memory - 8;
	send(&bad, 0);
	return breaks();
}

/* A buffer to be read where one to be written is needed. */
static bool no_status(void)
{
	struct vdesc *d = plain(&bad);

	d[1].flags = D_NEXT;
	d[2].flags = 0;
	send(&bad, 0);
	return breaks();
}

static bool no_data(void)
{
	struct vdesc *d = plain(&bad);

	memset(data, 0x5a, SECTOR);
	d[1].flags = D_NEXT;
	send(&bad, 0);
	return answers(OK) & want("left alone", data[0], 0x5a);
}

static bool no_header(void)
{
	plain(&bad);
	send(&bad, 2); /* the status alone */
	return answers(IOERR);
}

static bool empty_chain(void)
{
	plain(&bad)[2].len = 0;
	send(&bad, 2);
	return breaks();
}

static bool readable_last(void)
{
	plain(&bad)[2].flags = 0;
	send(&bad, 0);
	return breaks();
}

static bool jump_by(uint16_t n)
{
	bool ok;

	plain(&bad);
	bad.queue[0].driver[1] = (uint16_t)(bad.queue[0].driver[1] + n);
	v_notify(&bad, 0);
	ok = breaks();
	start(&bad, 0);
	return ok;
}

static bool index_jumps(void)
{
	return jump_by(VQ_MAX + 1) & jump_by(0x8000) & jump_by(0xffff);
}

/* What is in the device's area is the device's: whatever a driver writes there, it goes on with its
 * own. The same of the event words, which only say who need not be told. */
static bool used_jumps(void)
{
	struct vqueue *q = &bad.queue[0];
	bool ok = true;

	for (uint32_t n = 2; n < 0x10000 && ok; n <<= 1) {
		const uint16_t now = q->device[1];

		q->device[0] = (uint16_t)n;
		q->device[1] = (uint16_t)(now + n);
		q->device[2 + 4 * q->size] = (uint16_t)(now + n); /* avail_event */
		q->driver[2 + q->size] = (uint16_t)(now - n);	  /* used_event */
		plain(&bad);
		send(&bad, 0);
		while (q->device[1] != (uint16_t)(now + 1)) /* the timeout sees to an end */
			__asm__ volatile("pause");
		ok = want("its status", r->status, OK);
		q->seen = q->device[1];
	}
	return ok & want("no reset", v_read(&bad, V_STATUS) & S_NEEDS_RESET, 0);
}

static bool heads(void)
{
	bool ok;

	plain(&bad);
	send(&bad, VQ_MAX);
	ok = breaks();
	start(&bad, 0);
	plain(&bad);
	send(&bad, 0xffff);
	return ok & breaks();
}

static bool head_twice(void)
{
	plain(&bad);
	v_offer(&bad.queue[0], 0);
	send(&bad, 0);
	return breaks();
}

static bool next_beyond(void)
{
	plain(&bad)[0].next = VQ_MAX;
	send(&bad, 0);
	return breaks();
}

static bool indirect(struct vdesc outer, struct vdesc inner)
{
	struct vdesc *d = plain(&bad), *table = (struct vdesc *)data;
	bool ok;

	table[0] = inner;
	d[0] = outer;
	send(&bad, 0);
	ok = breaks();
	start(&bad, 0);
	return ok;
}

static bool indirect_tables(void)
{
	const struct vdesc inner = { gpa_of(r), 16, 0, 0 };
	const struct vdesc nested = { gpa_of(data), 16, D_INDIRECT, 0 };
	const struct vdesc loop = { gpa_of(r), 16, D_NEXT, 0 };
	const struct vdesc beyond = { gpa_of(r), 16, D_NEXT, 9 };
	const uint64_t at = gpa_of(data);

	return indirect((struct vdesc){ at, 0, D_INDIRECT, 0 }, inner) &
	       indirect((struct vdesc){ at, 17, D_INDIRECT, 0 }, inner) &
	       indirect((struct vdesc){ at, 0xfffffff0, D_INDIRECT, 0 }, inner) &
	       indirect((struct vdesc){ memory - 16, 32, D_INDIRECT, 0 }, inner) &
	       indirect((struct vdesc){ DEVICE_GPA, 16, D_INDIRECT, 0 }, inner) &
	       indirect((struct vdesc){ at, 16, D_INDIRECT | D_NEXT, 1 }, inner) &
	       indirect((struct vdesc){ at, 16, D_INDIRECT, 0 }, nested) &
	       indirect((struct vdesc){ at, 16, D_INDIRECT, 0 }, loop) &
	       indirect((struct vdesc){ at, 16, D_INDIRECT, 0 }, beyond);
}

/* Kicks on queues that are not there, at any width: nothing happens. */
static bool kicks(void)
{
	for (uint32_t q = 1; q; q <<= 1)
		v_write(&bad, V_NOTIFY, q);
	v_write(&bad, V_NOTIFY, ~0u);
	mmio_write8(bad.gpa + V_NOTIFY, 0);
	mmio_write16(bad.gpa + V_NOTIFY, 0);
	mmio_write64(bad.gpa + V_NOTIFY, 0);
	mmio_write32(bad.gpa + V_NOTIFY + 1, 0);
	return want("status", v_read(&bad, V_STATUS) & S_NEEDS_RESET, 0) & serves(&bad);
}

static bool placed_at(uint32_t size, uint64_t desc, uint64_t driver, uint64_t device)
{
	bool ok;

	v_reset(&bad);
	ok = want("features", v_negotiate(&bad, F_VERSION_1), true);
	v_place(&bad, 0, size, desc, driver, device);
	ok &= want("ready", v_read(&bad, V_QUEUE_READY), 0);
	ok &= want("needs a reset", v_read(&bad, V_STATUS) & S_NEEDS_RESET, S_NEEDS_RESET);
	v_driver_ok(&bad);
	v_notify(&bad, 0);
	return ok;
}

static bool places(void)
{
	const uint64_t d = gpa_of(data);

	return placed_at(VQ_MAX, memory, d, d) & placed_at(VQ_MAX, memory - 4080, d, d) &
	       placed_at(VQ_MAX, d, memory - 512, d) & placed_at(VQ_MAX, d, d, memory - 2048) &
	       placed_at(VQ_MAX, DEVICE_GPA, d, d) & placed_at(VQ_MAX, d, d, LAPIC_GPA) &
	       placed_at(VQ_MAX, ~0xfull, d, d) & placed_at(VQ_MAX, d + 8, d, d) &
	       placed_at(VQ_MAX, d, d + 1, d) & placed_at(VQ_MAX, d, d, d + 2) &
	       placed_at(0, d, d, d) & placed_at(3, d, d, d) & placed_at(2 * VQ_MAX, d, d, d) &
	       placed_at(0x80000000, d, d, d);
}

/* The three areas in one place, and a disk read over them: whatever comes of it, it ends there. */
static bool rings_over_rings(void)
{
	struct vdesc *d = (struct vdesc *)data;
	volatile uint16_t *words = (volatile uint16_t *)data;

	v_reset(&bad);
	v_negotiate(&bad, F_VERSION_1);
	memset(data, 0, 4096);
	v_place(&bad, 0, 8, gpa_of(data), gpa_of(data), gpa_of(data));
	d[0] = (struct vdesc){ gpa_of(r), 16, D_NEXT, 1 };
	d[1] = (struct vdesc){ gpa_of(data), SECTOR, D_NEXT | D_WRITE, 2 };
	d[2] = (struct vdesc){ gpa_of(&r->status), 1, D_WRITE, 0 };
	v_driver_ok(&bad);
	words[1]++;
	for (unsigned i = 0; i < 100; i++)
		v_notify(&bad, 0);
	return true;
}

static bool refused(uint64_t features)
{
	v_reset(&bad);
	if (!want("FEATURES_OK", v_negotiate(&bad, features), false))
		return false;
	v_driver_ok(&bad);
	return want("DRIVER_OK", v_read(&bad, V_STATUS) & S_DRIVER_OK, 0);
}

static bool features(void)
{
	const uint64_t offered = v_offered(&bad);
	bool ok = refused(0) & refused(offered & ~F_VERSION_1) & refused(~0ull);

	for (unsigned bit = 0; bit < 64; bit++)
		if (!(offered >> bit & 1))
			ok &= refused(F_VERSION_1 | 1ull << bit);
	return ok;
}

static bool config_space(void)
{
	const uint64_t capacity = mmio_read64(bad.gpa + V_CONFIG);

	/* The last ones reach into the next device's window. */
	for (uint64_t at = bad.gpa + V_CONFIG; at < bad.gpa + DEVICE_SIZE; at++) {
		mmio_write8(at, 0xff);
		mmio_write16(at, 0xffff);
		mmio_write32(at, ~0u);
		mmio_write64(at, ~0ull);
		mmio_read8(at);
		mmio_read16(at);
		mmio_read32(at);
		mmio_read64(at);
	}
	return want("capacity", mmio_read64(bad.gpa + V_CONFIG), capacity) &
	       want("beyond", mmio_read64(bad.gpa + V_CONFIG + 256), 0) & serves(&bad);
}

/* Every register at every width, but for those two that say that all is well. */
static bool registers(void)
{
	for (uint32_t at = 0; at < V_CONFIG; at++) {
		mmio_write8(bad.gpa + at, 0xff);
		mmio_write16(bad.gpa + at, 0xffff);
		mmio_write32(bad.gpa + at, ~0u);
		mmio_write64(bad.gpa + at, ~0ull);
		mmio_read8(bad.gpa + at);
		mmio_read16(bad.gpa + at);
		mmio_read32(bad.gpa + at);
		mmio_read64(bad.gpa + at);
	}
	return true;
}

/* Queues changed while the device runs: it goes on with what they were. */
static bool changed_queues(void)
{
	v_place(&bad, 0, 2, 0, 0, 0);
	v_write(&bad, V_QUEUE_READY, 0);
	v_driver_ok(&bad);
	return serves(&bad);
}

static bool no_queue(void)
{
	v_reset(&bad);
	v_negotiate(&bad, F_VERSION_1);
	v_driver_ok(&bad);
	v_notify(&bad, 0);
	return want("status", v_read(&bad, V_STATUS) & S_NEEDS_RESET, 0);
}

/* 256 requests on their way, each with a table of its own, and a reset at once. */
static bool resets(void)
{
	struct vdesc *const table = (struct vdesc *)(data + 4096);

	for (unsigned n = 0; n < 30; n++) {
		struct vdesc *d = plain(&bad);

		memcpy(table, d, 3 * sizeof(*table));
		for (uint16_t i = 0; i < VQ_MAX; i++) {
			d[i] = (struct vdesc){ gpa_of(table), 3 * sizeof(*table), D_INDIRECT, 0 };
			v_offer(&bad.queue[0], i);
		}
		v_notify(&bad, 0);
		start(&bad, 0);
	}
	return serves(&bad);
}

static const struct {
	const char *name;
	bool (*run)(void);
} cases[] = {
	{ "loop", loop_of_one },
	{ "long-loop", loop_of_many },
	{ "chain-of-65535", chain_of_65535 },
	{ "addresses", addresses },
	{ "header-address", addresses_of_headers },
	{ "no-status", no_status },
	{ "no-data", no_data },
	{ "no-header", no_header },
	{ "empty", empty_chain },
	{ "readable-last", readable_last },
	{ "index-jumps", index_jumps },
	{ "used-jumps", used_jumps },
	{ "heads", heads },
	{ "head-twice", head_twice },
	{ "next-beyond", next_beyond },
	{ "indirect", indirect_tables },
	{ "kicks", kicks },
	{ "places", places },
	{ "rings-over-rings", rings_over_rings },
	{ "features", features },
	{ "config", config_space },
	{ "registers", registers },
	{ "changed-queues", changed_queues },
	{ "no-queue", no_queue },
	{ "resets", resets },
};

int guest_main(void)
{
	const size_t nr_cases = sizeof(cases) / sizeof(cases[0]);
	unsigned failed = 0;

	memory = arg_number("mem", 128ul << 20);
	r = pages(sizeof(*r));
	data = pages(65536);
	start(&good, 1);
	for (size_t i = 0; i < nr_cases; i++) {
		bool ok;

		if (arg("do") && !arg_is("do", cases[i].name))
			continue;
		start(&bad, 0);
		ok = cases[i].run();
		ok &= serves(&good);
		start(&bad, 0);
		ok &= serves(&bad);
		print("blkbad: %s %s\n", cases[i].name, ok ? "ok" : "FAILED");
		failed += !ok;
	}
	print("blkbad: %lu cases, %u failed\n", nr_cases, failed);
	return failed != 0;
}
