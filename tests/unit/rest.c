// SPDX-License-Identifier: Apache-2.0
/*
 * A device at rest (virtio/mmio.h), as a paused microVM has it and a snapshot keeps it: what comes
 * before the rest, in it and after it, here or in another process, from a state that may be
 * anything. By steps, in one thread; the loop is the test's own.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RING 8u
#include "driver.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define QUEUES	 2u
#define MEM_SIZE (1u << 20)
#define BUF_GPA	 0x40000u
#define LOW	 0x5ull /* the device's own feature bits */
#define ID	 42u
enum { STATUS = 0x070, INTERRUPTS = 0x060, ACK = 0x064, IRQ = 7, WAKE = 8 };
enum { NEEDS_RESET = 64, RUNNING = 15 };

/* Two of them: what one was, the other becomes. */
static struct test_device {
	struct virtio_device dev;
	struct queue_chain chain;
	unsigned nr_popped, nr_activated, nr_reset;
	bool is_holding, is_slow; /* keeps chains; does not end a reset by itself */
	uint16_t popped[64];
} devices[2], *t;

/* The loop. */
static struct loop loop;
static struct op *yielded[8];
static unsigned nr_yielded, nr_irqs;

int loop_file(struct loop *l, int fd)
{
	(void)l;
	return fd;
}

void loop_read(struct loop *l, struct op *op, int file, void *buf, unsigned len)
{
	(void)l;
	(void)op;
	(void)file;
	memset(buf, 0, len);
}

void loop_signal(int fd)
{
	nr_irqs += fd == IRQ;
}

void loop_yield(struct loop *l, struct op *op)
{
	(void)l;
	yielded[nr_yielded++] = op;
}

void loop_at_turn_end(struct loop *l, struct turn *turn)
{
	if (turn->is_queued)
		return;
	turn->is_queued = true;
	turn->next = l->turns;
	l->turns = turn;
}

static void end_turn(void)
{
	while (nr_yielded > 0) {
		struct op *op = yielded[--nr_yielded];

		op->done(op, 0);
	}
	while (loop.turns) {
		struct turn *turn = loop.turns;

		loop.turns = turn->next;
		turn->is_queued = false;
		turn->end(turn);
	}
}

/* Who writes 0 to Status would wait for the loop, which is this thread. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
			   const struct timespec *until)
{
	(void)cond;
	(void)mutex;
	(void)until;
	return ETIMEDOUT;
}

static void on_activate(struct virtio_device *dev)
{
	(void)dev;
	t->nr_activated++;
}

static void on_kick(struct virtio_device *dev, unsigned queue)
{
	while (virtio_pop(dev, queue, &t->chain)) {
		t->popped[t->nr_popped++ % COUNT(t->popped)] = t->chain.head;
		if (t->is_holding)
			continue;
		virtio_push(dev, queue, t->chain.head, t->chain.writable);
		virtio_notify(dev, queue);
	}
}

static void on_reset(struct virtio_device *dev)
{
	t->nr_reset++;
	if (!t->is_slow)
		virtio_reset_done(dev);
}

static const struct virtio_ops ops = { on_activate, on_kick, on_reset };

static void use(unsigned which)
{
	static const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6 };

	t = &devices[which];
	memset(t, 0, sizeof(*t));
	loop.turns = NULL;
	nr_yielded = nr_irqs = 0;
	virtio_init(&t->dev, &ops, "test", ID, LOW, QUEUES, &mem);
	t->dev.config_size = sizeof(bytes);
	memcpy(t->dev.config, bytes, sizeof(bytes));
	t->dev.is_warned = true;
	assert_int_equal(virtio_open(&t->dev, &loop, IRQ, WAKE), 0);
	virtio_listen(&t->dev);
}

static int make(void **state)
{
	(void)state;
	mem.nr_regions = 1;
	mem.regions[0] =
		(struct mem_region){ .size = MEM_SIZE, .host = aligned_alloc(4096, MEM_SIZE) };
	assert_non_null(mem.regions[0].host);
	memset(mem.regions[0].host, 0, MEM_SIZE);
	use(0);
	return 0;
}

static int drop(void **state)
{
	(void)state;
	free(mem.regions[0].host);
	return 0;
}

/* The loop sees what a register write set going, or a kick. */
static void wake(void)
{
	t->dev.wake_op.done(&t->dev.wake_op, sizeof(uint64_t));
	end_turn();
}

