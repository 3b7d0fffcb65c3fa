/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests of `calls`, one program: calls.c, memory.c, modes.c, state.c. All are about one
 * machine, which main() makes anew where a test leaves it unfit for the next, and are told in the
 * order that main() has.
 */
#ifndef TESTS_KMOD_CALLS_H
#define TESTS_KMOD_CALLS_H

#include "machine.h"

#define CODE(m, bytes, ds) machine_code((m), (bytes), sizeof(bytes) - 1, (ds))

extern struct machine m;
extern const char handler[20]; /* writes 7 to port 20, ends the interrupt, IRET */

bool is_kvm(void); /* where KVM differs */
/* Where the bytes of an exit for a port are. */
uint8_t *io_data(void);
/* Vector `nr` of real mode is code at `offset`. */
void vector(uint8_t *low, unsigned nr, unsigned offset);
/* For a signal that ends KVM_RUN, and nothing else. */
void on_alarm(int signo);

/* memory.c */
void memory_exits(void);
void wrapped_code(void);
void tables_of_slots(void);
void memory_changes(void);
void memory_shared(void);
void memory_under_load(void);
void left_cpu(void);
void slots(void);
void read_only(void);
void dirty_pages(void);
void huge_page(void);

void modes(void); /* modes.c */

/* state.c */
void bugs(void);
void debug(void);
void segments(void);
void host_breakpoint(void); /* without a machine: its child makes one */
void steps(void);
void states(void);
void events(void);
void restored_tscs(void);
void clock_goes_on(void);
void clock_stopped(void);
void clock_without_a_place(void);
void restored_errors(void);
void snapshot(void);

#endif
