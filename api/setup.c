// SPDX-License-Identifier: Apache-2.0
/*
 * What is set before the start. A PUT is read into a structure of its own, checked against
 * everything, and only then takes its place: a request that is refused changes nothing. What was
 * given is kept as it came, for GET /vm/config; start.c makes a struct vm_config of it.
 */
#include "handlers.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The machine. */

const struct machine_body machine_default = { .has_vcpus = true,
					      .has_mem = true,
					      .has_smt = true,
					      .has_dirty = true,
					      .has_huge = true,
					      .vcpu_count = 1,
					      .mem_size_mib = 128 };

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
	c->api->has_machine = true;
	c->api->machine = *m;
	c->api->machine.has_template = false; /* None is as if it were not given */
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

/* With these no guest of mayfly's boots, though others' do. */
static const struct {
	const char *word, *why;
} left_out[] = {
	{ "noapic", "there is no other interrupt controller" },
	{ "acpi=off", "devices are described by ACPI only" },
};

/* Up to its blank; those in quotes are its own. */
static size_t word_len(const char *word)
{
	bool is_quoted = false;
	size_t n = 0;

	for (; word[n] && (is_quoted || word[n] != ' '); n++)
		is_quoted ^= word[n] == '"';
	return n;
}

static bool is_word(const char *at, size_t len, const char *word)
{
	return len == strlen(word) && !memcmp(at, word, len);
}

static bool is_left_out(const char *at, size_t len)
{
	for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
		if (is_word(at, len, left_out[i].word)) {
			log_line(LOG_WARN, "boot_args: %s is left out: %s", left_out[i].word,
				 left_out[i].why);
			return true;
		}
	return false;
}

/* The kernel's words, which are shorter than args. Returns the rest: "--" and init's, or "". */
static const char *kernel_words(const char *args, char *to)
{
	char *const start = to;
	size_t len;

	for (*to = '\0'; *args; args += len + strspn(args + len, " ")) {
		len = word_len(args);
		if (is_word(args, len, "--"))
			break;
		if (is_left_out(args, len))
			continue;
		if (to > start)
			*to++ = ' ';
		memcpy(to, args, len);
		to[len] = '\0';
		to += len;
	}
	return args;
}

size_t setup_cmdline(struct vm_config *config, const struct boot_body *boot, const char *root)
{
	char kernel[API_PATH_MAX];
	const char *init = kernel_words(boot->has_args ? boot->boot_args : CMDLINE_DEFAULT, kernel);
	const char *const words[] = { kernel, boot->has_args ? "pci=off" : NULL, root, init };

	return config_cmdline(config, words, sizeof(words) / sizeof(words[0]));
}

static void boot_let_go(struct boot_body *boot)
{
	call_let_go(&boot->kernel_fd);
	call_let_go(&boot->initrd_fd);
}

static int open_boot(struct call *c, struct boot_body *boot)
{
	char text[96];
	int err = call_open(c, boot->kernel_image_path, O_RDONLY, &boot->kernel_fd);

	if (err)
		return err < 0 ? err
			       : call_refuse(c,
					     "Boot source error: The kernel file cannot be opened: "
					     "%s",
					     call_os_error(err, text));
	if (!*boot->initrd_path)
		return 0;
	err = call_open(c, boot->initrd_path, O_RDONLY, &boot->initrd_fd);
	return err <= 0 ? err
			: call_refuse(c,
				      "Boot source error: The initrd file cannot be opened due to "
				      "invalid path or invalid permissions. %s",
				      call_os_error(err, text));
}

static int check_args(struct call *c, const struct boot_body *boot)
{
	const char *const words[] = { boot->boot_args, "pci=off" };
	size_t len;

	for (const char *at = boot->boot_args; *at; at++)
		if (*at < ' ' || *at > '~')
			return call_refuse(c, "Boot source error: The kernel command line is "
					      "invalid: it holds more than printable ASCII.");
	len = config_cmdline(c->api->config, words, sizeof(words) / sizeof(words[0]));
	if (len >= CMDLINE_SIZE)
		return call_refuse(
			c,
			"Boot source error: The kernel command line is invalid: %zu bytes; "
			"at most %u go in.",
			len, CMDLINE_SIZE - 1);
	return 0;
}

