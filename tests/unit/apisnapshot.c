// SPDX-License-Identifier: Apache-2.0
/*
 * Snapshots as requests of the API (api/snapshot.c): bodies, what is refused and when, what the
 * monitor is told, and what somebody who means ill can have written into the file's text. What the
 * monitor then does: snapshot.c.
 */
#include "monitor.h"

#include "../../vmm/loop.h"

#include <sys/stat.h>

/* Time passes as it is asked for. */
uint64_t loop_now_ns(clockid_t clock)
{
	static uint64_t ns;

	(void)clock;
	return ns += 1000;
}

#define CREATE	"PUT /snapshot/create {\"snapshot_path\":\"state\",\"mem_file_path\":\"memory\"}"
#define LOAD	"PUT /snapshot/load {\"snapshot_path\":\"state\",\"mem_file_path\":\"memory\"}"
#define BACKEND "\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"memory\"}"
#define CREATE_WITH(more) \
	"PUT /snapshot/create {\"snapshot_path\":\"state\",\"mem_file_path\":\"memory\"" more "}"
#define LOAD_WITH(more) "PUT /snapshot/load {\"snapshot_path\":\"state\"," BACKEND more "}"
#define CREATE_ERROR	"Create snapshot error: "
#define LOAD_ERROR	"Load snapshot error: "
#define IN_USE		CREATE_ERROR "a file is in use by a microVM, as a disk or as its memory."
#define PAUSE		"PATCH /vm {\"state\":\"Paused\"}"

/* As api/snapshot.c writes it. */
struct head {
	char magic[16];
	uint32_t version, text_len;
};

static int next_fd(void)
{
	const int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : st.st_size;
}

/* A file that a state's text stands in. */
static void write_state(const char *text, const struct head *head)
{
	FILE *f = fopen("state", "w");

	assert_non_null(f);
	assert_int_equal(fwrite(head, sizeof(*head), 1, f), 1);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
	run("echo > memory");
}

static void write_text(const char *text)
{
	struct head head = { .version = 1, .text_len = (uint32_t)strlen(text) };

	memcpy(head.magic, "mayfly snapshot\n", sizeof(head.magic));
	write_state(text, &head);
}

/* What GET /vm/config says, to be compared with later. */
static char before[API_BODY_MAX];

static void note_config(void)
{
	assert_int_equal(ask("GET /vm/config"), 200);
	strcpy(before, body);
}

static void same_config(void)
{
	gives("GET /vm/config", 200, before);
}

#define MACHINE "\"machine-config\":{\"vcpu_count\":2,\"mem_size_mib\":64}"

static void make_anew(void)
{
	api_let_go(&api);
	make_api(&ops);
}

static void taken(void)
{
	done("PUT /machine-config {\"vcpu_count\":2,\"mem_size_mib\":64}");
	done(DRIVE("d", "true", DISK));
	done(NET("a", ""));
	start_it();
	done(PAUSE);
	done(CREATE);
}

static void creating(void **state)
{
	const int next = next_fd();
	struct head head;
	uint64_t at;
	FILE *f;

	(void)state;
	run("echo something older and much longer than what will be in it > state");
	taken();
	assert_int_equal(seen.saves, 1);
	assert_int_equal(next_fd(), next);
	f = fopen("state", "r");
	assert_non_null(f);
	assert_int_equal(fread(&head, sizeof(head), 1, f), 1);
	fseek(f, -(long)sizeof(at), SEEK_END);
	assert_int_equal(fread(&at, sizeof(at), 1, f), 1);
	fclose(f);
	assert_memory_equal(head.magic, "mayfly snapshot\n", sizeof(head.magic));
	assert_int_equal(at % 8, 0);
	assert_in_range(at, sizeof(head) + head.text_len, sizeof(head) + head.text_len + 7);
	assert_int_equal(size_of("state"), at + sizeof(at));
	done(CREATE); /* as often as wanted */
	done("PATCH /vm {\"state\":\"Resumed\"}");
}

