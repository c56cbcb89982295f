"""Cases held against a policy: which fail, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from portwatch.policy.cases.files import Case
from portwatch.policy.cases.specimens import specimens
from portwatch.policy.decide import Decision, Endpoint, Step, decide, explain
from portwatch.policy.model import DEFAULT_NAME, Policy
from portwatch.policy.source.problems import nearest, quote
from portwatch.policy.words.port_text import range_text
from portwatch.policy.words.ports import PortRange
from portwatch.policy.workload import Selector, Subject


@dataclass(frozen=True)
class Failure:
    """A bind that did not come out as expected: by whom, what, the decision and the way to it."""

    subject: Subject
    ports: str
    decision: Decision
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Result:
    """What came of one case. `title` is its name, else what it asks.

    `unknown`: what the policy has not, such as the workload; the binds were then not tried.
    """

    case: Case
    title: str
    failures: tuple[Failure, ...] = ()
    unknown: str | None = None

    @property
    def passed(self) -> bool:
        """Whether all came out as expected."""
        return not self.failures and self.unknown is None


def run_cases(policy: Policy, cases: Sequence[Case]) -> list[Result]:
    """Hold each case against the policy."""
    bounds = sorted(_bounds(policy))
    return [_run(policy, case, bounds) for case in cases]


def expected_text(case: Case) -> str:
    """Return what a case expects, such as `denied by etcd with EACCES`."""
    return case.verdict + outcome_text(case.constraint, case.errno)


def outcome_text(constraint: str | None, errno: str | None) -> str:
    """Return what is known beside a verdict, to be put behind it."""
    return (f" by {constraint}" if constraint else "") + (f" with {errno}" if errno else "")


def _run(policy: Policy, case: Case, bounds: Sequence[int]) -> Result:
    title = case.name or f"{_who(case)} binds {', '.join(map(range_text, case.binds))}"
    unknown = _unknown_constraint(policy, case)
    subjects: list[Subject] = []
    for named in case.workload:
        selectors, problem = _selectors(policy, named)
        for selector in selectors:
            found = specimens(selector, case.host_network)
            problem = None if found else f"nothing can be {selector}: give what can be"
            subjects += found
        unknown = unknown or problem
    if unknown is not None:
        return Result(case, title, unknown=unknown)
    if not case.workload:
        subjects = [Subject(user="root", group="root", host_network=case.host_network)]
    failures = (
        failure
        for subject in dict.fromkeys(subjects)
        for ports in case.binds
        for run in _runs(ports, bounds)
        if (failure := _failure(policy, case, subject, run))
    )
    return Result(case, title, tuple(failures))


def _failure(policy: Policy, case: Case, subject: Subject, run: PortRange) -> Failure | None:
    assert run.protocol is not None
    endpoint = Endpoint(run.protocol, run.first, case.address, case.picked, case.listening)
    policy = policy.as_declared(case.declared)
    decision = decide(policy, subject, endpoint)
    if (
        decision.verdict == case.verdict
        and case.constraint in (None, decision.constraint)
        and case.errno in (None, decision.errno)
    ):
        return None
    _, steps = explain(policy, subject, endpoint)
    return Failure(subject, range_text(run), decision, tuple(steps))


def _bounds(policy: Policy) -> set[int]:
    """The ports from which on a list of the policy may say something else."""
    ranges = [item for one in policy.constraints for item in (*one.deny.ranges, *one.allow.ranges)]
    return {item.first for item in ranges} | {item.last + 1 for item in ranges}


def _runs(ports: PortRange, bounds: Sequence[int]) -> Iterator[PortRange]:
    """Cut a range where the policy may: what is decided of the first of a run is so of all."""
    first = ports.first
    for bound in bounds:
        if first < bound <= ports.last:
            yield PortRange(first, bound - 1, ports.protocol)
            first = bound
    yield PortRange(first, ports.last, ports.protocol)


def _selectors(policy: Policy, named: str | Selector) -> tuple[Sequence[Selector], str | None]:
    """Return what a case's workload means; else what is wrong with it."""
    if isinstance(named, Selector):
        return (named,), None
    known = {workload.name: workload for workload in policy.workloads}
    if named in known:
        return known[named].selectors, None
    near = nearest(named, list(known))
    meant = f"; did you mean {quote(near)}?" if near else ""
    return (), f"the policy defines no workload {quote(named)}{meant}"


def _unknown_constraint(policy: Policy, case: Case) -> str | None:
    names = [constraint.name for constraint in policy.constraints]
    if case.constraint is None or case.constraint in (DEFAULT_NAME, *names):
        return None
    near = nearest(case.constraint, [*names, DEFAULT_NAME])
    meant = f"; did you mean {quote(near)}?" if near else ""
    return f"the policy has no constraint {quote(case.constraint)}{meant}"


def _who(case: Case) -> str:
    return " or ".join(map(str, case.workload)) or "root"
