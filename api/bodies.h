/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients send and get, as structures, and the tables by which json.c reads and writes them:
 * names, types and ranges are the wire contract's.
 */
#ifndef API_BODIES_H
#define API_BODIES_H

#include "json.h"

#define API_PATH_MAX 4096u
#define API_ID_MAX   65u

/*
 * What a request names is opened with it, and held until the start: the members `..._fd`, 0: none.
 */

struct bucket_body {
	bool is_set, has_burst;
	uint64_t size, one_time_burst, refill_time;
};

struct limiter_body {
	bool is_set;
	struct bucket_body bandwidth, ops;
};

enum huge_pages { HUGE_NONE, HUGE_TRANSPARENT, HUGE_2M };
enum cpu_template { TEMPLATE_NONE }; /* the others mayfly does not have */

struct machine_body {
	bool has_vcpus, has_mem, has_smt, has_dirty, has_huge, has_template;
	uint64_t vcpu_count, mem_size_mib;
	bool smt, track_dirty_pages;
	unsigned huge_pages, cpu_template;
};

struct boot_body {
	bool has_args;
	int kernel_fd, initrd_fd;
	char kernel_image_path[API_PATH_MAX], initrd_path[API_PATH_MAX], boot_args[API_PATH_MAX];
};

enum cache_type { CACHE_UNSAFE, CACHE_WRITEBACK };

struct drive_body {
	char drive_id[API_ID_MAX], partuuid[64], path_on_host[API_PATH_MAX], socket[108];
	bool is_root_device, is_read_only;
	unsigned cache_type, io_engine;
	struct limiter_body rate_limiter;
	int image_fd;
};

struct drive_patch_body {
	char drive_id[API_ID_MAX], path_on_host[API_PATH_MAX];
	struct limiter_body rate_limiter;
};

struct net_body {
	char iface_id[API_ID_MAX], host_dev_name[16], guest_mac[18];
	bool has_mtu;
	uint64_t mtu;
	int tap_fd;
	struct limiter_body rx_rate_limiter, tx_rate_limiter;
};

struct net_patch_body {
	char iface_id[API_ID_MAX];
	struct limiter_body rx_rate_limiter, tx_rate_limiter;
};

struct serial_body {
	char serial_out_path[API_PATH_MAX];
	struct bucket_body rate_limiter;
	int out_fd;
};

struct logger_body {
	bool has_level, show_level, show_log_origin;
	unsigned level; /* index into Off, Trace, Debug, Info, Warn, Warning, Error */
	char module[128], log_path[API_PATH_MAX];
};

struct metrics_body {
	char metrics_path[API_PATH_MAX], properties[1024];
	bool emit_id, has_properties;
};

enum action_type { ACTION_START, ACTION_FLUSH_METRICS, ACTION_CTRL_ALT_DEL };
struct action_body {
	unsigned action_type;
};

enum vm_state { VM_PAUSED, VM_RESUMED };
struct vm_body {
	unsigned state;
};

enum snapshot_type { SNAPSHOT_FULL, SNAPSHOT_DIFF };
struct snapshot_create_body {
	char snapshot_path[API_PATH_MAX], mem_file_path[API_PATH_MAX];
	unsigned snapshot_type;
};

enum mem_backend { BACKEND_FILE, BACKEND_UFFD };
struct mem_backend_body {
	unsigned backend_type;
	char backend_path[API_PATH_MAX];
};

enum snapshot_huge { SNAPSHOT_HUGE_AS_TAKEN, SNAPSHOT_HUGE_NONE };
struct snapshot_load_body {
	char snapshot_path[API_PATH_MAX], mem_file_path[API_PATH_MAX];
	struct mem_backend_body mem_backend;
	bool has_backend, is_deprecated;
	bool enable_diff_snapshots, track_dirty_pages, resume_vm, clock_realtime;
	unsigned huge_pages;
	const cJSON *network_overrides, *drive_overrides; /* of these: */
};

struct net_override_body {
	char iface_id[API_ID_MAX], host_dev_name[16];
};
struct drive_override_body {
	char drive_id[API_ID_MAX], path_on_host[API_PATH_MAX];
};

/* "Info" -> its place in logger_body's `level`; any case. False where there is none. */
bool logger_level(const char *name, unsigned *level);

extern const struct json_body machine_put, machine_patch, boot_put, drive_put, drive_patch, net_put,
	net_patch, serial_put, logger_put, metrics_put, action_put, vm_patch, snapshot_create_put,
	snapshot_load_put, net_override, drive_override;

#endif
