// SPDX-License-Identifier: Apache-2.0
/*
 * The transport. Section numbers are virtio 1.2's. First half: registers, on vCPU threads, under
 * the device's lock. Second half: the loop's side. A guest that writes nonsense gets it ignored, or
 * a device that needs a reset; it cannot hold a thread but for RESET_WAIT_MS. Next: blk.c.
 */
#include "mmio.h"
#include "../vmm/log.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* 4.2.2, table 4.1 */
enum {
	MAGIC_VALUE = 0x000,
	VERSION = 0x004,
	DEVICE_ID = 0x008,
	VENDOR_ID = 0x00c,
	DEVICE_FEATURES = 0x010,
	DEVICE_FEATURES_SEL = 0x014,
	DRIVER_FEATURES = 0x020,
	DRIVER_FEATURES_SEL = 0x024,
	QUEUE_SEL = 0x030,
	QUEUE_NUM_MAX = 0x034,
	QUEUE_NUM = 0x038,
	QUEUE_READY = 0x044,
	QUEUE_NOTIFY = VIRTIO_MMIO_QUEUE_NOTIFY,
	INTERRUPT_STATUS = 0x060,
	INTERRUPT_ACK = 0x064,
	STATUS = 0x070,
	QUEUE_DESC_LOW = 0x080,
	QUEUE_DESC_HIGH = 0x084,
	QUEUE_DRIVER_LOW = 0x090,
	QUEUE_DRIVER_HIGH = 0x094,
	QUEUE_DEVICE_LOW = 0x0a0,
	QUEUE_DEVICE_HIGH = 0x0a4,
	SHM_LEN_LOW = 0x0b0,
	SHM_BASE_HIGH = 0x0bc,
	CONFIG_GENERATION = 0x0fc,
	CONFIG = 0x100,
};

#define MAGIC  0x74726976u /* "virt" */
#define VENDOR 0x594c464du /* "MFLY" */

/* 2.1 */
#define STATUS_ACKNOWLEDGE 0x01u
#define STATUS_DRIVER	   0x02u
#define STATUS_DRIVER_OK   0x04u
#define STATUS_FEATURES_OK 0x08u
#define STATUS_NEEDS_RESET 0x40u
#define STATUS_FAILED	   0x80u
#define STATUS_DRIVERS \
	(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK | STATUS_FEATURES_OK | STATUS_FAILED)

/* 4.2.2: InterruptStatus */
#define INTERRUPT_USED	 1u
#define INTERRUPT_CONFIG 2u

/*
 * Drivers do not wait for a reset to end, though 2.4.2 tells them to, and free the memory that
 * requests in flight still write to. So the register write waits, but not for ever: after that
 * long the driver has to poll Status, which says 0 once the reset is done (2.4.1).
 */
#define RESET_WAIT_MS 1000

static void interrupt(struct virtio_device *dev, uint32_t why)
{
	dev->nr_interrupts++;
	atomic_fetch_or(&dev->interrupt_status, why);
	loop_signal(dev->irq_fd);
}

/* The queue that the registers show, or NULL where there is none of that number. */
static struct queue_config *selected(struct virtio_device *dev)
{
	return dev->queue_sel < dev->nr_queues ? &dev->queue_config[dev->queue_sel] : NULL;
}

static uint32_t word_of(uint64_t value, uint32_t sel)
{
	return sel > 1 ? 0 : (uint32_t)(value >> 32 * sel);
}

static bool may_have(const struct virtio_device *dev, uint64_t features)
{
	return !(features & ~dev->offered) && features & VIRTIO_F_VERSION_1;
}

