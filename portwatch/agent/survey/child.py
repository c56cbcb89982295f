"""The survey itself: `python -m portwatch.agent.survey.child`, its request on stdin as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path

from portwatch.agent.events.listener import listener_event
from portwatch.agent.events.published import find_shadowed, shadowed_event, shadowed_series
from portwatch.agent.events.sharing import find_sharing
from portwatch.agent.identity.account_words import accounts_of
from portwatch.agent.identity.container_asking import ask_now
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.in_force import attached_below, policy_in_kernel
from portwatch.agent.policy_source import LoadedPolicy
from portwatch.agent.survey.published import fold_shadowed, published_series, spans_of
from portwatch.agent.survey.report import Series, SurveyReport, SurveyRequest
from portwatch.agent.survey.survey import Surveyed, survey
from portwatch.kernel.foreign import chains, others_run_after, own_programs
from portwatch.kernel.names import OTHER_NAME
from portwatch.kernel.pins import PinDir
from portwatch.node.cgroups import CgroupTree, find_cgroup2
from portwatch.node.engines.sockets import parse_engine_socket
from portwatch.node.errand import answer
from portwatch.node.listeners import Listing, find_listeners
from portwatch.node.paths import HostPaths
from portwatch.policy.model import Policy

PICKED_PORT = "ephemeral"
MAX_SHARING = 200


def identity_of(policy: Policy) -> str:
    """A policy's text, in the mode that it is in."""
    return f"{policy.sha256}:{policy.mode}"


def report(
    request: SurveyRequest,
    policy: Policy,
    surveyed: list[Surveyed],
    listing: Listing,
    book: ContainerBook,
    rewriters: bool = False,
) -> SurveyReport:
    """Bound what was found to what the request asks for."""
    identity = identity_of(policy)
    series, folded = fold(surveyed, request.max_series)
    violating = sorted(
        (one for one in surveyed if one.violates),
        key=lambda one: (one.verdict, one.listener.port, one.listener.cookie),
    )
    before = set(request.told) if request.told_under == identity else set()
    told = []
    fresh = []
    for one in violating:
        known = one.listener.network << 64 | one.listener.cookie
        if known in before:
            told.append(known)
        else:
            fresh.append((known, one))
    shadowed = list(find_shadowed(surveyed, listing.published))
    conflicts = chain(
        (shadowed_event(one, rule, book) for one, rule in shadowed), find_sharing(surveyed, book)
    )
    return SurveyReport(
        identity,
        series,
        dict(Counter(str(one.verdict) for one in violating)),
        told,
        [(known, listener_event(one, book)) for known, one in fresh[: request.max_events]],
        max(len(fresh) - request.max_events, 0),
        listing.not_seen,
        list(islice(conflicts, MAX_SHARING)),
        folded,
        published_series(listing.published),
        fold_shadowed(shadowed_series(shadowed), request.max_series),
        listing.unread,
        list(spans_of(listing.published)),
        rewriters,
    )


def are_rewriters(pin_dir: PinDir, cgroup: Path, root: Path) -> bool:
    """Whether another's program may change what the hooks on a cgroup have judged; True, too, where
    this process may not look."""
    try:
        return others_run_after(chains(cgroup, root), own_programs(pin_dir))
    except PermissionError:
        return True
    except OSError:  # gone: there is nothing to change
        return False


def fold(surveyed: Iterable[Surveyed], max_series: int) -> tuple[list[tuple[Series, int]], int]:
    """Sockets by series, violations first; past `max_series`, workload and port are `other`. And
    how many series are among these others."""
    counts: Counter[Series] = Counter()
    for one in surveyed:
        if one.verdict is not None:
            listener = one.listener
            port = PICKED_PORT if one.picked else str(listener.port)
            counts[one.workload, listener.protocol, port, one.scope, one.verdict] += 1
    ordered = sorted(counts.items(), key=lambda entry: (entry[0][4] == "allowed", entry[0]))
    rest: Counter[Series] = Counter()
    for (_, protocol, _, scope, verdict), count in ordered[max_series:]:
        rest[OTHER_NAME, protocol, OTHER_NAME, scope, verdict] += count
    return [*ordered[:max_series], *sorted(rest.items())], max(len(ordered) - max_series, 0)


def _work() -> object:
    request = SurveyRequest(**json.load(sys.stdin))
    host = HostPaths()
    tree = CgroupTree(find_cgroup2(host))
    rewriters = False
    if request.sources:
        policy = LoadedPolicy.parse(request.sources, request.origin, request.mode).policy
        below = request.below
    else:
        pin_dir = PinDir(Path(request.pin_dir))
        policy, _ = policy_in_kernel(pin_dir)
        below = attached_below(pin_dir, tree)
        rewriters = are_rewriters(pin_dir, tree.mount_point / below.lstrip("/"), tree.mount_point)
    listing = find_listeners()
    if request.containers is None:
        sockets = [parse_engine_socket(text) for text in request.sockets]
        book = ask_now(tree, host, tree.scan(), sockets)
    else:
        book = ContainerBook.load(request.containers)
    surveyed = survey(policy, listing.listeners, accounts_of(policy), below, book)
    return asdict(report(request, policy, surveyed, listing, book, rewriters))


if __name__ == "__main__":
    answer(_work)
