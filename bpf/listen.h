/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A TCP socket starts to listen: where nobody asked for its port by number, this is the first
 * sight of a server rather than a client. Too late to refuse, so a violation is recorded.
 */
#pragma once

#include "judge.h"

#ifdef HAVE_KERNEL_TYPES

/* What the lists say of a picked port and of `ephemeral`; where they are silent, the port is
 * decided like one that was asked for. */
static __always_inline struct judgement find_listener_outcome(struct tables *tables,
                                                              const struct bind *bind)
{
	u32 address = address_index(tables, bind), gate, picked, numbered;
	struct subject subject = find_subject(tables, bind);
	struct judgement judgement = { .workload = subject.workload };

	picked = endpoint_class(tables, port_class(tables, bind, PICKED), address);
	judgement.outcome = cell(tables, &subject, picked);
	if (verdict_of(tables, &judgement) != ALLOWED)
		return judgement;
	gate = endpoint_class(tables, tables->ephemeral_gate, address);
	judgement.outcome = cell(tables, &subject, gate);
	if (judgement.outcome)
		return judgement;
	numbered = endpoint_class(tables, port_class(tables, bind, NUMBERED), address);
	judgement.outcome = cell(tables, &subject, numbered);
	return judgement;
}

/* A listen() without bind() is a bind that nothing has counted yet. */
static __always_inline void judge_listener(const struct control *control, struct bind *bind,
                                           struct mark *mark)
{
	struct tables *tables = find_tables(*(const volatile u32 *)&control->generation);
	struct counters *counters = at(MAP(counters), 0);
	bool counted = mark && mark->counted;
	u32 verdict;
	struct judgement judgement;

	if (mark)
		mark->counted = 0;
	if (!counters)
		return;
	if (!tables) {
		if (!counted)
			__sync_fetch_and_add(&counters->unjudged, 1);
		return;
	}
	judgement = find_listener_outcome(tables, bind);
	verdict = verdict_of(tables, &judgement) == ALLOWED ? ALLOWED : RECORDED;
	if (counted) {
		if (verdict == ALLOWED || verdict == mark->verdict)
			return;
		retract(counters, mark);
	} else {
		struct observed_key key = observed_key(bind);
		struct observed *seen = find(MAP(observed), &key);

		if (seen)
			observe_again(control, seen, bind);
		remember(seen, &key, bind, 0, 0);
	}
	count_and_report(tables, counters, bind, &judgement, verdict, 0, false, 0);
}

/* Port 0 was asked for, and another program made a number of it. */
static __always_inline bool was_rewritten(const struct control *control, const struct mark *mark)
{
	return control->flags & CONTROL_FOREIGN && mark && mark->counted && !mark->port;
}

/* SO_REUSEPORT: userspace looks whose the port is already. */
static __always_inline void tell_sharing(const struct control *control, struct bind *bind)
{
	struct tables *tables = find_tables(*(const volatile u32 *)&control->generation);
	struct counters *counters = at(MAP(counters), 0);
	struct happening sharing = { .kind = EVENT_SHARED, .now = bpf_ktime_get_boot_ns() };

	bind->requested_port = bind->port;
	if (tables && counters && may_tell_sharing(counters, sharing.now))
		send_event(tables, bind, &sharing);
}

static __always_inline int starts_to_listen(struct bpf_sock_ops *context)
{
	struct control *control = at(MAP(control), 0);
	struct bpf_sock *sock = context->sk;
	struct bind bind = { .is_outside = true, .protocol = IPPROTO_TCP };
	struct mark *mark;

	if (!control || !sock)
		return PROCEED;
	bind.outside = kernel_address(sock);
	bind.task = bpf_get_current_task();
	mark = bpf_sk_storage_get(MAP(marks), sock, 0, 0);
	describe_socket(control, &bind);
	if (!port_was_asked_for(bind.outside) || was_rewritten(control, mark))
		judge_listener(control, &bind, mark);
	else if (shares_its_port(bind.outside, true))
		tell_sharing(control, &bind);
	return PROCEED;
}

#endif
