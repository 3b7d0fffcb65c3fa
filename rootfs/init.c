// SPDX-License-Identifier: Apache-2.0
/*
 * The guest's init when mayfly runs a job: process 1 of the initramfs that the monitor packs and
 * lays after the user's own (rdinit=/.mayfly/init). It readies the guest, runs the one command in
 * /.mayfly/job with its input and output on the first serial port, tells the control page
 * (vmm/layout.h) how the command ended, and powers the guest off. It never starts anything else,
 * never reads a configuration, and never returns.
 *
 * Static, without stdio or malloc: it is a good part of what a small guest loads.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "../vmm/layout.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define OWN_DIR	    "/.mayfly"
#define OWN_INIT    OWN_DIR "/init"
#define OWN_JOB	    OWN_DIR "/job"
#define OWN_ROOT    OWN_DIR "/root"
#define JOB_VERSION "mayfly-job-1"
#define CONSOLE	    "/dev/ttyS0"

enum status {
	STATUS_INIT_FAILED = 125, /* the command was not tried: the reason is on the console */
	STATUS_CANNOT_RUN = 126,  /* the command was found and could not be executed */
	STATUS_NOT_FOUND = 127,
	STATUS_SIGNAL = 128, /* plus the signal's number */
};

struct place {
	const char *target;
	const char *type;
	unsigned long flags;
	const char *options;
	mode_t mode; /* of the mount point, where it has to be made */
};

static const struct place dev_place = { "/dev", "devtmpfs", MS_NOSUID, "mode=755", 0755 };
static const struct place proc_place = { "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL,
					 0555 };
