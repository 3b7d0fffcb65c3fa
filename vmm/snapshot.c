// SPDX-License-Identifier: Apache-2.0
/*
 * Snapshots: see snapshot.h. The state is one structure, written and read as it lies in memory, and
 * so for this version of mayfly only. Called by vm.c.
 */
#include "snapshot.h"
#include "cpu.h"
#include "log.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MAGIC	      0x3159464d50414e53ull /* "SNAPMFY1" */
#define CR4_VMXE      (1ull << 13)
#define EFER_SVME     (1ull << 12)
#define TSC_TOLERANCE 250u /* parts in a million that a clock may be off, as in KVM */
#define PAGE	      4096u
#define WRITE_MAX     (1u << 20)

static struct snapshot {
	uint64_t magic;
	uint64_t sum; /* of what follows, up to the last vCPU */
	uint64_t mem_size, cpuid_sum, clock_ns;
	uint32_t cpus, nr_disks, nr_nets, tsc_khz;
	uint32_t has_clock;
	struct ioapic_state ioapic;
	struct serial_state serial;
	struct virtio_state devices[DEVICES_MAX]; /* disks, then interfaces */
	struct hv_state vcpus[MAX_VCPUS];
} snapshot;

/* Against accidents: FNV-1a, a word at a time. */
static uint64_t sum(const void *from, size_t len)
{
	uint64_t hash = 0xcbf29ce484222325ull, word;

	for (size_t i = 0; i + sizeof(word) <= len; i += sizeof(word)) {
		memcpy(&word, (const uint8_t *)from + i, sizeof(word));
		hash = (hash ^ word) * 0x100000001b3ull;
	}
	return hash;
}

/* Of the last vCPU's; the others differ in their number only. */
static uint64_t cpuid_sum(const struct hv_cpuid *cpuid)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < cpuid->head.nent; i++)
		if (!cpu_is_incidental(cpuid->entries[i].function))
			all += sum(&cpuid->entries[i], sizeof(cpuid->entries[i]));
	return all;
}

static size_t used_size(unsigned cpus)
{
	return offsetof(struct snapshot, vcpus) + cpus * sizeof(snapshot.vcpus[0]);
}

static uint64_t sum_of(const struct snapshot *s)
{
	const size_t from = offsetof(struct snapshot, mem_size);

	return sum(&s->mem_size, used_size(s->cpus) - from);
}

