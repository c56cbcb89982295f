/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The records that the programs and userspace share, and the bounds of the tables.
 *
 * No implicit padding, no bitfields, no unions. portwatch/kernel/layout.py mirrors each
 * record line by line, and a test compiles this file and compares every size and offset.
 * Host byte order throughout, but for addresses, which are in network order: 16 bytes,
 * IPv4 as ::ffff:a.b.c.d.
 */
#pragma once

#include <linux/types.h>

#define PORTS 65536
#define PROTOCOL_ROWS 5   /* tcp udp udplite sctp other: the rows that a policy tells apart */
#define PROTOCOL_LABELS 6 /* the same and mptcp, which is judged as tcp and reported as itself */
#define PORT_KINDS 2      /* asked for by number; picked by the kernel */
#define VERDICTS 3
#define FAMILIES 2

#define MAX_OUTCOMES 4096  /* 1,024 constraints: denied by, recorded by, two defaults, allowed */
#define MAX_ENDPOINTS 4096 /* endpoint classes */
#define MAX_CROSS 262144   /* port classes times address classes */
#define MAX_SUBJECTS 16384 /* cgroup, user, group classes and network, multiplied */
#define MAX_ROWS 1024      /* distinct subjects: rows of `decisions` */
/* Rows times endpoint classes: 2 MiB, so that a slot stays below the 4 MiB that an array's value
 * may have on 5.10. */
#define MAX_CELLS 1048576
#define MAX_CGROUP_DEPTH 32 /* levels walked on a miss; a deeper cgroup is found by its own id */

#define CGROUP_PATH_BYTES 496 /* with its NUL; a longer path is found by the next scan */
#define CMDLINE_BYTES 127     /* one bit mask, which the verifier takes for a bound */

#define SEEDS 5 /* one for each word of an observed_key, one for the generation */

#define PER_SUBJECT 0xffff /* in `uniform`: this endpoint's outcome depends on who binds */

enum verdict { ALLOWED, DENIED, RECORDED };
enum protocol_row { ROW_TCP, ROW_UDP, ROW_UDPLITE, ROW_SCTP, ROW_OTHER, LABEL_MPTCP };
enum port_kind { NUMBERED, PICKED };
enum family_index { IPV4, IPV6 };
enum event_kind {
	EVENT_VIOLATION = 1,
	EVENT_CGROUP,
	EVENT_COLLISION,
	EVENT_SHARED,
	EVENT_BIND,
	EVENT_PUBLISHED,
};
enum collision_kind { PORT_IN_USE, PORT_PUBLISHED };

/* tables.flags: the dimensions that this policy uses; the others cost nothing */
#define USES_ADDRESSES 1u
#define USES_USERS 2u
#define USES_GROUPS 4u
#define USES_NETWORK 8u
/* These decide and are not in observed_key. */
#define BEYOND_OBSERVED_KEY (USES_USERS | USES_GROUPS | USES_NETWORK)

/* control.flags */
#define CONTROL_PICKED 1u /* some policy since the load could refuse a port that the kernel picks */
#define CONTROL_FOREIGN 2u /* somebody else's program may change a port after it was judged */
#define CONTROL_SCOPES 4u  /* some policy since the load names addresses */

/* bind.scope, observed_key.scope */
#define SCOPE_DUAL 1u /* `::` without IPV6_V6ONLY: exposed on IPv4 too */

/* cgroup_class.class: a better one may follow, once an engine has told of the container */
#define CLASS_PROVISIONAL 0x80000000u

/* published.reach */
#define PUBLISHED_EVERYWHERE 1u /* on every address of the IP version, but loopback's */

/* event.flags */
#define EVENT_HOST_NETWORK 1u

/* The one word that a swap changes. Slot: generation & 1. Generation 0: no policy yet. */
struct control {
	__u32 generation;
	__u32 flags;     /* CONTROL_* */
	__u32 zero;      /* always 0, which the verifier cannot know: see one_state() */
	__u16 log_binds; /* 1: an agent wants an event of binds that are let through, too */
	__u16 published; /* 1: an agent keeps the ports that NAT gives to others in `published` */
	__u64 cgroup;    /* that the bind hooks are on; 0: the hierarchy's root, every socket */
	__u64 seeds[SEEDS]; /* random and odd, of this load: see fingerprint() */
};

struct outcome {
	__u32 constraint; /* id in `names`; 0 where the bind is allowed */
	__u16 verdict;    /* enum verdict */
	__u16 error;      /* errno, positive; 0 unless denied */
};

/* One policy. Written whole while its slot is idle; rows and subjects are appended while it
 * is live, each before anything refers to it. */
