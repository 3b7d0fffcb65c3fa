// SPDX-License-Identifier: Apache-2.0
/*
 * The block device. take() takes chains out of a queue, parse() makes requests of them, disk_io.c
 * does the work, complete() answers. Each request is answered once, or forgotten by a reset.
 * Section numbers are virtio 1.2's.
 */
#include "blk.h"
#include "../vmm/log.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* 5.2.3 */
#define F_SIZE_MAX     (1ull << 1)
#define F_SEG_MAX      (1ull << 2)
#define F_RO	       (1ull << 5)
#define F_BLK_SIZE     (1ull << 6)
#define F_FLUSH	       (1ull << 9)
#define F_TOPOLOGY     (1ull << 10)
#define F_MQ	       (1ull << 12)
#define F_DISCARD      (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

/* 5.2.6 */
enum {
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13,
};
enum { S_OK, S_IOERR, S_UNSUPP };
#define IN_PROGRESS (-1) /* no status yet */

#define ID_SIZE	     20u
#define UNMAP	     1u		     /* 5.2.6: flags of a write-zeroes segment */
#define SEG_MAX	     (QUEUE_MAX - 2) /* header and status take a descriptor each */
#define SIZE_MAX_    (1u << 20)
#define TURN_BYTES   (16u << 20)
#define RANGE_MAX    (1u << 21) /* sectors in one discard or write-zeroes: 1 GiB */
#define PHYSICAL_EXP 3u		/* 2^3 sectors: 4 KiB, what hosts write at once */
#define LOOKS	     32u	/* some 40 cycles each */

/* 5.2.4, as far as we fill it. */
struct config {
	uint64_t capacity; /* sectors */
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size; /* blocks */
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
};
_Static_assert(sizeof(struct config) == 64 && sizeof(struct config) <= VIRTIO_CONFIG_MAX, "5.2.4");

/* At any address: 2.7.4 asks for no alignment. */
struct header {
	uint32_t type, reserved;
	uint64_t sector;
} __attribute__((packed));

struct range {
	uint64_t sector;
	uint32_t nr, flags;
};

/* The last request of a device that is being reset. */
static void end_reset(struct blk *b)
{
	b->is_stopping = false;
	disk_io_resume(&b->disk);
	virtio_reset_done(&b->dev);
}

/*
 * After a reset's begin the guest's memory is its own again: nothing is written there. After that
 * of a rest, what was done and not answered is done again, which changes nothing.
 */
static void complete(struct blk_request *r, int status)
{
	struct blk *b = r->blk;

	r->is_in_flight = false;
	b->nr_in_flight--;
	b->counters.counts[BLOCK_EXECUTE_FAILS] += status == S_IOERR && !b->is_stopping;
	b->counters.counts[BLOCK_INVALID_REQS_COUNT] += status == S_UNSUPP;
	b->has_progress = true;
	loop_at_turn_end(b->dev.loop, &b->turn);
	if (status != S_OK && r->written > 1) /* 2.7.8.2: nothing in front of the status is sure */
		r->written = 0;
	if (!b->is_stopping) {
		*(volatile uint8_t *)r->status = (uint8_t)status;
		virtio_push(&b->dev, r->queue, r->head, r->written);
		virtio_notify(&b->dev, r->queue);
	} else if (b->nr_in_flight == 0) {
		end_reset(b);
	}
}

static void warn(struct blk *b, const struct disk_io *io, int err)
{
	const bool is_cancelled = err == -ECANCELED; /* by a reset, or for want of a thread */

	if (b->is_warned || err == -EOPNOTSUPP || (is_cancelled && b->is_stopping))
		return;
	b->is_warned = true;
	fail(err, "%s: %s failed%s, which the guest is told; this is said once",
	     b->disk.config->path, io->what == DISK_READ ? "reading" : "writing",
	     is_cancelled ? " (may the kernel start no thread for it? pids.max of the cgroup, "
			    "RLIMIT_NPROC)"
			  : "");
}