static void refused_creations(void **state)
{
	static const struct row rows[] = {
		{ "PUT /snapshot/create {}",
		  SERDE "missing field `snapshot_path` at line 1 column 2." },
		{ "PUT /snapshot/create {\"snapshot_path\":\"state\"}",
		  SERDE "missing field `mem_file_path` at line 1 column 25." },
		{ CREATE_WITH(",\"x\":1"),
		  SERDE "unknown field `x`, expected one of `snapshot_path`, `mem_file_path`, "
			"`snapshot_type`." },
		{ CREATE_WITH(",\"snapshot_type\":\"None\""),
		  SERDE "unknown variant `None`, expected `Full` or `Diff`." },
		{ CREATE_WITH(",\"snapshot_type\":\"Diff\""),
		  CREATE_ERROR "mayfly takes full snapshots only." },
		{ CREATE, CREATE_ERROR "the microVM is not paused." },
	};

	(void)state;
	refused(CREATE, UNTIL);
	start_it();
	all(rows, COUNT(rows));
	assert_int_equal(seen.saves, 0);
	assert_int_equal(size_of("state"), -1);
	assert_int_equal(size_of("memory"), -1);
}

static void bad_places(void **state)
{
	const int next = next_fd();

	(void)state;
	start_it();
	done(PAUSE);
	assert_int_not_equal(next_fd(), -1);
	refused("PUT /snapshot/create {\"snapshot_path\":\"no/where\",\"mem_file_path\":\"memory\"}",
		CREATE_ERROR "no/where: No such file or directory (os error 2)");
	refused("PUT /snapshot/create {\"snapshot_path\":\"state\",\"mem_file_path\":\"no/where\"}",
		CREATE_ERROR "no/where: No such file or directory (os error 2)");
	run("echo before > both; ln both same");
	refused("PUT /snapshot/create {\"snapshot_path\":\"both\",\"mem_file_path\":\"same\"}",
		CREATE_ERROR "both files are the same.");
	assert_int_equal(size_of("both"), 7);
	seen.refusal = "no room";
	refused(CREATE, CREATE_ERROR "no room: Input/output error");
	assert_int_equal(next_fd(), next);
	seen.refusal = NULL;
	config.is_fileless = true;
	refused(CREATE,
		CREATE_ERROR "state: the jail of a running microVM holds no files; send the file's "
			     "descriptor with the request, and `fd:0` as its path.");
}

/* What the monitor is told is what was configured; and then it runs, or not yet. */
static void loading(void **state)
{
	const int next = next_fd();

	(void)state;
	taken();
	make_anew();
	done(LOAD);
	assert_int_equal(seen.starts, 1);
	assert_int_equal(seen.taps, 1);
	assert_true(config.restore.state_fd > 2 && config.restore.mem_fd > 2);
	assert_true(config.restore.is_paused);
	assert_int_equal(config.restore.at + sizeof(uint64_t), size_of("state"));
	assert_int_equal(config.cpus, 2);
	assert_int_equal(config.mem_size, 64 << 20);
	assert_int_equal(config.nr_disks, 1);
	assert_int_equal(config.nr_nets, 1);
	assert_int_equal(next_fd(), next);
	assert_int_equal(api.state, API_PAUSED);
	refused(LOAD, AFTER);
	make_anew();
	done(LOAD_WITH(",\"resume_vm\":true,\"track_dirty_pages\":true,\"clock_realtime\":false,"
		       "\"huge_pages\":\"None\",\"network_overrides\":[],\"drive_overrides\":[]"));
	assert_false(config.restore.is_paused);
	assert_int_equal(api.state, API_RUNNING);
}

/* Old spellings are taken, and said to be old. */
static void deprecated(void **state)
{
	(void)state;
	taken();
	make_anew();
	done(LOAD_WITH(""));
	assert_false(reply.head.is_deprecated);
	make_anew();
	done(LOAD);
	assert_true(reply.head.is_deprecated);
	make_anew();
	done(LOAD_WITH(",\"enable_diff_snapshots\":true"));
	assert_true(reply.head.is_deprecated);
}

