// SPDX-License-Identifier: Apache-2.0
/*
 * The API's server on a real socket and a real ring, in a child process with a monitor that does
 * nothing; the tests are its clients. InstanceStart ends it, and it ends well only if it has given
 * back what its clients cost. Where io_uring is forbidden or too old, all are skipped and say so.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Before cmocka, which has a macro fail(): the function is (fail)(). */
#include "../../api/server.h"

#include <cmocka.h>

#include "scratch.h"

#define START "{\"action_type\":\"InstanceStart\"}"
#define HEAD  "\r\nServer: unit\r\nConnection: keep-alive\r\n"

static pid_t child;
static bool is_started; /* by the test: it ends by being resumed */
static char path[128];
static char got[400000];

/* In the child. */

static struct loop loop;
static struct server server;
static struct api api;
static struct vm_config config;

static int stop(void *vm, const struct vm_config *c)
{
	(void)vm;
	if (!strstr(c->cmdline, "stay"))
		loop_stop(&loop);
	return 0;
}

/* As a monitor whose vCPUs do not park at once, and which lets the loop go on meanwhile. */
static void pause_slowly(void *vm)
{
	(void)vm;
	for (unsigned i = 0; i < 60; i++) {
		usleep(5000);
		loop_turn(&loop);
	}
}

static void end(void *vm)
{
	(void)vm;
	loop_stop(&loop);
}

static int no_tap(const char *name)
{
	(void)name;
	return -ENODEV;
}

static int no_tap_fd(int fd)
{
	(void)fd;
	return -EINVAL;
}

/* Called for each GET /metrics; all of them from the loop, and none from within another's. */
static uintptr_t lowest_frame = UINTPTR_MAX, highest_frame;

static void note_frame(void *vm, struct counters *counters)
{
	const uintptr_t frame = (uintptr_t)__builtin_frame_address(0);

	(void)vm;
	(void)counters;
	lowest_frame = frame < lowest_frame ? frame : lowest_frame;
	highest_frame = frame > highest_frame ? frame : highest_frame;
}

static unsigned open_descriptors(void)
{
	DIR *dir_of = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir_of && readdir(dir_of))
		n++;
	closedir(dir_of);
	return n;
}

static void tell(struct api *a)
{
	server_event(&server, a->state == API_PAUSED ? "{\"state\":\"Paused\"}" : "{}");
}

/* As a socket of systemd's may be: nothing of it takes a descriptor's place, or stays. */
static void pass_all(int fd)
{
	static const int options[] = { SO_PASSCRED, SO_PASSSEC, 76 /* SO_PASSPIDFD */ };
	const int on = 1;

	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		setsockopt(fd, SOL_SOCKET, options[i], &on, sizeof(on));
}

static _Noreturn void be_server(int ready_fd)
{
	static const struct api_ops ops = { .start = stop,
					    .tap_open = no_tap,
					    .tap_check = no_tap_fd,
					    .pause = pause_slowly,
					    .resume = end,
					    .count = note_frame };
	const struct api_names names = { "unit", "unit", "0", "unit" };
	const struct log_form quiet = { .fd = STDERR_FILENO, .level = LOG_OFF };
	const struct server_config with = {
		.path = path, .listen_fd = -1, .body_max = 1000, .ready_fd = -1
	};
	unsigned before;

	if (loop_init(&loop))
		_exit(77);
	signal(SIGPIPE, SIG_IGN);
	log_to(&quiet);
	api_init(&api, &names, &ops, NULL, &config, &quiet);
	api.changed = tell;
	server_tick(&server, &loop, &api);
	if (server_open(&server, &loop, &api, &with))
		_exit(2);
	pass_all(server.fd);
	if (write(ready_fd, "", 1) != 1)
		_exit(2);
	close(ready_fd);
	before = open_descriptors();
	if (loop_run(&loop))
		_exit(3);
	server_close(&server);
	if (highest_frame && highest_frame - lowest_frame > 1000)
		_exit(5);
	/* The connection that asked for the end is still there, and what a drive was given. */
	_exit(open_descriptors() > before + 1 + api.nr_drives ? 4 : 0);
}

