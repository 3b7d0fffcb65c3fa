// SPDX-License-Identifier: Apache-2.0
/*
 * The look-out for a guest that halted with interrupts off. Only a guest that used no CPU time
 * since the last look is stopped for a moment and asked: a busy one is alive.
 */
#include "halt.h"
#include "log.h"

#include <errno.h>
#include <time.h>

#define SOON_MS	  100
#define LATE_MS	  10000	   /* a look costs 0.2 ms of CPU time */
#define ACTIVE_NS 1000000u /* more CPU time than that since the last look: the guest is alive */

static uint64_t cpu_time(const struct vcpus *vcpus)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < vcpus->started; i++) {
		struct timespec ts;

		if (clock_gettime(vcpus->vcpu[i].clock, &ts) == 0)
			sum += (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	}
	return sum;
}

static void look_again(struct halt *h, uint64_t interval_ms)
{
	h->interval_ms = interval_ms;
	/*
	 * While looks are rare, the next exit to user space tells that there is something to see.
	 */
	h->vcpus->want_poke = interval_ms > SOON_MS;
	loop_timeout(h->loop, &h->timer_op, &h->ts, interval_ms);
}

static void on_timer(struct op *op, int res)
{
	struct halt *h = container_of(op, struct halt, timer_op);
	bool is_active = cpu_time(h->vcpus) - h->cpu_ns > ACTIVE_NS || h->vcpus->exits != h->exits;
	bool is_dead = false;

	if (h->vcpus->end->reason != END_NONE)
		return;
	h->is_due = h->is_held;
	if (h->is_held)
		return;
	if (res == -ECANCELED) { /* there is something to see: on_poke() */
		look_again(h, SOON_MS);
		return;
	}
	if (!is_active && vcpus_pause_soon(h->vcpus)) {
		is_dead = vcpus_are_dead(h->vcpus);
		vcpus_resume(h->vcpus);
	} else {
		is_active = true; /* also one that could not be paused: it waits for this loop */
	}
	if (is_dead) {
		end_now(h->vcpus->end, END_HALTED);
		return;
	}
	h->cpu_ns = cpu_time(h->vcpus);
	h->exits = h->vcpus->exits;
	if (is_active)
		look_again(h, SOON_MS);
	else
		look_again(h, h->interval_ms * 2 < LATE_MS ? h->interval_ms * 2 : LATE_MS);
}

static void on_poke(struct op *op, int res)
{
	struct halt *h = container_of(op, struct halt, poke_op);

	if (res > 0 && h->interval_ms > SOON_MS) {
		h->interval_ms = SOON_MS;
		loop_cancel(h->loop, &h->timer_op);
	}
	loop_read(h->loop, &h->poke_op, h->file, &h->pokes, sizeof(h->pokes));
}

int halt_init(struct halt *h, struct loop *loop, struct vcpus *vcpus)
{
	*h = (struct halt){ .loop = loop, .vcpus = vcpus };
	h->timer_op.done = on_timer;
	h->poke_op.done = on_poke;
	h->file = loop_file(loop, vcpus->poke_fd);
	if (h->file < 0)
		return fail(h->file, "registering an eventfd");
	return 0;
}

void halt_watch(struct halt *h)
{
	loop_read(h->loop, &h->poke_op, h->file, &h->pokes, sizeof(h->pokes));
	look_again(h, SOON_MS);
}

void halt_hold(struct halt *h, bool is_held)
{
	h->is_held = is_held;
	if (!is_held && h->is_due)
		look_again(h, SOON_MS);
	h->is_due = false;
}
