// SPDX-License-Identifier: Apache-2.0
/*
 * The API behind HTTP by the wire contract's tables: every request, every field's rules, every
 * state, with a monitor that only notes what it was told. Paths of files are this program's own.
 */
#include "monitor.h"

#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct api_ops ops_without_devices = { note_start, note_tap_open, note_tap_check,
						    note_pause, note_resume,   NULL,
						    NULL,	note_count,    NULL };

struct row {
	const char *line, *why; /* NULL: done */
};

static void all(const struct row *rows, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (rows[i].why)
			refused(rows[i].line, rows[i].why);
		else
			done(rows[i].line);
	}
}

static void questions(void **state)
{
	(void)state;
	gives("GET /", 200,
	      "{\"id\":\"unit\",\"state\":\"Not started\",\"vmm_version\":\"0.1.0\","
	      "\"app_name\":\"mayfly\"}");
	gives("GET ", 200, body);
	gives("GET /version", 200, "{\"firecracker_version\":\"0.1.0\"}");
	gives("GET /version/", 200, "{\"firecracker_version\":\"0.1.0\"}");
	gives("GET //version/and/more", 200, "{\"firecracker_version\":\"0.1.0\"}");
	gives("GET /machine-config", 200,
	      "{\"vcpu_count\":1,\"mem_size_mib\":128,\"smt\":false,\"track_dirty_pages\":false,"
	      "\"huge_pages\":\"None\"}");
	gives("GET /vm/config", 200,
	      "{\"balloon\":null,\"drives\":[],\"boot-source\":null,\"cpu-config\":null,"
	      "\"logger\":null,\"machine-config\":{\"vcpu_count\":1,\"mem_size_mib\":128,"
	      "\"smt\":false,\"track_dirty_pages\":false,\"huge_pages\":\"None\"},"
	      "\"metrics\":null,\"memory-hotplug\":null,\"mmds-config\":null,"
	      "\"network-interfaces\":[],\"pmem\":[],\"vsock\":null,\"entropy\":null}");
}

#define LONG_ID "a1234567890123456789012345678901234567890123456789012345678901234"

static void no_requests(void **state)
{
	static const struct row rows[] = {
		{ "GET /nowhere", "Invalid request method and/or path: GET nowhere." },
		{ "GET /vm", "Invalid request method and/or path: GET vm." },
		{ "GET /vm/other", "Invalid request method and/or path: GET vm." },
		{ "PUT /x/y {}", "Invalid request method and/or path: PUT x." },
		{ "PUT /vm/config {}", "Invalid request method and/or path: PUT vm." },
		{ "PATCH /boot-source {}",
		  "Invalid request method and/or path: PATCH boot-source." },
		{ "DELETE /machine-config",
		  "Invalid request method and/or path: DELETE machine-config." },
		{ "GET / {}", "GET request cannot have a body." },
		{ "GET /nowhere {}", "GET request cannot have a body." },
		{ "PUT /actions", "Empty PUT request." },
		{ "PUT /nowhere", "Empty PUT request." },
		{ "PATCH /vm", "Empty PATCH request." },
		{ "DELETE /drives/a {}", "Empty Delete request." },
		{ "PUT /drives {}", "The ID cannot be empty." },
		{ "PUT /drives/ {}", "The ID cannot be empty." },
		{ "PUT /drives/a-b {}", "API Resource IDs can only contain alphanumeric characters "
					"and underscores." },
		{ "PUT /drives/" LONG_ID " {\"drive_id\":\"" LONG_ID "\",\"is_root_device\":true}",
		  "API Resource IDs have 64 characters at most." },
		{ "PUT /network-interfaces/. {}",
		  "API Resource IDs can only contain alphanumeric characters and underscores." },
	};

	(void)state;
	all(rows, COUNT(rows));
}

static void absent_things(void **state)
{
	static const struct row rows[] = {
		{ "GET /balloon", "mayfly has no balloon device." },
		{ "PUT /balloon {}", "mayfly has no balloon device." },
		{ "PATCH /balloon/statistics {}", "mayfly has no balloon device." },
		{ "GET /mmds", "mayfly has no metadata service (MMDS)." },
		{ "PUT /mmds {}", "mayfly has no metadata service (MMDS)." },
		{ "PUT /mmds/config {}", "mayfly has no metadata service (MMDS)." },
		{ "PATCH /mmds {}", "mayfly has no metadata service (MMDS)." },
		{ "PUT /vsock {}", "mayfly has no vsock device." },
		{ "PUT /entropy {}", "mayfly has no entropy device; guests have RDRAND." },
		{ "PUT /pmem/p {}", "mayfly has no pmem device." },
		{ "PUT /hotplug/memory {}", "mayfly has no memory hotplug." },
		{ "PUT /cpu-config {}",
		  "mayfly has no CPU templates; a guest gets what the hypervisor offers." },
		{ "PUT /snapshot/create {}", "mayfly has no snapshots yet." },
		{ "PUT /snapshot/load {}", "mayfly has no snapshots yet." },
		{ "DELETE /drives/a", UNTIL },
	};

	(void)state;
	all(rows, COUNT(rows));
	start_it();
	refused("DELETE /drives/a", "PCI is not enabled");
	refused("DELETE /network-interfaces/a", "PCI is not enabled");
}

