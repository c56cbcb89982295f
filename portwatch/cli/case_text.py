"""What a failed case asked and what came, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portwatch.cli.verdict_style import verdict_text

if TYPE_CHECKING:
    from portwatch.policy.cases.cases import Failure, Result


def failure_lines(result: Result, failure: Failure) -> list[str]:
    """What was asked, what was expected, what came, and the way to it."""
    from portwatch.policy.cases.cases import expected_text, outcome_text

    decision = failure.decision
    came = outcome_text(decision.constraint, decision.errno)
    width = max(len(step.name) for step in failure.steps)
    return [
        question(result, failure),
        f"expected  {expected_text(result.case)}",
        f"came      {verdict_text(decision.verdict)}{came}",
        *(
            f"  {number}. {step.name:<{width}}  {step.why}"
            for number, step in enumerate(failure.steps, 1)
        ),
    ]


def question(result: Result, failure: Failure) -> str:
    """What was asked, such as `root in /system.slice/shop-x.service binds 8080/tcp on 0.0.0.0`."""
    case, subject = result.case, failure.subject
    who = f"{subject.user or f'uid {subject.uid}'} in {subject.cgroup}"
    container = subject.container
    if container is not None:
        named = container.name or next(iter(container.images), None)
        who += f" (container {named})" if named else ""
    if subject.pod is not None:
        labels = f" with {subject.pod.labels_text}" if subject.pod.labels else ""
        who += f" (pod {subject.pod.namespace}/{subject.pod.name}{labels})"
    address = ":: and 0.0.0.0" if case.address.dual else str(case.address)
    verb = "listens on" if case.listening else "is given" if case.picked else "binds"
    where = "" if case.host_network else ", in another network namespace"
    return f"{who} {verb} {failure.ports} on {address}{where}"
