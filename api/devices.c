// SPDX-License-Identifier: Apache-2.0
/*
 * Disks and network interfaces: kept as they came, in the order in which they came, and changed
 * while the microVM runs through api_ops.
 */
#include "handlers.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

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

/* 0 and *fd open, or -EINVAL. */
static int open_image(struct call *c, const char *path, bool is_read_only, int *fd)
{
	char text[96];
	struct stat st;
	int err = call_open(c, path, is_read_only ? O_RDONLY : O_RDWR, fd);

	if (err < 0)
		return err;
	if (err || fstat(*fd, &st))
		call_refuse(c, "Drive config error: %s: %s", path,
			    call_os_error(err ? err : errno, text));
	else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		call_refuse(c, "Drive config error: %s: neither a file nor a block device", path);
	else
		return 0;
	call_let_go(fd);
	return -EINVAL;
}

/* It goes into the kernel's command line, where it must not begin another word. */
static bool is_one_word(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~' || *text == '"')
			return false;
	return true;
}

static int check_drive(struct call *c, struct drive_body *d)
{
	const struct api *api = c->api;

	if (*d->socket)
		return call_refuse(c, "Drive config error: mayfly has no vhost-user disks.");
	if (!*d->path_on_host)
		return call_refuse(c, "Drive config error: missing field `path_on_host`");
	if (!is_one_word(d->partuuid))
		return call_refuse(c, "Drive config error: `partuuid` holds more than printable "
				      "ASCII without blanks and quotes.");
	for (unsigned i = 0; i < api->nr_drives && d->is_root_device; i++)
		if (api->drives[i].is_root_device && strcmp(api->drives[i].drive_id, d->drive_id))
			return call_refuse(
				c, "Drive config error: A root block device already exists!");
	return open_image(c, d->path_on_host, d->is_read_only, &d->image_fd);
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
	if (!place)
		place = &c->api->drives[c->api->nr_drives++];
	else
		call_let_go(&place->image_fd);
	*place = drive;
	return 0;
}

struct token_bucket devices_bucket(const struct bucket_body *b)
{
	return (struct token_bucket){ .size = b->size,
				      .one_time_burst = b->has_burst ? b->one_time_burst : 0,
				      .refill_ms = b->refill_time };
}

static struct rate_limit limit_of(const struct limiter_body *l)
{
	return (struct rate_limit){ .bytes = devices_bucket(&l->bandwidth),
				    .ops = devices_bucket(&l->ops) };
}

/* The buckets that an update gives, each in its own place, and pointers to those only. */
struct updated {
	struct token_bucket bytes, ops;
};

