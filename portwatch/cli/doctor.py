"""`doctor`: can this machine run portwatch?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from portwatch.cli.options import engines_option, json_option, pin_dir_option


@dataclass(frozen=True)
class Need:
    """One need: met or not, and the command or step that mends it."""

    name: str
    met: bool
    found: str
    mend: str = ""
    required: bool = True


@click.command()
@engines_option
@pin_dir_option
@json_option
def doctor(engines: tuple[str, ...], pin_dir: Path, as_json: bool) -> None:
    """Check each need of portwatch on this machine, and name what mends it.

    Exit status 3 where a required one is not met.
    """
    from portwatch.cli.patience import patience

    with patience("trying what this kernel can do"):
        needs = _needs(pin_dir, engines)
    detach = f"portwatch unload --pin-dir {pin_dir}   (without portwatch: rm -r {pin_dir})"
    healthy = all(need.met for need in needs if need.required)
    if as_json:
        facts = {"ok": healthy, "needs": [asdict(need) for need in needs], "detach_all": detach}
        click.echo(json.dumps(facts))
    else:
        for need in needs:
            mark = click.style("ok  ", fg="green") if need.met else click.style("MISS", fg="red")
            if not need.met and not need.required:
                mark = click.style("less", fg="yellow")
            click.echo(f"  {mark}  {need.name:<22} {need.found}")
            if not need.met and need.mend:
                click.echo(f"        {'':<22} → {need.mend}")
        click.echo(f"to detach everything: {detach}")
    if not healthy:
        raise click.exceptions.Exit(3)


def _needs(pin_dir: Path, engines: tuple[str, ...]) -> list[Need]:
    from portwatch.kernel.pins import is_bpffs

    is_root = os.geteuid() == 0
    bpffs = is_bpffs(Path("/sys/fs/bpf"))
    needs = [
        Need("root", is_root, f"uid {os.geteuid()}", "sudo portwatch …"),
        _kernel(),
        _libbpf(),
        _bcc(),
        _cgroup2(),
        Need(
            "BPF file system",
            bpffs or is_root,
            "/sys/fs/bpf" if bpffs else "not mounted; `run` and `load` mount it",
            "mount -t bpf bpf /sys/fs/bpf",
        ),
        Need(
            "kernel types (BTF)",
            Path("/sys/kernel/btf/vmlinux").exists(),
            "/sys/kernel/btf/vmlinux",
            "a kernel with CONFIG_DEBUG_INFO_BTF",
            required=False,
        ),
        _containers(engines),
        _pods(),
    ]
    return needs + (_features() if is_root else []) + [_pins(pin_dir)]


def _kernel() -> Need:
    from portwatch.kernel.probe import OLDEST_KERNEL, kernel_version

    version = kernel_version()
    return Need(
        "kernel",
        version >= OLDEST_KERNEL,
        os.uname().release,
        f"Linux {OLDEST_KERNEL[0]}.{OLDEST_KERNEL[1]} or later",
    )


def _libbpf() -> Need:
    from portwatch.errors import KernelError
    from portwatch.kernel.libbpf import library

    try:
        library()
    except KernelError as err:
        return Need("libbpf", False, err.message, err.hint)
    return Need("libbpf", True, "libbpf.so.1")


def _bcc() -> Need:
    """In a process of its own, as the loader has it."""
    done = subprocess.run(
        [sys.executable, "-c", "import bcc; print(bcc.__version__)"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = done.stdout.strip() or (done.stderr.strip().splitlines() or ["no answer"])[-1]
    mend = "apt-get install python3-bpfcc (a venv needs --system-site-packages)"
    return Need("bcc", done.returncode == 0, found, mend)


def _cgroup2() -> Need:
    from portwatch.cli.enforcement import HOST
    from portwatch.errors import KernelError
    from portwatch.node.cgroups import find_cgroup2

    try:
        return Need("cgroup2", True, str(find_cgroup2(HOST)))
    except KernelError as err:
        return Need("cgroup2", False, err.message, err.hint)


NAMES_COME_WITH = {
    "podman": "systemctl enable --now podman.socket",
    "docker": "systemctl start docker, or --engine docker=SOCKET",
    "containerd": "its CRI plugin, or --engine containerd=SOCKET",
    "crio": "systemctl start crio, or --engine crio=SOCKET",
}


def _containers(engines: tuple[str, ...]) -> Need:
    """Whether the names of the containers that run here can be learned."""
    from portwatch.agent.identity.container_asking import ask_now, container_cgroups
    from portwatch.cli.enforcement import HOST, cgroup_tree, parse_engines
    from portwatch.errors import KernelError
    from portwatch.policy.words.places import place_of

    sockets = parse_engines(engines)
    try:
        tree = cgroup_tree()
    except KernelError as err:
        return Need("container names", False, err.message, err.hint, required=False)
    containers = container_cgroups(tree.scan())
    book = ask_now(tree, HOST, containers, sockets)
    nameless = [path for path in containers if book.facts(path) is None]
    if not nameless:
        found = f"of {len(containers)} containers" if containers else "no container runs here"
        return Need("container names", True, found, required=False)
    runtimes = {one.runtime for one in (place_of(path).container for path in nameless) if one}
    mends = sorted(NAMES_COME_WITH[runtime] for runtime in runtimes if runtime)
    found = f"{len(nameless)} of {len(containers)} containers are known by their id alone"
    mend = "; ".join(mends) or "--engine RUNTIME=SOCKET names the engine's socket"
    return Need("container names", False, found, mend, required=False)


def _pods() -> Need:
    """Whether the pods that run here are known by name."""
    from portwatch.agent.kubernetes.pod_file import pods_of_agents
    from portwatch.cli.enforcement import HOST, cgroup_tree
    from portwatch.errors import KernelError
    from portwatch.policy.words.places import place_of

    try:
        tree = cgroup_tree()
    except KernelError as err:
        return Need("pod names", False, err.message, err.hint, required=False)
    uids = {uid for uid in (place_of(path).pod for path in tree.scan()) if uid}
    known = pods_of_agents(HOST)
    nameless = [uid for uid in uids if known.of(uid) is None]
    if not nameless:
        found = f"of {len(uids)} pods" if uids else "no pod runs here"
        return Need("pod names", True, found, required=False)
    found = f"{len(nameless)} of {len(uids)} pods are known by their uid alone"
    mend = "portwatch run --kube-config PATH, or in a pod of the cluster: docs/pods.md"
    return Need("pod names", False, found, mend, required=False)


def _features() -> list[Need]:
    from portwatch.errors import KernelError
    from portwatch.kernel.features import LOST_WITHOUT, MENDED_BY
    from portwatch.kernel.probe import probe

    try:
        features = probe().features
    except KernelError:
        return []
    return [
        Need(
            str(feature.name).lower().replace("_", " "),
            bool(features & feature),
            "yes" if features & feature else f"no: {lost}",
            MENDED_BY.get(feature, "a later kernel"),
            required=False,
        )
        for feature, lost in LOST_WITHOUT.items()
    ]


def _pins(pin_dir: Path) -> Need:
    from portwatch.errors import PortwatchError
    from portwatch.kernel.pins import PinDir
    from portwatch.kernel.readings import Readings

    pins = PinDir(pin_dir)
    try:
        loaded = pins.exists()
    except PermissionError:
        return Need("pins", True, f"{pin_dir} is root's alone")
    if not loaded:
        return Need("pins", True, f"nothing loaded at {pin_dir}")
    try:
        readings = Readings(pins)
    except PortwatchError as err:
        return Need("pins", False, err.message, err.hint)
    gone = readings.missing_hooks()
    readings.close()
    found = f"detached: {', '.join(gone)}" if gone else f"loaded and attached at {pin_dir}"
    return Need("pins", not gone, found, "portwatch load attaches them again")
