/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One microVM, from its configuration to its exit code. There is one per process, since it sets up
 * signals and the terminal. `mayfly run` is vm_run(); `mayfly serve` takes the same steps one by
 * one, as its clients ask for them. All calls are the loop thread's, which is the caller's.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include "../api/config.h"
#include "../api/counters.h"
#include "loop.h"

struct vm;

/* Builds the microVM, runs it to its end and returns the process's exit code (end.h). */
int vm_run(const struct vm_config *config);

/* The loop and the signals, without a microVM yet. NULL where it failed, logged. */
struct vm *vm_open(const struct vm_config *config);
struct loop *vm_loop(struct vm *vm);

/*
 * Builds the microVM as configured and lets it run. 0, or -errno, logged; then nothing is left of
 * it, and it can be tried again; unless it failed behind the jail, which ends the process.
 */
int vm_start(struct vm *vm, const struct vm_config *config);

/*
 * While it runs, and then while it is paused: then no vCPU is in the guest, and no device touches
 * its memory or does what it asked for.
 */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);

/*
 * While it is paused: writes a snapshot, the state at `at`; see snapshot.h. 0 or -errno, logged;
 * then what the files hold is none.
 */
int vm_save(struct vm *vm, int state_fd, uint64_t at, int mem_fd);

/* Runs the loop until the microVM ends; false: an error of the loop's, logged. */
bool vm_wait(struct vm *vm);

/* After vm_wait(): the exit code, and the reason in words. */
int vm_exit_code(const struct vm *vm);
const char *vm_exit_words(const struct vm *vm);
bool vm_is_rebooted(const struct vm *vm);
bool vm_is_hung_up(const struct vm *vm); /* SIGHUP */

/* While it runs: what is given changes. 0 or -errno, logged; then nothing has changed. */
int vm_update_disk(struct vm *vm, const struct disk_update *update);
int vm_update_net(struct vm *vm, const struct net_update *update);

/* Fills in the devices' counters, in the order of the configuration. */
void vm_count_devices(const struct vm *vm, struct devices_counters *counters);

/* Fills in the monitor's counters. */
void vm_count(struct vm *vm, struct counters *counters);

/* Calls ended(vm) once the guest has ended, while its last output may still be on its way. */
void vm_on_end(struct vm *vm, void (*ended)(void *vm));

/* A tap for a microVM to come: tap_open_name() and tap_check() of virtio/tap.h. */
int vm_tap_open(const char *name);
int vm_tap_check(int fd);

/* Says in the log when the guest's init runs, counted from the start. Before vm_start(). */
void vm_say_boot_time(struct vm *vm);

#endif
