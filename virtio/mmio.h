/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio transport, version 2 (virtio 1.2, 4.2), and what every virtio device is made of.
 *
 * Two threads meet here. vCPU threads access registers, under `lock`, and touch nothing else. All
 * the rest (queues, the device's functions, the virtio_*() calls below) is the loop thread's. What
 * a register write sets going, start and reset, is handed to the loop by `phase` and wake_fd:
 *
 *   IDLE --DRIVER_OK--> STARTING --loop--> RUNNING --write 0--> STOPPING --virtio_reset_done()-->
 * IDLE
 *
 * A queue stops with its device, by a reset alone. 4.2.2.2 would let the driver write 0 to
 * QueueReady at any time: once DRIVER_OK is set that is ignored, and 1 is read back.
 *
 * While the microVM is paused, with no vCPU in the guest, a device is at rest: virtio_rest() gives
 * back nothing that is in flight, and virtio_go_on() begins it anew.
 *
 * Kicks do not pass the registers: KVM_IOEVENTFD writes wake_fd, too, whatever the driver writes to
 * QueueNotify, and the loop looks which queues have something.
 */
#ifndef VIRTIO_MMIO_H
#define VIRTIO_MMIO_H

#include "../vmm/layout.h"
#include "../vmm/loop.h"
#include "../vmm/mem.h"
#include "queue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_QUEUES_MAX (2 * MAX_VCPUS + 1) /* a pair for each vCPU, and one for control */
#define VIRTIO_CONFIG_MAX 64u

/* 5: device types; 6: features of every device. */
#define VIRTIO_ID_NET	   1u
#define VIRTIO_ID_BLOCK	   2u
#define VIRTIO_F_VERSION_1 (1ull << 32)

/* 4.2.2: the register that KVM_IOEVENTFD watches. */
#define VIRTIO_MMIO_QUEUE_NOTIFY 0x050u

struct virtio_device;

/* What a device does. All on the loop's thread, never two at a time. */
struct virtio_ops {
	/*
	 * The driver is ready: dev->features and dev->queues are what it agreed to. May be NULL.
	 * Or the device goes on after a rest (dev->is_resting): what was in flight is popped again.
	 */
	void (*activate)(struct virtio_device *dev);
	/* There may be chains in this queue, which is open. Spurious calls are normal. */
	void (*kick)(struct virtio_device *dev, unsigned queue);
	/*
	 * The driver wants a reset. The queues are closed: nothing comes out and pushes are
	 * forgotten. Cancel what is in flight and call virtio_reset_done(), now or later, once
	 * guest memory is not touched any more. The same for a rest (dev->is_resting), in which the
	 * queues take pushes of what was done.
	 */
	void (*reset)(struct virtio_device *dev);
};

enum virtio_phase { VIRTIO_IDLE, VIRTIO_STARTING, VIRTIO_RUNNING, VIRTIO_STOPPING };

/* A queue's turn of the loop that the device itself asks for. */
struct virtio_again {
	struct op op;
	struct virtio_device *dev;
	bool is_under_way;
};

struct virtio_device {
	/* Constant once initialized. */
	const struct virtio_ops *ops;
	const char *name; /* for the log: the disk's or interface's */
	const struct mem *mem;
	struct loop *loop;
	uint32_t id;
	unsigned nr_queues;
	uint64_t offered; /* feature bits */
	int irq_fd, wake_fd;

	/* Registers, under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t is_idle;		 /* a reset is done */
	_Atomic enum virtio_phase phase; /* the loop reads it without the lock */
	uint32_t status;
	uint32_t features_sel, driver_features_sel, queue_sel;
	uint64_t driver_features;
	struct queue_config queue_config[VIRTIO_QUEUES_MAX];
	uint32_t generation; /* 4.2.2: of config[] */
	uint8_t config[VIRTIO_CONFIG_MAX];
	unsigned config_size; /* bytes of it that there are; the rest reads as zero */

	atomic_uint interrupt_status; /* 2 bits, set by the loop, cleared by vCPUs */

	/* The loop's. */
	bool is_running; /* from activate() to reset() */
	bool is_resting; /* from virtio_rest() to the end of virtio_go_on() */
	bool is_landing; /* ...and its reset() is under way */
	bool is_broken;	 /* needs a reset; nothing is popped until then */
	bool is_warned;	 /* that was said once, which is enough: a guest can do it for ever */
	uint64_t features;
	uint64_t nr_interrupts;
	struct op wake_op;
	int wake_file;
	uint64_t wake_count;
	struct turn notify_turn;
	bool is_notified[VIRTIO_QUEUES_MAX]; /* since the turn began */
	struct virtio_again again[VIRTIO_QUEUES_MAX];
	struct queue queues[VIRTIO_QUEUES_MAX];
};

/* A device at rest, as a snapshot has it. */
struct virtio_state {
	uint32_t id, nr_queues;
	uint64_t offered, driver_features;
	uint32_t status, features_sel, driver_features_sel, queue_sel;
	uint32_t generation, interrupt_status;
	uint32_t nr_active; /* of a network device: struct net has it */
	uint8_t config[VIRTIO_CONFIG_MAX];
	struct {
		uint32_t size, is_ready;
		gpa_t desc, driver, device;
		struct queue_place place;
	} queues[VIRTIO_QUEUES_MAX];
};

/*
 * Makes a device; before any vCPU runs. ops, name and mem are borrowed. `features` beyond
 * VERSION_1, INDIRECT_DESC and EVENT_IDX; 1 to VIRTIO_QUEUES_MAX queues. dev->config and
 * config_size are the caller's to fill until then.
 */
void virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, const char *name,
		 uint32_t id, uint64_t features, unsigned nr_queues, const struct mem *mem);

