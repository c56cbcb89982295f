"""The ways to own a port that are not seen, or cannot be denied, here: named, never silent."""

from __future__ import annotations

from portwatch.kernel.features import LOST_WITHOUT, Feature

ALWAYS: dict[str, str] = {
    "listen_without_bind": "listen() without bind() takes a port that no hook here sees",
    "udp_autobind": "a UDP socket that sends or connects without bind() takes a port unseen",
    "bind_address_no_port": "IP_BIND_ADDRESS_NO_PORT with port 0, then listen(), is unseen",
    "sctp": "SCTP sockets never reach the cgroup hooks",
    "rewritten": "another BPF program on the bind hooks can change the port after it was judged",
    "raw": "raw and packet sockets never reach the cgroup hooks",
}

WITHOUT: dict[Feature, str] = {
    Feature.SET_RETVAL: "errno",
    Feature.POST_DENY: "picked_port",
    Feature.IPV6ONLY: "ipv6only",
}


def uncovered(features: int) -> dict[str, str]:
    """Gap → what it means, on a kernel with these features (kernel.features.Feature bits)."""
    lacking = {
        gap: LOST_WITHOUT[feature] for feature, gap in WITHOUT.items() if not features & feature
    }
    return {**ALWAYS, **lacking}


def uncovered_gaps(features: int) -> tuple[str, ...]:
    """The gaps' names alone, as `portwatch_uncovered{gap}` has them."""
    return tuple(uncovered(features))