/* What the job finds mounted, in order: a row stands on those above it. */
static const struct place places[] = {
	{ "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, 0555 },
	{ "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, 0555 },
	{ "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,gid=5,ptmxmode=666", 0755 },
	{ "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", 01777 },
	{ "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755", 0755 },
	{ "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", 01777 },
};

static const char *const links[][2] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

/* What a kernel with modules needs for mayfly's devices and root images: each needs those above. */
static const char *const modules[] = {
	"virtio_ring", "virtio",       "virtio_mmio", "virtio_blk",
	"failover",    "net_failover", "virtio_net",  "squashfs",
};

/* Tried in turn where the kernel's command line says root= but not rootfstype=. */
#define ROOT_TYPES "ext4,squashfs"

/* Added to the job's environment where it says nothing else. */
static char *const default_env[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
};

struct job {
	bool tty; /* a terminal on the host: cooked console; else binary-clean pipes */
	struct winsize size;
	char **argv;
	char **env;
};

/*
 * One direction of a job's data between the console and a pipe. It waits either for data (buffer
 * empty) or for room (buffer not empty), never for both: that is the whole flow control. What is
 * not read from the console stays in the kernel's buffer, and when that is full the kernel drops
 * RTS and the monitor stops sending.
 */
struct relay {
	int from, to;
	int pipe;	   /* whichever of the two is ours to close; -1: this direction has ended */
	bool marked;	   /* `from` is the console, which marks a BREAK (see unmark) */
	bool last;	   /* close when the buffer is empty */
	unsigned mark;	   /* bytes of a mark seen so far */
	size_t begin, end; /* what `bytes` holds */
	unsigned char bytes[4096];
};

static volatile uint32_t *control; /* the control page, or NULL where there is none */
static bool on_disk;		   /* the job's root is a disk, which wants to be left clean */
static char module_paths[ARRAY_SIZE(modules)][256];

static struct iovec text(const char *s)
{
	return (struct iovec){ .iov_base = (char *)s, .iov_len = strlen(s) };
}

/* Says "mayfly-init: WHAT: WHY" in one write. */
static void say_to(int fd, const char *what, const char *why)
{
	const struct iovec line[] = { text("mayfly-init: "), text(what), text(": "), text(why),
				      text("\n") };

	writev(fd, line, ARRAY_SIZE(line));
}

/* On the console. */
static void say(const char *what, const char *why)
{
	say_to(STDERR_FILENO, what, why);
}

/*
 * The folder of /proc; where the job has unmounted it, of one without a name. 1 is FSOPEN_CLOEXEC
 * and FSMOUNT_CLOEXEC, 6 FSCONFIG_CMD_CREATE of linux/mount.h. Negative: there is none.
 */
static int proc_open(void)
{
	int fs, fd;

	if (access("/proc/self/mounts", R_OK) == 0)
		return open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	fs = (int)syscall(SYS_fsopen, "proc", 1);
	syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0);
	fd = (int)syscall(SYS_fsmount, fs, 1, 0);
	close(fs);
	return fd;
}

/* Undoes the escapes of /proc/self/mounts, three octal digits, in place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s != '\0'; s++, to++) {
		*to = *s;
		if (*s == '\\' && strspn(s + 1, "01234567") >= 3) {
			*to = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		}
	}
	*to = '\0';
}

/*
 * Of a line of /proc/self/mounts: the disk is unmounted, with what covers it; where it is in use,
 * it becomes read-only.
 */
static void disk_leave(char *line)
{
	char *target = strchr(line, ' ');

	if (target == NULL || strncmp(line, "/dev/", 5) != 0)
		return;
	target++;
	target[strcspn(target, " ")] = '\0';
	unescape(target);
	while (strcmp(target, "/") != 0 && umount2(target, 0) == 0)
		;
	mount(NULL, target, NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

/*
 * Leaves nothing that the next one who mounts a disk would have to replay, and could not where it
 * is read-only to him. What was mounted last comes first, since its file may lie on another disk.
 * There is room for ten thousand mounts.
 */
static void disks_leave(int proc)
{
	static char mounts[1 << 20];
	int fd = openat(proc, "self/mounts", O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	while ((n = read(fd, mounts + used, sizeof(mounts) - used)) > 0)
		used += (size_t)n;
	close(fd);
	while (used > 0) {
		mounts[--used] = '\0'; /* the line's end */
		while (used > 0 && mounts[used - 1] != '\n')
			used--;
		disk_leave(mounts + used);
	}
	if (on_disk)
		mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

/*
 * Ends the guest. The order is the point: output first, so that the monitor has all of it before
 * it learns the status; then the kernel is hushed, which would add "reboot: Power down" to the
 * job's output (a log level of 0 silences even that, and panics too: hence not earlier); power
 * last.
 */
static _Noreturn void finish(int status)
{
	int proc = proc_open();
	int printk = openat(proc, "sys/kernel/printk", O_WRONLY | O_CLOEXEC);

	tcdrain(STDERR_FILENO);
	write(printk, "0", 1);
	if (control != NULL)
		control[CONTROL_STATUS / sizeof(*control)] = (uint32_t)status;
	sync();
	disks_leave(proc);
	reboot(RB_POWER_OFF);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static _Noreturn void fail(const char *what, const char *why)
{
	say(what, why);
	finish(STATUS_INIT_FAILED);
}

/*
 * Mounts where that is possible: the kernel may lack the file system and the root may be read-only
 * without the directory. A directory of the user's that holds something is not hidden, unless it is
 * of a read-only root, where a job could write nothing; nor is what a link leads to.
 */
static void place(const struct place *p)
{
	bool replaceable = strcmp(p->type, "tmpfs") == 0;
	char link;

	if (replaceable && ((readlink(p->target, &link, 1) >= 0 && access(p->target, W_OK) == 0) ||
			    (rmdir(p->target) != 0 && (errno == ENOTEMPTY || errno == EEXIST))))
		return;
	mkdir(p->target, p->mode);
	mount(p->type, p->target, p->type, p->flags, p->options);
}

/* Maps the control page and says at once that init runs: the monitor's boot timer stops here. */
static int control_open(void)
{
	int fd = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
	void *page;

	if (fd < 0)
		return -errno;
	page = mmap(NULL, DEVICE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, CONTROL_GPA);
	close(fd);
	if (page == MAP_FAILED)
		return -errno;
	control = page;
	((volatile uint8_t *)page)[CONTROL_BOOT_TIMER] = BOOT_TIMER_VALUE;
	return 0;
}

/* Puts init's own input and output on the console, or on the best there is. */
static void console_open(void)
{
	static const char *const consoles[] = { CONSOLE, "/dev/console", "/dev/kmsg", "/dev/null" };
	int fd = -1;

	for (size_t i = 0; i < ARRAY_SIZE(consoles) && fd < 0; i++)
		fd = open(consoles[i], O_RDWR | O_NOCTTY);
	for (int std = STDIN_FILENO; std <= STDERR_FILENO && fd >= 0; std++)
		dup2(fd, std);
	if (fd > STDERR_FILENO)
		close(fd);
}

/* Takes the next string of the job off *at, or returns NULL at the end. */
static char *take(char **at, const char *end)
{
	char *s = *at;

	if (s == end)
		return NULL;
	*at = s + strlen(s) + 1;
	return s;
}

/* Reads a decimal number of at most `max` that fills the whole string. */
static bool number(const char *s, unsigned max, unsigned *value)
{
	unsigned n = 0;

	if (s == NULL || *s == '\0')
		return false;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9' || n > max / 10)
			return false;
		n = n * 10 + (unsigned)(*s - '0');
	}
	*value = n;
	return n <= max;
}

static bool env_has(char *const *env, const char *assignment)
{
	size_t name = (size_t)(strchr(assignment, '=') - assignment) + 1;

	for (; *env != NULL; env++) {
		if (strncmp(*env, assignment, name) == 0)
			return true;
	}
	return false;
}

/*
 * The job is NUL-terminated strings: version, "tty" or "pipe", rows, columns (0: unknown), number
 * of arguments, the arguments, then the environment to the end. Returns NULL or what is wrong.
 */
static const char *job_parse(char *at, size_t size, struct job *job)
{
	const char *end = at + size;
	unsigned rows, columns, nr_args;
	const char *s;
	char **slot;

	if (size == 0 || end[-1] != '\0')
		return "the last string has no end";
	s = take(&at, end);
	if (strcmp(s, JOB_VERSION) != 0)
		return "not of version " JOB_VERSION;
	s = take(&at, end);
	if (s == NULL || (strcmp(s, "tty") != 0 && strcmp(s, "pipe") != 0))
		return "the mode is neither tty nor pipe";
	job->tty = *s == 't';
	if (!number(take(&at, end), UINT16_MAX, &rows) ||
	    !number(take(&at, end), UINT16_MAX, &columns))
		return "the window size is not two numbers";
	job->size = (struct winsize){ .ws_row = (uint16_t)rows, .ws_col = (uint16_t)columns };
	if (!number(take(&at, end), (unsigned)size, &nr_args) || nr_args == 0)
		return "no arguments";

	/* At most one string a byte, both vectors' NULLs, and the defaults. */
	size = ((size_t)(end - at) + 2 + ARRAY_SIZE(default_env)) * sizeof(*slot);
	slot = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slot == MAP_FAILED)
		return strerror(errno);
	job->argv = slot;
	for (unsigned i = 0; i < nr_args; i++) {
		*slot = take(&at, end);
		if (*slot++ == NULL)
			return "fewer arguments than it says";
	}
	slot++;
	job->env = slot;
	while ((*slot = take(&at, end)) != NULL)
		slot++;
	for (size_t i = 0; i < ARRAY_SIZE(default_env); i++) {
		if (!env_has(job->env, default_env[i]))
			*slot++ = default_env[i];
	}
	return NULL;
}

/* Reads the job and removes all trace of mayfly from the root that the job will see. */
static void job_load(struct job *job)
{
	int fd = open(OWN_JOB, O_RDONLY | O_CLOEXEC);
	struct stat st;
	const char *wrong;
	void *file;

	if (fd < 0 || fstat(fd, &st) != 0)
		fail(OWN_JOB, strerror(errno));
	if (st.st_size == 0)
		fail(OWN_JOB, "empty");
	file = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED)
		fail(OWN_JOB, strerror(errno));
	close(fd);
	wrong = job_parse(file, (size_t)st.st_size, job);
	if (wrong != NULL)
		fail(OWN_JOB, wrong);
	unlink(OWN_JOB);
	unlink(OWN_INIT);
}

/* Notes the path of a wanted module; `name` may have a suffix of compression after .ko. */
static void module_note(const char *path, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(modules); i++) {
		size_t len = strlen(modules[i]);

		if (strncmp(name, modules[i], len) == 0 && strncmp(name + len, ".ko", 3) == 0)
			strcpy(module_paths[i], path);
	}
}

/*
 * Walks the tree below path, which has room for ARRAY_SIZE(module_paths[0]) bytes and holds `len`.
 * An initrd's module tree may have been cut down by any tool: modules.dep is not relied on.
 */
static void modules_find(char *path, size_t len)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_Alignas(struct dirent) char list[2048];
	int bytes;

	if (fd < 0)
		return;
	while ((bytes = getdents(fd, (struct dirent *)list, sizeof(list))) > 0) {
		for (int at = 0; at < bytes;) {
			const struct dirent *d = (const struct dirent *)(list + at);
			size_t name_len = strlen(d->d_name);

			at += d->d_reclen;
			if (d->d_name[0] == '.' || len + name_len + 2 > sizeof(module_paths[0]))
				continue;
			path[len] = '/';
			strcpy(path + len + 1, d->d_name);
			if (d->d_type == DT_DIR)
				modules_find(path, len + 1 + name_len);
			else
				module_note(path, d->d_name);
		}
	}
	close(fd);
}

static void modules_load(void)
{
	char path[sizeof(module_paths[0])] = "/lib/modules/";
	struct utsname u;

	/* Not the job's output: what it lacks by that, a root say, is told where it is missing. */
	int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	uname(&u);
	strcat(path, u.release);
	modules_find(path, strlen(path));
	for (size_t i = 0; i < ARRAY_SIZE(modules); i++) {
		const char *file = module_paths[i];
		size_t len = strlen(file);
		bool packed = len > 3 && strcmp(file + len - 3, ".ko") != 0;
		int fd;

		if (len == 0)
			continue;
		fd = open(file, O_RDONLY | O_CLOEXEC);
		/* 4 is MODULE_INIT_COMPRESSED_FILE of linux/module.h; EEXIST: it is built in. */
		if (fd < 0 ||
		    (syscall(SYS_finit_module, fd, "", packed ? 4 : 0) != 0 && errno != EEXIST))
			say_to(log, file, strerror(errno));
		close(fd);
	}
	close(log);
}

/* What comes after "--" is init's, none of it the kernel's; in quotes it is a part of a word. */
static void end_kernel_words(char *cmdline)
{
	bool is_quoted = false;

	for (char *at = cmdline; *at != '\0'; at++) {
		is_quoted ^= *at == '"';
		if (!is_quoted && strncmp(at, " -- ", 4) == 0) {
			*at = '\0';
			return;
		}
	}
}

/*
 * Copies the value of key= in the kernel's command line, the last one given as the kernel does.
 * False where there is none, or where it does not fit into `size` bytes.
 */
static bool cmdline_value(const char *cmdline, const char *key, char *value, size_t size)
{
	size_t key_len = strlen(key);
	bool found = false;

	for (const char *word = cmdline; *word != '\0';) {
		size_t len = strcspn(word, " \n");

		if (len >= key_len && len - key_len < size && strncmp(word, key, key_len) == 0) {
			memcpy(value, word + key_len, len - key_len);
			value[len - key_len] = '\0';
			found = true;
		}
		word += len;
		word += strspn(word, " \n");
	}
	return found;
}

/* The last word of the two counts, as for the kernel; without one it is `ro`. */
static bool root_is_writable(const char *cmdline)
{
	bool writable = false;

	for (const char *word = cmdline; *word != '\0';) {
		size_t len = strcspn(word, " \n");

		if (len == 2 && (strncmp(word, "ro", 2) == 0 || strncmp(word, "rw", 2) == 0))
			writable = word[1] == 'w';
		word += len;
		word += strspn(word, " \n");
	}
	return writable;
}

/*
 * Tries `types`, names with commas in between, which are cut. 0, or the errno of the one that knew
 * the disk and could not mount it: of all others it is not.
 */
static int root_mount(const char *device, char *types, unsigned long flags, const char *options)
{
	int error = ENODEV;

	for (char *type = types, *next; type != NULL; type = next) {
		next = strchr(type, ',');
		if (next != NULL)
			*next++ = '\0';
		if (mount(device, OWN_ROOT, type, flags, options) == 0)
			return 0;
		if (error == ENODEV || error == EINVAL)
			error = errno;
	}
	return error;
}

/*
 * Where the kernel's command line names a root disk, the job runs in it: what the kernel itself
 * does with root= when no initramfs stands in between.
 */
static void root_enter(void)
{
	static char cmdline[CMDLINE_SIZE + 1];
	char device[128], types[64], options[256];
	bool with_options;
	unsigned long flags;
	int error;
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, cmdline, sizeof(cmdline) - 1) < 0)
		cmdline[0] = '\0';
	close(fd);
	end_kernel_words(cmdline);
	if (!cmdline_value(cmdline, "root=", device, sizeof(device)))
		return;
	if (!cmdline_value(cmdline, "rootfstype=", types, sizeof(types)))
		strcpy(types, ROOT_TYPES);
	with_options = cmdline_value(cmdline, "rootflags=", options, sizeof(options));
	flags = root_is_writable(cmdline) ? 0 : MS_RDONLY;

	mkdir(OWN_ROOT, 0755);
	error = root_mount(device, types, flags, with_options ? options : NULL);
	if (error != 0)
		fail(device, strerror(error));
	mount("/dev", OWN_ROOT "/dev", NULL, MS_MOVE, NULL);
	mount("/proc", OWN_ROOT "/proc", NULL, MS_MOVE, NULL);
	if (chdir(OWN_ROOT) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0)
		fail(device, strerror(errno));
	on_disk = true;
}

