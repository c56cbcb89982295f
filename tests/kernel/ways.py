"""Every way to get a port, as data: one row of docs/coverage.md each, tested by test_ways.py.

tests/unit/test_coverage_page.py holds this table and that page together.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import Enum

from binder import Step

PORT = 9000
"""Asked for by number, and the only one that the kernel may pick."""

SERVER = 8000
"""Something listens here, on both loopback addresses, for clients to connect to."""


class Kind(Enum):
    """What a way does with its port, which is what the policy's words tell apart."""

    ASKED = "asked for by number"
    PICKED = "bind() to port 0"
    PICKED_LISTENS = "bind() to port 0, then listen()"
    UNBOUND_LISTENS = "listen() without bind()"
    LATE_LISTENS = "port 0, picked only by listen()"
    LATE_CONNECTS = "port 0, picked only by connect()"
    UNSEEN = "a port without bind() or listen()"


LISTENS = {Kind.PICKED_LISTENS, Kind.UNBOUND_LISTENS, Kind.LATE_LISTENS}


@dataclass(frozen=True)
class Variant:
    """One socket: what it is counted as, the address that is judged, and the steps to the port."""

    label: str
    family: str
    address: str
    steps: tuple[Step, ...]
    dual: bool = False
    protocol: str = ""

    @property
    def text(self) -> str:
        """For the id of a test."""
        dual = " dual" if self.dual else ""
        return f"{self.protocol or self.label} {self.family} {self.address}{dual}"


@dataclass(frozen=True)
class Way:
    """One row. `name` is the page's first column."""

    name: str
    kind: Kind
    variants: tuple[Variant, ...]


LOOPBACKS = ("127.0.0.1", "::1")
UNSPECIFIED = ("0.0.0.0", "::")
TITLES = {"tcp": "TCP", "udp": "UDP", "udplite": "UDP-Lite", "mptcp": "MPTCP"}

Option = tuple[int, int, int | str]

FREEBIND: dict[str, Option] = {
    "ipv4": (socket.IPPROTO_IP, 15, 1),
    "ipv6": (socket.IPPROTO_IPV6, 78, 1),
}
TRANSPARENT: dict[str, Option] = {
    "ipv4": (socket.IPPROTO_IP, 19, 1),
    "ipv6": (socket.IPPROTO_IPV6, 75, 1),
}
NO_PORT: Option = (socket.IPPROTO_IP, 24, 1)
V6ONLY: Option = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
REUSE_ADDRESS: Option = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
REUSE_PORT: Option = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
TO_DEVICE: Option = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, "lo\0")
PORT_RANGE: Option = (socket.IPPROTO_IP, 51, PORT | PORT << 16)  # IP_LOCAL_PORT_RANGE
REPAIR: Option = (socket.IPPROTO_TCP, 19, 1)


def family_of(address: str) -> str:
    """By how the address is written."""
    return "ipv6" if ":" in address else "ipv4"


def variant(
    address: str,
    *then: Step,
    protocol: str = "tcp",
    options: tuple[Option, ...] = (),
    judged: str = "",
    dual: bool = False,
) -> Variant:
    """A socket of the address's family with these options, and then the steps."""
    family = family_of(address)
    return Variant(
        "tcp" if protocol == "mptcp" else protocol,
        family,
        judged or address,
        (("socket", protocol, family), *(("option", *option) for option in options), *then),
        dual,
        protocol,
    )


def bound(address: str, port: int = PORT, *then: Step, via: str = "", **more: object) -> Variant:
    """The same with a bind() first."""
    return variant(address, ("bind", address, port, via), *then, **more)  # type: ignore[arg-type]


def unspecified_family(port: int) -> str:
    """A sockaddr_in of AF_UNSPEC with INADDR_ANY, in hex."""
    return (struct.pack("=H", socket.AF_UNSPEC) + struct.pack(">H", port) + bytes(12)).hex()


