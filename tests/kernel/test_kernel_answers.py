"""What the kernel refuses by itself stays the kernel's answer, and is nobody's violation."""

from __future__ import annotations

import socket
import struct
from contextlib import closing
from pathlib import Path

import pytest
from binder import Bind, Binder, StartBinder, Step, error_name
from guard import Guard

from portwatch.kernel import layout

N = 23

ALLOWING = """
version: 1
mode: enforce
constraints:
  - {name: all, allow: [all, ephemeral]}
"""
DENYING = """
version: 1
mode: enforce
errno: EPERM
constraints:
  - {name: nothing, deny: [all, ephemeral]}
"""
EITHER = pytest.mark.parametrize("text", [ALLOWING, DENYING], ids=["allowing", "denying"])
ADDRESSES = pytest.mark.parametrize("address", ["127.0.0.1", "::1"])


def sockaddr_in(family: int, port: int, address: str) -> bytes:
    """A struct sockaddr_in with whatever family."""
    return (
        struct.pack("=H", family) + struct.pack(">H", port) + socket.inet_aton(address) + bytes(8)
    )


def sockaddr_in6(family: int, port: int, address: str) -> bytes:
    """A struct sockaddr_in6 with whatever family."""
    inet = socket.inet_pton(socket.AF_INET6, address)
    return struct.pack("=H", family) + struct.pack(">HI", port, 0) + inet + bytes(4)


MALFORMED = {
    "AF_UNIX address to an IPv4 socket": (
        "127.0.0.1", sockaddr_in(socket.AF_UNIX, 9000, "0.0.0.0"), "EAFNOSUPPORT"),
    "AF_UNIX address to an IPv6 socket": (
        "::1", sockaddr_in6(socket.AF_UNIX, 9000, "::"), "EAFNOSUPPORT"),
    "AF_INET6 address to an IPv4 socket": (
        "127.0.0.1", sockaddr_in6(socket.AF_INET6, 9000, "::"), "EAFNOSUPPORT"),
    "AF_UNSPEC with an address to an IPv4 socket": (
        "127.0.0.1", sockaddr_in(socket.AF_UNSPEC, 9000, "127.0.0.1"), "EAFNOSUPPORT"),
    "AF_UNSPEC to an IPv6 socket": (
        "::1", sockaddr_in6(socket.AF_UNSPEC, 9000, "::"), "EAFNOSUPPORT"),
    "AF_INET address to an IPv6 socket": (
        "::1", sockaddr_in(socket.AF_INET, 9000, "0.0.0.0") + bytes(12), "EAFNOSUPPORT"),
    "a short IPv4 address": (
        "127.0.0.1", sockaddr_in(socket.AF_INET, 9000, "127.0.0.1")[:15], "EINVAL"),
    "a short IPv6 address": ("::1", sockaddr_in6(socket.AF_INET6, 9000, "::1")[:23], "EINVAL"),
    "an address of two bytes": ("127.0.0.1", struct.pack("=H", socket.AF_INET), "EINVAL"),
}  # fmt: skip


@EITHER
@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_address(what: str, text: str, guard: Guard, binder: Binder) -> None:
    """An address that no bind can have fails as it would without portwatch, and is not counted."""
    address, raw, expected = MALFORMED[what]
    guard.publish(text)
    bind = Bind(9000, address, sockaddr=raw.hex())
    assert {answer.said for answer in binder.answers([bind], N)} == {expected}
    assert guard.binds == {}
    assert guard.violations == {}
    assert guard.events() == []


@pytest.mark.parametrize("port", [9000, 0])
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_an_address_that_is_not_local(
    address: str, port: int, guard: Guard, binder: Binder
) -> None:
    """EADDRNOTAVAIL for a foreign address is the kernel's own, and no denial."""
    guard.publish(ALLOWING)
    for version in ("ipv4", "ipv6"):
        binder.sysctl(f"{version}/ip_nonlocal_bind", "0")
    assert {a.said for a in binder.answers([Bind(port, address)], N)} == {"EADDRNOTAVAIL"}
    assert set(guard.verdicts()) <= {"allowed"}
    assert guard.violations == {}