/* In the test. */

static int start_server(void **state)
{
	int ready[2];
	char byte;

	make_dir(state);
	is_started = false;
	snprintf(path, sizeof(path), "%s/s", dir);
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* whoever waits for a failed test's output */
		be_server(ready[1]);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		waitpid(child, NULL, 0);
		child = -1;
	}
	close(ready[0]);
	return 0;
}

static void need_server(void)
{
	if (child < 0)
		skip();
}

static int connect_to(void)
{
	const struct timeval limit = { .tv_sec = 20 };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static void put(int fd, const char *bytes)
{
	assert_int_equal(send(fd, bytes, strlen(bytes), MSG_NOSIGNAL), strlen(bytes));
}

/* Reads exactly what is wanted. */
static void comes(int fd, const char *wanted)
{
	const size_t size = strlen(wanted);
	size_t n = 0;
	ssize_t more = 1;

	while (n < size && more > 0) {
		more = recv(fd, got + n, size - n, 0);
		n += more > 0 ? (size_t)more : 0;
	}
	got[n] = '\0';
	assert_string_equal(got, wanted);
}

/* Reads to the end of the connection. */
static size_t rest(int fd)
{
	size_t n = 0;
	ssize_t more = 1;

	while (more > 0 && n < sizeof(got) - 1) {
		more = recv(fd, got + n, sizeof(got) - 1 - n, 0);
		n += more > 0 ? (size_t)more : 0;
	}
	got[n] = '\0';
	return n;
}

static void request(int fd, const char *what, const char *body)
{
	char text[2048];

	snprintf(text, sizeof(text), "%s HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s", what,
		 strlen(body), body);
	put(fd, text);
}

#define VERSION                                                                             \
	"HTTP/1.1 200 " HEAD "Content-Type: application/json\r\nContent-Length: 27\r\n\r\n" \
	"{\"firecracker_version\":\"0\"}"

static int end_server(void **state)
{
	const int fd = child < 0 ? -1 : connect_to();
	int status = 0;

	if (child >= 0) {
		if (is_started) {
			request(fd, "PATCH /vm", "{\"state\":\"Resumed\"}");
		} else {
			request(fd, "PUT /boot-source", "{\"kernel_image_path\":\"/dev/null\"}");
			comes(fd, "HTTP/1.1 204 " HEAD "\r\n");
			request(fd, "PUT /actions", START);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		close(fd);
		assert_int_equal(status, 0);
		assert_int_equal(access(path, F_OK), -1); /* the socket went with it */
	}
	return remove_dir(state);
}

static void byte_by_byte(void **state)
{
	static const char bytes[] = "GET /version HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\n\r\n";
	int fd, other;

	(void)state;
	need_server();
	fd = connect_to();
	other = connect_to();
	for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
		const char one[2] = { bytes[i], '\0' };

		put(fd, one);
		put(other, "GET /version HTTP/1.1\r\n\r\n");
		comes(other, VERSION);
	}
	comes(fd, VERSION VERSION);
	close(fd);
	close(other);
}

/* Answers pile up at a client that only talks; it gets them all when it reads. */
static void slow_reader(void **state)
{
	enum { MANY = 5000 };
	struct pollfd room;
	unsigned sent = 0, answers = 0;
	int fd;

	(void)state;
	need_server();
	fd = connect_to();
	room = (struct pollfd){ .fd = fd, .events = POLLOUT };
	while (sent < MANY && poll(&room, 1, 200) == 1) {
		put(fd, "GET /version HTTP/1.1\r\n\r\n");
		sent++;
	}
	assert_true(sent > 100);
	for (; answers < sent; answers++)
		comes(fd, VERSION);
	put(fd, "GET /version HTTP/1.1\r\n\r\n");
	comes(fd, VERSION);
	close(fd);
}

static void half_closed(void **state)
{
	int fd;

	(void)state;
	need_server();
	fd = connect_to();
	put(fd, "GET /version HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\n\r\n");
	shutdown(fd, SHUT_WR);
	comes(fd, VERSION VERSION);
	assert_int_equal(rest(fd), 0);
	close(fd);
}

static void vanishing(void **state)
{
	static const char *const parts[] = { "",
					     "GE",
					     "GET / HTTP/1.1\r\n",
					     "GET / HTTP/1.1\r\n\r\n",
					     "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
					     "no request\r\n\r\n",
					     "GET /events HTTP/1.1\r\n\r\n" };
	int fd;

	(void)state;
	need_server();
	for (unsigned i = 0; i < 300; i++) {
		fd = connect_to();
		put(fd, parts[i % (sizeof(parts) / sizeof(parts[0]))]);
		close(fd);
	}
	/* Those that left may not have been noticed yet: then there is no room for a moment. */
	for (unsigned i = 0; i < 100; i++) {
		fd = connect_to();
		put(fd, "GET /version HTTP/1.1\r\n\r\n");
		recv(fd, got, 12, 0);
		close(fd);
		if (!memcmp(got, "HTTP/1.1 200", 12))
			return;
		usleep(20000);
	}
	fail_msg("there is no room any more");
}

#define REFUSED                                                                           \
	"HTTP/1.1 503\r\nServer: unit\r\nConnection: close\r\nContent-Length: 40\r\n\r\n" \
	"{ \"error\": \"Too many open connections\" }"

/* A client that is one too many is told so, whatever it comes with, and when. Whether it could say
 * that. */
static bool is_refused(bool comes_with_request, unsigned after_us)
{
	static const char text[] = "GET /version HTTP/1.1\r\n\r\n";
	const int fd = connect_to();
	bool is_said = true;

	usleep(after_us);
	if (comes_with_request)
		is_said = send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL) > 0;
	comes(fd, REFUSED);
	assert_int_equal(rest(fd), 0);
	close(fd);
	return is_said;
}

