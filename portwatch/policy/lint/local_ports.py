"""Ports of lists that lie where the kernel picks ports for clients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from portwatch.policy.lint.finding import Finding, listed
from portwatch.policy.model import Constraint, Policy
from portwatch.policy.words.port_text import coalesced, range_text
from portwatch.policy.words.ports import PROTOCOLS, EndpointSet

EPHEMERAL_RANGE = "ephemeral-range"

Stretch = tuple[int, int]
"""First and last port."""


@dataclass(frozen=True)
class LocalPorts:
    """`net.ipv4.ip_local_port_range`, and `ip_local_reserved_ports`, which are not picked."""

    first: int
    last: int
    reserved: tuple[Stretch, ...] = ()


def in_local_range(policy: Policy, local: LocalPorts) -> Iterator[Finding]:
    """Yield constraints that allow or refuse ports which the kernel may pick for anybody.

    A word that holds the whole range is about all ports, and is passed over.
    """
    for constraint in policy.constraints:
        for name, verb in (("allow", "allows"), ("deny", "refuses")):
            listing: EndpointSet = getattr(constraint, name)
            open_ = _unreserved(listing, local)
            if open_ and not (name == "deny" and constraint.mode == "record"):
                yield _finding(constraint, name, verb, open_, local)


def _unreserved(listing: EndpointSet, local: LocalPorts) -> list[Stretch]:
    found: set[Stretch] = set()
    for item in listing.ranges:
        first, last = max(item.first, local.first), min(item.last, local.last)
        if first <= last and (first, last) != (local.first, local.last):
            found.update(_without((first, last), local.reserved))
    return _joined(found)


def _without(stretch: Stretch, holes: Sequence[Stretch]) -> list[Stretch]:
    rest = [stretch]
    for begin, end in holes:
        rest = [
            part
            for first, last in rest
            for part in ((first, min(last, begin - 1)), (max(first, end + 1), last))
            if part[0] <= part[1]
        ]
    return sorted(set(rest))


def _joined(stretches: set[Stretch]) -> list[Stretch]:
    spans = [(protocol, first, last) for first, last in stretches for protocol in PROTOCOLS]
    return [(item.first, item.last) for item in coalesced(spans)]


def _finding(
    constraint: Constraint, name: str, verb: str, open_: list[Stretch], local: LocalPorts
) -> Finding:
    texts = [_text(stretch) for stretch in open_]
    trouble = (
        "a client may have been given one before the workload starts"
        if name == "allow"
        else "a client that is given one fails, now and then"
    )
    reason = (
        f"it {verb} {listed(texts)}, and the kernel picks ports for clients from "
        f"{local.first}-{local.last}: {trouble}"
    )
    wanted = ",".join(_text(one) for one in _joined({*local.reserved, *open_}))
    remedy = f'sysctl -w net.ipv4.ip_local_reserved_ports="{wanted}"'
    about = f"{listed(texts)}, of which the kernel picks for clients"
    return Finding.of(constraint, EPHEMERAL_RANGE, reason, remedy, about=about)


def _text(stretch: Stretch) -> str:
    return range_text(coalesced([(protocol, *stretch) for protocol in PROTOCOLS])[0])
