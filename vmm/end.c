// SPDX-License-Identifier: Apache-2.0
/* The reasons and their exit codes, in one table. */
#include "end.h"
#include "log.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const struct {
	int code;
	const char *words;
} reasons[] = {
	[END_POWEROFF] = { 0, "powered off" },
	[END_REBOOT] = { EXIT_REBOOT, "rebooted" },
	[END_PANIC] = { EXIT_PANIC, "the guest kernel panicked" },
	[END_TRIPLE_FAULT] = { EXIT_TRIPLE_FAULT, "triple fault" },
	[END_HALTED] = { EXIT_HALTED, "halted with interrupts off" },
	[END_TIMEOUT] = { EXIT_TIMEOUT, "timed out" },
	[END_SIGNAL] = { EXIT_SIGNAL, "stopped by a signal" },
	[END_ERROR] = { EXIT_MONITOR, "monitor error" },
};

int end_init(struct end *end, bool is_job)
{
	atomic_init(&end->reason, END_NONE);
	atomic_init(&end->job_status, -1);
	end->is_job = is_job;
	end->signal = 0;
	end->fd = eventfd(0, EFD_CLOEXEC);
	return end->fd < 0 ? -errno : 0;
}

void end_now(struct end *end, enum end_reason reason)
{
	const uint64_t one = 1;
	int none = END_NONE;

	if (atomic_compare_exchange_strong(&end->reason, &none, (int)reason))
		must(write(end->fd, &one, sizeof(one)) == sizeof(one));
}

static bool is_job_lost(const struct end *end)
{
	return end->reason == END_POWEROFF && end->is_job && end->job_status < 0;
}

int end_code(const struct end *end)
{
	if (is_job_lost(end))
		return EXIT_JOB_LOST;
	if (end->reason == END_POWEROFF && end->job_status >= 0)
		return end->job_status;
	return reasons[end->reason].code + (end->reason == END_SIGNAL ? end->signal : 0);
}

const char *end_words(const struct end *end)
{
	return is_job_lost(end) ? "powered off before the command ended"
				: reasons[end->reason].words;
}