static uint32_t read_register(struct virtio_device *dev, uint64_t offset)
{
	const struct queue_config *q = selected(dev);

	switch (offset) {
	case MAGIC_VALUE:
		return MAGIC;
	case VERSION:
		return 2;
	case DEVICE_ID:
		return dev->id;
	case VENDOR_ID:
		return VENDOR;
	case DEVICE_FEATURES:
		return word_of(dev->offered, dev->features_sel);
	case QUEUE_NUM_MAX:
		return q ? QUEUE_MAX : 0;
	case QUEUE_READY:
		return q && q->ready;
	case INTERRUPT_STATUS:
		return atomic_load(&dev->interrupt_status);
	case STATUS:
		return dev->status;
	case CONFIG_GENERATION:
		return dev->generation;
	default: /* 4.2.2: a shared memory region that is not there has a length and a base of -1 */
		return offset >= SHM_LEN_LOW && offset <= SHM_BASE_HIGH ? UINT32_MAX : 0;
	}
}

/* 3.1.1, step 5; 6.1: nothing that was not offered, and never the legacy interface. */
static bool are_features_ok(const struct virtio_device *dev)
{
	return may_have(dev, dev->driver_features);
}

static void clear_registers(struct virtio_device *dev)
{
	dev->status = 0;
	dev->features_sel = dev->driver_features_sel = dev->queue_sel = 0;
	dev->driver_features = 0;
	memset(dev->queue_config, 0, sizeof(dev->queue_config));
	atomic_store(&dev->interrupt_status, 0);
	dev->phase = VIRTIO_IDLE;
	pthread_cond_broadcast(&dev->is_idle);
}

static void wait_until_idle(struct virtio_device *dev)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += RESET_WAIT_MS / 1000;
	while (dev->phase == VIRTIO_STOPPING)
		if (pthread_cond_timedwait(&dev->is_idle, &dev->lock, &until) == ETIMEDOUT)
			break;
}

/* 2.4: a device that the loop has not started yet has nothing in flight. */
static void reset(struct virtio_device *dev)
{
	if (dev->phase != VIRTIO_RUNNING) {
		clear_registers(dev);
		return;
	}
	dev->phase = VIRTIO_STOPPING;
	loop_signal(dev->wake_fd);
	wait_until_idle(dev);
}

/* 3.1.1: bits are only added, in this order; what comes out of order is not taken. */
static void write_status(struct virtio_device *dev, uint32_t value)
{
	uint32_t added = value & STATUS_DRIVERS & ~dev->status;

	if (value == 0) {
		reset(dev);
		return;
	}
	if (!((dev->status | added) & STATUS_DRIVER) || !are_features_ok(dev))
		added &= ~STATUS_FEATURES_OK;
	if (!((dev->status | added) & STATUS_FEATURES_OK))
		added &= ~STATUS_DRIVER_OK;
	dev->status |= added;
	if (!(added & STATUS_DRIVER_OK))
		return;
	dev->phase = VIRTIO_STARTING;
	loop_signal(dev->wake_fd);
}

static void write_features(struct virtio_device *dev, uint32_t value)
{
	const uint32_t sel = dev->driver_features_sel;
	const uint64_t mask = sel > 1 ? 0 : (uint64_t)UINT32_MAX << 32 * sel;

	if (dev->status & STATUS_FEATURES_OK) /* 3.1.1: too late */
		return;
	dev->driver_features &= ~mask;
	dev->driver_features |= ((uint64_t)value << 32 * (sel & 1)) & mask;
	/* No feature has a bit up there, so one that is claimed there was not offered. */
	if (sel > 1 && value)
		dev->driver_features |= ~dev->offered;
}

/* 4.2.2.2: areas that do not lie in memory, or not as 2.7 wants them, cannot be used. */
static void write_ready(struct virtio_device *dev, struct queue_config *q, uint32_t value)
{
	struct queue checked;

	q->ready = value & 1;
	if (q->ready && queue_open(&checked, dev->mem, q, 0)) {
		q->ready = false;
		dev->status |= STATUS_NEEDS_RESET;
	}
}

