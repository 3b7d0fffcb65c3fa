// SPDX-License-Identifier: Apache-2.0
/*
 * What an exit costs the host, provider by provider, by the calls of vmm/hv.c and guests of a few
 * instructions in long mode. A figure is the time stamp counter's, for each operation: in the
 * emulated host with VT-x that is instructions, the same in every run. Prints the lines that
 * bench/report.c describes; called by bench/exits, which has loaded the provider.
 */
#include "../vmm/hv.h"
#include "child.h"
#include "init.h"
#include "threads.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOW_SIZE    0x10000u
#define CODE_GPA    0x1000u
#define HANDLER_GPA 0x1800u
#define PML4_GPA    0x2000u
#define PDPT_GPA    0x3000u
#define PD_GPA	    0x4000u /* the first GiB, 2 MiB a page */
#define PD_HOLE_GPA 0x5000u /* the fourth */
#define GDT_GPA	    0x6000u
#define IDT_GPA	    0x7000u
#define STACK_GPA   0xf000u
#define DATA_GPA    0x200000u
#define DATA_PAGES  2048u
#define HOLE_GPA    0xd0000000u
#define NOTIFY_GPA  (HOLE_GPA + 0x50) /* as virtio-mmio's QueueNotify */
#define MATCH_GPA   (HOLE_GPA + 0x1050)
#define VECTOR	    0x40u
#define GSI	    5u
#define SEG_CODE    8u
#define SEG_DATA    16u
#define PORT_WRITES 4000u
#define LOOPS	    4000u /* of what the guest does by itself */
#define MSIS	    2000u
#define WAKES	    1000u
#define MACHINES    20u
#define PTE	    3ull    /* present, writable */
#define PTE_LARGE   0x83ull /* 2 MiB */

struct machine {
	struct hv hv;
	struct hv_vcpu cpu;
	struct hv_cpuid cpuid;
	uint8_t *low, *data;
	int irq, kick;
};

/* In a VM: RSI counts, EBX says that the interrupt has come. Each ends in a write to port 10h. */
static const uint8_t out_code[] = "\xe6\x10\xeb\xfc";
static const uint8_t cpuid_code[] = "\x31\xc0\x31\xc9\x0f\xa2\x48\xff\xce\x75\xf5\xe6\x10";
/* mov %eax,(%rdi); dec %rsi; jnz */
static const uint8_t kick_code[] = "\x89\x07\x48\xff\xce\x75\xf9\xe6\x10";
/* mov %al,(%rdi); add $0x1000,%rdi; dec %rsi; jnz */
static const uint8_t touch_code[] =
	"\x88\x07\x48\x81\xc7\x00\x10\x00\x00\x48\xff\xce\x75\xf2\xe6\x10";
/* The APIC's SVR by WRMSR; out; then: test %ebx,%ebx; jz; xor %ebx,%ebx; out; again */
static const uint8_t spin_code[] =
	"\xb9\x0f\x08\x00\x00\xb8\xff\x01\x00\x00\x31\xd2\x0f\x30\xe6\x10"
	"\x85\xdb\x74\xfc\x31\xdb\xe6\x10\xeb\xf6";
/* The same, then: cli; test %ebx,%ebx; jnz; sti; hlt; again; xor %ebx,%ebx; sti; out; again */
static const uint8_t halt_code[] =
	"\xb9\x0f\x08\x00\x00\xb8\xff\x01\x00\x00\x31\xd2\x0f\x30\xe6\x10"
	"\xfa\x85\xdb\x75\x04\xfb\xf4\xeb\xf7\x31\xdb\xfb\xe6\x10\xeb\xf0";
/* EOI by WRMSR; inc %ebx; iretq */
static const uint8_t handler[] = "\xb9\x0b\x08\x00\x00\x31\xc0\x31\xd2\x0f\x30\xff\xc3\x48\xcf";

static enum hv_provider provider;

static _Noreturn void die(const char *what, int err)
{
	fprintf(stderr, "bench/exits: %s: %s\n", what, strerror(-err));
	exit(EXIT_FAILURE);
}

static int need(int n, const char *what)
{
	if (n < 0)
		die(what, n == -1 ? -errno : n);
	return n;
}

static uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static void *memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(p == MAP_FAILED ? -1 : 0, "mmap");
	return p;
}

static uint64_t *words(struct machine *m, uint32_t gpa)
{
	return (uint64_t *)(void *)(m->low + gpa);
}

