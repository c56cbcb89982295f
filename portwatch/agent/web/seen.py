"""What there is at the ports of each workload: its listeners and its violations."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from portwatch.agent.survey.report import Series
from portwatch.agent.web.links import explain_link
from portwatch.agent.web.marks import Sign
from portwatch.agent.web.view import OTHER, SeenViolation, View
from portwatch.agent.web.words import ago

AGAINST = ("denied", "recorded")


@dataclass(frozen=True)
class Seen:
    """Of one workload."""

    listeners: list[tuple[Series, int]] = field(default_factory=list)
    violations: list[SeenViolation] = field(default_factory=list)

    @property
    def listener_count(self) -> int:
        """How many sockets listen."""
        return sum(count for _, count in self.listeners)

    @property
    def violation_count(self) -> int:
        """How often it violated the policy."""
        return sum(one.count for one in self.violations)

    @property
    def listens_against(self) -> bool:
        """Whether it listens where it may not."""
        return any(verdict in AGAINST for (_, _, _, _, verdict), _ in self.listeners)

    def listener_signs(self) -> list[Sign]:
        """Those whose port is known."""
        return [_listener(*one) for one in self.listeners if one[0][2].isdecimal()]

    def violation_signs(self) -> list[Sign]:
        """Those of a port that was asked for by number."""
        return [_violation(one, one.port) for one in self.violations if one.port]


def seen_by_workload(view: View) -> dict[str, Seen]:
    """By the names of the metrics; what was counted past a bound is left out."""
    found: defaultdict[str, Seen] = defaultdict(Seen)
    for series, count in view.listeners:
        found[series[0]].listeners.append((series, count))
    for one in view.violations:
        found[one.workload].violations.append(one)
    found.pop(OTHER, None)
    return found


def _listener(series: Series, count: int) -> Sign:
    workload, protocol, port, scope, verdict = series
    text = f"{port}/{protocol} listens on {scope}: {verdict or 'not judged'}"
    text += f" ({count} sockets)" if count > 1 else ""
    return Sign(int(port), verdict in AGAINST, text, explain_link(workload, protocol, port))


def _violation(one: SeenViolation, port: int) -> Sign:
    text = (
        f"{port}/{one.protocol}: {one.verdict} {one.count:,}× by {one.constraint}, "
        f"last {ago(one.age_seconds)}"
    )
    link = explain_link(one.workload, one.protocol, port, constraint=one.constraint)
    return Sign(port, True, text, link)
