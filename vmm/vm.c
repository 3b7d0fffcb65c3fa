// SPDX-License-Identifier: Apache-2.0
/*
 * The whole of a microVM and the order in which it comes to life: prepare(), build() and start()
 * are the table of contents. Everything is checked and opened before anything is created, and
 * created before anything runs.
 */
#include "vm.h"
#include "../seccomp/filters.h"
#include "../seccomp/sealed.h"
#include "../virtio/blk.h"
#include "../seccomp/jail.h"
#include "../virtio/net.h"
#include "boot.h"
#include "bus.h"
#include "console.h"
#include "cpu.h"
#include "end.h"
#include "halt.h"
#include "hv.h"
#include "ioapic.h"
#include "job.h"
#include "log.h"
#include "loop.h"
#include "mem.h"
#include "power.h"
#include "serial.h"
#include "signals.h"
#include "snapshot.h"
#include "term.h"
#include "timeline.h"
#include "vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * Static: one per process, and the serial queues would not fit a stack. What every microVM touches
 * lies together, and the large comes last: a page that is not touched costs a start nothing.
 */
static struct vm {
	const struct vm_config *config;
	struct hv hv;
	struct mem mem;
	struct bus pio, mmio;
	struct ioapic ioapic;
	struct power power;
	struct halt halt;
	struct end end;
	struct loop loop;
	struct signals signals;
	struct op end_op, timeout_op, grace_op;
	void (*ended)(void *vm); /* or NULL */
	int irq_fd, wake_fd;	 /* of the serial port; 0: none */
	int generation_fd;	 /* of a clone's new generation; 0: none */
	uint8_t generation[GENERATION_SIZE];
	bool is_started;
	uint64_t file_max; /* bytes: RLIMIT_FSIZE */
	uint64_t end_count;
	int end_file;
	struct __kernel_timespec timeout, grace;
	struct limit serial_limit; /* on its output */
	struct boot boot;
	uint8_t *job; /* the archive that brings it to the guest, until that is loaded */
	struct console console;
	struct serial serial;
	struct vcpus vcpus;
	struct blk disks[DEVICES_MAX];
	struct net nets[DEVICES_MAX];
} vm;

static void on_drained(void *arg)
{
	struct vm *v = arg;

	loop_stop(&v->loop);
}

/* The guest is over: no vCPU runs any more, what it wrote goes out, then the loop stops. */
static void on_end(struct op *op, int res)
{
	struct vm *v = container_of(op, struct vm, end_op);

	must(res == (int)sizeof(v->end_count));
	if (v->is_started)
		vcpus_stop(&v->vcpus);
	if (v->ended)
		v->ended(v);
	if (!v->is_started) { /* a signal to a process that serves */
		loop_stop(&v->loop);
		return;
	}
	console_drain(&v->console, on_drained, v);
	/* Who asked for the end does not wait for a reader that has stopped reading. */
	if (v->end.reason == END_TIMEOUT || v->end.reason == END_SIGNAL)
		loop_timeout(&v->loop, &v->grace_op, &v->grace, GRACE_MS);
}

static void on_grace_over(struct op *op, int res)
{
	struct vm *v = container_of(op, struct vm, grace_op);

	(void)res; /* -ETIME */
	loop_stop(&v->loop);
}

static void on_timeout(struct op *op, int res)
{
	struct vm *v = container_of(op, struct vm, timeout_op);

	(void)res; /* -ETIME */
	end_now(&v->end, END_TIMEOUT);
	/* It has ended otherwise, and waits for its reader: no longer than this. */
	if (v->end.reason != END_TIMEOUT && v->end.reason != END_SIGNAL)
		loop_timeout(&v->loop, &v->grace_op, &v->grace, GRACE_MS);
}

/* By when the guest is to be over: the operator's time is not the guest's alone. */
static uint64_t deadline_ns(const struct vm *v)
{
	return timeline_at(PHASE_START).wall_ns + v->config->timeout_ms * 1000000;
}

