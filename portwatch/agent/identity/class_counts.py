"""How many cgroups fall in each class of the policy in force, as the kernel has them."""

from __future__ import annotations

from dataclasses import dataclass

from portwatch.agent.identity.account_words import accounts_of
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.in_force import attached_below
from portwatch.kernel import layout
from portwatch.kernel.pins import PinDir
from portwatch.node.cgroups import CgroupTree
from portwatch.policy.model import Policy
from portwatch.policy.tables.compile import compile_policy


@dataclass(frozen=True, slots=True)
class ClassCount:
    """The cgroups that no constraint tells apart: which name them, and one of them."""

    meant: tuple[str, ...]  # by the constraints' `for`
    excepted: tuple[str, ...]
    cgroups: int
    example: str


def class_counts(
    pin_dir: PinDir, generation: int, tree: CgroupTree, policy: Policy, book: ContainerBook
) -> tuple[list[ClassCount], int]:
    """The classes, the largest first, and how many cgroups have none and take the nearest above's;
    of all that are at or below what portwatch is attached to. `policy` is that generation's."""
    classes = _classes(pin_dir, generation)
    below = attached_below(pin_dir, tree).rstrip("/")
    members: dict[int, list[str]] = {}
    unclassified = 0
    for path, number in tree.scan().items():
        if path != below and not path.startswith(f"{below}/"):
            continue
        if number in classes:
            members.setdefault(classes[number], []).append(path)
        else:
            unclassified += 1
    compiled = compile_policy(policy, accounts_of(policy), book.declared)
    counts = []
    for paths in members.values():
        example = min(paths, key=lambda path: (len(path), path))
        signature = compiled.cgroup_signature(example, book.known(example))
        meant, excepted = compiled.mentions(signature)
        counts.append(ClassCount(meant, excepted, len(paths), example))
    counts.sort(key=lambda count: (-count.cgroups, count.example))
    return counts, unclassified


def _classes(pin_dir: PinDir, generation: int) -> dict[int, int]:
    """Cgroup id → class."""
    opened = pin_dir.open_map("cgroups")
    try:
        found = {}
        for key, value in opened.items():
            where = layout.CgroupKey.from_buffer_copy(key)
            if where.generation == generation:
                entry = layout.CgroupClass.from_buffer_copy(value)
                found[where.id] = entry.class_ & ~layout.CLASS_PROVISIONAL
        return found
    finally:
        opened.close()