static void out(uint64_t reg, uint32_t value)
{
	write_register(&t->dev, reg, value);
}

static uint32_t in(uint64_t reg)
{
	uint32_t value;

	virtio_access(&t->dev, reg, (uint8_t *)&value, 4, false);
	return value;
}

static void request(unsigned queue, uint16_t head)
{
	descs(queue)[head] = (struct desc){ BUF_GPA, 77, D_WRITE, 0 };
	offer(queue, head);
}

static void start(void)
{
	start_device(&t->dev, LOW);
	wake();
}

static void hold(uint16_t nr)
{
	t->is_holding = true;
	start();
	for (uint16_t i = 0; i < nr; i++)
		request(0, i);
	wake();
	assert_int_equal(t->nr_popped, nr);
}

static void deaf(void **state)
{
	(void)state;
	start();
	virtio_kick_again(&t->dev, 1);
	virtio_rest(&t->dev);
	assert_true(virtio_is_at_rest(&t->dev));
	request(0, 0);
	request(1, 1);
	wake();
	virtio_kick_again(&t->dev, 0);
	end_turn();
	assert_int_equal(t->nr_popped, 0);
	assert_int_equal(device_area(0)[1] | device_area(1)[1], 0);
	assert_int_equal(in(STATUS), RUNNING);
	virtio_go_on(&t->dev);
	end_turn();
	assert_int_equal(t->nr_popped, 2);
	assert_int_equal(device_area(0)[1] & device_area(1)[1], 1);
	assert_int_equal(nr_irqs, 1);
}

static void in_flight(void **state)
{
	static const uint16_t want[] = { 0, 1, 3, 4, 7 };

	(void)state;
	hold(5);
	virtio_push(&t->dev, 0, 2, 1);
	virtio_rest(&t->dev);
	assert_int_equal(t->nr_reset, 1);
	request(0, 7);
	t->is_holding = false;
	virtio_go_on(&t->dev);
	end_turn();
	assert_int_equal(t->nr_activated, 2);
	assert_int_equal(t->nr_popped, 10);
	assert_memory_equal(t->popped + 5, want, sizeof(want));
	assert_int_equal(device_area(0)[1], 6);
	wake();
	assert_int_equal(t->nr_popped, 10);
}

/* In a rest that takes its time queues take what is done, and give nothing. */
static void slow_rest(void **state)
{
	(void)state;
	hold(3);
	t->is_slow = true;
	virtio_rest(&t->dev);
	assert_false(virtio_is_at_rest(&t->dev));
	request(0, 5);
	wake();
	virtio_push(&t->dev, 0, 1, 9);
	virtio_notify(&t->dev, 0);
	end_turn();
	assert_int_equal(device_area(0)[1], 1);
	assert_int_equal(nr_irqs, 1);
	assert_int_equal(t->nr_popped, 3);
	virtio_reset_done(&t->dev);
	assert_true(virtio_is_at_rest(&t->dev));
	assert_int_equal(in(STATUS), RUNNING);
	virtio_go_on(&t->dev);
	end_turn();
	assert_int_equal(t->nr_popped, 6);
	assert_int_equal(t->popped[5], 5);
}

static void rests_again(void **state)
{
	(void)state;
	hold(2);
	for (unsigned i = 0; i < 10; i++) {
		virtio_rest(&t->dev);
		virtio_rest(&t->dev); /* is at rest already */
		assert_true(virtio_is_at_rest(&t->dev));
		assert_int_equal(t->nr_reset, i + 1);
		virtio_go_on(&t->dev);
		end_turn();
		assert_int_equal(t->nr_popped, 2 * (i + 2));
	}
	out(STATUS, 0);
	wake();
	assert_int_equal(in(STATUS), 0);
	assert_int_equal(t->nr_reset, 11);
}

