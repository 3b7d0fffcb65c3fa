/* SPDX-License-Identifier: Apache-2.0 */
/* Time stamps of a boot. Written by any thread, read by the loop thread when all others have ended.
 */
#include "timeline.h"
#include "log.h"
#include "loop.h"

#include <cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static const char *const names[PHASES] = {
	"start", "configured", "first_entry", "first_serial", "init", "end",
};
static struct timeline_point points[PHASES];
static atomic_bool marked[PHASES];

void timeline_mark(enum phase phase)
{
	if (atomic_load_explicit(&marked[phase], memory_order_relaxed) ||
	    atomic_exchange(&marked[phase], true))
		return;
	points[phase].wall_ns = loop_now_ns(CLOCK_MONOTONIC);
	points[phase].cpu_ns = loop_now_ns(CLOCK_PROCESS_CPUTIME_ID);
}

struct timeline_point timeline_at(enum phase phase)
{
	return points[phase];
}

static cJSON *to_json(void)
{
	cJSON *all = cJSON_CreateObject();

	for (int i = 0; i < PHASES; i++) {
		cJSON *one = cJSON_AddObjectToObject(all, names[i]);

		if (points[i].wall_ns == 0)
			continue;
		cJSON_AddNumberToObject(one, "wall_us", (double)points[i].wall_ns / 1000);
		cJSON_AddNumberToObject(one, "cpu_us", (double)points[i].cpu_ns / 1000);
	}
	return all;
}

int timeline_write(const char *path)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	char text[1024];
	cJSON *json;
	size_t len;
	int err = 0;

	if (fd < 0)
		return fail(-errno, "%s", path);
	json = to_json();
	must(cJSON_PrintPreallocated(json, text, sizeof(text) - 1, false));
	cJSON_Delete(json);
	len = strlen(text);
	text[len++] = '\n';
	if (write(fd, text, len) != (ssize_t)len)
		err = fail(-errno, "%s", path);
	close(fd);
	return err;
}
