"""The sections below the port map: hooks, policy, violations, collisions, listeners, totals."""

from __future__ import annotations

from datetime import UTC, datetime

from portwatch.agent.web.chosen import Chosen
from portwatch.agent.web.links import explain_link, map_link
from portwatch.agent.web.markup import Html, element, shortened
from portwatch.agent.web.tables import facts, named, table, verdict_badge
from portwatch.agent.web.view import OTHER, InForce, SeenViolation, View
from portwatch.agent.web.whose import find
from portwatch.agent.web.words import ago, count_of
from portwatch.kernel.hooks import HOOKS
from portwatch.policy.model import DEFAULT_NAME
from portwatch.policy.reading import Endpoint, judge
from portwatch.policy.sentences import sentence
from portwatch.policy.words.addresses import V4_WILDCARD

MOST_VIOLATIONS = 20
MOST_ROWS = 15
MOST_ERRORS = 20
MOST_LETTERS = 400

_PURPOSES = {hook.name: hook.purpose for hook in HOOKS}


def violations(view: View, chosen: Chosen) -> Html:
    """The last ones, each with why."""
    found = [one for one in view.violations if chosen.has(one.workload)]
    if not found:
        return element("p", "None has been counted.", class_="empty")
    rows = [
        (
            ago(one.age_seconds),
            verdict_badge(one.verdict),
            named(one.workload, map_link(one.workload)),
            _port(one.workload, one.protocol, one.port, constraint=one.constraint),
            f"{one.count:,}",
            element("b", shortened(one.constraint)),
            _why(one, view),
        )
        for one in found[:MOST_VIOLATIONS]
    ]
    heads = ("Last", "Verdict", "Workload", "Port", "#Times", "Constraint", "Why")
    shown = table("The last violations", heads, rows)
    more = (view.violation_kinds if chosen.is_all else len(found)) - len(rows)
    return element("div", shown, _rest(more, "violations of another workload, port or constraint"))


def listeners(view: View, chosen: Chosen) -> Html:
    """What listens against the policy, and how much does not."""
    found = [(one, count) for one, count in view.listeners if chosen.has(one[0])]
    against = [(one, count) for one, count in found if one[4] in ("denied", "recorded")]
    total = sum(count for _, count in found)
    if not view.surveyed_seconds:
        return element("p", "What listens has not been looked at yet.", class_="empty")
    when = ago(view.now_seconds - view.surveyed_seconds)
    wrong = sum(count for _, count in against)
    said = f"{count_of(total, 'socket')} listened {when}, {wrong:,} of them against the policy."
    if not total:
        return element("p", f"Nothing listened {when}.", class_="empty")
    if not against:
        return element("p", said, class_="empty")
    rows = [
        (
            verdict_badge(verdict),
            named(workload, map_link(workload)),
            _port(workload, protocol, port),
            scope,
            f"{count:,}",
        )
        for (workload, protocol, port, scope, verdict), count in against[:MOST_ROWS]
    ]
    shown = table(
        "Listeners against the policy", ("Verdict", "Workload", "Port", "On", "#Sockets"), rows
    )
    return element("div", element("p", said), shown, _rest(len(against) - MOST_ROWS, "more"))


def collisions(view: View, chosen: Chosen) -> Html:
    """Who could not have which port, because it was taken."""
    found = [one for one in view.collisions if chosen.has(one.workload)]
    if not found:
        return element("p", "No bind has failed because the port was taken.", class_="empty")
    rows = [
        (
            named(one.workload, map_link(one.workload)),
            _port(one.workload, one.protocol, one.port),
            f"{one.count:,}",
        )
        for one in found[:MOST_ROWS]
    ]
    shown = table("Binds to a port that was taken", ("Workload", "Port", "#Times"), rows)
    more = (view.collision_kinds if chosen.is_all else len(found)) - len(rows)
    return element("div", shown, _rest(more, "of another workload or port"))