/* A start that the loop has not seen. */
static void starting(void **state)
{
	(void)state;
	request(0, 3);
	start_device(&t->dev, 0);
	virtio_rest(&t->dev);
	assert_int_equal(t->nr_activated, 1);
	assert_int_equal(t->nr_popped, 1);
	assert_true(virtio_is_at_rest(&t->dev));
	virtio_go_on(&t->dev);
	wake();
	assert_int_equal(t->nr_activated, 2);
	assert_int_equal(t->nr_popped, 1);
	assert_int_equal(device_area(0)[1], 1);
}

/* A reset that it has not seen, or that has not ended yet. */
static void stopping(void **state)
{
	(void)state;
	for (unsigned is_seen = 0; is_seen < 2; is_seen++) {
		use(0);
		memset(mem.regions[0].host, 0, MEM_SIZE);
		hold(3);
		t->is_slow = true;
		out(STATUS, 0);
		if (is_seen)
			wake();
		virtio_rest(&t->dev);
		assert_int_equal(t->nr_reset, 1);
		assert_false(virtio_is_at_rest(&t->dev));
		virtio_push(&t->dev, 0, 1, 9); /* is forgotten */
		virtio_reset_done(&t->dev);
		assert_true(virtio_is_at_rest(&t->dev));
		assert_int_equal(in(STATUS), 0);
		virtio_go_on(&t->dev);
		wake();
		assert_int_equal(t->nr_popped, 3);
		assert_int_equal(device_area(0)[1], 0);
		t->is_holding = t->is_slow = false;
		memset(mem.regions[0].host, 0, MEM_SIZE);
		start();
		request(0, 1);
		wake();
		assert_int_equal(device_area(0)[1], 1);
	}
}

static void never_used(void **state)
{
	(void)state;
	virtio_rest(&t->dev);
	assert_true(virtio_is_at_rest(&t->dev));
	assert_int_equal(t->nr_reset, 0);
	virtio_go_on(&t->dev);
	assert_int_equal(t->nr_activated, 0);
	start();
	request(1, 0);
	wake();
	assert_int_equal(device_area(1)[1], 1);
}

static void changed_in_a_rest(void **state)
{
	const uint8_t byte = 9;

	(void)state;
	start();
	virtio_rest(&t->dev);
	virtio_config_set(&t->dev, 0, &byte, 1);
	nr_irqs = 0;
	virtio_go_on(&t->dev);
	assert_int_equal(nr_irqs, 1);
	assert_int_equal(in(INTERRUPTS), 2);
}

static void stays_broken(void **state)
{
	(void)state;
	start();
	virtio_break(&t->dev, "by the test");
	virtio_rest(&t->dev);
	virtio_go_on(&t->dev);
	request(0, 0);
	wake();
	assert_int_equal(t->nr_popped, 0);
	assert_int_equal(in(STATUS), RUNNING | NEEDS_RESET);
	out(STATUS, 0);
	wake();
	assert_int_equal(in(STATUS), 0);
}

/* Another process, and the same memory. */
static void move(void)
{
	static struct virtio_state saved;

	virtio_rest(&t->dev);
	assert_true(virtio_is_at_rest(&t->dev));
	virtio_save(&t->dev, &saved);
	use(t == &devices[0]);
	assert_int_equal(virtio_load(&t->dev, &saved), 0);
	assert_true(virtio_is_at_rest(&t->dev));
}

static void same_registers(void)
{
	struct test_device *const from = t;

	move();
	for (uint32_t queue = 0; queue <= QUEUES; queue++) {
		write_register(&from->dev, 0x030, queue);
		out(0x030, queue);
		for (uint64_t reg = 0; reg < 0x110; reg += 4) {
			uint32_t was;

			virtio_access(&from->dev, reg, (uint8_t *)&was, 4, false);
			assert_int_equal(in(reg), was);
		}
	}
	for (unsigned i = 0; i < QUEUES; i++) {
		const struct queue_config *was = &from->dev.queue_config[i];
		const struct queue_config *is = &t->dev.queue_config[i];

		assert_true(is->size == was->size && is->desc == was->desc);
		assert_true(is->driver == was->driver && is->device == was->device);
	}
	assert_int_equal(from->dev.driver_features, t->dev.driver_features);
	assert_int_equal(from->dev.driver_features_sel, t->dev.driver_features_sel);
}

