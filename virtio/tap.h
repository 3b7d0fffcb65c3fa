/* SPDX-License-Identifier: Apache-2.0 */
/* A link to the host's kernel: a tap, by its name or by a descriptor that the caller opened. */
#ifndef VIRTIO_TAP_H
#define VIRTIO_TAP_H

#include "link.h"

struct tap {
	struct link link;
	bool is_warned;	      /* that the kernel refused something: a guest can ask for ever */
	struct op up_op;      /* while it is down */
	unsigned nr_attached; /* queues that the kernel sends frames to */
	int fds[LINK_QUEUES], files[LINK_QUEUES];
};

/*
 * Opens what the configuration names, with up to `queues` queues where it was made for several.
 * 0 or -errno, logged with what to do about it.
 */
int tap_open(struct tap *tap, const struct net_config *config, unsigned queues);

/*
 * A tap of one queue, open, for a NET_TAP_FD to come: the descriptor, or -errno, of which ENOENT
 * and EACCES are /dev/net/tun's, ENODEV: there is no such interface. Whether a descriptor is such a
 * one: 0 or -errno. Neither logs.
 */
int tap_open_name(const char *name);
int tap_check(int fd);

/* Hands its descriptors to the loop. 0 or -errno, logged. */
int tap_attach(struct tap *tap, struct loop *loop);

#endif