static void connect_ten(int fds[SERVER_CONNECTIONS])
{
	for (unsigned i = 0; i < SERVER_CONNECTIONS; i++) {
		fds[i] = connect_to();
		put(fds[i], "GET /version HTTP/1.1\r\n\r\n");
		comes(fds[i], VERSION);
	}
}

static void leave(int fds[SERVER_CONNECTIONS])
{
	/* The close is noticed before the next client: both are the loop's, in order. */
	shutdown(fds[4], SHUT_RDWR);
	assert_int_equal(rest(fds[4]), 0);
	for (unsigned i = 0; i < SERVER_CONNECTIONS; i++)
		close(fds[i]);
	usleep(100000);
}

static void eleventh(void **state)
{
	int fds[SERVER_CONNECTIONS];
	unsigned late = 0;

	(void)state;
	need_server();
	connect_ten(fds);
	assert_true(is_refused(false, 0));
	assert_true(is_refused(true, 0));
	while (!is_refused(true, 20000)) /* on a busy machine 20 ms may be longer than its moment */
		assert_true(++late < 50);
	for (unsigned i = 0; i < SERVER_CONNECTIONS; i++) {
		put(fds[i], "GET /version HTTP/1.1\r\n\r\n");
		comes(fds[i], VERSION);
	}
	leave(fds);
}

static void broken(void **state)
{
	int fd;

	(void)state;
	need_server();
	fd = connect_to();
	put(fd, "GET /version HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n");
	comes(fd, VERSION);
	assert_true(rest(fd) > 0);
	assert_non_null(strstr(got, "Connection: close\r\n"));
	assert_non_null(strstr(got, "{ \"error\": \"Request payload with size 1001 is larger than "
				    "the limit of 1000 allowed by server.\nAll previous unanswered "
				    "requests will be dropped.\" }"));
	close(fd);
}