/* The loop, and what it watches from the start: the end, signals, the time limit. */
static int make_loop(struct vm *v)
{
	int err = loop_init(&v->loop);

	if (err)
		return err;
	err = end_init(&v->end, v->config->job.argc > 0);
	if (err)
		return fail(err, "eventfd");
	v->end_op.done = on_end;
	v->end_file = loop_file(&v->loop, v->end.fd);
	if (v->end_file < 0)
		return fail(v->end_file, "registering an eventfd");
	loop_read(&v->loop, &v->end_op, v->end_file, &v->end_count, sizeof(v->end_count));
	v->grace_op.done = on_grace_over;
	v->timeout_op.done = on_timeout;
	if (v->config->timeout_ms)
		loop_deadline(&v->loop, &v->timeout_op, &v->timeout, deadline_ns(v));
	return signals_init(&v->signals, &v->loop, &v->end);
}

static int make_machine(struct vm *v)
{
	int err = mem_init(&v->mem, v->config->mem_size);

	if (err)
		return err;
	err = v->config->huge_pages ? mem_huge_pages(&v->mem) : 0;
	if (err)
		return fail(err, "transparent huge pages");
	err = hv_create_vm(&v->hv, IOAPIC_PINS);
	if (err)
		return fail(err, "%s: creating a VM", v->hv.device);
	for (unsigned i = 0; i < v->mem.nr_regions; i++) {
		const struct mem_region *r = &v->mem.regions[i];

		err = hv_set_memory(&v->hv, i, r->gpa, r->size, r->host);
		if (err)
			return fail(err, "%s: %llu MiB of guest memory%s", v->hv.device,
				    (unsigned long long)(r->size >> 20),
				    err == -EINVAL ? " (more than this CPU's physical addresses "
						     "reach? 'lscpu' tells their size)"
						   : "");
	}
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd > 0)
		close(*fd);
	*fd = 0;
}

/* Under the serial port's lock. */
static bool serial_allows(void *arg)
{
	struct vm *v = arg;

	return limit_take(&v->serial_limit, 1, loop_now_ns(CLOCK_MONOTONIC)) == 0;
}

static int make_serial(struct vm *v)
{
	const struct rate_limit limit = { .bytes = v->config->serial.limit };
	int err;

	v->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (v->irq_fd < 0 || v->wake_fd < 0)
		return fail(-errno, "eventfd");
	err = hv_irqfd(&v->hv, v->irq_fd, COM1_GSI);
	if (err)
		return fail(err, "%s: KVM_IRQFD", v->hv.device);
	serial_init(&v->serial, v->irq_fd, v->wake_fd, v->config->job.argc > 0);
	limit_init(&v->serial_limit, &limit, 0); /* it counts from when a byte first asks */
	if (!limit_is_off(&v->serial_limit))
		serial_limit(&v->serial, serial_allows, v);
	return 0;
}

/* Window and interrupt number i. The eventfds for those stay open: disconnect_virtio(). */
static int connect_virtio(struct vm *v, struct virtio_device *dev, unsigned i)
{
	const uint64_t gpa = DEVICE_GPA + (i + 1) * DEVICE_SIZE;
	int err;

	dev->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	dev->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (dev->irq_fd < 0 || dev->wake_fd < 0)
		return fail(-errno, "eventfd");
	err = hv_irqfd(&v->hv, dev->irq_fd, VIRTIO_GSI + i);
	if (err)
		return fail(err, "%s: KVM_IRQFD", v->hv.device);
	err = hv_ioeventfd(&v->hv, dev->wake_fd, gpa + VIRTIO_MMIO_QUEUE_NOTIFY);
	if (err)
		return fail(err, "%s: KVM_IOEVENTFD", v->hv.device);
	err = virtio_open(dev, &v->loop, dev->irq_fd, dev->wake_fd);
	bus_add(&v->mmio, (struct window){ gpa, DEVICE_SIZE, virtio_access, dev });
	return err;
}

static void disconnect_virtio(struct virtio_device *dev)
{
	close_fd(&dev->irq_fd);
	close_fd(&dev->wake_fd);
}