/* What JSON is not, on a body that has one required field. */
static void bad_json(void **state)
{
	static const struct row rows[] = {
		{ "PUT /actions x", SERDE "expected value at line 1 column 1." },
		{ "PUT /actions {", SERDE "EOF while parsing an object at line 1 column 1." },
		{ "PUT /actions {\\\"", SERDE "key must be a string at line 1 column 2." },
		{ "PUT /actions {\"a\"}", SERDE "expected `:` at line 1 column 5." },
		{ "PUT /actions {\"a\":1,}", SERDE "trailing comma at line 1 column 8." },
		{ "PUT /actions {\"a\":1 2}", SERDE "expected `,` or `}` at line 1 column 8." },
		{ "PUT /actions [1 2]", SERDE "expected `,` or `]` at line 1 column 4." },
		{ "PUT /actions [1,", SERDE "EOF while parsing a value at line 1 column 3." },
		{ "PUT /actions {} {}", SERDE "trailing characters at line 1 column 4." },
		{ "PUT /actions \"a", SERDE "EOF while parsing a string at line 1 column 2." },
		{ "PUT /actions \"\t\"",
		  SERDE "control character (\\\\u0000-\\\\u001F) found while "
			"parsing a string at line 1 column 2." },
		{ "PUT /actions \"\\x\"", SERDE "invalid escape at line 1 column 4." },
		{ "PUT /actions \"\\u0000\"",
		  SERDE "a string must not hold \\\\u0000 at line 1 column 8." },
		{ "PUT /actions \"\\ud800\"", SERDE "invalid unicode code point." },
		{ "PUT /actions \"\xff\"", SERDE "invalid unicode code point." },
		{ "PUT /actions {\"a\":tru}", SERDE "expected ident at line 1 column 6." },
		{ "PUT /actions {\"a\":01}", SERDE "invalid number at line 1 column 8." },
		{ "PUT /actions {\"a\":1.5}",
		  SERDE "invalid value for `a`, expected a whole number "
			"of at most 53 bits at line 1 column 7." },
		{ "PUT /actions {\"a\":9007199254740992}", SERDE
		  "invalid value for `a`, expected a whole number of at most 53 bits at line 1 "
		  "column 22." },
		{ "PUT /actions []", SERDE "invalid type: sequence, expected an object." },
		{ "PUT /actions null", SERDE "invalid type: null, expected an object." },
		{ "PUT /actions {\n}", SERDE "missing field `action_type` at line 2 column 1." },
		{ "PUT /actions {\"x\":1}", SERDE "unknown field `x`, expected `action_type`." },
		{ "PUT /actions {\"action_type\":1}",
		  SERDE "invalid type: integer `1`, expected a string for `action_type`." },
		{ "PUT /actions {\"action_type\":null}",
		  SERDE "invalid type: null, expected a string for `action_type`." },
		{ "PUT /actions {\"action_type\":\"FlushMetrics\",\"action_type\":\"FlushMetrics\"}",
		  SERDE "duplicate field `action_type`." },
		{ "PUT /actions {\"action_type\":\"Halt\"}",
		  SERDE "unknown variant `Halt`, expected one of `InstanceStart`, `FlushMetrics`, "
			"`SendCtrlAltDel`." },
		{ "PATCH /vm {\"state\":\"Stopped\"}",
		  SERDE "unknown variant `Stopped`, expected `Paused` or `Resumed`." },
	};

	(void)state;
	all(rows, COUNT(rows));
}

static void deep_json(void **state)
{
	char line[200] = "PUT /actions ";
	const size_t start = strlen(line);

	(void)state;
	for (unsigned i = 0; i < JSON_DEPTH; i++)
		strcat(line, "[");
	refused(line, SERDE "EOF while parsing a value at line 1 column 32.");
	strcat(line, "[");
	refused(line, SERDE "recursion limit exceeded at line 1 column 33.");
	memset(line + start, ']', 3);
	refused(line, SERDE "expected value at line 1 column 1.");
}

/* More values than are taken; and after it the API is as before. */
static void large_json(void **state)
{
	static char line[50000] = "PUT /actions [0";

	(void)state;
	for (size_t at = strlen(line); at < sizeof(line) - 3; at += 2)
		memcpy(line + at, ",0", 2);
	strcat(line, "]");
	refused(line, SERDE "more values than mayfly takes.");
	assert_int_equal(ask("GET /version"), 200);
}

/* Where the operator lets bodies be as large, or in a config file. */
static void long_text(void **state)
{
	static char line[600000] = "PUT /actions {\"action_type\":\"";

	(void)state;
	memset(line + strlen(line), 'x', sizeof(line) - 20 - strlen(line));
	strcpy(line + sizeof(line) - 20, "\"}");
	refused(line, SERDE "more text than mayfly takes.");
	refused("PUT /actions \"\\ud800\"", SERDE "invalid unicode code point.");
	assert_int_equal(ask("GET /version"), 200);
}

#define CPUS                                                                                       \
	"Machine config error: The number of vCPUs must be greater than 0, less than 32 and must " \
	"be 1 or an even number if SMT is enabled."
#define MEM                                                                                  \
	"Machine config error: The memory size (MiB) is either 0, or not a multiple of the " \
	"configured page size."

