// SPDX-License-Identifier: Apache-2.0
/*
 * The virtio-mmio transport as a driver sees it (virtio 1.2, 3.1 and 4.2): registers from this
 * thread, which stands for a vCPU, while another runs a real loop with a device on it that echoes.
 * Where io_uring is forbidden or too old, what needs the loop is skipped and says so.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../virtio/mmio.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum {
	MAGIC = 0x000,
	VERSION = 0x004,
	DEVICE_ID = 0x008,
	DEVICE_FEATURES = 0x010,
	DEVICE_FEATURES_SEL = 0x014,
	DRIVER_FEATURES = 0x020,
	DRIVER_FEATURES_SEL = 0x024,
	QUEUE_SEL = 0x030,
	QUEUE_NUM_MAX = 0x034,
	QUEUE_NUM = 0x038,
	QUEUE_READY = 0x044,
	QUEUE_NOTIFY = 0x050,
	INTERRUPT_STATUS = 0x060,
	INTERRUPT_ACK = 0x064,
	STATUS = 0x070,
	QUEUE_DESC = 0x080,
	QUEUE_DRIVER = 0x090,
	QUEUE_DEVICE = 0x0a0,
	SHM_LEN = 0x0b0,
	GENERATION = 0x0fc,
	CONFIG = 0x100,
};
enum {
	ACKNOWLEDGE = 1,
	DRIVER = 2,
	DRIVER_OK = 4,
	FEATURES_OK = 8,
	NEEDS_RESET = 64,
	FAILED = 128
};
enum { USED = 1, CONFIG_CHANGE = 2 };

#define OFFERED_LOW 0x5u /* the device's own bits; a ring's come on top */
#define RING_LOW    (1u << 28 | 1u << 29)
#define NR_QUEUES   2u
#define MEM_SIZE    (1u << 20)

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static struct machine {
	struct virtio_device dev;
	struct loop loop;
	struct mem mem;
	pthread_t thread;
	bool is_looping;
	int stop_file;
	int irq_fd, wake_fd, stop_fd, started_fd;
	struct op stop_op;
	uint64_t stop_count;
	/* The device: gives each chain back at once, or holds on to them. */
	struct queue_chain chain;
	atomic_bool is_holding, is_slow; /* keeps chains; does not finish a reset by itself */
	atomic_uint nr_popped, nr_activated, nr_reset;
} * m;

static void on_activate(struct virtio_device *dev)
{
	assert_true(dev->features & VIRTIO_F_VERSION_1);
	m->nr_activated++;
}

static void on_kick(struct virtio_device *dev, unsigned queue)
{
	while (virtio_pop(dev, queue, &m->chain)) {
		m->nr_popped++;
		if (!m->is_holding)
			virtio_push(dev, queue, m->chain.head, m->chain.writable);
	}
	virtio_notify(dev, queue);
}

static void on_reset(struct virtio_device *dev)
{
	m->nr_reset++;
	if (!m->is_slow)
		virtio_reset_done(dev);
}

static const struct virtio_ops ops = { on_activate, on_kick, on_reset };

/* The other thread's errand: 1 stops it, 2 finishes a slow reset, 4 changes the config. */
static void on_stop(struct op *op, int res)
{
	const uint8_t bytes[] = { 9, 8, 7 };

	assert_int_equal(res, 8);
	loop_read(&m->loop, op, m->stop_file, &m->stop_count, sizeof(m->stop_count));
	if (m->stop_count == 1)
		loop_stop(&m->loop);
	else if (m->stop_count == 2)
		virtio_reset_done(&m->dev);
	else
		virtio_config_set(&m->dev, 1, bytes, sizeof(bytes));
}

static void signal_it(int fd, uint64_t count)
{
	assert_int_equal(write(fd, &count, sizeof(count)), sizeof(count));
}

/* The ring belongs to the thread that made it. */
static void *loop_thread(void *arg)
{
	const bool is_made = loop_init(&m->loop) == 0;

	m->is_looping = is_made;
	if (is_made) {
		m->stop_op.done = on_stop;
		m->stop_file = loop_file(&m->loop, m->stop_fd);
		assert_true(m->stop_file >= 0);
		loop_read(&m->loop, &m->stop_op, m->stop_file, &m->stop_count,
			  sizeof(m->stop_count));
		assert_int_equal(virtio_open(&m->dev, &m->loop, m->irq_fd, m->wake_fd), 0);
		virtio_listen(&m->dev);
	}
	signal_it(m->started_fd, 1);
	if (is_made)
		loop_run(&m->loop);
	return arg;
}

