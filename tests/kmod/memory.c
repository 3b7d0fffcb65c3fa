// SPDX-License-Identifier: Apache-2.0
/*
 * Part of `calls`, whose main() calls these: a guest's memory. Places with no slot, slots that come
 * and go, what was written, and memory that the process changes under a guest.
 */
#include "calls.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_t main_thread;

void memory_exits(void)
{
	const uint8_t answer = 0x5a;

	test("memory accesses where no slot is exit with place, size and value");
	/* mov ax,1234; mov [10],ax; mov al,[20]; out 10,al */
	CODE(&m, "\xb8\x34\x12\xa3\x10\x00\xa0\x20\x00\xe6\x10", HOLE_GPA);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO));
	HOLDS(m.run->mmio.phys_addr == HOLE_GPA + 0x10 && m.run->mmio.len == 2 &&
	      m.run->mmio.is_write && m.run->mmio.data[0] == 0x34 && m.run->mmio.data[1] == 0x12);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO));
	HOLDS(m.run->mmio.phys_addr == HOLE_GPA + 0x20 && m.run->mmio.len == 1 &&
	      !m.run->mmio.is_write);
	m.run->mmio.data[0] = answer;
	IS(machine_out(&m, 0x10), answer);
}

/* What is left of 32-bit addresses beyond 4 GiB is at 0 again. */
void wrapped_code(void)
{
	struct kvm_userspace_memory_region top = { .slot = 2,
						   .guest_phys_addr = 0xfffff000,
						   .memory_size = 4096,
						   .userspace_addr = (uintptr_t)m.data };
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	test("an instruction that ends beyond 4 GiB is read on from 0");
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &top), 0);
	CODE(&m, "", HOLE_GPA);
	memcpy(m.data + 0xffe, "\xa0\x20", 2); /* mov al,[20]; out 10,al */
	memcpy(m.low, "\x00\xe6\x10", 3);
	IS(call(m.cpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0xffff0000;
	sregs.cs.limit = 0xffffffff;
	sregs.cs.g = 1;
	IS(call(m.cpu, KVM_SET_SREGS, &sregs), 0);
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	regs.rip = 0xfffe;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO) && m.run->mmio.phys_addr == HOLE_GPA + 0x20);
	m.run->mmio.data[0] = 0x21;
	IS(machine_out(&m, 0x10), 0x21);
	IS(call(m.cpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0;
	sregs.cs.limit = 0xffff;
	sregs.cs.g = 0;
	IS(call(m.cpu, KVM_SET_SREGS, &sregs), 0);
	top.memory_size = top.userspace_addr = 0;
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &top), 0);
	memset(m.low, 0, 4);
}

/* Reads the byte at DATA_GPA for ever: mov al,[0]; out 10,al; jmp back */
static void begin_reading(void)
{
	CODE(&m, "\xa0\x00\x00\xe6\x10\xeb\xf9", DATA_GPA);
}

/* What hypervisors have made, on the whole host, as far as it has been counted; -1: not at all. */
static long table_kib(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];
	long kib = -1;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "SecPageTables: %ld", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib;
}

/* Each place is in a table of its own. */
void tables_of_slots(void)
{
	enum { PLACES = 1400 };
	struct kvm_userspace_memory_region slot = { .slot = 2,
						    .memory_size = 4096,
						    .userspace_addr = (uintptr_t)m.data };
	struct kvm_sregs s;
	long before = 0;

	test("a slot that moves leaves no tables where it was");
	begin_reading();
	for (unsigned i = 0; i < PLACES; i++) {
		slot.guest_phys_addr = 0x10000000u + i * 0x200000u;
		IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &slot), 0);
		IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
		s.ds.base = slot.guest_phys_addr;
		IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
		machine_out(&m, 0x10);
		if (i == PLACES / 4)
			before = table_kib();
	}
	HOLDS(before >= 0); /* the last hundred or so are counted later */
	HOLDS(table_kib() < before + PLACES / 2 * 4);
	slot.memory_size = 0;
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &slot), 0);
}

