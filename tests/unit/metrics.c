// SPDX-License-Identifier: Apache-2.0
/*
 * The API's metrics, in lines and for Prometheus: what they count, of a monitor that says what it
 * counted itself.
 */
#include "monitor.h"

#include <sys/stat.h>

static void metrics(void **state)
{
	char line[8192] = "";
	FILE *file;

	(void)state;
	refused("PUT /metrics {}", SERDE "missing field `metrics_path` at line 1 column 2.");
	refused("PUT /metrics {\"metrics_path\":\"no/where\"}",
		"Metrics error: no/where: No such file or directory (os error 2)");
	refused("PUT /metrics {\"metrics_path\":\"m\",\"properties\":{\"a\":1}}",
		SERDE "invalid type: integer `1`, expected strings for `properties`.");
	refused("PUT /metrics {\"metrics_path\":\"m\",\"properties\":{\"a\":\"1\",\"a\":\"2\"}}",
		SERDE "duplicate field `a`.");
	done("PUT /metrics {\"metrics_path\":\"m\",\"emit_id\":true,\"properties\":{\"a\":\"b\"}}");
	refused("PUT /metrics {\"metrics_path\":\"m\"}",
		"Metrics error: Reinitialization of metrics not allowed.");
	refused("PUT /actions {\"action_type\":\"FlushMetrics\"}", UNTIL);
	start_it();
	done("PUT /actions {\"action_type\":\"FlushMetrics\"}");
	file = fopen("m", "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_non_null(
		strstr(line, ",\"id\":\"unit\",\"properties\":{\"a\":\"b\"},\"api_server\":{"));
	assert_non_null(strstr(line, "\"metrics_count\":6,\"metrics_fails\":5,"));
	assert_non_null(strstr(line, "\"exit_io_out\":7,"));
	assert_non_null(strstr(line, "\"actions_count\":2,\"actions_fails\":1,"));
	assert_non_null(strstr(line, "\"exit_io_out_agg\":{\"min_us\":1,\"max_us\":2000,"
				     "\"sum_us\":2011},"));
	assert_non_null(fgets(line, sizeof(line), file));
	assert_non_null(strstr(line, "\"exit_io_out\":0,"));
	assert_non_null(strstr(line, "\"exit_io_out_agg\":{\"min_us\":1,\"max_us\":2000,"
				     "\"sum_us\":0},"));
	assert_non_null(strstr(line, "\"actions_count\":1,\"actions_fails\":0,"));
	assert_null(fgets(line, sizeof(line), file));
	fclose(file);
	assert_int_equal(ask("GET /metrics"), 200);
	assert_string_equal(reply.head.type, "text/plain; version=0.0.4");
	assert_non_null(strstr(body, "# TYPE mayfly_vcpu_exit_io_out counter\n"
				     "mayfly_vcpu_exit_io_out 7\n"));
	assert_non_null(
		strstr(body, "mayfly_vcpu_exit_microseconds_bucket{kind=\"io_out\",le=\"1\"} 2\n"
			     "mayfly_vcpu_exit_microseconds_bucket{kind=\"io_out\",le=\"2\"} 5\n"));
	assert_non_null(
		strstr(body, "mayfly_vcpu_exit_microseconds_bucket{kind=\"io_out\",le=\"1024\"} 6\n"
			     "mayfly_vcpu_exit_microseconds_bucket{kind=\"io_out\",le=\"+Inf\"} 7\n"
			     "mayfly_vcpu_exit_microseconds_sum{kind=\"io_out\"} 2011\n"
			     "mayfly_vcpu_exit_microseconds_count{kind=\"io_out\"} 7\n"));
	assert_non_null(strstr(body, "mayfly_put_api_requests_actions_count 3\n"));
}

/* A pipe that is full loses the line, and the next one says so; what it counts is not lost. */
static void full_metrics(void **state)
{
	static char line[65536];
	int pipe_fd;

	(void)state;
	assert_int_equal(mkfifo("fifo", 0600), 0);
	pipe_fd = open("fifo", O_RDWR | O_NONBLOCK);
	done("PUT /metrics {\"metrics_path\":\"fifo\"}");
	start_it();
	while (read(pipe_fd, line, sizeof(line)) > 0)
		;
	while (write(pipe_fd, line, 4096) > 0)
		;
	refused("PUT /actions {\"action_type\":\"FlushMetrics\"}",
		"Internal VMM error: the metrics could not be written.");
	while (read(pipe_fd, line, sizeof(line)) > 0)
		;
	done("PUT /actions {\"action_type\":\"FlushMetrics\"}");
	memset(line, 0, sizeof(line));
	assert_true(read(pipe_fd, line, sizeof(line) - 1) > 0);
	assert_non_null(strstr(line, "\"missed_metrics_count\":1,\"metrics_fails\":0,"));
	assert_non_null(strstr(line, "\"actions_count\":2,\"actions_fails\":1,"));
	assert_int_equal(line[strlen(line) - 1], '\n');
	/* Where there is room for a part of a line, the next one is a line all the same. */
	while (write(pipe_fd, line, 4096) > 0)
		;
	assert_int_equal(read(pipe_fd, line, 4096), 4096);
	refused("PUT /actions {\"action_type\":\"FlushMetrics\"}",
		"Internal VMM error: the metrics could not be written.");
	while (read(pipe_fd, line, sizeof(line)) > 0)
		;
	for (unsigned i = 0; i < 2; i++) {
		done("PUT /actions {\"action_type\":\"FlushMetrics\"}");
		memset(line, 0, sizeof(line));
		assert_true(read(pipe_fd, line, sizeof(line) - 1) > 0);
		assert_memory_equal(line, "\n{\"utc_timestamp_ms\":" + i, 20);
	}
	close(pipe_fd);
}