/* Who says far more than may be said can say it all, and reads why it was for nothing. */
static void too_large(void **state)
{
	static char text[3000000];
	const int n = snprintf(text, sizeof(text), "PUT / HTTP/1.1\r\nContent-Length: %zu\r\n\r\n",
			       sizeof(text));
	struct pollfd gone = { .events = POLLOUT };
	int fd;

	(void)state;
	need_server();
	memset(text + n, ' ', sizeof(text) - (size_t)n - 1);
	for (unsigned i = 0; i < 20; i++) {
		fd = connect_to();
		put(fd, text);
		assert_true(rest(fd) > 0);
		assert_non_null(strstr(got, "is larger than the limit of 1000"));
		close(fd);
	}
	/* But nobody can go on for ever. */
	gone.fd = fd = connect_to();
	put(fd, "no request\r\n\r\n");
	for (unsigned i = 0; i < 400 && !(gone.revents & POLLHUP); i++) {
		send(fd, text, sizeof(text), MSG_NOSIGNAL | MSG_DONTWAIT);
		poll(&gone, 1, 0);
		usleep(50000);
	}
	assert_true(gone.revents & POLLHUP);
	close(fd);
}

static void largest_body(void **state)
{
	char text[1200];
	int fd;

	(void)state;
	need_server();
	fd = connect_to();
	for (unsigned i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "%1000s", "{}");
		request(fd, "PUT /serial", text);
		comes(fd, "HTTP/1.1 204 " HEAD "\r\n");
	}
	close(fd);
}

static void continued(void **state)
{
	int fd;

	(void)state;
	need_server();
	fd = connect_to();
	put(fd, "PUT /serial HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	comes(fd, "HTTP/1.1 100 " HEAD "\r\n");
	put(fd, "{}");
	comes(fd, "HTTP/1.1 204 " HEAD "\r\n");
	close(fd);
}

/* Sends a request with `nr` copies of a descriptor. */
static void put_with_fds(int to, const char *bytes, int fd, unsigned nr)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(64 * sizeof(int))];
	} control = { .bytes = "" };
	struct iovec iov = { (void *)(uintptr_t)bytes, strlen(bytes) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = CMSG_SPACE(nr * sizeof(int)) };

	control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(nr * sizeof(int)),
					 .cmsg_level = SOL_SOCKET,
					 .cmsg_type = SCM_RIGHTS };
	for (unsigned i = 0; i < nr; i++)
		memcpy(CMSG_DATA(&control.head) + i * sizeof(int), &fd, sizeof(fd));
	assert_int_equal(sendmsg(to, &m, MSG_NOSIGNAL), iov.iov_len);
}

/* How many times the server has this file open. */
static unsigned held(const char *name)
{
	char folder[64], link[400], target[400];
	unsigned n = 0;
	const struct dirent *entry;
	DIR *fds;

	snprintf(folder, sizeof(folder), "/proc/%d/fd", (int)child);
	fds = opendir(folder);
	while ((entry = readdir(fds))) {
		ssize_t len;

		snprintf(link, sizeof(link), "%s/%s", folder, entry->d_name);
		len = readlink(link, target, sizeof(target) - 1);
		target[len > 0 ? len : 0] = '\0';
		n += strstr(target, name) != NULL;
	}
	closedir(fds);
	return n;
}

/* A PUT of a drive whose path is four bytes long; or as many as make it so much. */
#define WITH_DRIVE(path) WITH_LENGTH("61", path)
#define WITH_LENGTH(length, path)                                                          \
	"PUT /drives/a HTTP/1.1\r\nContent-Length: " length "\r\n\r\n{\"drive_id\":\"a\"," \
	"\"is_root_device\":false,\"path_on_host\":\"" path "\"}"
