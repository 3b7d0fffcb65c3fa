// SPDX-License-Identifier: Apache-2.0
/*
 * The driver half of virtio-mmio and of the split ring; see virtio.h. Linked into blk and blkbad.
 */
#include "virtio.h"

#define MAGIC	 0x74726976u
#define PATIENCE 40000000000ul /* cycles: 8 to 40 s */

static uint64_t next_page;

void *pages(uint64_t bytes)
{
	void *at;

	if (!next_page)
		next_page = (uint64_t)image_end;
	at = (void *)next_page;
	next_page += (bytes + 4095) & ~4095ul;
	memset(at, 0, bytes);
	return at;
}

uint32_t v_read(const struct vdevice *d, uint32_t reg)
{
	return mmio_read32(d->gpa + reg);
}

void v_write(const struct vdevice *d, uint32_t reg, uint32_t value)
{
	mmio_write32(d->gpa + reg, value);
}

bool v_wait_status(const struct vdevice *d, uint32_t mask, uint32_t wanted)
{
	const uint64_t start = rdtsc();

	while ((v_read(d, V_STATUS) & mask) != wanted)
		if (rdtsc() - start > PATIENCE)
			return false;
	return true;
}

void v_reset(struct vdevice *d)
{
	v_write(d, V_STATUS, 0);
	if (!v_wait_status(d, ~0u, 0))
		die("a reset has no end");
}

uint64_t v_offered(const struct vdevice *d)
{
	uint64_t low;

	v_write(d, V_FEATURES_SEL, 0);
	low = v_read(d, V_FEATURES);
	v_write(d, V_FEATURES_SEL, 1);
	return (uint64_t)v_read(d, V_FEATURES) << 32 | low;
}

bool v_negotiate(struct vdevice *d, uint64_t features)
{
	const uint32_t wanted = S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK;

	v_write(d, V_STATUS, S_ACKNOWLEDGE);
	v_write(d, V_STATUS, S_ACKNOWLEDGE | S_DRIVER);
	v_write(d, V_DRIVER_FEATURES_SEL, 0);
	v_write(d, V_DRIVER_FEATURES, (uint32_t)features);
	v_write(d, V_DRIVER_FEATURES_SEL, 1);
	v_write(d, V_DRIVER_FEATURES, (uint32_t)(features >> 32));
	v_write(d, V_STATUS, wanted);
	d->features = features;
	return v_read(d, V_STATUS) == wanted;
}

static void write64(struct vdevice *d, uint32_t reg, uint64_t value)
{
	v_write(d, reg, (uint32_t)value);
	v_write(d, reg + 4, (uint32_t)(value >> 32));
}

void v_place(struct vdevice *d, unsigned q, uint32_t size, uint64_t desc, uint64_t driver,
	     uint64_t device)
{
	v_write(d, V_QUEUE_SEL, q);
	v_write(d, V_QUEUE_NUM, size);
	write64(d, V_DESC, desc);
	write64(d, V_DRIVER, driver);
	write64(d, V_DEVICE, device);
	v_write(d, V_QUEUE_READY, 1);
}

void v_driver_ok(struct vdevice *d)
{
	v_write(d, V_STATUS, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
}

void v_start(struct vdevice *d, unsigned window, uint64_t features, unsigned nr, uint16_t size)
{
	d->window = window;
	d->gpa = DEVICE_GPA + (window + 1) * DEVICE_SIZE;
	v_open(d, features, nr, size);
}

bool v_find(struct vdevice *d, uint32_t id)
{
	static const struct {
		uint64_t gpa, size;
		unsigned nr;
	} places[] = {
		{ DEVICE_GPA + DEVICE_SIZE, DEVICE_SIZE, DEVICE_MAX - 1 },
		{ 0xfeb00000, 0x200, 24 }, /* microvm */
	};

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		for (unsigned n = 0; n < places[i].nr; n++) {
			d->gpa = places[i].gpa + n * places[i].size;
			if (v_read(d, V_MAGIC) == MAGIC && v_read(d, V_VERSION) == 2 &&
			    v_read(d, V_ID) == id)
				return true;
		}
	return false;
}

void v_open(struct vdevice *d, uint64_t features, unsigned nr, uint16_t size)
{
	d->nr_queues = nr;
	v_reset(d);
	if (!v_negotiate(d, features))
		die("the device refuses features that it offered");
	for (unsigned i = 0; i < nr; i++) {
		struct vqueue *q = &d->queue[i];

		if (!q->desc) {
			q->desc = pages(VQ_MAX * sizeof(struct vdesc));
			q->driver = pages(6 + 2 * VQ_MAX);
			q->device = pages(6 + 8 * VQ_MAX);
		}
		memset(q->desc, 0, VQ_MAX * sizeof(struct vdesc));
		memset((void *)q->driver, 0, 6 + 2 * VQ_MAX);
		memset((void *)q->device, 0, 6 + 8 * VQ_MAX);
		q->size = size;
		q->seen = 0;
		v_place(d, i, size, gpa_of(q->desc), gpa_of(q->driver), gpa_of(q->device));
		if (!v_read(d, V_QUEUE_READY))
			die("a queue is not taken");
	}
	v_driver_ok(d);
}

void v_offer(struct vqueue *q, uint16_t head)
{
	const uint16_t idx = q->driver[1];

	q->driver[2 + idx % q->size] = head;
	__atomic_thread_fence(__ATOMIC_RELEASE); /* 2.7.13.3: the entry before the index */
	q->driver[1] = (uint16_t)(idx + 1);
}

void v_notify(struct vdevice *d, unsigned q)
{
	v_write(d, V_NOTIFY, q);
}

/* 2.7.10: `before` is the index when it was last asked. */
bool v_wants_notify(const struct vdevice *d, unsigned q, uint16_t before)
{
	const struct vqueue *vq = &d->queue[q];
	const uint16_t now = vq->driver[1];

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(d->features & F_EVENT_IDX))
		return !(vq->device[0] & 1);
	return (uint16_t)(now - vq->device[2 + 4 * vq->size] - 1) < (uint16_t)(now - before);
}

bool v_wait(struct vqueue *q, uint32_t *id, uint32_t *len)
{
	const volatile uint32_t *element = (const volatile uint32_t *)(q->device + 2);
	const uint64_t start = rdtsc();

	while (q->device[1] == q->seen) {
		if (rdtsc() - start > PATIENCE)
			return false;
		__asm__ volatile("pause");
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	*id = element[q->seen % q->size * 2];
	*len = element[q->seen % q->size * 2 + 1];
	q->seen++;
	return true;
}