static void refused_loads(void **state)
{
	static const struct row rows[] = {
		{ "PUT /snapshot/load {}",
		  SERDE "missing field `snapshot_path` at line 1 column 2." },
		{ "PUT /snapshot/load {\"snapshot_path\":\"state\"}",
		  SERDE "missing field: either `mem_backend` or `mem_file_path` is required." },
		{ LOAD_WITH(",\"mem_file_path\":\"memory\""),
		  SERDE "too many fields: either `mem_backend` or `mem_file_path` exclusively is "
			"required." },
		{ LOAD_WITH(",\"x\":1"),
		  SERDE "unknown field `x`, expected one of `snapshot_path`, `mem_backend`, "
			"`mem_file_path`, `track_dirty_pages`, `enable_diff_snapshots`, "
			"`resume_vm`, `network_overrides`, `drive_overrides`, "
			"`huge_pages`, `clock_realtime`." },
		{ "PUT /snapshot/load {\"snapshot_path\":\"state\",\"mem_backend\":"
		  "{\"backend_type\":\"Uffd\",\"backend_path\":\"memory\"}}",
		  LOAD_ERROR "mayfly maps the memory's file; it hands no page faults to others." },
		{ "PUT /snapshot/load {\"snapshot_path\":\"state\",\"mem_backend\":"
		  "{\"backend_type\":\"Other\",\"backend_path\":\"memory\"}}",
		  SERDE "unknown variant `Other`, expected `File` or `Uffd`." },
		{ "PUT /snapshot/load {\"snapshot_path\":\"state\",\"mem_backend\":{}}",
		  SERDE "missing field `backend_type`." },
		{ LOAD_WITH(",\"clock_realtime\":true"),
		  LOAD_ERROR "mayfly sets no guest's clock to the host's time." },
		{ LOAD_WITH(",\"drive_overrides\":{}"),
		  SERDE "invalid type: map, expected a sequence for `drive_overrides`." },
		{ LOAD_WITH(",\"drive_overrides\":[1]"),
		  SERDE "invalid type: integer `1`, expected an object." },
		{ LOAD_WITH(",\"drive_overrides\":[{\"drive_id\":\"d\"}]"),
		  SERDE "missing field `path_on_host`." },
		{ LOAD_WITH(",\"network_overrides\":[{\"iface_id\":\"a\"}]"),
		  SERDE "missing field `host_dev_name`." },
		{ LOAD_WITH(
			  ",\"drive_overrides\":[{\"drive_id\":\"e\",\"path_on_host\":\"disk\"}]"),
		  LOAD_ERROR "the snapshot has no device `e`." },
		{ LOAD_WITH(
			  ",\"network_overrides\":[{\"iface_id\":\"d\",\"host_dev_name\":\"tap\"}]"),
		  LOAD_ERROR "the snapshot has no device `d`." },
		{ "PUT /snapshot/load {\"snapshot_path\":\"nowhere\"," BACKEND "}",
		  LOAD_ERROR "nowhere: No such file or directory (os error 2)" },
		{ "PUT /snapshot/load {\"snapshot_path\":\"state\",\"mem_file_path\":\"nowhere\"}",
		  LOAD_ERROR "nowhere: No such file or directory (os error 2)" },
		{ "PUT /snapshot/load {\"snapshot_path\":\"disk\"," BACKEND "}",
		  LOAD_ERROR "the file is not a snapshot of mayfly's." },
	};
	int next;

	(void)state;
	taken();
	make_anew();
	next = next_fd();
	all(rows, COUNT(rows));
	assert_int_equal(seen.starts, 0);
	assert_int_equal(next_fd(), next);
	done(LOAD);
}

static void after_configuring(void **state)
{
	static const char *const configured[] = {
		"PUT /boot-source {\"kernel_image_path\":\"kernel\"}",
		"PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":128}",
		"PATCH /machine-config {\"vcpu_count\":1}",
		DRIVE("d", "false", DISK),
		NET("a", ""),
	};

	(void)state;
	taken();
	for (unsigned i = 0; i < COUNT(configured); i++) {
		make_anew();
		done(configured[i]);
		note_config();
		refused(LOAD, LOAD_ERROR "Loading a microVM snapshot not allowed after configuring "
					 "boot-specific resources.");
		same_config();
	}
	make_anew();
	done("PUT /serial {\"serial_out_path\":\"serial\"}");
	done(LOAD); /* that goes with no snapshot */
	assert_true(config.serial.fd > 2);
}