static void machines(void **state)
{
	static const struct row rows[] = {
		{ "PUT /machine-config {\"mem_size_mib\":128}",
		  SERDE "missing field `vcpu_count` at line 1 column 20." },
		{ "PUT /machine-config {\"vcpu_count\":1}",
		  SERDE "missing field `mem_size_mib` at line 1 column 16." },
		{ "PUT /machine-config {\"vcpu_count\":0,\"mem_size_mib\":128}", CPUS },
		{ "PUT /machine-config {\"vcpu_count\":33,\"mem_size_mib\":128}", CPUS },
		{ "PUT /machine-config {\"vcpu_count\":3,\"mem_size_mib\":128,\"smt\":true}",
		  CPUS },
		{ "PUT /machine-config {\"vcpu_count\":256,\"mem_size_mib\":128}",
		  SERDE "invalid value: integer `256`, expected u8 for `vcpu_count`." },
		{ "PUT /machine-config {\"vcpu_count\":-1,\"mem_size_mib\":128}",
		  SERDE "invalid value: integer `-1`, expected u8 for `vcpu_count`." },
		{ "PUT /machine-config {\"vcpu_count\":\"1\",\"mem_size_mib\":128}",
		  SERDE "invalid type: string \\\"1\\\", expected u8 for `vcpu_count`." },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":0}", MEM },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":3,\"huge_pages\":\"2M\"}",
		  MEM },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":15}",
		  "Machine config error: mayfly gives a guest 16 MiB to 1 TiB of memory." },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":1048577}",
		  "Machine config error: mayfly gives a guest 16 MiB to 1 TiB of memory." },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":9007199254740991}",
		  "Machine config error: mayfly gives a guest 16 MiB to 1 TiB of memory." },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":64,\"huge_pages\":\"2M\"}",
		  "Machine config error: mayfly takes no reserved huge pages; use `Transparent`." },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":64,\"huge_pages\":\"1G\"}",
		  SERDE "unknown variant `1G`, expected one of `None`, `Transparent`, `2M`." },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":64,\"smt\":1}",
		  SERDE "invalid type: integer `1`, expected a boolean for `smt`." },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":64,\"ht_enabled\":true}",
		  SERDE "unknown field `ht_enabled`, expected one of `vcpu_count`, `mem_size_mib`, "
			"`smt`, `cpu_template`, `track_dirty_pages`, `huge_pages`." },
		{ "PATCH /machine-config {}", "Empty PATCH request." },
		{ "PATCH /machine-config {\"smt\":null}", "Empty PATCH request." },
	};

	(void)state;
	all(rows, COUNT(rows));
	done("PUT /machine-config {\"vcpu_count\":32,\"mem_size_mib\":16,\"smt\":true,"
	     "\"track_dirty_pages\":true,\"huge_pages\":\"Transparent\"}");
	gives("GET /machine-config", 200,
	      "{\"vcpu_count\":32,\"mem_size_mib\":16,\"smt\":true,\"track_dirty_pages\":true,"
	      "\"huge_pages\":\"Transparent\"}");
	refused("PATCH /machine-config {\"vcpu_count\":31}", CPUS);
	done("PATCH /machine-config {\"smt\":false}");
	done("PATCH /machine-config {\"vcpu_count\":31}");
	done("PATCH /machine-config {\"mem_size_mib\":1048576}");
	gives("GET /machine-config", 200,
	      "{\"vcpu_count\":31,\"mem_size_mib\":1048576,\"smt\":false,\"track_dirty_pages\":true,"
	      "\"huge_pages\":\"Transparent\"}");
	done("PUT /machine-config {\"vcpu_count\":2,\"mem_size_mib\":256}");
	gives("GET /machine-config", 200,
	      "{\"vcpu_count\":2,\"mem_size_mib\":256,\"smt\":false,\"track_dirty_pages\":false,"
	      "\"huge_pages\":\"None\"}");
}

static void templates(void **state)
{
	(void)state;
	done("PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":64,\"cpu_template\":\"None\"}");
	assert_true(reply.head.is_deprecated);
	assert_int_equal(ask("GET /machine-config"), 200);
	assert_non_null(strstr(body, "\"cpu_template\":\"None\""));
	assert_false(reply.head.is_deprecated);
	refused("PATCH /machine-config {\"cpu_template\":\"T2\"}",
		"Machine config error: mayfly has no CPU templates; a guest gets what the "
		"hypervisor offers.");
	assert_true(reply.head.is_deprecated);
}

#define NO_ASCII \
	"Boot source error: The kernel command line is invalid: it holds more than printable ASCII."

static void boot_sources(void **state)
{
	static const struct row rows[] = {
		{ "PUT /boot-source {}",
		  SERDE "missing field `kernel_image_path` at line 1 column 2." },
		{ "PUT /boot-source {\"kernel_image_path\":\"nowhere\"}",
		  "Boot source error: The kernel file cannot be opened: No such file or directory (os "
		  "error 2)" },
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"initrd_path\":\"nowhere\"}",
		  "Boot source error: The initrd file cannot be opened due to invalid path or invalid "
		  "permissions. No such file or directory (os error 2)" },
		{ "PUT /boot-source {\"kernel_image_path\":\"\"}",
		  SERDE "invalid value: string \\\"\\\", expected a string for "
			"`kernel_image_path`." },
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"a\\nb\"}",
		  NO_ASCII },
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"\u00e9\"}",
		  NO_ASCII },
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"initrd_path\":null}",
		  NULL },
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"\"}", NULL },
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"a b\","
		  "\"initrd_path\":\"disk\"}",
		  NULL },
	};
	char line[CMDLINE_SIZE + 100];

	(void)state;
	all(rows, COUNT(rows));
	snprintf(line, sizeof(line),
		 "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"%*s\"}",
		 (int)CMDLINE_SIZE - 9, "x");
	done(line);
	snprintf(line, sizeof(line),
		 "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"%*s\"}",
		 (int)CMDLINE_SIZE - 8, "x");
	refused(line, "Boot source error: The kernel command line is invalid: 2048 bytes; at most "
		      "2047 go in.");
}