static void fill_low(struct machine *m)
{
	uint64_t *const gate = words(m, IDT_GPA) + 2 * VECTOR;

	words(m, PML4_GPA)[0] = PDPT_GPA | PTE;
	words(m, PDPT_GPA)[0] = PD_GPA | PTE;
	words(m, PDPT_GPA)[3] = PD_HOLE_GPA | PTE;
	for (uint64_t i = 0; i < 512; i++) {
		words(m, PD_GPA)[i] = i << 21 | PTE_LARGE;
		words(m, PD_HOLE_GPA)[i] = (3ull << 30 | i << 21) | PTE_LARGE;
	}
	words(m, GDT_GPA)[SEG_CODE / 8] = 0x00af9b000000ffff;
	words(m, GDT_GPA)[SEG_DATA / 8] = 0x00cf93000000ffff;
	gate[0] = HANDLER_GPA | SEG_CODE << 16 | 0x8e00ull << 32; /* an interrupt gate */
	memcpy(m->low + HANDLER_GPA, handler, sizeof(handler));
}

/* Long mode, paging on, interrupts on, x2APIC. */
static void enter_long_mode(struct machine *m)
{
	struct kvm_segment code = {
		.limit = ~0u, .selector = SEG_CODE, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = code;
	struct kvm_sregs s;

	data.selector = SEG_DATA;
	data.type = 3;
	data.l = 0;
	data.db = 1;
	need(hv_get_sregs(&m->cpu, &s), "KVM_GET_SREGS");
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.gdt.base = GDT_GPA;
	s.gdt.limit = 0x17;
	s.idt.base = IDT_GPA;
	s.idt.limit = 0xfff;
	s.cr0 = 0x80050033;
	s.cr3 = PML4_GPA;
	s.cr4 = 0x620; /* PAE, OSFXSR, OSXMMEXCPT */
	s.efer = 0x500;
	s.apic_base |= 0xc00;
	need(hv_set_sregs(&m->cpu, &s), "KVM_SET_SREGS");
}

static void machine_init(struct machine *m)
{
	memset(m, 0, sizeof(*m));
	m->irq = m->kick = -1;
	need(hv_open(&m->hv, provider), "the provider");
	need(hv_create_vm(&m->hv, 24), "KVM_CREATE_VM");
	m->low = memory(LOW_SIZE);
	need(hv_set_memory(&m->hv, 0, 0, LOW_SIZE, m->low), "memory");
	need(hv_create_vcpu(&m->hv, &m->cpu, 0), "KVM_CREATE_VCPU");
	need(hv_supported_cpuid(&m->hv, &m->cpuid), "KVM_GET_SUPPORTED_CPUID");
	need(hv_set_cpuid(&m->cpu, &m->cpuid), "KVM_SET_CPUID2");
	fill_low(m);
	enter_long_mode(m);
}

static void machine_fini(struct machine *m)
{
	hv_destroy_vcpu(&m->hv, &m->cpu);
	hv_close(&m->hv);
	munmap(m->low, LOW_SIZE);
	if (m->data)
		munmap(m->data, DATA_PAGES * 4096ul);
	if (m->irq >= 0)
		close(m->irq);
	if (m->kick >= 0)
		close(m->kick);
}

/* The guest is about to run `code` with these in RDI and RSI. */
static void start(struct machine *m, const uint8_t *code, size_t size, uint64_t rdi, uint64_t rsi)
{
	struct kvm_regs regs = {
		.rip = CODE_GPA, .rsp = STACK_GPA, .rdi = rdi, .rsi = rsi, .rflags = 0x202
	};

	memcpy(m->low + CODE_GPA, code, size);
	need(hv_set_regs(&m->cpu, &regs), "KVM_SET_REGS");
}
#define START(m, code, rdi, rsi) start((m), (code), sizeof(code), (rdi), (rsi))

/* To the next port write. */
static void run(struct machine *m)
{
	int err;

	do
		err = hv_run(&m->cpu);
	while (err == -EINTR);
	need(err, "KVM_RUN");
	if (m->cpu.run->exit_reason == KVM_EXIT_IO)
		return;
	fprintf(stderr, "bench/exits: exit reason %u\n", m->cpu.run->exit_reason);
	exit(EXIT_FAILURE);
}

static uint64_t measure_port(struct machine *m)
{
	uint64_t begin;

	START(m, out_code, 0, 0);
	run(m); /* what is touched first is not what is measured */
	begin = tsc();
	for (unsigned i = 0; i < PORT_WRITES; i++)
		run(m);
	return (tsc() - begin) / PORT_WRITES;
}

/* One call in which the guest does the same thing many times: the call itself is lost in it. */
static uint64_t measure_loop(struct machine *m, unsigned times)
{
	const uint64_t begin = tsc();

	run(m);
	return (tsc() - begin) / times;
}

static uint64_t measure_cpuid(struct machine *m)
{
	START(m, cpuid_code, 0, 10);
	run(m);
	START(m, cpuid_code, 0, LOOPS);
	return measure_loop(m, LOOPS);
}

/* A write that the kernel compares with length and value, which mayfly does not ask for. */
static void connect_match(struct machine *m)
{
	struct kvm_ioeventfd kick = { .datamatch = 0,
				      .addr = MATCH_GPA,
				      .len = 4,
				      .fd = m->kick,
				      .flags = KVM_IOEVENTFD_FLAG_DATAMATCH };

	need(ioctl(m->hv.vm_fd, (int)KVM_IOEVENTFD, &kick), "KVM_IOEVENTFD");
}

static uint64_t measure_kick(struct machine *m, uint64_t gpa)
{
	uint64_t count = 0, took;

	START(m, kick_code, gpa, 10);
	run(m);
	START(m, kick_code, gpa, LOOPS);
	took = measure_loop(m, LOOPS);
	if (read(m->kick, &count, sizeof(count)) != sizeof(count) || count != LOOPS + 10)
		die("kicks that were lost", -EIO);
	return took;
}

/* Pages that the process has, and the guest has not seen; the first of each 2 MiB as well. */
static uint64_t measure_fault(struct machine *m)
{
	const size_t size = DATA_PAGES * 4096ul;

	m->data = memory(size);
	madvise(m->data, size, MADV_NOHUGEPAGE);
	memset(m->data, 1, size);
	need(hv_set_memory(&m->hv, 1, DATA_GPA, size, m->data), "memory");
	START(m, touch_code, DATA_GPA, DATA_PAGES);
	return measure_loop(m, DATA_PAGES);
}

static void connect_irq(struct machine *m)
{
	const struct kvm_irq_routing_entry route = {
		.gsi = GSI,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = { .address_lo = 0xfee00000, .data = VECTOR },
	};

	m->irq = need(eventfd(0, EFD_CLOEXEC), "eventfd");
	need(hv_set_routes(&m->hv, &route, 1), "KVM_SET_GSI_ROUTING");
	need(hv_irqfd(&m->hv, m->irq, GSI), "KVM_IRQFD");
}

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		die("an eventfd", -errno);
}

