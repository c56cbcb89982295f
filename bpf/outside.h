/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The current task and a kernel socket as hooks outside of bind() see them: by their fields, as
 * the kernel's BTF tells where they lie. Addresses are plain numbers; a wrong one reads zeros.
 */
#pragma once

#include "compat.h"

#ifdef HAVE_KERNEL_TYPES

#define SOCK_BINDPORT_LOCK 8 /* include/net/sock.h */

#ifndef MASK_SOCK_USERLOCKS
#define MASK_SOCK_USERLOCKS 0xff /* a byte of its own by now */
#endif

#define BITFIELD(byte, name) (((byte)&MASK_##name) / (MASK_##name & -MASK_##name))

/* The task's cgroup in the cgroup2 hierarchy. */
static __always_inline u64 task_cgroup(u64 task)
{
	return read_u64(read_u64(task + OFFSET_TASK_CGROUPS) + OFFSET_CSS_SET_CGROUP);
}

/* 0 above the root. A cgroup begins with its own cgroup_subsys_state. */
static __always_inline u64 parent_cgroup(u64 cgroup)
{
	return read_u64(cgroup + OFFSET_CGROUP_PARENT);
}

#define CGROUP2 0 /* hierarchy_id of cgrp_dfl_root, as in /proc/PID/cgroup */

static __always_inline u32 hierarchy_of_cgroup(u64 cgroup)
{
	return read_u32(read_u64(cgroup + OFFSET_CGROUP_ROOT) + OFFSET_HIERARCHY_ID);
}

/* Whether the bind hooks would see this socket: those that are on a cgroup see what was made in it
 * or below. */
static __always_inline bool is_ours(const struct control *control, u64 sock)
{
	u64 cgroup = read_u64(sock + OFFSET_SOCK_CGROUP);

	if (!control->cgroup)
		return true;
	if (cgroup & 1)
		return false;
#pragma clang loop unroll(disable)
	for (int level = 0; level < MAX_CGROUP_DEPTH && cgroup; level++) {
		if (id_of_cgroup(cgroup) == control->cgroup)
			return true;
		cgroup = parent_cgroup(cgroup);
	}
	return false;
}

/* gid above, uid below: as bpf_get_current_uid_gid() has them. */
static __always_inline u64 task_uid_gid(u64 task)
{
	u64 cred = read_u64(task + OFFSET_TASK_CRED);

	return (u64)read_u32(cred + OFFSET_CRED_GID) << 32 | read_u32(cred + OFFSET_CRED_UID);
}

/* Process above, thread below: as bpf_get_current_pid_tgid() has them. */
static __always_inline u64 task_pid_tgid(u64 task)
{
	return (u64)read_u32(task + OFFSET_TASK_TGID) << 32 | read_u32(task + OFFSET_TASK_PID);
}

static __always_inline void read_task_comm(u64 task, char *comm, u32 size)
{
	bpf_probe_read_kernel(comm, size, (void *)(task + OFFSET_TASK_COMM));
}

/* False where the kernel picked the port, or would. */
static __always_inline bool port_was_asked_for(u64 sock)
{
	u8 locks = BITFIELD(read_u8(sock + OFFSET_SOCK_USERLOCKS), SOCK_USERLOCKS);

	return locks & SOCK_BINDPORT_LOCK;
}

/* Whether another socket may be bound to the same port beside this one. */
static __always_inline bool shares_its_port(u64 sock, bool is_tcp)
{
	u8 flags = read_u8(sock + OFFSET_SOCK_REUSEPORT);

	return BITFIELD(flags, SOCK_REUSEPORT) || (!is_tcp && BITFIELD(flags, SOCK_REUSE));
}

#endif
