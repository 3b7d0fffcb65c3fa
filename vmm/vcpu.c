// SPDX-License-Identifier: Apache-2.0
/*
 * One thread per vCPU: run the guest, answer the exit, run again. The guest can end the microVM or
 * spin; it cannot hold this thread: a kick is immediate_exit plus a signal, so none is ever lost.
 */
#include "vcpu.h"
#include "../seccomp/filters.h"
#include "cpu.h"
#include "log.h"
#include "signals.h"
#include "timeline.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define KICK SIGUSR1

#define RFLAGS_IF (1ull << 9)

static void on_kick(int signo)
{
	(void)signo; /* its arrival ends the ioctl: that is all it is for */
}

void vcpus_init(struct vcpus *vcpus, const struct bus *pio, const struct bus *mmio,
		const struct mem *mem, struct end *end)
{
	memset(vcpus, 0, offsetof(struct vcpus, vcpu)); /* a page for each vCPU is not touched */
	vcpus->pio = pio;
	vcpus->mmio = mmio;
	vcpus->mem = mem;
	vcpus->end = end;
	pthread_mutex_init(&vcpus->lock, NULL);
	pthread_cond_init(&vcpus->changed, NULL);
	pthread_cond_init(&vcpus->all_parked, NULL);
	vcpus->pause = true;
	vcpus->poke_fd = -1;
	vcpus->pid = getpid();
}

void vcpus_fini(struct vcpus *vcpus, const struct hv *hv)
{
	must(vcpus->started == 0);
	for (unsigned i = 0; i < vcpus->nr; i++)
		hv_destroy_vcpu(hv, &vcpus->vcpu[i].hv);
	if (vcpus->poke_fd >= 0)
		close(vcpus->poke_fd);
	vcpus->poke_fd = -1;
	vcpus->nr = 0;
}

/* A counter's only writer is its vCPU's thread; the loop's reads whole words. */
static void add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static void set(uint64_t *to, uint64_t value)
{
	__atomic_store_n(to, value, __ATOMIC_RELAXED);
}

static uint64_t get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static uint64_t to_us(const struct vcpus *vcpus, uint64_t cycles)
{
	return (uint64_t)((unsigned __int128)cycles * vcpus->us_per_cycle >> 32);
}

/* The first bucket whose bound, 2^i microseconds, is not below. */
static unsigned bucket_of(uint64_t us)
{
	const unsigned bits = us > 1 ? 64u - (unsigned)__builtin_clzll(us - 1) : 0;

	return bits < LATENCY_BUCKETS ? bits : LATENCY_BUCKETS - 1;
}

static void count_exit(struct vcpu *v, enum exit_kind kind, uint64_t cycles)
{
	struct exit_count *c = &v->exits[kind];

	if (c->nr == 0 || cycles < c->min)
		set(&c->min, cycles);
	if (cycles > c->max)
		set(&c->max, cycles);
	add(&c->sum, cycles);
	add(&c->buckets[bucket_of(to_us(v->all, cycles))], 1);
	add(&c->nr, 1);
}

static void sum_exits(const struct vcpu *v, enum exit_kind kind, struct counters *out)
{
	const struct exit_count *c = &v->exits[kind];
	struct latency *l = &out->latency[kind];
	const uint64_t nr = get(&c->nr), min = to_us(v->all, get(&c->min)),
		       max = to_us(v->all, get(&c->max));

	if (nr == 0)
		return;
	l->min_us = out->exits[kind] == 0 || min < l->min_us ? min : l->min_us;
	l->max_us = max > l->max_us ? max : l->max_us;
	l->sum_us += to_us(v->all, get(&c->sum));
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		l->buckets[i] += get(&c->buckets[i]);
	out->exits[kind] += nr;
}

void vcpus_count(const struct vcpus *vcpus, struct counters *out)
{
	memset(out->exits, 0, sizeof(out->exits));
	memset(out->latency, 0, sizeof(out->latency));
	out->vcpu_failures = 0;
	for (unsigned i = 0; i < vcpus->nr; i++) {
		out->vcpu_failures += get(&vcpus->vcpu[i].failures);
		for (enum exit_kind kind = 0; kind < EXIT_KINDS; kind++)
			sum_exits(&vcpus->vcpu[i], kind, out);
	}
}