/* At each step of a driver's way to DRIVER_OK, and after it. */
static void moved_registers(void **state)
{
	static const uint32_t way[][2] = {
		{ 0x070, 1 },	    { 0x070, 3 },      { 0x014, 1 },	  { 0x024, 1 },
		{ 0x020, 1 },	    { 0x024, 0 },      { 0x020, LOW },	  { 0x070, 11 },
		{ 0x030, 1 },	    { 0x038, 4 },      { 0x080, 0x1000 }, { 0x084, 0 },
		{ 0x090, 0x2000 },  { 0x0a0, 0x3000 }, { 0x044, 1 },	  { 0x030, 0 },
		{ 0x080, 0x10000 }, { 0x070, 15 },
	};

	(void)state;
	same_registers();
	for (unsigned i = 0; i < COUNT(way); i++) {
		virtio_go_on(&t->dev);
		out(way[i][0], way[i][1]);
		same_registers();
	}
	assert_int_equal(in(STATUS), RUNNING);
	virtio_go_on(&t->dev);
	assert_int_equal(t->nr_activated, 1);
}

static void moved_requests(void **state)
{
	(void)state;
	hold(4);
	virtio_push(&t->dev, 0, 2, 1);
	for (unsigned i = 0; i < 5; i++) {
		move();
		t->is_holding = true;
		request(1, (uint16_t)i);
		virtio_go_on(&t->dev);
		end_turn();
		assert_int_equal(t->nr_popped, 3 + i + 1);
	}
	move();
	virtio_go_on(&t->dev);
	end_turn();
	assert_int_equal(device_area(0)[1], 4);
	assert_int_equal(device_area(1)[1], 5);
	assert_in_range(nr_irqs, 1, 2);
	out(STATUS, 0);
	wake();
	assert_int_equal(in(STATUS), 0);
}

/* An interrupt that the driver has not acknowledged may have been lost on its way. */
static void moved_interrupt(void **state)
{
	(void)state;
	start();
	request(0, 0);
	wake();
	assert_int_equal(in(INTERRUPTS), 1);
	move();
	virtio_go_on(&t->dev);
	assert_int_equal(nr_irqs, 1);
	out(ACK, 1);
	assert_int_equal(in(INTERRUPTS), 0);
	move();
	virtio_go_on(&t->dev);
	end_turn();
	assert_int_equal(nr_irqs, 0);
}

/* What was pushed and the driver not told of yet, at the end of the turn that is only here. */
static void moved_notification(void **state)
{
	(void)state;
	request(0, 0);
	start_device(&t->dev, 0);
	virtio_rest(&t->dev); /* starts it */
	assert_int_equal(device_area(0)[1], 1);
	assert_int_equal(nr_irqs, 0);
	move();
	virtio_go_on(&t->dev);
	end_turn();
	assert_int_equal(nr_irqs, 1);
	assert_int_equal(in(INTERRUPTS), 1);
}

/* A running device's state, with two requests in flight. */
static struct virtio_state good;

static void take_good(void)
{
	use(0);
	memset(mem.regions[0].host, 0, MEM_SIZE);
	hold(2);
	virtio_rest(&t->dev);
	virtio_save(&t->dev, &good);
	use(1);
}

/* Whatever was loaded, a driver can have its device anew. */
static void serves(void)
{
	virtio_go_on(&t->dev);
	wake();
	out(STATUS, 0);
	wake();
	assert_int_equal(in(STATUS), 0);
	memset(mem.regions[0].host, 0, MEM_SIZE);
	t->nr_popped = 0;
	start();
	request(0, 1);
	request(1, 2);
	wake();
	assert_int_equal(t->nr_popped, 2);
	assert_int_equal(in(STATUS), RUNNING);
}

static void refuses(const struct virtio_state *s)
{
	assert_int_equal(virtio_load(&t->dev, s), -EINVAL);
	assert_int_equal(in(STATUS), 0);
	assert_int_equal(t->dev.phase, VIRTIO_IDLE);
	assert_false(t->dev.is_resting);
	serves();
}

#define FIELD(f) offsetof(struct virtio_state, f), sizeof(((struct virtio_state *)0)->f)

