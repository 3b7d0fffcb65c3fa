// SPDX-License-Identifier: Apache-2.0
/* The tables of bodies.h: one row per field, in the order in which it is written. */
#include "bodies.h"

#include <stddef.h>
#include <strings.h>

#define AT(s, m)   .at = offsetof(struct s, m)
#define FLAG(s, m) .flag = offsetof(struct s, m)
#define NO_FLAG	   .flag = JSON_NO_FLAG
#define BODY(rows) .fields = (rows), .nr = sizeof(rows) / sizeof((rows)[0])

/* A string that fits where it goes, and is not empty. */
#define TEXT(s, m)                                                                           \
	.type = JSON_STRING, AT(s, m), NO_FLAG, .min = 1, .max = sizeof(((struct s *)0)->m), \
	.expected = "a string"
#define SWITCH(s, m) .type = JSON_BOOL, AT(s, m), NO_FLAG, .expected = "a boolean"

static const char *const huge_pages[] = { "None", "Transparent", "2M", NULL };
static const char *const cpu_templates[] = {
	"None", "C3", "T2", "T2S", "T2CL", "T2A", "V1N1", NULL
};
static const char *const cache_types[] = { "Unsafe", "Writeback", NULL };
static const char *const io_engines[] = { "Sync", "Async", NULL };
static const char *const levels[] = { "Off",  "Trace",	 "Debug", "Info",
				      "Warn", "Warning", "Error", NULL };
static const char *const actions[] = { "InstanceStart", "FlushMetrics", "SendCtrlAltDel", NULL };
static const char *const vm_states[] = { "Paused", "Resumed", NULL };

/* Firecracker takes unknown fields here, and only here. */
static const struct json_field bucket_fields[] = {
	{ "size", JSON_UINT, .is_required = true, AT(bucket_body, size), NO_FLAG,
	  .max = JSON_UINT_MAX, .expected = "u64" },
	{ "one_time_burst", JSON_UINT, AT(bucket_body, one_time_burst),
	  FLAG(bucket_body, has_burst), .max = JSON_UINT_MAX, .expected = "u64" },
	{ "refill_time", JSON_UINT, .is_required = true, AT(bucket_body, refill_time), NO_FLAG,
	  .max = JSON_UINT_MAX, .expected = "u64" },
};
static const struct json_body bucket = { BODY(bucket_fields), .is_lenient = true };

static const struct json_field limiter_fields[] = {
	{ "bandwidth", JSON_OBJECT, AT(limiter_body, bandwidth),
	  FLAG(limiter_body, bandwidth.is_set), .object = &bucket },
	{ "ops", JSON_OBJECT, AT(limiter_body, ops), FLAG(limiter_body, ops.is_set),
	  .object = &bucket },
};
static const struct json_body limiter = { BODY(limiter_fields) };

#define LIMITER(s, m, set) .type = JSON_OBJECT, AT(s, m), FLAG(s, set), .object = &limiter

static const struct json_field machine_fields[] = {
	{ "vcpu_count", JSON_UINT, .is_required = true, AT(machine_body, vcpu_count),
	  FLAG(machine_body, has_vcpus), .max = UINT8_MAX, .expected = "u8" },
	{ "mem_size_mib", JSON_UINT, .is_required = true, AT(machine_body, mem_size_mib),
	  FLAG(machine_body, has_mem), .max = JSON_UINT_MAX, .expected = "usize" },
	{ "smt", JSON_BOOL, AT(machine_body, smt), FLAG(machine_body, has_smt),
	  .expected = "a boolean" },
	{ "cpu_template", JSON_ENUM, .is_hidden = true, AT(machine_body, cpu_template),
	  FLAG(machine_body, has_template), .names = cpu_templates, .expected = "a string" },
	{ "track_dirty_pages", JSON_BOOL, AT(machine_body, track_dirty_pages),
	  FLAG(machine_body, has_dirty), .expected = "a boolean" },
	{ "huge_pages", JSON_ENUM, AT(machine_body, huge_pages), FLAG(machine_body, has_huge),
	  .names = huge_pages, .expected = "a string" },
};
const struct json_body machine_put = { BODY(machine_fields) };
const struct json_body machine_patch = { BODY(machine_fields), .is_partial = true };

