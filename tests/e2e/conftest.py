"""Sandboxes: one for a test that loads or unloads, one loaded already for those that do not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox import Sandbox, denying, temporary_sandbox
from scratch import remove_cgroup

_homes = itertools.count(1)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox of this test's own, with nothing loaded."""
    with temporary_sandbox(tmp_path) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def loaded_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Programs that were compiled once, since a cold start costs more than a second."""
    with temporary_sandbox(tmp_path_factory.mktemp("shared")) as sandbox:
        sandbox.load(sandbox.policy(denying(9)))
        yield sandbox


@pytest.fixture
def shared(loaded_once: Sandbox, tmp_path: Path) -> Iterator[Sandbox]:
    """The loaded pins, for one test at a time, with a home of its own. Agents on them end with
    `--keep`; counts go on from test to test: ask for differences, or for those of the home."""
    home = loaded_once.cgroup / f"home-{next(_homes)}"
    home.mkdir()
    with ExitStack() as stack:
        yield replace(loaded_once, folder=tmp_path, home=home, stack=stack)
    remove_cgroup(home)
    facts = loaded_once.status()
    assert facts["agent_pid"] is None
    assert all(facts["hooks"].values()), facts["hooks"]
