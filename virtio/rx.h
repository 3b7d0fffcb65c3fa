/* SPDX-License-Identifier: Apache-2.0 */
/* The receiving half of the network device (net.h), for net.c. All on the loop's thread. */
#ifndef VIRTIO_RX_H
#define VIRTIO_RX_H

#include "net.h"

/* Once, before the loop runs. */
void rx_init(struct net *net);

/* The driver is ready: nothing that was taken before is. */
void rx_start(struct net_pair *pair);

/* Reads, where nothing stands against it and none is under way: this pair, or all in use. */
void rx_run(struct net_pair *pair);
void rx_run_all(struct net *net);

/* The driver says that there are buffers. */
void rx_kick(struct net_pair *pair);

/* For a reset: ends what is under way, which net_landed() then counts down. */
void rx_cancel(struct net_pair *pair);

#endif
