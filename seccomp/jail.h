/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail: what a process gives up before its guest's first instruction. jail_open() at the
 * process's start, jail_enter() once all is open and there is one thread yet; the steps of both
 * stand in one list, in jail.c. One per process, hence without a handle; the main thread's.
 */
#ifndef SECCOMP_JAIL_H
#define SECCOMP_JAIL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define JAIL_CGROUP_MAX 16u
#define JAIL_KEEP_MAX	24u

/* As asked for; the meaning of each is that of the option of Firecracker's jailer. */
struct jail_config {
	bool is_off;		   /* --no-jail */
	const char *name;	   /* of the program, in paths: "mayfly" */
	const char *id;		   /* of the microVM, in paths */
	const char *chroot_base;   /* the root is <base>/<name>/<id>/root; NULL: an empty one */
	const char *netns;	   /* of a network namespace, a path; NULL: an empty one */
	const char *parent_cgroup; /* below the cgroup file system; NULL: `name` */
	const char *cgroup[JAIL_CGROUP_MAX]; /* FILE=VALUE */
	unsigned nr_cgroup;
	bool has_new_pid_ns, is_daemon, has_pid_file;
	bool has_uid, has_gid;
	uid_t uid;
	gid_t gid;
	uint64_t no_file;	  /* descriptors; 0: JAIL_NO_FILE */
	uint64_t fsize;		  /* bytes of a file; 0: no limit */
	int keep[JAIL_KEEP_MAX];  /* descriptors that the caller left us and that we use */
	int named[JAIL_KEEP_MAX]; /* those that options name as /dev/fd/N, to be opened anew */
	unsigned nr_keep, nr_named;
};

#define JAIL_NO_FILE 2048u

/*
 * May return in a child, while the caller's process waits for that and passes on signals and the
 * exit status. The config must live as long as the process. 0 or -errno, logged.
 */
int jail_open(const struct jail_config *config);

/*
 * A folder that is still needed by its path in the jail, for connecting to sockets in it and
 * removing them: `path` itself or, where that is no folder's, the one that it lies in. Not "/",
 * which would be all. Before jail_enter(); at most JAIL_KEEP_MAX. 0 or -errno, logged.
 */
int jail_keep_folder(const char *path, bool is_folder);

/*
 * There is no way back: after a failure, too, the process can only end. What the host does not
 * offer is left out, and said. 0 or -errno, logged.
 */
int jail_enter(void);
bool jail_is_entered(void);

/*
 * The microVM runs, or the API listens: with --daemonize the caller, who has waited for that, goes
 * on, and standard error is left; else, and a second time, nothing. 0, or -errno, logged, where the
 * caller did not wait.
 */
int jail_detach(void);

/* Whether paths reach files once it is entered: there is no jail, or it has a root of its own. */
bool jail_has_files(void);

/* Where cgroup v2 is mounted: all of it or, beside v1, a part; NULL: nowhere. */
const char *cgroup_mount(void);

#endif
