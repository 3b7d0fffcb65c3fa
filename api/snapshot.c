// SPDX-License-Identifier: Apache-2.0
/*
 * Snapshots: PUT /snapshot/create and /snapshot/load. In front of the monitor's state the file has
 * what was configured, as the JSON of a config file; so it takes the way of one when it is loaded,
 * with its checks.
 */
#include "handlers.h"
#include "../vmm/log.h"
#include "../vmm/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CREATE_ERROR "Create snapshot error"
#define LOAD_ERROR   "Load snapshot error"

#define MAGIC "mayfly snapshot\n"

/* Of the file; then the text, and at a multiple of 8 the state. */
struct head {
	char magic[sizeof(MAGIC) - 1];
	uint32_t version, text_len;
};

static uint64_t state_at(const struct head *h)
{
	return (sizeof(*h) + h->text_len + 7) / 8 * 8;
}

/* Cut short or written to, it would take what the guest has not touched with it. */
static bool is_origin(const struct api *api, const struct stat *st)
{
	return api->origin_ino && st->st_dev == api->origin_dev && st->st_ino == api->origin_ino;
}

/*
 * As disks are locked, against each other: where files cannot be locked there is no protection. A
 * lock that came with a descriptor may be what protects another microVM: it is not made one to
 * write.
 */
static int lock(struct call *c, const char *error, int fd, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };
	const bool is_used = type == F_WRLCK && config_is_locked(fd);

	if (!is_used &&
	    (fcntl(fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES)))
		return 0;
	return call_refuse(c, "%s: a file is in use by a microVM, as a disk or as its memory.",
			   error);
}

/* What a client sent it may keep open, and with it our lock, which is the open file's. */
static void unlock(int fd)
{
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	fcntl(fd, F_OFD_SETLK, &lock);
}

/* Before anything of them is touched. */
static int check_files(struct call *c, int state_fd, int mem_fd)
{
	struct stat state, mem;

	if (fstat(state_fd, &state) || fstat(mem_fd, &mem) || !S_ISREG(state.st_mode) ||
	    !S_ISREG(mem.st_mode))
		return call_refuse(c, CREATE_ERROR ": both have to be files.");
	if (state.st_dev == mem.st_dev && state.st_ino == mem.st_ino)
		return call_refuse(c, CREATE_ERROR ": both files are the same.");
	if (is_origin(c->api, &state) || is_origin(c->api, &mem))
		return call_refuse(c,
				   CREATE_ERROR ": the guest's memory is mapped from that file.");
	if ((fcntl(state_fd, F_GETFL) | fcntl(mem_fd, F_GETFL)) & O_APPEND)
		return call_refuse(c, CREATE_ERROR ": a file was opened for appending.");
	if (lock(c, CREATE_ERROR, state_fd, F_WRLCK))
		return -EINVAL;
	if (lock(c, CREATE_ERROR, mem_fd, F_WRLCK)) {
		unlock(state_fd);
		return -EINVAL;
	}
	return 0;
}

static void note_origin(struct api *api, int mem_fd)
{
	struct stat st;

	if (fstat(mem_fd, &st))
		return;
	api->origin_dev = st.st_dev;
	api->origin_ino = st.st_ino;
}

/* 0 and *fd open, or -EINVAL. */
static int open_file(struct call *c, const char *error, const char *path, int flags, int *fd)
{
	char text[96];
	int err;

	if (c->api->state != API_NOT_STARTED && c->api->config->is_fileless &&
	    strncmp(path, "fd:", 3) != 0)
		return call_refuse(c,
				   "%s: %s: the jail of a running microVM holds no files; send the "
				   "file's descriptor with the request, and `fd:0` as its path.",
				   error, path);
	err = call_open(c, path, flags, fd);
	return err > 0 ? call_refuse(c, "%s: %s: %s", error, path, call_os_error(err, text)) : err;
}

/*
 * The text goes into the room for the answer, which is none; the head comes last, without which it
 * is not a snapshot.
 */
static int write_snapshot(struct call *c, int state_fd, int mem_fd)
{
	struct head head = { .magic = MAGIC, .version = SNAPSHOT_VERSION };
	char text[96];
	int err = get_config(c);

	if (err)
		return err;
	head.text_len = (uint32_t)json_print(c->answer, c->reply->body, c->reply->size);
	c->answer = NULL;
	if (!head.text_len)
		return call_refuse(c, CREATE_ERROR ": the configuration is too long.");
	err = ftruncate(state_fd, 0);
	if (!err && c->api->ops->save(c->api->vm, state_fd, state_at(&head), mem_fd))
		return call_refuse(c, CREATE_ERROR ": %s", log_last_failure());
	if (!err)
		errno = ENOSPC; /* which a part does not say */
	if (err || pwrite(state_fd, c->reply->body, head.text_len, sizeof(head)) != head.text_len ||
	    pwrite(state_fd, &head, sizeof(head), 0) != sizeof(head))
		return call_refuse(c, CREATE_ERROR ": %s", call_os_error(errno, text));
	return 0;
}

