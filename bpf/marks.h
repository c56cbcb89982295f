/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the pre-bind hook leaves on a socket for those hooks that see what it came to be: a port
 * that the kernel picks or another program changes, a `::` that is opened to IPv4 meanwhile.
 */
#pragma once

#include "report.h"

/* post_bind has to look at these, or something that was never judged could be let through. */
static __always_inline bool is_looked_at_again(const struct control *control,
                                               const struct bind *bind)
{
	u32 flags = control->flags;

	return flags & CONTROL_FOREIGN || (!bind->port && flags & CONTROL_PICKED) ||
	       (flags & CONTROL_SCOPES && bind->family == IPV6 && is_unspecified(bind->address));
}

/* False where it has to be left and there is no memory for it: a user can use up what the kernel
 * grants a socket. Every bind to port 0 has a mark, for the sake of a later listen(). */
static __always_inline bool leave_mark(const struct control *control, const struct bind *bind,
                                       u32 verdict)
{
	bool needed = is_looked_at_again(control, bind), wanted = needed || !bind->port;
	struct mark *mark;

	/* An earlier bind to port 0 may have failed after it left its mark. */
	if (!wanted && !(control->flags & CONTROL_PICKED))
		return true;
	mark = bpf_sk_storage_get(MAP(marks), bind->sock, 0,
	                          wanted ? BPF_SK_STORAGE_GET_F_CREATE : 0);
#ifdef HAVE_SOCKET_STORAGE
	if (!mark)
		return !needed;
#else
	if (!mark)
		return true;
#endif
	mark->port = bind->port;
	mark->pending = 1;
	mark->counted = 1;
	mark->verdict = verdict;
	mark->label = bind->label;
	mark->family = bind->family;
	mark->scope = bind->scope;
	return true;
}

/* `reasons`: the CONTROL_* for which such a socket may have a mark. */
static __always_inline struct mark *find_pending_mark(const struct control *control,
                                                      struct bpf_sock *sock, u32 reasons)
{
	struct mark *mark = 0;

	if (control && control->flags & reasons)
		mark = bpf_sk_storage_get(MAP(marks), sock, 0, 0);
	return mark && mark->pending ? mark : 0;
}

/* Takes back what was counted of the bind that left the mark; it is counted anew. */
static __always_inline void retract(struct counters *counters, const struct mark *mark)
{
	struct bind as_counted = { .label = mark->label, .family = mark->family };

	count_bind((u64 *)counters->retracted, &as_counted, mark->verdict);
}