static void count(const struct blk_request *r)
{
	struct device_counters *c = &r->blk->counters;
	const uint64_t us = (loop_turn_ns(r->blk->dev.loop) - r->begun_ns) / 1000;

	if (r->charge == 0) {
		c->counts[BLOCK_FLUSH_COUNT] += r->io.what == DISK_FLUSH;
	} else if (r->io.what == DISK_READ) {
		c->counts[BLOCK_READ_COUNT]++;
		c->counts[BLOCK_READ_BYTES] += r->charge;
		latency_add(&c->latency[BLOCK_READ], us);
	} else {
		c->counts[BLOCK_WRITE_COUNT]++;
		c->counts[BLOCK_WRITE_BYTES] += r->charge;
		latency_add(&c->latency[BLOCK_WRITE], us);
	}
}

/* 5.2.6.2: a driver that did not take FLUSH counts on every write being there. */
static bool needs_flush(const struct blk *b, const struct disk_io *io)
{
	return io->what != DISK_READ && io->what != DISK_FLUSH &&
	       b->dev.offered & ~b->dev.features & F_FLUSH && !b->is_stopping;
}

static void on_done(struct disk_io *io, int err)
{
	struct blk_request *r = container_of(io, struct blk_request, io);
	struct blk *b = r->blk;

	if (!err && needs_flush(b, io)) {
		if (io->image == b->disk.nr_replaced) {
			io->what = DISK_FLUSH;
			disk_io_submit(&b->disk, io);
			return;
		}
		err = -EIO; /* a flush of the present image would not sync what went to another */
	}
	if (err)
		warn(b, io, err);
	else
		count(r);
	complete(r, !err ? S_OK : err == -EOPNOTSUPP ? S_UNSUPP : S_IOERR);
}

/*
 * 2.7.4: where a request is cut into segments means nothing. Takes `len` bytes from the front of
 * *iov, into `to`; false where there are not as many.
 */
static bool take_front(struct iovec **iov, unsigned *nr, void *to, size_t len)
{
	uint8_t *at = to;

	while (len > 0 && *nr > 0) {
		struct iovec *v = *iov;
		const size_t n = len < v->iov_len ? len : v->iov_len;

		memcpy(at, v->iov_base, n);
		at += n;
		len -= n;
		v->iov_base = (uint8_t *)v->iov_base + n;
		v->iov_len -= n;
		if (v->iov_len == 0) {
			++*iov;
			--*nr;
		}
	}
	return len == 0;
}

/* The last byte is the status; none of the segments is empty before, nor after. */
static uint8_t *take_status(struct iovec *iov, unsigned *nr)
{
	struct iovec *last = &iov[*nr - 1];

	last->iov_len--;
	if (last->iov_len == 0)
		--*nr;
	return (uint8_t *)last->iov_base + last->iov_len;
}

static bool is_inside(const struct blk *b, uint64_t sector, uint64_t nr)
{
	const uint64_t capacity = b->disk.size / DISK_SECTOR;

	return sector <= capacity && nr <= capacity - sector;
}

static int parse_transfer(struct blk_request *r, enum disk_what what, uint64_t sector,
			  const struct iovec *iov, unsigned nr, uint64_t bytes)
{
	if (bytes % DISK_SECTOR || !is_inside(r->blk, sector, bytes / DISK_SECTOR))
		return S_IOERR;
	if (bytes == 0)
		return S_OK;
	r->iov[0] = iov[0];
	if (nr > 1)
		memcpy(r->iov + 1, iov + 1, (nr - 1) * sizeof(*iov));
	r->io.what = what;
	r->io.offset = sector * DISK_SECTOR;
	r->io.left = r->charge = bytes;
	r->io.iov = r->iov;
	r->io.nr_iov = nr;
	return IN_PROGRESS;
}

/* 5.2.6.2: unknown flags, and any flag of a discard, are unsupported; one segment is the most. */
static int parse_range(struct blk_request *r, uint32_t type, struct iovec *iov, unsigned nr,
		       uint64_t bytes)
{
	const uint32_t known = type == T_WRITE_ZEROES ? UNMAP : 0;
	struct range range;

	if (bytes != sizeof(range) || !take_front(&iov, &nr, &range, sizeof(range)))
		return S_IOERR;
	if (range.flags & ~known)
		return S_UNSUPP;
	if (range.nr > RANGE_MAX || !is_inside(r->blk, range.sector, range.nr))
		return S_IOERR;
	if (range.nr == 0)
		return S_OK;
	r->io.what = type == T_DISCARD	   ? DISK_DISCARD
		     : range.flags & UNMAP ? DISK_UNMAP
					   : DISK_ZERO;
	r->io.offset = range.sector * DISK_SECTOR;
	r->io.left = (uint64_t)range.nr * DISK_SECTOR;
	return IN_PROGRESS;
}

