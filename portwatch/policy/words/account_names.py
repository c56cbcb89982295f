"""Names of users and groups by their number, and whom a bind by number is to a policy."""

from __future__ import annotations

from collections.abc import Iterable

from portwatch.policy.tables.compile import Accounts
from portwatch.policy.workload import KnownContainer, Subject


class AccountNames:
    """The accounts of one machine; an id may have several names."""

    def __init__(self, accounts: Accounts) -> None:
        self._users = _by_number(accounts.users.items())
        self._groups = _by_number(accounts.groups.items())

    def user(self, uid: int) -> str | None:
        """The first name of a uid; None where it has none."""
        return next(iter(self._users.get(uid, ())), None)

    def subject(
        self,
        cgroup: str,
        uid: int,
        gid: int,
        host_network: bool,
        container: KnownContainer | None,
    ) -> Subject:
        """The task, with every name that its ids have."""
        user, *users = self._users.get(uid) or (None,)
        group, *groups = self._groups.get(gid) or (None,)
        return Subject(
            cgroup=cgroup,
            uid=uid,
            gid=gid,
            user=user,
            group=group,
            host_network=host_network,
            user_aliases=tuple(filter(None, users)),
            group_aliases=tuple(filter(None, groups)),
            container=container,
        )


def _by_number(pairs: Iterable[tuple[str, int]]) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for name, number in pairs:
        found[number] = (*found.get(number, ()), name)
    return found
