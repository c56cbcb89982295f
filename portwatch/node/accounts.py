"""The account databases: names of users and groups, and their numbers."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass


@dataclass(frozen=True)
class AccountTable:
    """A snapshot: name → uid and name → gid."""

    users: dict[str, int]
    groups: dict[str, int]

    def user_name(self, uid: int) -> str | None:
        """The first name of that uid; None where it has none."""
        return next((name for name, number in self.users.items() if number == uid), None)

    def group_name(self, gid: int) -> str | None:
        """The first name of that gid; None where it has none."""
        return next((name for name, number in self.groups.items() if number == gid), None)


def read_accounts() -> AccountTable:
    """What getpwent(3) and getgrent(3) list now."""
    return AccountTable(
        users={entry.pw_name: entry.pw_uid for entry in pwd.getpwall()},
        groups={entry.gr_name: entry.gr_gid for entry in grp.getgrall()},
    )
