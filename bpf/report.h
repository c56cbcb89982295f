/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is told of a bind: the counters, the observed binds, and for a violation its exact
 * count and its event.
 */
#pragma once

#include "classify.h"
#include "process.h"

#define SECOND_NS 1000000000ll
#define MAX_SHARING_A_SECOND 64 /* on each CPU */
#define JIFFIES_OF_A_LOOK 100   /* a second at the slowest tick that Linux has, 100 Hz */

/* Atomic also within a CPU: where the kernel preempts, another bind may come in between. */
static __always_inline void count_bind(u64 *binds, const struct bind *bind, u32 verdict)
{
	u32 index = (verdict * PROTOCOL_LABELS + bind->label) * FAMILIES + bind->family;

	/* Or the compiler proves the bound where the verifier cannot see it. */
	asm volatile("" : "+r"(index));
	if (index < VERDICTS * PROTOCOL_LABELS * FAMILIES)
		__sync_fetch_and_add(&binds[index], 1);
}

static __always_inline struct observed_key observed_key(const struct bind *bind)
{
	struct observed_key key = {
		.cgroup = cgroup_of(bind),
		.port = bind->requested_port,
		.protocol = bind->label,
		.scope = bind->scope,
	};

	__builtin_memcpy(key.address, bind->address, sizeof(key.address));
	return key;
}

/* An LRU map gives an element to another key at any time, also between finding and reading it.
 * So the memory of a verdict says of which key and policy it is: a sum of products with odd random
 * factors, which nobody who does not know them can make equal for two keys. 0, which is nothing's
 * fingerprint, where the factors are missing: then nothing is remembered. */
static __always_inline u64 fingerprint(const struct control *control, u32 generation,
                                       const struct observed_key *key)
{
	const u64 *words = (const u64 *)key;
	u64 sum = generation * control->seeds[SEEDS - 1];

	if (!control->seeds[0])
		return 0;
#pragma unroll
	for (int i = 0; i < SEEDS - 1; i++)
		sum += words[i] * control->seeds[i];
	return sum | 1;
}

/* LSM programs had no coarse clock, which is the same one, on 6.12. */
static __always_inline u64 cheap_clock_ns(const struct bind *bind)
{
	return bind->is_outside ? bpf_ktime_get_ns() : coarse_clock_ns();
}

/* Not atomic: `learn` wants an idea of how often, the counters are exact. True now and then, at
 * most JIFFIES_OF_A_LOOK apart while binds come: all else that is not for every bind. */
static __always_inline bool observe_again(const struct control *control, struct observed *seen,
                                          const struct bind *bind)
{
	u64 jiffies = bpf_jiffies64();

	seen->count++;
	if (jiffies - seen->last_jiffies < JIFFIES_OF_A_LOOK)
		return false;
	seen->last_jiffies = jiffies;
	seen->last_ns = cheap_clock_ns(bind);
	if (!control->log_binds)
		seen->told = seen->count;
	return true;
}

static __always_inline u64 pid_tgid(const struct bind *bind)
{
#ifdef HAVE_KERNEL_TYPES
	if (bind->is_outside)
		return task_pid_tgid(bind->task);
#endif
	return bpf_get_current_pid_tgid();
}

/* `allowed`: what observe_again() counted, or counts first, is let through again. An LRU map: what
 * was seen least recently goes, and no bind waits for it. */
static __always_inline void remember(struct observed *seen, const struct observed_key *key,
                                     const struct bind *bind, u64 allowed, u64 told_ns)
{
	struct observed first = { .count = 1, .allowed = allowed, .told = 1, .told_ns = told_ns };

	if (seen) {
		seen->allowed = allowed;
		return;
	}
	first.first_ns = first.last_ns = cheap_clock_ns(bind);
	first.last_jiffies = bpf_jiffies64();
	first.pid = pid_tgid(bind) >> 32;
	first.uid = uid_gid(bind);
	bpf_map_update_elem_((u64)MAP(observed), (void *)key, &first, BPF_NOEXIST);
}

