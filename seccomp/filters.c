/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting the filters on. Called by vm.c (the loop's) and vcpu.c; the programs come from policy.c
 * by way of generate.c. Nothing here may need a right: no_new_privs is what the kernel asks for.
 */
#include "filters.h"
#include "../vmm/log.h"
#include "sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INSNS_MAX 1024u /* of one program */
#define NAME_SIZE 16u

static bool is_off;
static struct sock_filter loaded[FILTERS][INSNS_MAX];
static uint16_t nr_loaded[FILTERS]; /* 0: as built in */
static _Thread_local const char *name_of_thread = "?";

void filters_off(void)
{
	is_off = true;
}

static int find(const char name[NAME_SIZE])
{
	for (int i = 0; i < FILTERS; i++)
		if (!strncmp(name, filter_programs[i].name, NAME_SIZE))
			return i;
	return -1;
}

/* The next program of the file: 1, 0 at its end, -EINVAL. */
static int load_next(int fd)
{
	struct {
		char name[NAME_SIZE];
		uint32_t nr;
	} head;
	const ssize_t n = read(fd, &head, sizeof(head));
	size_t size;
	int which;

	if (n == 0)
		return 0;
	if (n != (ssize_t)sizeof(head) || head.nr == 0 || head.nr > INSNS_MAX)
		return -EINVAL;
	which = find(head.name);
	size = head.nr * sizeof(struct sock_filter);
	if (which < 0 || read(fd, loaded[which], size) != (ssize_t)size)
		return -EINVAL;
	nr_loaded[which] = (uint16_t)head.nr;
	return 1;
}

int filters_load(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int got = 1;

	if (fd < 0)
		return fail(-errno, "--seccomp-filter %s", path);
	while (got > 0)
		got = load_next(fd);
	close(fd);
	return got ? fail(0, "--seccomp-filter %s: is no file of mayfly's filters", path) : 0;
}

/* What the programs cannot know when they are made. */
static void fill_in(struct sock_filter *insns, unsigned nr)
{
	const uint64_t sealed = sealed_base();

	for (unsigned i = 0; i < nr; i++) {
		uint32_t *k = &insns[i].k;

		if (*k == FILTER_PLACE_PID)
			*k = (uint32_t)getpid();
		else if (*k == FILTER_PLACE_HIGH)
			*k = (uint32_t)(sealed >> 32);
		else if ((*k & ~2u) == FILTER_PLACE_ADDRESS)
			*k = (uint32_t)sealed | (*k & 2u);
	}
}

int filter_enter(enum filter which, const char *thread)
{
	struct sock_filter insns[INSNS_MAX];
	struct sock_fprog program = { .len = nr_loaded[which], .filter = insns };

	name_of_thread = thread;
	if (is_off)
		return 0;
	if (program.len == 0)
		program.len = filter_programs[which].nr;
	must(program.len <= INSNS_MAX);
	memcpy(insns, nr_loaded[which] ? loaded[which] : filter_programs[which].insns,
	       program.len * sizeof(insns[0]));
	fill_in(insns, program.len);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return fail(-errno, "PR_SET_NO_NEW_PRIVS");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		return fail(-errno, "the filter of system calls (--no-seccomp leaves it out)");
	return 0;
}

const char *filter_call_name(int call)
{
	const char *name = filter_calls;

	if (call < 0 || (unsigned)call >= filter_nr_calls)
		return "?";
	while (call-- > 0)
		name += strlen(name) + 1;
	return *name ? name : "?";
}

const char *filter_thread(void)
{
	return name_of_thread;
}
