/* SPDX-License-Identifier: Apache-2.0 */
/* What the steps of jail.c share among themselves; nobody else includes it. */
#ifndef SECCOMP_STEPS_H
#define SECCOMP_STEPS_H

#include "jail.h"

#include <limits.h>

struct jail {
	const struct jail_config *config;
	unsigned nr_kept;
	uid_t uid; /* whom it runs as in the end */
	gid_t gid;
	uint64_t capabilities; /* effective ones, a bit each */
	bool has_user_ns, has_landlock, is_entered;
	bool has_relative;	  /* a folder is kept for a path that begins in the current one */
	const char *lacking;	  /* why there are no namespaces */
	const char *lacking_net;  /* or, where there are, why there is none for the network, */
	const char *lacking_user; /* or for root */
	int alive_fd;  /* has something to say once who stands in for us is gone; or -1 */
	int caller_fd; /* of --daemonize, which waits for a byte of ours; or -1 */
	int cgroup_fd; /* its being closed tells the keeper that we are gone */
	/* Folders, absolute, as their users name them. Last: most of it is never touched. */
	char kept[JAIL_KEEP_MAX][PATH_MAX];
};

/* jail.c: whether a host that says so does not give what was asked for, by whichever means. */
bool jail_is_refused(int err);

/* root.c: which files there are. */
int root_open(struct jail *jail);  /* --chroot-base-dir */
int root_enter(struct jail *jail); /* the last root */

/* cgroup.c: how much of the machine. */
int cgroup_enter(struct jail *jail);

/* netns.c: an empty network. 0 or -errno. */
int netns_enter(const struct jail *jail);

/* landlock.c: the second wall. */
int landlock_enter(struct jail *jail);

#endif