static void descriptors(void **state)
{
	char name[200];
	int fd, image;

	(void)state;
	need_server();
	fd = connect_to();
	snprintf(name, sizeof(name), "%s/image-by-fd", dir);
	image = open(name, O_RDWR | O_CREAT, 0600);
	put(fd, WITH_DRIVE("fd:0"));
	comes(fd,
	      "HTTP/1.1 400 " HEAD "Content-Type: application/json\r\nContent-Length: 67\r\n\r\n"
	      "{\"fault_message\":\"No descriptor came with the request for `fd:0`.\"}");
	put_with_fds(fd, WITH_DRIVE("fd:1"), image, 1); /* only fd:0 is there */
	comes(fd, "HTTP/1.1 400 ");
	recv(fd, got, sizeof(got), 0);
	assert_int_equal(held("image-by-fd"), 0);
	put_with_fds(fd, "GET /version HTTP/1.1\r\n\r\n", image, 16);
	comes(fd, VERSION);
	put_with_fds(fd, "GET /version HTTP/1.1\r\n\r\n", image, 40);
	comes(fd, VERSION);
	assert_int_equal(held("image-by-fd"), 0);
	put_with_fds(fd, WITH_DRIVE("fd:1"), image, 3);
	comes(fd, "HTTP/1.1 204 " HEAD "\r\n");
	assert_int_equal(held("image-by-fd"), 1);
	put(fd, "GET /vm/config HTTP/1.1\r\n\r\n");
	recv(fd, got, sizeof(got), 0);
	assert_non_null(strstr(got, "\"path_on_host\":\"fd:1\""));
	assert_int_equal(held("pidfd"), 0);
	/*
	 * What takes its place closes it.
	 */
	put_with_fds(fd, WITH_DRIVE("fd:2"), image, 3);
	comes(fd, "HTTP/1.1 204 " HEAD "\r\n");
	assert_int_equal(held("image-by-fd"), 1);
	put_with_fds(fd, WITH_LENGTH("62", "fd:15"), image, 16); /* the last of all */
	comes(fd, "HTTP/1.1 204 " HEAD "\r\n");
	assert_int_equal(held("image-by-fd"), 1);
	close(image);
	close(fd);
}

/* Until the server has the file open so often; a client's end is noticed in its own time. */
static void comes_to_hold(const char *name, unsigned wanted)
{
	for (unsigned i = 0; i < 1000 && held(name) != wanted; i++)
		usleep(10000);
	assert_int_equal(held(name), wanted);
}

/* Descriptors of clients that never end what they began, or have no use for them. */
static void lost_descriptors(void **state)
{
	char name[200];
	int fd, image;

	(void)state;
	need_server();
	snprintf(name, sizeof(name), "%s/image-lost", dir);
	image = open(name, O_RDWR | O_CREAT, 0600);
	fd = connect_to();
	put_with_fds(fd, "PUT /drives/a HTTP/1.1\r\nContent-Length: 61\r\n\r\n", image, 5);
	comes_to_hold("image-lost", 5);
	put_with_fds(fd, "{\"drive_id\"", image, 5);
	comes_to_hold("image-lost", 10);
	put_with_fds(fd, ":", image, 16); /* a request has 16 at most */
	put_with_fds(fd, "\"a\"", image, 16);
	comes_to_hold("image-lost", 16);
	close(fd); /* between headers and body */
	comes_to_hold("image-lost", 0);
	fd = connect_to();
	put_with_fds(fd, "no request\r\n\r\n", image, 3);
	assert_true(rest(fd) > 0);
	close(fd);
	comes_to_hold("image-lost", 0);
	fd = connect_to();
	put_with_fds(fd, "GET /events HTTP/1.1\r\n\r\n", image, 3);
	comes(fd, "HTTP/1.1 200 \r\n");
	put_with_fds(fd, "nobody listens", image, 3);
	comes_to_hold("image-lost", 0);
	close(fd);
	close(image);
}

