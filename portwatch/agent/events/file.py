"""Events appended to a file, which may be rotated away at any time."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from portwatch.errors import UsageError

log = logging.getLogger(__name__)


class EventFile:
    """Opens the file anew where its name has come to mean another. Only its owner may read it."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._failed = False
        try:
            self._fd, self._opened = self._open()
        except OSError as err:
            raise UsageError(
                f"cannot write events to {path}: {err.strerror}", hint="choose another --events"
            ) from err

    def write(self, line: bytes) -> None:
        """Append one line; a full disk is logged once and never stops the agent."""
        try:
            if not self._is_current():
                self.close()
                self._fd, self._opened = self._open()
            self._append(line)
            self._failed = False
        except OSError as err:
            if not self._failed:
                log.error("cannot write events to %s: %s", self._path, err.strerror)
            self._failed = True

    def close(self) -> None:
        """Write no more; at once its descriptor may be somebody else's."""
        closing, self._fd = self._fd, -1
        if closing >= 0:
            os.close(closing)

    def _append(self, line: bytes) -> None:
        """All of the line or nothing: half of one would spoil the next too."""
        written = os.write(self._fd, line)
        if written < len(line):
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _open(self) -> tuple[int, tuple[int, int]]:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        opened = os.open(self._path, flags, 0o600)
        return opened, _identity(os.fstat(opened))

    def _is_current(self) -> bool:
        if self._fd < 0:
            return False
        try:
            return _identity(os.stat(self._path)) == self._opened
        except FileNotFoundError:
            return False


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
