"""Views of agents that never ran, for tests of what the pages make of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from portwatch.agent.web.answer import Answer
from portwatch.agent.web.landing import landing
from portwatch.agent.web.portmap import PortMaps
from portwatch.agent.web.view import InForce, Resident, SeenViolation, View
from portwatch.agent.web.whose import find
from portwatch.node.accounts import AccountTable
from portwatch.policy.source.load import parse_policy
from portwatch.policy.tables.compile import compile_policy

NOBODY = AccountTable({}, {})


def view_of(
    policy: str, residents: Iterable[str] = (), accounts: AccountTable = NOBODY, **more: object
) -> View:
    """That of an agent with this policy in force, and these cgroups, called by their paths."""
    parsed = parse_policy([("policy.yaml", policy)], source="policy.yaml")
    compiled = compile_policy(parsed, accounts)
    in_force = InForce(3, parsed, compiled, accounts, "policy.yaml", 1000.0)
    can_deny = any(outcome.verdict == 1 for outcome in compiled.outcomes)
    here = {path: Resident(path) for path in residents}
    view = View(1100.0, in_force, can_deny, residents=here, surveyed_seconds=1090.0)
    return replace(view, **more)  # type: ignore[arg-type]  # fields of View


def violation(workload: str, port: int | None, **more: object) -> SeenViolation:
    """One that was counted five times, half a minute ago."""
    told = SeenViolation("no-etcd", workload, "tcp", port, "denied", 5, 30.0)
    return replace(told, **more)  # type: ignore[arg-type]  # fields of SeenViolation


def landing_of(view: View, maps: PortMaps | None = None, **query: str) -> Answer:
    """The landing page for a view."""
    in_force = view.in_force
    if in_force is None:
        return landing(view, None, lambda _name: None, query)
    maps = maps or PortMaps(in_force.compiled)
    return landing(view, maps, lambda name: find(name, view, in_force), query)
