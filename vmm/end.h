/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a microVM ends: the first reason given wins, and wakes the loop. Any thread may give one; the
 * loop thread stops the vCPUs, lets the output out and leaves main() with the exit code.
 */
#ifndef VMM_END_H
#define VMM_END_H

#include <stdatomic.h>
#include <stdbool.h>

enum end_reason {
	END_NONE,
	END_POWEROFF,
	END_REBOOT,
	END_PANIC,
	END_TRIPLE_FAULT,
	END_HALTED,
	END_TIMEOUT,
	END_SIGNAL, /* the operator's SIGINT, SIGTERM or SIGHUP */
	END_ERROR,  /* of the monitor, the host or the hypervisor: said in the log */
};

/* Exit codes that are mayfly's and not the job's; the README and the man page list them. */
#define EXIT_JOB_LOST	  119 /* powered off before the job's end was reported */
#define EXIT_REBOOT	  120
#define EXIT_PANIC	  121
#define EXIT_TRIPLE_FAULT 122
#define EXIT_HALTED	  123
#define EXIT_TIMEOUT	  124
#define EXIT_MONITOR	  125
#define EXIT_SIGNAL	  128 /* plus the signal's number */

/* Of `mayfly serve`, as Firecracker has them. */
#define EXIT_BAD_CONFIG	   152 /* the config file */
#define EXIT_BAD_ARGUMENTS 153
#define EXIT_HANGUP	   156 /* SIGHUP */

struct end {
	atomic_int reason;
	atomic_int job_status; /* 0 to 255 as the guest reported it, or -1 */
	int fd;		       /* an eventfd, readable once there is a reason */
	bool is_job;	       /* a job was given, so power-off without its status is a loss */
	int signal;	       /* with END_SIGNAL */
};

/* 0 or -errno. */
int end_init(struct end *end, bool is_job);

/* Ends the microVM for this reason unless it is ending already. */
void end_now(struct end *end, enum end_reason reason);

/* The process's exit code, and the reason in words ("powered off"), once there is a reason. */
int end_code(const struct end *end);
const char *end_words(const struct end *end);

#endif
