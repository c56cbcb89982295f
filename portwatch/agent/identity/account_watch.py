"""Follows the accounts that the policy in force names, while it is in force.

The databases are read by a child, one at a time: a network directory may take its time, or list
more accounts than the agent has memory for. The child is started when /etc/passwd or /etc/group
change, and once a minute for what is in neither.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from portwatch.agent.errand_run import ErrandRun
from portwatch.agent.identity.account_words import AccountWords
from portwatch.agent.path_watch import PathWatch
from portwatch.node.accounts import AccountTable
from portwatch.node.errand import Errand

log = logging.getLogger(__name__)

CHILD = "portwatch.agent.identity.account_child"
FILES = (Path("/etc/passwd"), Path("/etc/group"))
PERIOD_SECONDS = 60.0
CONFIRM_SECONDS = 2.0
MAX_NAMES_SAID = 20

Begin = Callable[[AccountWords], Errand[AccountTable]]


def begin_reading(words: AccountWords) -> Errand[AccountTable]:
    """Start the child; its result are the accounts that the words mean."""
    return Errand("reading accounts", CHILD, [], _parse, asdict(words))


class AccountWatch:
    """Call `follow()` with each policy that comes into force, and `tick()` now and then; `changed`
    is called with the accounts when a word of that policy has come to mean others."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        changed: Callable[[AccountTable], None],
        begin: Begin = begin_reading,
    ) -> None:
        self._selector = selector
        self._changed = changed
        self._begin = begin
        self._words = AccountWords()
        self._accounts = AccountTable({}, {})
        self._missing: set[tuple[str, str]] = set()  # from one reading, not yet confirmed
        self._run = ErrandRun(selector, self._take, self._fail)
        self._due = float("inf")
        self._last_warning = ""
        self._files = PathWatch(FILES)
        selector.register(self._files, selectors.EVENT_READ, self._notice)

    @property
    def known(self) -> AccountTable:
        """The accounts that the words of the policy in force mean."""
        return self._accounts

    def follow(self, words: AccountWords, accounts: AccountTable) -> None:
        """From now on these words count, which meant these accounts when they came into force."""
        self._run.close()
        self._words = words
        self._accounts = words.among(accounts)
        self._missing = set()
        idle = words == AccountWords()
        self._due = float("inf") if idle else time.monotonic() + PERIOD_SECONDS

    def tick(self, now: float) -> None:
        """Start what is due, end what takes too long; `now` is monotonic, in seconds."""
        if self._files.settled(now):
            self._due = min(self._due, now) if self._words != AccountWords() else self._due
        self._run.tick()
        if not self._run.is_running and now >= self._due:
            self._due = now + PERIOD_SECONDS
            self._run.start(lambda: self._begin(self._words))

    def close(self) -> None:
        """Stop watching, and end the child if there is one."""
        self._run.close()
        self._selector.unregister(self._files)
        self._files.close()

    def _notice(self) -> None:
        self._files.notice(time.monotonic())

    def _fail(self, reason: str) -> None:
        self._warn(f"{reason}: accounts stay what they were")

    def _take(self, found: AccountTable) -> None:
        before = self._accounts
        gone = _named(before).keys() - _named(found).keys()
        confirmed = gone == self._missing
        if not confirmed:  # it may have been read while it was written: once more before it counts
            found = AccountTable({**before.users, **found.users}, {**before.groups, **found.groups})
        self._accounts = found
        if self._words.meaning(found) != self._words.meaning(before):
            _say_what_changed(before, found)
            self._changed(found)
        self._missing = set() if confirmed else gone
        if self._missing:
            self._due = min(self._due, time.monotonic() + CONFIRM_SECONDS)

    def _warn(self, text: str) -> None:
        if text != self._last_warning:
            self._last_warning = text
            log.warning("%s", text)


def _parse(answered: Any) -> AccountTable:
    return AccountTable(dict(answered["users"]), dict(answered["groups"]))


def _named(accounts: AccountTable) -> dict[tuple[str, str], int]:
    users = {("user", name): number for name, number in accounts.users.items()}
    return users | {("group", name): number for name, number in accounts.groups.items()}


def _say_what_changed(before: AccountTable, found: AccountTable) -> None:
    old, new = _named(before), _named(found)
    fresh = [key for key, number in new.items() if old.get(key) != number]
    if fresh:
        log.info("accounts changed, the policy follows: %s", _listed(fresh, new))
    gone = [key for key in old if key not in new]
    if gone:
        log.warning("accounts are gone, the policy's names mean nobody: %s", _listed(gone, old))


def _listed(keys: list[tuple[str, str]], numbers: dict[tuple[str, str], int]) -> str:
    said = [f"{kind} {name!r} ({numbers[kind, name]})" for kind, name in keys[:MAX_NAMES_SAID]]
    return ", ".join(said) + (f" and {more} more" if (more := len(keys) - len(said)) else "")
