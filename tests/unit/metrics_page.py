"""A metrics page whose every figure is known: what the kernel counted, and what the agent knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from portwatch.agent.metrics.metrics import PortwatchCollector
from portwatch.agent.state import AgentState
from portwatch.kernel.readings import (
    CollisionCount,
    CollisionKey,
    HookState,
    Totals,
    ViolationCount,
)

NAMES = {0: "other", 1: "shop", 2: "shop-api.service", 3: 'docker:we"b\\'}


class KnownReadings:
    """Stands for kernel.readings.Readings."""

    def totals(self) -> Totals:
        """Binds of two kinds, and one figure for each other sum."""
        binds = {("allowed", "tcp", "ipv4"): 120, ("denied", "tcp", "ipv6"): 7}
        return Totals(binds, 2, 5, 1, 0, binds_untold=3)

    def hooks(self) -> list[HookState]:
        """Two, one of them gone."""
        return [
            HookState("bind4", True, True, True, 130, 45_500, 1),
            HookState("bind6", True, True, False, 0, 0),
        ]

    def uncovered(self, published_unread: bool = False) -> dict[str, str]:
        """One gap."""
        assert not published_unread
        return {"sctp_bind": "why"}

    def violations(self) -> Iterator[ViolationCount]:
        """Four kinds, and what the kernel's map had no room for."""
        yield ViolationCount(1, 2, 9003, "tcp", "denied", 1, 1, 0, 40, 4)
        yield ViolationCount(1, 2, 9001, "tcp", "denied", 12, 12, 0, 10, 1)
        yield ViolationCount(1, 3, 53, "udp", "recorded", 3, 3, 0, 20, 2)
        yield ViolationCount(1, 2, 9002, "tcp", "denied", 2, 2, 0, 30, 3)
        yield ViolationCount(0, 0, 0, "tcp", "denied", 4, 4, 0, 0, 0)

    def collision_counts(self) -> Iterator[CollisionCount]:
        """One kind."""
        yield CollisionCount(CollisionKey(2, 8080, 0), 6, 10, 1)

    def published_binds(self) -> Iterator[CollisionCount]:
        """One bind in vain."""
        yield CollisionCount(CollisionKey(2, 9001, 0), 1, 20, 2)


class KnownNames:
    """Stands for kernel.names.Names."""

    def text(self, number: int) -> str:
        """The name under a number."""
        return NAMES[number]


def known_collector(max_series: int = 2) -> PortwatchCollector:
    """The collector over them."""
    state = AgentState(
        sha256="5d" * 32,
        mode="enforce",
        source="/etc/portwatch/policy.d",
        constraints=3,
        generation=4,
        enforcing=True,
        last_load_successful=True,
        last_load_success_seconds=1767323045.5,
        events=Counter(violation=11, policy=1),
        map_fill=lambda: {"cgroups": (42, 32768)},
        unclassified=lambda: 0,
        listeners=[(("shop-api.service", "tcp", "9001", "wildcard", "denied"), 1)],
        listeners_surveyed_seconds=1767323040.0,
        published=[(("docker", "tcp"), 2)],
        shadowed=[(("shop-api.service", "tcp", "9001", "docker"), 1)],
    )
    return PortwatchCollector(KnownReadings(), KnownNames(), state, max_series)