struct tables {
	__u64 host_netns_cookie;
	__u32 generation;      /* equals control.generation while this slot is live */
	__u32 flags;           /* USES_* */
	__u32 address_classes; /* 1 where no constraint names addresses */
	__u32 endpoints;       /* the stride of `decisions` */
	__u32 user_classes;    /* factors of the index into `subjects`; 1 where unused */
	__u32 group_classes;
	__u32 default_address; /* the address class where no prefix matches */
	__u32 dual_address;    /* the address class of `::` without IPV6_V6ONLY */
	__u32 ephemeral_gate;  /* the port class that tells whether a list allows `ephemeral/tcp` */
	__u32 host_netns_inode;
	struct outcome outcomes[MAX_OUTCOMES];
	__u32 row_workload[MAX_ROWS]; /* id in `names`; 0: the cgroup's own name */
	__u16 uniform[MAX_ENDPOINTS]; /* outcome, or PER_SUBJECT */
	__u16 subjects[MAX_SUBJECTS]; /* (cgroup, user, group, network) to row */
	__u16 cross[MAX_CROSS];       /* (port class, address class) to endpoint class */
	__u16 ports[PORT_KINDS][PROTOCOL_ROWS][PORTS]; /* to port class */
	__u16 decisions[MAX_CELLS];                    /* (row, endpoint class) to outcome */
};

struct address_key {
	__u32 prefix_bits; /* of what follows: 32 for the generation and the address's own */
	__u32 generation;
	__u32 address[4];
};

struct cgroup_key {
	__u64 id;
	__u32 generation;
	__u32 pad;
};

struct cgroup_class {
	__u32 class;    /* and CLASS_* */
	__u32 workload; /* id in `names`: the unit, container or path */
};

struct account_key {
	__u32 generation;
	__u32 id; /* uid or gid in the initial user namespace */
	__u32 is_group;
};

/* Per CPU; read by summing. */
struct counters {
	__u64 binds[VERDICTS][PROTOCOL_LABELS][FAMILIES];
	__u64 retracted[VERDICTS][PROTOCOL_LABELS][FAMILIES]; /* of these, to be subtracted: judged
	                             again, and otherwise, by the port that the kernel picked */
	__u64 events_lost;       /* that did not fit the ring buffer; told later in a count */
	__u64 events_suppressed; /* violations that were folded into a later event's count */
	__u64 unjudged; /* binds before the first policy, or refused: no memory to judge them by */
	__u64 cgroup_events_lost; /* made or removed, not told: userspace scans again */
	__u64 sharing_since_ns; /* of the second in which `sharing_told` events were of EVENT_SHARED */
	__u64 sharing_told;
	__u64 binds_untold; /* let through, to be logged, and no room for their event */
};

struct violation_key {
	__u32 constraint; /* id in `names`; 0 with workload 0: the map is full, all others */
	__u32 workload;   /* id in `names` */
	__u16 port;
	__u8 protocol; /* enum protocol_row */
	__u8 verdict;  /* enum verdict */
};

/* The lock keeps count, reported and last_event_ns in step. Each violation becomes an event, or
 * is suppressed, or its event is lost: the three counts together are what happened, exactly; and
 * (count - reported) is what no event stands for yet. */
struct violation {
	__u64 count;
	__u64 reported;      /* of them, those that an event in the ring buffer stands for */
	__u64 last_event_ns; /* boot time */
	__u64 first_ns;      /* boot time; orders the series that a scrape has room for */
	__u32 lock;          /* struct bpf_spin_lock */
	__u32 pad;
};

struct observed_key {
	__u64 cgroup;
	__u32 address[4];
	__u16 port;    /* as asked for: 0 where the kernel picks */
	__u8 protocol; /* enum protocol_row */
	__u8 scope;    /* SCOPE_* */
	__u32 pad;
};

/* What was seen of binds alike; and, since the key holds all that decides in most policies,
 * the memory of the verdict: what was let through under this policy is again. */
struct observed {
	__u64 allowed; /* fingerprint() of the key and of the policy that allows it, or 0 */
	__u64 count;
	__u64 first_ns;     /* boot time */
	__u64 last_ns;      /* a second old at most while binds come */
	__u64 last_jiffies; /* when last_ns was taken: a clock is dear, jiffies are not */
	__u64 told;         /* of `count`, those that are not to be logged any more */
	__u64 told_ns;      /* of the last event that logged some, boot time; 0: none */
	__u32 pid;          /* of the first, and its uid */
	__u32 uid;
};

