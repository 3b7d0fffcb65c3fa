// SPDX-License-Identifier: Apache-2.0
/*
 * What requests of the API name: files and taps, by their names or by descriptors that come along.
 * When they are opened, who has them, and when they are closed.
 */
#include "monitor.h"

#include <sys/stat.h>

#define NO_TAP "Network config error: Could not create the network device: Open tap device failed: "
#define NO_BACKEND(name, error)                               \
	NO_TAP "Error while creating ifreq structure: " error \
	       ". Invalid TUN/TAP Backend provided by " name  \
	       ". Check our documentation on setting "        \
	       "up the network devices."

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* A tap is opened by its PUT, once, and closed when another takes its place or the guest has it. */
static void taps_by_name(void **state)
{
	int first, second;

	(void)state;
	refused("PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":\"none\"}",
		NO_BACKEND("none", "No such device (os error 19)"));
	refused("PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":\"busy\"}",
		NO_BACKEND("busy", "Device or resource busy (os error 16)"));
	refused("PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":\"notun\"}",
		NO_TAP "Couldn't open /dev/net/tun: No such file or directory (os error 2)");
	assert_int_equal(seen.taps, 0);
	done(NET("a", ""));
	first = api.nets[0].tap_fd;
	assert_true(is_open(first));
	done(NET("a", ",\"mtu\":1400"));
	assert_int_equal(seen.taps, 1);
	assert_int_equal(api.nets[0].tap_fd, first);
	refused("PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":\"none\"}",
		NO_BACKEND("none", "No such device (os error 19)"));
	assert_true(is_open(first));
	done("PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":\"other\"}");
	second = api.nets[0].tap_fd;
	assert_int_equal(seen.taps, 2);
	assert_false(is_open(first) && second != first);
	seen.refusal = "not yet";
	done("PUT /boot-source {\"kernel_image_path\":\"kernel\"}");
	refused("PUT /actions {\"action_type\":\"InstanceStart\"}", "Start microvm error: not yet");
	assert_true(is_open(second)); /* for the next start */
	seen.refusal = NULL;
	start_it();
	assert_int_equal(config.nets[0].kind, NET_TAP_FD);
	assert_int_equal(config.nets[0].fd, second);
	assert_false(is_open(second));
}

/* As the server does: what was not kept is closed. */
static void close_fds(void)
{
	for (unsigned i = 0; i < fds.nr; i++)
		if (fds.fd[i] >= 0)
			close(fds.fd[i]);
	fds.nr = 0;
}

static int come(void)
{
	const int fd = open("/dev/null", O_RDWR);

	close_fds();
	assert_true(fd > 2);
	fds = (struct api_fds){ .fd = { open("/dev/null", O_RDWR), fd }, .nr = 2 };
	return fd;
}

/* fd:0 is the image. */
static void bring(int flags)
{
	close_fds();
	fds = (struct api_fds){ .fd = { open("disk", flags) }, .nr = 1 };
}

static void taps_by_descriptor(void **state)
{
	int a, b;

	(void)state;
	refused("PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":\"fd:0\"}",
		"No descriptor came with the request for `fd:0`.");
	a = come();
	done("PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":\"fd:1\"}");
	assert_true(fds.fd[0] > 2);
	assert_int_equal(fds.fd[1], -1);
	b = come();
	done("PUT /network-interfaces/b {\"iface_id\":\"b\",\"host_dev_name\":\"fd:1\"}");
	come();
	refused("PUT /network-interfaces/c {\"iface_id\":\"c\",\"host_dev_name\":\"fd:0\","
		"\"guest_mac\":\"x\"}",
		SERDE "invalid value: string \\\"x\\\", expected a MAC address for `guest_mac`.");
	assert_true(fds.fd[0] > 2);
	refused("PUT /network-interfaces/c {\"iface_id\":\"c\",\"host_dev_name\":\"fd:-0\"}",
		"No descriptor came with the request for `fd:-0`.");
	/* Shown up to 32 bytes, and no character is cut in two. */
	refused("PUT /boot-source {\"kernel_image_path\":\"fd:\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"
		"\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\"}",
		"No descriptor came with the request for `fd:\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"
		"\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9`.");
	seen.is_no_tap = true;
	refused("PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":\"fd:0\"}", NO_TAP
		"fd:0 is not a tap that was opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR.");
	seen.is_no_tap = false;
	assert_true(is_open(a));
	come();
	done("PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":\"fd:0\"}");
	assert_false(is_open(a));
	a = api.nets[0].tap_fd;
	close_fds();
	ask("GET /vm/config");
	assert_non_null(strstr(body, "\"host_dev_name\":\"fd:0\""));
	start_it();
	assert_int_equal(config.nets[0].kind, NET_TAP_FD);
	assert_int_equal(config.nets[0].fd, a);
	assert_int_equal(config.nets[1].fd, b);
	assert_false(is_open(a) || is_open(b));
}

