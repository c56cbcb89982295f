"""Hypothesis strategies over the whole policy language, for unit and kernel tests alike.

`policies()` draws policy texts; `endpoints(policy)` and `subjects(policy)` draw binds near
the boundaries of what a parsed policy names. ACCOUNTS is the machine they all live on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

import yaml
from hypothesis import strategies as st

from portwatch.policy.decide import Endpoint
from portwatch.policy.model import Acceptable, Policy
from portwatch.policy.words.addresses import BITS, DUAL, V4_WILDCARD, V6_WILDCARD, Address
from portwatch.policy.words.ports import PROTOCOLS
from portwatch.policy.workload import KnownContainer, KnownPod, Subject


@dataclass(frozen=True)
class FixedAccounts:
    """User and group databases that do not change under a test."""

    users: Mapping[str, int]
    groups: Mapping[str, int]


ACCOUNTS = FixedAccounts(
    users={"root": 0, "toor": 0, "alice": 1000, "bob": 1001, "ci": 7, "ci-2": 8},
    groups={"root": 0, "staff": 50, "ci": 7, "builders": 70},
)
NAMELESS_ID = 4242
_UIDS = (*sorted(set(ACCOUNTS.users.values())), NAMELESS_ID)
_GIDS = (*sorted(set(ACCOUNTS.groups.values())), NAMELESS_ID)

CONTAINER_ID = "3f2a" * 16
POD_UID = "0b1c2d3e-1111-2222-3333-444455556666"
CONTAINERS = (
    None,
    KnownContainer("db", ("postgres:16", "sha256:" + "ab" * 32)),
    KnownContainer("db", ("docker.io/library/postgres:16",), is_verified=True),
    KnownContainer("web-1", ("registry.example/team/web@sha256:" + "cd" * 32,)),
    KnownContainer(None, ("nginx",)),
    KnownContainer(pod=KnownPod(POD_UID, "shop", "api-0", (("app", "api"),), "api")),
    KnownContainer("db", is_verified=True, pod=KnownPod(POD_UID, "kube-system", "dns-1")),
    KnownContainer(pod=KnownPod(POD_UID, "shop", "web-1", (("app", "web"), ("tier", "x")))),
)
UNITS = ("etcd.service", "shop-a.service", "shop-b.service", "init.scope", "user@1000.service")
SLICES = ("system.slice", "user.slice", "app.slice", "user-1000.slice")
CGROUPS = (
    "/",
    "/init.scope",
    "/system.slice",
    "/system.slice/etcd.service",
    "/system.slice/shop-a.service",
    "/system.slice/shop-a.service/worker",
    "/system.slice/_shop-b.service",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/shop-b.service/x",
    "/user.slice/user-1000.slice/session-3.scope",
    "/ci",
    "/ci/a",
    "/ci/a/b/build-1/c",
    "/other/etcd.service",
    f"/system.slice/docker-{CONTAINER_ID}.scope/init",
    f"/system.slice/shop-a.service/libpod-payload-{CONTAINER_ID}",
    f"/user.slice/user-1000.slice/user@1000.service/app.slice/docker-{CONTAINER_ID}.scope",
    f"/kubepods/burstable/pod{POD_UID}/{CONTAINER_ID}",
    f"/system.slice/shop-b.service/kubepods/pod{POD_UID}",
    "/kubepods.slice/kubepods-burstable.slice",
)
_UNIT_GLOBS = (*UNITS, "shop-*.service", "*", "shop-[ab].service", "shop-[!a].*", "????.service")
_SLICE_GLOBS = (*SLICES, "user*.slice", "*")
_CGROUP_GLOBS = (
    "/", "/**", "/ci", "/ci/", "/ci/**", "/ci/*", "/ci/*/b", "/**/build-*", "/ci/**/c", "/*/etcd*",
    "/system.slice/shop-?.service", "/nowhere",
)  # fmt: skip
_CONTAINER_GLOBS = ("db", "web-*", "*", CONTAINER_ID[:12], CONTAINER_ID, "d?", "3f2a*")
_IMAGE_GLOBS = (
    "postgres", "postgres:16", "postgres:1?", "docker.io/library/postgres", "nginx:latest",
    "registry.example/*", "*", "sha256:" + "ab" * 32,
)  # fmt: skip
_PODS = (POD_UID, "*", f"/kubepods/pod{POD_UID}", "0b1c*", "ffff*")
_POD_PARTS = (
    {"uid": POD_UID}, {"namespace": "shop"}, {"namespace": ["kube-*", "x"]}, {"name": "api-*"},
    {"serviceAccount": "api"}, {"serviceAccount": "*"}, {"known": False}, {"known": True},
    {"labels": {"app": "api"}}, {"labels": {"app": ["api", "web"]}}, {"labels": "app!=api,tier"},
    {"labels": "!tier"}, {"matchLabels": {"tier": "x"}, "uid": "0b*"},
    {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
    {"namespace": "shop", "labels": "app in (web,x)"},
)  # fmt: skip
_USERS = (0, 7, 1000, 1001, 8, NAMELESS_ID, "1001", "root", "toor", "alice", "ci", "ci*", "*", "no")
_GROUPS = (0, 7, 50, "50", "staff", "b*", "*", NAMELESS_ID, "nobody")
_PORT_NAMES = ("web", "metrics", "odd-1")
_ADDRESS_NAMES = ("mesh", "edge")
_WORKLOAD_NAMES = ("shop", "builders", "on")
_CATALOG = ("etcd", "ssh", "dns", "debuggers")
_ADDRESSES = (
    "10.1.0.0/16", "10.1.2.3", "10.0.0.0/8", "0.0.0.0/0", "::/0", "::ffff:10.1.0.0/112",
    "::ffff:0:0/96", "fd00:1::/64", "::1", "127.0.0.1", "::", "0.0.0.0", "2001:db8::/32", "::/1",
    "loopback", "wildcard", "private", "link-local", "public",
)  # fmt: skip
_EDGES = (1, 2, 21, 22, 23, 53, 1023, 1024, 2379, 2380, 2381, 5005, 8000, 8050, 8099, 65534, 65535)

_port_numbers = st.sampled_from(_EDGES) | st.integers(1, 65535)
_protocol_suffixes = st.sampled_from(("", "", "/tcp", "/udp", "/udplite", "/sctp"))


@st.composite
def port_words(draw: st.DrawFn, names: tuple[str, ...] = ()) -> str | int:
    """Draw one port word; defined names only out of `names`."""
    kind = draw(st.integers(0, 5 if names else 4))
    if kind == 0:
        return draw(_port_numbers)
    suffix = draw(_protocol_suffixes)
    if kind == 1:
        return f"{draw(_port_numbers)}{suffix}"
    if kind == 2:
        first, last = sorted((draw(_port_numbers), draw(_port_numbers)))
        return f"{first}-{last}{suffix}"
    if kind == 3:
        word = draw(st.sampled_from(("all", "privileged", "ephemeral", "ephemeral", "declared")))
        return word if word == "declared" and suffix == "/udplite" else word + suffix
    if kind == 4:
        return "catalog:" + draw(st.sampled_from(_CATALOG))
    return draw(st.sampled_from(names))


def _one_or_list(values: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    one = st.sampled_from(values)
    return one | st.lists(one, min_size=1, max_size=3)


_VALUES = {
    "unit": _one_or_list(_UNIT_GLOBS),
    "slice": _one_or_list(_SLICE_GLOBS),
    "container": _one_or_list(_CONTAINER_GLOBS),
    "image": _one_or_list(_IMAGE_GLOBS),
    "pod": _one_or_list(_PODS) | st.sampled_from(_POD_PARTS).map(deepcopy),
    "cgroup": _one_or_list(_CGROUP_GLOBS),
    "user": _one_or_list(_USERS),
    "group": _one_or_list(_GROUPS),
}
_selectors = st.dictionaries(
    st.sampled_from(tuple(_VALUES)), st.none(), min_size=1, max_size=2
).flatmap(lambda keys: st.fixed_dictionaries({key: _VALUES[key] for key in keys}))


def _workload_specs(names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    one: st.SearchStrategy[Any] = _selectors
    if names:
        one = one | st.sampled_from(names)
    return one | st.lists(one, min_size=1, max_size=3)


def _some_of(names: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True)


@st.composite
def _definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a `define`; a name may refer to the names before it."""
    define: dict[str, Any] = {"ports": {}, "addresses": {}, "workloads": {}}
    for number, name in enumerate(draw(_some_of(_PORT_NAMES))):
        before = tuple(define["ports"])[:number]
        define["ports"][name] = draw(st.lists(port_words(before), max_size=3))
    for name in draw(_some_of(_ADDRESS_NAMES)):
        known = (*_ADDRESSES, *define["addresses"])
        words = st.lists(st.sampled_from(known), min_size=1, max_size=3)
        define["addresses"][name] = draw(words)
    for name in draw(_some_of(_WORKLOAD_NAMES)):
        define["workloads"][name] = draw(_workload_specs(tuple(define["workloads"])))
    return define


