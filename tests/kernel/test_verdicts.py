"""Real binds get the policy's verdict: every family, protocol, errno and dimension."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from binder import Bind, Binder, StartBinder
from guard import Guard, errno_of
from left_out import has_protocol
from refusals import heard

from portwatch.node.netns import HostNetwork, host_network
from portwatch.node.paths import HostPaths
from portwatch.policy.words.addresses import Address

N = 23

DENY_9000 = """
version: 1
mode: enforce
constraints:
  - {name: no-9000, deny: [9000]}
"""


def any_address(family: int, port: int) -> str:
    """A struct sockaddr_in of any family with INADDR_ANY, in hex."""
    return (struct.pack("=H", family) + struct.pack(">H", port) + bytes(12)).hex()


WAYS: dict[str, tuple[Bind, str, str]] = {
    "ipv4": (Bind(9000, "127.0.0.1"), "ipv4", "127.0.0.1"),
    "ipv4 wildcard": (Bind(9000, "0.0.0.0"), "ipv4", "0.0.0.0"),
    "ipv6": (Bind(9000, "::1"), "ipv6", "::1"),
    "ipv4-mapped": (Bind(9000, "::ffff:127.0.0.1"), "ipv6", "127.0.0.1"),
    "ipv4-mapped wildcard": (Bind(9000, "::ffff:0.0.0.0"), "ipv6", "0.0.0.0"),
    "dual-stack ::": (Bind(9000, "::", v6only=False), "ipv6", "::"),
    "v6-only ::": (Bind(9000, "::", v6only=True), "ipv6", "::"),
    "AF_UNSPEC with INADDR_ANY": (
        Bind(9000, "0.0.0.0", sockaddr=any_address(0, 9000)),
        "ipv4",
        "0.0.0.0",
    ),
    "sockaddr longer than its family's": (
        Bind(9000, "0.0.0.0", sockaddr=any_address(2, 9000) + "00" * 100),
        "ipv4",
        "0.0.0.0",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_denied_port_is_denied_whichever_way_it_is_bound(
    way: str, guard: Guard, binder: Binder
) -> None:
    """A list that names no address denies its port on every address, in every spelling, and the
    next port stays free."""
    bind, family, address = WAYS[way]
    guard.publish(DENY_9000)
    assert {answer.said for answer in binder.answers([bind], N)} == {heard()}
    other = Bind(**(vars(bind) | {"port": 9001, "sockaddr": None}))
    assert binder.answer(other).said == "ok"
    assert guard.binds == {("denied", "tcp", family): N, ("allowed", "tcp", family): 1}
    assert guard.violations == {("no-9000", "/", 9000, "tcp", "denied"): N}
    event = guard.events()[0]
    assert bytes(event.address) == Address.parse(address).packed
    assert (event.pid, event.port, event.requested_port) == (binder.pid, 9000, 9000)
    assert errno_of(event) == heard()


@pytest.mark.parametrize("protocol", ["tcp", "udp", "udplite"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_protocols_are_told_apart(
    protocol: str, address: str, guard: Guard, binder: Binder
) -> None:
    """A port word with a protocol means that protocol alone, of both families."""
    guard.publish(DENY_9000.replace("9000]", f"9000/{protocol}]"))
    kinds = [kind for kind in ("tcp", "udp", "udplite") if has_protocol(kind)]
    said = {kind: binder.bind(9000, address, protocol=kind) for kind in kinds}
    assert said == {kind: heard() if kind == protocol else "ok" for kind in kinds}
    family = "ipv6" if ":" in address else "ipv4"
    assert guard.binds == {
        ("denied" if kind == protocol else "allowed", kind, family): 1 for kind in kinds
    }
    (event,) = guard.events()
    assert event.protocol == {"tcp": 6, "udp": 17, "udplite": 136}[protocol]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_mptcp_is_judged_as_tcp(address: str, guard: Guard, binder: Binder) -> None:
    """A Multipath TCP socket is bound by `/tcp` words, and each of its binds is counted once.

    The hooks see its first subflow, a TCP socket: the kernel shows them 6 and not 262
    (mptcp_bind() in net/mptcp/protocol.c), and so it is counted as tcp.
    """
    guard.publish(DENY_9000.replace("9000]", "9000/tcp]"))
    family = "ipv6" if ":" in address else "ipv4"
    binds = [Bind(9000, address, protocol="mptcp"), Bind(9001, address, protocol="mptcp")]
    said = [answer.said for answer in binder.answers(binds, N)]
    assert said == [heard(), "ok"] * N
    assert guard.binds == {("denied", "tcp", family): N, ("allowed", "tcp", family): N}
    assert guard.violations == {("no-9000", "/", 9000, "tcp", "denied"): N}
    assert guard.events()[0].protocol == 6


@pytest.mark.parametrize("name", ["EACCES", "EPERM", "EADDRINUSE", "EADDRNOTAVAIL"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("where", ["constraint", "file", "default"])
def test_the_chosen_errno_reaches_the_process(
    name: str, address: str, where: str, guard: Guard, binder: Binder
) -> None:
    """A denied bind fails with the errno of its constraint, or else of the file, and no other; on
    a kernel that gives no choice with EPERM."""
    guard.publish(
        {
            "constraint": "version: 1\nmode: enforce\nerrno: EPERM\nconstraints:\n"
            f"  - {{name: no-9000, errno: {name}, deny: [9000]}}",
            "file": f"version: 1\nmode: enforce\nerrno: {name}\nconstraints:\n"
            "  - {name: no-9000, deny: [9000]}",
            "default": f"version: 1\nmode: enforce\nerrno: {name}\ndefault: deny",
        }[where]
    )
    assert binder.bind(9000, address) == heard(name)
    assert errno_of(guard.events()[0]) == heard(name)
    constraint = "default" if where == "default" else "no-9000"
    assert guard.violations == {(constraint, "/", 9000, "tcp", "denied"): 1}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_record_mode_lets_through_and_counts(address: str, guard: Guard, binder: Binder) -> None:
    """In record mode the bind succeeds, and is counted as what it would have been denied by."""
    guard.publish(DENY_9000.replace("enforce", "record"))
    assert {answer.said for answer in binder.answers([Bind(9000, address)], N)} == {"ok"}
    assert guard.verdicts() == {"recorded": N}
    assert guard.violations == {("no-9000", "/", 9000, "tcp", "recorded"): N}
    assert errno_of(guard.events()[0]) == "ok"


def test_a_recorded_constraint_among_enforced_ones_changes_no_verdict(
    guard: Guard, binder: Binder
) -> None:
    """What a constraint on trial would deny is recorded; what a later one denies stays denied."""
    guard.publish("""
