// SPDX-License-Identifier: Apache-2.0
/*
 * The two files of a snapshot (vmm/snapshot.h): sparse memory, and a state that is read back or
 * refused, whatever was done to it. The hypervisor and the devices but for their transport are the
 * test's own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Before cmocka, which has a macro fail(). */
#include "../../vmm/snapshot.h"
#include "../../vmm/cpu.h"
#include "../../vmm/log.h"
#include "../../vmm/timeline.h"

#include <cmocka.h>

#define PAGE	 4096u
#define MEM_SIZE (1u << 20)
#define AT	 4096u /* of the state, in its file */
#define CPUS	 2u
#define FILE_MAX (1u << 20)

static struct vm_config config;
static struct hv hv;
static struct mem mem;
static struct vcpus vcpus;
static struct ioapic ioapic;
static struct serial serial;
static struct blk disk;
static struct net net;
static struct machine machine = { &config, &hv,	  &mem, &vcpus,	   &ioapic,
				  &serial, &disk, &net, UINT64_MAX };
static int state_fd, mem_fd;
static uint8_t state_file[FILE_MAX];

/* What the hypervisor was told. */
static struct {
	int answer;
	unsigned nr_set, nr_parted, nr_clocks;
	uint64_t clock;
	struct hv_state vcpus[CPUS];
} told;

int hv_get_state(const struct hv_vcpu *vcpu, struct hv_state *state)
{
	state->regs.rip = 0x1000u + (unsigned)vcpu->fd;
	state->msrs.head.nmsrs = 1;
	return told.answer;
}

int hv_set_state(const struct hv_vcpu *vcpu, const struct hv_state *state)
{
	told.vcpus[vcpu->fd] = *state;
	told.nr_set++;
	return told.answer;
}

int hv_part_tsc(const struct hv_vcpu *vcpu, const struct hv_state *state)
{
	(void)vcpu;
	(void)state;
	assert_int_equal(told.nr_set, 0);
	told.nr_parted++;
	return 0;
}

int hv_get_clock(const struct hv *of, uint64_t *ns)
{
	(void)of;
	*ns = 12345;
	return told.clock ? 0 : -ENOTTY;
}

int hv_set_clock(const struct hv *of, uint64_t ns)
{
	(void)of;
	told.nr_clocks++;
	told.clock = ns;
	return 0;
}

int hv_set_routes(const struct hv *of, const struct kvm_irq_routing_entry *routes, unsigned nr)
{
	(void)of;
	(void)routes;
	(void)nr;
	return 0;
}

void net_save(const struct net *n, struct virtio_state *s)
{
	virtio_save(&n->dev, s);
}

int net_load(struct net *n, const struct virtio_state *s)
{
	return virtio_load(&n->dev, s);
}

bool cpu_is_incidental(uint32_t function)
{
	return function == 0x15;
}

/* No device runs. */

void timeline_mark(enum phase phase)
{
	(void)phase;
}

void loop_signal(int fd)
{
	(void)fd;
}

void loop_read(struct loop *loop, struct op *op, int file, void *buf, unsigned len)
{
	(void)loop;
	(void)op;
	(void)file;
	(void)buf;
	(void)len;
}

void loop_yield(struct loop *loop, struct op *op)
{
	(void)loop;
	(void)op;
}

void loop_at_turn_end(struct loop *loop, struct turn *turn)
{
	(void)loop;
	(void)turn;
}

int loop_file(struct loop *loop, int fd)
{
	(void)loop;
	return fd;
}

static const struct virtio_ops ops = { .activate = NULL };

static void make_machine(void)
{
	memset(&told, 0, sizeof(told));
	config = (struct vm_config){
		.cpus = CPUS, .mem_size = 2 * MEM_SIZE, .nr_disks = 1, .nr_nets = 1
	};
	config.disks[0].id = "d";
	config.nets[0].id = "n";
	vcpus.cpuid.head.nent = 2;
	vcpus.cpuid.entries[0].function = 1;
	vcpus.cpuid.entries[0].eax = 0x1234;
	vcpus.cpuid.entries[1].function = 0x15;
	vcpus.tsc_khz = 2000000;
	for (int i = 0; i < (int)CPUS; i++)
		vcpus.vcpu[i].hv.fd = i;
	ioapic_init(&ioapic, &hv, 6);
	serial_init(&serial, -1, -1, false);
	virtio_init(&disk.dev, &ops, "d", VIRTIO_ID_BLOCK, 0, 1, &mem);
	virtio_init(&net.dev, &ops, "n", VIRTIO_ID_NET, 0, 2, &mem);
	log_to(&(const struct log_form){ .fd = STDERR_FILENO });
	log_keep_failures();
}

