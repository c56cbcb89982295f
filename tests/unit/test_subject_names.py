"""An account with several names is each of them, as the kernel's tables have it."""

from __future__ import annotations

from portwatch.agent.identity.named_subject import named_subject
from portwatch.node.accounts import AccountTable
from portwatch.policy.workload import Selector

ACCOUNTS = AccountTable(
    users={"root": 0, "toor": 0, "web": 33}, groups={"root": 0, "wheel": 0, "www": 33}
)


def test_every_name_of_an_id_matches() -> None:
    """A selector by any name of the uid or gid matches, and one by another's does not."""
    subject = named_subject("/", 0, 0, ACCOUNTS, host_network=True)
    assert (subject.user, subject.group) == ("root", "root")
    assert Selector(user=("toor",)).matches(subject)
    assert Selector(group=("wheel",)).matches(subject)
    assert not Selector(user=("web",)).matches(subject)


def test_an_id_without_a_name_has_none() -> None:
    """Nameless ids are known by number alone."""
    subject = named_subject("/", 4242, 4243, ACCOUNTS, host_network=True)
    assert (subject.user, subject.group) == (None, None)
    assert (subject.user_aliases, subject.group_aliases) == ((), ())
    assert Selector(user=(4242,)).matches(subject)
    assert not Selector(user=("*",)).matches(subject)