static void set_word(gpa_t *gpa, unsigned word, uint32_t value)
{
	*gpa &= ~((uint64_t)UINT32_MAX << 32 * word);
	*gpa |= (uint64_t)value << 32 * word;
}

/* Queues are set up between FEATURES_OK and DRIVER_OK, and each before it is ready
 * (3.1.1, 4.2.3.2). From then on they are the loop's, until a reset; see mmio.h. */
static void write_queue(struct virtio_device *dev, uint64_t offset, uint32_t value)
{
	const uint32_t stage = dev->status & (STATUS_FEATURES_OK | STATUS_DRIVER_OK);
	struct queue_config *q = selected(dev);

	if (!q || stage != STATUS_FEATURES_OK || (q->ready && offset != QUEUE_READY))
		return;
	switch (offset) {
	case QUEUE_NUM:
		q->size = value;
		break;
	case QUEUE_READY:
		write_ready(dev, q, value);
		break;
	case QUEUE_DESC_LOW:
	case QUEUE_DESC_HIGH:
		set_word(&q->desc, offset == QUEUE_DESC_HIGH, value);
		break;
	case QUEUE_DRIVER_LOW:
	case QUEUE_DRIVER_HIGH:
		set_word(&q->driver, offset == QUEUE_DRIVER_HIGH, value);
		break;
	case QUEUE_DEVICE_LOW:
	case QUEUE_DEVICE_HIGH:
		set_word(&q->device, offset == QUEUE_DEVICE_HIGH, value);
		break;
	default: /* read-only registers, and none at all */
		break;
	}
}

static void write_register(struct virtio_device *dev, uint64_t offset, uint32_t value)
{
	if (dev->phase == VIRTIO_STOPPING)
		return;
	switch (offset) {
	case DEVICE_FEATURES_SEL:
		dev->features_sel = value;
		break;
	case DRIVER_FEATURES:
		write_features(dev, value);
		break;
	case DRIVER_FEATURES_SEL:
		dev->driver_features_sel = value;
		break;
	case QUEUE_SEL:
		dev->queue_sel = value;
		break;
	case INTERRUPT_ACK:
		atomic_fetch_and(&dev->interrupt_status, ~value);
		break;
	case STATUS:
		write_status(dev, value);
		break;
	default:
		write_queue(dev, offset, value);
		break;
	}
}

/* No device of ours has a field that the driver writes. */
static void read_config(const struct virtio_device *dev, uint64_t offset, uint8_t *data,
			unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		data[i] = offset + i < dev->config_size ? dev->config[offset + i] : 0;
}

/* 4.2.2.2: registers are 32 bits wide and aligned; other accesses to them have no meaning. */
void virtio_access(void *device, uint64_t offset, uint8_t *data, unsigned len, bool write)
{
	struct virtio_device *dev = device;
	const bool is_register = offset < CONFIG && len == 4 && offset % 4 == 0;
	uint32_t value = 0;

	pthread_mutex_lock(&dev->lock);
	if (offset >= CONFIG && !write) {
		read_config(dev, offset - CONFIG, data, len);
	} else if (is_register && write) {
		memcpy(&value, data, sizeof(value));
		write_register(dev, offset, value);
	} else if (!write) {
		if (is_register)
			value = read_register(dev, offset);
		memset(data, 0, len);
		memcpy(data, &value, len < sizeof(value) ? len : sizeof(value));
	}
	pthread_mutex_unlock(&dev->lock);
}

/* From here on: the loop's thread. */

static void kick(struct virtio_device *dev, unsigned queue)
{
	if (dev->is_running && !dev->is_broken && dev->queues[queue].desc)
		dev->ops->kick(dev, queue);
}

/* What the driver writes to QueueNotify is not known, but where chains have come is seen. */
static void kick_notified(struct virtio_device *dev)
{
	for (unsigned i = 0; i < dev->nr_queues; i++)
		if (queue_is_notified(&dev->queues[i]))
			kick(dev, i);
}

