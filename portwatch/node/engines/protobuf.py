"""As much of protobuf's wire format as CRI needs: varints, texts and messages within messages.

Format: protobuf.dev/programming-guides/encoding. A message's fields come as (number, value), the
value an int or bytes by its wire type; what they mean is for whoever knows the message.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
MAX_VARINT_BYTES = 10  # 64 bits, seven at a time


class Malformed(ValueError):
    """No protobuf message."""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield a message's fields in their order; Malformed where it is none."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise Malformed("a field has the number 0")
        if wire_type == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == DELIMITED:
            length, at = _varint(message, at)
        elif wire_type in FIXED_BYTES:
            length = FIXED_BYTES[wire_type]
        else:
            raise Malformed(f"a field has the wire type {wire_type}")
        if length > len(message) - at:
            raise Malformed("a field is longer than its message")
        yield number, message[at : at + length]
        at += length


def field(number: int, value: int | bytes | str) -> bytes:
    """Return one field as bytes; an int is a varint, and not negative."""
    if isinstance(value, int):
        return _encoded(number << 3 | VARINT) + _encoded(value)
    data = value.encode() if isinstance(value, str) else value
    return _encoded(number << 3 | DELIMITED) + _encoded(len(data)) + data


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a varint and where the next thing begins."""
    value = 0
    for index, byte in enumerate(message[at : at + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + index + 1
    raise Malformed("a number does not end")


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