/* From the write to the port write that follows the handler, less what a port write takes. */
static double measure_msi(struct machine *m, uint64_t port)
{
	uint64_t begin;

	connect_irq(m);
	START(m, spin_code, 0, 0);
	run(m);
	begin = tsc();
	for (unsigned i = 0; i < MSIS; i++) {
		signal_fd(m->irq);
		run(m);
	}
	return (double)(tsc() - begin) / MSIS - (double)port;
}

struct waker {
	int asked, irq;
};

static void *wake(void *arg)
{
	const struct waker *w = arg;
	uint64_t count;

	for (unsigned i = 0; i < WAKES && read(w->asked, &count, sizeof(count)) > 0; i++)
		signal_fd(w->irq);
	return NULL;
}

/*
 * The vCPU's thread goes before the other on their one CPU, so that it has halted whenever it is
 * woken, and runs as soon as it is. Less the port write.
 */
static double measure_wake(struct machine *m, uint64_t port)
{
	const struct sched_param first = { .sched_priority = 1 }, plain = { 0 };
	struct waker w = { need(eventfd(0, EFD_CLOEXEC), "eventfd"), m->irq };
	pthread_t thread;
	uint64_t begin;

	need(-pthread_create(&thread, NULL, wake, &w), "a thread");
	need(-pthread_setschedparam(pthread_self(), SCHED_FIFO, &first), "SCHED_FIFO");
	START(m, halt_code, 0, 0);
	run(m);
	begin = tsc();
	for (unsigned i = 0; i < WAKES; i++) {
		signal_fd(w.asked);
		run(m);
	}
	begin = tsc() - begin;
	pthread_setschedparam(pthread_self(), SCHED_OTHER, &plain);
	pthread_join(thread, NULL);
	close(w.asked);
	return (double)begin / WAKES - (double)port;
}

static uint64_t measure_machine(void)
{
	static struct machine m;
	const uint64_t begin = tsc();

	for (unsigned i = 0; i < MACHINES; i++) {
		machine_init(&m);
		START(&m, out_code, 0, 0);
		run(&m);
		machine_fini(&m);
	}
	return (tsc() - begin) / MACHINES;
}

/* A difference that is not above 0 is one between two moments of the machine: not measured. */
static void print_cost(const char *id, int digits, double cost)
{
	if (cost > 0)
		printf(",\"%s\":%.*f", id, digits, cost);
}

/*
 * A boot of Linux, from the vCPU's first entry to its first process, which then stays. The time of
 * the vCPU's thread is exact; how much of it was the guest's the kernel samples at its ticks.
 */