static const struct json_field boot_fields[] = {
	{ "kernel_image_path", .is_required = true, TEXT(boot_body, kernel_image_path) },
	{ "initrd_path", TEXT(boot_body, initrd_path) },
	{ "boot_args", JSON_STRING, AT(boot_body, boot_args), FLAG(boot_body, has_args),
	  .max = API_PATH_MAX, .expected = "a string" },
};
const struct json_body boot_put = { BODY(boot_fields) };

static const struct json_field drive_fields[] = {
	{ "drive_id", .is_required = true, TEXT(drive_body, drive_id) },
	{ "partuuid", TEXT(drive_body, partuuid) },
	{ "is_root_device", .is_required = true, SWITCH(drive_body, is_root_device) },
	{ "cache_type", JSON_ENUM, AT(drive_body, cache_type), NO_FLAG, .names = cache_types,
	  .expected = "a string" },
	{ "is_read_only", SWITCH(drive_body, is_read_only) },
	{ "path_on_host", TEXT(drive_body, path_on_host) },
	{ "rate_limiter", LIMITER(drive_body, rate_limiter, rate_limiter.is_set) },
	{ "io_engine", JSON_ENUM, AT(drive_body, io_engine), NO_FLAG, .names = io_engines,
	  .expected = "a string" },
	{ "socket", TEXT(drive_body, socket) },
};
const struct json_body drive_put = { BODY(drive_fields) };

static const struct json_field drive_patch_fields[] = {
	{ "drive_id", .is_required = true, TEXT(drive_patch_body, drive_id) },
	{ "path_on_host", TEXT(drive_patch_body, path_on_host) },
	{ "rate_limiter", LIMITER(drive_patch_body, rate_limiter, rate_limiter.is_set) },
};
const struct json_body drive_patch = { BODY(drive_patch_fields) };

static const struct json_field net_fields[] = {
	{ "iface_id", .is_required = true, TEXT(net_body, iface_id) },
	{ "host_dev_name", .is_required = true, TEXT(net_body, host_dev_name) },
	{ "guest_mac", TEXT(net_body, guest_mac) },
	{ "mtu", JSON_UINT, AT(net_body, mtu), FLAG(net_body, has_mtu), .min = 68, .max = 65535,
	  .expected = "a number from 68 to 65535" },
	{ "rx_rate_limiter", LIMITER(net_body, rx_rate_limiter, rx_rate_limiter.is_set) },
	{ "tx_rate_limiter", LIMITER(net_body, tx_rate_limiter, tx_rate_limiter.is_set) },
};
const struct json_body net_put = { BODY(net_fields) };

static const struct json_field net_patch_fields[] = {
	{ "iface_id", .is_required = true, TEXT(net_patch_body, iface_id) },
	{ "rx_rate_limiter", LIMITER(net_patch_body, rx_rate_limiter, rx_rate_limiter.is_set) },
	{ "tx_rate_limiter", LIMITER(net_patch_body, tx_rate_limiter, tx_rate_limiter.is_set) },
};
const struct json_body net_patch = { BODY(net_patch_fields) };

static const struct json_field serial_fields[] = {
	{ "serial_out_path", TEXT(serial_body, serial_out_path) },
	{ "rate_limiter", JSON_OBJECT, .is_hidden = true, AT(serial_body, rate_limiter),
	  FLAG(serial_body, rate_limiter.is_set), .object = &bucket },
};
const struct json_body serial_put = { BODY(serial_fields) };

static const struct json_field logger_fields[] = {
	{ "log_path", TEXT(logger_body, log_path) },
	{ "level", JSON_ENUM, .is_any_case = true, AT(logger_body, level),
	  FLAG(logger_body, has_level), .names = levels, .expected = "a string" },
	{ "show_level", SWITCH(logger_body, show_level) },
	{ "show_log_origin", SWITCH(logger_body, show_log_origin) },
	{ "module", TEXT(logger_body, module) },
};
const struct json_body logger_put = { BODY(logger_fields) };

