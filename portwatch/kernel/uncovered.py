"""The ways to own a port that are not seen, or cannot be denied, here: named, never silent."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from portwatch.kernel.features import LOST_WITHOUT, Feature
from portwatch.kernel.hooks import COLLISION_HOOKS

ALWAYS: dict[str, str] = {
    "udp_autobind": "a UDP socket that sends or connects without bind() takes a port that no hook "
    "sees; `portwatch listeners` does",
    "bpf_bind": "a bind that another BPF program makes (bpf_bind() before a connect) passes no "
    "hook, and the socket may listen there later",
    "raw": "raw and packet sockets see what is sent to any port, and own none",
    "steered": "sk_lookup programs, TPROXY and NAT hand a port's traffic to a socket that is bound "
    "elsewhere",
}

LISTEN_UNSEEN = "{} takes a port that no hook here sees"
LISTEN_RECORDED = "listen() without bind() is recorded where the policy is against it, not refused"
MADE_OUTSIDE = (
    "a socket that was made outside of the cgroup that portwatch is on (--cgroup) and passed in is "
    "not judged"
)
REWRITTEN = (
    "another BPF program on the bind hooks can change the port after it was judged, which a "
    "running agent notices within a minute, or waive a refusal"
)
UNREAD = "the NAT rules, by which ports are taken with no socket, may not be read"

WITHOUT: dict[Feature, str] = {
    Feature.SET_RETVAL: "errno",
    Feature.POST_DENY: "picked_port",
    Feature.SOCKET_STORAGE: "picked_port",
    Feature.IPV6ONLY: "ipv6only",
    Feature.NETNS_COOKIE: "host_network",
}


def uncovered(
    features: int,
    attached: AbstractSet[str],
    on_a_part: bool = False,
    published_unread: bool = False,
) -> dict[str, str]:
    """Gap → what it means, on a kernel with these features (kernel.features.Feature bits), with
    these hooks attached; `on_a_part`: to a cgroup that is not the hierarchy's root;
    `published_unread`: NAT rules of some network namespace may not be read."""
    gaps = dict(ALWAYS)
    if on_a_part:
        gaps["made_outside"] = MADE_OUTSIDE
    if "listen" not in attached:
        gaps["listen_without_bind"] = LISTEN_UNSEEN.format("listen() without bind()")
        gaps["bind_address_no_port"] = LISTEN_UNSEEN.format(
            "IP_BIND_ADDRESS_NO_PORT with port 0, then listen(),"
        )
    elif "socket_listen" not in attached:
        gaps["listen_without_bind"] = LISTEN_RECORDED
    if published_unread:
        gaps["published_ports"] = UNREAD
    if not {"socket_bind", "sctp_bind_connect"} <= attached:
        gaps["sctp"] = "SCTP sockets never reach the cgroup hooks"
    if not attached & COLLISION_HOOKS:
        gaps["collision"] = "binds that fail because the port is taken are not seen"
    gaps["rewritten"] = REWRITTEN
    lacking = {
        gap: LOST_WITHOUT[feature] for feature, gap in WITHOUT.items() if not features & feature
    }
    return {**gaps, **lacking}
