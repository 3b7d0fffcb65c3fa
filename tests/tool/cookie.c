/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cookie TID`: that thread's core-scheduling cookie, 0 where it has none; ends with 1 where the
 * kernel or the machine has no core scheduling.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define SCHED_CORE     62 /* of <linux/prctl.h> */
#define SCHED_CORE_GET 0
#define SCOPE_THREAD   0

int main(int argc, char **argv)
{
	uint64_t cookie;

	if (argc != 2 || prctl(SCHED_CORE, SCHED_CORE_GET, atoi(argv[1]), SCOPE_THREAD, &cookie))
		return 1;
	printf("%" PRIx64 "\n", cookie);
	return 0;
}
