// SPDX-License-Identifier: Apache-2.0
/*
 * One row per thing a microVM may need: how it is found out, whether booting a stock kernel depends
 * on it, and what to do where it is missing.
 */
#include "check.h"
#include "../seccomp/jail.h"
#include "hv.h"

#include <cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DETAIL 96u

/* The first line of a file that begins with `key`, or of any; false where there is none. */
static bool file_line(const char *path, const char *key, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool found = false;

	while (file && !found && fgets(line, (int)size, file))
		found = !strncmp(line, key, strlen(key));
	if (file)
		fclose(file);
	line[strcspn(line, "\n")] = '\0';
	return found;
}

static const char *cpu_virtualization(void)
{
	char flags[8192] = "";

	if (!file_line("/proc/cpuinfo", "flags", flags, sizeof(flags)))
		return NULL;
	return strstr(flags, " vmx")   ? "VT-x (vmx)"
	       : strstr(flags, " svm") ? "AMD SVM (svm)"
				       : NULL;
}

static bool check_cpu(char *detail)
{
	const char *what = cpu_virtualization();

	snprintf(detail, DETAIL, "%s", what ? what : "neither VT-x nor SVM is visible");
	return what;
}

static bool check_device(const char *device, char *detail)
{
	const int err = hv_probe(device);

	snprintf(detail, DETAIL, "%s",
		 err == -ENOTSUP ? "there, but lacks capabilities that mayfly needs"
		 : err		 ? strerror(-err)
				 : "usable");
	return !err;
}

static bool check_mayfly(char *detail)
{
	return check_device("/dev/mayfly", detail);
}

/* A KVM that is no hardware: no such CPU feature, or its own module says so. */
static bool is_software_kvm(void)
{
	return !cpu_virtualization() || access("/sys/module/kvm_pvm", F_OK) == 0;
}

static bool check_kvm(char *detail)
{
	if (!check_device("/dev/kvm", detail))
		return false;
	if (is_software_kvm())
		snprintf(detail, DETAIL, "a software provider: small test guests only");
	else
		snprintf(detail, DETAIL, "usable, by hardware");
	return true;
}

static bool check_stock(char *detail)
{
	const bool module = hv_probe("/dev/mayfly") == 0;
	const bool kvm = hv_probe("/dev/kvm") == 0 && !is_software_kvm();

	snprintf(detail, DETAIL, "%s",
		 module ? "on /dev/mayfly"
		 : kvm	? "on /dev/kvm"
			: "no hypervisor here runs one");
	return module || kvm;
}

static bool check_io_uring(char *detail)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER |
						   IORING_SETUP_DEFER_TASKRUN };
	struct io_uring ring;
	const int err = io_uring_queue_init_params(4, &ring, &params);

	snprintf(detail, DETAIL, "%s",
		 err == -EINVAL ? "older than Linux 6.1"
		 : err		? strerror(-err)
				: "with deferred task work");
	if (!err)
		io_uring_queue_exit(&ring);
	return !err;
}

static bool check_tun(char *detail)
{
	const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	snprintf(detail, DETAIL, "%s", fd < 0 ? strerror(errno) : "usable");
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool check_huge_pages(char *detail)
{
	char total[128] = "", transparent[128] = "";
	unsigned long pages = 0;

	if (file_line("/proc/meminfo", "HugePages_Total:", total, sizeof(total)))
		pages = strtoul(total + strlen("HugePages_Total:"), NULL, 10);
	file_line("/sys/kernel/mm/transparent_hugepage/enabled", "", transparent,
		  sizeof(transparent));
	snprintf(detail, DETAIL, "%lu reserved; transparent: %.40s", pages,
		 *transparent ? transparent : "not in this kernel");
	return pages > 0 || (*transparent && !strstr(transparent, "[never]"));
}

static bool check_cgroup(char *detail)
{
	const char *mount = cgroup_mount();
	char controllers[256] = "", path[64];

	if (!mount) {
		snprintf(detail, DETAIL, "not mounted at /sys/fs/cgroup");
		return false;
	}
	snprintf(path, sizeof(path), "%s/cgroup.controllers", mount);
	file_line(path, "", controllers, sizeof(controllers));
	snprintf(detail, DETAIL, "%s: %.60s", mount,
		 *controllers ? controllers : "no controllers, which are cgroup v1's");
	return *controllers;
}

static bool check_user_namespaces(char *detail)
{
	int status = 1;
	const pid_t child = fork();

	if (child == 0)
		/* A profile may give the first alone. */
		_exit(unshare(CLONE_NEWUSER) || unshare(CLONE_NEWNS));
	if (child > 0)
		waitpid(child, &status, 0);
	snprintf(detail, DETAIL, "%s", status ? "may not be made by this user" : "usable");
	return status == 0;
}

static const struct {
	const char *name;
	bool (*check)(char *detail);
	bool is_needed; /* to boot a stock kernel */
	const char *cure;
} rows[] = {
	{ "CPU virtualization", check_cpu, false,
	  "enable it in the firmware; in a virtual machine, ask for nested virtualization" },
	{ "/dev/mayfly", check_mayfly, false,
	  "make kmod && insmod build/kmod/mayfly.ko (Intel only); as a user: join its group" },
	{ "/dev/kvm", check_kvm, false,
	  "modprobe kvm_intel (or kvm_amd); as a user: usermod -aG kvm $USER, and log in anew" },
	{ "stock kernels boot", check_stock, true,
	  "use the emulated host: tests/host/run --on svm -- COMMAND" },
	{ "io_uring", check_io_uring, true,
	  "sysctl kernel.io_uring_disabled=0; needs Linux 6.1 or newer" },
	{ "tun", check_tun, false,
	  "modprobe tun (for tap networks); as a user: access to /dev/net/tun" },
	{ "huge pages", check_huge_pages, false,
	  "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled" },
	{ "cgroup v2", check_cgroup, false,
	  "systemd.unified_cgroup_hierarchy=1 for the host's kernel (for limits)" },
	{ "user namespaces", check_user_namespaces, false,
	  "sysctl user.max_user_namespaces=10000 "
	  "(Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0)" },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void print_row(size_t i, bool ok, const char *detail)
{
	printf("%-3s %-20s %s\n",
	       ok		   ? "yes"
	       : rows[i].is_needed ? "NO"
				   : "no",
	       rows[i].name, detail);
	if (!ok)
		printf("    %-20s -> %s\n", "", rows[i].cure);
}

static void add_row(cJSON *all, size_t i, bool ok, const char *detail)
{
	cJSON *row = cJSON_AddObjectToObject(all, rows[i].name);

	cJSON_AddBoolToObject(row, "ok", ok);
	cJSON_AddBoolToObject(row, "needed", rows[i].is_needed);
	cJSON_AddStringToObject(row, "detail", detail);
	if (!ok)
		cJSON_AddStringToObject(row, "cure", rows[i].cure);
}

int check_host(bool is_quiet, bool is_json)
{
	cJSON *all = cJSON_CreateObject();
	bool can_boot = true;
	char *text;

	for (size_t i = 0; i < ROWS; i++) {
		char detail[DETAIL] = "";
		const bool ok = rows[i].check(detail);

		can_boot &= ok || !rows[i].is_needed;
		add_row(all, i, ok, detail);
		if (!is_quiet && !is_json)
			print_row(i, ok, detail);
	}
	cJSON_AddBoolToObject(all, "can_boot", can_boot);
	text = is_json && !is_quiet ? cJSON_PrintUnformatted(all) : NULL;
	if (text)
		puts(text);
	free(text);
	cJSON_Delete(all);
	return can_boot ? 0 : 1;
}