/* Memory beyond what the CPU can address would be lost without a word. */
static int check_memory(const struct vcpus *vcpus, unsigned bits)
{
	const struct mem_region *last = &vcpus->mem->regions[vcpus->mem->nr_regions - 1];

	if (last->gpa + last->size <= 1ull << bits)
		return 0;
	return fail(0, "--mem: this CPU addresses %llu GiB; the guest's memory ends beyond",
		    (1ull << bits) >> 30);
}

int vcpus_create(struct vcpus *vcpus, const struct hv *hv, unsigned nr)
{
	int err = hv_supported_cpuid(hv, &vcpus->cpuid);

	must(nr >= 1 && nr <= MAX_VCPUS);
	vcpus->poke_fd = eventfd(0, EFD_CLOEXEC);
	if (vcpus->poke_fd < 0)
		return fail(-errno, "eventfd");
	if (err)
		return fail(err, "%s: KVM_GET_SUPPORTED_CPUID", hv->device);
	err = check_memory(vcpus, cpu_physical_bits(&vcpus->cpuid));
	if (err)
		return err;
	for (unsigned i = 0; i < nr; i++) {
		struct vcpu *v = &vcpus->vcpu[i];
		int khz;

		*v = (struct vcpu){ .all = vcpus, .id = i, .hv.fd = -1 };
		vcpus->nr++;
		err = hv_create_vcpu(hv, &v->hv, i);
		if (err)
			return fail(err, "%s: creating vCPU %u of %u", hv->device, i, nr);
		khz = hv_tsc_khz(&v->hv);
		if (khz <= 0)
			return fail(khz ? khz : -EINVAL, "%s: KVM_GET_TSC_KHZ", hv->device);
		vcpus->us_per_cycle = (1000ull << 32) / (unsigned)khz;
		vcpus->tsc_khz = (unsigned)khz;
		err = cpu_init(&v->hv, &vcpus->cpuid, i, nr, (unsigned)khz);
		if (err)
			return err;
	}
	return 0;
}

/* A string instruction moves `count` values of one size through one port. */
static void exit_io(struct vcpu *v)
{
	const uint64_t start = __rdtsc();
	struct kvm_run *run = v->hv.run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	const bool is_out = run->io.direction == KVM_EXIT_IO_OUT;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
		bus_access(v->all->pio, run->io.port, data, run->io.size, is_out);
	count_exit(v, is_out ? EXIT_IO_OUT : EXIT_IO_IN, __rdtsc() - start);
}

static void exit_mmio(struct vcpu *v)
{
	const uint64_t start = __rdtsc();
	struct kvm_run *run = v->hv.run;

	bus_access(v->all->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
		   run->mmio.is_write);
	count_exit(v, run->mmio.is_write ? EXIT_MMIO_WRITE : EXIT_MMIO_READ, __rdtsc() - start);
}

static void exit_fail_entry(const struct vcpu *v)
{
	note("vCPU %u: the CPU refused to enter the guest, hardware reason %#llx", v->id,
	     (unsigned long long)v->hv.run->fail_entry.hardware_entry_failure_reason);
	cpu_dump(&v->hv, v->all->mem, v->id);
	end_now(v->all->end, END_ERROR);
}

static void exit_internal_error(const struct vcpu *v)
{
	static const char *const suberrors[] = { "unknown", "an instruction could not be emulated",
						 "simultaneous exceptions", "event delivery failed",
						 "unexpected exit reason" };
	const uint32_t sub = v->hv.run->internal.suberror;

	note("vCPU %u: hypervisor error %u: %s", v->id, sub, suberrors[sub < 5 ? sub : 0]);
	cpu_dump(&v->hv, v->all->mem, v->id);
	end_now(v->all->end, END_ERROR);
}

static void exit_unknown(const struct vcpu *v)
{
	note("vCPU %u: exit reason %u is none that mayfly knows", v->id, v->hv.run->exit_reason);
	cpu_dump(&v->hv, v->all->mem, v->id);
	end_now(v->all->end, END_ERROR);
}

