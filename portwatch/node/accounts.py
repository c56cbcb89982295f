"""The account databases: names of users and groups, and their numbers."""

from __future__ import annotations

import contextlib
import grp
import pwd
from collections.abc import Iterable
from dataclasses import dataclass

NO_SUCH_NAME = (KeyError, ValueError)  # ValueError: no account can have it, as with a NUL in it


@dataclass(frozen=True)
class AccountTable:
    """A snapshot: name → uid and name → gid."""

    users: dict[str, int]
    groups: dict[str, int]

    @property
    def has_root(self) -> bool:
        """Whether it knows uid 0 and gid 0: a database without them was not read as a whole."""
        return 0 in self.users.values() and 0 in self.groups.values()


def read_accounts(user_names: Iterable[str] = (), group_names: Iterable[str] = ()) -> AccountTable:
    """What getpwent(3) and getgrent(3) list now, and those of the given names that they leave out
    and getpwnam(3) and getgrnam(3) know: network directories are seldom listed.

    A name listed twice is the first one's, as it is to getpwnam(3).
    """
    users: dict[str, int] = {}
    groups: dict[str, int] = {}
    for user in pwd.getpwall():
        users.setdefault(user.pw_name, user.pw_uid)
    for group in grp.getgrall():
        groups.setdefault(group.gr_name, group.gr_gid)
    for name in user_names:
        if name not in users:
            with contextlib.suppress(*NO_SUCH_NAME):
                users[name] = pwd.getpwnam(name).pw_uid
    for name in group_names:
        if name not in groups:
            with contextlib.suppress(*NO_SUCH_NAME):
                groups[name] = grp.getgrnam(name).gr_gid
    return AccountTable(users, groups)
