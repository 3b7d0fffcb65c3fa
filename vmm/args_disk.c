// SPDX-License-Identifier: Apache-2.0
/*
 * The value of --disk and --root: PATH and words after commas, by one table. args.c calls it; the
 * files themselves are looked at later, by virtio/disk.c.
 */
#include "args.h"
#include "log.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int args_bucket(char *text, struct token_bucket *bucket)
{
	char *time = strchr(text, '/'), *burst;
	bool ok;

	*bucket = (struct token_bucket){ .refill_ms = 1000 };
	if (time)
		*time++ = '\0';
	burst = strchr(text, '+');
	if (burst)
		*burst++ = '\0';
	ok = args_size(text, &bucket->size) == 0 && bucket->size > 0;
	if (burst) {
		ok = ok && args_size(burst, &bucket->one_time_burst) == 0;
		burst[-1] = '+'; /* as it was, for the message */
	}
	if (time) {
		ok = ok && args_duration(time, &bucket->refill_ms) == 0 && bucket->refill_ms > 0;
		time[-1] = '/';
	}
	return ok ? 0 : -EINVAL;
}

static int take_ro(struct disk_config *d, char *value)
{
	(void)value;
	d->is_read_only = true;
	return 0;
}

static int take_direct(struct disk_config *d, char *value)
{
	(void)value;
	d->is_direct = true;
	return 0;
}

static int take_overlay(struct disk_config *d, char *value)
{
	d->is_overlay_tmp = !strcmp(value, "tmp");
	d->overlay = d->is_overlay_tmp ? NULL : value;
	return *value ? 0 : -EINVAL;
}

static int take_cache(struct disk_config *d, char *value)
{
	d->cache = strcmp(value, "unsafe") ? DISK_CACHE_WRITEBACK : DISK_CACHE_UNSAFE;
	return d->cache == DISK_CACHE_UNSAFE || !strcmp(value, "writeback") ? 0 : -EINVAL;
}

static int take_id(struct disk_config *d, char *value)
{
	d->id = value;
	for (const char *c = value; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '_')
			return -EINVAL;
	return *value ? 0 : -EINVAL;
}

static int take_bytes(struct disk_config *d, char *value)
{
	return args_bucket(value, &d->limit.bytes);
}

static int take_ops(struct disk_config *d, char *value)
{
	return args_bucket(value, &d->limit.ops);
}

static const struct {
	const char *name; /* with = where it has a value */
	const char *give;
	int (*take)(struct disk_config *disk, char *value);
} words[] = {
	{ "ro", "", take_ro },
	{ "direct", "", take_direct },
	{ "overlay=", "overlay=FILE or overlay=tmp", take_overlay },
	{ "cache=", "cache=writeback or cache=unsafe", take_cache },
	{ "id=", "id= and letters, digits and _", take_id },
	{ "bytes=", "bytes=SIZE[+BURST][/TIME], such as bytes=10M/1s", take_bytes },
	{ "ops=", "ops=N[+BURST][/TIME], such as ops=500/1s", take_ops },
};
#define WORDS (sizeof(words) / sizeof(words[0]))

static int take_word(const char *option, struct disk_config *d, char *word)
{
	for (size_t i = 0; i < WORDS; i++) {
		const size_t n = strlen(words[i].name);
		const bool has_value = words[i].name[n - 1] == '=';

		if (has_value ? strncmp(word, words[i].name, n) : strcmp(word, words[i].name))
			continue;
		if (words[i].take(d, word + n))
			return fail(0, "--%s %s,%s: give %s", option, d->path, word, words[i].give);
		return 0;
	}
	return fail(0,
		    "--%s %s,%s: the words are ro, direct, overlay=FILE|tmp, "
		    "cache=writeback|unsafe, id=NAME, bytes=SIZE/TIME, ops=N/TIME",
		    option, d->path, word);
}

int args_disk(const char *option, char *value, struct disk_config *d)
{
	char *word = strchr(value, ',');

	*d = (struct disk_config){ .path = value };
	if (word)
		*word++ = '\0';
	if (!*value)
		return fail(0, "--%s: give a PATH", option);
	while (word) {
		char *next = strchr(word, ',');
		int err;

		if (next)
			*next++ = '\0';
		err = take_word(option, d, word);
		if (err)
			return err;
		word = next;
	}
	if (d->is_read_only && (d->overlay || d->is_overlay_tmp))
		return fail(0, "--%s %s: a read-only disk needs no overlay", option, d->path);
	return 0;
}
