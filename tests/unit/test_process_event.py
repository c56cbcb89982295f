"""The `process` part of events: what is known stands in it, what is not is absent."""

from __future__ import annotations

from pathlib import Path

from portwatch.agent.events.process import binding_process, holding_process
from portwatch.kernel import layout
from portwatch.node.paths import HostPaths
from portwatch.node.processes import ProcessTable
from portwatch.node.socket_holders import Holder


def recorded(tmp_path: Path, cmdline: bytes, **more: int) -> dict[str, object]:
    """Of a process of which nothing is left but the kernel's record."""
    raw = layout.Event(pid=4242, comm=b"no\xffde", uid=1001, gid=1002, **more)
    raw.cmdline[: len(cmdline)] = cmdline
    raw.cmdline_bytes = len(cmdline)
    return binding_process(raw, ProcessTable(HostPaths(tmp_path)))


def test_a_process_of_which_only_the_record_is_left(tmp_path: Path) -> None:
    """Name, arguments, ids and the pid in its container come of the record alone."""
    told = recorded(tmp_path, b"node\0\0api.js\0", started_ns=10**9, namespace_pid=17)
    assert told == {
        "pid": 4242, "comm": "no\\xffde", "cmdline": "node  api.js", "uid": 1001, "gid": 1002,
        "container_pid": 17,
    }  # fmt: skip


def test_what_is_not_known_is_absent(tmp_path: Path) -> None:
    """A kernel that tells less leaves no keys with nothing in them."""
    told = recorded(tmp_path, b"")
    assert told == {"pid": 4242, "comm": "no\\xffde", "uid": 1001, "gid": 1002}


def test_outside_of_containers_there_is_one_pid(tmp_path: Path) -> None:
    """A pid that is the same within is not told twice."""
    assert "container_pid" not in recorded(tmp_path, b"", namespace_pid=4242)


def test_a_full_record_of_arguments(tmp_path: Path) -> None:
    """All bytes that the record has room for are told."""
    full = b"x" * layout.CMDLINE_BYTES
    assert recorded(tmp_path, full, started_ns=1)["cmdline"] == full.decode()


def test_a_holder_is_told_alike() -> None:
    """Who has a port stands in the event with the same keys."""
    holder = Holder(42, "nginx", "/bin/nginx", None, 0, 1, "/shop", "2026-01-02T03:04:05Z", 6)
    assert holding_process(holder) == {
        "pid": 42, "comm": "nginx", "exe": "/bin/nginx", "uid": 0, "gid": 1, "container_pid": 6,
    }  # fmt: skip