@ADDRESSES
def test_an_allowed_privileged_port_still_needs_the_privilege(
    address: str, guard: Guard, binder: Binder
) -> None:
    """An allow grants no CAP_NET_BIND_SERVICE: EACCES below 1024 for a user, no denial."""
    guard.publish(ALLOWING)
    binder.sysctl("ipv4/ip_unprivileged_port_start", "1024")
    assert binder.bind(80, address) == "ok"
    binder.drop_privileges()
    binds = [Bind(80, address), Bind(1024, address)]
    assert [answer.said for answer in binder.answers(binds, N)] == ["EACCES", "ok"] * N
    assert set(guard.verdicts()) == {"allowed"}
    assert guard.violations == {}


@ADDRESSES
def test_a_denied_privileged_port_tells_the_policys_errno(
    address: str, guard: Guard, binder: Binder
) -> None:
    """The verdict comes before the kernel looks at privileges or at whether the port is taken."""
    guard.publish(DENYING)
    binder.sysctl("ipv4/ip_unprivileged_port_start", "1024")
    binder.drop_privileges()
    assert binder.bind(80, address) == "EPERM"
    assert guard.verdicts() == {"denied": 1}


@ADDRESSES
@pytest.mark.parametrize("protocol", ["tcp", "udp", "udplite", "mptcp"])
def test_a_port_that_is_taken(address: str, protocol: str, guard: Guard, binder: Binder) -> None:
    """EADDRINUSE for a taken port is the kernel's own, and no denial."""
    guard.publish(ALLOWING)
    assert binder.bind(9000, address, protocol=protocol, hold=True) == "ok"
    bind = Bind(9000, address, protocol)
    assert {answer.said for answer in binder.answers([bind], N)} == {"EADDRINUSE"}
    assert guard.verdicts() == {"allowed": N + 1}
    assert guard.violations == {}


@ADDRESSES
def test_no_port_left_to_pick(address: str, guard: Guard, binder: Binder) -> None:
    """Where every port to pick from is taken the kernel says EADDRINUSE, under a deny list too."""
    guard.publish(DENYING.replace("[all, ephemeral]", "[40001]"))
    binder.pick_from(40000, 40000)
    assert binder.bind(40000, address, hold=True) == "ok"
    assert {answer.said for answer in binder.answers([Bind(0, address)], N)} == {"EADDRINUSE"}
    assert "denied" not in guard.verdicts()
    assert guard.violations == {}


def test_an_allow_leaves_a_second_bind_to_the_kernel(guard: Guard, binder: Binder) -> None:
    """Sharing a port by SO_REUSEADDR is as it was: an allowed bind is a bind like any other."""
    guard.publish(ALLOWING)
    assert binder.bind(9000, protocol="udp", reuse=True, hold=True) == "ok"
    assert binder.bind(9000, protocol="udp", reuse=True) == "ok"
    assert binder.bind(9000, protocol="udp") == "EADDRINUSE"
    assert guard.binds == {("allowed", "udp", "ipv4"): 3}


