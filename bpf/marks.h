/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the pre-bind hook leaves on a socket for those hooks that see the port in the end: where
 * the kernel picks it, or where another program may change it.
 */
#pragma once

#include "maps.h"

/* A bind to port 0 may have failed after it left its mark, so that where post_bind looks at marks
 * every bind puts it right. */
static __always_inline void leave_mark(const struct control *control, struct bpf_sock *sock,
                                       u16 port, u32 verdict)
{
	bool wanted = !port || control->flags & CONTROL_FOREIGN;
	struct counters *counters = at(MAP(counters), 0);
	struct mark *mark;

	if (!wanted && !(control->flags & CONTROL_PICKED))
		return;
	mark = bpf_sk_storage_get(MAP(marks), sock, 0, wanted ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (mark) {
		mark->port = port;
		mark->pending = wanted;
		mark->counted = 1;
		mark->verdict = verdict;
	} else if (wanted && counters) {
		/* No memory for the mark: judged as far as that goes without the port. */
		__sync_fetch_and_add(&counters->unjudged, 1);
	}
}

static __always_inline struct mark *find_pending_mark(const struct control *control,
                                                      struct bpf_sock *sock)
{
	struct mark *mark = 0;

	if (control && control->flags & (CONTROL_PICKED | CONTROL_FOREIGN))
		mark = bpf_sk_storage_get(MAP(marks), sock, 0, 0);
	return mark && mark->pending ? mark : 0;
}