static int make(void **state)
{
	uint64_t count;

	(void)state;
	m = calloc(1, sizeof(*m));
	assert_non_null(m);
	m->mem.nr_regions = 1;
	m->mem.regions[0] =
		(struct mem_region){ .size = MEM_SIZE, .host = aligned_alloc(4096, MEM_SIZE) };
	memset(m->mem.regions[0].host, 0, MEM_SIZE);
	virtio_init(&m->dev, &ops, "test", 42, OFFERED_LOW, NR_QUEUES, &m->mem);
	m->dev.config_size = 6;
	memcpy(m->dev.config, "\x01\x02\x03\x04\x05\x06", 6);
	m->irq_fd = eventfd(0, EFD_NONBLOCK);
	m->wake_fd = eventfd(0, 0);
	m->stop_fd = eventfd(0, 0);
	m->started_fd = eventfd(0, 0);
	assert_int_equal(pthread_create(&m->thread, NULL, loop_thread, NULL), 0);
	assert_int_equal(read(m->started_fd, &count, sizeof(count)), sizeof(count));
	return 0;
}

static int drop(void **state)
{
	(void)state;
	signal_it(m->stop_fd, 1);
	pthread_join(m->thread, NULL);
	if (m->is_looping)
		io_uring_queue_exit(&m->loop.ring);
	close(m->irq_fd);
	close(m->wake_fd);
	close(m->stop_fd);
	close(m->started_fd);
	free(m->mem.regions[0].host);
	free(m);
	return 0;
}

static void need_loop(void)
{
	if (!m->is_looping) {
		print_message("io_uring is forbidden here, or older than Linux 6.1\n");
		skip();
	}
}

static void out(uint64_t reg, uint32_t value)
{
	virtio_access(&m->dev, reg, (uint8_t *)&value, 4, true);
}

static uint32_t in(uint64_t reg)
{
	uint32_t value = 0xeeeeeeee;

	virtio_access(&m->dev, reg, (uint8_t *)&value, 4, false);
	return value;
}

static void accept_features(uint32_t low, uint32_t high)
{
	out(DRIVER_FEATURES_SEL, 0);
	out(DRIVER_FEATURES, low);
	out(DRIVER_FEATURES_SEL, 1);
	out(DRIVER_FEATURES, high);
}

