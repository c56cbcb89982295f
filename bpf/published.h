/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bind that goes through on a port which NAT gives to somebody else: nothing from outside ever
 * reaches the socket. Userspace keeps the ports in `published`.
 */
#pragma once

#include "conflict.h"
#include "marks.h"

static __always_inline bool is_loopback(const struct bind *bind)
{
	if (bind->family == IPV4)
		return (bind->address[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !(bind->address[0] | bind->address[1] | bind->address[2]) &&
	       bind->address[3] == bpf_htonl(1);
}

static __always_inline bool is_wildcard(const struct bind *bind)
{
	return bind->family == IPV4 ? !bind->address[3] : is_unspecified(bind->address);
}

/* Of one IP version; `key` has no address. */
static __always_inline bool takes(struct published_key *key, const struct bind *bind, u8 family)
{
	u32 *reach;

	key->family = family;
	__builtin_memset(key->address, 0, sizeof(key->address));
	reach = find(MAP(published), key);
	if (!reach)
		return false;
	if (is_wildcard(bind))
		return true;
	if (*reach & PUBLISHED_EVERYWHERE)
		return !is_loopback(bind);
	__builtin_memcpy(key->address, bind->address, sizeof(key->address));
	return find(MAP(published), key);
}

static __always_inline bool is_published(const struct bind *bind)
{
	struct published_key key = { .port = bind->port, .protocol = protocol_row(bind->label) };

	if (!find(MAP(published), &key)) /* in no network */
		return false;
	key.netns_inode = netns_inode_of_socket(sock_of(bind));
	return takes(&key, bind, bind->family) ||
	       (bind->scope & SCOPE_DUAL && takes(&key, bind, IPV4));
}

/* The kernel's choice is a client's, most often. */
static __always_inline bool was_picked(struct bpf_sock *sock)
{
	struct mark *mark = bpf_sk_storage_get(MAP(marks), sock, 0, 0);

	return mark && mark->pending && !mark->port;
}

static __always_inline void look_for_publisher(const struct control *control, struct bpf_sock *sock,
                                               struct bind *bind)
{
	describe(control, bind, sock, sock, sock->protocol);
	bind->port = bind->requested_port = sock->src_port;
	if (is_published(bind) && !was_picked(sock))
		report_conflict(control, bind, PORT_PUBLISHED);
}