static void overrides(void **state)
{
	(void)state;
	taken();
	make_anew();
	run("echo > other");
	done(LOAD_WITH(
		",\"drive_overrides\":[{\"drive_id\":\"d\",\"path_on_host\":\"other\"}],"
		"\"network_overrides\":[{\"iface_id\":\"a\",\"host_dev_name\":\"tapother\"}]"));
	assert_string_equal(config.disks[0].path, "other");
	ask("GET /vm/config");
	assert_non_null(strstr(body, "\"host_dev_name\":\"tapother\""));
	make_anew();
	refused(LOAD_WITH(
			",\"network_overrides\":[{\"iface_id\":\"a\",\"host_dev_name\":\"none\"}]"),
		"Network config error: Could not create the network device: Open tap device failed: "
		"Error while creating ifreq structure: No such device (os error 19). Invalid TUN/TAP "
		"Backend provided by none. Check our documentation on setting up the network devices.");
}

/* What came with the request stands in for what the snapshot had. */
static void descriptors(void **state)
{
	const int next = next_fd();

	(void)state;
	taken();
	make_anew();
	fds = (struct api_fds){ .fd = { open("state", O_RDONLY), open("memory", O_RDONLY),
					open("disk", O_RDWR) },
				.nr = 3 };
	done("PUT /snapshot/load {\"snapshot_path\":\"fd:0\",\"mem_file_path\":\"fd:1\","
	     "\"drive_overrides\":[{\"drive_id\":\"d\",\"path_on_host\":\"fd:2\"}]}");
	for (unsigned i = 0; i < fds.nr; i++)
		assert_int_equal(fds.fd[i], -1);
	fds.nr = 0;
	assert_int_equal(next_fd(), next);
}

/* Of a file that nobody uses, as another descriptor of it sees. */
static void is_unlocked(const char *path)
{
	struct flock lock = { .l_type = F_WRLCK };
	const int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
	assert_int_equal(lock.l_type, F_UNLCK);
	close(fd);
}

/* A client keeps what it has sent, and what was locked through that is free again all the same. */
static void kept_descriptors(void **state)
{
	struct flock by_another = { .l_type = F_RDLCK };
	int state_fd, memory_fd, other;

	(void)state;
	taken();
	state_fd = open("state", O_RDWR);
	memory_fd = open("memory", O_RDWR);
	fds = (struct api_fds){ .fd = { dup(state_fd), dup(memory_fd) }, .nr = 2 };
	done("PUT /snapshot/create {\"snapshot_path\":\"fd:0\",\"mem_file_path\":\"fd:1\"}");
	is_unlocked("state");
	is_unlocked("memory");
	other = open("memory", O_RDWR);
	assert_int_equal(fcntl(other, F_OFD_SETLK, &by_another), 0);
	fds = (struct api_fds){ .fd = { dup(state_fd), dup(memory_fd) }, .nr = 2 };
	refused("PUT /snapshot/create {\"snapshot_path\":\"fd:0\",\"mem_file_path\":\"fd:1\"}",
		IN_USE);
	is_unlocked("state");
	close(other);
	make_anew();
	seen.refusal = "another kind of CPU";
	fds = (struct api_fds){ .fd = { dup(state_fd), dup(memory_fd) }, .nr = 2 };
	refused("PUT /snapshot/load {\"snapshot_path\":\"fd:0\",\"mem_file_path\":\"fd:1\"}",
		LOAD_ERROR "another kind of CPU");
	is_unlocked("memory");
	fds.nr = 0;
	close(state_fd);
	close(memory_fd);
}

/* A lock that comes along is of another microVM, whose memory it protects. */
static void locked_descriptors(void **state)
{
	struct flock lock = { .l_type = F_RDLCK };
	const int memory_fd = open("memory", O_RDWR | O_CREAT, 0600);

	(void)state;
	taken();
	assert_int_equal(fcntl(memory_fd, F_OFD_SETLK, &lock), 0);
	fds = (struct api_fds){ .fd = { open("state", O_RDWR), dup(memory_fd) }, .nr = 2 };
	refused("PUT /snapshot/create {\"snapshot_path\":\"fd:0\",\"mem_file_path\":\"fd:1\"}",
		IN_USE);
	make_anew();
	seen.refusal = "another kind of CPU";
	fds = (struct api_fds){ .fd = { open("state", O_RDWR), dup(memory_fd) }, .nr = 2 };
	refused("PUT /snapshot/load {\"snapshot_path\":\"fd:0\",\"mem_file_path\":\"fd:1\"}",
		LOAD_ERROR "another kind of CPU");
	fds.nr = 0;
	lock.l_type = F_WRLCK;
	assert_int_equal(fcntl(memory_fd, F_GETLK, &lock), 0);
	assert_int_equal(lock.l_type, F_RDLCK);
	close(memory_fd);
}

