// SPDX-License-Identifier: Apache-2.0
/*
 * A folder of a test's own, for what cpio(1) unpacks: made and removed as cmocka's set-up and
 * tear-down. Included after <cmocka.h>, once in a program.
 */
#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/mayfly-unit.XXXXXX");
	assert_non_null(mkdtemp(dir));
	return 0;
}

static void run(const char *command)
{
	char line[1024];

	snprintf(line, sizeof(line), "cd '%s' && { %s; } 2>&1", dir, command);
	if (system(line) != 0)
		fail_msg("failed: %s", line);
}

static int remove_dir(void **state)
{
	(void)state;
	run("rm -r \"$PWD\"");
	return 0;
}

#endif