static int open_disks(struct vm *v)
{
	int err = 0;

	for (unsigned i = 0; i < v->config->nr_disks && !err; i++) {
		err = blk_open(&v->disks[i], &v->config->disks[i]);
		if (!err && i > 0)
			err = disk_join(&v->disks[i].disk, &v->disks[0].disk);
	}
	return err;
}

static int make_disks(struct vm *v)
{
	int err = 0;

	for (unsigned i = 0; i < v->config->nr_disks && !err; i++) {
		struct blk *b = &v->disks[i];

		err = blk_init(b, v->config->cpus, &v->mem);
		if (!err)
			err = blk_attach(b, &v->loop);
		if (!err)
			err = connect_virtio(v, &b->dev, i);
	}
	return err;
}

static int open_nets(struct vm *v)
{
	int err = 0;

	for (unsigned i = 0; i < v->config->nr_nets && !err; i++)
		err = net_open(&v->nets[i], &v->config->nets[i], v->config->cpus);
	return err;
}

/* Windows and interrupts come after the disks'. */
static int make_nets(struct vm *v)
{
	int err = 0;

	for (unsigned i = 0; i < v->config->nr_nets && !err; i++) {
		struct net *n = &v->nets[i];

		err = net_init(n, &v->mem);
		if (!err)
			err = net_attach(n, &v->loop);
		if (!err)
			err = connect_virtio(v, &n->dev, v->config->nr_disks + i);
	}
	return err;
}

static int make_devices(struct vm *v)
{
	int err;

	ioapic_init(&v->ioapic, &v->hv, VIRTIO_GSI + v->config->nr_disks + v->config->nr_nets);
	v->power.end = &v->end;
	v->power.mem = &v->mem;
	v->pio.nr_windows = v->mmio.nr_windows = 0;

	bus_add(&v->pio, (struct window){ COM1_PORT, 8, serial_access, &v->serial });
	bus_add(&v->pio, (struct window){ I8042_PORT, 5, power_i8042_access, &v->power });
	bus_add(&v->pio, (struct window){ SLEEP_CONTROL_PORT, 3, power_acpi_access, &v->power });
	bus_add(&v->mmio,
		(struct window){ CONTROL_GPA, DEVICE_SIZE, power_control_access, &v->power });
	bus_add(&v->mmio, (struct window){ IOAPIC_GPA, IOAPIC_SIZE, ioapic_access, &v->ioapic });
	err = make_serial(v);
	if (!err)
		err = make_disks(v);
	return err ? err : make_nets(v);
}

static bool is_restored(const struct vm *v)
{
	return v->config->restore.state_fd;
}

static struct machine machine(struct vm *v)
{
	return (struct machine){ v->config,  &v->hv,   &v->mem, &v->vcpus,  &v->ioapic,
				 &v->serial, v->disks, v->nets, v->file_max };
}

/* The guest is told that it is another now than it was. */
static int renew_generation(struct vm *v)
{
	int err;

	v->generation_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->generation_fd < 0)
		return fail(-errno, "eventfd");
	err = hv_irqfd(&v->hv, v->generation_fd, GENERATION_GSI);
	if (err)
		return fail(err, "%s: KVM_IRQFD", v->hv.device);
	loop_signal(v->generation_fd);
	return 0;
}

static int make_vcpus(struct vm *v)
{
	const struct machine m = machine(v);
	int err = vcpus_create(&v->vcpus, &v->hv, v->config->cpus);

	if (err)
		return err;
	hv_made(&v->hv);
	memcpy(mem_at(&v->mem, GENERATION_GPA, GENERATION_SIZE), v->generation, GENERATION_SIZE);
	if (is_restored(v)) {
		err = snapshot_load(&m);
		return err ? err : renew_generation(v);
	}
	return cpu_enter(&v->vcpus.vcpu[0].hv, &v->mem, v->boot.image.kind, v->boot.image.entry);
}

/*
 * What is needed by path while the guest runs: to connect anew, and to remove a socket at the end.
 */