static void loopback_up(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
}

/*
 * Makes the console what the job expects; returns init's own descriptor of it. It is the terminal
 * of init's session, which a job with a terminal is in, and no other can have it, not even by
 * opening it: when a session's leader ends, the kernel hangs its terminal up and throws away what
 * is still to be sent. RTS and CTS are obeyed in both modes, so that nothing sent to us is lost.
 */
static int console_set(const struct job *job)
{
	int fd = open(CONSOLE, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	int ready = TIOCM_OUT1;
	struct termios t;

	if (fd < 0 || tcgetattr(fd, &t) != 0)
		fail(CONSOLE, strerror(errno));
	t.c_cflag = CS8 | CREAD | CLOCAL | CRTSCTS | B115200;
	if (job->tty) {
		t.c_iflag = ICRNL | IXON | IUTF8;
		t.c_oflag = OPOST | ONLCR;
		t.c_lflag = ISIG | ICANON | IEXTEN | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE;
	} else {
		t.c_iflag = PARMRK;
		t.c_oflag = 0;
		t.c_lflag = 0;
		t.c_cc[VMIN] = 1;
		t.c_cc[VTIME] = 0;
	}
	if (tcsetattr(fd, TCSANOW, &t) != 0)
		fail(CONSOLE, strerror(errno));
	setsid();
	ioctl(fd, TIOCSCTTY, 1);
	if (job->tty)
		ioctl(fd, TIOCSWINSZ, &job->size);
	/* The UART's OUT1 says that input may come: earlier bytes would have met other settings. */
	ioctl(fd, TIOCMBIS, &ready);
	return fd;
}

/*
 * Undoes what PARMRK does to `n` bytes, in place: ff ff is a literal ff, ff 00 00 a BREAK, which is
 * how the monitor says that there is no more input. A mark may lie across two reads: r->mark counts
 * the bytes of it seen. Returns the number of bytes left.
 */
static size_t unmark(struct relay *r, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n && !r->last; i++) {
		unsigned char byte = r->bytes[i];

		if (r->mark == 0 && byte == 0xff) {
			r->mark = 1;
		} else if (r->mark == 1 && byte == 0) {
			r->mark = 2;
		} else if (r->mark == 2 && byte == 0) {
			r->last = true;
		} else {
			r->bytes[kept++] = byte;
			r->mark = 0;
		}
	}
	return kept;
}

