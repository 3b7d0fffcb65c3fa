// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk as a driver sees it, in ring 3 and at full speed: device 0 is a disk of some MiB,
 * written all over. Without arguments every check in turn, one line each; with do=NAME that one.
 * `queues=N` is how many there must be. `ro`: the disk is read-only. Acts: `fill` writes each
 * sector with its number (key=N on top), `verify` reads that back; `speed`, `count`, `atleast=N`,
 * `watch` and `badfrom=N badto=N` are told at their functions. Status 0 if all was right.
 */
#include "virtio.h"

#define SECTOR	  512u
#define T_IN	  0u
#define T_OUT	  1u
#define T_FLUSH	  4u
#define T_GET_ID  8u
#define T_DISCARD 11u
#define T_ZEROES  13u
enum { OK, IOERR, UNSUPP, NO_ANSWER = 0xff };

#define F_RO	  (1ull << 5)
#define F_FLUSH	  (1ull << 9)
#define F_MQ	  (1ull << 12)
#define F_DISCARD (1ull << 13)
#define F_ZEROES  (1ull << 14)

#define VECTOR 0x30u
#define DEPTH  64u /* requests at once */
#define ID     20u /* bytes */
#define CHUNK  4096u

struct request {
	uint32_t type, reserved;
	uint64_t sector;
	uint8_t status;
};

static struct vdevice dev;
static uint64_t capacity, offered;
static uint32_t seed = 2463534242u;
static struct request *requests; /* by head or slot */
static uint8_t *data;		 /* CHUNK for each of them */
static unsigned free_slot;	 /* of the request that came back last */

static uint32_t dice(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return (seed >> 3) % below;
}

static uint64_t config64(uint32_t at)
{
	return (uint64_t)v_read(&dev, V_CONFIG + at + 4) << 32 | v_read(&dev, V_CONFIG + at);
}

static void start(uint64_t without)
{
	v_start(&dev, 0, offered & ~without, (unsigned)arg_number("queues", 1), VQ_MAX);
}

/* Three descriptors from 3 * slot of queue q, or one to an indirect table of three. */
static void submit(unsigned q, unsigned slot, uint32_t type, uint64_t sector, void *buf,
		   uint32_t len)
{
	struct vqueue *vq = &dev.queue[q];
	struct request *r = &requests[slot];
	static struct vdesc *tables;
	const bool is_indirect = dev.features & F_INDIRECT && slot % 2;
	const uint16_t head = (uint16_t)(3 * slot);
	const uint16_t base = is_indirect ? 0 : head;
	struct vdesc *d = vq->desc + head;

	if (!tables)
		tables = pages(VQ_MAX * 4 * sizeof(struct vdesc));
	*r = (struct request){ type, 0, sector, NO_ANSWER };
	if (is_indirect) {
		d = tables + 4 * slot;
		vq->desc[head] = (struct vdesc){ gpa_of(d), (len ? 3 : 2) * 16, D_INDIRECT, 0 };
	}
	d[0] = (struct vdesc){ gpa_of(r), 16, D_NEXT, (uint16_t)(base + 1) };
	d[1] = (struct vdesc){ gpa_of(buf), len,
			       (uint16_t)(D_NEXT |
					  (type == T_IN || type == T_GET_ID ? D_WRITE : 0)),
			       (uint16_t)(base + 2) };
	if (!len)
		d[0].next = (uint16_t)(base + 1);
	d[len ? 2 : 1] = (struct vdesc){ gpa_of(&r->status), 1, D_WRITE, 0 };
	v_offer(vq, head);
}

/* 2.7.8.2: bytes from the first on; the status is the last one, behind the data of a read. */
static uint32_t written(uint32_t type, uint32_t len, uint8_t status)
{
	if (!len || (type != T_IN && type != T_GET_ID))
		return 1;
	if (status != OK)
		return 0;
	return type == T_GET_ID && len > ID ? ID : len + 1;
}

/* One request on queue 0, waited for: its status. */
static uint8_t one(uint32_t type, uint64_t sector, void *buf, uint32_t len)
{
	const unsigned slot = dice(2);
	uint32_t id, used;

	submit(0, slot, type, sector, buf, len);
	v_notify(&dev, 0);
	if (!v_wait(&dev.queue[0], &id, &used))
		return NO_ANSWER;
	if (id != 3 * slot)
		die("another request than the one sent is used");
	if (used != written(type, len, requests[slot].status))
		die("a used length that is not what was written");
	return requests[slot].status;
}

