"""Why a constraint said what it said, as one plain sentence each."""

from __future__ import annotations

from collections.abc import Mapping

from portwatch.policy.model import Constraint, Policy
from portwatch.policy.reading import Endpoint, Judgement
from portwatch.policy.words.containers import SHORT_ID
from portwatch.policy.words.places import place_of
from portwatch.policy.workload import (
    OF_API_SERVER,
    POD_KEYS,
    WITNESSES,
    Names,
    Selector,
    Subject,
    declared_ports,
    in_words,
    names_of,
)

MANY_PORTS = 8
"""A pod that declares more is told with so many."""


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
        return f"{_neither(constraint, subject, endpoint)}; otherwise: continue"
    if judgement.cause == "otherwise":
        neither = _neither(constraint, subject, endpoint)
        because = f"{neither}; otherwise: {judgement.effect}"
    else:
        because = f"{port_text(endpoint)} is in its {judgement.cause} list"
        because += _word_text(judgement.word, endpoint)
        if constraint.addresses is not None:
            because += f", for address {address_text(endpoint)}"
    because += _claim_text(constraint.subject_except, subject)
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


def _neither(constraint: Constraint, subject: Subject, endpoint: Endpoint) -> str:
    """Return why neither list means the endpoint: its address, or its port."""
    addresses = constraint.addresses
    if addresses is not None and not addresses.covers(endpoint.address):
        return f"{address_text(endpoint)} is not among its addresses"
    if constraint.deny.declared or constraint.allow.declared:
        return f"in neither list ({_declared_text(subject)})"
    return "in neither list"


def _declared_text(subject: Subject) -> str:
    """Return what `declared` means for whoever binds."""
    declared = declared_ports(subject.cgroup, subject.container)
    found = sorted((port, protocol) for protocol, port in declared)
    if found:
        shown = ", ".join(f"{port}/{protocol}" for port, protocol in found[:MANY_PORTS])
        more = f" and {len(found) - MANY_PORTS} more" if found[MANY_PORTS:] else ""
        return f"`declared` is {shown}{more} here"
    why = "the pod declares no port" if subject.pod else "no known pod"
    if subject.pod and subject.pod.declared:
        why = "the cgroup only claims to be that pod's"
    return f"`declared` is nothing here: {why}"


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
    claim = _claim_text(selectors, subject)
    if len(selectors) == 1 and selectors[0].origin is None:
        wanted = " or ".join(str(pattern) for pattern in getattr(selectors[0], key))
        if key == "pod_known":
            wanted = f"an {in_words(key, getattr(selectors[0], key))}"
        return f"{_value_text(subject, key)} is not {wanted}{claim}"
    names = dict.fromkeys(s.origin or str(s) for s in selectors)
    return f"{_subject_text(subject, selectors[0])} is not {' or '.join(names)}{claim}"


def _claim_text(selectors: tuple[Selector, ...], subject: Subject) -> str:
    """Return why a name does not count that seems to be the one which is meant."""
    for selector in selectors:
        key = selector.mismatch(subject)
        if key and selector.is_only_claimed(key, subject):
            place = place_of(subject.cgroup)
            whose = f"user {place.owner_uid}'s" if place.owner_uid else f"{place.unit}'s"
            *witnesses, last = (f"`{witness}`" for witness in WITNESSES[key])
            beside = f"{', '.join(witnesses)} or {last}"
            return f"; that name is {whose} own, and counts only beside {beside}"
    return ""


def _subject_text(subject: Subject, selector: Selector) -> str:
    return ", ".join(_value_text(subject, key) for key in selector.given_keys)


def _value_text(subject: Subject, key: str) -> str:
    """Return what the subject has for one key of a selector, such as `unit nginx.service`."""
    if key == "user":
        return f"user {subject.user or subject.uid}"
    if key == "group":
        return f"group {subject.group or subject.gid}"
    if key == "cgroup":
        return f"cgroup {subject.cgroup}"
    names = names_of(subject.cgroup, subject.container)
    found = names[key].seen_by(with_claims=True)
    if key == "container":
        found += tuple(number[:SHORT_ID] for number in names["id"].seen_by(with_claims=True))
    if key == "image":
        found = found[:1]
    if found:
        return in_words(key, found, between="/")
    return f"cgroup {subject.cgroup} ({_missing(key, names)})"


def _missing(key: str, names: Mapping[str, Names]) -> str:
    """Return what a cgroup has not, or not yet."""
    if key in OF_API_SERVER and "false" in names["pod_known"].seen_by(with_claims=True):
        return "pod not known"
    return "no pod" if key in POD_KEYS else f"no {key}"