version: 1
mode: enforce
constraints:
  - {name: trial, mode: record, allow: [9000]}
  - {name: firm, deny: [9001]}
""")
    said = {port: binder.bind(port) for port in (9000, 9001, 9002)}
    assert said == {9000: "ok", 9001: heard(), 9002: "ok"}
    assert guard.verdicts() == {"allowed": 1, "denied": 1, "recorded": 1}
    assert guard.violations == {
        ("firm", "/", 9001, "tcp", "denied"): 1,
        ("trial", "/", 9002, "tcp", "recorded"): 1,
    }


@pytest.mark.parametrize(
    ("mode", "said", "verdict"), [("enforce", heard(), "denied"), ("record", "ok", "recorded")]
)
def test_default_deny(mode: str, said: str, verdict: str, guard: Guard, binder: Binder) -> None:
    """Past the last constraint `default: deny` speaks, as the constraint called `default`; a port
    that the kernel picks is let through."""
    guard.publish(f"""
version: 1
mode: {mode}
default: deny
constraints:
  - {{name: web, allow: [8000-8099], otherwise: continue}}
""")
    binds = [Bind(8050), Bind(9000), Bind(0)]
    assert [answer.said for answer in binder.answers(binds, N)] == ["ok", said, "ok"] * N
    assert guard.verdicts() == {"allowed": 2 * N, verdict: N}
    assert guard.violations == {("default", "/", 9000, "tcp", verdict): N}


HOST_ONLY = DENY_9000.replace("deny:", "network: host, deny:")


@pytest.mark.needs("NETNS_COOKIE")
def test_network_host_means_one_namespace(
    guard: Guard, binder: Binder, start_binder: StartBinder
) -> None:
    """`network: host` denies in the host's network namespace and in no other."""
    elsewhere = start_binder()
    assert elsewhere.network != binder.network
    guard.publish(HOST_ONLY)
    for address in ("127.0.0.1", "::1"):
        assert (binder.bind(9000, address), elsewhere.bind(9000, address)) == (heard(), "ok")
    assert guard.violations == {("no-9000", "/", 9000, "tcp", "denied"): 2}
    event = guard.events()[0]
    assert (event.netns_inode, event.flags) == (binder.network.inode, 1)


