/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * empty_bind, empty_post_bind,
 * empty_exit                   the least that a program on portwatch's hooks can cost
 * linear_bind                  a list of 128 rules tried one after another, the way of
 *                              allow and deny lists that are no tables
 */
#include <linux/types.h>

#define RULES 128

struct rule {
	u16 protocol; /* 0: any */
	u16 first_port;
	u16 last_port;
	u16 deny;
};

int empty_bind(struct bpf_sock_addr *context)
{
	return 1;
}

int empty_post_bind(struct bpf_sock *sock)
{
	return 1;
}

int empty_exit(void *context)
{
	return 0;
}

int linear_bind(struct bpf_sock_addr *context)
{
	u16 port = bpf_ntohs((u16)context->user_port);

	for (u32 i = 0; i < RULES; i++) {
		u32 key = i;
		struct rule *rule = bpf_map_lookup_elem_((u64)bpf_pseudo_fd(1, FD_rules), &key);

		if (!rule)
			return 1;
		if (rule->protocol && rule->protocol != context->protocol)
			continue;
		if (port >= rule->first_port && port <= rule->last_port)
			return !rule->deny;
	}
	return 1;
}
