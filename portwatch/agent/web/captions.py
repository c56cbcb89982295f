"""What is said of ranges of ports: verdict, constraint, reason, whose they are."""

from __future__ import annotations

from collections.abc import Sequence

from portwatch.agent.web.known_ports import KnownPorts
from portwatch.agent.web.portmap import Region
from portwatch.agent.web.view import InForce
from portwatch.agent.web.words import range_words, verdict_name
from portwatch.policy.model import DEFAULT_NAME, Constraint
from portwatch.policy.tables.outcomes import Outcome

FEW_PORTS = 64
"""A range of more than these is not one software's by the catalog."""

MOST_PARTS = 3
MOST_NAMES = 3


class Captions:
    """Sentences about the regions of one policy."""

    def __init__(self, in_force: InForce) -> None:
        policy = in_force.policy
        self._constraints = {one.name: one for one in policy.constraints}
        self._default_reason = policy.reason
        self._known_ports = KnownPorts()

    def block(self, regions: Sequence[Region], protocols: Sequence[str]) -> str:
        """One region at length, with whose it is; of several a line for each, if they are few."""
        if len(regions) > 1:
            lines = [self._verdict(one, protocols) for one in regions[:MOST_PARTS]]
            if regions[MOST_PARTS:]:
                more = len(regions) - MOST_PARTS
                lines.append(f"… and {more} ranges more up to {regions[-1].last}")
            return "\n".join(lines)
        region = regions[0]
        text = self._verdict(region, protocols)
        if region.varies:
            text += "; on some other addresses the verdict is another"
        owner = self.owner(region, protocols[0])
        return f"{text} ({owner})" if owner else text

    def _verdict(self, region: Region, protocols: Sequence[str]) -> str:
        ports = f"{range_words(region.first, region.last)}/{'+'.join(protocols)}"
        return f"{ports}: {self.outcome(region.outcome)}"

    def outcome(self, outcome: Outcome) -> str:
        """Verdict, constraint and reason."""
        if outcome.constraint is None:
            return "allowed"
        verdict = verdict_name(outcome)
        more = f" with {outcome.errno}" if verdict == "denied" else ", and goes through"
        text = f"{verdict}{more}, by {outcome.constraint}"
        reason = self.reason(outcome.constraint)
        return f"{text}: {reason}" if reason else text

    def reason(self, constraint: str) -> str:
        """What the policy says why."""
        if constraint == DEFAULT_NAME:
            return self._default_reason or ""
        known = self._constraints.get(constraint)
        return (known.reason or "") if known else ""

    def owner(self, region: Region, protocol: str) -> str:
        """Whom the constraint keeps the ports for, and what the catalog knows them as."""
        constraint = self._constraints.get(region.outcome.constraint or "")
        parts = [_kept(constraint)] if constraint else []
        if region.last - region.first < FEW_PORTS:
            parts.append(self._known_ports.words(protocol, region.first))
        return "; ".join(filter(None, parts))


def _kept(constraint: Constraint) -> str:
    if constraint.subject_for is not None or not constraint.subject_except:
        return ""
    names = list(dict.fromkeys(map(str, constraint.subject_except)))
    more = f" and {len(names) - MOST_NAMES} more" if names[MOST_NAMES:] else ""
    return f"kept for {', '.join(names[:MOST_NAMES])}{more}"
