/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cgroup/bind4, cgroup/bind6            the verdict, before the kernel touches the port
 * cgroup/post_bind4, cgroup/post_bind6  the port that it came to be: picked by the kernel, or
 *                                       changed by another program
 * raw_tracepoint/cgroup_mkdir, _rmdir   tells userspace of a workload to classify or forget
 *
 * Every bind counts once, in bind4/6. Where the port comes to be another, or the socket listens on
 * one that the kernel picked, it is judged again and, if that comes to another verdict, the first
 * is retracted.
 */
#include "judge.h"
#include "published.h"

static __always_inline int refuse(const struct bind *bind, u16 error)
{
#ifdef HAVE_ONLY_SYS_EXIT
	u64 thread = bpf_get_current_pid_tgid(), sock;

	if (error == EADDRINUSE) {
		sock = kernel_address(bind->sock);
		bpf_map_update_elem_((u64)MAP(denied_threads), &thread, &sock, BPF_ANY);
	}
#endif
	set_denial_error(error);
	return REFUSE;
}

/* It was let through, and is refused after all: not by the policy. */
static __always_inline void take_back_count(const struct bind *bind, u32 verdict)
{
	struct counters *counters = at(MAP(counters), 0);

	if (!counters)
		return;
	count_bind((u64 *)counters->retracted, bind, verdict);
	__sync_fetch_and_add(&counters->unjudged, 1);
}

static __always_inline int before_bind(struct bpf_sock_addr *context, struct bind *bind)
{
	struct control *control = at(MAP(control), 0);
	struct bpf_sock *sock = context->sk;
	u16 error = 0;
	u32 verdict;

	if (!control || !sock)
		return PROCEED;
	describe(control, bind, context, sock, context->protocol);
	bind->port = bind->requested_port = bpf_ntohs((u16)context->user_port);
	verdict = judge(control, bind, &error);
	if (verdict == DENIED)
		return refuse(bind, error);
	if (leave_mark(control, bind, verdict))
		return PROCEED;
	take_back_count(bind, verdict);
	return refuse(bind, ENOMEM);
}

static __always_inline int after_bind(const struct control *control, struct mark *mark,
                                      struct bpf_sock *sock, struct bind *bind)
{
	u16 error = 0;

	mark->pending = 0;
	bind->requested_port = mark->port;
	bind->port = sock->src_port;
	describe(control, bind, sock, sock, sock->protocol);
	if (bind->port == mark->port && bind->scope == mark->scope)
		return PROCEED;
	bind->kind = mark->port ? NUMBERED : PICKED;
	return judge_again(control, bind, mark, &error) ? PROCEED : refuse(bind, error);
}

int bind4(struct bpf_sock_addr *context)
{
	struct bind bind = { .family = IPV4,
		             .address = { 0, 0, MAPPED_PREFIX, context->user_ip4 } };

	/* __inet_bind() takes AF_UNSPEC with INADDR_ANY for AF_INET and refuses all others. */
	if (context->user_family != AF_INET &&
	    (context->user_family != AF_UNSPEC || context->user_ip4))
		return PROCEED;
	return before_bind(context, &bind);
}

int bind6(struct bpf_sock_addr *context)
{
	struct bind bind = { .family = IPV6,
		             .address = { context->user_ip6[0], context->user_ip6[1],
		                          context->user_ip6[2], context->user_ip6[3] } };

	/* __inet6_bind() refuses every other family with EAFNOSUPPORT. */
	if (context->user_family != AF_INET6)
		return PROCEED;
	return before_bind(context, &bind);
}

int post_bind4(struct bpf_sock *sock)
{
	struct control *control = at(MAP(control), 0);
	struct bind bind = { .family = IPV4 };
	struct mark *mark;

	bind.address[2] = MAPPED_PREFIX;
	bind.address[3] = sock->src_ip4;
	if (control && control->published)
		look_for_publisher(control, sock, &bind);
	mark = find_pending_mark(control, sock, CONTROL_PICKED | CONTROL_FOREIGN);
	if (!control || !mark)
		return PROCEED;
	return after_bind(control, mark, sock, &bind);
}

int post_bind6(struct bpf_sock *sock)
{
	struct control *control = at(MAP(control), 0);
	struct bind bind = { .family = IPV6 };
	u32 reasons = CONTROL_PICKED | CONTROL_FOREIGN;
	struct mark *mark;

	bind.address[0] = sock->src_ip6[0];
	bind.address[1] = sock->src_ip6[1];
	bind.address[2] = sock->src_ip6[2];
	bind.address[3] = sock->src_ip6[3];
	if (control && control->published)
		look_for_publisher(control, sock, &bind);
	mark = find_pending_mark(control, sock,
	                         is_unspecified(bind.address) ? reasons | CONTROL_SCOPES : reasons);
	if (!control || !mark)
		return PROCEED;
	return after_bind(control, mark, sock, &bind);
}

static __always_inline int tell_cgroup(struct bpf_raw_tracepoint_args *context, u32 removed)
{
	u64 cgroup = context->args[0], id = 0;
	struct counters *counters = at(MAP(counters), 0);
	struct cgroup_event *event;

#ifdef HAVE_KERNEL_TYPES
	if (hierarchy_of_cgroup(cgroup) != CGROUP2)
		return 0;
	id = id_of_cgroup(cgroup);
#endif
	event = bpf_ringbuf_reserve(MAP(cgroup_events), sizeof(*event), 0);
	if (!event) {
		if (counters)
			__sync_fetch_and_add(&counters->cgroup_events_lost, 1);
		return 0;
	}
	event->time_ns = bpf_ktime_get_boot_ns();
	event->id = id;
	event->kind = EVENT_CGROUP;
	event->removed = removed;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->pad = 0;
	bpf_probe_read_kernel_str(event->path, sizeof(event->path), (char *)context->args[1]);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* TP_PROTO(struct cgroup *cgrp, const char *path) */
int cgroup_mkdir(struct bpf_raw_tracepoint_args *context)
{
	return tell_cgroup(context, 0);
}

int cgroup_rmdir(struct bpf_raw_tracepoint_args *context)
{
	return tell_cgroup(context, 1);
}