/* It is mapped, and only what the guest has written to is its own. */
static void over_its_origin(void **state)
{
	off_t size;

	(void)state;
	taken();
	make_anew();
	done(LOAD);
	run("ln memory link");
	size = size_of("memory");
	refused(CREATE, CREATE_ERROR "the guest's memory is mapped from that file.");
	refused("PUT /snapshot/create {\"snapshot_path\":\"new\",\"mem_file_path\":\"link\"}",
		CREATE_ERROR "the guest's memory is mapped from that file.");
	refused("PUT /snapshot/create {\"snapshot_path\":\"link\",\"mem_file_path\":\"new\"}",
		CREATE_ERROR "the guest's memory is mapped from that file.");
	assert_int_equal(size_of("memory"), size);
	done("PUT /snapshot/create {\"snapshot_path\":\"state\",\"mem_file_path\":\"new\"}");
	run("rm memory");
	done(CREATE); /* another file of that name */
}

static const struct {
	const char *text, *why;
} hostile[] = {
	{ "", "the snapshot is damaged: EOF while parsing a value at line 1 column 0." },
	{ "{", "the snapshot is damaged: EOF while parsing an object at line 1 column 1." },
	{ "\xff", "the snapshot is damaged: invalid unicode code point." },
	{ "[]", NULL },
	{ "{}", NULL },
	{ "{" MACHINE "}", NULL },
	{ "{\"drives\":1}", NULL },
	{ "{\"drives\":[1]}", NULL },
	{ "{\"drives\":[],\"drives\":[]}", NULL },
	{ "{\"drives\":[]," MACHINE "," MACHINE "}", NULL },
	{ "{\"drives\":[],\"machine-config\":{\"vcpu_count\":33,\"mem_size_mib\":64}}", NULL },
	{ "{\"drives\":[],\"machine-config\":{\"vcpu_count\":1,\"mem_size_mib\":0}}", NULL },
	{ "{\"drives\":[],\"machine-config\":{\"vcpu_count\":1,\"mem_size_mib\":9007199254740991}}",
	  NULL },
	{ "{\"drives\":[{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"nowhere\"}]"
	  "}",
	  NULL },
	{ "{" MACHINE
	  ",\"drives\":[{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"disk\"},"
	  "{\"drive_id\":\"b\",\"is_root_device\":false,\"path_on_host\":\"/proc/self/fd/0\"}]}",
	  NULL },
	{ "{\"drives\":[{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":\"disk\"},"
	  "{\"drive_id\":\"b\",\"is_root_device\":true,\"path_on_host\":\"disk\"}]}",
	  NULL },
	{ "{\"drives\":[{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"disk\"}],"
	  "\"network-interfaces\":[{\"iface_id\":\"n\",\"host_dev_name\":\"none\"}]}",
	  NULL },
	{ "{\"drives\":[{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"fd:0\"}]}",
	  NULL },
	{ "{\"drives\":[],\"network-interfaces\":[{\"iface_id\":\"n\",\"host_dev_name\":\"tap\"},"
	  "{\"iface_id\":\"n/o\",\"host_dev_name\":\"tap\"}]}",
	  NULL },
};

/* Nothing of what it named stays: the next load, or a start, is as if there had been none. */
static void hostile_text(void **state)
{
	const int next = next_fd();

	(void)state;
	note_config();
	for (unsigned i = 0; i < COUNT(hostile); i++) {
		write_text(hostile[i].text);
		if (ask(LOAD) != 400 || !strstr(body, hostile[i].why ? hostile[i].why : ""))
			fail_msg("text %u gave %u %s", i, reply.head.status, body);
		same_config();
		assert_int_equal(next_fd(), next);
		assert_int_equal(api.state, API_NOT_STARTED);
	}
	assert_int_equal(seen.starts, 0);
	start_it();
	assert_int_equal(config.restore.state_fd, 0);
	assert_int_equal(config.nr_disks, 0);
}

