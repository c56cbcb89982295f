"""A collision as one line for people."""

from __future__ import annotations

from typing import Any

import pytest

from portwatch.cli.event_line import event_line

SHOP: dict[str, Any] = {
    "state": "listen",
    "address": "127.0.0.1",
    "workload": {"name": "shop", "cgroup": "/shop"},
    "process": {"pid": 7, "comm": "nginx", "uid": 0, "gid": 0},
    "since": "2026-01-02T03:04:05.000000Z",
}


def collision(**more: Any) -> dict[str, Any]:
    """An event about a bind to 127.0.0.1:80."""
    return {
        "time": "2026-01-02T13:14:15.678901Z",
        "kind": "collision",
        "errno": "EADDRINUSE",
        "bind": {"protocol": "tcp", "address": "127.0.0.1", "port": 80},
        "workload": {"name": "web"},
        "process": {"pid": 42, "comm": "python3"},
        "count": 1,
    } | more


WANTED = "13:14:15 taken tcp 127.0.0.1:80: python3[42] of web wanted it"
LINES = {
    f"{WANTED} of nginx[7] of shop": collision(holder=SHOP),
    f"{WANTED} of nginx[7] of shop ×9": collision(holder=SHOP, count=9),
    f"{WANTED} of nginx[7] +3 of shop": collision(holder=SHOP | {"more": 3}),
    f"{WANTED} of nginx[7] of shop on [::]": collision(holder=SHOP | {"address": "::"}),
    f"{WANTED} of shop": collision(
        holder={"state": "bound", "address": "127.0.0.1", "workload": SHOP["workload"]}
    ),
    f"{WANTED} of a connection that has ended": collision(
        holder={"state": "time-wait", "address": "127.0.0.1"}
    ),
    f"{WANTED} of a socket in state fin-wait-1": collision(
        holder={"state": "fin-wait-1", "address": "127.0.0.1"}
    ),
    f"{WANTED}; whose it was is not known ×2": collision(count=2),
    "13:14:15 shared tcp 127.0.0.1:80: python3[42] of web has it beside nginx[7] of shop": (
        collision(holder=SHOP, shared=True)
    ),
    "13:14:15 published tcp 127.0.0.1:80: python3[42] of web gets nothing on it: NAT by docker "
    "(DOCKER) sends what comes in to 172.17.0.2:80 and 2 more: theirs": collision(
        published=True,
        holder={
            "source": "docker",
            "target": "172.17.0.2:80",
            "address": "0.0.0.0",
            "rule": "DOCKER",
            "comment": "theirs",
            "more": 2,
        },
    ),
    "13:14:15 taken udp port 80: web wanted it; whose it was is not known ×5": {
        "time": "2026-01-02T13:14:15.678901Z",
        "kind": "collision",
        "bind": {"protocol": "udp", "port": 80},
        "workload": {"name": "web"},
        "count": 5,
    },
}


@pytest.mark.parametrize("line", LINES)
def test_it_says_who_wanted_what_and_who_has_it(line: str) -> None:
    """Port, both processes with their workloads, the holder's address where it is another, and
    how often."""
    assert event_line(LINES[line]) == line
