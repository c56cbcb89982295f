"""Ports that are not got by a bind() of the task's own: the kernel's sockets, other BPF programs,
and what has no port at all."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import native_calls as native
import pytest
from beside import (
    ATTACH_INET4_CONNECT,
    attached,
    rewriting_address,
    rewriting_port,
    taking_port,
)
from binder import Binder
from guard import Guard
from steering import steered

from portwatch.kernel import hooks
from portwatch.kernel.probe import kernel_version
from portwatch.kernel.readings import Readings
from portwatch.kernel.uncovered import ALWAYS, uncovered

PORT = 9000
TCP = ("socket", "tcp", "ipv4")
DENIED = {("kept", "/", PORT, "tcp", "denied"): 1}


def keeping(*ports: object, more: str = "") -> str:
    """An enforced policy that denies these ports to everybody."""
    listed = ", ".join(str(port) for port in ports)
    return (
        "version: 1\nmode: enforce\nerrno: EPERM\nconstraints:\n"
        f"  - {{name: kept, {more} deny: [{listed}]}}\n"
    )


@pytest.fixture(autouse=True)
def forgotten(guard: Guard) -> Iterator[None]:
    """What the programs were told of others on their hooks is forgotten for the next test."""
    yield
    guard.forget_picked()


@pytest.fixture
def child_cgroup(guard: Guard, binder: Binder) -> Path:
    """A cgroup below portwatch's, with the binder in it."""
    directory = guard.make("/child")
    binder.move(directory)
    return directory


@pytest.mark.parametrize(("asked", "kept"), [(9001, PORT), (PORT, 9001)])
def test_a_program_of_a_child_cgroup_rewrites_the_port(
    asked: int, kept: int, guard: Guard, binder: Binder, child_cgroup: Path
) -> None:
    """A program further down runs first: the port that it chose is judged, as one that was asked
    for, and the port that the task named is nothing to the policy."""
    guard.publish(keeping(PORT))
    with attached(child_cgroup, hooks.ATTACH_INET4_BIND, rewriting_port(kept)):
        stand = binder.take(TCP, ("bind", "127.0.0.1", asked))
    if kept == PORT:
        assert (stand.said, stand.port) == ("EPERM", 0)
        assert list(guard.violations) == [("kept", "/child", PORT, "tcp", "denied")]
        (event,) = guard.events()
        assert (event.port, event.requested_port) == (PORT, PORT)
    else:
        assert (stand.said, stand.port) == ("ok", kept)
        assert guard.binds == {("allowed", "tcp", "ipv4"): 1}


def test_a_program_of_a_child_cgroup_rewrites_the_address(
    guard: Guard, binder: Binder, child_cgroup: Path
) -> None:
    """The address that a program further down chose is the one that is judged."""
    guard.publish(keeping(PORT, more="addresses: [127.0.0.2],"))
    with attached(child_cgroup, hooks.ATTACH_INET4_BIND, rewriting_address("127.0.0.2")):
        assert binder.take(TCP, ("bind", "127.0.0.1", PORT)).said == "EPERM"
    assert binder.take(TCP, ("bind", "127.0.0.1", PORT)).address == "127.0.0.1"
    assert guard.verdicts() == {"denied": 1, "allowed": 1}


@pytest.mark.needs("POST_DENY")
def test_a_program_beside_portwatch_rewrites_the_port(guard: Guard, binder: Binder) -> None:
    """A program that runs after portwatch's cannot get a denied port for a task: post_bind sees
    the port that was really taken."""
    with attached(guard.cgroup, hooks.ATTACH_INET4_BIND, rewriting_port(PORT)):
        guard.publish(keeping(PORT))
        stand = binder.take(TCP, ("bind", "127.0.0.1", 9001))
        assert (stand.said, stand.port) == ("EPERM", 0)
        assert guard.binds == {("denied", "tcp", "ipv4"): 1}
        assert guard.violations == DENIED


