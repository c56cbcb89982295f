"""What listens on this machine, in every network namespace, and whose it is.

Both functions change the network namespace of the calling thread, for a moment: the agent has
them done by a child (node/errand.py).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from portwatch.errors import KernelError
from portwatch.node.cgroups import CgroupTree, find_cgroup2
from portwatch.node.namespaces import Namespace, entered, find_namespaces, local_ports
from portwatch.node.paths import HostPaths
from portwatch.node.processes import process_ids
from portwatch.node.sock_diag import (
    ALL_STATES,
    CLOSE,
    LISTEN,
    PROTOCOL_NUMBERS,
    DiagRefused,
    DiagSocket,
    dump,
    open_diag,
)
from portwatch.node.socket_holders import Holder, SocketHolders

if TYPE_CHECKING:
    from portwatch.node.published_ports import PublishedPort

LISTENING = {
    "tcp": 1 << LISTEN,
    "udp": 1 << CLOSE,  # bound, and without a peer
    "udplite": 1 << CLOSE,
    "sctp": 1 << LISTEN,
}
STATES = (
    *("unknown", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait"),
    *("bound", "close-wait", "last-ack", "listen", "closing", "syn-recv", "bound"),
)  # by TCP_* number
OPTIONAL = ("sctp", "udplite")  # protocols that a kernel may lack, or cannot list
ANY6 = bytes(16)
MAPPED = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that holds a port. `holder` None: no process that may be seen has it open.

    `family` is ipv4 or ipv6; `dual`: `::` that is exposed on IPv4 too; `in_local_range`: the port
    is one that the kernel picks from in that namespace; `more`: how many processes share it;
    `made_in`: the cgroup that made it, where the kernel tells and it is still there.
    """

    protocol: str
    family: str
    address: str
    port: int
    state: str
    dual: bool
    network: int  # inode of the namespace
    is_host_network: bool
    in_local_range: bool
    cookie: int
    uid: int
    made_in: str | None
    holder: Holder | None
    more: int


@dataclass(frozen=True)
class Listing:
    """What was found, and in one sentence each what could not be looked at: sockets, and the rules
    by which ports are `published`, taken with no socket."""

    listeners: list[Listener]
    not_seen: list[str]
    published: list[PublishedPort] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


class Found(NamedTuple):
    """A socket as the kernel lists it, with the namespace and protocol it was listed for."""

    namespace: Namespace
    protocol: str
    socket: DiagSocket
    in_local_range: bool


Ask = Callable[[socket.socket, str], Iterable[DiagSocket]]


def find_listeners(host: HostPaths | None = None) -> Listing:
    """Every listening TCP and SCTP socket and every bound UDP one, by port, network, address; and
    the ports that are taken with no socket."""
    host = host or HostPaths()
    namespaces = find_namespaces(host)

    def ask(diag: socket.socket, protocol: str) -> Iterable[DiagSocket]:
        return dump(diag, protocol, LISTENING[protocol])

    listing = _list(host, namespaces, ask, PROTOCOL_NUMBERS)
    listing.listeners.sort(key=lambda one: (one.port, one.protocol, one.network, one.address))
    from portwatch.node.published_ports import find_published  # not in the agent's own memory

    published, unread = find_published(host, namespaces)
    return replace(listing, published=published, unread=unread)


def find_holders(
    netns_inode: int, protocol: str, port: int, host: HostPaths | None = None
) -> list[Listener]:
    """Every socket that holds that local port, whatever its state: those that listen first, then
    bound ones, then the rest, time-wait last, the oldest of each first.

    KernelError where the namespace is gone or closed. A TCP socket that is bound and does not
    listen is seen since Linux 6.8.
    """
    if protocol not in PROTOCOL_NUMBERS:
        raise KernelError(f"sockets of protocol `{protocol}` cannot be listed")
    host = host or HostPaths()
    chosen = [one for one in find_namespaces(host) if one.inode == netns_inode]
    if not chosen:
        raise KernelError(f"there is no network namespace net:[{netns_inode}] that may be entered")

    def ask(diag: socket.socket, protocol: str) -> Iterable[DiagSocket]:
        return dump(diag, protocol, ALL_STATES, port)

    listing = _list(host, chosen, ask, [protocol])
    if listing.not_seen:
        raise KernelError(listing.not_seen[0])
    rank = {state: number for number, state in enumerate(("listen", "bound", "established"))}
    rank["time-wait"] = len(STATES)
    return sorted(listing.listeners, key=lambda one: (rank.get(one.state, len(rank)), one.cookie))


def _list(
    host: HostPaths, namespaces: Iterable[Namespace], ask: Ask, protocols: Iterable[str]
) -> Listing:
    found, not_seen = _sockets(host, namespaces, ask, protocols)
    holders = SocketHolders(host, process_ids(host), {one.socket.inode for one in found})
    unheld = {one.socket.cookie for one in found if not holders.any(one.socket.inode)}
    if unheld:  # closed since they were listed, or nobody's: the kernel's own, time-wait
        again, _ = _sockets(host, {one.namespace for one in found}, ask, protocols)
        unheld -= {one.socket.cookie for one in again}
    cgroups = _cgroup_paths(host)
    listeners = [
        _listener(one, holders, cgroups) for one in found if one.socket.cookie not in unheld
    ]
    return Listing(listeners, not_seen)


def _sockets(
    host: HostPaths, namespaces: Iterable[Namespace], ask: Ask, protocols: Iterable[str]
) -> tuple[list[Found], list[str]]:
    found: list[Found] = []
    not_seen = []
    for namespace in namespaces:
        try:
            with entered(namespace, host), open_diag() as diag:
                first, last = local_ports(host)
                for protocol in protocols:
                    try:
                        for one in ask(diag, protocol):
                            in_range = first <= one.port <= last
                            found.append(Found(namespace, protocol, one, in_range))
                    except DiagRefused as err:
                        if protocol not in OPTIONAL or err.number != errno.ENOENT:
                            raise
        except KernelError as err:
            not_seen.append(f"{namespace.name}: {err.message}")
    return found, not_seen


def _listener(found: Found, holders: SocketHolders, cgroups: dict[int, str]) -> Listener:
    one = found.socket
    holder, more = holders.of(one.inode)
    return Listener(
        protocol=found.protocol,
        family="ipv4" if one.family == socket.AF_INET else "ipv6",
        address=_address_text(one.address),
        port=one.port,
        state=STATES[one.state] if one.state < len(STATES) else STATES[0],
        dual=one.address == ANY6 and not one.v6only,
        network=found.namespace.inode,
        is_host_network=found.namespace.is_host,
        in_local_range=found.in_local_range,
        cookie=one.cookie,
        uid=one.uid,
        made_in=cgroups.get(one.cgroup_id),
        holder=holder,
        more=more,
    )


@cache
def _address_text(address: bytes) -> str:
    """As people write it; an IPv4-mapped one as its IPv4 address."""
    if address.startswith(MAPPED) and len(address) == len(ANY6):
        address = address[len(MAPPED) :]
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address)


def _cgroup_paths(host: HostPaths) -> dict[int, str]:
    """Id → path of every cgroup; empty where there is no cgroup2."""
    try:
        tree = CgroupTree(find_cgroup2(host))
    except KernelError:
        return {}
    return {number: path for path, number in tree.scan().items()}
