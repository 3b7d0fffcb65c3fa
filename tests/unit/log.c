// SPDX-License-Identifier: Apache-2.0
/*
 * Lines of the log: both forms, levels, origins, what a reader that does not read costs, and the
 * failure that is remembered for whoever asked.
 */
#include <errno.h>
#include <fcntl.h>
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
#include <unistd.h>

/* Before cmocka, which has a macro fail(): the function is (fail)(). */
#include "../../vmm/log.h"

#include <cmocka.h>

static int fds[2];
static char got[70000];

static int make_pipe(void **state)
{
	(void)state;
	return pipe2(fds, O_NONBLOCK | O_CLOEXEC);
}

static int close_pipe(void **state)
{
	const struct log_form stderr_again = { .fd = STDERR_FILENO, .level = LOG_TRACE };

	(void)state;
	log_to(&stderr_again);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

static const char *said(void)
{
	const ssize_t n = read(fds[0], got, sizeof(got) - 1);

	got[n > 0 ? n : 0] = '\0';
	return got;
}

static void plain(void **state)
{
	const struct log_form form = { .fd = fds[1], .level = LOG_TRACE };

	(void)state;
	log_to(&form);
	note("a %s", "note");
	assert_string_equal(said(), "mayfly: a note\n");
	assert_int_equal((fail)(-ENOENT, "%s", "a file"), -ENOENT);
	assert_string_equal(said(), "mayfly: a file: No such file or directory\n");
	assert_int_equal((fail)(0, "no errno"), -EINVAL);
	assert_string_equal(said(), "mayfly: no errno\n");
}

static void stamped(void **state)
{
	struct log_form form = { .fd = fds[1],
				 .level = LOG_INFO,
				 .is_stamped = true,
				 .show_level = true,
				 .show_origin = true,
				 .id = "vm1" };
	const char *line;

	(void)state;
	prctl(PR_SET_NAME, "tester");
	log_to(&form);
	log_line(LOG_WARN, "look");
	line = said();
	assert_int_equal(strspn(line, "0123456789-T:."), 29);
	assert_ptr_equal(strstr(line, " [vm1:tester:WARN:tests/unit/log.c:"), line + 29);
	assert_non_null(strstr(line, "] look\n"));
	note("from anywhere");
	assert_non_null(strstr(said(), " [vm1:tester:INFO] from anywhere\n"));
	form.show_level = form.show_origin = false;
	log_to(&form);
	(fail)(0, "short");
	assert_non_null(strstr(said(), " [vm1:tester] short\n"));
}

static void levels(void **state)
{
	struct log_form form = { .fd = fds[1], .level = LOG_WARN };

	(void)state;
	log_to(&form);
	note("not this");
	log_line(LOG_DEBUG, "nor this");
	assert_false(log_is_on(LOG_INFO));
	log_line(LOG_WARN, "this");
	(fail)(0, "and this");
	assert_string_equal(said(), "mayfly: this\nmayfly: and this\n");
	assert_string_equal(log_last_failure(), "");
	log_keep_failures();
	form.level = LOG_OFF;
	log_to(&form);
	(fail)(0, "silent");
	log_line(LOG_ERROR, "silent too");
	assert_string_equal(said(), "");
	assert_string_equal(log_last_failure(), "silent");
}

static void modules(void **state)
{
	struct log_form form = { .fd = fds[1], .level = LOG_TRACE, .module = "api" };

	(void)state;
	log_to(&form);
	log_at(LOG_INFO, "api/routes.c", 1, "yes");
	log_at(LOG_INFO, "vmm/vm.c", 1, "no");
	note("without an origin");
	assert_string_equal(said(), "mayfly: yes\nmayfly: without an origin\n");
}

/* What a name holds stays in its line; whoever asked for the failure gets it as it was. */
static void control_characters(void **state)
{
	const struct log_form form = { .fd = fds[1], .level = LOG_TRACE };
	static char text[3000];

	(void)state;
	log_to(&form);
	log_keep_failures();
	(fail)(-ENOENT, "%s", "a\n2026 forged\x1b[2J\x7f\u00e9");
	assert_string_equal(said(), "mayfly: a\\n2026 forged\\u{1b}[2J\\u{7f}\u00e9: "
				    "No such file or directory\n");
	assert_string_equal(log_last_failure(),
			    "a\n2026 forged\x1b[2J\x7f\u00e9: No such file or directory");
	note("a\nb");
	assert_string_equal(said(), "mayfly: a\\nb\n");
	note("\xc2\x9b"
	     "31m \xc2\xa0 \xc2"); /* CSI in a byte of its own, to some terminals */
	assert_string_equal(said(), "mayfly: \\u{9b}31m \xc2\xa0 \xc2\n");
	memset(text, '\n', sizeof(text) - 1);
	note("%s", text);
	assert_in_range(strlen(said()), 1000, 1024);
	assert_ptr_equal(strchr(got, '\n'), got + strlen(got) - 1);
}

static void long_lines(void **state)
{
	const struct log_form form = { .fd = fds[1], .level = LOG_TRACE };
	static char text[3000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	log_keep_failures();
	log_to(&form);
	(fail)(-EIO, "%s", text);
	assert_in_range(strlen(said()), 1000, 1024);
	assert_int_equal(got[strlen(got) - 1], '\n');
	assert_in_range(strlen(log_last_failure()), 1000, 1024);
	for (size_t i = 0; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\u00e9", 2);
	for (unsigned i = 0; i < 2; i++) { /* the cut would be within one of the two */
		note("%.*s%s", (int)i, "x", text);
		assert_string_equal(said() + strlen(got) - 3, "\u00e9\n");
	}
}

/* A pipe that nobody reads: lines are lost and counted, and none is cut or waited for. */
static void full_pipe(void **state)
{
	const struct log_form form = {
		.fd = fds[1], .level = LOG_TRACE, .is_stamped = true, .id = "x"
	};
	const uint64_t before = log_missed();
	unsigned lines = 0;

	(void)state;
	assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0); /* it blocks, as a shell's pipe does */
	log_to(&form);
	for (unsigned i = 0; i < 3000; i++)
		note("%0100u", i);
	assert_true(log_missed() > before);
	for (const char *at = said(); *at; at++)
		lines += *at == '\n';
	assert_int_equal(lines + (log_missed() - before), 3000);
	assert_int_equal(got[strlen(got) - 1], '\n');
	note("again");
	assert_non_null(strstr(said(), "again\n"));
}

/*
 * Also where there is no hurry, and out of a handler of signals, which may have to end the process.
 */
static void full_for_good(void **state)
{
	const struct log_form form = { .fd = fds[1], .level = LOG_TRACE };
	const uint64_t before = log_missed();
	const int own = dup(STDERR_FILENO);

	(void)state;
	alarm(60); /* which is not taken kindly */
	while (write(fds[1], got, 4096) > 0)
		;
	while (write(fds[1], got, 1) > 0)
		;
	assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0);
	log_to(&form);
	for (unsigned i = 0; i < 1000; i++)
		note("nobody reads");
	assert_int_equal(log_missed(), before + 1000);
	assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	log_raw("dying\n", 6);
	assert_int_equal(dup2(own, STDERR_FILENO), STDERR_FILENO);
	assert_true(log_missed() > before + 1000);
	while (read(fds[0], got, sizeof(got)) > 0)
		;
	note("again");
	assert_string_equal(said(), "mayfly: again\n");
	alarm(0);
	close(own);
}

/* As before signals_init(), where SIGPIPE would end the process. */
static void without_reader(void **state)
{
	const struct log_form form = { .fd = fds[1], .level = LOG_TRACE };
	const uint64_t before = log_missed();

	(void)state;
	signal(SIGPIPE, SIG_DFL);
	close(fds[0]);
	log_to(&form);
	note("nobody is there");
	assert_int_equal(log_missed(), before + 1);
	fds[0] = dup(fds[1]); /* for close_pipe() */
}

/* It says that there is room where there is less than a line's. */
static void full_terminal(void **state)
{
	const struct log_form form = {
		.fd = STDERR_FILENO, .level = LOG_TRACE, .is_stamped = true, .id = "x"
	};
	const uint64_t before = log_missed();
	const int own = dup(STDERR_FILENO), reader = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	int fd;

	(void)state;
	alarm(60); /* which is not taken kindly */
	assert_int_equal(unlockpt(reader), 0);
	fd = open(ptsname(reader), O_RDWR | O_NOCTTY);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	log_open_terminal();
	log_to(&form);
	for (unsigned i = 0; i < 3000; i++)
		note("%0*u", 1 + (int)i % 100, i);
	log_raw("dying\n", 6);
	assert_int_equal(dup2(own, STDERR_FILENO), STDERR_FILENO);
	assert_true(log_missed() > before);
	for (*got = '\0'; !strstr(got, "again"); note("again")) {
		const ssize_t n = read(reader, got, sizeof(got) - 1);

		got[n > 0 ? n : 0] = '\0';
	}
	log_close_terminal();
	alarm(0);
	close(fd);
	close(reader);
	close(own);
}

#define TEST(words, function)                                                      \
	{                                                                          \
		.name = (words), .test_func = (function), .setup_func = make_pipe, \
		.teardown_func = close_pipe                                        \
	}

static const struct CMUnitTest tests[] = {
	TEST("mayfly's own form: one line, the error's words behind it", plain),
	TEST("Firecracker's form: stamp, instance, thread, level, origin", stamped),
	TEST("what is below the level is not said, but a failure is kept", levels),
	TEST("a module's lines only", modules),
	TEST("control characters are shown, not written", control_characters),
	TEST("a long line is cut and still a line", long_lines),
	TEST("a reader that does not read holds nobody up", full_pipe),
	TEST("nor for long where the log may wait, and a process that dies", full_for_good),
	TEST("nor at a terminal", full_terminal),
	TEST("one that is gone ends nobody", without_reader),
};

int main(void)
{
	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
