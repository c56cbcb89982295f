"""Ports that several hold: each bind is judged, and a policy that gives a port to one workload
keeps the others from sharing it; without one they do, as without portwatch."""

from __future__ import annotations

import pytest
from binder import Binder, Stand
from guard import Guard
from ways import FREEBIND, REPAIR, REUSE_ADDRESS, REUSE_PORT, TO_DEVICE, TRANSPARENT, V6ONLY, Option

PORT = 9000
OPEN = "version: 1\nmode: enforce\n"
RESERVED = """
version: 1
mode: enforce
errno: EPERM
constraints:
  - {name: owned, except: {cgroup: /owner}, deny: [9000]}
"""
EITHER = pytest.mark.parametrize("reserved", [False, True], ids=["open", "reserved"])


def hold(
    binder: Binder, name: str, address: str, protocol: str, *options: Option, listen: bool = True
) -> Stand:
    """A named socket on the port, listening where it can."""
    family = "ipv6" if ":" in address else "ipv4"
    made = [("socket", protocol, family), *(("option", *option) for option in options)]
    last = [("listen",)] if protocol in ("tcp", "mptcp") and listen else []
    return binder.take(*made, ("bind", address, PORT), *last, name=name)


class Contention:
    """An owner's socket and a thief's, in cgroups of their own, in one network."""

    def __init__(self, guard: Guard, binder: Binder, reserved: bool) -> None:
        self.guard, self.binder, self.reserved = guard, binder, reserved
        self.owner, self.thief = guard.make("/owner"), guard.make("/thief")
        guard.publish(RESERVED if reserved else OPEN)

    def own(self, address: str, protocol: str, *options: Option, listen: bool = True) -> None:
        """The owner takes the port, which it always may."""
        self.binder.move(self.owner)
        stand = hold(self.binder, "owner", address, protocol, *options, listen=listen)
        assert (stand.said, stand.port) == ("ok", PORT)

    def steal(self, address: str, protocol: str, *options: Option, said: str = "ok") -> bool:
        """The thief tries, and gets `said` from the kernel unless the policy refuses; whether it
        has the port now."""
        self.binder.move(self.thief)
        stand = hold(self.binder, "thief", address, protocol, *options)
        expected = "EPERM" if self.reserved else said
        assert (stand.said, stand.port == PORT) == (
            expected,
            expected == "ok" or stand.failed == "listen",
        )
        counted = {"allowed": 1, "denied": 1} if self.reserved else {"allowed": 2}
        assert self.guard.verdicts() == counted
        thefts = [key[0] for key in self.guard.violations]
        assert thefts == (["owned"] if self.reserved else [])
        return expected == "ok"

    def reached(self, address: str, protocol: str) -> str:
        """Who gets what is sent to the address."""
        family = "ipv6" if ":" in address else "ipv4"
        call = "connect" if protocol == "tcp" else "send"
        sent = self.binder.take(("socket", protocol, family), (call, address, PORT), name="client")
        assert sent.said == "ok"
        return str(self.binder.ask(do="reached", names=["owner", "thief"]))


@EITHER
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_the_same_address_by_so_reuseport(
    protocol: str, reserved: bool, guard: Guard, binder: Binder
) -> None:
    """SO_REUSEPORT on both lets a second workload share an address, if the policy lets it."""
    contention = Contention(guard, binder, reserved)
    contention.own("127.0.0.1", protocol, REUSE_PORT)
    contention.steal("127.0.0.1", protocol, REUSE_PORT)


@EITHER
@pytest.mark.parametrize(
    ("protocol", "option"), [("tcp", REUSE_PORT), ("udp", REUSE_PORT), ("udp", REUSE_ADDRESS)]
)
@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_a_more_specific_address_steals_the_traffic(
    wildcard: str, protocol: str, option: Option, reserved: bool, guard: Guard, binder: Binder
) -> None:
    """A bind to 127.0.0.1 over another workload's wildcard gets what is sent there; two allowed
    binds where the policy reserves nothing, a refusal where it does."""
    contention = Contention(guard, binder, reserved)
    contention.own(wildcard, protocol, option)
    stolen = contention.steal("127.0.0.1", protocol, option)
    assert contention.reached("127.0.0.1", protocol) == ("thief" if stolen else "owner")