void memory_changes(void)
{
	pid_t child;
	int status;

	test("a guest sees what becomes of the process's memory: written, dropped, mapped anew");
	begin_reading();
	m.data[0] = 1;
	IS(machine_out(&m, 0x10), 1);
	IS(madvise(m.data, DATA_SIZE, MADV_DONTNEED), 0);
	IS(machine_out(&m, 0x10), 0);
	m.data[0] = 2;
	IS(machine_out(&m, 0x10), 2);
	HOLDS(mmap(m.data, DATA_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == m.data);
	m.data[0] = 3;
	IS(machine_out(&m, 0x10), 3);

	test("a fork's copy-on-write keeps the guest with the parent");
	child = fork();
	if (child == 0) {
		m.data[0] = 99;
		pause();
	}
	m.data[0] = 4;
	IS(machine_out(&m, 0x10), 4);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	m.data[0] = 5;
	IS(machine_out(&m, 0x10), 5);
}

void memory_shared(void)
{
	const int fd = memfd_create("data", MFD_CLOEXEC);
	uint8_t *file;

	test("a guest that only reads a private file mapping does not copy it");
	IS(ftruncate(fd, DATA_SIZE), 0);
	file = mmap(NULL, DATA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	HOLDS(mmap(m.data, DATA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) ==
	      m.data);
	begin_reading();
	file[0] = 6;
	IS(machine_out(&m, 0x10), 6);
	file[0] = 7;
	IS(machine_out(&m, 0x10), 7);

	test("a guest that writes gets its own copy, and the file keeps its bytes");
	/* mov byte [0],8; mov al,[0]; out 10,al; hlt */
	CODE(&m, "\xc6\x06\x00\x00\x08\xa0\x00\x00\xe6\x10\xf4", DATA_GPA);
	IS(machine_out(&m, 0x10), 8);
	IS(m.data[0], 8);
	IS(file[0], 7);

	test("memory that the file no longer has is EFAULT, not the host's trouble");
	IS(ftruncate(fd, 0), 0);
	begin_reading();
	IS(machine_run(&m), -EFAULT);
	munmap(file, DATA_SIZE);
	close(fd);
	HOLDS(mmap(m.data, DATA_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == m.data);
}

void slots(void)
{
	struct kvm_userspace_memory_region r = { .slot = 1,
						 .guest_phys_addr = DATA_GPA,
						 .userspace_addr = (uintptr_t)m.data };

	test("a slot that goes leaves a hole, and one that comes fills it");
	begin_reading();
	m.data[0] = 1;
	IS(machine_out(&m, 0x10), 1);
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO) && m.run->mmio.phys_addr == DATA_GPA);
	m.run->mmio.data[0] = 9;
	IS(machine_out(&m, 0x10), 9);
	r.memory_size = DATA_SIZE;
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
	IS(machine_out(&m, 0x10), 1);
}

/* Slot 1 anew, with these flags. */
static int slot_with(uint32_t flags)
{
	struct kvm_userspace_memory_region r = { .slot = 1,
						 .guest_phys_addr = DATA_GPA,
						 .userspace_addr = (uintptr_t)m.data };

	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
	r.memory_size = DATA_SIZE;
	r.flags = flags;
	return call(m.vm, KVM_SET_USER_MEMORY_REGION, &r);
}

void read_only(void)
{
	struct kvm_userspace_memory_region r = { .slot = 1,
						 .guest_phys_addr = DATA_GPA,
						 .memory_size = DATA_SIZE,
						 .userspace_addr = (uintptr_t)m.data };

	test("a read-only slot is read like any other, and a write to it exits");
	IS(slot_with(KVM_MEM_READONLY), 0);
	memcpy(m.data, "ab", 2);
	/* mov al,[0]; out 10,al; mov [1],al; mov al,[1]; out 11,al */
	CODE(&m, "\xa0\x00\x00\xe6\x10\xa2\x01\x00\xa0\x01\x00\xe6\x11", DATA_GPA);
	IS(machine_out(&m, 0x10), 'a');
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO));
	HOLDS(m.run->mmio.phys_addr == DATA_GPA + 1 && m.run->mmio.is_write &&
	      m.run->mmio.data[0] == 'a');
	IS(machine_out(&m, 0x11), 'b');
	IS(m.data[1], 'b');
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), -EINVAL); /* it stays read-only */
	IS(slot_with(0), 0);
}

