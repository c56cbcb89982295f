/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cgroup/bind4, cgroup/bind6            the verdict, before the kernel touches the port
 * cgroup/post_bind4, cgroup/post_bind6  the port that the kernel picked for a bind to port 0
 * raw_tracepoint/cgroup_mkdir, _rmdir   tells userspace of a workload to classify or forget
 *
 * Every bind counts once, in bind4/6. Where the kernel picks the port, and a list may still speak
 * of it, post_bind judges again and, if it comes to another verdict, retracts the first.
 */
#include "report.h"

#define REFUSE 0
#define PROCEED 1 /* never 3, which would waive CAP_NET_BIND_SERVICE */

static __always_inline u32 verdict_of(struct tables *tables, const struct bind *bind,
                                      const struct judgement *judgement)
{
	u32 verdict = judgement->outcome ? tables->outcomes[judgement->outcome].verdict : ALLOWED;

#ifndef HAVE_POST_DENY
	if (bind->kind == PICKED && verdict == DENIED)
		return RECORDED;
#endif
	return verdict;
}

static __always_inline void count_and_report(struct tables *tables, struct counters *counters,
                                             struct bind *bind, const struct judgement *judgement,
                                             u32 verdict)
{
	struct outcome *outcome = &tables->outcomes[judgement->outcome];
	struct violation_facts facts = {
		.constraint = outcome->constraint,
		.workload = judgement->workload,
		.verdict = verdict,
	};

	count_bind((u64 *)counters->binds, bind, verdict);
	if (verdict == ALLOWED)
		return;
	facts.now = bpf_ktime_get_boot_ns();
	if (verdict == DENIED) {
		facts.error = denial_error(outcome->error);
		set_denial_error(outcome->error);
	}
	report_violation(tables, counters, bind, &facts);
}

/* The verdict before the kernel touches the port. */
static __always_inline u32 judge(const struct control *control, struct bind *bind)
{
	/* Read once, so that no bind is judged by a mix of two policies. */
	u32 generation = *(const volatile u32 *)&control->generation, verdict;
	struct counters *counters = at(MAP(counters), 0);
	struct observed_key key = observed_key(bind);
	u64 allowed = fingerprint(control, generation, &key);
	struct observed *seen = find(MAP(observed), &key);
	struct judgement judgement;
	struct tables *tables;

	if (!counters)
		return ALLOWED;
	if (seen && allowed && seen->allowed == allowed) {
		observe_again(seen);
		count_bind((u64 *)counters->binds, bind, ALLOWED);
		return ALLOWED;
	}
	tables = find_tables(generation);
	if (!tables) {
		__sync_fetch_and_add(&counters->unjudged, 1);
		return ALLOWED;
	}
	judgement = find_outcome(tables, bind);
	verdict = verdict_of(tables, bind, &judgement);
	observe(seen, &key, judgement.lasting && verdict == ALLOWED ? allowed : 0);
	count_and_report(tables, counters, bind, &judgement, verdict);
	return verdict;
}

/* Again, with the port that the kernel picked; `before` is what was counted already. */
static __always_inline u32 judge_picked(const struct control *control, struct bind *bind,
                                        u32 before)
{
	struct tables *tables = find_tables(*(const volatile u32 *)&control->generation);
	struct counters *counters = at(MAP(counters), 0);
	struct judgement judgement;
	u32 verdict;

	if (!tables || !counters)
		return before;
	judgement = find_outcome(tables, bind);
	verdict = verdict_of(tables, bind, &judgement);
	if (verdict == ALLOWED || verdict == before)
		return verdict;
	count_bind((u64 *)counters->retracted, bind, before);
	count_and_report(tables, counters, bind, &judgement, verdict);
	return verdict;
}

/* For post_bind, which cannot tell who picked the port. Every bind leaves its mark, since an
 * earlier one to port 0 may have failed after it left its own. */
