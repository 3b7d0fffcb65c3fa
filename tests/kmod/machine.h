/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest machine for a test of the calls: one VM of one vCPU in real mode, its code at
 * CODE_GPA, 16 KiB of data that DS points to in a slot of their own, and TAP for what was seen.
 */
#ifndef TESTS_KMOD_MACHINE_H
#define TESTS_KMOD_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>

#define LOW_SIZE  0x10000u /* slot 0: vectors, code */
#define CODE_GPA  0x1000u
#define DATA_GPA  0x20000u /* slot 1 */
#define DATA_SIZE 0x4000u
#define HOLE_GPA  0xd0000000u /* nothing there */

struct machine {
	int sys, vm, cpu;
	struct kvm_run *run;
	size_t run_size;
	uint8_t *low, *data;
};

extern const char *device; /* set by main() */

/* Everything but the vCPU's registers; the test ends where it fails. */
void machine_init(struct machine *m);
void machine_fini(struct machine *m);
/* Code and registers: real mode, DS at `ds`, RIP at CODE_GPA. */
void machine_code(struct machine *m, const void *code, size_t size, uint64_t ds);
int machine_run(struct machine *m); /* 0 or -errno */
bool machine_exits(struct machine *m, uint32_t reason);
/* Runs to a write of one byte to `port`: the byte, or -1. */
int machine_out(struct machine *m, uint16_t port);

int call(int fd, unsigned long request, void *arg); /* >= 0 or -errno */
int call_number(int fd, unsigned long request, unsigned long arg);

/* TAP. What is said with `saw` is shown where the test fails. */
void test(const char *name);
void saw(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
int tests_end(void); /* the exit status */

#define IS(a, b)                                                                             \
	do {                                                                                 \
		const long long got_ = (a), want_ = (b);                                     \
		saw(got_ == want_, __FILE__ ":%d: " #a " is %lld, not %lld", __LINE__, got_, \
		    want_);                                                                  \
	} while (0)
#define HOLDS(a) saw((a), __FILE__ ":%d: not so: " #a, __LINE__)

#endif
