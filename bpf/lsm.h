/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What only the LSM hooks can refuse: SCTP, which has a bind of its own, and listen() on a socket
 * that has no port yet. Every other bind is the bind hooks', and is not counted here.
 */
#pragma once

#include "judge.h"

#if defined(HAVE_KERNEL_TYPES) && defined(HAVE_LSM)

#define SCTP_SOCKOPT_BINDX_ADD 100 /* include/uapi/linux/sctp.h */
#define MAX_BINDX_ADDRESSES 8
#define SOCKADDR_IN_BYTES 16
#define SOCKADDR_IN6_BYTES 28

/* Takes the address at `place`, a sockaddr; false where the kernel will refuse it anyhow. */
static __always_inline bool take_sockaddr(struct bind *bind, u64 place, s64 bytes)
{
	u16 family = read_u16(place);

	if (family == AF_INET && bytes >= SOCKADDR_IN_BYTES) {
		bind->family = IPV4;
		bind->address[0] = bind->address[1] = 0;
		bind->address[2] = MAPPED_PREFIX;
		bind->address[3] = read_u32(place + 4);
	} else if (family == AF_INET6 && bytes >= SOCKADDR_IN6_BYTES) {
		bind->family = IPV6;
		read_ipv6(bind, place + 8);
	} else {
		return false;
	}
	bind->scope = 0;
	/* Not set_scope(): with its reading back of the address 7.2 refuses sctp_bind_connect. */
	if (bind->family == IPV6 && is_unspecified(bind->address) && !is_ipv6_only(bind->outside))
		bind->scope = SCOPE_DUAL;
	bind->port = bind->requested_port = bpf_ntohs(read_u16(place + 2));
	return true;
}

static __always_inline int judge_sctp(const struct control *control, struct bind *bind)
{
	u16 error = 0;

	bind->label = one_state(control, ROW_SCTP);
	judge(control, bind, &error);
	return as_result(error);
}

static __always_inline bool is_sctp(u64 sock)
{
	u16 family = read_u16(sock + OFFSET_SOCK_FAMILY);

	return (family == AF_INET || family == AF_INET6) &&
	       read_u16(sock + OFFSET_SOCK_PROTOCOL) == IPPROTO_SCTP;
}

static __always_inline int before_sctp_bind(u64 socket, u64 address, s64 bytes)
{
	struct control *control = at(MAP(control), 0);
	struct bind bind = {
		.protocol = IPPROTO_SCTP,
		.is_outside = true,
		.outside = read_u64(socket + OFFSET_SOCKET_SK),
		.task = bpf_get_current_task(),
	};

	if (!control || !is_sctp(bind.outside) || !is_ours(control, bind.outside) ||
	    !take_sockaddr(&bind, address, bytes))
		return 0;
	return judge_sctp(control, &bind);
}

/* sctp_bindx(): several addresses in a row, each one bind; an address without a port is for the
 * port that the socket has. */
static __always_inline int before_sctp_bindx(u64 sock, int option, u64 addresses, s64 bytes)
{
	struct control *control = at(MAP(control), 0);
	struct bind bind = {
		.protocol = IPPROTO_SCTP,
		.is_outside = true,
		.outside = sock,
		.task = bpf_get_current_task(),
	};

	if (!control || option != SCTP_SOCKOPT_BINDX_ADD || !is_ours(control, sock))
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_BINDX_ADDRESSES; i++) {
		int error;

		if (!take_sockaddr(&bind, addresses, bytes))
			break;
		if (!bind.port)
			bind.port = bind.requested_port = read_u16(sock + OFFSET_SOCK_NUM);
		error = judge_sctp(control, &bind);
		if (error)
			return error;
		addresses += bind.family == IPV4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES;
		bytes -= bind.family == IPV4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES;
	}
	return 0;
}

/* On a socket without a port the kernel will pick one: refused where port 0 is. What is let
 * through is counted where it listens; but of SCTP nothing tells that. */
static __always_inline int before_listen(u64 sock, struct mark *mark)
{
	struct control *control = at(MAP(control), 0);
	struct counters *counters = at(MAP(counters), 0);
	struct bind bind = {
		.is_outside = true,
		.outside = sock,
		.task = bpf_get_current_task(),
	};
	u16 family = read_u16(sock + OFFSET_SOCK_FAMILY);
	struct judgement judgement;
	struct tables *tables;
	u32 verdict;
	u16 error;

	if (!control || !counters || (family != AF_INET && family != AF_INET6))
		return 0;
	bind.protocol = read_u16(sock + OFFSET_SOCK_PROTOCOL);
	describe_socket(control, &bind);
	if (bind.port || !is_ours(control, sock))
		return 0;
	tables = find_tables(*(const volatile u32 *)&control->generation);
	if (!tables)
		return 0;
	judgement = find_outcome(tables, &bind);
	verdict = verdict_of(tables, &judgement);
	if (verdict != DENIED && bind.protocol != IPPROTO_SCTP)
		return 0;
	if (mark && mark->counted) {
		mark->counted = 0;
		retract(counters, mark);
	}
	error = verdict == DENIED ? error_of(tables, &bind, &judgement) : 0;
	count_and_report(tables, counters, &bind, &judgement, verdict, error, false, 0);
	return as_result(error);
}

#endif