static void relay_close(struct relay *r)
{
	close(r->pipe);
	r->pipe = -1;
}

/* What the relay waits for now; an ended one waits for nothing. */
static struct pollfd relay_wants(const struct relay *r)
{
	if (r->pipe < 0)
		return (struct pollfd){ .fd = -1 };
	if (r->begin != r->end)
		return (struct pollfd){ .fd = r->to, .events = POLLOUT };
	return (struct pollfd){ .fd = r->from, .events = POLLIN };
}

/* Moves what can be moved without waiting; at most `max` bytes are read. Returns the bytes read. */
static size_t relay_turn(struct relay *r, size_t max)
{
	ssize_t n = 0;

	if (r->begin == r->end) {
		n = read(r->from, r->bytes, max < sizeof(r->bytes) ? max : sizeof(r->bytes));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n <= 0) {
			relay_close(r);
			return 0;
		}
		r->begin = 0;
		r->end = r->marked ? unmark(r, (size_t)n) : (size_t)n;
	}
	if (r->begin != r->end) {
		ssize_t sent = write(r->to, r->bytes + r->begin, r->end - r->begin);

		if (sent > 0) {
			r->begin += (size_t)sent;
		} else if (errno != EAGAIN && errno != EINTR) {
			r->begin = r->end;
			r->last = true;
		}
	}
	if (r->last && r->begin == r->end)
		relay_close(r);
	return (size_t)n;
}