def by_number() -> list[Way]:
    """Every protocol, spelling of an address, option and system call."""
    ways = [
        Way(f"{title} bind()", Kind.ASKED, tuple(bound(a, protocol=p) for a in LOOPBACKS))
        for p, title in TITLES.items()
    ]
    spelled = {
        "`0.0.0.0`": [bound("0.0.0.0", protocol=p) for p in TITLES],
        "`::`, dual-stack": [bound("::", protocol=p, dual=True) for p in TITLES],
        "`::`, v6-only": [bound("::", protocol=p, options=(V6ONLY,)) for p in TITLES],
        "IPv4-mapped `::ffff:127.0.0.1`": [
            bound("::ffff:127.0.0.1", protocol=p, judged="127.0.0.1") for p in TITLES
        ],
        "IPv4-mapped `::ffff:0.0.0.0`": [
            bound("::ffff:0.0.0.0", protocol=p, judged="0.0.0.0") for p in TITLES
        ],
        "AF_UNSPEC with INADDR_ANY": [
            variant("0.0.0.0", ("bind raw", unspecified_family(PORT)), protocol=p) for p in TITLES
        ],
        "SO_REUSEADDR": [bound(a, options=(REUSE_ADDRESS,)) for a in LOOPBACKS],
        "SO_REUSEPORT": [bound(a, options=(REUSE_PORT,)) for a in LOOPBACKS],
        "IP_FREEBIND to an address that is nobody's": [
            bound(a, options=(FREEBIND[family_of(a)],)) for a in ("192.0.2.1", "2001:db8::1")
        ],
        "IP_TRANSPARENT to an address that is nobody's": [
            bound(a, options=(TRANSPARENT[family_of(a)],)) for a in ("192.0.2.1", "2001:db8::1")
        ],
        "SO_BINDTODEVICE": [bound(a, options=(TO_DEVICE,)) for a in LOOPBACKS],
        "TCP_REPAIR": [bound(a, options=(REPAIR,)) for a in LOOPBACKS],
        "IP_BIND_ADDRESS_NO_PORT with a port": [bound(a, options=(NO_PORT,)) for a in LOOPBACKS],
    }
    for via in ("io_uring", "io_uring worker", "sqpoll", "int80", "socketcall"):
        binds = [bound(a, via=via, protocol=p) for a in LOOPBACKS for p in ("tcp", "udp")]
        spelled[f"bind() by {CALLS[via]}"] = binds
    return ways + [Way(name, Kind.ASKED, tuple(v)) for name, v in spelled.items()]


CALLS = {
    "io_uring": "io_uring",
    "io_uring worker": "io_uring, from its worker threads",
    "sqpoll": "io_uring, from its polling thread",
    "int80": "32-bit system calls",
    "socketcall": "32-bit socketcall()",
}


def picked() -> list[Way]:
    """Bound to port 0, listening or not."""
    ways = [
        Way(f"{title} port 0", Kind.PICKED, tuple(bound(a, 0, protocol=p) for a in LOOPBACKS))
        for p, title in TITLES.items()
    ]
    ways.append(
        Way(
            "a client: bind() to port 0, then connect()",
            Kind.PICKED,
            tuple(bound(a, 0, ("connect", a, SERVER)) for a in LOOPBACKS),
        )
    )
    chosen = [bound(a, 0, protocol="udp", options=(PORT_RANGE,)) for a in LOOPBACKS]
    ways.append(Way("UDP port 0 with IP_LOCAL_PORT_RANGE", Kind.PICKED, tuple(chosen)))
    for protocol in ("tcp", "mptcp"):
        binds = [bound(a, 0, ("listen",), protocol=protocol) for a in LOOPBACKS]
        binds.append(bound("::", 0, ("listen",), protocol=protocol, dual=True))
        title = f"{TITLES[protocol]} port 0, then listen()"
        ways.append(Way(title, Kind.PICKED_LISTENS, tuple(binds)))
    for via in ("io_uring", "int80"):
        binds = [bound(a, 0, ("listen", via), via=via) for a in LOOPBACKS]
        title = f"port 0, then listen(), by {CALLS[via]}"
        ways.append(Way(title, Kind.PICKED_LISTENS, tuple(binds)))
    return ways


def without_bind() -> list[Way]:
    """Sockets that get their port from another call than bind()."""
    ways = []
    for protocol in ("tcp", "mptcp"):
        listens = [variant(a, ("listen",), protocol=protocol, dual=a == "::") for a in UNSPECIFIED]
        title = f"{TITLES[protocol]} listen() without bind()"
        ways.append(Way(title, Kind.UNBOUND_LISTENS, tuple(listens)))
    for via, how in CALLS.items():
        listens = [variant(a, ("listen", via), dual=a == "::") for a in UNSPECIFIED]
        title = f"listen() without bind(), by {how}"
        ways.append(Way(title, Kind.UNBOUND_LISTENS, tuple(listens)))
    late = [bound(a, 0, ("listen",), options=(NO_PORT,)) for a in LOOPBACKS]
    ways.append(Way("IP_BIND_ADDRESS_NO_PORT, then listen()", Kind.LATE_LISTENS, tuple(late)))
    late = [
        bound(a, 0, ("connect", a, SERVER), options=(NO_PORT,), protocol=p)
        for p in ("tcp", "udp")
        for a in LOOPBACKS
    ]
    ways.append(Way("IP_BIND_ADDRESS_NO_PORT, then connect()", Kind.LATE_CONNECTS, tuple(late)))
    for call in ("send", "connect"):
        unseen = [
            variant(a, (call, a, SERVER), protocol=p) for p in ("udp", "udplite") for a in LOOPBACKS
        ]
        name = "sendto()" if call == "send" else "connect()"
        ways.append(Way(f"UDP autobind by {name}", Kind.UNSEEN, tuple(unseen)))
    client = [variant(a, ("connect", a, SERVER)) for a in LOOPBACKS]
    ways.append(Way("a client: TCP connect() without bind()", Kind.UNSEEN, tuple(client)))
    return ways


WAYS: tuple[Way, ...] = (*by_number(), *picked(), *without_bind())