static void run_failed(struct vcpu *v, int err)
{
	add(&v->failures, 1);
	if (err == -EFAULT)
		fail(err,
		     "vCPU %u: guest memory is gone (was the kernel, the initrd or the memory "
		     "file cut short while the guest ran?)",
		     v->id);
	else if (err == -EAGAIN) /* newer kernels start a thread of the process's with the guest */
		fail(err,
		     "vCPU %u: KVM_RUN (may no more threads be started here? pids.max of the "
		     "cgroup, RLIMIT_NPROC)",
		     v->id);
	else
		fail(err, "vCPU %u: KVM_RUN", v->id);
	if (err != -EAGAIN)
		cpu_dump(&v->hv, v->all->mem, v->id);
	end_now(v->all->end, END_ERROR);
}

static void show_life(struct vcpus *all)
{
	const uint64_t one = 1;

	atomic_fetch_add_explicit(&all->exits, 1, memory_order_relaxed);
	if (all->want_poke && atomic_exchange(&all->want_poke, false))
		must(write(all->poke_fd, &one, sizeof(one)) == sizeof(one));
}

static void handle_exit(struct vcpu *v)
{
	show_life(v->all);
	switch (v->hv.run->exit_reason) {
	case KVM_EXIT_IO:
		exit_io(v);
		break;
	case KVM_EXIT_MMIO:
		exit_mmio(v);
		break;
	case KVM_EXIT_INTR:
		break;
	case KVM_EXIT_HLT: /* a provider that sees that nothing can wake the last vCPU */
		end_now(v->all->end, END_HALTED);
		break;
	case KVM_EXIT_SHUTDOWN:
		end_now(v->all->end, END_TRIPLE_FAULT);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		exit_fail_entry(v);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		exit_internal_error(v);
		break;
	default:
		exit_unknown(v);
		break;
	}
}

/* Never started, or halted with interrupts off and no NMI or INIT on its way. */
static bool is_dead(const struct vcpu *v)
{
	struct kvm_vcpu_events events;
	struct kvm_mp_state state;
	struct kvm_regs regs;

	if (hv_get_mp_state(&v->hv, &state) || hv_get_regs(&v->hv, &regs) ||
	    hv_get_events(&v->hv, &events))
		return false;
	if (state.mp_state == KVM_MP_STATE_UNINITIALIZED)
		return true;
	return state.mp_state == KVM_MP_STATE_HALTED && !(regs.rflags & RFLAGS_IF) &&
	       !events.nmi.pending && !events.nmi.injected;
}

/* Not to run now; after the end never again, so that no guest goes on behind its own power-off. */
static bool is_held(const struct vcpus *all)
{
	return all->pause || all->end->reason != END_NONE;
}

static void park(struct vcpu *v)
{
	struct vcpus *all = v->all;

	pthread_mutex_lock(&all->lock);
	if (++all->parked == all->nr)
		pthread_cond_signal(&all->all_parked);
	while (is_held(all) && !all->stop)
		pthread_cond_wait(&all->changed, &all->lock);
	all->parked--;
	pthread_mutex_unlock(&all->lock);
}

/* EAGAIN is what ends a wait for INIT or SIPI, in which the first vCPU never is. */
static bool is_passing(const struct vcpu *v, int err)
{
	return err == -EINTR || (err == -EAGAIN && v->id != 0);
}

/*
 * An exit's instruction ends with the next KVM_RUN, and the registers are right only then (KVM API,
 * KVM_RUN): who parks has done that, and has not entered the guest for it.
 */
