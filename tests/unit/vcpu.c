// SPDX-License-Identifier: Apache-2.0
/*
 * The threads of vCPUs on a hypervisor whose runs end as the test says: what ends the microVM, and
 * what is tried again.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../seccomp/filters.h"
#include "../../vmm/cpu.h"
#include "../../vmm/log.h"
#include "../../vmm/signals.h"
#include "../../vmm/timeline.h"
#include "../../vmm/vcpu.h"

static char said[256];
static unsigned nr_dumps;

void note(const char *fmt, ...)
{
	(void)fmt;
}

int fail(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(said, sizeof(said), fmt, ap);
	va_end(ap);
	return err ? err : -EINVAL;
}

_Noreturn void must_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}

#include <cmocka.h>

int filter_enter(enum filter which, const char *thread)
{
	(void)which, (void)thread;
	return 0;
}

void signals_unblock_fatal(sigset_t *set)
{
	(void)set;
}

void timeline_mark(enum phase phase)
{
	(void)phase;
}

void bus_access(const struct bus *bus, uint64_t addr, uint8_t *data, unsigned len, bool is_write)
{
	(void)bus, (void)addr, (void)data, (void)len, (void)is_write;
}

unsigned cpu_physical_bits(struct hv_cpuid *supported)
{
	(void)supported;
	return 46;
}

int cpu_init(const struct hv_vcpu *vcpu, struct hv_cpuid *cpuid, unsigned id, unsigned cpus,
	     unsigned khz)
{
	(void)vcpu, (void)cpuid, (void)id, (void)cpus, (void)khz;
	return 0;
}

void cpu_dump(const struct hv_vcpu *vcpu, const struct mem *mem, unsigned id)
{
	(void)vcpu, (void)mem, (void)id;
	nr_dumps++;
}

/* The hypervisor: a vCPU's descriptor is its number. */

static struct kvm_run runs[2];
static int
	results[2]; /* of each of its runs; > 0: -EAGAIN so many times, and then the guest's end */
static atomic_uint nr_runs[2];

int hv_create_vcpu(const struct hv *hv, struct hv_vcpu *vcpu, unsigned id)
{
	(void)hv;
	*vcpu = (struct hv_vcpu){ (int)id, &runs[id] };
	return 0;
}

void hv_destroy_vcpu(const struct hv *hv, struct hv_vcpu *vcpu)
{
	(void)hv;
	*vcpu = (struct hv_vcpu){ .fd = -1 };
}

int hv_supported_cpuid(const struct hv *hv, struct hv_cpuid *cpuid)
{
	(void)hv, (void)cpuid;
	return 0;
}

int hv_tsc_khz(const struct hv_vcpu *vcpu)
{
	(void)vcpu;
	return 1000000;
}

int hv_get_mp_state(const struct hv_vcpu *vcpu, struct kvm_mp_state *state)
{
	(void)vcpu, (void)state;
	return -EINVAL;
}

int hv_get_regs(const struct hv_vcpu *vcpu, struct kvm_regs *regs)
{
	(void)vcpu, (void)regs;
	return -EINVAL;
}

int hv_get_events(const struct hv_vcpu *vcpu, struct kvm_vcpu_events *events)
{
	(void)vcpu, (void)events;
	return -EINVAL;
}

int hv_run(const struct hv_vcpu *vcpu)
{
	const unsigned nr = ++nr_runs[vcpu->fd];
	const int result = results[vcpu->fd];

	if (result <= 0)
		return result;
	if (nr <= (unsigned)result)
		return -EAGAIN;
	vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

static struct mem mem = { .nr_regions = 1, .regions = { { .size = 4096 } } };
static struct bus bus;
static struct hv hv;
static struct end end;
static struct vcpus vcpus;

/* Two, which run until the microVM is over. */
static void run_both(int first, int second)
{
	struct pollfd over;

	memset(runs, 0, sizeof(runs));
	results[0] = first;
	results[1] = second;
	nr_runs[0] = nr_runs[1] = nr_dumps = 0;
	said[0] = '\0';
	assert_int_equal(end_init(&end, false), 0);
	vcpus_init(&vcpus, &bus, &bus, &mem, &end);
	assert_int_equal(vcpus_create(&vcpus, &hv, 2), 0);
	assert_int_equal(vcpus_start(&vcpus), 0);
	vcpus_await(&vcpus);
	vcpus_resume(&vcpus);
	over = (struct pollfd){ .fd = end.fd, .events = POLLIN };
	assert_int_equal(poll(&over, 1, 60000), 1);
	vcpus_stop(&vcpus);
	vcpus_fini(&vcpus, &hv);
	close(end.fd);
}

static void no_threads(void **state)
{
	(void)state;
	run_both(-EAGAIN, -EAGAIN);
	assert_int_equal(end_code(&end), EXIT_MONITOR);
	assert_non_null(strstr(said, "pids.max"));
	assert_int_equal(nr_dumps, 0);
}

/* Such as by INIT, after which it waits on, for SIPI. */
static void woken(void **state)
{
	(void)state;
	run_both(-EINTR, 3);
	assert_int_equal(end_code(&end), EXIT_TRIPLE_FAULT);
	assert_string_equal(said, "");
}

static void refused(void **state)
{
	(void)state;
	run_both(-EIO, -EINTR);
	assert_int_equal(end_code(&end), EXIT_MONITOR);
	assert_string_equal(said, "vCPU 0: KVM_RUN");
	assert_int_equal(nr_dumps, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "the first vCPU cannot be run for want of threads: said, and the end", no_threads,
		  NULL, NULL, NULL },
		{ "one that waits to be started is run again", woken, NULL, NULL, NULL },
		{ "what else cannot be run is shown", refused, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("vcpu", tests, NULL, NULL);
}
