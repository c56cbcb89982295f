"""The landing page and /explain of a running agent: views, and what is worked out for them.

Imported when somebody first looks: the agent that nobody looks at pays nothing for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from portwatch.agent.memory import give_back_freed
from portwatch.agent.web.answer import Answer, Query
from portwatch.agent.web.explanation import explanation
from portwatch.agent.web.landing import landing
from portwatch.agent.web.look import Outlook
from portwatch.agent.web.portmap import PortMaps
from portwatch.agent.web.view import InForce
from portwatch.agent.web.whose import Meant, as_it_runs, find


class Overview:
    """Makes one page at a time, whoever asks: many at once would cost their memory at once."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._maps: PortMaps | None = None
        self._lock = threading.Lock()

    def landing(self, query: Query) -> Answer:
        """`/`."""
        with self._turn():
            view = self._outlook.look()
            in_force = view.in_force

            def stands_for(name: str) -> Meant | None:
                assert in_force is not None
                meant = find(name, view, in_force)
                if meant is None or meant.note or not _depends_on_processes(in_force):
                    return meant
                return as_it_runs(meant, self._outlook, in_force)

            maps = self._maps_of(in_force) if in_force else None
            return landing(view, maps, stands_for, query)

    def explanation(self, query: Query) -> Answer:
        """`/explain`."""
        with self._turn():
            view = self._outlook.look()
            in_force = view.in_force

            def running(meant: Meant, host_network: bool | None) -> Meant:
                assert in_force is not None
                return as_it_runs(meant, self._outlook, in_force, host_network)

            return explanation(view, running, query)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """What a page needed for a moment is freed at its end, and then given back."""
        with self._lock:
            yield
            give_back_freed()

    def _maps_of(self, in_force: InForce) -> PortMaps:
        """Those of this policy; the last one's go."""
        if self._maps is None or self._maps.compiled is not in_force.compiled:
            self._maps = PortMaps(in_force.compiled)
        return self._maps


def _depends_on_processes(in_force: InForce) -> bool:
    compiled = in_force.compiled
    return compiled.uses_users or compiled.uses_groups or compiled.uses_network
