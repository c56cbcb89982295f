"""Options that several commands share, named and explained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

# Whether it may be read is found out by reading it, with a hint where it may not.
ANY_PATH = click.Path(path_type=Path, readable=False)
DEFAULT_LISTEN = "127.0.0.1:9477"  # agent.web.addresses has it too
DEFAULT_PIN_DIR = "/sys/fs/bpf/portwatch"  # kernel.pins has it too; not imported: --help is quick


def pin_dir_option(command: Command) -> Command:
    """`--pin-dir DIR`, as a Path."""
    return click.option(
        "--pin-dir",
        type=ANY_PATH,
        default=Path(DEFAULT_PIN_DIR),
        show_default=True,
        metavar="DIR",
        help="Where maps, programs and links are pinned.",
    )(command)


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def policy_option(command: Command) -> Command:
    """`--policy PATH`; None: the default directory, else the built-in policy."""
    return click.option(
        "--policy",
        type=ANY_PATH,
        metavar="PATH",
        help="A policy file, or a directory of *.yaml.  "
        "[default: /etc/portwatch/policy.d, else the built-in policy]",
    )(command)


def cgroup_option(command: Command) -> Command:
    """`--cgroup DIR`; None: the root of cgroup2."""
    return click.option(
        "--cgroup",
        type=ANY_PATH,
        metavar="DIR",
        help="Attach to this cgroup and all below it.  [default: the root of cgroup2]",
    )(command)


def mode_option(command: Command) -> Command:
    """`--mode MODE`."""
    return click.option(
        "--mode",
        type=click.Choice(["enforce", "record"]),
        help="Override the policy's mode; `record` denies nothing, whatever it says.",
    )(command)


def collisions_option(command: Command) -> Command:
    """`--no-collisions`."""
    return click.option(
        "--collisions/--no-collisions",
        default=True,
        help="Watch for binds that fail because the port is taken. Where the kernel takes no fexit "
        "programs, every system call of the machine pays for it.  [default: collisions]",
    )(command)


def engines_option(command: Command) -> Command:
    """`--engine RUNTIME=SOCKET`, as a tuple of texts."""
    return click.option(
        "--engine",
        "engines",
        multiple=True,
        metavar="RUNTIME=SOCKET",
        help="Ask the container engine (docker, podman, containerd, crio) on this socket, not on "
        "the one where it usually is; may be given for each engine.",
    )(command)


def listen_option(command: Command) -> Command:
    """`--listen ADDR:PORT`, as a tuple of texts; exporters have it as `--web.listen-address`."""
    return click.option(
        "--listen",
        "--web.listen-address",
        "listens",
        multiple=True,
        default=(DEFAULT_LISTEN,),
        show_default=True,
        metavar="ADDR:PORT",
        help="Where /metrics, /healthz and /readyz are served; may be given several times.",
    )(command)


def systemd_socket_option(command: Command) -> Command:
    """`--web.systemd-socket`."""
    return click.option(
        "--web.systemd-socket",
        "systemd_socket",
        is_flag=True,
        help="Serve on the sockets that systemd passes, and not on --listen.",
    )(command)


def web_config_option(command: Command) -> Command:
    """`--web.config.file PATH`."""
    return click.option(
        "--web.config.file",
        "web_config",
        type=ANY_PATH,
        metavar="PATH",
        help="TLS, client certificates, users and headers, as Prometheus exporters have them.",
    )(command)