int put_snapshot_create(struct call *c)
{
	static struct snapshot_create_body body;
	const uint64_t begin = loop_now_ns(CLOCK_MONOTONIC);
	const int flags = O_WRONLY | O_CREAT;
	int state_fd = 0, mem_fd = 0, err;

	memset(&body, 0, sizeof(body));
	err = call_read(c, &snapshot_create_put, &body);
	if (err)
		return err;
	if (body.snapshot_type == SNAPSHOT_DIFF)
		return call_refuse(c, CREATE_ERROR ": mayfly takes full snapshots only.");
	if (c->api->state != API_PAUSED)
		return call_refuse(c, CREATE_ERROR ": the microVM is not paused.");
	err = open_file(c, CREATE_ERROR, body.snapshot_path, flags, &state_fd);
	if (!err)
		err = open_file(c, CREATE_ERROR, body.mem_file_path, flags, &mem_fd);
	if (!err)
		err = check_files(c, state_fd, mem_fd);
	if (!err) {
		err = write_snapshot(c, state_fd, mem_fd);
		unlock(state_fd);
		unlock(mem_fd);
	}
	call_let_go(&state_fd);
	call_let_go(&mem_fd);
	c->api->counters.save_us = (loop_now_ns(CLOCK_MONOTONIC) - begin) / 1000;
	return err;
}

/* What a snapshot is loaded from. */
struct source {
	struct restore_config from;
	bool is_lock_ours; /* on the memory; else one may have come with the descriptor */
};

static int read_text(struct call *c, int fd, struct head *head, char *text, size_t size)
{
	char why[JSON_WHY];

	if (pread(fd, head, sizeof(*head), 0) != sizeof(*head) ||
	    memcmp(head->magic, MAGIC, sizeof(head->magic)) != 0)
		return call_refuse(c, LOAD_ERROR ": the file is not a snapshot of mayfly's.");
	if (head->version != SNAPSHOT_VERSION)
		return call_refuse(c, LOAD_ERROR ": the snapshot has version %u, not %u.",
				   head->version, SNAPSHOT_VERSION);
	if (head->text_len > size ||
	    pread(fd, text, head->text_len, sizeof(*head)) != head->text_len)
		return call_refuse(c, LOAD_ERROR ": the snapshot is cut short.");
	if (json_parse(text, head->text_len, &c->json, why))
		return call_refuse(c, LOAD_ERROR ": the snapshot is damaged: %s.", why);
	return 0;
}

/* One of a list in the text whose `name` is `id`, or NULL. */
static cJSON *find(const struct call *c, const char *list, const char *name, const char *id)
{
	const cJSON *all = cJSON_GetObjectItemCaseSensitive(c->json.root, list);
	cJSON *one;

	cJSON_ArrayForEach(one, all)
	{
		const char *is = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, name));

		if (is && !strcmp(is, id))
			return one;
	}
	return NULL;
}

static int override(struct call *c, cJSON *one, const char *name, const char *value, const char *id)
{
	if (!one)
		return call_refuse(c, LOAD_ERROR ": the snapshot has no device `%s`.", id);
	return cJSON_ReplaceItemInObjectCaseSensitive(one, name, cJSON_CreateString(value))
		       ? 0
		       : call_refuse(c, LOAD_ERROR ": the snapshot has no `%s` of `%s`.", name, id);
}

/* Other taps and files in the text's places: clones share what they do not write to, and no more.
 */
static int override_all(struct call *c, const struct snapshot_load_body *body,
			const struct json_text *request)
{
	static struct drive_override_body d;
	struct net_override_body n = { .iface_id = "" };
	char why[JSON_WHY];
	const cJSON *one;
	int err = 0;

	cJSON_ArrayForEach(one, body->network_overrides)
	{
		if (!err && json_read(request, one, &net_override, &n, why))
			err = call_bad_body(c, why);
		if (!err)
			err = override(c, find(c, "network-interfaces", "iface_id", n.iface_id),
				       "host_dev_name", n.host_dev_name, n.iface_id);
	}
	cJSON_ArrayForEach(one, body->drive_overrides)
	{
		if (!err && json_read(request, one, &drive_override, &d, why))
			err = call_bad_body(c, why);
		if (!err)
			err = override(c, find(c, "drives", "drive_id", d.drive_id), "path_on_host",
				       d.path_on_host, d.drive_id);
	}
	return err;
}

