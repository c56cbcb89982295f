"""The records of bpf/layout.h, field by field in the same order; a test compares the two.

Sizes in bytes; host byte order but for addresses (network order, IPv4 as ::ffff:a.b.c.d).
"""

from __future__ import annotations

import ctypes
import re
from ctypes import c_char, c_uint8, c_uint16, c_uint32, c_uint64
from functools import cache
from pathlib import Path

PORTS = 65536
PROTOCOL_ROWS = 5
PROTOCOL_LABELS = 6
PORT_KINDS = 2
VERDICTS = 3
FAMILIES = 2

MAX_OUTCOMES = 4096
MAX_ENDPOINTS = 4096
MAX_CROSS = 262144
MAX_SUBJECTS = 16384
MAX_ROWS = 1024
MAX_CELLS = 1048576

SEEDS = 5

PER_SUBJECT = 0xFFFF

USES_ADDRESSES = 1
USES_USERS = 2
USES_GROUPS = 4
USES_NETWORK = 8

CLASS_PROVISIONAL = 0x80000000

CONTROL_PICKED = 1
CONTROL_FOREIGN = 2
CONTROL_SCOPES = 4
SCOPE_DUAL = 1
EVENT_HOST_NETWORK = 1
EVENT_VIOLATION = 1
EVENT_CGROUP = 2
EVENT_COLLISION = 3
EVENT_SHARED = 4
EVENT_BIND = 5
EVENT_PUBLISHED = 6
PORT_IN_USE = 0
PORT_PUBLISHED = 1
PUBLISHED_EVERYWHERE = 1
CGROUP_PATH_BYTES = 496
CMDLINE_BYTES = 127

VERDICT_NAMES = ("allowed", "denied", "recorded")
PROTOCOL_NAMES = ("tcp", "udp", "udplite", "sctp", "other", "mptcp")
FAMILY_NAMES = ("ipv4", "ipv6")


class Control(ctypes.Structure):
    """struct control."""

    _fields_ = (
        ("generation", c_uint32),
        ("flags", c_uint32),
        ("zero", c_uint32),
        ("log_binds", c_uint16),
        ("published", c_uint16),
        ("cgroup", c_uint64),
        ("seeds", c_uint64 * SEEDS),
    )


class Outcome(ctypes.Structure):
    """struct outcome."""

    _fields_ = (("constraint", c_uint32), ("verdict", c_uint16), ("error", c_uint16))


class Tables(ctypes.Structure):
    """struct tables."""

    _fields_ = (
        ("host_netns_cookie", c_uint64),
        ("generation", c_uint32),
        ("flags", c_uint32),
        ("address_classes", c_uint32),
        ("endpoints", c_uint32),
        ("user_classes", c_uint32),
        ("group_classes", c_uint32),
        ("default_address", c_uint32),
        ("dual_address", c_uint32),
        ("ephemeral_gate", c_uint32),
        ("host_netns_inode", c_uint32),
        ("outcomes", Outcome * MAX_OUTCOMES),
        ("row_workload", c_uint32 * MAX_ROWS),
        ("uniform", c_uint16 * MAX_ENDPOINTS),
        ("subjects", c_uint16 * MAX_SUBJECTS),
        ("cross", c_uint16 * MAX_CROSS),
        ("ports", c_uint16 * PORTS * PROTOCOL_ROWS * PORT_KINDS),
        ("decisions", c_uint16 * MAX_CELLS),
    )


class AddressKey(ctypes.Structure):
    """struct address_key."""

    _fields_ = (("prefix_bits", c_uint32), ("generation", c_uint32), ("address", c_uint8 * 16))


class CgroupKey(ctypes.Structure):
    """struct cgroup_key."""

    _fields_ = (("id", c_uint64), ("generation", c_uint32), ("pad", c_uint32))


class CgroupClass(ctypes.Structure):
    """struct cgroup_class; its field `class` is `class_` here."""

    _fields_ = (("class_", c_uint32), ("workload", c_uint32))


class AccountKey(ctypes.Structure):
    """struct account_key."""

    _fields_ = (("generation", c_uint32), ("id", c_uint32), ("is_group", c_uint32))


class Counters(ctypes.Structure):
    """struct counters."""

    _fields_ = (
        ("binds", c_uint64 * FAMILIES * PROTOCOL_LABELS * VERDICTS),
        ("retracted", c_uint64 * FAMILIES * PROTOCOL_LABELS * VERDICTS),
        ("events_lost", c_uint64),
        ("events_suppressed", c_uint64),
        ("unjudged", c_uint64),
        ("cgroup_events_lost", c_uint64),
        ("sharing_since_ns", c_uint64),
        ("sharing_told", c_uint64),
        ("binds_untold", c_uint64),
    )