static int write_all(int fd, const void *from, uint64_t len, uint64_t at)
{
	const uint8_t *next = from;

	while (len > 0) {
		const ssize_t n = pwrite(fd, next, len < WRITE_MAX ? len : WRITE_MAX, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		next += n;
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static bool is_zero(const uint64_t *page)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < PAGE / sizeof(*page); i++)
		any |= page[i];
	return !any;
}

/* Pages of zeros are holes in the file. */
static int write_region(const struct mem_region *r, int fd, uint64_t at)
{
	int err = 0;

	for (uint64_t i = 0, end; i < r->size && !err; i = end) {
		const bool is_hole = is_zero((const uint64_t *)(const void *)(r->host + i));

		for (end = i + PAGE; end < r->size; end += PAGE)
			if (is_zero((const uint64_t *)(const void *)(r->host + end)) != is_hole)
				break;
		if (!is_hole)
			err = write_all(fd, r->host + i, end - i, at + i);
	}
	return err;
}

/* Empty first: what it held may not come through the holes. */
static int write_memory(const struct mem *mem, uint64_t size, int fd)
{
	uint64_t at = 0;
	int err = ftruncate(fd, 0) || ftruncate(fd, (off_t)size) ? -errno : 0;

	for (unsigned i = 0; i < mem->nr_regions && !err; i++) {
		err = write_region(&mem->regions[i], fd, at);
		at += mem->regions[i].size;
	}
	return err ? fail(err, "writing the guest's memory") : 0;
}

static int save(const struct machine *m)
{
	const struct vm_config *c = m->config;
	struct snapshot *s = &snapshot;
	int err = hv_get_clock(m->hv, &s->clock_ns);

	s->has_clock = !err;
	s->mem_size = c->mem_size;
	s->cpus = c->cpus;
	s->nr_disks = c->nr_disks;
	s->nr_nets = c->nr_nets;
	s->cpuid_sum = cpuid_sum(&m->vcpus->cpuid);
	s->tsc_khz = m->vcpus->tsc_khz;
	ioapic_save(m->ioapic, &s->ioapic);
	serial_save(m->serial, &s->serial);
	for (unsigned i = 0; i < c->nr_disks; i++)
		virtio_save(&m->disks[i].dev, &s->devices[i]);
	for (unsigned i = 0; i < c->nr_nets; i++)
		net_save(&m->nets[i], &s->devices[c->nr_disks + i]);
	for (unsigned i = 0; i < c->cpus; i++) {
		err = hv_get_state(&m->vcpus->vcpu[i].hv, &s->vcpus[i]);
		if (err)
			return fail(err, "vCPU %u: its state", i);
		if (s->vcpus[i].sregs.cr4 & CR4_VMXE || s->vcpus[i].sregs.efer & EFER_SVME)
			return fail(0, "the guest runs a hypervisor, whose guests would be lost");
	}
	return 0;
}

int snapshot_write(const struct machine *m, int state_fd, uint64_t at, int mem_fd)
{
	const uint64_t end = at + used_size(m->config->cpus);
	struct snapshot *s = &snapshot;
	int err;

	if (m->config->mem_size > m->file_max || end > m->file_max)
		return fail(-EFBIG, "the limit of a file's size (RLIMIT_FSIZE) is lower");
	memset(s, 0, used_size(m->config->cpus)); /* padding, too */
	err = save(m);
	if (!err)
		err = write_memory(m->mem, m->config->mem_size, mem_fd);
	if (err)
		return err;
	s->magic = MAGIC;
	s->sum = sum_of(s);
	err = write_all(state_fd, s, used_size(s->cpus), at);
	return err ? fail(err, "writing the state") : 0;
}

static int read_all(int fd, void *to, size_t len, uint64_t at)
{
	ssize_t n;

	for (size_t done = 0; done < len; done += (size_t)n) {
		n = pread(fd, (uint8_t *)to + done, len - done, (off_t)(at + done));
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
	}
	return 0;
}

int snapshot_read(const struct vm_config *c, int fd, uint64_t at)
{
	struct snapshot *s = &snapshot;
	int err = read_all(fd, s, used_size(c->cpus), at);

	if (err == -ENODATA)
		return fail(0, "the state is cut short");
	if (err)
		return fail(err, "reading the state");
	if (s->magic != MAGIC)
		return fail(0, "the state is none of this version of mayfly");
	if (s->cpus != c->cpus || s->mem_size != c->mem_size || s->nr_disks != c->nr_disks ||
	    s->nr_nets != c->nr_nets || s->sum != sum_of(s))
		return fail(0, "the state is damaged");
	return 0;
}

int snapshot_map(const struct mem *mem, int fd)
{
	uint64_t at = 0;
	int err = 0;

	for (unsigned i = 0; i < mem->nr_regions && !err; i++) {
		const struct mem_region *r = &mem->regions[i];

		err = mem_load_file(mem, r->gpa, fd, at, r->size);
		at += r->size;
	}
	if (err == -ENODATA)
		return fail(0, "the memory file is smaller than the guest's memory");
	return err ? fail(err, "mapping the memory file") : 0;
}

static int check_cpu(const struct vcpus *vcpus)
{
	const uint64_t here = vcpus->tsc_khz, there = snapshot.tsc_khz;
	const uint64_t off = here > there ? here - there : there - here;

	if (snapshot.cpuid_sum != cpuid_sum(&vcpus->cpuid))
		return fail(0, "it was taken on another kind of CPU, or under another "
			       "kernel or hypervisor");
	if (off * 1000000 > here * TSC_TOLERANCE)
		return fail(0, "it was taken with a TSC of %llu kHz; here it has %llu",
			    (unsigned long long)there, (unsigned long long)here);
	return 0;
}

static int load_devices(const struct machine *m)
{
	const struct vm_config *c = m->config;
	int err = 0;

	for (unsigned i = 0; i < c->nr_disks; i++) {
		err = virtio_load(&m->disks[i].dev, &snapshot.devices[i]);
		if (err)
			return fail(0,
				    "disk %s is not what it was (its size, whether it is read "
				    "only), or the state is damaged",
				    c->disks[i].id);
	}
	for (unsigned i = 0; i < c->nr_nets; i++) {
		err = net_load(&m->nets[i], &snapshot.devices[c->nr_disks + i]);
		if (err)
			return fail(0,
				    "interface %s is not what it was (the tap's queues), or "
				    "the state is damaged",
				    c->nets[i].id);
	}
	return 0;
}

/* Interrupts come last: devices may have some, for vCPUs that are what they were. */
int snapshot_load(const struct machine *m)
{
	int err = check_cpu(m->vcpus);

	if (!err)
		err = load_devices(m);
	if (!err && snapshot.has_clock)
		err = hv_set_clock(m->hv, snapshot.clock_ns);
	if (!err)
		err = hv_part_tsc(&m->vcpus->vcpu[0].hv, &snapshot.vcpus[0]);
	for (unsigned i = 0; i < m->config->cpus && !err; i++) {
		err = hv_set_state(&m->vcpus->vcpu[i].hv, &snapshot.vcpus[i]);
		if (err)
			return fail(err, "vCPU %u cannot be brought to its state", i);
	}
	if (!err)
		err = ioapic_load(m->ioapic, &snapshot.ioapic);
	if (!err)
		serial_load(m->serial, &snapshot.serial);
	return err;
}