static void device_metrics(void **state)
{
	char line[16384] = "";
	FILE *file;

	(void)state;
	done("PUT /metrics {\"metrics_path\":\"m\"}");
	done(DRIVE("data", "false", DISK));
	done(DRIVE("root", "true", DISK));
	done(NET("n", ""));
	start_it();
	done("PUT /actions {\"action_type\":\"FlushMetrics\"}");
	file = fopen("m", "r");
	for (unsigned i = 0; i < 2; i++) { /* deltas, so both say the same */
		assert_non_null(fgets(line, sizeof(line), file));
		assert_non_null(
			strstr(line, "\"update_fails\":0,\"read_bytes\":4608,\"write_bytes\":0,"));
		assert_non_null(strstr(line, "\"block_root\":{\"activate_fails\":0,"));
		assert_non_null(strstr(strstr(line, "\"block_root\""), "\"read_bytes\":4096,"));
		assert_non_null(strstr(strstr(line, "\"block_data\""), "\"read_bytes\":512,"));
		assert_non_null(strstr(line, "\"net\":{\"activate_fails\":0,"));
		assert_non_null(strstr(strstr(line, "\"net_n\""),
				       "\"tx_remaining_reqs_count\":2,"
				       "\"tap_write_agg\":{\"min_us\":0,"));
	}
	ask("GET /metrics");
	assert_non_null(strstr(body, "# TYPE mayfly_block_read_bytes counter\n"
				     "mayfly_block_read_bytes{id=\"root\"} 12288\n"
				     "mayfly_block_read_bytes{id=\"data\"} 1536\n"));
	assert_non_null(strstr(body, "# TYPE mayfly_block_queue_depth gauge\n"
				     "mayfly_block_queue_depth{id=\"root\"} 0\n"
				     "mayfly_block_queue_depth{id=\"data\"} 31\n"));
	assert_non_null(strstr(body,
			       "mayfly_block_write_microseconds_bucket{id=\"data\",le=\"4\"} 1\n"
			       "mayfly_block_write_microseconds_bucket{id=\"data\",le=\"8\"} 2\n"));
	assert_non_null(strstr(body, "mayfly_block_write_microseconds_sum{id=\"data\"} 8\n"
				     "mayfly_block_write_microseconds_count{id=\"data\"} 2\n"));
	assert_non_null(strstr(body,
			       "# TYPE mayfly_net_tap_write_microseconds histogram\n"
			       "mayfly_net_tap_write_microseconds_bucket{id=\"n\",le=\"1\"} 0\n"));
	assert_non_null(strstr(strstr(line, "\"block_data\""),
			       "\"write_agg\":{\"min_us\":3,\"max_us\":5,\"sum_us\":0}}"));
	fclose(file);
}

static void one_idle_device(void **state)
{
	char line[16384] = "";
	FILE *file;

	(void)state;
	done("PUT /metrics {\"metrics_path\":\"m\"}");
	done(DRIVE("idle", "false", DISK));
	done(DRIVE("busy", "false", DISK));
	start_it();
	file = fopen("m", "r");
	assert_non_null(fgets(line, sizeof(line), file));
	fclose(file);
	assert_non_null(strstr(strstr(line, "\"block_idle\""), "\"write_agg\":{\"min_us\":0,"));
	strstr(line, "\"block_idle\"")[0] = '\0';
	assert_non_null(
		strstr(strstr(line, "\"block\":{"), "\"write_agg\":{\"min_us\":3,\"max_us\":5,"));
}

/* As many devices as there can be, with names as long as they can be: the line holds them. */
static void many_device_metrics(void **state)
{
	static char line[70000];
	FILE *file;

	(void)state;
	done("PUT /metrics {\"metrics_path\":\"m\"}");
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		snprintf(
			line, sizeof(line),
			"PUT /network-interfaces/%064u {\"iface_id\":\"%064u\",\"host_dev_name\":\"t%u\"}",
			i, i, i);
		done(line);
	}
	start_it();
	file = fopen("m", "r");
	assert_non_null(fgets(line, sizeof(line), file));
	assert_int_equal(line[strlen(line) - 1], '\n');
	snprintf(body, sizeof(body), "\"net_%064u\":{", DEVICES_MAX - 1);
	assert_non_null(strstr(line, body));
	assert_int_equal(ask("GET /metrics"), 200);
	fclose(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("metrics: deltas in lines, totals for Prometheus", metrics),
		TEST("metrics into a pipe that is full: a line is lost and counted", full_metrics),
		TEST("metrics of devices: each and the sum, deltas", device_metrics),
		TEST("metrics of devices: the shortest time of all is one that was taken",
		     one_idle_device),
		TEST("metrics of as many devices as there can be", many_device_metrics),
	};

	return cmocka_run_group_tests_name("metrics", tests, make_dir, remove_dir);
}
