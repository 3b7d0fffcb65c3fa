// SPDX-License-Identifier: Apache-2.0
/*
 * The network device: its configuration, its control queue, its start and reset, what was counted.
 * Frames are moved by rx.c and tx.c. Every chain is given back once, or forgotten by a reset;
 * frames that cannot be moved are dropped and counted. Section numbers are virtio 1.2's.
 */
#include "net.h"
#include "../vmm/log.h"
#include "rx.h"
#include "tx.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* 5.1.4 */
struct config {
	uint8_t mac[6];
	uint16_t status, max_virtqueue_pairs, mtu;
};
_Static_assert(sizeof(struct config) == 12, "5.1.4");
#define LINK_UP 1u

/* 5.1.6.5 */
enum { CTRL_OK, CTRL_ERR };
enum { CTRL_MQ = 4, CTRL_MQ_VQ_PAIRS_SET = 0 };

void net_set_timer(struct net *n, struct net_timer *timer, uint64_t ns)
{
	if (timer->is_set)
		return;
	timer->is_set = true;
	loop_timeout_ns(n->dev.loop, &timer->op, &timer->ts, ns);
}

void net_landed(struct net *n)
{
	if (--n->nr_in_flight > 0 || !n->is_stopping)
		return;
	n->is_stopping = false;
	virtio_reset_done(&n->dev);
}

/* The control queue: how many pairs are in use. */

static int set_pairs(struct net *n, unsigned nr)
{
	if (!(n->dev.features & NET_F_MQ) || nr < 1 || nr > n->link->nr_queues)
		return CTRL_ERR;
	if (n->link->ops->set_queues(n->link, nr)) { /* perhaps some of them */
		n->link->ops->set_queues(n->link, n->nr_active);
		return CTRL_ERR;
	}
	n->nr_active = nr;
	rx_run_all(n);
	return CTRL_OK;
}

/* 5.1.6.5.6.1: class, command, and the number of pairs. What else there may be we did not offer. */
static int obey(struct net *n, const struct queue_chain *c)
{
	struct {
		uint8_t class, command, pairs[2];
	} order;

	if (c->readable != sizeof(order))
		return CTRL_ERR;
	frame_get(c->iov, c->nr_readable, &order, sizeof(order));
	if (order.class != CTRL_MQ || order.command != CTRL_MQ_VQ_PAIRS_SET)
		return CTRL_ERR;
	return set_pairs(n, order.pairs[0] | (unsigned)order.pairs[1] << 8);
}

/* One command a turn: it may change each queue of a tap, under a lock of the host's networks. */
static void run_control(struct net *n, unsigned queue)
{
	struct queue_chain *c = &n->chain;

	if (virtio_pop(&n->dev, queue, c)) {
		const uint16_t head = c->head;
		struct iovec answer;
		uint8_t ack;

		if (c->nr_writable == 0) {
			virtio_break(&n->dev, "a command without room for its answer");
			return;
		}
		answer = c->iov[c->nr_readable];
		ack = (uint8_t)obey(n, c); /* may pop others into the same chain */
		frame_put(&answer, 1, &ack, 1);
		virtio_push(&n->dev, queue, head, 1);
		virtio_notify(&n->dev, queue);
	}
	if (queue_enable_notifications(&n->dev.queues[queue]))
		virtio_kick_again(&n->dev, queue);
}

/* 5.1.2: behind the pairs that there are, or behind the first where only that is used. */
static unsigned control_queue(const struct net *n)
{
	return n->dev.features & NET_F_MQ ? 2 * n->link->nr_queues : 2;
}

/* One for which there is nothing is counted, as is the one at the device's start. */
static void kick_tx(struct net_pair *p, const struct queue *q)
{
	struct net_counters *c = &p->net->counters;
	const bool is_idle = p->nr_sending == 0 && !p->held;
	const uint16_t before = q->last_avail;

	c->tx_queue_event_count++;
	tx_run(p);
	c->no_tx_avail_buffer += is_idle && q->last_avail == before;
}

static void net_kick(struct virtio_device *dev, unsigned queue)
{
	struct net *n = container_of(dev, struct net, dev);

	if (dev->features & NET_F_CTRL_VQ && queue == control_queue(n)) {
		run_control(n, queue);
	} else if (queue / 2 >= n->link->nr_queues) {
		return;
	} else if (queue % 2 == 0) {
		rx_kick(&n->pairs[queue / 2]);
	} else {
		kick_tx(&n->pairs[queue / 2], &dev->queues[queue]);
	}
}

static void net_activate(struct virtio_device *dev)
{
	struct net *n = container_of(dev, struct net, dev);

	if (!dev->is_resting)
		n->nr_active = 1; /* 5.1.6.5.6.1: until told otherwise */
	else if (n->nr_active > 1)
		n->link->ops->set_queues(n->link, n->nr_active);
	for (unsigned i = 0; i < n->link->nr_queues; i++) {
		rx_start(&n->pairs[i]);
		tx_start(&n->pairs[i]);
	}
	if (n->link->ops->negotiated)
		n->link->ops->negotiated(n->link, dev->features);
}

