"""Events on their way out, from a thread of its own: a reader that stalls never holds up the agent.

What does not fit the buffer is dropped, and told as lost once there is room again, whether or not
another event comes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

BUFFER_BYTES = 8 << 20  # about 10,000 events: twice what the ring buffer can hold at once
GOODBYE_SECONDS = 1.0
RETRY_SECONDS = 1.0


class Outlet:
    """Hands messages to `send`, in order; that may block, and returns False for what it could not
    send. `lost` makes the message that so many were dropped."""

    def __init__(
        self,
        send: Callable[[bytes], bool],
        lost: Callable[[int], bytes],
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self._send = send
        self._buffer_bytes = buffer_bytes
        self._lost = lost
        self._waiting: deque[tuple[bytes, int]] = deque()  # and how many events each stands for
        self._bytes = 0
        self._missed = 0
        self._ended = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Outlet:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the reader a moment to take what is left."""
        with self._change:
            self._ended = True
            self._change.notify()
        self._thread.join(GOODBYE_SECONDS)

    @property
    def missed(self) -> int:
        """How many were dropped and are not told yet."""
        return self._missed

    def write(self, message: bytes) -> None:
        """Send one message soon; returns at once."""
        with self._change:
            if self._bytes + len(message) > self._buffer_bytes:
                self._missed += 1
                return
            self._put_lost()
            self._put(message, 1)
            self._change.notify()

    def _put_lost(self) -> None:
        if self._missed:
            self._put(self._lost(self._missed), self._missed)
            self._missed = 0

    def _put(self, message: bytes, events: int) -> None:
        self._waiting.append((message, events))
        self._bytes += len(message)

    def _run(self) -> None:
        sent = True
        while True:
            with self._change:
                pause = 0 if sent else RETRY_SECONDS
                self._change.wait_for(
                    lambda: self._waiting or self._ended, pause if self._missed else None
                )
                if not self._waiting:
                    self._put_lost()
                if not self._waiting:
                    return
                message, events = self._waiting.popleft()
                self._bytes -= len(message)
            sent = self._send(message)
            if not sent:
                with self._change:
                    self._missed += 0 if self._ended else events