/* How many binds alike this one is to be logged for at `now`, which this sets: 0 where that was done
 * within the last second, and those that were refused or recorded are told as violations. */
static __always_inline u64 binds_to_log(struct observed *seen, u32 verdict, u64 *now)
{
	s64 count;

	if (verdict != ALLOWED) {
		if (seen)
			seen->told++;
		return 0;
	}
	*now = bpf_ktime_get_boot_ns();
	if (!seen)
		return 1;
	if (seen->told_ns && (s64)(*now - seen->told_ns) < SECOND_NS)
		return 0;
	count = seen->count - seen->told;
	seen->told = seen->count;
	seen->told_ns = *now;
	return count > 0 ? count : 1;
}

/* Half of the ring is the violations' alone. */
static __always_inline bool has_room_to_log(void)
{
	return bpf_ringbuf_query(MAP(events), BPF_RB_AVAIL_DATA) <
	       bpf_ringbuf_query(MAP(events), BPF_RB_RING_SIZE) / 2;
}

/* The entry that counts this violation. Where the map is full, the one for all the rest, which
 * userspace put there before the first bind: coarser, but exact. */
static __always_inline struct violation *find_violation(struct violation_key *key, u64 now)
{
	struct violation fresh = { .first_ns = now };
	struct violation *entry = find(MAP(violations), key);

	if (entry)
		return entry;
	bpf_map_update_elem_((u64)MAP(violations), key, &fresh, BPF_NOEXIST);
	entry = find(MAP(violations), key);
	if (entry)
		return entry;
	key->constraint = 0;
	key->workload = 0;
	key->port = 0;
	return find(MAP(violations), key);
}

/* Counts one; true where an event is due, with how many it stands for. */
static __always_inline bool count_violation(struct violation *entry, u64 now, u64 *count,
                                            u64 *total)
{
	bool due;

	bpf_spin_lock((struct bpf_spin_lock *)&entry->lock);
	entry->count++;
	/* Signed: another CPU may have read its clock later and come first. */
	due = entry->count == 1 || (s64)(now - entry->last_event_ns) >= SECOND_NS;
	*total = entry->count;
	*count = entry->count - entry->reported;
	if (due) {
		entry->last_event_ns = now;
		entry->reported = entry->count;
	}
	bpf_spin_unlock((struct bpf_spin_lock *)&entry->lock);
	return due;
}

/* The event did not fit: a later one stands for its violations. */
static __always_inline void take_back(struct violation *entry, u64 count)
{
	bpf_spin_lock((struct bpf_spin_lock *)&entry->lock);
	entry->reported -= count;
	bpf_spin_unlock((struct bpf_spin_lock *)&entry->lock);
}

/* What there is to tell beside the facts of a bind. */
struct happening {
	u32 kind; /* enum event_kind */
	u64 now;
	u64 count;
	u64 total;
	u32 constraint;
	u32 workload;
	u16 verdict;
	u16 error;
};

static __always_inline void read_comm(const struct bind *bind, struct event *event)
{
#ifdef HAVE_KERNEL_TYPES
	if (bind->is_outside) {
		read_task_comm(bind->task, event->comm, sizeof(event->comm));
		return;
	}
#endif
	bpf_get_current_comm(event->comm, sizeof(event->comm));
}

static __always_inline u64 task_of(const struct bind *bind)
{
	return bind->is_outside ? bind->task : bpf_get_current_task();
}

