"""Answers of sock_diag: real bytes as Linux 6.18 sent them, and what is no such answer."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portwatch.errors import KernelError
from portwatch.node.sock_diag import LISTEN, DiagSocket, parse_answer

# A listener on [::1]:7781 with IPV6_V6ONLY, made in the root cgroup; then the end of the dump.
LISTENER = bytes.fromhex(
    "84000000140002000a000000ec010000"
    "0a0a00001e650000000000000000000000000000000000010000000000000000000000000000000000000000"
    "c41c030000000000000000000000000080000000000000008dc39a09"
    "050008000000000005000b0001000000"
    "08000f00000000000c00150001000000000000000600160012000000"
)
DONE = bytes.fromhex("14000000030002000a000000ec01000000000000")
NO_SCTP = bytes.fromhex("140000000300020002000000ec010000feffffff")  # -ENOENT


def patched(at: int, field: bytes) -> bytes:
    """The listener's message with other bytes in one place."""
    return LISTENER[:at] + field + LISTENER[at + len(field) :]


def test_a_listener_is_read_field_by_field() -> None:
    """Family, state, address, port, cookie, inode, IPV6_V6ONLY and the maker's cgroup are told."""
    found, whole = parse_answer(LISTENER + DONE)
    assert whole
    assert found == [
        DiagSocket(
            family=socket.AF_INET6,
            state=LISTEN,
            address=socket.inet_pton(socket.AF_INET6, "::1"),
            port=7781,
            peer_port=0,
            cookie=0x31CC4,
            uid=0,
            inode=161137549,
            v6only=True,
            cgroup_id=1,
        )
    ]


def test_a_dump_goes_on_until_its_end_is_said() -> None:
    """A datagram without NLMSG_DONE is not the last."""
    found, whole = parse_answer(LISTENER + LISTENER)
    assert len(found) == 2
    assert not whole


def test_an_ipv4_address_has_four_bytes() -> None:
    """Of the 16 bytes that the structure has for an address, IPv4 uses the first four."""
    raw = patched(16, bytes([socket.AF_INET]))
    raw = raw[:24] + bytes([127, 0, 0, 9]) + raw[28:]
    (found,), _ = parse_answer(raw)
    assert socket.inet_ntop(found.family, found.address) == "127.0.0.9"


def test_what_an_older_kernel_does_not_tell_is_absent() -> None:
    """Before 5.9 there is no cgroup, and an IPv4 socket has no IPV6_V6ONLY."""
    (found,), _ = parse_answer(struct.pack("=I", 88) + LISTENER[4:88])
    assert (found.v6only, found.cgroup_id) == (False, 0)


def test_a_refusal_is_an_error_with_its_number() -> None:
    """A protocol that the kernel cannot list is told apart from one without sockets."""
    with pytest.raises(OSError, match="No such file") as caught:
        parse_answer(NO_SCTP)
    assert caught.value.errno == 2


@pytest.mark.parametrize(
    "answer",
    [
        LISTENER[:10],
        LISTENER[:100],
        struct.pack("=I", 15) + LISTENER[4:],
        struct.pack("=I", 0) + LISTENER[4:],
        struct.pack("=I", 1 << 31) + LISTENER[4:],
        struct.pack("=I", 80) + LISTENER[4:80],
        patched(16, b"\x07"),
        patched(88, struct.pack("=H", 1000)),
        patched(88, struct.pack("=H", 3)),
    ],
)
def test_a_malformed_answer_is_refused(answer: bytes) -> None:
    """Messages and attributes that are cut short, overlong or of another family are no sockets."""
    with pytest.raises(KernelError, match="sock_diag"):
        parse_answer(answer)


@given(st.data())
def test_no_bytes_make_it_fall_over(data: st.DataObject) -> None:
    """Whatever arrives is sockets or a clear error."""
    raw = bytearray(LISTENER + DONE)
    for _ in range(data.draw(st.integers(0, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found, _ = parse_answer(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    except (KernelError, OSError):
        return
    assert all(0 <= one.port <= 65535 for one in found)


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_empty(data: bytes) -> None:
    """Random bytes are no listing."""
    try:
        parse_answer(data)
    except (KernelError, OSError):
        return
