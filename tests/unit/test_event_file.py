"""The file of events, whatever is done to it meanwhile."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from portwatch.agent.events.file import EventFile
from portwatch.errors import UsageError


def test_renamed(tmp_path: Path) -> None:
    """After a rename the next line begins a file of that name, its owner's alone."""
    path = tmp_path / "log"
    with closing(EventFile(path)) as events:
        events.write(b"1\n")
        path.rename(tmp_path / "log.1")
        events.write(b"2\n")
    assert (tmp_path / "log.1").read_bytes() == b"1\n"
    assert path.read_bytes() == b"2\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_copied_and_truncated(tmp_path: Path) -> None:
    """logrotate's `copytruncate`: the next line is the file's first, with no hole before it."""
    path = tmp_path / "log"
    with closing(EventFile(path)) as events:
        events.write(b"1\n")
        shutil.copy(path, tmp_path / "log.1")
        os.truncate(path, 0)
        events.write(b"2\n")
    assert path.read_bytes() == b"2\n"


def test_deleted(tmp_path: Path) -> None:
    """A file that is deleted is made anew."""
    path = tmp_path / "log"
    with closing(EventFile(path)) as events:
        path.unlink()
        events.write(b"1\n")
    assert path.read_bytes() == b"1\n"


def test_directory_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While the directory is gone, it is said once, and no other descriptor is touched; once it
    is there again, events go on."""
    path = tmp_path / "logs" / "log"
    path.parent.mkdir()
    with closing(EventFile(path)) as events, caplog.at_level(logging.ERROR):
        shutil.rmtree(path.parent)
        events.write(b"1\n")
        read_end, write_end = os.pipe()
        for _ in range(3):
            events.write(b"2\n")
        os.fstat(read_end)
        os.fstat(write_end)
        os.close(read_end)
        os.close(write_end)
        assert len(caplog.records) == 1
        path.parent.mkdir()
        events.write(b"3\n")
    assert path.read_bytes() == b"3\n"


def test_no_such_directory(tmp_path: Path) -> None:
    """A path that cannot be written to at the start is a mistake, said at once."""
    with pytest.raises(UsageError, match="cannot write events to"):
        EventFile(tmp_path / "nowhere" / "log")
