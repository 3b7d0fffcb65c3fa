// SPDX-License-Identifier: Apache-2.0
/*
 * The API behind HTTP by the wire contract's tables, with a monitor that only notes what it was
 * told: every request, what is no request and no JSON, every state, config files, the log. The
 * fields of what is configured: apimachine.c, apidevices.c; the files that requests name:
 * apifiles.c.
 */
#include "monitor.h"

#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
		{ "DELETE /drives/a", UNTIL },
	};

	(void)state;
	all(rows, COUNT(rows));
	start_it();
	refused("DELETE /drives/a", "PCI is not enabled");
	refused("DELETE /network-interfaces/a", "PCI is not enabled");
}

#define LONG  "1234567890123456789012345678901234567890123456789012345678901234"
#define WHOLE "expected a whole number of at most 53 bits"

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
		{ "PUT /actions \"\\u00g0\"", SERDE "invalid escape at line 1 column 6." },
		{ "PUT /actions \"\\u00G0\"", SERDE "invalid escape at line 1 column 6." },
		{ "PUT /actions {\"\\u00afA\":1}", SERDE "unknown field `\xc2\xaf"
							 "A`, expected `action_type`." },
		{ "PUT /actions {\"\\u00AFA\":1}", SERDE "unknown field `\xc2\xaf"
							 "A`, expected `action_type`." },
		{ "PUT /actions \"\\ud800\"", SERDE "invalid unicode code point." },
		{ "PUT /actions \"\xff\"", SERDE "invalid unicode code point." },
		{ "PUT /actions {\"a\":tru}", SERDE "expected ident at line 1 column 6." },
		{ "PUT /actions {\"a\":-}", SERDE "invalid number at line 1 column 7." },
		{ "PUT /actions {\"a\":01}", SERDE "invalid number at line 1 column 8." },
		{ "PUT /actions {\"a\":1.}", SERDE "invalid number at line 1 column 8." },
		{ "PUT /actions {\"a\":1.e1}", SERDE "invalid number at line 1 column 8." },
		{ "PUT /actions {\"a\":1e+}", SERDE "invalid number at line 1 column 9." },
		{ "PUT /actions {\"a\":0." LONG "}",
		  SERDE "number out of range at line 1 column 72." },
		{ "PUT /actions {\"action_type\":1.0}",
		  SERDE "invalid value for `action_type`, " WHOLE " at line 1 column 17." },
		{ "PUT /actions {\"action_type\":1e0}",
		  SERDE "invalid value for `action_type`, " WHOLE " at line 1 column 17." },
		{ "PUT /actions {\n\"action_type\":9007199254740992}",
		  SERDE "invalid value for `action_type`, " WHOLE " at line 2 column 31." },
		{ "PUT /actions {\"a\":1.5}", SERDE "unknown field `a`, expected `action_type`." },
		{ "PUT /actions 1.5", SERDE "invalid type: number, expected an object." },
		{ "PUT /actions []", SERDE "invalid type: sequence, expected an object." },
		{ "PUT /actions null", SERDE "invalid type: null, expected an object." },
		{ "PUT /actions { \"x\"\t: 1 , \"y\":2\n}",
		  SERDE "unknown field `x`, expected `action_type`." },
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
	strcpy(line + start, "[");
	for (unsigned i = 0; i <= JSON_DEPTH; i++)
		strcat(line, i ? ",{}" : "{}");
	strcat(line, "]"); /* beside each other they are not deep */
	refused(line, SERDE "invalid type: sequence, expected an object.");
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
	for (size_t at = 100000; at < sizeof(line) - 20; at += 100000)
		memcpy(line + at, "\",\"a\":\"", 7);
	refused(line, SERDE "more text than mayfly takes."); /* neither do its parts together */
	refused("PUT /actions \"\\ud800\"", SERDE "invalid unicode code point.");
	assert_int_equal(ask("GET /version"), 200);
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
		"\"pmem\":[],\"serial\":{\"serial_out_path\":\"out\"},"
		"\"other\":[17,-0.5e-3,1E999,{\"a\":18446744073709551615}]}";
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
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\"},\"drives\":[],\"other\":1.5,"
		"\"machine-config\":{\"vcpu_count\":1.0,\"mem_size_mib\":64}}",
	};
	const int fd = open("kernel", O_RDONLY);
	char text[128];

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		make_api(&ops);
		assert_int_equal(api_config_file(&api, bad[i], strlen(bad[i])), -EINVAL);
		assert_int_equal(seen.starts, 0);
	}
	make_api(&ops);
	/* The operator's own file may name what the operator gave. */
	snprintf(text, sizeof(text),
		 "{\"boot-source\":{\"kernel_image_path\":\"/proc/self/fd/%d\"},\"drives\":[]}",
		 fd);
	assert_true(fd >= 0);
	assert_int_equal(api_config_file(&api, text, strlen(text)), 0);
	close(fd);
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

