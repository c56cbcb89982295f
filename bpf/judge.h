/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The verdict on a bind: before the kernel touches the port, and again where the port turns out
 * to be another than the one that was judged.
 */
#pragma once

#include "marks.h"

static __always_inline u32 verdict_of(struct tables *tables, const struct judgement *judgement)
{
	return judgement->outcome ? outcome_of(tables, judgement)->verdict : ALLOWED;
}

/* What a denial returns; the bind hooks cannot say just any errno on every kernel. */
static __always_inline u16 error_of(struct tables *tables, const struct bind *bind,
                                    const struct judgement *judgement)
{
	u16 chosen = outcome_of(tables, judgement)->error;

	return bind->is_outside ? chosen : denial_error(chosen);
}

/* A UDP socket takes part in its port as soon as it is bound, a TCP socket when it listens. Only
 * for what was not seen before: a look at the socket is dear. */
static __always_inline bool shares_by_bind(const struct bind *bind)
{
#ifdef HAVE_KERNEL_TYPES
	return bind->port && protocol_row(bind->label) != ROW_TCP &&
	       shares_its_port(sock_of(bind), false);
#else
	return false;
#endif
}

/* The verdict before the kernel touches the port; `error` is what a denial returns. */
static __always_inline u32 judge(const struct control *control, struct bind *bind, u16 *error)
{
	/* Read once, so that no bind is judged by a mix of two policies. */
	u32 generation = *(const volatile u32 *)&control->generation, verdict;
	struct counters *counters = at(MAP(counters), 0);
	struct observed_key key = observed_key(bind);
	u64 allowed = fingerprint(control, generation, &key);
	struct observed *seen = find(MAP(observed), &key);
	struct judgement judgement;
	bool shared, logs = false;
	struct tables *tables;
	u64 logged = 0, now = 0;

	if (!counters)
		return ALLOWED;
	if (seen)
		logs = observe_again(control, seen, bind) && control->log_binds;
	if (seen && allowed && seen->allowed == allowed && !logs) {
		count_bind((u64 *)counters->binds, bind, ALLOWED);
		return ALLOWED;
	}
	tables = find_tables(generation);
	if (!tables) {
		__sync_fetch_and_add(&counters->unjudged, 1);
		return ALLOWED;
	}
	judgement = find_outcome(tables, bind);
	verdict = verdict_of(tables, &judgement);
	shared = !seen && verdict == ALLOWED && shares_by_bind(bind);
	if (control->log_binds)
		logged = binds_to_log(seen, verdict, &now);
	remember(seen, &key, bind, judgement.lasting && verdict == ALLOWED ? allowed : 0,
	         logged ? now : 0);
	if (verdict == DENIED)
		*error = error_of(tables, bind, &judgement);
	count_and_report(tables, counters, bind, &judgement, verdict, *error, shared, logged);
	return verdict;
}

/* Again, as what it came to be; the mark says what was counted already. False: refused. */
static __always_inline bool judge_again(const struct control *control, struct bind *bind,
                                        struct mark *mark, u16 *error)
{
	struct tables *tables = find_tables(*(const volatile u32 *)&control->generation);
	struct counters *counters = at(MAP(counters), 0);
	struct judgement judgement;
	u32 verdict;

	if (!tables || !counters)
		return true;
	judgement = find_outcome(tables, bind);
	verdict = verdict_of(tables, &judgement);
#ifndef HAVE_POST_DENY
	if (verdict == DENIED)
		verdict = RECORDED;
#endif
	if (verdict == ALLOWED || verdict == mark->verdict)
		return true;
	if (verdict == DENIED)
		*error = error_of(tables, bind, &judgement);
	retract(counters, mark);
	count_and_report(tables, counters, bind, &judgement, verdict, *error, false, 0);
	mark->verdict = verdict;
	mark->counted = verdict != DENIED;
	return verdict != DENIED;
}
