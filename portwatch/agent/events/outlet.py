"""Events on their way out, from a thread of its own: a reader that stalls never holds up the agent.

What does not fit the buffer is dropped, and told as lost once there is room again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

BUFFER_BYTES = 8 << 20  # about 10,000 events: twice what the ring buffer can hold at once
GOODBYE_SECONDS = 1.0


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
        self._waiting: deque[bytes] = deque()
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
            if self._missed:
                self._put(self._lost(self._missed))
                self._missed = 0
            self._put(message)
            self._change.notify()

    def _put(self, message: bytes) -> None:
        self._waiting.append(message)
        self._bytes += len(message)

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting and self._missed:
                    self._put(self._lost(self._missed))
                    self._missed = 0
                elif not self._waiting:
                    return
                message = self._waiting.popleft()
                self._bytes -= len(message)
            if not self._send(message):
                with self._change:
                    self._missed += not self._ended
