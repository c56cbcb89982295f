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

    def user_names(self, uid: int) -> tuple[str, ...]:
        """Every name of that uid, in the database's order."""
        return tuple(name for name, number in self.users.items() if number == uid)

    def group_names(self, gid: int) -> tuple[str, ...]:
        """Every name of that gid, in the database's order."""
        return tuple(name for name, number in self.groups.items() if number == gid)


def read_accounts() -> AccountTable:
    """What getpwent(3) and getgrent(3) list now."""
    return AccountTable(
        users={entry.pw_name: entry.pw_uid for entry in pwd.getpwall()},
        groups={entry.gr_name: entry.gr_gid for entry in grp.getgrall()},
    )
