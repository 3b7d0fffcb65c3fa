/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each request does. A PUT is read into a structure of its own, checked against everything,
 * and only then takes its place: a request that is refused changes nothing. What was given is kept
 * as it came, for GET /vm/config; start() makes a struct vm_config of it.
 */
#include "setup.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* "No such file or directory (os error 2)", as Rust says it. */
static const char *os_error(int err, char out[96])
{
	snprintf(out, 96, "%s (os error %d)", strerror(err), err);
	return out;
}

/* "fd:N" is descriptor N of those that came with the request: it, -1 for another path, or -EINVAL.
 */
static int take_fd(struct call *c, const char *path)
{
	const struct api_fds *fds = c->reply ? c->reply->fds : NULL;
	char *end;
	unsigned long n;

	if (strncmp(path, "fd:", 3) != 0)
		return -1;
	n = strtoul(path + 3, &end, 10);
	if (path[3] < '0' || path[3] > '9' || *end || !fds || n >= fds->nr)
		return call_refuse(c, "No descriptor came with the request for `%.32s`.", path);
	c->kept |= 1u << n;
	return fds->fd[n];
}

/* A path that may name such a descriptor: then it becomes one that opens the same file. */
static int take_path(struct call *c, char path[API_PATH_MAX])
{
	const int fd = take_fd(c, path);

	if (fd >= 0)
		snprintf(path, API_PATH_MAX, "/proc/self/fd/%d", fd);
	return fd == -EINVAL ? fd : 0;
}

/* What was asked for, as JSON. */

int get_instance(struct call *c)
{
	const struct api *api = c->api;

	c->answer = cJSON_CreateObject();
	cJSON_AddStringToObject(c->answer, "id", api->names.id);
	cJSON_AddStringToObject(c->answer, "state", api_state_name(api->state));
	cJSON_AddStringToObject(c->answer, "vmm_version", api->names.version);
	cJSON_AddStringToObject(c->answer, "app_name", api->names.app);
	return 0;
}

int get_version(struct call *c)
{
	c->answer = cJSON_CreateObject();
	cJSON_AddStringToObject(c->answer, "firecracker_version", c->api->names.version);
	return 0;
}

int get_machine(struct call *c)
{
	c->answer = json_write(&machine_put, &c->api->machine);
	c->is_deprecated = false;
	return c->answer ? 0 : call_refuse(c, "The answer is larger than mayfly can send.");
}

static bool add(cJSON *object, const char *name, cJSON *value)
{
	return cJSON_AddItemToObjectCS(object, name, value ? value : cJSON_CreateNull());
}

static cJSON *list_drives(const struct api *api)
{
	cJSON *list = cJSON_CreateArray();

	for (unsigned i = 0; i < api->nr_drives; i++)
		cJSON_AddItemToArray(list, json_write(&drive_put, &api->drives[i]));
	return list;
}

static cJSON *list_nets(const struct api *api)
{
	cJSON *list = cJSON_CreateArray();

	for (unsigned i = 0; i < api->nr_nets; i++)
		cJSON_AddItemToArray(list, json_write(&net_put, &api->nets[i]));
	return list;
}

int get_config(struct call *c)
{
	const struct api *api = c->api;
	cJSON *all = cJSON_CreateObject();
	bool ok = add(all, "balloon", NULL) && add(all, "drives", list_drives(api));

	ok &= add(all, "boot-source", api->has_boot ? json_write(&boot_put, &api->boot) : NULL);
	ok &= add(all, "cpu-config", NULL) && add(all, "logger", NULL);
	ok &= add(all, "machine-config", json_write(&machine_put, &api->machine));
	ok &= add(all, "metrics", NULL) && add(all, "memory-hotplug", NULL);
	ok &= add(all, "mmds-config", NULL);
	ok &= add(all, "network-interfaces", list_nets(api));
	ok &= add(all, "pmem", cJSON_CreateArray()) && add(all, "vsock", NULL);
	ok &= add(all, "entropy", NULL);
	if (api->has_serial)
		ok &= add(all, "serial", json_write(&serial_put, &api->serial));
	c->answer = all;
	return ok ? 0 : call_refuse(c, "The answer is larger than mayfly can send.");
}

int get_metrics(struct call *c)
{
	api_count(c->api);
	c->reply->head.type = "text/plain; version=0.0.4";
	c->reply->head.body_len = metrics_text(&c->api->counters, c->reply->body, c->reply->size);
	return c->reply->head.body_len
		       ? 0
		       : call_refuse(c, "The answer is larger than mayfly can send.");
}