/* Whether one that is one too many, and says much, could say it all and read no more than why. */
static bool is_heard_out(const char *text, size_t len)
{
	const int fd = connect_to();
	const bool is_said = send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len;
	bool is_ended;

	usleep(20000); /* closed with bytes unread, it would be reset by now */
	comes(fd, REFUSED);
	is_ended = recv(fd, got, 1, 0) == 0;
	close(fd);
	return is_said && is_ended;
}

static void talkative_eleventh(void **state)
{
	static char text[150000];
	struct pollfd gone = { .events = POLLOUT };
	int fds[SERVER_CONNECTIONS], fd, image;
	char name[200];
	unsigned late = 0;

	(void)state;
	need_server();
	connect_ten(fds);
	while (!is_heard_out(text, sizeof(text))) /* a busy machine's moment may be too short */
		assert_true(++late < 50);
	/* What it sends along is not kept. */
	snprintf(name, sizeof(name), "%s/image-refused", dir);
	image = open(name, O_RDWR | O_CREAT, 0600);
	fd = connect_to();
	put_with_fds(fd, "GET /version HTTP/1.1\r\n\r\n", image, 16);
	comes(fd, REFUSED);
	comes_to_hold("image-refused", 0);
	close(fd);
	close(image);
	/* Nobody can go on for ever. */
	gone.fd = fd = connect_to();
	for (unsigned i = 0; i < 2000 && !(gone.revents & POLLHUP); i++) {
		send(fd, text, sizeof(text), MSG_NOSIGNAL | MSG_DONTWAIT);
		poll(&gone, 1, 0);
		usleep(10000);
	}
	assert_true(gone.revents & POLLHUP);
	close(fd);
	leave(fds);
}

/* A kernel may be a FIFO, a disk a device. */
static void kinds_of_descriptors(void **state)
{
	char fifo[200];
	const char *const names[] = { fifo, "/dev/full" };

	(void)state;
	need_server();
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	for (unsigned i = 0; i < 2; i++) {
		const int kind = open(names[i], O_RDONLY | O_NONBLOCK), fd = connect_to();

		assert_true(kind >= 0);
		put_with_fds(fd, "GET /version HTTP/1.1\r\n", kind, 1);
		comes_to_hold(names[i], 1); /* until the request is whole */
		put(fd, "\r\n");
		comes(fd, VERSION);
		assert_int_equal(held(names[i]), 0);
		close(fd);
		close(kind);
	}
}

/* Kept by the server, the client's end would never be closed. */
static void own_end_is_sent(void **state)
{
	unsigned before;
	int fd;

	(void)state;
	need_server();
	before = held("socket:");
	fd = connect_to();
	put_with_fds(fd, "GET /version HTTP/1.1\r\n", fd, 3);
	put(fd, "\r\n");
	comes(fd, VERSION);
	put_with_fds(fd, "GET /version HTTP/1.1\r\nX: 1\r\n", fd, 1);
	close(fd);
	comes_to_hold("socket:", before);
}

/* The server reads both at once: the descriptor is the second one's. */
static void descriptors_in_line(void **state)
{
	char name[200];
	int fd, image;

	(void)state;
	need_server();
	snprintf(name, sizeof(name), "%s/image-in-line", dir);
	image = open(name, O_RDWR | O_CREAT, 0600);
	fd = connect_to();
	put(fd, "GET /version HTTP/1.1\r\n\r\n");
	comes(fd, VERSION);
	for (unsigned i = 0; i < 20; i++) {
		kill(child, SIGSTOP);
		put(fd, "GET /version HTTP/1.1\r\n\r\n");
		put_with_fds(fd, WITH_DRIVE("fd:0"), image, 1);
		put_with_fds(fd, "GET /version HTTP/1.1\r\n\r\n", image, 1);
		kill(child, SIGCONT);
		comes(fd, VERSION "HTTP/1.1 204 " HEAD "\r\n" VERSION);
		assert_int_equal(held("image-in-line"), 1);
	}
	close(image);
	close(fd);
}