static void drives(void **state)
{
	static const struct row rows[] = {
		{ "PUT /drives/a {\"is_root_device\":true}",
		  SERDE "missing field `drive_id` at line 1 column 23." },
		{ "PUT /drives/a {\"drive_id\":\"a\"}",
		  SERDE "missing field `is_root_device` at line 1 column 16." },
		{ "PUT /drives/a {\"drive_id\":\"b\",\"is_root_device\":false}",
		  "The id from the path does not match the id from the body!" },
		{ DRIVE("a", "true", ""), "Drive config error: missing field `path_on_host`" },
		{ DRIVE("a", "true", ",\"socket\":\"s\""),
		  "Drive config error: mayfly has no vhost-user disks." },
		{ DRIVE("a", "true", ",\"path_on_host\":\"nowhere\""),
		  "Drive config error: nowhere: No such file or directory (os error 2)" },
		{ DRIVE("a", "true", ",\"path_on_host\":\"/\",\"is_read_only\":true"),
		  "Drive config error: /: neither a file nor a block device" },
		{ DRIVE("a", "true", DISK ",\"cache_type\":\"None\""),
		  SERDE "unknown variant `None`, expected `Unsafe` or `Writeback`." },
		{ DRIVE("a", "true", DISK ",\"io_engine\":\"Fast\""),
		  SERDE "unknown variant `Fast`, expected `Sync` or `Async`." },
		{ DRIVE("a", "false", DISK ",\"partuuid\":\"p\""),
		  "Drive config error: `partuuid` is the root device's." },
		{ DRIVE("a", "true", DISK ",\"rate_limiter\":{\"bandwidth\":{\"size\":1}}"),
		  SERDE "missing field `refill_time`." },
		{ DRIVE("a", "true", DISK ",\"rate_limiter\":{\"iops\":{}}"),
		  SERDE "unknown field `iops`, expected `bandwidth` or `ops`." },
		{ DRIVE("data", "false", DISK), NULL },
		{ DRIVE("root", "true", DISK ",\"is_read_only\":true,\"io_engine\":\"Async\""),
		  NULL },
		{ DRIVE("other", "true", DISK),
		  "Drive config error: A root block device already exists!" },
		{ DRIVE("root", "true",
			DISK ",\"cache_type\":\"Writeback\",\"rate_limiter\":"
			     "{\"ops\":{\"size\":9007199254740991,\"refill_time\":7,\"x\":1}}"),
		  NULL },
	};

	(void)state;
	all(rows, COUNT(rows));
	assert_int_equal(ask("GET /vm/config"), 200);
	assert_non_null(strstr(
		body, "\"drives\":[{\"drive_id\":\"data\",\"partuuid\":null,"
		      "\"is_root_device\":false,\"cache_type\":\"Unsafe\",\"is_read_only\":false,"
		      "\"path_on_host\":\"disk\",\"rate_limiter\":null,\"io_engine\":\"Sync\","
		      "\"socket\":null},{\"drive_id\":\"root\",\"partuuid\":null,"
		      "\"is_root_device\":true,\"cache_type\":\"Writeback\",\"is_read_only\":false,"
		      "\"path_on_host\":\"disk\",\"rate_limiter\":{\"bandwidth\":null,\"ops\":{"
		      "\"size\":9007199254740991,\"one_time_burst\":null,\"refill_time\":7}},"
		      "\"io_engine\":\"Sync\",\"socket\":null}]"));
	start_it();
	assert_int_equal(config.nr_disks, 2);
	assert_string_equal(config.disks[0].id, "root");
	assert_true(config.disks[0].is_root);
	assert_int_equal(config.disks[0].cache, DISK_CACHE_WRITEBACK);
	assert_int_equal(config.disks[0].limit.ops.refill_ms, 7);
	assert_int_equal(config.disks[1].cache, DISK_CACHE_UNSAFE);
	assert_string_equal(config.cmdline, CMDLINE_DEFAULT " root=/dev/vda rw");
	refused(DRIVE("late", "false", DISK), "PCI is not enabled");
}

static void root_by_uuid(void **state)
{
	static const char *const bad[] = { "x init=/bin/sh", "x\\ty", "\u00e9", "\\\"x", "\x7f" };
	char line[200];

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		snprintf(line, sizeof(line), DRIVE("root", "true", DISK ",\"partuuid\":\"%s\""),
			 bad[i]);
		refused(line, "Drive config error: `partuuid` holds more than printable ASCII "
			      "without blanks and quotes.");
	}
	done(DRIVE("root", "true", DISK ",\"partuuid\":\"0eaa91a0/PARTNROFF=1\""));
	done(DRIVE("root", "true", DISK ",\"is_read_only\":true,\"partuuid\":\"0eaa91a0-01\""));
	done("PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"quiet\"}");
	done("PUT /actions {\"action_type\":\"InstanceStart\"}");
	assert_string_equal(config.cmdline, "quiet pci=off root=PARTUUID=0eaa91a0-01 ro");
}

