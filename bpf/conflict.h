/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two for one port, by who came second: counted exactly, told at most once a second for each
 * workload and port.
 */
#pragma once

#include "report.h"

static __always_inline struct collision *find_collision(struct collision_key *key, u64 now)
{
	struct collision fresh = { .first_ns = now }, *entry = find(MAP(collisions), key);

	if (entry)
		return entry;
	bpf_map_update_elem_((u64)MAP(collisions), key, &fresh, BPF_NOEXIST);
	entry = find(MAP(collisions), key);
	if (entry)
		return entry;
	key->workload = 0;
	key->port = 0;
	return find(MAP(collisions), key);
}

static __always_inline void report_conflict(const struct control *control, struct bind *bind,
                                            u8 kind)
{
	struct tables *tables = find_tables(*(const volatile u32 *)&control->generation);
	struct happening collision = {
		.kind = kind == PORT_PUBLISHED ? EVENT_PUBLISHED : EVENT_COLLISION,
	};
	struct collision_key key = { .port = bind->port, .protocol = bind->label, .kind = kind };
	struct collision *entry;

	if (!tables)
		return;
	key.workload = collision.workload = find_subject(tables, bind).workload;
	collision.now = bpf_ktime_get_boot_ns();
	entry = find_collision(&key, collision.now);
	if (!entry)
		return;
	__sync_fetch_and_add(&entry->count, 1);
	/* Signed: another CPU may have read its clock later and come first. */
	if (entry->last_event_ns && (s64)(collision.now - entry->last_event_ns) < SECOND_NS)
		return;
	entry->last_event_ns = collision.now;
	if (!send_event(tables, bind, &collision))
		entry->last_event_ns = 0; /* the next one stands for it */
}
