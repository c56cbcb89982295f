"""Where every event goes: counted, to the readers of the socket, and out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from portwatch.agent.clock import Clock, iso
from portwatch.agent.events.format import Event
from portwatch.agent.events.hub import EventHub
from portwatch.agent.state import AgentState

Emit = Callable[[Event, bytes], None]
_encoded = json.JSONEncoder(separators=(",", ":")).encode


class EventTeller:
    """`emit` is where events go out, with their JSON as a line."""

    def __init__(self, state: AgentState, hub: EventHub, emit: Emit, clock: Clock) -> None:
        self._state = state
        self._hub = hub
        self._emit_outside = emit
        self._clock = clock

    def tell(self, event: dict[str, Any]) -> None:
        """Tell of something that happened now."""
        self.emit({"time": iso(self._clock.wall_ns()), **event})

    def emit(self, event: Event) -> None:
        """Tell an event that has its time."""
        self._state.events[event["kind"]] += 1
        line = _encoded(event).encode() + b"\n"
        self._hub.publish(line)
        self._emit_outside(event, line)
