/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest program of tests/guest/ for a monitor that has no hypervisor (standin.c): it runs as
 * itself, natively, on the vCPU's thread, with a stack of its own. Where it accesses a port or a
 * device, the monitor goes on as after an exit. One program in a process, with one vCPU.
 */
#ifndef BENCH_STANDGUEST_H
#define BENCH_STANDGUEST_H

#include <linux/kvm.h>
#include <stdint.h>

/* Bytes into struct kvm_run where the data of port accesses is. */
#define STANDGUEST_DATA (1ul << 12)

/* Before it runs: where address 0 is, where the start info is, what is an ioeventfd. */
void standguest_memory(void *base);
void standguest_start_info(uint64_t gpa);
void standguest_eventfd(int fd, uint64_t gpa);

/* From its start, or from where it is, to its next exit, of which it finds the answer in *run. */
void standguest_run(struct kvm_run *run);

#endif
