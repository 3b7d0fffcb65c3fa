/* SPDX-License-Identifier: Apache-2.0 */
/* A link to the host's kernel: a tap, by its name or by a descriptor that the caller opened. */
#ifndef VIRTIO_TAP_H
#define VIRTIO_TAP_H

#include "link.h"

struct tap {
	struct link link;
	bool is_warned;	      /* that the kernel refused something: a guest can ask for ever */
	unsigned nr_attached; /* queues that the kernel sends frames to */
	int fds[LINK_QUEUES], files[LINK_QUEUES];
};

/*
 * Opens what the configuration names, with up to `queues` queues where it was made for several.
 * 0 or -errno, logged with what to do about it.
 */
int tap_open(struct tap *tap, const struct net_config *config, unsigned queues);

/* Hands its descriptors to the loop. 0 or -errno, logged. */
int tap_attach(struct tap *tap, struct loop *loop);

#endif