#define FILE_WITH(disk, net)                                                      \
	"{\"boot-source\":{\"kernel_image_path\":\"kernel\"},"                    \
	"\"drives\":[{\"drive_id\":\"" disk "\",\"is_root_device\":false" DISK    \
	"}],\"network-interfaces\":[{\"iface_id\":\"" net "\",\"host_dev_name\":" \
	"\"t\"}],\"metrics\":{\"metrics_path\":\"m\"}}"

/* Shown as they are everywhere; but no request can name such a one. */
static void file_ids(void **state)
{
	static const char good[] = FILE_WITH("/nix/store/a-b.img", "vm-{#}");
	static const char longest[] = FILE_WITH(LONG, "n");
	static const char *const bad[] = {
		FILE_WITH("", "n"),	  FILE_WITH("a b", "n"),     FILE_WITH("a\\\"b", "n"),
		FILE_WITH("a\\\\b", "n"), FILE_WITH("\\u007f", "n"), FILE_WITH("\xc3\xa9", "n"),
		FILE_WITH("a", "n\\t"),	  FILE_WITH("a", ""),	     FILE_WITH(LONG "5", "n"),
	};
	char line[16384] = "";
	FILE *file;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		make_api(&ops);
		assert_int_equal(api_config_file(&api, bad[i], strlen(bad[i])), -EINVAL);
		assert_int_equal(seen.starts, 0);
	}
	make_api(&ops);
	assert_int_equal(api_config_file(&api, longest, strlen(longest)), 0);
	make_api(&ops);
	assert_int_equal(api_config_file(&api, good, strlen(good)), 0);
	assert_int_equal(ask("GET /vm/config"), 200);
	assert_non_null(strstr(body, "\"drive_id\":\"/nix/store/a-b.img\""));
	assert_non_null(strstr(body, "\"iface_id\":\"vm-{#}\""));
	assert_int_equal(ask("GET /metrics"), 200);
	assert_non_null(strstr(body, "_read_bytes{id=\"/nix/store/a-b.img\"} "));
	assert_non_null(strstr(body, "_tx_fails{id=\"vm-{#}\"} "));
	done("PUT /actions {\"action_type\":\"FlushMetrics\"}");
	file = fopen("m", "r");
	while (fgets(line, sizeof(line), file))
		;
	fclose(file);
	assert_non_null(strstr(line, "\"block_/nix/store/a-b.img\":{"));
	assert_non_null(strstr(line, "\"net_vm-{#}\":{"));
	refused("PATCH /network-interfaces/vm-{#} {\"iface_id\":\"vm-{#}\"}",
		"API Resource IDs can only contain alphanumeric characters and underscores.");
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
	TEST("a guest that has ended: GET / says why, and nothing changes any more", ended),
	TEST("a guest that ends while it is paused", ended_in_pause),
	TEST("logger: level, form and file", loggers),
	TEST("what is allowed when, and a start that fails", states),
	TEST("a config file starts at once, or says why not", config_files),
	TEST("ids of a config file may hold what those of a path may not", file_ids),
	TEST("an answer that does not fit is refused", large_answers),
	TEST("random requests", random_requests),
};

int main(void)
{
	return cmocka_run_group_tests_name("api", tests, make_dir, remove_dir);
}
