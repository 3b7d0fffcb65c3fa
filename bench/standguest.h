/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest program of tests/guest/ for a monitor that has no hypervisor (standin.c): it runs as
 * itself, natively, on the first vCPU's thread, with a stack of its own. Where it accesses a port
 * or a device, or the monitor kicks it, the monitor goes on as after an exit. There are interrupts
 * where it waits for them, and no timer, ring 0 or second processor. One program in a process,
 * linked with --wrap=sigaction,--wrap=loop_signal.
 */
#ifndef BENCH_STANDGUEST_H
#define BENCH_STANDGUEST_H

#include <linux/kvm.h>
#include <stdint.h>

/* Bytes into struct kvm_run where the data of port accesses is. */
#define STANDGUEST_DATA (1ul << 12)

/* Where address 0 is, where the start info is, what is an ioeventfd or an irqfd. */
void standguest_memory(void *base);
void standguest_start_info(uint64_t gpa);
void standguest_eventfd(int fd, uint64_t gpa);
void standguest_irqfd(int fd, unsigned gsi);

/* While it runs, too: what a GSI's interrupt is; 0: none. */
void standguest_route(unsigned gsi, uint8_t vector);

/* From its start, or from where it is, to its next exit, of which it finds the answer in *run. 0,
 * or -EINTR where run->immediate_exit is set. */
int standguest_run(struct kvm_run *run);

/* The same for a processor that nobody starts: -EINTR, once that is set. */
int standguest_wait(const struct kvm_run *run);

#endif
