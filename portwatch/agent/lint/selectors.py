"""Selectors that mean nobody on this machine, as far as a mistake is likely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portwatch.agent.lint.machine import Machine
from portwatch.policy.lint.finding import Finding, listed
from portwatch.policy.model import Constraint, Policy
from portwatch.policy.source.problems import quote
from portwatch.policy.words.glob_relations import names_disjoint
from portwatch.policy.words.globs import is_glob, match_name, match_path
from portwatch.policy.workload import (
    OF_API_SERVER,
    OF_ENGINES,
    WITNESSES,
    Names,
    Selector,
    in_words,
    names_of,
)

NOTHING = "selector-matches-nothing"
CLAIMED = "claimed-names-only"
MANY_WAYS = 4
"""Who lists so many names of one thing means machines of many kinds, and not all of them here."""

_NO_DIGITS = str.maketrans("", "", "0123456789")


def idle_selectors(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """Yield constraints of which `for` means nobody here; of which `except` does, while something
    here is called nearly so; and names that are here, but only where users make names up."""
    here = _Here(machine)
    for constraint in policy.constraints:
        for side, selectors in (
            ("for", constraint.subject_for),
            ("except", constraint.subject_except),
        ):
            if selectors:
                yield from _findings(constraint, side, selectors, here)


def _findings(
    constraint: Constraint, side: str, selectors: tuple[Selector, ...], here: _Here
) -> Iterator[Finding]:
    idle = [here.idle_keys(selector) for selector in selectors]
    if not all(idle):
        return
    pairs = [
        (selector, key) for selector, keys in zip(selectors, idle, strict=True) for key in keys
    ]
    claimed = next(((s, key) for s, key in pairs if here.is_claimed(s, key)), None)
    if claimed:
        selector, key = claimed
        witnesses = " or ".join(f"`{witness}`" for witness in WITNESSES[key])
        reason = (
            f"`{side}` means {_words(selector, key)}: here only a user's manager, or whoever runs "
            f"below a unit, calls something so, and that counts only beside {witnesses}"
        )
        remedy = "write beside it whose it is, such as `user`, if that one is meant"
        yield Finding.of(constraint, CLAIMED, reason, remedy)
        return
    hint = next(filter(None, (here.near(selector, key) for selector, key in pairs)), None)
    count = sum(len(getattr(selector, key)) for selector, key in pairs)
    if hint is None and (side == "except" or count >= MANY_WAYS):
        return
    what = listed([_words(selector, key) for selector, key in pairs])
    reason = f"`{side}` matches nothing on this machine: {what}"
    elsewhere = f"where it runs elsewhere, `accept: [{NOTHING}]`"
    remedy = f"did you mean {quote(hint)}?" if hint else elsewhere
    yield Finding.of(constraint, NOTHING, reason, remedy)


def _words(selector: Selector, key: str) -> str:
    return in_words(key, getattr(selector, key))


class _Here:
    """What there is on this machine, by the keys of selectors."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._names: dict[str, set[str]] = {key: set() for key in (*WITNESSES, "id")}
        self._claimed: dict[str, set[str]] = {key: set() for key in (*WITNESSES, "id")}
        self._knows_engines = True
        for path in machine.cgroups:
            container = machine.book.known(path)
            names: dict[str, Names] = names_of(path, container)
            for key, found in names.items():
                self._names[key].update(found.believed)
                self._claimed[key].update(found.claimed)
            unnamed = container is None or container.name is None
            if unnamed and any((*names["id"].believed, *names["id"].claimed)):
                self._knows_engines = False
        self._names["unit"] |= machine.units
        self._names["slice"] |= machine.units

    def idle_keys(self, selector: Selector) -> list[str]:
        """The keys of a selector that mean nothing here; those left out of which that cannot be
        said."""
        return [key for key in selector.given_keys if self._is_idle(selector, key)]

    def is_claimed(self, selector: Selector, key: str) -> bool:
        """Whether an idle key would mean something if claimed names counted."""
        return key in WITNESSES and any(
            _matches_any(pattern, self._claimed[key]) for pattern in getattr(selector, key)
        )

    def near(self, selector: Selector, key: str) -> str | None:
        """A name of this machine that was probably meant."""
        words = [pattern for pattern in getattr(selector, key) if isinstance(pattern, str)]
        known = sorted(self._known(selector, key))
        return next((name for word in words for name in known if _is_slip(word, name)), None)

    def _is_idle(self, selector: Selector, key: str) -> bool:
        patterns = getattr(selector, key)
        if key in OF_API_SERVER:  # pods come and go, and this command may not know them
            return False
        if key in ("user", "group"):
            known = self._known(selector, key)
            return not any(isinstance(p, int) or _matches_any(p, known) for p in patterns)
        if not self._machine.cgroups or (key in OF_ENGINES and not self._knows_engines):
            return False
        if key == "cgroup":
            return not any(match_path(p, path) for p in patterns for path in self._machine.cgroups)
        known = self._known(selector, key)
        if key == "container" and any(_begins(p, self._names["id"]) for p in patterns):
            return False
        return not any(_matches_any(pattern, known) for pattern in patterns)

    def _known(self, selector: Selector, key: str) -> Iterable[str]:
        if key == "user":
            return self._machine.accounts.users
        if key == "group":
            return self._machine.accounts.groups
        if key == "cgroup":
            return ()
        claimed = self._claimed[key] if selector.counts_claims(key) else set()
        return self._names[key] | claimed


def _matches_any(pattern: str, names: Iterable[str]) -> bool:
    """Whether one of the names, or an instance of one that is a template, is meant."""
    if not is_glob(pattern):
        head, at, instance = pattern.partition("@")
        return pattern in names or f"{head}{at}.{instance.rpartition('.')[2]}" in names
    return any(
        not names_disjoint(pattern, name.replace("@.", "@*."))
        if "@." in name
        else match_name(pattern, name)
        for name in names
    )


def _begins(word: str, ids: Iterable[str]) -> bool:
    return any(number.startswith(word) for number in ids)


def _is_slip(word: str, name: str) -> bool:
    """Whether two names differ by one letter more or less, or by the order of letters: what else is
    alike, such as the numbers of replicas, is often meant so."""
    shorter, longer = sorted((word, name), key=len)
    difference = len(longer) - len(shorter)
    if difference > 1 or (not difference and sorted(word) != sorted(name)):
        return False
    if difference and all(longer[:at] + longer[at + 1 :] != shorter for at in range(len(longer))):
        return False
    return word.translate(_NO_DIGITS) != name.translate(_NO_DIGITS)