/* Up to FEATURES_OK; says whether the device took them. */
static bool negotiate(uint32_t low, uint32_t high)
{
	out(STATUS, ACKNOWLEDGE);
	out(STATUS, ACKNOWLEDGE | DRIVER);
	accept_features(low, high);
	out(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	return in(STATUS) == (ACKNOWLEDGE | DRIVER | FEATURES_OK);
}

static void place_queue(unsigned queue, uint32_t desc, uint32_t driver, uint32_t device)
{
	out(QUEUE_SEL, queue);
	out(QUEUE_NUM, 8);
	out(QUEUE_DESC, desc);
	out(QUEUE_DESC + 4, 0);
	out(QUEUE_DRIVER, driver);
	out(QUEUE_DRIVER + 4, 0);
	out(QUEUE_DEVICE, device);
	out(QUEUE_DEVICE + 4, 0);
	out(QUEUE_READY, 1);
}

#define QUEUE_GPA(queue) (0x1000u + 0x1000u * (queue))

static void driver_ok(void)
{
	out(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

static void start(void)
{
	assert_true(negotiate(0, 1));
	for (unsigned i = 0; i < NR_QUEUES; i++)
		place_queue(i, QUEUE_GPA(i), QUEUE_GPA(i) + 0x400, QUEUE_GPA(i) + 0x800);
	driver_ok();
}

static uint16_t *driver_area(unsigned queue)
{
	return mem_at(&m->mem, QUEUE_GPA(queue) + 0x400, 22);
}

static volatile uint16_t *device_area(unsigned queue)
{
	return mem_at(&m->mem, QUEUE_GPA(queue) + 0x800, 70);
}

/* A request of one writable descriptor, numbered by where in the table it lies. */
static void offer(unsigned queue, uint16_t head, uint16_t flags)
{
	struct desc *d = mem_at(&m->mem, QUEUE_GPA(queue) + head * 16u, 16);
	uint16_t *area = driver_area(queue);

	*d = (struct desc){ 0x10000, 77, flags, head };
	area[2 + area[1] % 8] = head;
	__atomic_store_n(&area[1], (uint16_t)(area[1] + 1), __ATOMIC_RELEASE);
}

/* What KVM_IOEVENTFD does of a write to QueueNotify, whatever is written. */
static void kick(void)
{
	signal_it(m->wake_fd, 1);
}

static void wait_irq(uint32_t why)
{
	struct pollfd p = { .fd = m->irq_fd, .events = POLLIN };
	uint64_t count;

	assert_int_equal(poll(&p, 1, 20000), 1);
	assert_int_equal(read(m->irq_fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(in(INTERRUPT_STATUS)&why, why);
	out(INTERRUPT_ACK, why);
	assert_int_equal(in(INTERRUPT_STATUS)&why, 0);
}

static bool has_irq(void)
{
	uint64_t count;

	return read(m->irq_fd, &count, sizeof(count)) == sizeof(count);
}

static void wait_popped(unsigned nr)
{
	while (m->nr_popped < nr)
		usleep(1000);
}

static void identity(void **state)
{
	(void)state;
	assert_int_equal(in(MAGIC), 0x74726976);
	assert_int_equal(in(VERSION), 2);
	assert_int_equal(in(DEVICE_ID), 42);
	assert_int_equal(in(STATUS), 0);
	assert_int_equal(in(INTERRUPT_STATUS), 0);
	assert_int_equal(in(SHM_LEN), 0xffffffff); /* there is none */
	assert_int_equal(in(SHM_LEN + 4), 0xffffffff);
	assert_int_equal(in(SHM_LEN + 8), 0xffffffff); /* its place, likewise */
	assert_int_equal(in(SHM_LEN + 12), 0xffffffff);
	assert_int_equal(in(SHM_LEN - 4), 0); /* the registers around it are none */
	assert_int_equal(in(SHM_LEN + 16), 0);
	for (unsigned i = 0; i < NR_QUEUES + 2; i++) {
		out(QUEUE_SEL, i);
		assert_int_equal(in(QUEUE_NUM_MAX), i < NR_QUEUES ? QUEUE_MAX : 0);
		assert_int_equal(in(QUEUE_READY), 0);
	}
}

static void features(void **state)
{
	static const struct {
		uint32_t low, high;
		bool ok;
	} row[] = {
		{ 0, 1, true },
		{ OFFERED_LOW | RING_LOW, 1, true },
		{ OFFERED_LOW, 0, false },     /* the legacy interface is not there */
		{ OFFERED_LOW | 2, 1, false }, /* not offered */
		{ 0, 1 | 1u << 2, false },     /* a packed ring */
		{ 0, 1 | 1u << 8, false },     /* RING_RESET */
		{ 0xffffffff, 0xffffffff, false },
	};

	(void)state;
	out(DEVICE_FEATURES_SEL, 0);
	assert_int_equal(in(DEVICE_FEATURES), OFFERED_LOW | RING_LOW);
	out(DEVICE_FEATURES_SEL, 1);
	assert_int_equal(in(DEVICE_FEATURES), 1);
	out(DEVICE_FEATURES_SEL, 2);
	assert_int_equal(in(DEVICE_FEATURES), 0);
	for (unsigned i = 0; i < COUNT(row); i++) {
		assert_int_equal(negotiate(row[i].low, row[i].high), row[i].ok);
		if (!row[i].ok) {
			driver_ok(); /* in vain */
			assert_int_equal(in(STATUS) & (DRIVER_OK | FEATURES_OK), 0);
		}
		out(STATUS, 0);
		assert_int_equal(in(STATUS), 0);
	}
	out(STATUS, ACKNOWLEDGE | DRIVER);
	accept_features(0, 1);
	for (unsigned i = 2; i < 5; i++) { /* drivers of more words write zeros there */
		out(DRIVER_FEATURES_SEL, i);
		out(DRIVER_FEATURES, 0);
	}
	out(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	assert_int_equal(in(STATUS), ACKNOWLEDGE | DRIVER | FEATURES_OK);
	out(STATUS, 0);
	out(STATUS, ACKNOWLEDGE | DRIVER);
	accept_features(0, 1);
	out(DRIVER_FEATURES_SEL, 7);
	out(DRIVER_FEATURES, 1); /* no feature has a bit up there */
	out(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	assert_int_equal(in(STATUS), ACKNOWLEDGE | DRIVER);
}

static void status_bits(void **state)
{
	(void)state;
	out(STATUS, FEATURES_OK | DRIVER_OK); /* before DRIVER */
	assert_int_equal(in(STATUS), 0);
	out(STATUS, ACKNOWLEDGE);
	out(STATUS, DRIVER); /* a bit that is left out is not taken back */
	assert_int_equal(in(STATUS), ACKNOWLEDGE | DRIVER);
	out(STATUS, NEEDS_RESET | 0x30 | 0xffffff00); /* the device's bit, and none at all */
	assert_int_equal(in(STATUS), ACKNOWLEDGE | DRIVER);
	out(STATUS, FAILED);
	assert_int_equal(in(STATUS), ACKNOWLEDGE | DRIVER | FAILED);
	out(STATUS, 0);
	assert_true(negotiate(0, 1));
	accept_features(2, 0); /* too late: nothing changes */
	out(STATUS, 0);
	assert_int_equal(in(STATUS), 0);
}

static void queue_setup(void **state)
{
	(void)state;
	place_queue(0, 0x1000, 0x2000, 0x3000); /* before FEATURES_OK */
	assert_int_equal(in(QUEUE_READY), 0);
	assert_true(negotiate(0, 1));
	place_queue(0, 0x1000, 0x2000, 0x3000);
	assert_int_equal(in(QUEUE_READY), 1);
	out(QUEUE_NUM, 4); /* while it is ready */
	assert_int_equal(m->dev.queue_config[0].size, 8);
	out(QUEUE_READY, 0);
	assert_int_equal(in(QUEUE_READY), 0);
	out(QUEUE_NUM, 4);
	assert_int_equal(m->dev.queue_config[0].size, 4);
	out(QUEUE_SEL, 1);
	out(QUEUE_READY, 0); /* of one that has no place yet, which none needs for this */
	out(QUEUE_SEL, NR_QUEUES);
	out(QUEUE_READY, 1); /* of no queue */
	assert_int_equal(in(QUEUE_READY), 0);
	assert_int_equal(in(STATUS)&NEEDS_RESET, 0);
}

static void bad_places(void **state)
{
	static const uint32_t row[][3] = {
		{ MEM_SIZE, 0x2000, 0x3000 },	{ 0x1000, MEM_SIZE - 2, 0x3000 },
		{ 0x1000, 0x2000, 0xfffff000 }, { 0xc0000000, 0x2000, 0x3000 },
		{ 0x1008, 0x2000, 0x3000 },	{ 0x1000, 0x2001, 0x3000 },
		{ 0x1000, 0x2000, 0x3002 },
	};

	(void)state;
	need_loop();
	for (unsigned i = 0; i < COUNT(row); i++) {
		assert_true(negotiate(0, 1));
		place_queue(1, row[i][0], row[i][1], row[i][2]);
		assert_int_equal(in(QUEUE_READY), 0);
		assert_true(in(STATUS)&NEEDS_RESET);
		driver_ok();
		kick();
		out(STATUS, 0);
		assert_int_equal(in(STATUS), 0);
	}
	start();
	offer(1, 0, 2);
	kick();
	wait_irq(USED); /* none of it left a trace */
	assert_int_equal(m->nr_popped, 1);
}

static void requests(void **state)
{
	(void)state;
	need_loop();
	offer(0, 3, 2);
	kick(); /* before it is time: served once the driver is ready */
	start();
	wait_irq(USED);
	assert_int_equal(device_area(0)[1], 1);
	for (unsigned i = 1; i <= 1000; i++) {
		const unsigned queue = i % 2;
		const uint16_t before = device_area(queue)[1];

		offer(queue, i % 8, 2);
		kick();
		wait_irq(USED);
		assert_int_equal(device_area(queue)[1], (uint16_t)(before + 1));
	}
	assert_int_equal(m->nr_popped, 1001);
	assert_int_equal(m->nr_activated, 1);
	kick();		       /* for nothing */
	out(QUEUE_NOTIFY, 17); /* the kernel takes all of these */
	out(QUEUE_NOTIFY, 0xffffffff);
	assert_int_equal(in(STATUS)&NEEDS_RESET, 0);
}

/* What reads back is the truth: the queue is in use, until a reset. */
static void ready_while_running(void **state)
{
	(void)state;
	need_loop();
	start();
	out(QUEUE_SEL, 1);
	out(QUEUE_READY, 0);
	assert_int_equal(in(QUEUE_READY), 1);
	offer(1, 0, 2);
	kick();
	wait_irq(USED);
	out(STATUS, 0);
	out(QUEUE_SEL, 1);
	assert_int_equal(in(QUEUE_READY), 0);
}

static void broken_ring(void **state)
{
	(void)state;
	need_loop();
	for (unsigned round = 0; round < 3; round++) {
		start();
		offer(0, 0, 1); /* a loop */
		kick();
		wait_irq(CONFIG_CHANGE);
		assert_true(in(STATUS)&NEEDS_RESET);
		offer(1, 0, 2);
		kick(); /* all of the device is out of order */
		out(STATUS, 0);
		assert_int_equal(in(STATUS), 0);
		assert_int_equal(in(QUEUE_READY), 0);
		memset(mem_at(&m->mem, 0, MEM_SIZE), 0, MEM_SIZE);
	}
	assert_int_equal(m->nr_popped, 0);
	has_irq();
	start();
	offer(0, 0, 2);
	kick();
	wait_irq(USED);
	assert_int_equal(m->nr_popped, 1);
}

/* What was in flight is forgotten: its heads are the driver's again, and nothing is written. */
static void reset_in_flight(void **state)
{
	(void)state;
	need_loop();
	m->is_holding = true;
	start();
	for (uint16_t i = 0; i < 8; i++)
		offer(0, i, 2);
	kick();
	wait_popped(8);
	out(STATUS, 0); /* returns when it is done */
	assert_int_equal(in(STATUS), 0);
	assert_int_equal(device_area(0)[1], 0);
	assert_int_equal(m->nr_reset, 1);
	memset(mem_at(&m->mem, 0, MEM_SIZE), 0, MEM_SIZE);
	m->is_holding = false;
	start();
	for (uint16_t i = 0; i < 8; i++)
		offer(0, i, 2);
	kick();
	wait_popped(16);
	wait_irq(USED);
}

/* 2.4: the next driver finds the device as the first one did. */
static void reset_registers(void **state)
{
	(void)state;
	need_loop();
	start();
	offer(0, 0, 2);
	kick();
	while (in(INTERRUPT_STATUS) != USED) /* which nobody acknowledges */
		usleep(1000);
	out(DEVICE_FEATURES_SEL, 1);
	out(QUEUE_SEL, NR_QUEUES);
	out(STATUS, 0);
	assert_int_equal(in(INTERRUPT_STATUS), 0);
	assert_int_equal(in(DEVICE_FEATURES), OFFERED_LOW | RING_LOW);
	assert_int_equal(in(QUEUE_NUM_MAX), QUEUE_MAX);
	assert_int_equal(in(QUEUE_READY), 0);
	out(STATUS, ACKNOWLEDGE | DRIVER);
	out(STATUS, FEATURES_OK); /* what the driver before took is not taken */
	assert_int_equal(in(STATUS), ACKNOWLEDGE | DRIVER);
	out(DRIVER_FEATURES, OFFERED_LOW | 2); /* of the low word again */
	assert_int_equal(m->dev.driver_features, OFFERED_LOW | 2);
}

/* A reset that takes its time: the write comes back, Status is not 0, and nothing else is taken. */
static void slow_reset(void **state)
{
	struct pollfd wake = { .fd = m->wake_fd, .events = POLLIN };

	(void)state;
	need_loop();
	m->is_slow = true;
	start();
	offer(0, 0, 2);
	kick();
	wait_irq(USED);
	out(STATUS, 0);
	assert_int_not_equal(in(STATUS), 0);
	out(STATUS, ACKNOWLEDGE);
	out(STATUS, 0);
	out(QUEUE_SEL, 1);
	kick();			      /* which the kernel takes all the same */
	while (poll(&wake, 1, 0) > 0) /* until the loop has seen it */
		usleep(1000);
	assert_int_not_equal(in(STATUS), 0);
	signal_it(m->stop_fd, 2);
	while (in(STATUS) != 0)
		usleep(1000);
	assert_int_equal(m->nr_reset, 1);
	m->is_slow = false;
	memset(mem_at(&m->mem, 0, MEM_SIZE), 0, MEM_SIZE);
	start();
	offer(0, 0, 2);
	kick();
	wait_irq(USED);
}

/* Start and reset at once, over and over: no order of the two threads loses a step. */
static void start_and_reset(void **state)
{
	(void)state;
	need_loop();
	for (unsigned i = 0; i < 500; i++) {
		start();
		if (i % 2)
			kick();
		out(STATUS, 0);
		assert_int_equal(in(STATUS), 0);
	}
	start();
	offer(1, 0, 2);
	kick();
	wait_irq(USED);
	assert_int_equal(m->nr_reset, m->nr_activated - 1);
}

static void config_space(void **state)
{
	static const uint8_t want[16] = { 1, 2, 3, 4, 5, 6 };
	uint8_t data[9];

	(void)state;
	memset(m->dev.config + m->dev.config_size, 0x77, 3); /* nobody's */
	for (unsigned len = 1; len <= 8; len *= 2)
		for (unsigned at = 0; at + len <= sizeof(want); at++) {
			memset(data, 0xee, sizeof(data));
			virtio_access(&m->dev, CONFIG + at, data, len, false);
			assert_memory_equal(data, want + at, len);
			assert_int_equal(data[len], 0xee);
			virtio_access(&m->dev, CONFIG + at, data, len, true);
		}
	memset(data, 0xee, sizeof(data));
	virtio_access(&m->dev, DEVICE_SIZE - 8, data, 8, false);
	assert_memory_equal(data, want + 8, 8);
	assert_int_equal(in(GENERATION), 0);
}

static void config_change(void **state)
{
	(void)state;
	need_loop();
	start();
	signal_it(m->stop_fd, 4);
	wait_irq(CONFIG_CHANGE);
	assert_int_equal(in(GENERATION), 1);
	assert_int_equal(in(CONFIG), 0x07080901);
}

/* Every offset at every width, written and read: nothing but what the tests above say happens. */
static void all_accesses(void **state)
{
	uint8_t data[8];

	(void)state;
	need_loop();
	for (unsigned width = 1; width <= 8; width *= 2)
		for (uint64_t at = 0; at + width <= DEVICE_SIZE; at++) {
			memset(data, (int)at, sizeof(data));
			virtio_access(&m->dev, at, data, width, true);
			virtio_access(&m->dev, at, data, width, false);
		}
	out(STATUS, 0);
	out(DEVICE_FEATURES_SEL, 0);
	for (unsigned width = 1; width <= 8; width *= 2) {
		memset(data, 0xee, sizeof(data));
		virtio_access(&m->dev, MAGIC + (width == 4), data, width, false);
		assert_int_equal(data[0] | data[width - 1],
				 0); /* 32 bits and aligned, or nothing */
	}
	start();
	offer(0, 0, 2);
	kick();
	wait_irq(USED);
}

#define TEST(text, function)                                                                   \
	{                                                                                      \
		.name = text, .test_func = function, .setup_func = make, .teardown_func = drop \
	}

static const struct CMUnitTest tests[] = {
	TEST("the registers say what the device is", identity),
	TEST("FEATURES_OK only for what was offered, and VERSION_1", features),
	TEST("status bits come in order and only a reset takes them", status_bits),
	TEST("queues are set up between FEATURES_OK and DRIVER_OK", queue_setup),
	TEST("a queue at a bad place: the device needs a reset", bad_places),
	TEST("requests go round by kicks and interrupts", requests),
	TEST("a queue of a running device is ready until a reset", ready_while_running),
	TEST("a broken ring: needs a reset, and a reset mends it", broken_ring),
	TEST("a reset forgets what is in flight", reset_in_flight),
	TEST("a reset leaves no register as the driver wrote it", reset_registers),
	TEST("a slow reset holds nobody for ever", slow_reset),
	TEST("start and reset in any order of the threads", start_and_reset),
	TEST("config space reads at any width, zeros beyond", config_space),
	TEST("a config change: generation and interrupt", config_change),
	TEST("accesses of any offset and width do no harm", all_accesses),
};

int main(void)
{
	return cmocka_run_group_tests_name("mmio", tests, NULL, NULL);
}
