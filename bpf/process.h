/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an event tells of the process that binds, beside its name and number: userspace may come
 * too late for it, or find another under the same number. Read for events alone.
 */
#pragma once

#include "compat.h"

#ifdef HAVE_PROCESS_DETAILS

#define UPID_BYTES (OFFSET_UPID_NAMESPACE + sizeof(u64))

/* What getpid() says to the process: the number in the innermost of its pid namespaces. */
static __always_inline u32 innermost_pid(u64 leader)
{
	u64 pid = read_u64(leader + OFFSET_TASK_THREAD_PID);
	u64 level = read_u32(pid + OFFSET_PID_LEVEL);

	return read_u32(pid + OFFSET_PID_NUMBERS + level * UPID_BYTES + OFFSET_UPID_NUMBER);
}

/* Nothing of a kernel thread, which has no memory, nor of memory that is swapped out. A process may
 * write there what it likes, and fool itself: /proc reads the same. */
static __always_inline void read_cmdline(u64 task, struct event *event)
{
	u64 mm = read_u64(task + OFFSET_TASK_MM);
	u64 start = read_u64(mm + OFFSET_MM_ARGUMENTS);
	u64 bytes = read_u64(mm + OFFSET_MM_ARGUMENTS_END) - start;

	bytes = bounded(bytes > CMDLINE_BYTES ? CMDLINE_BYTES : bytes, CMDLINE_BYTES);
	if (!bpf_probe_read_user(event->cmdline, bytes, (void *)start))
		event->cmdline_bytes = bytes;
}

static __always_inline void describe_process(u64 task, struct event *event)
{
	u64 leader = read_u64(task + OFFSET_TASK_LEADER);

	event->started_ns = read_u64(leader + OFFSET_TASK_STARTED);
	event->namespace_pid = innermost_pid(leader);
	read_cmdline(task, event);
}

#endif
