"""Ports that are taken with no socket: real NAT rules, as the tools write them, in namespaces of
the tests' own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from binder import Binder
from colliding import one_told, start_agent, together, told
from containers import Engine
from docker_engine import docker
from nat_rules import (
    ADDRESS,
    DOCKER,
    IPTABLES,
    KUBE_PROXY,
    NFT,
    give_address,
    inside,
    write_iptables,
    write_nft,
)
from podman_engine import podman
from product import PORTWATCH, eventually
from sandbox import Sandbox

from portwatch.agent.events.published import PUBLISHERS, find_shadowed
from portwatch.agent.survey.survey import Surveyed, survey
from portwatch.node.accounts import AccountTable
from portwatch.node.listeners import find_listeners
from portwatch.node.published_ports import PublishedPort

Seen = tuple[str, str, int, int, str, str]


@pytest.fixture
def binder() -> Iterator[Binder]:
    """A process in a network namespace of its own, which has an address."""
    with contextlib.closing(Binder(None)) as binder:
        give_address(binder.pid)
        yield binder


def published(pid: int) -> list[PublishedPort]:
    """What is published in a process's namespace."""
    inode = os.stat(f"/proc/{pid}/ns/net").st_ino
    listing = find_listeners()
    assert listing.unread == []
    return [one for one in listing.published if one.network == inode]


def seen(pid: int) -> set[Seen]:
    """The same, what matters of it."""
    return {
        (
            *(one.rule.protocol, one.address, one.rule.first, one.rule.last),
            *(one.rule.source, one.rule.target),
        )
        for one in published(pid)
    }


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize("who", IPTABLES)
def test_rules_of_iptables_are_read(who: str, tool: str, binder: Binder) -> None:
    """Whichever of the kernel's two packet filters they are in, the ports are told with their
    address, source and target; and none of an address that this machine does not have."""
    rules, expected = IPTABLES[who]
    write_iptables(binder.pid, tool, rules)
    assert seen(binder.pid) == expected


@pytest.mark.parametrize("who", NFT)
def test_rules_of_nft_are_read(who: str, binder: Binder) -> None:
    """Through chains, sets, maps of verdicts and of targets, ranges and concatenations."""
    rules, expected = NFT[who]
    write_nft(binder.pid, rules)
    assert seen(binder.pid) == expected


@pytest.mark.parametrize("engine", [docker, podman])
def test_a_real_engines_ports_are_seen(
    engine: Callable[..., AbstractContextManager[Engine]], shared: Sandbox
) -> None:
    """`run --publish` of Docker and of Podman, whose networks are CNI's here, shows the port with
    its source and the container's address; and the engine's own hold on it is no collision."""
    source = {"docker": "docker", "podman": "cni-portmap"}[engine.__name__]
    with engine(shared.home / "engine", own_network=True) as running:
        inside(running.room.keeper, "ip", "link", "set", "lo", "up")
        network = {"docker": "bridge", "podman": "podman"}[engine.__name__]
        container = running.run(
            "web", ("tcp", "0.0.0.0", 80), network=network, options=["--publish=8080:80"]
        )
        assert container.said == ["ok"]
        found = {one for one in seen(running.room.keeper) if one[1] == "0.0.0.0"}
        assert {one[:5] for one in found} == {("tcp", "0.0.0.0", 8080, 8080, source)}
        ((*_, target),) = found
        assert target.endswith(":80")
        assert holders(running.room.keeper, 8080) <= PUBLISHERS
        assert shadowed(running.room.keeper) == []


def test_whose_the_port_is_can_be_read(binder: Binder) -> None:
    """The rule that names the port is told with its comment, which has the Service's name, and how
    many targets there are beside the first."""
    write_iptables(binder.pid, "iptables-nft", KUBE_PROXY)
    (one,) = published(binder.pid)
    assert one.facts() == {
        "source": "kube-proxy",
        "target": "10.244.0.5:8080",
        "address": "0.0.0.0",
        "rule": "KUBE-NODEPORTS",
        "comment": "default/web:http",
        "more": 1,
    }