static int keep_folders(const struct vm_config *c)
{
	int err = 0;

	for (unsigned i = 0; i < c->nr_nets && !err; i++)
		if (c->nets[i].kind == NET_PEER || c->nets[i].kind == NET_STREAM)
			err = jail_keep_folder(c->nets[i].path, c->nets[i].kind == NET_PEER);
	if (!err && c->serial.kind == SERIAL_UNIX)
		err = jail_keep_folder(c->serial.path, false);
	return err;
}

static enum filter filter_of(const struct vm_config *c)
{
	for (unsigned i = 0; i < c->nr_nets; i++)
		if (c->nets[i].kind == NET_PEER || c->nets[i].kind == NET_STREAM)
			return FILTER_LINKS;
	if (!c->has_api)
		return FILTER_RUN;
	return c->is_fileless ? FILTER_SERVE : FILTER_FILES;
}

/*
 * The loop's thread gets its filter; the vCPUs have theirs. Where that fails no guest runs: too
 * much is under way to take it all back.
 */
static void confine(struct vm *v)
{
	if (sealed_close() || filter_enter(filter_of(v->config), "mayfly"))
		end_now(&v->end, END_ERROR);
}

static void on_asked_to_end(void *arg)
{
	struct vm *v = arg;

	signals_ask(&v->signals, SIGTERM);
}

/*
 * The console comes last of what can be refused: it is the first that leaves a mark outside. The
 * threads come behind the jail, so that they are born in it.
 */
static int start(struct vm *v)
{
	struct rlimit file_size = { .rlim_cur = RLIM_INFINITY };
	int err = halt_init(&v->halt, &v->loop, &v->vcpus);

	if (!err)
		err = keep_folders(v->config);
	if (!err)
		err = console_open(&v->console, &v->loop, &v->serial, &v->config->serial,
				   v->config->job.argc > 0);
	if (!err)
		err = jail_enter();
	if (!err)
		err = vcpus_start(&v->vcpus);
	if (!err)
		err = jail_detach();
	if (err)
		return err;
	getrlimit(RLIMIT_FSIZE, &file_size); /* which no filter lets through later */
	v->file_max = file_size.rlim_cur;
	v->is_started = true;
	console_listen(&v->console, on_asked_to_end, v);
	halt_watch(&v->halt);
	for (unsigned i = 0; i < v->config->nr_disks; i++)
		virtio_listen(&v->disks[i].dev);
	for (unsigned i = 0; i < v->config->nr_nets; i++)
		net_listen(&v->nets[i]);
	confine(v);
	if (v->config->timeout_ms && loop_now_ns(CLOCK_MONOTONIC) >= deadline_ns(v))
		end_now(&v->end, END_TIMEOUT); /* nor does one begin */
	vcpus_await(&v->vcpus); /* no guest runs beside a thread without its filter */
	if (v->config->restore.is_paused)
		halt_hold(&v->halt, true);
	else
		vm_resume(v);
	return 0;
}

static double ms_between(enum phase from, enum phase to)
{
	return (double)(timeline_at(to).wall_ns - timeline_at(from).wall_ns) / 1e6;
}

static const struct {
	enum phase phase;
	const char *words;
} reported[] = {
	{ PHASE_FIRST_ENTRY, "first instruction" },
	{ PHASE_INIT, "init" },
	{ PHASE_END, "end" },
};

static void report_net(const struct net_config *config, const struct net_counters *c)
{
	note("%s: received %llu frames, %llu bytes, %llu lost; sent %llu, %llu bytes, %llu lost; "
	     "%llu from another MAC",
	     config->id, (unsigned long long)c->rx_packets_count,
	     (unsigned long long)c->rx_bytes_count, (unsigned long long)c->rx_fails,
	     (unsigned long long)c->tx_packets_count, (unsigned long long)c->tx_bytes_count,
	     (unsigned long long)c->tx_fails, (unsigned long long)c->tx_spoofed_mac_count);
}

/*
 * How it ended: where that is no news (a job that reported, a power-off), only when asked. The code
 * of a process that serves is not ours, and its own last line has it.
 */