static uint64_t word_of(uint64_t sector, uint64_t key, unsigned i)
{
	return (sector * 0x9e3779b97f4a7c15ull + key) ^ i;
}

static void paint(void *buf, uint64_t sector, uint32_t len, uint64_t key)
{
	uint64_t *w = buf;

	for (uint32_t i = 0; i < len / 8; i++)
		w[i] = word_of(sector + i / 64, key, i % 64);
}

static bool is_painted(const void *buf, uint64_t sector, uint32_t len, uint64_t key)
{
	const uint64_t *w = buf;

	for (uint32_t i = 0; i < len / 8; i++)
		if (w[i] != word_of(sector + i / 64, key, i % 64))
			return false;
	return true;
}

static bool is_all(const void *buf, uint8_t byte, size_t n)
{
	const uint8_t *p = buf;

	while (n && *p == byte)
		p++, n--;
	return !n;
}

static bool check_identity(void)
{
	bool ok = want("magic", v_read(&dev, V_MAGIC), 0x74726976) &
		  want("version", v_read(&dev, V_VERSION), 2) &
		  want("device", v_read(&dev, V_ID), 2) &
		  want("bytes of a segment", v_read(&dev, V_CONFIG + 8), 1u << 20) &
		  want("segments", v_read(&dev, V_CONFIG + 12), 254) &
		  want("block size", v_read(&dev, V_CONFIG + 20), SECTOR) &
		  want("queues", mmio_read16(dev.gpa + V_CONFIG + 34), arg_number("queues", 1)) &
		  want("read-only", !!(offered & F_RO), arg("ro") != NULL) &
		  want("MQ", !!(offered & F_MQ), arg_number("queues", 1) > 1);

	if (arg("sectors"))
		ok &= want("capacity", capacity, arg_number("sectors", 0));
	return ok & want("no packed ring", offered >> 34 & 1, 0);
}

/* Writes and reads of all lengths anywhere, each sector remembered by its key. */
static bool check_data(void)
{
	static uint8_t key[8192]; /* of each of the first sectors; 0: not yet written */
	const uint64_t sectors = capacity < sizeof(key) ? capacity : sizeof(key);
	bool ok = true;

	for (unsigned n = 0; n < 600 && ok; n++) {
		const uint32_t count = 1 + dice(8), len = count * SECTOR;
		const uint64_t at = dice((uint32_t)(sectors - count));

		if (n % 2) {
			paint(data, at, len, n % 251 + 1);
			ok = want("write", one(T_OUT, at, data, len), OK);
			memset(key + at, (int)(n % 251 + 1), count);
			continue;
		}
		memset(data, 0xee, len);
		ok = want("read", one(T_IN, at, data, len), OK);
		for (unsigned i = 0; i < count && ok; i++)
			if (key[at + i])
				ok = want(
					"data",
					is_painted(data + i * SECTOR, at + i, SECTOR, key[at + i]),
					true);
	}
	return ok;
}

/* DEPTH requests at once on a queue, of which any order may come back. */
static bool burst(unsigned q, uint32_t type, uint64_t sector, uint64_t key)
{
	const uint16_t before = dev.queue[q].driver[1];
	bool ok = true;

	for (unsigned i = 0; i < DEPTH; i++) {
		if (type == T_OUT)
			paint(data + i * CHUNK, sector + i * 8, CHUNK, key);
		else
			memset(data + i * CHUNK, 0xee, CHUNK);
		submit(q, i, type, sector + i * 8, data + i * CHUNK, CHUNK);
	}
	if (v_wants_notify(&dev, q, before))
		v_notify(&dev, q);
	for (unsigned i = 0; i < DEPTH && ok; i++) {
		uint32_t id = 0, len = 0;

		ok = want("used", v_wait(&dev.queue[q], &id, &len), true) &&
		     want("status", requests[id / 3].status, OK) &&
		     want("length", len, type == T_IN ? CHUNK + 1 : 1);
	}
	for (unsigned i = 0; i < DEPTH && ok && type == T_IN; i++)
		ok = want("data", is_painted(data + i * CHUNK, sector + i * 8, CHUNK, key), true);
	return ok;
}

static bool check_depth(void)
{
	bool ok = true;

	for (unsigned i = 0; i < 10 && ok; i++)
		ok = burst(0, T_OUT, i * 8, i) && burst(0, T_IN, i * 8, i);
	return ok;
}

