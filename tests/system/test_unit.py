"""The systemd unit on a machine that has booted with it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from bind_loop import BindLoop
from unit import POLICY, Unit, eventually, metric, run

from portwatch.kernel import layout

PINS = Path("/sys/fs/bpf/portwatch")
BPFFS = PINS.parent
EACCES = "13"
HEALED_SECONDS = 10
KEPT_CAPABILITIES = {"cap_bpf": 39, "cap_dac_read_search": 2}


def is_refused() -> bool:
    """Whether a unit that is not the favoured one is refused the port."""
    stranger = Unit("stranger.service")
    stranger.call("start")
    return stranger.show("ExecMainStatus") == EACCES


def test_a_unit_is_refused_and_explained_by_name(agent: Unit) -> None:
    """A bind of another unit's port fails, and the journal names unit and constraint; the unit that
    the port is kept for has it."""
    assert is_refused()
    event = agent.wait_for_event(kind="violation", workload="stranger.service", port="28000")
    assert (event["verdict"], event["constraint"]) == ("denied", "favoured-has-it")
    explained = run("portwatch", "explain", "--unit", "stranger.service", "--port", "28000/tcp")
    assert "denied by favoured-has-it" in explained.stdout
    assert "28000-28099 are favoured.service's" in explained.stdout
    assert Unit("favoured.service").call("start") == 0


def test_the_agent_keeps_what_it_needs(agent: Unit) -> None:
    """The long-lived process has two capabilities and a filter on bpf(), and no way to more."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines()
    )
    kept = sum(1 << number for number in KEPT_CAPABILITIES.values())
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == kept
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_other_network_namespaces_are_looked_at(agent: Unit) -> None:
    """What listens in another namespace is found, though the agent may not enter it."""
    for command in ("ip netns add elsewhere", "ip -n elsewhere link set lo up"):
        assert run(*command.split()).returncode == 0
    code = "import socket, time; s = socket.create_server(('127.0.0.1', 7777)); time.sleep(600)"
    listener = os.posix_spawnp(
        "ip", ["ip", "netns", "exec", "elsewhere", "python3", "-c", code], os.environ
    )
    try:
        eventually(lambda: "7777" in run("ip", "netns", "exec", "elsewhere", "ss", "-ltn").stdout)
        agent.call("reload")
        labels = {"port": "7777", "workload": "guest-job.service", "scope": "loopback"}
        eventually(lambda: metric("portwatch_listeners", **labels) == 1, 60, str(labels))
    finally:
        os.kill(listener, signal.SIGKILL)
        os.waitpid(listener, 0)
        run("ip", "netns", "delete", "elsewhere")


def test_no_bind_is_judged_twice_without_need(agent: Unit) -> None:
    """The agent may not see what else is on the hooks: the look at what listens tells it, and where
    that is nothing, no socket is marked to be judged again."""
    agent.call("reload")
    eventually(lambda: metric("portwatch_listeners") > 0, 60)
    dump = run("bpftool", "--json", "map", "dump", "pinned", str(PINS / "maps" / "control"))
    control = layout.Control.from_buffer_copy(bytes(int(n, 16) for n in read_value(dump.stdout)))
    assert control.generation > 0
    assert not control.flags & layout.CONTROL_FOREIGN


def read_value(dump: str) -> list[str]:
    """The bytes of a map's only entry, as bpftool writes them."""
    return json.loads(dump)[0]["value"]


def test_reload(agent: Unit) -> None:
    """`systemctl reload` loads the policy anew; a bad one is refused, the unit's status says so,
    and a restart goes on with the one in force."""
    loads = count_loads(agent)
    assert agent.call("reload") == 0
    eventually(lambda: count_loads(agent) > loads)
    POLICY.write_text("version: 1\nconstraint: []\n")
    assert agent.call("reload") == 0
    eventually(lambda: "refused" in agent.show("StatusText"))
    assert is_refused()
    before = agent.pid
    assert agent.call("restart") == 0
    agent.wait_until_active(but=before)
    assert "the last good policy stays" in agent.log
    assert is_refused()
    assert metric("portwatch_policy_last_load_successful") == 0


def count_loads(agent: Unit) -> int:
    """How often it has told of a policy that came into force."""
    return sum(one.get("result") == "loaded" for one in agent.events)


def test_killed_and_restarted_without_a_gap(agent: Unit, storm: BindLoop) -> None:
    """After kill -9, and through a restart, the agent is back, and no bind ever got through."""
    first = agent.pid
    os.kill(first, signal.SIGKILL)
    agent.wait_until_active(but=first)
    second = agent.pid
    assert agent.call("restart") == 0
    agent.wait_until_active(but=second)
    assert metric("portwatch_enforcing") == 1


def test_an_agent_that_hangs_is_replaced(agent: Unit, storm: BindLoop) -> None:
    """The watchdog ends an agent that does not turn; enforcement stays."""
    hangs = agent.pid
    os.kill(hangs, signal.SIGSTOP)
    agent.wait_until_active(but=hangs)
    assert "watchdog" in run("journalctl", "-b", "-o", "cat", "-u", agent.name).stdout.lower()


def test_a_detached_link_is_healed(agent: Unit) -> None:
    """A link of the bind hook that somebody else detaches is told, and back within ten seconds."""
    before, times = agent.pid, metric("portwatch_hook_reattached_total", hook="bind4")
    assert run("bpftool", "link", "detach", "pinned", str(PINS / "links" / "bind4")).returncode == 0
    since = time.monotonic()
    eventually(lambda: metric("portwatch_hook_attached", hook="bind4") == 0, HEALED_SECONDS)
    eventually(is_refused, HEALED_SECONDS)
    print(f"healed after {time.monotonic() - since:.1f} s")
    agent.wait_until_active(but=before)
    agent.wait_for_event(kind="hook", hook="bind4", result="gone")
    assert metric("portwatch_hook_attached", hook="bind4") == 1
    assert metric("portwatch_hook_reattached_total", hook="bind4") == times + 1


def test_bpffs_unmounted_and_mounted_again(agent: Unit, storm: BindLoop) -> None:
    """Where bpffs is unmounted, all stays attached; mounted again, all is pinned again."""
    before = agent.pid
    assert run("umount", str(BPFFS)).returncode != 0, "a plain unmount is refused"
    assert run("umount", "--lazy", str(BPFFS)).returncode == 0
    eventually(lambda: any(one.get("hook") == "bpffs" for one in agent.events))
    assert metric("portwatch_hook_attached", hook="bind4") == 1
    assert run("mount", "-t", "bpf", "bpf", str(BPFFS)).returncode == 0
    eventually(lambda: (PINS / "links" / "bind4").exists())
    assert agent.pid == before
    assert run("portwatch", "status").returncode == 0


def test_stop_leaves_enforcement(agent: Unit, storm: BindLoop) -> None:
    """`systemctl stop` ends the agent; what it enforced stays."""
    assert agent.call("stop") == 0
    assert agent.pid == 0
    assert is_refused()


def test_unload_is_not_fought(agent: Unit) -> None:
    """`portwatch unload`, and `rm -r` of the pins, remove enforcement, and nothing puts it back."""
    for command in (("portwatch", "unload"), ("rm", "-r", str(PINS))):
        assert run(*command).returncode == 0
        eventually(lambda: agent.show("ActiveState") == "inactive")
        assert agent.show("ExecMainStatus") == "4"
        assert not is_refused()
        time.sleep(3)  # past RestartSec
        assert not PINS.exists()
        assert agent.call("start") == 0
        assert is_refused()