@pytest.mark.parametrize("known", [True, False])
def test_the_machines_own_network_is_the_host(
    known: bool,
    loaded: tuple[Any, Any],
    binder: Binder,
    start_binder: StartBinder,
) -> None:
    """The cookie that the node tells is the one that hooks see; where it cannot tell, the initial
    namespace is taken, and here that is the same."""
    guard = Guard(*loaded, host_network(HostPaths()) if known else HostNetwork())
    at_home = start_binder(own_network=False)
    guard.publish(HOST_ONLY)
    # Refused before the kernel looks at the port: nothing on the machine can be in the way.
    assert at_home.bind(9000, "127.0.0.1") == heard()
    assert binder.bind(9000, "127.0.0.1") == "ok"
    guard.close()


ACCOUNTS_POLICY = """
version: 1
mode: enforce
constraints:
  - {name: not-alice, for: {user: alice}, deny: [9000]}
  - {name: not-4242, for: {user: 4242}, deny: [9001]}
  - {name: not-staff, for: {group: staff}, deny: [9002]}
  - {name: alice-of-staff, for: {user: alice, group: staff}, deny: [9003]}
  - {name: all-but-root, except: {user: root}, deny: [9004]}
"""


@pytest.mark.parametrize(
    ("uid", "gid", "denied"),
    [
        (0, 0, set()),
        (1000, 0, {9000, 9004}),
        (1001, 0, {9004}),
        (4242, 0, {9001, 9004}),
        (0, 50, {9002}),
        (1000, 50, {9000, 9002, 9003, 9004}),
        (4242, 51, {9001, 9004}),
    ],
)
def test_users_and_groups(
    uid: int, gid: int, denied: set[int], guard: Guard, binder: Binder
) -> None:
    """Real user and group ids decide, together where both are asked for, by name or number."""
    guard.publish(ACCOUNTS_POLICY)
    binds = [Bind(port, uid=uid, gid=gid) for port in range(9000, 9005)]
    said = [answer.said for answer in binder.answers(binds)]
    assert {9000 + n for n, answer in enumerate(said) if answer == heard()} == denied
    assert guard.verdicts().get("denied", 0) == len(denied)
    assert {(event.uid, event.gid) for event in guard.events()} <= {(uid, gid)}


def test_a_process_that_dropped_its_privileges(guard: Guard, binder: Binder) -> None:
    """An unprivileged process is the user that it became, in the verdict and in the event."""
    guard.publish(ACCOUNTS_POLICY)
    assert binder.bind(9000) == "ok"
    binder.drop_privileges(1000, 50)
    assert [binder.bind(port) for port in (9000, 9002, 9005)] == [heard(), heard(), "ok"]
    assert {(event.uid, event.gid) for event in guard.events()} == {(1000, 50)}


CGROUP_POLICY = """
version: 1
mode: enforce
define:
  workloads: {shop: {cgroup: "/shop/**"}}
constraints:
  - {name: shop, for: shop, deny: [9000]}
  - {name: inner, for: {cgroup: /shop/inner}, deny: [9001]}
"""


def test_cgroups_decide(guard: Guard, binder: Binder) -> None:
    """A cgroup selector matches the cgroup of the task that binds, and names its workload."""
    places = {path: guard.make(path) for path in ("/shop", "/shop/inner", "/other")}
    guard.publish(CGROUP_POLICY)
    said = {}
    for path, directory in places.items():
        binder.move(directory)
        said[path] = [binder.bind(port) for port in (9000, 9001)]
    assert said["/other"] == ["ok", "ok"]
    assert said["/shop/inner"] == [heard(), heard()]
    assert said["/shop"][1] == "ok"
    assert guard.violations[("shop", "shop", 9000, "tcp", "denied")] >= 1
    assert guard.violations[("inner", "shop", 9001, "tcp", "denied")] == 1