#define MAC ",\"guest_mac\":\"02:Fc:00:00:00:05\""

static void networks(void **state)
{
	static const struct row rows[] = {
		{ "PUT /network-interfaces/a {\"host_dev_name\":\"t\"}",
		  SERDE "missing field `iface_id` at line 1 column 21." },
		{ "PUT /network-interfaces/a {\"iface_id\":\"a\"}",
		  SERDE "missing field `host_dev_name` at line 1 column 16." },
		{ "PUT /network-interfaces/a {\"iface_id\":\"b\",\"host_dev_name\":\"t\"}",
		  "The id from the path [a] does not match the id from the body [b]!" },
		{ "PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":"
		  "\"0123456789abcdef\"}",
		  SERDE "invalid length 16, expected at most 15 bytes for `host_dev_name`." },
		{ NET("a", ",\"guest_mac\":\"02:fc:00:00:00\""),
		  SERDE "invalid value: string \\\"02:fc:00:00:00\\\", expected a MAC address for "
			"`guest_mac`." },
		{ NET("a", ",\"mtu\":67"),
		  SERDE "invalid value: integer `67`, expected a number from "
			"68 to 65535 for `mtu`." },
		{ NET("a", ",\"mtu\":65536"), SERDE "invalid value: integer `65536`, expected a "
						    "number from 68 to 65535 for `mtu`." },
		{ NET("a", MAC ",\"mtu\":1400,\"tx_rate_limiter\":{\"bandwidth\":{\"size\":0,"
			       "\"one_time_burst\":5,\"refill_time\":1}}"),
		  NULL },
		{ NET("b", MAC), "Network config error: The MAC address is already in use: "
				 "02:Fc:00:00:00:05" },
		{ "PUT /network-interfaces/b {\"iface_id\":\"b\",\"host_dev_name\":\"tapa\"}",
		  "Network config error: Could not create the network device: Open tap device failed: "
		  "Error while creating ifreq structure: Device or resource busy (os error 16). "
		  "Invalid TUN/TAP Backend provided by tapa. Check our documentation on setting up "
		  "the network devices." },
		{ NET("b", ""), NULL },
		{ NET("a", MAC ",\"mtu\":1400"), NULL },
	};

	(void)state;
	all(rows, COUNT(rows));
	assert_int_equal(ask("GET /vm/config"), 200);
	assert_non_null(strstr(
		body, "\"network-interfaces\":[{\"iface_id\":\"a\",\"host_dev_name\":\"tapa\","
		      "\"guest_mac\":\"02:Fc:00:00:00:05\",\"mtu\":1400,\"rx_rate_limiter\":null,"
		      "\"tx_rate_limiter\":null},{\"iface_id\":\"b\",\"host_dev_name\":\"tapb\","
		      "\"guest_mac\":null,\"mtu\":null,"));
	start_it();
	assert_int_equal(config.nr_nets, 2);
	assert_true(config.nets[0].has_mac);
	assert_memory_equal(config.nets[0].mac, "\x02\xfc\0\0\0\x05", 6);
	assert_int_equal(config.nets[0].mtu, 1400);
	assert_false(config.nets[1].has_mac);
	refused(NET("c", ""), "PCI is not enabled");
}

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
	refused("PUT /network-interfaces/a {\"iface_id\":\"a\",\"host_dev_name\":\"fd:0\"}",
		NO_TAP "fd:0 is no tap that was opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR.");
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
	assert_int_equal(stat("other", &renamed) | fstat(api.boot.kernel_fd, &held), 0);
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
	assert_true(is_open(api.boot.kernel_fd)); /* for the next start */
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
	a = api.boot.kernel_fd;
	assert_true(is_open(a));
	come();
	refused("PUT /boot-source {\"kernel_image_path\":\"fd:1\",\"initrd_path\":\"fd:1\"}",
		"No descriptor came with the request for `fd:1`.");
	assert_true(is_open(a));
	come();
	done("PUT /boot-source {\"kernel_image_path\":\"fd:1\",\"initrd_path\":\"fd:0\"}");
	a = api.boot.initrd_fd;
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
	a = api.boot.kernel_fd;
	done(NET("a", ""));
	close_fds();
	api_let_go(&api);
	assert_false(is_open(a));
	api_let_go(&api);
}

/* The guest has ended, and some of its output is still on its way. */
static void ended(void **state)
{
	static const char why[] = "The microVM has ended: powered off.";

	(void)state;
	done(DRIVE("d", "false", DISK));
	start_it();
	api_ended(&api, "powered off", 42);
	assert_int_equal(seen.changes, 2);
	gives("GET /", 200,
	      "{\"id\":\"unit\",\"state\":\"Running\",\"vmm_version\":\"0.1.0\","
	      "\"app_name\":\"mayfly\",\"exit_reason\":\"powered off\",\"exit_code\":42}");
	refused("PATCH /vm {\"state\":\"Paused\"}", why);
	refused("PATCH /drives/d {\"drive_id\":\"d\"}", why);
	refused("PUT /actions {\"action_type\":\"InstanceStart\"}", why);
	refused("PUT /nowhere {}", "Invalid request method and/or path: PUT nowhere.");
	assert_int_equal(ask("GET /metrics"), 200);
	assert_int_equal(seen.pauses, 0);
}

