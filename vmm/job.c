// SPDX-License-Identifier: Apache-2.0
/* Packs /.mayfly/init and /.mayfly/job; the format of the latter is read in rootfs/init.c. */
#include "job.h"
#include "cpio.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* build/init, made an object by the linker. */
extern const uint8_t _binary_init_start[], _binary_init_end[];

/* A growing place in a buffer that is big enough by construction: job_size() went first. */
static char *put(char *at, const char *string)
{
	return stpcpy(at, string) + 1;
}

static char *put_number(char *at, unsigned number)
{
	return at + sprintf(at, "%u", number) + 1;
}

static size_t job_size(const struct job_config *job)
{
	size_t size = 128; /* the header's five strings */

	for (unsigned i = 0; i < job->argc; i++)
		size += strlen(job->argv[i]) + 1;
	for (unsigned i = 0; i < job->nr_env; i++)
		size += strlen(job->env[i]) + 1;
	return size;
}

static size_t write_job(char *to, const struct job_config *job, bool is_tty, unsigned rows,
			unsigned cols)
{
	char *at = put(to, "mayfly-job-1");

	at = put(at, is_tty ? "tty" : "pipe");
	at = put_number(at, rows);
	at = put_number(at, cols);
	at = put_number(at, job->argc);
	for (unsigned i = 0; i < job->argc; i++)
		at = put(at, job->argv[i]);
	for (unsigned i = 0; i < job->nr_env; i++)
		at = put(at, job->env[i]);
	return (size_t)(at - to);
}

ssize_t job_pack(const struct job_config *job, bool is_tty, unsigned rows, unsigned cols,
		 uint8_t **archive)
{
	/* cppcheck-suppress comparePointers ; the linker lays both around one object */
	const size_t init_size = (size_t)(_binary_init_end - _binary_init_start);
	const size_t size = init_size + job_size(job) + 1024; /* and four headers */
	char *text = malloc(job_size(job));
	uint8_t *buf = malloc(size);
	struct cpio cpio;
	ssize_t used;

	if (!text || !buf) {
		free(text);
		free(buf);
		return -ENOMEM;
	}
	cpio_begin(&cpio, buf, size);
	cpio_dir(&cpio, ".mayfly", 0755);
	cpio_file(&cpio, ".mayfly/init", 0755, _binary_init_start, (uint32_t)init_size);
	cpio_file(&cpio, ".mayfly/job", 0600, text,
		  (uint32_t)write_job(text, job, is_tty, rows, cols));
	used = cpio_end(&cpio);
	free(text);
	*archive = buf;
	return used;
}
