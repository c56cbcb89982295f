"""What the programs counted and told of binds that failed, or that may share, in one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from guard import Guard

from portwatch.kernel import layout
from portwatch.kernel.readings import Readings

Collisions = dict[tuple[str, int, str], int]
"""(workload, port, protocol) → how many; zeros left out."""


class Collided:
    """Counts from nothing; records since they were last asked for."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._readings = Readings(guard.pin_dir)
        hooks = {hook.name for hook in self._readings.hooks() if hook.attached}
        self.seen_by_functions = "tcp_get_port" in hooks
        assert self.seen_by_functions != ("sys_exit_bind" in hooks), hooks

    def close(self) -> None:
        """Give the maps back."""
        self._readings.close()

    def forget(self) -> None:
        """Count from here, as on a fresh load."""
        collisions = self._guard.pin_dir.open_map("collisions")
        for key in list(collisions.keys()):
            where = layout.CollisionKey.from_buffer_copy(key)
            if where.workload or where.port:
                collisions.delete(key)
            else:
                collisions.put(key, bytes(layout.Collision()))
        collisions.close()
        self._guard.reset()

    @property
    def counts(self) -> Collisions:
        """With names for the kernel's numbers."""
        text = self._guard.publisher.names.text
        return {
            (text(key.workload), key.port, layout.PROTOCOL_NAMES[key.protocol]): count
            for key, count in self._readings.collisions().items()
        }

    def records(self, kind: int = layout.EVENT_COLLISION) -> list[layout.Event]:
        """Those of one kind; the others are thrown away."""
        return [event for event in self._guard.events() if event.kind == kind]


@contextmanager
def collided_under(guard: Guard, policy: str = "version: 1\n") -> Iterator[Collided]:
    """Nothing counted yet, under a policy."""
    guard.publish(policy)
    collided = Collided(guard)
    collided.forget()
    try:
        yield collided
    finally:
        collided.close()
