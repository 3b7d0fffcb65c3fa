// SPDX-License-Identifier: Apache-2.0
/*
 * `seeds NAME DIRECTORY` writes first inputs for the fuzzer NAME into an existing directory. Beside
 * the specimens come the heads of the stock kernel's files where MAYFLY_STOCK names their
 * directory: real headers, a few KiB instead of 60 MB.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/specimen.h"

#define STOCK_HEAD 4096u

static const char *directory;

static _Noreturn void die(const char *path)
{
	fprintf(stderr, "seeds: %s: %s\n", path, strerror(errno));
	exit(1);
}

static void seed(const char *name, const void *data, size_t size)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	f = fopen(path, "wb");
	if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0)
		die(path);
}

static void seed_stock(const char *name)
{
	const char *stock = getenv("MAYFLY_STOCK");
	char path[4096], head[STOCK_HEAD];
	FILE *f;

	if (stock == NULL)
		return;
	snprintf(path, sizeof(path), "%s/%s", stock, name);
	f = fopen(path, "rb");
	if (f == NULL || fread(head, 1, sizeof(head), f) != sizeof(head))
		die(path);
	fclose(f);
	seed(name, head, sizeof(head));
}

static void seed_image(void)
{
	uint8_t bzimage[BZ_SIZE];
	struct elf file = elf;

	seed("elf-pvh", &file, sizeof(file));
	file.pvh.nh.n_descsz = 4;
	file.notes.p_filesz -= 4;
	seed("elf-pvh-short", &file, sizeof(file));
	file.notes.p_type = PT_NULL;
	seed("elf-entry", &file, sizeof(file));
	bzimage_fill(bzimage);
	seed("bzimage", bzimage, sizeof(bzimage));
	seed_stock("vmlinux");
	seed_stock("vmlinuz");
}

static const struct {
	const char *name;
	void (*write)(void);
} fuzzers[] = {
	{ "image", seed_image },
};

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: seeds FUZZER DIRECTORY\n");
		return 2;
	}
	directory = argv[2];
	for (size_t i = 0; i < sizeof(fuzzers) / sizeof(fuzzers[0]); i++) {
		if (strcmp(argv[1], fuzzers[i].name) == 0) {
			fuzzers[i].write();
			return 0;
		}
	}
	fprintf(stderr, "seeds: there is no fuzzer %s\n", argv[1]);
	return 2;
}
