"""The `user` and `group` words of a policy, and the accounts of this machine that they mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portwatch.node.accounts import AccountTable, read_accounts
from portwatch.policy.words.globs import is_glob, match_name

if TYPE_CHECKING:
    from portwatch.policy.model import Policy


@dataclass(frozen=True)
class AccountWords:
    """Names and globs, each once. Numbers are left out: they mean themselves."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, policy: Policy) -> AccountWords:
        """The words of all selectors of a policy."""
        selectors = [s for c in policy.constraints for s in (c.subject_for or ())]
        selectors += [s for c in policy.constraints for s in c.subject_except]
        selectors += [s for workload in policy.workloads for s in workload.selectors]
        return cls(
            _texts(word for selector in selectors for word in selector.user),
            _texts(word for selector in selectors for word in selector.group),
        )

    def naming(self, user: str | None, group: str | None) -> AccountWords:
        """These words, and the given names."""
        return AccountWords(
            (*self.users, *filter(None, [user])), (*self.groups, *filter(None, [group]))
        )

    def read(self) -> AccountTable:
        """Every account that is listed, and every one that a word names; may wait for a network."""
        return read_accounts(
            (word for word in self.users if not is_glob(word)),
            (word for word in self.groups if not is_glob(word)),
        )

    def among(self, accounts: AccountTable) -> AccountTable:
        """Those accounts that a word means."""
        return AccountTable(
            _matching(self.users, accounts.users), _matching(self.groups, accounts.groups)
        )

    def meaning(self, accounts: AccountTable) -> list[set[int]]:
        """The ids that each word means: all that the verdicts depend on."""
        pairs = ((self.users, accounts.users), (self.groups, accounts.groups))
        return [set(_matching((word,), table).values()) for words, table in pairs for word in words]


def accounts_of(policy: Policy) -> AccountTable:
    """This machine's accounts, with those that only the policy's words know."""
    return AccountWords.of(policy).read()


def _texts(words: Iterable[str | int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if isinstance(word, str)))


def _matching(words: tuple[str, ...], table: dict[str, int]) -> dict[str, int]:
    literals = {word for word in words if not is_glob(word)}
    globs = [word for word in words if is_glob(word)]
    return {
        name: number
        for name, number in table.items()
        if name in literals or any(match_name(glob, name) for glob in globs)
    }
