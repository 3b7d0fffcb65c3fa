// SPDX-License-Identifier: Apache-2.0
/*
 * The value of --net: what the interface is linked to, and words after commas, by two tables.
 * args.c calls it; taps and sockets themselves are looked at later, by virtio/net.c.
 */
#include "args.h"
#include "log.h"

#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>

static int take_tap(struct net_config *n, char *value)
{
	n->kind = NET_TAP;
	n->path = value;
	return *value && strlen(value) < IFNAMSIZ && !strchr(value, '/') ? 0 : -EINVAL;
}

static int take_fd(struct net_config *n, char *value)
{
	uint64_t fd;

	n->kind = NET_TAP_FD;
	n->path = value;
	if (args_number(value, 1 << 20, &fd) || fd <= 2)
		return -EINVAL;
	n->fd = (int)fd;
	return 0;
}

static int take_peer(struct net_config *n, char *value)
{
	n->kind = NET_PEER;
	n->path = value;
	return *value ? 0 : -EINVAL;
}

static int take_passt(struct net_config *n, char *value)
{
	n->kind = NET_STREAM;
	n->path = value;
	return *value ? 0 : -EINVAL;
}

/* Of one station: no group's address, and not zero. */
static int take_mac(struct net_config *n, char *value)
{
	static const uint8_t zero[6];

	n->has_mac = config_mac(value, n->mac);
	return !n->has_mac || n->mac[0] & 1 || !memcmp(n->mac, zero, sizeof(zero)) ? -EINVAL : 0;
}

static int take_mtu(struct net_config *n, char *value)
{
	uint64_t mtu;

	if (args_number(value, 65535, &mtu) || mtu < 68)
		return -EINVAL;
	n->mtu = (uint16_t)mtu;
	return 0;
}

static int take_id(struct net_config *n, char *value)
{
	n->id = value;
	for (const char *c = value; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '_')
			return -EINVAL;
	return *value ? 0 : -EINVAL;
}

static int take_spoof(struct net_config *n, char *value)
{
	n->is_spoof_refused = !strcmp(value, "refuse");
	return n->is_spoof_refused || !strcmp(value, "count") ? 0 : -EINVAL;
}

static int take_offload(struct net_config *n, char *value)
{
	n->is_plain = !strcmp(value, "off");
	return n->is_plain || !strcmp(value, "on") ? 0 : -EINVAL;
}

static int take_rx_bytes(struct net_config *n, char *value)
{
	return args_bucket(value, &n->rx.bytes);
}

static int take_rx_ops(struct net_config *n, char *value)
{
	return args_bucket(value, &n->rx.ops);
}

static int take_tx_bytes(struct net_config *n, char *value)
{
	return args_bucket(value, &n->tx.bytes);
}

static int take_tx_ops(struct net_config *n, char *value)
{
	return args_bucket(value, &n->tx.ops);
}

struct word {
	const char *name, *give;
	int (*take)(struct net_config *net, char *value);
};

static const struct word links[] = {
	{ "tap=", "the name of a tap, of 1 to 15 letters", take_tap },
	{ "fd=", "the number of an open descriptor above 2", take_fd },
	{ "peer=", "a folder", take_peer },
	{ "passt=", "a socket's path", take_passt },
};

static const struct word words[] = {
	{ "mac=", "mac= and an address of one station, such as 02:00:00:00:00:01", take_mac },
	{ "mtu=", "mtu=68 to 65535", take_mtu },
	{ "id=", "id= and letters, digits and _", take_id },
	{ "spoof=", "spoof=count or spoof=refuse", take_spoof },
	{ "offload=", "offload=on or offload=off", take_offload },
	{ "rx-bytes=", "rx-bytes=SIZE[+BURST][/TIME], such as rx-bytes=10M/1s", take_rx_bytes },
	{ "rx-ops=", "rx-ops=N[+BURST][/TIME], such as rx-ops=500/1s", take_rx_ops },
	{ "tx-bytes=", "tx-bytes=SIZE[+BURST][/TIME], such as tx-bytes=10M/1s", take_tx_bytes },
	{ "tx-ops=", "tx-ops=N[+BURST][/TIME], such as tx-ops=500/1s", take_tx_ops },
};

static const struct word *find(const struct word *in, size_t nr, const char *text)
{
	for (size_t i = 0; i < nr; i++)
		if (!strncmp(text, in[i].name, strlen(in[i].name)))
			return &in[i];
	return NULL;
}

static int take_link(struct net_config *n, char *text)
{
	const struct word *w = find(links, sizeof(links) / sizeof(links[0]), text);

	if (!w)
		return fail(0, "--net %s: give tap=NAME, fd=N, peer=FOLDER or passt=SOCKET", text);
	if (w->take(n, text + strlen(w->name)))
		return fail(0, "--net %s: give %s", text, w->give);
	return 0;
}

static int take_word(struct net_config *n, const char *link, char *text)
{
	const struct word *w = find(words, sizeof(words) / sizeof(words[0]), text);

	if (!w)
		return fail(0,
			    "--net %s,%s: the words are mac=, mtu=, id=, spoof=refuse, "
			    "offload=off, rx-bytes=, rx-ops=, tx-bytes=, tx-ops=",
			    link, text);
	if (w->take(n, text + strlen(w->name)))
		return fail(0, "--net %s,%s: give %s", link, text, w->give);
	return 0;
}

int args_net(char *value, struct net_config *n)
{
	char *word = strchr(value, ',');
	int err;

	*n = (struct net_config){ 0 };
	if (word)
		*word++ = '\0';
	err = take_link(n, value);
	while (word && !err) {
		char *next = strchr(word, ',');

		if (next)
			*next++ = '\0';
		err = take_word(n, value, word);
		word = next;
	}
	return err;
}
