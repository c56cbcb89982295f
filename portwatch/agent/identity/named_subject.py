"""A subject by its ids, with the names that the machine's accounts give them."""

from __future__ import annotations

from portwatch.node.accounts import AccountTable
from portwatch.policy.words.account_names import AccountNames
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
    return AccountNames(accounts).subject(cgroup, uid, gid, host_network, container)