/* How often a CPU was interrupted for another one's calls. */
static unsigned long calls_to(unsigned cpu)
{
	FILE *file = fopen("/proc/interrupts", "re");
	unsigned long calls = 0;
	char line[1024];

	while (file && fgets(line, sizeof(line), file)) {
		char *at = strstr(line, "CAL:");

		if (at)
			at += 4;
		for (unsigned i = 0; at && i <= cpu; i++)
			calls = strtoul(at, &at, 10);
	}
	if (file)
		fclose(file);
	return calls;
}

static bool run_on(unsigned cpu)
{
	cpu_set_t set = {};

	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/* Somebody else keeps that CPU awake: one that sleeps may be called without an interrupt. */
void left_cpu(void)
{
	cpu_set_t all;
	pid_t busy;
	unsigned long before;

	sched_getaffinity(0, sizeof(all), &all);
	if (!run_on(1)) {
		test("a CPU that a guest has left # SKIP this host has one CPU");
		return;
	}
	test("a CPU that a guest has left is not interrupted for the guest's pages");
	begin_reading();
	machine_out(&m, 0x10);
	busy = fork();
	while (busy == 0)
		;
	HOLDS(run_on(0));
	machine_out(&m, 0x10);
	before = calls_to(1);
	for (int i = 0; i < 100; i++) {
		madvise(m.data, DATA_SIZE, MADV_DONTNEED);
		IS(machine_out(&m, 0x10), 0);
	}
	IS((calls_to(1) - before) / 50, 0);
	kill(busy, SIGKILL);
	waitpid(busy, NULL, 0);
	sched_setaffinity(0, sizeof(all), &all);
}

static uint64_t dirty(uint32_t slot)
{
	uint64_t bits = 0;
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = &bits };

	IS(call(m.vm, KVM_GET_DIRTY_LOG, &log), 0);
	return bits;
}

static int log_slot(uint32_t slot, uint32_t flags)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = slot ? DATA_GPA : 0,
		.memory_size = slot ? DATA_SIZE : LOW_SIZE,
		.userspace_addr = (uintptr_t)(slot ? m.data : m.low),
	};

	return call(m.vm, KVM_SET_USER_MEMORY_REGION, &r);
}

/* KVM calls a page dirty that it maps for the first time, so the guest goes round once before. */
void dirty_pages(void)
{
	struct kvm_dirty_log none = { .slot = 1, .dirty_bitmap = (void *)8 };

	test("the log has the pages that were written since it was read, and no others");
	IS(slot_with(0), 0);
	IS(call(m.vm, KVM_GET_DIRTY_LOG, &none), -ENOENT);
	/* again: mov [0],al; mov al,[1000]; mov [2000],al; out 10,al; mov [0],al; out 11,al; jmp */
	CODE(&m, "\xa2\x00\x00\xa0\x00\x10\xa2\x00\x20\xe6\x10\xa2\x00\x00\xe6\x11\xeb\xee",
	     DATA_GPA);
	machine_out(&m, 0x10);
	IS(log_slot(1, KVM_MEM_LOG_DIRTY_PAGES), 0);
	machine_out(&m, 0x11);
	machine_out(&m, 0x10);
	IS(dirty(1), 5);
	IS(dirty(1), 0);
	machine_out(&m, 0x11);
	IS(dirty(1), 1);
	IS(log_slot(1, KVM_MEM_LOG_DIRTY_PAGES), 0);
	machine_out(&m, 0x10);
	IS(log_slot(1, KVM_MEM_LOG_DIRTY_PAGES), 0); /* the same once more keeps it */
	IS(dirty(1), 5);
	IS(slot_with(0), 0);
	IS(call(m.vm, KVM_GET_DIRTY_LOG, &none), -ENOENT);

	test("what is written for the guest is in the log, too");
	/* again: mov di,3000; mov dx,20; insb; out 10,al; jmp again */
	CODE(&m, "\xbf\x00\x30\xba\x20\x00\x6c\xe6\x10\xeb\xf5", DATA_GPA);
	HOLDS(machine_exits(&m, KVM_EXIT_IO));
	machine_out(&m, 0x10);
	IS(log_slot(0, KVM_MEM_LOG_DIRTY_PAGES), 0);
	HOLDS(machine_exits(&m, KVM_EXIT_IO));
	machine_out(&m, 0x10);
	IS(dirty(0), 1 << 3);
	IS(log_slot(0, 0), 0);
}

