"""The examples of docs/policy-language.md decide what the page says they do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from policy_strategies import FixedAccounts

from portwatch.policy.decide import Endpoint, decide
from portwatch.policy.lint.accepted import divide
from portwatch.policy.lint.lint import lint
from portwatch.policy.model import Acceptable
from portwatch.policy.source.load import parse_policy
from portwatch.policy.source.schema import json_schema
from portwatch.policy.tables.compile import compile_policy
from portwatch.policy.tables.lookups import Lookups
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.workload import KnownContainer, KnownPod, Subject

PAGE = Path(__file__).parents[2] / "docs" / "policy-language.md"
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n\n((?:\|[^\n]*\n)+)", re.S)
ID = "3f2a" * 16
UID = "0b1c2d3e-1111-2222-3333-444455556666"
GROUPS = {"builders": 71}
USERS = {"alice": 1000, "www": 33, "dns": 100, "app": 101, "quiet": 102, "web": 103, "other": 104}


def examples() -> list[tuple[str, list[str]]]:
    """Return (policy, table row) for every row of every example on the page."""
    found = []
    for text, table in EXAMPLE.findall(PAGE.read_text()):
        for row in table.splitlines()[2:]:
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            found.append((text, cells))
    return found


def subject(words: str) -> Subject:
    """Read the first column: `unit U`, `slice S`, `cgroup C`, `container C`, `image I`, `user U`,
    `pod P`, `own network`; a `claimed container` is one that some unit calls so."""
    cgroup, user, host = "/system.slice/some.service", "root", True
    container, gid, group = None, 0, "root"
    for word in words.split(", "):
        key, _, value = word.partition(" ")
        if key == "unit":
            cgroup = f"/system.slice/{value}"
        elif key == "slice":
            cgroup = f"/{value}/some.service"
        elif key == "cgroup":
            cgroup = value
        elif key == "user":
            user = value
        elif key == "group":
            gid, group = (70, None) if value == "70" else (71, value)
        elif key in ("container", "image"):
            cgroup = f"/system.slice/docker-{ID}.scope"
            name, images = (value, ()) if key == "container" else (None, (value,))
            container = KnownContainer(name, images)
        elif word.startswith("claimed container "):
            cgroup = f"/system.slice/ci.service/docker-{ID}.scope"
            container = KnownContainer(word.rpartition(" ")[2])
        elif key == "pod":
            cgroup, container = f"/kubepods/burstable/pod{UID}", _pod(value)
        elif word == "own network":
            host = False
        else:
            assert word == "anyone"
    uid = USERS.get(user, 0)
    return Subject(cgroup, uid, gid, user, group, host_network=host, container=container)


def _pod(words: str) -> KnownContainer | None:
    """Read `not known`, or `NAMESPACE/NAME`, then `KEY=VALUE` for labels, `as ACCOUNT`."""
    if words == "not known":
        return None
    where, *more = words.split()
    account = more.pop() if more[-2:-1] == ["as"] else "default"
    labels = tuple(tuple(word.split("=")) for word in more if "=" in word)
    return KnownContainer(pod=KnownPod(UID, *where.split("/"), labels, account))


def endpoint(words: str) -> Endpoint:
    """Read the second column: `[picked ]PORT/PROTOCOL[ on ADDRESS]`; the default is dual."""
    port, _, where = words.partition(" on ")
    picked = port.startswith("picked ")
    number, _, protocol = port.removeprefix("picked ").partition("/")
    address = DUAL if where in ("", "dual") else Address.parse(where)
    return Endpoint(protocol, 0 if number == "ephemeral" else int(number), address, picked)


def test_every_example_is_checked() -> None:
    """No YAML block of the page is without its table of decisions."""
    page = PAGE.read_text()
    assert page.count("```yaml") == len(EXAMPLE.findall(page)) >= 6


def test_every_key_has_an_example() -> None:
    """What the schema names stands in an example that is run."""
    schema = json_schema()
    parts = [schema, *schema["$defs"].values()]
    keys = {key for part in parts for key in part.get("properties", {})}
    text = "".join(text for text, _ in EXAMPLE.findall(PAGE.read_text()))
    assert not {key for key in keys if f"{key}:" not in text}


@pytest.mark.parametrize(("text", "cells"), examples())
def test_examples(text: str, cells: list[str]) -> None:
    """A row's bind gets its verdict, constraint and errno, from reference and tables."""
    policy = parse_policy([("example.yaml", text)])
    who, what = subject(cells[0]), endpoint(cells[1])
    decision = decide(policy, who, what)
    assert (decision.verdict, decision.constraint or "") == (cells[2], cells[3])
    if len(cells) > 4:
        assert (decision.errno or "") == cells[4]
    outcome = Lookups(compile_policy(policy, FixedAccounts(USERS, {"builders": 71}))).outcome(
        who, what
    )
    assert ("allowed", "denied", "recorded")[outcome.verdict] == cells[2]


def test_what_the_page_accepts_is_all_that_is_found() -> None:
    """The example of `accept` has those findings, and no other."""
    (text,) = {text for text, _ in examples() if "accept:" in text}
    policy = parse_policy([("example.yaml", text)])
    open_, meant = divide(policy, lint(policy))
    assert open_ == []
    assert {one.id for one in meant} == {*policy.constraints[-1].accept}


def test_the_page_names_what_can_be_accepted() -> None:
    """Every word of `accept`."""
    page = PAGE.read_text()
    assert not {word for word in get_args(Acceptable) if f"`{word}`" not in page}
