/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a monitor's threads cost, seen from outside, for any monitor alike. The monitor's share is
 * the process's CPU time, kernel threads that work for it (io_uring's workers) included, without
 * its vCPU threads: those run the guest, and the data path of a device whose notifications are
 * ioeventfds does not lead through them.
 */
#ifndef BENCH_THREADS_H
#define BENCH_THREADS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Nanoseconds of CPU; a running vCPU's share is up to a tick (4 ms) behind. Ends the program where
 * it cannot be told. */
uint64_t threads_monitor_ns(pid_t pid);

/* Of its vCPU threads alone: all, and inside the guest, of which the kernel counts whole ticks. */
uint64_t threads_vcpu_ns(pid_t pid);
uint64_t threads_guest_ns(pid_t pid);

/* Whether what vhost does for it is among its threads. */
bool threads_has_vhost(pid_t pid);

/* Context switches of all its threads, vCPUs included. */
uint64_t threads_switches(pid_t pid);

#endif