/*
 * Connects it: `irq_fd` is written for an interrupt; `wake_fd` is an eventfd of its own, which
 * blocks, or the ring would not wait for it, and which a write to QueueNotify writes. Both stay the
 * caller's and open. 0 or -errno, logged.
 */
int virtio_open(struct virtio_device *dev, struct loop *loop, int irq_fd, int wake_fd);

/*
 * Begins to hear the driver. Once nothing can be refused any more: from here on the ring is in use.
 */
void virtio_listen(struct virtio_device *dev);

/* For the bus: the window of DEVICE_SIZE bytes. On vCPU threads. */
void virtio_access(void *dev, uint64_t offset, uint8_t *data, unsigned len, bool write);

/* queue_pop(), and a broken ring makes the device need a reset. 1 or 0. */
int virtio_pop(struct virtio_device *dev, unsigned queue, struct queue_chain *chain);
void virtio_push(struct virtio_device *dev, unsigned queue, uint16_t head, uint32_t written);

/* After pushes: interrupts the driver where it wants that, at the end of the loop's turn. */
void virtio_notify(struct virtio_device *dev, unsigned queue);

/* Calls kick() for this queue again once others have had their turn. */
void virtio_kick_again(struct virtio_device *dev, unsigned queue);

/* The driver broke the protocol: DEVICE_NEEDS_RESET (2.1.2), one line in the log. */
void virtio_break(struct virtio_device *dev, const char *why);

/* The answer to ops->reset(). */
void virtio_reset_done(struct virtio_device *dev);

/*
 * While no vCPU runs: takes the device to rest, which it is once virtio_is_at_rest(), in the same
 * turn of the loop or a later one; then neither it nor its link touch guest memory. And on again.
 */
void virtio_rest(struct virtio_device *dev);
bool virtio_is_at_rest(const struct virtio_device *dev);
void virtio_go_on(struct virtio_device *dev);

/*
 * What a device at rest is; and a device that nobody has used becomes that, and is at rest.
 * -EINVAL where no driver can have brought this device to it: then it has not changed.
 */
void virtio_save(const struct virtio_device *dev, struct virtio_state *state);
int virtio_load(struct virtio_device *dev, const struct virtio_state *state);

/* Overwrites config[offset, offset + len) and tells the driver (4.2.2: ConfigGeneration). */
void virtio_config_set(struct virtio_device *dev, unsigned offset, const void *data, unsigned len);

#endif
