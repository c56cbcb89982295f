"""Two workloads on one port are found among all that listen, each two once."""

from __future__ import annotations

import pytest

from portwatch.agent.events.sharing import find_sharing
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.survey.survey import Surveyed
from portwatch.node.listeners import Listener
from portwatch.node.socket_holders import Holder


def socket(
    workload: str, address: str, since: int, port: int = 9000, network: int = 1, dual: bool = False
) -> Surveyed:
    """A listening TCP socket of a process that started in that second."""
    start = f"2026-01-01T00:00:{since:02}.000000Z"
    holder = Holder(100 + since, "it", None, None, 0, 0, f"/{workload}", start)
    listener = Listener(
        protocol="tcp",
        family="ipv6" if ":" in address else "ipv4",
        address=address,
        port=port,
        state="listen",
        dual=dual,
        network=network,
        is_host_network=False,
        in_local_range=False,
        cookie=since,
        uid=0,
        made_in=f"/{workload}",
        holder=holder,
        more=0,
    )
    return Surveyed(listener, f"/{workload}", workload, "wildcard", None)


@pytest.mark.parametrize(
    "sockets",
    [
        [socket("a", "0.0.0.0", 1), socket("b", "127.0.0.1", 2)],
        [socket("b", "127.0.0.1", 2), socket("a", "0.0.0.0", 1)],
        [socket("a", "::", 1, dual=True), socket("b", "127.0.0.1", 2)],
        [socket("a", "0.0.0.0", n) for n in range(5)] + [socket("b", "0.0.0.0", 9)],
    ],
)
def test_the_newer_one_is_told_with_the_older(sockets: list[Surveyed]) -> None:
    """Whatever the order and the number of sockets: one event, of who came later."""
    (event,) = find_sharing(sockets, ContainerBook())
    assert (event["kind"], event["shared"]) == ("collision", True)
    assert (event["workload"]["name"], event["holder"]["workload"]["name"]) == ("b", "a")
    assert event["bind"]["network"] == "net:[1]"
    assert "errno" not in event


@pytest.mark.parametrize(
    "sockets",
    [
        [socket("a", "0.0.0.0", 1), socket("a", "127.0.0.1", 2)],
        [socket("a", "127.0.0.1", 1), socket("b", "127.0.0.2", 2)],
        [socket("a", "::", 1), socket("b", "0.0.0.0", 2)],
        [socket("a", "0.0.0.0", 1), socket("b", "0.0.0.0", 2, port=9001)],
        [socket("a", "0.0.0.0", 1), socket("b", "0.0.0.0", 2, network=2)],
        [],
    ],
)
def test_what_is_not_shared_is_not_told(sockets: list[Surveyed]) -> None:
    """One workload, or another address, version, port or network."""
    assert list(find_sharing(sockets, ContainerBook())) == []
