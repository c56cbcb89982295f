"""Names of containers by their monitors: whose words count, and what only looks like a monitor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from portwatch.node.engines.conmon import monitor_above, monitors
from portwatch.node.paths import HostPaths

A = "a1" * 32
STORAGE = "/var/lib/containers/storage/overlay-containers"
IMAGE_ID = "cd" * 32
MONITOR = ["/usr/bin/conmon", "-c", A, "-b", f"{STORAGE}/{A}/userdata", "-n", "web", "--exit-dir"]


class Processes:
    """A /proc with the processes that a test makes."""

    def __init__(self, folder: Path) -> None:
        self.host = HostPaths(proc=folder / "proc")
        self.here = folder / "here"
        self.here.touch()
        self._namespace(self.host.proc / "self", self.here)

    def add(
        self,
        pid: int,
        arguments: list[str],
        comm: str = "conmon",
        parent: int = 1,
        uid: int = 0,
        namespace: Path | None = None,
    ) -> Path:
        """One process; its root is empty."""
        directory = self.host.process(pid)
        self._namespace(directory, namespace or self.here)
        (directory / "comm").write_text(f"{comm}\n")
        (directory / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in arguments))
        fields = [str(pid), f"({comm})", "S", str(parent), *["0"] * 17, "100", *["0"] * 30]
        (directory / "stat").write_text(" ".join(fields))
        ids = "\t".join([str(uid)] * 4)
        (directory / "status").write_text(f"Name:\t{comm}\nUid:\t{ids}\nGid:\t{ids}\n")
        return directory

    def _namespace(self, directory: Path, namespace: Path) -> None:
        (directory / "ns").mkdir(parents=True)
        os.link(namespace, directory / "ns" / "pid")


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    """None but the reader's own."""
    return Processes(tmp_path)


def listed(directory: Path, text: str) -> None:
    """What the storage's list holds, as the monitor sees it."""
    storage = Path(f"{directory}/root{STORAGE}")
    (storage / A / "userdata").mkdir(parents=True)
    (storage / "containers.json").write_text(text)


def test_a_monitor_names_its_container(processes: Processes) -> None:
    """The name by the command line, the image by the storage's list; from the runtime that it
    started, and by looking through all processes."""
    metadata = json.dumps({"image-name": "localhost/web:1", "image-id": IMAGE_ID, "name": "web"})
    listed(processes.add(50, MONITOR), json.dumps([{"id": A, "metadata": metadata}]))
    processes.add(51, ["runc", "create"], comm="runc", parent=50)
    processes.add(52, ["runc", "init"], comm="runc:[1:CHILD]", parent=51)
    found = monitor_above(processes.host, 52)
    assert found is not None and found.owner_uid == 0
    facts = found.facts
    assert (facts.id, facts.name, facts.runtime) == (A, "web", "podman")
    assert (facts.image, facts.image_id) == ("localhost/web:1", f"sha256:{IMAGE_ID}")
    assert list(monitors(processes.host)) == [found]
    assert monitor_above(processes.host, 51) == monitor_above(processes.host, 50) == found


def test_who_has_none(processes: Processes) -> None:
    """No monitor among the next few ancestors, and no process at all."""
    processes.add(50, MONITOR)
    for pid in range(51, 58):
        processes.add(pid, ["sh"], comm="sh", parent=pid - 1)
    assert monitor_above(processes.host, 53) is not None
    assert monitor_above(processes.host, 57) is None
    assert monitor_above(processes.host, 99) is None


def test_a_container_cannot_pose_as_its_monitor(processes: Processes, tmp_path: Path) -> None:
    """In a container anything may be called conmon, and be uid 0; its pid namespace tells."""
    inside = tmp_path / "inside"
    inside.touch()
    processes.add(60, MONITOR, namespace=inside)
    processes.add(61, ["sh"], comm="sh", parent=60, namespace=inside)
    assert monitor_above(processes.host, 61) is None
    assert list(monitors(processes.host)) == []


def test_a_users_monitor_is_that_users(processes: Processes) -> None:
    """Whose words they are is told with them; the user's files, which may hang or be anybody's
    else, are not opened."""
    directory = processes.add(50, MONITOR, uid=1000)
    listed(directory, "")
    storage = Path(f"{directory}/root{STORAGE}/containers.json")
    storage.unlink()
    os.mkfifo(storage)
    found = monitor_above(processes.host, 50)
    assert found is not None and found.owner_uid == 1000
    assert found.facts.image is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "{}", "[{}]", "[[]]", '[{"id": "other"}]', '[{"id": "ID"}]'),
        *('[{"id": "ID", "metadata": "x"}]', '[{"id": "ID", "metadata": "[]"}]'),
        '[{"id": "ID", "metadata": "{\\"image-id\\": 7}"}]',
    ],
)
def test_a_list_that_cannot_be_read(processes: Processes, text: str) -> None:
    """Without it the name is known all the same."""
    listed(processes.add(50, MONITOR), text.replace("ID", A))
    found = monitor_above(processes.host, 50)
    assert found is not None
    assert (found.facts.name, found.facts.image) == ("web", None)


@pytest.mark.parametrize(
    "arguments",
    [[], ["conmon"], ["conmon", "-c"], ["conmon", "-c", "abc", "-n", "web"], ["conmon", "-c", A],
     ["conmon", "-n", "web"], ["conmon", "-c", A, "-n", "x" * 5000]],
)  # fmt: skip
def test_other_command_lines(processes: Processes, arguments: list[str]) -> None:
    """A conmon that does not tell its container, or not a sane one, is passed over."""
    processes.add(50, arguments)
    assert monitor_above(processes.host, 50) is None
    assert list(monitors(processes.host)) == []
