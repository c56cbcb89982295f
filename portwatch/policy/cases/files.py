"""Files of cases → Cases, and what is wrong with them.

A case has what it says, and what its file's `defaults` say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portwatch.errors import UsageError
from portwatch.policy.cases.shape import CasesSpec
from portwatch.policy.catalog.use import CatalogUse
from portwatch.policy.decide import Verdict
from portwatch.policy.model import Errno
from portwatch.policy.source.document import Room, read_document
from portwatch.policy.source.merge import Merged, Spot
from portwatch.policy.source.problems import Problems, quote
from portwatch.policy.source.selectors import read_selector
from portwatch.policy.source.shape import report_shape
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.words.ports import BadWord, PortRange, parse_port
from portwatch.policy.workload import Selector

V6_ONLY_WILDCARD = "::/v6only"
_DEFAULT_PROTOCOL = "tcp"


@dataclass(frozen=True)
class Case:
    """Binds, and what is expected of every one of them. `line` and `file` say where it stands.

    `workload` holds names of defined workloads and selectors, any of which may bind; empty: a task
    of root's in the root cgroup. `constraint` and `errno` None: whatever they are.
    """

    name: str
    workload: tuple[str | Selector, ...]
    binds: tuple[PortRange, ...]
    address: Address
    host_network: bool
    picked: bool
    listening: bool
    declared: bool
    verdict: Verdict
    constraint: str | None
    errno: Errno | None
    file: str
    line: int


def read_cases(sources: Sequence[tuple[str, str | bytes]]) -> list[Case]:
    """Check files given as (name, text), in order.

    Raises PolicyError with every problem of every file, UsageError where there is no case.
    """
    problems = Problems()
    reader = _Reader(problems)
    room = Room()
    cases: list[Case] = []
    for name, text in sources:
        document = read_document(name, text, problems, room)
        if document is None or document.data is None:
            continue
        if not isinstance(document.data, dict):
            problems.add(name, document.place(()), "a file of cases is a mapping with `cases`")
        elif not report_shape(document, problems, CasesSpec):
            root = Spot(document.data, document, ())
            defaults = root.get("defaults")
            cases += [reader.case(spot, defaults) for spot in root.at("cases").items()]
    problems.raise_if_any()
    if not cases:
        raise UsageError("there is no case", hint="a file of cases has a list of them in `cases`")
    return cases


class _Reader:
    """Reads well-shaped cases; every problem goes to `problems`."""

    def __init__(self, problems: Problems) -> None:
        self._merged = Merged(problems)
        self._catalog = CatalogUse()

    def case(self, spot: Spot, defaults: Spot | None) -> Case:
        """One case; of a bad one, something that only stands in for it."""

        def given(key: str) -> Spot | None:
            return spot.get(key) or (defaults.get(key) if defaults else None)

        def value(key: str, absent: Any) -> Any:
            found = given(key)
            return absent if found is None else found.value

        for key in ("bind", "expect"):
            if given(key) is None:
                self._merged.report(spot, f"{quote(key)} is missing")
        binds = self._binds(given("bind"))
        self._check_picked(given("picked"), given("listening"), given("bind"), binds)
        if value("expect", "") == "allowed" and (spot_errno := spot.get("errno")):
            self._merged.report(spot_errno, "what is allowed has no errno", key=True)
        return Case(
            value("name", ""),
            self._workload(given("workload")),
            binds,
            self._address(given("address")),
            value("network", "host") == "host",
            value("picked", False) or value("listening", False),
            value("listening", False),
            value("declared", False),
            value("expect", "allowed"),
            value("constraint", None),
            value("errno", None) if value("expect", "") != "allowed" else None,
            spot.document.name,
            spot.document.place(spot.path)[0],
        )

    def _workload(self, spot: Spot | None) -> tuple[str | Selector, ...]:
        if spot is None:
            return ()
        found: list[str | Selector] = []
        for item in spot.items() if isinstance(spot.value, list) else [spot]:
            if isinstance(item.value, str):
                found.append(item.value)
            elif selector := read_selector(item, self._merged):
                found.append(selector)
        return tuple(found)

    def _binds(self, spot: Spot | None) -> tuple[PortRange, ...]:
        if spot is None:
            return ()
        items = spot.items() if isinstance(spot.value, list) else [spot]
        found = [item for word in items for item in self._word(word)]
        return tuple(
            PortRange(item.first, item.last, item.protocol or _DEFAULT_PROTOCOL) for item in found
        )

    def _word(self, spot: Spot) -> tuple[PortRange, ...]:
        word = str(spot.value)
        problems = self._merged.problems
        if word.startswith("catalog:"):
            known = self._catalog.known(problems)
            name = word.removeprefix("catalog:")
            if known is None:
                return ()
            if name not in known:
                meant = problems.did_you_mean(name, known).replace("mean `", "mean `catalog:")
                self._merged.report(spot, f"the catalog has no {quote(name)}{meant}")
                return ()
            return known[name].ranges
        try:
            parsed = parse_port(spot.value)
        except BadWord as err:
            self._merged.report(spot, f"{quote(word)}: {err}")
            return ()
        if parsed is None:
            what = "8080/tcp, 9000-9099/udp, ephemeral or catalog:NAME"
            self._merged.report(spot, f"{quote(word)} is no port; write {what}")
            return ()
        return (parsed,)

    def _address(self, spot: Spot | None) -> Address:
        text = "0.0.0.0" if spot is None else spot.value  # noqa: S104 (asked about, not bound)
        if text in ("::", V6_ONLY_WILDCARD):
            return DUAL if text == "::" else Address.parse("::")
        try:
            return Address.parse(text)
        except ValueError:
            assert spot is not None
            self._merged.report(spot, f"{quote(text)} is no IP address")
            return DUAL

    def _check_picked(
        self,
        picked: Spot | None,
        listening: Spot | None,
        bind: Spot | None,
        binds: Sequence[PortRange],
    ) -> None:
        is_listening = listening is not None and listening.value
        if bind is None or not (is_listening or (picked is not None and picked.value)):
            return
        if any(item.first == 0 for item in binds):
            self._merged.report(bind, "`ephemeral` asks for a port: give the one that was picked")
        if is_listening and any(item.protocol != "tcp" for item in binds):
            self._merged.report(bind, "only tcp tells that a socket listens")