/* The guest ends while it is being paused. */
static void ended_in_pause(void **state)
{
	(void)state;
	start_it();
	seen.ends_in_pause = true;
	refused("PATCH /vm {\"state\":\"Paused\"}", "The microVM has ended: rebooted.");
	assert_int_equal(api.state, API_RUNNING);
}

static void devices_are_few(void **state)
{
	char line[200];

	(void)state;
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		snprintf(line, sizeof(line),
			 "PUT /drives/d%u {\"drive_id\":\"d%u\",\"is_root_device\":false" DISK "}",
			 i, i);
		done(line);
	}
	refused(DRIVE("more", "false", DISK),
		"Drive config error: mayfly has room for 19 devices.");
	refused(NET("n", ""), "Network config error: mayfly has room for 19 devices.");
	done(DRIVE("d0", "true", DISK));
}

static void updates(void **state)
{
	(void)state;
	refused("PATCH /drives/data {\"drive_id\":\"data\"}", UNTIL);
	refused("PATCH /network-interfaces/a {\"iface_id\":\"a\"}", UNTIL);
	done(DRIVE("data", "false", DISK));
	done(NET("a", ",\"tx_rate_limiter\":{\"ops\":{\"size\":5,\"refill_time\":6}}"));
	start_it();
	refused("PATCH /drives/x {\"drive_id\":\"x\"}",
		"Drive config error: there is no drive `x`.");
	refused("PATCH /drives/data {\"drive_id\":\"x\"}",
		"The id from the path does not match the id from the body!");
	refused("PATCH /drives/data {\"drive_id\":\"data\",\"is_read_only\":true}",
		SERDE "unknown field `is_read_only`, expected one of `drive_id`, `path_on_host`, "
		      "`rate_limiter`.");
	refused("PATCH /drives/data {\"drive_id\":\"data\",\"path_on_host\":\"gone\"}",
		"Drive config error: gone: No such file or directory (os error 2)");
	done("PATCH /drives/data {\"drive_id\":\"data\",\"path_on_host\":\"kernel\","
	     "\"rate_limiter\":{\"bandwidth\":{\"size\":8,\"refill_time\":9}}}");
	assert_string_equal(seen.path, "kernel");
	assert_int_equal(seen.buckets[0].size, 8);
	assert_null(seen.disk.ops);
	ask("GET /vm/config");
	assert_non_null(strstr(body, "\"path_on_host\":\"kernel\",\"rate_limiter\":{\"bandwidth\":"
				     "{\"size\":8,\"one_time_burst\":null,\"refill_time\":9},"
				     "\"ops\":null}"));
	done("PATCH /network-interfaces/a {\"iface_id\":\"a\",\"tx_rate_limiter\":{\"ops\":{"
	     "\"size\":0,\"refill_time\":0}}}");
	assert_non_null(seen.net.tx_ops);
	assert_int_equal(seen.buckets[3].size, 0);
	assert_null(seen.net.rx_ops);
	ask("GET /vm/config");
	assert_non_null(strstr(body, "\"tx_rate_limiter\":null"));
}

static void updates_without_devices(void **state)
{
	(void)state;
	make_api(&ops_without_devices);
	done(DRIVE("data", "false", DISK));
	start_it();
	refused("PATCH /drives/data {\"drive_id\":\"data\"}",
		"Drive config error: there is no drive `data`.");
	refused("PATCH /network-interfaces/a {\"iface_id\":\"a\"}",
		"Network config error: there is no interface `a`.");
}