static bool check_queues(void)
{
	bool ok = true;

	for (unsigned q = 0; q < dev.nr_queues && ok; q++)
		ok = burst(q, T_OUT, q * 16, q) && burst(q, T_IN, q * 16, q);
	return ok;
}

/* 2.7.4: the same request in pieces of any size, also of none. */
static bool check_framing(void)
{
	struct vqueue *vq = &dev.queue[0];
	uint32_t id, len, at = 0;
	uint16_t n = 0;

	paint(data, 5, 2 * SECTOR, 77);
	if (!want("write", one(T_OUT, 5, data, 2 * SECTOR), OK))
		return false;
	memset(data, 0xee, CHUNK);
	requests[0] = (struct request){ T_IN, 0, 5, NO_ANSWER };
	for (; n < 16; n++) /* the header byte by byte */
		vq->desc[n] =
			(struct vdesc){ gpa_of(&requests[0]) + n, 1, D_NEXT, (uint16_t)(n + 1) };
	while (at < 2 * SECTOR) {
		const uint32_t most = 2 * SECTOR - at, part = dice(100) + dice(2);
		const uint32_t now = part < most ? part : most;

		vq->desc[n] = (struct vdesc){ now ? gpa_of(data) + at : ~0ull, now,
					      D_NEXT | D_WRITE, (uint16_t)(n + 1) };
		at += now;
		n++;
	}
	vq->desc[n] = (struct vdesc){ gpa_of(&requests[0].status), 1, D_WRITE, 0 };
	v_offer(vq, 0);
	v_notify(&dev, 0);
	return want("used", v_wait(vq, &id, &len), true) &&
	       want("status", requests[0].status, OK) && want("length", len, 2 * SECTOR + 1) &&
	       want("data", is_painted(data, 5, 2 * SECTOR, 77), true);
}

static bool check_errors(void)
{
	bool ok = want("beyond the end", one(T_IN, capacity, data, SECTOR), IOERR);

	ok &= want("across the end", one(T_IN, capacity - 1, data, 2 * SECTOR), IOERR);
	ok &= want("sector 2^64 - 1", one(T_IN, ~0ull, data, SECTOR), IOERR);
	ok &= want("sector 2^55", one(T_IN, 1ull << 55, data, SECTOR), IOERR);
	ok &= want("half a sector", one(T_IN, 0, data, SECTOR / 2), IOERR);
	ok &= want("no data", one(T_IN, 0, data, 0), OK);
	ok &= want("unknown type", one(99, 0, data, SECTOR), UNSUPP);
	ok &= want("a write beyond the end", one(T_OUT, capacity, data, SECTOR), IOERR);
	return ok & want("after all that", one(T_IN, capacity - 1, data, SECTOR), OK);
}

static bool check_id(void)
{
	const char *wanted = arg("id");
	bool ok = true;

	memset(data, 0xee, 64 + SECTOR);
	ok &= want("status", one(T_GET_ID, 0, data, ID), OK);
	for (unsigned i = 0; wanted && wanted[i] && wanted[i] != ' ' && i < ID; i++)
		ok &= want("the id's byte", data[i], (uint8_t)wanted[i]);
	return ok & want("a digit", data[0] >= '0' && data[0] <= '9', true) &
	       want("no byte more", data[ID], 0xee) &
	       want("short", one(T_GET_ID, 0, data + 32, 5), OK) & want("short", data[37], 0xee) &
	       want("long", one(T_GET_ID, 0, data + 64, SECTOR), OK) &
	       want("long", data[64 + ID], 0xee);
}

static bool check_flush(void)
{
	return want("flush", one(T_FLUSH, 0, data, 0), offered & F_FLUSH ? OK : UNSUPP);
}

struct range {
	uint64_t sector;
	uint32_t nr, flags;
};

static bool zero_range(uint64_t sector, uint32_t nr, uint32_t flags)
{
	struct range *r = (struct range *)(data + 60000);
	bool ok;

	paint(data, sector - 1, (nr + 2) * SECTOR, 3);
	ok = want("write", one(T_OUT, sector - 1, data, (nr + 2) * SECTOR), OK);
	*r = (struct range){ sector, nr, flags };
	ok &= want("zeroes", one(T_ZEROES, 0, r, sizeof(*r)), OK);
	ok &= want("read", one(T_IN, sector - 1, data, (nr + 2) * SECTOR), OK);
	ok &= want("before", is_painted(data, sector - 1, SECTOR, 3), true);
	ok &= want("zeros", is_all(data + SECTOR, 0, nr * SECTOR), true);
	return ok &
	       want("after", is_painted(data + (nr + 1) * SECTOR, sector + nr, SECTOR, 3), true);
}