static void report(const struct vm *v)
{
	const bool is_news = v->end.reason != END_POWEROFF || end_code(&v->end) == EXIT_JOB_LOST;

	if (v->ended && vm_is_hung_up(v))
		signals_say_shutdown(SIGHUP, v->signals.info.ssi_code);
	if (v->ended && is_news)
		note("%s", end_words(&v->end));
	else if (is_news || v->config->report)
		note("%s; exit code %d", end_words(&v->end), end_code(&v->end));
	if (v->serial.tx_dropped && console_has_readers(&v->console))
		note("%llu bytes of serial output had no reader",
		     (unsigned long long)v->serial.tx_dropped);
	if (!v->config->report)
		return;
	for (unsigned i = 0; i < v->config->nr_nets; i++)
		report_net(&v->config->nets[i], &v->nets[i].counters);
	for (size_t i = 0; i < sizeof(reported) / sizeof(reported[0]); i++)
		if (timeline_at(reported[i].phase).wall_ns)
			note("%s after %.1f ms", reported[i].words,
			     ms_between(PHASE_START, reported[i].phase));
}

/* Before the first look at a file that may be anybody's; no other ring can be made from then on. */
static int begin(struct vm *v, const struct vm_config *config)
{
	int err;

	v->config = config;
	signals_catch_fatal();
	if (getrandom(v->generation, GENERATION_SIZE, 0) != GENERATION_SIZE)
		return fail(-errno, "getrandom");
	err = make_loop(v);
	return err ? err : filter_enter(FILTER_START, "mayfly");
}

static int open_boot(struct vm *v)
{
	const struct job_config *job = &v->config->job;
	unsigned rows = 0, cols = 0;
	ssize_t size = 0;

	if (job->argc) {
		term_size(&rows, &cols);
		size = job_pack(job, console_is_tty(&v->config->serial), rows, cols, &v->job);
		if (size < 0)
			return fail((int)size, "packing the command");
	}
	return boot_open(&v->boot, v->config, v->job, (uint64_t)size);
}

static void close_boot(struct vm *v)
{
	boot_close(&v->boot);
	free(v->job);
	v->job = NULL;
}

/* Everything is opened and checked before anything is created. */
static int prepare(struct vm *v, const struct vm_config *config)
{
	int err;

	v->config = config;
	v->hv = (struct hv){ .sys_fd = -1, .vm_fd = -1 };
	v->boot = (struct boot){ .kernel_fd = -1, .initrd_fd = -1 };
	vcpus_init(&v->vcpus, &v->pio, &v->mmio, &v->mem, &v->end);
	err = is_restored(v) ? snapshot_read(config, config->restore.state_fd, config->restore.at)
			     : open_boot(v);
	if (!err)
		err = open_disks(v);
	if (!err)
		err = open_nets(v);
	if (!err)
		err = hv_open(&v->hv, config->hv);
	if (!err && config->timeline)
		err = timeline_open(config->timeline);
	return err;
}

static int build(struct vm *v)
{
	int err;

	timeline_mark(PHASE_CONFIGURED);
	err = make_machine(v);
	if (!err)
		err = make_devices(v);
	if (!err)
		err = is_restored(v) ? snapshot_map(&v->mem, v->config->restore.mem_fd)
				     : boot_load(&v->boot, &v->mem, v->config);
	if (!err)
		err = make_vcpus(v);
	close_boot(v);
	return err ? err : start(v);
}

/* Of a microVM that has run, or was made in part. */
static void close_devices(struct vm *v)
{
	for (unsigned i = 0; i < v->config->nr_disks; i++)
		blk_close(&v->disks[i]);
	for (unsigned i = 0; i < v->config->nr_nets; i++)
		net_close(&v->nets[i]);
}

