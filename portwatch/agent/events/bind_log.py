"""Binds out of the agent's event logs: files of JSON lines, however long, whole or torn."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from portwatch.errors import UsageError
from portwatch.policy.replay.bind import BadEvent, RecordedBind, read_bind

STDIN = "-"
MAX_LINE_BYTES = 1 << 20
MAX_BAD_LINES_TOLD = 5


@dataclass
class BindLog:
    """`names`: paths, `.gz` where compressed, or `-`. `since`: only events of that time, ISO 8601,
    or later. `advance` is told how far reading has come, in bytes as stored.

    `bad_lines`: the first that are no events, each with its place and why; `bad` counts them.
    `others`: events that are about no bind.
    """

    names: Sequence[str]
    since: str = ""
    advance: Callable[[int], None] = lambda _bytes: None
    bad_lines: list[str] = field(default_factory=list)
    bad: int = 0
    others: int = 0

    def binds(self) -> Iterator[RecordedBind]:
        """Every bind, in order; UsageError for a file that cannot be read."""
        for name in self.names:
            with _opened(name) as stored:
                for number, line in self._lines(name, stored):
                    bind = self._bind(name, number, line)
                    if bind is not None and bind.time >= self.since:
                        yield bind

    def _lines(self, name: str, stored: IO[bytes]) -> Iterator[tuple[int, bytes]]:
        """Each line with its number. Where the writer was interrupted the last is torn: that is
        no fault of the log's."""
        plain = gzip.GzipFile(fileobj=stored) if name.endswith(".gz") else stored
        is_file = stored.seekable()
        before = number = 0
        try:
            while line := plain.readline(MAX_LINE_BYTES):
                number += 1
                if not line.endswith(b"\n") and not _is_whole(line):
                    if len(line) < MAX_LINE_BYTES:
                        return
                    while (rest := plain.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                        pass
                if not line.isspace():
                    yield number, line
                if is_file and number % 1000 == 0:
                    position = stored.tell()
                    self.advance(position - before)
                    before = position
        except EOFError:
            return
        except (OSError, zlib.error) as err:
            self._refuse(name, number + 1, f"cannot be read on: {err}")

    def _bind(self, name: str, number: int, line: bytes) -> RecordedBind | None:
        try:
            bind = read_bind(_event(line))
        except BadEvent as err:
            self._refuse(name, number, str(err))
            return None
        self.others += bind is None
        return bind

    def _refuse(self, name: str, number: int, why: str) -> None:
        self.bad += 1
        if len(self.bad_lines) < MAX_BAD_LINES_TOLD:
            self.bad_lines.append(f"{name}:{number}: {why}")


def stored_bytes(names: Sequence[str]) -> int | None:
    """How much there is to read; None where that is not known."""
    total = 0
    for name in names:
        with _opened(name) as stored:
            if not stored.seekable():
                return None
            total += stored.seek(0, 2)
            stored.seek(0)
    return total


def _event(line: bytes) -> Any:
    if len(line) >= MAX_LINE_BYTES:
        raise BadEvent("it is longer than any event")
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as err:
        raise BadEvent("not JSON") from err


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == STDIN:
        yield sys.stdin.buffer
        return
    try:
        stored = open(name, "rb")  # noqa: SIM115 (closed below; its errors are not the reader's)
    except (OSError, ValueError) as err:
        reason = err.strerror if isinstance(err, OSError) else str(err)
        raise UsageError(f"cannot read events from {name}: {reason}") from err
    with stored:
        yield stored
