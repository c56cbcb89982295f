"""`load`, `unload` and `apply`: enforcement without an agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from portwatch.cli.options import (
    ANY_PATH,
    cgroup_option,
    collisions_option,
    engines_option,
    json_option,
    mode_option,
    pin_dir_option,
    policy_option,
)

AGENT_SECONDS = 5.0
"""An agent looks after its pins every two."""


@click.command()
@policy_option
@cgroup_option
@mode_option
@click.option(
    "--keep-policy",
    is_flag=True,
    help="Where the policy is bad, take the last good one: that in force, or, after a reboot, what "
    "was kept of it in /var/lib/portwatch. Say so, and succeed.",
)
@collisions_option
@engines_option
@pin_dir_option
@json_option
def load(
    policy: Path | None,
    cgroup: Path | None,
    mode: Literal["enforce", "record"] | None,
    keep_policy: bool,
    collisions: bool,
    engines: tuple[str, ...],
    pin_dir: Path,
    as_json: bool,
) -> None:
    """Enforce a policy with no agent left running: all is pinned, and stays until `unload`."""
    from portwatch.agent.last_good import remember_policy
    from portwatch.agent.policy_source import PolicySource
    from portwatch.cli.enforcement import (
        begin_loading,
        cgroup_tree,
        load_or_keep,
        parse_engines,
        publish,
        removed_on_failure,
        require_root,
    )
    from portwatch.cli.lockout import warn_of_lockouts
    from portwatch.cli.patience import patience
    from portwatch.kernel.pins import PinDir

    require_root()
    sockets = parse_engines(engines)
    tree = cgroup_tree()
    pins = PinDir(pin_dir)
    target = cgroup or tree.mount_point
    with begin_loading(pins, tree, target, collisions) as loading:
        source = PolicySource(policy, mode)
        loaded, refused = load_or_keep(source, pins) if keep_policy else (source.load(), None)
        if refused is not None:
            click.echo(f"{refused}\nportwatch: the last good policy stays", err=True)
        warn_of_lockouts(loaded, pin_dir, tree.path_below(target), engines)
        with patience("compiling and loading the programs"):
            loading.finish()  # outside: what another `load` has put there meanwhile is not ours
        with removed_on_failure(pins), patience("putting the policy in force"):
            generation = publish(pins, tree, loaded, sockets)
        if keep_policy and refused is None:
            remember_policy(pin_dir, loaded)
    _say(as_json, "loaded", loaded.origin, loaded.policy.sha256, generation, pin_dir)


@click.command()
@click.argument("path", type=ANY_PATH)
@mode_option
@engines_option
@pin_dir_option
@json_option
def apply(
    path: Path,
    mode: Literal["enforce", "record"] | None,
    engines: tuple[str, ...],
    pin_dir: Path,
    as_json: bool,
) -> None:
    """Swap the policy in the kernel for the one at PATH, atomically, agent running or not."""
    from portwatch.agent.in_force import attached_below
    from portwatch.agent.policy_source import PolicySource
    from portwatch.cli.enforcement import cgroup_tree, parse_engines, publish, require_root
    from portwatch.cli.lockout import warn_of_lockouts
    from portwatch.cli.patience import patience
    from portwatch.kernel.pins import PinDir

    require_root()
    sockets = parse_engines(engines)
    loaded = PolicySource(path, mode).load()
    tree, pins = cgroup_tree(), PinDir(pin_dir)
    warn_of_lockouts(loaded, pin_dir, attached_below(pins, tree), engines)
    with patience("putting the policy in force"):
        generation = publish(pins, tree, loaded, sockets)
    _say(as_json, "applied", loaded.origin, loaded.policy.sha256, generation, pin_dir)


@click.command()
@pin_dir_option
@json_option
def unload(pin_dir: Path, as_json: bool) -> None:
    """Remove enforcement without a trace: links first, then all pins, also another version's.

    A running agent notices and ends, which is waited for.
    """
    from portwatch.agent.events.hub import socket_path
    from portwatch.agent.kubernetes.pod_file import forget_pods
    from portwatch.agent.last_good import forget_policy
    from portwatch.cli.enforcement import require_root
    from portwatch.cli.patience import patience
    from portwatch.errors import UsageError
    from portwatch.kernel.loading import remove
    from portwatch.kernel.pins import PinDir, is_bpffs

    require_root()
    was_there = pin_dir.is_dir()
    if was_there and not is_bpffs(pin_dir):
        raise UsageError(
            f"{pin_dir} is not on a BPF file system: nothing was removed",
            hint="name the --pin-dir that was loaded",
        )
    pins = PinDir(pin_dir)
    if pins.agent_pid() is None:
        socket_path(pin_dir).unlink(missing_ok=True)  # left by an agent that crashed
    with pins.outlived() as ended:
        remove(pins)
        with patience("waiting for the agent to end"):
            if not ended(AGENT_SECONDS):  # who starts it now would find it running
                click.echo("portwatch: the agent has not ended yet", err=True)
    forget_pods(pin_dir)
    forget_policy(pin_dir)
    if as_json:
        click.echo(json.dumps({"unloaded": was_there, "pin_dir": str(pin_dir)}))
    elif was_there:
        click.echo(f"unloaded {pin_dir}: nothing is enforced any more")
    else:
        click.echo(f"nothing was loaded at {pin_dir}")


def _say(
    as_json: bool, done: str, origin: str, sha256: str, generation: int, pin_dir: Path
) -> None:
    if as_json:
        said = {done: True, "policy": origin, "sha256": sha256, "generation": generation}
        click.echo(json.dumps(said))
    else:
        click.echo(
            f"{done} {origin} (sha256 {sha256[:12]}) as generation {generation} at {pin_dir}"
        )