static const struct {
	size_t at, size;
	uint64_t value;
} refused_fields[] = {
	{ FIELD(id), 0 },
	{ FIELD(id), VIRTIO_ID_NET },
	{ FIELD(nr_queues), 0 },
	{ FIELD(nr_queues), QUEUES + 1 },
	{ FIELD(nr_queues), UINT32_MAX },
	{ FIELD(offered), 0 },
	{ FIELD(offered), UINT64_MAX },
	{ FIELD(driver_features), 0 },
	{ FIELD(driver_features), LOW }, /* the legacy interface is not there */
	{ FIELD(driver_features), VIRTIO_F_VERSION_1 | 2 },
	{ FIELD(driver_features), VIRTIO_F_VERSION_1 | 1ull << 34 },
	{ FIELD(driver_features), UINT64_MAX },
	{ FIELD(status), 0x10 | RUNNING },
	{ FIELD(status), 0x20 | RUNNING },
	{ FIELD(status), 0x100 | RUNNING },
	{ FIELD(status), 7 }, /* DRIVER_OK without FEATURES_OK */
	{ FIELD(status), 4 },
	{ FIELD(config[0]), 9 },
	{ FIELD(config[VIRTIO_CONFIG_MAX - 1]), 9 },
	{ FIELD(queues[0].size), 0 },
	{ FIELD(queues[0].size), 3 },
	{ FIELD(queues[0].size), 2 * QUEUE_MAX },
	{ FIELD(queues[0].size), UINT32_MAX },
	{ FIELD(queues[1].desc), MEM_SIZE },
	{ FIELD(queues[1].desc), UINT64_MAX - 15 },
	{ FIELD(queues[1].desc), 0x1001 },
	{ FIELD(queues[1].driver), MEM_SIZE - 2 },
	{ FIELD(queues[1].driver), 0xc0000000 },
	{ FIELD(queues[1].device), MEM_SIZE - 4 },
	{ FIELD(queues[1].device), 2 },
	{ FIELD(queues[0].place.in_flight[0]), 1ull << RING },
	{ FIELD(queues[0].place.in_flight[0]), UINT64_MAX },
	{ FIELD(queues[1].place.in_flight[3]), 1ull << 63 },
};

static void hostile_fields(void **state)
{
	(void)state;
	take_good();
	for (unsigned i = 0; i < COUNT(refused_fields); i++) {
		struct virtio_state bad = good;

		memcpy((uint8_t *)&bad + refused_fields[i].at, &refused_fields[i].value,
		       refused_fields[i].size);
		use(1);
		refuses(&bad);
	}
}

static void refused_later_queue(void **state)
{
	(void)state;
	take_good();
	good.queues[1].place.in_flight[1] = 1; /* the first was as it should be */
	refuses(&good);
	assert_int_equal(virtio_load(&t->dev, &good), -EINVAL);
}

static const struct {
	size_t at, size;
	uint64_t value;
} harmless_fields[] = {
	{ FIELD(status), NEEDS_RESET | RUNNING },
	{ FIELD(status), 128 | RUNNING },
	{ FIELD(status), 12 },
	{ FIELD(status), 0 }, /* with queues that are ready */
	{ FIELD(status), 11 },
	{ FIELD(features_sel), UINT32_MAX },
	{ FIELD(driver_features_sel), UINT32_MAX },
	{ FIELD(queue_sel), UINT32_MAX },
	{ FIELD(queue_sel), QUEUES },
	{ FIELD(generation), UINT32_MAX },
	{ FIELD(interrupt_status), UINT32_MAX },
	{ FIELD(nr_active), UINT32_MAX },
	{ FIELD(queues[0].is_ready), 0 },
	{ FIELD(queues[0].is_ready), 0x100 },
	{ FIELD(queues[0].is_ready), UINT32_MAX },
	{ FIELD(queues[0].size), RING / 2 },
	{ FIELD(queues[0].size), QUEUE_MAX },
	{ FIELD(queues[0].place.last_avail), 9 },
	{ FIELD(queues[0].place.last_avail), 0xffff },
	{ FIELD(queues[0].place.used_idx), 0xffff },
	{ FIELD(queues[0].place.notified_at), 0x8000 },
	{ FIELD(queues[0].place.in_flight[0]), 0xff },
	{ FIELD(queues[0].place.in_flight[0]), 0 },
	{ FIELD(queues[0].desc), 0 },
	{ FIELD(queues[0].device), QUEUE_GPA(0) },
	{ FIELD(queues[QUEUES].is_ready), 1 },
	{ FIELD(queues[QUEUES].place.in_flight[0]), UINT64_MAX },
	{ FIELD(queues[VIRTIO_QUEUES_MAX - 1].size), UINT32_MAX },
};

