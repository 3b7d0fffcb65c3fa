// SPDX-License-Identifier: Apache-2.0
/*
 * The API's machine-config and boot-source by the wire contract's tables: fields, ranges, PUT and
 * PATCH.
 */
#include "monitor.h"

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
	assert_null(strstr(body, "cpu_template"));
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

/* What is init's stays behind "--"; what does not boot is left out, and said so. */
static void boot_words(void **state)
{
#define ROOT "pci=off root=/dev/vda rw"
	static const struct {
		const char *args, *cmdline, *said;
	} rows[] = {
		{ "", ROOT, "" },
		{ "quiet", "quiet " ROOT, "" },
		{ "quiet -- single -x", "quiet " ROOT " -- single -x", "" },
		{ "quiet --", "quiet " ROOT " --", "" },
		{ "-- a -- b", ROOT " -- a -- b", "" },
		{ "a--b --c -- d", "a--b --c " ROOT " -- d", "" },
		{ "x=\\\"a -- b\\\" y -- z", "x=\"a -- b\" y " ROOT " -- z", "" },
		{ "ro  noapic reboot=k acpi=off", "ro reboot=k " ROOT,
		  "mayfly: boot_args: noapic is left out: there is no other interrupt "
		  "controller\n"
		  "mayfly: boot_args: acpi=off is left out: devices are described by ACPI "
		  "only\n" },
		{ "noapics acpi=offs \\\"x noapic\\\" -- noapic",
		  "noapics acpi=offs \"x noapic\" " ROOT " -- noapic", "" },
	};
	char line[200], said[400];

	for (size_t i = 0; i < COUNT(rows); i++) {
		ssize_t n;

		fresh(state);
		done("PUT /logger {\"log_path\":\"log\",\"level\":\"Warn\"}");
		snprintf(line, sizeof(line),
			 "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"%s\"}",
			 rows[i].args);
		done(line);
		done("PUT /drives/r {\"drive_id\":\"r\",\"is_root_device\":true,"
		     "\"path_on_host\":\"disk\"}");
		done("PUT /actions {\"action_type\":\"InstanceStart\"}");
		assert_string_equal(config.cmdline, rows[i].cmdline);
		assert_int_equal(ask("GET /vm/config"), 200);
		snprintf(line, sizeof(line), "\"boot_args\":\"%s\"", rows[i].args);
		assert_non_null(strstr(body, line));
		n = pread(api.log.fd, said, sizeof(said) - 1, 0);
		assert_true(n >= 0);
		said[n] = '\0';
		assert_string_equal(said, rows[i].said);
	}
}

static const struct CMUnitTest tests[] = {
	TEST("machine-config: fields, ranges, PUT and PATCH", machines),
	TEST("a CPU template is deprecated", templates),
	TEST("boot-source: files are opened at once, the command line is bounded", boot_sources),
	TEST("boot_args: mayfly's words are the kernel's, and some are left out", boot_words),
};

int main(void)
{
	return cmocka_run_group_tests_name("apimachine", tests, make_dir, remove_dir);
}