/* Left on a socket by the pre-bind hook, for the hooks that see the port in the end. */
struct mark {
	__u16 port;   /* as asked for; 0 where the kernel picks */
	__u8 pending; /* post_bind has not run yet */
	__u8 counted; /* among the binds, and listen() has not been judged yet: as the rest says */
	__u8 verdict; /* enum verdict */
	__u8 label;   /* enum protocol_row */
	__u8 family;  /* enum family_index */
	__u8 scope;   /* SCOPE_* */
};

struct collision_key {
	__u32 workload; /* id in `names`; 0 with port 0: the map is full, all others */
	__u16 port;
	__u8 protocol; /* enum protocol_row */
	__u8 kind;     /* enum collision_kind */
};

/* A port of a network that NAT gives to somebody else. `address` is what may be bound there in
 * vain: the one that the rule is for, and in any case the wildcard. With `netns_inode` 0 and no
 * address: such a port is in some network. */
struct published_key {
	__u32 netns_inode;
	__u32 address[4];
	__u16 port;
	__u8 protocol; /* enum protocol_row */
	__u8 family;   /* enum family_index */
};

/* Binds that failed because the port was taken, or that went through and get nothing. Without a
 * lock, which a tracepoint may not take: the count is exact, and each event stands for what was
 * counted since the last. */
struct collision {
	__u64 count;
	__u64 last_event_ns; /* boot time */
	__u64 first_ns;      /* boot time; orders the series that a scrape has room for */
};

struct event {
	__u64 time_ns;       /* boot time */
	__u32 kind;          /* enum event_kind: the first 16 bytes are alike in every record */
	__u32 generation;    /* of the policy that judged */
	__u64 cgroup;        /* of the task */
	__u64 socket_cgroup; /* of the socket's maker; 0 where this kernel does not tell */
	__u64 count;         /* violations or, of EVENT_BIND and _SHARED, binds to log */
	__u64 total;         /* violations under this key so far */
	__u32 netns_inode;   /* 0 where this kernel does not tell */
	__u32 constraint;    /* ids in `names` */
	__u32 workload;
	__u32 pid; /* process and thread, initial pid namespace */
	__u32 tid;
	__u32 uid;
	__u32 gid;
	__u32 flags; /* EVENT_* */
	__u32 address[4];
	__u16 protocol; /* IPPROTO_*: MPTCP is 262 and needs 16 bits */
	__u16 port;
	__u16 requested_port; /* 0 where the kernel picked */
	__u16 error;          /* what bind() returned, positive; 0 unless denied */
	__u8 verdict;         /* enum verdict */
	__u8 family;          /* enum family_index: of the socket */
	__u8 scope;           /* SCOPE_* */
	__u8 label;           /* enum protocol_row */
	__u32 namespace_pid;  /* of the process, where it lives; 0: unknown, as all that follows */
	char comm[16];
	__u64 started_ns; /* of the process, boot time */
	char cmdline[CMDLINE_BYTES];
	__u8 cmdline_bytes; /* of these, each argument with its NUL */
};

/* A cgroup was made or removed: `path` tells the place below its hierarchy's root. That is cgroup2,
 * but where `id` is 0, which is where this kernel does not tell: there it is any. */
struct cgroup_event {
	__u64 time_ns;
	__u64 id;
	__u32 kind; /* EVENT_CGROUP */
	__u32 removed;
	__u32 pid; /* process that made or removed it, initial pid namespace */
	__u32 pad;
	char path[CGROUP_PATH_BYTES];
};

/* Userspace's own: what is loaded here, so that another version can tell. */
struct meta {
	__u8 source_sha256[32]; /* of the programs' source and the flags they were compiled with */
	__u8 layout_sha256[32]; /* of this file: pins with another cannot be reused */
	__u64 loaded_ns;        /* boot time */
	__u32 features;         /* kernel/features.py */
	__u32 pad;
};

_Static_assert(sizeof(struct event) == 264, "an event is 264 bytes, and no padding");
_Static_assert(sizeof(struct violation_key) == 12, "no padding in a key");
_Static_assert(sizeof(struct collision_key) == 8, "no padding in a key");
_Static_assert(sizeof(struct published_key) == 24, "no padding in a key");
_Static_assert(sizeof(struct mark) == 8, "as kernel/btf.py tells the kernel");
_Static_assert(sizeof(struct observed_key) == 32, "no padding in a key");
_Static_assert(sizeof(struct observed_key) == 8 * (SEEDS - 1), "a seed for each word");
_Static_assert(sizeof(struct address_key) == 24, "no padding in a key");
_Static_assert(sizeof(struct tables) < 4 * 1024 * 1024, "5.10 refuses larger array values");
_Static_assert(sizeof(struct tables) % 8 == 0, "the next slot stays aligned");