/* Two regions, as a guest of more than 3 GiB has. */
static int make(void **state)
{
	(void)state;
	mem.nr_regions = 2;
	for (unsigned i = 0; i < 2; i++) {
		void *host = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		assert_ptr_not_equal(host, MAP_FAILED);
		mem.regions[i] = (struct mem_region){ .gpa = i * 0x100000000ull,
						      .size = MEM_SIZE,
						      .host = host };
	}
	state_fd = memfd_create("state", 0);
	mem_fd = memfd_create("memory", 0);
	assert_true(state_fd >= 0 && mem_fd >= 0);
	make_machine();
	return 0;
}

static int drop(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++)
		munmap(mem.regions[i].host, MEM_SIZE);
	close(state_fd);
	close(mem_fd);
	return 0;
}

static struct stat stat_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st;
}

static void write_it(void)
{
	assert_int_equal(snapshot_write(&machine, state_fd, AT, mem_fd), 0);
}

static int read_it(void)
{
	return snapshot_read(&config, state_fd, AT);
}

/* The last line in the log says it. */
static void says(const char *words)
{
	if (!strstr(log_last_failure(), words))
		fail_msg("'%s' does not say '%s'", log_last_failure(), words);
}

static void sparse_memory(void **state)
{
	uint8_t page[PAGE];

	(void)state;
	mem.regions[0].host[5 * PAGE + 7] = 1;
	mem.regions[0].host[MEM_SIZE - 1] = 2;
	mem.regions[1].host[0] = 3;
	memset(mem.regions[1].host + 9 * PAGE, 4, 3 * PAGE);
	write_it();
	assert_int_equal(stat_of(mem_fd).st_size, 2 * MEM_SIZE);
	assert_int_equal(stat_of(mem_fd).st_blocks * 512, 6 * PAGE);
	assert_int_equal(lseek(mem_fd, 0, SEEK_DATA), 5 * PAGE);
	assert_int_equal(lseek(mem_fd, 5 * PAGE, SEEK_HOLE), 6 * PAGE);
	assert_int_equal(pread(mem_fd, page, PAGE, MEM_SIZE + 11 * PAGE), PAGE);
	assert_memory_equal(page, mem.regions[1].host + 11 * PAGE, PAGE);
	for (unsigned i = 0; i < 2; i++)
		memset(mem.regions[i].host, 0xee, MEM_SIZE);
	assert_int_equal(snapshot_map(&mem, mem_fd), 0);
	assert_int_equal(mem.regions[0].host[5 * PAGE + 7], 1);
	assert_int_equal(mem.regions[0].host[6 * PAGE], 0);
	assert_int_equal(mem.regions[0].host[MEM_SIZE - 1], 2);
	assert_int_equal(mem.regions[1].host[0], 3);
	assert_int_equal(mem.regions[1].host[12 * PAGE - 1], 4);
	assert_int_equal(mem.regions[1].host[12 * PAGE], 0);
}

/* A larger file that is full: zeros are zeros, and nothing lies behind them. */
static void over_a_full_file(void **state)
{
	static uint8_t full[3 * MEM_SIZE];

	(void)state;
	memset(full, 0xee, sizeof(full));
	assert_int_equal(pwrite(mem_fd, full, sizeof(full), 0), sizeof(full));
	mem.regions[1].host[MEM_SIZE - 1] = 1;
	write_it();
	assert_int_equal(stat_of(mem_fd).st_size, 2 * MEM_SIZE);
	assert_int_equal(stat_of(mem_fd).st_blocks * 512, PAGE);
	assert_int_equal(pread(mem_fd, full, sizeof(full), 0), 2 * MEM_SIZE);
	for (unsigned i = 0; i < 2 * MEM_SIZE - 1; i++)
		assert_int_equal(full[i], 0);
	assert_int_equal(full[2 * MEM_SIZE - 1], 1);
}

