"""What the kernel refuses by itself stays the kernel's answer, and is nobody's violation."""

from __future__ import annotations

import socket
import struct

import pytest
from binder import Bind, Binder
from guard import Guard

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