static void on_again(struct op *op, int res)
{
	struct virtio_again *again = container_of(op, struct virtio_again, op);

	(void)res; /* of a no-op */
	again->is_under_way = false;
	kick(again->dev, (unsigned)(again - again->dev->again));
}

void virtio_kick_again(struct virtio_device *dev, unsigned queue)
{
	struct virtio_again *again = &dev->again[queue];

	if (again->is_under_way)
		return;
	again->is_under_way = true;
	loop_yield(dev->loop, &again->op);
}

static void warn(struct virtio_device *dev, const char *why)
{
	if (!dev->is_warned)
		note("%s: the guest's driver broke the protocol: %s; the device needs a reset",
		     dev->name, why);
	dev->is_warned = true;
}

void virtio_break(struct virtio_device *dev, const char *why)
{
	if (dev->is_broken || !dev->is_running)
		return;
	dev->is_broken = true;
	warn(dev, why);
	pthread_mutex_lock(&dev->lock);
	if (dev->phase == VIRTIO_RUNNING) {
		dev->status |= STATUS_NEEDS_RESET;
		interrupt(dev, INTERRUPT_CONFIG); /* 2.1.2 */
	}
	pthread_mutex_unlock(&dev->lock);
}

int virtio_pop(struct virtio_device *dev, unsigned queue, struct queue_chain *chain)
{
	struct queue *q = &dev->queues[queue];
	const int got = dev->is_broken ? 0 : queue_pop(q, chain);

	if (got >= 0)
		return got;
	virtio_break(dev, q->broken);
	return 0;
}

void virtio_push(struct virtio_device *dev, unsigned queue, uint16_t head, uint32_t written)
{
	queue_push(&dev->queues[queue], head, written);
}

/* All queues share one interrupt: one write for all that a turn of the loop has completed. */
static void notify(struct turn *turn)
{
	struct virtio_device *dev = container_of(turn, struct virtio_device, notify_turn);
	bool is_wanted = false;

	for (unsigned i = 0; i < dev->nr_queues; i++) {
		if (dev->is_notified[i])
			is_wanted |= queue_needs_interrupt(&dev->queues[i]);
		dev->is_notified[i] = false;
	}
	if (is_wanted)
		interrupt(dev, INTERRUPT_USED);
}

void virtio_notify(struct virtio_device *dev, unsigned queue)
{
	dev->is_notified[queue] = true;
	loop_at_turn_end(dev->loop, &dev->notify_turn);
}

void virtio_config_set(struct virtio_device *dev, unsigned offset, const void *data, unsigned len)
{
	must(offset <= dev->config_size && len <= dev->config_size - offset);
	pthread_mutex_lock(&dev->lock);
	memcpy(dev->config + offset, data, len);
	dev->generation++;
	if (dev->status & STATUS_DRIVER_OK) /* 2.1.2: no interrupt before */
		interrupt(dev, INTERRUPT_CONFIG);
	pthread_mutex_unlock(&dev->lock);
}

/* Registers were checked when the driver wrote them; nothing of a queue has changed since. */
static void start(struct virtio_device *dev)
{
	dev->is_running = true;
	dev->is_broken = dev->status & STATUS_NEEDS_RESET;
	dev->features = dev->driver_features;
	for (unsigned i = 0; i < dev->nr_queues; i++) {
		queue_close(&dev->queues[i]);
		if (dev->queue_config[i].ready)
			must(queue_open(&dev->queues[i], dev->mem, &dev->queue_config[i],
					dev->features) == 0);
	}
	dev->phase = VIRTIO_RUNNING;
}

