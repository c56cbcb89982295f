/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernels, in one place. The loader finds out by trying
 * (portwatch/kernel/features.py) and from the kernel's BTF, and passes the answers in:
 *
 * HAVE_SET_RETVAL    bpf_set_retval in the bind hooks; before "bpf: Allow more helpers in
 *                    cgroup hooks" (6.0) a refusal is always EPERM
 * HAVE_POST_DENY     a refusal in post_bind gives the port back: "net: bpf: Handle return
 *                    value of BPF_CGROUP_RUN_PROG_INET{4,6}_POST_BIND()" (5.17); before it
 *                    the socket keeps the port, so there portwatch only records
 * HAVE_COARSE_CLOCK  bpf_ktime_get_coarse_ns (5.11)
 * HAVE_TASK_CGROUP   the verifier lets a bind hook follow the fields from a task to its cgroup
 *                    (bpf_get_current_task_btf, 6.1 as tried)
 * HAVE_KERNEL_TYPES  every OFFSET_* is known that the hooks other than the bind hooks need: those
 *                    have few helpers on older kernels, and read what they need to know
 * HAVE_PROCESS_DETAILS  the same of the fields that tell of a process, which the hooks may read
 * HAVE_SOCKET_STORAGE  a socket can be given a mark at all, if there is memory
 * HAVE_TASK_PT_REGS  bpf_task_pt_regs (5.15)
 * OFFSET_*           where a field lies in its kernel struct, in bytes; undefined: unknown
 */
#pragma once

#include "layout.h"

/* Where bcc cannot read the kernel's symbols (kptr_restrict=2, no CAP_SYSLOG) it makes them the older
 * helpers, which a bind hook may not call. All kernels since 5.5 have them. */
#undef bpf_probe_read_kernel
#undef bpf_probe_read_kernel_str
#undef bpf_probe_read_user

#define EPERM 1
#define ENOMEM 12
#define EADDRINUSE 98
#define PROCEED 1 /* never 3, which would waive CAP_NET_BIND_SERVICE */
#define REFUSE 0
#define MAX_ERRNO 4095 /* the kernel's own; 7.2's verifier wants it proved */

/* Each system call pays for it, whatever it is: only where functions take no programs. */
#if defined(HAVE_KERNEL_TYPES) && defined(HAVE_TASK_PT_REGS) && !defined(HAVE_FUNCTION_EXIT)
#define HAVE_ONLY_SYS_EXIT
#endif

/* `value & mask`, where the compiler knows that the mask changes nothing and would leave it out,
 * and the verifier does not know. */
static __always_inline u64 bounded(u64 value, u64 mask)
{
	asm volatile("%0 &= %1" : "+r"(value) : "r"(mask));
	return value;
}

/* As the kernel returns errors; before 7.x the verifier does not follow a negation. */
static __always_inline int as_result(u64 error)
{
	s64 result = 0;

	error = bounded(error, MAX_ERRNO);
	asm volatile("%0 -= %1" : "+r"(result) : "r"(error));
	return result;
}

#ifdef HAVE_SET_RETVAL
#define denial_error(chosen) (chosen)
#define set_denial_error(chosen) bpf_set_retval(as_result(chosen))
#else
#define denial_error(chosen) EPERM
#define set_denial_error(chosen) ((void)(chosen))
#endif

#ifdef HAVE_COARSE_CLOCK
#define coarse_clock_ns() bpf_ktime_get_coarse_ns()
#else
#define coarse_clock_ns() bpf_ktime_get_ns()
#endif

static __always_inline u64 read_u64(u64 address)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static __always_inline u16 read_u16(u64 address)
{
	u16 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static __always_inline u32 read_u32(u64 address)
{
	u32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static __always_inline u8 read_u8(u64 address)
{
	u8 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

/* The verifier forbids arithmetic on a socket pointer, even to read through the helper; a
 * copy of it read back from the stack is a plain number. */
static __always_inline u64 kernel_address(void *pointer)
{
	void *volatile spilled = pointer;

	return read_u64((u64)&spilled);
}

/* bpf_get_current_cgroup_id() does the same; but helpers are most of what a bind pays. */
#ifdef HAVE_TASK_CGROUP
static __always_inline u64 current_cgroup(void)
{
	char *task = (char *)bpf_get_current_task_btf();
	char *css_set = *(char **)(task + OFFSET_TASK_CGROUPS);
	char *cgroup = *(char **)(css_set + OFFSET_CSS_SET_CGROUP);
	char *node = *(char **)(cgroup + OFFSET_CGROUP_KN);

	return *(u64 *)(node + OFFSET_KERNFS_ID);
}
#else
static __always_inline u64 current_cgroup(void)
{
	return bpf_get_current_cgroup_id();
}
#endif

#ifdef OFFSET_SOCK_CGROUP
static __always_inline u64 id_of_cgroup(u64 cgroup)
{
	return read_u64(read_u64(cgroup + OFFSET_CGROUP_KN) + OFFSET_KERNFS_ID);
}

/* Before 5.16 an odd number there is a cgroup v1 class, and no pointer. */
static __always_inline u64 cgroup_of_socket(u64 sock)
{
	u64 cgroup = read_u64(sock + OFFSET_SOCK_CGROUP);

	return cgroup & 1 ? 0 : id_of_cgroup(cgroup);
}
#else
static __always_inline u64 cgroup_of_socket(u64 sock)
{
	return 0;
}
#endif

#ifdef OFFSET_SOCK_NET
static __always_inline u32 netns_inode_of_socket(u64 sock)
{
	return read_u32(read_u64(sock + OFFSET_SOCK_NET) + OFFSET_NET_INUM);
}
#else
static __always_inline u32 netns_inode_of_socket(u64 sock)
{
	return 0;
}
#endif

/* Unknown counts as dual-stack: the exposed reading is the safe one. */
#ifdef OFFSET_SOCK_IPV6ONLY
static __always_inline bool is_ipv6_only(u64 sock)
{
	return read_u8(sock + OFFSET_SOCK_IPV6ONLY) & MASK_SOCK_IPV6ONLY;
}
#else
static __always_inline bool is_ipv6_only(u64 sock)
{
	return false;
}
#endif