static int answer_id(const struct blk *b, struct blk_request *r, const struct iovec *iov,
		     unsigned nr)
{
	uint32_t done = 0;

	for (unsigned i = 0; i < nr && done < ID_SIZE; i++) {
		const size_t room = ID_SIZE - done;
		const size_t n = iov[i].iov_len < room ? iov[i].iov_len : room;

		memcpy(iov[i].iov_base, b->disk.serial + done, n);
		done += (uint32_t)n;
	}
	if (done < r->written - 1) /* 2.7.8.2: the rest is as it was */
		r->written = done;
	return S_OK;
}

static int parse_flush(const struct blk *b, struct blk_request *r)
{
	if (!(b->dev.offered & F_FLUSH))
		return S_UNSUPP;
	r->io.what = DISK_FLUSH;
	r->io.offset = r->io.left = 0;
	return IN_PROGRESS;
}

/* One snapshot: what is checked is what is used. */
static struct header load_header(const volatile struct header *from)
{
	return (struct header){ from->type, from->reserved, from->sector };
}

/* Fills r->io from the chain: IN_PROGRESS where it is to be submitted, else the status. */
static int parse(struct blk *b, struct blk_request *r, struct queue_chain *c)
{
	struct iovec *in = c->iov, *out = c->iov + c->nr_readable;
	unsigned nr_in = c->nr_readable, nr_out = c->nr_writable;
	struct header h;
	uint64_t bytes;

	r->status = take_status(out, &nr_out);
	r->written = c->writable;
	r->charge = 0;
	if (nr_in > 0 && in->iov_len == sizeof(h)) { /* as drivers do */
		h = load_header(in->iov_base);
		in++;
		nr_in--;
	} else if (!take_front(&in, &nr_in, &h, sizeof(h))) {
		return S_IOERR;
	}
	bytes = c->readable - sizeof(h);
	switch (h.type) {
	case T_IN:
		return parse_transfer(r, DISK_READ, h.sector, out, nr_out, c->writable - 1);
	case T_FLUSH:
		return parse_flush(b, r);
	case T_GET_ID:
		return answer_id(b, r, out, nr_out);
	case T_OUT:
	case T_DISCARD:
	case T_WRITE_ZEROES:
		if (b->dev.offered & F_RO) /* 5.2.6.2 */
			return S_IOERR;
		return h.type == T_OUT ? parse_transfer(r, DISK_WRITE, h.sector, in, nr_in, bytes)
				       : parse_range(r, h.type, in, nr_in, bytes);
	default:
		return S_UNSUPP;
	}
}

/* Bytes for the limit: zeros are some where it is known that they have to be written as such. */
static uint64_t cost(const struct blk *b, const struct blk_request *r)
{
	const bool is_zeros = r->io.what == DISK_ZERO || r->io.what == DISK_UNMAP;

	return is_zeros && b->disk.writes_zeros ? r->io.left : r->charge;
}

/* Whether a request may go now; else it is held, and the timer set. */
static bool is_allowed(struct blk *b, struct blk_request *r)
{
	const uint64_t wait = limit_is_off(&b->limit) ? 0
						      : limit_take(&b->limit, cost(b, r),
								   loop_now_ns(CLOCK_MONOTONIC));

	if (wait == 0)
		return true;
	b->held = r;
	b->counters.counts[BLOCK_RATE_LIMITER_THROTTLED_EVENTS]++;
	if (!b->is_timing) {
		b->is_timing = true;
		loop_timeout_ns(b->dev.loop, &b->timer_op, &b->timer, wait);
	}
	return false;
}