int get_events(struct call *c)
{
	c->reply->head.type = "application/x-ndjson";
	c->reply->head.is_stream = c->reply->is_events = true;
	return 0;
}

/* The machine. */

#define BAD_CPUS                                                                             \
	"The number of vCPUs must be greater than 0, less than 32 and must be 1 or an even " \
	"number if SMT is enabled."
#define BAD_MEM "The memory size (MiB) is either 0, or not a multiple of the configured page size."

static int set_machine(struct call *c, const struct machine_body *m)
{
	if (m->cpu_template != TEMPLATE_NONE)
		return call_refuse(
			c, "Machine config error: mayfly has no CPU templates; a guest gets "
			   "what the hypervisor offers.");
	if (!config_cpus_is_ok(m->vcpu_count) || (m->smt && m->vcpu_count > 1 && m->vcpu_count % 2))
		return call_refuse(c, "Machine config error: " BAD_CPUS);
	if (m->mem_size_mib == 0 || (m->huge_pages == HUGE_2M && m->mem_size_mib % 2))
		return call_refuse(c, "Machine config error: " BAD_MEM);
	if (m->mem_size_mib > MEM_MAX >> 20 || !config_mem_is_ok(m->mem_size_mib << 20))
		return call_refuse(c,
				   "Machine config error: mayfly gives a guest 16 MiB to 1 TiB of "
				   "memory.");
	if (m->huge_pages == HUGE_2M)
		return call_refuse(c,
				   "Machine config error: mayfly takes no reserved huge pages; use "
				   "`Transparent`.");
	c->api->machine = *m;
	return 0;
}

int put_machine(struct call *c)
{
	struct machine_body m = { .smt = false };
	int err = call_read(c, &machine_put, &m);

	if (err)
		return err;
	c->is_deprecated = m.has_template;
	m.has_smt = m.has_dirty = m.has_huge = true; /* have defaults, so are never absent */
	return set_machine(c, &m);
}

int patch_machine(struct call *c)
{
	struct machine_body m = { .smt = false }, merged = c->api->machine;
	int err = call_read(c, &machine_patch, &m);

	if (err)
		return err;
	if (!m.has_vcpus && !m.has_mem && !m.has_smt && !m.has_dirty && !m.has_huge &&
	    !m.has_template)
		return call_refuse(c, "Empty PATCH request.");
	c->is_deprecated = m.has_template;
	/* Read again, over what is there: absent fields stay. */
	err = call_read(c, &machine_patch, &merged);
	return err ? err : set_machine(c, &merged);
}

/* What the guest boots. */

/* Whether a file can be opened: 0 and its kind, or an errno. */
static int check_open(const char *path, int flags, mode_t *mode)
{
	const int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	struct stat st = { .st_mode = 0 };
	int err = 0;

	*mode = 0;
	if (fd < 0)
		return errno;
	if (fstat(fd, &st))
		err = errno;
	*mode = st.st_mode;
	close(fd);
	return err;
}

/* The command line that these arguments come to, as far as it is known now. */
static size_t compose_cmdline(struct vm_config *config, const struct boot_body *boot,
			      const char *root)
{
	const char *const words[] = { boot->has_args ? boot->boot_args : CMDLINE_DEFAULT,
				      boot->has_args ? "pci=off" : NULL, root };

	return config_cmdline(config, words, sizeof(words) / sizeof(words[0]));
}

int put_boot(struct call *c)
{
	static struct boot_body boot;
	mode_t mode;
	char text[96];
	size_t len;
	int err;

	memset(&boot, 0, sizeof(boot));
	err = call_read(c, &boot_put, &boot);
	if (err || take_path(c, boot.kernel_image_path) || take_path(c, boot.initrd_path))
		return -EINVAL;
	err = check_open(boot.kernel_image_path, O_RDONLY, &mode);
	if (err)
		return call_refuse(c, "Boot source error: The kernel file cannot be opened: %s",
				   os_error(err, text));
	err = *boot.initrd_path ? check_open(boot.initrd_path, O_RDONLY, &mode) : 0;
	if (err)
		return call_refuse(
			c,
			"Boot source error: The initrd file cannot be opened due to invalid "
			"path or invalid permissions. %s",
			os_error(err, text));
	for (const char *at = boot.boot_args; *at; at++)
		if (*at < ' ' || *at > '~')
			return call_refuse(c, "Boot source error: The kernel command line is "
					      "invalid: it holds more than printable ASCII.");
	len = compose_cmdline(c->api->config, &boot, NULL);
	if (len >= CMDLINE_SIZE)
		return call_refuse(
			c,
			"Boot source error: The kernel command line is invalid: %zu bytes; "
			"at most %u go in.",
			len, CMDLINE_SIZE - 1);
	c->api->boot = boot;
	c->api->has_boot = true;
	return 0;
}