/* 2.4: stop taking, cancel, wait, forget. One more in flight until all have been told. */
static void net_reset(struct virtio_device *dev)
{
	struct net *n = container_of(dev, struct net, dev);

	n->is_stopping = true;
	n->nr_in_flight++;
	if (n->link->ops->set_queues && n->link->nr_queues > 1)
		n->link->ops->set_queues(n->link, 1);
	for (unsigned i = 0; i < n->link->nr_queues; i++) {
		rx_cancel(&n->pairs[i]);
		tx_cancel(&n->pairs[i]);
	}
	net_landed(n);
}

static const struct virtio_ops ops = {
	.activate = net_activate,
	.kick = net_kick,
	.reset = net_reset,
};

static uint64_t features_of(const struct net *n)
{
	uint64_t features =
		NET_F_MRG_RXBUF | NET_F_STATUS | (n->config->is_plain ? 0 : n->link->features);

	if (n->config->has_mac)
		features |= NET_F_MAC;
	if (n->config->mtu)
		features |= NET_F_MTU;
	if (n->link->nr_queues > 1)
		features |= NET_F_CTRL_VQ | NET_F_MQ;
	return features;
}

static void fill_config(struct net *n)
{
	struct config config = {
		.status = n->link->is_up ? LINK_UP : 0,
		.max_virtqueue_pairs = (uint16_t)n->link->nr_queues,
		.mtu = n->config->mtu,
	};

	memcpy(config.mac, n->config->mac, sizeof(config.mac));
	memcpy(n->dev.config, &config, sizeof(config));
	n->dev.config_size = sizeof(config);
}

