/* SPDX-License-Identifier: Apache-2.0 */
/* The sending half of the network device (net.h), for net.c. All on the loop's thread. */
#ifndef VIRTIO_TX_H
#define VIRTIO_TX_H

#include "net.h"

/* Once, before the loop runs. */
void tx_init(struct net *net);

/* The driver is ready: nothing that was taken before is. */
void tx_start(struct net_pair *pair);

/* Sends what is in the queue, where nothing stands against it and no batch is under way. */
void tx_run(struct net_pair *pair);

/* For a reset, or what is stuck: ends what is under way, which net_landed() then counts down. */
void tx_cancel(struct net_pair *pair);

#endif