static bool check_ranges(void)
{
	struct range *r = (struct range *)(data + 60000);
	bool ok = zero_range(8, 8, 0) & zero_range(8, 8, 1) & zero_range(17, 3, 0) &
		  zero_range(33, 50, 1) & zero_range(100, 1, 0);

	*r = (struct range){ 64, 64, 0 };
	ok &= want("discard", one(T_DISCARD, 0, r, sizeof(*r)), OK);
	r->flags = 1;
	ok &= want("discard with a flag", one(T_DISCARD, 0, r, sizeof(*r)), UNSUPP);
	r->flags = 2;
	ok &= want("zeroes with an unknown flag", one(T_ZEROES, 0, r, sizeof(*r)), UNSUPP);
	*r = (struct range){ capacity - 1, 2, 0 };
	ok &= want("zeroes beyond the end", one(T_ZEROES, 0, r, sizeof(*r)), IOERR);
	*r = (struct range){ 0, 0xffffffff, 0 };
	ok &= want("too many", one(T_ZEROES, 0, r, sizeof(*r)), IOERR);
	*r = (struct range){ ~0ull, 8, 0 };
	ok &= want("discard far out", one(T_DISCARD, 0, r, sizeof(*r)), IOERR);
	ok &= want("half a segment", one(T_DISCARD, 0, r, 8), IOERR);
	r[0] = r[1] = (struct range){ 64, 8, 0 };
	return ok & want("two segments", one(T_DISCARD, 0, r, 32), IOERR);
}

/* An interrupt at the used index that was asked for, and at no other. */
static bool check_event_index(void)
{
	struct vqueue *vq = &dev.queue[0];
	uint32_t before;
	bool ok = true;

	apic_enable();
	ioapic_route(VIRTIO_GSI, VECTOR);
	start(0);
	for (unsigned i = 0; i < 20 && ok; i++) {
		before = interrupts[VECTOR];
		vq->driver[2 + vq->size] = (uint16_t)(vq->seen + 2); /* at the third */
		ok = want("read", one(T_IN, 0, data, SECTOR), OK) &&
		     want("read", one(T_IN, 0, data, SECTOR), OK) &&
		     want("early", v_read(&dev, V_INTERRUPT), 0) &&
		     want("read", one(T_IN, 0, data, SECTOR), OK) &&
		     want("interrupt", wait_for(VECTOR, before + 1), true) &&
		     want("its reason", v_read(&dev, V_INTERRUPT), 1);
		v_write(&dev, V_ACK, 1);
		ok = ok && want("acknowledged", v_read(&dev, V_INTERRUPT), 0);
	}
	start(F_EVENT_IDX);
	vq->driver[0] = 1; /* 2.7.7: no interrupt, please */
	ok = ok && want("read", one(T_IN, 0, data, SECTOR), OK) &&
	     want("not wanted", v_read(&dev, V_INTERRUPT), 0);
	vq->driver[0] = 0;
	before = interrupts[VECTOR];
	ok = ok && want("read", one(T_IN, 0, data, SECTOR), OK) &&
	     want("interrupt", wait_for(VECTOR, before + 1), true);
	ioapic_write(IOAPIC_PIN(VIRTIO_GSI), IOAPIC_MASKED);
	start(0);
	return ok;
}

/* With none of the features, with small queues, and back. */
static bool check_plain(void)
{
	bool ok = true;

	for (uint16_t size = 8; size <= VQ_MAX; size *= 2) {
		v_start(&dev, 0, F_VERSION_1, 1, size);
		for (unsigned i = 0; i < 40 && ok; i++) {
			paint(data, i, SECTOR, size);
			ok = arg("ro") || want("write", one(T_OUT, i, data, SECTOR), OK);
			ok = ok && want("read", one(T_IN, i, data, SECTOR), OK) &&
			     (arg("ro") || want("data", is_painted(data, i, SECTOR, size), true));
		}
	}
	start(0);
	return ok;
}

/* In the middle of as many requests as there can be, again and again. */
static bool check_reset(void)
{
	bool ok = true;

	for (unsigned n = 0; n < 50 && ok; n++) {
		for (unsigned i = 0; i < VQ_MAX / 3; i++)
			submit(0, i, i % 3 || arg("ro") ? T_IN : T_OUT, i * 8,
			       data + i % DEPTH * CHUNK, CHUNK);
		v_notify(&dev, 0);
		for (uint32_t i = dice(20000); i > 0; i--)
			__asm__ volatile("pause");
		start(0);
		memset(data, 0x5a, DEPTH * CHUNK); /* nobody writes there any more */
		for (uint32_t i = dice(20000); i > 0; i--)
			__asm__ volatile("pause");
		ok = want("left alone", is_all(data, 0x5a, DEPTH * CHUNK), true) &&
		     want("read", one(T_IN, 0, data, SECTOR), OK);
	}
	return ok;
}

