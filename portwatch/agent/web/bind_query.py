"""The bind that a URL asks about: `protocol`, `port`, `address`, `network`."""

from __future__ import annotations

from dataclasses import dataclass

from portwatch.agent.web.answer import Query
from portwatch.errors import UsageError
from portwatch.policy.reading import EPHEMERAL, Endpoint
from portwatch.policy.words.addresses import Address, bind_address
from portwatch.policy.words.ports import LAST_PORT, PROTOCOLS, judged_as

WILDCARD = "0.0.0.0"  # noqa: S104 (asked about, not bound)


@dataclass(frozen=True, slots=True)
class BindQuery:
    """`host_network` None: as what runs there. `constraint`: the one to point out."""

    workload: str
    endpoint: Endpoint
    address: str
    host_network: bool | None
    constraint: str


def bind_query(query: Query) -> BindQuery:
    """UsageError, in a sentence, for what makes no sense."""
    if not query.get("workload"):
        raise UsageError("say whose bind: /explain?workload=NAME&protocol=tcp&port=8080")
    protocol = judged_as(query.get("protocol", "tcp").lower())
    if protocol not in PROTOCOLS:
        raise UsageError(f"{protocol[:20]!r} is no protocol: one of {', '.join(PROTOCOLS)}, mptcp")
    network = query.get("network", "")
    address = query.get("address", WILDCARD)[:64]
    endpoint = Endpoint(protocol, _port(query.get("port", "")), _address(address))
    return BindQuery(
        query["workload"],
        endpoint,
        address,
        network == "host" if network else None,
        query.get("constraint", ""),
    )


def _port(text: str) -> int:
    if text in ("ephemeral", "0"):
        return EPHEMERAL
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) <= LAST_PORT:
        return int(text)
    if text == "other":
        raise UsageError("ports counted as `other` are those past --max-series: no one of them")
    raise UsageError(f"{text[:20]!r} is no port: 1 to {LAST_PORT}, or ephemeral")


def _address(text: str) -> Address:
    try:
        return bind_address(text)
    except ValueError as err:
        raise UsageError(f"{text[:40]!r} is no IP address, such as 127.0.0.1 or ::1") from err