def test_a_program_binds_for_a_client(guard: Guard, binder: Binder) -> None:
    """bpf_bind() in a connect program passes every hook, and so does the socket that then listens
    on that port, which it has by number: the gap is called `bpf_bind`."""
    assert binder.take(TCP, ("bind", "127.0.0.1", 8000), ("listen",), name="server").said == "ok"
    guard.publish(keeping(PORT))
    with attached(guard.cgroup, ATTACH_INET4_CONNECT, taking_port(PORT)):
        stand = binder.take(TCP, ("connect", "127.0.0.1", 8000), ("disconnect",), ("listen",))
    assert (stand.said, stand.port, stand.listening) == ("ok", PORT, True)
    assert guard.binds == {}
    assert "bpf_bind" in ALWAYS


def test_a_program_steers_a_ports_traffic(guard: Guard, binder: Binder, native_calls: Path) -> None:
    """An sk_lookup program gives a port's traffic to a socket that has another port: nothing is
    bound, and the gap is called `steered`."""
    guard.publish(keeping(PORT))
    assert binder.take(TCP, ("bind", "127.0.0.1", 9001), ("listen",), name="thief").port == 9001
    native.load(str(native_calls))
    fd = native.copy_descriptor(binder.pid, binder.ask(do="descriptor", name="thief"))
    with steered(binder.pid, PORT, fd):
        assert binder.take(TCP, ("connect", "127.0.0.1", PORT), name="client").said == "ok"
        assert binder.ask(do="reached", names=["thief"]) == "thief"
    os.close(fd)
    binder.forget("thief")
    assert binder.take(TCP, ("connect", "127.0.0.1", PORT)).said == "ECONNREFUSED"
    assert guard.verdicts() == {"allowed": 1}
    assert "steered" in ALWAYS


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_raw_sockets_own_no_port(address: str, guard: Guard, binder: Binder) -> None:
    """A raw socket, even one for TCP or UDP, is bound to an address and takes no port: its bind
    is not counted, and the port stays free for the next."""
    guard.publish(keeping("all", "ephemeral"))
    family = "ipv6" if ":" in address else "ipv4"
    raw = binder.take(("socket", "raw", family), ("bind", address, PORT), name="raw")
    assert (raw.said, raw.port) == ("ok", socket.IPPROTO_UDP)
    assert guard.binds == {}
    guard.publish("version: 1\n")
    assert binder.bind(PORT, address, protocol="udp") == "ok"


def test_packet_sockets_own_no_port(guard: Guard, binder: Binder) -> None:
    """A packet socket has an interface and no port; its bind is not counted."""
    guard.publish(keeping("all", "ephemeral"))
    stand = binder.take(("socket", "frames", "packet"), ("bind", "lo", PORT))
    assert (stand.said, stand.address) == ("ok", "lo")
    assert guard.binds == {}


def test_ping_sockets_own_no_port(guard: Guard, binder: Binder) -> None:
    """What a ping socket is bound to is its echo identifier; its bind is not counted."""
    guard.publish(keeping("all", "ephemeral"))
    binder.sysctl("ipv4/ping_group_range", "0 0")
    stand = binder.take(("socket", "icmp", "ipv4"), ("bind", "127.0.0.1", PORT))
    assert (stand.said, stand.port) == ("ok", PORT)
    assert guard.binds == {}


def test_sctp(guard: Guard, binder: Binder) -> None:
    """SCTP has its own bind, which no cgroup hook sees, so that without the LSM hooks
    portwatch_uncovered says `sctp`; with them it is refused. A kernel built without it has none."""
    guard.publish(keeping(PORT))
    stand = binder.take(("socket", "sctp", "ipv4"), ("bind", "127.0.0.1", PORT))
    readings = Readings(guard.pin_dir)
    attached = {hook.name for hook in readings.hooks() if hook.attached}
    readings.close()
    assert ("sctp" in uncovered(0, attached)) == ("socket_bind" not in attached)
    if stand.failed == "socket":
        assert stand.said == "EPROTONOSUPPORT"
    elif "socket_bind" in attached:
        assert (stand.said, stand.port) == ("EPERM", 0)
        assert guard.violations == {("kept", "/", PORT, "sctp", "denied"): 1}
    else:
        assert (stand.said, stand.port) == ("ok", PORT)
        assert guard.binds == {}