#define GIB (1ul << 30)

/* One page of the host's, which the guest has in one piece, then in small ones, then again so. */
void huge_page(void)
{
	uint8_t *const p = mmap(NULL, GIB, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 30 << 26, -1, 0);
	struct kvm_userspace_memory_region r = { .slot = 2,
						 .guest_phys_addr = GIB,
						 .memory_size = GIB,
						 .userspace_addr = (uintptr_t)p };
	static uint64_t bits[GIB / 4096 / 64];
	struct kvm_dirty_log log = { .slot = 2, .dirty_bitmap = bits };
	/* again: mov al,[0]; inc ax; mov [0],al; out 10,al; jmp again */
	static const char code[] = "\xa0\x00\x00\x40\xa2\x00\x00\xe6\x10\xeb\xf5";

	if (p == MAP_FAILED) {
		test("a page of 1 GiB # SKIP the host has none to give");
		return;
	}
	test("a page of 1 GiB");
	p[0] = 3;
	p[GIB - 0x1000] = 5;
	for (int logged = 0; logged < 3; logged++) {
		r.flags = logged % 2;
		IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
		CODE(&m, code, GIB);
		IS(machine_out(&m, 0x10), 4 + logged);
		CODE(&m, code, 2 * GIB - 0x1000);
		IS(machine_out(&m, 0x10), 6 + logged);
		IS(p[0], 4 + logged);
		IS(p[GIB - 0x1000], 6 + logged);
		if (r.flags)
			IS(call(m.vm, KVM_GET_DIRTY_LOG, &log), 0);
	}
	HOLDS(bits[0] == 1 && bits[1] == 0 && bits[GIB / 4096 / 64 - 1] == 1ull << 63);
	munmap(p, GIB);
	IS(machine_run(&m), -EFAULT);
	r.memory_size = r.flags = 0;
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
}

/* Takes the guest's memory away and gives it back, in every way that keeps what is in it. */
static void *disturb(void *arg)
{
	volatile bool *done = arg;

	for (int i = 0; i < 150; i++) {
		pid_t child;

		mprotect(m.data, DATA_SIZE, PROT_READ);
		mprotect(m.data, DATA_SIZE, PROT_READ | PROT_WRITE);
		mprotect(m.data, DATA_SIZE, PROT_NONE);
		mprotect(m.data, DATA_SIZE, PROT_READ | PROT_WRITE);
		child = fork();
		if (child == 0)
			_exit(m.data[0] == 0xff); /* reads its own copy */
		waitpid(child, NULL, 0);
	}
	*done = true;
	m.run->immediate_exit = 1;
	pthread_kill(main_thread, SIGALRM);
	return NULL;
}

void memory_under_load(void)
{
	volatile bool done = false;
	const struct sigaction action = { .sa_handler = on_alarm };
	struct kvm_regs regs;
	pthread_t thread;
	int err = 0;

	test("a guest finds what it has written while its memory is protected and forked under it");
	/* sti (the emulator needs it under KVM); again: inc ax; mov [0],ax; mov [1000],ax; cmp
	 * [0],ax; jne bad; cmp [1000],ax; jne bad; jmp again; bad: out 66,al */
	CODE(&m,
	     "\xfb\x40\xa3\x00\x00\xa3\x00\x10\x39\x06\x00\x00\x75\x08\x39\x06\x00\x10\x75\x02\xeb\xeb"
	     "\xe6\x66",
	     DATA_GPA);
	sigaction(SIGALRM, &action, NULL);
	main_thread = pthread_self();
	IS(pthread_create(&thread, NULL, disturb, (void *)&done), 0);
	/* EFAULT: it was protected just then. */
	while (!done && (!err || err == -EINTR || err == -EFAULT)) {
		err = machine_run(&m);
		if (!err)
			break;
	}
	HOLDS(err == -EINTR || err == -EFAULT);
	pthread_join(thread, NULL);
	m.run->immediate_exit = 0;
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	HOLDS(regs.rip >= CODE_GPA && regs.rip < CODE_GPA + 22);
}
