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
from typing import Any, Generic, Protocol, TypeVar

from portwatch.errors import PortwatchError
from portwatch.node.errand_socket import SOCKET_VARIABLE, ErrandConnection

Result = TypeVar("Result")
READ_BYTES = 1 << 16


class Doer(Protocol):
    """Who does an errand: a child of ours, or node.errand_socket.ErrandConnection."""

    def fileno(self) -> int:
        """Where the answer is read, without waiting."""

    def kill(self) -> None:
        """End it; what is read then ends soon."""

    def last_words(self) -> str:
        """What there is to say where no answer came. The answer has ended."""

    def close(self) -> None:
        """End it whatever it does, and give everything back."""


class Errand(Generic[Result]):
    """Started at once. Readable `fileno()`: call `read()`, and once that is True `result()`.

    `what` is what errors call it; `parse` makes the result of the answer's JSON. One that
    `enters_namespaces`, and has no arguments, is done by whoever listens on the socket that
    PORTWATCH_ERRANDS names, where it names one.
    """

    def __init__(
        self,
        what: str,
        module: str,
        arguments: Sequence[str],
        parse: Callable[[Any], Result],
        request: object = None,
        timeout_seconds: float = 30.0,
        enters_namespaces: bool = False,
    ) -> None:
        self._what = what
        self._parse = parse
        self._timeout_seconds = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._output = bytearray()
        self._ended = self._too_late = False
        path = os.environ.get(SOCKET_VARIABLE) if enters_namespaces else None
        with _memory_file(json.dumps(request).encode()) as given:
            try:
                self._doer: Doer = (
                    ErrandConnection(path, module, given)
                    if path
                    else _Child(module, arguments, given)
                )
            except OSError as err:
                raise PortwatchError(f"cannot start {self._what}: {err.strerror}") from err

    def fileno(self) -> int:
        """Readable when there is something to read(): for select() and its kin."""
        return self._doer.fileno()

    def read(self) -> bool:
        """Take what has been written; True once that has ended."""
        while not self._ended:
            try:
                data = os.read(self._doer.fileno(), READ_BYTES)
            except BlockingIOError:
                return False
            except ConnectionError:
                data = b""
            self._output += data
            self._ended = not data
        return True

    def overdue(self) -> bool:
        """Whether its time is up; it is then ended, and its end can be read soon."""
        if not self._ended and time.monotonic() >= self._deadline:
            self._too_late = True
            self._doer.kill()
        return self._too_late

    def result(self) -> Result:
        """The answer, once; PortwatchError where there is none."""
        last_words = self._doer.last_words()
        self._doer.close()
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
            raise PortwatchError(f"{self._what} gave no answer: {last_words}") from err

    def wait(self) -> Result:
        """The answer, waited for; PortwatchError where there is none in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            while not self.read():
                selector.select(max(self._deadline - time.monotonic(), 0.01))
                self.overdue()
        return self.result()

    def close(self) -> None:
        """End it whatever it does, and give everything back."""
        self._doer.close()


class _Child:
    def __init__(self, module: str, arguments: Sequence[str], request_fd: int) -> None:
        self._errors = os.memfd_create("errand-errors")
        try:
            self._process = subprocess.Popen(
                module_command(module, arguments),
                stdin=request_fd,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C is its parent's
            )
        except OSError:
            os.close(self._errors)
            raise
        assert self._process.stdout
        self._pipe = self._process.stdout
        os.set_blocking(self._pipe.fileno(), False)

    def fileno(self) -> int:
        return self._pipe.fileno()

    def kill(self) -> None:
        self._process.kill()

    def last_words(self) -> str:
        status = self._process.wait()
        errors = os.pread(self._errors, READ_BYTES, 0).decode("utf-8", "backslashreplace")
        return (errors.strip().splitlines() or [f"it ended with status {status}"])[-1]

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if not self._pipe.closed:
            self._pipe.close()
            os.close(self._errors)


def module_command(module: str, arguments: Sequence[str]) -> list[str]:
    """What runs a module of ours; -P: nothing is imported from the directory that portwatch happens
    to run in."""
    return [sys.executable, "-P", "-m", module, *arguments]


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