/* What is mapped is the microVM's own once it is written to. */
static void private_memory(void **state)
{
	uint8_t byte;

	(void)state;
	mem.regions[0].host[0] = 1;
	write_it();
	assert_int_equal(snapshot_map(&mem, mem_fd), 0);
	mem.regions[0].host[0] = 9;
	assert_int_equal(pread(mem_fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 1);
}

static void short_memory(void **state)
{
	static const off_t sizes[] = { 2 * MEM_SIZE - 1, 2 * MEM_SIZE - PAGE, MEM_SIZE, 1, 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(ftruncate(mem_fd, sizes[i]), 0);
		assert_int_equal(snapshot_map(&mem, mem_fd), -EINVAL);
		says("the memory file is smaller than the guest's memory");
	}
	assert_int_equal(ftruncate(mem_fd, 2 * MEM_SIZE + 1), 0);
	assert_int_equal(snapshot_map(&mem, mem_fd), 0);
}

static void no_memory_file(void **state)
{
	int pipes[2];

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_int_not_equal(snapshot_map(&mem, pipes[0]), 0);
	assert_int_not_equal(snapshot_write(&machine, state_fd, AT, pipes[1]), 0);
	says("writing the guest's memory");
	assert_int_equal(stat_of(state_fd).st_size, 0); /* it comes last */
	close(pipes[0]);
	close(pipes[1]);
}

static void goes_round(void **state)
{
	uint8_t scratch = 0x5a;

	(void)state;
	told.clock = 1;
	serial_access(&serial, 7, &scratch, 1, true);
	ioapic.pins[3] = 0x31;
	write_it();
	make_machine();
	assert_int_equal(read_it(), 0);
	assert_int_equal(snapshot_load(&machine), 0);
	assert_int_equal(told.nr_set, CPUS);
	assert_int_equal(told.nr_parted, 1);
	assert_int_equal(told.clock, 12345);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(told.vcpus[i].regs.rip, 0x1000 + i);
	assert_int_equal(serial.scr, 0x5a);
	assert_int_equal(ioapic.pins[3], 0x31);
	assert_true(virtio_is_at_rest(&disk.dev) && virtio_is_at_rest(&net.dev));
}

/* The same is the same file, byte for byte: nothing of the monitor's memory is in it. */
static void nothing_else(void **state)
{
	static uint8_t first[FILE_MAX];
	ssize_t len;

	(void)state;
	write_it();
	len = pread(state_fd, first, FILE_MAX, 0);
	assert_in_range(len, AT, FILE_MAX - 1);
	assert_int_equal(ftruncate(state_fd, 0), 0);
	make_machine();
	write_it();
	assert_int_equal(pread(state_fd, state_file, FILE_MAX, 0), len);
	assert_memory_equal(first, state_file, (size_t)len);
}

static void no_clock(void **state)
{
	(void)state;
	write_it();
	assert_int_equal(read_it(), 0);
	assert_int_equal(snapshot_load(&machine), 0);
	assert_int_equal(told.nr_clocks, 0);
}

static void hypervisor_refuses(void **state)
{
	(void)state;
	told.answer = -EIO;
	assert_int_equal(snapshot_write(&machine, state_fd, AT, mem_fd), -EIO);
	says("vCPU 0: its state");
	told.answer = 0;
	write_it();
	told.answer = -EINVAL;
	assert_int_equal(read_it(), 0);
	assert_int_equal(snapshot_load(&machine), -EINVAL);
	says("vCPU 0 cannot be brought to its state");
}

static void other_machines(void **state)
{
	(void)state;
	write_it();
	config.cpus = 1;
	assert_int_equal(read_it(), -EINVAL);
	says("damaged");
	config.cpus = MAX_VCPUS;
	assert_int_equal(read_it(), -EINVAL);
	says("the state is cut short");
	config.cpus = CPUS;
	config.mem_size += PAGE;
	assert_int_equal(read_it(), -EINVAL);
	config.mem_size -= PAGE;
	config.nr_disks = 2;
	assert_int_equal(read_it(), -EINVAL);
	config.nr_disks = 1;
	config.nr_nets = 0;
	assert_int_equal(read_it(), -EINVAL);
	config.nr_nets = 1;
	assert_int_equal(snapshot_read(&config, state_fd, AT + 8), -EINVAL);
	assert_int_equal(read_it(), 0);
}

/* Another frequency in CPUID is none of another CPU, and a TSC may be off by a little. */
static void other_cpus(void **state)
{
	(void)state;
	write_it();
	assert_int_equal(read_it(), 0);
	vcpus.cpuid.entries[1].eax = 99;
	vcpus.tsc_khz = 2000000 - 499;
	assert_int_equal(snapshot_load(&machine), 0);
	vcpus.tsc_khz = 2000000 + 501;
	assert_int_equal(snapshot_load(&machine), -EINVAL);
	says("it was taken with a TSC of 2000000 kHz; here it has 2000501");
	vcpus.tsc_khz = 2000000;
	vcpus.cpuid.entries[0].eax++;
	assert_int_equal(snapshot_load(&machine), -EINVAL);
	says("it was taken on another kind of CPU");
}

static void other_devices(void **state)
{
	(void)state;
	write_it();
	assert_int_equal(read_it(), 0);
	disk.dev.config[0]++;
	assert_int_equal(snapshot_load(&machine), -EINVAL);
	says("disk d is not what it was");
	disk.dev.config[0]--;
	net.dev.offered ^= 1;
	assert_int_equal(snapshot_load(&machine), -EINVAL);
	says("interface n is not what it was");
	assert_int_equal(told.nr_set, 0);
}

static void cut_short(void **state)
{
	const off_t sizes[] = { 0, 1, AT, AT + 8, AT + 1000, -1 };

	(void)state;
	write_it();
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const off_t whole = stat_of(state_fd).st_size;

		assert_int_equal(ftruncate(state_fd, sizes[i] < 0 ? whole - 1 : sizes[i]), 0);
		assert_int_equal(read_it(), -EINVAL);
		says("the state is cut short");
		write_it();
	}
	assert_int_equal(read_it(), 0);
}