static void handle(struct blk *b, unsigned queue)
{
	struct queue_chain *c = &b->chain;
	struct blk_request *r = &b->requests[queue * QUEUE_MAX + c->head];
	int status;

	if (c->writable == 0) { /* nothing can be answered */
		virtio_break(&b->dev, "a request without room for its status");
		return;
	}
	must(!r->is_in_flight);
	r->blk = b;
	r->queue = (uint16_t)queue;
	r->head = c->head;
	r->is_in_flight = true;
	r->io.done = on_done;
	r->begun_ns = loop_turn_ns(b->dev.loop);
	b->nr_in_flight++;
	status = parse(b, r, c);
	if (status != IN_PROGRESS)
		complete(r, status);
	else if (is_allowed(b, r))
		disk_io_submit(&b->disk, &r->io);
}

/*
 * As many requests as a queue holds, or TURN_BYTES of them, then it is others' turn: a guest can
 * ask for ever, and what the page cache has is copied by the loop's own thread.
 */
static void take(struct blk *b, unsigned queue)
{
	uint64_t bytes = 0;

	for (unsigned budget = QUEUE_MAX; budget > 0 && bytes < TURN_BYTES && !b->held; budget--) {
		if (!virtio_pop(&b->dev, queue, &b->chain))
			return;
		b->has_progress = true;
		bytes += (uint64_t)b->chain.readable + b->chain.writable;
		handle(b, queue);
	}
}

static void blk_kick(struct virtio_device *dev, unsigned queue)
{
	struct blk *b = container_of(dev, struct blk, dev);

	b->counters.counts[BLOCK_QUEUE_EVENT_COUNT]++;
	queue_disable_notifications(&dev->queues[queue]);
	b->is_polled[queue] = true;
	take(b, queue);
	loop_at_turn_end(dev->loop, &b->turn);
}

/* From here on a queue is the driver's to tell about; true where something has come meanwhile. */
static bool stop_polling(struct blk *b, unsigned queue)
{
	if (!b->dev.is_broken && queue_enable_notifications(&b->dev.queues[queue]))
		return true;
	b->is_polled[queue] = false;
	return false;
}

/*
 * A driver that runs just now sees its answers, and asks for more, within a microsecond of them:
 * as long is shorter than a sleep, and than a notification.
 */
static void await_driver(const struct blk *b)
{
	for (unsigned looks = 0; looks < LOOKS; looks++) {
		for (unsigned i = 0; i < b->dev.nr_queues; i++)
			if (b->is_polled[i] && queue_has_more(&b->dev.queues[i]))
				return;
		__builtin_ia32_pause();
	}
}

/*
 * What is read from the page cache comes back in the turn in which it was asked for, and so does
 * what the driver then asks for next: no notification is needed. But the loop must not wait with
 * notifications off, so that it does only after a turn in which nothing happened, or with nothing
 * in flight.
 */
static void on_turn(struct turn *turn)
{
	struct blk *b = container_of(turn, struct blk, turn);
	const bool had_progress = b->has_progress;
	bool goes_on;

	b->has_progress = false;
	if (had_progress && b->nr_in_flight == 0)
		await_driver(b);
	for (unsigned i = 0; i < b->dev.nr_queues; i++)
		if (b->is_polled[i])
			take(b, i);
	goes_on = b->has_progress || (had_progress && b->nr_in_flight > 0);
	for (unsigned i = 0; i < b->dev.nr_queues && !goes_on && !b->held; i++)
		goes_on = b->is_polled[i] && stop_polling(b, i);
	if (goes_on && !b->held && b->dev.is_running)
		loop_turn_again(b->dev.loop, turn);
}

static void on_timer(struct op *op, int res)
{
	struct blk *b = container_of(op, struct blk, timer_op);
	struct blk_request *r = b->held;

	(void)res; /* -ETIME */
	b->counters.counts[BLOCK_RATE_LIMITER_EVENT_COUNT]++;
	b->is_timing = false;
	b->held = NULL;
	if (!r || !is_allowed(b, r))
		return;
	disk_io_submit(&b->disk, &r->io);
	for (unsigned i = 1; i <= b->dev.nr_queues; i++) /* its own queue's turn is the last */
		blk_kick(&b->dev, (r->queue + i) % b->dev.nr_queues);
}

