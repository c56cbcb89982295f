"""Ports and addresses as they are written on the command line."""

from __future__ import annotations

from portwatch.errors import UsageError
from portwatch.policy.decide import Endpoint
from portwatch.policy.words.addresses import Address, bind_address
from portwatch.policy.words.ports import PROTOCOLS

EPHEMERAL = "ephemeral"


def parse_endpoint(port: str, address: str, picked: bool) -> Endpoint:
    """`9000/tcp` and an address; UsageError where they make no sense."""
    number, slash, protocol = port.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise UsageError(
            f"`{protocol}` is no protocol", hint=f"one of {', '.join(PROTOCOLS)}; mptcp is tcp"
        )
    if number == EPHEMERAL:
        value = 0
    elif number.isascii() and number.isdecimal() and len(number) <= 5 and 0 < int(number) <= 65535:
        value = int(number)
    else:
        raise UsageError(
            f"`{number}` is no port", hint="1 to 65535, or `ephemeral` for a bind to port 0"
        )
    if picked and not value:
        raise UsageError("--picked needs the port that the kernel picked")
    return Endpoint(protocol, value, parse_address(address), picked)


def parse_address(text: str) -> Address:
    """An address, as `bind_address` reads it; UsageError where it is none."""
    try:
        return bind_address(text)
    except ValueError as err:
        raise UsageError(f"`{text}` is no IP address", hint="for example 127.0.0.1 or ::1") from err