/* The driver has begun or ended, and not both: then nothing is left to do. */
static void change_phase(struct virtio_device *dev)
{
	bool starts, stops;

	pthread_mutex_lock(&dev->lock);
	starts = dev->phase == VIRTIO_STARTING;
	stops = dev->phase == VIRTIO_STOPPING && dev->is_running;
	if (starts)
		start(dev);
	pthread_mutex_unlock(&dev->lock);
	if (starts && dev->is_broken)
		warn(dev, "a queue at a bad place");
	if (starts && dev->ops->activate)
		dev->ops->activate(dev);
	for (unsigned i = 0; starts && i < dev->nr_queues; i++)
		kick(dev, i); /* kicks may have come before their time */
	if (!stops)
		return;
	dev->is_running = false;
	for (unsigned i = 0; i < dev->nr_queues; i++)
		queue_close(&dev->queues[i]);
	dev->ops->reset(dev);
}

/* A kick, or a change of the phase, which is made before wake_fd is written. */
static void on_wake(struct op *op, int res)
{
	struct virtio_device *dev = container_of(op, struct virtio_device, wake_op);

	must(res == (int)sizeof(dev->wake_count));
	/* First: what comes from here on is another one. */
	loop_read(dev->loop, op, dev->wake_file, &dev->wake_count, sizeof(dev->wake_count));
	if (dev->is_resting)
		return; /* virtio_go_on() looks at all */
	if (dev->phase == VIRTIO_RUNNING)
		kick_notified(dev);
	else
		change_phase(dev);
}

/* What the driver has asked for comes first: it waits for a reset, and a start may have kicks. */
void virtio_rest(struct virtio_device *dev)
{
	change_phase(dev);
	dev->is_resting = true;
	if (!dev->is_running)
		return;
	dev->is_running = false;
	dev->is_landing = true;
	dev->ops->reset(dev);
}

bool virtio_is_at_rest(const struct virtio_device *dev)
{
	return dev->is_resting && !dev->is_landing && dev->phase != VIRTIO_STOPPING;
}

void virtio_go_on(struct virtio_device *dev)
{
	if (!dev->is_resting)
		return;
	if (dev->interrupt_status) /* perhaps on its way when the state was taken */
		loop_signal(dev->irq_fd);
	if (dev->phase == VIRTIO_RUNNING) {
		dev->is_running = true;
		for (unsigned i = 0; i < dev->nr_queues; i++)
			queue_pop_again(&dev->queues[i]);
		if (dev->ops->activate)
			dev->ops->activate(dev);
	}
	dev->is_resting = false;
	for (unsigned i = 0; i < dev->nr_queues; i++) {
		kick(dev, i);
		virtio_notify(dev, i); /* of what was pushed before the state was taken */
	}
}

void virtio_save(const struct virtio_device *dev, struct virtio_state *s)
{
	*s = (struct virtio_state){
		.id = dev->id,
		.nr_queues = dev->nr_queues,
		.offered = dev->offered,
		.driver_features = dev->driver_features,
		.status = dev->status,
		.features_sel = dev->features_sel,
		.driver_features_sel = dev->driver_features_sel,
		.queue_sel = dev->queue_sel,
		.generation = dev->generation,
		.interrupt_status = dev->interrupt_status,
	};
	memcpy(s->config, dev->config, sizeof(s->config));
	for (unsigned i = 0; i < dev->nr_queues; i++) {
		const struct queue_config *c = &dev->queue_config[i];

		s->queues[i].size = c->size;
		s->queues[i].is_ready = c->ready;
		s->queues[i].desc = c->desc;
		s->queues[i].driver = c->driver;
		s->queues[i].device = c->device;
		s->queues[i].place = queue_place(&dev->queues[i]);
	}
}

/* 3.1.1: what the bits of Status have in common with the rest. */
static bool is_status_ok(const struct virtio_device *dev, const struct virtio_state *s)
{
	if (s->status & ~(STATUS_DRIVERS | STATUS_NEEDS_RESET))
		return false;
	if (s->status & STATUS_DRIVER_OK && !(s->status & STATUS_FEATURES_OK))
		return false;
	return !(s->status & STATUS_FEATURES_OK) || may_have(dev, s->driver_features);
}

