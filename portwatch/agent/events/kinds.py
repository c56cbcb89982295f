"""The kinds of events (CONTRACT §4)."""

EVENT_KINDS = ("violation", "bind", "collision", "listener", "policy", "hook", "lost")