static bool check_read_only(void)
{
	struct range *r = (struct range *)(data + 60000);
	bool ok = want("write", one(T_OUT, 0, data, SECTOR), IOERR);

	*r = (struct range){ 0, 8, 0 };
	ok &= want("zeroes", one(T_ZEROES, 0, r, sizeof(*r)), IOERR);
	ok &= want("discard", one(T_DISCARD, 0, r, sizeof(*r)), IOERR);
	return ok & want("read", one(T_IN, 0, data, SECTOR), OK);
}

#define WRITES	  1u /* needs a disk that can be written */
#define READ_ONLY 2u
static const struct {
	const char *name;
	bool (*check)(void);
	unsigned needs;
} checks[] = {
	{ "identity", check_identity, 0 },
	{ "data", check_data, WRITES },
	{ "depth", check_depth, WRITES },
	{ "queues", check_queues, WRITES },
	{ "framing", check_framing, WRITES },
	{ "errors", check_errors, WRITES },
	{ "id", check_id, 0 },
	{ "flush", check_flush, 0 },
	{ "ranges", check_ranges, WRITES },
	{ "event", check_event_index, 0 },
	{ "plain", check_plain, 0 },
	{ "reset", check_reset, 0 },
	{ "readonly", check_read_only, READ_ONLY },
};

static int fill_or_verify(bool is_fill)
{
	const uint64_t key = arg_number("key", 0), step = DEPTH * 8;
	const uint64_t from = arg_number("from", 0), to = arg_number("to", capacity);
	bool ok = true;

	for (uint64_t at = from; at + step <= to && ok; at += step)
		ok = burst(0, is_fill ? T_OUT : T_IN, at, key);
	if (is_fill && ok && !arg("noflush"))
		ok = want("flush", one(T_FLUSH, 0, data, 0), OK);
	print("blk: %s %s\n", is_fill ? "fill" : "verify", ok ? "ok" : "FAILED");
	return !ok;
}

/*
 * n=N requests of len=N bytes, qd=N at once, at random places or `inorder`, reads or `write`:
 * nothing is looked at but the status. Prints the cycles that it took.
 */
static int speed(void)
{
	const uint64_t n = arg_number("n", 6400), qd = arg_number("qd", 32);
	const uint32_t len = (uint32_t)arg_number("len", CHUNK), type = arg("write") ? T_OUT : T_IN;
	const uint64_t places = capacity * SECTOR / len, begin = rdtsc();
	const bool is_random = !arg("inorder");
	uint8_t *const buf = pages(qd * len);
	uint64_t sent = 0, done = 0;

	while (done < n) {
		const uint16_t before = dev.queue[0].driver[1];
		uint32_t id, used;

		for (; sent < n && sent - done < qd; sent++) {
			const unsigned slot = sent < qd ? (unsigned)sent : free_slot;
			const uint64_t at = (is_random ? dice((uint32_t)places) : sent % places);

			submit(0, slot, type, at * (len / SECTOR), buf + slot * len, len);
		}
		if (dev.queue[0].driver[1] != before && v_wants_notify(&dev, 0, before))
			v_notify(&dev, 0);
		if (!v_wait(&dev.queue[0], &id, &used) || requests[id / 3].status != OK)
			return 1;
		free_slot = id / 3;
		done++;
	}
	print("blk: %lu requests in %lu cycles\n", n, rdtsc() - begin);
	return 0;
}

/* Numbers in order into sector 0 on, a flush after each; says which are safe. */
static int count(void)
{
	for (uint64_t i = 1;; i++) {
		for (unsigned part = 0; part < 4; part++) {
			const uint64_t at = (i * 13 + part * 29) % (capacity - 1);

			paint(data, at, SECTOR, i);
			if (one(T_OUT, at, data, SECTOR) != OK)
				return 1;
		}
		paint(data, capacity - 1, SECTOR, i);
		if (one(T_OUT, capacity - 1, data, SECTOR) != OK || one(T_FLUSH, 0, data, 0) != OK)
			return 1;
		print("%lu\n", i);
	}
}