static void set_immediate_exit(const struct vcpu *v, uint8_t value)
{
	__atomic_store_n(&v->hv.run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

static void *thread(void *arg)
{
	struct vcpu *v = arg;
	struct vcpus *all = v->all;
	bool is_unfinished = false;
	int err;

	pthread_setname_np(pthread_self(), v->name);
	v->tid = (int)syscall(SYS_gettid);
	if (filter_enter(FILTER_VCPU, v->name))
		end_now(all->end, END_ERROR); /* and so it never runs */
	for (;;) {
		/* Cleared before the flags are read; kick() sets the flags before it. */
		set_immediate_exit(v, 0);
		if (all->stop)
			return NULL;
		if (is_held(all) && is_unfinished && all->end->reason == END_NONE) {
			set_immediate_exit(v, 1);
		} else if (is_held(all)) {
			park(v);
			continue;
		}
		if (v->id == 0)
			timeline_mark(PHASE_FIRST_ENTRY);
		err = hv_run(&v->hv);
		is_unfinished = err == 0;
		if (err == 0)
			handle_exit(v);
		else if (!is_passing(v, err))
			run_failed(v, err);
	}
}

int vcpus_start(struct vcpus *vcpus)
{
	struct sigaction kick = { .sa_handler = on_kick };
	sigset_t all, old;
	int err = 0;

	sigaction(KICK, &kick, NULL);
	/* The threads take the kick and what kills; the operator's signals are the loop's. */
	sigfillset(&all);
	sigdelset(&all, KICK);
	signals_unblock_fatal(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < vcpus->nr && !err; i++) {
		struct vcpu *v = &vcpus->vcpu[i];

		v->tid = 0;
		snprintf(v->name, sizeof(v->name), "vcpu %u", v->id);
		err = -pthread_create(&v->thread, NULL, thread, v);
		if (err) {
			fail(err, "starting the thread of vCPU %u", i);
			break;
		}
		vcpus->started++;
		pthread_getcpuclockid(v->thread, &v->clock);
	}
	/* One from outside is a vCPU's, too: its filter lets it return from the handler. */
	sigaddset(&old, KICK);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

/*
 * By tgkill(2), which names the process and which the loop's filter allows for our own. A thread
 * that has no number yet reads the flags before it enters the guest.
 */
static void kick(struct vcpus *vcpus)
{
	for (unsigned i = 0; i < vcpus->started; i++) {
		struct vcpu *v = &vcpus->vcpu[i];

		set_immediate_exit(v, 1);
		if (v->tid)
			syscall(SYS_tgkill, vcpus->pid, v->tid, KICK);
	}
}

/* A thread whose filter failed has ended the guest, and parks all the same. */
void vcpus_await(struct vcpus *vcpus)
{
	must(vcpus->started == vcpus->nr);
	pthread_mutex_lock(&vcpus->lock);
	while (vcpus->parked < vcpus->nr)
		pthread_cond_wait(&vcpus->all_parked, &vcpus->lock);
	pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_resume(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->pause = false;
	pthread_cond_broadcast(&vcpus->changed);
	pthread_mutex_unlock(&vcpus->lock);
}

bool vcpus_are_dead(const struct vcpus *vcpus)
{
	bool dead = true;

	for (unsigned i = 0; i < vcpus->started && dead; i++)
		dead = is_dead(&vcpus->vcpu[i]);
	return dead;
}

/* At most a millisecond; with the lock held. */
static void wait_for_parking(struct vcpus *vcpus)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until); /* the condition's; a jump costs one wait */
	until.tv_nsec += 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&vcpus->all_parked, &vcpus->lock, &until);
}

void vcpus_wait(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	wait_for_parking(vcpus);
	pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_pause(struct vcpus *vcpus, void (*meanwhile)(void *arg), void *arg)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->pause = true;
	kick(vcpus);
	while (vcpus->parked < vcpus->started) {
		wait_for_parking(vcpus);
		if (vcpus->parked == vcpus->started)
			continue;
		pthread_mutex_unlock(&vcpus->lock);
		meanwhile(arg);
		pthread_mutex_lock(&vcpus->lock);
	}
	pthread_mutex_unlock(&vcpus->lock);
}

#define SOON_MS 50u /* a slow or busy host may take some */

bool vcpus_pause_soon(struct vcpus *vcpus)
{
	bool is_paused;

	pthread_mutex_lock(&vcpus->lock);
	vcpus->pause = true;
	kick(vcpus);
	for (unsigned ms = 0; ms < SOON_MS && vcpus->parked < vcpus->started; ms++)
		wait_for_parking(vcpus);
	is_paused = vcpus->parked == vcpus->started;
	pthread_mutex_unlock(&vcpus->lock);
	if (!is_paused)
		vcpus_resume(vcpus);
	return is_paused;
}

void vcpus_stop(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->stop = true;
	kick(vcpus);
	pthread_cond_broadcast(&vcpus->changed);
	pthread_mutex_unlock(&vcpus->lock);
	for (unsigned i = 0; i < vcpus->started; i++)
		pthread_join(vcpus->vcpu[i].thread, NULL);
	vcpus->started = 0;
}
