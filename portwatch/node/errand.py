"""A short-lived child that answers once in JSON: what would cost its parent memory, or time.

The child runs one of portwatch's modules, reads its request from stdin and prints the answer,
or `{"error": …, "hint": …}`. Nothing here waits, but for `wait()`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from portwatch.errors import PortwatchError

Result = TypeVar("Result")
READ_BYTES = 1 << 16


class Errand(Generic[Result]):
    """Started at once. Readable `fileno()`: call `read()`, and once that is True `result()`.

    `what` is what errors call it; `parse` makes the result of the answer's JSON.
    """

    def __init__(
        self,
        what: str,
        module: str,
        arguments: Sequence[str],
        parse: Callable[[Any], Result],
        request: object = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        self._what = what
        self._parse = parse
        self._timeout_seconds = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._output = bytearray()
        self._ended = self._too_late = False
        with _memory_file(json.dumps(request).encode()) as stdin:
            self._errors = os.memfd_create("errand-errors")
            try:
                # -P: nothing is imported from the directory that portwatch happens to run in.
                self._child = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, *arguments],
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    start_new_session=True,  # Ctrl-C is its parent's
                )
            except OSError as err:
                os.close(self._errors)
                raise PortwatchError(f"cannot start {self._what}: {err.strerror}") from err
        assert self._child.stdout
        self._pipe = self._child.stdout
        os.set_blocking(self._pipe.fileno(), False)

    def fileno(self) -> int:
        """Readable when there is something to read(): for select() and its kin."""
        return self._pipe.fileno()

    def read(self) -> bool:
        """Take what the child has written; True once it has ended."""
        while not self._ended:
            try:
                data = os.read(self._pipe.fileno(), READ_BYTES)
            except BlockingIOError:
                return False
            self._output += data
            self._ended = not data
        return True

    def overdue(self) -> bool:
        """Whether its time is up; it is then killed, and its end can be read soon."""
        if not self._ended and time.monotonic() >= self._deadline:
            self._too_late = True
            self._child.kill()
        return self._too_late

    def result(self) -> Result:
        """The answer, once; PortwatchError where there is none."""
        status = self._child.wait()
        errors = os.pread(self._errors, READ_BYTES, 0).decode("utf-8", "backslashreplace")
        self.close()
        if self._too_late:
            raise PortwatchError(
                f"{self._what}: no answer within {self._timeout_seconds:g} seconds"
            )
        try:
            answer = json.loads(self._output)
            if isinstance(answer, dict) and "error" in answer:
                raise PortwatchError(str(answer["error"]), hint=str(answer.get("hint", "")))
            return self._parse(answer)
        except (ValueError, TypeError, KeyError, AttributeError) as err:
            last = (errors.strip().splitlines() or [f"it ended with status {status}"])[-1]
            raise PortwatchError(f"{self._what} gave no answer: {last}") from err

    def wait(self) -> Result:
        """The answer, waited for; PortwatchError where there is none in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            while not self.read():
                selector.select(max(self._deadline - time.monotonic(), 0.01))
                self.overdue()
        return self.result()

    def close(self) -> None:
        """End the child whatever it does, and give everything back."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        if not self._pipe.closed:
            self._pipe.close()
            os.close(self._errors)


@contextlib.contextmanager
def _memory_file(data: bytes) -> Iterator[int]:
    """A file that a child can read at its leisure: a pipe might fill up."""
    opened = os.memfd_create("errand-request")
    try:
        with open(opened, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(opened, 0, os.SEEK_SET)
        yield opened
    finally:
        os.close(opened)


def answer(work: Callable[[], object]) -> None:
    """What the child does: print the answer, or the error, as one JSON document."""
    try:
        found = work()
    except PortwatchError as err:
        found = {"error": err.message, "hint": err.hint}
    sys.stdout.write(json.dumps(found, separators=(",", ":")))
