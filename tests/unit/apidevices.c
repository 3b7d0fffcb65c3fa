// SPDX-License-Identifier: Apache-2.0
/*
 * The API's devices: drives, network interfaces and the serial port, by every field's rules, and
 * what of them changes while the guest runs. The files that they name: apifiles.c.
 */
#include "monitor.h"

static const struct api_ops ops_without_devices = { note_start, note_tap_open, note_tap_check,
						    note_pause, note_resume,   NULL,
						    NULL,	NULL,	       note_count,
						    NULL };

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
			     "{\"ops\":{\"size\":9007199254740991,\"refill_time\":7,\"x\":1.5}}"),
		  NULL },
		{ DRIVE("root", "true",
			DISK ",\"rate_limiter\":{\"ops\":{\"x\":1.5,\"size\":7.0}}"),
		  SERDE "invalid value for `size`, expected a whole number of at most 53 bits at "
			"line 1 column 103." },
	};

	(void)state;
	all(rows, COUNT(rows));
	assert_int_equal(ask("GET /vm/config"), 200);
	assert_non_null(strstr(
		body,
		"\"drives\":[{\"drive_id\":\"root\",\"partuuid\":null," /* as the guest sees them */
		"\"is_root_device\":true,\"cache_type\":\"Writeback\",\"is_read_only\":false,"
		"\"path_on_host\":\"disk\",\"rate_limiter\":{\"bandwidth\":null,\"ops\":{"
		"\"size\":9007199254740991,\"one_time_burst\":null,\"refill_time\":7}},"
		"\"io_engine\":\"Sync\",\"socket\":null},{\"drive_id\":\"data\",\"partuuid\":null,"
		"\"is_root_device\":false,\"cache_type\":\"Unsafe\",\"is_read_only\":false,"
		"\"path_on_host\":\"disk\",\"rate_limiter\":null,\"io_engine\":\"Sync\","
		"\"socket\":null}]"));
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
	done(DRIVE("data", "false", DISK ",\"partuuid\":\"0eaa91a0-02\"")); /* without effect */
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

static const struct CMUnitTest tests[] = {
	TEST("drives: fields, one root, which comes first, files opened at once", drives),
	TEST("the root disk is named by its UUID where it has one", root_by_uuid),
	TEST("network interfaces: fields, MAC addresses, taps", networks),
	TEST("there is room for 19 devices", devices_are_few),
	TEST("PATCH of a device gives the monitor what changed and nothing else", updates),
	TEST("without such devices a PATCH is refused", updates_without_devices),
	TEST("serial: a file, or standard output", serial_ports),
};

int main(void)
{
	return cmocka_run_group_tests_name("apidevices", tests, make_dir, remove_dir);
}
