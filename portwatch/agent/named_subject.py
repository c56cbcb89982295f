"""A subject by its ids, with the names that the machine's accounts give them."""

from __future__ import annotations

from portwatch.node.accounts import AccountTable
from portwatch.policy.workload import KnownContainer, Subject


def named_subject(
    cgroup: str,
    uid: int,
    gid: int,
    accounts: AccountTable,
    host_network: bool,
    container: KnownContainer | None = None,
) -> Subject:
    """With every name that the ids have: selectors match any of them."""
    user, *user_aliases = accounts.user_names(uid) or (None,)
    group, *group_aliases = accounts.group_names(gid) or (None,)
    return Subject(
        cgroup=cgroup,
        uid=uid,
        gid=gid,
        user=user,
        group=group,
        host_network=host_network,
        user_aliases=tuple(filter(None, user_aliases)),
        group_aliases=tuple(filter(None, group_aliases)),
        container=container,
    )
