/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a bind to its outcome: recursive flow classification, each dimension to its class
 * and the classes through the precomputed tables. No policy language here.
 */
#pragma once

#include "maps.h"
#include "outside.h"

#define AF_UNSPEC 0
#define AF_INET 2
#define AF_INET6 10

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262

#define MAPPED_PREFIX bpf_htonl(0xffff) /* third word of ::ffff:a.b.c.d */

struct bind {
	void *context;  /* of the hook */
	void *sock;     /* struct bpf_sock *; in a bind hook */
	u64 outside;    /* a hook's that has no bind hook's helpers: the struct sock, else 0 */
	u64 task;       /* there: the current task */
	u32 address[4]; /* network order, IPv4 mapped */
	u16 protocol;
	u16 port; /* that is judged */
	u16 requested_port;
	u8 family;       /* enum family_index */
	u8 scope;        /* SCOPE_* */
	u8 kind;         /* enum port_kind */
	u8 label;        /* enum protocol_row */
	bool is_outside; /* a constant in each program: what it cannot use is left out of it */
};

static __always_inline u64 sock_of(const struct bind *bind)
{
	return bind->is_outside ? bind->outside : kernel_address(bind->sock);
}

static __always_inline u8 protocol_label(u16 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP: return ROW_TCP;
	case IPPROTO_UDP: return ROW_UDP;
	case IPPROTO_UDPLITE: return ROW_UDPLITE;
	case IPPROTO_SCTP: return ROW_SCTP;
	case IPPROTO_MPTCP: return LABEL_MPTCP;
	default: return ROW_OTHER;
	}
}

static __always_inline u32 protocol_row(u8 label)
{
	return label < PROTOCOL_ROWS ? label : ROW_TCP;
}

static __always_inline bool is_unspecified(const u32 *address)
{
	return !(address[0] | address[1] | address[2] | address[3]);
}

/* The value itself; but the verifier, which would follow each constant that it may have on a
 * way of its own through all the rest, sees one unknown number below 8. */
static __always_inline u8 one_state(const struct control *control, u8 value)
{
	return (value + control->zero) & 7;
}

/* Word by word: a helper that wrote into `bind` would have the compiler keep it in memory, and not
 * see any more that is_outside is a constant. */
static __always_inline void read_ipv6(struct bind *bind, u64 place)
{
	bind->address[0] = read_u32(place);
	bind->address[1] = read_u32(place + 4);
	bind->address[2] = read_u32(place + 8);
	bind->address[3] = read_u32(place + 12);
}

/* Once its address is known. `::` that is not IPv6 only is exposed on IPv4 too. */
static __always_inline void set_scope(struct bind *bind, void *sock)
{
	if (bind->family == IPV6 && is_unspecified(bind->address) &&
	    !is_ipv6_only(kernel_address(sock)))
		bind->scope = SCOPE_DUAL;
}

#ifdef HAVE_KERNEL_TYPES
/* The address and port that a socket has; `protocol` is known by then. */
static __always_inline void describe_socket(const struct control *control, struct bind *bind)
{
	u64 sock = bind->outside;

	bind->label = one_state(control, protocol_label(bind->protocol));
	bind->port = read_u16(sock + OFFSET_SOCK_NUM);
	if (read_u16(sock + OFFSET_SOCK_FAMILY) == AF_INET) {
		bind->family = IPV4;
		bind->address[2] = MAPPED_PREFIX;
		bind->address[3] = read_u32(sock + OFFSET_SOCK_ADDRESS4);
		return;
	}
	bind->family = IPV6;
	read_ipv6(bind, sock + OFFSET_SOCK_ADDRESS6);
	set_scope(bind, (void *)sock);
}
#endif

static __always_inline void describe(const struct control *control, struct bind *bind,
                                     void *context, struct bpf_sock *sock, u16 protocol)
{
	bind->context = context;
	bind->sock = sock;
	bind->protocol = protocol;
	bind->label = one_state(control, protocol_label(protocol));
	set_scope(bind, sock);
}

static __always_inline struct tables *find_tables(u32 generation)
{
	struct tables *tables = at(MAP(tables), generation & 1);

	if (!tables || !generation || tables->generation != generation)
		return 0;
	return tables;
}

static __always_inline u32 address_class(struct tables *tables, const struct bind *bind)
{
	struct address_key key = {
		.prefix_bits = 8 * (sizeof(key) - sizeof(key.prefix_bits)),
		.generation = tables->generation,
	};
	u32 *class;

	if (bind->scope & SCOPE_DUAL)
		return tables->dual_address;
	__builtin_memcpy(key.address, bind->address, sizeof(key.address));
	class = find(MAP(addresses), &key);
	return class ? *class : tables->default_address;
}

/* 0 where no constraint names addresses. */
static __always_inline u32 address_index(struct tables *tables, const struct bind *bind)
{
	return tables->flags & USES_ADDRESSES ? address_class(tables, bind) : 0;
}

static __always_inline u32 endpoint_class(struct tables *tables, u32 port_class, u32 address)
{
	return tables
	        ->cross[bounded(port_class * tables->address_classes + address, MAX_CROSS - 1)];
}

static __always_inline u32 port_class(struct tables *tables, const struct bind *bind, u8 kind)
{
	return tables->ports[kind & 1][protocol_row(bind->label)][bounded(bind->port, PORTS - 1)];
}

static __always_inline struct cgroup_class *find_cgroup(u32 generation, u64 id)
{
	struct cgroup_key key = { .id = id, .generation = generation };

	return find(MAP(cgroups), &key);
}