static __always_inline bool send_event(struct tables *tables, const struct bind *bind,
                                       const struct happening *happening)
{
	struct event *event = bpf_ringbuf_reserve(MAP(events), sizeof(*event), 0);
	u64 ids = pid_tgid(bind), owner = uid_gid(bind);
	u64 sock = sock_of(bind);

	if (!event)
		return false;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = happening->kind;
	event->time_ns = happening->now;
	event->count = happening->count;
	event->total = happening->total;
	event->constraint = happening->constraint;
	event->workload = happening->workload;
	event->verdict = happening->verdict;
	event->error = happening->error;
	event->generation = tables->generation;
	event->cgroup = cgroup_of(bind);
	event->socket_cgroup = cgroup_of_socket(sock);
	event->netns_inode = netns_inode_of_socket(sock);
	if (in_host_network(tables, bind))
		event->flags |= EVENT_HOST_NETWORK;
	event->pid = ids >> 32;
	event->tid = ids;
	event->uid = owner;
	event->gid = owner >> 32;
	__builtin_memcpy(event->address, bind->address, sizeof(event->address));
	event->protocol = bind->protocol;
	event->port = bind->port;
	event->requested_port = bind->requested_port;
	event->family = bind->family;
	event->scope = bind->scope;
	event->label = bind->label;
	read_comm(bind, event);
#ifdef HAVE_PROCESS_DETAILS
	describe_process(task_of(bind), event);
#endif
	bpf_ringbuf_submit(event, 0);
	return true;
}

/* True where the violation is due to be told; else it is counted, and told in a later event. */
static __always_inline bool count_toward_event(struct counters *counters, const struct bind *bind,
                                               struct happening *violation,
                                               struct violation **entry)
{
	struct violation_key key = {
		.constraint = violation->constraint,
		.workload = violation->workload,
		.port = bind->port,
		.protocol = bind->label,
		.verdict = violation->verdict,
	};

	*entry = find_violation(&key, violation->now);
	if (!*entry)
		return false;
	if (count_violation(*entry, violation->now, &violation->count, &violation->total))
		return true;
	__sync_fetch_and_add(&counters->events_suppressed, 1);
	return false;
}

/* Who shares ports by the thousand is not to crowd out violations: userspace surveys now and then. */
static __always_inline bool may_tell_sharing(struct counters *counters, u64 now)
{
	if ((s64)(now - counters->sharing_since_ns) >= SECOND_NS) {
		counters->sharing_since_ns = now;
		counters->sharing_told = 0;
	}
	return counters->sharing_told++ < MAX_SHARING_A_SECOND;
}

/* True where a bind that is let through is to be told. `shared`: the kernel might let another
 * workload have the same port, and userspace looks whose it is already. `logged`: how many are to
 * be logged, which an event of either kind does. */
static __always_inline bool allowed_is_due(struct counters *counters, struct happening *allowed,
                                           bool shared, u64 logged)
{
	if (logged && !has_room_to_log()) {
		__sync_fetch_and_add(&counters->binds_untold, logged);
		logged = 0;
	}
	shared = shared && may_tell_sharing(counters, allowed->now);
	allowed->kind = shared ? EVENT_SHARED : EVENT_BIND;
	allowed->count = logged;
	return shared || logged;
}

/* `error`: what bind() will return, positive; 0 unless denied. `shared`, `logged`: of a bind that
 * is let through, see allowed_is_due(). */
static __always_inline void count_and_report(struct tables *tables, struct counters *counters,
                                             const struct bind *bind,
                                             const struct judgement *judgement, u32 verdict,
                                             u16 error, bool shared, u64 logged)
{
	struct happening happening = {
		.kind = EVENT_VIOLATION,
		.constraint = outcome_of(tables, judgement)->constraint,
		.workload = judgement->workload,
		.verdict = verdict,
		.error = error,
	};
	struct violation *entry = 0;

	count_bind((u64 *)counters->binds, bind, verdict);
	if (verdict == ALLOWED && !shared && !logged)
		return;
	happening.now = bpf_ktime_get_boot_ns();
	if (verdict == ALLOWED ? !allowed_is_due(counters, &happening, shared, logged)
	                       : !count_toward_event(counters, bind, &happening, &entry))
		return;
	if (send_event(tables, bind, &happening))
		return;
	if (!entry) {
		__sync_fetch_and_add(&counters->binds_untold, happening.count);
		return;
	}
	__sync_fetch_and_add(&counters->events_lost, 1);
	take_back(entry, happening.count);
}
