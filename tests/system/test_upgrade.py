"""The package is replaced by a newer one, with other programs, while binds go on."""

from __future__ import annotations

import json
from pathlib import Path

from bind_loop import BindLoop
from unit import Unit, metric, run

NEWER = Path("/job/newer.deb")


def test_upgrade_under_load(agent: Unit, storm: BindLoop) -> None:
    """Every program is another one on the same link, the agent is a new one, no count went back,
    and no bind got through."""
    before, links, programs = agent.pid, pinned("link"), pinned("prog")
    denied = count_denied()
    assert denied > 0

    done = run("apt-get", "install", "-y", str(NEWER))
    assert done.returncode == 0, done.stdout + done.stderr
    agent.wait_until_active(but=before)

    assert run("dpkg-query", "-W", "-f", "${Version}", "portwatch").stdout.endswith("+newer")
    assert pinned("link") == links
    assert not set(pinned("prog").values()) & set(programs.values())
    storm.wait_for_attempts()
    assert count_denied() > denied
    assert metric("portwatch_enforcing") == 1


def count_denied() -> float:
    """How many binds were denied so far."""
    return metric("portwatch_binds_total", verdict="denied")


def pinned(kind: str) -> dict[str, int]:
    """The kernel's numbers of the bind hooks' links, or programs, by hook."""
    folder = {"link": "links", "prog": "programs"}[kind]
    return {
        hook: json.loads(
            run(
                *("bpftool", "--json", kind, "show", "pinned"),
                f"/sys/fs/bpf/portwatch/{folder}/{hook}",
            ).stdout
        )["id"]
        for hook in ("bind4", "bind6", "post_bind4", "post_bind6", "listen")
    }