static void print_boot(const char *who, const char *const *argv)
{
	struct child c;
	struct mark first, found;
	uint64_t all, guest;

	child_start(&c, who, argv);
	child_await(&c, MARKER, 300, &first, &found);
	all = threads_vcpu_ns(c.pid);
	guest = threads_guest_ns(c.pid);
	child_kill(&c);
	print_cost("boot", 1, (double)all / 1e6);
	print_cost("boot_outside", 1, ((double)all - (double)guest) / 1e6);
}

static void one_run(const char *who, unsigned n, const char *const *argv)
{
	static struct machine m;
	uint64_t port;

	usleep(500000); /* what the kernel still clears away of the last monitor is not measured */
	machine_init(&m);
	port = measure_port(&m);
	printf("{\"who\":\"%s\",\"run\":%u,\"port\":%lu", who, n, port);
	printf(",\"cpuid\":%lu", measure_cpuid(&m));
	m.kick = need(eventfd(0, EFD_CLOEXEC), "eventfd");
	need(hv_ioeventfd(&m.hv, m.kick, NOTIFY_GPA), "KVM_IOEVENTFD");
	connect_match(&m);
	printf(",\"kick\":%lu", measure_kick(&m, NOTIFY_GPA));
	printf(",\"match\":%lu", measure_kick(&m, MATCH_GPA));
	printf(",\"fault\":%lu", measure_fault(&m));
	print_cost("msi", 0, measure_msi(&m, port));
	print_cost("wake", 0, measure_wake(&m, port));
	machine_fini(&m);
	printf(",\"machine\":%lu", measure_machine());
	if (argv[0])
		print_boot(who, argv);
	printf("}\n");
	fflush(stdout);
}

/* The rows, and what mayfly.ko may take of KVM's figure (issue 4, "Speed to reach"). */
static const struct {
	const char *id, *label, *unit; /* unit NULL: the time stamp counter's */
	double at_most;		       /* 0: no bound */
} figures[] = {
	{ "port", "port write to user space and back", NULL, 0.6 },
	{ "cpuid", "CPUID exit", NULL, 0.5 },
	{ "kick", "kick through an ioeventfd", NULL, 0.5 },
	{ "match", "the same, of a certain length and value", NULL, 0 },
	{ "msi", "MSI from an irqfd, handler and EOI", NULL, 0.7 },
	{ "fault", "EPT or NPT fault, 4 KiB, page present", NULL, 0.7 },
	{ "wake", "HLT, woken by another thread", NULL, 0.8 },
	{ "machine", "VM and vCPU made, run, torn down", NULL, 0.3 },
	{ "boot_outside", "Linux to init, its vCPU outside of the guest", "ms", 0.6 },
	{ "boot", "Linux to init, its vCPU in all", "ms", 0 },
};
#define FIGURES (sizeof(figures) / sizeof(figures[0]))

/* The boots' figures are the last ones. `others`: KVM's module, beside ours or alone. */
static void print_head(const char *host, const char *runs, const char *others, bool with_ours,
		       bool boots)
{
	const unsigned nr = boots ? FIGURES : FIGURES - 2;
	const bool counts_insns = !strcmp(host, "vtx");

	printf("{\"bench\":\"exits\",\"title\":\"Exits on %s%s, %s host; %s for each operation, %s "
	       "runs\"}\n",
	       with_ours ? "mayfly.ko and " : "", others, host,
	       counts_insns ? "instructions" : "the time stamp counter's cycles", runs);
	for (unsigned i = 0; i < nr; i++)
		printf("{\"figure\":\"%s\",\"label\":\"%s\",\"unit\":\"%s\",\"plot\":false}\n",
		       figures[i].id, figures[i].label,
		       figures[i].unit ? figures[i].unit
		       : counts_insns  ? "insns"
				       : "cycles");
	for (unsigned i = 0; i < nr && with_ours; i++)
		if (figures[i].at_most > 0)
			printf("{\"target\":\"%s\",\"who\":\"mayfly\",\"over\":\"%s\","
			       "\"at_most\":%g}\n",
			       figures[i].id, others, figures[i].at_most);
}

int main(int argc, char **argv)
{
	if (argc > 5 && !strcmp(argv[1], "head")) {
		print_head(argv[2], argv[3], argv[4], !strcmp(argv[5], "mayfly"), argc > 6);
		return 0;
	}
	if (argc < 3) {
		fprintf(stderr, "usage: exits head HOST RUNS KVM mayfly|alone [MONITOR ARG...]\n"
				"       exits mayfly|KVM RUNS [MONITOR ARG...]\n"
				"Prints JSON lines; the monitor's boot is measured, too.\n");
		return EXIT_FAILURE;
	}
	provider = !strcmp(argv[1], "mayfly") ? HV_MAYFLY : HV_KVM;
	for (unsigned i = 0; i < (unsigned)strtoul(argv[2], NULL, 10); i++)
		one_run(argv[1], i, (const char *const *)argv + 3);
	return 0;
}
