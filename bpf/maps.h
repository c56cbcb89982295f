/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps by name. Userspace makes, pins and sizes them (portwatch/kernel/maps.py has each
 * bound with its reason) and hands the descriptors in as FD_*, so that a new version of the
 * programs takes over the maps of the old one with every count in them.
 */
#pragma once

#include "layout.h"

#define MAP(name) ((void *)bpf_pseudo_fd(1, FD_##name))

static __always_inline void *find(void *map, const void *key)
{
	return bpf_map_lookup_elem_((u64)map, (void *)key);
}

static __always_inline void *at(void *map, u32 index)
{
	return find(map, &index);
}