/* What count() left in the last sector: a whole one, and no older than what it said was safe. */
static int at_least(uint64_t safe)
{
	const uint64_t last = capacity - 1;
	uint64_t key;

	if (one(T_IN, last, data, SECTOR) != OK)
		return 1;
	memcpy(&key, data, sizeof(key));
	key -= word_of(last, 0, 0);
	print("blk: %lu, of which %lu were safe\n", key, safe);
	return !is_painted(data, last, SECTOR, key) || key < safe;
}

/* Writes from the beginning until there is no room, and goes on when there is. */
static int outgrow(void)
{
	uint64_t at = 0;

	while (at < capacity && one(T_OUT, at, data, CHUNK) == OK)
		at += CHUNK / SECTOR;
	print("blk: an error at sector %lu\n", at);
	while (one(T_OUT, at, data, CHUNK) != OK)
		;
	print("blk: writes again\n");
	return 0;
}

/* Reads all over an image whose second half goes away, and comes back. */
static int watch(void)
{
	uint64_t lost;

	print("blk: reading\n");
	do
		lost = dice((uint32_t)capacity);
	while (one(T_IN, lost, data, SECTOR) == OK);
	print("blk: an error at sector %lu\n", lost);
	if (!want("it is in the second half", lost >= capacity / 2, true) ||
	    !want("the first half", one(T_IN, 0, data, SECTOR), OK))
		return 1;
	while (one(T_IN, lost, data, SECTOR) != OK)
		;
	print("blk: reads again\n");
	return 0;
}

/* Writes and reads everything; what overlaps [from, to) bytes fails, and nothing else. */
static int bad_sectors(uint64_t from, uint64_t to)
{
	bool ok = true;

	for (uint64_t at = 0; at + 8 <= capacity; at += 8) {
		const bool is_bad = at * SECTOR < to && at * SECTOR + CHUNK > from;
		const uint8_t status = is_bad ? IOERR : OK;

		paint(data, at, CHUNK, 1);
		ok &= want("write", one(T_OUT, at, data, CHUNK), status);
		memset(data, 0, CHUNK);
		ok &= want("read", one(T_IN, at, data, CHUNK), status);
		ok &= is_bad || want("data", is_painted(data, at, CHUNK, 1), true);
	}
	print("blk: bad sectors %s\n", ok ? "ok" : "FAILED");
	return !ok;
}

/* Until the device says that it has become larger; then its last sector is there. */
static int grow(void)
{
	const uint64_t before = capacity;

	print("blk: %lu sectors, waiting\n", before);
	while (!(v_read(&dev, V_INTERRUPT) & 2)) /* 4.2.2: the configuration has changed */
		;
	v_write(&dev, V_ACK, 2);
	capacity = config64(0);
	print("blk: now %lu sectors\n", capacity);
	return !(want("larger", capacity > before, true) &
		 want("its last sector", one(T_IN, capacity - 1, data, SECTOR), OK) &
		 want("none behind it", one(T_IN, capacity, data, SECTOR), IOERR));
}

int guest_main(void)
{
	const size_t nr_checks = sizeof(checks) / sizeof(checks[0]);
	unsigned failed = 0, done = 0;

	requests = pages(VQ_MAX * sizeof(*requests));
	data = pages(VQ_MAX * CHUNK);
	dev.gpa = DEVICE_GPA + DEVICE_SIZE;
	offered = v_offered(&dev);
	capacity = config64(0);
	start(0);
	if (arg("fill") || arg("verify"))
		return fill_or_verify(arg("fill"));
	if (arg("speed"))
		return speed();
	if (arg("watch"))
		return watch();
	if (arg("outgrow"))
		return outgrow();
	if (arg("grow"))
		return grow();
	if (arg("badfrom"))
		return bad_sectors(arg_number("badfrom", 0), arg_number("badto", 0));
	if (arg("count"))
		return count();
	if (arg("atleast"))
		return at_least(arg_number("atleast", 0));
	for (size_t i = 0; i < nr_checks; i++) {
		const unsigned without = arg("ro") ? WRITES : READ_ONLY;
		bool ok;

		if ((arg("do") && !arg_is("do", checks[i].name)) || checks[i].needs == without)
			continue;
		ok = checks[i].check();
		print("blk: %s %s\n", checks[i].name, ok ? "ok" : "FAILED");
		failed += !ok;
		done++;
	}
	print("blk: %u checks, %u failed\n", done, failed);
	return failed != 0 || done == 0;
}