/* Disks. */

static bool is_full(const struct api *api)
{
	return api->nr_drives + api->nr_nets >= DEVICES_MAX;
}

static struct drive_body *find_drive(struct api *api, const char *id)
{
	for (unsigned i = 0; i < api->nr_drives; i++)
		if (!strcmp(api->drives[i].drive_id, id))
			return &api->drives[i];
	return NULL;
}

/* As with the other devices: an id in the path, and in a file's section none. */
static bool is_same_id(const struct call *c, const char *id)
{
	return !strcmp(c->id, id);
}

static int check_image(struct call *c, const char *path, bool is_read_only)
{
	char text[96];
	mode_t mode;
	const int err = check_open(path, is_read_only ? O_RDONLY : O_RDWR, &mode);

	if (err)
		return call_refuse(c, "Drive config error: %s: %s", path, os_error(err, text));
	if (!S_ISREG(mode) && !S_ISBLK(mode))
		return call_refuse(c, "Drive config error: %s: neither a file nor a block device",
				   path);
	return 0;
}

static int check_drive(struct call *c, struct drive_body *d)
{
	const struct api *api = c->api;

	if (*d->socket)
		return call_refuse(c, "Drive config error: mayfly has no vhost-user disks.");
	if (take_path(c, d->path_on_host))
		return -EINVAL;
	if (!*d->path_on_host)
		return call_refuse(c, "Drive config error: missing field `path_on_host`");
	if (*d->partuuid && !d->is_root_device)
		return call_refuse(c, "Drive config error: `partuuid` is the root device's.");
	for (unsigned i = 0; i < api->nr_drives && d->is_root_device; i++)
		if (api->drives[i].is_root_device && strcmp(api->drives[i].drive_id, d->drive_id))
			return call_refuse(
				c, "Drive config error: A root block device already exists!");
	return check_image(c, d->path_on_host, d->is_read_only);
}

int put_drive(struct call *c)
{
	static struct drive_body drive;
	struct drive_body *place;
	int err;

	memset(&drive, 0, sizeof(drive));
	err = call_read(c, &drive_put, &drive);
	if (err)
		return err;
	if (!is_same_id(c, drive.drive_id))
		return call_refuse(c, "The id from the path does not match the id from the body!");
	place = find_drive(c->api, drive.drive_id);
	if (!place && is_full(c->api))
		return call_refuse(c, "Drive config error: mayfly has room for %u devices.",
				   DEVICES_MAX);
	if (check_drive(c, &drive))
		return -EINVAL;
	*(place ? place : &c->api->drives[c->api->nr_drives++]) = drive;
	return 0;
}

static struct token_bucket bucket_of(const struct bucket_body *b)
{
	return (struct token_bucket){ .size = b->size,
				      .one_time_burst = b->has_burst ? b->one_time_burst : 0,
				      .refill_ms = b->refill_time };
}

static struct rate_limit limit_of(const struct limiter_body *l)
{
	return (struct rate_limit){ .bytes = bucket_of(&l->bandwidth), .ops = bucket_of(&l->ops) };
}

/* The buckets that an update gives, each in its own place, and pointers to those only. */
struct updated {
	struct token_bucket bytes, ops;
};

static const struct token_bucket *given(const struct bucket_body *b, struct token_bucket *place)
{
	*place = bucket_of(b);
	return b->is_set ? place : NULL;
}

/* What GET /vm/config says of a limiter afterwards; a bucket that is off is none. */
static void merge_bucket(struct bucket_body *to, const struct bucket_body *from)
{
	if (!from->is_set)
		return;
	*to = *from;
	to->is_set = from->size && from->refill_time;
}

static void merge_limiter(struct limiter_body *to, const struct limiter_body *from)
{
	merge_bucket(&to->bandwidth, &from->bandwidth);
	merge_bucket(&to->ops, &from->ops);
	to->is_set = to->bandwidth.is_set || to->ops.is_set;
}