@EITHER
def test_a_listener_is_not_shared_by_so_reuseaddr(
    reserved: bool, guard: Guard, binder: Binder
) -> None:
    """Of TCP, the kernel itself keeps SO_REUSEADDR off a port that somebody listens on."""
    contention = Contention(guard, binder, reserved)
    contention.own("0.0.0.0", "tcp", REUSE_ADDRESS)
    contention.steal("127.0.0.1", "tcp", REUSE_ADDRESS, said="EADDRINUSE")


@EITHER
def test_so_reuseaddr_before_the_owner_listens(
    reserved: bool, guard: Guard, binder: Binder
) -> None:
    """While nobody listens both may be bound, and the first to listen wins."""
    contention = Contention(guard, binder, reserved)
    contention.own("0.0.0.0", "tcp", REUSE_ADDRESS, listen=False)
    contention.steal("127.0.0.1", "tcp", REUSE_ADDRESS)
    stand = binder.take(("listen",), name="owner")
    assert stand.said == ("ok" if reserved else "EADDRINUSE")
    assert guard.violations.keys() <= {("owned", "/thief", PORT, "tcp", "denied")}


@EITHER
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_the_other_family(protocol: str, reserved: bool, guard: Guard, binder: Binder) -> None:
    """IPv4 and IPv6 without the other are two holders of one number."""
    contention = Contention(guard, binder, reserved)
    contention.own("0.0.0.0", protocol)
    contention.steal("::", protocol, V6ONLY)


@EITHER
def test_a_device_of_its_own(reserved: bool, guard: Guard, binder: Binder) -> None:
    """SO_BINDTODEVICE on two devices takes the same address and port twice."""
    add = ["ip", "link", "add", "twin", "type", "veth"]
    assert binder.ask(do="run", command=add)[0] == 0
    contention = Contention(guard, binder, reserved)
    contention.own("0.0.0.0", "tcp", (*TO_DEVICE[:2], "twin\0"))
    contention.steal("0.0.0.0", "tcp", TO_DEVICE)


@EITHER
def test_tcp_repair_takes_what_is_taken(reserved: bool, guard: Guard, binder: Binder) -> None:
    """A socket in repair mode (CAP_NET_ADMIN) binds and listens over a listener that shares with
    nobody, if the policy lets it."""
    contention = Contention(guard, binder, reserved)
    contention.own("0.0.0.0", "tcp")
    stolen = contention.steal("127.0.0.1", "tcp", REPAIR)
    assert contention.reached("127.0.0.1", "tcp") == ("thief" if stolen else "owner")


@pytest.mark.parametrize(
    "option", [FREEBIND["ipv4"], TRANSPARENT["ipv4"]], ids=["free", "transparent"]
)
def test_an_address_that_is_not_there_yet(option: Option, guard: Guard, binder: Binder) -> None:
    """A bind to an address that is nobody's is judged by that address, once, when it is bound;
    that the address comes up later is no bind."""
    binder.sysctl("ipv4/ip_nonlocal_bind", "0")
    policy = RESERVED.replace("except: {cgroup: /owner}", "addresses: [192.0.2.0/24]")
    guard.publish(policy.replace("deny", "mode: record, deny"))
    stand = hold(binder, "early", "192.0.2.1", "tcp", option)
    assert (stand.said, stand.address, stand.listening) == ("ok", "192.0.2.1", True)
    assert guard.violations == {("owned", "/", PORT, "tcp", "recorded"): 1}
    up = ["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"]
    assert binder.ask(do="run", command=up)[0] == 0
    client = binder.take(("socket", "tcp", "ipv4"), ("connect", "192.0.2.1", PORT), name="client")
    assert client.said == "ok"
    assert guard.binds == {("recorded", "tcp", "ipv4"): 1}
