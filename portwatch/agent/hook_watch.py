"""Whether the programs are still attached: noticed within two seconds, told, and healed.

Healing is the loader's work, as at the start: new links, the same maps. Where this agent may not
have it done, it ends, and whoever supervises it starts the loader and a new agent.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable
from typing import Any

from portwatch.agent.errand_run import ErrandRun
from portwatch.errors import Detached, KernelError, Unloaded
from portwatch.kernel.held_pins import HeldPins, Place
from portwatch.kernel.hooks import HOOKS
from portwatch.kernel.loading import link_target
from portwatch.kernel.slots import Slots
from portwatch.node.errand import Errand

log = logging.getLogger(__name__)

CHILD = "portwatch.agent.healing_child"
LOOK_SECONDS = 2.0
CONFIRM_SECONDS = 0.5
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
HEALING_SECONDS = 90.0
UNMOUNTED = "bpffs"
"""What stands in an event for all hooks: their pins have no name any more."""

Tell = Callable[[dict[str, Any]], None]
Begin = Callable[[], Errand[None]]


def begin_healing(pin_dir: str, cgroup: str, collisions: bool) -> Errand[None]:
    """Have a child run the loader."""
    request = {"pin_dir": pin_dir, "cgroup": cgroup, "collisions": collisions}
    return Errand("attaching again", CHILD, [], lambda _: None, request, HEALING_SECONDS)


class HookWatch:
    """Call `tick()` after every wake-up of the loop that it has joined. `heal` begins the loader;
    None where this process may not have it run."""

    def __init__(self, held: HeldPins, slots: Slots, tell: Tell, heal: Begin | None) -> None:
        self._held = held
        self._slots = slots
        self._tell = tell
        self._heal = heal
        self._run: ErrandRun[None] | None = None
        self._expected = [hook for hook in HOOKS if hook.required or self._is_attached(hook.name)]
        self._gone: set[str] = set()
        self._next_look = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._next_try = 0.0
        self._last_reason = ""

    @property
    def gone(self) -> list[str]:
        """What is known to be detached, by name."""
        return sorted(self._gone)

    def join(self, selector: selectors.BaseSelector) -> None:
        """Heal in this loop."""
        self._run = ErrandRun(selector, lambda _: self._look(), self._failed)

    def tick(self) -> None:
        """Unloaded where the pins were taken away on purpose; Detached where a hook is gone that
        cannot be attached from here."""
        assert self._run is not None
        self._run.tick()
        if time.monotonic() >= self._next_look:
            self._look()

    def close(self) -> None:
        """End what is under way."""
        if self._run is not None:
            self._run.close()

    def _look(self) -> None:
        now = time.monotonic()
        place = self._held.place(self._slots)
        if place is Place.REMOVED:
            raise Unloaded(
                f"{self._held.named.path} was unloaded: nothing is enforced any more",
                hint="portwatch run starts it again",
            )
        found = {hook.name for hook in self._expected if not self._is_attached(hook.name)}
        found |= {UNMOUNTED} if place is Place.AWAY else set()
        before, self._gone = self._gone, found
        self._next_look = now + (CONFIRM_SECONDS if found - before else LOOK_SECONDS)
        for name in sorted(found - before):
            log.error("%s", _said(name, self._held))
            self._tell({"kind": "hook", "hook": name, "result": "gone"})
        for name in sorted(before - found):
            log.warning("%s is in place again", name)
            self._tell({"kind": "hook", "hook": name, "result": "restored"})
        if not found:
            self._pause, self._next_try, self._last_reason = FIRST_PAUSE_SECONDS, 0.0, ""
        # Seen twice: links go first where somebody unloads, and that is not to be fought.
        elif found & before and now >= self._next_try:
            self._try(found, now)

    def _try(self, found: set[str], now: float) -> None:
        assert self._run is not None
        self._next_try = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        if UNMOUNTED in found:
            try:
                self._held.restore()
            except (KernelError, OSError) as err:
                self._failed(err.message if isinstance(err, KernelError) else str(err))
        elif self._heal is None:
            raise Detached(
                f"not attached: {', '.join(sorted(found))}",
                hint="portwatch load attaches again; the systemd unit does so by itself",
            )
        elif not self._run.is_running:
            self._run.start(self._heal)

    def _failed(self, reason: str) -> None:
        if reason != self._last_reason:
            self._last_reason = reason
            log.error("cannot heal: %s; trying again, ever less often", reason)

    def _is_attached(self, name: str) -> bool:
        hook = next(hook for hook in HOOKS if hook.name == name)
        return link_target(self._held.pin_dir, hook) is not None


def _said(name: str, held: HeldPins) -> str:
    if name == UNMOUNTED:
        parent = held.named.path.parent
        return f"{parent} was unmounted; what is attached stays so for as long as this agent lives"
    return f"{name} was detached by somebody else: what it saw goes unjudged"
