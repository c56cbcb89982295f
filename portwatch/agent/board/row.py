"""One line of the board: a workload, a port, and what became of its binds there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from portwatch.agent.clock import iso

Kind = Literal["violation", "collision", "listener", "bind"]
KINDS: tuple[Kind, ...] = ("violation", "collision", "listener", "bind")
"""In the order of their importance."""

WORDS = ("denied", "recorded", "taken", "listening", "against", "allowed")
"""What may stand as a row's word."""

Key = tuple[str, ...]


@dataclass(slots=True)
class Row:
    """Binds alike. What is not known is empty, or None.

    `verdict`: of a violation and a listener what the policy says; of a bind `allowed`, or `against`
    where it was let through once and the policy in force is against it. `scope`: the
    words of the language for the addresses. `count`: binds, or sockets that listen; `rate`: binds a
    second of late. `last_seen`: seconds since the epoch. `pid` bound first, at the boot time
    `first_ns`, as `uid`.
    """

    kind: Kind
    verdict: str
    workload: str
    protocol: str
    port: int
    count: int
    scope: str = ""
    address: str = ""
    constraint: str = ""
    reason: str = ""
    rate: float | None = None
    last_seen: float | None = None
    cgroup: str = ""
    pid: int = 0
    uid: int | None = None
    first_ns: int = 0
    process: str = ""

    @property
    def word(self) -> str:
        """One of WORDS."""
        return {"collision": "taken", "listener": "listening"}.get(self.kind, self.verdict)

    @property
    def endpoint(self) -> str:
        """As policies write it; port 0 is one that the kernel picks."""
        return f"{self.port}/{self.protocol}"

    @property
    def key(self) -> Key:
        """The same for the same row of another reading."""
        scope = self.scope if self.kind in ("bind", "listener") else ""
        return (self.kind, self.verdict, self.workload, self.endpoint, scope, self.constraint)

    def facts(self) -> dict[str, Any]:
        """For JSON, in the words of events; absent rather than null."""
        found = {
            "kind": self.kind,
            "verdict": self.verdict,
            "workload": self.workload,
            "cgroup": self.cgroup.encode("utf-8", "replace").decode(),
            "protocol": self.protocol,
            "scope": self.scope,
            "constraint": self.constraint,
            "reason": self.reason,
            "process": self.process,
        }
        shown: dict[str, Any] = {key: value for key, value in found.items() if value}
        shown |= {"port": self.port, "count": self.count}
        if self.rate is not None:
            shown["rate"] = round(self.rate, 3)
        if self.last_seen is not None:
            shown["last_seen"] = iso(int(self.last_seen * 1e9))
        return shown