def policy(view: View, in_force: InForce) -> Html:
    """What is in force, and what was refused since."""
    told = in_force.policy
    defined = [named(one.name, map_link(one.name)) for one in told.workloads[:MOST_ROWS]]
    names: list[str] = []
    for one in defined:
        names += [one, Html(" ")]
    if told.workloads[MOST_ROWS:]:
        names.append(f"and {len(told.workloads) - MOST_ROWS:,} more")
    recording = sum(one.mode == "record" for one in told.constraints)
    constraints = f"{len(told.constraints):,}"
    if recording and told.mode == "enforce":
        constraints += f", {recording:,} of them only record"
    loaded = datetime.fromtimestamp(in_force.since_seconds, UTC)
    pairs = [
        ("Source", element("code", in_force.origin)),
        ("Mode", told.mode),
        ("Default", told.default),
        ("Constraints", constraints),
        ("Loaded", f"{ago(view.now_seconds - in_force.since_seconds)}, {loaded:%F %T} UTC"),
        ("Generation", str(in_force.generation)),
        ("SHA-256", element("code", told.sha256, class_="hash")),
        ("Workloads", element("span", *names) if names else "none are defined"),
    ]
    return element("div", refusal(view), facts(pairs))


def refusal(view: View) -> Html | None:
    """The last load, where it was refused."""
    refused = view.refusal
    if refused is None:
        return None
    errors = [
        element("li", element("code", shortened(error, MOST_LETTERS)))
        for error in refused.errors[:MOST_ERRORS]
    ]
    more = len(refused.errors) - MOST_ERRORS
    return element(
        "div",
        element(
            "p",
            f"{ago(view.now_seconds - refused.seconds)} a policy was refused; the one below "
            "stays in force:",
        ),
        element("ul", *errors),
        _rest(more, "errors; the log has all"),
        class_="refused",
        role="alert",
    )


def hooks(view: View) -> Html:
    """Attached or not, and what is not covered."""
    rows = [
        (
            element("code", hook.name),
            element(
                "span",
                "attached" if hook.attached else "NOT attached",
                class_="badge " + ("allowed-badge" if hook.attached else "denied-badge"),
            ),
            "required" if hook.required else "",
            _PURPOSES.get(hook.name, ""),
        )
        for hook in view.hooks
    ]
    gaps = [element("li", element("code", gap), f": {text}") for gap, text in view.gaps.items()]
    return element(
        "div",
        table("Hooks", ("Hook", "State", "Needed", "Sees"), rows),
        element(
            "details",
            element(
                "summary",
                f"{count_of(len(gaps), 'way')} to own a port that is not covered on this kernel",
            ),
            element("ul", *gaps),
        )
        if gaps
        else None,
    )


def totals(view: View) -> Html:
    """Counted in the kernel since the programs were loaded."""
    verdicts = [
        (f"Binds {verdict}", f"{view.binds.get(verdict, 0):,}")
        for verdict in ("allowed", "denied", "recorded")
    ]
    return facts(
        [
            *verdicts,
            ("Binds not judged", f"{view.unjudged:,}"),
            ("Events folded into others", f"{view.events_suppressed:,}"),
            ("Events lost", f"{view.events_lost:,}"),
        ]
    )


def _port(workload: str, protocol: str, port: int | str | None, **more: str) -> Html:
    if port is None or port == OTHER:
        return element("span", f"other/{protocol}")
    text = f"{port}/{protocol}"
    if workload == OTHER:
        return element("span", text)
    given = {key: value for key, value in more.items() if value != OTHER}
    link = explain_link(workload, protocol, port, **given)
    return element("a", text, href=link, class_="port")


def _why(one: SeenViolation, view: View) -> str:
    """The constraint's reason, else what it says of such a bind."""
    in_force = view.in_force
    if in_force is None:
        return ""
    if one.constraint == DEFAULT_NAME:
        return in_force.policy.reason or "no constraint decides; default: deny"
    known = next((c for c in in_force.policy.constraints if c.name == one.constraint), None)
    if known is None:
        return "" if one.constraint == OTHER else "of a policy that is not in force any more"
    meant = find(one.workload, view, in_force) if one.port and one.workload != OTHER else None
    if known.reason:
        return known.reason
    if meant is None or one.port is None or one.protocol not in ("tcp", "udp", "udplite", "sctp"):
        return ""
    endpoint = Endpoint(one.protocol, one.port, V4_WILDCARD)
    return sentence(
        judge(known, meant.subject, endpoint), meant.subject, endpoint, would_be_ended=False
    )


def _rest(more: int, what: str) -> Html | None:
    return element("p", f"… and {more:,} {what}.", class_="note") if more > 0 else None