TCP, UDP, TCP6 = (("socket", *kind) for kind in (("tcp", "ipv4"), ("udp", "ipv4"), ("tcp", "ipv6")))
LISTEN = ("listen",)
HOME = ("bind", "127.0.0.1", 9000)
REUSE = ("option", socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
NO_DEVICE = ("option", socket.SOL_SOCKET, socket.SO_BINDTODEVICE, "none\0")

ANSWERS: dict[str, tuple[str, tuple[Step, ...]]] = {
    "a second bind": ("EINVAL", (TCP, HOME, ("bind", "127.0.0.1", 9001))),
    "a second bind to the same": ("EINVAL", (UDP, HOME, HOME)),
    "a link-local address without its link": ("EINVAL", (TCP6, ("bind", "fe80::1", 9000))),
    "a foreign address": ("EADDRNOTAVAIL", (TCP, ("bind", "192.0.2.1", 9000))),
    "a foreign address for UDP": ("EADDRNOTAVAIL", (UDP, ("bind", "192.0.2.1", 9000))),
    "a foreign mapped address": ("EADDRNOTAVAIL", (TCP6, ("bind", "::ffff:192.0.2.1", 9000))),
    "a foreign IPv6 address": ("EADDRNOTAVAIL", (TCP6, ("bind", "2001:db8::1", 9000))),
    "a multicast address for TCP": ("ok", (TCP, ("bind", "224.0.0.1", 9000))),
    "a multicast IPv6 address for TCP": ("EINVAL", (TCP6, ("bind", "ff02::1", 9000))),
    "a broadcast address for UDP": ("ok", (UDP, ("bind", "255.255.255.255", 9000))),
    "a privileged port": ("EACCES", (TCP, ("bind", "127.0.0.1", 80))),
    "a privileged port for UDP": ("EACCES", (UDP, ("bind", "127.0.0.1", 80))),
    "a privileged port for MPTCP": (
        "EACCES", (("socket", "mptcp", "ipv4"), ("bind", "127.0.0.1", 80))),
    "a privileged port, dual-stack": ("EACCES", (TCP6, ("bind", "::", 1023))),
    "the first unprivileged port": ("ok", (TCP, ("bind", "127.0.0.1", 1024))),
    "a taken port": ("EADDRINUSE", (TCP, ("bind", "127.0.0.1", 8000))),
    "a taken port, by the wildcard": ("EADDRINUSE", (TCP, ("bind", "0.0.0.0", 8000))),
    "a taken port, dual-stack": ("EADDRINUSE", (TCP6, ("bind", "::", 8000))),
    "a taken port by SO_REUSEADDR": ("EADDRINUSE", (TCP, REUSE, ("bind", "0.0.0.0", 8000))),
    "a device that is not there": ("ENODEV", (TCP, NO_DEVICE, HOME)),
    "IP_TRANSPARENT without the privilege": (
        "EPERM", (TCP, ("option", socket.IPPROTO_IP, 19, 1), ("bind", "192.0.2.1", 9000))),
    "TCP_REPAIR without the privilege": (
        "EPERM", (TCP, ("option", socket.IPPROTO_TCP, 19, 1), HOME)),
    "listen() of UDP": ("ENOTSUP", (UDP, HOME, LISTEN)),
    "listen() of a client": ("EINVAL", (TCP, ("connect", "127.0.0.1", 8000), LISTEN)),
    "bind() of a client": ("EINVAL", (TCP, ("connect", "127.0.0.1", 8000), HOME)),
    "a raw socket without the privilege": ("EPERM", (("socket", "raw", "ipv4"), HOME)),
}  # fmt: skip


@pytest.mark.parametrize("what", ANSWERS)
def test_the_same_answer_as_without_portwatch(
    what: str, guard: Guard, scratch_cgroup: Path, start_binder: StartBinder
) -> None:
    """Under a policy that allows all, an ordinary user hears of every call what a process hears
    that portwatch does not see, and no violation is counted or told."""
    expected, steps = ANSWERS[what]
    guard.publish(ALLOWING)
    heard = []
    for cgroup in (scratch_cgroup, None):
        with closing(start_binder(cgroup)) as binder:
            assert binder.take(TCP, ("bind", "127.0.0.1", 8000), LISTEN, name="server").listening
            binder.sysctl("ipv4/ip_unprivileged_port_start", "1024")
            for version in ("ipv4", "ipv6"):
                binder.sysctl(f"{version}/ip_nonlocal_bind", "0")
            binder.pick_from(40000, 40000)
            binder.drop_privileges()
            heard.append(binder.take(*steps))
    without, under = heard
    assert under == without
    assert under.said == expected
    assert set(guard.verdicts()) == {"allowed"}
    assert guard.violations == {}
    assert [event for event in guard.events() if event.kind == layout.EVENT_VIOLATION] == []


@EITHER
def test_calls_that_reach_no_socket(text: str, guard: Guard, binder: Binder) -> None:
    """A descriptor that is closed or no socket, and an address that cannot be read, stay the
    kernel's: nothing was bound, nothing is counted."""
    guard.publish(text)
    said = [error_name(number) for number in binder.ask(do="misuse")]
    assert said == ["EBADF", "ENOTSOCK", "EFAULT", "EINVAL"]
    assert (guard.binds, guard.violations) == ({}, {})
