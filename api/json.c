// SPDX-License-Identifier: Apache-2.0
/*
 * First a look over the text for all that cJSON would let pass (RFC 8259 strictly), then cJSON,
 * then the tables, which take whole numbers only. The texts are serde's, which Firecracker's
 * clients know. Called by routes.c; the tables are in bodies.c.
 */
#include "json.h"
#include "utf8.h"
#include "../vmm/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The arena. Only what is used of it is ever touched. */

#define ARENA	   (512u << 10)
/* Far more than 19 devices with all their fields; and the guest's devices wait while it is read. */
#define VALUES_MAX 4096u
#define TOO_MANY   "more values than mayfly takes"
#define TOO_MUCH   "more text than mayfly takes"
#define NUMBER_MAX 63u /* bytes: cJSON would cut it there */
static _Alignas(16) char arena[ARENA];
static size_t arena_used;
static bool is_arena_full; /* somebody has asked for more than there was */

static void *take(size_t size)
{
	void *at = arena + arena_used;

	if (size > ARENA || ((size + 15) & ~(size_t)15) > ARENA - arena_used) {
		is_arena_full = true;
		return NULL;
	}
	arena_used += (size + 15) & ~(size_t)15;
	return at;
}

static void give_back(void *at)
{
	(void)at; /* all at once, by json_reset() */
}

void json_init(void)
{
	cJSON_Hooks hooks = { take, give_back };

	cJSON_InitHooks(&hooks);
	json_reset();
}

void json_reset(void)
{
	arena_used = 0;
	is_arena_full = false;
}

void json_whole(char *text)
{
	size_t len = strlen(text);

	for (unsigned i = 0; i < 4 && !utf8_is_valid(text, len); i++)
		text[--len] = '\0';
}

int json_cut(const char *text, size_t max)
{
	size_t n = strnlen(text, max + 1);

	if (n <= max)
		return (int)n;
	for (n = max; n && ((unsigned char)text[n] & 0xc0) == 0x80; n--)
		;
	return (int)n;
}

static int wrong(char why[JSON_WHY], const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int wrong(char why[JSON_WHY], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, JSON_WHY, fmt, ap);
	va_end(ap);
	json_whole(why);
	return -EINVAL;
}

/* The look over the text. */

/* A number that no field takes, as a fraction: refused unless it stands where it is ignored. */
struct odd {
	struct odd *next;
	unsigned before; /* values in the text */
	size_t end;	 /* of its first digits */
};

struct scan {
	const char *text;
	size_t len, at;
	unsigned depth, values;
	struct odd *odd, **odd_end; /* in the text's order */
	const char *why;	    /* NULL: nothing wrong so far */
};

static bool refuse(struct scan *s, const char *why)
{
	if (!s->why)
		s->why = why;
	return false;
}

static int peek(const struct scan *s)
{
	return s->at < s->len ? (unsigned char)s->text[s->at] : -1;
}

static void skip_blanks(struct scan *s)
{
	while (s->at < s->len && strchr(" \t\r\n", s->text[s->at]) && s->text[s->at])
		s->at++;
}

