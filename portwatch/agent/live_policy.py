"""The policy that this process has published, as long as no other has published since."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from portwatch.agent.subjects import Subjects
from portwatch.kernel import layout
from portwatch.kernel.pins import PinDir
from portwatch.kernel.slots import Slots
from portwatch.node.accounts import AccountTable
from portwatch.policy.model import Policy
from portwatch.policy.tables.compile import CompiledPolicy


@dataclass
class Published:
    """One policy that is, or was, live, and the cgroups that are classified under it."""

    generation: int
    policy: Policy
    compiled: CompiledPolicy
    subjects: Subjects
    accounts: AccountTable  # those that the policy names
    ids: dict[str, int] = field(default_factory=dict)  # cgroup path → id
    paths: dict[int, str] = field(default_factory=dict)

    def remember(self, path: str, number: int) -> None:
        """The cgroup at `path` has this id and is classified."""
        self.ids[path] = number
        self.paths[number] = path


class LivePolicy:
    """`published` is what this process published last, None where it has not yet."""

    def __init__(self, pin_dir: PinDir, slots: Slots) -> None:
        self._pin_dir = pin_dir
        self._slots = slots
        self.published: Published | None = None

    def superseded(self) -> bool:
        """Whether another process has published since."""
        return self.published is None or self._slots.generation != self.published.generation

    @contextmanager
    def writable(self) -> Iterator[tuple[Published, layout.Tables] | None]:
        """The live policy and its tables under the directory's lock; None where it is no more."""
        with self._pin_dir.changing():
            if self.published is None or self.superseded():
                yield None
            else:
                yield self.published, self._slots.slot(self.published.generation)