/* The one way back, from wherever building stopped. */
static void unmake(struct vm *v, unsigned nr_files)
{
	vcpus_stop(&v->vcpus);
	loop_files_cut(&v->loop, nr_files);
	for (unsigned i = 0; i < v->config->nr_disks; i++)
		disk_forget(&v->disks[i].disk);
	close_devices(v);
	for (unsigned i = 0; i < v->config->nr_disks; i++)
		disconnect_virtio(&v->disks[i].dev);
	for (unsigned i = 0; i < v->config->nr_nets; i++)
		disconnect_virtio(&v->nets[i].dev);
	vcpus_fini(&v->vcpus, &v->hv);
	term_restore();
	console_close(&v->console);
	close_fd(&v->irq_fd);
	close_fd(&v->wake_fd);
	close_fd(&v->generation_fd);
	hv_close(&v->hv);
	mem_fini(&v->mem);
	close_boot(v);
}

struct vm *vm_open(const struct vm_config *config)
{
	struct vm *v = &vm;

	return begin(v, config) ? NULL : v;
}

struct loop *vm_loop(struct vm *v)
{
	return &v->loop;
}

int vm_start(struct vm *v, const struct vm_config *config)
{
	const unsigned nr_files = v->loop.nr_files;
	int err;

	v->power.wall_ns = loop_now_ns(CLOCK_MONOTONIC);
	v->power.cpu_ns = loop_now_ns(CLOCK_PROCESS_CPUTIME_ID);
	err = prepare(v, config);
	if (!err)
		err = build(v);
	if (err && jail_is_entered()) { /* no way back to try again; vm_wait() cleans up */
		end_now(&v->end, END_ERROR);
	} else if (err) {
		unmake(v, nr_files);
		timeline_forget(PHASE_CONFIGURED); /* the next start will be */
	}
	return err;
}

/* A vCPU may wait for the loop itself, to make room for its output. */
static void go_on(void *arg)
{
	struct vm *v = arg;

	loop_turn(&v->loop);
}

static struct virtio_device *device(struct vm *v, unsigned i)
{
	return i < v->config->nr_disks ? &v->disks[i].dev : &v->nets[i - v->config->nr_disks].dev;
}

static unsigned nr_devices(const struct vm *v)
{
	return v->config->nr_disks + v->config->nr_nets;
}

static bool are_at_rest(struct vm *v)
{
	bool is_resting = true;

	for (unsigned i = 0; i < nr_devices(v); i++)
		is_resting &= virtio_is_at_rest(device(v, i));
	return is_resting;
}

void vm_pause(struct vm *v)
{
	halt_hold(&v->halt, true);
	vcpus_pause(&v->vcpus, go_on, v);
	for (unsigned i = 0; i < v->config->cpus; i++)
		hv_was_paused(&v->vcpus.vcpu[i].hv);
	for (unsigned i = 0; i < nr_devices(v); i++)
		virtio_rest(device(v, i));
	while (!are_at_rest(v) && !v->loop.stopped) { /* nothing completes in one that is */
		loop_turn(&v->loop);
		if (!are_at_rest(v))
			vcpus_wait(&v->vcpus);
	}
}

void vm_resume(struct vm *v)
{
	for (unsigned i = 0; i < nr_devices(v); i++)
		virtio_go_on(device(v, i));
	vcpus_resume(&v->vcpus);
	halt_hold(&v->halt, false);
}

int vm_save(struct vm *v, int state_fd, uint64_t at, int mem_fd)
{
	const struct machine m = machine(v);

	return snapshot_write(&m, state_fd, at, mem_fd);
}

bool vm_wait(struct vm *v)
{
	int err = loop_run(&v->loop);

	vcpus_stop(&v->vcpus);
	timeline_mark(PHASE_END);
	serial_tx_discard(&v->serial, true); /* what is left was not read, and is told */
	term_restore();
	console_close(&v->console);
	close_devices(v);
	if (!err)
		report(v);
	if (!err && v->config->timeline)
		err = timeline_write(v->config->timeline);
	return !err;
}

int vm_exit_code(const struct vm *v)
{
	return end_code(&v->end);
}

const char *vm_exit_words(const struct vm *v)
{
	return end_words(&v->end);
}

bool vm_is_rebooted(const struct vm *v)
{
	return v->end.reason == END_REBOOT || v->end.reason == END_PANIC;
}