@st.composite
def _constraints(draw: st.DrawFn, name: str, define: dict[str, Any]) -> dict[str, Any]:
    ports = st.lists(port_words(tuple(define["ports"])), max_size=3)
    addresses = st.sampled_from((*_ADDRESSES, *define["addresses"]))
    who = _workload_specs(tuple(define["workloads"]))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "for": who,
        "except": who,
        "network": st.sampled_from(("host", "any")),
        "addresses": st.lists(addresses, min_size=1, max_size=3),
        "deny": ports,
        "allow": ports,
        "otherwise": st.sampled_from(("deny", "allow", "continue")),
        "accept": st.lists(st.sampled_from(get_args(Acceptable)), min_size=1, max_size=3),
        **_settings,
    }
    del optional["default"]
    drawn = draw(st.fixed_dictionaries({"name": st.just(name)}, optional=optional))
    if not drawn.keys() & {"deny", "allow", "otherwise"}:
        drawn["deny"] = draw(ports)
    return drawn


_settings: dict[str, st.SearchStrategy[Any]] = {
    "mode": st.sampled_from(("enforce", "enforce", "record")),
    "default": st.sampled_from(("allow", "deny")),
    "errno": st.sampled_from(("EACCES", "EPERM", "EADDRINUSE", "EADDRNOTAVAIL")),
    "reason": st.sampled_from(("because", "it is so: 1 # 2")),
}