/* Every byte is summed: whichever changes, it is told. */
static void damaged(void **state)
{
	ssize_t len;

	(void)state;
	write_it();
	len = pread(state_fd, state_file, FILE_MAX, 0);
	for (ssize_t i = AT; i < len; i += i < AT + 4096 ? 1 : 97) {
		const uint8_t byte = (uint8_t)(state_file[i] ^ 1u << i % 8);

		assert_int_equal(pwrite(state_fd, &byte, 1, i), 1);
		assert_int_equal(read_it(), -EINVAL);
		says(i < AT + 8 ? "none of this version" : "damaged");
		assert_int_equal(pwrite(state_fd, &state_file[i], 1, i), 1);
	}
	assert_int_equal(read_it(), 0);
}

/* As vmm/snapshot.c sums: whoever means ill can do it, too. */
static void sum_anew(size_t len)
{
	uint64_t hash = 0xcbf29ce484222325ull, word;

	for (size_t i = AT + 16; i + sizeof(word) <= len; i += sizeof(word)) {
		memcpy(&word, state_file + i, sizeof(word));
		hash = (hash ^ word) * 0x100000001b3ull;
	}
	memcpy(state_file + AT + 8, &hash, sizeof(hash));
}

static uint32_t seed = 2463534242u;

static uint32_t dice(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return (seed >> 3) % below;
}

/* It is refused, or devices and chip come out of it as a driver could have brought them to be. */
static void hostile_states(void **state)
{
	unsigned nr_read = 0, nr_loaded = 0;
	ssize_t len;

	(void)state;
	write_it();
	len = pread(state_fd, state_file, FILE_MAX, 0);
	for (unsigned run = 0; run < 3000; run++) {
		write_it();
		assert_int_equal(pread(state_fd, state_file, FILE_MAX, 0), len);
		for (unsigned n = 1 + dice(8); n > 0; n--)
			state_file[AT + 16 + dice(dice(2) ? 4000 : (uint32_t)len - AT - 16)] =
				(uint8_t)(dice(2) ? dice(256) : 0xff);
		sum_anew((size_t)len);
		assert_int_equal(pwrite(state_fd, state_file, (size_t)len, 0), len);
		make_machine();
		if (read_it())
			continue;
		nr_read++;
		if (snapshot_load(&machine) == 0) {
			nr_loaded++;
			virtio_go_on(&disk.dev);
			virtio_go_on(&net.dev);
		}
		assert_in_range(serial.rx_head - serial.rx_tail, 0, SERIAL_RX + SERIAL_FIFO);
		make_machine();
	}
	assert_true(nr_read > 100 && nr_loaded > 10 && nr_loaded < nr_read);
}

#define TEST(text, function)                                                                   \
	{                                                                                      \
		.name = text, .test_func = function, .setup_func = make, .teardown_func = drop \
	}

static const struct CMUnitTest tests[] = {
	TEST("memory: pages of zeros are holes, and come back as zeros", sparse_memory),
	TEST("memory: nothing comes through of what the file held", over_a_full_file),
	TEST("memory: the file stays as it is when its guest writes", private_memory),
	TEST("memory: a file that is too small is refused", short_memory),
	TEST("memory: what cannot hold it leaves no state", no_memory_file),
	TEST("the state goes round", goes_round),
	TEST("the state holds nothing else", nothing_else),
	TEST("a hypervisor without a clock of its own", no_clock),
	TEST("a hypervisor that refuses", hypervisor_refuses),
	TEST("a state of another machine is refused", other_machines),
	TEST("a state of another CPU is refused, and a slightly other clock is not", other_cpus),
	TEST("a state of other devices is refused before any vCPU has it", other_devices),
	TEST("a state that is cut short is refused", cut_short),
	TEST("a state with a byte that changed is refused", damaged),
	TEST("a state that somebody made up does no harm", hostile_states),
};

int main(void)
{
	return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
