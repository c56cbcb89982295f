"""What is asked of a survey of all listeners, and what comes back, bounded.

A child does the work (survey_child.py), so that the memory of its parent does not grow with the
machine; this module is all that the parent needs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from portwatch.node.errand import Errand

CHILD = "portwatch.agent.survey.child"
TIMEOUT_SECONDS = 30.0
Series = tuple[str, str, str, str, str]
"""workload, protocol, port, scope, verdict"""

PublishedSeries = tuple[str, str]
"""source, protocol"""

PublishedSpan = tuple[int, str, int, str, int, int, str]
"""Inode of the network namespace, protocol, IP version, address (empty: all), first, last port, and
source."""

ShadowedSeries = tuple[str, str, str, str]
"""workload, protocol, port, source"""


@dataclass(frozen=True)
class SurveyRequest:
    """What to judge by, and what to hand back.

    The policy in the kernel at `pin_dir`, or, where there are `sources`, the one that they make
    for the cgroups below `below`. `told`: identities of violating listeners that were handed
    back before under the policy `told_under`, and are not wanted again. `containers`: what is known
    of them, as ContainerBook dumps it; where absent, the engines are asked, at `sockets`
    (`RUNTIME=PATH`) beside the well-known ones.
    """

    pin_dir: str = ""
    sources: tuple[tuple[str, str], ...] = ()
    origin: str = ""
    mode: Any = None
    below: str = "/"
    told_under: str = ""
    told: tuple[int, ...] = ()
    max_series: int = 2000
    max_events: int = 200
    containers: dict[str, Any] | None = None
    sockets: tuple[str, ...] = ()


@dataclass(frozen=True)
class SurveyReport:
    """What a survey found, bounded.

    `policy` identifies the policy; `series` counts sockets; `violating` counts them by verdict;
    `told` and `events` are of one kind: those told before that violate still, and new ones by
    identity, the denied first. `untold`: more new ones than fit. `not_seen`: what could not be
    looked at. `sharing`: `collision` events of the ports that two workloads have, all there are.
    `folded`: how many series there was no room for. `published` counts the ports that are taken
    with no socket, by source and protocol; `shadowed` the sockets that listen on one, bounded too;
    `unread`: whose rules may not be read. `spans`: the ports themselves, no more than fit the map.
    `rewriters`: another's program may change what the hooks have judged, or it could not be seen
    whether there is one.
    """

    policy: str
    series: list[tuple[Series, int]]
    violating: dict[str, int]
    told: list[int]
    events: list[tuple[int, dict[str, Any]]]
    untold: int
    not_seen: list[str] = field(default_factory=list)
    sharing: list[dict[str, Any]] = field(default_factory=list)
    folded: int = 0
    published: list[tuple[PublishedSeries, int]] = field(default_factory=list)
    shadowed: list[tuple[ShadowedSeries, int]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    spans: list[PublishedSpan] = field(default_factory=list)
    rewriters: bool = False


def begin_survey(request: SurveyRequest) -> Errand[SurveyReport]:
    """Have a child do it; PortwatchError, when asked for the result, where it fails."""
    what = "the survey of listeners"
    return Errand(what, CHILD, [], _parse, asdict(request), TIMEOUT_SECONDS, enters_namespaces=True)


def _parse(answered: Any) -> SurveyReport:
    fields = dict(answered)
    fields["series"] = [(tuple(labels), int(count)) for labels, count in fields["series"]]
    for name in ("published", "shadowed"):
        fields[name] = [(tuple(labels), int(count)) for labels, count in fields[name]]
    fields["spans"] = [tuple(span) for span in fields["spans"]]
    fields["events"] = [(int(known), dict(event)) for known, event in fields["events"]]
    return SurveyReport(**fields)