/* Touched, and so paid for, only as far as the guest makes use of it. */
static void *reserve(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* Of a pair's memory; see struct net_pair. */
#define IN_SIZE	     (LINK_BURST * sizeof(struct net_in))
#define OUT_SIZE     (LINK_BURST * sizeof(struct net_out))
#define BUFFERS_SIZE (QUEUE_MAX * sizeof(struct net_buffer))
#define MANY_SIZE    (QUEUE_MAX * QUEUE_MAX * sizeof(struct iovec))
#define TAILS_SIZE   (LINK_BURST * PARCEL_MAX)

static bool init_pair(struct net *n, unsigned index)
{
	struct net_pair *p = &n->pairs[index];

	*p = (struct net_pair){
		.net = n,
		.index = index,
		.burst = 1,
		.in = reserve(IN_SIZE),
		.out = reserve(OUT_SIZE),
		.buffers = reserve(BUFFERS_SIZE),
		.many = reserve(MANY_SIZE),
		.tails = reserve(TAILS_SIZE),
		.parcel = reserve(sizeof(*p->parcel)),
	};
	return p->in && p->out && p->buffers && p->many && p->tails && p->parcel;
}

/* 5.1.4: the driver may take an interface out of use whose link is down. */
static void on_link(void *net)
{
	struct net *n = net;
	const uint16_t status = n->link->is_up ? LINK_UP : 0;

	virtio_config_set(&n->dev, offsetof(struct config, status), &status, sizeof(status));
	if (n->link->is_up)
		rx_run_all(n);
}

int net_open(struct net *n, const struct net_config *config, unsigned queues)
{
	int err = 0;

	n->config = config;
	switch (config->kind) {
	case NET_TAP:
	case NET_TAP_FD:
		err = tap_open(&n->tap, config, queues);
		n->link = &n->tap.link;
		break;
	case NET_PEER:
		err = peer_open(&n->peer, config);
		n->link = &n->peer.link;
		break;
	case NET_STREAM:
		err = stream_open(&n->stream, config);
		n->link = &n->stream.link;
		break;
	}
	if (err) {
		n->link = NULL;
		return err;
	}
	n->link->changed = on_link;
	n->link->owner = n;
	return 0;
}

int net_init(struct net *n, const struct mem *mem)
{
	const unsigned nr = n->link->nr_queues;
	bool has_memory;

	n->pairs = reserve(nr * sizeof(*n->pairs));
	has_memory = n->pairs;
	for (unsigned i = 0; i < nr && has_memory; i++)
		has_memory = init_pair(n, i);
	if (!has_memory)
		return fail(-ENOMEM, "%s: memory for its frames", n->config->id);
	virtio_init(&n->dev, &ops, n->config->id, VIRTIO_ID_NET, features_of(n),
		    nr > 1 ? 2 * nr + 1 : 2, mem);
	fill_config(n);
	limit_init(&n->rx_limit, &n->config->rx, loop_now_ns(CLOCK_MONOTONIC));
	limit_init(&n->tx_limit, &n->config->tx, loop_now_ns(CLOCK_MONOTONIC));
	rx_init(n);
	tx_init(n);
	return 0;
}

int net_attach(struct net *n, struct loop *loop)
{
	switch (n->config->kind) {
	case NET_TAP:
	case NET_TAP_FD:
		return tap_attach(&n->tap, loop);
	case NET_PEER:
		return peer_attach(&n->peer, loop);
	default:
		return stream_attach(&n->stream, loop);
	}
}

void net_listen(struct net *n)
{
	virtio_listen(&n->dev);
	if (n->link->ops->listen)
		n->link->ops->listen(n->link);
}

void net_save(const struct net *n, struct virtio_state *s)
{
	virtio_save(&n->dev, s);
	s->nr_active = n->nr_active;
}

int net_load(struct net *n, const struct virtio_state *s)
{
	const size_t at = offsetof(struct config, status);
	struct virtio_state as_here = *s;
	uint16_t status;
	int err;

	/* 5.1.6.5.6.1: one, or what a driver asked for that has been offered more. */
	if (s->nr_active > n->link->nr_queues ||
	    (s->nr_active > 1 && !(s->driver_features & NET_F_MQ)))
		return -EINVAL;
	memcpy(&status, n->dev.config + at, sizeof(status));
	memcpy(as_here.config + at, &status, sizeof(status));
	err = virtio_load(&n->dev, &as_here);
	if (err)
		return err;
	n->nr_active = s->nr_active;
	if (memcmp(s->config + at, &status, sizeof(status)) != 0) /* the link is up or down here */
		virtio_config_set(&n->dev, at, &status, sizeof(status));
	return 0;
}

void net_update(struct net *n, const struct net_update *u)
{
	limit_set(&n->rx_limit, u->rx_bytes, u->rx_ops, loop_now_ns(CLOCK_MONOTONIC));
	limit_set(&n->tx_limit, u->tx_bytes, u->tx_ops, loop_now_ns(CLOCK_MONOTONIC));
}

void net_count(const struct net *n, struct device_counters *to)
{
	const struct net_counters *c = &n->counters;

	memset(to, 0, sizeof(*to));
	to->counts[NET_NO_RX_AVAIL_BUFFER] = c->no_rx_avail_buffer;
	to->counts[NET_NO_TX_AVAIL_BUFFER] = c->no_tx_avail_buffer;
	to->counts[NET_RX_QUEUE_EVENT_COUNT] = c->rx_queue_event_count;
	to->counts[NET_RX_EVENT_RATE_LIMITER_COUNT] = c->rx_event_rate_limiter_count;
	to->counts[NET_RX_RATE_LIMITER_THROTTLED] = c->rx_rate_limiter_throttled;
	to->counts[NET_RX_TAP_EVENT_COUNT] = c->rx_tap_event_count;
	to->counts[NET_RX_BYTES_COUNT] = c->rx_bytes_count;
	to->counts[NET_RX_PACKETS_COUNT] = c->rx_packets_count;
	to->counts[NET_RX_FAILS] = c->rx_fails;
	to->counts[NET_RX_COUNT] = c->rx_count;
	to->counts[NET_TAP_READ_FAILS] = c->tap_read_fails;
	to->counts[NET_TAP_WRITE_FAILS] = c->tap_write_fails;
	to->counts[NET_TX_BYTES_COUNT] = c->tx_bytes_count;
	to->counts[NET_TX_MALFORMED_FRAMES] = c->tx_malformed_frames;
	to->counts[NET_TX_FAILS] = c->tx_fails;
	to->counts[NET_TX_COUNT] = c->tx_count;
	to->counts[NET_TX_PACKETS_COUNT] = c->tx_packets_count;
	to->counts[NET_TX_QUEUE_EVENT_COUNT] = c->tx_queue_event_count;
	to->counts[NET_TX_RATE_LIMITER_EVENT_COUNT] = c->tx_rate_limiter_event_count;
	to->counts[NET_TX_RATE_LIMITER_THROTTLED] = c->tx_rate_limiter_throttled;
	to->counts[NET_TX_SPOOFED_MAC_COUNT] = c->tx_spoofed_mac_count;
	for (unsigned i = 0; n->link && i < n->link->nr_queues; i++)
		to->queue_depth += n->pairs[i].nr_sending + (n->pairs[i].held ? 1 : 0);
	to->latency[NET_TAP_WRITE] = c->tap_write;
}

static void give_back(void *at, size_t size)
{
	if (at)
		munmap(at, size);
}

static void fini_pairs(struct net *n)
{
	for (unsigned i = 0; i < n->link->nr_queues; i++) {
		struct net_pair *p = &n->pairs[i];

		give_back(p->in, IN_SIZE);
		give_back(p->out, OUT_SIZE);
		give_back(p->buffers, BUFFERS_SIZE);
		give_back(p->many, MANY_SIZE);
		give_back(p->tails, TAILS_SIZE);
		give_back(p->parcel, sizeof(*p->parcel));
	}
	give_back(n->pairs, n->link->nr_queues * sizeof(*n->pairs));
	n->pairs = NULL;
}

/* What is in flight still uses all of it: then it goes with the process. */
void net_close(struct net *n)
{
	if (!n->link)
		return;
	if (n->pairs && n->nr_in_flight == 0)
		fini_pairs(n);
	n->link->ops->close(n->link);
	n->link = NULL;
}
