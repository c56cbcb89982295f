"""Why a constraint said what it said, as one plain sentence each."""

from __future__ import annotations

from portwatch.policy.model import Constraint, Policy
from portwatch.policy.reading import Endpoint, Judgement
from portwatch.policy.workload import Selector, Subject, systemd_units


def sentence(
    judgement: Judgement, subject: Subject, endpoint: Endpoint, *, would_be_ended: bool
) -> str:
    """Return why a constraint applies or not, and what it says of the bind."""
    constraint = judgement.constraint
    if judgement.effect == "skip":
        return "does not apply: " + _why_not(judgement, subject)
    if judgement.effect == "continue":
        if endpoint.lists_only:
            return f"says nothing of {port_text(endpoint)}: only its lists could"
        return f"{_neither(constraint, endpoint)}; otherwise: continue"
    if judgement.cause == "otherwise":
        because = f"{_neither(constraint, endpoint)}; otherwise: {judgement.effect}"
    else:
        because = f"{port_text(endpoint)} is in its {judgement.cause} list"
        because += _word_text(judgement.word, endpoint)
        if constraint.addresses is not None:
            because += f", for address {address_text(endpoint)}"
    if constraint.mode == "enforce":
        verb = "denies" if judgement.effect == "deny" else "allows"
        return f"{verb}: {because}"
    note = "but it only records" + (", and an earlier one has spoken" if would_be_ended else "")
    return f"would {judgement.effect}, {note}: {because}"


def default_sentence(policy: Policy, endpoint: Endpoint, *, would_be_ended: bool) -> str:
    """Return what the policy's default says of a bind that no enforced constraint decided."""
    if endpoint.lists_only:
        return f"no list denies {port_text(endpoint)}, so it is let through"
    if policy.default == "allow":
        return "no constraint decides; default: allow"
    if policy.mode == "enforce":
        return "no constraint decides; default: deny"
    if would_be_ended:
        return "default: deny, but the policy only records, and a constraint has spoken"
    return "would deny, but the policy only records: no constraint decides; default: deny"


def port_text(endpoint: Endpoint) -> str:
    """Return the port as policies write it, `2379/tcp`, and that the kernel picked it."""
    if endpoint.port == 0:
        return f"ephemeral/{endpoint.protocol}"
    text = f"{endpoint.port}/{endpoint.protocol}"
    return f"{text} (picked by the kernel)" if endpoint.picked else text


def address_text(endpoint: Endpoint) -> str:
    """Return the address; the dual-stack wildcard says that it is one."""
    return ":: (and 0.0.0.0)" if endpoint.address.dual else str(endpoint.address)


def _neither(constraint: Constraint, endpoint: Endpoint) -> str:
    """Return why neither list means the endpoint: its address, or its port."""
    addresses = constraint.addresses
    if addresses is not None and not addresses.covers(endpoint.address):
        return f"{address_text(endpoint)} is not among its addresses"
    return "in neither list"


def _word_text(word: str, endpoint: Endpoint) -> str:
    """Return the word in brackets where it says more than the port itself."""
    return "" if word in (str(endpoint.port), port_text(endpoint)) else f" ({word})"


def _why_not(judgement: Judgement, subject: Subject) -> str:
    if judgement.cause == "network":
        return "the bind is not in the host's network namespace"
    if judgement.cause == "except":
        return f"{_subject_text(subject, judgement.selectors[0])} is excepted"
    selectors = judgement.selectors
    if not selectors:
        return "`for` means no workload"
    key = selectors[0].mismatch(subject) or "unit"
    has = _value_text(subject, key)
    if len(selectors) == 1 and selectors[0].origin is None:
        return f"{has} is not {' or '.join(str(p) for p in getattr(selectors[0], key))}"
    names = dict.fromkeys(s.origin or str(s) for s in selectors)
    return f"{_subject_text(subject, selectors[0])} is not {' or '.join(names)}"


def _subject_text(subject: Subject, selector: Selector) -> str:
    keys = [k for k in ("unit", "slice", "cgroup", "user", "group") if getattr(selector, k)]
    return ", ".join(_value_text(subject, key) for key in keys)


def _value_text(subject: Subject, key: str) -> str:
    """Return what the subject has for one key of a selector, such as `unit nginx.service`."""
    units, slices = systemd_units(subject.cgroup)
    if key == "unit":
        return f"unit {'/'.join(units)}" if units else f"cgroup {subject.cgroup} (no unit)"
    if key == "slice":
        return f"slice {'/'.join(slices)}" if slices else f"cgroup {subject.cgroup} (no slice)"
    if key == "user":
        return f"user {subject.user or subject.uid}"
    if key == "group":
        return f"group {subject.group or subject.gid}"
    return f"cgroup {subject.cgroup}"