def test_an_unknown_cgroup_takes_its_nearest_known_ancestors_class(
    guard: Guard, binder: Binder
) -> None:
    """A cgroup made since the policy was published is judged as the nearest one that was there."""
    guard.make("/shop/inner")
    guard.make("/other")
    guard.publish(CGROUP_POLICY)
    deep = "/a/b/c/d/e/f/g/h"
    said = {}
    for path in ("/shop/inner", "/other", "/new"):
        binder.move(guard.make(path + deep))
        said[path] = [binder.bind(port) for port in (9000, 9001)]
    assert said == {
        "/shop/inner": [heard(), heard()],
        "/other": ["ok", "ok"],
        "/new": ["ok", "ok"],
    }


def test_the_binding_task_decides_not_the_sockets_maker(guard: Guard, binder: Binder) -> None:
    """The task that calls bind() is judged; the event names its cgroup and the socket's maker's."""
    maker, task = guard.make("/other"), guard.make("/shop/inner")
    guard.publish(CGROUP_POLICY)
    for _ in range(N):
        binder.move(maker)
        assert binder.bind(9001, move=str(task)) == heard()
        binder.move(task)
        assert binder.bind(9001, move=str(maker)) == "ok"
    assert guard.violations == {("inner", "shop", 9001, "tcp", "denied"): N}
    event = guard.events()[0]
    assert (event.cgroup, event.socket_cgroup) == (task.stat().st_ino, maker.stat().st_ino)
    assert guard.publisher.cgroups.path_of(event.cgroup) == "/shop/inner"


ADDRESS_POLICY = """
version: 1
mode: enforce
constraints:
  - {name: local, addresses: [loopback], deny: [9000]}
  - {name: open, addresses: [wildcard], deny: [9001]}
  - {name: mesh, addresses: [10.1.0.0/16, "fd00:1::/64"], deny: [9002]}
  - {name: within, addresses: [10.1.2.0/24], errno: EPERM, deny: [9002, 9003]}
  - {name: only-local, addresses: [loopback], allow: [9004], otherwise: continue}
  - {name: nowhere-else, deny: [9004]}
"""


@pytest.mark.parametrize(
    ("address", "v6only", "denied"),
    [
        ("127.0.0.1", None, {9000}),
        ("127.255.255.254", None, {9000}),
        ("::1", None, {9000}),
        ("::ffff:127.0.0.1", None, {9000}),
        ("0.0.0.0", None, {9001, 9004}),
        ("::ffff:0.0.0.0", None, {9001, 9004}),
        ("::", False, {9001, 9004}),
        ("::", True, {9001, 9004}),
        ("10.0.255.255", None, {9004}),
        ("10.1.0.0", None, {9002, 9004}),
        ("10.1.2.3", None, {9002, 9003, 9004}),
        ("::ffff:10.1.2.3", None, {9002, 9003, 9004}),
        ("10.1.3.0", None, {9002, 9004}),
        ("10.2.0.0", None, {9004}),
        ("fd00:1::1", None, {9002, 9004}),
        ("fd00:1:0:1::1", None, {9004}),
    ],
)
def test_addresses(
    address: str, v6only: bool | None, denied: set[int], guard: Guard, binder: Binder
) -> None:
    """`addresses` narrows a constraint's lists to loopback, wildcards and prefixes: it means the
    address that is bound, IPv4-mapped or not."""
    guard.publish(ADDRESS_POLICY)
    binds = [Bind(port, address, v6only=v6only) for port in range(9000, 9005)]
    said = [answer.said for answer in binder.answers(binds)]
    assert {9000 + n for n, answer in enumerate(said) if answer != "ok"} == denied
    assert said[3] in ("ok", "EPERM")
    assert {*said[:3], said[4]} <= {"ok", heard()}
    assert guard.verdicts().get("denied", 0) == len(denied)