class ViolationKey(ctypes.Structure):
    """struct violation_key."""

    _fields_ = (
        ("constraint", c_uint32),
        ("workload", c_uint32),
        ("port", c_uint16),
        ("protocol", c_uint8),
        ("verdict", c_uint8),
    )


class Violation(ctypes.Structure):
    """struct violation."""

    _fields_ = (
        ("count", c_uint64),
        ("reported", c_uint64),
        ("last_event_ns", c_uint64),
        ("first_ns", c_uint64),
        ("lock", c_uint32),
        ("pad", c_uint32),
    )


class ObservedKey(ctypes.Structure):
    """struct observed_key."""

    _fields_ = (
        ("cgroup", c_uint64),
        ("address", c_uint8 * 16),
        ("port", c_uint16),
        ("protocol", c_uint8),
        ("scope", c_uint8),
        ("pad", c_uint32),
    )


class Observed(ctypes.Structure):
    """struct observed."""

    _fields_ = (
        ("allowed", c_uint64),
        ("count", c_uint64),
        ("first_ns", c_uint64),
        ("last_ns", c_uint64),
        ("last_jiffies", c_uint64),
        ("told", c_uint64),
        ("told_ns", c_uint64),
        ("pid", c_uint32),
        ("uid", c_uint32),
    )


class Mark(ctypes.Structure):
    """struct mark."""

    _fields_ = (
        ("port", c_uint16),
        ("pending", c_uint8),
        ("counted", c_uint8),
        ("verdict", c_uint8),
        ("label", c_uint8),
        ("family", c_uint8),
        ("scope", c_uint8),
    )


class CollisionKey(ctypes.Structure):
    """struct collision_key."""

    _fields_ = (
        ("workload", c_uint32),
        ("port", c_uint16),
        ("protocol", c_uint8),
        ("kind", c_uint8),
    )


class PublishedKey(ctypes.Structure):
    """struct published_key."""

    _fields_ = (
        ("netns_inode", c_uint32),
        ("address", c_uint8 * 16),
        ("port", c_uint16),
        ("protocol", c_uint8),
        ("family", c_uint8),
    )


class Collision(ctypes.Structure):
    """struct collision."""

    _fields_ = (("count", c_uint64), ("last_event_ns", c_uint64), ("first_ns", c_uint64))


class Event(ctypes.Structure):
    """struct event."""

    _fields_ = (
        ("time_ns", c_uint64),
        ("kind", c_uint32),
        ("generation", c_uint32),
        ("cgroup", c_uint64),
        ("socket_cgroup", c_uint64),
        ("count", c_uint64),
        ("total", c_uint64),
        ("netns_inode", c_uint32),
        ("constraint", c_uint32),
        ("workload", c_uint32),
        ("pid", c_uint32),
        ("tid", c_uint32),
        ("uid", c_uint32),
        ("gid", c_uint32),
        ("flags", c_uint32),
        ("address", c_uint8 * 16),
        ("protocol", c_uint16),
        ("port", c_uint16),
        ("requested_port", c_uint16),
        ("error", c_uint16),
        ("verdict", c_uint8),
        ("family", c_uint8),
        ("scope", c_uint8),
        ("label", c_uint8),
        ("namespace_pid", c_uint32),
        ("comm", c_char * 16),
        ("started_ns", c_uint64),
        ("cmdline", c_uint8 * CMDLINE_BYTES),
        ("cmdline_bytes", c_uint8),
    )


class CgroupEvent(ctypes.Structure):
    """struct cgroup_event."""

    _fields_ = (
        ("time_ns", c_uint64),
        ("id", c_uint64),
        ("kind", c_uint32),
        ("removed", c_uint32),
        ("pid", c_uint32),
        ("pad", c_uint32),
        ("path", c_char * CGROUP_PATH_BYTES),
    )


class Meta(ctypes.Structure):
    """struct meta."""

    _fields_ = (
        ("source_sha256", c_uint8 * 32),
        ("layout_sha256", c_uint8 * 32),
        ("loaded_ns", c_uint64),
        ("features", c_uint32),
        ("pad", c_uint32),
    )


RECORDS: dict[str, type[ctypes.Structure]] = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", record.__name__).lower(): record
    for record in ctypes.Structure.__subclasses__()
    if record.__module__ == __name__
}


@cache
def bpf_directory() -> Path:
    """Where the programs' source lies: beside the package in a checkout, else as installed."""
    checkout = Path(__file__).parents[2] / "bpf"
    return checkout if checkout.is_dir() else Path("/usr/share/portwatch/bpf")