int patch_drive(struct call *c)
{
	static struct drive_patch_body patch;
	struct disk_update update;
	struct drive_body *drive;
	struct updated buckets;
	int err;

	memset(&patch, 0, sizeof(patch));
	err = call_read(c, &drive_patch, &patch);
	if (err)
		return err;
	if (!is_same_id(c, patch.drive_id))
		return call_refuse(c, "The id from the path does not match the id from the body!");
	drive = find_drive(c->api, patch.drive_id);
	if (!drive || !c->api->ops->disk_update)
		return call_refuse(c, "Drive config error: there is no drive `%s`.",
				   patch.drive_id);
	if (take_path(c, patch.path_on_host))
		return -EINVAL;
	if (*patch.path_on_host && check_image(c, patch.path_on_host, drive->is_read_only))
		return -EINVAL;
	update = (struct disk_update){ patch.drive_id,
				       *patch.path_on_host ? patch.path_on_host : NULL,
				       given(&patch.rate_limiter.bandwidth, &buckets.bytes),
				       given(&patch.rate_limiter.ops, &buckets.ops) };
	if (c->api->ops->disk_update(c->api->vm, &update))
		return call_refuse(c, "Drive config error: %s", log_last_failure());
	if (update.path)
		strcpy(drive->path_on_host, patch.path_on_host);
	merge_limiter(&drive->rate_limiter, &patch.rate_limiter);
	return 0;
}

/* Network interfaces. */

static struct net_body *find_net(struct api *api, const char *id)
{
	for (unsigned i = 0; i < api->nr_nets; i++)
		if (!strcmp(api->nets[i].iface_id, id))
			return &api->nets[i];
	return NULL;
}

static int check_net(struct call *c, const struct net_body *n)
{
	const struct api *api = c->api;
	uint8_t mac[6];

	if (*n->guest_mac && !config_mac(n->guest_mac, mac))
		return call_refuse(
			c,
			"An error occurred when deserializing the json body of a request: "
			"invalid value: string \"%s\", expected a MAC address for "
			"`guest_mac`.",
			n->guest_mac);
	for (unsigned i = 0; i < api->nr_nets; i++) {
		const struct net_body *other = &api->nets[i];

		if (!strcmp(other->iface_id, n->iface_id))
			continue;
		if (*n->guest_mac && !strcasecmp(other->guest_mac, n->guest_mac))
			return call_refuse(
				c, "Network config error: The MAC address is already in use: %s",
				n->guest_mac);
		if (n->tap_fd < 0 && !strcmp(other->host_dev_name, n->host_dev_name))
			return call_refuse(
				c,
				"Network config error: Could not create the network device: "
				"Open tap device failed: %s is in use by `%s`",
				n->host_dev_name, other->iface_id);
	}
	return 0;
}

static int wrong_net_id(struct call *c, const char *id)
{
	return call_refuse(c, "The id from the path [%s] does not match the id from the body [%s]!",
			   c->id, id);
}

int put_net(struct call *c)
{
	struct net_body net = { .tap_fd = -1 }, *place;
	int err = call_read(c, &net_put, &net);

	if (err)
		return err;
	if (!is_same_id(c, net.iface_id))
		return wrong_net_id(c, net.iface_id);
	place = find_net(c->api, net.iface_id);
	if (!place && is_full(c->api))
		return call_refuse(c, "Network config error: mayfly has room for %u devices.",
				   DEVICES_MAX);
	net.tap_fd = take_fd(c, net.host_dev_name);
	if (net.tap_fd == -EINVAL || check_net(c, &net))
		return -EINVAL;
	*(place ? place : &c->api->nets[c->api->nr_nets++]) = net;
	return 0;
}

int patch_net(struct call *c)
{
	struct net_patch_body patch = { .iface_id = "" };
	struct updated rx, tx;
	struct net_update update;
	struct net_body *net;
	int err = call_read(c, &net_patch, &patch);

	if (err)
		return err;
	if (!is_same_id(c, patch.iface_id))
		return wrong_net_id(c, patch.iface_id);
	net = find_net(c->api, patch.iface_id);
	if (!net || !c->api->ops->net_update)
		return call_refuse(c, "Network config error: there is no interface `%s`.",
				   patch.iface_id);
	update = (struct net_update){ patch.iface_id,
				      given(&patch.rx_rate_limiter.bandwidth, &rx.bytes),
				      given(&patch.rx_rate_limiter.ops, &rx.ops),
				      given(&patch.tx_rate_limiter.bandwidth, &tx.bytes),
				      given(&patch.tx_rate_limiter.ops, &tx.ops) };
	if (c->api->ops->net_update(c->api->vm, &update))
		return call_refuse(c, "Network config error: %s", log_last_failure());
	merge_limiter(&net->rx_rate_limiter, &patch.rx_rate_limiter);
	merge_limiter(&net->tx_rate_limiter, &patch.tx_rate_limiter);
	return 0;
}