static void start_microvm(int fd)
{
	request(fd, "PUT /boot-source",
		"{\"kernel_image_path\":\"/dev/null\",\"boot_args\":\"stay\"}");
	comes(fd, "HTTP/1.1 204 " HEAD "\r\n");
	request(fd, "PUT /actions", START);
	comes(fd, "HTTP/1.1 204 " HEAD "\r\n");
	is_started = true;
}

/* Requests that come while one takes its time are answered after it, by what it has changed. */
static void one_at_a_time(void **state)
{
	int fd, others[4];

	(void)state;
	need_server();
	fd = connect_to();
	start_microvm(fd);
	for (unsigned i = 0; i < 4; i++)
		others[i] = connect_to();
	put(others[3], "GET /version HTTP/1.1\r\n\r\n");
	comes(others[3], VERSION);
	request(fd, "PATCH /vm", "{\"state\":\"Paused\"}");
	for (unsigned i = 0; i < 3; i++)
		put(others[i], "GET / HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\n\r\n");
	close(others[3]);
	comes(fd, "HTTP/1.1 204 " HEAD "\r\n");
	for (unsigned i = 0; i < 3; i++) {
		comes(others[i], "HTTP/1.1 200 " HEAD "Content-Type: application/json\r\n"
				 "Content-Length: 66\r\n\r\n{\"id\":\"unit\",\"state\":\"Paused\","
				 "\"vmm_version\":\"0\",\"app_name\":\"unit\"}" VERSION);
		close(others[i]);
	}
	close(fd);
}

/*
 * All others wait while one takes its time, each with more than one request: they are done one by
 * one, whose number does not show in the depth of the stack (looked at by the server at its end).
 */
static void many_wait(void **state)
{
	int fds[SERVER_CONNECTIONS - 1]; /* the tear-down is a client, too */

	(void)state;
	need_server();
	for (unsigned i = 0; i < SERVER_CONNECTIONS - 1; i++)
		fds[i] = connect_to();
	start_microvm(fds[0]);
	request(fds[0], "PATCH /vm", "{\"state\":\"Paused\"}");
	for (unsigned i = 1; i < SERVER_CONNECTIONS - 1; i++)
		put(fds[i], "GET /metrics HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n");
	comes(fds[0], "HTTP/1.1 204 " HEAD "\r\n");
	for (unsigned i = 1; i < SERVER_CONNECTIONS - 1; i++) {
		shutdown(fds[i], SHUT_WR);
		assert_true(rest(fds[i]) > 0);
	}
	for (unsigned i = 0; i < SERVER_CONNECTIONS - 1; i++)
		close(fds[i]);
}

static const struct CMUnitTest tests[] = {
#define TEST(words, function)                                                         \
	{                                                                             \
		.name = (words), .test_func = (function), .setup_func = start_server, \
		.teardown_func = end_server                                           \
	}
	TEST("a client that sends byte by byte holds nobody up", byte_by_byte),
	TEST("a client that does not read gets its answers later", slow_reader),
	TEST("a client that has said all gets its answers", half_closed),
	TEST("clients that vanish at any point cost nothing", vanishing),
	TEST("the eleventh client is refused, the ten are not", eleventh),
	TEST("an eleventh client that says much reads why it is refused", talkative_eleventh),
	TEST("what is no request ends its connection, after the answers before it", broken),
	TEST("who says too much reads why", too_large),
	TEST("the largest body, again and again", largest_body),
	TEST("100-continue, then the body", continued),
	TEST("requests are done one at a time, also where one takes long", one_at_a_time),
	TEST("who waits for a request that takes long is served from the loop", many_wait),
	TEST("descriptors come with a request, and stay only where it wants them", descriptors),
	TEST("descriptors that nobody has a use for are closed", lost_descriptors),
	TEST("FIFOs and devices come as descriptors, too", kinds_of_descriptors),
	TEST("a client that sends its own end is gone when it is gone", own_end_is_sent),
	TEST("descriptors of a request that comes right behind another", descriptors_in_line),
};

int main(void)
{
	return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