static void serial_ports(void **state)
{
	(void)state;
	done("PUT /serial {\"rate_limiter\":{\"size\":3,\"one_time_burst\":4,\"refill_time\":5}}");
	start_it();
	assert_int_equal(config.serial.limit.size, 3);
	assert_int_equal(config.serial.limit.one_time_burst, 4);
	assert_int_equal(config.serial.limit.refill_ms, 5);
	api_let_go(&api);
	make_api(&ops);
	done("PUT /serial {}");
	start_it();
	assert_int_equal(config.serial.kind, SERIAL_STDIO);
	assert_true(config.serial.is_tty_only);
	refused("PUT /serial {}", AFTER);
	make_api(&ops);
	done("PUT /serial {\"serial_out_path\":\"out\"}");
	start_it();
	assert_int_equal(config.serial.kind, SERIAL_FILE);
	assert_string_equal(config.serial.path, "out");
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

static void loggers(void **state)
{
	char line[256] = "";
	FILE *log;

	(void)state;
	refused("PUT /logger {\"log_path\":\"no/where\"}",
		"Logger error: no/where: No such file or directory (os error 2)");
	refused("PUT /logger {\"level\":\"Loud\"}",
		SERDE "unknown variant `Loud`, expected one of `Off`, `Trace`, `Debug`, `Info`, "
		      "`Warn`, `Warning`, `Error`.");
	api.log.is_stamped = true;
	api.log.id = "unit";
	done("PUT /logger {\"log_path\":\"log\",\"level\":\"WARNING\",\"show_level\":true,"
	     "\"show_log_origin\":true}");
	log_line(LOG_INFO, "not this");
	log_line(LOG_WARN, "this");
	done("PUT /logger {\"level\":\"error\"}");
	log_line(LOG_WARN, "nor this");
	log = fopen("log", "r");
	assert_non_null(log);
	assert_non_null(fgets(line, sizeof(line), log));
	assert_int_equal(strspn(line, "0123456789-T:."), 29);
	assert_non_null(strstr(line, " [unit:api:WARN:tests/unit/api.c:"));
	assert_non_null(strstr(line, "] this\n"));
	/* What is left out stays; an omitted level is Info. */
	done("PUT /logger {\"module\":\"tests/unit\"}");
	log_line(LOG_DEBUG, "not this either");
	log_line(LOG_INFO, "but this");
	done("PUT /logger {\"show_level\":false,\"show_log_origin\":null}");
	log_at(LOG_INFO, "api/routes.c", 1, "of another module");
	log_line(LOG_INFO, "without a level");
	assert_non_null(fgets(line, sizeof(line), log));
	assert_non_null(strstr(line, " [unit:api:INFO:tests/unit/api.c:"));
	assert_non_null(strstr(line, "] but this\n"));
	assert_non_null(fgets(line, sizeof(line), log));
	assert_non_null(strstr(line, " [unit:api:tests/unit/api.c:"));
	assert_non_null(strstr(line, "] without a level\n"));
	assert_null(fgets(line, sizeof(line), log));
	fclose(log);
}

static void states(void **state)
{
	static const char *const before[] = {
		"PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":128}",
		"PATCH /machine-config {\"vcpu_count\":1}",
		"PUT /boot-source {\"kernel_image_path\":\"kernel\"}",
		"PUT /logger {}",
		"PUT /metrics {\"metrics_path\":\"m\"}",
		"PUT /serial {}",
		"PUT /actions {\"action_type\":\"InstanceStart\"}",
	};

	(void)state;
	refused("PATCH /vm {\"state\":\"Paused\"}", UNTIL);
	refused("PUT /actions {\"action_type\":\"SendCtrlAltDel\"}", UNTIL);
	refused("PUT /actions {\"action_type\":\"InstanceStart\"}",
		"Start microvm error: Cannot start microvm without kernel configuration.");
	seen.refusal = "out of luck";
	done("PUT /boot-source {\"kernel_image_path\":\"kernel\"}");
	refused("PUT /actions {\"action_type\":\"InstanceStart\"}",
		"Start microvm error: out of luck");
	done("PATCH /machine-config {\"vcpu_count\":2}");
	seen.refusal = NULL;
	assert_int_equal(seen.changes, 0);
	start_it();
	assert_int_equal(seen.starts, 2);
	assert_int_equal(seen.changes, 1);
	assert_int_equal(config.cpus, 2);
	for (size_t i = 0; i < COUNT(before); i++)
		refused(before[i], AFTER);
	refused("PUT /actions {\"action_type\":\"SendCtrlAltDel\"}",
		"Internal VMM error: mayfly has no keyboard: end the guest from within, or the "
		"process by a signal.");
	refused("PUT /boot-source {}",
		SERDE "missing field `kernel_image_path` at line 1 column 2.");
	done("PATCH /vm {\"state\":\"Resumed\"}");
	assert_int_equal(seen.resumes, 0);
	done("PATCH /vm {\"state\":\"Paused\"}");
	done("PATCH /vm {\"state\":\"Paused\"}");
	assert_int_equal(seen.pauses, 1);
	ask("GET /");
	assert_non_null(strstr(body, "\"state\":\"Paused\""));
	done("PATCH /vm {\"state\":\"Resumed\"}");
	assert_int_equal(seen.resumes, 1);
	assert_int_equal(seen.changes, 3);
	ask("GET /");
	assert_non_null(strstr(body, "\"state\":\"Running\""));
}

static void config_files(void **state)
{
	static const char whole[] =
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\",\"boot_args\":\"q\"},"
		"\"drives\":[{\"drive_id\":\"r\",\"is_root_device\":true,\"path_on_host\":\"disk\"}],"
		"\"network-interfaces\":[{\"iface_id\":\"n\",\"host_dev_name\":\"t\"}],"
		"\"machine-config\":{\"vcpu_count\":2,\"mem_size_mib\":64},\"vsock\":null,"
		"\"pmem\":[],\"serial\":{\"serial_out_path\":\"out\"},\"other\":17}";
	static const char *const bad[] = {
		"",
		"{}",
		"[]",
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\"}}",
		"{\"boot-source\":null,\"drives\":[]}",
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\"},\"drives\":[],\"drives\":[]}",
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\"},\"drives\":{}}",
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\"},\"drives\":null}",
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\"},\"drives\":[],"
		"\"network-interfaces\":null}",
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\"},\"drives\":[],\"pmem\":null}",
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\"},\"drives\":[{}]}",
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\"},\"drives\":[],\"vsock\":{}}",
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\"},\"drives\":[],\"pmem\":[{}]}",
		"{\"boot-source\":{\"kernel_image_path\":\"nowhere\"},\"drives\":[]}",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		make_api(&ops);
		assert_int_equal(api_config_file(&api, bad[i], strlen(bad[i])), -EINVAL);
		assert_int_equal(seen.starts, 0);
	}
	make_api(&ops);
	assert_int_equal(api_config_file(&api, whole, strlen(whole)), 0);
	assert_int_equal(seen.starts, 1);
	assert_int_equal(api.state, API_RUNNING);
	assert_int_equal(config.cpus, 2);
	assert_int_equal(config.mem_size, 64ul << 20);
	assert_string_equal(config.cmdline, "q pci=off root=/dev/vda rw");
	assert_int_equal(config.nets[0].kind, NET_TAP_FD);
	assert_string_equal(config.serial.path, "out");
}