/* Sections that are none of the hardware, or of no section's name, do nothing. */
static void other_sections(void **state)
{
	(void)state;
	write_text("{" MACHINE ",\"drives\":[],\"logger\":{\"log_path\":\"written\"},\"metrics\":"
		   "{\"metrics_path\":\"written\"},\"serial\":{\"serial_out_path\":\"written\"},"
		   "\"boot-source\":{\"kernel_image_path\":\"nowhere\"},\"vsock\":{},\"x\":1}");
	done(LOAD);
	assert_int_equal(size_of("written"), -1);
	assert_int_equal(config.serial.fd, 0);
	assert_int_equal(config.cpus, 2);
}

static void hostile_heads(void **state)
{
	static const char text[] = "{\"drives\":[]," MACHINE "}";
	static const uint32_t lengths[] = { sizeof(text), 4096,	      API_BODY_MAX - 1,
					    API_BODY_MAX, 0x7fffffff, 0x80000000,
					    0xffffffe8,	  0xffffffff };
	struct head head = { .version = 1 };

	(void)state;
	memcpy(head.magic, "mayfly snapshot\n", sizeof(head.magic));
	for (unsigned i = 0; i < COUNT(lengths); i++) {
		head.text_len = lengths[i];
		write_state(text, &head);
		refused(LOAD, LOAD_ERROR "the snapshot is cut short.");
	}
	head.text_len = sizeof(text) - 1;
	head.version = 2;
	write_state(text, &head);
	refused(LOAD, LOAD_ERROR "the snapshot has version 2, not 1.");
	head.version = 1;
	head.magic[15] = ' ';
	write_state(text, &head);
	refused(LOAD, LOAD_ERROR "the file is not a snapshot of mayfly's.");
	run("printf 'mayfly snapshot\\n' > state");
	refused(LOAD, LOAD_ERROR "the file is not a snapshot of mayfly's.");
	run("rm state; mkfifo state");
	refused(LOAD, LOAD_ERROR "the file is not a snapshot of mayfly's.");
	run("rm state; mkdir state");
	refused(LOAD, LOAD_ERROR "the file is not a snapshot of mayfly's.");
	run("rmdir state");
	write_text(text);
	done(LOAD);
}

/* The monitor says no: whoever asked can load another, or configure a microVM and start it. */
static void refused_by_the_monitor(void **state)
{
	const int next = next_fd();

	(void)state;
	taken();
	make_anew();
	note_config();
	seen.refusal = "another kind of CPU";
	refused(LOAD, LOAD_ERROR "another kind of CPU");
	same_config();
	assert_int_equal(next_fd(), next);
	seen.refusal = NULL;
	done(LOAD);
	make_anew();
	seen.refusal = "another kind of CPU";
	refused(LOAD, LOAD_ERROR "another kind of CPU");
	seen.refusal = NULL;
	start_it();
	assert_int_equal(config.restore.state_fd, 0);
	assert_int_equal(config.nr_disks + config.nr_nets, 0);
	assert_int_equal(config.cpus, 1);
	done(PAUSE); /* whose memory is not mapped from that file */
	done(CREATE);
}

static const struct CMUnitTest tests[] = {
	TEST("a snapshot is written in two files, over what they held", creating),
	TEST("create: bodies, and states, that are refused touch no file", refused_creations),
	TEST("create: places that are none, and a monitor that cannot", bad_places),
	TEST("a load makes what was configured, paused or running", loading),
	TEST("load: what is old is said to be so", deprecated),
	TEST("load: bodies and files that are refused leave nothing behind", refused_loads),
	TEST("load: not after configuring what a snapshot has", after_configuring),
	TEST("load: other files and taps in the snapshot's places", overrides),
	TEST("load: files come as descriptors", descriptors),
	TEST("descriptors that the client keeps are locked no longer than a request takes",
	     kept_descriptors),
	TEST("a lock that comes with a descriptor stays, and is none to write by",
	     locked_descriptors),
	TEST("create: not over the file that memory is mapped from", over_its_origin),
	TEST("load: whatever the text says, a refused one leaves nothing behind", hostile_text),
	TEST("load: sections that are none of the hardware do nothing", other_sections),
	TEST("load: heads of all kinds", hostile_heads),
	TEST("load: a monitor's refusal is as if nothing had been configured",
	     refused_by_the_monitor),
};

int main(void)
{
	return cmocka_run_group_tests_name("apisnapshot", tests, make_dir, remove_dir);
}