/* Serial port, log, metrics. */

int put_serial(struct call *c)
{
	static struct serial_body serial;
	int err;

	memset(&serial, 0, sizeof(serial));
	err = call_read(c, &serial_put, &serial);
	if (err || take_path(c, serial.serial_out_path))
		return -EINVAL;
	if (serial.rate_limiter.is_set)
		return call_refuse(c,
				   "Serial error: mayfly has no rate limit for the serial port.");
	c->api->serial = serial;
	c->api->has_serial = true;
	return 0;
}

/* Index as in the table of bodies.c. */
static const enum log_level levels[] = { LOG_OFF,  LOG_TRACE, LOG_DEBUG, LOG_INFO,
					 LOG_WARN, LOG_WARN,  LOG_ERROR };

static int open_log(struct api *api, const struct logger_body *l)
{
	struct log_form form = api->log;

	if (*l->log_path) {
		form.fd =
			open(l->log_path,
			     O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
		if (form.fd < 0)
			return errno;
		if (api->log.fd > STDERR_FILENO)
			close(api->log.fd);
	}
	api->logger = *l;
	form.level = l->has_level ? levels[l->level] : LOG_INFO;
	form.show_level = l->show_level;
	form.show_origin = l->show_log_origin;
	form.module = *l->module ? api->logger.module : NULL;
	api->log = form;
	log_to(&form);
	return 0;
}

int api_open_log(struct api *api, const struct logger_body *body)
{
	const int err = open_log(api, body);

	return err ? fail(-err, "%s", body->log_path) : 0;
}

int put_logger(struct call *c)
{
	static struct logger_body logger;
	char text[96];
	int err;

	memset(&logger, 0, sizeof(logger));
	err = call_read(c, &logger_put, &logger);
	if (err)
		return err;
	err = open_log(c->api, &logger);
	return err ? call_refuse(c, "Logger error: %s: %s", logger.log_path, os_error(err, text))
		   : 0;
}

int api_open_metrics(struct api *api, const char *path)
{
	const int err = metrics_open(&api->metrics, path);

	return err ? fail(err, "%s", path) : 0;
}

int put_metrics(struct call *c)
{
	static struct metrics_body body;
	struct api *api = c->api;
	char text[96];
	int err;

	memset(&body, 0, sizeof(body));
	err = call_read(c, &metrics_put, &body);
	if (err)
		return err;
	if (api->metrics.fd >= 0)
		return call_refuse(c, "Metrics error: Reinitialization of metrics not allowed.");
	err = metrics_open(&api->metrics, body.metrics_path);
	if (err)
		return call_refuse(c, "Metrics error: %s: %s", body.metrics_path,
				   os_error(-err, text));
	api->metrics_config = body;
	api->metrics.id = body.emit_id ? api->names.id : NULL;
	api->metrics.properties = body.has_properties ? api->metrics_config.properties : NULL;
	return 0;
}

void api_count(struct api *api)
{
	api->ops->count(api->vm, &api->counters);
	api->counters.log_missed = log_missed();
}

int api_flush_metrics(struct api *api)
{
	api_count(api);
	return metrics_flush(&api->metrics, &api->counters);
}

bool api_id_is_ok(const char *id)
{
	const size_t len = strlen(id);

	return len >= 1 && len <= 64 &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == len;
}

/* From what was given to a struct vm_config. */

static void fill_disks(struct vm_config *config, const struct api *api)
{
	config->nr_disks = 0;
	for (int pass = 0; pass < 2; pass++) /* the root disk first, so that it is vda */
		for (unsigned i = 0; i < api->nr_drives; i++) {
			const struct drive_body *d = &api->drives[i];

			if (d->is_root_device != (pass == 0))
				continue;
			config->disks[config->nr_disks++] = (struct disk_config){
				.id = d->drive_id,
				.path = d->path_on_host,
				.is_root = d->is_root_device,
				.is_read_only = d->is_read_only,
				.partuuid = *d->partuuid ? d->partuuid : NULL,
				.cache = d->cache_type == CACHE_WRITEBACK ? DISK_CACHE_WRITEBACK
									  : DISK_CACHE_UNSAFE,
				.limit = limit_of(&d->rate_limiter),
			};
		}
}

static void fill_nets(struct vm_config *config, const struct api *api)
{
	config->nr_nets = api->nr_nets;
	for (unsigned i = 0; i < api->nr_nets; i++) {
		const struct net_body *n = &api->nets[i];
		struct net_config *net = &config->nets[i];

		*net = (struct net_config){ .id = n->iface_id,
					    .kind = n->tap_fd < 0 ? NET_TAP : NET_TAP_FD,
					    .fd = n->tap_fd,
					    .path = n->host_dev_name,
					    .mtu = (uint16_t)(n->has_mtu ? n->mtu : 0),
					    .rx = limit_of(&n->rx_rate_limiter),
					    .tx = limit_of(&n->tx_rate_limiter) };
		net->has_mac = *n->guest_mac && config_mac(n->guest_mac, net->mac);
	}
}

static int fill_config(struct call *c)
{
	const struct api *api = c->api;
	struct vm_config *config = api->config;
	char root[CONFIG_ROOT_SIZE];
	size_t len;

	config->kernel = api->boot.kernel_image_path;
	config->initrd = *api->boot.initrd_path ? api->boot.initrd_path : NULL;
	config->mem_size = api->machine.mem_size_mib << 20;
	config->cpus = (unsigned)api->machine.vcpu_count;
	config->huge_pages = api->machine.huge_pages == HUGE_TRANSPARENT;
	config->serial = (struct serial_config){ .kind = SERIAL_STDIO, .is_tty_only = true };
	if (api->has_serial && *api->serial.serial_out_path)
		config->serial = (struct serial_config){ .kind = SERIAL_FILE,
							 .path = api->serial.serial_out_path };
	fill_disks(config, api);
	fill_nets(config, api);
	config_root(config, root);
	len = compose_cmdline(config, &api->boot, root);
	if (len >= CMDLINE_SIZE)
		return call_refuse(
			c,
			"Start microvm error: The kernel command line is invalid: %zu bytes; "
			"at most %u go in.",
			len, CMDLINE_SIZE - 1);
	return 0;
}

static void change_state(struct api *api, enum api_state state)
{
	if (api->state == state)
		return;
	api->state = state;
	if (api->changed)
		api->changed(api);
}

int setup_start(struct call *c)
{
	struct api *api = c->api;

	if (!api->has_boot)
		return call_refuse(c, "Start microvm error: Cannot start microvm without kernel "
				      "configuration.");
	if (fill_config(c))
		return -EINVAL;
	log_line(LOG_DEBUG, "event_start: build microvm for boot");
	log_line(LOG_DEBUG, "event_start: boot microvm");
	if (api->ops->start(api->vm, api->config))
		return call_refuse(c, "Start microvm error: %s", log_last_failure());
	log_line(LOG_DEBUG, "event_end: build microvm for boot");
	log_line(LOG_DEBUG, "event_end: boot microvm");
	change_state(api, API_RUNNING);
	api_flush_metrics(api);
	return 0;
}

int put_action(struct call *c)
{
	struct action_body action = { 0 };
	int err = call_read(c, &action_put, &action);

	if (err)
		return err;
	err = call_check_state(c, action.action_type == ACTION_START ? BEFORE_START : AFTER_START);
	if (err)
		return err;
	if (action.action_type == ACTION_START)
		return setup_start(c);
	if (action.action_type == ACTION_CTRL_ALT_DEL)
		return call_refuse(c,
				   "Internal VMM error: mayfly has no keyboard: end the guest from "
				   "within, or the process by a signal.");
	return api_flush_metrics(c->api)
		       ? call_refuse(c, "Internal VMM error: the metrics could not be written.")
		       : 0;
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

int patch_vm(struct call *c)
{
	struct api *api = c->api;
	struct vm_body body = { 0 };
	int err = call_read(c, &vm_patch, &body);
	const uint64_t begin = now_us();

	if (err)
		return err;
	if (body.state == VM_PAUSED && api->state == API_RUNNING) {
		api->ops->pause(api->vm);
		api->counters.pause_us = now_us() - begin;
		change_state(api, API_PAUSED);
	} else if (body.state == VM_RESUMED && api->state == API_PAUSED) {
		api->ops->resume(api->vm);
		api->counters.resume_us = now_us() - begin;
		change_state(api, API_RUNNING);
	}
	return 0;
}
