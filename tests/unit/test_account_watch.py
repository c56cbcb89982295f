"""Accounts as a policy's words mean them, and what is done when they are read anew."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from portwatch.agent.identity.account_watch import AccountWatch
from portwatch.agent.identity.account_words import AccountWords
from portwatch.node.accounts import AccountTable, read_accounts
from portwatch.node.errand import Errand
from portwatch.policy.source.load import parse_policy

WORDS = AccountWords(users=("web", "ci-*"), groups=("staff",))
BEFORE = AccountTable({"web": 33, "ci-1": 901}, {"staff": 50})
POLICY = """
version: 1
define:
  workloads: {ci: [{user: "ci-*"}, {user: 1000, group: [staff, 7]}]}
constraints:
  - {name: a, for: {user: web}, deny: [1]}
  - {name: b, for: ci, except: {group: wheel, user: web}, deny: [2]}
"""


class Desk:
    """An AccountWatch whose child says what a test has it say."""

    def __init__(self) -> None:
        self.says: object = None
        self.now = time.monotonic()
        self.begun: list[AccountWords] = []
        self.changes: list[AccountTable] = []
        self.selector = selectors.DefaultSelector()
        self.watch = AccountWatch(self.selector, self.changes.append, self.begin)

    def begin(self, words: AccountWords) -> Errand[AccountTable]:
        """A real child, that echoes."""
        self.begun.append(words)

        def parse(answered: Any) -> AccountTable:
            return AccountTable(answered["users"], answered["groups"])

        return Errand("the child", "json.tool", [], parse, self.says)

    def hear(self, says: object, seconds_later: float = 100.0) -> None:
        """Have a reading say this, that long after the last."""
        self.now += seconds_later
        self.says = asdict(says) if isinstance(says, AccountTable) else says
        self.watch.tick(self.now)
        while len(self.selector.get_map()) > 1:
            for key, _ in self.selector.select(10):
                key.data()


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A desk that follows WORDS, which mean BEFORE."""
    desk = Desk()
    desk.watch.follow(WORDS, BEFORE)
    yield desk
    desk.watch.close()
    desk.selector.close()


def test_the_words_of_a_policy() -> None:
    """Every name and glob of every selector, once; numbers mean themselves."""
    words = AccountWords.of(parse_policy([("policy.yaml", POLICY)]))
    assert set(words.users) == {"web", "ci-*"}
    assert set(words.groups) == {"staff", "wheel"}


def test_accounts_of_this_machine() -> None:
    """Those that are listed, and none for names that cannot be one."""
    accounts = read_accounts(("no such name", "nul\0", "\udcff"), ("no such name", "nul\0"))
    assert accounts == read_accounts()
    assert accounts.has_root
    assert accounts.users["root"] == 0


def test_only_what_a_word_means_is_kept() -> None:
    """Literals are taken as they are, globs as globs, users and groups apart."""
    everybody = AccountTable(
        {"web": 33, "ci-1": 901, "ci-*": 902, "staff": 50}, {"staff": 51, "web": 33}
    )
    meant = WORDS.among(everybody)
    assert meant == AccountTable({"web": 33, "ci-1": 901, "ci-*": 902}, {"staff": 51})
    assert WORDS.meaning(meant) == [{33}, {901, 902}, {51}]


def test_what_did_not_change_is_not_told(desk: Desk) -> None:
    """The same again, or one more name of the same number: nothing to do."""
    desk.hear(BEFORE)
    desk.hear(AccountTable({**BEFORE.users, "ci-also-1": 901}, BEFORE.groups))
    assert desk.begun == [WORDS, WORDS]
    assert desk.changes == []


def test_new_and_changed_accounts_count_at_once(desk: Desk) -> None:
    """A new account of a glob, another number of a name: told with all of them."""
    found = AccountTable({"web": 34, "ci-1": 901, "ci-2": 902}, {"staff": 50})
    desk.hear(found)
    assert desk.changes == [found]


def test_a_name_is_gone_when_two_readings_say_so(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """One reading without it may be of a file half-written; the second follows within seconds."""
    fewer = AccountTable({"ci-1": 901}, {"staff": 50})
    desk.hear(fewer)
    assert desk.changes == []
    desk.hear(fewer, seconds_later=5)
    assert desk.changes == [fewer]
    assert "user 'web' (33)" in caplog.text


def test_a_name_that_was_missing_once(desk: Desk) -> None:
    """One that is back at the second reading was never gone; what else was new counts."""
    desk.hear(AccountTable({"ci-1": 901}, {"staff": 51}))
    assert desk.changes == [AccountTable(BEFORE.users, {"staff": 51})]
    whole = AccountTable(BEFORE.users, {"staff": 51})
    desk.hear(whole, seconds_later=5)
    assert desk.changes == [whole]


def test_other_names_missing_each_time(desk: Desk) -> None:
    """Two readings that miss different names confirm nothing."""
    desk.hear(AccountTable({"ci-1": 901}, {"staff": 50}))
    desk.hear(AccountTable({"web": 33}, {"staff": 50}))
    assert desk.changes == []


@pytest.mark.parametrize("answer", [{"error": "no root"}, [], "nonsense", {"users": 3}])
def test_a_reading_that_fails(desk: Desk, answer: object, caplog: pytest.LogCaptureFixture) -> None:
    """Everything stays, and the log says why, once; the next reading counts again."""
    desk.hear(answer)
    desk.hear(answer)
    assert desk.changes == []
    assert caplog.text.count("accounts stay what they were") == 1
    found = AccountTable({"web": 34, "ci-1": 901}, {"staff": 50})
    desk.hear(found)
    assert desk.changes == [found]


def test_a_policy_without_names_has_nothing_read(desk: Desk) -> None:
    """No child is started for it, and the one under way is ended."""
    desk.watch.tick(time.monotonic() + 100)
    assert len(desk.selector.get_map()) == 2
    desk.watch.follow(AccountWords(), BEFORE)
    assert len(desk.selector.get_map()) == 1
    desk.hear(BEFORE)
    assert desk.begun == [WORDS]


def test_never_two_at_once(desk: Desk) -> None:
    """However often it is due."""
    for _ in range(5):
        desk.watch.tick(time.monotonic() + 100)
    assert len(desk.begun) == 1
