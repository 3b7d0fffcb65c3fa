// SPDX-License-Identifier: Apache-2.0
/*
 * QEMU's way to fast clones, as Kata Containers' templates have it: the memory is a file that the
 * guest runs on, and that clones map privately; only the devices' state is a stream, a migration
 * that leaves shared memory out. It takes QMP, since that option of migrations has no other name.
 * Called by clone.c.
 */
#include "qemu.h"

#include "client.h"
#include "init.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_NS 1000000l
#define LEAVE_SHARED_OUT                                           \
	"{\"execute\":\"migrate-set-capabilities\",\"arguments\":" \
	"{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":true}]}}"

static _Noreturn void die(const char *what, const char *answer)
{
	fprintf(stderr, "bench: qemu: %s: %s\n", what, answer);
	exit(EXIT_FAILURE);
}

/* Whether the line that answers is there whole: a greeting and events may stand before it. */
static bool is_answered(const char *answer)
{
	const char *found = strstr(answer, "\"return\"");

	return found && strchr(found, '\n');
}

/* One command of QMP and its answer, which is the next one's. */
static const char *ask(int fd, const char *command)
{
	static char answer[64 << 10];
	size_t used = 0;

	answer[0] = '\0';
	if (send(fd, command, strlen(command), MSG_NOSIGNAL) < 0)
		die(command, "not sent");
	while (!is_answered(answer)) {
		const ssize_t n = recv(fd, answer + used, sizeof(answer) - 1 - used, 0);

		if (n <= 0)
			die(command, "not answered");
		used += (size_t)n;
		answer[used] = '\0';
		if (strstr(answer, "\"error\""))
			die(command, answer);
	}
	return answer;
}

/* The first one, whose memory becomes the file, or a clone, which is told where to go on. */
static int launch(struct child *c, const struct monitor *m, const struct guest *guest,
		  const char *dir, const char *socket, bool is_clone)
{
	static struct command command;
	char memory[160], qmp[160];
	const char *options[] = { "-object", memory, "-machine",  "memory-backend=memory",
				  "-qmp",    qmp,    "-incoming", "defer",
				  NULL };
	struct guest as = *guest;
	int fd;

	snprintf(memory, sizeof(memory),
		 "memory-backend-file,id=memory,size=%uM,mem-path=%s/qemu.memory,share=%s",
		 guest->mem_mib, dir, is_clone ? "off" : "on");
	snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", socket);
	if (is_clone)
		as.kernel = NULL; /* it is in the memory */
	else
		options[6] = NULL;
	as.options = options;
	peer_command(&command, m->peer, m->program, &as, dir);
	child_start(c, m->peer->name, command.argv);
	fd = client_connect(socket);
	ask(fd, "{\"execute\":\"qmp_capabilities\"}");
	ask(fd, LEAVE_SHARED_OUT);
	return fd;
}

static void await_migration(int fd)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };

	for (;;) {
		const char *answer = ask(fd, "{\"execute\":\"query-migrate\"}");

		if (strstr(answer, "\"status\": \"completed\""))
			return;
		if (strstr(answer, "\"status\": \"failed\""))
			die("the migration failed", answer);
		nanosleep(&pause, NULL);
	}
}

/* The migration itself stops the guest, so that a clone runs on without being told. */
void qemu_snapshot(const struct monitor *m, const struct guest *guest, const char *dir,
		   unsigned seconds)
{
	char socket[96], command[256];
	struct mark first, found;
	struct child c;
	int fd;

	snprintf(socket, sizeof(socket), "%s/qemu.socket", dir);
	fd = launch(&c, m, guest, dir, socket, false);
	child_await(&c, MARKER, seconds, &first, &found);
	snprintf(command, sizeof(command),
		 "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"exec:cat > %s/qemu.state\"}}",
		 dir);
	ask(fd, command);
	await_migration(fd);
	child_kill(&c);
	close(fd);
}

int qemu_clone(struct child *c, const struct monitor *m, const struct guest *guest, const char *dir,
	       const char *socket)
{
	char command[256];
	const int fd = launch(c, m, guest, dir, socket, true);

	snprintf(command, sizeof(command),
		 "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"exec:cat "
		 "%s/qemu.state\"}}",
		 dir);
	ask(fd, command);
	return fd;
}
