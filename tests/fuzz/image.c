// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer over image_parse(): whatever the file, no step outside it, and what is accepted keeps
 * every promise of image.h, on which boot.c relies without looking again. `make fuzz` runs it.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../vmm/image.h"
#include "../../vmm/layout.h"

#define promise(x) ((x) ? (void)0 : broken(#x, __LINE__))

static _Noreturn void broken(const char *what, int line)
{
	fprintf(stderr, "tests/fuzz/image.c:%d: broken: %s\n", line, what);
	abort();
}

static void check_segments(const struct image *img, size_t size)
{
	uint64_t free_from = HIGH_MEM_GPA;

	promise(img->nr_segments >= 1 && img->nr_segments <= IMAGE_MAX_SEGMENTS);
	for (unsigned i = 0; i < img->nr_segments; i++) {
		const struct image_segment *s = &img->segments[i];

		promise(s->mem_size > 0 && s->file_size <= s->mem_size);
		promise(s->offset <= size && s->file_size <= size - s->offset);
		promise(s->gpa >= free_from && s->gpa < img->end);
		promise(s->mem_size <= img->end - s->gpa);
		free_from = s->gpa + s->mem_size;
	}
}

static void check_entry(const struct image *img)
{
	unsigned holders = 0;

	for (unsigned i = 0; i < img->nr_segments; i++)
		holders += img->entry >= img->segments[i].gpa &&
			   img->entry - img->segments[i].gpa < img->segments[i].file_size;
	promise(holders == 1);
	promise(img->kind == IMAGE_PVH || img->kind == IMAGE_LINUX64);
}

static void check_setup_header(const struct image *img, const uint8_t *data, size_t size)
{
	promise(img->setup_header_size <= sizeof(img->setup_header));
	if (img->setup_header_size == 0)
		return;
	promise(img->kind == IMAGE_LINUX64);
	promise(IMAGE_SETUP_HEADER + img->setup_header_size <= size);
	promise(memcmp(img->setup_header, data + IMAGE_SETUP_HEADER, img->setup_header_size) == 0);
}

static void check(const uint8_t *data, size_t size, uint64_t low_ram)
{
	const char *why = NULL;
	struct image img, again;
	int r;

	memset(&img, 0x5a, sizeof(img));
	r = image_parse(data, size, low_ram, &img, &why);
	promise(r == 0 || r == -ENOEXEC || r == -EINVAL || r == -ENOMEM);
	promise((r == 0) == (why == NULL));
	if (r == -ENOEXEC || r == -EINVAL)
		return;
	check_segments(&img, size);
	check_entry(&img);
	check_setup_header(&img, data, size);
	promise(img.end <= DEVICE_GPA);
	promise((img.end > low_ram) == (r == -ENOMEM));

	/* as much RAM as it asks for is enough, and makes no other plan */
	promise(image_parse(data, size, img.end, &again, &why) == 0);
	promise(memcmp(&img, &again, sizeof(img)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t low_ram[] = { 0, MEM_MIN, 128ul << 20, DEVICE_GPA };

	for (size_t i = 0; i < sizeof(low_ram) / sizeof(low_ram[0]); i++)
		check(data, size, low_ram[i]);
	return 0;
}