/*
 * Sends what the job has left in its output pipe. Not more: a process that it leaves behind may
 * write for ever, and its output belongs to nobody.
 */
static void relay_flush(struct relay *r)
{
	int left = 0;

	if (r->pipe < 0)
		return;
	fcntl(r->to, F_SETFL, O_RDWR);
	while (r->pipe >= 0 && r->begin != r->end)
		relay_turn(r, 0);
	if (r->pipe >= 0)
		ioctl(r->from, FIONREAD, &left);
	while (r->pipe >= 0 && left > 0)
		left -= (int)relay_turn(r, (size_t)left);
}

/* In the child: becomes the job, with `in`, `out` as its standard files. */
static _Noreturn void job_exec(const struct job *job, int tty, int in, int out)
{
	sigset_t none;
	int error;

	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	if (job->tty) {
		setpgid(0, 0);
		tcsetpgrp(tty, getpid()); /* SIGTTOU is still blocked */
	} else {
		setsid();
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	environ = job->env;
	execvp(job->argv[0], job->argv);
	error = errno;
	say(job->argv[0], strerror(error));
	_exit(error == ENOENT || error == ENOTDIR ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN);
}

/* Reaps whoever has ended. Returns the job's status when the job is among them, else -1. */
static int reap(pid_t job)
{
	int status = -1, how;
	pid_t pid;

	while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
		if (pid == job)
			status = WIFEXITED(how) ? WEXITSTATUS(how) : STATUS_SIGNAL + WTERMSIG(how);
	}
	return status;
}