static const struct token_bucket *given(const struct bucket_body *b, struct token_bucket *place)
{
	*place = devices_bucket(b);
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

/* In a jail without files a path can only mean the file that the drive has: then *fd stays 0. */
static int open_new_image(struct call *c, const struct drive_body *drive, const char *path, int *fd)
{
	if (!c->api->config->is_fileless || !strncmp(path, "fd:", 3))
		return open_image(c, path, drive->is_read_only, fd);
	if (!strcmp(path, drive->path_on_host))
		return 0;
	return call_refuse(c,
			   "Drive config error: %s: the jail of a running microVM holds no files; "
			   "send the file's descriptor with the request, and `fd:0` as its path.",
			   path);
}

int patch_drive(struct call *c)
{
	static struct drive_patch_body patch;
	struct disk_update update;
	struct drive_body *drive;
	struct updated buckets;
	const char *path = patch.path_on_host;
	int image = 0, err;

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
	if (*path && open_new_image(c, drive, path, &image))
		return -EINVAL;
	update =
		(struct disk_update){ .id = patch.drive_id,
				      .path = image   ? path
					      : *path ? ""
						      : NULL,
				      .fd = image,
				      .bytes = given(&patch.rate_limiter.bandwidth, &buckets.bytes),
				      .ops = given(&patch.rate_limiter.ops, &buckets.ops) };
	err = c->api->ops->disk_update(c->api->vm, &update);
	call_let_go(&image); /* the monitor has one of its own */
	if (err)
		return call_refuse(c, "Drive config error: %s", log_last_failure());
	if (*path)
		strcpy(drive->path_on_host, path);
	merge_limiter(&drive->rate_limiter, &patch.rate_limiter);
	return 0;
}

/* Network interfaces. */

#define NO_TAP "Network config error: Could not create the network device: Open tap device failed: "

static struct net_body *find_net(struct api *api, const char *id)
{
	for (unsigned i = 0; i < api->nr_nets; i++)
		if (!strcmp(api->nets[i].iface_id, id))
			return &api->nets[i];
	return NULL;
}

static int refuse_tap(struct call *c, const char *name, int err)
{
	/* ENOENT and EACCES are never an answer of the tap's. */
	const bool has_tun = err != ENOENT && err != EACCES;
	char text[96];

	call_os_error(err, text);
	if (!has_tun)
		return call_refuse(c, NO_TAP "Couldn't open /dev/net/tun: %s", text);
	return call_refuse(c,
			   NO_TAP
			   "Error while creating ifreq structure: %s. Invalid TUN/TAP Backend "
			   "provided by %s. Check our documentation on setting up the network "
			   "devices.",
			   text, name);
}

/* Opens the tap, or takes the one that came, or that `old` has: only then it changes hands. */
static int open_tap(struct call *c, struct net_body *n, struct net_body *old)
{
	const struct api_ops *ops = c->api->ops;
	int fd;

	if (call_fd(c, n->host_dev_name, &n->tap_fd))
		return -EINVAL;
	if (n->tap_fd && ops->tap_check(n->tap_fd)) {
		call_let_go(&n->tap_fd);
		return call_refuse(c,
				   NO_TAP "%s is not a tap that was opened with IFF_TAP, IFF_NO_PI "
					  "and IFF_VNET_HDR.",
				   n->host_dev_name);
	}
	if (n->tap_fd)
		return 0;
	if (old && !strcmp(old->host_dev_name, n->host_dev_name)) {
		n->tap_fd = old->tap_fd;
		old->tap_fd = 0;
		return 0;
	}
	fd = ops->tap_open(n->host_dev_name);
	n->tap_fd = fd > 0 ? fd : 0;
	return fd < 0 ? refuse_tap(c, n->host_dev_name, -fd) : 0;
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
		if (strncmp(n->host_dev_name, "fd:", 3) != 0 &&
		    !strcmp(other->host_dev_name, n->host_dev_name))
			return refuse_tap(c, n->host_dev_name, EBUSY);
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
	struct net_body net = { .iface_id = "" }, *place;
	int err = call_read(c, &net_put, &net);

	if (err)
		return err;
	if (!is_same_id(c, net.iface_id))
		return wrong_net_id(c, net.iface_id);
	place = find_net(c->api, net.iface_id);
	if (!place && is_full(c->api))
		return call_refuse(c, "Network config error: mayfly has room for %u devices.",
				   DEVICES_MAX);
	if (check_net(c, &net) || open_tap(c, &net, place))
		return -EINVAL;
	if (!place)
		place = &c->api->nets[c->api->nr_nets++];
	else
		call_let_go(&place->tap_fd);
	*place = net;
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
				.fd = d->image_fd,
				.is_sent = !strncmp(d->path_on_host, "fd:", 3),
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
					    .kind = NET_TAP_FD,
					    .fd = n->tap_fd,
					    .path = n->host_dev_name,
					    .mtu = (uint16_t)(n->has_mtu ? n->mtu : 0),
					    .rx = limit_of(&n->rx_rate_limiter),
					    .tx = limit_of(&n->tx_rate_limiter) };
		net->has_mac = *n->guest_mac && config_mac(n->guest_mac, net->mac);
	}
}

void devices_let_go(struct api *api)
{
	for (unsigned i = 0; i < api->nr_drives; i++)
		call_let_go(&api->drives[i].image_fd);
	for (unsigned i = 0; i < api->nr_nets; i++)
		call_let_go(&api->nets[i].tap_fd);
}

void devices_fill(struct vm_config *config, const struct api *api)
{
	fill_disks(config, api);
	fill_nets(config, api);
}
