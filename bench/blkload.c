// SPDX-License-Identifier: Apache-2.0
/*
 * The guest whose disk bench/blk measures, under any monitor: a driver that keeps `depth` requests
 * in a virtio-blk device's queue. It stands on tests/guest/. Each load is announced and its end
 * told, with a pause before and after in which nothing happens: there the monitor's CPU time is
 * read. It polls and wants no interrupts, so that a monitor's time goes into requests alone; as
 * Linux does, it gives each request an indirect table, and notifies where the device asks for it.
 * Words: random=N, read=N, write=N, how many requests; then it is idle for good.
 */
#include "../tests/guest/virtio.h"

#define SECTOR	512u
#define T_IN	0u
#define T_OUT	1u
#define F_FLUSH (1ull << 9) /* else each write is flushed by itself (virtio 1.2, 5.2.6.2) */
#define MIB	(1u << 20)
#define PAUSE	30000000ul /* cycles, about 10 ms */
#define DEPTHS	32u
#define BUFFERS (4u * MIB)

#define FEATURES (F_VERSION_1 | F_INDIRECT | F_EVENT_IDX | F_FLUSH)

struct slot {
	struct vdesc table[3]; /* header, data, status */
	uint32_t type, reserved;
	uint64_t sector;
	uint8_t status;
};

struct load {
	const char *name; /* also the word that says how many */
	uint32_t type, len, depth;
	bool is_random;
};

static const struct load loads[] = {
	{ "random", T_IN, 4096, 32, true },
	{ "read", T_IN, MIB, 4, false },
	{ "write", T_OUT, MIB, 4, false },
};

static struct vdevice dev;
static struct slot *slots;
static uint8_t *data;
static uint64_t capacity; /* bytes */
static uint32_t seed = 2463534242u;

static uint32_t dice(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

static void pause_for(uint64_t cycles)
{
	const uint64_t start = rdtsc();

	while (rdtsc() - start < cycles)
		__asm__ volatile("pause");
}

/* All but the sector of each request is the same over a load. */
static void prepare(const struct load *l)
{
	for (unsigned i = 0; i < l->depth; i++) {
		struct slot *s = &slots[i];
		const uint16_t flags = l->type == T_IN ? D_NEXT | D_WRITE : D_NEXT;

		s->type = l->type;
		s->table[0] = (struct vdesc){ gpa_of(&s->type), 16, D_NEXT, 1 };
		s->table[1] = (struct vdesc){ gpa_of(data) + i * l->len, l->len, flags, 2 };
		s->table[2] = (struct vdesc){ gpa_of(&s->status), 1, D_WRITE, 0 };
		dev.queue[0].desc[i] =
			(struct vdesc){ gpa_of(s->table), sizeof(s->table), D_INDIRECT, 0 };
	}
}

static void send(const struct load *l, unsigned i, uint64_t nr)
{
	const uint32_t places = (uint32_t)(capacity / l->len);
	const uint64_t at = l->is_random ? dice(places) : nr % places;

	slots[i].sector = at * (l->len / SECTOR);
	slots[i].status = 0xff;
	v_offer(&dev.queue[0], (uint16_t)i);
}

/* 2.7.10: used_event half of the indexes away is never met; `before` is for what was sent since. */
static void settle(uint16_t before)
{
	struct vqueue *q = &dev.queue[0];

	q->driver[2 + q->size] = (uint16_t)(q->seen + 0x8000);
	if (q->driver[1] != before && v_wants_notify(&dev, 0, before))
		v_notify(&dev, 0);
}

static void run(const struct load *l, uint64_t nr)
{
	struct vqueue *q = &dev.queue[0];
	uint16_t before = q->driver[1];
	uint64_t sent = 0, done = 0;

	for (; sent < l->depth && sent < nr; sent++)
		send(l, (unsigned)sent, sent);
	settle(before);
	while (done < nr) {
		uint32_t i, len;

		before = q->driver[1];
		do { /* all that has come back, at once */
			if (!v_wait(q, &i, &len) || slots[i].status != 0)
				die("a request failed");
			done++;
			if (sent < nr)
				send(l, i, sent++);
		} while (q->device[1] != q->seen);
		settle(before);
	}
}

int guest_main(void)
{
	slots = pages(DEPTHS * sizeof(*slots));
	data = pages(BUFFERS);
	if (!v_find(&dev, 2))
		die("there is no disk");
	v_open(&dev, v_offered(&dev) & FEATURES, 1, VQ_MAX);
	capacity = ((uint64_t)v_read(&dev, V_CONFIG + 4) << 32 | v_read(&dev, V_CONFIG)) * SECTOR;
	for (unsigned i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
		const uint64_t nr = arg_number(loads[i].name, 0);

		prepare(&loads[i]);
		run(&loads[i], nr / 20);
		pause_for(PAUSE);
		print("%s: begin\n", loads[i].name);
		pause_for(PAUSE);
		run(&loads[i], nr);
		print("%s: end\n", loads[i].name);
		pause_for(PAUSE);
	}
	print("idle\n");
	for (;;)
		wait_interrupt();
}
