"""The last good policy as it is kept for the next boot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portwatch.agent import last_good
from portwatch.agent.last_good import forget_policy, remember_policy, remembered_policy
from portwatch.agent.policy_source import LoadedPolicy

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="what is kept is root's")

PINS = Path("/sys/fs/bpf/portwatch")
TEXT = "version: 1\nmode: enforce\nconstraints:\n  - {name: x, deny: ['catalog:etcd']}\n"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the policy of PINS is kept."""
    monkeypatch.setattr(last_good, "STATE_DIRECTORY", tmp_path / "state")
    return tmp_path / "state/policy.json"


def test_it_comes_back_as_it_was(kept: Path) -> None:
    """With its texts, also those of the catalog, and the mode; for root's eyes only."""
    loaded = LoadedPolicy.parse([("p.yaml", TEXT.encode())], "/etc/p.yaml", "record")
    assert remembered_policy(PINS) is None
    remember_policy(PINS, loaded)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    stored = remembered_policy(PINS)
    assert stored is not None
    again = LoadedPolicy.parse(stored.sources, stored.origin, stored.mode)
    assert (again.policy, again.origin) == (loaded.policy, loaded.origin)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    assert remembered_policy(PINS.with_name("other")) is None
    forget_policy(PINS)
    forget_policy(PINS)
    assert remembered_policy(PINS) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"sources": 1}', b"\xff\0", b"null"])
def test_what_is_broken_is_none(kept: Path, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Told once, and no error."""
    kept.parent.mkdir()
    kept.write_bytes(data)
    assert remembered_policy(PINS) is None
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"ignoring {kept}: ")


def test_another_users_file_is_none(kept: Path) -> None:
    """Whoever could write there would choose the policy."""
    remember_policy(PINS, LoadedPolicy.parse([("p.yaml", TEXT)], "p", None))
    os.chown(kept, 65534, 65534)
    assert remembered_policy(PINS) is None


def test_what_cannot_be_written_is_told(kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And what was kept before stays."""
    first = LoadedPolicy.parse([("p.yaml", TEXT)], "first", None)
    remember_policy(PINS, first)
    kept.with_suffix(".new").mkdir()
    remember_policy(PINS, LoadedPolicy.parse([("p.yaml", TEXT)], "second", None))
    assert caplog.messages[0].startswith("the policy is not kept for the next boot: ")
    stored = remembered_policy(PINS)
    assert stored is not None and stored.origin == "first"