/* 2.4: stop taking, cancel, wait, forget. One more in flight until all have been told. */
static void blk_reset(struct virtio_device *dev)
{
	struct blk *b = container_of(dev, struct blk, dev);
	struct blk_request *held = b->held;

	memset(b->is_polled, 0, sizeof(b->is_polled));
	b->is_stopping = true;
	b->nr_in_flight++;
	b->held = NULL;
	if (held)
		complete(held, S_IOERR);
	disk_io_stop(&b->disk);
	for (unsigned i = 0; i < dev->nr_queues * QUEUE_MAX && b->nr_in_flight > 1; i++)
		if (b->requests[i].is_in_flight)
			loop_cancel(dev->loop, &b->requests[i].io.op);
	if (--b->nr_in_flight == 0)
		end_reset(b);
}

static const struct virtio_ops ops = { .kick = blk_kick, .reset = blk_reset };

static void fill_config(struct blk *b)
{
	const struct config config = {
		.capacity = b->disk.size / DISK_SECTOR,
		.size_max = SIZE_MAX_,
		.seg_max = SEG_MAX,
		.blk_size = DISK_SECTOR,
		.physical_block_exp = PHYSICAL_EXP,
		.min_io_size = 1u << PHYSICAL_EXP,
		.writeback = 1,
		.num_queues = (uint16_t)b->dev.nr_queues,
		.max_discard_sectors = RANGE_MAX,
		.max_discard_seg = 1,
		.discard_sector_alignment = 1u << PHYSICAL_EXP,
		.max_write_zeroes_sectors = RANGE_MAX,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};

	memcpy(b->dev.config, &config, sizeof(config));
	b->dev.config_size = sizeof(config);
}

int blk_open(struct blk *b, const struct disk_config *config)
{
	return disk_open(&b->disk, config);
}

static size_t requests_size(unsigned nr_queues)
{
	return (size_t)nr_queues * QUEUE_MAX * sizeof(struct blk_request);
}

int blk_init(struct blk *b, unsigned nr_queues, const struct mem *mem)
{
	const struct disk_config *config = b->disk.config;
	const size_t size = requests_size(nr_queues);
	uint64_t features = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_TOPOLOGY;

	if (config->is_read_only)
		features |= F_RO;
	else
		features |= F_DISCARD | F_WRITE_ZEROES;
	if (config->cache == DISK_CACHE_WRITEBACK)
		features |= F_FLUSH;
	if (nr_queues > 1)
		features |= F_MQ;
	/* Touched, and so paid for, only as far as the guest has requests at once. */
	b->requests = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->requests == MAP_FAILED) {
		b->requests = NULL;
		return fail(-errno, "%s: memory for its requests", config->path);
	}
	virtio_init(&b->dev, &ops, config->id, VIRTIO_ID_BLOCK, features, nr_queues, mem);
	fill_config(b);
	limit_init(&b->limit, &config->limit, loop_now_ns(CLOCK_MONOTONIC));
	b->timer_op.done = on_timer;
	b->turn.end = on_turn;
	return 0;
}

int blk_attach(struct blk *b, struct loop *loop)
{
	return disk_attach(&b->disk, loop);
}

/* 5.2.5.2: the driver is told of a new capacity, also where it is the old one. */
static void tell_capacity(struct blk *b)
{
	const uint64_t capacity = b->disk.size / DISK_SECTOR;

	virtio_config_set(&b->dev, offsetof(struct config, capacity), &capacity, sizeof(capacity));
}

int blk_update(struct blk *b, const struct disk_update *u)
{
	const int err = u->path ? disk_replace(&b->disk, u->path, u->fd) : 0;

	b->counters.counts[err ? BLOCK_UPDATE_FAILS : BLOCK_UPDATE_COUNT]++;
	if (err)
		return err;
	limit_set(&b->limit, u->bytes, u->ops, loop_now_ns(CLOCK_MONOTONIC));
	if (u->path)
		tell_capacity(b);
	return 0;
}

void blk_count(const struct blk *b, struct device_counters *to)
{
	*to = b->counters;
	to->queue_depth = b->nr_in_flight; /* the held one is among them */
}

/* What is in flight still uses all of it: then it goes with the process. */
void blk_close(struct blk *b)
{
	const bool is_idle = b->nr_in_flight == 0;

	disk_close(&b->disk, is_idle);
	if (is_idle && b->requests)
		munmap(b->requests, requests_size(b->dev.nr_queues));
	if (is_idle)
		b->requests = NULL;
}
