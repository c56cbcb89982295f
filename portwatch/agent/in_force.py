"""What is in force at a pin directory, for those who did not put it there."""

from __future__ import annotations

from portwatch.agent.policy_source import LoadedPolicy
from portwatch.errors import NotLoaded
from portwatch.kernel.hooks import HOOKS
from portwatch.kernel.loading import link_target
from portwatch.kernel.pins import PinDir
from portwatch.kernel.stored_policy import StoredPolicy
from portwatch.node.cgroups import CgroupTree
from portwatch.policy.model import Policy


def policy_in_kernel(pin_dir: PinDir) -> tuple[Policy, StoredPolicy]:
    """The live policy as it was published; NotLoaded where there is none."""
    control, texts = pin_dir.open_map("control"), pin_dir.open_map("policy")
    try:
        generation = int.from_bytes((control.get(bytes(4)) or bytes(4))[:4], "little")
        stored = StoredPolicy.read(texts, generation)
    finally:
        control.close()
        texts.close()
    if stored is None:
        raise NotLoaded(f"no policy is in force at {pin_dir.path}", hint="portwatch apply PATH")
    return LoadedPolicy.parse(stored.sources, stored.origin, stored.mode).policy, stored


def attached_below(pin_dir: PinDir, tree: CgroupTree) -> str:
    """Path of the cgroup that the programs are attached to; the root where that is gone."""
    target = link_target(pin_dir, HOOKS[0])
    return next((path for path, number in tree.scan().items() if number == target), "/")
