// SPDX-License-Identifier: Apache-2.0
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
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME_SIZE 16u

static bool is_off, is_loaded;
static struct sock_fprog loaded[FILTERS]; /* of length 0: as built in */
static _Thread_local const char *name_of_thread = "?";

/* One would undo the other. */
static int check_choice(void)
{
	return is_off && is_loaded
		       ? fail(0, "--no-seccomp and --seccomp-filter: give one of the two")
		       : 0;
}

int filters_off(void)
{
	is_off = true;
	return check_choice();
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
	struct sock_fprog *program;
	size_t size;
	int which;

	if (n == 0)
		return 0;
	if (n != (ssize_t)sizeof(head) || head.nr == 0 || head.nr > FILTER_INSNS_MAX)
		return -EINVAL;
	which = find(head.name);
	if (which < 0)
		return -EINVAL;
	program = &loaded[which];
	size = head.nr * sizeof(*program->filter);
	free(program->filter);
	program->filter = malloc(size); /* stays as long as the process */
	if (!program->filter || read(fd, program->filter, size) != (ssize_t)size)
		return -EINVAL;
	program->len = (unsigned short)head.nr;
	return 1;
}

int filters_load(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	unsigned nr = 0;
	int got;

	if (fd < 0)
		return fail(-errno, "--seccomp-filter %s", path);
	while ((got = load_next(fd)) > 0)
		nr++;
	close(fd);
	if (got || nr == 0) /* who has written stricter ones would not run without them */
		return fail(0, "--seccomp-filter %s: is not a file of mayfly's filters", path);
	is_loaded = true;
	return check_choice();
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
		else if (*k == FILTER_PLACE_ADDRESS)
			*k = (uint32_t)sealed;
		else if (*k == FILTER_PLACE_PATH)
			*k = (uint32_t)sealed + (FILTER_PLACE_PATH ^ FILTER_PLACE_ADDRESS);
	}
}

static int put_on(const struct sock_fprog *program)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return fail(-errno, "PR_SET_NO_NEW_PRIVS");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program))
		return fail(-errno, "the filter of system calls (--no-seccomp leaves it out)");
	return 0;
}

static int put_on_filled_in(const struct sock_fprog *program)
{
	struct sock_filter insns[FILTER_INSNS_MAX];
	const struct sock_fprog filled_in = { .len = program->len, .filter = insns };

	must(program->len <= FILTER_INSNS_MAX);
	memcpy(insns, program->filter, program->len * sizeof(insns[0]));
	fill_in(insns, program->len);
	return put_on(&filled_in);
}

int filter_enter(enum filter which, const char *thread)
{
	const struct filter_program *own = &filter_programs[which];
	const struct sock_fprog built_in = { .len = own->nr,
					     .filter = (struct sock_filter *)own->insns };

	name_of_thread = thread;
	if (is_off)
		return 0;
	if (loaded[which].len)
		return put_on_filled_in(&loaded[which]);
	return own->has_places ? put_on_filled_in(&built_in) : put_on(&built_in);
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
