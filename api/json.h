/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON to C structures and back by tables, one row per field: a thin layer over cJSON, which parses
 * and prints. What cJSON lets pass (bytes that are no UTF-8, duplicates, depth, and where a number
 * is used, one that is no whole number) is refused here, with the field named and the texts that
 * Firecracker's clients know. All memory is one arena: what was parsed or made lives until
 * json_reset(). One thread.
 */
#ifndef API_JSON_H
#define API_JSON_H

#include <cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest number taken: beyond it cJSON's doubles are not exact. */
#define JSON_UINT_MAX ((1ull << 53) - 1)
#define JSON_DEPTH    32u
#define JSON_WHY      640u /* bytes of the text that says what is wrong */

enum json_type {
	JSON_BOOL,   /* bool */
	JSON_UINT,   /* uint64_t, `min` to `max` */
	JSON_STRING, /* char[max], not empty unless `min` is 0 */
	JSON_ENUM,   /* unsigned: index into `names`, which ends with NULL */
	JSON_OBJECT, /* the structure of `object` */
	JSON_MAP,    /* char[max]: an object of strings, as JSON text */
	JSON_LIST,   /* const cJSON *: an array, whose elements the caller reads; never written */
};

#define JSON_NO_FLAG UINT32_MAX

struct json_field {
	const char *name;
	enum json_type type;
	bool is_required;
	bool is_hidden;	  /* not written where absent, instead of as null */
	bool is_any_case; /* JSON_ENUM */
	uint32_t at;	  /* where in the structure */
	uint32_t flag;	  /* where the bool that says that it was given; JSON_NO_FLAG: none */
	uint64_t min, max;
	const char *expected; /* the type's name in texts: "u8" */
	const char *const *names;
	const struct json_body *object;
};

struct json_body {
	const struct json_field *fields;
	unsigned nr;
	bool is_lenient; /* unknown fields are ignored */
	bool is_partial; /* no field is required */
};

/* A parsed text, which must stay until it is read. `line` and `column` are where it ends. */
struct json_text {
	cJSON *root;
	const char *text;
	unsigned line, column;
};

/* From here on all of cJSON's memory is the arena. */
void json_init(void);
void json_reset(void);

/* 0, or -EINVAL with the reason in `why`. */
int json_parse(const char *text, size_t len, struct json_text *json, char why[JSON_WHY]);

/*
 * Reads one object of `json` into a structure that the caller has set to its defaults; fields that
 * are absent or null leave it alone. 0 or -EINVAL with the reason in `why`.
 */
int json_read(const struct json_text *json, const cJSON *object, const struct json_body *body,
	      void *to, char why[JSON_WHY]);

/* The other way. NULL where the arena is full. */
cJSON *json_write(const struct json_body *body, const void *from);

/* A whole number, exact, in plain digits. */
cJSON *json_number(uint64_t number);

/* Prints into `buf`; the bytes, or 0 where they do not fit or `json` is NULL. */
size_t json_print(cJSON *json, char *buf, size_t size);

/* How much of UTF-8 text, at most `max` bytes, can be shown without cutting a character in two. */
int json_cut(const char *text, size_t max);

/* Cuts a half character that snprintf() may have left at the end. */
void json_whole(char *text);

#endif
