/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bind that the kernel fails because the port is taken: counted exactly, told at most once a
 * second for each workload and port.
 */
#pragma once

#include "conflict.h"

#ifdef HAVE_KERNEL_TYPES

/* A protocol's get_port() has ended; `port` 0 asked for any. */
static __always_inline int port_refused(u64 sock, u16 port, int result)
{
	struct control *control = at(MAP(control), 0);
	struct bind bind = { .is_outside = true, .outside = sock };

	if (!result || !port || !control || !is_ours(control, sock))
		return 0;
	bind.task = bpf_get_current_task();
	bind.protocol = read_u16(sock + OFFSET_SOCK_PROTOCOL);
	describe_socket(control, &bind);
	bind.port = bind.requested_port = port;
	report_conflict(control, &bind, PORT_IN_USE);
	return 0;
}

#ifdef HAVE_ONLY_SYS_EXIT

struct sys_exit {
	u64 common;
	u64 number;
	s64 result;
};

struct user_sockaddr {
	u16 family;
	u16 port; /* network order */
	u32 ip4;  /* or flow information */
	u32 ip6[4];
};

static __always_inline u64 socket_of_descriptor(u64 task, u32 descriptor)
{
	u64 table = read_u64(read_u64(task + OFFSET_TASK_FILES) + OFFSET_FILES_FDT), file, socket;

	if (descriptor >= read_u32(table + OFFSET_FDTABLE_MAX))
		return 0;
	file = read_u64(read_u64(table + OFFSET_FDTABLE_FD) + descriptor * sizeof(file));
	socket = read_u64(file + OFFSET_FILE_PRIVATE);
	/* Is it a socket at all? */
	if (!file || read_u64(socket + OFFSET_SOCKET_FILE) != file)
		return 0;
	return read_u64(socket + OFFSET_SOCKET_SK);
}

/* Other sockets have addresses that can be in use too: paths, device names. */
static __always_inline bool has_ports(u64 sock)
{
	u16 family = read_u16(sock + OFFSET_SOCK_FAMILY);

	return (family == AF_INET || family == AF_INET6) &&
	       protocol_label(read_u16(sock + OFFSET_SOCK_PROTOCOL)) != ROW_OTHER;
}

/* By portwatch, with that very errno: no collision. A denial whose end is not seen here, io_uring's,
 * leaves its socket behind, which the thread's next bind does not have as a rule. Of MPTCP the
 * bind hooks see a socket within. */
static __always_inline bool was_denied(const struct bind *bind)
{
	u64 thread = task_pid_tgid(bind->task), *sock = find(MAP(denied_threads), &thread);
	bool same = sock && (*sock == bind->outside || bind->protocol == IPPROTO_MPTCP);

	if (sock)
		bpf_map_delete_elem_((u64)MAP(denied_threads), &thread);
	return same;
}

/* Where nothing may be attached to the kernel's functions: what was asked for, by the registers
 * and the memory of the task. It may have changed the latter meanwhile, and fool itself. */
static __always_inline int bind_ended(const struct sys_exit *context)
{
	struct control *control = at(MAP(control), 0);
	struct user_sockaddr address = {};
	struct bind bind = { .is_outside = true };
	u64 registers;

	if (context->result != -EADDRINUSE || !control)
		return 0;
	bind.task = bpf_get_current_task();
	registers = (u64)bpf_task_pt_regs((void *)bpf_get_current_task_btf());
	bind.outside = socket_of_descriptor(bind.task, read_u64(registers + OFFSET_REGS_FIRST));
	bpf_probe_read_user(&address, sizeof(address),
	                    (void *)read_u64(registers + OFFSET_REGS_SECOND));
	bind.protocol = read_u16(bind.outside + OFFSET_SOCK_PROTOCOL);
	if (was_denied(&bind) || !has_ports(bind.outside) || !address.port ||
	    !is_ours(control, bind.outside))
		return 0;
	describe_socket(control, &bind);
	bind.port = bind.requested_port = bpf_ntohs(address.port);
	/* The kernel has taken the address back from the socket. */
	if (bind.family == IPV4) {
		bind.address[3] = address.ip4;
	} else {
		__builtin_memcpy(bind.address, address.ip6, sizeof(bind.address));
		bind.scope = 0;
		set_scope(&bind, (void *)bind.outside);
	}
	report_conflict(control, &bind, PORT_IN_USE);
	return 0;
}

#endif
#endif