def test_a_look_leaves_no_table_behind(binder: Binder) -> None:
    """Where nothing translates addresses, looking does not make it so."""
    assert published(binder.pid) == []
    with open(f"/proc/{binder.pid}/net/ip_tables_names") as names:
        assert names.read() == ""


def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    """Without CAP_NET_ADMIN the listing says that it is blind, and of which namespace; so does
    `explain`."""
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    code = "from portwatch.node.listeners import find_listeners as f; print(*f().unread, sep='\\n')"
    done = subprocess.run(
        [
            *("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"),
            *(sys.executable, "-c", code),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "published ports of host: " in done.stdout
    assert "not permitted" in done.stdout
    done = subprocess.run(
        [
            *("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", PORTWATCH),
            *("explain", tmp_path / "policy.yaml", "--unit", "web.service", "--port", "80"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "note: whether NAT takes the port is not known: published ports of " in done.stdout


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
def test_the_units_errands_may_read_them(tool: str, binder: Binder) -> None:
    """The capabilities of portwatch-errand@.service are enough for another namespace's rules."""
    write_iptables(binder.pid, tool, DOCKER)
    unit = Path(__file__).parents[2] / "deploy/systemd/portwatch-errand@.service"
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", unit.read_text(), re.M)
    kept = ",".join("+" + word.removeprefix("CAP_").lower() for word in line.split())
    code = "from portwatch.node.listeners import find_listeners as f; x = f(); "
    code += "print([p.network for p in x.published], x.unread)"
    done = subprocess.run(
        ["setpriv", f"--bounding-set=-all,{kept}", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(os.stat(f"/proc/{binder.pid}/ns/net").st_ino) in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def test_listeners_shows_them_with_their_source(shared: Sandbox, binder: Binder) -> None:
    """In the table, and as JSON beside the sockets; `--port` chooses within a range; another
    workload's name leaves them out."""
    write_nft(binder.pid, NFT["netavark"][0])
    network = f"net:[{os.stat(f'/proc/{binder.pid}/ns/net').st_ino}]"
    done = shared.run("listeners", "--port", "5003")
    row = next(line for line in done.stdout.splitlines() if network in line)
    assert row.split()[:5] == [
        "udp",
        f"{ADDRESS}:5000-5010",
        "podman",
        "NETAVARK-HOSTPORT-DNAT",
        "10.88.0.2",
    ]
    found = json.loads(shared.run("listeners", "--port", "5003", "--json").stdout)
    assert [one for one in found if one["bind"].get("network") == network] == [
        {
            "bind": {
                "protocol": "udp",
                "address": ADDRESS,
                "port": 5000,
                "last_port": 5010,
                "network": network,
            },
            "published": {
                "source": "podman",
                "target": "10.88.0.2",
                "address": ADDRESS,
                "rule": "NETAVARK-HOSTPORT-DNAT",
            },
        }
    ]
    assert network not in shared.run("listeners", "--workload", "nobody").stdout


def test_a_bind_on_a_published_port_is_a_collision(shared: Sandbox) -> None:
    """It goes through and gets nothing: the event names who listens in vain, and as holder the rule
    with its source and target; the metrics count it, and what is published. A socket on loopback,
    or the publisher's own, is none."""
    agent = start_agent(shared)
    (binder,) = together(shared, "web")
    give_address(binder.pid)
    write_iptables(binder.pid, "iptables-nft", DOCKER)
    assert binder.take(*listening("0.0.0.0", 8080), name="vain").said == "ok"
    assert binder.take(("socket", "udp", "ipv4"), ("bind", ADDRESS, 5353), name="udp").said == "ok"
    (other,) = together(shared, "quiet")
    write_iptables(other.pid, "iptables-legacy", DOCKER)
    assert other.take(*listening("127.0.0.1", 8080), name="loopback").said == "ok"
    shared.policy((shared.folder / "policy.yaml").read_text() + "# looked at again\n")
    event = one_told(agent, 8080)
    assert list(event) == [
        *("time", "kind", "published", "bind", "workload", "process", "since", "holder", "count"),
    ]
    assert event["published"] is True
    assert event["workload"]["name"] == f"{shared.path}/web"
    assert event["holder"] == {
        "source": "docker",
        "target": "172.17.0.2:80",
        "address": "0.0.0.0",
        "rule": "DOCKER",
    }
    assert one_told(agent, 5353)["holder"]["target"] == "172.17.0.3:53"
    docker = {"source": "docker", "protocol": "tcp"}
    eventually(lambda: agent.metric("portwatch_published_ports", **docker) >= 2)  # the other's, too
    assert len(told(agent)) == 2
    labels = {"workload": f"{shared.path}/web", "source": "docker"}
    assert agent.metric("portwatch_listeners_published", port="8080", **labels) == 1
    assert agent.metric("portwatch_listeners_published", port="5353", **labels) == 1
    assert agent.metric("portwatch_uncovered", gap="published_ports") == 0


def test_binds_in_vain_are_counted_by_the_kernel(shared: Sandbox) -> None:
    """Exactly those that go through on an address which a rule takes from them, over both IP
    versions; and one that stays is told soon, without anybody asking."""
    (binder,) = together(shared, "vain")
    give_address(binder.pid)
    write_iptables(binder.pid, "iptables-nft", DOCKER)
    write_nft(binder.pid, NFT["netavark"][0])
    agent = start_agent(shared)
    eventually(lambda: agent.metric("portwatch_published_ports", source="podman") >= 13)
    name = f"{shared.path}/vain"

    def counted(port: int, protocol: str = "tcp") -> float:
        labels = {"workload": name, "protocol": protocol, "port": str(port)}
        return agent.metric("portwatch_published_port_binds_total", **labels)

    for _ in range(7):
        assert binder.bind(8080, "0.0.0.0") == "ok"
        assert binder.bind(8080, ADDRESS) == "ok"
        assert binder.bind(8080, "127.0.0.1") == "ok"
        assert binder.bind(8080, "0.0.0.0", protocol="udp") == "ok"
        assert binder.bind(8085, "0.0.0.0") == "ok"
    assert counted(8080) == 14
    assert counted(8080, "udp") == counted(8085) == 0
    assert binder.bind(8080, "::") == "ok"
    assert binder.bind(8080, "::1") == "ok"
    assert binder.bind(8080, "::", v6only=True) == "ok"
    assert counted(8080) == 15
    for address in ("198.51.100.7", ADDRESS, "0.0.0.0"):
        assert binder.bind(5353, address, protocol="udp") == "ok"
    assert counted(5353, "udp") == 2
    assert binder.bind(443, "::", v6only=True) == "ok"
    assert binder.bind(443, "2001:db8::7") == "ok"
    assert binder.bind(443, "0.0.0.0") == "ok"
    assert counted(443) == 2
    assert agent.metric("portwatch_bind_collisions_total", workload=name) == 0
    assert binder.take(*listening("0.0.0.0", 8080), name="stays").said == "ok"
    event = eventually(lambda: told(agent, 8080), 40, "it is told")[0]
    assert event["holder"]["source"] == "docker"


def listening(address: str, port: int) -> list[tuple[object, ...]]:
    """The steps to a server."""
    return [("socket", "tcp", "ipv4"), ("bind", address, port), ("listen",)]


def holders(pid: int, port: int) -> set[str]:
    """What the processes are called that listen there."""
    inode = os.stat(f"/proc/{pid}/ns/net").st_ino
    found = [one for one in find_listeners().listeners if one.network == inode]
    held = {one.holder.comm for one in found if one.port == port and one.holder}
    assert held
    return held


def shadowed(pid: int) -> list[Surveyed]:
    """Who listens in vain in a process's namespace."""
    inode = os.stat(f"/proc/{pid}/ns/net").st_ino
    listing = find_listeners()
    surveyed = survey(None, listing.listeners, AccountTable({}, {}))
    found = find_shadowed(surveyed, listing.published)
    return [one for one, _ in found if one.listener.network == inode]


def test_explain_and_check_know_them(shared: Sandbox) -> None:
    """An allowed bind is told that nothing would reach it, and by which rule; and a policy that
    allows, or keeps, such a port is told where it says so."""
    policy = shared.policy(
        "version: 1\nmode: record\nconstraints:\n"
        "  - {name: web, for: {unit: web.service}, allow: [8080], otherwise: continue}\n"
        "  - {name: kept, except: {unit: etcd.service}, deny: [8082]}\n"
    )
    with contextlib.closing(Binder(None)) as host:
        give_address(host.pid)
        write_nft(host.pid, NFT["docker"][0])
        write_iptables(host.pid, "iptables-nft", DOCKER)

        def there(*words: object) -> str:
            return as_the_host(host.pid, PORTWATCH, *words)

        asked = ("explain", policy, "--unit", "web.service", "--port", "8080")
        text = there(*asked)
        assert "\nallowed\n" in text
        assert "taken: NAT by docker (DOCKER) sends what comes in to 172.17.0.2:80" in text
        assert json.loads(there(*asked, "--json"))["published"][0]["source"] == "docker"
        assert "taken:" not in there(*asked, "--address", "127.0.0.1")
        found = there("check", policy, "--select", "published-port")
        assert "web: it allows 8080/tcp (docker to 172.17.0.2:80), which is published here" in found
        assert "kept: it refuses 8082/tcp (docker to 172.18.0.2:80)" in found


def as_the_host(pid: int, *words: object) -> str:
    """What a command prints on a machine whose network is a process's, which is pid 1 there."""
    done = subprocess.run(
        [
            *("nsenter", f"--net=/proc/{pid}/ns/net"),
            *("unshare", "--pid", "--fork", "--mount-proc", *map(str, words)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


ASK_AN_AGENT = """
import contextlib, subprocess, sys, time, urllib.error, urllib.request
agent = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL)
answer, ends = b"", time.monotonic() + 30
while b"published" not in answer and time.monotonic() < ends:
    time.sleep(0.1)
    with contextlib.suppress(urllib.error.URLError):
        url = f"http://127.0.0.1:9642/explain?format=json&{sys.argv[1]}"
        answer = urllib.request.urlopen(url, timeout=5).read()
agent.terminate()
agent.wait()
print(answer.decode())
"""


def test_the_page_that_explains_knows_them(shared: Sandbox) -> None:
    """/explain of an agent says by whom NAT takes what comes in for a port of its own network."""
    policy = shared.policy("version: 1\nmode: record\nconstraints: []\n")
    with contextlib.closing(Binder(None)) as host:
        give_address(host.pid)
        inside(host.pid, "ip", "link", "set", "lo", "up")
        write_iptables(host.pid, "iptables-nft", DOCKER)
        options = shared.run_options(policy, "--keep", "--listen", "127.0.0.1:9642")
        asked = "workload=/x&protocol=tcp&port=8080"
        answer = as_the_host(
            host.pid, sys.executable, "-c", ASK_AN_AGENT, asked, PORTWATCH, "run", *options
        )
        assert json.loads(answer)["published"] == [{"source": "docker"}]


def test_status_counts_them(shared: Sandbox, binder: Binder) -> None:
    """By source, whoever looks."""
    write_nft(binder.pid, NFT["netavark"][0])
    start_agent(shared)
    counts = shared.status()["published_ports"]
    assert counts["podman"] >= 13
    assert eventually(lambda: "podman" in shared.run("status").stdout)
    inside(binder.pid, "nft", "flush", "ruleset")