bool vm_is_hung_up(const struct vm *v)
{
	return v->end.reason == END_SIGNAL && v->end.signal == SIGHUP;
}

void vm_on_end(struct vm *v, void (*ended)(void *vm))
{
	v->ended = ended;
}

int vm_tap_open(const char *name)
{
	return tap_open_name(name);
}

int vm_tap_check(int fd)
{
	return tap_check(fd);
}

void vm_say_boot_time(struct vm *v)
{
	v->power.says_boot_time = true;
}

/*
 * A free-running 32-bit counter of the UART's, widened: it is asked each minute, before it wraps.
 */
static void widen(uint64_t *wide, uint32_t now)
{
	*wide += (uint32_t)(now - (uint32_t)*wide);
}

static uint64_t count_interrupts(const struct vm *v)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < v->config->nr_disks; i++)
		sum += v->disks[i].dev.nr_interrupts;
	for (unsigned i = 0; i < v->config->nr_nets; i++)
		sum += v->nets[i].dev.nr_interrupts;
	return sum;
}

void vm_count(struct vm *v, struct counters *c)
{
	static const enum phase phases[] = { PHASE_CONFIGURED, PHASE_FIRST_ENTRY,
					     PHASE_FIRST_SERIAL, PHASE_INIT };

	vcpus_count(&v->vcpus, c);
	c->hangups = vm_is_hung_up(v);
	widen(&c->uart_writes, __atomic_load_n(&v->serial.tx_head, __ATOMIC_RELAXED));
	widen(&c->uart_reads, __atomic_load_n(&v->serial.rx_tail, __ATOMIC_RELAXED));
	c->uart_dropped = __atomic_load_n(&v->serial.tx_dropped, __ATOMIC_RELAXED);
	c->interrupts = count_interrupts(v);
	c->uart_limited = __atomic_load_n(&v->serial.tx_limited, __ATOMIC_RELAXED);
	c->i8042_resets = __atomic_load_n(&v->power.i8042_resets, __ATOMIC_RELAXED);
	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++)
		if (timeline_at(phases[i]).wall_ns) {
			c->phase_us[i] = (uint64_t)(ms_between(PHASE_START, phases[i]) * 1000);
			c->phase_cpu_us[i] = timeline_at(phases[i]).cpu_ns / 1000;
		}
}

static struct blk *find_disk(struct vm *v, const char *id)
{
	for (unsigned i = 0; i < v->config->nr_disks; i++)
		if (!strcmp(v->config->disks[i].id, id))
			return &v->disks[i];
	return NULL;
}

static struct net *find_net(struct vm *v, const char *id)
{
	for (unsigned i = 0; i < v->config->nr_nets; i++)
		if (!strcmp(v->config->nets[i].id, id))
			return &v->nets[i];
	return NULL;
}

int vm_update_disk(struct vm *v, const struct disk_update *u)
{
	struct blk *b = find_disk(v, u->id);

	return b ? blk_update(b, u) : fail(-ENOENT, "disk %s", u->id);
}

int vm_update_net(struct vm *v, const struct net_update *u)
{
	struct net *n = find_net(v, u->id);

	if (!n)
		return fail(-ENOENT, "interface %s", u->id);
	net_update(n, u);
	return 0;
}

void vm_count_devices(const struct vm *v, struct devices_counters *counters)
{
	for (unsigned i = 0; i < v->config->nr_disks; i++)
		blk_count(&v->disks[i], &counters->disks[i]);
	for (unsigned i = 0; i < v->config->nr_nets; i++)
		net_count(&v->nets[i], &counters->nets[i]);
}

int vm_run(const struct vm_config *config)
{
	struct vm *v = &vm;
	int err;

	if (begin(v, config))
		return EXIT_MONITOR;
	err = prepare(v, config);
	if (!err)
		err = build(v);
	if (err)
		unmake(v, UINT32_MAX);
	else if (!vm_wait(v))
		err = -EIO;
	return err ? EXIT_MONITOR : end_code(&v->end);
}