@st.composite
def policies(draw: st.DrawFn, max_constraints: int = 6) -> str:
    """Draw a valid policy as YAML text."""
    define = draw(_definitions())
    policy = draw(st.fixed_dictionaries({"version": st.just(1)}, optional=_settings))
    policy["define"] = define
    count = draw(st.integers(0, max_constraints))
    policy["constraints"] = [draw(_constraints(f"c{number}", define)) for number in range(count)]
    return yaml.safe_dump(policy, sort_keys=False)


def addresses_near(policy: Policy) -> list[Address]:
    """Return addresses on and next to the edges of every network that the policy names."""
    found = {DUAL, V4_WILDCARD, V6_WILDCARD, Address(1), Address((1 << BITS) - 1)}
    found |= {Address.parse(text) for text in ("127.0.0.1", "8.8.8.8", "10.1.2.3", "2606:4700::1")}
    found |= {Address((0xFFFF << 32) - 1), Address(1 << 48), Address.parse("255.255.255.255")}
    for constraint in policy.constraints:
        for network in constraint.addresses.networks if constraint.addresses else ():
            size = 1 << (BITS - network.length)
            for value in (network.value - 1, network.value, network.value + size - 1):
                found.add(Address(value % (1 << BITS)))
            found.add(Address((network.value + size) % (1 << BITS)))
    return sorted(found, key=lambda address: (address.value, address.dual))


def ports_near(policy: Policy) -> list[int]:
    """Return port numbers on and next to the edges of every range that the policy names."""
    found = {1, 1023, 1024, 32768, 65535}
    for constraint in policy.constraints:
        for item in (*constraint.deny.ranges, *constraint.allow.ranges):
            found |= {item.first - 1, item.first, item.last, item.last + 1}
    return sorted(port for port in found if 1 <= port <= 65535)


@st.composite
def endpoints(draw: st.DrawFn, policy: Policy) -> Endpoint:
    """Draw a bind near what the policy names: numbered, ephemeral, picked by the kernel, or picked
    and listening."""
    protocol = draw(st.sampled_from(PROTOCOLS))
    address = draw(st.sampled_from(addresses_near(policy)))
    kind = draw(st.sampled_from(("numbered", "numbered", "ephemeral", "picked", "listening")))
    if kind == "ephemeral":
        return Endpoint(protocol, 0, address)
    port = draw(st.sampled_from(ports_near(policy)) | st.integers(1, 65535))
    if kind == "listening":
        return Endpoint("tcp", port, address, picked=True, listening=True)
    return Endpoint(protocol, port, address, picked=kind == "picked")


def subject(
    cgroup: str,
    uid: int,
    gid: int,
    host_network: bool = True,
    container: KnownContainer | None = None,
) -> Subject:
    """Return the subject that this task is on the machine of ACCOUNTS."""
    users = [name for name, number in ACCOUNTS.users.items() if number == uid]
    groups = [name for name, number in ACCOUNTS.groups.items() if number == gid]
    return Subject(
        cgroup,
        uid,
        gid,
        users[0] if users else None,
        groups[0] if groups else None,
        host_network,
        tuple(users[1:]),
        tuple(groups[1:]),
        container,
    )


def binds(policy: Policy, seed: int, count: int) -> list[tuple[Subject, Endpoint]]:
    """Return `count` binds near what the policy names: many, for the price of one draw."""
    dice = random.Random(seed)
    addresses, ports = addresses_near(policy), ports_near(policy)
    found = []
    for _ in range(count):
        port, picked = dice.choice(ports), dice.random() < 0.35
        if not picked and dice.random() < 0.25:
            port = 0
        protocol = dice.choice(PROTOCOLS)
        listening = picked and protocol == "tcp" and dice.random() < 0.5
        endpoint = Endpoint(protocol, port, dice.choice(addresses), picked, listening)
        uid, gid = dice.choice(_UIDS), dice.choice(_GIDS)
        container = dice.choice(CONTAINERS)
        who = subject(dice.choice(CGROUPS), uid, gid, dice.random() < 0.5, container)
        found.append((who, endpoint))
    return found


def all_subjects() -> Iterator[Subject]:
    """Yield all tasks that `subjects` may draw."""
    for values in product(CGROUPS, _UIDS, _GIDS, (False, True), CONTAINERS):
        yield subject(*values)


def subjects() -> st.SearchStrategy[Subject]:
    """Draw a task: a cgroup that the generated selectors are about, and accounts likewise."""
    return st.builds(
        subject,
        st.sampled_from(CGROUPS),
        st.sampled_from(_UIDS),
        st.sampled_from(_GIDS),
        st.booleans(),
        st.sampled_from(CONTAINERS),
    )