/* Long paths that need escapes, on all devices: the answer does not fit, and says so. */
static void large_answers(void **state)
{
	char line[9200], path[9000] = "", name[300];

	(void)state;
	memset(name, 1, 250);
	name[250] = '\0';
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned k = 0; k < 250; k++)
			strcat(path, "\\u0001");
		strcat(path, i < 3 ? "/" : "");
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(mkdir(name, 0700), 0);
		assert_int_equal(chdir(name), 0);
	}
	close(open(name, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(chdir(dir), 0);
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		snprintf(line, sizeof(line),
			 "PUT /drives/d%u {\"drive_id\":\"d%u\",\"is_root_device\":false,"
			 "\"path_on_host\":\"%s\"}",
			 i, i, path);
		done(line);
	}
	assert_int_equal(ask("GET /vm/config"), 200);
	reply.size = 10000;
	{
		const struct http_request request = { HTTP_GET, "/vm/config", "", 0 };

		api_request(&api, &request, &reply);
		assert_int_equal(reply.head.status, 400);
	}
}

static void random_requests(void **state)
{
	static const char *const words[] = { "\x01/machine-config ",
					     "\x02/machine-config ",
					     "\x01/boot-source ",
					     "\x01/actions ",
					     "\x01/network-interfaces/n ",
					     "\x02/vm ",
					     "\x03/drives/a ",
					     "{",
					     "}",
					     ":",
					     ",",
					     "[",
					     "]",
					     "\"vcpu_count\"",
					     "2",
					     "\"mem_size_mib\"",
					     "64",
					     "\"kernel_image_path\"",
					     "\"/dev/null\"",
					     "\"action_type\"",
					     "\"InstanceStart\"",
					     "\n",
					     "\"iface_id\":\"n\"",
					     "\"host_dev_name\":\"t\"",
					     "\"state\":\"Paused\"",
					     "null",
					     "true",
					     "\xff",
					     "{\"vcpu_count\":1,\"mem_size_mib\":99}",
					     "{\"kernel_image_path\":\"/dev/null\"}" };
	char data[400];

	(void)state;
	srand(7);
	for (int round = 0; round < 3000; round++) {
		size_t n = 0;

		while (n + 60 < sizeof(data) && rand() % 32) {
			const char *word = words[(size_t)rand() % COUNT(words)];

			memcpy(data + n, word, strlen(word));
			n += strlen(word);
		}
		LLVMFuzzerTestOneInput((const uint8_t *)data, n);
	}
}

static const struct CMUnitTest tests[] = {
	TEST("GET tells the instance, the version and the configuration", questions),
	TEST("what is no request is refused in Firecracker's words", no_requests),
	TEST("what mayfly does not have is refused with one sentence", absent_things),
	TEST("what is no JSON is refused with its place", bad_json),
	TEST("JSON that is too deep is refused", deep_json),
	TEST("JSON with too many values is refused", large_json),
	TEST("JSON with too much text is refused, and not for another reason", long_text),
	TEST("machine-config: fields, ranges, PUT and PATCH", machines),
	TEST("a CPU template is deprecated", templates),
	TEST("boot-source: files are opened at once, the command line is bounded", boot_sources),
	TEST("drives: fields, one root, files opened at once", drives),
	TEST("the root disk is named by its UUID where it has one", root_by_uuid),
	TEST("network interfaces: fields, MAC addresses, taps", networks),
	TEST("a tap is opened by its PUT, and closed when it is replaced or started", taps_by_name),
	TEST("a tap can come as a descriptor", taps_by_descriptor),
	TEST("a request that is refused leaves no file open", refused_files),
	TEST("what a request names is opened with it, and by the name no more",
	     files_at_their_request),
	TEST("the monitor's own descriptors are nobody's files", own_descriptors),
	TEST("files can come as descriptors, and stay open no longer than they must",
	     files_by_descriptor),
	TEST("what was given and never started is closed", never_started),
	TEST("a guest that has ended: GET / says why, and nothing changes any more", ended),
	TEST("a guest that ends while it is paused", ended_in_pause),
	TEST("there is room for 19 devices", devices_are_few),
	TEST("PATCH of a device gives the monitor what changed and nothing else", updates),
	TEST("without such devices a PATCH is refused", updates_without_devices),
	TEST("serial: a file, or standard output", serial_ports),
	TEST("serial: FIFOs, and files that hold something", serial_files),
	TEST("logger: level, form and file", loggers),
	TEST("what is allowed when, and a start that fails", states),
	TEST("a config file starts at once, or says why not", config_files),
	TEST("an answer that does not fit is refused", large_answers),
	TEST("random requests", random_requests),
};

int main(void)
{
	return cmocka_run_group_tests_name("api", tests, make_dir, remove_dir);
}
