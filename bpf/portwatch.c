/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cgroup/bind4, cgroup/bind6            the verdict, before the kernel touches the port
 * cgroup/post_bind4, cgroup/post_bind6  the port that the kernel picked for a bind to port 0
 * raw_tracepoint/cgroup_mkdir, _rmdir   tells userspace of a workload to classify or forget
 *
 * Which bind counts where: once, where its port is known. A bind by number, and every
 * refusal before the port is taken, in bind4/6; a bind to port 0 that a list could still
 * refuse by its real port, in post_bind.
 */
#include "report.h"

#define REFUSE 0
#define PROCEED 1 /* never 3, which would waive CAP_NET_BIND_SERVICE */

static __always_inline int punish(struct tables *tables, struct counters *counters,
				  struct bind *bind, const struct judgement *judgement,
				  u32 verdict)
{
	struct outcome *outcome = &tables->outcomes[judgement->outcome];
	struct violation_facts facts = {
		.now = bpf_ktime_get_boot_ns(),
		.constraint = outcome->constraint,
		.workload = judgement->workload,
		.verdict = verdict,
		.error = verdict == DENIED ? denial_error(outcome->error) : 0,
	};

	report_violation(tables, counters, bind, &facts);
	if (verdict == RECORDED)
		return PROCEED;
	set_denial_error(outcome->error);
	return REFUSE;
}

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

static __always_inline int judge(const struct control *control, struct bind *bind, bool count_here)
{
	/* Read once, so that no bind is judged by a mix of two policies. */
	u32 generation = *(const volatile u32 *)&control->generation, verdict;
	struct counters *counters = at(MAP(counters), 0);
	struct judgement judgement;
	struct observed_key key;
	struct observed *seen;
	struct tables *tables;

	if (!counters)
		return PROCEED;
	if (bind->kind == NUMBERED) {
		key = observed_key(bind);
		seen = find(MAP(observed), &key);
		if (seen && generation && seen->allowed_in == generation) {
			observe_again(seen);
			if (count_here)
				count_bind(counters, bind, ALLOWED);
			return PROCEED;
		}
	}
	tables = find_tables(generation);
	if (!tables) {
		counters->unjudged++;
		return PROCEED;
	}
	judgement = find_outcome(tables, bind);
	verdict = verdict_of(tables, bind, &judgement);
	if (bind->kind == NUMBERED)
		observe(seen, &key, judgement.lasting && verdict == ALLOWED ? generation : 0);
	if (!count_here && verdict != DENIED)
		return PROCEED;
	count_bind(counters, bind, verdict);
	if (verdict == ALLOWED)
		return PROCEED;
	return punish(tables, counters, bind, &judgement, verdict);
}

/* Before the kernel has picked: leaves a mark for post_bind. Marks every bind, since an
 * earlier one to port 0 may have failed and left its own. */
static __always_inline bool defer_to_post_bind(const struct control *control,
					       struct bpf_sock *sock, u16 port)
{
	struct picked_mark *mark;

	if (!(control->flags & CONTROL_PICKED))
		return false;
	mark = bpf_sk_storage_get(MAP(picked_marks), sock, 0,
				  port ? 0 : BPF_SK_STORAGE_GET_F_CREATE);
	if (!mark)
		return false;
	mark->pending = !port;
	return !port;
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

	if (!control || !sock)
		return PROCEED;
	describe(control, bind, context, sock, context->protocol);
	bind->port = bind->requested_port = bpf_ntohs((u16)context->user_port);
	return judge(control, bind, !defer_to_post_bind(control, sock, bind->port));
}

static __always_inline int after_bind(struct bpf_sock *sock, struct bind *bind)
{
	struct control *control = at(MAP(control), 0);
	struct picked_mark *mark;

	if (!control || !(control->flags & CONTROL_PICKED))
		return PROCEED;
	mark = bpf_sk_storage_get(MAP(picked_marks), sock, 0, 0);
	if (!mark || !mark->pending)
		return PROCEED;
	mark->pending = 0;
	describe(control, bind, sock, sock, sock->protocol);
	bind->kind = PICKED;
	bind->port = sock->src_port;
	return judge(control, bind, true);
}

int bind4(struct bpf_sock_addr *context)
{
	struct bind bind = {.family = IPV4, .address = {0, 0, MAPPED_PREFIX, context->user_ip4}};

	/* __inet_bind() takes AF_UNSPEC with INADDR_ANY for AF_INET and refuses all others. */
	if (context->user_family != AF_INET &&
	    (context->user_family != AF_UNSPEC || context->user_ip4))
		return PROCEED;
	return before_bind(context, &bind);
}

int bind6(struct bpf_sock_addr *context)
{
	struct bind bind = {.family = IPV6,
			    .address = {context->user_ip6[0], context->user_ip6[1],
					context->user_ip6[2], context->user_ip6[3]}};

	/* __inet6_bind() refuses every other family with EAFNOSUPPORT. */
	if (context->user_family != AF_INET6)
		return PROCEED;
	return before_bind(context, &bind);
}

int post_bind4(struct bpf_sock *sock)
{
	struct bind bind = {.family = IPV4, .address = {0, 0, MAPPED_PREFIX, sock->src_ip4}};

	return after_bind(sock, &bind);
}

int post_bind6(struct bpf_sock *sock)
{
	struct bind bind = {.family = IPV6,
			    .address = {sock->src_ip6[0], sock->src_ip6[1], sock->src_ip6[2],
					sock->src_ip6[3]}};

	return after_bind(sock, &bind);
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