/* The nearest ancestor of the task's cgroup that userspace has classified. */
static __always_inline struct cgroup_class *find_ancestor(u32 generation)
{
	struct cgroup_class *nearest = 0;

#pragma clang loop unroll(disable)
	for (int level = 0; level < MAX_CGROUP_DEPTH; level++) {
		u64 id = bpf_get_current_ancestor_cgroup_id(level);
		struct cgroup_class *known;

		if (!id)
			break;
		known = find_cgroup(generation, id);
		if (known)
			nearest = known;
	}
	return nearest;
}

#ifdef HAVE_KERNEL_TYPES
/* The same, and the cgroup itself, where the helper for it may be missing. */
static __always_inline struct cgroup_class *find_from_outside(u32 generation, u64 task)
{
	u64 cgroup = task_cgroup(task);
	struct cgroup_class *known = 0;

#pragma clang loop unroll(disable)
	for (int level = 0; level < MAX_CGROUP_DEPTH && cgroup && !known; level++) {
		known = find_cgroup(generation, id_of_cgroup(cgroup));
		cgroup = parent_cgroup(cgroup);
	}
	return known;
}
#endif

static __always_inline u32 account_class(u32 generation, u32 id, u32 is_group)
{
	struct account_key key = { .generation = generation, .id = id, .is_group = is_group };
	u32 *class = find(MAP(accounts), &key);

	return class ? *class : 0;
}

/* Userspace could not tell the host's cookie before 5.14; then it is the initial namespace's. */
static __always_inline bool in_host_network(struct tables *tables, const struct bind *bind)
{
	u64 host = tables->host_netns_cookie;

#ifdef HAVE_KERNEL_TYPES
	if (bind->is_outside)
		return netns_inode_of_socket(bind->outside) == tables->host_netns_inode;
#endif
	return bpf_get_netns_cookie(bind->context) == (host ? host : bpf_get_netns_cookie(0));
}

static __always_inline u64 uid_gid(const struct bind *bind)
{
#ifdef HAVE_KERNEL_TYPES
	if (bind->is_outside)
		return task_uid_gid(bind->task);
#endif
	return bpf_get_current_uid_gid();
}

/* Of the task that calls bind() or listen(). */
static __always_inline u64 cgroup_of(const struct bind *bind)
{
#ifdef HAVE_KERNEL_TYPES
	if (bind->is_outside)
		return id_of_cgroup(task_cgroup(bind->task));
#endif
	return current_cgroup();
}

/* Who binds: a row of `decisions`, and the name to count it under. */
struct subject {
	u32 row;
	u32 workload; /* id in `names` */
	bool lasting; /* by its own cgroup's class, which is not provisional: others' can change */
};

static __always_inline struct cgroup_class *
find_cgroup_class(struct tables *tables, const struct bind *bind, bool *lasting)
{
	struct cgroup_class *cgroup;

#ifdef HAVE_KERNEL_TYPES
	if (bind->is_outside)
		return find_from_outside(tables->generation, bind->task);
#endif
	cgroup = find_cgroup(tables->generation, current_cgroup());
	*lasting = cgroup && !(cgroup->class & CLASS_PROVISIONAL);
	return cgroup ? cgroup : find_ancestor(tables->generation);
}

/* Dimensions that the policy does not use are not looked up. */
static __always_inline struct subject find_subject(struct tables *tables, const struct bind *bind)
{
	struct subject subject = {};
	struct cgroup_class *cgroup = find_cgroup_class(tables, bind, &subject.lasting);
	u32 flags = tables->flags, index = cgroup ? cgroup->class & ~CLASS_PROVISIONAL : 0;

	if (flags & (USES_USERS | USES_GROUPS)) {
		u64 ids = uid_gid(bind);

		index *= tables->user_classes;
		if (flags & USES_USERS)
			index += account_class(tables->generation, (u32)ids, 0);
		index *= tables->group_classes;
		if (flags & USES_GROUPS)
			index += account_class(tables->generation, ids >> 32, 1);
	}
	if (flags & USES_NETWORK)
		index = index * 2 + in_host_network(tables, bind);
	subject.row = tables->subjects[bounded(index, MAX_SUBJECTS - 1)];
	subject.workload = tables->row_workload[bounded(subject.row, MAX_ROWS - 1)];
	if (!subject.workload && cgroup)
		subject.workload = cgroup->workload;
	return subject;
}

/* An index of `outcomes`. */
static __always_inline u32 cell(struct tables *tables, const struct subject *subject, u32 endpoint)
{
	u32 index = subject->row * tables->endpoints + endpoint;

	return tables->decisions[bounded(index, MAX_CELLS - 1)];
}

struct judgement {
	u32 outcome;  /* index of `outcomes`; 0 is "allowed" */
	u32 workload; /* id in `names`; only where somebody had to be looked up */
	bool lasting; /* the same for every such bind while this policy is in force */
};

/* Where an endpoint is allowed whoever binds, nobody is looked up. */
static __always_inline struct judgement find_outcome(struct tables *tables, const struct bind *bind)
{
	u32 endpoint = endpoint_class(tables, port_class(tables, bind, bind->kind),
	                              address_index(tables, bind));
	struct judgement judgement = {
		.outcome = tables->uniform[bounded(endpoint, MAX_ENDPOINTS - 1)],
		.lasting = true,
	};

	if (judgement.outcome) {
		struct subject subject = find_subject(tables, bind);

		judgement.workload = subject.workload;
		if (judgement.outcome == PER_SUBJECT) {
			judgement.outcome = cell(tables, &subject, endpoint);
			judgement.lasting =
			        subject.lasting && !(tables->flags & BEYOND_OBSERVED_KEY);
		}
	}
	return judgement;
}

static __always_inline const struct outcome *outcome_of(struct tables *tables,
                                                        const struct judgement *judgement)
{
	return &tables->outcomes[bounded(judgement->outcome, MAX_OUTCOMES - 1)];
}