static __always_inline void leave_mark(struct bpf_sock *sock, u16 port, u32 verdict)
{
	struct picked_mark *mark = bpf_sk_storage_get(MAP(picked_marks), sock, 0,
	                                              port ? 0 : BPF_SK_STORAGE_GET_F_CREATE);

	struct counters *counters = at(MAP(counters), 0);

	if (mark) {
		mark->pending = !port;
		mark->verdict = verdict;
	} else if (!port && counters) {
		/* No memory for the mark: judged as far as that goes without the port. */
		__sync_fetch_and_add(&counters->unjudged, 1);
	}
}

static __always_inline void describe(const struct control *control, struct bind *bind,
                                     void *context, struct bpf_sock *sock, u16 protocol)
{
	bind->context = context;
	bind->sock = sock;
	bind->protocol = protocol;
	bind->label = one_state(control, protocol_label(protocol));
	if (bind->family == IPV6 && is_unspecified(bind->address) &&
	    !is_ipv6_only(kernel_address(sock)))
		bind->scope = SCOPE_DUAL;
}

static __always_inline int before_bind(struct bpf_sock_addr *context, struct bind *bind)
{
	struct control *control = at(MAP(control), 0);
	struct bpf_sock *sock = context->sk;
	u32 verdict;

	if (!control || !sock)
		return PROCEED;
	describe(control, bind, context, sock, context->protocol);
	bind->port = bind->requested_port = bpf_ntohs((u16)context->user_port);
	verdict = judge(control, bind);
	if (verdict == DENIED)
		return REFUSE;
	if (control->flags & CONTROL_PICKED)
		leave_mark(sock, bind->port, verdict);
	return PROCEED;
}

static __always_inline struct picked_mark *find_mark(const struct control *control,
                                                     struct bpf_sock *sock)
{
	if (!control || !(control->flags & CONTROL_PICKED))
		return 0;
	return bpf_sk_storage_get(MAP(picked_marks), sock, 0, 0);
}

static __always_inline int after_bind(const struct control *control, struct picked_mark *mark,
                                      struct bpf_sock *sock, struct bind *bind)
{
	mark->pending = 0;
	describe(control, bind, sock, sock, sock->protocol);
	bind->kind = PICKED;
	bind->port = sock->src_port;
	return judge_picked(control, bind, mark->verdict) == DENIED ? REFUSE : PROCEED;
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
	struct picked_mark *mark = find_mark(control, sock);
	struct bind bind = { .family = IPV4 };

	if (!control || !mark || !mark->pending)
		return PROCEED;
	bind.address[2] = MAPPED_PREFIX;
	bind.address[3] = sock->src_ip4;
	return after_bind(control, mark, sock, &bind);
}

int post_bind6(struct bpf_sock *sock)
{
	struct control *control = at(MAP(control), 0);
	struct picked_mark *mark = find_mark(control, sock);
	struct bind bind = { .family = IPV6 };

	if (!control || !mark || !mark->pending)
		return PROCEED;
	bind.address[0] = sock->src_ip6[0];
	bind.address[1] = sock->src_ip6[1];
	bind.address[2] = sock->src_ip6[2];
	bind.address[3] = sock->src_ip6[3];
	return after_bind(control, mark, sock, &bind);
}

static __always_inline int tell_cgroup(const char *path, u32 removed)
{
	struct cgroup_event *event = bpf_ringbuf_reserve(MAP(cgroup_events), sizeof(*event), 0);
	struct counters *counters = at(MAP(counters), 0);

	if (!event) {
		if (counters)
			__sync_fetch_and_add(&counters->cgroup_events_lost, 1);
		return 0;
	}
	event->time_ns = bpf_ktime_get_boot_ns();
	event->kind = EVENT_CGROUP;
	event->removed = removed;
	bpf_probe_read_kernel_str(event->path, sizeof(event->path), path);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* TP_PROTO(struct cgroup *cgrp, const char *path) */
int cgroup_mkdir(struct bpf_raw_tracepoint_args *context)
{
	return tell_cgroup((const char *)context->args[1], 0);
}

int cgroup_rmdir(struct bpf_raw_tracepoint_args *context)
{
	return tell_cgroup((const char *)context->args[1], 1);
}
