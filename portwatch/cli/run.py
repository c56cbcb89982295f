"""`run`: the agent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import click

from portwatch.cli.kubernetes_options import kubernetes_options
from portwatch.cli.options import (
    cgroup_option,
    collisions_option,
    engines_option,
    listen_option,
    mode_option,
    pin_dir_option,
    policy_option,
    systemd_socket_option,
    web_config_option,
)

JOURNAL = "journal"


@click.command()
@policy_option
@cgroup_option
@mode_option
@listen_option
@systemd_socket_option
@web_config_option
@click.option("--keep", is_flag=True, help="Leave enforcement up at the end.")
@click.option(
    "--events",
    "events_path",
    metavar="PATH|-|journal",
    help="Append events to PATH as JSON lines, `-` for stdout, `journal` for systemd's, with "
    "fields.  [default: stdout; in a terminal, for people; under systemd, the journal]",
)
@click.option(
    "--max-series",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Series of portwatch_violations_total; the rest is counted under `other`.",
)
@click.option(
    "--log-binds",
    is_flag=True,
    help="Tell of binds that are let through, too, each kind at most once a second: what `learn` "
    "and `replay` read.",
)
@click.option(
    "--no-load",
    is_flag=True,
    help="Serve what `load` has attached, with the same --cgroup and --collisions, and give up the "
    "power to attach: nothing is loaded, healed or removed from here. Where the policy's files are "
    "bad, the policy in force stays.",
)
@collisions_option
@engines_option
@kubernetes_options
@pin_dir_option
def run(
    policy: Path | None,
    cgroup: Path | None,
    mode: Literal["enforce", "record"] | None,
    listens: tuple[str, ...],
    systemd_socket: bool,
    web_config: Path | None,
    keep: bool,
    events_path: str | None,
    max_series: int,
    log_binds: bool,
    no_load: bool,
    collisions: bool,
    engines: tuple[str, ...],
    kube_config: str | None,
    node_name: str | None,
    pin_dir: Path,
) -> None:
    """Run the agent: load, enforce, follow the policy's files and SIGHUP, print events, serve
    metrics.

    Ctrl-C ends it and removes enforcement; with --keep, and after a crash, enforcement stays.
    """
    from portwatch.agent.hook_watch import begin_healing
    from portwatch.agent.kubernetes.pod_file import forget_pods
    from portwatch.agent.last_good import remember_policy
    from portwatch.agent.policy_source import PolicySource
    from portwatch.cli.enforcement import (
        begin_loading,
        cgroup_tree,
        load_or_keep,
        loaded_already,
        parse_engines,
        removed_on_failure,
        require_root,
    )
    from portwatch.cli.kubernetes_options import parse_pod_source
    from portwatch.cli.patience import patience
    from portwatch.cli.web_options import WebOptions
    from portwatch.kernel.loading import remove
    from portwatch.kernel.pins import PinDir

    require_root()
    web = WebOptions.parse(listens, systemd_socket, web_config)
    sockets = parse_engines(engines)
    pods = parse_pod_source(kube_config, node_name)
    source = PolicySource(policy, mode)
    tree = cgroup_tree()
    pins = PinDir(pin_dir)
    target = cgroup or tree.mount_point
    begin = loaded_already if no_load else begin_loading
    with begin(pins, tree, target, collisions) as loading:
        from portwatch.cli.lockout import LockoutCheck

        loaded, refused = load_or_keep(source, pins) if no_load else (source.load(), None)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end_early)  # until Agent.run() has its own
        pins.create()
        with pins.serving():
            try:
                from portwatch.cli.serve import Service, serve  # takes its time; others compile

                with (
                    nullcontext() if no_load else removed_on_failure(pins),
                    _event_printer(events_path) as emit,
                ):
                    with patience("compiling and loading the programs"):
                        loading.finish()
                    below = tree.path_below(target)
                    with closing(LockoutCheck(loaded, pin_dir, below, engines)) as check:
                        heal = partial(begin_healing, str(pin_dir), str(target), collisions)
                        service = Service(
                            *(tree, source, loaded, web, max_series, emit, sockets, log_binds),
                            heal=None if no_load else heal,
                            refused=refused,
                            pods=pods,
                            remember=partial(remember_policy, pin_dir) if no_load else None,
                        )
                        serve(pins, service, check)
                ready = True
            except _EndedEarly:
                ready = False
            # Not in a `finally`: after a crash, enforcement stays.
            if not keep and not no_load:
                remove(pins)
                forget_pods(pin_dir)
            if not ready:
                click.echo("portwatch: ended before it was ready", err=True)


class _EndedEarly(BaseException):
    """Not KeyboardInterrupt: subprocess would not wait for the loader's end."""


def _end_early(_number: int, _frame: FrameType | None) -> None:
    raise _EndedEarly


@contextmanager
def _event_printer(path: str | None) -> Iterator[Callable[[dict[str, Any], bytes], None]]:
    """Where events go: a file, the journal, stdout as JSON, or a terminal in words."""
    from portwatch.agent.events.journal import JournalEvents, is_journal

    if path == JOURNAL or (path is None and is_journal(1, os.environ.get("JOURNAL_STREAM", ""))):
        from portwatch.cli.event_line import event_message

        with closing(JournalEvents(event_message)) as journal, journal.outlet:
            yield journal.write
    elif path is None or path == "-":
        from portwatch.cli.stdout_events import StdoutEvents

        stdout = StdoutEvents(in_words=path is None and os.isatty(1))
        with stdout.outlet:
            yield stdout.write
    else:
        from portwatch.agent.events.file import EventFile

        with closing(EventFile(Path(path))) as log:
            yield lambda _event, line: log.write(line)
