"""Reads the account databases; AccountWords on stdin. Started as a module by account_watch."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from portwatch.agent.identity.account_words import AccountWords
from portwatch.errors import PortwatchError
from portwatch.node.errand import answer


def _work() -> object:
    given = json.load(sys.stdin)
    words = AccountWords(tuple(given["users"]), tuple(given["groups"]))
    accounts = words.read()
    if not accounts.has_root:
        raise PortwatchError(
            "the users and groups could not be read: root is not among them",
            hint="getent passwd root; getent group root",
        )
    return asdict(words.among(accounts))


if __name__ == "__main__":
    answer(_work)