static bool scan_word(struct scan *s, const char *word)
{
	const size_t n = strlen(word);

	if (s->len - s->at < n || memcmp(s->text + s->at, word, n))
		return refuse(s, "expected ident");
	s->at += n;
	return true;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static size_t scan_digits(struct scan *s)
{
	const size_t start = s->at;

	while (is_digit(peek(s)))
		s->at++;
	return s->at - start;
}

/* A fraction and an exponent, as far as they are there. */
static bool scan_more_number(struct scan *s)
{
	if (peek(s) == '.') {
		s->at++;
		if (scan_digits(s) == 0)
			return false;
	}
	if (peek(s) != 'e' && peek(s) != 'E')
		return true;
	s->at++;
	if (peek(s) == '+' || peek(s) == '-')
		s->at++;
	return scan_digits(s) > 0;
}

static bool note_odd(struct scan *s, size_t end)
{
	struct odd *odd = take(sizeof(*odd));

	if (!odd)
		return refuse(s, TOO_MUCH);
	*odd = (struct odd){ .before = s->values - 1, .end = end };
	*s->odd_end = odd;
	s->odd_end = &odd->next;
	return true;
}

/* JSON's own grammar. */
static bool scan_number(struct scan *s)
{
	const size_t begin = s->at;
	uint64_t value = 0;
	size_t digits, start, end;

	if (peek(s) == '-')
		s->at++;
	start = s->at;
	digits = scan_digits(s);
	end = s->at;
	if (digits == 0 || (digits > 1 && s->text[start] == '0') || !scan_more_number(s))
		return refuse(s, "invalid number");
	if (s->at - begin > NUMBER_MAX)
		return refuse(s, "number out of range");
	for (size_t i = 0; i < digits && value <= JSON_UINT_MAX; i++)
		value = value * 10 + (uint64_t)(s->text[start + i] - '0');
	return value > JSON_UINT_MAX || s->at > end ? note_odd(s, end) : true;
}

static bool scan_escape(struct scan *s)
{
	int c;

	s->at++; /* the backslash */
	c = peek(s);
	if (c < 0)
		return refuse(s, "EOF while parsing a string");
	s->at++;
	if (c != 'u')
		return strchr("\"\\/bfnrt", c) && c ? true : refuse(s, "invalid escape");
	for (unsigned i = 0; i < 4; i++, s->at++) {
		c = peek(s);
		if (!is_digit(c) && !(c >= 'a' && c <= 'f') && !(c >= 'A' && c <= 'F'))
			return refuse(s, "invalid escape");
	}
	if (!memcmp(s->text + s->at - 4, "0000", 4))
		return refuse(s, "a string must not hold \\u0000");
	return true; /* whether surrogates pair is cJSON's to say */
}

static bool scan_string(struct scan *s)
{
	s->at++; /* the quote */
	for (;;) {
		const int c = peek(s);

		if (c < 0)
			return refuse(s, "EOF while parsing a string");
		if (c < ' ')
			return refuse(s, "control character (\\u0000-\\u001F) found while parsing "
					 "a string");
		if (c == '\\') {
			if (!scan_escape(s))
				return false;
			continue;
		}
		s->at++;
		if (c == '"')
			return true;
	}
}

static bool scan_value(struct scan *s);

static bool scan_key(struct scan *s)
{
	skip_blanks(s);
	if (peek(s) < 0)
		return refuse(s, "EOF while parsing an object");
	if (peek(s) != '"')
		return refuse(s, peek(s) == '}' ? "trailing comma" : "key must be a string");
	if (!scan_string(s))
		return false;
	skip_blanks(s);
	if (peek(s) != ':')
		return refuse(s, peek(s) < 0 ? "EOF while parsing an object" : "expected `:`");
	s->at++;
	return true;
}

/* What stands between `open` and its counterpart: values, in an object with their keys. */
static bool scan_inside(struct scan *s, bool is_object)
{
	const char close = is_object ? '}' : ']';

	s->at++;
	skip_blanks(s);
	if (peek(s) == close) {
		s->at++;
		return true;
	}
	for (;;) {
		if (is_object && !scan_key(s))
			return false;
		if (!scan_value(s))
			return false;
		skip_blanks(s);
		if (peek(s) == close) {
			s->at++;
			return true;
		}
		if (peek(s) != ',')
			return refuse(s, peek(s) < 0 ? is_object ? "EOF while parsing an object"
								 : "EOF while parsing a list"
					 : is_object ? "expected `,` or `}`"
						     : "expected `,` or `]`");
		s->at++;
	}
}

static bool scan_nested(struct scan *s, bool is_object)
{
	bool ok;

	if (++s->depth > JSON_DEPTH)
		return refuse(s, "recursion limit exceeded");
	ok = scan_inside(s, is_object);
	s->depth--;
	return ok;
}

static bool scan_value(struct scan *s)
{
	if (s->values++ == VALUES_MAX)
		return refuse(s, TOO_MANY);
	skip_blanks(s);
	switch (peek(s)) {
	case -1:
		return refuse(s, "EOF while parsing a value");
	case '{':
		return scan_nested(s, true);
	case '[':
		return scan_nested(s, false);
	case '"':
		return scan_string(s);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	case '-':
		return scan_number(s);
	default:
		return is_digit(peek(s)) ? scan_number(s) : refuse(s, "expected value");
	}
}

/* Where `at` is, counted as serde does. */
static void locate(const char *text, size_t at, struct json_text *json)
{
	json->line = 1;
	json->column = 0;
	for (size_t i = 0; i < at; i++) {
		json->column++;
		if (text[i] == '\n') {
			json->line++;
			json->column = 0;
		}
	}
}

/* Gives each to its value: the text's n-th value is the tree's. */
static void mark_odd(cJSON *value, const struct odd **next, unsigned *before)
{
	cJSON *one;

	if (*next && (*next)->before == *before) {
		value->type = cJSON_Raw; /* which no text is parsed into */
		value->valuedouble = (double)(*next)->end;
		*next = (*next)->next;
	}
	++*before;
	cJSON_ArrayForEach(one, value)
	{
		mark_odd(one, next, before);
	}
}

int json_parse(const char *text, size_t len, struct json_text *json, char why[JSON_WHY])
{
	struct scan s = { .text = text, .len = len, .odd_end = &s.odd };
	const struct odd *odd;
	unsigned before = 0;

	json->root = NULL;
	json->text = text;
	if (!utf8_is_valid(text, len))
		return wrong(why, "invalid unicode code point");
	if (scan_value(&s)) {
		locate(text, s.at, json);
		skip_blanks(&s);
		if (s.at == len)
			json->root = cJSON_ParseWithLength(text, len);
		else
			refuse(&s, "trailing characters");
	}
	odd = s.odd;
	if (json->root && odd)
		mark_odd(json->root, &odd, &before);
	if (json->root)
		return 0;
	if (s.values > VALUES_MAX)
		return wrong(why, TOO_MANY);
	if (!s.why && is_arena_full)
		return wrong(why, TOO_MUCH);
	if (!s.why)
		return wrong(why, "invalid unicode code point");
	locate(text, s.at < len ? s.at + 1 : len, json);
	return wrong(why, "%s at line %u column %u", s.why, json->line, json->column);
}

/* The tables. */

static int refuse_odd(const struct json_text *json, const cJSON *value, char why[JSON_WHY])
{
	struct json_text at;

	locate(json->text, (size_t)value->valuedouble + 1, &at);
	return wrong(why,
		     "invalid value for `%.*s`, expected a whole number of at most 53 bits at line "
		     "%u column %u",
		     json_cut(value->string, 64), value->string, at.line, at.column);
}

/* A value in serde's words: "string \"x\"", "integer `5`". */
static const char *describe(const cJSON *value, char out[96])
{
	if (cJSON_IsString(value))
		snprintf(out, 96, "string \"%.*s\"", json_cut(value->valuestring, 64),
			 value->valuestring);
	else if (cJSON_IsNumber(value))
		snprintf(out, 96, "integer `%.0f`", value->valuedouble);
	else if (cJSON_IsBool(value))
		snprintf(out, 96, "boolean `%s`", cJSON_IsTrue(value) ? "true" : "false");
	else
		snprintf(out, 96, "%s",
			 cJSON_IsObject(value)	? "map"
			 : cJSON_IsArray(value) ? "sequence"
			 : cJSON_IsRaw(value)	? "number"
						: "null");
	json_whole(out);
	return out;
}

static int wrong_type(const struct json_field *f, const cJSON *value, char why[JSON_WHY])
{
	char what[96];

	return wrong(why, "invalid type: %s, expected %s for `%s`", describe(value, what),
		     f->expected, f->name);
}

static int wrong_value(const struct json_field *f, const cJSON *value, char why[JSON_WHY])
{
	char what[96];

	return wrong(why, "invalid value: %s, expected %s for `%s`", describe(value, what),
		     f->expected, f->name);
}

/* "`a`", "`a` or `b`", "one of `a`, `b`, `c`" */
struct list {
	char text[400];
	size_t used;
};

static void list_add(struct list *l, const char *name, unsigned i, unsigned nr)
{
	const char *before = i == 0 ? (nr > 2 ? "one of " : "") : (nr > 2 ? ", " : " or ");
	const int n =
		snprintf(l->text + l->used, sizeof(l->text) - l->used, "%s`%s`", before, name);

	l->used += n > 0 && (size_t)n < sizeof(l->text) - l->used ? (size_t)n : 0;
}

static int unknown_field(const struct json_body *body, const char *name, char why[JSON_WHY])
{
	struct list list = { .used = 0 };

	for (unsigned i = 0; i < body->nr; i++)
		list_add(&list, body->fields[i].name, i, body->nr);
	return wrong(why, "unknown field `%.*s`, expected %s", json_cut(name, 64), name, list.text);
}

static int read_enum(const struct json_field *f, const cJSON *value, void *to, char why[JSON_WHY])
{
	int (*compare)(const char *, const char *) = f->is_any_case ? strcasecmp : strcmp;
	struct list list = { .used = 0 };
	unsigned nr = 0;

	if (!cJSON_IsString(value))
		return wrong_type(f, value, why);
	for (; f->names[nr]; nr++) {
		if (!compare(f->names[nr], value->valuestring)) {
			*(unsigned *)to = nr;
			return 0;
		}
	}
	for (unsigned i = 0; i < nr; i++)
		list_add(&list, f->names[i], i, nr);
	return wrong(why, "unknown variant `%.*s`, expected %s", json_cut(value->valuestring, 64),
		     value->valuestring, list.text);
}

static int read_string(const struct json_field *f, const cJSON *value, char *to, char why[JSON_WHY])
{
	size_t len;

	if (!cJSON_IsString(value))
		return wrong_type(f, value, why);
	len = strlen(value->valuestring);
	if (len < f->min)
		return wrong(why, "invalid value: string \"\", expected %s for `%s`", f->expected,
			     f->name);
	if (len >= f->max)
		return wrong(why, "invalid length %zu, expected at most %llu bytes for `%s`", len,
			     (unsigned long long)f->max - 1, f->name);
	memcpy(to, value->valuestring, len + 1);
	return 0;
}

static int read_uint(const struct json_field *f, const cJSON *value, uint64_t *to,
		     char why[JSON_WHY])
{
	if (!cJSON_IsNumber(value))
		return wrong_type(f, value, why);
	if (value->valuedouble < (double)f->min || value->valuedouble > (double)f->max)
		return wrong_value(f, value, why);
	*to = (uint64_t)value->valuedouble;
	return 0;
}

static bool has_twin(const cJSON *one)
{
	for (const cJSON *other = one->next; other; other = other->next)
		if (!strcmp(one->string, other->string))
			return true;
	return false;
}

static int read_map(const struct json_field *f, cJSON *value, char *to, char why[JSON_WHY])
{
	const cJSON *one;

	if (!cJSON_IsObject(value))
		return wrong_type(f, value, why);
	cJSON_ArrayForEach(one, value) if (!cJSON_IsString(one)) return wrong_type(f, one, why);
	if (!json_print(value, to, f->max))
		return wrong(why, "more text than mayfly takes for `%s`", f->name);
	cJSON_ArrayForEach(one, value) /* few: they fitted */
	{
		if (has_twin(one))
			return wrong(why, "duplicate field `%.*s`", json_cut(one->string, 64),
				     one->string);
	}
	return 0;
}

static int read_field(const struct json_text *json, const struct json_field *f, cJSON *value,
		      char *to, char why[JSON_WHY])
{
	int err = 0;

	switch (f->type) {
	case JSON_BOOL:
		if (!cJSON_IsBool(value))
			return wrong_type(f, value, why);
		*(bool *)(to + f->at) = cJSON_IsTrue(value);
		break;
	case JSON_UINT:
		err = read_uint(f, value, (uint64_t *)(void *)(to + f->at), why);
		break;
	case JSON_STRING:
		err = read_string(f, value, to + f->at, why);
		break;
	case JSON_ENUM:
		err = read_enum(f, value, to + f->at, why);
		break;
	case JSON_OBJECT:
		err = json_read(json, value, f->object, to + f->at, why);
		break;
	case JSON_MAP:
		err = read_map(f, value, to + f->at, why);
		break;
	case JSON_LIST:
		if (!cJSON_IsArray(value))
			return wrong_type(f, value, why);
		*(const cJSON **)(void *)(to + f->at) = value;
		break;
	}
	if (!err && f->flag != JSON_NO_FLAG)
		*(bool *)(to + f->flag) = true;
	return err;
}

static const struct json_field *find(const struct json_body *body, const char *name)
{
	for (unsigned i = 0; i < body->nr; i++)
		if (!strcmp(body->fields[i].name, name))
			return &body->fields[i];
	return NULL;
}

int json_read(const struct json_text *json, const cJSON *object, const struct json_body *body,
	      void *to, char why[JSON_WHY])
{
	uint64_t seen = 0;
	cJSON *value;
	char what[96];

	must(body->nr <= 64);
	if (!cJSON_IsObject(object))
		return wrong(why, "invalid type: %s, expected an object", describe(object, what));
	cJSON_ArrayForEach(value, object)
	{
		const struct json_field *f = find(body, value->string);

		if (!f && body->is_lenient)
			continue;
		if (!f)
			return unknown_field(body, value->string, why);
		if (seen & 1ull << (f - body->fields))
			return wrong(why, "duplicate field `%s`", f->name);
		seen |= 1ull << (f - body->fields);
		if (cJSON_IsNull(value) && (!f->is_required || body->is_partial))
			continue;
		if (cJSON_IsRaw(value))
			return refuse_odd(json, value, why);
		if (read_field(json, f, value, to, why))
			return -EINVAL;
	}
	for (unsigned i = 0; i < body->nr && !body->is_partial; i++) {
		if (!body->fields[i].is_required || seen & 1ull << i)
			continue;
		if (object != json->root)
			return wrong(why, "missing field `%s`", body->fields[i].name);
		return wrong(why, "missing field `%s` at line %u column %u", body->fields[i].name,
			     json->line, json->column);
	}
	return 0;
}

cJSON *json_number(uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	return cJSON_CreateRaw(text);
}

static cJSON *write_field(const struct json_field *f, const char *from)
{
	switch (f->type) {
	case JSON_BOOL:
		return cJSON_CreateBool(*(const bool *)(from + f->at));
	case JSON_UINT:
		return json_number(*(const uint64_t *)(const void *)(from + f->at));
	case JSON_STRING:
		return cJSON_CreateString(from + f->at);
	case JSON_ENUM:
		return cJSON_CreateString(
			f->names[*(const unsigned *)(const void *)(from + f->at)]);
	case JSON_OBJECT:
		return json_write(f->object, from + f->at);
	case JSON_MAP:
		return cJSON_CreateRaw(from + f->at);
	case JSON_LIST:
		break;
	}
	return NULL;
}

static bool is_there(const struct json_field *f, const char *from)
{
	if (f->flag != JSON_NO_FLAG)
		return *(const bool *)(from + f->flag);
	return f->type != JSON_STRING || from[f->at];
}

cJSON *json_write(const struct json_body *body, const void *from)
{
	cJSON *object = cJSON_CreateObject();

	for (unsigned i = 0; i < body->nr; i++) {
		const struct json_field *f = &body->fields[i];
		const bool there = is_there(f, from);

		if (!there && f->is_hidden)
			continue;
		if (!cJSON_AddItemToObjectCS(object, f->name,
					     there ? write_field(f, from) : cJSON_CreateNull()))
			return NULL;
	}
	return object;
}

size_t json_print(cJSON *json, char *buf, size_t size)
{
	/* It wants some bytes more than it uses. */
	if (!json || size > INT32_MAX || !cJSON_PrintPreallocated(json, buf, (int)size, false))
		return 0;
	return strlen(buf);
}