/* The next descriptor to be opened. */
static int next_fd(void)
{
	const int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

static void refused_files(void **state)
{
	const int next = next_fd();

	(void)state;
	refused("PUT /boot-source {\"kernel_image_path\":\"kernel\",\"initrd_path\":\"nowhere\"}",
		"Boot source error: The initrd file cannot be opened due to invalid path or invalid "
		"permissions. No such file or directory (os error 2)");
	assert_int_equal(next_fd(), next);
	refused("PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"a\\nb\"}",
		"Boot source error: The kernel command line is invalid: it holds more than printable "
		"ASCII.");
	assert_int_equal(next_fd(), next);
	refused(DRIVE("d", "false", ",\"path_on_host\":\"/dev/null\""),
		"Drive config error: /dev/null: neither a file nor a block device");
	assert_int_equal(next_fd(), next);
}

/* What a request names is opened with it: by name, or as a descriptor that came. */
static void files_at_their_request(void **state)
{
	struct stat renamed, held;

	(void)state;
	done("PUT /boot-source {\"kernel_image_path\":\"kernel\"}");
	assert_int_equal(rename("kernel", "other"), 0);
	assert_int_equal(stat("other", &renamed) | fstat(api.boot->kernel_fd, &held), 0);
	assert_int_equal(rename("other", "kernel"), 0);
	assert_int_equal(held.st_ino, renamed.st_ino);
	done(DRIVE("d", "false", DISK));
	assert_int_equal(fcntl(api.drives[0].image_fd, F_GETFL) & O_ACCMODE, O_RDWR);
	done("PUT /serial {\"serial_out_path\":\"serial\"}");
	assert_int_equal(stat("serial", &held), 0);
	refused("PUT /serial {\"serial_out_path\":\"nowhere/serial\"}",
		"Serial error: nowhere/serial: No such file or directory (os error 2)");
	assert_true(is_open(api.serial.out_fd));
	seen.refusal = "no hypervisor";
	refused("PUT /actions {\"action_type\":\"InstanceStart\"}",
		"Start microvm error: no hypervisor");
	assert_true(is_open(api.boot->kernel_fd)); /* for the next start */
	seen.refusal = NULL;
	done("PUT /actions {\"action_type\":\"InstanceStart\"}");
	assert_string_equal(config.kernel, "kernel");
	assert_true(config.kernel_fd > 2 && config.disks[0].fd > 2 && config.serial.fd > 2);
	assert_false(is_open(config.kernel_fd) || is_open(config.disks[0].fd) ||
		     is_open(config.serial.fd));
}

#define OWN                                                                                    \
	": mayfly's own descriptors are no files; send yours with the request, and `fd:0` as " \
	"its path."

/* No request reaches what the monitor has open, by whatever way it names a file. */
static void own_descriptors(void **state)
{
	const int next = next_fd();

	(void)state;
	refused("PUT /boot-source {\"kernel_image_path\":\"/proc/self/fd/1\"}",
		"/proc/self/fd/1" OWN);
	refused("PUT /boot-source {\"kernel_image_path\":\"kernel\",\"initrd_path\":"
		"\"/proc/self/fd/0/etc/x\"}",
		"/proc/self/fd/0/etc/x" OWN);
	refused(DRIVE("d", "false", ",\"path_on_host\":\"/proc/self/fd/4294967296\""),
		"/proc/self/fd/4294967296" OWN);
	refused("PUT /serial {\"serial_out_path\":\"/proc/self/fd/\"}", "/proc/self/fd/" OWN);
	refused("PUT /boot-source {\"kernel_image_path\":\"//proc/self/fd/1\"}",
		"//proc/self/fd/1" OWN);
	refused("PUT /boot-source {\"kernel_image_path\":\"/proc/thread-self/fd/1\"}",
		"/proc/thread-self/fd/1" OWN);
	refused("PUT /boot-source {\"kernel_image_path\":\"/dev/stdout\"}", "/dev/stdout" OWN);
	refused("PUT /serial {\"serial_out_path\":\"/dev/stdout\"}", "/dev/stdout" OWN);
	assert_int_equal(symlink("loop", "loop"), 0);
	refused("PUT /boot-source {\"kernel_image_path\":\"loop\"}",
		"Boot source error: The kernel file cannot be opened: Too many levels of symbolic "
		"links (os error 40)");
	done(DRIVE("d", "false", DISK));
	close(api.drives[0].image_fd);
	api.drives[0].image_fd = 0;
	start_it();
	refused("PATCH /drives/d {\"drive_id\":\"d\",\"path_on_host\":\"/proc/self/fd/2\"}",
		"/proc/self/fd/2" OWN);
	assert_int_equal(next_fd(), next);
}

/* It is held until another takes its place, or the guest has it; and not longer. */
static void files_by_descriptor(void **state)
{
	int a, b;

	(void)state;
	come();
	done("PUT /boot-source {\"kernel_image_path\":\"fd:1\"}");
	a = api.boot->kernel_fd;
	assert_true(is_open(a));
	come();
	refused("PUT /boot-source {\"kernel_image_path\":\"fd:1\",\"initrd_path\":\"fd:1\"}",
		"No descriptor came with the request for `fd:1`.");
	assert_true(is_open(a));
	come();
	done("PUT /boot-source {\"kernel_image_path\":\"fd:1\",\"initrd_path\":\"fd:0\"}");
	a = api.boot->initrd_fd;
	come();
	done("PUT /serial {\"serial_out_path\":\"fd:1\"}");
	b = api.serial.out_fd;
	done("PUT /serial {}");
	assert_false(is_open(b));
	bring(O_RDONLY);
	refused(DRIVE("d", "false", ",\"path_on_host\":\"fd:0\""),
		"Drive config error: fd:0: Permission denied (os error 13)");
	bring(O_RDWR);
	done(DRIVE("d", "false", ",\"path_on_host\":\"fd:0\""));
	b = api.drives[0].image_fd;
	assert_true(is_open(b));
	done(DRIVE("d", "false", DISK));
	assert_true(is_open(api.drives[0].image_fd));
	close_fds();
	done("PUT /actions {\"action_type\":\"InstanceStart\"}");
	assert_string_equal(config.kernel, "fd:1");
	assert_int_equal(config.initrd_fd, a);
	assert_false(is_open(a));
	bring(O_RDWR);
	done("PATCH /drives/d {\"drive_id\":\"d\",\"path_on_host\":\"fd:0\"}");
	assert_string_equal(seen.path, "fd:0");
	assert_true(seen.disk.fd > 2);
	assert_false(is_open(seen.disk.fd)); /* the monitor has one of its own */
	close_fds();
}

/* What no start ever took. */
static void never_started(void **state)
{
	int a;

	(void)state;
	come();
	done("PUT /boot-source {\"kernel_image_path\":\"fd:1\"}");
	a = api.boot->kernel_fd;
	done(NET("a", ""));
	close_fds();
	api_let_go(&api);
	assert_false(is_open(a));
	api_let_go(&api);
}

/* As the log's: a FIFO needs no reader yet, and what a file holds stays. */
static void serial_files(void **state)
{
	struct stat st;

	(void)state;
	run("mkfifo fifo; echo before > out");
	done("PUT /serial {\"serial_out_path\":\"fifo\"}");
	done("PUT /serial {\"serial_out_path\":\"out\"}");
	assert_int_equal(write(api.serial.out_fd, "after\n", 6), 6);
	assert_int_equal(stat("out", &st), 0);
	assert_int_equal(st.st_size, 13);
	bring(O_WRONLY);
	done("PUT /serial {\"serial_out_path\":\"fd:0\"}");
	close_fds();
}

static const struct CMUnitTest tests[] = {
	TEST("a tap is opened by its PUT, and closed when it is replaced or started", taps_by_name),
	TEST("a tap can come as a descriptor", taps_by_descriptor),
	TEST("a request that is refused leaves no file open", refused_files),
	TEST("what a request names is opened with it, and by the name no more",
	     files_at_their_request),
	TEST("the monitor's own descriptors are nobody's files", own_descriptors),
	TEST("files can come as descriptors, and stay open no longer than they must",
	     files_by_descriptor),
	TEST("what was given and never started is closed", never_started),
	TEST("serial: FIFOs, and files that hold something", serial_files),
};

int main(void)
{
	return cmocka_run_group_tests_name("apifiles", tests, make_dir, remove_dir);
}