/* A page that nobody has written costs nothing, not even where it is read. */
static void forget_text(char *text)
{
	if (*text)
		*text = '\0';
}

static void forget_boot(struct boot_body *boot)
{
	boot->has_args = false;
	boot->kernel_fd = boot->initrd_fd = 0;
	forget_text(boot->kernel_image_path);
	forget_text(boot->initrd_path);
	forget_text(boot->boot_args);
}

int put_boot(struct call *c)
{
	struct api *api = c->api;
	struct boot_body *boot = &api->boots[api->boot == &api->boots[0]];

	forget_boot(boot);
	if (call_read(c, &boot_put, boot))
		return -EINVAL;
	if (open_boot(c, boot) || check_args(c, boot)) {
		boot_let_go(boot);
		return -EINVAL;
	}
	if (api->boot)
		boot_let_go(api->boot);
	api->boot = boot;
	return 0;
}

/* Serial port, log, metrics. */

/* By a path as the log is: nothing is cut off, and who reads a FIFO may come later. */
static int open_serial(struct call *c, struct serial_body *s)
{
	const bool is_sent = !strncmp(s->serial_out_path, "fd:", 3);

	return call_open(c, s->serial_out_path, is_sent ? O_WRONLY : O_RDWR | O_CREAT | O_APPEND,
			 &s->out_fd);
}

int put_serial(struct call *c)
{
	static struct serial_body serial;
	char text[96];
	int err;

	memset(&serial, 0, sizeof(serial));
	err = call_read(c, &serial_put, &serial);
	if (!err && *serial.serial_out_path)
		err = open_serial(c, &serial);
	if (err)
		return err < 0 ? err
			       : call_refuse(c, "Serial error: %s: %s", serial.serial_out_path,
					     call_os_error(err, text));
	call_let_go(&c->api->serial.out_fd);
	c->api->serial = serial;
	c->api->has_serial = true;
	return 0;
}

void api_let_go(struct api *api)
{
	if (api->boot)
		boot_let_go(api->boot);
	call_let_go(&api->serial.out_fd);
	devices_let_go(api);
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
	memcpy(&api->logger, l, offsetof(struct logger_body, log_path)); /* which is done with */
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

	/* What is left out stays as it is, but for the level, which is Info then. */
	logger = c->api->logger;
	logger.has_level = false;
	*logger.log_path = '\0';
	err = call_read(c, &logger_put, &logger);
	if (err)
		return err;
	err = open_log(c->api, &logger);
	return err ? call_refuse(c, "Logger error: %s: %s", logger.log_path,
				 call_os_error(err, text))
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
				   call_os_error(-err, text));
	api->metrics_config = body;
	api->metrics.id = body.emit_id ? api->names.id : NULL;
	api->metrics.properties = body.has_properties ? api->metrics_config.properties : NULL;
	return 0;
}

/* The disks in the monitor's order, which is the guest's: the root first. */
static void name_devices(const struct api *api, struct metrics_devices *d)
{
	const struct vm_config *config = api->config;

	d->counters = &api->devices;
	d->nr_disks = d->nr_nets = 0;
	if (api->state == API_NOT_STARTED || !api->ops->count_devices)
		return;
	for (; d->nr_disks < config->nr_disks; d->nr_disks++)
		d->disks[d->nr_disks] = config->disks[d->nr_disks].id;
	for (; d->nr_nets < config->nr_nets; d->nr_nets++)
		d->nets[d->nr_nets] = config->nets[d->nr_nets].id;
}

void api_count(struct api *api, struct metrics_devices *devices)
{
	api->ops->count(api->vm, &api->counters);
	api->counters.log_missed = log_missed();
	name_devices(api, devices);
	if (devices->nr_disks || devices->nr_nets)
		api->ops->count_devices(api->vm, &api->devices);
}

int api_flush_metrics(struct api *api)
{
	struct metrics_devices devices;

	if (api->metrics.fd < 0)
		return 0;
	api_count(api, &devices);
	return metrics_flush(&api->metrics, &api->counters, &devices);
}