/* Runs the job to its end, all its output sent to the console; returns its status. */
static int job_run(const struct job *job, int tty)
{
	static struct relay in = { .pipe = -1, .marked = true }, out = { .pipe = -1 };
	int in_pipe[2], out_pipe[2];
	struct signalfd_siginfo info;
	sigset_t all, ended;
	int signals, status;
	pid_t pid;

	/* All are blocked: none is of use here, SIGPIPE least, and the child's tcsetpgrp() needs
	 * it. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	signals = signalfd(-1, &ended, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals < 0)
		fail("signalfd", strerror(errno));
	if (!job->tty) {
		if (pipe2(in_pipe, O_CLOEXEC) != 0 || pipe2(out_pipe, O_CLOEXEC) != 0)
			fail("pipe", strerror(errno));
		fcntl(in_pipe[1], F_SETFL, O_NONBLOCK);
		fcntl(out_pipe[0], F_SETFL, O_NONBLOCK);
		in.from = out.to = tty;
		in.to = in.pipe = in_pipe[1];
		out.from = out.pipe = out_pipe[0];
	}

	pid = fork();
	if (pid < 0)
		fail("fork", strerror(errno));
	if (pid == 0)
		job_exec(job, tty, job->tty ? STDIN_FILENO : in_pipe[0],
			 job->tty ? STDOUT_FILENO : out_pipe[1]);
	if (!job->tty) {
		close(in_pipe[0]);
		close(out_pipe[1]);
	}

	do {
		struct pollfd wait[] = { { .fd = signals, .events = POLLIN },
					 relay_wants(&in),
					 relay_wants(&out) };

		poll(wait, ARRAY_SIZE(wait), -1);
		if (wait[1].revents != 0)
			relay_turn(&in, SIZE_MAX);
		if (wait[2].revents != 0)
			relay_turn(&out, SIZE_MAX);
		while (read(signals, &info, sizeof(info)) > 0)
			;
		status = reap(pid);
	} while (status < 0);
	relay_flush(&out);
	/* What it has left behind would keep its disk from being left clean, or write for ever. */
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	tcdrain(tty);
	return status;
}

int main(void)
{
	struct job job;
	int no_control;

	if (getpid() != 1) {
		say("not process 1", "this program is for mayfly's guests, which it powers off");
		return STATUS_INIT_FAILED;
	}
	umask(0);
	place(&dev_place);
	no_control = control_open();
	console_open();
	if (no_control != 0)
		say("/dev/mem: the job's status cannot be reported", strerror(-no_control));
	job_load(&job);
	place(&proc_place);
	modules_load();
	root_enter();
	if (!on_disk)
		rmdir(OWN_DIR);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		place(&places[i]);
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		symlink(links[i][0], links[i][1]);
	sethostname("mayfly", strlen("mayfly"));
	loopback_up();
	umask(022);
	finish(job_run(&job, console_set(&job)));
}