static void harmless(void **state)
{
	(void)state;
	take_good();
	for (unsigned i = 0; i < COUNT(harmless_fields); i++) {
		struct virtio_state odd = good;

		memcpy((uint8_t *)&odd + harmless_fields[i].at, &harmless_fields[i].value,
		       harmless_fields[i].size);
		use(1);
		assert_int_equal(virtio_load(&t->dev, &odd), 0);
		assert_int_equal(in(INTERRUPTS) & ~3u, 0);
		serves();
	}
}

/* A queue that is not ready lies anywhere; it is looked at when the driver makes it ready. */
static void not_ready(void **state)
{
	(void)state;
	take_good();
	good.status = 11;
	good.queues[0].is_ready = 0;
	good.queues[0].size = 7;
	good.queues[0].desc = UINT64_MAX;
	memset(&good.queues[0].place, 0xff, sizeof(good.queues[0].place));
	assert_int_equal(virtio_load(&t->dev, &good), 0);
	virtio_go_on(&t->dev);
	out(0x030, 0);
	out(0x044, 1);
	assert_int_equal(in(0x044), 0);
	assert_int_equal(in(STATUS), NEEDS_RESET | 11);
	serves();
}

static uint32_t seed = 2463534242u;

static uint32_t dice(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return (seed >> 3) % below;
}

/* Where it is taken, the device is one that its driver can have anew; else it has not changed. */
static void random_states(void **state)
{
	unsigned nr_taken = 0;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		struct virtio_state bad;
		const unsigned used = offsetof(struct virtio_state, queues[QUEUES]);

		if (i % 100 == 0)
			take_good();
		bad = good;
		for (unsigned n = 1 + dice(3); n > 0; n--)
			((uint8_t *)&bad)[dice(used)] ^= (uint8_t)(1u << dice(8));
		use(1);
		if (virtio_load(&t->dev, &bad)) {
			assert_int_equal(in(STATUS), 0);
			assert_false(t->dev.is_resting);
			continue;
		}
		nr_taken++;
		for (unsigned n = dice(20); n > 0; n--)
			mem.regions[0].host[0x1000 + dice(2 * QUEUE_SIZE)] = (uint8_t)dice(256);
		serves();
	}
	assert_in_range(nr_taken, 1000, 19000);
}

#define TEST(text, function)                                                                   \
	{                                                                                      \
		.name = text, .test_func = function, .setup_func = make, .teardown_func = drop \
	}

static const struct CMUnitTest tests[] = {
	TEST("a device at rest pops nothing and hears no kicks", deaf),
	TEST("what was in flight is popped again when it goes on, and pushed once", in_flight),
	TEST("on its way to rest a device is told nothing, and can answer", slow_rest),
	TEST("rests without end; a rest in a rest is none", rests_again),
	TEST("a start that was asked for comes before the rest", starting),
	TEST("a reset that was asked for comes before the rest", stopping),
	TEST("a device that nobody uses rests, too", never_used),
	TEST("a config that changes in a rest is told of after it", changed_in_a_rest),
	TEST("a broken device is broken after a rest", stays_broken),
	TEST("another device becomes what one was, at each step of its driver", moved_registers),
	TEST("requests in flight go on in another device", moved_requests),
	TEST("an interrupt that was not acknowledged comes again", moved_interrupt),
	TEST("what a driver was not told of yet, it is told of there", moved_notification),
	TEST("a state that no driver can have brought it to is refused", hostile_fields),
	TEST("a second queue that is refused leaves the first closed", refused_later_queue),
	TEST("what a driver can have done to itself is taken, and does no harm", harmless),
	TEST("a queue that is not ready may lie anywhere", not_ready),
	TEST("random states", random_states),
};

int main(void)
{
	return cmocka_run_group_tests_name("rest", tests, NULL, NULL);
}