static const struct json_field metrics_fields[] = {
	{ "metrics_path", .is_required = true, TEXT(metrics_body, metrics_path) },
	{ "emit_id", SWITCH(metrics_body, emit_id) },
	{ "properties", JSON_MAP, AT(metrics_body, properties), FLAG(metrics_body, has_properties),
	  .max = 1024, .expected = "strings" },
};
const struct json_body metrics_put = { BODY(metrics_fields) };

static const struct json_field action_fields[] = {
	{ "action_type", JSON_ENUM, .is_required = true, AT(action_body, action_type), NO_FLAG,
	  .names = actions, .expected = "a string" },
};
const struct json_body action_put = { BODY(action_fields) };

static const struct json_field vm_fields[] = {
	{ "state", JSON_ENUM, .is_required = true, AT(vm_body, state), NO_FLAG, .names = vm_states,
	  .expected = "a string" },
};
const struct json_body vm_patch = { BODY(vm_fields) };

static const char *const snapshot_types[] = { "Full", "Diff", NULL };
static const struct json_field snapshot_create_fields[] = {
	{ "snapshot_path", .is_required = true, TEXT(snapshot_create_body, snapshot_path) },
	{ "mem_file_path", .is_required = true, TEXT(snapshot_create_body, mem_file_path) },
	{ "snapshot_type", JSON_ENUM, AT(snapshot_create_body, snapshot_type), NO_FLAG,
	  .names = snapshot_types, .expected = "a string" },
};
const struct json_body snapshot_create_put = { BODY(snapshot_create_fields) };

static const char *const backends[] = { "File", "Uffd", NULL };
static const struct json_field backend_fields[] = {
	{ "backend_type", JSON_ENUM, .is_required = true, AT(mem_backend_body, backend_type),
	  NO_FLAG, .names = backends, .expected = "a string" },
	{ "backend_path", .is_required = true, TEXT(mem_backend_body, backend_path) },
};
static const struct json_body backend = { BODY(backend_fields) };

static const char *const snapshot_huge[] = { "Snapshot", "None", NULL };
static const struct json_field snapshot_load_fields[] = {
	{ "snapshot_path", .is_required = true, TEXT(snapshot_load_body, snapshot_path) },
	{ "mem_backend", JSON_OBJECT, AT(snapshot_load_body, mem_backend),
	  FLAG(snapshot_load_body, has_backend), .object = &backend },
	{ "mem_file_path", TEXT(snapshot_load_body, mem_file_path) },
	{ "track_dirty_pages", SWITCH(snapshot_load_body, track_dirty_pages) },
	{ "enable_diff_snapshots", JSON_BOOL, AT(snapshot_load_body, enable_diff_snapshots),
	  FLAG(snapshot_load_body, is_deprecated), .expected = "a boolean" },
	{ "resume_vm", SWITCH(snapshot_load_body, resume_vm) },
	{ "network_overrides", JSON_LIST, AT(snapshot_load_body, network_overrides), NO_FLAG,
	  .expected = "a sequence" },
	{ "drive_overrides", JSON_LIST, AT(snapshot_load_body, drive_overrides), NO_FLAG,
	  .expected = "a sequence" },
	{ "huge_pages", JSON_ENUM, AT(snapshot_load_body, huge_pages), NO_FLAG,
	  .names = snapshot_huge, .expected = "a string" },
	{ "clock_realtime", SWITCH(snapshot_load_body, clock_realtime) },
};
const struct json_body snapshot_load_put = { BODY(snapshot_load_fields) };

static const struct json_field net_override_fields[] = {
	{ "iface_id", .is_required = true, TEXT(net_override_body, iface_id) },
	{ "host_dev_name", .is_required = true, TEXT(net_override_body, host_dev_name) },
};
const struct json_body net_override = { BODY(net_override_fields) };

static const struct json_field drive_override_fields[] = {
	{ "drive_id", .is_required = true, TEXT(drive_override_body, drive_id) },
	{ "path_on_host", .is_required = true, TEXT(drive_override_body, path_on_host) },
};
const struct json_body drive_override = { BODY(drive_override_fields) };

bool logger_level(const char *name, unsigned *level)
{
	for (*level = 0; levels[*level]; ++*level)
		if (!strcasecmp(levels[*level], name))
			return true;
	return false;
}