static struct queue_config queue_config_of(const struct virtio_state *s, unsigned i)
{
	return (struct queue_config){ .size = s->queues[i].size,
				      .desc = s->queues[i].desc,
				      .driver = s->queues[i].driver,
				      .device = s->queues[i].device,
				      .ready = s->queues[i].is_ready };
}

/* As start() opens them, and on to where they stood. A queue of before DRIVER_OK is only looked at.
 */
static int load_queues(struct virtio_device *dev, const struct virtio_state *s)
{
	int err = 0;

	for (unsigned i = 0; i < dev->nr_queues && !err; i++) {
		const struct queue_config config = queue_config_of(s, i);
		struct queue *q = &dev->queues[i];

		if (config.ready)
			err = queue_open(q, dev->mem, &config, s->driver_features);
		if (config.ready && !err)
			err = queue_go_to(q, &s->queues[i].place);
		if (err || !(s->status & STATUS_DRIVER_OK))
			queue_close(q);
	}
	return err;
}

int virtio_load(struct virtio_device *dev, const struct virtio_state *s)
{
	int err;

	if (s->id != dev->id || s->nr_queues != dev->nr_queues || s->offered != dev->offered ||
	    memcmp(s->config, dev->config, sizeof(s->config)) || !is_status_ok(dev, s))
		return -EINVAL;
	err = load_queues(dev, s);
	if (err)
		return -EINVAL;
	for (unsigned i = 0; i < dev->nr_queues; i++)
		dev->queue_config[i] = queue_config_of(s, i);
	dev->features = dev->driver_features = s->driver_features;
	dev->status = s->status;
	dev->features_sel = s->features_sel;
	dev->driver_features_sel = s->driver_features_sel;
	dev->queue_sel = s->queue_sel;
	dev->generation = s->generation;
	dev->interrupt_status = s->interrupt_status & (INTERRUPT_USED | INTERRUPT_CONFIG);
	dev->is_broken = s->status & STATUS_NEEDS_RESET;
	dev->phase = s->status & STATUS_DRIVER_OK ? VIRTIO_RUNNING : VIRTIO_IDLE;
	dev->is_resting = true;
	return 0;
}

void virtio_reset_done(struct virtio_device *dev)
{
	must(!dev->is_running);
	if (dev->is_landing) {
		dev->is_landing = false;
		return;
	}
	pthread_mutex_lock(&dev->lock);
	must(dev->phase == VIRTIO_STOPPING);
	clear_registers(dev);
	pthread_mutex_unlock(&dev->lock);
}

void virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, const char *name,
		 uint32_t id, uint64_t features, unsigned nr_queues, const struct mem *mem)
{
	pthread_condattr_t attr;

	must(nr_queues >= 1 && nr_queues <= VIRTIO_QUEUES_MAX);
	*dev = (struct virtio_device){
		.ops = ops,
		.name = name,
		.mem = mem,
		.id = id,
		.nr_queues = nr_queues,
		.offered =
			features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX,
	};
	pthread_mutex_init(&dev->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&dev->is_idle, &attr);
}

int virtio_open(struct virtio_device *dev, struct loop *loop, int irq_fd, int wake_fd)
{
	dev->loop = loop;
	dev->irq_fd = irq_fd;
	dev->wake_fd = wake_fd;
	dev->wake_op.done = on_wake;
	dev->notify_turn.end = notify;
	for (unsigned i = 0; i < dev->nr_queues; i++)
		dev->again[i] = (struct virtio_again){ .op.done = on_again, .dev = dev };
	dev->wake_file = loop_file(loop, wake_fd);
	return dev->wake_file < 0 ? fail(dev->wake_file, "%s: registering an eventfd", dev->name)
				  : 0;
}

void virtio_listen(struct virtio_device *dev)
{
	loop_read(dev->loop, &dev->wake_op, dev->wake_file, &dev->wake_count,
		  sizeof(dev->wake_count));
}