static int check_load(struct call *c, const struct snapshot_load_body *b)
{
	const struct api *api = c->api;

	if (b->has_backend && *b->mem_file_path)
		return call_bad_body(c, "too many fields: either `mem_backend` or `mem_file_path` "
					"exclusively is required");
	if (!b->has_backend && !*b->mem_file_path)
		return call_bad_body(c, "missing field: either `mem_backend` or `mem_file_path` is "
					"required");
	if (b->has_backend && b->mem_backend.backend_type == BACKEND_UFFD)
		return call_refuse(c, LOAD_ERROR ": mayfly maps the memory's file; it hands no "
						 "page faults to others.");
	if (b->clock_realtime)
		return call_refuse(c,
				   LOAD_ERROR ": mayfly sets no guest's clock to the host's time.");
	if (api->boot || api->nr_drives || api->nr_nets || api->has_machine)
		return call_refuse(c, LOAD_ERROR ": Loading a microVM snapshot not allowed after "
						 "configuring boot-specific resources.");
	return 0;
}

/* As if nothing had been configured. */
static void forget_machine(struct api *api)
{
	devices_let_go(api);
	api->nr_drives = api->nr_nets = 0;
	api->machine = machine_default;
	api->has_machine = false;
	api->origin_ino = 0;
}

/* Opens the files, and reads what was configured into c->json, by way of `text`. */
static int read_snapshot(struct call *c, const char *state_path, const char *mem_path, char *text,
			 size_t size, struct source *s)
{
	struct restore_config *from = &s->from;
	struct head head = { .version = 0 };
	int err = open_file(c, LOAD_ERROR, state_path, O_RDONLY, &from->state_fd);

	if (!err)
		err = open_file(c, LOAD_ERROR, mem_path, O_RDONLY, &from->mem_fd);
	if (!err)
		s->is_lock_ours = !config_is_locked(from->mem_fd);
	if (!err) /* it is held by the mapping */
		err = lock(c, LOAD_ERROR, from->mem_fd, F_RDLCK);
	if (!err)
		err = read_text(c, from->state_fd, &head, text, size);
	from->at = state_at(&head);
	return err;
}

/* What was read goes on, if it was: with an error nothing is left of it. */
static int go_on(struct call *c, struct source *s, int err)
{
	if (!err)
		err = restore_microvm(c, &s->from);
	if (err)
		forget_machine(c->api);
	if (err && s->is_lock_ours)
		unlock(s->from.mem_fd);
	call_let_go(&s->from.state_fd);
	call_let_go(&s->from.mem_fd);
	return err;
}

static int load(struct call *c, const struct snapshot_load_body *body)
{
	const char *mem_path =
		body->has_backend ? body->mem_backend.backend_path : body->mem_file_path;
	struct source source = { .from.is_paused = !body->resume_vm };
	const struct json_text request = c->json;
	int err = read_snapshot(c, body->snapshot_path, mem_path, c->reply->body, c->reply->size,
				&source);

	if (!err)
		err = override_all(c, body, &request);
	if (!err)
		err = take_machine(c);
	if (!err)
		note_origin(c->api, source.from.mem_fd);
	return go_on(c, &source, err);
}

int put_snapshot_load(struct call *c)
{
	static struct snapshot_load_body body;
	const uint64_t begin = loop_now_ns(CLOCK_MONOTONIC);
	int err;

	memset(&body, 0, sizeof(body));
	err = call_read(c, &snapshot_load_put, &body);
	if (!err)
		err = check_load(c, &body);
	if (!err)
		err = load(c, &body);
	c->is_deprecated = *body.mem_file_path || body.is_deprecated; /* not what the text has */
	c->api->counters.load_us = (loop_now_ns(CLOCK_MONOTONIC) - begin) / 1000;
	return err;
}

/* As override_all(). What is under a layer may be a file that nobody here may write to. */
static int override_with(struct call *c, const struct vm_config *with)
{
	int err = 0;

	for (unsigned i = 0; i < with->nr_nets && !err; i++) {
		const struct net_config *n = &with->nets[i];

		err = override(c, find(c, "network-interfaces", "iface_id", n->id), "host_dev_name",
			       n->path, n->id);
	}
	for (unsigned i = 0; i < with->nr_disks && !err; i++) {
		const struct disk_config *d = &with->disks[i];
		cJSON *drive = find(c, "drives", "drive_id", d->id);

		err = override(c, drive, "path_on_host", d->path, d->id);
		if (!err && (d->overlay || d->is_overlay_tmp))
			cJSON_ReplaceItemInObjectCaseSensitive(drive, "is_read_only",
							       cJSON_CreateTrue());
	}
	return err;
}

int api_clone(struct api *api, const char *state, const char *memory, const struct vm_config *with)
{
	char *text = malloc(API_BODY_MAX);
	struct call c = { .api = api, .id = "" }; /* without a reply: not a client's */
	struct source source = { .is_lock_ours = false };
	int err = text ? read_snapshot(&c, state, memory, text, API_BODY_MAX, &source)
		       : call_refuse(&c, "no memory for the configuration");

	if (!err)
		err = override_with(&c, with);
	if (!err)
		err = take_machine(&c);
	if (err)
		fail(0, "%s", c.fault);
	err = go_on(&c, &source, err);
	json_reset();
	free(text);
	return err;
}