def test_a_vxlan_device(guard: Guard, binder: Binder) -> None:
    """The socket that the kernel binds for a tunnel is its task's: refused, the device stays
    down; allowed, it is counted as a bind on the wildcard like any other."""
    guard.publish(keeping(4789))
    add = ["ip", "link", "add", "vxlan0", "type", "vxlan", "id", "1", "dstport", "4789"]
    up = ["ip", "link", "set", "vxlan0", "up"]
    assert binder.ask(do="run", command=add)[0] == 0
    status, complaint = binder.ask(do="run", command=up)
    assert (status, "Operation not permitted" in complaint) == (2, True)
    assert [key[1:] for key in guard.violations] == [("/", 4789, "udp", "denied")]
    assert binder.bind(4790, "0.0.0.0", protocol="udp") == "ok"
    guard.publish("version: 1\n")
    assert binder.ask(do="run", command=up)[0] == 0
    assert guard.binds.keys() <= {("allowed", "udp", "ipv4"), ("allowed", "udp", "ipv6")}
    assert guard.binds[("allowed", "udp", "ipv4")] == 1
    assert binder.bind(4789, "0.0.0.0", protocol="udp") == "EADDRINUSE"


def test_an_mptcp_endpoint_of_the_kernel(guard: Guard, binder: Binder) -> None:
    """The listener that the kernel makes for an MPTCP endpoint with a port is judged as a bind of
    the task that asked for it."""
    endpoint = ["ip", "mptcp", "endpoint", "add", "127.0.0.1", "port", str(PORT), "signal"]
    guard.publish(keeping(PORT))
    status, complaint = binder.ask(do="run", command=endpoint)
    error = "listen socket error: -1" if kernel_version() >= (6, 12) else "listen socket error"
    assert (status, error in complaint) == (2, True)  # -EPERM, which 6.1 does not say
    assert guard.violations == DENIED
    guard.publish("version: 1\n")
    assert binder.ask(do="run", command=endpoint)[0] == 0
    assert guard.binds == {("allowed", "tcp", "ipv4"): 1}
    assert binder.bind(PORT) == "EADDRINUSE"


def test_another_path_of_an_mptcp_connection(guard: Guard, binder: Binder) -> None:
    """The bind that a thread of the kernel's makes for a further path is the kernel's, in the
    event: the socket's cgroup is beside it."""
    mptcp = ("socket", "mptcp", "ipv4")
    guard.publish("version: 1\n")
    for words in (
        "ip addr add 10.9.0.1/32 dev lo",
        "ip addr add 10.9.0.2/32 dev lo",
        "ip mptcp limits set subflow 2",
        "ip mptcp endpoint add 10.9.0.2 subflow",
    ):
        assert binder.ask(do="run", command=words.split())[0] == 0
    server = binder.take(mptcp, ("bind", "10.9.0.1", PORT), ("listen",), name="server")
    assert server.listening
    guard.publish(keeping("ephemeral"))
    assert binder.take(mptcp, ("connect", "10.9.0.1", PORT), name="client").said == "ok"
    assert binder.take(("accept", "server"), name="accepted").said == "ok"
    assert binder.take(("write",), name="client").said == "ok"
    wait_until(lambda: guard.verdicts().get("denied", 0) > 0)
    event = guard.events()[0]
    assert event.comm.startswith(b"kworker")
    assert event.cgroup != event.socket_cgroup == guard.cgroup.stat().st_ino
    assert (event.port, event.requested_port) == (0, 0)
    assert set(guard.verdicts()) == {"denied"}


def wait_until(true: Callable[[], bool]) -> None:
    """A thread of the kernel's works on it."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
